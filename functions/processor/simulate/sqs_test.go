package simulate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

var ctx = context.Background()

// clock is a test's time: it moves only when told to.
type clock struct{ t time.Time }

func newClock() *clock                       { return &clock{time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)} }
func (c *clock) now() time.Time              { return c.t }
func (c *clock) pass(d time.Duration)        { c.t = c.t.Add(d) }
func (c *clock) after(d time.Duration) int64 { return c.t.Add(d).UnixMilli() }

// code is an API error's code, "" for none.
func code(err error) string {
	var e smithy.APIError
	if errors.As(err, &e) {
		return e.ErrorCode()
	}
	if err != nil {
		return "not an API error: " + err.Error()
	}
	return ""
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

type bench struct {
	*SQS
	*clock
	t   testing.TB
	url string
}

func newQueueBench(t testing.TB, c QueueConfig) bench {
	clock := newClock()
	s := NewSQS(clock.now)
	url, err := s.CreateQueue(c)
	if err != nil {
		t.Fatal(err)
	}
	return bench{s, clock, t, url}
}

func (b bench) send(body, group, dedup string) *sqs.SendMessageOutput {
	b.t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: &b.url, MessageBody: &body}
	if group != "" {
		in.MessageGroupId = &group
	}
	if dedup != "" {
		in.MessageDeduplicationId = &dedup
	}
	out, err := b.SendMessage(ctx, in)
	if err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b bench) take(max int32) []types.Message { return b.takeFrom(b.url, max) }

func (b bench) takeFrom(url string, max int32) []types.Message {
	b.t.Helper()
	out, err := b.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &url, MaxNumberOfMessages: max, MessageAttributeNames: []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{"All"},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return out.Messages
}

func (b bench) drop(m types.Message) error {
	_, err := b.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &b.url, ReceiptHandle: m.ReceiptHandle})
	return err
}

func (b bench) visibility(m types.Message, seconds int32) error {
	_, err := b.ChangeMessageVisibility(ctx, &sqs.ChangeMessageVisibilityInput{QueueUrl: &b.url, ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: seconds})
	return err
}

func bodies(messages []types.Message) string {
	var s []string
	for _, m := range messages {
		s = append(s, *m.Body)
	}
	return strings.Join(s, " ")
}

