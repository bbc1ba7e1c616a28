// Package tradingday simulates one trading day of a small market, Monday 2026-01-05 from 14:30 to 21:00 UTC: six US
// equities and two cryptocurrencies, trades and quotes in the order of a real feed, with a real feed's flaws.
//
// It has what alert rules meet in practice: activity that is high at the open and the close, volatility and bursts that
// cluster, spreads that widen with them, sizes with a fat tail, opening and closing auctions, jumps, a trading halt,
// crossed quotes; and what a pipeline meets: about 2 % of bad lines of many kinds, repetitions and late events.
//
// The same seed and number give the same bytes on every platform: prices move in whole numbers, because a processor may
// fuse floating-point operations and so round differently.
package tradingday

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// Source is the source of every event.
const Source = "sim"

// MaxEvents is the most lines that a day can have.
const MaxEvents = 10_000_000

const seconds = 6*3600 + 30*60

var opening = time.Date(2026, time.January, 5, 14, 30, 0, 0, time.UTC).UnixNano()

// one is 1 in the fixed point of volatilities, weights and random moves.
const one = 1024

// instrument is one series and its state.
type instrument struct {
	symbol  string
	venues  []string
	crypto  bool
	weight  int            // share of the events
	mid     market.Decimal // true price, finer than the tick
	tick    market.Decimal
	lot     market.Decimal // of a usual trade
	unit    market.Decimal // sizes are multiples of it
	spread  int64          // usual, in ticks
	percent int64          // a day's volatility, in hundredths of a percent

	sigma      int64 // of one event, in parts per million * one
	volatility int64 // multiple of sigma, * one
	trades     int64
	quotes     int64
	statuses   int64
	opened     bool
	closed     bool
	halt       phase
	wide       int // the second until which there is little liquidity
	bid, ask   market.Decimal
}

// phase is how far the day's trading halt is.
type phase uint8

const (
	trading phase = iota
	halting
	halted
	resuming
)

// Day is the feed of one day. It is not safe for concurrent use.
type Day struct {
	rnd         *rand.Rand
	want, made  int
	instruments []*instrument
	reach       []int64 // of the day's activity, up to and including each second
	jumps       map[int]int
	haltAt      int
	suspended   *instrument

	second int
	lines  []string // of the second at work, not yet taken
}

// New makes a day of n lines, 0 to MaxEvents. Each seed is another day.
func New(seed uint64, n int) *Day {
	d := &Day{rnd: rand.New(rand.NewPCG(seed, 0x6d61726b6574)), want: n, jumps: map[int]int{}}
	nasdaq := []string{"Q", "P", "Z", "K", "D"}
	coinbase := []string{"coinbase", "kraken"}
	const cents, whole = market.Unit / 100, market.Unit
	d.instruments = []*instrument{
		{symbol: "AAPL", venues: nasdaq, weight: 18, mid: 262*whole + 37*cents, tick: cents, lot: 100 * whole, unit: whole, spread: 1, percent: 150},
		{symbol: "MSFT", venues: nasdaq, weight: 13, mid: 478*whole + 51*cents, tick: cents, lot: 60 * whole, unit: whole, spread: 3, percent: 130},
		{symbol: "NVDA", venues: nasdaq, weight: 20, mid: 188*whole + 12*cents, tick: cents, lot: 150 * whole, unit: whole, spread: 1, percent: 260},
		{symbol: "TSLA", venues: nasdaq, weight: 16, mid: 441*whole + 60*cents, tick: cents, lot: 60 * whole, unit: whole, spread: 4, percent: 340},
		{symbol: "JPM", venues: nasdaq, weight: 6, mid: 321*whole + 84*cents, tick: cents, lot: 50 * whole, unit: whole, spread: 4, percent: 120},
		{symbol: "BRK.B", venues: nasdaq, weight: 4, mid: 497*whole + 20*cents, tick: cents, lot: 40 * whole, unit: whole, spread: 8, percent: 90},
		{symbol: "BTC-USD", venues: coinbase, crypto: true, weight: 13, mid: 99_310 * whole, tick: cents, lot: whole / 20, unit: whole / 100_000, spread: 400, percent: 280},
		{symbol: "ETH-USD", venues: coinbase, crypto: true, weight: 10, mid: 3_157 * whole, tick: cents, lot: whole, unit: whole / 10_000, spread: 30, percent: 360},
	}
	for _, in := range d.instruments {
		in.volatility = 2 * one
		// A random walk of as many steps as the instrument gets events spans its volatility. Sqrt is exact everywhere.
		in.sigma = in.percent * 100 * one / max(1, int64(math.Sqrt(float64(n)*float64(in.weight)/100)))
		d.jumps[d.rnd.IntN(seconds)] = d.rnd.IntN(len(d.instruments))
	}
	d.suspended = d.instruments[d.rnd.IntN(6)]
	d.haltAt = seconds/5 + d.rnd.IntN(seconds*3/5)
	burst, total := int64(one), int64(0)
	d.reach = make([]int64, seconds)
	for s := range d.reach {
		burst += (one-burst)/64 + d.normal()/8
		if d.rnd.IntN(400) == 0 {
			burst += 3 * one
		}
		burst = min(max(burst, one/4), 8*one)
		for _, in := range d.instruments {
			total += int64(in.weight*in.activity(s)) * burst / one
		}
		d.reach[s] = total
	}
	return d
}

