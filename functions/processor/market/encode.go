package market

import (
	"strconv"
	"time"
)

// AppendJSON appends the event in the canonical wire format, on one line without a newline. Decode turns it into an
// equal event, but for Index, if e is one that Decode could have returned.
func (e *Event) AppendJSON(b []byte) []byte {
	begin := len(b)
	if e.Kind != Trade { // the default, and bytes are billed
		b = appendText(b, fieldType, e.Kind.String())
	}
	b = appendText(b, fieldSymbol, e.Symbol)
	if e.Kind == Bar {
		b = appendKey(b, fieldInterval)
		b = append(appendInterval(append(b, '"'), e.Interval), '"')
	}
	b = appendKey(b, fieldTimestamp)
	b = append(appendTime(append(b, '"'), e.Time), '"')
	switch e.Kind {
	case Trade:
		b = appendNumber(b, fieldPrice, e.Price)
		if e.Size != 0 {
			b = appendNumber(b, fieldSize, e.Size)
		}
		if e.Side != SideNone {
			b = appendText(b, fieldSide, e.Side.String())
		}
		if e.Ineligible {
			b = append(appendKey(b, fieldPriceEligible), "false"...)
		}
		if e.Conditions != "" {
			b = append(appendKey(b, fieldConditions), e.Conditions...)
		}
	case Quote:
		if e.HasBid {
			b = appendNumber(b, fieldBid, e.Bid)
		}
		if e.BidSize != 0 {
			b = appendNumber(b, fieldBidSize, e.BidSize)
		}
		if e.HasAsk {
			b = appendNumber(b, fieldAsk, e.Ask)
		}
		if e.AskSize != 0 {
			b = appendNumber(b, fieldAskSize, e.AskSize)
		}
	case Bar:
		b = appendNumber(b, fieldOpen, e.Open)
		b = appendNumber(b, fieldHigh, e.High)
		b = appendNumber(b, fieldLow, e.Low)
		b = appendNumber(b, fieldClose, e.Close)
		b = strconv.AppendFloat(appendKey(b, fieldVolume), e.Volume, 'g', -1, 64)
		if e.HasVWAP {
			b = appendNumber(b, fieldVWAP, e.VWAP)
		}
		if e.HasTrades {
			b = strconv.AppendInt(appendKey(b, fieldTrades), e.Trades, 10)
		}
	case Status:
		b = appendText(b, fieldState, e.State)
		b = appendOptional(b, fieldReason, e.Reason)
	case Correction:
		b = appendText(b, fieldAction, e.Action)
		b = appendText(b, fieldOriginalID, e.OriginalID)
	}
	b = appendOptional(b, fieldID, e.ID)
	if e.HasSeq {
		b = strconv.AppendInt(appendKey(b, fieldSequence), e.Sequence, 10)
	}
	b = appendOptional(b, fieldVenue, e.Venue)
	b = appendOptional(b, fieldSource, e.Source)
	b[begin] = '{' // for the first comma
	return append(b, '}')
}

func appendKey(b []byte, f field) []byte {
	b = append(append(b, `,"`...), f.String()...)
	return append(b, `":`...)
}

// appendNumber quotes the number, so that no reader on the way rounds it.
func appendNumber(b []byte, f field, d Decimal) []byte {
	return append(appendDecimal(append(appendKey(b, f), '"'), d), '"')
}

func appendOptional(b []byte, f field, s string) []byte {
	if s == "" {
		return b
	}
	return appendText(b, f, s)
}

func appendText(b []byte, f field, s string) []byte {
	b = append(appendKey(b, f), '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ':
			const hex = "0123456789abcdef"
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

func appendInterval(b []byte, d time.Duration) []byte {
	for _, u := range intervalUnits {
		if d%u.length == 0 {
			return append(strconv.AppendInt(b, int64(d/u.length), 10), u.name)
		}
	}
	return b
}

// intervalUnits, the longest first.
var intervalUnits = [...]struct {
	name   byte
	length time.Duration
}{{'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}
