package alert

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// State is the engine's memory of one series. It belongs to the Program that made it and is not safe for concurrent use.
type State struct {
	program *Program
	changed bool
	touched bool        // of the step that runs, as x
	marks   []mark      // in the order in which the kinds appeared
	rules   []ruleState // as Program.rules

	// functions are the slots that are functions, in one piece of memory, as is what they keep.
	functions []memory
	store     store

	x eval

	slots   []slot // as Program.slots
	decoded []bool // as slots, while they are read
	spans   []span // as Program.sessions: that of the last time asked for
}

// mark is how far a kind of event has come. Every interval of bars is a kind of its own; clocks have no mark.
type mark struct {
	kind        market.Kind
	hasSequence bool
	interval    time.Duration
	time        int64 // the newest event time
	sequence    int64 // the last one applied
}

// maxMarks bounds the state against a feed with ever new bar intervals. Kinds beyond it are not marked.
const maxMarks = 32

// slot is one piece of a series' history: the quote book, and what functions over past events remember.
type slot interface {
	// append appends the binary form; decode is its inverse and returns an error for any other bytes.
	append(b []byte) []byte
	decode(b []byte) error
	// clear makes the slot as new.
	clear()
}

// NewState is the state of a series that was never seen.
func (p *Program) NewState() *State {
	s := &State{program: p, slots: make([]slot, len(p.slots)), rules: make([]ruleState, len(p.rules)),
		functions: make([]memory, p.functions), store: store{words: make([]float64, p.words), size: p.rests}, spans: make([]span, len(p.sessions)), decoded: make([]bool, len(p.slots))}
	s.x.values = make([]float64, len(p.slots))
	functions := make([]function, p.functions)
	for i := range p.slots {
		if spec := &p.slots[i]; spec.def == nil {
			s.slots[i] = spec.make()
		} else {
			functions[spec.function] = function{spec.placed, &s.functions[spec.function], &s.store}
			s.slots[i] = &functions[spec.function]
		}
	}
	s.Clear()
	return s
}

// Clear makes s the state of a series that was never seen.
func (s *State) Clear() {
	s.changed, s.marks = false, s.marks[:0]
	for _, slot := range s.slots {
		slot.clear()
	}
	clear(s.rules)
	s.x.numbers, s.x.texts = [numberCount]float64{}, [textCount]string{}
	for i := range s.x.values {
		s.x.values[i] = math.NaN()
	}
}

// Changed tells whether the state holds something since NewState or Decode that must be written.
func (s *State) Changed() bool { return s.changed }

func (s *State) book() *book { return s.slots[s.program.streams[s.program.quote].source].(*book) }

// span returns the span of a session of the program that contains t.
func (s *State) span(session int, t int64) *span {
	w := &s.spans[session]
	if !w.contains(t) {
		*w = s.program.sessions[session].at(t)
	}
	return w
}

// mark returns the mark of the event's kind, nil if it has none.
func (s *State) mark(e *market.Event) *mark {
	interval := time.Duration(0)
	if e.Kind == market.Bar {
		interval = e.Interval
	}
	return s.markOf(e.Kind, interval)
}

func (s *State) markOf(kind market.Kind, interval time.Duration) *mark {
	for i := range s.marks {
		if m := &s.marks[i]; m.kind == kind && m.interval == interval {
			return m
		}
	}
	return nil
}

// advance moves the mark of the event's kind over an applied event.
func (s *State) advance(e *market.Event, t int64) {
	m := s.mark(e)
	if m == nil {
		if len(s.marks) >= maxMarks {
			return
		}
		s.marks = append(s.marks, mark{kind: e.Kind, time: t})
		m = &s.marks[len(s.marks)-1]
		if e.Kind == market.Bar {
			m.interval = e.Interval
		}
		s.changed = true
	}
	before := *m
	m.time = max(m.time, t)
	if e.HasSeq {
		m.hasSequence, m.sequence = true, e.Sequence
	}
	s.changed = s.changed || *m != before
}

// book holds the sides of a series' quotes and the last timestamp's evaluation while it waits for its last quote.
type book struct {
	bid, ask, bidSize, askSize market.Decimal // sizes: 0 = unknown
	hasBid, hasAsk             bool

	waits       bool
	hasSequence bool
	time        int64 // of the last quote applied, as all below
	sequence    int64
	id, venue   []byte
}

