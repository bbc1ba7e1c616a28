package simulate

import (
	"context"
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// What SQS allows.
const (
	MaxMessageBytes       = 1 << 20 // one message, and all of a batch: bodies and attributes
	MaxMessageAttributes  = 10
	MaxReceiveMessages    = 10
	MaxInFlight           = 120_000
	MaxVisibility         = 12 * time.Hour
	MaxDelay              = 15 * time.Minute
	MaxRetention          = 14 * 24 * time.Hour
	DeduplicationInterval = 5 * time.Minute
)

// QueueConfig is how a queue is made. The zero value of a field is SQS's default.
type QueueConfig struct {
	Name              string // of a FIFO queue: ends in ".fifo"
	FIFO              bool
	VisibilityTimeout time.Duration // 30 s
	Retention         time.Duration // 4 days
	MaxMessageBytes   int           // 1 MiB

	DeadLetterURL   string // of a queue of the same type; needs MaxReceiveCount
	MaxReceiveCount int    // a message received this often goes to the dead-letter queue at the next receive

	// DeduplicatePerGroup is DeduplicationScope messageGroup: deduplication ids count within their group.
	DeduplicatePerGroup bool

	// Order reorders a standard queue: of n visible messages it chooses the next one to deliver by a number below n,
	// 0 = the oldest, the others in an arbitrary but repeatable order. nil = oldest first.
	Order func(n int) int
}

// SQS is an in-memory SQS. Where the real one may answer in several ways it does the following.
//
//   - A receive returns all that is there, up to what was asked; it never waits.
//   - FIFO: it returns as many messages of the oldest available group as it can, then of the next. A group is blocked
//     while any of its messages is invisible.
//   - A handle of an older receive: on a standard queue a delete succeeds without effect; on a FIFO queue, and once
//     the visibility timeout is over, it fails.
//   - A message sent again within the deduplication interval gets the id and sequence number of the first.
//
// Not simulated: that a FIFO queue looks for available groups only among its first 120,000 messages, long polling,
// receive request attempt ids, system attributes of senders.
type SQS struct {
	// NewID makes message ids, which must be unique. Set it before use; nil = a counter in the form of a UUID.
	NewID func() string

	now func() time.Time

	mu     sync.Mutex
	queues map[string]*queue // by URL
	ids    uint64
}

// NewSQS makes an SQS without queues whose time is now.
func NewSQS(now func() time.Time) *SQS {
	return &SQS{now: now, queues: map[string]*queue{}}
}

// CreateQueue makes a queue and gives its URL. It refuses what SQS refuses.
func (s *SQS) CreateQueue(c QueueConfig) (url string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.VisibilityTimeout == 0 {
		c.VisibilityTimeout = 30 * time.Second
	}
	if c.Retention == 0 {
		c.Retention = 4 * 24 * time.Hour
	}
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = MaxMessageBytes
	}
	dead := s.queues[c.DeadLetterURL]
	base := strings.TrimSuffix(c.Name, ".fifo")
	q := newQueue(c, len(s.queues)+1, s.now().UnixNano())
	switch {
	case !validBatchID(base) || len(c.Name) > 80:
		return "", fmt.Errorf("queue name %q: give 1-80 letters, digits, hyphens and underscores", c.Name)
	case c.FIFO != (base != c.Name):
		return "", fmt.Errorf("queue name %q: the name of a FIFO queue, and of no other, ends in .fifo", c.Name)
	case s.queues[q.url] != nil:
		return "", &types.QueueNameExists{Message: new("A queue already exists with the name " + c.Name)}
	case c.VisibilityTimeout < 0 || c.VisibilityTimeout > MaxVisibility:
		return "", fmt.Errorf("queue %s: visibility timeout %s is not between 0 and 12 hours", c.Name, c.VisibilityTimeout)
	case c.Retention < time.Minute || c.Retention > MaxRetention:
		return "", fmt.Errorf("queue %s: retention %s is not between 1 minute and 14 days", c.Name, c.Retention)
	case c.MaxMessageBytes < 1024 || c.MaxMessageBytes > MaxMessageBytes:
		return "", fmt.Errorf("queue %s: maximum message size %d is not between 1024 and %d", c.Name, c.MaxMessageBytes, MaxMessageBytes)
	case c.DeduplicatePerGroup && !c.FIFO:
		return "", fmt.Errorf("queue %s: only a FIFO queue has a deduplication scope", c.Name)
	case c.Order != nil && c.FIFO:
		return "", fmt.Errorf("queue %s: a FIFO queue cannot be reordered", c.Name)
	case c.DeadLetterURL == "" && c.MaxReceiveCount != 0:
		return "", fmt.Errorf("queue %s: MaxReceiveCount needs DeadLetterURL", c.Name)
	case c.DeadLetterURL != "" && (dead == nil || dead.FIFO != c.FIFO):
		return "", fmt.Errorf("queue %s: dead-letter queue %q must exist and be of the same type", c.Name, c.DeadLetterURL)
	case c.DeadLetterURL != "" && (c.MaxReceiveCount < 1 || c.MaxReceiveCount > 1000):
		return "", fmt.Errorf("queue %s: MaxReceiveCount %d is not between 1 and 1000", c.Name, c.MaxReceiveCount)
	}
	q.deadLetter = dead
	s.queues[q.url] = q
	return q.url, nil
}

