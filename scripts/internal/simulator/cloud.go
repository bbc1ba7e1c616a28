// Package simulator runs the real pipeline - handler, engine, adapters - over simulated services, with faults, overlapping
// invocations and virtual time, all decided by one seed, and checks its promises against a simple model.
package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

const (
	alertsTable, stateTable = "alerts", "state"

	functionTimeout   = time.Minute
	visibilityTimeout = 6 * functionTimeout
	tickInterval      = time.Minute
)

// cloud is the deployed pipeline.
type cloud struct {
	*scheduler
	scenario Scenario
	start    time.Time
	random   *rand.Rand // latencies, jitter, which environment: the schedule
	log      func(string)
	trace    interface {
		Write([]byte) (int, error)
		Sum64() uint64
	}

	db      *simulate.DynamoDB
	sns     *simulate.SNS
	sqs     *simulate.SQS
	topic   string
	market  string
	dead    string
	rejects string
	mapping simulate.Mapping

	free         []*environment
	environments int // ever made
	processes    int // that have not ended
	idle         []*task

	messages []message // what is sent
	load     *Measured // of a measured load; nil: a scenario that is checked

	calls, invocations, ids, tokens int
	faults                          int // that struck a call or a process
	sent                            []sent
	senderDone                      bool
	failedReturns                   int // messages returned by answers and errors
	violations                      []string
}

// sent is a message as the queue accepted it.
type sent struct {
	origin, body string
	at           time.Time
}

// environment is one execution environment of the function; it is used again and again, by one invocation at a time.
type environment struct {
	cloud   *cloud
	number  int
	newer   bool
	format  byte // added to the format of states: newer code
	skew    time.Duration
	handler *ingest.Handler
	metrics []byte // the last line
}

func (e *environment) now() time.Time { return e.cloud.now.Add(e.skew) }

// Write keeps the last line of metrics.
func (e *environment) Write(line []byte) (int, error) {
	e.metrics = slices.Clone(line)
	if e.cloud.load != nil {
		e.cloud.load.add(line)
	}
	return len(line), nil
}

// deadline is a context that ends by an environment's clock.
type deadline struct {
	context.Context
	of *environment
	at time.Time
}

func (d deadline) Deadline() (time.Time, bool) { return d.at, true }

func (d deadline) Err() error {
	if !d.of.now().Before(d.at) {
		return context.DeadlineExceeded
	}
	return nil
}

