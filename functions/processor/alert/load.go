//go:build !compiledrules

package alert

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"example.com/market-data-pipeline/functions/processor/market"
)

// Load checks and compiles a rules file; file is its name in messages. A non-nil error is Problems with every mistake
// of the file (of YAML's own syntax, and of an expression's, only the first) and its warnings, by place. Rules are only
// returned if all of them are valid: half a rule set never runs.
func Load(file string, src []byte) (*Rules, error) {
	l := loader{file: file, lines: strings.Split(lineEnds.Replace(string(src)), "\n"), names: map[string]int{}}
	l.load(src)
	slices.SortStableFunc(l.problems, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if slices.ContainsFunc(l.problems, func(p Problem) bool { return !p.Warning }) {
		return nil, Problems(l.problems)
	}
	return &Rules{rules: l.rules, warnings: l.problems}, nil
}

// lineEnds turns what YAML takes for the end of a line into one form.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// loader collects a file's rules and problems.
type loader struct {
	file     string
	lines    []string
	rules    []*rule
	problems []Problem
	names    map[string]int // of the rules so far: their lines
	rule     string         // the name of the rule being read
}

func (l *loader) report(line, column int, warning bool, format string, args ...any) {
	if len(l.problems) < maxProblems {
		l.problems = append(l.problems, Problem{l.file, line, column, l.rule, fmt.Sprintf(format, args...), warning})
	}
}

func (l *loader) fail(n ast.Node, format string, args ...any) {
	line, column := position(n)
	l.report(line, column, false, format, args...)
}

func position(n ast.Node) (line, column int) {
	t := n.GetToken()
	switch n := n.(type) {
	case *ast.MappingNode: // its token is the first colon
		if len(n.Values) > 0 && !n.IsFlowStyle {
			return position(n.Values[0].Key)
		}
		t = n.Start
	case *ast.LiteralNode:
		t = n.Start
	}
	if t == nil || t.Position == nil {
		return 0, 0
	}
	return t.Position.Line, t.Position.Column
}

func (l *loader) load(src []byte) {
	switch {
	case len(src) > maxFile:
		l.report(0, 0, false, "the file has %d bytes, the limit is %d", len(src), maxFile)
		return
	case !utf8.Valid(src):
		l.report(0, 0, false, "the file is not UTF-8: save it as UTF-8")
		return
	}
	doc, err := parser.ParseBytes(src, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		text, line, column := err.Error(), 1, 1
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			text = syntax.Message
			if t := syntax.Token; t != nil && t.Position != nil {
				line, column = t.Position.Line, t.Position.Column
			}
		}
		l.report(line, column, false, "YAML: %s", text)
		return
	}
	var bodies []ast.Node
	for _, d := range doc.Docs {
		if d.Body == nil {
			continue
		}
		if _, comment := d.Body.(*ast.CommentGroupNode); !comment {
			bodies = append(bodies, d.Body)
		}
	}
	if len(bodies) == 0 {
		l.report(1, 1, false, `the file has no rules: start with "rules:" and a list of rules`)
		return
	}
	for _, b := range bodies[1:] {
		l.fail(b, "the file has a second YAML document: keep all rules in one")
	}
	top := l.mapping(bodies[0], "the file", []string{"rules"})
	if top == nil {
		return
	}
	list, ok := top["rules"]
	if !ok {
		if len(l.problems) == 0 {
			l.fail(bodies[0], `"rules" is missing: start with "rules:" and a list of rules`)
		}
		return
	}
	seq, ok := list.(*ast.SequenceNode)
	if !ok || len(seq.Values) == 0 {
		l.fail(list, `"rules" must be a list of at least one rule, each starting with "- alert: Name"`)
		return
	}
	if len(seq.Values) > maxRules {
		l.fail(seq.Values[maxRules], "the file has %d rules, the limit is %d: join rules that differ in symbols only", len(seq.Values), maxRules)
		return
	}
	for _, n := range seq.Values {
		l.rule = ""
		if r := l.readRule(n); r != nil {
			l.rules = append(l.rules, r)
		}
	}
	l.rule = ""
	if !slices.ContainsFunc(l.problems, func(p Problem) bool { return !p.Warning }) {
		l.checkSize()
	}
}

