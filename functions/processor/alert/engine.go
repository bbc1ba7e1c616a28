package alert

import (
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

type Problem struct {
	File         string
	Line, Column int
	Rule         string
	Text         string
	Warning      bool
}

func (p Problem) String() string { return p.File + ": " + p.Text }

type Problems []Problem

func (p Problems) Error() string { return "" }

type Rules struct{}

func Load(file string, src []byte) (*Rules, error) {
	return nil, Problems{{File: file, Text: "the loader is not linked"}}
}

func (r *Rules) Warnings() []Problem { return nil }

type Options struct {
	Lateness time.Duration
	Ordered  bool
}

type Engine struct{}

func (r *Rules) Engine(o Options) *Engine { return &Engine{} }

type Program struct{}

func (e *Engine) Program(symbol, source string) *Program { return nil }

type State struct{}

func (p *Program) NewState() *State { return &State{} }

func (p *Program) Decode(b []byte) (*State, error) { return &State{}, nil }

func (p *Program) Step(s *State, e *market.Event, out []Alert) ([]Alert, Outcome) {
	return out, Applied
}

func (s *State) Changed() bool { return false }

func (s *State) Append(b []byte) []byte { return b }

func (a *Alert) AppendJSON(b []byte, t Times, status Status) []byte { return b }

func ParseAlert(b []byte) (Alert, error) { return Alert{}, nil }
