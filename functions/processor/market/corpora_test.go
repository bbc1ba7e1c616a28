package market

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// suiteVerdicts are our verdicts on what nst/JSONTestSuite leaves to the implementation, and on all of its transformations:
// as the value of an extra field, which is read over; and, where the file is an array of one value, that value as the
// field named. "" = accepted.
var suiteVerdicts = map[string]struct {
	extra  Reason
	field  string
	inside Reason
	why    string
}{
	"i_number_double_huge_neg_exp.json":     {"", "price", TooPrecise, "a number is any that the grammar has; as a price nothing is rounded, so an underflow is no zero"},
	"i_number_huge_exp.json":                {"", "price", OutOfRange, "the exponent is read without overflow"},
	"i_number_neg_int_huge_exp.json":        {"", "price", OutOfRange, "the range is judged before the sign"},
	"i_number_pos_double_huge_exp.json":     {"", "price", OutOfRange, "no infinity"},
	"i_number_real_neg_overflow.json":       {"", "price", OutOfRange, "the range is judged before the sign"},
	"i_number_real_pos_overflow.json":       {"", "price", OutOfRange, "no infinity"},
	"i_number_real_underflow.json":          {"", "price", TooPrecise, "an underflow is no zero"},
	"i_number_too_big_neg_int.json":         {"", "sequence", OutOfRange, "a sequence is 0 to 2^63-1"},
	"i_number_too_big_pos_int.json":         {"", "sequence", OutOfRange, "a sequence is 0 to 2^63-1"},
	"i_number_very_big_negative_int.json":   {"", "sequence", OutOfRange, "a sequence is 0 to 2^63-1"},
	"number_-9223372036854775808.json":      {"", "sequence", OutOfRange, "negative"},
	"number_-9223372036854775809.json":      {"", "sequence", OutOfRange, "negative"},
	"number_1.0.json":                       {"", "sequence", BadNumber, "an integer has no fraction, not even a zero one: who sends it counts in floats"},
	"number_1.000000000000000005.json":      {"", "price", TooPrecise, "a float64 reads 1; nothing is rounded in silence"},
	"number_1000000000000000.json":          {"", "sequence", "", "exactly"},
	"number_10000000000000000999.json":      {"", "sequence", OutOfRange, "beyond 2^63-1, and no float64"},
	"number_1e-999.json":                    {"", "price", TooPrecise, "an underflow is no zero"},
	"number_1e6.json":                       {"", "price", "", "one million, exactly"},
	"number_9223372036854775807.json":       {"", "sequence", "", "the largest, exactly"},
	"number_9223372036854775808.json":       {"", "sequence", OutOfRange, "one more"},
	"object_key_nfc_nfd.json":               {"", "", "", "keys are compared by bytes: two normal forms are two keys"},
	"object_key_nfd_nfc.json":               {"", "", "", "keys are compared by bytes"},
	"object_same_key_different_values.json": {"", "", "", "within an extra field, which nobody reads; in the event itself it is refused"},
	"object_same_key_same_value.json":       {"", "", "", "within an extra field"},
	"object_same_key_unclear_values.json":   {"", "", "", "within an extra field"},
	"string_with_escaped_NULL.json":         {"", "id", ControlCharacter, "JSON has it, no text of an event does"},

	"string_1_escaped_invalid_codepoint.json":             {InvalidUTF8, "id", InvalidUTF8, "half a surrogate pair is no character, and U+FFFD would be another text"},
	"string_1_invalid_codepoint.json":                     {InvalidUTF8, "id", InvalidUTF8, "a surrogate in UTF-8 is not UTF-8"},
	"string_2_escaped_invalid_codepoints.json":            {InvalidUTF8, "id", InvalidUTF8, "two first halves are no pair"},
	"string_2_invalid_codepoints.json":                    {InvalidUTF8, "id", InvalidUTF8, "not UTF-8"},
	"string_3_escaped_invalid_codepoints.json":            {InvalidUTF8, "id", InvalidUTF8, "no pair"},
	"string_3_invalid_codepoints.json":                    {InvalidUTF8, "id", InvalidUTF8, "not UTF-8"},
	"i_object_key_lone_2nd_surrogate.json":                {InvalidUTF8, "", "", "a key is a text like any other"},
	"i_string_1st_surrogate_but_2nd_missing.json":         {InvalidUTF8, "id", InvalidUTF8, "half a pair"},
	"i_string_1st_valid_surrogate_2nd_invalid.json":       {InvalidUTF8, "id", InvalidUTF8, "half a pair"},
	"i_string_UTF-8_invalid_sequence.json":                {InvalidUTF8, "id", InvalidUTF8, "not UTF-8"},
	"i_string_UTF8_surrogate_U+D800.json":                 {InvalidUTF8, "id", InvalidUTF8, "not UTF-8"},
	"i_string_incomplete_surrogate_and_escape_valid.json": {InvalidUTF8, "id", InvalidUTF8, "half a pair"},
	"i_string_incomplete_surrogate_pair.json":             {InvalidUTF8, "id", InvalidUTF8, "half a pair"},
	"i_string_incomplete_surrogates_escape_valid.json":    {InvalidUTF8, "id", InvalidUTF8, "half a pair"},
	"i_string_invalid_lonely_surrogate.json":              {InvalidUTF8, "id", InvalidUTF8, "half a pair"},
	"i_string_invalid_surrogate.json":                     {InvalidUTF8, "id", InvalidUTF8, "half a pair"},
	"i_string_invalid_utf-8.json":                         {InvalidUTF8, "id", InvalidUTF8, "not UTF-8"},
	"i_string_inverted_surrogates_U+1D11E.json":           {InvalidUTF8, "id", InvalidUTF8, "the second half first is no pair"},
	"i_string_iso_latin_1.json":                           {InvalidUTF8, "id", InvalidUTF8, "not UTF-8: no other encoding is guessed"},
	"i_string_lone_second_surrogate.json":                 {InvalidUTF8, "id", InvalidUTF8, "half a pair"},
	"i_string_lone_utf8_continuation_byte.json":           {InvalidUTF8, "id", InvalidUTF8, "not UTF-8"},
	"i_string_not_in_unicode_range.json":                  {InvalidUTF8, "id", InvalidUTF8, "beyond U+10FFFF"},
	"i_string_overlong_sequence_2_bytes.json":             {InvalidUTF8, "id", InvalidUTF8, "an overlong form hides a character from whoever compares bytes"},
	"i_string_overlong_sequence_6_bytes.json":             {InvalidUTF8, "id", InvalidUTF8, "overlong"},
	"i_string_overlong_sequence_6_bytes_null.json":        {InvalidUTF8, "id", InvalidUTF8, "overlong"},
	"i_string_truncated-utf-8.json":                       {InvalidUTF8, "id", InvalidUTF8, "not UTF-8"},

	"i_string_UTF-16LE_with_BOM.json":         {MalformedJSON, "", "", "the format is UTF-8; UTF-16 is not recognised"},
	"i_string_utf16BE_no_BOM.json":            {MalformedJSON, "", "", "the format is UTF-8"},
	"i_string_utf16LE_no_BOM.json":            {MalformedJSON, "", "", "the format is UTF-8"},
	"i_structure_500_nested_arrays.json":      {TooDeep, "", "", "32 levels are ten times what an event needs"},
	"i_structure_UTF-8_BOM_empty_object.json": {MalformedJSON, "", "", "RFC 8259 forbids to send a byte order mark"},
}

