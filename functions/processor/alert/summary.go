package alert

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode/utf8"

	"example.com/market-data-pipeline/functions/processor/market"
)

const (
	maxTemplate = 2000 // bytes
	maxSummary  = 1024 // bytes of rendered text
)

// plain is a number in a template: {{ .value }} prints 6 significant digits without exponent, and printf "%.2f" and if
// see a number.
type plain float64

func (n plain) String() string {
	v := float64(n)
	if math.IsNaN(v) {
		return "unknown"
	}
	v, _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// decimal is a price or a size in a template: it prints every digit that the feed sent, as far as a float64 holds them
// (15 digits).
type decimal float64

func (n decimal) String() string {
	v := float64(n)
	if math.IsNaN(v) {
		return "unknown"
	}
	whole := len(strconv.FormatFloat(math.Trunc(math.Abs(v)), 'f', 0, 64))
	s := strconv.FormatFloat(v, 'f', min(9, max(0, 15-whole)), 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// recordNames are the fields of the alert that templates may use beside the values of the event.
var recordNames = []string{"symbol", "source", "rule", "severity", "labels", "value", "price", "timestamp", "event_id", "sequence", "venue"}

// summaryTemplate is a rule's checked summary. What it may contain cannot fail or grow when an alert fires: text,
// fields, if/else over a field or an eq/ne of a field and a text, and printf with one verb for one field.
type summaryTemplate struct {
	t    *template.Template
	days []number // the values of the day that it prints
}

// templateCheck walks a parsed template.
type templateCheck struct {
	src    string
	names  []string // every field
	labels []string
	isText map[string]bool
	used   map[string]bool
	faults []fault
}

func compileSummary(src string, r *rule) (summaryTemplate, []fault) {
	if len(src) > maxTemplate {
		return summaryTemplate{}, []fault{{0, fmt.Sprintf("the summary has %d bytes, the limit is %d", len(src), maxTemplate)}}
	}
	t, err := template.New("summary").Option("missingkey=error").Parse(src)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "template: summary:")
		if strings.Contains(text, "function") && strings.Contains(text, "not defined") {
			text += " (write fields with a dot, as in {{ .price }})"
		}
		return summaryTemplate{}, []fault{{0, "summary, line " + text}}
	}
	c := templateCheck{src: src, names: slices.Clone(recordNames), isText: map[string]bool{}, used: map[string]bool{}}
	for _, n := range []string{"symbol", "source", "rule", "severity", "timestamp", "event_id", "sequence", "venue"} {
		c.isText[n] = true
	}
	for _, n := range namesOn(r.on) {
		c.isText[n] = valuesOn[r.on][n].typ == textType
		if !slices.Contains(c.names, n) {
			c.names = append(c.names, n)
		}
	}
	slices.Sort(c.names)
	for _, l := range r.labels {
		c.labels = append(c.labels, l.Name)
	}
	if len(t.Templates()) > 1 {
		c.faults = append(c.faults, fault{0, "a summary cannot define templates"})
	}
	if t.Tree != nil {
		c.list(t.Tree.Root)
	}
	// A value of the day that the summary prints is kept for it, as for an expression.
	var days []number
	for _, name := range dayValues {
		if _, ok := dayInputs[r.on]; ok && c.used[name] {
			e := compiler{rule: r, on: r.on, cond: &condition{}}
			n := e.identifier(term{kind: nameTerm, text: name})
			days = append(days, number{n.text, n.number, n.decimal})
		}
	}
	return summaryTemplate{t, days}, c.faults
}

func (c *templateCheck) fault(n parse.Node, format string, args ...any) {
	offset := utf8.RuneCountInString(c.src[:min(int(n.Position()), len(c.src))])
	c.faults = append(c.faults, fault{offset, fmt.Sprintf(format, args...)})
}

func (c *templateCheck) list(l *parse.ListNode) {
	if l == nil {
		return
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.TextNode, *parse.CommentNode:
		case *parse.ActionNode:
			c.pipe(n.Pipe, false)
		case *parse.IfNode:
			c.pipe(n.Pipe, true)
			c.list(n.List)
			c.list(n.ElseList)
		default:
			c.fault(n, "a summary has text, {{ .field }}, {{ if .field }}…{{ else }}…{{ end }} and printf, nothing else")
		}
	}
}

// printfFormat allows one verb with a bounded width and precision, so that a rendered field stays small.
var printfFormat = regexp.MustCompile(`^(?:[^%]|%%)*%[-+ 0]*[0-9]{0,2}(?:\.[0-9]{0,2})?([vsqfeg])(?:[^%]|%%)*$`)

