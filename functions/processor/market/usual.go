package market

import (
	"math/bits"
	"strings"
	"time"
)

// This file reads usual events, eight bytes at a time: on one line, of known keys in any order, each once, with plain text
// and short numbers, without white space or with a blank behind every comma and colon, and with nothing wrong. It refuses
// nothing: whatever else it meets, good or bad, makes it give up, and the general path judges the event from its brace on.
// What it accepts, the general path accepts too, with equal values.

// writing is how a body writes what is between keys and values. As types, its kinds are compiled each on its own, with
// constants for what they differ in; only their lengths count.
type writing interface {
	compact | spaced | quotedCompact | quotedSpaced
}

type (
	compact       [1]byte // {"a":1,"b":2}
	spaced        [2]byte // {"a": 1, "b": 2}
	quotedCompact [3]byte // {\"a\":1,\"b\":2}, the inside of a JSON string
	quotedSpaced  [4]byte // {\"a\": 1, \"b\": 2}
)

// usual reads the usual events of a body of at least 8 bytes.
type usual struct {
	s      string
	latest int64
	quoted bool // s is the inside of a JSON string
	spaced bool // so was the last event

	// The day of the last timestamp: its text, "2026-11-" and "20", and the seconds from 1970 to its begin.
	yearMonth, monthDay uint64
	day                 int64

	// The last conditions with escapes, and without.
	escaped, unescaped string

	// Of several events: how the last one began, up to the first value that is none of type, symbol and source, its field,
	// and what was read until there. Events of one series begin alike.
	packed bool
	begin  struct {
		text           string
		kind           Kind
		symbol, source string
		seen           fields
		value          field
	}
}

// quoteBytes is the length of a quote, and its first byte.
func quoteBytes[W writing]() (int, byte) {
	var w W
	if len(w) > 2 {
		return 2, '\\'
	}
	return 1, '"'
}

// isQuote tells whether a quote is at s[i]; i may be any.
func isQuote[W writing](s string, i int) bool {
	var w W
	if len(w) > 2 {
		return uint(i) < uint(len(s)-1) && s[i] == '\\' && s[i+1] == '"'
	}
	return uint(i) < uint(len(s)) && s[i] == '"'
}

// colonIn tells whether a word begins with a key's closing quote and the colon, colonBytes how long they are.
func colonIn[W writing](x uint32) bool {
	var w W
	switch len(w) {
	case 1:
		return x<<16 == ('"'|':'<<8)<<16
	case 2:
		return x<<8 == ('"'|':'<<8|' '<<16)<<8
	case 3:
		return x<<8 == ('\\'|'"'<<8|':'<<16)<<8
	}
	return x == '\\'|'"'<<8|':'<<16|' '<<24
}

func colonBytes[W writing]() int {
	var w W
	return [...]int{2, 3, 3, 4}[len(w)-1]
}

// commaIn tells whether a word begins with a comma and the next opening quote, which are as long as colonBytes.
func commaIn[W writing](x uint32) bool {
	var w W
	switch len(w) {
	case 1:
		return x<<16 == (','|'"'<<8)<<16
	case 2:
		return x<<8 == (','|' '<<8|'"'<<16)<<8
	case 3:
		return x<<8 == (','|'\\'<<8|'"'<<16)<<8
	}
	return x == ','|' '<<8|'\\'<<16|'"'<<24
}

// Every byte of a word is 1, or has its highest bit.
const ones, highs = 0x0101010101010101, 0x8080808080808080

// word is s[i:i+8], the first byte lowest.
func word(s string, i int) uint64 {
	w := s[i : i+8]
	return uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 | uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
}

// word4 is s[i:i+4] likewise.
func word4(s string, i int) uint32 {
	w := s[i : i+4]
	return uint32(w[0]) | uint32(w[1])<<8 | uint32(w[2])<<16 | uint32(w[3])<<24
}

// lastWord is word for an i from which on s has less than 8 bytes: zeros follow them. s itself has at least 8.
func lastWord(s string, i int) uint64 { return word(s, len(s)-8) >> (8 * (i + 8 - len(s))) }

