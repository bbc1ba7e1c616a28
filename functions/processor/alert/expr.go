package alert

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"example.com/market-data-pipeline/functions/processor/market"
)

// eval is what compiled expressions read: the values of the event that is evaluated. It belongs to one State, so that
// one compiled rule serves any number of goroutines.
type eval struct {
	numbers [numberCount]float64
	texts   [textCount]string
	// values are the current values of all slots of the state, local tells where among them the slots of the rule are
	// that is evaluated: a rule is compiled once, for every program that it is part of.
	values []float64
	local  []int
	args   [maxArguments]float64 // of the slot that steps
	// undefined is set when a number that is compared is NaN or infinite: the evaluation must have no effect.
	undefined bool
}

// Where eval holds the values. Rules of one kind only ever see that kind's.
const (
	iPrice, iSize = 0, 1

	iBid, iAsk, iBidSize, iAskSize, iMid, iSpread, iSpreadBPS = 0, 1, 2, 3, 4, 5, 6

	iOpen, iHigh, iLow, iClose, iVolume, iBarVWAP, iTrades = 0, 1, 2, 3, 4, 5, 6

	iSilence = 0

	numberCount = 7

	iSide, iVenue = 0, 1

	iState, iReason = 0, 1

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

// valueType is the type of an expression. A badType has been reported and could be any: what contains it is only
// reported if it is wrong whatever that is.
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

// onSilence stands for on: silence, which only the clock can notice.
const onSilence = market.Clock

// valuesOn are the names of the kinds that rules can watch, without the day's values.
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
	market.Bar: {
		"open":     {numberType, iOpen, true, nil},
		"high":     {numberType, iHigh, true, nil},
		"low":      {numberType, iLow, true, nil},
		"close":    {numberType, iClose, true, nil},
		"volume":   {numberType, iVolume, true, nil},
		"bar_vwap": {numberType, iBarVWAP, false, nil},
		"trades":   {numberType, iTrades, true, nil},
	},
	market.Status: {
		"state":  {textType, iState, false, nil},
		"reason": {textType, iReason, false, nil},
	},
}

// dayInputs are the values of an event that the day's values are made of, in the order of dayValues.
var dayInputs = map[market.Kind][len(dayValues)]string{
	market.Trade: {"price", "price", "price", "price"},
	market.Quote: {"mid", "mid", "mid", "mid"},
	market.Bar:   {"open", "high", "low", "close"},
}

var kindNames = map[market.Kind]string{market.Trade: "trade", market.Quote: "quote", market.Bar: "bar", market.Status: "status", onSilence: "silence"}

// namesOn are the names of all values of a kind, sorted.
func namesOn(on market.Kind) []string {
	names := slices.Collect(maps.Keys(valuesOn[on]))
	if _, ok := dayInputs[on]; ok {
		names = append(names, dayValues[:]...)
	}
	slices.Sort(names)
	return names
}

// functions are the functions without history, with their least and greatest number of arguments.
var functions = map[string]struct{ least, most int }{
	"abs": {1, 1}, "log": {1, 1}, "sqrt": {1, 1}, "min": {2, 8}, "max": {2, 8},
}

