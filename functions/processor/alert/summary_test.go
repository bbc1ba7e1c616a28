package alert

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"unicode/utf8"

	"pgregory.net/rapid"

	"example.com/market-data-pipeline/functions/processor/market"
)

// "rendered (text/template …; numbers to 6 significant digits, prices as decimals)"
func TestNumbersInSummaries(t *testing.T) {
	for _, tc := range []struct {
		v             float64
		plain, prices string
	}{
		{189.84, "189.84", "189.84"}, {1234567.891, "1234570", "1234567.891"}, {0.000123456789, "0.000123457", "0.000123457"}, {100000, "100000", "100000"},
		{0, "0", "0"}, {-3.5, "-3.5", "-3.5"}, {98765.4321, "98765.4", "98765.4321"}, {(100.01 + 100.02) / 2, "100.015", "100.015"}, {0.1 + 0.2, "0.3", "0.3"},
		{9_000_000_000.123456, "9000000000", "9000000000.12346"}, {math.NaN(), "unknown", "unknown"}, {99999.99, "100000", "99999.99"},
	} {
		if got := plain(tc.v).String(); got != tc.plain {
			t.Errorf("plain(%v) = %s, want %s", tc.v, got, tc.plain)
		}
		if got := decimal(tc.v).String(); got != tc.prices {
			t.Errorf("decimal(%v) = %s, want %s", tc.v, got, tc.prices)
		}
	}
}

func fire(tb testing.TB, src string, e market.Event) Alert {
	tb.Helper()
	p := program(tb, ordered, src)
	s := p.NewState()
	out, _ := p.Step(s, &e, nil)
	end := clock(9)
	out, _ = p.Step(s, &end, out)
	if len(out) != 1 {
		tb.Fatalf("%d alerts, want 1", len(out))
	}
	return out[0]
}

func TestSummaries(t *testing.T) {
	e := with(trade(0, 189.84), 7)
	e.Side, e.Venue, e.ID = market.Buy, "Q", "x<&>"
	for template, want := range map[string]string{
		`{{ .symbol }} {{ .source }} {{ .rule }} {{ .severity }}`:             "AAPL feed R warning",
		`{{ .timestamp }} {{ .event_id }} {{ .sequence }} {{ .venue }}`:       "2013-10-10T13:30:00Z x<&> 7 Q",
		`{{ .price }} {{ .size }} {{ .side }} {{ .value }}`:                   "189.84 100 buy 18984",
		`{{ printf "%.1f" .value }} {{ .price | printf "%08.3f" }}`:           "18984.0 0189.840",
		`{{ printf "%5s|%q|%%" .side .side }}`:                                "",
		`{{ printf "<%5s>" .side }} {{ printf "%v%%" .value }}`:               "<  buy> 18984%",
		`{{ if eq .side "buy" }}bought{{ else }}sold{{ end }}`:                "bought",
		`{{ if ne .side "buy" }}sold{{ else if .venue }}at {{.venue}}{{end}}`: "at Q",
		`{{- .labels.desk -}}{{/* a comment */}}`:                             "eq",
		`plain`: "plain",
	} {
		src := oneRule("expr: price * size > 1", "labels: {desk: eq}", "summary: '"+template+"'")
		if want == "" {
			if _, err := Load("f", []byte(src)); err == nil {
				t.Errorf("%s loads", template)
			}
			continue
		}
		if got := fire(t, src, e).Summary; got != want {
			t.Errorf("%s: %q, want %q", template, got, want)
		}
	}
	q := quote(0, 10, 10.03)
	if got := fire(t, oneRule("on: quote", "expr: spread_bps > 1", `summary: "{{ .bid }} {{ .ask }} {{ .mid }} {{ .spread }} {{ .spread_bps }} {{ .bid_size }} {{ .price }}"`), q).Summary; got != "10 10.03 10.015 0.03 29.9551 unknown 10.015" {
		t.Errorf("quote: %q", got)
	}
	if got := fire(t, oneRule("on: quote", "expr: bid > 1", `summary: "{{ if .spread }}wide{{ else }}locked{{ end }}"`), quote(0, 10, 10)).Summary; got != "locked" {
		t.Errorf("no spread: %q", got)
	}
	if got := fire(t, oneRule("expr: price>1"), e).Summary; got != "R: price > 1 on AAPL, price 189.84" {
		t.Errorf("default summary: %q", got)
	}
	if got := fire(t, oneRule(`expr: side == "buy"`, `summary: "{{ .value }}"`), e); got.Summary != "189.84" || got.Value != 189.84 {
		t.Errorf("without a comparison of numbers: %+v, want the price as value", got)
	}
}

