package notify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/simulate"
)

// snsBytes is SNS's limit of one call, bodies and attributes together.
const snsBytes = 262_144

// bench is a topic and a record of the calls made to it.
type bench struct {
	t     *testing.T
	topic *simulate.SNS
	arn   string
	// fault answers a call instead of the topic where it returns an answer or an error. Several calls may be in it.
	fault func(in *sns.PublishBatchInput) (*sns.PublishBatchOutput, error)

	mu    sync.Mutex
	calls [][]types.PublishBatchRequestEntry
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, topic: simulate.NewSNS(func() time.Time { return time.Unix(0, 0) })}
	var err error
	if b.arn, err = b.topic.CreateTopic(simulate.TopicConfig{Name: "trading-alerts-test"}); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) subscribe(protocol string, filter map[string][]string, deliver func(simulate.Notification)) {
	if err := b.topic.Subscribe(b.arn, simulate.Subscription{Protocol: protocol, Filter: filter, Deliver: deliver}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) notifier(concurrency int) *notify.SNS {
	return &notify.SNS{API: b, TopicARN: b.arn, Concurrency: concurrency}
}

func (b *bench) PublishBatch(ctx context.Context, in *sns.PublishBatchInput, _ ...func(*sns.Options)) (*sns.PublishBatchOutput, error) {
	b.mu.Lock()
	b.calls = append(b.calls, slices.Clone(in.PublishBatchRequestEntries))
	b.mu.Unlock()
	if b.fault != nil {
		if out, err := b.fault(in); out != nil || err != nil {
			return out, err
		}
	}
	return b.topic.PublishBatch(ctx, in)
}

// sizes are the numbers of entries of the calls.
func (b *bench) sizes() string {
	out := []int{}
	for _, c := range b.calls {
		out = append(out, len(c))
	}
	return fmt.Sprint(out)
}

// published counts how often each alert was accepted.
func (b *bench) published() map[string]int {
	out := map[string]int{}
	for _, n := range b.topic.Published(b.arn) {
		a, err := alert.ParseAlert([]byte(texts(b.t, n.Message)["default"]))
		if err != nil {
			b.t.Fatal(err)
		}
		out[a.ID]++
	}
	return out
}

func texts(t *testing.T, message string) map[string]string {
	var out map[string]string
	if err := json.Unmarshal([]byte(message), &out); err != nil {
		t.Fatalf("the message is no JSON object of texts: %v: %s", err, message)
	}
	return out
}

// entryBytes is what SNS counts of an entry, by its documentation.
func entryBytes(e *types.PublishBatchRequestEntry) int {
	n := len(*e.Message)
	for name, a := range e.MessageAttributes {
		n += len(name) + len(*a.DataType) + len(*a.StringValue)
	}
	return n
}

func callBytes(entries []types.PublishBatchRequestEntry) int {
	n := 0
	for i := range entries {
		n += entryBytes(&entries[i])
	}
	return n
}

func TestSNSCallsByCount(t *testing.T) {
	for _, concurrency := range []int{0, 1, 8} {
		for _, n := range []int{0, 1, 9, 10, 11, 25, 100} {
			b := newBench(t)
			errs := b.notifier(concurrency).Publish(t.Context(), records(n))
			if got, want := len(b.calls), (n+9)/10; got != want || failures(errs) != failures(make([]error, n)) || len(b.published()) != n {
				t.Errorf("%d alerts, concurrency %d: %d calls, want %d; %d published, failed %s", n, concurrency, got, want, len(b.published()), failures(errs))
			}
		}
	}
}

// Whatever the sizes, every alert is published once, no call is too large, and none could have taken the next one's
// first alert.
func TestSNSCallsByBytes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		b := newBench(t)
		lengths := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(0, 86_000)), 0, 40).Draw(r, "lengths")
		in := records(len(lengths))
		for i, n := range lengths {
			in[i].Summary = strings.Repeat("x", n)
		}
		if errs := b.notifier(1).Publish(t.Context(), in); failures(errs) != failures(make([]error, len(in))) {
			r.Fatalf("failed %s: %v", failures(errs), errors.Join(errs...))
		}
		next := 0
		for i, c := range b.calls {
			if n := callBytes(c); n > snsBytes {
				r.Fatalf("call %d has %d bytes", i, n)
			}
			for k := range c {
				if !strings.Contains(*c[k].Message, in[next].ID) {
					r.Fatalf("call %d, entry %d is not alert %d", i, k, next)
				}
				next++
			}
			if i+1 < len(b.calls) && len(c) < 10 {
				// A subject counts with us though SNS does not say that it counts.
				first := b.calls[i+1][0]
				if callBytes(c)+entryBytes(&first)+100*(len(c)+1) < snsBytes {
					r.Fatalf("call %d has room for the alert after it", i)
				}
			}
		}
		if got := b.published(); len(got) != len(in) {
			r.Fatalf("%d alerts published, want %d", len(got), len(in))
		}
	})
}

