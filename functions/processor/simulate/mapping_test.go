package simulate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func answer(s string) func(context.Context, []byte) ([]byte, error) {
	return func(context.Context, []byte) ([]byte, error) { return []byte(s), nil }
}

// The event decodes, with AWS's own types, to what was sent.
func TestMappingEvent(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true})
	body := "{\"a\":\"\\\\ \u2028 é \U0001F600 \x7f\"}\n\t\r</script>"
	sent := must(b.SendMessage(ctx, &sqs.SendMessageInput{
		QueueUrl: &b.url, MessageBody: &body, MessageGroupId: new("A|\"\\"), MessageDeduplicationId: new("d"),
		MessageAttributes: map[string]types.MessageAttributeValue{
			"format": attribute("String", "vendor \"x\""), "bin": {DataType: new("Binary"), BinaryValue: []byte{0, 255}},
		},
	}))(t)
	m := &Mapping{SQS: b.SQS, QueueURL: b.url}
	var event events.SQSEvent
	var raw map[string]any
	n, err := m.Poll(ctx, func(_ context.Context, payload []byte) ([]byte, error) {
		if err := json.Unmarshal(payload, &raw); err != nil {
			return nil, err
		}
		return nil, json.Unmarshal(payload, &event)
	})
	if n != 1 || err != nil {
		t.Fatal(n, err)
	}
	r := event.Records[0]
	millis := fmt.Sprint(b.after(0))
	for _, c := range [][3]string{
		{"messageId", r.MessageId, *sent.MessageId},
		{"body", r.Body, body},
		{"md5OfBody", r.Md5OfBody, *sent.MD5OfMessageBody},
		{"md5OfMessageAttributes", r.Md5OfMessageAttributes, *sent.MD5OfMessageAttributes},
		{"eventSource", r.EventSource, "aws:sqs"},
		{"eventSourceARN", r.EventSourceARN, "arn:aws:sqs:us-east-1:123456789012:q.fifo"},
		{"awsRegion", r.AWSRegion, "us-east-1"},
		{"MessageGroupId", r.Attributes["MessageGroupId"], "A|\"\\"},
		{"MessageDeduplicationId", r.Attributes["MessageDeduplicationId"], "d"},
		{"SequenceNumber", r.Attributes["SequenceNumber"], *sent.SequenceNumber},
		{"ApproximateReceiveCount", r.Attributes["ApproximateReceiveCount"], "1"},
		{"SentTimestamp", r.Attributes["SentTimestamp"], millis},
		{"ApproximateFirstReceiveTimestamp", r.Attributes["ApproximateFirstReceiveTimestamp"], millis},
		{"format", *r.MessageAttributes["format"].StringValue, "vendor \"x\""},
		{"format type", r.MessageAttributes["format"].DataType, "String"},
		{"bin", string(r.MessageAttributes["bin"].BinaryValue), "\x00\xff"},
	} {
		b.want(c[0], c[1], c[2])
	}
	record := raw["Records"].([]any)[0].(map[string]any)
	b.want("keys", strings.Join(sorted(record), " "), "attributes awsRegion body eventSource eventSourceARN md5OfBody md5OfMessageAttributes messageAttributes messageId receiptHandle")
	if visible, inFlight, _ := b.Depth(b.url); visible+inFlight != 0 {
		t.Error("a success is not deleted")
	}
}

