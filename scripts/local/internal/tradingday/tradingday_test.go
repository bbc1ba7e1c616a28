package tradingday

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

func lines(seed uint64, n int) []string {
	var out []string
	for d := New(seed, n); ; {
		line, ok := d.Next()
		if !ok {
			return out
		}
		out = append(out, line)
	}
}

// TestGolden: the bytes are the same on every platform and in every version. Whoever changes the market on purpose
// changes this hash.
func TestGolden(t *testing.T) {
	sum := sha256.Sum256([]byte(strings.Join(lines(1, 100_000)[:10_000], "\n")))
	if got, want := hex.EncodeToString(sum[:]), "8aaac203458f218a2465b2616a354dd441114c065e511812645e56de2eb61b4c"; got != want {
		t.Errorf("the first 10,000 lines have the hash %s, want %s", got, want)
	}
}

func TestNumberAndSeed(t *testing.T) {
	for _, n := range []int{0, 1, 2, 99, 1000, 23_456} {
		for seed := range uint64(5) {
			if got := len(lines(seed, n)); got != n {
				t.Errorf("seed %d: %d lines, want %d", seed, got, n)
			}
		}
	}
	if one, same, other := lines(1, 100), lines(1, 100), lines(2, 100); !slices.Equal(one, same) || slices.Equal(one, other) {
		t.Error("a seed does not make its own market")
	}
}

// decoded is the good part of a day.
func decoded(t *testing.T, seed uint64, n int) (events []market.Event, reasons map[market.Reason]int) {
	t.Helper()
	reasons = map[market.Reason]int{}
	for _, line := range lines(seed, n) {
		good, refused := market.Decode(nil, line, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), time.Minute)
		if len(good)+len(refused) != 1 {
			t.Fatalf("%d events in the line %q", len(good)+len(refused), line)
		}
		events = append(events, good...)
		for _, r := range refused {
			reasons[r.Reason]++
		}
	}
	return events, reasons
}

func TestFlaws(t *testing.T) {
	const n = 100_000
	events, reasons := decoded(t, 1, n)
	bad := n - len(events)
	if bad < n*15/1000 || bad > n*25/1000 {
		t.Errorf("%d of %d lines are bad, want 2 %%", bad, n)
	}
	for _, r := range []market.Reason{market.MalformedJSON, market.TrailingData, market.DuplicateKey, market.WrongKeyCase, market.WrongType, market.NullValue,
		market.MissingField, market.UnknownType, market.BadNumber, market.NonPositive, market.OutOfRange, market.TooPrecise, market.BadSymbol, market.InvalidUTF8,
		market.ControlCharacter, market.BadTimestamp, market.FutureTimestamp} {
		if reasons[r] < 10 {
			t.Errorf("%d lines are refused as %s", reasons[r], r)
		}
	}
	if len(reasons) != 17 {
		t.Errorf("reasons %v", slices.Sorted(maps.Keys(reasons)))
	}
	repeated, late := 0, 0
	type kind struct {
		symbol string
		kind   market.Kind
	}
	last := map[kind]market.Event{}
	for _, e := range events {
		k := kind{e.Symbol, e.Kind}
		l, ok := last[k]
		switch {
		case ok && e.Sequence == l.Sequence:
			repeated++
		case ok && e.Sequence < l.Sequence:
			t.Fatalf("%s: sequence %d after %d", e.Symbol, e.Sequence, l.Sequence)
		case ok && e.Time < l.Time-int64(5*time.Second):
			late++
			continue
		}
		last[k] = e
	}
	if repeated < n*2/1000 || repeated > n*4/1000 || late < n*1/1000 || late > n*3/1000 {
		t.Errorf("%d repeated and %d late of %d", repeated, late, n)
	}
}

