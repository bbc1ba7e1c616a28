package market

// Reason names why an event was refused. Its text is a contract: it is the attribute "reason" in the rejects queue and
// the dimension by which operators count.
type Reason string

// The reasons of refusal. Everything else is accepted exactly as sent; nothing is rounded or repaired.
const (
	MalformedJSON    Reason = "malformed_json"    // not JSON, an empty body, a bare control character in a string
	TrailingData     Reason = "trailing_data"     // something follows the event on its line, or the array
	DuplicateKey     Reason = "duplicate_key"     // a key twice in the event's object; size beside volume
	WrongKeyCase     Reason = "wrong_key_case"    // "Symbol" for "symbol"
	WrongType        Reason = "wrong_type"        // a number where a string belongs ...
	NullValue        Reason = "null_value"        // null for a field that the event's kind uses, or for an event
	MissingField     Reason = "missing_field"     // a required field is absent; an array without events
	UnknownType      Reason = "unknown_type"      // "type" names no kind
	UnknownFormat    Reason = "unknown_format"    // the message attribute "format" names no dialect
	BadNumber        Reason = "bad_number"        // not a decimal number at all; a fraction or an exponent in an integer
	NonPositive      Reason = "non_positive"      // zero or less where only more makes sense; a negative size or volume
	OutOfRange       Reason = "out_of_range"      // beyond 9.2e9, or beyond an integer's range
	TooPrecise       Reason = "too_precise"       // more than 9 decimals
	InvertedBar      Reason = "inverted_bar"      // low above open, close or high; high below open or close
	BadSymbol        Reason = "bad_symbol"        // length or characters
	BadInterval      Reason = "bad_interval"      // not a duration that divides a day
	BadValue         Reason = "bad_value"         // a side or an action that is none of its values; an empty state or original_id
	TextTooLong      Reason = "text_too_long"     // id, venue, source ... over its limit; too many conditions
	InvalidUTF8      Reason = "invalid_utf8"      // also an unpaired surrogate escape
	ControlCharacter Reason = "control_character" // a text has U+0000 to U+001F (escaped) or U+007F to U+009F
	BadTimestamp     Reason = "bad_timestamp"     // not RFC 3339 with offset, at most 9 fractional digits, 1678 to 2262
	FutureTimestamp  Reason = "future_timestamp"  // further ahead than the allowed clock skew
	TooDeep          Reason = "too_deep"          // nesting over the limit
	TooLarge         Reason = "too_large"         // the body, or its number of events, is over the limit
)

// Refusal is one refused event, or the refused rest of a body.
type Refusal struct {
	Index  int // position in the message, from 0
	Reason Reason
	Field  string // the field at fault, "" where there is none
	Detail string // what is wrong, and the remedy; at most 200 bytes, never a copy of the body
	Raw    string // the event as received
}

// Error tells place, reason and remedy on one line, without the event's text.
func (r *Refusal) Error() string {
	s := string(r.Reason)
	if r.Field != "" {
		s += " in " + r.Field
	}
	return s + ": " + r.Detail
}
