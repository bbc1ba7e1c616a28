package ingest

import (
	"context"
	"errors"
	"time"
	"unsafe"

	"example.com/market-data-pipeline/functions/processor/market"
)

// Record is one message as the event source mapping delivers it.
type Record struct {
	MessageID       string
	ReceiptHandle   string
	Body            string
	Group           string // the message group, "" on a standard queue
	ReceiveCount    int
	Sent            time.Time // when it reached the queue
	FirstReceived   time.Time
	Format          string // the attribute "format", "" = canonical
	OriginMessageID string // the attribute "origin_message_id", "" = MessageID

	// Events are those of the body where HandleEvent has decoded it already; Body is then "", and so is each event's Raw.
	Events []market.Event
}

// canonical tells whether the body is in the canonical format.
func (r *Record) canonical() bool { return r.Format == "" || r.Format == "canonical" }

// Response names the messages that SQS shall deliver again.
type Response struct {
	BatchItemFailures []ItemFailure `json:"batchItemFailures"`
}

// ItemFailure names one message by its id.
type ItemFailure struct {
	ItemIdentifier string `json:"itemIdentifier"`
}

// AppendJSON appends the response as Lambda expects it.
func (r Response) AppendJSON(b []byte) []byte {
	b = append(b, `{"batchItemFailures":[`...)
	for i, f := range r.BatchItemFailures {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"itemIdentifier":"`...)
		for _, c := range []byte(f.ItemIdentifier) {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ':
				const hex = "0123456789abcdef"
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				b = append(b, c)
			}
		}
		b = append(b, `"}`...)
	}
	return append(b, `]}`...)
}

// ParseEvent reads the event that Lambda hands over for an SQS batch. What it cannot read is an error for the whole
// batch: Lambda, not a sender, writes this event. Names count as Lambda writes them, in their case; of a name that comes
// twice the last counts; null is like absent. As encoding/json does, it puts U+FFFD for what is no UTF-8 and for half a
// surrogate pair; SQS takes neither from a sender.
//
// The records do not alias payload, whose buffer Lambda's runtime client uses again after the invocation: their strings
// share one copy of it, and another one of what has escapes.
func ParseEvent(payload []byte) ([]Record, error) {
	p := eventParser{s: string(payload)}
	p.parse()
	return p.records, p.err
}

// parse reads the whole event.
func (p *eventParser) parse() {
	if i := p.event(p.space(0)); i >= 0 && p.space(i) < len(p.s) {
		p.stop(p.space(i))
	}
}

// ErrNoRecords is HandleEvent's error for an event that is good JSON and holds no records.
var ErrNoRecords = errors.New("ingest: the event holds no SQS records")

// HandleEvent is Handle for the event that Lambda hands over, read as ParseEvent reads it. The bodies of messages that are
// delivered for the first time and hold usual events only (see market.Quoted) are decoded where they stand.
//
// Until it returns, payload must not change: all strings of the batch alias it. Nothing but the response does so after it.
func (h *Handler) HandleEvent(ctx context.Context, payload []byte) (Response, error) {
	m := h.spare.Swap(nil)
	if m == nil {
		m = new(memory)
	}
	p := eventParser{s: unsafe.String(unsafe.SliceData(payload), len(payload)), records: m.records[:0],
		early: true, skew: h.cfg.ClockSkew, events: m.events[:0]}
	p.parse()
	switch {
	case p.err != nil:
		return Response{}, p.err
	case len(p.records) == 0:
		h.spare.Store(m)
		return Response{}, ErrNoRecords
	}
	before := *m
	m.records, m.events = p.records, p.events
	// All of the invocation has ended when handle returns: nothing refers to its memory any more.
	response, err := h.handle(ctx, p.records, m)
	if cap(m.events) <= maxKept {
		m.forget(&before)
		h.spare.Store(m)
	}
	return response, err
}

// memory is what one invocation after the other uses, so that a warm one makes little garbage.
type memory struct {
	events   []market.Event
	records  []Record
	messages []message
	bySeries map[seriesKey]*series // nil for those that no rule watches
	series   []*series
	made     []*series // series are the first of these
	runs     []run
	parts    []part
	scratch  scratch
}

// forget clears what an earlier, longer batch has left behind the last one: it would keep that batch's payload.
func (m *memory) forget(before *memory) {
	for _, s := range behind(before.series, m.series) {
		*s = series{}
	}
	clear(behind(before.events, m.events))
	clear(behind(before.records, m.records))
	clear(behind(before.messages, m.messages))
	clear(behind(before.runs, m.runs))
	clear(behind(before.parts, m.parts))
}

// behind is the part of before that is longer than now.
func behind[T any](before, now []T) []T { return before[min(len(before), len(now)):] }

// maxKept bounds, in events of 304 bytes, what is kept.
const maxKept = 20_000
