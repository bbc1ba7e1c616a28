package sample

import "testing"

func TestRepeatCounts(t *testing.T) {
	runs := 0
	var keep []*[64]byte
	s := Repeat(100, func() { runs++; keep = append(keep, new([64]byte)) })
	if runs != 100 || s.N != 100 || s.Allocs < 100 || s.Wall <= 0 || len(keep) != 100 {
		t.Errorf("%d runs, %+v", runs, s)
	}
}
