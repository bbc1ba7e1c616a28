package alert

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// manual is the manual of rules, sentence by sentence, in its order, each with the tests that prove it: a test of this
// package by its name, others as folder:name. " ... " leaves out the middle of a sentence.
var manual = []struct{ sentence, tests string }{
	{"A rule is a named expression over market data, in a file that a person writes, reviews and versions (YAML).", "TestLoadDefaultsAndFields TestRuleVersion"},
	{"The shape follows Prometheus alerting rules (`alert`, `expr`, `for`, `labels`)", "TestManualExample"},
	{"the functions follow Pine Script's names (`sma`, `crossover` …): people of both trades read it without a manual.", "TestFunctionsInRules"},
	{"The same engine runs it in Lambda, in the local run and in a replay of history.", "TestEngineIsPure ../../../functions/processor:TestInvokeFires ../../../scripts/local:TestRealTrades"},
	{"`on: silence` with `after: 5m` and no `expr`: the series sent nothing for that long within its session.", "TestSilence TestLoadFindsEveryMistakeInOneRun"},

	// Language
	{"`expr-lang/expr` is the PARSER only", "TestOnlyTheParserIsUsed"},
	{"(its checker stops ... own closures cost 12 ns and none).", "TestStepAllocatesNothingWhenNothingFires TestHistoryAllocatesNothing BenchmarkStep"},
	{"Our own pass whitelists nodes", "TestExpressionsRefused FuzzExpression"},
	{"checks types", "TestExpressionsRefused"},
	{"collects ALL errors (one syntax error per rule)", "TestErrorsDoNotHideErrors TestExpressionReportsEveryMistake TestLoadFindsEveryMistakeInOneRun"},
	{"with file, line, column and remedy", "TestPlaceOfMistakesInExpressions TestLoadFindsEveryMistakeInOneRun"},
	{"turns equal indicator calls into shared slots", "TestSlotsAreShared"},
	{"and compiles the rest to closures.", "TestExpressions TestCanonicalText"},
	{"Every slot steps on every event of its kind, never short-circuited.", "TestSlotsAreShared"},
	{"Lengths are constants, 1-1,000.", "TestExpressionsRefused TestNewIndicatorRefuses"},
	{"A rule that does not load is refused when the stack is synthesised;", "../../../constructs:TestRulesAreChecked"},
	{"a Lambda never starts with half a rule set.", "TestLoadRefusesFilesThatAreNoRules ../../../functions/processor:TestNewHandlerRefuses"},
	{"`trade` | `price`, `size`, `side`, `venue`", "TestExpressions"},
	{"(ineligible trades do not evaluate)", "TestTradesThatDoNotEvaluate"},
	{"`quote` | `bid`, `ask`, `bid_size`, `ask_size`, `mid`, `spread`, `spread_bps`;", "TestExpressions TestQuoteSides"},
	{"quotes of one series with the same timestamp are evaluated once, after the last", "TestQuotesOfOneTimestampAreEvaluatedOnce TestQuotesAreNotEvaluatedAgain"},
	{"`bar` | `open`, `high`, `low`, `close`, `volume`, `bar_vwap`, `trades`", "TestValuesOfAVendorsBar TestBarsFromTrades"},
	{"`status` | `state`, `reason`", "TestStatus"},
	{"all but status | `day_open`, `day_high`, `day_low`, `prev_close` of the day (the session's; default UTC)", "TestDayValues TestLoadFindsEveryMistakeInOneRun"},
	{"function (n = number of events or bars) | definition (fixed, so that references reproduce)", "TestReferenceStockIndicators TestReferenceLean"},
	{"`prev(x, n)` | the value n evaluations ago (Pine's `x[n]`)", "TestIndicatorDefinitions TestFunctionsInRules"},
	{"`sma`, `sum`, `highest`, `lowest`, `stdev` | over the last n, the current one included;", "TestIndicatorDefinitions TestFunctionsInRules TestPropertyIndicatorEqualsRecomputation"},
	{"`stdev` is the population's", "TestIndicatorDefinitions"},
	{"`ema` | seeded with the SMA of the first n; alpha = 2/(n+1)", "TestIndicatorDefinitions TestFunctionsInRules"},
	{"`rma` | Wilder's: seeded with the SMA; alpha = 1/n", "TestIndicatorDefinitions TestFunctionsInRules"},
	{"`rsi` | Wilder's, 0-100: gains and losses smoothed by `rma` of the changes; 100 where there are gains only, NaN where there is neither", "TestIndicatorDefinitions TestRSIStandsStill"},
	{"`atr` | `on: bar`: `rma` of the true range, which starts at the second bar", "TestIndicatorDefinitions TestFunctionsInRules TestExpressionsRefused"},
	{"`change(x, n)`, `roc(x, n)` | difference; percent", "TestIndicatorDefinitions TestFunctionsInRules"},
	{"`zscore(x, n)` | (x - sma) / stdev", "TestIndicatorDefinitions TestFunctionsInRules"},
	{"`bb_upper(x, n, k)`, `bb_lower` | sma ± k·stdev", "TestIndicatorDefinitions TestFunctionsInRules"},
	{"`vwap()` | (high+low+close)/3 by volume, cumulative from the session's start (default: the UTC day)", "TestIndicatorDefinitions TestFunctionsInRules TestDayValues"},
	{"`crossover(a, b)`, `crossunder(a, b)` | now a > b and before a <= b (mirrored);", "TestIndicatorDefinitions TestWarmUp"},
	{"needs a previous evaluation of both", "TestWarmUp TestIndicatorDefinitions"},
	{"`abs min max log sqrt`", "TestExpressions TestLogarithm"},
	{"Literals convert through the same fixed point as prices: 200.1 is 200.1.", "TestExpressions"},

	// When an alert fires
	{"Per rule and series: *armed* ... *armed*; `expr` false while pending → *armed*.", "TestFiringStates TestTransitionTableIsComplete"},
	{"When it fires: `on: trade`, `quote` at t0 + `for`, if not false since;", "TestFor"},
	{"`on: bar` at the first close >= t0 + `for`;", "TestFor"},
	{"in both not before the last firing + `cooldown` (cooldown delays to the next evaluation that is still true, it does not swallow).", "TestFiringStates TestFor"},
	{"Before applying an event of time t the engine runs all timers <= t in time order,", "TestFor TestOrderOfAlerts TestDueIsWhenATimerRuns"},
	{"so a clock event changes nothing but the moment.", "TestHistoryClocksChangeOnlyTheMoment"},
	{"No evaluation at all, and no change, while an operand is NaN or infinite,", "TestExpressions TestTradesThatDoNotEvaluate"},
	{"while a slot warms up,", "TestWarmUp"},
	{"or outside the session (leaving it cancels *pending*).", "TestSessionsGateEvaluation"},
	{"A rule true at its very first evaluation fires; use `crossover` where only the crossing counts.", "TestFiringStates TestWarmUp"},
	{"Editing `expr`, `reset`, `for`, `on`, `interval`, `from`, `session` re-arms (the last firing time stays, so `cooldown` still holds);", "TestEditsThatReArm TestEditedRules TestEditsOfOnAndMaxGap"},
	{"other edits do not.", "TestEditsThatReArm TestEditedRules TestEditsOfOnAndMaxGap"},
	{"`for` on a bare cross is refused.", "TestLoadFindsEveryMistakeInOneRun"},
	{"`expires` compares event time.", "TestExpires TestExpiresOfASilence"},
	{"`rules check` warns about a level without `reset` or `cooldown`: on real tape it fires 50-500 times a day.", "TestLoadWarns ../../../scripts/rules:TestRun"},
	{"A silence counts from the later of the last event and the session's start, fires once, is re-armed by the next event;", "TestSilence"},
	{"a series never seen (or forgotten after 30 days) cannot be noticed.", "TestSilence ../../../constructs:TestDefaults ../../../functions/processor/ledger:TestExpiry"},

	// Time
	{"Events of a series apply in arrival order.", "TestEventsApplyInArrivalOrder"},
	{"One number, `lateness` (default 5 s, a prop):", "../../../constructs:TestDefaults ../../../constructs:TestPropsReachTheTemplate"},
	{"an event more than that behind the newest EVENT of its series and kind is late:", "TestRepeatedAndLate TestOldVendorsBarsAreLate TestEventsThatChangeNoRuleLeaveNoTrace"},
	{"counted, never applied, kept in the rejects queue if it was a retry.", "TestRepeatedAndLateLeaveTheStateAlone ../../../functions/processor/ingest:TestLateEventsOfARetryAreKept"},
	{"A clock or a vendor bar never makes an event late.", "TestRepeatedAndLate TestOldVendorsBarsAreLate"},
	{"A bar built from trades closes when the series' time (a trade's, or a clock's) reaches its end + `lateness`;", "TestBarsFromTrades"},
	{"until then stragglers still enter it, in any order, open and close by (timestamp, sequence);", "TestBarsFromTrades TestPermutationsGiveTheSameBars"},
	{"a trade whose bar is closed is late for that bar only.", "TestBarsFromTrades"},
	{"A vendor bar is final on arrival.", "TestRevisionsOfBars"},
	{"Bars belong to a session by their START;", "TestBarsBelongToASessionByTheirStart TestBarsBelongToADayByTheirStart"},
	{"`end < start` is overnight;", "TestSessions"},
	{"sessions gate evaluation, not indicators;", "TestSessionsDoNotGateIndicators TestSessionsGateEvaluation"},
	{"`vwap` and `day_*` restart with the session.", "TestDayValues"},
	{"Zone data is linked in.", "TestZoneDataIsLinkedIn TestSessions"},
	{"Holidays are not known: say so.", "TestHolidaysAreNotKnown"},
	{"Ineligible trades enter a bar's volume only.", "TestBarsFromTrades TestVolumeAloneIsNoBar"},

	// The alert
	{"One flat record, the same names everywhere (DynamoDB attributes, SNS JSON, the local run's NDJSON):", "TestAppendJSON TestReservedNamesAreTheRecords ../../../functions/processor/notify:TestBothPublishTheRecord ../../../functions/processor/ledger:TestDynamoDB"},
	{"`alert_id` | time, then a hash of rule name, series, interval, event or bar time, ordinal at that time: sorts by time;", "TestAlertID TestBarsFromTrades TestTwoFiringsAtOneTimeHaveTwoIDs"},
	{"the same for the same occurrence whatever was retried, redriven, edited or replayed", "TestAlertIDSurvivesEdits TestHistoryBatchesDoNotMatter TestHistoryRepetitionsChangeNothing TestReplayOfTheDayIsReproducible"},
	{"`symbol`, `source`, `rule`, `severity`, `labels`, `summary` | as in the rule, rendered", "TestAlertRecord"},
	{"(text/template, missing key = error at load; numbers to 6 significant digits, prices as decimals)", "TestSummaries TestNumbersInSummaries TestLoadFindsEveryMistakeInOneRun"},
	{"`timestamp` | event time (for a bar: its end), RFC 3339 UTC", "TestAppendJSON TestBarsFromTrades"},
	{"`value`, `operands` | the non-constant side of the first comparison (of a bare cross, its first argument); every operand by its text (`{\"sma(close, 20)\": 101.2}`): why it fired, readable without the code", "TestValueAndOperands TestWarmUp"},
	{"`price` | the event's price (close, mid): the number that was sent", "TestAlertRecord TestQuoteAlertNamesTheLastQuote TestBarsFromTrades"},
	{"`event_id`, `sequence`, `venue` | of the event that fired it", "TestAlertRecord TestQuoteAlertNamesTheLastQuote TestForTellsTheLastEvaluation"},
	{"`rule_version` | hash of the rule as written", "TestRuleVersion"},
	{"`received_at`, `stored_at`, `status`, `published_at` | the pipeline's own times and the state of the notification (absent in a replay)", "TestAppendJSON"},
}

