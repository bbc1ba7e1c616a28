package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"slices"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// series is the work of one batch on one series.
type series struct {
	key     string
	program *alert.Program
	runs    int    // of its events
	parts   []part // the messages that carry events of the series, in arrival order

	unread bool // the snapshot must be read (again)
	snap   alert.Snapshot
	next   int // the first part that is not applied yet
	from   int // the first event of that part that is not
	limit  int // events per commit; 0 = no limit. Halved by each lost race
	losses int
}

// alert is the key of one of the series' alerts.
func (s *series) alert(id string) alert.Key {
	return alert.Key{Symbol: s.parts[0].events[0].Symbol, ID: id}
}

// name stands for the series in logs and errors: the first 16 digits of the SHA-256 of its key, which is the sender's text.
func (s *series) name() string {
	sum := sha256.Sum256([]byte(s.key))
	return hex.EncodeToString(sum[:8])
}

type seriesKey struct{ symbol, source string }

// run is successive events of a series in one message.
type run struct {
	series *series
	part
}

// part is what one message carries for one series.
type part struct {
	message int // index of the message in the batch
	events  []market.Event
}

// plan is one step of a series: a commit, and what follows once it is made.
type plan struct {
	surplus  [][]alert.Record // alerts of a single event beyond what one commit holds: written first, without the state
	commit   alert.Commit     // without a State where nothing changed
	causes   map[string]int   // alert id -> message
	late     []market.Rejected
	next     int // series.next and from after it
	from     int
	events   int
	lateSum  int
	repeated int
	rewarmed bool
}

// all returns every alert of the plan.
func (p *plan) all() []alert.Record {
	return append(slices.Concat(p.surplus...), p.commit.Alerts...)
}

// recordBytes bounds the stored size of an alert from above: texts at their length, 40 bytes a number, and twice the
// index's copy of them.
func recordBytes(a *alert.Alert) int {
	n := 1024 + 3*len(a.Summary) + 2*(len(a.ID)+len(a.Symbol)+len(a.Source)+len(a.Rule)+len(a.EventID)+len(a.Venue))
	for _, l := range a.Labels {
		n += len(l.Name) + len(l.Value) + 8
	}
	for _, o := range a.Operands {
		n += len(o.Text) + 48
	}
	return n
}

// plan steps the series over its next events, as many as one commit can hold. It changes neither series nor snapshot, so
// that it can be made again after a lost race. A plan without a State is over all events that are left. The plan is valid until
// the next one is made.
func (inv *invocation) plan(s *series) (*plan, error) {
	limit := s.limit
	for {
		p, again, err := inv.step(s, limit)
		switch {
		case err != nil:
			return nil, err
		case again > 0:
			limit = again
		case p.commit.State == nil && p.next < len(s.parts):
			// Nothing to write yet: what was stepped over leaves no trace, so go on until something does.
			limit *= 2
		default:
			return p, nil
		}
	}
}

// step plans over at most limit events (0 = all). again, where it is not 0, is the lower limit with which the alerts fit
// into one commit.
func (inv *invocation) step(s *series, limit int) (p *plan, again int, err error) {
	p = &inv.scratch.plan
	*p = plan{next: s.next, from: s.from}
	state := inv.state(s.program)
	if err = state.Decode(s.snap.Engine); errors.Is(err, alert.ErrOlder) {
		p.rewarmed = true
	} else if err != nil {
		return nil, 0, err
	}
	delivered := &inv.scratch.delivered
	delivered.begin(s.snap.Delivered, len(s.parts)-s.next)
	var fired []alert.Alert
	var firedBy []int
	bytes := 0
	last := feed{lag: s.snap.Lag, group: s.snap.Due.Group}
parts:
	for ; p.next < len(s.parts); p.next++ {
		pt := &s.parts[p.next]
		if inv.blocked(pt.message) {
			p.from = 0
			continue
		}
		m := &inv.messages[pt.message]
		mark := delivered.find(m.id)
		from := 0
		if mark >= 0 {
			from = delivered.list[mark].Next
		}
		for i := p.from; i < len(pt.events); i++ {
			e := &pt.events[i]
			if int(e.Index) < from {
				p.repeated++
				continue
			}
			if limit > 0 && p.events == limit {
				p.from = i
				break parts
			}
			before := len(fired)
			var o alert.Outcome
			fired, o = s.program.Step(state, e, fired)
			for k := before; k < len(fired); k++ {
				firedBy = append(firedBy, pt.message)
				bytes += recordBytes(&fired[k])
			}
			if (len(fired) > alert.MaxCommitAlerts || bytes > alert.MaxCommitBytes) && before > 0 {
				return nil, p.events, nil
			}
			p.events++
			switch o {
			case alert.Applied:
				last.see(e, m)
			case alert.Repeated:
				p.repeated++
			case alert.Late:
				p.lateSum++
				if m.ReceiveCount > 1 {
					p.late = append(p.late, inv.rejected(m, e.Raw, market.LateRetry, int(e.Index)))
				}
			}
			mark = delivered.set(mark, m.id, int(e.Index)+1)
		}
		delivered.set(mark, m.id, alert.Whole)
		p.from = 0
	}
	due, moved := inv.due(s.snap.Due, state, last)
	if !state.Changed() && len(fired) == 0 && !moved && !s.snap.Stale {
		return p, 0, nil
	}

	records := make([]alert.Record, len(fired))
	hints := slices.DeleteFunc(slices.Clone(s.snap.Hints), func(h alert.Hint) bool { return inv.facts.settled(s.alert(h.AlertID)) })
	if len(fired) > 0 {
		p.causes = make(map[string]int, len(fired))
	}
	for i := range fired {
		m := &inv.messages[firedBy[i]]
		records[i] = alert.Record{Alert: fired[i], Times: alert.Times{Received: m.receivedAt(), Stored: inv.start.UnixMilli()}, Status: alert.Muted}
		p.causes[fired[i].ID] = firedBy[i]
		if fired[i].Notify {
			records[i].Status, records[i].Owner, records[i].Lease = alert.Pending, inv.owner, inv.lease
			hints = append(hints, alert.Hint{Message: m.id, AlertID: fired[i].ID})
		}
	}
	for len(records) > alert.MaxCommitAlerts {
		n := min(len(records)-alert.MaxCommitAlerts, alert.MaxCommitAlerts)
		p.surplus, records = append(p.surplus, records[:n]), records[n:]
	}
	inv.scratch.engine = state.Append(inv.scratch.engine[:0])
	p.commit = alert.Commit{ID: inv.cfg.NewID(), Series: s.key, Alerts: records, State: &alert.Snapshot{
		Version: s.snap.Version, Delivered: carve(&inv.scratch.kept, inv.keep(delivered.list, hints), 512), Hints: hints,
		Engine: carve(&inv.scratch.engines, inv.scratch.engine, 32<<10),
		Due:    due, Lag: last.lag,
	}}
	return p, 0, nil
}

