package ingest_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// Other people's bad input lies beside the checkout.
const badInput = "../../../../shared/badinput"

const echoRules = "rules:\n  - {alert: Echo, expr: price > 0, cooldown: 0s, summary: \"{{ .event_id }}\"}\n"

// deliverable tells whether SQS takes a text: UTF-8 without the characters that XML has not.
func deliverable(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0xFFFE || r == 0xFFFF
	})
}

// TestSuiteThroughTheHandler: every file of nst/JSONTestSuite as a body, as an extra field's value and as an id, between good
// messages and good events. The good ones fire, what is refused is kept byte by byte, and nothing fails.
func TestSuiteThroughTheHandler(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(badInput, "JSONTestSuite", "*", "*.json"))
	if len(files) == 0 {
		t.Skip("no JSONTestSuite: it lies beside the checkout")
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, text := filepath.Base(path), string(b)
		single := text
		if inner, ok := strings.CutPrefix(text, "["); ok && strings.HasSuffix(inner, "]") {
			single = strings.TrimSuffix(inner, "]")
		}
		event := func(symbol, field, value string) string {
			return fmt.Sprintf(`{"symbol":%q,"price":1,"timestamp":"2026-11-20T14:30:00Z","%s":%s}`, symbol, field, value)
		}
		bodies := []string{
			text,
			event("X", "x", text),
			event("X", "id", single),
			"[" + goodTrade("A") + "," + event("X", "x", text) + "]",
			goodTrade("A") + "\n" + event("X", "id", single) + "\n" + goodTrade("B"),
		}
		for i, body := range bodies {
			r := newRig(t, echoRules, settings.Ordered)
			if deliverable(body) && len(body) <= 1<<20 {
				r.send(t, "before", "", goodTrade("BEFORE"))
				r.send(t, "m", "", body)
				r.send(t, "after", "", goodTrade("AFTER"))
				r.drain(t)
			} else {
				response, err := r.handler.Handle(t.Context(), []ingest.Record{msg("before", "before", goodTrade("BEFORE")), msg("m", "m", body), msg("after", "after", goodTrade("AFTER"))})
				if err != nil || len(response.BatchItemFailures) > 0 {
					t.Fatalf("%s, body %d: %v, %v", name, i, response, err)
				}
			}
			symbols := map[string]string{}
			for _, a := range r.published(t) {
				symbols[a.Symbol] = a.EventID
			}
			events, refused := market.Decode(nil, body, r.now, settings.DefaultClockSkew)
			for _, e := range events {
				if id, ok := symbols[e.Symbol]; !ok || id != e.ID {
					t.Errorf("%s, body %d: the id of %s is %q, want %q", name, i, e.Symbol, id, e.ID)
				}
				delete(symbols, e.Symbol)
			}
			if _, before := symbols["BEFORE"]; !before || len(symbols) != 2 {
				t.Errorf("%s, body %d: fired %v", name, i, symbols)
			}
			if i > 2 && len(events) == 0 {
				t.Errorf("%s, body %d: no good event is left", name, i)
			}
			queued := r.rejectsQueue()
			if len(r.kept) != len(refused) || len(queued) != len(refused) {
				t.Fatalf("%s, body %d: %d kept, %d in the queue, want %d", name, i, len(r.kept), len(queued), len(refused))
			}
			for k := range refused {
				want := refused[k].Raw
				if want == "" {
					want = " " // no body of SQS is empty
				}
				if r.kept[k].Body != refused[k].Raw || deliverable(want) && queued[k].body != want || queued[k].attributes["reason"] != string(refused[k].Reason) {
					t.Errorf("%s, body %d: kept %.200q and %.200q, want %.200q", name, i, r.kept[k].Body, queued[k].body, want)
				}
			}
		}
	}
}

