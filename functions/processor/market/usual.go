package market

import (
	"math/bits"
	"strings"
	"time"
)

// This file reads the usual event, eight bytes at a time: one line of known keys in any order, each once, with plain text
// and short numbers, at most a blank behind a comma or a colon, and nothing wrong with it. It refuses nothing: whatever
// else it meets, good or bad, makes it give up, and the general path judges the event from its brace on. What it accepts,
// the general path accepts too, with equal values.

// Every byte of a word is 1, or has its highest bit.
const ones, highs = 0x0101010101010101, 0x8080808080808080

// word is s[i:i+8], the first byte lowest.
func word(s string, i int) uint64 {
	w := s[i : i+8]
	return uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 | uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
}

// lastWord is word for an i from which on s has less than 8 bytes: zeros follow them. s itself has at least 8.
func lastWord(s string, i int) uint64 { return word(s, len(s)-8) >> (8 * (i + 8 - len(s))) }

func wordAt(s string, i int) uint64 {
	if i+8 <= len(s) {
		return word(s, i)
	}
	return lastWord(s, i)
}

// quoteIn is 8 times the index of the first quote in a word, 64 without one.
func quoteIn(w uint64) int {
	x := w ^ ones*'"'
	return bits.TrailingZeros64((x-ones)&^x&highs) &^ 7
}

// before keeps the bytes of a word below bit n, a multiple of 8, moved to its top. With n = 0 it is the word itself.
func before(w uint64, n int) uint64 { return w << ((64 - n) & 63) }

// text8 is what before makes of a word that begins with the text, of at most 7 bytes, and a quote.
func text8(text string) uint64 {
	var w uint64
	for i := range len(text) {
		w |= uint64(text[i]) << (8 * i)
	}
	return before(w, 8*len(text))
}

// usualFields has at the slot of a key's first four bytes, its closing quote among them, which field it can only be;
// keyFactor gives all such fields slots of their own. Status and correction are too rare to be usual.
var usualFields = func() (t [64]field) {
	for slot := range t {
		t[slot] = unknownField
	}
	for f := range fieldState {
		if f != fieldPriceEligible { // begins like fieldPrice
			t[slotOf(f.String()+`":`, 0)] = f
		}
	}
	return t
}()

const keyFactor = 0x5B50E223

func slotOf(s string, i int) uint32 {
	k := s[i : i+4]
	return (uint32(k[0]) | uint32(k[1])<<8 | uint32(k[2])<<16 | uint32(k[3])<<24) * keyFactor >> 26
}

// The values of type and side.
var (
	wordTrade, wordQuote, wordBar, wordStatus, wordClock = text8("trade"), text8("quote"), text8("bar"), text8("status"), text8("clock")
	wordBuy, wordSell                                    = text8("buy"), text8("sell")
)

// usual reads the event whose brace is at s[i] into e, which is zero, and returns the index behind it. It returns -1 where
// the event is not a usual one or not a good one; e is then of no use. s has at least 8 bytes.
//
// The index goes on by constants where it can, behind keys for one: the processor then need not wait for one load to know
// where the next one is.
func (c *calendar) usual(e *Event, s string, i int, latest int64) int {
	var seen fields
	for {
		if i++; at(s, i) == ' ' {
			i++
		}
		if i++; i+4 > len(s) || s[i-1] != '"' {
			return -1
		}
		f := usualFields[slotOf(s, i)]
		if f == fieldPrice && s[i+4] == '_' {
			f = fieldPriceEligible
		}
		if seen.has(f) {
			return -1
		}
		seen |= 1 << (f & 31)
		switch f {
		case fieldType:
			e.Kind, i = usualKind(s, behind(s, i, `type":`))
		case fieldSymbol:
			e.Symbol, i = usualSymbol(s, behind(s, i, `symbol":`))
		case fieldSource:
			e.Source, i = usualText(s, behind(s, i, `source":`), maxSource)
		case fieldTimestamp:
			e.Time, i = c.usualTime(s, behind(s, i, `timestamp":`))
		case fieldSequence:
			e.HasSeq = true
			e.Sequence, i = usualInteger(s, behind(s, i, `sequence":`))
		case fieldID:
			e.ID, i = usualText(s, behind(s, i, `id":`), maxText)
		case fieldVenue:
			e.Venue, i = usualText(s, behind(s, i, `venue":`), maxText)
		case fieldPrice:
			e.Price, i = usualPositive(s, behind(s, i, `price":`))
		case fieldSize:
			e.Size, i = usualPositive(s, behind(s, i, `size":`))
		case fieldSide:
			e.Side, i = usualSide(s, behind(s, i, `side":`))
		case fieldPriceEligible:
			e.Ineligible, i = usualEligible(s, behind(s, i, `price_eligible":`))
		case fieldConditions:
			e.Conditions, i = usualConditions(s, behind(s, i, `conditions":`))
		case fieldBid:
			e.HasBid = true
			e.Bid, i = usualPositive(s, behind(s, i, `bid":`))
		case fieldAsk:
			e.HasAsk = true
			e.Ask, i = usualPositive(s, behind(s, i, `ask":`))
		case fieldBidSize:
			e.BidSize, i = usualNumber(s, behind(s, i, `bid_size":`))
		case fieldAskSize:
			e.AskSize, i = usualNumber(s, behind(s, i, `ask_size":`))
		case fieldInterval:
			e.Interval, i = usualInterval(s, behind(s, i, `interval":`))
		case fieldOpen:
			e.Open, i = usualPositive(s, behind(s, i, `open":`))
		case fieldHigh:
			e.High, i = usualPositive(s, behind(s, i, `high":`))
		case fieldLow:
			e.Low, i = usualPositive(s, behind(s, i, `low":`))
		case fieldClose:
			e.Close, i = usualPositive(s, behind(s, i, `close":`))
		case fieldVolume:
			e.Size, i = usualNumber(s, behind(s, i, `volume":`)) // of a bar: below
		case fieldVWAP:
			e.HasVWAP = true
			e.VWAP, i = usualPositive(s, behind(s, i, `vwap":`))
		case fieldTrades:
			e.HasTrades = true
			e.Trades, i = usualInteger(s, behind(s, i, `trades":`))
		default:
			return -1
		}
		if uint(i) >= uint(len(s)) {
			return -1
		}
		if s[i] == ',' {
			continue
		}
		if s[i] != '}' || requiredFields[e.Kind]&^seen != 0 || seen&^kindFields[e.Kind] != 0 {
			return -1
		}
		break
	}
	known := e.Time
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
		// Exact in a float64 and divided once, the volume is rounded as strconv.ParseFloat rounds its text.
		if e.Size >= 1<<53 {
			return -1
		}
		e.Volume, e.Size = float64(e.Size)/float64(Unit), 0
		known += int64(e.Interval)
		if e.Low > min(e.Open, e.Close) || e.High < max(e.Open, e.Close) || known < e.Time {
			return -1
		}
	}
	if known > latest {
		return -1
	}
	return i + 1
}