func (b bench) want(what, got, want string) {
	b.t.Helper()
	if got != want {
		b.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func attribute(kind, text string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: &kind, StringValue: &text}
}

func attributes(n int) map[string]types.MessageAttributeValue {
	m := map[string]types.MessageAttributeValue{}
	for i := range n {
		m[fmt.Sprintf("a%d", i)] = attribute("String", "v")
	}
	return m
}

// Each limit that SQS enforces on a message, accepted at its edge and refused beyond it; the refused entry must not
// harm its neighbour in the batch.
func TestSQSMessageLimits(t *testing.T) {
	fifo, standard := QueueConfig{Name: "q.fifo", FIFO: true}, QueueConfig{Name: "q"}
	entry := func(change func(*types.SendMessageBatchRequestEntry)) types.SendMessageBatchRequestEntry {
		e := types.SendMessageBatchRequestEntry{Id: new("x"), MessageBody: new("body")}
		change(&e)
		return e
	}
	onFIFO := func(group, dedup *string) types.SendMessageBatchRequestEntry {
		return types.SendMessageBatchRequestEntry{Id: new("x"), MessageBody: new("body"), MessageGroupId: group, MessageDeduplicationId: dedup}
	}
	body := func(s string) types.SendMessageBatchRequestEntry {
		return entry(func(e *types.SendMessageBatchRequestEntry) { e.MessageBody = &s })
	}
	with := func(name string, a types.MessageAttributeValue) types.SendMessageBatchRequestEntry {
		return entry(func(e *types.SendMessageBatchRequestEntry) {
			e.MessageAttributes = map[string]types.MessageAttributeValue{name: a}
		})
	}
	long := strings.Repeat("g", 128)
	punctuation := "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	for _, c := range []struct {
		name  string
		queue QueueConfig
		entry types.SendMessageBatchRequestEntry
		code  string // "" = accepted
	}{
		{"body of one character", standard, body("x"), ""},
		{"empty body", standard, body(""), "MissingParameter"},
		{"tab, line feed, carriage return", standard, body("a\tb\nc\rd"), ""},
		{"astral and private characters", standard, body("\U0001F600\uE000\uFFFD"), ""},
		{"NUL", standard, body("a\x00"), "InvalidMessageContents"},
		{"control character", standard, body("a\x1b"), "InvalidMessageContents"},
		{"U+FFFE", standard, body("a\uFFFE"), "InvalidMessageContents"},
		{"U+FFFF", standard, body("a\uFFFF"), "InvalidMessageContents"},
		{"invalid UTF-8", standard, body("a\xff"), "InvalidMessageContents"},
		{"body of MaxMessageBytes of the queue", QueueConfig{Name: "q", MaxMessageBytes: 1024}, body(strings.Repeat("x", 1024)), ""},
		{"body over MaxMessageBytes of the queue", QueueConfig{Name: "q", MaxMessageBytes: 1024}, body(strings.Repeat("x", 1025)), "InvalidParameterValue"},
		{"attributes count for the size", QueueConfig{Name: "q", MaxMessageBytes: 1024}, entry(func(e *types.SendMessageBatchRequestEntry) {
			e.MessageBody, e.MessageAttributes = new(strings.Repeat("x", 1020)), attributes(1)
		}), "InvalidParameterValue"},
		{"10 attributes", standard, entry(func(e *types.SendMessageBatchRequestEntry) { e.MessageAttributes = attributes(10) }), ""},
		{"11 attributes", standard, entry(func(e *types.SendMessageBatchRequestEntry) { e.MessageAttributes = attributes(11) }), "InvalidParameterValue"},
		{"attribute name of 256", standard, with(strings.Repeat("n", 256), attribute("String", "v")), ""},
		{"attribute name of 257", standard, with(strings.Repeat("n", 257), attribute("String", "v")), "InvalidParameterValue"},
		{"attribute name AWS.", standard, with("aWs.x", attribute("String", "v")), "InvalidParameterValue"},
		{"attribute name Amazon.", standard, with("Amazon.x", attribute("String", "v")), "InvalidParameterValue"},
		{"attribute name with periods in a row", standard, with("a..b", attribute("String", "v")), "InvalidParameterValue"},
		{"attribute name ends in a period", standard, with("a.", attribute("String", "v")), "InvalidParameterValue"},
		{"attribute name with a space", standard, with("a b", attribute("String", "v")), "InvalidParameterValue"},
		{"attribute name with _ - .", standard, with("a_b-c.d", attribute("String", "v")), ""},
		{"empty attribute value", standard, with("a", attribute("String", "")), "InvalidParameterValue"},
		{"attribute type", standard, with("a", attribute("Text", "v")), "InvalidParameterValue"},
		{"custom attribute type", standard, with("a", attribute("String.x", "v")), ""},
		{"number", standard, with("a", attribute("Number", "-1.5e3")), ""},
		{"not a number", standard, with("a", attribute("Number", "one")), "InvalidParameterValue"},
		{"binary", standard, with("a", types.MessageAttributeValue{DataType: new("Binary"), BinaryValue: []byte{0}}), ""},
		{"binary without value", standard, with("a", attribute("Binary", "v")), "InvalidParameterValue"},
		{"attribute value with a control character", standard, with("a", attribute("String", "\x01")), "InvalidMessageContents"},
		{"DelaySeconds 900", standard, entry(func(e *types.SendMessageBatchRequestEntry) { e.DelaySeconds = 900 }), ""},
		{"DelaySeconds 901", standard, entry(func(e *types.SendMessageBatchRequestEntry) { e.DelaySeconds = 901 }), "InvalidParameterValue"},
		{"DelaySeconds on FIFO", fifo, entry(func(e *types.SendMessageBatchRequestEntry) {
			e.MessageGroupId, e.MessageDeduplicationId, e.DelaySeconds = new("g"), new("d"), 1
		}), "InvalidParameterValue"},
		{"group id on a standard queue", standard, onFIFO(new("g"), nil), ""},
		{"deduplication id on a standard queue", standard, onFIFO(nil, new("d")), "InvalidParameterValue"},
		{"ids of 128", fifo, onFIFO(&long, &long), ""},
		{"ids with all punctuation", fifo, onFIFO(&punctuation, &punctuation), ""},
		{"group id of 129", fifo, onFIFO(new(long+"g"), new("d")), "InvalidParameterValue"},
		{"deduplication id of 129", fifo, onFIFO(new("g"), new(long+"g")), "InvalidParameterValue"},
		{"group id with a space", fifo, onFIFO(new("a b"), new("d")), "InvalidParameterValue"},
		{"deduplication id not ASCII", fifo, onFIFO(new("g"), new("é")), "InvalidParameterValue"},
		{"empty group id", fifo, onFIFO(new(""), new("d")), "InvalidParameterValue"},
		{"FIFO without group id", fifo, onFIFO(nil, new("d")), "MissingParameter"},
		{"FIFO without deduplication id", fifo, onFIFO(new("g"), nil), "InvalidParameterValue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newQueueBench(t, c.queue)
			good := types.SendMessageBatchRequestEntry{Id: new("good"), MessageBody: new("good")}
			if c.queue.FIFO {
				good.MessageGroupId, good.MessageDeduplicationId = new("good"), new("good")
			}
			out, err := b.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &b.url, Entries: []types.SendMessageBatchRequestEntry{c.entry, good}})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range out.Failed {
				got = *f.Code
				if *f.Id != "x" || !f.SenderFault || *f.Message == "" {
					t.Errorf("failed entry %+v", f)
				}
			}
			b.want("code", got, c.code)
			if n := len(out.Successful) + len(out.Failed); n != 2 {
				t.Errorf("%d results for 2 entries", n)
			}
			_, err = b.SendMessage(ctx, &sqs.SendMessageInput{
				QueueUrl: &b.url, MessageBody: c.entry.MessageBody, DelaySeconds: c.entry.DelaySeconds, MessageAttributes: c.entry.MessageAttributes,
				MessageGroupId: c.entry.MessageGroupId, MessageDeduplicationId: c.entry.MessageDeduplicationId,
			})
			b.want("code of SendMessage", code(err), c.code)
		})
	}
}

