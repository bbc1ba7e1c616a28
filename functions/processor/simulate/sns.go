package simulate

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// What SNS allows.
const (
	MaxNotificationBytes = 256 << 10 // one message, and all of a batch: bodies and attributes
	MaxSubjectRunes      = 99        // "less than 100 characters"
)

// TopicConfig is how a standard topic is made. The zero value of a field is SNS's default.
type TopicConfig struct {
	Name            string
	MaxMessageBytes int // 256 KiB; at most 1 MiB
}

// Notification is one accepted message, or one delivery of it.
type Notification struct {
	TopicARN   string
	MessageID  string
	Subject    string
	Message    string // as published; in a delivery what its protocol gets
	Structure  string // "json" where Message has a text per protocol; "" in a delivery
	Attributes map[string]types.MessageAttributeValue
	Time       time.Time
}

// Subscription is who gets a topic's messages.
type Subscription struct {
	Protocol string // "email", "lambda" ...: chooses the text of a message that has several; "" = "default"
	// Filter lets through messages that have each of these attributes with one of its values; a String.Array has
	// several. nil = all.
	Filter map[string][]string
	// Deliver gets the messages, one after the other and outside all locks. It may call back.
	Deliver func(Notification)
}

// SNS is an in-memory SNS with standard topics. Subjects must be what all versions of its documentation allow: ASCII
// without control characters, starting with a letter, digit or punctuation mark, shorter than 100 characters.
type SNS struct {
	// NewID makes message ids, which must be unique. Set it before use; nil = a counter in the form of a UUID.
	NewID func() string

	now func() time.Time

	mu     sync.Mutex
	topics map[string]*topic // by ARN
	ids    uint64
}

type topic struct {
	TopicConfig
	published     []Notification
	subscriptions []Subscription
}

// NewSNS makes an SNS without topics whose time is now.
func NewSNS(now func() time.Time) *SNS {
	return &SNS{now: now, topics: map[string]*topic{}}
}

// CreateTopic makes a topic and gives its ARN.
func (s *SNS) CreateTopic(c TopicConfig) (arn string, err error) {
	if c.MaxMessageBytes == 0 {
		c.MaxMessageBytes = MaxNotificationBytes
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	arn = "arn:aws:sns:" + Region + ":" + Account + ":" + c.Name
	switch {
	case len(c.Name) > 256 || c.Name == "" || strings.ContainsFunc(c.Name, func(r rune) bool { return !alphanumeric(r) && r != '-' && r != '_' }):
		return "", &types.InvalidParameterException{Message: new("Invalid parameter: Topic Name")}
	case c.MaxMessageBytes < 1024 || c.MaxMessageBytes > 1<<20:
		return "", &types.InvalidParameterException{Message: new("Invalid parameter: MaximumMessageSize")}
	case s.topics[arn] != nil:
		return "", fmt.Errorf("topic %s exists", c.Name)
	}
	s.topics[arn] = &topic{TopicConfig: c}
	return arn, nil
}

// Subscribe adds a subscription, whose deliveries start with the next message.
func (s *SNS) Subscribe(topicARN string, sub Subscription) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topicARN]
	if t == nil {
		return &types.NotFoundException{Message: new("Topic does not exist")}
	}
	t.subscriptions = append(t.subscriptions, sub)
	return nil
}

// SubscribeQueue delivers to a standard queue: raw (the text as body, the attributes as they are) or in SNS's JSON
// envelope. As in SNS a raw message with more than ten attributes is dropped, as is what the queue refuses.
func (s *SNS) SubscribeQueue(topicARN string, to *SQS, queueURL string, raw bool, filter map[string][]string) error {
	return s.Subscribe(topicARN, Subscription{Protocol: "sqs", Filter: filter, Deliver: func(n Notification) {
		in := &sqs.SendMessageInput{QueueUrl: &queueURL, MessageBody: &n.Message}
		if raw {
			in.MessageAttributes = map[string]sqstypes.MessageAttributeValue{}
			for name, a := range n.Attributes {
				in.MessageAttributes[name] = sqstypes.MessageAttributeValue{DataType: a.DataType, StringValue: a.StringValue, BinaryValue: a.BinaryValue}
			}
		} else {
			in.MessageBody = new(envelope(n))
		}
		_, _ = to.SendMessage(context.Background(), in)
	}})
}

