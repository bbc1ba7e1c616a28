package constructs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/assertions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssnssubscriptions"
	cdk "github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// matches runs an assertion of the CDK, which panics where it fails.
func matches(t *testing.T, assert func()) {
	t.Helper()
	defer func() {
		if r := recover(); r != nil {
			t.Errorf("%v", r)
		}
	}()
	assert()
}

// TestEveryProperty compares every property of every resource that securityChecks does not hold already.
func TestEveryProperty(t *testing.T) {
	for _, variant := range variants {
		t.Run(variant, func(t *testing.T) {
			tpl := synthesized(t, variant).template(t)
			suffix, fifo := "dev", ".fifo"
			if variant == "unordered" {
				suffix, fifo = "prod", ""
			}
			attributes := func(pairs ...string) []any {
				var out []any
				for i := 0; i < len(pairs); i += 2 {
					out = append(out, map[string]any{"AttributeName": pairs[i], "AttributeType": pairs[i+1]})
				}
				return out
			}
			keys := func(names ...string) []any {
				var out []any
				for i, name := range names {
					out = append(out, map[string]any{"AttributeName": name, "KeyType": []string{"HASH", "RANGE"}[i]})
				}
				return out
			}
			ttl := map[string]any{"AttributeName": "expires_at", "Enabled": true}
			rows := []struct {
				resource, property string
				want               any
			}{
				{"Key", "Description", "Market data pipeline " + suffix},
				{"KeyAlias", "AliasName", "alias/market-data-" + suffix},
				{"Queue", "QueueName", "market-data-" + suffix + fifo},
				{"Queue", "VisibilityTimeout", 360},
				{"DeadLetterQueue", "QueueName", "market-data-dlq-" + suffix + fifo},
				{"RejectsQueue", "QueueName", "market-data-rejects-" + suffix},
				{"AlertsTable", "TableName", "market-alerts-" + suffix},
				{"AlertsTable", "BillingMode", "PAY_PER_REQUEST"},
				{"AlertsTable", "TimeToLiveSpecification", ttl},
				{"AlertsTable", "KeySchema", keys("symbol", "alert_id")},
				{"AlertsTable", "AttributeDefinitions", attributes("symbol", "S", "alert_id", "S", "day_shard", "S", "pending_shard", "S", "lease_until", "N")},
				{"AlertsTable", "GlobalSecondaryIndexes", []any{
					map[string]any{"IndexName": "by-day", "KeySchema": keys("day_shard", "alert_id"), "Projection": map[string]any{
						"ProjectionType":   "INCLUDE",
						"NonKeyAttributes": []string{"source", "rule", "severity", "summary", "price", "value", "timestamp"}}},
					map[string]any{"IndexName": "pending", "KeySchema": keys("pending_shard", "lease_until"),
						"Projection": map[string]any{"ProjectionType": "KEYS_ONLY"}}}},
				{"StateTable", "TableName", "market-state-" + suffix},
				{"StateTable", "BillingMode", "PAY_PER_REQUEST"},
				{"StateTable", "TimeToLiveSpecification", ttl},
				{"StateTable", "KeySchema", keys("series")},
				{"StateTable", "AttributeDefinitions", attributes("series", "S", "due_shard", "S", "due", "N")},
				{"StateTable", "GlobalSecondaryIndexes", []any{
					map[string]any{"IndexName": "due", "KeySchema": keys("due_shard", "due"), "Projection": map[string]any{
						"ProjectionType": "INCLUDE", "NonKeyAttributes": []string{"due_event", "group"}}}}},
				{"Clock", "Description", "Clock of the market data pipeline " + suffix},
				{"Clock", "Name", "market-data-clock-" + suffix},
				{"AlertTopic", "TopicName", "trading-alerts-" + suffix},
				{"AlarmTopic", "TopicName", "market-data-alarms-" + suffix},
				{"Function", "FunctionName", "data-processor-" + suffix},
				{"Function", "Description", "Turns market data into trading alerts"},
				{"FunctionEventSource", "BatchSize", 10},
				{"FunctionEventSource", "ScalingConfig", map[string]any{"MaximumConcurrency": 4}},
				{"Role", "Description", "Market data processor " + suffix},
				{"Dashboard", "DashboardName", "market-data-" + suffix},
			}
			var e problems
			for _, r := range rows {
				e.equal(r.resource+"."+r.property, tpl.property(r.resource, r.property), r.want)
			}
			for _, err := range e {
				t.Error(err)
			}

			held := []string{ // by securityChecks
				"KmsMasterKeyId", "KmsKeyId", "KmsKeyArn", "SSESpecification", "EnableKeyRotation", "PendingWindowInDays",
				"KeyPolicy", "TargetKeyId", "PolicyDocument", "Queues", "Topics", "PointInTimeRecoverySpecification",
				"RedrivePolicy", "RedriveAllowPolicy", "MessageRetentionPeriod", "FifoQueue", "FifoThroughputLimit",
				"DeduplicationScope", "ContentBasedDeduplication", "EventSourceArn", "FunctionResponseTypes",
				"MetricsConfig", "Architectures", "Runtime", "Handler", "MemorySize", "Timeout", "TracingConfig",
				"ReservedConcurrentExecutions", "LoggingConfig", "Environment", "LogGroupName", "RetentionInDays",
				"AssumeRolePolicyDocument", "Policies", "Tags",
			}
			for id, r := range tpl["Resources"].(map[string]any) {
				if r.(map[string]any)["Type"] == "AWS::CloudWatch::Alarm" {
					continue // checkAlarms and the golden template hold all of it
				}
				for property := range r.(map[string]any)["Properties"].(map[string]any) {
					known := slices.Contains(held, property) ||
						id == "Function" && slices.Contains([]string{"Code", "Role"}, property) ||
						id == "FunctionEventSource" && property == "FunctionName" ||
						id == "Dashboard" && property == "DashboardBody" ||
						slices.Contains([]string{"Clock", "FunctionClock", "FunctionEventInvokeConfig"}, id) // checkClock
					for _, row := range rows {
						known = known || row.resource == id && row.property == property
					}
					if !known {
						t.Errorf("no test holds %s.%s", id, property)
					}
				}
			}
		})
	}
}

