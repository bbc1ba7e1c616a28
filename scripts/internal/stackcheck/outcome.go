package stackcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
)

type item = map[string]types.AttributeValue

// query reads all items of one partition of the alerts table, or of an index; with from and to, only those whose
// alert_id is between them.
func (t *Traffic) query(ctx context.Context, index, key, value, from, to string) ([]item, error) {
	in := &dynamodb.QueryInput{
		TableName: &t.Stack.AlertsTable, KeyConditionExpression: aws.String("#k = :v"),
		ExpressionAttributeNames: map[string]string{"#k": key}, ExpressionAttributeValues: item{":v": &types.AttributeValueMemberS{Value: value}},
	}
	if index != "" {
		in.IndexName = &index
	}
	if from != "" {
		*in.KeyConditionExpression += " AND " + settings.AlertsSortKey + " BETWEEN :from AND :to"
		in.ExpressionAttributeValues[":from"] = &types.AttributeValueMemberS{Value: from}
		in.ExpressionAttributeValues[":to"] = &types.AttributeValueMemberS{Value: to}
	}
	var items []item
	for {
		page, err := t.Stack.Tables.Query(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("reading %s = %s of %s %s: %w", key, value, t.Stack.AlertsTable, index, err)
		}
		items = append(items, page.Items...)
		if in.ExclusiveStartKey = page.LastEvaluatedKey; in.ExclusiveStartKey == nil {
			return items, nil
		}
	}
}

// plain is an attribute as encoding/json would read it.
func plain(v types.AttributeValue) any {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		f, err := strconv.ParseFloat(v.Value, 64)
		if err != nil {
			return v.Value
		}
		return f
	case *types.AttributeValueMemberM:
		return plainItem(v.Value)
	}
	return fmt.Sprintf("%T", v)
}

func plainItem(it item) map[string]any {
	m := make(map[string]any, len(it))
	for k, v := range it {
		m[k] = plain(v)
	}
	return m
}

// flat is the flat record of an alert, without the pipeline's own times.
func flat(a *alert.Alert) map[string]any {
	var m map[string]any
	if err := json.Unmarshal(a.AppendJSON(nil, alert.Times{}, ""), &m); err != nil {
		panic(fmt.Errorf("stackcheck: alert %s has no JSON: %w", a.ID, err))
	}
	return m
}

func (t *Traffic) checkItems(ctx context.Context) (string, error) {
	var errs []error
	expected := map[string]map[string]*alert.Alert{} // by symbol, by id
	for i := range t.events {
		expected[t.events[i].Symbol] = map[string]*alert.Alert{}
	}
	for i := range t.alerts {
		expected[t.alerts[i].Symbol][t.alerts[i].ID] = &t.alerts[i]
	}
	attributes := 0
	for _, symbol := range slices.Sorted(maps.Keys(expected)) {
		items, err := t.query(ctx, "", settings.AlertsPartitionKey, symbol, "", "")
		if err != nil {
			return "", err
		}
		for _, it := range items {
			got := plainItem(it)
			id, _ := got[settings.AlertsSortKey].(string)
			a, ok := expected[symbol][id]
			if !ok {
				errs = append(errs, fmt.Errorf("alert %s of rule %v for %s is stored, but not expected", id, got["rule"], symbol))
				continue
			}
			delete(expected[symbol], id)
			attributes += len(got)
			if err := compareItem(got, a); err != nil {
				errs = append(errs, fmt.Errorf("alert %s of rule %s for %s: %w", id, a.Rule, symbol, err))
			}
		}
		for id, a := range expected[symbol] {
			errs = append(errs, fmt.Errorf("alert %s of rule %s for %s is not stored", id, a.Rule, symbol))
		}
	}
	return fmt.Sprintf("%d attributes", attributes), errors.Join(errs...)
}

// compareItem compares a stored alert, once it is settled, with the expected one: every attribute, and no other.
func compareItem(got map[string]any, a *alert.Alert) error {
	want := flat(a)
	want[settings.DayShardKey] = ledger.DayShard(a.Time, a.ID)
	want["status"] = string(status(a))
	times := []string{"received_at", "stored_at"}
	if a.Notify {
		times = append(times, "published_at")
	} else {
		times = append(times, "commit_id") // of the write that is also its last
	}
	if _, limited := got[settings.AlertsTTL]; limited {
		times = append(times, settings.AlertsTTL)
	}
	var errs []error
	for _, name := range times {
		if got[name] == nil {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		}
		want[name] = got[name]
	}
	errs = append(errs, compare(got, want), laterThan(got, "stored_at", "published_at"))
	return errors.Join(errs...)
}

