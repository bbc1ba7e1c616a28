package alert

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"example.com/market-data-pipeline/functions/processor/market"
)

// eval is what compiled expressions read: the values of the event that is evaluated. It belongs to one State, so that
// one compiled rule serves any number of goroutines.
type eval struct {
	numbers [numberCount]float64
	texts   [textCount]string
	// undefined is set when a number that is compared is NaN or infinite: the evaluation must have no effect.
	undefined bool
}

// Where eval holds the values. Rules of one kind only ever see that kind's.
const (
	iPrice, iSize = 0, 1

	iBid, iAsk, iBidSize, iAskSize, iMid, iSpread, iSpreadBPS = 0, 1, 2, 3, 4, 5, 6

	numberCount = 7

	iSide, iVenue = 0, 1

	textCount = 2
)

// compared notes whether both sides of a comparison are numbers that can be compared.
func (x *eval) compared(a, b float64) bool {
	if (a-a)+(b-b) != 0 { // NaN and the infinities, and only they, do not cancel
		x.undefined = true
		return false
	}
	return true
}

// valueType is the type of an expression. A badType has been reported, and what contains it is not.
type valueType uint8

const (
	badType valueType = iota
	numberType
	boolType
	textType
)

func (t valueType) String() string {
	return [...]string{"?", "number", "true or false", "text"}[t]
}

// value is a name that expressions may use.
type value struct {
	typ   valueType
	index int
	// decimal values are sent by the feed, or differences of such: templates print them exactly.
	decimal bool
	// enum are the texts that a text can be, nil = any.
	enum []string
}

// valuesOn are the names of the kinds that rules can watch.
var valuesOn = map[market.Kind]map[string]value{
	market.Trade: {
		"price": {numberType, iPrice, true, nil},
		"size":  {numberType, iSize, true, nil},
		"side":  {textType, iSide, false, []string{"buy", "sell"}},
		"venue": {textType, iVenue, false, nil},
	},
	market.Quote: {
		"bid":        {numberType, iBid, true, nil},
		"ask":        {numberType, iAsk, true, nil},
		"bid_size":   {numberType, iBidSize, true, nil},
		"ask_size":   {numberType, iAskSize, true, nil},
		"mid":        {numberType, iMid, true, nil},
		"spread":     {numberType, iSpread, true, nil},
		"spread_bps": {numberType, iSpreadBPS, false, nil},
	},
}

var kindNames = map[market.Kind]string{market.Trade: "trade", market.Quote: "quote"}

func namesOn(on market.Kind) []string { return slices.Sorted(maps.Keys(valuesOn[on])) }

// functions are the functions without history, with their least and greatest number of arguments.
var functions = map[string]struct{ least, most int }{
	"abs": {1, 1}, "log": {1, 1}, "sqrt": {1, 1}, "min": {2, 8}, "max": {2, 8},
}

// The names of the language that this version does not have; a rule that uses one is refused.
var (
	laterFunctions = []string{"prev", "sma", "sum", "highest", "lowest", "stdev", "ema", "rma", "rsi", "atr", "change", "roc", "zscore", "bb_upper", "bb_lower", "vwap", "crossover", "crossunder"}
	laterValues    = []string{"open", "high", "low", "close", "volume", "bar_vwap", "trades", "state", "reason", "day_open", "day_high", "day_low", "prev_close"}
)

const maxExpression = 2000 // bytes; also bounds the parser's recursion

// fault is a mistake at a rune offset of an expression or a template.
type fault struct {
	offset int
	text   string
}

// number is a compiled expression of a number that is no constant, by its text.
type number struct {
	text    string
	of      func(*eval) float64
	decimal bool
}

// condition is a compiled boolean expression.
type condition struct {
	test     func(*eval) bool
	text     string // canonical: equal for expressions that differ in layout only
	constant bool
	// first is the non-constant side of the first comparison of numbers; nil where no numbers are compared.
	first *number
	// operands are the non-constant numbers in the order of the text, each once: sides of comparisons, and values.
	operands []number
}

