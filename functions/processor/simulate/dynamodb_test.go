package simulate

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

type values = map[string]types.AttributeValue

func s(v string) types.AttributeValue { return &types.AttributeValueMemberS{Value: v} }
func n(v string) types.AttributeValue { return &types.AttributeValueMemberN{Value: v} }

type store struct {
	*DynamoDB
	*clock
	t testing.TB
}

// newStore has the table "t" with keys p (S) and k (N), index "i" on g (S) and o (N), and time to live in "ttl".
func newStore(t testing.TB) store {
	c := newClock()
	d := NewDynamoDB(c.now)
	err := d.CreateTable(TableConfig{
		Name: "t", PartitionKey: Key{Name: "p"}, SortKey: Key{"k", "N"}, TTLAttribute: "ttl",
		Indexes: []IndexConfig{
			{Name: "i", PartitionKey: Key{Name: "g"}, SortKey: Key{"o", "N"}},
			{Name: "keys", PartitionKey: Key{Name: "g"}, Projection: types.ProjectionTypeKeysOnly},
			{Name: "some", PartitionKey: Key{Name: "g"}, Projection: types.ProjectionTypeInclude, NonKey: []string{"a"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return store{d, c, t}
}

func key(p, k string) values { return values{"p": s(p), "k": n(k)} }

func with(base values, more ...any) values {
	out := values{}
	for name, v := range base {
		out[name] = v
	}
	for i := 0; i < len(more); i += 2 {
		out[more[i].(string)] = more[i+1].(types.AttributeValue)
	}
	return out
}

func (d store) put(it values) {
	d.t.Helper()
	if _, err := d.PutItem(ctx, &dynamodb.PutItemInput{TableName: new("t"), Item: it}); err != nil {
		d.t.Fatal(err)
	}
}

func (d store) get(k values) values {
	d.t.Helper()
	out, err := d.GetItem(ctx, &dynamodb.GetItemInput{TableName: new("t"), Key: k, ConsistentRead: new(true)})
	if err != nil {
		d.t.Fatal(err)
	}
	return out.Item
}

// show writes an item in one line.
func show(it values) string {
	var b strings.Builder
	for _, name := range sorted(it) {
		fmt.Fprintf(&b, "%s=%s ", name, text(it[name]))
	}
	return strings.TrimSpace(b.String())
}

func text(v types.AttributeValue) string {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return v.Value
	case *types.AttributeValueMemberN:
		return v.Value
	}
	return fmt.Sprint(reflect.ValueOf(v).Elem().Field(0))
}

func (d store) want(what, got, want string) {
	d.t.Helper()
	if got != want {
		d.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

const invalid, failedCheck = "ValidationException", "ConditionalCheckFailedException"

// Each condition against the item p=x k=1 a=abc v=5 l=[1 abc] f=true ss={abc}.
func TestConditions(t *testing.T) {
	for _, c := range []struct {
		condition string
		values    values
		code      string // "" = holds
	}{
		{"attribute_exists(a)", nil, ""},
		{"attribute_exists(zz)", nil, failedCheck},
		{"attribute_not_exists(zz)", nil, ""},
		{"attribute_not_exists(a)", nil, failedCheck},
		{"a = :v", values{":v": s("abc")}, ""},
		{"a = :v", values{":v": s("abd")}, failedCheck},
		{"v = :v", values{":v": n("5.0")}, ""},
		{"v = :v", values{":v": s("5")}, failedCheck},
		{"a <> :v", values{":v": s("abd")}, ""},
		{"a <> :v", values{":v": s("abc")}, failedCheck},
		{"zz <> :v", values{":v": s("abc")}, ""},
		{"zz = :v", values{":v": s("abc")}, failedCheck},
		{"v < :v", values{":v": n("10")}, ""},
		{"v < :v", values{":v": n("5")}, failedCheck},
		{"v < :v", values{":v": s("6")}, failedCheck},
		{"v <= :v", values{":v": n("5")}, ""},
		{"v > :v", values{":v": n("-10")}, ""},
		{"v > :v", values{":v": n("5")}, failedCheck},
		{"v >= :v", values{":v": n("5")}, ""},
		{"zz < :v", values{":v": n("5")}, failedCheck},
		{"zz >= :v", values{":v": n("5")}, failedCheck},
		{":v < v", values{":v": n("4")}, ""},
		{"v BETWEEN :l AND :h", values{":l": n("5"), ":h": n("6")}, ""},
		{"v BETWEEN :l AND :h", values{":l": n("6"), ":h": n("7")}, failedCheck},
		{"v BETWEEN :l AND :h", values{":l": n("7"), ":h": n("6")}, invalid},
		{"v BETWEEN :l AND :h", values{":l": n("7"), ":h": s("6")}, invalid},
		{"v IN (:l, :h)", values{":l": n("1"), ":h": n("5")}, ""},
		{"v IN (:l)", values{":l": n("1")}, failedCheck},
		{"begins_with(a, :v)", values{":v": s("ab")}, ""},
		{"begins_with(a, :v)", values{":v": s("b")}, failedCheck},
		{"begins_with(a, :v)", values{":v": n("1")}, invalid},
		{"contains(a, :v)", values{":v": s("bc")}, ""},
		{"contains(l, :v)", values{":v": n("1")}, ""},
		{"contains(l, :v)", values{":v": n("2")}, failedCheck},
		{"contains(ss, :v)", values{":v": s("abc")}, ""},
		{"contains(zz, :v)", values{":v": s("abc")}, failedCheck},
		{"size(a) = :v", values{":v": n("3")}, ""},
		{"size(l) < :v", values{":v": n("3")}, ""},
		{"size(zz) < :v", values{":v": n("3")}, failedCheck},
		{"a = :x OR v = :y AND v = :z", values{":x": s("abc"), ":y": n("1"), ":z": n("2")}, ""},
		{"(a = :x OR v = :y) AND v = :z", values{":x": s("abc"), ":y": n("1"), ":z": n("2")}, failedCheck},
		{"NOT a = :x", values{":x": s("abd")}, ""},
		{"NOT (a = :x AND v = :y)", values{":x": s("abc"), ":y": n("5")}, failedCheck},
		{"not a = :x and v = :y", values{":x": s("abd"), ":y": n("5")}, ""},
		{"f = :v", values{":v": &types.AttributeValueMemberBOOL{Value: true}}, ""},
		{"f < :v", values{":v": &types.AttributeValueMemberBOOL{Value: true}}, invalid},
		// Refused whatever the item holds.
		{"", nil, invalid},
		{"a = :missing", nil, invalid},
		{"#missing = :v", values{":v": n("1")}, invalid},
		{"attribute_exists(a)", values{":unused": n("1")}, invalid},
		{"attribute_exists(a)", values{}, invalid},
		{"attribute_exists(a)", values{"v": n("1")}, invalid},
		{"a =", nil, invalid},
		{"a = :v)", values{":v": n("1")}, invalid},
		{"(a = :v", values{":v": n("1")}, invalid},
		{"a == :v", values{":v": n("1")}, invalid},
		{"a.b = :v", values{":v": n("1")}, invalid},
		{"nonsense(a)", nil, invalid},
		{"ATTRIBUTE_EXISTS(a)", nil, invalid},
		{"a", nil, invalid},
		{"status = :v", values{":v": n("1")}, invalid}, // reserved word
		{"a = 5", nil, invalid},                        // a literal
		{"a = :v", values{":v": nil}, invalid},
		{"a = :v", values{":v": n("x")}, invalid},
		{strings.Repeat("(", 4097), nil, invalid},
	} {
		d := newStore(t)
		d.put(with(key("x", "1"), "a", s("abc"), "v", n("5"), "f", &types.AttributeValueMemberBOOL{Value: true},
			"l", &types.AttributeValueMemberL{Value: []types.AttributeValue{n("1"), s("abc")}}, "ss", &types.AttributeValueMemberSS{Value: []string{"abc"}}))
		_, err := d.PutItem(ctx, &dynamodb.PutItemInput{TableName: new("t"), Item: key("x", "1"), ConditionExpression: &c.condition, ExpressionAttributeValues: c.values})
		d.want(c.condition, code(err), c.code)
		if replaced := len(d.get(key("x", "1"))) == 2; replaced != (c.code == "") {
			t.Errorf("%s: replaced %t", c.condition, replaced)
		}
	}
}

func TestExpressionNames(t *testing.T) {
	d := newStore(t)
	d.put(with(key("x", "1"), "status", s("PENDING")))
	update := func(names map[string]string) error {
		_, err := d.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: new("t"), Key: key("x", "1"), UpdateExpression: new("SET #s = :s"),
			ConditionExpression: new("#s <> :s"), ExpressionAttributeNames: names, ExpressionAttributeValues: values{":s": s("SENT")}})
		return err
	}
	d.want("unused name", code(update(map[string]string{"#s": "status", "#t": "x"})), invalid)
	d.want("undefined name", code(update(map[string]string{"#t": "x"})), invalid)
	d.want("bad name", code(update(map[string]string{"s": "x"})), invalid)
	d.want("names", code(update(map[string]string{"#s": "status"})), "")
	d.want("updated", show(d.get(key("x", "1"))), "k=1 p=x status=SENT")
	_, err := d.PutItem(ctx, &dynamodb.PutItemInput{TableName: new("t"), Item: key("x", "1"), ExpressionAttributeNames: map[string]string{"#s": "x"}})
	d.want("names without expression", code(err), invalid)
}

func TestUpdate(t *testing.T) {
	for _, c := range []struct {
		update string
		values values
		want   string // of the item k=1 p=x a=abc v=5; or an error code
	}{
		{"SET a = :v", values{":v": s("new")}, "a=new k=1 p=x v=5"},
		{"SET b = a, a = :v", values{":v": s("new")}, "a=new b=abc k=1 p=x v=5"},
		{"SET v = v + :v", values{":v": n("0.5")}, "a=abc k=1 p=x v=5.5"},
		{"SET v = v - :v", values{":v": n("7")}, "a=abc k=1 p=x v=-2"},
		{"SET v = if_not_exists(v, :v)", values{":v": n("7")}, "a=abc k=1 p=x v=5"},
		{"SET w = if_not_exists(w, :v) + :v", values{":v": n("7")}, "a=abc k=1 p=x v=5 w=14"},
		{"REMOVE a, v", nil, "k=1 p=x"},
		{"REMOVE zz", nil, "a=abc k=1 p=x v=5"},
		{"ADD v :v, w :v", values{":v": n("2")}, "a=abc k=1 p=x v=7 w=2"},
		{"set a = :v remove v", values{":v": s("b")}, "a=b k=1 p=x"},
		{"SET a = :v REMOVE a", values{":v": s("b")}, invalid},
		{"SET a = :v, a = :v", values{":v": s("b")}, invalid},
		{"SET a = :v SET b = :v", values{":v": s("b")}, invalid},
		{"SET p = :v", values{":v": s("b")}, invalid},
		{"REMOVE k", nil, invalid},
		{"SET b = zz", nil, invalid},
		{"SET b = a + :v", values{":v": n("1")}, invalid},
		{"ADD a :v", values{":v": n("1")}, invalid},
		{"ADD v :v", values{":v": s("1")}, invalid},
		{"", nil, invalid},
		{"a = :v", values{":v": s("b")}, invalid},
		{"SET a :v", values{":v": s("b")}, invalid},
		{"SET a = :v,", values{":v": s("b")}, invalid},
		{"DELETE a :v", values{":v": s("b")}, invalid},
		{"SET g = :v", values{":v": n("1")}, invalid}, // index key of a wrong type
		{"SET g = :v", values{":v": s("")}, invalid},
		{"SET a = :v", values{":v": s(strings.Repeat("x", MaxItemBytes))}, invalid},
		{"SET a = :v", values{":v": n("1e126")}, invalid},
	} {
		d := newStore(t)
		d.put(with(key("x", "1"), "a", s("abc"), "v", n("5")))
		before := show(d.get(key("x", "1")))
		out, err := d.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: new("t"), Key: key("x", "1"), UpdateExpression: &c.update,
			ExpressionAttributeValues: c.values, ReturnValues: types.ReturnValueAllNew})
		if err != nil {
			d.want(c.update, code(err), c.want)
			d.want(c.update+": unchanged", show(d.get(key("x", "1"))), before)
			continue
		}
		d.want(c.update, show(out.Attributes), c.want)
		d.want(c.update+": stored", show(d.get(key("x", "1"))), c.want)
	}
	d := newStore(t)
	must(d.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: new("t"), Key: key("new", "1"), UpdateExpression: new("ADD v :v"), ExpressionAttributeValues: values{":v": n("1")}}))(t)
	d.want("an update makes the item", show(d.get(key("new", "1"))), "k=1 p=new v=1")
	must(d.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: new("t"), Key: key("bare", "1")}))(t)
	d.want("so does one without expression", show(d.get(key("bare", "1"))), "k=1 p=bare")
}