func TestSQSBatchLimits(t *testing.T) {
	entries := func(ids ...string) (out []types.SendMessageBatchRequestEntry) {
		for _, id := range ids {
			out = append(out, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: new("b")})
		}
		return out
	}
	sized := func(sizes ...int) (out []types.SendMessageBatchRequestEntry) {
		for i, n := range sizes {
			out = append(out, types.SendMessageBatchRequestEntry{Id: new(fmt.Sprint(i)), MessageBody: new(strings.Repeat("x", n))})
		}
		return out
	}
	long := strings.Repeat("i", 80)
	for _, c := range []struct {
		name    string
		entries []types.SendMessageBatchRequestEntry
		as      any // pointer to the expected error type; nil = accepted
	}{
		{"10 entries", entries("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"), nil},
		{"11 entries", entries("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a"), new(*types.TooManyEntriesInBatchRequest)},
		{"no entries", nil, new(*types.EmptyBatchRequest)},
		{"id of 80", entries(long), nil},
		{"id of 81", entries(long + "i"), new(*types.InvalidBatchEntryId)},
		{"id with - and _", entries("a-B_9"), nil},
		{"id with a period", entries("a.b"), new(*types.InvalidBatchEntryId)},
		{"empty id", entries(""), new(*types.InvalidBatchEntryId)},
		{"repeated id", entries("a", "b", "a"), new(*types.BatchEntryIdsNotDistinct)},
		{"1 MiB in one message", sized(1 << 20), nil},
		{"1 MiB in all", sized(1<<19, 1<<19), nil},
		{"over 1 MiB in all", sized(1<<19, 1<<19+1), new(*types.BatchRequestTooLong)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newQueueBench(t, QueueConfig{Name: "q"})
			_, err := b.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: &b.url, Entries: c.entries})
			if (c.as == nil) != (err == nil) || c.as != nil && !errors.As(err, c.as) {
				t.Fatalf("got %v, want %T", err, c.as)
			}
			if visible, _, _ := b.Depth(b.url); err != nil && visible != 0 {
				t.Error("a refused batch left messages")
			}
		})
	}
	b := newQueueBench(t, QueueConfig{Name: "q"})
	var none *types.QueueDoesNotExist
	if _, err := b.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: new("nowhere"), Entries: entries("a")}); !errors.As(err, &none) {
		t.Errorf("unknown queue: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.SendMessageBatch(cancelled, &sqs.SendMessageBatchInput{QueueUrl: &b.url, Entries: entries("a")}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: %v", err)
	}
}

