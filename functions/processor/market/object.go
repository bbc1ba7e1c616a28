package market

import (
	"strconv"
	"strings"
	"time"
)

// This file reads one event: its keys, their values, and what they must be together. A mistake in a value is noted and
// the scan goes on, because the kind, which says whether the value matters, may come last.

// object reads the event whose brace is at s[i].
func (d *decoder) object(e *Event, i int) int {
	s := d.s
	i = d.space(i + 1)
	if at(s, i) == '}' {
		return i + 1
	}
	for {
		if at(s, i) != '"' {
			return d.stop(i, "a key in double quotes")
		}
		var key string
		if key, i, _ = d.str(i); i < 0 {
			return -1
		}
		if at(s, i) != ':' {
			if i = d.space(i); at(s, i) != ':' {
				return d.stop(i, "a colon")
			}
		}
		i++
		if at(s, i) <= ' ' {
			i = d.space(i)
		}
		f := fieldOf(key)
		switch {
		case f == unknownField:
			d.unknown(key)
			i = d.skip(i, 2)
		case d.seen.has(f):
			d.flawed(fault{DuplicateKey, f, "the key comes twice: send it once"})
			i = d.skip(i, 2)
		default:
			d.seen |= 1 << f
			i = d.value(e, f, i)
		}
		if i < 0 {
			return -1
		}
		if at(s, i) <= ' ' {
			i = d.space(i)
		}
		switch at(s, i) {
		case ',':
			i++
			if at(s, i) <= ' ' {
				i = d.space(i)
			}
		case '}':
			return i + 1
		default:
			return d.stop(i, "a comma or '}'")
		}
	}
}

// unknown takes note of an unknown key. Up to the length of d.extra none is copied.
func (d *decoder) unknown(key string) {
	if f := miscased(key); f != unknownField {
		d.flawed(fault{WrongKeyCase, f, quote(key) + "is in the wrong case: write " + f.String()})
	}
	twice := false
	for _, k := range d.extra[:d.nExtra] {
		twice = twice || k == key
	}
	if _, ok := d.extras[key]; ok || twice {
		d.flawed(fault{DuplicateKey, unknownField, "the unknown key " + quote(key) + "comes twice: send it once"})
	} else if d.nExtra < len(d.extra) {
		d.extra[d.nExtra] = key
		d.nExtra++
	} else {
		if d.extras == nil {
			d.extras = map[string]struct{}{}
		}
		d.extras[key] = struct{}{}
	}
}

// value reads the value of a known field.
func (d *decoder) value(e *Event, f field, i int) int {
	switch f {
	case fieldType:
		return d.kind(&e.Kind, i)
	case fieldSymbol:
		return d.symbol(&e.Symbol, i)
	case fieldSource:
		return d.text(f, i, maxSource, &e.Source)
	case fieldTimestamp:
		return d.timestamp(&e.Time, i)
	case fieldSequence:
		e.HasSeq = true
		return d.integer(f, i, &e.Sequence)
	case fieldID:
		return d.text(f, i, maxText, &e.ID)
	case fieldVenue:
		return d.text(f, i, maxText, &e.Venue)
	case fieldPrice:
		return d.decimal(f, i, &e.Price)
	case fieldSize:
		return d.decimal(f, i, &e.Size)
	case fieldSide:
		return d.side(&e.Side, i)
	case fieldPriceEligible:
		return d.eligible(e, i)
	case fieldConditions:
		return d.conditions(&e.Conditions, i)
	case fieldBid:
		e.HasBid = true
		return d.decimal(f, i, &e.Bid)
	case fieldAsk:
		e.HasAsk = true
		return d.decimal(f, i, &e.Ask)
	case fieldBidSize:
		return d.decimal(f, i, &e.BidSize)
	case fieldAskSize:
		return d.decimal(f, i, &e.AskSize)
	case fieldInterval:
		return d.interval(&e.Interval, i)
	case fieldOpen:
		return d.decimal(f, i, &e.Open)
	case fieldHigh:
		return d.decimal(f, i, &e.High)
	case fieldLow:
		return d.decimal(f, i, &e.Low)
	case fieldClose:
		return d.decimal(f, i, &e.Close)
	case fieldVolume:
		d.volume, i = d.number(f, i)
		return i
	case fieldVWAP:
		e.HasVWAP = true
		return d.decimal(f, i, &e.VWAP)
	case fieldTrades:
		e.HasTrades = true
		return d.integer(f, i, &e.Trades)
	case fieldState:
		return d.required(f, i, &e.State)
	case fieldReason:
		return d.text(f, i, maxText, &e.Reason)
	case fieldAction:
		return d.action(&e.Action, i)
	default: // fieldOriginalID
		return d.required(f, i, &e.OriginalID)
	}
}