func TestMarketIsPlausible(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			const n = 100_000
			events, _ := decoded(t, seed, n)
			var perHalfHour [13]int
			kinds := map[market.Kind]int{}
			first, sizes := map[string]market.Decimal{}, map[string][]market.Decimal{}
			wide, crossed := 0, 0
			var halted, resumed int64
			silent := ""
			for _, e := range events {
				if e.Time < opening-int64(time.Minute) || e.Time >= opening+seconds*int64(time.Second) {
					t.Fatalf("an event at %s", market.FormatTime(e.Time))
				}
				if slot := (e.Time - opening) / int64(30*time.Minute); slot >= 0 && e.Kind == market.Trade && e.Symbol != "BTC-USD" && e.Symbol != "ETH-USD" {
					perHalfHour[slot]++
				}
				kinds[e.Kind]++
				price := e.Price
				switch e.Kind {
				case market.Quote:
					price = (e.Bid + e.Ask) / 2
					if bps := (e.Ask - e.Bid) * 10_000 / price; bps >= 25 {
						wide++
					} else if bps < 0 {
						crossed++
					}
					if e.Bid%(market.Unit/100) != 0 || e.Ask%(market.Unit/100) != 0 {
						t.Fatalf("%s: quote %s / %s is no whole number of ticks", e.Symbol, e.Bid, e.Ask)
					}
				case market.Trade:
					sizes[e.Symbol] = append(sizes[e.Symbol], e.Size)
				case market.Status:
					if e.State == "halted" {
						halted, silent = e.Time, e.Symbol
					} else {
						resumed = e.Time
					}
					continue
				}
				if e.Symbol == silent && resumed == 0 && e.Time > halted {
					t.Fatalf("%s traded while it was halted", silent)
				}
				if first[e.Symbol] == 0 {
					first[e.Symbol] = price
				}
				if p := first[e.Symbol]; price < p*7/10 || price > p*14/10 {
					t.Fatalf("%s went from %s to %s in a day", e.Symbol, p, price)
				}
			}
			if len(first) != 8 || kinds[market.Quote] < n/2 || kinds[market.Trade] < n/3 {
				t.Errorf("%d symbols, kinds %v", len(first), kinds)
			}
			if open, noon, close := perHalfHour[0], perHalfHour[6], perHalfHour[12]; open < noon*3/2 || close < noon*3/2 {
				t.Errorf("no smile: %d trades at the open, %d at noon, %d at the close", open, noon, close)
			}
			if wide == 0 || wide > n/50 || crossed == 0 || crossed > 50 {
				t.Errorf("%d wide quotes, %d crossed", wide, crossed)
			}
			// Either status can be one of the bad lines.
			if halted != 0 && resumed != 0 && resumed < halted+int64(4*time.Minute) {
				t.Errorf("halted for %s", time.Duration(resumed-halted))
			}
			for symbol, s := range sizes {
				slices.Sort(s)
				if s[len(s)-1] < 20*s[len(s)/2] {
					t.Errorf("%s: sizes have no fat tail: median %s, largest %s", symbol, s[len(s)/2], s[len(s)-1])
				}
			}
		})
	}
}

// TestVolatilityClusters: minutes of large moves come together, which a plain random walk does not do.
func TestVolatilityClusters(t *testing.T) {
	positive := 0
	for seed := range uint64(8) {
		events, _ := decoded(t, seed, 100_000)
		last := map[int64]float64{}
		for _, e := range events {
			if e.Kind == market.Quote && e.Symbol == "NVDA" {
				last[(e.Time-opening)/int64(time.Minute)] = ((e.Bid + e.Ask) / 2).Float()
			}
		}
		var moves []float64
		for m := int64(1); m < seconds/60; m++ {
			if last[m] > 0 && last[m-1] > 0 {
				moves = append(moves, abs(last[m]/last[m-1]-1))
			}
		}
		mean, covariance, variance := 0.0, 0.0, 0.0
		for _, m := range moves {
			mean += m / float64(len(moves))
		}
		for i, m := range moves[1:] {
			covariance += (m - mean) * (moves[i] - mean)
			variance += (m - mean) * (m - mean)
		}
		if covariance/variance > 0.03 {
			positive++
		}
	}
	if positive < 6 {
		t.Errorf("absolute moves of neighbouring minutes are correlated on %d of 8 days", positive)
	}
}

func abs(x float64) float64 { return max(x, -x) }

func BenchmarkDay(b *testing.B) {
	for b.Loop() {
		lines(1, 100_000)
	}
}
