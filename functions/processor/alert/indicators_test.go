package alert

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"example.com/market-data-pipeline/functions/processor/market"
)

type indicator = *function

// newIndicator is a function over past values with its memory.
func newIndicator(name string, n int, k float64) (indicator, bool) {
	d, ok := define(name, n, k)
	if !ok {
		return nil, false
	}
	f := &function{&placed{definition: d}, new(memory), &store{words: make([]float64, d.words), size: d.rests}}
	f.clear()
	return f, true
}

func mustIndicator(tb interface{ Fatalf(string, ...any) }, name string, n int, k float64) indicator {
	in, ok := newIndicator(name, n, k)
	if !ok {
		tb.Fatalf("no indicator %s, %d, %v", name, n, k)
	}
	return in
}

// signatures are the functions with the number of their arguments; negative: without a length.
var signatures = map[string]int{
	"prev": 1, "sma": 1, "sum": 1, "highest": 1, "lowest": 1, "stdev": 1, "ema": 1, "rma": 1, "rsi": 1, "change": 1, "roc": 1,
	"zscore": 1, "bb_upper": 1, "bb_lower": 1, "atr": 3, "vwap": -4, "crossover": -2, "crossunder": -2,
}

// someIndicator draws a function, and returns how many arguments it has.
func someIndicator(t *rapid.T, longest int) (name string, n int, k float64, args int) {
	names := make([]string, 0, len(signatures))
	for name := range signatures {
		names = append(names, name)
	}
	slices.Sort(names)
	name = rapid.SampledFrom(names).Draw(t, "name")
	if args = signatures[name]; args < 0 {
		return name, 0, 0, -args
	}
	return name, rapid.IntRange(1, longest).Draw(t, "n"), rapid.SampledFrom([]float64{0.5, 2, 3}).Draw(t, "k"), args
}

func TestNewIndicatorRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		n    int
		k    float64
		ok   bool
	}{
		{"sma", 1, 0, true}, {"sma", 1000, 0, true}, {"sma", 0, 0, false}, {"sma", -1, 0, false}, {"sma", 1001, 0, false},
		{"SMA", 5, 0, false}, {"", 0, 0, false}, {"median", 5, 0, false}, {"vwap", 0, 0, true}, {"vwap", 5, 0, false},
		{"crossover", 0, 0, true}, {"crossover", 1, 0, false}, {"crossunder", 2, 0, false}, {"rsi", 0, 0, false},
		{"bb_upper", 20, 2, true}, {"bb_upper", 20, math.NaN(), false}, {"bb_lower", 20, math.Inf(1), false},
	} {
		if in, ok := newIndicator(c.name, c.n, c.k); ok != c.ok || (in != nil) != c.ok {
			t.Errorf("newIndicator(%q, %d, %v) = %v, %v; want %v", c.name, c.n, c.k, in, ok, c.ok)
		}
	}
}