// scratch is memory that the steps of an invocation reuse: they come one after the other.
type scratch struct {
	states    map[*alert.Program]*alert.State
	plan      plan // of the step that runs
	delivered delivered

	engine  []byte
	engines []byte // chunks of what snapshots hold
	kept    []alert.Delivered
}

// carve returns a copy of v: a part of a chunk of memory, which is as large as size says, and used once.
func carve[T any](chunk *[]T, v []T, size int) []T {
	n := len(*chunk)
	if cap(*chunk)-n < len(v) {
		*chunk, n = make([]T, 0, max(len(v), size)), 0
	}
	*chunk = append(*chunk, v...)
	return (*chunk)[n:len(*chunk):len(*chunk)]
}

// maxStates bounds the memory for states where many programs watch the series of a batch.
const maxStates = 64

// state is a state of the program for the step that runs. It holds whatever was in it.
func (inv *invocation) state(p *alert.Program) *alert.State {
	s := inv.scratch.states[p]
	if s == nil {
		s = p.NewState()
		if inv.scratch.states == nil {
			inv.scratch.states = map[*alert.Program]*alert.State{}
		}
		if len(inv.scratch.states) == maxStates {
			clear(inv.scratch.states)
		}
		inv.scratch.states[p] = s
	}
	return s
}

// delivered are the identities of the messages applied to a series, newest last, found by identity.
type delivered struct {
	list    []alert.Delivered
	byID    map[alert.MessageID]int // indices of list, where indexed
	indexed bool
}

// fewMessages is how many messages are looked up without a map.
const fewMessages = 16

// begin starts with those of a snapshot, for a number of messages to come.
func (d *delivered) begin(stored []alert.Delivered, messages int) {
	d.list = append(d.list[:0], stored...)
	if d.indexed = messages > fewMessages; !d.indexed {
		return
	}
	if d.byID == nil {
		d.byID = map[alert.MessageID]int{}
	}
	clear(d.byID)
	for i := len(stored) - 1; i >= 0; i-- {
		d.byID[stored[i].Message] = i
	}
}

// find returns the index of a message's first entry, -1 where it has none.
func (d *delivered) find(id alert.MessageID) int {
	if d.indexed {
		if i, ok := d.byID[id]; ok {
			return i
		}
		return -1
	}
	return slices.IndexFunc(d.list, func(e alert.Delivered) bool { return e.Message == id })
}

// set enters how far a message is applied, at the index that find has told, and returns its index.
func (d *delivered) set(i int, id alert.MessageID, next int) int {
	if i < 0 {
		i = len(d.list)
		d.list = append(d.list, alert.Delivered{Message: id})
		if d.indexed {
			d.byID[id] = i
		}
	}
	d.list[i].Next = next
	return i
}

// maxHints bounds a series' snapshot, at about 80 bytes a hint, far below the 400 KB of an item: in an outage of SNS under
// unordered delivery further messages of the series wait.
const maxHints = 2000

// Message identities kept per series. Ordered delivery repeats only what came last; unordered delivery can repeat
// anything, and finds repetitions by identity alone.
const (
	keepOrdered   = 32
	keepUnordered = 128
)

// keep drops the oldest identities beyond the bound. Those of unfinished messages and of messages with unsettled alerts
// stay and do not count, up to eight times the bound.
func (inv *invocation) keep(delivered []alert.Delivered, hints []alert.Hint) []alert.Delivered {
	bound := keepOrdered
	if inv.cfg.Delivery == settings.Unordered {
		bound = keepUnordered
	}
	if len(delivered) <= bound {
		return delivered
	}
	needed := make(map[alert.MessageID]bool, len(hints))
	for _, h := range hints {
		needed[h.Message] = true
	}
	droppable := func(d alert.Delivered) bool { return d.Next == alert.Whole && !needed[d.Message] }
	surplus := -bound
	for _, d := range delivered {
		if droppable(d) {
			surplus++
		}
	}
	delivered = slices.DeleteFunc(delivered, func(d alert.Delivered) bool {
		drop := surplus > 0 && droppable(d)
		if drop {
			surplus--
		}
		return drop
	})
	return delivered[max(0, len(delivered)-8*bound):]
}

func (m *message) receivedAt() int64 {
	if m.Sent.IsZero() {
		return 0
	}
	return m.Sent.UnixMilli()
}
