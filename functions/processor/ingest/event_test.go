package ingest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
	"weak"

	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// eventOf is the Lambda event of the records, names in Lambda's order.
func eventOf(records ...ingest.Record) []byte {
	type object map[string]any
	type record struct {
		MessageID     string `json:"messageId"`
		ReceiptHandle string `json:"receiptHandle"`
		Body          string `json:"body"`
		Attributes    object `json:"attributes"`
		Named         object `json:"messageAttributes"`
		Source        string `json:"eventSource"`
	}
	var list []record
	for _, r := range records {
		attributes := object{"ApproximateReceiveCount": fmt.Sprint(r.ReceiveCount), "MessageGroupId": r.Group}
		if !r.Sent.IsZero() {
			attributes["SentTimestamp"] = fmt.Sprint(r.Sent.UnixMilli())
		}
		named := object{}
		if r.Format != "" {
			named["format"] = object{"stringValue": r.Format, "dataType": "String"}
		}
		if r.OriginMessageID != "" {
			named["origin_message_id"] = object{"stringValue": r.OriginMessageID, "dataType": "String"}
		}
		list = append(list, record{r.MessageID, r.ReceiptHandle, r.Body, attributes, named, "aws:sqs"})
	}
	payload, _ := json.Marshal(object{"Records": list})
	return payload
}

// TestHandleEventIsHandle gives the same batches to both: the same answers, alerts, rejects, states, logs and metrics.
// HandleEvent's payload is overwritten after each: nothing that is left of a batch may alias it.
func TestHandleEventIsHandle(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for run := range 150 {
		delivery := []settings.Delivery{settings.Ordered, settings.Unordered}[run%2]
		rules := []string{levelRule, fuzzRules}[run/2%2]
		early, plain := newWorld(t, rules, delivery), newWorld(t, rules, delivery)
		id := func(w *world) func() string {
			n := 0
			return func() string { n++; return fmt.Sprint("id-", n) }
		}
		early.config.NewID, plain.config.NewID = id(early), id(plain)
		early.config.Timers, plain.config.Timers = true, true
		early.configure()
		plain.configure()
		clock, decoded := 0.0, 0
		for batch := range 3 {
			var records []ingest.Record
			for m := range 1 + rnd.IntN(4) {
				r := ingest.Record{MessageID: fmt.Sprint(batch, "-", m), ReceiptHandle: "h", Group: "g", ReceiveCount: 1 + rnd.IntN(5)/4, Sent: early.now, FirstReceived: early.now}
				if rnd.IntN(12) == 0 {
					r.Sent = time.Time{}
				}
				if rnd.IntN(12) == 0 {
					r.Format = []string{"canonical", "fix"}[rnd.IntN(2)]
				}
				if rnd.IntN(6) == 0 {
					r.OriginMessageID = fmt.Sprint("origin-", rnd.IntN(3))
				}
				var lines []string
				for range 1 + rnd.IntN(5) {
					clock += float64(rnd.IntN(3))
					line := trade([]string{"AAPL", "MSFT"}[rnd.IntN(2)], float64(80+10*rnd.IntN(4)), clock-float64(rnd.IntN(3)/2*90), int(clock))
					line = line[:len(line)-1] + `,"id":"some-id","venue":"XNAS"}`
					switch rnd.IntN(25) {
					case 0:
						line = strings.Replace(line, "symbol", "Symbol", 1)
					case 1:
						line = strings.Replace(line, "AAPL", "\\u0041APL", 1)
					case 2:
						line = strings.Replace(line, "2026", "2027", 1)
					case 3:
						line = "{"
					}
					lines = append(lines, line)
				}
				if r.Body = strings.Join(lines, "\n"); rnd.IntN(3) == 0 {
					r.Body = "[" + strings.Join(lines, ",") + "]"
				}
				records = append(records, r)
			}
			payload := eventOf(records...)
			if read, _, err := ingest.ReadEarly(nil, payload, settings.DefaultClockSkew); err != nil {
				t.Fatal(err)
			} else {
				for _, r := range read {
					decoded += len(r.Events)
				}
			}
			parsed, err := ingest.ParseEvent(payload)
			if err != nil {
				t.Fatal(err)
			}
			want, wantErr := plain.handler.Handle(context.Background(), parsed)
			got, gotErr := early.handler.HandleEvent(context.Background(), payload)
			for i := range payload {
				payload[i] = 'X' // as the runtime client's next event does
			}
			if d := cmp.Diff(want, got); d != "" || fmt.Sprint(wantErr) != fmt.Sprint(gotErr) {
				t.Fatalf("run %d: errors %v and %v, (-Handle +HandleEvent):\n%s", run, wantErr, gotErr, d)
			}
		}
		for name, pair := range map[string][2]any{
			"published": {plain.published, early.published}, "rejected": {plain.rejected, early.rejected}, "calls": {plain.calls, early.calls}, "metrics": {plain.metrics.String(), early.metrics.String()},
			"delays": {plain.delays, early.delays}, "AAPL": {plain.snapshot("AAPL|"), early.snapshot("AAPL|")}, "MSFT": {plain.snapshot("MSFT|"), early.snapshot("MSFT|")},
		} {
			if d := cmp.Diff(pair[0], pair[1]); d != "" {
				t.Fatalf("run %d: %s (-Handle +HandleEvent):\n%s", run, name, d)
			}
		}
		if decoded == 0 && run == 0 {
			t.Error("nothing was decoded early")
		}
	}
}

