package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/scripts/internal/stackcheck"
)

func messages(ids ...string) []types.Message {
	var out []types.Message
	for _, id := range ids {
		out = append(out, types.Message{MessageId: aws.String(id), ReceiptHandle: aws.String("handle-" + id), Body: aws.String("body " + id)})
	}
	return out
}

// The processor's own parser reads the event: what it needs must be there.
func TestEventIsWhatTheProcessorReads(t *testing.T) {
	in := messages("m1")
	in[0].Attributes = map[string]string{"ApproximateReceiveCount": "3", "SentTimestamp": "1795357497408", "MessageGroupId": "A|x",
		"ApproximateFirstReceiveTimestamp": "1795357497500"}
	in[0].MessageAttributes = map[string]types.MessageAttributeValue{
		"format":            {DataType: aws.String("String"), StringValue: aws.String("vendor")},
		"origin_message_id": {DataType: aws.String("String"), StringValue: aws.String("o1")},
		"binary":            {DataType: aws.String("Binary"), BinaryValue: []byte{1, 2}},
	}
	payload, err := event(in, queueARN)
	if err != nil {
		t.Fatal(err)
	}
	records, err := ingest.ParseEvent(payload)
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	r := records[0]
	if r.MessageID != "m1" || r.ReceiptHandle != "handle-m1" || r.Body != "body m1" || r.Group != "A|x" || r.ReceiveCount != 3 ||
		r.Sent.UnixMilli() != 1795357497408 || r.FirstReceived.UnixMilli() != 1795357497500 || r.Format != "vendor" || r.OriginMessageID != "o1" {
		t.Errorf("record %+v", r)
	}
	for _, want := range []string{`"eventSource":"aws:sqs"`, `"eventSourceARN":"` + queueARN + `"`, `"awsRegion":"us-east-1"`, `"binaryValue":"AQI="`} {
		if !strings.Contains(string(payload), want) {
			t.Errorf("the event lacks %s", want)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		partial      bool
		kept         []string
		fails        bool
	}{
		{"none", `{"batchItemFailures":[]}`, true, nil, false},
		{"one", `{"batchItemFailures":[{"itemIdentifier":"b"}]}`, true, []string{"b"}, false},
		{"unknown", `{"batchItemFailures":[{"itemIdentifier":"z"}]}`, true, []string{"a", "b"}, true},
		{"empty id", `{"batchItemFailures":[{"itemIdentifier":""}]}`, true, []string{"a", "b"}, true},
		{"twice", `{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"a"}]}`, true, []string{"a", "b"}, true},
		{"no JSON", `oops`, true, []string{"a", "b"}, true},
		{"answers are not asked for", `oops`, false, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			kept, err := failures([]byte(test.answer), messages("a", "b"), test.partial)
			var got []string
			for _, id := range []string{"a", "b"} {
				if kept[id] {
					got = append(got, id)
				}
			}
			if !slices.Equal(got, test.kept) || (err != nil) != test.fails {
				t.Errorf("kept %v, error %v; want %v, error %t", got, err, test.kept, test.fails)
			}
		})
	}
}

// fakeQueue answers one ReceiveMessage with a and b, and notes what is deleted.
func fakeQueue(t *testing.T) (m *mapping, deleted *[]string, asked *map[string]any) {
	deleted, asked = &[]string{}, &map[string]any{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in map[string]any
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		switch r.Header.Get("X-Amz-Target") {
		case "AmazonSQS.ReceiveMessage":
			*asked = in
			// MD5 of "x", which the client checks.
			const message = `{"MessageId":%q,"ReceiptHandle":%q,"Body":"x","MD5OfBody":"9dd4e461268c8034f5c8564e155c67a6","Attributes":{"ApproximateReceiveCount":"1"}}`
			fmt.Fprintf(w, `{"Messages":[`+message+`,`+message+`]}`, "a", "handle-a", "b", "handle-b")
		case "AmazonSQS.DeleteMessage":
			*deleted = append(*deleted, in["ReceiptHandle"].(string))
			fmt.Fprint(w, "{}")
		}
	}))
	t.Cleanup(server.Close)
	return &mapping{
		sqs: clientsFor(server.URL).queues, queueURL: "https://sqs.us-east-1.amazonaws.com/123456789012/market-data-t.fifo",
		settings: &stackcheck.Mapping{BatchSize: 7, SourceARN: queueARN, ResponseTypes: []string{"ReportBatchItemFailures"}},
	}, deleted, asked
}

func TestMappingDeletesWhatSucceeded(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		err          error
		deleted      []string
		returned     int
	}{
		{"all", `{"batchItemFailures":[]}`, nil, []string{"handle-a", "handle-b"}, 0},
		{"one", `{"batchItemFailures":[{"itemIdentifier":"a"}]}`, nil, []string{"handle-b"}, 1},
		{"none, the function failed", "", errors.New("failed"), nil, 2},
		{"none, the answer is wrong", `{"batchItemFailures":[{"itemIdentifier":"c"}]}`, nil, nil, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, deleted, asked := fakeQueue(t)
			err := m.once(t.Context(), func(_ context.Context, payload []byte) ([]byte, error) {
				if records, err := ingest.ParseEvent(payload); err != nil || len(records) != 2 {
					t.Errorf("payload %s: %v", payload, err)
				}
				return []byte(test.answer), test.err
			})
			if wantErr := len(test.deleted) == 0; (err != nil) != wantErr {
				t.Errorf("error %v, want one: %t", err, wantErr)
			}
			if c := m.counts(); !slices.Equal(*deleted, test.deleted) || len(c.returned) != test.returned || c.batches != 1 {
				t.Errorf("deleted %v, returned %d, batches %d; want %v, %d, 1", *deleted, len(c.returned), c.batches, test.deleted, test.returned)
			}
			if c := m.counts(); len(c.clocks) != 0 {
				t.Errorf("%d messages count as clock events", len(c.clocks))
			}
			if m.hasReturned("x") != (test.returned > 0) || m.hasReturned("y") {
				t.Errorf("returned bodies %v", m.counts().returned)
			}
			if (*asked)["MaxNumberOfMessages"] != 7.0 {
				t.Errorf("asked for %v messages, want the mapping's batch size", (*asked)["MaxNumberOfMessages"])
			}
		})
	}
}

func TestClocksAreFoundInTheirGroup(t *testing.T) {
	clock := func(symbol string) string {
		e := market.Event{Kind: market.Clock, Symbol: symbol, Source: stackcheck.FeedSource, Time: 1}
		return string(e.AppendJSON(nil))
	}
	for _, test := range []struct {
		name, body, group string
		fifo              bool
		want              string
	}{
		{"in its group", clock("A"), "A|check", true, ""},
		{"with others before it", clock("B") + "\n" + clock("A"), "A|check", true, ""},
		{"in another group", clock("A"), "B|check", true, `in group "B|check"`},
		{"without a group", clock("A"), "", true, `in group ""`},
		{"on a standard queue", clock("A"), "", false, ""},
		{"of another series", clock("AB"), "AB|check", true, "none of 1"},
		{"no clock event", `{"type":"trade","symbol":"A"}`, "A|check", true, "none of 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &mapping{}
			batch := messages("m")
			batch[0].Body, batch[0].Attributes = &test.body, map[string]string{"MessageGroupId": test.group}
			m.count(batch, map[string]bool{})
			_, err := throughQueue(m.counts().clocks, "A", test.fifo)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
