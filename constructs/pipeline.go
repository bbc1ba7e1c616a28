package constructs

import (
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	golambda "github.com/aws/aws-cdk-go/awscdklambdagoalpha/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// MarketDataPipeline is the pipeline. Key, AlertTopic and AlarmTopic are those of the props where given; Dashboard is
// nil if it is disabled, and so is Clock. To allow the function more, grant it to Role: a grant to Function changes nothing.
type MarketDataPipeline struct {
	constructs.Construct

	Key             awskms.IKey
	Queue           awssqs.Queue
	DeadLetterQueue awssqs.Queue
	RejectsQueue    awssqs.Queue
	AlertsTable     awsdynamodb.Table
	StateTable      awsdynamodb.Table
	AlertTopic      awssns.ITopic
	AlarmTopic      awssns.ITopic
	LogGroup        awslogs.LogGroup
	Role            awsiam.Role
	Function        golambda.GoFunction
	EventSource     awslambda.EventSourceMapping
	Clock           awsevents.Rule
	Alarms          Alarms
	Dashboard       awscloudwatch.Dashboard

	suffix string
}

// NewMarketDataPipeline builds a pipeline in scope. It panics with a *PropsError, before it has built anything, if
// props are wrong or the rules do not load.
func NewMarketDataPipeline(scope constructs.Construct, id string, props *MarketDataPipelineProps) *MarketDataPipeline {
	stack := awscdk.Stack_Of(scope)
	r, rules, warnings, err := props.resolve()
	if err == nil && stack.Node().TryFindChild(jsii.String(r.OutputPrefix+OutputQueueURL)) != nil {
		err = &PropsError{fmt.Errorf("OutputPrefix is %q: stack %s has a pipeline with these outputs; give each further one a prefix of its own",
			r.OutputPrefix, *stack.StackName())}
	}
	if err != nil {
		panic(err)
	}

	p := &MarketDataPipeline{suffix: r.Suffix}
	constructs.NewConstruct_Override(p, scope, jsii.String(id))
	for _, w := range warnings {
		awscdk.Annotations_Of(p).AddWarningV2(jsii.String("market-data-pipeline:rules"), jsii.String(w.String()))
	}
	n := names{suffix: r.Suffix, stack: stack}
	if r.Delivery == settings.Ordered {
		n.fifo = ".fifo"
	}
	p.addKey(n, &r)
	p.addQueues(n, &r)
	p.addTables(n, &r)
	p.addTopics(n, &r)
	p.addFunction(n, &r, rules)
	if !r.DisableClock {
		p.addClock(n)
	}
	p.addAlarms(n, &r)
	if !r.DisableDashboard {
		p.addDashboard()
	}
	p.addOutputs(stack, r.OutputPrefix)

	p.tag("Environment", r.Suffix)
	p.tag("Application", "market-data-pipeline")
	for k, v := range r.Tags {
		p.tag(k, v)
	}
	return p
}

func (p *MarketDataPipeline) tag(key, value string) {
	awscdk.Tags_Of(p).Add(jsii.String(key), jsii.String(value), &awscdk.TagProps{
		// Not every region's CloudFormation takes a dashboard's tags, and linters refuse them.
		ExcludeResourceTypes: jsii.Strings("AWS::CloudWatch::Dashboard"),
	})
}

func (p *MarketDataPipeline) addKey(n names, r *MarketDataPipelineProps) {
	alarmTopic := ""
	if r.AlarmTopic == nil {
		alarmTopic = n.arn("sns", n.alarmTopic())
	}
	use := n.keyUse(alarmTopic, r.ProducerAccounts)
	if r.Key != nil {
		p.Key = r.Key
		for _, s := range use {
			if !*p.Key.AddToResourcePolicy(s, jsii.Bool(true)).StatementAdded {
				p.ownerMustAdd("key:"+*s.Sid(), "the policy of the key that was passed in", s)
			}
		}
		return
	}
	all := append([]awsiam.PolicyStatement{n.ownKeyAdministration()}, use...)
	p.Key = awskms.NewKey(p, jsii.String("Key"), &awskms.KeyProps{
		Alias:             jsii.String("market-data-" + n.suffix),
		Description:       jsii.String("Market data pipeline " + n.suffix),
		EnableKeyRotation: jsii.Bool(true),
		PendingWindow:     awscdk.Duration_Days(jsii.Number(7)),
		Policy:            awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{Statements: &all}),
		RemovalPolicy:     r.RemovalPolicy,
	})
}

