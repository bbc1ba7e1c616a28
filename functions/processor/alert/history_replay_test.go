package alert

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// everyBar fires for every bar: each rule re-arms at the bar after it fired, the second begins one bar later.
const everyBar = `
rules:
  - alert: Odd
    on: bar
    interval: 1m
    from: trades
    expr: open > 0 and high > 0 and low > 0 and close > 0 and volume >= 0
    reset: open > 0
  - alert: Even
    on: bar
    interval: 1m
    from: trades
    expr: open > 0 and high > 0 and low > 0 and close > 0 and volume >= 0 and prev(open, 1) > 0
    reset: open > 0
`

// Bars built from the 2013-10-10 trades of AIG, BAC, IBM against the vendor's minute bars of the same day.
//
// Volume differs in 11 of 1,512 minutes: the first minutes of the session, and the closing auctions, which are reported
// at 16:00 and 16:01 and which the vendor counts to 15:59. Prices: in all but one of the minutes with another high or low
// ours is the wider range. The vendor's prices leave out the prints of conditions 0x20000020, whose volume it counts:
// marking them ineligible brings open, high, low and close to 98 % and more. Doing so with 0x100200 repairs highs and
// lows only. A minute of ineligible trades alone is no bar of ours.
func TestBarsFromTradesMatchTheVendors(t *testing.T) {
	trades := replay(t, "us-equities-trades-2013-10-10.ndjson.gz")
	vendors := map[string]*market.Event{}
	bars := replay(t, "us-minute-bars.ndjson.gz")
	key := func(symbol string, start int64) string { return fmt.Sprint(symbol, start) }
	for i := range bars {
		vendors[key(bars[i].Symbol, bars[i].Time)] = &bars[i]
	}
	for name, tc := range map[string]struct {
		mask   uint64
		prices float64
	}{
		"as sent":                        {0, 0.89},
		"conditions 0x100200 ineligible": {0x100200, 0.90},
		"0x20000020 ineligible":          {0x20000020, 0.98},
	} {
		t.Run(name, func(t *testing.T) {
			engine := mustLoad(t, everyBar).Engine(Options{Lateness: 5 * time.Second, Ordered: true})
			states, equal, n, missing := map[string]*State{}, map[string]int{}, 0, 0
			compare := func(alerts []Alert) {
				for _, a := range alerts {
					v := vendors[key(a.Symbol, a.Time-int64(time.Minute))]
					if v == nil {
						missing++
						continue
					}
					n++
					for _, o := range a.Operands {
						want := map[string]float64{"open": v.Open.Float(), "high": v.High.Float(), "low": v.Low.Float(), "close": v.Close.Float(), "volume": v.Volume}
						if w, ok := want[o.Text]; ok && w == o.Value {
							equal[o.Text]++
						}
					}
				}
			}
			for i := range trades {
				e := trades[i]
				if e.Symbol == "SPY" {
					continue
				}
				conditions := strings.Split(strings.Trim(e.Conditions, `[]"`), `"`)
				bits, err := strconv.ParseUint(conditions[0], 0, 64)
				if err != nil {
					t.Fatal(err)
				}
				e.Ineligible = bits&tc.mask != 0
				p := engine.Program(e.Symbol, e.Source)
				if states[e.Symbol] == nil {
					states[e.Symbol] = p.NewState()
				}
				alerts, _ := p.Step(states[e.Symbol], &e, nil)
				compare(alerts)
			}
			for symbol, s := range states {
				end := market.Event{Kind: market.Clock, Symbol: symbol, Source: trades[0].Source, Time: trades[len(trades)-1].Time + int64(time.Hour)}
				alerts, _ := engine.Program(symbol, trades[0].Source).Step(s, &end, nil)
				compare(alerts)
			}
			t.Logf("%d minutes, %d without a vendor's bar; equal: %v", n, missing, equal)
			if n < 1100 || missing > n/50 {
				t.Errorf("%d bars, %d without a vendor's bar", n, missing)
			}
			for what, least := range map[string]float64{"volume": 0.99, "open": tc.prices, "high": tc.prices, "low": tc.prices, "close": tc.prices} {
				if share := float64(equal[what]) / float64(n); share < least {
					t.Errorf("%s equal in %.2f%% of the minutes, want %.0f%%", what, 100*share, 100*least)
				}
			}
		})
	}
}

// hundredRules are rules over all symbols with every kind of history that trades feed.
func hundredRules() string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := range 25 {
		fmt.Fprintf(&b, "  - {alert: A%d, expr: \"crossover(sma(price, %d), ema(price, %d))\", cooldown: 10m}\n", i, 5+i, 20+i)
		fmt.Fprintf(&b, "  - {alert: B%d, on: bar, interval: 1m, from: trades, expr: \"rsi(close, %d) > 70 or volume > 3 * sma(volume, %d)\", cooldown: 10m}\n", i, 5+i, 10+i)
		fmt.Fprintf(&b, "  - {alert: C%d, expr: \"price > highest(price, %d) - 0.01 and price >= day_high\", for: %ds, cooldown: 5m, session: \"America/New_York 09:30-16:00 mon-fri\"}\n", i, 100+i, 1+i%5)
		fmt.Fprintf(&b, "  - {alert: D%d, on: bar, interval: 5m, from: trades, expr: \"abs(close - vwap()) > %d * atr(%d)\", reset: close < open, max_gap: 30m}\n", i, 1+i%3, 3+i)
	}
	return b.String()
}