func newCloud(s Scenario, log func(string)) *cloud {
	start := time.Date(2026, 11, 20, 15, 0, 10, 0, time.UTC)
	w := &cloud{scheduler: newScheduler(start), scenario: s, start: start, random: rand.New(rand.NewPCG(s.Seed, 1)), log: log, trace: fnv.New64a()}
	now := func() time.Time { return w.now }
	w.db, w.sns, w.sqs = simulate.NewDynamoDB(now), simulate.NewSNS(now), simulate.NewSQS(now)
	for _, table := range simulate.Tables(alertsTable, stateTable) {
		must(0, w.db.CreateTable(table))
	}
	fifo, ending := s.Delivery == settings.Ordered, ""
	if fifo {
		ending = ".fifo"
	}
	receives := s.MaxReceives
	if receives == 0 {
		receives = 10
	}
	w.topic = must(w.sns.CreateTopic(simulate.TopicConfig{Name: "alerts"}))
	w.rejects = must(w.sqs.CreateQueue(simulate.QueueConfig{Name: "rejects"}))
	w.dead = must(w.sqs.CreateQueue(simulate.QueueConfig{Name: "dead" + ending, FIFO: fifo, DeduplicatePerGroup: fifo}))
	config := simulate.QueueConfig{Name: "market" + ending, FIFO: fifo, DeduplicatePerGroup: fifo, VisibilityTimeout: visibilityTimeout,
		Retention: 14 * 24 * time.Hour, DeadLetterURL: w.dead, MaxReceiveCount: receives}
	if !fifo {
		config.Order = w.random.IntN
	}
	w.market = must(w.sqs.CreateQueue(config))
	w.messages = feed(&s)
	w.mapping = simulate.Mapping{SQS: w.sqs, QueueURL: w.market, BatchSize: s.BatchSize, ReportBatchItemFailures: true}
	return w
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// latency is the time of half a call.
func (w *cloud) latency() time.Duration {
	if w.random.IntN(20) == 0 {
		return w.jitter(200 * time.Millisecond)
	}
	return time.Millisecond/2 + w.jitter(10*time.Millisecond)
}

func (w *cloud) jitter(max time.Duration) time.Duration {
	return time.Duration(w.random.Int64N(int64(max)))
}

// record adds a line to the trace, by which two runs are compared.
func (w *cloud) record(what string, n int, kind Kind, struck bool) {
	name := ""
	if struck {
		name = kind.String()
	}
	w.note("%s #%d %s", what, n, name)
}

func (w *cloud) note(format string, args ...any) {
	line := fmt.Sprintf("%12s  ", w.now.Sub(w.start).Round(time.Microsecond)) + fmt.Sprintf(format, args...)
	_, _ = w.trace.Write([]byte(line))
	if w.log != nil {
		w.log(line)
	}
}

func (w *cloud) violate(format string, args ...any) {
	w.violations = append(w.violations, fmt.Sprintf(format, args...))
	w.note("VIOLATION %s", w.violations[len(w.violations)-1])
}

// versions tells whether old and newer code run at this time.
func (w *cloud) versions() (old, newer bool) {
	if w.scenario.Deployment == NoDeployment {
		return true, false
	}
	t := w.now.Sub(w.start)
	switch {
	case t < deployed:
		return true, false
	case t < rolledBack:
		return t < deployed+sideBySide, true
	case t < redeployed:
		return true, t < rolledBack+sideBySide
	default:
		return t < redeployed+sideBySide, true
	}
}

// acquire takes a free environment, or starts one.
func (w *cloud) acquire() *environment {
	old, newer := w.versions()
	w.free = slices.DeleteFunc(w.free, func(e *environment) bool { return e.newer && !newer || !e.newer && !old })
	if n := len(w.free); n > 0 && (!old || !newer || w.random.IntN(2) == 0) {
		i := w.random.IntN(n)
		e := w.free[i]
		w.free = slices.Delete(w.free, i, i+1)
		return e
	}
	e := &environment{cloud: w, number: w.environments, newer: newer && (!old || w.random.IntN(2) == 0)}
	w.environments++
	if w.scenario.Skew > 0 {
		if e.skew = w.jitter(2*w.scenario.Skew) - w.scenario.Skew; e.skew != 0 {
			w.faults++
		}
	}
	if e.newer && w.scenario.Deployment == NewFormat {
		e.format = 1
	}
	c := &client{e}
	sleep := func(ctx context.Context, d time.Duration) error { w.sleep(d); return ctx.Err() }
	store := ledger.NewDynamoDB(c, ledger.Config{AlertsTable: alertsTable, StateTable: stateTable, StateTTL: 90 * 24 * time.Hour, Now: e.now, Sleep: sleep, Jitter: w.jitter})
	queues := &queue.SQS{API: c, QueueURL: w.market, RejectsURL: w.rejects}
	rules := w.scenario.program(e.newer)
	e.handler = must(ingest.New(ingest.Config{
		Environment: "simulated", Delivery: w.scenario.Delivery, Engine: rules.engine, Ledger: store,
		Notifier: &notify.SNS{API: c, TopicARN: w.topic}, Queue: queues, Timetable: store, Clocks: queues,
		Timers: rules.timed, Metrics: e,
		Now: e.now, Sleep: sleep, Jitter: w.jitter,
		NewID: func() string { w.ids++; return fmt.Sprintf("%032d", w.ids) },
		WithDeadline: func(ctx context.Context, at time.Time) (context.Context, context.CancelFunc) {
			return deadline{ctx, e, at}, func() {}
		},
		Parallel: func(n int, f func(int)) { w.parallel(n, w.jitter, f) },
	}))
	return e
}

var (
	errCrashed  = errors.New("the process ended")
	errTimedOut = errors.New("the function timed out")
)

// lambda runs f in an environment as Lambda does: until it returns, its process ends, or its time is up.
func (w *cloud) lambda(f func(ctx context.Context, e *environment) error) error {
	e := w.acquire()
	caller, p := w.current, &process{}
	returned := false
	var err error
	w.processes++
	p.ended = func() { w.processes--; w.wake(caller, 0) }
	w.spawn(p, w.latency(), func() {
		err = f(deadline{context.Background(), e, e.now().Add(functionTimeout)}, e)
		if returned = true; p.tasks > 1 {
			w.violate("%d goroutines outlive the handler", p.tasks-1)
		}
	})
	w.wake(w.current, functionTimeout)
	w.park()
	switch {
	case returned:
		w.free = append(w.free, e)
		return err
	case p.tasks == 0:
		return errCrashed
	}
	p.ended = func() { w.processes-- }
	if !p.frozen {
		w.kill(p)
	}
	return errTimedOut
}

// invoke is what the event source mapping calls.
func (w *cloud) invoke(_ context.Context, payload []byte) ([]byte, error) {
	n := w.invocations
	w.invocations++
	records := must(ingest.ParseEvent(payload))
	fault, struck := w.deliveryFault(n)
	w.note("invocation %d: %d messages from %s, %s", n, len(records), records[0].OriginMessageID, fault)
	if struck && fault == Overlap {
		w.spawn(nil, w.jitter(300*time.Millisecond), func() { w.setVisibility(records, 0) })
	}
	var answer []byte
	err := w.lambda(func(ctx context.Context, e *environment) error {
		response, err := e.handler.HandleEvent(ctx, payload)
		w.checkAnswer(e, records, response, err)
		answer = response.AppendJSON(nil)
		return err
	})
	text, _, _ := strings.Cut(fmt.Sprint(err), "goroutine") // a panic's stack is never the same
	w.note("invocation %d: %s %s", n, answer, text)
	if struck && err == nil && fault != Overlap {
		if fault == MuchLater {
			w.setVisibility(records, time.Hour+w.jitter(time.Hour))
		}
		return nil, errors.New("the messages were not deleted")
	}
	return answer, err
}

func (w *cloud) deliveryFault(invocation int) (Kind, bool) {
	for _, f := range w.scenario.Faults {
		if f.Kind > Kinds && f.At == invocation {
			return f.Kind, true
		}
	}
	return Kinds, false
}

func (w *cloud) setVisibility(records []ingest.Record, d time.Duration) {
	for _, r := range records {
		// Where it is not in flight any more there is nothing to change.
		_, _ = w.sqs.ChangeMessageVisibility(context.Background(), &sqs.ChangeMessageVisibilityInput{
			QueueUrl: &w.market, ReceiptHandle: &r.ReceiptHandle, VisibilityTimeout: int32(d / time.Second)})
	}
	w.changed()
}

// changed wakes the pollers that wait for messages.
func (w *cloud) changed() {
	for _, t := range w.idle {
		w.wake(t, w.jitter(20*time.Millisecond))
	}
	w.idle = nil
}

func (w *cloud) poll() {
	for {
		if n, _ := w.mapping.Poll(context.Background(), w.invoke); n > 0 {
			w.changed()
			continue
		}
		wait := time.Hour
		if at, ok := w.sqs.NextVisible(w.market); ok {
			wait = at.Sub(w.now)
		}
		w.idle = append(w.idle, w.current)
		w.wake(w.current, wait)
		w.park()
		me := w.current
		w.idle = slices.DeleteFunc(w.idle, func(t *task) bool { return t == me })
	}
}

// tick is the clock's schedule. What fails is not repeated.
func (w *cloud) tick() {
	for {
		w.sleep(tickInterval)
		w.note("tick")
		_ = w.lambda(func(ctx context.Context, e *environment) error { return e.handler.Tick(ctx) })
	}
}

func (w *cloud) send() {
	for _, m := range w.messages {
		if m.after > 0 {
			w.sleep(m.after)
		}
		body := m.body(w.now)
		copies := 1
		if m.twice {
			copies = 2
		}
		for i := range copies {
			in := &sqs.SendMessageInput{QueueUrl: &w.market, MessageBody: &body, MessageAttributes: map[string]sqstypes.MessageAttributeValue{
				queue.AttrOrigin: {DataType: aws.String("String"), StringValue: &m.origin}}}
			if m.group != "" {
				in.MessageGroupId, in.MessageDeduplicationId = &m.group, aws.String(fmt.Sprint(m.origin, "-", i))
			}
			must(w.sqs.SendMessage(context.Background(), in))
			w.sent = append(w.sent, sent{m.origin, body, w.now})
			w.note("sent %s", m.origin)
			if w.load != nil {
				w.load.sent[m.origin] = w.now
			}
			w.changed()
		}
	}
	w.senderDone = true
}

// redrive moves the dead letters back, in their order, with their identity.
func (w *cloud) redrive() {
	for _, m := range w.sqs.Messages(w.dead) {
		in := &sqs.SendMessageInput{QueueUrl: &w.market, MessageBody: m.Body, MessageAttributes: m.MessageAttributes}
		if w.scenario.Delivery == settings.Ordered {
			in.MessageGroupId, in.MessageDeduplicationId = aws.String(m.Attributes["MessageGroupId"]), aws.String("redrive:"+*m.MessageId)
		}
		must(w.sqs.SendMessage(context.Background(), in))
	}
	must(w.sqs.PurgeQueue(context.Background(), &sqs.PurgeQueueInput{QueueUrl: &w.dead}))
	w.note("redriven")
	w.changed()
}

// limit is how long a run may take after the last message was sent: whatever happened, everything is done by then.
const limit = 12 * time.Hour

// supervise waits until everything that was sent is processed and nothing waits for the clock.
func (w *cloud) supervise() {
	for range w.scenario.Environments {
		w.spawn(nil, w.jitter(time.Second), w.poll)
	}
	w.spawn(nil, 0, w.send)
	w.spawn(nil, w.jitter(tickInterval), w.tick)
	for {
		w.sleep(tickInterval)
		visible, inFlight, delayed := w.sqs.Depth(w.market)
		switch {
		case w.now.Sub(w.start) > limit:
			w.violate("no end after %s: %d messages visible, %d in flight, something waits for the clock: %t", limit, visible, inFlight, w.waits())
			return
		case !w.senderDone || visible+inFlight+delayed > 0 || w.processes > 0 || w.waits():
			continue
		}
		if n, _, _ := w.sqs.Depth(w.dead); n == 0 || !w.scenario.Redrive {
			return
		}
		w.redrive()
	}
}

// waits tells whether a series is due some time, or an alert is not known to be published.
func (w *cloud) waits() bool {
	for table, attribute := range map[string]string{stateTable: settings.DueKey, alertsTable: settings.PendingLeaseKey} {
		for _, it := range w.scan(table) {
			if it[attribute] != nil {
				return true
			}
		}
	}
	return false
}

func (w *cloud) scan(table string) []map[string]ddb.AttributeValue {
	return must(w.db.Scan(context.Background(), &dynamodb.ScanInput{TableName: &table})).Items
}

// checkAnswer checks an invocation's answer when it is given.
func (w *cloud) checkAnswer(e *environment, records []ingest.Record, response ingest.Response, err error) {
	acknowledged := map[string]bool{}
	ids := map[string]bool{}
	for _, r := range records {
		acknowledged[r.OriginMessageID], ids[r.MessageID] = true, true
	}
	for _, f := range response.BatchItemFailures {
		if !ids[f.ItemIdentifier] {
			w.violate("the answer names %q, which is not in the batch or named twice", f.ItemIdentifier)
		}
		delete(ids, f.ItemIdentifier)
	}
	returned := map[string]bool{} // groups
	for _, r := range records {
		switch {
		case !ids[r.MessageID]:
			delete(acknowledged, r.OriginMessageID)
			w.failedReturns++
			returned[r.Group] = true
		case returned[r.Group] && r.Group != "" && err == nil:
			w.violate("message %s is acknowledged before an earlier one of its group", r.OriginMessageID)
		}
	}
	if w.load != nil {
		if err == nil {
			w.load.done(acknowledged, w.now)
		}
		return
	}
	if err != nil {
		w.failedReturns += len(records)
		var metrics struct{ RecordsFailed int }
		if json.Unmarshal(e.metrics, &metrics); metrics.RecordsFailed == 0 {
			w.violate("an invocation fails without a failed record")
		}
		return
	}
	if w.scenario.Rules == "many" && (w.scenario.Delivery == settings.Unordered || w.scenario.Redrive) {
		// What an invocation that crashed has stored ahead of the state belongs to an order of events that need not come
		// again. The clock's sweep publishes it.
		return
	}
	for _, it := range w.scan(alertsTable) {
		// Alerts of other rules may name an event before the one that fired them.
		switch text(it, "rule") {
		case "High", "Above", "Cross":
			message, _, _ := strings.Cut(text(it, "event_id"), "-")
			if text(it, "status") == string(alert.Pending) && acknowledged[message] {
				w.violate("message %s is acknowledged while its alert %s is not published", message, text(it, settings.AlertsSortKey))
			}
		}
	}
}

func text(it map[string]ddb.AttributeValue, name string) string {
	s, _ := it[name].(*ddb.AttributeValueMemberS)
	if s == nil {
		return ""
	}
	return s.Value
}
