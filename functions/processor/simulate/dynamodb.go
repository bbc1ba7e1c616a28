package simulate

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// What DynamoDB allows in a request.
const (
	MaxBatchGetKeys     = 100
	MaxBatchGetBytes    = 16 << 20 // the rest comes back as UnprocessedKeys
	MaxPageBytes        = 1 << 20  // of a query or scan
	MaxTransactActions  = 100
	MaxTransactionBytes = 4 << 20 // of the transaction's items
	TokenLifetime       = 10 * time.Minute
	maxRequestToken     = 36
)

// DynamoDB is an in-memory DynamoDB. All reads are strongly consistent, those of indexes too; a consistent read of an
// index is refused, as in DynamoDB. Calls run one after the other: a transaction conflict never happens by itself.
//
// An idempotency token counts from a transaction's success; a cancelled one may be tried again under its token.
//
// Not simulated, and refused: document paths, ADD and DELETE of sets, list functions, legacy parameters. Not
// simulated, and ignored: capacity.
type DynamoDB struct {
	now func() time.Time

	mu     sync.Mutex
	tables map[string]*table
	tokens map[string][sha256.Size]byte
	window []sentOnce // keys of tokens, by time
}

// NewDynamoDB makes a DynamoDB without tables whose time is now.
func NewDynamoDB(now func() time.Time) *DynamoDB {
	return &DynamoDB{now: now, tables: map[string]*table{}, tokens: map[string][sha256.Size]byte{}}
}

// CreateTable makes an empty table.
func (d *DynamoDB) CreateTable(c TableConfig) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tables[c.Name] != nil {
		return &types.ResourceInUseException{Message: new("Table already exists: " + c.Name)}
	}
	t := newTable(c)
	names := map[string]bool{}
	for _, x := range append([]*index{t.primary}, t.secondary...) {
		if names[x.Name] || x.Name == "" && x != t.primary {
			return fmt.Errorf("table %s: index name %q is empty or repeated", c.Name, x.Name)
		}
		names[x.Name] = true
		for _, k := range x.keys() {
			if k.Name == "" || k.Type != "S" && k.Type != "N" && k.Type != "B" {
				return fmt.Errorf("table %s, index %q: key %q of type %q: give a name and S, N or B", c.Name, x.Name, k.Name, k.Type)
			}
		}
		if x.Projection != types.ProjectionTypeInclude && len(x.NonKey) > 0 {
			return fmt.Errorf("table %s, index %s: NonKey needs projection INCLUDE", c.Name, x.Name)
		}
	}
	if c.Name == "" {
		return fmt.Errorf("table without a name")
	}
	d.tables[c.Name] = t
	return nil
}

// Sweep deletes the items whose time to live is over, which until then are there for every read, and counts them. As
// in DynamoDB what is over for more than five years stays.
func (d *DynamoDB) Sweep() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.now()
	deleted := 0
	for _, name := range sorted(d.tables) {
		t := d.tables[name]
		for id, r := range t.rows {
			n, ok := r.item[t.TTLAttribute].(*types.AttributeValueMemberN)
			if !ok {
				continue
			}
			seconds, err := strconv.ParseFloat(n.Value, 64)
			if err == nil && seconds < float64(now.Unix()) && seconds > float64(now.AddDate(-5, 0, 0).Unix()) {
				t.drop(id)
				deleted++
			}
		}
	}
	return deleted
}

