package alert

import (
	"bytes"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"example.com/market-data-pipeline/functions/processor/market"
)

// The rules of the properties: every kind of state transition happens often in a few dozen events.
const (
	tradeRules = `
rules:
  - {alert: T1, expr: price > 10}
  - {alert: T2, expr: price > 11, reset: price < 9, cooldown: 3s}
  - {alert: T3, expr: price * size > 1000, reset: price < 12, cooldown: 1s}
`
	allRules = tradeRules + `
  - {alert: Q1, on: quote, expr: spread > 1}
  - {alert: Q2, on: quote, expr: mid > 10, reset: bid < 10, cooldown: 3s}
`
)

// feed draws events in arrival order, whose disorder stays within the lateness of 5 s. With quotes the first is one
// (see "Marks" at Program.Step). Sequences count per kind; clocks have none.
func feed(t *rapid.T, quotes, sequences bool) []market.Event {
	n := rapid.IntRange(1, 60).Draw(t, "events")
	events := make([]market.Event, 0, n)
	at := 0.0
	for i := range n {
		at += rapid.SampledFrom([]float64{0, 0, 0.5, 1, 4}).Draw(t, "gap")
		jitter := rapid.SampledFrom([]float64{0, 0, 0, 1, 5}).Draw(t, "jitter")
		kind := rapid.SampledFrom([]market.Kind{market.Trade, market.Trade, market.Quote, market.Quote, market.Status, market.Clock}).Draw(t, "kind")
		if i == 0 && quotes {
			kind = market.Quote
		}
		price := func(what string) float64 { return float64(rapid.IntRange(8, 13).Draw(t, what)) }
		switch kind {
		case market.Trade:
			e := trade(at+jitter, price("price"))
			e.Ineligible = rapid.IntRange(0, 9).Draw(t, "ineligible") == 0
			events = append(events, e)
		case market.Quote:
			e := quote(at+jitter, price("bid"), price("ask"))
			switch rapid.IntRange(0, 2).Draw(t, "sides") {
			case 1:
				e.HasBid, e.Bid = false, 0
			case 2:
				e.HasAsk, e.Ask = false, 0
			}
			events = append(events, e)
		case market.Status:
			events = append(events, market.Event{Kind: market.Status, Symbol: "AAPL", Source: "feed", Time: trade(at+jitter, 1).Time})
		case market.Clock:
			events = append(events, clock(at+jitter))
		}
	}
	if sequences {
		events = numbered(events...)
	}
	return events
}

// run steps the events and returns the alerts as their records, and the final state.
func run(t interface{ Fatal(...any) }, p *Program, events []market.Event, between func(i int, s *State) *State) (alerts, state []byte) {
	s, out := p.NewState(), []Alert(nil)
	for i := range events {
		out, _ = p.Step(s, &events[i], out)
		if between != nil {
			s = between(i, s)
		}
	}
	for i := range out {
		alerts = append(out[i].AppendJSON(alerts, Times{}, ""), '\n')
	}
	return alerts, s.Append(nil)
}

func properties(t *testing.T, check func(t *rapid.T, p *Program, quotes bool)) {
	for name, rules := range map[string]string{"trades only": tradeRules, "trades and quotes": allRules} {
		t.Run(name, func(t *testing.T) {
			loaded := mustLoad(t, rules)
			rapid.Check(t, func(t *rapid.T) {
				o := Options{Lateness: 5 * time.Second, Ordered: rapid.Bool().Draw(t, "ordered")}
				check(t, loaded.Engine(o).Program("AAPL", "feed"), rules == allRules)
			})
		})
	}
}

