package alert

import "example.com/market-data-pipeline/functions/processor/market"

// phase is where a rule is in a series. Its numbers are part of the state's binary form.
type phase uint8

const (
	armed   phase = iota // expr is not true, or the cooldown holds it back
	waiting              // expr is true since ruleState.since, but not for long enough: the "pending" of the rules' manual
	fired                // an alert was raised; nothing more until reset
	phases
)

// signal is what one evaluation, or one timer, tells the machine.
type signal uint8

const (
	quiet    signal = iota // expr is false; while fired: reset is false
	holding                // expr is true, not yet for the rule's "for"
	blocked                // expr is true for long enough, but the cooldown is not over
	ready                  // expr is true for long enough, and the cooldown is over
	released               // while fired: reset is true
	left                   // the session that it waited in is over, or the rule has expired
	signals
)

// transition is the whole firing logic. An evaluation makes exactly one transition, so an evaluation at which reset and
// expr are both true re-arms, and the next one that is true fires. In armed and waiting reset has no meaning; in fired
// expr has none (without an own reset, reset is the negation of expr).
var transition = [phases][signals]struct {
	to   phase
	fire bool
}{
	armed: {
		quiet:   {to: armed},
		holding: {to: waiting},
		blocked: {to: armed},
		ready:   {to: fired, fire: true},
		left:    {to: armed},
	},
	waiting: {
		quiet:   {to: armed},
		holding: {to: waiting},
		blocked: {to: waiting},
		ready:   {to: fired, fire: true},
		left:    {to: armed},
	},
	fired: {
		quiet:    {to: fired},
		released: {to: armed},
		left:     {to: fired},
	},
}

// ruleState is one rule's state in a series. The zero value is a rule that was never true.
type ruleState struct {
	phase    phase
	hasFired bool
	last     int64  // event time of the last firing
	ordinal  uint64 // of the last firing, among those at that time
	since    int64  // waiting: the event time at which expr became true
}

// evaluate steps the machine by one evaluation at event time t, and tells whether the rule fires and whether its state
// changed. It changes nothing where a number that is compared is NaN or infinite.
func (r *rule) evaluate(rs *ruleState, x *eval, t int64) (fires, changed bool) {
	x.undefined = false
	sig := r.signal(rs, x, t)
	if x.undefined {
		return false, false
	}
	return rs.move(sig, t)
}

// move makes the transition of a signal at event time t.
func (rs *ruleState) move(sig signal, t int64) (fires, changed bool) {
	next := transition[rs.phase][sig]
	if next.to == rs.phase {
		return false, false
	}
	switch {
	case next.fire:
		if rs.hasFired && rs.last == t {
			rs.ordinal++
		} else {
			rs.ordinal = 0
		}
		rs.hasFired, rs.last, rs.since = true, t, 0
	case next.to == waiting:
		rs.since = t
	case next.to == armed:
		rs.since = 0
	}
	rs.phase = next.to
	return next.fire, true
}

func (r *rule) signal(rs *ruleState, x *eval, t int64) signal {
	if rs.phase == fired {
		if r.reset != nil && r.reset(x) || r.reset == nil && !r.when(x) {
			return released
		}
		return quiet
	}
	since := t
	if rs.phase == waiting {
		since = rs.since
	}
	switch {
	case !r.when(x):
		return quiet
	case !reached(t, since, r.hold):
		return holding
	case rs.hasFired && !reached(t, rs.last, r.cooldown):
		// Without a cooldown this still holds back an event older than the last firing, so that firings of a rule
		// and series are ordered in time and their ordinals, and with them the alert ids, are unique.
		return blocked
	}
	return ready
}

// held returns the time at which a rule that waits fires without another event, if it does: the end of its "for".
// Where the cooldown is not over by then, the next evaluation that is still true fires.
func (r *rule) held(rs *ruleState) (int64, bool) {
	if rs.phase != waiting || r.on == market.Bar {
		return 0, false
	}
	t := plus(rs.since, r.hold)
	return t, !rs.hasFired || reached(t, rs.last, r.cooldown)
}

// reached tells whether t >= from + d, for any times.
func reached(t, from, d int64) bool { return t >= from && uint64(t)-uint64(from) >= uint64(d) }

// beyond tells whether t > from + d, for any times.
func beyond(t, from, d int64) bool { return t > from && uint64(t)-uint64(from) > uint64(d) }