// wordAt is the one or the other, for an i of at most len(s).
func wordAt(s string, i int) uint64 {
	if i+8 <= len(s) {
		return word(s, i)
	}
	return lastWord(s, i)
}

// zeroIn is 8 times the index of the first byte of a word that is 0, 64 without one.
func zeroIn(x uint64) int { return bits.TrailingZeros64((x-ones)&^x&highs) &^ 7 }

// before keeps the bytes of a word below bit n, a multiple of 8, moved to its top, with zeros below. With n = 0 it is the
// word itself.
func before(w uint64, n int) uint64 { return w << ((64 - n) & 63) }

// text8 is what before makes of a word that begins with the text, of at most 7 bytes, and a quote.
func text8(text string) uint64 {
	var w uint64
	for i := range len(text) {
		w |= uint64(text[i]) << (8 * i)
	}
	return before(w, 8*len(text))
}

// usualFields has at the slot of a key's first four bytes, up to its closing quote, which field it can only be; keyFactor
// gives all such fields slots of their own. Status and correction are too rare to be usual.
var usualFields = func() (t [64]field) {
	for slot := range t {
		t[slot] = unknownField
	}
	for f := range fieldState {
		if f != fieldPriceEligible { // begins like fieldPrice
			t[slotOf(f.String()+`":`, 0)] = f
			t[slotOf(f.String()+`\"`, 0)] = f
		}
	}
	return t
}()

const keyFactor = 0x6F04E159

func slotOf(s string, i int) uint32 { return word4(s, i) * keyFactor >> 26 }

// The values of type and side.
var (
	wordTrade, wordQuote, wordBar, wordClock = text8("trade"), text8("quote"), text8("bar"), text8("clock")
	wordBuy, wordSell                        = text8("buy"), text8("sell")
)

// event reads the event that begins at s[i] into e, which is zero, and returns the index behind it. It returns -1 where the
// event is not a usual one or not a good one; e is then of no use.
func (u *usual) event(e *Event, i int) int {
	if at(u.s, i) != '{' {
		return -1
	}
	end := u.object(e, i)
	if end < 0 {
		colon := strings.IndexByte(u.s[i:min(i+32, len(u.s))], ':')
		if spaced := colon >= 0 && at(u.s, i+colon+1) == ' '; spaced != u.spaced {
			u.spaced, u.begin.text = spaced, ""
			*e = Event{}
			end = u.object(e, i)
		}
	}
	return end
}

func (u *usual) object(e *Event, i int) int {
	switch {
	case u.quoted && u.spaced:
		return usualObject[quotedSpaced](u, e, i)
	case u.quoted:
		return usualObject[quotedCompact](u, e, i)
	case u.spaced:
		return usualObject[spaced](u, e, i)
	}
	return usualObject[compact](u, e, i)
}

// openers are the fields of a usual.begin.
const openers fields = 1<<fieldType | 1<<fieldSymbol | 1<<fieldSource

