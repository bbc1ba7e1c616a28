package alert

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// values steps the events and tells what the slot of that text holds after each.
func values(t *testing.T, p *Program, text string, events ...market.Event) string {
	t.Helper()
	slot := -1
	for i := range p.slots {
		if d := p.slots[i].def; d != nil && d.text == text {
			slot = i
		}
	}
	if slot < 0 {
		t.Fatalf("no slot %q", text)
	}
	s, out := p.NewState(), []string(nil)
	for i := range events {
		p.Step(s, &events[i], nil)
		out = append(out, strings.ReplaceAll(fmt.Sprintf("%.4g", s.x.values[slot]), "NaN", "-"))
	}
	return strings.Join(out, " ")
}

func prices(prices ...float64) (events []market.Event) {
	for i, p := range prices {
		events = append(events, trade(float64(i), p))
	}
	return events
}

// "Indicator calls that are equal share one slot of the series' state, nested calls work"; "every slot steps on every
// event of its kind, never short-circuited".
func TestSlotsAreShared(t *testing.T) {
	p := program(t, ordered, `
rules:
  - {alert: A, expr: "crossover(sma(price,20), ema(price,50))"}
  - {alert: B, expr: "price > 1 or sma( price, 20 ) > 2 and sma(price, 20) < 3", reset: "price < sma(price, 20)"}
  - {alert: C, on: bar, interval: 1m, expr: "sma(close, 20) > zscore(roc(close, 1), 30)", cooldown: 1m}
  - {alert: D, on: bar, interval: 5m, expr: "sma(close, 20) > 1", cooldown: 1m}
  - {alert: E, on: bar, interval: 5m, from: trades, expr: "sma(close, 20) > 1", cooldown: 1m}
  - {alert: F, on: bar, interval: 5m, expr: "sma(close, 20) > 1", cooldown: 1m, max_gap: 1h, session: "UTC 09:00-17:00"}
  - {alert: G, on: bar, interval: 5m, expr: "sma(close, 20) + vwap() + sma(vwap(), 2) > 1", cooldown: 1m, session: "UTC 09:00-17:00"}
  - {alert: H, on: bar, interval: 5m, expr: "vwap() + sma(vwap(), 2) > 1", cooldown: 1m}
`)
	var got []string
	for _, st := range p.streams {
		for _, i := range st.functions {
			got = append(got, st.text()+": "+p.slots[i].def.text)
		}
	}
	want := []string{"trade: sma(price, 20)", "trade: ema(price, 50)", "trade: crossover(sma(price, 20), ema(price, 50))",
		"bar 1m: sma(close, 20)", "bar 1m: roc(close, 1)", "bar 1m: zscore(roc(close, 1), 30)",
		"bar 5m: sma(close, 20)", "bar 5m: sma(close, 20)", "bar 5m: vwap()", "bar 5m: sma(vwap(), 2)", "bar 5m: vwap()", "bar 5m: sma(vwap(), 2)",
		"bar 5m from trades: sma(close, 20)"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("slots\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// The right side of "or" steps although the left is true.
	p = program(t, ordered, oneRule("expr: price > 1 or sma(price, 2) > 100", "cooldown: 1h"))
	if got := values(t, p, "sma(price, 2)", prices(2, 4, 8)...); got != "- 3 6" {
		t.Errorf("values %s", got)
	}
	p = program(t, ordered, oneRule("expr: sum(sma(price, 2), 2) > 100", "cooldown: 1h"))
	if got := values(t, p, "sum(sma(price, 2), 2)", prices(2, 4, 8)...); got != "- - 9" {
		t.Errorf("nested values %s", got)
	}
}

// "No evaluation at all … while a slot warms up"; "a rule true at its very first evaluation fires"; "crossover … needs a
// previous evaluation of both".
func TestWarmUp(t *testing.T) {
	for _, tc := range []struct{ expr, want string }{
		{"expr: price > prev(price, 2)", "2"},
		{"expr: not (price > prev(price, 2))", "3"},
		{"expr: price > 0 or price > prev(price, 2)", "2"},
		{"expr: crossover(price, 3)", "2"},
		{"expr: crossover(price, prev(price, 2))", ""},
		{"expr: crossunder(price, 3)", "3"},
		{"expr: crossover(price, 3) or crossunder(price, 3)", "2"},
	} {
		if got := firings(t, program(t, ordered, oneRule(tc.expr)), prices(1, 2, 4, 2)...); got != tc.want {
			t.Errorf("%s: fired at %q, want %q", tc.expr, got, tc.want)
		}
	}
	var out Alert
	p := program(t, ordered, oneRule("expr: crossover(sma(price, 2), 3)"))
	s := p.NewState()
	for _, e := range prices(1, 2, 6) {
		if a, _ := p.Step(s, &e, nil); len(a) > 0 {
			out = a[0]
		}
	}
	// "Of a bare cross, its first argument"; "operands: every operand by its text".
	if out.Value != 4 || fmt.Sprint(out.Operands) != "[{price 6} {sma(price, 2) 4}]" {
		t.Errorf("alert %+v", out)
	}
}

// "`max_gap: 30m`: a longer silence restarts the windows; default: none", and no other rule's windows.
func TestMaxGap(t *testing.T) {
	events := []market.Event{trade(0, 2), trade(1, 4), trade(11, 8), trade(21.1, 16), trade(22, 32)}
	for gap, want := range map[string]string{"cooldown: 1h": "- 3 6 12 24", "max_gap: 10s": "- 3 6 - 24", "max_gap: 9s": "- 3 - - 24"} {
		if got := values(t, program(t, ordered, oneRule("expr: sma(price, 2) > 100", "reset: price < 0", gap)), "sma(price, 2)", events...); got != want {
			t.Errorf("%s: values %s, want %s", gap, got, want)
		}
	}
	// Between bars the silence is from the end of one to the start of the next.
	p := program(t, ordered, oneRule("on: bar", "interval: 1m", "expr: sma(close, 2) > 100", "reset: close < 0", "max_gap: 30s"))
	if got := values(t, p, "sma(close, 2)", vendorBar(0, 2), vendorBar(1, 4), vendorBar(3, 8), vendorBar(4, 16)); got != "- 3 - 12" {
		t.Errorf("bars: values %s", got)
	}
}

// "`day_open`, `day_high`, `day_low`, `prev_close` of the day (the session's; default UTC)"; "`vwap` and `day_*` restart
// with the session".
func TestDayValues(t *testing.T) {
	night := 10.5 * 3600 // 00:00 UTC of the next day
	events := []market.Event{trade(0, 5), trade(1, 7), trade(2, 4), ineligible(trade(3, 100)), trade(7*3600, 9), trade(night, 6), trade(day, 8)}
	for _, session := range []string{"severity: info", inSession} {
		p := program(t, ordered, oneRule("expr: day_open + day_high + day_low + prev_close + vwap() > 1e6", "cooldown: 1h", session))
		for text, want := range map[string][2]string{
			"day_open":   {"5 5 5 5 5 6 6", "5 5 5 5 - - 8"},
			"day_high":   {"5 7 7 7 9 6 8", "5 7 7 7 - - 8"},
			"day_low":    {"5 5 4 4 4 6 6", "5 5 4 4 - - 8"},
			"prev_close": {"- - - - - 9 9", "- - - - - - 4"},
			"vwap()":     {"5 6 5.333 5.333 6.25 6 7", "5 6 5.333 5.333 - - 8"},
		} {
			w := want[0]
			if session == inSession {
				w = want[1]
			}
			if got := values(t, p, text, events...); got != w {
				t.Errorf("%s, %s: %s, want %s", session, text, got, w)
			}
		}
	}
	// Of bars and quotes; a straggler of the day before changes nothing.
	p := program(t, ordered, oneRule("on: bar", "interval: 1m", "expr: day_open + day_low > 1e6", "cooldown: 1h"))
	b := vendorBar(0, 5)
	b.Low = 3 * market.Unit
	if got := values(t, p, "day_low", b, vendorBar(1, 4)); got != "3 3" {
		t.Errorf("bars: %s", got)
	}
	p = program(t, ordered, oneRule("on: quote", "expr: mid > day_high", "cooldown: 1h"))
	if got := values(t, p, "day_high", quote(0, 2, 4), quote(1, 4, 0), quote(2, 1, 0), clock(9)); got != "- 3 4 4" {
		t.Errorf("quotes: %s", got)
	}
	p = program(t, ordered, oneRule("expr: price > day_open", "cooldown: 1h"))
	if got := values(t, p, "day_open", trade(night-1, 2), trade(night+1, 4), trade(night-1, 8), trade(night+2, 16)); got != "2 4 - 4" {
		t.Errorf("straggler: %s", got)
	}
}

// "A second bar for the same start is a revision: counted, never re-evaluated"; "a vendor bar is final on arrival".
func TestRevisionsOfBars(t *testing.T) {
	src := oneRule("on: bar", "interval: 1m", "expr: close > 10")
	for _, o := range []Options{ordered, {Lateness: 5 * time.Second}} {
		p := program(t, o, src)
		s := p.NewState()
		if got := outcomes(p, s, with(vendorBar(0, 9), 1), with(vendorBar(0, 11), 2), with(vendorBar(1, 11), 3), with(vendorBar(1, 9), 4), with(vendorBar(0, 11), 5)); got != "ARARR" {
			t.Errorf("outcomes %s", got)
		}
		before := string(s.Append(nil))
		outcomes(p, s, with(vendorBar(0, 1), 7))
		if string(s.Append(nil)) != before || s.rules[0].phase != fired {
			t.Error("a revision changed the state")
		}
	}
	// An interval that no rule watches is none of our business.
	other := vendorBar(0, 11)
	other.Interval = time.Hour
	if p := program(t, ordered, src); outcomes(p, p.NewState(), other, other, vendorBar(0, 11)) != "AAA" {
		t.Error("bars of another interval are judged")
	}
	// Starts that are not on a grid, and older ones within the lateness of short bars.
	s := starts{interval: time.Second}
	for _, tc := range []struct {
		start int64
		seen  bool
	}{{100e9, false}, {100e9, true}, {98e9, false}, {98e9, true}, {99e9, false}, {101e9, false}, {98e9, true}, {101e9 + 5, false}, {101e9, false}, {300e9 + 5, false}, {101e9 + 5, false}} {
		if got := s.seen(tc.start); got != tc.seen {
			t.Errorf("start %d: seen %v", tc.start, got)
		}
		s.apply(tc.start)
	}
}

const builtMinute = "rules:\n  - {alert: R, on: bar, interval: 1m, from: trades, expr: open > 0 and high > 0 and low > 0 and close > 0 and volume > 0 and bar_vwap > 0 and trades > 0, reset: open > 0}\n"

func operands(a *Alert) string {
	var b strings.Builder
	for _, name := range []string{"open", "high", "low", "close", "volume", "bar_vwap", "trades"} {
		for _, o := range a.Operands {
			if o.Text == name {
				fmt.Fprintf(&b, "%v ", o.Value)
			}
		}
	}
	return strings.TrimSpace(b.String())
}

// "A bar built from trades closes when the series' time (a trade's, or a clock's) reaches its end + `lateness`; until then
// stragglers still enter it, in any order, open and close by (timestamp, sequence); a trade whose bar is closed is late
// for that bar only"; "ineligible trades enter a bar's volume only".
func TestBarsFromTrades(t *testing.T) {
	one := func(at, price float64, size int64) market.Event { return sized(trade(at, price), size) }
	for name, tc := range map[string]struct {
		events []market.Event
		want   string // seconds: open high low close volume vwap trades
	}{
		"one bar":                          {[]market.Event{one(0, 10, 1), one(1, 13, 1), one(2, 9, 1), one(59, 12, 1), clock(65)}, "60: 10 13 9 12 4 11 4"},
		"not before end + lateness":        {[]market.Event{one(0, 10, 1), clock(64.9)}, ""},
		"by a trade":                       {[]market.Event{one(0, 10, 1), one(65, 11, 1)}, "60: 10 10 10 10 1 10 1"},
		"not by a quote or a vendor's bar": {[]market.Event{one(0, 10, 1), quote(99, 1, 2), vendorBar(5, 1), status(99, "x")}, ""},
		"stragglers enter":                 {[]market.Event{one(58, 10, 1), one(61, 50, 1), one(57, 9, 1), one(59, 11, 2), clock(65)}, "60: 9 11 9 11 4 10.25 3"},
		"by sequence at one time":          {[]market.Event{with(one(1, 10, 1), 2), with(one(1, 11, 1), 3), with(one(1, 12, 1), 4), clock(65)}, "60: 10 12 10 12 3 11 3"},
		"the closed bar's trade is late":   {[]market.Event{one(58, 10, 1), clock(65), one(59, 99, 1), one(66, 11, 1), clock(130)}, "60: 10 10 10 10 1 10 1"},
		"ineligible: volume only":          {[]market.Event{ineligible(one(0, 99, 7)), one(1, 10, 1), ineligible(one(2, 1, 5)), clock(65)}, "60: 10 10 10 10 13 10 1"},
		"only volume: no bar":              {[]market.Event{ineligible(one(0, 99, 7)), clock(65)}, ""},
		"no trade, no bar":                 {[]market.Event{one(0, 10, 1), clock(1000)}, "60: 10 10 10 10 1 10 1"},
		"before 1970 and on the boundary":  {[]market.Event{one(60, 10, 1), one(119.9, 11, 1), one(120, 99, 1), clock(125)}, "120: 10 11 10 11 2 10.5 2"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, Options{Lateness: 5 * time.Second}, builtMinute)
			s, out := p.NewState(), []Alert(nil)
			for i := range tc.events {
				out, _ = p.Step(s, &tc.events[i], out)
			}
			got := ""
			for i := range out {
				got += fmt.Sprintf("%s: %s", times(out[i:i+1]), operands(&out[i]))
			}
			if got != tc.want {
				t.Errorf("bars %q, want %q", got, tc.want)
			}
		})
	}
	// The id has the bar's end and interval; the record names the bar's last trade and its price, whatever closed it.
	p := program(t, ordered, builtMinute)
	s := p.NewState()
	outcomes(p, s, with(trade(0, 10), 1), with(trade(1, 12), 2))
	late := with(trade(70, 99), 3)
	late.ID = "closes it"
	out, _ := p.Step(s, &late, nil)
	if a := out[0]; a.ID != alertID("R", "AAPL", "feed", "1m", t0+60*second, 0) || a.Price != 12*market.Unit || a.Sequence != 2 || a.EventID != "" {
		t.Errorf("alert %+v", a)
	}
}

