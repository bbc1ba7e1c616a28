package alert

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/market-data-pipeline/functions/processor/market"
)

// Rules that use every part of the engine: shared and nested slots, both sources of bars, values of the day, sessions,
// gaps, every timer. t0 is 13:30:00 UTC.
const historyRules = `
rules:
  - {alert: Cross, expr: "crossover(sma(price, 3), ema(price, 5))"}
  - {alert: Nested, expr: "zscore(roc(price, 1), 4) > 1", max_gap: 10s}
  - {alert: Held, expr: "price > sma(price, 3)", for: 3s, cooldown: 5s, summary: "{{ .price }} {{ .venue }} {{ .day_high }}"}
  - {alert: HeldInSession, expr: price > 10, for: 2s, session: "UTC 13:30-13:31", expires: "2013-10-10T13:30:50Z"}
  - {alert: Quotes, on: quote, expr: "mid >= highest(mid, 3)", for: 2s, max_gap: 8s}
  - {alert: Built, on: bar, interval: 5s, from: trades, expr: close > open}
  - {alert: BuiltHeld, on: bar, interval: 5s, from: trades, expr: "close >= sma(close, 2) and volume >= 0", for: 5s, cooldown: 1s}
  - {alert: BuiltDay, on: bar, interval: 1s, from: trades, expr: "close > vwap()", session: "UTC 13:30-13:31"}
  - {alert: BuiltPrevious, on: bar, interval: 1s, from: trades, expr: close > prev_close, session: "UTC 13:30-13:31"}
  - {alert: Vendor, on: bar, interval: 1m, expr: "crossunder(close, prev(close, 1))"}
  - {alert: Halt, on: status, expr: state == "halted", for: 4s}
  - {alert: Silent, on: silence, after: 6s, cooldown: 10s}
  - {alert: SilentInSession, on: silence, after: 3s, session: "UTC 13:30-13:31"}
  - {alert: Day, expr: price >= day_high and price > day_open, cooldown: 2s}
`

// historyFeed draws events of all kinds in arrival order, with disorder within the lateness of 5 s if it is asked for.
func historyFeed(t *rapid.T, disorder bool) []market.Event {
	n := rapid.IntRange(1, 80).Draw(t, "events")
	at := 0.0
	minute := int64(0)
	var events []market.Event
	for range n {
		at += rapid.SampledFrom([]float64{0, 0, 0.5, 1, 2, 7, 20, 0, 0, 0.5, 1, 2, 7, 86400}).Draw(t, "gap")
		when := at
		if disorder {
			when += rapid.SampledFrom([]float64{0, 0, 0, 1, 5}).Draw(t, "jitter")
		}
		price := func(what string) float64 { return float64(rapid.IntRange(8, 13).Draw(t, what)) }
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0, 1, 2, 3, 4:
			e := trade(when, price("price"))
			e.Ineligible = rapid.IntRange(0, 9).Draw(t, "ineligible") == 0
			e.Size = market.Decimal(rapid.IntRange(0, 3).Draw(t, "size")) * market.Unit
			e.ID, e.Venue = rapid.SampledFrom([]string{"", "a", "bcd"}).Draw(t, "id"), "V"
			events = append(events, e)
		case 5, 6, 7:
			e := quote(when, price("bid"), price("ask"))
			if rapid.Bool().Draw(t, "one side") {
				e.HasAsk, e.Ask = false, 0
			}
			events = append(events, e)
		case 8:
			e := market.Event{Kind: market.Status, Symbol: "AAPL", Source: "feed", Time: trade(when, 1).Time, State: rapid.SampledFrom([]string{"halted", "resumed"}).Draw(t, "state")}
			events = append(events, e)
		case 9:
			minute += rapid.Int64Range(0, 2).Draw(t, "minutes")
			p := market.Decimal(price("close")) * market.Unit
			events = append(events, market.Event{Kind: market.Bar, Symbol: "AAPL", Source: "feed", Time: t0 - 60*60*second + minute*60*second, Interval: time.Minute,
				Open: p, High: p, Low: p, Close: p, Volume: 1})
		}
	}
	return numbered(events...)
}

