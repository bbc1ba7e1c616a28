package alert

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
	"unsafe"

	"example.com/market-data-pipeline/functions/processor/market"
)

const second = int64(time.Second)

// t0 is 2013-10-10T13:30:00Z.
var t0 = time.Date(2013, 10, 10, 13, 30, 0, 0, time.UTC).UnixNano()

func trade(at float64, price float64) market.Event {
	return market.Event{Kind: market.Trade, Symbol: "AAPL", Source: "feed", Time: t0 + int64(at*float64(second)),
		Price: market.Decimal(math.Round(price * 1e9)), Size: 100 * market.Unit}
}

// quote is a two-sided quote; a side of 0 is absent.
func quote(at, bid, ask float64) market.Event {
	return market.Event{Kind: market.Quote, Symbol: "AAPL", Source: "feed", Time: t0 + int64(at*float64(second)),
		HasBid: bid != 0, Bid: market.Decimal(math.Round(bid * 1e9)), HasAsk: ask != 0, Ask: market.Decimal(math.Round(ask * 1e9))}
}

func clock(at float64) market.Event {
	return market.Event{Kind: market.Clock, Symbol: "AAPL", Source: "feed", Time: t0 + int64(at*float64(second))}
}

// numbered gives the events sequences, per kind.
func numbered(events ...market.Event) []market.Event {
	next := map[market.Kind]int64{}
	for i := range events {
		if k := events[i].Kind; k != market.Clock {
			next[k]++
			events[i].HasSeq, events[i].Sequence = true, next[k]
		}
	}
	return events
}

func program(tb testing.TB, o Options, src string) *Program {
	tb.Helper()
	p := mustLoad(tb, src).Engine(o).Program("AAPL", "feed")
	if p == nil {
		tb.Fatal("no program")
	}
	return p
}

var ordered = Options{Lateness: 5 * time.Second, Ordered: true}

// firings steps the events and tells the times of the alerts, in seconds after t0, with their rules where not R.
func firings(tb testing.TB, p *Program, events ...market.Event) string {
	tb.Helper()
	s, out := p.NewState(), []Alert(nil)
	for i := range events {
		out, _ = p.Step(s, &events[i], out)
	}
	return times(out)
}

func times(alerts []Alert) string {
	var b strings.Builder
	for _, a := range alerts {
		name := strings.TrimPrefix(a.Rule, "R")
		fmt.Fprintf(&b, "%s%v ", name, float64(a.Time-t0)/float64(second))
	}
	return strings.TrimSpace(b.String())
}

// The machine, row by row against the text of "When an alert fires". Each step is a price at a second; expr is
// price > 10 and the alerts' seconds are given.
func TestFiringStates(t *testing.T) {
	type step struct{ at, price float64 }
	for name, tc := range map[string]struct {
		rule  string
		steps []step
		want  string
	}{
		"a rule true at its very first evaluation fires": {"expr: price > 10", []step{{0, 11}}, "0"},
		"fires once":                    {"expr: price > 10", []step{{0, 9}, {1, 11}, {2, 12}, {3, 11}}, "1"},
		"default reset: expr is false":  {"expr: price > 10", []step{{0, 11}, {1, 10}, {2, 11}, {3, 9}, {4, 12}}, "0 2 4"},
		"reset: hysteresis":             {"expr: price > 10\n    reset: price < 8", []step{{0, 11}, {1, 9}, {2, 11}, {3, 7}, {4, 11}}, "0 4"},
		"reset matters only when fired": {"expr: price > 10\n    reset: price < 20", []step{{0, 9}, {1, 11}}, "1"},
		"reset and expr both true: re-arms, the next true evaluation fires": {"expr: price > 10\n    reset: price > 20", []step{{0, 11}, {1, 21}, {2, 22}, {3, 22}, {4, 12}}, "0 2 4"},
		"cooldown delays to the next evaluation that is still true":         {"expr: price > 10\n    cooldown: 10s", []step{{0, 11}, {1, 9}, {2, 11}, {9.9, 11}, {10, 11}, {11, 11}}, "0 10"},
		"cooldown does not fire what is no longer true":                     {"expr: price > 10\n    cooldown: 10s", []step{{0, 11}, {1, 9}, {2, 11}, {3, 9}, {10, 9}, {11, 9}, {12, 11}}, "0 12"},
		"cooldown does not re-arm":                                          {"expr: price > 10\n    cooldown: 1s", []step{{0, 11}, {5, 11}, {9, 11}}, "0"},
		"two firings at one time":                                           {"expr: price > 10", []step{{0, 11}, {0, 9}, {0, 11}}, "0 0"},
		"an older event does not fire before the last firing":               {"expr: price > 10", []step{{3, 11}, {3, 9}, {2, 11}, {4, 11}}, "3 4"},
		"for: waits until it held so long":                                  {"expr: price > 10\n    for: 5s", []step{{0, 11}, {4, 11}, {5, 11}, {6, 11}}, "5"},
		"for: false while pending re-arms":                                  {"expr: price > 10\n    for: 5s", []step{{0, 11}, {4, 9}, {5, 11}, {9, 11}, {10, 11}}, "10"},
		"for: the cooldown delays it further":                               {"expr: price > 10\n    for: 2s\n    cooldown: 20s", []step{{0, 11}, {2, 11}, {3, 9}, {4, 11}, {10, 11}, {22, 11}}, "2 22"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, ordered, oneRule(tc.rule))
			var events []market.Event
			for _, s := range tc.steps {
				events = append(events, trade(s.at, s.price))
			}
			if got := firings(t, p, events...); got != tc.want {
				t.Errorf("fired at %q, want %q", got, tc.want)
			}
		})
	}
}