// compileCondition parses, checks and compiles the expression of a rule that watches on. It reports every mistake
// (but only the first one of syntax); the condition is only valid without faults.
func compileCondition(src string, on market.Kind) (*condition, []fault) {
	if len(src) > maxExpression {
		return nil, []fault{{0, fmt.Sprintf("the expression has %d bytes, the limit is %d: split the rule", len(src), maxExpression)}}
	}
	if strings.TrimSpace(src) == "" {
		return nil, []fault{{0, `the expression is empty: write a condition such as "price > 100"`}}
	}
	tree, err := parser.Parse(src)
	if err != nil {
		f := fault{0, err.Error()}
		if e, ok := err.(*file.Error); ok {
			f = fault{e.From, "syntax: " + e.Message}
		}
		if strings.Contains(f.text, `"="`) || strings.Contains(f.text, `Operator("=")`) {
			f.text += ` (to compare, write "==")`
		}
		return nil, []fault{f}
	}
	c := compiler{on: on, src: []rune(src), seen: map[ast.Node]bool{}, cond: &condition{}}
	n := c.compile(tree.Node)
	if n.typ != boolType && n.typ != badType {
		c.fault(tree.Node, "%s is a %s, but a rule needs a condition that is true or false: compare it, as in %q", n.text, n.typ, n.text+" > 1")
	}
	c.cond.test, c.cond.text, c.cond.constant = n.boolean, n.text, n.constant
	return c.cond, c.faults
}

// node is a compiled part of an expression. Of number, boolean and string the one of its type is set.
type node struct {
	typ     valueType
	number  func(*eval) float64
	boolean func(*eval) bool
	str     func(*eval) string

	constant bool
	num      float64 // of a constant number
	lit      string  // of a constant text

	text    string
	binding int // how tightly the outermost operator binds, for parentheses
	decimal bool
	enum    []string
}

const (
	bindOr = iota
	bindAnd
	bindCompare
	bindAdd
	bindMultiply
	bindUnary
	bindAtom
)

type compiler struct {
	on     market.Kind
	src    []rune
	seen   map[ast.Node]bool
	cond   *condition
	faults []fault
}

func (c *compiler) fault(n ast.Node, format string, args ...any) node {
	c.faults = append(c.faults, fault{n.Location().From, fmt.Sprintf(format, args...)})
	return node{}
}

func (c *compiler) compile(n ast.Node) node {
	if c.seen[n] {
		// The parser turns a < b < c into a < b && b < c with one b.
		return c.fault(n, `comparisons cannot be chained: write "a < b and b < c"`)
	}
	c.seen[n] = true
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return c.literal(n)
	case *ast.BoolNode:
		v := n.Value
		return node{typ: boolType, boolean: func(*eval) bool { return v }, constant: true, text: strconv.FormatBool(v), binding: bindAtom}
	case *ast.StringNode:
		v := n.Value
		return node{typ: textType, str: func(*eval) string { return v }, constant: true, lit: v, text: strconv.Quote(v), binding: bindAtom}
	case *ast.IdentifierNode:
		return c.identifier(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			return c.call(n, callee.Value, n.Arguments)
		}
		return c.fault(n, "methods do not exist in rules: use values, operators and the functions %s", functionNames())
	case *ast.ConditionalNode:
		at := ast.Node(n)
		if !n.Ternary { // the parser gives "if" no location
			at = n.Cond
		}
		return c.fault(at, `"? :" and "if" are not part of the language: use "and", "or", "not", or two rules`)
	case *ast.VariableDeclaratorNode:
		return c.fault(n, `"let" is not part of the language: write the expression out`)
	case *ast.SequenceNode:
		return c.fault(n, `";" is not part of the language: a rule has one expression`)
	case *ast.NilNode:
		return c.fault(n, `"nil" is not part of the language: a rule is not evaluated while a value it compares is absent`)
	case *ast.MemberNode, *ast.ChainNode, *ast.SliceNode:
		return c.fault(n, `"." and "[]" are not part of the language: values are plain names (%s)`, strings.Join(namesOn(c.on), ", "))
	default: // arrays, maps, closures, bytes
		return c.fault(n, "lists, maps and closures are not part of the language: use values, comparisons and the functions %s", functionNames())
	}
}