// TestSeriesOfAMessageTakeTurns: every event reaches its own series, whatever order those have in a message.
func TestSeriesOfAMessageTakeTurns(t *testing.T) {
	line := func(symbol, source string, price, sequence int) string {
		return fmt.Sprintf(`{"symbol":%q,"source":%q,"price":%d,"timestamp":"2026-11-20T14:30:00Z","sequence":%d}`, symbol, source, price, sequence)
	}
	for _, receives := range []int{1, 2} { // decoded within the event, or not
		w := newWorld(t, levelRule, settings.Ordered)
		r := msg("m", "g", line("A", "x", 101, 1), line("B", "x", 102, 1), line("A", "x", 80, 2), line("A", "y", 103, 1), line("A", "x", 104, 3), line("B", "x", 80, 2), line("B", "x", 105, 3))
		r.ReceiveCount = receives
		if _, err := w.handler.HandleEvent(context.Background(), eventOf(r)); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range w.published {
			got = append(got, p.Symbol+"|"+p.Source+" "+p.Price.String())
		}
		slices.Sort(got)
		if want := []string{"A|x 101", "A|x 104", "A|y 103", "B|x 102", "B|x 105"}; !slices.Equal(got, want) {
			t.Errorf("%d receives: published %q, want %q", receives, got, want)
		}
	}
}

// TestPayloadsAreLetGo: an environment keeps memory from batch to batch, and no batch but the last one.
func TestPayloadsAreLetGo(t *testing.T) {
	rules := levelRule + "  - {alert: Elsewhere, symbols: [B], expr: 'venue == \"XNAS\" && price > 1e6', cooldown: 0s}\n"
	w := newWorld(t, rules, settings.Ordered)
	sequence := 0
	handle := func(receives, messages, events int, symbols ...string) weak.Pointer[byte] {
		var records []ingest.Record
		for m := range messages {
			var lines []string
			for i := range events {
				sequence++
				line := trade(symbols[i%len(symbols)], 80, float64(sequence), sequence)
				lines = append(lines, line[:len(line)-1]+`,"venue":"XNAS"}`)
			}
			r := msg(fmt.Sprint(sequence, "-", m), "g", lines...)
			r.Sent, r.ReceiveCount = w.now.Add(time.Hour), receives
			records = append(records, r)
		}
		payload := eventOf(records...)
		if r, err := w.handler.HandleEvent(context.Background(), payload); err != nil || len(r.BatchItemFailures) > 0 {
			t.Fatal(r, err)
		}
		return weak.Make(&payload[0])
	}
	for _, receives := range []int{1, 2} { // decoded within the event, or not
		var payloads []weak.Pointer[byte]
		for _, b := range []struct {
			messages, events int
			symbols          []string
		}{{4, 6, []string{"A", "B", "C", "D"}}, {3, 40, []string{"A"}}, {2, 20, []string{"A", "C"}}, {3, 1, []string{"B"}}, {2, 3, []string{"C"}}, {1, 1, []string{"A"}}} {
			payloads = append(payloads, handle(receives, b.messages, b.events, b.symbols...))
		}
		runtime.GC()
		for i, p := range payloads[:len(payloads)-1] {
			if p.Value() != nil {
				t.Errorf("%d receives: the payload of batch %d is kept", receives, i)
			}
		}
	}
}

