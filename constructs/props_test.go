package constructs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"

	"example.com/market-data-pipeline/functions/processor/settings"
)

func TestDefaults(t *testing.T) {
	r := (*MarketDataPipelineProps)(nil).withDefaults()
	if err := r.validate(); err != nil {
		t.Fatal(err)
	}
	want := MarketDataPipelineProps{
		Suffix: "dev", Delivery: settings.Ordered, RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
		MemoryMiB: 256, Timeout: time.Minute, ReservedConcurrency: 5, LogRetentionDays: 30, BatchSize: 10,
		MaxConcurrency: 4, VisibilityTimeout: 6 * time.Minute, MaxReceiveCount: 10,
		QueueRetention: 14 * day, DeadLetterRetention: 14 * day, RejectsRetention: 14 * day,
		Lateness: 5 * time.Second, ClockSkew: time.Minute, StateTTL: 30 * day, SeriesConcurrency: 32,
		Thresholds: Thresholds{ErrorPercent: 1, RecordFailurePercent: 1, RejectPercent: 5, LatePercent: 1,
			OldestMessage: 10 * time.Minute, DurationPercent: 80},
	}
	if got, want := describe(r), describe(want); got != want {
		t.Errorf("defaults are\n%s\nwant\n%s", got, want)
	}
	if got, want := r.patience(), 31*time.Minute+45*time.Second; got != want {
		t.Errorf("patience is %s, want %s: 15 s, doubling to 6 min, nine times", got, want)
	}
}