// history are the functions over past values: their arguments are series numbers, then a constant length, then a
// constant factor.
var history = map[string]struct {
	series         int
	length, factor bool
	// inputs are the values that the function reads itself, by kind; it has no arguments of its own for them.
	inputs map[market.Kind][]string
}{
	"prev": {series: 1, length: true}, "sma": {series: 1, length: true}, "sum": {series: 1, length: true},
	"highest": {series: 1, length: true}, "lowest": {series: 1, length: true}, "stdev": {series: 1, length: true},
	"ema": {series: 1, length: true}, "rma": {series: 1, length: true}, "rsi": {series: 1, length: true},
	"change": {series: 1, length: true}, "roc": {series: 1, length: true}, "zscore": {series: 1, length: true},
	"bb_upper": {series: 1, length: true, factor: true}, "bb_lower": {series: 1, length: true, factor: true},
	"atr": {length: true, inputs: map[market.Kind][]string{market.Bar: {"high", "low", "close"}}},
	// A trade is a bar of its own: its price three times.
	"vwap":      {inputs: map[market.Kind][]string{market.Bar: {"high", "low", "close", "volume"}, market.Trade: {"price", "price", "price", "size"}}},
	"crossover": {series: 2}, "crossunder": {series: 2},
}

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
	term     term // what it is compiled from; of a silence's nothing
	test     func(*eval) bool
	text     string // canonical: equal for expressions that differ in layout only
	constant bool
	// momentary conditions contain a crossing that must be true: they hold for one evaluation at a time.
	momentary bool
	// first is the non-constant side of the first comparison of numbers; nil where no numbers are compared.
	first *number
	// operands are the non-constant numbers in the order of the text, each once: sides of comparisons, and values.
	operands []number
}

// term is a part of an expression as it is written: what a parsed expression becomes, and what compiled rules hold.
type term struct {
	kind termKind
	// text is a number as written, a text, "true", a name, an operator, a function; of a part that is refused, why.
	text  string
	parts []term
	at    int // rune offset in the source, for faults
}

type termKind uint8

const (
	numberTerm termKind = iota
	textTerm
	truthTerm
	nameTerm
	operatorTerm // of one part or two
	callTerm
	refusedTerm // its parts are only looked at for their mistakes
)

// compile checks and compiles an expression of the rule, whose kind, interval, session and max_gap are known, and adds its
// slots to the rule's. It reports every mistake; the condition is only valid without faults.
func (r *rule) compile(t term) (*condition, []fault) {
	c := compiler{rule: r, on: r.on, cond: &condition{term: t}}
	n := c.compile(t)
	if n.typ != boolType && n.typ != badType {
		c.fault(t, "%s is a %s, but a rule needs a condition that is true or false: compare it, as in %q", n.text, n.typ, n.text+" > 1")
	}
	c.cond.test, c.cond.text, c.cond.constant, c.cond.momentary = n.boolean, n.text, n.constant, n.momentary
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

	momentary bool // see condition
	daily     bool // reads a value of the day

	plain *argument // of a number that is a value of the event or a slot, nothing else
}

func (n *node) argument() argument {
	if n.plain != nil {
		return *n.plain
	}
	return argument{expression: n.number}
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
	rule   *rule
	on     market.Kind
	cond   *condition
	faults []fault
}

func (c *compiler) fault(t term, format string, args ...any) node {
	c.faults = append(c.faults, fault{t.at, fmt.Sprintf(format, args...)})
	return node{text: "…", binding: bindAtom}
}

// broken reports a fault in a part whose type is known all the same. Like a part with a wrong operand, it has no
// functions that could be called.
func (c *compiler) broken(typ valueType, text string, t term, format string, args ...any) node {
	c.fault(t, format, args...)
	return node{typ: typ, text: text, binding: bindAtom}
}

// inside compiles the parts of one that is refused, for their mistakes.
func (c *compiler) inside(parts []term) {
	for _, t := range parts {
		c.compile(t)
	}
}

func (c *compiler) compile(t term) node {
	switch t.kind {
	case numberTerm:
		return c.literal(t)
	case textTerm:
		v := t.text
		return node{typ: textType, str: func(*eval) string { return v }, constant: true, lit: v, text: strconv.Quote(v), binding: bindAtom}
	case truthTerm:
		v := t.text == "true"
		return node{typ: boolType, boolean: func(*eval) bool { return v }, constant: true, text: strconv.FormatBool(v), binding: bindAtom}
	case nameTerm:
		return c.identifier(t)
	case operatorTerm:
		if len(t.parts) == 1 {
			return c.unary(t)
		}
		return c.binary(t)
	case callTerm:
		return c.call(t)
	default:
		c.inside(t.parts)
		return c.fault(t, "%s", t.text)
	}
}