// What an item must be; the edge and beyond it.
func TestItemLimits(t *testing.T) {
	blank := MaxItemBytes - len("p") - len("x") - len("k") - 2 - len("a") // "1" takes two bytes
	deep := func(n int) types.AttributeValue {
		v := s("x")
		for range n {
			v = &types.AttributeValueMemberL{Value: []types.AttributeValue{v}}
		}
		return v
	}
	for _, c := range []struct {
		name string
		item values
		code string
	}{
		{"400 KB", with(key("x", "1"), "a", s(strings.Repeat("v", blank))), ""},
		{"over 400 KB", with(key("x", "1"), "a", s(strings.Repeat("v", blank+1))), invalid},
		{"over 400 KB by its name", with(key("x", "1"), "aa", s(strings.Repeat("v", blank))), invalid},
		{"partition key of 2048", key(strings.Repeat("p", 2048), "1"), ""},
		{"partition key of 2049", key(strings.Repeat("p", 2049), "1"), invalid},
		{"empty partition key", key("", "1"), invalid},
		{"no sort key", values{"p": s("x")}, invalid},
		{"sort key of a wrong type", values{"p": s("x"), "k": s("1")}, invalid},
		{"no item", nil, invalid},
		{"index key", with(key("x", "1"), "g", s("g"), "o", n("1")), ""},
		{"index key of a wrong type", with(key("x", "1"), "g", n("1")), invalid},
		{"index sort key of a wrong type", with(key("x", "1"), "g", s("g"), "o", s("1")), invalid},
		{"empty index key", with(key("x", "1"), "g", s("")), invalid},
		{"empty string", with(key("x", "1"), "a", s("")), ""},
		{"no value", with(key("x", "1"), "a", (types.AttributeValue)(&types.AttributeValueMemberNULL{})), invalid},
		{"null", with(key("x", "1"), "a", &types.AttributeValueMemberNULL{Value: true}), ""},
		{"empty set", with(key("x", "1"), "a", &types.AttributeValueMemberSS{}), invalid},
		{"set", with(key("x", "1"), "a", &types.AttributeValueMemberNS{Value: []string{"1", "2"}}), ""},
		{"duplicates in a set", with(key("x", "1"), "a", &types.AttributeValueMemberNS{Value: []string{"1", "1.0"}}), invalid},
		{"38 digits", with(key("x", "1"), "a", n(strings.Repeat("9", 38))), ""},
		{"39 digits", with(key("x", "1"), "a", n(strings.Repeat("9", 39))), invalid},
		{"1e125", with(key("x", "1"), "a", n("9.9e125")), ""},
		{"1e126", with(key("x", "1"), "a", n("1e126")), invalid},
		{"1e-130", with(key("x", "1"), "a", n("1e-130")), ""},
		{"1e-131", with(key("x", "1"), "a", n("1e-131")), invalid},
		{"not a number", with(key("x", "1"), "a", n("NaN")), invalid},
		{"32 levels", with(key("x", "1"), "a", deep(32)), ""},
		{"33 levels", with(key("x", "1"), "a", deep(33)), invalid},
		{"not UTF-8", with(key("x", "1"), "a", s("\xff")), invalid},
	} {
		d := newStore(t)
		_, err := d.PutItem(ctx, &dynamodb.PutItemInput{TableName: new("t"), Item: c.item})
		d.want(c.name, code(err), c.code)
	}
	d := newStore(t)
	for name, k := range map[string]values{"missing": {"p": s("x")}, "too many": with(key("x", "1"), "a", n("1")), "type": {"p": n("1"), "k": n("1")}, "empty": key("", "1")} {
		_, err := d.GetItem(ctx, &dynamodb.GetItemInput{TableName: new("t"), Key: k})
		d.want("key: "+name, code(err), invalid)
	}
	_, err := d.GetItem(ctx, &dynamodb.GetItemInput{TableName: new("none"), Key: key("x", "1")})
	var missing *types.ResourceNotFoundException
	if !errors.As(err, &missing) {
		t.Errorf("unknown table: %v", err)
	}
}