func (p *MarketDataPipeline) addQueues(n names, r *MarketDataPipelineProps) {
	queue := func(id, name string, retention time.Duration, fifo bool, more awssqs.QueueProps) awssqs.Queue {
		more.QueueName = jsii.String(name)
		more.RetentionPeriod = seconds(retention)
		more.Encryption = awssqs.QueueEncryption_KMS
		more.EncryptionMasterKey = p.Key
		more.EnforceSSL = jsii.Bool(true)
		more.RemovalPolicy = r.RemovalPolicy
		if fifo {
			more.Fifo = jsii.Bool(true)
			more.FifoThroughputLimit = awssqs.FifoThroughputLimit_PER_MESSAGE_GROUP_ID
			more.DeduplicationScope = awssqs.DeduplicationScope_MESSAGE_GROUP
			more.ContentBasedDeduplication = jsii.Bool(false) // two equal ticks are two events
		}
		return awssqs.NewQueue(p, jsii.String(id), &more)
	}
	fifo := r.Delivery == settings.Ordered
	source := awssqs.Queue_FromQueueArn(p, jsii.String("RedriveSource"), jsii.String(n.arn("sqs", n.queue())))
	p.DeadLetterQueue = queue("DeadLetterQueue", n.deadLetter(), r.DeadLetterRetention, fifo, awssqs.QueueProps{
		RedriveAllowPolicy: &awssqs.RedriveAllowPolicy{SourceQueues: &[]awssqs.IQueue{source}},
	})
	p.Queue = queue("Queue", n.queue(), r.QueueRetention, fifo, awssqs.QueueProps{
		VisibilityTimeout: seconds(r.VisibilityTimeout),
		DeadLetterQueue: &awssqs.DeadLetterQueue{
			Queue: p.DeadLetterQueue, MaxReceiveCount: jsii.Number(r.MaxReceiveCount),
		},
	})
	p.RejectsQueue = queue("RejectsQueue", n.rejects(), r.RejectsRetention, false, awssqs.QueueProps{})
	if len(r.ProducerAccounts) > 0 {
		p.Queue.AddToResourcePolicy(statement("AdmitProducers", accounts(r.ProducerAccounts...), sendSQS, *p.Queue.QueueArn(), nil))
	}
}

