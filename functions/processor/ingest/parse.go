package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"example.com/market-data-pipeline/functions/processor/market"
)

// eventParser reads the JSON of an SQS event in one pass. Its methods take the index of a value's first byte and return
// the index behind the value, or -1 after an error, which is then in err.
type eventParser struct {
	s       string
	buf     strings.Builder // of the strings with escapes
	records []Record
	err     error
	tail    string // the end of the last usual record, from its "eventSource" on
	unusual bool   // a record was not usual: the others are not tried

	// Where early is set, bodies of usual events are decoded where they stand, into events.
	early  bool
	skew   time.Duration
	events []market.Event
	quoted market.Quoted
}

// maxNesting is that of encoding/json.
const maxNesting = 10_000

var errEvent = errors.New("ingest: the event is no SQS batch")

// stop notes that s[i] is not what Lambda writes there.
func (p *eventParser) stop(i int) int {
	p.records, p.err = nil, fmt.Errorf("%w: it is malformed at byte %d of %d", errEvent, i, len(p.s))
	return -1
}

// at is s[i], or 0 behind the end.
func (p *eventParser) at(i int) byte {
	if i < len(p.s) {
		return p.s[i]
	}
	return 0
}

func (p *eventParser) space(i int) int {
	for i < len(p.s) && (p.s[i] == ' ' || p.s[i] == '\n' || p.s[i] == '\t' || p.s[i] == '\r') {
		i++
	}
	return i
}

func (p *eventParser) event(i int) int {
	return p.members(i, func(key string, i int) int {
		if key != "Records" {
			return p.skip(i, 2)
		}
		p.records = p.records[:0]
		return p.array(i, p.record)
	})
}

// draft is a record that is being read.
type draft struct {
	Record
	count  string // ApproximateReceiveCount
	body   int    // the index of the body that was decoded where it stands, -1 for another
	latest int64  // of that body, see market.Quoted
}

// record reads one record. The first one's size tells about how many there are.
func (p *eventParser) record(i int) int {
	from, events := i, len(p.events)
	r := draft{body: -1}
	if i = -1; !p.unusual {
		i = p.usualRecord(&r, from)
	}
	if i < 0 {
		p.unusual = true
		r, p.events = draft{body: -1}, p.events[:events]
		if i = p.anyRecord(&r, from); i < 0 {
			return -1
		}
	}
	n, err := strconv.Atoi(r.count)
	switch {
	case r.MessageID == "":
		err = fmt.Errorf("ingest: record %d of the SQS batch has no messageId", len(p.records))
	case err != nil:
		err = fmt.Errorf("ingest: message %s: ApproximateReceiveCount is %q, not a number", r.MessageID, r.count)
	}
	if err != nil {
		p.records, p.err = nil, err
		return -1
	}
	r.ReceiveCount = n
	if r.body >= 0 {
		// A late event of a retry is kept as received, and without a time of sending the invocation's counts: Handle sees to
		// both, and to what is too far in the future.
		if n == 1 && r.canonical() && !time.Unix(0, r.latest).After(r.Sent.Add(p.skew)) {
			r.Events = p.events[events:]
		} else {
			p.events = p.events[:events]
			p.text(&r.Body, r.body)
		}
	}
	if len(p.records) == 0 {
		more := (len(p.s) - from) / (i - from)
		if cap(p.records) <= more {
			p.records = make([]Record, 0, more+1)
		}
		p.events = slices.Grow(p.events, more*len(r.Events))
	}
	p.records = append(p.records, r.Record)
	return i
}

func (p *eventParser) anyRecord(r *draft, i int) int {
	events := len(p.events)
	return p.members(i, func(key string, i int) int {
		switch key {
		case "messageId":
			return p.text(&r.MessageID, i)
		case "receiptHandle":
			return p.text(&r.ReceiptHandle, i)
		case "body":
			p.events = p.events[:events]
			return p.readBody(r, i)
		case "attributes":
			r.count, r.Group, r.Sent, r.FirstReceived = "", "", time.Time{}, time.Time{}
			return p.attributes(r, i)
		case "messageAttributes":
			r.Format, r.OriginMessageID = "", ""
			return p.messageAttributes(r, i)
		}
		return p.skip(i, 4)
	})
}

func (p *eventParser) readBody(r *draft, i int) int {
	if r.body = -1; p.early && p.at(i) == '"' {
		var end int
		if p.events, end, r.latest = p.quoted.Decode(p.events, p.s, i+1); end >= 0 {
			r.body, r.Body = i, ""
			return end + 1
		}
	}
	return p.text(&r.Body, i)
}

