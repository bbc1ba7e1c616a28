package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// traffic is what one invocation gets.
type traffic struct {
	messages int
	perEvent int // events in a message; 1 = the event itself, not an array
	series   int // in the invocation
	byShard  bool
	// alertEvery is how many events one alert comes after: 0 = none, 1 = every event fires. See prices.
	alertEvery int
	gap        time.Duration // of event time between two events; 0 = 1 ms
	shortest   bool          // events have a symbol, a price and a timestamp, and nothing else
}

func (t traffic) events() int { return t.messages * t.perEvent }

// Prices between 110 and 120 fire nothing. Those outside fire one of two rules, each of which is re-armed by a price on
// the other side, so that our rules, which fire on edges, and the baselines' comparisons find the same alerts.
const (
	levels = `rules:
  - {alert: Up, expr: price > 120, cooldown: 0s, summary: "{{ .symbol }} at {{ .price }}"}
  - {alert: Down, expr: price < 110, cooldown: 0s, summary: "{{ .symbol }} at {{ .price }}"}
`
	// Four windows that step with every trade and never fire beside the levels.
	history = levels + `  - {alert: SMA, expr: "crossover(sma(price, 5), sma(price, 20)) and price > 1e6", cooldown: 0s}
  - {alert: EMA, expr: "crossover(ema(price, 9), ema(price, 21)) and price > 1e6", cooldown: 0s}
  - {alert: High, expr: "price > 1e4 * prev(highest(price, 20), 1)", cooldown: 0s}
  - {alert: Far, expr: "abs(zscore(price, 20)) > 1e6", cooldown: 0s}
`
)

// ruleSets are the rules of ours that are compared.
var ruleSets = []struct{ name, rules string }{{"levels", levels}, {"windows", history}}

// stream makes the invocations' events: of each series in order, never the same one twice.
type stream struct {
	traffic
	counts []int // events made, by series
	total  int
	made   int // messages
	clock  time.Time
}

func newStream(t traffic) *stream {
	if t.gap == 0 {
		t.gap = time.Millisecond
	}
	return &stream{traffic: t, counts: make([]int, t.series), clock: time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)}
}

// alerts is how many alerts the events made so far cause.
func (s *stream) alerts() int {
	if s.alertEvery == 0 {
		return 0
	}
	return s.total / s.alertEvery
}

func symbol(series int) string { return fmt.Sprintf("S%05d", series) }

// appendTrade appends a typical trade as the producer writes it.
func appendTrade(b []byte, series int, price string, at time.Time, sequence int) []byte {
	b = append(b, `{"symbol":"`...)
	b = append(b, symbol(series)...)
	b = append(b, `","timestamp":"`...)
	b = at.AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","price":"`...)
	b = append(b, price...)
	b = append(b, `","size":"100","conditions":["0x20002020"],"id":"`...)
	b = strconv.AppendInt(b, int64(sequence%1e6), 10)
	b = append(b, `","sequence":`...)
	b = strconv.AppendInt(b, int64(sequence), 10)
	return append(b, `,"venue":"Q","source":"algoseek"}`...)
}

func (s *stream) event(b []byte, series int) []byte {
	s.clock = s.clock.Add(s.gap)
	s.total++
	k := s.counts[series]
	s.counts[series]++
	price := "115." + strconv.Itoa(10+(k*7)%80)
	switch {
	case s.alertEvery == 0 || s.total%s.alertEvery != 0:
	case k%2 == 0:
		price = "150.25"
	default:
		price = "80.25"
	}
	if s.shortest {
		return fmt.Appendf(b, `{"symbol":%q,"price":%s,"timestamp":%q}`, symbol(series), price, s.clock.Format("2006-01-02T15:04:05.000Z"))
	}
	return appendTrade(b, series, price, s.clock, k+1)
}

// next is the event of an invocation, as Lambda hands it over.
func (s *stream) next() []byte {
	type attributes struct {
		ApproximateReceiveCount, SentTimestamp, SenderId, ApproximateFirstReceiveTimestamp string
		SequenceNumber, MessageGroupId, MessageDeduplicationId                             string `json:",omitempty"`
	}
	type record struct {
		MessageID      string         `json:"messageId"`
		ReceiptHandle  string         `json:"receiptHandle"`
		Body           string         `json:"body"`
		Attributes     attributes     `json:"attributes"`
		MessageAttrs   map[string]any `json:"messageAttributes"`
		MD5            string         `json:"md5OfBody"`
		EventSource    string         `json:"eventSource"`
		EventSourceARN string         `json:"eventSourceARN"`
		Region         string         `json:"awsRegion"`
	}
	records := make([]record, s.messages)
	for m := range records {
		body := make([]byte, 0, 192*s.perEvent)
		for e := range s.perEvent {
			switch {
			case s.perEvent == 1:
			case e == 0:
				body = append(body, '[')
			default:
				body = append(body, ',')
			}
			series := m
			if s.byShard {
				series = m*s.perEvent + e
			}
			body = s.event(body, series%s.series)
		}
		if s.perEvent > 1 {
			body = append(body, ']')
		}
		s.made++
		id := fmt.Sprintf("%08x-1111-4222-8333-%012x", s.made, s.made)
		at := strconv.FormatInt(s.clock.UnixMilli(), 10)
		records[m] = record{
			MessageID: id, ReceiptHandle: "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a" + id, Body: string(body),
			Attributes: attributes{ApproximateReceiveCount: "1", SentTimestamp: at, SenderId: "AIDAIENQZJOLO23YVJ4VO", ApproximateFirstReceiveTimestamp: at,
				SequenceNumber: "18849496460467696128", MessageGroupId: symbol(m%s.series) + "|algoseek", MessageDeduplicationId: id},
			MessageAttrs: map[string]any{}, MD5: "e4e68fb7bd0e697a0ae8f1bb342846b3", EventSource: "aws:sqs",
			EventSourceARN: "arn:aws:sqs:us-east-1:123456789012:market-data", Region: "us-east-1",
		}
	}
	payload, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		panic(err) // only texts
	}
	return payload
}
