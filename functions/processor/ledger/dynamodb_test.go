package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

const alertsTable, stateTable = "market-alerts-test", "market-state-test"

// tables is the simulated DynamoDB with a fault for every call.
type tables struct {
	*simulate.DynamoDB
	// twice makes a write happen twice, as an SDK does that retries after a lost response.
	twice bool
	// get, write and transact, where not nil, answer instead of the next calls, until they return handled false.
	get      func(*dynamodb.BatchGetItemInput) (*dynamodb.BatchGetItemOutput, error, bool)
	write    func(*dynamodb.BatchWriteItemInput) (*dynamodb.BatchWriteItemOutput, error, bool)
	transact func(*dynamodb.TransactWriteItemsInput) (error, bool)
	// limit, where not 0, is the length of a query's page; pages counts them. queryErr, where not nil, is a query's answer.
	limit    int32
	pages    int
	queryErr error
}

func (f *tables) Query(ctx context.Context, in *dynamodb.QueryInput, o ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	f.pages++
	if f.queryErr != nil {
		return nil, f.queryErr
	}
	short := *in
	if f.limit > 0 {
		short.Limit = &f.limit
	}
	return f.DynamoDB.Query(ctx, &short, o...)
}

func (f *tables) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, o ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	if f.get != nil {
		if out, err, handled := f.get(in); handled {
			return out, err
		}
	}
	for _, keys := range in.RequestItems {
		if !aws.ToBool(keys.ConsistentRead) {
			return nil, errors.New("an eventually consistent read")
		}
	}
	return f.DynamoDB.BatchGetItem(ctx, in, o...)
}

func (f *tables) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, o ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	if f.write != nil {
		if out, err, handled := f.write(in); handled {
			return out, err
		}
	}
	return f.DynamoDB.BatchWriteItem(ctx, in, o...)
}

func (f *tables) PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	if f.twice {
		_, _ = f.DynamoDB.PutItem(ctx, in, o...)
	}
	return f.DynamoDB.PutItem(ctx, in, o...)
}

func (f *tables) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, o ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	if f.twice {
		_, _ = f.DynamoDB.UpdateItem(ctx, in, o...)
	}
	return f.DynamoDB.UpdateItem(ctx, in, o...)
}

func (f *tables) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, o ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	if f.transact != nil {
		if err, handled := f.transact(in); handled {
			return nil, err
		}
	}
	if f.twice {
		// Without the token, which protects for ten minutes only.
		first := *in
		first.ClientRequestToken = nil
		_, _ = f.DynamoDB.TransactWriteItems(ctx, &first, o...)
		second := *in
		second.ClientRequestToken = nil
		in = &second
	}
	return f.DynamoDB.TransactWriteItems(ctx, in, o...)
}

func newTables(t *testing.T, c *clock) *tables {
	t.Helper()
	db := simulate.NewDynamoDB(c.Now)
	for _, table := range simulate.Tables(alertsTable, stateTable) {
		if err := db.CreateTable(table); err != nil {
			t.Fatal(err)
		}
	}
	return &tables{DynamoDB: db}
}

func newLedger(f *tables, c *clock) *ledger.DynamoDB {
	return ledger.NewDynamoDB(f, ledger.Config{
		AlertsTable: alertsTable, StateTable: stateTable, AlertTTL: 24 * time.Hour, StateTTL: 48 * time.Hour, Now: c.Now,
		Sleep:  func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		Jitter: func(time.Duration) time.Duration { return 0 },
	})
}

func TestDynamoDB(t *testing.T) {
	suite(t, func(t *testing.T, c *clock) store { return newLedger(newTables(t, c), c) })
}

// TestDynamoDBEveryWriteTwice: an SDK retries a write whose response was lost. The ledger must take its own write for
// its own, not for another's.
func TestDynamoDBEveryWriteTwice(t *testing.T) {
	suite(t, func(t *testing.T, c *clock) store {
		f := newTables(t, c)
		f.twice = true
		return newLedger(f, c)
	})
}

