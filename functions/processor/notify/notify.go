// Package notify publishes alerts. SNS is the adapter for AWS, Writer its twin for the local run.
package notify

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
)

// PermanentError says that an alert can never be published as it is: no retry helps.
type PermanentError struct {
	Code   string
	Detail string
}

func (e *PermanentError) Error() string { return e.Code + ": " + e.Detail }

// Permanent tells that retrying is useless.
func (e *PermanentError) Permanent() bool { return true }

// Writer writes each alert as one line of JSON, in order.
type Writer struct {
	W io.Writer
	// Times adds the pipeline's own times, which differ from run to run.
	Times bool
}

// Publish writes the alerts. After a write error the remaining ones have that error too.
func (w *Writer) Publish(_ context.Context, records []alert.Record) []error {
	errs := make([]error, len(records))
	for i := range records {
		var times alert.Times
		if w.Times {
			times = records[i].Times
		}
		if _, err := w.W.Write(append(records[i].AppendJSON(nil, times, ""), '\n')); err != nil {
			for ; i < len(records); i++ {
				errs[i] = fmt.Errorf("notify: writing alert %s: %w", records[i].ID, err)
			}
			return errs
		}
	}
	return errs
}

// maxSubject is one below the 100 characters at which SNS refuses a subject.
const maxSubject = 99

// subject is a subject that SNS accepts whatever the rule's text: printable ASCII, no line break, at most 99 characters.
func subject(a *alert.Alert) string {
	s := "[" + strings.ToUpper(string(a.Severity)) + "] " + a.Symbol + " " + a.Rule
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), maxSubject)]
}

// text is the alert for a person.
func text(r *alert.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", r.Summary)
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-10s %s\n", name, value)
		}
	}
	line("rule", r.Rule)
	line("severity", string(r.Severity))
	line("symbol", r.Symbol)
	line("source", r.Source)
	line("time", market.FormatTime(r.Time))
	if r.Price != 0 {
		line("price", r.Price.String())
	}
	for _, o := range r.Operands {
		line("why", o.Text+" = "+strconv.FormatFloat(o.Value, 'g', 6, 64))
	}
	for _, l := range r.Labels {
		line("label", l.Name+" = "+l.Value)
	}
	line("venue", r.Venue)
	line("event", r.EventID)
	line("alert", r.ID)
	return b.String()
}