func TestDashboardShowsEveryAlarmAndMetric(t *testing.T) {
	tpl := synthesized(t, "ordered").template(t)
	body, _ := tpl.property("Dashboard", "DashboardBody").(string)
	if !json.Valid([]byte(body)) {
		t.Fatalf("the dashboard is not JSON: %s", body)
	}
	for _, alarm := range tpl.ofType("AWS::CloudWatch::Alarm") {
		if !strings.Contains(body, "${"+alarm+".Arn}") {
			t.Errorf("%s is not on the dashboard", alarm)
		}
	}
	for _, metric := range []string{
		settings.MetricRecordsReceived, settings.MetricRecordsFailed, settings.MetricRecordsDeferred,
		settings.MetricEventsReceived, settings.MetricEventsRejected, settings.MetricEventsLate,
		settings.MetricEventsRepeated, settings.MetricAlertsFired, settings.MetricAlertsPublished,
		settings.MetricAlertsFailed, settings.MetricStateConflicts, settings.MetricEventToAlert,
		settings.MetricPendingExpired, settings.MetricClocksSent,
	} {
		if !strings.Contains(body, `"`+metric+`"`) {
			t.Errorf("%s is not on the dashboard", metric)
		}
	}
}

// everyProp sets what TestPropsReachTheTemplate looks for.
var everyProp = &MarketDataPipelineProps{
	Suffix: "x-1", Delivery: settings.Unordered, Tags: map[string]string{"team": "desk"},
	RemovalPolicy: awscdk.RemovalPolicy_RETAIN, OutputPrefix: "Second",
	AlertEmails: []string{"desk@example.com"}, AlarmEmails: []string{"ops@example.com"},
	ProducerAccounts: []string{"123456789012"},
	MemoryMiB:        1769, Timeout: 30 * time.Second, DisableReservedConcurrency: true, DisableTracing: true,
	LogRetentionDays: 7, BatchSize: 1000, BatchingWindow: 20 * time.Second, MaxConcurrency: 50,
	VisibilityTimeout: 10 * time.Minute, MaxReceiveCount: 12,
	QueueRetention: 2 * day, DeadLetterRetention: 3 * day, RejectsRetention: 4 * day,
	Lateness: 7 * time.Second, ClockSkew: 8 * time.Second, AlertTTL: 90 * day, StateTTL: 10 * day, SeriesConcurrency: 8,
	DisablePointInTimeRecovery: true, DisableDashboard: true, DisableClock: true,
	Thresholds: Thresholds{ErrorPercent: 2, RecordFailurePercent: 3, RejectPercent: 4, LatePercent: 6,
		OldestMessage: time.Minute, DurationPercent: 50},
}

