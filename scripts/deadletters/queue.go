package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// api is what the command calls of SQS.
type api interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	SendMessage(context.Context, *sqs.SendMessageInput, ...func(*sqs.Options)) (*sqs.SendMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibilityBatch(context.Context, *sqs.ChangeMessageVisibilityBatchInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error)
	GetQueueAttributes(context.Context, *sqs.GetQueueAttributesInput, ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error)
}

var _ api = (*sqs.Client)(nil)

const (
	maxEntries = 10      // of a call, and messages of a receive
	maxBytes   = 1 << 20 // of a message: body and attributes

	waitSeconds = 2 // of a receive: 0 would ask some of SQS's servers only

	// What is looked at together of a standard queue, which has no order: it is put in order, and halves find each other.
	windowMessages = 250
	windowBytes    = 32 << 20

	// maxHalves bounds the halves that wait for their other half, each with up to 1 MiB.
	maxHalves = 128

	// leaseMargin is the time before its visibility ends in which no message is moved any more.
	leaseMargin = 20 * time.Second

	cleanUp = 30 * time.Second // for what must still be done after an interruption
)

// visibility is for how long n messages are hidden while they are looked at.
func visibility(n int) time.Duration {
	return (time.Minute + time.Duration(n)*30*time.Millisecond).Truncate(time.Second)
}

// errEnough ends a walk without an error.
var errEnough = errors.New("enough")

// fate is what becomes of a message that was looked at.
type fate uint8

const (
	stays  fate = iota // hidden until the walk ends, then given back
	gone               // deleted
	unseen             // given back at once, and looked at again
)

// walk looks at the messages of one queue. It holds what it has received, as only that brings others, and gives back what
// stays: in the order of receipt, so that no message of a group comes before an older one.
type walk struct {
	api  api
	name string
	url  string
	max  int // messages held at a time
	now  func() time.Time
	note func(format string, args ...any)

	hidden time.Duration
	filled time.Time         // when the messages at hand were first received
	held   map[string]string // message id -> handle
	order  []string          // ids of held, and of what is no longer held
	halves []*letter         // of which the other half has not been seen
	seen   int               // messages, each once
	stale  int               // messages that came again while they were held, since the last one that did not
	full   map[string]bool   // groups of which ten messages are held: more may be behind them
}

// run hands the messages to visit: of a FIFO queue each group in its order, of a standard queue by the time they were
// sent, as far as they are looked at together. visit sets their fates; it is called at least once more after messages of a
// group are gone or unseen. An error of visit ends the walk, errEnough without an error. What stays is given back
// whatever happens.
func (w *walk) run(ctx context.Context, visit func(context.Context, []*letter) error) (err error) {
	w.held, w.full = map[string]string{}, map[string]bool{}
	visible, inFlight, err := w.count(ctx)
	if err != nil {
		return err
	}
	w.hidden = visibility(min(visible, w.max))
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUp)
		defer cancel()
		err = errors.Join(err, w.giveBack(ctx, w.order))
	}()
	for end := false; !end; {
		var messages []types.Message
		if messages, end, err = w.fill(ctx); err != nil {
			return err
		}
		letters := w.letters(messages, end)
		stop := visit(ctx, letters)
		if err := w.settle(ctx, letters); err != nil && (stop == nil || stop == errEnough) {
			return err
		}
		if stop == errEnough {
			return nil
		}
		if stop != nil {
			return stop
		}
		end = end && !slices.ContainsFunc(letters, func(l *letter) bool { return l.fate == unseen })
	}
	w.conclude(visible, inFlight)
	return nil
}

// count asks for the queue's approximate numbers.
func (w *walk) count(ctx context.Context) (visible, inFlight int, err error) {
	out, err := w.api.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{QueueUrl: &w.url, AttributeNames: []types.QueueAttributeName{
		types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible}})
	if err != nil {
		return 0, 0, fmt.Errorf("counting the messages of %s: %w", queueName(w.url), err)
	}
	visible, err = strconv.Atoi(out.Attributes[string(types.QueueAttributeNameApproximateNumberOfMessages)])
	if err == nil {
		inFlight, err = strconv.Atoi(out.Attributes[string(types.QueueAttributeNameApproximateNumberOfMessagesNotVisible)])
	}
	if err != nil {
		return 0, 0, fmt.Errorf("counting the messages of %s: SQS's answer: %w", queueName(w.url), err)
	}
	return visible, inFlight, nil
}