// usualObject reads the event whose brace is at s[i]. Its index goes on by constants where it can, behind keys for one: the
// processor then need not wait for one load to know where the next one is. That is why the keys are compared in a switch.
func usualObject[W writing](u *usual, e *Event, i int) int {
	s := u.s
	if !isQuote[W](s, i+1) {
		return -1
	}
	start := i
	width, _ := quoteBytes[W]()
	i += 1 + width
	var seen fields
	f, known := unknownField, false
	if last := &u.begin; last.text != "" && strings.HasPrefix(s[start:], last.text) {
		e.Kind, e.Symbol, e.Source, seen, f = last.kind, last.symbol, last.source, last.seen, last.value
		i, known = start+len(last.text), true
	}
	for ; ; known = false {
		if !known {
			if i+6 > len(s) {
				return -1
			}
			f = usualFields[slotOf(s, i)]
			if f == fieldPrice && s[i+5] == '_' {
				f = fieldPriceEligible
			}
			if seen.has(f) {
				return -1
			}
			seen |= 1 << (f & 31)
			switch f {
			case fieldType:
				i = behind(s, i, "type")
			case fieldSymbol:
				i = behind(s, i, "symbol")
			case fieldSource:
				i = behind(s, i, "source")
			case fieldTimestamp:
				i = behind(s, i, "timestamp")
			case fieldSequence:
				i = behind(s, i, "sequence")
			case fieldID:
				i = behind(s, i, "id")
			case fieldVenue:
				i = behind(s, i, "venue")
			case fieldPrice:
				i = behind(s, i, "price")
			case fieldSize:
				i = behind(s, i, "size")
			case fieldSide:
				i = behind(s, i, "side")
			case fieldPriceEligible:
				i = behind(s, i, "price_eligible")
			case fieldConditions:
				i = behind(s, i, "conditions")
			case fieldBid:
				i = behind(s, i, "bid")
			case fieldAsk:
				i = behind(s, i, "ask")
			case fieldBidSize:
				i = behind(s, i, "bid_size")
			case fieldAskSize:
				i = behind(s, i, "ask_size")
			case fieldInterval:
				i = behind(s, i, "interval")
			case fieldOpen:
				i = behind(s, i, "open")
			case fieldHigh:
				i = behind(s, i, "high")
			case fieldLow:
				i = behind(s, i, "low")
			case fieldClose:
				i = behind(s, i, "close")
			case fieldVolume:
				i = behind(s, i, "volume")
			case fieldVWAP:
				i = behind(s, i, "vwap")
			case fieldTrades:
				i = behind(s, i, "trades")
			default:
				return -1
			}
			if uint(i) >= uint(len(s)-3) || !colonIn[W](word4(s, i)) {
				return -1
			}
			i += colonBytes[W]()
			if u.packed && seen&^openers == 1<<f {
				last := &u.begin
				last.text, last.kind, last.symbol, last.source, last.seen, last.value = s[start:i], e.Kind, e.Symbol, e.Source, seen, f
			}
		}
		switch f {
		case fieldType:
			e.Kind, i = usualKind[W](s, i)
		case fieldSymbol:
			e.Symbol, i = usualSymbol[W](s, i)
		case fieldSource:
			e.Source, i = usualText[W](s, i, maxSource)
		case fieldTimestamp:
			e.Time, i = usualTime[W](u, i)
		case fieldSequence:
			e.HasSeq = true
			e.Sequence, i = usualInteger[W](s, i)
		case fieldID:
			e.ID, i = usualText[W](s, i, maxText)
		case fieldVenue:
			e.Venue, i = usualText[W](s, i, maxText)
		case fieldPrice:
			e.Price, i = usualPositive[W](s, i)
		case fieldSize:
			e.Size, i = usualPositive[W](s, i)
		case fieldSide:
			e.Side, i = usualSide[W](s, i)
		case fieldPriceEligible:
			e.Ineligible, i = usualIneligible[W](s, i)
		case fieldConditions:
			e.Conditions, i = usualConditions[W](u, i)
		case fieldBid:
			e.HasBid = true
			e.Bid, i = usualPositive[W](s, i)
		case fieldAsk:
			e.HasAsk = true
			e.Ask, i = usualPositive[W](s, i)
		case fieldBidSize:
			e.BidSize, i = usualNumber[W](s, i)
		case fieldAskSize:
			e.AskSize, i = usualNumber[W](s, i)
		case fieldInterval:
			e.Interval, i = usualInterval[W](s, i)
		case fieldOpen:
			e.Open, i = usualPositive[W](s, i)
		case fieldHigh:
			e.High, i = usualPositive[W](s, i)
		case fieldLow:
			e.Low, i = usualPositive[W](s, i)
		case fieldClose:
			e.Close, i = usualPositive[W](s, i)
		case fieldVolume:
			e.Size, i = usualNumber[W](s, i) // of a bar: below
		case fieldVWAP:
			e.HasVWAP = true
			e.VWAP, i = usualPositive[W](s, i)
		case fieldTrades:
			e.HasTrades = true
			e.Trades, i = usualInteger[W](s, i)
		}
		if uint(i) < uint(len(s)-3) && commaIn[W](word4(s, i)) {
			i += colonBytes[W]()
			continue
		}
		if uint(i) >= uint(len(s)) || s[i] != '}' || requiredFields[e.Kind]&^seen != 0 || seen&^kindFields[e.Kind] != 0 {
			return -1
		}
		break
	}
	end := e.Time
	switch e.Kind {
	case Trade:
		if seen.has(fieldVolume) && (seen.has(fieldSize) || e.Size == 0) {
			return -1
		}
	case Quote:
		if !e.HasBid && !e.HasAsk {
			return -1
		}
	case Bar:
		// As strconv.ParseFloat rounds the text: not at all, or in the one division of two exact numbers.
		switch {
		case e.Size%Unit == 0:
			e.Volume = float64(e.Size / Unit)
		case e.Size < 1<<53:
			e.Volume = float64(e.Size) / float64(Unit)
		default:
			return -1
		}
		e.Size = 0
		end += int64(e.Interval)
		if e.Low > min(e.Open, e.Close) || e.High < max(e.Open, e.Close) || end < e.Time {
			return -1
		}
	}
	if end > u.latest {
		return -1
	}
	return i + 1
}