// envelope is the JSON in which SNS delivers to queues without raw delivery.
func envelope(n Notification) string {
	type attribute struct{ Type, Value string }
	attributes := map[string]attribute{}
	for name, a := range n.Attributes {
		v := value(a.StringValue)
		if a.BinaryValue != nil {
			v = base64.StdEncoding.EncodeToString(a.BinaryValue)
		}
		attributes[name] = attribute{value(a.DataType), v}
	}
	b, err := json.Marshal(struct {
		Type, MessageId, TopicArn   string
		Subject                     string `json:",omitempty"`
		Message, Timestamp          string
		SignatureVersion, Signature string
		MessageAttributes           map[string]attribute `json:",omitempty"`
	}{
		Type: "Notification", MessageId: n.MessageID, TopicArn: n.TopicARN, Subject: n.Subject, Message: n.Message,
		Timestamp: n.Time.UTC().Format("2006-01-02T15:04:05.000Z"), SignatureVersion: "1", Signature: "EXAMPLE",
		MessageAttributes: attributes,
	})
	if err != nil {
		panic("simulate: envelope: " + err.Error()) // strings always encode
	}
	return string(b)
}

// Publish is sns.Client.Publish to a topic.
func (s *SNS) Publish(ctx context.Context, in *sns.PublishInput, _ ...func(*sns.Options)) (*sns.PublishOutput, error) {
	if err := done(ctx); err != nil {
		return nil, err
	}
	s.mu.Lock()
	t := s.topics[value(in.TopicArn)]
	id, n, err := s.accept(t, value(in.TopicArn), &types.PublishBatchRequestEntry{
		Message: in.Message, MessageAttributes: in.MessageAttributes, MessageDeduplicationId: in.MessageDeduplicationId,
		MessageGroupId: in.MessageGroupId, MessageStructure: in.MessageStructure, Subject: in.Subject,
	})
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n()
	return &sns.PublishOutput{MessageId: &id}, nil
}

// PublishBatch is sns.Client.PublishBatch.
func (s *SNS) PublishBatch(ctx context.Context, in *sns.PublishBatchInput, _ ...func(*sns.Options)) (*sns.PublishBatchOutput, error) {
	if err := done(ctx); err != nil {
		return nil, err
	}
	entries := in.PublishBatchRequestEntries
	if err := checkPublishBatch(entries); err != nil {
		return nil, err
	}
	bytes := 0
	for i := range entries {
		bytes += notificationBytes(&entries[i])
	}
	s.mu.Lock()
	t := s.topics[value(in.TopicArn)]
	if t != nil && bytes > t.MaxMessageBytes {
		s.mu.Unlock()
		return nil, &types.BatchRequestTooLongException{Message: new(fmt.Sprintf("The length of all the messages put together is %d bytes, more than the limit of %d", bytes, t.MaxMessageBytes))}
	}
	out := &sns.PublishBatchOutput{}
	var deliveries []func()
	for i := range entries {
		id, deliver, err := s.accept(t, value(in.TopicArn), &entries[i])
		if _, gone := err.(*types.NotFoundException); gone {
			s.mu.Unlock()
			return nil, err
		}
		if err != nil {
			code, text := failure(err)
			out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: new(*entries[i].Id), Code: &code, Message: &text, SenderFault: true})
			continue
		}
		out.Successful = append(out.Successful, types.PublishBatchResultEntry{Id: new(*entries[i].Id), MessageId: &id})
		deliveries = append(deliveries, deliver)
	}
	s.mu.Unlock()
	for _, deliver := range deliveries {
		deliver()
	}
	return out, nil
}