func TestSummaryIsCutAtARune(t *testing.T) {
	a := fire(t, oneRule("expr: price > 1", "summary: 'x"+strings.Repeat("é", 900)+"'"), trade(0, 2))
	if len(a.Summary) != 1023 || !utf8.ValidString(a.Summary) {
		t.Errorf("summary of %d bytes, valid %v; want 1023 (the last rune does not fit)", len(a.Summary), utf8.ValidString(a.Summary))
	}
}

// "missing key = error at load", in branches that the first alert would not take as well; nothing may fail when it fires.
func TestSummariesRefused(t *testing.T) {
	for template, want := range map[string]string{
		`{{ .prize }}`: `unknown field "prize": did you mean "price"?`,
		`{{ if .venue }}{{ else }}{{ .clos }}{{ end }}`: `unknown field "clos"`,
		`{{ .bid }}`:                               `unknown field "bid"`,
		`{{ .labels.dsk }}`:                        `unknown label "dsk": did you mean "desk"?`,
		`{{ .labels }}`:                            "write the label",
		`{{ .price.x }}`:                           "no fields of its own",
		`{{ . }}`:                                  "is not a field",
		`{{ price }}`:                              "write fields with a dot",
		`{{ range .labels }}x{{ end }}`:            "nothing else",
		`{{ with .price }}x{{ end }}`:              "nothing else",
		`{{ define "a" }}x{{ end }}`:               "cannot define templates",
		`{{ template "summary" . }}`:               "nothing else",
		`{{ $x := .price }}`:                       "no variables",
		`{{ printf "%999999999d" .value }}`:        "exactly one of",
		`{{ printf "%*d" .value }}`:                "exactly one of",
		`{{ printf "%d" .value }}`:                 "exactly one of",
		`{{ printf "%f" .side }}`:                  `does not fit "side"`,
		`{{ printf "%q" .value }}`:                 `does not fit "value"`,
		`{{ printf .side .value }}`:                "format is a text",
		`{{ printf "%v" }}`:                        "takes a format and one field",
		`{{ len .symbol }}`:                        "the function len is not available",
		`{{ call .symbol }}`:                       "the function call is not available",
		`{{ index .labels "desk" }}`:               "the function index is not available",
		`{{ if gt .value 5 }}x{{ end }}`:           "the function gt is not available",
		`{{ if eq .value "5" }}x{{ end }}`:         "compares a text field",
		`{{ if eq .side }}x{{ end }}`:              "compares a field with a text",
		`{{ eq .side "buy" }}`:                     "the function eq is not available",
		`{{ "text" }}`:                             "is not a field",
		`{{ (printf "%v" .price) }}`:               "is not a field",
		`{{ .price | printf "%v" | printf "%v" }}`: "write one field",
		`{{ .price`:                                "unclosed action",
		`{{ foo .price }}`:                         `function "foo" not defined`,
		`{{ break }}`:                              "break",
	} {
		_, err := Load("f", []byte(oneRule("expr: price > 1", "labels: {desk: eq}", "cooldown: 1m", "summary: '"+template+"'")))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", template, err, want)
		}
	}
}