func TestSQSQueueConfig(t *testing.T) {
	s := NewSQS(newClock().now)
	fifo := must(s.CreateQueue(QueueConfig{Name: "dead.fifo", FIFO: true}))(t)
	standard := must(s.CreateQueue(QueueConfig{Name: "dead"}))(t)
	for _, c := range []struct {
		name string
		QueueConfig
		ok bool
	}{
		{"redrive", QueueConfig{Name: "a.fifo", FIFO: true, DeadLetterURL: fifo, MaxReceiveCount: 10, DeduplicatePerGroup: true}, true},
		{"exists", QueueConfig{Name: "dead"}, false},
		{"FIFO without suffix", QueueConfig{Name: "b", FIFO: true}, false},
		{"suffix without FIFO", QueueConfig{Name: "b.fifo"}, false},
		{"name", QueueConfig{Name: "b c"}, false},
		{"other type of dead-letter queue", QueueConfig{Name: "b.fifo", FIFO: true, DeadLetterURL: standard, MaxReceiveCount: 1}, false},
		{"missing dead-letter queue", QueueConfig{Name: "b", DeadLetterURL: "x", MaxReceiveCount: 1}, false},
		{"no receive count", QueueConfig{Name: "b", DeadLetterURL: standard}, false},
		{"receive count alone", QueueConfig{Name: "b", MaxReceiveCount: 3}, false},
		{"visibility over 12 h", QueueConfig{Name: "b", VisibilityTimeout: 12*time.Hour + 1}, false},
		{"retention over 14 days", QueueConfig{Name: "b", Retention: 15 * 24 * time.Hour}, false},
		{"message size", QueueConfig{Name: "b", MaxMessageBytes: 1<<20 + 1}, false},
		{"scope of a standard queue", QueueConfig{Name: "b", DeduplicatePerGroup: true}, false},
		{"order of a FIFO queue", QueueConfig{Name: "b.fifo", FIFO: true, Order: func(int) int { return 0 }}, false},
	} {
		if _, err := s.CreateQueue(c.QueueConfig); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSQSReceiveLimits(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q"})
	for _, c := range []struct {
		in   sqs.ReceiveMessageInput
		code string
	}{
		{sqs.ReceiveMessageInput{MaxNumberOfMessages: 10, VisibilityTimeout: 43200, WaitTimeSeconds: 20}, ""},
		{sqs.ReceiveMessageInput{MaxNumberOfMessages: 11}, "InvalidParameterValue"},
		{sqs.ReceiveMessageInput{MaxNumberOfMessages: -1}, "InvalidParameterValue"},
		{sqs.ReceiveMessageInput{VisibilityTimeout: 43201}, "InvalidParameterValue"},
		{sqs.ReceiveMessageInput{WaitTimeSeconds: 21}, "InvalidParameterValue"},
	} {
		c.in.QueueUrl = &b.url
		_, err := b.ReceiveMessage(ctx, &c.in)
		b.want(fmt.Sprintf("%+v", c.in), code(err), c.code)
	}
}

func TestSQSStandard(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q", VisibilityTimeout: 30 * time.Second})
	for _, body := range []string{"1", "2", "3"} {
		b.send(body, "", "")
		b.pass(time.Second)
	}
	first := b.take(2)
	b.want("oldest first", bodies(first), "1 2")
	b.want("the rest", bodies(b.take(10)), "3")
	b.want("nothing visible", bodies(b.take(10)), "")
	b.pass(29*time.Second + 999*time.Millisecond)
	b.want("not before the timeout", bodies(b.take(10)), "")
	if at, ok := b.NextVisible(b.url); !ok || !at.Equal(b.clock.now().Add(time.Millisecond)) {
		t.Errorf("next visible %v %v", at, ok)
	}
	b.pass(time.Millisecond)
	again := b.take(10)
	b.want("all again, in order", bodies(again), "1 2 3")
	b.want("receive count", again[0].Attributes["ApproximateReceiveCount"], "2")
	b.want("sent", again[0].Attributes["SentTimestamp"], fmt.Sprint(b.after(-33*time.Second)))
	b.want("first received", again[0].Attributes["ApproximateFirstReceiveTimestamp"], fmt.Sprint(b.after(-30*time.Second)))

	// A handle of an older receive deletes nothing, and says nothing.
	if err := b.drop(first[0]); err != nil {
		t.Fatal(err)
	}
	if _, inFlight, _ := b.Depth(b.url); inFlight != 3 {
		t.Errorf("%d in flight after a delete with an old handle, want 3", inFlight)
	}
	// One whose visibility timeout is over deletes, as long as nobody received the message again.
	b.pass(time.Hour)
	for _, m := range again {
		if err := b.drop(m); err != nil {
			t.Fatal(err)
		}
	}
	if visible, inFlight, _ := b.Depth(b.url); visible+inFlight != 0 {
		t.Errorf("%d visible and %d in flight, want none", visible, inFlight)
	}
	b.want("delete again", code(b.drop(again[0])), "")
	b.want("no handle", code(b.drop(types.Message{ReceiptHandle: new("x")})), "ReceiptHandleIsInvalid")
	other := must(b.CreateQueue(QueueConfig{Name: "other"}))(t)
	_, err := b.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &other, ReceiptHandle: again[0].ReceiptHandle})
	b.want("handle of another queue", code(err), "ReceiptHandleIsInvalid")
}

