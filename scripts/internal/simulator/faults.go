package simulator

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	snstypes "github.com/aws/aws-sdk-go-v2/service/sns/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
)

// Kind is a kind of fault.
type Kind uint8

// Faults of one AWS call, after the SDK has given up its own retries unless said otherwise.
const (
	Throttle      Kind = iota // refused, without effect; of a transaction, also cancelled by another's
	ServerError               // 5xx, without effect
	TimeoutBefore             // no answer, without effect
	TimeoutAfter              // no answer, but done
	Retried                   // done, no answer, and done once more by the SDK's own retry, whose answer arrives
	Denied                    // access denied
	Partial                   // some entries of a batch fail inside an answer that succeeds; elsewhere ServerError
	Hang                      // no answer until the invocation's deadline
	HangAfter                 // the same, but done
	Panic                     // in the client
	CrashBefore               // the process ends, before the effect
	CrashAfter                // the process ends, after the effect
	FreezeBefore              // the process stands still for minutes, and then goes on with the call
	FreezeAfter               // the same, after the effect
	Kinds                     // the number of those before it

	// Faults of delivery, by the number of the invocation.

	Overlap      Kind = iota // the visibility timeout ends early, so that the batch is delivered again meanwhile
	LostDelete               // what succeeded is not deleted, and comes back
	MuchLater                // the same, hours later
	deliveryKind             // the end of the list
)

var kindNames = [...]string{
	"throttle", "server error", "timeout before the effect", "timeout after the effect", "retried by the SDK after the effect", "access denied",
	"partial failure", "hang", "hang after the effect", "panic", "crash before", "crash after", "freeze before", "freeze after", "", "overlap", "lost delete", "much later",
}

func (k Kind) String() string { return kindNames[k] }

// Fault is one fault: of the At-th AWS call, or of the At-th invocation, from 0.
type Fault struct {
	At   int
	Kind Kind
}

// Outage is a time in which every call of one service fails, from the start of the run.
type Outage struct {
	Service  string // "dynamodb" or "sns"
	From, To time.Duration
}

// client is the AWS clients of one environment. A call takes time, its effect happens in the middle of it, and the next
// fault of the plan strikes it.
type client struct{ *environment }

func networkError(operation string) error {
	return &smithy.OperationError{ServiceID: "simulated", OperationName: operation, Err: errors.New("connection reset by peer")}
}

func apiError(operation, code string) error {
	return &smithy.OperationError{ServiceID: "simulated", OperationName: operation, Err: &smithy.GenericAPIError{Code: code, Message: "injected"}}
}

// call makes one call of service. do has the effect; partial, where it is not nil, has it on a part of the entries and
// answers which failed.
func call[T any](ctx context.Context, c *client, service, operation string, do, partial func() (T, error)) (T, error) {
	return callThrottled(ctx, c, service, operation, apiError(operation, "ThrottlingException"), do, partial)
}

func callThrottled[T any](ctx context.Context, c *client, service, operation string, throttled error, do, partial func() (T, error)) (T, error) {
	w := c.cloud
	var none T
	n := w.calls
	w.calls++
	kind, struck := w.strike(n)
	for _, o := range w.scenario.Outages {
		if at := w.now.Sub(w.start); o.Service == service && at >= o.From && at < o.To {
			kind, struck = ServerError, true
			w.faults++
		}
	}
	w.record(operation, n, kind, struck)
	finish := func(out T, err error) (T, error) {
		w.sleep(w.latency())
		if ctx.Err() != nil {
			return none, &smithy.CanceledError{Err: ctx.Err()}
		}
		return out, err
	}
	w.sleep(w.latency())
	if ctx.Err() != nil {
		return none, &smithy.CanceledError{Err: ctx.Err()}
	}
	if !struck {
		return finish(do())
	}
	switch kind {
	case Throttle:
		return finish(none, throttled)
	case Denied:
		return finish(none, apiError(operation, "AccessDeniedException"))
	case TimeoutBefore, TimeoutAfter:
		if kind == TimeoutAfter {
			_, _ = do()
		}
		w.sleep(8 * time.Second)
		return finish(none, networkError(operation))
	case Retried:
		_, _ = do()
		w.sleep(100 * time.Millisecond)
		return finish(do())
	case Partial:
		if partial != nil {
			return finish(partial())
		}
	case Hang, HangAfter:
		if kind == HangAfter {
			_, _ = do()
		}
		deadline, _ := ctx.Deadline()
		w.sleep(deadline.Sub(c.now()))
		return none, &smithy.CanceledError{Err: context.DeadlineExceeded}
	case Panic:
		panic(injectedPanic{})
	case CrashBefore, CrashAfter:
		if kind == CrashAfter {
			_, _ = do()
		}
		w.kill(w.current.process)
		runtime.Goexit()
	case FreezeBefore, FreezeAfter:
		var out T
		var err error
		if kind == FreezeAfter {
			out, err = do()
		}
		w.current.process.frozen = true
		w.sleep(time.Minute + w.jitter(20*time.Minute))
		if kind == FreezeBefore {
			out, err = do()
		}
		return finish(out, err)
	}
	return finish(none, apiError(operation, "InternalServerError"))
}

