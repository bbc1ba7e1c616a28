package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// wideRule waits for time: a quote is evaluated when it is known that no other of its timestamp comes.
const wideRule = `
rules:
  - alert: Wide
    on: quote
    expr: spread_bps > 20
    reset: spread_bps < 10
`

func (w *world) DueSeries(ctx context.Context, now time.Time) iter.Seq2[alert.DueSeries, error] {
	if err := w.before("due"); err != nil {
		return func(yield func(alert.DueSeries, error) bool) { yield(alert.DueSeries{}, err) }
	}
	return w.ledger.DueSeries(ctx, now)
}

func (w *world) ExpiredAlerts(ctx context.Context, now time.Time) iter.Seq2[alert.Key, error] {
	if err := w.before("expired"); err != nil {
		return func(yield func(alert.Key, error) bool) { yield(alert.Key{}, err) }
	}
	return w.ledger.ExpiredAlerts(ctx, now)
}

func (w *world) SendClocks(_ context.Context, messages []alert.ClockMessage) []error {
	errs := make([]error, len(messages))
	for i, m := range messages {
		if errs[i] = w.before("clock"); errs[i] == nil {
			w.clocks = append(w.clocks, m)
		}
	}
	return errs
}

var opening = time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)

// quote is a wide quote at seconds after 14:30, in a message that was sent lag after it.
func quote(symbol, group string, at float64, sequence int, lag time.Duration) ingest.Record {
	t := opening.Add(time.Duration(at * float64(time.Second)))
	r := msg(fmt.Sprintf("%s-%g-%d", symbol, at, sequence), group, fmt.Sprintf(`{"type":"quote","symbol":%q,"bid":"100","ask":"101","timestamp":%q,"sequence":%d}`,
		symbol, market.FormatTime(t.UnixNano()), sequence))
	r.Sent = t.Add(lag)
	return r
}

// tick lets the clock tick at a time.
func (w *world) tick(at time.Time) []alert.ClockMessage {
	w.t.Helper()
	w.now, w.clocks = at, nil
	if err := w.handler.Tick(w.t.Context()); err != nil {
		w.t.Fatalf("Tick: %v", err)
	}
	return w.clocks
}

// clocked is a message of clock events as the queue delivers it.
func (w *world) clocked(m alert.ClockMessage) ingest.Record {
	w.ids++
	return ingest.Record{MessageID: fmt.Sprint("clock-", w.ids), Group: m.Group, ReceiveCount: 1, Sent: w.now, FirstReceived: w.now, Body: m.Body}
}

func (w *world) due(series string) alert.Due { return w.snapshot(series).Due }

func dueTime(d alert.Due) time.Time { return time.UnixMilli(d.At).UTC() }

func TestDueIsDeadlineAndLagAndGrace(t *testing.T) {
	for _, lag := range []time.Duration{-10 * time.Second, 0, 2 * time.Second, 3 * time.Hour} {
		w := newWorld(t, wideRule, settings.Ordered)
		w.now = opening.Add(lag)
		w.mustHandle(nil, quote("AAPL", "g", 1, 1, lag))
		d := w.due("AAPL|")
		if d.Event < opening.Add(time.Second).UnixNano() || d.Event > opening.Add(time.Minute).UnixNano() {
			t.Errorf("lag %s: the deadline is %s", lag, market.FormatTime(d.Event))
		}
		if want := d.Event/1e6 + max(0, lag).Milliseconds() + 30_000; d.At != want || d.Group != "g" {
			t.Errorf("lag %s: due %+v, want at %d in group g", lag, d, want)
		}
	}
}

