package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/processor/simulate"
	"example.com/market-data-pipeline/functions/producer"
	"example.com/market-data-pipeline/scripts/internal/feed"
)

// The queues are those of a deployed stack with its defaults.
const (
	queueName       = "market-data-local"
	deadLetterName  = "market-data-dlq-local"
	maxReceiveCount = 10
)

// maxBody leaves room for a message's attributes.
const maxBody = producer.MaxRequestBytes - 1<<10

// clock is the wall clock, which jumps over what would only be waited for: hidden messages.
type clock struct{ ahead atomic.Int64 }

func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *clock) jump(to time.Time) { c.ahead.Add(max(0, int64(to.Sub(c.now())))) }

// series is a series of the feed and the message that is being packed for it.
type series struct {
	symbol, source, group string
	timer                 timer

	body   strings.Builder
	events int
}

type seriesKey struct{ symbol, source string }

// pipeline is one run: lines -> messages -> simulated SQS -> event source mapping -> handler.
type pipeline struct {
	options
	clock    *clock
	sqs      *simulate.SQS
	mapping  simulate.Mapping
	deadURL  string
	handler  *ingest.Handler
	ledger   *ledger.Memory
	rejects  *rejects
	account  *account
	screen   *screen
	messages int
	time     feedTime

	events  []market.Event // scratch
	series  map[seriesKey]*series
	inOrder []*series // of their first event
	last    *series   // of the line before
}

// newPipeline wires the handler as the Lambda's main does, with the twins in memory instead of AWS.
func newPipeline(o options, rules *alert.Rules, rejected io.Writer, s *screen) (*pipeline, error) {
	clk := &clock{}
	fifo := o.delivery == settings.Ordered
	engine := rules.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: fifo})
	p := &pipeline{
		options: o, time: feedTime{engine: engine, timed: rules.Timed()}, clock: clk, sqs: simulate.NewSQS(clk.now), ledger: ledger.NewMemory(ledger.Config{Now: clk.now}),
		account: newAccount(), screen: s, series: map[seriesKey]*series{},
	}
	name := func(base string) string {
		if fifo {
			return base + ".fifo"
		}
		return base
	}
	const fortnight = 14 * 24 * time.Hour
	var err error
	if p.deadURL, err = p.sqs.CreateQueue(simulate.QueueConfig{Name: name(deadLetterName), FIFO: fifo, Retention: fortnight}); err != nil {
		return nil, err
	}
	config := simulate.QueueConfig{Name: name(queueName), FIFO: fifo, Retention: fortnight, DeduplicatePerGroup: fifo,
		VisibilityTimeout: settings.DefaultMaxRetryDelay, DeadLetterURL: p.deadURL, MaxReceiveCount: maxReceiveCount}
	if !fifo {
		config.Order = rand.New(rand.NewPCG(o.seed, 0x7368756666)).IntN
	}
	url, err := p.sqs.CreateQueue(config)
	if err != nil {
		return nil, err
	}
	p.mapping = simulate.Mapping{SQS: p.sqs, QueueURL: url, BatchSize: o.batch, ReportBatchItemFailures: true}
	p.rejects = &rejects{account: p.account, to: queue.Writer{W: rejected, Hide: p.hide}}
	p.handler, err = ingest.New(ingest.Config{
		Environment:       "local",
		Delivery:          o.delivery,
		Engine:            engine,
		Ledger:            p.ledger,
		Notifier:          s,
		Queue:             p.rejects,
		SeriesConcurrency: 1,
		Logger:            slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelError})),
		Metrics:           p.account,
		Now:               clk.now,
	})
	return p, err
}

func (p *pipeline) hide(handle string, after time.Duration) error {
	_, err := p.sqs.ChangeMessageVisibility(context.Background(), &sqs.ChangeMessageVisibilityInput{
		QueueUrl: &p.mapping.QueueURL, ReceiptHandle: &handle, VisibilityTimeout: int32((after + time.Second - 1) / time.Second)})
	return err
}

