// Package decoding is what the JSON libraries have in common in the benchmark: the cases, the structs into which a peer
// decodes them, and the worker that measures a peer which must be a process of its own.
package decoding

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/events"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/scripts/benchmark/internal/sample"
)

// Form is how many events an input holds, and in what.
type Form string

// Single is one event, Packed an array of events, Lambda the event that Lambda hands over, whose bodies are Packed.
const (
	Single Form = "single"
	Packed Form = "packed"
	Lambda Form = "lambda"
)

// Case is one input.
type Case struct {
	Name   string
	Form   Form
	Events int
	Input  []byte
}

// Wire is the struct of a peer: no checks, no exact numbers. Number is a text that holds a JSON string or number.
type Wire[Number ~string | ~[]byte] struct {
	Type       string    `json:"type"`
	Symbol     string    `json:"symbol"`
	Source     string    `json:"source"`
	Timestamp  time.Time `json:"timestamp"`
	Sequence   int64     `json:"sequence"`
	ID         string    `json:"id"`
	Venue      string    `json:"venue"`
	Price      Number    `json:"price"`
	Size       Number    `json:"size"`
	Side       string    `json:"side"`
	Conditions []string  `json:"conditions"`
}

// Peer decodes with one library.
type Peer[Number ~string | ~[]byte] struct {
	Unmarshal func([]byte, any) error
	events    []Wire[Number]
}

// Decode decodes the case into the peer's structs, which are used again.
func (p *Peer[Number]) Decode(c *Case) error {
	clear(p.events) // the libraries leave what an array's element had before in the fields that it lacks now
	p.events = p.events[:0]
	switch c.Form {
	case Single:
		var w Wire[Number]
		if err := p.Unmarshal(c.Input, &w); err != nil {
			return err
		}
		p.events = append(p.events, w)
	case Packed:
		return p.Unmarshal(c.Input, &p.events)
	case Lambda:
		var batch events.SQSEvent
		if err := p.Unmarshal(c.Input, &batch); err != nil {
			return err
		}
		for i := range batch.Records {
			var part []Wire[Number]
			if err := p.Unmarshal([]byte(batch.Records[i].Body), &part); err != nil {
				return err
			}
			p.events = append(p.events, part...)
		}
	}
	return nil
}

// Checksum is that of the events decoded last.
func (p *Peer[Number]) Checksum() (uint32, error) {
	var sum Sum
	for i := range p.events {
		e := &p.events[i]
		price, err := decimal(string(e.Price))
		if err != nil {
			return 0, err
		}
		size, err := decimal(string(e.Size))
		if err != nil {
			return 0, err
		}
		sum.Add(e.Symbol, e.Source, int64(price), int64(size), e.Timestamp.UnixNano(), e.Sequence)
	}
	return sum.Value, nil
}

func decimal(s string) (market.Decimal, error) {
	if s = strings.Trim(s, `"`); s == "" {
		return 0, nil
	}
	return market.ParseDecimal(s)
}

// Sum is a checksum of events that each peer can make, in whatever language: CRC-32 over one line per event.
type Sum struct{ Value uint32 }

// Add takes price and size in units of 1e-9, the time in nanoseconds since 1970.
func (s *Sum) Add(symbol, source string, price, size, time, sequence int64) {
	line := fmt.Appendf(nil, "%s|%s|%d|%d|%d|%d\n", symbol, source, price, size, time, sequence)
	s.Value = crc32.Update(s.Value, crc32.IEEETable, line)
}

// Order asks a worker to decode a case N times; 0 = once, for its checksum.
type Order struct {
	Case string
	Form Form
	N    int
}

// Answer is what a worker measured, or the checksum; times in nanoseconds.
type Answer struct {
	sample.Sample
	Checksum uint32
	Events   int
	Error    string
}

// Path is the file of a case's input in the workers' folder.
func Path(dir, name string) string {
	return filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".json")
}

// Work answers the orders of in, one line of JSON each, until it ends. The inputs are files in dir.
func Work[Number ~string | ~[]byte](p *Peer[Number], dir string, in io.Reader, out io.Writer) error {
	inputs := map[string][]byte{}
	encoder := json.NewEncoder(out)
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var o Order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if inputs[o.Case] == nil {
			input, err := os.ReadFile(Path(dir, o.Case))
			if err != nil {
				return err
			}
			inputs[o.Case] = input
		}
		a, err := p.answer(&Case{Form: o.Form, Input: inputs[o.Case]}, o.N)
		if err != nil {
			a.Error = err.Error()
		}
		if err := encoder.Encode(a); err != nil {
			return err
		}
	}
	return nil
}

func (p *Peer[Number]) answer(c *Case, n int) (a Answer, err error) {
	if n > 0 {
		a.Sample = sample.Repeat(n, func() { err = errors.Join(err, p.Decode(c)) })
		return a, err
	}
	if err = p.Decode(c); err != nil {
		return a, err
	}
	a.Events = len(p.events)
	a.Checksum, err = p.Checksum()
	return a, err
}
