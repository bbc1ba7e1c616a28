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
	// Lateness is how far behind the newest event of its series and kind an event may be and still be applied.
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
	var watching []*rule
	set := make([]byte, (len(e.rules)+7)/8)
	for i, r := range e.rules {
		if r.watches(symbol, source) {
			watching = append(watching, r)
			set[i/8] |= 1 << (i % 8)
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.programs) >= maxCached {
		clear(e.programs)
		clear(e.bySet)
	}
	if len(watching) > 0 {
		if p = e.bySet[string(set)]; p == nil {
			p = newProgram(watching, e.options)
			e.bySet[string(set)] = p
		}
	}
	e.programs[seriesKey{strings.Clone(symbol), strings.Clone(source)}] = p
	return p
}

// Program is what is evaluated for a series: its rules by the kind of event they watch, and the slots in which their
// history is kept. It is immutable and safe for concurrent use; the states are not.
type Program struct {
	options Options
	rules   []*rule
	byName  map[uint64]int          // indices of rules, by the hash of their name
	on      [market.Clock + 1][]int // indices of rules, by kind
	slots   []slotSpec
	book    int // index of the quote book's slot, -1 = no rule watches quotes
}

func newProgram(rules []*rule, o Options) *Program {
	p := &Program{options: o, rules: rules, byName: make(map[uint64]int, len(rules)), book: -1}
	for i, r := range rules {
		p.byName[r.nameHash] = i
		p.on[r.on] = append(p.on[r.on], i)
	}
	if len(p.on[market.Quote]) > 0 {
		p.book = len(p.slots)
		p.slots = append(p.slots, slotSpec{hash("quotes"), func() slot { return new(book) }})
	}
	return p
}

// Step applies one event of the state's series, which must come from NewState or Decode of this program, and appends
// the alerts that fire, in the order of their time and of the rules in the file. Repeated and late events change
// nothing. Step is deterministic, keeps no string of the event, and allocates nothing but alerts.
//
// # Marks
//
// A mark is the newest event time and the last sequence of a kind, by which repetitions and late events are recognised.
// In a series without quotes, or without quote rules, an event that changes no rule's state leaves no mark, so the
// state stays byte-identical and costs no write. Nothing is lost by that: all that such an event can meet is the rules'
// states, and from the same states it does again nothing. If they have changed since, an event of its kind has changed
// them and left a mark, by whose sequence it is recognised (in a feed whose disorder stays within the lateness). The
// state is therefore a function of the events alone, however they are batched.
//
// Once a quote rule has seen a quote, an event of any kind can run the evaluation that the quotes wait for, so events of
// all kinds leave marks. One repetition stays invisible: of an event that came before the series' first quote, if it is
// repeated between two later quotes of one timestamp. It evaluates the first of them early.
func (p *Program) Step(s *State, e *market.Event, out []Alert) ([]Alert, Outcome) {
	t := e.EventTime()
	if m := s.mark(e); m != nil {
		if o := p.judge(m, e, t); o != Applied {
			return out, o
		}
	}
	s.touched = false
	out = p.runTimers(s, e, t, out)
	switch e.Kind {
	case market.Trade:
		if len(p.on[market.Trade]) > 0 && !e.Ineligible {
			s.x.trade(e)
			out = p.evaluate(s, market.Trade, &origin{e.Symbol, e.Source, e.ID, e.Venue, t, e.Sequence, e.HasSeq, e.Price}, out)
		}
	case market.Quote:
		if p.book >= 0 {
			s.book().apply(e)
			s.touched = true
		}
	}
	if e.Kind != market.Clock && (s.touched || p.book >= 0 && s.book().seen()) {
		s.advance(e, t)
	}
	s.changed = s.changed || s.touched
	return out, Applied
}

// judge tells whether an event repeats what its kind's mark has seen, or is late. Repetition comes first: a repeated
// event is usually late as well.
func (p *Program) judge(m *mark, e *market.Event, t int64) Outcome {
	late := int64(p.options.Lateness)
	restarted := beyond(t, m.time, late)
	switch {
	case p.options.Ordered && m.hasSequence && e.HasSeq && e.Sequence <= m.sequence && !restarted:
		return Repeated
	case beyond(m.time, t, late):
		return Late
	}
	return Applied
}

// runTimers runs what waits for a time before t, the event's time, in time order. What waits is the evaluation of the
// last timestamp's quotes: a quote of another timestamp ends it too, even of an older one.
func (p *Program) runTimers(s *State, e *market.Event, t int64, out []Alert) []Alert {
	if p.book < 0 {
		return out
	}
	b := s.book()
	if !b.waits || t == b.time || t < b.time && e.Kind != market.Quote {
		return out
	}
	b.waits, s.touched = false, true
	s.x.quote(b)
	return p.evaluate(s, market.Quote, &origin{e.Symbol, e.Source, b.id, b.venue, b.time, b.sequence, b.hasSequence, b.price()}, out)
}

// origin is the event that an alert names.
type origin struct {
	symbol, source, id, venue string
	time, sequence            int64
	hasSequence               bool
	price                     market.Decimal
}

// evaluate steps the rules of a kind over the values in s.x.
func (p *Program) evaluate(s *State, kind market.Kind, at *origin, out []Alert) []Alert {
	for _, i := range p.on[kind] {
		fires, changed := p.rules[i].evaluate(&s.rules[i], &s.x, at.time)
		if fires {
			out = append(out, p.rules[i].alert(&s.rules[i], &s.x, at))
		}
		s.touched = s.touched || changed
	}
	return out
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
