package ingest

import (
	"encoding/json"
	"fmt"

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
	Name string
	Unit string
}

// writeMetrics writes the batch's metrics as one line of CloudWatch's Embedded Metric Format.
func (inv *invocation) writeMetrics() error {
	c := &inv.count
	values := []struct {
		name string
		n    int
	}{
		{settings.MetricRecordsReceived, c.recordsReceived}, {settings.MetricRecordsFailed, c.recordsFailed}, {settings.MetricRecordsDeferred, c.recordsDeferred},
		{settings.MetricEventsReceived, c.eventsReceived}, {settings.MetricEventsRejected, c.eventsRejected},
		{settings.MetricEventsLate, c.eventsLate}, {settings.MetricEventsRepeated, c.eventsRepeated},
		{settings.MetricAlertsFired, c.alertsFired}, {settings.MetricAlertsPublished, c.alertsPublished}, {settings.MetricAlertsFailed, c.alertsFailed},
		{settings.MetricStateConflicts, c.stateConflicts}, {settings.MetricStatesRewarmed, c.statesRewarmed},
		{settings.MetricPendingExpired, c.pendingExpired}, {settings.MetricClocksSent, c.clocksSent},
	}
	line := map[string]any{settings.MetricsDimension: inv.cfg.Environment}
	var metrics []metric
	for _, v := range values {
		line[v.name] = v.n
		metrics = append(metrics, metric{v.name, "Count"})
	}
	if len(c.latencies) > 0 {
		line[settings.MetricEventToAlert] = c.latencies
		metrics = append(metrics, metric{settings.MetricEventToAlert, "Milliseconds"})
	}
	line["_aws"] = map[string]any{
		"Timestamp": inv.start.UnixMilli(),
		"CloudWatchMetrics": []map[string]any{{
			"Namespace": settings.MetricsNamespace, "Dimensions": [][]string{{settings.MetricsDimension}}, "Metrics": metrics,
		}},
	}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("ingest: encoding metrics: %w", err)
	}
	if _, err = inv.cfg.Metrics.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("ingest: writing metrics: %w", err)
	}
	return nil
}
