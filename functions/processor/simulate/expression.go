package simulate

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// scope is what the placeholders of a request's expressions stand for, and which of them were used.
type scope struct {
	names  map[string]string
	values item
	used   map[string]bool
}

func newScope(names map[string]string, values map[string]types.AttributeValue) (*scope, error) {
	invalid := func(format string, args ...any) (*scope, error) {
		return nil, refuse("ValidationException", format, args...)
	}
	if names != nil && len(names) == 0 {
		return invalid("ExpressionAttributeNames must not be empty")
	}
	if values != nil && len(values) == 0 {
		return invalid("ExpressionAttributeValues must not be empty")
	}
	for _, p := range sorted(names) {
		if !placeholder(p, '#') || names[p] == "" {
			return invalid("ExpressionAttributeNames contains invalid key or value: %q", p)
		}
	}
	for _, p := range sorted(values) {
		if !placeholder(p, ':') {
			return invalid("ExpressionAttributeValues contains invalid key: %q", p)
		}
	}
	normal, err := normalizeAll(values, 0)
	if err != nil {
		return nil, err
	}
	return &scope{names, normal, map[string]bool{}}, nil
}

func placeholder(s string, mark byte) bool {
	return len(s) > 1 && s[0] == mark && !strings.ContainsFunc(s[1:], func(r rune) bool { return !alphanumeric(r) && r != '_' })
}

// unused refuses placeholders that no expression of the request mentions. Call it when all are parsed.
func (s *scope) unused() error {
	for _, p := range sorted(s.names) {
		if !s.used[p] {
			return refuse("ValidationException", "Value provided in ExpressionAttributeNames unused in expressions: keys: {%s}", p)
		}
	}
	for _, p := range sorted(s.values) {
		if !s.used[p] {
			return refuse("ValidationException", "Value provided in ExpressionAttributeValues unused in expressions: keys: {%s}", p)
		}
	}
	return nil
}

// operand is an attribute, a value, or the size of an attribute.
type operand struct {
	path  string
	value types.AttributeValue
	size  bool // of path
}

// of gives the operand's value for an item, nil where there is none.
func (o operand) of(it item) types.AttributeValue {
	if o.value != nil {
		return o.value
	}
	v, ok := it[o.path]
	if !ok {
		return nil
	}
	if !o.size {
		return v
	}
	n := 0
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		n = utf8.RuneCountInString(v.Value)
	case *types.AttributeValueMemberB:
		n = len(v.Value)
	case *types.AttributeValueMemberL:
		n = len(v.Value)
	case *types.AttributeValueMemberM:
		n = len(v.Value)
	case *types.AttributeValueMemberSS:
		n = len(v.Value)
	case *types.AttributeValueMemberNS:
		n = len(v.Value)
	case *types.AttributeValueMemberBS:
		n = len(v.Value)
	default:
		return nil
	}
	return &types.AttributeValueMemberN{Value: strconv.Itoa(n)}
}

type condition interface{ holds(item) bool }

type (
	and     struct{ a, b condition }
	or      struct{ a, b condition }
	not     struct{ a condition }
	compare struct {
		op   string
		a, b operand
	}
	between struct{ v, low, high operand }
	in      struct {
		v   operand
		set []operand
	}
	exists     struct{ path string }
	beginsWith struct {
		path   string
		prefix operand
	}
	contains struct {
		path   string
		member operand
	}
)

func (c and) holds(it item) bool    { return c.a.holds(it) && c.b.holds(it) }
func (c or) holds(it item) bool     { return c.a.holds(it) || c.b.holds(it) }
func (c not) holds(it item) bool    { return !c.a.holds(it) }
func (c exists) holds(it item) bool { _, ok := it[c.path]; return ok }

func (c compare) holds(it item) bool {
	a, b := c.a.of(it), c.b.of(it)
	same := a != nil && b != nil && equal(a, b)
	switch c.op {
	case "=":
		return same
	case "<>":
		// True where an attribute is absent, as in DynamoDB.
		return !same
	}
	n, ok := order(a, b)
	switch c.op {
	case "<":
		return ok && n < 0
	case "<=":
		return ok && n <= 0
	case ">":
		return ok && n > 0
	}
	return ok && n >= 0
}

// order compares two values of the same scalar type; ok is false for others.
func order(a, b types.AttributeValue) (n int, ok bool) {
	if a == nil || b == nil || typeOf(a) != typeOf(b) {
		return 0, false
	}
	x, ok := sortKey(a)
	y, _ := sortKey(b)
	return strings.Compare(x, y), ok
}

