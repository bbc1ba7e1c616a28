package ingest_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// badTrade is a good trade but for what replaces @: fields, with their commas.
func badTrade(fields string) string {
	return `{"symbol":"BAD",` + fields + `"timestamp":"2026-11-20T14:30:00Z"}`
}

func badOf(kind, fields string) string {
	return `{"type":"` + kind + `","symbol":"BAD","timestamp":"2026-11-20T14:30:00Z",` + fields + `}`
}

func badBar(open, high, low, close string) string {
	return badOf("bar", `"interval":"1m","volume":1,"open":`+open+`,"high":`+high+`,"low":`+low+`,"close":`+close)
}

func deepJSON(open, inner, close string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(close, n)
}

// badClass is one class of bad market data: what is refused, by its reason. Events of an open class have lost their end:
// in an array nobody can tell where the next event begins.
type badClass struct {
	reason market.Reason
	open   bool
	events []string
}

var badClasses = []badClass{
	{reason: market.MalformedJSON, events: []string{badTrade(`"price":NaN,`), badTrade(`"price":01,`), badTrade(`"price":+1,`), badTrade(`"price":Infinity,`), badTrade(`"price":1,"x":tru,`), badTrade(`"price":1,"id":"\q",`),
		badTrade(`"price":1,"id":"\u12",`), badTrade(`"price":1,"x":0x10,`)}},
	{reason: market.MalformedJSON, open: true, events: []string{`{"symbol":"BAD","price":1`, `{"symbol":"BAD",}`, `{symbol:"BAD","price":1}`, `{"symbol":'BAD'}`, `{"symbol" "BAD"}`, `{"symbol":"BAD","price":}`, `{"symbol":"BA`, `<xml/>`,
		`{"symbol":"BAD" "price":1}`, `nonsense, at length`}},
	{reason: market.DuplicateKey, events: []string{badTrade(`"price":1,"price":2,`), badTrade(`"price":1,"price":1,`), badTrade(`"price":1,"symbol":"BAD",`), badTrade(`"price":1,"size":1,"volume":1,`), badTrade(`"price":1,"x":1,"x":1,`),
		badTrade(`"price":1,"pr\u0069ce":1,`), badTrade(`"price":1,"timestamp":"2026-11-20T14:30:00Z",`)}},
	{reason: market.WrongKeyCase, events: []string{`{"Symbol":"BAD","price":1,"timestamp":"2026-11-20T14:30:00Z"}`, badTrade(`"Price":1,`), badTrade(`"PRICE":1,`), badTrade(`"price":1,"Size":1,`), badTrade(`"price":1,"ſide":"buy",`),
		badTrade(`"price":1,"Bid":1,`)}},
	{reason: market.WrongType, events: []string{badTrade(`"price":true,`), badTrade(`"price":[1],`), badTrade(`"price":{},`), badTrade(`"price":1,"id":7,`), badTrade(`"price":1,"sequence":"7",`), badTrade(`"price":1,"conditions":"@",`),
		badTrade(`"price":1,"conditions":[1],`), badTrade(`"price":1,"price_eligible":"false",`), `{"symbol":5,"price":1,"timestamp":"2026-11-20T14:30:00Z"}`, `{"symbol":"BAD","price":1,"timestamp":1763649000}`, `"BAD"`, `5`, `true`}},
	{reason: market.NullValue, events: []string{badTrade(`"price":null,`), badTrade(`"price":1,"size":null,`), badTrade(`"price":1,"id":null,`), badTrade(`"price":1,"conditions":[null],`), `{"symbol":null,"price":1,"timestamp":"2026-11-20T14:30:00Z"}`, `null`,
		badOf("quote", `"bid":1,"ask":null`)}},
	{reason: market.MissingField, events: []string{badTrade(``), `{}`, `{"symbol":"BAD","price":1}`, `{"price":1,"timestamp":"2026-11-20T14:30:00Z"}`, badOf("quote", `"bid_size":1`), badOf("status", `"reason":"x"`), badOf("correction", `"action":"cancel"`),
		badOf("bar", `"interval":"1m","open":1,"high":1,"low":1,"close":1`)}},
	{reason: market.UnknownType, events: []string{badOf("tick", `"price":1`), badOf("Trade", `"price":1`), badOf("", `"price":1`), badOf("trade ", `"price":1`), badOf("heartbeat", `"x":1`)}},
	{reason: market.BadNumber, events: []string{badTrade(`"price":"1,5",`), badTrade(`"price":"NaN",`), badTrade(`"price":"",`), badTrade(`"price":"Infinity",`), badTrade(`"price":" 1",`), badTrade(`"price":"0x1",`), badTrade(`"price":1,"sequence":1.0,`),
		badTrade(`"price":1,"sequence":1e3,`), badTrade(`"price":"１",`)}},
	{reason: market.NonPositive, events: []string{badTrade(`"price":0,`), badTrade(`"price":-0.01,`), badTrade(`"price":"-1",`), badTrade(`"price":1,"size":0,`), badTrade(`"price":1,"volume":-5,`), badOf("quote", `"bid":0`), badOf("quote", `"bid":1,"bid_size":-1`),
		badBar("1", "1", "0", "1")}},
	{reason: market.OutOfRange, events: []string{badTrade(`"price":1e300,`), badTrade(`"price":"9223372036.854775808",`), badTrade(`"price":1e999999999999999999999,`), badTrade(`"price":1,"size":1e10,`), badTrade(`"price":1,"sequence":9223372036854775808,`),
		badTrade(`"price":1,"sequence":-1,`)}},
	{reason: market.TooPrecise, events: []string{badTrade(`"price":"1.0000000001",`), badTrade(`"price":1e-10,`), badTrade(`"price":0.30000000000000004,`), badTrade(`"price":1e-999999999999999,`), badTrade(`"price":1,"size":"0.0000000001",`)}},
	{reason: market.InvertedBar, events: []string{badBar("1", "1", "2", "1"), badBar("3", "2", "1", "1"), badBar("1", "2", "1", "3"), badBar("1", "5", "2", "3"), badBar("2", "2", "1", "0.999999999")}},
	{reason: market.BadSymbol, events: []string{`{"symbol":"","price":1,"timestamp":"2026-11-20T14:30:00Z"}`, `{"symbol":"B D","price":1,"timestamp":"2026-11-20T14:30:00Z"}`, `{"symbol":"B|D","price":1,"timestamp":"2026-11-20T14:30:00Z"}`,
		`{"symbol":"É","price":1,"timestamp":"2026-11-20T14:30:00Z"}`, `{"symbol":"` + strings.Repeat("A", 33) + `","price":1,"timestamp":"2026-11-20T14:30:00Z"}`, `{"symbol":"$BAD","price":1,"timestamp":"2026-11-20T14:30:00Z"}`}},
	{reason: market.BadInterval, events: []string{badOf("bar", `"interval":"7m","open":1,"high":1,"low":1,"close":1,"volume":1`), badOf("bar", `"interval":"0m","open":1,"high":1,"low":1,"close":1,"volume":1`), badOf("bar", `"interval":"2d","open":1,"high":1,"low":1,"close":1,"volume":1`),
		badOf("bar", `"interval":"1M","open":1,"high":1,"low":1,"close":1,"volume":1`), badOf("bar", `"interval":"-1m","open":1,"high":1,"low":1,"close":1,"volume":1`), badOf("bar", `"interval":"","open":1,"high":1,"low":1,"close":1,"volume":1`)}},
	{reason: market.BadValue, events: []string{badTrade(`"price":1,"side":"short",`), badTrade(`"price":1,"side":"",`), badTrade(`"price":1,"side":"BUY",`), badOf("status", `"state":""`), badOf("correction", `"action":"undo","original_id":"1"`), badOf("correction", `"action":"cancel","original_id":""`)}},
	{reason: market.TextTooLong, events: []string{badTrade(`"price":1,"venue":"` + strings.Repeat("v", 129) + `",`), badTrade(`"price":1,"id":"` + strings.Repeat("é", 65) + `",`), badTrade(`"price":1,"source":"` + strings.Repeat("s", 65) + `",`),
		badTrade(`"price":1,"conditions":["` + strings.Repeat("c", 129) + `"],`), badTrade(`"price":1,"conditions":[` + strings.Repeat(`"c",`, 64) + `"c"],`), badOf("status", `"state":"`+strings.Repeat("s", 129)+`"`)}},
	// As bytes, SQS lets none in; see TestCorporaThroughTheHandler for those.
	{reason: market.InvalidUTF8, events: []string{badTrade(`"price":1,"id":"\ud800",`), badTrade(`"price":1,"id":"\udc00",`), badTrade(`"price":1,"id":"\ud800\u0041",`), badTrade(`"price":1,"id":"\udc00\ud800",`), badTrade(`"price":1,"x":"\ud83d",`),
		badTrade(`"price":1,"\udead":1,`)}},
	{reason: market.ControlCharacter, events: []string{badTrade(`"price":1,"id":"a\u0000b",`), badTrade(`"price":1,"venue":"\n",`), badTrade(`"price":1,"source":"\u001f",`), badTrade("\"price\":1,\"id\":\"\x7f\","), badTrade("\"price\":1,\"id\":\"\u0085\","), badTrade(`"price":1,"conditions":["\u0001"],`)}},
	{reason: market.BadTimestamp, events: []string{`{"symbol":"BAD","price":1,"timestamp":"2026-11-20T14:30:00"}`, `{"symbol":"BAD","price":1,"timestamp":"2026-11-20 14:30:00Z"}`, `{"symbol":"BAD","price":1,"timestamp":"2026-02-30T14:30:00Z"}`,
		`{"symbol":"BAD","price":1,"timestamp":"2016-12-31T23:59:60Z"}`, `{"symbol":"BAD","price":1,"timestamp":"2026-11-20T14:30:00.1234567890Z"}`, `{"symbol":"BAD","price":1,"timestamp":"1763649000"}`, `{"symbol":"BAD","price":1,"timestamp":""}`,
		`{"symbol":"BAD","price":1,"timestamp":"1677-12-31T23:59:59Z"}`}},
	{reason: market.FutureTimestamp, events: []string{`{"symbol":"BAD","price":1,"timestamp":"2226-11-20T14:30:00Z"}`, `{"symbol":"BAD","price":1,"timestamp":"2026-11-20T15:01:00.000000001Z"}`, `{"symbol":"BAD","price":1,"timestamp":"2026-11-20T14:30:00-02:00"}`,
		`{"type":"bar","symbol":"BAD","timestamp":"2026-11-20T15:00:00Z","interval":"5m","open":1,"high":1,"low":1,"close":1,"volume":1}`, `{"type":"clock","symbol":"BAD","timestamp":"2026-11-21T00:00:00Z"}`}},
	{reason: market.TooDeep, events: []string{badTrade(`"price":1,"x":` + deepJSON("[", "", "]", 32) + `,`), badTrade(`"price":1,"x":` + deepJSON(`{"a":`, "1", "}", 40) + `,`), badTrade(`"price":1,"x":` + deepJSON("[", "", "]", 5000) + `,`),
		badTrade(`"price":` + deepJSON("[", "", "]", 100) + `,`), deepJSON("[", "", "]", 33)}},
}