func (c *templateCheck) pipe(p *parse.PipeNode, isCondition bool) {
	if len(p.Decl) > 0 {
		c.fault(p, "a summary has no variables: use the fields %s", strings.Join(c.names, ", "))
		return
	}
	var args []parse.Node
	switch {
	case len(p.Cmds) == 1:
		args = p.Cmds[0].Args
	case len(p.Cmds) == 2 && len(p.Cmds[0].Args) == 1: // {{ .value | printf "%.2f" }}
		args = append(slices.Clone(p.Cmds[1].Args), p.Cmds[0].Args[0])
	default:
		c.fault(p, `write one field, or printf with a format and one field, as in {{ printf "%%.2f" .value }}`)
		return
	}
	if len(args) == 1 {
		c.field(args[0])
		return
	}
	function, ok := args[0].(*parse.IdentifierNode)
	switch {
	case !ok:
		c.fault(p, `write one field, or printf with a format and one field, as in {{ printf "%%.2f" .value }}`)
	case function.Ident == "printf" && !isCondition:
		c.printf(function, args[1:])
	case (function.Ident == "eq" || function.Ident == "ne") && isCondition:
		if len(args) != 3 {
			c.fault(function, `%s compares a field with a text, as in {{ if eq .venue "Q" }}`, function.Ident)
			return
		}
		_, isText := c.field(args[1])
		if _, isString := args[2].(*parse.StringNode); !isText || !isString {
			c.fault(function, `%s compares a text field with a text, as in {{ if eq .venue "Q" }}`, function.Ident)
		}
	default:
		c.fault(function, "the function %s is not available in a summary here: printf prints a field, eq and ne compare one in an if", function.Ident)
	}
}

func (c *templateCheck) printf(function parse.Node, args []parse.Node) {
	if len(args) != 2 {
		c.fault(function, `printf takes a format and one field, as in {{ printf "%%.2f" .value }}`)
		return
	}
	name, isText := c.field(args[1])
	format, ok := args[0].(*parse.StringNode)
	if !ok {
		c.fault(function, `printf's format is a text, as in {{ printf "%%.2f" .value }}`)
		return
	}
	m := printfFormat.FindStringSubmatch(format.Text)
	if m == nil {
		c.fault(format, "printf's format %s needs exactly one of %%v %%s %%q %%f %%e %%g, with at most two digits of width and of precision", format.Quoted)
		return
	}
	if numeric := strings.Contains("feg", m[1]); name != "" && numeric == isText && m[1] != "v" && m[1] != "s" {
		c.fault(format, "printf's %%%s does not fit %q: use %%v", m[1], name)
	}
}

// field checks that n is a field of the alert, and tells its name ("" where it is none) and whether it is a text.
func (c *templateCheck) field(n parse.Node) (name string, isText bool) {
	f, ok := n.(*parse.FieldNode)
	if !ok {
		if id, ok := n.(*parse.IdentifierNode); ok && slices.Contains(c.names, id.Ident) {
			c.fault(n, "write fields with a dot: {{ .%s }}", id.Ident)
			return "", false
		}
		c.fault(n, "%s is not a field: use {{ .name }} with one of %s", n, strings.Join(c.names, ", "))
		return "", false
	}
	name = f.Ident[0]
	switch {
	case !slices.Contains(c.names, name):
		c.fault(n, "unknown field %q: %s", name, didYouMean(name, c.names))
		return "", false
	case name == "labels":
		if len(f.Ident) != 2 {
			c.fault(n, "write the label's name, as in {{ .labels.desk }}")
			return "", false
		}
		if !slices.Contains(c.labels, f.Ident[1]) {
			remedy := "this rule has no labels"
			if len(c.labels) > 0 {
				remedy = didYouMean(f.Ident[1], c.labels)
			}
			c.fault(n, "unknown label %q: %s", f.Ident[1], remedy)
			return "", false
		}
		return "labels." + f.Ident[1], true
	case len(f.Ident) > 1:
		c.fault(n, "%q has no fields of its own", name)
		return "", false
	}
	c.used[name] = true
	return name, c.isText[name]
}

// render writes the summary of a, whose every other field is set, for the values that fired it.
func (r *rule) render(a *Alert, x *eval) string {
	if r.summary.t == nil && a.Price == 0 {
		return cut(fmt.Sprintf("%s: %s on %s", r.name, r.condition.text, a.Symbol), maxSummary)
	}
	if r.summary.t == nil {
		return cut(fmt.Sprintf("%s: %s on %s, price %s", r.name, r.condition.text, a.Symbol, a.Price), maxSummary)
	}
	data := map[string]any{
		"symbol": a.Symbol, "source": a.Source, "rule": a.Rule, "severity": string(a.Severity),
		"price": decimal(a.Price.Float()), "timestamp": market.FormatTime(a.Time), "event_id": a.EventID,
		"sequence": "", "venue": a.Venue,
	}
	labels := make(map[string]string, len(a.Labels))
	for _, l := range a.Labels {
		labels[l.Name] = l.Value
	}
	data["labels"] = labels
	if a.HasSeq {
		data["sequence"] = strconv.FormatInt(a.Sequence, 10)
	}
	printed := func(v float64, isDecimal bool) any {
		if isDecimal {
			return decimal(v)
		}
		return plain(v)
	}
	for name, v := range valuesOn[r.on] {
		if v.typ == textType {
			data[name] = x.texts[v.index]
		} else {
			data[name] = printed(x.numbers[v.index], v.decimal)
		}
	}
	for _, d := range r.summary.days {
		data[d.text] = printed(d.of(x), d.decimal)
	}
	data["value"] = printed(a.Value, r.condition.first == nil || r.condition.first.decimal)
	var b strings.Builder
	if err := r.summary.t.Execute(&b, data); err != nil {
		return cut(fmt.Sprintf("%s on %s (its summary cannot be rendered: %v)", r.name, a.Symbol, err), maxSummary)
	}
	return cut(b.String(), maxSummary)
}

// cut bounds s at a rune's boundary.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}