// Summaries are rendered as text/template renders them.
func TestSummariesAreTemplates(t *testing.T) {
	prices := []market.Decimal{1, 5 * market.Unit, 189_840_000_000, 99_991_999_999, 1_234_567_891_234_567}
	rapid.Check(t, func(rt *rapid.T) {
		e := with(trade(0, 1), rapid.Int64Range(0, 3).Draw(rt, "sequence"))
		e.Price, e.Size = rapid.SampledFrom(prices).Draw(rt, "price"), rapid.SampledFrom(prices).Draw(rt, "size")
		e.HasSeq = e.Sequence > 0
		e.Venue, e.ID = rapid.SampledFrom([]string{"", "Q", "a<&>\"é"}).Draw(rt, "venue"), rapid.SampledFrom([]string{"", "1%d"}).Draw(rt, "id")
		e.Side = rapid.SampledFrom([]market.Side{0, market.Buy, market.Sell}).Draw(rt, "side")
		expr := rapid.SampledFrom([]string{"size", "size * price", "size - size"}).Draw(rt, "value")
		isDecimal := expr == "size"
		text := drawTemplate(rt, 2)
		if len(text) > maxTemplate {
			rt.Skip("too long")
		}
		quoted, _ := json.Marshal(text)
		a := fire(t, oneRule("expr: "+expr+" >= 0", "labels: {desk: eq, empty: ''}", "session: UTC 00:00-24:00", "summary: "+string(quoted)), e)

		number := func(isDecimal bool, v float64) any {
			if isDecimal {
				return decimal(v)
			}
			return plain(v)
		}
		data := map[string]any{
			"symbol": a.Symbol, "source": a.Source, "rule": a.Rule, "severity": string(a.Severity), "labels": map[string]string{"desk": "eq", "empty": ""},
			"timestamp": market.FormatTime(a.Time), "event_id": e.ID, "sequence": "", "venue": e.Venue, "side": map[market.Side]string{market.Buy: "buy", market.Sell: "sell"}[e.Side],
			"value": number(isDecimal, a.Value), "price": decimal(e.Price.Float()), "size": decimal(e.Size.Float()),
			"day_open": decimal(e.Price.Float()), "day_high": decimal(e.Price.Float()), "day_low": decimal(e.Price.Float()), "prev_close": decimal(math.NaN()),
		}
		if e.HasSeq {
			data["sequence"] = strconv.FormatInt(e.Sequence, 10)
		}
		var want strings.Builder
		if err := template.Must(template.New("").Option("missingkey=error").Parse(text)).Execute(&want, data); err != nil {
			rt.Fatal(err)
		}
		if got := a.Summary; got != cut(want.String(), maxSummary) {
			rt.Errorf("%s\n got %q\nwant %q", text, got, want.String())
		}
	})
}

// drawTemplate gives a template of everything that summaries may have.
func drawTemplate(rt *rapid.T, depth int) string {
	texts := []string{".symbol", ".source", ".rule", ".severity", ".timestamp", ".event_id", ".sequence", ".venue", ".side", ".labels.desk", ".labels.empty"}
	numbers := []string{".value", ".price", ".size", ".day_open", ".day_low", ".prev_close"}
	field := func(of ...string) string { return rapid.SampledFrom(of).Draw(rt, "field") }
	format := func(verbs string) string {
		return fmt.Sprintf("%s%%%s%s%s%c%s", field("", "%%", "é\n"), field("", "-", "+", " ", "0", "-+ 0"), field("", "9", "12"), field("", ".", ".0", ".3", ".12"),
			rapid.SampledFrom([]rune(verbs)).Draw(rt, "verb"), field("", "%%", "x"))
	}
	var b strings.Builder
	for range rapid.IntRange(0, 4).Draw(rt, "segments") {
		open, end := field("{{", "{{- "), field("}}", " -}}")
		action := func(format string, args ...any) { b.WriteString(open + fmt.Sprintf(format, args...) + end) }
		choice := rapid.IntRange(0, 6).Draw(rt, "segment")
		if depth == 0 {
			choice %= 4
		}
		switch choice {
		case 0:
			b.WriteString(field("text", " ", "\n", "%d", "\"é"))
		case 1:
			action("%s", field(append(texts, numbers...)...))
		case 2:
			action("printf %q %s", format("vsq"), field(texts...))
		case 3:
			action("%s | printf %q", field(numbers...), format("vsfeg"))
		case 4, 5, 6:
			if choice == 4 {
				action("if %s", field(append(texts, numbers...)...))
			} else {
				action("if %s %s %q", field("eq", "ne"), field(texts...), field("", "buy", "Q", "eq", "1"))
			}
			b.WriteString(drawTemplate(rt, depth-1))
			switch rapid.IntRange(0, 2).Draw(rt, "else") {
			case 1:
				b.WriteString("{{else}}" + drawTemplate(rt, depth-1))
			case 2:
				b.WriteString("{{else if .side}}" + drawTemplate(rt, depth-1))
			}
			b.WriteString("{{end}}")
		}
	}
	return b.String()
}

func TestPrintfVerb(t *testing.T) {
	form := regexp.MustCompile(`^(?:[^%]|%%)*%[-+ 0]*[0-9]{0,2}(?:\.[0-9]{0,2})?([vsqfeg])(?:[^%]|%%)*$`)
	rapid.Check(t, func(rt *rapid.T) {
		format := strings.Join(rapid.SliceOfN(rapid.SampledFrom(strings.Split("%|%|%%|-|+| |0|1|23|.|v|f|d|*|é\n|\xff", "|")), 0, 9).Draw(rt, "format"), "")
		verb, ok := printfVerb(format)
		if m := form.FindStringSubmatch(format); ok != (m != nil) || ok && string(verb) != m[1] {
			rt.Errorf("printfVerb(%q) = %q, %v, want %q", format, verb, ok, m)
		}
	})
}