func TestMappingAnswers(t *testing.T) {
	boom := errors.New("boom")
	const id2 = "00000000-0000-4000-8000-000000000002"
	for _, c := range []struct {
		name   string
		report bool
		answer func(context.Context, []byte) ([]byte, error)
		left   string // bodies that stay
		err    error
	}{
		{"nil", true, answer(""), "", nil},
		{"null", true, answer("null"), "", nil},
		{"empty object", true, answer("{}"), "", nil},
		{"null list", true, answer(`{"batchItemFailures":null}`), "", nil},
		{"empty list", true, answer(`{"batchItemFailures":[]}`), "", nil},
		{"one failure", true, answer(`{"batchItemFailures":[{"itemIdentifier":"` + id2 + `"}]}`), "2", nil},
		{"one failure twice", true, answer(`{"batchItemFailures":[{"itemIdentifier":"` + id2 + `"},{"itemIdentifier":"` + id2 + `"}]}`), "2", nil},
		{"failures without reporting", false, answer(`{"batchItemFailures":[{"itemIdentifier":"` + id2 + `"}]}`), "", nil},
		{"not JSON without reporting", false, answer("ok"), "", nil},
		{"not JSON", true, answer("ok"), "1 2 3", ErrResponse},
		{"a string", true, answer(`"ok"`), "1 2 3", ErrResponse},
		{"empty identifier", true, answer(`{"batchItemFailures":[{"itemIdentifier":""}]}`), "1 2 3", ErrResponse},
		{"null identifier", true, answer(`{"batchItemFailures":[{"itemIdentifier":null}]}`), "1 2 3", ErrResponse},
		{"misnamed identifier", true, answer(`{"batchItemFailures":[{"ItemIdentifier":"` + id2 + `"}]}`), "1 2 3", ErrResponse},
		{"numeric identifier", true, answer(`{"batchItemFailures":[{"itemIdentifier":2}]}`), "1 2 3", ErrResponse},
		{"unknown identifier", true, answer(`{"batchItemFailures":[{"itemIdentifier":"x"}]}`), "1 2 3", ErrResponse},
		{"error", true, func(context.Context, []byte) ([]byte, error) { return nil, boom }, "1 2 3", boom},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newQueueBench(t, QueueConfig{Name: "q"})
			for _, body := range []string{"1", "2", "3"} {
				b.send(body, "", "")
			}
			m := &Mapping{SQS: b.SQS, QueueURL: b.url, ReportBatchItemFailures: c.report}
			n, err := m.Poll(ctx, c.answer)
			if n != 3 || !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("%d, %v", n, err)
			}
			b.want("left", bodies(b.Messages(b.url)), c.left)
			b.want("not visible yet", bodies(b.take(10)), "")
			b.pass(30 * time.Second)
			b.want("visible after the timeout", bodies(b.take(10)), c.left)
		})
	}
}

func TestMappingBatches(t *testing.T) {
	standard, fifo := QueueConfig{Name: "q"}, QueueConfig{Name: "q.fifo", FIFO: true}
	for _, c := range []struct {
		queue QueueConfig
		size  int
		sent  int
		n     int
		ok    bool
	}{
		{standard, 0, 25, 10, true}, {standard, 10_000, 4_000, 4_000, true}, {standard, 5_000, 12_000, 5_000, true}, {standard, 10_001, 1, 0, false},
		{standard, -1, 1, 0, false}, {fifo, 10, 25, 10, true}, {fifo, 11, 1, 0, false}, {fifo, 3, 25, 3, true}, {fifo, 10, 0, 0, true},
	} {
		b := newQueueBench(t, c.queue)
		for i := range c.sent {
			if c.queue.FIFO {
				b.send("x", "g", fmt.Sprint(i))
			} else {
				b.send("x", "", "")
			}
		}
		invoked := false
		n, err := (&Mapping{SQS: b.SQS, QueueURL: b.url, BatchSize: c.size}).Poll(ctx, func(_ context.Context, p []byte) ([]byte, error) {
			invoked = true
			return nil, nil
		})
		if n != c.n || (err == nil) != c.ok || invoked != (c.n > 0) {
			t.Errorf("%+v: %d records, invoked %t, %v", c, n, invoked, err)
		}
	}
	if _, err := (&Mapping{SQS: NewSQS(newClock().now), QueueURL: "x"}).Poll(ctx, answer("")); err == nil {
		t.Error("unknown queue")
	}
}

// A payload never exceeds 6 MB: what does not fit waits for the next invocation, in order.
func TestMappingPayloadLimit(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true})
	for i := range 10 {
		b.send(strings.Repeat("\"", 1<<19), "g", fmt.Sprint(i)) // 1 MiB each when escaped
	}
	total := 0
	for total < 10 {
		n, err := (&Mapping{SQS: b.SQS, QueueURL: b.url}).Poll(ctx, func(_ context.Context, p []byte) ([]byte, error) {
			if len(p) > MaxPayloadBytes {
				t.Errorf("payload of %d bytes", len(p))
			}
			return nil, nil
		})
		if err != nil || n == 0 || n == 10 {
			t.Fatal(n, err)
		}
		total += n
	}
}

// A function that outlives the visibility timeout of a FIFO queue cannot have its messages deleted.
func TestMappingTooLate(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true})
	b.send("x", "g", "d")
	n, err := (&Mapping{SQS: b.SQS, QueueURL: b.url}).Poll(ctx, func(context.Context, []byte) ([]byte, error) {
		b.pass(30 * time.Second)
		return nil, nil
	})
	if n != 1 || err != nil {
		t.Error(n, err)
	}
	b.want("delivered again", bodies(b.take(1)), "x")
}