// enter locks d. The caller unlocks where err is nil.
func (d *DynamoDB) enter(ctx context.Context) error {
	if err := done(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	return nil
}

func (d *DynamoDB) table(name *string) (*table, error) {
	t := d.tables[value(name)]
	if t == nil {
		return nil, &types.ResourceNotFoundException{Message: new("Requested resource not found")}
	}
	return t, nil
}

// legacy refuses the parameters that expressions replaced.
func legacy(given ...bool) error {
	if slices.Contains(given, true) {
		return refuse("ValidationException", "legacy parameters are not simulated: give expressions")
	}
	return nil
}

// write is one action on one item, parsed and checked but for what depends on the stored item.
type write struct {
	table     *table
	id        string
	key       item // of an update
	put       item
	update    *update
	delete    bool
	allOld    bool      // the stored item goes into a ConditionalCheckFailed
	condition condition // nil = none
}

// request is what all writes have in common.
type request struct {
	table     *string
	condition *string
	names     map[string]string
	values    map[string]types.AttributeValue
	onFailure types.ReturnValuesOnConditionCheckFailure
}

// prepare makes a write out of an item (Put), or a key and perhaps an update expression.
func (d *DynamoDB) prepare(r request, put, key map[string]types.AttributeValue, expression *string) (*write, error) {
	t, err := d.table(r.table)
	if err != nil {
		return nil, err
	}
	w := &write{table: t, allOld: r.onFailure == types.ReturnValuesOnConditionCheckFailureAllOld}
	s, err := newScope(r.names, r.values)
	if err != nil {
		return nil, err
	}
	if expression != nil {
		p := newParser("UpdateExpression", *expression, s)
		w.update = p.update()
		if err := p.end(); err != nil {
			return nil, err
		}
		if err := t.updatable(w.update); err != nil {
			return nil, err
		}
	}
	if r.condition != nil {
		p := newParser("ConditionExpression", *r.condition, s)
		w.condition = p.condition()
		if err := p.end(); err != nil {
			return nil, err
		}
	}
	if r.condition == nil && expression == nil && (r.names != nil || r.values != nil) {
		return nil, refuse("ValidationException", "ExpressionAttributeNames and ExpressionAttributeValues can only be specified when using expressions")
	}
	if err := s.unused(); err != nil {
		return nil, err
	}
	if put == nil {
		w.id, w.key, err = t.keyOf(key)
		return w, err
	}
	if w.put, err = normalizeAll(put, 0); err != nil {
		return nil, err
	}
	if w.id, err = t.identify(w.put); err != nil {
		return nil, err
	}
	return w, t.check(w.put)
}

// updatable refuses updates of key attributes.
func (t *table) updatable(u *update) error {
	for _, path := range u.paths() {
		for _, k := range t.primary.keys() {
			if k.Name == path {
				return refuse("ValidationException", "One or more parameter values were invalid: Cannot update attribute %s. This attribute is part of the key", path)
			}
		}
	}
	return nil
}

// evaluate gives the item as it is after the write (nil: none), without storing it.
func (w *write) evaluate() (item, error) {
	old := w.table.get(w.id)
	if w.condition != nil && !w.condition.holds(old) {
		e := &types.ConditionalCheckFailedException{Message: new("The conditional request failed")}
		if w.allOld {
			e.Item = old.clone()
		}
		return nil, e
	}
	switch {
	case w.put != nil:
		return w.put, nil
	case w.delete:
		return nil, nil
	case w.update == nil:
		if old == nil {
			return w.key, nil
		}
		return old, nil
	}
	if old == nil {
		old = w.key
	}
	it, err := w.update.apply(old)
	if err != nil {
		return nil, err
	}
	return it, w.table.check(it)
}

func (w *write) commit(it item) {
	if it == nil {
		w.table.drop(w.id)
	} else {
		w.table.store(w.id, it)
	}
}

// run evaluates and commits one write, and gives the item before and after it.
func (w *write) run() (old, it item, err error) {
	old = w.table.get(w.id)
	if it, err = w.evaluate(); err == nil {
		w.commit(it)
	}
	return old, it, err
}

// PutItem is dynamodb.Client.PutItem.
func (d *DynamoDB) PutItem(ctx context.Context, in *dynamodb.PutItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if err := legacy(in.Expected != nil, in.ConditionalOperator != ""); err != nil {
		return nil, err
	}
	put := in.Item
	if put == nil {
		put = map[string]types.AttributeValue{}
	}
	w, err := d.prepare(request{in.TableName, in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues, in.ReturnValuesOnConditionCheckFailure}, put, nil, nil)
	if err != nil {
		return nil, err
	}
	back, err := returned(in.ReturnValues, false)
	if err != nil {
		return nil, err
	}
	old, it, err := w.run()
	if err != nil {
		return nil, err
	}
	return &dynamodb.PutItemOutput{Attributes: back(old, it)}, nil
}

// returned chooses an answer's attributes from the item before and after the write.
func returned(v types.ReturnValue, update bool) (func(old, it item) item, error) {
	switch {
	case v == "" || v == types.ReturnValueNone:
		return func(_, _ item) item { return nil }, nil
	case v == types.ReturnValueAllOld:
		return func(old, _ item) item { return old.clone() }, nil
	case update && v == types.ReturnValueAllNew:
		return func(_, it item) item { return it.clone() }, nil
	}
	return nil, refuse("ValidationException", "Return values set to invalid value: %s", v)
}

// UpdateItem is dynamodb.Client.UpdateItem.
func (d *DynamoDB) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if err := legacy(in.Expected != nil, in.ConditionalOperator != "", in.AttributeUpdates != nil); err != nil {
		return nil, err
	}
	back, err := returned(in.ReturnValues, true)
	if err != nil {
		return nil, err
	}
	w, err := d.prepare(request{in.TableName, in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues, in.ReturnValuesOnConditionCheckFailure}, nil, in.Key, in.UpdateExpression)
	if err != nil {
		return nil, err
	}
	old, it, err := w.run()
	if err != nil {
		return nil, err
	}
	return &dynamodb.UpdateItemOutput{Attributes: back(old, it)}, nil
}