// "The replay of 216,146 trades with 100 rules over all symbols … is byte-for-byte the same in two runs and in runs with
// other batch sizes", with the state encoded and decoded at the end of each batch.
func TestReplayOfTheDayIsReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("the whole day of trades takes seconds")
	}
	trades := replay(t, "us-equities-trades-2013-10-10.ndjson.gz")
	rules := mustLoad(t, hundredRules())
	day := func(batch int) (out []byte, alerts int) {
		engine := rules.Engine(ordered)
		states, stored := map[string]*State{}, map[string][]byte{}
		for i := range trades {
			e := &trades[i]
			p := engine.Program(e.Symbol, e.Source)
			s := states[e.Symbol]
			if s == nil {
				var err error
				if s, err = p.Decode(stored[e.Symbol]); err != nil {
					t.Fatal(err)
				}
				states[e.Symbol] = s
			}
			fired, _ := p.Step(s, e, nil)
			for k := range fired {
				out = append(fired[k].AppendJSON(out, Times{}, ""), '\n')
			}
			alerts += len(fired)
			if batch > 0 && i%batch == batch-1 {
				for symbol, s := range states {
					if s.Changed() {
						stored[symbol] = s.Append(nil)
					}
				}
				clear(states)
			}
		}
		return out, alerts
	}
	want, n := day(0)
	if n < 100 {
		t.Fatalf("%d alerts: too few to prove anything", n)
	}
	for _, batch := range []int{0, 97, 1000, 10_000} {
		if got, _ := day(batch); !bytes.Equal(got, want) {
			t.Errorf("batches of %d: other alerts than at once", batch)
		}
	}
	t.Logf("%d trades, 100 rules, %d alerts", len(trades), n)
}

// dailyAlerts replays the daily bars of a symbol against one rule and tells the dates of its alerts.
func dailyAlerts(t *testing.T, bars []market.Event, symbol string, lines ...string) []string {
	t.Helper()
	p := mustLoad(t, oneRule(append([]string{"on: bar", "interval: 1d"}, lines...)...)).Engine(ordered).Program(symbol, "lean")
	s, dates := p.NewState(), []string(nil)
	for i := range bars {
		if bars[i].Symbol != symbol {
			continue
		}
		out, _ := p.Step(s, &bars[i], nil)
		for _, a := range out {
			dates = append(dates, time.Unix(0, a.Time).UTC().AddDate(0, 0, -1).Format(time.DateOnly))
		}
	}
	return dates
}

// Splits in unadjusted bars are moves like any other: a rule sees AAPL fall by 6/7 on 2014-06-09 and by 3/4 on
// 2020-08-31. No max_gap can tell a split from a crash, because there is no gap; a feed that adjusts its history says so
// by a status "adjusted", which a rule of its own can watch, and which touches no window.
func TestSplitsInDailyBars(t *testing.T) {
	bars := replay(t, "us-daily-bars.ndjson.gz")
	for _, gap := range []string{"cooldown: 1d", "max_gap: 10d"} {
		if got := fmt.Sprint(dailyAlerts(t, bars, "AAPL", "expr: roc(close, 1) < -60", gap)); got != "[2014-06-09 2020-08-31]" {
			t.Errorf("%s: AAPL fell by more than 60%% on %s", gap, got)
		}
	}
	p := program(t, ordered, "rules:\n  - {alert: S, on: status, expr: state == \"adjusted\"}\n  - {alert: R, expr: \"prev(price, 1) > 10\"}\n")
	status := market.Event{Kind: market.Status, Symbol: "AAPL", Source: "feed", Time: t0 + second, State: "adjusted"}
	if got := firings(t, p, trade(0, 11), status, trade(2, 1)); got != "S1 2" {
		t.Errorf("fired %q, want the status, and the window across it", got)
	}
}

// A ticker that was reused shows as a gap, which max_gap turns into a new beginning: without it a window spans both
// companies.
func TestGapsInDailyBars(t *testing.T) {
	bars := replay(t, "us-daily-bars.ndjson.gz")
	last, gaps := map[string]int64{}, map[string]int{}
	for i := range bars {
		b := &bars[i]
		if end, ok := last[b.Symbol]; ok && b.Time-end > int64(30*24*time.Hour) {
			gaps[b.Symbol]++
		}
		last[b.Symbol] = b.EventTime()
	}
	t.Logf("gaps of more than 30 days: %v", gaps)
	if len(gaps) == 0 {
		t.Fatal("the daily bars have no gap")
	}
	for symbol, n := range gaps {
		// A rule that is false only where its window begins: with max_gap it fires again after each gap.
		count := func(gap string) int {
			return len(dailyAlerts(t, bars, symbol, "expr: prev(close, 1) > 0", "reset: close < 0", gap))
		}
		if got := count("cooldown: 0s"); got != 1 {
			t.Errorf("%s: fired %d times without max_gap, want 1", symbol, got)
		}
		warm := func(gap string) int {
			// sum(close - close + 1, 300) has a value at every bar but the 299 of each beginning.
			p := mustLoad(t, oneRule("on: bar", "interval: 1d", "expr: sum(close - close + 1, 300) < 0", gap)).Engine(ordered).Program(symbol, "lean")
			s, values := p.NewState(), 0
			for i := range bars {
				if bars[i].Symbol == symbol {
					p.Step(s, &bars[i], nil)
					if v := s.x.values[p.locals[0][0]]; v == v {
						values++
					}
				}
			}
			return values
		}
		if without, with := warm("cooldown: 0s"), warm("max_gap: 30d"); without-with <= 0 || without-with > n*299 {
			t.Errorf("%s: %d values without max_gap, %d with, want up to %d fewer", symbol, without, with, n*299)
		}
	}
}