// TestJSONTestSuiteVerdicts puts every file of the suite where an event belongs, where an extra field's value belongs and
// where a text belongs, alone and between good events, and holds the decoder against the suite's verdict, ours, and the
// slow decoder's.
func TestJSONTestSuiteVerdicts(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(shared, "badinput", "JSONTestSuite", "*", "*.json"))
	if len(files) == 0 {
		t.Skip("no JSONTestSuite: it lies beside the checkout")
	}
	count := map[string]int{}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name, text := filepath.Base(path), string(b)
		kind := name[:2]
		verdict, decided := suiteVerdicts[name]
		switch {
		case kind == "y_" || kind == "n_":
			if decided {
				t.Errorf("%s: the suite has its own verdict", name)
			}
		case !decided || verdict.why == "":
			t.Errorf("%s has no verdict: decide it, and say why", name)
			continue
		default:
			kind = "i_"
		}
		count[kind]++

		single := text
		if inner, ok := strings.CutPrefix(strings.TrimSpace(text), "["); ok && strings.HasSuffix(inner, "]") {
			single = strings.TrimSuffix(inner, "]")
		}
		for _, body := range []string{text, goodTrade + "\n" + text + "\n" + goodBar, "[" + goodTrade + "," + text + "," + goodBar + "]", with(goodTrade, "x", text), with(goodTrade, "id", text), with(goodTrade, "id", single),
			with(goodTrade, "price", single), with(goodTrade, "sequence", single), with(goodTrade, "symbol", single), "{" + text + ":1}", `{"` + text + `":1}`} {
			checkBody(t, body)
		}

		// As a body: nothing of the suite is an event; what is bad JSON is refused as such.
		events, refused := Decode(nil, text, testNow, testSkew)
		syntax := slices.ContainsFunc(refused, func(r Refusal) bool {
			return r.Reason == MalformedJSON || r.Reason == TrailingData || r.Reason == InvalidUTF8 || r.Reason == TooDeep
		})
		if len(events) > 0 || kind == "n_" && !syntax || kind == "y_" && syntax {
			t.Errorf("%s as a body: %+v, refused %+v", name, events, refused)
		}

		// As an extra field's value, between good events.
		carrier := with(goodTrade, "x", text)
		events, refused = Decode(nil, "["+goodQuote+","+carrier+","+goodBar+"]", testNow, testSkew)
		switch {
		case kind == "y_" || kind == "i_" && verdict.extra == "":
			plain := mustDecode(t, goodTrade)
			sameEvents(t, events, []Event{mustDecode(t, goodQuote), plain, mustDecode(t, goodBar)})
			if len(events) == 3 && events[1].Raw != carrier {
				t.Errorf("%s is raw %q", name, events[1].Raw)
			}
		case len(refused) != 1 || len(events) < 1 || events[0].Kind != Quote || !strings.HasPrefix(refused[0].Raw, carrier) && !strings.HasPrefix(carrier, refused[0].Raw):
			t.Errorf("%s as an extra value: %+v, refused %+v", name, events, refused)
		case kind == "i_" && refused[0].Reason != verdict.extra:
			t.Errorf("%s as an extra value is refused with %s, decided is %s: %s", name, refused[0].Reason, verdict.extra, verdict.why)
		}

		// As a text: what is accepted is the text that the JSON says, and a file that is a bad text is refused.
		events, refused = Decode(nil, with(goodTrade, "id", single), testNow, testSkew)
		var want string
		isText := json.Unmarshal([]byte(single), &want) == nil && strings.HasPrefix(strings.TrimSpace(single), `"`)
		switch {
		case len(events) == 1 && (!isText || events[0].ID != want || kind == "n_"):
			t.Errorf("%s as an id is %q", name, events[0].ID)
		case kind == "y_" && isText && len(want) <= maxText && !hasControl(want) && len(events) != 1:
			t.Errorf("%s as an id is refused: %+v", name, refused)
		}
		if verdict.field != "" {
			events, refused = Decode(nil, with(goodTrade, verdict.field, single), testNow, testSkew)
			if verdict.inside == "" && len(events) != 1 || verdict.inside != "" && (len(refused) != 1 || refused[0].Reason != verdict.inside) {
				t.Errorf("%s as %s: refused %+v, decided is %q: %s", name, verdict.field, refused, verdict.inside, verdict.why)
			}
		}
	}
	if count["y_"] < 95 || count["n_"] < 188 || count["i_"] < 57 || count["i_"] != len(suiteVerdicts) {
		t.Errorf("%v files and %d verdicts, want 95 y_, 188 n_, and a verdict for each of 35 i_ and 22 transformations", count, len(suiteVerdicts))
	}
}

