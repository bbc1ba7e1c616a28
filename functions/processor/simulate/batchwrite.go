package simulate

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// MaxBatchWriteRequests is DynamoDB's limit of one BatchWriteItem call.
const MaxBatchWriteRequests = 25

// BatchWriteItem is dynamodb.Client.BatchWriteItem. It processes everything: a test that wants UnprocessedItems wraps it.
func (d *DynamoDB) BatchWriteItem(ctx context.Context, in *dynamodb.BatchWriteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchWriteItemOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	var writes []*write
	seen := map[string]bool{}
	for _, name := range sorted(in.RequestItems) {
		for _, r := range in.RequestItems[name] {
			var put, key map[string]types.AttributeValue
			switch {
			case r.PutRequest != nil && r.DeleteRequest == nil:
				put = r.PutRequest.Item
			case r.DeleteRequest != nil && r.PutRequest == nil:
				key = r.DeleteRequest.Key
			default:
				return nil, refuse("ValidationException", "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
			}
			w, err := d.prepare(request{table: &name}, put, key, nil)
			if err != nil {
				return nil, err
			}
			w.delete = put == nil
			if seen[name+"\x00"+w.id] {
				return nil, refuse("ValidationException", "Provided list of item keys contains duplicates")
			}
			seen[name+"\x00"+w.id] = true
			writes = append(writes, w)
		}
	}
	switch {
	case len(writes) == 0:
		return nil, refuse("ValidationException", "1 validation error detected: requestItems must have length greater than or equal to 1")
	case len(writes) > MaxBatchWriteRequests:
		return nil, refuse("ValidationException", "Too many items requested for the BatchWriteItem call")
	}
	for _, w := range writes {
		if _, _, err := w.run(); err != nil {
			return nil, err
		}
	}
	return &dynamodb.BatchWriteItemOutput{}, nil
}
