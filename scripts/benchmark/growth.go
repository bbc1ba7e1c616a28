package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// flatWithin is how much more an event may cost at the end of an axis than at its cheapest point, to be called flat.
const flatWithin = 1.5

// curve is one thing that grows along an axis.
type curve struct {
	name   string
	unit   string
	axis   []int
	at     func(n int) (operation func(), events int, err error)
	expect string // what it should do, and why it does not where it does not
}

func (b *bench) growth() error {
	axis := func(most int) (v []int) {
		for n := 1; n <= most; n *= 10 {
			v = append(v, n)
		}
		if b.quick {
			v = v[:min(len(v), 3)]
		}
		return v
	}
	curves := []curve{
		{"handler, batch of one-event messages, levels", "messages", axis(10_000), b.batchOf(levels, 100), "falls, then flat: what an invocation costs is shared by its messages"},
		{"handler, batch of one-event messages, windows", "messages", axis(10_000), b.batchOf(history, 100), "falls, then flat, at a higher level: 100 states are read, decoded, written"},
		{"handler, 10,000 events over series, levels", "series", axis(10_000), b.seriesOf(levels), "rises with series: each has its own state to ask for and to look at"},
		{"handler, 10,000 events over series, windows", "series", axis(10_000), b.seriesOf(history), "rises with series: each state is decoded, encoded and committed for fewer events"},
		{"engine, 6 rules with windows", "series", axis(100_000), stepSeries, "rises where the states leave the CPU's caches, not with their number"},
		{"engine, threshold rules", "rules", axis(1000), stepRules("price > %[4]d"), "rises with the rules: each looks at each trade"},
		{"engine, sma crosses", "rules", axis(100), stepRules("crossover(sma(price, %[2]d), sma(price, %[3]d))"), "rises with the rules; equal windows are kept once"},
		{"engine, 6 indicators on minute bars", "days of history", axis(1000), stepDays, "flat: windows are bounded, nothing is recomputed"},
	}
	t := &table{Title: "Growth: CPU nanoseconds per event", Columns: []string{"what", "by", "n = 1", "10", "100", "1,000", "10,000", "100,000", "last to least", "expected"}}
	if b.quick {
		t.Columns = []string{"what", "by", "n = 1", "10", "100", "last to least", "expected"}
	}
	p := b.pace
	p.rounds = min(p.rounds, 3)
	for _, c := range curves {
		row := []any{c.name, c.unit}
		var racers []racer
		var events []int
		for _, n := range c.axis {
			operation, count, err := c.at(n)
			if err != nil {
				return fmt.Errorf("%s, %d: %w", c.name, n, err)
			}
			racers, events = append(racers, inProcess(fmt.Sprint(n), operation)), append(events, count)
		}
		results, err := race(p, racers)
		if err != nil {
			return err
		}
		least, each := math.Inf(1), 0.0
		for i, r := range results {
			each = r.minCPU / float64(events[i])
			least = min(least, each)
			row = append(row, number(each))
			b.Facts[fmt.Sprintf("growth/%s/%d", c.name, c.axis[i])] = each
		}
		for len(row) < len(t.Columns)-2 {
			row = append(row, "")
		}
		verdict := ratio(each / least)
		if each <= flatWithin*least {
			verdict = "flat, " + verdict
		}
		t.add(append(row, verdict, c.expect)...)
	}
	b.show(t)
	return nil
}

// newHandler is the product's handler over a ledger in memory.
func newHandler(rules string, delivery settings.Delivery) (*ingest.Handler, error) {
	loaded, err := alert.Load("benchmark.yaml", []byte(rules))
	if err != nil {
		return nil, err
	}
	return ingest.New(ingest.Config{
		Environment: "benchmark", Delivery: delivery, Engine: loaded.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: delivery == settings.Ordered}),
		Ledger: ledger.NewMemory(ledger.Config{}), Notifier: &notify.Writer{W: io.Discard}, Queue: &queue.Writer{W: io.Discard}, SeriesConcurrency: 1,
	})
}

