package market

import (
	"encoding/json"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// generalDecode is Decode without the path for usual events.
func generalDecode(body string) ([]Event, []Refusal) {
	d := decoder{s: body, limits: DefaultLimits, latest: unixNano(testNow.Add(testSkew))}
	d.body()
	return d.events, d.refused
}

func quoted(body string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(body)
	return strings.TrimSuffix(b.String(), "\n")
}

// checkUsual holds the paths for usual events against the general one: the same events and refusals, in all they tell.
// It returns how many events Quoted read.
func checkUsual(t *testing.T, body string) int {
	t.Helper()
	events, refused := Decode(nil, body, testNow, testSkew)
	want, wantRefused := generalDecode(body)
	if !slices.Equal(refused, wantRefused) {
		t.Fatalf("%q\nrefused %+v\nwant    %+v", body, refused, wantRefused)
	}
	if !slices.Equal(events, want) {
		t.Fatalf("%q\n got %+v\nwant %+v", body, events, want)
	}
	checkQuoted(t, body)
	if again := ""; json.Unmarshal([]byte(quoted(body)), &again) != nil || again != body {
		return 0 // no UTF-8
	}
	return checkQuoted(t, quoted(body)[1:])
}

// checkQuoted takes s for the rest of a JSON text that begins within a string.
func checkQuoted(t *testing.T, s string) int {
	t.Helper()
	before := []Event{{Symbol: "before"}}
	events, end, latest := new(Quoted).Decode(before, s, 0)
	var warm Quoted
	_, _, _ = warm.Decode(nil, s, 0)
	again, warmEnd, warmLatest := warm.Decode(before, s, 0)
	if !slices.Equal(events, again) || end != warmEnd || end >= 0 && latest != warmLatest {
		t.Fatalf("%q: %+v up to %d, and the second time %+v up to %d", s, events, end, again, warmEnd)
	}
	if len(events) == 0 || events[0] != before[0] {
		t.Fatalf("%q: lost what was in dst", s)
	}
	events = events[1:]
	if end < 0 {
		if len(events) > 0 {
			t.Fatalf("%q: %d events, and no end", s, len(events))
		}
		return 0
	}
	var body string
	if s[end] != '"' {
		t.Fatalf("%q ends at %d", s, end)
	}
	if err := json.Unmarshal([]byte(`"`+s[:end+1]), &body); err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	want, refused := Decode(nil, body, time.Unix(0, math.MaxInt64), 0)
	if len(refused) > 0 || len(want) != len(events) {
		t.Fatalf("%q: %d events, want %d, refused %+v", s, len(events), len(want), refused)
	}
	var wantLatest int64 = math.MinInt64
	for i := range want {
		wantLatest = max(wantLatest, want[i].EventTime())
		want[i].Raw = ""
		if events[i] != want[i] {
			t.Fatalf("%q\n got %+v\nwant %+v", s, events[i], want[i])
		}
	}
	if latest != wantLatest {
		t.Fatalf("%q: latest %d, want %d", s, latest, wantLatest)
	}
	return len(events)
}

func spacedOut(event string) string {
	return strings.ReplaceAll(strings.ReplaceAll(event, ",", ", "), `":`, `": `)
}

// usualBodies are read without the general path.
var usualBodies = func() (list []string) {
	for _, e := range []string{goodTrade, goodVolume, goodQuote, strings.Replace(goodBar, "10.5", "10.50", 1), goodClock, shortest, feedTrade, feedMixed, feedQuote, feedBar,
		with(goodVolume, "symbol", `"BRK.B"`), with(goodVolume, "symbol", `"A_LONGER-SYMBOL^=/:0123456789abcd"`), with(goodVolume, "symbol", `"ABCDEFGH"`), with(goodVolume, "price", "12345678"), with(goodVolume, "price", `"123456789.123456789"`),
		with(goodVolume, "price", "0.00000001"), with(goodVolume, "price", "0.000001"), with(goodVolume, "price", `"0.5"`), with(goodTrade, "sequence", "123456789012345"), with(goodTrade, "sequence", "0"), with(goodTrade, "sequence", "12345678"),
		with(goodTrade, "timestamp", `"2024-02-29T23:59:59.12345678Z"`), with(goodTrade, "timestamp", `"2024-02-29T23:59:59.123456789Z"`), with(goodTrade, "timestamp", `"2024-02-29T23:59:59+05:30"`), with(goodTrade, "timestamp", `"1678-01-01T00:00:00z"`), with(goodTrade, "conditions", "[]"),
		with(goodTrade, "price_eligible", "false"), with(goodTrade, "side", `"sell"`), with(goodBar, "volume", "9007199.254740992"), with(goodBar, "volume", `"9007199.25"`), with(goodBar, "interval", `"86400s"`),
	} {
		list = append(list, e, spacedOut(e), e+"\n", "["+e+","+e+"]", e+"\n"+shortest+"\n"+e, "["+e+", "+shortest+"]")
	}
	return list
}()

func TestUsual(t *testing.T) {
	read := 0
	for _, body := range usualBodies {
		read += checkUsual(t, body)
	}
	if want := len(usualBodies); read < want {
		t.Errorf("%d events were read within a string, want at least %d", read, want)
	}
	// One byte of the event changed, left out, or put in: what is no longer usual must be noticed.
	for _, e := range []string{goodTrade, goodQuote, goodBar, shortest, spacedOut(shortest)} {
		for i := range e {
			for _, c := range []string{"", `"`, `\`, "{", "}", "[", "]", ",", ":", " ", "0", "9", "-", ".", "e", "Z", "\n", "\x00", "\x7f", "\x80", "\xff", "é"} {
				checkUsual(t, e[:i]+c+e[i+1:])
				checkUsual(t, e[:i]+c+e[i:])
				q := quoted(e)[1:]
				checkQuoted(t, q[:i]+c+q[i+1:])
			}
			checkUsual(t, e[:i])
			checkQuoted(t, quoted(e)[1:][:i])
		}
	}
	for _, c := range slices.Concat(badEvents(), brokenEvents) {
		checkUsual(t, c.event)
		checkUsual(t, "["+goodTrade+","+c.event+","+goodQuote+"]")
		checkUsual(t, goodTrade+"\n"+c.event+"\n"+goodQuote)
	}
}

// TestUsualGivesUp has bad events that differ from usual ones in little.
func TestUsualGivesUp(t *testing.T) {
	member := regexp.MustCompile(`"\w+":("[^"]*"|\[[^]]*\]|[^,}]+)`)
	var all []string
	for _, e := range []string{goodTrade, goodQuote, goodBar, goodVolume} {
		all = append(all, member.FindAllString(e, -1)...)
	}
	check := func(good string, members ...string) {
		e := "{" + strings.Join(members, ",") + "}"
		checkUsual(t, good+"\n"+good+"\n"+e) // it begins as others did
		checkUsual(t, e)
		checkUsual(t, spacedOut(e))
		checkUsual(t, "["+e+","+shortest+"]")
	}
	for _, e := range append(slices.Clone(goodEvents), feedQuote, feedBar) {
		members := member.FindAllString(e, -1)
		for i := range members {
			check(e, slices.Delete(slices.Clone(members), i, i+1)...)
			check(e, slices.Concat(members[i:], members[:i])...)
		}
		for _, more := range all {
			check(e, append(slices.Clone(members), more)...)
		}
	}
	for _, stamp := range []string{
		"2024-02-29T24:00:00Z", "2024-02-29T23:60:00Z", "2024-02-29T23:59:60Z", "2023-02-29T00:00:00Z", "2024-13-01T00:00:00Z", "2024-00-01T00:00:00Z", "2024-01-00T00:00:00Z", "2024-01-32T00:00:00Z", "2024-04-31T00:00:00Z",
		"1677-12-31T00:00:00Z", "2262-01-01T00:00:00Z", "2024/01-01T00:00:00Z", "2024-01-01 00:00:00Z", "2024-01-01T00.00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00.1234567890Z", "2024-01-01T00:00:00,5Z", "2a24-01-01T00:00:00Z",
	} {
		checkUsual(t, with(shortest, "timestamp", `"`+stamp+`"`))
		checkUsual(t, shortest+"\n"+with(shortest, "timestamp", `"`+stamp+`"`))
	}
	for _, number := range []string{
		"0", "00", "01.5", "1.", ".5", "1.0000000000", "1.123456789", "123456789", "1234567890", "12345678.1", "1234567.1", "1e3", "-1", "+1", "9007199.254740992", "9007199.254740993", "9007199.254740995", "123456789.123456789", "0.000000001", "0.0000000001", "0x10", "1_0", "1.5.5",
	} {
		for _, key := range []string{"price", "size", "volume", "sequence"} {
			for _, e := range []string{goodTrade, goodVolume, goodBar} {
				checkUsual(t, with(e, key, number))
				checkUsual(t, with(e, key, `"`+number+`"`))
			}
		}
	}
	for _, n := range []int{7, 8, 9, 31, 32, 33, 64, 65, 128, 129} {
		for _, key := range []string{"symbol", "source", "id", "venue", "type", "side", "interval"} {
			checkUsual(t, with(goodTrade, key, `"`+strings.Repeat("x", n)+`"`))
		}
	}
}

// TestUsualBegins has events of one message that begin alike, and nearly.
func TestUsualBegins(t *testing.T) {
	begins := []string{`"symbol":"AAPL"`, `"symbol":"AAPL","source":"sip"`, `"source":"sip","symbol":"AAPL"`, `"source":"sip","type":"trade","symbol":"AAPL"`, `"symbol":"AAPLE"`, `"symbol":"AAPL","source":"si"`, `"source":"sip"`}
	rests := []string{`"price":1,"timestamp":"2026-11-20T14:30:00Z"`, `"price":"1.5","timestamp":"2026-11-20T14:30:00Z","source":"x"`, `"timestamp":"2026-11-20T14:30:00Z","price":2`, `"price":3`, `"timestamp":"2026-11-20T14:30:00Z","type":"clock"`, `"price":1,"symbol":"AAPL","timestamp":"2026-11-20T14:30:00Z"`}
	for _, a := range begins {
		for _, b := range begins {
			for _, rest := range rests {
				usual := "{" + a + "," + rests[0] + "}\n"
				for _, e := range []string{"{" + b + "," + rest + "}", "{" + b + " ," + rest + "}", spacedOut("{" + b + "," + rest + "}")} {
					checkUsual(t, usual+usual+e+"\n"+usual)
				}
			}
		}
	}
}

// TestUsualEnds has messages that are cut off anywhere in an event that begins as the one before.
func TestUsualEnds(t *testing.T) {
	last := `{"symbol":"A","price":1,"timestamp":"2026-11-20T14:30:00Z",`
	for _, e := range append(usualBodies, `{"conditions":["@"],"symbol":"A","price":1,"timestamp":"2026-11-20T14:30:00Z"}`, last+`"price_eligible":true}`, last+`"conditions":["@"]}`) {
		for cut := range e {
			body := e + "\n" + e + "\n" + e[:cut]
			checkUsual(t, body)
			inside := quoted(body)
			checkQuoted(t, inside[1:len(inside)-1])
		}
	}
}

// TestQuotedLimits: a body over a limit is left to Decode, which knows what to refuse.
func TestQuotedLimits(t *testing.T) {
	for n, ok := range map[int]bool{10_000: true, 10_001: false} {
		s := quoted(strings.Repeat(goodClock+"\n", n))[1:]
		if events, end, _ := new(Quoted).Decode(nil, s, 0); (end >= 0) != ok || ok && len(events) != n {
			t.Errorf("%d events: %d, end %d", n, len(events), end)
		}
	}
	long := with(feedTrade, "conditions", "["+strings.TrimSuffix(strings.Repeat(`"`+strings.Repeat("x", 128)+`",`, 64), ",")+"]")
	for n, ok := range map[int]bool{100: true, 130: false} {
		s := quoted(strings.Repeat(long+"\n", n))[1:]
		if _, end, _ := new(Quoted).Decode(nil, s, 0); (end >= 0) != ok {
			t.Errorf("%d bytes: end %d", len(s), end)
		}
	}
}

// TestUsualIsUsed names, by a test's means, which events take the fast path: the others would be right, but slow.
func TestUsualIsUsed(t *testing.T) {
	for _, body := range []string{shortest, feedTrade, feedMixed, feedQuote, feedBar, goodTrade, goodVolume, goodQuote, goodClock, spacedOut(shortest), spacedOut(feedTrade)} {
		u := usual{s: body, latest: math.MaxInt64}
		if end := u.event(new(Event), 0); end != len(body) {
			t.Errorf("%s takes the general path", body)
		}
		if checkUsual(t, body) != 1 {
			t.Errorf("%s takes the general path within a string", body)
		}
	}
	for _, e := range mustDecodeAll(t, goodEvents[:4]) {
		if wire := string(e.AppendJSON(nil)); checkUsual(t, wire) != 1 {
			t.Errorf("the canonical form %s takes the general path", wire)
		}
	}
}

func mustDecodeAll(t *testing.T, bodies []string) (events []Event) {
	for _, body := range bodies {
		events = append(events, mustDecode(t, body))
	}
	return events
}

func TestUsualFieldsHaveTheirOwnSlots(t *testing.T) {
	for f := range fieldState {
		for _, behind := range []string{`":`, `\":`} {
			if got := usualFields[slotOf(f.String()+behind, 0)]; got != f && f != fieldPriceEligible {
				t.Errorf("%s shares the slot of %s: choose another keyFactor", f, got)
			}
		}
	}
}

// TestUsualFeeds reads every line of the real feeds on both paths. Some daily volumes have ten digits, which is not usual.
func TestUsualFeeds(t *testing.T) {
	for _, name := range []string{"us-equities-trades-2013-10-10", "ibm-quotes-2013-10-10", "crypto-minute-bars", "us-daily-bars", "us-minute-bars"} {
		t.Run(name, func(t *testing.T) {
			lines := strings.SplitAfter(readGzip(t, filepath.Join(shared, "replay", name+".ndjson.gz")), "\n")
			for chunk := range slices.Chunk(lines, 500) {
				if body := strings.Join(chunk, ""); body != "" && checkUsual(t, body) == 0 && name != "us-daily-bars" {
					t.Fatalf("of the lines from %s on, not all are usual", chunk[0])
				}
			}
		})
	}
}

func FuzzUsual(f *testing.F) {
	for _, body := range usualBodies {
		f.Add(body)
	}
	for i, c := range slices.Concat(badEvents(), brokenEvents) {
		if i%3 == 0 {
			f.Add(c.event)
		}
	}
	f.Add(quoted(goodTrade))
	f.Fuzz(func(t *testing.T, body string) { checkUsual(t, body) })
}

func TestQuotedAllocatesNothing(t *testing.T) {
	dst := make([]Event, 0, 16)
	var q Quoted
	for _, body := range []string{shortest, feedQuote, feedBar, "[" + shortest + "," + feedQuote + "]", feedTrade, feedQuote + "\n" + feedBar + "\n"} {
		s := quoted(body)[1:]
		if n := testing.AllocsPerRun(100, func() {
			if _, end, _ := q.Decode(dst, s, 0); end < 0 {
				t.Fatalf("%s is not usual", body)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", body, n)
		}
	}
}