func TestDueMovesOnlyWhenEarlierOrReached(t *testing.T) {
	w := newWorld(t, wideRule, settings.Ordered)
	w.now = opening
	w.mustHandle(nil, quote("AAPL", "g", 0, 1, 5*time.Minute))
	first := w.due("AAPL|")
	steps := []struct {
		name  string
		now   time.Time
		r     ingest.Record
		moves bool
	}{
		{"a later deadline", opening, quote("AAPL", "g", 1, 2, 5*time.Minute), false},
		{"a little earlier", opening, quote("AAPL", "g", 2, 3, 5*time.Minute-9*time.Second), false},
		{"earlier", opening, quote("AAPL", "g", 3, 4, time.Minute), true},
		{"a longer lag", opening, quote("AAPL", "g", 4, 5, time.Hour), false},
		{"just not reached", dueTime(first).Add(-5 * time.Minute), quote("AAPL", "g", 5, 6, time.Hour), false},
		{"reached", dueTime(first), quote("AAPL", "g", 6, 7, time.Hour), true},
		{"not reached again", dueTime(first), quote("AAPL", "g", 7, 8, time.Hour), false},
	}
	for _, s := range steps {
		before := w.due("AAPL|")
		w.now = s.now
		w.mustHandle(nil, s.r)
		after := w.due("AAPL|")
		if (after != before) != s.moves {
			t.Errorf("%s: due was %s and is %s, want moved %v", s.name, dueTime(before), dueTime(after), s.moves)
		}
	}
	w.mustHandle(nil, quote("AAPL", "other", 8, 9, time.Hour))
	if d := w.due("AAPL|"); d.Group != "other" {
		t.Errorf("the clock goes to group %q, the series is in another now", d.Group)
	}
}

// TestBacklogMovesDueOncePerClock: behind a backlog every deadline is in the past. Commits leave the index alone until a
// clock has come through.
func TestBacklogMovesDueOncePerClock(t *testing.T) {
	w := newWorld(t, wideRule, settings.Ordered)
	w.now = opening.Add(time.Hour)
	w.mustHandle(nil, quote("AAPL", "g", 0, 1, 0))
	first := w.due("AAPL|")
	clock := w.tick(w.now)[0]
	for i := range 5 {
		w.mustHandle(nil, quote("AAPL", "g", float64(i+1), i+2, 0))
		if d := w.due("AAPL|"); d != first {
			t.Fatalf("quote %d moves what is due from %+v to %+v", i, first, d)
		}
	}
	w.mustHandle(nil, w.clocked(clock))
	second := w.due("AAPL|")
	if second.Event <= first.Event {
		t.Fatalf("the clock leaves what is due at %+v", second)
	}
	if again := w.tick(w.now); len(again) != 1 || again[0].ID == clock.ID {
		t.Errorf("the next tick sends %v, want another clock", again)
	}
}

func TestUnchangedDueCostsNoWrite(t *testing.T) {
	w := newWorld(t, wideRule+`
  - alert: High
    expr: price > 1e6
    cooldown: 1m
`, settings.Ordered)
	w.now = opening
	w.mustHandle(nil, quote("AAPL", "g", 0, 1, 0))
	early := alert.ClockMessage{Group: "g", Body: `{"type":"clock","symbol":"AAPL","timestamp":"2026-11-20T14:29:00Z"}`}
	w.calls = nil
	w.mustHandle(nil, w.clocked(early))
	if want := []string{"read"}; !cmp.Equal(w.calls, want) {
		t.Errorf("a clock before anything is due calls %v, want %v", w.calls, want)
	}
}

func TestEarlyClockMovesDue(t *testing.T) {
	w := newWorld(t, wideRule, settings.Ordered)
	w.now = opening
	const lag = 2 * time.Minute
	w.mustHandle(nil, quote("AAPL", "g", 0, 1, lag))
	w.mustHandle(nil, quote("AAPL", "g", 20, 2, lag))
	first := w.due("AAPL|")
	published := len(w.published)
	clocks := w.tick(dueTime(first))
	if len(clocks) != 1 {
		t.Fatalf("%d messages, want 1", len(clocks))
	}
	w.calls = nil
	w.mustHandle(nil, w.clocked(clocks[0]))
	second := w.due("AAPL|")
	if got := second.Event - first.Event; got != int64(20*time.Second) {
		t.Errorf("due moved by %s of event time, want the 20s between the quotes", time.Duration(got))
	}
	if got := second.At - first.At; got != 20_000 {
		t.Errorf("due moved by %d ms: the clock is no event by which the feed's lag is measured", got)
	}
	if w.count("commit") != 1 || len(w.published) != published {
		t.Errorf("%d commits and %d alerts, want 1 and none", w.count("commit"), len(w.published)-published)
	}
	if again := w.tick(w.now); len(again) != 0 {
		t.Errorf("the next tick sends %v", again)
	}
	w.calls = nil
	w.mustHandle(nil, w.clocked(clocks[0]))
	if want := []string{"read"}; !cmp.Equal(w.calls, want) {
		t.Errorf("the same clock again calls %v, want %v", w.calls, want)
	}
	clocks = w.tick(dueTime(second))
	w.mustHandle(nil, w.clocked(clocks[0]))
	if d := w.due("AAPL|"); d.At != 0 && d.Event <= second.Event {
		t.Errorf("after its last clock the quiet series is due again: %+v", d)
	}
}

