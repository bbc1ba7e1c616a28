//go:build !compiledrules

package alert

import (
	"fmt"
	"slices"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode/utf8"

	"example.com/market-data-pipeline/functions/processor/market"
)

// parseSummary turns a text/template into the segments of a summary, never nil without faults. Whether its fields exist,
// compileSummary says.
func parseSummary(src string, on market.Kind) ([]segment, []fault) {
	if len(src) > maxTemplate {
		return nil, []fault{{0, fmt.Sprintf("the summary has %d bytes, the limit is %d", len(src), maxTemplate)}}
	}
	t, err := template.New("summary").Parse(src)
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "template: summary:")
		if strings.Contains(text, "function") && strings.Contains(text, "not defined") {
			text += " (write fields with a dot, as in {{ .price }})"
		}
		return nil, []fault{{0, "summary, line " + text}}
	}
	r := templateReader{src: src, names: fieldNames(on)}
	if len(t.Templates()) > 1 {
		r.faults = append(r.faults, fault{0, "a summary cannot define templates"})
	}
	segments := []segment{}
	if t.Tree != nil {
		segments = append(segments, r.list(t.Tree.Root)...)
	}
	return segments, r.faults
}

// templateReader walks a parsed template.
type templateReader struct {
	src    string
	names  []string // every field
	faults []fault
}

func (r *templateReader) at(n parse.Node) int {
	return utf8.RuneCountInString(r.src[:min(int(n.Position()), len(r.src))])
}

func (r *templateReader) fault(n parse.Node, format string, args ...any) {
	r.faults = append(r.faults, fault{r.at(n), fmt.Sprintf(format, args...)})
}

func (r *templateReader) list(l *parse.ListNode) (out []segment) {
	if l == nil {
		return nil
	}
	for _, n := range l.Nodes {
		switch n := n.(type) {
		case *parse.TextNode:
			out = append(out, segment{kind: textSegment, text: string(n.Text)})
		case *parse.CommentNode:
		case *parse.ActionNode:
			if s, ok := r.pipe(n.Pipe, false); ok {
				out = append(out, s)
			}
		case *parse.IfNode:
			s, ok := r.pipe(n.Pipe, true)
			s.then, s.otherwise = r.list(n.List), r.list(n.ElseList)
			if ok {
				out = append(out, s)
			} else { // for their mistakes
				out = append(append(out, s.then...), s.otherwise...)
			}
		default:
			r.fault(n, "a summary has text, {{ .field }}, {{ if .field }}…{{ else }}…{{ end }} and printf, nothing else")
		}
	}
	return out
}

// pipe reads an action, or the condition of an if. It is false where no field is named whose mistakes could be found.
func (r *templateReader) pipe(p *parse.PipeNode, isCondition bool) (s segment, ok bool) {
	if len(p.Decl) > 0 {
		r.fault(p, "a summary has no variables: use the fields %s", strings.Join(r.names, ", "))
		return s, false
	}
	const usage = `write one field, or printf with a format and one field, as in {{ printf "%%.2f" .value }}`
	var args []parse.Node
	switch {
	case len(p.Cmds) == 1:
		args = p.Cmds[0].Args
	case len(p.Cmds) == 2 && len(p.Cmds[0].Args) == 1: // {{ .value | printf "%.2f" }}
		args = append(slices.Clone(p.Cmds[1].Args), p.Cmds[0].Args[0])
	default:
		r.fault(p, usage)
		return s, false
	}
	if s.kind = printSegment; isCondition {
		s.kind = ifSegment
	}
	if len(args) == 1 {
		return s, r.field(&s, args[0])
	}
	function, ok := args[0].(*parse.IdentifierNode)
	switch {
	case !ok:
		r.fault(p, usage)
	case function.Ident == "printf" && !isCondition:
		if len(args) != 3 {
			r.fault(function, `printf takes a format and one field, as in {{ printf "%%.2f" .value }}`)
			return s, false
		}
		if format, ok := args[1].(*parse.StringNode); !ok {
			r.fault(function, `printf's format is a text, as in {{ printf "%%.2f" .value }}`)
		} else if s.text, s.textAt = format.Text, r.at(format); s.text == "" {
			s.text = "%" // no format, which is refused as one
		}
		return s, r.field(&s, args[2])
	case (function.Ident == "eq" || function.Ident == "ne") && isCondition:
		if len(args) != 3 {
			r.fault(function, `%s compares a field with a text, as in {{ if eq .venue "Q" }}`, function.Ident)
			return s, false
		}
		if text, ok := args[2].(*parse.StringNode); !ok {
			r.fault(function, comparesTexts, function.Ident)
		} else if s.kind, s.text, s.textAt = ifEqualSegment, text.Text, r.at(function); function.Ident == "ne" {
			s.kind = ifUnequalSegment
		}
		return s, r.field(&s, args[1])
	default:
		r.fault(function, "the function %s is not available in a summary here: printf prints a field, eq and ne compare one in an if", function.Ident)
	}
	return s, false
}

func (r *templateReader) field(s *segment, n parse.Node) bool {
	s.at = r.at(n)
	switch n := n.(type) {
	case *parse.FieldNode:
		s.field = strings.Join(n.Ident, ".")
		return true
	case *parse.IdentifierNode:
		if slices.Contains(r.names, n.Ident) {
			r.fault(n, "write fields with a dot: {{ .%s }}", n.Ident)
			return false
		}
	}
	r.fault(n, "%s is not a field: use {{ .name }} with one of %s", n, strings.Join(r.names, ", "))
	return false
}
