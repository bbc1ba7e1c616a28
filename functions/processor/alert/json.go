package alert

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/market-data-pipeline/functions/processor/market"
)

// maxOperands bounds an alert's operands.
const maxOperands = 16

// alert is the record of a firing, just after the rule's state made it.
func (r *rule) alert(rs *ruleState, x *eval, at *origin) Alert {
	a := Alert{
		ID:     alertID(r.name, at.symbol, at.source, r.intervalName(), at.time, rs.ordinal),
		Symbol: strings.Clone(at.symbol), Source: strings.Clone(at.source),
		Rule: r.name, Severity: r.severity, Labels: r.labels, Notify: r.notify, RuleVersion: r.version,
		Time: at.time, Price: at.price, Value: at.price.Float(),
		EventID: strings.Clone(at.id), Venue: strings.Clone(at.venue), Sequence: at.sequence, HasSeq: at.hasSequence,
	}
	if q := at.quoted; q != nil {
		a.EventID, a.Venue = string(q.id), string(q.venue)
	}
	if first := r.condition.first; first != nil {
		a.Value = first.of(x)
	}
	for _, o := range r.condition.operands {
		if v := o.of(x); !math.IsNaN(v) && !math.IsInf(v, 0) && len(a.Operands) < maxOperands {
			a.Operands = append(a.Operands, Operand{o.text, v})
		}
	}
	slices.SortFunc(a.Operands, func(a, b Operand) int { return cmp.Compare(a.Text, b.Text) })
	a.Summary = r.render(&a, x)
	return a
}

// alertID is part of stored data and must never change: the event time, then the first 64 bits of SHA-256 over rule
// name, series, interval ("" but for bars), event time and ordinal at that time, each as text with its length before it.
func alertID(rule, symbol, source, interval string, t int64, ordinal uint64) string {
	d := digest(rule, market.SeriesKey(symbol, source), interval, strconv.FormatInt(t, 10), strconv.FormatUint(ordinal, 10))
	return time.Unix(0, t).UTC().Format("20060102T150405.000000000Z-") + hex.EncodeToString(d[:8])
}

// AppendJSON appends the flat record on one line: the alert's fields in their fixed order, then the pipeline's own
// times and status. What is absent (an empty text, a zero time, status "") is left out; a number that JSON does not
// have is, too.
func (a *Alert) AppendJSON(b []byte, t Times, status Status) []byte {
	text := func(name, v string) {
		if v != "" {
			b = appendString(append(appendString(append(b, ','), name), ':'), v)
		}
	}
	number := func(name, v string) {
		b = append(append(appendString(append(b, ','), name), ':'), v...)
	}
	b = appendString(append(b, `{"alert_id":`...), a.ID)
	text("symbol", a.Symbol)
	text("source", a.Source)
	text("rule", a.Rule)
	text("severity", string(a.Severity))
	if len(a.Labels) > 0 {
		b = append(b, `,"labels":{`...)
		for i, l := range a.Labels {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(append(appendString(b, l.Name), ':'), l.Value)
		}
		b = append(b, '}')
	}
	text("summary", a.Summary)
	text("timestamp", market.FormatTime(a.Time))
	if v := formatNumber(a.Value); v != "" {
		number("value", v)
	}
	if len(a.Operands) > 0 {
		b = append(b, `,"operands":{`...)
		comma := false
		for _, o := range a.Operands {
			v := formatNumber(o.Value)
			if v == "" {
				continue
			}
			if comma {
				b = append(b, ',')
			}
			comma = true
			b = append(append(appendString(b, o.Text), ':'), v...)
		}
		b = append(b, '}')
	}
	if a.Price != 0 {
		number("price", a.Price.String())
	}
	text("event_id", a.EventID)
	if a.HasSeq {
		number("sequence", strconv.FormatInt(a.Sequence, 10))
	}
	text("venue", a.Venue)
	text("rule_version", a.RuleVersion)
	for _, p := range []struct {
		name string
		ms   int64
	}{{"received_at", t.Received}, {"stored_at", t.Stored}, {"published_at", t.Published}} {
		if p.ms != 0 {
			text(p.name, market.FormatTime(p.ms*int64(time.Millisecond)))
		}
	}
	text("status", string(status))
	return append(b, '}')
}

// formatNumber is the shortest decimal that reads back as v, "" where JSON has none.
func formatNumber(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	format := byte('f')
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	return strconv.FormatFloat(v, format, -1, 64)
}

// appendString writes a JSON string. It escapes what JSON must have escaped, and no more: "price > 3" stays readable.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == utf8.RuneError && n == 1:
			b = append(b, "\uFFFD"...)
		case c == '"' || c == '\\':
			b = append(b, '\\', byte(c))
		case c == '\n':
			b = append(b, `\n`...)
		case c < 0x20 || c == '\u2028' || c == '\u2029':
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, s[i:i+n]...)
		}
		i += n
	}
	return append(b, '"')
}

// ParseAlert reads the alert's fields of a record that AppendJSON wrote, and ignores others. Notify is false for a
// record whose status is Muted.
func ParseAlert(b []byte) (Alert, error) {
	var f struct {
		ID          string             `json:"alert_id"`
		Symbol      string             `json:"symbol"`
		Source      string             `json:"source"`
		Rule        string             `json:"rule"`
		Severity    Severity           `json:"severity"`
		Labels      map[string]string  `json:"labels"`
		Summary     string             `json:"summary"`
		Timestamp   time.Time          `json:"timestamp"`
		Value       float64            `json:"value"`
		Operands    map[string]float64 `json:"operands"`
		Price       json.Number        `json:"price"`
		EventID     string             `json:"event_id"`
		Sequence    *int64             `json:"sequence"`
		Venue       string             `json:"venue"`
		RuleVersion string             `json:"rule_version"`
		Status      Status             `json:"status"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return Alert{}, fmt.Errorf("alert record: %w", err)
	}
	a := Alert{ID: f.ID, Symbol: f.Symbol, Source: f.Source, Rule: f.Rule, Severity: f.Severity, Summary: f.Summary,
		Time: f.Timestamp.UnixNano(), Value: f.Value, EventID: f.EventID, Venue: f.Venue, RuleVersion: f.RuleVersion,
		Notify: f.Status != Muted}
	if a.ID == "" || a.Symbol == "" || f.Timestamp.IsZero() {
		return Alert{}, fmt.Errorf("alert record: alert_id, symbol and timestamp are required")
	}
	if f.Price != "" {
		p, err := market.ParseDecimal(f.Price.String())
		if err != nil {
			return Alert{}, fmt.Errorf("alert record %s: price: %w", a.ID, err)
		}
		a.Price = p
	}
	if f.Sequence != nil {
		a.Sequence, a.HasSeq = *f.Sequence, true
	}
	for name, v := range f.Labels {
		a.Labels = append(a.Labels, Label{name, v})
	}
	slices.SortFunc(a.Labels, func(a, b Label) int { return cmp.Compare(a.Name, b.Name) })
	for text, v := range f.Operands {
		a.Operands = append(a.Operands, Operand{text, v})
	}
	slices.SortFunc(a.Operands, func(a, b Operand) int { return cmp.Compare(a.Text, b.Text) })
	return a, nil
}
