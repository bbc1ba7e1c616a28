package alert

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"example.com/market-data-pipeline/functions/processor/market"
)

// operation is what a function over past values computes.
type operation uint8

const (
	opPrev operation = iota
	opChange
	opROC
	opSum
	opSMA
	opHighest
	opLowest
	opStdev
	opZScore
	opUpper
	opLower
	opEMA // and rma, which differs in its weight only
	opRSI
	opATR
	opVWAP
	opCrossover
	opCrossunder

	// The values of the day, in the order of dayValues.
	opDayOpen
	opDayHigh
	opDayLow
	opPrevClose
)

// windowed are the operations over a window of the last n numbers, with their names.
var windowed = map[string]operation{
	"prev": opPrev, "change": opChange, "roc": opROC, "sum": opSum, "sma": opSMA, "highest": opHighest, "lowest": opLowest,
	"stdev": opStdev, "zscore": opZScore, "bb_upper": opUpper, "bb_lower": opLower,
}

// definition is a function over past values as a rule calls it.
type definition struct {
	op     operation
	n      int     // length; 0 = has none
	factor float64 // of the bands
	keep   float64 // 1 - alpha of an average
	// words is how many numbers it keeps beside those in memory, rests how many of the aggregates that only values without
	// exact sums need, see unitsOf.
	words, rests int
	length       float64 // n
	divisor      float64 // n, in units of market.Decimal
}

const (
	maxLength    = 1000
	maxArguments = 4
	// maxArgument is the largest magnitude of an argument; beyond, it counts as infinite. Within it no sum of squares of
	// maxLength differences overflows, so no state ever holds an infinity.
	maxArgument = 1e150
	// maxAverage bounds averages of arguments or of their differences, with room for rounding.
	maxAverage = 4 * maxArgument
)

// define returns the function of that name over n events, n = 0 for a function without length; factor is the bands', ignored
// by others. It returns false if there is no such function or the numbers do not suit it.
func define(name string, n int, factor float64) (definition, bool) {
	d := definition{n: n, factor: factor, length: float64(n), divisor: float64(n) * float64(market.Unit)}
	if math.IsNaN(factor) || math.IsInf(factor, 0) {
		return d, false
	}
	if n == 0 {
		switch name {
		case "vwap":
			d.op = opVWAP
		case "crossover":
			d.op = opCrossover
		case "crossunder":
			d.op = opCrossunder
		default:
			i := slices.Index(dayValues[:], name)
			d.op = opDayOpen + operation(i)
			return d, i >= 0
		}
		return d, true
	}
	if n < 1 || n > maxLength {
		return d, false
	}
	if op, ok := windowed[name]; ok {
		d.op, d.words = op, n
		switch op {
		case opHighest, opLowest:
			d.words = 2 * n
		case opPrev, opChange, opROC:
		default:
			d.rests = 2 * n
		}
		return d, true
	}
	d.keep = float64(n-1) / float64(n)
	switch name {
	case "ema":
		d.op, d.keep = opEMA, float64(n-1)/float64(n+1)
	case "rma":
		d.op = opEMA
	case "rsi":
		d.op, d.words = opRSI, 2
	case "atr":
		d.op = opATR
	default:
		return d, false
	}
	return d, true
}

// warmup is the number of steps until the first value.
func (d *definition) warmup() int {
	switch d.op {
	case opPrev, opChange, opROC, opRSI, opATR:
		return d.n + 1
	case opCrossover, opCrossunder:
		return 2
	case opVWAP, opDayOpen, opDayHigh, opDayLow, opPrevClose:
		return 1
	}
	return d.n
}

// stride is how many words a window has per element.
func (d *definition) stride() int { return d.words / d.n }

// bytes is an upper bound of the length of the binary form.
func (d *definition) bytes() int {
	const average = 2 + 16
	switch d.op {
	case opEMA:
		return average
	case opRSI:
		return 8 + 2*average
	case opATR:
		return 8 + average
	case opCrossover, opCrossunder:
		return 1
	case opVWAP, opDayOpen, opDayHigh, opDayLow, opPrevClose:
		return 16
	}
	return 2 + 8*d.n
}

