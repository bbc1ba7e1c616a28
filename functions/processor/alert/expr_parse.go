//go:build !compiledrules

package alert

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"

	"example.com/market-data-pipeline/functions/processor/market"
)

// compileText parses, checks and compiles an expression. Of mistakes of syntax it reports the first; see compile.
func (r *rule) compileText(src string) (*condition, []fault) {
	t, f := parseExpression(src, r.on)
	if f != nil {
		return nil, []fault{*f}
	}
	return r.compile(t)
}

func parseExpression(src string, on market.Kind) (term, *fault) {
	if len(src) > maxExpression {
		return term{}, &fault{0, fmt.Sprintf("the expression has %d bytes, the limit is %d: split the rule", len(src), maxExpression)}
	}
	if !utf8.ValidString(src) {
		return term{}, &fault{0, "the expression is not UTF-8: save it as UTF-8"}
	}
	if strings.TrimSpace(src) == "" {
		return term{}, &fault{0, `the expression is empty: write a condition such as "price > 100"`}
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
		return term{}, &f
	}
	r := treeReader{on: on, src: []rune(src), seen: map[ast.Node]bool{}}
	return r.term(tree.Node), nil
}

// treeReader turns the parser's tree into terms. What the language does not have becomes a refused term.
type treeReader struct {
	on   market.Kind
	src  []rune
	seen map[ast.Node]bool
}

func (r *treeReader) terms(nodes ...ast.Node) []term {
	out := make([]term, 0, len(nodes))
	for _, n := range nodes {
		if n != nil {
			out = append(out, r.term(n))
		}
	}
	return out
}

func (r *treeReader) term(n ast.Node) term {
	at := n.Location().From
	refused := func(parts []term, format string, args ...any) term {
		return term{refusedTerm, fmt.Sprintf(format, args...), parts, at}
	}
	if r.seen[n] {
		// The parser turns a < b < c into a < b && b < c with one b.
		return refused(nil, `comparisons cannot be chained: write "a < b and b < c"`)
	}
	r.seen[n] = true
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		text := string(r.src[at:min(n.Location().To, len(r.src))])
		return term{numberTerm, strings.ReplaceAll(text, "_", ""), nil, at}
	case *ast.BoolNode:
		return term{truthTerm, fmt.Sprint(n.Value), nil, at}
	case *ast.StringNode:
		return term{textTerm, n.Value, nil, at}
	case *ast.IdentifierNode:
		return term{nameTerm, n.Value, nil, at}
	case *ast.UnaryNode:
		return term{operatorTerm, n.Operator, r.terms(n.Node), at}
	case *ast.BinaryNode:
		return term{operatorTerm, n.Operator, r.terms(n.Left, n.Right), at}
	case *ast.BuiltinNode:
		return r.call(at, n.Name, n.Arguments)
	case *ast.CallNode:
		if callee, ok := n.Callee.(*ast.IdentifierNode); ok {
			return r.call(at, callee.Value, n.Arguments)
		}
		return refused(r.terms(n.Arguments...), "methods do not exist in rules: use values, operators and the functions %s", functionNames())
	case *ast.ConditionalNode:
		if !n.Ternary { // the parser gives "if" no location
			at = n.Cond.Location().From
		}
		return refused(r.terms(n.Cond, n.Exp1, n.Exp2), `"? :" and "if" are not part of the language: use "and", "or", "not", or two rules`)
	case *ast.VariableDeclaratorNode:
		return refused(r.terms(n.Value), `"let" is not part of the language: write the expression out`)
	case *ast.SequenceNode:
		return refused(r.terms(n.Nodes...), `";" is not part of the language: a rule has one expression`)
	case *ast.NilNode:
		return refused(nil, `"nil" is not part of the language: a rule is not evaluated while a value it compares is absent`)
	case *ast.MemberNode, *ast.ChainNode, *ast.SliceNode:
		return refused(nil, `"." and "[]" are not part of the language: values are plain names (%s)`, strings.Join(namesOn(r.on), ", "))
	default: // arrays, maps, closures, bytes
		var parts []term
		if list, ok := n.(*ast.ArrayNode); ok {
			parts = r.terms(list.Nodes...)
		}
		return refused(parts, "lists, maps and closures are not part of the language: use values, comparisons and the functions %s", functionNames())
	}
}

func (r *treeReader) call(at int, name string, args []ast.Node) term {
	piped := at >= 2 && string(r.src[at-2:at]) == "::" || len(args) > 0 && args[0].Location().From < at
	var parts []term
	for _, arg := range args {
		p, closure := arg.(*ast.PredicateNode)
		switch {
		case !closure:
			parts = append(parts, r.term(arg))
		case piped || name != "sum": // the call is refused
		case r.src[p.Location().From] == '{':
			parts = append(parts, r.term(p))
		default:
			// The parser knows a sum of its own, whose second argument is what to add.
			parts = append(parts, r.term(p.Node))
		}
	}
	if piped {
		return term{refusedTerm, fmt.Sprintf(`"|" and "::" are not part of the language: write %s(…)`, name), parts, at}
	}
	return term{callTerm, name, parts, at}
}

func functionNames() string { return strings.Join(functionList(), ", ") }
