package simulate

import (
	"context"
	"errors"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// statement is a parsed PartiQL statement on one item: an update, or a read of the attributes in only.
type statement struct {
	write *write // of a read: never run
	only  map[string]bool
}

// isRead tells reads from writes by a statement's first word.
func isRead(text string) bool {
	return strings.HasPrefix(strings.ToUpper(strings.TrimSpace(text)), "SELECT")
}

// parse reads
//
//	UPDATE "table" SET a=? SET b=b+1 REMOVE c WHERE key=? AND sort=? [AND condition]
//	SELECT * | a, b FROM "table" WHERE key=? AND sort=? [AND condition]
//
// An UPDATE of an item that is not there, or does not match, is a failed condition; it never makes an item.
func (d *DynamoDB) parse(text *string, parameters []types.AttributeValue) (*statement, error) {
	p := &parser{what: "Statement", scope: &scope{}, partiQL: true}
	for _, v := range parameters {
		v, err := normalize(v, 0)
		if err != nil {
			return nil, err
		}
		p.parameters = append(p.parameters, v)
	}
	p.open(value(text), maxStatementBytes)
	s := &statement{write: &write{mustExist: true}}
	var name string
	if p.accept("SELECT") {
		if !p.accept("*") {
			s.only = p.projection()
		}
		p.expect("FROM")
		name = p.path()
	} else {
		p.expect("UPDATE")
		name = p.path()
		s.write.update = &update{set: map[string]expr{}, add: map[string]types.AttributeValue{}, remove: map[string]bool{}}
		for p.err == nil && p.peek().text != "" && !strings.EqualFold(p.peek().text, "WHERE") {
			p.action(s.write.update, strings.ToUpper(p.next().text))
		}
		if p.err == nil && len(s.write.update.paths()) == 0 {
			p.fail("an UPDATE needs SET or REMOVE")
		}
	}
	p.expect("WHERE")
	where := p.condition()
	if err := p.end(); err != nil {
		return nil, err
	}
	if len(p.parameters) > 0 {
		return nil, refuse("ValidationException", "Number of parameters in request and statement don't match.")
	}
	t, err := d.table(&name)
	if err != nil {
		return nil, err
	}
	s.write.table = t
	if s.write.update != nil {
		if err := t.updatable(s.write.update); err != nil {
			return nil, err
		}
	}
	key := item{}
	s.write.condition = t.extractKey(where, key)
	if len(key) < len(t.primary.keys()) {
		return nil, refuse("ValidationException", "Where clause does not contain a mandatory equality on all key attributes")
	}
	s.write.id, _, err = t.keyOf(key)
	return s, err
}

// extractKey moves the equalities on key attributes out of a conjunction into key, and gives the rest, nil = none.
func (t *table) extractKey(c condition, key item) condition {
	switch c := c.(type) {
	case and:
		a, b := t.extractKey(c.a, key), t.extractKey(c.b, key)
		switch {
		case a == nil:
			return b
		case b == nil:
			return a
		}
		return and{a, b}
	case compare:
		for _, k := range t.primary.keys() {
			if c.op == "=" && c.a.path == k.Name && !c.a.size && c.b.value != nil && key[k.Name] == nil {
				key[k.Name] = c.b.value
				return nil
			}
		}
	}
	return c
}

// execute runs a statement; the item is that of a read, nil = none.
func (d *DynamoDB) execute(text *string, parameters []types.AttributeValue, onFailure types.ReturnValuesOnConditionCheckFailure) (item, string, error) {
	s, err := d.parse(text, parameters)
	if err != nil {
		return nil, "", err
	}
	name := s.write.table.Name
	if s.write.update == nil {
		it := s.write.table.get(s.write.id)
		if it == nil || s.write.condition != nil && !s.write.condition.holds(it) {
			return nil, name, nil
		}
		return it.only(s.only).clone(), name, nil
	}
	s.write.allOld = onFailure == types.ReturnValuesOnConditionCheckFailureAllOld
	_, _, err = s.write.run()
	return nil, name, err
}

// ExecuteStatement is dynamodb.Client.ExecuteStatement for statements on one item, its key given in full.
func (d *DynamoDB) ExecuteStatement(ctx context.Context, in *dynamodb.ExecuteStatementInput, _ ...func(*dynamodb.Options)) (*dynamodb.ExecuteStatementOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	it, _, err := d.execute(in.Statement, in.Parameters, in.ReturnValuesOnConditionCheckFailure)
	if err != nil {
		return nil, err
	}
	out := &dynamodb.ExecuteStatementOutput{Items: []map[string]types.AttributeValue{}}
	if it != nil {
		out.Items = append(out.Items, it)
	}
	return out, nil
}

// BatchExecuteStatement is dynamodb.Client.BatchExecuteStatement: statements run one after the other, each for itself,
// and tell their errors in their responses.
func (d *DynamoDB) BatchExecuteStatement(ctx context.Context, in *dynamodb.BatchExecuteStatementInput, _ ...func(*dynamodb.Options)) (*dynamodb.BatchExecuteStatementOutput, error) {
	if err := d.enter(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if n := len(in.Statements); n == 0 || n > MaxStatements {
		return nil, refuse("ValidationException", "Member must have length less than or equal to %d and greater than or equal to 1; statements has %d", MaxStatements, n)
	}
	reads := 0
	for i := range in.Statements {
		if isRead(value(in.Statements[i].Statement)) {
			reads++
		}
	}
	if reads != 0 && reads != len(in.Statements) {
		return nil, refuse("ValidationException", "Batch must consist of only read statements or only write statements")
	}
	out := &dynamodb.BatchExecuteStatementOutput{Responses: make([]types.BatchStatementResponse, len(in.Statements))}
	for i := range in.Statements {
		s := &in.Statements[i]
		it, name, err := d.execute(s.Statement, s.Parameters, s.ReturnValuesOnConditionCheckFailure)
		r := &out.Responses[i]
		if name != "" {
			r.TableName = &name
		}
		r.Item = it
		if err != nil {
			r.Error = statementError(err)
		}
	}
	return out, nil
}

func statementError(err error) *types.BatchStatementError {
	_, text := failure(err)
	e := &types.BatchStatementError{Code: types.BatchStatementErrorCodeEnumValidationError, Message: &text}
	var failed *types.ConditionalCheckFailedException
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(err, &failed):
		e.Code, e.Item = types.BatchStatementErrorCodeEnumConditionalCheckFailed, failed.Item
	case errors.As(err, &missing):
		e.Code = types.BatchStatementErrorCodeEnumResourceNotFound
	}
	return e
}
