package queue

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
)

// SQSAPI is what SQS calls of the client.
type SQSAPI interface {
	SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
}

// SQS's limits of one call: entries, and bytes of all of them together, which is also the limit of one message.
const (
	maxEntries = 10
	maxBytes   = 1 << 20
)

// maxAttribute bounds an attribute's text, so that a sender's long ones leave room for half a body.
const maxAttribute = 1 << 10

// SQS sends refused events to the rejects queue, and sets visibility in and sends clock events to the market data queue.
// It is safe for concurrent use.
type SQS struct {
	API        SQSAPI
	QueueURL   string // market data
	RejectsURL string
	// Concurrency bounds the sends under way at the same time; 0 or 1 = one after the other, without goroutines.
	Concurrency int
}

// outgoing is one message that is to be sent.
type outgoing struct {
	entry types.SendMessageBatchRequestEntry
	of    int // index of the refused event or of the message of clock events
	size  int
	err   error
}

// Reject sends the refused events to the rejects queue and returns one error per event, nil where it was kept. A body
// that does not fit in one message beside its attributes goes in two.
func (s *SQS) Reject(ctx context.Context, rejected []market.Rejected) []error {
	errs := make([]error, len(rejected))
	var messages []outgoing
	for i := range rejected {
		messages = append(messages, compose(i, &rejected[i])...)
	}
	s.sendAll(ctx, s.RejectsURL, "the rejects queue", messages, errs)
	return errs
}

// SendClocks sends messages of clock events to the market data queue and returns one error per message, nil where it was
// accepted, or was accepted less than 5 minutes ago.
func (s *SQS) SendClocks(ctx context.Context, clocks []alert.ClockMessage) []error {
	errs := make([]error, len(clocks))
	messages := make([]outgoing, len(clocks))
	for i := range clocks {
		messages[i] = outgoing{entry: types.SendMessageBatchRequestEntry{MessageBody: &clocks[i].Body}, of: i, size: len(clocks[i].Body)}
		if clocks[i].Group != "" {
			messages[i].entry.MessageGroupId, messages[i].entry.MessageDeduplicationId = &clocks[i].Group, &clocks[i].ID
		}
	}
	s.sendAll(ctx, s.QueueURL, "the market data queue", messages, errs)
	return errs
}

// sendAll sends messages in as few calls as their number and their bytes allow. Errors go to errs, by outgoing.of.
func (s *SQS) sendAll(ctx context.Context, url, queue string, messages []outgoing, errs []error) {
	var batches [][]outgoing
	for rest := messages; len(rest) > 0; {
		n, size := 0, 0
		for n < len(rest) && n < maxEntries && (n == 0 || size+rest[n].size <= maxBytes) {
			size += rest[n].size
			n++
		}
		batches, rest = append(batches, rest[:n]), rest[n:]
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, max(s.Concurrency, 1))
	for _, batch := range batches {
		if s.Concurrency <= 1 {
			s.send(ctx, url, queue, batch)
			continue
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			s.send(ctx, url, queue, batch)
		})
	}
	wg.Wait()
	for i := range messages {
		if m := &messages[i]; m.err != nil {
			errs[m.of] = errors.Join(errs[m.of], m.err)
		}
	}
}

func (s *SQS) send(ctx context.Context, url, queue string, batch []outgoing) {
	defer func() {
		// In a goroutine a panic would end the process, and what it was raised with, which can quote the input, be logged.
		if r := recover(); r != nil {
			for i := range batch {
				batch[i].err = fmt.Errorf("queue: panic (%T) while sending to %s: %s", r, queue, debug.Stack())
			}
		}
	}()
	in := &sqs.SendMessageBatchInput{QueueUrl: &url}
	for i := range batch {
		batch[i].entry.Id = aws.String(strconv.Itoa(i))
		in.Entries = append(in.Entries, batch[i].entry)
	}
	out, err := s.API.SendMessageBatch(ctx, in)
	for i := range batch {
		switch {
		case err != nil:
			batch[i].err = fmt.Errorf("queue: sending %d messages to %s: %w", len(batch), queue, err)
		case !slices.ContainsFunc(out.Successful, func(r types.SendMessageBatchResultEntry) bool { return aws.ToString(r.Id) == strconv.Itoa(i) }):
			batch[i].err = fmt.Errorf("queue: %s did not take a message: %s", queue, failureCode(out.Failed, i))
		}
	}
}

