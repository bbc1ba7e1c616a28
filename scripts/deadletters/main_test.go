package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

func TestUsage(t *testing.T) {
	urls := " --queue-url https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo --dead-letters-url d.fifo --rejects-url r"
	for _, test := range []struct {
		args string
		code int
		want string
	}{
		{"--help", 0, "Usage: go run ./scripts/deadletters"},
		{"list --help", 0, "there is no default"},
		{"", 2, "no command"},
		{"show --stack s", 2, `"show" is no command`},
		{"list", 2, "--stack is missing"},
		{"list ID --stack s", 2, "explain takes an ID"},
		{"explain --stack s", 2, "explain takes one ID"},
		{"explain a b --stack s", 2, "explain takes one ID"},
		{"list --stack s --yes", 2, "list changes nothing"},
		{"purge --stack s --body", 2, "only explain shows bodies"},
		{"list --stack s --queue market", 2, "--queue is"},
		{"redrive --stack s --reason unlucky", 2, "future_timestamp"},
		{"redrive --stack s --reason alert_refused", 2, "never redriven"},
		{"redrive --stack s --symbol a,b", 2, "--symbol is"},
		{"redrive --stack s --max 9", 2, "--max is 9"},
		{"redrive --stack s --max 100001", 2, "--max is 100001"},
		{"redrive --stack s" + urls, 2, "not both"},
		{"list --queue-url q", 2, "all of"},
		{"list --stack s --force", 2, "force"},
		{"list --stack s", 1, "stack s in"},
		{"list" + urls, 1, "counting the messages of d.fifo"},
	} {
		t.Run(test.args, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				http.Error(w, `{"__type":"AccessDenied"}`, http.StatusForbidden)
			}))
			defer server.Close()
			setAWS(t, server.URL)
			var out, errs bytes.Buffer
			code := run(t.Context(), strings.Fields(test.args), &out, &errs)
			if code != test.code || !strings.Contains(errs.String(), test.want) || out.Len() > 0 && code != 1 {
				t.Errorf("exit code %d, %q; want %d and %q", code, errs.String(), test.code, test.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	o, err := parse(strings.Fields("redrive a --yes b --queue-url https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo a --dead-letters-url d --rejects-url r --symbol BRK.B"), t.Output())
	if err != nil || o.region != "eu-west-1" || strings.Join(o.ids, " ") != "a b" || !o.execute || o.symbol != "BRK.B" || o.max != 10_000 {
		t.Errorf("%+v, %v", o, err)
	}
}

// setAWS points the SDK at an emulator.
func setAWS(t *testing.T, url string) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

// server serves d over HTTP, as SQS and CloudFormation do. The first call that receives, sends or deletes is throttled.
func server(t *testing.T, d *desk, outputs map[string]string) (url string, throttled func() int) {
	t.Helper()
	var mu sync.Mutex
	refused := map[string]bool{"AmazonSQS.GetQueueAttributes": true, "AmazonSQS.ChangeMessageVisibilityBatch": true}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		target := r.Header.Get("X-Amz-Target")
		if target == "" {
			if r.FormValue("Action") != "DescribeStacks" || r.FormValue("StackName") != "market-data-test" {
				t.Errorf("unexpected call %v", r.Form)
			}
			fmt.Fprint(w, "<R><DescribeStacksResult><Stacks><member><Outputs>")
			for name, value := range outputs {
				fmt.Fprintf(w, "<member><OutputKey>%s</OutputKey><OutputValue>%s</OutputValue></member>", name, value)
			}
			fmt.Fprint(w, "</Outputs></member></Stacks></DescribeStacksResult></R>")
			return
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		if !refused[target] {
			refused[target] = true
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"com.amazonaws.sqs#RequestThrottled","message":"slowly"}`)
			return
		}
		answer := func(out any, err error) {
			if err != nil {
				t.Errorf("%s: %v", target, err)
				w.WriteHeader(http.StatusBadRequest)
			}
			if err := json.NewEncoder(w).Encode(out); err != nil {
				t.Error(err)
			}
		}
		read := func(in any) {
			if err := json.NewDecoder(r.Body).Decode(in); err != nil {
				t.Errorf("%s: %v", target, err)
			}
		}
		switch target {
		case "AmazonSQS.GetQueueAttributes":
			var in sqs.GetQueueAttributesInput
			read(&in)
			answer(d.SQS.GetQueueAttributes(r.Context(), &in))
		case "AmazonSQS.ReceiveMessage":
			var in sqs.ReceiveMessageInput
			read(&in)
			if isFIFO(*in.QueueUrl) == (in.ReceiveRequestAttemptId == nil) {
				t.Errorf("receive attempt id %v for %s", in.ReceiveRequestAttemptId, *in.QueueUrl)
			}
			answer(d.SQS.ReceiveMessage(r.Context(), &in))
		case "AmazonSQS.SendMessage":
			var in sqs.SendMessageInput
			read(&in)
			answer(d.SQS.SendMessage(r.Context(), &in))
		case "AmazonSQS.DeleteMessageBatch":
			var in sqs.DeleteMessageBatchInput
			read(&in)
			answer(d.SQS.DeleteMessageBatch(r.Context(), &in))
		case "AmazonSQS.ChangeMessageVisibilityBatch":
			var in struct { // encoding/json would take a visibility of 0 that is not there for one that is
				sqs.ChangeMessageVisibilityBatchInput
				Entries []map[string]any
			}
			read(&in)
			for _, e := range in.Entries {
				if e["VisibilityTimeout"] != 0.0 {
					t.Errorf("visibility %v is sent, want 0", e["VisibilityTimeout"])
				}
			}
			b, _ := json.Marshal(in.Entries)
			if err := json.Unmarshal(b, &in.ChangeMessageVisibilityBatchInput.Entries); err != nil {
				t.Error(err)
			}
			answer(d.SQS.ChangeMessageVisibilityBatch(r.Context(), &in.ChangeMessageVisibilityBatchInput))
		default:
			t.Errorf("unexpected call %s", target)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, func() int { return len(refused) - 2 }
}

// TestOverHTTP runs the whole program with the real SDK: a stack's outputs, throttled calls, everything moved.
func TestOverHTTP(t *testing.T) {
	d := newDesk(t, true)
	d.deadLetters(map[string]int{"AAPL|": 2})
	url, throttled := server(t, d, map[string]string{"SqsQueueUrl": d.urls.market, "DeadLetterQueueUrl": d.urls.dead, "RejectsQueueUrl": d.urls.rejects, "LogGroupName": "/aws/lambda/f"})
	setAWS(t, url)
	program := func(args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), append(args, "--stack", "market-data-test"), &out, &errs); code != 0 {
			t.Errorf("%q: exit code %d: %s", args, code, errs.String())
		}
		return out.String()
	}
	id := d.ids(d.urls.dead)[1]
	if got := program("explain", id); !strings.Contains(got, "/aws/lambda/f") {
		t.Error(got)
	}
	if got := program("redrive", "--yes", "--queue", "dead-letters"); strings.Count(got, "moved ") != 2 {
		t.Error(got)
	}
	same(t, "moved", map[string][]string{"AAPL|": numbered("AAPL|", 2)}, d.origins(d.urls.market))
	if throttled() != 3 || d.depth(d.urls.dead) != 0 {
		t.Errorf("%d kinds of calls were throttled, %d messages are left", throttled(), d.depth(d.urls.dead))
	}
}

func TestAStackOfAnotherApp(t *testing.T) {
	d := newDesk(t, true)
	url, _ := server(t, d, map[string]string{"SqsQueueUrl": d.urls.market, "DeadLetterQueueUrl": d.urls.dead})
	setAWS(t, url)
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"list", "--stack", "market-data-test"}, &out, &errs); code != 1 || !strings.Contains(errs.String(), "no output RejectsQueueUrl") {
		t.Errorf("exit code %d: %s", code, errs.String())
	}
}