func (b *book) seen() bool { return b.hasBid || b.hasAsk }

func (b *book) apply(e *market.Event) {
	if e.HasBid {
		b.hasBid, b.bid, b.bidSize = true, e.Bid, e.BidSize
	}
	if e.HasAsk {
		b.hasAsk, b.ask, b.askSize = true, e.Ask, e.AskSize
	}
	b.waits, b.time, b.sequence, b.hasSequence = true, e.Time, e.Sequence, e.HasSeq
	// The event's strings belong to its message.
	b.id, b.venue = append(b.id[:0], e.ID...), append(b.venue[:0], e.Venue...)
}

// price is the price of a quote's alert: the mid, or the one side there is.
func (b *book) price() market.Decimal {
	switch {
	case b.hasBid && b.hasAsk:
		return b.bid + (b.ask-b.bid)/2
	case b.hasBid:
		return b.bid
	}
	return b.ask
}

const (
	bookHasBid = 1 << iota
	bookHasAsk
	bookWaits
	bookHasSequence
)

const bookBytes = 1 + 6*10 + 2*(2+maxText)

func flags(set ...bool) (f byte) {
	for i, on := range set {
		if on {
			f |= 1 << i
		}
	}
	return f
}

func (b *book) clear() { *b = book{id: b.id[:0], venue: b.venue[:0]} }

func (b *book) append(dst []byte) []byte {
	dst = append(dst, flags(b.hasBid, b.hasAsk, b.waits, b.hasSequence))
	for _, d := range []market.Decimal{b.bid, b.ask, b.bidSize, b.askSize} {
		dst = binary.AppendVarint(dst, int64(d))
	}
	dst = binary.AppendVarint(dst, b.time)
	dst = binary.AppendVarint(dst, b.sequence)
	dst = appendText(dst, b.id)
	return appendText(dst, b.venue)
}