func TestNumbers(t *testing.T) {
	for in, want := range map[string]string{"1.0": "1", "-0": "0", "00012.340": "12.34", "1e3": "1000", "1.5e-3": "0.0015", "+7": "7", "-120": "-120"} {
		got, err := parseNumber(in)
		if err != nil || got.String() != want {
			t.Errorf("%s: %s %v, want %s", in, got, err, want)
		}
	}
	ordered := []string{"-1e100", "-120", "-12", "-11.5", "-1.25", "-1.2", "-0.1", "-1e-100", "0", "1e-100", "0.1", "1.2", "1.25", "9", "10", "11.5", "12", "120", "1e100"}
	for i, a := range ordered {
		for j, b := range ordered {
			x, _ := parseNumber(a)
			y, _ := parseNumber(b)
			if got := strings.Compare(x.key(), y.key()); got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("order of %s and %s is %d", a, b, got)
			}
		}
	}
}

// Old items come back where asked for, and never share memory with what is stored.
func TestReturnValues(t *testing.T) {
	d := newStore(t)
	blob := []byte("blob")
	d.put(with(key("x", "1"), "a", s("old"), "b", &types.AttributeValueMemberB{Value: blob}))
	blob[0] = '!'
	put := &dynamodb.PutItemInput{TableName: new("t"), Item: with(key("x", "1"), "a", s("new")), ConditionExpression: new("attribute_not_exists(p)")}
	_, err := d.PutItem(ctx, put)
	var failed *types.ConditionalCheckFailedException
	if !errors.As(err, &failed) || failed.Item != nil {
		t.Errorf("without ALL_OLD: %v", err)
	}
	put.ReturnValuesOnConditionCheckFailure = types.ReturnValuesOnConditionCheckFailureAllOld
	_, err = d.PutItem(ctx, put)
	if !errors.As(err, &failed) || text(failed.Item["a"]) != "old" {
		t.Fatalf("with ALL_OLD: %v", err)
	}
	old := failed.Item["b"].(*types.AttributeValueMemberB)
	d.want("not aliased on the way in", string(old.Value), "blob")
	old.Value[0] = '?'
	d.want("not aliased on the way out", string(d.get(key("x", "1"))["b"].(*types.AttributeValueMemberB).Value), "blob")
	_, err = d.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: new("t"), Key: key("x", "1"), UpdateExpression: new("SET a = :a"), ConditionExpression: new("a = :a"),
		ExpressionAttributeValues: values{":a": s("z")}, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	if !errors.As(err, &failed) || text(failed.Item["a"]) != "old" {
		t.Errorf("update: %v", err)
	}
	_, err = d.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: new("t"), Key: key("x", "1"), ConditionExpression: new("a = :a"),
		ExpressionAttributeValues: values{":a": s("z")}, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld})
	if !errors.As(err, &failed) || text(failed.Item["a"]) != "old" {
		t.Errorf("delete: %v", err)
	}
	_, err = d.PutItem(ctx, &dynamodb.PutItemInput{TableName: new("t"), Item: key("none", "1"), ConditionExpression: new("attribute_exists(p)"), ReturnValuesOnConditionCheckFailure: "ALL_OLD"})
	if !errors.As(err, &failed) || failed.Item != nil {
		t.Errorf("no item: %v", err)
	}
	put.ConditionExpression, put.ReturnValues = nil, types.ReturnValueAllOld
	d.want("put ALL_OLD", text(must(d.PutItem(ctx, put))(t).Attributes["a"]), "old")
	gone := must(d.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: new("t"), Key: key("x", "1"), ReturnValues: types.ReturnValueAllOld}))(t)
	d.want("delete ALL_OLD", text(gone.Attributes["a"]), "new")
	put.ReturnValues = types.ReturnValueAllNew
	_, err = d.PutItem(ctx, put)
	d.want("put ALL_NEW", code(err), invalid)
	_, err = d.PutItem(ctx, &dynamodb.PutItemInput{TableName: new("t"), Item: key("x", "1"), ConditionalOperator: "AND"})
	d.want("legacy", code(err), invalid)
}

