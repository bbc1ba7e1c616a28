package alert

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// mustLoad gives the rules as the function has them: compiled, and read back.
func mustLoad(tb testing.TB, src string) *Rules {
	tb.Helper()
	r, err := Load("test.yaml", []byte(src))
	if err != nil {
		tb.Fatalf("load: %v\n%s", err, src)
	}
	decoded := readBack(tb, r)
	decoded.warnings = r.warnings
	return decoded
}

// oneRule is a file with one rule: the given lines, below a name.
func oneRule(lines ...string) string {
	return "rules:\n  - alert: R\n    " + strings.Join(lines, "\n    ") + "\n"
}

// Each mistake stands in a line of its own, with what is expected of its message behind "#!".
const mistakes = `rules:
  - alrt: A                                    #! unknown key "alrt": did you mean "alert"?
    expr: price > 1
    cooldown: 1m
  - alert: Dup
    expr: prce > 1                             #! unknown name "prce": did you mean "price"?
    cooldown: 10q                              #! "10q" is not a duration
  - alert: Dup                                 #! taken by the rule in line 5
    expr: price >                              #! syntax: unexpected token EOF
    cooldown: 1m
    cooldown: 2m                               #! the key "cooldown" is there twice
  - alert: NotBool
    expr: price + size                         #! needs a condition that is true or false
    cooldown: -5m                              #! "-5m" is not a duration
  - alert: Types
    expr: side > 3 or price == "x"             #! ">" needs a text, but 3 is a number
    reset: venue < "Q"                         #! texts have no order
    severity: urgent                           #! unknown severity "urgent"
    notify: yes                                #! notify is "yes": write true or false
  - alert: Bars                                #! on: bar needs the bars' "interval"
    on: bar
    from: ticks                                #! unknown source of bars "ticks": use one of bars, trades
    expr: close > 1 and crossover(close, 2)
    for: 5m                                    #! "for" on a crossing never fires
    cooldown: 1m
  - alert: Keys
    interval: 1m                               #! the key "interval" has no meaning on: trade
    from: trades                               #! the key "from" has no meaning on: trade
    for: 0x                                    #! for "0x" is not a duration
    session: "Utopia/City 09:00-17:00 mon-fri" #! "Utopia/City" is not a time zone
    max_gap: 30                                #! max_gap "30" is not a duration
    expires: 2027-01-01                        #! expires "2027-01-01" is not a time with zone
    after: 5m                                  #! the key "after" has no meaning on: trade
    expr: sma(price, 2000) > 1                 #! lengths are whole numbers from 1 to 1000
    reset: crossover(price)                    #! crossover() takes 2 arguments, not 1: write crossover(a, b)
  - alert: Intervals
    on: bar
    interval: 7m                               #! interval "7m" is not a whole number of s, m, h or d that divides a day
    expr: atr(14) > bid                        #! "bid" is a value of on: quote
    reset: rsi(clsoe, 14) < 1                  #! unknown name "clsoe": did you mean "close"?
  - alert: Silence                             #! on: silence needs "after"
    on: silence
    expr: price > 1                            #! the key "expr" has no meaning on: silence
    max_gap: 1m                                #! the key "max_gap" has no meaning on: silence
  - alert: Silence2
    on: silence
    after: 8h                                  #! after is 8h0m0s, but the session lasts 6h30m0s
    session: "America/New_York 09:30-16:00 mon-fri"
  - alert: Sessions
    expr: crossover(price, sma(price, 3))
    session: "UTC 25:00-17:00"                 #! are not times of a day
  - alert: Sessions2
    expr: crossover(price, sma(price, 3))
    session: "UTC 09:00-17:00 mon-fir"         #! are not days
  - alert: Kinds
    on: quote
    expr: price > 1                            #! "price" is a value of on: trade
    reset: atr(3) > 1                          #! atr() has no meaning on: quote
  - alert: Status
    on: status
    expr: state == "halted" and day_open > 1   #! "day_open" has no meaning on: status
  - alert: Language
    expr: 1 < price < 2                        #! comparisons cannot be chained
    reset: 'price in [1, 2]'                   #! the operator "in" is not part of the language
  - alert: Language2
    expr: 'price > 1 ? true : false'           #! are not part of the language: use "and"
    reset: let x = 1; x > 2                    #! "let" is not part of the language
  - alert: Language3
    expr: side matches "b.*"                   #! the operator "matches" is not part
    reset: filter([1], # > 1)                  #! #! syntax
  - alert: Functions
    expr: abs(price, 1) > round(price)         #! abs() takes 1 arguments, not 2
    reset: price | abs() > 1                   #! "|" and "::" are not part of the language
  - alert: Templates
    expr: price > 1
    cooldown: 1m
    summary: "{{ .prise }} is {{ .labels.x }}" #! unknown field "prise": did you mean "price"?
  - alert: Labels
    expr: side == "BUY"                        #! side is never "BUY": did you mean "buy"?
    symbols: []                                #! symbols must be a list of 1 to
    sources: alpaca                            #! sources must be a list
    labels:
      price: high                              #! has the name of a field of the alert
      "a b": c                                 #! is not a name
      list: [1]                                #! must be a single value
      none:                                    #! has no value
  - just text                                  #! a rule must be a mapping
  - alert: Empty                               #! a rule needs a condition
    on: trades                                 #! unknown event kind "trades": did you mean "trade"?
  - alert: Symbols
    symbols: ["A B"]                           #! the pattern "A B" can match nothing
    expr: 1 / 0 > price                        #! 1 / 0 is not a number
    reset: 0x10 < price                        #! 0x10 is not a decimal number
    cooldown: &c 1m                            #! anchors, aliases and tags are not allowed
  - alert: Names
    expr: price.last > 1                       #! values are plain names
    reset: nil == price                        #! "nil" is not part of the language
extra: 1                                       #! unknown key "extra"
`

