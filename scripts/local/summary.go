package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
)

// maxSymbols is how many symbols of a rule the summary names, those with the most alerts.
const maxSymbols = 12

// summary tells what the run did, as tables.
func (p *pipeline) summary(stored []alert.Record, accounted bool) string {
	a := p.account
	took := time.Since(a.start)
	var b strings.Builder
	title := func(format string, args ...any) {
		fmt.Fprintf(&b, "\n%s\n", p.screen.palette.bold.Sprintf(format, args...))
	}

	title("Events read")
	var rows [][]string
	row := func(name string, n int) { rows = append(rows, []string{name, grouped(n)}) }
	some := func(name string, n int) {
		if n > 0 {
			row(name, n)
		}
	}
	unreadable := a.read
	for _, k := range slices.Sorted(maps.Keys(a.kinds)) {
		row(k.String(), a.kinds[k])
		unreadable -= a.kinds[k]
	}
	some("unreadable", unreadable)
	row("all", a.read)
	some("clock, made by this run", a.clocks)
	table(&b, rows)

	title("What became of them")
	rows = nil
	if a.returned == 0 {
		row("applied", a.applied())
		row("repeated", a.repeated())
		row("late", a.late())
	} else { // events delivered again are counted again, as repeated
		row("applied, repeated or late", a.done()-a.rejected())
	}
	row("refused by the processor", a.rejected())
	row("refused by SQS", a.unsent)
	some("on the dead-letter queue", a.deadIn)
	some("not processed", a.left)
	table(&b, rows)
	if accounted {
		fmt.Fprintf(&b, "  %s\n", p.screen.palette.good.Sprint("every event is accounted for"))
	} else {
		fmt.Fprintf(&b, "  %s\n", p.screen.palette.bad.Sprint("events are NOT accounted for"))
	}

	if len(a.reasons) > 0 {
		title("Rejects by reason")
		rows = nil
		for _, r := range slices.SortedFunc(maps.Keys(a.reasons), func(x, y market.Reason) int {
			return cmp.Or(cmp.Compare(a.reasons[y], a.reasons[x]), cmp.Compare(x, y))
		}) {
			row(string(r), a.reasons[r])
		}
		table(&b, rows)
	}

	title("Alerts by rule and symbol")
	table(&b, alertRows(stored))

	title("Run")
	rows = nil
	row("messages", a.messages)
	row("invocations", len(a.took))
	some("  failed", a.failed)
	some("events delivered again", a.returned)
	row("dead letters", a.dead)
	slices.Sort(a.took)
	rows = append(rows, []string{"time", took.Round(time.Millisecond).String()},
		[]string{"rate", grouped(int(float64(a.read)/max(took.Seconds(), 1e-9))) + " events/s"},
		[]string{"invocation p50", short(quantile(a.took, 0.5))}, []string{"invocation p99", short(quantile(a.took, 0.99))})
	table(&b, rows)
	return b.String()
}

// alertRows has a row for each rule and one for each of its symbols.
func alertRows(stored []alert.Record) [][]string {
	type rule struct {
		name          string
		severity      alert.Severity
		total, unsent int
		bySymbol      map[string]int
	}
	rules := map[string]*rule{}
	for i := range stored {
		r := rules[stored[i].Rule]
		if r == nil {
			r = &rule{name: stored[i].Rule, severity: stored[i].Severity, bySymbol: map[string]int{}}
			rules[r.name] = r
		}
		r.total++
		r.bySymbol[stored[i].Symbol]++
		if stored[i].Status == alert.Muted {
			r.unsent++
		}
	}
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(rules)) {
		r := rules[name]
		note := string(r.severity)
		if r.unsent > 0 {
			note += ", stored only"
		}
		rows = append(rows, []string{printable(name), grouped(r.total), note})
		symbols := slices.SortedFunc(maps.Keys(r.bySymbol), func(x, y string) int {
			return cmp.Or(cmp.Compare(r.bySymbol[y], r.bySymbol[x]), cmp.Compare(x, y))
		})
		rest := 0
		for i, s := range symbols {
			if i < maxSymbols {
				rows = append(rows, []string{"  " + s, grouped(r.bySymbol[s])})
			} else {
				rest += r.bySymbol[s]
			}
		}
		if rest > 0 {
			rows = append(rows, []string{fmt.Sprintf("  %s other symbols", grouped(len(symbols)-maxSymbols)), grouped(rest)})
		}
	}
	return append(rows, []string{"all", grouped(len(stored))})
}

// table aligns: names to the left, the second column to the right.
func table(b *strings.Builder, rows [][]string) {
	var width [2]int
	for _, r := range rows {
		for i := range width {
			width[i] = max(width[i], utf8.RuneCountInString(r[i]))
		}
	}
	for _, r := range rows {
		line := fmt.Sprintf("  %-*s  %*s  %s", width[0], r[0], width[1], r[1], strings.Join(r[2:], "  "))
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int) string {
	s := strconv.Itoa(n)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// short is a duration with three digits.
func short(d time.Duration) string {
	for unit := time.Duration(1); unit < time.Hour; unit *= 10 {
		if d < 1000*unit {
			return d.Round(unit).String()
		}
	}
	return d.String()
}