// manualExample is the manual's rule.
const manualExample = `rules:
  - alert: LargeMove
    symbols: [AAPL, "BTC*"]            # globs (` + "`*` matches `/`" + ` too); default: all
    sources: [alpaca]                  # default: all
    on: bar                            # trade (default) | quote | bar | status | silence
    interval: 1m                       # with on: bar
    from: trades                       # bars (default: the feed's bars of this interval) | trades (built here)
    expr: abs(roc(close, 5)) > 3       # percent over 5 bars
    reset: abs(roc(close, 5)) < 1      # hysteresis; default: expr is false
    for: 0s                            # must hold this long, in event time
    cooldown: 10m                      # per rule and series
    session: "America/New_York 09:30-16:00 mon-fri"
    max_gap: 30m                       # a longer silence restarts the windows; default: none
    expires: 2027-01-01T00:00:00Z
    severity: critical                 # info | warning | critical
    notify: true                       # false: stored, not published (try a rule in the dark)
    labels: {desk: equities}
    summary: "{{ .symbol }} moved {{ .value }}% in 5 bars, last {{ .close }}"
`

// Every test that the table names exists, wherever it is.
func TestManualNamesTests(t *testing.T) {
	folders := map[string]map[string]bool{}
	for _, m := range manual {
		if m.tests == "" {
			t.Errorf("no test proves %q", m.sentence)
		}
		for _, name := range strings.Fields(m.tests) {
			folder, test, elsewhere := strings.Cut(name, ":")
			if !elsewhere {
				folder, test = ".", name
			}
			if folders[folder] == nil {
				folders[folder] = testsIn(t, folder)
			}
			if !folders[folder][test] {
				t.Errorf("%q is proven by %s, which does not exist", m.sentence, name)
			}
		}
	}
}

