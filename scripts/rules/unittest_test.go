package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

func TestExpand(t *testing.T) {
	for text, want := range map[string]string{
		"4":             "4",
		"4 5.25":        "4 5.25",
		"4x3":           "4 4 4 4",
		"4+0.5x3":       "4 4.5 5 5.5",
		"4-0.5x2":       "4 3.5 3",
		"0.1+0.1x2":     "0.1 0.2 0.3",
		"_ 4 _x2 5":     "_ 4 _ _ 5",
		"4x0":           "4",
		" 1\n 2\t3x1  ": "1 2 3 3",
		"":              "error: no values",
		"4,5":           `error: "4,5" is no value`,
		"-4":            `error: "-4" is no value`,
		"4+1":           `error: "4+1" is no value`,
		"_+1x3":         `error: "_+1x3" is no value`,
		"1.2.3":         "error: ",
		"4x999999":      "error: more than 100000 values",
		"_x999999":      "error: more than 100000 values",
	} {
		values, err := expand(text)
		var got []string
		for _, v := range values {
			if v.absent {
				got = append(got, "_")
			} else {
				got = append(got, v.value.String())
			}
		}
		if reason, bad := strings.CutPrefix(want, "error: "); bad {
			if err == nil || !strings.Contains(err.Error(), reason) {
				t.Errorf("%q: error %v, want %q", text, err, reason)
			}
		} else if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q = %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestEvents(t *testing.T) {
	start := time.Date(2026, 1, 5, 15, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		fields map[string]any
		want   string // canonical lines, or "error: "
	}{
		"a trade": {map[string]any{"symbol": "A", "price": 1.5, "timestamp": "0s"}, `{"symbol":"A","timestamp":"2026-01-05T15:00:00Z","price":"1.5"}`},
		"a second apart, with a hole, one size for all": {map[string]any{"symbol": "A", "source": "s", "price": "1 _ 3", "size": uint64(7), "timestamp": "1m"},
			`{"symbol":"A","source":"s","timestamp":"2026-01-05T15:01:00Z","price":"1","size":"7"} {"symbol":"A","source":"s","timestamp":"2026-01-05T15:01:02Z","price":"3","size":"7"}`},
		"a bar's own interval": {map[string]any{"type": "bar", "symbol": "A", "interval": "5m", "close": "1+1x1", "volume": 9, "timestamp": "2026-01-05T15:00:00+01:00"},
			`{"type":"bar","symbol":"A","timestamp":"2026-01-05T14:00:00Z","interval":"5m","open":"1","high":"1","low":"1","close":"1","volume":"9"} {"type":"bar","symbol":"A","timestamp":"2026-01-05T14:05:00Z","interval":"5m","open":"2","high":"2","low":"2","close":"2","volume":"9"}`},
		"days":               {map[string]any{"symbol": "A", "price": "1 2", "every": "1d", "timestamp": "1d"}, `{"symbol":"A","timestamp":"2026-01-06T15:00:00Z","price":"1"} {"symbol":"A","timestamp":"2026-01-07T15:00:00Z","price":"2"}`},
		"a status":           {map[string]any{"type": "status", "symbol": "A", "state": "halted", "timestamp": ""}, `{"type":"status","symbol":"A","timestamp":"2026-01-05T15:00:00Z","state":"halted"}`},
		"different lengths":  {map[string]any{"symbol": "A", "price": "1 2 3", "size": "1 2", "timestamp": "0s"}, "error: size has 2 values, but price has 3"},
		"not in the format":  {map[string]any{"symbol": "A", "price": 0, "timestamp": "0s"}, "error: event 1: non_positive in price"},
		"a missing field":    {map[string]any{"price": 1, "timestamp": "0s"}, "error: event 1: missing_field"},
		"a bad step":         {map[string]any{"symbol": "A", "price": 1, "every": "-1s"}, `error: every "-1s"`},
		"a bad interval":     {map[string]any{"symbol": "A", "close": 1, "type": "bar", "interval": "min"}, `error: interval "min"`},
		"a bad time":         {map[string]any{"symbol": "A", "price": 1, "timestamp": "15:00"}, `error: timestamp: "15:00" is neither`},
		"an inverted bar":    {map[string]any{"type": "bar", "symbol": "A", "interval": "1m", "close": 1, "high": "0.5", "low": "0.5", "open": "0.5", "volume": 1}, "error: event 1: inverted_bar"},
		"what JSON has not":  {map[string]any{"symbol": "A", "price": 1, "x": map[any]any{1: 2}}, "error: event 1 cannot be written"},
		"a broken sequence":  {map[string]any{"symbol": "A", "price": "1 two"}, `error: price: "two" is no value`},
		"a number too large": {map[string]any{"symbol": "A", "price": "99999999999"}, "error: price: "},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := events(c.fields, start)
			var got []string
			for i := range made {
				got = append(got, string(made[i].AppendJSON(nil)))
			}
			if reason, bad := strings.CutPrefix(c.want, "error: "); bad {
				if err == nil || !strings.Contains(err.Error(), reason) {
					t.Errorf("error %v, want %q", err, reason)
				}
				return
			}
			// Compared as events: the order of the canonical form's keys is the market package's.
			want, bad := decode("[" + strings.ReplaceAll(c.want, "} {", "},{") + "]")
			var lines []string
			for i := range want {
				lines = append(lines, string(want[i].AppendJSON(nil)))
			}
			if err != nil || bad != nil || !slices.Equal(got, lines) {
				t.Errorf("events %q, %v, want %q, %v", got, err, lines, bad)
			}
		})
	}
}

