package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// fuzzRules have every kind of rule. Of every series' trades, Any fires on the first, the third, the fifth ...
const fuzzRules = `
rules:
  - {alert: Any, expr: price > 0, reset: price > 0, cooldown: 0s, summary: "{{ .symbol }} {{ .event_id }} {{ .venue }}"}
  - {alert: Cross, expr: "crossover(sma(price, 2), ema(price, 3)) or size > 50", cooldown: 1s}
  - {alert: Wide, on: quote, expr: spread > 0 or bid > 0, reset: spread <= 0, cooldown: 0s}
  - {alert: Vendor, on: bar, interval: 1m, expr: close > 0, cooldown: 0s}
  - {alert: Built, on: bar, interval: 5m, from: trades, expr: volume > 0, cooldown: 0s}
  - {alert: Held, expr: price > 95, for: 2s, cooldown: 0s}
  - {alert: Quiet, on: silence, after: 10s}
`

// sink is the handler's world: everything in memory, and nothing ever fails.
type sink struct {
	*ledger.Memory
	published []alert.Record
	rejected  []market.Rejected
}

func (s *sink) Publish(_ context.Context, records []alert.Record) []error {
	s.published = append(s.published, records...)
	return make([]error, len(records))
}

func (s *sink) Reject(_ context.Context, rejected []market.Rejected) []error {
	s.rejected = append(s.rejected, rejected...)
	return make([]error, len(rejected))
}

func (s *sink) SetVisibility(context.Context, []market.Delay) error { return nil }