// testsIn are the names of the tests, benchmarks and fuzz tests of a folder.
func testsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, file := range parsed(t, folder, true) {
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// parsed are a folder's Go files: its tests, or all others.
func parsed(t *testing.T, folder string, tests bool) (files []*ast.File) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") == tests {
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, f)
		}
	}
	if len(files) == 0 {
		t.Fatalf("no Go files in %s", folder)
	}
	return files
}

func TestManualExample(t *testing.T) {
	rules := mustLoad(t, manualExample)
	r := rules.rules[0]
	if len(rules.Warnings()) > 0 || r.name != "LargeMove" || !r.watches("BTC/USD", "alpaca") || !r.watches("AAPL", "alpaca") || r.watches("MSFT", "alpaca") || r.watches("AAPL", "x") ||
		r.on != market.Bar || r.interval != time.Minute || !r.built || r.reset == nil || r.hold != 0 || time.Duration(r.cooldown) != 10*time.Minute || time.Duration(r.maxGap) != 30*time.Minute ||
		r.session == nil || r.expires != at("2027-01-01T00:00:00Z") || r.severity != Critical || !r.notify || fmt.Sprint(r.labels) != "[{desk equities}]" {
		t.Errorf("%+v, warnings %v", r, rules.Warnings())
	}
	// A bar a minute: 100 for six minutes, then 104, closed by the clock.
	p := rules.Engine(ordered).Program("AAPL", "alpaca")
	s, out := p.NewState(), []Alert(nil)
	for i := range 7 {
		e := trade(float64(60*i), 100)
		e.Source = "alpaca"
		if i == 6 {
			e.Price = 104 * market.Unit
		}
		out, _ = p.Step(s, &e, out)
	}
	c := clock(7*60 + 5)
	if out, _ = p.Step(s, &c, out); times(out) != "LargeMove420" || out[0].Summary != "AAPL moved 4% in 5 bars, last 104" {
		t.Errorf("alerts %+v", out)
	}
}

