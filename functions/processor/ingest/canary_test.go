package ingest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// canary is a secret that must not come out; canaryDigits is one that a number can have.
const (
	canary       = "CANARY-7f3a9c"
	canaryDigits = "7700110022003"
)

// silent fails the test where something that Lambda writes to a log or a metric holds a canary.
func silent(t *testing.T, what string, r *rig, err error) {
	t.Helper()
	texts := map[string]string{"log": r.logs.String(), "metrics": r.metrics.String()}
	if err != nil {
		texts["error"] = err.Error()
	}
	for name, text := range texts {
		for _, c := range []string{canary, canaryDigits} {
			if i := strings.Index(text, c); i >= 0 {
				t.Errorf("%s: the %s has the canary: ...%s...", what, name, text[max(0, i-200):min(len(text), i+80)])
			}
		}
	}
}

// canaryBodies hold the canary in every place of a body, in good events and in bad ones.
func canaryBodies() []string {
	good := func(fields string) string {
		return `{"symbol":"AAPL","price":101,` + fields + `"timestamp":"2026-11-20T14:30:00Z"}`
	}
	bodies := []string{
		canary, `"` + canary + `"`, `[` + canary + `]`, canaryDigits, "-" + canaryDigits, "[" + canaryDigits, good("") + canary, good("") + " " + canaryDigits, good("")[:60] + canary,
		"[" + good("") + "]" + canary, "[" + good("") + "," + canary, "\uFEFF" + canary, good("") + "\n" + canary, "{" + canary, `{"` + canary + `"`, `{"` + canary + `":`, "<" + canary + "/>", "{\n" + canary + "\n}",
		goodTrade(canary), `{"symbol":"` + canary + `","price":101}`, strings.Replace(good(""), "101", canaryDigits, 1), strings.Replace(good(""), "101", "-"+canaryDigits, 1), strings.Replace(good(""), "101", "1."+canaryDigits, 1),
		strings.Replace(good(""), "101", `"`+canary+`"`, 1), strings.Replace(good(""), "101", canary, 1), strings.Replace(good(""), "101", "1e"+canaryDigits, 1), strings.Replace(good(""), "2026-11-20T14:30:00Z", canary, 1),
		strings.Replace(good(""), "2026-11-20T14:30:00Z", "2026-11-20T14:30:00."+canaryDigits+"Z", 1), good(`"type":"` + canary + `",`), good(`"` + canary + `":1,`), good(`"` + canary + `":1,"` + canary + `":1,`),
		good(`"sequence":` + canaryDigits + `,`), good(`"sequence":-` + canaryDigits + `,`), good(`"sequence":` + canaryDigits + `.5,`), good(`"x":[{"y":"` + canary + `"}],`),
		strings.Replace(good(""), "AAPL", canary+" |", 1), strings.Replace(good(""), "symbol", strings.ToUpper("symbol")+canary, 1),
		`{"type":"status","symbol":"AAPL","timestamp":"2026-11-20T14:30:00Z","state":"` + canary + `","reason":"` + canary + `"}`,
		`{"type":"correction","symbol":"AAPL","timestamp":"2026-11-20T14:30:00Z","action":"` + canary + `","original_id":"` + canary + `"}`,
		`{"type":"correction","symbol":"AAPL","timestamp":"2026-11-20T14:30:00Z","action":"cancel","original_id":"` + canary + `"}`,
		`{"type":"bar","symbol":"` + canary + `","timestamp":"2026-11-20T14:30:00Z","interval":"` + canary + `","open":1,"high":1,"low":1,"close":1,"volume":1}`,
		`{"type":"bar","symbol":"AAPL","timestamp":"2026-11-20T14:20:00Z","interval":"1m","open":` + canaryDigits + `,"high":1,"low":1,"close":1,"volume":` + canaryDigits + `}`,
	}
	for _, field := range []string{"source", "id", "venue", "side", "size", "price_eligible"} {
		bodies = append(bodies, good(`"`+field+`":"`+canary+`",`), good(`"`+field+`":"`+canary+strings.Repeat("x", 200)+`",`), good(`"`+field+`":"`+canary+`\u0000",`), good(`"`+field+`":`+canaryDigits+`,`))
	}
	bodies = append(bodies, good(`"conditions":["`+canary+`"],`), good(`"conditions":[`+canaryDigits+`],`), good(`"conditions":["`+canary+`\ud800"],`))
	return bodies
}

const canaryRules = levelRule + `
  - {alert: Held, expr: price > 95, for: 2s, cooldown: 0s}
  - {alert: Quiet, on: silence, after: 10s}
  - {alert: Bars, on: bar, interval: 5m, from: trades, expr: volume > 0, cooldown: 0s}
`

// operations are all calls of AWS's clients.
var operations = []string{"BatchGetItem", "TransactWriteItems", "PutItem", "UpdateItem", "BatchWriteItem", "Query", "PublishBatch", "SendMessageBatch", "ChangeMessageVisibilityBatch"}

// TestBodiesStayOutOfTheLogs: whatever a body says, and whatever fails while it is processed, logs, metrics and errors do not quote it.
func TestBodiesStayOutOfTheLogs(t *testing.T) {
	denied := &smithy.GenericAPIError{Code: "AccessDeniedException", Message: "no"}
	for _, delivery := range []settings.Delivery{settings.Ordered, settings.Unordered} {
		for _, fault := range append([]string{"", "corrupt state", "newer state", "older engine state"}, operations...) {
			r := newRig(t, canaryRules, delivery)
			for i, body := range canaryBodies() {
				m := msg(fmt.Sprint("m", i), canary, body)
				m.OriginMessageID, m.ReceiptHandle = canary+fmt.Sprint(i), canary
				if i%9 == 8 {
					m.Format = canary
				}
				data := map[string][]byte{"corrupt state": {1, 255}, "newer state": {99}, "older engine state": {1, 0, 0, 0}}[fault]
				if data != nil {
					for _, series := range []string{"AAPL|", canary + "|", "AAPL|" + canary} {
						_, err := r.db.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("state"), Item: map[string]ddb.AttributeValue{
							"series": &ddb.AttributeValueMemberS{Value: series}, "version": &ddb.AttributeValueMemberN{Value: "1"}, "data": &ddb.AttributeValueMemberB{Value: data}}})
						if err != nil {
							t.Fatal(err)
						}
					}
				}
				r.before = func(operation string) error {
					if operation == fault {
						return &smithy.OperationError{ServiceID: "AWS", OperationName: operation, Err: denied}
					}
					return nil
				}
				for range 2 {
					_, err := r.handler.Handle(t.Context(), []ingest.Record{m})
					silent(t, fmt.Sprintf("%s, %q: %.80s", delivery, fault, body), r, err)
					m.ReceiveCount++
					r.now = r.now.Add(10 * time.Minute)
				}
				err := r.handler.Tick(t.Context())
				silent(t, fmt.Sprintf("%s, %q, tick: %.80s", delivery, fault, body), r, err)
				if t.Failed() {
					break
				}
			}
			if r.logs.Len() == 0 {
				t.Errorf("%q: nothing is logged, so nothing is tested", fault)
			}
		}
	}
}

// canaryErrors are the errors of AWS's clients, in all their wrappings, each of which quotes the canary.
func canaryErrors() map[string]error {
	api := &smithy.GenericAPIError{Code: "ValidationException", Message: "bad value " + canary}
	response := func(err error) error {
		return &awshttp.ResponseError{RequestID: "R1", ResponseError: &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: &http.Response{StatusCode: 400}}, Err: err}}
	}
	operation := func(err error) error {
		return &smithy.OperationError{ServiceID: "DynamoDB", OperationName: "PutItem", Err: err}
	}
	return map[string]error{
		"API error":                      api,
		"API error in its response":      operation(response(api)),
		"throttled":                      operation(response(&ddb.ProvisionedThroughputExceededException{Message: aws.String(canary)})),
		"conditional check":              operation(response(&ddb.ConditionalCheckFailedException{Message: aws.String(canary), Item: map[string]ddb.AttributeValue{"data": &ddb.AttributeValueMemberS{Value: canary}}})),
		"cancelled transaction":          operation(response(&ddb.TransactionCanceledException{Message: aws.String(canary), CancellationReasons: []ddb.CancellationReason{{Code: aws.String("ValidationError"), Message: aws.String(canary)}}})),
		"refused alert":                  operation(response(&smithy.GenericAPIError{Code: "InvalidParameter", Message: "Invalid parameter: " + canary})),
		"all attempts failed":            operation(&retry.MaxAttemptsError{Attempt: 3, Err: response(api)}),
		"no connection":                  operation(&smithyhttp.RequestSendError{Err: &url.Error{Op: "Post", URL: "https://" + canary + "/?token=" + canary, Err: errors.New("dial tcp: lookup " + canary)}}),
		"an answer that is not HTTP":     operation(&smithyhttp.RequestSendError{Err: fmt.Errorf("malformed HTTP response %q", canary)}),
		"an answer that cannot be read":  operation(response(&smithy.DeserializationError{Err: fmt.Errorf("invalid character in %s", canary), Snapshot: []byte(canary)})),
		"a request that cannot be made":  operation(&smithy.SerializationError{Err: errors.New(canary)}),
		"parameters that do not pass":    operation(&smithy.InvalidParamsError{Context: canary}),
		"an error without a type":        operation(errors.New(canary)),
		"cancelled":                      operation(&smithy.CanceledError{Err: errors.New(canary)}),
		"several":                        errors.Join(operation(response(api)), operation(errors.New(canary))),
		"credentials that cannot be had": operation(fmt.Errorf("get identity: get credentials: %w", errors.New(canary))),
		"signature":                      operation(response(&smithy.GenericAPIError{Code: "InvalidSignatureException", Message: "The Canonical String for this request should have been\n'POST\n/\n\nx-amz-security-token:" + canary + "'"})),
	}
}

