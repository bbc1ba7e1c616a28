package endpoint

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/queue"
)

type clients struct {
	*Server
	tables *dynamodb.Client
	topics *sns.Client
	queues *sqs.Client
}

func newClients(t *testing.T) clients {
	server, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	keys := credentials.NewStaticCredentialsProvider("a", "b", "")
	return clients{
		server,
		dynamodb.New(dynamodb.Options{Region: "us-east-1", Credentials: keys, BaseEndpoint: &server.Base}),
		sns.New(sns.Options{Region: "us-east-1", Credentials: keys, BaseEndpoint: &server.Base}),
		sqs.New(sqs.Options{Region: "us-east-1", Credentials: keys, BaseEndpoint: &server.Base}),
	}
}

// The product's own adapters work on it: a state comes back as it was written, alerts are committed, published, settled.
func TestAdaptersOfTheProduct(t *testing.T) {
	c, ctx := newClients(t), context.Background()
	store := ledger.NewDynamoDB(c.tables, ledger.Config{AlertsTable: "alerts", StateTable: "state", StateTTL: time.Hour})
	record := alert.Record{Alert: alert.Alert{ID: "1", Symbol: "A", Rule: "R", Severity: alert.Info, Time: 1, Notify: true}, Status: alert.Pending, Owner: "o", Lease: 5}
	commit := alert.Commit{ID: "c", Series: "A|x", State: &alert.Snapshot{Engine: make([]byte, 3100)}, Alerts: []alert.Record{record}}
	if r, err := store.Commit(ctx, commit); err != nil || r.Conflict || len(r.Existing) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	u := c.Take()
	// In a transaction each unit counts twice: the state of 3 to 4 KB 8, the alert 2; and an entry in each of two indexes.
	if u.StateWriteUnits != 8 || u.AlertWriteUnits != 4 || u.Alerts != 1 || u.Calls["TransactWriteItems"] != 1 || u.Total() != 1 {
		t.Errorf("commit: %+v", u)
	}
	states, bad, err := store.ReadStates(ctx, []string{"A|x", "B|x"})
	if err != nil || len(bad) > 0 || states["A|x"].Version != 1 || len(states["A|x"].Engine) != 3100 || states["B|x"].Version != 0 {
		t.Errorf("%+v, %v, %v", states, bad, err)
	}
	if u = c.Take(); u.ReadUnits != 2 || u.Total() != 1 {
		t.Errorf("read: %+v", u)
	}
	record.Status, record.Owner, record.Lease = alert.Sent, "", 0
	if err := store.Settle(ctx, []alert.Record{record}); err != nil {
		t.Error(err)
	}
	// The mark, and the entry that leaves the pending index.
	if u = c.Take(); u.AlertWriteUnits != 2 || u.Alerts != 0 || u.Calls["BatchWriteItem"] != 1 {
		t.Errorf("settle: %+v", u)
	}
	records := make([]alert.Record, 12)
	for i := range records {
		records[i] = record
	}
	for i, err := range (&notify.SNS{API: c.topics, TopicARN: "arn:aws:sns:us-east-1:123456789012:t"}).Publish(ctx, records) {
		if err != nil {
			t.Errorf("alert %d: %v", i, err)
		}
	}
	if u = c.Take(); u.Notifications != 12 || u.Calls["PublishBatch"] != 2 || u.PublishUnits != 2 {
		t.Errorf("publish: %+v", u)
	}
	sender := &queue.SQS{API: c.queues, RejectsURL: c.Base + "/123456789012/rejects"}
	_ = sender.Reject(ctx, []market.Rejected{{Body: "x", Reason: market.BadSymbol}}) // the answer names no entry
	if u = c.Take(); u.Calls["SendMessageBatch"] == 0 {
		t.Errorf("reject: %+v", u)
	}
}

// The baselines' calls: a plain put and a publish; a table of a contender is its own.
func TestBaselines(t *testing.T) {
	c, ctx := newClients(t), context.Background()
	put := func(table string) {
		t.Helper()
		_, err := c.tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: map[string]types.AttributeValue{
			"symbol": &types.AttributeValueMemberS{Value: "A"}, "alert_id": &types.AttributeValueMemberS{Value: "1"},
			"summary": &types.AttributeValueMemberS{Value: strings.Repeat("x", 2000)}, // 2 KB
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	put("alerts-a")
	put("alerts-b")
	put("alerts-b")
	if u := c.Take(); u.Alerts != 2 || u.AlertWriteUnits != 2+2+2+1 {
		t.Errorf("%+v", u)
	}
	table := "alerts-c"
	key := map[string]types.AttributeValue{"symbol": &types.AttributeValueMemberS{Value: "A"}, "alert_id": &types.AttributeValueMemberS{Value: "1"}}
	pending := maps.Clone(key)
	pending["pending_shard"] = &types.AttributeValueMemberS{Value: "0"}
	if _, err := c.tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: pending}); err != nil {
		t.Error(err)
	}
	if _, err := c.tables.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: &table, Key: key, UpdateExpression: aws.String("REMOVE pending_shard")}); err != nil {
		t.Error(err)
	}
	// Two writes, and an entry that comes into the index and leaves it.
	if u := c.Take(); u.Alerts != 1 || u.AlertWriteUnits != 4 {
		t.Errorf("%+v", u)
	}
	if _, err := c.topics.Publish(ctx, &sns.PublishInput{TopicArn: aws.String("arn:aws:sns:us-east-1:123456789012:t"), Message: aws.String(strings.Repeat("x", 70_000))}); err != nil {
		t.Error(err)
	}
	if u := c.Take(); u.Notifications != 1 || u.PublishUnits != 2 {
		t.Errorf("%+v", u)
	}
}

// Sizes of https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html.
func TestItemBytes(t *testing.T) {
	for _, c := range []struct {
		name string
		item item
		want int
	}{
		{"text", item{"ab": {"S": []byte(`"xyz"`)}}, 5},
		{"number, a byte per two digits and one", item{"a": {"N": []byte(`"1234"`)}}, 1 + 3},
		{"binary", item{"a": {"B": []byte(`"AAECAw=="`)}}, 1 + 4},
		{"map", item{"m": {"M": []byte(`{"k":{"S":"v"}}`)}}, 1 + 3 + 1 + 2},
		{"truth", item{"a": {"BOOL": []byte(`true`)}}, 2},
	} {
		if got := c.item.bytes(); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestLatencyAndReset(t *testing.T) {
	c, ctx := newClients(t), context.Background()
	c.Reset(Latency{DynamoDB: 3 * time.Millisecond})
	start := time.Now()
	store := ledger.NewDynamoDB(c.tables, ledger.Config{AlertsTable: "alerts", StateTable: "state"})
	if _, err := store.Commit(ctx, alert.Commit{ID: "c", Series: "A|", State: &alert.Snapshot{}}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < 3*time.Millisecond {
		t.Errorf("it answered after %s", took)
	}
	c.Reset(Latency{})
	states, _, err := store.ReadStates(ctx, []string{"A|"})
	if err != nil || states["A|"].Version != 0 {
		t.Errorf("the state is not forgotten: %+v, %v", states, err)
	}
}