// function is a function over past values with what it remembers of a series, stepped once per evaluation event of its
// kind, never short-circuited.
//
// A step with an argument that is not a number (see maxArgument) returns NaN and changes nothing, as if the event had
// not been: so a function of a function starts to warm up when its argument has, and a gap in the argument is skipped.
//
// The binary form holds what was observed, not what was computed from it: decoding computes that again, and what follows
// is the same to the last bit. It is the same on all processors, too: no product is added to anything without a
// conversion to float64, which forbids the compiler to fuse the two where the processor could.
//
// # Windows
//
// Nothing drifts and no outlier leaves a trace. Sums of decimals, which is what feeds send, are whole numbers of units,
// and exact: a step adds the value that comes and takes the one that goes.
//
// Where one of a window's values is no decimal, or one beyond maxUnits, which counts as none, nothing is ever taken out of an aggregate: the window is a block that is
// overwritten by the next one, and what counts is the rest of the old block and the start of the new one. The aggregates
// of all rests are computed when a block is complete, the start's grows: a step costs three additions of aggregates on
// average, whatever the length. Extremes are always found that way. Which way it is depends on nothing but the values in
// the window, and changes at most twice while it is overwritten.
type function struct {
	*placed
	*memory
	*store
}

// placed is a definition with the place of what it keeps in a store.
type placed struct {
	definition
	word, rest int
}

// store is what all functions of a state keep beside their memory.
type store struct {
	words []float64
	rests []float64 // made when the first one is needed
	size  int       // of rests

	// Functions of one value follow each other: what unitsOf found for the last decimal.
	decimal float64
	units   int64
}

// words of a window are its values; of an extreme, each with that of the values from it to the block's last one.
func (f function) words() []float64 {
	return f.store.words[f.word : f.word+f.definition.words]
}

// rests are the aggregates of the values from each to the block's last one, two numbers each. They are valid from at
// on, if full, not stale, and a value is no decimal.
func (f function) rests() []float64 {
	if f.store.rests == nil {
		f.store.rests = make([]float64, f.store.size)
	}
	return f.store.rests[f.rest : f.rest+f.definition.rests]
}

// memory is what a function remembers beside its words, half a cache line.
type memory struct {
	at uint16 // windows: the element that is replaced next, the oldest once the window is full
	// count is of averages how many values they saw, at most n; of windows of sums how many values are no decimals.
	count uint16
	full  bool
	stale bool // windows: read, the aggregates not yet computed
	seen  bool // rsi, atr: there was an event before
	stand standing

	// origin: windows: the last value of the old block, or the very first one. rsi, atr: the last value or close.
	origin float64
	// Windows: the aggregate of the new block, if at > 0. Averages: the average, or while they warm up the sum of the values
	// with what it lacks; of rsi gain and loss, whose sums lack what is in words. vwap: mean and volume. Values of the day:
	// that of today and of the day before, NaN = none. Windows of decimals hold sums in a, b and origin.
	a, b float64
}

// step returns the value after this event: NaN while it warms up and where it is undefined. The arguments are high, low,
// close for atr; high, low, close, volume for vwap; a, b for crossover and crossunder, whose value is 1 or 0; one number
// for all others.
func (f function) step(args []float64) float64 {
	switch len(args) {
	case 1:
		return f.step1(args[0])
	case 2:
		return f.cross(args[0], args[1])
	}
	for _, x := range args {
		if !within(x, maxArgument) {
			return math.NaN()
		}
	}
	if f.op == opATR {
		return f.atr(args[0], args[1], args[2])
	}
	return f.vwap(args[0], args[1], args[2], args[3])
}

