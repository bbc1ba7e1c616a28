package ingest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// forgetful is a world that keeps nothing, so that what is measured is the handler's alone.
type forgetful struct{ commits, alerts, published, rejected int }

func (f *forgetful) ReadStates(_ context.Context, series []string) (map[string]alert.Snapshot, map[string]error, error) {
	states := make(map[string]alert.Snapshot, len(series))
	for _, s := range series {
		states[s] = alert.Snapshot{}
	}
	return states, nil, nil
}

func (f *forgetful) Commit(_ context.Context, c alert.Commit) (alert.CommitResult, error) {
	f.commits++
	f.alerts += len(c.Alerts)
	return alert.CommitResult{}, nil
}

func (f *forgetful) Records(context.Context, []alert.Key) (map[alert.Key]alert.Record, error) {
	return nil, nil
}

func (f *forgetful) Claim(context.Context, alert.Key, string, int64) (alert.Record, bool, error) {
	return alert.Record{}, false, nil
}

func (f *forgetful) Release(context.Context, alert.Key, string) error    { return nil }
func (f *forgetful) Settle(context.Context, []alert.Record) error        { return nil }
func (f *forgetful) SetVisibility(context.Context, []market.Delay) error { return nil }

func (f *forgetful) Publish(_ context.Context, records []alert.Record) []error {
	f.published += len(records)
	return make([]error, len(records))
}

func (f *forgetful) Reject(_ context.Context, rejected []market.Rejected) []error {
	f.rejected += len(rejected)
	return make([]error, len(rejected))
}