// mapping reads a mapping with known keys (nil = any); nil where n is none. A duplicate key's first value counts.
func (l *loader) mapping(n ast.Node, what string, known []string) map[string]ast.Node {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		l.fail(n, "%s must be a mapping with the keys %s", what, strings.Join(known, ", "))
		return nil
	}
	out := make(map[string]ast.Node, len(m.Values))
	for _, kv := range m.Values {
		key, ok := kv.Key.(*ast.StringNode)
		if !ok {
			l.fail(kv.Key, "%s is not a key here: use plain keys (%s)", kv.Key, strings.Join(known, ", "))
			continue
		}
		name := key.Value
		if _, again := out[name]; again {
			l.fail(key, "the key %q is there twice: remove one", name)
			continue
		}
		if known != nil && !slices.Contains(known, name) {
			l.fail(key, "unknown key %q: %s", name, didYouMean(name, known))
			continue
		}
		out[name] = kv.Value
	}
	return out
}

var ruleKeys = []string{"alert", "symbols", "sources", "on", "interval", "from", "after", "expr", "reset", "for", "cooldown", "session", "max_gap", "expires", "severity", "notify", "labels", "summary"}

// readRule reads one rule and reports all that is wrong with it. Its result only counts where nothing was reported.
func (l *loader) readRule(n ast.Node) *rule {
	// The name comes first, so that every problem of the rule can name it.
	if m, ok := n.(*ast.MappingNode); ok {
		for _, kv := range m.Values {
			if key, ok := kv.Key.(*ast.StringNode); ok && key.Value == "alert" {
				if s, ok := scalarText(kv.Value); ok {
					l.rule = cut(s, maxRuleName)
					break
				}
			}
		}
	}
	keys := l.mapping(n, "a rule", ruleKeys)
	if keys == nil {
		return nil
	}
	r := &rule{on: market.Trade, severity: Warning, notify: true, expires: math.MaxInt64}
	l.readName(r, n, keys["alert"])
	r.symbols = l.globs(keys["symbols"], "symbols", "AAPL", symbolGlob)
	r.sources = l.globs(keys["sources"], "sources", "alpaca", sourceGlob)
	validOn := l.readOn(r, keys["on"])
	if s, ok := l.scalar(keys["severity"], "severity"); ok {
		r.severity = Severity(s.text)
		if !slices.Contains(severities, s.text) {
			l.reportAt(s, 0, "unknown severity %q: %s", s.text, didYouMean(s.text, severities))
		}
	}
	if s, ok := l.scalar(keys["notify"], "notify"); ok {
		r.notify = s.text == "true"
		if s.text != "true" && s.text != "false" {
			l.reportAt(s, 0, "notify is %q: write true or false", s.text)
		}
	}
	r.cooldown = l.duration(keys, "cooldown")
	r.hold = l.duration(keys, "for")
	r.maxGap = l.duration(keys, "max_gap")
	r.after = l.duration(keys, "after")
	if s, ok := l.scalar(keys["session"], "session"); ok {
		var err error
		if r.session, err = parseSession(s.text); err != nil {
			l.reportAt(s, 0, "%v", err)
		}
	}
	if s, ok := l.scalar(keys["expires"], "expires"); ok {
		t, err := time.Parse(time.RFC3339Nano, s.text)
		if err != nil || t.Year() < 1970 || t.Year() > 2261 {
			l.reportAt(s, 0, "expires %q is not a time with zone: write 2027-01-01T00:00:00Z", cut(s.text, 40))
		}
		r.expires = t.UnixNano()
	}
	l.readLabels(r, keys["labels"])
	if keys["expr"] == nil && r.on != onSilence {
		l.fail(n, `a rule needs a condition: "expr: price > 100"`)
	}
	if validOn {
		l.readStream(r, n, keys)
		if r.on == onSilence {
			l.readSilence(r, keys["after"])
		} else {
			l.readConditions(r, keys)
		}
		if s, ok := l.scalar(keys["summary"], "summary"); ok {
			segments, faults := parseSummary(s.text, r.on)
			l.reportFaults(s, append(faults, r.compileSummary(segments)...))
		}
	}
	r.version = hashText(canonicalSource(n))
	return r
}