func (p *MarketDataPipeline) addTables(n names, r *MarketDataPipelineProps) {
	table := func(id, name, ttl string, more awsdynamodb.TableProps) awsdynamodb.Table {
		more.TableName = jsii.String(name)
		more.BillingMode = awsdynamodb.BillingMode_PAY_PER_REQUEST
		more.Encryption = awsdynamodb.TableEncryption_CUSTOMER_MANAGED
		more.EncryptionKey = p.Key
		more.TimeToLiveAttribute = jsii.String(ttl)
		more.PointInTimeRecoverySpecification = &awsdynamodb.PointInTimeRecoverySpecification{
			PointInTimeRecoveryEnabled: jsii.Bool(!r.DisablePointInTimeRecovery),
		}
		more.RemovalPolicy = r.RemovalPolicy
		return awsdynamodb.NewTable(p, jsii.String(id), &more)
	}
	p.AlertsTable = table("AlertsTable", "market-alerts-"+n.suffix, settings.AlertsTTL, awsdynamodb.TableProps{
		PartitionKey: text(settings.AlertsPartitionKey),
		SortKey:      text(settings.AlertsSortKey),
	})
	// Only what never changes: an update of a projected attribute is a second, paid write.
	p.AlertsTable.AddGlobalSecondaryIndex(&awsdynamodb.GlobalSecondaryIndexProps{
		IndexName:        jsii.String(settings.DayIndex),
		PartitionKey:     text(settings.DayShardKey),
		SortKey:          text(settings.AlertsSortKey),
		ProjectionType:   awsdynamodb.ProjectionType_INCLUDE,
		NonKeyAttributes: jsii.Strings("source", "rule", "severity", "summary", "price", "value", "timestamp"),
	})
	p.AlertsTable.AddGlobalSecondaryIndex(&awsdynamodb.GlobalSecondaryIndexProps{
		IndexName:      jsii.String(settings.PendingIndex),
		PartitionKey:   text(settings.PendingShardKey),
		SortKey:        &awsdynamodb.Attribute{Name: jsii.String(settings.PendingLeaseKey), Type: awsdynamodb.AttributeType_NUMBER},
		ProjectionType: awsdynamodb.ProjectionType_KEYS_ONLY,
	})
	p.StateTable = table("StateTable", "market-state-"+n.suffix, settings.StateTTL, awsdynamodb.TableProps{
		PartitionKey: text(settings.StatePartitionKey),
	})
	p.StateTable.AddGlobalSecondaryIndex(&awsdynamodb.GlobalSecondaryIndexProps{
		IndexName:        jsii.String(settings.DueIndex),
		PartitionKey:     text(settings.DueShardKey),
		SortKey:          &awsdynamodb.Attribute{Name: jsii.String(settings.DueKey), Type: awsdynamodb.AttributeType_NUMBER},
		ProjectionType:   awsdynamodb.ProjectionType_INCLUDE,
		NonKeyAttributes: jsii.Strings(settings.DueEvent, settings.DueGroup),
	})
}

func text(name string) *awsdynamodb.Attribute {
	return &awsdynamodb.Attribute{Name: jsii.String(name), Type: awsdynamodb.AttributeType_STRING}
}

func (p *MarketDataPipeline) addTopics(n names, r *MarketDataPipelineProps) {
	topic := func(id, name string) awssns.Topic {
		return awssns.NewTopic(p, jsii.String(id), &awssns.TopicProps{
			TopicName: jsii.String(name), MasterKey: p.Key, EnforceSSL: jsii.Bool(true),
		})
	}
	p.AlertTopic, p.AlarmTopic = r.AlertTopic, r.AlarmTopic
	if p.AlertTopic == nil {
		p.AlertTopic = topic("AlertTopic", "trading-alerts-"+n.suffix)
	}
	if p.AlarmTopic == nil {
		p.AlarmTopic = topic("AlarmTopic", n.alarmTopic())
	}
	admit := n.alarmPublish(*p.AlarmTopic.TopicArn())
	if !*p.AlarmTopic.AddToResourcePolicy(admit).StatementAdded {
		p.ownerMustAdd("alarmTopic", "the policy of the alarm topic that was passed in", admit)
	}
	// Also for a topic of the app: a key whose policy names the topic that it encrypts would be a circle.
	if r.AlarmTopic != nil && (!*awscdk.Resource_IsOwnedResource(p.AlarmTopic) || p.AlarmTopic.MasterKey() != nil) {
		p.ownerMustAdd("alarmTopicKey", "the policy of the key of the alarm topic that was passed in, if it has a customer key",
			n.alarmKeyUse(*p.AlarmTopic.TopicArn()))
	}
	if r.AlertTopic != nil {
		p.adoptAlertTopic(n)
	}
	for _, address := range r.AlertEmails {
		p.AlertTopic.AddSubscription(&email{jsii.String(address)})
	}
	for _, address := range r.AlarmEmails {
		p.AlarmTopic.AddSubscription(&email{jsii.String(address)})
	}
}

