package simulate

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// page is what Query and Scan have in common.
type page struct {
	table, index *string
	consistent   *bool
	start        map[string]types.AttributeValue
	limit        *int32
	projection   *string
	filter       *string
	choose       types.Select
	names        map[string]string
	values       map[string]types.AttributeValue
	backward     bool
}

type read struct {
	page
	on     *table
	x      *index
	scope  *scope
	only   map[string]bool
	filter condition
	last   map[string]types.AttributeValue

	items          []map[string]types.AttributeValue
	count, scanned int32
	bytes          int
	full           bool
}

func (d *DynamoDB) read(p page) (*read, error) {
	t, err := d.table(p.table)
	if err != nil {
		return nil, err
	}
	r := &read{page: p, on: t, x: t.primary, items: []map[string]types.AttributeValue{}}
	if p.index != nil {
		r.x = nil
		for _, x := range t.secondary {
			if x.Name == *p.index {
				r.x = x
			}
		}
		if r.x == nil {
			return nil, refuse("ValidationException", "The table does not have the specified index: %s", *p.index)
		}
		if value(p.consistent) {
			return nil, refuse("ValidationException", "Consistent reads are not supported on global secondary indexes")
		}
	}
	if p.limit != nil && *p.limit < 1 {
		return nil, refuse("ValidationException", "Limit must be greater than or equal to 1")
	}
	if r.scope, err = newScope(p.names, p.values); err != nil {
		return nil, err
	}
	if p.filter != nil {
		e := newParser("FilterExpression", *p.filter, r.scope)
		r.filter = e.condition()
		if err := e.end(); err != nil {
			return nil, err
		}
	}
	if p.projection != nil {
		e := newParser("ProjectionExpression", *p.projection, r.scope)
		r.only = e.projection()
		if err := e.end(); err != nil {
			return nil, err
		}
		if has := r.x.projected(t); has != nil {
			for _, name := range sorted(r.only) {
				if !has[name] {
					return nil, refuse("ValidationException", "One or more parameter values were invalid: Global secondary index %s does not project %s", r.x.Name, name)
				}
			}
		}
	}
	return r, nil
}

// position reads ExclusiveStartKey: the key attributes of the table and of the index, and no others.
func (r *read) position() (partition, at, id string, err error) {
	key, err := normalizeAll(r.start, 0)
	if err != nil {
		return "", "", "", err
	}
	if id, err = r.on.identify(key); err == nil {
		err = r.on.check(key)
	}
	partition, at, ok := r.x.place(key)
	if err != nil || !ok || len(key) != len(r.keyNames()) {
		return "", "", "", refuse("ValidationException", "The provided starting key is invalid")
	}
	return partition, at, id, nil
}

func (r *read) keyNames() map[string]bool {
	names := map[string]bool{}
	for _, k := range append(r.on.primary.keys(), r.x.keys()...) {
		names[k.Name] = true
	}
	return names
}

// take adds entries to the page until it is full: at the limit, or at 1 MB.
func (r *read) take(entries []entry) {
	has := r.x.projected(r.on)
	for i := range entries {
		e := entries[i]
		if r.backward {
			e = entries[len(entries)-1-i]
		}
		it := e.row.item.only(has)
		r.scanned++
		r.bytes += e.row.size
		if r.filter == nil || r.filter.holds(it) {
			r.count++
			if r.choose != types.SelectCount {
				r.items = append(r.items, it.only(r.only).clone())
			}
		}
		if r.limit != nil && r.scanned >= *r.limit || r.bytes >= MaxPageBytes {
			r.full = true
			r.last = e.row.item.only(r.keyNames()).clone()
			return
		}
	}
}

// Query is dynamodb.Client.Query. As in DynamoDB a page that its limit ended has a LastEvaluatedKey, also where nothing
// follows.
func (d *DynamoDB) Query(ctx context.Context, in *dynamodb.QueryInput, _ ...func(*dynamodb.Options)) (*dynamodb.QueryOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if err := legacy(in.KeyConditions != nil, in.QueryFilter != nil, in.AttributesToGet != nil, in.ConditionalOperator != ""); err != nil {
		return nil, err
	}
	r, err := d.read(page{
		table: in.TableName, index: in.IndexName, consistent: in.ConsistentRead, start: in.ExclusiveStartKey, limit: in.Limit,
		projection: in.ProjectionExpression, filter: in.FilterExpression, choose: in.Select,
		names: in.ExpressionAttributeNames, values: in.ExpressionAttributeValues,
		backward: in.ScanIndexForward != nil && !*in.ScanIndexForward,
	})
	if err != nil {
		return nil, err
	}
	p := newParser("KeyConditionExpression", value(in.KeyConditionExpression), r.scope)
	c := p.condition()
	if err := p.end(); err != nil {
		return nil, err
	}
	if err := r.scope.unused(); err != nil {
		return nil, err
	}
	partition, within, err := r.x.keyCondition(c)
	if err != nil {
		return nil, err
	}
	entries := within.of(r.x.partitions[partition])
	if len(r.start) > 0 {
		from, at, id, err := r.position()
		if err != nil {
			return nil, err
		}
		if from != partition {
			return nil, refuse("ValidationException", "The provided starting key is outside query boundaries based on provided conditions")
		}
		entries = r.beyond(entries, at, id)
	}
	r.take(entries)
	return &dynamodb.QueryOutput{Items: r.items, Count: r.count, ScannedCount: r.scanned, LastEvaluatedKey: r.last}, nil
}

// beyond cuts off what was read before, in the direction of the read.
func (r *read) beyond(entries []entry, at, id string) []entry {
	i := search(entries, at, id)
	if r.backward {
		return entries[:i]
	}
	if i < len(entries) && entries[i].sort == at && entries[i].row.id == id {
		i++
	}
	return entries[i:]
}

// Scan is dynamodb.Client.Scan, without segments. Partitions come in the order of their keys.
func (d *DynamoDB) Scan(ctx context.Context, in *dynamodb.ScanInput, _ ...func(*dynamodb.Options)) (*dynamodb.ScanOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if err := legacy(in.ScanFilter != nil, in.AttributesToGet != nil, in.ConditionalOperator != ""); err != nil {
		return nil, err
	}
	if in.Segment != nil || in.TotalSegments != nil {
		return nil, refuse("ValidationException", "segments are not simulated")
	}
	r, err := d.read(page{
		table: in.TableName, index: in.IndexName, consistent: in.ConsistentRead, start: in.ExclusiveStartKey, limit: in.Limit,
		projection: in.ProjectionExpression, filter: in.FilterExpression, choose: in.Select,
		names: in.ExpressionAttributeNames, values: in.ExpressionAttributeValues,
	})
	if err != nil {
		return nil, err
	}
	if err := r.scope.unused(); err != nil {
		return nil, err
	}
	var from, at, id string
	if len(r.start) > 0 {
		if from, at, id, err = r.position(); err != nil {
			return nil, err
		}
	}
	for _, partition := range r.x.sortedPartitions() {
		if r.full || partition < from {
			continue
		}
		entries := r.x.partitions[partition]
		if len(r.start) > 0 && partition == from {
			entries = r.beyond(entries, at, id)
		}
		r.take(entries)
	}
	return &dynamodb.ScanOutput{Items: r.items, Count: r.count, ScannedCount: r.scanned, LastEvaluatedKey: r.last}, nil
}
