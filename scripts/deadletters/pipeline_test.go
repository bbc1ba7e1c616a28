package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

// Each rule depends on order and on each event counting once: the windows are events, and the trades have no sequence.
const historyRules = `
rules:
  - alert: Turn
    expr: crossover(price, sma(price, 3))
    cooldown: 0s
    summary: "{{ .symbol }} {{ .price }}"
  - alert: Sum
    expr: sum(price, 4) > 410
    reset: sum(price, 4) < 400
    cooldown: 0s
    summary: "{{ .symbol }} {{ .value }}"
`

// poisoned is a DynamoDB in which the states of some series cannot be written.
type poisoned struct {
	*simulate.DynamoDB
	series []string // keys
}

func (p *poisoned) refuses(item map[string]ddb.AttributeValue) bool {
	key, ok := item[settings.StatePartitionKey].(*ddb.AttributeValueMemberS)
	return ok && slices.Contains(p.series, key.Value)
}

var errPoison = errors.New("the table refuses it")

func (p *poisoned) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	if p.refuses(in.Item) {
		return nil, errPoison
	}
	return p.DynamoDB.PutItem(ctx, in)
}

func (p *poisoned) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	for _, it := range in.TransactItems {
		if it.Put != nil && p.refuses(it.Put.Item) {
			return nil, errPoison
		}
	}
	return p.DynamoDB.TransactWriteItems(ctx, in)
}

// pipeline is the real handler and adapters over d's queues.
type pipeline struct {
	*desk
	db      *poisoned
	handler *ingest.Handler
	metrics bytes.Buffer
}

const maxReceiveCount = 4

func newPipeline(t *testing.T, fifo bool) *pipeline {
	t.Helper()
	d := newDeskOf(t, fifo, maxReceiveCount)
	p := &pipeline{desk: d}
	now := func() time.Time { return d.now }
	p.db = &poisoned{DynamoDB: simulate.NewDynamoDB(now)}
	for _, table := range simulate.Tables("alerts", "state") {
		if err := p.db.CreateTable(table); err != nil {
			t.Fatal(err)
		}
	}
	topics := simulate.NewSNS(now)
	topic, err := topics.CreateTopic(simulate.TopicConfig{Name: "alerts"})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := alert.Load("rules.yaml", []byte(historyRules))
	if err != nil {
		t.Fatal(err)
	}
	delivery := settings.Unordered
	if fifo {
		delivery = settings.Ordered
	}
	sleep := func(ctx context.Context, wait time.Duration) error { d.now = d.now.Add(wait); return ctx.Err() }
	p.handler, err = ingest.New(ingest.Config{
		Environment: "test", Delivery: delivery, SeriesConcurrency: 1, Metrics: &p.metrics, Now: now, Sleep: sleep,
		Engine:   rules.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: fifo}),
		Ledger:   ledger.NewDynamoDB(p.db, ledger.Config{AlertsTable: "alerts", StateTable: "state", StateTTL: time.Hour, Now: now, Sleep: sleep}),
		Notifier: &notify.SNS{API: topics, TopicARN: topic},
		Queue:    &queue.SQS{API: d.SQS, QueueURL: d.urls.market, RejectsURL: d.urls.rejects},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// drain runs the event source mapping until the market data queue is empty.
func (p *pipeline) drain() {
	p.t.Helper()
	mapping := simulate.Mapping{SQS: p.SQS, QueueURL: p.urls.market, ReportBatchItemFailures: true}
	for range 5000 {
		n, _ := mapping.Poll(p.t.Context(), func(ctx context.Context, payload []byte) ([]byte, error) {
			records, err := ingest.ParseEvent(payload)
			if err != nil {
				p.t.Fatal(err)
			}
			response, err := p.handler.Handle(ctx, records)
			if err != nil {
				return nil, err
			}
			return json.Marshal(response)
		})
		if n > 0 {
			continue
		}
		at, hidden := p.NextVisible(p.urls.market)
		if !hidden {
			return
		}
		p.now = at
	}
	p.t.Fatal("the queue is not empty after 5000 polls")
}

// alerts are the stored alerts: id and summary.
func (p *pipeline) alerts() []string {
	p.t.Helper()
	out, err := p.db.Scan(p.t.Context(), &dynamodb.ScanInput{TableName: aws.String("alerts")})
	if err != nil {
		p.t.Fatal(err)
	}
	var all []string
	for _, it := range out.Items {
		if status := it["status"].(*ddb.AttributeValueMemberS).Value; status != string(alert.Sent) {
			p.t.Errorf("an alert is %s", status)
		}
		all = append(all, it["alert_id"].(*ddb.AttributeValueMemberS).Value+" "+it["summary"].(*ddb.AttributeValueMemberS).Value)
	}
	slices.Sort(all)
	return all
}

// total adds up one of the processor's metrics.
func (p *pipeline) total(metric string) int {
	n := 0
	for line := range strings.Lines(p.metrics.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			p.t.Fatal(err)
		}
		if v, ok := m[metric].(float64); ok {
			n += int(v)
		}
	}
	return n
}

