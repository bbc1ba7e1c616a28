package main

import (
	"os"
	"strings"
	"testing"

	"example.com/market-data-pipeline/scripts/internal/stackcheck"
)

const (
	queueARN = "arn:aws:sqs:us-east-1:123456789012:market-data-t.fifo"
	tableARN = "arn:aws:dynamodb:us-east-1:123456789012:table/market-alerts-t"
)

func TestJudge(t *testing.T) {
	policy := []statement{
		{"Queue", []string{"sqs:SendMessage", "sqs:ReceiveMessage"}, []string{queueARN}},
		{"Table", []string{"dynamodb:PutItem"}, []string{tableARN}},
	}
	calls := []call{{"sqs:SendMessage", queueARN}, {"dynamodb:PutItem", tableARN}}
	poller := exception{"sqs:ReceiveMessage", "the poller"}
	for _, test := range []struct {
		name       string
		policy     []statement
		calls      []call
		exceptions []exception
		want       []string // of the error, one for each line
	}{
		{"all match", policy, calls, []exception{poller}, nil},
		{"a call of another action", policy, append(calls, call{"dynamodb:DeleteItem", tableARN}), []exception{poller},
			[]string{"called dynamodb:DeleteItem on " + tableARN}},
		{"a call of another resource", policy, append(calls, call{"dynamodb:PutItem", tableARN + "2"}), []exception{poller},
			[]string{"called dynamodb:PutItem on " + tableARN + "2"}},
		{"action and resource of two statements", policy, append(calls, call{"dynamodb:PutItem", queueARN}), []exception{poller},
			[]string{"called dynamodb:PutItem on " + queueARN}},
		{"a permission that is not used", policy, calls[:1], []exception{poller}, []string{"allows dynamodb:PutItem on " + tableARN + " (statement Table)"}},
		{"a permission without its exception", policy, calls, nil, []string{"allows sqs:ReceiveMessage"}},
		{"an exception for what is used", policy, append(calls, call{"sqs:ReceiveMessage", queueARN}), []exception{poller}, []string{"exception for sqs:ReceiveMessage"}},
		{"an exception for what is not allowed", policy, calls, []exception{poller, {"kms:Decrypt", ""}}, []string{"exception for kms:Decrypt"}},
		{"no policy", nil, calls[:1], nil, []string{"called sqs:SendMessage"}},
		{"one resource of two is not used", []statement{{"Two", []string{"sqs:SendMessage"}, []string{queueARN, queueARN + "2"}}}, calls[:1], nil,
			[]string{"allows sqs:SendMessage on " + queueARN + "2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := judge(test.policy, test.calls, test.exceptions)
			var lines []string
			if err != nil {
				lines = strings.Split(err.Error(), "\n")
			}
			if len(lines) != len(test.want) {
				t.Fatalf("judge: %v, want %d problems", err, len(test.want))
			}
			for i, want := range test.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("problem %q, want %q", lines[i], want)
				}
			}
		})
	}
}

func TestMatches(t *testing.T) {
	for _, test := range []struct {
		pattern, text string
		want          bool
	}{
		{"*", "arn:aws:dynamodb:r:a:table/t/index/i", true},
		{"table/*", "table/t/index/i", true},
		{"table/t", "table/t2", false},
		{"table/?", "table/t", true},
		{"table/?", "table/tt", false},
		{"a[b]*", "a[b]c", true},
		{"a[b]*", "abc", false},
		{`a\*`, `a\b`, true},
	} {
		if got := matches(test.pattern, test.text); got != test.want {
			t.Errorf("matches(%q, %q) = %t", test.pattern, test.text, got)
		}
	}
}

func testStack() *stackcheck.Stack {
	return &stackcheck.Stack{Name: "market-data-t", Region: "us-east-1", Account: "123456789012", Physical: map[string]stackcheck.Resource{
		"Queue": {Type: "AWS::SQS::Queue", PhysicalID: "https://sqs.us-east-1.amazonaws.com/123456789012/market-data-t.fifo"},
		"Table": {Type: "AWS::DynamoDB::Table", PhysicalID: "market-alerts-t"},
		"Topic": {Type: "AWS::SNS::Topic", PhysicalID: "arn:aws:sns:us-east-1:123456789012:trading-alerts-t"},
		"Key":   {Type: "AWS::KMS::Key", PhysicalID: "1234"},
		"Logs":  {Type: "AWS::Logs::LogGroup", PhysicalID: "/aws/lambda/f"},
		"Alarm": {Type: "AWS::CloudWatch::Alarm", PhysicalID: "a"},
	}}
}

