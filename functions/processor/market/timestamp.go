package market

import (
	"math"
	"time"
)

// FormatTime writes nanoseconds since 1970 as RFC 3339 in UTC with the shortest fraction: "2026-11-20T14:30:00.5Z".
func FormatTime(ns int64) string {
	var buf [32]byte
	return string(appendTime(buf[:0], ns))
}

func appendTime(b []byte, ns int64) []byte {
	sec, frac := ns/1e9, ns%1e9
	if frac < 0 {
		sec, frac = sec-1, frac+1e9
	}
	t := time.Unix(sec, 0).UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	b = append(b, byte('0'+year/1000), byte('0'+year/100%10), byte('0'+year/10%10), byte('0'+year%10))
	b = append2(append(b, '-'), int(month))
	b = append2(append(b, '-'), day)
	b = append2(append(b, 'T'), hour)
	b = append2(append(b, ':'), minute)
	b = append2(append(b, ':'), second)
	return append(appendFraction(b, uint64(frac)), 'Z')
}

func append2(b []byte, n int) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }

// parseTime reads RFC 3339 with an offset and at most 9 fractional digits. As the RFC has it, "t" and "z" may be lower
// case and -00:00 is UTC; a blank for "T" and a leap second are refused. fault is "" or says what is wrong.
func parseTime(s string) (ns int64, fault string) {
	const form = "write it as 2026-11-20T14:30:00.123Z"
	if len(s) < len("2026-11-20T14:30:00Z") {
		if len(s) >= len("2026-11-20T14:30:00") || len(s) == len("2026-11-20") {
			return 0, "no offset: " + form
		}
		return 0, "not RFC 3339: " + form
	}
	if s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return 0, "not RFC 3339: " + form
	}
	century, yy := two(s, 0), two(s, 2)
	month, day := two(s, 5), two(s, 8)
	hour, minute, second := two(s, 11), two(s, 14), two(s, 17)
	if (century|yy|month|day|hour|minute|second)&notDigits != 0 {
		return 0, "not RFC 3339: " + form
	}
	year := century*100 + yy
	if year < 1678 || year > 2262 {
		return 0, "the year is not within 1678 to 2262"
	}
	if month-1 > 11 || day-1 >= daysIn(year, month) {
		return 0, "there is no such day in the calendar"
	}
	if hour > 23 || minute > 59 || second > 59 {
		return 0, "hour, minute or second over its limit; a leap second is sent as :59"
	}
	i := len("2026-11-20T14:30:00")
	var frac uint64
	if s[i] == '.' {
		i++
		start := i
		for i < len(s) && s[i]-'0' <= 9 {
			frac = frac*10 + uint64(s[i]-'0')
			i++
		}
		if n := i - start; n == 0 || n > 9 {
			return 0, "a fraction has 1 to 9 digits"
		} else {
			frac *= pow10[9-n]
		}
	}
	sec := int64(daysSince1970(year, month, day))*86400 + int64(hour*3600+minute*60+second)
	switch c := at(s, i); {
	case c|0x20 == 'z' && i+1 == len(s):
	case (c == '+' || c == '-') && i+len("+00:00") == len(s) && s[i+3] == ':':
		h, m := two(s, i+1), two(s, i+4)
		if h > 23 || m > 59 { // notDigits is more than either
			return 0, "the offset is not within -23:59 to +23:59"
		}
		offset := int64(h*3600 + m*60)
		if c == '+' {
			offset = -offset
		}
		sec += offset
	case i == len(s):
		return 0, "no offset: " + form
	default:
		return 0, "no Z or +hh:mm behind the seconds: " + form
	}
	const minSec = -9_214_560_000 // 1678-01-01T00:00:00Z; an offset leads out of the year that was sent
	if sec < minSec {
		return 0, "earlier than 1678 in UTC"
	}
	const maxSec, maxFrac = math.MaxInt64 / 1_000_000_000, math.MaxInt64 % 1_000_000_000
	if sec > maxSec || sec == maxSec && frac > maxFrac {
		return 0, "later than nanoseconds in 64 bits reach, April 2262"
	}
	return sec*1e9 + int64(frac), ""
}

// notDigits is what two returns for something else than two digits.
const notDigits = 1 << 20

func two(s string, i int) uint32 {
	tens, ones := uint32(s[i]-'0'), uint32(s[i+1]-'0')
	if tens > 9 || ones > 9 {
		return notDigits
	}
	return tens*10 + ones
}

func daysIn(year, month uint32) uint32 {
	if month == 2 {
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 30 + (month+month>>3)&1
}

// daysSince1970 counts in years that begin in March, so that a leap day is the last of its year.
func daysSince1970(year, month, day uint32) int {
	if month <= 2 {
		year--
		month += 12
	}
	n := 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 1
	return int(n) - 719468
}
