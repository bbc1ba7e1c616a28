package simulate

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// What Lambda allows.
const (
	MaxFIFOBatch     = 10
	MaxStandardBatch = 10_000
	MaxPayloadBytes  = 6 << 20 // of one invocation
)

// ErrResponse is the error of a Poll whose function answered what Lambda takes for the failure of the whole batch.
var ErrResponse = errors.New("the whole batch counts as failed")

// Mapping is Lambda's event source mapping from a queue to a function. Its fields must not change while Poll runs.
type Mapping struct {
	SQS      *SQS
	QueueURL string
	// BatchSize is the most records of one invocation; 0 = 10. A FIFO queue allows 10, a standard one 10,000.
	BatchSize int
	// ReportBatchItemFailures makes Poll read the function's answer: the messages it names stay in the queue.
	ReportBatchItemFailures bool
}

// Poll receives one batch (up to BatchSize messages and 6 MB), hands it to invoke as Lambda's SQS event, and deletes what
// succeeded; n is the number of records, 0 = the queue has nothing to receive, and nothing was invoked.
//
// As in Lambda nothing is deleted where invoke fails, or where the answer names a failed record that is not in the
// batch, or is not JSON; err wraps invoke's error, or ErrResponse. What is not deleted becomes visible again when its
// visibility timeout ends. Polls may run at the same time; the groups of a FIFO queue then exclude each other.
//
// The payload is valid until invoke returns.
func (m *Mapping) Poll(ctx context.Context, invoke func(ctx context.Context, payload []byte) ([]byte, error)) (n int, err error) {
	size := m.BatchSize
	if size == 0 {
		size = 10
	}
	m.SQS.mu.Lock()
	q := m.SQS.queues[m.QueueURL]
	m.SQS.mu.Unlock()
	switch {
	case q == nil:
		return 0, fmt.Errorf("event source mapping: queue %q does not exist: create it first", m.QueueURL)
	case size < 1 || size > MaxStandardBatch || q.FIFO && size > MaxFIFOBatch:
		return 0, fmt.Errorf("event source mapping of %s: batch size %d: give 1-%d for a FIFO queue, 1-%d for a standard one",
			q.Name, size, MaxFIFOBatch, MaxStandardBatch)
	}
	batch, err := m.SQS.receive(ctx, &m.QueueURL, size, 0, MaxPayloadBytes-1<<10, recordBytes)
	if err != nil || len(batch) == 0 {
		return 0, err
	}
	answer, err := invoke(ctx, appendEvent(nil, batch, q.arn))
	if err != nil {
		return len(batch), fmt.Errorf("event source mapping of %s: function: %w", q.Name, err)
	}
	kept := map[string]bool{}
	if m.ReportBatchItemFailures {
		if kept, err = batchItemFailures(answer, batch); err != nil {
			return len(batch), fmt.Errorf("event source mapping of %s: %w", q.Name, err)
		}
	}
	m.SQS.mu.Lock()
	defer m.SQS.mu.Unlock()
	q.advance(m.SQS.now().UnixNano())
	for i := range batch {
		if !kept[batch[i].id] {
			// It fails where the visibility timeout ended meanwhile; Lambda, too, then delivers the message again.
			_ = q.delete(batch[i].handle)
		}
	}
	return len(batch), nil
}

// batchItemFailures reads the ids of failed messages out of a function's answer. An empty answer, null and an empty or
// null list mean that all succeeded.
func batchItemFailures(answer []byte, batch []delivery) (map[string]bool, error) {
	if len(bytes.TrimSpace(answer)) == 0 {
		return nil, nil
	}
	// Maps, as Lambda takes these names only as they are written, and encoding/json fills structs in any case.
	var response map[string]json.RawMessage
	var failures []map[string]*string
	err := json.Unmarshal(answer, &response)
	if list := response["batchItemFailures"]; err == nil && list != nil {
		err = json.Unmarshal(list, &failures)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the answer is not a batch response: %w", ErrResponse, err)
	}
	if len(failures) == 0 {
		return nil, nil
	}
	there := make(map[string]bool, len(batch))
	for i := range batch {
		there[batch[i].id] = true
	}
	ids := make(map[string]bool, len(failures))
	for i, f := range failures {
		id := value(f["itemIdentifier"])
		if !there[id] {
			return nil, fmt.Errorf("%w: batchItemFailures[%d] names %q, which is not in the batch", ErrResponse, i, id)
		}
		ids[id] = true
	}
	return ids, nil
}

// recordBytes bounds the size of a message's record in the event.
func recordBytes(m *message) int {
	n := 1000 + len(m.group) + len(m.deduplication) + escapedBytes(m.body)
	for name, a := range m.attributes {
		n += 100 + len(name) + escapedBytes(value(a.StringValue)) + len(a.BinaryValue)*4/3
	}
	return n
}

// escapes has for each ASCII byte what appendString puts in its place, "" = the byte itself.
var escapes = func() (t [utf8.RuneSelf]string) {
	for c := range t {
		if c < ' ' {
			t[c] = fmt.Sprintf(`\u%04x`, c)
		}
	}
	t['"'], t['\\'], t['\n'], t['\r'], t['\t'] = `\"`, `\\`, `\n`, `\r`, `\t`
	return t
}()

func escapedBytes(s string) int {
	n := len(s)
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < utf8.RuneSelf && escapes[c] != "" {
			n += len(escapes[c]) - 1
		}
	}
	return n
}

// appendString appends s, which is valid UTF-8, as a JSON string.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < utf8.RuneSelf && escapes[c] != "" {
			b = append(b, s[from:i]...)
			b = append(b, escapes[c]...)
			from = i + 1
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

func appendMember(b []byte, name, v string) []byte {
	b = append(b, '"')
	b = append(b, name...)
	b = append(b, `":`...)
	return append(appendString(b, v), ',')
}

// appendEvent appends the event that Lambda gives to a function for a batch of one queue.
func appendEvent(b []byte, batch []delivery, arn string) []byte {
	size := 16
	for i := range batch {
		size += recordBytes(batch[i].message)
	}
	if cap(b)-len(b) < size {
		b = append(make([]byte, 0, len(b)+size), b...)
	}
	b = append(b, `{"Records":[`...)
	for i := range batch {
		d := &batch[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		b = appendMember(b, "messageId", d.id)
		b = appendMember(b, "receiptHandle", d.handle)
		b = appendMember(b, "body", d.body)
		b = append(b, `"attributes":{`...)
		d.system(func(name types.MessageSystemAttributeName, v string) { b = appendMember(b, string(name), v) })
		b[len(b)-1] = '}'
		b = append(b, `,"messageAttributes":{`...)
		for i, name := range sorted(d.attributes) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendString(b, name), `:{`...)
			a := d.attributes[name]
			if a.BinaryValue != nil {
				b = appendMember(b, "binaryValue", base64.StdEncoding.EncodeToString(a.BinaryValue))
			} else {
				b = appendMember(b, "stringValue", value(a.StringValue))
			}
			b = append(b, `"stringListValues":[],"binaryListValues":[],"dataType":`...)
			b = append(appendString(b, value(a.DataType)), '}')
		}
		b = append(b, `},`...)
		if d.attributesMD5 != "" {
			b = appendMember(b, "md5OfMessageAttributes", d.attributesMD5)
		}
		b = appendMember(b, "md5OfBody", d.bodyMD5)
		b = append(b, `"eventSource":"aws:sqs",`...)
		b = appendMember(b, "eventSourceARN", arn)
		b = append(b, `"awsRegion":"`+Region+`"}`...)
	}
	return append(b, `]}`...)
}
