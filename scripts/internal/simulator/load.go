package simulator

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// Load is a steady load whose virtual course is measured.
type Load struct {
	Seed         uint64
	Delivery     settings.Delivery
	Environments int // invocations at the same time
	Series       int // that share the load, in turn; in ordered delivery each is a message group
	Messages     int
	Events       int           // trades in each message, of one series
	Gap          time.Duration // between two messages
	Outage       Outage        // of a service; the zero value = none
	Retries      int           // calls that fail at random
}

// Measured is what a load came to, in virtual time: calls take 1 to 20 ms, one in ten 200 ms or so, and computing nothing.
type Measured struct {
	Duration       time.Duration // from the first message sent to the last one done
	Median, P99    time.Duration // from a message's sending to the answer that acknowledges it
	LostRaces      int           // commits whose state was written by another invocation meanwhile
	Late           int           // events that were too far behind the newest one to be applied
	Invocations    int
	DeadLetters    int
	sent, finished map[string]time.Time
}

func (m *Measured) add(line []byte) {
	var metrics struct{ StateConflicts, EventsLate int }
	must(0, json.Unmarshal(line, &metrics))
	m.LostRaces += metrics.StateConflicts
	m.Late += metrics.EventsLate
}

func (m *Measured) done(origins map[string]bool, now time.Time) {
	for origin := range origins {
		if _, again := m.finished[origin]; !again && origin != "" { // the clock's messages have none
			m.finished[origin] = now
		}
	}
}

// Measure runs the load.
func Measure(l Load) (Measured, error) {
	s := Scenario{Seed: l.Seed, Delivery: l.Delivery, Rules: "history", Lateness: settings.DefaultLateness, Environments: l.Environments, BatchSize: 10}
	if l.Outage != (Outage{}) {
		s.Outages = []Outage{l.Outage}
	}
	r := rand.New(rand.NewPCG(l.Seed, 4))
	for range l.Retries {
		s.Faults = append(s.Faults, Fault{At: r.IntN(l.Messages), Kind: ServerError})
	}
	w := newCloud(s, nil)
	w.load = &Measured{sent: map[string]time.Time{}, finished: map[string]time.Time{}}
	sequence := make([]int, l.Series)
	for i := range l.Messages {
		series := i % l.Series
		m := message{after: l.Gap, origin: fmt.Sprint("m", i)}
		if l.Delivery == settings.Ordered {
			m.group = fmt.Sprint("series-", series)
		}
		for k := range l.Events {
			sequence[series]++
			n, price := sequence[series], 9000+r.IntN(2000)
			m.lines = append(m.lines, func(now time.Time) string {
				at := now.Add(time.Duration(k-l.Events) * time.Millisecond)
				return fmt.Sprintf(`{"symbol":"S%d","price":%d.%02d,"size":1,"sequence":%d,"timestamp":%q}`, series, price/100, price%100, n, market.FormatTime(at.UnixNano()))
			})
		}
		w.messages = append(w.messages, m)
	}
	w.run(w.supervise)
	m := *w.load
	if m.DeadLetters, _, _ = w.sqs.Depth(w.dead); len(m.finished) != l.Messages || m.DeadLetters > 0 {
		return m, fmt.Errorf("%d of %d messages were done, %d are dead letters", len(m.finished), l.Messages, m.DeadLetters)
	}
	var first, last time.Time
	var delays []time.Duration
	for origin, at := range m.finished {
		sent := m.sent[origin]
		if first.IsZero() || sent.Before(first) {
			first = sent
		}
		if at.After(last) {
			last = at
		}
		delays = append(delays, at.Sub(sent))
	}
	slices.Sort(delays)
	m.Duration, m.Median, m.P99 = last.Sub(first), delays[len(delays)/2], delays[len(delays)*99/100]
	m.Invocations = w.invocations
	return m, nil
}
