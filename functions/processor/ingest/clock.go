package ingest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// feed is what the last event of a series, its clocks left aside, tells of the feed.
type feed struct {
	lag     int64  // milliseconds
	group   string // the message group of the series
	clocked bool   // a clock event was applied
}

// see takes note of an applied event.
func (f *feed) see(e *market.Event, m *message) {
	if e.Kind == market.Clock {
		f.clocked = true
		if f.group == "" {
			f.group = m.Group
		}
		return
	}
	f.group = m.Group
	if !m.Sent.IsZero() {
		f.lag = max(0, m.Sent.UnixMilli()-e.EventTime()/1e6)
	}
}

// dueSlack is by how much a series must be due earlier for that to be worth a write of the index: the lag differs a
// little from event to event, and the clock ticks once a minute.
const dueSlack = 10 * time.Second

// due is when the series' next clock event is to be sent, and whether that alone must be written. What is stored stays
// while it is not reached, unless the next one is earlier. Reached, it stays only as long as the next one is reached as
// well and no clock has come: behind a backlog, every commit would else move it.
func (inv *invocation) due(stored alert.Due, state *alert.State, last feed) (due alert.Due, moved bool) {
	if !inv.cfg.Timers {
		return alert.Due{}, false
	}
	var next alert.Due
	deadline, ok := state.Due()
	if ok {
		next = alert.Due{At: deadline/1e6 + last.lag + settings.ClockGrace.Milliseconds(), Event: deadline, Group: last.group}
	}
	now := inv.start.UnixMilli()
	reached := stored.At <= now
	keep := stored.At != 0 && (!reached && (!ok || next.At+dueSlack.Milliseconds() > stored.At) ||
		reached && ok && next.At <= now && !last.clocked)
	if keep {
		stored.Group = last.group
		return stored, false
	}
	return next, next.At != stored.At || next.Event != stored.Event
}

// maxDue bounds the series that one tick looks at.
const (
	maxDue           = 50_000
	clocksPerMessage = 100
	sweepBatch       = 100 // alerts that are read, claimed and published together
)

// Tick is what a minute brings: every series that is due gets a clock event, behind what is queued in its group, and
// alerts whose lease is over are published. It uses three quarters of ctx's time, half of that for the clock events;
// what it does not come to, the next tick does. Its error joins what failed.
func (h *Handler) Tick(ctx context.Context) error {
	if h.cfg.Timetable == nil || h.cfg.Clocks == nil {
		return errors.New("ingest: Tick needs a Timetable and Clocks")
	}
	now := h.cfg.Now()
	deadline := now.Add(deadlineOf(ctx, now).Sub(now) * 3 / 4)
	inv, p, cancel := h.begin(ctx, now, deadline, new(memory))
	defer cancel()
	var errs []error
	if h.cfg.Timers {
		half, cancel := h.limited(ctx, now.Add(p.work.until.Sub(now)/2))
		defer cancel()
		errs = append(errs, inv.sendClocks(half))
	}
	errs = append(errs, inv.sweep(p), inv.writeMetrics(true))
	if err := errors.Join(errs...); err != nil {
		return redacted{err}
	}
	return nil
}

// sendClocks sends clock events to the series that are due, also where not all of them could be found.
func (inv *invocation) sendClocks(ctx phase) error {
	var due []alert.DueSeries
	var unfound error
	for d, err := range inv.cfg.Timetable.DueSeries(ctx, inv.start) {
		if inv.over(ctx) || len(due) == maxDue {
			inv.cfg.Logger.Warn("more series are due than one tick can serve", slog.Int("found", len(due)))
			break
		}
		if err != nil {
			unfound = fmt.Errorf("looking for series that are due: %w", err)
			break
		}
		// Rules that no longer watch a series have left its due time behind; it expires with the state.
		if symbol, source, _ := strings.Cut(d.Series, "|"); inv.cfg.Engine.Program(symbol, source) != nil {
			due = append(due, d)
		}
	}
	messages, counts := inv.clockMessages(due)
	errs := make([]error, len(messages))
	const batch = 10 // messages that SQS takes in one call
	inv.cfg.Parallel((len(messages)+batch-1)/batch, func(i int) {
		from, to := i*batch, min((i+1)*batch, len(messages))
		if inv.over(ctx) {
			for k := from; k < to; k++ {
				errs[k] = errOutOfTime
			}
			return
		}
		copy(errs[from:to], inv.cfg.Clocks.SendClocks(ctx, messages[from:to]))
	})
	var first error
	failures := 0
	for i, err := range errs {
		switch {
		case err == nil:
			inv.count.clocksSent += counts[i]
		case !errors.Is(err, errOutOfTime):
			failures++
			first = cmp.Or(first, err)
		}
	}
	if failures > 0 {
		return errors.Join(unfound, fmt.Errorf("%d of %d messages of clock events were not sent: first %w", failures, len(messages), first))
	}
	return unfound
}