func (l *loader) readName(r *rule, n, value ast.Node) {
	if value == nil {
		l.fail(n, `a rule needs a name: "alert: LargeTrade"`)
		return
	}
	s, ok := l.scalar(value, "alert")
	if !ok {
		return
	}
	r.name = s.text
	if c := utf8.RuneCountInString(r.name); c == 0 || c > maxRuleName || strings.IndexFunc(r.name, func(c rune) bool { return !unicode.IsPrint(c) }) >= 0 {
		l.reportAt(s, 0, "a rule's name has 1 to %d printable characters", maxRuleName)
		return
	}
	if line, taken := l.names[r.name]; taken {
		l.reportAt(s, 0, "the name %q is taken by the rule in line %d: names are unique, because states and alert ids depend on them", r.name, line)
		return
	}
	l.names[r.name] = s.line
}

func (l *loader) readOn(r *rule, value ast.Node) bool {
	s, ok := l.scalar(value, "on")
	if !ok {
		return value == nil
	}
	for kind, name := range kindNames {
		if name == s.text {
			r.on = kind
			return true
		}
	}
	valid := slices.Sorted(maps.Values(kindNames))
	l.reportAt(s, 0, "unknown event kind %q: %s", s.text, didYouMean(s.text, valid))
	// What it was probably meant to be shows the mistakes in the rest of the rule.
	for kind, name := range kindNames {
		if name == nearest(s.text, valid) {
			r.on = kind
			return true
		}
	}
	return false
}

func (l *loader) duration(keys map[string]ast.Node, key string) int64 {
	s, ok := l.scalar(keys[key], key)
	if !ok {
		return 0
	}
	d, err := parseDuration(s.text)
	if err != nil {
		l.reportAt(s, 0, "%s %v", key, err)
	}
	return int64(d)
}

// keysOf are the keys that only some kinds have.
var keysOf = map[string][]market.Kind{
	"interval": {market.Bar}, "from": {market.Bar}, "after": {onSilence},
	"expr": conditional, "reset": conditional, "for": conditional, "max_gap": {market.Trade, market.Quote, market.Bar},
}

var conditional = []market.Kind{market.Trade, market.Quote, market.Bar, market.Status}

// readStream reads what the rule is evaluated on, beside its kind.
func (l *loader) readStream(r *rule, n ast.Node, keys map[string]ast.Node) {
	for _, key := range ruleKeys {
		if kinds, ok := keysOf[key]; ok && keys[key] != nil && !slices.Contains(kinds, r.on) {
			l.fail(keys[key], "the key %q has no meaning on: %s: remove it", key, kindNames[r.on])
		}
	}
	switch {
	case r.on == onSilence && keys["after"] == nil:
		l.fail(n, `on: silence needs "after", the time without events: "after: 5m"`)
	case r.on == market.Bar && keys["interval"] == nil:
		l.fail(n, `on: bar needs the bars' "interval": "interval: 1m"`)
	}
	if r.on != market.Bar {
		return
	}
	if s, ok := l.scalar(keys["from"], "from"); ok {
		r.built = s.text == "trades"
		if s.text != "trades" && s.text != "bars" {
			l.reportAt(s, 0, "unknown source of bars %q: %s", s.text, didYouMean(s.text, []string{"bars", "trades"}))
		}
	}
	r.interval = time.Minute // where it is wrong, the rest is checked all the same
	if s, ok := l.scalar(keys["interval"], "interval"); ok {
		d, err := parseDuration(s.text)
		if err != nil || !isInterval(d) {
			l.reportAt(s, 0, "interval %q is not a whole number of s, m, h or d that divides a day: write 30s, 1m, 1h, 1d", cut(s.text, 40))
			return
		}
		r.interval = d
	}
}

// readSilence completes a rule on: silence.
func (l *loader) readSilence(r *rule, at ast.Node) {
	after := time.Duration(r.after)
	if at != nil && r.after == 0 {
		l.fail(at, "after must be longer than 0")
	}
	if at != nil && r.session != nil && after >= r.session.longest() {
		l.fail(at, "after is %v, but the session lasts %v: a silence within it never gets so long", after, r.session.longest())
	}
	r.arm(r.silence(), nil)
}

