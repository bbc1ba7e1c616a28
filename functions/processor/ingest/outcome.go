package ingest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// outcome is the fate of a message; a worse one replaces a better one.
type outcome uint8

const (
	done     outcome = iota // every event applied or refused, every alert published
	deferred                // returned, but neither an error nor counted as failed
	failed                  // returned
)

type message struct {
	*Record
	id       alert.MessageID
	events   int
	refused  []market.Refusal
	outcome  outcome
	until    time.Time // of a message deferred for another's lease: when that ends
	returned error     // why it is not done
}

func (m *message) origin() string {
	if m.OriginMessageID != "" {
		return m.OriginMessageID
	}
	return m.MessageID
}

func messageID(origin string) alert.MessageID {
	var b [64]byte // an SQS message id has 36 bytes
	sum := sha256.Sum256(append(b[:0], origin...))
	return alert.MessageID(sum[:16])
}

var errOutOfTime = errors.New("out of time")

// give records an outcome of message i that is not done. Ordered messages behind it in its group are no longer begun.
func (inv *invocation) give(i int, o outcome, until time.Time, err error) {
	m := &inv.messages[i]
	if o > m.outcome {
		m.outcome, m.returned = o, err
	}
	if until.After(m.until) {
		m.until = until
	}
	if first, ok := inv.groups[m.Group]; inv.ordered(m) && (!ok || i < first) {
		inv.groups[m.Group] = i
	}
}

func (inv *invocation) ordered(m *message) bool {
	return inv.cfg.Delivery == settings.Ordered && m.Group != ""
}

// blocked tells whether an earlier message of i's group is to be returned.
func (inv *invocation) blocked(i int) bool {
	m := &inv.messages[i]
	first, ok := inv.groups[m.Group]
	return inv.ordered(m) && ok && first < i
}

// forwardRefusals sends the refused events of the messages that are done to the rejects queue. Those of a returned
// message are found again when it is delivered again.
func (inv *invocation) forwardRefusals(ctx phase) {
	var rejected []market.Rejected
	var of []int
	for i := range inv.messages {
		m := &inv.messages[i]
		if m.outcome != done || inv.blocked(i) {
			continue
		}
		for _, r := range m.refused {
			rejected = append(rejected, inv.rejected(m, r.Raw, r.Reason, r.Index))
			of = append(of, i)
		}
	}
	if len(rejected) == 0 {
		return
	}
	for k, err := range inv.cfg.Queue.Reject(ctx, rejected) {
		if err != nil {
			inv.returnFor(ctx, of[k], fmt.Errorf("keeping a refused event: %w", err))
		}
	}
}

func (inv *invocation) rejected(m *message, body string, reason market.Reason, index int) market.Rejected {
	return market.Rejected{
		Body: body, Reason: reason, OriginMessageID: m.origin(), Index: index, FirstReceived: m.FirstReceived,
		ReceiveCount: m.ReceiveCount, Format: m.Format, Group: m.Group,
	}
}

// finish settles the order within groups, hides what is returned, and reports.
func (inv *invocation) finish(ctx phase) (Response, error) {
	response := Response{BatchItemFailures: []ItemFailure{}}
	var delays []market.Delay
	var first error
	seen := map[string]bool{}
	groupDelay := map[string]time.Duration{}
	doneCount := 0
	for i := range inv.messages {
		m := &inv.messages[i]
		behind := inv.blocked(i)
		if behind && m.outcome == done {
			m.outcome, m.returned = deferred, errors.New("an earlier message of its group was returned")
		}
		if m.outcome == done {
			doneCount++
			inv.logRefusals(m)
			continue
		}
		delay := inv.retryDelay(m)
		if d, ok := groupDelay[m.Group]; ok && behind {
			delay = d
		} else {
			groupDelay[m.Group] = delay
		}
		if m.outcome == failed {
			inv.count.recordsFailed++
			if first == nil {
				first = fmt.Errorf("message %s: %w", m.MessageID, m.returned)
			}
			inv.cfg.Logger.Error("message failed", slog.String("message_id", m.MessageID), slog.Int("receive_count", m.ReceiveCount),
				slog.Duration("retry_after", delay), slog.String("error", errorText(m.returned)))
		} else {
			inv.count.recordsDeferred++
			inv.cfg.Logger.Info("message deferred", slog.String("message_id", m.MessageID), slog.Int("receive_count", m.ReceiveCount),
				slog.Duration("retry_after", delay), slog.String("reason", errorText(m.returned)))
		}
		if !seen[m.MessageID] {
			seen[m.MessageID] = true
			response.BatchItemFailures = append(response.BatchItemFailures, ItemFailure{m.MessageID})
			delays = append(delays, market.Delay{ReceiptHandle: m.ReceiptHandle, After: delay})
		}
	}
	if len(delays) > 0 {
		if err := inv.cfg.Queue.SetVisibility(ctx, delays); err != nil {
			// The messages come back after the queue's own visibility timeout instead.
			inv.cfg.Logger.Warn("visibility not set", slog.Int("messages", len(delays)), slog.String("error", errorText(err)))
		}
	}
	inv.count.recordsReceived = len(inv.messages)
	if err := inv.writeMetrics(!inv.cfg.Ticks); err != nil {
		inv.cfg.Logger.Warn("metrics not written", slog.String("error", err.Error()))
	}
	if inv.count.recordsFailed > 0 && doneCount == 0 {
		return response, fmt.Errorf("ingest: %d of %d messages failed and none was done: first %s", inv.count.recordsFailed, len(inv.messages), errorText(first))
	}
	return response, nil
}

