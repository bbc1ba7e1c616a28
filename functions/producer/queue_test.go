package producer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/producer"
)

const (
	fifoURL     = "https://sqs.eu-west-1.amazonaws.com/123456789012/market-data-dev.fifo"
	standardURL = "https://sqs.eu-west-1.amazonaws.com/123456789012/market-data-dev"
)

// queue is SQS as a producer sees it: it checks every request against SQS's rules and the producer's own promise, and
// keeps what it accepts. fault, if set, decides what goes wrong.
type queue struct {
	fault func(attempt int, entries []types.SendMessageBatchRequestEntry) fault
	delay time.Duration // of every request

	mu       sync.Mutex
	requests int
	parallel int     // requests under way
	most     int     // of parallel, ever
	sizes    [][]int // of the messages, by request
	seen     map[string]bool
	accepted []accepted          // in order, without what deduplication drops
	attempts map[string][]string // deduplication or origin id of every entry, by body
	underWay map[string]bool     // groups
	broken   []string            // broken rules
}

type accepted struct{ id, group, body string }

// fault is what goes wrong with one request.
type fault struct {
	before error           // nothing is accepted, and this is returned
	after  error           // accepted, but this is returned: a lost response
	failed map[int]failure // by entry
	omit   map[int]bool    // accepted, but not in the response
	hang   bool            // until the context ends, nothing accepted
}

type failure struct {
	code   string
	sender bool
}

func (q *queue) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, options ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	fifo := strings.HasSuffix(aws.ToString(in.QueueUrl), ".fifo")
	q.mu.Lock()
	q.requests++
	q.parallel++
	q.most = max(q.most, q.parallel)
	if q.seen == nil {
		q.seen, q.attempts, q.underWay = map[string]bool{}, map[string][]string{}, map[string]bool{}
	}
	q.check(in, fifo, options)
	var f fault
	if q.fault != nil {
		f = q.fault(q.requests, in.Entries)
	}
	q.mu.Unlock()

	if f.hang {
		<-ctx.Done()
	} else if q.delay > 0 {
		select {
		case <-time.After(q.delay):
		case <-ctx.Done():
			f.before = ctx.Err()
		}
	}

	q.mu.Lock()
	defer q.mu.Unlock()
	q.parallel--
	for _, e := range in.Entries {
		delete(q.underWay, aws.ToString(e.MessageGroupId))
	}
	if f.hang {
		return nil, ctx.Err()
	}
	if f.before != nil {
		return nil, f.before
	}
	out := &sqs.SendMessageBatchOutput{}
	for i, e := range in.Entries {
		if bad, ok := f.failed[i]; ok {
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: &bad.code, SenderFault: bad.sender, Message: aws.String("said the test")})
			continue
		}
		id := aws.ToString(e.MessageAttributes[producer.OriginMessageID].StringValue)
		if !q.seen[id] {
			q.seen[id] = true
			q.accepted = append(q.accepted, accepted{id, aws.ToString(e.MessageGroupId), *e.MessageBody})
		}
		if !f.omit[i] {
			out.Successful = append(out.Successful, types.SendMessageBatchResultEntry{Id: e.Id})
		}
	}
	if f.after != nil {
		return nil, f.after
	}
	return out, nil
}

func (q *queue) check(in *sqs.SendMessageBatchInput, fifo bool, options []func(*sqs.Options)) {
	broken := func(format string, args ...any) { q.broken = append(q.broken, fmt.Sprintf(format, args...)) }
	var o sqs.Options
	for _, set := range options {
		set(&o)
	}
	if o.Retryer == nil || o.Retryer.MaxAttempts() != 1 {
		broken("the client's own retries are on")
	}
	if n := len(in.Entries); n < 1 || n > 10 {
		broken("%d entries", n)
	}
	total, ids := 0, map[string]bool{}
	var sizes []int
	for _, e := range in.Entries {
		if ids[*e.Id] {
			broken("entry id %s twice", *e.Id)
		}
		ids[*e.Id] = true
		size := len(*e.MessageBody)
		for name, v := range e.MessageAttributes {
			size += len(name) + len(*v.DataType) + len(*v.StringValue)
		}
		total += size
		sizes = append(sizes, size)
		origin := aws.ToString(e.MessageAttributes[producer.OriginMessageID].StringValue)
		if origin == "" {
			broken("no %s", producer.OriginMessageID)
		}
		q.attempts[*e.MessageBody] = append(q.attempts[*e.MessageBody], origin)
		if !fifo {
			if e.MessageGroupId != nil || e.MessageDeduplicationId != nil {
				broken("group or deduplication id on a standard queue")
			}
			continue
		}
		if aws.ToString(e.MessageDeduplicationId) != origin {
			broken("deduplication id %q, origin %q", aws.ToString(e.MessageDeduplicationId), origin)
		}
		group := aws.ToString(e.MessageGroupId)
		if group == "" || q.underWay[group] {
			broken("two unacknowledged messages of group %q", group)
		}
		q.underWay[group] = true
	}
	if total > producer.MaxRequestBytes {
		broken("request of %d bytes", total)
	}
	q.sizes = append(q.sizes, sizes)
}

// verify fails t if a rule was broken.
func (q *queue) verify(t *testing.T) {
	t.Helper()
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, b := range q.broken {
		t.Error(b)
	}
}

// made is how many requests were made.
func (q *queue) made() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.requests
}

// bodies are those accepted so far, in order.
func (q *queue) bodies() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []string
	for _, a := range q.accepted {
		all = append(all, a.body)
	}
	return all
}

// events are the decoded events accepted so far, by series and in order.
func (q *queue) events(t *testing.T) map[string][]int64 {
	t.Helper()
	all := map[string][]int64{}
	for _, body := range q.bodies() {
		events, refused := market.Decode(nil, body, time.Now(), time.Minute)
		if len(refused) > 0 {
			t.Fatalf("the processor would refuse %v", refused[0].Error())
		}
		for _, e := range events {
			all[e.Series()] = append(all[e.Series()], e.Sequence)
		}
	}
	return all
}

// trade is the n-th trade of a series.
func trade(symbol, source string, n int) *market.Event {
	return &market.Event{Kind: market.Trade, Symbol: symbol, Source: source, Price: 100 * market.Unit, Size: market.Unit,
		Time: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), HasSeq: true, Sequence: int64(n)}
}

// padded is a trade whose line has exactly size bytes.
func padded(t *testing.T, symbol string, n, size int) *market.Event {
	t.Helper()
	e := trade(symbol, "", n)
	missing := size - len(e.AppendJSON(nil)) - len(`,"conditions":[""]`)
	var conditions strings.Builder
	for ; missing > 120; missing -= 103 {
		conditions.WriteString(strings.Repeat("x", 100) + `","`)
	}
	if missing < 0 {
		t.Fatalf("a line of %d bytes is too short", size)
	}
	e.Conditions = `["` + conditions.String() + strings.Repeat("x", missing) + `"]`
	return e
}

// start makes a producer that is closed with the test.
func start(t *testing.T, c producer.Config) *producer.Producer {
	t.Helper()
	if c.QueueURL == "" {
		c.QueueURL = fifoURL
	}
	p, err := producer.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, ok := errors.AsType[*producer.LostError](p.Close(context.Background())); ok {
			t.Log("messages were given up")
		}
	})
	return p
}

func send(t *testing.T, p *producer.Producer, events ...*market.Event) {
	t.Helper()
	for _, e := range events {
		if err := p.Send(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}
