package stackcheck

import (
	"fmt"
	"strings"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
)

// FeedSource is the source of every event that the checks send.
const FeedSource = "check"

// feed is what one run sends: everything in it carries the run's id, so that runs, and the users of a live stack, do
// not meet.
type feed struct {
	run   string
	start time.Time
}

// symbol is the run's symbol number n: it sorts, filters and cleans up by the run's prefix.
func (f feed) symbol(name string) string { return f.prefix() + name }
func (f feed) prefix() string            { return "CHECK." + f.run + "." }

const (
	tradeSymbols = 6
	quoteSymbols = 4
	perSymbol    = 24
	eventStep    = 500 * time.Millisecond // of event time
)

func cents(n int) market.Decimal { return market.Decimal(n) * market.Unit / 100 }

func whole(n int) market.Decimal { return market.Decimal(n) * market.Unit }

// events are good ones, symbol by symbol in time order: prices that swing between 100 and 111.5, now and then a block
// worth millions, books that widen and cross.
func (f feed) events() []market.Event {
	var out []market.Event
	for s := range tradeSymbols {
		for i := range perSymbol {
			e := market.Event{
				Kind: market.Trade, Symbol: f.symbol(fmt.Sprintf("T%d", s)), Source: FeedSource, HasSeq: true, Sequence: int64(i + 1),
				ID: fmt.Sprintf("t%d-%d", s, i), Venue: "XCHK", Time: f.at(i), Price: cents(10_050 + 100*swing(i)), Size: whole(10), Side: market.Buy,
			}
			if i%8 == 5 {
				e.Size, e.Side = whole(30_000), market.Sell
			}
			out = append(out, e)
		}
	}
	for s := range quoteSymbols {
		for i := range perSymbol {
			e := market.Event{
				Kind: market.Quote, Symbol: f.symbol(fmt.Sprintf("Q%d", s)), Source: FeedSource, HasSeq: true, Sequence: int64(i + 1), Time: f.at(i),
				HasBid: true, HasAsk: true, Bid: cents(10_000), Ask: cents(10_001), BidSize: whole(5), AskSize: whole(7),
			}
			switch i % 12 {
			case 4, 5:
				e.Ask = cents(10_125) // 124 basis points
			case 9:
				e.Ask = cents(9_950) // crossed
			}
			out = append(out, e)
		}
	}
	return out
}

// at is the time of a symbol's event number i.
func (f feed) at(i int) int64 { return f.start.Add(time.Duration(i) * eventStep).UnixNano() }

// swing goes from 0 up to 11 and back.
func swing(i int) int {
	if i %= 24; i < 12 {
		return i
	}
	return 23 - i
}

// block is a trade that fires rules about large trades.
func (f feed) block(name string, i int) market.Event {
	return market.Event{Kind: market.Trade, Symbol: f.symbol(name), Source: FeedSource, HasSeq: true, Sequence: int64(i + 1), Time: f.at(i),
		Price: whole(200), Size: whole(25_000)}
}

// quiet are the events of a series whose last minute, in which the price jumps, no later trade closes: rules about bars
// built from trades wait for the clock. It is due at once: the newest event is not a trade but a halt just now, so there
// is little lag of the feed to move it.
func (f feed) quiet(name string) []market.Event {
	var out []market.Event
	add := func(e market.Event) {
		e.Symbol, e.Source, e.HasSeq, e.Sequence = f.symbol(name), FeedSource, true, int64(len(out)+1)
		out = append(out, e)
	}
	last := f.start.Add(-longAgo).Truncate(time.Minute)
	late := last.Add(time.Minute / 2) // when the minutes before are closed
	for i := range 5 {
		add(market.Event{Kind: market.Trade, Time: last.Add(time.Duration(i-5) * time.Minute).UnixNano(), Price: whole(100), Size: whole(10)})
	}
	add(market.Event{Kind: market.Trade, Time: late.UnixNano(), Price: whole(101), Size: whole(10)})
	add(market.Event{Kind: market.Trade, Time: late.Add(eventStep).UnixNano(), Price: whole(102), Size: whole(10)})
	add(market.Event{Kind: market.Status, Time: f.at(0), State: "halted"})
	return out
}

// longAgo is how long before the run's start the series with a gap begin.
const longAgo = 10 * time.Minute

// gap are a vendor's bar and, long after it, a trade.
func (f feed) gap(name string) []market.Event {
	minute := f.start.Add(-longAgo).Truncate(time.Minute)
	after := f.block(name, 0)
	after.Price, after.Size = whole(101), whole(10)
	return []market.Event{{Kind: market.Bar, Symbol: f.symbol(name), Source: FeedSource, Time: minute.UnixNano(), Interval: time.Minute,
		Open: whole(100), High: whole(102), Low: whole(99), Close: whole(101), Volume: 1000}, after}
}