// "Splitting the same events into any batches gives the same state and alerts", a state being written only if it changed.
func TestPropertyBatchesDoNotMatter(t *testing.T) {
	properties(t, func(t *rapid.T, p *Program, _ bool) {
		events := feed(t, false, rapid.Bool().Draw(t, "sequences"))
		alerts, state := run(t, p, events, nil)
		stored := p.NewState().Append(nil)
		cuts := rapid.SliceOfN(rapid.Bool(), len(events), len(events)).Draw(t, "cuts")
		cuts[len(cuts)-1] = true
		gotAlerts, gotState := run(t, p, events, func(i int, s *State) *State {
			if !cuts[i] {
				return s
			}
			if s.Changed() {
				stored = s.Append(nil)
			}
			s, err := p.Decode(stored)
			if err != nil {
				t.Fatal(err)
			}
			return s
		})
		if !bytes.Equal(alerts, gotAlerts) || !bytes.Equal(state, gotState) {
			t.Fatalf("in batches %v:\n%s%x\nat once:\n%s%x", cuts, gotAlerts, gotState, alerts, state)
		}
	})
}

// "Repeating any message changes nothing", where sequences exist and the delivery is ordered.
func TestPropertyRepetitionsChangeNothing(t *testing.T) {
	for name, rules := range map[string]string{"trades only": tradeRules, "trades and quotes": allRules} {
		t.Run(name, func(t *testing.T) {
			p := mustLoad(t, rules).Engine(ordered).Program("AAPL", "feed")
			rapid.Check(t, func(t *rapid.T) {
				events := feed(t, rules == allRules, true)
				alerts, state := run(t, p, events, nil)
				var repeated []market.Event
				for i := range events {
					repeated = append(repeated, events[i])
					for range rapid.IntRange(0, 3).Draw(t, "repetitions") {
						if e := events[rapid.IntRange(0, i).Draw(t, "of")]; e.Kind != market.Clock {
							repeated = append(repeated, e)
						}
					}
				}
				gotAlerts, gotState := run(t, p, repeated, nil)
				if !bytes.Equal(alerts, gotAlerts) || !bytes.Equal(state, gotState) {
					t.Fatalf("with repetitions:\n%s%x\nwithout:\n%s%x", gotAlerts, gotState, alerts, state)
				}
			})
		})
	}
}

// An unchanged state is byte-identical, and a late or repeated event leaves it unchanged.
func TestPropertyChangedTellsTheTruth(t *testing.T) {
	properties(t, func(t *rapid.T, p *Program, _ bool) {
		s := p.NewState()
		for _, e := range feed(t, false, true) {
			s, _ = p.Decode(s.Append(nil))
			before := s.Append(nil)
			out, outcome := p.Step(s, &e, nil)
			same := bytes.Equal(before, s.Append(nil))
			if !s.Changed() && !same || outcome != Applied && (!same || len(out) > 0) || len(out) > 0 && same {
				t.Fatalf("outcome %d, changed %v, identical %v, %d alerts", outcome, s.Changed(), same, len(out))
			}
		}
	})
}

// No two alerts share an id, and those of a rule are in the order of time.
func TestPropertyAlertIDsAreUnique(t *testing.T) {
	properties(t, func(t *rapid.T, p *Program, _ bool) {
		s, out := p.NewState(), []Alert(nil)
		for _, e := range feed(t, false, true) {
			out, _ = p.Step(s, &e, out)
		}
		last := map[string]int64{}
		for i, a := range out {
			if slices.ContainsFunc(out[:i], func(b Alert) bool { return a.ID == b.ID }) {
				t.Fatalf("two alerts with the id %s", a.ID)
			}
			if a.Time < last[a.Rule] {
				t.Fatalf("rule %s fired at %d after %d", a.Rule, a.Time, last[a.Rule])
			}
			last[a.Rule] = a.Time
		}
	})
}

// One engine and its programs serve many goroutines (run with -race), each with states of its own.
func TestEngineIsSafeForConcurrentUse(t *testing.T) {
	engine := mustLoad(t, allRules).Engine(ordered)
	var events []market.Event
	for i := range 200 {
		events = append(events, trade(float64(i), float64(8+i%6)), quote(float64(i), float64(8+i%5), float64(9+i%3)))
	}
	events = numbered(events...)
	want, _ := run(t, engine.Program("AAPL", "feed"), events, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				engine.Program(string(rune('A'+(i+j)%26)), "")
			}
			if got, _ := run(t, engine.Program("AAPL", "feed"), events, nil); !bytes.Equal(got, want) {
				t.Error("alerts differ between goroutines")
			}
		})
	}
	wg.Wait()
}
