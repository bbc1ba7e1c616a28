package market

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Limits bound what one body may hold; what is beyond them is refused.
type Limits struct {
	MaxBytes  int // of the body; a longer one is refused whole
	MaxEvents int // of the body; the first so many stand, the rest is refused as one
	MaxDepth  int // nesting of brackets in one event, whose own are the first
}

// DefaultLimits are those of Decode: an SQS message has at most 1 MiB.
var DefaultLimits = Limits{MaxBytes: 1 << 20, MaxEvents: 10_000, MaxDepth: 32}

// Lengths, in bytes, and counts of what an event carries.
const (
	maxSymbol     = 32
	maxSource     = 64
	maxText       = 128
	maxConditions = 64
)

// Decode reads a body in the canonical wire format under DefaultLimits, see [Limits.Decode].
func Decode(dst []Event, body string, now time.Time, skew time.Duration) (events []Event, refused []Refusal) {
	return DefaultLimits.Decode(dst, body, now, skew)
}

// Decode reads a body in the canonical wire format: one event (on one line or pretty-printed), a JSON array of events, or
// one event per line, blank lines aside. It appends the good events to dst, in their order, and returns the bad ones. An
// event whose EventTime is more than skew after now is refused.
//
// Every event of the body is in exactly one of the two results; there is at least one. A bad event never harms its
// neighbours, as far as they can be told apart: a syntax error ends its line, or, within an array, everything from its
// event on, as one refusal. An array's event is complete when its comma or the closing bracket follows. A body that
// begins with a byte order mark is refused whole.
//
// Of an event with several mistakes one is named, the first of: what is no JSON, data behind the event on its line, nesting,
// invalid UTF-8, a duplicate or miscased key (the first in the text), a bad type, size beside volume; then
// field by field, in the order of messages: type, symbol, source, timestamp, sequence, id, venue, those of its kind; then
// an inverted bar; then a time in the future. Fields that an event's kind does not use are unknown to it and ignored,
// but no key of the event's object, known or not, may come twice.
//
// The events' strings alias body, but for those with escapes.
func (l Limits) Decode(dst []Event, body string, now time.Time, skew time.Duration) (events []Event, refused []Refusal) {
	latest := unixNano(now.Add(skew))
	if len(body) >= 8 && len(body) <= l.MaxBytes && l.MaxEvents > 0 {
		// One event alone needs nothing of the decoder.
		n := len(dst)
		dst = append(dst, Event{})
		e := &dst[n]
		u := usual{s: body, latest: latest}
		if end := u.event(e, 0); end == len(body) || end == len(body)-1 && body[end] == '\n' {
			e.Raw = body[:end]
			return dst, nil
		}
		dst = dst[:n]
	}
	return l.decode(dst, body, latest)
}

func (l Limits) decode(dst []Event, body string, latest int64) (events []Event, refused []Refusal) {
	d := decoder{s: body, limits: l, events: dst, latest: latest, usual: usual{s: body, latest: latest, packed: true}}
	d.body()
	return d.events, d.refused
}

func (d *decoder) body() {
	l, body := d.limits, d.s
	start := d.space(0)
	switch {
	case len(body) > l.MaxBytes:
		d.refuse(0, len(body), fault{TooLarge, unknownField, strconv.Itoa(len(body)) + " bytes where at most " + strconv.Itoa(l.MaxBytes) + " are allowed: send smaller messages"})
	case strings.HasPrefix(body, "\uFEFF"):
		d.refuse(0, len(body), fault{MalformedJSON, unknownField, "the body begins with a byte order mark: send it without"})
	case start == len(body):
		d.refuse(0, len(body), fault{MalformedJSON, unknownField, "the body is empty: send at least one event"})
	case body[start] == '[':
		d.array(start)
	default:
		d.byLine(start)
	}
}

// unixNano is t's time in nanoseconds, or the nearest that an int64 has.
func unixNano(t time.Time) int64 {
	if sec := t.Unix(); sec < math.MinInt64/1_000_000_000 {
		return math.MinInt64
	} else if sec >= math.MaxInt64/1_000_000_000 {
		return math.MaxInt64
	}
	return t.UnixNano()
}

// fault is what is wrong with an event. The zero fault is none.
type fault struct {
	reason Reason
	field  field
	detail string
}

type decoder struct {
	s       string
	limits  Limits
	lines   bool // one event per line: a newline ends the event
	latest  int64
	events  []Event
	refused []Refusal
	count   int   // events so far, good and bad
	usual   usual // without a text every event takes the general path

	// Of the event at work:
	broken fault // the syntax error that ended the scan
	flaw   fault // the first in precedence of the mistakes that concern no field's value
	faults []fault
	seen   fields
	volume string // the number sent, which means a size or a bar's volume
	extra  [16]string
	nExtra int
	extras map[string]struct{} // unknown keys beyond those of extra
}

// refuse refuses s[from:to] as the next event.
func (d *decoder) refuse(from, to int, f fault) {
	d.refused = append(d.refused, Refusal{Index: d.count, Reason: f.reason, Field: f.field.String(), Detail: f.detail, Raw: d.s[from:to]})
	d.count++
}

// full refuses the rest of the body if it has had its number of events.
func (d *decoder) full(i int) bool {
	if d.count < d.limits.MaxEvents {
		return false
	}
	d.refuse(i, len(d.s), fault{TooLarge, unknownField, "more than " + strconv.Itoa(d.limits.MaxEvents) + " events: send smaller messages"})
	return true
}