func TestBatchGet(t *testing.T) {
	d := newStore(t)
	keys := func(n int) (out []map[string]types.AttributeValue) {
		for i := range n {
			out = append(out, key("x", fmt.Sprint(i)))
		}
		return out
	}
	get := func(k ...map[string]types.AttributeValue) (*dynamodb.BatchGetItemOutput, error) {
		return d.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"t": {Keys: k, ConsistentRead: new(true)}}})
	}
	for i := range 60 {
		d.put(with(key("x", fmt.Sprint(i)), "a", s(strings.Repeat("v", 300<<10))))
	}
	d.put(key("y", "1"))
	out := must(get(key("x", "3"), key("none", "1"), key("y", "1")))(t)
	if got := out.Responses["t"]; len(got) != 2 || text(got[0]["p"]) != "y" || len(out.UnprocessedKeys) != 0 {
		t.Errorf("got %d items", len(got))
	}
	_, err := get(keys(100)...)
	d.want("100 keys", code(err), "")
	_, err = get(keys(101)...)
	d.want("101 keys", code(err), invalid)
	_, err = get()
	d.want("no keys", code(err), invalid)
	_, err = get(key("x", "1"), key("x", "1.0"))
	d.want("duplicate keys", code(err), invalid)
	_, err = d.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"none": {Keys: keys(1)}}})
	d.want("unknown table", code(err), "ResourceNotFoundException")

	// 60 items of 300 KB are 18 MB: what is over 16 MB is unprocessed, and asking for it gives the rest.
	seen := map[string]bool{}
	for left, rounds := keys(60), 0; left != nil; rounds++ {
		out := must(get(left...))(t)
		for _, it := range out.Responses["t"] {
			seen[text(it["k"])] = true
		}
		left = out.UnprocessedKeys["t"].Keys
		if rounds == 0 && len(left) != 6 || rounds > 1 {
			t.Fatalf("round %d: %d keys left", rounds, len(left))
		}
	}
	if len(seen) != 60 {
		t.Errorf("%d of 60 items", len(seen))
	}
	out = must(d.BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: map[string]types.KeysAndAttributes{"t": {Keys: keys(1), ProjectionExpression: new("#k"), ExpressionAttributeNames: map[string]string{"#k": "k"}}}}))(t)
	d.want("projection", show(out.Responses["t"][0]), "k=0")
}