// enter locks s, finds the queue and lets time pass on it. The caller unlocks where err is nil.
func (s *SQS) enter(ctx context.Context, url *string) (q *queue, now int64, err error) {
	if err := done(ctx); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	q = s.queues[value(url)]
	if q == nil {
		s.mu.Unlock()
		return nil, 0, &types.QueueDoesNotExist{Message: new("The specified queue does not exist.")}
	}
	now = s.now().UnixNano()
	q.advance(now)
	return q, now, nil
}

// SendMessage is sqs.Client.SendMessage.
func (s *SQS) SendMessage(ctx context.Context, in *sqs.SendMessageInput, _ ...func(*sqs.Options)) (*sqs.SendMessageOutput, error) {
	q, now, err := s.enter(ctx, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	r, err := s.send(q, now, &types.SendMessageBatchRequestEntry{
		MessageBody: in.MessageBody, DelaySeconds: in.DelaySeconds, MessageAttributes: in.MessageAttributes,
		MessageDeduplicationId: in.MessageDeduplicationId, MessageGroupId: in.MessageGroupId,
	})
	if err != nil {
		return nil, err
	}
	return &sqs.SendMessageOutput{
		MessageId: r.MessageId, MD5OfMessageBody: r.MD5OfMessageBody,
		MD5OfMessageAttributes: r.MD5OfMessageAttributes, SequenceNumber: r.SequenceNumber,
	}, nil
}

// SendMessageBatch is sqs.Client.SendMessageBatch.
func (s *SQS) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	q, now, err := s.enter(ctx, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	bytes := 0
	ids := make([]string, len(in.Entries))
	for i := range in.Entries {
		ids[i] = value(in.Entries[i].Id)
		bytes += len(value(in.Entries[i].MessageBody)) + attributeBytes(in.Entries[i].MessageAttributes)
	}
	if err := checkBatch(ids); err != nil {
		return nil, err
	}
	if bytes > MaxMessageBytes {
		return nil, &types.BatchRequestTooLong{Message: new(fmt.Sprintf("Batch requests cannot be longer than %d bytes. You have sent %d bytes.", MaxMessageBytes, bytes))}
	}
	out := &sqs.SendMessageBatchOutput{}
	for i := range in.Entries {
		r, err := s.send(q, now, &in.Entries[i])
		if err != nil {
			out.Failed = append(out.Failed, failed(ids[i], err))
			continue
		}
		r.Id = &ids[i]
		out.Successful = append(out.Successful, r)
	}
	return out, nil
}

func checkBatch(ids []string) error {
	switch {
	case len(ids) == 0:
		return &types.EmptyBatchRequest{Message: new("There should be at least one entry in the request.")}
	case len(ids) > MaxBatchEntries:
		return &types.TooManyEntriesInBatchRequest{Message: new(fmt.Sprintf("Maximum number of entries per request are %d. You have sent %d.", MaxBatchEntries, len(ids)))}
	}
	for i, id := range ids {
		if !validBatchID(id) {
			return &types.InvalidBatchEntryId{Message: new("A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")}
		}
		if slices.Contains(ids[:i], id) {
			return &types.BatchEntryIdsNotDistinct{Message: new("Id " + id + " repeated.")}
		}
	}
	return nil
}

func failed(id string, err error) types.BatchResultErrorEntry {
	code, text := failure(err)
	return types.BatchResultErrorEntry{Id: &id, Code: &code, Message: &text, SenderFault: true}
}

func (s *SQS) send(q *queue, now int64, e *types.SendMessageBatchRequestEntry) (types.SendMessageBatchResultEntry, error) {
	if err := q.check(e); err != nil {
		return types.SendMessageBatchResultEntry{}, err
	}
	sum := md5.Sum([]byte(*e.MessageBody))
	m := &message{
		body: *e.MessageBody, bodyMD5: hex.EncodeToString(sum[:]),
		attributes: cloneAttributes(e.MessageAttributes), attributesMD5: attributesMD5(e.MessageAttributes),
		group: value(e.MessageGroupId), deduplication: value(e.MessageDeduplicationId), sent: now, slot: -1,
	}
	if s.NewID != nil {
		m.id = s.NewID()
	} else {
		s.ids++
		m.id = uuid(s.ids)
	}
	result := types.SendMessageBatchResultEntry{MessageId: &m.id, MD5OfMessageBody: &m.bodyMD5}
	if m.attributesMD5 != "" {
		result.MD5OfMessageAttributes = &m.attributesMD5
	}
	if q.FIFO {
		// 20 digits, growing with the order of arrival, as the real ones.
		m.sequence = strconv.FormatUint(10_000_000_000_000_000_000+q.arrivals+1, 10)
		result.SequenceNumber = &m.sequence
		if first, ok := q.duplicate(m, now); ok {
			result.MessageId, result.SequenceNumber = &first.id, &first.sequence
			return result, nil
		}
	}
	q.add(m, now, time.Duration(e.DelaySeconds)*time.Second)
	return result, nil
}

func (q *queue) check(e *types.SendMessageBatchRequestEntry) error {
	body, group, dedup := value(e.MessageBody), value(e.MessageGroupId), value(e.MessageDeduplicationId)
	invalid := func(name, v, reason string) error {
		return refuse("InvalidParameterValue", "Value %s for parameter %s is invalid. Reason: %s", v, name, reason)
	}
	const token = "it can only include alphanumeric and punctuation characters. 1 to 128 in length."
	switch {
	case body == "":
		return refuse("MissingParameter", "The request must contain the parameter MessageBody.")
	case q.FIFO && e.MessageGroupId == nil:
		return refuse("MissingParameter", "The request must contain the parameter MessageGroupId.")
	case q.FIFO && e.MessageDeduplicationId == nil:
		return refuse("InvalidParameterValue", "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	case !q.FIFO && e.MessageDeduplicationId != nil:
		return invalid("MessageDeduplicationId", dedup, "The request include parameter that is not valid for this queue type")
	case e.MessageGroupId != nil && !validToken(group):
		return invalid("MessageGroupId", group, token)
	case e.MessageDeduplicationId != nil && !validToken(dedup):
		return invalid("MessageDeduplicationId", dedup, token)
	case q.FIFO && e.DelaySeconds != 0:
		return invalid("DelaySeconds", strconv.Itoa(int(e.DelaySeconds)), "The request include parameter that is not valid for this queue type.")
	case e.DelaySeconds < 0 || time.Duration(e.DelaySeconds)*time.Second > MaxDelay:
		return invalid("DelaySeconds", strconv.Itoa(int(e.DelaySeconds)), "DelaySeconds must be >= 0 and <= 900.")
	case len(e.MessageAttributes) > MaxMessageAttributes:
		return refuse("InvalidParameterValue", "Number of message attributes [%d] exceeds the allowed maximum [%d].", len(e.MessageAttributes), MaxMessageAttributes)
	case len(body)+attributeBytes(e.MessageAttributes) > q.MaxMessageBytes:
		return refuse("InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than %d bytes.", q.MaxMessageBytes)
	case !validText(body):
		return &types.InvalidMessageContents{Message: new("Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF.")}
	}
	for _, name := range sorted(e.MessageAttributes) {
		if err := checkAttribute(name, e.MessageAttributes[name]); err != nil {
			return err
		}
	}
	return nil
}

func checkAttribute(name string, a types.MessageAttributeValue) error {
	if what := attributeName(name); what != "" {
		return refuse("InvalidParameterValue", "Message (user) attribute name %q %s.", name, what)
	}
	kind, _, _ := strings.Cut(value(a.DataType), ".")
	text := value(a.StringValue)
	switch {
	case len(value(a.DataType)) > maxNameLength || kind != "String" && kind != "Number" && kind != "Binary":
		return refuse("InvalidParameterValue", "The type of message (user) attribute '%s' is invalid. You must use only the following supported type prefixes: Binary, Number, String.", name)
	case kind == "Binary" && len(a.BinaryValue) == 0 || kind != "Binary" && text == "":
		return refuse("InvalidParameterValue", "Message (user) attribute '%s' must contain a non-empty value of type '%s'.", name, kind)
	case kind == "Binary" && a.StringValue != nil || kind != "Binary" && a.BinaryValue != nil:
		return refuse("InvalidParameterValue", "Message (user) attribute '%s' has multiple values.", name)
	case !validText(text):
		return &types.InvalidMessageContents{Message: new("Message (user) attribute '" + name + "' has invalid characters.")}
	case kind == "Number" && !isNumber(text):
		return refuse("InvalidParameterValue", "Can't cast the value of message (user) attribute '%s' to a number.", name)
	}
	return nil
}

func isNumber(s string) bool {
	f, err := strconv.ParseFloat(s, 64)
	return err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) && !strings.ContainsAny(s, "xX_")
}

func attributeBytes(attributes map[string]types.MessageAttributeValue) int {
	n := 0
	for name, a := range attributes {
		n += len(name) + len(value(a.DataType)) + len(value(a.StringValue)) + len(a.BinaryValue)
	}
	return n
}

// attributesMD5 is SQS's digest of message attributes, "" where there are none.
func attributesMD5(attributes map[string]types.MessageAttributeValue) string {
	if len(attributes) == 0 {
		return ""
	}
	var b []byte
	field := func(s string) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	for _, name := range sorted(attributes) {
		a := attributes[name]
		field(name)
		field(value(a.DataType))
		if a.BinaryValue != nil {
			b = append(b, 2)
			field(string(a.BinaryValue))
		} else {
			b = append(b, 1)
			field(value(a.StringValue))
		}
	}
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// ReceiveMessage is sqs.Client.ReceiveMessage. It never waits.
func (s *SQS) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, _ ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	max := int(in.MaxNumberOfMessages)
	if max == 0 {
		max = 1
	}
	if max < 1 || max > MaxReceiveMessages {
		return nil, refuse("InvalidParameterValue", "Value %d for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.", max)
	}
	if t := time.Duration(in.VisibilityTimeout) * time.Second; t < 0 || t > MaxVisibility {
		return nil, refuse("InvalidParameterValue", "Value %d for parameter VisibilityTimeout is invalid. Reason: Must be >= 0 and <= 43200, if provided.", in.VisibilityTimeout)
	}
	if in.WaitTimeSeconds < 0 || in.WaitTimeSeconds > 20 {
		return nil, refuse("InvalidParameterValue", "Value %d for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.", in.WaitTimeSeconds)
	}
	deliveries, err := s.receive(ctx, in.QueueUrl, max, time.Duration(in.VisibilityTimeout)*time.Second, 0, nil)
	if err != nil {
		return nil, err
	}
	asked := func(name types.MessageSystemAttributeName) bool {
		return slices.Contains(in.MessageSystemAttributeNames, name) ||
			slices.Contains(in.MessageSystemAttributeNames, types.MessageSystemAttributeNameAll)
	}
	out := &sqs.ReceiveMessageOutput{Messages: make([]types.Message, 0, len(deliveries))}
	for i := range deliveries {
		d := &deliveries[i]
		m := types.Message{MessageId: new(d.id), ReceiptHandle: &d.handle, Body: new(d.body), MD5OfBody: new(d.bodyMD5)}
		d.system(func(name types.MessageSystemAttributeName, v string) {
			if asked(name) {
				if m.Attributes == nil {
					m.Attributes = map[string]string{}
				}
				m.Attributes[string(name)] = v
			}
		})
		m.MessageAttributes = cloneAttributes(d.attributes)
		maps.DeleteFunc(m.MessageAttributes, func(name string, _ types.MessageAttributeValue) bool {
			return !slices.ContainsFunc(in.MessageAttributeNames, func(wanted string) bool {
				prefix, ok := strings.CutSuffix(wanted, ".*")
				return wanted == "All" || wanted == name || ok && strings.HasPrefix(name, prefix)
			})
		})
		if len(m.MessageAttributes) > 0 {
			m.MD5OfMessageAttributes = new(attributesMD5(m.MessageAttributes))
		} else {
			m.MessageAttributes = nil
		}
		out.Messages = append(out.Messages, m)
	}
	return out, nil
}

// receive serves ReceiveMessage and the event source mapping. A visibility of 0 is the queue's.
func (s *SQS) receive(ctx context.Context, url *string, max int, visibility time.Duration, budget int, size func(*message) int) ([]delivery, error) {
	q, now, err := s.enter(ctx, url)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if q.deadLetter != nil {
		q.deadLetter.advance(now)
	}
	if !q.FIFO && q.inFlight() >= MaxInFlight {
		return nil, &types.OverLimit{Message: new(fmt.Sprintf("Too many messages in flight: %d at most.", MaxInFlight))}
	}
	if visibility == 0 {
		visibility = q.VisibilityTimeout
	}
	return q.receive(now, max, visibility, budget, size), nil
}

// system gives the system attributes in the order in which Lambda's events have them.
func (d *delivery) system(attribute func(name types.MessageSystemAttributeName, v string)) {
	millis := func(ns int64) string { return strconv.FormatInt(ns/int64(time.Millisecond), 10) }
	attribute(types.MessageSystemAttributeNameApproximateReceiveCount, strconv.Itoa(d.received))
	attribute(types.MessageSystemAttributeNameSentTimestamp, millis(d.sent))
	if d.sequence != "" {
		attribute(types.MessageSystemAttributeNameSequenceNumber, d.sequence)
	}
	if d.group != "" {
		attribute(types.MessageSystemAttributeNameMessageGroupId, d.group)
	}
	attribute(types.MessageSystemAttributeNameSenderId, "AIDA"+Account)
	if d.deduplication != "" {
		attribute(types.MessageSystemAttributeNameMessageDeduplicationId, d.deduplication)
	}
	if d.source != "" {
		attribute(types.MessageSystemAttributeNameDeadLetterQueueSourceArn, d.source)
	}
	if d.received > 0 {
		attribute(types.MessageSystemAttributeNameApproximateFirstReceiveTimestamp, millis(d.firstReceived))
	}
}

// ofOne turns the error of a batch's entry into that of the same request for one message.
func ofOne(err error, handle *string) error {
	if e, ok := err.(*types.ReceiptHandleIsInvalid); ok && e.ErrorMessage() == expired().(*types.ReceiptHandleIsInvalid).ErrorMessage() {
		return refuse("InvalidParameterValue", "Value %s for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired.", value(handle))
	}
	return err
}

// DeleteMessage is sqs.Client.DeleteMessage.
func (s *SQS) DeleteMessage(ctx context.Context, in *sqs.DeleteMessageInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error) {
	q, _, err := s.enter(ctx, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := q.delete(value(in.ReceiptHandle)); err != nil {
		return nil, ofOne(err, in.ReceiptHandle)
	}
	return &sqs.DeleteMessageOutput{}, nil
}

// DeleteMessageBatch is sqs.Client.DeleteMessageBatch.
func (s *SQS) DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	q, _, err := s.enter(ctx, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	ids := make([]string, len(in.Entries))
	for i := range in.Entries {
		ids[i] = value(in.Entries[i].Id)
	}
	if err := checkBatch(ids); err != nil {
		return nil, err
	}
	out := &sqs.DeleteMessageBatchOutput{}
	for i, e := range in.Entries {
		if err := q.delete(value(e.ReceiptHandle)); err != nil {
			out.Failed = append(out.Failed, failed(ids[i], err))
		} else {
			out.Successful = append(out.Successful, types.DeleteMessageBatchResultEntry{Id: &ids[i]})
		}
	}
	return out, nil
}

// ChangeMessageVisibility is sqs.Client.ChangeMessageVisibility.
func (s *SQS) ChangeMessageVisibility(ctx context.Context, in *sqs.ChangeMessageVisibilityInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error) {
	q, now, err := s.enter(ctx, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	if err := q.changeVisibility(now, value(in.ReceiptHandle), in.VisibilityTimeout); err != nil {
		return nil, ofOne(err, in.ReceiptHandle)
	}
	return &sqs.ChangeMessageVisibilityOutput{}, nil
}

// ChangeMessageVisibilityBatch is sqs.Client.ChangeMessageVisibilityBatch.
func (s *SQS) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	q, now, err := s.enter(ctx, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	ids := make([]string, len(in.Entries))
	for i := range in.Entries {
		ids[i] = value(in.Entries[i].Id)
	}
	if err := checkBatch(ids); err != nil {
		return nil, err
	}
	out := &sqs.ChangeMessageVisibilityBatchOutput{}
	for i, e := range in.Entries {
		if err := q.changeVisibility(now, value(e.ReceiptHandle), e.VisibilityTimeout); err != nil {
			out.Failed = append(out.Failed, failed(ids[i], err))
		} else {
			out.Successful = append(out.Successful, types.ChangeMessageVisibilityBatchResultEntry{Id: &ids[i]})
		}
	}
	return out, nil
}

// GetQueueUrl is sqs.Client.GetQueueUrl.
func (s *SQS) GetQueueUrl(ctx context.Context, in *sqs.GetQueueUrlInput, _ ...func(*sqs.Options)) (*sqs.GetQueueUrlOutput, error) {
	url := newQueue(QueueConfig{Name: value(in.QueueName)}, 0, 0).url
	if _, _, err := s.enter(ctx, &url); err != nil {
		return nil, err
	}
	s.mu.Unlock()
	return &sqs.GetQueueUrlOutput{QueueUrl: &url}, nil
}

// GetQueueAttributes is sqs.Client.GetQueueAttributes. The approximate numbers are exact.
func (s *SQS) GetQueueAttributes(ctx context.Context, in *sqs.GetQueueAttributesInput, _ ...func(*sqs.Options)) (*sqs.GetQueueAttributesOutput, error) {
	q, _, err := s.enter(ctx, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	seconds := func(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
	all := map[types.QueueAttributeName]string{
		types.QueueAttributeNameApproximateNumberOfMessages:           strconv.Itoa(q.visible),
		types.QueueAttributeNameApproximateNumberOfMessagesNotVisible: strconv.Itoa(q.inFlight()),
		types.QueueAttributeNameApproximateNumberOfMessagesDelayed:    strconv.Itoa(q.delayed),
		types.QueueAttributeNameQueueArn:                              q.arn,
		types.QueueAttributeNameVisibilityTimeout:                     seconds(q.VisibilityTimeout),
		types.QueueAttributeNameMessageRetentionPeriod:                seconds(q.Retention),
		types.QueueAttributeNameMaximumMessageSize:                    strconv.Itoa(q.MaxMessageBytes),
		types.QueueAttributeNameDelaySeconds:                          "0",
		types.QueueAttributeNameReceiveMessageWaitTimeSeconds:         "0",
		types.QueueAttributeNameCreatedTimestamp:                      seconds(time.Duration(q.created)),
		types.QueueAttributeNameLastModifiedTimestamp:                 seconds(time.Duration(q.created)),
	}
	if q.FIFO {
		all[types.QueueAttributeNameFifoQueue] = "true"
		all[types.QueueAttributeNameContentBasedDeduplication] = "false"
		all[types.QueueAttributeNameDeduplicationScope] = "queue"
		all[types.QueueAttributeNameFifoThroughputLimit] = "perQueue"
		if q.DeduplicatePerGroup {
			all[types.QueueAttributeNameDeduplicationScope] = "messageGroup"
			all[types.QueueAttributeNameFifoThroughputLimit] = "perMessageGroupId"
		}
	}
	if q.deadLetter != nil {
		all[types.QueueAttributeNameRedrivePolicy] = fmt.Sprintf(`{"deadLetterTargetArn":%q,"maxReceiveCount":%d}`, q.deadLetter.arn, q.MaxReceiveCount)
	}
	out := &sqs.GetQueueAttributesOutput{Attributes: map[string]string{}}
	for _, name := range in.AttributeNames {
		if name == types.QueueAttributeNameAll {
			for n, v := range all {
				out.Attributes[string(n)] = v
			}
		} else if v, ok := all[name]; ok {
			out.Attributes[string(name)] = v
		} else if !slices.Contains(name.Values(), name) {
			return nil, &types.InvalidAttributeName{Message: new("Unknown Attribute " + string(name) + ".")}
		}
	}
	return out, nil
}

// PurgeQueue is sqs.Client.PurgeQueue, without the wait that the real one asks for between two purges.
func (s *SQS) PurgeQueue(ctx context.Context, in *sqs.PurgeQueueInput, _ ...func(*sqs.Options)) (*sqs.PurgeQueueOutput, error) {
	q, _, err := s.enter(ctx, in.QueueUrl)
	if err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	q.purge()
	return &sqs.PurgeQueueOutput{}, nil
}

// Depth counts a queue's messages: visible, in flight (received, not deleted) and delayed. 0 for an unknown queue.
func (s *SQS) Depth(url string) (visible, inFlight, delayed int) {
	q, _, err := s.enter(context.Background(), &url)
	if err != nil {
		return 0, 0, 0
	}
	defer s.mu.Unlock()
	return q.visible, q.inFlight(), q.delayed
}

// Messages shows all messages of a queue, visible or not, in order of arrival, without receiving them: with all
// attributes, without receipt handle. nil for an unknown queue.
func (s *SQS) Messages(url string) []types.Message {
	q, _, err := s.enter(context.Background(), &url)
	if err != nil {
		return nil
	}
	defer s.mu.Unlock()
	out := make([]types.Message, 0, len(q.messages))
	for _, order := range slices.Sorted(maps.Keys(q.messages)) {
		m := q.messages[order]
		d := delivery{m, "", m.received, m.firstReceived}
		shown := types.Message{
			MessageId: new(m.id), Body: new(m.body), MD5OfBody: new(m.bodyMD5),
			Attributes: map[string]string{}, MessageAttributes: cloneAttributes(m.attributes),
		}
		d.system(func(name types.MessageSystemAttributeName, v string) { shown.Attributes[string(name)] = v })
		out = append(out, shown)
	}
	return out
}

// NextVisible is when the first of a queue's invisible messages becomes visible, for a clock that has nothing else to
// wait for. ok is false where none is invisible.
func (s *SQS) NextVisible(url string) (at time.Time, ok bool) {
	q, _, err := s.enter(context.Background(), &url)
	if err != nil {
		return time.Time{}, false
	}
	defer s.mu.Unlock()
	ns := q.nextVisible()
	return time.Unix(0, ns), ns != math.MaxInt64
}