// The definitions of the function table, on numbers that can be checked by hand.
func TestIndicatorDefinitions(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	one := func(values ...float64) (steps [][]float64) {
		for _, v := range values {
			steps = append(steps, []float64{v})
		}
		return steps
	}
	for _, c := range []struct {
		name  string
		n     int
		k     float64
		steps [][]float64
		want  []float64
	}{
		{"prev", 2, 0, one(1, 2, 3, 4), []float64{nan, nan, 1, 2}},
		{"prev", 1, 0, one(5, 6), []float64{nan, 5}},
		{"sma", 3, 0, one(1, 2, 6, 7), []float64{nan, nan, 3, 5}},
		{"sum", 2, 0, one(1, 2, -5), []float64{nan, 3, -3}},
		{"highest", 3, 0, one(-5, -7, -6, -9, -8, -9, -9), []float64{nan, nan, -5, -6, -6, -8, -8}},
		{"lowest", 3, 0, one(5, 7, 6, 9, 8, 9, 9), []float64{nan, nan, 5, 6, 6, 8, 8}},
		{"stdev", 4, 0, one(2, 4, 4, 2, 2), []float64{nan, nan, nan, 1, 1}}, // the population's: a sample's is 1.15
		{"stdev", 1, 0, one(2, 4), []float64{0, 0}},
		{"zscore", 4, 0, one(2, 4, 2, 4, 2), []float64{nan, nan, nan, 1, -1}},
		{"zscore", 2, 0, one(2, 2, 3), []float64{nan, nan, 1}}, // no deviation, no score
		{"bb_upper", 4, 2, one(2, 4, 2, 4), []float64{nan, nan, nan, 5}},
		{"bb_lower", 4, 2, one(2, 4, 2, 4), []float64{nan, nan, nan, 1}},
		{"bb_upper", 4, 1.5, one(2, 4, 2, 4), []float64{nan, nan, nan, 4.5}},
		{"ema", 3, 0, one(1, 2, 6, 7, 7), []float64{nan, nan, 3, 5, 6}},   // alpha 1/2
		{"rma", 4, 0, one(1, 2, 3, 6, 7), []float64{nan, nan, nan, 3, 4}}, // alpha 1/4
		{"ema", 1, 0, one(1e9, 1e-3), []float64{1e9, 1e-3}},
		{"rma", 1, 0, one(1e9, 1e-3), []float64{1e9, 1e-3}},
		{"rsi", 2, 0, one(1, 2, 3, 4), []float64{nan, nan, 100, 100}},
		{"rsi", 2, 0, one(4, 3, 2, 1), []float64{nan, nan, 0, 0}},
		{"rsi", 2, 0, one(4, 4, 4, 4, 5), []float64{nan, nan, nan, nan, 100}}, // neither gains nor losses, then one
		{"rsi", 2, 0, one(1, 4, 3, 3, 4), []float64{nan, nan, 75, 75, 87.5}},
		{"change", 2, 0, one(1, 5, 3), []float64{nan, nan, 2}},
		{"roc", 1, 0, one(4, 5, 0, 3, -6, -3), []float64{nan, 25, -100, nan, -300, -50}}, // undefined over zero
		{"roc", 1, 0, one(0, 0), []float64{nan, nan}},
		{"atr", 2, 0, [][]float64{{10, 0, 9}, {12, 8, 11}, {10, 9, 10}, {14, 13, 14}}, []float64{nan, nan, 3, 3.5}},
		{"vwap", 0, 0, [][]float64{{3, 3, 3, 0}, {5, 1, 3, 1}, {9, 9, 9, 2}, {1, 1, 1, 0}}, []float64{nan, 3, 7, 7}},
		{"crossover", 0, 0, [][]float64{{2, 1}, {3, 1}, {1, 1}, {2, 1}, {0, 1}, {2, 1}, {3, 1}}, []float64{nan, 0, 0, 1, 0, 1, 0}},
		{"crossunder", 0, 0, [][]float64{{0, 1}, {0, 1}, {1, 1}, {0, 1}, {2, 1}, {0, 1}, {0, 1}}, []float64{nan, 0, 0, 1, 0, 1, 0}},
		// What is not a number, in any argument, is not a step: the ones around it are neighbours.
		{"sma", 2, 0, one(1, nan, 3, inf, -inf, 5, 1e151), []float64{nan, nan, 2, nan, nan, 4, nan}},
		{"rsi", 1, 0, one(1, nan, 2, nan, 1), []float64{nan, nan, 100, nan, 0}},
		{"crossover", 0, 0, [][]float64{{1, 2}, {nan, 2}, {3, nan}, {3, 2}}, []float64{nan, nan, nan, 1}},
		{"atr", 1, 0, [][]float64{{2, 1, 1}, {9, 1, nan}, {2, 1, 1}}, []float64{nan, nan, 1}},
		{"vwap", 0, 0, [][]float64{{1, 1, 1, 1}, {9, 9, 9, nan}, {3, 3, 3, 1}}, []float64{1, nan, 2}},
		// Nothing infinite comes out.
		{"roc", 1, 0, one(1e-200, 1e150), []float64{nan, nan}},
		{"bb_upper", 2, 1e300, one(0, 1e100), []float64{nan, nan}},
	} {
		t.Run(fmt.Sprint(c.name, " ", c.n, " ", c.steps), func(t *testing.T) {
			in := mustIndicator(t, c.name, c.n, c.k)
			for i, args := range c.steps {
				before := in.append(nil)
				got := in.step(args)
				if got != c.want[i] && !(math.IsNaN(got) && math.IsNaN(c.want[i])) {
					t.Errorf("step %d: %v, want %v", i, got, c.want[i])
				}
				if slices.ContainsFunc(args, func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) }) && !bytes.Equal(before, in.append(nil)) {
					t.Errorf("step %d changed the indicator", i)
				}
			}
		})
	}
}

// The warm-up is the number of steps to the first value, where every step has one.
func TestIndicatorWarmup(t *testing.T) {
	for name := range signatures {
		in, args := fuzzed(t, name)
		first := 0
		for i := 1; first == 0 && i < 10; i++ {
			args[0]++
			if !math.IsNaN(in.step(args)) {
				first = i
			}
		}
		if first != in.warmup() {
			t.Errorf("%s: the first value at step %d, warm-up %d", name, first, in.warmup())
		}
	}
}