func TestSQSDelay(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q"})
	must(b.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &b.url, MessageBody: new("late"), DelaySeconds: 10}))(t)
	b.send("now", "", "")
	if _, _, delayed := b.Depth(b.url); delayed != 1 {
		t.Errorf("%d delayed, want 1", delayed)
	}
	b.want("before the delay", bodies(b.take(10)), "now")
	b.pass(10 * time.Second)
	b.want("after the delay", bodies(b.take(10)), "late")
}

func TestSQSOrderHook(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q", Order: func(n int) int { return n - 1 }})
	for _, body := range []string{"1", "2", "3"} {
		b.send(body, "", "")
	}
	b.want("reordered", bodies(b.take(10)), "3 2 1")
}

func TestSQSFIFO(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true, VisibilityTimeout: 30 * time.Second})
	for _, m := range []string{"a1", "a2", "b1", "a3", "b2"} {
		b.send(m, m[:1], m)
	}
	first := b.take(2)
	b.want("one group first", bodies(first), "a1 a2")
	second := b.take(10)
	b.want("a blocked group is passed over", bodies(second), "b1 b2")
	b.want("all blocked", bodies(b.take(10)), "")
	if err := b.drop(first[0]); err != nil {
		t.Fatal(err)
	}
	b.want("one still in flight blocks", bodies(b.take(10)), "")
	if err := b.drop(first[1]); err != nil {
		t.Fatal(err)
	}
	third := b.take(10)
	b.want("group goes on", bodies(third), "a3")
	b.pass(30 * time.Second)
	b.want("expired handle", code(b.drop(third[0])), "InvalidParameterValue")
	b.want("expired change", code(b.visibility(third[0], 10)), "InvalidParameterValue")
	b.want("all are back, in order", bodies(b.take(10)), "b1 b2 a3")
	b.want("old handle", code(b.drop(third[0])), "InvalidParameterValue")
	batch, err := b.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: &b.url, Entries: []types.DeleteMessageBatchRequestEntry{{Id: new("x"), ReceiptHandle: third[0].ReceiptHandle}}})
	if err != nil || len(batch.Failed) != 1 || *batch.Failed[0].Code != "ReceiptHandleIsInvalid" {
		t.Errorf("batch with an expired handle: %+v %v", batch, err)
	}
}

// Released one by one, a group's messages come back together and in order.
func TestSQSFIFOReleased(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true})
	for _, m := range []string{"1", "2", "3"} {
		b.send(m, "g", m)
	}
	got := b.take(10)
	for _, i := range []int{2, 0} {
		if err := b.visibility(got[i], 0); err != nil {
			t.Fatal(err)
		}
		b.want("blocked by the rest", bodies(b.take(10)), "")
	}
	if err := b.drop(got[1]); err != nil {
		t.Fatal(err)
	}
	b.want("order", bodies(b.take(10)), "1 3")
}

