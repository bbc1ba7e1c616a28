package ingest_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/ingest"
)

// slowParseEvent is ParseEvent by means of encoding/json and maps, which keep the names' case.
func slowParseEvent(payload []byte) ([]ingest.Record, error) {
	type object = map[string]json.RawMessage
	var errs []error
	read := func(raw json.RawMessage, dst any) {
		if raw != nil { // absent
			errs = append(errs, json.Unmarshal(raw, dst))
		}
	}
	var event object
	read(payload, &event)
	var list []object
	read(event["Records"], &list)
	var records []ingest.Record
	for _, o := range list {
		var r ingest.Record
		var attributes, named object
		var count, sent, first string
		read(o["messageId"], &r.MessageID)
		read(o["receiptHandle"], &r.ReceiptHandle)
		read(o["body"], &r.Body)
		read(o["attributes"], &attributes)
		read(attributes["ApproximateReceiveCount"], &count)
		read(attributes["SentTimestamp"], &sent)
		read(attributes["ApproximateFirstReceiveTimestamp"], &first)
		read(attributes["MessageGroupId"], &r.Group)
		read(o["messageAttributes"], &named)
		for name, dst := range map[string]*string{"format": &r.Format, "origin_message_id": &r.OriginMessageID} {
			var attribute object
			read(named[name], &attribute)
			read(attribute["stringValue"], dst)
		}
		n, err := strconv.Atoi(count)
		if r.MessageID == "" {
			err = errors.New("no id")
		}
		errs = append(errs, err)
		r.ReceiveCount = n
		for dst, text := range map[*time.Time]string{&r.Sent: sent, &r.FirstReceived: first} {
			if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
				*dst = time.UnixMilli(ms).UTC()
			}
		}
		records = append(records, r)
	}
	return records, errors.Join(errs...)
}

// hasTwice tells whether an object of payload has a name twice.
func hasTwice(payload []byte) bool {
	type object struct {
		names  map[string]bool
		isName bool
	}
	var open []object
	d := json.NewDecoder(bytes.NewReader(payload))
	for {
		token, err := d.Token()
		if err != nil {
			return false
		}
		if n := len(open) - 1; n >= 0 && open[n].names != nil {
			if name, ok := token.(string); ok && open[n].isName {
				if open[n].names[name] {
					return true
				}
				open[n].names[name] = true
			}
			open[n].isName = !open[n].isName
		}
		switch token {
		case json.Delim('{'):
			open = append(open, object{map[string]bool{}, true})
		case json.Delim('['):
			open = append(open, object{})
		case json.Delim('}'), json.Delim(']'):
			if open = open[:len(open)-1]; len(open) > 0 {
				open[len(open)-1].isName = true
			}
		}
	}
}

func checkEvent(t *testing.T, payload []byte) {
	t.Helper()
	if bytes.Count(payload, []byte("["))+bytes.Count(payload, []byte("{")) > 9000 {
		return // encoding/json's own limit is near
	}
	before := bytes.Clone(payload)
	got, err := ingest.ParseEvent(payload)
	want, wantErr := slowParseEvent(before)
	if err != nil && wantErr == nil && hasTwice(before) {
		return // the slow one does not look at what a later value replaces
	}
	if (err == nil) != (wantErr == nil) {
		t.Fatalf("%q: error %v, encoding/json's %v", payload, err, wantErr)
	}
	if !bytes.Equal(payload, before) {
		t.Fatalf("%q was written to", before)
	}
	clear(payload) // as the runtime client's next event does
	if err != nil {
		if got != nil || len(err.Error()) > 400 {
			t.Fatalf("%q: %d records, error %v", before, len(got), err)
		}
		return
	}
	if len(got) != len(want) {
		t.Fatalf("%q: %d records, want %d", before, len(got), len(want))
	}
	for i := range want {
		if !cmp.Equal(got[i], want[i]) {
			t.Fatalf("%q: record %d (-want +got):\n%s", before, i, cmp.Diff(want[i], got[i]))
		}
	}
}