// A number of units is found again from its nearest float64, and no other number is taken for it.
func TestPropertyUnits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := market.Decimal(rapid.Int64Range(-maxUnits, maxUnits).Draw(t, "units"))
		if got, ok := unitsOf(d.Float()); !ok || got != int64(d) {
			t.Fatalf("%s is %d units, %v", d, got, ok)
		}
		x := rapid.Float64().Draw(t, "x")
		for _, x := range []float64{x, math.Nextafter(d.Float(), x)} {
			if got, ok := unitsOf(x); ok && (market.Decimal(got).Float() != x || got > maxUnits || got < -maxUnits) {
				t.Fatalf("%v is taken for %d units", x, got)
			}
		}
	})
	for _, x := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 1e300, -1e300, 1.0 / 3, maxUnits, 1e10} {
		if got, ok := unitsOf(x); ok {
			t.Errorf("%v is taken for %d units", x, got)
		}
	}
}

// Of decimals, sums are the nearest float64 of the true sum, averages that of the true average up to 53 bits, and
// deviations as near as one can have them, whatever was in the window before.
func TestPropertySumsOfDecimalsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.SampledFrom([]int{1, 2, 3, 20, 1000}).Draw(t, "n")
		window := map[string]indicator{}
		for _, name := range []string{"sum", "sma", "stdev", "zscore"} {
			window[name] = mustIndicator(t, name, n, 0)
		}
		step := func(x float64) map[string]float64 {
			values := map[string]float64{}
			for name, in := range window {
				values[name] = in.step([]float64{x})
			}
			return values
		}
		for range rapid.IntRange(0, 3).Draw(t, "others") {
			step(rapid.SampledFrom([]float64{1.0 / 3, 1e150, -1e-150, 5e6}).Draw(t, "other"))
		}
		most := rapid.SampledFrom([]int64{10, 1e12, maxUnits}).Draw(t, "most")
		base, sum, values := rapid.Int64Range(-most, most).Draw(t, "base"), new(big.Int), map[string]float64{}
		var all []int64
		for i := range n {
			d := base
			if i < 20 {
				d = rapid.Int64Range(-most, most).Draw(t, "d")
			}
			all = append(all, d)
			sum.Add(sum, big.NewInt(d))
			values = step(market.Decimal(d).Float())
		}
		ratio := func(a *big.Int, b int64) *big.Rat { return new(big.Rat).SetFrac(a, big.NewInt(b)) }
		if want, _ := ratio(sum, int64(market.Unit)).Float64(); values["sum"] != want {
			t.Fatalf("the sum of %d is %v, want %v", all, values["sum"], want)
		}
		want, _ := ratio(sum, int64(market.Unit)*int64(n)).Float64()
		if got := values["sma"]; got != want && (sum.BitLen() <= 53 || math.Abs(got-want) > math.Abs(want)*0x1p-51) {
			t.Fatalf("the average of %d is %v, want %v", all, got, want)
		}
		spread := new(big.Int)
		for _, d := range all {
			spread.Add(spread, new(big.Int).Mul(big.NewInt(d), big.NewInt(d)))
		}
		spread.Mul(spread, big.NewInt(int64(n))).Sub(spread, new(big.Int).Mul(sum, sum))
		root := new(big.Float).SetPrec(200).Sqrt(new(big.Float).SetPrec(200).SetInt(spread))
		stdev, _ := new(big.Float).Quo(root, big.NewFloat(float64(n)*float64(market.Unit))).Float64()
		if got := values["stdev"]; math.Abs(got-stdev) > stdev*0x1p-51 {
			t.Fatalf("the deviation of %d is %v, want %v", all, got, stdev)
		}
		if spread.Sign() == 0 {
			if !math.IsNaN(values["zscore"]) {
				t.Fatalf("the zscore of %d is %v", all, values["zscore"])
			}
			return
		}
		far := new(big.Int).Sub(new(big.Int).Mul(big.NewInt(int64(n)), big.NewInt(all[n-1])), sum)
		zscore, _ := new(big.Float).Quo(new(big.Float).SetPrec(200).SetInt(far), root).Float64()
		if got := values["zscore"]; math.Abs(got-zscore) > math.Abs(zscore)*0x1p-51 {
			t.Fatalf("the zscore of %d is %v, want %v", all, got, zscore)
		}
	})
}