// step1 is step of a function of one argument.
func (f function) step1(x float64) float64 {
	if !within(x, maxArgument) {
		if f.op >= opDayOpen {
			return f.day(x)
		}
		return math.NaN()
	}
	switch f.op {
	case opSum, opSMA, opStdev, opZScore, opUpper, opLower:
		return f.window(x)
	case opEMA:
		return f.average(x)
	case opRSI:
		return f.rsi(x)
	case opHighest, opLowest:
		return f.extreme(x)
	case opPrev:
		return f.lag(x)
	case opChange:
		then := f.lag(x)
		return x - then
	case opROC:
		then := f.lag(x)
		return finite((x - then) / then * 100)
	}
	return f.day(x)
}

// lag returns the value of n steps ago, NaN before.
func (f function) lag(x float64) float64 {
	then := f.words()[f.at]
	if !f.full {
		then = math.NaN()
	}
	f.words()[f.at] = x
	f.turn()
	return then
}

// finite is NaN for an infinite number.
func finite(y float64) float64 {
	if math.Abs(y) <= math.MaxFloat64 {
		return y
	}
	return math.NaN()
}

// within is false for NaN.
func within(x, limit float64) bool { return math.Abs(x) <= limit }

// reset makes the function as new; a value of the day begins a new day.
func (f function) reset() {
	if f.op < opDayOpen {
		f.clear()
		return
	}
	if f.op == opPrevClose && !math.IsNaN(f.a) {
		f.b = f.a
	}
	f.a = math.NaN()
}

func (f function) clear() {
	*f.memory = memory{}
	if f.op >= opDayOpen {
		f.a, f.b = math.NaN(), math.NaN()
	}
}

// turn moves on to the next element of the window, and tells whether a block is complete.
func (f function) turn() bool {
	if f.at++; int(f.at) < f.n {
		return false
	}
	f.at, f.full = 0, true
	return true
}

// maxUnits bounds the decimals of which sums are exact, each way: two millions. Within it a decimal is found again from its
// nearest float64, and neither sums nor their squares overflow for any length.
const maxUnits = 1 << 51

// unitsOf returns the decimal whose nearest float64 is x, in units; false where there is none within maxUnits, and the
// number is of no meaning.
func unitsOf(x float64) (int64, bool) {
	d := nearestUnits(x)
	return d, uint64(d+maxUnits) <= 2*maxUnits && float64(d)/float64(market.Unit) == x
}

// nearestUnits is x in units, for any x of that many.
func nearestUnits(x float64) int64 {
	const whole = 3 << 51 // what it is added to and taken from is rounded to a whole number
	return int64(float64(x*float64(market.Unit)) + whole - whole)
}

// A window of decimals has the sum of their units in a and, where the function needs it, their spread in b and origin.

func (m *memory) sum() int64       { return int64(math.Float64bits(m.a)) }
func (m *memory) setSum(sum int64) { m.a = math.Float64frombits(uint64(sum)) }

func (m *memory) spread() spread { return spread{math.Float64bits(m.b), math.Float64bits(m.origin)} }

func (m *memory) setSpread(v spread) {
	m.b, m.origin = math.Float64frombits(v.high), math.Float64frombits(v.low)
}

// squared tells whether a function over sums needs squares.
func (d *definition) squared() bool { return d.op >= opStdev }

// spread is the variance of n whole numbers times n²: n times the sum of their squares, less the square of their sum. It
// is exact, and 0 where all are equal only. Places that are not taken yet count as 0.
type spread struct{ high, low uint64 }

// replace puts one number in the place of another, where sums is what the numbers add up to before and after, together.
func (v *spread) replace(n int, old, by, sums int64) {
	moved, weight := by-old, int64(n)*(by+old)-sums
	high, low := bits.Mul64(uint64(moved), uint64(weight))
	high -= uint64(moved>>63)&uint64(weight) + uint64(weight>>63)&uint64(moved) // of signed numbers
	var carry uint64
	v.low, carry = bits.Add64(v.low, low, 0)
	v.high += high + carry
}