func TestPropsReachTheTemplate(t *testing.T) {
	tpl := synthesized(t, "every prop").template(t)
	variables := func(name string) any { return tpl.property("Function", "Environment", "Variables", name) }
	var e problems
	for _, row := range []struct {
		what      string
		got, want any
	}{
		{"queue", tpl.property("Queue", "QueueName"), "market-data-x-1"},
		{"memory", tpl.property("Function", "MemorySize"), 1769},
		{"processors", variables("GOMAXPROCS"), nil},
		{"timeout", tpl.property("Function", "Timeout"), 30},
		{"reserved", tpl.property("Function", "ReservedConcurrentExecutions"), nil},
		{"tracing", tpl.property("Function", "TracingConfig"), nil},
		{"log retention", tpl.property("LogGroup", "RetentionInDays"), 7},
		{"batch", tpl.property("FunctionEventSource", "BatchSize"), 1000},
		{"window", tpl.property("FunctionEventSource", "MaximumBatchingWindowInSeconds"), 20},
		{"concurrency", tpl.property("FunctionEventSource", "ScalingConfig", "MaximumConcurrency"), 50},
		{"visibility", tpl.property("Queue", "VisibilityTimeout"), 600},
		{"tries", tpl.property("Queue", "RedrivePolicy", "maxReceiveCount"), 12},
		{"queue retention", tpl.property("Queue", "MessageRetentionPeriod"), 2 * 86400},
		{"dead-letter retention", tpl.property("DeadLetterQueue", "MessageRetentionPeriod"), 3 * 86400},
		{"rejects retention", tpl.property("RejectsQueue", "MessageRetentionPeriod"), 4 * 86400},
		{"lateness", variables(settings.EnvLateness), "7s"},
		{"skew", variables(settings.EnvClockSkew), "8s"},
		{"alert TTL", variables(settings.EnvAlertTTL), "2160h0m0s"},
		{"state TTL", variables(settings.EnvStateTTL), "240h0m0s"},
		{"retry delay", variables(settings.EnvMaxRetryDelay), "10m0s"},
		{"series", variables(settings.EnvSeriesConcurrency), "8"},
		{"delivery", variables(settings.EnvDelivery), "unordered"},
		{"clock", variables(settings.EnvClock), "off"},
		{"schedules", tpl.ofType("AWS::Events::Rule", "AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig"), nil},
		{"clock's alarm", tpl.get("Resources", "ClockAlarm"), nil},
		{"recovery", tpl.property("StateTable", "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled"), false},
		{"dashboards", tpl.ofType("AWS::CloudWatch::Dashboard"), nil},
		{"dashboard output", tpl.get("Outputs", "SecondDashboardName"), nil},
		{"prefixed output", tpl.get("Outputs", "SecondSqsQueueUrl", "Value"), "${Queue}"},
		{"error threshold", tpl.property("ErrorRateAlarm", "Threshold"), 2},
		{"record threshold", tpl.property("RecordFailureRateAlarm", "Threshold"), 3},
		{"reject threshold", tpl.property("RejectRateAlarm", "Threshold"), 4},
		{"late threshold", tpl.property("LateRateAlarm", "Threshold"), 6},
		{"age threshold", tpl.property("OldestMessageAlarm", "Threshold"), 60},
		{"duration threshold", tpl.property("DurationAlarm", "Threshold"), 15000},
		{"tags", tpl.property("Queue", "Tags"), []any{
			map[string]any{"Key": "Application", "Value": "market-data-pipeline"},
			map[string]any{"Key": "Environment", "Value": "x-1"}, map[string]any{"Key": "team", "Value": "desk"}}},
	} {
		e.equal(row.what, row.got, row.want)
	}
	for _, id := range slices.Concat(queues, tables, []string{"Key", "LogGroup"}) {
		e.equal(id+" is kept", tpl.get("Resources", id, "DeletionPolicy"), "Retain")
	}
	for _, s := range statementsOf(tpl.property("Role", "Policies", "0", "PolicyDocument")) {
		e.that(s.Sid != "Trace", "a function without tracing may trace")
		for _, a := range s.Actions {
			e.that(a != "dynamodb:Query" && (a != "sqs:SendMessage" || s.Sid == "KeepRejects"), "a function without a clock may %s (%s)", a, s.Sid)
		}
	}
	subscribed := map[string]any{}
	for _, id := range tpl.ofType("AWS::SNS::Subscription") {
		e.equal("protocol", tpl.property(id, "Protocol"), "email")
		subscribed[fmt.Sprint(tpl.property(id, "TopicArn"))] = tpl.property(id, "Endpoint")
	}
	e.equal("subscriptions", subscribed, map[string]any{"${AlertTopic}": "desk@example.com", "${AlarmTopic}": "ops@example.com"})

	producer := []string{"arn:${AWS::Partition}:iam::123456789012:root"}
	queueAdmits, keyAdmits := false, false
	for _, s := range statementsOf(tpl.property("QueuePolicy", "PolicyDocument")) {
		if s.Sid == "AdmitProducers" {
			queueAdmits = true
			e.equal("producers", s.Principals, producer)
			e.equal("producers' actions", s.Actions, []string{"sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage"})
			e.equal("producers' queue", s.Resources, []string{"${Queue.Arn}"})
		}
	}
	for _, s := range statementsOf(tpl.property("Key", "KeyPolicy")) {
		if s.Sid == "AdmitProducers" {
			keyAdmits = true
			e.equal("producers on the key", s.Principals, producer)
			e.equal("producers' key actions", s.Actions, []string{"kms:Decrypt", "kms:GenerateDataKey"})
			e.equal("producers' way to the key", s.when("StringEquals", "kms:ViaService"), []string{"sqs." + region + ".amazonaws.com"})
		}
	}
	e.that(queueAdmits && keyAdmits, "producers: queue %v, key %v", queueAdmits, keyAdmits)
	for _, err := range e {
		t.Error(err)
	}
}

