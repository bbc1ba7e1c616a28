package queue_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"pgregory.net/rapid"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

// sqsBytes is SQS's limit of one message and of one call, bodies and attributes together.
const sqsBytes = 1_048_576

// bench has both queues and a record of the calls made to them.
type bench struct {
	*simulate.SQS
	t                *testing.T
	now              time.Time
	market, rejects  string
	sends            []*sqs.SendMessageBatchInput
	changes          []*sqs.ChangeMessageVisibilityBatchInput
	send             func(call int) (*sqs.SendMessageBatchOutput, error) // answers instead of the queue where it returns something
	changeVisibility func(call int) error
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, now: time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)}
	b.SQS = simulate.NewSQS(func() time.Time { return b.now })
	b.market, b.rejects = b.create(simulate.QueueConfig{Name: "market-data-test.fifo", FIFO: true}), b.create(simulate.QueueConfig{Name: "market-data-rejects-test"})
	return b
}

func (b *bench) create(c simulate.QueueConfig) string {
	url, err := b.CreateQueue(c)
	if err != nil {
		b.t.Fatal(err)
	}
	return url
}

func (b *bench) queue() *queue.SQS {
	return &queue.SQS{API: b, QueueURL: b.market, RejectsURL: b.rejects}
}

func (b *bench) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	b.sends = append(b.sends, in)
	if b.send != nil {
		if out, err := b.send(len(b.sends) - 1); out != nil || err != nil {
			return out, err
		}
	}
	return b.SQS.SendMessageBatch(ctx, in)
}

func (b *bench) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	b.changes = append(b.changes, in)
	if b.changeVisibility != nil {
		if err := b.changeVisibility(len(b.changes) - 1); err != nil {
			return nil, err
		}
	}
	return b.SQS.ChangeMessageVisibilityBatch(ctx, in)
}

// sizes are the numbers of entries of the calls that sent.
func (b *bench) sizes() string {
	out := []int{}
	for _, in := range b.sends {
		out = append(out, len(in.Entries))
	}
	return fmt.Sprint(out)
}

// attributes shows a message's attributes as name=type:value, sorted.
func attributes(m types.Message) []string {
	var out []string
	for name, a := range m.MessageAttributes {
		out = append(out, name+"="+*a.DataType+":"+*a.StringValue)
	}
	slices.Sort(out)
	return out
}

func bytesOf(body *string, attributes map[string]types.MessageAttributeValue) int {
	n := len(*body)
	for name, a := range attributes {
		n += len(name) + len(*a.DataType) + len(*a.StringValue)
	}
	return n
}

func TestRejectMessage(t *testing.T) {
	full := []string{
		"first_received=String:2026-11-20T14:30:00.123Z", "format=String:vendor", "group=String:A|feed", "index=Number:7",
		"origin_message_id=String:origin-7", "reason=String:malformed_json", "receive_count=Number:3",
	}
	change := func(edit func(*market.Rejected)) market.Rejected {
		r := rejected(7)
		edit(&r)
		return r
	}
	replace := func(prefix, with string) []string {
		return slices.Collect(func(yield func(string) bool) {
			for _, a := range full {
				if strings.HasPrefix(a, prefix+"=") {
					a = with
				}
				if a != "" && !yield(a) {
					return
				}
			}
		})
	}
	for _, c := range []struct {
		name string
		in   market.Rejected
		body string
		want []string
	}{
		{"everything", rejected(7), rejected(7).Body, full},
		{"canonical", change(func(r *market.Rejected) { r.Format = "" }), rejected(7).Body, replace("format", "")},
		{"standard queue", change(func(r *market.Rejected) { r.Group = "" }), rejected(7).Body, replace("group", "")},
		{"first event", change(func(r *market.Rejected) { r.Index = 0 }), rejected(7).Body, replace("index", "index=Number:0")},
		{"an alert", market.Rejected{Body: "{}", Reason: market.AlertRefused, OriginMessageID: "id"}, "{}",
			[]string{"index=Number:0", "origin_message_id=String:id", "reason=String:alert_refused"}},
		{"empty body", change(func(r *market.Rejected) { r.Body = "" }), " ", full},
		{"blank body", change(func(r *market.Rejected) { r.Body = "\r\n\t" }), "\r\n\t", full},
		// SQS refuses these in a body and in an attribute; an alert's record may have them.
		{"body with a noncharacter", change(func(r *market.Rejected) { r.Body = "a\uFFFFb\uFFFEc\x00\uFFFD" }), "a\uFFFDb\uFFFDc\uFFFD\uFFFD", full},
		{"body that is not UTF-8", change(func(r *market.Rejected) { r.Body = "a\xffb" }), "a\uFFFDb", full},
		{"group of odd characters", change(func(r *market.Rejected) { r.Group = "a\x00b\uFFFFc\xff数" }), rejected(7).Body,
			replace("group", "group=String:a\uFFFDb\uFFFDc\uFFFD数")},
		{"origin of odd characters", change(func(r *market.Rejected) { r.OriginMessageID = "<\x1b>\n" }), rejected(7).Body,
			replace("origin_message_id", "origin_message_id=String:<\uFFFD>\n")},
		{"long format", change(func(r *market.Rejected) { r.Format = "x" + strings.Repeat("数", 1000) }), rejected(7).Body,
			replace("format", "format=String:x"+strings.Repeat("数", 341))},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			if errs := b.queue().Reject(t.Context(), []market.Rejected{c.in}); failures(errs) != "[] of 1" {
				t.Fatal(errs)
			}
			got := b.Messages(b.rejects)
			if len(got) != 1 {
				t.Fatalf("%d messages, want 1", len(got))
			}
			if *got[0].Body != c.body {
				t.Errorf("body %q, want %q", *got[0].Body, c.body)
			}
			if a := attributes(got[0]); !slices.Equal(a, c.want) {
				t.Errorf("attributes\n got %q\nwant %q", a, c.want)
			}
			if len(b.Messages(b.market)) != 0 {
				t.Error("a refused event went to the market data queue")
			}
		})
	}
}

