package constructs

import (
	"fmt"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/interfaces/interfacesawscloudwatch"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// Alarms are the pipeline's alarms; each notifies AlarmTopic.
type Alarms struct {
	ErrorRate         awscloudwatch.Alarm // failed invocations
	RecordFailureRate awscloudwatch.Alarm // failed records of invocations that succeed
	DeadLetters       awscloudwatch.Alarm
	RejectRate        awscloudwatch.Alarm
	LateRate          awscloudwatch.Alarm
	OldestMessage     awscloudwatch.Alarm
	Throttles         awscloudwatch.Alarm
	Duration          awscloudwatch.Alarm
	PendingExpired    awscloudwatch.Alarm // alerts whose publisher died
	AlertsFailed      awscloudwatch.Alarm // alerts that SNS refuses for good
	Clock             awscloudwatch.Alarm // ticks that did not run to their end; nil if the clock is disabled
}

func period() awscdk.Duration { return awscdk.Duration_Minutes(jsii.Number(5)) }

func over5Minutes(statistic string) *awscloudwatch.MetricOptions {
	return &awscloudwatch.MetricOptions{Period: period(), Statistic: jsii.String(statistic)}
}

// Metric is one of the processor's own metrics, named in package settings (settings.MetricAlertsFired ...): by
// default its sum over 5 minutes.
func (p *MarketDataPipeline) Metric(name string, options *awscloudwatch.MetricOptions) awscloudwatch.Metric {
	m := awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace:     jsii.String(settings.MetricsNamespace),
		MetricName:    jsii.String(name),
		DimensionsMap: &map[string]*string{settings.MetricsDimension: jsii.String(p.suffix)},
		Period:        period(),
		Statistic:     jsii.String("Sum"),
	})
	if options == nil {
		return m
	}
	return m.With(options)
}

// ratio is 100*part/whole over 5 minutes, 0 where there is no traffic. The ids are unique within a graph.
func ratio(label, partID string, part awscloudwatch.IMetric, wholeID string, whole awscloudwatch.IMetric) awscloudwatch.MathExpression {
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression:   jsii.String(fmt.Sprintf("IF(%[2]s > 0, 100 * %[1]s / %[2]s, 0)", partID, wholeID)),
		UsingMetrics: &map[string]awscloudwatch.IMetric{partID: part, wholeID: whole},
		Label:        jsii.String(label),
		Period:       period(),
	})
}

// MetricErrorRate is the percentage of invocations that failed. It cannot see single failed records.
func (p *MarketDataPipeline) MetricErrorRate() awscloudwatch.MathExpression {
	return ratio("Errors %", "errors", p.Function.MetricErrors(over5Minutes("Sum")), "invocations", p.Function.MetricInvocations(over5Minutes("Sum")))
}

// MetricRecordFailureRate is the percentage of records that failed and will be tried again.
func (p *MarketDataPipeline) MetricRecordFailureRate() awscloudwatch.MathExpression {
	return ratio("Failed records %", "failed", p.Metric(settings.MetricRecordsFailed, nil), "records", p.Metric(settings.MetricRecordsReceived, nil))
}

// MetricRejectRate is the percentage of events that were refused.
func (p *MarketDataPipeline) MetricRejectRate() awscloudwatch.MathExpression {
	return ratio("Rejected events %", "rejected", p.Metric(settings.MetricEventsRejected, nil), "events", p.Metric(settings.MetricEventsReceived, nil))
}

// MetricLateRate is the percentage of events that came too late to count.
func (p *MarketDataPipeline) MetricLateRate() awscloudwatch.MathExpression {
	return ratio("Late events %", "late", p.Metric(settings.MetricEventsLate, nil), "events", p.Metric(settings.MetricEventsReceived, nil))
}

// MetricDeadLetters is the number of messages in the dead-letter queue.
func (p *MarketDataPipeline) MetricDeadLetters() awscloudwatch.Metric {
	return p.DeadLetterQueue.MetricApproximateNumberOfMessagesVisible(over5Minutes("Maximum"))
}

// MetricOldestMessage is the age of the oldest message in the market data queue, in seconds. On a standard queue SQS
// leaves out what was received three times: the alarm then sees what waits, and not what fails.
func (p *MarketDataPipeline) MetricOldestMessage() awscloudwatch.Metric {
	return p.Queue.MetricApproximateAgeOfOldestMessage(over5Minutes("Maximum"))
}

