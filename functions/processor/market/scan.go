package market

import (
	"math/bits"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// This file walks JSON text. Every scanning method takes the index of a value's first byte and returns the index behind
// the value, or -1 where the text cannot be followed any further (a syntax error, noted in d.broken).
//
// A mistake within a string or a bare word whose end is certain (a control character, a bad escape, NaN, 01) makes the
// event bad, in d.flaw, but does not stop the scan: the neighbours in an array survive it.

// at is s[i], or 0, which no JSON has outside of strings, behind the end.
func at(s string, i int) byte {
	if i < len(s) {
		return s[i]
	}
	return 0
}

// Classes of bytes.
const (
	plain    = 1 << iota // printable ASCII that stands for itself in a string
	wordByte             // part of a number or a literal, or of what was meant as one
	symbolic             // allowed in a symbol
)

var class = func() (t [256]uint8) {
	for c := ' '; c < 0x7f; c++ {
		if c != '"' && c != '\\' {
			t[c] |= plain
		}
		if '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			t[c] |= wordByte | symbolic
		}
	}
	for _, c := range "+-._" {
		t[c] |= wordByte
	}
	for _, c := range ".-/:_^=" {
		t[c] |= symbolic
	}
	return t
}()

// stop notes a syntax error at s[i].
func (d *decoder) stop(i int, want string) int {
	got := "the body ends "
	if i < len(d.s) && d.lines && d.s[i] == '\n' {
		got = "the line ends "
	} else if i < len(d.s) {
		if got = quote(d.s[i : i+1]); got == "" {
			got = "another character "
		}
	}
	d.broken = fault{MalformedJSON, unknownField, got + "at byte " + strconv.Itoa(i) + " where JSON has " + want}
	return -1
}

// space skips white space; a newline only where one event may span lines.
func (d *decoder) space(i int) int {
	for i < len(d.s) {
		switch d.s[i] {
		case ' ', '\t', '\r':
		case '\n':
			if d.lines {
				return i
			}
		default:
			return i
		}
		i++
	}
	return i
}

// plainEnd is the index of the first byte from s[i] on that is not plain. It looks at eight bytes at a time: a byte's
// highest bit ends up set in odd if the byte is not plain; above the lowest such byte the bits may lie.
func plainEnd(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		x := word(s, i)
		quote, backslash := x^ones*'"', x^ones*'\\'
		odd := (x | (x + ones) | (x - ones*' ') | (quote - ones) | (backslash - ones)) & highs
		if odd != 0 {
			return i + bits.TrailingZeros64(odd)/8
		}
	}
	for i < len(s) && class[s[i]]&plain != 0 {
		i++
	}
	return i
}

// str scans a string, whose opening quote is at s[i], and returns its text, unescaped. The text aliases the body unless
// it has escapes. usual means that the text is plain throughout.
func (d *decoder) str(i int) (text string, next int, usual bool) {
	j := plainEnd(d.s, i+1)
	if j < len(d.s) && d.s[j] == '"' {
		return d.s[i+1 : j], j + 1, true
	}
	text, next = d.unusualStr(i+1, j)
	return text, next, false
}

// unusualStr goes on with a string whose inside begins at s[i] and is plain up to s[j].
func (d *decoder) unusualStr(i, j int) (text string, next int) {
	s := d.s
	escaped, ascii, control := false, true, -1
scan:
	for ; ; j++ {
		switch c := at(s, j); {
		case c == '"':
			break scan
		case c == '\\':
			escaped = true
			if j++; at(s, j) < ' ' {
				j-- // the loop meets it as a control character or as the end
			}
		case c >= utf8.RuneSelf:
			ascii = false
		case c < ' ':
			if j >= len(s) || c == '\n' && d.lines {
				return "", d.stop(j, "the quote that ends a string")
			}
			control = j
		}
	}
	text = s[i:j]
	if control >= 0 {
		d.flawed(fault{MalformedJSON, unknownField, "a control character in a string at byte " + strconv.Itoa(control) + ": write it as an escape"})
	}
	if !ascii && !utf8.ValidString(text) {
		d.flawed(fault{InvalidUTF8, unknownField, "a string at byte " + strconv.Itoa(i) + " is not UTF-8: send UTF-8"})
	}
	if escaped {
		var reason Reason
		if text, reason = unescape(text); reason != "" {
			detail := "a bad escape in the string at byte " + strconv.Itoa(i) + `: JSON has \" \\ \/ \b \f \n \r \t \uXXXX`
			if reason == InvalidUTF8 {
				detail = "half a surrogate pair in the string at byte " + strconv.Itoa(i) + ": send the whole pair"
			}
			d.flawed(fault{reason, unknownField, detail})
		}
	}
	return text, j + 1
}

