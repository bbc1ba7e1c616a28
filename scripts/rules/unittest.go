package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// testFile is a file of rule tests.
type testFile struct {
	RuleFiles []string   `yaml:"rule_files"` // relative to the file
	Lateness  string     `yaml:"lateness"`   // default: that of a deployment
	Tests     []unitTest `yaml:"tests"`
}

// unitTest says which alerts market data must raise: exactly these, in any order.
type unitTest struct {
	Name   string           `yaml:"name"`
	Rule   string           `yaml:"rule"`   // only its alerts count; default: those of all rules
	Start  string           `yaml:"start"`  // what durations are after
	Events string           `yaml:"events"` // wire format, one a line, in the order of their arrival
	Series []map[string]any `yaml:"series"` // see events
	// Until is when the test ends: every series is then told the time, so that bars close and silences are noticed.
	// Default: a minute after the last event.
	Until  string     `yaml:"until"`
	Alerts []expected `yaml:"alerts"`
}

// expected is an alert that must fire. What is empty may be anything, but for rule (default: the test's) and symbol
// (default: that of all the test's events).
type expected struct {
	Rule      string   `yaml:"rule"`
	Symbol    string   `yaml:"symbol"`
	Timestamp string   `yaml:"timestamp"`
	Value     *float64 `yaml:"value"` // to 6 significant digits
	Summary   *string  `yaml:"summary"`

	time int64
}

// test runs the tests of one file.
func test(path string, stdout, stderr io.Writer) bool {
	source, err := os.ReadFile(path)
	if err != nil {
		fmt.Fprintf(stderr, "rules: %v\n", err)
		return false
	}
	var f testFile
	if err := yaml.UnmarshalWithOptions(source, &f, yaml.Strict()); err != nil {
		fmt.Fprintf(stderr, "%s: %s\n", path, strings.TrimSpace(yaml.FormatError(err, false, true)))
		return false
	}
	engines, known, err := f.load(filepath.Dir(path))
	if err != nil {
		fmt.Fprintf(stderr, "%s: %v\n", path, err)
		return false
	}
	failed := 0
	for i := range f.Tests {
		t := &f.Tests[i]
		differences, err := t.run(engines, known)
		if err == nil && differences == "" {
			continue
		}
		failed++
		fmt.Fprintf(stdout, "FAIL %s: test %d: %s\n", path, i+1, cmp.Or(t.Name, t.Rule, "without a name"))
		if err != nil {
			fmt.Fprintf(stdout, "    %s\n", strings.ReplaceAll(err.Error(), "\n", "\n    "))
			continue
		}
		fmt.Fprint(stdout, differences)
	}
	if failed > 0 {
		fmt.Fprintf(stdout, "%s: %d of %s failed\n", path, failed, count(len(f.Tests), "test"))
		return false
	}
	fmt.Fprintf(stdout, "%s: %s passed\n", path, count(len(f.Tests), "test"))
	return true
}

// load loads the rules that f tests, in folder.
func (f *testFile) load(folder string) (engines []*alert.Engine, known map[string]bool, err error) {
	if len(f.RuleFiles) == 0 || len(f.Tests) == 0 {
		return nil, nil, errors.New("a file of tests has rule_files and tests: neither may be empty")
	}
	o := alert.Options{Lateness: settings.DefaultLateness, Ordered: true}
	if f.Lateness != "" {
		if o.Lateness, err = time.ParseDuration(f.Lateness); err != nil || o.Lateness < 0 {
			return nil, nil, fmt.Errorf("lateness %q is no duration: write 5s", f.Lateness)
		}
	}
	known = map[string]bool{}
	var errs []error
	for _, path := range f.RuleFiles {
		if !filepath.IsAbs(path) {
			path = filepath.Join(folder, path)
		}
		rules, err := load(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		engines = append(engines, rules.Engine(o))
		for name := range names(rules) {
			known[name] = true
		}
	}
	return engines, known, errors.Join(errs...)
}

// run returns how the alerts differ from those expected, "" where they do not; an error says why the test cannot run.
func (t *unitTest) run(engines []*alert.Engine, known map[string]bool) (differences string, err error) {
	data, until, err := t.data()
	if err != nil {
		return "", err
	}
	if err := t.complete(data, known); err != nil {
		return "", err
	}
	var fired []alert.Alert
	for _, e := range engines {
		fired = append(fired, play(e, data, until)...)
	}
	if t.Rule != "" {
		fired = slices.DeleteFunc(fired, func(a alert.Alert) bool { return a.Rule != t.Rule })
	}
	return t.compare(fired), nil
}

// data is all that the test feeds, in order, and when it ends.
func (t *unitTest) data() (all []market.Event, until time.Time, err error) {
	var start time.Time
	if t.Start != "" {
		if start, err = time.Parse(time.RFC3339Nano, t.Start); err != nil {
			return nil, until, fmt.Errorf("start %q is no time with zone: write 2026-01-05T14:30:00Z", t.Start)
		}
	}
	var written, made []market.Event
	if t.Events != "" {
		if written, err = decode(t.Events); err != nil {
			return nil, until, fmt.Errorf("events: %w", err)
		}
	}
	for i, fields := range t.Series {
		some, err := events(fields, start)
		if err != nil {
			return nil, until, fmt.Errorf("series %d: %w", i+1, err)
		}
		made = append(made, some...)
	}
	all = inOrder(written, made)
	if len(all) == 0 {
		return nil, until, errors.New("a test needs events or series")
	}
	last := all[0].EventTime()
	for i := range all {
		last = max(last, all[i].EventTime())
	}
	if t.Until == "" {
		return all, time.Unix(0, last).Add(time.Minute), nil
	}
	if until, err = moment(t.Until, start); err == nil && until.UnixNano() < last {
		err = fmt.Errorf("it is before the last event, of %s", market.FormatTime(last))
	}
	if err != nil {
		return nil, until, fmt.Errorf("until: %w", err)
	}
	return all, until, nil
}

// complete fills in what the expected alerts leave to the test.
func (t *unitTest) complete(data []market.Event, known map[string]bool) error {
	var errs []error
	if t.Rule != "" && !known[t.Rule] {
		errs = append(errs, fmt.Errorf("rule_files have no rule %q", t.Rule))
	}
	start, _ := time.Parse(time.RFC3339Nano, t.Start) // data has looked at it
	for i := range t.Alerts {
		x := &t.Alerts[i]
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("alert %d: "+format, append([]any{i + 1}, args...)...))
		}
		switch x.Rule = cmp.Or(x.Rule, t.Rule); {
		case x.Rule == "":
			fail("whose? Give it, or the test, a rule")
		case t.Rule != "" && x.Rule != t.Rule:
			fail("it is of the rule %s, but the test of %s", x.Rule, t.Rule)
		case !known[x.Rule]:
			fail("rule_files have no rule %q", x.Rule)
		}
		if x.Symbol == "" {
			x.Symbol = data[0].Symbol
			if slices.ContainsFunc(data, func(e market.Event) bool { return e.Symbol != x.Symbol }) {
				fail("the test has several symbols: name this alert's")
			}
		}
		if at, err := moment(x.Timestamp, start); x.Timestamp == "" {
			fail("when? Give it a timestamp")
		} else if err != nil {
			fail("timestamp: %w", err)
		} else {
			x.time = at.UnixNano()
		}
	}
	return errors.Join(errs...)
}

