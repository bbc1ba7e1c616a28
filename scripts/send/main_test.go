package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/simulate"
	"example.com/market-data-pipeline/functions/producer"
)

func line(symbol string, n int) string {
	return fmt.Sprintf(`{"symbol":%q,"price":189.84,"timestamp":"1999-11-20T14:30:00Z","sequence":%d}`, symbol, n)
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "feed.ndjson")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestUsage(t *testing.T) {
	queue := "https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo"
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"-h"}, 0, "Usage: go run ./scripts/send"},
		{nil, 2, "SqsQueueUrl"},
		{[]string{"--queue-url", queue}, 2, "no input"},
		{[]string{"--queue-url", queue, "--no-such-flag", "f"}, 2, "no-such-flag"},
		{[]string{"--queue-url", queue, "--pack", "shard:0", "f"}, 2, "shard:8"},
		{[]string{"--queue-url", queue, "--pack", "both", "f"}, 2, "series"},
		{[]string{"--queue-url", queue, "--rate", "-1", "f"}, 2, "--rate"},
		{[]string{"--queue-url", queue, "--rate", "NaN", "f"}, 2, "--rate"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(t.Context(), test.args, func(string) string { return "" }, nil, &stdout, &stderr)
		if code != test.code || !strings.Contains(stderr.String(), test.want) || stdout.Len() > 0 {
			t.Errorf("%q: exit code %d, %q; want %d and %q in it", test.args, code, stderr.String(), test.code, test.want)
		}
	}
}

func TestOptions(t *testing.T) {
	queue := "https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo"
	getenv := func(name string) string { return map[string]string{"QUEUE_URL": queue}[name] }
	o, err := parse([]string{"--pack", "shard:8", "a", "-"}, getenv, io.Discard)
	if err != nil || o.queueURL != queue || o.region != "eu-west-1" || o.shards != 8 || len(o.paths) != 2 {
		t.Errorf("%+v, %v; want the queue of the environment, its region, and 8 shards", o, err)
	}
	o, err = parse([]string{"--region", "us-east-1", "a"}, getenv, io.Discard)
	if err != nil || o.region != "us-east-1" || o.shards != 0 {
		t.Errorf("%+v, %v; want the region as given, packed by series", o, err)
	}
}

// arrange makes a queue, and the options to send to it.
func arrange(t *testing.T, paths ...string) (*simulate.SQS, options) {
	t.Helper()
	service := simulate.NewSQS(time.Now)
	url, err := service.CreateQueue(simulate.QueueConfig{Name: "market-data-dev.fifo", FIFO: true})
	if err != nil {
		t.Fatal(err)
	}
	return service, options{queueURL: url, paths: paths, giveUp: time.Minute}
}

// arrived are the events in the queue, "symbol sequence".
func arrived(t *testing.T, service *simulate.SQS, url string) []string {
	t.Helper()
	var all []string
	for _, m := range service.Messages(url) {
		events, refused := market.Decode(nil, *m.Body, time.Now(), 0)
		if len(refused) > 0 {
			t.Fatal(refused[0].Error())
		}
		for _, e := range events {
			all = append(all, fmt.Sprintf("%s %d", e.Symbol, e.Sequence))
		}
	}
	return all
}

func TestBadLinesAreShownAndCounted(t *testing.T) {
	var text strings.Builder
	for i := range 30 {
		fmt.Fprintf(&text, "%s\n{\"symbol\":\"A\"}\n\n", line("A", i))
	}
	// An array's good events are sent, too.
	fmt.Fprintf(&text, "[%s,{},{},%s]\nnot JSON\n", line("B", 1), line("B", 2))
	path := file(t, text.String())
	service, o := arrange(t, path)
	var stdout, stderr bytes.Buffer
	if code := send(t.Context(), o, service, nil, &stdout, &stderr); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if got := arrived(t, service, o.queueURL); len(got) != 32 || got[0] != "A 0" || got[29] != "A 29" || got[31] != "B 2" {
		t.Errorf("%d events arrived: %q", len(got), got)
	}
	shown := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	if len(shown) != 20 || !strings.HasPrefix(shown[1], path+":5: missing_field in ") {
		t.Errorf("%d lines shown, the second %q", len(shown), shown[1])
	}
	for _, want := range []string{"32 sent, 33 refused, 0 not sent", "the first 20 of 33", "messages  2, ", "requests  1, billed as 1 "} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is not in the summary\n%s", want, stdout.String())
		}
	}
}

func TestExitCodes(t *testing.T) {
	good := file(t, line("A", 1)+"\n")
	for _, test := range []struct {
		name, path, stdin string
		code              int
		want              string // on standard error
	}{
		{"good", good, "", 0, ""},
		{"standard input", "-", line("A", 1), 0, ""},
		{"empty", "-", "", 0, ""},
		{"one bad line", "-", "{}", 1, "stdin:1: missing_field"},
		{"absent", filepath.Join(t.TempDir(), "absent"), "", 1, "absent"},
		{"cut", file(t, "\x1f\x8b\x08\x00"), "", 1, "read "},
	} {
		service, o := arrange(t, test.path)
		var stdout, stderr bytes.Buffer
		code := send(t.Context(), o, service, strings.NewReader(test.stdin), &stdout, &stderr)
		if code != test.code || !strings.Contains(stderr.String(), test.want) || test.want == "" && stderr.Len() > 0 {
			t.Errorf("%s: exit code %d, %q; want %d and %q", test.name, code, stderr.String(), test.code, test.want)
		}
	}
}

