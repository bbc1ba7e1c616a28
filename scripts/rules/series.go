package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// maxValues bounds what one series of a test expands to.
const maxValues = 100_000

// sequences are the fields of the wire format whose values may change from event to event of a series.
var sequences = []string{"price", "size", "bid", "ask", "bid_size", "ask_size", "open", "high", "low", "close", "volume"}

// steps is promtool's notation: 4 | 4x3 (4 and three more) | 4+0.5x3 (4 4.5 5 5.5) | 4-0.5x3 | _ (no event) | _x3.
var steps = regexp.MustCompile(`^(_|[0-9][0-9.]*)(?:([+-])([0-9][0-9.]*))?(?:x([0-9]{1,6}))?$`)

// number is one value of a sequence; absent where there is no event.
type number struct {
	value  market.Decimal
	absent bool
}

// expand reads a sequence.
func expand(text string) ([]number, error) {
	var out []number
	for word := range strings.FieldsSeq(text) {
		m := steps.FindStringSubmatch(word)
		switch {
		case m == nil, m[1] == "_" && m[2] != "", m[2] != "" && m[4] == "":
			return nil, fmt.Errorf("%q is no value: write 4, 4x3, 4+0.5x3, 4-0.5x3, _ or _x3", word)
		case m[1] == "_":
			n, _ := strconv.Atoi(m[4]) // digits, or none: one
			if m[4] == "" {
				n = 1
			}
			if n += len(out); n > maxValues {
				return nil, fmt.Errorf("more than %d values", maxValues)
			}
			for len(out) < n {
				out = append(out, number{absent: true})
			}
			continue
		}
		value, err := market.ParseDecimal(m[1])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", word, err)
		}
		var step market.Decimal
		if m[3] != "" {
			if step, err = market.ParseDecimal(m[3]); err != nil {
				return nil, fmt.Errorf("%q: %w", word, err)
			}
		}
		if m[2] == "-" {
			step = -step
		}
		more, _ := strconv.Atoi(m[4])
		if len(out)+more >= maxValues {
			return nil, fmt.Errorf("more than %d values", maxValues)
		}
		for k := range more + 1 {
			out = append(out, number{value: value + market.Decimal(k)*step})
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no values")
	}
	return out, nil
}

// events makes the events of a series: an event of the wire format in which numbers may be sequences, "timestamp" is
// that of the first one, and "every" the time between two (default: a bar's interval, else 1s). A number alone is that
// of every event. A bar without open, high or low never left its close.
func events(fields map[string]any, start time.Time) ([]market.Event, error) {
	fields = maps.Clone(fields)
	at, err := moment(text(fields["timestamp"]), start)
	if err != nil {
		return nil, fmt.Errorf("timestamp: %w", err)
	}
	every := time.Second
	for _, key := range []string{"interval", "every"} {
		v, ok := fields[key]
		if !ok {
			continue
		}
		if every, err = duration(text(v)); err != nil || every <= 0 {
			return nil, fmt.Errorf("%s %q is not a time between two events: write 1s, 1m, 1h or 1d", key, text(v))
		}
	}
	delete(fields, "every")
	values, length, longest := map[string][]number{}, 0, ""
	for _, name := range sequences {
		v, ok := fields[name]
		if !ok {
			continue
		}
		if values[name], err = expand(text(v)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if n := len(values[name]); n > length {
			length, longest = n, name
		}
	}
	for _, name := range sequences {
		if n := len(values[name]); n > 1 && n != length {
			return nil, fmt.Errorf("%s has %d values, but %s has %d: give as many, or one for all", name, n, longest, length)
		}
	}
	if fields["type"] == "bar" {
		for _, name := range []string{"open", "high", "low"} {
			if values[name] == nil {
				values[name] = values["close"]
			}
		}
	}
	var out []market.Event
	for i := range max(1, length) {
		if e, ok, err := event(fields, values, i, at.Add(time.Duration(i)*every)); err != nil {
			return nil, err
		} else if ok {
			out = append(out, e)
		}
	}
	return out, nil
}

// event makes the i-th event of a series; ok is false where one of its numbers is absent.
func event(fields map[string]any, values map[string][]number, i int, at time.Time) (e market.Event, ok bool, err error) {
	fields["timestamp"] = at.UTC().Format(time.RFC3339Nano)
	for name, v := range values {
		n := v[min(i, len(v)-1)]
		if n.absent {
			return e, false, nil
		}
		fields[name] = n.value.String()
	}
	line, err := json.Marshal(fields)
	if err != nil {
		return e, false, fmt.Errorf("event %d cannot be written as JSON: %w", i+1, err)
	}
	made, err := decode(string(line))
	if err != nil {
		return e, false, fmt.Errorf("event %d: %w", i+1, err)
	}
	return made[0], true, nil
}

// decode reads events as the processor does, of whatever time.
func decode(body string) ([]market.Event, error) {
	const ever = 200 * 365 * 24 * time.Hour
	events, refused := market.Decode(nil, body, time.Now(), ever)
	var errs []error
	for i := range refused {
		errs = append(errs, &refused[i])
	}
	return events, errors.Join(errs...)
}

// inOrder merges the events of a test: those that were written line by line keep their order, late ones included; the
// others are put where they belong by time.
func inOrder(written, made []market.Event) []market.Event {
	slices.SortStableFunc(made, func(a, b market.Event) int { return int(min(1, max(-1, a.EventTime()-b.EventTime()))) })
	out, newest := make([]market.Event, 0, len(written)+len(made)), int64(0)
	for i := range written {
		for newest = max(newest, written[i].EventTime()); len(made) > 0 && made[0].EventTime() < newest; made = made[1:] {
			out = append(out, made[0])
		}
		out = append(out, written[i])
	}
	return append(out, made...)
}

// text is a YAML value as it was meant.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return fmt.Sprint(v)
}

// moment reads a time, or a duration after start; "" is start.
func moment(s string, start time.Time) (time.Time, error) {
	if s == "" {
		s = "0s"
	}
	if d, err := duration(s); err == nil {
		if start.IsZero() {
			return start, fmt.Errorf("%s is after what? Give the test a start, or a time such as 2026-01-05T14:30:00Z", s)
		}
		return start.Add(d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither a time (2026-01-05T14:30:00Z) nor one after the test's start (90s, 5m, 1d)", s)
	}
	return t, nil
}

// duration is time.ParseDuration with days.
func duration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.Atoi(days)
		return time.Duration(n) * 24 * time.Hour, err
	}
	return time.ParseDuration(s)
}