// behind is the index behind the key at s[i], or -1 for another key.
func behind(s string, i int, key string) int {
	if !strings.HasPrefix(s[i:], key) {
		return -1
	}
	return i + len(key)
}

// The functions below read the value at s[i] and return it with the index behind it, or with -1 where it is not usual.

// usualText reads a plain string of at most limit bytes.
func usualText[W writing](s string, i, limit int) (string, int) {
	if !isQuote[W](s, i) {
		return "", -1
	}
	width, _ := quoteBytes[W]()
	i += width
	j := plainEnd(s, i)
	if j-i > limit {
		return "", -1
	}
	return s[i:j], closed[W](s, j)
}

// closed is the index behind the closing quote at s[i], or -1 without one.
func closed[W writing](s string, i int) int {
	var w W
	if len(w) > 2 {
		if uint(i) >= uint(len(s)) || s[i] != '\\' {
			return -1
		}
		i++
	}
	if uint(i) >= uint(len(s)) || s[i] != '"' {
		return -1
	}
	return i + 1
}

// usualSymbol is fast for less than 8 bytes from '-' to ':' and letters; the other three that a symbol may have are rarer.
func usualSymbol[W writing](s string, i int) (string, int) {
	if !isQuote[W](s, i) {
		return "", -1
	}
	width, first := quoteBytes[W]()
	from := i + width
	if from+8 > len(s) {
		return usualRareSymbol[W](s, i)
	}
	w := word(s, from)
	n := zeroIn(w ^ ones*uint64(first))
	letters := w | ones*0x20
	odd := w | ^((w+ones*(0x80-'-'))&^(w+ones*(0x7F-':')) | (letters+ones*(0x80-'a'))&^(letters+ones*(0x7F-'z')))
	if n == 0 || n == 64 || odd&highs&(1<<n-1) != 0 {
		return usualRareSymbol[W](s, i)
	}
	return s[from : from+n/8], closed[W](s, from+n/8)
}

func usualRareSymbol[W writing](s string, i int) (string, int) {
	text, next := usualText[W](s, i, maxSymbol)
	for j := 0; j < len(text); j++ {
		if class[text[j]]&symbolic == 0 {
			return "", -1
		}
	}
	if text == "" {
		return "", -1
	}
	return text, next
}

// usualName is a string as text8 has it, if it is one of at most 7 bytes.
func usualName[W writing](s string, i int) (uint64, int) {
	if !isQuote[W](s, i) {
		return 0, -1
	}
	width, first := quoteBytes[W]()
	i += width
	w := wordAt(s, i)
	n := zeroIn(w ^ ones*uint64(first))
	if byte(w) == 0 {
		return 0, -1 // before makes the same of a text and of zeros before it
	}
	return before(w, n), closed[W](s, i+n/8)
}

func usualKind[W writing](s string, i int) (Kind, int) {
	w, i := usualName[W](s, i)
	switch w {
	case wordTrade:
		return Trade, i
	case wordQuote:
		return Quote, i
	case wordBar:
		return Bar, i
	case wordClock:
		return Clock, i
	}
	return 0, -1
}

