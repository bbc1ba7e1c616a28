package alert

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// thresholds is a file of n rules, none of which fires on a price of 100.
func thresholds(n int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {alert: R%d, expr: price > %d, cooldown: 1m}\n", i, 200+i)
	}
	return b.String()
}

func BenchmarkStep(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			p := program(b, ordered, thresholds(n))
			s, e := p.NewState(), with(trade(0, 100), 0)
			b.ReportAllocs()
			for b.Loop() {
				e.Time += second
				e.Sequence++
				p.Step(s, &e, nil)
			}
		})
	}
	b.Run("quotes", func(b *testing.B) {
		p := program(b, ordered, oneRule("on: quote", "expr: spread_bps > 5000", "cooldown: 1m"))
		s, e := p.NewState(), with(quote(0, 10, 11), 0)
		b.ReportAllocs()
		for b.Loop() {
			e.Time += second
			e.Sequence++
			p.Step(s, &e, nil)
		}
	})
}

// Four rules with history, eight slots; none fires more than now and then.
const historyOfFour = `
rules:
  - {alert: SMA, expr: "crossover(sma(price, 20), sma(price, 50))", cooldown: 1h}
  - {alert: EMA, expr: "crossover(ema(price, 12), ema(price, 26))", cooldown: 1h}
  - {alert: RSI, expr: "rsi(price, 14) > 99", cooldown: 1h}
  - {alert: ZScore, expr: "zscore(price, 20) > 5", cooldown: 1h}
`

// benchFeed is the state of each of n series that p watches, warm, and a price for each of a round of events.
type benchFeed struct {
	p      *Program
	states []*State
	prices []market.Decimal
	e      market.Event
	i, at  int // the series that is next, and the round
}

func newBenchFeed(tb testing.TB, rules string, n int) *benchFeed {
	f := &benchFeed{p: program(tb, ordered, rules)}
	r := rand.New(rand.NewPCG(1, 2))
	price := market.Decimal(100 * market.Unit)
	for range 10_007 {
		price += market.Decimal(r.IntN(11)-5) * market.Unit / 100
		f.prices = append(f.prices, price)
	}
	for range n {
		f.states = append(f.states, f.p.NewState())
	}
	f.e = with(trade(0, 100), 0)
	for range 100 * n {
		f.step()
	}
	return f
}

// step is the next event of the feed, of the series that is next.
func (f *benchFeed) step() {
	e := &f.e
	e.Price = f.prices[(f.i+f.at)%len(f.prices)]
	f.p.Step(f.states[f.i], e, nil)
	if f.i++; f.i == len(f.states) {
		f.i = 0
		f.at++
		e.Time += second
		e.Sequence++
	}
}

var benchRules = []struct{ name, rules string }{{"threshold", thresholds(4)}, {"history", historyOfFour}}

// The engine alone, round robin over the series: what is not in a cache is fetched from memory.
func BenchmarkStepHistory(b *testing.B) {
	for _, c := range benchRules {
		for _, n := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprintf("%s/series=%d", c.name, n), func(b *testing.B) {
				f := newBenchFeed(b, c.rules, n)
				b.ReportAllocs()
				for b.Loop() {
					f.step()
				}
			})
		}
	}
}

// The same from the wire: messages of 500 trades, each of another series.
func BenchmarkDecodeStep(b *testing.B) {
	const packed = 500
	for _, c := range benchRules {
		for _, n := range []int{1, 100, 10_000} {
			b.Run(fmt.Sprintf("%s/series=%d", c.name, n), func(b *testing.B) {
				f := newBenchFeed(b, c.rules, n)
				states := make(map[string]*State, n)
				for i, s := range f.states {
					states[fmt.Sprintf("S%05d", i)] = s
				}
				bodies := make([]string, max(3, 3*n/packed))
				for i := range bodies {
					var body strings.Builder
					for k := range packed {
						at := i*packed + k
						fmt.Fprintf(&body, `{"symbol":"S%05d","price":%s,"timestamp":"2013-10-10T13:35:00Z"}`+"\n", at%n, f.prices[at%len(f.prices)])
					}
					bodies[i] = body.String()
				}
				now := time.Unix(0, t0).Add(time.Hour)
				events := make([]market.Event, 0, packed)
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					events, _ = market.Decode(events[:0], bodies[i%len(bodies)], now, time.Minute)
					for k := range events {
						e := &events[k]
						f.p.Step(states[e.Symbol], e, nil)
					}
					i++
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packed), "ns/event")
			})
		}
	}
}

// A firing: hash, summary and record.
func BenchmarkFire(b *testing.B) {
	p := program(b, ordered, oneRule("expr: price > 10", "cooldown: 0s", `summary: "{{ .symbol }} at {{ .price }}"`))
	s := p.NewState()
	high, low := trade(0, 11), trade(0, 9)
	var out []Alert
	b.ReportAllocs()
	for b.Loop() {
		out, _ = p.Step(s, &high, out[:0])
		out, _ = p.Step(s, &low, out)
	}
	if len(out) != 1 {
		b.Fatal(len(out))
	}
}

func BenchmarkState(b *testing.B) {
	p := program(b, ordered, bothKinds)
	buf := usedState(b, p).Append(nil)
	b.ReportAllocs()
	for b.Loop() {
		s, err := p.Decode(buf)
		if err != nil {
			b.Fatal(err)
		}
		buf = s.Append(buf[:0])
	}
}

// What a batch with one event of a series costs beside its decoding: state read, stepped, written.
func BenchmarkStateOfOneEvent(b *testing.B) {
	for _, c := range benchRules {
		b.Run(c.name, func(b *testing.B) {
			f := newBenchFeed(b, c.rules, 1)
			s := f.states[0]
			buf := s.Append(nil)
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Decode(buf); err != nil {
					b.Fatal(err)
				}
				f.step()
				buf = s.Append(buf[:0])
			}
			b.ReportMetric(float64(len(buf)), "bytes")
		})
	}
}

// A day of real trades with 100 rules over all symbols.
func BenchmarkReplay(b *testing.B) {
	events := replay(b, "us-equities-trades-2013-10-10.ndjson.gz")
	engine := mustLoad(b, thresholds(100)).Engine(ordered)
	b.ReportAllocs()
	for b.Loop() {
		states := map[string]*State{}
		for i := range events {
			e := &events[i]
			p := engine.Program(e.Symbol, e.Source)
			s := states[e.Symbol]
			if s == nil {
				s = p.NewState()
				states[e.Symbol] = s
			}
			p.Step(s, e, nil)
		}
	}
	b.ReportMetric(float64(len(events))*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
