package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// store is everything that an adapter is to the handler.
type store interface {
	ingest.Ledger
	ingest.Timetable
}

var (
	_ store = (*ledger.DynamoDB)(nil)
	_ store = (*ledger.Memory)(nil)
)

// clock is the time that both adapters see; a test moves it.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newClock() *clock { return &clock{time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)} }

// record is a pending alert with every field set, so that a field lost on the way is seen.
func record(n int, owner string, lease int64) alert.Record {
	return alert.Record{
		Alert: alert.Alert{
			ID: fmt.Sprintf("20261120T143000.%09dZ-0123456789abcdef", n), Symbol: "AAPL", Source: "alpaca", Rule: "Große Zahl", Severity: alert.Critical,
			Labels: []alert.Label{{Name: "desk", Value: "equities"}, {Name: "team", Value: ""}}, Summary: "moved 3% \"today\"\n",
			Time: time.Date(2026, 11, 20, 14, 30, 0, n, time.UTC).UnixNano(), Value: 101.25,
			Operands: []alert.Operand{{Text: "price", Value: 101.25}, {Text: "size * 2", Value: -1e-200}}, Price: 101_250_000_000,
			EventID: "e1", Sequence: 0, HasSeq: true, Venue: "Q", RuleVersion: "abc", Notify: true,
		},
		Times:  alert.Times{Received: 1_795_530_600_123, Stored: 1_795_530_600_456},
		Status: alert.Pending, Owner: owner, Lease: lease,
	}
}

func snapshot(version int64, engine string) *alert.Snapshot {
	return &alert.Snapshot{
		Version:   version,
		Delivered: []alert.Delivered{{Message: alert.MessageID{1}, Next: alert.Whole}, {Message: alert.MessageID{2}, Next: 7}},
		Hints:     []alert.Hint{{Message: alert.MessageID{2}, AlertID: "x"}},
		Engine:    []byte(engine),
		Due:       alert.Due{At: 1_795_530_660_123, Event: 1_795_530_630_123_456_789, Group: "AAPL|alpaca"}, Lag: 250,
	}
}

