package market

import (
	"math"
	"strconv"
)

// ParseDecimal reads a number as JSON writes it ("189.84", "-5", "9.631e-05"), exactly. An error is a *Refusal with the
// reason BadNumber, OutOfRange (beyond ±9223372036.854775807) or TooPrecise (more than 9 decimals).
func ParseDecimal(s string) (Decimal, error) {
	v, reason := parseDecimal(s)
	if reason != "" {
		return 0, &Refusal{Reason: reason, Detail: numberDetail(reason, s), Raw: s}
	}
	return v, nil
}

// Float is the nearest float64.
func (d Decimal) Float() float64 {
	const exact = 1 << 53 // up to here, dividend and divisor have no error of their own, so the quotient is rounded once
	if d <= exact && d >= -exact {
		return float64(d) / float64(Unit)
	}
	return d.slowFloat()
}

func (d Decimal) slowFloat() float64 {
	var buf [24]byte
	v, _ := strconv.ParseFloat(string(appendDecimal(buf[:0], d)), 64) // a decimal's text always parses
	return v
}

// String writes the number exactly, without exponent and without needless zeros: "189.84". ParseDecimal reads it back
// (but for the lowest int64, which no parsed number has).
func (d Decimal) String() string {
	var buf [24]byte
	return string(appendDecimal(buf[:0], d))
}

func appendDecimal(b []byte, d Decimal) []byte {
	n := uint64(d)
	if d < 0 {
		b = append(b, '-')
		n = -n
	}
	b = strconv.AppendUint(b, n/uint64(Unit), 10)
	return appendFraction(b, n%uint64(Unit))
}

// appendFraction writes nine decimals without their trailing zeros, nothing for 0.
func appendFraction(b []byte, n uint64) []byte {
	if n == 0 {
		return b
	}
	b = append(b, '.')
	for unit := uint64(Unit) / 10; n > 0; unit /= 10 {
		b = append(b, byte('0'+n/unit))
		n %= unit
	}
	return b
}

var pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// usualDecimal reads an unsigned number without exponent and with at most 9 digits on either side of the point, the form
// of nearly all prices. next is the index behind it, or -1 for every other form; what follows is not looked at.
func usualDecimal(s string, i int) (v Decimal, next int) {
	start := i
	var n uint64
	for i < len(s) && s[i]-'0' <= 9 {
		n = n*10 + uint64(s[i]-'0')
		i++
	}
	if whole := i - start; whole == 0 || whole > 9 || s[start] == '0' && whole > 1 {
		return 0, -1
	}
	if i == len(s) || s[i] != '.' {
		return Decimal(n * uint64(Unit)), i
	}
	i++
	point := i
	for i < len(s) && s[i]-'0' <= 9 {
		n = n*10 + uint64(s[i]-'0')
		i++
	}
	decimals := i - point
	if decimals == 0 || decimals > 9 {
		return 0, -1
	}
	return Decimal(n * pow10[9-decimals]), i
}

// parseDecimal reads a whole number; its work grows with the number's length only, whatever the exponent.
func parseDecimal(s string) (Decimal, Reason) {
	if v, end := usualDecimal(s, 0); end == len(s) {
		return v, ""
	}
	if !isNumber(s) {
		return 0, BadNumber
	}
	// The number is its significant digits, without leading and trailing zeros, times 10^exp units of 1e-9.
	negative := s[0] == '-'
	var n uint64 // the first 19 significant digits up to the last that is not zero
	digits := 0  // significant digits, trailing zeros included
	zeros := 0   // trailing zeros of those
	exp := 9     // before trailing zeros are taken off
	fraction := false
	i := 0
	if negative {
		i++
	}
	for ; i < len(s) && s[i]|0x20 != 'e'; i++ {
		c := s[i]
		if c == '.' {
			fraction = true
			continue
		}
		if fraction {
			exp--
		}
		switch {
		case c != '0':
			if digits+1 <= 19 {
				n = n*pow10[zeros+1] + uint64(c-'0')
			}
			digits++
			zeros = 0
		case digits > 0:
			digits++
			zeros++
		}
	}
	if i < len(s) {
		exp += exponent(s[i+1:])
	}
	if n == 0 {
		return 0, ""
	}
	// The magnitude is below 10^(digits+exp) units; 10^19 is above the highest int64.
	if digits+exp > 19 {
		return 0, OutOfRange
	}
	if exp += zeros; exp < 0 {
		return 0, TooPrecise
	}
	if n > math.MaxInt64/pow10[exp] {
		return 0, OutOfRange
	}
	v := Decimal(n * pow10[exp])
	if negative {
		v = -v
	}
	return v, ""
}

// exponent reads the digits behind an "e". It stops growing far beyond any body's length, where nothing changes any more.
func exponent(s string) int {
	negative := s[0] == '-'
	if negative || s[0] == '+' {
		s = s[1:]
	}
	n := 0
	for i := 0; i < len(s) && n < 1e12; i++ {
		n = n*10 + int(s[i]-'0')
	}
	if negative {
		return -n
	}
	return n
}

// isNumber tells whether s is a number as RFC 8259 writes it.
func isNumber(s string) bool {
	i := 0
	digits := func() bool {
		start := i
		for i < len(s) && s[i]-'0' <= 9 {
			i++
		}
		return i > start
	}
	if at(s, i) == '-' {
		i++
	}
	if at(s, i) == '0' {
		i++
	} else if !digits() {
		return false
	}
	if at(s, i) == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if at(s, i)|0x20 == 'e' {
		i++
		if c := at(s, i); c == '+' || c == '-' {
			i++
		}
		if !digits() {
			return false
		}
	}
	return i == len(s)
}

func numberDetail(reason Reason, s string) string {
	switch reason {
	case OutOfRange:
		return quote(s) + "is beyond 9223372036.854775807: send it in another unit"
	case TooPrecise:
		return quote(s) + "has more than 9 decimals and nothing is rounded: send at most 9"
	}
	return quote(s) + "is not a decimal number: write it as 189.84 or \"189.84\""
}
