package alert

import (
	"math"
	"strings"
	"sync"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// Options are the same for every state of a deployment.
type Options struct {
	// Lateness is how far behind the newest event of its series and kind an event may be and still be applied, and how
	// long after its end a bar that is built from trades waits for stragglers.
	Lateness time.Duration
	// Ordered: the delivery keeps a series' order, so that an event whose sequence is not newer is a repetition.
	Ordered bool
}

// Engine finds the rules of a series. It is safe for concurrent use.
type Engine struct {
	rules   []*rule
	options Options

	mu       sync.RWMutex
	programs map[seriesKey]*Program // nil = no rule watches the series
	bySet    map[string]*Program    // by the set of rules, one bit each
}

type seriesKey struct{ symbol, source string }

// maxCached bounds the cache of programs: when it is full it starts anew, which costs matching globs again.
const maxCached = 1 << 16

// Engine returns an engine over the rules.
func (r *Rules) Engine(o Options) *Engine {
	return &Engine{rules: r.rules, options: o, programs: map[seriesKey]*Program{}, bySet: map[string]*Program{}}
}

// Program returns the rules that watch a series, nil if none does. Series watched by the same rules share a program.
// The strings are not kept.
func (e *Engine) Program(symbol, source string) *Program {
	key := seriesKey{symbol, source}
	e.mu.RLock()
	p, ok := e.programs[key]
	e.mu.RUnlock()
	if ok {
		return p
	}
	watching, set := watchers(e.rules, symbol, source)
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.programs) >= maxCached {
		clear(e.programs)
		clear(e.bySet)
	}
	if len(watching) > 0 {
		if p = e.bySet[set]; p == nil {
			p = newProgram(watching, e.options)
			e.bySet[set] = p
		}
	}
	e.programs[seriesKey{strings.Clone(symbol), strings.Clone(source)}] = p
	return p
}