func TestSQSDeduplication(t *testing.T) {
	for _, perGroup := range []bool{false, true} {
		b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true, DeduplicatePerGroup: perGroup})
		first := b.send("1", "g", "d")
		again := b.send("2", "g", "d")
		b.want("id of the first", *again.MessageId, *first.MessageId)
		b.want("sequence of the first", *again.SequenceNumber, *first.SequenceNumber)
		b.send("3", "h", "d")
		want := "1"
		if perGroup {
			want = "1 3"
		}
		got := b.take(10)
		b.want(fmt.Sprintf("per group %t", perGroup), bodies(got), want)
		for _, m := range got {
			if err := b.drop(m); err != nil {
				t.Fatal(err)
			}
		}
		b.pass(5*time.Minute - 1)
		b.send("4", "g", "d")
		b.want("deleted, and still a duplicate", bodies(b.take(10)), "")
		b.pass(1)
		later := b.send("5", "g", "d")
		b.want("after five minutes", bodies(b.take(10)), "5")
		if len(*later.SequenceNumber) != 20 || *later.SequenceNumber <= *first.SequenceNumber {
			t.Errorf("sequence %s is not 20 digits and after %s", *later.SequenceNumber, *first.SequenceNumber)
		}
	}
}

func TestSQSVisibility(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q"})
	b.send("1", "", "")
	m := b.take(1)[0]
	b.want("too long", code(b.visibility(m, 43201)), "InvalidParameterValue")
	b.want("negative", code(b.visibility(m, -1)), "InvalidParameterValue")
	b.want("twelve hours", code(b.visibility(m, 43200)), "")
	b.pass(time.Hour)
	b.want("twelve hours in all", code(b.visibility(m, 43200)), "InvalidParameterValue")
	b.want("the rest of twelve hours", code(b.visibility(m, 43200-3600)), "")
	b.want("shorter", code(b.visibility(m, 5)), "")
	b.pass(5 * time.Second)
	b.want("not in flight", code(b.visibility(m, 5)), "MessageNotInflight")
	again := b.take(1)
	b.want("visible again", bodies(again), "1")
	b.want("handle of an older receive", code(b.visibility(m, 5)), "MessageNotInflight")
	out, err := b.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &b.url, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
		{Id: new("old"), ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 7},
		{Id: new("new"), ReceiptHandle: again[0].ReceiptHandle, VisibilityTimeout: 7},
	}})
	if err != nil || len(out.Failed) != 1 || *out.Failed[0].Id != "old" || *out.Failed[0].Code != "MessageNotInflight" || len(out.Successful) != 1 {
		t.Fatalf("batch: %+v %v", out, err)
	}
	b.pass(7*time.Second - 1)
	b.want("hidden", bodies(b.take(1)), "")
	b.pass(1)
	m = b.take(1)[0]
	if err := b.drop(m); err != nil {
		t.Fatal(err)
	}
	b.want("gone", code(b.visibility(m, 5)), "InvalidParameterValue")
}

func TestSQSRedrive(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		t.Run(fmt.Sprintf("fifo=%t", fifo), func(t *testing.T) {
			suffix, group, dedup := "", "", ""
			if fifo {
				suffix, group, dedup = ".fifo", "g", "d"
			}
			b := newQueueBench(t, QueueConfig{Name: "dead" + suffix, FIFO: fifo, Retention: time.Hour})
			dead := b.url
			b.url = must(b.CreateQueue(QueueConfig{Name: "q" + suffix, FIFO: fifo, DeadLetterURL: dead, MaxReceiveCount: 2, VisibilityTimeout: time.Second}))(t)
			in := &sqs.SendMessageInput{QueueUrl: &b.url, MessageBody: new("poison"), MessageAttributes: map[string]types.MessageAttributeValue{"origin": attribute("String", "o")}}
			if fifo {
				in.MessageGroupId, in.MessageDeduplicationId = &group, &dedup
			}
			sent := must(b.SendMessage(ctx, in))(t)
			sentAt := fmt.Sprint(b.after(0))
			b.send("good", group, strings.Repeat("e", len(dedup)))
			for range 2 {
				b.want("delivered", bodies(b.take(1)), "poison")
				if !fifo {
					b.drop(b.take(1)[0])
					b.send("good", "", "")
				}
				b.pass(time.Second)
			}
			b.want("the receive after the last moves it on, and goes on", bodies(b.take(10)), "good")
			got := b.takeFrom(dead, 10)
			b.want("dead letter", bodies(got), "poison")
			b.want("id", *got[0].MessageId, *sent.MessageId)
			b.want("attribute", *got[0].MessageAttributes["origin"].StringValue, "o")
			b.want("source", got[0].Attributes["DeadLetterQueueSourceArn"], "arn:aws:sqs:us-east-1:123456789012:q"+suffix)
			b.want("group", got[0].Attributes["MessageGroupId"], group)
			b.want("count goes on", got[0].Attributes["ApproximateReceiveCount"], "3")
			if kept := got[0].Attributes["SentTimestamp"] == sentAt; kept == fifo {
				t.Errorf("sent timestamp kept: %t; only a standard queue keeps it", kept)
			}
			b.pass(time.Hour)
			if visible, inFlight, _ := b.Depth(dead); visible+inFlight != 0 {
				t.Error("retention of the dead-letter queue is not applied")
			}
		})
	}
}

