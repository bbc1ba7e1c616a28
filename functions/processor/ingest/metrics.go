package ingest

import (
	"fmt"
	"slices"
	"strconv"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

type counters struct {
	recordsReceived, recordsFailed, recordsDeferred            int
	eventsReceived, eventsRejected, eventsLate, eventsRepeated int
	alertsFired, alertsPublished, alertsFailed                 int
	stateConflicts, statesRewarmed, pendingExpired, clocksSent int
	latencies                                                  []int64 // milliseconds, of the first alerts of the batch
}

// maxValues is how many values of one metric the Embedded Metric Format allows in a line.
const maxValues = 100

func (c *counters) published(r *alert.Record) {
	c.alertsPublished++
	if len(c.latencies) < maxValues {
		c.latencies = append(c.latencies, max(0, r.Published-r.Time/1e6))
	}
}

type metric struct {
	name string
	n    int
}

// writeMetrics writes the batch's metrics as one line of CloudWatch's Embedded Metric Format, which is billed by its bytes:
// zeros can be left out. They must come from somewhere: an alarm keeps its state for a while where it finds nothing.
func (inv *invocation) writeMetrics(zeros bool) error {
	c := &inv.count
	values := []metric{
		{settings.MetricRecordsReceived, c.recordsReceived}, {settings.MetricRecordsFailed, c.recordsFailed}, {settings.MetricRecordsDeferred, c.recordsDeferred},
		{settings.MetricEventsReceived, c.eventsReceived}, {settings.MetricEventsRejected, c.eventsRejected},
		{settings.MetricEventsLate, c.eventsLate}, {settings.MetricEventsRepeated, c.eventsRepeated},
		{settings.MetricAlertsFired, c.alertsFired}, {settings.MetricAlertsPublished, c.alertsPublished}, {settings.MetricAlertsFailed, c.alertsFailed},
		{settings.MetricStateConflicts, c.stateConflicts}, {settings.MetricStatesRewarmed, c.statesRewarmed},
		{settings.MetricPendingExpired, c.pendingExpired}, {settings.MetricClocksSent, c.clocksSent},
	}
	if !zeros {
		values = slices.DeleteFunc(values, func(m metric) bool { return m.n == 0 })
	}
	b := make([]byte, 0, 2048)
	b = append(strconv.AppendInt(append(b, `{"_aws":{"Timestamp":`...), inv.start.UnixMilli(), 10), `,"CloudWatchMetrics":[{"Namespace":"`...)
	b = append(b, settings.MetricsNamespace+`","Dimensions":[["`+settings.MetricsDimension+`"]],"Metrics":[`...)
	for i, v := range values {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `{"Name":"`...), v.name...), `","Unit":"Count"}`...)
	}
	if len(c.latencies) > 0 {
		b = append(b, `,{"Name":"`+settings.MetricEventToAlert+`","Unit":"Milliseconds"}`...)
	}
	b = append(append(b, `]}]},"`+settings.MetricsDimension+`":`...), inv.environment...)
	for _, v := range values {
		b = append(append(append(b, `,"`...), v.name...), `":`...)
		b = strconv.AppendInt(b, int64(v.n), 10)
	}
	for i, ms := range c.latencies {
		if i == 0 {
			b = append(b, `,"`+settings.MetricEventToAlert+`":[`...)
		} else {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, ms, 10)
	}
	if len(c.latencies) > 0 {
		b = append(b, ']')
	}
	if _, err := inv.cfg.Metrics.Write(append(b, "}\n"...)); err != nil {
		return fmt.Errorf("ingest: writing metrics: %w", err)
	}
	return nil
}