func TestRejectLargeBody(t *testing.T) {
	for _, c := range []struct {
		name  string
		body  string
		parts int
	}{
		{"1 MiB", strings.Repeat("a", sqsBytes), 2},
		{"1 MiB, 3-byte characters", strings.Repeat("数", sqsBytes/3), 2},
		{"1 MiB, 4-byte characters", "a" + strings.Repeat("😀", sqsBytes/4-1) + "bcd", 2},
		{"1 MiB, half a character off", "ab" + strings.Repeat("😀", sqsBytes/4-1) + "cd", 2},
		{"one byte too many", strings.Repeat("a", sqsBytes-overhead(t)+1), 2},
		{"just fits", strings.Repeat("a", sqsBytes-overhead(t)), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			in := rejected(7)
			in.Body = c.body
			if errs := b.queue().Reject(t.Context(), []market.Rejected{in}); failures(errs) != "[] of 1" {
				t.Fatal(errs)
			}
			got := b.Messages(b.rejects)
			if len(got) != c.parts {
				t.Fatalf("%d messages, want %d", len(got), c.parts)
			}
			whole := ""
			for i, m := range got {
				whole += *m.Body
				if !utf8.ValidString(*m.Body) {
					t.Errorf("part %d is cut within a character", i+1)
				}
				want := 7
				if c.parts == 2 {
					want = 8
					if part := m.MessageAttributes[queue.AttrPart]; aws.ToString(part.StringValue) != fmt.Sprintf("%d/2", i+1) || *part.DataType != "String" {
						t.Errorf("part %d has attributes %q", i+1, attributes(m))
					}
				}
				if len(m.MessageAttributes) != want || *m.MessageAttributes[queue.AttrReason].StringValue != "malformed_json" {
					t.Errorf("part %d has attributes %q", i+1, attributes(m))
				}
				if d := len(*m.Body) - len(c.body)/c.parts; d > 4 || d < -4 {
					t.Errorf("part %d has %d bytes of %d", i+1, len(*m.Body), len(c.body))
				}
			}
			if whole != c.body {
				t.Error("the parts are not the body as received")
			}
		})
	}
}

// overhead is the number of bytes that the attributes of rejected(7) take.
func overhead(t *testing.T) int {
	b := newBench(t)
	b.queue().Reject(t.Context(), []market.Rejected{rejected(7)})
	m := b.Messages(b.rejects)[0]
	return bytesOf(m.Body, m.MessageAttributes) - len(*m.Body)
}

// However long a sender's attributes are, the event is kept.
func TestRejectLongAttributes(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("x", 400_000)
	in := market.Rejected{Body: strings.Repeat("a", 1_000_000), Reason: market.MalformedJSON, OriginMessageID: long, Format: long, Group: long}
	if errs := b.queue().Reject(t.Context(), []market.Rejected{in}); failures(errs) != "[] of 1" || len(b.Messages(b.rejects)) != 1 {
		t.Errorf("%v, %d messages", errors.Join(errs...), len(b.Messages(b.rejects)))
	}
}

