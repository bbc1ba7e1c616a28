package market

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// slowDecode says which events of a body are good, by other means than the decoder's: encoding/json, regexp, big.Rat,
// time.Parse. It shares nothing with the decoder but the type Event.
func slowDecode(body string, now time.Time, skew time.Duration) (good []Event) {
	if len(body) > 1<<20 || strings.HasPrefix(body, "\xEF\xBB\xBF") {
		return nil
	}
	add := func(raw string, index int) {
		if e, err := slowEvent(raw, now.Add(skew)); err == nil {
			e.Index = int32(index)
			good = append(good, e)
		}
	}
	const blank = " \t\r\n"
	smooth := slowSmooth(body)
	if trimmed := strings.Trim(smooth, blank); !strings.HasPrefix(trimmed, "[") {
		if strings.HasPrefix(trimmed, "{") && json.Valid([]byte(trimmed)) {
			add(body, 0)
			return good
		}
		index := 0
		for line := range strings.Lines(body) {
			if strings.Trim(line, blank) != "" {
				add(line, index)
				index++
			}
		}
		return good
	}
	dec := json.NewDecoder(strings.NewReader(smooth))
	if _, err := dec.Token(); err != nil {
		return nil
	}
	for index := 0; index < 10_000 && dec.More(); index++ {
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return good
		}
		end := int(dec.InputOffset())
		if rest := strings.TrimLeft(smooth[end:], blank); rest == "" || rest[0] != ',' && rest[0] != ']' {
			return good
		}
		add(body[end-len(raw):end], index)
	}
	return good
}