// usualRecord reads a record as Lambda writes them: without white space, in its order of names, of plain texts. Anything else
// makes it give up with -1; anyRecord then judges the record from its brace on. What both accept they read alike.
func (p *eventParser) usualRecord(r *draft, i int) int {
	r.MessageID, i = p.plain(p.behind(i, `{"messageId":"`))
	if i = p.behind(i, `,"receiptHandle":"`); i < 0 {
		return -1
	}
	// Some hundred bytes: by words, until plain finds where they end.
	from := i
	for i+32 <= len(p.s) && odd(word(p.s, i))|odd(word(p.s, i+8))|odd(word(p.s, i+16))|odd(word(p.s, i+24)) == 0 {
		i += 32
	}
	if _, i = p.plain(i); i < 0 {
		return -1
	}
	r.ReceiptHandle = p.s[from : i-1]
	if i = p.behind(i, `,"body":`); i < 0 {
		return -1
	}
	if i = p.readBody(r, i); i < 0 {
		return -1
	}
	r.count, i = p.plain(p.behind(i, `,"attributes":{"ApproximateReceiveCount":"`))
	var name, value string
	tail := -1
	for i >= 0 && p.at(i) == ',' {
		name, i = p.plain(p.behind(i, `,"`))
		if value, i = p.plain(p.behind(i, `:"`)); i < 0 {
			return -1
		}
		switch name {
		case "SentTimestamp":
			r.Sent = unixMilli(value)
		case "ApproximateFirstReceiveTimestamp":
			r.FirstReceived = unixMilli(value)
		case "MessageGroupId":
			r.Group = value
		case "ApproximateReceiveCount":
			r.count = value
		}
	}
	if i = p.usualMessageAttributes(r, p.behind(i, `},"messageAttributes":`)); i < 0 {
		return -1
	}
	for p.at(i) == ',' {
		// From "eventSource" on the rest is the queue's, and the same in all its records.
		if p.tail != "" && strings.HasPrefix(p.s[i:], p.tail) {
			return i + len(p.tail)
		}
		from = i
		if name, i = p.plain(p.behind(i, `,"`)); name == "eventSource" {
			tail = from
		}
		if _, i = p.plain(p.behind(i, `:"`)); i < 0 || slices.Contains(recordNames, name) {
			return -1
		}
	}
	if i = p.behind(i, `}`); i >= 0 && tail >= 0 {
		p.tail = p.s[tail:i]
	}
	return i
}

// recordNames are those of a record's members that count.
var recordNames = []string{"messageId", "receiptHandle", "body", "attributes", "messageAttributes"}

// usualMessageAttributes is fast for none, and for what package producer sets.
func (p *eventParser) usualMessageAttributes(r *draft, i int) int {
	if next := p.behind(i, `{}`); next >= 0 {
		return next
	}
	id, next := p.plain(p.behind(i, `{"origin_message_id":{"stringValue":"`))
	if next = p.behind(next, `,"stringListValues":[],"binaryListValues":[],"dataType":"String"}}`); next >= 0 {
		r.OriginMessageID = id
		return next
	}
	if i < 0 {
		return -1
	}
	return p.messageAttributes(r, i)
}

// behind is the index behind text, if it is at s[i], else -1. i may be -1 too.
func (p *eventParser) behind(i int, text string) int {
	if i < 0 || !strings.HasPrefix(p.s[i:], text) {
		return -1
	}
	return i + len(text)
}

// plain reads a string without escapes, of ASCII, whose inside begins at s[i].
func (p *eventParser) plain(i int) (text string, next int) {
	if i < 0 {
		return "", -1
	}
	end := plainEnd(p.s, i)
	if p.at(end) != '"' {
		return "", -1
	}
	return p.s[i:end], end + 1
}

func (p *eventParser) attributes(r *draft, i int) int {
	return p.members(i, func(key string, i int) int {
		switch key {
		case "ApproximateReceiveCount":
			return p.text(&r.count, i)
		case "SentTimestamp":
			return p.milliseconds(&r.Sent, i)
		case "ApproximateFirstReceiveTimestamp":
			return p.milliseconds(&r.FirstReceived, i)
		case "MessageGroupId":
			return p.text(&r.Group, i)
		}
		return p.skip(i, 5)
	})
}

func (p *eventParser) messageAttributes(r *draft, i int) int {
	return p.members(i, func(key string, i int) int {
		var dst *string
		switch key {
		case "format":
			dst = &r.Format
		case "origin_message_id":
			dst = &r.OriginMessageID
		default:
			return p.skip(i, 5)
		}
		*dst = ""
		return p.members(i, func(key string, i int) int {
			if key != "stringValue" {
				return p.skip(i, 6)
			}
			return p.text(dst, i)
		})
	})
}