// TestNaughtyStringsThroughTheHandler: every naughty string in every field that takes a text, through SQS, the handler, DynamoDB and
// SNS. What is accepted comes out byte by byte; what is refused is kept byte by byte.
func TestNaughtyStringsThroughTheHandler(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(badInput, "naughty-strings", "blns.json"))
	if os.IsNotExist(err) {
		t.Skip("no blns.json: it lies beside the checkout")
	} else if err != nil {
		t.Fatal(err)
	}
	var naughty []string
	if err := json.Unmarshal(b, &naughty); err != nil || len(naughty) < 500 {
		t.Fatalf("%d strings, %v", len(naughty), err)
	}
	limits := map[string]int{"id": 128, "venue": 128, "source": 64}
	fields := []string{"id", "venue", "source", "symbol", "type", "timestamp", "price", "size", "side", "conditions", "state", "reason", "original_id", "interval", "price_eligible", "sequence", "x"}
	for _, field := range fields {
		t.Run(field, func(t *testing.T) {
			r := newRig(t, echoRules, settings.Unordered)
			type sent struct{ text, body string }
			messages := map[string]sent{}
			for i, s := range naughty {
				value, err := json.Marshal(s)
				if err != nil {
					t.Fatal(err)
				}
				if !deliverable(string(value)) {
					value = fmt.Appendf(nil, `"%s"`, strings.NewReplacer("\uFFFE", `\ufffe`, "\uFFFF", `\uffff`).Replace(strings.Trim(string(value), `"`)))
				}
				symbol := fmt.Sprint("N", i)
				known := map[string]string{"symbol": fmt.Sprintf("%q", symbol), "price": "1", "timestamp": `"2026-11-20T14:30:00Z"`}
				switch field {
				case "state", "reason":
					known["type"], known["state"] = `"status"`, `"halted"`
				case "original_id":
					known["type"], known["action"] = `"correction"`, `"cancel"`
				case "interval":
					known["type"], known["open"], known["high"], known["low"], known["close"], known["volume"] = `"bar"`, "1", "1", "1", "1", "1"
				}
				if known[field] = string(value); field == "conditions" {
					known[field] = "[" + string(value) + "]"
				}
				var body strings.Builder
				for _, k := range []string{"type", "symbol", "price", "timestamp", "id", "venue", "source", "size", "side", "conditions", "state", "reason", "action", "original_id", "interval", "open", "high", "low", "close", "volume", "price_eligible", "sequence", "x"} {
					if v, ok := known[k]; ok {
						fmt.Fprintf(&body, `,"%s":%s`, k, v)
					}
				}
				text := "{" + body.String()[1:] + "}"
				messages[symbol] = sent{s, text}
				r.send(t, symbol, "", text)
			}
			r.drain(t)
			refused := map[string]rejectedMessage{}
			for _, m := range r.rejectsQueue() {
				refused[m.attributes["origin_message_id"]] = m
			}
			items := map[string]map[string]ddb.AttributeValue{}
			in := &dynamodb.ScanInput{TableName: new("alerts")}
			for {
				out, err := r.db.Scan(t.Context(), in)
				if err != nil {
					t.Fatal(err)
				}
				for _, it := range out.Items {
					items[it["symbol"].(*ddb.AttributeValueMemberS).Value] = it
				}
				if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
					break
				}
			}
			for _, a := range r.published(t) {
				m, ok := messages[a.Symbol]
				if !ok {
					// A naughty string that is a good symbol.
					continue
				}
				got := map[string]string{"id": a.EventID, "venue": a.Venue, "source": a.Source}
				if limits[field] == 0 {
					continue
				}
				if _, bad := refused[a.Symbol]; bad || got[field] != m.text {
					t.Errorf("%q comes out as %q", m.text, got[field])
				}
				if field == "id" && a.Summary != m.text {
					t.Errorf("the summary is %q, want %q", a.Summary, m.text)
				}
				attribute := field
				if field == "id" {
					attribute = "event_id"
				}
				stored, _ := items[a.Symbol][attribute].(*ddb.AttributeValueMemberS)
				if m.text != "" && (stored == nil || stored.Value != m.text) {
					t.Errorf("%q is stored as %v", m.text, stored)
				}
			}
			for symbol, m := range messages {
				kept, bad := refused[symbol]
				if bad && kept.body != m.body {
					t.Errorf("kept %q, want %q", kept.body, m.body)
				}
				if limit, ok := limits[field]; ok {
					good := len(m.text) <= limit && !strings.ContainsFunc(m.text, unicode.IsControl)
					if _, fired := items[symbol]; fired != good || bad == good {
						t.Errorf("%q: fired %v, refused %v, want good %v", m.text, fired, bad, good)
					}
				}
				events, refusals := market.Decode(nil, m.body, r.now, settings.DefaultClockSkew)
				if bad != (len(refusals) == 1) || bad == (len(events) == 1) || bad && kept.attributes["reason"] != string(refusals[0].Reason) {
					t.Errorf("%s: refused as %v, want %+v", m.body, kept.attributes, refusals)
				}
			}
			if d := cmp.Diff(len(naughty), len(r.kept)+accepted(t, r)); d != "" {
				t.Errorf("events (-sent +accepted and refused): %s", d)
			}
		})
	}
}

// accepted is how many events the metrics say were accepted.
func accepted(t *testing.T, r *rig) (n int) {
	t.Helper()
	for line := range strings.Lines(r.metrics.String()) {
		var m struct{ EventsReceived, EventsRejected int }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		n += m.EventsReceived - m.EventsRejected
	}
	return n
}