var (
	slowToken    = regexp.MustCompile(`(?s)"(?:[^"\\]|\\.)*"|[A-Za-z0-9+._-]+`)
	slowEscape   = regexp.MustCompile(`(?i)\\u(d[89ab]..\\ud[c-f]..|....)|\\[^u]`)
	slowHalf     = regexp.MustCompile(`(?i)\\ud[89a-f]`)
	slowNumber   = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$`)
	slowInteger  = regexp.MustCompile(`^[0-9]+$`)
	slowSymbol   = regexp.MustCompile(`^[A-Za-z0-9./:_^=-]{1,32}$`)
	slowStamp    = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)
	slowInterval = regexp.MustCompile(`^[1-9][0-9]{0,4}[smhd]$`)
)

// slowSmooth puts a good token of the same length for every bad string and bare word, so that encoding/json finds the
// bounds of the elements around them.
func slowSmooth(body string) string {
	return string(slowToken.ReplaceAllFunc([]byte(body), func(token []byte) []byte {
		switch {
		case json.Valid(token):
			return token
		case token[0] == '"':
			return []byte(`"` + strings.Repeat("x", len(token)-2) + `"`)
		}
		return bytes.Repeat([]byte("1"), len(token))
	}))
}

var slowKnown = map[string][]string{
	"trade":      {"sequence", "price", "size", "volume", "side", "price_eligible", "conditions"},
	"quote":      {"sequence", "bid", "ask", "bid_size", "ask_size"},
	"bar":        {"sequence", "interval", "open", "high", "low", "close", "volume", "vwap", "trades"},
	"status":     {"sequence", "state", "reason"},
	"correction": {"sequence", "action", "original_id"},
	"clock":      {},
}

var slowKinds = map[string]Kind{"trade": Trade, "quote": Quote, "bar": Bar, "status": Status, "correction": Correction, "clock": Clock}

func slowEvent(raw string, latest time.Time) (e Event, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
	}()
	must := func(ok bool, what string) {
		if !ok {
			panic(what)
		}
	}
	must(json.Valid([]byte(raw)), "json")
	must(utf8.ValidString(raw), "utf8")
	escapes := slowEscape.FindAllString(raw, -1)
	for _, x := range escapes {
		must(len(x) != 6 || !slowHalf.MatchString(x), "surrogate")
	}

	depth := 0
	walk := json.NewDecoder(strings.NewReader(raw))
	for {
		token, err := walk.Token()
		if err != nil {
			break
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		must(depth <= 32, "deep")
	}

	dec := json.NewDecoder(strings.NewReader(raw))
	token, err := dec.Token()
	must(err == nil && token == json.Delim('{'), "object")
	m := map[string]string{}
	for dec.More() {
		key, err := dec.Token()
		must(err == nil, "key")
		var value json.RawMessage
		must(dec.Decode(&value) == nil, "value")
		_, twice := m[key.(string)]
		must(!twice, "twice")
		m[key.(string)] = string(value)
	}
	common := []string{"type", "symbol", "source", "timestamp", "id", "venue"}
	check := func(known []string) {
		for key := range m {
			for _, k := range known {
				must(key == k || !strings.EqualFold(key, k), "case")
			}
		}
	}
	check(common)
	for _, known := range slowKnown {
		check(known)
	}

	text := func(key string, limit int) string {
		value, ok := m[key]
		if !ok {
			return ""
		}
		must(value[0] == '"', "string")
		var s string
		must(json.Unmarshal([]byte(value), &s) == nil, "text")
		must(len(s) <= limit, "long")
		for _, r := range s {
			must(!unicode.Is(unicode.Cc, r), "control")
		}
		return s
	}
	kind := "trade"
	if _, ok := m["type"]; ok {
		kind = text("type", math.MaxInt)
	}
	used, ok := slowKnown[kind]
	must(ok, "type")
	e.Kind = slowKinds[kind]
	for key := range m {
		ours := false
		for _, k := range append(common, used...) {
			ours = ours || k == key
		}
		if !ours {
			delete(m, key)
		}
	}
	require := func(keys ...string) {
		for _, k := range keys {
			_, ok := m[k]
			must(ok, "missing "+k)
		}
	}
	numeral := func(key string) string {
		s := m[key]
		if s[0] == '"' {
			s = text(key, math.MaxInt)
		}
		must(slowNumber.MatchString(s), "number")
		return s
	}
	decimal := func(key string, positive bool) Decimal {
		if _, ok := m[key]; !ok {
			return 0
		}
		s := strings.ToLower(numeral(key))
		mantissa, exponent, _ := strings.Cut(s, "e")
		if exponent != "" {
			n, ok := new(big.Int).SetString(exponent, 10)
			must(ok, "exponent")
			if !strings.ContainsAny(mantissa, "123456789") {
				s = "0"
			} else {
				must(n.IsInt64() && n.Int64() < 1<<20 && n.Int64() > -1<<20, "exponent's range")
			}
		}
		r, ok := new(big.Rat).SetString(s)
		must(ok, "rat")
		r.Mul(r, big.NewRat(1e9, 1))
		must(r.IsInt() && r.Num().IsInt64(), "range")
		must(r.Sign() >= 0 && (!positive || r.Sign() > 0), "positive")
		return Decimal(r.Num().Int64())
	}
	integer := func(key string) int64 {
		must(slowInteger.MatchString(m[key]), "integer")
		n, ok := new(big.Int).SetString(m[key], 10)
		must(ok && n.IsInt64(), "integer's range")
		return n.Int64()
	}

	require("symbol", "timestamp")
	e.Symbol = text("symbol", 32)
	must(slowSymbol.MatchString(e.Symbol), "symbol")
	e.Source, e.ID, e.Venue = text("source", 64), text("id", 128), text("venue", 128)
	stamp := strings.ToUpper(text("timestamp", math.MaxInt))
	must(slowStamp.MatchString(stamp), "timestamp")
	t, err := time.Parse(time.RFC3339Nano, stamp)
	must(err == nil, "time")
	must(stamp[:4] >= "1678" && t.UTC().Year() >= 1678 && stamp[:4] <= "2262" && !t.After(time.Unix(0, math.MaxInt64)), "year")
	e.Time = t.UnixNano()
	if _, ok := m["sequence"]; ok {
		e.HasSeq, e.Sequence = true, integer("sequence")
	}
	switch e.Kind {
	case Trade:
		require("price")
		e.Price = decimal("price", true)
		e.Size = decimal("size", true) + decimal("volume", true)
		must(m["size"] == "" || m["volume"] == "", "both")
		if m["side"] != "" {
			side := map[string]Side{"buy": Buy, "sell": Sell}
			e.Side = side[text("side", math.MaxInt)]
			must(e.Side != SideNone, "side")
		}
		if v := m["price_eligible"]; v != "" {
			must(v == "true" || v == "false", "eligible")
			e.Ineligible = v == "false"
		}
		if v := m["conditions"]; v != "" {
			var list []*string
			must(v[0] == '[' && json.Unmarshal([]byte(v), &list) == nil && len(list) <= 64, "conditions")
			for _, s := range list {
				must(s != nil && len(*s) <= 128, "condition")
				must(!strings.ContainsFunc(*s, func(r rune) bool { return unicode.Is(unicode.Cc, r) }), "condition's text")
			}
			e.Conditions = strings.ReplaceAll(strings.ReplaceAll(v, "\n", ""), "\r", "")
		}
	case Quote:
		_, e.HasBid = m["bid"]
		_, e.HasAsk = m["ask"]
		must(e.HasBid || e.HasAsk, "side")
		e.Bid, e.Ask = decimal("bid", true), decimal("ask", true)
		e.BidSize, e.AskSize = decimal("bid_size", false), decimal("ask_size", false)
	case Bar:
		require("interval", "open", "high", "low", "close", "volume")
		e.Open, e.High, e.Low, e.Close = decimal("open", true), decimal("high", true), decimal("low", true), decimal("close", true)
		for _, p := range []Decimal{e.Open, e.Close} {
			must(e.Low <= p && p <= e.High, "inverted")
		}
		v, err := strconv.ParseFloat(numeral("volume"), 64)
		must(err == nil && v >= 0, "volume")
		if v != 0 {
			e.Volume = v
		}
		if _, e.HasVWAP = m["vwap"]; e.HasVWAP {
			e.VWAP = decimal("vwap", true)
		}
		if _, e.HasTrades = m["trades"]; e.HasTrades {
			e.Trades = integer("trades")
		}
		spec := text("interval", math.MaxInt)
		must(slowInterval.MatchString(spec), "interval")
		if n, ok := strings.CutSuffix(spec, "d"); ok {
			must(n == "1", "days")
			spec = "24h"
		}
		e.Interval, err = time.ParseDuration(spec)
		must(err == nil && e.Interval <= 24*time.Hour && 24*time.Hour%e.Interval == 0, "divides")
		t = t.Add(e.Interval)
		must(!t.After(time.Unix(0, math.MaxInt64)), "end")
	case Status:
		require("state")
		e.State, e.Reason = text("state", 128), text("reason", 128)
		must(e.State != "", "state")
	case Correction:
		require("action", "original_id")
		e.Action, e.OriginalID = text("action", 128), text("original_id", 128)
		must(e.Action == "cancel" || e.Action == "correct", "action")
		must(e.OriginalID != "", "original_id")
	}
	must(!t.After(latest), "future")
	return e, nil
}

var (
	testNow  = time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	testSkew = 5 * time.Second
)

// FuzzDecode holds the decoder against the slow one: the same events accepted, with equal values; every event of the
// body in exactly one result; what is accepted comes back from its canonical form.
func FuzzDecode(f *testing.F) {
	for _, body := range goodBodies {
		f.Add(body)
	}
	for i, c := range append(badEvents(), brokenEvents...) {
		switch i % 10 {
		case 0:
			f.Add("[" + goodTrade + "," + c.event + "," + goodQuote + "]")
		case 1:
			f.Add(goodTrade + "\n" + c.event + "\n" + goodQuote)
		case 2:
			f.Add(c.event)
		}
	}
	f.Fuzz(checkBody)
}

func checkBody(t *testing.T, body string) {
	events, refused := Decode(nil, body, testNow, testSkew)
	places := make([]int, len(events)+len(refused))
	for _, e := range events {
		places[e.Index]++
	}
	for _, r := range refused {
		places[r.Index]++
		if !strings.Contains(body, r.Raw) || len(r.Detail) > 200 || r.Detail == "" || !isPrintable(r.Error()) {
			t.Errorf("refusal %+v", r)
		}
	}
	for place, n := range places {
		if n != 1 {
			t.Fatalf("position %d is %d times among %d events and %d refusals", place, n, len(events), len(refused))
		}
	}
	if len(places) == 0 {
		t.Fatal("neither an event nor a refusal")
	}
	for _, e := range events {
		wire := e.AppendJSON(nil)
		again, bad := Decode(nil, string(wire), testNow, testSkew)
		if len(again) != 1 || len(bad) != 0 {
			t.Fatalf("canonical form %s is refused: %+v", wire, bad)
		}
		if again[0].Raw != string(wire) || !strings.Contains(body, e.Raw) {
			t.Fatalf("raw form %q of %q", again[0].Raw, wire)
		}
		again[0].Index, again[0].Raw = e.Index, e.Raw
		if again[0] != e {
			t.Fatalf("canonical form %s\n got %+v\nwant %+v", wire, again[0], e)
		}
	}
	for _, r := range refused {
		if deepest(r.Raw) > DefaultLimits.MaxDepth {
			return // what is nested too deep is skipped without a look at its grammar
		}
	}
	if strings.Count(body, "[")+strings.Count(body, "{") > 9000 {
		return // encoding/json's own limit is near
	}
	want := slowDecode(body, testNow, testSkew)
	if len(events) != len(want) {
		t.Fatalf("%d events, the slow decoder has %d\nevents %+v\nrefused %+v\nwant %+v", len(events), len(want), events, refused, want)
	}
	for i := range want {
		want[i].Raw = events[i].Raw // checkBody has compared it with the body
		if events[i] != want[i] {
			t.Fatalf("event %d\n got %+v\nwant %+v", i, events[i], want[i])
		}
	}
}

// deepest is the deepest nesting of brackets in s; those in strings count too.
func deepest(s string) (deepest int) {
	depth := 0
	for _, c := range []byte(s) {
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		deepest = max(deepest, depth)
	}
	return deepest
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