// Whatever the sizes, everything is kept, in order, and no call is too large; none could have taken the next message.
func TestRejectCalls(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := newBench(t)
		lengths := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 50), rapid.IntRange(100_000, sqsBytes)), 0, 25).Draw(r, "lengths")
		in := allRejected(len(lengths))
		want := ""
		for i, n := range lengths {
			in[i].Body = strings.Repeat(string(rune('a'+i)), n+1)
			want += in[i].Body
		}
		if errs := b.queue().Reject(t.Context(), in); failures(errs) != failures(make([]error, len(in))) {
			r.Fatalf("failed %s: %v", failures(errs), errors.Join(errs...))
		}
		size := func(e types.SendMessageBatchRequestEntry) int { return bytesOf(e.MessageBody, e.MessageAttributes) }
		for i, call := range b.sends {
			n := 0
			for _, e := range call.Entries {
				n += size(e)
			}
			if n > sqsBytes {
				r.Fatalf("call %d has %d bytes", i, n)
			}
			if i+1 < len(b.sends) && len(call.Entries) < 10 && n+size(b.sends[i+1].Entries[0]) <= sqsBytes {
				r.Fatalf("call %d has room for the message after it", i)
			}
		}
		got := ""
		for _, m := range b.Messages(b.rejects) {
			got += *m.Body
		}
		if got != want {
			r.Fatal("the bodies are not kept in order")
		}
	})
}

func TestRejectCallsByCount(t *testing.T) {
	for _, n := range []int{0, 1, 10, 11, 25} {
		b := newBench(t)
		errs := b.queue().Reject(t.Context(), allRejected(n))
		if len(b.sends) != (n+9)/10 || len(errs) != n || len(b.Messages(b.rejects)) != n {
			t.Errorf("%d events: %d calls, %d results, %d messages", n, len(b.sends), len(errs), len(b.Messages(b.rejects)))
		}
	}
}

func TestRejectFailures(t *testing.T) {
	ids := func(of ...string) (out []types.SendMessageBatchResultEntry) {
		for _, id := range of {
			out = append(out, types.SendMessageBatchResultEntry{Id: aws.String(id)})
		}
		return out
	}
	denied := errors.New("access denied")
	for _, c := range []struct {
		name   string
		send   func(call int) (*sqs.SendMessageBatchOutput, error)
		failed string
		text   string // of the first error
	}{
		{"first call", func(call int) (*sqs.SendMessageBatchOutput, error) {
			if call == 0 {
				return nil, denied
			}
			return nil, nil
		}, "[0 1 2 3 4 5 6 7 8 9] of 14", "access denied"},
		{"second call", func(call int) (*sqs.SendMessageBatchOutput, error) {
			if call == 1 {
				return nil, denied
			}
			return nil, nil
		}, "[10 11 12 13] of 14", "access denied"},
		{"single entries", func(call int) (*sqs.SendMessageBatchOutput, error) {
			if call == 0 {
				return nil, nil
			}
			return &sqs.SendMessageBatchOutput{Successful: ids("3", "0"), Failed: []types.BatchResultErrorEntry{{Id: aws.String("2"), Code: aws.String("InternalError"), Message: aws.String("secret")}, {}}}, nil
		}, "[11 12] of 14", "no answer"},
		{"the failure's code", func(call int) (*sqs.SendMessageBatchOutput, error) {
			if call == 0 {
				return nil, nil
			}
			return &sqs.SendMessageBatchOutput{Successful: ids("3", "0", "1"), Failed: []types.BatchResultErrorEntry{{Id: aws.String("2"), Code: aws.String("InternalError"), Message: aws.String("secret")}}}, nil
		}, "[12] of 14", "InternalError"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.send = c.send
			errs := b.queue().Reject(t.Context(), allRejected(14))
			if got := failures(errs); got != c.failed {
				t.Fatalf("failed %s, want %s", got, c.failed)
			}
			first := errs[slices.IndexFunc(errs, func(err error) bool { return err != nil })].Error()
			if !strings.Contains(first, c.text) || strings.Contains(first, "secret") || strings.Contains(first, "symbol") {
				t.Errorf("error %q, want one with %q and without texts of others", first, c.text)
			}
			if c.text == "access denied" && !errors.Is(errors.Join(errs...), denied) {
				t.Error("the cause is lost")
			}
		})
	}
}