func checkPublishBatch(entries []types.PublishBatchRequestEntry) error {
	switch {
	case len(entries) == 0:
		return &types.EmptyBatchRequestException{Message: new("The batch request doesn't contain any entries.")}
	case len(entries) > MaxBatchEntries:
		return &types.TooManyEntriesInBatchRequestException{Message: new("The batch request contains more entries than permissible.")}
	}
	seen := map[string]bool{}
	for i := range entries {
		id := value(entries[i].Id)
		if !validBatchID(id) {
			return &types.InvalidBatchEntryIdException{Message: new("The Id of a batch entry in a batch request doesn't abide by the specification.")}
		}
		if seen[id] {
			return &types.BatchEntryIdsNotDistinctException{Message: new("Two or more batch entries in the request have the same Id.")}
		}
		seen[id] = true
	}
	return nil
}

// accept records a message; deliver hands it to the subscribers, to be called outside the lock.
func (s *SNS) accept(t *topic, arn string, e *types.PublishBatchRequestEntry) (id string, deliver func(), err error) {
	if t == nil {
		return "", nil, &types.NotFoundException{Message: new("Topic does not exist")}
	}
	texts, err := t.check(e)
	if err != nil {
		return "", nil, err
	}
	if s.NewID != nil {
		id = s.NewID()
	} else {
		s.ids++
		id = uuid(s.ids)
	}
	n := Notification{
		TopicARN: arn, MessageID: id, Subject: value(e.Subject), Message: *e.Message,
		Structure: value(e.MessageStructure), Attributes: clonePublished(e.MessageAttributes), Time: s.now(),
	}
	t.published = append(t.published, n)
	subscriptions := slices.Clone(t.subscriptions)
	return id, func() {
		for _, sub := range subscriptions {
			if !matches(sub.Filter, n.Attributes) {
				continue
			}
			d := n
			d.Attributes, d.Structure = clonePublished(n.Attributes), ""
			if texts != nil {
				d.Message = texts["default"]
				if text, ok := texts[sub.Protocol]; ok {
					d.Message = text
				}
			}
			sub.Deliver(d)
		}
	}, nil
}

// check refuses what SNS refuses; texts are the protocols' of a structured message, else nil.
func (t *topic) check(e *types.PublishBatchRequestEntry) (texts map[string]string, err error) {
	invalid := func(format string, args ...any) error {
		return &types.InvalidParameterException{Message: new("Invalid parameter: " + fmt.Sprintf(format, args...))}
	}
	message := value(e.Message)
	switch {
	case message == "":
		return nil, invalid("Empty message")
	case !utf8.ValidString(message):
		return nil, invalid("Message is not UTF-8")
	case notificationBytes(e) > t.MaxMessageBytes:
		return nil, invalid("Message too long")
	case e.Subject != nil && !validSubject(*e.Subject):
		return nil, invalid("Subject")
	case e.MessageDeduplicationId != nil:
		return nil, invalid("MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type")
	case e.MessageGroupId != nil && !validToken(*e.MessageGroupId):
		return nil, invalid("MessageGroupId Reason: 1-128 alphanumeric and punctuation characters")
	case e.MessageStructure != nil && *e.MessageStructure != "json":
		return nil, invalid("MessageStructure")
	}
	for _, name := range sorted(e.MessageAttributes) {
		if err := checkPublished(name, e.MessageAttributes[name]); err != nil {
			return nil, err
		}
	}
	if e.MessageStructure != nil {
		if texts, err = protocolTexts(message); err != nil {
			return nil, invalid("Message Structure - %s", err)
		}
	}
	return texts, nil
}

