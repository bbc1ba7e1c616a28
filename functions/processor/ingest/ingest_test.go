package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// world is a handler over the in-memory ledger, with a clock that only the test moves, and a fault for every call.
type world struct {
	t         *testing.T
	now       time.Time
	ledger    *ledger.Memory
	calls     []string
	published []alert.Record
	rejected  []market.Rejected
	delays    map[string]time.Duration
	clocks    []alert.ClockMessage
	logs      bytes.Buffer
	metrics   bytes.Buffer
	ids       int

	// fault, where it is not nil, is asked before a call and may make it fail. after is asked when it has had its
	// effect. publishErr is asked for each alert.
	fault      func(call string) error
	after      func(call string) error
	publishErr func(*alert.Record) error
	rejectErr  func(*market.Rejected) error

	config  ingest.Config
	handler *ingest.Handler
}

const levelRule = `
rules:
  - alert: High
    expr: price > 100
    severity: critical
    cooldown: 0s
    reset: price < 90
    labels: {desk: test}
    summary: "{{ .symbol }} at {{ .price }}"
`

func newWorld(t *testing.T, rules string, delivery settings.Delivery) *world {
	t.Helper()
	w := &world{t: t, now: time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC), delays: map[string]time.Duration{}}
	w.ledger = ledger.NewMemory(ledger.Config{Now: func() time.Time { return w.now }})
	compiled, err := alert.Load("rules.yaml", []byte(rules))
	if err != nil {
		t.Fatalf("rules: %v", err)
	}
	w.config = ingest.Config{
		Environment: "test", Delivery: delivery,
		Engine: compiled.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: delivery == settings.Ordered}),
		Ledger: w, Notifier: w, Queue: w, SeriesConcurrency: 1, Timetable: w, Clocks: w, Timers: true,
		Logger: slog.New(slog.NewJSONHandler(&w.logs, nil)), Metrics: &w.metrics,
		Now:    func() time.Time { return w.now },
		Sleep:  func(ctx context.Context, d time.Duration) error { w.now = w.now.Add(d); return ctx.Err() },
		Jitter: func(max time.Duration) time.Duration { return max / 2 },
		NewID:  func() string { w.ids++; return fmt.Sprintf("%p-%d", w, w.ids) },
	}
	w.configure()
	return w
}

// configure makes the handler of w.config.
func (w *world) configure() {
	w.t.Helper()
	var err error
	if w.handler, err = ingest.New(w.config); err != nil {
		w.t.Fatalf("New: %v", err)
	}
}

func (w *world) before(call string) error {
	w.calls = append(w.calls, call)
	if w.fault != nil {
		return w.fault(call)
	}
	return nil
}

func (w *world) done(call string, err error) error {
	if err == nil && w.after != nil {
		return w.after(call)
	}
	return err
}

func (w *world) ReadStates(ctx context.Context, series []string) (map[string]alert.Snapshot, map[string]error, error) {
	if err := w.before("read"); err != nil {
		return nil, nil, err
	}
	return w.ledger.ReadStates(ctx, series)
}

func (w *world) Commit(ctx context.Context, c alert.Commit) (alert.CommitResult, error) {
	if err := w.before("commit"); err != nil {
		return alert.CommitResult{}, err
	}
	r, err := w.ledger.Commit(ctx, c)
	return r, w.done("commit", err)
}

func (w *world) Records(ctx context.Context, keys []alert.Key) (map[alert.Key]alert.Record, error) {
	if err := w.before("records"); err != nil {
		return nil, err
	}
	return w.ledger.Records(ctx, keys)
}

func (w *world) Claim(ctx context.Context, key alert.Key, owner string, lease int64) (alert.Record, bool, error) {
	if err := w.before("claim"); err != nil {
		return alert.Record{}, false, err
	}
	return w.ledger.Claim(ctx, key, owner, lease)
}

func (w *world) Release(ctx context.Context, key alert.Key, owner string) error {
	if err := w.before("release"); err != nil {
		return err
	}
	return w.ledger.Release(ctx, key, owner)
}

func (w *world) Settle(ctx context.Context, records []alert.Record) error {
	if err := w.before("settle"); err != nil {
		return err
	}
	return w.done("settle", w.ledger.Settle(ctx, records))
}

func (w *world) Publish(_ context.Context, records []alert.Record) []error {
	errs := make([]error, len(records))
	err := w.before("publish")
	for i := range records {
		if errs[i] = err; err == nil && w.publishErr != nil {
			errs[i] = w.publishErr(&records[i])
		}
		if errs[i] == nil {
			w.published = append(w.published, records[i])
		}
	}
	return errs
}

func (w *world) Reject(_ context.Context, rejected []market.Rejected) []error {
	errs := make([]error, len(rejected))
	err := w.before("reject")
	for i := range rejected {
		if errs[i] = err; err == nil && w.rejectErr != nil {
			errs[i] = w.rejectErr(&rejected[i])
		}
		if errs[i] == nil {
			w.rejected = append(w.rejected, owned(rejected[i]))
		}
	}
	return errs
}

func (w *world) SetVisibility(_ context.Context, delays []market.Delay) error {
	if err := w.before("visibility"); err != nil {
		return err
	}
	for _, d := range delays {
		w.delays[strings.Clone(d.ReceiptHandle)] = d.After
	}
	return nil
}

// owned is r with texts of its own: those that Reject gets alias the invocation's payload.
func owned(r market.Rejected) market.Rejected {
	r.Body, r.OriginMessageID, r.Format, r.Group = strings.Clone(r.Body), strings.Clone(r.OriginMessageID), strings.Clone(r.Format), strings.Clone(r.Group)
	return r
}

// trade is a canonical trade of AAPL, at seconds after 14:30.
func trade(symbol string, price float64, at float64, sequence int) string {
	ts := market.FormatTime(time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC).Add(time.Duration(at * float64(time.Second))).UnixNano())
	return fmt.Sprintf(`{"symbol":%q,"price":"%g","timestamp":%q,"sequence":%d}`, symbol, price, ts, sequence)
}