// lambdaEvent is an event as Lambda writes it for a FIFO queue: bodies[i] of message i.
func lambdaEvent(bodies ...string) []byte {
	var b bytes.Buffer
	b.WriteString(`{"Records":[`)
	for i, body := range bodies {
		if i > 0 {
			b.WriteByte(',')
		}
		escaped, _ := json.Marshal(body)
		fmt.Fprintf(&b, `{"messageId":"059f36b4-87a3-44ab-83d2-%012d","receiptHandle":"%s","body":%s,"attributes":{"ApproximateReceiveCount":"1","SentTimestamp":"1795530600123",`+
			`"SequenceNumber":"18849496460467696128","MessageGroupId":"shard-%d","SenderId":"AIDAIENQZJOLO23YVJ4VO","MessageDeduplicationId":"d%d","ApproximateFirstReceiveTimestamp":"1795530600456"},`+
			`"messageAttributes":{"origin_message_id":{"stringValue":"o-%d","stringListValues":[],"binaryListValues":[],"dataType":"String"}},"md5OfMessageAttributes":"e4e68fb7bd0e697a0ae8f1bb342846b3",`+
			`"md5OfBody":"098f6bcd4621d373cade4e832627b4f6","eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:us-east-1:123456789012:market-data.fifo","awsRegion":"us-east-1"}`,
			i, strings.Repeat("AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a", 8), escaped, i%5, i, i)
	}
	b.WriteString(`]}`)
	return b.Bytes()
}

const shortestEvent = `{"symbol":"AAPL","price":189.84,"timestamp":"2026-11-20T14:30:00Z"}`