// DeleteItem is dynamodb.Client.DeleteItem.
func (d *DynamoDB) DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if err := legacy(in.Expected != nil, in.ConditionalOperator != ""); err != nil {
		return nil, err
	}
	back, err := returned(in.ReturnValues, false)
	if err != nil {
		return nil, err
	}
	w, err := d.prepare(request{in.TableName, in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues, in.ReturnValuesOnConditionCheckFailure}, nil, in.Key, nil)
	if err != nil {
		return nil, err
	}
	w.delete = true
	old, it, err := w.run()
	if err != nil {
		return nil, err
	}
	return &dynamodb.DeleteItemOutput{Attributes: back(old, it)}, nil
}

// projector parses a projection expression, nil = everything.
func projector(expression *string, names map[string]string) (map[string]bool, error) {
	s, err := newScope(names, nil)
	if err != nil {
		return nil, err
	}
	if expression == nil {
		if names != nil {
			return nil, refuse("ValidationException", "ExpressionAttributeNames can only be specified when using expressions")
		}
		return nil, nil
	}
	p := newParser("ProjectionExpression", *expression, s)
	only := p.projection()
	if err := p.end(); err != nil {
		return nil, err
	}
	return only, s.unused()
}

// GetItem is dynamodb.Client.GetItem.
func (d *DynamoDB) GetItem(ctx context.Context, in *dynamodb.GetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if err := legacy(in.AttributesToGet != nil); err != nil {
		return nil, err
	}
	t, err := d.table(in.TableName)
	if err != nil {
		return nil, err
	}
	only, err := projector(in.ProjectionExpression, in.ExpressionAttributeNames)
	if err != nil {
		return nil, err
	}
	id, _, err := t.keyOf(in.Key)
	if err != nil {
		return nil, err
	}
	out := &dynamodb.GetItemOutput{}
	if it := t.get(id); it != nil {
		out.Item = it.only(only).clone()
	}
	return out, nil
}

