// Package stackcheck checks a deployed stack from outside, through its outputs: what its resources are, and that market
// data sent to its queue becomes stored and published alerts, or refusals with their reasons. The deployment test runs
// it against an emulator, the integration test against AWS.
package stackcheck

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// Stack is a deployed stack: its outputs, and the clients to look at it.
type Stack struct {
	Name    string
	Region  string
	Account string
	// Emulated says that the stack lives in an emulator whose CloudFormation drops some properties, and that nobody
	// else uses it.
	Emulated bool

	QueueURL, DeadLetterURL, RejectsURL string
	AlertsTable, StateTable             string
	AlertTopicARN, AlarmTopicARN        string
	FunctionName, KeyARN, LogGroup      string

	// Physical are the resources' physical ids by logical id.
	Physical map[string]Resource

	API    *API
	SQS    *sqs.Client
	SNS    *sns.Client
	Tables *dynamodb.Client
}

// Resource is a resource of the stack.
type Resource struct{ Type, PhysicalID string }

const (
	cloudFormationVersion = "2010-05-15"
	cloudWatchVersion     = "2010-08-01"
	iamVersion            = "2010-05-08"
)

// Open reads the outputs and resources of the stack.
func Open(ctx context.Context, cfg aws.Config, name string) (*Stack, error) {
	s := Connect(cfg, name)
	var answer struct {
		Stacks []struct {
			ID      string `xml:"StackId"`
			Status  string `xml:"StackStatus"`
			Outputs []struct {
				Key   string `xml:"OutputKey"`
				Value string `xml:"OutputValue"`
			} `xml:"Outputs>member"`
		} `xml:"DescribeStacksResult>Stacks>member"`
	}
	if err := s.API.Query(ctx, "cloudformation", cloudFormationVersion, "DescribeStacks", map[string]string{"StackName": name}, &answer); err != nil {
		return nil, fmt.Errorf("stack %s in %s: %w", name, s.Region, err)
	}
	if len(answer.Stacks) != 1 {
		return nil, fmt.Errorf("stack %s in %s: CloudFormation described %d stacks", name, s.Region, len(answer.Stacks))
	}
	stack := answer.Stacks[0]
	if !slices.Contains([]string{"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}, stack.Status) {
		return nil, fmt.Errorf("stack %s is %s: wait until it is deployed, or deploy it again", name, stack.Status)
	}
	if parts := strings.Split(stack.ID, ":"); len(parts) >= 6 {
		s.Account = parts[4]
	}
	outputs := map[string]string{}
	for _, o := range stack.Outputs {
		outputs[o.Key] = o.Value
	}
	var errs []error
	for output, field := range map[string]*string{
		"SqsQueueUrl": &s.QueueURL, "DeadLetterQueueUrl": &s.DeadLetterURL, "RejectsQueueUrl": &s.RejectsURL,
		"DynamodbTableName": &s.AlertsTable, "StateTableName": &s.StateTable, "SnsTopicArn": &s.AlertTopicARN,
		"AlarmTopicArn": &s.AlarmTopicARN, "LambdaFunctionName": &s.FunctionName, "KeyArn": &s.KeyARN, "LogGroupName": &s.LogGroup,
	} {
		if *field = outputs[output]; *field == "" {
			errs = append(errs, fmt.Errorf("stack %s has no output %s: is it a stack of this app?", name, output))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, s.readResources(ctx)
}

// Connect is Open for a stack that need not exist: only the clients are set.
func Connect(cfg aws.Config, name string) *Stack {
	return &Stack{
		Name: name, Region: cfg.Region, API: NewAPI(cfg),
		SQS: sqs.NewFromConfig(cfg), SNS: sns.NewFromConfig(cfg), Tables: dynamodb.NewFromConfig(cfg),
	}
}

func (s *Stack) readResources(ctx context.Context) error {
	var answer struct {
		Resources []struct {
			Logical  string `xml:"LogicalResourceId"`
			Physical string `xml:"PhysicalResourceId"`
			Type     string `xml:"ResourceType"`
		} `xml:"DescribeStackResourcesResult>StackResources>member"`
	}
	if err := s.API.Query(ctx, "cloudformation", cloudFormationVersion, "DescribeStackResources", map[string]string{"StackName": s.Name}, &answer); err != nil {
		return fmt.Errorf("stack %s: %w", s.Name, err)
	}
	s.Physical = make(map[string]Resource, len(answer.Resources))
	for _, r := range answer.Resources {
		s.Physical[r.Logical] = Resource{r.Type, r.Physical}
	}
	return nil
}

// FIFO tells whether the market data queue is ordered.
func (s *Stack) FIFO() bool { return strings.HasSuffix(s.QueueURL, ".fifo") }

// QueueARN is the ARN of the queue with that URL, in the stack's account and region.
func (s *Stack) QueueARN(queueURL string) string {
	return s.arn("sqs", queueURL[strings.LastIndexByte(queueURL, '/')+1:])
}

func (s *Stack) arn(service, resource string) string {
	partition := "aws"
	switch {
	case strings.HasPrefix(s.Region, "cn-"):
		partition = "aws-cn"
	case strings.HasPrefix(s.Region, "us-gov-"):
		partition = "aws-us-gov"
	}
	return "arn:" + partition + ":" + service + ":" + s.Region + ":" + s.Account + ":" + resource
}

// Function is the function's configuration, as far as the checks look at it.
type Function struct {
	ARN           string                `json:"FunctionArn"`
	Role          string                `json:"Role"`
	Runtime       string                `json:"Runtime"`
	Handler       string                `json:"Handler"`
	MemoryMiB     int                   `json:"MemorySize"`
	TimeoutSecs   int                   `json:"Timeout"`
	KeyARN        string                `json:"KMSKeyArn"`
	Architectures []string              `json:"Architectures"`
	Environment   Variables             `json:"Environment"`
	Tracing       struct{ Mode string } `json:"TracingConfig"`
	Logging       struct {
		Format string `json:"LogFormat"`
		Group  string `json:"LogGroup"`
	} `json:"LoggingConfig"`
}

// Variables is a function's environment.
type Variables struct{ Variables map[string]string }

// Timeout is the function's time for one invocation.
func (f *Function) Timeout() time.Duration { return time.Duration(f.TimeoutSecs) * time.Second }

// Settings parses the function's environment as the function does.
func (f *Function) Settings(region string) (settings.Settings, error) {
	return settings.FromEnv(func(name string) string {
		if name == "AWS_REGION" {
			return region
		}
		return f.Environment.Variables[name]
	})
}

// Function reads the function's configuration.
func (s *Stack) Function(ctx context.Context) (*Function, error) {
	var f Function
	err := s.API.REST(ctx, "lambda", "GET", "/2015-03-31/functions/"+s.FunctionName+"/configuration", nil, &f)
	return &f, err
}

// Mapping is the event source mapping from the market data queue to the function.
type Mapping struct {
	UUID          string
	State         string
	BatchSize     int
	SourceARN     string   `json:"EventSourceArn"`
	ResponseTypes []string `json:"FunctionResponseTypes"`
	Scaling       struct {
		MaximumConcurrency int
	} `json:"ScalingConfig"`
	Metrics struct{ Metrics []string } `json:"MetricsConfig"`
	Window  int                        `json:"MaximumBatchingWindowInSeconds"`
}

// ReportsItemFailures tells whether the function names the messages that shall be delivered again.
func (m *Mapping) ReportsItemFailures() bool {
	return slices.Contains(m.ResponseTypes, "ReportBatchItemFailures")
}

// Mapping reads the function's only event source mapping.
func (s *Stack) Mapping(ctx context.Context) (*Mapping, error) {
	var list struct{ EventSourceMappings []Mapping }
	if err := s.API.REST(ctx, "lambda", "GET", "/2015-03-31/event-source-mappings/?FunctionName="+s.FunctionName, nil, &list); err != nil {
		return nil, err
	}
	if len(list.EventSourceMappings) != 1 {
		return nil, fmt.Errorf("function %s has %d event source mappings, want 1", s.FunctionName, len(list.EventSourceMappings))
	}
	return &list.EventSourceMappings[0], nil
}

// DisableMapping stops the deliveries to the function.
func (s *Stack) DisableMapping(ctx context.Context, uuid string) error {
	var after Mapping
	return s.API.REST(ctx, "lambda", "PUT", "/2015-03-31/event-source-mappings/"+uuid, map[string]any{"Enabled": false}, &after)
}
