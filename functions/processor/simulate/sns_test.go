package simulate

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

func newTopic(t *testing.T, c TopicConfig) (*SNS, string) {
	s := NewSNS(newClock().now)
	return s, must(s.CreateTopic(c))(t)
}

func published(kind, text string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: &kind, StringValue: &text}
}

// Each rule of SNS for a message, both ways; a refused entry must not harm its neighbour.
func TestSNSMessageLimits(t *testing.T) {
	message := func(s string) types.PublishBatchRequestEntry { return types.PublishBatchRequestEntry{Message: &s} }
	subject := func(s string) types.PublishBatchRequestEntry {
		return types.PublishBatchRequestEntry{Message: new("m"), Subject: &s}
	}
	structured := func(s string) types.PublishBatchRequestEntry {
		return types.PublishBatchRequestEntry{Message: &s, MessageStructure: new("json")}
	}
	with := func(name string, a types.MessageAttributeValue) types.PublishBatchRequestEntry {
		return types.PublishBatchRequestEntry{Message: new("m"), MessageAttributes: map[string]types.MessageAttributeValue{name: a}}
	}
	const parameter, attributeValue = "InvalidParameter", "ParameterValueInvalid"
	for _, c := range []struct {
		name  string
		entry types.PublishBatchRequestEntry
		code  string
	}{
		{"message", message("m"), ""},
		{"empty message", message(""), parameter},
		{"message not UTF-8", message("\xff"), parameter},
		{"subject", subject("CRITICAL: AAPL > 190"), ""},
		{"subject of 99", subject(strings.Repeat("s", 99)), ""},
		{"subject of 100", subject(strings.Repeat("s", 100)), parameter},
		{"empty subject", subject(""), parameter},
		{"subject starts with a space", subject(" s"), parameter},
		{"subject with a line break", subject("a\nb"), parameter},
		{"subject with a control character", subject("a\x7fb"), parameter},
		{"subject not ASCII", subject("é"), parameter},
		{"structure", structured(`{"default":"d","email":"e","sqs":""}`), ""},
		{"structure ignores values that are no strings", structured(`{"default":"d","email":7}`), ""},
		{"structure without default", structured(`{"email":"e"}`), parameter},
		{"structure with a default that is no string", structured(`{"default":1}`), parameter},
		{"structure with a duplicate key", structured(`{"default":"d","default":"e"}`), parameter},
		{"structure not JSON", structured(`{"default":"d"`), parameter},
		{"structure with trailing data", structured(`{"default":"d"}x`), parameter},
		{"structure not an object", structured(`["default"]`), parameter},
		{"unknown structure", types.PublishBatchRequestEntry{Message: new("m"), MessageStructure: new("xml")}, parameter},
		{"group id", types.PublishBatchRequestEntry{Message: new("m"), MessageGroupId: new("g")}, ""},
		{"bad group id", types.PublishBatchRequestEntry{Message: new("m"), MessageGroupId: new("a b")}, parameter},
		{"deduplication id on a standard topic", types.PublishBatchRequestEntry{Message: new("m"), MessageDeduplicationId: new("d")}, parameter},
		{"String", with("a", published("String", "v")), ""},
		{"Number", with("a", published("Number", "1e3")), ""},
		{"String.Array", with("a", published("String.Array", `["a",1,true,null]`)), ""},
		{"Binary", with("a", types.MessageAttributeValue{DataType: new("Binary"), BinaryValue: []byte{1}}), ""},
		{"empty String", with("a", published("String", "")), attributeValue},
		{"empty Binary", with("a", types.MessageAttributeValue{DataType: new("Binary")}), attributeValue},
		{"unknown type", with("a", published("Text", "v")), attributeValue},
		{"no type", with("a", types.MessageAttributeValue{StringValue: new("v")}), attributeValue},
		{"Number that is none", with("a", published("Number", "x")), attributeValue},
		{"String.Array that is none", with("a", published("String.Array", "x")), attributeValue},
		{"String.Array of arrays", with("a", published("String.Array", `[[]]`)), attributeValue},
		{"two values", with("a", types.MessageAttributeValue{DataType: new("String"), StringValue: new("v"), BinaryValue: []byte{1}}), attributeValue},
		{"attribute name", with("AWS.x", published("String", "v")), attributeValue},
		{"attribute without name", with("", published("String", "v")), attributeValue},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, arn := newTopic(t, TopicConfig{Name: "alerts"})
			c.entry.Id = new("x")
			out, err := s.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: &arn, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{
				c.entry, {Id: new("good"), Message: new("good")},
			}})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range out.Failed {
				got = *f.Code
				if *f.Id != "x" || !f.SenderFault {
					t.Errorf("failed entry %+v", f)
				}
			}
			if got != c.code || len(out.Successful)+len(out.Failed) != 2 || len(s.Published(arn)) != len(out.Successful) {
				t.Errorf("code %q, want %q; %d successful, %d published", got, c.code, len(out.Successful), len(s.Published(arn)))
			}
			_, err = s.Publish(ctx, &sns.PublishInput{
				TopicArn: &arn, Message: c.entry.Message, Subject: c.entry.Subject, MessageStructure: c.entry.MessageStructure,
				MessageAttributes: c.entry.MessageAttributes, MessageGroupId: c.entry.MessageGroupId, MessageDeduplicationId: c.entry.MessageDeduplicationId,
			})
			if code(err) != c.code {
				t.Errorf("Publish: %q, want %q", code(err), c.code)
			}
		})
	}
}

