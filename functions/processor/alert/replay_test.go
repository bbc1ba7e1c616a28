package alert

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// replay reads a feed of real events, or skips the test where the data is not there.
func replay(tb testing.TB, name string) []market.Event {
	tb.Helper()
	f, err := os.Open(filepath.Join("..", "..", "..", "..", "shared", "replay", name))
	if err != nil {
		tb.Skipf("the recorded feed is not here: %v", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	var events []market.Event
	lines := bufio.NewScanner(z)
	for lines.Scan() {
		n := len(events)
		var refused []market.Refusal
		events, refused = market.Decode(events, lines.Text(), time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC), time.Minute)
		if len(refused) > 0 || len(events) != n+1 {
			tb.Fatalf("line %d of %s: %d events, refused %v", n+1, name, len(events)-n, refused)
		}
	}
	if err := lines.Err(); err != nil {
		tb.Fatal(err)
	}
	return events
}

func shippedRules(tb testing.TB) *Rules {
	tb.Helper()
	src, err := os.ReadFile("../rules.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	r, err := Load("rules.yaml", src)
	if err != nil {
		tb.Fatalf("the shipped rules do not load:\n%v", err)
	}
	return r
}

// The rules that ship are heard on an ordinary day, and not too often.
func TestShippedRulesOnRealDay(t *testing.T) {
	rules := shippedRules(t)
	if w := rules.Warnings(); len(w) > 0 {
		t.Errorf("the shipped rules have warnings: %v", w)
	}
	engine := rules.Engine(Options{Lateness: 5 * time.Second, Ordered: true})
	for feed, want := range map[string][]string{
		"us-equities-trades-2013-10-10.ndjson.gz": {"BlockTrade", "SPYAbove169"},
		"ibm-quotes-2013-10-10.ndjson.gz":         {"WideSpread"},
	} {
		t.Run(feed, func(t *testing.T) {
			states := map[string]*State{}
			perDay, perRule, outcomes := map[string]int{}, map[string]int{}, map[Outcome]int{}
			events := replay(t, feed)
			for i := range events {
				e := &events[i]
				p := engine.Program(e.Symbol, e.Source)
				s := states[e.Symbol]
				if s == nil {
					s = p.NewState()
					states[e.Symbol] = s
				}
				alerts, outcome := p.Step(s, e, nil)
				outcomes[outcome]++
				for _, a := range alerts {
					t.Log(a.Rule, a.Symbol, market.FormatTime(a.Time), a.Summary)
					perDay[fmt.Sprint(a.Rule, a.Symbol, a.Time/int64(24*time.Hour))]++
					perRule[a.Rule]++
				}
			}
			if outcomes[Applied]+outcomes[Late]+outcomes[Repeated] != len(events) || outcomes[Repeated] > 0 {
				t.Errorf("outcomes of %d events: %v; want no repetition, all accounted for", len(events), outcomes)
			}
			for key, n := range perDay {
				if n > 10 {
					t.Errorf("%s: %d alerts in a day, want at most 10", key, n)
				}
			}
			for _, rule := range want {
				if perRule[rule] == 0 {
					t.Errorf("%s never fired", rule)
				}
			}
			t.Log(perRule, outcomes)
		})
	}
}