// feed sends messages of two groups: a series of its own, and one of two series, alone and packed. Whatever comes first in
// a receive of ten of the second group, from message 10 on, is of the series POISON alone: nothing passes those that die.
func (p *pipeline) feed(first, last int) {
	at := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	event := func(symbol string, n int) string {
		return fmt.Sprintf(`{"symbol":%q,"price":%d,"timestamp":%q}`, symbol, 95+(n*n*7+n*3)%17, at.Add(time.Duration(n)*time.Second).Format(time.RFC3339Nano))
	}
	for n := first; n < last; n++ {
		p.send("AAPL|", n, event("AAPL", n), nil)
		switch digit := n % 10; {
		case n == 0 || digit == 5 || digit == 6:
			p.send("shard-1", n, event("IBM", n), nil)
		case digit == 2 || digit == 4 || n == 1: // an event of it is refused
			p.send("shard-1", n, event("IBM", n)+"\n"+event("POISON", n)+"\n"+`{"symbol":"IBM"}`, nil)
		default:
			p.send("shard-1", n, event("POISON", n), nil)
		}
	}
}

// TestPoisonToRedrive: one series fails until its messages, and its neighbours behind it, are dead letters. Once it is mended and they
// are redriven, with an interruption on the way, all events have been applied, once and in order.
func TestPoisonToRedrive(t *testing.T) {
	calm := newPipeline(t, true)
	calm.feed(0, 60)
	calm.drain()
	want, refused := calm.alerts(), len(calm.Messages(calm.urls.rejects))
	if len(want) < 30 || refused != 13 || calm.depth(calm.urls.dead) != 0 {
		t.Fatalf("without a fault: %d alerts, %d refused, %d dead letters", len(want), refused, calm.depth(calm.urls.dead))
	}
	for _, interruption := range []int{0, 7, 8, 30, 53} {
		p := newPipeline(t, true)
		p.db.series = []string{market.SeriesKey("POISON", "")}
		p.feed(0, 60)
		p.drain()
		dead := p.origins(p.urls.dead)
		if len(dead) != 1 || len(dead["shard-1"]) != 59 || dead["shard-1"][0] != "shard-1-1" {
			t.Fatalf("dead letters: %v", dead)
		}
		var fewer int
		for _, a := range p.alerts() {
			if !slices.Contains(want, a) {
				t.Errorf("before the redrive: %s", a)
			}
			fewer++
		}
		if fewer == 0 || fewer >= len(want) {
			t.Errorf("%d of %d alerts before the redrive", fewer, len(want))
		}
		p.db.series = nil
		p.calls, p.fails, p.after, p.crash = 0, interruption, true, true
		_, _, err := p.run("redrive", "--yes")
		if (err != nil) != (interruption > 0) {
			t.Errorf("interrupted at call %d: %v", interruption, err)
		}
		p.fails, p.ended = 0, false
		p.drain() // the processor goes on with what has been moved
		p.now = p.now.Add(10 * time.Minute)
		p.must("redrive", "--yes", "--queue", "dead-letters")
		p.drain()
		same(t, fmt.Sprintf("alerts, interrupted at call %d", interruption), want, p.alerts())
		origins := map[string]bool{}
		for _, m := range p.Messages(p.urls.rejects) {
			origins[*m.MessageAttributes[queue.AttrOrigin].StringValue] = true
		}
		if p.depth(p.urls.dead) != 0 || len(origins) != refused || p.total(settings.MetricEventsLate) != 0 {
			t.Errorf("interrupted at call %d: %d dead letters, %d messages with refused events (want %d), %d late events", interruption, p.depth(p.urls.dead), len(origins), refused, p.total(settings.MetricEventsLate))
		}
		if p.total(settings.MetricEventsRepeated) == 0 {
			t.Error("no event was recognised as applied before: the test tests too little")
		}
	}
}