func failureCode(failed []types.BatchResultErrorEntry, i int) string {
	for _, f := range failed {
		if aws.ToString(f.Id) == strconv.Itoa(i) {
			return aws.ToString(f.Code)
		}
	}
	return "no answer for it"
}

// compose makes the one or two messages of a refused event.
func compose(of int, r *market.Rejected) []outgoing {
	attributes := map[string]types.MessageAttributeValue{}
	size := 0
	set := func(name, value, dataType string) {
		value = cut(acceptable(value), maxAttribute)
		if value == "" {
			return
		}
		attributes[name] = types.MessageAttributeValue{DataType: &dataType, StringValue: &value}
		size += len(name) + len(value) + len(dataType)
	}
	set(AttrReason, string(r.Reason), "String")
	set(AttrOrigin, r.OriginMessageID, "String")
	set(AttrIndex, strconv.Itoa(r.Index), "Number")
	if r.ReceiveCount > 0 {
		set(AttrReceiveCount, strconv.Itoa(r.ReceiveCount), "Number")
	}
	set(AttrFormat, r.Format, "String")
	set(AttrGroup, r.Group, "String")
	if !r.FirstReceived.IsZero() {
		set(AttrFirstReceived, r.FirstReceived.UTC().Format(time.RFC3339Nano), "String")
	}
	body := acceptable(r.Body)
	if body == "" {
		body = " " // SQS takes no empty body
	}
	if size+len(body) <= maxBytes {
		return []outgoing{{entry: types.SendMessageBatchRequestEntry{MessageBody: &body, MessageAttributes: attributes}, of: of, size: size + len(body)}}
	}
	first := cut(body, len(body)/2)
	var out []outgoing
	for i, b := range []string{first, body[len(first):]} {
		part := map[string]types.MessageAttributeValue{
			AttrPart: {DataType: aws.String("String"), StringValue: aws.String(fmt.Sprintf("%d/2", i+1))},
		}
		for name, v := range attributes {
			part[name] = v
		}
		out = append(out, outgoing{entry: types.SendMessageBatchRequestEntry{MessageBody: &b, MessageAttributes: part}, of: of, size: size + len(AttrPart) + len("String1/2") + len(b)})
	}
	return out
}

// acceptable is s with U+FFFD for what SQS refuses in a text. Nothing that came through SQS has such a character, but an
// alert may: its event can name U+FFFF by an escape.
func acceptable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF {
			return utf8.RuneError
		}
		return r
	}, s)
}

// cut is the longest beginning of s that has at most n bytes and ends with a whole character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// SetVisibility hides the messages for their delays, rounded up to seconds. Its error tells how many could not be hidden:
// they come back after the queue's own visibility timeout.
func (s *SQS) SetVisibility(ctx context.Context, delays []market.Delay) error {
	var errs []error
	for chunk := range slices.Chunk(delays, maxEntries) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &s.QueueURL}
		for i := range chunk {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
				Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &chunk[i].ReceiptHandle,
				VisibilityTimeout: int32((chunk[i].After + time.Second - 1) / time.Second),
			})
		}
		out, err := s.API.ChangeMessageVisibilityBatch(ctx, in)
		if err != nil {
			errs = append(errs, fmt.Errorf("queue: setting the visibility of %d messages: %w", len(chunk), err))
		} else if len(out.Failed) > 0 {
			errs = append(errs, fmt.Errorf("queue: the visibility of %d of %d messages was not set: %s", len(out.Failed), len(chunk), aws.ToString(out.Failed[0].Code)))
		}
	}
	return errors.Join(errs...)
}