func (c between) holds(it item) bool {
	low, ok1 := order(c.low.of(it), c.v.of(it))
	high, ok2 := order(c.v.of(it), c.high.of(it))
	return ok1 && ok2 && low <= 0 && high <= 0
}

func (c in) holds(it item) bool {
	v := c.v.of(it)
	return v != nil && slices.ContainsFunc(c.set, func(o operand) bool { m := o.of(it); return m != nil && equal(v, m) })
}

func (c beginsWith) holds(it item) bool {
	v, prefix := it[c.path], c.prefix.of(it)
	if v == nil || prefix == nil || typeOf(v) != typeOf(prefix) || typeOf(v) == "N" {
		return false
	}
	x, ok := sortKey(v)
	y, _ := sortKey(prefix)
	return ok && strings.HasPrefix(x, y)
}

func (c contains) holds(it item) bool {
	m := c.member.of(it)
	if m == nil {
		return false
	}
	text, isText := m.(*types.AttributeValueMemberS)
	blob, isBlob := m.(*types.AttributeValueMemberB)
	number, isNumber := m.(*types.AttributeValueMemberN)
	switch v := it[c.path].(type) {
	case *types.AttributeValueMemberS:
		return isText && strings.Contains(v.Value, text.Value)
	case *types.AttributeValueMemberB:
		return isBlob && bytes.Contains(v.Value, blob.Value)
	case *types.AttributeValueMemberSS:
		return isText && slices.Contains(v.Value, text.Value)
	case *types.AttributeValueMemberNS:
		return isNumber && slices.Contains(v.Value, number.Value)
	case *types.AttributeValueMemberBS:
		return isBlob && slices.ContainsFunc(v.Value, func(b []byte) bool { return bytes.Equal(b, blob.Value) })
	case *types.AttributeValueMemberL:
		return slices.ContainsFunc(v.Value, func(e types.AttributeValue) bool { return equal(e, m) })
	}
	return false
}

// expr is the right side of a SET: it gives the value from the item as it was before the update.
type expr func(item) (types.AttributeValue, error)

// update is a parsed update expression.
type update struct {
	set    map[string]expr
	add    map[string]types.AttributeValue
	remove map[string]bool
}

func (u *update) paths() []string {
	return slices.Concat(sorted(u.set), sorted(u.add), sorted(u.remove))
}

var errOperandType = refuse("ValidationException", "An operand in the update expression has an incorrect data type")

// apply gives a new item; old stays as it is.
func (u *update) apply(old item) (item, error) {
	out := maps.Clone(old)
	for _, path := range sorted(u.set) {
		v, err := u.set[path](old)
		if err != nil {
			return nil, err
		}
		out[path] = v
	}
	for _, path := range sorted(u.add) {
		v := u.add[path]
		if have, ok := old[path]; ok {
			var err error
			if v, err = sum(have, v, false); err != nil {
				return nil, err
			}
		}
		out[path] = v
	}
	for path := range u.remove {
		delete(out, path)
	}
	return out, nil
}

func sum(a, b types.AttributeValue, subtract bool) (types.AttributeValue, error) {
	x, ok1 := a.(*types.AttributeValueMemberN)
	y, ok2 := b.(*types.AttributeValueMemberN)
	if !ok1 || !ok2 {
		return nil, errOperandType
	}
	m, err1 := parseNumber(x.Value)
	n, err2 := parseNumber(y.Value)
	if err1 != nil || err2 != nil {
		return nil, errOperandType
	}
	r, err := m.add(n, subtract)
	return &types.AttributeValueMemberN{Value: r.String()}, err
}

type token struct {
	kind byte // 'i' identifier, '"' quoted identifier, '#', ':' and '?' placeholder, '\'' string, '0' number, 'o' the rest, 0 the end
	text string
}

// parser reads one expression. After the first error it sees only the end.
type parser struct {
	what   string // for errors: "ConditionExpression"
	scope  *scope
	tokens []token
	err    error
}

// maxExpressionBytes is the longest expression that DynamoDB takes.
const maxExpressionBytes = 4096

func newParser(what, text string, s *scope) *parser {
	p := &parser{what: what, scope: s}
	switch {
	case strings.TrimSpace(text) == "":
		p.fail("The expression can not be empty;")
	case len(text) > maxExpressionBytes:
		p.fail("Expression size has exceeded the maximum allowed size; expression size: %d", len(text))
	default:
		p.scan(text)
	}
	return p
}

func (p *parser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = refuse("ValidationException", "Invalid %s: %s", p.what, fmt.Sprintf(format, args...))
	}
	p.tokens = nil
}

