package alert

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
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

// fieldNames are all fields of a summary, sorted.
func fieldNames(on market.Kind) []string {
	names := append(slices.Clone(recordNames), namesOn(on)...)
	slices.Sort(names)
	return slices.Compact(names)
}

// segment is a part of a summary. What it may be cannot fail or grow when an alert fires: a text, a field, printf with one
// verb for one field, if/else over a field or an eq/ne of a field and a text.
type segment struct {
	kind segmentKind
	// text is the text itself; the format that a field is printed by, "" = as it is; what eq and ne compare with.
	text            string
	field           string // a label's is "labels.name"
	then, otherwise []segment

	at, textAt int                     // rune offsets of the field and of the text in the source, for faults
	value      func(*Alert, *eval) any // the field's: a string, a plain or a decimal
}

type segmentKind uint8

const (
	textSegment segmentKind = iota
	printSegment
	ifSegment
	ifEqualSegment
	ifUnequalSegment
)

// compileSummary compiles the segments of the rule's summary, whose kind, session, labels and conditions are known, and adds the
// slots of the day's values that it prints to the rule's.
func (r *rule) compileSummary(segments []segment) []fault {
	c := summaryCompiler{rule: r, days: map[string]node{}}
	// A value of the day that the summary prints is kept for it, as for an expression.
	if _, ok := dayInputs[r.on]; ok {
		for _, name := range dayValues {
			if mentions(segments, name) {
				e := compiler{rule: r, on: r.on, cond: &condition{}}
				c.days[name] = e.identifier(term{kind: nameTerm, text: name})
			}
		}
	}
	c.compile(segments)
	r.summary = segments
	return c.faults
}

func mentions(segments []segment, field string) bool {
	return slices.ContainsFunc(segments, func(s segment) bool {
		name, _, _ := strings.Cut(s.field, ".")
		return name == field || mentions(s.then, field) || mentions(s.otherwise, field)
	})
}

// summaryCompiler checks segments, and finds the values of their fields.
type summaryCompiler struct {
	rule   *rule
	days   map[string]node
	faults []fault
}

func (c *summaryCompiler) fault(at int, format string, args ...any) {
	c.faults = append(c.faults, fault{at, fmt.Sprintf(format, args...)})
}

func (c *summaryCompiler) compile(segments []segment) {
	for i := range segments {
		s := &segments[i]
		if s.kind == textSegment {
			continue
		}
		isText := false
		s.value, isText = c.field(s.at, s.field)
		switch {
		case s.kind == printSegment && s.text != "":
			verb, ok := printfVerb(s.text)
			if !ok {
				c.fault(s.textAt, "printf's format %q needs exactly one of %%v %%s %%q %%f %%e %%g, with at most two digits of width and of precision", s.text)
			} else if s.value != nil && verb != 'v' && verb != 's' && (verb == 'q') != isText {
				c.fault(s.textAt, "printf's %%%c does not fit %q: use %%v", verb, s.field)
			}
		case (s.kind == ifEqualSegment || s.kind == ifUnequalSegment) && s.value != nil && !isText:
			c.fault(s.textAt, comparesTexts, map[segmentKind]string{ifEqualSegment: "eq", ifUnequalSegment: "ne"}[s.kind])
		}
		c.compile(s.then)
		c.compile(s.otherwise)
	}
}

const comparesTexts = `%s compares a text field with a text, as in {{ if eq .venue "Q" }}`

// printfVerb is the only verb of a format, whose width and precision are bounded so that a rendered field stays small.
func printfVerb(format string) (verb byte, ok bool) {
	for {
		_, rest, found := strings.Cut(format, "%")
		if !found {
			return verb, verb != 0
		}
		if strings.HasPrefix(rest, "%") {
			format = rest[1:]
			continue
		}
		rest = twoDigits(strings.TrimLeft(rest, "-+ 0"))
		if precise, ok := strings.CutPrefix(rest, "."); ok {
			rest = twoDigits(precise)
		}
		if verb != 0 || rest == "" || !strings.Contains("vsqfeg", rest[:1]) {
			return 0, false
		}
		verb, format = rest[0], rest[1:]
	}
}

// twoDigits is s without its first digits, of which it drops two at most.
func twoDigits(s string) string {
	for i := 0; i < 2 && s != "" && '0' <= s[0] && s[0] <= '9'; i++ {
		s = s[1:]
	}
	return s
}