// activity is the instrument's share of the day in a second, * one: equities are traded at the open and at the close.
func (in *instrument) activity(second int) int {
	if in.crypto {
		return 2 * one
	}
	x := (2*second - seconds) * one / seconds
	x2 := x * x / one
	return one + 3*x2*x2/one
}

// normal is nearly normally distributed, with standard deviation one and now and then a far outlier.
func (d *Day) normal() int64 {
	r := d.rnd.Uint64()
	sum := int64(r&0xffff) + int64(r>>16&0xffff) + int64(r>>32&0xffff) + int64(r>>48)
	z := (sum - 2*0xffff) * one / 37837 // the sum's standard deviation
	if d.rnd.IntN(100) == 0 {
		z *= 3
	}
	return z
}

// Next returns the next line; ok is false at the day's end.
func (d *Day) Next() (line string, ok bool) {
	for len(d.lines) == 0 {
		if d.second == seconds || d.made == d.want {
			return "", false
		}
		d.play(d.second)
		d.second++
	}
	line, d.lines = d.lines[0], d.lines[1:]
	return line, true
}

// play makes the lines of one second.
func (d *Day) play(second int) {
	if i, ok := d.jumps[second]; ok {
		d.instruments[i].jump(d, second, 60+d.rnd.IntN(120))
	}
	if second == d.haltAt {
		d.suspended.jump(d, second, 300+d.rnd.IntN(300))
		d.suspended.halt = halting
	}
	if second == d.haltAt+300 && d.suspended.halt == halted {
		d.suspended.halt = resuming
	}
	until := int(int64(d.want) * d.reach[second] / d.reach[seconds-1])
	at := make([]int, max(0, until-d.made))
	for i := range at {
		at[i] = d.rnd.IntN(1000)
	}
	slices.Sort(at)
	for _, ms := range at {
		if d.made >= until { // repetitions count, too
			break
		}
		d.event(second, opening+int64(second)*int64(time.Second)+int64(ms)*int64(time.Millisecond))
	}
}

// jump is news: the price moves by hundredths of a percent, and liquidity leaves for a while.
func (in *instrument) jump(d *Day, second, hundredths int) {
	move := in.mid / 10_000 * market.Decimal(hundredths)
	if d.rnd.IntN(2) == 0 {
		move = -move
	}
	in.mid += move
	in.volatility = min(in.volatility+2*one, 6*one)
	in.wide = second + 20 + d.rnd.IntN(40)
}

// event makes the next event and its line, and now and then a flaw.
func (d *Day) event(second int, at int64) {
	in := d.pick(second)
	e := market.Event{Symbol: in.symbol, Source: Source, Time: at, HasSeq: true}
	d.fill(in, &e, second)
	switch chance := d.rnd.IntN(1000); {
	case chance < 20:
		d.add(spoil(string(e.AppendJSON(nil)), d.rnd))
	case chance < 23:
		line := string(e.AppendJSON(nil))
		d.add(line)
		if d.made < d.want {
			d.add(line)
		}
	case chance < 25:
		e.Time -= int64(time.Duration(6+d.rnd.IntN(15)) * time.Second)
		fallthrough
	default:
		d.add(string(e.AppendJSON(nil)))
	}
}

func (d *Day) add(line string) {
	d.lines = append(d.lines, line)
	d.made++
}