// TestDueStaysUntilReachedThenGoes: a pending rule that is armed again leaves its deadline in the index, which costs no
// write, until a clock finds that nothing waits.
func TestDueStaysUntilReachedThenGoes(t *testing.T) {
	w := newWorld(t, `
rules:
  - alert: Held
    expr: price > 100
    for: 5s
    cooldown: 1m
`, settings.Ordered)
	w.now = opening
	w.mustHandle(nil, msg("m1", "g", trade("AAPL", 101, 0, 1)))
	first := w.due("AAPL|")
	w.mustHandle(nil, msg("m2", "g", trade("AAPL", 99, 1, 2)))
	if d := w.due("AAPL|"); first.At == 0 || d != first {
		t.Fatalf("due was %+v and is %+v", first, d)
	}
	clocks := w.tick(dueTime(first))
	w.mustHandle(nil, w.clocked(clocks[0]))
	if d := w.due("AAPL|"); d != (alert.Due{}) || len(w.published) > 0 {
		t.Errorf("after the clock the series is due at %+v, and %d alerts are published", d, len(w.published))
	}
	if again := w.tick(dueTime(first).Add(time.Hour)); len(again) != 0 {
		t.Errorf("a later tick sends %v", again)
	}
}

// TestClockChangesOnlyTheMoment: the alert that a clock brings has the id that the next quote would have given it.
func TestClockChangesOnlyTheMoment(t *testing.T) {
	quiet, busy := newWorld(t, wideRule, settings.Ordered), newWorld(t, wideRule, settings.Ordered)
	for _, w := range []*world{quiet, busy} {
		w.now = opening
		w.mustHandle(nil, quote("AAPL", "g", 0, 1, 0))
		w.wantAlerts(0, alert.Sent, 1)
	}
	clocks := quiet.tick(dueTime(quiet.due("AAPL|")))
	quiet.mustHandle(nil, quiet.clocked(clocks[0]))
	busy.mustHandle(nil, quote("AAPL", "g", 50, 2, 0))
	quiet.wantAlerts(1, alert.Sent, 1)
	busy.wantAlerts(1, alert.Sent, 1)
	if a, b := quiet.published[0].Alert, busy.published[0].Alert; !cmp.Equal(a, b) {
		t.Errorf("clock and quote give different alerts:\n%s", cmp.Diff(a, b))
	}
}

func TestTickSendsWhatIsDueAndNothingElse(t *testing.T) {
	w := newWorld(t, wideRule, settings.Ordered)
	w.now = opening
	// B and C share a group; D is due later; E needs no clock.
	w.mustHandle(nil, quote("A", "a", 0, 1, 0), quote("B", "shard", 2, 1, 0), quote("C", "shard", 1, 1, 0), quote("D", "d", 40, 1, 0),
		msg("e", "e", trade("E", 1, 0, 1)))
	at := dueTime(w.due("B|"))
	if got := w.tick(dueTime(w.due("A|")).Add(-time.Millisecond)); len(got) != 0 {
		t.Errorf("before anything is due %v is sent", got)
	}
	got := w.tick(at)
	type clock struct {
		group, symbols string
		times          []int64
	}
	var told []clock
	for _, m := range got {
		events, refused := market.Decode(nil, m.Body, w.now, time.Minute)
		c := clock{group: m.Group}
		for _, e := range events {
			if e.Kind != market.Clock {
				t.Errorf("an event of kind %v", e.Kind)
			}
			c.symbols += e.Symbol
			c.times = append(c.times, e.Time-w.due(e.Series()).Event)
		}
		if len(refused) > 0 || len(m.ID) == 0 || len(m.ID) > 128 {
			t.Errorf("message %+v: refused %v", m, refused)
		}
		told = append(told, c)
	}
	want := []clock{{"a", "A", []int64{0}}, {"shard", "CB", []int64{0, 0}}}
	if d := cmp.Diff(want, told, cmp.AllowUnexported(clock{})); d != "" {
		t.Errorf("clocks (-want +got):\n%s", d)
	}
	if n := w.metric(settings.MetricClocksSent); n != 3 {
		t.Errorf("%d clocks counted, want 3", n)
	}
	// Twice in a row: the same messages under the same ids, which a FIFO queue takes once.
	if again := w.tick(w.now.Add(time.Second)); !cmp.Equal(got, again) {
		t.Errorf("a second tick sends other messages:\n%s", cmp.Diff(got, again))
	}
	for _, m := range got {
		w.mustHandle(nil, w.clocked(m), w.clocked(m))
	}
	w.wantAlerts(3, alert.Sent, 1)
	if again := w.tick(w.now); len(again) != 0 {
		t.Errorf("when the clocks have come, %v is sent again", again)
	}
}

