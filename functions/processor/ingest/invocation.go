package ingest

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
)

// invocation is the work on one batch.
type invocation struct {
	*Handler
	*memory
	start  time.Time
	owner  string         // of the alerts that this invocation stores
	lease  int64          // until when it may publish them, milliseconds since 1970 UTC
	groups map[string]int // group -> its first message that is to be returned
	outbox []entry
	queued map[alert.Key]bool // what the outbox has
	count  counters
}

// entry is an alert that this invocation has the right to publish.
type entry struct {
	record alert.Record
	// message that caused it, or recovered: an alert of a message that is not in this batch, published as a favour.
	message int
}

const recovered = -1

// decode turns the bodies into events, grouped by series in arrival order. Series that no rule watches are left out.
func (inv *invocation) decode(records []Record) {
	inv.runs, inv.series = inv.runs[:0], inv.series[:0]
	clear(inv.bySeries)
	for i := range records {
		m := &inv.messages[i]
		m.Record = &records[i]
		m.id = messageID(m.origin())
		if !m.canonical() {
			m.refused = []market.Refusal{{Reason: market.UnknownFormat, Raw: m.Body,
				Detail: "the attribute \"format\" names no known dialect: leave it out, or send \"canonical\""}}
			inv.count.eventsReceived++
			inv.count.eventsRejected++
			continue
		}
		events := m.Events
		if events == nil {
			// Against the time at which the message was sent: a refusal must not depend on when it is delivered.
			sent := m.Sent
			if sent.IsZero() {
				sent = inv.start
			}
			from := len(inv.events)
			inv.events, m.refused = market.Decode(inv.events, m.Body, sent, inv.cfg.ClockSkew)
			events = inv.events[from:]
		}
		m.events = len(events)
		inv.count.eventsReceived += len(events) + len(m.refused)
		inv.count.eventsRejected += len(m.refused)
		for len(events) > 0 {
			first := &events[0]
			n := 1
			for n < len(events) && events[n].Symbol == first.Symbol && events[n].Source == first.Source {
				n++
			}
			if s := inv.seriesOf(first); s != nil {
				s.runs++
				inv.runs = append(inv.runs, run{s, part{message: i, events: events[:n:n]}})
			}
			events = events[n:]
		}
	}
	parts := slices.Grow(inv.parts[:0], len(inv.runs))[:len(inv.runs)]
	inv.parts = parts
	clear(parts)
	for i := range inv.runs {
		r := &inv.runs[i]
		s := r.series
		if s.parts == nil {
			s.parts, parts = parts[:0:s.runs], parts[s.runs:]
		}
		// The first run of a message's events is not copied; what the capacity ends, append copies.
		if last := len(s.parts) - 1; last >= 0 && s.parts[last].message == r.message {
			s.parts[last].events = append(s.parts[last].events, r.events...)
		} else {
			s.parts = append(s.parts, r.part)
		}
	}
}

// seriesOf is the event's series, nil where no rule watches it.
func (inv *invocation) seriesOf(e *market.Event) *series {
	k := seriesKey{e.Symbol, e.Source}
	s, known := inv.bySeries[k]
	if known {
		return s
	}
	if p := inv.cfg.Engine.Program(k.symbol, k.source); p != nil {
		n := len(inv.series)
		if n == len(inv.made) {
			more := make([]series, max(8, n))
			for i := range more {
				inv.made = append(inv.made, &more[i])
			}
		}
		s = inv.made[n]
		*s = series{key: e.Series(), program: p, unread: true}
		inv.series = inv.made[:n+1]
	}
	if inv.bySeries == nil {
		inv.bySeries = map[seriesKey]*series{}
	}
	inv.bySeries[k] = s
	return s
}

