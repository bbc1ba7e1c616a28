package simulator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// message is one message as a producer sends it.
type message struct {
	after  time.Duration // the message before it
	group  string        // "" on a standard queue
	origin string
	// lines makes the body at the time of sending: a feed's timestamps are a little behind the clock.
	lines []func(now time.Time) string
	array bool
	// twice: the producer missed the answer and sends it again under another deduplication id.
	twice bool
}

// feed makes what is sent. It depends on the seed alone, and its first n messages do not depend on how many there are.
func feed(s *Scenario) []message {
	r := rand.New(rand.NewPCG(s.Seed, 2))
	groups := [][]string{{"AAPL", "IBM"}, {"MSFT"}, {"BTC-USD", "ETH-USD", "SOL-USD"}}
	lag := time.Duration(r.IntN(2000)) * time.Millisecond
	trades, quotes := map[string]int{}, map[string]int{}
	price, known := map[string]int{}, map[string]bool{}
	messages := make([]message, s.Messages)
	for m := range messages {
		g := r.IntN(len(groups))
		msg := message{origin: fmt.Sprint("m", m), array: r.IntN(2) == 0, twice: r.IntN(20) == 0}
		if s.Delivery == settings.Ordered {
			msg.group = fmt.Sprint("shard-", g)
		}
		if s.Gap > 0 {
			msg.after = time.Duration(r.Int64N(int64(s.Gap)))
		}
		for range 1 + r.IntN(6) {
			symbol := groups[g][r.IntN(len(groups[g]))]
			behind := lag + time.Duration(r.IntN(300))*time.Millisecond
			// The feed's own disorder, behind trades that are known: a first trade that old could be late or not, as the
			// clock has come or not.
			if r.IntN(40) == 0 && s.Delivery == settings.Ordered && known[symbol] {
				behind = time.Hour
			}
			id := fmt.Sprint(msg.origin, "-", len(msg.lines))
			var format string
			switch n := r.IntN(12); {
			case n == 0:
				msg.lines = append(msg.lines, func(time.Time) string {
					return fmt.Sprintf(`{"symbol":%q,"price":-1,"id":%q}`, symbol, id)
				})
				continue
			case n < 3:
				if quotes[symbol]++; r.IntN(20) == 0 {
					quotes[symbol]-- // a repetition
				}
				bid := 9000 + r.IntN(2000)
				format = fmt.Sprintf(`{"type":"quote","symbol":%q,"bid":"%d.%02d","ask":"%d.%02d","sequence":%d,"id":%q,"timestamp":%%q}`,
					symbol, bid/100, bid%100, (bid+60)/100, (bid+60)%100, quotes[symbol], id)
			default:
				if trades[symbol]++; r.IntN(20) == 0 {
					trades[symbol]--
				}
				known[symbol] = true
				if price[symbol] == 0 {
					price[symbol] = 10000
				}
				price[symbol] += r.IntN(401) - 200
				format = fmt.Sprintf(`{"symbol":%q,"price":"%d.%02d","size":%d,"sequence":%d,"id":%q,"timestamp":%%q}`,
					symbol, price[symbol]/100, price[symbol]%100, 1+r.IntN(1_000_000), trades[symbol], id)
			}
			msg.lines = append(msg.lines, func(now time.Time) string {
				return fmt.Sprintf(format, market.FormatTime(now.Add(-behind).UnixNano()))
			})
		}
		messages[m] = msg
	}
	return messages
}

func (m *message) body(now time.Time) string {
	lines := make([]string, len(m.lines))
	for i, line := range m.lines {
		lines[i] = line(now)
	}
	if m.array {
		return "[" + strings.Join(lines, ",") + "]"
	}
	return strings.Join(lines, "\n")
}