// root is the standard deviation times n. The parts are numbers that convert without a branch.
func (v spread) root() float64 {
	return math.Sqrt(float64(float64(int64(v.high))*(1<<64)) + (float64(float64(uint32(v.low>>32))*(1<<32)) + float64(uint32(v.low))))
}

// window is a step of a function over sums.
func (f function) window(x float64) float64 {
	if f.stale {
		f.refresh()
	}
	d := f.units
	if x != f.decimal {
		var decimal bool
		if d, decimal = unitsOf(x); !decimal {
			return f.mixed(x, false)
		}
		f.decimal, f.units = x, d
	}
	if f.count > 0 {
		return f.mixed(x, true)
	}
	place := &f.store.words[f.word+int(f.at)]
	gone := int64(0)
	if f.full {
		gone = nearestUnits(*place)
	}
	*place = x
	f.turn()
	before := f.sum()
	sum := before + d - gone
	f.setSum(sum)
	if !f.squared() {
		return f.ofSum(sum)
	}
	v := f.spread()
	v.replace(f.n, gone, d, before+sum)
	f.setSpread(v)
	return f.ofSpread(v, sum, d)
}

// ofSum is the value of a sum or an average of decimals.
func (f function) ofSum(sum int64) float64 {
	switch {
	case !f.full:
		return math.NaN()
	case f.op == opSum:
		return market.Decimal(sum).Float()
	}
	return f.mean(sum)
}

// mean is rounded once where the sum has at most 53 bits, and exact where all values are equal.
func (d *definition) mean(sum int64) float64 {
	const exact = 1 << 53
	if uint64(sum+exact) <= 2*exact {
		return float64(sum) / d.divisor
	}
	n := int64(d.n)
	return (float64(sum/n) + float64(sum%n)/d.length) / float64(market.Unit)
}

// ofSpread is the value of another function over a window of decimals, whose last one is d.
func (f function) ofSpread(v spread, sum, d int64) float64 {
	if !f.full {
		return math.NaN()
	}
	root := v.root()
	switch f.op {
	case opZScore:
		return finite(float64(int64(f.n)*d-sum) / root) // 0/0 where nothing moves
	case opUpper:
		return finite(f.mean(sum) + float64(f.factor*(root/f.divisor)))
	case opLower:
		return finite(f.mean(sum) - float64(f.factor*(root/f.divisor)))
	}
	return root / f.divisor
}

// mixed is a step of a window in which a value is no decimal, that which comes or one that was there.
func (f function) mixed(x float64, decimal bool) float64 {
	if !within(x, maxArgument) {
		return math.NaN()
	}
	before := f.count
	if f.full {
		if _, decimal := unitsOf(f.words()[f.at]); !decimal {
			f.count--
		}
	}
	if !decimal {
		f.count++
	}
	f.words()[f.at] = x
	last := int(f.at)
	complete := f.turn()
	switch {
	case before == 0 || f.count == 0:
		f.refresh()
	case complete:
		f.origin = x
		f.aggregateRests()
	default:
		f.aggregateStart(last, x)
	}
	if f.count == 0 {
		if !f.squared() {
			return f.ofSum(f.sum())
		}
		return f.ofSpread(f.spread(), f.sum(), nearestUnits(x))
	}
	if !f.full {
		return math.NaN()
	}
	rest := [2]float64(f.rests()[2*f.at:])
	if !f.squared() {
		t := total{rest[0], rest[1]}
		if f.at > 0 {
			t = t.and(total{f.a, f.b})
		}
		if f.op == opSum {
			return t.hi
		}
		return t.mean(f.length)
	}
	m := moments{rest[0], rest[1]}
	if f.at > 0 {
		m = m.and(moments{f.a, f.b})
	}
	switch deviation := m.stdev(f.length); f.op {
	case opZScore:
		// Twice relative to the origin: the difference to the mean itself would cancel. 0/0 where nothing moves.
		return finite((x - f.origin - m.sum/f.length) / deviation)
	case opUpper:
		return finite(f.origin + m.sum/f.length + float64(f.factor*deviation))
	case opLower:
		return finite(f.origin + m.sum/f.length - float64(f.factor*deviation))
	default:
		return finite(deviation)
	}
}