// suite is what both adapters must do.
func suite(t *testing.T, open func(t *testing.T, c *clock) store) {
	ctx := context.Background()
	const series = "AAPL|alpaca"
	mustCommit := func(t *testing.T, l store, c alert.Commit) alert.CommitResult {
		t.Helper()
		r, err := l.Commit(ctx, c)
		if err != nil {
			t.Fatalf("Commit: %v", err)
		}
		return r
	}
	state := func(t *testing.T, l store) alert.Snapshot {
		t.Helper()
		states, bad, err := l.ReadStates(ctx, []string{series})
		if err != nil || len(bad) > 0 {
			t.Fatalf("ReadStates: %v, bad %v", err, bad)
		}
		s, ok := states[series]
		if !ok {
			t.Fatal("ReadStates gave no answer for the series")
		}
		return s
	}
	stored := func(t *testing.T, l store, k alert.Key) (alert.Record, bool) {
		t.Helper()
		m, err := l.Records(ctx, []alert.Key{k})
		if err != nil {
			t.Fatalf("Records: %v", err)
		}
		r, ok := m[k]
		return r, ok
	}
	equal := func(t *testing.T, what string, got, want any) {
		t.Helper()
		if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s differs (-want +got):\n%s", what, d)
		}
	}

	t.Run("a series never written has the zero snapshot", func(t *testing.T) {
		equal(t, "snapshot", state(t, open(t, newClock())), alert.Snapshot{})
	})
	t.Run("a commit is read back, one version on", func(t *testing.T) {
		l := open(t, newClock())
		for v := range int64(3) {
			s := snapshot(v, strings.Repeat("s", int(v)))
			if r := mustCommit(t, l, alert.Commit{ID: fmt.Sprint("c", v), Series: series, State: s}); r.Conflict {
				t.Fatalf("version %d: conflict", v)
			}
			s.Version++
			equal(t, "snapshot", state(t, l), *s)
		}
	})
	t.Run("a commit on a version that is gone writes nothing", func(t *testing.T) {
		l := open(t, newClock())
		mustCommit(t, l, alert.Commit{ID: "c1", Series: series, State: snapshot(0, "first")})
		for _, alerts := range [][]alert.Record{nil, {record(1, "o", 1)}} {
			for _, version := range []int64{0, 2} {
				r := mustCommit(t, l, alert.Commit{ID: "c2", Series: series, State: snapshot(version, "late"), Alerts: alerts})
				if !r.Conflict {
					t.Errorf("version %d with %d alerts: no conflict", version, len(alerts))
				}
			}
		}
		if got := string(state(t, l).Engine); got != "first" {
			t.Errorf("state is %q, want the first", got)
		}
		if _, ok := stored(t, l, record(1, "", 0).Key()); ok {
			t.Error("an alert was stored without its state")
		}
	})
	t.Run("an alert is read back whole", func(t *testing.T) {
		l := open(t, newClock())
		full, bare := record(1, "o", 5), alert.Record{
			Alert: alert.Alert{ID: "20261120T143000Z-1", Symbol: "A", Rule: "r", Severity: alert.Info, Value: math.MaxFloat64}, Status: alert.Muted,
		}
		unknown := bare
		unknown.ID, unknown.Value = "20261120T143000Z-2", math.NaN()
		mustCommit(t, l, alert.Commit{ID: "c", Series: series, State: snapshot(0, ""), Alerts: []alert.Record{full, bare, unknown}})
		for _, want := range []alert.Record{full, bare} {
			got, _ := stored(t, l, want.Key())
			equal(t, "record", got, want)
		}
		if got, ok := stored(t, l, unknown.Key()); !ok || !math.IsNaN(got.Value) {
			t.Errorf("an alert without a value: %+v, stored %v", got, ok)
		}
	})
	t.Run("alerts stored before are returned and the rest is committed", func(t *testing.T) {
		l := open(t, newClock())
		old := []alert.Record{record(1, "first", 1), record(3, "first", 1)}
		mustCommit(t, l, alert.Commit{ID: "c1", Series: series, Alerts: old})
		r := mustCommit(t, l, alert.Commit{ID: "c2", Series: series, State: snapshot(0, "s"), Alerts: []alert.Record{record(1, "second", 2), record(2, "second", 2), record(3, "second", 2)}})
		equal(t, "existing", r.Existing, old)
		if got, ok := stored(t, l, record(2, "", 0).Key()); !ok || got.Owner != "second" {
			t.Errorf("the new alert is %+v, stored %v", got, ok)
		}
		if got := string(state(t, l).Engine); got != "s" {
			t.Errorf("state is %q: it was not written", got)
		}
		r = mustCommit(t, l, alert.Commit{ID: "c3", Series: series, State: snapshot(1, "t"), Alerts: []alert.Record{record(1, "third", 2)}})
		if len(r.Existing) != 1 || r.Existing[0].Owner != "first" {
			t.Errorf("all alerts existing: %+v", r)
		}
		if got := string(state(t, l).Engine); got != "t" {
			t.Errorf("all alerts existing: state is %q", got)
		}
	})
	t.Run("a commit recognises its own write", func(t *testing.T) {
		for name, c := range map[string]alert.Commit{
			"state":            {State: snapshot(0, "s")},
			"state and alerts": {State: snapshot(0, "s"), Alerts: []alert.Record{record(1, "o", 1), record(2, "o", 1)}},
			"alerts":           {Alerts: []alert.Record{record(1, "o", 1)}},
		} {
			l := open(t, newClock())
			c.ID, c.Series = "c", series
			mustCommit(t, l, c)
			if r := mustCommit(t, l, c); r.Conflict || len(r.Existing) > 0 {
				t.Errorf("%s: again gives %+v", name, r)
			}
			if c.State != nil && state(t, l).Version != 1 {
				t.Errorf("%s: version %d after the same commit twice", name, state(t, l).Version)
			}
		}
	})
	t.Run("a commit of more alerts than a transaction holds is refused", func(t *testing.T) {
		l := open(t, newClock())
		many := make([]alert.Record, 101)
		for i := range many {
			many[i] = record(i, "o", 1)
		}
		mustCommit(t, l, alert.Commit{ID: "c1", Series: series, State: snapshot(0, ""), Alerts: many[:99]})
		mustCommit(t, l, alert.Commit{ID: "c2", Series: "other", Alerts: many[:100]})
		for _, c := range []alert.Commit{
			{ID: "c", Series: series, State: snapshot(1, ""), Alerts: many[:100]}, {ID: "c", Series: series, Alerts: many},
			{ID: "c", Series: series, Alerts: []alert.Record{many[100], many[100]}}, {Series: series, State: snapshot(1, "")}, {ID: "c", State: snapshot(1, "")},
		} {
			if _, err := l.Commit(ctx, c); err == nil {
				t.Errorf("a commit with id %q, series %q and %d alerts was taken", c.ID, c.Series, len(c.Alerts))
			}
		}
	})
	t.Run("many states and alerts are read in one go", func(t *testing.T) {
		l := open(t, newClock())
		var names []string
		var keys []alert.Key
		for i := range 230 {
			names = append(names, fmt.Sprint("S", i, "|"))
			r := record(i, "o", 1)
			keys = append(keys, r.Key())
			mustCommit(t, l, alert.Commit{ID: fmt.Sprint(i), Series: names[i], State: snapshot(0, names[i]), Alerts: []alert.Record{r}})
		}
		states, bad, err := l.ReadStates(ctx, append(names, "absent"))
		if err != nil || len(bad) > 0 || len(states) != 231 {
			t.Fatalf("%d states, bad %v, %v", len(states), bad, err)
		}
		for _, n := range names {
			if string(states[n].Engine) != n {
				t.Errorf("state of %s is %q", n, states[n].Engine)
			}
		}
		records, err := l.Records(ctx, append(keys, alert.Key{Symbol: "no", ID: "such"}))
		if err != nil || len(records) != 230 {
			t.Errorf("%d records, %v", len(records), err)
		}
	})
	t.Run("a pending alert is claimed when its lease is over, not before", func(t *testing.T) {
		c := newClock()
		l := open(t, c)
		lease := c.now.UnixMilli() + 1000
		r := record(1, "first", lease)
		mustCommit(t, l, alert.Commit{ID: "c", Series: series, Alerts: []alert.Record{r}})
		claim := func(owner string) (alert.Record, bool) {
			t.Helper()
			got, claimed, err := l.Claim(ctx, r.Key(), owner, lease+60_000)
			if err != nil {
				t.Fatalf("Claim: %v", err)
			}
			return got, claimed
		}
		c.now = time.UnixMilli(lease)
		if got, claimed := claim("second"); claimed || got.Owner != "first" || got.Lease != lease {
			t.Errorf("under a live lease: claimed %v, owner %s, lease %d", claimed, got.Owner, got.Lease)
		}
		c.now = time.UnixMilli(lease + 1)
		want := r
		want.Owner, want.Lease = "second", lease+60_000
		got, claimed := claim("second")
		equal(t, "claimed record", got, want)
		if _, again := claim("second"); !claimed || !again {
			t.Errorf("claimed %v, again by the owner (a lost response) %v", claimed, again)
		}
		if _, claimed := claim("third"); claimed {
			t.Error("claimed under the second's live lease")
		}
		if err := l.Release(ctx, r.Key(), "third"); err != nil {
			t.Errorf("Release by another: %v", err)
		}
		if _, claimed := claim("third"); claimed {
			t.Error("another's release ended the lease")
		}
		if err := l.Release(ctx, r.Key(), "second"); err != nil {
			t.Errorf("Release: %v", err)
		}
		if _, claimed := claim("third"); !claimed {
			t.Error("not claimed after the owner's release")
		}
		if got, claimed, err := l.Claim(ctx, alert.Key{Symbol: "no", ID: "such"}, "o", 1); err != nil || claimed || got.Status != "" {
			t.Errorf("an absent alert: %+v, %v, %v", got, claimed, err)
		}
	})
	t.Run("a settled alert stays as it is", func(t *testing.T) {
		c := newClock()
		l := open(t, c)
		sent, refused := record(1, "o", 1), record(2, "o", 1)
		mustCommit(t, l, alert.Commit{ID: "c", Series: series, Alerts: []alert.Record{sent, refused}})
		sent.Status, sent.Published = alert.Sent, 1_795_530_600_789
		refused.Status, refused.Refusal = alert.Failed, "InvalidParameter"
		for range 2 {
			if err := l.Settle(ctx, []alert.Record{sent, refused}); err != nil {
				t.Fatalf("Settle: %v", err)
			}
		}
		for _, want := range []alert.Record{sent, refused} {
			want.Owner, want.Lease = "", 0
			if err := l.Release(ctx, want.Key(), "o"); err != nil {
				t.Errorf("Release: %v", err)
			}
			got, claimed, err := l.Claim(ctx, want.Key(), "p", c.now.UnixMilli())
			if err != nil || claimed {
				t.Errorf("a %s alert: claimed %v, %v", want.Status, claimed, err)
			}
			equal(t, "settled record", got, want)
		}
	})
	due := func(t *testing.T, l store, now time.Time) []alert.DueSeries {
		t.Helper()
		var found []alert.DueSeries
		for d, err := range l.DueSeries(ctx, now) {
			if err != nil {
				t.Fatalf("DueSeries: %v", err)
			}
			found = append(found, d)
		}
		return found
	}
	expired := func(t *testing.T, l store, now time.Time) []alert.Key {
		t.Helper()
		var found []alert.Key
		for k, err := range l.ExpiredAlerts(ctx, now) {
			if err != nil {
				t.Fatalf("ExpiredAlerts: %v", err)
			}
			found = append(found, k)
		}
		return found
	}
	t.Run("series are found when they are due, not before, and not once they are moved", func(t *testing.T) {
		c := newClock()
		l := open(t, c)
		at := c.now.UnixMilli()
		want := map[string]alert.Due{}
		for i := range 60 {
			s := snapshot(0, "")
			name := fmt.Sprintf("S%d|alpaca", i)
			s.Due = alert.Due{At: at + int64(i), Event: at*1e6 + int64(i), Group: []string{"", name}[i%2]}
			want[name] = s.Due
			mustCommit(t, l, alert.Commit{ID: fmt.Sprint("a", i), Series: name, State: s})
		}
		never := snapshot(0, "")
		never.Due = alert.Due{}
		mustCommit(t, l, alert.Commit{ID: "n", Series: "never|", State: never})
		if got := due(t, l, time.UnixMilli(at-1)); len(got) != 0 {
			t.Errorf("%v are due before their time", got)
		}
		got := due(t, l, time.UnixMilli(at+29))
		if len(got) != 30 {
			t.Errorf("%d series are due, want 30: those at the moment itself too", len(got))
		}
		last := map[int]int64{}
		order := []int{}
		for _, d := range got {
			equal(t, d.Series, d.Due, want[d.Series])
			if want[d.Series].At > at+29 {
				t.Errorf("%s is not due", d.Series)
			}
			h := fnv.New32a()
			h.Write([]byte(d.Series))
			shard := int(h.Sum32() % settings.DueShards)
			if d.At < last[shard] {
				t.Errorf("shard %d is not in the order of time", shard)
			}
			if last[shard] == 0 {
				order = append(order, shard)
			}
			last[shard] = d.At
		}
		first := int(at / 60_000 % settings.DueShards)
		if len(order) < 4 || order[0] != first && order[0] != (first+1)%settings.DueShards {
			t.Errorf("shards come as %v, want several, beginning at %d", order, first)
		}
		again := due(t, l, time.UnixMilli(at+29).Add(time.Minute))
		if len(again) != 60 || again[0].Series == got[0].Series {
			t.Errorf("a minute later %d series are due, the first again %s: want another shard first", len(again), again[0].Series)
		}
		for i, moved := range []alert.Due{{At: at + 1000, Event: 1}, {}} {
			s := snapshot(1, "")
			s.Due = moved
			mustCommit(t, l, alert.Commit{ID: fmt.Sprint("m", i), Series: fmt.Sprintf("S%d|alpaca", i), State: s})
		}
		if got := due(t, l, time.UnixMilli(at+29)); len(got) != 28 {
			t.Errorf("%d series are due after one was moved and one needs no clock any more, want 28", len(got))
		}
		for range l.DueSeries(ctx, time.UnixMilli(at+29)) {
			break // an early end is no panic
		}
	})
	t.Run("pending alerts are found when their lease is over, not before, and not once they are settled", func(t *testing.T) {
		c := newClock()
		l := open(t, c)
		at := c.now.UnixMilli()
		var records []alert.Record
		for i := range 40 {
			records = append(records, record(i, "o", at+int64(i)))
		}
		muted := record(99, "", 0)
		muted.Status = alert.Muted
		mustCommit(t, l, alert.Commit{ID: "c", Series: series, Alerts: append(records, muted)})
		if got := expired(t, l, c.now); len(got) != 0 {
			t.Errorf("%v are expired at the last moment of their lease", got)
		}
		found := map[alert.Key]bool{}
		for _, k := range expired(t, l, c.now.Add(20*time.Millisecond)) {
			found[k] = true
		}
		for i := range records {
			if want := i < 20; found[records[i].Key()] != want {
				t.Errorf("alert %d found %v, want %v", i, found[records[i].Key()], want)
			}
		}
		c.now = c.now.Add(20 * time.Millisecond)
		if _, claimed, err := l.Claim(ctx, records[0].Key(), "p", at+60_000); !claimed || err != nil {
			t.Fatalf("Claim: %v, %v", claimed, err)
		}
		records[1].Status = alert.Sent
		if err := l.Settle(ctx, records[1:2]); err != nil {
			t.Fatal(err)
		}
		if err := l.Release(ctx, records[30].Key(), "o"); err != nil {
			t.Fatal(err)
		}
		if got := expired(t, l, c.now); len(got) != 19 || !slices.Contains(got, records[30].Key()) || slices.Contains(got, records[0].Key()) {
			t.Errorf("%d alerts are expired after one was claimed, one sent and one released, want 19: %v", len(got), got)
		}
	})
	t.Run("a cancelled context is an error, not an empty answer", func(t *testing.T) {
		l := open(t, newClock())
		done, cancel := context.WithCancel(ctx)
		cancel()
		states, _, err := l.ReadStates(done, []string{series})
		if !errors.Is(err, context.Canceled) || len(states) > 0 {
			t.Errorf("ReadStates: %v, %v", states, err)
		}
		if _, err := l.Records(done, []alert.Key{{Symbol: "a", ID: "b"}}); !errors.Is(err, context.Canceled) {
			t.Errorf("Records: %v", err)
		}
		if _, err := l.Commit(done, alert.Commit{ID: "c", Series: series, State: snapshot(0, "")}); !errors.Is(err, context.Canceled) {
			t.Errorf("Commit: %v", err)
		}
		if _, _, err := l.Claim(done, alert.Key{Symbol: "a", ID: "b"}, "o", 1); !errors.Is(err, context.Canceled) {
			t.Errorf("Claim: %v", err)
		}
		if err := l.Release(done, alert.Key{Symbol: "a", ID: "b"}, "o"); !errors.Is(err, context.Canceled) {
			t.Errorf("Release: %v", err)
		}
		if err := l.Settle(done, []alert.Record{record(1, "o", 1)}); !errors.Is(err, context.Canceled) {
			t.Errorf("Settle: %v", err)
		}
		answers := 0
		for _, err := range l.DueSeries(done, time.Now()) {
			if answers++; !errors.Is(err, context.Canceled) {
				t.Errorf("DueSeries: %v", err)
			}
		}
		for _, err := range l.ExpiredAlerts(done, time.Now()) {
			if answers++; !errors.Is(err, context.Canceled) {
				t.Errorf("ExpiredAlerts: %v", err)
			}
		}
		if answers != 2 {
			t.Errorf("%d answers, want one error each", answers)
		}
	})
}

func TestMemory(t *testing.T) {
	suite(t, func(_ *testing.T, c *clock) store { return ledger.NewMemory(ledger.Config{Now: c.Now}) })
}