// TestRedriveBehindNewerEvents: what passed meanwhile makes the redriven events late, which is counted; nothing is on the dead-letter
// queue any more, and no alert is there twice.
func TestRedriveBehindNewerEvents(t *testing.T) {
	p := newPipeline(t, true)
	p.db.series = []string{market.SeriesKey("POISON", "")}
	p.feed(0, 30)
	p.drain()
	p.db.series = nil
	p.feed(60, 75)
	p.drain()
	before := p.alerts()
	stdout, _ := p.must("redrive", "--yes", "--symbol", "POISON")
	if n := strings.Count(stdout, "moved "); n != 23 {
		t.Errorf("%d moved, want 23", n)
	}
	p.drain()
	after := p.alerts()
	for _, a := range before {
		if !slices.Contains(after, a) {
			t.Errorf("gone: %s", a)
		}
	}
	if late := p.total(settings.MetricEventsLate); late < 23 {
		t.Errorf("%d late events, want those of 23 messages", late)
	}
	if left := p.origins(p.urls.dead)["shard-1"]; len(left) != 6 {
		t.Errorf("left: %q", left)
	}
}

// TestUnorderedRedrive: a standard queue; an event that was applied before its message died is not applied again.
func TestUnorderedRedrive(t *testing.T) {
	p := newPipeline(t, false)
	p.db.series = []string{market.SeriesKey("POISON", "")}
	p.feed(0, 30)
	p.drain()
	p.db.series = nil
	if n := p.depth(p.urls.dead); n != 23 {
		t.Fatalf("%d dead letters, want 23", n)
	}
	states := p.states()
	p.must("redrive", "--yes", "--queue", "dead-letters")
	p.drain()
	after := p.states()
	if len(after) != len(states)+1 || p.depth(p.urls.dead) != 0 {
		t.Errorf("%d series, then %d", len(states), len(after))
	}
	delete(after, market.SeriesKey("POISON", ""))
	same(t, "the states of series that had been applied", states, after)
}

// TestARefusedEventIsApplied: refused for its time, which has passed, it is applied under an identity of its own,
// though its message is known as applied.
func TestARefusedEventIsApplied(t *testing.T) {
	p := newPipeline(t, true)
	event := func(second int, price string) string {
		return fmt.Sprintf(`{"symbol":"AAPL","price":%s,"timestamp":"2026-11-22T12:%02d:%02dZ"}`, price, second/60, second%60)
	}
	p.send("AAPL|", 0, strings.Join([]string{event(1, "90"), event(2, "91"), event(3, "90"), event(5*60, "150")}, "\n"), nil)
	p.drain()
	if n := len(p.alerts()); n != 0 || p.depth(p.urls.rejects) != 1 {
		t.Fatalf("%d alerts, %d rejects", n, p.depth(p.urls.rejects))
	}
	if stdout, _ := p.must("redrive", "--yes"); !strings.Contains(stdout, "future_timestamp") || p.depth(p.urls.rejects) != 1 {
		t.Errorf("too early: %s", stdout)
	}
	p.now = p.now.Add(5 * time.Minute)
	p.must("redrive", "--yes")
	p.drain()
	if got := p.alerts(); len(got) != 2 || p.depth(p.urls.rejects) != 0 {
		t.Errorf("alerts %q, %d rejects", got, p.depth(p.urls.rejects))
	}
}

// states are the stored states by series.
func (p *pipeline) states() map[string]string {
	p.t.Helper()
	out, err := p.db.Scan(p.t.Context(), &dynamodb.ScanInput{TableName: aws.String("state")})
	if err != nil {
		p.t.Fatal(err)
	}
	states := map[string]string{}
	for _, it := range out.Items {
		series := it[settings.StatePartitionKey].(*ddb.AttributeValueMemberS).Value
		data, ok := it["data"].(*ddb.AttributeValueMemberB)
		if !ok {
			p.t.Fatalf("the state of %s has no data among %q", series, slices.Sorted(maps.Keys(it)))
		}
		states[series] = string(data.Value)
	}
	return states
}