// badMessages are refused for what the message is, not an event in it.
var badMessages = []struct {
	reason       market.Reason
	format, body string
	raw          string // what is kept, "" = the body
	index        int
}{
	{reason: market.UnknownFormat, format: "vendor-x", body: "whatever it says"},
	{reason: market.UnknownFormat, format: "CANONICAL", body: goodTrade("NOT-READ")},
	{reason: market.UnknownFormat, format: "canonical ", body: "[" + goodTrade("NOT-READ") + "]"},
	{reason: market.UnknownFormat, format: "json", body: " "},
	{reason: market.UnknownFormat, format: "1", body: strings.Repeat("x", 1<<19)},
	{reason: market.TrailingData, body: `[` + unwatched + `] x`, raw: "x", index: 1},
	{reason: market.TrailingData, body: `[` + unwatched + `][]`, raw: "[]", index: 1},
	{reason: market.TrailingData, body: unwatched + unwatched},
	{reason: market.TrailingData, body: unwatched + " null"},
	{reason: market.TrailingData, body: unwatched + "}"},
	{reason: market.MissingField, body: `[]`},
	{reason: market.MissingField, body: " [ \n ] "[1:6]},
	{reason: market.MalformedJSON, body: " "},
	{reason: market.MalformedJSON, body: "\n\r\n"},
	{reason: market.MalformedJSON, body: "\uFEFF" + goodTrade("NOT-READ")},
	{reason: market.MalformedJSON, body: "\uFEFF" + goodTrade("NOT-READ") + "\n" + goodTrade("NOT-READ-EITHER")},
	{reason: market.MalformedJSON, body: "{\"symbol\":\"BAD\"\r\n" + unwatched, raw: "{\"symbol\":\"BAD\"\r"},
	{reason: market.TooLarge, body: many("\n") + "\n" + unwatched, raw: unwatched, index: 10_000},
	{reason: market.TooLarge, body: many("\n") + "\nnonsense\n" + unwatched, raw: "nonsense\n" + unwatched, index: 10_000},
	{reason: market.TooLarge, body: "[" + many(",") + "," + unwatched + "]", raw: unwatched + "]", index: 10_000},
	{reason: market.TooLarge, body: "[" + many(",") + ",]", raw: "]", index: 10_000},
	{reason: market.TooLarge, body: "[" + many(" , ") + ",1,2,3", raw: "1,2,3", index: 10_000},
}

