package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/producer"
)

// account is where every event is accounted for: what was read on one side, and on the other what the handler says of it
// in its own metrics. It is safe for concurrent use, but for the fields that only the reader of the feed writes.
type account struct {
	read   int                 // events of the feed
	kinds  map[market.Kind]int // of those that name a series
	clocks int                 // events made by the run
	start  time.Time

	mu        sync.Mutex
	unsent    int            // events that SQS refused
	pending   map[string]int // events of the messages that are not done, by message
	metrics   map[string]int64
	reasons   map[market.Reason]int      // of what is in the rejects, and its message done
	kept      map[string][]market.Reason // of what is in the rejects, and its message not done, by message
	returned  int                        // events of messages that were returned, once for each time
	messages  int
	took      []time.Duration // of each invocation
	failed    int             // invocations
	dead      int             // messages
	deadIn    int             // events in them
	left      int             // events that were read and are nowhere else
	badMetric error
}

func newAccount() *account {
	return &account{kinds: map[market.Kind]int{}, start: time.Now(), pending: map[string]int{}, metrics: map[string]int64{}, reasons: map[market.Reason]int{}, kept: map[string][]market.Reason{}}
}

func (a *account) reads(events []market.Event, refused int) {
	a.read += len(events) + refused
	for i := range events {
		a.kinds[events[i].Kind]++
	}
}

func (a *account) sent(id string, events int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.messages++
	a.pending[id] = events
}

func (a *account) unsendable(events int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unsent += events
}

// rejects takes what was kept in the rejects. That of a message which is then returned is kept again.
func (a *account) rejects(r *market.Rejected) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, underway := a.pending[r.OriginMessageID]; underway {
		a.kept[r.OriginMessageID] = append(a.kept[r.OriginMessageID], r.Reason)
		return
	}
	a.reasons[r.Reason]++
}

// Write takes the handler's metrics, one line of Embedded Metric Format a call.
func (a *account) Write(line []byte) (int, error) {
	var values map[string]json.RawMessage
	err := json.Unmarshal(line, &values)
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, v := range values {
		var n int64
		if len(v) > 0 && v[0] >= '0' && v[0] <= '9' {
			if bad := json.Unmarshal(v, &n); bad != nil {
				err = bad
			}
			a.metrics[name] += n
		}
	}
	if err != nil {
		a.badMetric = fmt.Errorf("the handler's metrics cannot be read: %w", err)
	}
	return len(line), nil
}

// invoked takes the outcome of one invocation.
func (a *account) invoked(records []ingest.Record, r ingest.Response, err error, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.took = append(a.took, took)
	if err != nil {
		a.failed++
	}
	for i := range records {
		m := &records[i]
		if err != nil || slices.Contains(r.BatchItemFailures, ingest.ItemFailure{ItemIdentifier: m.MessageID}) {
			a.returned += a.pending[m.OriginMessageID]
		} else {
			delete(a.pending, m.OriginMessageID)
			for _, reason := range a.kept[m.OriginMessageID] {
				a.reasons[reason]++
			}
		}
		delete(a.kept, m.OriginMessageID)
	}
}

// close counts what is left behind when nothing is under way any more.
func (a *account) close(p *pipeline) {
	for _, m := range p.sqs.Messages(p.deadURL) {
		id := *m.MessageAttributes[producer.OriginMessageID].StringValue
		a.dead++
		a.deadIn += a.pending[id]
		delete(a.pending, id)
	}
	for _, events := range a.pending {
		a.left += events
	}
	for _, s := range p.inOrder {
		a.left += s.events
	}
}

// The fates of events, by the handler's own account, which counts by delivery.
func (a *account) late() int     { return int(a.metrics[settings.MetricEventsLate]) }
func (a *account) repeated() int { return int(a.metrics[settings.MetricEventsRepeated]) }

// rejected is without late events, which are kept there as well, and without what never was an event.
func (a *account) rejected() int {
	n := 0
	for reason, count := range a.reasons {
		if reason != market.LateRetry && reason != market.AlertRefused && !strings.HasPrefix(string(reason), "sqs:") {
			n += count
		}
	}
	return n
}

// done is the number of events whose message was processed.
func (a *account) done() int { return int(a.metrics[settings.MetricEventsReceived]) - a.returned }

func (a *account) applied() int { return a.done() - a.rejected() - a.repeated() - a.late() }

// check proves that every event is in exactly one place. The handler counts by delivery, not by event: where messages were
// returned its numbers of refused, late and repeated events prove nothing.
func (a *account) check() error {
	switch in, out := a.read+a.clocks, a.done()+a.unsent+a.deadIn+a.left; {
	case a.badMetric != nil:
		return a.badMetric
	case in != out:
		return fmt.Errorf("events are not accounted for: %d went in, and %d came out", in, out)
	case a.returned == 0 && a.rejected() != int(a.metrics[settings.MetricEventsRejected]):
		return fmt.Errorf("events are not accounted for: the handler refused %d, and %d were kept", a.metrics[settings.MetricEventsRejected], a.rejected())
	case a.returned == 0 && a.applied() < 0:
		return fmt.Errorf("events are not accounted for: %d more were refused, late or repeated than processed", -a.applied())
	}
	return nil
}

// quantile is the smallest duration that at least the share q of the invocations did not exceed; took is sorted.
func quantile(took []time.Duration, q float64) time.Duration {
	if len(took) == 0 {
		return 0
	}
	return took[int(math.Ceil(q*float64(len(took))))-1]
}
