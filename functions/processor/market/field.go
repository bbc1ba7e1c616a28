package market

// field is a known key of the wire format. The order is that of precedence: of an event with several bad fields, the
// first is named.
type field uint8

const (
	fieldType field = iota
	fieldSymbol
	fieldSource
	fieldTimestamp
	fieldSequence
	fieldID
	fieldVenue
	fieldPrice
	fieldSize
	fieldSide
	fieldPriceEligible
	fieldConditions
	fieldBid
	fieldAsk
	fieldBidSize
	fieldAskSize
	fieldInterval
	fieldOpen
	fieldHigh
	fieldLow
	fieldClose
	fieldVolume
	fieldVWAP
	fieldTrades
	fieldState
	fieldReason
	fieldAction
	fieldOriginalID
	unknownField
)

var fieldNames = [unknownField + 1]string{
	"type", "symbol", "source", "timestamp", "sequence", "id", "venue",
	"price", "size", "side", "price_eligible", "conditions",
	"bid", "ask", "bid_size", "ask_size",
	"interval", "open", "high", "low", "close", "volume", "vwap", "trades",
	"state", "reason", "action", "original_id", "",
}

func (f field) String() string { return fieldNames[f] }

// fieldOf is compiled to a search by length and bytes; a map is several times slower.
func fieldOf(key string) field {
	switch key {
	case "type":
		return fieldType
	case "symbol":
		return fieldSymbol
	case "source":
		return fieldSource
	case "timestamp":
		return fieldTimestamp
	case "sequence":
		return fieldSequence
	case "id":
		return fieldID
	case "venue":
		return fieldVenue
	case "price":
		return fieldPrice
	case "size":
		return fieldSize
	case "side":
		return fieldSide
	case "price_eligible":
		return fieldPriceEligible
	case "conditions":
		return fieldConditions
	case "bid":
		return fieldBid
	case "ask":
		return fieldAsk
	case "bid_size":
		return fieldBidSize
	case "ask_size":
		return fieldAskSize
	case "interval":
		return fieldInterval
	case "open":
		return fieldOpen
	case "high":
		return fieldHigh
	case "low":
		return fieldLow
	case "close":
		return fieldClose
	case "volume":
		return fieldVolume
	case "vwap":
		return fieldVWAP
	case "trades":
		return fieldTrades
	case "state":
		return fieldState
	case "reason":
		return fieldReason
	case "action":
		return fieldAction
	case "original_id":
		return fieldOriginalID
	}
	return unknownField
}

// miscased is the known field that key means if case is folded, as encoding/json folds it: U+017F is an s and U+212A a
// k as well.
func miscased(key string) field {
	var buf [16]byte // longer than any known key
	n, folded := 0, false
	for _, r := range key {
		if n == len(buf) {
			return unknownField
		}
		lower := r
		switch {
		case 'A' <= r && r <= 'Z':
			lower = r + 'a' - 'A'
		case r == '\u017F':
			lower = 's'
		case r == '\u212A':
			lower = 'k'
		case r >= 0x80:
			return unknownField
		}
		folded = folded || lower != r
		buf[n] = byte(lower)
		n++
	}
	if !folded {
		return unknownField
	}
	return fieldOf(string(buf[:n]))
}

// fields is a set of fields.
type fields uint32

func set(list ...field) (s fields) {
	for _, f := range list {
		s |= 1 << f
	}
	return s
}

func (s fields) has(f field) bool { return s>>(f&31)&1 != 0 }

var commonFields = set(fieldType, fieldSymbol, fieldSource, fieldTimestamp, fieldID, fieldVenue)

// kindFields are the fields that a kind of event uses; any other is to it an unknown extra field.
var kindFields = [...]fields{
	Trade:      commonFields | set(fieldSequence, fieldPrice, fieldSize, fieldVolume, fieldSide, fieldPriceEligible, fieldConditions),
	Quote:      commonFields | set(fieldSequence, fieldBid, fieldAsk, fieldBidSize, fieldAskSize),
	Bar:        commonFields | set(fieldSequence, fieldInterval, fieldOpen, fieldHigh, fieldLow, fieldClose, fieldVolume, fieldVWAP, fieldTrades),
	Status:     commonFields | set(fieldSequence, fieldState, fieldReason),
	Correction: commonFields | set(fieldSequence, fieldAction, fieldOriginalID),
	Clock:      commonFields,
}

var alwaysRequired = set(fieldSymbol, fieldTimestamp)

// requiredFields of a quote further include a bid or an ask.
var requiredFields = [...]fields{
	Trade:      alwaysRequired | set(fieldPrice),
	Quote:      alwaysRequired,
	Bar:        alwaysRequired | set(fieldInterval, fieldOpen, fieldHigh, fieldLow, fieldClose, fieldVolume),
	Status:     alwaysRequired | set(fieldState),
	Correction: alwaysRequired | set(fieldAction, fieldOriginalID),
	Clock:      alwaysRequired,
}

var kindNames = [...]string{"trade", "quote", "bar", "status", "correction", "clock"}

// String is the kind as the field "type" has it.
func (k Kind) String() string { return kindNames[k] }

var sideNames = [...]string{"", "buy", "sell"}

// String is the side as the field "side" has it, "" for SideNone.
func (s Side) String() string { return sideNames[s] }

// keepOwn clears what the event's kind does not use.
func (e *Event) keepOwn() {
	own := Event{Kind: e.Kind, Symbol: e.Symbol, Source: e.Source, Time: e.Time, ID: e.ID, Venue: e.Venue}
	if e.Kind != Clock {
		own.HasSeq, own.Sequence = e.HasSeq, e.Sequence
	}
	switch e.Kind {
	case Trade:
		own.Price, own.Size, own.Side, own.Ineligible, own.Conditions = e.Price, e.Size, e.Side, e.Ineligible, e.Conditions
	case Quote:
		own.HasBid, own.Bid, own.BidSize = e.HasBid, e.Bid, e.BidSize
		own.HasAsk, own.Ask, own.AskSize = e.HasAsk, e.Ask, e.AskSize
	case Bar:
		own.Interval, own.Open, own.High, own.Low, own.Close = e.Interval, e.Open, e.High, e.Low, e.Close
		own.Volume, own.HasVWAP, own.VWAP, own.HasTrades, own.Trades = e.Volume, e.HasVWAP, e.VWAP, e.HasTrades, e.Trades
	case Status:
		own.State, own.Reason = e.State, e.Reason
	case Correction:
		own.Action, own.OriginalID = e.Action, e.OriginalID
	}
	*e = own
}
