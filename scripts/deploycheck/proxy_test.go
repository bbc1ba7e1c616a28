package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

const account = "123456789012"

// clients are the SDK's own clients, so that the requests are what the function really sends.
type clients struct {
	tables *dynamodb.Client
	topics *sns.Client
	queues *sqs.Client
}

func clientsFor(endpoint string) clients {
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &endpoint, Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "token"),
		Retryer: func() aws.Retryer { return aws.NopRetryer{} }}
	return clients{dynamodb.NewFromConfig(cfg), sns.NewFromConfig(cfg), sqs.NewFromConfig(cfg)}
}

// startProxy puts a proxy before handler and returns clients of the proxy.
func startProxy(t *testing.T, handler http.HandlerFunc) (*proxy, clients) {
	t.Helper()
	emulator := httptest.NewServer(handler)
	t.Cleanup(emulator.Close)
	target, err := url.Parse(emulator.URL)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(target, account)
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	return p, clientsFor(front.URL)
}

func TestProxyRecordsWhatACallNeeds(t *testing.T) {
	ctx := context.Background()
	key := map[string]types.AttributeValue{"symbol": &types.AttributeValueMemberS{Value: "A"}}
	table, state := aws.String("market-alerts-t"), aws.String("market-state-t")
	alertsARN, stateARN := tableARN, "arn:aws:dynamodb:us-east-1:123456789012:table/market-state-t"
	topic := aws.String("arn:aws:sns:us-east-1:123456789012:trading-alerts-t")
	queue := aws.String("https://sqs.us-east-1.amazonaws.com/123456789012/market-data-t.fifo")
	for _, test := range []struct {
		name string
		do   func(clients) error
		want []call
	}{
		{"PutItem", func(c clients) error {
			_, err := c.tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: table, Item: key})
			return err
		}, []call{{"dynamodb:PutItem", alertsARN}}},
		{"UpdateItem by ARN", func(c clients) error {
			_, err := c.tables.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: &alertsARN, Key: key})
			return err
		}, []call{{"dynamodb:UpdateItem", alertsARN}}},
		{"Query of an index", func(c clients) error {
			_, err := c.tables.Query(ctx, &dynamodb.QueryInput{TableName: table, IndexName: aws.String("by-day")})
			return err
		}, []call{{"dynamodb:Query", alertsARN + "/index/by-day"}}},
		{"BatchGetItem of two tables", func(c clients) error {
			_, err := c.tables.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{
				*table: {Keys: []map[string]types.AttributeValue{key}}, *state: {Keys: []map[string]types.AttributeValue{key}}}})
			return err
		}, []call{{"dynamodb:BatchGetItem", alertsARN}, {"dynamodb:BatchGetItem", stateARN}}},
		{"BatchWriteItem", func(c clients) error {
			_, err := c.tables.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{
				*table: {{PutRequest: &types.PutRequest{Item: key}}}}})
			return err
		}, []call{{"dynamodb:BatchWriteItem", alertsARN}}},
		{"a transaction of every kind", func(c clients) error {
			_, err := c.tables.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
				{Put: &types.Put{TableName: state, Item: key}},
				{Put: &types.Put{TableName: table, Item: key}},
				{Put: &types.Put{TableName: table, Item: key}},
				{Update: &types.Update{TableName: table, Key: key, UpdateExpression: aws.String("SET a = b")}},
				{Delete: &types.Delete{TableName: table, Key: key}},
				{ConditionCheck: &types.ConditionCheck{TableName: state, Key: key, ConditionExpression: aws.String("c")}},
			}})
			return err
		}, []call{{"dynamodb:ConditionCheckItem", stateARN}, {"dynamodb:DeleteItem", alertsARN}, {"dynamodb:PutItem", alertsARN},
			{"dynamodb:PutItem", stateARN}, {"dynamodb:UpdateItem", alertsARN}}},
		{"PublishBatch", func(c clients) error {
			_, err := c.topics.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: topic, PublishBatchRequestEntries: []snstypes.PublishBatchRequestEntry{
				{Id: aws.String("0"), Message: aws.String("a & b = c")}}})
			return err
		}, []call{{"sns:Publish", *topic}}},
		{"Publish", func(c clients) error {
			_, err := c.topics.Publish(ctx, &sns.PublishInput{TopicArn: topic, Message: aws.String("m")})
			return err
		}, []call{{"sns:Publish", *topic}}},
		{"SendMessageBatch", func(c clients) error {
			_, err := c.queues.SendMessageBatch(ctx, &sqs.SendMessageBatchInput{QueueUrl: queue, Entries: []sqstypes.SendMessageBatchRequestEntry{
				{Id: aws.String("0"), MessageBody: aws.String("m")}}})
			return err
		}, []call{{"sqs:SendMessage", queueARN}}},
		{"ChangeMessageVisibilityBatch", func(c clients) error {
			_, err := c.queues.ChangeMessageVisibilityBatch(ctx, &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: queue,
				Entries: []sqstypes.ChangeMessageVisibilityBatchRequestEntry{{Id: aws.String("0"), ReceiptHandle: aws.String("h")}}})
			return err
		}, []call{{"sqs:ChangeMessageVisibility", queueARN}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			forwarded := ""
			p, c := startProxy(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				forwarded = string(body)
				w.WriteHeader(http.StatusTeapot)
			})
			var answer interface{ HTTPStatusCode() int }
			if err := test.do(c); !errors.As(err, &answer) || answer.HTTPStatusCode() != http.StatusTeapot {
				t.Errorf("the emulator's answer did not arrive: %v", err)
			}
			if forwarded == "" {
				t.Error("the body was not forwarded")
			}
			got, err := p.recorded()
			if err != nil || !slices.Equal(got, test.want) {
				t.Errorf("recorded %v, %v, want %v", got, err, test.want)
			}
		})
	}
}

