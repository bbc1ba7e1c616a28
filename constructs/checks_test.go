package constructs

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// securityChecks are rules that every template of the pipeline keeps, whatever its props. Each gives the violations.
var securityChecks = map[string]func(template) problems{
	"encryption":   checkEncryption,
	"key":          checkKey,
	"tls":          checkTLS,
	"public":       checkNothingPublic,
	"recovery":     checkRecovery,
	"destroyed":    checkDestroyed,
	"redrive":      checkRedrive,
	"fifo":         checkFIFO,
	"event source": checkEventSource,
	"function":     checkFunction,
	"role":         checkRole,
	"clock":        checkClock,
	"alarms":       checkAlarms,
	"outputs":      checkOutputs,
	"tags":         checkTags,
}

func runChecks(t template) map[string][]error {
	failed := map[string][]error{}
	for name, check := range securityChecks {
		if errs := check(t); len(errs) > 0 {
			failed[name] = errs
		}
	}
	return failed
}

func TestSecurityChecks(t *testing.T) {
	for _, variant := range variants {
		for name, errs := range runChecks(synthesized(t, variant).template(t)) {
			for _, err := range errs {
				t.Errorf("%s: %s: %v", variant, name, err)
			}
		}
	}
}

// problems gathers violations.
type problems []error

func (p *problems) that(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}

func (p *problems) equal(what string, got, want any) {
	g, _ := json.Marshal(got)
	w, _ := json.Marshal(want)
	p.that(string(g) == string(w), "%s is %s, want %s", what, g, w)
}

const (
	keyARN  = "${Key.Arn}"
	account = "${AWS::AccountId}"
	region  = "${AWS::Region}"
	root    = "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"
)

func arn(service, resource string) string {
	return "arn:${AWS::Partition}:" + service + ":" + region + ":" + account + ":" + resource
}

var (
	queues = []string{"DeadLetterQueue", "Queue", "RejectsQueue"}
	tables = []string{"AlertsTable", "StateTable"}
	topics = []string{"AlarmTopic", "AlertTopic"}
)

func checkEncryption(t template) (e problems) {
	e.equal("queues", t.ofType("AWS::SQS::Queue"), queues)
	e.equal("tables", t.ofType("AWS::DynamoDB::Table"), tables)
	e.equal("topics", t.ofType("AWS::SNS::Topic"), topics)
	for _, id := range slices.Concat(queues, topics) {
		e.equal(id+"'s key", t.property(id, "KmsMasterKeyId"), keyARN)
	}
	for _, id := range tables {
		e.equal(id+"'s encryption", t.property(id, "SSESpecification"),
			map[string]any{"KMSMasterKeyId": keyARN, "SSEEnabled": true, "SSEType": "KMS"})
	}
	e.equal("the log group's key", t.property("LogGroup", "KmsKeyId"), keyARN)
	e.equal("the environment's key", t.property("Function", "KmsKeyArn"), keyARN)
	return e
}

func checkKey(t template) (e problems) {
	e.equal("keys", t.ofType("AWS::KMS::Key"), []string{"Key"})
	e.equal("rotation", t.property("Key", "EnableKeyRotation"), true)
	e.equal("pending window", t.property("Key", "PendingWindowInDays"), 7)
	e.equal("alias", t.property("KeyAlias", "TargetKeyId"), keyARN)
	type rule struct {
		principals []string
		when       map[string]any
		actions    []string
	}
	via := func(services ...string) map[string]any {
		var hosts []any
		for _, s := range services {
			hosts = append(hosts, s+"."+region+".amazonaws.com")
		}
		return map[string]any{"StringEquals": map[string]any{"kms:ViaService": hosts}}
	}
	suffix := suffixOf(t)
	use := []string{"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey",
		"kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"}
	want := map[string]rule{
		"AdministerKey": {[]string{root}, nil, []string{
			"kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey",
			"kms:DisableKeyRotation", "kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy",
			"kms:GetKeyRotationStatus", "kms:ListGrants", "kms:ListKeyPolicies", "kms:ListKeyRotations",
			"kms:ListResourceTags", "kms:PutKeyPolicy", "kms:RevokeGrant", "kms:RotateKeyOnDemand",
			"kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias",
			"kms:UpdateKeyDescription"}},
		"UseThroughServices": {[]string{root}, via("sqs", "sns", "dynamodb", "lambda"), use},
		"GrantToServices":    {[]string{root}, via("dynamodb", "lambda"), []string{"kms:CreateGrant"}},
		"DecryptEnvironment": {[]string{root}, map[string]any{"StringEquals": map[string]any{
			"kms:EncryptionContext:aws:lambda:FunctionArn": arn("lambda", "function:data-processor-"+suffix)}},
			[]string{"kms:Decrypt"}},
		"EncryptLogs": {[]string{"logs." + region + ".amazonaws.com"}, map[string]any{"ArnEquals": map[string]any{
			"kms:EncryptionContext:aws:logs:arn": arn("logs", "log-group:/aws/lambda/data-processor-"+suffix)}}, use},
		"EncryptAlarms": {[]string{"cloudwatch.amazonaws.com"}, map[string]any{"StringEquals": map[string]any{
			"kms:EncryptionContext:aws:sns:topicArn": arn("sns", "market-data-alarms-"+suffix)}},
			[]string{"kms:Decrypt", "kms:GenerateDataKey"}},
	}
	got := map[string]rule{}
	for _, s := range statementsOf(t.property("Key", "KeyPolicy")) {
		e.equal("effect of "+s.Sid, s.Effect, "Allow")
		e.equal("resource of "+s.Sid, s.Resources, []string{"*"})
		got[s.Sid] = rule{s.Principals, s.Condition, s.Actions}
	}
	for _, sid := range slices.Sorted(maps.Keys(want)) {
		e.that(reflect.DeepEqual(got[sid], want[sid]), "statement %s is %v, want %v", sid, got[sid], want[sid])
	}
	e.equal("number of statements", len(got), len(want))
	return e
}

