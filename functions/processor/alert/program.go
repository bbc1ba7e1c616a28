package alert

import (
	"slices"
	"strconv"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// Program is what is evaluated for a series: its rules by the kind of evaluation they watch, and the slots in which
// their history is kept. It is immutable and safe for concurrent use; the states are not.
type Program struct {
	options Options
	rules   []*rule
	byName  map[uint64]int // indices of rules, by the hash of their name
	bySlot  map[uint64]int // indices of slots, by their hash
	slots   []slotSpec
	streams []stream

	functions, words, rests int // how many a state has: slots that are functions, and numbers that those keep

	// Indices of streams; -1 = no rule watches it.
	trade, quote, status int
	bars, built          []int // a vendor's bars, bars built from trades

	// Of each rule: its stream (-1 of a silence), its session (-1 = none), and where a state's values hold its slots.
	streamOf, sessionOf []int
	locals              [][]int

	sessions []*session
	holds    []int // rules whose "for" ends by a timer
	silent   []int // silence rules
	silence  int   // the slot of the newest event, -1 = no silence rules
	timed    bool  // a state can have timers

	// marked are the kinds of which every event leaves a mark; see Step.
	marked [market.Clock]bool
}

// watched is a kind of evaluation.
type watched struct {
	on       market.Kind
	interval time.Duration // of bars
	built    bool          // bars are built from trades
}

// text is part of the hashes of slots: it never changes.
func (w watched) text() string {
	text := kindNames[w.on]
	if w.on == market.Bar {
		text += " " + intervalText(w.interval)
		if w.built {
			text += " from trades"
		}
	}
	return text
}

// stream is a kind of evaluation with all that runs at one, in this order: gates, functions, rules.
type stream struct {
	watched
	source    int // the slot of what is evaluated: the book, the bars' builder or starts; -1 of trades and status
	gates     []int
	functions []int // slots, each behind those that it reads
	rules     []int
	steps     []step  // as functions
	checks    []check // as rules
	last      int     // the slot of the last evaluation, -1 = no rule of the stream has a timer
}

// step is a function of a stream with all that it needs to step.
type step struct {
	*placed
	slot, function int // where the state's values and functions hold it
	gate           int // the slot of the gate that resets or shuts it, -1 = none
	args           [maxArguments]argument
	count          int   // of args
	local          []int // where the values hold the slots of the rule that wrote them
	rare           bool  // see stepRare
}

// check is what most evaluations need of a rule.
type check struct {
	rule      int
	when      func(*eval) bool
	expires   int64
	inSession bool  // the rule has a session
	local     []int // where the values hold the rule's slots
}

// slotSpec declares a slot of a program. States of other rule sets that have a slot of the same definition share its
// hash, so that an edit of the rules keeps every slot that did not change.
type slotSpec struct {
	hash  uint64
	bytes int         // upper bound of the binary form
	make  func() slot // nil of functions

	session int   // of a day's gate: its session; else -1
	gap     int64 // of a gap's gate: the longest silence

	// Of a function:
	def      *slotDef
	placed   *placed
	function int // where the state's functions hold it
}

func newProgram(rules []*rule, o Options) *Program {
	p := &Program{options: o, rules: rules, byName: make(map[uint64]int, len(rules)), bySlot: map[uint64]int{}, trade: -1, quote: -1, status: -1, silence: -1}
	add := func(spec slotSpec) (i int, isNew bool) {
		i, ok := p.bySlot[spec.hash]
		if !ok {
			i = len(p.slots)
			p.bySlot[spec.hash] = i
			p.slots = append(p.slots, spec)
		}
		return i, !ok
	}
	for i, r := range rules {
		p.byName[r.nameHash] = i
		p.sessionOf = append(p.sessionOf, p.session(r.session))
		if r.on == onSilence {
			p.silence, _ = add(slotSpec{hash: hash("silence"), session: -1, bytes: 11, make: func() slot { return new(instant) }})
			p.silent = append(p.silent, i)
			p.streamOf, p.locals = append(p.streamOf, -1), append(p.locals, nil)
			continue
		}
		k := slices.IndexFunc(p.streams, func(st stream) bool { return st.watched == r.stream() })
		if k < 0 {
			k = len(p.streams)
			p.streams = append(p.streams, stream{watched: r.stream(), source: -1, last: -1})
			if spec := p.sourceOf(k); spec.make != nil {
				p.streams[k].source, _ = add(spec)
			}
		}
		st := &p.streams[k]
		st.rules, p.streamOf = append(st.rules, i), append(p.streamOf, k)
		if r.hold > 0 && r.on != market.Bar {
			p.holds = append(p.holds, i)
			st.last, _ = add(slotSpec{hash: hash("last", st.text()), session: -1, make: func() slot { return newLast(p, k) }})
		}
		local := make([]int, len(r.slots))
		for n := range r.slots {
			d := &r.slots[n]
			gate, isNew := -1, false
			switch {
			case d.restarts:
				session := r.daySession()
				gate, isNew = add(slotSpec{hash: hash("day", st.text(), session.text), session: p.session(session), bytes: 11, make: func() slot { return new(instant) }})
			case r.maxGap > 0:
				gate, isNew = add(slotSpec{hash: hash("gap", st.text(), strconv.FormatInt(r.maxGap, 10)), session: -1, gap: r.maxGap, bytes: 11, make: func() slot { return new(instant) }})
			}
			if isNew {
				st.gates = append(st.gates, gate)
			}
			at := &placed{definition: d.definition, word: p.words, rest: p.rests}
			local[n], isNew = add(slotSpec{hash: d.hash, session: -1, bytes: d.bytes(), def: d, placed: at, function: p.functions})
			if isNew {
				run := step{placed: at, slot: local[n], function: p.functions, gate: gate, count: len(d.args), local: local, rare: gate >= 0 || len(d.args) > 2}
				copy(run.args[:], d.args)
				for k := range d.args {
					switch a := &run.args[k]; {
					case a.expression != nil:
						run.rare = true
					case a.number < 0:
						a.slot = local[a.slot]
					}
				}
				st.functions, st.steps = append(st.functions, local[n]), append(st.steps, run)
				p.functions++
				p.words += d.words
				p.rests += d.rests
			}
		}
		p.locals = append(p.locals, local)
		st.checks = append(st.checks, check{rule: i, when: r.when, expires: r.expires, inSession: r.session != nil, local: local})
	}
	for k := range p.streams {
		p.file(k)
	}
	p.timed = len(p.holds) > 0 || len(p.silent) > 0 || p.quote >= 0 || len(p.built) > 0
	if len(p.holds) > 0 || len(p.silent) > 0 {
		for k := range p.marked {
			p.marked[k] = true
		}
	}
	return p
}

// session is the index of a session in p.sessions, -1 of nil.
func (p *Program) session(s *session) int {
	if s == nil {
		return -1
	}
	for i := range p.sessions {
		if p.sessions[i].text == s.text {
			return i
		}
	}
	p.sessions = append(p.sessions, s)
	return len(p.sessions) - 1
}

// sourceOf declares what a stream's evaluations come from.
func (p *Program) sourceOf(k int) slotSpec {
	switch w := p.streams[k].watched; {
	case w.on == market.Quote:
		return slotSpec{hash: hash("quotes"), session: -1, bytes: bookBytes, make: func() slot { return new(book) }}
	case w.built:
		open := int(int64(p.options.Lateness)/int64(w.interval)) + 2
		return slotSpec{hash: hash("build", w.text()), session: -1, bytes: builderBytes + open*barBytes, make: func() slot { return new(builder) }}
	case w.on == market.Bar:
		return slotSpec{hash: hash("starts", w.text()), session: -1, bytes: 20, make: func() slot { return &starts{interval: w.interval} }}
	}
	return slotSpec{}
}

// file enters a complete stream where Step finds it.
func (p *Program) file(k int) {
	st := &p.streams[k]
	hasHistory := len(st.functions) > 0
	switch {
	case st.on == market.Trade:
		p.trade = k
		p.marked[market.Trade] = p.marked[market.Trade] || hasHistory
	case st.on == market.Quote:
		p.quote = k
	case st.on == market.Status:
		p.status = k
	case st.built:
		p.built = append(p.built, k)
		p.marked[market.Trade] = true
	default:
		p.bars = append(p.bars, k)
	}
	if st.last >= 0 {
		p.slots[st.last].bytes = newLast(p, k).bytes()
	}
}

// intervalText is the canonical form of an interval of bars, as in events.
func intervalText(d time.Duration) string {
	for _, u := range intervalUnits {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return d.String()
}

var intervalUnits = [...]struct {
	name string
	unit time.Duration
}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