func (l *loader) readConditions(r *rule, keys map[string]ast.Node) {
	sound := true // warnings would guess at what a faulty expression means
	compile := func(key string) (*condition, scalar) {
		s, ok := l.scalar(keys[key], key)
		if !ok {
			return nil, s
		}
		c, faults := r.compileText(s.text)
		l.reportFaults(s, faults)
		sound = sound && len(faults) == 0
		if sound && c.constant {
			l.report(s.line, s.column, true, "%s is constant (%s): it does not depend on the market", key, c.text)
		}
		return c, s
	}
	when, s := compile("expr")
	reset, _ := compile("reset")
	if when == nil {
		return
	}
	if r.hold > 0 && when.momentary {
		l.fail(keys["for"], `"for" on a crossing never fires, because a crossing is true for one evaluation only: compare the lines instead, as in "a > b"`)
	}
	if sound && r.maxGap > 0 && len(r.slots) == 0 {
		line, column := position(keys["max_gap"])
		l.report(line, column, true, "max_gap has no effect: the rule has no function over past values")
	}
	if sound && keys["reset"] == nil && keys["cooldown"] == nil && !when.constant && !when.momentary && r.on != market.Status {
		l.report(s.line, s.column, true, `a level without "reset" or "cooldown" fires each time the market crosses it: 50-500 times a day on a real tape`)
	}
	r.arm(when, reset)
}

// reserved are the names of the record, which labels would be confused with.
var reserved = []string{"alert_id", "symbol", "source", "rule", "severity", "labels", "summary", "timestamp", "value", "operands", "price", "event_id", "sequence", "venue", "rule_version", "received_at", "stored_at", "status", "published_at"}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

func (l *loader) readLabels(r *rule, value ast.Node) {
	if value == nil {
		return
	}
	m, ok := value.(*ast.MappingNode)
	if !ok {
		l.fail(value, "labels must be a mapping of names and texts, as in {desk: equities}")
		return
	}
	if len(m.Values) > maxLabels {
		l.fail(value, "the rule has %d labels, the limit is %d", len(m.Values), maxLabels)
	}
	nodes := l.mapping(value, "labels", nil)
	for name, n := range nodes {
		switch {
		case len(name) > maxLabelName || !labelName.MatchString(name):
			l.fail(n, "the label %q is not a name: use letters, digits and _, at most %d", cut(name, 80), maxLabelName)
		case slices.Contains(reserved, name):
			l.fail(n, "the label %q has the name of a field of the alert: choose another", name)
		}
		s, ok := l.scalar(n, "label "+cut(name, maxLabelName))
		if !ok {
			continue
		}
		if len(s.text) > maxLabelValue || strings.IndexFunc(s.text, unicode.IsControl) >= 0 {
			l.reportAt(s, 0, "the value of label %q has a control character or more than %d bytes", cut(name, maxLabelName), maxLabelValue)
		}
		r.labels = append(r.labels, Label{name, s.text})
	}
	slices.SortFunc(r.labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) })
}

var (
	symbolGlob = regexp.MustCompile(`^[A-Za-z0-9.\-/:_^=*]{1,64}$`)
	sourceGlob = regexp.MustCompile(`^[^\x00-\x1f\x7f]{0,128}$`)
)

func (l *loader) globs(value ast.Node, key, example string, valid *regexp.Regexp) []string {
	if value == nil {
		return nil
	}
	seq, ok := value.(*ast.SequenceNode)
	if !ok || len(seq.Values) == 0 || len(seq.Values) > maxGlobs {
		l.fail(value, "%s must be a list of 1 to %d patterns, as in [%s]; leave it out for all", key, maxGlobs, example)
		return nil
	}
	out := make([]string, 0, len(seq.Values))
	for _, n := range seq.Values {
		s, ok := l.scalar(n, key)
		if !ok {
			continue
		}
		if !valid.MatchString(s.text) {
			l.reportAt(s, 0, "%s: the pattern %q can match nothing: use the characters of names, and * for any text", key, cut(s.text, 80))
		}
		out = append(out, s.text)
	}
	return out
}

var durationPart = regexp.MustCompile(`^([0-9]+)(w|d)`)

