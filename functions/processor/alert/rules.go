package alert

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"strings"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// The limits of a rules file.
const (
	maxFile       = 1 << 20 // bytes
	maxRules      = 1000
	maxRuleName   = 100 // characters
	maxGlobs      = 1000
	maxLabels     = 16
	maxLabelName  = 64  // bytes
	maxLabelValue = 256 // bytes
	maxDuration   = 366 * 24 * time.Hour
	maxProblems   = 1000
)

// severities are all of them, as rules write them.
var severities = []string{string(Info), string(Warning), string(Critical)}

// isInterval tells whether bars can be of d.
func isInterval(d time.Duration) bool {
	return d >= time.Second && d%time.Second == 0 && 24*time.Hour%d == 0
}

// Rules are the checked and compiled rules of one file. They are immutable and safe for concurrent use.
type Rules struct {
	rules    []*rule
	warnings []Problem
}

// rule is one compiled rule.
type rule struct {
	name     string
	symbols  []string // globs; nil = all
	sources  []string // globs; nil = all
	on       market.Kind
	interval time.Duration // on: bar
	built    bool          // on: bar, from: trades
	after    int64         // on: silence, nanoseconds
	session  *session      // nil = always
	maxGap   int64         // nanoseconds; 0 = none
	expires  int64         // event time
	severity Severity
	notify   bool
	labels   []Label   // sorted by name
	summary  []segment // nil = none
	version  string

	slots     []slotDef // each behind those that it reads
	condition *condition
	when      func(*eval) bool // nil of a silence
	reset     func(*eval) bool // nil = the negation of when
	resetTerm *term            // what reset is compiled from
	cooldown  int64            // nanoseconds
	hold      int64            // nanoseconds: the rule's "for"

	nameHash uint64
	// editHash is over what re-arms the rule when it is edited.
	editHash uint64
}

func (r *rule) stream() watched { return watched{r.on, r.interval, r.built} }

// daySession is the session that makes the day of day_open, vwap and the like.
func (r *rule) daySession() *session {
	if r.session == nil {
		return utcDay
	}
	return r.session
}

// intervalName is the part of its alerts' ids that tells bars apart.
func (r *rule) intervalName() string {
	if r.on == market.Bar {
		return intervalText(r.interval)
	}
	return ""
}

func (r *rule) watches(symbol, source string) bool {
	return (r.symbols == nil || matchesAny(r.symbols, symbol)) && (r.sources == nil || matchesAny(r.sources, source))
}

func matchesAny(globs []string, s string) bool {
	for _, g := range globs {
		if matches(g, s) {
			return true
		}
	}
	return false
}

// matches tells whether glob matches all of s; * stands for any text, / included.
func matches(glob, s string) bool {
	parts := strings.Split(glob, "*")
	if len(parts) == 1 {
		return glob == s
	}
	last := len(parts) - 1
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1:last] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[last])
}

// Warnings are what the file's author should look at although the rules load, by place. The slice must not be changed.
func (r *Rules) Warnings() []Problem { return r.warnings }

// silence is the condition of a rule on: silence.
func (r *rule) silence() *condition {
	return &condition{text: "silence of " + time.Duration(r.after).String(), first: &number{"silence", func(x *eval) float64 { return x.numbers[iSilence] }, false}}
}

// arm completes a rule by its conditions; reset is nil where it has none.
func (r *rule) arm(when, reset *condition) {
	r.condition, r.when = when, when.test
	// Pairs of key and value, so that a key that a later version adds changes the hash of the rules that use it only.
	armedBy := []string{"on", kindNames[r.on]}
	if r.on == onSilence {
		armedBy = append(armedBy, "after", strconv.FormatInt(r.after, 10))
	} else {
		armedBy = append(armedBy, "expr", when.text)
	}
	if reset != nil {
		r.reset, r.resetTerm = reset.test, &reset.term
		armedBy = append(armedBy, "reset", reset.text)
	}
	if r.on == market.Bar {
		armedBy = append(armedBy, "interval", intervalText(r.interval))
		if r.built {
			armedBy = append(armedBy, "from", "trades")
		}
	}
	if r.hold > 0 && r.on != onSilence {
		armedBy = append(armedBy, "for", strconv.FormatInt(r.hold, 10))
	}
	if r.session != nil {
		armedBy = append(armedBy, "session", r.session.text)
	}
	r.nameHash, r.editHash = hash(r.name), hash(armedBy...)
}

// digest is SHA-256 over texts, each with its length, so that no two lists of texts share one.
func digest(texts ...string) [sha256.Size]byte {
	var b []byte
	for _, t := range texts {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	return sha256.Sum256(b)
}

// hash identifies texts in states, which are stored: it never changes.
func hash(texts ...string) uint64 {
	d := digest(texts...)
	return binary.BigEndian.Uint64(d[:8])
}
