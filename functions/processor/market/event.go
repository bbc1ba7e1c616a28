// Package market holds market data events and decodes their wire format. It is pure: no clock, no I/O, standard
// library only.
package market

import "time"

// Kind is what an event reports.
type Kind uint8

// The kinds of the wire format's field "type".
const (
	Trade Kind = iota
	Quote
	Bar
	Status
	Correction
	Clock
)

// Side is the aggressor's side of a trade.
type Side uint8

// The sides of the wire format's field "side"; SideNone where it was absent.
const (
	SideNone Side = iota
	Buy
	Sell
)

// Decimal is an exact decimal number (a price or a size) in units of 1e-9.
type Decimal int64

// Unit is the Decimal 1.
const Unit Decimal = 1e9

// Event is one market data event. Which fields have a meaning depends on Kind; the others are zero.
//
// Strings of a decoded event may alias the body it was decoded from.
type Event struct {
	Kind   Kind
	Side   Side // trade
	HasSeq bool // Sequence was sent
	// Ineligible is the negation of the wire's price_eligible: the trade adds volume but sets no price.
	Ineligible bool
	HasBid     bool // quote: the event carries a bid
	HasAsk     bool // quote: the event carries an ask
	HasVWAP    bool // bar
	HasTrades  bool // bar

	Index int32  // position in its message, from 0
	Raw   string // the event as received, "" where it was not decoded

	Symbol string
	Source string
	ID     string
	Venue  string

	Time     int64 // the field "timestamp" in nanoseconds since 1970 UTC; of a bar its start, see EventTime
	Sequence int64

	Price Decimal // trade
	Size  Decimal // trade; 0 = unknown

	Bid, Ask         Decimal // quote; see HasBid, HasAsk
	BidSize, AskSize Decimal // quote; 0 = unknown

	Interval               time.Duration // bar; divides a day
	Open, High, Low, Close Decimal       // bar
	Volume                 float64       // bar
	VWAP                   Decimal       // bar; see HasVWAP
	Trades                 int64         // bar; see HasTrades

	State  string // status: "halted", "resumed", "adjusted" ...
	Reason string // status

	Action     string // correction: "cancel" or "correct"
	OriginalID string // correction

	Conditions string // trade: the JSON array as sent, without line breaks; "" where absent
}

// EventTime is the time, in nanoseconds since 1970 UTC, at which the event is known: of a bar its end, else Time.
func (e *Event) EventTime() int64 {
	if e.Kind == Bar {
		return e.Time + int64(e.Interval)
	}
	return e.Time
}

// Series is the key of the event's series, "symbol|source". Prices of two sources are never mixed.
func (e *Event) Series() string { return SeriesKey(e.Symbol, e.Source) }

// SeriesKey is the key of the series of a symbol and a source. A symbol never contains the separator.
func SeriesKey(symbol, source string) string { return symbol + "|" + source }