func validSubject(s string) bool {
	return s != "" && s[0] != ' ' && len(s) <= MaxSubjectRunes && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// protocolTexts reads a message of structure "json": an object with distinct keys, "default" among them. Keys whose
// value is no string are ignored.
func protocolTexts(message string) (map[string]string, error) {
	d := json.NewDecoder(strings.NewReader(message))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("JSON message body failed to parse")
	}
	texts, seen := map[string]string{}, map[string]bool{}
	for d.More() {
		key, err := d.Token()
		var v any
		if err == nil {
			err = d.Decode(&v)
		}
		if err != nil {
			return nil, fmt.Errorf("JSON message body failed to parse")
		}
		name := key.(string)
		if seen[name] {
			return nil, fmt.Errorf("duplicate key %q", name)
		}
		seen[name] = true
		if text, ok := v.(string); ok {
			texts[name] = text
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, fmt.Errorf("JSON message body failed to parse")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("JSON message body failed to parse")
	}
	if _, ok := texts["default"]; !ok {
		return nil, fmt.Errorf("no default entry in JSON message body")
	}
	return texts, nil
}

func checkPublished(name string, a types.MessageAttributeValue) error {
	refuse := func(format string, args ...any) error {
		return &types.InvalidParameterValueException{Message: new(fmt.Sprintf(format, args...))}
	}
	if what := attributeName(name); what != "" {
		return refuse("The message attribute name %q %s", name, what)
	}
	kind, text := value(a.DataType), value(a.StringValue)
	switch base, _, custom := strings.Cut(kind, "."); {
	case len(kind) > maxNameLength || base != "String" && base != "Number" && base != "Binary":
		return refuse("The message attribute '%s' has an invalid message attribute type, the set of supported type prefixes is Binary, Number, and String.", name)
	case base == "Binary" && len(a.BinaryValue) == 0 || base != "Binary" && text == "":
		return refuse("The message attribute '%s' must contain non-empty message attribute value for message attribute type '%s'.", name, kind)
	case base == "Binary" && a.StringValue != nil || base != "Binary" && a.BinaryValue != nil:
		return refuse("The message attribute '%s' has more than one value.", name)
	case strings.ContainsFunc(text, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) && !unicode.IsSpace(r) }):
		return refuse("The message attribute '%s' has invalid characters.", name)
	case base == "Number" && !isNumber(text):
		return refuse("Could not cast message attribute '%s' value to number.", name)
	case custom && kind == "String.Array":
		if _, err := stringArray(text); err != nil {
			return refuse("The message attribute '%s' is not a JSON array of strings, numbers, true, false and null.", name)
		}
	}
	return nil
}

// stringArray gives the members of a String.Array as filter policies compare them.
func stringArray(text string) ([]string, error) {
	var members []any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&members); err != nil {
		return nil, err
	}
	out := make([]string, len(members))
	for i, m := range members {
		switch m.(type) {
		case string, json.Number, bool:
			out[i] = fmt.Sprint(m)
		case nil:
			out[i] = "null"
		default:
			return nil, fmt.Errorf("member %d is an array or an object", i)
		}
	}
	return out, nil
}

func matches(filter map[string][]string, attributes map[string]types.MessageAttributeValue) bool {
	for name, wanted := range filter {
		a, ok := attributes[name]
		if !ok {
			return false
		}
		have := []string{value(a.StringValue)}
		if value(a.DataType) == "String.Array" {
			have, _ = stringArray(have[0])
		}
		if !slices.ContainsFunc(have, func(v string) bool { return slices.Contains(wanted, v) }) {
			return false
		}
	}
	return true
}

func notificationBytes(e *types.PublishBatchRequestEntry) int {
	n := len(value(e.Message))
	for name, a := range e.MessageAttributes {
		n += len(name) + len(value(a.DataType)) + len(value(a.StringValue)) + len(a.BinaryValue)
	}
	return n
}

func clonePublished(in map[string]types.MessageAttributeValue) map[string]types.MessageAttributeValue {
	out := maps.Clone(in)
	for name, a := range out {
		a.DataType, a.StringValue = cloneString(a.DataType), cloneString(a.StringValue)
		a.BinaryValue = slices.Clone(a.BinaryValue)
		out[name] = a
	}
	return out
}

// Published is everything a topic accepted, in order; nil for an unknown topic.
func (s *SNS) Published(topicARN string) []Notification {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.topics[topicARN]
	if t == nil {
		return nil
	}
	out := slices.Clone(t.published)
	for i := range out {
		out[i].Attributes = clonePublished(out[i].Attributes)
	}
	return out
}
