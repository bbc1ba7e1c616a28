package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

var (
	_ ingest.Clocks = (*queue.SQS)(nil)
	_ ingest.Clocks = (*queue.Writer)(nil)
)

// counted counts the calls of SendMessageBatch, and answers with answer where it is not nil.
type counted struct {
	*simulate.SQS
	calls  int
	answer func(*sqs.SendMessageBatchInput) (*sqs.SendMessageBatchOutput, error)
}

func (c *counted) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	c.calls++
	if c.answer != nil {
		return c.answer(in)
	}
	return c.SQS.SendMessageBatch(ctx, in)
}

func clockQueue(t *testing.T, fifo bool) (*counted, *queue.SQS) {
	t.Helper()
	now := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	c := &counted{SQS: simulate.NewSQS(func() time.Time { return now })}
	name := "market"
	if fifo {
		name += ".fifo"
	}
	market, err := c.CreateQueue(simulate.QueueConfig{Name: name, FIFO: fifo, DeduplicatePerGroup: fifo})
	if err != nil {
		t.Fatal(err)
	}
	return c, &queue.SQS{API: c, QueueURL: market, RejectsURL: "none"}
}

func clocks(n int, group string) []alert.ClockMessage {
	var out []alert.ClockMessage
	for i := range n {
		m := alert.ClockMessage{Group: group, ID: fmt.Sprint("id", i), Body: fmt.Sprintf(`{"type":"clock","symbol":"S%d"}`, i)}
		if group != "" {
			m.Group += fmt.Sprint(i % 3)
		}
		out = append(out, m)
	}
	return out
}

func TestClocksGoIntoTheirGroupsOnce(t *testing.T) {
	c, q := clockQueue(t, true)
	for range 2 { // the second time within 5 minutes
		for i, err := range q.SendClocks(t.Context(), clocks(23, "g")) {
			if err != nil {
				t.Errorf("message %d: %v", i, err)
			}
		}
	}
	if c.calls != 6 {
		t.Errorf("%d calls, want 3 for 23 messages each time", c.calls)
	}
	seen := map[string]int{}
	for _, m := range c.Messages(q.QueueURL) {
		body := aws.ToString(m.Body)
		seen[body]++
		var n int
		if _, err := fmt.Sscanf(body, `{"type":"clock","symbol":"S%d"}`, &n); err != nil {
			t.Fatal(err)
		}
		if got, want := m.Attributes["MessageGroupId"], fmt.Sprint("g", n%3); got != want {
			t.Errorf("message %s is in group %s, want %s", body, got, want)
		}
	}
	if len(seen) != 23 {
		t.Errorf("%d messages queued, want 23", len(seen))
	}
	for body, n := range seen {
		if n != 1 {
			t.Errorf("%s is queued %d times", body, n)
		}
	}
}

func TestClocksOfAStandardQueueHaveNoGroup(t *testing.T) {
	c, q := clockQueue(t, false)
	for i, err := range q.SendClocks(t.Context(), clocks(11, "")) {
		if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if n := len(c.Messages(q.QueueURL)); n != 11 {
		t.Errorf("%d messages queued, want 11", n)
	}
}

func TestClocksAreSplitByBytes(t *testing.T) {
	c, q := clockQueue(t, true)
	large := clocks(4, "g")
	for i := range large {
		large[i].Body = strings.Repeat("x", 400_000)
	}
	for i, err := range q.SendClocks(t.Context(), large) {
		if err != nil {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if c.calls != 2 {
		t.Errorf("%d calls for four messages of 400 kB, want 2", c.calls)
	}
}

func TestClocksThatAreNotSentAreErrors(t *testing.T) {
	c, q := clockQueue(t, true)
	down := errors.New("down")
	c.answer = func(in *sqs.SendMessageBatchInput) (*sqs.SendMessageBatchOutput, error) {
		if c.calls == 1 {
			return nil, down
		}
		return &sqs.SendMessageBatchOutput{Successful: []types.SendMessageBatchResultEntry{{Id: in.Entries[0].Id}},
			Failed: []types.BatchResultErrorEntry{{Id: in.Entries[1].Id, Code: aws.String("Throttled")}}}, nil
	}
	errs := q.SendClocks(t.Context(), clocks(13, "g"))
	for i, err := range errs {
		switch {
		case i < 10 && !errors.Is(err, down), i == 10 && err != nil, i == 11 && !strings.Contains(fmt.Sprint(err), "market data queue did not take a message: Throttled"), i == 12 && err == nil:
			t.Errorf("message %d: %v", i, err)
		}
	}
}

func TestWriterHandsClocksOn(t *testing.T) {
	if errs := (&queue.Writer{W: io.Discard}).SendClocks(t.Context(), clocks(2, "g")); len(errs) != 2 || errors.Join(errs...) != nil {
		t.Errorf("without Send: %v", errs)
	}
	var sent []string
	w := queue.Writer{W: io.Discard, Send: func(m alert.ClockMessage) error {
		if m.ID == "id1" {
			return io.ErrClosedPipe
		}
		sent = append(sent, m.Group+" "+m.ID)
		return nil
	}}
	errs := w.SendClocks(t.Context(), clocks(3, "g"))
	if errs[0] != nil || !errors.Is(errs[1], io.ErrClosedPipe) || errs[2] != nil || strings.Join(sent, ",") != "g0 id0,g2 id2" {
		t.Errorf("sent %v, errors %v", sent, errs)
	}
}
