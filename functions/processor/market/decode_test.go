package market

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const shared = "../../../../shared"

func TestDecodeValues(t *testing.T) {
	at := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC).UnixNano()
	for _, c := range []struct {
		body string
		want Event
	}{
		{`{"symbol":"AAPL","price":189.84,"timestamp":"2026-11-20T14:30:00Z"}`, Event{Symbol: "AAPL", Price: 189_840_000_000, Time: at}},
		{goodTrade, Event{Symbol: "AAPL", Price: 189_840_000_000, Size: 100 * Unit, Time: at + 123e6, ID: "t1", HasSeq: true, Sequence: 7, Venue: "Q", Source: "sip", Side: Buy, Conditions: `["@","F"]`}},
		{goodVolume, Event{Symbol: "AAPL", Price: 189_840_000_000, Size: 5 * Unit, Time: at}},
		{goodQuote, Event{Kind: Quote, Symbol: "AAPL", Time: at, HasBid: true, Bid: 189_830_000_000, HasAsk: true, Ask: 189_850_000_000, AskSize: 3 * Unit, HasSeq: true, Sequence: 1}},
		{goodBar, Event{Kind: Bar, Symbol: "BTC-USD", Interval: time.Minute, Time: at, Open: 10 * Unit, High: 12 * Unit, Low: 9_500_000_000, Close: 11 * Unit, HasVWAP: true, VWAP: 10_500_000_000, HasTrades: true}},
		{goodStatus, Event{Kind: Status, Symbol: "AAPL", Time: at, State: "halted", Reason: "LULD"}},
		{goodCorrection, Event{Kind: Correction, Symbol: "AAPL", Time: at, Action: "cancel", OriginalID: "t1"}},
		{goodClock, Event{Kind: Clock, Symbol: "AAPL", Time: at}},
		{"{\n\t\"symbol\" : \"AAPL\" ,\n\t\"price\" : \"1\" ,\n\t\"conditions\": [\n\"a\", \"b\"\n],\n\t\"timestamp\" : \"2026-11-20T14:30:00Z\"\n}\n", Event{Symbol: "AAPL", Price: Unit, Time: at, Conditions: `["a", "b"]`}},
		{`{"pr\u0069ce":9.631e-05,"symbol":"\u0041","timestamp":"2026-11-20t09:30:00-05:00","x":[1,{"y":null}],"id":"\ud83d\ude00 é","price_eligible":false}`,
			Event{Symbol: "A", Price: 96310, Time: at, ID: "😀 é", Ineligible: true}},
		// What a kind does not use is unknown to it and ignored, whatever it is.
		{`{"bid":null,"state":5,"volume":"x","sequence":4,"conditions":["\u0000"],"side":"?","type":"clock","symbol":"A","timestamp":"2026-11-20T14:30:00Z"}`, Event{Kind: Clock, Symbol: "A", Time: at}},
		{`{"bid":5,"price":5,"volume":"5","sequence":4,"open":1,"trades":1,"vwap":2,"state":"x","type":"status","symbol":"A","timestamp":"2026-11-20T14:30:00Z"}`, Event{Kind: Status, Symbol: "A", State: "x", HasSeq: true, Sequence: 4, Time: at}},
		{with(goodClock, "timestamp", `"2026-11-20T15:00:05Z"`), Event{Kind: Clock, Symbol: "AAPL", Time: testNow.Add(testSkew).UnixNano()}},
		{with(goodBar, "timestamp", `"2026-11-20T14:59:05Z"`), Event{Kind: Bar, Symbol: "BTC-USD", Interval: time.Minute, Time: testNow.Add(testSkew - time.Minute).UnixNano(), Open: 10 * Unit, High: 12 * Unit, Low: 9_500_000_000, Close: 11 * Unit, HasVWAP: true, VWAP: 10_500_000_000, HasTrades: true}},
		{with(goodTrade, "source", `"`+strings.Repeat("x", 64)+`"`), func() Event { e := mustDecode(t, goodTrade); e.Source = strings.Repeat("x", 64); return e }()},
		{with(goodTrade, "symbol", `"`+strings.Repeat("x", 32)+`"`), func() Event { e := mustDecode(t, goodTrade); e.Symbol = strings.Repeat("x", 32); return e }()},
	} {
		c.want.Raw = strings.TrimSpace(c.body)
		if got := mustDecode(t, c.body); got != c.want {
			t.Errorf("%s\n got %+v\nwant %+v", c.body, got, c.want)
		}
	}
}