func TestHandleEventRefuses(t *testing.T) {
	w := newWorld(t, levelRule, settings.Ordered)
	for payload, noRecords := range map[string]bool{`{"clock":"tick"}`: true, `{"Records":[]}`: true, `null`: true, `{"Records":[`: false, `{"Records":[{}]}`: false} {
		if _, err := w.handler.HandleEvent(context.Background(), []byte(payload)); err == nil || errors.Is(err, ingest.ErrNoRecords) != noRecords {
			t.Errorf("%s: error %v", payload, err)
		}
	}
}

// TestReadEarly: which bodies are decoded within the event, and that the others are there unescaped.
func TestReadEarly(t *testing.T) {
	sent := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)
	at := func(d time.Duration) string {
		return strings.Replace(shortestEvent, "2026-11-20T14:30:00Z", sent.Add(d).Format(time.RFC3339), 1)
	}
	for name, c := range map[string]struct {
		record ingest.Record
		early  int
	}{
		"one":                        {ingest.Record{Body: shortestEvent}, 1},
		"lines":                      {ingest.Record{Body: packed(3, "\n") + "\n"}, 3},
		"array":                      {ingest.Record{Body: "[" + packed(3, ",") + "]"}, 3},
		"canonical by name":          {ingest.Record{Body: shortestEvent, Format: "canonical"}, 1},
		"up to the skew":             {ingest.Record{Body: at(5 * time.Second)}, 1},
		"further in the future":      {ingest.Record{Body: shortestEvent + "\n" + at(6*time.Second)}, 0},
		"another format":             {ingest.Record{Body: shortestEvent, Format: "fix"}, 0},
		"delivered again":            {ingest.Record{Body: shortestEvent, ReceiveCount: 2}, 0},
		"not sent":                   {ingest.Record{Body: shortestEvent, Sent: time.Time{}.Add(1)}, 0},
		"an unusual one behind good": {ingest.Record{Body: shortestEvent + "\n{}"}, 0},
		"pretty":                     {ingest.Record{Body: strings.ReplaceAll(shortestEvent, ",", ",\n")}, 0},
		"none":                       {ingest.Record{Body: "hello, \"world\""}, 0},
	} {
		r := c.record
		r.MessageID = "m"
		r.ReceiveCount = max(r.ReceiveCount, 1)
		if r.Sent.IsZero() {
			r.Sent = sent
		} else {
			r.Sent = time.Time{}
		}
		neighbour := ingest.Record{MessageID: "n", ReceiveCount: 1, Sent: sent, Body: "[" + shortestEvent + "]"}
		before := []market.Event{{Symbol: "before"}}
		records, events, err := ingest.ReadEarly(before, eventOf(neighbour, r, neighbour), 5*time.Second)
		if err != nil || len(records) != 3 || len(events) != 1+c.early+2 || events[0] != before[0] {
			t.Errorf("%s: %d records, %d events, %v", name, len(records), len(events), err)
			continue
		}
		if got := records[1]; len(got.Events) != c.early || (got.Body == "") != (c.early > 0) || c.early == 0 && got.Body != r.Body {
			t.Errorf("%s: %d events, body %q", name, len(got.Events), got.Body)
		}
		for _, n := range []int{0, 2} {
			if got := records[n]; len(got.Events) != 1 || got.Events[0].Symbol != "AAPL" || got.Events[0].Index != 0 {
				t.Errorf("%s: the neighbour has %+v", name, got.Events)
			}
		}
	}
}

// TestTheLastBodyCounts: of a name that comes twice nothing is left of the first value.
func TestTheLastBodyCounts(t *testing.T) {
	payload := eventOf(ingest.Record{MessageID: "m", ReceiveCount: 1, Sent: time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC), Body: shortestEvent})
	for _, first := range []string{`"body":"x","body":`, `"body":"{\"symbol\":\"X\",\"price\":1,\"timestamp\":\"2026-11-20T14:30:00Z\"}","body":`} {
		twice := bytes.Replace(payload, []byte(`"body":`), []byte(first), 1)
		records, events, err := ingest.ReadEarly(nil, twice, 5*time.Second)
		if err != nil || len(records) != 1 || len(records[0].Events) != 1 || len(events) != 1 || events[0].Symbol != "AAPL" || records[0].Body != "" {
			t.Errorf("%s: %+v, %v", twice, records, err)
		}
	}
}

