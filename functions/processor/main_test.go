package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

// The test binary is the function itself where this variable is set.
const asFunction = "PROCESSOR_TEST_AS_FUNCTION"

func TestMain(m *testing.M) {
	if os.Getenv(asFunction) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

const (
	topicARN   = "arn:aws:sns:us-east-1:123456789012:trading-alerts-test"
	accessKey  = "AKIDEXAMPLE"
	secretKey  = "secret+example/key"
	sessionKey = "session+example/token=="
)

// call is one request to the fake AWS.
type call struct {
	operation string
	body      string
}

// fakeAWS answers for DynamoDB as if its tables were empty and every write succeeded, for SNS as if it took everything
// but alerts of the symbol ALERT-DOWN and calls with one of NOTIFY-DOWN; its SQS is the simulated one. It checks every
// request's signature.
type fakeAWS struct {
	t               *testing.T
	server          *httptest.Server
	queues          *simulate.SQS
	market, rejects string
	rules           string // the file of the rules that ship, compiled

	// commit is called for each write of a series.
	commit func()

	mu    sync.Mutex
	calls []call
}

func newFakeAWS(t *testing.T) *fakeAWS {
	shipped, err := os.ReadFile(settings.RulesSource)
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeAWS{t: t, queues: simulate.NewSQS(time.Now), rules: compiledRules(t, string(shipped))}
	for name, url := range map[string]*string{"market-data-test": &f.market, "market-data-rejects-test": &f.rejects} {
		var err error
		if *url, err = f.queues.CreateQueue(simulate.QueueConfig{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// compiledRules is a file of compiled rules.
func compiledRules(t *testing.T, text string) string {
	rules, err := alert.Load("rules.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), settings.DefaultRulesFile)
	if err := os.WriteFile(name, rules.Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (f *fakeAWS) env() map[string]string {
	return map[string]string{
		"ENVIRONMENT": "test", "AWS_REGION": "eu-central-1", "QUEUE_URL": f.market, "REJECTS_QUEUE_URL": f.rejects,
		"ALERTS_TABLE": "market-alerts-test", "STATE_TABLE": "market-state-test", "ALERT_TOPIC_ARN": topicARN, "RULES_FILE": f.rules,
		"AWS_ENDPOINT_URL": f.server.URL, "AWS_ACCESS_KEY_ID": accessKey, "AWS_SECRET_ACCESS_KEY": secretKey, "AWS_SESSION_TOKEN": sessionKey,
	}
}

func (f *fakeAWS) operations() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []string{}
	for _, c := range f.calls {
		out = append(out, c.operation)
	}
	return out
}

// body is that of the only call of an operation.
func (f *fakeAWS) body(operation string) string {
	f.t.Helper()
	i := slices.Index(f.operations(), operation)
	if i < 0 {
		f.t.Fatalf("no call of %s, only %q", operation, f.operations())
	}
	return f.calls[i].body
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	signedFor := map[string]string{"DynamoDB_20120810": "dynamodb", "AmazonSQS": "sqs"}[service]
	form := url.Values{}
	if service == "" {
		if form, err = url.ParseQuery(string(b)); err != nil {
			f.t.Error(err)
		}
		service, operation, signedFor = "SNS", form.Get("Action"), "sns"
	}
	f.checkSignature(r, b, signedFor)
	f.mu.Lock()
	f.calls = append(f.calls, call{operation, string(b)})
	f.mu.Unlock()

	var answer any
	switch operation {
	case "BatchGetItem":
		answer = map[string]any{"Responses": map[string]any{}, "UnprocessedKeys": map[string]any{}}
	case "BatchWriteItem":
		answer = map[string]any{"UnprocessedItems": map[string]any{}}
	case "TransactWriteItems", "PutItem", "UpdateItem":
		if f.commit != nil {
			f.commit()
		}
		answer = map[string]any{}
	case "SendMessageBatch":
		var in sqs.SendMessageBatchInput
		if err = json.Unmarshal(b, &in); err == nil {
			answer, err = f.queues.SendMessageBatch(r.Context(), &in)
		}
	case "ChangeMessageVisibilityBatch":
		answer = map[string]any{"Successful": []any{}, "Failed": []any{}}
	case "PublishBatch":
		w.Header().Set("Content-Type", "text/xml")
		if strings.Contains(string(b), "NOTIFY-DOWN") {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AuthorizationError</Code><Message>user X may not</Message></Error><RequestId>r</RequestId></ErrorResponse>`)
			return
		}
		var failed, successful strings.Builder
		for i := 1; ; i++ {
			member := fmt.Sprintf("PublishBatchRequestEntries.member.%d.", i)
			id := form.Get(member + "Id")
			if id == "" {
				break
			}
			if strings.Contains(form.Get(member+"Message"), "ALERT-DOWN") {
				fmt.Fprintf(&failed, `<member><Id>%s</Id><Code>InternalError</Code><SenderFault>false</SenderFault></member>`, id)
			} else {
				fmt.Fprintf(&successful, `<member><Id>%s</Id><MessageId>m-%s</MessageId></member>`, id, id)
			}
		}
		fmt.Fprintf(w, `<PublishBatchResponse><PublishBatchResult><Failed>%s</Failed><Successful>%s</Successful></PublishBatchResult>`+
			`<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishBatchResponse>`, failed.String(), successful.String())
		return
	default:
		err = fmt.Errorf("unexpected operation %s %s", service, operation)
	}
	if err != nil {
		f.t.Error(err)
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		f.t.Error(err)
	}
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/\d{8}/eu-central-1/(\w+)/aws4_request, SignedHeaders=([a-z0-9;-]+), Signature=[0-9a-f]{64}$`)

// checkSignature signs the request again with the environment's credentials and compares.
func (f *fakeAWS) checkSignature(r *http.Request, body []byte, service string) {
	got := r.Header.Get("Authorization")
	parts := authorization.FindStringSubmatch(got)
	if parts == nil || parts[1] != service {
		f.t.Errorf("Authorization for %s is %q", service, got)
		return
	}
	if token := r.Header.Get("X-Amz-Security-Token"); token != sessionKey {
		f.t.Errorf("session token %q", token)
	}
	again, err := http.NewRequest(r.Method, "http://"+r.Host+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		f.t.Error(err)
		return
	}
	for _, name := range strings.Split(parts[2], ";") {
		if v := r.Header.Get(name); v != "" {
			again.Header.Set(name, v)
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey, SessionToken: sessionKey}
	if err == nil {
		err = v4.NewSigner().SignHTTP(context.Background(), keys, again, hex.EncodeToString(sum[:]), service, "eu-central-1", at)
	}
	if want := again.Header.Get("Authorization"); err != nil || got != want {
		f.t.Errorf("%s is signed %v\n got %s\nwant %s", service, err, got, want)
	}
}

// record is one message as Lambda delivers it, first received now.
func record(id, group string, receives int, body string) map[string]any {
	now := fmt.Sprint(time.Now().UnixMilli())
	return map[string]any{
		"messageId": id, "receiptHandle": "handle-" + id, "body": body, "eventSource": "aws:sqs",
		"attributes": map[string]string{
			"ApproximateReceiveCount": fmt.Sprint(receives), "SentTimestamp": now, "ApproximateFirstReceiveTimestamp": now, "MessageGroupId": group,
		},
		"messageAttributes": map[string]any{},
	}
}

func event(t *testing.T, records ...map[string]any) []byte {
	b, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// trade is one that BlockTrade of the rules that ship fires on.
func trade(symbol, fields string) string {
	return fmt.Sprintf(`{"symbol":%q,"price":250.5,"size":10000,"timestamp":"2024-01-02T14:30:00Z"%s}`, symbol, fields)
}

// run makes a handler and invokes it once.
func run(t *testing.T, env map[string]string, payload []byte) (response string, metrics map[string]any, log string, err error) {
	t.Helper()
	var out, logged bytes.Buffer
	getenv := func(name string) string { return env[name] }
	handler, err := newHandler(getenv, &out, newLogger(&logged, getenv))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	b, err := handler.Invoke(ctx, payload)
	if err := json.Unmarshal(out.Bytes(), &metrics); err != nil {
		t.Errorf("metrics are not one JSON line: %v: %s", err, out.String())
	}
	return string(b), metrics, logged.String(), err
}

func TestInvokeFires(t *testing.T) {
	f := newFakeAWS(t)
	response, metrics, log, err := run(t, f.env(), event(t, record("m1", "AAPL|", 1, trade("AAPL", ""))))
	if err != nil || response != `{"batchItemFailures":[]}` {
		t.Fatalf("%s %v\n%s", response, err, log)
	}
	if got := f.operations(); !slices.Equal(got, []string{"BatchGetItem", "TransactWriteItems", "PublishBatch", "BatchWriteItem"}) {
		t.Fatalf("calls %q", got)
	}
	var read struct {
		RequestItems map[string]struct{ ConsistentRead bool }
	}
	if err := json.Unmarshal([]byte(f.body("BatchGetItem")), &read); err != nil || len(read.RequestItems) != 1 || !read.RequestItems["market-state-test"].ConsistentRead {
		t.Errorf("read %s %v", f.body("BatchGetItem"), err)
	}
	for _, want := range []string{`"TableName":"market-state-test"`, `"TableName":"market-alerts-test"`, `"BlockTrade"`} {
		if body := f.body("TransactWriteItems"); !strings.Contains(body, want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	form, err := url.ParseQuery(f.body("PublishBatch"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"TopicArn": topicARN, "PublishBatchRequestEntries.member.1.Subject": "[INFO] AAPL BlockTrade", "PublishBatchRequestEntries.member.2.Id": ""} {
		if got := form.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if body := f.body("BatchWriteItem"); !strings.Contains(body, `"market-alerts-test"`) || !strings.Contains(body, `"SENT"`) {
		t.Errorf("marked as sent: %s", body)
	}
	if metrics["Environment"] != "test" || metrics["AlertsPublished"] != 1.0 || metrics["RecordsFailed"] != nil {
		t.Errorf("metrics %v", metrics)
	}
	if log != "" {
		t.Errorf("a good batch is logged: %s", log)
	}
}

func TestInvokeKeepsBadEvents(t *testing.T) {
	f := newFakeAWS(t)
	response, _, log, err := run(t, f.env(), event(t, record("m1", "AAPL|", 1, `{"symbol":"AAPL","price":-1}`)))
	if err != nil || response != `{"batchItemFailures":[]}` {
		t.Fatalf("%s %v\n%s", response, err, log)
	}
	kept := f.queues.Messages(f.rejects)
	if len(kept) != 1 || *kept[0].Body != `{"symbol":"AAPL","price":-1}` || *kept[0].MessageAttributes["origin_message_id"].StringValue != "m1" {
		t.Errorf("rejects queue has %v", kept)
	}
	line := map[string]any{}
	if err := json.Unmarshal([]byte(log), &line); err != nil || line["level"] != "WARN" || line["message_id"] != "m1" || strings.Contains(log, "price\":-1") {
		t.Errorf("log %q %v", log, err)
	}
}

func TestInvokeFails(t *testing.T) {
	f := newFakeAWS(t)
	response, metrics, log, err := run(t, f.env(), event(t, record("m1", "NOTIFY-DOWN|", 1, trade("NOTIFY-DOWN", ""))))
	if err == nil || response != "" || !strings.Contains(err.Error(), "m1") {
		t.Errorf("response %q, error %v: a batch of failures only must fail", response, err)
	}
	if body := f.body("ChangeMessageVisibilityBatch"); !strings.Contains(body, f.market) || !strings.Contains(body, "handle-m1") {
		t.Errorf("visibility: %s", body)
	}
	if metrics["RecordsFailed"] != 1.0 || !strings.Contains(log, `"level":"ERROR"`) || !strings.Contains(log, "AuthorizationError") {
		t.Errorf("metrics %v, log %s", metrics, log)
	}
	if strings.Contains(log, "may not") || strings.Contains(log, secretKey) {
		t.Errorf("the log quotes SNS's answer: %s", log)
	}
}

// Each setting reaches the part that it is for.
func TestSettingsReachTheirParts(t *testing.T) {
	const good, bad = "AAPL", "ALERT-DOWN"
	repeated := event(t, record("m1", "g", 1, "["+trade(good, `,"sequence":1`)+","+trade(good, `,"sequence":1`)+"]"))
	late := event(t, record("m1", "g", 1, "["+trade(good, "")+","+strings.Replace(trade(good, ""), "14:30:00", "14:29:50", 1)+"]"))
	future := event(t, record("m1", "g", 1, strings.Replace(trade(good, ""), "2024-01-02T14:30:00Z", time.Now().Add(30*time.Second).UTC().Format(time.RFC3339), 1)))
	blocked := event(t, record("m1", "g", 9, trade(bad, "")), record("m2", "g", 1, trade(good, "")))
	days := regexp.MustCompile(`"expires_at":\{"N":"(\d+)"\}`)
	expiry := func(r result, table string) string {
		var body struct {
			TransactItems []struct {
				Put struct {
					TableName string
					Item      json.RawMessage
				}
			}
		}
		if err := json.Unmarshal([]byte(r.aws.body("TransactWriteItems")), &body); err != nil {
			t.Fatal(err)
		}
		for _, item := range body.TransactItems {
			if item.Put.TableName != table {
				continue
			}
			m := days.FindSubmatch(item.Put.Item)
			if m == nil {
				return "never"
			}
			var seconds int64
			fmt.Sscan(string(m[1]), &seconds)
			return time.Until(time.Unix(seconds, 0)).Round(time.Hour).String()
		}
		return "no item"
	}
	metric := func(name string) func(result) string {
		return func(r result) string {
			if r.metrics[name] == nil {
				return "0"
			}
			return fmt.Sprint(r.metrics[name])
		}
	}
	visibility := func(r result) string {
		return regexp.MustCompile(`"handle-m1","VisibilityTimeout":\d+`).FindString(r.aws.body("ChangeMessageVisibilityBatch"))
	}
	for _, c := range []struct {
		name, value string
		payload     []byte
		probe       func(result) string
		want        string
	}{
		{"DELIVERY", "", repeated, metric("EventsRepeated"), "1"},
		{"DELIVERY", "unordered", repeated, metric("EventsRepeated"), "0"},
		{"DELIVERY", "ordered", blocked, func(r result) string { return fmt.Sprint(r.err != nil) }, "true"},
		{"DELIVERY", "unordered", blocked, func(r result) string { return r.response }, `{"batchItemFailures":[{"itemIdentifier":"m1"}]}`},
		{"LATENESS", "", late, metric("EventsLate"), "1"},
		{"LATENESS", "10s", late, metric("EventsLate"), "0"},
		{"CLOCK_SKEW", "", future, metric("EventsRejected"), "0"},
		{"CLOCK_SKEW", "5s", future, metric("EventsRejected"), "1"},
		{"STATE_TTL", "", repeated, func(r result) string { return expiry(r, "market-state-test") }, "720h0m0s"},
		{"STATE_TTL", "48h", repeated, func(r result) string { return expiry(r, "market-state-test") }, "48h0m0s"},
		{"ALERT_TTL", "", repeated, func(r result) string { return expiry(r, "market-alerts-test") }, "never"},
		{"ALERT_TTL", "24h", repeated, func(r result) string { return expiry(r, "market-alerts-test") }, "24h0m0s"},
		{"MAX_RETRY_DELAY", "", blocked, visibility, `"handle-m1","VisibilityTimeout":360`},
		{"MAX_RETRY_DELAY", "90s", blocked, visibility, `"handle-m1","VisibilityTimeout":90`},
	} {
		t.Run(c.name+"="+cmp.Or(c.value, "default"), func(t *testing.T) {
			f := newFakeAWS(t)
			env := f.env()
			env[c.name] = c.value
			r := result{aws: f}
			r.response, r.metrics, _, r.err = run(t, env, c.payload)
			if got := c.probe(r); got != c.want {
				t.Errorf("got %s, want %s (response %q, error %v)", got, c.want, r.response, r.err)
			}
		})
	}
}

// Three series are committed at the same time, or one after the other.
func TestSeriesConcurrency(t *testing.T) {
	payload := event(t, record("m1", "g", 1, "["+trade("A", "")+","+trade("B", "")+","+trade("C", "")+"]"))
	t.Run("default", func(t *testing.T) {
		f := newFakeAWS(t)
		var together sync.WaitGroup
		together.Add(3)
		f.commit = func() { together.Done(); together.Wait() }
		if response, _, log, err := run(t, f.env(), payload); err != nil || response != `{"batchItemFailures":[]}` {
			t.Errorf("%s %v\n%s", response, err, log)
		}
	})
	t.Run("1", func(t *testing.T) {
		f := newFakeAWS(t)
		var alone sync.Mutex
		f.commit = func() {
			if !alone.TryLock() {
				t.Error("two commits at the same time")
				return
			}
			time.Sleep(2 * time.Millisecond) // so that another one would be seen
			alone.Unlock()
		}
		env := f.env()
		env["SERIES_CONCURRENCY"] = "1"
		if response, _, log, err := run(t, env, payload); err != nil || response != `{"batchItemFailures":[]}` {
			t.Errorf("%s %v\n%s", response, err, log)
		}
	})
}

type result struct {
	aws      *fakeAWS
	response string
	metrics  map[string]any
	err      error
}

func TestInvokeRefusesOtherEvents(t *testing.T) {
	f := newFakeAWS(t)
	env := f.env()
	handler, err := newHandler(func(name string) string { return env[name] }, io.Discard, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ payload, want string }{
		{`{}`, "no SQS records"},
		{`{"Records":[]}`, "no SQS records"},
		{`{"clock":"tock"}`, "no SQS records"},
		{`{"Records":[{"Sns":{}}]}`, "messageId"},
		{`not JSON`, "no SQS batch"},
		{``, "no SQS batch"},
	} {
		response, err := handler.Invoke(t.Context(), []byte(c.payload))
		if err == nil || !strings.Contains(err.Error(), c.want) || response != nil {
			t.Errorf("%s: %q, %v, want an error with %q", c.payload, response, err, c.want)
		}
	}
	if got := f.operations(); len(got) != 0 {
		t.Errorf("calls %q", got)
	}
}

func TestNewHandlerRefuses(t *testing.T) {
	f := newFakeAWS(t)
	// More open bars than a state holds, of a lateness that is given by the environment.
	large := compiledRules(t, "rules:\n  - {alert: Bars, on: bar, from: trades, interval: 1s, expr: close > 1, cooldown: 1m}\n")
	compiled, err := os.ReadFile(f.rules)
	if err != nil {
		t.Fatal(err)
	}
	cutOff := filepath.Join(t.TempDir(), "cut")
	if err := os.WriteFile(cutOff, compiled[:len(compiled)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change map[string]string
		want   []string
	}{
		{"nothing set", map[string]string{"ENVIRONMENT": "", "AWS_REGION": "", "QUEUE_URL": "", "REJECTS_QUEUE_URL": "", "ALERTS_TABLE": "", "STATE_TABLE": "", "ALERT_TOPIC_ARN": ""},
			[]string{"settings: ", "ENVIRONMENT is not set", "AWS_REGION is not set", "QUEUE_URL is not set", "REJECTS_QUEUE_URL is not set", "ALERTS_TABLE is not set", "STATE_TABLE is not set", "ALERT_TOPIC_ARN is not set"}},
		{"bad value", map[string]string{"LATENESS": "x"}, []string{"LATENESS is bad"}},
		{"rules as people write them", map[string]string{"RULES_FILE": settings.RulesSource}, []string{"RULES_FILE: these are no compiled rules"}},
		{"half a rule set", map[string]string{"RULES_FILE": cutOff}, []string{"RULES_FILE: the compiled rules are damaged or cut off"}},
		{"rules that do not fit", map[string]string{"RULES_FILE": large, "LATENESS": "10h"}, []string{"RULES_FILE: ", "lower the lateness"}},
		{"no rules file", map[string]string{"RULES_FILE": f.rules + "-gone"}, []string{"RULES_FILE", "no such file"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := f.env()
			maps.Copy(env, c.change)
			handler, err := newHandler(func(name string) string { return env[name] }, io.Discard, slog.New(slog.DiscardHandler))
			if err == nil || handler != nil {
				t.Fatalf("handler %v, error %v", handler, err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in %q", want, err)
				}
			}
		})
	}
}

func TestLogger(t *testing.T) {
	for _, c := range []struct{ level, want string }{
		{"", "INFO WARN ERROR"}, {"DEBUG", "DEBUG INFO WARN ERROR"}, {"INFO", "INFO WARN ERROR"}, {"WARN", "WARN ERROR"}, {"ERROR", "ERROR"},
		{"TRACE", "INFO WARN ERROR"}, {"FATAL", "INFO WARN ERROR"},
	} {
		var w bytes.Buffer
		logger := newLogger(&w, func(name string) string {
			if name == "AWS_LAMBDA_LOG_LEVEL" {
				return c.level
			}
			return ""
		})
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			logger.Log(t.Context(), level, "what happened", slog.Group("first", slog.String("time", "t"), slog.String("msg", "m")))
		}
		var levels []string
		for line := range strings.Lines(w.String()) {
			var got struct {
				Timestamp, Level, Message string
				First                     map[string]string
			}
			d := json.NewDecoder(strings.NewReader(line))
			d.DisallowUnknownFields()
			if err := d.Decode(&got); err != nil || got.Message != "what happened" || got.First["time"] != "t" || got.First["msg"] != "m" {
				t.Errorf("line %s: %v", line, err)
			}
			if _, err := time.Parse(time.RFC3339Nano, got.Timestamp); err != nil {
				t.Error(err)
			}
			levels = append(levels, got.Level)
		}
		if got := strings.Join(levels, " "); got != c.want {
			t.Errorf("level %q: logged %s, want %s", c.level, got, c.want)
		}
	}
}

// function runs this test binary as the function with the given environment.
func function(t *testing.T, env map[string]string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd = exec.CommandContext(ctx, os.Args[0])
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.Env = []string{asFunction + "=1", "GOCOVERDIR=" + t.TempDir()}
	for name, v := range env {
		cmd.Env = append(cmd.Env, name+"="+v)
	}
	return cmd, stdout, stderr
}

// A function that cannot start says why, on one line of JSON, and exits.
func TestMainCannotStart(t *testing.T) {
	cmd, _, stderr := function(t, nil)
	if err := cmd.Run(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("exit code %d: %v", cmd.ProcessState.ExitCode(), err)
	}
	var line map[string]string
	if err := json.Unmarshal(stderr.Bytes(), &line); err != nil || line["level"] != "ERROR" || !strings.Contains(line["error"], "QUEUE_URL is not set") {
		t.Errorf("%v: %s", err, stderr)
	}
}

// The function takes an invocation from Lambda's Runtime API and gives its response; metrics go to standard output.
func TestMainAnswersLambda(t *testing.T) {
	f := newFakeAWS(t)
	payload := event(t, record("m1", "AAPL|", 1, trade("AAPL", "")))
	answered := make(chan string, 1)
	over, served := make(chan struct{}), false
	runtime := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/invocation/next") && served:
			<-over
		case strings.HasSuffix(r.URL.Path, "/invocation/next"):
			served = true
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", "request-1")
			w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
			w.Write(payload)
		default:
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.WriteHeader(http.StatusAccepted)
			answered <- strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/invocation/") + " " + string(b)
		}
	}))
	defer runtime.Close()
	defer close(over)
	env := f.env()
	env["AWS_LAMBDA_RUNTIME_API"] = strings.TrimPrefix(runtime.URL, "http://")
	cmd, stdout, stderr := function(t, env)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case got := <-answered:
		if got != `request-1/response {"batchItemFailures":[]}` {
			t.Errorf("answered %s", got)
		}
		cmd.Process.Kill()
		<-ended
	case err := <-ended:
		t.Errorf("the function ended: %v", err)
	}
	if !strings.Contains(stdout.String(), `"AlertsPublished":1`) || stderr.Len() > 0 {
		t.Errorf("standard output %s\nstandard error %s", stdout, stderr)
	}
}

// The deployed binary has neither the SDK's shared configuration, which costs a quarter of the start, nor the parsers of rules
// files, which cost as much, nor what is for tests.
func TestNotLinked(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags=lambda.norpc,compiledrules", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, "github.com/aws/aws-sdk-go-v2/service/sns") {
		t.Fatalf("no dependencies found: %d", len(deps))
	}
	for _, d := range deps {
		for _, not := range []string{"aws-sdk-go-v2/config", "processor/simulate", "functions/producer", "jsii-runtime-go", "aws-cdk-go", "aws-lambda-go/events", "httptest", "goccy/go-yaml", "expr-lang/expr", "text/template"} {
			if strings.Contains(d, not) {
				t.Errorf("%s is linked", d)
			}
		}
	}
}
