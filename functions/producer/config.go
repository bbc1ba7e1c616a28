package producer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// Limits of SQS.
const (
	// MaxRequestBytes bounds one message, and all messages of one request: bodies and attributes.
	MaxRequestBytes = 1 << 20
	// BillingChunk is the number of bytes of a request that are billed as one.
	BillingChunk = 64 << 10

	maxRequestEntries = 10
	maxNameLength     = 128 // of a message group and of a deduplication id
)

// OriginMessageID is the message attribute that holds a message's identity for as long as it lives, redrives included.
const OriginMessageID = "origin_message_id"

// Client is the part of *sqs.Client that a producer uses. The producer turns the client's own retries off for its
// calls, so that waits do not multiply; a client of another kind should not retry either.
type Client interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
}

// Config is how a producer packs and sends. Client and QueueURL are required; every other zero value means the default
// named beside it.
type Config struct {
	Client   Client
	QueueURL string // a FIFO queue's ends in ".fifo"

	// Shards is the number of groups into which series are hashed; 0 = each series is a group of its own. The
	// processor works on one group at a time, and commits a state per series and message: pack by series where each
	// fills messages by itself, by shard where it does not.
	Shards int

	MaxEvents int           // of a message; 500, at most market.DefaultLimits.MaxEvents
	MaxBytes  int           // of a message, attribute included; BillingChunk, at most MaxRequestBytes
	MaxDelay  time.Duration // from Send to the first attempt, while there is no queue of retries; 250 ms
	// MaxBuffer is the number of bytes accepted and not yet acknowledged, from which on Send blocks; 16 MiB.
	MaxBuffer   int
	Concurrency int // requests under way at the same time; 4

	CallTimeout time.Duration // of one request; 10 s
	RetryBase   time.Duration // mean wait before the first retry, doubled for each further one; 100 ms
	RetryMax    time.Duration // the longest wait; 20 s
	// GiveUpAfter is how long one message is tried before it is reported as failed; 30 min, the patience of the
	// pipeline's own queue. The messages behind it in its group are sent regardless.
	GiveUpAfter time.Duration

	ClockSkew time.Duration // how far an event's timestamp may be ahead; settings.DefaultClockSkew

	// NewID makes the id of a message: unique in the queue, 1 to 128 printable ASCII characters without space;
	// crypto/rand.Text.
	NewID func() string

	// OnFailure is told of every message that is given up, OnRetry of every failed attempt that will be repeated.
	// Both are called from several goroutines and must not call the producer's methods, but Stats.
	OnFailure func(Failure)
	OnRetry   func(error)
}

// Failure is a message that SQS did not accept, or not provably: after a lost response it may have arrived.
type Failure struct {
	MessageID string // the message's origin_message_id
	Group     string
	Events    int
	Body      string // the events, one JSON line each
	Err       error
}

// withDefaults returns c completed, or an error that names every value that is out of bounds and what would be right.
func (c Config) withDefaults() (Config, error) {
	var errs []error
	if c.Client == nil {
		errs = append(errs, errors.New("no Client: give an *sqs.Client"))
	}
	if c.QueueURL == "" {
		errs = append(errs, errors.New("no QueueURL: it is the stack's output SqsQueueUrl"))
	}
	if c.Shards < 0 {
		errs = append(errs, fmt.Errorf("bad Shards %d: give a number of groups, or 0 for one per series", c.Shards))
	}
	number := func(name string, v *int, def, least, most int) {
		if *v == 0 {
			*v = def
		}
		if *v < least || *v > most {
			errs = append(errs, fmt.Errorf("%s is %d: give a number from %d to %d", name, *v, least, most))
		}
	}
	duration := func(name string, v *time.Duration, def time.Duration) {
		if *v == 0 {
			*v = def
		}
		if *v < 0 {
			errs = append(errs, fmt.Errorf("%s is %s: give a positive duration", name, *v))
		}
	}
	number("MaxEvents", &c.MaxEvents, 500, 1, market.DefaultLimits.MaxEvents)
	number("MaxBytes", &c.MaxBytes, BillingChunk, 1<<10, MaxRequestBytes)
	number("MaxBuffer", &c.MaxBuffer, 16<<20, c.MaxBytes, 1<<40)
	number("Concurrency", &c.Concurrency, 4, 1, 1000)
	duration("MaxDelay", &c.MaxDelay, 250*time.Millisecond)
	duration("CallTimeout", &c.CallTimeout, 10*time.Second)
	duration("RetryBase", &c.RetryBase, 100*time.Millisecond)
	duration("RetryMax", &c.RetryMax, 20*time.Second)
	duration("GiveUpAfter", &c.GiveUpAfter, 30*time.Minute)
	duration("ClockSkew", &c.ClockSkew, settings.DefaultClockSkew)
	if c.RetryMax < c.RetryBase {
		errs = append(errs, fmt.Errorf("RetryMax is %s: give at least RetryBase, %s", c.RetryMax, c.RetryBase))
	}
	if c.NewID == nil {
		c.NewID = rand.Text
	}
	if len(errs) > 0 {
		return c, fmt.Errorf("producer: %w", errors.Join(errs...))
	}
	return c, nil
}

func (c *Config) fifo() bool { return strings.HasSuffix(c.QueueURL, ".fifo") }