// In a series that stands still the averages are its value, to the last bit, and nothing deviates: `close > sma(close, n)`
// must not fire by rounding.
func TestIndicatorsOfAConstant(t *testing.T) {
	for _, x := range []float64{0.1, 1.0 / 3, 5e-9, 65_432.19, 1_167_202.828710297, 123_456_789.123456789, -7.7} {
		for _, n := range []int{1, 3, 7, 10, 20, 49, 69, 1000} {
			for name, want := range map[string]float64{
				"sma": x, "ema": x, "rma": x, "stdev": 0, "zscore": math.NaN(), "bb_upper": x, "bb_lower": x,
				"highest": x, "lowest": x, "change": 0, "roc": 0, "rsi": math.NaN(),
			} {
				in := mustIndicator(t, name, n, 2)
				for i := range 3*n + 2 {
					if got := in.step([]float64{x}); i >= in.warmup()-1 && got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
						t.Fatalf("%s over %d of %v: %v after %d, want %v", name, n, x, got, i+1, want)
					}
				}
			}
		}
	}
	v := mustIndicator(t, "vwap", 0, 0)
	for i := range 1000 {
		if x := 0.1; v.step([]float64{x, x, x, 0.3 * float64(i+1)}) != (x+x+x)/3 {
			t.Fatalf("vwap of a constant moves at %d", i)
		}
	}
}

// A series that stands still keeps its rsi, even when the averages of gains and losses have shrunk for so long that they
// would be nothing; and its next move still counts for all there is.
func TestRSIStandsStill(t *testing.T) {
	in := mustIndicator(t, "rsi", 14, 0)
	for i := range 50 {
		in.step([]float64{100 + float64(i%4)})
	}
	want := in.step([]float64{100})
	for i := range 100_000 {
		if got := in.step([]float64{100}); math.Abs(got-want) > 1e-9 {
			t.Fatalf("rsi is %v after %d equal values, was %v", got, i+1, want)
		}
	}
	if got := in.step([]float64{100 - 1e-9}); got > 1e-9 {
		t.Errorf("rsi is %v after the first loss, want 0", got)
	}
}

// exact computes the functions from all their steps with as many digits as it takes, by their definitions.
func exact(name string, n int, k float64, steps [][]float64) float64 {
	const precision = 256
	num := func(v float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(v) }
	add := func(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Add(a, b) }
	sub := func(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Sub(a, b) }
	mul := func(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Mul(a, b) }
	quo := func(a, b *big.Float) *big.Float { return new(big.Float).SetPrec(precision).Quo(a, b) }
	float := func(a *big.Float) float64 { v, _ := a.Float64(); return v }
	sum := func(values []*big.Float) *big.Float {
		s := num(0)
		for _, v := range values {
			s.Add(s, v)
		}
		return s
	}
	mean := func(values []*big.Float) *big.Float { return quo(sum(values), num(float64(len(values)))) }
	// smooth is the average seeded with the mean of the first n; nil while it warms up.
	smooth := func(values []*big.Float, alpha *big.Float) *big.Float {
		if len(values) < n {
			return nil
		}
		average := mean(values[:n])
		for _, v := range values[n:] {
			average = add(average, mul(alpha, sub(v, average)))
		}
		return average
	}
	wilder := quo(num(1), num(float64(n)))
	last := len(steps) - 1
	var x []*big.Float
	for _, s := range steps {
		x = append(x, num(s[0]))
	}

	switch name {
	case "prev", "change", "roc":
		switch {
		case last < n || name == "roc" && x[last-n].Sign() == 0:
			return math.NaN()
		case name == "prev":
			return float(x[last-n])
		case name == "change":
			return float(sub(x[last], x[last-n]))
		}
		return float(mul(quo(sub(x[last], x[last-n]), x[last-n]), num(100)))
	case "ema", "rma":
		alpha := wilder
		if name == "ema" {
			alpha = quo(num(2), num(float64(n+1)))
		}
		if average := smooth(x, alpha); average != nil {
			return float(average)
		}
		return math.NaN()
	case "rsi":
		var gains, losses []*big.Float
		for i := 1; i < len(x); i++ {
			d := sub(x[i], x[i-1])
			gain, loss := num(0), num(0)
			if d.Sign() > 0 {
				gain = d
			} else {
				loss = d.Neg(d)
			}
			gains, losses = append(gains, gain), append(losses, loss)
		}
		gain, loss := smooth(gains, wilder), smooth(losses, wilder)
		if gain == nil || gain.Sign() == 0 && loss.Sign() == 0 {
			return math.NaN()
		}
		return float(quo(mul(num(100), gain), add(gain, loss)))
	case "atr":
		var ranges []*big.Float
		for i := 1; i < len(steps); i++ {
			high, low, last := num(steps[i][0]), num(steps[i][1]), num(steps[i-1][2])
			widest := sub(high, low)
			for _, d := range []*big.Float{sub(high, last), sub(low, last)} {
				if d.Abs(d).Cmp(widest) > 0 {
					widest = d
				}
			}
			ranges = append(ranges, widest)
		}
		if average := smooth(ranges, wilder); average != nil {
			return float(average)
		}
		return math.NaN()
	case "vwap":
		value, volume := num(0), num(0)
		for _, s := range steps {
			price := quo(add(add(num(s[0]), num(s[1])), num(s[2])), num(3))
			value, volume = add(value, mul(price, num(s[3]))), add(volume, num(s[3]))
		}
		if volume.Sign() == 0 {
			return math.NaN()
		}
		return float(quo(value, volume))
	case "crossover", "crossunder":
		if last < 1 {
			return math.NaN()
		}
		now, before := steps[last], steps[last-1]
		if name == "crossover" && now[0] > now[1] && before[0] <= before[1] || name == "crossunder" && now[0] < now[1] && before[0] >= before[1] {
			return 1
		}
		return 0
	}

	if len(x) < n {
		return math.NaN()
	}
	x = x[len(x)-n:]
	squares, center := num(0), mean(x)
	for _, v := range x {
		d := sub(v, center)
		squares = add(squares, mul(d, d))
	}
	stdev := new(big.Float).SetPrec(precision).Sqrt(quo(squares, num(float64(n))))
	switch name {
	case "sum":
		return float(sum(x))
	case "sma":
		return float(center)
	case "highest":
		return slices.Max(floats(x))
	case "lowest":
		return slices.Min(floats(x))
	case "stdev":
		return float(stdev)
	case "zscore":
		// Equal numbers deviate by nothing, though their mean may be rounded.
		if v := floats(x); slices.Min(v) == slices.Max(v) {
			return math.NaN()
		}
		return float(quo(sub(x[n-1], center), stdev))
	case "bb_upper":
		return float(add(center, mul(num(k), stdev)))
	case "bb_lower":
		return float(sub(center, mul(num(k), stdev)))
	}
	panic(name)
}

