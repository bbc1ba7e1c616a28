package main

import (
	"context"
	"fmt"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// feedTime is the time that the feed has reached. Where rules wait for time, it does what the deployed schedule does: once
// a minute of event time everything read is processed, and the series whose states are due are sent a clock event behind
// what was read of them. That depends on the feed's lines alone, not on how they are packed.
type feedTime struct {
	engine *alert.Engine
	timed  bool // rules wait for time

	file   string // in which time passes; the next one has a time of its own
	now    int64
	before int64 // of the last event
	minute int64 // of the last tick

	start time.Time // wall time at from
	from  int64     // the file's first event
}

// timer is when a series wants to be told the time.
type timer struct {
	read bool  // due and ok are those of its state
	ok   bool  // it waits at all
	due  int64 // event time
	told int64 // the due of the last clock event after the feed's end
	// lag is by how much its last event was behind the feed. As in the deployed system, its clock lags by as much: in a
	// feed that is sorted by symbol, the first symbol's last event does not close the bars of the second.
	lag int64
}

// tickEvery is the deployed schedule's.
const tickEvery = int64(time.Minute)

// follow moves the feed's time to that of the next event, in real time where the run is paced.
func (p *pipeline) follow(ctx context.Context, file string, at int64) error {
	f := &p.time
	if f.file != file {
		f.file, f.now, f.before, f.start, f.from = file, at, at, time.Now(), at
	}
	if err := p.pace(ctx, at); err != nil {
		return err
	}
	// Two events in a row: a single wrong timestamp must not close everybody's bars.
	f.now, f.before = max(f.now, min(at, f.before)), at
	// A standard queue that is emptied once a minute would hardly shuffle: there the clock waits for the feed's end.
	if !f.timed || f.now/tickEvery == f.minute || p.delivery == settings.Unordered {
		return nil
	}
	f.minute = f.now / tickEvery
	return p.tick(ctx, f.now)
}

// tick has everything processed that was read, and then the series told the time that are due, by the deployed rule:
// event deadline + the feed's lag + the clock's grace, for what is not in order between series.
func (p *pipeline) tick(ctx context.Context, now int64) error {
	if err := p.drain(ctx); err != nil || !p.time.timed {
		return err
	}
	if err := p.readTimers(ctx); err != nil {
		return err
	}
	told := false
	for _, s := range p.inOrder {
		if at := now - s.timer.lag - int64(settings.ClockGrace); s.timer.ok && s.timer.due <= at {
			told = true
			if err := p.tell(ctx, s, at); err != nil {
				return err
			}
		}
	}
	if !told {
		return nil
	}
	return p.drain(ctx)
}

// end lets time go on behind the feed's last event, as far as the wall clock has come, until nothing waits for it: the
// last bars close, and who is not heard of any more is silent.
func (p *pipeline) end(ctx context.Context) error {
	for again := true; again && ctx.Err() == nil; {
		if err := p.drain(ctx); err != nil || !p.time.timed {
			return err
		}
		if err := p.readTimers(ctx); err != nil {
			return err
		}
		again = false
		for _, s := range p.inOrder {
			// A clock event that did not come through, because its message is a dead letter, is not sent for ever.
			if t := &s.timer; t.ok && t.due > t.told && t.due <= p.clock.now().UnixNano() {
				t.told, again = t.due, true
				if err := p.tell(ctx, s, t.due); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// readTimers looks at the states that may have changed. Everything read must have been processed.
func (p *pipeline) readTimers(ctx context.Context) error {
	var keys []string
	var changed []*series
	for _, s := range p.inOrder {
		if !s.timer.read {
			keys, changed = append(keys, market.SeriesKey(s.symbol, s.source)), append(changed, s)
		}
	}
	states, _, err := p.ledger.ReadStates(context.WithoutCancel(ctx), keys) // a bad one fails in the handler, which tells
	if err != nil {
		return fmt.Errorf("reading which series are due: %w", err)
	}
	for i, s := range changed {
		s.timer.read, s.timer.ok = true, false
		program, snapshot := p.time.engine.Program(s.symbol, s.source), states[keys[i]]
		if program == nil || len(snapshot.Engine) == 0 {
			continue
		}
		if state, err := program.Decode(snapshot.Engine); err == nil {
			s.timer.due, s.timer.ok = state.Due()
		}
	}
	return nil
}

// tell packs a clock event.
func (p *pipeline) tell(ctx context.Context, s *series, at int64) error {
	if ctx.Err() != nil {
		return nil
	}
	s.timer.read = false
	p.account.clocks++
	e := market.Event{Kind: market.Clock, Symbol: s.symbol, Source: s.source, Time: at}
	return p.pack(ctx, s, string(e.AppendJSON(nil)))
}

// pause is the step of pacing: what is due within it is delivered together, and a longer wait is divided by it.
const pause = 100 * time.Millisecond

// pace waits for the event time at, which passes speed times as fast as the wall clock from a file's first event on.
// Before it waits, everything is processed, and series that have become silent are told the time.
func (p *pipeline) pace(ctx context.Context, at int64) error {
	if p.speed == 0 {
		return nil
	}
	for {
		passed := time.Since(p.time.start)
		ahead := time.Duration(min(float64(at-p.time.from)/p.speed, 1e18)) - passed
		if ahead < pause || ctx.Err() != nil {
			return nil
		}
		if err := p.tick(ctx, p.time.from+int64(float64(passed)*p.speed)); err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}