func TestDependentDefaults(t *testing.T) {
	tests := []struct {
		name  string
		props MarketDataPipelineProps
		get   func(MarketDataPipelineProps) any
		want  any
	}{
		{"two places leave none for a clock", MarketDataPipelineProps{ReservedConcurrency: 2, DisableClock: true},
			func(p MarketDataPipelineProps) any { return p.MaxConcurrency }, 2},
		{"three leave one", MarketDataPipelineProps{ReservedConcurrency: 3},
			func(p MarketDataPipelineProps) any { return p.MaxConcurrency }, 2},
		{"no clock, no place for it", MarketDataPipelineProps{ReservedConcurrency: 20, DisableClock: true},
			func(p MarketDataPipelineProps) any { return p.MaxConcurrency }, 20},
		{"one place less than reserved", MarketDataPipelineProps{ReservedConcurrency: 20},
			func(p MarketDataPipelineProps) any { return p.MaxConcurrency }, 19},
		{"nothing reserved", MarketDataPipelineProps{DisableReservedConcurrency: true},
			func(p MarketDataPipelineProps) any { return p.ReservedConcurrency }, 0},
		{"concurrency is limited all the same", MarketDataPipelineProps{DisableReservedConcurrency: true},
			func(p MarketDataPipelineProps) any { return p.MaxConcurrency }, 4},
		{"visibility follows the timeout", MarketDataPipelineProps{Timeout: 2 * time.Minute},
			func(p MarketDataPipelineProps) any { return p.VisibilityTimeout }, 12 * time.Minute},
		{"and the window", MarketDataPipelineProps{Delivery: settings.Unordered, BatchingWindow: 30 * time.Second},
			func(p MarketDataPipelineProps) any { return p.VisibilityTimeout }, 6*time.Minute + 30*time.Second},
		{"a short timeout keeps the patience", MarketDataPipelineProps{Timeout: 10 * time.Second},
			func(p MarketDataPipelineProps) any { return p.VisibilityTimeout }, 6 * time.Minute},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.props.withDefaults()
			if err := r.validate(); err != nil {
				t.Error(err)
			}
			if got := tt.get(r); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	type P = MarketDataPipelineProps
	unordered := func(p P) P { p.Delivery = settings.Unordered; return p }
	tests := []struct {
		name  string
		props P
		want  string // a part of the error; "" = accepted
	}{
		{"suffix", P{Suffix: "a-1"}, ""},
		{"longest suffix", P{Suffix: strings.Repeat("a", 20)}, ""},
		{"suffix too long", P{Suffix: strings.Repeat("a", 21)}, `Suffix is "aaaaaaaaaaaaaaaaaaaaa": give 1 to 20`},
		{"suffix in capitals", P{Suffix: "Prod"}, `Suffix is "Prod"`},
		{"suffix with a line", P{Suffix: "prod\n"}, "Suffix is"},
		{"delivery", P{Delivery: "fifo"}, `Delivery is "fifo": give "ordered" or "unordered"`},
		{"retain", P{RemovalPolicy: awscdk.RemovalPolicy_RETAIN}, ""},
		{"snapshot", P{RemovalPolicy: awscdk.RemovalPolicy_SNAPSHOT}, `RemovalPolicy is "SNAPSHOT"`},
		{"output prefix", P{OutputPrefix: "Second"}, ""},
		{"bad output prefix", P{OutputPrefix: "a-b"}, `OutputPrefix is "a-b"`},

		{"tags", P{Tags: map[string]string{"team": "équipe 1", "cost:centre": ""}}, ""},
		{"tag set by the pipeline", P{Tags: map[string]string{"Environment": "x"}}, `Tags has the key "Environment"`},
		{"tag of AWS", P{Tags: map[string]string{"AWS:x": "y"}}, `Tags has the key "AWS:x"`},
		{"empty tag key", P{Tags: map[string]string{"": "y"}}, `Tags has the key ""`},
		{"tag key too long", P{Tags: map[string]string{strings.Repeat("k", 129): "y"}}, "Tags has the key"},
		{"tag value too long", P{Tags: map[string]string{"k": strings.Repeat("v", 257)}}, `Tags has "k"`},
		{"tag value with a star", P{Tags: map[string]string{"k": "*"}}, `Tags has "k" = "*"`},

		{"emails", P{AlertEmails: []string{"desk@example.com"}, AlarmEmails: []string{"ops@example.com"}}, ""},
		{"alert email", P{AlertEmails: []string{"desk"}}, `AlertEmails has "desk": give a plain address`},
		{"alarm email with a name", P{AlarmEmails: []string{"Ops <ops@example.com>"}}, `AlarmEmails has "Ops <ops@example.com>"`},
		{"email twice", P{AlarmEmails: []string{"a@example.com", "a@example.com"}}, `AlarmEmails has "a@example.com" twice`},
		{"producer", P{ProducerAccounts: []string{"123456789012"}}, ""},
		{"producer too short", P{ProducerAccounts: []string{"12345678901"}}, `ProducerAccounts has "12345678901"`},
		{"producer twice", P{ProducerAccounts: []string{"123456789012", "123456789012"}}, "twice"},

		{"least memory", P{MemoryMiB: 128}, ""},
		{"too little memory", P{MemoryMiB: 127}, "MemoryMiB is 127: give 128 to 10240"},
		{"too much memory", P{MemoryMiB: 10241}, "MemoryMiB is 10241"},
		{"longest timeout", P{Timeout: 15 * time.Minute}, ""},
		{"timeout too long", P{Timeout: 901 * time.Second}, "Timeout is 15m1s"},
		{"timeout in fractions", P{Timeout: 1500 * time.Millisecond}, "Timeout is 1.5s"},
		{"negative timeout", P{Timeout: -time.Second}, "Timeout is -1s"},
		{"log retention", P{LogRetentionDays: 400}, ""},
		{"log retention not offered", P{LogRetentionDays: 31}, "LogRetentionDays is 31: CloudWatch offers [1 3 5 7 14 30"},

		{"one reserved", P{ReservedConcurrency: 1, DisableClock: true}, "ReservedConcurrency is 1: give at least 2"},
		{"two reserved with a clock", P{ReservedConcurrency: 2}, "ReservedConcurrency is 2: give at least 3"},
		{"two reserved without a clock", P{ReservedConcurrency: 2, DisableClock: true}, ""},
		{"three reserved", P{ReservedConcurrency: 3}, ""},
		{"pollers beyond the reservation", P{ReservedConcurrency: 5, MaxConcurrency: 6, DisableClock: true}, "MaxConcurrency is 6 and ReservedConcurrency 5"},
		{"pollers as many as reserved", P{ReservedConcurrency: 5, MaxConcurrency: 5}, "MaxConcurrency is 5 and ReservedConcurrency 5, of which the clock needs 1"},
		{"pollers as many as reserved, no clock", P{ReservedConcurrency: 5, MaxConcurrency: 5, DisableClock: true}, ""},
		{"pollers and the clock", P{ReservedConcurrency: 5, MaxConcurrency: 4}, ""},
		{"one poller", P{MaxConcurrency: 1}, "MaxConcurrency is 1: give 2 to 1000"},
		{"too many pollers", P{DisableReservedConcurrency: true, MaxConcurrency: 1001}, "MaxConcurrency is 1001"},
		{"many pollers, none reserved", P{DisableReservedConcurrency: true, MaxConcurrency: 1000}, ""},
		{"reserved and not", P{DisableReservedConcurrency: true, ReservedConcurrency: 5}, "remove one of them"},

		{"FIFO batch", P{BatchSize: 1}, ""},
		{"FIFO batch too large", P{BatchSize: 11}, "BatchSize is 11: a FIFO queue"},
		{"negative batch", P{BatchSize: -1}, "BatchSize is -1"},
		{"FIFO window", P{BatchingWindow: time.Second}, "BatchingWindow is 1s: a FIFO queue has none"},
		{"large batch", unordered(P{BatchSize: 10_000, BatchingWindow: 5 * time.Minute}), ""},
		{"batch too large", unordered(P{BatchSize: 10_001, BatchingWindow: time.Second}), "BatchSize is 10001: give 1 to 10000"},
		{"large batch without a window", unordered(P{BatchSize: 11}), "BatchSize is 11 with BatchingWindow 0s"},
		{"window too long", unordered(P{BatchingWindow: 301 * time.Second}), "BatchingWindow is 5m1s"},

		{"visibility", P{VisibilityTimeout: 6 * time.Minute}, ""},
		{"visibility too short", P{VisibilityTimeout: 359 * time.Second, MaxReceiveCount: 20}, "VisibilityTimeout is 5m59s: give at least 6m0s"},
		{"visibility too short for the window", unordered(P{VisibilityTimeout: 6 * time.Minute, BatchingWindow: time.Second}), "give at least 6m1s"},
		{"visibility too long", P{VisibilityTimeout: 12*time.Hour + time.Second}, "VisibilityTimeout is 12h0m1s"},
		{"nine tries", P{MaxReceiveCount: 9}, "MaxReceiveCount 9 with VisibilityTimeout 6m0s gives up after 25m45s"},
		{"nine tries with longer waits", P{MaxReceiveCount: 9, VisibilityTimeout: 10 * time.Minute}, ""},
		{"no second try", P{MaxReceiveCount: 1}, "gives up after 0s"},
		{"negative tries", P{MaxReceiveCount: -1}, "MaxReceiveCount is -1"},
		{"too many tries", P{MaxReceiveCount: 1001}, "MaxReceiveCount is 1001"},
		{"retentions", P{QueueRetention: day, DeadLetterRetention: 2 * day, RejectsRetention: time.Minute}, ""},
		{"retention too long", P{QueueRetention: 15 * day}, "QueueRetention is 360h0m0s"},
		{"rejects too short", P{RejectsRetention: time.Second}, "RejectsRetention is 1s"},
		{"dead letters vanish before messages", P{DeadLetterRetention: 13 * day}, "DeadLetterRetention is 312h0m0s and QueueRetention 336h0m0s"},
		{"messages vanish before they are dead letters", P{QueueRetention: 31 * time.Minute, Thresholds: Thresholds{OldestMessage: time.Minute}}, "QueueRetention is 31m0s and retries take 31m45s"},

		{"lateness", P{Lateness: time.Hour}, ""},
		{"negative lateness", P{Lateness: -time.Second}, "Lateness is -1s"},
		{"clock skew", P{ClockSkew: 25 * time.Hour}, "ClockSkew is 25h0m0s"},
		{"alert TTL", P{AlertTTL: 365 * day}, ""},
		{"alert TTL too short", P{AlertTTL: time.Minute}, "AlertTTL is 1m0s"},
		{"state TTL too short", P{StateTTL: time.Minute}, "StateTTL is 1m0s"},
		{"series concurrency", P{SeriesConcurrency: -1}, "SeriesConcurrency is -1"},

		{"percent", P{Thresholds: Thresholds{ErrorPercent: 100, RejectPercent: 0.1}}, ""},
		{"error percent", P{Thresholds: Thresholds{ErrorPercent: 101}}, "Thresholds.ErrorPercent is 101"},
		{"record failure percent", P{Thresholds: Thresholds{RecordFailurePercent: -1}}, "Thresholds.RecordFailurePercent is -1"},
		{"reject percent", P{Thresholds: Thresholds{RejectPercent: 200}}, "Thresholds.RejectPercent is 200"},
		{"late percent", P{Thresholds: Thresholds{LatePercent: -0.5}}, "Thresholds.LatePercent is -0.5"},
		{"duration percent", P{Thresholds: Thresholds{DurationPercent: 100.5}}, "Thresholds.DurationPercent is 100.5"},
		{"oldest message", P{Thresholds: Thresholds{OldestMessage: time.Second}}, "Thresholds.OldestMessage is 1s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := tt.props.withDefaults()
			err := r.validate()
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.want != "" && err == nil:
				t.Errorf("accepted, want an error with %q", tt.want)
			case tt.want != "" && !strings.Contains(err.Error(), tt.want):
				t.Errorf("error is %q, want one with %q", err, tt.want)
			case err != nil && strings.Contains(err.Error(), "\n"):
				t.Errorf("one mistake gives several errors:\n%v", err)
			}
		})
	}
}

