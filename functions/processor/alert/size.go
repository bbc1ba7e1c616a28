package alert

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The limits of a series' state, in bytes.
const (
	maxState  = 64 << 10
	warnState = 8 << 10
	// deliveryBytes is what the item holds beside the engine's state: the identities of the last messages, hints, keys.
	deliveryBytes = 1 << 10
)

// writeUnit is what one DynamoDB write unit writes, in bytes.
const writeUnit = 1 << 10

// Footprint is what the rules of a file keep for a series that all of Rules watch.
type Footprint struct {
	Symbol, Source string   // an example of such a series
	Rules          []string // names, in the order of the file
	Slots          []SlotInfo
	Bytes          int // of the state, at most
	// WriteUnits is what a commit of the state costs at most, in DynamoDB write units (1 KB each) of a plain put; a
	// commit together with alerts is a transaction and costs twice that, and the alerts.
	WriteUnits int
	Timed      bool // its states can ask for the clock
}

// SlotInfo is a function over past values that a series keeps, once for all the rules that use it.
type SlotInfo struct {
	Text   string // as in the expression, in canonical form
	On     string // what steps it: "trade", "bar 1m", "bar 1m from trades" ...
	WarmUp int    // evaluations until its first value, beside those of its arguments
	Bytes  int    // at most
}

// Timed tells whether a rule of the file waits for time: a "for" on trades, quotes or status, a silence, quotes, bars
// built from trades. Without such rules no state is ever due, and no clock is needed.
func (r *Rules) Timed() bool {
	p := newProgram(r.rules, Options{})
	return p.timed
}

// Explain returns what a series keeps, for each set of rules that watches an example of a series: the symbols that the
// rules name, and one for each of their patterns. The largest comes first.
func (r *Rules) Explain(o Options) []Footprint {
	var out []Footprint
	seen := map[string]bool{}
	for _, key := range examples(r.rules) {
		watching, set := watchers(r.rules, key.symbol, key.source)
		if len(watching) > 0 && !seen[set] {
			seen[set] = true
			f := newProgram(watching, o).footprint()
			f.Symbol, f.Source = key.symbol, key.source
			out = append(out, f)
		}
	}
	slices.SortStableFunc(out, func(a, b Footprint) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return out
}

// Fits refuses options under which a state of the rules takes more than 64 KB: a file is checked for a lateness of 5 s
// when it loads, and a longer one keeps more bars open.
func (r *Rules) Fits(o Options) error {
	if all := newProgram(r.rules, o).footprint(); all.Bytes <= maxState {
		return nil
	}
	for _, f := range r.Explain(o) {
		if f.Bytes > maxState {
			return fmt.Errorf("with a lateness of %s the state of a series such as %s takes up to %d bytes, the limit is %d: lower the lateness, lengthen the bars built from trades, or shorten the windows",
				o.Lateness, f.Symbol, f.Bytes, maxState)
		}
	}
	return nil
}

// examples are series that the rules' patterns match, in the order of the file. The star of a pattern stands for
// nothing: so the example of "BTC*" is also one of "B*", and of "A*" and "*B" there is one of both. A file with very many patterns gives fewer of them, because each
// is matched with each.
func examples(rules []*rule) []seriesKey {
	const maxJoined = 32
	patterns := 0
	for _, r := range rules {
		patterns += len(r.symbols) + len(r.sources) + 1
	}
	most := max(16, 10_000_000/patterns)
	texts := func(globs func(*rule) []string) []string {
		var out []string
		seen, other := map[string]bool{}, false
		var heads, tails []string
		add := func(s string) {
			if !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
		for _, r := range rules {
			other = other || globs(r) == nil
			for _, g := range globs(r) {
				add(strings.ReplaceAll(g, "*", ""))
				if strings.HasSuffix(g, "*") && len(heads) < maxJoined {
					heads = append(heads, strings.ReplaceAll(g, "*", ""))
				}
				if strings.HasPrefix(g, "*") && len(tails) < maxJoined {
					tails = append(tails, strings.ReplaceAll(g, "*", ""))
				}
			}
		}
		for _, h := range heads {
			for _, t := range tails {
				add(h + t)
			}
		}
		if other {
			out = append(out, "other") // of the rules that watch all
		}
		return out
	}
	var out []seriesKey
	sources := texts(func(r *rule) []string { return r.sources })
	for _, symbol := range texts(func(r *rule) []string { return r.symbols }) {
		for _, source := range sources {
			if len(out) < most {
				out = append(out, seriesKey{symbol, source})
			}
		}
	}
	return out
}

// Upper bounds of the parts of the binary form that are no slots.
const (
	markBytes      = 1 + 5 + 10 + 10
	slotHeadBytes  = 8 + 3
	ruleStateBytes = 8 + 8 + 1 + 3*10
)

func (p *Program) footprint() Footprint {
	f := Footprint{Bytes: 1 + 3*2 + markBytes*(4+len(p.bars)) + ruleStateBytes*len(p.rules), Timed: p.timed}
	for _, r := range p.rules {
		f.Rules = append(f.Rules, r.name)
	}
	for i := range p.slots {
		f.Bytes += slotHeadBytes + p.slots[i].bytes
	}
	for k := range p.streams {
		for _, i := range p.streams[k].functions {
			spec := &p.slots[i]
			f.Slots = append(f.Slots, SlotInfo{Text: spec.def.text, On: p.streams[k].text(), WarmUp: spec.def.warmup(), Bytes: slotHeadBytes + spec.bytes})
		}
	}
	f.WriteUnits = (f.Bytes + deliveryBytes + writeUnit - 1) / writeUnit
	return f
}