func usualSide[W writing](s string, i int) (Side, int) {
	w, i := usualName[W](s, i)
	switch w {
	case wordBuy:
		return Buy, i
	case wordSell:
		return Sell, i
	}
	return 0, -1
}

func usualInterval[W writing](s string, i int) (time.Duration, int) {
	text, i := usualText[W](s, i, len("86400s"))
	d := parseInterval(text)
	if d == 0 {
		return 0, -1
	}
	return d, i
}

func usualIneligible[W writing](s string, i int) (bool, int) {
	switch {
	case strings.HasPrefix(s[i:], "true"):
		return false, i + len("true")
	case strings.HasPrefix(s[i:], "false"):
		return true, i + len("false")
	}
	return false, -1
}

// usualConditions reads an array of plain strings, as sent.
func usualConditions[W writing](u *usual, i int) (string, int) {
	s := u.s
	from := i
	if at(s, i) != '[' {
		return "", -1
	}
	i++
	width, _ := quoteBytes[W]()
	for range maxConditions {
		if _, i = usualText[W](s, i, maxText); i < 0 {
			return "", -1
		}
		if uint(i) < uint(len(s)-3) && commaIn[W](word4(s, i)) {
			i += colonBytes[W]() - width
			continue
		}
		if at(s, i) != ']' {
			return "", -1
		}
		if raw := s[from : i+1]; width == 1 {
			return raw, i + 1
		} else {
			return u.withoutEscapes(raw), i + 1
		}
	}
	return "", -1
}

// withoutEscapes takes the backslashes out of what has none but before quotes. Of the same text as the last time it makes
// no new one: conditions repeat.
func (u *usual) withoutEscapes(raw string) string {
	if raw != u.escaped {
		u.escaped, u.unescaped = raw, strings.ReplaceAll(raw, `\"`, `"`)
	}
	return u.unescaped
}

// digitsIn takes the digits' zeros off a word, and tells at which bit its first byte that is no digit begins; t is the
// value of the bytes before it, and other holds the highest bit of that byte, and maybe of bytes above.
func digitsIn(w uint64) (t, other uint64) {
	t = w ^ ones*'0'
	return t, (t | (t + ones*0x76)) & highs
}

// number8 is the number of eight digits, the first in the lowest byte.
func number8(t uint64) uint64 {
	t = t*10 + t>>8
	return (t&0x000000FF000000FF*0x000F424000000064 + t>>16&0x000000FF000000FF*0x0000271000000001) >> 32
}

// usualInteger reads an unquoted integer of at most 15 digits.
func usualInteger[W writing](s string, i int) (int64, int) {
	t, other := digitsIn(wordAt(s, i))
	n := bits.TrailingZeros64(other) &^ 7
	if n == 0 || byte(t) == 0 && n > 8 {
		return 0, -1
	}
	v := number8(before(t, n))
	i += n / 8
	if n < 64 {
		return int64(v), i
	}
	t, other = digitsIn(wordAt(s, i))
	if n = bits.TrailingZeros64(other) &^ 7; n == 64 {
		return 0, -1
	} else if n > 0 {
		v = v*pow10[n/8] + number8(before(t, n))
	}
	return int64(v), i + n/8
}

func usualPositive[W writing](s string, i int) (Decimal, int) {
	v, i := usualNumber[W](s, i)
	if v == 0 {
		return 0, -1
	}
	return v, i
}

// usualNumber reads a number, quoted or not, that is not negative and has no exponent. It is fast for one that ends within 8
// bytes, its point included.
func usualNumber[W writing](s string, i int) (Decimal, int) {
	quoted := isQuote[W](s, i)
	if quoted {
		width, _ := quoteBytes[W]()
		i += width
	}
	var w uint64 // wordAt, by hand: it is called most here
	if i+8 <= len(s) {
		w = word(s, i)
	} else {
		w = lastWord(s, i)
	}
	t, other := digitsIn(w)
	whole := bits.TrailingZeros64(other) &^ 7
	decimals, end := 0, whole
	padded := byte(t) == 0 && whole > 8 // by a zero that JSON forbids
	if byte(t>>whole) == '.'^'0' {
		end = bits.TrailingZeros64(other&(other-1)) &^ 7
		decimals = (end-whole)/8 - 1
		low := uint64(1)<<whole - 1
		t = (t&low | t>>8&^low) << 8
	}
	var v Decimal
	if whole == 0 || end == 64 || end == whole+8 || padded {
		if v, i = usualDecimal(s, i); i < 0 {
			return 0, -1
		}
	} else {
		v = Decimal(number8(before(t, end)) * pow10[9-decimals])
		i += end / 8
	}
	if quoted {
		return v, closed[W](s, i)
	}
	return v, i
}