func TestClocksArePackedInMessagesOfABoundedLength(t *testing.T) {
	w := newWorld(t, wideRule, settings.Ordered)
	w.now = opening
	for i := range 230 {
		w.mustHandle(nil, quote(fmt.Sprint("S", i), "shard", 0, 1, 0))
	}
	var lines []int
	for _, m := range w.tick(opening.Add(time.Hour)) {
		lines = append(lines, strings.Count(m.Body, "\n")+1)
	}
	if !slices.Equal(lines, []int{100, 100, 30}) {
		t.Errorf("messages of %v clocks, want 100, 100 and 30", lines)
	}
}

func TestClocksOfUnorderedDeliveryHaveNoGroup(t *testing.T) {
	w := newWorld(t, wideRule, settings.Unordered)
	w.now = opening
	w.mustHandle(nil, quote("A", "", 0, 1, 0), quote("B", "", 0, 1, 0))
	got := w.tick(opening.Add(time.Hour))
	if len(got) != 1 || got[0].Group != "" || strings.Count(got[0].Body, "\n") != 1 {
		t.Fatalf("sent %+v, want one message without a group", got)
	}
	w.mustHandle(nil, w.clocked(got[0]))
	w.wantAlerts(2, alert.Sent, 1)

	// Made ordered later: a FIFO queue takes no message without a group.
	w = newWorld(t, wideRule, settings.Unordered)
	w.now = opening
	w.mustHandle(nil, quote("A", "", 0, 1, 0), quote("B", "", 0, 1, 0))
	w.config.Delivery = settings.Ordered
	w.configure()
	got = w.tick(opening.Add(time.Hour))
	if len(got) != 2 || got[0].Group == "" || got[0].Group == got[1].Group {
		t.Errorf("sent %+v, want a group for each series", got)
	}
}

func TestWithoutTimersNothingIsDue(t *testing.T) {
	w := newWorld(t, wideRule, settings.Ordered)
	w.now = opening
	w.mustHandle(nil, quote("OLD", "g", 0, 1, 0)) // of a deployment with timers
	w.config.Timers = false
	w.configure()
	w.mustHandle(nil, quote("AAPL", "g", 0, 1, time.Hour), quote("OLD", "g", 1, 2, 0))
	for _, series := range []string{"AAPL|", "OLD|"} {
		if d := w.due(series); d != (alert.Due{}) {
			t.Errorf("%s is due: %+v", series, d)
		}
	}
	w.calls = nil
	if got := w.tick(opening.Add(time.Hour)); len(got) != 0 || !cmp.Equal(w.calls, []string{"expired"}) {
		t.Errorf("a tick sends %v and calls %v, want the sweep alone", got, w.calls)
	}
}

// stranded leaves n alerts stored and not published: their publisher dies.
func stranded(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(t, levelRule, settings.Ordered)
	w.fault = func(call string) error {
		if call == "publish" {
			panic("the process ends")
		}
		return nil
	}
	for i := range n {
		func() {
			defer func() { _ = recover() }()
			_, _ = w.handle(msg(fmt.Sprint("m", i), "g", trade(fmt.Sprint("S", i), 101, 0, 1)))
		}()
	}
	w.fault, w.calls = nil, nil
	w.wantAlerts(n, alert.Pending, 0)
	return w
}