// settle ends the event that was scanned from s[from:to]: it stays, or is refused for its flaw.
func (d *decoder) settle(from, to int) {
	last := len(d.events) - 1
	if d.flaw.reason != "" {
		d.events = d.events[:last]
		d.refuse(from, to, d.flaw)
		return
	}
	d.events[last].Index = int32(d.count)
	d.events[last].Raw = d.s[from:to]
	d.count++
}

// array reads the array whose bracket is at s[i], and what is behind it.
func (d *decoder) array(i int) {
	if end := d.space(i + 1); at(d.s, end) == ']' {
		d.refuse(i, end+1, fault{MissingField, unknownField, "the array is empty: send at least one event"})
		i = end
	} else {
		for delimiter := byte(','); delimiter == ','; delimiter = d.s[i] {
			from := d.space(i + 1)
			if from == len(d.s) {
				d.refuse(i, from, fault{MalformedJSON, unknownField, "the body ends within the array: send all of it"})
				return
			}
			if d.full(from) {
				return
			}
			end := d.event(from)
			if end >= 0 {
				if i = d.space(end); at(d.s, i) != ',' && at(d.s, i) != ']' {
					d.events = d.events[:len(d.events)-1]
					end = d.stop(i, "a comma or ']' behind an event")
				}
			}
			if end < 0 {
				d.refuse(from, len(d.s), d.broken)
				return
			}
			d.settle(from, end)
		}
	}
	if i = d.space(i + 1); i < len(d.s) {
		d.refuse(i, len(d.s), fault{TrailingData, unknownField, "something follows the array: send one array per message"})
	}
}

// byLine reads one event per line from s[i] on, or the one event that goes over several lines.
func (d *decoder) byLine(i int) {
	d.lines = true
	for {
		if i = d.space(i); i == len(d.s) {
			return
		}
		if d.s[i] == '\n' {
			i++
			continue
		}
		if d.full(i) {
			return
		}
		from := i
		end := d.event(i)
		if end >= 0 {
			i = d.space(end)
			if i == len(d.s) || d.s[i] == '\n' {
				d.settle(from, end)
				continue
			}
			d.events = d.events[:len(d.events)-1]
			d.broken = fault{TrailingData, unknownField, "something follows the event on its line: send one event per line, or an array"}
			if d.flaw.reason == MalformedJSON {
				d.broken = d.flaw // what follows a misspelt value on its line is more of the same
			}
		} else if d.count == 0 && d.pretty(from) {
			return
		}
		i = from + lineLength(d.s[from:])
		d.refuse(from, i, d.broken)
	}
}

func lineLength(s string) int {
	if n := strings.IndexByte(s, '\n'); n >= 0 {
		return n
	}
	return len(s)
}

// pretty reads s[i:], whose first line is not all of an event, as one event over several lines, and reports whether it
// is one: whole, or broken and without another line that begins like an event.
func (d *decoder) pretty(i int) bool {
	if d.s[i] != '{' {
		return false
	}
	line := d.broken
	d.lines = false
	defer func() { d.lines = true }()
	if end := d.event(i); end >= 0 {
		if d.space(end) == len(d.s) {
			d.settle(i, end)
			return true
		}
		d.events = d.events[:len(d.events)-1]
		d.broken = fault{TrailingData, unknownField, "something follows the event: send one event per line, or an array"}
	}
	for next := i + lineLength(d.s[i:]); next < len(d.s); next += lineLength(d.s[next:]) {
		next++
		if at(d.s, next+len(d.s[next:])-len(strings.TrimLeft(d.s[next:], " \t\r"))) == '{' {
			d.broken = line
			return false
		}
	}
	d.refuse(i, len(d.s), d.broken)
	return true
}

// event scans the value at s[i] into a new last element of d.events. If it cannot be followed to its end there is no new
// element, and the result is -1.
func (d *decoder) event(i int) int {
	d.events = append(d.events, Event{})
	e := &d.events[len(d.events)-1]
	d.flaw.reason = ""
	if len(d.usual.s) >= 8 {
		if end := d.usual.event(e, i); end >= 0 {
			return end
		}
		*e = Event{}
	}
	d.flaw, d.seen, d.nExtra = fault{}, 0, 0
	d.faults = d.faults[:0]
	d.extras = nil
	if at(d.s, i) != '{' {
		reason := typeFault(d.s, i)
		if i = d.skip(i, 1); i >= 0 {
			d.flawed(fault{reason, unknownField, "an event is a JSON object: send {\"symbol\":...}"})
		}
	} else if i = d.object(e, i); i >= 0 {
		d.check(e)
	}
	if i < 0 {
		d.events = d.events[:len(d.events)-1]
	}
	return i
}

// flawed notes a mistake of the event that concerns no field's value.
func (d *decoder) flawed(f fault) {
	if d.flaw.reason == "" || flawRank(f.reason) < flawRank(d.flaw.reason) {
		d.flaw = f
	}
}

func flawRank(r Reason) int {
	switch r {
	case MalformedJSON:
		return 0
	case TooDeep:
		return 1
	case InvalidUTF8:
		return 2
	}
	return 3
}

// bad notes a mistake in a field's value. It counts if the event's kind uses the field.
func (d *decoder) bad(f field, reason Reason, detail string) {
	d.faults = append(d.faults, fault{reason, f, detail})
}
