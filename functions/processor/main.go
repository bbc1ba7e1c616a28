// Command processor is the Lambda function: SQS batches in, alerts out; and once a minute a tick of the clock.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
)

func main() {
	logger := newLogger(os.Stderr, os.Getenv)
	handler, err := newHandler(os.Getenv, os.Stdout, logger)
	if err != nil {
		logger.Error("the function cannot start", slog.String("error", err.Error()))
		os.Exit(1)
	}
	lambda.Start(handler)
}

// newLogger writes JSON lines with the names that Lambda's log filtering knows.
func newLogger(w io.Writer, getenv func(string) string) *slog.Logger {
	level := slog.LevelInfo
	// Lambda's TRACE and FATAL have no counterpart: info is then kept.
	_ = level.UnmarshalText([]byte(getenv("AWS_LAMBDA_LOG_LEVEL")))
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) > 0 {
			return a
		}
		switch a.Key {
		case slog.TimeKey:
			a.Key = "timestamp"
		case slog.MessageKey:
			a.Key = "message"
		}
		return a
	}}))
}

// callConcurrency bounds the calls of SNS, and those of SQS, under way at the same time.
const callConcurrency = 8

// callTimeout ends a call that hangs, so that the retry after it still falls into the invocation.
const callTimeout = 8 * time.Second

// client sends requests whose bodies can only be read. smithy-go v1.28.6 gives a body whose WriteTo returns io.EOF once it
// is closed, which net/http takes for a broken connection if the answer comes while the request's end is being written:
// the answer is then cut off (aws-sdk-go-v2 issue 2737).
type client struct{ aws.HTTPClient }

func (c client) Do(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body = struct{ io.ReadCloser }{r.Body}
	}
	return c.HTTPClient.Do(r)
}

// newHandler wires settings, clients and adapters. The clients are built from their options alone: loading the SDK's
// shared configuration costs a quarter of the start and finds nothing in Lambda.
func newHandler(getenv func(string) string, metrics io.Writer, logger *slog.Logger) (lambda.Handler, error) {
	s, err := settings.FromEnv(getenv)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	compiled, err := os.ReadFile(s.RulesFile)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err // the path is the variable's value
		}
		return nil, fmt.Errorf("reading the rules that %s names: %w", settings.EnvRulesFile, err)
	}
	rules, err := alert.DecodeRules(compiled)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", settings.EnvRulesFile, err)
	}
	options := alert.Options{Lateness: s.Lateness, Ordered: s.Delivery == settings.Ordered}
	if err := rules.Fits(options); err != nil {
		return nil, fmt.Errorf("%s: %w", settings.EnvRulesFile, err)
	}
	keys := credentials.NewStaticCredentialsProvider(getenv("AWS_ACCESS_KEY_ID"), getenv("AWS_SECRET_ACCESS_KEY"), getenv("AWS_SESSION_TOKEN"))
	httpClient := client{awshttp.NewBuildableClient().WithTimeout(callTimeout)}
	var endpoint *string
	if url := getenv("AWS_ENDPOINT_URL"); url != "" {
		endpoint = aws.String(url)
	}
	tables := dynamodb.New(dynamodb.Options{Region: s.Region, Credentials: keys, HTTPClient: httpClient, BaseEndpoint: endpoint})
	topics := sns.New(sns.Options{Region: s.Region, Credentials: keys, HTTPClient: httpClient, BaseEndpoint: endpoint})
	queues := sqs.New(sqs.Options{Region: s.Region, Credentials: keys, HTTPClient: httpClient, BaseEndpoint: endpoint})

	store := ledger.NewDynamoDB(tables, ledger.Config{
		AlertsTable: s.AlertsTable, StateTable: s.StateTable, AlertTTL: s.AlertTTL, StateTTL: s.StateTTL,
	})
	market := &queue.SQS{API: queues, QueueURL: s.QueueURL, RejectsURL: s.RejectsQueueURL, Concurrency: callConcurrency}
	h, err := ingest.New(ingest.Config{
		Environment:       s.Environment,
		Delivery:          s.Delivery,
		Engine:            rules.Engine(options),
		Ledger:            store,
		Notifier:          &notify.SNS{API: topics, TopicARN: s.AlertTopicARN, Concurrency: callConcurrency},
		Queue:             market,
		Timetable:         store,
		Clocks:            market,
		Timers:            s.Clock == settings.ClockOn && rules.Timed(),
		Ticks:             s.Clock == settings.ClockOn,
		ClockSkew:         s.ClockSkew,
		MaxRetryDelay:     s.MaxRetryDelay,
		SeriesConcurrency: s.SeriesConcurrency,
		Logger:            logger,
		Metrics:           metrics,
	})
	if err != nil {
		return nil, err
	}
	return invoker{h}, nil
}

// invoker is the handler that Lambda calls: bytes in, bytes out.
type invoker struct{ *ingest.Handler }

// Invoke processes one SQS batch, or one tick of the clock, which it answers with null. A panic is an error without what
// it was raised with, which can quote the input, and which Lambda would log.
func (i invoker) Invoke(ctx context.Context, payload []byte) (answer []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			answer, err = nil, fmt.Errorf("processor: panic (%T): %s", r, debug.Stack())
		}
	}()
	response, err := i.HandleEvent(ctx, payload)
	switch {
	case errors.Is(err, ingest.ErrNoRecords) && isTick(payload):
		if err := i.Tick(ctx); err != nil {
			return nil, err
		}
		return []byte("null"), nil
	case errors.Is(err, ingest.ErrNoRecords):
		return nil, fmt.Errorf("processor: the event holds no SQS records and is not {%q:%q}: only the event source mapping and the clock's schedule invoke this function",
			settings.ClockKey, settings.ClockTick)
	case err != nil:
		return nil, err
	}
	return response.AppendJSON(nil), nil
}

// isTick tells whether payload is the clock's, {"clock":"tick"} and nothing else.
func isTick(payload []byte) bool {
	var input map[string]any
	return json.Unmarshal(payload, &input) == nil && len(input) == 1 && input[settings.ClockKey] == settings.ClockTick
}
