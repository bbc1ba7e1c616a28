package main

import "math"

// goal is one of the project's: the fact by which it is judged and the most, or least, that it may be.
type goal struct {
	text string
	of   func(fact func(string) float64) float64
	most float64
	unit string
	// least: the value must reach most, not stay below it.
	least bool
}

func fact(name string) func(func(string) float64) float64 {
	return func(f func(string) float64) float64 { return f(name) }
}

func quotient(a, b string) func(func(string) float64) float64 {
	return func(f func(string) float64) float64 { return f(a) / f(b) }
}

var goals = []goal{
	{"decode one message, usual order", fact("decode/shortest/ours"), 60, "ns", false},
	{"decode one message, any order", fact("decode/shortest any order/ours"), 80, "ns", false},
	{"decode one message, allocations", fact("decode/shortest/ours/allocs"), 0, "", false},
	{"decode one message, encoding/json to ours", quotient("decode/shortest/encoding/json", "decode/shortest/ours"), 15, "x", true},
	{"Lambda event of 10 x 500 to events", fact("decode/Lambda event of 10 x 500 shortest/ours"), 60, "ns per event", false},
	{"Lambda event of 10 x 500, allocations per event", fact("decode/Lambda event of 10 x 500 shortest/ours/allocs"), 0.1, "", false},
	{"Lambda event of 10 x 500, Python to ours", quotient("decode/Lambda event of 10 x 500 shortest/Python json", "decode/Lambda event of 10 x 500 shortest/ours"), 10, "x", true},
	{"decode and 4 rules with history, 10,000 series", fact("engine/decode and step"), 150, "ns per event", false},
	{"decode and 4 rules with history, allocations", fact("engine/decode and step/allocs"), 0.001, "per event", false},
	{"invocation, 1,000 one-event messages, no alert, no state", fact("handler/1,000 messages of 1/0/ours/cpu ms"), 1.2, "ms CPU", false},
	{"the same, resident memory", fact("handler/1,000 messages of 1/0/ours/rss MiB"), 16, "MiB", false},
	{"the same, Python to ours", quotient("handler/1,000 messages of 1/0/Python-naive/cpu ms", "handler/1,000 messages of 1/0/ours/cpu ms"), 4, "x", true},
	{"the same, plain Go to ours", quotient("handler/1,000 messages of 1/0/plain-Go/cpu ms", "handler/1,000 messages of 1/0/ours/cpu ms"), 10, "x", true},
	// 1 read; at 1 % 10 alerts over 1 series: 1 commit, 1 publish, 1 mark.
	{"AWS calls, 1,000 messages, no alert", fact("handler/1,000 messages of 1/0/ours/calls"), 1, "", false},
	{"AWS calls, 1,000 messages, 10 alerts in one series", fact("handler/1,000 messages of 1/1 %/ours/calls"), 4, "", false},
	{"cold start to first request", fact("coldstart/ours-shipped-rules/cpu ms"), 4.5, "ms CPU", false},
	{"cold start, ours to hello world", quotient("coldstart/ours-shipped-rules/cpu ms", "coldstart/hello-world-Go/cpu ms"), 2, "x", false},
	{"cold start, Python with boto3 to ours", quotient("coldstart/Python-naive/cpu ms", "coldstart/ours-shipped-rules/cpu ms"), 45, "x", true},
	{"zip of the asset", fact("coldstart/zip MiB"), 4, "MiB", false},
	{"cost, 500 by series, 0.1 % alerts", fact("cost/500 by series/ordered/levels/0.1 %"), 0.008, "USD per million", false},
	{"cost, the same of the shortest events", fact("cost/500 by series, shortest/ordered/levels/0.1 %"), 0.008, "USD per million", false},
	{"cost, the same with history", fact("cost/500 by series/ordered/windows/0.1 %"), 0.015, "USD per million", false},
	{"synth, validation off", fact("cdk/synth/wall ms"), 900, "ms", false},
	{"synth with bundling, validation off", fact("cdk/synth, bundled/wall ms"), 1400, "ms", false},
	{"tests of the construct and the app", fact("cdk/tests of constructs and app/wall ms"), 3000, "ms", false},
}

// judge tells whether the value meets the goal.
func (g goal) judge(v float64) string {
	switch {
	case v != v: // not measured: 0 / 0, or a fact that is absent
		return "not measured"
	case g.least == (v >= g.most) || v == g.most:
		return "met"
	}
	return "MISSED"
}

func (b *bench) goals() {
	t := &table{Title: "Goals", Columns: []string{"goal", "at", "value", "measured", ""}}
	if b.quick {
		t.Notes = append(t.Notes, "--quick measures too shortly to judge by: use the full run.")
	}
	for _, g := range goals {
		v := g.of(func(name string) float64 {
			if v, ok := b.Facts[name]; ok {
				return v
			}
			return math.NaN()
		})
		bound := "at most"
		if g.least {
			bound = "at least"
		}
		measured := "-"
		if v == v {
			measured = number(v)
		}
		t.add(g.text, bound, number(g.most)+" "+g.unit, measured, g.judge(v))
	}
	b.show(t)
}
