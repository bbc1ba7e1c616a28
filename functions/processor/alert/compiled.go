package alert

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// compiledHead is the first line of compiled rules, with the version of their form. A SHA-256 of the rest follows.
const compiledHead = "market data rules, compiled, form "

const compiledForm = "1\n"

// Encode writes the rules in their compiled form, which DecodeRules reads without the means to read rules files: equal
// files give equal bytes. Warnings are left out.
func (r *Rules) Encode() []byte {
	body := binary.AppendUvarint(nil, uint64(len(r.rules)))
	for _, r := range r.rules {
		body = r.appendCompiled(body)
	}
	sum := sha256.Sum256(body)
	return slices.Concat([]byte(compiledHead+compiledForm), sum[:], body)
}

// DecodeRules reads rules that Encode wrote, and compiles them: they are the same rules, without the file's warnings. Any
// other bytes are an error.
func DecodeRules(b []byte) (*Rules, error) {
	form, ok := bytes.CutPrefix(b, []byte(compiledHead))
	if !ok {
		return nil, errors.New("these are no compiled rules: a rules file is compiled when the stack is synthesized")
	}
	rest, ok := bytes.CutPrefix(form, []byte(compiledForm))
	if !ok {
		return nil, errors.New("the rules were compiled by another version: build the function and compile its rules from the same one")
	}
	if len(rest) < sha256.Size || sha256.Sum256(rest[sha256.Size:]) != [sha256.Size]byte(rest[:sha256.Size]) {
		return nil, errors.New("the compiled rules are damaged or cut off: deploy them anew")
	}
	return decodeBody(rest[sha256.Size:])
}

func decodeBody(body []byte) (*Rules, error) {
	in := reader{b: body}
	out, names := &Rules{}, map[string]bool{}
	for n := in.uvarint(); uint64(len(out.rules)) < n && !in.bad; {
		r, err := in.rule()
		if err != nil {
			return nil, fmt.Errorf("compiled rule %d, %q: %w", len(out.rules)+1, cut(r.name, maxRuleName), err)
		}
		if names[r.name] {
			return nil, fmt.Errorf("compiled rule %d: the name %q is there twice", len(out.rules)+1, cut(r.name, maxRuleName))
		}
		names[r.name], out.rules = true, append(out.rules, r)
	}
	if err := in.end(); err != nil {
		return nil, fmt.Errorf("compiled rules: %w", err)
	}
	if len(out.rules) == 0 {
		return nil, errors.New("there is no rule in the compiled rules")
	}
	return out, nil
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, s := range texts {
		b = appendText(b, s)
	}
	return b
}

func (r *rule) appendCompiled(b []byte) []byte {
	b = appendText(b, r.name)
	b = append(b, byte(r.on), flags(r.built, r.notify, r.session != nil, r.reset != nil, r.summary != nil))
	for _, d := range []int64{int64(r.interval), r.after, r.maxGap, r.cooldown, r.hold, r.expires} {
		b = binary.AppendVarint(b, d)
	}
	b = appendText(appendText(b, string(r.severity)), r.version)
	b = appendTexts(appendTexts(b, r.symbols), r.sources)
	b = binary.AppendUvarint(b, uint64(len(r.labels)))
	for _, l := range r.labels {
		b = appendText(appendText(b, l.Name), l.Value)
	}
	if s := r.session; s != nil {
		b = appendText(b, s.location.String())
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(s.from)), uint64(s.to))
		b = append(b, flags(s.days[:]...))
	}
	if r.on != onSilence {
		b = r.condition.term.append(b)
	}
	if r.reset != nil {
		b = r.resetTerm.append(b)
	}
	if r.summary != nil {
		b = appendSegments(b, r.summary)
	}
	return b
}

func (t *term) append(b []byte) []byte {
	b = appendText(append(b, byte(t.kind)), t.text)
	b = binary.AppendUvarint(b, uint64(len(t.parts)))
	for i := range t.parts {
		b = t.parts[i].append(b)
	}
	return b
}

func appendSegments(b []byte, segments []segment) []byte {
	b = binary.AppendUvarint(b, uint64(len(segments)))
	for i := range segments {
		s := &segments[i]
		b = appendText(append(b, byte(s.kind)), s.text)
		if s.kind != textSegment {
			b = appendText(b, s.field)
			b = appendSegments(appendSegments(b, s.then), s.otherwise)
		}
	}
	return b
}

func (in *reader) text() string { return string(in.bytes()) }