// fill receives what is looked at together; end tells that nothing more is to be had.
func (w *walk) fill(ctx context.Context) (messages []types.Message, end bool, err error) {
	bytes := 0
	w.filled = w.now()
	for {
		if len(w.held) >= w.max {
			w.note("%s: %d messages are held, which is --max: what is behind them was not looked at", w.name, len(w.held))
			return messages, true, nil
		}
		fresh, n, err := w.receive(ctx)
		if err != nil {
			return nil, true, err
		}
		// Messages that come again were hidden for less time than the walk takes.
		if n == 0 || w.stale > len(w.held) {
			return messages, true, nil
		}
		messages = append(messages, fresh...)
		for i := range fresh {
			bytes += len(aws.ToString(fresh[i].Body))
		}
		if len(messages) > 0 && (isFIFO(w.url) || len(messages) >= windowMessages || bytes >= windowBytes || w.now().Sub(w.filled) > w.hidden/4) {
			return messages, false, nil
		}
	}
}

// receive receives up to ten messages, n, and returns those that are not held already.
func (w *walk) receive(ctx context.Context) (fresh []types.Message, n int, err error) {
	in := &sqs.ReceiveMessageInput{
		QueueUrl: &w.url, MaxNumberOfMessages: maxEntries, VisibilityTimeout: int32(w.hidden / time.Second), WaitTimeSeconds: waitSeconds,
		MessageAttributeNames:       []string{"All"},
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll},
	}
	if isFIFO(w.url) {
		// The client's own retry, after a lost response, receives the same messages.
		in.ReceiveRequestAttemptId = aws.String(rand.Text())
	}
	out, err := w.api.ReceiveMessage(ctx, in)
	var over *types.OverLimit
	if errors.As(err, &over) {
		return nil, 0, fmt.Errorf("receiving from %s: SQS has as many messages in flight as it allows, 120000: wait for others who read the queue, or for the %s that an interrupted look hides them: %w",
			queueName(w.url), w.hidden, err)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("receiving from %s: %w", queueName(w.url), err)
	}
	for _, m := range out.Messages {
		id := aws.ToString(m.MessageId)
		if _, known := w.held[id]; known {
			w.stale++
		} else {
			w.stale = 0
			fresh = append(fresh, m)
			w.order = append(w.order, id)
		}
		w.held[id] = aws.ToString(m.ReceiptHandle)
	}
	fresh, err = w.leaveCutGroup(ctx, fresh, len(out.Messages))
	if before := w.seen / 1000; (w.seen+len(fresh))/1000 > before {
		w.note("%s: %d messages read", w.name, w.seen+len(fresh))
	}
	w.seen += len(fresh)
	return fresh, len(out.Messages), err
}

// leaveCutGroup gives back the last group of a full receive that holds others before it: held, its first messages would
// block the rest of its ten.
func (w *walk) leaveCutGroup(ctx context.Context, fresh []types.Message, received int) ([]types.Message, error) {
	if !isFIFO(w.url) || received < maxEntries || len(fresh) == 0 {
		return fresh, nil
	}
	last := groupOf(fresh[len(fresh)-1])
	var kept []types.Message
	var back []string
	for _, m := range fresh {
		if groupOf(m) == last {
			back = append(back, aws.ToString(m.MessageId))
		} else {
			kept = append(kept, m)
		}
	}
	if len(kept) == 0 {
		return fresh, nil
	}
	return kept, w.giveBack(ctx, back)
}

func groupOf(m types.Message) string {
	return m.Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]
}

// letters reads the messages, joins halves and puts those of a standard queue in order. At the end it adds the halves
// that are left.
func (w *walk) letters(messages []types.Message, end bool) []*letter {
	until := w.filled.Add(w.hidden - leaseMargin)
	var out []*letter
	for _, m := range messages {
		l := read(w.name, m)
		l.until = until
		if l.part == "" {
			out = append(out, l)
			continue
		}
		other := slices.IndexFunc(w.halves, l.completes)
		if other < 0 {
			w.halves = append(w.halves, l)
			continue
		}
		out = append(out, join(l, w.halves[other]))
		w.halves = slices.Delete(w.halves, other, other+1)
	}
	left := len(w.halves)
	if !end {
		left = max(0, left-maxHalves)
	}
	out = append(out, w.halves[:left]...)
	w.halves = slices.Delete(w.halves, 0, left)
	if !isFIFO(w.url) {
		slices.SortStableFunc(out, func(a, b *letter) int {
			return cmp.Or(a.sent.Compare(b.sent), cmp.Compare(a.origin, b.origin), cmp.Compare(a.index, b.index))
		})
	}
	return out
}

