package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// badEvents has one event or more for every reason of refusal. %d makes each instance another event.
var badEvents = []struct {
	reason market.Reason
	event  string
}{
	{market.MalformedJSON, `{"symbol":"X%d","price":1`},
	{market.MalformedJSON, `nonsense %d`},
	{market.MalformedJSON, `{"symbol":"X%d",}`},
	{market.TrailingData, `{"symbol":"X%d","price":1,"timestamp":"2026-11-20T14:30:00Z"}{}`},
	{market.DuplicateKey, `{"symbol":"X%d","price":1,"price":2,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.DuplicateKey, `{"symbol":"X%d","price":1,"size":1,"volume":1,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.WrongKeyCase, `{"Symbol":"X%d","price":1,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.WrongType, `{"symbol":"X%d","price":true,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.WrongType, `["X%d"]`},
	{market.NullValue, `{"symbol":"X%d","price":null,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.MissingField, `{"symbol":"X%d","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.MissingField, `{"type":"quote","symbol":"X%d","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.UnknownType, `{"type":"tick","symbol":"X%d","price":1,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.BadNumber, `{"symbol":"X%d","price":"1,5","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.BadNumber, `{"symbol":"X%d","price":"NaN","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.NonPositive, `{"symbol":"X%d","price":-0.01,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.NonPositive, `{"symbol":"X%d","price":0,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.OutOfRange, `{"symbol":"X%d","price":1e300,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.TooPrecise, `{"symbol":"X%d","price":"1.0000000001","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.InvertedBar, `{"type":"bar","symbol":"X%d","interval":"1m","open":1,"high":1,"low":2,"close":1,"volume":1,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.BadSymbol, `{"symbol":"X %d","price":1,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.BadSymbol, `{"symbol":"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG%d","price":1,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.BadInterval, `{"type":"bar","symbol":"X%d","interval":"7m","open":1,"high":1,"low":1,"close":1,"volume":1,"timestamp":"2026-11-20T14:30:00Z"}`},
	{market.BadValue, `{"symbol":"X%d","price":1,"side":"short","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.TextTooLong, `{"symbol":"X%d","price":1,"venue":"` + strings.Repeat("v", 129) + `","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.InvalidUTF8, `{"symbol":"X%d","price":1,"id":"\ud800","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.ControlCharacter, `{"symbol":"X%d","price":1,"id":"a\u0000b","timestamp":"2026-11-20T14:30:00Z"}`},
	{market.BadTimestamp, `{"symbol":"X%d","price":1,"timestamp":"2026-11-20T14:30:00"}`},
	{market.BadTimestamp, `{"symbol":"X%d","price":1,"timestamp":"2026-02-30T14:30:00Z"}`},
	{market.FutureTimestamp, `{"symbol":"X%d","price":1,"timestamp":"2226-11-20T14:30:00Z"}`},
	{market.TooDeep, `{"symbol":"X%d","extra":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `,"price":1,"timestamp":"2026-11-20T14:30:00Z"}`},
}

// TestBadEventsOfEveryKind: more than a thousand bad events, among good ones in packed messages, through the real adapters:
// each is kept in the rejects queue as received, once, with its reason and its place, and the good ones fire as if they
// were alone.
func TestBadEventsOfEveryKind(t *testing.T) {
	c := newCloudOf(t, levelRule, 1, 0, settings.Ordered)
	type place struct{ reason, origin, index string }
	want := map[string]place{}
	send := func(origin, format, body string) {
		t.Helper()
		attributes := map[string]sqstypes.MessageAttributeValue{"origin_message_id": {DataType: aws.String("String"), StringValue: &origin}}
		if format != "" {
			attributes["format"] = sqstypes.MessageAttributeValue{DataType: aws.String("String"), StringValue: &format}
		}
		_, err := c.sqs.SendMessage(t.Context(), &sqs.SendMessageInput{QueueUrl: &c.market, MessageBody: &body, MessageAttributes: attributes,
			MessageGroupId: aws.String("g"), MessageDeduplicationId: &origin})
		if err != nil {
			t.Fatal(err)
		}
	}
	const rounds = 34
	fired := 0
	for round := range rounds {
		origin := fmt.Sprint("m", round)
		var lines []string
		for i, b := range badEvents {
			n := round*len(badEvents) + i
			// Before, between and after good ones: an alert every second good event.
			if n%2 == 0 {
				lines = append(lines, trade("AAPL", 80, float64(n), 2*n+1))
			} else {
				lines = append(lines, trade("AAPL", 101, float64(n), 2*n+1))
				fired++
			}
			bad := fmt.Sprintf(b.event, n)
			want[bad] = place{string(b.reason), origin, fmt.Sprint(len(lines))}
			lines = append(lines, bad)
		}
		send(origin, "", strings.Join(lines, "\n"))
	}
	send("dialect", "vendor-x", "whatever it says")
	want["whatever it says"] = place{string(market.UnknownFormat), "dialect", "0"}
	many := strings.Repeat(`{"symbol":"MSFT","price":1,"timestamp":"2026-11-20T14:30:00Z"}`+"\n", market.DefaultLimits.MaxEvents)
	send("many", "", many+"one too many")
	want["one too many"] = place{string(market.TooLarge), "many", fmt.Sprint(market.DefaultLimits.MaxEvents)}

	if len(want) < 1000 {
		t.Fatalf("%d bad events, want 1000 at least", len(want))
	}
	reasons := map[string]bool{}
	for _, p := range want {
		reasons[p.reason] = true
	}
	for _, r := range []market.Reason{market.MalformedJSON, market.TrailingData, market.DuplicateKey, market.WrongKeyCase, market.WrongType, market.NullValue,
		market.MissingField, market.UnknownType, market.UnknownFormat, market.BadNumber, market.NonPositive, market.OutOfRange, market.TooPrecise,
		market.InvertedBar, market.BadSymbol, market.BadInterval, market.BadValue, market.TextTooLong, market.InvalidUTF8, market.ControlCharacter,
		market.BadTimestamp, market.FutureTimestamp, market.TooDeep, market.TooLarge} {
		if !reasons[string(r)] {
			t.Errorf("no event for the reason %s", r)
		}
	}

	c.drain(t)
	kept := c.sqs.Messages(c.rejects)
	if len(kept) != len(want) {
		t.Errorf("%d events kept, want %d", len(kept), len(want))
	}
	for _, m := range kept {
		text := func(name string) string { return aws.ToString(m.MessageAttributes[name].StringValue) }
		body := aws.ToString(m.Body)
		if got := (place{text("reason"), text("origin_message_id"), text("index")}); got != want[body] {
			t.Errorf("%s\n got %v\nwant %v", body, got, want[body])
		}
		delete(want, body)
	}
	for body := range want {
		t.Errorf("lost: %s", body)
	}
	status, published, _ := c.outcome(t)
	if len(status) != fired || len(published) != fired {
		t.Errorf("%d alerts stored and %d published, want %d", len(status), len(published), fired)
	}
	if visible, flight, _ := c.sqs.Depth(c.dead); visible+flight > 0 {
		t.Errorf("%d dead letters", visible+flight)
	}
}
