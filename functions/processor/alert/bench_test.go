package alert

import (
	"fmt"
	"strings"
	"testing"
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