// TestOrder: written lines stay as they are, a late one too; the others go where their time is.
func TestOrder(t *testing.T) {
	at := func(times ...int64) (events []market.Event) {
		for _, n := range times {
			events = append(events, market.Event{Time: n})
		}
		return events
	}
	var got []int64
	for _, e := range inOrder(at(10, 30, 20, 40), at(50, 5, 25, 35)) {
		got = append(got, e.Time)
	}
	if want := []int64{5, 10, 25, 30, 20, 35, 40, 50}; !slices.Equal(got, want) {
		t.Errorf("order %d, want %d", got, want)
	}
}

// testRules fire on a trade, on a bar built from trades, at the end of a "for", and on silence.
const testRules = `
rules:
  - {alert: Above, expr: price > 100, reset: price < 100, cooldown: 1s, summary: "{{ .symbol }} at {{ .price }}"}
  - {alert: Bar, on: bar, interval: 1m, from: trades, expr: close > 100, cooldown: 1s}
  - {alert: Held, expr: price > 100, for: 10s, cooldown: 1s}
  - {alert: Quiet, on: silence, after: 5m}
`

func TestUnitTests(t *testing.T) {
	const (
		one  = "  - start: 2026-01-05T15:00:00Z\n    series: [{symbol: A, timestamp: 0s, price: 101}]\n"
		two  = "  - start: 2026-01-05T15:00:00Z\n    series: [{symbol: A, timestamp: 0s, price: 101}, {symbol: B, source: x, timestamp: 5s, price: 102}]\n"
		diff = "    - expected, but did not fire    + fired, but was not expected\n"
	)
	for name, c := range map[string]struct {
		tests string
		says  []string // nil = passes
	}{
		"a clock closes bars and ends a for":        {one + "    alerts: [{rule: Above, timestamp: 0s}, {rule: Held, timestamp: 10s}]\n    until: 1m4s\n", nil},
		"a minute closes no bar of a first second":  {one + "    alerts: [{rule: Above, timestamp: 0s}, {rule: Held, timestamp: 10s}]\n", nil},
		"the bar, when the lateness is over":        {one + "    alerts: [{rule: Above, timestamp: 0s}, {rule: Held, timestamp: 10s}, {rule: Bar, timestamp: 1m}]\n    until: 65s\n", nil},
		"silence":                                   {one + "    rule: Quiet\n    alerts: [{timestamp: 5m, value: 300}]\n    until: 5m\n", nil},
		"one rule alone, and what it says":          {one + "    rule: Above\n    alerts: [{timestamp: 2026-01-05T15:00:00Z, value: 101.00001, summary: A at 101}]\n", nil},
		"nothing expected of a rule that is silent": {one + "    rule: Quiet\n    alerts: []\n", nil},
		"several series":                            {two + "    rule: Above\n    alerts: [{symbol: B, timestamp: 5s}, {symbol: A, timestamp: 0s}]\n", nil},
		"written events, one of them late": {"  - rule: Above\n    events: |\n      {\"symbol\":\"A\",\"price\":99,\"timestamp\":\"2026-01-05T15:01:00Z\"}\n      {\"symbol\":\"A\",\"price\":101,\"timestamp\":\"2026-01-05T15:00:00Z\"}\n" +
			"      {\"type\":\"clock\",\"symbol\":\"A\",\"timestamp\":\"2026-01-05T15:03:00Z\"}\n    alerts: []\n", nil},

		"not fired, and not expected": {one + "    rule: Above\n    alerts: [{timestamp: 1s}]\n",
			[]string{"FAIL ", diff + "    + 2026-01-05T15:00:00Z  A  Above  value 101  \"A at 101\"\n    - 2026-01-05T15:00:01Z  A  Above\n", "1 of 1 test failed"}},
		"another value":   {one + "    rule: Above\n    alerts: [{timestamp: 0s, value: 101.01}]\n", []string{"- 2026-01-05T15:00:00Z  A  Above  value 101.01\n    + 2026-01-05T15:00:00Z  A  Above  value 101 "}},
		"another summary": {one + "    rule: Above\n    alerts: [{timestamp: 0s, summary: no}]\n", []string{`- 2026-01-05T15:00:00Z  A  Above  "no"`}},
		"once, not twice": {one + "    rule: Above\n    alerts: [{timestamp: 0s}, {timestamp: 0s}]\n", []string{diff + "    - 2026-01-05T15:00:00Z  A  Above\n      2026-01-05T15:00:00Z  A  Above  value 101"}},
		"another symbol":  {two + "    rule: Above\n    alerts: [{symbol: A, timestamp: 0s}, {symbol: A, timestamp: 5s}]\n", []string{"- 2026-01-05T15:00:05Z  A", "+ 2026-01-05T15:00:05Z  B"}},
		"two tests":       {one + "    name: first\n    rule: Above\n" + one + "    name: second\n    rule: Above\n    alerts: [{timestamp: 0s}]\n", []string{"test 1: first", "1 of 2 tests failed"}},

		"no rule of that name":  {one + "    rule: Abvoe\n", []string{`no rule "Abvoe"`}},
		"nor of an alert":       {one + "    alerts: [{rule: Abvoe, timestamp: 0s}]\n", []string{`alert 1: rule_files have no rule "Abvoe"`}},
		"whose alert":           {one + "    alerts: [{timestamp: 0s}]\n", []string{"alert 1: whose?"}},
		"another rule's":        {one + "    rule: Above\n    alerts: [{rule: Held, timestamp: 0s}]\n", []string{"alert 1: it is of the rule Held"}},
		"which symbol":          {two + "    rule: Above\n    alerts: [{timestamp: 0s}]\n", []string{"alert 1: the test has several symbols"}},
		"when":                  {one + "    rule: Above\n    alerts: [{value: 3}, {timestamp: soon}]\n", []string{"alert 1: when?", `alert 2: timestamp: "soon" is neither`}},
		"after what":            {"  - series: [{symbol: A, timestamp: 0s, price: 101}]\n", []string{"series 1: timestamp: 0s is after what?"}},
		"no events":             {"  - name: empty\n", []string{"needs events or series"}},
		"a refused event":       {"  - events: '{\"symbol\":\"A\"}'\n", []string{"events: missing_field"}},
		"ends before its data":  {one + "    until: -1s\n", []string{"until: it is before the last event, of 2026-01-05T15:00:00Z"}},
		"ends at no time":       {one + "    until: soon\n", []string{`until: "soon" is neither`}},
		"starts at no time":     {"  - start: today\n    series: [{symbol: A, price: 1}]\n", []string{`start "today" is no time with zone`}},
		"a misspelt key":        {one + "    alert: []\n", []string{"alert"}},
		"a lateness of its own": {one + "    rule: Bar\n    alerts: []\n    until: 61s\nlateness: 1s\n", []string{"+ 2026-01-05T15:01:00Z  A  Bar"}},
		"a bad lateness":        {one + "lateness: -1s\n", []string{`lateness "-1s" is no duration`}},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "t.yaml", fmt.Sprintf("rule_files: [%q]\ntests:\n%s", write(t, "rules.yaml", testRules), c.tests))
			r := runWith(t.Context(), "test", path)
			if passed := r.code == 0; passed != (c.says == nil) {
				t.Errorf("exit code %d", r.code)
			}
			for _, text := range c.says {
				if !strings.Contains(r.stdout+r.stderr, text) {
					t.Errorf("it does not say %q", text)
				}
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
			}
		})
	}
	for name, c := range map[string][2]string{
		"no tests":      {"rule_files: [x.yaml]\n", "neither may be empty"},
		"no rule files": {"tests: [{name: x}]\n", "neither may be empty"},
		"no such rules": {"rule_files: [x.yaml, y.yaml]\ntests: [{name: x}]\n", "y.yaml"},
		"no YAML":       {"rule_files: [\n", "t.yaml: "},
	} {
		if r := runWith(t.Context(), "test", write(t, "t.yaml", c[0])); r.code != 1 || !strings.Contains(r.stderr, c[1]) {
			t.Errorf("%s: exit code %d, %s", name, r.code, r.stderr)
		}
	}
}