// A body in two parts is kept only if both are; the elements around it have their own results.
func TestRejectHalfFails(t *testing.T) {
	for failing := range 3 {
		b := newBench(t)
		in := allRejected(3)
		in[1].Body = strings.Repeat("a", 2*sqsBytes-10_000) // each half fills a call but for 5 kB
		b.send = func(call int) (*sqs.SendMessageBatchOutput, error) {
			if call == failing {
				return nil, errors.New("no")
			}
			return nil, nil
		}
		errs := b.queue().Reject(t.Context(), in)
		want := []string{"[0 1] of 3", "[1 2] of 3", "[] of 3"}[failing]
		if got := failures(errs); b.sizes() != "[2 2]" || got != want {
			t.Errorf("call %d of %s fails: failed %s, want %s", failing, b.sizes(), got, want)
		}
	}
}

func TestRejectUnknownQueue(t *testing.T) {
	b := newBench(t)
	q := b.queue()
	q.RejectsURL += "-gone"
	errs := q.Reject(t.Context(), allRejected(1))
	if missing := new(*types.QueueDoesNotExist); failures(errs) != "[0] of 1" || !errors.As(errs[0], missing) {
		t.Errorf("the cause is lost: %v", errs)
	}
}

// receive sends n messages, each in its group, and receives them.
func (b *bench) receive(n int) []types.Message {
	var out []types.Message
	for i := range n {
		id := fmt.Sprint(i)
		if _, err := b.SendMessage(b.t.Context(), &sqs.SendMessageInput{QueueUrl: &b.market, MessageBody: &id, MessageGroupId: &id, MessageDeduplicationId: &id}); err != nil {
			b.t.Fatal(err)
		}
	}
	for len(out) < n {
		got, err := b.ReceiveMessage(b.t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &b.market, MaxNumberOfMessages: 10})
		if err != nil || len(got.Messages) == 0 {
			b.t.Fatalf("received %d of %d: %v", len(out), n, err)
		}
		out = append(out, got.Messages...)
	}
	return out
}

func TestSetVisibilityRoundsUp(t *testing.T) {
	for _, c := range []struct {
		after time.Duration
		want  int32
	}{{0, 0}, {1, 1}, {time.Millisecond, 1}, {time.Second, 1}, {time.Second + 1, 2}, {15 * time.Second, 15}, {359*time.Second + 500*time.Millisecond, 360}, {12 * time.Hour, 43_200}} {
		b := newBench(t)
		m := b.receive(1)[0]
		if err := b.queue().SetVisibility(t.Context(), []market.Delay{{ReceiptHandle: *m.ReceiptHandle, After: c.after}}); err != nil {
			t.Fatal(err)
		}
		if got := b.changes[0].Entries[0].VisibilityTimeout; got != c.want {
			t.Errorf("%s: %d seconds, want %d", c.after, got, c.want)
		}
	}
}

// Each message comes back after its own delay, not before and not later than the second in which it is due.
func TestSetVisibilityOfEach(t *testing.T) {
	b := newBench(t)
	messages := b.receive(25)
	var delays []market.Delay
	for i, m := range messages {
		delays = append(delays, market.Delay{ReceiptHandle: *m.ReceiptHandle, After: time.Duration(60+i) * time.Second})
	}
	if err := b.queue().SetVisibility(t.Context(), delays); err != nil {
		t.Fatal(err)
	}
	var sizes []int
	for _, in := range b.changes {
		sizes = append(sizes, len(in.Entries))
	}
	if fmt.Sprint(sizes) != "[10 10 5]" {
		t.Errorf("calls of %v entries, want [10 10 5]", sizes)
	}
	start := b.now
	for i := range messages {
		b.now = start.Add(delays[i].After - 1)
		if visible, _, _ := b.Depth(b.market); visible != i {
			t.Errorf("%d visible just before delay %d", visible, i)
		}
		b.now = b.now.Add(1)
		if visible, _, _ := b.Depth(b.market); visible != i+1 {
			t.Errorf("%d visible after delay %d", visible, i)
		}
	}
}