func TestSNSBatchLimits(t *testing.T) {
	sized := func(sizes ...int) (out []types.PublishBatchRequestEntry) {
		for i, n := range sizes {
			out = append(out, types.PublishBatchRequestEntry{Id: new(fmt.Sprint(i)), Message: new(strings.Repeat("x", n))})
		}
		return out
	}
	entries := func(ids ...string) (out []types.PublishBatchRequestEntry) {
		for _, id := range ids {
			out = append(out, types.PublishBatchRequestEntry{Id: &id, Message: new("m")})
		}
		return out
	}
	half := MaxNotificationBytes / 2
	attributed := sized(half, half-3)
	attributed[0].MessageAttributes = map[string]types.MessageAttributeValue{"a": published("String", "v")}
	for _, c := range []struct {
		name    string
		entries []types.PublishBatchRequestEntry
		as      any
	}{
		{"10 entries", sized(1, 1, 1, 1, 1, 1, 1, 1, 1, 1), nil},
		{"11 entries", sized(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), new(*types.TooManyEntriesInBatchRequestException)},
		{"no entries", nil, new(*types.EmptyBatchRequestException)},
		{"repeated id", entries("a", "a"), new(*types.BatchEntryIdsNotDistinctException)},
		{"bad id", entries("a b"), new(*types.InvalidBatchEntryIdException)},
		{"id of 80", entries(strings.Repeat("i", 80)), nil},
		{"id of 81", entries(strings.Repeat("i", 81)), new(*types.InvalidBatchEntryIdException)},
		{"256 KiB", sized(half, half), nil},
		{"over 256 KiB", sized(half, half+1), new(*types.BatchRequestTooLongException)},
		{"over 256 KiB with attributes", attributed, new(*types.BatchRequestTooLongException)},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, arn := newTopic(t, TopicConfig{Name: "alerts"})
			_, err := s.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: &arn, PublishBatchRequestEntries: c.entries})
			if (c.as == nil) != (err == nil) || c.as != nil && !errors.As(err, c.as) {
				t.Fatalf("got %v, want %T", err, c.as)
			}
			if err != nil && len(s.Published(arn)) > 0 {
				t.Error("a refused batch published")
			}
		})
	}
	s, arn := newTopic(t, TopicConfig{Name: "alerts", MaxMessageBytes: 1 << 20})
	must(s.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: new(strings.Repeat("x", 1<<20))}))(t)
	var missing *types.NotFoundException
	if _, err := s.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: new("x"), PublishBatchRequestEntries: entries("a")}); !errors.As(err, &missing) {
		t.Errorf("unknown topic: %v", err)
	}
	if _, err := s.Publish(ctx, &sns.PublishInput{TopicArn: new("x"), Message: new("m")}); !errors.As(err, &missing) {
		t.Errorf("unknown topic: %v", err)
	}
	if err := s.Subscribe("x", Subscription{}); !errors.As(err, &missing) {
		t.Errorf("unknown topic: %v", err)
	}
	for _, c := range []TopicConfig{{Name: ""}, {Name: "a.b"}, {Name: "a", MaxMessageBytes: 1<<20 + 1}, {Name: "alerts"}} {
		if _, err := s.CreateTopic(c); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}