func TestSQSRetention(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true, Retention: time.Hour})
	b.send("1", "g", "1")
	b.pass(time.Minute)
	b.send("2", "g", "2")
	b.pass(59*time.Minute - 1)
	if n := len(b.Messages(b.url)); n != 2 {
		t.Errorf("%d messages before the end of retention, want 2", n)
	}
	b.pass(1)
	b.want("the older one is gone", bodies(b.take(10)), "2")
	b.pass(time.Minute)
	if visible, inFlight, _ := b.Depth(b.url); visible+inFlight != 0 {
		t.Error("retention does not end a message in flight")
	}
}

func TestSQSAttributesAsked(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q"})
	binary := []byte("xy")
	in := map[string]types.MessageAttributeValue{
		"format": attribute("String", "f"), "x.a": attribute("Number", "1"), "bin": {DataType: new("Binary"), BinaryValue: binary},
	}
	must(b.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &b.url, MessageBody: new("b"), MessageAttributes: in}))(t)
	binary[0], *in["format"].StringValue = '!', "changed" // no aliasing
	for _, c := range []struct {
		ask  []string
		want string
	}{{nil, ""}, {[]string{"format"}, "format"}, {[]string{"x.*"}, "x.a"}, {[]string{"All"}, "bin format x.a"}, {[]string{"none"}, ""}} {
		out := must(b.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &b.url, MessageAttributeNames: c.ask,
			MessageSystemAttributeNames: []types.MessageSystemAttributeName{"SentTimestamp"}}))(t)
		m := out.Messages[0]
		b.want(fmt.Sprint(c.ask), strings.Join(sorted(m.MessageAttributes), " "), c.want)
		b.want("system attributes", strings.Join(sorted(m.Attributes), " "), "SentTimestamp")
		if a, ok := m.MessageAttributes["bin"]; ok {
			b.want("binary", string(a.BinaryValue), "xy")
			a.BinaryValue[0] = '?'
		}
		if a, ok := m.MessageAttributes["format"]; ok {
			b.want("string", *a.StringValue, "f")
		}
		b.pass(time.Minute)
	}
}

// The digests of a message with a string, a number and a binary attribute; reference: Python's hashlib over the
// encoding that SQS documents (length-prefixed name, type, transport byte, value, sorted by name).
func TestSQSDigests(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q"})
	out := must(b.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &b.url, MessageBody: new("hello"), MessageAttributes: map[string]types.MessageAttributeValue{
		"format": attribute("String", "f"), "count": attribute("Number", "7"), "bin": {DataType: new("Binary"), BinaryValue: []byte("xy")},
	}}))(t)
	b.want("body", *out.MD5OfMessageBody, "5d41402abc4b2a76b9719d911017c592")
	b.want("attributes", *out.MD5OfMessageAttributes, "f1192833087b26dc342a56a75077c4f1")
}

