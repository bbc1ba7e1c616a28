package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/scripts/internal/feed"
)

// waiting has a rule for each kind of timer.
const waiting = `
rules:
  - {alert: Trade, expr: price > 100, reset: price > 0, cooldown: 1ms}
  - {alert: Bar, on: bar, interval: 1m, from: trades, expr: close > 100, cooldown: 1ms}
  - {alert: Held, expr: price > 100, for: 30s, cooldown: 1ms}
  - {alert: Quote, on: quote, expr: bid > 100, cooldown: 1ms}
  - {alert: Quiet, on: silence, after: 30m}
`

func line(symbol, at, price string) string {
	return fmt.Sprintf(`{"symbol":%q,"price":%q,"size":"1","timestamp":"2026-01-05T%sZ"}`, symbol, price, at)
}

// fired are the alerts of a run, as "rule symbol time", sorted.
func fired(t *testing.T, rules, stdin string, args ...string) []string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "alerts")
	if len(args) == 0 || args[0] != "--feed" {
		args = append([]string{"--feed", "-"}, args...)
	}
	if r := runWith(t, stdin, append(args, "--rules", write(t, "rules.yaml", rules), "--alerts", file, "--quiet")...); r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	var got []string
	for text := range strings.Lines(read(t, file)) {
		var a struct{ Rule, Symbol, Timestamp string }
		if err := json.Unmarshal([]byte(text), &a); err != nil {
			t.Fatal(err)
		}
		got = append(got, a.Rule+" "+a.Symbol+" "+strings.TrimSuffix(strings.TrimPrefix(a.Timestamp, "2026-01-05T"), "Z"))
	}
	slices.Sort(got)
	return got
}

// TestClockOfTheFeed: what waits for time fires when the feed's time comes, whoever's event brings it.
func TestClockOfTheFeed(t *testing.T) {
	lines := []string{line("A", "15:00:10", "101"), line("B", "15:02:00", "1"), line("B", "15:02:30", "1"), line("B", "15:03:05", "200")}
	for _, pack := range []string{"1", "100"} {
		r := runWith(t, strings.Join(lines, "\n"), "--feed", "-", "--rules", write(t, "rules.yaml", waiting), "--pack", pack)
		var order []string
		for text := range strings.Lines(r.stdout) {
			if f := strings.Fields(text); len(f) > 4 && f[0] == "2026-01-05" {
				order = append(order, f[4]+" "+f[3]+" "+f[1])
			}
		}
		// At the end: B's hold, its last bar, and then silence.
		want := []string{"Trade A 15:00:10.000", "Held A 15:00:40.000", "Bar A 15:01:00.000", "Trade B 15:03:05.000", "Quiet A 15:30:10.000", "Held B 15:03:35.000", "Bar B 15:04:00.000", "Quiet B 15:33:05.000"}
		if r.code != 0 || !slices.Equal(order[:4], want[:4]) {
			t.Errorf("--pack %s: exit code %d, alerts in the order of %q, want %q", pack, r.code, order, want)
		}
		slices.Sort(order)
		slices.Sort(want)
		if !slices.Equal(order, want) {
			t.Errorf("--pack %s: alerts %q, want %q", pack, order, want)
		}
	}
	// Every file has a time of its own.
	first := write(t, "first", line("C", "20:00:00", "1"))
	r := runWith(t, strings.Join(lines, "\n"), "--feed", first, "--feed", "-", "--rules", write(t, "rules.yaml", waiting))
	if bar, trade := strings.Index(r.stdout, "15:01:00.000"), strings.Index(r.stdout, "15:03:05.000"); bar < 0 || bar > trade {
		t.Errorf("A's bar fires behind B's trade:\n%s", r.stdout)
	}
}

func without(symbol string, alerts []string) []string {
	return slices.DeleteFunc(alerts, func(s string) bool { return strings.Contains(s, " "+symbol+" ") })
}