// checkTLS wants every queue and topic to deny what comes without TLS.
func checkTLS(t template) (e problems) {
	denies := func(id string) bool {
		for _, policy := range t.ofType("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy") {
			on := append(list(t.property(policy, "Queues")), list(t.property(policy, "Topics"))...)
			for _, s := range statementsOf(t.property(policy, "PolicyDocument")) {
				action, resource := "sqs:*", "${"+id+".Arn}"
				if slices.Contains(topics, id) {
					action, resource = "sns:Publish", "${"+id+"}"
				}
				if slices.Contains(on, "${"+id+"}") && s.Effect == "Deny" && slices.Contains(s.Actions, action) &&
					slices.Contains(s.Resources, resource) && slices.Contains(s.Principals, "*") &&
					slices.Equal(s.when("Bool", "aws:SecureTransport"), []string{"false"}) && len(s.Condition) == 1 {
					return true
				}
			}
		}
		return false
	}
	for _, id := range slices.Concat(queues, topics) {
		e.that(denies(id), "%s takes what comes without TLS", id)
	}
	return e
}

// checkNothingPublic wants no resource policy that allows everybody, or everything.
func checkNothingPublic(t template) (e problems) {
	for _, id := range t.ofType("AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::KMS::Key") {
		document := t.property(id, "PolicyDocument")
		if document == nil {
			document = t.property(id, "KeyPolicy")
		}
		for _, s := range statementsOf(document) {
			if s.Effect != "Allow" {
				continue
			}
			e.that(!slices.Contains(s.Principals, "*") && len(s.Principals) > 0, "%s allows %v to everybody", id, s.Actions)
			for _, a := range s.Actions {
				e.that(!strings.Contains(a, "*"), "%s allows %s", id, a)
			}
		}
	}
	for _, kind := range []string{"AWS::Lambda::Url", "AWS::IAM::User"} {
		e.equal(kind, t.ofType(kind), nil)
	}
	return e
}

func checkRecovery(t template) (e problems) {
	for _, id := range tables {
		e.equal(id+"'s point-in-time recovery", t.property(id, "PointInTimeRecoverySpecification"),
			map[string]any{"PointInTimeRecoveryEnabled": true})
	}
	return e
}

// checkDestroyed wants nothing to outlive the stack.
func checkDestroyed(t template) (e problems) {
	for id, r := range t["Resources"].(map[string]any) {
		for _, policy := range []string{"DeletionPolicy", "UpdateReplacePolicy"} {
			v := r.(map[string]any)[policy]
			e.that(v == nil || v == "Delete", "%s of %s is %v", policy, id, v)
		}
	}
	for _, id := range slices.Concat(tables, queues, []string{"Key", "LogGroup"}) {
		e.equal("deletion policy of "+id, t.get("Resources", id, "DeletionPolicy"), "Delete")
	}
	for _, id := range tables {
		v := t.property(id, "DeletionProtectionEnabled")
		e.that(v == nil || v == false, "%s is protected from deletion", id)
	}
	return e
}

func checkRedrive(t template) (e problems) {
	e.equal("redrive", t.property("Queue", "RedrivePolicy"),
		map[string]any{"deadLetterTargetArn": "${DeadLetterQueue.Arn}", "maxReceiveCount": 10})
	e.equal("redrive allowed", t.property("DeadLetterQueue", "RedriveAllowPolicy"), map[string]any{
		"redrivePermission": "byQueue", "sourceQueueArns": []string{arn("sqs", fmt.Sprint(t.property("Queue", "QueueName")))}})
	for _, id := range queues {
		e.equal(id+"'s retention", t.property(id, "MessageRetentionPeriod"), 14*24*3600)
	}
	return e
}

