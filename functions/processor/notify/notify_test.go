package notify_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

var (
	_ ingest.Notifier = (*notify.SNS)(nil)
	_ ingest.Notifier = (*notify.Writer)(nil)
)

// record is an alert with every field set, so that a field lost on the way is seen.
func record(n int) alert.Record {
	return alert.Record{
		Alert: alert.Alert{
			ID: fmt.Sprintf("20261120T143000.%09dZ-0123456789abcdef", n), Symbol: "AAPL", Source: "alpaca", Rule: "Große Zahl", Severity: alert.Critical,
			Labels: []alert.Label{{Name: "desk", Value: "equities"}, {Name: "team", Value: "<a&b>"}}, Summary: "moved 3 % \"today\"",
			Time: time.Date(2026, 11, 20, 14, 30, 0, n, time.UTC).UnixNano(), Value: 101.25,
			Operands: []alert.Operand{{Text: "price", Value: 101.25}, {Text: "size * 2", Value: -1e-200}}, Price: 101_250_000_000,
			EventID: "e1", Sequence: 0, HasSeq: true, Venue: "Q", RuleVersion: "abc", Notify: true,
		},
		Times:  alert.Times{Received: 1_795_530_600_123, Stored: 1_795_530_600_456},
		Status: alert.Pending, Owner: "owner", Lease: 1_795_530_665_000,
	}
}

func records(n int) []alert.Record {
	out := make([]alert.Record, n)
	for i := range out {
		out[i] = record(i)
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

// Both publish every alert once, in order, as the machine-readable record, which reads back as the same alert.
func TestBothPublishTheRecord(t *testing.T) {
	for name, open := range map[string]func() (ingest.Notifier, func() []string){
		"SNS": func() (ingest.Notifier, func() []string) {
			b := newBench(t)
			var got []string
			b.subscribe("sqs", nil, func(n simulate.Notification) { got = append(got, n.Message) })
			return b.notifier(1), func() []string { return got }
		},
		"Writer": func() (ingest.Notifier, func() []string) {
			var w bytes.Buffer
			return &notify.Writer{W: &w, Times: true}, func() []string {
				lines := strings.SplitAfter(w.String(), "\n")
				if last := lines[len(lines)-1]; last != "" {
					t.Errorf("the last line does not end: %q", last)
				}
				for i := range lines {
					lines[i] = strings.TrimSuffix(lines[i], "\n")
				}
				return lines[:len(lines)-1]
			}
		},
	} {
		for _, n := range []int{0, 1, 23} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				notifier, published := open()
				in := records(n)
				if n > 1 {
					// The least that an alert has, and texts that must be escaped.
					in[1] = alert.Record{Alert: alert.Alert{ID: "1", Symbol: "A", Rule: "r", Severity: alert.Info, Time: 1, Value: math.NaN(), Notify: true}}
					in[2].Venue, in[2].Summary = "\"\\\u2028", "a\nb"
				}
				if got, want := failures(notifier.Publish(t.Context(), in)), failures(make([]error, n)); got != want {
					t.Fatalf("errors %s, want %s", got, want)
				}
				got := published()
				if len(got) != n {
					t.Fatalf("%d published, want %d", len(got), n)
				}
				for i, text := range got {
					if want := string(in[i].AppendJSON(nil, in[i].Times, "")); text != want {
						t.Errorf("alert %d:\n got %s\nwant %s", i, text, want)
					}
					want := in[i].Alert
					if math.IsNaN(want.Value) {
						want.Value = 0 // JSON has no NaN: the field is left out
					}
					read, err := alert.ParseAlert([]byte(text))
					if diff := cmp.Diff(want, read); err != nil || diff != "" {
						t.Errorf("alert %d does not read back: %v\n%s", i, err, diff)
					}
				}
			})
		}
	}
}

func TestWriterLeavesOutTimes(t *testing.T) {
	var w bytes.Buffer
	in := records(1)
	(&notify.Writer{W: &w}).Publish(t.Context(), in)
	if got, want := w.String(), string(in[0].AppendJSON(nil, alert.Times{}, ""))+"\n"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
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
	w := &failingWriter{left: 2}
	in := records(4)
	errs := (&notify.Writer{W: w}).Publish(context.Background(), in)
	if got := failures(errs); got != "[2 3] of 4" {
		t.Errorf("failed: %s", got)
	}
	for i, err := range errs[2:] {
		if !errors.Is(err, errFull) || !strings.Contains(err.Error(), in[2+i].ID) {
			t.Errorf("error of alert %d does not name it and the cause: %v", 2+i, err)
		}
		if permanent(err) {
			t.Error("a full disk is no property of the alert")
		}
	}
	if lines := strings.Count(w.String(), "\n"); lines != 2 {
		t.Errorf("%d lines written, want 2", lines)
	}
}

func permanent(err error) bool {
	p, ok := err.(interface{ Permanent() bool })
	return ok && p.Permanent()
}