func msg(id, group string, lines ...string) ingest.Record {
	sent := time.Date(2026, 11, 20, 14, 59, 0, 0, time.UTC)
	return ingest.Record{MessageID: id, ReceiptHandle: "r-" + id, Group: group, ReceiveCount: 1, Sent: sent, FirstReceived: sent, Body: strings.Join(lines, "\n")}
}

// handle delivers the records and returns the ids that are returned.
func (w *world) handle(records ...ingest.Record) ([]string, error) {
	w.t.Helper()
	r, err := w.handler.Handle(context.Background(), records)
	ids := []string{}
	for _, f := range r.BatchItemFailures {
		ids = append(ids, f.ItemIdentifier)
	}
	return ids, err
}

func (w *world) mustHandle(want []string, records ...ingest.Record) {
	w.t.Helper()
	if want == nil {
		want = []string{}
	}
	got, err := w.handle(records...)
	if err != nil {
		w.t.Fatalf("Handle: %v", err)
	}
	if d := cmp.Diff(want, got); d != "" {
		w.t.Fatalf("returned messages (-want +got):\n%s\nlogs: %s", d, &w.logs)
	}
}

// wantAlerts checks that n alerts are stored with the status and that each was published times times, under one id.
func (w *world) wantAlerts(n int, status alert.Status, times int) {
	w.t.Helper()
	all := w.ledger.All()
	if len(all) != n {
		w.t.Errorf("%d alerts stored, want %d", len(all), n)
	}
	count := map[string]int{}
	for _, r := range w.published {
		count[r.ID]++
	}
	for _, r := range all {
		if r.Status != status {
			w.t.Errorf("alert %s is %s, want %s", r.ID, r.Status, status)
		}
		if count[r.ID] != times {
			w.t.Errorf("alert %s was published %d times, want %d", r.ID, count[r.ID], times)
		}
	}
	if len(w.published) != n*times {
		w.t.Errorf("%d publishes, want %d", len(w.published), n*times)
	}
}

func (w *world) count(call string) int {
	n := 0
	for _, c := range w.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (w *world) snapshot(series string) alert.Snapshot {
	w.t.Helper()
	states, bad, err := w.ledger.ReadStates(context.Background(), []string{series})
	if err != nil || len(bad) > 0 {
		w.t.Fatalf("state of %s: %v %v", series, err, bad)
	}
	return states[series]
}

// metric is the sum of a metric over all batches so far.
func (w *world) metric(name string) int {
	w.t.Helper()
	sum := 0
	for line := range strings.Lines(w.metrics.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			w.t.Fatalf("metrics line: %v", err)
		}
		if f, ok := m[name].(float64); ok {
			sum += int(f)
		}
	}
	return sum
}

var errDown = errors.New("down")

// failOnce makes the nth call of a kind fail (from 1).
func failNth(kind string, n int, err error) func(string) error {
	seen := 0
	return func(call string) error {
		if call == kind {
			if seen++; seen == n {
				return err
			}
		}
		return nil
	}
}

func TestAlertIsStoredAndPublishedOnce(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	m := msg("m1", "g", trade("AAPL", 99, 0, 1), trade("AAPL", 101.5, 1, 2), trade("AAPL", 102, 2, 3))
	w.mustHandle(nil, m)
	w.wantAlerts(1, alert.Sent, 1)
	r := w.ledger.All()[0]
	if r.Rule != "High" || r.Summary != "AAPL at 101.5" || r.Published != w.now.UnixMilli() || r.Received != m.Sent.UnixMilli() {
		t.Errorf("stored alert: %+v", r)
	}
	if want := []string{"read", "commit", "publish", "settle"}; !cmp.Equal(w.calls, want) {
		t.Errorf("calls %v, want %v", w.calls, want)
	}

	w.calls = nil
	w.configure() // another environment remembers nothing
	w.mustHandle(nil, m)
	w.wantAlerts(1, alert.Sent, 1)
	if w.metric(settings.MetricEventsRepeated) != 3 {
		t.Errorf("%d events counted as repeated, want 3", w.metric(settings.MetricEventsRepeated))
	}
	if want := []string{"read", "records"}; !cmp.Equal(w.calls, want) {
		t.Errorf("a repetition calls %v, want %v", w.calls, want)
	}
}

func TestNothingToDoCallsNothing(t *testing.T) {
	w := newWorld(t, strings.Replace(levelRule, "expr:", "symbols: [AAPL]\n    expr:", 1), settings.Ordered)
	w.mustHandle(nil, msg("m1", "g", trade("MSFT", 500, 0, 1)))
	if len(w.calls) != 0 {
		t.Errorf("a series that no rule watches calls %v", w.calls)
	}
	w.mustHandle(nil, msg("m2", "g", trade("AAPL", 95, 0, 1), trade("AAPL", 96, 1, 2)))
	if want := []string{"read"}; !cmp.Equal(w.calls, want) {
		t.Errorf("events that change nothing call %v, want %v", w.calls, want)
	}
}

func TestDarkRuleIsStoredNotPublished(t *testing.T) {
	w := newWorld(t, strings.Replace(levelRule, "expr:", "notify: false\n    expr:", 1), settings.Ordered)
	w.mustHandle(nil, msg("m1", "g", trade("AAPL", 101, 0, 1)))
	w.wantAlerts(1, alert.Muted, 0)
	if h := w.snapshot("AAPL|").Hints; len(h) != 0 {
		t.Errorf("a muted alert leaves the hints %v", h)
	}
}