func floats(x []*big.Float) (out []float64) {
	for _, v := range x {
		f, _ := v.Float64()
		out = append(out, f)
	}
	return out
}

// deviation is how far got is off, relative to want; a zscore's unit is 1, the bands' scale is that of the numbers.
func deviation(name string, got, want float64, steps [][]float64) float64 {
	if math.IsNaN(got) || math.IsNaN(want) {
		if math.IsNaN(got) && math.IsNaN(want) {
			return 0
		}
		return math.Inf(1)
	}
	scale := math.Abs(want)
	switch name {
	case "zscore":
		scale = max(1, scale)
	case "bb_upper", "bb_lower":
		for _, s := range steps {
			scale = max(scale, math.Abs(s[0]))
		}
	case "stdev":
		// What the definition's own rounding would leave of equal numbers.
		scale = max(scale, 1e-60)
	}
	if got == want {
		return 0
	}
	return math.Abs(got-want) / scale
}

// someArgs draws the arguments of a step: what markets send, and what they should not.
func someArgs(t *rapid.T, name string, args int) []float64 {
	value := rapid.OneOf(
		rapid.Map(rapid.IntRange(9_999_990, 10_000_010), func(cents int) float64 { return float64(cents) / 100 }),
		rapid.Map(rapid.IntRange(-5, 5), func(i int) float64 { return float64(i) }),
		rapid.SampledFrom([]float64{1e9, 1e-3, 1e9 + 1e-3, 123.456, 0.1, 1.0 / 3, 100 + 1e-10}),
	)
	out := make([]float64, args)
	for i := range out {
		out[i] = value.Draw(t, "x")
	}
	switch name {
	case "atr", "vwap":
		out[0], out[1] = max(out[0], out[1]), min(out[0], out[1])
		if name == "vwap" {
			out[0], out[1], out[2] = math.Abs(out[0]), math.Abs(out[1]), math.Abs(out[2])
			out[3] = float64(rapid.IntRange(0, 1000).Draw(t, "volume"))
		}
	}
	if rapid.IntRange(0, 19).Draw(t, "broken") == 0 {
		out[rapid.IntRange(0, args-1).Draw(t, "which")] = rapid.SampledFrom([]float64{math.NaN(), math.Inf(1), math.Inf(-1), -2e150}).Draw(t, "bad")
	}
	return out
}