// BatchGetItem is dynamodb.Client.BatchGetItem. The order of a table's items is not that of its keys, as DynamoDB
// promises none.
func (d *DynamoDB) BatchGetItem(ctx context.Context, in *dynamodb.BatchGetItemInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchGetItemOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	total := 0
	for _, keys := range in.RequestItems {
		total += len(keys.Keys)
		if len(keys.Keys) == 0 {
			return nil, refuse("ValidationException", "1 validation error detected: requestItems.keys must have length greater than or equal to 1")
		}
	}
	switch {
	case total == 0:
		return nil, refuse("ValidationException", "1 validation error detected: requestItems must have length greater than or equal to 1")
	case total > MaxBatchGetKeys:
		return nil, refuse("ValidationException", "Too many items requested for the BatchGetItem call")
	}
	out := &dynamodb.BatchGetItemOutput{Responses: map[string][]map[string]types.AttributeValue{}, UnprocessedKeys: map[string]types.KeysAndAttributes{}}
	bytes := 0
	for _, name := range sorted(in.RequestItems) {
		asked := in.RequestItems[name]
		if err := legacy(asked.AttributesToGet != nil); err != nil {
			return nil, err
		}
		t, err := d.table(&name)
		if err != nil {
			return nil, err
		}
		only, err := projector(asked.ProjectionExpression, asked.ExpressionAttributeNames)
		if err != nil {
			return nil, err
		}
		ids := make([]string, len(asked.Keys))
		seen := map[string]bool{}
		for i, key := range asked.Keys {
			if ids[i], _, err = t.keyOf(key); err != nil {
				return nil, err
			}
			if seen[ids[i]] {
				return nil, refuse("ValidationException", "Provided list of item keys contains duplicates")
			}
			seen[ids[i]] = true
		}
		found := []map[string]types.AttributeValue{}
		left := asked
		left.Keys = nil
		for i, id := range ids {
			r := t.rows[id]
			if r != nil {
				bytes += r.size
			}
			switch {
			case bytes > MaxBatchGetBytes:
				_, key, _ := t.keyOf(asked.Keys[i])
				left.Keys = append(left.Keys, key)
			case r != nil:
				found = append(found, r.item.only(only).clone())
			}
		}
		slices.Reverse(found)
		out.Responses[name] = found
		if left.Keys != nil {
			out.UnprocessedKeys[name] = left
		}
	}
	return out, nil
}

// TransactWriteItems is dynamodb.Client.TransactWriteItems.
func (d *DynamoDB) TransactWriteItems(ctx context.Context, in *dynamodb.TransactWriteItemsInput, _ ...func(*dynamodb.Options)) (*dynamodb.TransactWriteItemsOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if n := len(in.TransactItems); n == 0 || n > MaxTransactActions {
		return nil, refuse("ValidationException", "Member must have length less than or equal to %d and greater than or equal to 1; transactItems has %d", MaxTransactActions, n)
	}
	if in.ClientRequestToken != nil && (*in.ClientRequestToken == "" || len(*in.ClientRequestToken) > maxRequestToken) {
		return nil, refuse("ValidationException", "clientRequestToken must have length between 1 and %d", maxRequestToken)
	}
	type target struct{ table, id string }
	writes := make([]*write, len(in.TransactItems))
	targets := map[target]bool{}
	print := []byte{}
	for i := range in.TransactItems {
		w, err := d.action(&in.TransactItems[i], &print)
		if err != nil {
			return nil, err
		}
		at := target{w.table.Name, w.id}
		if targets[at] {
			return nil, refuse("ValidationException", "Transaction request cannot include multiple operations on one item")
		}
		targets[at] = true
		writes[i] = w
	}
	now := d.now().UnixNano()
	for len(d.window) > 0 && d.window[0].at <= now-int64(TokenLifetime) {
		delete(d.tokens, d.window[0].key)
		d.window = d.window[1:]
	}
	token, sum := value(in.ClientRequestToken), sha256.Sum256(print)
	if earlier, ok := d.tokens[token]; ok && token != "" {
		if earlier != sum {
			return nil, &types.IdempotentParameterMismatchException{Message: new("The request uses the same client token as a previous, but non-identical request. Do not reuse a client token with different requests, unless the requests are identical")}
		}
		return &dynamodb.TransactWriteItemsOutput{}, nil
	}
	after, err := transact(writes)
	if err != nil {
		return nil, err
	}
	for i, w := range writes {
		if in.TransactItems[i].ConditionCheck == nil {
			w.commit(after[i])
		}
	}
	if token != "" {
		d.tokens[token] = sum
		d.window = append(d.window, sentOnce{token, now})
	}
	return &dynamodb.TransactWriteItemsOutput{}, nil
}

