package ingest_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// caller gives batches of a few series to environments of one pipeline.
type caller struct {
	*rig
	t            *testing.T
	environments []*ingest.Handler
	batches      int
}

func newCaller(t *testing.T, rules string, environments int) *caller {
	c := &caller{rig: newRig(t, rules, settings.Ordered), t: t}
	c.environment(environments)
	return c
}

// environment starts n more.
func (c *caller) environment(n int) {
	for range n {
		h, err := ingest.New(c.config)
		if err != nil {
			c.t.Fatal(err)
		}
		c.environments = append(c.environments, h)
	}
}

// handle gives one environment a message of each series, which fires as often as alerts says, and returns the calls.
func (c *caller) handle(environment int, alerts []int) map[string]int {
	c.t.Helper()
	c.batches++
	c.now = c.now.Add(time.Minute)
	var records []ingest.Record
	for s, n := range alerts {
		var body strings.Builder
		for i := range 2*n + 1 {
			fmt.Fprintf(&body, `{"symbol":"S%d","price":%d,"timestamp":%q,"sequence":%d}`+"\n", s, 80+40*(i%2), c.now.Format(time.RFC3339), c.batches*10_000+i)
		}
		id := fmt.Sprintf("m%d-%d", c.batches, s)
		records = append(records, ingest.Record{MessageID: id, Body: body.String(), Group: fmt.Sprint("S", s), ReceiveCount: 1, Sent: c.now})
	}
	clear(c.calls)
	if r, err := c.environments[environment].Handle(c.t.Context(), records); err != nil || len(r.BatchItemFailures) > 0 {
		c.t.Fatalf("batch %d returned %v: %v; %s", c.batches, r.BatchItemFailures, err, &c.logs)
	}
	return c.callCounts()
}

func (c *caller) hints(series string) int {
	states, _, err := c.ledger.ReadStates(c.t.Context(), []string{series})
	if err != nil {
		c.t.Fatal(err)
	}
	return len(states[series].Hints)
}

// TestCalls: with A alerts over S series, reads are ceil(S/100), commits ceil(A_s/99) of each series and at least one where
// its state changes, publishes ceil(A/10) and marks ceil(A/25); in each invocation, whoever has published the last ones.
func TestCalls(t *testing.T) {
	ceil := func(n, by int) int { return (n + by - 1) / by }
	for _, environments := range []int{1, 2} {
		for _, rules := range []struct {
			name, file string
			history    int // commits of a series without alerts
		}{{"levels", levelRule, 0}, {"windows", levelRule + "  - {alert: Window, expr: \"sma(price, 3) > 1e6\"}\n", 1}} {
			for _, series := range []int{1, 3} {
				c := newCaller(t, rules.file, environments)
				for i, fired := range []int{1, 10, 30, 120, 300, 0, 0, 10, 10, 10, 10, 1, 1, 120, 120, 30, 0, 0, 10, 10} {
					alerts, commits := make([]int, series), 0
					for s := range alerts {
						alerts[s] = (fired + s) / series
						commits += max(rules.history, ceil(alerts[s], 99))
					}
					calls := c.handle(i%environments, alerts)
					written := calls["PutItem"] + calls["TransactWriteItems"]
					delete(calls, "PutItem")
					delete(calls, "TransactWriteItems")
					want := map[string]int{"BatchGetItem": 1, "PublishBatch": ceil(fired, 10), "BatchWriteItem": ceil(fired, 25)}
					maps.DeleteFunc(want, func(_ string, n int) bool { return n == 0 })
					if written != commits || !maps.Equal(calls, want) {
						t.Errorf("%d environments, %s, invocation %d, %d alerts over %d series: %d commits, want %d; calls %v, want %v",
							environments, rules.name, i, fired, series, written, commits, calls, want)
					}
				}
			}
		}
	}
}

// TestHintsOfAnEndedEnvironment: what nobody remembers is looked at once, in the second commit of whoever finds it.
func TestHintsOfAnEndedEnvironment(t *testing.T) {
	c := newCaller(t, levelRule, 2)
	c.handle(0, []int{30})
	for i, want := range []struct{ reads, hints int }{{1, 31}, {2, 1}, {1, 1}, {1, 1}} {
		if reads := c.handle(1, []int{1})["BatchGetItem"]; reads != want.reads || c.hints("S0|") != want.hints {
			t.Errorf("commit %d: %d reads and %d hints left, want %+v", i, reads, c.hints("S0|"), want)
		}
	}
}

// TestRepetitionsAreLookedAtOnlyByStrangers: an environment that published a message's alerts acknowledges a repetition
// without a look; another one looks.
func TestRepetitionsAreLookedAtOnlyByStrangers(t *testing.T) {
	c := newCaller(t, levelRule, 2)
	c.handle(0, []int{1})
	for environment, reads := range []int{1, 2, 2} {
		if environment == 2 { // remembers what it has seen to be settled, too
			environment, reads = 1, 1
		}
		c.batches--
		c.now = c.now.Add(-time.Minute)
		if calls := c.handle(environment, []int{1}); calls["BatchGetItem"] != reads || calls["PublishBatch"] > 0 {
			t.Errorf("environment %d: calls %v, want %d reads", environment, calls, reads)
		}
	}
}

// TestFactsAreBounded: what an environment has forgotten it looks at.
func TestFactsAreBounded(t *testing.T) {
	c := newCaller(t, levelRule, 1)
	c.handle(0, []int{1})
	for range 30 {
		c.handle(0, []int{0, 400})
	}
	// The first alert is forgotten: its hint is kept once, and then looked at.
	if calls := c.handle(0, []int{1}); calls["BatchGetItem"] != 1 || c.hints("S0|") != 2 {
		t.Errorf("calls %v, %d hints", calls, c.hints("S0|"))
	}
	if calls := c.handle(0, []int{1}); calls["BatchGetItem"] != 2 || c.hints("S0|") != 1 {
		t.Errorf("calls %v, %d hints", calls, c.hints("S0|"))
	}
	if n := len(c.sns.Published(c.topic)); n != 3+30*400 {
		t.Errorf("%d published", n)
	}
}