// "Each incremental indicator equals a naive recomputation."
func TestPropertyIndicatorEqualsRecomputation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, n, k, args := someIndicator(t, 12)
		in := mustIndicator(t, name, n, k)
		var steps [][]float64
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 39).Draw(t, "reset") == 0 {
				in.reset()
				steps = nil
			}
			x := someArgs(t, name, args)
			got, want := in.step(x), math.NaN()
			if !slices.ContainsFunc(x, func(v float64) bool { return !within(v, maxArgument) }) {
				steps = append(steps, x)
				want = exact(name, n, k, steps)
				if early := len(steps) < in.warmup(); early && !math.IsNaN(want) {
					t.Fatalf("a value after %d steps, warm-up %d", len(steps), in.warmup())
				}
			}
			if off := deviation(name, got, want, steps); off > 1e-9 {
				t.Fatalf("%s %d: %v at step %d, want %v (off by %g)", name, n, got, i, want, off)
			}
		}
	})
}

// "Encode-decode of the state between any two events changes nothing", to the last bit; a reset makes it as new.
func TestPropertyIndicatorEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name, n, k, args := someIndicator(t, 12)
		in, stored := mustIndicator(t, name, n, k), mustIndicator(t, name, n, k)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 39).Draw(t, "reset") == 0 {
				in.reset()
				stored = mustIndicator(t, name, n, k)
			}
			if rapid.Bool().Draw(t, "store") {
				b := stored.append([]byte("prefix"))
				if len(b)-6 > stored.bytes() || string(b[:6]) != "prefix" {
					t.Fatalf("%d bytes, bound %d: %q", len(b)-6, stored.bytes(), b)
				}
				// Into one that was used: nothing of that may remain.
				stored = mustIndicator(t, name, n, k)
				for range rapid.IntRange(0, 15).Draw(t, "used") {
					stored.step([]float64{9, 8, 8, 7}[:args])
				}
				if err := stored.decode(b[6:]); err != nil {
					t.Fatalf("%s %d, %x: %v", name, n, b[6:], err)
				}
			}
			x := someArgs(t, name, args)
			got, want := stored.step(x), in.step(x)
			if math.Float64bits(got) != math.Float64bits(want) {
				t.Fatalf("%s %d: %v after decoding, %v without", name, n, got, want)
			}
			if !bytes.Equal(stored.append(nil), in.append(nil)) {
				t.Fatalf("%s %d: %x after decoding, %x without", name, n, stored.append(nil), in.append(nil))
			}
		}
	})
}