// behind is the index of the value behind the key at s[i], or -1 for another key.
func behind(s string, i int, key string) int {
	if j := i + len(key); j < len(s) && s[i:j] == key && s[j] != ' ' {
		return j
	}
	return behindBlank(s, i, key)
}

func behindBlank(s string, i int, key string) int {
	if i += len(key); i >= len(s) || s[i-len(key):i] != key {
		return -1
	}
	return i + 1
}

// The functions below read the value at s[i] and return it with the index behind it. Both an i without a value and a value
// that is not usual give -1.

// usualText reads a plain string of at most limit bytes.
func usualText(s string, i, limit int) (string, int) {
	if uint(i) >= uint(len(s)) || s[i] != '"' {
		return "", -1
	}
	j := plainEnd(s, i+1)
	if j >= len(s) || s[j] != '"' || j-i-1 > limit {
		return "", -1
	}
	return s[i+1 : j], j + 1
}

// usualSymbol is fast for at most 8 bytes from '-' to ':' and letters; the other three that a symbol may have are rarer.
func usualSymbol(s string, i int) (string, int) {
	if uint(i) >= uint(len(s)-8) || s[i] != '"' {
		return usualRareSymbol(s, i)
	}
	w := word(s, i+1)
	n := quoteIn(w)
	letters := w | ones*0x20
	odd := w | ^((w+ones*(0x80-'-'))&^(w+ones*(0x7F-':')) | (letters+ones*(0x80-'a'))&^(letters+ones*(0x7F-'z')))
	if n == 0 || n == 64 || odd&highs&(1<<n-1) != 0 {
		return usualRareSymbol(s, i)
	}
	return s[i+1 : i+1+n/8], i + 2 + n/8
}