// run commits and publishes in rounds until every series is applied, failed or out of time. A round makes one commit per
// series, all of them in parallel, and then publishes what they fired together.
func (inv *invocation) run(work, publish, end phase) {
	active := slices.Clone(inv.series)
	for len(active) > 0 {
		if inv.over(work) {
			for _, s := range active {
				inv.stop(s, deferred, errOutOfTime)
			}
			break
		}
		fresh := slices.DeleteFunc(slices.Clone(active), func(s *series) bool { return !s.unread })
		active = inv.read(work, active)
		inv.settleHinted(work, fresh)
		var planned []*series
		var plans []*plan
		var kept []plan
		for _, s := range active {
			p, err := inv.planSafely(s)
			switch {
			case errors.Is(err, alert.ErrNewer):
				inv.stop(s, deferred, err)
			case err != nil:
				inv.stop(s, failed, err)
			case p.commit.State == nil && len(p.late) == 0:
				inv.applied(s, p)
			default:
				if kept == nil {
					kept = make([]plan, 0, len(active)) // never grows: plans point into it
				}
				kept = append(kept, *p)
				planned, plans = append(planned, s), append(plans, &kept[len(kept)-1])
			}
		}
		inv.dropSettledHints(work, planned, plans)
		active = inv.commit(work, planned, plans)
		if len(active) > 0 {
			// What fills no calls waits for the next round's alerts.
			inv.publish(publish, end, len(inv.outbox)/fullCalls*fullCalls)
			inv.pauseAfterLoss(work, active)
		}
	}
	inv.publish(publish, end, len(inv.outbox))
}

// fullCalls is how many alerts fill calls of SNS, 10 each, and marks, 25 each.
const fullCalls = 50

// stop ends the work on a series: the messages whose events are not applied are returned.
func (inv *invocation) stop(s *series, o outcome, err error) {
	err = fmt.Errorf("series %s: %w", s.name(), err)
	for _, p := range s.parts[s.next:] {
		if !inv.blocked(p.message) {
			inv.give(p.message, o, time.Time{}, err)
		}
	}
	s.next = len(s.parts)
}

// fail is stop for an error of a call: out of time is no failure.
func (inv *invocation) fail(ctx phase, s *series, err error) {
	if inv.over(ctx) {
		inv.stop(s, deferred, errors.Join(errOutOfTime, err))
		return
	}
	inv.stop(s, failed, err)
}

func (inv *invocation) applied(s *series, p *plan) {
	s.next, s.from = p.next, p.from
	inv.count.eventsLate += p.lateSum
	inv.count.eventsRepeated += p.repeated
	if p.rewarmed {
		inv.count.statesRewarmed++
		inv.cfg.Logger.Warn("state of an older format: the series starts anew", slog.String("series", s.name()))
	}
}

// read reads the snapshots that are missing and returns the series that go on.
func (inv *invocation) read(ctx phase, active []*series) []*series {
	var keys []string
	for _, s := range active {
		if s.unread {
			keys = append(keys, s.key)
		}
	}
	if len(keys) == 0 {
		return active
	}
	states, bad, err := inv.cfg.Ledger.ReadStates(ctx, keys)
	return slices.DeleteFunc(active, func(s *series) bool {
		if !s.unread {
			return false
		}
		snap, ok := states[s.key]
		switch {
		case errors.Is(bad[s.key], alert.ErrNewer):
			inv.stop(s, deferred, bad[s.key])
		case bad[s.key] != nil:
			inv.stop(s, failed, bad[s.key])
		case !ok:
			if err == nil {
				err = errors.New("the ledger gave no answer")
			}
			inv.fail(ctx, s, err)
		default:
			s.snap, s.unread = snap, false
			return false
		}
		return true
	})
}

// settleHinted looks, for series whose snapshot was just read, at the alerts that the delivered messages caused when they
// were applied before, perhaps by the winner of a race a moment ago. One that is not published is published by this
// invocation, or its message waits for the lease of the one that may.
func (inv *invocation) settleHinted(ctx phase, fresh []*series) {
	type hinted struct {
		message int
		key     alert.Key
	}
	var all []hinted
	var keys []alert.Key
	for _, s := range fresh {
		if s.unread || len(s.snap.Hints) == 0 {
			continue
		}
		byID := make(map[alert.MessageID][]int, len(s.parts)) // one identity may come twice in a batch
		for _, p := range s.parts {
			id := inv.messages[p.message].id
			byID[id] = append(byID[id], p.message)
		}
		for _, h := range s.snap.Hints {
			k := s.alert(h.AlertID)
			if len(byID[h.Message]) == 0 || inv.facts.settled(k) {
				continue
			}
			for _, message := range byID[h.Message] {
				all, keys = append(all, hinted{message, k}), append(keys, k)
			}
		}
	}
	if len(all) == 0 {
		return
	}
	records, err := inv.cfg.Ledger.Records(ctx, uniqueKeys(keys))
	for _, h := range all {
		r, ok := records[h.key]
		if !ok && err != nil {
			inv.returnFor(ctx, h.message, err)
			continue
		}
		inv.judge(ctx, h.message, h.key, r)
	}
}