// TestDecodeBody has the layouts of a body in which something other than an event is at fault.
func TestDecodeBody(t *testing.T) {
	type refusal struct {
		index  int
		reason Reason
		raw    string
	}
	pretty := strings.ReplaceAll(goodClock, ",", "\n,")
	for name, c := range map[string]struct {
		body   string
		events int
		want   []refusal
	}{
		"empty":                           {"", 0, []refusal{{0, MalformedJSON, ""}}},
		"blank":                           {" \r\n\t", 0, []refusal{{0, MalformedJSON, " \r\n\t"}}},
		"zero byte":                       {"\x00", 0, []refusal{{0, MalformedJSON, "\x00"}}},
		"empty array":                     {" [ ] ", 0, []refusal{{0, MissingField, "[ ]"}}},
		"empty array, more behind":        {"[] []", 0, []refusal{{0, MissingField, "[]"}, {1, TrailingData, "[]"}}},
		"byte order mark":                 {"\uFEFF" + goodClock, 0, []refusal{{0, MalformedJSON, "\uFEFF" + goodClock}}},
		"data behind the array":           {"[" + goodClock + "]\n" + goodClock, 1, []refusal{{1, TrailingData, goodClock}}},
		"two arrays":                      {"[" + goodClock + "][" + goodClock + "]", 1, []refusal{{1, TrailingData, "[" + goodClock + "]"}}},
		"array without end":               {"[" + goodClock + "," + goodClock, 1, []refusal{{1, MalformedJSON, goodClock}}},
		"array ends behind a comma":       {"[" + goodClock + ",]", 1, []refusal{{1, MalformedJSON, "]"}}},
		"array cut at a comma":            {"[" + goodClock + ",", 1, []refusal{{1, MalformedJSON, ","}}},
		"array opened only":               {"[", 0, []refusal{{0, MalformedJSON, "["}}},
		"array on a line":                 {goodClock + "\n[" + goodClock + "]", 1, []refusal{{1, WrongType, "[" + goodClock + "]"}}},
		"blank lines do not count":        {"\n\n" + goodClock + "\n \r\n{}\n\n" + goodClock, 2, []refusal{{1, MissingField, "{}"}}},
		"pretty-printed":                  {pretty, 1, nil},
		"pretty-printed, bad":             {strings.Replace(pretty, `"AAPL"`, "null", 1), 0, []refusal{{0, NullValue, strings.Replace(pretty, `"AAPL"`, "null", 1)}}},
		"pretty-printed, broken":          {pretty[:len(pretty)-1], 0, []refusal{{0, MalformedJSON, pretty[:len(pretty)-1]}}},
		"pretty-printed, more behind":     {pretty + "\n5", 0, []refusal{{0, TrailingData, pretty + "\n5"}}},
		"line cut, next line stands":      {goodClock[:20] + "\n" + goodClock, 1, []refusal{{0, MalformedJSON, goodClock[:20]}}},
		"line cut in a string":            {goodClock[:10] + "\n" + goodClock + "\n" + goodClock, 2, []refusal{{0, MalformedJSON, goodClock[:10]}}},
		"line cut behind a colon":         {`{"a":` + "\n" + goodClock, 1, []refusal{{0, MalformedJSON, `{"a":`}}},
		"a line that nests the next ones": {`{"a":` + "\n" + goodClock + "\n}", 0, []refusal{{0, MissingField, `{"a":` + "\n" + goodClock + "\n}"}}},
		"newline in a string, in array":   {"[{\"x\":\"a\nb\"}," + goodClock + "]", 1, []refusal{{0, MalformedJSON, "{\"x\":\"a\nb\"}"}}},
	} {
		events, refused := Decode(nil, c.body, testNow, testSkew)
		if len(events) != c.events || len(refused) != len(c.want) {
			t.Errorf("%s: %d events, want %d; refused %+v", name, len(events), c.events, refused)
			continue
		}
		for i, want := range c.want {
			if got := refused[i]; got.Index != want.index || got.Reason != want.reason || got.Raw != want.raw {
				t.Errorf("%s: refused %+v, want %+v", name, got, want)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	l := Limits{MaxBytes: 3 * (len(goodClock) + 1), MaxEvents: 2, MaxDepth: 3}
	rest := goodClock
	for _, c := range []struct {
		body   string
		events int
		reason Reason
		raw    string
	}{
		{goodClock + "\n" + goodClock + "\n", 2, "", ""},
		{goodClock + "\n" + goodClock + "\n" + rest, 2, TooLarge, rest},
		{"[" + goodClock + "," + goodClock + "]", 2, "", ""},
		{"[" + goodClock + "," + goodClock + "," + rest + "]", 0, TooLarge, "[" + goodClock + "," + goodClock + "," + rest + "]"},
		{goodClock + strings.Repeat(" ", l.MaxBytes-len(goodClock)), 1, "", ""},
		{goodClock + strings.Repeat(" ", l.MaxBytes-len(goodClock)+1), 0, TooLarge, goodClock + strings.Repeat(" ", l.MaxBytes-len(goodClock)+1)},
		{with(goodClock, "x", "[[]]"), 1, "", ""},
		{with(goodClock, "x", "[[[]]]"), 0, TooDeep, with(goodClock, "x", "[[[]]]")},
	} {
		events, refused := l.Decode(nil, c.body, testNow, testSkew)
		if len(events) != c.events || (c.reason == "") != (len(refused) == 0) {
			t.Fatalf("%s: %d events, refused %+v", c.body, len(events), refused)
		}
		if len(refused) > 0 && (refused[0].Reason != c.reason || refused[0].Raw != c.raw) {
			t.Errorf("%s: refused %+v, want %s, %s", c.body, refused, c.reason, c.raw)
		}
	}

	body := strings.Repeat(goodClock+"\n", 10_001)
	for i, body := range []string{body, "[" + strings.ReplaceAll(body[:len(body)-1], "\n", ",") + "]"} {
		events, refused := Decode(nil, body, testNow, testSkew)
		if len(events) != 10_000 || len(refused) != 1 || refused[0].Reason != TooLarge || refused[0].Index != 10_000 || !strings.HasPrefix(refused[0].Raw, goodClock) {
			t.Errorf("body %d: %d events, %d refusals", i, len(events), len(refused))
		}
	}
	_, refused := Decode(nil, goodClock+strings.Repeat(" ", 1<<20), testNow, testSkew)
	if len(refused) != 1 || refused[0].Reason != TooLarge || len(refused[0].Raw) != 1<<20+len(goodClock) {
		t.Errorf("a body over 1 MiB: %d refusals", len(refused))
	}
	for now, events := range map[time.Time]int{{}: 0, time.Unix(1<<40, 0): 1} {
		if got, _ := Decode(nil, goodClock, now, testSkew); len(got) != events {
			t.Errorf("%d events at %v, want %d", len(got), now, events)
		}
	}
}

// TestPrecedence has events with several mistakes, of which the first in the order of Decode's comment is named.
func TestPrecedence(t *testing.T) {
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	body := `{"type":"trad","symbol":"","x":1,"x":2,"y":"` + "\xff" + `","z":NaN,"d":` + deep + `}` + goodClock
	for _, c := range []struct {
		mend, by string
		next     Reason
	}{
		{"", "", MalformedJSON},
		{"NaN", "1", TrailingData},
		{goodClock, "", TooDeep},
		{deep, "1", InvalidUTF8},
		{"\xff", "", DuplicateKey},
		{`"x":2`, `"X":2`, UnknownType},
		{"trad", "trade", BadSymbol},
	} {
		body = strings.Replace(body, c.mend, c.by, 1)
		_, refused := Decode(nil, body, testNow, testSkew)
		if len(refused) != 1 || refused[0].Reason != c.next {
			t.Errorf("%s: %+v, want %s", body, refused, c.next)
		}
	}
	for _, c := range []struct {
		body, field string
	}{
		{`{"price":null,"timestamp":null,"symbol":null}`, "symbol"},
		{`{"price":null,"timestamp":null,"symbol":"A"}`, "timestamp"},
		{`{"price":null,"size":0,"symbol":"A"}`, "timestamp"},
		{`{"size":null,"price":0,"symbol":"A","timestamp":"2026-11-20T14:30:00Z"}`, "price"},
		{`{"size":null,"price":0,"symbol":"A","timestamp":"2036-11-20T14:30:00Z"}`, "price"},
		{`{"size":null,"volume":null,"symbol":"","timestamp":"2036-11-20T14:30:00Z"}`, "volume"},
	} {
		_, refused := Decode(nil, c.body, testNow, testSkew)
		if len(refused) != 1 || refused[0].Field != c.field {
			t.Errorf("%s: %+v, want %s", c.body, refused, c.field)
		}
	}
}

func TestRefusalKeepsTheTextToItself(t *testing.T) {
	secret := "s3cret-" + strings.Repeat("x", 60)
	for _, key := range []string{"symbol", "price", "side", "timestamp", "type", "id", "venue", secret} {
		_, refused := Decode(nil, `{"`+key+`":"`+secret+secret+`","`+key+`":1,"symbol":"A"`, testNow, testSkew)
		if len(refused) != 1 || strings.Contains(refused[0].Error(), "s3cret") {
			t.Errorf("%s: %+v", key, refused)
		}
	}
}

func TestReplayFeeds(t *testing.T) {
	now := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	for name, want := range map[string]struct {
		kind   Kind
		events int
	}{
		"us-equities-trades-2013-10-10": {Trade, 216_146}, "ibm-quotes-2013-10-10": {Quote, 9_564}, "crypto-minute-bars": {Bar, 11_416},
		"us-daily-bars": {Bar, 61_898}, "us-hour-bars-wild-days": {Bar, 1_848}, "us-minute-bars": {Bar, 16_915},
	} {
		t.Run(name, func(t *testing.T) {
			lines := strings.SplitAfter(readGzip(t, filepath.Join(shared, "replay", name+".ndjson.gz")), "\n")
			if lines[len(lines)-1] == "" {
				lines = lines[:len(lines)-1]
			}
			events, bids := 0, 0
			var batch []Event
			for len(lines) > 0 {
				n := min(len(lines), 1000)
				body := strings.Join(lines[:n], "")
				var refused []Refusal
				batch, refused = Decode(batch[:0], body, now, 0)
				if len(refused) > 0 {
					t.Fatalf("refused: %+v", refused[0])
				}
				for i := range batch {
					e := &batch[i]
					events++
					if e.HasBid {
						bids++
					}
					var wire map[string]any
					dec := json.NewDecoder(strings.NewReader(lines[i]))
					dec.UseNumber()
					if err := dec.Decode(&wire); err != nil {
						t.Fatal(err)
					}
					stamp, err := time.Parse(time.RFC3339Nano, wire["timestamp"].(string))
					if err != nil || e.Time != stamp.UnixNano() || e.Symbol != wire["symbol"] || e.Source != wire["source"] || e.Kind != want.kind || e.Index != int32(i) {
						t.Fatalf("%s: %+v", lines[i], e)
					}
				}
				lines = lines[n:]
			}
			if events != want.events {
				t.Errorf("%d events, want %d", events, want.events)
			}
			if want.kind == Quote && bids != 4782 {
				t.Errorf("%d bids, want 4782", bids)
			}
		})
	}
}

func readGzip(tb testing.TB, name string) string {
	tb.Helper()
	f, err := os.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		tb.Skipf("no %s: the real feeds lie beside the checkout", filepath.Base(name))
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		tb.Fatal(err)
	}
	return string(text)
}

func TestNoAllocation(t *testing.T) {
	for name, body := range map[string]string{
		"one": goodTrade, "shortest": goodVolume, "array": goodBodies[0], "lines": goodBodies[1], "bar": goodBar, "quote": goodQuote, "pretty": strings.ReplaceAll(goodClock, ",", "\n,"),
		"unknown fields": with(with(goodTrade, "x", `{"a":[1,"é",null]}`), "é", "1"),
	} {
		dst := make([]Event, 0, 16)
		allocs := testing.AllocsPerRun(100, func() {
			if _, refused := Decode(dst, body, testNow, testSkew); refused != nil {
				t.Fatalf("refused %+v", refused)
			}
		})
		want := 0.0
		if name == "pretty" {
			want = 8 // the attempt to read its first line as an event has an error to tell
		}
		if allocs > want {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

func TestVolumeIsNeverNegativeZero(t *testing.T) {
	if e := mustDecode(t, with(goodBar, "volume", "-0.0")); math.Signbit(e.Volume) {
		t.Errorf("volume %v", e.Volume)
	}
}

func TestDecodeAppends(t *testing.T) {
	dst := []Event{{Symbol: "before"}}
	events, _ := Decode(dst, "["+goodClock+",{},"+goodTrade+"]", testNow, testSkew)
	if len(events) != 3 || events[0].Symbol != "before" || events[1].Kind != Clock || events[2].Index != 2 {
		t.Errorf("%+v", events)
	}
}

func TestDecimal(t *testing.T) {
	for _, c := range []struct {
		text   string
		want   Decimal
		reason Reason
	}{
		{"0", 0, ""}, {"-0", 0, ""}, {"0e99999999999999999999", 0, ""}, {"1", Unit, ""}, {"-1.5", -1_500_000_000, ""}, {"189.84", 189_840_000_000, ""},
		{"0.000000001", 1, ""}, {"1e-9", 1, ""}, {"1.0000000000", Unit, ""}, {"10e-10", 1, ""}, {"9.631e-05", 96_310, ""}, {"1E9", 1e18, ""}, {"0.00000000000000001e17", Unit, ""},
		{"100000000000000000000e-20", Unit, ""}, {"0." + strings.Repeat("0", 5000) + "1e5001", Unit, ""}, {"1" + strings.Repeat("0", 5000) + "e-5000", Unit, ""},
		{"9223372036.854775807", math.MaxInt64, ""}, {"-9223372036.854775807", -math.MaxInt64, ""}, {"1234567890.123456789", 1_234_567_890_123_456_789, ""},
		{"9223372036.854775808", 0, OutOfRange}, {"9999999999.999999999", 0, OutOfRange}, {"1e10", 0, OutOfRange}, {"1e9223372036854775808", 0, OutOfRange}, {"92233720368547758070", 0, OutOfRange},
		{"1e-10", 0, TooPrecise}, {"1.0000000001", 0, TooPrecise}, {"1e-99999999999999999999", 0, TooPrecise}, {"9223372036.8547758071", 0, TooPrecise},
		{"", 0, BadNumber}, {"-", 0, BadNumber}, {"+1", 0, BadNumber}, {".5", 0, BadNumber}, {"5.", 0, BadNumber}, {"01", 0, BadNumber}, {"1e", 0, BadNumber}, {"1e+", 0, BadNumber}, {"NaN", 0, BadNumber}, {"1 ", 0, BadNumber}, {"1.5.5", 0, BadNumber},
	} {
		got, err := ParseDecimal(c.text)
		var refusal *Refusal
		if errors.As(err, &refusal); got != c.want || (err == nil) != (c.reason == "") || err != nil && refusal.Reason != c.reason {
			t.Errorf("%.40s is %d, %v; want %d, %s", c.text, got, err, c.want, c.reason)
		}
	}
	for d, want := range map[Decimal]string{0: "0", 1: "0.000000001", -1: "-0.000000001", Unit: "1", 189_840_000_000: "189.84", -10 * Unit: "-10", math.MaxInt64: "9223372036.854775807", math.MinInt64: "-9223372036.854775808"} {
		if d.String() != want {
			t.Errorf("%d is %s, want %s", int64(d), d, want)
		}
	}
}

func TestFloatIsTheNearest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := Decimal(rapid.Int64().Draw(t, "decimal"))
		if want, err := strconv.ParseFloat(d.String(), 64); err != nil || d.Float() != want {
			t.Errorf("%s is %v, want %v (%v)", d, d.Float(), want, err)
		}
	})
}

func TestTime(t *testing.T) {
	for ns, want := range map[int64]string{
		0: "1970-01-01T00:00:00Z", -1: "1969-12-31T23:59:59.999999999Z", 1_500_000_000: "1970-01-01T00:00:01.5Z", math.MaxInt64: "2262-04-11T23:47:16.854775807Z", math.MinInt64: "1677-09-21T00:12:43.145224192Z",
		951_782_400e9: "2000-02-29T00:00:00Z",
	} {
		if got := FormatTime(ns); got != want {
			t.Errorf("%d is %s, want %s", ns, got, want)
		}
	}
	// Every day of all years, through midnight and in an offset.
	for day := time.Date(1678, 1, 1, 23, 59, 59, 1, time.UTC); day.Year() < 2262; day = day.AddDate(0, 0, 1) {
		for _, zone := range []*time.Location{time.UTC, time.FixedZone("", 5*3600+1800), time.FixedZone("", -23*3600-59*60)} {
			text := day.In(zone).Format(time.RFC3339Nano)
			if text[:4] < "1678" {
				continue
			}
			if got, wrong := parseTime(text); wrong != "" || got != day.UnixNano() {
				t.Fatalf("%s is %d %s, want %d", text, got, wrong, day.UnixNano())
			}
		}
		if got := FormatTime(day.UnixNano()); got != day.Format(time.RFC3339Nano) {
			t.Fatalf("%s, want %s", got, day)
		}
	}
}
