package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

// desk is a stack's three queues, and the command's way to them, which can fail and be slow.
type desk struct {
	*simulate.SQS
	t    *testing.T
	now  time.Time
	urls places

	calls  int
	fails  int  // the number of the call that fails; 0 = none
	after  bool // it fails after its effect
	crash  bool // with it the program ends: no later call has an effect
	ended  bool
	each   time.Duration             // what a call takes
	before func(call int, op string) // anything that happens elsewhere meanwhile
	err    error                     // of the call that fails
	order  func(n int) int           // in which a standard queue delivers, see simulate
}

var errLost = errors.New("the connection was closed")

func newDesk(t *testing.T, fifo bool) *desk {
	t.Helper()
	return newDeskOf(t, fifo, 1)
}

func newDeskOf(t *testing.T, fifo bool, maxReceiveCount int) *desk {
	t.Helper()
	d := &desk{t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), err: errLost}
	d.SQS = simulate.NewSQS(func() time.Time { return d.now })
	order := func(n int) int {
		if d.order == nil {
			return 0
		}
		return d.order(n)
	}
	ending, main := ".fifo", (func(int) int)(nil)
	if !fifo {
		ending, main = "", order
	}
	d.urls.dead = d.create(simulate.QueueConfig{Name: "market-data-dlq-test" + ending, FIFO: fifo, DeduplicatePerGroup: fifo, Retention: simulate.MaxRetention, Order: main})
	d.urls.market = d.create(simulate.QueueConfig{Name: "market-data-test" + ending, FIFO: fifo, DeduplicatePerGroup: fifo, Retention: simulate.MaxRetention,
		DeadLetterURL: d.urls.dead, MaxReceiveCount: maxReceiveCount, VisibilityTimeout: 6 * time.Minute})
	d.urls.rejects = d.create(simulate.QueueConfig{Name: "market-data-rejects-test", Retention: simulate.MaxRetention, Order: order})
	return d
}

func (d *desk) create(c simulate.QueueConfig) string {
	d.t.Helper()
	url, err := d.SQS.CreateQueue(c)
	if err != nil {
		d.t.Fatal(err)
	}
	return url
}

// through makes a call under d's fault.
func through[T any](d *desk, op string, f func() (T, error)) (T, error) {
	var zero T
	d.calls++
	d.now = d.now.Add(d.each)
	if d.before != nil {
		d.before(d.calls, op)
	}
	if d.ended {
		return zero, d.err
	}
	if d.fails == 0 || d.calls != d.fails {
		return f()
	}
	d.ended = d.crash
	if d.after {
		_, _ = f()
	}
	return zero, d.err
}

func (d *desk) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	return through(d, "receive", func() (*sqs.ReceiveMessageOutput, error) { return d.SQS.ReceiveMessage(ctx, in) })
}

func (d *desk) SendMessage(ctx context.Context, in *sqs.SendMessageInput, _ ...func(*sqs.Options)) (*sqs.SendMessageOutput, error) {
	return through(d, "send", func() (*sqs.SendMessageOutput, error) { return d.SQS.SendMessage(ctx, in) })
}

func (d *desk) DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	return through(d, "delete", func() (*sqs.DeleteMessageBatchOutput, error) { return d.SQS.DeleteMessageBatch(ctx, in) })
}

func (d *desk) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	return through(d, "give back", func() (*sqs.ChangeMessageVisibilityBatchOutput, error) {
		return d.SQS.ChangeMessageVisibilityBatch(ctx, in)
	})
}

func (d *desk) GetQueueAttributes(ctx context.Context, in *sqs.GetQueueAttributesInput, _ ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	return through(d, "count", func() (*sqs.GetQueueAttributesOutput, error) { return d.SQS.GetQueueAttributes(ctx, in) })
}

// run runs the program with args; the queues are d's.
func (d *desk) run(args ...string) (stdout, stderr string, err error) {
	d.t.Helper()
	return d.runIn(d.t.Context(), args...)
}

func (d *desk) runIn(ctx context.Context, args ...string) (stdout, stderr string, err error) {
	d.t.Helper()
	var out, errs bytes.Buffer
	o, err := parse(append(args, "--queue-url", d.urls.market, "--dead-letters-url", d.urls.dead, "--rejects-url", d.urls.rejects), &errs)
	if err != nil {
		d.t.Fatal(err)
	}
	o.urls.logGroup = d.urls.logGroup
	c := &command{options: o, api: d, now: func() time.Time { return d.now }, stdout: &out, stderr: &errs}
	err = c.run(ctx)
	return out.String(), errs.String(), err
}