const unwatched = `{"symbol":"UNWATCHED","price":1,"timestamp":"2026-11-20T14:30:00Z"}`

func many(separator string) string {
	return strings.TrimSuffix(strings.Repeat(unwatched+separator, market.DefaultLimits.MaxEvents), separator)
}

func goodTrade(symbol string) string {
	return fmt.Sprintf(`{"symbol":%q,"price":101,"timestamp":"2026-11-20T14:30:00Z"}`, symbol)
}

// packing is a way in which a bad event lies in its message.
type packing struct {
	name          string
	head, tail    string
	before, after []string // symbols of the good trades around it
	array         bool
}

var packings = func() []packing {
	a, b := goodTrade("GOOD-A"), goodTrade("GOOD-B")
	both := []string{"GOOD-A", "GOOD-B"}
	return []packing{
		{name: "alone"},
		{name: "first of an array", head: "[", tail: "," + a + "," + b + "]", after: both, array: true},
		{name: "in the middle of an array", head: "[" + a + ",", tail: "," + b + "]", before: both[:1], after: both[1:], array: true},
		{name: "last of an array", head: "[" + a + "," + b + ",", tail: "]", before: both, array: true},
		{name: "first line", tail: "\n" + a + "\n" + b, after: both},
		{name: "a line in the middle", head: a + "\r\n", tail: "\n" + b + "\n", before: both[:1], after: both[1:]},
		{name: "last line", head: a + "\n" + b + "\n", before: both},
	}
}()

