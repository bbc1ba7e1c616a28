package ingest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Record is one message as the event source mapping delivers it.
type Record struct {
	MessageID       string
	ReceiptHandle   string
	Body            string
	Group           string // the message group, "" on a standard queue
	ReceiveCount    int
	Sent            time.Time // when it reached the queue
	FirstReceived   time.Time
	Format          string // the attribute "format", "" = canonical
	OriginMessageID string // the attribute "origin_message_id", "" = MessageID
}

// Response names the messages that SQS shall deliver again.
type Response struct {
	BatchItemFailures []ItemFailure `json:"batchItemFailures"`
}

// ItemFailure names one message by its id.
type ItemFailure struct {
	ItemIdentifier string `json:"itemIdentifier"`
}

// ParseEvent reads the event that Lambda hands over for an SQS batch. What it cannot read is an error for the whole
// batch: Lambda, not a sender, writes this event.
func ParseEvent(payload []byte) ([]Record, error) {
	var event struct {
		Records []struct {
			MessageID     string `json:"messageId"`
			ReceiptHandle string `json:"receiptHandle"`
			Body          string `json:"body"`
			Attributes    struct {
				ReceiveCount  string `json:"ApproximateReceiveCount"`
				Sent          string `json:"SentTimestamp"`
				FirstReceived string `json:"ApproximateFirstReceiveTimestamp"`
				Group         string `json:"MessageGroupId"`
			} `json:"attributes"`
			MessageAttributes map[string]struct {
				StringValue string `json:"stringValue"`
			} `json:"messageAttributes"`
		} `json:"Records"`
	}
	if err := json.Unmarshal(payload, &event); err != nil {
		return nil, fmt.Errorf("ingest: the event is no SQS batch: %w", err)
	}
	records := make([]Record, len(event.Records))
	for i := range event.Records {
		r := &event.Records[i]
		if r.MessageID == "" {
			return nil, fmt.Errorf("ingest: record %d of the SQS batch has no messageId", i)
		}
		count, err := strconv.Atoi(r.Attributes.ReceiveCount)
		if err != nil {
			return nil, fmt.Errorf("ingest: message %s: ApproximateReceiveCount is %q, not a number", r.MessageID, r.Attributes.ReceiveCount)
		}
		records[i] = Record{
			MessageID: r.MessageID, ReceiptHandle: r.ReceiptHandle, Body: r.Body, Group: r.Attributes.Group, ReceiveCount: count,
			Sent: milliseconds(r.Attributes.Sent), FirstReceived: milliseconds(r.Attributes.FirstReceived),
			Format: r.MessageAttributes["format"].StringValue, OriginMessageID: r.MessageAttributes["origin_message_id"].StringValue,
		}
	}
	return records, nil
}

// milliseconds is the zero time where s is absent or no number.
func milliseconds(s string) time.Time {
	ms, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