// TestClockHarmsNobody: the alerts are the same however the lines of the series are mixed.
func TestClockHarmsNobody(t *testing.T) {
	day := func(symbol string) (lines []string) {
		for n := range 60 {
			lines = append(lines, line(symbol, fmt.Sprintf("15:%02d:%02d", n/2, 10+n%2*40), fmt.Sprint(99+n%3)))
		}
		return lines
	}
	a, b := day("A"), day("B")
	var merged []string
	for i := range a {
		merged = append(merged, a[i], b[i])
	}
	want := fired(t, waiting, strings.Join(merged, "\n"))
	if len(want) < 40 {
		t.Fatalf("%d alerts", len(want))
	}
	check := func(name string, got []string) {
		if !slices.Equal(got, want) {
			t.Errorf("%s: alerts %q, want %q", name, got, want)
		}
	}
	check("one symbol after the other", fired(t, waiting, strings.Join(append(slices.Clone(a), b...), "\n")))
	check("one file after the other", fired(t, waiting, "", "--feed", write(t, "a", strings.Join(a, "\n")), "--feed", write(t, "b", strings.Join(b, "\n"))))
	check("pack 1", fired(t, waiting, strings.Join(merged, "\n"), "--pack", "1"))
	check("batch 1", fired(t, waiting, strings.Join(merged, "\n"), "--batch", "1", "--pack", "7"))

	// B's feed is ten minutes behind those of A and C: its clock is, too.
	var behind []string
	c := day("C")
	for i := range len(a) + 20 {
		if i < len(a) {
			behind = append(behind, a[i], c[i])
		}
		if i >= 20 {
			behind = append(behind, b[i-20])
		}
	}
	check("behind", without("C", fired(t, waiting, strings.Join(behind, "\n"))))

	// A third series' wrong timestamp moves no clock but its own.
	wrong := slices.Insert(slices.Clone(merged), 51, line("C", "20:00:00", "1"))
	check("a wrong timestamp", without("C", fired(t, waiting, strings.Join(wrong, "\n"))))

	// Within the grace, a quote may still come that belongs to a timestamp that others have passed.
	quote := func(bid string) string {
		return fmt.Sprintf(`{"type":"quote","symbol":"A","bid":%q,"timestamp":"2026-01-05T15:00:59Z"}`, bid)
	}
	lines := []string{quote("101"), line("B", "15:01:01", "1"), line("B", "15:01:02", "1"), quote("99")}
	if got := fired(t, waiting, strings.Join(lines, "\n")); slices.Contains(got, "Quote A 15:00:59") {
		t.Errorf("a clock overtook a quote: %q", got)
	}
}

// TestClockAtTheEnd: time goes on behind the last event, but not further than the wall clock has come.
func TestClockAtTheEnd(t *testing.T) {
	at := time.Now().Add(-10 * time.Minute).Truncate(time.Minute).UTC()
	trade := fmt.Sprintf(`{"symbol":"A","price":"101","timestamp":%q}`, at.Format(time.RFC3339))
	stamp := func(d time.Duration) string {
		return strings.TrimSuffix(strings.TrimPrefix(at.Add(d).Format(time.RFC3339), "2026-01-05T"), "Z")
	}
	want := []string{"Bar A " + stamp(time.Minute), "Held A " + stamp(30*time.Second), "Trade A " + stamp(0)}
	if got := fired(t, waiting, trade); !slices.Equal(got, want) {
		t.Errorf("alerts %q, want %q", got, want)
	}
	// A clock further ahead would be refused.
	r := runWith(t, trade, "--feed", "-", "--rules", write(t, "rules.yaml", waiting))
	r.mustHave(t, map[string]int{"clock, made by this run": 2, "refused by the processor": 0})
	if got := fired(t, waiting, `{"type":"quote","symbol":"A","bid":"101","timestamp":"2026-01-05T15:00:00Z"}`); !slices.Equal(got, []string{"Quiet A 15:30:00", "Quote A 15:00:00"}) {
		t.Errorf("alerts %q", got)
	}
}

// breaking is a ledger that takes one commit, and no more.
type breaking struct {
	*ledger.Memory
	commits int
}

func (b *breaking) Commit(ctx context.Context, c alert.Commit) (alert.CommitResult, error) {
	if b.commits++; b.commits > 1 {
		return alert.CommitResult{}, errors.New("the disk is on fire")
	}
	return b.Memory.Commit(ctx, c)
}