// must is run without an error.
func (d *desk) must(args ...string) (stdout, stderr string) {
	d.t.Helper()
	stdout, stderr, err := d.run(args...)
	if err != nil {
		d.t.Fatalf("%q: %v\n%s%s", args, err, stdout, stderr)
	}
	return stdout, stderr
}

func text(s string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
}

func trade(symbol string, n int) string {
	return fmt.Sprintf(`{"symbol":%q,"price":100,"timestamp":"2026-11-20T14:30:00Z","sequence":%d}`, symbol, n)
}

// send puts one message into the market data queue; its origin is the group's name and n.
func (d *desk) send(group string, n int, body string, attributes map[string]types.MessageAttributeValue) {
	d.t.Helper()
	origin := fmt.Sprintf("%s-%d", group, n)
	in := &sqs.SendMessageInput{QueueUrl: &d.urls.market, MessageBody: &body, MessageAttributes: attributes}
	if attributes == nil {
		in.MessageAttributes = map[string]types.MessageAttributeValue{queue.AttrOrigin: text(origin)}
	}
	if isFIFO(d.urls.market) {
		in.MessageGroupId, in.MessageDeduplicationId = &group, &origin
	}
	if _, err := d.SQS.SendMessage(d.t.Context(), in); err != nil {
		d.t.Fatal(err)
	}
}

// bury lets everything in the market data queue use up its retries.
func (d *desk) bury() {
	d.t.Helper()
	for {
		out, err := d.SQS.ReceiveMessage(d.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &d.urls.market, MaxNumberOfMessages: 10, VisibilityTimeout: 1})
		if err != nil {
			d.t.Fatal(err)
		}
		visible, inFlight, _ := d.Depth(d.urls.market)
		if visible+inFlight == 0 {
			return
		}
		if len(out.Messages) == 0 {
			d.now = d.now.Add(time.Second)
		}
	}
}

// deadLetters makes n[group] dead letters of each group, one trade each, sent in turn.
func (d *desk) deadLetters(n map[string]int) {
	d.t.Helper()
	for i, more := 0, true; more; i++ {
		more = false
		for _, group := range []string{"AAPL|", "MSFT|", "IBM|", "shard-1"} {
			if i < n[group] {
				symbol, _, _ := strings.Cut(group, "|")
				d.send(group, i, trade(symbol, i), nil)
				more = true
			}
		}
	}
	d.bury()
}

// reject keeps rejected elements as the processor does.
func (d *desk) reject(rejected ...market.Rejected) {
	d.t.Helper()
	adapter := &queue.SQS{API: d.SQS, RejectsURL: d.urls.rejects}
	if err := errors.Join(adapter.Reject(d.t.Context(), rejected)...); err != nil {
		d.t.Fatal(err)
	}
}

// origins are the origins of a queue's messages by group, in order of arrival.
func (d *desk) origins(url string) map[string][]string {
	out := map[string][]string{}
	for _, m := range d.Messages(url) {
		group := m.Attributes["MessageGroupId"]
		out[group] = append(out[group], aws.ToString(m.MessageAttributes[queue.AttrOrigin].StringValue))
	}
	return out
}

func (d *desk) ids(url string) []string {
	var out []string
	for _, m := range d.Messages(url) {
		out = append(out, aws.ToString(m.MessageId))
	}
	return out
}

// depth is the number of messages of a queue; all must be visible.
func (d *desk) depth(url string) int {
	d.t.Helper()
	visible, inFlight, _ := d.Depth(url)
	if inFlight > 0 {
		d.t.Errorf("%d messages of %s are hidden", inFlight, queueName(url))
	}
	return visible
}

// shuffled is an order of delivery.
func shuffled() func(n int) int {
	r := rand.New(rand.NewPCG(1, 2))
	return r.IntN
}

// numbered is group-0 to group-(n-1).
func numbered(group string, n int) []string {
	out := []string{}
	for i := range n {
		out = append(out, fmt.Sprintf("%s-%d", group, i))
	}
	return out
}
