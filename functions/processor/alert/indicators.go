package alert

import (
	"encoding/binary"
	"math"
)

// indicator is one function over past values, stepped once per evaluation event of its kind, never short-circuited.
//
// A step with an argument that is not a number (see maxArgument) returns NaN and changes nothing, as if the event had
// not been: so a function of a function starts to warm up when its argument has, and a gap in the argument is skipped.
//
// The binary form holds what was observed, not what was computed from it: decoding computes that again in the same
// order, and what follows is the same to the last bit. It is the same on all processors, too: no product is added to
// anything without a conversion to float64, which forbids the compiler to fuse the two where the processor could.
type indicator interface {
	slot
	// step returns the value after this event: NaN while it warms up and where it is undefined.
	step(args []float64) float64
	// reset makes the indicator as new.
	reset()
	// bytes is an upper bound of the length of the binary form.
	bytes() int
	// warmup is the number of steps until the first value.
	warmup() int
}

const (
	maxLength = 1000
	// maxArgument is the largest magnitude of an argument; beyond, it counts as infinite. Within it no sum of squares of
	// maxLength differences overflows, so no state ever holds an infinity.
	maxArgument = 1e150
	// maxAverage bounds averages of arguments or of their differences, with room for rounding.
	maxAverage = 4 * maxArgument
)

// newIndicator returns the function of that name over n events, n = 0 for a function without length; k is the bands'
// factor, ignored by others. It returns false if there is no such function or the numbers do not suit it. The arguments of
// a step are high, low, close for atr; high, low, close, volume for vwap; a, b for crossover and crossunder, whose
// value is 1 or 0; one number for all others.
func newIndicator(name string, n int, k float64) (indicator, bool) {
	i := newFunction(name, n, k)
	if i == nil || math.IsNaN(k) || math.IsInf(k, 0) {
		return nil, false
	}
	return guarded{i}, true
}

func newFunction(name string, n int, k float64) indicator {
	if n == 0 {
		switch name {
		case "vwap":
			return new(vwap)
		case "crossover":
			return new(cross)
		case "crossunder":
			return &cross{under: true}
		}
	}
	if n < 1 || n > maxLength {
		return nil
	}
	wilder := smoother{n: n, keep: float64(n-1) / float64(n)}
	switch name {
	case "prev":
		return newLagged(n, func(_, then float64) float64 { return then })
	case "change":
		return newLagged(n, func(now, then float64) float64 { return now - then })
	case "roc":
		return newLagged(n, func(now, then float64) float64 { return (now - then) / then * 100 })
	case "sum":
		return newWindow(n, func(t total, _ view) float64 { return t.hi })
	case "sma":
		return newWindow(n, func(t total, v view) float64 { return t.mean(v.n) })
	case "highest":
		return newWindow(n, func(h highest, _ view) float64 { return float64(h) })
	case "lowest":
		return newWindow(n, func(l lowest, _ view) float64 { return float64(l) })
	case "stdev":
		return newWindow(n, func(m moments, v view) float64 { return m.stdev(v) })
	case "zscore":
		return newWindow(n, func(m moments, v view) float64 {
			// Twice relative to the origin: the difference to the mean itself would cancel. 0/0 where nothing moves.
			return (v.x - v.origin - m.sum/v.n) / m.stdev(v)
		})
	case "bb_upper":
		return newWindow(n, func(m moments, v view) float64 { return m.mean(v) + float64(k*m.stdev(v)) })
	case "bb_lower":
		return newWindow(n, func(m moments, v view) float64 { return m.mean(v) - float64(k*m.stdev(v)) })
	case "ema":
		return &smoother{n: n, keep: float64(n-1) / float64(n+1)}
	case "rma":
		return &wilder
	case "rsi":
		return &rsi{gain: wilder, loss: wilder}
	case "atr":
		return &atr{trueRange: wilder}
	}
	return nil
}

// guarded keeps from an indicator what is not a number, and from its users what is infinite.
type guarded struct{ indicator }

func (g guarded) step(args []float64) float64 {
	for _, x := range args {
		if !within(x, maxArgument) {
			return math.NaN()
		}
	}
	if y := g.indicator.step(args); !math.IsInf(y, 0) {
		return y
	}
	return math.NaN()
}

// within is false for NaN.
func within(x, limit float64) bool { return math.Abs(x) <= limit }

// ring holds the last len(values) numbers; values[at] is the next to be replaced, the oldest once it is full.
type ring struct {
	values []float64
	at     int
	full   bool
}