// MetricLostTicks is the number of the clock's ticks, of five in 5 minutes, that failed or never ran. A pipeline whose
// clock is disabled has none: nil.
func (p *MarketDataPipeline) MetricLostTicks() awscloudwatch.MathExpression {
	if p.Clock == nil {
		return nil
	}
	return awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		// Neither metric is sent while nothing is lost. Filled, a sum does not depend on what "+" makes of that, and
		// the alarm does not look at an old loss again.
		Expression: jsii.String("SUM([FILL(dropped, 0), FILL(undelivered, 0)])"),
		UsingMetrics: &map[string]awscloudwatch.IMetric{
			"dropped": p.Function.Metric(jsii.String("AsyncEventsDropped"), over5Minutes("Sum")),
			"undelivered": awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
				Namespace: jsii.String("AWS/Events"), MetricName: jsii.String("FailedInvocations"),
				DimensionsMap: &map[string]*string{"RuleName": p.Clock.RuleName()}, Period: period(), Statistic: jsii.String("Sum"),
			}),
		},
		Label:  jsii.String("Lost ticks"),
		Period: period(),
	})
}

// notify sends an alarm to a topic. The CDK's own action is in a package that pulls a dozen services into every build.
// jsii calls it through pointer methods only.
type notify struct{ topicARN *string }

var _ awscloudwatch.IAlarmAction = (*notify)(nil)

// Bind names the topic.
func (n *notify) Bind(constructs.Construct, awscloudwatch.IAlarm) *awscloudwatch.AlarmActionConfig {
	return &awscloudwatch.AlarmActionConfig{AlarmActionArn: n.topicARN}
}

func (p *MarketDataPipeline) addAlarms(n names, r *MarketDataPipelineProps) {
	action := &notify{p.AlarmTopic.TopicArn()}
	alarm := func(id, name string, metric awscloudwatch.IMetric, threshold float64, description string) awscloudwatch.Alarm {
		a := awscloudwatch.NewAlarm(p, jsii.String(id+"Alarm"), &awscloudwatch.AlarmProps{
			AlarmName:          jsii.String(n.alarm(name)),
			AlarmDescription:   jsii.String(description),
			Metric:             metric,
			Threshold:          jsii.Number(threshold),
			ComparisonOperator: awscloudwatch.ComparisonOperator_GREATER_THAN_THRESHOLD,
			EvaluationPeriods:  jsii.Number(1),
			TreatMissingData:   awscloudwatch.TreatMissingData_NOT_BREACHING,
		})
		a.AddAlarmAction(action)
		return a
	}
	t := r.Thresholds
	slow := r.Timeout * time.Duration(t.DurationPercent*100) / 10_000
	p.Alarms = Alarms{
		ErrorRate: alarm("ErrorRate", "error-rate", p.MetricErrorRate(), t.ErrorPercent,
			fmt.Sprintf("More than %g %% of the invocations failed: read the processor's logs.", t.ErrorPercent)),
		RecordFailureRate: alarm("RecordFailureRate", "record-failure-rate", p.MetricRecordFailureRate(), t.RecordFailurePercent,
			fmt.Sprintf("More than %g %% of the records failed and are retried: read the processor's logs.", t.RecordFailurePercent)),
		DeadLetters: alarm("DeadLetters", "dead-letters", p.MetricDeadLetters(), 0,
			"Messages used up their retries: find the cause, then redrive the dead-letter queue."),
		RejectRate: alarm("RejectRate", "reject-rate", p.MetricRejectRate(), t.RejectPercent,
			fmt.Sprintf("More than %g %% of the events were refused: read the reasons in the rejects queue.", t.RejectPercent)),
		LateRate: alarm("LateRate", "late-rate", p.MetricLateRate(), t.LatePercent,
			fmt.Sprintf("More than %g %% of the events came too late to count.", t.LatePercent)),
		OldestMessage: alarm("OldestMessage", "oldest-message", p.MetricOldestMessage(), t.OldestMessage.Seconds(),
			fmt.Sprintf("A message has waited longer than %s: the processor fails or is too slow.", t.OldestMessage)),
		Throttles: alarm("Throttles", "throttles", p.Function.MetricThrottles(over5Minutes("Sum")), 0,
			"The processor was throttled, which uses up retries: the account's concurrency is exhausted."),
		Duration: alarm("Duration", "duration", p.Function.MetricDuration(over5Minutes("p99")), float64(slow.Milliseconds()),
			fmt.Sprintf("The slowest invocations take more than %g %% of the timeout of %s.", t.DurationPercent, r.Timeout)),
		PendingExpired: alarm("PendingExpired", "pending-expired", p.Metric(settings.MetricPendingExpired, nil), 0,
			"Stored alerts were not published in time."),
		AlertsFailed: alarm("AlertsFailed", "alerts-failed", p.Metric(settings.MetricAlertsFailed, nil), 0,
			"SNS refused alerts for good: they are in the rejects queue."),
	}
	if p.Clock != nil {
		p.Alarms.Clock = alarm("Clock", "clock", p.MetricLostTicks(), 1,
			"The clock misses ticks: what waits for time on a quiet series comes late, and expired alerts are not published.")
	}
}

