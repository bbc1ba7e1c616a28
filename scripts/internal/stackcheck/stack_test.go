package stackcheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

// fakeAWS answers by operation: the last part of X-Amz-Target, the query's Action, or method and path.
type fakeAWS struct {
	mu      sync.Mutex
	answers map[string]func(in string) (int, string)
	calls   []string
	signed  []string // services
}

func (f *fakeAWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	name := r.Method + " " + r.URL.RequestURI()
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		_, name, _ = strings.Cut(target, ".")
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	} else if form, err := url.ParseQuery(string(b)); err == nil && form.Get("Action") != "" {
		name = form.Get("Action")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, name)
	if _, rest, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		if parts := strings.Split(rest, "/"); len(parts) > 3 {
			f.signed = append(f.signed, parts[2]+"/"+parts[3])
		}
	}
	answer, known := f.answers[name]
	if !known {
		http.Error(w, `{"__type":"UnknownOperation","message":"`+name+`"}`, http.StatusBadRequest)
		return
	}
	code, body := answer(string(b))
	w.WriteHeader(code)
	fmt.Fprint(w, body)
}

func (f *fakeAWS) start(t *testing.T) aws.Config {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return aws.Config{Region: "eu-central-1", BaseEndpoint: &server.URL, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", ""),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }}
}

func says(body string) func(string) (int, string) {
	return func(string) (int, string) { return http.StatusOK, body }
}

var testOutputs = map[string]string{
	"SqsQueueUrl":        "https://sqs.eu-central-1.amazonaws.com/123456789012/market-data-t.fifo",
	"DeadLetterQueueUrl": "https://sqs.eu-central-1.amazonaws.com/123456789012/market-data-dlq-t.fifo",
	"RejectsQueueUrl":    "https://sqs.eu-central-1.amazonaws.com/123456789012/market-data-rejects-t",
	"DynamodbTableName":  "market-alerts-t", "StateTableName": "market-state-t",
	"SnsTopicArn":   "arn:aws:sns:eu-central-1:123456789012:trading-alerts-t",
	"AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:market-data-alarms-t", "LambdaFunctionName": "data-processor-t",
	"KeyArn": "arn:aws:kms:eu-central-1:123456789012:key/1234", "LogGroupName": "/aws/lambda/data-processor-t",
}

func describeStacks(status string, outputs map[string]string) string {
	var b strings.Builder
	b.WriteString(`<DescribeStacksResponse><DescribeStacksResult><Stacks><member>` +
		`<StackId>arn:aws:cloudformation:eu-central-1:123456789012:stack/market-data-t/1</StackId><StackStatus>` + status + `</StackStatus><Outputs>`)
	for k, v := range outputs {
		b.WriteString("<member><OutputKey>" + k + "</OutputKey><OutputValue>" + v + "</OutputValue></member>")
	}
	b.WriteString(`</Outputs></member></Stacks></DescribeStacksResult></DescribeStacksResponse>`)
	return b.String()
}

const describeResources = `<R><DescribeStackResourcesResult><StackResources>
	<member><LogicalResourceId>Queue1</LogicalResourceId><PhysicalResourceId>url</PhysicalResourceId><ResourceType>AWS::SQS::Queue</ResourceType></member>
	<member><StackName>incomplete, as the emulator lists what it drops</StackName></member>
	</StackResources></DescribeStackResourcesResult></R>`

func TestOpen(t *testing.T) {
	f := &fakeAWS{answers: map[string]func(string) (int, string){
		"DescribeStacks": says(describeStacks("UPDATE_COMPLETE", testOutputs)), "DescribeStackResources": says(describeResources),
	}}
	s, err := Open(t.Context(), f.start(t), "market-data-t")
	if err != nil {
		t.Fatal(err)
	}
	if s.QueueURL != testOutputs["SqsQueueUrl"] || s.KeyARN != testOutputs["KeyArn"] || s.LogGroup != testOutputs["LogGroupName"] || !s.FIFO() ||
		s.Account != "123456789012" || s.QueueARN(s.RejectsURL) != "arn:aws:sqs:eu-central-1:123456789012:market-data-rejects-t" {
		t.Errorf("stack %+v", s)
	}
	if got := s.Physical["Queue1"]; got != (Resource{"AWS::SQS::Queue", "url"}) {
		t.Errorf("resource %+v", got)
	}
	if f.signed[0] != "eu-central-1/cloudformation" {
		t.Errorf("signed for %v", f.signed)
	}
}

func TestOpenRefuses(t *testing.T) {
	without := maps.Clone(testOutputs)
	delete(without, "RejectsQueueUrl")
	for name, test := range map[string]struct {
		answer func(string) (int, string)
		want   string
	}{
		"an unfinished stack": {says(describeStacks("UPDATE_IN_PROGRESS", testOutputs)), "UPDATE_IN_PROGRESS"},
		"another app's stack": {says(describeStacks("CREATE_COMPLETE", without)), "no output RejectsQueueUrl"},
		"no stack": {func(string) (int, string) {
			return http.StatusBadRequest, `<ErrorResponse><Error><Code>ValidationError</Code><Message>Stack with id market-data-t does not exist</Message></Error></ErrorResponse>`
		}, "does not exist"},
		"no XML": {says("{}"), "reading cloudformation's answer"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &fakeAWS{answers: map[string]func(string) (int, string){"DescribeStacks": test.answer}}
			if _, err := Open(t.Context(), f.start(t), "market-data-t"); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

func TestErrorsOfEveryProtocol(t *testing.T) {
	refuse := func(body string) func(string) (int, string) {
		return func(string) (int, string) { return http.StatusBadRequest, body }
	}
	f := &fakeAWS{answers: map[string]func(string) (int, string){
		"Q":        refuse(`<E><Error><Code>NoSuchEntity</Code><Message>m</Message></Error></E>`),
		"J":        refuse(`{"__type":"com.amazonaws.kms#NotFoundException","message":"m"}`),
		"GET /r":   func(string) (int, string) { return http.StatusNotFound, `{"Type":"User","Message":"m"}` },
		"GET /bad": refuse(`<html>`),
	}}
	api := NewAPI(f.start(t))
	for _, test := range []struct {
		err     error
		code    string
		missing bool
	}{
		{api.Query(t.Context(), "iam", iamVersion, "Q", nil, &struct{}{}), "NoSuchEntity", false},
		{api.JSON(t.Context(), "kms", "TrentService.J", nil, &struct{}{}), "NotFoundException", true},
		{api.REST(t.Context(), "lambda", "GET", "/r", nil, &struct{}{}), "User", true},
		{api.REST(t.Context(), "lambda", "GET", "/bad", nil, &struct{}{}), "", false},
	} {
		var e *Error
		if !errors.As(test.err, &e) || e.Code != test.code || missing(test.err) != test.missing {
			t.Errorf("error %v, want code %q, missing %t", test.err, test.code, test.missing)
		}
	}
	if missing(nil) || missing(errors.New("does not exist")) {
		t.Error("what is no answer of AWS counts as missing")
	}
	if want := []string{"us-east-1/iam", "eu-central-1/kms", "eu-central-1/lambda", "eu-central-1/lambda"}; !slices.Equal(f.signed, want) {
		t.Errorf("signed for %v, want %v", f.signed, want)
	}
}

func TestEndpoints(t *testing.T) {
	for _, test := range []struct{ region, service, base, signed string }{
		{"eu-west-1", "monitoring", "https://monitoring.eu-west-1.amazonaws.com", "eu-west-1"},
		{"eu-west-1", "iam", "https://iam.amazonaws.com", "us-east-1"},
		{"cn-north-1", "kms", "https://kms.cn-north-1.amazonaws.com.cn", "cn-north-1"},
	} {
		base, signed := NewAPI(aws.Config{Region: test.region}).endpoint(test.service)
		if base != test.base || signed != test.signed {
			t.Errorf("%s in %s: %s, %s", test.service, test.region, base, signed)
		}
	}
}

// goneAnswers are those of an account that has nothing of the stack.
func goneAnswers() map[string]func(string) (int, string) {
	return map[string]func(string) (int, string){
		"DescribeStacks": func(string) (int, string) {
			return http.StatusBadRequest, `<E><Error><Code>ValidationError</Code><Message>Stack market-data-t does not exist</Message></Error></E>`
		},
		"ListQueues": says(`{"QueueUrls":["https://q/1/market-data-other.fifo","https://q/1/market-data-t2"]}`),
		"ListTables": says(`{"TableNames":["market-alerts-t2"]}`),
		"ListTopics": says(`<R><ListTopicsResult><Topics><member><TopicArn>arn:aws:sns:r:1:trading-alerts-x-t2</TopicArn></member></Topics></ListTopicsResult></R>`),
		"GET /2015-03-31/functions/data-processor-t/configuration": func(string) (int, string) {
			return http.StatusNotFound, `{"Type":"User","Message":"Function not found"}`
		},
		"GET /2015-03-31/event-source-mappings/": says(`{"EventSourceMappings":[]}`),
		"DescribeLogGroups":                      says(`{"logGroups":[]}`),
		"DescribeAlarms":                         says(`<R><DescribeAlarmsResult/></R>`),
		"ListAliases":                            says(`{"Aliases":[{"AliasName":"alias/aws/sqs"}],"Truncated":false}`),
		"ListRules":                              says(`{"Rules":[{"Name":"market-data-clock-t2"}]}`),
		"ListDashboards":                         says(`<R><ListDashboardsResult/></R>`),
		"ListRoles":                              says(`<R><ListRolesResult><Roles><member><RoleName>cdk-deploy</RoleName></member></Roles></ListRolesResult></R>`),
	}
}

func TestGone(t *testing.T) {
	clean := &fakeAWS{answers: goneAnswers()}
	if err := Connect(clean.start(t), "market-data-t").Gone(t.Context()); err != nil {
		t.Errorf("nothing is left: %v", err)
	}
	for operation, test := range map[string]struct{ answer, want string }{
		"DescribeStacks": {describeStacks("DELETE_FAILED", nil), "stack market-data-t"},
		"ListQueues":     {`{"QueueUrls":["https://q/1/market-data-dlq-t.fifo"]}`, "queue https://q/1/market-data-dlq-t.fifo"},
		"ListTables":     {`{"TableNames":["market-state-t"]}`, "table market-state-t"},
		"ListTopics": {`<R><ListTopicsResult><Topics><member><TopicArn>arn:aws:sns:r:1:trading-alerts-t</TopicArn></member></Topics></ListTopicsResult></R>`,
			"topic arn:aws:sns:r:1:trading-alerts-t"},
		"GET /2015-03-31/functions/data-processor-t/configuration": {`{"FunctionName":"data-processor-t"}`, "function data-processor-t"},
		"GET /2015-03-31/event-source-mappings/":                   {`{"EventSourceMappings":[{"UUID":"u1","EventSourceArn":"arn:aws:sqs:r:1:market-data-t.fifo"}]}`, "mapping u1"},
		"DescribeLogGroups":                                        {`{"logGroups":[{"logGroupName":"/aws/lambda/data-processor-t"}]}`, "log group /aws/lambda/data-processor-t"},
		"DescribeAlarms":                                           {`<R><DescribeAlarmsResult><MetricAlarms><member><AlarmName>market-data-t-x</AlarmName></member></MetricAlarms></DescribeAlarmsResult></R>`, "alarm market-data-t-x"},
		"ListAliases":                                              {`{"Aliases":[{"AliasName":"alias/market-data-t","TargetKeyId":"k1"}]}`, "alias of key k1"},
		"ListRules":                                                {`{"Rules":[{"Name":"market-data-clock-t"}]}`, "rule market-data-clock-t"},
		"ListDashboards":                                           {`<R><ListDashboardsResult><DashboardEntries><member><DashboardName>market-data-t</DashboardName></member></DashboardEntries></ListDashboardsResult></R>`, "dashboard market-data-t"},
		"ListRoles":                                                {`<R><ListRolesResult><Roles><member><RoleName>market-data-t-Role-1</RoleName></member></Roles></ListRolesResult></R>`, "role market-data-t-Role-1"},
	} {
		t.Run(operation, func(t *testing.T) {
			f := &fakeAWS{answers: goneAnswers()}
			f.answers[operation] = says(test.answer)
			err := Connect(f.start(t), "market-data-t").Gone(t.Context())
			if err == nil || err.Error() != strings.TrimSpace(err.Error()) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want only %q", err, test.want)
			}
			delete(f.answers, operation)
			if err := Connect(f.start(t), "market-data-t").Gone(t.Context()); err == nil {
				t.Error("a call that failed was taken for an answer")
			}
		})
	}
}

func TestAliasesOfEveryPage(t *testing.T) {
	f := &fakeAWS{answers: map[string]func(string) (int, string){"ListAliases": func(in string) (int, string) {
		if strings.Contains(in, `"Marker":"m"`) {
			return http.StatusOK, `{"Aliases":[{"AliasName":"b","TargetKeyId":"2"}]}`
		}
		return http.StatusOK, `{"Aliases":[{"AliasName":"a","TargetKeyId":"1"}],"Truncated":true,"NextMarker":"m"}`
	}}}
	got, err := Connect(f.start(t), "s").aliases(t.Context())
	if err != nil || !maps.Equal(got, map[string]string{"a": "1", "b": "2"}) {
		t.Errorf("aliases %v, %v", got, err)
	}
}

// alarmAnswers are those of an account whose alarm topic delivers text once the alarm is set.
func alarmAnswers(text string, set func(state string)) map[string]func(string) (int, string) {
	envelope, _ := json.Marshal(map[string]string{"Type": "Notification", "Message": text})
	body, _ := json.Marshal(string(envelope))
	return map[string]func(string) (int, string){
		"CreateQueue": says(`{"QueueUrl":"https://q/1/check"}`),
		"Subscribe":   says(`<R><SubscribeResult><SubscriptionArn>arn:sub</SubscriptionArn></SubscribeResult></R>`),
		"SetAlarmState": func(in string) (int, string) {
			form, _ := url.ParseQuery(in)
			set(form.Get("AlarmName") + " " + form.Get("StateValue"))
			return http.StatusOK, "<SetAlarmStateResponse/>"
		},
		"ReceiveMessage": says(`{"Messages":[{"MessageId":"m","ReceiptHandle":"h","Body":` + string(body) + `}]}`),
		"DeleteMessage":  says(`{}`),
		"Unsubscribe":    says(`<R/>`),
		"DeleteQueue":    says(`{}`),
	}
}

func TestAlarmsRestoreWhatTheyTouch(t *testing.T) {
	var states []string
	f := &fakeAWS{answers: alarmAnswers(`{"AlarmName":"market-data-t-dead-letters","NewStateValue":"ALARM"}`, func(s string) { states = append(states, s) })}
	s := Connect(f.start(t), "market-data-t")
	s.AlarmTopicARN = testOutputs["AlarmTopicArn"]
	var out bytes.Buffer
	r := &Report{W: &out}
	s.Alarms(t.Context(), r, "run")
	if r.Err() != nil {
		t.Error(out.String())
	}
	if want := []string{"market-data-t-dead-letters ALARM", "market-data-t-dead-letters OK"}; !slices.Equal(states, want) {
		t.Errorf("states %v, want %v", states, want)
	}
	for _, call := range []string{"Unsubscribe", "DeleteQueue"} {
		if !slices.Contains(f.calls, call) {
			t.Errorf("%s was not called: %v", call, f.calls)
		}
	}
}

func TestAlarmsCleanUpAfterAnError(t *testing.T) {
	for _, broken := range []string{"Subscribe", "SetAlarmState", "ReceiveMessage"} {
		t.Run(broken, func(t *testing.T) {
			f := &fakeAWS{answers: alarmAnswers("", func(string) {})}
			delete(f.answers, broken)
			s := Connect(f.start(t), "market-data-t")
			r := &Report{W: io.Discard}
			s.Alarms(context.Background(), r, "run")
			if r.Failed != 1 || !slices.Contains(f.calls, "DeleteQueue") {
				t.Errorf("%d failed, calls %v", r.Failed, f.calls)
			}
		})
	}
}

func TestReport(t *testing.T) {
	var out bytes.Buffer
	r := &Report{W: &out}
	if !r.Step("one", func() (string, error) { return "fine", nil }) || r.Err() != nil {
		t.Error("a success counts as a failure")
	}
	if r.Step("two", func() (string, error) { return "", errors.Join(errors.New("first"), errors.New("second")) }) || r.Err() == nil {
		t.Error("a failure counts as a success")
	}
	for _, want := range []string{"ok      one: fine (", "FAILED  two (", "          first\n", "          second\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q lacks %q", out.String(), want)
		}
	}
}

func TestFacts(t *testing.T) {
	for _, emulated := range []bool{false, true} {
		f := &facts{emulated: emulated}
		equal(f, "a", 1, 1)
		onAWS(f, "b", "x", "y")
		detail, err := f.result()
		if (err == nil) != emulated {
			t.Errorf("emulated %t: %v", emulated, err)
		}
		if strings.Contains(detail, "1 that the emulator drops") != emulated {
			t.Errorf("emulated %t: %s", emulated, detail)
		}
	}
	f := &facts{}
	equal(f, "size", 1, 2)
	if _, err := f.result(); err == nil || err.Error() != "size is 1, want 2" {
		t.Errorf("error %v", err)
	}
}