// badEvent is an event that must be refused.
type badEvent struct {
	reason market.Reason
	body   string
}

// badEvents are one or more for each reason that a body alone can have.
func (f feed) badEvents() []badEvent {
	symbol := f.symbol("BAD")
	t := market.FormatTime(f.at(0))
	// with is a good trade in which field is replaced by what is given, "" removes it.
	with := func(field, replacement string) string {
		fields := []string{`"symbol":"` + symbol + `"`, `"price":1.5`, `"size":2`, `"timestamp":"` + t + `"`}
		var kept []string
		for _, x := range fields {
			if !strings.HasPrefix(x, `"`+field+`":`) {
				kept = append(kept, x)
			}
		}
		if replacement != "" {
			kept = append(kept, replacement)
		}
		return "{" + strings.Join(kept, ",") + "}"
	}
	bar := func(more string) string {
		return `{"type":"bar","symbol":"` + symbol + `","timestamp":"` + t + `","volume":1,` + more + `}`
	}
	return []badEvent{
		{market.MalformedJSON, `{"symbol":"` + symbol + `","price":`},
		{market.MalformedJSON, `no JSON at all`},
		{market.TrailingData, with("", "") + ` {"and":"more"}`},
		{market.DuplicateKey, with("", `"price":2`)},
		{market.WrongKeyCase, with("symbol", `"Symbol":"`+symbol+`"`)},
		{market.WrongType, with("timestamp", `"timestamp":1732284000`)},
		{market.NullValue, with("price", `"price":null`)},
		{market.MissingField, with("price", "")},
		{market.MissingField, with("symbol", "")},
		{market.UnknownType, with("", `"type":"rumour"`)},
		{market.BadNumber, with("price", `"price":"12,5"`)},
		{market.NonPositive, with("price", `"price":0`)},
		{market.NonPositive, with("size", `"size":"-3"`)},
		{market.OutOfRange, with("price", `"price":1e12`)},
		{market.TooPrecise, with("price", `"price":1.0000000001`)},
		{market.InvertedBar, bar(`"interval":"1m","open":2,"high":1,"low":3,"close":2`)},
		{market.BadInterval, bar(`"interval":"7m","open":2,"high":3,"low":1,"close":2`)},
		{market.BadSymbol, with("symbol", `"symbol":"A B"`)},
		{market.BadValue, with("", `"side":"short"`)},
		{market.TextTooLong, with("", `"venue":"`+strings.Repeat("V", 129)+`"`)},
		{market.InvalidUTF8, with("", `"id":"\ud800"`)},
		{market.ControlCharacter, with("", `"id":"\u0007"`)},
		{market.BadTimestamp, with("timestamp", `"timestamp":"2026-11-20T14:30:00"`)},
		{market.FutureTimestamp, with("timestamp", `"timestamp":"`+market.FormatTime(f.start.Add(24*time.Hour).UnixNano())+`"`)},
		{market.TooDeep, with("", `"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40))},
	}
}

// clockHorizon is how long after the run's start a deadline may be that the checks wait for: a rule with a longer one
// fires after they have ended.
const clockHorizon = 90 * time.Second

// expected are the alerts that the rules fire for the events of each series, in their order, and those that only clock
// events fire after them, up to a time.
func expected(rules *alert.Rules, o alert.Options, events []market.Event, until int64) (fired, clocked []alert.Alert) {
	engine := rules.Engine(o)
	type series struct {
		program *alert.Program
		state   *alert.State
		last    *market.Event
	}
	known := map[string]*series{}
	var order []*series
	for i := range events {
		e := &events[i]
		s := known[e.Series()]
		if s == nil {
			s = &series{program: engine.Program(e.Symbol, e.Source)}
			known[e.Series()] = s
			if s.program != nil {
				s.state = s.program.NewState()
				order = append(order, s)
			}
		}
		if s.program != nil {
			s.last = e
			fired, _ = s.program.Step(s.state, e, fired)
		}
	}
	for _, s := range order {
		clock := market.Event{Kind: market.Clock, Symbol: s.last.Symbol, Source: s.last.Source}
		for {
			due, ok := s.state.Due()
			if !ok || due > until || due <= clock.Time {
				break
			}
			clock.Time = due
			clocked, _ = s.program.Step(s.state, &clock, clocked)
		}
	}
	return fired, clocked
}