// Every phase has a row, and no signal that a phase can get is left without a way.
func TestTransitionTableIsComplete(t *testing.T) {
	for ph := range phases {
		for sig := range signals {
			next := transition[ph][sig]
			if next.fire != (next.to == fired && ph != fired) && sig != released {
				t.Errorf("phase %d, signal %d: to %d, fire %v", ph, sig, next.to, next.fire)
			}
		}
	}
}

func TestCooldownAtTheEndsOfTime(t *testing.T) {
	for _, tc := range []struct {
		t, from, d  int64
		reached, on bool
	}{
		{10, 0, 10, true, false}, {9, 0, 10, false, false}, {11, 0, 10, true, true}, {-1, 0, 0, false, false},
		{math.MaxInt64, math.MinInt64, math.MaxInt64, true, true}, {math.MinInt64, math.MaxInt64, 0, false, false}, {math.MaxInt64, math.MaxInt64 - 1, 5, false, false},
	} {
		if got := reached(tc.t, tc.from, tc.d); got != tc.reached {
			t.Errorf("reached(%d, %d, %d) = %v", tc.t, tc.from, tc.d, got)
		}
		if got := beyond(tc.t, tc.from, tc.d); got != tc.on {
			t.Errorf("beyond(%d, %d, %d) = %v", tc.t, tc.from, tc.d, got)
		}
	}
}

// "ineligible trades do not evaluate"; an unknown size suspends what compares it.
func TestTradesThatDoNotEvaluate(t *testing.T) {
	p := program(t, ordered, oneRule("expr: price > 10 and size > 1"))
	ineligible := trade(0, 11)
	ineligible.Ineligible = true
	unsized := trade(1, 11)
	unsized.Size = 0
	if got := firings(t, p, ineligible, unsized, trade(2, 11)); got != "2" {
		t.Errorf("fired at %q, want 2", got)
	}
	// "No evaluation at all, and no change": the unsized trade neither fires nor re-arms.
	if got := firings(t, p, trade(0, 11), unsized, trade(2, 11)); got != "0" {
		t.Errorf("fired at %q, want 0", got)
	}
}

// "quotes of one series with the same timestamp are evaluated once, after the last"
func TestQuotesOfOneTimestampAreEvaluatedOnce(t *testing.T) {
	p := program(t, ordered, oneRule("on: quote", "expr: spread > 1", "cooldown: 0s"))
	for name, tc := range map[string]struct {
		events []market.Event
		want   string
	}{
		"waits for the end of its timestamp":          {[]market.Event{quote(0, 10, 12)}, ""},
		"a later quote ends it":                       {[]market.Event{quote(0, 10, 12), quote(1, 10, 12)}, "0"},
		"the last quote counts":                       {[]market.Event{quote(0, 10, 12), quote(0, 0, 10.5), quote(1, 10, 10.1)}, ""},
		"an intermediate normal book does not re-arm": {[]market.Event{quote(0, 10, 12), quote(1, 10, 10), quote(1, 0, 13), quote(2, 10, 12)}, "0"},
		"a later trade ends it":                       {[]market.Event{quote(0, 10, 12), trade(1, 10)}, "0"},
		"a later clock ends it":                       {[]market.Event{quote(0, 10, 12), clock(1)}, "0"},
		"a clock of the same time does not":           {[]market.Event{quote(0, 10, 12), clock(0)}, ""},
		"an earlier trade does not":                   {[]market.Event{quote(1, 10, 12), trade(0, 10), quote(1, 0, 10.5), quote(2, 0, 10.5)}, ""},
		"an older quote ends it":                      {[]market.Event{quote(2, 10, 12), quote(1, 10, 10.1)}, "2"},
		"a status ends it":                            {[]market.Event{quote(0, 10, 12), {Kind: market.Status, Time: t0 + second, State: "halted"}}, "0"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := firings(t, p, tc.events...); got != tc.want {
				t.Errorf("fired at %q, want %q", got, tc.want)
			}
		})
	}
}