// mistyped skips a value of another type than the field's.
func (d *decoder) mistyped(f field, i int, want string) int {
	reason := typeFault(d.s, i)
	if reason == NullValue {
		d.bad(f, reason, "null says nothing: leave the field out, or send "+want)
	} else {
		d.bad(f, reason, "the value has the wrong type: send "+want)
	}
	return d.skip(i, 2)
}

func typeFault(s string, i int) Reason {
	if strings.HasPrefix(s[i:], "null") {
		return NullValue
	}
	return WrongType
}

// textOf reads a string; ok is false, and a fault noted, if it is none or has control characters.
func (d *decoder) textOf(f field, i int) (text string, next int, ok bool) {
	if at(d.s, i) != '"' {
		return "", d.mistyped(f, i, "a string"), false
	}
	var usual bool
	if text, next, usual = d.str(i); next < 0 {
		return "", next, false
	}
	if !usual && hasControl(text) {
		d.bad(f, ControlCharacter, "the text has a control character: send printable text")
		return "", next, false
	}
	return text, next, true
}

func (d *decoder) text(f field, i, limit int, dst *string) int {
	text, i, ok := d.textOf(f, i)
	if ok && len(text) > limit {
		d.bad(f, TextTooLong, strconv.Itoa(len(text))+" bytes where at most "+strconv.Itoa(limit)+" are allowed: shorten the text")
	}
	*dst = text
	return i
}

func (d *decoder) required(f field, i int, dst *string) int {
	known := len(d.faults)
	i = d.text(f, i, maxText, dst)
	if *dst == "" && i >= 0 && len(d.faults) == known {
		d.bad(f, BadValue, "the text is empty: say what it is")
	}
	return i
}

func (d *decoder) symbol(dst *string, i int) int {
	if s := d.s; at(s, i) == '"' {
		j := i + 1
		for j < len(s) && class[s[j]]&symbolic != 0 {
			j++
		}
		if n := j - i - 1; at(s, j) == '"' && n > 0 && n <= maxSymbol {
			*dst = s[i+1 : j]
			return j + 1
		}
	}
	text, i, ok := d.textOf(fieldSymbol, i)
	if !ok {
		return i
	}
	good := len(text) > 0 && len(text) <= maxSymbol
	for j := 0; j < len(text); j++ {
		good = good && class[text[j]]&symbolic != 0
	}
	if !good {
		d.bad(fieldSymbol, BadSymbol, quote(text)+"is not 1 to 32 characters of A-Z a-z 0-9 . - / : _ ^ =")
	}
	*dst = text
	return i
}

// kind and side read their names by a switch: a search through a list costs as much as all else about the field.
func (d *decoder) kind(dst *Kind, i int) int {
	text, i, ok := d.textOf(fieldType, i)
	if !ok {
		return i
	}
	switch text {
	case "trade":
		*dst = Trade
	case "quote":
		*dst = Quote
	case "bar":
		*dst = Bar
	case "status":
		*dst = Status
	case "correction":
		*dst = Correction
	case "clock":
		*dst = Clock
	default:
		d.bad(fieldType, UnknownType, quote(text)+"is none of "+strings.Join(kindNames[:], ", "))
	}
	return i
}

func (d *decoder) side(dst *Side, i int) int {
	text, i, ok := d.textOf(fieldSide, i)
	if !ok {
		return i
	}
	switch text {
	case "buy":
		*dst = Buy
	case "sell":
		*dst = Sell
	default:
		d.bad(fieldSide, BadValue, quote(text)+"is none of buy, sell")
	}
	return i
}

func (d *decoder) action(dst *string, i int) int {
	text, i, ok := d.textOf(fieldAction, i)
	if ok && text != "cancel" && text != "correct" {
		d.bad(fieldAction, BadValue, quote(text)+"is none of cancel, correct")
	}
	*dst = text
	return i
}

func (d *decoder) timestamp(dst *int64, i int) int {
	const shortest, longest = len(`"2026-11-20T14:30:00`), len(`"2026-11-20T14:30:00.123456789+00:00"`)
	if rest := d.s[i:]; len(rest) >= longest && rest[0] == '"' {
		if n := strings.IndexByte(rest[shortest:longest], '"'); n >= 0 {
			if ns, wrong := parseTime(rest[1 : shortest+n]); wrong == "" {
				*dst = ns
				return i + shortest + n + 1
			}
		}
	}
	text, i, ok := d.textOf(fieldTimestamp, i)
	if !ok {
		return i
	}
	ns, wrong := parseTime(text)
	if wrong != "" {
		d.bad(fieldTimestamp, BadTimestamp, quote(text)+wrong)
	}
	*dst = ns
	return i
}