// retryDelay is for how long a returned message is hidden: to the end of the lease that it waits for, else 15 s doubling
// with each receive.
func (inv *invocation) retryDelay(m *message) time.Duration {
	if m.outcome == deferred && !m.until.IsZero() {
		// One second more: the lease must be over, by the clock of whoever looks then.
		return min(max(m.until.Sub(inv.cfg.Now()), 0)+time.Second, maxVisibility)
	}
	d := settings.FirstRetryDelay << min(max(m.ReceiveCount-1, 0), 16)
	return min(d, inv.cfg.MaxRetryDelay)
}

// maxVisibility is the longest time for which SQS hides a message.
const maxVisibility = 12 * time.Hour

func (inv *invocation) logRefusals(m *message) {
	if len(m.refused) == 0 {
		return
	}
	reasons := map[string]int{}
	for _, r := range m.refused {
		reasons[string(r.Reason)]++
	}
	r := m.refused[0]
	inv.cfg.Logger.Warn("events refused", slog.String("message_id", m.MessageID), slog.Int("events", len(m.refused)), slog.Any("reasons", reasons),
		slog.Group("first", slog.Int("index", r.Index), slog.String("reason", string(r.Reason)), slog.String("field", r.Field)))
}

// redacted is an error whose text is errorText: Lambda logs what an invocation returns.
type redacted struct{ error }

func (r redacted) Error() string { return errorText(r.error) }

func (r redacted) Unwrap() error { return r.error }

// errorText is the text of err without what AWS, or whatever answered in its place, has said: that can quote the input, a
// key or the environment. In its place are the operation and the code or, where there is none, the errors' types.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return redact(err.Error(), err)
}

func redact(text string, err error) string {
	if safe, ok := answer(err); ok {
		return strings.ReplaceAll(text, err.Error(), safe)
	}
	switch u := err.(type) {
	case interface{ Unwrap() error }:
		if inner := u.Unwrap(); inner != nil {
			text = redact(text, inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range u.Unwrap() {
			text = redact(text, inner)
		}
	}
	return text
}

// answer tells an error of an SDK's client, which is a smithy.OperationError or an API's error, in words of our own.
func answer(err error) (safe string, ok bool) {
	operation, isOperation := err.(interface {
		Service() string
		Operation() string
	})
	api, isAPI := err.(interface{ ErrorCode() string })
	switch {
	case isAPI:
		return api.ErrorCode(), true
	case !isOperation:
		return "", false
	}
	what := "operation error " + operation.Service() + ": " + operation.Operation()
	var response interface {
		HTTPStatusCode() int
		ServiceRequestID() string
	}
	if errors.As(err, &response) {
		what += fmt.Sprintf(", status %d, request %s", response.HTTPStatusCode(), response.ServiceRequestID())
	}
	if errors.As(err, &api) {
		return what + ", " + api.ErrorCode(), true
	}
	for err != nil {
		what += fmt.Sprintf(", %T", err)
		err = errors.Unwrap(err)
	}
	return what, true
}