// A timestamp is evaluated once, not once more at every later event: an evaluation that re-arms would fire at the next.
func TestQuotesAreNotEvaluatedAgain(t *testing.T) {
	p := program(t, ordered, oneRule("on: quote", "expr: spread > 1", "reset: ask > 20"))
	if got := firings(t, p, quote(0, 10, 12), quote(1, 10, 25), trade(2, 10), clock(3), trade(4, 10)); got != "0" {
		t.Errorf("fired at %q, want 0", got)
	}
}

// The alert of quotes names the last quote of their time, however late and by whatever event the evaluation is run.
func TestQuoteAlertNamesTheLastQuote(t *testing.T) {
	p := program(t, ordered, oneRule("on: quote", "expr: spread > 1", "cooldown: 1m"))
	first, last, later := quote(0, 10, 0), quote(0, 0, 12), quote(9, 1, 1)
	for i, e := range []*market.Event{&first, &last, &later} {
		e.ID, e.Venue, e.HasSeq, e.Sequence = fmt.Sprint("id", i+1), fmt.Sprint("V", i+1), true, int64(i+1)
	}
	s := p.NewState()
	p.Step(s, &first, nil)
	p.Step(s, &last, nil)
	s, err := p.Decode(s.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	out, _ := p.Step(s, &later, nil)
	if len(out) != 1 {
		t.Fatalf("%d alerts, want 1", len(out))
	}
	if a := out[0]; a.EventID != "id2" || a.Venue != "V2" || a.Sequence != 2 || !a.HasSeq || a.Time != t0 || a.Price != 11*market.Unit || a.Value != 2 {
		t.Errorf("alert %+v", a)
	}
}

// "at least one side; the other side carries forward per series. bid > ask is a crossed quote: valid"
func TestQuoteSides(t *testing.T) {
	for name, tc := range map[string]struct {
		expr   string
		events []market.Event
		want   string
	}{
		"carried forward":                    {"expr: spread > 1", []market.Event{quote(0, 10, 0), quote(1, 0, 12), quote(2, 10.5, 0), clock(9)}, "1"},
		"mid needs both sides":               {"expr: mid > 0", []market.Event{quote(0, 10, 0), quote(1, 11, 0), quote(2, 0, 12), clock(9)}, "2"},
		"not mid is suspended, too":          {"expr: not (mid > 0)", []market.Event{quote(0, 10, 0), clock(9)}, ""},
		"one side is enough for its own":     {"expr: bid > 9", []market.Event{quote(0, 10, 0), clock(9)}, "0"},
		"crossed: the spread is negative":    {"expr: spread < 0", []market.Event{quote(0, 10, 9), clock(9)}, "0"},
		"spread_bps is of the mid":           {"expr: spread_bps == 10000", []market.Event{quote(0, 1, 3), clock(9)}, "0"},
		"a size of another quote is unknown": {"expr: bid_size >= 0", []market.Event{quote(0, 10, 11), clock(9)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := firings(t, program(t, ordered, oneRule("on: quote", tc.expr, "cooldown: 1h")), tc.events...); got != tc.want {
				t.Errorf("fired at %q, want %q", got, tc.want)
			}
		})
	}
	p := program(t, ordered, oneRule("on: quote", "expr: bid > 1", "cooldown: 1h"))
	s := p.NewState()
	q := quote(0, 10, 0)
	p.Step(s, &q, nil)
	c := clock(1)
	out, _ := p.Step(s, &c, nil)
	if len(out) != 1 || out[0].Price != 10*market.Unit {
		t.Errorf("a one-sided quote's alert: %+v, want the price of its side", out)
	}
}

func outcomes(p *Program, s *State, events ...market.Event) string {
	var b strings.Builder
	for i := range events {
		_, o := p.Step(s, &events[i], nil)
		b.WriteByte("ARL"[o])
	}
	return b.String()
}

func with(e market.Event, sequence int64) market.Event {
	e.HasSeq, e.Sequence = true, sequence
	return e
}

// "In ordered delivery an event whose sequence is not newer is a repetition, unless its timestamp is more than
// `lateness` newer"; "an event more than that behind the newest EVENT of its series and kind is late".
func TestRepeatedAndLate(t *testing.T) {
	const src = "rules:\n  - {alert: R, on: quote, expr: bid > 1e6, cooldown: 1h}\n  - {alert: T, expr: price > 1e6, cooldown: 1h}\n"
	q := func(at float64, seq int64) market.Event { return with(quote(at, 10, 11), seq) }
	tr := func(at float64, seq int64) market.Event { return with(trade(at, 10), seq) }
	unordered := Options{Lateness: 5 * time.Second}
	for name, tc := range map[string]struct {
		o      Options
		events []market.Event
		want   string
	}{
		"newer sequences":                        {ordered, []market.Event{q(0, 1), q(0, 2), q(1, 5)}, "AAA"},
		"the same sequence":                      {ordered, []market.Event{q(0, 1), q(0, 1), q(5, 1)}, "ARR"},
		"an older sequence":                      {ordered, []market.Event{q(0, 2), q(1, 1)}, "AR"},
		"a restarted feed":                       {ordered, []market.Event{q(0, 9), q(5.1, 1), q(5.2, 2), q(5.2, 2)}, "AAAR"},
		"late is found before repetition":        {ordered, []market.Event{q(0, 1), q(60, 2), q(0, 1), q(56, 1)}, "AALR"},
		"late":                                   {ordered, []market.Event{q(60, 1), q(54.9, 2), q(55, 3)}, "ALA"},
		"a straggler does not move the mark":     {ordered, []market.Event{q(60, 1), q(56, 2), q(52, 3)}, "AAL"},
		"late leaves no mark":                    {ordered, []market.Event{q(60, 1), q(50, 9), q(61, 2)}, "ALA"},
		"late without sequence":                  {ordered, []market.Event{quote(60, 1, 2), quote(54, 1, 2), quote(60, 1, 2)}, "ALA"},
		"a clock makes nothing late":             {ordered, []market.Event{q(0, 1), clock(600), q(1, 2)}, "AAA"},
		"a clock is neither repeated nor late":   {ordered, []market.Event{clock(600), clock(600), q(300, 1), clock(0)}, "AAAA"},
		"another kind makes nothing late":        {ordered, []market.Event{q(600, 1), tr(1, 1), tr(2, 2)}, "AAA"},
		"kinds count apart":                      {ordered, []market.Event{q(0, 7), tr(0, 1), tr(0, 1), q(0, 7)}, "AARR"},
		"unordered: no repetition by sequence":   {unordered, []market.Event{q(0, 2), q(0, 1), q(0, 1)}, "AAA"},
		"unordered: late":                        {unordered, []market.Event{q(60, 2), q(54, 1)}, "AL"},
		"unwatched kinds are applied":            {ordered, []market.Event{{Kind: market.Status, Time: t0, HasSeq: true}, {Kind: market.Correction, Time: t0}}, "AA"},
		"a series with quotes marks every kind":  {ordered, []market.Event{q(0, 1), {Kind: market.Status, Time: t0, HasSeq: true}, {Kind: market.Status, Time: t0, HasSeq: true}}, "AAR"},
		"a vendor's bar does not make late":      {ordered, []market.Event{q(0, 1), {Kind: market.Bar, Time: t0 + 3600*second, Interval: time.Minute}, q(1, 2), tr(1, 1)}, "AAAA"},
		"bars of each interval are a kind apart": {ordered, []market.Event{q(0, 1), {Kind: market.Bar, Time: t0, Interval: time.Minute, HasSeq: true, Sequence: 4}, {Kind: market.Bar, Time: t0, Interval: time.Hour, HasSeq: true, Sequence: 1}, {Kind: market.Bar, Time: t0, Interval: time.Hour, HasSeq: true, Sequence: 1}}, "AAAR"},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, tc.o, src)
			if got := outcomes(p, p.NewState(), tc.events...); got != tc.want {
				t.Errorf("outcomes %s, want %s", got, tc.want)
			}
		})
	}
}