func TestPanicsOnceWithEveryProblem(t *testing.T) {
	stack := newStack(t)
	defer func() {
		err, ok := recover().(*PropsError)
		if !ok {
			t.Fatalf("panicked with %v, want a *PropsError", err)
		}
		for _, want := range []string{"Suffix", "MemoryMiB", "AlertTopic", "AlarmTopic"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("error lacks %s: %v", want, err)
			}
		}
		if got := len(*stack.Node().Children()); got != 1 { // the imported topic
			t.Errorf("%d constructs were left behind", got)
		}
	}()
	fifo := awssns.Topic_FromTopicArn(stack, jsii.String("Topic"), jsii.String("arn:aws:sns:us-east-1:123456789012:theirs.fifo"))
	NewMarketDataPipeline(stack, "MarketData", &MarketDataPipelineProps{Suffix: "A", MemoryMiB: 1, AlertTopic: fifo, AlarmTopic: fifo})
}

func TestTwoPipelinesInOneStack(t *testing.T) {
	stack := newStack(t)
	NewMarketDataPipeline(stack, "One", nil)
	func() {
		defer func() {
			if err, ok := recover().(*PropsError); !ok || !strings.Contains(err.Error(), "OutputPrefix") {
				t.Errorf("equal outputs give %v, want a *PropsError that names OutputPrefix", err)
			}
		}()
		NewMarketDataPipeline(stack, "Two", &MarketDataPipelineProps{Suffix: "two"})
	}()
	NewMarketDataPipeline(stack, "Two", &MarketDataPipelineProps{Suffix: "two", OutputPrefix: "Two"})
	matches(t, func() {
		template := assertions.Template_FromStack(stack, nil)
		template.ResourceCountIs(jsii.String("AWS::Lambda::Function"), jsii.Number(2))
		template.HasOutput(jsii.String("TwoSqsQueueUrl"), map[string]any{})
		template.HasOutput(jsii.String("SqsQueueUrl"), map[string]any{})
	})
}

