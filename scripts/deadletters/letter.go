package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/producer"
)

// letter is what was received of one dead letter, or of one element of the rejects queue, which may be two messages.
type letter struct {
	parts []part // two of a body that was kept in two messages
	part  string // of a half whose other half was not seen: "1/2" or "2/2"
	fate  fate
	until time.Time // up to when it may be moved

	queue  string // deadLetters or rejects
	reason market.Reason
	origin string // the identity under which the processor knows it
	index  int    // rejects: the event's position in its message
	group  string
	format string

	sent          time.Time
	firstReceived time.Time
	receiveCount  int // before this look
	body          string
	names         []string // see symbols; nil = not looked for
	attributes    map[string]types.MessageAttributeValue
}

type part struct{ id, handle string }

// id is the message's, of two the first's.
func (l *letter) id() string { return l.parts[0].id }

// read reads a received message of the queue.
func read(queueName string, m types.Message) *letter {
	system := func(name types.MessageSystemAttributeName) string { return m.Attributes[string(name)] }
	l := &letter{
		parts: []part{{aws.ToString(m.MessageId), aws.ToString(m.ReceiptHandle)}}, queue: queueName,
		body: aws.ToString(m.Body), attributes: m.MessageAttributes,
		sent: milliseconds(system(types.MessageSystemAttributeNameSentTimestamp)),
	}
	attribute := func(name string) string { return aws.ToString(m.MessageAttributes[name].StringValue) }
	l.origin, l.format = attribute(queue.AttrOrigin), attribute(queue.AttrFormat)
	if l.origin == "" {
		l.origin = l.id()
	}
	if queueName == deadLetters {
		l.reason = exhausted
		l.group = system(types.MessageSystemAttributeNameMessageGroupId)
		l.firstReceived = milliseconds(system(types.MessageSystemAttributeNameApproximateFirstReceiveTimestamp))
		n, _ := strconv.Atoi(system(types.MessageSystemAttributeNameApproximateReceiveCount))
		l.receiveCount = max(0, n-1)
		return l
	}
	l.reason, l.group, l.part = market.Reason(attribute(queue.AttrReason)), attribute(queue.AttrGroup), attribute(queue.AttrPart)
	l.index, _ = strconv.Atoi(attribute(queue.AttrIndex))
	l.receiveCount, _ = strconv.Atoi(attribute(queue.AttrReceiveCount))
	l.firstReceived, _ = time.Parse(time.RFC3339Nano, attribute(queue.AttrFirstReceived))
	return l
}