func putAction(it values, condition string) types.TransactWriteItem {
	p := &types.Put{TableName: new("t"), Item: it, ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld}
	if condition != "" {
		p.ConditionExpression = &condition
	}
	return types.TransactWriteItem{Put: p}
}

func TestTransaction(t *testing.T) {
	d := newStore(t)
	d.put(with(key("x", "1"), "a", s("old"), "v", n("1")))
	d.put(with(key("x", "2"), "a", s("two")))
	transact := func(token string, actions ...types.TransactWriteItem) error {
		in := &dynamodb.TransactWriteItemsInput{TransactItems: actions}
		if token != "" {
			in.ClientRequestToken = &token
		}
		_, err := d.TransactWriteItems(ctx, in)
		return err
	}
	update := func(k values, expression, condition string, v values) types.TransactWriteItem {
		return types.TransactWriteItem{Update: &types.Update{TableName: new("t"), Key: k, UpdateExpression: &expression, ConditionExpression: &condition, ExpressionAttributeValues: v}}
	}
	// One that fails leaves nothing, and gives a reason for each action.
	err := transact("", putAction(key("y", "1"), ""), putAction(key("x", "1"), "attribute_not_exists(p)"),
		types.TransactWriteItem{ConditionCheck: &types.ConditionCheck{TableName: new("t"), Key: key("x", "2"), ConditionExpression: new("attribute_exists(p)")}},
		update(key("x", "3"), "SET a = :a", "attribute_exists(p)", values{":a": s("z")}))
	var cancelled *types.TransactionCanceledException
	if !errors.As(err, &cancelled) || len(cancelled.CancellationReasons) != 4 {
		t.Fatal(err)
	}
	var codes []string
	for _, r := range cancelled.CancellationReasons {
		codes = append(codes, *r.Code)
	}
	d.want("reasons", strings.Join(codes, " "), "None ConditionalCheckFailed None ConditionalCheckFailed")
	d.want("old item", show(cancelled.CancellationReasons[1].Item), "a=old k=1 p=x v=1")
	if cancelled.CancellationReasons[3].Item != nil || cancelled.CancellationReasons[0].Message != nil {
		t.Error("an item that was not asked for, or the message of a None")
	}
	if d.get(key("y", "1")) != nil {
		t.Error("a cancelled transaction wrote")
	}
	d.want("evaluation error", func() string {
		err := transact("", update(key("x", "1"), "ADD a :n", "attribute_exists(p)", values{":n": n("1")}))
		if !errors.As(err, &cancelled) {
			return code(err)
		}
		return *cancelled.CancellationReasons[0].Code
	}(), "ValidationError")

	// One that succeeds does all of it, once per token.
	all := []types.TransactWriteItem{
		putAction(key("y", "1"), "attribute_not_exists(p)"),
		update(key("x", "1"), "ADD v :n", "a = :a", values{":n": n("1"), ":a": s("old")}),
		{Delete: &types.Delete{TableName: new("t"), Key: key("x", "2")}},
		{ConditionCheck: &types.ConditionCheck{TableName: new("t"), Key: key("none", "1"), ConditionExpression: new("attribute_not_exists(p)")}},
	}
	for range 2 {
		if err := transact("token", all...); err != nil {
			t.Fatal(err)
		}
		d.want("put", show(d.get(key("y", "1"))), "k=1 p=y")
		d.want("updated once", show(d.get(key("x", "1"))), "a=old k=1 p=x v=2")
		if d.get(key("x", "2")) != nil || d.get(key("none", "1")) != nil {
			t.Error("delete or check")
		}
	}
	var mismatch *types.IdempotentParameterMismatchException
	if err := transact("token", all[0]); !errors.As(err, &mismatch) {
		t.Errorf("same token, other request: %v", err)
	}
	d.pass(TokenLifetime - 1)
	d.want("token still valid", code(transact("token", all...)), "")
	d.pass(1)
	d.want("token over", code(transact("token", all...)), "TransactionCanceledException")
	d.want("a cancelled transaction does not use up its token", code(transact("token", putAction(key("z", "1"), ""))), "")

	many := func(n int) (out []types.TransactWriteItem) {
		for i := range n {
			out = append(out, putAction(key("m", fmt.Sprint(i)), ""))
		}
		return out
	}
	big := func(n int) (out []types.TransactWriteItem) {
		for i := range n {
			out = append(out, putAction(with(key("m", fmt.Sprint(i)), "a", s(strings.Repeat("v", 380<<10))), ""))
		}
		return out
	}
	for _, c := range []struct {
		name    string
		token   string
		actions []types.TransactWriteItem
		code    string
	}{
		{"100 actions", "", many(100), ""},
		{"101 actions", "", many(101), invalid},
		{"no actions", "", nil, invalid},
		{"empty action", "", []types.TransactWriteItem{{}}, invalid},
		{"two in one action", "", []types.TransactWriteItem{{Put: all[0].Put, Delete: all[2].Delete}}, invalid},
		{"two on one item", "", []types.TransactWriteItem{putAction(key("m", "1"), ""), {Delete: &types.Delete{TableName: new("t"), Key: key("m", "1.0")}}}, invalid},
		{"under 4 MB", "", big(10), ""},
		{"over 4 MB", "", big(12), invalid},
		{"token of 36", strings.Repeat("t", 36), many(1), ""},
		{"token of 37", strings.Repeat("t", 37), many(1), invalid},
		{"check without condition", "", []types.TransactWriteItem{{ConditionCheck: &types.ConditionCheck{TableName: new("t"), Key: key("m", "1")}}}, invalid},
		{"update without expression", "", []types.TransactWriteItem{{Update: &types.Update{TableName: new("t"), Key: key("m", "1")}}}, invalid},
		{"item too large", "", []types.TransactWriteItem{putAction(with(key("m", "1"), "a", s(strings.Repeat("v", MaxItemBytes))), "")}, invalid},
		{"unknown table", "", []types.TransactWriteItem{{Put: &types.Put{TableName: new("none"), Item: key("m", "1")}}}, "ResourceNotFoundException"},
	} {
		d.want(c.name, code(transact(c.token, c.actions...)), c.code)
	}
}