// usualTime reads a timestamp in UTC, with Z, at most 8 decimals and a year before 2262; slower any that parseTime takes.
func usualTime[W writing](u *usual, i int) (int64, int) {
	s := u.s
	if !isQuote[W](s, i) {
		return 0, -1
	}
	from := i
	width, _ := quoteBytes[W]()
	if i += width; i+len("2026-11-20T14:30:00Z") > len(s) {
		return 0, -1
	}
	// The pairs of digits end up in the bytes of the first of each.
	const zeros = '0' | '0'<<8 | ':'<<16 | '0'<<24 | '0'<<32 | ':'<<40 | '0'<<48 | '0'<<56
	const limits = 0x76 | 0x76<<8 | 0x7F<<16 | 0x76<<24 | 0x76<<32 | 0x7F<<40 | 0x76<<48 | 0x76<<56
	clock := word(s, i+11) ^ zeros
	odd := (clock | (clock + limits)) & highs
	clock = clock*10 + clock>>8
	hour, minute, second := clock&0xFF, clock>>24&0xFF, clock>>48&0xFF
	if odd != 0 || hour > 23 || minute > 59 || second > 59 || s[i+10] != 'T' || !u.turnTo(word(s, i), uint64(s[i+8])|uint64(s[i+9])<<8) {
		return usualAnyTime[W](s, from)
	}
	var fraction uint64
	i += len("2026-11-20T14:30:00")
	if s[i] == '.' {
		t, other := digitsIn(wordAt(s, i+1))
		n := bits.TrailingZeros64(other) &^ 7
		if n == 0 {
			return 0, -1
		}
		fraction = number8(before(t, n)) * pow10[9-n/8]
		i += 1 + n/8
	}
	if at(s, i) != 'Z' {
		return usualAnyTime[W](s, from)
	}
	return (u.day+int64(hour*3600+minute*60+second))*1e9 + int64(fraction), closed[W](s, i+1)
}

// turnTo makes the day of a timestamp the one that is remembered, and reports whether it is one.
func (u *usual) turnTo(yearMonth, monthDay uint64) bool {
	if yearMonth == u.yearMonth && monthDay == u.monthDay {
		return true
	}
	const zeros = '0' | '0'<<8 | '0'<<16 | '0'<<24 | '-'<<32 | '0'<<40 | '0'<<48 | '-'<<56
	const limits = 0x76 | 0x76<<8 | 0x76<<16 | 0x76<<24 | 0x7F<<32 | 0x76<<40 | 0x76<<48 | 0x7F<<56
	ym, d := yearMonth^zeros, monthDay^('0'|'0'<<8)
	odd := (ym | (ym + limits) | d | (d + 0x7676)) & highs
	ym, d = ym*10+ym>>8, (d*10+d>>8)&0xFF
	year, month := uint32(ym&0xFF*100+ym>>16&0xFF), uint32(ym>>40&0xFF)
	if odd != 0 || year < 1678 || year > 2261 || month-1 > 11 || uint32(d)-1 >= daysIn(year, month) {
		return false
	}
	u.yearMonth, u.monthDay, u.day = yearMonth, monthDay, int64(daysSince1970(year, month, uint32(d)))*86400
	return true
}

// anyTime reads the timestamp at s[i] that usualTime does not.
func usualAnyTime[W writing](s string, i int) (int64, int) {
	text, i := usualText[W](s, i, len("2026-11-20T14:30:00.123456789+00:00"))
	ns, fault := parseTime(text)
	if fault != "" {
		return 0, -1
	}
	return ns, i
}
