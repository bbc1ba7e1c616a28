package stackcheck

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// subscriber is a queue of the checks' own that a topic sends to.
type subscriber struct {
	stack    *Stack
	queueURL string
	arn      string // of the subscription
}

func subscribe(ctx context.Context, s *Stack, topic, name string, filter map[string]any) (*subscriber, error) {
	name = "market-data-check-" + name
	arn := s.arn("sqs", name)
	policy, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": map[string]any{
		"Effect": "Allow", "Principal": map[string]string{"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage", "Resource": arn,
		"Condition": map[string]any{"ArnEquals": map[string]string{"aws:SourceArn": topic}},
	}})
	if err != nil {
		return nil, err
	}
	made, err := s.SQS.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &name, Attributes: map[string]string{
		"Policy": string(policy), "MessageRetentionPeriod": "3600", // should nobody clean up
	}})
	if err != nil {
		return nil, fmt.Errorf("making queue %s: %w", name, err)
	}
	sub := &subscriber{stack: s, queueURL: *made.QueueUrl}
	in := &sns.SubscribeInput{TopicArn: &topic, Protocol: aws.String("sqs"), Endpoint: &arn, ReturnSubscriptionArn: true}
	if filter != nil {
		text, err := json.Marshal(filter)
		if err != nil {
			return nil, errors.Join(err, sub.close(ctx))
		}
		in.Attributes = map[string]string{"FilterPolicy": string(text)}
	}
	out, err := s.SNS.Subscribe(ctx, in)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("subscribing %s to %s: %w", arn, topic, err), sub.close(ctx))
	}
	sub.arn = *out.SubscriptionArn
	return sub, nil
}

func (s *subscriber) close(ctx context.Context) error {
	var errs []error
	if s.arn != "" {
		_, err := s.stack.SNS.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: &s.arn})
		errs = append(errs, err)
	}
	_, err := s.stack.SQS.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &s.queueURL})
	return errors.Join(append(errs, err)...)
}

// notification is SNS's envelope around a message.
type notification struct {
	Type, TopicArn, Subject, Message string
	MessageAttributes                map[string]struct{ Type, Value string }
}

// receive takes up to ten messages out of a queue.
func receive(ctx context.Context, s *Stack, queueURL string, wait int32) ([]sqstypes.Message, error) {
	out, err := s.SQS.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &queueURL, MaxNumberOfMessages: 10, WaitTimeSeconds: wait, MessageAttributeNames: []string{"All"}, VisibilityTimeout: 60,
	})
	if err != nil {
		return nil, fmt.Errorf("receiving from %s: %w", queueURL, err)
	}
	return out.Messages, nil
}

// quiet is for how many seconds a queue must have nothing more to give before it is taken to be empty.
const quiet = 2

func (s *subscriber) next(ctx context.Context) ([]notification, error) {
	messages, err := receive(ctx, s.stack, s.queueURL, quiet)
	if err != nil {
		return nil, err
	}
	var out []notification
	for _, m := range messages {
		var n notification
		if err := json.Unmarshal([]byte(*m.Body), &n); err != nil {
			return nil, fmt.Errorf("a message of %s is no notification: %w", s.queueURL, err)
		}
		out = append(out, n)
		if _, err := s.stack.SQS.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &s.queueURL, ReceiptHandle: m.ReceiptHandle}); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Alarms checks that an alarm's notification arrives, by setting one to ALARM by hand for a moment: whoever is
// subscribed to the alarm topic hears of it, too.
func (s *Stack) Alarms(ctx context.Context, r *Report, run string) {
	r.Step("an alarm reaches a subscriber of the alarm topic", func() (_ string, err error) {
		name := s.Name + "-dead-letters"
		sub, err := subscribe(ctx, s, s.AlarmTopicARN, "alarms-"+run, nil)
		if err != nil {
			return "", err
		}
		clean := context.WithoutCancel(ctx)
		defer func() { err = errors.Join(err, sub.close(clean)) }()
		if err := s.setAlarm(ctx, name, "ALARM"); err != nil {
			return "", err
		}
		defer func() { err = errors.Join(err, s.setAlarm(clean, name, "OK")) }()
		start := time.Now()
		for time.Since(start) < time.Minute {
			batch, err := sub.next(ctx)
			if err != nil {
				return "", err
			}
			for _, n := range batch {
				if strings.Contains(n.Message, `"`+name+`"`) {
					return fmt.Sprintf("%s after %s", name, time.Since(start).Round(time.Second)), nil
				}
			}
		}
		return "", fmt.Errorf("nothing of %s arrived within a minute: look at the policies of %s and of the key", name, s.AlarmTopicARN)
	})
}

func (s *Stack) setAlarm(ctx context.Context, name, state string) error {
	return s.API.Query(ctx, "monitoring", cloudWatchVersion, "SetAlarmState", map[string]string{
		"AlarmName": name, "StateValue": state, "StateReason": "Set by ./scripts/integration to see whether notifications arrive: nothing is wrong",
	}, &struct{}{})
}