func functionNames() string { return strings.Join(slices.Sorted(maps.Keys(functions)), ", ") }

// literal converts through the same fixed point as prices, so that the literal 200.1 equals the price 200.1.
func (c *compiler) literal(n ast.Node) node {
	loc := n.Location()
	text := strings.ReplaceAll(string(c.src[loc.From:min(loc.To, len(c.src))]), "_", "")
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || len(text) > 1 && strings.ContainsAny(text[1:2], "xXbBoO") {
		return c.fault(n, "%s is not a decimal number: write digits, as in 1000 or 0.25", text)
	}
	if d, err := market.ParseDecimal(text); err == nil {
		v = d.Float()
	}
	return constantNumber(v)
}

func constantNumber(v float64) node {
	n := node{typ: numberType, number: func(*eval) float64 { return v }, constant: true, num: v, text: strconv.FormatFloat(v, 'f', -1, 64), binding: bindAtom}
	if v < 0 {
		n.binding = bindUnary
	}
	return n
}

func (c *compiler) identifier(n *ast.IdentifierNode) node {
	name := n.Value
	v, ok := valuesOn[c.on][name]
	if !ok {
		for other, values := range valuesOn {
			if _, there := values[name]; there {
				return c.fault(n, "%q is a value of on: %s; on: %s has %s", name, kindNames[other], kindNames[c.on], strings.Join(namesOn(c.on), ", "))
			}
		}
		if slices.Contains(laterValues, name) {
			return c.fault(n, "%q is not supported by this version; on: %s has %s", name, kindNames[c.on], strings.Join(namesOn(c.on), ", "))
		}
		if _, isFunction := functions[name]; isFunction || slices.Contains(laterFunctions, name) {
			return c.fault(n, "%q is a function: call it, as in %s(price)", name, name)
		}
		return c.fault(n, "unknown name %q: %s", name, didYouMean(name, namesOn(c.on)))
	}
	i := v.index
	out := node{typ: v.typ, text: name, binding: bindAtom, decimal: v.decimal, enum: v.enum}
	if v.typ == textType {
		out.str = func(x *eval) string { return x.texts[i] }
		return out
	}
	out.number = func(x *eval) float64 { return x.numbers[i] }
	c.operand(out)
	return out
}

// operand notes a number that explains the alert.
func (c *compiler) operand(n node) {
	for i := range c.cond.operands {
		if c.cond.operands[i].text == n.text {
			return
		}
	}
	c.cond.operands = append(c.cond.operands, number{n.text, n.number, n.decimal})
}

// inParentheses is the text of an operand of an operator that binds as tightly as given.
func (n node) inParentheses(binding int) string {
	if n.binding < binding {
		return "(" + n.text + ")"
	}
	return n.text
}

func (c *compiler) unary(n *ast.UnaryNode) node {
	a := c.compile(n.Node)
	switch n.Operator {
	case "-", "+":
		if a.typ != numberType {
			return c.mismatch(n, n.Operator, numberType, a)
		}
		if n.Operator == "+" {
			return a
		}
		if a.constant {
			return constantNumber(-a.num)
		}
		f := a.number
		return node{typ: numberType, number: func(x *eval) float64 { return -f(x) }, text: "-" + a.inParentheses(bindAtom), binding: bindUnary}
	case "not", "!":
		if a.typ != boolType {
			return c.mismatch(n, "not", boolType, a)
		}
		f := a.boolean
		return node{typ: boolType, boolean: func(x *eval) bool { return !f(x) }, constant: a.constant, text: "not " + a.inParentheses(bindAtom), binding: bindUnary}
	}
	return c.fault(n, "the operator %q is not part of the language", n.Operator)
}

// mismatch reports operands of the wrong type, once.
func (c *compiler) mismatch(n ast.Node, operator string, want valueType, operands ...node) node {
	for _, o := range operands {
		if o.typ == badType {
			return node{}
		}
	}
	for _, o := range operands {
		if o.typ != want {
			remedy := "compare numbers with numbers, texts with texts"
			if want == boolType {
				remedy = fmt.Sprintf("put a comparison in parentheses, as in %s (price > 100)", operator)
			}
			return c.fault(n, "%q needs a %s, but %s is a %s: %s", operator, want, o.text, o.typ, remedy)
		}
	}
	return node{}
}

