package settings_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// least is an environment with what is required, and no more.
func least() map[string]string {
	return map[string]string{
		"ENVIRONMENT":       "prod",
		"AWS_REGION":        "us-east-1",
		"QUEUE_URL":         "https://sqs.us-east-1.amazonaws.com/123456789012/market-data-prod.fifo",
		"REJECTS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/market-data-rejects-prod",
		"ALERTS_TABLE":      "market-alerts-prod",
		"STATE_TABLE":       "market-state-prod",
		"ALERT_TOPIC_ARN":   "arn:aws:sns:us-east-1:123456789012:trading-alerts-prod",
	}
}

func with(changes map[string]string) func(string) string {
	env := least()
	maps.Copy(env, changes)
	return func(name string) string { return env[name] }
}

func TestFromEnv(t *testing.T) {
	defaults := settings.Settings{
		Environment: "prod", Region: "us-east-1",
		QueueURL:        "https://sqs.us-east-1.amazonaws.com/123456789012/market-data-prod.fifo",
		RejectsQueueURL: "https://sqs.us-east-1.amazonaws.com/123456789012/market-data-rejects-prod",
		AlertsTable:     "market-alerts-prod", StateTable: "market-state-prod",
		AlertTopicARN: "arn:aws:sns:us-east-1:123456789012:trading-alerts-prod",
		Delivery:      settings.Ordered, RulesFile: "rules.compiled",
		Lateness: 5 * time.Second, ClockSkew: time.Minute, AlertTTL: 0, StateTTL: 720 * time.Hour,
		MaxRetryDelay: 6 * time.Minute, SeriesConcurrency: 32, Clock: settings.ClockOn,
	}
	changed := func(edit func(*settings.Settings)) settings.Settings {
		s := defaults
		edit(&s)
		return s
	}
	for _, c := range []struct {
		name string
		env  map[string]string
		want settings.Settings
	}{
		{"defaults", nil, defaults},
		{"ordered", map[string]string{"DELIVERY": "ordered"}, defaults},
		{"every value", map[string]string{
			"DELIVERY": "unordered", "RULES_FILE": "my.yaml", "LATENESS": "250ms", "CLOCK_SKEW": "1m30s", "ALERT_TTL": "8760h",
			"STATE_TTL": "1h", "MAX_RETRY_DELAY": "15s", "SERIES_CONCURRENCY": "1", "CLOCK": "off",
		}, changed(func(s *settings.Settings) {
			s.Delivery, s.RulesFile, s.Lateness, s.ClockSkew = settings.Unordered, "my.yaml", 250*time.Millisecond, 90*time.Second
			s.AlertTTL, s.StateTTL, s.MaxRetryDelay, s.SeriesConcurrency = 365*24*time.Hour, time.Hour, 15*time.Second, 1
			s.Clock = settings.ClockOff
		})},
		{"zeros that mean something", map[string]string{"LATENESS": "0s", "ALERT_TTL": "0"},
			changed(func(s *settings.Settings) { s.Lateness = 0 })},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := settings.FromEnv(with(c.env))
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v\n%s", err, diff)
			}
		})
	}
}

// Each bad value is named with its variable and with what would be right.
func TestFromEnvBad(t *testing.T) {
	for _, c := range []struct{ name, value, remedy string }{
		{"DELIVERY", "fifo", `give "ordered" or "unordered"`},
		{"DELIVERY", "Ordered", `give "ordered" or "unordered"`},
		{"LATENESS", "5", "at least 0s such as 5s"},
		{"LATENESS", "-1s", "at least 0s such as 5s"},
		{"LATENESS", " 5s", "at least 0s such as 5s"},
		{"CLOCK_SKEW", "soon", "at least 1s such as 1m0s"},
		{"CLOCK_SKEW", "0s", "at least 1s such as 1m0s"}, // package ingest would take it for the default
		{"ALERT_TTL", "30d", "at least 0s such as 0s"},
		{"STATE_TTL", "59m", "at least 1h0m0s such as 720h0m0s"},
		{"STATE_TTL", "0s", "at least 1h0m0s such as 720h0m0s"},
		{"MAX_RETRY_DELAY", "14s", "at least 15s such as 6m0s"},
		{"SERIES_CONCURRENCY", "0", "a whole number of at least 1"},
		{"SERIES_CONCURRENCY", "-4", "a whole number of at least 1"},
		{"SERIES_CONCURRENCY", "3x", "a whole number of at least 1"},
		{"SERIES_CONCURRENCY", "3 4", "a whole number of at least 1"},
		{"SERIES_CONCURRENCY", "1.5", "a whole number of at least 1"},
		{"SERIES_CONCURRENCY", "many", "a whole number of at least 1"},
		{"SERIES_CONCURRENCY", "99999999999999999999", "a whole number of at least 1"},
		{"CLOCK", "no", `"on" or "off"`},
	} {
		_, err := settings.FromEnv(with(map[string]string{c.name: c.value}))
		if err == nil {
			t.Errorf("%s=%q is accepted", c.name, c.value)
			continue
		}
		if want := c.name + " is bad: give "; !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), c.remedy) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%q: error %q, want one line that begins with %q and has %q", c.name, c.value, err, want, c.remedy)
		}
	}
}

func TestFromEnvMissing(t *testing.T) {
	for name := range least() {
		_, err := settings.FromEnv(with(map[string]string{name: ""}))
		if err == nil || !strings.HasPrefix(err.Error(), name+" is not set: ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// One start shows all that is wrong: every missing and every bad variable, one a line.
func TestFromEnvAllAtOnce(t *testing.T) {
	bad := map[string]string{"DELIVERY": "x", "LATENESS": "x", "CLOCK_SKEW": "x", "ALERT_TTL": "x", "STATE_TTL": "x", "MAX_RETRY_DELAY": "x", "SERIES_CONCURRENCY": "x", "CLOCK": "x"}
	_, err := settings.FromEnv(func(name string) string { return bad[name] })
	if err == nil {
		t.Fatal("accepted")
	}
	lines := strings.Split(err.Error(), "\n")
	if len(lines) != len(bad)+len(least()) {
		t.Errorf("%d lines, want %d:\n%s", len(lines), len(bad)+len(least()), err)
	}
	count := func(line string) (n int) {
		for _, l := range lines {
			if strings.HasPrefix(l, line) {
				n++
			}
		}
		return n
	}
	for name := range least() {
		if n := count(name + " is not set: "); n != 1 {
			t.Errorf("%s is named %d times", name, n)
		}
	}
	for name := range bad {
		if n := count(name + " is bad: "); n != 1 {
			t.Errorf("%s is named %d times", name, n)
		}
	}
}

// No two variables and no two metrics share a name.
func TestNamesAreUnique(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "settings.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]map[string]string{"Env": {}, "Metric": {}}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		for prefix, seen := range names {
			literal, ok := spec.Values[0].(*ast.BasicLit)
			if name := spec.Names[0].Name; ok && strings.HasPrefix(name, prefix) {
				if other := seen[literal.Value]; other != "" {
					t.Errorf("%s and %s are both %s", other, name, literal.Value)
				}
				seen[literal.Value] = name
			}
		}
		return true
	})
	if len(names["Env"]) < 10 || len(names["Metric"]) < 10 {
		t.Errorf("found %d variables and %d metrics only", len(names["Env"]), len(names["Metric"]))
	}
}

// The construct imports this package, so it must not bring the AWS SDK, or anything else, along.
func TestStandardLibraryOnly(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); len(got) != 1 {
		t.Errorf("imports beyond the standard library: %q", got[1:])
	}
}