// "Own pass … collects ALL errors … with file, line, column and remedy."
func TestLoadFindsEveryMistakeInOneRun(t *testing.T) {
	_, err := Load("rules.yaml", []byte(mistakes))
	var problems Problems
	if !errors.As(err, &problems) {
		t.Fatalf("Load = %v, want Problems", err)
	}
	byLine := map[int][]Problem{}
	for _, p := range problems {
		if p.File != "rules.yaml" || p.Line < 1 || p.Column < 1 {
			t.Errorf("problem without a place: %+v", p)
		}
		if !p.Warning {
			byLine[p.Line] = append(byLine[p.Line], p)
		}
	}
	lines, found := strings.Split(mistakes, "\n"), 0
	for i, line := range lines {
		_, want, expected := strings.Cut(line, "#! ")
		want = strings.TrimPrefix(want, "#! ")
		got := byLine[i+1]
		if expected != (len(got) > 0) {
			t.Errorf("line %d: %s\n  problems %v", i+1, line, got)
			continue
		}
		if expected && !strings.Contains(fmt.Sprint(got), want) {
			t.Errorf("line %d: %s\n  got  %v\n  want %s", i+1, line, got, want)
		}
		if expected {
			found++
		}
	}
	if found < 25 {
		t.Errorf("%d mistakes planted, want at least 25", found)
	}
	// Two mistakes in one text are both found.
	for _, want := range []string{`unknown function round()`, `unknown label "x"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not found: %s", want)
		}
	}
	if n := len(byLine[16]); n != 2 {
		t.Errorf("line 16 has %d problems, want both type errors: %v", n, byLine[16])
	}
	for i := 1; i < len(problems); i++ {
		if problems[i].Line < problems[i-1].Line {
			t.Errorf("problems are not in the file's order: %v before %v", problems[i-1], problems[i])
		}
	}
	t.Logf("%d lines with mistakes, %d problems", found, len(problems))
}

// "File, line, column": exact in one-line texts, at least the line in folded ones.
func TestPlaceOfMistakesInExpressions(t *testing.T) {
	for name, tc := range map[string]struct {
		src          string
		line, column int
	}{
		"plain":             {oneRule("expr: price > 1 and siez > 2"), 3, 25},
		"double quoted":     {oneRule(`expr: "price > 1 and siez > 2"`), 3, 26},
		"single quoted":     {oneRule(`expr: 'price > 1 and siez > 2'`), 3, 26},
		"behind non-ASCII":  {oneRule(`expr: venue == "é漢" and siez > 2`), 3, 29},
		"folded":            {oneRule("expr: >", "  price > 1", "  and siez > 2"), 5, 11},
		"literal":           {oneRule("expr: |-", "  price > 1", "  and", "  siez > 2"), 6, 7},
		"plain, two lines":  {oneRule("expr: price > 1", "  and siez > 2"), 4, 11},
		"quoted, two lines": {oneRule(`expr: "price > 1`, `  and siez > 2"`), 4, 11},
		"at the end":        {oneRule("expr: price > # why", "cooldown: 1m"), 3, 17},
		"CRLF":              {strings.ReplaceAll(oneRule("on: trade", "expr: siez > 2", "cooldown: 1m"), "\n", "\r\n"), 4, 11},
		"template":          {oneRule("expr: price > 1", `summary: "at {{ .prise }}"`), 4, 21},
		"behind an escape":  {oneRule(`expr: "venue == \"Q\" and siez > 2"`), 3, 21},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load("f", []byte(tc.src))
			var p Problems
			if !errors.As(err, &p) {
				t.Fatalf("no error for\n%s", tc.src)
			}
			for _, q := range p {
				if !q.Warning && (q.Line != tc.line || q.Column != tc.column) {
					t.Errorf("%v, want %d:%d of\n%s", q, tc.line, tc.column, tc.src)
				}
			}
		})
	}
}

func TestLoadRefusesFilesThatAreNoRules(t *testing.T) {
	for name, tc := range map[string]struct{ src, want string }{
		"empty":           {"", "the file has no rules"},
		"comment only":    {"# nothing\n", "the file has no rules"},
		"no list":         {"rules: 3\n", "must be a list"},
		"empty list":      {"rules: []\n", "must be a list of at least one"},
		"null list":       {"rules:\n", "must be a list of at least one"},
		"scalar":          {"hello\n", "must be a mapping"},
		"YAML syntax":     {"rules: [\n", "YAML: "},
		"bad indentation": {"rules:\n  - alert: a\n expr: b\n", "YAML: "},
		"not UTF-8":       {"rules: \xff\n", "not UTF-8"},
		"two documents":   {oneRule("expr: price > 1") + "---\n" + oneRule("expr: price > 2"), "second YAML document"},
		"too large":       {"#" + strings.Repeat("x", maxFile), "the limit is 1048576"},
		"too many rules":  {"rules:\n" + strings.Repeat("  - {alert: a, expr: price > 1}\n", maxRules+1), "the limit is 1000"},
		"merge key":       {oneRule("expr: price > 1", "<<: {on: trade}"), "is not a key here"},
		"null rule":       {"rules:\n  -\n", "a rule must be a mapping"},
		"long name":       {"rules:\n  - alert: " + strings.Repeat("x", 101) + "\n    expr: price > 1\n", "1 to 100 printable"},
		"control in name": {"rules:\n  - alert: \"a\\tb\"\n    expr: price > 1\n", "1 to 100 printable"},
		"long expression": {oneRule("expr: price > " + strings.Repeat("1+", 1000) + "1"), "the limit is 2000"},
		"17 labels":       {oneRule("expr: price > 1", "labels: {a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1, j: 1, k: 1, l: 1, m: 1, n: 1, o: 1, p: 1, q: 1}"), "17 labels, the limit is 16"},
		"long label":      {oneRule("expr: price > 1", "labels: {a: "+strings.Repeat("x", 257)+"}"), "more than 256 bytes"},
		"long label name": {oneRule("expr: price > 1", "labels: {"+strings.Repeat("x", 65)+": a}"), "is not a name"},
		"long summary":    {oneRule("expr: price > 1", "summary: "+strings.Repeat("x", 2001)), "the limit is 2000"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Load("f", []byte(tc.src))
			if err == nil || !strings.Contains(err.Error(), tc.want) || r != nil {
				t.Errorf("Load = %v, %v, want %q", r, err, tc.want)
			}
		})
	}
}

func TestLoadDefaultsAndFields(t *testing.T) {
	r := mustLoad(t, `
rules:
  - alert: Defaults
    expr: price > 200.1
  - alert: All
    symbols: [AAPL, "BTC*", TRUE, 1E5]
    sources: [""]
    on: quote
    expr: |
      spread > 1 and
      ask > 2
    reset: spread < 1
    cooldown: 1h30m
    severity: critical
    notify: false
    labels: {tier: 1, desk: equities}
    summary: hello
`)
	d, a := r.rules[0], r.rules[1]
	if d.name != "Defaults" || kindNames[d.on] != "trade" || d.severity != Warning || !d.notify || d.symbols != nil || d.cooldown != 0 || d.reset != nil {
		t.Errorf("defaults: %+v", d)
	}
	if kindNames[a.on] != "quote" || a.severity != Critical || a.notify || time.Duration(a.cooldown) != 90*time.Minute || a.reset == nil {
		t.Errorf("all: %+v", a)
	}
	if got := fmt.Sprint(a.labels, a.symbols, a.sources); got != "[{desk equities} {tier 1}] [AAPL BTC* TRUE 1E5] []" {
		t.Errorf("labels, symbols, sources = %s", got)
	}
	if a.condition.text != "spread > 1 and ask > 2" {
		t.Errorf("canonical text %q", a.condition.text)
	}
	if len(d.version) != 16 || d.version == a.version {
		t.Errorf("versions %s, %s", d.version, a.version)
	}
}

// "`rules check` warns about a level without `reset` or `cooldown`."
func TestLoadWarns(t *testing.T) {
	for name, tc := range map[string]struct{ src, want string }{
		"bare level":     {oneRule("expr: price > 1"), `test.yaml:3:11: warning: rule R: a level without "reset" or "cooldown"`},
		"constant":       {oneRule("expr: 1 < 2", "cooldown: 1m"), "expr is constant (1 < 2)"},
		"constant reset": {oneRule("expr: price > 2", "reset: true"), "reset is constant (true)"},
		"reset":          {oneRule("expr: price > 2", "reset: price < 1"), ""},
		"cooldown":       {oneRule("expr: price > 2", "cooldown: 1d"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := mustLoad(t, tc.src).Warnings()
			if tc.want == "" {
				if len(w) != 0 {
					t.Errorf("warnings %v, want none", w)
				}
				return
			}
			if len(w) != 1 || !strings.Contains(w[0].String(), tc.want) {
				t.Errorf("warnings %v, want %q", w, tc.want)
			}
		})
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour, "2w": 14 * 24 * time.Hour,
		"1d12h": 36 * time.Hour, "1w1d": 8 * 24 * time.Hour, "1.5h": 90 * time.Minute, "250ms": 250 * time.Millisecond, "366d": maxDuration,
	} {
		if d, err := parseDuration(s); err != nil || d != want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", s, d, err, want)
		}
	}
	for _, s := range []string{"", "10", "10q", "-5m", "+5m", "1d1d", "1d1w", "367d", "9999999999h", "53w", "1d-1h", "d", "1 m", "99999999999999999999d", "NaN"} {
		if d, err := parseDuration(s); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", s, d)
		}
	}
}

// "globs (`*` matches `/` too)"
func TestGlobs(t *testing.T) {
	for _, tc := range []struct {
		glob, s string
		want    bool
	}{
		{"AAPL", "AAPL", true}, {"AAPL", "AAPLX", false}, {"AAPL", "aapl", false}, {"*", "", true}, {"*", "BTC/USD", true},
		{"BTC*", "BTC/USD", true}, {"BTC*", "XBTC", false}, {"*USD", "BTC/USD", true}, {"*/*", "BTC/USD", true},
		{"*/*", "BTCUSD", false}, {"a*a", "a", false}, {"a*a", "aa", true}, {"a*b*c", "a1b2c", true}, {"a*b*c", "acb", false},
		{"*b*b*", "abab", true}, {"*b*b*", "ab", false}, {"**", "x", true}, {"", "", true}, {"", "x", false}, {"A.B", "AxB", false},
	} {
		if got := matches(tc.glob, tc.s); got != tc.want {
			t.Errorf("matches(%q, %q) = %v", tc.glob, tc.s, got)
		}
	}
}

func TestProgramIsThatOfTheMatchingRules(t *testing.T) {
	e := mustLoad(t, `
rules:
  - {alert: A, symbols: [AAPL], expr: price > 1, cooldown: 1m}
  - {alert: B, symbols: ["BTC*"], sources: [x, "y*"], expr: price > 1, cooldown: 1m}
  - {alert: C, symbols: [MSFT, AAPL], expr: price > 1, cooldown: 1m}
  - {alert: D, sources: [""], symbols: [MSFT], expr: price > 1, cooldown: 1m}
`).Engine(Options{})
	names := func(p *Program) (s string) {
		if p == nil {
			return "nil"
		}
		for _, r := range p.rules {
			s += r.name
		}
		return s
	}
	for _, tc := range []struct{ symbol, source, want string }{
		{"AAPL", "z", "AC"}, {"BTC/USD", "x", "B"}, {"BTC/USD", "yes", "B"}, {"BTC/USD", "", "nil"}, {"MSFT", "", "CD"}, {"IBM", "x", "nil"},
	} {
		for range 2 { // the second time from the cache
			if got := names(e.Program(tc.symbol, tc.source)); got != tc.want {
				t.Errorf("Program(%q, %q) = %s, want %s", tc.symbol, tc.source, got, tc.want)
			}
		}
	}
	if e.Program("BTC/USD", "x") != e.Program("BTC-EUR", "y") {
		t.Error("series watched by the same rules do not share a program")
	}
	for i := range maxCached + 10 {
		e.Program(fmt.Sprint("S", i), "")
	}
	if n := len(e.programs); n > maxCached {
		t.Errorf("%d programs cached, the bound is %d", n, maxCached)
	}
}

// What a faulty expression means is not guessed at: its rule has no warnings.
func TestFaultyExpressionsHaveNoWarnings(t *testing.T) {
	for _, lines := range [][]string{{"expr: crossver(price, 3)"}, {"expr: sma(price, 3, 4) > 1", "max_gap: 1m"}, {"expr: prise > 1", "reset: 1 < 2"}} {
		_, err := Load("f", []byte(oneRule(lines...)))
		if err == nil || strings.Contains(err.Error(), "warning") {
			t.Errorf("%v: %v", lines, err)
		}
	}
}