// watchers are the rules that watch a series, and the same as a set, one bit each.
func watchers(rules []*rule, symbol, source string) (watching []*rule, set string) {
	bits := make([]byte, (len(rules)+7)/8)
	for i, r := range rules {
		if r.watches(symbol, source) {
			watching = append(watching, r)
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return watching, string(bits)
}

// Step applies one event of the state's series, which must come from NewState or Decode of this program, and appends
// the alerts that fire, in the order of their time and of the rules in the file. Repeated and late events change
// nothing. Step is deterministic, keeps no string of the event, and allocates nothing but alerts and, once for a state,
// what windows need for numbers that are no decimals.
//
// # Timers
//
// What waits for a time (the evaluation of a timestamp's quotes, the close of a bar built from trades, the end of a "for"
// and of a silence) is found in the state itself. Before an event of time t is applied, every timer <= t runs, in the
// order of time; an alert has the time of its timer. So a clock event makes alerts come sooner and changes nothing else,
// as long as it does not overtake events. Bars wait for the time of trades and clocks only: other kinds may run ahead.
//
// # Marks
//
// A mark is the newest event time and the last sequence of a kind, by which repetitions and late events are recognised.
// Where rules look at single events (no history, no timers, no quotes), an event that changes no rule's state leaves no
// mark, so the state stays byte-identical and costs no write. Nothing is lost by that: all that such an event can meet
// is the rules' states, and from the same states it does again nothing. If they have changed since, an event of its kind
// has changed them and left a mark, by whose sequence it is recognised (in a feed whose disorder stays within the
// lateness). The state is therefore a function of the events alone, however they are batched.
//
// Events that feed a history (windows, bars, days) leave marks always, and so do events of all kinds where a "for" or a
// silence waits for time, and once a quote rule has seen a quote: there, an event of any kind can run a timer. One
// repetition stays invisible: of an event that came before the series' first quote, if it is repeated between two later
// quotes of one timestamp. It evaluates the first of them early.
func (p *Program) Step(s *State, e *market.Event, out []Alert) ([]Alert, Outcome) {
	t := e.EventTime()
	bars := -1
	if e.Kind == market.Bar {
		if bars = p.barStream(e.Interval); bars >= 0 {
			switch applied := s.slots[p.streams[bars].source].(*starts); {
			case applied.seen(e.Time):
				return out, Repeated // a revision, if it is not the same bar once more
			case applied.forgotten(e.Time):
				return out, Late
			}
		}
	}
	if m := s.mark(e); m != nil {
		if o := p.judge(m, e, t); o != Applied {
			return out, o
		}
	}
	s.touched = false
	out = p.runTimers(s, e, t, out)
	if p.silence >= 0 && e.Kind != market.Clock {
		p.interrupt(s, t)
	}
	// Field by field: a literal is made aside and copied, and the copy waits for it.
	var at origin
	at.symbol, at.source, at.id, at.venue = e.Symbol, e.Source, e.ID, e.Venue
	at.time, at.start, at.sequence, at.hasSequence = t, e.Time, e.Sequence, e.HasSeq
	switch e.Kind {
	case market.Trade:
		for _, i := range p.built {
			s.slots[p.streams[i].source].(*builder).add(e, p.streams[i].interval, int64(p.options.Lateness))
			s.touched = true
		}
		if p.trade >= 0 && !e.Ineligible {
			s.x.trade(e)
			at.price = e.Price
			out = p.evaluate(s, p.trade, &at, out)
			s.x.texts[iVenue] = ""
		}
	case market.Quote:
		if p.quote >= 0 {
			s.slots[p.streams[p.quote].source].(*book).apply(e)
			s.touched = true
		}
	case market.Bar:
		if bars >= 0 {
			s.slots[p.streams[bars].source].(*starts).apply(e.Time)
			s.touched = true
			s.x.bar(e)
			at.price = e.Close
			out = p.evaluate(s, bars, &at, out)
		}
	case market.Status:
		if p.status >= 0 {
			s.x.texts[iState], s.x.texts[iReason] = e.State, e.Reason
			out = p.evaluate(s, p.status, &at, out)
			s.x.texts[iState], s.x.texts[iReason] = "", ""
		}
	case market.Clock:
		for _, i := range p.built {
			if s.slots[p.streams[i].source].(*builder).reach(t) {
				s.touched = true
			}
		}
	}
	if e.Kind != market.Clock && (s.touched || p.marked[e.Kind] || p.quote >= 0 && s.book().seen()) {
		s.advance(e, t)
	}
	s.changed = s.changed || s.touched
	return out, Applied
}

// barStream is the stream of a vendor's bars of an interval, -1 = no rule watches it.
func (p *Program) barStream(interval time.Duration) int {
	for _, i := range p.bars {
		if p.streams[i].interval == interval {
			return i
		}
	}
	return -1
}

// judge tells whether an event is late, or repeats what its kind's mark has seen. Lateness comes first: what is redriven
// after others passed was perhaps never applied, and must be visible. True repetitions of a delivery have been skipped
// by the message's identity.
func (p *Program) judge(m *mark, e *market.Event, t int64) Outcome {
	late := int64(p.options.Lateness)
	restarted := beyond(t, m.time, late)
	switch {
	case beyond(m.time, t, late):
		return Late
	case p.options.Ordered && m.hasSequence && e.HasSeq && e.Sequence <= m.sequence && !restarted:
		return Repeated
	}
	return Applied
}

// interrupt ends a silence: an event has come.
func (p *Program) interrupt(s *State, t int64) {
	newest := s.slots[p.silence].(*instant)
	if newest.known && t <= newest.at {
		return
	}
	newest.known, newest.at, s.touched = true, t, true
	for _, i := range p.silent {
		if s.rules[i].phase == fired {
			s.rules[i].move(released, t)
		}
	}
}

// timer is something that runs at a time.
type timer struct {
	at    int64
	kind  timerKind
	index int // of the stream or rule
}

type timerKind uint8

const (
	noTimer  timerKind = iota
	quotes             // the evaluation of a timestamp's quotes
	barClose           // of a bar built from trades
	holdEnd            // of a rule's "for"
	silenceEnd
)

// next is the earliest timer of a state up to a time (later ones may be told as well), of those at one time the first as
// they are listed here.
func (p *Program) next(s *State, limit int64, withBars bool) (first timer) {
	add := func(at int64, kind timerKind, index int) {
		if first.kind == noTimer || at < first.at {
			first = timer{at, kind, index}
		}
	}
	if p.quote >= 0 {
		if b := s.book(); b.waits {
			add(plus(b.time, 1), quotes, p.quote)
		}
	}
	if withBars {
		for _, i := range p.built {
			if b := s.slots[p.streams[i].source].(*builder); len(b.bars) > 0 {
				add(plus(plus(b.bars[0].start, int64(p.streams[i].interval)), int64(p.options.Lateness)), barClose, i)
			}
		}
	}
	for _, i := range p.holds {
		if at, ok := p.rules[i].held(&s.rules[i]); ok {
			add(at, holdEnd, i)
		}
	}
	for _, i := range p.silent {
		if at, ok := p.silenceOver(s, i, limit); ok {
			add(at, silenceEnd, i)
		}
	}
	return first
}

// silenceOver is the time at which a silence rule fires unless an event comes; false where that is beyond the limit for
// sure, which is found without a look at the session.
func (p *Program) silenceOver(s *State, i int, limit int64) (int64, bool) {
	r, rs, newest := p.rules[i], &s.rules[i], s.slots[p.silence].(*instant)
	if !newest.known || rs.phase == fired {
		return 0, false
	}
	at := plus(newest.at, r.after)
	if rs.hasFired {
		at = max(at, plus(rs.last, r.cooldown))
	}
	if at > limit {
		return 0, false
	}
	ok := true
	if r.session != nil {
		at, ok = r.session.silentFor(at, r.after)
	}
	// An event that a clock overtook may leave the silence that was told where it is: it is not told again.
	return at, ok && at < r.expires && !(rs.hasFired && at <= rs.last)
}

// Due returns the earliest event time for which the state's timers want a clock event; false where nothing waits.
func (s *State) Due() (eventTime int64, ok bool) {
	first := s.program.next(s, math.MaxInt64, true)
	return first.at, first.kind != noTimer
}

// runTimers runs what waits for a time up to t, the event's time, in the order of time. A quote of another timestamp ends
// the wait for the last timestamp's quotes, even an older one.
func (p *Program) runTimers(s *State, e *market.Event, t int64, out []Alert) []Alert {
	if !p.timed {
		return out
	}
	if p.quote >= 0 && e.Kind == market.Quote {
		if b := s.book(); b.waits && t < b.time {
			t = plus(b.time, 1)
		}
	}
	withBars := e.Kind == market.Trade || e.Kind == market.Clock
	for {
		next := p.next(s, t, withBars)
		if next.kind == noTimer || next.at > t {
			return out
		}
		s.touched = true
		switch next.kind {
		case quotes:
			b := s.book()
			b.waits = false
			s.x.quote(b)
			at := origin{symbol: e.Symbol, source: e.Source, quoted: b, time: b.time, start: b.time, sequence: b.sequence, hasSequence: b.hasSequence, price: b.price()}
			out = p.evaluate(s, next.index, &at, out)
		case barClose:
			out = p.closeBar(s, next.index, e, out)
		case holdEnd:
			r, rs := p.rules[next.index], &s.rules[next.index]
			sig := ready
			if !p.open(s, next.index, next.at, next.at) || p.hasLeft(s, next.index, next.at) {
				sig = left
			}
			l := s.slots[p.streams[p.streamOf[next.index]].last].(*last)
			if fires, _ := rs.move(sig, next.at); fires {
				at := l.load(&s.x, e, next.at)
				s.x.local = p.locals[next.index]
				out = append(out, r.alert(rs, &s.x, &at))
			}
			if !p.waits(s, p.streamOf[next.index]) {
				l.forget()
			}
		case silenceEnd:
			r, rs := p.rules[next.index], &s.rules[next.index]
			rs.move(ready, next.at)
			s.x.numbers[iSilence] = float64(next.at-s.slots[p.silence].(*instant).at) / float64(time.Second)
			out = append(out, r.alert(rs, &s.x, &origin{symbol: e.Symbol, source: e.Source, time: next.at, start: next.at}))
		}
	}
}

// closeBar evaluates the oldest open bar of a stream. Its alert names the bar's last trade by sequence; whichever event
// made it close is of no interest.
func (p *Program) closeBar(s *State, stream int, e *market.Event, out []Alert) []Alert {
	b := s.slots[p.streams[stream].source].(*builder)
	o := b.bars[0]
	b.bars = b.bars[:copy(b.bars, b.bars[1:])]
	if o.trades == 0 {
		return out
	}
	o.values(&s.x)
	end := plus(o.start, int64(p.streams[stream].interval))
	return p.evaluate(s, stream, &origin{symbol: e.Symbol, source: e.Source, time: end, start: o.start, sequence: o.last.sequence, hasSequence: o.hasSequence, price: o.close}, out)
}

// origin is the event that an alert names.
type origin struct {
	symbol, source, id, venue string
	quoted                    *book // holds id and venue, nil = they are above
	time                      int64
	start                     int64 // of a bar its start, by which it belongs to a session; else the time
	sequence                  int64
	hasSequence               bool
	price                     market.Decimal
}

// evaluate steps the slots of a stream over the values in s.x, then its rules.
func (p *Program) evaluate(s *State, stream int, at *origin, out []Alert) []Alert {
	st, x := &p.streams[stream], &s.x
	for _, g := range st.gates {
		gate, spec := s.slots[g].(*instant), &p.slots[g]
		if spec.session >= 0 {
			x.values[g] = gate.day(s.span(spec.session, at.start))
		} else {
			x.values[g] = gate.gap(at, spec.gap)
		}
	}
	s.step(st)
	s.touched = s.touched || len(st.functions) > 0
	evaluated := false
	for k := s.undecided(st, 0, at.time); k < len(st.checks); k = s.undecided(st, k+1, at.time) {
		var known bool
		if out, known = p.decide(s, &st.checks[k], at, out); known {
			evaluated = true
		}
	}
	if st.last >= 0 {
		// An evaluation that an unknown value suspended is not the one that an alert will tell of.
		if l := s.slots[st.last].(*last); p.waits(s, stream) {
			if evaluated {
				l.save(x, at)
				s.touched = true
			}
		} else if l.forget() {
			s.touched = true
		}
	}
	return out
}

// step steps the functions of a stream over the values in s.x.
func (s *State) step(st *stream) {
	steps, values, memories := st.steps, s.x.values, s.functions
	for i := range steps {
		run := &steps[i]
		if run.rare {
			s.stepRare(run)
			continue
		}
		f := function{run.placed, &memories[run.function], &s.store}
		v := run.args[0].plain(&s.x)
		switch run.op {
		case opCrossover, opCrossunder:
			v = f.cross(v, run.args[1].plain(&s.x))
		case opEMA:
			v = f.average(v)
		case opSum, opSMA, opStdev, opZScore, opUpper, opLower:
			v = f.window(v)
		default:
			v = f.step1(v)
		}
		values[run.slot] = v
	}
}

// stepRare is step of a function with a gate, with expressions among its arguments, or with more than two of them.
func (s *State) stepRare(run *step) {
	x := &s.x
	f := function{run.placed, &s.functions[run.function], &s.store}
	if run.gate >= 0 {
		switch x.values[run.gate] {
		case gateFirst:
			f.reset()
		case gateShut:
			x.values[run.slot] = math.NaN()
			return
		}
	}
	x.local = run.local
	for k := range run.args[:run.count] {
		x.args[k] = run.args[k].value(x)
	}
	x.values[run.slot] = f.step(x.args[:run.count])
}

// undecided is the next rule of a stream that an evaluation may move; by far the most are not true, or not known, and
// nothing changes.
func (s *State) undecided(st *stream, k int, t int64) int {
	for ; k < len(st.checks); k++ {
		c := &st.checks[k]
		if s.rules[c.rule].phase != armed || c.inSession || t >= c.expires {
			break
		}
		if s.x.local = c.local; c.when(&s.x) {
			break
		}
	}
	return k
}

// decide steps the machine of a rule, and tells whether it waits on an evaluation in which all was known.
func (p *Program) decide(s *State, c *check, at *origin, out []Alert) ([]Alert, bool) {
	i, x := c.rule, &s.x
	r, rs := p.rules[i], &s.rules[i]
	open := p.open(s, i, at.start, at.time)
	if rs.phase == waiting && (!open || p.hasLeft(s, i, at.start)) {
		rs.move(left, at.time)
		s.touched = true
	}
	if !open {
		return out, false
	}
	x.local = c.local
	fires, changed := r.evaluate(rs, x, at.time)
	if fires {
		out = append(out, r.alert(rs, x, at))
	}
	s.touched = s.touched || changed
	return out, rs.phase == waiting && !x.undefined
}

// open tells whether rule i is evaluated at a time: start is what belongs to the session, t what expires compares.
func (p *Program) open(s *State, i int, start, t int64) bool {
	return t < p.rules[i].expires && (p.sessionOf[i] < 0 || s.span(p.sessionOf[i], start).inside)
}

// hasLeft tells whether rule i began to wait in another session than that of start.
func (p *Program) hasLeft(s *State, i int, start int64) bool {
	since := s.rules[i].since
	if p.rules[i].on == market.Bar {
		since -= int64(p.rules[i].interval)
	}
	return p.sessionOf[i] >= 0 && !s.span(p.sessionOf[i], start).contains(since)
}

// waits tells whether a rule of the stream waits for the end of its "for".
func (p *Program) waits(s *State, stream int) bool {
	for _, i := range p.streams[stream].rules {
		if s.rules[i].phase == waiting {
			return true
		}
	}
	return false
}

// trade sets the values of on: trade.
func (x *eval) trade(e *market.Event) {
	x.numbers[iPrice] = e.Price.Float()
	x.numbers[iSize] = known(e.Size)
	x.texts[iSide] = ""
	switch e.Side {
	case market.Buy:
		x.texts[iSide] = "buy"
	case market.Sell:
		x.texts[iSide] = "sell"
	}
	x.texts[iVenue] = e.Venue
}

// quote sets the values of on: quote. What needs a side that was never quoted is NaN.
func (x *eval) quote(b *book) {
	n := &x.numbers
	*n = [numberCount]float64{iBid: math.NaN(), iAsk: math.NaN(), iBidSize: known(b.bidSize), iAskSize: known(b.askSize),
		iMid: math.NaN(), iSpread: math.NaN(), iSpreadBPS: math.NaN()}
	if b.hasBid {
		n[iBid] = b.bid.Float()
	}
	if b.hasAsk {
		n[iAsk] = b.ask.Float()
	}
	if b.hasBid && b.hasAsk {
		// The exact sum fits an uint64; half of it may not be a Decimal.
		sum := float64(uint64(b.bid) + uint64(b.ask))
		n[iMid] = sum / (2 * float64(market.Unit))
		n[iSpread] = (b.ask - b.bid).Float()
		n[iSpreadBPS] = float64(b.ask-b.bid) / (sum / 2) * 1e4
	}
}

// known is a size as a number: 0 stands for one that was not sent.
func known(size market.Decimal) float64 {
	if size == 0 {
		return math.NaN()
	}
	return size.Float()
}
