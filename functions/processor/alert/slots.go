package alert

import (
	"encoding/binary"
	"math"

	"example.com/market-data-pipeline/functions/processor/market"
)

// slotDef is a call of a function over past values, as a rule writes it. Calls of equal text in rules of the same kind
// of evaluation share one slot of a series' state.
type slotDef struct {
	text string // canonical
	hash uint64
	definition
	args []argument
	// daily slots read a value of the day: they step inside the session only, and have no value outside. Those that
	// restart hold a value of the day themselves: they begin anew with each session, and max_gap does not touch them.
	daily, restarts bool
}

// argument is an argument of a function over past values: an expression, or one of the values that need none.
type argument struct {
	expression func(*eval) float64 // nil: a plain value
	number     int                 // the event's; -1: a slot's
	slot       int                 // of the rule; in a program where eval.values hold it
}

func (a *argument) value(x *eval) float64 {
	if a.expression != nil {
		return a.expression(x)
	}
	return a.plain(x)
}

// plain is the value of an argument that is no expression.
func (a *argument) plain(x *eval) float64 {
	if a.number >= 0 {
		return x.numbers[a.number]
	}
	return x.values[a.slot]
}

// dayValues are the names of the day's values.
var dayValues = [...]string{"day_open", "day_high", "day_low", "prev_close"}

// appendFloat writes one form for all NaNs, whose bits differ between processors.
func appendFloat(b []byte, v float64) []byte {
	if math.IsNaN(v) {
		v = math.NaN()
	}
	return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
}

// instant is a slot that remembers one number: where the last evaluation ended (of a gap's gate), the day of the last
// one (of a day's gate), the newest event (of silences).
type instant struct {
	known bool
	at    int64
}

func (i *instant) clear() { *i = instant{} }

func (i *instant) append(b []byte) []byte {
	return binary.AppendVarint(append(b, flags(i.known)), i.at)
}

func (i *instant) decode(b []byte) error {
	r := reader{b: b}
	f := r.byte()
	i.known, i.at = f != 0, r.varint()
	r.bad = r.bad || f > 1
	return r.end()
}

// What a gate's value says of the evaluation that runs.
const (
	gateShut  = iota // the day's gate: outside the session, or of a day that is over
	gateOpen         // nothing special
	gateFirst        // the day's gate: the first of its session; a gap's: the first after a gap
)

// gap steps the gate of a max_gap.
func (i *instant) gap(at *origin, most int64) float64 {
	first := i.known && beyond(at.start, i.at, most)
	if !i.known || at.time > i.at {
		i.known, i.at = true, at.time
	}
	if first {
		return gateFirst
	}
	return gateOpen
}

// day steps the gate of a session's days.
func (i *instant) day(w *span) float64 {
	switch {
	case !w.inside || i.known && w.day < i.at:
		return gateShut
	case i.known && w.day == i.at:
		return gateOpen
	}
	i.known, i.at = true, w.day
	return gateFirst
}

// last is the last evaluation of its kind while a rule waits for the end of its "for": what the alert will say.
type last struct {
	program *Program
	stream  int
	origin
	id, venue []byte // in place of the origin's, which belong to their message
	waits     bool
	numbers   []float64
	texts     [][]byte
	values    []float64 // as stream.functions
}

// carried is how many numbers and texts an evaluation of a kind with timers has.
var carried = map[market.Kind]struct{ numbers, texts int }{market.Trade: {2, 2}, market.Quote: {7, 0}, market.Status: {0, 2}}

func newLast(p *Program, stream int) *last {
	n := carried[p.streams[stream].on]
	return &last{program: p, stream: stream, numbers: make([]float64, n.numbers), texts: make([][]byte, n.texts)}
}