func TestSetVisibilityFailures(t *testing.T) {
	denied := errors.New("access denied")
	for _, c := range []struct {
		name   string
		stale  []int
		fail   func(call int) error
		hidden int
		texts  []string
	}{
		{"none", nil, nil, 12, nil},
		{"stale handles", []int{2, 5, 11}, nil, 9, []string{"2 of 10", "1 of 2", "ReceiptHandleIsInvalid"}},
		{"a call", nil, func(call int) error {
			if call == 0 {
				return denied
			}
			return nil
		}, 2, []string{"10 messages", "access denied"}},
		{"every call", nil, func(int) error { return denied }, 0, []string{"10 messages", "2 messages"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.changeVisibility = c.fail
			var delays []market.Delay
			for _, m := range b.receive(12) {
				delays = append(delays, market.Delay{ReceiptHandle: *m.ReceiptHandle, After: time.Hour})
			}
			for _, i := range c.stale {
				delays[i].ReceiptHandle = "secret-handle"
			}
			err := b.queue().SetVisibility(t.Context(), delays)
			if (err != nil) != (c.texts != nil) {
				t.Fatalf("error %v", err)
			}
			for _, text := range c.texts {
				if !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "secret") {
					t.Errorf("error %q, want one with %q and without a handle", err, text)
				}
			}
			if c.fail != nil && !errors.Is(err, denied) {
				t.Error("the cause is lost")
			}
			b.now = b.now.Add(30 * time.Minute) // the queue's own timeout is over
			if _, hidden, _ := b.Depth(b.market); hidden != c.hidden || len(b.changes) != 2 {
				t.Errorf("%d hidden after %d calls, want %d after 2", hidden, len(b.changes), c.hidden)
			}
		})
	}
	b := newBench(t)
	if err := b.queue().SetVisibility(t.Context(), nil); err != nil || len(b.changes) != 0 {
		t.Errorf("no delays: %v, %d calls", err, len(b.changes))
	}
}

// The handle of an earlier receive hides nothing, and the others of its call are hidden.
func TestSetVisibilityAfterExpiry(t *testing.T) {
	b := newBench(t)
	old := b.receive(1)[0]
	b.now = b.now.Add(time.Minute)
	got, err := b.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &b.market})
	if err != nil || len(got.Messages) != 1 {
		t.Fatal(err)
	}
	err = b.queue().SetVisibility(t.Context(), []market.Delay{
		{ReceiptHandle: *old.ReceiptHandle, After: 10 * time.Hour}, {ReceiptHandle: *got.Messages[0].ReceiptHandle, After: time.Hour},
	})
	if err == nil || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("error %v, want 1 of 2", err)
	}
	if at, _ := b.NextVisible(b.market); !at.Equal(b.now.Add(time.Hour)) {
		t.Errorf("visible at %s, want an hour from %s", at, b.now)
	}
}

// The attributes' names are a contract with whoever reads the rejects queue.
func TestAttributeNames(t *testing.T) {
	b := newBench(t)
	in := rejected(0)
	in.Body = strings.Repeat("a", sqsBytes)
	b.queue().Reject(t.Context(), []market.Rejected{in})
	got := slices.Sorted(maps.Keys(b.Messages(b.rejects)[0].MessageAttributes))
	want := []string{"first_received", "format", "group", "index", "origin_message_id", "part", "reason", "receive_count"}
	if !slices.Equal(got, want) || len(got) > simulate.MaxMessageAttributes {
		t.Errorf("attributes %q, want %q", got, want)
	}
}

// slow is an SQS whose sends wait for each other: n of them must be under way at the same time.
type slow struct {
	queue.SQSAPI
	arrived chan bool
	release chan bool
}

func (s *slow) SendMessageBatch(_ context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	s.arrived <- true
	<-s.release
	out := &sqs.SendMessageBatchOutput{}
	for _, e := range in.Entries {
		if *e.MessageBody == "bad" {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: aws.String("Broken")})
			continue
		}
		out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id})
	}
	return out, nil
}

func TestRejectsAreSentConcurrently(t *testing.T) {
	api := &slow{arrived: make(chan bool), release: make(chan bool)}
	s := &queue.SQS{API: api, Concurrency: 4}
	rejected := make([]market.Rejected, 40)
	for i := range rejected {
		rejected[i].Body = "x"
	}
	rejected[25].Body = "bad"
	result := make(chan []error)
	go func() { result <- s.Reject(t.Context(), rejected) }()
	for range 4 {
		<-api.arrived // a send that waited for the one before it would never arrive
	}
	close(api.release)
	for i, err := range <-result {
		if (err != nil) != (i == 25) {
			t.Errorf("event %d: %v", i, err)
		}
	}
}
