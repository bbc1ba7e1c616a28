package ingest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

const faultRules = levelRule + `
  - alert: Dark
    expr: size >= 50
    notify: false
  - alert: Wide
    on: quote
    expr: spread_bps > 20
    reset: spread_bps < 10
  - alert: Minute
    on: bar
    interval: 1m
    from: trades
    expr: volume > 0
    cooldown: 0s
  - alert: Held
    expr: price > 95
    for: 2s
    cooldown: 0s
  - alert: Quiet
    on: silence
    after: 10s
`

// cloud is the deployed pipeline over simulated services: the real adapters and the real handler, with faults at the
// clients' calls.
type cloud struct {
	now    time.Time
	random *rand.Rand
	faults int // left to inject
	chance float64
	made   int // injected

	// overlaps is how often the batch at hand is still to be delivered a second time, to another process, in the middle
	// of a call: what happens when a visibility timeout ends, or a frozen environment thaws.
	overlaps int
	payload  []byte
	depth    int
	invoke   func(context.Context, []byte) ([]byte, error)

	db      *simulate.DynamoDB
	sns     *simulate.SNS
	sqs     *simulate.SQS
	topic   string
	market  string
	dead    string
	rejects string
	mapping simulate.Mapping
	handler *ingest.Handler
	ledger  *ledger.DynamoDB
	ticked  time.Time // the last tick
	clocks  int       // messages of clock events
}

var errNetwork = errors.New("the connection was closed")

type crash struct{}

// call runs one AWS call under the next fault: none, before the effect, after the effect, or the end of the process at
// either place.
func call[T any](c *cloud, f func() (T, error)) (T, error) {
	var zero T
	c.now = c.now.Add(3 * time.Millisecond)
	if c.overlaps > 0 && c.depth == 1 && c.random.Float64() < c.chance {
		c.overlaps--
		_, _ = c.invoke(context.Background(), c.payload)
	}
	if c.faults == 0 || c.random.Float64() >= c.chance {
		return f()
	}
	c.faults--
	c.made++
	switch c.random.IntN(4) {
	case 0:
		return zero, errNetwork
	case 1:
		_, _ = f()
		return zero, errNetwork
	case 2:
		panic(crash{})
	default:
		_, _ = f()
		panic(crash{})
	}
}

func (c *cloud) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	return call(c, func() (*dynamodb.BatchGetItemOutput, error) { return c.db.BatchGetItem(ctx, in) })
}

func (c *cloud) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	return call(c, func() (*dynamodb.BatchWriteItemOutput, error) { return c.db.BatchWriteItem(ctx, in) })
}

func (c *cloud) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return call(c, func() (*dynamodb.PutItemOutput, error) { return c.db.PutItem(ctx, in) })
}

func (c *cloud) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return call(c, func() (*dynamodb.UpdateItemOutput, error) { return c.db.UpdateItem(ctx, in) })
}

func (c *cloud) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	return call(c, func() (*dynamodb.TransactWriteItemsOutput, error) { return c.db.TransactWriteItems(ctx, in) })
}

func (c *cloud) Query(ctx context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	return call(c, func() (*dynamodb.QueryOutput, error) { return c.db.Query(ctx, in) })
}

func (c *cloud) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	if *in.QueueUrl == c.market {
		c.clocks += len(in.Entries)
	}
	return call(c, func() (*sqs.SendMessageBatchOutput, error) { return c.sqs.SendMessageBatch(ctx, in) })
}

func (c *cloud) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	return call(c, func() (*sqs.ChangeMessageVisibilityBatchOutput, error) {
		return c.sqs.ChangeMessageVisibilityBatch(ctx, in)
	})
}

func (c *cloud) PublishBatch(ctx context.Context, in *sns.PublishBatchInput, _ ...func(*sns.Options)) (*sns.PublishBatchOutput, error) {
	return call(c, func() (*sns.PublishBatchOutput, error) {
		if c.faults > 0 && len(in.PublishBatchRequestEntries) > 1 && c.random.Float64() < c.chance {
			// One entry fails inside an answer that succeeds.
			c.faults--
			c.made++
			short := *in
			short.PublishBatchRequestEntries = in.PublishBatchRequestEntries[1:]
			out, err := c.sns.PublishBatch(ctx, &short)
			if err == nil {
				out.Failed = append(out.Failed, snstypes.BatchResultErrorEntry{Id: in.PublishBatchRequestEntries[0].Id, Code: aws.String("InternalError")})
			}
			return out, err
		}
		return c.sns.PublishBatch(ctx, in)
	})
}