// FuzzHandler gives any two bodies, beside a good one, or any bytes as Lambda's event, to the whole handler, twice. Every event
// is accepted or kept as received; an alert's event is in its message and valid by other means than the decoder's; nothing
// fails, the good message fires, and the second delivery changes nothing.
func FuzzHandler(f *testing.F) {
	quote := `{"type":"quote","symbol":"A","timestamp":"2026-11-20T14:30:00Z","bid":1,"ask":"2.5","sequence":1}`
	bar := `{"type":"bar","symbol":"A","timestamp":"2026-11-20T14:29:00Z","interval":"1m","open":1,"high":2,"low":"0.5","close":1,"volume":3}`
	full := `{"type":"trade","symbol":"AAPL","price":"189.84","size":"100","timestamp":"2026-11-20T14:30:00.123Z","id":"t1","sequence":7,"venue":"Q","source":"sip","side":"buy","conditions":["@"]}`
	const raw, unordered, retry = 1, 2, 4
	for _, c := range []struct {
		first, second string
		flags         byte
	}{
		{goodTrade("A"), full, 0},
		{`{"Records":[{"messageId":"1","body":"{}","attributes":{"ApproximateReceiveCount":"1"}}]}`, "", raw},
		{quote + "\n" + bar, "[" + full + "," + quote + "]", unordered},
		{`{"Records":[{"messageId":"1","body":5,"attributes":{"ApproximateReceiveCount":"x"},"messageAttributes":{"format":{"stringValue":"y"}}},null]}`, "{}", raw},
		{full + "\n" + strings.Replace(full, `:7`, `:6`, 1), strings.Replace(full, "14:30", "14:20", 1), retry},
		{`{"clock":"tick"}`, "", raw},
		{`[` + full + `,{"symbol":NaN},` + quote, full + "{}\n" + quote, unordered | retry},
		{goodTrade("A") + "\n" + goodTrade("A"), `{"Records":[{"body":"{}","attributes":{"ApproximateReceiveCount":"1"}}]}`, unordered},
		{`{"Records":[{"body":"{}","attributes":{"ApproximateReceiveCount":"1"}}]}`, "", raw},
		{`{"type":"clock","symbol":"AAPL","source":"sip","timestamp":"2026-11-20T14:59:00Z"}`, full, 0},
	} {
		f.Add(c.first, c.second, c.flags)
	}
	for _, c := range badClasses {
		f.Add("["+full+","+c.events[0]+","+bar+"]", goodTrade("A")+"\n"+c.events[1]+"\n"+quote, byte(retry))
	}
	rules, err := alert.Load("rules.yaml", []byte(fuzzRules))
	if err != nil {
		f.Fatal(err)
	}
	now := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, first, second string, flags byte) {
		s := &sink{Memory: ledger.NewMemory(ledger.Config{Now: func() time.Time { return now }})}
		var metrics bytes.Buffer
		delivery, ids := settings.Ordered, 0
		if flags&unordered != 0 {
			delivery = settings.Unordered
		}
		h, err := ingest.New(ingest.Config{Delivery: delivery, Engine: rules.Engine(alert.Options{Lateness: settings.DefaultLateness, Ordered: flags&unordered == 0}), Ledger: s, Notifier: s, Queue: s,
			Timers: true, SeriesConcurrency: 1, Metrics: &metrics, Now: func() time.Time { return now }, NewID: func() string { ids++; return fmt.Sprint(ids) }})
		if err != nil {
			t.Fatal(err)
		}
		if flags&raw != 0 {
			fuzzEvent(t, h, first)
			return
		}
		attributes := map[string]string{"ApproximateReceiveCount": "1", "SentTimestamp": fmt.Sprint(now.UnixMilli()), "MessageGroupId": "g"}
		if flags&retry != 0 {
			attributes["ApproximateReceiveCount"] = "2"
		}
		bodies := []string{first, second, goodTrade("NEIGHBOUR-OF-ALL")}
		var event struct {
			Records []map[string]any
		}
		for i, body := range bodies {
			event.Records = append(event.Records, map[string]any{"messageId": fmt.Sprint("m", i), "body": body, "attributes": attributes})
		}
		payload, err := json.Marshal(event)
		if err != nil {
			t.Fatal(err)
		}
		fired := 0
		for delivered := range 2 {
			records, err := ingest.ParseEvent(payload)
			if err != nil || len(records) != len(bodies) {
				t.Fatalf("%d records, %v", len(records), err)
			}
			for i := range records {
				bodies[i] = records[i].Body // json.Marshal puts U+FFFD where SQS would refuse
			}
			response, err := h.Handle(t.Context(), records)
			if err != nil || len(response.BatchItemFailures) > 0 {
				t.Fatalf("delivery %d: %+v, %v", delivered, response, err)
			}
			stored := s.All()
			if delivered == 1 {
				// The same again: what was refused is refused again, and a late event of a retry may be kept again.
				if len(stored) != fired || len(s.published) != fired {
					t.Fatalf("%d alerts, after the second delivery %d, %d publishes", fired, len(stored), len(s.published))
				}
				return
			}
			fired = len(stored)
			var count struct{ EventsReceived, EventsRejected int }
			if err := json.Unmarshal(metrics.Bytes(), &count); err != nil {
				t.Fatal(err)
			}
			refused := 0
			for _, r := range s.rejected {
				i := slices.IndexFunc(records, func(m ingest.Record) bool { return m.MessageID == r.OriginMessageID })
				if i < 0 || !strings.Contains(bodies[i], r.Body) {
					t.Fatalf("kept %+v of no message", r)
				}
				if r.Reason == market.LateRetry {
					if flags&retry == 0 {
						t.Fatalf("kept a late event of no retry: %+v", r)
					}
					continue
				}
				if refused++; !slices.Contains(reasons, r.Reason) {
					t.Fatalf("kept with the reason %q", r.Reason)
				}
			}
			if refused != count.EventsRejected || count.EventsReceived < len(bodies) || refused == count.EventsReceived {
				t.Fatalf("%d refused events kept, metrics %+v", refused, count)
			}
			neighbour := false
			for i := range stored {
				a := &stored[i].Alert
				neighbour = neighbour || a.Symbol == "NEIGHBOUR-OF-ALL" && a.Rule == "Any"
				if a.Rule == "Any" && !slices.ContainsFunc(bodies, func(body string) bool { return holdsTrade(body, a) }) {
					t.Fatalf("no message holds a valid trade for %+v", a)
				}
				if again, err := alert.ParseAlert(a.AppendJSON(nil, alert.Times{}, "")); err != nil || again.EventID != a.EventID || again.Venue != a.Venue || again.Source != a.Source || again.Summary != a.Summary {
					t.Fatalf("%+v is mangled: %+v, %v", a, again, err)
				}
			}
			if !neighbour {
				t.Fatal("the good message has not fired")
			}
		}
	})
}