// run takes every line of in through the pipeline, until its end, that of ctx, or an error.
func (p *pipeline) run(ctx context.Context, in source) error {
	for line, err := range feed.Each(ctx, in) {
		if err != nil {
			return errors.Join(fmt.Errorf("feed: %w", err), p.drain(ctx))
		}
		if err := p.add(ctx, line); err != nil {
			return err
		}
		p.screen.progress(in.Offset(), p.account.read)
	}
	if ctx.Err() != nil {
		return nil
	}
	return p.end(ctx)
}

// add packs one line as it is: whether its event is good is the processor's to judge. It is decoded here only to know its
// series and its time.
func (p *pipeline) add(ctx context.Context, line feed.Line) error {
	const ever = 200 * 365 * 24 * time.Hour
	now := p.clock.now()
	var refused []market.Refusal
	p.events, refused = market.Decode(p.events[:0], line.Text, now, ever)
	n := len(p.events) + len(refused)
	p.account.reads(p.events, len(refused))
	for i := range p.events {
		e := &p.events[i]
		s := p.seriesOf(e)
		if t := e.EventTime(); t <= now.Add(settings.DefaultClockSkew).UnixNano() {
			if err := p.follow(ctx, line.File, t); err != nil {
				return err
			}
			s.timer.read, s.timer.lag = false, max(0, p.time.now-t)
		}
		p.last = s
	}
	switch {
	case strings.HasPrefix(strings.TrimLeft(line.Text, " \t\r"), "["):
		// An array is a message of its own, and may hold several series: nothing of theirs may be under way beside it.
		if err := p.drain(ctx); err != nil {
			return err
		}
		if err := p.send(ctx, p.group(), line.Text, n); err != nil {
			return err
		}
		return p.deliver(ctx, 0)
	case len(p.events) == 0 && (p.last == nil || p.last.events == 0):
		// What is no event never begins a message: the decoder would try it and the lines behind it as one event.
		return p.send(ctx, p.group(), line.Text, n)
	}
	return p.pack(ctx, p.last, line.Text)
}

// group is that of the line before, for a line that names none.
func (p *pipeline) group() string {
	if p.last == nil {
		return "unreadable"
	}
	return p.last.group
}

func (p *pipeline) seriesOf(e *market.Event) *series {
	s := p.series[seriesKey{e.Symbol, e.Source}]
	if s == nil {
		s = &series{symbol: strings.Clone(e.Symbol), source: strings.Clone(e.Source), group: producer.MessageGroup(e.Symbol, e.Source)}
		p.series[seriesKey{s.symbol, s.source}] = s
		p.inOrder = append(p.inOrder, s)
	}
	return s
}

// pack adds a line to the message that is being packed for s.
func (p *pipeline) pack(ctx context.Context, s *series, line string) error {
	if s.events > 0 && s.body.Len()+1+len(line) > maxBody {
		if err := p.seal(ctx, s); err != nil {
			return err
		}
	}
	if s.events > 0 {
		s.body.WriteByte('\n')
	}
	s.body.WriteString(line)
	if s.events++; s.events < p.options.pack {
		return nil
	}
	return p.seal(ctx, s)
}

func (p *pipeline) seal(ctx context.Context, s *series) error {
	if s.events == 0 {
		return nil
	}
	body, events := s.body.String(), s.events
	s.body.Reset()
	s.events = 0
	return p.send(ctx, s.group, body, events)
}

