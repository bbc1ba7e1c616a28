package main

import (
	"fmt"
	"io"
	"sync/atomic"

	"example.com/market-data-pipeline/scripts/internal/feed"
	"example.com/market-data-pipeline/scripts/local/internal/tradingday"
)

// source is where the lines come from. Next ends with io.EOF; Offset of Size is how far it is (-1: the size is unknown)
// and may be called from any goroutine.
type source interface {
	Next() (feed.Line, error)
	Size() int64
	Offset() int64
	Close() error
}

var (
	_ source = (*feed.Reader)(nil)
	_ source = (*simulated)(nil)
)

// open opens the feed that the options name.
func (o *options) open(stdin io.Reader) (source, error) {
	if len(o.feeds) > 0 {
		in, err := feed.Open(o.feeds, stdin)
		if err != nil {
			return nil, fmt.Errorf("feed: %w", err) // not a typed nil
		}
		return in, nil
	}
	return &simulated{day: tradingday.New(o.seed, o.events), size: int64(o.events)}, nil
}

// simulated is the simulated market as a source; it counts lines.
type simulated struct {
	day  *tradingday.Day
	size int64
	n    atomic.Int64
}

func (s *simulated) Next() (feed.Line, error) {
	text, ok := s.day.Next()
	if !ok {
		return feed.Line{}, io.EOF
	}
	return feed.Line{File: "simulated market", Number: int(s.n.Add(1)), Text: text}, nil
}

func (s *simulated) Size() int64   { return s.size }
func (s *simulated) Offset() int64 { return s.n.Load() }
func (s *simulated) Close() error  { return nil }