// Of the language's module only the parser is linked, and what it makes.
func TestOnlyTheParserIsUsed(t *testing.T) {
	for _, f := range parsed(t, ".", false) {
		for _, i := range f.Imports {
			if path := strings.Trim(i.Path.Value, `"`); strings.HasPrefix(path, "github.com/expr-lang/expr") && !slices.Contains([]string{"ast", "file", "parser"}, strings.TrimPrefix(path, "github.com/expr-lang/expr/")) {
				t.Errorf("%s is imported", path)
			}
		}
	}
}

// "`Step` is pure and deterministic: no clock, no randomness, no goroutine": nothing in the package has them.
func TestEngineIsPure(t *testing.T) {
	for _, f := range parsed(t, ".", false) {
		for _, i := range f.Imports {
			if path := strings.Trim(i.Path.Value, `"`); slices.Contains([]string{"os", "math/rand", "math/rand/v2", "crypto/rand", "net", "context"}, path) {
				t.Errorf("%s is imported", path)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%T", n)
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "NewTimer"}, n.Sel.Name) {
					t.Errorf("time.%s is used", n.Sel.Name)
				}
			}
			return true
		})
	}
}

func TestZoneDataIsLinkedIn(t *testing.T) {
	linked := false
	for _, f := range parsed(t, ".", false) {
		for _, i := range f.Imports {
			linked = linked || i.Path.Value == `"time/tzdata"`
		}
	}
	if !linked {
		t.Error("time/tzdata is not imported")
	}
}

