package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	talib "github.com/markcheno/go-talib"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// kind is a kind of rule. The peers have no language: they get the two lengths, or the level, of each rule.
type kind struct {
	name string
	rule string // a format of its number, its fast and slow length, and its level
	// average computes the average of the last n values as talib or a person would, from the window's values alone; nil =
	// the rule compares the price with its level.
	library, byHand func(values []float64, n int) float64
	memory          int // the window, in lengths
	bars            bool
}

// emaMemory is how many lengths of history make a recomputed EMA equal to the running one, to 1e-8.
const emaMemory = 10

var kinds = []kind{
	{name: "threshold", rule: "{alert: R%[1]d, expr: price > %.1[4]f, cooldown: 0s}", memory: 1},
	{name: "sma cross", rule: `{alert: R%[1]d, expr: "crossover(sma(price, %[2]d), sma(price, %[3]d))", cooldown: 0s}`, memory: 1,
		library: func(v []float64, n int) float64 { return last(talib.Sma(v[len(v)-n:], n)) }, byHand: mean},
	{name: "ema cross", rule: `{alert: R%[1]d, expr: "crossover(ema(price, %[2]d), ema(price, %[3]d))", cooldown: 0s}`, memory: emaMemory,
		library: func(v []float64, n int) float64 { return last(talib.Ema(v[max(0, len(v)-emaMemory*n):], n)) }, byHand: smoothed},
	{name: "bars, sma cross", rule: `{alert: R%[1]d, on: bar, interval: 1m, from: trades, expr: "crossover(sma(close, %[2]d), sma(close, %[3]d))", cooldown: 0s}`, memory: 1,
		library: func(v []float64, n int) float64 { return last(talib.Sma(v[len(v)-n:], n)) }, byHand: mean, bars: true},
}

func last(v []float64) float64 { return v[len(v)-1] }

func mean(v []float64, n int) (sum float64) {
	for _, x := range v[len(v)-n:] {
		sum += x
	}
	return sum / float64(n)
}

func smoothed(v []float64, n int) float64 {
	v = v[max(0, len(v)-emaMemory*n):]
	average, alpha := mean(v[:n], n), 2/float64(n+1)
	for _, x := range v[n:] {
		average += alpha * (x - average)
	}
	return average
}

// lengths of rule i: 100 different pairs of 10 fast and 10 slow averages.
func lengths(i int) (fast, slow int) { return 10 + 2*(i%10), 50 + 15*(i/10%10) }

func (k *kind) file(rules int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range rules {
		fast, slow := lengths(i)
		fmt.Fprintf(&b, "  - "+k.rule+"\n", i, fast, slow, level(i))
	}
	return b.String()
}

func level(i int) float64 { return 100.5 + float64(i%10)/10 }

// tape is an endless price of a series, the same for all peers: slow waves, so that crossings, whose alerts cost more than
// all the rest, are as rare as on real tape.
var tape = func() (v [1 << 14]float64) {
	for i := range v {
		x := float64(i) * 2 * math.Pi / float64(len(v)) // whole waves fit the tape
		v[i] = math.Round((100+2*math.Sin(3*x)+0.3*math.Sin(11*x))*1e6) / 1e6
	}
	return v
}()

// engine is a peer.
type engine interface {
	// step evaluates the k-th trade of a series and tells onFire, where that is not nil, which rules fire.
	step(series, k int)
}

// firing is a rule that fires at the k-th trade of a series.
type firing struct{ series, k, rule int }

const tradeGap = 20 * time.Second // three trades a minute

var tapeStart = time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC).UnixNano()

func priceOf(series, k int) float64 { return tape[(k+37*series)%len(tape)] }

// product is the engine of the product.
type product struct {
	programs []*alert.Program
	states   []*alert.State
	event    market.Event
	out      []alert.Alert
	onFire   func(firing)
}

func newProduct(rules string, series int) (*product, error) {
	loaded, err := alert.Load("benchmark.yaml", []byte(rules))
	if err != nil {
		return nil, err
	}
	e := loaded.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: true})
	p := &product{}
	for s := range series {
		program := e.Program(symbol(s), "algoseek")
		p.programs, p.states = append(p.programs, program), append(p.states, program.NewState())
	}
	return p, nil
}

func (p *product) step(series, k int) {
	p.event = market.Event{
		Kind: market.Trade, HasSeq: true, Symbol: symbols[series%len(symbols)], Source: "algoseek", Sequence: int64(k + 1),
		Time: tapeStart + int64(k)*int64(tradeGap), Price: market.Decimal(math.Round(priceOf(series, k) * 1e9)), Size: market.Unit,
	}
	p.out, _ = p.programs[series].Step(p.states[series], &p.event, p.out[:0])
	for i := range p.out {
		if p.onFire != nil {
			rule, _ := strconv.Atoi(p.out[i].Rule[1:]) // R0, R1 ...
			p.onFire(firing{series, k, rule})
		}
	}
}