// The largest alert that SNS takes is published; one of a character more is refused for good, without a call.
func TestSNSOversize(t *testing.T) {
	size := func(summary int) int { // 3 bytes for each character of the summary, and the subject
		b := newBench(t)
		in := records(1)
		in[0].Summary = strings.Repeat("x", summary)
		b.notifier(1).Publish(t.Context(), in)
		return entryBytes(&b.calls[0][0]) + len(*b.calls[0][0].Subject)
	}
	if size(101) != size(100)+3 {
		t.Fatalf("the summary is in the message %d times, not three", size(101)-size(100))
	}
	largest := 100 + (snsBytes-size(100))/3
	in := records(3)
	in[1] = in[0] // but for the summary
	in[0].Summary, in[1].Summary = strings.Repeat("x", largest), strings.Repeat("x", largest+1)
	b := newBench(t)
	errs := b.notifier(1).Publish(t.Context(), in)
	if got := failures(errs); got != "[1] of 3" || !permanent(errs[1]) {
		t.Errorf("failed %s, permanent %t: %v", got, permanent(errs[1]), errs[1])
	}
	if text := errs[1].Error(); !strings.Contains(text, "262144") || strings.Contains(text, "xxx") {
		t.Errorf("the error must name the limit and not the content: %.200s", text)
	}
	if got := b.sizes(); got != "[1 1]" {
		t.Errorf("calls of %s entries, want [1 1]: the oversize alert in none", got)
	}
}

func apiError(code string) error { return &smithy.GenericAPIError{Code: code, Message: "no"} }

// with returns a fault that answers every call with err which has an alert of the given indexes.
func with(err error, poisoned ...int) func(*sns.PublishBatchInput) (*sns.PublishBatchOutput, error) {
	return func(in *sns.PublishBatchInput) (*sns.PublishBatchOutput, error) {
		for _, e := range in.PublishBatchRequestEntries {
			for _, p := range poisoned {
				if strings.Contains(*e.Message, record(p).ID) {
					return nil, err
				}
			}
		}
		return nil, nil
	}
}

func TestSNSWholeCallFails(t *testing.T) {
	for _, c := range []struct {
		name      string
		err       error
		failed    string
		permanent bool
		calls     string
	}{
		{"throttled", &types.ThrottledException{}, "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"network", errors.New("connection reset"), "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"access denied", &types.AuthorizationErrorException{}, "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"key denied", &types.KMSAccessDeniedException{}, "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"key disabled", &types.KMSDisabledException{}, "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"key gone", &types.KMSNotFoundException{}, "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"topic gone", &types.NotFoundException{}, "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"topic misnamed", &types.InvalidParameterException{Message: aws.String("Invalid parameter: TopicArn")}, "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"bad credentials", apiError("InvalidClientTokenId"), "[0 1 2 3 4 5 6 7 8 9] of 12", false, "[10 2]"},
		{"parameter", &types.InvalidParameterException{Message: aws.String("Invalid parameter: Subject")}, "[3] of 12", true, "[10 1 1 1 1 1 1 1 1 1 1 2]"},
		{"parameter value", &types.InvalidParameterValueException{}, "[3] of 12", true, "[10 1 1 1 1 1 1 1 1 1 1 2]"},
		{"validation", &types.ValidationException{}, "[3] of 12", true, "[10 1 1 1 1 1 1 1 1 1 1 2]"},
		{"too long for the topic", &types.BatchRequestTooLongException{}, "[3] of 12", true, "[10 1 1 1 1 1 1 1 1 1 1 2]"},
		{"within an operation's error", &smithy.OperationError{ServiceID: "SNS", OperationName: "PublishBatch", Err: apiError("InvalidParameter")}, "[3] of 12", true, "[10 1 1 1 1 1 1 1 1 1 1 2]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.fault = with(c.err, 3)
			errs := b.notifier(1).Publish(t.Context(), records(12))
			if got := failures(errs); got != c.failed {
				t.Errorf("failed %s, want %s", got, c.failed)
			}
			if permanent(errs[3]) != c.permanent {
				t.Errorf("permanent %t, want %t: %v", permanent(errs[3]), c.permanent, errs[3])
			}
			if !c.permanent && !errors.Is(errs[3], c.err) {
				t.Errorf("the cause is lost: %v", errs[3])
			}
			if got := b.sizes(); got != c.calls {
				t.Errorf("calls of %s entries, want %s", got, c.calls)
			}
			for i, err := range errs {
				want := 1
				if err != nil {
					want = 0
				}
				if got := b.published()[record(i).ID]; got != want {
					t.Errorf("alert %d published %d times, want %d", i, got, want)
				}
			}
		})
	}
}