func checkFIFO(t template) (e problems) {
	ordered := t.property("Function", "Environment", "Variables", settings.EnvDelivery) == string(settings.Ordered)
	var yes, limit, scope, no any
	if ordered {
		yes, limit, scope, no = true, "perMessageGroupId", "messageGroup", false
	}
	for _, id := range []string{"Queue", "DeadLetterQueue"} {
		e.equal(id+" FIFO", t.property(id, "FifoQueue"), yes)
		e.equal(id+" throughput", t.property(id, "FifoThroughputLimit"), limit)
		e.equal(id+" deduplication scope", t.property(id, "DeduplicationScope"), scope)
		e.equal(id+" deduplication by content", t.property(id, "ContentBasedDeduplication"), no)
		e.equal(id+" name ends in .fifo", strings.HasSuffix(fmt.Sprint(t.property(id, "QueueName")), ".fifo"), ordered)
	}
	e.equal("RejectsQueue FIFO", t.property("RejectsQueue", "FifoQueue"), nil)
	return e
}

// checkEventSource checks the mapping against queue and function.
func checkEventSource(t template) (e problems) {
	number := func(v any) float64 { f, _ := v.(float64); return f }
	e.equal("mappings", t.ofType("AWS::Lambda::EventSourceMapping"), []string{"FunctionEventSource"})
	m := func(path ...string) any { return t.property("FunctionEventSource", path...) }
	e.equal("source", m("EventSourceArn"), "${Queue.Arn}")
	e.equal("target", m("FunctionName"), "${Function}")
	e.equal("response types", m("FunctionResponseTypes"), []string{"ReportBatchItemFailures"})
	e.equal("metrics", m("MetricsConfig"), map[string]any{"Metrics": []string{"EventCount"}})
	concurrency := number(m("ScalingConfig", "MaximumConcurrency"))
	e.that(concurrency >= 2, "MaximumConcurrency is %v, want at least 2", concurrency)
	if reserved := t.property("Function", "ReservedConcurrentExecutions"); reserved != nil {
		e.that(concurrency <= number(reserved)-1, "MaximumConcurrency is %v with %v reserved, one of them for the clock", concurrency, reserved)
	}
	if t.property("Queue", "FifoQueue") == true {
		e.that(number(m("BatchSize")) <= 10, "BatchSize of a FIFO queue is %v", m("BatchSize"))
		e.equal("window of a FIFO queue", m("MaximumBatchingWindowInSeconds"), nil)
	}
	least := 6*number(t.property("Function", "Timeout")) + number(m("MaximumBatchingWindowInSeconds"))
	e.that(number(t.property("Queue", "VisibilityTimeout")) >= least, "VisibilityTimeout is %v, want at least %v",
		t.property("Queue", "VisibilityTimeout"), least)
	return e
}

func checkFunction(t template) (e problems) {
	f := func(path ...string) any { return t.property("Function", path...) }
	suffix := suffixOf(t)
	e.equal("functions", t.ofType("AWS::Lambda::Function"), []string{"Function"})
	e.equal("architecture", f("Architectures"), []string{"arm64"})
	e.equal("runtime", f("Runtime"), "provided.al2023")
	e.equal("handler", f("Handler"), "bootstrap")
	e.equal("memory", f("MemorySize"), 256)
	e.equal("timeout", f("Timeout"), 60)
	e.equal("reserved concurrency", f("ReservedConcurrentExecutions"), 5)
	e.equal("tracing", f("TracingConfig"), map[string]any{"Mode": "Active"})
	e.equal("logging", f("LoggingConfig"), map[string]any{"LogFormat": "JSON", "LogGroup": "${LogGroup}"})
	e.equal("role", f("Role"), "${Role.Arn}")
	e.equal("log group", t.property("LogGroup", "LogGroupName"), "/aws/lambda/data-processor-"+suffix)
	e.equal("log retention", t.property("LogGroup", "RetentionInDays"), 30)
	e.equal("processors", f("Environment", "Variables", "GOMAXPROCS"), "1")
	variables, _ := f("Environment", "Variables").(map[string]any)
	parsed, err := settings.FromEnv(func(name string) string {
		if name == "AWS_REGION" {
			return "eu-west-1"
		}
		return fmt.Sprint(variables[name])
	})
	e.that(err == nil, "the processor refuses its environment: %v", err)
	delivery := settings.Ordered
	if t.property("Queue", "FifoQueue") == nil {
		delivery = settings.Unordered
	}
	e.equal("settings", parsed, settings.Settings{
		Environment: suffix, Region: "eu-west-1", QueueURL: "${Queue}", RejectsQueueURL: "${RejectsQueue}",
		AlertsTable: "${AlertsTable}", StateTable: "${StateTable}", AlertTopicARN: "${AlertTopic}",
		Delivery: delivery, RulesFile: settings.DefaultRulesFile, Lateness: settings.DefaultLateness,
		ClockSkew: settings.DefaultClockSkew, StateTTL: settings.DefaultStateTTL,
		MaxRetryDelay: settings.DefaultMaxRetryDelay, SeriesConcurrency: settings.DefaultSeriesConcurrency,
		Clock: settings.ClockOn,
	})
	e.equal("number of variables", len(variables), 16)
	return e
}

