package stackcheck

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// deployedAnswers are AWS's answers about a stack as app.go deploys it.
func deployedAnswers() map[string]func(string) (int, string) {
	const key = "arn:aws:kms:eu-central-1:123456789012:key/1234"
	queue := func(name, more string) string {
		return `{"Attributes":{"QueueArn":"arn:aws:sqs:eu-central-1:123456789012:` + name + `","MessageRetentionPeriod":"1209600",` + more +
			`"KmsMasterKeyId":"` + key + `","Policy":"{\"Statement\":[{\"Effect\":\"Deny\",\"Condition\":{\"Bool\":{\"aws:SecureTransport\":\"false\"}}}]}"}}`
	}
	const fifo = `"FifoQueue":"true","ContentBasedDeduplication":"false","DeduplicationScope":"messageGroup","FifoThroughputLimit":"perMessageGroupId",`
	byName := func(answers map[string]string) func(string) (int, string) {
		return func(in string) (int, string) {
			for name, answer := range answers {
				if strings.Contains(in, name) {
					return 200, answer
				}
			}
			return 400, `{"__type":"ResourceNotFoundException"}`
		}
	}
	table := func(keys, indexes string) string {
		return `{"Table":{"TableStatus":"ACTIVE","KeySchema":[` + keys + `],"BillingModeSummary":{"BillingMode":"PAY_PER_REQUEST"},
			"DeletionProtectionEnabled":false,"SSEDescription":{"Status":"ENABLED","SSEType":"KMS","KMSMasterKeyArn":"` + key + `"}` + indexes + `}}`
	}
	hash := func(name string) string { return `{"AttributeName":"` + name + `","KeyType":"HASH"}` }
	both := func(h, r string) string { return hash(h) + `,{"AttributeName":"` + r + `","KeyType":"RANGE"}` }
	index := func(name, keys, projection string, more ...string) string {
		copied, _ := json.Marshal(more)
		return `{"IndexName":"` + name + `","KeySchema":[` + keys + `],"Projection":{"ProjectionType":"` + projection + `","NonKeyAttributes":` + string(copied) + `}}`
	}
	topic := func(more string) string {
		return `<R><GetTopicAttributesResult><Attributes><entry><key>KmsMasterKeyId</key><value>` + key + `</value></entry>
			<entry><key>Policy</key><value>{"Deny":{"aws:SecureTransport":"false"},` + more + `}</value></entry></Attributes></GetTopicAttributesResult></R>`
	}
	var alarms strings.Builder
	for i := range alarmCount {
		fmt.Fprintf(&alarms, "<member><AlarmName>market-data-t-%d</AlarmName><AlarmActions><member>%s</member></AlarmActions></member>", i, testOutputs["AlarmTopicArn"])
	}
	return map[string]func(string) (int, string){
		"GetQueueAttributes": byName(map[string]string{
			"/market-data-t.fifo": queue("market-data-t.fifo", fifo+`"VisibilityTimeout":"360",
				"RedrivePolicy":"{\"deadLetterTargetArn\":\"arn:aws:sqs:eu-central-1:123456789012:market-data-dlq-t.fifo\",\"maxReceiveCount\":10}",`),
			"/market-data-dlq-t.fifo": queue("market-data-dlq-t.fifo", fifo+`
				"RedriveAllowPolicy":"{\"redrivePermission\":\"byQueue\",\"sourceQueueArns\":[\"arn:aws:sqs:eu-central-1:123456789012:market-data-t.fifo\"]}",`),
			"/market-data-rejects-t": queue("market-data-rejects-t", ""),
		}),
		"DescribeTable": byName(map[string]string{
			"market-alerts-t": table(both("symbol", "alert_id"), `,"GlobalSecondaryIndexes":[`+
				index("by-day", both("day_shard", "alert_id"), "INCLUDE", "source", "rule", "severity", "summary", "price", "value", "timestamp")+`,`+index("pending", both("pending_shard", "lease_until"), "KEYS_ONLY")+`]`),
			"market-state-t": table(hash("series"), `,"GlobalSecondaryIndexes":[`+index("due", both("due_shard", "due"), "INCLUDE", "due_event", "group")+`]`),
		}),
		"DescribeTimeToLive":        says(`{"TimeToLiveDescription":{"TimeToLiveStatus":"ENABLED","AttributeName":"expires_at"}}`),
		"DescribeContinuousBackups": says(`{"ContinuousBackupsDescription":{"ContinuousBackupsStatus":"ENABLED","PointInTimeRecoveryDescription":{"PointInTimeRecoveryStatus":"ENABLED"}}}`),
		"GetTopicAttributes":        says(topic(`"Allow":{"Service":"cloudwatch.amazonaws.com"}`)),
		"GetKeyRotationStatus":      says(`{"KeyRotationEnabled":true}`),
		"ListAliases":               says(`{"Aliases":[{"AliasName":"alias/market-data-t","TargetKeyId":"1234"}]}`),
		"GET /2015-03-31/functions/data-processor-t/configuration": says(`{"FunctionArn":"f","Runtime":"provided.al2023","Handler":"bootstrap",
			"MemorySize":256,"Timeout":60,"KMSKeyArn":"` + key + `","Architectures":["arm64"],"TracingConfig":{"Mode":"Active"},
			"LoggingConfig":{"LogFormat":"JSON","LogGroup":"/aws/lambda/data-processor-t"},"Environment":{"Variables":{
			"ENVIRONMENT":"t","QUEUE_URL":"` + testOutputs["SqsQueueUrl"] + `","REJECTS_QUEUE_URL":"` + testOutputs["RejectsQueueUrl"] + `",
			"ALERTS_TABLE":"market-alerts-t","STATE_TABLE":"market-state-t","ALERT_TOPIC_ARN":"` + testOutputs["SnsTopicArn"] + `","DELIVERY":"ordered","CLOCK":"on"}}}`),
		"GET /2015-03-31/event-source-mappings/?FunctionName=data-processor-t": says(`{"EventSourceMappings":[{"UUID":"u","State":"Enabled","BatchSize":10,
			"EventSourceArn":"arn:aws:sqs:eu-central-1:123456789012:market-data-t.fifo","FunctionResponseTypes":["ReportBatchItemFailures"],
			"ScalingConfig":{"MaximumConcurrency":4},"MetricsConfig":{"Metrics":["EventCount"]},"MaximumBatchingWindowInSeconds":0}]}`),
		"GET /2019-09-30/functions/data-processor-t/concurrency": says(`{"ReservedConcurrentExecutions":5}`),
		"DescribeRule": says(`{"Arn":"arn:aws:events:eu-central-1:123456789012:rule/market-data-clock-t","State":"ENABLED","ScheduleExpression":"rate(1 minute)"}`),
		"ListTargetsByRule": says(`{"Targets":[{"Id":"processor","Arn":"f","Input":"{\"clock\":\"tick\"}",
			"RetryPolicy":{"MaximumEventAgeInSeconds":60,"MaximumRetryAttempts":0}}]}`),
		"GET /2015-03-31/functions/data-processor-t/policy":              says(`{"Policy":"{\"Statement\":[{\"Principal\":{\"Service\":\"events.amazonaws.com\"},\"Condition\":{\"ArnLike\":{\"AWS:SourceArn\":\"arn:aws:events:eu-central-1:123456789012:rule/market-data-clock-t\"}}}]}"}`),
		"GET /2019-09-25/functions/data-processor-t/event-invoke-config": says(`{"MaximumEventAgeInSeconds":60,"MaximumRetryAttempts":0}`),
		"DescribeLogGroups": says(`{"logGroups":[{"logGroupName":"/aws/lambda/data-processor-t","retentionInDays":30,"kmsKeyId":"` + key + `"}]}`),
		"DescribeAlarms":    says(`<R><DescribeAlarmsResult><MetricAlarms>` + alarms.String() + `</MetricAlarms></DescribeAlarmsResult></R>`),
		"DescribeStacks":    says(describeStacks("CREATE_COMPLETE", testOutputs)), "DescribeStackResources": says(describeResources),
	}
}