// email subscribes an address. The CDK's own subscriptions are in a package that pulls a dozen services into every build.
// jsii calls it through pointer methods only.
type email struct{ address *string }

var _ awssns.ITopicSubscription = (*email)(nil)

// Bind names the address, which is the construct's id too: a topic takes each once.
func (e *email) Bind(awssns.ITopic) *awssns.TopicSubscriptionConfig {
	return &awssns.TopicSubscriptionConfig{SubscriberId: e.address, Endpoint: e.address, Protocol: awssns.SubscriptionProtocol_EMAIL}
}

// vCPU is the memory, in MiB, at which Lambda gives a function the equivalent of one processor.
const vCPU = 1769

func (p *MarketDataPipeline) addFunction(n names, r *MarketDataPipelineProps, rules []byte) {
	p.LogGroup = awslogs.NewLogGroup(p, jsii.String("LogGroup"), &awslogs.LogGroupProps{
		LogGroupName:  jsii.String(n.logGroup()),
		EncryptionKey: p.Key,
		Retention:     retentionDays[r.LogRetentionDays],
		RemovalPolicy: r.RemovalPolicy,
	})
	p.Role = awsiam.NewRole(p, jsii.String("Role"), &awsiam.RoleProps{
		AssumedBy:      awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
		Description:    jsii.String("Market data processor " + n.suffix),
		InlinePolicies: &map[string]awsiam.PolicyDocument{"processor": p.functionPolicy(r)},
	})
	var reserved *float64
	if !r.DisableReservedConcurrency {
		reserved = jsii.Number(r.ReservedConcurrency)
	}
	clock := settings.ClockOn
	if r.DisableClock {
		clock = settings.ClockOff
	}
	tracing := awslambda.Tracing_ACTIVE
	if r.DisableTracing {
		tracing = awslambda.Tracing_DISABLED
	}
	environment := map[string]*string{
		settings.EnvEnvironment:       jsii.String(n.suffix),
		settings.EnvQueueURL:          p.Queue.QueueUrl(),
		settings.EnvRejectsQueueURL:   p.RejectsQueue.QueueUrl(),
		settings.EnvAlertsTable:       p.AlertsTable.TableName(),
		settings.EnvStateTable:        p.StateTable.TableName(),
		settings.EnvAlertTopicARN:     p.AlertTopic.TopicArn(),
		settings.EnvDelivery:          jsii.String(string(r.Delivery)),
		settings.EnvRulesFile:         jsii.String(settings.DefaultRulesFile),
		settings.EnvLateness:          jsii.String(r.Lateness.String()),
		settings.EnvClockSkew:         jsii.String(r.ClockSkew.String()),
		settings.EnvAlertTTL:          jsii.String(r.AlertTTL.String()),
		settings.EnvStateTTL:          jsii.String(r.StateTTL.String()),
		settings.EnvMaxRetryDelay:     jsii.String(r.VisibilityTimeout.String()),
		settings.EnvSeriesConcurrency: jsii.String(fmt.Sprint(r.SeriesConcurrency)),
		settings.EnvClock:             jsii.String(string(clock)),
	}
	if r.MemoryMiB < vCPU {
		// Go sees two processors, and would spread its work and its garbage collector over them.
		environment["GOMAXPROCS"] = jsii.String("1")
	}
	p.Function = golambda.NewGoFunction(p, jsii.String("Function"), &golambda.GoFunctionProps{
		FunctionName:                 jsii.String(n.function()),
		Description:                  jsii.String("Turns market data into trading alerts"),
		Entry:                        jsii.String(r.Entry),
		Bundling:                     bundling(rules),
		Runtime:                      awslambda.Runtime_PROVIDED_AL2023(),
		Architecture:                 awslambda.Architecture_ARM_64(),
		MemorySize:                   jsii.Number(r.MemoryMiB),
		Timeout:                      seconds(r.Timeout),
		ReservedConcurrentExecutions: reserved,
		// Immutable: CDK would add statements of its own beside the hand-written policy.
		Role: awsiam.Role_FromRoleArn(p, jsii.String("FunctionRole"), p.Role.RoleArn(),
			&awsiam.FromRoleArnOptions{Mutable: jsii.Bool(false)}),
		EnvironmentEncryption: p.Key,
		Environment:           &environment,
		Tracing:               tracing,
		LogGroup:              p.LogGroup,
		LoggingFormat:         awslambda.LoggingFormat_JSON,
	})
	const reason = "The flags and commands are constants of this package; the only path in them is quoted."
	for _, id := range []string{"goBuildFlagsSecurityWarning", "commandHooksSecurityWarning"} {
		awscdk.Annotations_Of(p).AcknowledgeWarning(jsii.String("@aws-cdk/aws-lambda-go-alpha:"+id), jsii.String(reason))
	}

	var window awscdk.Duration
	if r.BatchingWindow > 0 {
		window = seconds(r.BatchingWindow)
	}
	// SqsEventSource would grant its own permissions.
	p.EventSource = p.Function.AddEventSourceMapping(jsii.String("EventSource"), &awslambda.EventSourceMappingOptions{
		EventSourceArn:          p.Queue.QueueArn(),
		BatchSize:               jsii.Number(r.BatchSize),
		MaxBatchingWindow:       window,
		MaxConcurrency:          jsii.Number(r.MaxConcurrency),
		ReportBatchItemFailures: jsii.Bool(true),
		MetricsConfig:           &awslambda.MetricsConfig{Metrics: &[]awslambda.MetricType{awslambda.MetricType_EVENT_COUNT}},
	})
}

