package alert

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// builder builds the bars of one interval from trades. Bars start at multiples of their interval since 1970 UTC. A bar
// is open until the series' time (the newest of its trades and clocks) reaches its end + lateness. An interval in
// which no trade set a price has no bar.
type builder struct {
	began bool
	time  int64 // the series' time
	bars  []bar // open, by start
}

// bar is an open bar. What it holds does not depend on the order in which its trades came, if they have sequences:
// open and close are found by (time, sequence), sums are exact.
type bar struct {
	start                  int64
	trades                 int64 // that set prices; 0 = only volume so far
	open, high, low, close market.Decimal
	first, last            place
	hasSequence            bool        // of the last
	volume                 accumulator // of all trades, 1e-9
	priced                 accumulator // of the trades that set prices, 1e-9
	worth                  accumulator // sum of price * size, 1e-18
}

// place orders the trades of a bar; the sequence is 0 where none was sent.
type place struct{ time, sequence int64 }

func (p place) before(q place) bool {
	return p.time < q.time || p.time == q.time && p.sequence < q.sequence
}

// startOf is the start of the bar that a time belongs to.
func startOf(t int64, interval time.Duration) int64 {
	r := t % int64(interval)
	if r < 0 {
		r += int64(interval)
	}
	return t - r
}

// add enters a trade, unless its bar is closed: then it is late for that bar only.
func (b *builder) add(e *market.Event, interval time.Duration, lateness int64) {
	b.reach(e.Time)
	start := startOf(e.Time, interval)
	if plus(start+int64(interval), lateness) <= b.time {
		return
	}
	i := len(b.bars)
	for i > 0 && b.bars[i-1].start > start {
		i--
	}
	if i == 0 || b.bars[i-1].start != start {
		b.bars = slices.Insert(b.bars, i, bar{start: start})
		i++
	}
	b.bars[i-1].add(e)
}

// reach moves the series' time and tells whether it moved.
func (b *builder) reach(t int64) bool {
	if b.began && t <= b.time {
		return false
	}
	b.began, b.time = true, t
	return true
}

func (b *bar) add(e *market.Event) {
	b.volume.add(0, uint64(e.Size))
	if e.Ineligible {
		return
	}
	at := place{time: e.Time}
	if e.HasSeq {
		at.sequence = e.Sequence
	}
	first := b.trades == 0
	if first || at.before(b.first) {
		b.first, b.open = at, e.Price
	}
	if first || !at.before(b.last) {
		b.last, b.close, b.hasSequence = at, e.Price, e.HasSeq
	}
	if first || e.Price > b.high {
		b.high = e.Price
	}
	if first || e.Price < b.low {
		b.low = e.Price
	}
	b.trades++
	b.priced.add(0, uint64(e.Size))
	b.worth.add(bits.Mul64(uint64(e.Price), uint64(e.Size)))
}

// values sets the values of on: bar.
func (b *bar) values(x *eval) {
	x.numbers = [numberCount]float64{iOpen: b.open.Float(), iHigh: b.high.Float(), iLow: b.low.Float(), iClose: b.close.Float(),
		iVolume: b.volume.float() / float64(market.Unit), iBarVWAP: b.worth.float() / b.priced.float() / float64(market.Unit),
		iTrades: float64(b.trades)}
}

// bar sets the values of on: bar from a vendor's bar.
func (x *eval) bar(e *market.Event) {
	x.numbers = [numberCount]float64{iOpen: e.Open.Float(), iHigh: e.High.Float(), iLow: e.Low.Float(), iClose: e.Close.Float(),
		iVolume: e.Volume, iBarVWAP: math.NaN(), iTrades: math.NaN()}
	if e.HasVWAP {
		x.numbers[iBarVWAP] = e.VWAP.Float()
	}
	if e.HasTrades {
		x.numbers[iTrades] = float64(e.Trades)
	}
}

// accumulator is an exact sum, the lowest 64 bits first.
type accumulator [3]uint64

func (t *accumulator) add(high, low uint64) {
	var carry uint64
	t[0], carry = bits.Add64(t[0], low, 0)
	t[1], carry = bits.Add64(t[1], high, carry)
	t[2] += carry
}