func TestBadEventsAreKeptAndHarmNobody(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	bad := msg("m2", "g", trade("AAPL", 80, 2, 3), `{"symbol":"AAPL","price":"-1","timestamp":"2026-11-20T14:30:03Z"}`, trade("AAPL", 101, 4, 4), `nonsense`)
	bad.OriginMessageID = "origin"
	other := msg("m3", "g2", trade("MSFT", 101, 0, 1))
	other.Format = "vendor-x"
	w.mustHandle(nil, msg("m1", "g", trade("AAPL", 101, 1, 2)), bad, other)
	w.wantAlerts(2, alert.Sent, 1)
	type kept struct {
		Reason market.Reason
		Origin string
		Index  int
		Group  string
	}
	var got []kept
	for _, r := range w.rejected {
		got = append(got, kept{r.Reason, r.OriginMessageID, r.Index, r.Group})
	}
	want := []kept{{market.NonPositive, "origin", 1, "g"}, {market.MalformedJSON, "origin", 3, "g"}, {market.UnknownFormat, "m3", 0, "g2"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("rejects (-want +got):\n%s", d)
	}
	if w.rejected[0].Body != `{"symbol":"AAPL","price":"-1","timestamp":"2026-11-20T14:30:03Z"}` || w.rejected[2].Body != other.Body {
		t.Error("a refused event is not kept as received")
	}
	if w.calls[len(w.calls)-1] != "reject" || w.count("reject") != 1 {
		t.Errorf("calls %v: refused events go last, together", w.calls)
	}
	if w.metric(settings.MetricEventsRejected) != 3 || w.metric(settings.MetricEventsReceived) != 6 {
		t.Errorf("%d rejected of %d", w.metric(settings.MetricEventsRejected), w.metric(settings.MetricEventsReceived))
	}
}

func TestRejectsQueueDownReturnsTheMessage(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = failNth("reject", 1, errDown)
	bad := msg("m1", "g1", "nonsense")
	w.mustHandle([]string{"m1"}, bad, msg("m2", "g2", trade("AAPL", 101, 0, 1)))
	w.mustHandle(nil, bad)
	if len(w.rejected) != 1 {
		t.Errorf("%d rejects, want 1", len(w.rejected))
	}
}

func TestFailedPublishIsRetriedUnderTheSameID(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = failNth("publish", 1, errDown)
	m := msg("m1", "g", trade("AAPL", 101, 0, 1))
	if _, err := w.handle(m); err == nil {
		t.Fatal("the only message failed, yet the invocation did not")
	}
	w.wantAlerts(1, alert.Pending, 0)
	if w.count("release") != 1 || w.ledger.All()[0].Lease != 0 {
		t.Error("the lease was not released")
	}
	w.mustHandle(nil, m)
	w.wantAlerts(1, alert.Sent, 1)
}

type permanentError struct{ error }

func (permanentError) Permanent() bool { return true }

func TestPermanentRefusalPoisonsNobody(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.publishErr = func(r *alert.Record) error {
		if r.Symbol == "BAD" {
			return fmt.Errorf("notify: %w", permanentError{errors.New("InvalidParameter")})
		}
		return nil
	}
	w.mustHandle(nil, msg("m1", "shard-1", trade("BAD", 101, 0, 1), trade("AAPL", 101, 0, 1)))
	status := map[string]alert.Status{}
	for _, r := range w.ledger.All() {
		status[r.Symbol] = r.Status
	}
	if status["BAD"] != alert.Failed || status["AAPL"] != alert.Sent {
		t.Errorf("statuses %v", status)
	}
	if len(w.rejected) != 1 || w.rejected[0].Reason != market.AlertRefused || !strings.Contains(w.rejected[0].Body, `"symbol":"BAD"`) {
		t.Errorf("rejects %+v", w.rejected)
	}
	w.calls = nil
	w.mustHandle(nil, msg("m2", "shard-1", trade("BAD", 80, 1, 2)))
	if h := w.snapshot("BAD|").Hints; len(h) != 0 {
		t.Errorf("the hint of a failed alert is kept: %v", h)
	}
	if len(w.published) != 1 || w.metric(settings.MetricAlertsFailed) != 1 {
		t.Errorf("%d published, %d failed", len(w.published), w.metric(settings.MetricAlertsFailed))
	}
}

func TestPermanentRefusalIsKeptBeforeItIsSettled(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.publishErr = func(*alert.Record) error { return permanentError{errors.New("InvalidParameter")} }
	w.fault = failNth("reject", 1, errDown)
	m := msg("m1", "g", trade("AAPL", 101, 0, 1))
	if _, err := w.handle(m); err == nil {
		t.Fatal("the message was acknowledged though its alert is nowhere")
	}
	w.wantAlerts(1, alert.Pending, 0)
	w.mustHandle(nil, m)
	w.wantAlerts(1, alert.Failed, 0)
	if len(w.rejected) != 1 {
		t.Errorf("%d rejects", len(w.rejected))
	}
}

// TestCrashBeforePublish: the owner of a pending alert dies. Until its lease ends nobody publishes and nothing is
// acknowledged; then the redelivery does.
func TestCrashBeforePublish(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = func(call string) error {
		if call == "publish" {
			panic("the environment dies")
		}
		return nil
	}
	m, behind, other := msg("m1", "g", trade("AAPL", 101, 0, 1)), msg("m2", "g", trade("AAPL", 80, 1, 2)), msg("m3", "h", trade("MSFT", 99, 0, 1))
	func() {
		defer func() { _ = recover() }()
		_, _ = w.handle(m)
	}()
	w.fault = nil
	w.wantAlerts(1, alert.Pending, 0)
	lease := time.UnixMilli(w.ledger.All()[0].Lease)

	w.now = w.now.Add(10 * time.Second)
	w.mustHandle([]string{"m1", "m2"}, m, behind, other)
	w.wantAlerts(1, alert.Pending, 0)
	if want := lease.Sub(w.now) + time.Second; w.delays["r-m1"] != want || w.delays["r-m2"] != want {
		t.Errorf("hidden for %v, want both %v", w.delays, want)
	}
	if w.metric(settings.MetricRecordsDeferred) != 2 || w.metric(settings.MetricRecordsFailed) != 0 {
		t.Errorf("deferred %d, failed %d", w.metric(settings.MetricRecordsDeferred), w.metric(settings.MetricRecordsFailed))
	}

	w.now = lease.Add(time.Second)
	w.mustHandle(nil, m, behind)
	w.wantAlerts(1, alert.Sent, 1)
	if w.metric(settings.MetricPendingExpired) != 1 {
		t.Errorf("%d expired leases counted", w.metric(settings.MetricPendingExpired))
	}
}

// TestOnlyDeferredIsNoFailure: deferred messages never make the invocation fail.
func TestOnlyDeferredIsNoFailure(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = func(call string) error {
		if call == "publish" {
			panic("the environment dies")
		}
		return nil
	}
	m := msg("m1", "g", trade("AAPL", 101, 0, 1))
	func() {
		defer func() { _ = recover() }()
		_, _ = w.handle(m)
	}()
	w.fault = nil
	w.mustHandle([]string{"m1"}, m)
}

func TestLostResponses(t *testing.T) {
	for _, call := range []string{"commit", "settle"} {
		t.Run(call, func(t *testing.T) {
			w := newWorld(t, levelRule, settings.Ordered)
			w.after = failNth(call, 1, errDown)
			m := msg("m1", "g", trade("AAPL", 101, 0, 1))
			if _, err := w.handle(m); err == nil {
				t.Fatal("the message was acknowledged")
			}
			for range 10 {
				w.now = w.now.Add(30 * time.Second)
				if ids, _ := w.handle(m); len(ids) == 0 {
					break
				}
			}
			w.wantAlerts(1, alert.Sent, 1)
		})
	}
}

func TestUnrecordedPublishIsPublishedAgainUnderTheSameID(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = failNth("settle", 1, errDown)
	m := msg("m1", "g", trade("AAPL", 101, 0, 1))
	if _, err := w.handle(m); err == nil {
		t.Fatal("the message was acknowledged")
	}
	w.now = w.now.Add(2 * time.Minute)
	w.mustHandle(nil, m)
	w.wantAlerts(1, alert.Sent, 2)
}

func TestFailedGroupKeepsItsOrderAndOthersGoOn(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = failNth("commit", 1, errDown)
	a1, a2, a3 := msg("a1", "a", trade("AAPL", 101, 0, 1)), msg("a2", "a", trade("AAPL", 80, 1, 2)), msg("a3", "a", trade("AAPL", 102, 2, 3))
	a1.ReceiveCount, a2.ReceiveCount = 4, 1
	w.mustHandle([]string{"a1", "a2", "a3"}, a1, msg("b1", "b", trade("MSFT", 101, 0, 1)), a2, a3)
	if w.metric(settings.MetricRecordsFailed) != 1 || w.metric(settings.MetricRecordsDeferred) != 2 {
		t.Errorf("failed %d, deferred %d", w.metric(settings.MetricRecordsFailed), w.metric(settings.MetricRecordsDeferred))
	}
	for _, r := range []string{"r-a1", "r-a2", "r-a3"} {
		if w.delays[r] != 2*time.Minute {
			t.Errorf("%s is hidden for %v, want 2m0s (fourth receive)", r, w.delays[r])
		}
	}
	w.mustHandle(nil, a1, a2, a3)
	w.wantAlerts(3, alert.Sent, 1)
}

func TestRetryDelays(t *testing.T) {
	for receives, want := range map[int]time.Duration{0: 15 * time.Second, 1: 15 * time.Second, 2: 30 * time.Second, 5: 4 * time.Minute, 6: 6 * time.Minute, 1000: 6 * time.Minute} {
		w := newWorld(t, levelRule, settings.Ordered)
		w.fault = failNth("read", 1, errDown)
		m := msg("m1", "g", trade("AAPL", 101, 0, 1))
		m.ReceiveCount = receives
		if _, err := w.handle(m); err == nil {
			t.Error("no error")
		}
		if w.delays["r-m1"] != want {
			t.Errorf("receive %d: hidden for %v, want %v", receives, w.delays["r-m1"], want)
		}
	}
}

func TestVisibilityIsBestEffort(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = func(call string) error {
		if call == "commit" || call == "visibility" {
			return errDown
		}
		return nil
	}
	w.mustHandle([]string{"m1"}, msg("m1", "g", trade("AAPL", 101, 0, 1)), msg("m2", "h", trade("MSFT", 99, 0, 1)))
}

func TestLostRaceIsRunAgain(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	rival := newWorld(t, levelRule, settings.Ordered)
	rival.ledger = w.ledger
	races := 0
	w.fault = func(call string) error {
		if call == "commit" && races < 3 {
			races++
			rival.now = w.now
			price := 101.0
			if races%2 == 0 {
				price = 80
			}
			rival.mustHandle(nil, msg(fmt.Sprint("r", races), "x", trade("AAPL", price, float64(races), races)))
		}
		return nil
	}
	w.mustHandle(nil, msg("m1", "g", trade("AAPL", 85, 4, 10), trade("AAPL", 105, 5, 11)))
	w.published = append(w.published, rival.published...)
	w.wantAlerts(3, alert.Sent, 1)
	if w.metric(settings.MetricStateConflicts) != 3 {
		t.Errorf("%d conflicts counted, want 3", w.metric(settings.MetricStateConflicts))
	}
}

// TestLostRaceAgainstAnOwnerThatDies: another invocation commits the same message and dies before it publishes. The loser
// finds the message applied, and must wait for the other's lease all the same.
func TestLostRaceAgainstAnOwnerThatDies(t *testing.T) {
	for _, delivery := range []settings.Delivery{settings.Ordered, settings.Unordered} {
		w, rival := newWorld(t, levelRule, delivery), newWorld(t, levelRule, delivery)
		rival.ledger = w.ledger
		m := msg("m1", "g", trade("AAPL", 101, 0, 1))
		rival.fault = func(call string) error {
			if call == "publish" || call == "release" {
				return errDown
			}
			return nil
		}
		raced := false
		w.fault = func(call string) error {
			if call == "commit" && !raced {
				raced = true
				_, _ = rival.handle(m)
			}
			return nil
		}
		w.mustHandle([]string{"m1"}, m)
		w.wantAlerts(1, alert.Pending, 0)
		w.now = time.UnixMilli(w.ledger.All()[0].Lease + 1)
		w.mustHandle(nil, m)
		w.wantAlerts(1, alert.Sent, 1)
	}
}

// TestHintsStayUntilTheMarkIsWritten: the first of two rounds publishes, and cannot record it.
func TestHintsStayUntilTheMarkIsWritten(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	var lines []string
	for i := range 150 {
		lines = append(lines, trade("AAPL", 80, float64(2*i), 2*i+1), trade("AAPL", 101, float64(2*i+1), 2*i+2))
	}
	w.fault = failNth("settle", 1, errDown)
	m := msg("m1", "g", lines...)
	for range 3 {
		_, _ = w.handle(m)
		w.now = w.now.Add(3 * time.Minute)
	}
	for _, r := range w.ledger.All() {
		if r.Status != alert.Sent {
			t.Fatalf("alert %s is %s for ever", r.ID, r.Status)
		}
	}
}

// TestAnAlertThatIsStoredAnewIsNotSettled: an operator removed a state and its alerts, and sends the messages once more.
func TestAnAlertThatIsStoredAnewIsNotSettled(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	m := msg("m1", "g", trade("AAPL", 101, 0, 1))
	w.mustHandle(nil, m)
	w.ledger, w.published = ledger.NewMemory(ledger.Config{Now: func() time.Time { return w.now }}), nil
	w.fault = failNth("publish", 1, errDown)
	if failed, _ := w.handle(m); len(failed) != 1 {
		t.Fatalf("returned %v although the publish failed", failed)
	}
	w.mustHandle(nil, m)
	w.wantAlerts(1, alert.Sent, 1)
}

func TestOwnLeaseIsClaimedAgainOnceGivenBack(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = failNth("publish", 1, errDown)
	m := msg("m1", "g", trade("AAPL", 101, 0, 1))
	_, _ = w.handle(m)
	w.mustHandle(nil, m)
	w.wantAlerts(1, alert.Sent, 1)
	if released, claimed := w.count("release"), w.count("claim"); released == 0 || claimed == 0 {
		t.Errorf("%d leases given back, %d alerts claimed: what was given back is anybody's", released, claimed)
	}
}

func TestOutOfTimeWhileKeepingRejectsIsDeferred(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = func(call string) error {
		if call == "reject" {
			w.now = w.now.Add(time.Minute)
			return context.DeadlineExceeded
		}
		return nil
	}
	w.mustHandle([]string{"m1"}, msg("m1", "g", "nonsense"))
	if w.metric(settings.MetricRecordsFailed) != 0 || w.metric(settings.MetricRecordsDeferred) != 1 {
		t.Errorf("failed %d, deferred %d", w.metric(settings.MetricRecordsFailed), w.metric(settings.MetricRecordsDeferred))
	}
}

func TestTooManyUnpublishedAlertsHoldTheSeries(t *testing.T) {
	w := newWorld(t, levelRule, settings.Unordered)
	var hints []alert.Hint
	for i := range 2000 {
		r := alert.Record{Alert: alert.Alert{ID: fmt.Sprint("old", i), Symbol: "AAPL"}, Status: alert.Pending, Owner: "other", Lease: w.now.Add(time.Minute).UnixMilli()}
		if _, err := w.ledger.Commit(t.Context(), alert.Commit{ID: r.ID, Series: "AAPL|", Alerts: []alert.Record{r}}); err != nil {
			t.Fatal(err)
		}
		hints = append(hints, alert.Hint{AlertID: r.ID})
	}
	if _, err := w.ledger.Commit(t.Context(), alert.Commit{ID: "s", Series: "AAPL|", State: &alert.Snapshot{Hints: hints}}); err != nil {
		t.Fatal(err)
	}
	m := msg("m1", "", trade("AAPL", 101, 0, 1))
	if ids, _ := w.handle(m); len(ids) != 1 {
		t.Fatal("a series with 2000 unpublished alerts took another")
	}
	w.now = w.now.Add(2 * time.Minute)
	for range 60 {
		if ids, _ := w.handle(m); len(ids) == 0 {
			break
		}
	}
	if n := len(w.published); n < 51 {
		t.Errorf("%d published once the leases were over: the series is stuck", n)
	}
}

func TestManyAlertsCommitPrefixByPrefix(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	var lines []string
	const fired = 250
	for i := range fired {
		lines = append(lines, trade("AAPL", 80, float64(2*i), 2*i+1), trade("AAPL", 101, float64(2*i+1), 2*i+2))
	}
	w.mustHandle(nil, msg("m1", "g", lines...))
	w.wantAlerts(fired, alert.Sent, 1)
	if w.count("commit") != 3 || w.count("read") != 1 {
		t.Errorf("%d commits and %d reads, want 3 and 1", w.count("commit"), w.count("read"))
	}
	var sizes []int
	for _, r := range w.published {
		sizes = append(sizes, len(r.ID))
	}
	if len(sizes) != fired {
		t.Errorf("%d published", len(sizes))
	}
}

func TestCrashBetweenPrefixesSkipsNothing(t *testing.T) {
	var lines []string
	for i := range 250 {
		lines = append(lines, trade("AAPL", 80, float64(2*i), 2*i+1), trade("AAPL", 101, float64(2*i+1), 2*i+2))
	}
	for n := 1; n <= 3; n++ {
		for _, lost := range []bool{false, true} {
			w := newWorld(t, levelRule, settings.Ordered)
			if lost {
				w.after = failNth("commit", n, errDown)
			} else {
				w.fault = failNth("commit", n, errDown)
			}
			m := msg("m1", "g", lines...)
			if _, err := w.handle(m); err == nil {
				t.Fatal("the message was acknowledged")
			}
			w.now = w.now.Add(2 * time.Minute)
			w.mustHandle(nil, m)
			w.wantAlerts(250, alert.Sent, 1)
		}
	}
}

// TestOneEventFiresMoreThanATransactionHolds: 250 rules fire on one event.
func TestOneEventFiresMoreThanATransactionHolds(t *testing.T) {
	rules := "rules:\n"
	for i := range 250 {
		rules += fmt.Sprintf("  - alert: R%d\n    expr: price > 100\n    reset: price < 90\n", i)
	}
	for n := range 5 {
		w := newWorld(t, rules, settings.Ordered)
		m := msg("m1", "g", trade("AAPL", 99, 0, 1), trade("AAPL", 101, 1, 2), trade("AAPL", 102, 2, 3))
		if n > 0 {
			w.after = failNth("commit", n, errDown)
			if ids, _ := w.handle(m); n <= 3 && len(ids) == 0 {
				t.Fatal("acknowledged")
			}
			w.now = w.now.Add(2 * time.Minute)
		}
		w.mustHandle(nil, m)
		w.wantAlerts(250, alert.Sent, 1)
	}
}

func TestOutOfTimeIsDeferred(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	ctx, cancel := context.WithDeadline(context.Background(), w.now.Add(-time.Second))
	defer cancel()
	r, err := w.handler.Handle(ctx, []ingest.Record{msg("m1", "g", trade("AAPL", 101, 0, 1)), msg("m2", "g", trade("AAPL", 80, 1, 2))})
	if err != nil || len(r.BatchItemFailures) != 2 {
		t.Fatalf("%+v, %v: want both returned and no error", r, err)
	}
	if w.metric(settings.MetricRecordsFailed) != 0 || w.metric(settings.MetricRecordsDeferred) != 2 {
		t.Errorf("failed %d, deferred %d", w.metric(settings.MetricRecordsFailed), w.metric(settings.MetricRecordsDeferred))
	}
	w.mustHandle(nil, msg("m1", "g", trade("AAPL", 101, 0, 1)), msg("m2", "g", trade("AAPL", 80, 1, 2)))
	w.wantAlerts(1, alert.Sent, 1)
}

func TestHintsOutliveTheNextCommitUntilSettled(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = failNth("settle", 1, errDown)
	m1 := msg("m1", "g", trade("AAPL", 101, 0, 1))
	_, _ = w.handle(m1)
	// Another group delivers the same series while the first message waits.
	w.mustHandle(nil, msg("m2", "h", trade("AAPL", 80, 1, 2)))
	if h := w.snapshot("AAPL|").Hints; len(h) != 1 {
		t.Fatalf("hints %v: the pending alert's was dropped too early", h)
	}
	w.now = w.now.Add(2 * time.Minute)
	w.mustHandle(nil, m1)
	w.mustHandle(nil, msg("m3", "h", trade("AAPL", 103, 2, 3)))
	for _, h := range w.snapshot("AAPL|").Hints {
		if strings.HasPrefix(h.AlertID, "20261120T143000") && h.Message == w.snapshot("AAPL|").Delivered[0].Message {
			t.Error("the hint of a settled alert is kept")
		}
	}
}

// TestUnsettledAlertsDoNotPushOutIdentities: the newest messages are recognised however many alerts wait to be published.
func TestUnsettledAlertsDoNotPushOutIdentities(t *testing.T) {
	w := newWorld(t, levelRule, settings.Unordered)
	var batch []ingest.Record
	for i := range 400 {
		batch = append(batch, msg(fmt.Sprint("m", i), "", trade("AAPL", []float64{80, 101}[i%2], float64(i)/1000, i+1)))
	}
	w.mustHandle(nil, batch...)
	w.wantAlerts(200, alert.Sent, 1)
	before := w.metric(settings.MetricEventsRepeated)
	w.mustHandle(nil, batch[300:]...)
	w.wantAlerts(200, alert.Sent, 1)
	if n := w.metric(settings.MetricEventsRepeated) - before; n != 100 {
		t.Errorf("%v of the last 100 messages are recognised", n)
	}
}

// TestManyHintsAreDropped: more hints come to an environment than it remembers, batch by batch. They go before a series has so
// many that it waits.
func TestManyHintsAreDropped(t *testing.T) {
	w := newWorld(t, levelRule, settings.Unordered)
	symbols := []string{"A", "B", "C", "D", "E", "F"}
	for _, symbol := range symbols {
		var hints []alert.Hint
		for i := range 1900 {
			hints = append(hints, alert.Hint{AlertID: fmt.Sprint("gone-", i)})
		}
		if _, err := w.ledger.Commit(context.Background(), alert.Commit{ID: symbol, Series: symbol + "|", State: &alert.Snapshot{Hints: hints}}); err != nil {
			t.Fatal(err)
		}
	}
	for batch := range 3 {
		var records []ingest.Record
		for _, symbol := range symbols {
			at := float64(2 * batch)
			records = append(records, msg(fmt.Sprint(symbol, batch), "", trade(symbol, 101, at, 2*batch+1), trade(symbol, 80, at+1, 2*batch+2)))
		}
		w.mustHandle(nil, records...)
	}
	for _, symbol := range symbols {
		if n := len(w.snapshot(symbol + "|").Hints); n > 3 {
			t.Errorf("series %s has %d hints", symbol, n)
		}
	}
}

func TestAlertsOfOtherMessagesAreRecovered(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = failNth("publish", 1, errDown)
	_, _ = w.handle(msg("m1", "g", trade("AAPL", 101, 0, 1)))
	w.mustHandle(nil, msg("m2", "h", trade("AAPL", 80, 1, 2)))
	w.wantAlerts(1, alert.Sent, 1)

	// Best effort: what goes wrong there never fails the message.
	for _, call := range []string{"records", "claim", "publish"} {
		w := newWorld(t, levelRule, settings.Ordered)
		w.fault = failNth("publish", 1, errDown)
		_, _ = w.handle(msg("m1", "g", trade("AAPL", 101, 0, 1)))
		w.fault = failNth(call, 1, errDown)
		w.mustHandle(nil, msg("m2", "h", trade("AAPL", 80, 1, 2)))
		if len(w.snapshot("AAPL|").Hints) != 1 {
			t.Errorf("%s fails: the hint of a pending alert is gone", call)
		}
	}
}

func TestStatesThatCannotBeUsed(t *testing.T) {
	for name, c := range map[string]struct {
		engine []byte
		failed bool
	}{
		"newer code's": {[]byte{255, 1, 2}, false},
		"corrupt":      {[]byte{1, 255, 255, 255}, true},
	} {
		w := newWorld(t, levelRule, settings.Ordered)
		if _, err := w.ledger.Commit(context.Background(), alert.Commit{ID: "x", Series: "AAPL|", State: &alert.Snapshot{Engine: c.engine}}); err != nil {
			t.Fatal(err)
		}
		ids, err := w.handle(msg("m1", "g", trade("AAPL", 101, 0, 1)))
		if len(ids) != 1 || (err != nil) != c.failed || len(w.ledger.All()) != 0 {
			t.Errorf("%s: returned %v, error %v, alerts %d", name, ids, err, len(w.ledger.All()))
		}
		if got := w.snapshot("AAPL|").Version; got != 1 {
			t.Errorf("%s: the state was overwritten (version %d)", name, got)
		}
	}
}

func TestPanicFailsOneSeries(t *testing.T) {
	w := newWorld(t, levelRule, settings.Unordered)
	n := 0
	w.fault = func(call string) error {
		if call == "commit" {
			if n++; n == 1 {
				panic("CANARY")
			}
		}
		return nil
	}
	w.mustHandle([]string{"m1"}, msg("m1", "", trade("AAPL", 101, 0, 1)), msg("m2", "", trade("MSFT", 101, 0, 1)))
	if strings.Contains(w.logs.String(), "CANARY") || !strings.Contains(w.logs.String(), "panic (string) at a series' commit") {
		t.Errorf("logs: %s", &w.logs)
	}
}

func TestUnorderedMessagesFailAlone(t *testing.T) {
	w := newWorld(t, levelRule, settings.Unordered)
	w.fault = failNth("commit", 1, errDown)
	w.mustHandle([]string{"a1"}, msg("a1", "", trade("AAPL", 101, 0, 1)), msg("b1", "", trade("MSFT", 101, 0, 1)), msg("c1", "", "nonsense"))
	if len(w.rejected) != 1 || len(w.ledger.All()) != 1 {
		t.Errorf("%d rejects, %d alerts", len(w.rejected), len(w.ledger.All()))
	}
}

func TestIdentitySurvivesRedrive(t *testing.T) {
	w := newWorld(t, levelRule, settings.Unordered)
	m := msg("m1", "", trade("AAPL", 101, 0, 1))
	w.mustHandle(nil, m)
	w.mustHandle(nil, msg("m2", "", trade("AAPL", 80, 1, 2)))
	again := m
	again.MessageID, again.OriginMessageID = "new", "m1"
	w.mustHandle(nil, again)
	w.wantAlerts(1, alert.Sent, 1)
}

func TestLateEventsOfARetryAreKept(t *testing.T) {
	w := newWorld(t, levelRule, settings.Unordered)
	w.mustHandle(nil, msg("m1", "", trade("AAPL", 101, 60, 2)))
	late := msg("m2", "", trade("AAPL", 80, 1, 1))
	w.mustHandle(nil, late)
	if len(w.rejected) != 0 || w.metric(settings.MetricEventsLate) != 1 {
		t.Errorf("first delivery: %d rejects, %d late", len(w.rejected), w.metric(settings.MetricEventsLate))
	}
	late.ReceiveCount = 2
	w.mustHandle(nil, late)
	if len(w.rejected) != 1 || w.rejected[0].Reason != market.LateRetry || w.rejected[0].Body != late.Body {
		t.Errorf("a retry: rejects %+v", w.rejected)
	}
	w.fault = failNth("reject", 1, errDown)
	if ids, _ := w.handle(late); len(ids) != 1 {
		t.Error("acknowledged though the late event was not kept")
	}
}

func TestLogsHoldNoInput(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = failNth("commit", 1, fmt.Errorf("ledger: committing: %w", apiError{}))
	_, err := w.handle(msg("m1", "g", trade("AAPL", 101, 0, 1), `{"symbol":"CANARY"}`), msg("m2", "h", `{"price":"CANARY"}`, "CANARY", `{"CANARY":1}`))
	if err != nil {
		t.Fatalf("Handle: %v", err)
	}
	if strings.Contains(w.logs.String(), "CANARY") || !strings.Contains(w.logs.String(), "ValidationException") || !strings.Contains(w.logs.String(), "m2") {
		t.Errorf("logs: %s", &w.logs)
	}
	_, err = w.handle(msg("m1", "g", trade("AAPL", 101, 0, 1)))
	if err != nil {
		t.Fatal(err)
	}
	w.fault = func(string) error { return errors.Join(errDown, apiError{}) }
	if _, err = w.handle(msg("m9", "g", trade("AAPL", 80, 1, 2))); err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("the invocation's error is %v", err)
	}
}