// An interval without a price is no bar: nothing is evaluated.
func TestVolumeAloneIsNoBar(t *testing.T) {
	p := program(t, ordered, oneRule("on: bar", "interval: 1m", "from: trades", "expr: volume > 0"))
	if got := firings(t, p, ineligible(trade(0, 10)), clock(65), trade(70, 10), clock(125)); got != "120" {
		t.Errorf("fired at %q, want 120", got)
	}
}

// What feeds a history, or can run a timer, leaves a mark even where it changes nothing else; so its repetition is known.
func TestWhatFeedsHistoryLeavesMarks(t *testing.T) {
	odd := with(ineligible(trade(0, 10)), 1)
	halted := with(status(0, "x"), 1)
	for rule, want := range map[string]string{
		"expr: sma(price, 3) > 1e6":                                        "ARAA",
		"on: bar\n    interval: 1m\n    from: trades\n    expr: close > 1": "ARAA",
		"expr: price > 1e6\n    for: 5s":                                   "ARAR",
		"on: silence\n    after: 5m":                                       "ARAR",
		"expr: price > 1e6":                                                "AAAA",
		"on: bar\n    interval: 1m\n    expr: close > 1":                   "AAAA",
	} {
		p := program(t, ordered, oneRule(rule))
		if got := outcomes(p, p.NewState(), odd, odd, halted, halted); got != want {
			t.Errorf("%q: outcomes %s, want %s", rule, got, want)
		}
	}
}