func (p *product) stateBytes() int { return len(p.states[0].Append(nil)) }

var symbols = func() (s []string) {
	for i := range 1000 {
		s = append(s, symbol(i))
	}
	return s
}()

// recomputation is a peer that keeps each series' last values and computes every average anew.
type recomputation struct {
	kind    *kind
	average func([]float64, int) float64
	rules   int
	keep    int
	series  []window
	onFire  func(firing)
}

type window struct {
	values []float64
	above  []bool
	known  []bool
	minute int64
	close  float64
	open   bool
}

func newRecomputation(k *kind, average func([]float64, int) float64, rules, series int) *recomputation {
	keep := 1
	for i := range rules {
		_, slow := lengths(i)
		keep = max(keep, slow*k.memory)
	}
	r := &recomputation{kind: k, average: average, rules: rules, keep: keep, series: make([]window, series)}
	for s := range r.series {
		r.series[s] = window{above: make([]bool, rules), known: make([]bool, rules)}
	}
	return r
}

func (r *recomputation) step(series, k int) {
	w := &r.series[series]
	price := priceOf(series, k)
	if !r.kind.bars {
		r.evaluate(w, price, series, k)
		return
	}
	minute := int64(k) * int64(tradeGap) / int64(time.Minute)
	if w.open && minute != w.minute {
		r.evaluate(w, w.close, series, k)
	}
	w.minute, w.close, w.open = minute, price, true
}

func (r *recomputation) evaluate(w *window, x float64, series, k int) {
	if len(w.values) == cap(w.values) && len(w.values) >= r.keep {
		w.values = append(make([]float64, 0, 2*r.keep), w.values[len(w.values)-r.keep:]...)
	}
	w.values = append(w.values, x)
	for i := range r.rules {
		var above bool
		if r.average == nil {
			above = x > level(i)
			w.known[i] = true
		} else {
			fast, slow := lengths(i)
			if len(w.values) < slow {
				continue
			}
			above = r.average(w.values, fast) > r.average(w.values, slow)
			if !w.known[i] { // a crossing needs a value before
				w.known[i], w.above[i] = true, above
				continue
			}
		}
		if above && !w.above[i] && r.onFire != nil {
			r.onFire(firing{series, k, i})
		}
		w.above[i] = above
	}
}

// drive is a racer that steps the series in turn. It begins with warm trades of each.
func drive(name string, e engine, series, warm int) racer {
	i := 0
	step := func() {
		s := i % series
		e.step(s, i/series+s%3) // not all at the same place in a bar
		i++
	}
	for range warm * series {
		step()
	}
	return inProcess(name, step)
}

func (b *bench) engine() error {
	t := &table{Title: "Engine: CPU nanoseconds per trade, one series after the other", Columns: []string{"rules", "series", "ours", "(median)", "M events/s", "allocs/event", "state bytes",
		"by hand", "to ours", "go-talib", "to ours"},
		Notes: []string{"With 10 rules all fire at the same trades: 8,000 of each of 3 series (0.1 % apart at most, because sums round differently).",
			"By hand, and go-talib: the averages recomputed from the last values at each trade (an EMA from 10 lengths). They keep bare numbers: no bars out of order,",
			"no cooldown, no marks against repetition. \"-\": the library has none, or the warm-up alone would take minutes. Allocations are those of alerts that fire."}}
	seriesCounts, ruleCounts := []int{1, 100, 10_000}, []int{1, 10, 100}
	if b.quick {
		seriesCounts, ruleCounts = []int{1}, []int{1, 10}
	}
	for k := range kinds {
		kind := &kinds[k]
		if err := equalAlerts(kind, 10); err != nil {
			return err
		}
		for _, rules := range ruleCounts {
			for _, series := range seriesCounts {
				p, err := newProduct(kind.file(rules), series)
				if err != nil {
					return err
				}
				warm := 55
				if series < 10_000 {
					warm = 200
				}
				if kind.bars {
					warm *= 3
				}
				racers, bytes := []racer{drive("ours", p, series, warm)}, p.stateBytes()
				for _, average := range []func([]float64, int) float64{kind.byHand, kind.library} {
					if (average != nil || kind.library == nil && len(racers) == 1) && series*rules < 1_000_000 {
						racers = append(racers, drive("recomputed", newRecomputation(kind, average, rules, series), series, warm))
					}
				}
				results, err := race(b.pace, racers)
				if err != nil {
					return err
				}
				r := results[0]
				row := []any{fmt.Sprintf("%d %s", rules, kind.name), series, number(r.minCPU), number(r.medCPU), number(1e3 / r.minCPU), number(r.allocs), bytes}
				for i := 1; i <= 2; i++ {
					if i < len(results) {
						row = append(row, number(results[i].minCPU), ratio(results[i].minCPU/r.minCPU))
					} else {
						row = append(row, "-", "-")
					}
				}
				t.add(row...)
			}
		}
	}
	b.show(t)
	return b.decodeAndStep()
}

