package alert

import (
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

func vendorBar(minute int, close float64) market.Event {
	p := trade(0, close).Price
	return market.Event{Kind: market.Bar, Symbol: "AAPL", Source: "feed", Time: t0 + int64(minute)*60*second, Interval: time.Minute, Open: p, High: p, Low: p, Close: p, Volume: 100}
}

func status(at float64, state string) market.Event {
	return market.Event{Kind: market.Status, Symbol: "AAPL", Source: "feed", Time: t0 + int64(at*float64(second)), State: state}
}

// "When it fires: `on: trade`, `quote` at t0 + `for`, if not false since; `on: bar` at the first close >= t0 + `for`";
// "before applying an event of time t the engine runs all timers <= t in time order".
func TestFor(t *testing.T) {
	for name, tc := range map[string]struct {
		rule   []string
		events []market.Event
		want   string
	}{
		"at t0 + for, by a later trade":            {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(0, 11), trade(60, 9)}, "5"},
		"by a trade of that time, false or not":    {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(0, 11), trade(5, 9)}, "5"},
		"by a clock":                               {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(0, 11), clock(5)}, "5"},
		"not by an earlier clock":                  {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(0, 11), clock(4.9)}, ""},
		"by a quote":                               {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(0, 11), quote(5, 1, 2)}, "5"},
		"false since":                              {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(0, 11), trade(4, 9), trade(60, 9)}, ""},
		"once":                                     {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(0, 11), clock(5), clock(60), trade(61, 11)}, "5"},
		"an absent value changes nothing":          {[]string{"expr: price / (size - 100) > 10", "for: 5s"}, []market.Event{sized(trade(0, 11), 101), trade(2, 9), clock(9)}, "5"},
		"quotes":                                   {[]string{"on: quote", "expr: bid > 10", "for: 5s"}, []market.Event{quote(0, 11, 12), clock(5)}, "5"},
		"quotes: false at the same timestamp":      {[]string{"on: quote", "expr: bid > 10", "for: 5s"}, []market.Event{quote(0, 11, 12), quote(0, 9, 12), clock(5)}, ""},
		"status":                                   {[]string{"on: status", "expr: state == 'halted'", "for: 5m"}, []market.Event{status(0, "halted"), trade(300, 1), status(301, "resumed")}, "300"},
		"cooldown: the next true evaluation":       {[]string{"expr: price > 10", "for: 5s", "cooldown: 20s"}, []market.Event{trade(0, 11), trade(6, 9), trade(7, 11), clock(26), trade(27, 11)}, "5 27"},
		"bar: the first close at or after":         {[]string{"on: bar", "interval: 1m", "expr: close > 10", "for: 90s"}, []market.Event{vendorBar(0, 11), vendorBar(1, 11), clock(200), vendorBar(2, 11)}, "180"},
		"bar: exactly":                             {[]string{"on: bar", "interval: 1m", "expr: close > 10", "for: 1m"}, []market.Event{vendorBar(0, 11), vendorBar(1, 11)}, "120"},
		"bar: false in between":                    {[]string{"on: bar", "interval: 1m", "expr: close > 10", "for: 2m"}, []market.Event{vendorBar(0, 11), vendorBar(1, 9), vendorBar(2, 11), vendorBar(3, 11), vendorBar(4, 11)}, "300"},
		"a straggler that is false cancels it too": {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(3, 11), trade(1, 9), trade(60, 9)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := firings(t, program(t, ordered, oneRule(tc.rule...)), tc.events...); got != tc.want {
				t.Errorf("fired at %q, want %q", got, tc.want)
			}
		})
	}
}

func sized(e market.Event, size int64) market.Event {
	e.Size = market.Decimal(size) * market.Unit
	return e
}

