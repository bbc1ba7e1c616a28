// Package queue is the sender's side of the queues: refused events, the visibility of returned messages, and clock events.
// SQS is the adapter for AWS, Writer its twin for the local run.
package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
)

// The message attributes of the rejects queue.
const (
	AttrReason        = "reason"
	AttrOrigin        = "origin_message_id"
	AttrIndex         = "index"          // the event's position in its message, from 0
	AttrFirstReceived = "first_received" // RFC 3339
	AttrReceiveCount  = "receive_count"
	AttrFormat        = "format"
	AttrGroup         = "group"
	AttrPart          = "part" // "1/2" and "2/2" of a body that does not fit in one message
)

// Writer keeps each refused event as one line of JSON, leaves the visibility of returned messages to Hide and clock events
// to Send.
type Writer struct {
	W    io.Writer
	Hide func(receiptHandle string, after time.Duration) error // nil = nothing is hidden
	Send func(alert.ClockMessage) error                        // nil = clock events are dropped
}

type rejectedLine struct {
	Reason       market.Reason `json:"reason"`
	Origin       string        `json:"origin_message_id"`
	Index        int           `json:"index"`
	ReceiveCount int           `json:"receive_count,omitempty"`
	Format       string        `json:"format,omitempty"`
	Group        string        `json:"group,omitempty"`
	Body         string        `json:"body"`
}

// Reject writes what was refused. After a write error the remaining elements have that error too.
func (w *Writer) Reject(_ context.Context, rejected []market.Rejected) []error {
	errs := make([]error, len(rejected))
	for i := range rejected {
		r := &rejected[i]
		line, err := json.Marshal(rejectedLine{r.Reason, r.OriginMessageID, r.Index, r.ReceiveCount, r.Format, r.Group, r.Body})
		if err == nil {
			_, err = w.W.Write(append(line, '\n'))
		}
		if err != nil {
			for ; i < len(rejected); i++ {
				errs[i] = fmt.Errorf("queue: writing a refused event: %w", err)
			}
			return errs
		}
	}
	return errs
}

// SetVisibility calls Hide for each message.
func (w *Writer) SetVisibility(_ context.Context, delays []market.Delay) error {
	if w.Hide == nil {
		return nil
	}
	var errs []error
	for _, d := range delays {
		errs = append(errs, w.Hide(d.ReceiptHandle, d.After))
	}
	return errors.Join(errs...)
}

// SendClocks calls Send for each message.
func (w *Writer) SendClocks(_ context.Context, messages []alert.ClockMessage) []error {
	errs := make([]error, len(messages))
	if w.Send == nil {
		return errs
	}
	for i, m := range messages {
		errs[i] = w.Send(m)
	}
	return errs
}
