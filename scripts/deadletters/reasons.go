package main

import (
	"maps"
	"slices"

	"example.com/market-data-pipeline/functions/processor/market"
)

// exhausted is the reason of every dead letter.
const exhausted market.Reason = "retries_exhausted"

// rule is what a reason means: the rule of the message format that was broken, in words, and what to do.
type rule struct{ text, remedy string }

const (
	mend   = "correct the producer; a repaired event is sent with ./scripts/send"
	adapt  = "the feed or its adapter must write the field as the format asks; a repaired event is sent with ./scripts/send"
	smooth = "round in the producer, knowingly: nothing is rounded here; a repaired event is sent with ./scripts/send"
)

var rules = map[market.Reason]rule{
	exhausted: {"its retries are used up: the processor failed or deferred it each time, or it waited behind such a message of its group",
		"find the cause in the function's log by the message id, mend it, then redrive"},

	market.MalformedJSON:    {"a body is valid JSON: one event, an array of events, or one event a line", mend},
	market.TrailingData:     {"nothing follows an event on its line, or the array", "send one event a line, or one array a message"},
	market.DuplicateKey:     {"a key comes once in an event, and volume is another name for size", mend},
	market.WrongKeyCase:     {"keys are written in lower case, as in the format", mend},
	market.WrongType:        {"each field has its JSON type: texts are strings, prices are numbers or decimal strings", adapt},
	market.NullValue:        {"null stands for no value that is used: a field without a value is left out", adapt},
	market.MissingField:     {"symbol, timestamp and what the event's type requires are there", adapt},
	market.UnknownType:      {"type is trade, quote, bar, status, correction or clock; without it the event is a trade", adapt},
	market.UnknownFormat:    {"the attribute format names a dialect that the processor knows; without it the body is canonical", "leave the attribute out, or deploy a processor that knows the dialect, then redrive --reason unknown_format"},
	market.BadNumber:        {"a number is a plain decimal; an integer has neither fraction nor exponent", adapt},
	market.NonPositive:      {"prices are above zero, and sizes and volumes are where they are given, not below zero", adapt},
	market.OutOfRange:       {"numbers are at most about 9.2e9, integers fit in 64 bits", adapt},
	market.TooPrecise:       {"prices and sizes have at most 9 decimals", smooth},
	market.InvertedBar:      {"of a bar low <= open, close <= high", adapt},
	market.BadSymbol:        {"a symbol has 1 to 32 characters of A-Z a-z 0-9 . - / : _ ^ =", adapt},
	market.BadInterval:      {"a bar's interval is a duration that divides a day, such as 1m or 1h", adapt},
	market.BadValue:         {"side is buy or sell, action is cancel or correct; state and original_id are not empty", adapt},
	market.TextTooLong:      {"source has at most 64 bytes, id, venue and other texts 128; there are at most 64 conditions", adapt},
	market.InvalidUTF8:      {"texts are valid UTF-8", adapt},
	market.ControlCharacter: {"texts have no control characters", adapt},
	market.BadTimestamp:     {"timestamp is RFC 3339 with an offset and at most 9 fractional digits, from 1678 to 2262", adapt},
	market.FutureTimestamp:  {"timestamp is no further ahead of the time of sending than the allowed clock skew", "set the producer's clock; once the time has passed, redrive --reason future_timestamp"},
	market.TooDeep:          {"an event nests at most 32 levels deep", mend},
	market.TooLarge:         {"a body has at most 1 MiB and 10,000 events", "send smaller messages: the events that were refused can be sent with ./scripts/send"},

	market.LateRetry: {"an event is no older than the lateness allows, measured against the newest event of its series; this one came late because its message was retried",
		"nothing was wrong with it. Redriven it is late again, counted and not kept, unless the stack's lateness was raised: redrive --reason late"},
	market.AlertRefused: {"SNS refused to publish this alert for good; it is no market data",
		"the log line \"alert refused for good\" with its alert_id tells SNS's code; the alert is in the alerts table as FAILED and is not published again"},
}

func knownReasons() []string {
	var out []string
	for _, r := range slices.Sorted(maps.Keys(rules)) {
		out = append(out, string(r))
	}
	return out
}
