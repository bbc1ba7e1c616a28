package market

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

const (
	goodTrade      = `{"type":"trade","symbol":"AAPL","price":"189.84","size":"100","timestamp":"2026-11-20T14:30:00.123Z","id":"t1","sequence":7,"venue":"Q","source":"sip","side":"buy","price_eligible":true,"conditions":["@","F"]}`
	goodVolume     = `{"symbol":"AAPL","price":189.84,"volume":5,"timestamp":"2026-11-20T14:30:00Z"}`
	goodQuote      = `{"type":"quote","symbol":"AAPL","timestamp":"2026-11-20T14:30:00Z","bid":189.83,"ask":"189.85","bid_size":0,"ask_size":3,"sequence":1}`
	goodBar        = `{"type":"bar","symbol":"BTC-USD","interval":"1m","timestamp":"2026-11-20T14:30:00Z","open":"10","high":12,"low":"9.5","close":11,"volume":0,"vwap":"10.5","trades":0}`
	goodStatus     = `{"type":"status","symbol":"AAPL","timestamp":"2026-11-20T14:30:00Z","state":"halted","reason":"LULD"}`
	goodCorrection = `{"type":"correction","symbol":"AAPL","timestamp":"2026-11-20T14:30:00Z","action":"cancel","original_id":"t1"}`
	goodClock      = `{"type":"clock","symbol":"AAPL","timestamp":"2026-11-20T14:30:00Z"}`
)

var goodEvents = []string{goodTrade, goodVolume, goodQuote, goodBar, goodStatus, goodCorrection, goodClock}

var goodBodies = append([]string{
	"[" + strings.Join(goodEvents, ",") + "]",
	strings.Join(goodEvents, "\r\n\r\n") + "\n",
	strings.ReplaceAll(goodTrade, ",", "\n,\n"),
	`{"pr\u0069ce":9.631e-05,"symbol":"A","timestamp":"2026-11-20t14:30:00-05:00","x":[1,{"y":null}],"id":"\ud83d\ude00 é"}`,
	"[]", "", " \n", "\uFEFF{}", "[{}]x", "{\n{}\n}",
}, goodEvents...)

type badEvent struct {
	event  string
	reason Reason
	field  string
}

