package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/scripts/internal/stackcheck"
)

// mapping plays the event source mapping: it receives from the deployed queue, hands batches to the function, and
// deletes what succeeded. What did not comes back when the function said so, or the queue's visibility timeout ends.
type mapping struct {
	sqs      *sqs.Client
	queueURL string
	settings *stackcheck.Mapping // as deployed

	mu sync.Mutex
	mappingCounts
}

// mappingCounts is what a mapping has done.
type mappingCounts struct {
	batches   int
	returned  []string // bodies of the messages that stayed in the queue
	clocks    []types.Message
	lastError error
}

func (m *mapping) counts() mappingCounts {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.mappingCounts
	c.returned, c.clocks = slices.Clone(c.returned), slices.Clone(c.clocks)
	return c
}

// hasReturned tells whether a message whose body holds text has stayed in the queue.
func (m *mapping) hasReturned(text string) bool {
	return slices.ContainsFunc(m.counts().returned, func(body string) bool { return strings.Contains(body, text) })
}

// count counts one batch, of which the messages in kept stay in the queue; nil = all.
func (m *mapping) count(batch []types.Message, kept map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.batches++
	for i := range batch {
		if kept == nil || kept[*batch[i].MessageId] {
			m.returned = append(m.returned, aws.ToString(batch[i].Body))
		}
		if strings.HasPrefix(aws.ToString(batch[i].Body), `{"type":"clock"`) {
			m.clocks = append(m.clocks, batch[i])
		}
	}
}

// maxReceive is what SQS gives in one call.
const maxReceive = 10

// poll feeds invoke until ctx ends. Several may run at the same time.
func (m *mapping) poll(ctx context.Context, invoke func(context.Context, []byte) ([]byte, error)) {
	for ctx.Err() == nil {
		if err := m.once(ctx, invoke); err != nil && ctx.Err() == nil {
			m.mu.Lock()
			m.lastError = err
			m.mu.Unlock()
			select { // of an emulator that cannot answer
			case <-ctx.Done():
			case <-time.After(200 * time.Millisecond):
			}
		}
	}
}

func (m *mapping) once(ctx context.Context, invoke func(context.Context, []byte) ([]byte, error)) error {
	out, err := m.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{
		QueueUrl: &m.queueURL, MaxNumberOfMessages: int32(min(m.settings.BatchSize, maxReceive)), WaitTimeSeconds: 1,
		MessageSystemAttributeNames: []types.MessageSystemAttributeName{types.MessageSystemAttributeNameAll}, MessageAttributeNames: []string{"All"},
	})
	if err != nil || len(out.Messages) == 0 {
		return err
	}
	payload, err := event(out.Messages, m.settings.SourceARN)
	if err != nil {
		return err
	}
	answer, err := invoke(ctx, payload)
	if err != nil {
		m.count(out.Messages, nil)
		return fmt.Errorf("invocation: %w", err)
	}
	kept, err := failures(answer, out.Messages, m.settings.ReportsItemFailures())
	m.count(out.Messages, kept)
	if err != nil {
		return err
	}
	var errs []error
	for i := range out.Messages {
		if !kept[*out.Messages[i].MessageId] {
			_, err := m.sqs.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &m.queueURL, ReceiptHandle: out.Messages[i].ReceiptHandle})
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// event is the event that Lambda gives a function for messages of the queue.
func event(messages []types.Message, sourceARN string) ([]byte, error) {
	type attribute struct {
		StringValue string `json:"stringValue,omitempty"`
		BinaryValue []byte `json:"binaryValue,omitempty"`
		DataType    string `json:"dataType"`
	}
	type record struct {
		MessageID         string               `json:"messageId"`
		ReceiptHandle     string               `json:"receiptHandle"`
		Body              string               `json:"body"`
		Attributes        map[string]string    `json:"attributes"`
		MessageAttributes map[string]attribute `json:"messageAttributes"`
		MD5OfBody         string               `json:"md5OfBody"`
		EventSource       string               `json:"eventSource"`
		EventSourceARN    string               `json:"eventSourceARN"`
		AWSRegion         string               `json:"awsRegion"`
	}
	records := make([]record, len(messages))
	region := ""
	if parts := strings.Split(sourceARN, ":"); len(parts) > 3 {
		region = parts[3]
	}
	for i := range messages {
		m := &messages[i]
		records[i] = record{
			MessageID: aws.ToString(m.MessageId), ReceiptHandle: aws.ToString(m.ReceiptHandle), Body: aws.ToString(m.Body), Attributes: m.Attributes,
			MessageAttributes: map[string]attribute{}, MD5OfBody: aws.ToString(m.MD5OfBody), EventSource: "aws:sqs", EventSourceARN: sourceARN, AWSRegion: region,
		}
		for name, a := range m.MessageAttributes {
			records[i].MessageAttributes[name] = attribute{aws.ToString(a.StringValue), a.BinaryValue, aws.ToString(a.DataType)}
		}
	}
	return json.Marshal(map[string]any{"Records": records})
}

// failures are the ids of the messages that stay in the queue. As in Lambda an answer that cannot be read, or names
// what is not in the batch, keeps all of them.
func failures(answer []byte, messages []types.Message, partial bool) (map[string]bool, error) {
	kept := map[string]bool{}
	if !partial {
		return kept, nil
	}
	batch, all := map[string]bool{}, map[string]bool{}
	for i := range messages {
		batch[*messages[i].MessageId], all[*messages[i].MessageId] = true, true
	}
	var response ingest.Response
	if err := json.Unmarshal(answer, &response); err != nil {
		return all, fmt.Errorf("the function's answer is no batch response: %w", err)
	}
	for _, f := range response.BatchItemFailures {
		if !batch[f.ItemIdentifier] {
			return all, fmt.Errorf("the function's answer names %q, which is not in the batch, or twice", f.ItemIdentifier)
		}
		delete(batch, f.ItemIdentifier)
		kept[f.ItemIdentifier] = true
	}
	return kept, nil
}