func historyProgram(tb testing.TB, o Options) *Program { return program(tb, o, historyRules) }

// flush ends every wait: in every run of a property it comes last.
func flush() market.Event { return clock(1e8) }

// "Splitting the same events into any batches gives the same state and alerts"; "encode-decode of the state between any
// two events changes nothing".
func TestHistoryBatchesDoNotMatter(t *testing.T) {
	for _, o := range []Options{ordered, {Lateness: 5 * time.Second}} {
		p := historyProgram(t, o)
		fired := map[string]int{}
		rapid.Check(t, func(t *rapid.T) {
			events := append(historyFeed(t, true), flush())
			alerts, state := run(t, p, events, nil)
			for line := range strings.Lines(string(alerts)) {
				a, err := ParseAlert([]byte(line))
				if err != nil {
					t.Fatal(err)
				}
				fired[a.Rule]++
			}
			stored := p.NewState().Append(nil)
			every := rapid.Bool().Draw(t, "after every event")
			gotAlerts, gotState := run(t, p, events, func(i int, s *State) *State {
				if !every && i < len(events)-1 && !rapid.Bool().Draw(t, "cut") {
					return s
				}
				if s.Changed() {
					stored = s.Append(nil)
				} else if !bytes.Equal(stored, s.Append(nil)) {
					t.Fatalf("an unchanged state has other bytes, after event %d", i)
				}
				if rapid.Bool().Draw(t, "new memory") {
					s = p.NewState()
				}
				if err := s.Decode(stored); err != nil {
					t.Fatal(err)
				}
				return s
			})
			if !bytes.Equal(alerts, gotAlerts) || !bytes.Equal(state, gotState) {
				t.Fatalf("in batches: state %v\n%s\nat once:\n%s", bytes.Equal(state, gotState), gotAlerts, alerts)
			}
		})
		for _, r := range p.rules {
			if fired[r.name] == 0 {
				t.Errorf("rule %s never fired: the property does not test it", r.name)
			}
		}
	}
}

// "Repeating any message changes nothing."
func TestHistoryRepetitionsChangeNothing(t *testing.T) {
	p := historyProgram(t, ordered)
	rapid.Check(t, func(t *rapid.T) {
		events := historyFeed(t, true)
		alerts, state := run(t, p, events, nil)
		var repeated []market.Event
		for i := range events {
			repeated = append(repeated, events[i])
			for range rapid.IntRange(0, 2).Draw(t, "repetitions") {
				repeated = append(repeated, events[rapid.IntRange(0, i).Draw(t, "of")])
			}
		}
		gotAlerts, gotState := run(t, p, repeated, nil)
		if !bytes.Equal(alerts, gotAlerts) || !bytes.Equal(state, gotState) {
			t.Fatalf("with repetitions: state %v\n%s\nwithout:\n%s", bytes.Equal(state, gotState), gotAlerts, alerts)
		}
	})
}