func (t *accumulator) float() float64 {
	return math.Ldexp(float64(t[2]), 128) + math.Ldexp(float64(t[1]), 64) + float64(t[0])
}

// barBytes is the most that an open bar takes in the binary form, builderBytes what a builder takes beside its bars.
const (
	barBytes     = 10 + 10*10 + 1 + 9*10
	builderBytes = 1 + 10 + 10
)

func (b *builder) clear() { *b = builder{bars: b.bars[:0]} }

func (b *builder) append(dst []byte) []byte {
	dst = append(dst, flags(b.began))
	dst = binary.AppendVarint(dst, b.time)
	dst = binary.AppendUvarint(dst, uint64(len(b.bars)))
	for i := range b.bars {
		o := &b.bars[i]
		dst = append(dst, flags(o.hasSequence))
		for _, v := range []int64{o.start, o.trades, int64(o.open), int64(o.high - o.open), int64(o.low - o.open), int64(o.close - o.open),
			o.first.time - o.start, o.first.sequence, o.last.time - o.start, o.last.sequence} {
			dst = binary.AppendVarint(dst, v)
		}
		for _, t := range []*accumulator{&o.volume, &o.priced, &o.worth} {
			for _, word := range t {
				dst = binary.AppendUvarint(dst, word)
			}
		}
	}
	return dst
}

func (b *builder) decode(src []byte) error {
	r := reader{b: src}
	f := r.byte()
	b.began, b.time = f&1 != 0, r.varint()
	for n := r.uvarint(); n > 0 && !r.bad; n-- {
		var o bar
		head := r.byte()
		o.hasSequence = head&1 != 0
		o.start, o.trades, o.open = r.varint(), r.varint(), market.Decimal(r.varint())
		o.high, o.low, o.close = o.open+market.Decimal(r.varint()), o.open+market.Decimal(r.varint()), o.open+market.Decimal(r.varint())
		o.first = place{o.start + r.varint(), r.varint()}
		o.last = place{o.start + r.varint(), r.varint()}
		for _, t := range []*accumulator{&o.volume, &o.priced, &o.worth} {
			for i := range t {
				t[i] = r.uvarint()
			}
		}
		if head > 1 || o.trades < 0 || len(b.bars) > 0 && b.bars[len(b.bars)-1].start >= o.start {
			r.bad = true
		}
		b.bars = append(b.bars, o)
	}
	r.bad = r.bad || f > 1 || !b.began && len(b.bars) > 0
	return r.end()
}

// starts remembers which of the last 64 starts of a vendor's bars were applied, by which revisions are recognised.
type starts struct {
	interval time.Duration
	newest   int64
	applied  uint64 // bit i: the bar that started i intervals before newest; 0 = no bar yet
}

// index is how many whole intervals before the newest a start is, false where that is none that is remembered.
func (s *starts) index(start int64) (uint64, bool) {
	back := uint64(s.newest) - uint64(start)
	return back / uint64(s.interval), s.applied != 0 && start <= s.newest && back%uint64(s.interval) == 0 && back/uint64(s.interval) < 64
}

func (s *starts) seen(start int64) bool {
	i, ok := s.index(start)
	return ok && s.applied>>i&1 != 0
}

// forgotten tells whether a start is so far back that nothing is known of it.
func (s *starts) forgotten(start int64) bool {
	return s.applied != 0 && start < s.newest && (uint64(s.newest)-uint64(start))/uint64(s.interval) >= 64
}

func (s *starts) apply(start int64) {
	if i, ok := s.index(start); ok {
		s.applied |= 1 << i
		return
	}
	if s.applied != 0 && start < s.newest {
		return
	}
	ahead := uint64(start) - uint64(s.newest)
	if ahead%uint64(s.interval) != 0 {
		s.applied = 0
	}
	s.applied = s.applied<<min(ahead/uint64(s.interval), 64) | 1
	s.newest = start
}

func (s *starts) clear() { s.newest, s.applied = 0, 0 }

func (s *starts) append(b []byte) []byte {
	return binary.AppendUvarint(binary.AppendVarint(b, s.newest), s.applied)
}

func (s *starts) decode(b []byte) error {
	r := reader{b: b}
	s.newest, s.applied = r.varint(), r.uvarint()
	r.bad = r.bad || s.applied != 0 && s.applied&1 == 0
	return r.end()
}