func TestValuesOfAVendorsBar(t *testing.T) {
	full := vendorBar(0, 4)
	full.Open, full.High, full.Low, full.Volume = 2*market.Unit, 5*market.Unit, 1*market.Unit, 700
	bare := full
	full.HasVWAP, full.VWAP, full.HasTrades, full.Trades = true, 3*market.Unit, true, 9
	for expr, want := range map[string]string{
		"open == 2 and high == 5 and low == 1 and close == 4 and volume == 700": "60 60",
		"bar_vwap == 3 and trades == 9":                                         "60 ",
		"bar_vwap >= 0 or close > 0":                                            "60 ", // absent: no evaluation
		"trades >= 0 or close > 0":                                              "60 ",
	} {
		p := program(t, ordered, oneRule("on: bar", "interval: 1m", "expr: "+expr))
		if got := firings(t, p, full) + " " + firings(t, p, bare); got != want {
			t.Errorf("%s: fired at %q, want %q", expr, got, want)
		}
	}
}

// Each function, called as a rule calls it, on bars that close at 2, 4, 6, 3 and are one unit high, with volume 100.
func TestFunctionsInRules(t *testing.T) {
	bars := []market.Event{vendorBar(0, 2), vendorBar(1, 4), vendorBar(2, 6), vendorBar(3, 3)}
	for i := range bars {
		bars[i].High += market.Unit
	}
	bars[3].Volume = 300
	want := map[string]string{
		"prev(close, 1)":                   "- 2 4 6",
		"sma(close, 2)":                    "- 3 5 4.5",
		"sum(close, 2)":                    "- 6 10 9",
		"highest(close, 2)":                "- 4 6 6",
		"lowest(close, 2)":                 "- 2 4 3",
		"stdev(close, 2)":                  "- 1 1 1.5",
		"ema(close, 2)":                    "- 3 5 3.667",
		"rma(close, 2)":                    "- 3 4.5 3.75",
		"rsi(close, 2)":                    "- - 100 40",
		"atr(2)":                           "- - 3 3",
		"change(close, 2)":                 "- - 4 -1",
		"roc(close, 1)":                    "- 100 50 -50",
		"zscore(close, 2)":                 "- 1 1 -1",
		"bb_upper(close, 2, 2)":            "- 5 7 7.5",
		"bb_lower(close, 2, 2)":            "- 1 3 1.5",
		"vwap()":                           "2.333 3.333 4.333 3.833",
		"crossover(close, 3)":              "- 1 0 0",
		"crossunder(close, 5)":             "- 0 0 1",
		"crossunder(close, sma(close, 2))": "- - 0 1",
	}
	for text, w := range want {
		expr := text + " > 0"
		if strings.HasPrefix(text, "cross") {
			expr = text
		}
		p := program(t, ordered, oneRule("on: bar", "interval: 1m", "expr: "+expr, "cooldown: 1h"))
		if got := values(t, p, text, bars...); got != w {
			t.Errorf("%s: %s, want %s", text, got, w)
		}
	}
	for name := range history {
		if !slices.ContainsFunc(slices.Collect(func(yield func(string) bool) {
			for text := range want {
				if !yield(text) {
					return
				}
			}
		}), func(text string) bool { return strings.HasPrefix(text, name+"(") }) {
			t.Errorf("%s() is not tested", name)
		}
	}
}

// "Events of a series apply in arrival order", whatever their times, within the lateness.
func TestEventsApplyInArrivalOrder(t *testing.T) {
	p := program(t, ordered, oneRule("expr: prev(price, 1) > 1e6", "cooldown: 1h"))
	if got := values(t, p, "prev(price, 1)", trade(3, 30), trade(1, 10), trade(2, 20), trade(4, 40)); got != "- 30 10 20" {
		t.Errorf("values %s", got)
	}
}