func functionList() []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range functions {
			if !yield(name) {
				return
			}
		}
		for name := range history {
			if !yield(name) {
				return
			}
		}
	})
}

// literal converts through the same fixed point as prices, so that the literal 200.1 equals the price 200.1.
func (c *compiler) literal(t term) node {
	text := t.text
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || len(text) > 1 && strings.ContainsAny(text[1:2], "xXbBoO") {
		return c.broken(numberType, text, t, "%s is not a decimal number: write digits, as in 1000 or 0.25", text)
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
	if math.Abs(v) >= 1<<63 { // beyond what the parser reads as an integer
		n.text += ".0"
	}
	return n
}

func (c *compiler) identifier(t term) node {
	name := t.text
	if i := slices.Index(dayValues[:], name); i >= 0 {
		inputs, ok := dayInputs[c.on]
		if !ok {
			return c.broken(numberType, name, t, "%q has no meaning on: %s, which has %s", name, kindNames[c.on], strings.Join(namesOn(c.on), ", "))
		}
		out := c.slot(slotDef{text: name, definition: defined(name, 0, 0), args: inputsOf(c.on, inputs[i:i+1]), daily: true, restarts: true})
		out.decimal = true
		c.operand(out)
		return out
	}
	v, ok := valuesOn[c.on][name]
	if !ok {
		for other, values := range valuesOn {
			if v, there := values[name]; there {
				return c.broken(v.typ, name, t, "%q is a value of on: %s; on: %s has %s", name, kindNames[other], kindNames[c.on], strings.Join(namesOn(c.on), ", "))
			}
		}
		if slices.Contains(functionList(), name) {
			return c.broken(badType, name, t, "%q is a function: call it, as in %s", name, usage(name))
		}
		return c.broken(badType, name, t, "unknown name %q: %s", name, didYouMean(name, namesOn(c.on)))
	}
	i := v.index
	out := node{typ: v.typ, text: name, binding: bindAtom, decimal: v.decimal, enum: v.enum}
	if v.typ == textType {
		out.str = func(x *eval) string { return x.texts[i] }
		return out
	}
	out.number, out.plain = func(x *eval) float64 { return x.numbers[i] }, &argument{number: i}
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

func (c *compiler) unary(t term) node {
	a := c.compile(t.parts[0])
	switch t.text {
	case "-", "+":
		c.mismatch(t, t.text, numberType, a)
		if t.text == "+" && a.typ == numberType {
			return a
		}
		if a.constant && a.typ == numberType {
			return constantNumber(-a.num)
		}
		f := a.number
		return node{typ: numberType, number: func(x *eval) float64 { return -f(x) }, text: "-" + a.inParentheses(bindAtom), binding: bindUnary, daily: a.daily}
	case "not", "!":
		c.mismatch(t, "not", boolType, a)
		f := a.boolean
		return node{typ: boolType, boolean: func(x *eval) bool { return !f(x) }, constant: a.constant, text: "not " + a.inParentheses(bindAtom), binding: bindUnary}
	}
	return c.fault(t, "the operator %q is not part of the language", t.text)
}

// mismatch reports each operand of a wrong type, and tells whether all are right.
func (c *compiler) mismatch(t term, operator string, want valueType, operands ...node) (right bool) {
	right = true
	for _, o := range operands {
		if o.typ == want {
			continue
		}
		right = false
		if o.typ == badType {
			continue
		}
		remedy := "compare numbers with numbers, texts with texts"
		if want == boolType {
			remedy = fmt.Sprintf("put a comparison in parentheses, as in %s (price > 100)", operator)
		}
		c.fault(t, "%q needs a %s, but %s is a %s: %s", operator, want, o.text, o.typ, remedy)
	}
	return right
}

func (c *compiler) binary(t term) node {
	a := c.compile(t.parts[0])
	b := c.compile(t.parts[1])
	switch t.text {
	case "and", "&&", "or", "||":
		return c.logic(t, a, b)
	case "<", "<=", ">", ">=", "==", "!=":
		return c.comparison(t, a, b)
	case "+", "-", "*", "/":
		return c.arithmetic(t, a, b)
	}
	return c.fault(t, "the operator %q is not part of the language: use + - * / , < <= > >= == != , and or not", t.text)
}

// logic evaluates both sides always: an absent value on either side suspends the rule, whatever the other side says.
func (c *compiler) logic(t term, a, b node) node {
	operator, binding := "and", bindAnd
	if t.text == "or" || t.text == "||" {
		operator, binding = "or", bindOr
	}
	c.mismatch(t, operator, boolType, a, b)
	out := node{typ: boolType, constant: a.constant && b.constant, binding: binding,
		text: a.inParentheses(binding) + " " + operator + " " + b.inParentheses(binding+1)}
	f, g := a.boolean, b.boolean
	if operator == "and" {
		out.momentary = a.momentary || b.momentary
		out.boolean = func(x *eval) bool { l, r := f(x), g(x); return l && r }
	} else {
		out.momentary = a.momentary && b.momentary
		out.boolean = func(x *eval) bool { l, r := f(x), g(x); return l || r }
	}
	return out
}

func (c *compiler) comparison(t term, a, b node) node {
	out := node{typ: boolType, constant: a.constant && b.constant, binding: bindCompare,
		text: a.inParentheses(bindCompare+1) + " " + t.text + " " + b.inParentheses(bindCompare+1)}
	switch {
	case a.typ == textType && b.typ == textType:
		for _, pair := range [][2]node{{a, b}, {b, a}} {
			if enum, lit := pair[0].enum, pair[1]; enum != nil && lit.constant && !slices.Contains(enum, lit.lit) {
				c.fault(t, "%s is never %s: %s", pair[0].text, lit.text, didYouMean(lit.lit, enum))
			}
		}
		f, g := a.str, b.str
		switch t.text {
		case "==":
			out.boolean = func(x *eval) bool { return f(x) == g(x) }
		case "!=":
			out.boolean = func(x *eval) bool { return f(x) != g(x) }
		default:
			c.fault(t, textOrder)
		}
		return out
	case a.typ == textType || b.typ == textType:
		c.mismatch(t, t.text, textType, a, b)
		if (a.typ == badType || b.typ == badType) && t.text != "==" && t.text != "!=" {
			c.fault(t, textOrder)
		}
		return out
	case !c.mismatch(t, t.text, numberType, a, b):
		return out
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
	out.boolean = compareNumbers(t.text, a, b)
	return out
}

const textOrder = "texts have no order: compare them with == or !="

// compareNumbers has closures of its own for the most common comparisons: of a value of the event, or of anything, with
// a constant.
func compareNumbers(operator string, a, b node) func(*eval) bool {
	f, g, k := a.number, b.number, b.num
	if b.constant && a.plain != nil && a.plain.number >= 0 {
		i := a.plain.number
		switch operator {
		case "<":
			return func(x *eval) bool { v := x.numbers[i]; return x.compared(v, k) && v < k }
		case "<=":
			return func(x *eval) bool { v := x.numbers[i]; return x.compared(v, k) && v <= k }
		case ">":
			return func(x *eval) bool { v := x.numbers[i]; return x.compared(v, k) && v > k }
		case ">=":
			return func(x *eval) bool { v := x.numbers[i]; return x.compared(v, k) && v >= k }
		}
	}
	if b.constant {
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

func (c *compiler) arithmetic(t term, a, b node) node {
	right := c.mismatch(t, t.text, numberType, a, b)
	binding := bindAdd
	if t.text == "*" || t.text == "/" {
		binding = bindMultiply
	}
	out := node{typ: numberType, binding: binding, daily: a.daily || b.daily, text: a.inParentheses(binding) + " " + t.text + " " + b.inParentheses(binding+1)}
	f, g := a.number, b.number
	switch t.text {
	case "+":
		out.number = func(x *eval) float64 { return f(x) + g(x) }
	case "-":
		out.number = func(x *eval) float64 { return f(x) - g(x) }
	case "*":
		out.number = func(x *eval) float64 { return f(x) * g(x) }
	default:
		out.number = func(x *eval) float64 { return f(x) / g(x) }
	}
	return c.fold(t, out, right && a.constant && b.constant)
}

func (c *compiler) call(t term) node {
	name, args := t.text, t.parts
	if _, ok := history[name]; ok {
		return c.historyCall(t)
	}
	arity, ok := functions[name]
	if !ok {
		c.inside(args)
		if slices.Contains(namesOn(c.on), name) {
			return c.broken(badType, name, t, "%q is a value: write it without parentheses", name)
		}
		return c.broken(badType, name+"(…)", t, "unknown function %s(): %s", name, didYouMean(name, functionList()))
	}
	if len(args) < arity.least || len(args) > arity.most {
		c.inside(args)
		want := strconv.Itoa(arity.least)
		if arity.most > arity.least {
			want = fmt.Sprintf("%d to %d", arity.least, arity.most)
		}
		return c.broken(numberType, name+"(…)", t, "%s() takes %s arguments, not %d", name, want, len(args))
	}
	constant, texts, fs := true, make([]string, len(args)), make([]func(*eval) float64, len(args))
	compiled := make([]node, len(args))
	for i, arg := range args {
		a := c.compile(arg)
		compiled[i], texts[i], fs[i] = a, a.text, a.number
		constant = constant && a.constant
	}
	constant = c.mismatch(t, name, numberType, compiled...) && constant
	out := node{typ: numberType, text: name + "(" + strings.Join(texts, ", ") + ")", binding: bindAtom}
	for i := range compiled {
		out.daily = out.daily || compiled[i].daily
	}
	f := fs[0]
	switch name {
	case "abs":
		out.number = func(x *eval) float64 { return math.Abs(f(x)) }
	case "log":
		out.number = func(x *eval) float64 { return logarithm(f(x)) }
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
	return c.fold(t, out, constant)
}

// usage is a call of a function, as an example.
func usage(name string) string {
	if _, plain := functions[name]; plain {
		return name + "(price)"
	}
	var args []string
	h := history[name]
	for i := range h.series {
		args = append(args, []string{"a", "b"}[i])
	}
	if h.series == 1 {
		args[0] = "x"
	}
	if h.length {
		args = append(args, "20")
	}
	if h.factor {
		args = append(args, "2")
	}
	return name + "(" + strings.Join(args, ", ") + ")"
}

func inputsOf(on market.Kind, names []string) []argument {
	args := make([]argument, len(names))
	for i, name := range names {
		args[i].number = valuesOn[on][name].index
	}
	return args
}

// historyCall turns a call of a function over past values into a slot of the rule.
func (c *compiler) historyCall(t term) node {
	name, args := t.text, t.parts
	h := history[name]
	want := h.series
	if h.length {
		want++
	}
	if h.factor {
		want++
	}
	broken := node{typ: numberType, text: name + "(…)", binding: bindAtom}
	if h.series == 2 {
		broken.typ, broken.momentary = boolType, true
	}
	if len(args) != want {
		c.inside(args)
		c.fault(t, "%s() takes %d arguments, not %d: write %s", name, want, len(args), usage(name))
		return broken
	}
	var d slotDef
	length, factor := 0, 0.0
	if h.inputs != nil {
		inputs, ok := h.inputs[c.on]
		if !ok {
			c.inside(args)
			c.fault(t, "%s() has no meaning on: %s, use it on: bar", name, kindNames[c.on])
			return broken
		}
		d.args, d.daily, d.restarts = inputsOf(c.on, inputs), name == "vwap", name == "vwap"
	}
	compiled, texts := make([]node, want), make([]string, want)
	bad, constant := false, h.series > 0
	for i, arg := range args {
		a := c.compile(arg)
		compiled[i], texts[i] = a, a.text
		switch {
		case a.typ == badType:
			bad = true
		case a.typ != numberType:
			c.mismatch(t, name, numberType, a)
			bad = true
		case i < h.series:
			d.args, d.daily, constant = append(d.args, a.argument()), d.daily || a.daily, constant && a.constant
		case i == h.series: // the length
			if length = int(a.num); !a.constant || a.num != math.Trunc(a.num) || a.num < 1 || a.num > maxLength {
				c.fault(arg, "the length of %s is %s, but lengths are whole numbers from 1 to %d: write %s", name, a.text, maxLength, usage(name))
				bad = true
			}
		default:
			if factor = a.num; !a.constant || a.num <= 0 || a.num > maxFactor {
				c.fault(arg, "the factor of %s is %s, but a factor is a number above 0, at most %d: write %s", name, a.text, int(maxFactor), usage(name))
				bad = true
			}
		}
	}
	switch {
	case bad:
		return broken
	case constant:
		c.fault(t, "%s(%s) never changes: use a value, as in %s(%s)", name, strings.Join(texts, ", "), name, namesOn(c.on)[0])
		return broken
	}
	d.text, d.definition = name+"("+strings.Join(texts, ", ")+")", defined(name, length, factor)
	out := c.slot(d)
	if h.series != 2 {
		// The values of these are values that the feed sent.
		out.decimal = h.series == 1 && compiled[0].decimal && slices.Contains([]string{"prev", "highest", "lowest"}, name)
		return out
	}
	return c.crossing(out, compiled[0], compiled[1])
}

// crossing makes a condition of the slot of crossover or crossunder, which is 1 where the lines cross.
func (c *compiler) crossing(slot, a, b node) node {
	for _, side := range []node{a, b} {
		if !side.constant {
			c.operand(side)
			if c.cond.first == nil {
				c.cond.first = &number{side.text, side.number, side.decimal}
			}
		}
	}
	// The slot has a value only where both lines are numbers.
	crossed := slot.plain.slot
	return node{typ: boolType, text: slot.text, binding: bindAtom, momentary: true, daily: slot.daily, boolean: func(x *eval) bool {
		v := x.values[x.local[crossed]]
		return x.compared(v, 1) && v == 1
	}}
}

const maxFactor = 1e6

// defined is define for what the compiler has checked.
func defined(name string, length int, factor float64) definition {
	d, ok := define(name, length, factor)
	if !ok {
		panic("alert: no function " + name) // the tables of functions disagree
	}
	return d
}

// slot is the value of a slot of the rule, one for all calls of the same text.
func (c *compiler) slot(d slotDef) node {
	r, scope := c.rule, []string{"slot", c.rule.stream().text(), d.text}
	if d.daily {
		scope = append(scope, "session", r.daySession().text)
	}
	if !d.restarts && r.maxGap > 0 {
		scope = append(scope, "max_gap", strconv.FormatInt(r.maxGap, 10))
	}
	d.hash = hash(scope...)
	k := slices.IndexFunc(r.slots, func(o slotDef) bool { return o.hash == d.hash })
	if k < 0 {
		k = len(r.slots)
		r.slots = append(r.slots, d)
	}
	return node{typ: numberType, text: d.text, binding: bindAtom, daily: d.daily, plain: &argument{number: -1, slot: k},
		number: func(x *eval) float64 { return x.values[x.local[k]] }}
}

// fold computes what is constant once, and refuses a constant that is no number (1/0): it would suspend the rule for ever.
func (c *compiler) fold(t term, out node, constant bool) node {
	if !constant {
		return out
	}
	v := out.number(nil)
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return c.broken(numberType, out.text, t, "%s is not a number: the rule would never be evaluated", out.text)
	}
	return constantNumber(v)
}