func (r *ring) push(x float64) (replaced float64) {
	replaced = r.values[r.at]
	r.values[r.at] = x
	if r.at++; r.at == len(r.values) {
		r.at, r.full = 0, true
	}
	return replaced
}

func (r *ring) reset()     { r.at, r.full = 0, false }
func (r *ring) bytes() int { return 2 + 8*len(r.values) }

// append writes the number of values, or, of a full ring, that and its position; then the values as they lie.
func (r *ring) append(b []byte) []byte {
	head, held := r.at, r.at
	if r.full {
		head, held = head+len(r.values), len(r.values)
	}
	return appendFloats(binary.BigEndian.AppendUint16(b, uint16(head)), r.values[:held]...)
}

func (r *ring) decode(b []byte) error {
	r.reset()
	in := reader{b: b}
	head := in.uint16()
	if head >= 2*len(r.values) {
		return errCorrupt
	}
	if r.at = head; head >= len(r.values) {
		r.at, r.full = head-len(r.values), true
	}
	for i := range min(head, len(r.values)) {
		r.values[i] = in.float(maxArgument)
	}
	return in.end()
}

// lagged relates a value to the one n steps ago.
type lagged struct {
	ring
	value func(now, then float64) float64
}

func newLagged(n int, value func(now, then float64) float64) *lagged {
	return &lagged{ring{values: make([]float64, n)}, value}
}

func (l *lagged) warmup() int { return len(l.values) + 1 }

func (l *lagged) step(args []float64) float64 {
	full := l.full
	if then := l.push(args[0]); full {
		return l.value(args[0], then)
	}
	return math.NaN()
}

// window is a function of an aggregate of the last n numbers. Nothing is ever taken out of an aggregate, so nothing
// drifts and no outlier leaves a trace: the ring is a block that is overwritten by the next one, and the window is
// the rest of the old block and the start of the new one. The aggregates of all rests are computed when a block is
// complete, the start's grows: a step costs three additions of aggregates on average, whatever the length.
type window[A aggregate[A]] struct {
	ring
	rests []A // rests[i], i >= at, is the aggregate of values[i:], if full
	start A   // of values[:at], if at > 0
	value func(A, view) float64
}

// aggregate is what a window knows of consecutive values.
type aggregate[A any] interface {
	// of is the aggregate of one value. It may count from the origin, which is one of the window's own values and the
	// same for all aggregates that meet.
	of(x, origin float64) A
	// and is the aggregate of both.
	and(A) A
}

// view is what else a window's function may see: its length, the latest value and the aggregate's origin.
type view struct{ n, x, origin float64 }

func newWindow[A aggregate[A]](n int, value func(A, view) float64) *window[A] {
	return &window[A]{ring: ring{values: make([]float64, n)}, rests: make([]A, n), value: value}
}

func (w *window[A]) warmup() int { return len(w.values) }

func (w *window[A]) step(args []float64) float64 {
	w.push(args[0])
	if w.at == 0 {
		w.computeRests()
	} else {
		w.extendStart(w.at - 1)
	}
	if !w.full {
		return math.NaN()
	}
	a := w.rests[w.at]
	if w.at > 0 {
		a = a.and(w.start)
	}
	return w.value(a, view{float64(len(w.values)), args[0], w.origin()})
}

func (w *window[A]) decode(b []byte) error {
	if err := w.ring.decode(b); err != nil {
		return err
	}
	if w.full {
		w.computeRests()
	}
	for i := range w.at {
		w.extendStart(i)
	}
	return nil
}

// origin is the last value of the old block, or the very first one. It leaves the window when a block is complete.
func (w *window[A]) origin() float64 {
	if w.full {
		return w.values[len(w.values)-1]
	}
	return w.values[0]
}

func (w *window[A]) computeRests() {
	last, origin := len(w.values)-1, w.origin()
	for i := last; i >= w.at; i-- {
		w.rests[i] = w.start.of(w.values[i], origin)
		if i < last {
			w.rests[i] = w.rests[i].and(w.rests[i+1])
		}
	}
}

func (w *window[A]) extendStart(i int) {
	one := w.start.of(w.values[i], w.origin())
	if i > 0 {
		one = w.start.and(one)
	}
	w.start = one
}

type highest float64

func (highest) of(x, _ float64) highest     { return highest(x) }
func (h highest) and(other highest) highest { return max(h, other) }

type lowest float64

func (lowest) of(x, _ float64) lowest    { return lowest(x) }
func (l lowest) and(other lowest) lowest { return min(l, other) }