// The handler sets the visibility of what it returns; the mapping leaves it.
func TestMappingKeepsVisibility(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true})
	b.send("x", "g", "d")
	_, err := (&Mapping{SQS: b.SQS, QueueURL: b.url, ReportBatchItemFailures: true}).Poll(ctx, func(_ context.Context, p []byte) ([]byte, error) {
		var e events.SQSEvent
		if err := json.Unmarshal(p, &e); err != nil {
			return nil, err
		}
		if err := b.visibility(types.Message{ReceiptHandle: &e.Records[0].ReceiptHandle}, 3); err != nil {
			return nil, err
		}
		return fmt.Appendf(nil, `{"batchItemFailures":[{"itemIdentifier":%q}]}`, e.Records[0].MessageId), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	b.pass(3*time.Second - 1)
	b.want("hidden", bodies(b.take(1)), "")
	b.pass(1)
	b.want("visible", bodies(b.take(1)), "x")
}

// Polls at the same time exclude each other by group.
func TestMappingConcurrent(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true})
	for i := range 200 {
		b.send("x", fmt.Sprint(i%5), fmt.Sprint(i))
	}
	var mu sync.Mutex
	busy := map[string]bool{}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				var groups map[string]bool
				n, err := (&Mapping{SQS: b.SQS, QueueURL: b.url}).Poll(ctx, func(_ context.Context, p []byte) ([]byte, error) {
					var e events.SQSEvent
					if err := json.Unmarshal(p, &e); err != nil {
						return nil, err
					}
					groups = map[string]bool{}
					mu.Lock()
					defer mu.Unlock()
					for _, r := range e.Records {
						g := r.Attributes["MessageGroupId"]
						if busy[g] && !groups[g] {
							t.Errorf("group %s in two invocations", g)
						}
						busy[g], groups[g] = true, true
					}
					for g := range groups {
						delete(busy, g)
					}
					return nil, nil
				})
				if err != nil {
					t.Error(err)
				}
				if n == 0 {
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkMapping sends 200,000 messages of one event each in batches of ten, and receives and deletes them through the
// mapping, on both queue types, along the number of groups.
func BenchmarkMapping(bench *testing.B) {
	const messages = 200_000
	body := `{"symbol":"AAPL","price":189.84,"size":100,"timestamp":"2026-11-20T14:30:00.123456789Z","sequence":123456,"id":"12345"}`
	for _, c := range []struct {
		name   string
		groups int
		batch  int
	}{{"fifo/groups=1", 1, 10}, {"fifo/groups=100", 100, 10}, {"fifo/groups=10000", 10_000, 10}, {"standard/batch=10", 0, 10}, {"standard/batch=10000", 0, 10_000}} {
		bench.Run(c.name, func(bench *testing.B) {
			bench.ReportAllocs()
			for bench.Loop() {
				config := QueueConfig{Name: "q"}
				if c.groups > 0 {
					config = QueueConfig{Name: "q.fifo", FIFO: true}
				}
				b := newQueueBench(bench, config)
				entries := make([]types.SendMessageBatchRequestEntry, 10)
				for i := 0; i < messages; i += 10 {
					for j := range entries {
						entries[j] = types.SendMessageBatchRequestEntry{Id: new(string(rune('a' + j))), MessageBody: &body}
						if c.groups > 0 {
							entries[j].MessageGroupId = new(fmt.Sprint((i + j) % c.groups))
							entries[j].MessageDeduplicationId = new(fmt.Sprint(i + j))
						}
					}
					if out, err := b.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &b.url, Entries: entries}); err != nil || len(out.Failed) > 0 {
						bench.Fatal(out, err)
					}
				}
				m := &Mapping{SQS: b.SQS, QueueURL: b.url, BatchSize: c.batch, ReportBatchItemFailures: true}
				for total := 0; total < messages; {
					n, err := m.Poll(ctx, answer(`{"batchItemFailures":[]}`))
					if err != nil || n == 0 {
						bench.Fatal(n, err)
					}
					total += n
				}
			}
			bench.ReportMetric(float64(messages)*float64(bench.N)/bench.Elapsed().Seconds(), "messages/s")
		})
	}
}