// Volume outgrows neither integers nor the precision of sums.
func TestBarsOfHugeTrades(t *testing.T) {
	var b bar
	for range 1000 {
		e := market.Event{Price: math.MaxInt64, Size: math.MaxInt64}
		b.add(&e)
	}
	x := new(eval)
	b.values(x)
	if v, w := x.numbers[iVolume], x.numbers[iBarVWAP]; math.Abs(v/(1000*math.MaxInt64/1e9)-1) > 1e-12 || math.Abs(w/(math.MaxInt64/1e9)-1) > 1e-12 {
		t.Errorf("volume %v, vwap %v", v, w)
	}
}

// "A rule edited, added or removed between deployments keeps every slot that did not change; a changed or new slot warms
// up."
func TestEditsKeepSlots(t *testing.T) {
	before := "rules:\n  - {alert: R, expr: \"sma(price, 3) > 100\", cooldown: 1h}\n"
	for name, tc := range map[string]struct{ after, want string }{
		"nothing":                {before, "3"},
		"another threshold":      {strings.Replace(before, "100", "200", 1), "3"},
		"another rule's name":    {strings.Replace(before, "R,", "X,", 1), "3"},
		"another rule before it": {"rules:\n  - {alert: Q, expr: \"ema(price, 9) > 100\", cooldown: 1h}\n" + before[7:], "3"},
		"used by another call":   {strings.Replace(before, "sma(price, 3)", "prev(sma(price, 3), 1) + sma(price, 3)", 1), "3"},
		"another length":         {strings.Replace(before, "3", "2", 1), "-"},
		"a gap":                  {strings.Replace(before, "cooldown", "max_gap: 1h, cooldown", 1), "-"},
		"a session: no window":   {strings.Replace(before, "cooldown", "session: \"UTC 09:00-17:00\", cooldown", 1), "3"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, ordered, before)
			s := p.NewState()
			outcomes(p, s, prices(1, 2)...)
			p = program(t, ordered, tc.after)
			s, err := p.Decode(s.Append(nil))
			if err != nil {
				t.Fatal(err)
			}
			e := trade(3, 6)
			p.Step(s, &e, nil)
			for i := range p.slots {
				if d := p.slots[i].def; d != nil && strings.HasPrefix(d.text, "sma") {
					if got := strings.ReplaceAll(fmt.Sprint(s.x.values[i]), "NaN", "-"); got != tc.want {
						t.Errorf("%s is %s, want %s", d.text, got, tc.want)
					}
				}
			}
		})
	}
}

