package queue_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/queue"
)

var (
	_ ingest.Queue = (*queue.SQS)(nil)
	_ ingest.Queue = (*queue.Writer)(nil)
)

// rejected is a refused event with every field set.
func rejected(n int) market.Rejected {
	return market.Rejected{
		Body: fmt.Sprintf("{\"symbol\":\"A<&>\",\n\"price\":-%d}\t数 ", n), Reason: market.MalformedJSON, OriginMessageID: fmt.Sprint("origin-", n), Index: n,
		FirstReceived: time.Date(2026, 11, 20, 15, 30, 0, 123_000_000, time.FixedZone("CET", 3600)), ReceiveCount: 3, Format: "vendor", Group: "A|feed",
	}
}

func allRejected(n int) []market.Rejected {
	out := make([]market.Rejected, n)
	for i := range out {
		out[i] = rejected(i)
	}
	return out
}

// failures are the indexes of the errors that are not nil, and how many errors there are in all.
func failures(errs []error) string {
	out := []int{}
	for i, err := range errs {
		if err != nil {
			out = append(out, i)
		}
	}
	return fmt.Sprint(out, " of ", len(errs))
}

func TestWriterReject(t *testing.T) {
	var w bytes.Buffer
	in := []market.Rejected{rejected(7), {Reason: market.LateRetry, OriginMessageID: "o"}}
	if errs := (&queue.Writer{W: &w}).Reject(t.Context(), in); failures(errs) != "[] of 2" {
		t.Fatal(errs)
	}
	want := []map[string]any{
		{"reason": "malformed_json", "origin_message_id": "origin-7", "index": 7.0, "receive_count": 3.0, "format": "vendor", "group": "A|feed", "body": in[0].Body},
		{"reason": "late", "origin_message_id": "o", "index": 0.0, "body": ""},
	}
	lines := strings.Split(w.String(), "\n")
	if len(lines) != 3 || lines[2] != "" {
		t.Fatalf("not two whole lines: %q", w.String())
	}
	for i, w := range want {
		var got map[string]any
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil || fmt.Sprint(got) != fmt.Sprint(w) {
			t.Errorf("line %d: %v\n got %v\nwant %v", i, err, got, w)
		}
	}
}

// failingWriter takes some writes, then no more.
type failingWriter struct {
	bytes.Buffer
	left int
}

var errFull = errors.New("disk full")

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left == 0 {
		return 0, errFull
	}
	w.left--
	return w.Buffer.Write(p)
}

func TestWriterFailsInTheMiddle(t *testing.T) {
	w := &failingWriter{left: 1}
	errs := (&queue.Writer{W: w}).Reject(t.Context(), allRejected(3))
	if failures(errs) != "[1 2] of 3" || !errors.Is(errs[1], errFull) || !errors.Is(errs[2], errFull) {
		t.Errorf("failed %s: %v", failures(errs), errs)
	}
	if lines := strings.Count(w.String(), "\n"); lines != 1 {
		t.Errorf("%d lines, want 1", lines)
	}
	if strings.Contains(errs[1].Error(), "symbol") {
		t.Errorf("the error has the body: %v", errs[1])
	}
}

func TestWriterSetVisibility(t *testing.T) {
	delays := []market.Delay{{ReceiptHandle: "a", After: time.Second}, {ReceiptHandle: "b", After: time.Minute}, {ReceiptHandle: "c"}}
	if err := (&queue.Writer{}).SetVisibility(t.Context(), delays); err != nil {
		t.Errorf("without Hide: %v", err)
	}
	var got []market.Delay
	gone := errors.New("gone")
	w := &queue.Writer{Hide: func(handle string, after time.Duration) error {
		got = append(got, market.Delay{ReceiptHandle: handle, After: after})
		if handle == "a" {
			return gone
		}
		return nil
	}}
	if err := w.SetVisibility(t.Context(), delays); !errors.Is(err, gone) {
		t.Errorf("the failure is lost: %v", err)
	}
	if fmt.Sprint(got) != fmt.Sprint(delays) {
		t.Errorf("hid %v, want %v", got, delays)
	}
	if err := w.SetVisibility(t.Context(), delays[1:]); err != nil {
		t.Error(err)
	}
}
