package constructs

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/jsii-runtime-go"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// Actions that a principal needs on the key to use a queue, topic or table under it. Its calls come through that
// service, which is what the key's policy demands.
var (
	useKey  = []string{"kms:Decrypt", "kms:GenerateDataKey"}
	sendSQS = []string{"sqs:SendMessage", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"}
)

type conditions map[string]map[string]any

func statement(sid string, principals []awsiam.IPrincipal, actions []string, resource string, when conditions) awsiam.PolicyStatement {
	props := &awsiam.PolicyStatementProps{
		Sid:       jsii.String(sid),
		Actions:   jsii.Strings(actions...),
		Resources: jsii.Strings(resource),
	}
	if principals != nil {
		props.Principals = &principals
	}
	if when != nil {
		c := map[string]any{}
		for operator, keys := range when {
			c[operator] = keys
		}
		props.Conditions = &c
	}
	return awsiam.NewPolicyStatement(props)
}

func service(name string) []awsiam.IPrincipal {
	return []awsiam.IPrincipal{awsiam.NewServicePrincipal(jsii.String(name), nil)}
}

func accounts(ids ...string) []awsiam.IPrincipal {
	var out []awsiam.IPrincipal
	for _, id := range ids {
		out = append(out, awsiam.NewAccountPrincipal(id))
	}
	return out
}

// names are the ARNs and names of one pipeline, by its suffix. Policies are written with them instead of references,
// which would be circular: a key whose policy names the queue that it encrypts.
type names struct {
	suffix, fifo string
	stack        awscdk.Stack
}

func (n names) arn(service, resource string) string {
	return *n.stack.FormatArn(&awscdk.ArnComponents{
		Service: jsii.String(service), Resource: jsii.String(resource), ArnFormat: awscdk.ArnFormat_NO_RESOURCE_NAME,
	})
}

func (n names) queue() string      { return "market-data-" + n.suffix + n.fifo }
func (n names) deadLetter() string { return "market-data-dlq-" + n.suffix + n.fifo }
func (n names) rejects() string    { return "market-data-rejects-" + n.suffix }
func (n names) alarmTopic() string { return "market-data-alarms-" + n.suffix }
func (n names) alarm(name string) string {
	return "market-data-" + n.suffix + "-" + name
}
func (n names) function() string { return "data-processor-" + n.suffix }
func (n names) clock() string    { return "market-data-clock-" + n.suffix }
func (n names) logGroup() string { return "/aws/lambda/" + n.function() }
func (n names) via(services ...string) []string {
	for i, s := range services {
		services[i] = s + "." + *n.stack.Region() + ".amazonaws.com"
	}
	return services
}

// ownKeyAdministration leaves the key to the account's administrators, but not its use. AWS refuses a key policy that
// nobody may change: kms:PutKeyPolicy is among them.
func (n names) ownKeyAdministration() awsiam.PolicyStatement {
	return statement("AdministerKey", accounts(*n.stack.Account()), []string{
		"kms:CancelKeyDeletion", "kms:CreateAlias", "kms:DeleteAlias", "kms:DescribeKey", "kms:DisableKey",
		"kms:DisableKeyRotation", "kms:EnableKey", "kms:EnableKeyRotation", "kms:GetKeyPolicy",
		"kms:GetKeyRotationStatus", "kms:ListGrants", "kms:ListKeyPolicies", "kms:ListKeyRotations",
		"kms:ListResourceTags", "kms:PutKeyPolicy", "kms:RevokeGrant", "kms:RotateKeyOnDemand",
		"kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias",
		"kms:UpdateKeyDescription",
	}, "*", nil)
}

// keyUse is what the key's policy must admit for the pipeline to work, whoever owns the key.
func (n names) keyUse(alarmTopicARN string, producers []string) []awsiam.PolicyStatement {
	account := accounts(*n.stack.Account())
	use := []awsiam.PolicyStatement{
		// IAM policies of this account decide who; only through these services.
		statement("UseThroughServices", account, []string{
			"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext",
			"kms:ReEncryptFrom", "kms:ReEncryptTo",
		}, "*", conditions{"StringEquals": {"kms:ViaService": n.via("sqs", "sns", "dynamodb", "lambda")}}),
		// DynamoDB and Lambda keep a grant for what they do without a caller.
		statement("GrantToServices", account, []string{"kms:CreateGrant"}, "*",
			conditions{"StringEquals": {"kms:ViaService": n.via("dynamodb", "lambda")}}),
		// A cold start decrypts the environment as the function's role, not through the service.
		statement("DecryptEnvironment", account, []string{"kms:Decrypt"}, "*", conditions{"StringEquals": {
			"kms:EncryptionContext:aws:lambda:FunctionArn": n.arn("lambda", "function:"+n.function())}}),
		statement("EncryptLogs", service("logs."+*n.stack.Region()+".amazonaws.com"), []string{
			"kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext",
			"kms:ReEncryptFrom", "kms:ReEncryptTo",
		}, "*", conditions{"ArnEquals": {"kms:EncryptionContext:aws:logs:arn": n.arn("logs", "log-group:"+n.logGroup())}}),
	}
	if alarmTopicARN != "" {
		use = append(use, n.alarmKeyUse(alarmTopicARN))
	}
	if len(producers) > 0 {
		use = append(use, statement("AdmitProducers", accounts(producers...), useKey, "*",
			conditions{"StringEquals": {"kms:ViaService": n.via("sqs")}}))
	}
	return use
}

// alarmKeyUse lets CloudWatch publish to an encrypted topic: without it alarms change state and nobody hears of it.
func (n names) alarmKeyUse(topicARN string) awsiam.PolicyStatement {
	return statement("EncryptAlarms", service("cloudwatch.amazonaws.com"), useKey, "*",
		conditions{"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": topicARN}})
}