// action prepares one action of a transaction, and appends what makes it equal to another to print.
func (d *DynamoDB) action(a *types.TransactWriteItem, print *[]byte) (*write, error) {
	var r request
	var put, key map[string]types.AttributeValue
	var expression *string
	kinds := 0
	if p := a.Put; p != nil {
		kinds++
		r = request{p.TableName, p.ConditionExpression, p.ExpressionAttributeNames, p.ExpressionAttributeValues, p.ReturnValuesOnConditionCheckFailure}
		if put = p.Item; put == nil {
			put = map[string]types.AttributeValue{}
		}
	}
	if u := a.Update; u != nil {
		kinds++
		r = request{u.TableName, u.ConditionExpression, u.ExpressionAttributeNames, u.ExpressionAttributeValues, u.ReturnValuesOnConditionCheckFailure}
		key, expression = u.Key, new(value(u.UpdateExpression))
	}
	if p := a.Delete; p != nil {
		kinds++
		r = request{p.TableName, p.ConditionExpression, p.ExpressionAttributeNames, p.ExpressionAttributeValues, p.ReturnValuesOnConditionCheckFailure}
		key = p.Key
	}
	if c := a.ConditionCheck; c != nil {
		kinds++
		r = request{c.TableName, new(value(c.ConditionExpression)), c.ExpressionAttributeNames, c.ExpressionAttributeValues, c.ReturnValuesOnConditionCheckFailure}
		key = c.Key
	}
	if kinds != 1 {
		return nil, refuse("ValidationException", "TransactItems can only contain one of Check, Put, Update or Delete")
	}
	w, err := d.prepare(r, put, key, expression)
	if err != nil {
		return nil, err
	}
	w.delete = a.Delete != nil
	*print = fmt.Appendf(*print, "%t %t %t %t %q %q %q %q %q ", a.Put != nil, a.Update != nil, a.Delete != nil, a.ConditionCheck != nil,
		value(r.table), value(r.condition), value(expression), r.names, r.onFailure)
	*print = appendItem(appendItem(appendItem(*print, w.put), w.key), r.values)
	return w, nil
}

// transact evaluates all writes and gives the items after them, or why the transaction is cancelled.
func transact(writes []*write) ([]item, error) {
	after := make([]item, len(writes))
	reasons := make([]types.CancellationReason, len(writes))
	cancelled := false
	bytes := 0
	for i, w := range writes {
		it, err := w.evaluate()
		after[i] = it
		bytes += max(it.bytes(), w.table.get(w.id).bytes())
		reason := types.CancellationReason{Code: new("None")}
		switch e := err.(type) {
		case nil:
		case *types.ConditionalCheckFailedException:
			cancelled = true
			reason = types.CancellationReason{Code: new("ConditionalCheckFailed"), Message: e.Message, Item: e.Item}
		default:
			cancelled = true
			_, text := failure(err)
			reason = types.CancellationReason{Code: new("ValidationError"), Message: &text}
		}
		reasons[i] = reason
	}
	if bytes > MaxTransactionBytes {
		return nil, refuse("ValidationException", "Transaction size cannot exceed %d bytes; it has %d", MaxTransactionBytes, bytes)
	}
	if !cancelled {
		return after, nil
	}
	codes := make([]string, len(reasons))
	for i := range reasons {
		codes[i] = *reasons[i].Code
	}
	return nil, &types.TransactionCanceledException{
		Message:             new("Transaction cancelled, please refer cancellation reasons for specific reasons [" + strings.Join(codes, ", ") + "]"),
		CancellationReasons: reasons,
	}
}
