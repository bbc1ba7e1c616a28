package simulate

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// number is a DynamoDB number: ±0.digits × 10^exponent, digits without zeros at either end; zero has none.
type number struct {
	negative bool
	digits   string
	exponent int
}

func parseNumber(s string) (number, error) {
	bad := refuse("ValidationException", "The parameter cannot be converted to a numeric value: %s", s)
	var n number
	rest := s
	if strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") {
		n.negative = rest[0] == '-'
		rest = rest[1:]
	}
	if i := strings.IndexAny(rest, "eE"); i >= 0 {
		e, err := strconv.Atoi(rest[i+1:])
		if err != nil || e < -1000 || e > 1000 {
			return n, bad
		}
		n.exponent, rest = e, rest[:i]
	}
	whole, fraction, _ := strings.Cut(rest, ".")
	digits := whole + fraction
	if digits == "" || strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return n, bad
	}
	n.exponent += len(whole)
	trimmed := strings.TrimLeft(digits, "0")
	n.exponent -= len(digits) - len(trimmed)
	n.digits = strings.TrimRight(trimmed, "0")
	switch {
	case n.digits == "":
		return number{}, nil
	case len(n.digits) > 38:
		return n, refuse("ValidationException", "Attempting to store more than 38 significant digits in a Number")
	case n.exponent > 126:
		return n, refuse("ValidationException", "Number overflow. Attempting to store a number with magnitude larger than supported range")
	case n.exponent < -129:
		return n, refuse("ValidationException", "Number underflow. Attempting to store a number with magnitude smaller than supported range")
	}
	return n, nil
}

// String is the form in which DynamoDB gives the number back.
func (n number) String() string {
	if n.digits == "" {
		return "0"
	}
	s := n.digits
	switch {
	case n.exponent <= 0:
		s = "0." + strings.Repeat("0", -n.exponent) + s
	case n.exponent >= len(s):
		s += strings.Repeat("0", n.exponent-len(s))
	default:
		s = s[:n.exponent] + "." + s[n.exponent:]
	}
	if n.negative {
		return "-" + s
	}
	return s
}

// key encodes the number so that keys compare as the numbers do.
func (n number) key() string {
	if n.digits == "" {
		return "1"
	}
	if !n.negative {
		return fmt.Sprintf("2%03d%s", n.exponent+500, n.digits)
	}
	// Nines' complement turns the order round; the tilde puts a longer, so smaller, number first.
	b := []byte(fmt.Sprintf("%03d%s", n.exponent+500, n.digits))
	for i := range b {
		b[i] = '9' - (b[i] - '0')
	}
	return "0" + string(b) + "~"
}

// scaled gives n as an integer of units of 10^unit, for a unit of at most that of n's last digit.
func (n number) scaled(unit int) *big.Int {
	i, _ := new(big.Int).SetString("0"+n.digits, 10)
	i.Mul(i, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n.exponent-len(n.digits)-unit)), nil))
	if n.negative {
		i.Neg(i)
	}
	return i
}

func (n number) add(o number, subtract bool) (number, error) {
	unit := min(n.exponent-len(n.digits), o.exponent-len(o.digits))
	a, b := n.scaled(unit), o.scaled(unit)
	if subtract {
		b.Neg(b)
	}
	return parseNumber(fmt.Sprintf("%se%d", a.Add(a, b), unit))
}