func (b *book) decode(src []byte) error {
	r := reader{b: src}
	f := r.byte()
	for _, d := range []*market.Decimal{&b.bid, &b.ask, &b.bidSize, &b.askSize} {
		*d = market.Decimal(r.varint())
	}
	b.time, b.sequence = r.varint(), r.varint()
	b.id, b.venue = append(b.id[:0], r.bytes()...), append(b.venue[:0], r.bytes()...)
	if r.bad = r.bad || f >= bookHasSequence<<1; r.end() != nil {
		return errCorrupt
	}
	b.hasBid, b.hasAsk, b.waits, b.hasSequence = f&bookHasBid != 0, f&bookHasAsk != 0, f&bookWaits != 0, f&bookHasSequence != 0
	return nil
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// stateFormat is the version of the binary form. It grows with every change that older code would misread.
const stateFormat = 1

// The byte that heads a rule's state holds its phase and, in one bit, whether it ever fired.
const (
	ruleHasFired  = 1 << 4
	rulePhaseMask = ruleHasFired - 1
)

var errCorrupt = errors.New("truncated or corrupt")

// Append appends the state's binary form: a format byte, then marks, slots and rule states, each with their number.
// Slots and rule states carry the hash of their definition. Rules that were never true have no entry.
func (s *State) Append(b []byte) []byte {
	b = append(b, stateFormat)
	b = binary.AppendUvarint(b, uint64(len(s.marks)))
	for i := range s.marks {
		m := &s.marks[i]
		b = append(b, byte(m.kind)<<1|flags(m.hasSequence))
		b = binary.AppendUvarint(b, uint64(m.interval))
		b = binary.AppendVarint(b, m.time)
		b = binary.AppendVarint(b, m.sequence)
	}
	b = binary.AppendUvarint(b, uint64(len(s.slots)))
	for i := range s.slots {
		b = binary.BigEndian.AppendUint64(b, s.program.slots[i].hash)
		// The length is known afterwards, and goes in front.
		b = append(b, 0)
		from := len(b)
		b = s.slots[i].append(b)
		if n := len(b) - from; n < 1<<7 {
			b[from-1] = byte(n)
		} else {
			var length [binary.MaxVarintLen64]byte
			b = slices.Insert(b, from, length[1:binary.PutUvarint(length[:], uint64(n))]...)
			copy(b[from-1:], length[:1])
		}
	}
	n := 0
	for i := range s.rules {
		if s.rules[i] != (ruleState{}) {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for i := range s.rules {
		rs := &s.rules[i]
		if *rs == (ruleState{}) {
			continue
		}
		b = binary.BigEndian.AppendUint64(b, s.program.rules[i].nameHash)
		b = binary.BigEndian.AppendUint64(b, s.program.rules[i].editHash)
		b = append(b, byte(rs.phase)|flags(rs.hasFired)*ruleHasFired)
		b = binary.AppendVarint(b, rs.last)
		b = binary.AppendUvarint(b, rs.ordinal)
		b = binary.AppendVarint(b, rs.since)
	}
	return b
}

// Decode returns a new state with what State.Append wrote; see State.Decode. With an error there is no state.
func (p *Program) Decode(b []byte) (*State, error) {
	s := p.NewState()
	if err := s.Decode(b); err != nil {
		return nil, err
	}
	return s, nil
}

// Decode replaces all that s holds by what State.Append wrote, for any rule set, and never panics, whatever the bytes.
// It keeps none of them, and reuses the memory of s. No bytes are a new state. The error is ErrNewer for a state that newer
// code wrote (leave it alone), ErrOlder for one of a format that is no longer read (start with a new state, and count it), or
// another for a corrupt one; s then is a new state.
//
// A rule that was edited in what fires it (expr, reset, for, on ...) is armed again, but keeps its last firing time, so its cooldown holds. The
// states of rules and slots that the program does not have are dropped: while old and new code run side by side, each
// forgets what only the other has, so a rule added by the new code may fire once more until the old code is gone.
func (s *State) Decode(b []byte) error {
	s.Clear()
	err := s.read(b)
	if err != nil {
		s.Clear()
	}
	return err
}

// read is Decode into a new state.
func (s *State) read(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	switch format := b[0]; {
	case format > stateFormat:
		return fmt.Errorf("state: format %d, this code reads %d: %w", format, stateFormat, ErrNewer)
	case format < stateFormat:
		return fmt.Errorf("state: format %d, this code reads %d: %w", format, stateFormat, ErrOlder)
	}
	p := s.program
	r := reader{b: b[1:]}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		head := r.byte()
		m := mark{kind: market.Kind(head >> 1), hasSequence: head&1 != 0, interval: time.Duration(r.uvarint())}
		m.time, m.sequence = r.varint(), r.varint()
		if m.kind >= market.Clock || m.interval < 0 || m.interval > 0 != (m.kind == market.Bar) || len(s.marks) >= maxMarks ||
			s.markOf(m.kind, m.interval) != nil {
			r.bad = true
		}
		if r.bad {
			break
		}
		s.marks = append(s.marks, m)
	}
	clear(s.decoded)
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		h, body := r.uint64(), r.bytes()
		i, ok := p.bySlot[h]
		if !ok {
			continue
		}
		if s.decoded[i] {
			return fmt.Errorf("state: slot %d twice: %w", i, errCorrupt)
		}
		s.decoded[i] = true
		if err := s.slots[i].decode(body); err != nil {
			return fmt.Errorf("state: slot %d: %w", i, err)
		}
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		name, edit, head := r.uint64(), r.uint64(), r.byte()
		rs := ruleState{phase: phase(head & rulePhaseMask), hasFired: head&ruleHasFired != 0}
		rs.last, rs.ordinal, rs.since = r.varint(), r.uvarint(), r.varint()
		if rs.phase >= phases || head >= ruleHasFired<<1 || rs.phase == fired && !rs.hasFired {
			r.bad = true
			break
		}
		if i, ok := p.byName[name]; ok {
			if edit != p.rules[i].editHash {
				rs.phase, rs.since = armed, 0
			}
			s.rules[i] = rs
		}
	}
	if r.bad || len(r.b) > 0 {
		return fmt.Errorf("state: %w", errCorrupt)
	}
	return nil
}

// reader reads binary forms. After anything missing it is bad, empty, and reads zeros: a loop over a number of elements
// ends there, so that a corrupt number costs neither time nor memory.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.take(uint64(len(r.b)) + 1)
		return 0
	}
	r.take(uint64(n))
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }
