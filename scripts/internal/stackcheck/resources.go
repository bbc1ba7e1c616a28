package stackcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// What app.go deploys unless told otherwise.
const (
	retention       = 14 * 24 * time.Hour
	maxReceiveCount = 10
	memoryMiB       = 256
	functionTimeout = 60
	batchSize       = 10
	alarmCount      = 11
)

// Resources reports, service by service, whether the stack's resources are what app.go deploys.
func (s *Stack) Resources(ctx context.Context, r *Report) {
	for _, check := range []struct {
		name string
		look func(context.Context, *facts)
	}{
		{"queues", s.queues}, {"tables", s.tables}, {"topics", s.topics}, {"key", s.key}, {"function", s.function},
		{"event source mapping", s.mapping}, {"clock", s.clock}, {"log group and alarms", s.operations},
	} {
		r.Step(check.name, func() (string, error) {
			f := &facts{emulated: s.Emulated}
			check.look(ctx, f)
			return f.result()
		})
	}
}

func (s *Stack) attributes(ctx context.Context, url string) (map[string]string, error) {
	out, err := s.SQS.GetQueueAttributes(ctx, &sqs.GetQueueAttributesInput{
		QueueUrl: &url, AttributeNames: []sqstypes.QueueAttributeName{sqstypes.QueueAttributeNameAll},
	})
	if err != nil {
		return nil, fmt.Errorf("attributes of queue %s: %w", url, err)
	}
	return out.Attributes, nil
}

func (s *Stack) queues(ctx context.Context, f *facts) {
	for _, q := range []struct {
		name, url string
		fifo      bool
	}{{"queue", s.QueueURL, s.FIFO()}, {"dead-letter queue", s.DeadLetterURL, s.FIFO()}, {"rejects queue", s.RejectsURL, false}} {
		a, err := s.attributes(ctx, q.url)
		if f.failed(err) {
			continue
		}
		equal(f, q.name+": retention", a["MessageRetentionPeriod"], strconv.Itoa(int(retention.Seconds())))
		equal(f, q.name+": key", a["KmsMasterKeyId"], s.KeyARN)
		equal(f, q.name+": ARN", a["QueueArn"], s.QueueARN(q.url))
		fifo := map[bool]map[string]string{true: {
			"FifoQueue": "true", "ContentBasedDeduplication": "false", "DeduplicationScope": "messageGroup", "FifoThroughputLimit": "perMessageGroupId",
		}}
		for _, k := range []string{"FifoQueue", "ContentBasedDeduplication", "DeduplicationScope", "FifoThroughputLimit"} {
			equal(f, q.name+": "+k, a[k], fifo[q.fifo][k])
		}
		onAWS(f, q.name+": refuses calls without TLS", strings.Contains(a["Policy"], "aws:SecureTransport"), true)
		switch q.url {
		case s.QueueURL:
			var redrive struct {
				Target string `json:"deadLetterTargetArn"`
				Max    any    `json:"maxReceiveCount"` // a number, in old queues its text
			}
			f.failed(json.Unmarshal([]byte(a["RedrivePolicy"]), &redrive))
			equal(f, q.name+": dead letters go to", redrive.Target, s.QueueARN(s.DeadLetterURL))
			equal(f, q.name+": maxReceiveCount", fmt.Sprint(redrive.Max), strconv.Itoa(maxReceiveCount))
			visibility, _ := strconv.Atoi(a["VisibilityTimeout"])
			f.that(q.name+": visibility timeout", visibility >= 6*functionTimeout, "is %d s, want at least 6 times the function's timeout", visibility)
		case s.DeadLetterURL:
			onAWS(f, q.name+": takes dead letters of the queue only", strings.Contains(a["RedriveAllowPolicy"], s.QueueARN(s.QueueURL)), true)
		}
	}
}

func (s *Stack) tables(ctx context.Context, f *facts) {
	type key map[types.KeyType]string
	keyOf := func(schema []types.KeySchemaElement) string {
		k := key{}
		for _, e := range schema {
			k[e.KeyType] = aws.ToString(e.AttributeName)
		}
		return k[types.KeyTypeHash] + "," + k[types.KeyTypeRange]
	}
	for _, t := range []struct {
		name, key, ttl string
		indexes        map[string]string
	}{
		{s.AlertsTable, settings.AlertsPartitionKey + "," + settings.AlertsSortKey, settings.AlertsTTL, map[string]string{
			settings.DayIndex:     settings.DayShardKey + "," + settings.AlertsSortKey + " INCLUDE price rule severity source summary timestamp value",
			settings.PendingIndex: settings.PendingShardKey + "," + settings.PendingLeaseKey + " KEYS_ONLY",
		}},
		{s.StateTable, settings.StatePartitionKey + ",", settings.StateTTL, map[string]string{
			settings.DueIndex: settings.DueShardKey + "," + settings.DueKey + " INCLUDE " + settings.DueEvent + " " + settings.DueGroup,
		}},
	} {
		out, err := s.Tables.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.name})
		if f.failed(err) {
			continue
		}
		d := out.Table
		equal(f, t.name+": key", keyOf(d.KeySchema), t.key)
		equal(f, t.name+": status", d.TableStatus, types.TableStatusActive)
		mode := types.BillingModeProvisioned
		if d.BillingModeSummary != nil {
			mode = d.BillingModeSummary.BillingMode
		}
		equal(f, t.name+": billing", mode, types.BillingModePayPerRequest)
		equal(f, t.name+": deletion protection", aws.ToBool(d.DeletionProtectionEnabled), false)
		indexes := map[string]string{}
		for _, x := range d.GlobalSecondaryIndexes {
			copied := append([]string{keyOf(x.KeySchema), string(x.Projection.ProjectionType)}, slices.Sorted(slices.Values(x.Projection.NonKeyAttributes))...)
			indexes[aws.ToString(x.IndexName)] = strings.Join(copied, " ")
		}
		f.that(t.name+": indexes", maps.Equal(indexes, t.indexes), "are %v, want %v", indexes, t.indexes)
		encryption := ""
		if d.SSEDescription != nil {
			encryption = aws.ToString(d.SSEDescription.KMSMasterKeyArn)
		}
		onAWS(f, t.name+": key that encrypts", encryption, s.KeyARN)
		s.protection(ctx, f, t.name, t.ttl)
	}
}

func (s *Stack) protection(ctx context.Context, f *facts, table, ttl string) {
	live, err := s.Tables.DescribeTimeToLive(ctx, &dynamodb.DescribeTimeToLiveInput{TableName: &table})
	if !f.failed(err) {
		onAWS(f, table+": time to live", aws.ToString(live.TimeToLiveDescription.AttributeName), ttl)
	}
	backups, err := s.Tables.DescribeContinuousBackups(ctx, &dynamodb.DescribeContinuousBackupsInput{TableName: &table})
	if !f.failed(err) {
		status := types.PointInTimeRecoveryStatusDisabled
		if p := backups.ContinuousBackupsDescription.PointInTimeRecoveryDescription; p != nil {
			status = p.PointInTimeRecoveryStatus
		}
		onAWS(f, table+": point-in-time recovery", status, types.PointInTimeRecoveryStatusEnabled)
	}
}

func (s *Stack) topics(ctx context.Context, f *facts) {
	for name, arn := range map[string]string{"alert topic": s.AlertTopicARN, "alarm topic": s.AlarmTopicARN} {
		out, err := s.SNS.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: &arn})
		if f.failed(err) {
			continue
		}
		equal(f, name+": key", out.Attributes["KmsMasterKeyId"], s.KeyARN)
		onAWS(f, name+": refuses calls without TLS", strings.Contains(out.Attributes["Policy"], "aws:SecureTransport"), true)
		if name == "alarm topic" {
			onAWS(f, name+": admits CloudWatch", strings.Contains(out.Attributes["Policy"], "cloudwatch.amazonaws.com"), true)
		}
	}
}

func (s *Stack) key(ctx context.Context, f *facts) {
	var rotation struct{ KeyRotationEnabled bool }
	if !f.failed(s.API.JSON(ctx, "kms", "TrentService.GetKeyRotationStatus", map[string]string{"KeyId": s.KeyARN}, &rotation)) {
		equal(f, "key: rotation", rotation.KeyRotationEnabled, true)
	}
	aliases, err := s.aliases(ctx)
	if !f.failed(err) {
		suffix := strings.TrimPrefix(s.Name, "market-data-")
		equal(f, "key: alias/market-data-"+suffix, aliases["alias/market-data-"+suffix], s.KeyARN[strings.LastIndexByte(s.KeyARN, '/')+1:])
	}
}

// aliases are the ids of the account's keys by alias.
func (s *Stack) aliases(ctx context.Context) (map[string]string, error) {
	byName := map[string]string{}
	in := map[string]string{}
	for {
		var page struct {
			Aliases    []struct{ AliasName, TargetKeyId string }
			Truncated  bool
			NextMarker string
		}
		if err := s.API.JSON(ctx, "kms", "TrentService.ListAliases", in, &page); err != nil {
			return nil, err
		}
		for _, a := range page.Aliases {
			byName[a.AliasName] = a.TargetKeyId
		}
		if !page.Truncated {
			return byName, nil
		}
		in["Marker"] = page.NextMarker
	}
}

func (s *Stack) function(ctx context.Context, f *facts) {
	fn, err := s.Function(ctx)
	if f.failed(err) {
		return
	}
	equal(f, "function: runtime", fn.Runtime, "provided.al2023")
	equal(f, "function: handler", fn.Handler, "bootstrap")
	equal(f, "function: memory", fn.MemoryMiB, memoryMiB)
	equal(f, "function: timeout", fn.TimeoutSecs, functionTimeout)
	onAWS(f, "function: architecture", strings.Join(fn.Architectures, ","), "arm64")
	onAWS(f, "function: tracing", fn.Tracing.Mode, "Active")
	onAWS(f, "function: key of the environment", fn.KeyARN, s.KeyARN)
	onAWS(f, "function: log format", fn.Logging.Format, "JSON")
	onAWS(f, "function: log group", fn.Logging.Group, s.LogGroup)

	c, err := fn.Settings(s.Region)
	if f.failed(err) {
		return
	}
	equal(f, "function: "+settings.EnvQueueURL, c.QueueURL, s.QueueURL)
	equal(f, "function: "+settings.EnvRejectsQueueURL, c.RejectsQueueURL, s.RejectsURL)
	equal(f, "function: "+settings.EnvAlertsTable, c.AlertsTable, s.AlertsTable)
	equal(f, "function: "+settings.EnvStateTable, c.StateTable, s.StateTable)
	equal(f, "function: "+settings.EnvAlertTopicARN, c.AlertTopicARN, s.AlertTopicARN)
	equal(f, "function: "+settings.EnvDelivery, c.Delivery == settings.Ordered, s.FIFO())
	equal(f, "function: "+settings.EnvClock, c.Clock, settings.ClockOn)
	equal(f, "function: "+settings.EnvEnvironment, "market-data-"+c.Environment, s.Name)
}

func (s *Stack) mapping(ctx context.Context, f *facts) {
	m, err := s.Mapping(ctx)
	if f.failed(err) {
		return
	}
	equal(f, "mapping: source", m.SourceARN, s.QueueARN(s.QueueURL))
	equal(f, "mapping: state", m.State, "Enabled")
	equal(f, "mapping: batch size", m.BatchSize, batchSize)
	equal(f, "mapping: window", m.Window, 0)
	equal(f, "mapping: partial batch responses", m.ReportsItemFailures(), true)
	equal(f, "mapping: metrics", strings.Join(m.Metrics.Metrics, ","), "EventCount")
	f.that("mapping: MaximumConcurrency", m.Scaling.MaximumConcurrency >= 2, "is %d, want at least 2", m.Scaling.MaximumConcurrency)
	var reserved struct{ ReservedConcurrentExecutions *int }
	err = s.API.REST(ctx, "lambda", "GET", "/2019-09-30/functions/"+s.FunctionName+"/concurrency", nil, &reserved)
	if n := reserved.ReservedConcurrentExecutions; !f.failed(err) && n != nil { // it can be switched off
		f.that("mapping: MaximumConcurrency", m.Scaling.MaximumConcurrency < *n, "is %d, which leaves the clock no place in the function's reserved concurrency of %d",
			m.Scaling.MaximumConcurrency, *n)
	}
}

func (s *Stack) clock(ctx context.Context, f *facts) {
	fn, err := s.Function(ctx)
	if f.failed(err) {
		return
	}
	var rule struct{ Arn, State, ScheduleExpression string }
	if f.failed(s.API.JSON(ctx, "events", "AWSEvents.DescribeRule", map[string]string{"Name": s.clockRule()}, &rule)) {
		return
	}
	equal(f, "clock: state", rule.State, "ENABLED")
	equal(f, "clock: schedule", rule.ScheduleExpression, "rate(1 minute)")
	target, err := s.ClockTarget(ctx)
	if !f.failed(err) {
		equal(f, "clock: target", target.Arn, fn.ARN)
		equal(f, "clock: input", target.Input, fmt.Sprintf(`{%q:%q}`, settings.ClockKey, settings.ClockTick))
		equal(f, "clock: retries of a delivery", target.RetryPolicy, RetryPolicy{MaximumEventAgeInSeconds: tickAge})
	}
	var policy struct{ Policy string }
	if !f.failed(s.API.REST(ctx, "lambda", "GET", "/2015-03-31/functions/"+s.FunctionName+"/policy", nil, &policy)) {
		f.that("clock: permission to invoke", strings.Contains(policy.Policy, `"events.amazonaws.com"`) && strings.Contains(policy.Policy, `"`+rule.Arn+`"`),
			"is not given to %s", rule.Arn)
	}
	const retries = "clock: retries of a tick"
	if s.Emulated {
		onAWS(f, retries, false, true)
		return
	}
	var async RetryPolicy
	if !f.failed(s.API.REST(ctx, "lambda", "GET", "/2019-09-25/functions/"+s.FunctionName+"/event-invoke-config", nil, &async)) {
		equal(f, retries, async, RetryPolicy{MaximumEventAgeInSeconds: tickAge})
	}
}

// tickAge is for how many seconds a tick of the clock may wait.
const tickAge = 60

// RetryPolicy bounds the repetitions of an event that could not be delivered.
type RetryPolicy struct{ MaximumEventAgeInSeconds, MaximumRetryAttempts int }

// ClockTarget is what the clock's rule invokes.
type ClockTarget struct {
	Arn, Input  string
	RetryPolicy RetryPolicy
}

func (s *Stack) clockRule() string {
	return "market-data-clock-" + strings.TrimPrefix(s.Name, "market-data-")
}

// ClockTarget reads the only target of the clock's rule.
func (s *Stack) ClockTarget(ctx context.Context) (*ClockTarget, error) {
	var list struct{ Targets []ClockTarget }
	if err := s.API.JSON(ctx, "events", "AWSEvents.ListTargetsByRule", map[string]string{"Rule": s.clockRule()}, &list); err != nil {
		return nil, err
	}
	if len(list.Targets) != 1 {
		return nil, fmt.Errorf("rule %s has %d targets, want 1", s.clockRule(), len(list.Targets))
	}
	return &list.Targets[0], nil
}

func (s *Stack) operations(ctx context.Context, f *facts) {
	groups, err := s.logGroups(ctx, s.LogGroup)
	if !f.failed(err) {
		g, there := groups[s.LogGroup]
		f.that("log group "+s.LogGroup, there, "is missing")
		f.that("log group: retention", g.RetentionInDays > 0, "is unlimited")
		onAWS(f, "log group: key", g.KMSKeyID, s.KeyARN)
	}
	alarms, err := s.alarms(ctx)
	if f.failed(err) {
		return
	}
	f.that("alarms", len(alarms) >= alarmCount, "are %d, want at least %d", len(alarms), alarmCount)
	for _, a := range alarms {
		f.that("alarm "+a.Name, slices.Contains(a.Actions, s.AlarmTopicARN), "does not notify %s", s.AlarmTopicARN)
	}
}

type logGroup struct {
	Name            string `json:"logGroupName"`
	RetentionInDays int    `json:"retentionInDays"`
	KMSKeyID        string `json:"kmsKeyId"`
}

func (s *Stack) logGroups(ctx context.Context, prefix string) (map[string]logGroup, error) {
	var list struct {
		LogGroups []logGroup `json:"logGroups"`
	}
	err := s.API.JSON(ctx, "logs", "Logs_20140328.DescribeLogGroups", map[string]string{"logGroupNamePrefix": prefix}, &list)
	groups := map[string]logGroup{}
	for _, g := range list.LogGroups {
		groups[g.Name] = g
	}
	return groups, err
}

type alarm struct {
	Name    string   `xml:"AlarmName"`
	State   string   `xml:"StateValue"`
	Actions []string `xml:"AlarmActions>member"`
}

// alarms are the stack's alarms: their names begin with its.
func (s *Stack) alarms(ctx context.Context) ([]alarm, error) {
	var list struct {
		Alarms []alarm `xml:"DescribeAlarmsResult>MetricAlarms>member"`
	}
	err := s.API.Query(ctx, "monitoring", cloudWatchVersion, "DescribeAlarms", map[string]string{"AlarmNamePrefix": s.Name + "-", "MaxRecords": "100"}, &list)
	return list.Alarms, err
}

// Gone returns an error that names everything of the stack that is left, by the names that app.go gives.
func (s *Stack) Gone(ctx context.Context) error {
	suffix := strings.TrimPrefix(s.Name, "market-data-")
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	left := func(kind, name string) { note(fmt.Errorf("%s %s is left", kind, name)) }

	var stacks struct {
		Status []string `xml:"DescribeStacksResult>Stacks>member>StackStatus"`
	}
	err := s.API.Query(ctx, "cloudformation", cloudFormationVersion, "DescribeStacks", map[string]string{"StackName": s.Name}, &stacks)
	if err == nil && !slices.Equal(stacks.Status, []string{"DELETE_COMPLETE"}) {
		left("stack", s.Name)
	} else if err != nil && !missing(err) {
		note(err)
	}
	queues, err := s.SQS.ListQueues(ctx, &sqs.ListQueuesInput{QueueNamePrefix: aws.String("market-data-")})
	note(err)
	for _, url := range queuesOf(queues, suffix) {
		left("queue", url)
	}
	tables, err := s.Tables.ListTables(ctx, &dynamodb.ListTablesInput{})
	note(err)
	if tables != nil {
		for _, name := range []string{"market-alerts-" + suffix, "market-state-" + suffix} {
			if slices.Contains(tables.TableNames, name) {
				left("table", name)
			}
		}
	}
	topics, err := s.SNS.ListTopics(ctx, &sns.ListTopicsInput{})
	note(err)
	if topics != nil {
		for _, t := range topics.Topics {
			if arn := aws.ToString(t.TopicArn); strings.HasSuffix(arn, ":trading-alerts-"+suffix) || strings.HasSuffix(arn, ":market-data-alarms-"+suffix) {
				left("topic", arn)
			}
		}
	}
	name := "data-processor-" + suffix
	if err := s.API.REST(ctx, "lambda", "GET", "/2015-03-31/functions/"+name+"/configuration", nil, &Function{}); err == nil {
		left("function", name)
	} else if !missing(err) {
		note(err)
	}
	var mappings struct{ EventSourceMappings []Mapping }
	note(s.API.REST(ctx, "lambda", "GET", "/2015-03-31/event-source-mappings/", nil, &mappings))
	for _, m := range mappings.EventSourceMappings {
		if strings.Contains(m.SourceARN, ":market-data-"+suffix) {
			left("event source mapping", m.UUID)
		}
	}
	groups, err := s.logGroups(ctx, "/aws/lambda/"+name)
	note(err)
	for g := range groups {
		left("log group", g)
	}
	alarms, err := s.alarms(ctx)
	note(err)
	for _, a := range alarms {
		left("alarm", a.Name)
	}
	aliases, err := s.aliases(ctx)
	note(err)
	if id, there := aliases["alias/market-data-"+suffix]; there {
		left("alias of key", id)
	}
	var rules struct{ Rules []struct{ Name string } }
	note(s.API.JSON(ctx, "events", "AWSEvents.ListRules", map[string]string{"NamePrefix": s.clockRule()}, &rules))
	for _, r := range rules.Rules {
		if r.Name == s.clockRule() {
			left("rule", r.Name)
		}
	}
	var dashboards struct {
		Names []string `xml:"ListDashboardsResult>DashboardEntries>member>DashboardName"`
	}
	note(s.API.Query(ctx, "monitoring", cloudWatchVersion, "ListDashboards", map[string]string{"DashboardNamePrefix": s.Name}, &dashboards))
	if slices.Contains(dashboards.Names, s.Name) {
		left("dashboard", s.Name)
	}
	var roles struct {
		Names []string `xml:"ListRolesResult>Roles>member>RoleName"`
	}
	note(s.API.Query(ctx, "iam", iamVersion, "ListRoles", map[string]string{"MaxItems": "1000"}, &roles))
	for _, r := range roles.Names {
		if strings.HasPrefix(r, s.Name+"-") {
			left("role", r)
		}
	}
	return errors.Join(errs...)
}

func queuesOf(list *sqs.ListQueuesOutput, suffix string) (urls []string) {
	if list == nil {
		return nil
	}
	for _, url := range list.QueueUrls {
		name := strings.TrimSuffix(url[strings.LastIndexByte(url, '/')+1:], ".fifo")
		if slices.Contains([]string{"market-data-" + suffix, "market-data-dlq-" + suffix, "market-data-rejects-" + suffix}, name) {
			urls = append(urls, url)
		}
	}
	return urls
}