type apiError struct{}

func (apiError) Error() string     { return "api error ValidationException: bad value CANARY" }
func (apiError) ErrorCode() string { return "ValidationException" }

func TestMetricsLine(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	w.mustHandle(nil, msg("m1", "g", trade("AAPL", 101, 0, 1), "x"))
	var line struct {
		AWS struct {
			Timestamp         int64
			CloudWatchMetrics []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			}
		} `json:"_aws"`
		Environment         string
		RecordsReceived     int
		AlertsPublished     int
		EventToAlertLatency []int64
	}
	if err := json.Unmarshal(w.metrics.Bytes(), &line); err != nil {
		t.Fatalf("%v in %s", err, &w.metrics)
	}
	directive := line.AWS.CloudWatchMetrics[0]
	if line.AWS.Timestamp != w.now.UnixMilli() || directive.Namespace != settings.MetricsNamespace || !cmp.Equal(directive.Dimensions, [][]string{{"Environment"}}) {
		t.Errorf("directive %+v", line.AWS)
	}
	if line.Environment != "test" || line.RecordsReceived != 1 || line.AlertsPublished != 1 || !cmp.Equal(line.EventToAlertLatency, []int64{30 * 60 * 1000}) {
		t.Errorf("values %+v", line)
	}
	var values map[string]any
	_ = json.Unmarshal(w.metrics.Bytes(), &values)
	for _, m := range directive.Metrics {
		if _, ok := values[m.Name]; !ok {
			t.Errorf("metric %s is declared without a value", m.Name)
		}
	}
}

