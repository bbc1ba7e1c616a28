// Command plain is the Lambda function as a plain port to Go: encoding/json, and a PutItem and a Publish for each alert.
// It promises less than the pipeline: no state, no order, no outbox; a failure repeats the whole batch. BASELINE=outbox
// comes nearer: an alert is stored once, as pending, and marked when it is published, so that a crash loses none; what
// overlaps still publishes twice.
package main

import (
	"context"
	"encoding/json"
	"errors"
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
	outbox bool
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
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	put := &dynamodb.PutItemInput{TableName: aws.String(os.Getenv("ALERTS_TABLE"))}
	if h.outbox {
		fields["status"], fields["pending_shard"], fields["lease_until"] = "PENDING", "0", fields["stored_at"]
		put.ConditionExpression = aws.String("attribute_not_exists(alert_id) OR attribute_exists(pending_shard)")
	}
	put.Item = map[string]types.AttributeValue{}
	for name, v := range fields {
		put.Item[name] = &types.AttributeValueMemberS{Value: v}
	}
	var published *types.ConditionalCheckFailedException
	if _, err := h.tables.PutItem(ctx, put); errors.As(err, &published) {
		return nil
	} else if err != nil {
		return err
	}
	_, err = h.topics.Publish(ctx, &sns.PublishInput{
		TopicArn: aws.String(os.Getenv("ALERT_TOPIC_ARN")), Message: aws.String(string(text)), Subject: aws.String(e.Symbol + " " + rule),
		MessageAttributes: map[string]snstypes.MessageAttributeValue{"symbol": {DataType: aws.String("String"), StringValue: &e.Symbol}},
	})
	if err != nil || !h.outbox {
		return err
	}
	_, err = h.tables.UpdateItem(ctx, &dynamodb.UpdateItemInput{
		TableName: put.TableName, Key: map[string]types.AttributeValue{"symbol": put.Item["symbol"], "alert_id": put.Item["alert_id"]},
		UpdateExpression:         aws.String("SET #status = :sent REMOVE pending_shard, lease_until"),
		ExpressionAttributeNames: map[string]string{"#status": "status"}, ExpressionAttributeValues: map[string]types.AttributeValue{":sent": &types.AttributeValueMemberS{Value: "SENT"}},
	})
	return err
}

func main() {
	cfg, err := config.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	h := &handler{dynamodb.NewFromConfig(cfg), sns.NewFromConfig(cfg), os.Getenv("BASELINE") == "outbox"}
	lambda.Start(h.handle)
}