// total is a sum of twice the precision of a float64: hi is the sum rounded, lo what that lacks.
type total struct{ hi, lo float64 }

func (total) of(x, _ float64) total { return total{x, 0} }

// and adds after Knuth (TwoSum) and Dekker.
func (t total) and(other total) total {
	sum := t.hi + other.hi
	part := sum - t.hi
	lost := (t.hi - (sum - part)) + (other.hi - part) + (t.lo + other.lo)
	hi := sum + lost
	return total{hi, lost - (hi - sum)}
}

// mean divides with the remainder, so that the mean of equal numbers is that number.
func (t total) mean(n float64) float64 {
	q := t.hi / n
	return q + (math.FMA(-q, n, t.hi)+t.lo)/n
}

// moments are sums of the differences from an origin and of their squares. The origin being one of the values, the sum of
// squares is at most 2n+1 times that of the differences from the mean: no cancellation, and equal values give exactly 0.
type moments struct{ sum, squares float64 }

func (moments) of(x, origin float64) moments {
	d := x - origin
	return moments{d, float64(d * d)}
}

func (m moments) and(other moments) moments {
	return moments{m.sum + other.sum, m.squares + other.squares}
}

func (m moments) mean(v view) float64 { return v.origin + m.sum/v.n }

func (m moments) stdev(v view) float64 {
	return math.Sqrt(max(0, m.squares-m.sum*m.sum/v.n) / v.n)
}

// smoother is an exponential average that starts with the mean of the first n values.
type smoother struct {
	n       int
	keep    float64 // 1 - alpha
	count   int     // of values seen, at most n
	sum     total   // of the values, while count < n
	average float64 // afterwards
}

func (s *smoother) warmup() int                 { return s.n }
func (s *smoother) bytes() int                  { return 2 + 16 }
func (s *smoother) reset()                      { s.count, s.sum = 0, total{} }
func (s *smoother) step(args []float64) float64 { return s.smooth(args[0]) }

func (s *smoother) warm() bool { return s.count == s.n }

func (s *smoother) smooth(x float64) float64 {
	if s.warm() {
		s.average = x + float64((s.average-x)*s.keep)
		return s.average
	}
	s.count++
	s.sum = s.sum.and(total{x, 0})
	if !s.warm() {
		return math.NaN()
	}
	s.average = s.sum.mean(float64(s.n))
	return s.average
}

func (s *smoother) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(s.count))
	switch s.count {
	case 0:
		return b
	case s.n:
		return appendFloats(b, s.average)
	}
	return appendFloats(b, s.sum.hi, s.sum.lo)
}

func (s *smoother) decode(b []byte) error {
	in := reader{b: b}
	s.read(&in)
	return in.end()
}

func (s *smoother) read(in *reader) {
	s.reset()
	switch s.count = in.uint16(); {
	case s.count == 0:
	case s.count < s.n:
		limit := float64(s.count) * maxAverage
		s.sum = total{in.float(limit), in.float(limit)}
		in.bad = in.bad || s.sum.hi+s.sum.lo != s.sum.hi
	case s.count == s.n:
		s.average = in.float(maxAverage)
	default:
		in.bad = true
	}
}

// negative tells whether it holds what no average of numbers >= 0 can be.
func (s *smoother) negative() bool { return s.sum.hi < 0 || s.warm() && s.average < 0 }

type rsi struct {
	seen       bool
	last       float64
	gain, loss smoother
}

// rsiFloor keeps the averages of a series that stands still out of the range where their ratio loses its digits. It is
// below any real change by far more than a float64 can tell.
const rsiFloor = 1e-280

func (r *rsi) warmup() int { return r.gain.n + 1 }
func (r *rsi) bytes() int  { return 8 + r.gain.bytes() + r.loss.bytes() }

func (r *rsi) reset() {
	r.seen = false
	r.gain.reset()
	r.loss.reset()
}

func (r *rsi) step(args []float64) float64 {
	d := args[0] - r.last
	r.last = args[0]
	if !r.seen {
		r.seen = true
		return math.NaN()
	}
	if !(d == 0 && r.gain.warm() && r.gain.average+r.loss.average < rsiFloor) {
		r.gain.smooth(max(d, 0))
		r.loss.smooth(max(-d, 0))
	}
	if !r.gain.warm() {
		return math.NaN()
	}
	return 100 / (1 + r.loss.average/r.gain.average)
}