// badEvents are events that are refused, each with its neighbours' bounds intact: all classes of mistakes, in all the
// fields that can have them.
func badEvents() (list []badEvent) {
	add := func(event string, reason Reason, field string) { list = append(list, badEvent{event, reason, field}) }
	set := func(base, key, value string, reason Reason) { add(with(base, key, value), reason, key) }

	type place struct{ base, key string }
	positive := []place{{goodTrade, "price"}, {goodTrade, "size"}, {goodVolume, "volume"}, {goodQuote, "bid"}, {goodQuote, "ask"},
		{goodBar, "open"}, {goodBar, "high"}, {goodBar, "low"}, {goodBar, "close"}, {goodBar, "vwap"}}
	sizes := []place{{goodQuote, "bid_size"}, {goodQuote, "ask_size"}}
	decimals := append(slices.Clone(positive), sizes...)
	integers := []place{{goodTrade, "sequence"}, {goodBar, "trades"}}
	texts := []place{{goodTrade, "symbol"}, {goodTrade, "source"}, {goodTrade, "timestamp"}, {goodTrade, "id"}, {goodTrade, "venue"}, {goodTrade, "type"},
		{goodTrade, "side"}, {goodBar, "interval"}, {goodStatus, "state"}, {goodStatus, "reason"}, {goodCorrection, "action"}, {goodCorrection, "original_id"}}
	everything := slices.Concat(decimals, integers, texts, []place{{goodBar, "volume"}, {goodTrade, "price_eligible"}, {goodTrade, "conditions"}})

	for _, p := range decimals {
		for _, v := range []string{`""`, `"abc"`, `"1,5"`, `"NaN"`, `"Infinity"`, `"+1"`, `".5"`, `"1."`, `"01"`, `"0x10"`, `" 1"`, `"1 "`, `"1e"`, `"1_0"`, `"--1"`, `"1e1.5"`, `"é"`} {
			set(p.base, p.key, v, BadNumber)
		}
		for _, v := range []string{"-1", `"-0.01"`, "-1e-9", `"-9e9"`} {
			set(p.base, p.key, v, NonPositive)
		}
		for _, v := range []string{"9223372036.854775808", `"1e10"`, "1e400", "1e999999999999999999999", `"99999999999999999999999999"`, "-1e11"} {
			set(p.base, p.key, v, OutOfRange)
		}
		for _, v := range []string{"0.0000000001", `"1.1234567891"`, "1e-10", "1e-999999999999999999999", `"0.30000000000000004"`} {
			set(p.base, p.key, v, TooPrecise)
		}
		for _, v := range []string{"true", "{}", "[1]"} {
			set(p.base, p.key, v, WrongType)
		}
	}
	for _, p := range positive {
		for _, v := range []string{"0", `"0"`, "-0", "0.000", "0e5"} {
			set(p.base, p.key, v, NonPositive)
		}
	}
	for _, v := range []string{`"x"`, `""`, `"inf"`, `"1e"`, `"0x1p4"`} {
		set(goodBar, "volume", v, BadNumber)
	}
	set(goodBar, "volume", "-1", NonPositive)
	set(goodBar, "volume", "1e400", OutOfRange)
	set(goodBar, "volume", "false", WrongType)
	for _, p := range integers {
		for _, v := range []string{"1.5", "1.0", "1e3", "0.1E2", "1e-1"} {
			set(p.base, p.key, v, BadNumber)
		}
		for _, v := range []string{"-1", "-0", "9223372036854775808", "123456789012345678901234567890", "-9223372036854775808"} {
			set(p.base, p.key, v, OutOfRange)
		}
		for _, v := range []string{`"5"`, "true", "[]", "{}"} {
			set(p.base, p.key, v, WrongType)
		}
	}
	for _, p := range texts {
		for _, v := range []string{"5", "true", "[]", "{}", `["x"]`, "-1e5"} {
			set(p.base, p.key, v, WrongType)
		}
		for _, v := range []string{`"a\u0000"`, `"\n"`, `"\u001f"`, `"\u007f"`, `"\u0085"`, "\"a\x7f\"", "\"\u0080\""} {
			set(p.base, p.key, v, ControlCharacter)
		}
	}
	for _, v := range []string{`"true"`, "1", "0", "{}"} {
		set(goodTrade, "price_eligible", v, WrongType)
	}
	for _, v := range []string{`"@"`, "5", "{}", "[1]", "[1,2]", "[1,2,3]", `["a",["b"]]`, "[true]"} {
		set(goodTrade, "conditions", v, WrongType)
	}
	set(goodTrade, "conditions", "[null]", NullValue)
	set(goodTrade, "conditions", `["\u0001"]`, ControlCharacter)
	set(goodTrade, "conditions", "["+strings.Repeat(`"a",`, 64)+`"a"]`, TextTooLong)
	set(goodTrade, "conditions", `["`+strings.Repeat("x", 129)+`"]`, TextTooLong)
	for _, p := range everything {
		set(p.base, p.key, "null", NullValue)
		name := strings.ToUpper(p.key[:1]) + p.key[1:]
		add(strings.Replace(p.base, `"`+p.key+`":`, `"`+name+`":`, 1), WrongKeyCase, p.key)
		add(strings.Replace(p.base, `"`+p.key+`":`, `"`+strings.ToUpper(p.key)+`":`, 1), WrongKeyCase, p.key)
		add(strings.Replace(p.base, "{", `{"`+p.key+`":null,`, 1), DuplicateKey, p.key)
		add(strings.Replace(p.base, "}", `,"`+fmt.Sprintf(`\u%04x`, p.key[0])+p.key[1:]+`":[{}]}`, 1), DuplicateKey, p.key)
		for _, v := range []string{"NaN", "-Infinity", "True", "01", "1.", "-", "1e+", "+1", ".5", "nul", "0x1F", "undefined"} {
			add(with(p.base, p.key, v), MalformedJSON, "")
		}
		for _, v := range []string{"\"\xff\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"", "\"\xf4\x90\x80\x80\"", `"\ud800"`, `"\udc00"`, `"\udc00\ud800"`, `"\ud800\u0041"`, `"\uD83Dx"`} {
			add(with(p.base, p.key, v), InvalidUTF8, "")
		}
		for _, v := range []string{`"\q"`, `"\u12"`, `"\u12G4"`, "\"a\tb\"", "\"\x00\"", "\"\x1f\"", "\"\\\t\""} {
			add(with(p.base, p.key, v), MalformedJSON, "")
		}
	}
	add(strings.Replace(goodTrade, "}", `,"volume":3}`, 1), DuplicateKey, "volume")
	add(strings.Replace(goodTrade, "}", `,"x":3,"x":3}`, 1), DuplicateKey, "")
	add(strings.Replace(goodTrade, "}", `,"x":3,"\u0078":3}`, 1), DuplicateKey, "")
	many := ""
	for n := range 40 {
		many += fmt.Sprintf(`,"x%d":%d`, n, n)
	}
	add(strings.Replace(goodTrade, "}", many+`,"x39":3}`, 1), DuplicateKey, "")
	add(strings.Replace(goodTrade, "size", "\u017Fize", 1), WrongKeyCase, "size")
	add(strings.Replace(goodTrade, "symbol", `\u0053ymbol`, 1), WrongKeyCase, "symbol")
	add(strings.Replace(goodStatus, "}", `,"PRICE":1}`, 1), WrongKeyCase, "price")

	for base, keys := range map[string][]string{
		goodTrade: {"symbol", "timestamp", "price"}, goodQuote: {"symbol", "timestamp"},
		goodBar:    {"symbol", "timestamp", "interval", "open", "high", "low", "close", "volume"},
		goodStatus: {"symbol", "timestamp", "state"}, goodCorrection: {"symbol", "timestamp", "action", "original_id"}, goodClock: {"symbol", "timestamp"},
	} {
		for _, key := range keys {
			add(strings.Replace(base, `"`+key+`":`, `"x":`, 1), MissingField, key)
		}
	}
	add(`{"type":"quote","symbol":"A","timestamp":"2026-11-20T14:30:00Z","bid_size":1}`, MissingField, "bid")
	add(`{}`, MissingField, "symbol")
	for _, v := range []string{`"Trade"`, `"TRADE"`, `""`, `"trades"`, `" trade"`, `"heartbeat"`} {
		set(goodTrade, "type", v, UnknownType)
	}
	for _, v := range []string{`""`, `"A B"`, `"A|B"`, `"É"`, `"a,b"`, `"` + strings.Repeat("A", 33) + `"`, `"$A"`, `"A\\B"`, `"A\"B"`} {
		set(goodTrade, "symbol", v, BadSymbol)
	}
	for _, v := range []string{`"Buy"`, `"b"`, `""`, `"SELL"`, `"none"`} {
		set(goodTrade, "side", v, BadValue)
	}
	for _, v := range []string{`"Cancel"`, `""`, `"undo"`} {
		set(goodCorrection, "action", v, BadValue)
	}
	set(goodCorrection, "original_id", `""`, BadValue)
	set(goodStatus, "state", `""`, BadValue)
	for _, p := range []place{{goodTrade, "id"}, {goodTrade, "venue"}, {goodStatus, "state"}, {goodStatus, "reason"}, {goodCorrection, "original_id"}} {
		set(p.base, p.key, `"`+strings.Repeat("x", 129)+`"`, TextTooLong)
		set(p.base, p.key, `"`+strings.Repeat("é", 65)+`"`, TextTooLong)
		set(p.base, p.key, `"`+strings.Repeat(`\u0078`, 129)+`"`, TextTooLong)
	}
	set(goodTrade, "source", `"`+strings.Repeat("x", 65)+`"`, TextTooLong)
	for _, v := range []string{`"1"`, `"m"`, `""`, `"0m"`, `"7m"`, `"2d"`, `"1w"`, `"-1m"`, `"1.5h"`, `"01m"`, `"1M"`, `"1m "`, `"90000s"`, `"99999s"`, `"500ms"`, `"18446744073709551617m"`} {
		set(goodBar, "interval", v, BadInterval)
	}
	for _, v := range []string{``, `x`, `2026-11-20`, `2026-11-20T14:30:00`, `2026-11-20 14:30:00Z`, `2026-11-20T14:30Z`, `2026-11-20T14:30:00.Z`, `2026-11-20T14:30:00.1234567890Z`,
		`2026-11-20T14:30:00,5Z`, `2026-02-29T00:00:00Z`, `1900-02-29T00:00:00Z`, `2026-04-31T00:00:00Z`, `2026-13-01T00:00:00Z`, `2026-00-01T00:00:00Z`, `2026-01-00T00:00:00Z`, `2026-01-32T00:00:00Z`,
		`2026-11-20T24:00:00Z`, `2026-11-20T23:60:00Z`, `2016-12-31T23:59:60Z`, `2026-11-20T14:30:00+0500`, `2026-11-20T14:30:00+24:00`, `2026-11-20T14:30:00+05:60`, `2026-11-20T14:30:00+05`, `2026-11-20T14:30:00ZZ`,
		`2026-11-20T14:30:00z `, ` 2026-11-20T14:30:00Z`, `1677-12-31T00:00:00Z`, `2263-01-01T00:00:00Z`, `2262-04-12T00:00:00Z`, `2262-04-11T23:47:16.854775808Z`, `+2026-11-20T14:30:00Z`, `20261120T143000Z`, `2026-11-20T14:30:00.5`,
		`202a-11-20T14:30:00Z`, `2026-11-20T1:30:00.55Z`, `1763649000`, `2026-W47-5T14:30:00Z`, `2026-11-20T14:30:00 UTC`} {
		set(goodTrade, "timestamp", `"`+v+`"`, BadTimestamp)
	}
	set(goodTrade, "timestamp", "1763649000", WrongType)
	for _, base := range goodEvents {
		for _, v := range []string{`2026-11-20T15:00:05.000000001Z`, `2026-11-21T00:00:00Z`, `2099-01-01T00:00:00Z`, `2026-11-20T15:00:00-00:01`, `2262-04-11T23:00:00Z`} {
			set(base, "timestamp", `"`+v+`"`, FutureTimestamp)
		}
	}
	set(goodBar, "timestamp", `"2026-11-20T14:59:06Z"`, FutureTimestamp)
	set(goodBar, "timestamp", `"2262-04-11T23:47:00Z"`, BadTimestamp)
	for _, v := range [][3]string{{"low", "11.5", "low"}, {"high", "10.5", "high"}, {"open", "13", "high"}, {"open", "9", "low"}, {"close", "12.000000001", "high"}, {"close", "9.499999999", "low"}, {"low", "13", "low"}} {
		add(with(goodBar, v[0], v[1]), InvertedBar, v[2])
	}
	for _, depth := range []int{32, 33, 100, 5000} {
		deep := strings.Repeat("[", depth) + strings.Repeat("]", depth)
		add(strings.Replace(goodTrade, "}", `,"x":`+deep+`}`, 1), TooDeep, "")
		set(goodTrade, "symbol", deep, TooDeep)
		list[len(list)-1].field = ""
	}
	add(strings.Replace(goodTrade, "}", `,"x":`+strings.Repeat(`{"a":`, 32)+`"}]"`+strings.Repeat(`}`, 32)+`}`, 1), TooDeep, "")
	for _, v := range []string{"5", `"AAPL"`, "true", "-1.5e3"} {
		add(v, WrongType, "")
	}
	add("null", NullValue, "")
	add("NaN", MalformedJSON, "")
	return list
}