// field finds the value of a field, and tells whether it is a text. A field that does not exist is reported, and nil.
func (c *summaryCompiler) field(at int, path string) (value func(*Alert, *eval) any, isText bool) {
	name, below, isPath := strings.Cut(path, ".")
	day, isDay := c.days[name]
	v, isValue := valuesOn[c.rule.on][name]
	switch {
	case !isDay && !isValue && !slices.Contains(recordNames, name):
		c.fault(at, "unknown field %q: %s", name, didYouMean(name, fieldNames(c.rule.on)))
		return nil, false
	case name == "labels":
		return c.label(at, below), true
	case isPath:
		c.fault(at, "%q has no fields of its own", name)
		return nil, false
	}
	number := func(isDecimal bool, of func(*Alert, *eval) float64) (func(*Alert, *eval) any, bool) {
		if isDecimal {
			return func(a *Alert, x *eval) any { return decimal(of(a, x)) }, false
		}
		return func(a *Alert, x *eval) any { return plain(of(a, x)) }, false
	}
	switch {
	case isDay:
		return number(day.decimal, func(_ *Alert, x *eval) float64 { return day.number(x) })
	case isValue && v.typ == textType:
		return func(_ *Alert, x *eval) any { return x.texts[v.index] }, true
	case isValue:
		return number(v.decimal, func(_ *Alert, x *eval) float64 { return x.numbers[v.index] })
	case name == "price":
		return number(true, func(a *Alert, _ *eval) float64 { return a.Price.Float() })
	case name == "value":
		of := c.rule.condition // nil where it has a fault
		return number(of == nil || of.first == nil || of.first.decimal, func(a *Alert, _ *eval) float64 { return a.Value })
	}
	return func(a *Alert, _ *eval) any {
		switch name {
		case "symbol":
			return a.Symbol
		case "source":
			return a.Source
		case "rule":
			return a.Rule
		case "severity":
			return string(a.Severity)
		case "timestamp":
			return market.FormatTime(a.Time)
		case "event_id":
			return a.EventID
		case "venue":
			return a.Venue
		}
		if !a.HasSeq {
			return ""
		}
		return strconv.FormatInt(a.Sequence, 10)
	}, true
}

func (c *summaryCompiler) label(at int, name string) func(*Alert, *eval) any {
	if name == "" || strings.Contains(name, ".") {
		c.fault(at, "write the label's name, as in {{ .labels.desk }}")
		return nil
	}
	var labels []string
	for _, l := range c.rule.labels {
		if l.Name == name {
			return func(*Alert, *eval) any { return l.Value }
		}
		labels = append(labels, l.Name)
	}
	remedy := "this rule has no labels"
	if len(labels) > 0 {
		remedy = didYouMean(name, labels)
	}
	c.fault(at, "unknown label %q: %s", name, remedy)
	return nil
}

// render writes the summary of a, whose every other field is set, for the values that fired it.
func (r *rule) render(a *Alert, x *eval) string {
	if r.summary == nil && a.Price == 0 {
		return cut(fmt.Sprintf("%s: %s on %s", r.name, r.condition.text, a.Symbol), maxSummary)
	}
	if r.summary == nil {
		return cut(fmt.Sprintf("%s: %s on %s, price %s", r.name, r.condition.text, a.Symbol, a.Price), maxSummary)
	}
	var b strings.Builder
	renderSegments(&b, r.summary, a, x)
	return cut(b.String(), maxSummary)
}

func renderSegments(b *strings.Builder, segments []segment, a *Alert, x *eval) {
	for i := range segments {
		s := &segments[i]
		var v any
		if s.kind != textSegment {
			v = s.value(a, x)
		}
		holds := false
		switch s.kind {
		case textSegment:
			b.WriteString(s.text)
			continue
		case printSegment:
			if s.text == "" {
				fmt.Fprint(b, v)
			} else {
				fmt.Fprintf(b, s.text, v)
			}
			continue
		case ifSegment:
			holds = v != "" && v != plain(0) && v != decimal(0)
		case ifEqualSegment:
			holds = v == s.text
		case ifUnequalSegment:
			holds = v != s.text
		}
		if holds {
			renderSegments(b, s.then, a, x)
		} else {
			renderSegments(b, s.otherwise, a, x)
		}
	}
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
