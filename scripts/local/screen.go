package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/fatih/color"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"example.com/market-data-pipeline/functions/processor/alert"
)

// maxShown is how many alerts of a rule, and how many errors, are shown; all are counted.
const maxShown = 20

// screen is what a person sees: alerts as they fire, errors, and below them the progress bar. As the handler's notifier
// it accepts every alert. It is safe for concurrent use.
type screen struct {
	out, errs io.Writer
	quiet     bool
	palette   palette

	mu     sync.Mutex
	bar    *progressbar.ProgressBar // nil = none
	start  time.Time
	moved  time.Time // of the bar
	shown  map[string]int
	failed int
}

func terminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// newScreen shows on out, and errors and the progress bar of size units on errs.
func newScreen(o options, out, errs io.Writer, size int64) *screen {
	s := &screen{out: out, errs: errs, quiet: o.quiet, palette: newPalette(o.colour && terminal(out)), start: time.Now(), shown: map[string]int{}}
	if terminal(errs) && !o.quiet {
		s.bar = progressbar.NewOptions64(size, progressbar.OptionSetWriter(errs), progressbar.OptionSetWidth(24), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false), progressbar.OptionShowDescriptionAtLineEnd())
	}
	return s
}

// Publish shows the alerts, the first few of each rule.
func (s *screen) Publish(_ context.Context, records []alert.Record) []error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range records {
		r := &records[i]
		s.shown[r.Rule]++
		if s.quiet || s.shown[r.Rule] > maxShown {
			continue
		}
		s.clear()
		fmt.Fprintln(s.out, s.palette.alert(r))
		if s.shown[r.Rule] == maxShown {
			fmt.Fprintln(s.out, s.palette.faint.Sprintf("%s has fired %d times: from here on its alerts are only counted", printable(r.Rule), maxShown))
		}
	}
	return make([]error, len(records))
}

// Write shows a line of the handler's log.
func (s *screen) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed++; s.failed <= maxShown {
		s.clear()
		fmt.Fprintf(s.errs, "%s\n", bytes.TrimRight(line, "\n"))
	}
	return len(line), nil
}

func (s *screen) clear() {
	if s.bar != nil {
		_ = s.bar.Clear() // of a terminal that is gone nobody needs to know
	}
}

// progress moves the bar, ten times a second at most.
func (s *screen) progress(offset int64, events int) {
	if s.bar == nil {
		return
	}
	now := time.Now()
	if now.Sub(s.moved) < 100*time.Millisecond {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.moved = now
	s.bar.Describe(fmt.Sprintf("%s events, %s/s", grouped(events), grouped(int(float64(events)/max(now.Sub(s.start).Seconds(), 1e-9)))))
	_ = s.bar.Set64(offset)
}

// end removes the bar.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	s.bar = nil
}

// palette is how things are coloured, or not.
type palette struct {
	faint, bold, good, bad *color.Color
	severity               map[alert.Severity]*color.Color
}

func newPalette(enabled bool) palette {
	paint := func(a ...color.Attribute) *color.Color {
		c := color.New(a...)
		if enabled {
			c.EnableColor()
		} else {
			c.DisableColor()
		}
		return c
	}
	return palette{faint: paint(color.Faint), bold: paint(color.Bold), good: paint(color.FgGreen), bad: paint(color.FgRed, color.Bold),
		severity: map[alert.Severity]*color.Color{alert.Info: paint(color.FgCyan), alert.Warning: paint(color.FgYellow), alert.Critical: paint(color.FgRed, color.Bold)}}
}

// alert is one line for a person. Symbol and rule are usually part of the summary, too, but a summary is the rule's
// author's to write.
func (p *palette) alert(r *alert.Record) string {
	return fmt.Sprintf("%s  %s  %s  %s  %s", p.faint.Sprint(time.Unix(0, r.Time).UTC().Format("2006-01-02 15:04:05.000")),
		p.severity[r.Severity].Sprintf("%-8s", r.Severity), p.bold.Sprintf("%-8s", r.Symbol), p.severity[r.Severity].Sprintf("%-18s", printable(r.Rule)), printable(r.Summary))
}

// printable replaces what would move the cursor: texts come from rules and events.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, s)
}