// refresh computes what is kept of a window's values beside them.
func (f function) refresh() {
	f.stale = false
	held := int(f.at)
	if f.full {
		held = f.n
	}
	if held == 0 {
		return
	}
	if f.op == opHighest || f.op == opLowest {
		if f.full {
			f.extremeRests()
		}
		for i := range int(f.at) {
			f.extremeStart(i, f.words()[2*i])
		}
		return
	}
	var sum int64
	var v spread
	f.count = 0
	for _, x := range f.words()[:held] {
		d, decimal := unitsOf(x)
		if !decimal {
			f.count++
		}
		v.replace(f.n, 0, d, sum+sum+d)
		sum += d
	}
	if f.count == 0 {
		f.setSum(sum)
		f.setSpread(v)
		return
	}
	f.origin = f.words()[0]
	if f.full {
		f.origin = f.words()[f.n-1]
		f.aggregateRests()
	}
	for i := range int(f.at) {
		f.aggregateStart(i, f.words()[i])
	}
}

// aggregateRests computes the aggregates of the rests of the old block.
func (f function) aggregateRests() {
	var t total
	var m moments
	for i := f.n - 1; i >= int(f.at); i-- {
		x, rest := f.words()[i], (*[2]float64)(f.rests()[2*i:])
		if f.squared() {
			one := momentsOf(x, f.origin)
			if i < f.n-1 {
				one = one.and(m)
			}
			m = one
			rest[0], rest[1] = m.sum, m.squares
			continue
		}
		one := total{x, 0}
		if i < f.n-1 {
			one = one.and(t)
		}
		t = one
		rest[0], rest[1] = t.hi, t.lo
	}
}

// aggregateStart adds value i of the new block to its aggregate.
func (f function) aggregateStart(i int, x float64) {
	if f.squared() {
		m := momentsOf(x, f.origin)
		if i > 0 {
			m = moments{f.a, f.b}.and(m)
		}
		f.a, f.b = m.sum, m.squares
		return
	}
	t := total{x, 0}
	if i > 0 {
		t = total{f.a, f.b}.and(t)
	}
	f.a, f.b = t.hi, t.lo
}

func (f function) extreme(x float64) float64 {
	if f.stale {
		f.refresh()
	}
	f.words()[2*int(f.at)] = x
	if last := int(f.at); f.turn() {
		f.extremeRests()
	} else {
		f.extremeStart(last, x)
	}
	if !f.full {
		return math.NaN()
	}
	v := f.words()[2*int(f.at)+1]
	if f.at > 0 {
		v = f.further(v, f.a)
	}
	return v
}

func (f function) extremeRests() {
	v := f.words()[2*(f.n-1)]
	for i := f.n - 1; i >= int(f.at); i-- {
		v = f.further(f.words()[2*i], v)
		f.words()[2*i+1] = v
	}
}

func (f function) extremeStart(i int, x float64) {
	if i > 0 {
		x = f.further(f.a, x)
	}
	f.a = x
}

// further is the higher of two for highest, the lower for lowest.
func (f function) further(a, b float64) float64 {
	if f.op == opHighest {
		return max(a, b)
	}
	return min(a, b)
}

// total is a sum of twice the precision of a float64: hi is the sum rounded, lo what that lacks.
type total struct{ hi, lo float64 }

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

func momentsOf(x, origin float64) moments {
	d := x - origin
	return moments{d, float64(d * d)}
}

func (m moments) and(other moments) moments {
	return moments{m.sum + other.sum, m.squares + other.squares}
}

func (m moments) stdev(n float64) float64 {
	return math.Sqrt(max(0, m.squares-m.sum*m.sum/n) / n)
}