func (c *compiler) binary(n *ast.BinaryNode) node {
	a := c.compile(n.Left)
	b := c.compile(n.Right)
	switch n.Operator {
	case "and", "&&", "or", "||":
		return c.logic(n, a, b)
	case "<", "<=", ">", ">=", "==", "!=":
		return c.comparison(n, a, b)
	case "+", "-", "*", "/":
		return c.arithmetic(n, a, b)
	}
	return c.fault(n, "the operator %q is not part of the language: use + - * / , < <= > >= == != , and or not", n.Operator)
}

// logic evaluates both sides always: an absent value on either side suspends the rule, whatever the other side says.
func (c *compiler) logic(n *ast.BinaryNode, a, b node) node {
	operator, binding := "and", bindAnd
	if n.Operator == "or" || n.Operator == "||" {
		operator, binding = "or", bindOr
	}
	if a.typ != boolType || b.typ != boolType {
		return c.mismatch(n, operator, boolType, a, b)
	}
	out := node{typ: boolType, constant: a.constant && b.constant, binding: binding,
		text: a.inParentheses(binding) + " " + operator + " " + b.inParentheses(binding+1)}
	f, g := a.boolean, b.boolean
	if operator == "and" {
		out.boolean = func(x *eval) bool { l, r := f(x), g(x); return l && r }
	} else {
		out.boolean = func(x *eval) bool { l, r := f(x), g(x); return l || r }
	}
	return out
}

func (c *compiler) comparison(n *ast.BinaryNode, a, b node) node {
	out := node{typ: boolType, constant: a.constant && b.constant, binding: bindCompare,
		text: a.inParentheses(bindCompare+1) + " " + n.Operator + " " + b.inParentheses(bindCompare+1)}
	switch {
	case a.typ == textType && b.typ == textType:
		for _, pair := range [][2]node{{a, b}, {b, a}} {
			if enum, lit := pair[0].enum, pair[1]; enum != nil && lit.constant && !slices.Contains(enum, lit.lit) {
				return c.fault(n, "%s is never %s: %s", pair[0].text, lit.text, didYouMean(lit.lit, enum))
			}
		}
		f, g := a.str, b.str
		switch n.Operator {
		case "==":
			out.boolean = func(x *eval) bool { return f(x) == g(x) }
		case "!=":
			out.boolean = func(x *eval) bool { return f(x) != g(x) }
		default:
			return c.fault(n, "texts have no order: compare them with == or !=")
		}
		return out
	case a.typ != numberType || b.typ != numberType:
		want := numberType
		if a.typ == textType || b.typ == textType {
			want = textType
		}
		return c.mismatch(n, n.Operator, want, a, b)
	}
	for _, side := range []node{a, b} {
		if side.constant {
			continue
		}
		c.operand(side)
		if c.cond.first == nil {
			c.cond.first = &number{side.text, side.number, side.decimal}
		}
	}
	out.boolean = compareNumbers(n.Operator, a, b)
	return out
}

// compareNumbers has closures of its own for the most common comparison, of something with a constant.
func compareNumbers(operator string, a, b node) func(*eval) bool {
	f, g := a.number, b.number
	if b.constant {
		k := b.num
		switch operator {
		case "<":
			return func(x *eval) bool { v := f(x); return x.compared(v, k) && v < k }
		case "<=":
			return func(x *eval) bool { v := f(x); return x.compared(v, k) && v <= k }
		case ">":
			return func(x *eval) bool { v := f(x); return x.compared(v, k) && v > k }
		case ">=":
			return func(x *eval) bool { v := f(x); return x.compared(v, k) && v >= k }
		}
	}
	switch operator {
	case "<":
		return func(x *eval) bool { l, r := f(x), g(x); return x.compared(l, r) && l < r }
	case "<=":
		return func(x *eval) bool { l, r := f(x), g(x); return x.compared(l, r) && l <= r }
	case ">":
		return func(x *eval) bool { l, r := f(x), g(x); return x.compared(l, r) && l > r }
	case ">=":
		return func(x *eval) bool { l, r := f(x), g(x); return x.compared(l, r) && l >= r }
	case "==":
		return func(x *eval) bool { l, r := f(x), g(x); return x.compared(l, r) && l == r }
	default:
		return func(x *eval) bool { l, r := f(x), g(x); return x.compared(l, r) && l != r }
	}
}

