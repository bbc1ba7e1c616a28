// Package ledger keeps the state of every series and the alerts, which are their own outbox. DynamoDB is the adapter
// for AWS, Memory its twin for the local run; one test suite runs against both.
package ledger

import (
	"fmt"
	"hash/fnv"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// shard spreads alerts by id, and series, evenly over n partitions of an index.
func shard(name string, n int) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int(h.Sum32() % uint32(n))
}

// DayShard is the partition of the by-day index that holds the alert: its UTC day and a shard, "2026-11-22#3". To list
// a day, query all settings.DayShards of it and merge by alert id.
func DayShard(eventTime int64, alertID string) string {
	return fmt.Sprintf("%s#%d", time.Unix(0, eventTime).UTC().Format(time.DateOnly), shard(alertID, settings.DayShards))
}

// checkCommit refuses what no adapter can store, so that both refuse the same.
func checkCommit(c *alert.Commit) error {
	limit := alert.MaxCommitAlerts
	if c.State == nil {
		limit++
	}
	if len(c.Alerts) > limit {
		return fmt.Errorf("ledger: the commit holds %d alerts, the limit is %d: commit prefix by prefix", len(c.Alerts), limit)
	}
	if c.ID == "" || c.Series == "" {
		return fmt.Errorf("ledger: a commit without series or id: both are required")
	}
	seen := make(map[alert.Key]bool, len(c.Alerts))
	for i := range c.Alerts {
		k := c.Alerts[i].Key()
		if seen[k] {
			return fmt.Errorf("ledger: the commit holds the alert %s twice", k.ID)
		}
		seen[k] = true
	}
	return nil
}
