package producer

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const attributeType = "String"

// dispatch is the producer's one goroutine that decides what is sent when; each request has a goroutine of its own.
func (p *Producer) dispatch() {
	defer close(p.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for p.calls.Err() == nil {
		timer.Reset(p.step())
		select {
		case <-p.nudge:
		case <-timer.C:
		case <-p.calls.Done():
		}
	}
}

// step does what is due, and returns how long nothing more will be.
func (p *Producer) step() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if !p.flushAt.IsZero() && !now.Before(p.flushAt) {
		p.flush()
	}
	for len(p.retries) > 0 && !now.Before(p.retries[0].again) {
		p.ready = append(p.ready, heap.Pop(&p.retries).(*message))
	}
	for p.inFlight < p.cfg.Concurrency && len(p.ready) > 0 {
		batch := p.take(now)
		p.inFlight++
		p.senders.Go(func() { p.send(batch) })
	}
	next := now.Add(time.Hour)
	if !p.flushAt.IsZero() {
		next = p.flushAt
	}
	if len(p.retries) > 0 && p.retries[0].again.Before(next) {
		next = p.retries[0].again
	}
	return next.Sub(now)
}

// take removes the messages of one request from ready. No two are of one group: a busy group has only one in ready.
func (p *Producer) take(now time.Time) []*message {
	n, size := 0, 0
	for n < len(p.ready) && n < maxRequestEntries {
		m := p.ready[n]
		if n > 0 && (m.alone || p.ready[0].alone || size+m.size > MaxRequestBytes) {
			break
		}
		n, size = n+1, size+m.size
	}
	batch := slices.Clone(p.ready[:n])
	p.ready = slices.Delete(p.ready, 0, n)
	for _, m := range batch {
		if m.attempts == 0 {
			m.first = now
		} else {
			p.stats.Retries++
		}
		m.attempts++
	}
	p.stats.Requests++
	p.stats.Chunks += int64((size + BillingChunk - 1) / BillingChunk)
	return batch
}

// refusal is SQS's answer for one message: nil = accepted.
type refusal struct {
	err       error
	permanent bool
}

// send sends one request and settles its messages.
func (p *Producer) send(batch []*message) {
	answers, whole := p.call(batch)

	wait := p.backoff(batch)
	now := time.Now()
	var again []*message
	var retried error
	for i, m := range batch {
		a := answers[i]
		switch {
		case a.err == nil:
		case whole && a.permanent && len(batch) > 1:
			// One message spoils the request: which one shows when each is sent alone.
			m.alone, m.again = true, now
			again = append(again, m)
		case a.permanent:
			p.giveUp(m, a.err)
		case p.calls.Err() == nil && now.Add(wait).Sub(m.first) > p.cfg.GiveUpAfter:
			p.giveUp(m, fmt.Errorf("given up after %d attempts in %s: %w", m.attempts, now.Sub(m.first), a.err))
		default:
			retried = a.err
			m.again = now.Add(wait) // the same for all of a request, so that they share the next one, too
			again = append(again, m)
		}
	}
	if retried != nil && p.cfg.OnRetry != nil && p.calls.Err() == nil {
		p.cfg.OnRetry(retried)
	}

	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
	for _, m := range batch {
		if !slices.Contains(again, m) {
			p.resolve(m)
		}
	}
	for _, m := range again {
		heap.Push(&p.retries, m)
	}
	p.wake()
}

// call makes the request. whole tells that it failed as a whole.
func (p *Producer) call(batch []*message) (answers []refusal, whole bool) {
	in := &sqs.SendMessageBatchInput{QueueUrl: &p.cfg.QueueURL, Entries: make([]types.SendMessageBatchRequestEntry, len(batch))}
	for i, m := range batch {
		entry := types.SendMessageBatchRequestEntry{
			Id:          aws.String(strconv.Itoa(i)),
			MessageBody: &m.body,
			MessageAttributes: map[string]types.MessageAttributeValue{
				OriginMessageID: {DataType: aws.String(attributeType), StringValue: &m.id},
			},
		}
		if p.fifo {
			entry.MessageGroupId, entry.MessageDeduplicationId = &m.group.name, &m.id
		}
		in.Entries[i] = entry
	}
	ctx, cancel := context.WithTimeout(p.calls, p.cfg.CallTimeout)
	defer cancel()
	out, err := p.cfg.Client.SendMessageBatch(ctx, in, func(o *sqs.Options) { o.Retryer = aws.NopRetryer{} })

	answers = make([]refusal, len(batch))
	if err == nil && out == nil {
		err = errors.New("the client returned neither a response nor an error")
	}
	for i := range answers {
		answers[i].err = errors.New("SQS did not say what became of the message")
		if err != nil {
			answers[i] = refusal{err: err, permanent: spoilt(err)}
		}
	}
	if err != nil {
		return answers, true
	}
	position := func(id *string) (int, bool) {
		i, err := strconv.Atoi(aws.ToString(id))
		return i, err == nil && i >= 0 && i < len(answers)
	}
	for _, f := range out.Failed {
		if i, ok := position(f.Id); ok {
			code := aws.ToString(f.Code)
			answers[i] = refusal{
				err:       fmt.Errorf("SQS refused the message: %s: %s", code, aws.ToString(f.Message)),
				permanent: f.SenderFault && !passing(code),
			}
		}
	}
	for _, s := range out.Successful {
		if i, ok := position(s.Id); ok {
			answers[i] = refusal{}
		}
	}
	return answers, false
}

// backoff is the wait before the messages of batch are tried again: exponential in the attempts of the most tried, and
// random between half and all of that, so that producers that failed together do not return together.
func (p *Producer) backoff(batch []*message) time.Duration {
	attempts := 1
	for _, m := range batch {
		attempts = max(attempts, m.attempts)
	}
	wait := p.cfg.RetryBase
	for i := 1; i < attempts && wait < p.cfg.RetryMax; i++ {
		wait *= 2
	}
	wait = min(wait, p.cfg.RetryMax)
	return wait/2 + rand.N(wait/2+1)
}

// spoilt tells whether a request was refused for what it contains, so that repeating it cannot help. Everything else
// may heal: an outage, throttling, even a missing permission or queue while a deployment is under way.
func spoilt(err error) bool {
	var api interface{ ErrorCode() string }
	if !errors.As(err, &api) {
		return false
	}
	code := api.ErrorCode()
	switch code[strings.LastIndexByte(code, '.')+1:] { // some carry the prefix "AWS.SimpleQueueService."
	case "InvalidMessageContents", "BatchRequestTooLong", "InvalidParameterValue", "InvalidAttributeValue", "MissingParameter", "UnsupportedOperation":
		return true
	}
	return false
}

// passing tells whether SQS's code for one message means throttling or the queue's key, which SQS counts as the
// sender's fault though the message is good.
func passing(code string) bool {
	code = strings.ToLower(code)
	return strings.Contains(code, "throttl") || strings.Contains(code, "kms") || strings.Contains(code, "overlimit")
}

// retries is a heap of messages by the time of their next attempt.
type retries []*message

func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].again.Before(r[j].again) }
func (r retries) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(m any)        { *r = append(*r, m.(*message)) }
func (r *retries) Pop() any {
	last := (*r)[len(*r)-1]
	*r = slices.Delete(*r, len(*r)-1, len(*r))
	return last
}