// The alert of a "for" says what the last evaluation saw, although its event is long gone when it fires.
func TestForTellsTheLastEvaluation(t *testing.T) {
	p := program(t, ordered, oneRule("expr: price > sma(price, 2)", "for: 5s", "cooldown: 1h", `summary: "{{ .price }} {{ .venue }} {{ .side }} {{ .day_high }}"`))
	s := p.NewState()
	first, second, third := trade(0, 10), with(trade(1, 12), 2), with(trade(2, 13), 3)
	second.ID, third.ID, third.Venue, third.Side = "no", "e3", "Q", market.Buy
	for _, e := range []market.Event{first, second, third} {
		var err error
		p.Step(s, &e, nil)
		if s, err = p.Decode(s.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	c := clock(60)
	out, _ := p.Step(s, &c, nil)
	if len(out) != 1 {
		t.Fatalf("%d alerts", len(out))
	}
	a := out[0]
	if times(out) != "6" || a.Summary != "13 Q buy 13" || a.EventID != "e3" || a.Sequence != 3 || a.Venue != "Q" || a.Price != 13*market.Unit || a.Value != 13 || len(a.Operands) != 2 || a.Operands[1].Value != 12.5 {
		t.Errorf("alert %+v", a)
	}
}

// "`on: silence` … the series sent nothing for that long within its session"; "a silence counts from the later of the
// last event and the session's start, fires once, is re-armed by the next event; a series never seen … cannot be noticed".
func TestSilence(t *testing.T) {
	plain := []string{"on: silence", "after: 5s"}
	session := []string{"on: silence", "after: 10m", inSession}
	for name, tc := range map[string]struct {
		rule   []string
		events []market.Event
		want   string
	}{
		"never seen":                       {plain, []market.Event{clock(0), clock(1e6)}, ""},
		"after the last event":             {plain, []market.Event{trade(0, 1), clock(5)}, "5"},
		"not before":                       {plain, []market.Event{trade(0, 1), clock(4.9)}, ""},
		"by the event that ends it":        {plain, []market.Event{trade(0, 1), trade(60, 1)}, "5"},
		"every kind of event counts":       {plain, []market.Event{quote(0, 1, 2), trade(4, 1), status(8, "x"), ineligible(trade(12, 1)), clock(16.9)}, ""},
		"fires once":                       {plain, []market.Event{trade(0, 1), clock(5), clock(60), clock(600)}, "5"},
		"re-armed by the next event":       {plain, []market.Event{trade(0, 1), clock(5), trade(60, 1), clock(99)}, "5 65"},
		"a straggler does not re-arm":      {plain, []market.Event{trade(5, 1), clock(10), trade(4, 1), clock(99)}, "10"},
		"cooldown delays":                  {append(plain, "cooldown: 1m"), []market.Event{trade(0, 1), trade(10, 1), clock(64), clock(65)}, "5 65"},
		"from the session's start":         {session, []market.Event{trade(-100, 1), clock(599), clock(600)}, "600"},
		"from the last event within":       {session, []market.Event{trade(100, 1), clock(700)}, "700"},
		"told once, if a clock overtook":   {session, []market.Event{trade(-200, 1), clock(600), trade(-100, 1), clock(700)}, "600"},
		"over the night":                   {session, []market.Event{trade(6.5*3600-60, 1), trade(6.6*3600, 1), clock(day + 599), clock(day + 600)}, "87000"},
		"not at the session's end":         {session, []market.Event{trade(6.5*3600-600, 1), clock(7 * 3600)}, ""},
		"over a weekend: friday to monday": {session, []market.Event{trade(day+6.5*3600-60, 1), clock(2*day + 3600), clock(4*day + 600)}, "346200"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := firings(t, program(t, ordered, oneRule(tc.rule...)), tc.events...); got != tc.want {
				t.Errorf("fired at %q, want %q", got, tc.want)
			}
		})
	}
	out, _ := func() ([]Alert, Outcome) {
		p := program(t, ordered, oneRule(plain...))
		s, e, c := p.NewState(), trade(0, 1), clock(9)
		p.Step(s, &e, nil)
		return p.Step(s, &c, nil)
	}()
	if a := out[0]; a.Value != 5 || a.Summary != "R: silence of 5s on AAPL" || a.Price != 0 {
		t.Errorf("alert %+v", a)
	}
}

func ineligible(e market.Event) market.Event {
	e.Ineligible = true
	return e
}

// State.Due is the earliest time at which a clock would do something.
func TestDue(t *testing.T) {
	for name, tc := range map[string]struct {
		rule   []string
		events []market.Event
		want   float64 // < 0: nothing waits
	}{
		"no timers":              {[]string{"expr: price > sma(price, 3)"}, []market.Event{trade(0, 11)}, -1},
		"bars of the feed":       {[]string{"on: bar", "interval: 1m", "expr: close > 1", "for: 5m"}, []market.Event{vendorBar(0, 11)}, -1},
		"bars from trades":       {[]string{"on: bar", "interval: 1m", "from: trades", "expr: close > 1"}, []market.Event{trade(70, 11)}, 125},
		"the earliest open bar":  {[]string{"on: bar", "interval: 1m", "from: trades", "expr: close > 1"}, []market.Event{trade(59, 11), trade(61, 11)}, 65},
		"for":                    {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(1, 11)}, 6},
		"for, not pending":       {[]string{"expr: price > 10", "for: 5s"}, []market.Event{trade(1, 9)}, -1},
		"for, in cooldown":       {[]string{"expr: price > 10", "for: 5s", "cooldown: 1h"}, []market.Event{trade(1, 11), trade(7, 9), trade(8, 11)}, -1},
		"quotes of one time":     {[]string{"on: quote", "expr: bid > 10"}, []market.Event{quote(1, 2, 3)}, 1.000000001},
		"silence":                {[]string{"on: silence", "after: 5m"}, []market.Event{trade(1, 9)}, 301},
		"silence that was told":  {[]string{"on: silence", "after: 5m"}, []market.Event{trade(1, 9), clock(301)}, -1},
		"silence, never started": {[]string{"on: silence", "after: 5m"}, nil, -1},
	} {
		t.Run(name, func(t *testing.T) {
			p := program(t, ordered, oneRule(tc.rule...))
			s := p.NewState()
			outcomes(p, s, tc.events...)
			due, ok := s.Due()
			if ok != (tc.want >= 0) || ok && due != t0+int64(tc.want*1e9+0.5) {
				t.Errorf("due %v after t0, %v; want %v", time.Duration(due-t0), ok, tc.want)
			}
		})
	}
}

