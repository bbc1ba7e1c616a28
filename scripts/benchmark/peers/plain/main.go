// Command plain is the Lambda function as a plain port to Go: encoding/json, and a PutItem and a Publish for each alert.
// It promises less than the pipeline: no state, no order, no outbox; a failure repeats the whole batch.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
)

type event struct {
	Symbol    string    `json:"symbol"`
	Source    string    `json:"source"`
	Price     float64   `json:"price,string"`
	Size      float64   `json:"size,string"`
	Timestamp time.Time `json:"timestamp"`
	Sequence  int64     `json:"sequence"`
	Venue     string    `json:"venue"`
}

var rules = []struct {
	name  string
	fires func(price float64) bool
}{
	{"Up", func(price float64) bool { return price > 120 }},
	{"Down", func(price float64) bool { return price < 110 }},
}

type handler struct {
	tables *dynamodb.Client
	topics *sns.Client
}

func (h *handler) handle(ctx context.Context, batch events.SQSEvent) (out events.SQSEventResponse, err error) {
	for _, record := range batch.Records {
		var found []event
		if len(record.Body) > 0 && record.Body[0] == '[' {
			err = json.Unmarshal([]byte(record.Body), &found)
		} else {
			found = make([]event, 1)
			err = json.Unmarshal([]byte(record.Body), &found[0])
		}
		if err != nil {
			return out, err
		}
		for i := range found {
			for _, r := range rules {
				if r.fires(found[i].Price) {
					if err := h.alert(ctx, r.name, &found[i]); err != nil {
						return out, err
					}
				}
			}
		}
	}
	return out, nil
}

func (h *handler) alert(ctx context.Context, rule string, e *event) error {
	fields := map[string]string{
		"symbol": e.Symbol, "alert_id": fmt.Sprintf("%s#%s#%d", e.Timestamp.Format(time.RFC3339Nano), rule, e.Sequence), "rule": rule,
		"severity": "warning", "timestamp": e.Timestamp.Format(time.RFC3339Nano), "price": strconv.FormatFloat(e.Price, 'f', -1, 64),
		"summary": fmt.Sprintf("%s at %v", e.Symbol, e.Price), "stored_at": time.Now().UTC().Format(time.RFC3339Nano),
	}
	item := map[string]types.AttributeValue{}
	for name, v := range fields {
		item[name] = &types.AttributeValueMemberS{Value: v}
	}
	if _, err := h.tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String(os.Getenv("ALERTS_TABLE")), Item: item}); err != nil {
		return err
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	_, err = h.topics.Publish(ctx, &sns.PublishInput{
		TopicArn: aws.String(os.Getenv("ALERT_TOPIC_ARN")), Message: aws.String(string(text)), Subject: aws.String(e.Symbol + " " + rule),
		MessageAttributes: map[string]snstypes.MessageAttributeValue{"symbol": {DataType: aws.String("String"), StringValue: &e.Symbol}},
	})
	return err
}

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	h := &handler{dynamodb.NewFromConfig(cfg), sns.NewFromConfig(cfg)}
	lambda.Start(h.handle)
}