// list reads as many values as its first number says; nil where it says none.
func list[T any](in *reader, read func() T) (out []T) {
	n := in.uvarint()
	if n > 0 {
		out = make([]T, 0, min(n, 64)) // what damaged bytes say is no reason to take memory
	}
	for uint64(len(out)) < n && !in.bad {
		out = append(out, read())
	}
	return out
}

// fit notes that what was read cannot have been written where ok is false.
func (in *reader) fit(ok bool) { in.bad = in.bad || !ok }

// rule reads and compiles a rule, which is never nil.
func (in *reader) rule() (*rule, error) {
	r := &rule{name: in.text(), on: market.Kind(in.byte())}
	f := in.byte()
	has := func(flag int) bool { return f>>flag&1 == 1 }
	r.built, r.notify = has(0), has(1)
	r.interval = time.Duration(in.varint())
	for _, d := range []*int64{&r.after, &r.maxGap, &r.cooldown, &r.hold} {
		*d = in.varint()
		in.fit(*d >= 0)
	}
	r.expires = in.varint()
	r.severity, r.version = Severity(in.text()), in.text()
	r.symbols, r.sources = list(in, in.text), list(in, in.text)
	r.labels = list(in, func() Label { return Label{in.text(), in.text()} })
	_, isKind := kindNames[r.on]
	in.fit(isKind && f < 1<<5 && slices.Contains(severities, string(r.severity)))
	if r.on == market.Bar {
		in.fit(isInterval(r.interval))
	} else {
		in.fit(r.interval == 0 && !r.built)
	}
	in.fit((r.on == onSilence) == (r.after > 0))

	if has(2) {
		zone, from, to := in.text(), in.uvarint(), in.uvarint()
		mask := in.byte()
		in.fit(from < 24*60 && to <= 24*60 && 0 < mask && mask < 1<<7)
		if in.bad {
			return r, in.end()
		}
		var days [7]bool
		for i := range days {
			days[i] = mask>>i&1 == 1
		}
		var err error
		if r.session, err = newSession(zone, int(from), int(to), days); err != nil {
			return r, fmt.Errorf("session: %w", err)
		}
	}
	var when, reset *condition
	var err error
	if r.on == onSilence {
		when = r.silence()
	} else if when, err = in.condition(r, "expr"); err != nil {
		return r, err
	}
	if has(3) {
		in.fit(r.on != onSilence)
		if reset, err = in.condition(r, "reset"); err != nil {
			return r, err
		}
	}
	r.arm(when, reset)
	if has(4) {
		left := maxTemplate
		segments := in.segments(&left)
		if in.bad {
			return r, in.end()
		}
		if segments == nil {
			segments = []segment{} // an empty summary, not none
		}
		if faults := r.compileSummary(segments); len(faults) > 0 {
			return r, fmt.Errorf("summary: %s", faults[0].text)
		}
	}
	return r, nil
}

func (in *reader) condition(r *rule, key string) (*condition, error) {
	left := maxExpression
	t := in.term(&left)
	if in.bad {
		return nil, in.end()
	}
	c, faults := r.compile(t)
	if len(faults) > 0 {
		return nil, fmt.Errorf("%s: %s", key, faults[0].text)
	}
	return c, nil
}

// term reads a term; left is how many bytes of source its expression can still have had.
func (in *reader) term(left *int) term {
	t := term{kind: termKind(in.byte()), text: in.text()}
	if *left -= max(1, len(t.text)); *left < 0 {
		in.bad = true
		return t
	}
	t.parts = list(in, func() term { return in.term(left) })
	switch t.kind {
	case operatorTerm:
		in.fit(len(t.parts) == 1 || len(t.parts) == 2)
	case callTerm:
	default:
		in.fit(t.kind < operatorTerm && len(t.parts) == 0)
	}
	return t
}

// segments reads segments; left is how many bytes of source their summary can still have had.
func (in *reader) segments(left *int) []segment {
	return list(in, func() segment {
		s := segment{kind: segmentKind(in.byte()), text: in.text()}
		in.fit(s.kind <= ifUnequalSegment)
		if s.kind != textSegment {
			s.field = in.text()
		}
		if *left -= max(1, len(s.text)+len(s.field)); *left < 0 {
			in.bad = true
			return s
		}
		if s.kind != textSegment {
			s.then, s.otherwise = in.segments(left), in.segments(left)
		}
		in.fit(s.kind != printSegment || len(s.then)+len(s.otherwise) == 0)
		return s
	})
}
