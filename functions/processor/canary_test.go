package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// canary is a secret that must not come out.
const canary = "CANARY7f3a9c"

// invocations are what the function gets: a batch that fires and has a refused event, and a tick.
func invocations(t *testing.T) map[string][]byte {
	return map[string][]byte{
		"batch": event(t, record("m1", "g", 1, trade("AAPL", "")+"\nnonsense"), record("m2", "h", 2, `{"type":"quote","symbol":"MSFT","bid":100,"ask":101,"timestamp":"2024-01-02T14:30:00Z"}`)),
		"tick":  []byte(`{"clock":"tick"}`),
	}
}

// outputs makes a handler and invokes it with a batch and a tick; it returns all that is written and returned. A handler
// that cannot start has its error logged as main does.
func outputs(t *testing.T, env map[string]string, patience time.Duration) string {
	t.Helper()
	var out bytes.Buffer
	getenv := func(name string) string { return env[name] }
	logger := newLogger(&out, getenv)
	handler, err := newHandler(getenv, &out, logger)
	if err != nil {
		logger.Error("the function cannot start", slog.String("error", err.Error()))
		return out.String()
	}
	for _, payload := range invocations(t) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		response, err := handler.Invoke(ctx, payload)
		cancel()
		fmt.Fprintf(&out, "%s %v\n", response, err)
	}
	return out.String()
}

// brief is the patience with an AWS of which every answer makes the SDK try again, for seconds.
const brief = 30 * time.Millisecond

func noCanary(t *testing.T, what, text string) {
	t.Helper()
	if i := strings.Index(text, canary); i >= 0 {
		t.Errorf("%s comes out: ...%s...", what, text[max(0, i-200):min(len(text), i+60)])
	}
}

// refusing is an AWS that answers every call with the same.
func refusing(t *testing.T, answer func(http.ResponseWriter)) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		answer(w)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestEnvironmentStaysOutOfTheLogs: no value of the environment is written anywhere, whether the function cannot start, works,
// cannot reach AWS, or is refused by it. One value is: the environment's name is the metrics' dimension.
func TestEnvironmentStaysOutOfTheLogs(t *testing.T) {
	denied := refusing(t, func(w http.ResponseWriter) {
		w.Header().Set("X-Amzn-Errortype", "AccessDeniedException")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, `{"__type":"AccessDeniedException","message":"no"}`)
	})
	works := newFakeAWS(t)
	base := works.env()
	names := append(slices.Sorted(maps.Keys(base)), settings.EnvDelivery, settings.EnvLateness, settings.EnvClockSkew, settings.EnvAlertTTL, settings.EnvStateTTL, settings.EnvMaxRetryDelay,
		settings.EnvSeriesConcurrency, settings.EnvClock, "AWS_LAMBDA_LOG_LEVEL", "AWS_LAMBDA_FUNCTION_NAME", "SOMETHING_ELSE")
	rules := filepath.Join(t.TempDir(), canary+".yaml")
	if err := os.WriteFile(rules, []byte("rules:\n  - {alert: A, expr: prise > 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		for _, value := range []string{canary, "http://127.0.0.1:1/" + canary, "arn:aws:sns:us-east-1:123456789012:" + canary, "1h" + canary, canary + "|\n" + canary, rules} {
			for where, endpoint := range map[string]string{"refused": denied, "unreachable": "http://127.0.0.1:1"} {
				if where == "unreachable" && value != canary {
					continue // each costs the patience
				}
				env := maps.Clone(base)
				env["AWS_ENDPOINT_URL"] = endpoint
				env[name] = value
				patience := time.Minute
				if env["AWS_ENDPOINT_URL"] != denied || strings.Contains(value, "\n") {
					patience = brief
				}
				text := outputs(t, env, patience)
				if name == settings.EnvEnvironment {
					var rest []string
					for line := range strings.Lines(text) {
						if !strings.Contains(line, `"_aws"`) {
							rest = append(rest, line)
						}
					}
					text = strings.Join(rest, "")
				}
				noCanary(t, fmt.Sprintf("%s of %q (%s)", name, value, where), text)
			}
		}
	}
	// What is missing or bad is still told by its name.
	env := maps.Clone(base)
	env[settings.EnvLateness], env[settings.EnvQueueURL] = canary, ""
	if text := outputs(t, env, time.Second); !strings.Contains(text, settings.EnvLateness) || !strings.Contains(text, settings.EnvQueueURL) {
		t.Errorf("a start that fails says %s", text)
	}
}

