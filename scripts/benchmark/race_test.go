package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/scripts/benchmark/internal/sample"
)

func TestSummarize(t *testing.T) {
	got := summarize([]sample.Sample{
		{N: 10, Wall: 300, CPU: 200, Allocs: 20},
		{N: 10, Wall: 100, CPU: 90, Allocs: 21},
		{N: 5, Wall: 100, CPU: 50, Allocs: 10},
		{N: 10, Wall: 500, CPU: 400, Allocs: 50},
	})
	want := times{minCPU: 9, medCPU: 15, minWall: 10, medWall: 25, allocs: 2, rounds: 4}
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		of   []float64
		want float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		before := append([]float64(nil), c.of...)
		if got := median(c.of); got != c.want {
			t.Errorf("median of %v is %v, want %v", before, got, c.want)
		}
	}
}

// The peers take turns, and each gets repetitions that fill its slice.
func TestRaceInterleaves(t *testing.T) {
	var order strings.Builder
	peer := func(name string, cost time.Duration) racer {
		return racer{name, func(n int) (sample.Sample, error) {
			order.WriteString(name)
			return sample.Sample{N: n, Wall: time.Duration(n) * cost, CPU: time.Duration(n) * cost / 2}, nil
		}}
	}
	got, err := race(pace{slice: time.Second, rounds: 3, budget: time.Hour}, []racer{peer("a", time.Millisecond), peer("b", 400*time.Millisecond)})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(order.String(), "bababab") && !strings.HasSuffix(order.String(), "ababab") {
		t.Errorf("order %s: the rounds are not interleaved", order.String())
	}
	if got[0].minCPU != 5e5 || got[0].minWall != 1e6 || got[0].rounds != 3 {
		t.Errorf("a: %+v", got[0])
	}
	if got[1].minCPU != 2e8 {
		t.Errorf("b: %+v", got[1])
	}
}

// What takes longer than the budget is measured once.
func TestRaceKeepsToTheBudget(t *testing.T) {
	runs := 0
	slow := racer{"slow", func(n int) (sample.Sample, error) {
		runs++
		return sample.Sample{N: n, Wall: time.Minute, CPU: time.Minute}, nil
	}}
	got, err := race(pace{slice: time.Second, rounds: 5, budget: 90 * time.Second}, []racer{slow})
	if err != nil || runs != 1 || got[0].rounds != 1 {
		t.Errorf("%d runs, %+v, %v", runs, got, err)
	}
}

func TestRaceNamesWhoFailed(t *testing.T) {
	_, err := race(pace{slice: time.Second, rounds: 1}, []racer{{"peer x", func(int) (sample.Sample, error) { return sample.Sample{}, errors.New("gone") }}})
	if err == nil || !strings.Contains(err.Error(), "peer x: gone") {
		t.Error(err)
	}
}
