package main

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/scripts/internal/feed"
)

const (
	shippedRules = "../../functions/processor/rules.yaml"
	shippedTests = "../../functions/processor/rules_test.yaml"
)

func TestShippedRules(t *testing.T) {
	if r := runWith(t.Context(), "check", shippedRules); r.code != 0 || r.stderr != "" {
		t.Errorf("exit code %d\n%s", r.code, r.stderr)
	}
	if r := runWith(t.Context(), "test", shippedTests); r.code != 0 {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	source, err := os.ReadFile(shippedTests)
	if err != nil {
		t.Fatal(err)
	}
	var f testFile
	if err := yaml.Unmarshal(source, &f); err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{}
	for _, u := range f.Tests {
		tested[u.Rule] = tested[u.Rule] || len(u.Alerts) > 0
	}
	rules, err := load(shippedRules)
	if err != nil {
		t.Fatal(err)
	}
	for name := range names(rules) {
		if !tested[name] {
			t.Errorf("no test expects an alert of %s", name)
		}
	}
	if !rules.Timed() {
		t.Error("the rules that ship need no clock: bars from trades would never close")
	}
}

// cell is a rule on one symbol on one day.
type cell struct{ rule, symbol, day string }

// tape runs the shipped rules over recorded data and counts their alerts, in all and by cell.
func tape(t *testing.T, name string) (total map[string]int, cells map[cell]int) {
	t.Helper()
	path := "../../../shared/replay/" + name + ".ndjson.gz"
	if _, err := os.Stat(path); err != nil {
		t.Skipf("the recorded market data is not there: %v", err)
	}
	in, err := feed.Open([]string{path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var data []market.Event
	for line, err := range feed.Each(t.Context(), in) {
		if err != nil {
			t.Fatal(err)
		}
		var refused []market.Refusal
		if data, refused = market.Decode(data, line.Text, time.Now(), 0); len(refused) > 0 {
			t.Fatalf("%s: %v", line.Place(), &refused[0])
		}
	}
	rules, err := load(shippedRules)
	if err != nil {
		t.Fatal(err)
	}
	total, cells = map[string]int{}, map[cell]int{}
	until := time.Unix(0, data[len(data)-1].EventTime()).Add(time.Hour)
	for _, a := range play(rules.Engine(options), data, until) {
		total[a.Rule]++
		cells[cell{a.Rule, a.Symbol, market.FormatTime(a.Time)[:len("2013-10-10")]}]++
	}
	t.Logf("%d events: %v", len(data), total)
	return total, cells
}

// TestQuietOnOrdinaryDays: no rule more than ten times per symbol and day, the bars' rules a few times in all.
func TestQuietOnOrdinaryDays(t *testing.T) {
	for name, bounds := range map[string]map[string][2]int{
		"us-equities-trades-2013-10-10": {"BlockTrade": {5, 20}, "VolumeSurge": {3, 12}, "Stretched": {2, 8}, "TrendCross": {4, 12}, "FastMoveOfTrades": {0, 2}, "SPYAbove169": {1, 3}},
		"us-minute-bars":                {"FastMove": {0, 4}}, // of 30 days of a symbol
		"ibm-quotes-2013-10-10":         {"WideSpread": {1, 3}, "CrossedQuote": {0, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			total, cells := tape(t, name)
			for c, n := range cells {
				if n > 10 {
					t.Errorf("%v fires %d times", c, n)
				}
			}
			for rule, n := range total {
				if _, ok := bounds[rule]; !ok {
					t.Errorf("%s fires %d times, and nobody expects it here", rule, n)
				}
			}
			for rule, b := range bounds {
				if n := total[rule]; n < b[0] || n > b[1] {
					t.Errorf("%s fires %d times, want %d to %d", rule, n, b[0], b[1])
				}
			}
		})
	}
}

// TestLoudOnWildDays: bitcoin's and ether's fall of 2017-09-04 against the day before, and the crashes of shares.
func TestLoudOnWildDays(t *testing.T) {
	t.Run("crypto", func(t *testing.T) {
		_, cells := tape(t, "crypto-minute-bars")
		on := func(day string) int {
			return cells[cell{"FastMove", "BTC-USD", day}] + cells[cell{"FastMove", "ETH-USD", day}]
		}
		if wild, before := on("2017-09-04"), on("2017-09-03"); wild < 25 || before > 4 {
			t.Errorf("FastMove fires %d times on 2017-09-04 and %d times the day before", wild, before)
		}
	})
	t.Run("shares", func(t *testing.T) {
		_, cells := tape(t, "us-hour-bars-wild-days")
		symbols, most := map[string]int{}, 0
		for c, n := range cells {
			if c.rule == "WildDay" {
				symbols[c.day]++
				most = max(most, n)
			}
		}
		for crash, least := range map[string]int{"2010-05-06": 3, "2015-08-24": 3, "2018-02-05": 1, "2020-03-09": 3, "2020-03-12": 3, "2020-03-16": 3} {
			if symbols[crash] < least {
				t.Errorf("WildDay fires for %d of 6 symbols on %s", symbols[crash], crash)
			}
		}
		// These days follow months that are not in the data: what lies between is no move.
		for _, first := range []string{"2010-05-03", "2015-08-20", "2018-02-01", "2020-02-24"} {
			if symbols[first] > 0 {
				t.Errorf("WildDay fires for %d symbols on %s, over a gap of years", symbols[first], first)
			}
		}
		if most > 2 {
			t.Errorf("WildDay fires %d times for one symbol on one day", most)
		}
	})
}

// A run is what a person reads; the file names in it are as given.
func TestShippedTestsSayWhatFailed(t *testing.T) {
	source, err := os.ReadFile(shippedRules)
	if err != nil {
		t.Fatal(err)
	}
	broken := strings.Replace(string(source), "spread_bps >= 25", "spread_bps >= 50", 1)
	tests, err := os.ReadFile(shippedTests)
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "rules_test.yaml", strings.Replace(string(tests), "[rules.yaml]", "['"+write(t, "rules.yaml", broken)+"']", 1))
	r := runWith(t.Context(), "test", path)
	if r.code != 1 || strings.Count(r.stdout, "FAIL ") != 1 || !strings.Contains(r.stdout, "a spread is told once") || !strings.Contains(r.stdout, "- 2026-01-05T15:00:00Z  IBM  WideSpread  value 40") {
		t.Errorf("exit code %d\n%s", r.code, r.stdout)
	}
}