// save keeps the evaluation in s.x.
func (l *last) save(x *eval, at *origin) {
	functions := l.program.streams[l.stream].functions
	l.waits, l.origin = true, *at
	copy(l.numbers, x.numbers[:])
	l.origin.symbol, l.origin.source, l.origin.id, l.origin.venue, l.origin.quoted = "", "", "", "", nil
	l.id, l.venue = append(l.id[:0], at.id...), append(l.venue[:0], at.venue...)
	if q := at.quoted; q != nil {
		l.id, l.venue = append(l.id, q.id...), append(l.venue, q.venue...)
	}
	for i := range l.texts {
		l.texts[i] = append(l.texts[i][:0], x.texts[i]...)
	}
	l.values = l.values[:0]
	for _, i := range functions {
		l.values = append(l.values, x.values[i])
	}
}

// load brings the evaluation back into x, as of time t.
func (l *last) load(x *eval, e *market.Event, t int64) origin {
	copy(x.numbers[:], l.numbers)
	for i := range l.texts {
		x.texts[i] = string(l.texts[i])
	}
	for k, i := range l.program.streams[l.stream].functions {
		x.values[i] = math.NaN()
		if k < len(l.values) {
			x.values[i] = l.values[k]
		}
	}
	at := l.origin
	at.symbol, at.source, at.id, at.venue, at.time = e.Symbol, e.Source, string(l.id), string(l.venue), t
	return at
}

// forget drops the evaluation when nothing waits any more, and tells whether there was one.
func (l *last) forget() bool {
	was := l.waits
	l.waits = false
	return was
}

const maxText = 128 // bytes of a text that an event carries

func (l *last) bytes() int {
	return 1 + 3*10 + 2 + (2+len(l.texts))*(2+maxText) + 8*len(l.numbers) + 3 + 16*len(l.program.streams[l.stream].functions)
}

func (l *last) clear() {
	l.waits, l.origin = false, origin{}
	l.id, l.venue, l.values = l.id[:0], l.venue[:0], l.values[:0]
	clear(l.numbers)
	for i := range l.texts {
		l.texts[i] = l.texts[i][:0]
	}
}

func (l *last) append(b []byte) []byte {
	if !l.waits {
		return append(b, 0)
	}
	b = append(b, flags(true, l.hasSequence))
	for _, v := range []int64{l.time, l.sequence, int64(l.price)} {
		b = binary.AppendVarint(b, v)
	}
	b = appendText(appendText(b, l.id), l.venue)
	for i := range l.texts {
		b = appendText(b, l.texts[i])
	}
	for _, v := range l.numbers {
		b = appendFloat(b, v)
	}
	// The slots' values go by the hash of their slot: an edit of another rule must not shift them.
	b = binary.AppendUvarint(b, uint64(len(l.values)))
	for k, i := range l.program.streams[l.stream].functions[:len(l.values)] {
		b = binary.BigEndian.AppendUint64(b, l.program.slots[i].hash)
		b = appendFloat(b, l.values[k])
	}
	return b
}

func (l *last) decode(b []byte) error {
	r := reader{b: b}
	f := r.byte()
	if f == 0 && len(r.b) == 0 && !r.bad {
		return nil
	}
	l.waits, l.hasSequence = true, f&2 != 0
	l.time, l.sequence, l.price = r.varint(), r.varint(), market.Decimal(r.varint())
	l.start = l.time
	l.id, l.venue = append(l.id[:0], r.bytes()...), append(l.venue[:0], r.bytes()...)
	for i := range l.texts {
		l.texts[i] = append(l.texts[i][:0], r.bytes()...)
	}
	for i := range l.numbers {
		l.numbers[i] = math.Float64frombits(r.uint64())
	}
	functions := l.program.streams[l.stream].functions
	l.values = l.values[:0]
	for range functions {
		l.values = append(l.values, math.NaN())
	}
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		h, v := r.uint64(), math.Float64frombits(r.uint64())
		for k, i := range functions {
			if l.program.slots[i].hash == h {
				l.values[k] = v
			}
		}
	}
	if r.bad || len(r.b) > 0 || f != 1 && f != 3 {
		return errCorrupt
	}
	return nil
}
