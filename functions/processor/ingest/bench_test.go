package ingest_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// Four rules with history, eight slots, none of which fires.
const historyOfFour = `
rules:
  - {alert: SMA, expr: "crossover(sma(price, 20), sma(price, 50)) and price > 1e6", cooldown: 1h}
  - {alert: EMA, expr: "crossover(ema(price, 12), ema(price, 26)) and price > 1e6", cooldown: 1h}
  - {alert: RSI, expr: "rsi(price, 14) > 100", cooldown: 1h}
  - {alert: ZScore, expr: "zscore(price, 20) > 50", cooldown: 1h}
`

const oneThreshold = "rules:\n  - {alert: High, expr: price > 1e6}\n"

// bench is a handler over the in-memory ledger, and batches of one shape for it, each with new events.
type bench struct {
	handler  *ingest.Handler
	messages int // in a batch
	events   int // in a message
	series   func(message, event int) int
	now      time.Time
	next     int
}

type nobody struct{}

func (nobody) Publish(_ context.Context, r []alert.Record) []error     { return make([]error, len(r)) }
func (nobody) Reject(_ context.Context, r []market.Rejected) []error   { return make([]error, len(r)) }
func (nobody) SetVisibility(_ context.Context, _ []market.Delay) error { return nil }

func newBench(tb testing.TB, rules string, delivery settings.Delivery, messages, events int, series func(message, event int) int, warm int) *bench {
	tb.Helper()
	b := &bench{messages: messages, events: events, series: series, now: time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)}
	compiled, err := alert.Load("rules.yaml", []byte(rules))
	if err != nil {
		tb.Fatal(err)
	}
	now := func() time.Time { return b.now }
	b.handler, err = ingest.New(ingest.Config{Environment: "bench", Delivery: delivery,
		Engine: compiled.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: delivery == settings.Ordered}),
		Ledger: ledger.NewMemory(ledger.Config{Now: now}), Notifier: nobody{}, Queue: nobody{}, SeriesConcurrency: 1, Metrics: io.Discard, Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	for range warm {
		b.handle(tb, b.batch())
	}
	return b
}

// batch is the next batch: a second later, with new identities.
func (b *bench) batch() []ingest.Record {
	b.next++
	b.now = b.now.Add(time.Second)
	records := make([]ingest.Record, b.messages)
	for m := range records {
		var body strings.Builder
		for i := range b.events {
			fmt.Fprintf(&body, `{"symbol":"S%05d","price":%d.%02d,"timestamp":"%s","sequence":%d}`+"\n", b.series(m, i), 100+(b.next+i)%7, (b.next*i)%100,
				b.now.Format(time.RFC3339), (b.next*b.messages+m)*b.events+i)
		}
		records[m] = ingest.Record{MessageID: fmt.Sprintf("m-%d-%d", b.next, m), Body: body.String(), Group: "g", ReceiveCount: 1, Sent: b.now}
	}
	return records
}

func (b *bench) handle(tb testing.TB, records []ingest.Record) {
	if r, err := b.handler.Handle(context.Background(), records); err != nil || len(r.BatchItemFailures) > 0 {
		tb.Fatal(r, err)
	}
}

// The shapes of a batch: packed messages by series and by shard, and messages of one event.
var shapes = []struct {
	name             string
	delivery         settings.Delivery
	messages, events int
	series           func(message, event int) int
}{
	{"10x500 by series", settings.Ordered, 10, 500, func(m, _ int) int { return m }},
	{"10x500 by shard", settings.Ordered, 10, 500, func(m, i int) int { return m*500 + i }},
	{"1000x1", settings.Unordered, 1000, 1, func(m, _ int) int { return m }},
	{"1000x1 of one series", settings.Unordered, 1000, 1, func(_, _ int) int { return 0 }},
	{"10000x1 of one series", settings.Unordered, 10_000, 1, func(_, _ int) int { return 0 }},
}

func BenchmarkHandle(b *testing.B) {
	for _, kind := range []struct{ name, rules string }{{"threshold", oneThreshold}, {"history", historyOfFour}} {
		for _, shape := range shapes {
			b.Run(kind.name+"/"+shape.name, func(b *testing.B) {
				h := newBench(b, kind.rules, shape.delivery, shape.messages, shape.events, shape.series, 60)
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					records := h.batch()
					b.StartTimer()
					h.handle(b, records)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*shape.messages*shape.events), "ns/event")
			})
		}
	}
}

// An event costs no allocation, a series a fixed number: its key, its state as read and as written.
func TestHandleAllocations(t *testing.T) {
	for _, tc := range []struct {
		what, rules string
		shape       int // of shapes
		most        float64
	}{
		{"history, 5,000 events of 10 series", historyOfFour, 0, 250},
		{"history, 5,000 series", historyOfFour, 1, 5000 * 9},
		{"threshold, 5,000 series", oneThreshold, 1, 5000 * 2},
		{"history, 1,000 messages of as many series", historyOfFour, 2, 1000 * 9},
		{"history, 1,000 messages of one series", historyOfFour, 3, 250},
	} {
		shape := shapes[tc.shape]
		h := newBench(t, tc.rules, shape.delivery, shape.messages, shape.events, shape.series, 3)
		const runs = 3
		batches := make([][]ingest.Record, runs+1)
		for i := range batches {
			batches[i] = h.batch()
		}
		n := 0
		if allocs := testing.AllocsPerRun(runs, func() {
			h.handle(t, batches[n])
			n++
		}); allocs > tc.most {
			t.Errorf("%s: %v allocations, want at most %v", tc.what, allocs, tc.most)
		}
	}
}