// The session of t0's day is from minute 0 to minute 390.
func TestBarsBelongToASessionByTheirStart(t *testing.T) {
	for _, from := range []string{"bars", "trades"} {
		p := program(t, ordered, oneRule("on: bar", "interval: 1m", "from: "+from, "expr: close > 10", "reset: close > 10", inSession))
		s, out := p.NewState(), []Alert(nil)
		for _, minute := range []int{-2, -1, 0, 389, 390} {
			e := vendorBar(minute, 11)
			if from == "trades" {
				e = trade(float64(60*minute), 11)
			}
			out, _ = p.Step(s, &e, out)
		}
		c := clock(391*60 + 5)
		out, _ = p.Step(s, &c, out)
		// The bar that ends at the session's start is outside, the one that ends at its end inside: it re-arms.
		if got := times(out); got != "60" || s.rules[0].phase != armed {
			t.Errorf("from %s: fired at %q, phase %d; want 60, armed", from, got, s.rules[0].phase)
		}
	}
}

// The day of a bar is that of its start, too: one that ends at midnight belongs to the day before.
func TestBarsBelongToADayByTheirStart(t *testing.T) {
	const night = 630 // minutes from t0 to 00:00 UTC
	p := program(t, ordered, oneRule("on: bar", "interval: 1m", "expr: day_open + vwap() > 1e6", "cooldown: 1h"))
	for text, want := range map[string]string{"day_open": "5 5 8", "vwap()": "5 5.5 8"} {
		if got := values(t, p, text, vendorBar(night-2, 5), vendorBar(night-1, 6), vendorBar(night, 8)); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// A bar of the feed that is older than the newest of its own interval, by more than the lateness, is late; to other kinds,
// and to other intervals, it means nothing.
func TestOldVendorsBarsAreLate(t *testing.T) {
	p := program(t, ordered, oneRule("on: bar", "interval: 1m", "expr: sma(close, 2) > 1e6", "cooldown: 1h"))
	if got := outcomes(p, p.NewState(), vendorBar(5, 1), vendorBar(4, 1), trade(1, 1), quote(1, 1, 2), vendorBar(6, 1)); got != "ALAAA" {
		t.Errorf("outcomes %s", got)
	}
}

// "Sessions gate evaluation, not indicators": a window holds what came outside the session.
func TestSessionsDoNotGateIndicators(t *testing.T) {
	p := program(t, ordered, oneRule("expr: sma(price, 3) > 0", inSession, "cooldown: 1h"))
	events := []market.Event{trade(-3, 3), trade(-2, 6), trade(-1, 9), trade(0, 12)}
	if got := values(t, p, "sma(price, 3)", events...); got != "- - 6 9" {
		t.Errorf("values %s", got)
	}
	if got := firings(t, p, events...); got != "0" {
		t.Errorf("fired at %q, want 0", got)
	}
}

// "Holidays are not known: say so": Christmas is a Wednesday like any other, and who writes a session is told.
func TestHolidaysAreNotKnown(t *testing.T) {
	s, err := parseSession("America/New_York 09:30-16:00 mon-fri")
	if err != nil || !s.at(at("2013-12-25T15:00:00Z")).inside {
		t.Errorf("a holiday is not in the session: %v", err)
	}
	if _, err := parseSession("NYSE"); err == nil || !strings.Contains(err.Error(), "holidays are not known") {
		t.Errorf("%v does not tell", err)
	}
}

// "`rule_version`: hash of the rule as written": of all that is written but layout and comments.
func TestRuleVersion(t *testing.T) {
	version := func(src string) string { return mustLoad(t, src).rules[0].version }
	base := version(oneRule("expr: price > 1", "cooldown: 1m"))
	if same := version("rules: [{alert: R, expr: 'price > 1', # why\n cooldown: 1m}]"); same != base {
		t.Error("layout changes the version")
	}
	for _, other := range []string{oneRule("expr: price > 2", "cooldown: 1m"), oneRule("expr: price > 1", "cooldown: 2m"), oneRule("expr: price > 1", "cooldown: 1m", "summary: x"), oneRule("expr: price > 1", "cooldown: 1m", "symbols: [A*]")} {
		if version(other) == base {
			t.Errorf("the version is the same for\n%s", other)
		}
	}
}

// "The same for the same occurrence whatever was … edited": the id depends on the rule's name only.
func TestAlertIDSurvivesEdits(t *testing.T) {
	ids := map[string]bool{}
	for _, lines := range [][]string{{"expr: price > 10"}, {"expr: price > 9", "severity: critical", "cooldown: 1h"}, {"expr: price > 10", "summary: x", "session: \"UTC 00:00-24:00\"", "reset: price < 2"}} {
		ids[fire(t, oneRule(lines...), trade(0, 11)).ID] = true
	}
	if len(ids) != 1 {
		t.Errorf("ids %v, want one", ids)
	}
}

func TestEditsOfOnAndMaxGap(t *testing.T) {
	edited := func(lines ...string) uint64 { return mustLoad(t, oneRule(lines...)).rules[0].editHash }
	const expr = "expr: day_open > 10"
	if edited(expr) == edited("on: quote", expr) {
		t.Error("on does not re-arm")
	}
	if edited("expr: sma(price, 3) > 10") != edited("expr: sma(price, 3) > 10", "max_gap: 1h") {
		t.Error("max_gap re-arms")
	}
	if edited("on: silence", "after: 5m") == edited("on: silence", "after: 6m") {
		t.Error("after does not re-arm")
	}
}

func TestExpiresOfASilence(t *testing.T) {
	p := program(t, ordered, oneRule("on: silence", "after: 5s", "expires: 2013-10-10T13:30:10Z"))
	if got := firings(t, p, trade(0, 1), trade(7, 1), clock(60)); got != "5" {
		t.Errorf("fired at %q, want 5", got)
	}
}

// The logarithm is right to the last bit but one, and pinned: all processors must compute these bits.
func TestLogarithm(t *testing.T) {
	pinned, bits := uint64(0xe36b5fff2ac850d2), uint64(0)
	for x := 1e-300; x < 1e300; x *= 1.37 {
		got := logarithm(x)
		if std := math.Log(x); math.Abs(got-std) > math.Abs(std)*2.3e-16 {
			t.Errorf("log(%v) = %v, want %v", x, got, std)
		}
		bits = bits*31 + math.Float64bits(got)
	}
	if bits != pinned {
		t.Errorf("the logarithms have the hash %#x, want %#x", bits, pinned)
	}
	// Where one processor's standard library says -709.
	if got := logarithm(math.SmallestNonzeroFloat64); got != -744.4400719213812 {
		t.Errorf("log of the smallest number = %v", got)
	}
	for x, want := range map[float64]float64{1: 0, 0: math.Inf(-1), math.Inf(1): math.Inf(1), -1: math.NaN(), math.NaN(): math.NaN(), math.Inf(-1): math.NaN()} {
		if got := logarithm(x); got != want && !(math.IsNaN(got) && math.IsNaN(want)) {
			t.Errorf("log(%v) = %v, want %v", x, got, want)
		}
	}
}

// The same on all processors: where one can add to a product without rounding it in between, the compiler may, and then
// Lambda on ARM would not compute what a replay elsewhere does. No such instruction is in this package or in market, but
// for the one that is asked for.
func TestNoFusedArithmetic(t *testing.T) {
	if testing.Short() {
		t.Skip("compiling for another processor takes seconds")
	}
	c := exec.Command("go", "build", "-gcflags=-S", ".", "../market")
	c.Env = append(os.Environ(), "GOOS=linux", "GOARCH=arm64", "CGO_ENABLED=0")
	listing, err := c.CombinedOutput()
	if err != nil {
		t.Skipf("cannot compile for arm64: %v: %.300s", err, listing)
	}
	instructions, asked := 0, 0
	for line := range strings.Lines(string(listing)) {
		instructions++
		if !strings.Contains(line, "\tFMADD") && !strings.Contains(line, "\tFMSUB") && !strings.Contains(line, "\tFNM") {
			continue
		}
		_, place, _ := strings.Cut(line, "(")
		place, _, _ = strings.Cut(place, ")")
		path, number, _ := strings.Cut(place, ":")
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		fmt.Sscan(number, &n)
		if lines := strings.Split(string(src), "\n"); n < 1 || n > len(lines) || !strings.Contains(lines[n-1], "math.FMA(") {
			t.Errorf("%s fuses: write float64(x*y)", place)
		}
		asked++
	}
	if instructions < 1000 || asked == 0 {
		t.Errorf("%d lines, %d fused: the listing is not what this test reads", instructions, asked)
	}
}