func usualRareSymbol(s string, i int) (string, int) {
	text, next := usualText(s, i, maxSymbol)
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

// name is the string at s[i] as text8 has it, if it is one of at most 7 bytes.
func name(s string, i int) (uint64, int) {
	if uint(i) >= uint(len(s)) || s[i] != '"' {
		return 0, -1
	}
	w := wordAt(s, i+1)
	n := quoteIn(w)
	return before(w, n), i + n/8 + 2
}

func usualKind(s string, i int) (Kind, int) {
	w, i := name(s, i)
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

func usualSide(s string, i int) (Side, int) {
	w, i := name(s, i)
	switch w {
	case wordBuy:
		return Buy, i
	case wordSell:
		return Sell, i
	}
	return 0, -1
}

func usualInterval(s string, i int) (time.Duration, int) {
	text, i := usualText(s, i, len("86400s"))
	d := parseInterval(text)
	if d == 0 {
		return 0, -1
	}
	return d, i
}

func usualEligible(s string, i int) (ineligible bool, next int) {
	switch {
	case i < 0:
	case strings.HasPrefix(s[i:], "true"):
		return false, i + len("true")
	case strings.HasPrefix(s[i:], "false"):
		return true, i + len("false")
	}
	return false, -1
}

// usualConditions reads an array of plain strings, as sent.
func usualConditions(s string, i int) (string, int) {
	if uint(i) >= uint(len(s)) || s[i] != '[' {
		return "", -1
	}
	from := i
	for range maxConditions {
		if i++; at(s, i) == ' ' {
			i++
		}
		if _, i = usualText(s, i, maxText); i < 0 {
			return "", -1
		}
		switch at(s, i) {
		case ']':
			return s[from : i+1], i + 1
		case ',':
		default:
			return "", -1
		}
	}
	return "", -1
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
func usualInteger(s string, i int) (int64, int) {
	if i < 0 {
		return 0, -1
	}
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

func usualPositive(s string, i int) (Decimal, int) {
	v, i := usualNumber(s, i)
	if v == 0 {
		return 0, -1
	}
	return v, i
}

// usualNumber reads a number, quoted or not, that is not negative and has no exponent. It is fast for one that ends
// within 8 bytes, its point included.
func usualNumber(s string, i int) (Decimal, int) {
	if uint(i) >= uint(len(s)) {
		return 0, -1
	}
	quoted := s[i] == '"'
	if quoted {
		i++
	}
	t, other := digitsIn(wordAt(s, i))
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
		if at(s, i) != '"' {
			return 0, -1
		}
		i++
	}
	return v, i
}

// calendar remembers the day that was read last.
type calendar struct {
	yearMonth uint64 // the text "2026-11-"
	day       uint64 // the text "20"
	seconds   int64  // from 1970 to the day's begin
}

// usualTime reads a timestamp in UTC, with Z, at most 8 decimals and a year before 2262; slower any that parseTime takes.
func (c *calendar) usualTime(s string, i int) (int64, int) {
	if i < 0 || i+len(`"2026-11-20T14:30:00Z"`) > len(s) || s[i] != '"' {
		return 0, -1
	}
	// The pairs of digits end up in the bytes of the first of each.
	const zeros = '0' | '0'<<8 | ':'<<16 | '0'<<24 | '0'<<32 | ':'<<40 | '0'<<48 | '0'<<56
	const limits = 0x76 | 0x76<<8 | 0x7F<<16 | 0x76<<24 | 0x76<<32 | 0x7F<<40 | 0x76<<48 | 0x76<<56
	clock := word(s, i+12) ^ zeros
	odd := (clock | (clock + limits)) & highs
	clock = clock*10 + clock>>8
	hour, minute, second := clock&0xFF, clock>>24&0xFF, clock>>48&0xFF
	if odd != 0 || hour > 23 || minute > 59 || second > 59 || s[i+11] != 'T' || !c.turnTo(word(s, i+1), uint64(s[i+9])|uint64(s[i+10])<<8) {
		return anyTime(s, i)
	}
	var fraction uint64
	j := i + 20
	if s[j] == '.' {
		t, other := digitsIn(wordAt(s, j+1))
		n := bits.TrailingZeros64(other) &^ 7
		if n == 0 {
			return 0, -1
		}
		fraction = number8(before(t, n)) * pow10[9-n/8]
		j += 1 + n/8
	}
	if at(s, j) != 'Z' || at(s, j+1) != '"' {
		return anyTime(s, i)
	}
	return (c.seconds+int64(hour*3600+minute*60+second))*1e9 + int64(fraction), j + 2
}

// turnTo makes the day, as in a timestamp, the one that is remembered, and reports whether it is one.
func (c *calendar) turnTo(yearMonth, day uint64) bool {
	if yearMonth == c.yearMonth && day == c.day {
		return true
	}
	const zeros = '0' | '0'<<8 | '0'<<16 | '0'<<24 | '-'<<32 | '0'<<40 | '0'<<48 | '-'<<56
	const limits = 0x76 | 0x76<<8 | 0x76<<16 | 0x76<<24 | 0x7F<<32 | 0x76<<40 | 0x76<<48 | 0x7F<<56
	ym, d := yearMonth^zeros, day^('0'|'0'<<8)
	odd := (ym | (ym + limits) | d | (d + 0x7676)) & highs
	ym, d = ym*10+ym>>8, (d*10+d>>8)&0xFF
	y, m := uint32(ym&0xFF*100+ym>>16&0xFF), uint32(ym>>40&0xFF)
	if odd != 0 || y < 1678 || y > 2261 || m-1 > 11 || uint32(d)-1 >= daysIn(y, m) {
		return false
	}
	*c = calendar{yearMonth, day, int64(daysSince1970(y, m, uint32(d))) * 86400}
	return true
}

// anyTime reads what usualTime does not.
func anyTime(s string, i int) (int64, int) {
	text, i := usualText(s, i, len("2026-11-20T14:30:00.123456789+00:00"))
	ns, fault := parseTime(text)
	if fault != "" {
		return 0, -1
	}
	return ns, i
}
