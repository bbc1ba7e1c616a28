package market

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"
)

// TestDefaultsAreLeftOut: a packed message is billed by its bytes.
func TestDefaultsAreLeftOut(t *testing.T) {
	for want, e := range map[string]Event{
		`{"symbol":"AAPL","timestamp":"1970-01-01T00:00:00Z","price":"189.84"}`:                      {Symbol: "AAPL", Price: 189_840_000_000},
		`{"type":"quote","symbol":"AAPL","timestamp":"1970-01-01T00:00:00Z","bid":"1","source":"a"}`: {Kind: Quote, Symbol: "AAPL", Source: "a", Bid: Unit, HasBid: true},
	} {
		if got := string(e.AppendJSON([]byte("x"))); got != "x"+want {
			t.Errorf("%s, want %s", got[1:], want)
		}
	}
}

// TestRoundTrip: an event's canonical form is one line of JSON that decodes to an equal event, alone and packed.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(rapid.Custom(drawEvent), 1, 5).Draw(t, "events")
		var lines []string
		for i := range want {
			want[i].Index = int32(i)
			line := string(want[i].AppendJSON(nil))
			if !json.Valid([]byte(line)) || strings.ContainsAny(line, "\r\n") {
				t.Fatalf("not one line of JSON: %q", line)
			}
			want[i].Raw = line
			lines = append(lines, line)
		}
		for _, body := range []string{strings.Join(lines, "\n"), "[" + strings.Join(lines, " ,\n") + "]"} {
			got, refused := Decode(nil, body, time.Unix(0, math.MaxInt64), 0)
			if len(got) != len(want) || len(refused) > 0 {
				t.Fatalf("%d events of %d, refused %+v", len(got), len(want), refused)
			}
			for i := range got {
				if got[i] != want[i] {
					t.Fatalf("%s\n got %+v\nwant %+v", lines[i], got[i], want[i])
				}
			}
		}
	})
}

func TestDecimalRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Decimal(rapid.Int64Range(-math.MaxInt64, math.MaxInt64).Draw(t, "decimal"))
		if got, err := ParseDecimal(d.String()); got != d || err != nil {
			t.Fatalf("%s is %d, want %d: %v", d, got, d, err)
		}
	})
}

func TestTimeRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns := drawTime(t)
		if got, wrong := parseTime(FormatTime(ns)); got != ns || wrong != "" {
			t.Fatalf("%s is %d, want %d: %s", FormatTime(ns), got, ns, wrong)
		}
	})
}

func drawTime(t *rapid.T) int64 {
	return rapid.Int64Range(time.Date(1678, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), math.MaxInt64-int64(24*time.Hour)).Draw(t, "time")
}

func drawEvent(t *rapid.T) Event {
	text := func(name string, least int) string {
		s := rapid.StringOfN(rapid.Rune().Filter(func(r rune) bool { return !unicode.IsControl(r) }), least, 32, 128).Draw(t, name)
		return s
	}
	positive := func(name string) Decimal { return Decimal(rapid.Int64Range(1, math.MaxInt64).Draw(t, name)) }
	size := func(name string) Decimal { return Decimal(rapid.Int64Range(0, math.MaxInt64).Draw(t, name)) }
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }

	e := Event{
		Kind: Kind(rapid.IntRange(int(Trade), int(Clock)).Draw(t, "kind")), Symbol: rapid.StringMatching(`[A-Za-z0-9./:_^=-]{1,32}`).Draw(t, "symbol"),
		Source: rapid.StringMatching(`[ -~]{0,64}`).Draw(t, "source"), ID: text("id", 0), Venue: text("venue", 0), Time: drawTime(t),
	}
	if e.HasSeq = e.Kind != Clock && flag("has sequence"); e.HasSeq {
		e.Sequence = rapid.Int64Min(0).Draw(t, "sequence")
	}
	switch e.Kind {
	case Trade:
		e.Price, e.Size, e.Ineligible = positive("price"), size("size"), flag("ineligible")
		e.Side = Side(rapid.IntRange(int(SideNone), int(Sell)).Draw(t, "side"))
		e.Conditions = rapid.SampledFrom([]string{"", "[]", `["@"]`, `[ "\u0041", "é" ]`, `["a" , "\""]`}).Draw(t, "conditions")
	case Quote:
		if e.HasBid = flag("has bid"); e.HasBid {
			e.Bid = positive("bid")
		}
		if e.HasAsk = !e.HasBid || flag("has ask"); e.HasAsk {
			e.Ask = positive("ask")
		}
		e.BidSize, e.AskSize = size("bid size"), size("ask size")
	case Bar:
		e.Low = positive("low")
		e.High = Decimal(rapid.Int64Range(int64(e.Low), math.MaxInt64).Draw(t, "high"))
		e.Open = Decimal(rapid.Int64Range(int64(e.Low), int64(e.High)).Draw(t, "open"))
		e.Close = Decimal(rapid.Int64Range(int64(e.Low), int64(e.High)).Draw(t, "close"))
		e.Volume = rapid.Float64Range(0, math.MaxFloat64).Draw(t, "volume") + 0
		e.Interval = rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, time.Minute, 90 * time.Second, 5 * time.Minute, time.Hour, 90 * time.Minute, 24 * time.Hour}).Draw(t, "interval")
		if e.HasVWAP = flag("has vwap"); e.HasVWAP {
			e.VWAP = positive("vwap")
		}
		if e.HasTrades = flag("has trades"); e.HasTrades {
			e.Trades = rapid.Int64Min(0).Draw(t, "trades")
		}
	case Status:
		e.State, e.Reason = text("state", 1), text("reason", 0)
	case Correction:
		e.Action = rapid.SampledFrom([]string{"cancel", "correct"}).Draw(t, "action")
		e.OriginalID = text("original id", 1)
	}
	return e
}