// TestAnswersStayOutOfTheLogs: AWS, or whatever answers in its place, quotes the canary in every way that HTTP has.
func TestAnswersStayOutOfTheLogs(t *testing.T) {
	raw := func(text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			c, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(c, text)
			_ = c.Close()
		}
	}
	answer := func(status int, kind, text string) func(http.ResponseWriter) {
		return func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, text)
		}
	}
	const asJSON, asXML = "application/x-amz-json-1.0", "text/xml"
	for name, f := range map[string]func(http.ResponseWriter){
		"validation":                  answer(400, asJSON, `{"__type":"ValidationException","message":"bad value `+canary+`"}`),
		"denied":                      answer(400, asJSON, `{"__type":"com.amazon#AccessDeniedException","Message":"user `+canary+` may not"}`),
		"cancelled":                   answer(400, asJSON, `{"__type":"TransactionCanceledException","message":"`+canary+`","CancellationReasons":[{"Code":"ValidationError","Message":"`+canary+`"},{"Code":"None"}]}`),
		"throttled":                   answer(400, asJSON, `{"__type":"ThrottlingException","message":"`+canary+`"}`),
		"XML":                         answer(403, asXML, `<ErrorResponse><Error><Type>Sender</Type><Code>AuthorizationError</Code><Message>`+canary+`</Message></Error><RequestId>r</RequestId></ErrorResponse>`),
		"a proxy's page":              answer(502, "text/html", `<html><title>`+canary+`</title></html>`),
		"no JSON in a success":        answer(200, asJSON, canary),
		"another JSON in a success":   answer(200, asJSON, `{"Responses":"`+canary+`","UnprocessedKeys":"`+canary+`"}`),
		"another type in a success":   answer(200, asJSON, `{"Responses":{"market-state-test":[{"series":{"S":"`+canary+`"},"data":{"B":"`+canary+`"},"version":{"N":"`+canary+`"}}]}}`),
		"a state of ours, unreadable": answer(200, asJSON, `{"Responses":{"market-state-test":[{"series":{"S":"AAPL|"},"data":{"B":"AQAA"},"version":{"N":"`+canary+`"},"lag":{"N":"`+canary+`"},"due":{"N":"`+canary+`"}}]}}`),
		"a due item, unreadable":      answer(200, asJSON, `{"Items":[{"series":{"S":"AAPL|"},"due":{"N":"`+canary+`"},"due_event":{"N":"`+canary+`"}}],"Count":1}`),
		"an empty success":            answer(200, asJSON, ``),
		"no HTTP":                     raw(canary + "\r\n\r\n"),
		"a status that is none":       raw("HTTP/1.1 " + canary + "\r\n\r\n"),
		"a header that is none":       raw("HTTP/1.1 200 OK\r\n" + canary + "\r\n\r\n"),
		"a length that is none":       raw("HTTP/1.1 200 OK\r\nContent-Length: " + canary + "\r\n\r\n"),
		"a redirect":                  raw("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/" + canary + "\r\nContent-Length: 0\r\n\r\n"),
		"a checksum that is none":     raw("HTTP/1.1 200 OK\r\nX-Amz-Crc32: " + canary + "\r\nContent-Length: 2\r\n\r\n{}"),
		"a hangup":                    raw(""),
	} {
		t.Run(name, func(t *testing.T) {
			env := newFakeAWS(t).env()
			env["AWS_ENDPOINT_URL"] = refusing(t, f)
			text := outputs(t, env, brief)
			noCanary(t, name, text)
		})
	}
}

// panicking is a world in which one call panics with the canary.
type panicking struct {
	*ledger.Memory
	call  string
	value any
	at    time.Time
	met   atomic.Bool
}

func (p *panicking) reach(call string) {
	if call == p.call {
		p.met.Store(true)
		panic(p.value)
	}
}

func (p *panicking) ReadStates(ctx context.Context, series []string) (map[string]alert.Snapshot, map[string]error, error) {
	p.reach("ReadStates")
	return p.Memory.ReadStates(ctx, series)
}

func (p *panicking) Commit(ctx context.Context, c alert.Commit) (alert.CommitResult, error) {
	p.reach("Commit")
	return p.Memory.Commit(ctx, c)
}

func (p *panicking) Records(ctx context.Context, keys []alert.Key) (map[alert.Key]alert.Record, error) {
	p.reach("Records")
	return p.Memory.Records(ctx, keys)
}

func (p *panicking) Claim(ctx context.Context, key alert.Key, owner string, lease int64) (alert.Record, bool, error) {
	p.reach("Claim")
	return p.Memory.Claim(ctx, key, owner, lease)
}