// fuzzEvent gives any bytes to the function as Lambda's event: an error, or an answer that names messages of it only.
func fuzzEvent(t *testing.T, h *ingest.Handler, payload string) {
	records, err := ingest.ParseEvent([]byte(payload))
	if err != nil {
		if !json.Valid([]byte(payload)) && records != nil {
			t.Fatalf("records of what is no JSON")
		}
		return
	}
	var event struct{ Records []json.RawMessage }
	if err := json.Unmarshal([]byte(payload), &event); err != nil || len(event.Records) != len(records) {
		t.Fatalf("%d records of %d, %v", len(records), len(event.Records), err)
	}
	for _, r := range records {
		if r.MessageID == "" {
			t.Fatalf("a message without an id, which nothing could name as failed: %+v", r)
		}
	}
	response, err := h.Handle(t.Context(), records)
	if err != nil || len(response.BatchItemFailures) > 0 {
		t.Fatalf("%+v, %v", response, err)
	}
}

// holdsTrade tells whether somewhere in a body there is a trade that is valid, by encoding/json, big.Rat, time.Parse and
// regexp, and has the values of the alert.
func holdsTrade(body string, a *alert.Alert) bool {
	for i := range len(body) {
		if body[i] != '{' {
			continue
		}
		var raw json.RawMessage
		if json.NewDecoder(strings.NewReader(body[i:])).Decode(&raw) == nil && validTrade(string(raw), a) == nil {
			return true
		}
	}
	return false
}

var (
	tradeSymbol  = regexp.MustCompile(`^[A-Za-z0-9./:_^=-]{1,32}$`)
	tradeNumber  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	tradeTime    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$`)
	tradeKeys    = []string{"type", "symbol", "source", "timestamp", "sequence", "id", "venue", "price", "size", "volume", "side", "price_eligible", "conditions"}
	errNotStrict = errors.New("not strict")
)

func validTrade(raw string, a *alert.Alert) error {
	dec := json.NewDecoder(strings.NewReader(raw))
	if _, err := dec.Token(); err != nil || !utf8.ValidString(raw) {
		return errNotStrict
	}
	fields := map[string]json.RawMessage{}
	for dec.More() {
		key, err := dec.Token()
		var value json.RawMessage
		if err != nil || dec.Decode(&value) != nil || fields[key.(string)] != nil {
			return errNotStrict
		}
		fields[key.(string)] = value
		for _, k := range tradeKeys {
			if key != k && strings.EqualFold(key.(string), k) {
				return errNotStrict
			}
		}
	}
	text := func(key string) (s string) {
		if v, ok := fields[key]; ok && (v[0] != '"' || json.Unmarshal(v, &s) != nil || strings.ContainsFunc(s, unicode.IsControl) || strings.Count(s, "\uFFFD") != strings.Count(strings.ToLower(string(v)), "\uFFFD")+strings.Count(strings.ToLower(string(v)), `\ufffd`)) {
			return "\x00"
		}
		return s
	}
	if kind := text("type"); kind != "" && kind != "trade" || fields["type"] != nil && kind == "" {
		return errNotStrict
	}
	number := strings.Trim(string(fields["price"]), `"`)
	if strings.HasPrefix(string(fields["price"]), `"`) {
		number = text("price")
	}
	if !tradeNumber.MatchString(number) {
		return errNotStrict
	}
	if _, exponent, ok := strings.Cut(strings.ToLower(number), "e"); ok && len(exponent) > 6 {
		return nil // of the decoder's own tests: big.Rat would compute for hours
	}
	price, ok := new(big.Rat).SetString(number)
	if !ok || price.Sign() <= 0 || price.Cmp(big.NewRat(int64(a.Price), int64(market.Unit))) != 0 {
		return errNotStrict
	}
	stamp := strings.ToUpper(text("timestamp"))
	at, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil || !tradeTime.MatchString(stamp) || at.UnixNano() != a.Time {
		return errNotStrict
	}
	if !tradeSymbol.MatchString(a.Symbol) || text("symbol") != a.Symbol || text("source") != a.Source || text("id") != a.EventID || text("venue") != a.Venue {
		return errNotStrict
	}
	if side := text("side"); fields["side"] != nil && side != "buy" && side != "sell" {
		return errNotStrict
	}
	if n := fields["sequence"]; n != nil && string(n) != fmt.Sprint(a.Sequence) || (n != nil) != a.HasSeq {
		return errNotStrict
	}
	return nil
}