func (p *parser) scan(text string) {
	word := func(c byte) bool { return alphanumeric(rune(c)) || c == '_' }
	for i := 0; i < len(text); {
		c, start := text[i], i
		run := func(in func(byte) bool) {
			for i < len(text) && in(text[i]) {
				i++
			}
		}
		kind := byte('o')
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == '#' || c == ':':
			i++
			run(word)
			kind = c
		case word(c) && (c < '0' || c > '9'):
			run(word)
			kind = 'i'
		case strings.HasPrefix(text[i:], "<>") || strings.HasPrefix(text[i:], "<=") || strings.HasPrefix(text[i:], ">="):
			i += 2
		case strings.IndexByte("=<>(),+-*", c) >= 0:
			i++
		case c == '.' || c == '[':
			p.fail("document paths are not simulated")
			return
		default:
			p.fail("Syntax error; token: %q", c)
			return
		}
		p.tokens = append(p.tokens, token{kind, text[start:i]})
	}
}

func (p *parser) peek() token {
	if len(p.tokens) == 0 {
		return token{}
	}
	return p.tokens[0]
}

func (p *parser) next() token {
	t := p.peek()
	if len(p.tokens) > 0 {
		p.tokens = p.tokens[1:]
	}
	return t
}

// accept takes the next token if it is this keyword (in any case) or operator.
func (p *parser) accept(text string) bool {
	t := p.peek()
	if t.kind == 'o' && t.text == text || t.kind == 'i' && strings.EqualFold(t.text, text) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expect(text string) {
	if !p.accept(text) {
		p.fail("Syntax error; token: %q, expected %q", p.peek().text, text)
	}
}

// end reports the first error; what is left over is one.
func (p *parser) end() error {
	if p.err == nil && len(p.tokens) > 0 {
		p.fail("Syntax error; token: %q", p.peek().text)
	}
	return p.err
}

func (p *parser) path() string {
	t := p.next()
	switch {
	case t.kind == '#':
		name, ok := p.scope.names[t.text]
		if !ok {
			p.fail("An expression attribute name used in the document path is not defined; attribute name: %s", t.text)
		}
		p.scope.used[t.text] = true
		return name
	case t.kind == 'i' && reserved[strings.ToUpper(t.text)]:
		p.fail("Attribute name is a reserved keyword; reserved keyword: %s", t.text)
	case t.kind != 'i':
		p.fail("Syntax error; token: %q, expected an attribute name", t.text)
	}
	return t.text
}

func (p *parser) operand() operand {
	t := p.peek()
	switch {
	case t.kind == ':':
		p.next()
		v, ok := p.scope.values[t.text]
		if !ok {
			p.fail("An expression attribute value used in expression is not defined; attribute value: %s", t.text)
			return operand{}
		}
		p.scope.used[t.text] = true
		return operand{value: v}
	case t.text == "size" && len(p.tokens) > 1 && p.tokens[1].text == "(":
		p.next()
		p.next()
		path := p.path()
		p.expect(")")
		return operand{path: path, size: true}
	}
	return operand{path: p.path()}
}

func (p *parser) condition() condition {
	c := p.conjunction()
	for p.accept("OR") {
		c = or{c, p.conjunction()}
	}
	return c
}

func (p *parser) conjunction() condition {
	c := p.term()
	for p.accept("AND") {
		c = and{c, p.term()}
	}
	return c
}

func (p *parser) term() condition {
	if p.accept("NOT") {
		return not{p.term()}
	}
	if p.accept("(") {
		c := p.condition()
		p.expect(")")
		return c
	}
	if t := p.peek(); t.kind == 'i' && t.text != "size" && len(p.tokens) > 1 && p.tokens[1].text == "(" {
		return p.function()
	}
	a := p.operand()
	t := p.peek()
	switch {
	case p.accept("BETWEEN"):
		c := between{v: a, low: p.operand()}
		p.expect("AND")
		c.high = p.operand()
		if p.ordered(c.low); p.err == nil {
			if n, ok := order(c.low.value, c.high.value); ok && n > 0 {
				p.fail("The BETWEEN operator requires upper bound to be greater than or equal to lower bound")
			} else if !ok && c.low.value != nil && c.high.value != nil {
				p.fail("The BETWEEN operator requires same data type for lower and upper bounds")
			}
		}
		return c
	case p.accept("IN"):
		c := in{v: a}
		p.expect("(")
		for p.err == nil {
			c.set = append(c.set, p.operand())
			if !p.accept(",") {
				break
			}
		}
		p.expect(")")
		if len(c.set) > 100 {
			p.fail("The IN operator is provided with too many operands; number of operands: %d", len(c.set))
		}
		return c
	case slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, t.text):
		p.next()
		c := compare{t.text, a, p.operand()}
		if c.op != "=" && c.op != "<>" {
			p.ordered(c.a)
			p.ordered(c.b)
		}
		return c
	}
	p.fail("Syntax error; token: %q, expected a comparison", t.text)
	return not{}
}