// returnFor returns one message because of an error of a call.
func (inv *invocation) returnFor(ctx phase, message int, err error) {
	if message == recovered {
		return
	}
	if inv.over(ctx) {
		inv.give(message, deferred, time.Time{}, errors.Join(errOutOfTime, err))
		return
	}
	inv.give(message, failed, time.Time{}, err)
}

// judge decides about an alert that was stored before: r is how it is stored, its zero value where it is not (it has
// expired, or an operator removed it).
func (inv *invocation) judge(ctx phase, message int, key alert.Key, r alert.Record) {
	if inv.publishes(key) || inv.settled(key, r) {
		return
	}
	over := r.Lease < inv.cfg.Now().UnixMilli()
	claimed := r.Owner == inv.owner && !over
	if over {
		if r.Lease > 0 {
			inv.count.pendingExpired++
		}
		var err error
		if r, claimed, err = inv.cfg.Ledger.Claim(ctx, key, inv.owner, inv.lease); err != nil {
			inv.returnFor(ctx, message, err)
			return
		}
		if inv.settled(key, r) {
			return
		}
	}
	if claimed {
		inv.enqueue(entry{r, message})
		return
	}
	if message != recovered {
		inv.give(message, deferred, time.UnixMilli(r.Lease), fmt.Errorf("alert %s is being published by another invocation", key.ID))
	}
}

// enqueue puts an alert into the outbox.
func (inv *invocation) enqueue(e entry) {
	if inv.queued == nil {
		inv.queued = map[alert.Key]bool{}
	}
	inv.queued[e.record.Key()] = true
	inv.outbox = append(inv.outbox, e)
}

// settled tells whether nothing is left to do for an alert that is stored as r, and remembers what stays so: one that is
// not stored can be stored again.
func (inv *invocation) settled(key alert.Key, r alert.Record) bool {
	switch r.Status {
	case alert.Pending:
		return false
	case alert.Sent, alert.Failed:
		inv.facts.settle(key)
	}
	return true
}

// publishes tells whether the outbox has the alert.
func (inv *invocation) publishes(key alert.Key) bool { return inv.queued[key] }

func uniqueKeys(keys []alert.Key) []alert.Key {
	seen := make(map[alert.Key]bool, len(keys))
	return slices.DeleteFunc(keys, func(k alert.Key) bool {
		known := seen[k]
		seen[k] = true
		return known
	})
}

func (inv *invocation) planSafely(s *series) (p *plan, err error) {
	defer recoverTo(&err, "a series' plan")
	return inv.plan(s)
}

// recoverTo turns a panic into an error, so that it fails one series and not its neighbours. What was panicked with is
// left out: it can quote the input.
func recoverTo(err *error, what string) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("panic (%T) at %s: %s", r, what, debug.Stack())
	}
}

// maxRecovered bounds the alerts of other messages that an invocation publishes as a favour, before its own work.
const maxRecovered = 50