// addClock invokes the function once a minute. Nobody repeats a tick that fails or has to wait: the next one comes anyway.
func (p *MarketDataPipeline) addClock(n names) {
	age := awscdk.Duration_Seconds(jsii.Number(60)) // the least that Lambda takes
	p.Function.ConfigureAsyncInvoke(&awslambda.EventInvokeConfigOptions{MaxEventAge: age, RetryAttempts: jsii.Number(0)})
	p.Clock = awsevents.NewRule(p, jsii.String("Clock"), &awsevents.RuleProps{
		RuleName:    jsii.String(n.clock()),
		Description: jsii.String("Clock of the market data pipeline " + n.suffix),
		Schedule:    awsevents.Schedule_Rate(awscdk.Duration_Minutes(jsii.Number(1))),
	})
	// The targets package would pull a dozen services into every build.
	p.Clock.Node().DefaultChild().(awsevents.CfnRule).SetTargets(&[]any{&awsevents.CfnRule_TargetProperty{
		Id: jsii.String("processor"), Arn: p.Function.FunctionArn(),
		Input:       jsii.String(fmt.Sprintf(`{%q:%q}`, settings.ClockKey, settings.ClockTick)),
		RetryPolicy: &awsevents.CfnRule_RetryPolicyProperty{MaximumEventAgeInSeconds: age.ToSeconds(nil), MaximumRetryAttempts: jsii.Number(0)},
	}})
	p.Function.AddPermission(jsii.String("Clock"), &awslambda.Permission{
		Principal: awsiam.NewServicePrincipal(jsii.String("events.amazonaws.com"), nil), SourceArn: p.Clock.RuleArn(),
	})
}

func seconds(d time.Duration) awscdk.Duration {
	return awscdk.Duration_Seconds(jsii.Number(d.Seconds()))
}

// The names of the stack's outputs, after OutputPrefix.
const (
	OutputQueueURL      = "SqsQueueUrl"
	OutputTopicARN      = "SnsTopicArn"
	OutputAlertsTable   = "DynamodbTableName"
	OutputFunction      = "LambdaFunctionName"
	OutputDeadLetterURL = "DeadLetterQueueUrl"
	OutputRejectsURL    = "RejectsQueueUrl"
	OutputStateTable    = "StateTableName"
	OutputAlarmTopicARN = "AlarmTopicArn"
	OutputKeyARN        = "KeyArn"
	OutputLogGroup      = "LogGroupName"
	OutputDashboard     = "DashboardName"
)