func TestSweepPublishesOnceWhatWasLeft(t *testing.T) {
	w := stranded(t, 1)
	lease := time.UnixMilli(w.ledger.All()[0].Lease)
	w.tick(lease)
	w.wantAlerts(1, alert.Pending, 0)
	w.tick(lease.Add(time.Millisecond))
	w.wantAlerts(1, alert.Sent, 1)
	if n := w.metric(settings.MetricPendingExpired); n != 1 {
		t.Errorf("%d expired alerts reported, want 1", n)
	}
	w.tick(lease.Add(time.Hour))
	w.mustHandle(nil, msg("m0", "g", trade("S0", 101, 0, 1)))
	w.wantAlerts(1, alert.Sent, 1)
	if n := w.metric(settings.MetricPendingExpired); n != 1 {
		t.Errorf("%d expired alerts reported in the end, want 1", n)
	}
}

func TestSweepLeavesWhatAnotherPublishes(t *testing.T) {
	w := stranded(t, 2)
	w.now = w.now.Add(time.Hour)
	all := w.ledger.All()
	if _, claimed, err := w.ledger.Claim(t.Context(), all[0].Key(), "another", w.now.Add(time.Minute).UnixMilli()); !claimed || err != nil {
		t.Fatal(claimed, err)
	}
	// The index still says what was before: it is eventually consistent.
	w.config.Timetable = staleTimetable{w, []alert.Key{all[0].Key(), all[1].Key(), {Symbol: "S9", ID: "gone"}}}
	w.configure()
	w.tick(w.now)
	if len(w.published) != 1 || w.published[0].Key() != all[1].Key() {
		t.Errorf("published %v, want the unclaimed alert alone", w.published)
	}
}

type staleTimetable struct {
	*world
	keys []alert.Key
}