// clockMessages packs the clock events by group, the earliest first.
func (inv *invocation) clockMessages(due []alert.DueSeries) (messages []alert.ClockMessage, events []int) {
	slices.SortFunc(due, func(a, b alert.DueSeries) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Series, b.Series))
	})
	var groups []string // in the order of their earliest event
	byGroup := map[string][]alert.DueSeries{}
	for _, d := range due {
		switch {
		case inv.cfg.Delivery == settings.Unordered:
			d.Group = ""
		case d.Group == "":
			// Left by unordered delivery, which the deployment has given up.
			sum := sha256.Sum256([]byte(d.Series))
			d.Group = hex.EncodeToString(sum[:])
		}
		if byGroup[d.Group] == nil {
			groups = append(groups, d.Group)
		}
		byGroup[d.Group] = append(byGroup[d.Group], d)
	}
	for _, group := range groups {
		for chunk := range slices.Chunk(byGroup[group], clocksPerMessage) {
			var body []byte
			id := sha256.New()
			for _, d := range chunk {
				if len(body) > 0 {
					body = append(body, '\n')
				}
				symbol, source, _ := strings.Cut(d.Series, "|")
				e := market.Event{Kind: market.Clock, Symbol: symbol, Source: source, Time: d.Event}
				body = e.AppendJSON(body)
				fmt.Fprintf(id, "%s %d %d\n", d.Series, d.At, d.Event)
			}
			messages = append(messages, alert.ClockMessage{Group: group, ID: hex.EncodeToString(id.Sum(nil)), Body: string(body)})
			events = append(events, len(chunk))
		}
	}
	return messages, events
}

// sweep publishes the alerts whose lease is over, as a redelivery of their message would.
func (inv *invocation) sweep(p phases) error {
	var keys []alert.Key
	for k, err := range inv.cfg.Timetable.ExpiredAlerts(p.work, inv.start) {
		if inv.over(p.work) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("looking for expired alerts: %w", err)
		}
		if keys = append(keys, k); len(keys) < sweepBatch {
			continue
		}
		if err := inv.recover(p, keys); err != nil {
			return err
		}
		keys = keys[:0]
	}
	return inv.recover(p, keys)
}

// recover claims and publishes expired alerts. Where none of them can be published, that is an error: the others could
// not be either.
func (inv *invocation) recover(p phases, keys []alert.Key) error {
	if len(keys) == 0 || inv.over(p.work) {
		return nil
	}
	records, err := inv.cfg.Ledger.Records(p.work, keys)
	if err != nil {
		err = fmt.Errorf("reading expired alerts: %w", err)
		if len(records) == 0 {
			return err
		}
		// One that cannot be read must not keep the others.
		inv.cfg.Logger.Error("expired alerts not read", slog.String("error", errorText(err)))
	}
	for _, k := range keys {
		if inv.over(p.work) {
			break
		}
		if r, ok := records[k]; ok || err == nil {
			inv.judge(p.work, recovered, k, r)
		}
	}
	claimed := len(inv.outbox)
	if inv.publish(p.publish, p.end, claimed) == 0 && claimed > 0 {
		return fmt.Errorf("none of %d expired alerts could be published", claimed)
	}
	return nil
}