// A topic with a smaller limit than the default refuses a call that is too long; the alerts that fit go out.
func TestSNSSmallTopic(t *testing.T) {
	b := newBench(t)
	var err error
	if b.arn, err = b.topic.CreateTopic(simulate.TopicConfig{Name: "small", MaxMessageBytes: 2048}); err != nil {
		t.Fatal(err)
	}
	in := records(3)
	in[1].Summary = strings.Repeat("x", 1000)
	errs := b.notifier(1).Publish(t.Context(), in)
	if got := failures(errs); got != "[1] of 3" || !permanent(errs[1]) {
		t.Errorf("failed %s, permanent %t", got, permanent(errs[1]))
	}
	if got := len(b.published()); got != 2 {
		t.Errorf("%d published, want 2", got)
	}
}

// Each entry's answer reaches its alert; an entry that the answer does not name, or names by a strange id, is an error.
func TestSNSAnswerOfEachEntry(t *testing.T) {
	b := newBench(t)
	b.fault = func(in *sns.PublishBatchInput) (*sns.PublishBatchOutput, error) {
		out := &sns.PublishBatchOutput{
			Successful: []types.PublishBatchResultEntry{{Id: aws.String("99")}, {Id: aws.String("x")}, {}},
			Failed:     []types.BatchResultErrorEntry{{Id: aws.String("98"), Code: aws.String("InvalidParameter")}, {}},
		}
		for _, e := range slices.Backward(in.PublishBatchRequestEntries) { // SNS promises no order
			fail := func(code *string) {
				out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: code, Message: aws.String("secret")})
			}
			switch *e.Id {
			case "1":
				fail(aws.String("InternalError"))
			case "2":
				fail(aws.String("InvalidParameter"))
			case "3":
				fail(nil)
			case "4":
			case "11":
				fail(aws.String("KMSAccessDenied"))
			default:
				out.Successful = append(out.Successful, types.PublishBatchResultEntry{Id: e.Id})
			}
		}
		return out, nil
	}
	errs := b.notifier(1).Publish(t.Context(), records(12))
	if got := failures(errs); got != "[1 2 3 4 11] of 12" {
		t.Errorf("failed %s", got)
	}
	for i, want := range map[int]string{1: "InternalError", 2: "InvalidParameter", 4: "neither", 11: "KMSAccessDenied"} {
		if !strings.Contains(errs[i].Error(), want) || strings.Contains(errs[i].Error(), "secret") {
			t.Errorf("alert %d: %v, want one with %q and without SNS's text", i, errs[i], want)
		}
		if permanent(errs[i]) != (i == 2) {
			t.Errorf("alert %d: permanent %t", i, permanent(errs[i]))
		}
	}
	if got := b.sizes(); got != "[10 2]" {
		t.Errorf("calls of %s entries, want [10 2]", got)
	}
}

// Of one call SNS itself takes the good entries and refuses the bad one.
func TestSNSRefusesOneEntry(t *testing.T) {
	b := newBench(t)
	in := records(3)
	in[1].Rule = "" // no attribute may be empty
	errs := b.notifier(1).Publish(t.Context(), in)
	if got := failures(errs); got != "[1] of 3" || !permanent(errs[1]) || len(b.published()) != 2 {
		t.Errorf("failed %s, permanent %t, %d published", got, permanent(errs[1]), len(b.published()))
	}
	var p *notify.PermanentError
	if !errors.As(errs[1], &p) || p.Code != "ParameterValueInvalid" {
		t.Errorf("the code is lost: %v", errs[1])
	}
}

func TestSNSStopsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	b := newBench(t)
	errs := b.notifier(1).Publish(ctx, records(2))
	if got := failures(errs); got != "[0 1] of 2" || !errors.Is(errs[0], context.Canceled) || permanent(errs[0]) {
		t.Errorf("failed %s: %v", got, errs[0])
	}
}

// Eight calls are under way at a time, never more, and each result reaches its alert.
func TestSNSConcurrency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		underWay, gate := 0, make(chan struct{})
		b.fault = func(in *sns.PublishBatchInput) (*sns.PublishBatchOutput, error) {
			b.mu.Lock()
			underWay++
			b.mu.Unlock()
			<-gate
			b.mu.Lock()
			underWay--
			b.mu.Unlock()
			out := &sns.PublishBatchOutput{}
			for _, e := range in.PublishBatchRequestEntries {
				if n, err := strconv.Atoi(*e.Id); err != nil || n%7 == 0 {
					out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: e.Id, Code: e.Id})
				} else {
					out.Successful = append(out.Successful, types.PublishBatchResultEntry{Id: e.Id})
				}
			}
			return out, nil
		}
		var errs []error
		go func() { errs = b.notifier(8).Publish(t.Context(), records(195)) }()
		synctest.Wait()
		for left := 20; left > 0; left-- {
			b.mu.Lock()
			if want := min(left, 8); underWay != want {
				t.Errorf("%d calls under way, want %d", underWay, want)
			}
			b.mu.Unlock()
			gate <- struct{}{}
			synctest.Wait()
		}
		if len(errs) != 195 {
			t.Fatalf("%d results, want 195", len(errs))
		}
		for i, err := range errs {
			if (err != nil) != (i%7 == 0) || err != nil && !strings.HasSuffix(err.Error(), ": "+strconv.Itoa(i)) {
				t.Errorf("alert %d: %v", i, err)
			}
		}
	})
}

// The subject follows SNS's rule in its strictest documented form: ASCII without line breaks and control characters,
// shorter than 100 characters, beginning with a letter, a digit or a punctuation mark.
func TestSNSSubject(t *testing.T) {
	subject := func(t interface{ Fatalf(string, ...any) }, a alert.Record) string {
		var got string
		topic := &bench{fault: func(in *sns.PublishBatchInput) (*sns.PublishBatchOutput, error) {
			got = *in.PublishBatchRequestEntries[0].Subject
			return &sns.PublishBatchOutput{}, nil
		}}
		(&notify.SNS{API: topic}).Publish(context.Background(), []alert.Record{a})
		if got == "" || len(got) >= 100 || got[0] <= ' ' || strings.ContainsFunc(got, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsControl(r) }) {
			t.Fatalf("subject %q", got)
		}
		return got
	}
	for _, c := range []struct {
		name, symbol, rule, want string
	}{
		{"plain", "AAPL", "LargeMove", "[CRITICAL] AAPL LargeMove"},
		{"unicode", "BTC/USD", "Große 数", "[CRITICAL] BTC/USD Gro?e ?"},
		{"control and newline", "A", "a\r\nb\x00\x7f\u0085\u2028", "[CRITICAL] A a??b????"},
		{"not UTF-8", "A", "\xff\xfe", "[CRITICAL] A ??"},
		{"200 characters", "AAPL", strings.Repeat("y", 200), "[CRITICAL] AAPL " + strings.Repeat("y", 99-16)},
		{"200 wide characters", "AAPL", strings.Repeat("数", 200), "[CRITICAL] AAPL " + strings.Repeat("?", 99-16)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := record(0)
			r.Symbol, r.Rule = c.symbol, c.rule
			if got := subject(t, r); got != c.want {
				t.Errorf("subject %q, want %q", got, c.want)
			}
		})
	}
	any := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		r := record(0)
		r.Symbol, r.Rule = any.Draw(t, "symbol"), any.Draw(t, "rule")
		r.Severity = rapid.SampledFrom([]alert.Severity{alert.Info, alert.Warning, alert.Critical}).Draw(t, "severity")
		if got := subject(t, r); !strings.HasPrefix(got, "["+strings.ToUpper(string(r.Severity))+"] ") {
			t.Fatalf("subject %q does not begin with the severity", got)
		}
	})
}