func newCloud(t *testing.T, seed uint64, faults int, delivery settings.Delivery) *cloud {
	t.Helper()
	return newCloudOf(t, faultRules, seed, faults, delivery)
}

const stateTTL = time.Hour

func newCloudOf(t *testing.T, ruleFile string, seed uint64, faults int, delivery settings.Delivery) *cloud {
	t.Helper()
	c := &cloud{now: time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC), random: rand.New(rand.NewPCG(seed, 1)), faults: faults, chance: 0.15}
	now := func() time.Time { return c.now }
	c.db, c.sns, c.sqs = simulate.NewDynamoDB(now), simulate.NewSNS(now), simulate.NewSQS(now)
	for _, table := range simulate.Tables("alerts", "state") {
		if err := c.db.CreateTable(table); err != nil {
			t.Fatal(err)
		}
	}
	must := func(s string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	fifo, ending := delivery == settings.Ordered, ""
	if fifo {
		ending = ".fifo"
	}
	c.topic = must(c.sns.CreateTopic(simulate.TopicConfig{Name: "alerts"}))
	c.rejects = must(c.sqs.CreateQueue(simulate.QueueConfig{Name: "rejects"}))
	c.dead = must(c.sqs.CreateQueue(simulate.QueueConfig{Name: "dead" + ending, FIFO: fifo, DeduplicatePerGroup: fifo}))
	c.market = must(c.sqs.CreateQueue(simulate.QueueConfig{Name: "market" + ending, FIFO: fifo, DeduplicatePerGroup: fifo, VisibilityTimeout: 6 * time.Minute,
		Retention: 14 * 24 * time.Hour, DeadLetterURL: c.dead, MaxReceiveCount: 10}))
	c.mapping = simulate.Mapping{SQS: c.sqs, QueueURL: c.market, ReportBatchItemFailures: true}

	rules, err := alert.Load("rules.yaml", []byte(ruleFile))
	if err != nil {
		t.Fatal(err)
	}
	ids := 0
	sleep := func(ctx context.Context, d time.Duration) error { c.now = c.now.Add(d); return ctx.Err() }
	jitter := func(max time.Duration) time.Duration { return time.Duration(c.random.Int64N(int64(max))) }
	c.ledger = ledger.NewDynamoDB(c, ledger.Config{AlertsTable: "alerts", StateTable: "state", StateTTL: stateTTL, Now: now, Sleep: sleep, Jitter: jitter})
	queues := &queue.SQS{API: c, QueueURL: c.market, RejectsURL: c.rejects}
	c.handler, err = ingest.New(ingest.Config{
		Environment: "test", Delivery: delivery, SeriesConcurrency: 1, Timers: true,
		Engine:   rules.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: fifo}),
		Ledger:   c.ledger,
		Notifier: &notify.SNS{API: c, TopicARN: c.topic},
		Queue:    queues, Timetable: c.ledger, Clocks: queues,
		Now: now, Sleep: sleep, Jitter: jitter, NewID: func() string { ids++; return fmt.Sprintf("%032d", ids) }, // as long as the default's
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// send puts the feed into the queue. It is the same for every run of a seed.
func (c *cloud) send(t *testing.T, seed uint64, ordered bool) (bad int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	symbols := []string{"AAPL", "MSFT", "BTC-USD", "IBM"}
	sequence := map[string]int{}
	at := 0.0
	for m := range 12 + r.IntN(12) {
		group := r.IntN(3)
		var lines []string
		for range 1 + r.IntN(6) {
			at += float64(r.IntN(1000)) / 1000
			s := symbols[group]
			if group == 0 && r.IntN(2) == 0 {
				s = symbols[3] // a group of two series
			}
			sequence[s]++
			switch n := r.IntN(10); {
			case n == 0:
				bad++
				lines = append(lines, fmt.Sprintf(`{"symbol":%q,"price":-1,"n":%d}`, s, bad))
			case n < 3:
				bid := 100 + r.Float64()
				ts := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC).Add(time.Duration(at * float64(time.Second))).Format(time.RFC3339Nano)
				lines = append(lines, fmt.Sprintf(`{"type":"quote","symbol":%q,"bid":"%.2f","ask":"%.2f","timestamp":%q,"sequence":%d}`, s, bid, bid+r.Float64(), ts, sequence[s]))
			default:
				line := trade(s, math.Round(8000+4000*r.Float64())/100, at, sequence[s])
				lines = append(lines, strings.Replace(line, `"price"`, fmt.Sprintf(`"size":%d,"price"`, 1+r.IntN(60)), 1))
			}
		}
		in := &sqs.SendMessageInput{QueueUrl: &c.market, MessageBody: aws.String(strings.Join(lines, "\n")), MessageAttributes: map[string]sqstypes.MessageAttributeValue{
			"origin_message_id": {DataType: aws.String("String"), StringValue: aws.String(fmt.Sprint("origin-", m))}}}
		if ordered {
			in.MessageGroupId, in.MessageDeduplicationId = aws.String(fmt.Sprint("shard-", group)), aws.String(fmt.Sprint("d", m))
		}
		if _, err := c.sqs.SendMessage(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
	return bad
}

// ended turns the end of the process into an error.
func ended(err *error) {
	switch r := recover().(type) {
	case nil:
	case crash:
		*err = errors.New("the process ended")
	default:
		panic(r)
	}
}

// tick is the clock's invocation, once a minute. What fails is not repeated.
func (c *cloud) tick(t *testing.T) {
	if c.now.Sub(c.ticked) < time.Minute {
		return
	}
	c.ticked = c.now
	_ = func() (err error) {
		defer ended(&err)
		return c.handler.Tick(t.Context())
	}()
}

// waits tells whether anything waits for the clock: a series that is due some time, an alert that is not published.
func (c *cloud) waits(t *testing.T) bool {
	t.Helper()
	for _, table := range []string{"state", "alerts"} {
		index, key := settings.DueIndex, settings.DueShardKey
		if table == "alerts" {
			index, key = settings.PendingIndex, settings.PendingShardKey
		}
		for shard := range settings.DueShards {
			out, err := c.db.Query(t.Context(), &dynamodb.QueryInput{TableName: &table, IndexName: &index, KeyConditionExpression: aws.String(key + " = :s"),
				ExpressionAttributeValues: map[string]ddb.AttributeValue{":s": &ddb.AttributeValueMemberS{Value: fmt.Sprint(shard)}}})
			if err != nil {
				t.Fatal(err)
			}
			if out.Count > 0 {
				return true
			}
		}
	}
	return false
}

// drain runs the event source mapping, and the clock beside it, until the queue is empty and nothing waits for the clock.
func (c *cloud) drain(t *testing.T) {
	t.Helper()
	c.invoke = func(ctx context.Context, payload []byte) (answer []byte, err error) {
		c.payload = payload
		c.depth++
		defer func() { c.depth-- }()
		defer ended(&err)
		records, err := ingest.ParseEvent(payload)
		if err != nil {
			t.Fatal(err)
		}
		response, err := c.handler.Handle(ctx, records)
		if err != nil {
			return nil, err
		}
		return json.Marshal(response)
	}
	for range 5000 {
		c.tick(t)
		n, _ := c.mapping.Poll(t.Context(), c.invoke)
		if n > 0 {
			continue
		}
		if at, ok := c.sqs.NextVisible(c.market); ok && at.Before(c.ticked.Add(time.Minute)) {
			c.now = at
			continue
		} else if !ok && !c.waits(t) {
			return
		}
		c.now = c.ticked.Add(time.Minute)
	}
	t.Fatal("the queue is not empty after 5000 polls: no progress")
}

// outcome is what a run leaves: alert id -> status, alert id -> publishes, the refused events.
func (c *cloud) outcome(t *testing.T) (status map[string]string, published map[string]int, refused map[string]bool) {
	t.Helper()
	status, published, refused = map[string]string{}, map[string]int{}, map[string]bool{}
	out, err := c.db.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("alerts")})
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range out.Items {
		status[it["alert_id"].(*ddb.AttributeValueMemberS).Value] = it["status"].(*ddb.AttributeValueMemberS).Value
	}
	for _, n := range c.sns.Published(c.topic) {
		var protocols map[string]string
		if err := json.Unmarshal([]byte(n.Message), &protocols); err != nil {
			t.Fatal(err)
		}
		a, err := alert.ParseAlert([]byte(protocols["default"]))
		if err != nil {
			t.Fatal(err)
		}
		published[a.ID]++
	}
	for _, m := range c.sqs.Messages(c.rejects) {
		refused[aws.ToString(m.Body)] = true
	}
	return status, published, refused
}