// Zeros are what makes an alarm return to OK. Where a clock ticks, its lines hold them: those of the batches are billed by
// their bytes.
func TestZeros(t *testing.T) {
	all := []string{settings.MetricRecordsReceived, settings.MetricRecordsFailed, settings.MetricRecordsDeferred, settings.MetricEventsReceived,
		settings.MetricEventsRejected, settings.MetricEventsLate, settings.MetricEventsRepeated, settings.MetricAlertsFired, settings.MetricAlertsPublished,
		settings.MetricAlertsFailed, settings.MetricStateConflicts, settings.MetricStatesRewarmed, settings.MetricPendingExpired, settings.MetricClocksSent}
	for _, ticks := range []bool{false, true} {
		w := newWorld(t, levelRule, settings.Ordered)
		w.config.Ticks = ticks
		w.configure()
		batch := func() { w.mustHandle(nil, msg("m1", "g", trade("AAPL", 50, 0, 1))) }
		tick := func() { w.tick(w.now) }
		for _, c := range []struct {
			what  string
			run   func()
			names []string
		}{{"batch", batch, []string{settings.MetricRecordsReceived, settings.MetricEventsReceived}}, {"tick", tick, all}} {
			w.metrics.Reset()
			c.run()
			if !ticks {
				c.names = all
			}
			var values map[string]any
			if err := json.Unmarshal(w.metrics.Bytes(), &values); err != nil {
				t.Fatal(err)
			}
			for _, name := range all {
				_, found := values[name]
				if defined := strings.Contains(w.metrics.String(), `{"Name":"`+name+`",`); found != slices.Contains(c.names, name) || defined != found {
					t.Errorf("ticks %t, %s: %s has a value: %t, a definition: %t", ticks, c.what, name, found, defined)
				}
			}
			if n := w.metrics.Len(); ticks && c.what == "batch" && n > 320 {
				t.Errorf("a batch without alerts logs %d bytes", n)
			}
		}
	}
}