const wantEmail = `moved 3 % "today"

rule       Große Zahl
severity   critical
symbol     AAPL
source     alpaca
time       2026-11-20T14:30:00Z
price      101.25
why        price = 101.25
why        size * 2 = -1e-200
label      desk = equities
label      team = <a&b>
venue      Q
event      e1
alert      20261120T143000.000000000Z-0123456789abcdef
`

const wantShortEmail = `up

rule       r
severity   info
symbol     A
time       1970-01-01T00:00:00.000000001Z
alert      1
`

func TestSNSTextOfEachProtocol(t *testing.T) {
	b := newBench(t)
	got := map[string][]string{}
	for _, protocol := range []string{"email", "sms", "lambda"} {
		b.subscribe(protocol, nil, func(n simulate.Notification) { got[protocol] = append(got[protocol], n.Message) })
	}
	in := records(1)
	in = append(in, alert.Record{Alert: alert.Alert{ID: "1", Symbol: "A", Rule: "r", Severity: alert.Info, Summary: "up", Time: 1}})
	if errs := b.notifier(1).Publish(t.Context(), in); failures(errs) != "[] of 2" {
		t.Fatal(errs)
	}
	for protocol, want := range map[string][]string{
		"email":  {wantEmail, wantShortEmail},
		"sms":    {in[0].Summary, "up"},
		"lambda": {string(in[0].AppendJSON(nil, in[0].Times, "")), string(in[1].AppendJSON(nil, alert.Times{}, ""))},
	} {
		if !slices.Equal(got[protocol], want) {
			t.Errorf("%s:\n got %q\nwant %q", protocol, got[protocol], want)
		}
	}
	if e := b.calls[0][0]; *e.MessageStructure != "json" || !utf8.ValidString(*e.Message) {
		t.Errorf("structure %q", *e.MessageStructure)
	}
}

// Filter policies see symbol, severity and rule, and nothing else is an attribute.
func TestSNSFilterPolicies(t *testing.T) {
	b := newBench(t)
	queues := simulate.NewSQS(func() time.Time { return time.Unix(0, 0) })
	in := records(4)
	in[1].Symbol = "BTC/USD"
	in[2].Severity = alert.Info
	in[3].Symbol, in[3].Rule = "BTC/USD", "Other"
	filters := []struct {
		name   string
		filter map[string][]string
		want   []int
	}{
		{"all", nil, []int{0, 1, 2, 3}},
		{"symbol", map[string][]string{"symbol": {"BTC/USD"}}, []int{1, 3}},
		{"severity", map[string][]string{"severity": {"info", "warning"}}, []int{2}},
		{"rule", map[string][]string{"rule": {"Große Zahl"}}, []int{0, 1, 2}},
		{"two", map[string][]string{"symbol": {"BTC/USD"}, "rule": {"Other"}}, []int{3}},
		{"source", map[string][]string{"source": {"alpaca"}}, nil},
	}
	urls := make([]string, len(filters))
	for i, f := range filters {
		url, err := queues.CreateQueue(simulate.QueueConfig{Name: f.name})
		if err == nil {
			err = b.topic.SubscribeQueue(b.arn, queues, url, true, f.filter)
		}
		if err != nil {
			t.Fatal(err)
		}
		urls[i] = url
	}
	if errs := b.notifier(1).Publish(t.Context(), in); failures(errs) != "[] of 4" {
		t.Fatal(errs)
	}
	for i, f := range filters {
		var got []int
		for _, m := range queues.Messages(urls[i]) {
			a, err := alert.ParseAlert([]byte(*m.Body))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, slices.IndexFunc(in, func(r alert.Record) bool { return r.ID == a.ID }))
			if len(m.MessageAttributes) != 3 || *m.MessageAttributes["symbol"].StringValue != a.Symbol ||
				*m.MessageAttributes["severity"].StringValue != string(a.Severity) || *m.MessageAttributes["rule"].StringValue != a.Rule {
				t.Errorf("attributes %v of alert %s", m.MessageAttributes, a.ID)
			}
		}
		if !slices.Equal(got, f.want) {
			t.Errorf("filter %s: alerts %v, want %v", f.name, got, f.want)
		}
	}
}