func (d *decoder) interval(dst *time.Duration, i int) int {
	text, i, ok := d.textOf(fieldInterval, i)
	if !ok {
		return i
	}
	if *dst = parseInterval(text); *dst == 0 {
		d.bad(fieldInterval, BadInterval, quote(text)+"is not a whole number of s, m, h or d that divides a day: write 30s, 1m, 1h, 1d")
	}
	return i
}

// parseInterval returns 0 for what is no interval.
func parseInterval(s string) time.Duration {
	if len(s) < 2 || len(s) > len("86400s") || s[0] == '0' {
		return 0
	}
	const day = 24 * time.Hour
	var n time.Duration
	for _, c := range []byte(s[:len(s)-1]) {
		if c-'0' > 9 {
			return 0
		}
		n = n*10 + time.Duration(c-'0')
	}
	for _, u := range intervalUnits {
		if length := n * u.length; u.name == s[len(s)-1] && length <= day && day%length == 0 {
			return length
		}
	}
	return 0
}

// number reads a number, quoted or not, as text.
func (d *decoder) number(f field, i int) (text string, next int) {
	switch c := at(d.s, i); {
	case c == '"':
		text, next, _ = d.textOf(f, i)
		return text, next
	case c == '-' || c-'0' <= 9:
		return d.word(i)
	}
	return "", d.mistyped(f, i, "a number, or one in a string")
}

// decimal reads a price (more than zero) or a quote's size (zero or more).
func (d *decoder) decimal(f field, i int, dst *Decimal) int {
	s := d.s
	if at(s, i) == '"' {
		if v, end := usualDecimal(s, i+1); end >= 0 && at(s, end) == '"' && v > 0 {
			*dst = v
			return end + 1
		}
	} else if v, end := usualDecimal(s, i); end >= 0 && class[at(s, end)]&wordByte == 0 && v > 0 {
		*dst = v
		return end
	}
	known := len(d.faults)
	text, i := d.number(f, i)
	if i >= 0 && len(d.faults) == known {
		*dst = d.exact(f, text)
	}
	return i
}

// exact reads the number of a field, noting what is wrong with it.
func (d *decoder) exact(f field, text string) Decimal {
	v, reason := parseDecimal(text)
	switch {
	case reason != "":
		d.bad(f, reason, numberDetail(reason, text))
	case v < 0 || v == 0 && f != fieldBidSize && f != fieldAskSize:
		d.bad(f, NonPositive, quote(text)+"is not more than zero: leave the field out if it is unknown")
	}
	return v
}

// integer reads a number of 0 to 2^63-1 without fraction, exponent or sign.
func (d *decoder) integer(f field, i int, dst *int64) int {
	if c := at(d.s, i); c != '-' && c-'0' > 9 {
		return d.mistyped(f, i, "a JSON integer")
	}
	text, i := d.word(i)
	n, err := strconv.ParseUint(text, 10, 63)
	switch {
	case err == nil:
		*dst = int64(n)
	case strings.ContainsAny(text, ".eE"):
		d.bad(f, BadNumber, quote(text)+"is not an integer: write it as 123")
	default:
		d.bad(f, OutOfRange, quote(text)+"is not within 0 to 9223372036854775807")
	}
	return i
}

func (d *decoder) eligible(e *Event, i int) int {
	if c := at(d.s, i); c != 't' && c != 'f' {
		return d.mistyped(fieldPriceEligible, i, "true or false")
	}
	text, i := d.word(i)
	e.Ineligible = text == "false"
	return i
}