// dropSettledHints looks, for the series that are about to write, whether the alerts hinted at are settled by now, and
// takes the settled ones out of the plan. Alerts of other messages whose lease is over are recovered, best effort. A look
// is a call ahead of the commit, so a hint is looked at by the second invocation of this environment that writes it: until
// then, whoever published the alert may drop it without a look. Of a series with so many hints that it will wait, all are
// looked at: they can be more than an environment remembers.
func (inv *invocation) dropSettledHints(ctx phase, planned []*series, plans []*plan) {
	open := make([][]alert.Key, len(plans))
	var keys []alert.Key
	for i, p := range plans {
		if p.commit.State == nil {
			continue
		}
		many := len(p.commit.State.Hints) > maxHints/2
		for _, h := range p.commit.State.Hints {
			k := planned[i].alert(h.AlertID)
			if _, ours := p.causes[h.AlertID]; (inv.facts.hinted(k, inv.owner, ours) || many) && !ours && !inv.publishes(k) {
				open[i] = append(open[i], k)
			}
		}
		keys = append(keys, open[i]...)
	}
	if len(keys) == 0 {
		return
	}
	records, err := inv.cfg.Ledger.Records(ctx, uniqueKeys(keys))
	if err != nil {
		inv.cfg.Logger.Warn("hints not checked", slog.String("error", errorText(err)))
	}
	for i, p := range plans {
		if len(open[i]) == 0 {
			continue
		}
		drop := map[string]bool{}
		for _, k := range open[i] {
			r, ok := records[k]
			if known := ok || err == nil; known && inv.settled(k, r) {
				drop[k.ID] = true
			} else if known && len(inv.outbox) < maxRecovered {
				inv.judge(ctx, recovered, k, r)
			}
		}
		p.commit.State.Hints = slices.DeleteFunc(p.commit.State.Hints, func(h alert.Hint) bool { return drop[h.AlertID] })
	}
}

// commit makes the planned commits and returns the series that have more to do.
func (inv *invocation) commit(ctx phase, planned []*series, plans []*plan) []*series {
	results := make([]alert.CommitResult, len(plans))
	errs := make([]error, len(plans))
	inv.cfg.Parallel(len(plans), func(i int) {
		defer recoverTo(&errs[i], "a series' commit")
		results[i], errs[i] = inv.commitOne(ctx, plans[i])
	})
	var more []*series
	for i, s := range planned {
		p, r := plans[i], results[i]
		switch {
		case errs[i] != nil:
			inv.fail(ctx, s, errs[i])
			continue
		case r.Conflict:
			inv.count.stateConflicts++
			// The surplus is stored whoever won the race, and is published even if the next step does not fire it.
			inv.take(ctx, &plan{surplus: p.surplus, causes: p.causes}, r.Existing)
			s.losses++
			s.limit = max(1, p.events/2)
			s.unread = true
			more = append(more, s)
			continue
		default:
			inv.applied(s, p)
			if p.commit.State != nil {
				s.snap = *p.commit.State
				s.snap.Version++
			}
			inv.take(ctx, p, r.Existing)
		}
		if s.next < len(s.parts) {
			more = append(more, s)
		}
	}
	return more
}

// commitOne keeps the late events of retried messages, then writes the surplus, then state and alerts. The late ones
// come first: once the state is written, nothing would find them again.
func (inv *invocation) commitOne(ctx phase, p *plan) (alert.CommitResult, error) {
	if len(p.late) > 0 {
		if err := errors.Join(inv.cfg.Queue.Reject(ctx, p.late)...); err != nil {
			return alert.CommitResult{}, fmt.Errorf("keeping late events of a retried message: %w", err)
		}
	}
	if p.commit.State != nil && len(p.commit.State.Hints) > maxHints {
		return alert.CommitResult{}, fmt.Errorf("the series has %d alerts that are not known to be published, more than %d: they must be published first",
			len(p.commit.State.Hints), maxHints)
	}
	var existing []alert.Record
	for i, chunk := range p.surplus {
		r, err := inv.cfg.Ledger.Commit(ctx, alert.Commit{ID: fmt.Sprintf("%s-%d", p.commit.ID, i), Series: p.commit.Series, Alerts: chunk})
		if err != nil {
			return alert.CommitResult{}, err
		}
		existing = append(existing, r.Existing...)
	}
	if p.commit.State == nil {
		return alert.CommitResult{}, nil
	}
	r, err := inv.cfg.Ledger.Commit(ctx, p.commit)
	r.Existing = append(existing, r.Existing...)
	return r, err
}

// take puts the committed alerts into the outbox and judges those that were stored before.
func (inv *invocation) take(ctx phase, p *plan, existing []alert.Record) {
	before := make(map[string]alert.Record, len(existing))
	for _, r := range existing {
		before[r.ID] = r
	}
	for _, r := range p.all() {
		if old, ok := before[r.ID]; ok {
			inv.judge(ctx, p.causes[r.ID], r.Key(), old)
			continue
		}
		inv.count.alertsFired++
		if r.Status == alert.Pending {
			inv.enqueue(entry{r, p.causes[r.ID]})
		}
	}
}