// Any bytes are an indicator that has this form and works, or an error.
func FuzzIndicatorDecode(f *testing.F) {
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range signatures {
			if !yield(name) {
				return
			}
		}
	})
	for i, name := range names {
		in, steps := fuzzed(f, name)
		for range 9 {
			f.Add(byte(i), in.append(nil))
			in.step(steps)
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		name := names[int(which)%len(names)]
		in, args := fuzzed(t, name)
		if err := in.decode(b); err != nil {
			if !errors.Is(err, errCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if got := in.append(nil); !bytes.Equal(got, b) || len(got) > in.bytes() {
			t.Fatalf("%s: %x decodes to %x", name, b, got)
		}
		for i := range 8 {
			// The extremes, at last: what they leave must be readable, too.
			if i == 5 {
				args = []float64{maxArgument, -maxArgument, maxArgument, maxArgument}[:len(args)]
			}
			if y := in.step(args); math.IsInf(y, 0) {
				t.Fatalf("%s: %v", name, y)
			}
			if again, _ := fuzzed(t, name); again.decode(in.append(nil)) != nil {
				t.Fatalf("%s: %x steps to %x, which does not decode", name, b, in.append(nil))
			}
		}
	})
}

// fuzzed is an indicator over 3 and arguments for it.
func fuzzed(tb testing.TB, name string) (indicator, []float64) {
	n, args := 3, signatures[name]
	if args < 0 {
		n, args = 0, -args
	}
	return mustIndicator(tb, name, n, 2), []float64{3, 1, 2, 10}[:args]
}

func TestIndicatorDecodeRefuses(t *testing.T) {
	number := func(values ...float64) []byte { return appendFloats(nil, values...) }
	after := func(head uint16, values ...float64) []byte {
		return appendFloats(binary.BigEndian.AppendUint16(nil, head), values...)
	}
	for _, c := range []struct {
		what, name string
		n          int
		b          []byte
	}{
		{"no bytes of a window", "sma", 3, nil},
		{"half a head", "sma", 3, []byte{0}},
		{"fewer values than said", "sma", 3, after(2, 1)},
		{"more values than said", "sma", 3, after(2, 1, 2, 3)},
		{"more values than there is room", "sma", 3, after(6, 1, 2, 3)},
		{"a position without all values", "prev", 3, after(4, 1, 2)},
		{"NaN", "highest", 3, after(1, math.NaN())},
		{"infinite", "stdev", 3, after(1, math.Inf(-1))},
		{"larger than any argument", "prev", 3, after(1, 2*maxArgument)},
		{"an average of too many", "ema", 3, after(4, 1)},
		{"an average without the sum's rest", "ema", 3, after(2, 1)},
		{"an average with more", "ema", 3, after(3, 1, 2)},
		{"a sum of nothing", "rma", 3, after(0, 1)},
		{"an infinite average", "rma", 3, after(3, math.Inf(1))},
		{"an average larger than its terms", "rma", 3, after(3, 5*maxArgument)},
		{"a sum that is none", "rma", 3, after(2, 1, math.NaN())},
		{"a rest larger than a rounding error", "rma", 3, after(2, 1, 0.5)},
		{"a sum larger than its terms", "ema", 3, after(1, 5*maxArgument, 0)},
		{"no averages", "rsi", 3, number(1)},
		{"averages of unlike length", "rsi", 3, append(append(number(1), after(2, 1, 0)...), after(3, 1)...)},
		{"a negative gain", "rsi", 3, append(append(number(1), after(3, -1)...), after(3, 1)...)},
		{"a negative sum of losses", "rsi", 3, append(append(number(1), after(2, 1, 0)...), after(2, -1, 0)...)},
		{"a negative range", "atr", 3, append(number(1), after(3, -1)...)},
		{"an infinite close", "atr", 3, append(number(math.Inf(1)), after(0)...)},
		{"no volume", "vwap", 0, number(1)},
		{"a volume of 0", "vwap", 0, number(1, 0)},
		{"a negative volume", "vwap", 0, number(1, -1)},
		{"an infinite volume", "vwap", 0, number(1, math.Inf(1))},
		{"more than a vwap", "vwap", 0, number(1, 1, 1)},
		{"a standing that is none", "crossover", 0, []byte{4}},
		{"unseen written down", "crossover", 0, []byte{0}},
		{"two standings", "crossunder", 0, []byte{1, 1}},
	} {
		if err := mustIndicator(t, c.name, c.n, 2).decode(c.b); !errors.Is(err, errCorrupt) {
			t.Errorf("%s: %s decodes %x: %v", c.what, c.name, c.b, err)
		}
	}
}

// The binary form is stored data. Change it only together with stateFormat, or with the slots' hashes.
func TestIndicatorFormatIsPinned(t *testing.T) {
	for _, c := range []struct {
		name  string
		steps int
		want  string
	}{
		{"sma", 0, "0000"},
		{"sma", 2, "00023ff00000000000004000000000000000"},
		{"sma", 4, "0004401000000000000040000000000000004008000000000000"},
		{"prev", 3, "00033ff000000000000040000000000000004008000000000000"},
		{"ema", 2, "000240080000000000000000000000000000"},
		{"ema", 4, "00034008000000000000"},
		{"rsi", 0, ""},
		{"rsi", 2, "400000000000000000013ff00000000000000000000000000000000100000000000000000000000000000000"},
		{"atr", 4, "401800000000000000033ff0000000000000"},
		{"vwap", 2, "400471c71c71c71c4022000000000000"},
		{"crossover", 1, "01"},
	} {
		in, args := fuzzed(t, c.name)
		for i := range c.steps {
			for j := range args {
				args[j] = float64(i + j + 1)
			}
			in.step(args)
		}
		if got := hex.EncodeToString(in.append(nil)); got != c.want {
			t.Errorf("%s after %d steps: %s, was %s", c.name, c.steps, got, c.want)
		}
	}
}

// "The numerical drift of running sums stays below 1e-9 relative over a million events", hostile ones included.
func TestIndicatorsDoNotDrift(t *testing.T) {
	const events, checks = 1_000_000, 60
	price := 1e5
	feeds := map[string]func(r *rand.Rand) float64{
		"prices around 1e5, ticks of 1e-2": func(r *rand.Rand) float64 {
			price = max(9e4, min(1.1e5, price+float64(r.IntN(11)-5)/100))
			return math.Round(price*100) / 100
		},
		"a mixture of 1e9 and 1e-3": func(r *rand.Rand) float64 {
			if r.IntN(40) == 0 {
				return 1e9 * (1 + r.Float64())
			}
			return 1e-3 * (1 + r.Float64())
		},
		"1e9 with ticks of 1e-3": func(r *rand.Rand) float64 { return 1e9 + float64(r.IntN(3))/1e3 },
	}
	// The averages and vwap are as long as the feed: their exact values run along.
	const precision = 128
	num := func(v float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(v) }
	for what, next := range feeds {
		t.Run(what, func(t *testing.T) {
			r := rand.New(rand.NewPCG(3, 14))
			type probe struct {
				name  string
				n     int
				in    indicator
				worst float64
			}
			var probes []*probe
			for _, name := range []string{"sum", "sma", "stdev", "zscore", "bb_upper", "bb_lower", "highest", "lowest"} {
				for _, n := range []int{20, 997} {
					probes = append(probes, &probe{name: name, n: n, in: mustIndicator(t, name, n, 2)})
				}
			}
			ema, vwap := &probe{name: "ema", n: 20, in: mustIndicator(t, "ema", 20, 0)}, &probe{name: "vwap", in: mustIndicator(t, "vwap", 0, 0)}
			probes = append(probes, ema, vwap)
			average, value, volume, scratch := num(0), num(0), num(0), num(0)
			keep := num(0).Quo(num(19), num(21))
			history := make([][]float64, 0, events)
			all := make([]float64, events)
			for i := range events {
				x := next(r)
				all[i] = x
				history = append(history, all[i:i+1])
				v := float64(1 + r.IntN(1000))
				value.Add(value, scratch.Mul(num(x), num(v)))
				volume.Add(volume, num(v))
				switch {
				case i < 20:
					if average.Add(average, num(x)); i == 19 {
						average.Quo(average, num(20))
					}
				default:
					average.Add(num(x), scratch.Mul(keep, scratch.Sub(average, num(x))))
				}
				check := i > 1000 && (i%(events/checks) == 0 || i == events-1)
				for _, p := range probes {
					args := all[i : i+1]
					if p == vwap {
						args = []float64{x, x, x, v}
					}
					got := p.in.step(args)
					if !check {
						continue
					}
					var want float64
					switch p {
					case ema:
						want, _ = average.Float64()
					case vwap:
						want, _ = scratch.Quo(value, volume).Float64()
					default:
						want = exact(p.name, p.n, 2, history[i+1-p.n:])
					}
					p.worst = max(p.worst, deviation(p.name, got, want, history[i+1-max(p.n, 1):]))
				}
			}
			for _, p := range probes {
				if p.worst >= 1e-9 {
					t.Errorf("%s over %d is off by %.2g", p.name, p.n, p.worst)
				}
				t.Logf("%s over %d: off by at most %.2g", p.name, p.n, p.worst)
			}
		})
	}
}

// "The cost of an event does not depend on n": over a window a step computes one aggregate of a rest on average, and none
// where all values are decimals; beside that it extends the start and joins the two. All other functions have no loop.
func TestIndicatorCostDoesNotDependOnLength(t *testing.T) {
	const untouched = 1e-300
	for _, name := range []string{"sum", "sma", "stdev", "zscore", "bb_upper", "bb_lower", "highest", "lowest"} {
		for _, n := range []int{1, 2, 10, 100, 1000} {
			for _, unit := range []float64{1, 1e-10 / 3} {
				f := mustIndicator(t, name, n, 2)
				rests, want := f.rests(), 10*n
				switch {
				case len(rests) == 0:
					rests = f.words()[1:]
				case unit == 1:
					want = 0
				}
				computed := 0
				for i := range 10 * n {
					for k := range n {
						rests[2*k] = untouched
					}
					f.step([]float64{float64(i+1) * unit})
					for k := range n {
						if rests[2*k] != untouched {
							computed++
						}
					}
				}
				if computed != want {
					t.Errorf("%s over %d: %d aggregates of rests in %d steps, want %d", name, n, computed, 10*n, want)
				}
			}
		}
	}
}

func TestIndicatorsDoNotAllocate(t *testing.T) {
	b := make([]byte, 0, 1<<14)
	for name, args := range signatures {
		n := 50
		if args < 0 {
			n, args = 0, -args
		}
		in, values := mustIndicator(t, name, n, 2), make([]float64, args)
		i := 0.0
		if allocs := testing.AllocsPerRun(500, func() {
			for j := range values {
				values[j] = i
				i++
			}
			in.step(values)
			b = in.append(b[:0])
			if err := in.decode(b); err != nil {
				t.Fatal(err)
			}
		}); allocs != 0 {
			t.Errorf("%s allocates %v times per step", name, allocs)
		}
	}
}

func BenchmarkIndicator(b *testing.B) {
	for _, name := range []string{"sum", "stdev", "highest", "prev", "ema", "rsi"} {
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/n=%d", name, n), func(b *testing.B) {
				in := mustIndicator(b, name, n, 2)
				r := rand.New(rand.NewPCG(1, 2))
				values := make([]float64, 1<<12)
				for i := range values {
					values[i] = r.Float64()
				}
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					at := i & (len(values) - 1)
					in.step(values[at : at+1])
				}
			})
		}
	}
}
