package ledger

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// DueSeries finds the series whose clock event is due at now, the earliest of each shard first; the index's shards come
// one after the other, beginning with another one each minute. Pages are read as they are needed. What it finds may have
// been moved a moment ago: a clock event too early does no harm. An error ends it.
func (d *DynamoDB) DueSeries(ctx context.Context, now time.Time) iter.Seq2[alert.DueSeries, error] {
	return func(yield func(alert.DueSeries, error) bool) {
		q := indexQuery{d.cfg.StateTable, settings.DueIndex, settings.DueShardKey, settings.DueKey + " <= :now", settings.DueShards}
		for it, err := range d.query(ctx, q, now) {
			s := alert.DueSeries{Series: text(it, settings.StatePartitionKey)}
			if err == nil {
				if s.Due, err = parseDue(it); err != nil {
					err = fmt.Errorf("ledger: a series in the state table: %w", err)
				}
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// ExpiredAlerts finds the alerts that are Pending and whose lease is over at now, in the order of DueSeries. What it
// finds may have been settled a moment ago: read the record before anything is done with it. An error ends it.
func (d *DynamoDB) ExpiredAlerts(ctx context.Context, now time.Time) iter.Seq2[alert.Key, error] {
	return func(yield func(alert.Key, error) bool) {
		q := indexQuery{d.cfg.AlertsTable, settings.PendingIndex, settings.PendingShardKey, settings.PendingLeaseKey + " < :now", settings.PendingShards}
		for it, err := range d.query(ctx, q, now) {
			if !yield(alert.Key{Symbol: text(it, settings.AlertsPartitionKey), ID: text(it, settings.AlertsSortKey)}, err) || err != nil {
				return
			}
		}
	}
}

// indexQuery is a query of all shards of an index, up to now.
type indexQuery struct {
	table, index, shardKey, until string
	shards                        int
}

// query gives the items of q. An error comes last.
func (d *DynamoDB) query(ctx context.Context, q indexQuery, now time.Time) iter.Seq2[item, error] {
	return func(yield func(item, error) bool) {
		for _, shard := range shardsFrom(now, q.shards) {
			in := &dynamodb.QueryInput{
				TableName: &q.table, IndexName: &q.index, KeyConditionExpression: aws.String(q.shardKey + " = :shard AND " + q.until),
				ExpressionAttributeValues: item{":shard": str(strconv.Itoa(shard)), ":now": num(now.UnixMilli())},
			}
			for {
				out, err := d.api.Query(ctx, in)
				if err != nil {
					yield(nil, fmt.Errorf("ledger: reading index %s of %s: %w", q.index, d.role(q.table), err))
					return
				}
				for _, it := range out.Items {
					if !yield(it, nil) {
						return
					}
				}
				if len(out.LastEvaluatedKey) == 0 {
					break
				}
				in.ExclusiveStartKey = out.LastEvaluatedKey
			}
		}
	}
}

// shardsFrom are the n shards in another order each minute, so that one that time runs out for is not always the same.
func shardsFrom(now time.Time, n int) []int {
	shards := make([]int, n)
	for i := range shards {
		shards[i] = (int(now.Unix()/60%int64(n)) + i) % n
	}
	return shards
}

// DueSeries is DynamoDB.DueSeries.
func (m *Memory) DueSeries(ctx context.Context, now time.Time) iter.Seq2[alert.DueSeries, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []alert.DueSeries
	for name, st := range m.states {
		if st.due.At != 0 && st.due.At <= now.UnixMilli() {
			found = append(found, alert.DueSeries{Series: name, Due: st.due})
		}
	}
	slices.SortFunc(found, func(a, b alert.DueSeries) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Series, b.Series))
	})
	return sequence(ctx, now, settings.DueShards, found, func(s alert.DueSeries) string { return s.Series })
}

// ExpiredAlerts is DynamoDB.ExpiredAlerts.
func (m *Memory) ExpiredAlerts(ctx context.Context, now time.Time) iter.Seq2[alert.Key, error] {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []alert.Key
	for k, r := range m.records {
		if r.Status == alert.Pending && r.Lease < now.UnixMilli() {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b alert.Key) int {
		return cmp.Or(cmp.Compare(m.records[a].Lease, m.records[b].Lease), cmp.Compare(a.Symbol, b.Symbol), cmp.Compare(a.ID, b.ID))
	})
	return sequence(ctx, now, settings.PendingShards, found, func(k alert.Key) string { return k.ID })
}

// sequence gives what was found shard by shard, and ends with the context's error.
func sequence[T any](ctx context.Context, now time.Time, shards int, found []T, name func(T) string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, s := range shardsFrom(now, shards) {
			if err := ctx.Err(); err != nil {
				var none T
				yield(none, fmt.Errorf("ledger: reading an index: %w", err))
				return
			}
			for _, f := range found {
				if shard(name(f), shards) == s && !yield(f, nil) {
					return
				}
			}
		}
	}
}