// inMemoryHandler runs an invocation of it, from the Lambda event on.
func inMemoryHandler(rules string, t traffic) (func(), error) {
	h, err := newHandler(rules, settings.Unordered)
	if err != nil {
		return nil, err
	}
	// A few invocations come again under new message ids, which is all that unordered delivery knows them by. Together they
	// are shorter than the lateness, so that none is late.
	t.gap = 50 * time.Microsecond
	s := newStream(t)
	var payloads [][]byte
	for range max(1, min(64, 50_000/t.events())) {
		payloads = append(payloads, s.next())
	}
	made, i := 0, 0
	return func() {
		records, err := ingest.ParseEvent(payloads[i%len(payloads)])
		i++
		for r := range records {
			made++
			records[r].OriginMessageID = strconv.Itoa(made)
		}
		response, handleErr := h.Handle(context.Background(), records)
		if err := errors.Join(err, handleErr); err != nil || len(response.BatchItemFailures) > 0 {
			panic(fmt.Sprintf("the handler returned %d messages: %v", len(response.BatchItemFailures), err))
		}
	}, nil
}

func (b *bench) batchOf(rules string, series int) func(int) (func(), int, error) {
	return func(n int) (func(), int, error) {
		operation, err := inMemoryHandler(rules, traffic{messages: n, perEvent: 1, series: min(n, series)})
		return operation, n, err
	}
}

func (b *bench) seriesOf(rules string) func(int) (func(), int, error) {
	return func(n int) (func(), int, error) {
		t := traffic{messages: 20, perEvent: 500, series: n, byShard: true}
		operation, err := inMemoryHandler(rules, t)
		return operation, t.events(), err
	}
}

func stepSeries(series int) (func(), int, error) {
	p, err := newProduct(history, series)
	if err != nil {
		return nil, 0, err
	}
	i := 0
	step := func() {
		p.step(i%series, i/series)
		i++
	}
	for range 25 * series { // the windows have their memory
		step()
	}
	return step, 1, nil
}

func stepRules(expression string) func(int) (func(), int, error) {
	return func(rules int) (func(), int, error) {
		file := "rules:\n"
		for i := range rules {
			file += fmt.Sprintf("  - {alert: R%[1]d, expr: \""+expression+"\", cooldown: 0s}\n", i, 2+i%25, 30+i/25%40, 200+i)
		}
		p, err := newProduct(file, 1)
		k := 0
		return func() { p.step(0, k); k++ }, 1, err
	}
}

// stepDays steps minute bars after so many days of them.
func stepDays(days int) (func(), int, error) {
	rules := "rules:\n"
	for i, expr := range []string{"crossover(sma(close, 20), sma(close, 50))", "crossover(ema(close, 12), ema(close, 26))", "rsi(close, 14) > 101",
		"close > 1e4 * highest(close, 100)", "abs(zscore(close, 100)) > 1e6", "atr(14) > 1e6"} {
		rules += fmt.Sprintf("  - {alert: R%d, on: bar, interval: 1m, expr: \"%s\", cooldown: 0s}\n", i, expr)
	}
	p, err := newProduct(rules, 1)
	if err != nil {
		return nil, 0, err
	}
	k := 0
	step := func() {
		price := market.Decimal(math.Round(priceOf(0, k) * 1e9))
		p.event = market.Event{Kind: market.Bar, Symbol: symbol(0), Source: "algoseek", Interval: time.Minute, Time: tapeStart + int64(k)*int64(time.Minute),
			Open: price, High: price + market.Unit/100, Low: price - market.Unit/100, Close: price, Volume: 100}
		p.out, _ = p.programs[0].Step(p.states[0], &p.event, p.out[:0])
		k++
	}
	for range days * 24 * 60 {
		step()
	}
	return step, 1, nil
}