func (s staleTimetable) ExpiredAlerts(context.Context, time.Time) iter.Seq2[alert.Key, error] {
	return func(yield func(alert.Key, error) bool) {
		for _, k := range s.keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func TestSweepWhileSNSIsDown(t *testing.T) {
	w := stranded(t, 250)
	w.now = w.now.Add(time.Hour)
	w.publishErr = func(*alert.Record) error { return errDown }
	if err := w.handler.Tick(t.Context()); err == nil || !strings.Contains(err.Error(), "none of 100 expired alerts") {
		t.Errorf("Tick: %v", err)
	}
	if n := w.count("claim"); n != 100 {
		t.Errorf("%d alerts claimed while none can be published, want the first 100", n)
	}
	w.wantAlerts(250, alert.Pending, 0)
	w.publishErr, w.calls = nil, nil
	w.tick(w.now.Add(time.Minute)) // the leases were given back
	w.wantAlerts(250, alert.Sent, 1)
	if n := w.count("records"); n != 3 {
		t.Errorf("250 alerts are read in %d calls, want 3", n)
	}
}

type refusedForGood struct{ error }

func (refusedForGood) Permanent() bool { return true }

func TestSweepKeepsWhatSNSRefusesForGood(t *testing.T) {
	w := stranded(t, 1)
	w.publishErr = func(*alert.Record) error { return refusedForGood{errors.New("too long")} }
	w.tick(w.now.Add(time.Hour))
	w.wantAlerts(1, alert.Failed, 0)
	if len(w.rejected) != 1 || w.rejected[0].Reason != market.AlertRefused || w.rejected[0].OriginMessageID != w.ledger.All()[0].ID {
		t.Errorf("rejects: %+v", w.rejected)
	}
}

func TestTickTellsWhatFailed(t *testing.T) {
	for _, call := range []string{"due", "clock", "expired", "records"} {
		w := newWorld(t, wideRule+strings.TrimPrefix(levelRule, "\nrules:"), settings.Ordered)
		w.now = opening
		w.mustHandle(nil, quote("A", "a", 0, 1, 0), quote("B", "b", 0, 1, 0))
		w.fault = func(c string) error {
			if c == "publish" {
				return errDown
			}
			return nil
		}
		if _, err := w.handle(msg("m", "c", trade("C", 101, 0, 1))); err == nil {
			t.Fatal("a failed publish is no error")
		}
		w.now, w.fault = opening.Add(time.Hour), failNth(call, 1, errDown)
		if err := w.handler.Tick(t.Context()); !errors.Is(err, errDown) {
			t.Errorf("%s down: Tick: %v", call, err)
		}
		clocks, published := map[string]int{"due": 0, "clock": 1}[call], 1
		if call == "expired" || call == "records" {
			clocks, published = 2, 0
		}
		if len(w.clocks) != clocks || len(w.published) != published {
			t.Errorf("%s down: %d clocks and %d publishes, want %d and %d: the rest goes on", call, len(w.clocks), len(w.published), clocks, published)
		}
		w.fault, w.clocks = nil, nil
		if err := w.handler.Tick(t.Context()); err != nil || len(w.clocks) != 2 || len(w.published) != 1 {
			t.Errorf("%s up again: %v, %d clocks and %d publishes, want 2 and 1", call, err, len(w.clocks), len(w.published))
		}
	}
	w := newWorld(t, wideRule, settings.Ordered)
	w.config.Clocks = nil
	w.configure()
	if err := w.handler.Tick(t.Context()); err == nil {
		t.Error("a tick without anybody to send clocks is no error")
	}
}

// TestSeriesFoundBeforeAnErrorGetTheirClocks: one item that cannot be read holds up nobody before it.
func TestSeriesFoundBeforeAnErrorGetTheirClocks(t *testing.T) {
	w := newWorld(t, wideRule, settings.Ordered)
	w.now = opening
	w.mustHandle(nil, quote("A", "a", 0, 1, 0), quote("B", "b", 0, 1, 0))
	w.config.Timetable = brokenTimetable{w}
	w.configure()
	w.now = opening.Add(time.Hour)
	if err := w.handler.Tick(t.Context()); !errors.Is(err, errDown) || len(w.clocks) != 2 {
		t.Errorf("Tick: %v, %d clocks sent, want 2", err, len(w.clocks))
	}
}

type brokenTimetable struct{ *world }

func (b brokenTimetable) DueSeries(ctx context.Context, now time.Time) iter.Seq2[alert.DueSeries, error] {
	return func(yield func(alert.DueSeries, error) bool) {
		for d, err := range b.world.DueSeries(ctx, now) {
			if !yield(d, err) {
				return
			}
		}
		yield(alert.DueSeries{}, errDown)
	}
}

// TestTickEndsInTime: a tick whose time is over leaves the rest to the next one, without an error.
func TestTickEndsInTime(t *testing.T) {
	w := stranded(t, 120)
	w.now = w.now.Add(time.Hour)
	start := w.now
	w.fault = func(call string) error {
		if call == "claim" {
			w.now = w.now.Add(500 * time.Millisecond)
		}
		return nil
	}
	if err := w.handler.Tick(t.Context()); err != nil {
		t.Fatalf("Tick: %v", err)
	}
	if took := w.now.Sub(start); took > 45*time.Second {
		t.Errorf("a tick of a minute took %s, want three quarters at most", took)
	}
	if n := len(w.published); n == 0 || n == 120 {
		t.Errorf("%d alerts published, want some", n)
	}
	w.fault = nil
	w.tick(w.now.Add(2 * time.Minute))
	w.wantAlerts(120, alert.Sent, 1)
}

// TestSeriesThatNoRuleWatchesGetNoClock: an edit of the rules leaves a due time behind.
func TestSeriesThatNoRuleWatchesGetNoClock(t *testing.T) {
	w := newWorld(t, wideRule, settings.Ordered)
	w.now = opening
	w.mustHandle(nil, quote("AAPL", "g", 0, 1, 0))
	edited := newWorld(t, strings.Replace(wideRule, "on: quote", "symbols: [MSFT]\n    on: quote", 1), settings.Ordered)
	edited.ledger = w.ledger
	if clocks := edited.tick(dueTime(w.due("AAPL|"))); len(clocks) != 0 {
		t.Errorf("clocks %v for a series that no rule watches", clocks)
	}
}

// TestALiveSeriesDoesNotExpire: a rule sits in fired while the price stays high, and nothing is written for longer than a
// state's time to live. The rule must not fire again.
func TestALiveSeriesDoesNotExpire(t *testing.T) {
	r := newRig(t, levelRule, settings.Ordered)
	start := r.now
	for i := range 12 {
		r.now = start.Add(time.Duration(i) * stateTTL / 4)
		r.send(t, fmt.Sprint("m", i), "", fmt.Sprintf(`{"symbol":"AAPL","price":101,"timestamp":%q,"sequence":%d}`, r.now.Format(time.RFC3339Nano), i+1))
		r.drain(t)
		r.db.Sweep()
	}
	if n := len(r.published(t)); n != 1 {
		t.Errorf("%d alerts, want the first only: the state expired while the series was alive", n)
	}
}