func (c *compiler) arithmetic(n *ast.BinaryNode, a, b node) node {
	if a.typ != numberType || b.typ != numberType {
		return c.mismatch(n, n.Operator, numberType, a, b)
	}
	binding := bindAdd
	if n.Operator == "*" || n.Operator == "/" {
		binding = bindMultiply
	}
	out := node{typ: numberType, binding: binding, text: a.inParentheses(binding) + " " + n.Operator + " " + b.inParentheses(binding+1)}
	f, g := a.number, b.number
	switch n.Operator {
	case "+":
		out.number = func(x *eval) float64 { return f(x) + g(x) }
	case "-":
		out.number = func(x *eval) float64 { return f(x) - g(x) }
	case "*":
		out.number = func(x *eval) float64 { return f(x) * g(x) }
	default:
		out.number = func(x *eval) float64 { return f(x) / g(x) }
	}
	return c.fold(n, out, a.constant && b.constant)
}

func (c *compiler) call(n ast.Node, name string, args []ast.Node) node {
	from := n.Location().From
	if from >= 2 && string(c.src[from-2:from]) == "::" || len(args) > 0 && args[0] != nil && args[0].Location().From < from {
		return c.fault(n, `"|" and "::" are not part of the language: write %s(…)`, name)
	}
	if slices.Contains(laterFunctions, name) {
		return c.fault(n, "%s() needs history, which is not supported by this version: use values, comparisons and the functions %s", name, functionNames())
	}
	arity, ok := functions[name]
	if !ok {
		return c.fault(n, "unknown function %s(): %s", name, didYouMean(name, slices.Sorted(maps.Keys(functions))))
	}
	if len(args) < arity.least || len(args) > arity.most {
		want := strconv.Itoa(arity.least)
		if arity.most > arity.least {
			want = fmt.Sprintf("%d to %d", arity.least, arity.most)
		}
		return c.fault(n, "%s() takes %s arguments, not %d", name, want, len(args))
	}
	constant, texts, fs := true, make([]string, len(args)), make([]func(*eval) float64, len(args))
	compiled := make([]node, len(args))
	for i, arg := range args {
		a := c.compile(arg)
		compiled[i], texts[i], fs[i] = a, a.text, a.number
		constant = constant && a.constant
	}
	for i := range compiled {
		if compiled[i].typ != numberType {
			return c.mismatch(n, name, numberType, compiled...)
		}
	}
	out := node{typ: numberType, text: name + "(" + strings.Join(texts, ", ") + ")", binding: bindAtom}
	f := fs[0]
	switch name {
	case "abs":
		out.number = func(x *eval) float64 { return math.Abs(f(x)) }
	case "log":
		out.number = func(x *eval) float64 { return math.Log(f(x)) }
	case "sqrt":
		out.number = func(x *eval) float64 { return math.Sqrt(f(x)) }
	case "min":
		out.number = func(x *eval) float64 {
			v := f(x)
			for _, g := range fs[1:] {
				v = min(v, g(x))
			}
			return v
		}
	case "max":
		out.number = func(x *eval) float64 {
			v := f(x)
			for _, g := range fs[1:] {
				v = max(v, g(x))
			}
			return v
		}
	}
	return c.fold(n, out, constant)
}

// fold computes what is constant once, and refuses a constant that is no number (1/0): it would suspend the rule for ever.
func (c *compiler) fold(n ast.Node, out node, constant bool) node {
	if !constant {
		return out
	}
	v := out.number(nil)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return c.fault(n, "%s is not a number: the rule would never be evaluated", out.text)
	}
	return constantNumber(v)
}