func laterThan(m map[string]any, first, second string) error {
	a, _ := m[first].(string)
	b, ok := m[second].(string)
	if !ok {
		return nil
	}
	ta, errA := time.Parse(time.RFC3339Nano, a)
	tb, errB := time.Parse(time.RFC3339Nano, b)
	if err := errors.Join(errA, errB); err != nil {
		return err
	}
	if tb.Before(ta) {
		return fmt.Errorf("%s (%s) is before %s (%s)", second, b, first, a)
	}
	return nil
}

// compare names every difference of two records.
func compare(got, want map[string]any) error {
	var errs []error
	for k := range want {
		if !reflect.DeepEqual(got[k], want[k]) {
			errs = append(errs, fmt.Errorf("%s is %v, want %v", k, got[k], want[k]))
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			errs = append(errs, fmt.Errorf("%s (%v) does not belong there", k, got[k]))
		}
	}
	return errors.Join(errs...)
}

func (t *Traffic) checkIndexes(ctx context.Context) (string, error) {
	var errs []error
	for shard := range settings.PendingShards {
		items, err := t.query(ctx, settings.PendingIndex, settings.PendingShardKey, strconv.Itoa(shard), "", "")
		if err != nil {
			return "", err
		}
		for _, it := range items {
			if symbol, _ := plain(it[settings.AlertsPartitionKey]).(string); strings.HasPrefix(symbol, t.feed.prefix()) {
				errs = append(errs, fmt.Errorf("alert %v is in the pending index", plain(it[settings.AlertsSortKey])))
			}
		}
	}
	var want []string
	prices := map[string]bool{} // a silence and a status have none
	days := map[string]bool{}
	for i := range t.alerts {
		prices[t.alerts[i].ID] = t.alerts[i].Price != 0
		want = append(want, t.alerts[i].ID)
		day, _, _ := strings.Cut(ledger.DayShard(t.alerts[i].Time, t.alerts[i].ID), "#")
		days[day] = true
	}
	slices.Sort(want)
	var got []string
	shards := 0
	for day := range days {
		for shard := range settings.DayShards {
			items, err := t.query(ctx, settings.DayIndex, settings.DayShardKey, fmt.Sprintf("%s#%d", day, shard), want[0], want[len(want)-1])
			if err != nil {
				return "", err
			}
			var ids []string
			for _, it := range items {
				p := plainItem(it)
				if symbol, _ := p[settings.AlertsPartitionKey].(string); !strings.HasPrefix(symbol, t.feed.prefix()) {
					continue
				}
				id, _ := p[settings.AlertsSortKey].(string)
				ids = append(ids, id)
				for _, name := range []string{"source", "rule", "severity", "summary", "price", "value", "timestamp"} {
					if p[name] == nil && (name != "price" || prices[id]) {
						errs = append(errs, fmt.Errorf("alert %s lacks %s in the index %s", id, name, settings.DayIndex))
					}
				}
			}
			if !slices.IsSorted(ids) {
				errs = append(errs, fmt.Errorf("shard %d of %s is not in time order: %v", shard, day, ids))
			}
			if len(ids) > 0 {
				shards++
			}
			got = append(got, ids...)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		errs = append(errs, fmt.Errorf("the index %s lists %d alerts, want %d", settings.DayIndex, len(got), len(want)))
	}
	return fmt.Sprintf("%d alerts in %d shards", len(got), shards), errors.Join(errs...)
}

func (t *Traffic) checkNotifications(ctx context.Context) (string, error) {
	want := map[string]*alert.Alert{}
	for i := range t.alerts {
		if t.alerts[i].Notify {
			want[t.alerts[i].ID] = &t.alerts[i]
		}
	}
	seen := map[string]int{}
	var errs []error
	deadline := time.Now().Add(30 * time.Second)
	for {
		batch, err := t.subscriber.next(ctx)
		if err != nil {
			return "", err
		}
		for i := range batch {
			id, err := checkNotification(&batch[i], want)
			seen[id]++
			if err != nil {
				errs = append(errs, err)
			}
		}
		// One empty answer after everything has arrived: a second copy would be there by then.
		if len(batch) == 0 && (len(seen) >= len(want) || time.Now().After(deadline)) {
			break
		}
	}
	for id, a := range want {
		if seen[id] != 1 {
			errs = append(errs, fmt.Errorf("alert %s of rule %s for %s came %d times, want once", id, a.Rule, a.Symbol, seen[id]))
		}
	}
	return fmt.Sprintf("%d notifications with subject, attributes and JSON", len(seen)), errors.Join(errs...)
}

// checkNotification compares what a subscriber got with the alert that it is.
func checkNotification(n *notification, want map[string]*alert.Alert) (id string, err error) {
	var got map[string]any
	if err := json.Unmarshal([]byte(n.Message), &got); err != nil {
		return "", fmt.Errorf("the message is no JSON: %w", err)
	}
	id, _ = got["alert_id"].(string)
	a := want[id]
	if a == nil {
		return id, fmt.Errorf("alert %q came, but is not expected", id)
	}
	record := flat(a)
	for _, name := range []string{"received_at", "stored_at"} {
		if got[name] == nil {
			return id, fmt.Errorf("alert %s: %s is missing", id, name)
		}
		record[name] = got[name]
	}
	attributes := map[string]string{}
	for name, v := range n.MessageAttributes {
		attributes[name] = v.Type + " " + v.Value
	}
	wanted := map[string]string{"symbol": "String " + a.Symbol, "severity": "String " + string(a.Severity), "rule": "String " + a.Rule}
	errs := []error{compare(got, record)}
	if !maps.Equal(attributes, wanted) {
		errs = append(errs, fmt.Errorf("its attributes are %v, want %v", attributes, wanted))
	}
	if n.Subject == "" || len(n.Subject) > 100 || strings.ContainsFunc(n.Subject, func(r rune) bool { return r < ' ' || r > '~' }) {
		errs = append(errs, fmt.Errorf("its subject is %q, want 1 to 100 printable ASCII characters", n.Subject))
	}
	if err := errors.Join(errs...); err != nil {
		return id, fmt.Errorf("alert %s: %w", id, err)
	}
	return id, nil
}

func (t *Traffic) checkRejects(ctx context.Context) (string, error) {
	left := maps.Clone(t.refused)
	var errs []error
	deadline := time.Now().Add(30 * time.Second)
	found := 0
	for {
		messages, err := receive(ctx, t.Stack, t.Stack.RejectsURL, quiet)
		if err != nil {
			return "", err
		}
		for i := range messages {
			m := &messages[i]
			text := func(name string) string { return aws.ToString(m.MessageAttributes[name].StringValue) }
			r := reject{market.Reason(text(queue.AttrReason)), text(queue.AttrOrigin), text(queue.AttrIndex), *m.Body}
			if !strings.HasPrefix(r.origin, t.origin("")) {
				if t.Stack.Emulated {
					errs = append(errs, fmt.Errorf("a refused event of message %q is there that was not sent", r.origin))
				}
				continue // another's: it is back after the visibility timeout
			}
			found++
			if left[r]--; left[r] < 0 {
				errs = append(errs, fmt.Errorf("message %s, event %s: %s was not expected", r.origin, r.index, r.reason))
			}
			errs = append(errs, checkRejectAttributes(text, t.Stack.FIFO()))
			if _, err := t.Stack.SQS.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &t.Stack.RejectsURL, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return "", err
			}
		}
		if len(messages) == 0 && (found >= len(t.refused) || time.Now().After(deadline)) {
			break
		}
	}
	for r, n := range left {
		if n > 0 {
			errs = append(errs, fmt.Errorf("message %s, event %s: %s is missing", r.origin, r.index, r.reason))
		}
	}
	reasons := map[market.Reason]bool{}
	for r := range t.refused {
		reasons[r.reason] = true
	}
	return fmt.Sprintf("%d events, %d reasons", found, len(reasons)), errors.Join(errs...)
}

// checkRejectAttributes checks what helps an operator to explain and to redrive.
func checkRejectAttributes(text func(string) string, fifo bool) error {
	var errs []error
	if _, err := time.Parse(time.RFC3339Nano, text(queue.AttrFirstReceived)); err != nil {
		errs = append(errs, fmt.Errorf("%s of message %s: %w", queue.AttrFirstReceived, text(queue.AttrOrigin), err))
	}
	if n, err := strconv.Atoi(text(queue.AttrReceiveCount)); err != nil || n < 1 {
		errs = append(errs, fmt.Errorf("%s of message %s is %q", queue.AttrReceiveCount, text(queue.AttrOrigin), text(queue.AttrReceiveCount)))
	}
	if (text(queue.AttrGroup) != "") != fifo {
		errs = append(errs, fmt.Errorf("%s of message %s is %q", queue.AttrGroup, text(queue.AttrOrigin), text(queue.AttrGroup)))
	}
	if format := text(queue.AttrFormat); (format != "") != (text(queue.AttrReason) == string(market.UnknownFormat)) {
		errs = append(errs, fmt.Errorf("%s of message %s is %q", queue.AttrFormat, text(queue.AttrOrigin), format))
	}
	return errors.Join(errs...)
}