// append writes nothing before the first value; otherwise that and the averages.
func (r *rsi) append(b []byte) []byte {
	if !r.seen {
		return b
	}
	return r.loss.append(r.gain.append(appendFloats(b, r.last)))
}

func (r *rsi) decode(b []byte) error {
	r.reset()
	if len(b) == 0 {
		return nil
	}
	in := reader{b: b}
	r.seen, r.last = true, in.float(maxArgument)
	r.gain.read(&in)
	r.loss.read(&in)
	if r.gain.count != r.loss.count || r.gain.negative() || r.loss.negative() {
		return errCorrupt
	}
	return in.end()
}

type atr struct {
	seen      bool
	last      float64 // close
	trueRange smoother
}

func (a *atr) warmup() int { return a.trueRange.n + 1 }
func (a *atr) bytes() int  { return 8 + a.trueRange.bytes() }

func (a *atr) reset() {
	a.seen = false
	a.trueRange.reset()
}

func (a *atr) step(args []float64) float64 {
	high, low, last := args[0], args[1], a.last
	a.last = args[2]
	if !a.seen {
		a.seen = true
		return math.NaN()
	}
	return a.trueRange.smooth(max(high-low, math.Abs(high-last), math.Abs(low-last)))
}

// append writes nothing before the first bar; otherwise its close and the average.
func (a *atr) append(b []byte) []byte {
	if !a.seen {
		return b
	}
	return a.trueRange.append(appendFloats(b, a.last))
}

func (a *atr) decode(b []byte) error {
	a.reset()
	if len(b) == 0 {
		return nil
	}
	in := reader{b: b}
	a.seen, a.last = true, in.float(maxArgument)
	a.trueRange.read(&in)
	if a.trueRange.negative() {
		return errCorrupt
	}
	return in.end()
}

// vwap is kept as a mean that every bar moves by its share of the volume: it stays within the bars' prices. Undefined
// before the first volume.
type vwap struct{ mean, volume float64 }

func (v *vwap) warmup() int { return 1 }
func (v *vwap) bytes() int  { return 16 }
func (v *vwap) reset()      { *v = vwap{} }

func (v *vwap) step(args []float64) float64 {
	high, low, last, volume := args[0], args[1], args[2], args[3]
	if volume > 0 {
		v.volume += volume
		v.mean += float64(((high+low+last)/3 - v.mean) * (volume / v.volume))
	}
	if v.volume == 0 {
		return math.NaN()
	}
	return v.mean
}

func (v *vwap) append(b []byte) []byte {
	if v.volume == 0 {
		return b
	}
	return appendFloats(b, v.mean, v.volume)
}

func (v *vwap) decode(b []byte) error {
	v.reset()
	if len(b) == 0 {
		return nil
	}
	in := reader{b: b}
	v.mean, v.volume = in.float(maxAverage), in.float(math.MaxFloat64)
	if !(v.volume > 0) {
		return errCorrupt
	}
	return in.end()
}

// cross remembers how the two stood at the last evaluation of both.
type cross struct {
	under  bool
	before standing
}

type standing byte

const (
	unseen standing = iota
	below
	equal
	above
)

func (c *cross) warmup() int { return 2 }
func (c *cross) bytes() int  { return 1 }
func (c *cross) reset()      { c.before = unseen }

func (c *cross) step(args []float64) float64 {
	before, now, target := c.before, equal, above
	switch a, b := args[0], args[1]; {
	case a < b:
		now = below
	case a > b:
		now = above
	}
	if c.before = now; before == unseen {
		return math.NaN()
	}
	if c.under {
		target = below
	}
	if now == target && before != target {
		return 1
	}
	return 0
}

func (c *cross) append(b []byte) []byte {
	if c.before == unseen {
		return b
	}
	return append(b, byte(c.before))
}

func (c *cross) decode(b []byte) error {
	c.reset()
	if len(b) == 0 {
		return nil
	}
	in := reader{b: b}
	if c.before = standing(in.byte()); c.before == unseen || c.before > above {
		return errCorrupt
	}
	return in.end()
}

func appendFloats(b []byte, values ...float64) []byte {
	for _, v := range values {
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

func (r *reader) uint16() int {
	if v := r.take(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

// float reads a number of at most that magnitude.
func (r *reader) float(limit float64) float64 {
	v := math.Float64frombits(r.uint64())
	r.bad = r.bad || !within(v, limit)
	return v
}

// end is the error of a form that was misread or has more bytes.
func (r *reader) end() error {
	if r.bad || len(r.b) > 0 {
		return errCorrupt
	}
	return nil
}
