package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// DynamoDBAPI is what the ledger calls of the DynamoDB client.
type DynamoDBAPI interface {
	BatchGetItem(context.Context, *dynamodb.BatchGetItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error)
	BatchWriteItem(context.Context, *dynamodb.BatchWriteItemInput, ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	Query(context.Context, *dynamodb.QueryInput, ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error)
	TransactWriteItems(context.Context, *dynamodb.TransactWriteItemsInput, ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
}

// Config says where and how the ledger is kept. Zero durations keep for ever.
type Config struct {
	AlertsTable string
	StateTable  string
	AlertTTL    time.Duration
	StateTTL    time.Duration
	Now         func() time.Time // nil = time.Now
	// Sleep waits, or returns early with the context's error. nil = a timer.
	Sleep func(context.Context, time.Duration) error
	// Jitter is a random duration in [0, max). nil = math/rand.
	Jitter func(max time.Duration) time.Duration
}

func (c *Config) setDefaults() {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if c.Jitter == nil {
		c.Jitter = func(max time.Duration) time.Duration { return rand.N(max) }
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// DynamoDB keeps the ledger in two tables. Its methods are safe for concurrent use.
type DynamoDB struct {
	api DynamoDBAPI
	cfg Config
}

// NewDynamoDB returns the ledger over the tables that cfg names.
func NewDynamoDB(api DynamoDBAPI, cfg Config) *DynamoDB {
	cfg.setDefaults()
	return &DynamoDB{api: api, cfg: cfg}
}

// DynamoDB's limits per call, and how often throttled remainders and transactions in each other's way are tried again
// before the caller is told.
const (
	maxGet       = 100
	maxWrite     = 25
	maxAttempts  = 8
	firstBackoff = 25 * time.Millisecond
)

// pause waits with full jitter before attempt n (from 1) is repeated.
func (d *DynamoDB) pause(ctx context.Context, n int) error {
	return d.cfg.Sleep(ctx, d.cfg.Jitter(firstBackoff<<min(n, 6)))
}

// ReadStates reads the states of the series, strongly consistent, 100 at a time. A series that was never written has
// the zero Snapshot. A series that could not be read is absent from the map, and the error says why; one whose
// snapshot cannot be used has its own error in bad.
func (d *DynamoDB) ReadStates(ctx context.Context, series []string) (states map[string]alert.Snapshot, bad map[string]error, err error) {
	keys := make([]item, len(series))
	for i, s := range series {
		keys[i] = item{settings.StatePartitionKey: str(s)}
	}
	states = make(map[string]alert.Snapshot, len(series))
	bad = map[string]error{}
	var errs []error
	for chunk := range slices.Chunk(keys, maxGet) {
		items, unread, err := d.get(ctx, d.cfg.StateTable, chunk)
		if err != nil {
			errs = append(errs, err)
		}
		if err != nil && unread == nil {
			continue
		}
		for _, k := range chunk {
			states[text(k, settings.StatePartitionKey)] = alert.Snapshot{}
		}
		for _, k := range unread {
			delete(states, text(k, settings.StatePartitionKey))
		}
		for _, it := range items {
			name := text(it, settings.StatePartitionKey)
			s, err := d.parseState(it)
			if err != nil {
				bad[name] = fmt.Errorf("ledger: the state in the state table: %w", err)
				delete(states, name)
				continue
			}
			states[name] = s
		}
	}
	return states, bad, errors.Join(errs...)
}

// Records reads stored alerts, strongly consistent, 100 at a time. An alert that is not stored is absent from the map.
// On an error the map is not complete.
func (d *DynamoDB) Records(ctx context.Context, keys []alert.Key) (map[alert.Key]alert.Record, error) {
	ks := make([]item, len(keys))
	for i, k := range keys {
		ks[i] = alertKey(k)
	}
	out := make(map[alert.Key]alert.Record, len(keys))
	var unreadable []error
	for chunk := range slices.Chunk(ks, maxGet) {
		items, _, err := d.get(ctx, d.cfg.AlertsTable, chunk)
		if err != nil {
			return out, err
		}
		for _, it := range items {
			r, err := parseRecord(it)
			if err != nil {
				unreadable = append(unreadable, fmt.Errorf("ledger: alert %s in the alerts table: %w", text(it, settings.AlertsSortKey), err))
				continue
			}
			out[r.Key()] = r
		}
	}
	return out, errors.Join(unreadable...)
}

// role names a table in errors, where a value of the environment has no place.
func (d *DynamoDB) role(table string) string {
	if table == d.cfg.StateTable {
		return "the state table"
	}
	return "the alerts table"
}

// get reads up to 100 items. With an error, unread holds the keys that have no answer; nil means none has one.
func (d *DynamoDB) get(ctx context.Context, table string, keys []item) (items, unread []item, err error) {
	want := keys
	for n := 1; ; n++ {
		out, err := d.api.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
			table: {Keys: want, ConsistentRead: aws.Bool(true)},
		}})
		if err != nil {
			if n == 1 {
				return nil, nil, fmt.Errorf("ledger: reading %d items of %s: %w", len(want), d.role(table), err)
			}
			return items, want, fmt.Errorf("ledger: reading %d items of %s: %w", len(want), d.role(table), err)
		}
		items = append(items, out.Responses[table]...)
		want = out.UnprocessedKeys[table].Keys
		if len(want) == 0 {
			return items, nil, nil
		}
		if n == maxAttempts {
			return items, want, fmt.Errorf("ledger: %d items of %s were still unprocessed after %d attempts", len(want), d.role(table), n)
		}
		if err := d.pause(ctx, n); err != nil {
			return items, want, fmt.Errorf("ledger: reading %d unprocessed items of %s: %w", len(want), d.role(table), err)
		}
	}
}

// Commit writes c atomically; see alert.Commit. An error means that nothing is known: the commit may or may not have
// been applied, and a later read tells.
func (d *DynamoDB) Commit(ctx context.Context, c alert.Commit) (alert.CommitResult, error) {
	if err := checkCommit(&c); err != nil {
		return alert.CommitResult{}, err
	}
	if len(c.Alerts) == 0 {
		return d.put(ctx, &c)
	}
	return d.transact(ctx, &c)
}

// stateItem is the item of the new state, and the condition under which it may be written.
func (d *DynamoDB) stateItem(c *alert.Commit) (it item, condition string, values item) {
	it = item{
		settings.StatePartitionKey: str(c.Series),
		attrVersion:                num(c.State.Version + 1),
		attrCommit:                 str(c.ID),
		attrData:                   &types.AttributeValueMemberB{Value: alert.AppendSnapshot(nil, c.State)},
	}
	setDue(it, c.Series, c.State)
	if d.cfg.StateTTL > 0 {
		it[settings.StateTTL] = num(d.cfg.Now().Add(d.cfg.StateTTL).Unix())
	}
	if c.State.Version == 0 {
		return it, "attribute_not_exists(" + settings.StatePartitionKey + ")", nil
	}
	return it, attrVersion + " = :read", item{":read": num(c.State.Version)}
}

func (d *DynamoDB) put(ctx context.Context, c *alert.Commit) (alert.CommitResult, error) {
	if c.State == nil {
		return alert.CommitResult{}, nil
	}
	it, condition, values := d.stateItem(c)
	_, err := d.api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: &d.cfg.StateTable, Item: it, ConditionExpression: &condition, ExpressionAttributeValues: values,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	var failed *types.ConditionalCheckFailedException
	if errors.As(err, &failed) {
		return alert.CommitResult{Conflict: text(failed.Item, attrCommit) != c.ID}, nil
	}
	if err != nil {
		return alert.CommitResult{}, fmt.Errorf("ledger: writing the state: %w", err)
	}
	return alert.CommitResult{}, nil
}

// transact writes state and alerts in one transaction. When only alerts fail, because they are stored already, they are
// dropped and the rest is committed.
func (d *DynamoDB) transact(ctx context.Context, c *alert.Commit) (alert.CommitResult, error) {
	var result alert.CommitResult
	alerts := slices.Clone(c.Alerts)
	for n := 1; ; n++ {
		if len(alerts) == 0 {
			r, err := d.put(ctx, c)
			result.Conflict = r.Conflict
			return result, err
		}
		in := d.transaction(c, alerts)
		_, err := d.api.TransactWriteItems(ctx, in)
		if err == nil {
			return result, nil
		}
		fail := func(err error) (alert.CommitResult, error) {
			return alert.CommitResult{}, fmt.Errorf("ledger: committing the state with %d alerts: %w", len(alerts), err)
		}
		var canceled *types.TransactionCanceledException
		if !errors.As(err, &canceled) {
			return fail(err)
		}
		verdict, judgeErr := judge(c, alerts, canceled.CancellationReasons)
		switch {
		case judgeErr != nil:
			return fail(errors.Join(judgeErr, err))
		case verdict.committed:
			return result, nil
		case verdict.conflict:
			return alert.CommitResult{Conflict: true}, nil
		case len(verdict.existing) > 0:
			result.Existing = append(result.Existing, verdict.existing...)
			alerts = verdict.left
		case !verdict.retry || n >= maxAttempts:
			return fail(err)
		default:
			if pauseErr := d.pause(ctx, n); pauseErr != nil {
				return fail(errors.Join(pauseErr, err))
			}
		}
	}
}

func (d *DynamoDB) transaction(c *alert.Commit, alerts []alert.Record) *dynamodb.TransactWriteItemsInput {
	// The SDK gives each call a token, with which its own retries are recognised; the commit's id serves beyond them.
	in := &dynamodb.TransactWriteItemsInput{}
	add := func(p *types.Put) {
		p.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
		in.TransactItems = append(in.TransactItems, types.TransactWriteItem{Put: p})
	}
	if c.State != nil {
		it, condition, values := d.stateItem(c)
		add(&types.Put{TableName: &d.cfg.StateTable, Item: it, ConditionExpression: &condition, ExpressionAttributeValues: values})
	}
	for i := range alerts {
		add(&types.Put{
			TableName: &d.cfg.AlertsTable, Item: d.recordItem(&alerts[i], c.ID),
			ConditionExpression: aws.String("attribute_not_exists(" + settings.AlertsSortKey + ")"),
		})
	}
	return in
}

type verdict struct {
	committed bool // the transaction is our own, written before: its response was lost
	conflict  bool
	retry     bool
	existing  []alert.Record
	left      []alert.Record // the alerts that are not stored yet
}

// judge reads the reasons why a transaction was cancelled, item by item: the state's first, then the alerts'.
func judge(c *alert.Commit, alerts []alert.Record, reasons []types.CancellationReason) (verdict, error) {
	var v verdict
	offset := 0
	if c.State != nil {
		offset = 1
	}
	if len(reasons) != offset+len(alerts) {
		return v, fmt.Errorf("%d cancellation reasons for %d actions", len(reasons), offset+len(alerts))
	}
	const failed = "ConditionalCheckFailed"
	if c.State != nil && aws.ToString(reasons[0].Code) == failed {
		v.committed = text(reasons[0].Item, attrCommit) == c.ID
		v.conflict = !v.committed
		return v, nil
	}
	own := 0
	for i := range alerts {
		r := &reasons[offset+i]
		if aws.ToString(r.Code) != failed {
			v.left = append(v.left, alerts[i])
			continue
		}
		if text(r.Item, attrCommit) == c.ID {
			own++
			continue
		}
		stored, err := parseRecord(r.Item)
		if err != nil {
			return v, fmt.Errorf("stored alert %s: %w", alerts[i].ID, err)
		}
		v.existing = append(v.existing, stored)
	}
	// Only a commit without a state can meet its own alerts here: with one, its state meets it first.
	v.committed = own > 0
	for i := range reasons {
		switch aws.ToString(reasons[i].Code) {
		case "TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded":
			v.retry = true
		}
	}
	return v, nil
}

// Claim takes over a pending alert whose lease is over: it becomes owner's until lease (milliseconds since 1970 UTC).
// The record returned is the stored one after the claim or, where claimed is false, the one that prevents it; its zero
// value means that the alert is not stored.
func (d *DynamoDB) Claim(ctx context.Context, key alert.Key, owner string, lease int64) (r alert.Record, claimed bool, err error) {
	out, err := d.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &d.cfg.AlertsTable, Key: alertKey(key),
		UpdateExpression:         aws.String("SET #owner = :owner, " + settings.PendingLeaseKey + " = :lease"),
		ConditionExpression:      aws.String("#status = :pending AND (" + settings.PendingLeaseKey + " < :now OR #owner = :owner)"),
		ExpressionAttributeNames: map[string]string{"#owner": attrOwner, "#status": attrStatus},
		ExpressionAttributeValues: item{
			":owner": str(owner), ":lease": num(lease), ":now": num(d.cfg.Now().UnixMilli()), ":pending": str(string(alert.Pending)),
		},
		ReturnValues:                        types.ReturnValueAllNew,
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	var failed *types.ConditionalCheckFailedException
	var stored item
	switch {
	case errors.As(err, &failed):
		if len(failed.Item) == 0 {
			return alert.Record{}, false, nil
		}
		stored = failed.Item
	case err != nil:
		return alert.Record{}, false, fmt.Errorf("ledger: claiming alert %s: %w", key.ID, err)
	default:
		stored, claimed = out.Attributes, true
	}
	if r, err = parseRecord(stored); err != nil {
		return alert.Record{}, false, fmt.Errorf("ledger: claiming alert %s: %w", key.ID, err)
	}
	return r, claimed, nil
}

// Release ends owner's lease on a pending alert at once, so that the next delivery can publish it. It is no error when
// the alert is no longer owner's.
func (d *DynamoDB) Release(ctx context.Context, key alert.Key, owner string) error {
	_, err := d.api.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: &d.cfg.AlertsTable, Key: alertKey(key),
		UpdateExpression:          aws.String("SET " + settings.PendingLeaseKey + " = :over"),
		ConditionExpression:       aws.String("#status = :pending AND #owner = :owner"),
		ExpressionAttributeNames:  map[string]string{"#owner": attrOwner, "#status": attrStatus},
		ExpressionAttributeValues: item{":over": num(0), ":owner": str(owner), ":pending": str(string(alert.Pending))},
	})
	var failed *types.ConditionalCheckFailedException
	if err != nil && !errors.As(err, &failed) {
		return fmt.Errorf("ledger: releasing alert %s: %w", key.ID, err)
	}
	return nil
}