var sqsEvents = func() []string {
	record := func(members string) string {
		return `{"Records":[{"messageId":"m","attributes":{"ApproximateReceiveCount":"3"},` + members + `}]}`
	}
	list := []string{
		string(lambdaEvent("a")), string(lambdaEvent(shortestEvent, shortestEvent+"\n"+shortestEvent)),
		``, `null`, `{}`, `{"clock":"tick"}`, `{"Records":null}`, `{"Records":[]}`, `{"Records":{}}`, `{"records":[{}]}`, `{"Records":[null]}`, `{"Records":[{}]}`, `[]`, `5`, `"x"`, `{"Records":[]} x`,
		" {\n\"Records\" :\t[ ] \r}\n", `{"Records":[{"messageId":"m"}],"Records":[]}`, `{"\u0052ecords":[{"message\u0049d":"m","attributes":{"ApproximateReceiveCount":"\u0031"}}]}`,
		`{"Records":[{"messageId":null,"messageId":"m","attributes":{"x":1},"attributes":{"ApproximateReceiveCount":"3"}}]}`,
		record(`"body":null`), record(`"body":5`), record(`"body":"x","body":null`), record(`"messageAttributes":null`), record(`"messageAttributes":{"format":null}`), record(`"messageAttributes":{"format":{"stringValue":null}}`),
		record(`"messageAttributes":{"format":5}`), record(`"messageAttributes":{"format":{"binaryValue":"AAE=","dataType":"Binary"},"origin_message_id":{"stringValue":"o"}}`), record(`"messageAttributes":[]`),
		record(`"attributes":{}`), record(`"attributes":{"ApproximateReceiveCount":"3x"}`), record(`"attributes":{"ApproximateReceiveCount":3}`), record(`"attributes":{"ApproximateReceiveCount":"3","SentTimestamp":"x"}`),
		record(`"x":[1,-0.5e+3,true,false,null,{"y":{}},[],"z\\"]`),
	}
	list = append(list, record(`"attributes":{"ApproximateReceiveCount":"3","SentTimestamp":"5","SentTimestamp":"x"}`))
	for n := range 150 {
		list = append(list, record(`"body":"`+strings.Repeat("x", n)+`\u20ac`+strings.Repeat(`\"`, n)+`\ud83d\ude00"`))
	}
	for _, bad := range []string{`01`, `-`, `1.`, `1e`, `.5`, `+1`, `tru`, `nul`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{a:1}`, `[1,]`, `[1 2]`, `"`, `"\x"`, `"\u12g4"`, "\"\n\"", `'a'`, `1 2`, `[`, `{`, `]`} {
		list = append(list, record(`"x":`+bad), record(`"body":`+bad))
	}
	for _, text := range []string{
		``, `a`, `12345678`, `1234567\"`, `12345678\"`, `\"\"\"\"\"\"\"\"\"`, `\\\"\\\\\"`, `\\`, `1234567\\\"8`, `{\"symbol\":\"AAPL\"}\n{\"symbol\":\"B\"}\n`, `\/\b\f\n\r\t`, `\u0041\u00e9\u20ac\ud83d\ude00`,
		`\ud83d`, `\ud83dx`, `\ud83d\u0041`, `\ud83d\n`, `\ude00\ud83d`, `\ud83d\ud83d\ude00`, `\ud83d\uzzzz`, `é€😀`, `é\"é`, "a\xffb", "\xc3\\\"\xa9", "\xe2\x82", "\xed\xa0\x80", "1234567\xff\\\"", "a\x7fb", "a\x00b", "a\x1f\\\"b", "\\\"\x1f", `\`, `abc\`, `\u12`, `\u`, "\\\x1f",
	} {
		list = append(list, record(`"body":"`+text+`"`), record(`"receiptHandle":"`+text+`","x":"`+text+`"`), record(`"`+text+`":1`))
		for pad := range 9 {
			list = append(list, record(`"body":"\"`+strings.Repeat("x", pad)+text+`\""`))
		}
	}
	return list
}()

func TestParseEventAsEncodingJSON(t *testing.T) {
	for _, payload := range sqsEvents {
		checkEvent(t, []byte(payload))
	}
	whole := lambdaEvent(shortestEvent + "\n\t\u20ac\\")
	for n := range whole {
		checkEvent(t, bytes.Clone(whole[:n]))
	}
}

func FuzzParseEvent(f *testing.F) {
	for _, payload := range sqsEvents {
		f.Add([]byte(payload))
	}
	f.Fuzz(checkEvent)
}

// FuzzBody takes any text to a message's body and back.
func FuzzBody(f *testing.F) {
	f.Add(shortestEvent + "\n" + shortestEvent)
	f.Add("\\\\\"\"\u20ac\x00\x7f")
	f.Fuzz(func(t *testing.T, body string) {
		if !utf8.ValidString(body) {
			t.Skip("no UTF-8: SQS takes none")
		}
		records, err := ingest.ParseEvent(lambdaEvent(body, "x"))
		if err != nil || len(records) != 2 || records[0].Body != body || records[1].Body != "x" {
			t.Fatalf("%q: %v %+v", body, err, records)
		}
	})
}

func TestParseEventAllocates(t *testing.T) {
	for name, payload := range map[string][]byte{
		"one": lambdaEvent(shortestEvent), "packed": lambdaEvent(repeated(packed(500, "\n"), 10)...), "1,000 messages": lambdaEvent(repeated(shortestEvent, 1000)...),
	} {
		// The copy of the event, what has escapes, and the records.
		if n := testing.AllocsPerRun(20, func() {
			if _, err := ingest.ParseEvent(payload); err != nil {
				t.Fatal(err)
			}
		}); n > 3 {
			t.Errorf("%s: %v allocations, want at most 3", name, n)
		}
	}
}

func repeated(s string, n int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = s
	}
	return list
}

func packed(n int, separator string) string {
	return strings.TrimSuffix(strings.Repeat(shortestEvent+separator, n), separator)
}

func TestResponseJSON(t *testing.T) {
	for _, ids := range [][]string{{}, {"a"}, {"059f36b4-87a3-44ab-83d2-661975830a7d", "q\"\\\x01\n\u20ac"}} {
		r := ingest.Response{BatchItemFailures: []ingest.ItemFailure{}}
		for _, id := range ids {
			r.BatchItemFailures = append(r.BatchItemFailures, ingest.ItemFailure{ItemIdentifier: id})
		}
		var got ingest.Response
		if err := json.Unmarshal(r.AppendJSON(nil), &got); err != nil || !cmp.Equal(got, r) {
			t.Errorf("%s: %v, want %v, %v", r.AppendJSON(nil), got, r, err)
		}
	}
	if got := string(ingest.Response{}.AppendJSON(nil)); got != `{"batchItemFailures":[]}` {
		t.Errorf("without failures %s", got)
	}
}