func query(t *testing.T, f *tables, index, partition, value string) []map[string]types.AttributeValue {
	t.Helper()
	out, err := f.Query(context.Background(), &dynamodb.QueryInput{
		TableName: aws.String(alertsTable), IndexName: &index, KeyConditionExpression: aws.String(partition + " = :p"),
		ExpressionAttributeValues: map[string]types.AttributeValue{":p": &types.AttributeValueMemberS{Value: value}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.Items
}

func TestIndexes(t *testing.T) {
	ctx, c := context.Background(), newClock()
	f := newTables(t, c)
	l := newLedger(f, c)
	const n = 40
	var records []alert.Record
	for i := range n {
		r := record(n-i, "o", 7)
		r.Symbol = fmt.Sprint("S", i%3)
		records = append(records, r)
	}
	if _, err := l.Commit(ctx, alert.Commit{ID: "c", Series: "s", Alerts: records}); err != nil {
		t.Fatal(err)
	}
	pending := func() (found int) {
		for i := range settings.PendingShards {
			found += len(query(t, f, settings.PendingIndex, settings.PendingShardKey, fmt.Sprint(i)))
		}
		return found
	}
	if got := pending(); got != n {
		t.Errorf("%d alerts in the pending index, want %d", got, n)
	}
	for i := range records {
		records[i].Status = alert.Sent
	}
	if err := l.Settle(ctx, records); err != nil {
		t.Fatal(err)
	}
	if got := pending(); got != 0 {
		t.Errorf("%d alerts in the pending index after all were sent", got)
	}
	found, shards := 0, 0
	for i := range settings.DayShards {
		items := query(t, f, settings.DayIndex, settings.DayShardKey, fmt.Sprintf("2026-11-20#%d", i))
		found += len(items)
		if len(items) > 0 {
			shards++
		}
		last := ""
		for _, it := range items {
			id := it[settings.AlertsSortKey].(*types.AttributeValueMemberS).Value
			if id < last {
				t.Errorf("shard %d: %s after %s", i, id, last)
			}
			last = id
		}
	}
	if found != n || shards < 4 {
		t.Errorf("the day's index has %d alerts in %d shards, want %d spread over more", found, shards, n)
	}
}

func TestExpiry(t *testing.T) {
	ctx, c := context.Background(), newClock()
	f := newTables(t, c)
	l := newLedger(f, c)
	if _, err := l.Commit(ctx, alert.Commit{ID: "c", Series: "s", State: snapshot(0, ""), Alerts: []alert.Record{record(1, "o", 1)}}); err != nil {
		t.Fatal(err)
	}
	stored := time.UnixMilli(record(1, "o", 1).Stored)
	for _, step := range []struct {
		at   time.Time
		gone int
	}{{c.now.Add(48*time.Hour + time.Second), 1}, {stored.Add(24*time.Hour + time.Second), 1}} {
		c.now = step.at
		if gone := f.Sweep(); gone != step.gone {
			t.Errorf("%d items expired at %s, want %d", gone, step.at, step.gone)
		}
	}
}

// TestStaleStates: a series that is alive but changes nothing must not expire.
func TestStaleStates(t *testing.T) {
	ctx, c := context.Background(), newClock()
	l := newLedger(newTables(t, c), c)
	if _, err := l.Commit(ctx, alert.Commit{ID: "c", Series: "s", State: snapshot(0, "")}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		after time.Duration
		stale bool
	}{{0, false}, {24 * time.Hour, false}, {time.Second, true}} {
		c.now = c.now.Add(step.after)
		states, _, err := l.ReadStates(ctx, []string{"s", "never"})
		if err != nil || states["s"].Stale != step.stale || states["never"].Stale {
			t.Errorf("at %s: %+v, %v, want stale %v", c.now, states, err, step.stale)
		}
	}
}

func TestUnprocessedIsAskedForAgain(t *testing.T) {
	ctx, c := context.Background(), newClock()
	f := newTables(t, c)
	l := newLedger(f, c)
	if _, err := l.Commit(ctx, alert.Commit{ID: "c", Series: "s", State: snapshot(0, "x")}); err != nil {
		t.Fatal(err)
	}
	calls := 0
	f.get = func(in *dynamodb.BatchGetItemInput) (*dynamodb.BatchGetItemOutput, error, bool) {
		calls++
		return &dynamodb.BatchGetItemOutput{UnprocessedKeys: in.RequestItems}, nil, calls < 4
	}
	states, _, err := l.ReadStates(ctx, []string{"s", "t"})
	if err != nil || string(states["s"].Engine) != "x" || len(states) != 2 || calls != 4 {
		t.Errorf("%v, %v after %d calls", states, err, calls)
	}
	calls = -1000
	states, _, err = l.ReadStates(ctx, []string{"s", "t"})
	if err == nil || len(states) != 0 {
		t.Errorf("never processed: %v, %v", states, err)
	}

	calls = 0
	f.write = func(in *dynamodb.BatchWriteItemInput) (*dynamodb.BatchWriteItemOutput, error, bool) {
		calls++
		return &dynamodb.BatchWriteItemOutput{UnprocessedItems: in.RequestItems}, nil, calls < 3
	}
	sent := record(1, "o", 1)
	sent.Status = alert.Sent
	if err := l.Settle(ctx, []alert.Record{sent}); err != nil {
		t.Error(err)
	}
	f.get = nil
	if m, err := l.Records(ctx, []alert.Key{sent.Key()}); err != nil || m[sent.Key()].Status != alert.Sent {
		t.Errorf("%v, %v", m, err)
	}
	calls = -1000
	if err := l.Settle(ctx, []alert.Record{sent}); err == nil {
		t.Error("settled though nothing was processed")
	}
}

func TestPartOfAReadFails(t *testing.T) {
	c := newClock()
	f := newTables(t, c)
	calls := 0
	f.get = func(*dynamodb.BatchGetItemInput) (*dynamodb.BatchGetItemOutput, error, bool) {
		calls++
		return nil, &types.InternalServerError{}, calls == 2
	}
	var names []string
	for i := range 250 {
		names = append(names, fmt.Sprint(i))
	}
	states, _, err := newLedger(f, c).ReadStates(context.Background(), names)
	if err == nil || len(states) != 150 {
		t.Errorf("%d states, %v: want the 150 of the calls that succeeded, and an error", len(states), err)
	}
	if _, ok := states["120"]; ok {
		t.Error("a state that was not read has an answer")
	}
}

func TestTransactionsInEachOthersWay(t *testing.T) {
	for code, again := range map[string]bool{"TransactionConflict": true, "ThrottlingError": true, "ProvisionedThroughputExceeded": true, "ValidationError": false} {
		c := newClock()
		f := newTables(t, c)
		calls := 0
		f.transact = func(*dynamodb.TransactWriteItemsInput) (error, bool) {
			calls++
			none := types.CancellationReason{Code: aws.String("None")}
			return &types.TransactionCanceledException{CancellationReasons: []types.CancellationReason{none, {Code: aws.String(code)}}}, calls < 3
		}
		_, err := newLedger(f, c).Commit(context.Background(), alert.Commit{ID: "c", Series: "s", State: snapshot(0, ""), Alerts: []alert.Record{record(1, "o", 1)}})
		if again && (err != nil || calls != 3) {
			t.Errorf("%s: %v after %d calls", code, err, calls)
		}
		if !again && (err == nil || calls != 1) {
			t.Errorf("%s: %v after %d calls, want one and its error", code, err, calls)
		}
	}
}

func TestErrorsNameTheirPlaceAndNotTheSeries(t *testing.T) {
	c := newClock()
	f := newTables(t, c)
	f.transact = func(*dynamodb.TransactWriteItemsInput) (error, bool) {
		return &types.ProvisionedThroughputExceededException{}, true
	}
	_, err := newLedger(f, c).Commit(context.Background(), alert.Commit{ID: "c", Series: "AAPL|x", State: snapshot(0, ""), Alerts: []alert.Record{record(1, "o", 1)}})
	var throttled *types.ProvisionedThroughputExceededException
	if !errors.As(err, &throttled) || !strings.Contains(err.Error(), "committing") || strings.Contains(err.Error(), "AAPL") {
		t.Errorf("error %v", err)
	}
}

func TestAStateThatCannotBeReadFailsAlone(t *testing.T) {
	ctx, c := context.Background(), newClock()
	f := newTables(t, c)
	for series, data := range map[string][]byte{"newer": {9}, "corrupt": {1, 200}, "empty": {}, "zero": {0, 1, 1, 1}} {
		_, err := f.DynamoDB.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(stateTable), Item: map[string]types.AttributeValue{
			"series": &types.AttributeValueMemberS{Value: series}, "version": &types.AttributeValueMemberN{Value: "1"}, "data": &types.AttributeValueMemberB{Value: data},
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	states, bad, err := newLedger(f, c).ReadStates(ctx, []string{"newer", "corrupt", "empty", "zero", "fine"})
	if err != nil || len(states) != 1 || len(bad) != 4 {
		t.Fatalf("states %v, bad %v, %v", states, bad, err)
	}
	for series, e := range bad {
		if errors.Is(e, alert.ErrNewer) != (series == "newer") {
			t.Errorf("%s: %v", series, e)
		}
	}
}

// TestIndexPages reads indexes in pages of two, and keeps unchanged series out of the index's writes.
func TestIndexPages(t *testing.T) {
	ctx, c := context.Background(), newClock()
	f := newTables(t, c)
	f.limit = 2
	l := newLedger(f, c)
	const n = 50
	var records []alert.Record
	for i := range n {
		s := snapshot(0, "")
		s.Due.At = c.now.UnixMilli() - int64(i)
		if _, err := l.Commit(ctx, alert.Commit{ID: fmt.Sprint(i), Series: fmt.Sprint("S", i, "|"), State: s}); err != nil {
			t.Fatal(err)
		}
		records = append(records, record(i, "o", 1))
	}
	if _, err := l.Commit(ctx, alert.Commit{ID: "c", Series: "s", Alerts: records}); err != nil {
		t.Fatal(err)
	}
	series, alerts := map[string]bool{}, map[alert.Key]bool{}
	for d, err := range l.DueSeries(ctx, c.now) {
		if err != nil || series[d.Series] {
			t.Fatalf("%s again, or %v", d.Series, err)
		}
		series[d.Series] = true
	}
	pages := f.pages
	for k, err := range l.ExpiredAlerts(ctx, c.now) {
		if err != nil || alerts[k] {
			t.Fatalf("%v again, or %v", k, err)
		}
		alerts[k] = true
	}
	if len(series) != n || len(alerts) != n || pages < n/2 {
		t.Errorf("%d series in %d pages and %d alerts, want %d each", len(series), pages, len(alerts), n)
	}
	f.pages = 0
	for range l.DueSeries(ctx, c.now) {
		break
	}
	if f.pages > 3 {
		t.Errorf("%d pages read for one series", f.pages)
	}
	var last error
	f.limit = 0
	f.queryErr = errors.New("throttled")
	for _, last = range l.DueSeries(ctx, c.now) {
	}
	if !errors.Is(last, f.queryErr) || !strings.Contains(last.Error(), settings.DueIndex) {
		t.Errorf("error is %v", last)
	}
}

// TestOneUnreadableAlertDoesNotHideTheOthers: what another hand wrote must not stop the sweep.
func TestOneUnreadableAlertDoesNotHideTheOthers(t *testing.T) {
	ctx, c := context.Background(), newClock()
	f := newTables(t, c)
	l := newLedger(f, c)
	good := record(1, "o", 1)
	if _, err := l.Commit(ctx, alert.Commit{ID: "c", Series: "s", Alerts: []alert.Record{good}}); err != nil {
		t.Fatal(err)
	}
	bad := alert.Key{Symbol: good.Symbol, ID: "bad"}
	if _, err := f.DynamoDB.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(alertsTable), Item: map[string]types.AttributeValue{
		"symbol": &types.AttributeValueMemberS{Value: bad.Symbol}, "alert_id": &types.AttributeValueMemberS{Value: bad.ID},
	}}); err != nil {
		t.Fatal(err)
	}
	records, err := l.Records(ctx, []alert.Key{bad, good.Key()})
	if err == nil || !strings.Contains(err.Error(), "bad") || len(records) != 1 || records[good.Key()].ID != good.ID {
		t.Errorf("records %v, error %v", records, err)
	}
}