// "Editing `expr`, `reset`, `for`, `on`, `interval`, `from`, `session` re-arms"; "other edits do not".
func TestEditsThatReArm(t *testing.T) {
	base := map[string]string{"on": "bar", "interval": "1m", "expr": "close > 10"}
	hashOf := func(key, value string) uint64 {
		lines := []string{}
		for _, k := range ruleKeys {
			v, ok := base[k]
			if k == key {
				v, ok = value, true
			}
			if ok && v != "" {
				lines = append(lines, k+": "+v)
			}
		}
		return mustLoad(t, oneRule(lines...)).rules[0].editHash
	}
	plain := hashOf("", "")
	for key, value := range map[string]string{"expr": "close > 11", "reset": "close < 9", "for": "5m", "interval": "5m", "from": "trades", "session": `"UTC 09:00-17:00"`} {
		if hashOf(key, value) == plain {
			t.Errorf("%s does not re-arm", key)
		}
	}
	for key, value := range map[string]string{"cooldown": "5m", "severity": "info", "notify": "false", "expires": "2027-01-01T00:00:00Z", "symbols": "[A]", "labels": "{a: b}", "summary": "x", "from": "bars", "for": "0s", "interval": "60s"} {
		if hashOf(key, value) != plain {
			t.Errorf("%s re-arms", key)
		}
	}
}

