package stackcheck

import (
	"slices"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

var testFeed = feed{run: "0011aabb", start: time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)}

func TestBadEventsAreRefusedForTheirReason(t *testing.T) {
	seen := map[market.Reason]bool{}
	for _, bad := range testFeed.badEvents() {
		events, refused := market.Decode(nil, bad.body, testFeed.start, settings.DefaultClockSkew)
		if len(events) != 0 || len(refused) != 1 || refused[0].Reason != bad.reason || refused[0].Raw != bad.body {
			t.Errorf("%s: %d events, refused %+v, want %s of the whole body", bad.body, len(events), refused, bad.reason)
		}
		seen[bad.reason] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d reasons are provoked, want at least 20", len(seen))
	}
}

func TestGoodEventsAreAccepted(t *testing.T) {
	last := map[string]int64{}
	for _, e := range slices.Concat(testFeed.events(), testFeed.quiet(Quiet), testFeed.gap(seriesGap)) {
		line := string(e.AppendJSON(nil))
		if _, refused := market.Decode(nil, line, testFeed.start.Add(time.Minute), settings.DefaultClockSkew); len(refused) > 0 {
			t.Errorf("%s: %v", line, &refused[0])
		}
		if e.Time <= last[e.Series()] {
			t.Errorf("%s: %d is not after %d", e.Series(), e.Time, last[e.Series()])
		}
		last[e.Series()] = e.Time
	}
	if len(last) != tradeSymbols+quoteSymbols+2 {
		t.Errorf("%d series, want %d", len(last), tradeSymbols+quoteSymbols+2)
	}
}

// The quiet series' minute is over long before the run, so that it is due as soon as it is processed, and only a clock
// event closes it.
func TestOnlyTheClockFires(t *testing.T) {
	rules := func(text string) *alert.Rules {
		r, err := alert.Load("t.yaml", []byte("rules:\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	minute := rules("  - {alert: M, on: bar, interval: 1m, from: trades, expr: close > open, cooldown: 1h}\n")
	silence := rules("  - {alert: S, on: silence, after: 45s}\n  - {alert: L, on: silence, after: 105s}\n")
	o := alert.Options{Lateness: settings.DefaultLateness, Ordered: true}
	until := testFeed.start.Add(clockHorizon).UnixNano()
	fired, clocked := expected(minute, o, testFeed.quiet(Quiet), until)
	if len(fired) != 0 || len(clocked) != 1 {
		t.Fatalf("%d alerts fire without the clock, %d with it, want 0 and 1", len(fired), len(clocked))
	}
	// One tick sends one clock event: the minute's end must be all that the series waits for.
	trades := testFeed.quiet(Quiet)
	program := minute.Engine(o).Program(trades[0].Symbol, trades[0].Source)
	state := program.NewState()
	for i := range trades {
		program.Step(state, &trades[i], nil)
	}
	if due, ok := state.Due(); !ok || due != clocked[0].Time+int64(o.Lateness) {
		t.Errorf("the series waits for %s first, not for the end of the bar at %s", time.Unix(0, due), time.Unix(0, clocked[0].Time))
	}
	if due := time.Unix(0, clocked[0].Time).Add(o.Lateness + settings.ClockGrace + time.Minute); !due.Before(testFeed.start) {
		t.Errorf("with a minute of lag it is due at %s, after the run's start at %s", due, testFeed.start)
	}
	if fired, clocked = expected(minute, o, testFeed.quiet(Quiet), clocked[0].Time); len(fired)+len(clocked) != 0 {
		t.Errorf("%d and %d alerts fire before the time up to which the clock runs, want none: the bar waits for the lateness", len(fired), len(clocked))
	}
	if fired, clocked = expected(silence, o, testFeed.gap(seriesGap), until); len(fired) != 2 || len(clocked) != 1 || clocked[0].Rule != "S" {
		t.Errorf("silences: %d alerts fire without the clock, want 2; %v with it, want S alone", len(fired), clocked)
	}
}
