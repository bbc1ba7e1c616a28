package alert

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

const bothKinds = "rules:\n  - {alert: R, expr: price > 10, cooldown: 10s}\n  - {alert: Q, on: quote, expr: spread > 1, reset: spread < 0.5, cooldown: 5s}\n"

// usedState is a state that has all parts.
func usedState(tb testing.TB, p *Program) *State {
	tb.Helper()
	s := p.NewState()
	q := with(quote(2, 10, 13), 2)
	q.ID, q.Venue = "q2", "NYSE"
	for _, e := range []market.Event{with(quote(0, 10, 12), 1), with(trade(1, 11), 7), {Kind: market.Bar, Time: t0, Interval: 60e9, HasSeq: true, Sequence: 3}, q} {
		p.Step(s, &e, nil)
	}
	return s
}

func TestStateRoundTrip(t *testing.T) {
	p := program(t, ordered, bothKinds)
	s := usedState(t, p)
	b := s.Append([]byte("prefix"))
	if !bytes.HasPrefix(b, []byte("prefix")) {
		t.Fatal("Append does not append")
	}
	got, err := p.Decode(b[6:])
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got.marks, got.rules, *got.book()) != fmt.Sprint(s.marks, s.rules, *s.book()) {
		t.Errorf("decoded\n%v %v %+v\nwant\n%v %v %+v", got.marks, got.rules, *got.book(), s.marks, s.rules, *s.book())
	}
	if got.Changed() {
		t.Error("a state just read is changed")
	}
	if len(b) > 160 {
		t.Errorf("the state has %d bytes, want a compact form", len(b))
	}
	if s, err := p.Decode(nil); err != nil || s.Changed() || !bytes.Equal(s.Append(nil), p.NewState().Append(nil)) {
		t.Errorf("no bytes: %v, %v; want a new state", s, err)
	}
}

// The binary form is stored data: code of tomorrow must read what this code has written. Change it only together with
// stateFormat.
func TestStateFormatIsPinned(t *testing.T) {
	const pinned = "010303008090f0abe0ade1ab2604010080e899f2d8ade1ab260e0580b09dc2df0180a0febc90b1e1ab260601051292614d86a2201f0f8090dfc04a8088e2ed6000008090f0abe0ade1ab2604027132044e5953450254bc9ab22a870a499bdcfa0157e78ffc1280e899f2d8ade1ab260000877f3713268cdab1d115d1e43856c6491280c0c3b8d1ade1ab260000"
	p := program(t, ordered, bothKinds)
	got := hex.EncodeToString(usedState(t, p).Append(nil))
	if got != pinned {
		t.Errorf("binary form\n%s, was\n%s", got, pinned)
	}
}

// The same for all slots, by the hash of a state that has them all.
func TestHistoryStateFormatIsPinned(t *testing.T) {
	const pinned = "f2b5326c8955e194"
	p := historyProgram(t, ordered)
	s := p.NewState()
	for i := range 40 {
		outcomes(p, s, with(trade(float64(i)/2, float64(8+i%6)), int64(i)), with(quote(float64(i)/2, 10, 11), int64(i)), vendorBar(i-100, 11), status(float64(i)/2, "halted"))
	}
	if got := hashText(string(s.Append(nil))); got != pinned {
		t.Errorf("binary form has the hash %s, was %s", got, pinned)
	}
}

func TestDecodeRefuses(t *testing.T) {
	p := program(t, ordered, bothKinds)
	good := usedState(t, p).Append(nil)
	changed := func(i int, b byte) []byte {
		c := bytes.Clone(good)
		c[i] = b
		return c
	}
	for name, tc := range map[string]struct {
		b    []byte
		want error
	}{
		"newer":                  {changed(0, stateFormat+1), ErrNewer},
		"much newer":             {[]byte{255}, ErrNewer},
		"older":                  {changed(0, stateFormat-1), ErrOlder},
		"trailing":               {append(bytes.Clone(good), 0), errCorrupt},
		"only a format":          {[]byte{1}, errCorrupt},
		"a huge number of marks": {[]byte{1, 255, 255, 255, 255, 255, 255, 255, 255, 127}, errCorrupt},
		"more marks than bytes":  {[]byte{1, 9, 0, 0, 0}, errCorrupt},
		"a mark of a clock":      {[]byte{1, 1, byte(market.Clock) << 1, 0, 0, 0, 0, 0}, errCorrupt},
		"a trade with interval":  {[]byte{1, 1, 0, 9, 0, 0, 0, 0}, errCorrupt},
		"a bar without":          {[]byte{1, 1, byte(market.Bar) << 1, 0, 0, 0, 0, 0}, errCorrupt},
		"two marks of a kind":    {[]byte{1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, errCorrupt},
		"an overlong number":     {[]byte{1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}, errCorrupt},
		"a phase that is none":   {append(append([]byte{1, 0, 0, 1}, make([]byte, 16)...), byte(phases), 0, 0, 0), errCorrupt},
		"fired, but never":       {append(append([]byte{1, 0, 0, 1}, make([]byte, 16)...), byte(fired), 0, 0, 0), errCorrupt},
		"a rule's unknown flag":  {append(append([]byte{1, 0, 0, 1}, make([]byte, 16)...), ruleHasFired<<1, 0, 0, 0), errCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := p.Decode(tc.b); !errors.Is(err, tc.want) || s != nil {
				t.Errorf("Decode = %v, %v, want %v", s, err, tc.want)
			}
			s := usedState(t, p)
			if err := s.Decode(tc.b); !errors.Is(err, tc.want) || s.Changed() || !bytes.Equal(s.Append(nil), p.NewState().Append(nil)) {
				t.Errorf("a used state: %v, holds %+v; want %v and a new state", err, s, tc.want)
			}
		})
	}
	for n := 1; n < len(good); n++ {
		if _, err := p.Decode(good[:n]); err == nil {
			t.Errorf("a state cut to %d of %d bytes is read", n, len(good))
		}
	}
}