// play steps every series over its events and tells it the time at the end.
func play(engine *alert.Engine, data []market.Event, until time.Time) (fired []alert.Alert) {
	type key struct{ symbol, source string }
	type series struct {
		program *alert.Program
		state   *alert.State
	}
	states := map[key]*series{}
	var order []key // of their first event
	step := func(e *market.Event) {
		k := key{e.Symbol, e.Source}
		s := states[k]
		if s == nil {
			s = &series{program: engine.Program(e.Symbol, e.Source)}
			if states[k], order = s, append(order, k); s.program != nil {
				s.state = s.program.NewState()
			}
		}
		if s.program != nil {
			fired, _ = s.program.Step(s.state, e, fired)
		}
	}
	for i := range data {
		step(&data[i])
	}
	for _, k := range order {
		step(&market.Event{Kind: market.Clock, Symbol: k.symbol, Source: k.source, Time: until.UnixNano()})
	}
	return fired
}

// matches tells whether a is the expected alert, its value and summary included.
func (x *expected) matches(a *alert.Alert) bool {
	return x.Rule == a.Rule && x.Symbol == a.Symbol && x.time == a.Time &&
		(x.Value == nil || math.Abs(*x.Value-a.Value) <= 5e-6*math.Abs(a.Value)) && (x.Summary == nil || *x.Summary == a.Summary)
}

// compare lists all alerts by time, "-" before those that did not fire and "+" before those that were not expected; ""
// where there are none of either.
func (t *unitTest) compare(fired []alert.Alert) string {
	type line struct {
		time       int64
		sign, text string
	}
	var lines []line
	left := slices.Clone(t.Alerts)
	different := false
	for i := range fired {
		a := &fired[i]
		sign := "+"
		if k := slices.IndexFunc(left, func(x expected) bool { return x.matches(a) }); k >= 0 {
			sign, left = " ", slices.Delete(left, k, k+1)
		}
		different = different || sign == "+"
		lines = append(lines, line{a.Time, sign, describe(a.Time, a.Symbol, a.Rule, &a.Value, &a.Summary)})
	}
	for _, x := range left {
		lines = append(lines, line{x.time, "-", describe(x.time, x.Symbol, x.Rule, x.Value, x.Summary)})
	}
	if !different && len(left) == 0 {
		return ""
	}
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Or(cmp.Compare(a.time, b.time), cmp.Compare(b.sign, a.sign)) })
	var b strings.Builder
	b.WriteString("    - expected, but did not fire    + fired, but was not expected\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "    %s %s\n", l.sign, l.text)
	}
	return b.String()
}

func describe(time int64, symbol, rule string, value *float64, summary *string) string {
	text := fmt.Sprintf("%s  %s  %s", market.FormatTime(time), symbol, rule)
	if value != nil {
		text += "  value " + strconv.FormatFloat(*value, 'g', 6, 64)
	}
	if summary != nil {
		text += "  " + strconv.Quote(*summary)
	}
	return text
}
