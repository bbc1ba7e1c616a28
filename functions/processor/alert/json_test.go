package alert

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"example.com/market-data-pipeline/functions/processor/market"
)

// "One flat record, the same names everywhere"
func TestAppendJSON(t *testing.T) {
	a := Alert{ID: "20131010T133000.000000000Z-00", Symbol: "AAPL", Source: "feed", Rule: "R", Severity: Critical,
		Labels: []Label{{"a", "1"}, {"b", `"q"`}}, Summary: "price > 3 & <b>\n\x01\u2028é", Time: t0, Value: 3.25,
		Operands: []Operand{{"price", 189.84}, {"size / 0", math.Inf(1)}, {"sma(close, 20)", 101.2}}, Price: 189_840_000_000,
		EventID: "e1", Sequence: 0, HasSeq: true, Venue: "Q", RuleVersion: "0123456789abcdef"}
	const fields = `"alert_id":"20131010T133000.000000000Z-00","symbol":"AAPL","source":"feed","rule":"R","severity":"critical","labels":{"a":"1","b":"\"q\""},` +
		`"summary":"price > 3 & <b>\n\u0001\u2028é","timestamp":"2013-10-10T13:30:00Z","value":3.25,"operands":{"price":189.84,"sma(close, 20)":101.2},` +
		`"price":189.84,"event_id":"e1","sequence":0,"venue":"Q","rule_version":"0123456789abcdef"`
	if got, want := string(a.AppendJSON(nil, Times{}, "")), "{"+fields+"}"; got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	got := string(a.AppendJSON([]byte("x"), Times{Received: t0 / 1e6, Stored: t0/1e6 + 1, Published: t0/1e6 + 2500}, Sent))
	want := "x{" + fields + `,"received_at":"2013-10-10T13:30:00Z","stored_at":"2013-10-10T13:30:00.001Z","published_at":"2013-10-10T13:30:02.5Z","status":"SENT"}`
	if got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
	// Absent fields are left out.
	least := Alert{ID: "i", Symbol: "A", Time: t0, Value: math.NaN()}
	if got, want := string(least.AppendJSON(nil, Times{}, "")), `{"alert_id":"i","symbol":"A","timestamp":"2013-10-10T13:30:00Z"}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestParseAlertRefuses(t *testing.T) {
	for _, s := range []string{"", "{}", "[]", "null", `{"alert_id":"a","symbol":"b"}`, `{"alert_id":"a","symbol":"b","timestamp":"x"}`,
		`{"alert_id":"a","symbol":"b","timestamp":"2013-10-10T13:30:00Z","price":1e99}`, `{"alert_id":"a","symbol":"b","timestamp":"2013-10-10T13:30:00Z","value":"1"}`} {
		if a, err := ParseAlert([]byte(s)); err == nil {
			t.Errorf("%s: %+v, want an error", s, a)
		}
	}
	a, err := ParseAlert([]byte(`{"alert_id":"a","symbol":"b","timestamp":"2013-10-10T13:30:00Z","status":"MUTED","unknown":[1]}`))
	if err != nil || a.Notify || a.HasSeq {
		t.Errorf("%+v, %v, want a muted alert without sequence", a, err)
	}
}

// Every field of the record is reserved: no label can shadow one.
func TestReservedNamesAreTheRecords(t *testing.T) {
	a := Alert{ID: "i", Symbol: "A", Source: "s", Rule: "r", Severity: Info, Labels: []Label{{"l", "v"}}, Summary: "s", Time: t0, Value: 1,
		Operands: []Operand{{"o", 1}}, Price: 1, EventID: "e", HasSeq: true, Venue: "v", RuleVersion: "v"}
	var fields map[string]any
	if err := json.Unmarshal(a.AppendJSON(nil, Times{1, 1, 1}, Sent), &fields); err != nil {
		t.Fatal(err)
	}
	for name := range fields {
		if !slices.Contains(reserved, name) {
			t.Errorf("the field %s is not reserved", name)
		}
	}
	if len(fields) != len(reserved) {
		t.Errorf("%d fields, %d reserved names", len(fields), len(reserved))
	}
}

func TestAlertRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		number := rapid.Float64().Filter(func(v float64) bool { return !math.IsInf(v, 0) && !math.IsNaN(v) })
		a := Alert{
			ID: rapid.StringN(1, -1, -1).Draw(t, "id"), Symbol: rapid.StringN(1, -1, -1).Draw(t, "symbol"), Source: text.Draw(t, "source"), Rule: text.Draw(t, "rule"),
			Severity: rapid.SampledFrom([]Severity{Info, Warning, Critical}).Draw(t, "severity"), Summary: text.Draw(t, "summary"),
			Time: rapid.Int64Range(0, 4e18).Draw(t, "time"), Value: number.Draw(t, "value"),
			Price:   market.Decimal(rapid.Int64Range(-math.MaxInt64, math.MaxInt64).Draw(t, "price")),
			EventID: text.Draw(t, "event"), Venue: text.Draw(t, "venue"), RuleVersion: text.Draw(t, "version"), Notify: rapid.Bool().Draw(t, "notify"),
		}
		if a.HasSeq = rapid.Bool().Draw(t, "has sequence"); a.HasSeq {
			a.Sequence = rapid.Int64().Draw(t, "sequence")
		}
		for name, v := range rapid.MapOfN(text, text, 0, 4).Draw(t, "labels") {
			a.Labels = append(a.Labels, Label{name, v})
		}
		slices.SortFunc(a.Labels, func(x, y Label) int { return strings.Compare(x.Name, y.Name) })
		for name, v := range rapid.MapOfN(text, number, 0, 4).Draw(t, "operands") {
			a.Operands = append(a.Operands, Operand{name, v})
		}
		slices.SortFunc(a.Operands, func(x, y Operand) int { return strings.Compare(x.Text, y.Text) })
		status := Sent
		if !a.Notify {
			status = Muted
		}
		b := a.AppendJSON(nil, Times{Stored: 1}, status)
		if !json.Valid(b) || strings.ContainsAny(string(b), "\n\r") {
			t.Fatalf("not one line of JSON: %s", b)
		}
		got, err := ParseAlert(b)
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Fatalf("%s\nread as %+v, %v\nwant    %+v", b, got, err, a)
		}
	})
}

// Valid JSON for any text.
func TestAppendStringIsValidJSON(t *testing.T) {
	for _, s := range []string{"", "\xff", "a\xc3", "\x00\x1f\x7f", "\\\"", strings.Repeat("é", 9)} {
		var got string
		b := appendString(nil, s)
		if err := json.Unmarshal(b, &got); !utf8.Valid(b) || err != nil || got != strings.ToValidUTF8(s, "\uFFFD") {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}
