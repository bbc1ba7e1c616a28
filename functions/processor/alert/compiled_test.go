package alert

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// everyKey are rules with every key that there is, and with every kind of segment.
const everyKey = `
rules:
  - alert: Every
    symbols: [AAPL, "B*"]
    sources: [feed, ""]
    on: bar
    interval: 1m
    from: trades
    expr: not (close > sma(close, 2)) or -close < 1.50 and true
    reset: close > ema(close, 3) + day_open
    for: 10m
    cooldown: 1h
    session: America/New_York 09:30-16:00 mon-fri
    max_gap: 5m
    expires: 2099-01-01T00:00:00Z
    severity: critical
    notify: false
    labels: {desk: equities, empty: ""}
    summary: '{{ if eq .labels.desk "equities" }}{{ .price | printf "%.2f" }}{{ else if .venue }}{{ .day_high }}{{ else }}{{ if ne .symbol "x" }}%{{ end }}{{ end }}'
  - {alert: Quiet, on: silence, after: 30s, session: UTC 22:00-02:00, summary: ""}
  - {alert: Text, expr: 'side == "buy" && price > 1_000', reset: "price < min(1, 900)", cooldown: 1m}
`

// readBack compiles rules and reads them: nothing is lost.
func readBack(tb testing.TB, rules *Rules) *Rules {
	tb.Helper()
	compiled := rules.Encode()
	decoded, err := DecodeRules(compiled)
	if err != nil {
		tb.Fatalf("compiled rules are not read: %v", err)
	}
	if !bytes.Equal(compiled, decoded.Encode()) {
		tb.Fatalf("compiled rules are read as others:\n%q\n%q", compiled, decoded.Encode())
	}
	for i, r := range rules.rules {
		if got, want := described(decoded.rules[i]), described(r); got != want {
			tb.Fatalf("a compiled rule is another:\n got %s\nwant %s", got, want)
		}
	}
	return decoded
}

// described is all of a rule that can be compared.
func described(r *rule) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q %q %q %v %v %v %v %v %v %v %v %v %v %s %v %v", r.name, r.symbols, r.sources, r.on, r.interval, r.built, r.after, r.maxGap, r.expires, r.severity, r.notify, r.labels,
		r.summary != nil, r.version, r.cooldown, r.hold)
	fmt.Fprintf(&b, " %x %x reset %v", r.nameHash, r.editHash, r.reset != nil)
	if s := r.session; s != nil {
		fmt.Fprintf(&b, " session %q %v %d %d %v", s.text, s.location, s.from, s.to, s.days)
	}
	c := r.condition
	fmt.Fprintf(&b, " %q %v %v %d operands, first %v", c.text, c.constant, c.momentary, len(c.operands), c.first != nil)
	for _, o := range c.operands {
		fmt.Fprintf(&b, " %q %v", o.text, o.decimal)
	}
	for _, s := range r.slots {
		fmt.Fprintf(&b, " slot %q %x %v %v %d %v %v", s.text, s.hash, s.daily, s.restarts, len(s.args), s.definition.warmup(), s.definition.bytes())
	}
	return b.String()
}

// The compiled rules fire the same alerts and leave the same states as the file's.
func TestCompiledRulesAreTheFiles(t *testing.T) {
	shipped := shippedRules(t)
	other, err := Load("f", []byte(historyRules))
	if err != nil {
		t.Fatal(err)
	}
	for _, feed := range []string{"us-equities-trades-2013-10-10.ndjson.gz", "ibm-quotes-2013-10-10.ndjson.gz", "us-minute-bars.ndjson.gz"} {
		events := replay(t, feed)
		for _, rules := range []*Rules{shipped, other} {
			run := func(rules *Rules) [sha256.Size]byte {
				engine, states, sum := rules.Engine(ordered), map[string]*State{}, sha256.New()
				var out []Alert
				for i := range events {
					e := &events[i]
					p := engine.Program(e.Symbol, e.Source)
					if p == nil {
						continue
					}
					if states[e.Symbol] == nil {
						states[e.Symbol] = p.NewState()
					}
					out, _ = p.Step(states[e.Symbol], e, out[:0])
					for k := range out {
						sum.Write(out[k].AppendJSON(nil, Times{}, ""))
					}
					if i%1000 == 0 || len(out) > 0 {
						sum.Write(states[e.Symbol].Append(nil))
					}
				}
				return [sha256.Size]byte(sum.Sum(nil))
			}
			if run(rules) != run(readBack(t, rules)) {
				t.Errorf("%s: the compiled rules behave otherwise", feed)
			}
		}
	}
}