// unescape undoes the escapes of a string's inside. With a reason the text is of no use.
func unescape(raw string) (string, Reason) {
	b := make([]byte, 0, len(raw))
	var reason Reason
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			b = append(b, raw[i])
			continue
		}
		i++
		switch c := at(raw, i); c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := hex4(raw, i+1)
			if !ok {
				return "", MalformedJSON
			}
			i += 4
			if 0xDC00 <= r && r < 0xE000 {
				reason = InvalidUTF8
			} else if 0xD800 <= r && r < 0xDC00 {
				low, ok := hex4(raw, i+3)
				if at(raw, i+1) != '\\' || at(raw, i+2) != 'u' || !ok || low < 0xDC00 || low >= 0xE000 {
					reason = InvalidUTF8
					continue
				}
				r = (r-0xD800)<<10 + (low - 0xDC00) + 0x10000
				i += 6
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", MalformedJSON
		}
	}
	return string(b), reason
}

func hex4(s string, i int) (r rune, ok bool) {
	for n := i + 4; i < n; i++ {
		c := at(s, i)
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// word scans a number or a literal, and whatever else was meant as one: true, -1.5e3, NaN, 01.
func (d *decoder) word(i int) (text string, next int) {
	j := i
	for j < len(d.s) && class[d.s[j]]&wordByte != 0 {
		j++
	}
	if j == i {
		return "", d.stop(i, "a value")
	}
	text = d.s[i:j]
	if !(text == "true" || text == "false" || text == "null" || isNumber(text)) {
		d.flawed(fault{MalformedJSON, unknownField, quote(text) + "at byte " + strconv.Itoa(i) + " is no JSON value"})
	}
	return text, j
}

// skip scans any value. depth is the value's own, that of the event is 1.
func (d *decoder) skip(i, depth int) int {
	c := at(d.s, i)
	switch c {
	case '"':
		_, i, _ = d.str(i)
		return i
	case '{', '[':
	default:
		_, i = d.word(i)
		return i
	}
	if depth > d.limits.MaxDepth {
		d.flawed(fault{TooDeep, unknownField, "nested deeper than " + strconv.Itoa(d.limits.MaxDepth) + ": send flat events"})
		return d.skipBrackets(i)
	}
	end := c + 2 // of both kinds of brackets
	i = d.space(i + 1)
	if at(d.s, i) == end {
		return i + 1
	}
	for {
		if c == '{' {
			if at(d.s, i) != '"' {
				return d.stop(i, "a key in double quotes")
			}
			if _, i, _ = d.str(i); i < 0 {
				return -1
			}
			if i = d.space(i); at(d.s, i) != ':' {
				return d.stop(i, "a colon")
			}
			i = d.space(i + 1)
		}
		if i = d.skip(i, depth+1); i < 0 {
			return -1
		}
		i = d.space(i)
		switch at(d.s, i) {
		case ',':
			i = d.space(i + 1)
		case end:
			return i + 1
		default:
			return d.stop(i, "a comma or "+quote(string(end)))
		}
	}
}

// skipBrackets finds the end of what is nested too deep without a look at its grammar, and without recursion.
func (d *decoder) skipBrackets(i int) int {
	for open := 0; i < len(d.s); {
		switch d.s[i] {
		case '"':
			if _, i, _ = d.str(i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			open++
		case '}', ']':
			if open--; open == 0 {
				return i + 1
			}
		case '\n':
			if d.lines {
				return d.stop(i, "closing brackets")
			}
		}
		i++
	}
	return d.stop(i, "closing brackets")
}

// hasControl tells whether a text has a control character: U+0000 to U+001F, U+007F to U+009F.
func hasControl(text string) bool { return strings.ContainsFunc(text, unicode.IsControl) }

// quote shows a short text of printable ASCII, with a blank behind it, and nothing of any other.
func quote(s string) string {
	if len(s) > 40 {
		return ""
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return ""
		}
	}
	return "'" + s + "' "
}
