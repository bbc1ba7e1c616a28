package simulator_test

import (
	"flag"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/scripts/internal/simulator"
)

var (
	seeds  = flag.Int("seeds", 2000, "random scenarios that TestSimulate runs")
	first  = flag.Uint64("first-seed", 0, "seed of the first of them")
	pairs  = flag.Int("pairs", 50, "TestSimulatePairs runs one pair in so many; 1 = all")
	shrink = flag.Bool("shrink", true, "look for the smallest scenario that fails")
	twice  = flag.Int64("twice", 100, "how often a scenario is run twice: every hundredth")
)

var raceDetector bool

func init() { debug.SetGCPercent(400) }

// long skips what is too long for the race detector, which has nothing to find: one goroutine runs at a time.
func long(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("too long for the race detector, and one goroutine runs at a time")
	}
}

// TestSimulate runs random scenarios. Every hundredth runs twice and must be the same, call by call.
func TestSimulate(t *testing.T) {
	long(t)
	start := time.Now()
	var next, faults, calls, alerts atomic.Int64
	var mu sync.Mutex
	failed := map[uint64]string{}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				mu.Lock()
				stop := len(failed) > 0
				mu.Unlock()
				if stop || i >= int64(*seeds) {
					return
				}
				s := simulator.Random(*first + uint64(i))
				r := simulator.Run(s, nil)
				why := ""
				if len(r.Violations) > 0 {
					why = r.Violations[0]
				} else if i%*twice == 0 && simulator.Run(s, nil).Trace != r.Trace {
					why = "it is not the same twice"
				}
				if why != "" {
					mu.Lock()
					failed[s.Seed] = why
					mu.Unlock()
				}
				faults.Add(int64(r.Faults))
				calls.Add(int64(r.Calls))
				alerts.Add(int64(r.Alerts))
			}
		})
	}
	wg.Wait()
	for seed := range failed {
		report(t, simulator.Random(seed), failed[seed])
	}
	t.Logf("%d seeds, %d faults survived, %d calls, %d alerts; %.0f seeds/s", *seeds, faults.Load(), calls.Load(), alerts.Load(), float64(*seeds)/time.Since(start).Seconds())
}

// report shows the smallest scenario that fails like s, and what happens in it.
func report(t *testing.T, s simulator.Scenario, why string) {
	t.Helper()
	t.Errorf("seed %d: %s\nscenario: %s", s.Seed, why, s)
	if !*shrink {
		return
	}
	small := simulator.Shrink(s)
	var lines, again []string
	r := simulator.Run(small, func(line string) { lines = append(lines, line) })
	simulator.Run(small, func(line string) { again = append(again, line) })
	for i := range min(len(lines), len(again)) {
		if lines[i] != again[i] {
			t.Fatalf("the second run differs:\n%s\n%s", strings.Join(lines[:i+1], "\n"), again[i])
		}
	}
	t.Fatalf("smallest: %s\n%s\n%s", small, strings.Join(lines, "\n"), strings.Join(r.Violations, "\n"))
}

// small are scenarios in which every call, and every pair of calls, is struck by every kind of fault.
var small = []simulator.Scenario{
	{Seed: 1, Delivery: settings.Ordered, Rules: "levels", Lateness: settings.DefaultLateness, Messages: 2, Environments: 2, BatchSize: 10},
	{Seed: 3, Delivery: settings.Ordered, Rules: "history", Lateness: settings.DefaultLateness, Messages: 2, Environments: 1, BatchSize: 10},
	{Seed: 4, Delivery: settings.Unordered, Rules: "levels", Lateness: time.Hour, Messages: 3, Environments: 2, BatchSize: 10},
}

// TestSimulateSingleFaults strikes every call with every kind of fault.
func TestSimulateSingleFaults(t *testing.T) {
	long(t)
	runs, struck := 0, 0
	for _, s := range small {
		calls := simulator.Run(s, nil).Calls
		for at := range calls {
			for kind := range simulator.Kinds {
				s.Faults = []simulator.Fault{{At: at, Kind: kind}}
				r := simulator.Run(s, nil)
				if len(r.Violations) > 0 {
					report(t, s, r.Violations[0])
				}
				runs, struck = runs+1, struck+r.Faults
			}
		}
	}
	if struck < runs {
		t.Errorf("%d of %d faults struck", struck, runs)
	}
	t.Logf("%d runs", runs)
}

// TestSimulatePairs strikes every ordered pair of calls with every pair of kinds, within the first part of the runs: up to
// the calls of a run without faults. Of all of them it takes one in -pairs.
func TestSimulatePairs(t *testing.T) {
	long(t)
	runs, n := 0, 0
	for _, s := range small {
		calls := min(simulator.Run(s, nil).Calls, 24)
		for first := range calls {
			for second := first + 1; second < calls+12; second++ {
				for a := range simulator.Kinds {
					for b := range simulator.Kinds {
						if n++; n%*pairs != 0 {
							continue
						}
						s.Faults = []simulator.Fault{{At: first, Kind: a}, {At: second, Kind: b}}
						if r := simulator.Run(s, nil); len(r.Violations) > 0 {
							report(t, s, r.Violations[0])
						}
						runs++
					}
				}
			}
		}
	}
	t.Logf("%d runs", runs)
}

// TestSimulateOutages: whatever is out, for a second or for 15 minutes, under load nothing is lost, dead-lettered or, in
// ordered delivery, late.
func TestSimulateOutages(t *testing.T) {
	long(t)
	for _, services := range [][]string{{"dynamodb"}, {"sns"}, {"dynamodb", "sns"}} {
		for _, d := range []time.Duration{time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, 15 * time.Minute} {
			for seed := range uint64(6) {
				s := simulator.Scenario{Seed: seed, Delivery: settings.Ordered, Rules: "history", Lateness: settings.DefaultLateness,
					Messages: 60, Gap: d / 20, Environments: 5, BatchSize: 10}
				if seed%3 == 2 {
					s.Delivery = settings.Unordered
				}
				for _, service := range services {
					s.Outages = append(s.Outages, simulator.Outage{Service: service, From: d / 10, To: d/10 + d})
				}
				r := simulator.Run(s, nil)
				if len(r.Violations) > 0 {
					report(t, s, r.Violations[0])
				}
				if r.Faults == 0 && d > time.Minute {
					t.Errorf("%s: no call failed in the outage", s)
				}
			}
		}
	}
}
