package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

// services are the simulated AWS clients behind the real adapters. They count the calls, and before may fail one.
type services struct {
	db  *simulate.DynamoDB
	sns *simulate.SNS
	sqs *simulate.SQS

	mu     sync.Mutex
	calls  map[string]int
	before func(operation string) error
	// entries is an operation all of whose entries fail within an answer that succeeds, with saying.
	entries, saying string
}

func called[I, O, F any](s *services, operation string, call func(context.Context, *I, ...F) (*O, error), ctx context.Context, in *I) (*O, error) {
	s.mu.Lock()
	s.calls[operation]++
	before := s.before
	s.mu.Unlock()
	if before != nil {
		if err := before(operation); err != nil {
			return nil, err
		}
	}
	return call(ctx, in)
}

func (s *services) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	return called(s, "BatchGetItem", s.db.BatchGetItem, ctx, in)
}

func (s *services) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	return called(s, "BatchWriteItem", s.db.BatchWriteItem, ctx, in)
}

func (s *services) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return called(s, "PutItem", s.db.PutItem, ctx, in)
}

func (s *services) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return called(s, "UpdateItem", s.db.UpdateItem, ctx, in)
}

func (s *services) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	return called(s, "TransactWriteItems", s.db.TransactWriteItems, ctx, in)
}

func (s *services) Query(ctx context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	return called(s, "Query", s.db.Query, ctx, in)
}

func (s *services) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	if s.entries == "SendMessageBatch" {
		out := &sqs.SendMessageBatchOutput{}
		for _, e := range in.Entries {
			out.Failed = append(out.Failed, sqstypes.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError"), Message: &s.saying})
		}
		return out, nil
	}
	return called(s, "SendMessageBatch", s.sqs.SendMessageBatch, ctx, in)
}

func (s *services) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	if s.entries == "ChangeMessageVisibilityBatch" {
		out := &sqs.ChangeMessageVisibilityBatchOutput{}
		for _, e := range in.Entries {
			out.Failed = append(out.Failed, sqstypes.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError"), Message: &s.saying})
		}
		return out, nil
	}
	return called(s, "ChangeMessageVisibilityBatch", s.sqs.ChangeMessageVisibilityBatch, ctx, in)
}

func (s *services) PublishBatch(ctx context.Context, in *sns.PublishBatchInput, _ ...func(*sns.Options)) (*sns.PublishBatchOutput, error) {
	if s.entries == "PublishBatch" {
		out := &sns.PublishBatchOutput{}
		for _, e := range in.PublishBatchRequestEntries {
			out.Failed = append(out.Failed, snstypes.BatchResultErrorEntry{Id: e.Id, Code: aws.String([]string{"InternalError", "InvalidParameter"}[len(out.Failed)%2]), Message: &s.saying})
		}
		return out, nil
	}
	return called(s, "PublishBatch", s.sns.PublishBatch, ctx, in)
}

// rig is the handler with the real adapters over simulated services, under a clock that only the test moves.
type rig struct {
	*services
	now                    time.Time
	topic, market, rejects string
	mapping                simulate.Mapping
	ledger                 *ledger.DynamoDB
	config                 ingest.Config
	handler                *ingest.Handler   // one environment; ingest.New(config) is another
	kept                   []market.Rejected // what the handler gave to the rejects queue
	logs, metrics          bytes.Buffer
}

// keeper sees what is rejected before the queue's own encoding does.
type keeper struct {
	*queue.SQS
	rig *rig
}

func (k keeper) Reject(ctx context.Context, rejected []market.Rejected) []error {
	k.rig.kept = append(k.rig.kept, rejected...)
	return k.SQS.Reject(ctx, rejected)
}

const stateTTL = time.Hour