// FuzzReadEarly: what is decoded within the event is what ParseEvent and Decode make of it.
func FuzzReadEarly(f *testing.F) {
	for _, payload := range sqsEvents {
		f.Add([]byte(payload))
	}
	f.Add(eventOf(ingest.Record{MessageID: "m", ReceiveCount: 1, Sent: time.Unix(1795530600, 0), Body: packed(2, "\n")}, ingest.Record{MessageID: "n", ReceiveCount: 1, Sent: time.Unix(1795530600, 0), Body: "[" + packed(2, ", ") + "]"}))
	f.Fuzz(func(t *testing.T, payload []byte) {
		records, _, err := ingest.ReadEarly(nil, payload, 5*time.Second)
		want, wantErr := ingest.ParseEvent(payload)
		if len(records) != len(want) || (err == nil) != (wantErr == nil) {
			t.Fatalf("%d records, want %d: %v, %v", len(records), len(want), err, wantErr)
		}
		for i, r := range records {
			if r.Events != nil {
				events, refused := market.Decode(nil, want[i].Body, want[i].Sent, 5*time.Second)
				for k := range events {
					events[k].Raw = ""
				}
				if len(refused) > 0 || !slices.Equal(events, r.Events) {
					t.Fatalf("%q: %+v, want %+v, refused %+v", want[i].Body, r.Events, events, refused)
				}
				r.Body, r.Events = want[i].Body, nil
			}
			if !cmp.Equal(r, want[i]) {
				t.Fatalf("%+v, want %+v", r, want[i])
			}
		}
	})
}

func TestReadEarlyAllocates(t *testing.T) {
	for name, payload := range map[string][]byte{
		"packed, arrays": lambdaEvent(repeated("["+packed(500, ",")+"]", 10)...), "packed, lines": lambdaEvent(repeated(packed(500, "\n"), 10)...), "1,000 messages": lambdaEvent(repeated(shortestEvent, 1000)...),
	} {
		arena := make([]market.Event, 0, 6000)
		// The copy of the event and the records.
		if n := testing.AllocsPerRun(20, func() {
			if _, events, err := ingest.ReadEarly(arena, payload, time.Second); err != nil || len(events) < 1000 {
				t.Fatal(len(events), err)
			}
		}); n > 2 {
			t.Errorf("%s: %v allocations, want at most 2", name, n)
		}
	}
}

// BenchmarkEvent goes from the event that Lambda hands over to market events. The peer is what a plain Go port does:
// encoding/json into structs, nothing checked.
func BenchmarkEvent(b *testing.B) {
	for _, c := range []struct {
		name   string
		bodies []string
		events int
	}{
		{"10 x 500 shortest in arrays", repeated("["+packed(500, ",")+"]", 10), 5000}, {"10 x 500 shortest on lines", repeated(packed(500, "\n"), 10), 5000},
		{"10 x 500 trades on lines", repeated(strings.Repeat(feedTrade+"\n", 500), 10), 5000}, {"1,000 x 1 shortest", repeated(shortestEvent, 1000), 1000},
	} {
		payload := lambdaEvent(c.bodies...)
		report := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*c.events), "ns/event")
		}
		b.Run(c.name+"/ours", func(b *testing.B) {
			b.ReportAllocs()
			arena := make([]market.Event, 0, 6000)
			for b.Loop() {
				if _, events, err := ingest.ReadEarly(arena, payload, time.Second); err != nil || len(events) != c.events {
					b.Fatal(len(events), err)
				}
			}
			report(b)
		})
		b.Run(c.name+"/ours, unescaped first", func(b *testing.B) {
			b.ReportAllocs()
			arena := make([]market.Event, 0, 6000)
			for b.Loop() {
				records, err := ingest.ParseEvent(payload)
				if err != nil {
					b.Fatal(err)
				}
				events := arena
				for i := range records {
					events, _ = market.Decode(events, records[i].Body, records[i].Sent, time.Second)
				}
				if len(events) != c.events {
					b.Fatal(len(events))
				}
			}
			report(b)
		})
		b.Run(c.name+"/encoding-json", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n := len(plainDecode(b, payload)); n != c.events {
					b.Fatal(n)
				}
			}
			report(b)
		})
	}
}

const feedTrade = `{"type":"trade","symbol":"BAC","timestamp":"2013-10-10T08:21:30.199Z","price":"13.99","size":"100","conditions":["0x20002020"],"id":"1","sequence":1,"venue":"Q","source":"algoseek"}`