// A duplicate key of the suite is no event's key as long as it is an extra field's; as the event's own it is refused.
func TestDuplicateKeysOfTheEventItself(t *testing.T) {
	for body, want := range map[string]Reason{
		with(goodClock, "x", `{"a":1,"a":2}`): "", strings.Replace(goodClock, "{", `{"a":1,"a":2,`, 1): DuplicateKey, strings.Replace(goodClock, "{", `{"a":1,"a":1,`, 1): DuplicateKey,
		strings.Replace(goodClock, "{", `{"é":1,"e\u0301":1,`, 1): "", strings.Replace(goodClock, "{", `{"é":1,"\u00e9":1,`, 1): DuplicateKey,
	} {
		_, refused := Decode(nil, body, testNow, testSkew)
		if want == "" && len(refused) > 0 || want != "" && (len(refused) != 1 || refused[0].Reason != want) {
			t.Errorf("%s: %+v, want %q", body, refused, want)
		}
	}
}

// naughtyFields are all fields that take a text, with what is accepted in them, told by other means than the decoder's.
var naughtyFields = []struct {
	base, key string
	accepted  func(string) bool
	get       func(*Event) string
}{
	{goodTrade, "symbol", regexp.MustCompile(`^[A-Za-z0-9./:_^=-]{1,32}$`).MatchString, func(e *Event) string { return e.Symbol }},
	{goodTrade, "source", naughtyText(0, 64), func(e *Event) string { return e.Source }},
	{goodTrade, "id", naughtyText(0, 128), func(e *Event) string { return e.ID }},
	{goodTrade, "venue", naughtyText(0, 128), func(e *Event) string { return e.Venue }},
	{goodStatus, "state", naughtyText(1, 128), func(e *Event) string { return e.State }},
	{goodStatus, "reason", naughtyText(0, 128), func(e *Event) string { return e.Reason }},
	{goodCorrection, "original_id", naughtyText(1, 128), func(e *Event) string { return e.OriginalID }},
	{goodCorrection, "action", oneOf("cancel", "correct"), func(e *Event) string { return e.Action }},
	{goodTrade, "side", oneOf("buy", "sell"), func(e *Event) string { return e.Side.String() }},
	{goodTrade, "type", oneOf("trade"), func(e *Event) string { return e.Kind.String() }},
	{goodTrade, "timestamp", regexp.MustCompile(`^\d{4}-\d\d-\d\dT`).MatchString, nil},
	{goodBar, "interval", oneOf("1m", "1h", "1d"), nil},
	{goodTrade, "price", naughtyNumber, nil},
	{goodVolume, "volume", naughtyNumber, nil},
	{goodTrade, "size", naughtyNumber, nil},
	{goodQuote, "bid", naughtyNumber, nil},
	{goodQuote, "ask_size", func(s string) bool {
		return naughtyNumber(s) || regexp.MustCompile(`^-?0(\.0+)?([eE]\d+)?$`).MatchString(s)
	}, nil},
	{goodBar, "vwap", naughtyNumber, nil},
}