// The line is JSON whatever the environment is called, also without latencies and with several.
func TestMetricsLineIsJSON(t *testing.T) {
	w := newWorld(t, "rules:\n  - {alert: High, expr: price > 100, cooldown: 0s, reset: price < 90}\n", settings.Ordered)
	w.config.Environment = "a\"b\\\n<é>"
	w.configure()
	for _, tc := range []struct {
		body string
		want []int64
	}{
		{trade("AAPL", 50, 0, 1), nil},
		{trade("AAPL", 101, 1, 2) + "\n" + trade("AAPL", 50, 2, 3) + "\n" + trade("AAPL", 101, 3, 4), []int64{30*60*1000 - 1000, 30*60*1000 - 3000}},
	} {
		w.metrics.Reset()
		w.mustHandle(nil, msg(fmt.Sprint("m", len(tc.body)), "g", tc.body))
		var line struct {
			Environment         string
			EventsReceived      int
			EventToAlertLatency []int64
		}
		if err := json.Unmarshal(w.metrics.Bytes(), &line); err != nil {
			t.Fatalf("%v in %s", err, &w.metrics)
		}
		if line.Environment != w.config.Environment || line.EventsReceived != 1+strings.Count(tc.body, "\n") || !cmp.Equal(line.EventToAlertLatency, tc.want) {
			t.Errorf("%+v in %s, want latencies %v", line, &w.metrics, tc.want)
		}
		if text := w.metrics.String(); strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") || strings.Contains(text, "EventToAlertLatency") != (tc.want != nil) {
			t.Errorf("line %q", text)
		}
	}
}