// Repeated and late events change nothing.
func TestRepeatedAndLateLeaveTheStateAlone(t *testing.T) {
	p := program(t, ordered, oneRule("on: quote", "expr: bid > 10", "cooldown: 0s"))
	s := p.NewState()
	outcomes(p, s, with(quote(60, 9, 12), 5))
	s, err := p.Decode(s.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	before := s.Append(nil)
	if got := outcomes(p, s, with(quote(62, 11, 12), 5), with(quote(1, 11, 12), 6)); got != "RL" {
		t.Fatalf("outcomes %s", got)
	}
	if s.Changed() || !bytes.Equal(before, s.Append(nil)) {
		t.Error("a repeated or a late event changed the state")
	}
}

// Rules that need no history cost no state write.
func TestEventsThatChangeNoRuleLeaveNoTrace(t *testing.T) {
	p := program(t, ordered, oneRule("expr: price > 10", "cooldown: 0s"))
	s := p.NewState()
	empty := s.Append(nil)
	quiet := numbered(trade(0, 9), trade(1, 8), quote(1, 1, 2), quote(2, 3, 4), clock(3), market.Event{Kind: market.Status, Time: t0 + 9*second})
	if got := outcomes(p, s, quiet...); got != "AAAAAA" {
		t.Errorf("outcomes %s", got)
	}
	if s.Changed() || !bytes.Equal(empty, s.Append(nil)) {
		t.Error("events without effect left a trace")
	}
	outcomes(p, s, with(trade(10, 11), 3))
	if !s.Changed() {
		t.Error("a firing left no trace")
	}
	s, _ = p.Decode(s.Append(nil))
	if s.Changed() {
		t.Error("a state just read is changed")
	}
	if got := outcomes(p, s, with(trade(11, 12), 4), with(trade(10, 11), 3), with(trade(0, 9), 1)); got != "ARL" || s.Changed() {
		t.Errorf("after a firing: outcomes %s, changed %v; want ARL, unchanged", got, s.Changed())
	}
	// A quote rule, but a series without quotes: still no trace.
	p = program(t, ordered, "rules:\n  - {alert: R, expr: price > 10}\n  - {alert: Q, on: quote, expr: bid > 1}\n")
	s = p.NewState()
	outcomes(p, s, quiet[:2]...)
	if s.Changed() {
		t.Error("trades left a trace although the series has no quotes")
	}
}

func TestAlertRecord(t *testing.T) {
	p := program(t, ordered, `
rules:
  - alert: LargeTrade
    expr: price * size >= 1000 and side == "buy"
    cooldown: 1m
    severity: critical
    labels: {desk: equities}
    notify: false
    summary: "{{ .symbol }} {{ .price }} x {{ .size }} = {{ .value }} for {{ .labels.desk }}"
`)
	e := with(trade(0.123456789, 189.84), 42)
	e.ID, e.Venue, e.Side = "e1", "Q", market.Buy
	out, _ := p.Step(p.NewState(), &e, nil)
	if len(out) != 1 {
		t.Fatalf("%d alerts", len(out))
	}
	a := out[0]
	want := Alert{ID: "20131010T133000.123456789Z-" + a.ID[len(a.ID)-16:], Symbol: "AAPL", Source: "feed", Rule: "LargeTrade", Severity: Critical,
		Labels: []Label{{"desk", "equities"}}, Summary: "AAPL 189.84 x 100 = 18984 for equities", Time: e.Time, Value: 18984,
		Operands: []Operand{{"price", 189.84}, {"price * size", 18984}, {"size", 100}}, Price: 189_840_000_000, EventID: "e1", Sequence: 42, HasSeq: true,
		Venue: "Q", RuleVersion: p.rules[0].version}
	if fmt.Sprintf("%+v", a) != fmt.Sprintf("%+v", want) {
		t.Errorf("alert\n%+v\nwant\n%+v", a, want)
	}
	if len(a.ID) > 64 {
		t.Errorf("id %s is longer than 64 bytes", a.ID)
	}
}

// "`alert_id`: sorts by time; the same for the same occurrence". Stored data depends on it, so it is pinned.
func TestAlertID(t *testing.T) {
	// Computed with another implementation (Python's hashlib) from alertID's doc comment.
	const pinned = "20131010T133000.000000000Z-22e0dfb715425a73"
	id := func(rule, symbol, source string, t int64, ordinal uint64) string {
		return alertID(rule, symbol, source, "", t, ordinal)
	}
	base := id("R", "AAPL", "feed", t0, 0)
	if base != id("R", "AAPL", "feed", t0, 0) {
		t.Error("ids of one occurrence differ")
	}
	seen := map[string]bool{base: true}
	for _, other := range []string{id("R2", "AAPL", "feed", t0, 0), id("R", "AAPL", "", t0, 0), id("R", "AAP", "Lfeed", t0, 0), id("R", "AAPL", "feed", t0+1, 0), id("R", "AAPL", "feed", t0, 1), alertID("R", "AAPL", "feed", "1m", t0, 0)} {
		if seen[other] {
			t.Errorf("two occurrences share the id %s", other)
		}
		seen[other] = true
	}
	if later := id("R", "AAPL", "feed", t0+1, 0); later <= base {
		t.Errorf("ids do not sort by time: %s, %s", base, later)
	}
	if base != pinned {
		t.Errorf("the id is %s, was %s: stored alerts would not be recognised", base, pinned)
	}
}

// The ordinal tells two firings at one time apart.
func TestTwoFiringsAtOneTimeHaveTwoIDs(t *testing.T) {
	p := program(t, ordered, oneRule("expr: price > 10"))
	s, out := p.NewState(), []Alert(nil)
	for _, e := range []market.Event{trade(0, 11), trade(0, 9), trade(0, 11), trade(0, 9), trade(0, 11)} {
		out, _ = p.Step(s, &e, out)
	}
	if len(out) != 3 || out[0].ID == out[1].ID || out[1].ID == out[2].ID || out[0].ID == out[2].ID {
		t.Errorf("alerts %v", out)
	}
}

// Rules fire in the file's order; a quote's evaluation that an event runs comes before the event's own.
func TestOrderOfAlerts(t *testing.T) {
	p := program(t, ordered, "rules:\n  - {alert: B, expr: price > 1}\n  - {alert: A, expr: price > 1}\n  - {alert: Q, on: quote, expr: bid > 1}\n")
	if got := firings(t, p, quote(0, 2, 3), trade(1, 2)); got != "Q0 B1 A1" {
		t.Errorf("alerts %q, want Q0 B1 A1", got)
	}
}

// Alerts and states own their strings: the message they came from can go.
func TestAlertsAndStatesDoNotAliasTheMessage(t *testing.T) {
	p := program(t, ordered, "rules:\n  - {alert: R, expr: price > 10}\n  - {alert: Q, on: quote, expr: bid > 1}\n")
	body := []byte("AAPLfeedid-1NYSE")
	alias := unsafe.String(&body[0], len(body))
	own := func(e market.Event) *market.Event {
		e.Symbol, e.Source, e.ID, e.Venue = alias[:4], alias[4:8], alias[8:12], alias[12:]
		return &e
	}
	s := p.NewState()
	out, _ := p.Step(s, own(trade(0, 11)), nil)
	out, _ = p.Step(s, own(quote(0, 2, 3)), out)
	copy(body, "################")
	e := clock(1)
	out, _ = p.Step(s, &e, out)
	if len(out) != 2 {
		t.Fatalf("%d alerts, want 2", len(out))
	}
	for _, a := range out {
		if a.EventID != "id-1" || a.Venue != "NYSE" || a.Source != "feed" || a.Symbol != "AAPL" {
			t.Errorf("alert %+v", a)
		}
	}
}

func TestStepAllocatesNothingWhenNothingFires(t *testing.T) {
	p := program(t, ordered, "rules:\n  - {alert: R, expr: price * size > 1e9 and side == \"buy\", cooldown: 1h}\n  - {alert: Q, on: quote, expr: spread_bps > 1000 or abs(bid - ask) > 100, cooldown: 1h}\n")
	s := p.NewState()
	events := numbered(quote(0, 10, 11), trade(0, 10), quote(1, 0, 11), trade(1, 10), clock(1))
	for i := range events {
		events[i].ID, events[i].Venue = "same-id", "Q"
		p.Step(s, &events[i], nil)
	}
	out := make([]Alert, 0, 1)
	n := testing.AllocsPerRun(1000, func() {
		for i := range events {
			events[i].Time += 2 * second
			events[i].Sequence += 10
			if out, _ = p.Step(s, &events[i], out[:0]); len(out) > 0 {
				t.Fatal("fired")
			}
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per %d events, want none", n, len(events))
	}
}