func TestSQSQueueAttributes(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "dead.fifo", FIFO: true})
	b.url = must(b.CreateQueue(QueueConfig{Name: "q.fifo", FIFO: true, DeduplicatePerGroup: true, DeadLetterURL: b.url, MaxReceiveCount: 10, Retention: MaxRetention}))(t)
	for _, m := range []string{"1", "2", "3"} {
		b.send(m, m, m)
	}
	b.take(1)
	out := must(b.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &b.url, AttributeNames: []types.QueueAttributeName{"All"}}))(t)
	for name, want := range map[string]string{
		"ApproximateNumberOfMessages": "2", "ApproximateNumberOfMessagesNotVisible": "1", "FifoQueue": "true",
		"QueueArn": "arn:aws:sqs:us-east-1:123456789012:q.fifo", "VisibilityTimeout": "30", "MessageRetentionPeriod": "1209600",
		"DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId",
		"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:123456789012:dead.fifo","maxReceiveCount":10}`,
	} {
		b.want(name, out.Attributes[name], want)
	}
	_, err := b.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &b.url, AttributeNames: []types.QueueAttributeName{"Nonsense"}})
	b.want("unknown attribute", code(err), "InvalidAttributeName")
	b.want("url", *must(b.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: new("q.fifo")}))(t).QueueUrl, b.url)
	_, err = b.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: new("none")})
	b.want("unknown queue", code(err), "QueueDoesNotExist")
	must(b.PurgeQueue(ctx, &sqs.PurgeQueueInput{QueueUrl: &b.url}))(t)
	if n := len(b.Messages(b.url)); n != 0 {
		t.Errorf("%d messages after a purge", n)
	}
}

func TestSQSInFlightLimit(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		c := QueueConfig{Name: "q", FIFO: fifo, VisibilityTimeout: time.Hour}
		if fifo {
			c.Name += ".fifo"
		}
		b := newQueueBench(t, c)
		for i := range MaxInFlight + 1 {
			group := ""
			if fifo {
				group = fmt.Sprint(i)
			}
			b.send("x", group, group)
		}
		if got, err := b.receive(ctx, &b.url, MaxInFlight+1, 0, 0, nil); err != nil || len(got) != MaxInFlight {
			t.Fatalf("received %d, %v", len(got), err)
		}
		out, err := b.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &b.url})
		if fifo {
			if err != nil || len(out.Messages) != 0 {
				t.Errorf("FIFO beyond the limit: %v %v; want nothing, and no error", out, err)
			}
		} else {
			b.want("standard beyond the limit", code(err), "OverLimit")
		}
	}
}

// Concurrent consumers of a FIFO queue never hold the same group, and see each group in order.
func TestSQSConcurrent(t *testing.T) {
	b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true})
	var wg sync.WaitGroup
	const groups, each = 8, 50
	for g := range groups {
		wg.Go(func() {
			for i := range each {
				b.send(fmt.Sprint(i), fmt.Sprint(g), fmt.Sprintf("%d-%d", g, i))
			}
		})
	}
	wg.Wait()
	var mu sync.Mutex
	held, seen := map[string]bool{}, map[string][]string{}
	for range 4 {
		wg.Go(func() {
			for {
				messages := b.take(3)
				if len(messages) == 0 {
					mu.Lock()
					busy := len(held) > 0
					mu.Unlock()
					if !busy {
						return
					}
					continue
				}
				mine := map[string]bool{}
				mu.Lock()
				for _, m := range messages {
					g := m.Attributes["MessageGroupId"]
					if held[g] && !mine[g] {
						t.Errorf("group %s is held twice", g)
					}
					held[g], mine[g] = true, true
					seen[g] = append(seen[g], *m.Body)
				}
				mu.Unlock()
				mu.Lock()
				for g := range mine {
					delete(held, g)
				}
				for _, m := range messages {
					if err := b.drop(m); err != nil {
						t.Error(err)
					}
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for g, got := range seen {
		for i, body := range got {
			if body != fmt.Sprint(i) {
				t.Fatalf("group %s: %v", g, got)
			}
		}
		if len(got) != each {
			t.Errorf("group %s: %d of %d messages", g, len(got), each)
		}
	}
	if len(seen) != groups || len(b.Messages(b.url)) != 0 {
		t.Errorf("%d groups, %d messages left", len(seen), len(b.Messages(b.url)))
	}
}

// The same calls give the same ids, handles and order.
func TestSQSDeterministic(t *testing.T) {
	run := func() string {
		b := newQueueBench(t, QueueConfig{Name: "q.fifo", FIFO: true})
		trace := ""
		for i := range 200 {
			b.send("x", fmt.Sprint(i%7), fmt.Sprint(i))
			b.pass(time.Second)
			if i%3 == 0 {
				for _, m := range b.take(4) {
					trace += *m.MessageId + *m.ReceiptHandle + fmt.Sprintln(m.Attributes)
				}
			}
		}
		return trace
	}
	if first := run(); first == "" || first != run() {
		t.Error("two runs differ")
	}
}