// parseDuration reads Prometheus's and Go's durations: "90s", "10m", "1h30m", "1d", "2w".
func parseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration: write 30s, 10m, 1h30m or 1d, at most %dd", cut(s, 40), maxDuration/(24*time.Hour))
	rest, total := s, time.Duration(0)
	for unit := ""; ; {
		m := durationPart.FindStringSubmatch(rest)
		if m == nil {
			break
		}
		n, err := strconv.Atoi(m[1])
		if err != nil || n > 366 || m[2] == unit || unit == "d" {
			return 0, bad
		}
		unit, rest = m[2], rest[len(m[0]):]
		days := time.Duration(n)
		if unit == "w" {
			days *= 7
		}
		total += days * 24 * time.Hour
	}
	if rest != "" || s == "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 || strings.ContainsAny(rest, "+-") {
			return 0, bad
		}
		total += min(d, maxDuration+1)
	}
	if total > maxDuration {
		return 0, bad
	}
	return total, nil
}

// scalar is a one-value node with its place in the file.
type scalar struct {
	text         string
	line, column int
	// body is where the text itself starts: behind a quote, or in the line below | and >.
	bodyLine, bodyColumn int
}

// scalarText is the text of any plain, quoted or block scalar as written: the symbol TRUE stays a text.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimRight(n.Value.Value, "\n"), true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// scalar reads a scalar. ok is false where n is nil (the key is absent) or was reported.
func (l *loader) scalar(n ast.Node, what string) (s scalar, ok bool) {
	if n == nil {
		return s, false
	}
	s.line, s.column = position(n)
	if s.text, ok = scalarText(n); !ok {
		switch n.(type) {
		case *ast.NullNode:
			l.fail(n, "%s has no value: give one, or remove the key", what)
		case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
			l.fail(n, "%s: anchors, aliases and tags are not allowed here: write the value out", what)
		default:
			l.fail(n, "%s must be a single value, not a list or a mapping", what)
		}
		return s, false
	}
	s.bodyLine, s.bodyColumn = s.line, s.column
	if _, block := n.(*ast.LiteralNode); block {
		s.bodyLine, s.bodyColumn = s.line+1, 1
	} else if line := []rune(l.line(s.line)); s.column-1 < len(line) && s.column > 0 && (line[s.column-1] == '"' || line[s.column-1] == '\'') {
		s.bodyColumn++
	}
	return s, true
}

func (l *loader) line(n int) string {
	if n < 1 || n > len(l.lines) {
		return ""
	}
	return l.lines[n-1]
}

// place maps a rune offset in the scalar's text to the file. Folding changes white space only, so it counts the other
// characters; where an escape in a quoted text stops that, it gives the place reached.
func (l *loader) place(s scalar, offset int) (line, column int) {
	line, column = s.bodyLine, s.bodyColumn
	current := []rune(l.line(line))
	skipSpace := func() bool {
		for {
			for column <= len(current) && unicode.IsSpace(current[column-1]) {
				column++
			}
			if column <= len(current) {
				return true
			}
			if line >= len(l.lines) {
				return false
			}
			line++
			column, current = 1, []rune(l.line(line))
		}
	}
	text := []rune(s.text)
	for i, r := range text {
		if unicode.IsSpace(r) && i < offset {
			continue
		}
		if i >= offset {
			break
		}
		if !skipSpace() || current[column-1] != r {
			return line, min(column, len(current)+1)
		}
		column++
	}
	// At the text's end the place is right behind it, not at the next word of the file.
	if offset < len(text) && !unicode.IsSpace(text[offset]) {
		skipSpace()
	}
	return line, column
}

func (l *loader) reportAt(s scalar, offset int, format string, args ...any) {
	line, column := s.line, s.column
	if offset > 0 {
		line, column = l.place(s, offset)
	}
	l.report(line, column, false, format, args...)
}

func (l *loader) reportFaults(s scalar, faults []fault) {
	for _, f := range faults {
		line, column := l.place(s, f.offset)
		l.report(line, column, false, "%s", f.text)
	}
}

// hashText identifies a rule in records, which are stored: it never changes.
func hashText(text string) string {
	d := digest(text)
	return hex.EncodeToString(d[:8])
}

