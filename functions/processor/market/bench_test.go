package market

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// wireEvent is what encoding/json decodes into: no checks, no exact numbers, no times; less than Decode does.
type wireEvent struct {
	Type       string      `json:"type"`
	Symbol     string      `json:"symbol"`
	Source     string      `json:"source"`
	Timestamp  time.Time   `json:"timestamp"`
	Sequence   int64       `json:"sequence"`
	ID         string      `json:"id"`
	Venue      string      `json:"venue"`
	Price      json.Number `json:"price"`
	Size       json.Number `json:"size"`
	Side       string      `json:"side"`
	Bid        json.Number `json:"bid"`
	BidSize    json.Number `json:"bid_size"`
	Open       json.Number `json:"open"`
	High       json.Number `json:"high"`
	Low        json.Number `json:"low"`
	Close      json.Number `json:"close"`
	Volume     json.Number `json:"volume"`
	Interval   string      `json:"interval"`
	Conditions []string    `json:"conditions"`
}

const (
	feedTrade = `{"type":"trade","symbol":"BAC","price":"13.99","size":"100","timestamp":"2013-10-10T08:21:30.199Z","id":"1","sequence":1,"venue":"Q","source":"algoseek","conditions":["0x20002020"]}`
	feedMixed = `{"conditions":["0x20002020"],"source":"algoseek","sequence":1,"timestamp":"2013-10-10T08:21:30.199Z","venue":"Q","size":"100","id":"1","price":"13.99","symbol":"BAC","type":"trade"}`
	feedQuote = `{"type":"quote","symbol":"IBM","timestamp":"2013-10-10T13:30:00.360Z","id":"1","sequence":1,"venue":"Q","source":"algoseek","bid":"182.70","bid_size":"500"}`
	feedBar   = `{"type":"bar","symbol":"BTC-USD","interval":"1m","timestamp":"2016-10-07T00:00:00.000Z","open":"611.78","high":"611.91","low":"611.78","close":"611.9","volume":"1.13872","source":"coinbase"}`
	mixed     = `{"timestamp":"2026-11-20T14:30:00Z","price":189.84,"symbol":"AAPL"}`
	shortest  = `{"symbol":"AAPL","price":189.84,"timestamp":"2026-11-20T14:30:00Z"}`
)

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name, body string
		events     int
	}{
		{"shortest", shortest, 1}, {"shortest any order", mixed, 1}, {"shortest with blanks", spacedOut(shortest), 1}, {"trade", feedTrade, 1}, {"trade any order", feedMixed, 1}, {"quote", feedQuote, 1}, {"bar", feedBar, 1},
		{"array of 100 shortest", "[" + strings.Repeat(shortest+",", 99) + shortest + "]", 100},
		{"array of 100 trades", "[" + strings.Repeat(feedTrade+",", 99) + feedTrade + "]", 100},
		{"100 lines of trades", strings.Repeat(feedTrade+"\n", 100), 100},
	} {
		b.Run(c.name+"/market", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			dst := make([]Event, 0, c.events)
			for b.Loop() {
				if events, _ := Decode(dst, c.body, testNow, testSkew); len(events) != c.events {
					b.Fatal(len(events))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.events), "ns/event")
		})
		b.Run(c.name+"/encoding-json", func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.body)))
			body := []byte(c.body)
			if c.body[0] == '{' && c.events > 1 {
				body = []byte("[" + strings.ReplaceAll(strings.TrimSpace(c.body), "\n", ",") + "]")
			} else if c.events == 1 {
				body = []byte("[" + c.body + "]")
			}
			events := make([]wireEvent, 0, c.events)
			for b.Loop() {
				events = events[:0]
				if err := json.Unmarshal(body, &events); err != nil || len(events) != c.events {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.events), "ns/event")
		})
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	events, _ := Decode(nil, feedTrade, testNow, testSkew)
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = events[0].AppendJSON(buf[:0])
	}
}