// "Rule sets without timers create no schedule work."
func TestTimed(t *testing.T) {
	for rule, want := range map[string]bool{
		"expr: sma(price, 3) > 1": false, "expr: price > 1\n    for: 1s": true, "expr: bid > 1\n    on: quote": true, "on: silence\n    after: 1m": true,
		"on: bar\n    interval: 1m\n    expr: close > 1\n    for: 1m": false, "on: bar\n    interval: 1m\n    from: trades\n    expr: close > 1": true, "on: status\n    expr: state == 'x'": false,
	} {
		if got := mustLoad(t, oneRule(rule, "cooldown: 1m")).Timed(); got != want {
			t.Errorf("%s: Timed = %v", strings.ReplaceAll(rule, "\n", ";"), got)
		}
	}
}

// "`on: status`: `state`, `reason`".
func TestStatus(t *testing.T) {
	p := program(t, ordered, oneRule("on: status", "expr: state == \"halted\" and reason != \"test\"", `summary: "{{ .symbol }} {{ .state }}: {{ .reason }}"`))
	halted := status(1, "halted")
	halted.Reason = "news"
	test := status(3, "halted")
	test.Reason = "test"
	s, out := p.NewState(), []Alert(nil)
	for _, e := range []market.Event{status(0, "open"), halted, status(2, "resumed"), test, trade(4, 1)} {
		out, _ = p.Step(s, &e, out)
	}
	if times(out) != "1" || out[0].Summary != "AAPL halted: news" {
		t.Errorf("alerts %+v", out)
	}
}

// TestForTellsOfTheLastEvaluation: an event whose values are unknown suspends the rule, so the alert tells of the event
// before it.
func TestForTellsOfTheLastEvaluation(t *testing.T) {
	p := program(t, ordered, oneRule("expr: size > 5", "for: 5s", `summary: "size {{ .size }} at {{ .price }}"`))
	s := p.NewState()
	var out []Alert
	for _, e := range []market.Event{sized(trade(0, 11), 10), sized(trade(2, 9), 0), clock(5)} {
		out, _ = p.Step(s, &e, out)
	}
	if len(out) != 1 || out[0].Value != 10 || out[0].Summary != "size 10 at 11" || len(out[0].Operands) != 1 {
		t.Errorf("alerts %+v, want one that tells of size 10 at 11", out)
	}
}