// Settle records alerts as Sent or Failed, 25 at a time. That an alert was published is a fact whoever owns it by now,
// so the write needs no condition. On an error some may not be recorded; recording one again is harmless.
func (d *DynamoDB) Settle(ctx context.Context, records []alert.Record) error {
	requests := make([]types.WriteRequest, len(records))
	for i := range records {
		requests[i] = types.WriteRequest{PutRequest: &types.PutRequest{Item: d.recordItem(&records[i], "")}}
	}
	var errs []error
	for chunk := range slices.Chunk(requests, maxWrite) {
		if err := d.write(ctx, chunk); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (d *DynamoDB) write(ctx context.Context, requests []types.WriteRequest) error {
	for n := 1; ; n++ {
		out, err := d.api.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
			RequestItems: map[string][]types.WriteRequest{d.cfg.AlertsTable: requests},
		})
		if err != nil {
			return fmt.Errorf("ledger: settling %d alerts: %w", len(requests), err)
		}
		if requests = out.UnprocessedItems[d.cfg.AlertsTable]; len(requests) == 0 {
			return nil
		}
		if n == maxAttempts {
			return fmt.Errorf("ledger: settling alerts: %d were still unprocessed after %d attempts", len(requests), n)
		}
		if err := d.pause(ctx, n); err != nil {
			return fmt.Errorf("ledger: settling %d unprocessed alerts: %w", len(requests), err)
		}
	}
}