func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		for i := range 101 {
			text.WriteString(line("A", i) + "\n")
		}
		service, o := arrange(t, "-")
		o.rate = 50
		start := time.Now()
		if code := send(t.Context(), o, service, strings.NewReader(text.String()), io.Discard, io.Discard); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if took := time.Since(start).Round(10 * time.Millisecond); took != 2*time.Second {
			t.Errorf("101 events at 50 a second took %s, want 2 s", took)
		}
	})
}

// TestInterrupt: Ctrl-C while standard input is silent sends what has been read.
func TestInterrupt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		service, o := arrange(t, "-")
		o.maxDelay = time.Hour
		in, out := io.Pipe()
		ctx, cancel := context.WithCancel(t.Context())
		var stdout, stderr bytes.Buffer
		code := make(chan int)
		go func() { code <- send(ctx, o, service, in, &stdout, &stderr) }()
		fmt.Fprintln(out, line("A", 1))
		synctest.Wait()
		cancel()
		if got := <-code; got != 0 || len(arrived(t, service, o.queueURL)) != 1 || !strings.Contains(stdout.String(), "interrupted after 1 lines") {
			t.Errorf("exit code %d, %q, %q", got, stdout.String(), stderr.String())
		}
		out.Close()
	})
}

// down is an SQS that never answers well.
type down struct{ err error }

func (d down) SendMessageBatch(context.Context, *sqs.SendMessageBatchInput, ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	return nil, d.err
}

type answer struct {
	status int
	code   string
}

func (a answer) Error() string       { return a.code }
func (a answer) ErrorCode() string   { return a.code }
func (a answer) HTTPStatusCode() int { return a.status }

func TestAnOutage(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		took time.Duration // at least, and no more than half as much again
	}{
		{"unreachable", io.ErrUnexpectedEOF, 40 * time.Second},
		{"unavailable", answer{503, "ServiceUnavailable"}, 40 * time.Second},
		{"throttled", answer{400, "RequestThrottled"}, 40 * time.Second},
		{"no such queue", answer{400, "AWS.SimpleQueueService.NonExistentQueue"}, 0},
		{"no permission", answer{403, "AccessDenied"}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, o := arrange(t, "-")
				o.unsent = filepath.Join(t.TempDir(), "unsent.ndjson")
				var stdout, stderr bytes.Buffer
				start := time.Now()
				code := send(t.Context(), o, down{test.err}, strings.NewReader(line("A", 1)+"\n"+line("A", 2)+"\n"), &stdout, &stderr)
				if code != 1 || !strings.Contains(stderr.String(), test.err.Error()) || !strings.Contains(stdout.String(), "0 sent, 0 refused, 2 not sent") {
					t.Errorf("exit code %d, %q, %q", code, stdout.String(), stderr.String())
				}
				if took := time.Since(start); took < test.took || took > test.took*3/2+time.Second {
					t.Errorf("gave up after %s, want about %s", took, test.took)
				}
				// What was not sent can be sent again.
				service, again := arrange(t, o.unsent)
				if code := send(t.Context(), again, service, nil, io.Discard, io.Discard); code != 0 {
					t.Errorf("sending it again: exit code %d", code)
				}
				if got := arrived(t, service, again.queueURL); strings.Join(got, ",") != "A 1,A 2" {
					t.Errorf("sent again: %q", got)
				}
			})
		})
	}
}

func TestUnsentIsNotOverwritten(t *testing.T) {
	service, o := arrange(t, "-")
	o.unsent = file(t, "precious")
	if code := send(t.Context(), o, service, strings.NewReader(""), io.Discard, io.Discard); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if kept, err := os.ReadFile(o.unsent); err != nil || string(kept) != "precious" {
		t.Errorf("the file holds %q, %v", kept, err)
	}
}

// TestOverHTTP runs the whole command with the real SDK against a stub of SQS.
func TestOverHTTP(t *testing.T) {
	var mu sync.Mutex
	var bodies []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in sqs.SendMessageBatchInput
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/sqs/") {
			t.Errorf("request %v, signed %q", err, r.Header.Get("Authorization"))
		}
		mu.Lock()
		defer mu.Unlock()
		var done []string
		for _, e := range in.Entries {
			if e.MessageAttributes[producer.OriginMessageID].StringValue == nil || aws.ToString(e.MessageGroupId) == "" {
				t.Error("an entry without identity or group")
			}
			bodies = append(bodies, *e.MessageBody)
			done = append(done, fmt.Sprintf(`{"Id":%q,"MessageId":"m"}`, *e.Id))
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		fmt.Fprintf(w, `{"Successful":[%s],"Failed":[]}`, strings.Join(done, ","))
	}))
	defer server.Close()
	for name, value := range map[string]string{"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
		"AWS_REGION": "us-east-1", "AWS_CONFIG_FILE": "absent", "AWS_SHARED_CREDENTIALS_FILE": "absent"} {
		t.Setenv(name, value)
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"--queue-url", "https://sqs.eu-west-1.amazonaws.com/123456789012/q.fifo", "--max-events", "2", "-"},
		func(string) string { return "" }, strings.NewReader(line("A", 1)+"\n"+line("A", 2)+"\n"+line("A", 3)+"\n"), &stdout, &stderr)
	if code != 0 || len(bodies) != 2 || strings.Count(bodies[0], "\n") != 1 || !strings.Contains(stdout.String(), "3 sent, 0 refused") {
		t.Errorf("exit code %d, bodies %q\n%s%s", code, bodies, stdout.String(), stderr.String())
	}
}