func (f function) warm() bool { return int(f.count) == f.n }

// average is a step of an exponential average that starts with the mean of the first n values.
func (f function) average(x float64) float64 {
	if !within(x, maxArgument) {
		return math.NaN()
	}
	return f.smooth(x)
}

func (f function) smooth(x float64) float64 {
	if f.warm() {
		f.a = x + float64((f.a-x)*f.keep)
		return f.a
	}
	f.count++
	return f.gather(x, &f.a, &f.b)
}

// gather is a step of an average that warms up, by the count of this event.
func (f function) gather(x float64, average, lacks *float64) float64 {
	t := total{*average, *lacks}.and(total{x, 0})
	*average, *lacks = t.hi, t.lo
	if !f.warm() {
		return math.NaN()
	}
	*average, *lacks = t.mean(float64(f.n)), 0
	return *average
}

// rsiFloor keeps the averages of a series that stands still out of the range where their ratio loses its digits. It is
// below any real change by far more than a float64 can tell.
const rsiFloor = 1e-280

func (f function) rsi(x float64) float64 {
	d := x - f.origin
	f.origin = x
	if !f.seen {
		f.seen = true
		f.words()[0], f.words()[1] = 0, 0
		return math.NaN()
	}
	if f.warm() {
		if f.a+f.b >= rsiFloor || d != 0 {
			gain, loss := halves(d)
			f.a = gain + float64((f.a-gain)*f.keep)
			f.b = loss + float64((f.b-loss)*f.keep)
		}
	} else {
		f.count++
		gain, loss := halves(d)
		f.gather(gain, &f.a, &f.words()[0])
		f.gather(loss, &f.b, &f.words()[1])
		if !f.warm() {
			return math.NaN()
		}
	}
	return 100 / (1 + f.b/f.a)
}

// halves are a difference and 0, or 0 and its magnitude, without a branch: nothing predicts it.
func halves(d float64) (gain, loss float64) {
	size := math.Abs(d)
	return float64((size + d) / 2), float64((size - d) / 2)
}

func (f function) atr(high, low, last float64) float64 {
	before := f.origin
	f.origin = last
	if !f.seen {
		f.seen = true
		return math.NaN()
	}
	return f.smooth(max(high-low, math.Abs(high-before), math.Abs(low-before)))
}

// vwap is kept as a mean that every bar moves by its share of the volume: it stays within the bars' prices. Undefined
// before the first volume.
func (f function) vwap(high, low, last, volume float64) float64 {
	if volume > 0 {
		f.b += volume
		f.a += float64(((high+low+last)/3 - f.a) * (volume / f.b))
	}
	if f.b == 0 {
		return math.NaN()
	}
	return f.a
}

// standing is how the two of a crossing stood at the last evaluation of both.
type standing byte

const (
	unseen standing = iota
	below
	equal
	above
)

func (f function) cross(a, b float64) float64 {
	if !within(a, maxArgument) || !within(b, maxArgument) {
		return math.NaN()
	}
	before, now, target := f.stand, equal, above
	switch {
	case a < b:
		now = below
	case a > b:
		now = above
	}
	if f.stand = now; before == unseen {
		return math.NaN()
	}
	if f.op == opCrossunder {
		target = below
	}
	if now == target && before != target {
		return 1
	}
	return 0
}

// day steps a value of the day, which keeps its value over a number that is absent.
func (f function) day(x float64) float64 {
	if !math.IsNaN(x) {
		switch {
		case math.IsNaN(f.a), f.op == opPrevClose:
			f.a = x
		case f.op == opDayHigh:
			f.a = max(f.a, x)
		case f.op == opDayLow:
			f.a = min(f.a, x)
		}
	}
	if f.op == opPrevClose {
		return f.b
	}
	return f.a
}

