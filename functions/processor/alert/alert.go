// Package alert turns market data events into alerts by rules that people write. It is pure: rules are compiled once
// (Load, or in Lambda, of what Load gave when the stack was synthesized, DecodeRules), and a series' state is stepped over
// its events (Program.Step) without clock, randomness or goroutine, so the same events give the same alerts, ids included,
// in Lambda, in the local run and in a replay.
//
// The build tag compiledrules leaves Load out, and with it the parsers of YAML, expressions and templates.
package alert

import (
	"example.com/market-data-pipeline/functions/processor/market"
)

// Severity is how urgent a rule's alerts are.
type Severity string

// The severities; Warning is the default.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Alert is one firing of a rule: a flat record with the same names in DynamoDB, in SNS's JSON and in the local run's
// NDJSON.
type Alert struct {
	// ID is the event time, then a hash of rule name, series, interval, event or bar time and ordinal at that time.
	// It sorts by time, is ASCII, at most 64 bytes, and is the same for the same occurrence whatever was retried,
	// redriven, edited or replayed.
	ID       string
	Symbol   string
	Source   string
	Rule     string
	Severity Severity
	Labels   []Label // as in the rule, sorted by name; shared by its alerts, not to be changed
	Summary  string  // rendered
	Time     int64   // event time (of a bar its end), nanoseconds since 1970 UTC
	// Value is the non-constant side of the rule's first comparison, of a bare crossing its first argument, of a silence its
	// length in seconds.
	Value    float64
	Operands []Operand      // sorted by text
	Price    market.Decimal // the event's price (close, mid); 0 = the event has none
	// EventID, sequence and venue are those of the event that fired the alert; of a "for" the last one evaluated. A bar built
	// from trades has the sequence of its last trade and no id; a silence has nothing.
	EventID  string
	Sequence int64 // of the event; see HasSeq
	HasSeq   bool
	Venue    string
	// RuleVersion is a hash of the rule as written.
	RuleVersion string
	// Notify is false for a rule that is tried in the dark: its alerts are stored, not published.
	Notify bool
}

// Label is one name and value that a rule attaches to its alerts.
type Label struct{ Name, Value string }

// Operand is one operand of the rule's expression, by its text, and its value when the rule fired.
type Operand struct {
	Text  string
	Value float64
}

// Outcome is what a step did with an event.
type Outcome uint8

// An event is applied, or it repeats one that was applied before, or it is more than the lateness behind the newest
// event of its series and kind. Repeated and late events change nothing. A vendor's bar for a start that was seen before
// (a revision) counts as repeated. A trade that is late only for a bar built from trades is applied.
const (
	Applied Outcome = iota
	Repeated
	Late
)