func naughtyText(least, most int) func(string) bool {
	return func(s string) bool {
		return len(s) >= least && len(s) <= most && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
	}
}

func oneOf(list ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(list, s) }
}

// naughtyNumber tells the positive decimals of the list: 1 to 9 digits before the point and at most 9 behind it.
var naughtyNumber = func() func(string) bool {
	form := regexp.MustCompile(`^([1-9]\d{0,8}(\.\d{1,9})?|0\.\d{0,8}[1-9]\d{0,8}|1[eE]\+?0?\d)$`)
	return func(s string) bool {
		return form.MatchString(s) && (!strings.Contains(s, ".") || len(s)-strings.Index(s, ".") <= 10)
	}
}()

// TestNaughtyStrings puts every naughty string in every field that takes a text, in three spellings of JSON: what is accepted
// comes out byte by byte, and again from its canonical form, and what is refused is kept as received.
func TestNaughtyStrings(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(shared, "badinput", "naughty-strings", "blns.json"))
	if os.IsNotExist(err) {
		t.Skip("no blns.json: it lies beside the checkout")
	} else if err != nil {
		t.Fatal(err)
	}
	var naughty []string
	if err := json.Unmarshal(b, &naughty); err != nil {
		t.Fatal(err)
	}
	if len(naughty) < 500 {
		t.Fatalf("%d strings, want 500", len(naughty))
	}
	accepted, refusals := 0, 0
	for i, s := range naughty {
		marshalled, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, spelt := range slices.Compact([]string{string(marshalled), spellPlain(s), spellEscaped(s)}) {
			for _, f := range naughtyFields {
				body := strings.Replace(f.base, "{", "{\x00", 1)
				body = strings.Replace(with(body, f.key, "\x01"), "\x00", "", 1)
				body = strings.Replace(body, "\x01", spelt, 1)
				events, refused := Decode(nil, body, testNow, testSkew)
				if want := f.accepted(s); want != (len(events) == 1) || want == (len(refused) == 1) {
					t.Errorf("%s %s: %d events, refused %+v", f.key, spelt, len(events), refused)
					continue
				}
				if len(refused) == 1 {
					refusals++
					if r := refused[0]; r.Raw != body || r.Field != f.key || !isPrintable(r.Error()) {
						t.Errorf("%s %s: refused %+v", f.key, spelt, r)
					}
				} else if accepted++; events[0].Raw != body || f.get != nil && f.get(&events[0]) != s {
					t.Errorf("%s %s is mangled: %+v", f.key, spelt, events[0])
				}
				if i%5 == len(f.key)%5 { // the slow decoder is slow
					checkBody(t, "["+goodQuote+","+body+"]")
				}
			}
			// A condition stays as it was sent.
			events, refused := Decode(nil, with(goodTrade, "conditions", `["@",`+spelt+`]`), testNow, testSkew)
			if want := naughtyText(0, 128)(s); want != (len(events) == 1) || !want && (len(refused) != 1 || refused[0].Field != "conditions") {
				t.Errorf("condition %s: %+v, refused %+v", spelt, events, refused)
			} else if want && events[0].Conditions != `["@",`+spelt+`]` {
				t.Errorf("condition %s is %s", spelt, events[0].Conditions)
			}
			// As a key and as an extra text it says nothing.
			for _, extra := range []string{`"x":` + spelt, spelt + `:1`} {
				if events, refused := Decode(nil, strings.Replace(goodClock, "{", "{"+extra+",", 1), testNow, testSkew); len(events) != 1 {
					t.Errorf("extra %s: refused %+v", extra, refused)
				}
			}
		}
	}
	t.Logf("%d strings: %d accepted, %d refused", len(naughty), accepted, refusals)
	if accepted < 5_000 || refusals < 5_000 {
		t.Errorf("%d accepted, %d refused: one of them is hardly tried", accepted, refusals)
	}
}

// spellPlain escapes what JSON must have escaped, and nothing else.
func spellPlain(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			fmt.Fprintf(&b, `\%c`, r)
		case r < ' ':
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// spellEscaped escapes everything.
func spellEscaped(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		if r >= 0x10000 {
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		} else {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String() + `"`
}

// An offset leads the oldest timestamps out of the years that the canonical form has.
func TestOldestTimestamps(t *testing.T) {
	for stamp, good := range map[string]bool{
		"1678-01-01T00:00:00Z": true, "1678-01-01T00:00:00-00:01": true, "1678-01-01T05:00:00+05:00": true,
		"1678-01-01T00:00:00+00:01": false, "1678-01-01T04:59:59.999999999+05:00": false, "1677-12-31T23:59:59Z": false, "1677-12-31T23:59:00-00:01": false,
	} {
		body := with(goodClock, "timestamp", `"`+stamp+`"`)
		events, refused := Decode(nil, body, testNow, testSkew)
		if good != (len(events) == 1) || !good && (len(refused) != 1 || refused[0].Reason != BadTimestamp) {
			t.Errorf("%s: %+v, refused %+v", stamp, events, refused)
		}
		checkBody(t, body)
	}
}