// Identities are found alike among few messages and among many, in one batch, across batches, and beside those stored.
func TestIdentitiesOfManyMessages(t *testing.T) {
	for _, n := range []int{3, 16, 17, 40, 400} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := newWorld(t, "rules:\n  - {alert: Many, expr: \"sum(price, 1) > 0\", reset: \"sum(price, 1) > 0\", cooldown: 0s}\n", settings.Unordered)
			var batch, twice []ingest.Record
			for i := range n {
				m := msg(fmt.Sprint("m", i), "", trade("AAPL", 101, 0, i+1))
				batch, twice = append(batch, m), append(twice, m, m)
			}
			w.mustHandle(nil, twice...)
			fired := len(w.published)
			if fired != (n+1)/2 {
				t.Errorf("%d alerts of %d messages that came twice, want one of every second", fired, n)
			}
			w.mustHandle(nil, batch[max(0, n-10):]...) // some are surely kept
			w.mustHandle(nil, batch[n-1])
			if len(w.published) != fired {
				t.Errorf("%d alerts after a repetition of the batch, want %d", len(w.published), fired)
			}
		})
	}
}

func TestParseEvent(t *testing.T) {
	const event = `{"Records":[{"messageId":"m","receiptHandle":"h","body":"{}","attributes":{"ApproximateReceiveCount":"3","SentTimestamp":"1795530600123",
	"ApproximateFirstReceiveTimestamp":"1795530600456","MessageGroupId":"g","SenderId":"x"},"messageAttributes":{"format":{"stringValue":"canonical","dataType":"String"},
	"origin_message_id":{"stringValue":"o","dataType":"String"}},"md5OfBody":"x","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:123456789012:q","awsRegion":"us-east-1"}]}`
	got, err := ingest.ParseEvent([]byte(event))
	if err != nil {
		t.Fatal(err)
	}
	want := []ingest.Record{{MessageID: "m", ReceiptHandle: "h", Body: "{}", Group: "g", ReceiveCount: 3, Sent: time.UnixMilli(1795530600123).UTC(),
		FirstReceived: time.UnixMilli(1795530600456).UTC(), Format: "canonical", OriginMessageID: "o"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, bad := range []string{``, `[]`, `{"Records":[{}]}`, `{"Records":[{"messageId":"m","attributes":{"ApproximateReceiveCount":"x"}}]}`} {
		if _, err := ingest.ParseEvent([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestNewRefusesAnIncompleteConfig(t *testing.T) {
	if _, err := ingest.New(ingest.Config{Delivery: "sometimes", ClockSkew: -1}); err == nil || !strings.Contains(err.Error(), "sometimes") || !strings.Contains(err.Error(), "required") || !strings.Contains(err.Error(), "negative") {
		t.Errorf("error %v", err)
	}
}