func newRig(t testing.TB, ruleFile string, delivery settings.Delivery) *rig {
	t.Helper()
	r := &rig{now: time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)}
	now := func() time.Time { return r.now }
	r.services = &services{db: simulate.NewDynamoDB(now), sns: simulate.NewSNS(now), sqs: simulate.NewSQS(now), calls: map[string]int{}}
	for _, table := range simulate.Tables("alerts", "state") {
		if err := r.db.CreateTable(table); err != nil {
			t.Fatal(err)
		}
	}
	must := func(s string, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	ordered, ending := delivery == settings.Ordered, ""
	if ordered {
		ending = ".fifo"
	}
	r.topic = must(r.sns.CreateTopic(simulate.TopicConfig{Name: "alerts"}))
	r.rejects = must(r.sqs.CreateQueue(simulate.QueueConfig{Name: "rejects"}))
	r.market = must(r.sqs.CreateQueue(simulate.QueueConfig{Name: "market" + ending, FIFO: ordered, DeduplicatePerGroup: ordered, VisibilityTimeout: 6 * time.Minute}))
	r.mapping = simulate.Mapping{SQS: r.sqs, QueueURL: r.market, ReportBatchItemFailures: true}
	if !ordered {
		r.mapping.BatchSize = simulate.MaxStandardBatch
	}
	rules, err := alert.Load("rules.yaml", []byte(ruleFile))
	if err != nil {
		t.Fatal(err)
	}
	ids := 0
	sleep := func(ctx context.Context, d time.Duration) error { r.now = r.now.Add(d); return ctx.Err() }
	jitter := func(max time.Duration) time.Duration { return max / 2 }
	r.ledger = ledger.NewDynamoDB(r.services, ledger.Config{AlertsTable: "alerts", StateTable: "state", StateTTL: stateTTL, Now: now, Sleep: sleep, Jitter: jitter})
	queues := &queue.SQS{API: r.services, QueueURL: r.market, RejectsURL: r.rejects}
	r.config = ingest.Config{
		Environment: "test", Delivery: delivery, SeriesConcurrency: 1, Timers: true,
		Engine:   rules.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: ordered}),
		Ledger:   r.ledger,
		Notifier: &notify.SNS{API: r.services, TopicARN: r.topic},
		Queue:    keeper{queues, r}, Timetable: r.ledger, Clocks: queues,
		Logger: slog.New(slog.NewJSONHandler(&r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})), Metrics: &r.metrics,
		Now: now, Sleep: sleep, Jitter: jitter, NewID: func() string { ids++; return fmt.Sprintf("%032d", ids) },
	}
	if r.handler, err = ingest.New(r.config); err != nil {
		t.Fatal(err)
	}
	return r
}

// send puts one message into the market data queue, in a group of its own.
func (r *rig) send(t testing.TB, id, format, body string) {
	t.Helper()
	in := &sqs.SendMessageInput{QueueUrl: &r.market, MessageBody: &body, MessageAttributes: map[string]sqstypes.MessageAttributeValue{
		"origin_message_id": {DataType: aws.String("String"), StringValue: &id}}}
	if format != "" {
		in.MessageAttributes["format"] = sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &format}
	}
	if r.mapping.BatchSize == 0 {
		in.MessageGroupId, in.MessageDeduplicationId = &id, &id
	}
	if _, err := r.sqs.SendMessage(t.Context(), in); err != nil {
		t.Fatal(err)
	}
}

// invoke is the function: bytes in, bytes out.
func (r *rig) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	response, err := r.handler.HandleEvent(ctx, payload)
	if err != nil {
		return nil, err
	}
	return response.AppendJSON(nil), nil
}

// drain runs batches until the queue is empty and demands that none of them returns a message.
func (r *rig) drain(t testing.TB) {
	t.Helper()
	for {
		n, err := r.mapping.Poll(t.Context(), r.invoke)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
	}
	if visible, flight, delayed := r.sqs.Depth(r.market); visible+flight+delayed > 0 {
		t.Fatalf("%d messages were returned; logs: %s", visible+flight+delayed, &r.logs)
	}
}

// rejectsQueue takes all messages out of the rejects queue: body, and attributes by name.
type rejectedMessage struct {
	body       string
	attributes map[string]string
}

func (r *rig) rejectsQueue() (out []rejectedMessage) {
	for _, m := range r.sqs.Messages(r.rejects) {
		a := map[string]string{}
		for name, v := range m.MessageAttributes {
			a[name] = aws.ToString(v.StringValue)
		}
		out = append(out, rejectedMessage{aws.ToString(m.Body), a})
	}
	return out
}

// published is every alert in the topic, in order.
func (r *rig) published(t testing.TB) (out []alert.Alert) {
	t.Helper()
	for _, n := range r.sns.Published(r.topic) {
		var protocols map[string]string
		if err := json.Unmarshal([]byte(n.Message), &protocols); err != nil {
			t.Fatal(err)
		}
		a, err := alert.ParseAlert([]byte(protocols["default"]))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func (r *rig) callCounts() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.calls)
}