func (p *eventParser) milliseconds(dst *time.Time, i int) int {
	var text string
	i = p.text(&text, i)
	*dst = unixMilli(text)
	return i
}

// unixMilli is the time of a text of milliseconds, the zero time where it is no number.
func unixMilli(text string) time.Time {
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// members reads an object, or null, which is like an empty one. member reads each value.
func (p *eventParser) members(i int, member func(key string, i int) int) int {
	if p.at(i) == 'n' {
		return p.word(i, "null")
	}
	if p.at(i) != '{' {
		return p.stop(i)
	}
	if i = p.space(i + 1); p.at(i) == '}' {
		return i + 1
	}
	for {
		key, next := p.key(i)
		if next < 0 {
			return -1
		}
		if i = p.space(next); p.at(i) != ':' {
			return p.stop(i)
		}
		if i = member(key, p.space(i+1)); i < 0 {
			return -1
		}
		switch i = p.space(i); p.at(i) {
		case ',':
			i = p.space(i + 1)
		case '}':
			return i + 1
		default:
			return p.stop(i)
		}
	}
}

// array reads an array, or null, which is like an empty one. element reads each value.
func (p *eventParser) array(i int, element func(i int) int) int {
	if p.at(i) == 'n' {
		return p.word(i, "null")
	}
	if p.at(i) != '[' {
		return p.stop(i)
	}
	if i = p.space(i + 1); p.at(i) == ']' {
		return i + 1
	}
	for {
		if i = element(i); i < 0 {
			return -1
		}
		switch i = p.space(i); p.at(i) {
		case ',':
			i = p.space(i + 1)
		case ']':
			return i + 1
		default:
			return p.stop(i)
		}
	}
}

// skip checks any value. depth is the value's own, that of the event is 1.
func (p *eventParser) skip(i, depth int) int {
	if depth > maxNesting {
		return p.stop(i)
	}
	switch c := p.at(i); c {
	case '{':
		return p.members(i, func(_ string, i int) int { return p.skip(i, depth+1) })
	case '[':
		return p.array(i, func(i int) int { return p.skip(i, depth+1) })
	case '"':
		next, _ := p.skipString(i)
		return next
	case 't':
		return p.word(i, "true")
	case 'f':
		return p.word(i, "false")
	case 'n':
		return p.word(i, "null")
	}
	return p.number(i)
}

func (p *eventParser) word(i int, want string) int {
	if end := i + len(want); end <= len(p.s) && p.s[i:end] == want {
		return end
	}
	return p.stop(i)
}

func (p *eventParser) number(i int) int {
	if p.at(i) == '-' {
		i++
	}
	if p.at(i) == '0' {
		i++
	} else if i = p.digits(i); i < 0 {
		return -1
	}
	if p.at(i) == '.' {
		if i = p.digits(i + 1); i < 0 {
			return -1
		}
	}
	if p.at(i)|0x20 == 'e' {
		if i++; p.at(i) == '+' || p.at(i) == '-' {
			i++
		}
		return p.digits(i)
	}
	return i
}

func (p *eventParser) digits(i int) int {
	from := i
	for p.at(i)-'0' <= 9 {
		i++
	}
	if i == from {
		return p.stop(i)
	}
	return i
}

// key reads a name.
func (p *eventParser) key(i int) (name string, next int) {
	next, escaped := p.skipString(i)
	if next < 0 {
		return "", -1
	}
	if escaped {
		p.text(&name, i)
		return name, next
	}
	return p.s[i+1 : next-1], next
}

func (p *eventParser) skipString(i int) (next int, escaped bool) {
	if p.at(i) != '"' {
		return p.stop(i), false
	}
	for i = plainEnd(p.s, i+1); ; i = plainEnd(p.s, i) {
		switch c := p.at(i); {
		case c == '"':
			return i + 1, escaped
		case c == '\\':
			escaped = true
			if _, i = p.escape(i + 1); i < 0 {
				return -1, false
			}
		case c < ' ':
			return p.stop(i), false
		default:
			i++
		}
	}
}

// text reads a string, or null, which is like "".
func (p *eventParser) text(dst *string, i int) int {
	if *dst = ""; p.at(i) == 'n' {
		return p.word(i, "null")
	}
	if p.at(i) != '"' {
		return p.stop(i)
	}
	from := i + 1
	if i = plainEnd(p.s, from); p.at(i) == '"' {
		*dst = p.s[from:i]
		return i + 1
	}
	if p.buf.Cap() == 0 {
		p.buf.Grow(len(p.s) - from)
	}
	start := p.buf.Len()
	i, ascii := p.unescape(from)
	*dst = p.buf.String()[start:]
	if !ascii && !utf8.ValidString(*dst) {
		*dst = string([]rune(*dst)) // U+FFFD for each byte that is none
	}
	return i
}

// Every byte of a word is 1, or has its highest bit.
const ones, highs = 0x0101010101010101, 0x8080808080808080

// word is s[i:i+8], the first byte lowest.
func word(s string, i int) uint64 {
	w := s[i : i+8]
	return uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 | uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
}

// lastWord is word where less than 8 bytes are left: zeros follow them.
func lastWord(s string, i int) uint64 {
	var last [8]byte
	copy(last[:], s[i:])
	return binary.LittleEndian.Uint64(last[:])
}

// zeros has the highest bit of each byte of x that is 0, and of no other.
func zeros(x uint64) uint64 { return ^((x&^highs + ^uint64(highs)) | x | ^uint64(highs)) }

// odd has the highest bit of the lowest byte that is a quote, a backslash, a control character or not ASCII; above that
// byte the bits may lie.
func odd(x uint64) uint64 {
	return (x | (x - ones*' ') | (x ^ ones*'"' - ones) | (x ^ ones*'\\' - ones)) & highs
}

// plainEnd is the index of the first byte from s[i] on that is a quote, a backslash, a control character or not ASCII.
func plainEnd(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		if found := odd(word(s, i)); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(s) && s[i] >= ' ' && s[i] != '"' && s[i] != '\\' && s[i] < utf8.RuneSelf {
		i++
	}
	return i
}

// unescape appends to buf the string whose inside begins at s[i]. It goes by eight bytes: while every quote has a
// backslash before it and every backslash a quote behind it, as in a body of JSON, the backslashes are all there is to
// take out.
func (p *eventParser) unescape(i int) (next int, ascii bool) {
	var out [64 + 8]byte
	n := 0
	var seen uint64  // the bytes that were read, or'ed
	var carry uint64 // the highest bit of the first byte if a backslash is before s[i]
	for {
		var x uint64
		if i+8 <= len(p.s) {
			x = word(p.s, i)
		} else {
			x = lastWord(p.s, i)
		}
		quotes, backslashes := zeros(x^ones*'"'), zeros(x^ones*'\\')
		behind := backslashes<<8 | carry
		control := ^((x &^ highs) + ones*(0x80-' ') | x) & highs
		size := 64 // bits of x that are good
		odd := (quotes ^ behind) | control
		if odd != 0 {
			size = bits.TrailingZeros64(odd) &^ 7
			x &= 1<<size - 1
		}
		seen |= x
		carry = backslashes >> 56
		taken := size
		for m := backslashes & (1<<size - 1); m != 0; m = (m & (m - 1)) >> 8 {
			below := (m&-m)>>7 - 1
			x = x&below | x>>8&^below
			taken -= 8
		}
		binary.LittleEndian.PutUint64(out[n:], x)
		n += taken / 8
		if odd != 0 {
			// s[i] ends the string, or is what a backslash escapes that is no quote.
			if i += size / 8; i >= len(p.s) || p.s[i] < ' ' {
				return p.stop(i), false
			}
			if behind>>size&0x80 == 0 {
				p.buf.Write(out[:n])
				return i + 1, seen&highs == 0
			}
			var r rune
			if r, i = p.escape(i); i < 0 {
				return -1, false
			}
			if r < utf8.RuneSelf {
				out[n] = byte(r)
				n++
			} else {
				n += utf8.EncodeRune(out[n:], r)
			}
			carry = 0
		} else {
			i += 8
		}
		if n > len(out)-16 {
			p.buf.Write(out[:n])
			n = 0
		}
	}
}

// escape reads an escape, whose backslash is before s[i].
func (p *eventParser) escape(i int) (r rune, next int) {
	switch c := p.at(i); c {
	case '"', '\\', '/':
		return rune(c), i + 1
	case 'b':
		return '\b', i + 1
	case 'f':
		return '\f', i + 1
	case 'n':
		return '\n', i + 1
	case 'r':
		return '\r', i + 1
	case 't':
		return '\t', i + 1
	case 'u':
		r := p.hex4(i + 1)
		if r < 0 {
			return 0, p.stop(i)
		}
		i += 5
		if utf16.IsSurrogate(r) {
			if p.at(i) == '\\' && p.at(i+1) == 'u' {
				if pair := utf16.DecodeRune(r, p.hex4(i+2)); pair != utf8.RuneError {
					return pair, i + 6
				}
			}
			return utf8.RuneError, i
		}
		return r, i
	}
	return 0, p.stop(i)
}

// hex4 is the number of four hexadecimal digits, or -1.
func (p *eventParser) hex4(i int) rune {
	var r rune
	for n := i + 4; i < n; i++ {
		c := p.at(i)
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}