// TestEachPipelineHasItsOwnRules really builds a function, an empty one: within an app, the CDK builds what looks equal once.
func TestEachPipelineHasItsOwnRules(t *testing.T) {
	entry := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module function.example\n\ngo 1.26\n", "main.go": "package main\n\nfunc main() {}\n",
		"One": "rules:\n  - {alert: One, expr: price > 1, cooldown: 1m}\n", "Two": "rules:\n  - {alert: Two, expr: price > 1, cooldown: 1m}\n",
	} {
		if err := os.WriteFile(filepath.Join(entry, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	context, out := flags(t), t.TempDir()
	app := awscdk.NewApp(&awscdk.AppProps{Context: &context, Outdir: jsii.String(out)})
	stack := awscdk.NewStack(app, jsii.String("test"), nil)
	for _, name := range []string{"One", "Two"} {
		NewMarketDataPipeline(stack, name, &MarketDataPipelineProps{Suffix: strings.ToLower(name), OutputPrefix: name,
			Entry: entry, RulesFile: filepath.Join(entry, name)})
	}
	packed, err := filepath.Glob(filepath.Join(out, "asset.*", settings.DefaultRulesFile))
	if err != nil || len(packed) != 2 {
		t.Errorf("rules are packed into %v, %v, want two assets", packed, err)
	}
}

// useOutside does to a pipeline what an app may do with it.
func useOutside(stack awscdk.Stack, p *MarketDataPipeline) {
	role := func(id string) awsiam.Role {
		return awsiam.NewRole(stack, jsii.String(id), &awsiam.RoleProps{AssumedBy: awsiam.NewAccountRootPrincipal()})
	}
	p.GrantSendMarketData(role("Producer"))
	p.GrantReadAlerts(role("Reader"))
	email := func(address string) awssns.ITopicSubscription {
		return awssnssubscriptions.NewEmailSubscription(jsii.String(address), nil)
	}
	p.AddAlertSubscription(email("all@example.com"), AlertFilter{})
	p.AddAlertSubscription(email("some@example.com"), AlertFilter{
		Severities: []alert.Severity{alert.Critical}, Symbols: []string{"AAPL", "BTC*"}, Rules: []string{"LargeMove"},
	})
	awscdk.Tags_Of(p).Add(jsii.String("outer"), jsii.String("yes"), nil)
}

// TestEmbeddedConstruct guards against "is embedded in ... but was already assigned": jsii takes the pipeline itself.
func TestEmbeddedConstruct(t *testing.T) {
	p := synthesized(t, "ordered, other thresholds")
	if got := *p.Node().Path(); got != "test/MarketData" {
		t.Errorf("path is %q", got)
	}
	tags := fmt.Sprint(p.template(t).property("AlertTopic", "Tags"))
	if !strings.Contains(tags, "map[Key:outer Value:yes]") {
		t.Errorf("the alert topic's tags are %s", tags)
	}
}

func TestEveryResourceIsAField(t *testing.T) {
	p := synthesized(t, "ordered")
	for name, field := range map[string]any{
		"Key": p.Key, "Queue": p.Queue, "DeadLetterQueue": p.DeadLetterQueue, "RejectsQueue": p.RejectsQueue,
		"AlertsTable": p.AlertsTable, "StateTable": p.StateTable, "AlertTopic": p.AlertTopic, "AlarmTopic": p.AlarmTopic,
		"LogGroup": p.LogGroup, "Role": p.Role, "Function": p.Function, "EventSource": p.EventSource, "Dashboard": p.Dashboard, "Clock": p.Clock,
	} {
		if field == nil {
			t.Errorf("%s is nil", name)
		}
	}
	if got := len(p.all()); got != 11 || slices.Contains(p.all(), nil) {
		t.Errorf("%d alarms, want 11, none nil", got)
	}
	without := synthesized(t, "every prop")
	if got := len(without.all()); got != 10 || slices.Contains(without.all(), nil) || without.MetricLostTicks() != nil {
		t.Errorf("without a clock: %d alarms, want 10, none nil; lost ticks %v", got, without.MetricLostTicks())
	}
}

func TestGrants(t *testing.T) {
	tpl := synthesized(t, "ordered, other thresholds").template(t)
	want := map[string]string{
		"sqs:SendMessage": "${Queue.Arn}", "sqs:GetQueueUrl": "${Queue.Arn}", "sqs:GetQueueAttributes": "${Queue.Arn}",
		"kms:GenerateDataKey": keyARN, "kms:Decrypt": keyARN + " " + keyARN,
		"dynamodb:BatchGetItem": "${AlertsTable.Arn} ${AlertsTable.Arn}/index/by-day", "dynamodb:DescribeTable": "${AlertsTable.Arn} ${AlertsTable.Arn}/index/by-day",
		"dynamodb:GetItem": "${AlertsTable.Arn} ${AlertsTable.Arn}/index/by-day", "dynamodb:Query": "${AlertsTable.Arn} ${AlertsTable.Arn}/index/by-day",
	}
	got := map[string][]string{}
	for _, id := range tpl.ofType("AWS::IAM::Policy") {
		for _, s := range statementsOf(tpl.property(id, "PolicyDocument")) {
			for _, a := range s.Actions {
				got[a] = append(got[a], s.Resources...)
			}
		}
	}
	var e problems
	for a, resources := range got {
		slices.Sort(resources)
		e.equal(a, strings.Join(resources, " "), want[a])
	}
	e.equal("number of actions", len(got), len(want))
	for _, err := range e {
		t.Error(err)
	}
}

func TestAddAlertSubscription(t *testing.T) {
	tpl := synthesized(t, "ordered, other thresholds").template(t)
	got := map[any]any{}
	for _, id := range tpl.ofType("AWS::SNS::Subscription") {
		got[tpl.property(id, "Endpoint")] = tpl.property(id, "FilterPolicy")
	}
	var e problems
	e.equal("no filter", got["all@example.com"], nil)
	e.equal("filter", got["some@example.com"], map[string]any{
		"severity": []string{"critical"}, "symbol": []any{"AAPL", map[string]any{"prefix": "BTC"}}, "rule": []string{"LargeMove"}})
	for _, err := range e {
		t.Error(err)
	}
}

func TestMetric(t *testing.T) {
	m := synthesized(t, "unordered").Metric(settings.MetricEventToAlert, &awscloudwatch.MetricOptions{Statistic: jsii.String("p99")})
	got := fmt.Sprintf("%s %s %s %v %v", *m.Namespace(), *m.MetricName(), *m.Statistic(), *m.Period().ToMinutes(nil), (*m.Dimensions())["Environment"])
	if want := "MarketDataPipeline EventToAlertLatency p99 5 prod"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// warnings are a stack's warnings by the end of their id.
func warnings(stack awscdk.Stack) map[string]string {
	out := map[string]string{}
	for _, c := range *stack.Node().FindAll(cdk.ConstructOrder_PREORDER) {
		for _, m := range *c.Node().Metadata() {
			if *m.Type != "aws:cdk:warning" {
				continue
			}
			text := fmt.Sprint(m.Data)
			id := text[strings.LastIndex(text, "[ack: ")+len("[ack: "):]
			out[strings.TrimSuffix(strings.TrimPrefix(id, "market-data-pipeline:"), "]")] = text
		}
	}
	return out
}

func TestNoWarningsByDefault(t *testing.T) {
	if w := warnings(synthesized(t, "ordered").stack); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
}

// statementIn is the JSON statement that a warning tells the owner to add.
func statementIn(t *testing.T, warning string) policyStatement {
	t.Helper()
	from, to := strings.Index(warning, "{"), strings.LastIndex(warning, "}")
	var v any
	if from < 0 || json.Unmarshal([]byte(warning[from:to+1]), &v) != nil {
		t.Fatalf("no JSON in the warning %q", warning)
	}
	return statementsOf(map[string]any{"Statement": []any{v}})[0]
}

func TestResourcesFromOutside(t *testing.T) {
	stack := newStack(t)
	topic := func(name string) *string {
		return jsii.String("arn:aws:sns:eu-west-1:123456789012:" + name)
	}
	const otherKey = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
	NewMarketDataPipeline(stack, "MarketData", &MarketDataPipelineProps{
		Key:              awskms.Key_FromKeyArn(stack, jsii.String("TheirKey"), jsii.String(otherKey)),
		AlertTopic:       awssns.Topic_FromTopicArn(stack, jsii.String("TheirAlerts"), topic("alerts")),
		AlarmTopic:       awssns.Topic_FromTopicArn(stack, jsii.String("TheirAlarms"), topic("alarms")),
		ProducerAccounts: []string{"210987654321"},
	})
	got := warnings(stack)
	want := map[string]string{ // warning: principal, first action, resource
		"key:UseThroughServices": root + " kms:Decrypt *",
		"key:GrantToServices":    root + " kms:CreateGrant *",
		"key:DecryptEnvironment": root + " kms:Decrypt *",
		"key:EncryptLogs":        "logs." + region + ".amazonaws.com kms:Decrypt *",
		"key:AdmitProducers":     "arn:${AWS::Partition}:iam::210987654321:root kms:Decrypt *",
		"alarmTopic":             "cloudwatch.amazonaws.com sns:Publish " + *topic("alarms"),
		"alarmTopicKey":          "cloudwatch.amazonaws.com kms:Decrypt *",
		"alertTopic":             root + " sns:Publish " + *topic("alerts"),
		"alertTopicKey":          root + " kms:Decrypt *",
	}
	for id, expected := range want {
		s := statementIn(t, got[id])
		if text := fmt.Sprintf("%s %s %s", s.Principals[0], s.Actions[0], s.Resources[0]); text != expected || s.Effect != "Allow" {
			t.Errorf("warning %s tells to add %s %s, want %s", id, s.Effect, text, expected)
		}
		if id == "alertTopic" {
			continue
		}
		for operator, keys := range s.Condition {
			for key := range keys.(map[string]any) {
				if !strings.Contains(key, ":") || len(s.when(operator, key)) == 0 {
					t.Errorf("warning %s tells to add the condition %s %s, which is none", id, operator, key)
				}
			}
		}
		if s.Condition == nil {
			t.Errorf("warning %s tells to add a statement without a condition", id)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d warnings, want %d: %v", len(got), len(want), got)
	}
	tpl := parse(t, stackJSON(t, stack))
	var e problems
	e.equal("keys", tpl.ofType("AWS::KMS::Key", "AWS::KMS::Alias"), nil)
	e.equal("topics", tpl.ofType("AWS::SNS::Topic", "AWS::SNS::TopicPolicy"), nil)
	e.equal("queue's key", tpl.property("Queue", "KmsMasterKeyId"), otherKey)
	e.equal("alarm's action", tpl.property("ThrottlesAlarm", "AlarmActions"), []string{*topic("alarms")})
	e.equal("alert topic", tpl.property("Function", "Environment", "Variables", settings.EnvAlertTopicARN), *topic("alerts"))
	for _, err := range e {
		t.Error(err)
	}
}

// TestAlarmTopicOfTheAppWithAKey: nobody but the key's owner can admit CloudWatch to it.
func TestAlarmTopicOfTheAppWithAKey(t *testing.T) {
	stack := newStack(t)
	key := awskms.NewKey(stack, jsii.String("TopicKey"), nil)
	NewMarketDataPipeline(stack, "MarketData", &MarketDataPipelineProps{
		AlarmTopic: awssns.NewTopic(stack, jsii.String("AppAlarms"), &awssns.TopicProps{MasterKey: key}),
	})
	w := warnings(stack)
	text := fmt.Sprint(w)
	if len(w) != 1 || !strings.Contains(text, "EncryptAlarms") || !strings.Contains(text, "cloudwatch.amazonaws.com") {
		t.Errorf("warnings %v, want one with the key's statement", w)
	}
}

// TestResourcesOfTheApp passes resources whose policies this app can change: the statements are added, nothing warns.
func TestResourcesOfTheApp(t *testing.T) {
	stack := newStack(t)
	key := awskms.NewKey(stack, jsii.String("AppKey"), nil)
	topicKey := awskms.NewKey(stack, jsii.String("TopicKey"), nil)
	NewMarketDataPipeline(stack, "MarketData", &MarketDataPipelineProps{
		Key:        key,
		AlertTopic: awssns.NewTopic(stack, jsii.String("AppAlerts"), &awssns.TopicProps{MasterKey: topicKey}),
		AlarmTopic: awssns.NewTopic(stack, jsii.String("AppAlarms"), nil),
	})
	if w := warnings(stack); len(w) > 0 {
		t.Errorf("warnings: %v", w)
	}
	matches(t, func() {
		template := assertions.Template_FromStack(stack, nil)
		template.HasResourceProperties(jsii.String("AWS::KMS::Key"), map[string]any{"KeyPolicy": map[string]any{
			"Statement": assertions.Match_ArrayWith(&[]any{
				assertions.Match_ObjectLike(&map[string]any{"Sid": "UseThroughServices"}),
				assertions.Match_ObjectLike(&map[string]any{"Sid": "EncryptLogs"})})}})
		template.HasResourceProperties(jsii.String("AWS::SNS::TopicPolicy"), map[string]any{"PolicyDocument": map[string]any{
			"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{"Sid": "AdmitAlarms"})})}})
		template.HasResourceProperties(jsii.String("AWS::IAM::Role"), map[string]any{"Policies": []any{
			assertions.Match_ObjectLike(&map[string]any{"PolicyDocument": map[string]any{
				"Statement": assertions.Match_ArrayWith(&[]any{assertions.Match_ObjectLike(&map[string]any{
					"Sid": "UseAlertTopicKey", "Action": []any{"kms:Decrypt", "kms:GenerateDataKey"}})})}})}})
	})
}