// "`Step` … allocates nothing": rules with windows, crossings, bars and a "for".
func TestHistoryAllocatesNothing(t *testing.T) {
	p := program(t, ordered, `
rules:
  - {alert: Cross, expr: "crossover(sma(price, 20), ema(price, 50)) and price > 1e6"}
  - {alert: Bars, on: bar, interval: 1m, from: trades, expr: "rsi(close, 14) > 101 or close > 1e6", session: "America/New_York 09:30-16:00 mon-fri", cooldown: 1h}
  - {alert: Held, expr: "price >= sma(price, 20)", for: 10h, cooldown: 1h}
  - {alert: Quotes, on: quote, expr: "spread_bps > highest(spread_bps, 10)", cooldown: 1h}
  - {alert: Silent, on: silence, after: 1h}
`)
	s, i, ids := p.NewState(), 0, []string{"a", "bc", "def"}
	step := func() {
		i++
		e := with(trade(float64(i), float64(100+i%7)), int64(i))
		e.ID, e.Venue = ids[i%len(ids)], "Q"
		q := with(quote(float64(i), 10, 11), int64(i))
		q.ID = ids[i%2]
		for _, e := range []*market.Event{&e, &q} {
			if out, o := p.Step(s, e, nil); len(out) > 0 || o != Applied {
				t.Fatal(out, o)
			}
		}
	}
	for range 200 {
		step()
	}
	if n := testing.AllocsPerRun(2000, step); n != 0 {
		t.Errorf("%v allocations per trade and quote, want none", n)
	}
	b := s.Append(nil)
	other := p.NewState()
	if n := testing.AllocsPerRun(200, func() {
		if err := s.Decode(b); err != nil {
			t.Fatal(err)
		}
		step()
		b = s.Append(b[:0])
		// Of another series, in the same memory.
		if err := other.Decode(b); err != nil || other.Changed() {
			t.Fatal(err)
		}
		if err := other.Decode(nil); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations per state that is read and written, want none", n)
	}
}

// "The loader computes the state's size: over 64 KB is refused, over 8 KB warned about, with what it costs per commit."
func TestStateSize(t *testing.T) {
	rules := func(n int, symbols string) string {
		var b strings.Builder
		b.WriteString("rules:\n")
		for i := range n {
			fmt.Fprintf(&b, "  - {alert: R%d, symbols: [%s], expr: \"sma(price, %d) > 1\", cooldown: 1m}\n", i, strings.ReplaceAll(symbols, "#", fmt.Sprint(i)), 1000-i)
		}
		return b.String()
	}
	if w := mustLoad(t, rules(1, "A")).Warnings(); len(w) > 0 {
		t.Errorf("one window of 1000: %v", w)
	}
	w := mustLoad(t, rules(2, "A")).Warnings()
	if len(w) != 1 || !strings.Contains(w[0].String(), "watched by 2 rules") || !strings.Contains(w[0].String(), "DynamoDB write units") {
		t.Errorf("two windows: %v", w)
	}
	if _, err := Load("f", []byte(rules(10, "A"))); err == nil || !strings.Contains(err.Error(), "the limit is 65536 bytes") {
		t.Errorf("ten windows: %v", err)
	}
	// Rules of different symbols are not added up.
	if w := mustLoad(t, rules(10, "\"A#*\"")).Warnings(); len(w) > 0 {
		t.Errorf("ten symbols: %v", w)
	}
	f := mustLoad(t, rules(2, "A")).Explain(ordered)
	if len(f) != 1 || f[0].Symbol != "A" || len(f[0].Slots) != 2 || f[0].Slots[0].Text != "sma(price, 1000)" || f[0].Slots[0].WarmUp != 1000 || f[0].Slots[0].On != "trade" ||
		f[0].WriteUnits != (f[0].Bytes+deliveryBytes+1023)/1024 || f[0].Timed {
		t.Errorf("explained %+v", f)
	}
}

// The binary form never exceeds what was computed at load.
func TestStateStaysWithinItsSize(t *testing.T) {
	p := historyProgram(t, ordered)
	most, s := p.footprint().Bytes, p.NewState()
	for i := range 2000 {
		e, q := with(trade(float64(i)/3, float64(8+i*7%6)), int64(i)), with(quote(float64(i)/3, float64(8+i*5%6), 12), int64(i))
		e.ID, e.Venue, q.ID = strings.Repeat("x", 128), strings.Repeat("y", 128), strings.Repeat("z", 128)
		outcomes(p, s, e, q, vendorBar(i-3000, float64(i%7+1)), status(float64(i)/3, "halted"))
		if n := len(s.Append(nil)); n > most {
			t.Fatalf("the state has %d bytes after %d events, computed were at most %d", n, i, most)
		}
	}
	t.Logf("%d bytes, computed at most %d", len(s.Append(nil)), most)
}

// TestBarsThatAreForgottenAreLate: beyond the starts that are remembered nobody knows whether a bar was applied.
func TestBarsThatAreForgottenAreLate(t *testing.T) {
	p := program(t, Options{Lateness: time.Hour}, oneRule("on: bar", "interval: 1s", "expr: close > sma(close, 3)"))
	s := p.NewState()
	bar := func(at float64) market.Event {
		e := trade(at, 1)
		return market.Event{Kind: market.Bar, Symbol: e.Symbol, Source: e.Source, Time: e.Time, Interval: time.Second, Open: 1, High: 1, Low: 1, Close: 1}
	}
	if got := outcomes(p, s, bar(0), bar(100), bar(37), bar(37), bar(36), bar(0)); got != "AAARLL" {
		t.Errorf("outcomes %s, want AAARLL", got)
	}
}

func TestFits(t *testing.T) {
	rules, err := Load("rules.yaml", []byte(oneRule("on: bar", "interval: 1s", "from: trades", "expr: close > 1")))
	if err != nil {
		t.Fatal(err)
	}
	if err := rules.Fits(Options{Lateness: 5 * time.Second}); err != nil {
		t.Errorf("5 s: %v", err)
	}
	if err := rules.Fits(Options{Lateness: 2 * time.Hour}); err == nil || !strings.Contains(err.Error(), "2h0m0s") {
		t.Errorf("2 h of 1-second bars: %v", err)
	}
}

// TestOverlappingPatternsAreMeasuredTogether: "A*" and "*B" both watch AB.
func TestOverlappingPatternsAreMeasuredTogether(t *testing.T) {
	src := "rules:\n"
	for i := range 6 {
		for k, glob := range []string{"A*", "*B"} {
			src += fmt.Sprintf("  - {alert: R%d%d, symbols: [%q], on: bar, interval: 1m, expr: 'close > sma(close, %d) and open > sma(open, %d)', cooldown: 1m}\n",
				i, k, glob, 1000-i-10*k, 999-i-10*k)
		}
	}
	if _, err := Load("rules.yaml", []byte(src)); err == nil || !strings.Contains(err.Error(), "such as AB") {
		t.Errorf("error %v, want the size of AB's state", err)
	}
}