// addOutputs puts the outputs directly under the stack, where their names are exactly what is given.
func (p *MarketDataPipeline) addOutputs(stack awscdk.Stack, prefix string) {
	output := func(name string, value *string, description string) {
		awscdk.NewCfnOutput(stack, jsii.String(prefix+name), &awscdk.CfnOutputProps{
			Value: value, Description: jsii.String(description),
		})
	}
	output(OutputQueueURL, p.Queue.QueueUrl(), "Send market data here")
	output(OutputTopicARN, p.AlertTopic.TopicArn(), "Subscribe to alerts here")
	output(OutputAlertsTable, p.AlertsTable.TableName(), "The alerts")
	output(OutputFunction, p.Function.FunctionName(), "The processor")
	output(OutputDeadLetterURL, p.DeadLetterQueue.QueueUrl(), "Messages whose retries are used up")
	output(OutputRejectsURL, p.RejectsQueue.QueueUrl(), "Refused events, with reasons")
	output(OutputStateTable, p.StateTable.TableName(), "The rules' state per series")
	output(OutputAlarmTopicARN, p.AlarmTopic.TopicArn(), "Subscribe to operational alarms here")
	output(OutputKeyARN, p.Key.KeyArn(), "The key that encrypts everything")
	output(OutputLogGroup, p.LogGroup.LogGroupName(), "The processor's logs")
	if p.Dashboard != nil {
		output(OutputDashboard, p.Dashboard.DashboardName(), "The CloudWatch dashboard")
	}
}

// GrantSendMarketData lets grantee send to the market data queue.
func (p *MarketDataPipeline) GrantSendMarketData(grantee awsiam.IGrantable) {
	grant(grantee, sendSQS, *p.Queue.QueueArn())
	grant(grantee, useKey, *p.Key.KeyArn())
}

// GrantReadAlerts lets grantee read the alerts, by symbol and by day.
func (p *MarketDataPipeline) GrantReadAlerts(grantee awsiam.IGrantable) {
	grant(grantee, []string{"dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:Query"},
		*p.AlertsTable.TableArn(), *p.AlertsTable.TableArn()+"/index/"+settings.DayIndex)
	grant(grantee, []string{"kms:Decrypt"}, *p.Key.KeyArn())
}

func grant(grantee awsiam.IGrantable, actions []string, arns ...string) {
	awsiam.Grant_AddToPrincipal(&awsiam.GrantOnPrincipalOptions{
		Grantee: grantee, Actions: jsii.Strings(actions...), ResourceArns: jsii.Strings(arns...),
	}).AssertSuccess()
}

// AlertFilter chooses alerts; an empty field chooses all. In Symbols and Rules a trailing "*" matches any ending.
type AlertFilter struct {
	Severities []alert.Severity
	Symbols    []string
	Rules      []string
}

// AddAlertSubscription subscribes to the alerts that filter chooses.
func (p *MarketDataPipeline) AddAlertSubscription(subscription awssns.ITopicSubscription, filter AlertFilter) awssns.Subscription {
	s := p.AlertTopic.AddSubscription(subscription)
	policy := map[string]any{}
	add := func(attribute string, values []string) {
		var matches []any
		for _, v := range values {
			if prefix, ok := strings.CutSuffix(v, "*"); ok {
				matches = append(matches, map[string]any{"prefix": prefix})
			} else {
				matches = append(matches, v)
			}
		}
		if matches != nil {
			policy[attribute] = matches
		}
	}
	var severities []string
	for _, v := range filter.Severities {
		severities = append(severities, string(v))
	}
	add("severity", severities)
	add("symbol", filter.Symbols)
	add("rule", filter.Rules)
	if len(policy) > 0 {
		s.Node().DefaultChild().(awssns.CfnSubscription).SetFilterPolicy(policy)
	}
	return s
}