// alarmPublish lets this pipeline's alarms, and no other source, publish to the alarm topic.
func (n names) alarmPublish(topicARN string) awsiam.PolicyStatement {
	return statement("AdmitAlarms", service("cloudwatch.amazonaws.com"), []string{"sns:Publish"}, topicARN, conditions{
		"StringEquals": {"aws:SourceAccount": *n.stack.Account()},
		"ArnLike":      {"aws:SourceArn": n.arn("cloudwatch", "alarm:"+n.alarm("*"))},
	})
}

// functionPolicy is everything the processor may do: what its code calls, and what its event source mapping calls as
// its role. The deployment test matches it against the calls that are really made.
func (p *MarketDataPipeline) functionPolicy(r *MarketDataPipelineProps) awsiam.PolicyDocument {
	statements := []awsiam.PolicyStatement{
		statement("ReceiveMarketData", nil, []string{
			"sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage",
		}, *p.Queue.QueueArn(), nil),
		statement("KeepRejects", nil, []string{"sqs:SendMessage"}, *p.RejectsQueue.QueueArn(), nil),
		statement("KeepState", nil, []string{"dynamodb:BatchGetItem", "dynamodb:PutItem"}, *p.StateTable.TableArn(), nil),
		statement("KeepAlerts", nil, []string{
			"dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:PutItem", "dynamodb:UpdateItem",
		}, *p.AlertsTable.TableArn(), nil),
		statement("PublishAlerts", nil, []string{"sns:Publish"}, *p.AlertTopic.TopicArn(), nil),
		statement("UseKey", nil, useKey, *p.Key.KeyArn(), nil),
		statement("WriteLogs", nil, []string{"logs:CreateLogStream", "logs:PutLogEvents"}, *p.LogGroup.LogGroupArn(), nil),
	}
	if !r.DisableClock {
		statements = append(statements,
			statement("FindDueSeries", nil, []string{"dynamodb:Query"}, *p.StateTable.TableArn()+"/index/"+settings.DueIndex, nil),
			statement("FindExpiredAlerts", nil, []string{"dynamodb:Query"}, *p.AlertsTable.TableArn()+"/index/"+settings.PendingIndex, nil),
			statement("SendClocks", nil, []string{"sqs:SendMessage"}, *p.Queue.QueueArn(), nil))
	}
	if key := p.AlertTopic.MasterKey(); r.AlertTopic != nil && key != nil {
		statements = append(statements, statement("UseAlertTopicKey", nil, useKey, *key.KeyArn(), nil))
	}
	if !r.DisableTracing {
		// X-Ray knows no resources.
		statements = append(statements, statement("Trace", nil,
			[]string{"xray:PutTelemetryRecords", "xray:PutTraceSegments"}, "*", nil))
	}
	return awsiam.NewPolicyDocument(&awsiam.PolicyDocumentProps{Statements: &statements})
}

// adoptAlertTopic warns about what an alert topic from outside the app needs. One in the app needs nothing: the
// function's own policy allows it.
func (p *MarketDataPipeline) adoptAlertTopic(n names) {
	if *awscdk.Resource_IsOwnedResource(p.AlertTopic) {
		return
	}
	account := accounts(*n.stack.Account())
	p.ownerMustAdd("alertTopic", "the policy of the alert topic that was passed in, if it is another account's",
		statement("AdmitProcessor", account, []string{"sns:Publish"}, *p.AlertTopic.TopicArn(), nil))
	p.ownerMustAdd("alertTopicKey", "the policy of the key of the alert topic that was passed in (import it with its KeyArn), if it has a customer key",
		statement("AdmitProcessor", account, useKey, "*", conditions{"StringEquals": {"kms:ViaService": n.via("sns")}}))
}

// ownerMustAdd warns at synth with the statement that a policy outside the app needs. CDK cannot add to the policy of
// an imported resource, and says nothing.
func (p *MarketDataPipeline) ownerMustAdd(id, policy string, s awsiam.PolicyStatement) {
	text, err := json.MarshalIndent(readable(awscdk.Stack_Of(p).Resolve(s.ToStatementJson())), "", "  ")
	if err != nil {
		panic(fmt.Errorf("statement %s: %w", id, err))
	}
	awscdk.Annotations_Of(p).AddWarningV2(jsii.String("market-data-pipeline:"+id),
		jsii.String("this stack cannot change "+policy+"; its owner must add the statement\n"+string(text)))
}

// readable replaces CloudFormation's intrinsics in v by text: {"Ref": "AWS::Region"} becomes ${AWS::Region}.
func readable(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = readable(v[i])
		}
	case map[string]any:
		if m, ok := v["$jsii.map"]; ok { // how jsii wraps a map that it gives back
			return readable(m)
		}
		if ref, ok := v["Ref"].(string); ok {
			return "${" + ref + "}"
		}
		if get, ok := v["Fn::GetAtt"].([]any); ok {
			return fmt.Sprintf("${%v.%v}", get[0], get[1])
		}
		if join, ok := v["Fn::Join"].([]any); ok {
			var b strings.Builder
			for _, part := range join[1].([]any) {
				fmt.Fprint(&b, readable(part))
			}
			return b.String()
		}
		for k := range v {
			v[k] = readable(v[k])
		}
	}
	return v
}