// "A clock event changes when a bar's alert fires, never which or with what id", nor any other alert, where it does not
// overtake an event.
func TestHistoryClocksChangeOnlyTheMoment(t *testing.T) {
	p := historyProgram(t, ordered)
	lines := func(alerts []byte) []string {
		l := strings.Split(string(alerts), "\n")
		slices.Sort(l)
		return l
	}
	rapid.Check(t, func(t *rapid.T) {
		// A vendor's bars, which wait for nothing, have a time of their own in the feed: clocks would overtake them.
		isBar := func(e market.Event) bool { return e.Kind == market.Bar }
		events := append(slices.DeleteFunc(historyFeed(t, true), isBar), flush())
		alerts, _ := run(t, p, events, nil)
		var clocked []market.Event
		earliest := make([]int64, len(events)+1)
		earliest[len(events)] = 1 << 62
		for i := len(events) - 1; i >= 0; i-- {
			earliest[i] = min(earliest[i+1], events[i].EventTime())
		}
		for i := range events {
			if rapid.Bool().Draw(t, "clock") {
				c := clock(0)
				c.Time = earliest[i] - rapid.SampledFrom([]int64{0, 1, second}).Draw(t, "before")
				clocked = append(clocked, c)
			}
			clocked = append(clocked, events[i])
		}
		gotAlerts, _ := run(t, p, clocked, nil)
		if got, want := lines(gotAlerts), lines(alerts); !slices.Equal(got, want) {
			t.Fatalf("with clocks:\n%s\nwithout:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// A clock at the time for which the state is due runs a timer; before it none runs.
func TestDueIsWhenATimerRuns(t *testing.T) {
	p := historyProgram(t, ordered)
	rapid.Check(t, func(t *rapid.T) {
		s := p.NewState()
		for _, e := range historyFeed(t, true) {
			p.Step(s, &e, nil)
		}
		for range 200 {
			due, ok := s.Due()
			if !ok {
				return
			}
			early := clock(0)
			early.Time = due - 1
			if out, _ := p.Step(s, &early, nil); len(out) > 0 {
				t.Fatal("a timer ran before the state was due")
			}
			if again, _ := s.Due(); again != due {
				t.Fatalf("due at %d, after an early clock at %d", due, again)
			}
			early.Time = due
			p.Step(s, &early, nil)
			if next, ok := s.Due(); ok && next < due {
				t.Fatalf("due at %d after %d", next, due)
			}
		}
		t.Fatal("the state is due for ever")
	})
}

// "Without late events, any permutation within `lateness` gives the same bars (unordered, engine level, events with
// sequence)": all values of the last 60 bars are equal.
func TestPermutationsGiveTheSameBars(t *testing.T) {
	p := program(t, Options{Lateness: 5 * time.Second}, `
rules:
  - alert: Bars
    on: bar
    interval: 2s
    from: trades
    cooldown: 1h
    expr: sum(open, 60) + sum(high, 60) + sum(low, 60) + sum(close, 60) + sum(volume, 60) + sum(bar_vwap, 60) + sum(trades, 60) + prev_close + day_open + vwap() > 0
`)
	slots := func(events []market.Event) (b []byte) {
		s := p.NewState()
		for i := range events {
			if _, o := p.Step(s, &events[i], nil); o != Applied {
				t.Fatalf("event %d: outcome %d", i, o)
			}
		}
		for i := range s.slots {
			b = s.slots[i].append(b)
		}
		return b
	}
	rapid.Check(t, func(t *rapid.T) {
		var events []market.Event
		for range rapid.IntRange(1, 60).Draw(t, "trades") {
			e := trade(rapid.SampledFrom([]float64{0, 1, 1, 2, 2, 2.5, 3, 3, 7, 7.5, 8, 15, 16, 30}).Draw(t, "at"), float64(rapid.IntRange(8, 13).Draw(t, "price"))+0.1)
			e.Size = market.Decimal(rapid.Int64Range(0, 9e18).Draw(t, "size"))
			e.Ineligible = rapid.IntRange(0, 4).Draw(t, "ineligible") == 0
			events = append(events, e)
		}
		slices.SortStableFunc(events, func(a, b market.Event) int { return int(a.Time - b.Time) })
		events = numbered(events...)
		want := slots(append(slices.Clone(events), flush()))
		type keyed struct {
			e   market.Event
			key int64
		}
		var permuted []keyed
		for _, e := range events {
			permuted = append(permuted, keyed{e, e.Time + rapid.Int64Range(0, 5*second).Draw(t, "delay")})
		}
		slices.SortStableFunc(permuted, func(a, b keyed) int { return int(a.key - b.key) })
		events = events[:0]
		for _, k := range permuted {
			events = append(events, k.e)
		}
		if got := slots(append(events, flush())); !bytes.Equal(got, want) {
			t.Fatal("other bars")
		}
	})
}

// No two alerts share an id.
func TestHistoryAlertIDsAreUnique(t *testing.T) {
	p := historyProgram(t, ordered)
	rapid.Check(t, func(t *rapid.T) {
		s, out := p.NewState(), []Alert(nil)
		for _, e := range append(historyFeed(t, true), flush()) {
			out, _ = p.Step(s, &e, out)
		}
		seen := map[string]bool{}
		for _, a := range out {
			if seen[a.ID] {
				t.Fatalf("two alerts with the id %s", a.ID)
			}
			seen[a.ID] = true
		}
	})
}