// TestFaultsLoseAndDoubleNothing: whatever calls fail, before or after their effect, wherever the process ends, and if
// batches are delivered twice at the same time, the same alerts are stored as without faults, each is published at least once and at most once more per fault, every
// refused event is kept, and nothing is dead-lettered.
func TestFaultsLoseAndDoubleNothing(t *testing.T) {
	seeds := uint64(400)
	if testing.Short() {
		seeds = 50
	}
	total, clocks := 0, 0
	for seed := range seeds {
		calm := newCloud(t, seed, 0, settings.Ordered)
		bad := calm.send(t, seed, true)
		calm.drain(t)
		wantStatus, once, wantRefused := calm.outcome(t)
		for id, n := range once {
			if n != 1 {
				t.Errorf("seed %d: without a fault alert %s was published %d times", seed, id, n)
			}
		}
		if len(wantRefused) != bad {
			t.Errorf("seed %d: %d refused events kept, want %d", seed, len(wantRefused), bad)
		}

		c := newCloud(t, seed, 1+int(seed%6), settings.Ordered)
		c.overlaps = int(seed % 4)
		c.send(t, seed, true)
		c.drain(t)
		status, published, refused := c.outcome(t)
		total, clocks = total+len(status), clocks+c.clocks
		if d := cmp.Diff(wantStatus, status); d != "" {
			t.Errorf("seed %d, %d faults: stored alerts (-without +with faults):\n%s", seed, c.made, d)
		}
		if d := cmp.Diff(wantRefused, refused); d != "" {
			t.Errorf("seed %d, %d faults: refused events (-without +with faults):\n%s", seed, c.made, d)
		}
		if d := cmp.Diff(slices.Sorted(maps.Keys(once)), slices.Sorted(maps.Keys(published))); d != "" {
			t.Errorf("seed %d, %d faults: published alerts (-without +with faults):\n%s", seed, c.made, d)
		}
		for id, n := range published {
			if n > 1+c.made {
				t.Errorf("seed %d, %d faults: alert %s was published %d times", seed, c.made, id, n)
			}
		}
		if visible, flight, _ := c.sqs.Depth(c.dead); visible+flight > 0 {
			t.Errorf("seed %d, %d faults: %d dead letters", seed, c.made, visible+flight)
		}
		if t.Failed() {
			break
		}
	}
	if total < int(seeds) {
		t.Errorf("%d alerts in %d runs: the feed tests too little", total, seeds)
	}
	if clocks < int(seeds) {
		t.Errorf("%d messages of clock events in %d runs: the clock is not tested", clocks, seeds)
	}
}