// append writes, of a window, the number of values, or, where it is full, that and its position; then the values as they
// lie. Averages write the number of values seen, then average or sum. rsi and atr write the last value before that, and
// nothing before the first; neither do vwap and crossings.
func (f function) append(b []byte) []byte {
	switch f.op {
	case opEMA:
		return f.appendAverage(b, f.a, f.b)
	case opRSI:
		if !f.seen {
			return b
		}
		return f.appendAverage(f.appendAverage(appendFloats(b, f.origin), f.a, f.words()[0]), f.b, f.words()[1])
	case opATR:
		if !f.seen {
			return b
		}
		return f.appendAverage(appendFloats(b, f.origin), f.a, f.b)
	case opVWAP:
		if f.b == 0 {
			return b
		}
		return appendFloats(b, f.a, f.b)
	case opCrossover, opCrossunder:
		if f.stand == unseen {
			return b
		}
		return append(b, byte(f.stand))
	case opDayOpen, opDayHigh, opDayLow, opPrevClose:
		return appendFloat(appendFloat(b, f.a), f.b)
	}
	head, held := int(f.at), int(f.at)
	if f.full {
		head, held = head+f.n, f.n
	}
	b = binary.BigEndian.AppendUint16(b, uint16(head))
	for i := range held {
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(f.words()[i*f.stride()]))
	}
	return b
}

func (f function) appendAverage(b []byte, average, lacks float64) []byte {
	b = binary.BigEndian.AppendUint16(b, f.count)
	switch {
	case f.count == 0:
		return b
	case f.warm():
		return appendFloats(b, average)
	}
	return appendFloats(b, average, lacks)
}

// decode is the inverse of append and returns an error for any other bytes.
func (f function) decode(b []byte) error {
	f.clear()
	r := reader{b: b}
	switch f.op {
	case opEMA:
		f.count = f.readAverage(&r, &f.a, &f.b)
		return r.end()
	case opDayOpen, opDayHigh, opDayLow, opPrevClose:
		f.a, f.b = math.Float64frombits(r.uint64()), math.Float64frombits(r.uint64())
		return r.end()
	case opRSI, opATR, opVWAP, opCrossover, opCrossunder:
		if len(b) == 0 {
			return nil
		}
	}
	switch f.op {
	case opRSI:
		f.seen, f.origin = true, r.float(maxArgument)
		f.count = f.readAverage(&r, &f.a, &f.words()[0])
		count := f.readAverage(&r, &f.b, &f.words()[1])
		r.bad = r.bad || f.count != count || f.a < 0 || f.b < 0
	case opATR:
		f.seen, f.origin = true, r.float(maxArgument)
		f.count = f.readAverage(&r, &f.a, &f.b)
		r.bad = r.bad || f.a < 0
	case opVWAP:
		f.a, f.b = r.float(maxAverage), r.float(math.MaxFloat64)
		r.bad = r.bad || !(f.b > 0)
	case opCrossover, opCrossunder:
		f.stand = standing(r.byte())
		r.bad = r.bad || f.stand == unseen || f.stand > above
	default:
		return f.readWindow(&r)
	}
	return r.end()
}

func (f function) readWindow(r *reader) error {
	head := r.uint16()
	if head >= 2*f.n {
		return errCorrupt
	}
	f.at = uint16(head)
	if head >= f.n {
		f.at, f.full = uint16(head-f.n), true
	}
	for i := range min(head, f.n) {
		f.words()[i*f.stride()] = r.float(maxArgument)
	}
	f.stale = true
	return r.end()
}

func (f function) readAverage(r *reader, average, lacks *float64) (count uint16) {
	n := r.uint16()
	*average, *lacks = 0, 0
	switch {
	case n == 0:
	case n < f.n:
		limit := float64(n) * maxAverage
		*average, *lacks = r.float(limit), r.float(limit)
		r.bad = r.bad || *average+*lacks != *average
	case n == f.n:
		*average = r.float(maxAverage)
	default:
		r.bad = true
	}
	return uint16(n)
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