// strike tells whether a fault of the plan is due at call n.
func (w *cloud) strike(n int) (Kind, bool) {
	for _, f := range w.scenario.Faults {
		if f.Kind < Kinds && f.At == n {
			w.faults++
			return f.Kind, true
		}
	}
	return 0, false
}

func (c *client) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	get := func(in *dynamodb.BatchGetItemInput) (*dynamodb.BatchGetItemOutput, error) {
		out, err := c.cloud.db.BatchGetItem(context.Background(), in)
		if err == nil {
			c.read(out.Responses[stateTable])
		}
		return out, err
	}
	return call(ctx, c, "dynamodb", "BatchGetItem", func() (*dynamodb.BatchGetItemOutput, error) { return get(in) },
		func() (*dynamodb.BatchGetItemOutput, error) {
			some, rest := map[string]ddb.KeysAndAttributes{}, map[string]ddb.KeysAndAttributes{}
			for table, keys := range in.RequestItems {
				first, second := keys, keys
				first.Keys, second.Keys = keys.Keys[:len(keys.Keys)/2], keys.Keys[len(keys.Keys)/2:]
				if rest[table] = second; len(first.Keys) > 0 {
					some[table] = first
				}
			}
			if len(some) == 0 {
				return &dynamodb.BatchGetItemOutput{UnprocessedKeys: rest}, nil
			}
			out, err := get(&dynamodb.BatchGetItemInput{RequestItems: some})
			if err == nil {
				out.UnprocessedKeys = rest
			}
			return out, err
		})
}

func (c *client) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	return call(ctx, c, "dynamodb", "BatchWriteItem",
		func() (*dynamodb.BatchWriteItemOutput, error) {
			return c.cloud.db.BatchWriteItem(context.Background(), in)
		},
		func() (*dynamodb.BatchWriteItemOutput, error) {
			some, rest := map[string][]ddb.WriteRequest{}, map[string][]ddb.WriteRequest{}
			for table, requests := range in.RequestItems {
				if rest[table] = requests[len(requests)/2:]; len(requests) > 1 {
					some[table] = requests[:len(requests)/2]
				}
			}
			if len(some) == 0 {
				return &dynamodb.BatchWriteItemOutput{UnprocessedItems: rest}, nil
			}
			out, err := c.cloud.db.BatchWriteItem(context.Background(), &dynamodb.BatchWriteItemInput{RequestItems: some})
			if err == nil {
				out.UnprocessedItems = rest
			}
			return out, err
		})
}

func (c *client) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	return call(ctx, c, "dynamodb", "PutItem", func() (*dynamodb.PutItemOutput, error) {
		written := *in
		written.Item = c.write(in.Item)
		return c.cloud.db.PutItem(context.Background(), &written)
	}, nil)
}

func (c *client) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	return call(ctx, c, "dynamodb", "UpdateItem", func() (*dynamodb.UpdateItemOutput, error) {
		return c.cloud.db.UpdateItem(context.Background(), in)
	}, nil)
}

func (c *client) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	// A token for each call, as the SDK gives one: its own retries are the same request.
	c.cloud.tokens++
	request := dynamodb.TransactWriteItemsInput{ClientRequestToken: aws.String(fmt.Sprint("token-", c.cloud.tokens))}
	throttled := &ddb.TransactionCanceledException{}
	for i, item := range in.TransactItems {
		put := *item.Put
		if aws.ToString(put.TableName) == stateTable {
			put.Item = c.write(put.Item)
		}
		request.TransactItems = append(request.TransactItems, ddb.TransactWriteItem{Put: &put})
		code := [...]string{"TransactionConflict", "None", "ThrottlingError"}[i%3]
		throttled.CancellationReasons = append(throttled.CancellationReasons, ddb.CancellationReason{Code: &code})
	}
	return callThrottled(ctx, c, "dynamodb", "TransactWriteItems", throttled, func() (*dynamodb.TransactWriteItemsOutput, error) {
		return c.cloud.db.TransactWriteItems(context.Background(), &request)
	}, nil)
}

