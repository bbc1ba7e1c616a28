package tradingday

import (
	"math/rand/v2"
	"strings"
)

// flaws are the ways in which a line goes bad. Each is refused with another reason, the last one by SQS itself.
var flaws = []func(string) string{
	func(l string) string { return l[:len(l)*2/3] },                                    // malformed_json
	func(l string) string { return l + "}" },                                           // trailing_data
	func(l string) string { return strings.Replace(l, `"symbol":`, `"Symbol":`, 1) },   // wrong_key_case
	func(l string) string { return strings.Replace(l, `,"symbol":`, `,"ticker":`, 1) }, // missing_field
	func(l string) string { return setText(l, "source", `null`) },                      // null_value
	func(l string) string { return setText(l, "timestamp", `1767623400000`) },          // wrong_type
	func(l string) string { return strings.Replace(l, `Z"`, `"`, 1) },                  // bad_timestamp
	func(l string) string { return strings.Replace(l, `"2026-`, `"2126-`, 1) },         // future_timestamp
	func(l string) string { return strings.Replace(l, `{"type":"`, `{"type":"x-`, 1) }, // unknown_type
	func(l string) string { return setText(l, "symbol", `"A PL$"`) },                   // bad_symbol
	func(l string) string { return setText(l, "source", `"sim\u0007"`) },               // control_character
	func(l string) string { return strings.Replace(l, `{`, `{"type":"trade",`, 1) },    // duplicate_key
	func(l string) string { return withPrices(l, `-`) },                                // non_positive
	func(l string) string { return withPrices(l, `0.0000000001","was":"`) },            // too_precise
	func(l string) string { return withPrices(l, `1,`) },                               // bad_number
	func(l string) string { return withPrices(l, `99999999999`) },                      // out_of_range
	func(l string) string { return strings.Replace(l, `"sim"`, "\"si\xffm\"", 1) },     // invalid UTF-8
}

// spoil returns a bad form of line.
func spoil(line string, rnd *rand.Rand) string {
	i := rnd.IntN(len(flaws))
	if i == len(flaws)-1 && rnd.IntN(4) > 0 { // rare: it costs its message a second attempt
		i = 0
	}
	return flaws[i](line)
}

// setText replaces the text value of a field.
func setText(line, field, value string) string {
	before, after, _ := strings.Cut(line, `"`+field+`":"`)
	_, after, _ = strings.Cut(after, `"`)
	return before + `"` + field + `":` + value + after
}

// withPrices puts text before every price; a status, which has none, loses its last bracket.
func withPrices(line, text string) string {
	spoilt := strings.NewReplacer(`"price":"`, `"price":"`+text, `"bid":"`, `"bid":"`+text).Replace(line)
	if spoilt == line {
		return line[:len(line)-1]
	}
	return spoilt
}