// with replaces the value of a key whose value has no comma within, but conditions'.
func with(base, key, value string) string {
	i := strings.Index(base, `"`+key+`":`)
	if i < 0 {
		i = strings.LastIndexByte(base, '}')
		return base[:i] + `,"` + key + `":` + value + base[i:]
	}
	i += len(key) + 3
	end := i + strings.IndexAny(base[i:], ",}")
	if base[i] == '[' {
		end = i + strings.IndexByte(base[i:], ']') + 1
	}
	return base[:i] + value + base[end:]
}

// brokenEvents cannot be followed to their end: on a line they harm nobody, in an array they end it.
var brokenEvents = []badEvent{
	{`{"symbol":"AAPL","price":1`, MalformedJSON, ""},
	{`{"symbol":"AAPL","price":1,`, MalformedJSON, ""},
	{`{"symbol":"AAPL","price":`, MalformedJSON, ""},
	{`{"symbol":"AAPL","price"`, MalformedJSON, ""},
	{`{"symbol":"AAPL`, MalformedJSON, ""},
	{`{"symbol":"AAPL\`, MalformedJSON, ""},
	{`{symbol:"AAPL"}`, MalformedJSON, ""},
	{`{'symbol':"AAPL"}`, MalformedJSON, ""},
	{`{"symbol":'AAPL'}`, MalformedJSON, ""},
	{`{"symbol" "AAPL"}`, MalformedJSON, ""},
	{`{"symbol":"AAPL",}`, MalformedJSON, ""},
	{`{"symbol":"AAPL" "price":1}`, MalformedJSON, ""},
	{`{"symbol":}`, MalformedJSON, ""},
	{`{"symbol":"AAPL"]`, MalformedJSON, ""},
	{`{"x":[1,]}`, MalformedJSON, ""},
	{`{"x":[1}`, MalformedJSON, ""},
	{`{"x":{"y"}}`, MalformedJSON, ""},
	{`{"x":{1:2}}`, MalformedJSON, ""},
	{`{"conditions":["a" "b"]}`, MalformedJSON, ""},
	{`{"x":#}`, MalformedJSON, ""},
	{`{"x":/* no */1}`, MalformedJSON, ""},
	{`{"x":` + strings.Repeat("[", 5000), MalformedJSON, ""},
	{`,` + goodTrade, MalformedJSON, ""},
	{`hello, world`, MalformedJSON, ""},
	{`<xml/>`, MalformedJSON, ""},
	{goodTrade + "x", TrailingData, ""},
	{goodTrade + goodTrade, TrailingData, ""},
	{goodTrade + " " + goodTrade, TrailingData, ""},
	{goodTrade + "}", TrailingData, ""},
	{goodTrade + " null", TrailingData, ""},
}

func TestBadEvents(t *testing.T) {
	before, after := mustDecode(t, goodTrade), mustDecode(t, goodBar)
	corpus := badEvents()
	if len(corpus) < 1000 {
		t.Errorf("%d bad events, want 1000", len(corpus))
	}
	count := map[Reason]int{}
	for _, c := range corpus {
		count[c.reason]++
		for place, layout := range []struct {
			body  string
			index int
			good  []Event
		}{
			{c.event, 0, nil},
			{" \n" + c.event + "\r\n", 0, nil},
			{"[" + c.event + "," + goodTrade + "," + goodBar + "]", 0, []Event{before, after}},
			{"[" + goodTrade + " ,\n " + c.event + "\t, " + goodBar + "]", 1, []Event{before, after}},
			{"[" + goodTrade + "," + goodBar + "," + c.event + "]", 2, []Event{before, after}},
			{c.event + "\n" + goodTrade + "\n" + goodBar, 0, []Event{before, after}},
			{goodTrade + "\n" + c.event + "\r\n\n" + goodBar + "\n", 1, []Event{before, after}},
			{goodTrade + "\n" + goodBar + "\n" + c.event, 2, []Event{before, after}},
		} {
			good, bad := Decode(nil, layout.body, testNow, testSkew)
			if len(bad) != 1 {
				t.Fatalf("place %d of %q: %d refusals: %+v", place, c.event, len(bad), bad)
			}
			r := bad[0]
			if r.Reason != c.reason || r.Field != c.field || r.Index != layout.index || r.Raw != c.event || r.Detail == "" || len(r.Detail) > 200 || !isPrintable(r.Detail) {
				t.Errorf("place %d of %q\n got %+v\nwant %s in %q at %d", place, c.event, r, c.reason, c.field, layout.index)
			}
			sameEvents(t, good, layout.good)
		}
	}
	for _, r := range []Reason{MalformedJSON, DuplicateKey, WrongKeyCase, WrongType, NullValue, MissingField, UnknownType, BadNumber, NonPositive, OutOfRange, TooPrecise,
		InvertedBar, BadSymbol, BadInterval, BadValue, TextTooLong, InvalidUTF8, ControlCharacter, BadTimestamp, FutureTimestamp, TooDeep} {
		if count[r] < 5 {
			t.Errorf("%d cases of %s, want 5", count[r], r)
		}
	}
}

func TestBrokenEvents(t *testing.T) {
	before, after := mustDecode(t, goodTrade), mustDecode(t, goodBar)
	for _, c := range brokenEvents {
		reason := c.reason
		for place, layout := range []struct {
			body, raw string
			index     int
			good      []Event
		}{
			{c.event, c.event, 0, nil},
			{c.event + "\n" + goodTrade + "\n" + goodBar, c.event, 0, []Event{before, after}},
			{goodTrade + "\n" + c.event + "\n" + goodBar, c.event, 1, []Event{before, after}},
			{goodTrade + "\n" + goodBar + "\n" + c.event + "\n", c.event, 2, []Event{before, after}},
		} {
			good, bad := Decode(nil, layout.body, testNow, testSkew)
			if len(bad) != 1 || bad[0].Reason != reason || bad[0].Raw != layout.raw || bad[0].Index != layout.index {
				t.Errorf("place %d of %q\n got %+v\nwant %s at %d", place, c.event, bad, reason, layout.index)
			}
			sameEvents(t, good, layout.good)
		}
		if strings.HasPrefix(c.event, "hello") {
			continue // in an array, two bare words, each refused alone
		}
		for place, head := range []string{"[", "[" + goodTrade + ",", "[" + goodTrade + "," + goodBar + ","} {
			rest := c.event + "," + goodQuote + "]"
			good, bad := Decode(nil, head+rest, testNow, testSkew)
			if len(bad) != 1 || bad[0].Reason != MalformedJSON || bad[0].Raw != rest || bad[0].Index != place {
				t.Errorf("array with %d before %q: %+v", place, c.event, bad)
			}
			sameEvents(t, good, []Event{before, after}[:place])
		}
	}
}

func mustDecode(t *testing.T, body string) Event {
	t.Helper()
	good, bad := Decode(nil, body, testNow, testSkew)
	if len(good) != 1 || len(bad) != 0 {
		t.Fatalf("%q: %d events, refused %+v", body, len(good), bad)
	}
	return good[0]
}

// sameEvents compares all but the positions and the raw forms.
func sameEvents(t *testing.T, got, want []Event) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d events, want %d", len(got), len(want))
		return
	}
	for i := range got {
		g := got[i]
		g.Index, g.Raw = want[i].Index, want[i].Raw
		if g != want[i] {
			t.Errorf("event %d\n got %+v\nwant %+v", i, got[i], want[i])
		}
	}
}
