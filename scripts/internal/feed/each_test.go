package feed

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"
)

// script yields its lines and then err.
type script struct {
	lines  []string
	err    error
	closed chan bool
}

func (s *script) Next() (Line, error) {
	if len(s.lines) == 0 {
		return Line{}, s.err
	}
	l := Line{Text: s.lines[0]}
	s.lines = s.lines[1:]
	return l, nil
}

func (s *script) Close() error { close(s.closed); return nil }

func TestEach(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		end  error
		stop int // lines after which the loop is left; 0 = never
		want []string
	}{{io.EOF, 0, []string{"a", "b"}}, {broken, 0, []string{"a", "b"}}, {io.EOF, 1, []string{"a"}}} {
		s := &script{lines: []string{"a", "b"}, err: c.end, closed: make(chan bool)}
		var got []string
		var failed error
		for l, err := range Each(t.Context(), s) {
			if err != nil {
				failed = err
				continue
			}
			if got = append(got, l.Text); len(got) == c.stop {
				break
			}
		}
		if !slices.Equal(got, c.want) || (failed != nil) != (c.end == broken) {
			t.Errorf("end %v, stop %d: lines %v, error %v", c.end, c.stop, got, failed)
		}
		select {
		case <-s.closed:
		case <-time.After(10 * time.Second):
			t.Errorf("end %v, stop %d: the source was not closed", c.end, c.stop)
		}
	}
}

// blocked is a source that has nothing to say, as a terminal's standard input.
type blocked struct{ script }

func (*blocked) Next() (Line, error) { select {} }

func TestEachEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for l, err := range Each(ctx, &blocked{}) {
		t.Errorf("yields %v, %v", l, err)
	}
}