// "A Lambda never starts with half a rule set": what was cut, changed or written by another version is refused.
func TestDecodeRulesRefuses(t *testing.T) {
	compiled := mustLoad(t, everyKey).Encode()
	for n := range compiled {
		if _, err := DecodeRules(compiled[:n]); err == nil {
			t.Errorf("the first %d of %d bytes are read", n, len(compiled))
		}
		changed := bytes.Clone(compiled)
		changed[n] ^= 1
		if _, err := DecodeRules(changed); err == nil {
			t.Errorf("a change of byte %d goes unnoticed", n)
		}
	}
	for _, tc := range []struct{ compiled, want string }{
		{"rules:\n  - {alert: A, expr: price > 1}\n", "no compiled rules"},
		{strings.Replace(string(compiled), compiledForm, "2\n", 1), "another version"},
		{string(compiled) + "x", "damaged or cut off"},
	} {
		if _, err := DecodeRules([]byte(tc.compiled)); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.40q: %v, want %q", tc.compiled, err, tc.want)
		}
	}
	// Bytes whose sum is right, as of another program.
	good := func() *rule {
		return &rule{name: "A", on: market.Trade, severity: Info, condition: &condition{term: term{operatorTerm, ">", []term{{nameTerm, "price", nil, 0}, {numberTerm, "1", nil, 0}}, 0}}}
	}
	deep := term{nameTerm, "price", nil, 0}
	for range maxExpression {
		deep = term{operatorTerm, "-", []term{deep}, 0}
	}
	const corrupt = `rule 1, "A": truncated or corrupt`
	for _, tc := range []struct {
		want   string
		change func(*rule)
	}{
		{"", func(*rule) {}},
		{`expr: unknown name "prise"`, func(r *rule) { r.condition.term.parts[0].text = "prise" }},
		{"expr: unknown function foo()", func(r *rule) { r.condition.term.parts[0] = term{callTerm, "foo", nil, 0} }},
		{"expr: sma() takes 2 arguments", func(r *rule) { r.condition.term.parts[0] = term{callTerm, "sma", nil, 0} }},
		{corrupt, func(r *rule) { r.condition.term.parts = nil }},
		{corrupt, func(r *rule) { r.reset, r.resetTerm = func(*eval) bool { return true }, &deep }},
		{"true or false", func(r *rule) { r.condition.term = r.condition.term.parts[0] }},
		{`summary: unknown field "x"`, func(r *rule) { r.summary = []segment{{kind: ifSegment, field: "x"}} }},
		{"needs exactly one of", func(r *rule) { r.summary = []segment{{kind: printSegment, field: "price", text: "%d"}} }},
		{"is not a time zone", func(r *rule) { r.session = &session{location: time.FixedZone("Nowhere", 0), to: 9, days: utcDay.days} }},
		{corrupt, func(r *rule) { r.on = 99 }},
		{corrupt, func(r *rule) { r.hold = -1 }},
		{corrupt, func(r *rule) { r.severity = "loud" }},
		{corrupt, func(r *rule) { r.on, r.interval = market.Bar, 7 }},
		{"there is no rule", nil},
		{"is there twice", nil},
	} {
		r := good()
		rules := &Rules{rules: []*rule{r}}
		switch tc.want {
		case "there is no rule":
			rules.rules = nil
		case "is there twice":
			rules.rules = append(rules.rules, r)
		default:
			tc.change(r)
		}
		_, err := DecodeRules(rules.Encode())
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
	}
}
