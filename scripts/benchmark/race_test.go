package main

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	got := summarize([]sample{
		{n: 10, wall: 300, cpu: 200, allocs: 20},
		{n: 10, wall: 100, cpu: 90, allocs: 21},
		{n: 5, wall: 100, cpu: 50, allocs: 10},
		{n: 10, wall: 500, cpu: 400, allocs: 50},
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
		return racer{name, func(n int) (sample, error) {
			order.WriteString(name)
			return sample{n: n, wall: time.Duration(n) * cost, cpu: time.Duration(n) * cost / 2}, nil
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
	slow := racer{"slow", func(n int) (sample, error) {
		runs++
		return sample{n: n, wall: time.Minute, cpu: time.Minute}, nil
	}}
	got, err := race(pace{slice: time.Second, rounds: 5, budget: 90 * time.Second}, []racer{slow})
	if err != nil || runs != 1 || got[0].rounds != 1 {
		t.Errorf("%d runs, %+v, %v", runs, got, err)
	}
}

func TestRaceNamesWhoFailed(t *testing.T) {
	_, err := race(pace{slice: time.Second, rounds: 1}, []racer{{"peer x", func(int) (sample, error) { return sample{}, errors.New("gone") }}})
	if err == nil || !strings.Contains(err.Error(), "peer x: gone") {
		t.Error(err)
	}
}

func TestRepeatCounts(t *testing.T) {
	runs := 0
	var keep []*[64]byte
	s := repeat(100, func() { runs++; keep = append(keep, new([64]byte)) })
	if runs != 100 || s.n != 100 || s.allocs < 100 || s.wall <= 0 || len(keep) != 100 {
		t.Errorf("%d runs, %+v", runs, s)
	}
}
