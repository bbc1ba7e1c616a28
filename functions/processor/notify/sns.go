package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/smithy-go"

	"example.com/market-data-pipeline/functions/processor/alert"
)

// SNSAPI is what SNS calls of the client.
type SNSAPI interface {
	PublishBatch(context.Context, *sns.PublishBatchInput, ...func(*sns.Options)) (*sns.PublishBatchOutput, error)
}

// SNS's limits of one PublishBatch call: entries, and bytes of all of them together.
const (
	maxEntries = 10
	maxBytes   = 256 << 10
)

// SNS publishes alerts to one topic: JSON for machines, a readable text for e-mail, the summary for SMS, and the
// attributes symbol, severity and rule for filter policies. It is safe for concurrent use.
type SNS struct {
	API      SNSAPI
	TopicARN string
	// Concurrency bounds the calls under way at the same time; 0 or 1 = one after the other, without goroutines.
	Concurrency int
}

// Publish publishes the alerts in as few calls as SNS allows and returns one error per alert, nil where SNS accepted it.
// An error is a *PermanentError where SNS refuses the alert itself.
func (s *SNS) Publish(ctx context.Context, records []alert.Record) []error {
	errs := make([]error, len(records))
	entries := make([]types.PublishBatchRequestEntry, len(records))
	var batches [][]int
	size := 0
	for i := range records {
		entry, n, err := newEntry(i, &records[i])
		if err != nil {
			errs[i] = err
			continue
		}
		entries[i] = entry
		last := len(batches) - 1
		if last < 0 || len(batches[last]) == maxEntries || size+n > maxBytes {
			batches, size = append(batches, nil), 0
			last++
		}
		batches[last] = append(batches[last], i)
		size += n
	}
	if s.Concurrency <= 1 || len(batches) == 1 {
		for _, b := range batches {
			s.publish(ctx, entries, b, errs)
		}
		return errs
	}
	var wg sync.WaitGroup
	slots := make(chan struct{}, s.Concurrency)
	for _, b := range batches {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			s.publish(ctx, entries, b, errs)
		})
	}
	wg.Wait()
	return errs
}

// publish makes one call for the entries of the batch and writes their errors into errs.
func (s *SNS) publish(ctx context.Context, entries []types.PublishBatchRequestEntry, batch []int, errs []error) {
	defer func() {
		// In a goroutine a panic would end the process, and what it was raised with, which can quote the input, be logged.
		if r := recover(); r != nil {
			for _, i := range batch {
				errs[i] = fmt.Errorf("notify: panic (%T) while publishing: %s", r, debug.Stack())
			}
		}
	}()
	in := &sns.PublishBatchInput{TopicArn: &s.TopicARN}
	for _, i := range batch {
		in.PublishBatchRequestEntries = append(in.PublishBatchRequestEntries, entries[i])
	}
	out, err := s.API.PublishBatch(ctx, in)
	if err != nil {
		// An invalid TopicArn is the operator's to mend, not the alerts'.
		var api smithy.APIError
		permanent := errors.As(err, &api) && invalid(api.ErrorCode()) && !strings.Contains(api.ErrorMessage(), "TopicArn")
		if permanent && len(batch) > 1 {
			// One of them spoils the call: find out which, so that it poisons nobody.
			for _, i := range batch {
				s.publish(ctx, entries, []int{i}, errs)
			}
			return
		} else if permanent {
			errs[batch[0]] = &PermanentError{api.ErrorCode(), "SNS refuses the alert"}
			return
		}
		for _, i := range batch {
			errs[i] = fmt.Errorf("notify: publishing %d alerts: %w", len(batch), err)
		}
		return
	}
	for _, i := range batch {
		errs[i] = fmt.Errorf("notify: SNS's answer names the alert neither as published nor as failed")
	}
	for i := range out.Successful {
		if k, ok := index(out.Successful[i].Id, batch); ok {
			errs[k] = nil
		}
	}
	for i := range out.Failed {
		k, ok := index(out.Failed[i].Id, batch)
		if !ok {
			continue
		}
		code := aws.ToString(out.Failed[i].Code)
		errs[k] = fmt.Errorf("notify: SNS did not take the alert: %s", code)
		if invalid(code) {
			errs[k] = &PermanentError{code, "SNS refuses the alert"}
		}
	}
}

func index(id *string, batch []int) (int, bool) {
	n, err := strconv.Atoi(aws.ToString(id))
	if err != nil {
		return 0, false
	}
	for _, i := range batch {
		if i == n {
			return i, true
		}
	}
	return 0, false
}

// invalid tells the codes by which SNS refuses a message for what it is. Others, denied access among them, are the
// operator's to mend, and the alert is good once they are.
func invalid(code string) bool {
	switch code {
	case "InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "ValidationException", "BatchRequestTooLong":
		return true
	}
	return false
}

func newEntry(i int, r *alert.Record) (entry types.PublishBatchRequestEntry, size int, err error) {
	message, err := json.Marshal(struct {
		Default string `json:"default"`
		Email   string `json:"email"`
		SMS     string `json:"sms"`
	}{string(r.AppendJSON(nil, r.Times, "")), text(r), r.Summary})
	if err != nil {
		return entry, 0, &PermanentError{"InvalidParameter", "the alert cannot be encoded"}
	}
	attributes := map[string]types.MessageAttributeValue{}
	for _, a := range [...]struct{ name, value string }{{"symbol", r.Symbol}, {"severity", string(r.Severity)}, {"rule", r.Rule}} {
		attributes[a.name] = types.MessageAttributeValue{DataType: aws.String("String"), StringValue: aws.String(a.value)}
		size += len(a.name) + len("String") + len(a.value)
	}
	subject := subject(&r.Alert)
	size += len(message) + len(subject)
	if size > maxBytes {
		return entry, 0, &PermanentError{"InvalidParameter", fmt.Sprintf("the alert's message has %d bytes, SNS takes %d", size, maxBytes)}
	}
	return types.PublishBatchRequestEntry{
		Id: aws.String(strconv.Itoa(i)), Message: aws.String(string(message)), MessageStructure: aws.String("json"),
		Subject: &subject, MessageAttributes: attributes,
	}, size, nil
}