type keptEvent struct {
	Body, Reason, Origin, Index string
}

// TestBadMarketData: every class of bad market data, in every position of a message and of a batch, through the real adapters.
// What is refused is kept as received, once, with its reason and its place; its neighbours fire as if they were alone.
func TestBadMarketData(t *testing.T) {
	const rules = "rules:\n  - {alert: High, symbols: [\"GOOD*\"], expr: price > 100, cooldown: 0s}\n"
	refused := 0
	classes := map[market.Reason]int{}
	try := func(t *testing.T, format, body string, want keptEvent, good []string) {
		t.Helper()
		for position := range 3 {
			r := newRig(t, rules, settings.Ordered)
			alerts := slices.Clone(good)
			for m := range 3 {
				if m == position {
					r.send(t, "bad", format, body)
					continue
				}
				symbol := fmt.Sprint("GOOD-", m)
				r.send(t, symbol, "", goodTrade(symbol))
				alerts = append(alerts, symbol)
			}
			if n, err := r.mapping.Poll(t.Context(), r.invoke); n != 3 || err != nil {
				t.Fatalf("a batch of %d messages, %v", n, err)
			}
			r.drain(t)
			refused++
			var kept []keptEvent
			for _, m := range r.rejectsQueue() {
				kept = append(kept, keptEvent{m.body, m.attributes["reason"], m.attributes["origin_message_id"], m.attributes["index"]})
			}
			if !cmp.Equal(kept, []keptEvent{want}) {
				t.Errorf("position %d of %.300q\nkept %.500q\nwant %.500q", position, body, kept, want)
			}
			var fired []string
			for _, a := range r.published(t) {
				fired = append(fired, a.Symbol)
			}
			slices.Sort(fired)
			slices.Sort(alerts)
			if !slices.Equal(fired, alerts) {
				t.Errorf("position %d of %.300q\nfired for %q, want %q", position, body, fired, alerts)
			}
		}
	}
	for _, class := range badClasses {
		if len(class.events) < 5 {
			t.Errorf("%d cases of %s, want 5", len(class.events), class.reason)
		}
		classes[class.reason] += len(class.events)
		t.Run(fmt.Sprint(class.reason, class.open), func(t *testing.T) {
			for _, event := range class.events {
				for _, p := range packings {
					if p.array && event == "nonsense, at length" {
						continue // two bare words, each of them an event
					}
					if !p.array && strings.HasPrefix(event, "[[") && p.name != "a line in the middle" && p.name != "last line" {
						continue // an array of its own
					}
					want := keptEvent{event, string(class.reason), "bad", fmt.Sprint(len(p.before))}
					good := slices.Concat(p.before, p.after)
					if p.array && class.open {
						want.Body, want.Reason, good = event+p.tail, string(market.MalformedJSON), p.before
					}
					try(t, "", p.head+event+p.tail, want, good)
				}
			}
		})
	}
	for _, m := range badMessages {
		classes[m.reason]++
		t.Run(fmt.Sprint(m.reason), func(t *testing.T) {
			raw := m.raw
			if raw == "" {
				raw = m.body
			}
			try(t, m.format, m.body, keptEvent{raw, string(m.reason), "bad", fmt.Sprint(m.index)}, nil)
		})
	}
	for _, reason := range reasons {
		if classes[reason] < 5 {
			t.Errorf("%d cases of %s, want 5", classes[reason], reason)
		}
	}
	if len(classes) != len(reasons) {
		t.Errorf("%d classes, want %d: %v", len(classes), len(reasons), slices.Sorted(maps.Keys(classes)))
	}
	t.Logf("%d bad events of %d classes", refused, len(classes))
}

// reasons are all of market's that are the sender's fault.
var reasons = []market.Reason{market.MalformedJSON, market.TrailingData, market.DuplicateKey, market.WrongKeyCase, market.WrongType, market.NullValue,
	market.MissingField, market.UnknownType, market.UnknownFormat, market.BadNumber, market.NonPositive, market.OutOfRange, market.TooPrecise,
	market.InvertedBar, market.BadSymbol, market.BadInterval, market.BadValue, market.TextTooLong, market.InvalidUTF8, market.ControlCharacter,
	market.BadTimestamp, market.FutureTimestamp, market.TooDeep, market.TooLarge}