func TestQuery(t *testing.T) {
	d := newStore(t)
	for _, k := range []string{"10", "9", "-1", "2.5", "100"} {
		d.put(with(key("x", k), "a", s("v"+k)))
	}
	d.put(with(key("y", "1"), "g", s("G"), "o", n("3"), "a", s("y1"), "b", s("b")))
	d.put(with(key("y", "2"), "g", s("G"), "o", n("3"), "a", s("y2")))
	d.put(with(key("z", "1"), "g", s("G"), "o", n("1"), "a", s("z1")))
	d.put(with(key("z", "2"), "g", s("G"), "a", s("no sort key: not in index i")))
	list := func(items []map[string]types.AttributeValue, name string) string {
		var out []string
		for _, it := range items {
			out = append(out, text(it[name]))
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		in   dynamodb.QueryInput
		cond string
		v    values
		want string // sort keys k, or an error code
	}{
		{cond: "p = :p", v: values{":p": s("x")}, want: "-1 2.5 9 10 100"},
		{cond: "p = :p AND k = :k", v: values{":p": s("x"), ":k": n("9.0")}, want: "9"},
		{cond: "k < :k AND p = :p", v: values{":p": s("x"), ":k": n("9")}, want: "-1 2.5"},
		{cond: "p = :p AND k <= :k", v: values{":p": s("x"), ":k": n("9")}, want: "-1 2.5 9"},
		{cond: "p = :p AND k > :k", v: values{":p": s("x"), ":k": n("9")}, want: "10 100"},
		{cond: "p = :p AND k >= :k", v: values{":p": s("x"), ":k": n("9")}, want: "9 10 100"},
		{cond: "p = :p AND k BETWEEN :k AND :l", v: values{":p": s("x"), ":k": n("2"), ":l": n("10")}, want: "2.5 9 10"},
		{cond: "(p = :p)", v: values{":p": s("none")}, want: ""},
		{in: dynamodb.QueryInput{ScanIndexForward: new(false), Limit: new(int32(2))}, cond: "p = :p", v: values{":p": s("x")}, want: "100 10"},
		{in: dynamodb.QueryInput{FilterExpression: new("begins_with(a, :f)")}, cond: "p = :p", v: values{":p": s("x"), ":f": s("v1")}, want: "10 100"},
		{in: dynamodb.QueryInput{IndexName: new("i")}, cond: "g = :g", v: values{":g": s("G")}, want: "1 1 2"},
		{in: dynamodb.QueryInput{IndexName: new("i")}, cond: "g = :g AND o > :o", v: values{":g": s("G"), ":o": n("1")}, want: "1 2"},
		{in: dynamodb.QueryInput{IndexName: new("keys")}, cond: "g = :g", v: values{":g": s("G")}, want: "1 2 1 2"},
		{cond: "k = :k", v: values{":k": n("1")}, want: invalid},
		{cond: "p > :p", v: values{":p": s("x")}, want: invalid},
		{cond: "p = :p AND a = :a", v: values{":p": s("x"), ":a": s("v")}, want: invalid},
		{cond: "p = :p AND k <> :k", v: values{":p": s("x"), ":k": n("1")}, want: invalid},
		{cond: "p = :p OR k = :k", v: values{":p": s("x"), ":k": n("1")}, want: invalid},
		{cond: "p = :p AND k > :k AND k < :l", v: values{":p": s("x"), ":k": n("1"), ":l": n("2")}, want: invalid},
		{cond: "p = :p AND begins_with(k, :k)", v: values{":p": s("x"), ":k": s("1")}, want: invalid},
		{cond: "p = :p", v: values{":p": n("1")}, want: invalid},
		{cond: "p = :p", v: values{":p": s("x"), ":q": s("unused")}, want: invalid},
		{cond: "", want: invalid},
		{in: dynamodb.QueryInput{IndexName: new("none")}, cond: "g = :g", v: values{":g": s("G")}, want: invalid},
		{in: dynamodb.QueryInput{IndexName: new("i"), ConsistentRead: new(true)}, cond: "g = :g", v: values{":g": s("G")}, want: invalid},
		{in: dynamodb.QueryInput{Limit: new(int32(0))}, cond: "p = :p", v: values{":p": s("x")}, want: invalid},
		{in: dynamodb.QueryInput{IndexName: new("some"), ProjectionExpression: new("b")}, cond: "g = :g", v: values{":g": s("G")}, want: invalid},
		{in: dynamodb.QueryInput{ExclusiveStartKey: values{"p": s("x")}}, cond: "p = :p", v: values{":p": s("x")}, want: invalid},
		{in: dynamodb.QueryInput{ExclusiveStartKey: key("y", "1")}, cond: "p = :p", v: values{":p": s("x")}, want: invalid},
	} {
		c.in.TableName, c.in.KeyConditionExpression, c.in.ExpressionAttributeValues = new("t"), &c.cond, c.v
		out, err := d.Query(ctx, &c.in)
		if err != nil {
			d.want(c.cond, code(err), c.want)
			continue
		}
		d.want(fmt.Sprint(c.cond, " index ", value(c.in.IndexName)), list(out.Items, "k"), c.want)
	}
	for index, want := range map[string]string{"i": "a=y1 b=b g=G k=1 o=3 p=y", "keys": "g=G k=1 p=y", "some": "a=y1 g=G k=1 p=y"} {
		out := must(d.Query(ctx, &dynamodb.QueryInput{TableName: new("t"), IndexName: &index, KeyConditionExpression: new("g = :g"), ExpressionAttributeValues: values{":g": s("G")}}))(t)
		found := false
		for _, it := range out.Items {
			found = found || show(it) == want
		}
		if !found {
			t.Errorf("projection of %s: %v lacks %q", index, out.Items, want)
		}
	}

	// Pages, forward and backward, on the table and on an index, whatever is deleted in between.
	for _, c := range []struct {
		index    *string
		backward bool
		want     string
	}{{nil, false, "-1 2.5 9 10 100"}, {nil, true, "100 10 9 2.5 -1"}, {new("i"), false, "z1 y1 y2"}, {new("i"), true, "y2 y1 z1"}} {
		in := &dynamodb.QueryInput{TableName: new("t"), IndexName: c.index, Limit: new(int32(1)), ScanIndexForward: new(!c.backward),
			KeyConditionExpression: new("p = :v"), ExpressionAttributeValues: values{":v": s("x")}}
		name := "k"
		if c.index != nil {
			in.KeyConditionExpression, in.ExpressionAttributeValues, name = new("g = :v"), values{":v": s("G")}, "a"
		}
		var got []string
		for pages := 0; pages < 10; pages++ {
			out := must(d.Query(ctx, in))(t)
			if out.Count > 0 {
				got = append(got, list(out.Items, name))
			}
			if out.LastEvaluatedKey == nil {
				break
			}
			in.ExclusiveStartKey = out.LastEvaluatedKey
		}
		d.want("pages", strings.Join(got, " "), c.want)
	}
	must(d.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: new("t"), Key: key("x", "9")}))(t)
	out := must(d.Query(ctx, &dynamodb.QueryInput{TableName: new("t"), ExclusiveStartKey: key("x", "9"), KeyConditionExpression: new("p = :p"), ExpressionAttributeValues: values{":p": s("x")}}))(t)
	d.want("after a deleted key", list(out.Items, "k"), "10 100")
	counted := must(d.Query(ctx, &dynamodb.QueryInput{TableName: new("t"), Select: types.SelectCount, KeyConditionExpression: new("p = :p"), ExpressionAttributeValues: values{":p": s("x")}}))(t)
	if counted.Count != 4 || len(counted.Items) != 0 {
		t.Errorf("count %d, %d items", counted.Count, len(counted.Items))
	}
}

