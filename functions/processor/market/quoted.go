package market

import (
	"math"
	"strings"
)

// Quoted reads bodies that are the inside of a JSON string, as in the event that Lambda hands over, without unescaping them
// first. The zero value is ready. What one body has in common with the one before is read once.
type Quoted struct{ usual usual }

// Decode reads the body that begins at s[i] and ends at the quote at s[end]. It takes usual events only, as nearly all are:
// good ones without white space, or with a blank behind every comma and colon, of plain text and of the kinds trade, quote,
// bar and clock. Where it meets anything else, end is -1 and events is dst; the body is then to be unescaped and given to
// [Decode].
//
// The events are those of [Decode], but that Raw is "" and that none is refused for its time: latest is the greatest
// EventTime, which the caller compares with its own limit. Their strings alias s, or that of an earlier call.
func (q *Quoted) Decode(dst []Event, s string, i int) (events []Event, end int, latest int64) {
	from, n := i, len(dst)
	latest = math.MinInt64
	if len(s)-i < 8 {
		return dst, -1, latest
	}
	u := &q.usual
	u.s, u.latest, u.quoted = s, math.MaxInt64, true
	array := s[i] == '['
	if array {
		i++
	}
	for count := range DefaultLimits.MaxEvents {
		dst = append(dst, Event{})
		e := &dst[len(dst)-1]
		if i = u.event(e, i); i < 0 {
			break
		}
		u.packed = true
		e.Index = int32(count)
		latest = max(latest, e.EventTime())
		if array {
			if at(s, i) == ',' {
				if i++; at(s, i) == ' ' {
					i++
				}
				continue
			}
			if at(s, i) != ']' {
				break
			}
			i++
		} else if strings.HasPrefix(s[i:], `\n`) {
			if i += len(`\n`); at(s, i) != '"' {
				continue
			}
		}
		if at(s, i) != '"' || i-from > DefaultLimits.MaxBytes {
			break
		}
		return dst, i, latest
	}
	return dst[:n], -1, latest
}