func TestProxyReportsWhatItCannotRead(t *testing.T) {
	ctx := context.Background()
	for name, do := range map[string]func(clients, string){
		"no resource": func(c clients, _ string) { _, _ = c.tables.ListTables(ctx, &dynamodb.ListTablesInput{}) },
		"not signed":  func(_ clients, url string) { post(t, url, `{"TableName": "t"}`, "DynamoDB_20120810.PutItem", "") },
		"no JSON": func(_ clients, url string) {
			post(t, url, `{`, "DynamoDB_20120810.PutItem", "Credential=a/20261122/us-east-1/dynamodb/aws4_request, x")
		},
		"no operation": func(_ clients, url string) {
			post(t, url, "a=b", "", "Credential=a/20261122/us-east-1/sns/aws4_request, x")
		},
		"unknown part of a transaction": func(_ clients, url string) {
			post(t, url, `{"TransactItems": [{"Merge": {"TableName": "t"}}]}`, "DynamoDB_20120810.TransactWriteItems",
				"Credential=a/20261122/us-east-1/dynamodb/aws4_request, x")
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := startProxy(t, func(http.ResponseWriter, *http.Request) {})
			server := httptest.NewServer(p)
			defer server.Close()
			do(clientsFor(server.URL), server.URL)
			if calls, err := p.recorded(); err == nil {
				t.Errorf("recorded %v without an error", calls)
			}
		})
	}
}

func post(t *testing.T, url, body, target, authorization string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Amz-Target", target)
	req.Header.Set("Authorization", authorization)
	response, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
}

func TestProxyMakesCallsFail(t *testing.T) {
	ctx := context.Background()
	reached := 0
	p, c := startProxy(t, func(w http.ResponseWriter, r *http.Request) {
		reached++
		fmt.Fprint(w, "{}")
	})
	p.fail = func(calls []call, body []byte) bool { return p.failed < 2 && strings.Contains(string(body), "FAIL") }
	put := func(value string) int {
		_, err := c.tables.PutItem(ctx, &dynamodb.PutItemInput{TableName: aws.String("t"), Item: map[string]types.AttributeValue{
			"v": &types.AttributeValueMemberS{Value: value}}})
		var answer interface{ HTTPStatusCode() int }
		if errors.As(err, &answer) {
			return answer.HTTPStatusCode()
		}
		return http.StatusOK
	}
	var got []int
	for _, v := range []string{"a", "FAIL", "b", "FAIL", "FAIL"} {
		got = append(got, put(v))
	}
	if want := []int{200, 500, 200, 500, 200}; !slices.Equal(got, want) || p.failures() != 2 || reached != 3 {
		t.Errorf("answers %v, %d failures, %d calls reached the emulator; want %v, 2, 3", got, p.failures(), reached, want)
	}
}