// send sends a message, line by line where SQS refuses it whole, and lets full batches be processed.
func (p *pipeline) send(ctx context.Context, group, body string, events int) error {
	p.messages++
	id := "local-" + strconv.Itoa(p.messages)
	in := &sqs.SendMessageInput{QueueUrl: &p.mapping.QueueURL, MessageBody: &body, MessageAttributes: map[string]types.MessageAttributeValue{
		producer.OriginMessageID: {DataType: new("String"), StringValue: &id}}}
	if p.delivery == settings.Ordered {
		in.MessageGroupId, in.MessageDeduplicationId = &group, &id
	}
	_, err := p.sqs.SendMessage(context.WithoutCancel(ctx), in)
	var refusal smithy.APIError
	switch {
	case err == nil:
		p.account.sent(id, events)
		return p.deliver(ctx, p.batch*p.concurrent)
	case !errors.As(err, &refusal):
		return fmt.Errorf("sending message %s: %w", id, err)
	case strings.Contains(body, "\n"):
		for line := range strings.SplitSeq(body, "\n") {
			if err := p.send(ctx, group, line, 1); err != nil {
				return err
			}
		}
		return nil
	}
	p.account.unsendable(events)
	return errors.Join(p.rejects.Reject(ctx, []market.Rejected{{Body: body, Reason: market.Reason("sqs:" + refusal.ErrorCode()), OriginMessageID: id, Group: group}})...)
}

// drain has everything processed that was read so far.
func (p *pipeline) drain(ctx context.Context) error {
	for _, s := range p.inOrder {
		if ctx.Err() != nil {
			return nil
		}
		if err := p.seal(ctx, s); err != nil {
			return err
		}
	}
	return p.deliver(ctx, 0)
}

// deliver lets the event source mapping work while at least so many messages are visible, 0 = until the queue is empty.
// Where only hidden messages are left, the clock jumps to the first that returns.
func (p *pipeline) deliver(ctx context.Context, least int) error {
	for ctx.Err() == nil {
		visible, hidden, _ := p.sqs.Depth(p.mapping.QueueURL)
		if visible+hidden == 0 || visible < least {
			return nil
		}
		n, err := p.poll(context.WithoutCancel(ctx)) // a batch that was begun is finished
		if err != nil {
			return err
		}
		if at, ok := p.sqs.NextVisible(p.mapping.QueueURL); n == 0 && ok {
			p.clock.jump(at)
		}
	}
	return nil
}

// poll makes as many invocations as may run at the same time and returns how many messages they received.
func (p *pipeline) poll(ctx context.Context) (int, error) {
	if p.concurrent == 1 {
		return p.pollOnce(ctx)
	}
	counts, errs := make([]int, p.concurrent), make([]error, p.concurrent)
	var wg sync.WaitGroup
	for i := range p.concurrent {
		wg.Go(func() { counts[i], errs[i] = p.pollOnce(ctx) })
	}
	wg.Wait()
	n := 0
	for _, c := range counts {
		n += c
	}
	return n, errors.Join(errs...)
}

func (p *pipeline) pollOnce(ctx context.Context) (int, error) {
	n, err := p.mapping.Poll(ctx, p.invoke)
	if n > 0 && err != nil {
		// The invocation failed, and the handler has told why: its messages come back.
		return n, nil
	}
	return n, err
}

// invoke is the Lambda: an event's JSON in, the response's out.
func (p *pipeline) invoke(ctx context.Context, payload []byte) ([]byte, error) {
	records, err := ingest.ParseEvent(payload) // for the account
	if err != nil {
		return nil, err
	}
	start := time.Now()
	response, err := p.handler.HandleEvent(ctx, payload)
	p.account.invoked(records, response, err, time.Since(start))
	if err != nil {
		return nil, err
	}
	return response.AppendJSON(nil), nil
}

// rejects counts what the handler refuses and keeps it through the queue's twin.
type rejects struct {
	account *account
	mu      sync.Mutex
	to      queue.Writer
}

func (r *rejects) Reject(ctx context.Context, rejected []market.Rejected) []error {
	r.mu.Lock()
	defer r.mu.Unlock()
	errs := r.to.Reject(ctx, rejected)
	for i := range rejected {
		if errs[i] == nil {
			r.account.rejects(&rejected[i])
		}
	}
	return errs
}

func (r *rejects) SetVisibility(ctx context.Context, delays []market.Delay) error {
	return r.to.SetVisibility(ctx, delays)
}