// equalAlerts checks that the peers, from the first trade on, fire when the product's engine does.
func equalAlerts(k *kind, rules int) error {
	const series, trades = 3, 8000
	collect := func(e engine, onFire *func(firing)) map[firing]bool {
		found := map[firing]bool{}
		*onFire = func(f firing) {
			if k.bars { // ours closes a bar after the lateness, which is within the next one
				f.k /= int(time.Minute / tradeGap)
			}
			found[f] = true
		}
		for i := range series * trades {
			e.step(i%series, i/series)
		}
		return found
	}
	p, err := newProduct(k.file(rules), series)
	if err != nil {
		return err
	}
	want := collect(p, &p.onFire)
	for name, average := range map[string]func([]float64, int) float64{"by hand": k.byHand, "with go-talib": k.library} {
		if average == nil && name != "by hand" {
			continue
		}
		r := newRecomputation(k, average, rules, series)
		got := collect(r, &r.onFire)
		apart := 0
		for f := range want {
			if !got[f] {
				apart++
			}
		}
		if apart += len(got) - (len(want) - apart); len(want) == 0 || float64(apart) > float64(len(want))/1000 {
			return fmt.Errorf("%d %s: ours fires %d times, recomputed %s %d, of which %d differ", rules, k.name, len(want), name, len(got), apart)
		}
	}
	return nil
}

// fourWindows are history without the levels.
var fourWindows = "rules:\n" + strings.TrimPrefix(history, levels)

// decodeAndStep measures the whole way of an event without I/O, in the handler's order: a packed message is decoded, the
// states of its series are looked up, and each steps. The events have no sequence and one time each, so that they can come
// again.
func (b *bench) decodeAndStep() error {
	const series, perMessage = 10_000, 500
	t := &table{Title: "Decode and step: packed 500, an event of each of 10,000 series in turn, states in memory", Columns: []string{"rules", "events", "ns per event", "(median)", "allocs/event"}}
	for _, c := range []struct{ fact, rules, what, format, events string }{
		{"engine/decode and step", fourWindows, "4 with history", `{"symbol":"%s","price":115.%02d,"timestamp":"2026-11-20T14:30:00.001Z"}`, "shortest"},
		{"engine/decode and step trades", history, "4 with history, 2 levels", `{"symbol":"%s","timestamp":"2026-11-20T14:30:00.001Z","price":"115.%02d","size":"100","conditions":["0x20002020"],"venue":"Q","source":"algoseek"}`, "typical trades"},
	} {
		p, err := newProduct(c.rules, series)
		if err != nil {
			return err
		}
		bySymbol := make(map[string]int, series)
		var bodies []string
		for m := range series / perMessage {
			body := []byte{'['}
			for e := range perMessage {
				s := m*perMessage + e
				bySymbol[symbol(s)] = s
				if e > 0 {
					body = append(body, ',')
				}
				body = fmt.Appendf(body, c.format, symbol(s), s%90+10)
			}
			bodies = append(bodies, string(append(body, ']')))
		}
		now := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
		var events []market.Event
		states := make([]int, perMessage)
		bad, i := 0, 0
		results, err := race(b.pace, []racer{inProcess("ours", func() {
			var refused []market.Refusal
			events, refused = market.Decode(events[:0], bodies[i%len(bodies)], now, settings.DefaultClockSkew)
			i++
			bad += len(refused)
			for e := range events {
				states[e] = bySymbol[events[e].Symbol]
			}
			for e, s := range states {
				p.out, _ = p.programs[s].Step(p.states[s], &events[e], p.out[:0])
				bad += len(p.out)
			}
		})})
		if err != nil || bad > 0 {
			return fmt.Errorf("decode and step: %d events refused or alerts fired: %w", bad, err)
		}
		r := results[0]
		t.add(c.what, c.events, number(r.minCPU/perMessage), number(r.medCPU/perMessage), number(r.allocs/perMessage))
		b.Facts[c.fact], b.Facts[c.fact+"/allocs"] = r.minCPU/perMessage, r.allocs/perMessage
	}
	b.show(t)
	return nil
}