// "Editing `expr`, `reset` … `on` … re-arms (the last firing time stays, so `cooldown` still holds); other edits do not."
func TestEditedRules(t *testing.T) {
	const before = "rules:\n  - {alert: R, expr: price > 10, reset: price < 5, cooldown: 10s}\n"
	for name, tc := range map[string]struct {
		after string
		want  string // of true trades at 5 and 12 s after a firing at 0
	}{
		"nothing":              {before, ""},
		"layout and comments":  {"rules:\n  # why\n  - alert: R\n    cooldown: 10s\n    expr: 'price>10.0'\n    reset: (price < 5)\n", ""},
		"severity, summary":    {"rules:\n  - {alert: R, expr: price > 10, reset: price < 5, cooldown: 10s, severity: critical, summary: x, labels: {a: b}, notify: false}\n", ""},
		"symbols":              {"rules:\n  - {alert: R, symbols: [A*], expr: price > 10, reset: price < 5, cooldown: 10s}\n", ""},
		"another rule":         {before + "  - {alert: S, expr: price > 1e6}\n", ""},
		"order":                {"rules:\n  - {alert: S, expr: price > 1e6}\n" + before[7:], ""},
		"expr":                 {"rules:\n  - {alert: R, expr: price > 9, reset: price < 5, cooldown: 10s}\n", "12"},
		"reset":                {"rules:\n  - {alert: R, expr: price > 10, reset: price < 4, cooldown: 10s}\n", "12"},
		"no reset":             {"rules:\n  - {alert: R, expr: price > 10, cooldown: 10s}\n", "12"},
		"expr and cooldown":    {"rules:\n  - {alert: R, expr: price > 9, reset: price < 5, cooldown: 3s}\n", "5"},
		"the name: a new rule": {"rules:\n  - {alert: R2, expr: price > 10, reset: price < 5, cooldown: 10s}\n", "25"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, ordered, before)
			s := p.NewState()
			e := trade(0, 11)
			if out, _ := p.Step(s, &e, nil); len(out) != 1 {
				t.Fatal("did not fire")
			}
			p = program(t, ordered, tc.after)
			s, err := p.Decode(s.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			var out []Alert
			for _, e := range []market.Event{trade(5, 11), trade(12, 11)} {
				out, _ = p.Step(s, &e, out)
			}
			if got := times(out); got != tc.want {
				t.Errorf("fired at %q, want %q", got, tc.want)
			}
		})
	}
}

// States of rules and slots that are gone are dropped; the rest stays.
func TestStateOfAnotherRuleSet(t *testing.T) {
	both := program(t, ordered, bothKinds)
	b := usedState(t, both).Append(nil)
	only := program(t, ordered, "rules:\n  - {alert: R, expr: price > 10, cooldown: 10s}\n")
	s, err := only.Decode(b)
	if err != nil || s.rules[0].phase != fired || len(s.slots) != 0 || len(s.marks) != 3 {
		t.Fatalf("decoded %+v, %v", s, err)
	}
	s, err = both.Decode(s.Append(nil))
	if err != nil || s.rules[0].phase != fired || s.rules[1] != (ruleState{}) || s.book().seen() {
		t.Errorf("decoded %+v, %v", s, err)
	}
}

func TestMarksAreBounded(t *testing.T) {
	p := program(t, ordered, bothKinds)
	s := p.NewState()
	q := quote(0, 10, 11)
	p.Step(s, &q, nil)
	for i := range 100 {
		p.Step(s, &market.Event{Kind: market.Bar, Time: t0, Interval: time.Duration(i+1) * time.Minute}, nil)
	}
	if len(s.marks) != maxMarks {
		t.Errorf("%d marks, want %d", len(s.marks), maxMarks)
	}
}
