package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
)

const trades = "../../../shared/replay/us-equities-trades-2013-10-10.ndjson.gz"

// raceDetector makes everything some ten times slower.
var raceDetector bool

// result is what a run left behind.
type result struct {
	code           int
	stdout, stderr string
}

func runWith(t testing.TB, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), args, func(string) string { return "" }, strings.NewReader(stdin), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// count is the number that the summary has for a row, -1 where it has no such row.
func (r result) count(t testing.TB, row string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ +` + regexp.QuoteMeta(row) + ` +([0-9,]+)(  |$)`).FindStringSubmatch(r.stdout)
	if m == nil {
		return -1
	}
	n := 0
	if _, err := fmt.Sscan(strings.ReplaceAll(m[1], ",", ""), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func (r result) mustHave(t *testing.T, want map[string]int) {
	t.Helper()
	for row, n := range want {
		if got := r.count(t, row); got != n {
			t.Errorf("summary: %q is %d, want %d", row, got, n)
		}
	}
	if t.Failed() {
		t.Logf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// above has a rule that fires at every second trade of a series that stays above 100: it is re-armed by those between.
const above = `
rules:
  - alert: Above
    expr: price > 100
    reset: price > 0
    cooldown: 1ms
    summary: "{{ .symbol }} at {{ .price }}"
  - alert: Dark
    on: quote
    expr: bid > 100
    cooldown: 1h
    notify: false
    severity: critical
    summary: "bid {{ .bid }}"
`

func tradeLine(symbol string, n int, price string) string {
	return fmt.Sprintf(`{"symbol":%q,"price":%q,"size":"1","timestamp":"2026-01-05T15:%02d:%02dZ","sequence":%d}`, symbol, price, n/60, n%60, n)
}

func TestUsage(t *testing.T) {
	rules, feed := write(t, "rules.yaml", above), write(t, "feed", tradeLine("A", 1, "101"))
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"help":                  {[]string{"-h"}, 0, "Exit code: 0"},
		"unknown flag":          {[]string{"--nonsense"}, 2, "flag provided but not defined"},
		"a feed without a flag": {[]string{"trades.ndjson"}, 2, "--feed trades.ndjson"},
		"speed":                 {[]string{"--speed", "fast"}, 2, "60x"},
		"negative speed":        {[]string{"--speed", "-1x"}, 2, "60x"},
		"speed NaN":             {[]string{"--speed", "NaNx"}, 2, "60x"},
		"delivery":              {[]string{"--delivery", "fifo"}, 2, `"ordered" or "unordered"`},
		"no pack":               {[]string{"--pack", "0"}, 2, "--pack is 0"},
		"pack":                  {[]string{"--pack", "10001"}, 2, "from 1 to 10000"},
		"batch of a FIFO queue": {[]string{"--batch", "11"}, 2, "from 1 to 10\n"},
		"concurrency":           {[]string{"--concurrency", "0"}, 2, "--concurrency is 0"},
		"events":                {[]string{"--events", "0"}, 2, "--events is 0"},
		"events of a file":      {[]string{"--events", "5", "--feed", feed}, 2, "--events is of the simulated market"},
		"two streams":           {[]string{"--alerts", "-", "--rejects", "-"}, 2, "both standard output"},
		"feed overwritten":      {[]string{"--feed", feed, "--rejects", filepath.Dir(feed) + "/./feed"}, 2, "would overwrite"},
		"one file for two":      {[]string{"--alerts", rules + "x", "--rejects", rules + "x"}, 2, "would overwrite"},

		"no such feed":           {[]string{"--feed", "absent.ndjson"}, 1, "absent.ndjson"},
		"no such rules":          {[]string{"--rules", "absent.yaml"}, 1, "absent.yaml"},
		"bad rules":              {[]string{"--rules", write(t, "bad.yaml", "rules:\n  - alert: X\n    expr: prise > 3\n")}, 1, "bad.yaml:3:"},
		"alerts cannot be made":  {[]string{"--alerts", filepath.Join(t.TempDir(), "no", "folder")}, 1, "--alerts"},
		"rejects cannot be made": {[]string{"--rejects", filepath.Join(t.TempDir(), "no", "folder")}, 1, "--rejects"},
		"broken gzip":            {[]string{"--rules", rules, "--feed", write(t, "f.gz", "\x1f\x8bnonsense")}, 1, "f.gz"},
		"good":                   {[]string{"--rules", rules, "--feed", feed}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := runWith(t, "", c.args...)
			if r.code != c.code || !strings.Contains(r.stderr, c.says) {
				t.Errorf("exit code %d, want %d, and %q in:\n%s", r.code, c.code, c.says, r.stderr)
			}
			if usage := strings.Contains(r.stderr, "Usage: "); usage != (c.code == 2 || name == "help") {
				t.Errorf("usage shown: %v", usage)
			}
		})
	}
	if read(t, feed) != tradeLine("A", 1, "101") {
		t.Error("the feed was changed")
	}
}

func TestEveryEventIsAccountedFor(t *testing.T) {
	rules := write(t, "rules.yaml", above)
	good := func(n int) string { return tradeLine("A", n, "101") }
	big := `{"symbol":"A","price":"1","timestamp":"2026-01-05T15:00:00Z","id":"` + strings.Repeat("x", 1<<20) + `"}`
	feed := strings.Join([]string{
		`{"symbol":"A",`,          // the first line: no series is known yet
		good(1), good(2), good(2), // one repeated
		`{"symbol":"A","price":"-1","timestamp":"2026-01-05T15:00:03Z"}`,
		`nonsense`, `}`, `{`, "\uFEFF" + good(3),
		"",       // blank: no event
		"\xff{}", // SQS carries valid UTF-8 only
		good(30),
		`{"symbol":"A","price":"1","size":"1","timestamp":"2026-01-05T15:00:20Z","sequence":31}`, // late
		`[` + good(32) + `,` + tradeLine("B", 1, "5") + `]`,
		`[` + good(33) + `,{}]`, `[]`,
		`{"type":"quote","symbol":"A","bid":"101","ask":"102","timestamp":"2026-01-05T15:00:40Z"}`,
		`{"symbol":"A","price":"101","timestamp":"2226-01-05T15:00:40Z"}`,
		big, good(40),
	}, "\n")
	for _, delivery := range []string{"ordered", "unordered"} {
		for _, pack := range []string{"1", "2", "3", "100"} {
			t.Run(delivery+" "+pack, func(t *testing.T) {
				alerts, rejects := filepath.Join(t.TempDir(), "alerts"), filepath.Join(t.TempDir(), "rejects")
				r := runWith(t, feed, "--feed", "-", "--rules", rules, "--alerts", alerts, "--rejects", rejects, "--delivery", delivery, "--pack", pack)
				if r.code != 0 {
					t.Errorf("exit code %d", r.code)
				}
				want := map[string]int{"all": 21, "trade": 10, "quote": 1, "unreadable": 10, "refused by SQS": 2, "sqs:InvalidMessageContents": 1, "sqs:InvalidParameterValue": 1,
					"clock, made by this run": 1, "refused by the processor": 9, "malformed_json": 5, "future_timestamp": 1, "missing_field": 2, "non_positive": 1,
					"repeated": 1, "late": 1, "applied": 9, "dead letters": 0, "Dark": 1}
				if delivery == "unordered" { // without order nothing recognises a repeated sequence, and more may be late
					for _, row := range []string{"repeated", "late", "applied", "Dark"} {
						delete(want, row)
					}
				}
				r.mustHave(t, want)
				if n := strings.Count(read(t, rejects), "\n"); n != 11 {
					t.Errorf("the rejects file has %d lines, want 11:\n%.3000s", n, read(t, rejects))
				}
				if delivery == "ordered" {
					checkAlerts(t, read(t, alerts))
				}
			})
		}
	}
}

// checkAlerts checks the alerts of the feed above.
func checkAlerts(t *testing.T, file string) {
	var got []string
	var ids []string
	for line := range strings.Lines(file) {
		var a map[string]any
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		for _, own := range []string{"received_at", "stored_at", "published_at", "status"} {
			if _, ok := a[own]; ok {
				t.Errorf("%q is the pipeline's own, which differs from run to run", own)
			}
		}
		got = append(got, fmt.Sprint(a["rule"], " ", a["timestamp"]))
		ids = append(ids, a["alert_id"].(string))
	}
	// The trades at 2, 32 and 40 seconds re-arm the rule.
	want := []string{"Above 2026-01-05T15:00:01Z", "Above 2026-01-05T15:00:30Z", "Above 2026-01-05T15:00:33Z", "Dark 2026-01-05T15:00:40Z"}
	if !slices.IsSorted(ids) {
		t.Error("the alerts are not sorted")
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("alerts %q, want %q", got, want)
	}
}

func TestOutput(t *testing.T) {
	rules := write(t, "rules.yaml", above)
	var lines []string
	for n := range 2 * 30 {
		lines = append(lines, tradeLine("A", n+1, "101"))
	}
	feed := write(t, "feed", strings.Join(append(lines, `{"bad"`), "\n"))

	r := runWith(t, "", "--rules", rules, "--feed", feed)
	if strings.ContainsAny(r.stdout+r.stderr, "\x1b\r") {
		t.Error("escape sequences though nothing is a terminal")
	}
	if n := strings.Count(r.stdout, "A at 101"); n != maxShown {
		t.Errorf("%d alerts shown, want %d", n, maxShown)
	}
	r.mustHave(t, map[string]int{"Above": 30})

	r = runWith(t, "", "--rules", rules, "--feed", feed, "--quiet")
	if strings.Contains(r.stdout, "A at 101") {
		t.Error("alerts shown though --quiet")
	}
	r.mustHave(t, map[string]int{"Above": 30})

	r = runWith(t, "", "--rules", rules, "--feed", feed, "--alerts", "-")
	if n := strings.Count(r.stdout, "\n"); n != 30 || !strings.HasPrefix(r.stdout, `{"alert_id":`) {
		t.Errorf("standard output has %d lines, want the 30 alerts alone:\n%s", n, r.stdout)
	}
	if !strings.Contains(r.stderr, "every event is accounted for") {
		t.Error("no summary on standard error")
	}
	r = runWith(t, "", "--rules", rules, "--feed", feed, "--rejects", "-")
	if n := strings.Count(r.stdout, "\n"); n != 1 || !strings.Contains(r.stdout, `"reason":"malformed_json"`) {
		t.Errorf("standard output: %s", r.stdout)
	}
}

func TestColour(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		env  map[string]string
		want bool
	}{
		"default":    {nil, nil, true},
		"--no-color": {[]string{"--no-color"}, nil, false},
		"NO_COLOR":   {nil, map[string]string{"NO_COLOR": "1"}, false},
		"dumb":       {nil, map[string]string{"TERM": "dumb"}, false},
	} {
		o, err := parse(c.args, func(name string) string { return c.env[name] }, t.Output())
		if err != nil || o.colour != c.want {
			t.Errorf("%s: colour is %v, %v", name, o.colour, err)
		}
	}
}

func TestPrintable(t *testing.T) {
	r := alert.Record{Alert: alert.Alert{Symbol: "A", Rule: "R\x1b[2J", Severity: alert.Warning, Summary: "a\nb\u202e"}}
	plain, coloured := newPalette(false), newPalette(true)
	if line := plain.alert(&r); strings.ContainsAny(line, "\x1b\n\u202e") {
		t.Errorf("%q moves the cursor", line)
	}
	if line := coloured.alert(&r); !strings.Contains(line, "\x1b[33m") || strings.Contains(line, "[2J\x1b[2J") {
		t.Errorf("%q is not coloured", line)
	}
}

// TestRepeats: the alerts depend on feed and rules alone.
func TestRepeats(t *testing.T) {
	alerts := func(args ...string) string {
		file := filepath.Join(t.TempDir(), "alerts")
		if r := runWith(t, "", append(args, "--events", "20000", "--quiet", "--alerts", file)...); r.code != 0 {
			t.Fatalf("%q: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
		return read(t, file)
	}
	want := alerts()
	if n := strings.Count(want, "\n"); n < 10 || n > 100 { // of 13 rules and 9 symbols, a quarter of them moves of 1.5 percent
		t.Errorf("the simulated market fires %d alerts", n)
	}
	for _, args := range [][]string{{}, {"--pack", "1"}, {"--pack", "777", "--batch", "1"}, {"--concurrency", "4"}, {"--speed", "1000000x"}} {
		if alerts(args...) != want {
			t.Errorf("%q changes the alerts", args)
		}
	}
	if alerts("--seed", "2") == want {
		t.Error("another seed makes the same market")
	}
	if got := alerts("--delivery", "unordered"); got != alerts("--delivery", "unordered") {
		t.Error("unordered delivery does not repeat")
	}
	for _, args := range [][]string{{}, {"--batch", "100", "--concurrency", "4"}} {
		r := runWith(t, "", append(args, "--events", "20000", "--delivery", "unordered")...)
		if r.code != 0 || r.count(t, "late") < 200 {
			t.Errorf("unordered %q: exit code %d, %d late", args, r.code, r.count(t, "late"))
		}
	}
}

func TestSimulatedMarket(t *testing.T) {
	r := runWith(t, "", "--quiet")
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	for row, bounds := range map[string][2]int{"repeated": {100, 1000}, "late": {50, 500}, "refused by the processor": {1000, 4000}, "refused by SQS": {5, 100},
		"BlockTrade": {6, 40}, "WideSpread": {2, 30}, "CrossedQuote": {1, 15}, "Halted": {1, 5}, "FastMoveOfTrades": {5, 40}, "VolumeSurge": {1, 20},
		"Stretched": {1, 20}, "TrendCross": {5, 40}} {
		if n := r.count(t, row); n < bounds[0] || n > bounds[1] {
			t.Errorf("%q is %d, want %d to %d", row, n, bounds[0], bounds[1])
		}
	}
	r.mustHave(t, map[string]int{"all": 100_000, "SPYAbove169": -1})
}

// TestRealTrades replays 216,146 trades of 2013-10-10.
func TestRealTrades(t *testing.T) {
	if _, err := os.Stat(trades); err != nil {
		t.Skipf("the recorded trades are not there: %v", err)
	}
	if raceDetector {
		t.Skip("a million events are too many for the race detector; TestRepeats runs the same code")
	}
	var first string
	for _, args := range [][]string{{}, {"--pack", "1"}, {"--pack", "500"}} {
		file := filepath.Join(t.TempDir(), "alerts")
		r := runWith(t, "", append(args, "--feed", trades, "--quiet", "--alerts", file)...)
		if r.code != 0 {
			t.Fatalf("%q: exit code %d\n%s%s", args, r.code, r.stdout, r.stderr)
		}
		r.mustHave(t, map[string]int{"trade": 216_146, "clock, made by this run": 166, "applied": 216_312, "repeated": 0, "late": 0, "refused by the processor": 0, "refused by SQS": 0, "dead letters": 0})
		got := read(t, file)
		if first == "" {
			first = got
		}
		if n := strings.Count(got, "\n"); got != first || n < 5 || n > 200 {
			t.Errorf("%q: %d alerts, the first run had %d", args, n, strings.Count(first, "\n"))
		}
	}
	if r := runWith(t, "", "--feed", trades, "--quiet", "--delivery", "unordered"); r.code != 0 || r.count(t, "trade") != 216_146 {
		t.Errorf("unordered: exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// TestBigLines: a message holds as many lines as SQS carries.
func TestBigLines(t *testing.T) {
	var lines []string
	for n := range 7 {
		lines = append(lines, strings.Replace(tradeLine("A", n, "5"), "{", `{"note":"`+strings.Repeat("x", 300<<10)+`",`, 1))
	}
	r := runWith(t, strings.Join(lines, "\n"), "--feed", "-")
	r.mustHave(t, map[string]int{"applied": 9, "messages": 3 + 2}) // the clock's close a bar of one minute, and one of five
}

// TestDeadLetters: what the handler cannot do is on the dead-letter queue after ten receives, hours later by the clock
// that nobody waits for.
func TestDeadLetters(t *testing.T) {
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skipf("no device that is always full: %v", err)
	}
	feed := tradeLine("A", 1, "101") + strings.Repeat("\n"+strings.Repeat("bad", 100), 200)
	r := runWith(t, feed, "--feed", "-", "--pack", "20", "--rejects", full)
	if r.code != 1 || !strings.Contains(r.stderr, "are on the dead-letter queue") || !strings.Contains(r.stderr, "--rejects: ") || !strings.Contains(r.stdout, "every event is accounted for") {
		t.Errorf("exit code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r.count(t, "on the dead-letter queue")+r.count(t, "refused by the processor")+r.count(t, "applied, repeated or late") != 203 || r.count(t, "dead letters") < 1 {
		t.Errorf("%s", r.stdout)
	}
}

// TestPaced: what has been read is delivered before a wait, and a silent series is told the time.
func TestPaced(t *testing.T) {
	rules := write(t, "rules.yaml", above)
	quote := `{"type":"quote","symbol":"Q","bid":"101","ask":"102","timestamp":"2026-01-05T15:00:00Z"}`
	feed := write(t, "feed", strings.Join([]string{quote, tradeLine("A", 1, "1"), tradeLine("A", 3000, "1")}, "\n"))
	r := runWith(t, "", "--rules", rules, "--feed", feed, "--speed", "10000x")
	r.mustHave(t, map[string]int{"all": 3, "clock, made by this run": 1, "applied": 4, "Dark": 1})
	if r = runWith(t, "", "--rules", rules, "--feed", feed); r.code != 0 {
		t.Errorf("exit code %d", r.code)
	}
	r.mustHave(t, map[string]int{"all": 3, "clock, made by this run": 1, "applied": 4, "Dark": 1})
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lines := &cancelling{cancel: cancel, after: 50}
	var stdout, stderr bytes.Buffer
	code := run(ctx, []string{"--feed", "-", "--rules", write(t, "rules.yaml", above), "--pack", "10"}, func(string) string { return "" }, lines, &stdout, &stderr)
	r := result{code, stdout.String(), stderr.String()}
	if code != 1 || !strings.Contains(r.stderr, "interrupted") || !strings.Contains(r.stdout, "every event is accounted for") {
		t.Errorf("exit code %d\n%s%s", code, r.stdout, r.stderr)
	}
}

// cancelling is a feed without end, during which the user presses Ctrl-C.
type cancelling struct {
	cancel   func()
	n, after int
}

func (c *cancelling) Read(b []byte) (int, error) {
	if c.n++; c.n == c.after {
		c.cancel()
	}
	return copy(b, tradeLine("A", c.n, "101")+"\n"), nil
}

// failing is a ledger on which one series cannot be written, the first few times or ever.
type failing struct {
	*ledger.Memory
	series string
	times  int
}

func (f *failing) Commit(ctx context.Context, c alert.Commit) (alert.CommitResult, error) {
	if c.Series == f.series && f.times > 0 {
		f.times--
		return alert.CommitResult{}, errors.New("the disk is on fire")
	}
	return f.Memory.Commit(ctx, c)
}

func TestFailures(t *testing.T) {
	rules, err := alert.Load("rules.yaml", []byte(above))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for n := range 40 {
		lines = append(lines, tradeLine("A", n, "101"), tradeLine("B", n, "101"), "nonsense")
	}
	for name, c := range map[string]struct {
		times, dead, deadIn int
	}{"passing": {5, 0, 0}, "for ever": {1 << 30, 4, 40}} {
		t.Run(name, func(t *testing.T) {
			o, err := parse([]string{"--feed", write(t, "feed", strings.Join(lines, "\n")), "--pack", "10"}, func(string) string { return "" }, t.Output())
			if err != nil {
				t.Fatal(err)
			}
			in, err := o.open(nil)
			if err != nil {
				t.Fatal(err)
			}
			var errs, rejected bytes.Buffer
			p, err := newPipeline(o, rules, &rejected, newScreen(o, &errs, &errs, -1))
			if err != nil {
				t.Fatal(err)
			}
			p.handler, err = ingest.New(ingest.Config{Engine: rules.Engine(alert.Options{Ordered: true, Lateness: 5 * time.Second}), Ledger: &failing{p.ledger, "A|", c.times},
				Notifier: p.screen, Queue: p.rejects, Metrics: p.account, Now: p.clock.now, SeriesConcurrency: 1, Logger: slog.New(slog.NewTextHandler(p.screen, nil))})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.run(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			p.account.close(p)
			if err := p.account.check(); err != nil {
				t.Error(err)
			}
			a := p.account
			if a.dead != c.dead || a.deadIn != c.deadIn || a.left != 0 || a.returned == 0 {
				t.Errorf("%d dead with %d events, %d left, %d returned", a.dead, a.deadIn, a.left, a.returned)
			}
			if a.rejected() != 40 || a.done() != 120-c.deadIn {
				t.Errorf("done %d, rejected %d", a.done(), a.rejected())
			}
			if c.dead > 0 && (a.failed == 0 || !strings.Contains(errs.String(), "the disk is on fire")) {
				t.Errorf("%d failed invocations, and the reason is not shown: %s", a.failed, errs.String())
			}
			if n := strings.Count(errs.String(), "the disk is on fire"); n > maxShown {
				t.Errorf("%d errors shown", n)
			}
		})
	}
}

func TestUnaccounted(t *testing.T) {
	a := newAccount()
	a.read = 3
	if a.check() == nil {
		t.Error("3 events are nowhere, and nobody minds")
	}
	if _, err := a.Write([]byte(`{"EventsReceived":3,"EventsRejected":1}`)); err != nil {
		t.Fatal(err)
	}
	if a.check() == nil {
		t.Error("a refused event was not kept, and nobody minds")
	}
	a.rejects(&market.Rejected{Reason: market.MalformedJSON})
	if err := a.check(); err != nil {
		t.Error(err)
	}
	if _, err := a.Write([]byte(`{"EventsReceived":0,"EventsLate":3}`)); err != nil {
		t.Fatal(err)
	}
	if a.check() == nil {
		t.Error("more late events than events, and nobody minds")
	}
	if _, _ = a.Write([]byte(`{`)); a.check() == nil {
		t.Error("unreadable metrics, and nobody minds")
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -100: "-100", -1000: "-1,000"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 999: "999ns", 1234567: "1.23ms", 12345678: "12.3ms", 1234567890: "1.23s", 93 * time.Second: "1m33s"} {
		if got := short(d); got != want {
			t.Errorf("short(%d) = %q, want %q", d, got, want)
		}
	}
	var took []time.Duration
	for i := range 100 {
		took = append(took, time.Duration(i+1))
	}
	if got := []time.Duration{quantile(nil, 0.5), quantile(took[:1], 0.99), quantile(took, 0.5), quantile(took, 0.99)}; !slices.Equal(got, []time.Duration{0, 1, 50, 99}) {
		t.Errorf("quantiles %v", got)
	}
}

func TestGzip(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	fmt.Fprintln(w, tradeLine("A", 1, "101"))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := runWith(t, "", "--rules", write(t, "rules.yaml", above), "--feed", write(t, "a", b.String()), "--feed", write(t, "b", tradeLine("A", 2, "101")+"\n"+tradeLine("A", 3, "101")))
	r.mustHave(t, map[string]int{"trade": 3, "Above": 2})
}

// TestScript runs ./scripts/run, from another folder.
func TestScript(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skipf("no bash: %v", err)
	}
	script, err := filepath.Abs("../run")
	if err != nil {
		t.Fatal(err)
	}
	oldGo := t.TempDir()
	if err := os.WriteFile(filepath.Join(oldGo, "go"), []byte("#!/bin/sh\necho go1.20.14\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		args []string
		code int
		says string
	}{
		"works":     {"", []string{"--events", "500", "--quiet", "--alerts", "here"}, 0, "every event is accounted for"},
		"failure":   {"", []string{"--feed", "absent"}, 1, "absent"},
		"bad usage": {"", []string{"--nonsense"}, 2, "Usage:"},
		"old Go":    {oldGo + ":", nil, 1, "this is Go 1.20.14, but the module needs"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), bash, append([]string{script}, c.args...)...)
			cmd.Dir = t.TempDir()
			cmd.Env = append(os.Environ(), "PATH="+c.path+os.Getenv("PATH"))
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
				t.Errorf("exit code %d, want %d, and %q in:\n%s", code, c.code, c.says, out)
			}
			if _, err := os.Stat(filepath.Join(cmd.Dir, "here")); c.code == 0 && err != nil {
				t.Errorf("a relative path is not taken from the caller's folder: %v", err)
			}
		})
	}
}

// BenchmarkReplay replays the real trades; one operation is one event.
func BenchmarkReplay(b *testing.B) {
	if _, err := os.Stat(trades); err != nil {
		b.Skipf("the recorded trades are not there: %v", err)
	}
	for _, pack := range []string{"1", "100", "500"} {
		b.Run("pack="+pack, func(b *testing.B) {
			events := 0
			for b.Loop() {
				r := runWith(b, "", "--feed", trades, "--quiet", "--pack", pack)
				events += r.count(b, "trade")
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