func (p *MarketDataPipeline) all() []interfacesawscloudwatch.IAlarmRef {
	a := p.Alarms
	all := []interfacesawscloudwatch.IAlarmRef{a.ErrorRate, a.RecordFailureRate, a.DeadLetters, a.RejectRate, a.LateRate,
		a.OldestMessage, a.Throttles, a.Duration, a.PendingExpired, a.AlertsFailed}
	if a.Clock != nil {
		all = append(all, a.Clock)
	}
	return all
}

func (p *MarketDataPipeline) addDashboard() {
	graph := func(title string, metrics ...awscloudwatch.IMetric) awscloudwatch.IWidget {
		return awscloudwatch.NewGraphWidget(&awscloudwatch.GraphWidgetProps{
			Title: jsii.String(title), Left: &metrics, Width: jsii.Number(8), Height: jsii.Number(6),
		})
	}
	own := func(name string) awscloudwatch.IMetric { return p.Metric(name, nil) }
	latency := func(statistic string) awscloudwatch.IMetric {
		return p.Metric(settings.MetricEventToAlert, &awscloudwatch.MetricOptions{
			Statistic: jsii.String(statistic), Label: jsii.String(statistic)})
	}
	alarms := p.all()
	p.Dashboard = awscloudwatch.NewDashboard(p, jsii.String("Dashboard"), &awscloudwatch.DashboardProps{
		DashboardName: jsii.String("market-data-" + p.suffix),
		Widgets: &[]*[]awscloudwatch.IWidget{
			{awscloudwatch.NewAlarmStatusWidget(&awscloudwatch.AlarmStatusWidgetProps{
				Title: jsii.String("Alarms"), Alarms: &alarms, Width: jsii.Number(24), Height: jsii.Number(4)})},
			{
				graph("Events", own(settings.MetricEventsReceived), own(settings.MetricEventsRejected),
					own(settings.MetricEventsLate), own(settings.MetricEventsRepeated)),
				graph("Alerts", own(settings.MetricAlertsFired), own(settings.MetricAlertsPublished),
					own(settings.MetricAlertsFailed), own(settings.MetricPendingExpired)),
				graph("Event to alert (ms)", latency("p50"), latency("p99"), latency("Maximum")),
			},
			{
				graph("Records", own(settings.MetricRecordsReceived), own(settings.MetricRecordsFailed),
					own(settings.MetricRecordsDeferred), own(settings.MetricStateConflicts), own(settings.MetricClocksSent)),
				graph("Queues", p.Queue.MetricApproximateNumberOfMessagesVisible(over5Minutes("Maximum")),
					p.RejectsQueue.MetricApproximateNumberOfMessagesVisible(over5Minutes("Maximum")), p.MetricDeadLetters()),
				graph("Oldest message (s)", p.MetricOldestMessage()),
			},
			{
				graph("Function", p.Function.MetricInvocations(over5Minutes("Sum")), p.Function.MetricErrors(over5Minutes("Sum")),
					p.Function.MetricThrottles(over5Minutes("Sum"))),
				graph("Duration (ms)", p.Function.MetricDuration(over5Minutes("p50")), p.Function.MetricDuration(over5Minutes("p99"))),
				graph("Rates (%)", p.MetricErrorRate(), p.MetricRecordFailureRate(), p.MetricRejectRate(), p.MetricLateRate()),
			},
		},
	})
}