// pick chooses an instrument that is not halted, by weight and activity.
func (d *Day) pick(second int) *instrument {
	total := 0
	for _, in := range d.instruments {
		total += in.weight * in.activity(second)
	}
	for {
		at := d.rnd.IntN(total)
		for _, in := range d.instruments {
			if at -= in.weight * in.activity(second); at < 0 {
				if in.halt == halted {
					break
				}
				return in
			}
		}
	}
}

// fill moves the market by one event and makes e that event.
func (d *Day) fill(in *instrument, e *market.Event, second int) {
	z := d.normal()
	move := in.mid / 1_000_000 * market.Decimal(in.sigma*in.volatility/one*z/one) / one
	in.mid += min(max(move, -in.mid/20), in.mid/20)
	// Large moves raise the volatility, small ones lower it: 817/1024 is the mean of |z|.
	in.volatility += in.volatility*(max(z, -z)-817)/(one*24) + (one-in.volatility)/256
	in.volatility = min(max(in.volatility, one/2), 6*one)
	in.quoteAround(second)

	switch {
	case in.halt == halting:
		in.halt = halted
		in.status(e, "halted", "volatility")
	case in.halt == resuming:
		in.halt, in.opened = trading, false // it resumes with an auction
		in.status(e, "resumed", "")
	case !in.crypto && !in.opened:
		in.opened = true
		d.trade(in, e, in.lot*market.Decimal(150+d.rnd.IntN(300)))
	case !in.crypto && !in.closed && second >= seconds-20:
		in.closed = true
		d.trade(in, e, in.lot*market.Decimal(300+d.rnd.IntN(600)))
	case d.rnd.IntN(100) < 60:
		d.quote(in, e)
	default:
		// Pareto with exponent 2: each doubling of the size is a quarter as frequent.
		tail := market.Decimal(math.Sqrt(float64((1 << 32) / (1 + d.rnd.Uint64N(1<<32)))))
		size := in.lot * (1 + tail) / market.Decimal(1+d.rnd.IntN(4))
		if !in.crypto && d.rnd.IntN(3) > 0 {
			size = (size/(100*in.unit) + 1) * 100 * in.unit // round lots
		}
		d.trade(in, e, size)
	}
}

// quoteAround sets the best bid and ask from price and volatility.
func (in *instrument) quoteAround(second int) {
	width := in.tick * market.Decimal(max(1, in.spread*in.volatility/one))
	if second < 300 {
		width += in.tick * market.Decimal(in.spread)
	}
	if second < in.wide {
		width = max(width, in.mid/10_000*30)
	}
	in.bid = (in.mid - width/2) / in.tick * in.tick
	in.ask = in.bid + max(width/in.tick, 1)*in.tick
}

func (in *instrument) status(e *market.Event, state, reason string) {
	in.statuses++
	e.Kind, e.Sequence, e.State, e.Reason = market.Status, in.statuses, state, reason
}

func (d *Day) quote(in *instrument, e *market.Event) {
	in.quotes++
	e.Kind, e.Sequence, e.Venue = market.Quote, in.quotes, in.venues[d.rnd.IntN(len(in.venues)-1)]
	e.HasBid, e.HasAsk, e.Bid, e.Ask = true, true, in.bid, in.ask
	if d.rnd.IntN(12_000) == 0 { // a venue out of step
		e.Bid, e.Ask = e.Ask+in.mid/10_000*4/in.tick*in.tick, e.Bid
	}
	size := func() market.Decimal { return in.sized(in.lot * market.Decimal(1+d.rnd.IntN(12))) }
	e.BidSize, e.AskSize = size(), size()
}

func (d *Day) trade(in *instrument, e *market.Event, size market.Decimal) {
	in.trades++
	e.Kind, e.Sequence, e.ID, e.Size = market.Trade, in.trades, strconv.FormatInt(in.trades, 10), in.sized(size)
	e.Venue = in.venues[d.rnd.IntN(len(in.venues))]
	buy := d.rnd.IntN(2) == 0
	e.Price = in.bid
	if buy {
		e.Price = in.ask
	}
	if in.crypto { // whose feeds tell the aggressor
		e.Side = market.Sell
		if buy {
			e.Side = market.Buy
		}
		return
	}
	if e.Venue == "D" && d.rnd.IntN(3) == 0 { // reported late from off the exchange
		e.Ineligible, e.Conditions = true, `["Z"]`
	} else if e.Size < 100*in.unit {
		e.Conditions = `["I"]`
	}
}

// sized rounds to what can be traded.
func (in *instrument) sized(size market.Decimal) market.Decimal {
	return max(size/in.unit, 1) * in.unit
}
