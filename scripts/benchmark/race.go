package main

import (
	"fmt"
	"slices"
	"time"

	"example.com/market-data-pipeline/scripts/benchmark/internal/sample"
)

// racer is one peer of a comparison; run repeats its operation n times.
type racer struct {
	name string
	run  func(n int) (sample.Sample, error)
}

// times are those of one operation: the least and the median of the rounds, in nanoseconds.
type times struct {
	minCPU, medCPU, minWall, medWall float64
	allocs                           float64 // of one operation, in the round that had the fewest
	rounds                           int
}

// pace says how long a peer is measured.
type pace struct {
	slice  time.Duration // of one round
	rounds int
	budget time.Duration // of one peer, all rounds; one round is always made
}

// race measures the peers in turn, round by round, so that what disturbs the machine for a while disturbs them all.
func race(p pace, racers []racer) ([]times, error) {
	reps := make([]int, len(racers))
	spent := make([]time.Duration, len(racers))
	samples := make([][]sample.Sample, len(racers))
	for i, r := range racers {
		for n := 1; ; {
			s, err := r.run(n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			spent[i] += s.Wall
			if s.Wall >= p.slice/4 || n >= 1<<30 {
				reps[i] = max(1, int(float64(n)*float64(p.slice)/float64(max(s.Wall, 1))))
				if s.Wall >= p.slice {
					reps[i] = n
					samples[i] = append(samples[i], s)
				}
				break
			}
			n *= 4
		}
	}
	for range p.rounds {
		for i, r := range racers {
			if len(samples[i]) > 0 && spent[i]+spent[i]/time.Duration(len(samples[i])) > p.budget {
				continue
			}
			s, err := r.run(reps[i])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.name, err)
			}
			spent[i] += s.Wall
			samples[i] = append(samples[i], s)
		}
	}
	out := make([]times, len(racers))
	for i := range racers {
		out[i] = summarize(samples[i])
	}
	return out, nil
}

// summarize needs at least one sample.
func summarize(samples []sample.Sample) times {
	var cpu, wall, allocs []float64
	for _, s := range samples {
		n := float64(s.N)
		cpu, wall, allocs = append(cpu, float64(s.CPU)/n), append(wall, float64(s.Wall)/n), append(allocs, float64(s.Allocs)/n)
	}
	return times{slices.Min(cpu), median(cpu), slices.Min(wall), median(wall), slices.Min(allocs), len(samples)}
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// inProcess is a racer whose operation is a function of this process.
func inProcess(name string, operation func()) racer {
	return racer{name, func(n int) (sample.Sample, error) { return sample.Repeat(n, operation), nil }}
}