// checkRole wants exactly these permissions and nothing else in the whole template.
func checkRole(t template) (e problems) {
	e.equal("roles", t.ofType("AWS::IAM::Role"), []string{"Role"})
	e.equal("further policies", t.ofType("AWS::IAM::Policy", "AWS::IAM::ManagedPolicy"), nil)
	e.equal("managed policies", t.property("Role", "ManagedPolicyArns"), nil)
	e.equal("who assumes the role", t.property("Role", "AssumeRolePolicyDocument", "Statement"), []any{map[string]any{
		"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": map[string]any{"Service": "lambda.amazonaws.com"}}})
	inline, _ := t.property("Role", "Policies").([]any)
	e.equal("number of inline policies", len(inline), 1)
	want := map[string]string{
		"sqs:ChangeMessageVisibility": "${Queue.Arn}", "sqs:DeleteMessage": "${Queue.Arn}",
		"sqs:GetQueueAttributes": "${Queue.Arn}", "sqs:ReceiveMessage": "${Queue.Arn}",
		"sqs:SendMessage":       "${Queue.Arn} ${RejectsQueue.Arn}",
		"dynamodb:Query":        "${AlertsTable.Arn}/index/pending ${StateTable.Arn}/index/due",
		"dynamodb:BatchGetItem": "${AlertsTable.Arn} ${StateTable.Arn}", "dynamodb:PutItem": "${AlertsTable.Arn} ${StateTable.Arn}",
		"dynamodb:BatchWriteItem": "${AlertsTable.Arn}", "dynamodb:UpdateItem": "${AlertsTable.Arn}",
		"sns:Publish": "${AlertTopic}", "kms:Decrypt": keyARN, "kms:GenerateDataKey": keyARN,
		"logs:CreateLogStream": "${LogGroup.Arn}", "logs:PutLogEvents": "${LogGroup.Arn}",
		"xray:PutTelemetryRecords": "*", "xray:PutTraceSegments": "*", // X-Ray knows no resources
	}
	got := map[string][]string{}
	for _, s := range statementsOf(t.property("Role", "Policies", "0", "PolicyDocument")) {
		e.equal("effect of "+s.Sid, s.Effect, "Allow")
		for _, a := range s.Actions {
			got[a] = append(got[a], s.Resources...)
		}
	}
	for _, a := range slices.Sorted(maps.Keys(got)) {
		slices.Sort(got[a])
		e.equal("resources of "+a, strings.Join(got[a], " "), want[a])
	}
	for a := range want {
		e.that(got[a] != nil, "%s is not allowed", a)
	}
	return e
}