// publish publishes the first n alerts of the outbox, records what was published, and settles the fate of the messages
// that caused it. It returns how many are settled.
func (inv *invocation) publish(ctx, end phase, n int) (marked int) {
	if n == 0 {
		return 0
	}
	var entries []entry
	entries, inv.outbox = inv.outbox[:n:n], inv.outbox[n:]
	records := make([]alert.Record, len(entries))
	for i := range entries {
		records[i] = entries[i].record
		delete(inv.queued, records[i].Key())
	}
	errs := inv.cfg.Notifier.Publish(ctx, records)
	var settled []alert.Record
	var of []*entry
	var release []*entry
	for i := range entries {
		e := &entries[i]
		var permanent interface{ Permanent() bool }
		switch err := errs[i]; {
		case err == nil:
			e.record.Published = inv.cfg.Now().UnixMilli()
			e.record.Status = alert.Sent
			inv.count.published(&e.record)
		case errors.As(err, &permanent) && permanent.Permanent():
			if rejectErr := inv.rejectAlert(end, e, err); rejectErr != nil {
				inv.returnFor(end, e.message, rejectErr)
				release = append(release, e)
				continue
			}
			e.record.Status, e.record.Refusal = alert.Failed, errorText(err)
			inv.count.alertsFailed++
			inv.cfg.Logger.Error("alert refused for good", slog.String("alert_id", e.record.ID), slog.String("rule", e.record.Rule), slog.String("error", errorText(err)))
		default:
			inv.returnFor(ctx, e.message, fmt.Errorf("publishing alert %s: %w", e.record.ID, err))
			release = append(release, e)
			continue
		}
		settled, of = append(settled, e.record), append(of, e)
	}
	if len(settled) > 0 {
		err := inv.cfg.Ledger.Settle(end, settled)
		for _, e := range of {
			if err != nil {
				inv.returnFor(end, e.message, fmt.Errorf("recording published alerts: %w", err))
				continue
			}
			inv.facts.settle(e.record.Key())
			marked++
		}
	}
	inv.cfg.Parallel(len(release), func(i int) {
		if err := inv.cfg.Ledger.Release(end, release[i].record.Key(), inv.owner); err != nil {
			inv.cfg.Logger.Warn("lease not released", slog.String("alert_id", release[i].record.ID), slog.String("error", errorText(err)))
		}
	})
	return marked
}

// rejectAlert keeps an alert that SNS refuses for good in the rejects queue.
func (inv *invocation) rejectAlert(ctx phase, e *entry, cause error) error {
	r := market.Rejected{Body: string(e.record.AppendJSON(nil, e.record.Times, e.record.Status)), Reason: market.AlertRefused, OriginMessageID: e.record.ID}
	if e.message != recovered {
		m := &inv.messages[e.message]
		r.OriginMessageID, r.FirstReceived, r.ReceiveCount, r.Group = m.origin(), m.FirstReceived, m.ReceiveCount, m.Group
	}
	if err := errors.Join(inv.cfg.Queue.Reject(ctx, []market.Rejected{r})...); err != nil {
		return fmt.Errorf("keeping alert %s, which SNS refuses (%s): %w", e.record.ID, errorText(cause), err)
	}
	return nil
}

// pauseAfterLoss waits with full jitter before lost races are run again.
func (inv *invocation) pauseAfterLoss(ctx phase, active []*series) {
	losses := 0
	for _, s := range active {
		if s.unread {
			losses = max(losses, s.losses)
		}
	}
	if losses > 0 {
		_ = inv.cfg.Sleep(ctx, inv.cfg.Jitter(20*time.Millisecond<<min(losses, 6)))
	}
}

// parallel runs f for 0 to n-1, at most limit at a time, and returns when all have ended. A panic of f is one of parallel.
func parallel(n, limit int, f func(int)) {
	if limit == 1 || n <= 1 {
		for i := range n {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	var raised atomic.Pointer[any]
	slots := make(chan struct{}, limit)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					raised.Store(&r)
				}
				<-slots
			}()
			f(i)
		})
	}
	wg.Wait()
	if r := raised.Load(); r != nil {
		panic(*r)
	}
}