func TestAllProblemsAtOnce(t *testing.T) {
	err := (&MarketDataPipelineProps{
		Suffix: "NO", MemoryMiB: 1, ReservedConcurrency: 3, MaxConcurrency: 9, RulesFile: "no-such.yaml",
	}).Validate()
	var bad *PropsError
	if !errors.As(err, &bad) {
		t.Fatalf("got %T %v, want a *PropsError", err, err)
	}
	for _, want := range []string{"Suffix", "MemoryMiB", "MaxConcurrency is 9 and ReservedConcurrency 3", "no-such.yaml"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q:\n%v", want, err)
		}
	}
	if joined, ok := bad.Unwrap().(interface{ Unwrap() []error }); !ok || len(joined.Unwrap()) < 2 {
		t.Errorf("PropsError wraps %T, want joined errors", bad.Unwrap())
	}
}

func TestValidateDoesNotChangeProps(t *testing.T) {
	p := MarketDataPipelineProps{Suffix: "x"}
	if err := p.Validate(); err != nil {
		t.Fatal(err)
	}
	if got, want := describe(p), describe(MarketDataPipelineProps{Suffix: "x"}); got != want {
		t.Errorf("props became %s", got)
	}
}

func TestEntryBeside(t *testing.T) {
	checkout := t.TempDir()
	processor := filepath.Join(checkout, "functions", "processor")
	if err := os.MkdirAll(processor, 0o755); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(checkout, "constructs", "bundling.go")
	if _, err := entryBeside(self); err == nil {
		t.Error("a folder without main.go (as vendoring leaves it) is accepted")
	}
	if err := os.WriteFile(filepath.Join(processor, "main.go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := entryBeside(self); got != processor || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, processor)
	}
	_, err := entryBeside("example.com/market-data-pipeline/constructs/bundling.go")
	if err == nil {
		t.Fatal("a path without a place (-trimpath) is accepted")
	}
	for _, want := range []string{"-trimpath", "vendored", "Entry"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not mention %s", err, want)
		}
	}
}

