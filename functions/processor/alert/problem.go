package alert

import (
	"fmt"
	"strings"
)

// Problem is one mistake in a rules file, or a Warning about something that loads but is hardly meant.
type Problem struct {
	File         string
	Line, Column int    // from 1; 0 = the file as a whole
	Rule         string // the rule's name, "" outside a rule or where it has none
	Text         string // what is wrong, and the remedy
	Warning      bool
}

// String is one line, "file:line:column: rule X: text", which editors and CI recognise as a place.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Rule != "" {
		fmt.Fprintf(&b, "rule %s: ", p.Rule)
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems are all problems of a file, by place. As an error they are one line each.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].String()
	}
	return strings.Join(lines, "\n")
}

// nearest returns the valid name that name was probably meant to be, "" where none is near.
func nearest(name string, valid []string) string {
	best, distance := "", max(1, len(name)/3)+1
	for _, v := range valid {
		if d := editDistance(strings.ToLower(name), v); d < distance {
			best, distance = v, d
		}
	}
	return best
}

// didYouMean is the remedy for an unknown name: the nearest valid one, or all of them.
func didYouMean(name string, valid []string) string {
	if n := nearest(name, valid); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return "use one of " + strings.Join(valid, ", ")
}

// editDistance counts the insertions, deletions, replacements and swaps of neighbours between two names, in bytes.
func editDistance(a, b string) int {
	if len(a) > 64 { // resembles nothing, and would be slow
		return len(a)
	}
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		for j := range d[i] {
			if i == 0 || j == 0 {
				d[i][j] = i + j
				continue
			}
			replaced := d[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			d[i][j] = min(replaced, d[i-1][j]+1, d[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
