package simulator_test

import (
	"flag"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/market-data-pipeline/scripts/internal/simulator"
)

var (
	seeds  = flag.Int("seeds", 2000, "random scenarios that TestSimulate runs")
	first  = flag.Uint64("first-seed", 0, "seed of the first of them")
	shrink = flag.Bool("shrink", true, "look for the smallest scenario that fails")
	twice  = flag.Int64("twice", 100, "how often a scenario is run twice: every hundredth")
)

// TestSimulate runs random scenarios. Every hundredth runs twice and must be the same, call by call.
func TestSimulate(t *testing.T) {
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
