package alert

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
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
	f.Add(oneRule("expr: price >", `summary: "{{ .value }}"`))
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
		decoded := readBack(t, rules)
		p := rules.Engine(ordered).Program("AAPL", "feed")
		if p == nil {
			return
		}
		s := p.NewState()
		twin := decoded.Engine(ordered).Program("AAPL", "feed")
		twinState := twin.NewState()
		for _, e := range []market.Event{trade(0, 11), quote(0, 0, 3), quote(1, 10, 11), vendorBar(0, 11), status(1, "halted"), trade(2, 0.5), clock(9), vendorBar(1, 1), clock(1e6)} {
			out, _ := p.Step(s, &e, nil)
			if twinOut, _ := twin.Step(twinState, &e, nil); !reflect.DeepEqual(out, twinOut) || !bytes.Equal(s.Append(nil), twinState.Append(nil)) {
				t.Fatalf("%+v, by the compiled rules %+v", out, twinOut)
			}
			for i := range out {
				if _, err := ParseAlert(out[i].AppendJSON(nil, Times{}, "")); err != nil || len(out[i].Summary) > maxSummary {
					t.Fatalf("%+v: %v", out[i], err)
				}
			}
		}
	})
}

// Any bytes are compiled rules or an error; what is read is written again as the same rules, and they run.
func FuzzDecodeRules(f *testing.F) {
	for _, src := range []string{bothKinds, historyRules, builtMinute, allRules, everyKey} {
		rules, err := Load("f", []byte(src))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(rules.Encode()[len(compiledHead+compiledForm)+sha256.Size:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		rules, err := decodeBody(body)
		if err != nil {
			if rules != nil || err.Error() == "" {
				t.Fatalf("%v beside %v", rules, err)
			}
			return
		}
		readBack(t, rules)
		if rules.Timed(); rules.Fits(ordered) != nil {
			return
		}
		p := rules.Engine(ordered).Program("AAPL", "feed")
		if p == nil {
			return
		}
		s := p.NewState()
		for _, e := range []market.Event{trade(0, 11), quote(0, 0, 3), vendorBar(0, 11), status(1, "halted"), trade(2, 0.5), clock(9), clock(1e6)} {
			_, _ = p.Step(s, &e, nil)
		}
	})
}

// What compiles has a canonical text that compiles to itself.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"price > 1", "not (price * size >= 2_000) or side == 'buy'", "min(1, -price) - (2 - size) < 3 / 4 and venue != \"Q\"", "1 < 2 < 3", "let x = 1; x",
		"crossover(sma(price, 3), ema(price, 5)) and not (vwap() > day_high)", "sum(sum(price, 2), 3) > bb_upper(price, 20, 2.5)",
		"99991*999999999999999<9", "100000000.111111>0", "` == \xd0` == 'buy\x80'"} {
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

// FuzzSnapshot: any bytes are a snapshot or an error, the same as by a reader that shares nothing with it, and a snapshot is
// written again as something that reads as the same.
func FuzzSnapshot(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{2, 0, 0})
	f.Add([]byte{1, 0x80, 0, 0})
	f.Add(append(binary.AppendUvarint(append([]byte{1, 1}, make([]byte, 16)...), 1<<63), 0))
	for n := range 4 {
		s := Snapshot{Engine: make([]byte, n)}
		for i := range 3 * n {
			s.Delivered = append(s.Delivered, Delivered{MessageID{byte(i)}, i * Whole / 9})
			s.Hints = append(s.Hints, Hint{MessageID{0, byte(i)}, strings.Repeat("x", i)})
		}
		f.Add(AppendSnapshot(nil, &s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseSnapshot(b)
		want, ok := slowSnapshot(b)
		if ok != (err == nil) || errors.Is(err, ErrNewer) != (len(b) > 0 && b[0] > 1) {
			t.Fatalf("%x: %v, the slow reader says %v", b, err, ok)
		}
		if err != nil {
			if !reflect.DeepEqual(got, Snapshot{}) {
				t.Fatalf("%x: %+v beside %v", b, got, err)
			}
			return
		}
		first := AppendSnapshot(nil, &got)
		again, err := ParseSnapshot(first)
		if err != nil || !bytes.Equal(first, AppendSnapshot(nil, &again)) || len(first) > len(b) {
			t.Fatalf("%x is written as %x, which is not read back: %v", b, first, err)
		}
		got.Engine, want.Engine = append([]byte{}, got.Engine...), append([]byte{}, want.Engine...)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%x\n got %+v\nwant %+v", b, got, want)
		}
	})
}

// slowSnapshot reads a snapshot by the format's description alone: a byte 1; a number, then as many messages of 16 bytes and a
// number; a number, then as many of 16 bytes and a text with its length before it; the rest is the engine's. All numbers
// are varints.
func slowSnapshot(b []byte) (s Snapshot, ok bool) {
	r := bytes.NewReader(b)
	defer func() {
		if recover() != nil {
			s, ok = Snapshot{}, false
		}
	}()
	number := func() uint64 {
		n, err := binary.ReadUvarint(r)
		if err != nil {
			panic(err)
		}
		return n
	}
	take := func(n uint64) []byte {
		if n > uint64(r.Len()) {
			panic("short")
		}
		v := make([]byte, n)
		_, _ = io.ReadFull(r, v)
		return v
	}
	if take(1)[0] != 1 {
		return s, false
	}
	for n := number(); n > 0; n-- {
		s.Delivered = append(s.Delivered, Delivered{MessageID(take(16)), int(min(number(), 1<<31-1))})
	}
	for n := number(); n > 0; n-- {
		s.Hints = append(s.Hints, Hint{MessageID(take(16)), string(take(number()))})
	}
	s.Engine = take(uint64(r.Len()))
	return s, true
}