// checkClock follows a tick: from the schedule, through the permission, to the function, which nobody else may invoke.
func checkClock(t template) (e problems) {
	e.equal("rules", t.ofType("AWS::Events::Rule"), []string{"Clock"})
	e.equal("schedule", t.property("Clock", "ScheduleExpression"), "rate(1 minute)")
	e.equal("state", t.property("Clock", "State"), "ENABLED")
	e.equal("targets", t.property("Clock", "Targets"), []any{map[string]any{
		"Id": "processor", "Arn": "${Function.Arn}", "Input": `{"clock":"tick"}`,
		"RetryPolicy": map[string]any{"MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0}}})
	e.equal("permissions", t.ofType("AWS::Lambda::Permission"), []string{"FunctionClock"})
	e.equal("permission", t.get("Resources", "FunctionClock", "Properties"), map[string]any{
		"Action": "lambda:InvokeFunction", "FunctionName": "${Function.Arn}", "Principal": "events.amazonaws.com", "SourceArn": "${Clock.Arn}"})
	e.equal("asynchronous invocations", t.ofType("AWS::Lambda::EventInvokeConfig"), []string{"FunctionEventInvokeConfig"})
	e.equal("asynchronous invocation", t.get("Resources", "FunctionEventInvokeConfig", "Properties"), map[string]any{
		"FunctionName": "${Function}", "MaximumEventAgeInSeconds": 60, "MaximumRetryAttempts": 0, "Qualifier": "$LATEST"})
	return e
}

// checkAlarms follows each alarm to its topic: action, the topic's policy, the key's policy.
func checkAlarms(t template) (e problems) {
	suffix := suffixOf(t)
	want := map[string]string{ // alarm: what it watches, threshold
		"ErrorRateAlarm": "IF(invocations > 0, 100 * errors / invocations, 0) 1" +
			" errors=AWS/Lambda.Errors.Sum{FunctionName=${Function}} invocations=AWS/Lambda.Invocations.Sum{FunctionName=${Function}}",
		"RecordFailureRateAlarm": "IF(records > 0, 100 * failed / records, 0) 1" +
			" failed=MarketDataPipeline.RecordsFailed.Sum{Environment=" + suffix + "} records=MarketDataPipeline.RecordsReceived.Sum{Environment=" + suffix + "}",
		"RejectRateAlarm": "IF(events > 0, 100 * rejected / events, 0) 5" +
			" events=MarketDataPipeline.EventsReceived.Sum{Environment=" + suffix + "} rejected=MarketDataPipeline.EventsRejected.Sum{Environment=" + suffix + "}",
		"LateRateAlarm": "IF(events > 0, 100 * late / events, 0) 1" +
			" events=MarketDataPipeline.EventsReceived.Sum{Environment=" + suffix + "} late=MarketDataPipeline.EventsLate.Sum{Environment=" + suffix + "}",
		"DeadLettersAlarm":    "AWS/SQS.ApproximateNumberOfMessagesVisible.Maximum{QueueName=${DeadLetterQueue.QueueName}} 0",
		"OldestMessageAlarm":  "AWS/SQS.ApproximateAgeOfOldestMessage.Maximum{QueueName=${Queue.QueueName}} 600",
		"ThrottlesAlarm":      "AWS/Lambda.Throttles.Sum{FunctionName=${Function}} 0",
		"DurationAlarm":       "AWS/Lambda.Duration.p99{FunctionName=${Function}} 48000",
		"PendingExpiredAlarm": "MarketDataPipeline.PendingExpired.Sum{Environment=" + suffix + "} 0",
		"AlertsFailedAlarm":   "MarketDataPipeline.AlertsFailed.Sum{Environment=" + suffix + "} 0",
		"ClockAlarm": "SUM([FILL(dropped, 0), FILL(undelivered, 0)]) 1" +
			" dropped=AWS/Lambda.AsyncEventsDropped.Sum{FunctionName=${Function}} undelivered=AWS/Events.FailedInvocations.Sum{RuleName=${Clock}}",
	}
	e.equal("alarms", t.ofType("AWS::CloudWatch::Alarm"), slices.Sorted(maps.Keys(want)))
	for id, watched := range want {
		a := func(path ...string) any { return t.property(id, path...) }
		e.equal(id, watches(a), watched)
		e.equal(id+" compares", a("ComparisonOperator"), "GreaterThanThreshold")
		e.equal(id+" periods", a("EvaluationPeriods"), 1)
		e.equal(id+" without data", a("TreatMissingData"), "notBreaching")
		e.that(a("ActionsEnabled") == nil || a("ActionsEnabled") == true, "%s has its actions off", id)
		actions := list(a("AlarmActions"))
		e.equal(id+" actions", actions, []string{"${AlarmTopic}"})
		name := fmt.Sprint(a("AlarmName"))
		e.that(topicAdmits(t, name), "the alarm topic does not admit %s", name)
	}
	admitted := false
	for _, s := range statementsOf(t.property("Key", "KeyPolicy")) {
		admitted = admitted || s.Effect == "Allow" && slices.Contains(s.Principals, "cloudwatch.amazonaws.com") &&
			slices.Contains(s.Actions, "kms:Decrypt") && slices.Contains(s.Actions, "kms:GenerateDataKey") &&
			slices.Equal(s.when("StringEquals", "kms:EncryptionContext:aws:sns:topicArn"),
				[]string{arn("sns", fmt.Sprint(t.property("AlarmTopic", "TopicName")))})
	}
	e.that(admitted, "the key does not admit CloudWatch for the alarm topic")
	return e
}

// watches describes an alarm's metric and threshold.
func watches(a func(...string) any) string {
	stat := func(m func(...string) any, statistic any) string {
		var dimensions []string
		ds, _ := m("Dimensions").([]any)
		for _, d := range ds {
			d := d.(map[string]any)
			dimensions = append(dimensions, fmt.Sprintf("%v=%v", d["Name"], d["Value"]))
		}
		return fmt.Sprintf("%v.%v.%v{%s}", m("Namespace"), m("MetricName"), statistic, strings.Join(dimensions, ","))
	}
	metrics, ok := a("Metrics").([]any)
	if !ok {
		statistic := a("Statistic")
		if statistic == nil {
			statistic = a("ExtendedStatistic")
		}
		if a("Period") != 300.0 {
			return fmt.Sprintf("period %v", a("Period"))
		}
		return fmt.Sprintf("%s %v", stat(a, statistic), a("Threshold"))
	}
	var expression string
	var parts []string
	for _, m := range metrics {
		m := template(m.(map[string]any))
		if m["Expression"] != nil {
			expression = fmt.Sprint(m["Expression"])
			continue
		}
		if m.get("MetricStat", "Period") != 300.0 {
			return fmt.Sprintf("period %v", m.get("MetricStat", "Period"))
		}
		metric := func(key ...string) any { return m.get(append([]string{"MetricStat", "Metric"}, key...)...) }
		parts = append(parts, fmt.Sprintf("%v=%s", m["Id"], stat(metric, m.get("MetricStat", "Stat"))))
	}
	slices.Sort(parts)
	return fmt.Sprintf("%s %v %s", expression, a("Threshold"), strings.Join(parts, " "))
}

func topicAdmits(t template, alarm string) bool {
	for _, s := range statementsOf(t.property("AlarmTopicPolicy", "PolicyDocument")) {
		source := s.when("ArnLike", "aws:SourceArn")
		if s.Effect == "Allow" && slices.Equal(s.Principals, []string{"cloudwatch.amazonaws.com"}) &&
			slices.Equal(s.Actions, []string{"sns:Publish"}) && slices.Equal(s.Resources, []string{"${AlarmTopic}"}) &&
			slices.Equal(s.when("StringEquals", "aws:SourceAccount"), []string{account}) && len(source) == 1 &&
			strings.HasPrefix(arn("cloudwatch", "alarm:"+alarm), strings.TrimSuffix(source[0], "*")) &&
			strings.HasPrefix(source[0], arn("cloudwatch", "alarm:market-data-"+suffixOf(t)+"-")) {
			return true
		}
	}
	return false
}

func checkOutputs(t template) (e problems) {
	want := map[string]string{
		"SqsQueueUrl": "${Queue}", "SnsTopicArn": "${AlertTopic}", "DynamodbTableName": "${AlertsTable}",
		"LambdaFunctionName": "${Function}", "DeadLetterQueueUrl": "${DeadLetterQueue}", "RejectsQueueUrl": "${RejectsQueue}",
		"StateTableName": "${StateTable}", "AlarmTopicArn": "${AlarmTopic}", "KeyArn": keyARN,
		"LogGroupName": "${LogGroup}", "DashboardName": "${Dashboard}",
	}
	got := map[string]string{}
	outputs, _ := t["Outputs"].(map[string]any)
	for name, o := range outputs {
		got[name] = fmt.Sprint(o.(map[string]any)["Value"])
	}
	e.equal("outputs", got, want)
	return e
}

func checkTags(t template) (e problems) {
	untagged := []string{"AWS::KMS::Alias", "AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy", "AWS::CloudWatch::Dashboard",
		"AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig"}
	for id, r := range t["Resources"].(map[string]any) {
		if slices.Contains(untagged, r.(map[string]any)["Type"].(string)) {
			continue
		}
		got := map[string]any{}
		tags, _ := t.property(id, "Tags").([]any)
		for _, tag := range tags {
			tag := tag.(map[string]any)
			got[fmt.Sprint(tag["Key"])] = tag["Value"]
		}
		e.equal("tags of "+id, got, map[string]any{"Application": "market-data-pipeline", "Environment": suffixOf(t)})
	}
	return e
}

func suffixOf(t template) string {
	return strings.TrimPrefix(fmt.Sprint(t.property("AlertsTable", "TableName")), "market-alerts-")
}

// TestMutations removes or weakens one property at a time and wants the named check to notice.
func TestMutations(t *testing.T) {
	at := func(id string, path ...string) []string {
		return append([]string{"Resources", id, "Properties"}, path...)
	}
	tests := []struct {
		name, check string
		path        []string
		value       any // nil = removed
	}{
		{"queue without key", "encryption", at("Queue", "KmsMasterKeyId"), nil},
		{"dead-letter queue without key", "encryption", at("DeadLetterQueue", "KmsMasterKeyId"), nil},
		{"rejects queue with the AWS key", "encryption", at("RejectsQueue", "KmsMasterKeyId"), "alias/aws/sqs"},
		{"alerts table without key", "encryption", at("AlertsTable", "SSESpecification"), nil},
		{"state table with the AWS key", "encryption", at("StateTable", "SSESpecification", "KMSMasterKeyId"), nil},
		{"alert topic without key", "encryption", at("AlertTopic", "KmsMasterKeyId"), nil},
		{"alarm topic without key", "encryption", at("AlarmTopic", "KmsMasterKeyId"), nil},
		{"logs without key", "encryption", at("LogGroup", "KmsKeyId"), nil},
		{"environment without key", "encryption", at("Function", "KmsKeyArn"), nil},
		{"a topic less", "encryption", []string{"Resources", "AlertTopic"}, nil},
		{"no rotation", "key", at("Key", "EnableKeyRotation"), false},
		{"short window", "key", at("Key", "PendingWindowInDays"), nil},
		{"key for everybody", "public", at("Key", "KeyPolicy", "Statement", "1", "Principal"), map[string]any{"AWS": "*"}},
		{"every key action", "public", at("Key", "KeyPolicy", "Statement", "0", "Action"), "kms:*"},
		{"key used outside the services", "key", at("Key", "KeyPolicy", "Statement", "1", "Condition"), nil},
		{"grants outside the services", "key", at("Key", "KeyPolicy", "Statement", "2", "Condition"), nil},
		{"any environment", "key", at("Key", "KeyPolicy", "Statement", "3", "Condition"), nil},
		{"any log group", "key", at("Key", "KeyPolicy", "Statement", "4", "Condition"), nil},
		{"queue without TLS", "tls", at("QueuePolicy", "PolicyDocument", "Statement", "0", "Condition"), nil},
		{"queue's TLS is allowed", "tls", at("QueuePolicy", "PolicyDocument", "Statement", "0", "Effect"), "Allow"},
		{"dead-letter queue without a policy", "tls", []string{"Resources", "DeadLetterQueuePolicy"}, nil},
		{"rejects queue's TLS elsewhere", "tls", at("RejectsQueuePolicy", "Queues"), []any{"${Queue}"}},
		{"alert topic without TLS", "tls", []string{"Resources", "AlertTopicPolicy"}, nil},
		{"alarm topic without TLS", "tls", at("AlarmTopicPolicy", "PolicyDocument", "Statement", "0", "Condition", "Bool"), nil},
		{"queue open to all", "public", at("QueuePolicy", "PolicyDocument", "Statement", "0", "Effect"), "Allow"},
		{"alerts without recovery", "recovery", at("AlertsTable", "PointInTimeRecoverySpecification"), nil},
		{"state without recovery", "recovery", at("StateTable", "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled"), false},
		{"table is kept", "destroyed", []string{"Resources", "AlertsTable", "DeletionPolicy"}, "Retain"},
		{"key is kept by default", "destroyed", []string{"Resources", "Key", "DeletionPolicy"}, nil},
		{"table is protected", "destroyed", at("StateTable", "DeletionProtectionEnabled"), true},
		{"no redrive", "redrive", at("Queue", "RedrivePolicy"), nil},
		{"fewer tries", "redrive", at("Queue", "RedrivePolicy", "maxReceiveCount"), 3.0},
		{"redrive from anywhere", "redrive", at("DeadLetterQueue", "RedriveAllowPolicy"), nil},
		{"dead letters kept shorter", "redrive", at("DeadLetterQueue", "MessageRetentionPeriod"), 345600.0},
		{"deduplication by content", "fifo", at("Queue", "ContentBasedDeduplication"), true},
		{"low throughput", "fifo", at("Queue", "FifoThroughputLimit"), "perQueue"},
		{"whole batches fail", "event source", at("FunctionEventSource", "FunctionResponseTypes"), nil},
		{"pollers without limit", "event source", at("FunctionEventSource", "ScalingConfig"), nil},
		{"pollers beyond the reservation", "event source", at("FunctionEventSource", "ScalingConfig", "MaximumConcurrency"), 6.0},
		{"no place for the clock", "event source", at("FunctionEventSource", "ScalingConfig", "MaximumConcurrency"), 5.0},
		{"no schedule", "clock", []string{"Resources", "Clock"}, nil},
		{"schedule off", "clock", at("Clock", "State"), "DISABLED"},
		{"hourly clock", "clock", at("Clock", "ScheduleExpression"), "rate(1 hour)"},
		{"clock that ticks otherwise", "clock", at("Clock", "Targets", "0", "Input"), "{}"},
		{"clock that repeats deliveries", "clock", at("Clock", "Targets", "0", "RetryPolicy"), nil},
		{"clock without permission", "clock", []string{"Resources", "FunctionClock"}, nil},
		{"any rule may invoke", "clock", at("FunctionClock", "SourceArn"), nil},
		{"anybody may invoke", "clock", at("FunctionClock", "Principal"), "*"},
		{"another permission", "clock", []string{"Resources", "More"}, map[string]any{"Type": "AWS::Lambda::Permission"}},
		{"ticks are retried", "clock", at("FunctionEventInvokeConfig", "MaximumRetryAttempts"), 2.0},
		{"ticks pile up", "clock", at("FunctionEventInvokeConfig", "MaximumEventAgeInSeconds"), nil},
		{"queries of a whole table", "role", at("Role", "Policies", "0", "PolicyDocument", "Statement", "6", "Resource"), "${StateTable.Arn}/index/*"},
		{"clock that nobody watches", "alarms", []string{"Resources", "ClockAlarm"}, nil},
		{"short visibility", "event source", at("Queue", "VisibilityTimeout"), 359.0},
		{"window on a FIFO queue", "event source", at("FunctionEventSource", "MaximumBatchingWindowInSeconds"), 5.0},
		{"old runtime", "function", at("Function", "Runtime"), "provided.al2"},
		{"other architecture", "function", at("Function", "Architectures"), []any{"x86_64"}},
		{"no tracing", "function", at("Function", "TracingConfig"), nil},
		{"text logs", "function", at("Function", "LoggingConfig", "LogFormat"), "Text"},
		{"logs for ever", "function", at("LogGroup", "RetentionInDays"), nil},
		{"no reserved concurrency", "function", at("Function", "ReservedConcurrentExecutions"), nil},
		{"other table", "function", at("Function", "Environment", "Variables", settings.EnvStateTable), "${AlertsTable}"},
		{"a collector on two processors", "function", at("Function", "Environment", "Variables", "GOMAXPROCS"), nil},
		{"secret in the environment", "function", at("Function", "Environment", "Variables", "PASSWORD"), "x"},
		{"every table", "role", at("Role", "Policies", "0", "PolicyDocument", "Statement", "3", "Resource"), "*"},
		{"every DynamoDB action", "role", at("Role", "Policies", "0", "PolicyDocument", "Statement", "3", "Action"), "dynamodb:*"},
		{"no decrypt grant", "role", at("Role", "Policies", "0", "PolicyDocument", "Statement", "5"), nil},
		{"a managed policy", "role", at("Role", "ManagedPolicyArns"), []any{"arn:aws:iam::aws:policy/AdministratorAccess"}},
		{"another policy", "role", []string{"Resources", "More"}, map[string]any{"Type": "AWS::IAM::Policy"}},
		{"anyone's function", "role", at("Role", "AssumeRolePolicyDocument", "Statement", "0", "Principal"), "*"},
		{"silent alarm", "alarms", at("DeadLettersAlarm", "AlarmActions"), nil},
		{"alarm switched off", "alarms", at("ErrorRateAlarm", "ActionsEnabled"), false},
		{"high threshold", "alarms", at("ErrorRateAlarm", "Threshold"), 50.0},
		{"an alarm less", "alarms", []string{"Resources", "OldestMessageAlarm"}, nil},
		{"alarm of another name", "alarms", at("ThrottlesAlarm", "AlarmName"), "throttles"},
		{"topic refuses alarms", "alarms", at("AlarmTopicPolicy", "PolicyDocument", "Statement", "1"), nil},
		{"alarms of any account", "alarms", at("AlarmTopicPolicy", "PolicyDocument", "Statement", "1", "Condition", "StringEquals"), nil},
		{"key refuses alarms", "alarms", at("Key", "KeyPolicy", "Statement", "5"), nil},
		{"missing data alarms", "alarms", at("DurationAlarm", "TreatMissingData"), "breaching"},
		{"an output less", "outputs", []string{"Outputs", "SqsQueueUrl"}, nil},
		{"an untagged resource", "tags", at("Role", "Tags"), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			mutant := synthesized(t, "ordered").template(t)
			if !mutate(map[string]any(mutant), tt.path, tt.value) {
				t.Fatalf("there is nothing at %v", tt.path)
			}
			if errs := runChecks(mutant)[tt.check]; len(errs) == 0 {
				t.Errorf("the check %q does not notice", tt.check)
			}
		})
	}
}

// mutate sets or removes what is at path in v. It reports whether that changed anything.
func mutate(v any, path []string, value any) bool {
	key, rest := path[0], path[1:]
	switch v := v.(type) {
	case map[string]any:
		if len(rest) > 0 {
			if l, ok := v[key].([]any); ok && len(rest) == 1 && value == nil {
				var i int
				if _, err := fmt.Sscan(rest[0], &i); err != nil || i >= len(l) {
					return false
				}
				v[key] = slices.Delete(l, i, i+1)
				return true
			}
			return mutate(v[key], rest, value)
		}
		if old, there := v[key]; !there && value == nil || there && reflect.DeepEqual(old, value) {
			return false
		}
		if value == nil {
			delete(v, key)
		} else {
			v[key] = value
		}
		return true
	case []any:
		var i int
		if _, err := fmt.Sscan(key, &i); err != nil || i >= len(v) || len(rest) == 0 {
			return false
		}
		return mutate(v[i], rest, value)
	}
	return false
}