// look opens the stack that answers describe and returns the report of its resources.
func look(t *testing.T, answers map[string]func(string) (int, string), emulated bool) (string, error) {
	t.Helper()
	s, err := Open(t.Context(), (&fakeAWS{answers: answers}).start(t), "market-data-t")
	if err != nil {
		t.Fatal(err)
	}
	s.Emulated = emulated
	var out bytes.Buffer
	r := &Report{W: &out}
	s.Resources(t.Context(), r)
	return out.String(), r.Err()
}

func TestResourcesAsDeployed(t *testing.T) {
	out, err := look(t, deployedAnswers(), false)
	if err != nil || strings.Contains(out, "emulator") {
		t.Error(out)
	}
	off := deployedAnswers()
	off["GET /2019-09-30/functions/data-processor-t/concurrency"] = says(`{}`)
	if out, err := look(t, off, false); err != nil {
		t.Errorf("with nothing reserved: %s", out)
	}
}

// Each change of one answer must be noticed, and only by the checks of AWS itself where the emulator drops the property.
func TestResourcesNoticeEveryChange(t *testing.T) {
	const function = "GET /2015-03-31/functions/data-processor-t/configuration"
	const mapping = "GET /2015-03-31/event-source-mappings/?FunctionName=data-processor-t"
	for _, test := range []struct {
		operation, from, to, want string
		dropped                   bool // by the emulator
	}{
		{"GetQueueAttributes", `"1209600"`, `"345600"`, "retention is 345600", false},
		{"GetQueueAttributes", "key/1234", "key/5678", "key is", false},
		{"GetQueueAttributes", "aws:SecureTransport", "aws:SourceIp", "without TLS", true},
		{"GetQueueAttributes", "perMessageGroupId", "perQueue", "FifoThroughputLimit is perQueue", false},
		{"GetQueueAttributes", `"ContentBasedDeduplication":"false"`, `"ContentBasedDeduplication":"true"`, "ContentBasedDeduplication is true", false},
		{"GetQueueAttributes", `maxReceiveCount\":10`, `maxReceiveCount\":3`, "maxReceiveCount is 3", false},
		{"GetQueueAttributes", `"VisibilityTimeout":"360"`, `"VisibilityTimeout":"359"`, "is 359 s", false},
		{"GetQueueAttributes", "RedriveAllowPolicy", "Nothing", "takes dead letters of the queue only", true},
		{"GetQueueAttributes", `deadLetterTargetArn`, `x`, "dead letters go to", false},
		{"DescribeTable", "PAY_PER_REQUEST", "PROVISIONED", "billing", false},
		{"DescribeTable", `"DeletionProtectionEnabled":false`, `"DeletionProtectionEnabled":true`, "deletion protection", false},
		{"DescribeTable", "KEYS_ONLY", "ALL", "indexes are", false},
		{"DescribeTable", `"alert_id","KeyType":"RANGE"`, `"time","KeyType":"RANGE"`, "key is symbol,time", false},
		{"DescribeTable", "key/1234", "key/aws", "key that encrypts", true},
		{"DescribeTable", `"ACTIVE"`, `"UPDATING"`, "status is UPDATING", false},
		{"DescribeTimeToLive", "expires_at", "ttl", "time to live is ttl", true},
		{"DescribeContinuousBackups", `{"PointInTimeRecoveryStatus":"ENABLED"}`, `{"PointInTimeRecoveryStatus":"DISABLED"}`, "point-in-time", true},
		{"GetTopicAttributes", "key/1234", "alias/aws/sns", "topic: key is", false},
		{"GetTopicAttributes", "aws:SecureTransport", "aws:SourceIp", "without TLS", true},
		{"GetTopicAttributes", "cloudwatch.amazonaws.com", "events.amazonaws.com", "admits CloudWatch", true},
		{"GetKeyRotationStatus", "true", "false", "rotation is false", false},
		{"ListAliases", "1234", "5678", "alias/market-data-t is 5678", false},
		{function, "provided.al2023", "provided.al2", "runtime", false},
		{function, `"MemorySize":256`, `"MemorySize":128`, "memory is 128", false},
		{function, `"Timeout":60`, `"Timeout":30`, "timeout is 30", false},
		{function, "arm64", "x86_64", "architecture", true},
		{function, "Active", "PassThrough", "tracing", true},
		{function, `"KMSKeyArn":"arn`, `"K":"arn`, "key of the environment", true},
		{function, `"LogFormat":"JSON"`, `"LogFormat":"Text"`, "log format", true},
		{function, `"LogGroup":"/aws`, `"LogGroup":"/other`, "log group", true},
		{function, `"QUEUE_URL":"https`, `"QUEUE_URL":"http`, "QUEUE_URL", false},
		{function, `"STATE_TABLE"`, `"OTHER"`, "STATE_TABLE is not set", false},
		{function, "ordered", "unordered", "DELIVERY", false},
		{mapping, `"Enabled"`, `"Disabled"`, "state is Disabled", false},
		{mapping, `"BatchSize":10`, `"BatchSize":1`, "batch size is 1", false},
		{mapping, "ReportBatchItemFailures", "", "partial batch responses", false},
		{mapping, `"MaximumConcurrency":4`, `"MaximumConcurrency":5`, "reserved concurrency of 5", false},
		{mapping, `{"UUID":"u",`, `{"UUID":"v"},{"UUID":"u",`, "has 2 event source mappings", false},
		{function, `"CLOCK":"on"`, `"CLOCK":"off"`, "CLOCK is off", false},
		{"DescribeTable", `"due_event",`, ``, "market-state-t: indexes are", false},
		{"DescribeRule", "ENABLED", "DISABLED", "state is DISABLED", false},
		{"DescribeRule", "rate(1 minute)", "rate(5 minutes)", "schedule is rate(5 minutes)", false},
		{"DescribeRule", "rule/market-data-clock-t", "rule/other", "permission to invoke", false},
		{"ListTargetsByRule", `"Arn":"f"`, `"Arn":"g"`, "target is g", false},
		{"ListTargetsByRule", `tick`, `tock`, "input is", false},
		{"ListTargetsByRule", `"MaximumRetryAttempts":0`, `"MaximumRetryAttempts":185`, "retries of a delivery", false},
		{"ListTargetsByRule", `{"Id"`, `{"Id":"other"},{"Id"`, "has 2 targets", false},
		{"GET /2015-03-31/functions/data-processor-t/policy", "events.amazonaws", "s3.amazonaws", "is not given to", false},
		{"GET /2019-09-25/functions/data-processor-t/event-invoke-config", `"MaximumRetryAttempts":0`, `"MaximumRetryAttempts":2`, "retries of a tick", true},
		{"DescribeLogGroups", `"retentionInDays":30,`, "", "unlimited", false},
		{"DescribeLogGroups", "key/1234", "", "log group: key", true},
		{"DescribeLogGroups", `"logGroupName":"/aws`, `"logGroupName":"/a`, "is missing", false},
		{"DescribeAlarms", "<member>arn:", "<member>x:", "does not notify", false},
		{"DescribeAlarms", "MetricAlarms>", "CompositeAlarms>", "alarms are 0", false},
	} {
		t.Run(test.want, func(t *testing.T) {
			for _, emulated := range []bool{false, true} {
				answers := maps.Clone(deployedAnswers())
				answer, changed := answers[test.operation], false
				answers[test.operation] = func(in string) (int, string) {
					code, body := answer(in)
					after := strings.ReplaceAll(body, test.from, test.to)
					changed = changed || after != body
					return code, after
				}
				out, err := look(t, answers, emulated)
				if !changed && !(emulated && test.dropped) { // what the emulator drops need not be asked for
					t.Fatalf("no answer of %s has %s", test.operation, test.from)
				}
				if emulated && test.dropped {
					if err != nil {
						t.Errorf("of an emulator it is asked, too: %s", out)
					}
				} else if err == nil || !strings.Contains(out, test.want) {
					t.Errorf("%s, want %q", out, test.want)
				}
			}
		})
	}
}

func TestResourcesReportCallsThatFail(t *testing.T) {
	for operation := range deployedAnswers() {
		if strings.HasPrefix(operation, "DescribeStack") {
			continue
		}
		answers := deployedAnswers()
		delete(answers, operation)
		if out, err := look(t, answers, false); err == nil {
			t.Errorf("%s failed, but nothing else did:\n%s", operation, out)
		}
	}
}

func TestQueueARNByPartition(t *testing.T) {
	for region, want := range map[string]string{
		"eu-west-1": "arn:aws:sqs:eu-west-1:1:q", "cn-north-1": "arn:aws-cn:sqs:cn-north-1:1:q", "us-gov-west-1": "arn:aws-us-gov:sqs:us-gov-west-1:1:q",
	} {
		s := Connect(aws.Config{Region: region}, "s")
		s.Account = "1"
		if got := s.QueueARN("https://host/1/q"); got != want {
			t.Errorf("%s: %s, want %s", region, got, want)
		}
	}
}