func TestRulesAreChecked(t *testing.T) {
	folder := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("good.yaml", "rules:\n  - alert: Big\n    expr: size > 1000\n    cooldown: 1m\n")
	if err := (&MarketDataPipelineProps{RulesFile: good}).Validate(); err != nil {
		t.Errorf("good rules are refused: %v", err)
	}
	bad := file("bad.yaml", "rules:\n  - alert: Big\n    expr: nonsense(size) > 1000\n")
	err := (&MarketDataPipelineProps{RulesFile: bad}).Validate()
	if err == nil || !strings.Contains(err.Error(), bad+":") {
		t.Errorf("bad rules give %v, want an error with file and line", err)
	}
	if err := (&MarketDataPipelineProps{RulesFile: folder}).Validate(); err == nil {
		t.Error("a folder is accepted as rules")
	}
	if err := (&MarketDataPipelineProps{Entry: filepath.Join(folder, "none"), RulesFile: good}).Validate(); err == nil {
		t.Error("an entry that does not exist is accepted")
	}
}

func TestRulesThatWaitWithoutAClock(t *testing.T) {
	for text, waits := range map[string]bool{
		"rules:\n  - alert: Big\n    expr: size > 1000\n    cooldown: 1m\n":                            false,
		"rules:\n  - alert: Big\n    expr: size > 1000\n    for: 5s\n    cooldown: 1m\n":               true,
		"rules:\n  - alert: Quiet\n    on: silence\n    after: 5m\n    session: \"UTC 09:00-17:00\"\n": true,
	} {
		file := filepath.Join(t.TempDir(), "rules.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, off := range []bool{false, true} {
			_, _, warnings, err := (&MarketDataPipelineProps{RulesFile: file, DisableClock: off}).resolve()
			if err != nil {
				t.Fatal(err)
			}
			if warned := strings.Contains(fmt.Sprint(warnings), "DisableClock"); warned != (off && waits) {
				t.Errorf("DisableClock %v, rules %q: warnings are %v", off, text, warnings)
			}
		}
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/a b/r.yaml": `'/a b/r.yaml'`,
		"/it's/$x":    `'/it'\''s/$x'`,
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("shellQuote(%s) = %s, want %s", in, got, want)
		}
	}
}

func describe(p MarketDataPipelineProps) string { return fmt.Sprintf("%+v", p) }