// TestAnswersOfAWSStayOutOfTheLogs: each call fails with each error, in a batch, in its redelivery and in a tick.
func TestAnswersOfAWSStayOutOfTheLogs(t *testing.T) {
	for name, failure := range canaryErrors() {
		for _, fault := range operations {
			t.Run(fmt.Sprint(name, " of ", fault), func(t *testing.T) {
				r := newRig(t, canaryRules, settings.Ordered)
				met := false
				fail := func(also string) {
					r.before = func(operation string) error {
						switch operation {
						case fault:
							met = true
							return failure
						case also:
							return &smithy.GenericAPIError{Code: "InternalError"}
						}
						return nil
					}
				}
				batch := func() []ingest.Record {
					// A quote changes no rule and fires nothing: its series is written by itself.
					return []ingest.Record{msg("m1", "g", trade("AAPL", 101, 0, 1), "nonsense"), msg("m2", "h", trade("MSFT", 96, 0, 1), trade("MSFT", 97, 1, 2))}
				}
				invoke := func(what string, f func(context.Context) error) {
					t.Helper()
					silent(t, what, r, f(t.Context()))
				}
				handle := func(records []ingest.Record) func(context.Context) error {
					return func(ctx context.Context) error {
						_, err := r.handler.Handle(ctx, records)
						return err
					}
				}
				// Nothing but the fault fails.
				fail("")
				invoke("a batch", handle(batch()))
				r.now = r.now.Add(time.Hour)
				invoke("a tick", r.handler.Tick)
				invoke("its redelivery", handle(batch()))
				// An alert is left behind, so that it is claimed, recovered and swept.
				r.before = func(operation string) error {
					if operation == "PublishBatch" || operation == "UpdateItem" {
						return &smithy.GenericAPIError{Code: "InternalError"}
					}
					return nil
				}
				_ = handle([]ingest.Record{msg("m3", "g", trade("AAPL", 80, 9, 3), trade("AAPL", 101, 10, 4))})(t.Context())
				r.now = r.now.Add(time.Hour)
				fail("")
				invoke("a sweep", r.handler.Tick)
				invoke("a claim", handle([]ingest.Record{msg("m3", "g", trade("AAPL", 80, 9, 3), trade("AAPL", 101, 10, 4))}))
				invoke("a favour", handle([]ingest.Record{msg("m4", "g", trade("AAPL", 80, 19, 5), trade("AAPL", 101, 20, 6))}))
				fail("PublishBatch")
				invoke("a release", handle([]ingest.Record{msg("m5", "g", trade("AAPL", 80, 29, 7), trade("AAPL", 101, 30, 8))}))
				r.now = r.now.Add(time.Hour)
				invoke("a last tick", r.handler.Tick)
				if !met {
					t.Errorf("%s was never called", fault)
				}
			})
		}
	}
}

// TestFailedEntriesStayOutOfTheLogs: an answer that succeeds says of each of its entries why that one failed.
func TestFailedEntriesStayOutOfTheLogs(t *testing.T) {
	for _, operation := range []string{"PublishBatch", "SendMessageBatch", "ChangeMessageVisibilityBatch"} {
		r := newRig(t, canaryRules, settings.Ordered)
		r.entries, r.saying = operation, canary
		for i := range 3 {
			if i == 2 {
				r.before = func(operation string) error { return &smithy.GenericAPIError{Code: "InternalError"} }
			}
			_, err := r.handler.Handle(t.Context(), []ingest.Record{msg("m1", "g", trade("AAPL", 101, 0, 1), trade("AAPL", 80, 1, 2), trade("AAPL", 101, 2, 3), "nonsense"), msg("m2", "h", "nonsense")})
			silent(t, operation, r, err)
			r.now = r.now.Add(time.Hour)
			silent(t, operation, r, r.handler.Tick(t.Context()))
		}
		if !strings.Contains(r.logs.String(), "InternalError") {
			t.Errorf("%s: nothing is said of the failed entries: %s", operation, &r.logs)
		}
	}
}