func TestScan(t *testing.T) {
	d := newStore(t)
	for i := range 30 {
		d.put(with(key(fmt.Sprint("p", i%4), fmt.Sprint(i)), "a", s(strings.Repeat("v", 100<<10))))
	}
	in := &dynamodb.ScanInput{TableName: new("t")}
	seen, pages := map[string]bool{}, 0
	for ; ; pages++ {
		out := must(d.Scan(ctx, in))(t)
		for _, it := range out.Items {
			if seen[text(it["k"])] {
				t.Errorf("item %s twice", text(it["k"]))
			}
			seen[text(it["k"])] = true
		}
		if in.ExclusiveStartKey = out.LastEvaluatedKey; in.ExclusiveStartKey == nil {
			break
		}
	}
	// 3 MB in pages of 1 MB.
	if len(seen) != 30 || pages < 2 {
		t.Errorf("%d of 30 items on %d pages", len(seen), pages+1)
	}
	out := must(d.Scan(ctx, &dynamodb.ScanInput{TableName: new("t"), FilterExpression: new("k < :k"), ProjectionExpression: new("k"), ExpressionAttributeValues: values{":k": n("5")}, Limit: new(int32(4))}))(t)
	if out.ScannedCount != 4 || out.LastEvaluatedKey == nil || len(out.Items) != 2 || len(out.Items[0]) != 1 {
		t.Errorf("%+v", out)
	}
	_, err := d.Scan(ctx, &dynamodb.ScanInput{TableName: new("t"), Segment: new(int32(0)), TotalSegments: new(int32(2))})
	d.want("segments", code(err), invalid)
}

func TestBatchWriteItem(t *testing.T) {
	d := newStore(t)
	d.put(with(key("x", "1"), "a", s("old")))
	d.put(key("x", "2"))
	put := func(k string) types.WriteRequest {
		return types.WriteRequest{PutRequest: &types.PutRequest{Item: with(key("x", k), "a", s("new"))}}
	}
	del := func(k string) types.WriteRequest {
		return types.WriteRequest{DeleteRequest: &types.DeleteRequest{Key: key("x", k)}}
	}
	many := make([]types.WriteRequest, MaxBatchWriteRequests+1)
	for i := range many {
		many[i] = put(fmt.Sprint(100 + i))
	}
	write := func(requests ...types.WriteRequest) error {
		_, err := d.BatchWriteItem(t.Context(), &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"t": requests}})
		return err
	}
	for name, requests := range map[string][]types.WriteRequest{
		"none": nil, "too many": many, "one item twice": {put("1"), del("1")}, "neither": {{}}, "both": {{PutRequest: put("1").PutRequest, DeleteRequest: del("1").DeleteRequest}},
		"no key": {{PutRequest: &types.PutRequest{Item: values{"a": s("x")}}}},
	} {
		if err := write(requests...); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if err := write(put("1"), del("2"), put("3")); err != nil {
		t.Fatal(err)
	}
	if err := write(many[1:]...); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]bool{"1": true, "2": false, "3": true, "100": false, "125": true} {
		out, err := d.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: new("t"), Key: key("x", k)})
		if err != nil || (out.Item != nil) != want || want && text(out.Item["a"]) != "new" {
			t.Errorf("item %s: %v, %v", k, out, err)
		}
	}
}