func milliseconds(s string) time.Time {
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// completes tells whether other is the other half of l. An element can be kept more than once: any two halves of it fit.
func (l *letter) completes(other *letter) bool {
	return l.part != other.part && l.origin == other.origin && l.index == other.index && l.reason == other.reason
}

func join(a, b *letter) *letter {
	if a.part > b.part {
		a, b = b, a
	}
	whole := *a
	whole.part = ""
	whole.parts = []part{a.parts[0], b.parts[0]}
	whole.body = a.body + b.body
	if b.until.Before(a.until) {
		whole.until = b.until
	}
	return &whole
}

// canonical tells whether the body is in the format that this code decodes.
func (l *letter) canonical() bool { return l.format == "" || l.format == "canonical" }

// decode decodes the body as the processor would if it arrived at that time.
func (l *letter) decode(at time.Time) (good []market.Event, refused []market.Refusal) {
	return market.Decode(nil, l.body, at, settings.DefaultClockSkew)
}

var symbolPattern = regexp.MustCompile(`^[A-Za-z0-9.\-/:_^=]{1,32}$`)

// symbols are those of all events, each once, as far as they can be found: a refused event's own if it is a JSON object,
// else that of its message group.
func (l *letter) symbols(now time.Time) []string {
	if l.names == nil {
		l.names = l.findSymbols(now)
	}
	return l.names
}

func (l *letter) findSymbols(now time.Time) []string {
	out := []string{}
	add := func(s string) {
		if symbolPattern.MatchString(s) && !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	raw := func(text string) {
		var event struct{ Symbol string }
		if json.Unmarshal([]byte(text), &event) == nil {
			add(event.Symbol)
		}
	}
	switch {
	case l.part != "":
	case !l.canonical() || l.reason == market.AlertRefused:
		raw(l.body)
	default:
		good, refused := l.decode(now)
		for i := range good {
			add(good[i].Symbol)
		}
		for i := range refused {
			raw(refused[i].Raw)
		}
	}
	if symbol, _, series := strings.Cut(l.group, "|"); series && len(out) == 0 {
		add(symbol)
	}
	return out
}

// obstacle says why a redrive leaves l where it is, "" = it moves. asked is the reason that the redrive is for, "" = any.
func (l *letter) obstacle(asked market.Reason, now time.Time) string {
	if l.queue == rejects {
		switch {
		case l.reason == market.AlertRefused:
			return "an alert is no market data; it is in the alerts table as FAILED"
		case l.part != "":
			return "its other half was not seen: a redrive may have been interrupted after sending it"
		case (l.reason == market.LateRetry || l.reason == market.UnknownFormat) && asked != l.reason:
			return "moved only if asked for: --reason " + string(l.reason)
		case l.reason == market.UnknownFormat && !l.canonical():
		default:
			// Without any skew: the event must be good by every stack's clock.
			if _, refused := market.Decode(nil, l.body, now, 0); len(refused) > 0 {
				return "would be refused again: " + string(refused[0].Reason) + "; repair it and send it with ./scripts/send"
			}
		}
	}
	attributes := l.carried()
	size := len(l.body)
	for name, a := range attributes {
		size += len(name) + len(aws.ToString(a.DataType)) + len(aws.ToString(a.StringValue)) + len(a.BinaryValue)
	}
	switch {
	case len(attributes) > 10:
		return "it has 10 attributes, and SQS takes no more: its identity cannot be kept; send its events with ./scripts/send"
	case size > maxBytes:
		return fmt.Sprintf("with its identity it has %d bytes, and SQS takes %d: send its events with ./scripts/send", size, maxBytes)
	}
	return ""
}

// identity is the origin_message_id under which l is moved: a dead letter's own. A refused event has one made of its
// message's and its position, for the processor knows the message's own as applied, and would skip it.
func (l *letter) identity() string {
	if l.queue == rejects {
		return l.origin + "#" + strconv.Itoa(l.index)
	}
	return l.origin
}

// carried are the attributes with which l is moved.
func (l *letter) carried() map[string]types.MessageAttributeValue {
	text := func(s string) types.MessageAttributeValue {
		return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &s}
	}
	if l.queue == rejects {
		out := map[string]types.MessageAttributeValue{queue.AttrOrigin: text(l.identity())}
		if l.format != "" {
			out[queue.AttrFormat] = text(l.format)
		}
		return out
	}
	if aws.ToString(l.attributes[queue.AttrOrigin].StringValue) != "" {
		return l.attributes
	}
	out := map[string]types.MessageAttributeValue{}
	maps.Copy(out, l.attributes)
	out[queue.AttrOrigin] = text(l.identity())
	return out
}

const maxDeduplication = 128 // characters

// deduplication is the same whenever l is moved: SQS takes it once within five minutes.
func (l *letter) deduplication() string {
	id := l.id()
	if l.queue == rejects {
		id = l.identity() // what is kept twice is moved once
	}
	out := "redrive:" + id
	if len(out) > maxDeduplication || strings.ContainsFunc(out, func(r rune) bool { return r <= ' ' || r > '~' }) {
		sum := sha256.Sum256([]byte(id))
		out = "redrive:" + hex.EncodeToString(sum[:])
	}
	return out
}

// compose makes the message that takes l to the market data queue.
func (l *letter) compose(url string, now time.Time) *sqs.SendMessageInput {
	in := &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &l.body, MessageAttributes: l.carried()}
	group := l.group
	if isFIFO(url) {
		in.MessageDeduplicationId = aws.String(l.deduplication())
		if group == "" {
			group = "redriven"
			if good, _ := l.decode(now); len(good) > 0 {
				group = producer.MessageGroup(good[0].Symbol, good[0].Source)
			}
		}
	}
	if group != "" {
		in.MessageGroupId = &group
	}
	return in
}
