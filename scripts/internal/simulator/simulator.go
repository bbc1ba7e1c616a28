package simulator

import "slices"

// Result is what a run was.
type Result struct {
	Violations []string // of the promises; none = they were kept
	Trace      uint64   // hash of everything that happened, in order
	Faults     int      // that struck
	Calls      int      // of AWS
	Alerts     int      // stored
}

// Run runs the scenario and checks the promises. Two runs of one scenario give the same result. log, where it is not nil,
// gets a line for everything that happens.
func Run(s Scenario, log func(line string)) Result {
	w := newCloud(s, log)
	w.run(w.supervise)
	w.check()
	return Result{Violations: w.violations, Trace: w.trace.Sum64(), Faults: w.faults, Calls: w.calls, Alerts: len(w.scan(alertsTable))}
}

// Shrink makes a failing scenario smaller as long as it fails: fewer faults, messages and invocations at the same time.
func Shrink(s Scenario) Scenario {
	fails := func(s Scenario) bool { return len(Run(s, nil).Violations) > 0 }
	for again := true; again; {
		again = false
		try := func(smaller Scenario) {
			if fails(smaller) {
				s, again = smaller, true
			}
		}
		for i := len(s.Faults) - 1; i >= 0; i-- {
			smaller := s
			smaller.Faults = slices.Delete(slices.Clone(s.Faults), i, i+1)
			try(smaller)
		}
		for i := len(s.Outages) - 1; i >= 0; i-- {
			smaller := s
			smaller.Outages = slices.Delete(slices.Clone(s.Outages), i, i+1)
			try(smaller)
		}
		for _, n := range []int{s.Messages / 2, s.Messages - 1} {
			if smaller := s; n > 0 && n < s.Messages {
				smaller.Messages = n
				try(smaller)
			}
		}
		for _, smaller := range []func(*Scenario){
			func(s *Scenario) { s.Environments = min(s.Environments, 2) },
			func(s *Scenario) { s.Environments = 1 },
			func(s *Scenario) { s.BatchSize = 1 },
			func(s *Scenario) { s.Skew = 0 },
			func(s *Scenario) { s.Rules = "levels" },
			func(s *Scenario) { s.Gap = 0 },
			func(s *Scenario) { s.Deployment = NoDeployment },
		} {
			next := s
			if smaller(&next); len(next.Faults) == len(s.Faults) && !equal(next, s) {
				try(next)
			}
		}
	}
	return s
}

func equal(a, b Scenario) bool { return a.String() == b.String() }