// TestOneEventFiresManyRules: more alerts than a transaction holds, on DynamoDB's own terms.
func TestOneEventFiresManyRules(t *testing.T) {
	rules := "rules:\n"
	for i := range 250 {
		rules += fmt.Sprintf("  - alert: R%d\n    expr: price > 100\n    reset: price < 90\n", i)
	}
	c := newCloudOf(t, rules, 1, 0, settings.Ordered)
	body := trade("AAPL", 101, 0, 1)
	if _, err := c.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &c.market, MessageBody: &body, MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String("d")}); err != nil {
		t.Fatal(err)
	}
	c.drain(t)
	if status, published, _ := c.outcome(t); len(status) != 250 || len(published) != 250 {
		t.Errorf("%d alerts stored, %d published, want 250", len(status), len(published))
	}
}

// TestALiveSeriesDoesNotExpire: a rule sits in fired while the price stays high, and nothing is written for longer than a
// state's time to live. The rule must not fire again.
func TestALiveSeriesDoesNotExpire(t *testing.T) {
	c := newCloudOf(t, levelRule, 1, 0, settings.Ordered)
	start := c.now
	for i := range 12 {
		c.now = start.Add(time.Duration(i) * stateTTL / 4)
		body := fmt.Sprintf(`{"symbol":"AAPL","price":101,"timestamp":%q,"sequence":%d}`, c.now.Format(time.RFC3339Nano), i+1)
		if _, err := c.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &c.market, MessageBody: &body, MessageGroupId: aws.String("g"), MessageDeduplicationId: aws.String(fmt.Sprint(i))}); err != nil {
			t.Fatal(err)
		}
		c.drain(t)
		c.db.Sweep()
	}
	if status, _, _ := c.outcome(t); len(status) != 1 {
		t.Errorf("%d alerts, want the first only: the state expired while the series was alive", len(status))
	}
}
