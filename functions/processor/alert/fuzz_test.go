package alert

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"example.com/market-data-pipeline/functions/processor/market"
)

// Any bytes are rules or problems with a place in the file; rules that load never fail when they run.
func FuzzLoad(f *testing.F) {
	f.Add(mistakes)
	f.Add(bothKinds)
	f.Add("\r\r\r0")
	f.Add(historyRules)
	f.Add(builtMinute)
	f.Add(oneRule(`expr: "price > 1 and venue == \"Q\""`, `summary: "{{ if eq .side \"buy\" }}{{ .price | printf \"%.2f\" }}{{ end }}"`, "labels: {a: b}"))
	f.Add(oneRule("expr: >", "  price > 1", "  or abs(price - 2) / 0 < size", "cooldown: 1d12h"))
	f.Fuzz(func(t *testing.T, src string) {
		rules, err := Load("f", []byte(src))
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || rules != nil {
				t.Fatalf("%v, %v", rules, err)
			}
			lines := strings.Count(lineEnds.Replace(src), "\n") + 1
			for _, p := range problems {
				if p.Text == "" || p.Line < 0 || p.Line > lines+1 || p.Line > 0 && p.Column < 0 {
					t.Fatalf("%+v in %d lines", p, lines)
				}
			}
			return
		}
		p := rules.Engine(ordered).Program("AAPL", "feed")
		if p == nil {
			return
		}
		s := p.NewState()
		for _, e := range []market.Event{trade(0, 11), quote(0, 0, 3), quote(1, 10, 11), vendorBar(0, 11), status(1, "halted"), trade(2, 0.5), clock(9), vendorBar(1, 1), clock(1e6)} {
			out, _ := p.Step(s, &e, nil)
			for i := range out {
				if _, err := ParseAlert(out[i].AppendJSON(nil, Times{}, "")); err != nil || len(out[i].Summary) > maxSummary || strings.Contains(out[i].Summary, "cannot be rendered") {
					t.Fatalf("%+v: %v", out[i], err)
				}
			}
		}
	})
}

// What compiles has a canonical text that compiles to itself.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"price > 1", "not (price * size >= 2_000) or side == 'buy'", "min(1, -price) - (2 - size) < 3 / 4 and venue != \"Q\"", "1 < 2 < 3", "let x = 1; x",
		"crossover(sma(price, 3), ema(price, 5)) and not (vwap() > day_high)", "sum(sum(price, 2), 3) > bb_upper(price, 20, 2.5)",
		"99991*999999999999999<9", "` == \xd0` == 'buy\x80'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		c, faults := compileCondition(src, market.Trade)
		if len(faults) > 0 {
			return
		}
		again, faults := compileCondition(c.text, market.Trade)
		if len(c.text) > maxExpression {
			return
		}
		if len(faults) > 0 {
			t.Fatalf("%q has the canonical text %q, which is refused: %v", src, c.text, faults)
		}
		if again.text != c.text {
			t.Fatalf("%q has the canonical text %q, which gives %q", src, c.text, again.text)
		}
		x, y := tradeValues(), tradeValues()
		for i := range x.values {
			x.values[i], y.values[i] = float64(i%3), float64(i%3)
		}
		if c.test(x) != again.test(y) || x.undefined != y.undefined {
			t.Fatalf("%q and its canonical text %q differ", src, c.text)
		}
	})
}

// "Any bytes give a state or an error"; what is read is written again as something that reads as the same, and steps.
func FuzzDecode(f *testing.F) {
	p := program(f, ordered, historyRules)
	f.Add([]byte{})
	f.Add([]byte{2})
	f.Add(usedState(f, program(f, ordered, bothKinds)).Append(nil))
	s := p.NewState()
	for i := range 40 {
		outcomes(p, s, with(trade(float64(i)/2, float64(8+i%6)), int64(i)), with(quote(float64(i)/2, 10, 11), int64(i)), vendorBar(i-100, 11), status(float64(i)/2, "halted"))
		if i%13 == 0 {
			f.Add(s.Append(nil))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := p.Decode(b)
		if err != nil {
			return
		}
		first := s.Append(nil)
		again, err := p.Decode(first)
		if err != nil || !bytes.Equal(first, again.Append(nil)) {
			t.Fatalf("%x is written as %x, which is not read back: %v", b, first, err)
		}
		s.Due()
		for _, e := range []market.Event{with(trade(0, 11), 1), with(quote(1, 2, 3), 1), vendorBar(0, 11), status(2, "halted"), clock(1e6), trade(1e6, 10)} {
			_, _ = p.Step(s, &e, nil)
		}
		if _, err := p.Decode(s.Append(nil)); err != nil {
			t.Fatalf("the state after %x is not read back: %v", b, err)
		}
	})
}
