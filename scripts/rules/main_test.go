package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type result struct {
	code           int
	stdout, stderr string
}

func runWith(ctx context.Context, args ...string) result {
	var stdout, stderr bytes.Buffer
	code := run(ctx, args, &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const goodRules = `
rules:
  - alert: Above
    expr: price > 100
    cooldown: 1m
    summary: "{{ .symbol }} at {{ .price }}"
  - alert: Cross
    symbols: [AAPL]
    on: bar
    interval: 1m
    from: trades
    expr: crossover(sma(close, 20), ema(close, 50))
`

func TestRun(t *testing.T) {
	good := write(t, "good.yaml", goodRules)
	warned := write(t, "warned.yaml", "rules:\n  - alert: Level\n    expr: price > 100\n")
	bad := write(t, "bad.yaml", "rules:\n  - alert: A\n    expr: prise > 100\n    severity: critcal\n  - alert: A\n    expr: sma(price) > 1\n    colour: red\n")
	passing := write(t, "passing.yaml", "rule_files: ['"+good+"']\ntests:\n  - series: [{symbol: A, timestamp: 2026-01-05T15:00:00Z, price: 101}]\n    alerts: [{rule: Above, timestamp: 2026-01-05T15:00:00Z}]\n")
	failing := write(t, "failing.yaml", "rule_files: ['"+good+"']\ntests:\n  - series: [{symbol: A, timestamp: 2026-01-05T15:00:00Z, price: 100}]\n    alerts: [{rule: Above, timestamp: 2026-01-05T15:00:00Z}]\n")
	for name, c := range map[string]struct {
		args   []string
		code   int
		stdout []string
		stderr []string
	}{
		"help":            {[]string{"-h"}, 0, nil, []string{"Usage: ", "Exit code: 0"}},
		"nothing":         {nil, 2, nil, []string{"Usage: "}},
		"unknown command": {[]string{"chekc", good}, 2, nil, []string{`unknown command "chekc"`, "Usage: "}},
		"unknown flag":    {[]string{"--strict", "check", good}, 2, nil, []string{"not defined", "Usage: "}},
		"a flag behind":   {[]string{"check", "--strict", good}, 2, nil, []string{"check has no flag --strict", "Usage: "}},
		"no file":         {[]string{"check"}, 2, nil, []string{"Name a file", "Usage: "}},
		"explain no file": {[]string{"explain"}, 2, nil, []string{"Name a file", "Usage: "}},
		"test no file":    {[]string{"test"}, 2, nil, []string{"Name a file", "Usage: "}},

		"check good":   {[]string{"check", good}, 0, []string{"good.yaml: 2 rules, 0 errors, 0 warnings"}, nil},
		"check warned": {[]string{"check", warned}, 0, []string{"warned.yaml: 1 rule, 0 errors, 1 warning"}, []string{"warned.yaml:3:", "warning: rule Level: "}},
		"check bad": {[]string{"check", bad}, 1, []string{"bad.yaml: 5 errors, "},
			[]string{"bad.yaml:3:", `"price"`, "bad.yaml:4:", `"critical"`, "bad.yaml:5:", "taken by the rule in line 2", "bad.yaml:6:", "bad.yaml:7:", `unknown key "colour"`}},
		"check absent":      {[]string{"check", "absent.yaml"}, 1, nil, []string{"absent.yaml"}},
		"check all of them": {[]string{"check", bad, good}, 1, []string{"bad.yaml: 5 errors", "good.yaml: 2 rules"}, []string{"bad.yaml:3:"}},

		"explain": {[]string{"explain", good}, 0, []string{"a series such as AAPL", "rules        Above, Cross", "crossover(sma(close, 20), ema(close, 50))", "bar 1m from trades", "write units  up to 2 per commit, 4 together",
			"yes: quiet series are sent clock events", "no: nothing waits for time", "none that look at the past"}, nil},
		"explain bad":    {[]string{"explain", bad}, 1, nil, []string{"bad.yaml:3:"}},
		"explain absent": {[]string{"explain", "absent.yaml"}, 1, nil, []string{"absent.yaml"}},

		"test passing": {[]string{"test", passing}, 0, []string{"passing.yaml: 1 test passed"}, nil},
		"test failing": {[]string{"test", failing}, 1, []string{"FAIL", "failing.yaml: test 1", "- 2026-01-05T15:00:00Z  A  Above", "failing.yaml: 1 of 1 test failed"}, nil},
		"test both":    {[]string{"test", failing, passing}, 1, []string{"1 of 1 test failed", "1 test passed"}, nil},
		"test absent":  {[]string{"test", "absent.yaml"}, 1, nil, []string{"absent.yaml"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := runWith(t.Context(), c.args...)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d", r.code, c.code)
			}
			for _, text := range c.stdout {
				if !strings.Contains(r.stdout, text) {
					t.Errorf("no %q on stdout", text)
				}
			}
			for _, text := range c.stderr {
				if !strings.Contains(r.stderr, text) {
					t.Errorf("no %q on stderr", text)
				}
			}
			if len(c.stderr) == 0 && r.stderr != "" || c.code == 2 && r.stdout != "" {
				t.Error("unexpected output")
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", r.stdout, r.stderr)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := runWith(ctx, "check", write(t, "good.yaml", goodRules)); r.code != 1 || !strings.Contains(r.stderr, "interrupted") {
		t.Errorf("exit code %d: %s", r.code, r.stderr)
	}
}

// TestEveryMistakeInOneRun: each rule of the file has one mistake, and one run tells them all, each with its place.
func TestEveryMistakeInOneRun(t *testing.T) {
	const path = "testdata/mistakes.yaml"
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := runWith(t.Context(), "check", path)
	told := map[int]int{} // errors by line
	for text := range strings.Lines(r.stderr) {
		var line, column int
		if _, err := fmt.Sscanf(text, path+":%d:%d:", &line, &column); err != nil || column == 0 {
			t.Errorf("no place in %q", text)
		}
		if !strings.Contains(text, ": warning: ") {
			told[line]++
		}
	}
	rules, errors := 0, 0
	for i, text := range append(strings.Split(string(source), "\n"), "  - ") {
		if strings.HasPrefix(text, "  - ") {
			if rules > 0 && errors != 1 {
				t.Errorf("%d errors in the rule that ends in line %d", errors, i)
			}
			rules, errors = rules+1, 0
		}
		errors += told[i+1]
	}
	if r.code != 1 || rules <= 25 {
		t.Errorf("exit code %d, %d rules", r.code, rules-1)
	}
}