// settle forgets what is gone and gives back at once what was not seen and, of a group that has become shorter, what
// stays: the next receive brings it with what was behind it.
func (w *walk) settle(ctx context.Context, letters []*letter) error {
	shorter, count := map[string]bool{}, map[string]int{}
	for _, l := range letters {
		switch l.fate {
		case gone:
			for _, p := range l.parts {
				delete(w.held, p.id)
			}
			shorter[l.group] = true
		case unseen:
			shorter[l.group] = true
		default:
			count[l.group]++
		}
	}
	var back []string
	for _, l := range letters {
		if l.fate == unseen || l.fate == stays && isFIFO(w.url) && shorter[l.group] {
			for _, p := range l.parts {
				back = append(back, p.id)
			}
			w.seen -= len(l.parts)
		}
	}
	for group, n := range count {
		if isFIFO(w.url) && !shorter[group] && n >= maxEntries {
			w.full[group] = true
		}
	}
	if len(w.order) > 2*len(w.held)+1000 {
		w.order = slices.DeleteFunc(w.order, func(id string) bool { _, held := w.held[id]; return !held })
	}
	return w.giveBack(ctx, back)
}

// giveBack makes held messages visible again.
func (w *walk) giveBack(ctx context.Context, ids []string) error {
	ids = slices.DeleteFunc(slices.Clone(ids), func(id string) bool { _, held := w.held[id]; return !held })
	var errs []error
	for chunk := range slices.Chunk(ids, maxEntries) {
		in := &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &w.url}
		for i, id := range chunk {
			in.Entries = append(in.Entries, types.ChangeMessageVisibilityBatchRequestEntry{
				Id: aws.String(strconv.Itoa(i)), ReceiptHandle: aws.String(w.held[id]), VisibilityTimeout: 0})
		}
		// An entry fails where its message has become visible by itself, or is gone.
		if _, err := w.api.ChangeMessageVisibilityBatch(ctx, in); err != nil {
			errs = append(errs, err)
			continue
		}
		for _, id := range chunk {
			delete(w.held, id)
		}
	}
	w.order = slices.DeleteFunc(w.order, func(id string) bool { _, held := w.held[id]; return !held })
	if len(errs) > 0 {
		return fmt.Errorf("giving back messages of %s, which come back by themselves within %s: %w", queueName(w.url), w.hidden, errs[0])
	}
	return nil
}

// remove deletes messages for good. On an error any of them may be left.
func (w *walk) remove(ctx context.Context, letters ...*letter) error {
	var parts []part
	for _, l := range letters {
		parts = append(parts, l.parts...)
	}
	for chunk := range slices.Chunk(parts, maxEntries) {
		in := &sqs.DeleteMessageBatchInput{QueueUrl: &w.url}
		for i, p := range chunk {
			in.Entries = append(in.Entries, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: &p.handle})
		}
		out, err := w.api.DeleteMessageBatch(ctx, in)
		if err == nil && len(out.Successful) < len(chunk) {
			code := "no answer"
			if len(out.Failed) > 0 {
				code = aws.ToString(out.Failed[0].Code)
			}
			err = fmt.Errorf("%d of %d messages were not deleted: %s", len(chunk)-len(out.Successful), len(chunk), code)
		}
		if err != nil {
			return fmt.Errorf("deleting from %s: %w", queueName(w.url), err)
		}
	}
	return nil
}

// conclude tells what could not be looked at. visible and inFlight are the queue's approximate numbers at the beginning.
func (w *walk) conclude(visible, inFlight int) {
	if n := visible - w.seen; len(w.full) > 0 {
		behind := ""
		if n > 0 {
			behind = fmt.Sprintf("about %d ", n)
		}
		w.note("%s: %smore may be behind the first ten of %s: SQS shows them when those are moved or purged", w.name, behind, counted(len(w.full), "group"))
	}
	if inFlight > 0 {
		w.note("%s: about %s hidden when this began, by others who read the queue or by a look that was interrupted: run it again later", w.name, areCounted(inFlight, "message"))
	}
}
