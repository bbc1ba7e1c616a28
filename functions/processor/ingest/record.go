package ingest

import "time"

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
}

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
// The records do not alias payload, whose buffer Lambda's runtime client uses again after the invocation. All their
// strings share one allocation of payload's size.
func ParseEvent(payload []byte) ([]Record, error) {
	p := eventParser{s: payload}
	p.buf.Grow(len(payload))
	if i := p.event(p.space(0)); i >= 0 && p.space(i) < len(payload) {
		p.stop(p.space(i))
	}
	return p.records, p.err
}
