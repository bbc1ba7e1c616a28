package ingest_test

import (
	"fmt"
	"strings"
	"testing"

	"example.com/market-data-pipeline/functions/processor/alert"
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

// TestBadEventsOfEveryKind: more than a thousand bad events, among good ones in packed messages: each is kept in the
// rejects queue as received, once, with its reason and its place, and the good ones fire as if they were alone.
func TestBadEventsOfEveryKind(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	type place struct {
		reason market.Reason
		origin string
		index  int
	}
	want := map[string]place{}
	reasons := map[market.Reason]bool{}
	const rounds = 34
	fired := 0
	for round := range rounds {
		id := fmt.Sprint("m", round)
		var lines []string
		for i, b := range badEvents {
			n := round*len(badEvents) + i
			bad := fmt.Sprintf(b.event, n)
			reasons[b.reason] = true
			// Before, between and after good ones: an alert every second good event.
			if n%2 == 0 {
				lines = append(lines, trade("AAPL", 80, float64(n), 2*n+1))
			} else {
				lines = append(lines, trade("AAPL", 101, float64(n), 2*n+1))
				fired++
			}
			want[bad] = place{b.reason, id, len(lines)}
			lines = append(lines, bad)
		}
		w.mustHandle(nil, msg(id, "g", lines...))
	}
	if len(want) < 1000 {
		t.Fatalf("%d bad events, want 1000 at least", len(want))
	}
	if len(w.rejected) != len(want) {
		t.Errorf("%d events kept, want %d", len(w.rejected), len(want))
	}
	for _, r := range w.rejected {
		if got := (place{r.Reason, r.OriginMessageID, r.Index}); got != want[r.Body] {
			t.Errorf("%s\n got %v\nwant %v", r.Body, got, want[r.Body])
		}
		delete(want, r.Body)
	}
	for body := range want {
		t.Errorf("lost: %s", body)
	}
	w.wantAlerts(fired, alert.Sent, 1)
	for _, r := range []market.Reason{market.MalformedJSON, market.TrailingData, market.DuplicateKey, market.WrongKeyCase, market.WrongType, market.NullValue,
		market.MissingField, market.UnknownType, market.BadNumber, market.NonPositive, market.OutOfRange, market.TooPrecise, market.InvertedBar, market.BadSymbol,
		market.BadInterval, market.BadValue, market.TextTooLong, market.InvalidUTF8, market.ControlCharacter, market.BadTimestamp, market.FutureTimestamp, market.TooDeep} {
		if !reasons[r] {
			t.Errorf("no event for the reason %s", r)
		}
	}
}