// TestClockIsLost: a clock event that becomes a dead letter is not sent again and again.
func TestClockIsLost(t *testing.T) {
	rules, err := alert.Load("rules.yaml", []byte(waiting))
	if err != nil {
		t.Fatal(err)
	}
	o, err := parse([]string{"--feed", "-"}, func(string) string { return "" }, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	in, err := o.open(strings.NewReader(line("A", "15:00:00", "101")))
	if err != nil {
		t.Fatal(err)
	}
	p, err := newPipeline(o, rules, io.Discard, newScreen(o, io.Discard, io.Discard, -1))
	if err != nil {
		t.Fatal(err)
	}
	if p.handler, err = ingest.New(ingest.Config{Engine: p.time.engine, Ledger: &breaking{Memory: p.ledger}, Notifier: p.screen, Queue: p.rejects, Metrics: p.account, Now: p.clock.now}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := p.run(ctx, in); err != nil || ctx.Err() != nil {
		t.Fatalf("%v, %v", err, ctx.Err())
	}
	p.account.close(p)
	if p.account.clocks != 1 || p.account.dead != 1 || p.account.check() != nil {
		t.Errorf("%d clock events, %d dead letters, %v", p.account.clocks, p.account.dead, p.account.check())
	}
}

// TestReplayIsTheEngine: the alerts of the replay, ids included, are those of the engine alone that steps each series
// event by event; clock events, packing and commits change nothing of them.
func TestReplayIsTheEngine(t *testing.T) {
	if _, err := os.Stat(trades); err != nil {
		t.Skipf("the recorded trades are not there: %v", err)
	}
	if raceDetector {
		t.Skip("so many events are too many for the race detector; TestClockHarmsNobody runs the same code")
	}
	rules, err := loadRules("")
	if err != nil {
		t.Fatal(err)
	}
	engine := rules.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: true})
	in, err := feed.Open([]string{trades}, nil)
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]*alert.State{}
	sources := map[string]string{}
	var want []alert.Alert
	step := func(e *market.Event) {
		program := engine.Program(e.Symbol, e.Source)
		if states[e.Symbol] == nil {
			states[e.Symbol], sources[e.Symbol] = program.NewState(), strings.Clone(e.Source)
		}
		want, _ = program.Step(states[e.Symbol], e, want)
	}
	for line, err := range feed.Each(t.Context(), in) {
		if err != nil {
			t.Fatal(err)
		}
		events, _ := market.Decode(nil, line.Text, time.Now(), time.Hour)
		step(&events[0])
	}
	for _, symbol := range slices.Sorted(maps.Keys(states)) {
		for due, ok := states[symbol].Due(); ok; due, ok = states[symbol].Due() {
			step(&market.Event{Kind: market.Clock, Symbol: symbol, Source: sources[symbol], Time: due})
		}
	}
	var ids []string
	for i := range want {
		ids = append(ids, want[i].ID)
	}
	slices.Sort(ids)

	o, err := parse([]string{"--feed", trades, "--quiet"}, func(string) string { return "" }, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, timed := range []bool{true, false} {
		lines, err := o.open(nil)
		if err != nil {
			t.Fatal(err)
		}
		var shown bytes.Buffer
		p, err := newPipeline(o, rules, io.Discard, newScreen(o, &shown, &shown, -1))
		if err != nil {
			t.Fatal(err)
		}
		p.time.timed = timed
		if err := p.run(t.Context(), lines); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range p.ledger.All() {
			got = append(got, r.ID)
		}
		slices.Sort(got)
		missing := len(ids) - len(got)
		if timed && !slices.Equal(got, ids) {
			t.Errorf("%d alerts of the replay, %d of the engine:\n%q\n%q", len(got), len(ids), got, ids)
		}
		// Without a clock only the last bar of each series and length may be missing.
		if got = slices.DeleteFunc(got, func(id string) bool { return slices.Contains(ids, id) }); !timed && (len(got) > 0 || missing > 2*len(states)) {
			t.Errorf("without clock events %d alerts are missing, and others fire: %q", missing, got)
		}
	}
}