func (f *forgetful) handler(t *testing.T, ruleFile string) *ingest.Handler {
	t.Helper()
	rules, err := alert.Load("rules.yaml", []byte(ruleFile))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	h, err := ingest.New(ingest.Config{Delivery: settings.Unordered, Engine: rules.Engine(alert.Options{Lateness: settings.DefaultLateness}), Ledger: f, Notifier: f, Queue: f,
		SeriesConcurrency: 1, Metrics: io.Discard, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// cost is what an invocation allocates, which is more than it ever holds at one time, and how long it takes. Time is told,
// never judged.
type cost struct {
	allocations, bytes float64
	time               time.Duration
}

func costOf(t *testing.T, what string, events int, f func()) cost {
	t.Helper()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	c := cost{time: time.Since(start)}
	runtime.ReadMemStats(&after)
	c.allocations, c.bytes = float64(after.Mallocs-before.Mallocs), float64(after.TotalAlloc-before.TotalAlloc)
	t.Logf("%s: per event %.2f allocations, %.0f bytes, %v; in all %.1f MiB, %v", what, c.allocations/float64(events), c.bytes/float64(events), c.time/time.Duration(events),
		c.bytes/(1<<20), c.time.Round(100*time.Microsecond))
	return c
}

// flat demands that the larger invocation allocates per event what the smaller one does. In bytes it may be three quarters
// more: a slice that grows by a quarter of its length copies more than one that doubles.
func flat(t *testing.T, what string, small cost, few int, large cost, many int) {
	t.Helper()
	n := float64(many) / float64(few)
	if large.allocations > 1.25*n*small.allocations || large.bytes > 1.75*n*small.bytes {
		t.Errorf("%s: %d events allocate %.0f times, %.0f bytes; %d events %.0f times, %.0f bytes: more per event", what, few, small.allocations, small.bytes, many, large.allocations, large.bytes)
	}
}

func within(t *testing.T, what string, c cost, mebibytes float64) {
	t.Helper()
	if c.bytes > mebibytes*(1<<20) {
		t.Errorf("%s allocates %.1f MiB, more than %.0f", what, c.bytes/(1<<20), mebibytes)
	}
}

func numbered(symbol string, n int, pad int) string {
	return fmt.Sprintf(`{"symbol":%q,"price":1,"timestamp":"2026-11-20T14:30:%02d.%06dZ","venue":"%s"}`, symbol, n/1000_000, n%1000_000, strings.Repeat("v", pad))
}

func mustHandleAll(t *testing.T, h *ingest.Handler, records []ingest.Record) {
	t.Helper()
	response, err := h.Handle(t.Context(), records)
	if err != nil || len(response.BatchItemFailures) > 0 {
		t.Fatalf("%d messages returned, %v", len(response.BatchItemFailures), err)
	}
}

// A body may have 1 MiB and 10,000 events. Such a one costs a bounded multiple of its size, whatever is in it.
func TestLargestBody(t *testing.T) {
	const quietRules = "rules:\n  - {alert: High, expr: price > 100}\n"
	body := func(events, size int, bad bool) string {
		line := func(i, pad int) string {
			s := numbered("AAPL", i, pad)
			if bad {
				s = strings.Replace(s, `"price":1,`, `"price":0,`, 1)
			}
			return s
		}
		pad := size/events - len(line(0, 0)) - 1
		var b strings.Builder
		for i := range events {
			b.WriteString(line(i, pad))
			b.WriteByte('\n')
		}
		return b.String() + strings.Repeat(" ", size-b.Len())
	}
	for _, c := range []struct {
		name string
		body func(size int) (string, int)
		most float64 // MiB for a body of 1 MiB
	}{
		{"10,000 events", func(size int) (string, int) { return body(size*10_000>>20, size, false), size * 10_000 >> 20 }, 48},
		{"10,000 bad events", func(size int) (string, int) { return body(size*10_000>>20, size, true), size * 10_000 >> 20 }, 48},
		{"one event of spaces", func(size int) (string, int) { return unwatched + strings.Repeat(" ", size-len(unwatched)), size }, 1},
		{"one event with one long extra text", func(size int) (string, int) {
			return strings.Replace(unwatched, "{", `{"x":"`+strings.Repeat("x", size-len(unwatched)-8)+`",`, 1), size
		}, 1},
		{"one event with one long escaped extra text", func(size int) (string, int) {
			return strings.Replace(unwatched, "{", `{"x":"`+strings.Repeat(`\u0041`, (size-len(unwatched)-8)/6)+`",`, 1), size
		}, 3},
		{"one event with many extra keys", func(size int) (string, int) {
			var b strings.Builder
			for b.Len() < size-len(unwatched)-20 {
				fmt.Fprintf(&b, `"k%d":1,`, b.Len())
			}
			return strings.Replace(unwatched, "{", "{"+b.String(), 1), size
		}, 24},
		{"brackets", func(size int) (string, int) { return strings.Repeat("[", size), size }, 1},
		{"braces with keys", func(size int) (string, int) { return strings.Repeat(`{"a":`, size/5), size }, 1},
		{"quotes", func(size int) (string, int) { return strings.Repeat(`"`, size), size }, 2},
		{"backslashes", func(size int) (string, int) { return `{"a":"` + strings.Repeat(`\`, size-6), size }, 2},
		{"commas", func(size int) (string, int) { return "[" + strings.Repeat(",", size-1), size }, 1},
		{"lines of a pretty event that never ends", func(size int) (string, int) { return "{\n" + strings.Repeat("\"a\":1,\n", size/8), size }, 24},
		{"lines of braces", func(size int) (string, int) { return strings.Repeat("{\n", size/2), size }, 24},
		{"lines of commas", func(size int) (string, int) { return strings.Repeat(",\n", size/2), size }, 24},
		{"newlines", func(size int) (string, int) { return strings.Repeat("\n", size), size }, 1},
		{"digits", func(size int) (string, int) {
			return strings.Replace(unwatched, `"price":1`, `"price":0.`+strings.Repeat("1", size-len(unwatched)-2), 1), size
		}, 2},
		{"conditions", func(size int) (string, int) {
			return strings.Replace(unwatched, "{", `{"conditions":[`+strings.Repeat(`"a",`, (size-len(unwatched))/4-10)+`"a"],`, 1), size
		}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &forgetful{}
			h := f.handler(t, quietRules)
			var costs [2]cost
			var units [2]int // events or, where there is one, bytes
			for i, size := range []int{1 << 18, 1 << 20} {
				text, n := c.body(size)
				if len(text) > size {
					t.Fatalf("a body of %d bytes, want at most %d", len(text), size)
				}
				units[i] = n
				costs[i] = costOf(t, fmt.Sprintf("%d KiB", size>>10), n, func() { mustHandleAll(t, h, []ingest.Record{msg("m", "", text)}) })
			}
			within(t, c.name, costs[1], c.most)
			// Growth in steps may make the larger one a little dearer.
			if costs[1].bytes > 2*float64(units[1])/float64(units[0])*costs[0].bytes+1<<20 {
				t.Errorf("four times the bytes allocate %.1f MiB after %.1f MiB", costs[1].bytes/(1<<20), costs[0].bytes/(1<<20))
			}
		})
	}
}

// TestManyInOneInvocation: 10,000 events, in one message or in 10,000, of one series or of 10,000, cost per event what 1,000 cost.
func TestManyInOneInvocation(t *testing.T) {
	const rules = "rules:\n  - {alert: Mean, expr: \"price > sma(price, 5)\", cooldown: 0s}\n"
	for _, c := range []struct {
		name     string
		messages bool // one event each
		series   bool // one event each
		most     float64
	}{
		{"one message, one series", false, false, 32},
		{"one message, 10,000 series", false, true, 96},
		{"10,000 messages, one series", true, false, 64},
		{"10,000 messages, 10,000 series", true, true, 128},
	} {
		t.Run(c.name, func(t *testing.T) {
			sizes := []int{1_000, 10_000}
			var costs [2]cost
			for i, n := range sizes {
				f := &forgetful{}
				h := f.handler(t, rules)
				events := make([]string, n)
				for k := range events {
					symbol := "AAPL"
					if c.series {
						symbol = fmt.Sprint("S", k)
					}
					events[k] = numbered(symbol, k, 0)
				}
				records := []ingest.Record{msg("m", "", strings.Join(events, "\n"))}
				if c.messages {
					records = records[:0]
					for k, e := range events {
						records = append(records, msg(fmt.Sprint("m", k), "", e))
					}
				}
				costs[i] = costOf(t, fmt.Sprintf("%d events", n), n, func() { mustHandleAll(t, h, records) })
				if want := map[bool]int{false: 1, true: n}[c.series]; f.commits != want {
					t.Errorf("%d commits, want %d", f.commits, want)
				}
			}
			flat(t, c.name, costs[0], sizes[0], costs[1], sizes[1])
			within(t, c.name, costs[1], c.most)
		})
	}
}

// TestLargestEvent: the event of 10,000 messages, as Lambda hands it over, is read in memory proportional to its size.
func TestLargestEvent(t *testing.T) {
	payload := func(n int) []byte {
		var event struct {
			Records []map[string]any
		}
		for i := range n {
			event.Records = append(event.Records, map[string]any{"messageId": fmt.Sprint("m", i), "body": goodTrade("AAPL"), "attributes": map[string]string{"ApproximateReceiveCount": "1"}})
		}
		b, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var costs [2]cost
	for i, n := range []int{1_000, 10_000} {
		b := payload(n)
		costs[i] = costOf(t, fmt.Sprintf("%d messages", n), n, func() {
			if records, err := ingest.ParseEvent(b); err != nil || len(records) != n {
				t.Fatalf("%d records, %v", len(records), err)
			}
		})
	}
	flat(t, "ParseEvent", costs[0], 1_000, costs[1], 10_000)
	within(t, "ParseEvent", costs[1], 32)
}

// TestManySeriesOverTime: one environment meets 200,000 series, a thousand in each batch. What it keeps does not grow with
// them, and the last batch costs what an early one costs.
func TestManySeriesOverTime(t *testing.T) {
	const rules = "rules:\n  - {alert: High, symbols: [\"S*\"], expr: price > 100}\n  - {alert: Odd, symbols: [\"*1\", \"*3\"], expr: price > 200}\n  - {alert: Mean, symbols: [\"*7\"], expr: \"price > sma(price, 5)\", cooldown: 0s}\n"
	f := &forgetful{}
	h := f.handler(t, rules)
	const batches, perBatch = 200, 1_000
	heap := func() float64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	before := heap()
	var early, last cost
	for b := range batches {
		var lines []string
		for i := range perBatch {
			lines = append(lines, numbered(fmt.Sprint("S", b*perBatch+i), i, 0))
		}
		records := []ingest.Record{msg("m", "", strings.Join(lines, "\n"))}
		switch b {
		case 2: // all rule sets have been met
			early = costOf(t, "the third thousand", perBatch, func() { mustHandleAll(t, h, records) })
		case batches - 1:
			last = costOf(t, "the last thousand", perBatch, func() { mustHandleAll(t, h, records) })
		default:
			mustHandleAll(t, h, records)
		}
	}
	kept := (heap() - before) / (1 << 20)
	t.Logf("kept after %d series: %.1f MiB", batches*perBatch, kept)
	if kept > 9 {
		t.Errorf("%d series leave %.1f MiB behind, more than 9", batches*perBatch, kept)
	}
	if last.bytes > 2*early.bytes || last.allocations > 2*early.allocations {
		t.Errorf("the last thousand series cost %+v, an early thousand %+v", last, early)
	}
	runtime.KeepAlive(h)
}

// TestEveryEventFires: 5,000 events of one series in one batch, each with an alert, through the real adapters. The calls are as
// few as AWS allows, and an event costs what it costs among 1,000.
func TestEveryEventFires(t *testing.T) {
	// One of the two is true whenever the price moves, and the other then is not.
	const rules = "rules:\n  - {alert: Up, expr: price > 100, cooldown: 0s}\n  - {alert: Down, expr: price < 100, cooldown: 0s}\n"
	for _, c := range []struct {
		name     string
		delivery settings.Delivery
		messages func(events int) int
		most     float64 // MiB for 5,000 events, the simulated services' own included
	}{
		{"one message", settings.Ordered, func(int) int { return 1 }, 640},
		{"ten messages", settings.Ordered, func(int) int { return 10 }, 640},
		{"as many messages", settings.Unordered, func(n int) int { return n }, 640},
	} {
		t.Run(c.name, func(t *testing.T) {
			sizes := []int{1_000, 5_000}
			var costs [2]cost
			for i, n := range sizes {
				r := newRig(t, rules, c.delivery)
				messages := c.messages(n)
				var records []ingest.Record
				for m := range messages {
					var lines []string
					for k := m * n / messages; k < (m+1)*n/messages; k++ {
						lines = append(lines, trade("AAPL", 99+2*float64(k%2), float64(k)/1000, k+1))
					}
					records = append(records, msg(fmt.Sprint("m", m), "g", lines...))
				}
				costs[i] = costOf(t, fmt.Sprintf("%d events", n), n, func() { mustHandleAll(t, r.handler, records) })
				commits := (n + alert.MaxCommitAlerts - 1) / alert.MaxCommitAlerts
				calls := r.callCounts()
				t.Log(calls)
				if calls["TransactWriteItems"] != commits || calls["BatchGetItem"] != 1 || calls["PublishBatch"] != n/10 || calls["PutItem"]+calls["UpdateItem"]+calls["Query"] != 0 {
					t.Errorf("calls %v, want 1 read, %d commits, %d publishes", calls, commits, n/10)
				}
				if marks := calls["BatchWriteItem"]; marks > commits*4+n/25 {
					t.Errorf("%d calls mark alerts as sent", marks)
				}
				if got := len(r.published(t)); got != n {
					t.Errorf("%d alerts published, want %d", got, n)
				}
				for name, want := range map[string]int{settings.MetricEventsReceived: n, settings.MetricAlertsFired: n, settings.MetricAlertsPublished: n, settings.MetricEventsRepeated: 0, settings.MetricEventsLate: 0} {
					if got := metricOf(t, r, name); got != want {
						t.Errorf("%s is %d, want %d", name, got, want)
					}
				}
			}
			flat(t, c.name, costs[0], sizes[0], costs[1], sizes[1])
			within(t, c.name, costs[1], c.most)
		})
	}
}

func metricOf(t *testing.T, r *rig, name string) int {
	t.Helper()
	sum := 0
	for line := range strings.Lines(r.metrics.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		n, _ := m[name].(float64)
		sum += int(n)
	}
	return sum
}