func TestSNSDeliveries(t *testing.T) {
	s, arn := newTopic(t, TopicConfig{Name: "alerts"})
	b := newQueueBench(t, QueueConfig{Name: "raw"})
	enveloped := must(b.CreateQueue(QueueConfig{Name: "enveloped"}))(t)
	var mail []Notification
	for _, err := range []error{
		s.Subscribe(arn, Subscription{Protocol: "email", Deliver: func(n Notification) { mail = append(mail, n) }}),
		s.SubscribeQueue(arn, b.SQS, b.url, true, map[string][]string{"severity": {"critical", "warning"}}),
		s.SubscribeQueue(arn, b.SQS, enveloped, false, map[string][]string{"tags": {"x"}}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	publish := func(severity, tags string) {
		must(s.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Subject: new("s"), MessageStructure: new("json"),
			Message: new(`{"default":"` + severity + `","email":"mail ` + severity + `"}`),
			MessageAttributes: map[string]types.MessageAttributeValue{
				"severity": published("String", severity), "tags": published("String.Array", tags),
			}}))(t)
	}
	publish("critical", `["x","y"]`)
	publish("info", `["y"]`)
	publish("warning", `["z"]`)
	if len(mail) != 3 || mail[0].Message != "mail critical" || mail[1].Message != "mail info" || mail[0].Subject != "s" {
		t.Errorf("mail %+v", mail)
	}
	raw := b.take(10)
	b.want("filtered, raw", bodies(raw), "critical warning")
	b.want("raw attributes", *raw[0].MessageAttributes["severity"].StringValue, "critical")
	in := b.takeFrom(enveloped, 10)
	if len(in) != 1 {
		t.Fatalf("%d enveloped messages, want the one with the tag", len(in))
	}
	var e struct {
		Type, MessageId, TopicArn, Subject, Message, Timestamp string
		MessageAttributes                                      map[string]struct{ Type, Value string }
	}
	if err := json.Unmarshal([]byte(*in[0].Body), &e); err != nil {
		t.Fatal(err)
	}
	b.want("envelope", fmt.Sprint(e.Type, e.TopicArn, e.Subject, e.Message, e.Timestamp), "Notification"+arn+"scritical2026-11-20T14:30:00.000Z")
	b.want("enveloped attribute", e.MessageAttributes["severity"].Value, "critical")
	all := s.Published(arn)
	if len(all) != 3 || all[0].Structure != "json" || !strings.HasPrefix(all[0].Message, "{") || all[0].MessageID != e.MessageId {
		t.Errorf("published %+v", all)
	}
	*all[0].Attributes["severity"].StringValue = "changed"
	b.want("no aliasing", *s.Published(arn)[0].Attributes["severity"].StringValue, "critical")
	if s.Published("x") != nil {
		t.Error("published of an unknown topic")
	}
}

// A raw delivery with more attributes than SQS takes is dropped, as in SNS.
func TestSNSRawAttributeLimit(t *testing.T) {
	for n, want := range map[int]int{10: 1, 11: 0} {
		s, arn := newTopic(t, TopicConfig{Name: "alerts"})
		b := newQueueBench(t, QueueConfig{Name: "raw"})
		if err := s.SubscribeQueue(arn, b.SQS, b.url, true, nil); err != nil {
			t.Fatal(err)
		}
		in := &sns.PublishInput{TopicArn: &arn, Message: new("m"), MessageAttributes: map[string]types.MessageAttributeValue{}}
		for i := range n {
			in.MessageAttributes[fmt.Sprint("a", i)] = published("String", "v")
		}
		must(s.Publish(ctx, in))(t)
		if got := len(b.Messages(b.url)); got != want {
			t.Errorf("%d attributes: %d messages, want %d", n, got, want)
		}
	}
}