func (c *client) Query(ctx context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	return call(ctx, c, "dynamodb", "Query", func() (*dynamodb.QueryOutput, error) { return c.cloud.db.Query(context.Background(), in) }, nil)
}

func (c *client) PublishBatch(ctx context.Context, in *sns.PublishBatchInput, _ ...func(*sns.Options)) (*sns.PublishBatchOutput, error) {
	// publish publishes the entries from the first on, and fails those before it.
	publish := func(first int) (*sns.PublishBatchOutput, error) {
		out := &sns.PublishBatchOutput{}
		fail := func(e *snstypes.PublishBatchRequestEntry, code string) {
			out.Failed = append(out.Failed, snstypes.BatchResultErrorEntry{Id: e.Id, Code: &code, SenderFault: code == "InvalidParameter"})
		}
		accepted := *in
		accepted.PublishBatchRequestEntries = nil
		for i, e := range in.PublishBatchRequestEntries {
			switch {
			case c.cloud.refuses(aws.ToString(e.Message)):
				if c.cloud.scenario.RefuseCalls {
					return nil, apiError("PublishBatch", "InvalidParameter")
				}
				fail(&e, "InvalidParameter")
			case i < first:
				fail(&e, "InternalError")
			default:
				accepted.PublishBatchRequestEntries = append(accepted.PublishBatchRequestEntries, e)
			}
		}
		if len(accepted.PublishBatchRequestEntries) == 0 {
			return out, nil
		}
		published, err := c.cloud.sns.PublishBatch(context.Background(), &accepted)
		if err == nil {
			out.Successful, out.Failed = published.Successful, append(out.Failed, published.Failed...)
		}
		return out, err
	}
	return call(ctx, c, "sns", "PublishBatch", func() (*sns.PublishBatchOutput, error) { return publish(0) },
		func() (*sns.PublishBatchOutput, error) { return publish((len(in.PublishBatchRequestEntries) + 1) / 2) })
}

func (c *client) SendMessageBatch(ctx context.Context, in *sqs.SendMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.SendMessageBatchOutput, error) {
	send := func(entries []sqstypes.SendMessageBatchRequestEntry) (*sqs.SendMessageBatchOutput, error) {
		some := *in
		some.Entries = entries
		defer c.cloud.changed()
		return c.cloud.sqs.SendMessageBatch(context.Background(), &some)
	}
	return call(ctx, c, "sqs", "SendMessageBatch", func() (*sqs.SendMessageBatchOutput, error) { return send(in.Entries) },
		func() (*sqs.SendMessageBatchOutput, error) {
			out := &sqs.SendMessageBatchOutput{}
			half := (len(in.Entries) + 1) / 2
			if half < len(in.Entries) {
				var err error
				if out, err = send(in.Entries[half:]); err != nil {
					return nil, err
				}
			}
			for _, e := range in.Entries[:half] {
				out.Failed = append(out.Failed, sqstypes.BatchResultErrorEntry{Id: e.Id, Code: aws.String("InternalError")})
			}
			return out, nil
		})
}

func (c *client) ChangeMessageVisibilityBatch(ctx context.Context, in *sqs.ChangeMessageVisibilityBatchInput, _ ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityBatchOutput, error) {
	return call(ctx, c, "sqs", "ChangeMessageVisibilityBatch", func() (*sqs.ChangeMessageVisibilityBatchOutput, error) {
		defer c.cloud.changed()
		return c.cloud.sqs.ChangeMessageVisibilityBatch(context.Background(), in)
	}, nil)
}

// write gives a state as this environment's code writes it: newer code has a newer format.
func (c *client) write(state map[string]ddb.AttributeValue) map[string]ddb.AttributeValue {
	if c.format == 0 {
		return state
	}
	written := maps.Clone(state)
	for name, v := range state {
		if b, ok := v.(*ddb.AttributeValueMemberB); ok {
			data := slices.Clone(b.Value)
			data[0] += c.format
			written[name] = &ddb.AttributeValueMemberB{Value: data}
		}
	}
	return written
}

// read makes states of this environment's format, and older ones, readable to its code.
func (c *client) read(states []map[string]ddb.AttributeValue) {
	if c.format == 0 {
		return
	}
	for _, it := range states {
		for name, v := range it {
			if b, ok := v.(*ddb.AttributeValueMemberB); ok && b.Value[0] > 1 {
				data := slices.Clone(b.Value)
				data[0] -= c.format
				it[name] = &ddb.AttributeValueMemberB{Value: data}
			}
		}
	}
}