func TestTimeToLive(t *testing.T) {
	d := newStore(t)
	at := func(offset time.Duration) types.AttributeValue { return n(fmt.Sprint(d.clock.t.Add(offset).Unix())) }
	d.put(with(key("x", "1"), "ttl", at(10*time.Second), "g", s("G"), "o", n("1")))
	d.put(with(key("x", "2"), "ttl", at(time.Hour)))
	d.put(with(key("x", "3"), "ttl", s("text")))
	d.put(with(key("x", "4"), "ttl", at(-6*365*24*time.Hour)))
	d.put(key("x", "5"))
	d.pass(10 * time.Second)
	if deleted := d.Sweep(); deleted != 0 {
		t.Errorf("%d swept at the very second", deleted)
	}
	d.pass(time.Second)
	if d.get(key("x", "1")) == nil {
		t.Error("an expired item is gone before the sweep")
	}
	if deleted := d.Sweep(); deleted != 1 || d.get(key("x", "1")) != nil {
		t.Errorf("swept %d", deleted)
	}
	out := must(d.Query(ctx, &dynamodb.QueryInput{TableName: new("t"), IndexName: new("i"), KeyConditionExpression: new("g = :g"), ExpressionAttributeValues: values{":g": s("G")}}))(t)
	if out.Count != 0 {
		t.Error("a swept item is still in an index")
	}
}

func TestTables(t *testing.T) {
	d := NewDynamoDB(newClock().now)
	for _, c := range Tables("alerts", "state") {
		if err := d.CreateTable(c); err != nil {
			t.Fatal(err)
		}
	}
	alert := values{"symbol": s("AAPL"), "alert_id": s("2026-11-20T14:30:00Z-1"), "day_shard": s("2026-11-20#3"), "pending_shard": s("1"), "lease_until": n("5"),
		"summary": s("moved"), "status": s("PENDING")}
	project := func(names ...string) map[string]types.AttributeValue {
		out := values{"symbol": alert["symbol"], "alert_id": alert["alert_id"]}
		for _, name := range names {
			out[name] = alert[name]
		}
		return out
	}
	want := map[string]map[string]types.AttributeValue{"by-day": project("day_shard", "summary"), "pending": project("pending_shard", "lease_until")}
	for table, it := range map[string]values{"alerts": alert, "state": {"series": s("AAPL|x")}} {
		must(d.PutItem(ctx, &dynamodb.PutItemInput{TableName: &table, Item: it}))(t)
	}
	for index, in := range map[string]dynamodb.QueryInput{
		"by-day":  {KeyConditionExpression: new("day_shard = :h AND begins_with(alert_id, :r)"), ExpressionAttributeValues: values{":h": s("2026-11-20#3"), ":r": s("2026-11-20")}},
		"pending": {KeyConditionExpression: new("pending_shard = :h AND lease_until < :r"), ExpressionAttributeValues: values{":h": s("1"), ":r": n("6")}},
	} {
		in.TableName, in.IndexName = new("alerts"), &index
		if out := must(d.Query(ctx, &in))(t); out.Count != 1 || !reflect.DeepEqual(out.Items[0], want[index]) {
			t.Errorf("%s: %v", index, out.Items)
		}
	}
	must(d.UpdateItem(ctx, &dynamodb.UpdateItemInput{TableName: new("alerts"), Key: values{"symbol": alert["symbol"], "alert_id": alert["alert_id"]}, UpdateExpression: new("REMOVE pending_shard, lease_until")}))(t)
	if out := must(d.Query(ctx, &dynamodb.QueryInput{TableName: new("alerts"), IndexName: new("pending"), KeyConditionExpression: new("pending_shard = :h"), ExpressionAttributeValues: values{":h": s("1")}}))(t); out.Count != 0 {
		t.Error("the pending index is not sparse")
	}
	var exists *types.ResourceInUseException
	if err := d.CreateTable(TableConfig{Name: "state", PartitionKey: Key{Name: "series"}}); !errors.As(err, &exists) {
		t.Errorf("created twice: %v", err)
	}
	for _, c := range []TableConfig{
		{PartitionKey: Key{Name: "p"}}, {Name: "a"}, {Name: "a", PartitionKey: Key{"p", "BOOL"}},
		{Name: "a", PartitionKey: Key{Name: "p"}, Indexes: []IndexConfig{{PartitionKey: Key{Name: "g"}}}},
		{Name: "a", PartitionKey: Key{Name: "p"}, Indexes: []IndexConfig{{Name: "i", PartitionKey: Key{Name: "g"}, NonKey: []string{"x"}}}},
	} {
		if err := d.CreateTable(c); err == nil {
			t.Errorf("%+v accepted", c)
		}
	}
}

// BenchmarkCommit is the processor's usual write: one state under its version, and one new alert, in a transaction.
func BenchmarkCommit(b *testing.B) {
	d := NewDynamoDB(newClock().now)
	for _, c := range Tables("alerts", "state") {
		if err := d.CreateTable(c); err != nil {
			b.Fatal(err)
		}
	}
	blob := &types.AttributeValueMemberB{Value: make([]byte, 2000)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprintf("%012d", i)
		condition, v := new("attribute_not_exists(series) OR version = :v"), values{":v": n(fmt.Sprint(i / 100))}
		_, err := d.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{ClientRequestToken: &id, TransactItems: []types.TransactWriteItem{
			{Put: &types.Put{TableName: new("state"), ConditionExpression: condition, ExpressionAttributeValues: v,
				Item: values{"series": s(fmt.Sprint("S", i%100)), "version": n(fmt.Sprint(i/100 + 1)), "blob": blob}}},
			{Put: &types.Put{TableName: new("alerts"), ConditionExpression: new("attribute_not_exists(alert_id)"),
				Item: values{"symbol": s("AAPL"), "alert_id": s(id), "day_shard": s("2026-11-20#" + id[11:]), "pending_shard": s(id[11:]), "lease_until": n(id)}}},
		}})
		if err != nil {
			b.Fatal(err)
		}
	}
}