func (p *panicking) Release(ctx context.Context, key alert.Key, owner string) error {
	p.reach("Release")
	return p.Memory.Release(ctx, key, owner)
}

func (p *panicking) Settle(ctx context.Context, records []alert.Record) error {
	p.reach("Settle")
	return p.Memory.Settle(ctx, records)
}

func (p *panicking) Publish(_ context.Context, records []alert.Record) []error {
	p.reach("Publish")
	errs := make([]error, len(records))
	if p.call == "Release" || p.call == "Claim" || p.call == "Records" {
		for i := range errs {
			errs[i] = errors.New("down")
		}
	}
	return errs
}

func (p *panicking) Reject(_ context.Context, rejected []market.Rejected) []error {
	p.reach("Reject")
	return make([]error, len(rejected))
}

func (p *panicking) SetVisibility(context.Context, []market.Delay) error {
	p.reach("SetVisibility")
	return nil
}

func (p *panicking) DueSeries(context.Context, time.Time) iter.Seq2[alert.DueSeries, error] {
	p.reach("DueSeries")
	return func(yield func(alert.DueSeries, error) bool) {
		for i := range 25 {
			if !yield(alert.DueSeries{Series: "AAPL|", Due: alert.Due{At: 1, Event: 1, Group: fmt.Sprint(i)}}, nil) {
				return
			}
		}
	}
}

func (p *panicking) ExpiredAlerts(ctx context.Context, now time.Time) iter.Seq2[alert.Key, error] {
	p.reach("ExpiredAlerts")
	return p.Memory.ExpiredAlerts(ctx, now)
}

func (p *panicking) SendClocks(_ context.Context, messages []alert.ClockMessage) []error {
	p.reach("SendClocks")
	return make([]error, len(messages))
}

// TestPanicsStayOutOfTheLogs: a panic in any call becomes an error that tells its type and place: what it was raised with can
// quote the input, and Lambda would log it.
func TestPanicsStayOutOfTheLogs(t *testing.T) {
	rules, err := alert.Load("rules.yaml", []byte("rules:\n  - {alert: High, expr: price > 100, reset: price < 90, cooldown: 0s}\n  - {alert: Quiet, on: silence, after: 10s}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"ReadStates", "Commit", "Records", "Claim", "Release", "Settle", "Publish", "Reject", "SetVisibility", "DueSeries", "ExpiredAlerts", "SendClocks"} {
		for _, value := range []any{canary, errors.New(canary), fmt.Errorf("wrapped: %w", errors.New(canary))} {
			for _, concurrency := range []int{1, 8} {
				p := &panicking{call: call, value: value, at: time.Now()}
				now := func() time.Time { return p.at }
				p.Memory = ledger.NewMemory(ledger.Config{Now: now})
				var out bytes.Buffer
				h, err := ingest.New(ingest.Config{Engine: rules.Engine(alert.Options{}), Ledger: p, Notifier: p, Queue: p, Timetable: p, Clocks: p, Timers: true, SeriesConcurrency: concurrency,
					Logger: newLogger(&out, func(string) string { return "DEBUG" }), Metrics: &out, Now: now})
				if err != nil {
					t.Fatal(err)
				}
				ever := false
				invoke := func(payload []byte) {
					t.Helper()
					defer func() {
						if r := recover(); r != nil {
							t.Errorf("%s, concurrency %d: the panic leaves the function, and Lambda logs it: %v", call, concurrency, r)
						}
					}()
					p.met.Store(false)
					response, err := invoker{h}.Invoke(t.Context(), payload)
					fmt.Fprintf(&out, "%s %v\n", response, err)
					if p.met.Load() && err == nil && !strings.Contains(string(response), "itemIdentifier") {
						t.Errorf("%s, concurrency %d: after a panic the answer is %s", call, concurrency, response)
					}
					ever = ever || p.met.Load()
				}
				batch := event(t, record("m1", "g", 1, trade("AAPL", "")), record("m2", "h", 1, trade("MSFT", "")), record("m3", "i", 1, "nonsense"))
				invoke(batch)
				p.at = p.at.Add(time.Hour)
				invoke(batch)
				p.at = p.at.Add(time.Hour)
				invoke([]byte(`{"clock":"tick"}`))
				if call == "SetVisibility" {
					p.call = "Commit"
					func() {
						defer func() { _ = recover() }()
						_, _ = invoker{h}.Invoke(t.Context(), event(t, record("m9", "g", 1, trade("IBM", ""))))
					}()
				} else if !ever {
					t.Errorf("%s was never called", call)
				}
				noCanary(t, call, out.String())
				if t.Failed() {
					return
				}
			}
		}
	}
}