// ordered refuses a value that has no order.
func (p *parser) ordered(o operand) {
	if o.value == nil {
		return
	}
	if _, ok := sortKey(o.value); !ok {
		p.fail("Incorrect operand type for operator or function; operand type: %s", typeOf(o.value))
	}
}

func (p *parser) function() condition {
	name := p.next().text
	p.expect("(")
	path := p.path()
	var c condition
	switch name {
	case "attribute_exists":
		c = exists{path}
	case "attribute_not_exists":
		c = not{exists{path}}
	case "begins_with":
		p.expect(",")
		o := p.operand()
		if o.value != nil && typeOf(o.value) != "S" && typeOf(o.value) != "B" {
			p.fail("Incorrect operand type for operator or function; operator or function: begins_with, operand type: %s", typeOf(o.value))
		}
		c = beginsWith{path, o}
	case "contains":
		p.expect(",")
		c = contains{path, p.operand()}
	default:
		p.fail("Invalid function name; function: %s", name)
		return not{}
	}
	p.expect(")")
	return c
}

func (p *parser) value() expr {
	v := p.simpleValue()
	subtract := false
	if t := p.peek(); t.kind == 'o' && (t.text == "+" || t.text == "-") {
		p.next()
		subtract = t.text == "-"
		a, b := v, p.simpleValue()
		return func(it item) (types.AttributeValue, error) {
			x, err := a(it)
			if err != nil {
				return nil, err
			}
			y, err := b(it)
			if err != nil {
				return nil, err
			}
			return sum(x, y, subtract)
		}
	}
	return v
}

func (p *parser) simpleValue() expr {
	if t := p.peek(); t.kind == 'i' && len(p.tokens) > 1 && p.tokens[1].text == "(" {
		if t.text != "if_not_exists" {
			p.fail("Invalid function name; function: %s", t.text)
		}
		p.next()
		p.expect("(")
		path := p.path()
		p.expect(",")
		otherwise := p.simpleValue()
		p.expect(")")
		return func(it item) (types.AttributeValue, error) {
			if v, ok := it[path]; ok {
				return v, nil
			}
			return otherwise(it)
		}
	}
	o := p.operand()
	return func(it item) (types.AttributeValue, error) {
		if v := o.of(it); v != nil {
			return v, nil
		}
		return nil, refuse("ValidationException", "The provided expression refers to an attribute that does not exist in the item")
	}
}

func (p *parser) update() *update {
	u := &update{set: map[string]expr{}, add: map[string]types.AttributeValue{}, remove: map[string]bool{}}
	clauses := map[string]bool{}
	for p.err == nil && len(p.tokens) > 0 {
		clause := strings.ToUpper(p.next().text)
		if clauses[clause] {
			p.fail("The %q section can only be used once in an update expression;", clause)
		}
		clauses[clause] = true
		for p.err == nil {
			p.action(u, clause)
			if !p.accept(",") {
				break
			}
		}
	}
	return u
}

// action reads one action of a clause of an update expression.
func (p *parser) action(u *update, clause string) {
	if clause != "SET" && clause != "REMOVE" && clause != "ADD" {
		p.fail("Syntax error; token: %q, expected SET, REMOVE or ADD", clause)
		return
	}
	path := p.path()
	if slices.Contains(u.paths(), path) {
		p.fail("Two document paths overlap with each other; must remove or rewrite one of these paths; path: %s", path)
	}
	switch clause {
	case "SET":
		p.expect("=")
		u.set[path] = p.value()
	case "REMOVE":
		u.remove[path] = true
	case "ADD":
		v := p.operand().value
		if v == nil || typeOf(v) != "N" {
			p.fail("Incorrect operand type for operator or function; operator: ADD, only numbers are simulated")
		}
		u.add[path] = v
	}
}

// projection reads the names of a projection expression.
func (p *parser) projection() map[string]bool {
	names := map[string]bool{}
	for p.err == nil {
		name := p.path()
		if names[name] {
			p.fail("Two document paths overlap with each other; must remove or rewrite one of these paths; path: %s", name)
		}
		names[name] = true
		if !p.accept(",") {
			break
		}
	}
	return names
}