type plainEvent struct {
	Type      string      `json:"type"`
	Symbol    string      `json:"symbol"`
	Source    string      `json:"source"`
	Price     json.Number `json:"price"`
	Size      json.Number `json:"size"`
	Timestamp time.Time   `json:"timestamp"`
	Sequence  int64       `json:"sequence"`
	ID        string      `json:"id"`
	Venue     string      `json:"venue"`
}

func plainDecode(tb testing.TB, payload []byte) (events []plainEvent) {
	var event struct {
		Records []struct {
			MessageID  string            `json:"messageId"`
			Body       string            `json:"body"`
			Attributes map[string]string `json:"attributes"`
		} `json:"Records"`
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		tb.Fatal(err)
	}
	for _, r := range event.Records {
		if strings.HasPrefix(r.Body, "[") {
			var list []plainEvent
			if err := json.Unmarshal([]byte(r.Body), &list); err != nil {
				tb.Fatal(err)
			}
			events = append(events, list...)
			continue
		}
		for d := json.NewDecoder(strings.NewReader(r.Body)); ; {
			var e plainEvent
			if err := d.Decode(&e); err == io.EOF {
				break
			} else if err != nil {
				tb.Fatal(err)
			}
			events = append(events, e)
		}
	}
	return events
}

const quietRule = `
rules:
  - alert: High
    expr: price > 1000000
    severity: critical
    summary: "{{ .symbol }}"
`

// BenchmarkInvocation goes from event bytes to response bytes: no alert, no state to write. The peer decodes as
// BenchmarkEvent's does, and compares each price.
func BenchmarkInvocation(b *testing.B) {
	for _, c := range []struct {
		name   string
		bodies []string
	}{{"1,000 x 1 of one series", repeated(shortestEvent, 1000)}, {"1,000 x 1 of 100 series", manySeries(1000, 100)}, {"10 x 500", repeated(packed(500, "\n"), 10)}} {
		payload := lambdaEvent(c.bodies...)
		b.Run(c.name+"/ours", func(b *testing.B) {
			h := quietHandler(b)
			b.ReportAllocs()
			for b.Loop() {
				response, err := h.HandleEvent(context.Background(), payload)
				if err != nil || len(response.AppendJSON(nil)) != len(`{"batchItemFailures":[]}`) {
					b.Fatal(response, err)
				}
			}
		})
		b.Run(c.name+"/plain Go", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				high := 0
				for _, e := range plainDecode(b, payload) {
					if price, err := e.Price.Float64(); err != nil {
						b.Fatal(err)
					} else if price > 1000000 {
						high++
					}
				}
				if _, err := json.Marshal(map[string]any{"batchItemFailures": make([]string, high)}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestInvocationAllocates bounds what an invocation of 1,000 messages allocates: nothing per message but the growth of
// what is counted by series.
func TestInvocationAllocates(t *testing.T) {
	h, payload := quietHandler(t), lambdaEvent(repeated(shortestEvent, 1000)...)
	invoke := func() {
		if _, err := h.HandleEvent(context.Background(), payload); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(10, invoke); n > 60 {
		t.Errorf("%v allocations, want at most 60", n)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	invoke()
	runtime.ReadMemStats(&after)
	n := after.TotalAlloc - before.TotalAlloc
	if most := uint64(128 << 10); n > most {
		t.Errorf("%d bytes allocated of an event of %d bytes, want at most %d: the event is not copied", n, len(payload), most)
	}
}

// manySeries are n bodies of one event, of so many series by turns.
func manySeries(n, series int) []string {
	bodies := make([]string, n)
	for i := range bodies {
		bodies[i] = strings.Replace(shortestEvent, "AAPL", fmt.Sprint("S", i%series), 1)
	}
	return bodies
}

func quietHandler(tb testing.TB) *ingest.Handler {
	rules, err := alert.Load("rules.yaml", []byte(quietRule))
	if err != nil {
		tb.Fatal(err)
	}
	w := &world{}
	h, err := ingest.New(ingest.Config{Environment: "bench", Delivery: settings.Unordered, Engine: rules.Engine(alert.Options{Lateness: settings.DefaultLateness}), Ledger: quiet{}, Notifier: w, Queue: w, Metrics: &bytes.Buffer{}})
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// quiet is a ledger without states. An embedded nil makes every other call panic.
type quiet struct{ ingest.Ledger }

func (quiet) ReadStates(_ context.Context, series []string) (map[string]alert.Snapshot, map[string]error, error) {
	states := make(map[string]alert.Snapshot, len(series))
	for _, s := range series {
		states[s] = alert.Snapshot{}
	}
	return states, nil, nil
}
