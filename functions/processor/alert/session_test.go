package alert

import (
	"math"
	"strings"
	"testing"
	"time"
)

func at(text string) int64 {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return t.UnixNano()
}

// "Bars belong to a session by their START; `end < start` is overnight"; "Zone data is linked in".
func TestSessions(t *testing.T) {
	const newYork, overnight = "America/New_York 09:30-16:00 mon-fri", "America/Chicago 17:00-16:00 sun-thu"
	for _, tc := range []struct {
		session, at string
		day         string // the session's date, "" = outside
	}{
		{newYork, "2013-10-10T13:29:59Z", ""}, {newYork, "2013-10-10T13:30:00Z", "2013-10-10"}, {newYork, "2013-10-10T19:59:59Z", "2013-10-10"},
		{newYork, "2013-10-10T20:00:00Z", ""}, {newYork, "2013-10-12T15:00:00Z", ""},
		// Summer time ended on 2013-11-03.
		{newYork, "2013-11-04T14:00:00Z", ""}, {newYork, "2013-11-04T14:30:00Z", "2013-11-04"}, {newYork, "2013-11-04T20:30:00Z", "2013-11-04"},
		{overnight, "2013-10-10T21:30:00Z", ""}, {overnight, "2013-10-10T22:00:00Z", "2013-10-10"}, {overnight, "2013-10-11T20:59:00Z", "2013-10-10"},
		{overnight, "2013-10-11T23:00:00Z", ""}, {overnight, "2013-10-12T23:00:00Z", ""}, {overnight, "2013-10-13T22:00:00Z", "2013-10-13"},
		{"UTC 00:00-24:00 sat,sun", "2013-10-12T23:59:59Z", "2013-10-12"}, {"UTC 00:00-24:00 sat,sun", "2013-10-11T23:59:59Z", ""},
		{"UTC 22:00-02:00", "2013-10-11T01:59:59Z", "2013-10-10"}, {"UTC 22:00-02:00", "2013-10-11T02:00:00Z", ""},
		{"Asia/Kolkata 09:15-15:30 mon-fri", "2013-10-10T03:45:00Z", "2013-10-10"}, {"UTC 10:00-11:00 fri-mon", "2013-10-13T10:00:00Z", "2013-10-13"},
		// A midnight that does not exist.
		{"America/Sao_Paulo 00:00-24:00", "2013-10-20T03:30:00Z", "2013-10-20"},
	} {
		s, err := parseSession(tc.session)
		if err != nil {
			t.Errorf("%s: %v", tc.session, err)
			continue
		}
		w := s.at(at(tc.at))
		got := ""
		if w.inside {
			got = time.Unix(w.day*86400, 0).UTC().Format(time.DateOnly)
		}
		if got != tc.day || !w.contains(at(tc.at)) {
			t.Errorf("%s at %s: day %q, want %q; span %+v", tc.session, tc.at, got, tc.day, w)
		}
		// The span is a span: its ends say the same.
		if first, last := s.at(w.from), s.at(w.to-1); first.inside != w.inside || last.inside != w.inside {
			t.Errorf("%s at %s: the span %+v is not one", tc.session, tc.at, w)
		}
	}
	for _, text := range []string{"", "UTC", "09:30-16:00", "UTC 9:30-16:00", "UTC 09:30-16:00 monday", "UTC 09:60-10:00", "UTC 24:00-10:00", "UTC 09:00-09:00", "Local 09:00-10:00", "UTC 00:00-24:01", "../etc 09:00-10:00"} {
		if s, err := parseSession(text); err == nil {
			t.Errorf("%q is a session: %+v", text, s)
		}
	}
	a, _ := parseSession("UTC  09:00-17:00   mon-wed")
	b, _ := parseSession("UTC 09:00-17:00 mon,tue,wed")
	if a.text != b.text || !strings.HasPrefix(a.text, "UTC 09:00-17:00") {
		t.Errorf("texts of one session: %q, %q", a.text, b.text)
	}
}

// Any time has a span that contains it, and asking never loops.
func TestSessionsAtTheEndsOfTime(t *testing.T) {
	s, _ := parseSession("America/New_York 09:30-16:00 mon")
	for _, x := range []int64{math.MinInt64, math.MinInt64 + 1, -1, 0, 1, math.MaxInt64 - 1, math.MaxInt64} {
		s.at(x)
		s.silentFor(x, int64(time.Minute))
	}
}

const day = 24 * 3600

// t0 is 09:30 in New York.
const inSession = `session: "America/New_York 09:30-16:00 mon-fri"`

// "No evaluation … outside the session (leaving it cancels pending)".
func TestSessionsGateEvaluation(t *testing.T) {
	p := program(t, ordered, oneRule("expr: price > 10", inSession))
	if got := firings(t, p, trade(-1, 11), trade(0, 9), trade(6.5*3600-1, 11), trade(6.5*3600, 9), trade(day, 11), trade(day+1, 9), trade(day+2, 11)); got != "23399 86402" {
		t.Errorf("fired at %q", got)
	}
	p = program(t, ordered, oneRule("expr: price > 10", "for: 10s", inSession))
	for name, tc := range map[string]struct {
		at   []float64
		want string
	}{
		"within":                            {[]float64{0, 100}, "10"},
		"the session ends first":            {[]float64{6.5*3600 - 5, 6.5*3600 + 100}, ""},
		"it ends at the same time":          {[]float64{6.5*3600 - 10, 6.5*3600 + 100}, ""},
		"true again in the next session":    {[]float64{6.5*3600 - 5, day, day + 100}, "86410"},
		"pending before the session begins": {[]float64{-5, 0, 100}, "10"},
	} {
		t.Run(name, func(t *testing.T) {
			s, out := p.NewState(), []Alert(nil)
			for _, x := range tc.at {
				e := trade(x, 11)
				out, _ = p.Step(s, &e, out)
			}
			if got := times(out); got != tc.want {
				t.Errorf("fired at %q, want %q", got, tc.want)
			}
		})
	}
	// A "for" longer than the night: the session was left all the same.
	p = program(t, ordered, oneRule("expr: price > 10", "for: 20h", inSession))
	if got := firings(t, p, trade(6*3600, 11), trade(day+5*3600, 11), clock(2*day)); got != "" {
		t.Errorf("fired at %q across two sessions", got)
	}
}

// "`expires` compares event time."
func TestExpires(t *testing.T) {
	p := program(t, ordered, oneRule("expr: price > 10", "expires: 2013-10-10T13:30:10Z"))
	if got := firings(t, p, trade(0, 11), trade(1, 9), trade(9, 11), trade(9.5, 9), trade(10, 11)); got != "0 9" {
		t.Errorf("fired at %q, want 0 9", got)
	}
	p = program(t, ordered, oneRule("expr: price > 10", "for: 5s", "expires: 2013-10-10T13:30:10Z"))
	if got := firings(t, p, trade(6, 11), clock(60)); got != "" {
		t.Errorf("fired at %q after it expired", got)
	}
}
