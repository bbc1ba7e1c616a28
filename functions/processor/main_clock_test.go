package main

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/queue"
)

// ticks counts the clock's ticks: each looks once for expired alerts.
type ticks struct {
	*ledger.Memory
	n   int
	err error
}

func (c *ticks) ExpiredAlerts(ctx context.Context, now time.Time) iter.Seq2[alert.Key, error] {
	c.n++
	if c.err != nil {
		return func(yield func(alert.Key, error) bool) { yield(alert.Key{}, c.err) }
	}
	return c.Memory.ExpiredAlerts(ctx, now)
}

func (c *ticks) Publish(_ context.Context, records []alert.Record) []error {
	return make([]error, len(records))
}

// TestInvokeTellsClockFromRecords: the clock's constant input ticks, records are processed, and nothing else does anything.
func TestInvokeTellsClockFromRecords(t *testing.T) {
	rules, err := alert.Load("rules.yaml", []byte("rules:\n  - alert: High\n    expr: price > 100\n    cooldown: 1m\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		payload, answer string
		ticks           int
		alerts          int
		err             string
	}{
		{`{"clock":"tick"}`, "null", 1, 0, ""},
		{` { "clock" : "tick" } `, "null", 1, 0, ""},
		{`{"clock":"tock"}`, "", 0, 0, "no SQS records and is not"},
		{`{"clock":"tick","detail":{}}`, "", 0, 0, "no SQS records and is not"},
		{`{}`, "", 0, 0, "no SQS records and is not"},
		{`{"Records":[]}`, "", 0, 0, "no SQS records and is not"},
		{`[]`, "", 0, 0, "no SQS batch"},
		{`{"clock":"tick","Records":[{"messageId":"m","attributes":{"ApproximateReceiveCount":"1"},
			"body":"{\"symbol\":\"AAPL\",\"price\":101,\"timestamp\":\"2026-11-20T14:30:00Z\"}"}]}`, `{"batchItemFailures":[]}`, 0, 1, ""},
	} {
		store := &ticks{Memory: ledger.NewMemory(ledger.Config{})}
		h, err := ingest.New(ingest.Config{Engine: rules.Engine(alert.Options{}), Ledger: store, Notifier: store, Queue: &queue.Writer{},
			Timetable: store, Clocks: &queue.Writer{}})
		if err != nil {
			t.Fatal(err)
		}
		answer, err := invoker{h}.Invoke(t.Context(), []byte(tt.payload))
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: error is %v, want %q", tt.payload, err, tt.err)
		}
		if string(answer) != tt.answer || store.n != tt.ticks || len(store.All()) != tt.alerts {
			t.Errorf("%s: answer %s, %d ticks, %d alerts, want %s, %d, %d", tt.payload, answer, store.n, len(store.All()), tt.answer, tt.ticks, tt.alerts)
		}
		if tt.ticks > 0 {
			store.err = errors.New("down")
			if answer, err := (invoker{h}).Invoke(t.Context(), []byte(tt.payload)); !errors.Is(err, store.err) || answer != nil {
				t.Errorf("a tick that fails gives %s, %v", answer, err)
			}
		}
	}
}