// conditions checks an array of strings and keeps it as sent, on one line.
func (d *decoder) conditions(dst *string, i int) int {
	if at(d.s, i) != '[' {
		return d.mistyped(fieldConditions, i, "an array of strings")
	}
	from := i
	n, known := 0, len(d.faults)
	if i = d.space(i + 1); at(d.s, i) == ']' {
		*dst = d.oneLine(from, i+1)
		return i + 1
	}
	for {
		var text string
		if at(d.s, i) == '"' {
			text, i, _ = d.textOf(fieldConditions, i)
		} else {
			d.bad(fieldConditions, typeFault(d.s, i), "a condition is a string: send [\"...\"]")
			i = d.skip(i, 3)
		}
		if i < 0 {
			return -1
		}
		if len(text) > maxText {
			d.bad(fieldConditions, TextTooLong, "a condition has "+strconv.Itoa(len(text))+" bytes where at most "+strconv.Itoa(maxText)+" are allowed")
		}
		if n++; n == maxConditions+1 {
			d.bad(fieldConditions, TextTooLong, "more than "+strconv.Itoa(maxConditions)+" conditions")
		}
		if len(d.faults) > known+1 {
			d.faults = d.faults[:known+1]
		}
		i = d.space(i)
		switch at(d.s, i) {
		case ',':
			i = d.space(i + 1)
		case ']':
			*dst = d.oneLine(from, i+1)
			return i + 1
		default:
			return d.stop(i, "a comma or ']'")
		}
	}
}

// oneLine is s[from:to], without the line breaks that only white space has.
func (d *decoder) oneLine(from, to int) string {
	raw := d.s[from:to]
	if strings.IndexByte(raw, '\n') < 0 && strings.IndexByte(raw, '\r') < 0 {
		return raw
	}
	return strings.NewReplacer("\r", "", "\n", "").Replace(raw)
}

// check judges the event's fields together, once its kind is known.
func (d *decoder) check(e *Event) {
	if d.flaw.reason != "" {
		return
	}
	for _, f := range d.faults {
		if f.field == fieldType {
			d.flaw = f
			return
		}
	}
	if d.seen.has(fieldVolume) {
		d.useVolume(e)
	}
	own := kindFields[e.Kind]
	required := requiredFields[e.Kind]
	if len(d.faults) > 0 || required&^d.seen != 0 || d.seen&^own != 0 || e.Kind == Quote && !e.HasBid && !e.HasAsk {
		d.checkFields(e, own, required)
	}
	if d.flaw.reason != "" {
		return
	}
	if e.Kind == Bar {
		if e.Low > min(e.Open, e.Close) || e.High < max(e.Open, e.Close) {
			f := fieldLow
			if e.Low <= min(e.Open, e.Close) {
				f = fieldHigh
			}
			d.flaw = fault{InvertedBar, f, "low " + e.Low.String() + ", open " + e.Open.String() + ", close " + e.Close.String() + ", high " + e.High.String() + ": low must be the lowest, high the highest"}
			return
		}
		if e.EventTime() < e.Time {
			d.flaw = fault{BadTimestamp, fieldTimestamp, "the bar ends later than nanoseconds in 64 bits reach, April 2262"}
			return
		}
	}
	if e.EventTime() > d.latest {
		d.flaw = fault{FutureTimestamp, fieldTimestamp, "the event time " + FormatTime(e.EventTime()) + " is further ahead than the allowed clock skew: check the sender's clock"}
	}
}

// useVolume reads the field volume, now that the kind tells what it is.
func (d *decoder) useVolume(e *Event) {
	if e.Kind == Trade && d.seen.has(fieldSize) {
		d.flaw = fault{DuplicateKey, fieldVolume, "size and volume are the same field of a trade: send one"}
		return
	}
	for _, f := range d.faults {
		if f.field == fieldVolume {
			return
		}
	}
	switch e.Kind {
	case Trade:
		e.Size = d.exact(fieldVolume, d.volume)
	case Bar:
		if !isNumber(d.volume) {
			d.bad(fieldVolume, BadNumber, numberDetail(BadNumber, d.volume))
			return
		}
		v, err := strconv.ParseFloat(d.volume, 64)
		switch {
		case err != nil:
			d.bad(fieldVolume, OutOfRange, quote(d.volume)+"is beyond a 64-bit float")
		case v < 0:
			d.bad(fieldVolume, NonPositive, quote(d.volume)+"is less than zero")
		}
		e.Volume = v + 0 // -0 + 0 is 0
	}
}

// checkFields judges the fields that the kind uses and clears the others.
func (d *decoder) checkFields(e *Event, own, required fields) {
	if d.flaw.reason != "" {
		return
	}
	for f := range unknownField {
		if !own.has(f) {
			continue
		}
		for _, bad := range d.faults {
			if bad.field == f {
				d.flaw = bad
				return
			}
		}
		if required.has(f) && !d.seen.has(f) || f == fieldBid && e.Kind == Quote && !e.HasBid && !e.HasAsk {
			d.flaw = fault{MissingField, f, "a " + e.Kind.String() + " needs it: send it"}
			return
		}
	}
	if d.seen&^own != 0 {
		e.keepOwn()
	}
}