func template(statements, more string) []byte {
	return []byte(`{"Resources": {
		"Function": {"Type": "AWS::Lambda::Function", "Properties": {"Role": {"Fn::GetAtt": ["Role", "Arn"]}}},
		"Role": {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": {"Statement": ` + statements + `}}]` + more + `}},
		"Other": {"Type": "AWS::IAM::Role", "Properties": {"Policies": [{"PolicyDocument": {"Statement": [
			{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}}]}}
	}}`)
}

func TestRolePolicy(t *testing.T) {
	policy, err := rolePolicy(template(`[
		{"Sid": "One", "Effect": "Allow", "Action": ["sqs:SendMessage", "sqs:GetQueueUrl"], "Resource": {"Fn::GetAtt": ["Queue", "Arn"]}},
		{"Sid": "Many", "Effect": "Allow", "Action": "dynamodb:Query", "Resource": [
			{"Fn::GetAtt": ["Table", "Arn"]},
			{"Fn::Join": ["", [{"Fn::GetAtt": ["Table", "Arn"]}, "/index/by-day"]]},
			{"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, ":kms:", {"Ref": "AWS::Region"}, ":", {"Ref": "AWS::AccountId"}, ":*"]]},
			{"Ref": "Topic"}, {"Fn::GetAtt": ["Key", "Arn"]}, {"Fn::GetAtt": ["Logs", "Arn"]}, "*"]}
	]`, ""), testStack())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range policy {
		got = append(got, s.Sid+" "+strings.Join(s.Actions, ",")+" "+strings.Join(s.Resources, " "))
	}
	want := []string{
		"One sqs:SendMessage,sqs:GetQueueUrl " + queueARN,
		"Many dynamodb:Query " + tableARN + " " + tableARN + "/index/by-day arn:aws:kms:us-east-1:123456789012:* " +
			"arn:aws:sns:us-east-1:123456789012:trading-alerts-t arn:aws:kms:us-east-1:123456789012:key/1234 " +
			"arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/f:* *",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("policy\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRolePolicyRefusesWhatItCannotJudge(t *testing.T) {
	allow := func(more string) string {
		return `[{"Sid": "S", "Effect": "Allow", "Action": "a:B", "Resource": ` + more + `}]`
	}
	for _, test := range []struct{ name, statements, more, want string }{
		{"a condition", allow(`"*", "Condition": {"StringEquals": {"a": "b"}}`), "", `statement "S"`},
		{"a denial", `[{"Effect": "Deny", "Action": "a:B", "Resource": "*"}]`, "", "statement"},
		{"all but one action", `[{"Effect": "Allow", "NotAction": "a:B", "Resource": "*"}]`, "", "statement"},
		{"a managed policy", allow(`"*"`), `, "ManagedPolicyArns": ["arn:aws:iam::aws:policy/P"]`, "managed"},
		{"a resource that is not deployed", allow(`{"Fn::GetAtt": ["Nothing", "Arn"]}`), "", "Nothing"},
		{"a resource without known ARN", allow(`{"Fn::GetAtt": ["Alarm", "Arn"]}`), "", "AWS::CloudWatch::Alarm"},
		{"another function", allow(`{"Fn::Sub": "x"}`), "", "Fn::Sub"},
		{"no statement", `[]`, "", "no policy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := rolePolicy(template(test.statements, test.more), testStack())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
	for _, text := range []string{"no JSON", `{"Resources": {"F": {"Type": "AWS::Lambda::Function", "Properties": {"Role": "arn"}}}}`} {
		if _, err := rolePolicy([]byte(text), testStack()); err == nil {
			t.Errorf("%s: no error", text)
		}
	}
}

// The constructs package's golden template is what the app synthesizes: the exceptions must name permissions that it has.
func TestExceptionsAreOfTheRealPolicy(t *testing.T) {
	b, err := os.ReadFile("../../constructs/testdata/ordered.template.json")
	if err != nil {
		t.Skipf("no golden template: %v", err)
	}
	for _, e := range exceptions {
		if !strings.Contains(string(b), `"`+e.Action+`"`) {
			t.Errorf("%s is excepted, but in no policy", e.Action)
		}
		if e.Reason == "" {
			t.Errorf("%s is excepted without a reason", e.Action)
		}
	}
}
