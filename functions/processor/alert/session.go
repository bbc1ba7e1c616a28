package alert

import (
	"fmt"
	"math"
	"time"
	_ "time/tzdata" // zone data is linked in: what a session means must not depend on the machine
)

// session is a daily span of local time on some days of the week. Holidays are not known.
type session struct {
	text     string // canonical: equal for sessions that mean the same
	location *time.Location
	from, to int // minutes of the local day; to <= 24*60, and to < from where the session ends on the next day
	days     [7]bool
}

// utcDay is the session of rules that have none, where only its days matter.
var utcDay = &session{text: "UTC 00:00-24:00", location: time.UTC, to: 24 * 60, days: [7]bool{true, true, true, true, true, true, true}}

// span is a time [from, to) that is inside one session, or outside of all (and then may be cut short).
type span struct {
	from, to int64
	inside   bool
	day      int64 // inside: the date on which the session starts, in days since 1970
}

func (w *span) contains(t int64) bool { return w.from <= t && t < w.to }

// at returns the span that contains t.
func (s *session) at(t int64) span {
	year, month, day := time.Unix(0, t).In(s.location).Date()
	at := func(days, minutes int) int64 {
		return time.Date(year, month, day+days, minutes/60, minutes%60, 0, 0, s.location).UnixNano()
	}
	out := span{from: at(0, 0), to: at(1, 0)}
	for k := -1; k <= 1; k++ {
		date := time.Date(year, month, day+k, 0, 0, 0, 0, time.UTC)
		if !s.days[date.Weekday()] {
			continue
		}
		from, to := at(k, s.from), at(k, s.to)
		if s.to < s.from {
			to = at(k+1, s.to)
		}
		switch {
		case t < from:
			out.to = min(out.to, from)
		case t >= to:
			out.from = max(out.from, to)
		default:
			return span{from, to, true, date.Unix() / 86400}
		}
	}
	// A local midnight that a change of the clocks skips may be off: the span holds t in any case.
	out.from = min(out.from, t)
	if out.to <= t {
		out.to = t + 1
	}
	return out
}

// silentFor returns the earliest time, not before t, that is in a session and at least after its start; false where
// there is none within a year.
func (s *session) silentFor(t, after int64) (int64, bool) {
	for range 800 {
		w := s.at(t)
		start := plus(w.from, after)
		switch {
		case w.inside && t >= start:
			return t, true
		case w.inside && start < w.to:
			t = start
		default:
			t = w.to
		}
	}
	return 0, false
}

var weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// newSession checks a session: from and to are minutes of the local day, see session.
func newSession(zone string, from, to int, days [7]bool) (*session, error) {
	location, err := time.LoadLocation(zone)
	if err != nil || zone == "Local" || zone == "" {
		return nil, fmt.Errorf(`%q is not a time zone: write an IANA name, as in America/New_York or UTC`, cut(zone, 40))
	}
	s := &session{text: fmt.Sprintf("%s %02d:%02d-%02d:%02d", location, from/60, from%60, to/60, to%60), location: location, from: from, to: to, days: days}
	switch {
	case from < 0 || from >= 24*60 || to < 0 || to > 24*60:
		return nil, fmt.Errorf("%d and %d are not minutes of a day", from, to)
	case from == to:
		return nil, fmt.Errorf("the session starts and ends at %02d:%02d: for whole days write 00:00-24:00", from/60, from%60)
	}
	for i, on := range days {
		if on {
			s.text += " " + weekdays[i]
		}
	}
	return s, nil
}

// plus is t + d, at most the greatest time; d is not negative.
func plus(t, d int64) int64 {
	if t > math.MaxInt64-d {
		return math.MaxInt64
	}
	return t + d
}