// canonicalSource is a rule as written, without layout and comments.
func canonicalSource(n ast.Node) string {
	var b strings.Builder
	var write func(n ast.Node)
	write = func(n ast.Node) {
		switch n := n.(type) {
		case *ast.MappingNode:
			b.WriteByte('{')
			for _, kv := range n.Values {
				write(kv.Key)
				write(kv.Value)
			}
			b.WriteByte('}')
		case *ast.SequenceNode:
			b.WriteByte('[')
			for _, v := range n.Values {
				write(v)
			}
			b.WriteByte(']')
		default:
			if s, ok := scalarText(n); ok {
				b.WriteString(strconv.Quote(s))
			}
		}
	}
	write(n)
	return b.String()
}

// defaultLateness is the lateness for which the size of states is computed when a file is loaded.
const defaultLateness = 5 * time.Second

// checkSize reports states that are too large, or dear to write.
func (l *loader) checkSize() {
	if newProgram(l.rules, Options{Lateness: defaultLateness}).footprint().Bytes <= warnState {
		return // all rules together
	}
	for i, f := range (&Rules{rules: l.rules}).Explain(Options{Lateness: defaultLateness}) {
		if f.Bytes <= warnState || i > 0 && f.Bytes <= maxState {
			return // the largest is enough of a warning
		}
		largest := "the rules' own states"
		if len(f.Slots) > 0 {
			s := slices.MaxFunc(f.Slots, func(a, b SlotInfo) int { return cmp.Compare(a.Bytes, b.Bytes) })
			largest = fmt.Sprintf("%s (%d bytes)", s.Text, s.Bytes)
		}
		text := fmt.Sprintf("the state of a series such as %s, watched by %d rules, takes up to %d bytes, of which most for %s: each commit writes up to %d DynamoDB write units, twice that with alerts",
			f.Symbol, len(f.Rules), f.Bytes, largest, f.WriteUnits)
		if f.Bytes > maxState {
			l.report(0, 0, false, "%s; the limit is %d bytes: shorten the windows, or watch fewer symbols per rule", text, maxState)
			return
		}
		l.report(0, 0, true, "%s", text)
	}
}

// longest is how long a session lasts, by its local times.
func (s *session) longest() time.Duration {
	minutes := s.to - s.from
	if minutes < 0 {
		minutes += 24 * 60
	}
	return time.Duration(minutes) * time.Minute
}

var sessionForm = regexp.MustCompile(`^([A-Za-z0-9_+\-/]+) ([0-9]{2}):([0-9]{2})-([0-9]{2}):([0-9]{2})(?: ([a-z,\-]+))?$`)

// parseSession reads "America/New_York 09:30-16:00 mon-fri". Without days it is every day.
func parseSession(text string) (*session, error) {
	m := sessionForm.FindStringSubmatch(strings.Join(strings.Fields(text), " "))
	if m == nil {
		return nil, fmt.Errorf(`%q is not a session: write zone, times and days, as in "America/New_York 09:30-16:00 mon-fri" (holidays are not known)`, cut(text, 80))
	}
	minutes := func(hour, minute string) int {
		h, m := int(hour[0]-'0')*10+int(hour[1]-'0'), int(minute[0]-'0')*10+int(minute[1]-'0')
		if h > 24 || m > 59 || h == 24 && m > 0 {
			return -1
		}
		return h*60 + m
	}
	from, to := minutes(m[2], m[3]), minutes(m[4], m[5])
	if from < 0 || from == 24*60 || to < 0 {
		return nil, fmt.Errorf("%s:%s-%s:%s are not times of a day: write 00:00 to 24:00", m[2], m[3], m[4], m[5])
	}
	if m[6] == "" {
		m[6] = "sun-sat"
	}
	var days [7]bool
	for _, part := range strings.Split(m[6], ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		i, j := slices.Index(weekdays, first), slices.Index(weekdays, last)
		if i < 0 || j < 0 {
			return nil, fmt.Errorf("%q are not days: write mon-fri, or sat,sun", cut(part, 40))
		}
		for ; ; i = (i + 1) % 7 {
			days[i] = true
			if i == j {
				break
			}
		}
	}
	return newSession(m[1], from, to, days)
}
