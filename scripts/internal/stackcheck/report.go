package stackcheck

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Report prints what was checked, line by line, and remembers whether anything failed. It is for one goroutine.
type Report struct {
	W      io.Writer
	Failed int
}

// Step runs check and prints its name, the time it took and what it found; detail is printed behind a success.
func (r *Report) Step(name string, check func() (detail string, err error)) bool {
	start := time.Now()
	detail, err := check()
	took := time.Since(start).Round(10 * time.Millisecond)
	if err != nil {
		r.Failed++
		fmt.Fprintf(r.W, "  FAILED  %s (%s)\n", name, took)
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(r.W, "          %s\n", strings.TrimSuffix(line, "\n"))
		}
		return false
	}
	if detail != "" {
		detail = ": " + detail
	}
	fmt.Fprintf(r.W, "  ok      %s%s (%s)\n", name, detail, took)
	return true
}

// Err is nil if nothing failed.
func (r *Report) Err() error {
	if r.Failed == 0 {
		return nil
	}
	return fmt.Errorf("%d checks failed", r.Failed)
}

// facts compares what a service answered with what the design asks for.
type facts struct {
	errs    []error
	checked int
	// emulated skips what the emulator's CloudFormation drops; skipped names it.
	emulated bool
	skipped  []string
}

// equal notes a difference between got and want.
func equal[T comparable](f *facts, what string, got, want T) {
	f.that(what, got == want, "is %v, want %v", got, want)
}

// onAWS is equal, but not asked of an emulator.
func onAWS[T comparable](f *facts, what string, got, want T) {
	if f.emulated {
		f.skipped = append(f.skipped, what)
		return
	}
	equal(f, what, got, want)
}

func (f *facts) that(what string, ok bool, format string, args ...any) {
	f.checked++
	if !ok {
		f.errs = append(f.errs, fmt.Errorf("%s "+format, append([]any{what}, args...)...))
	}
}

// failed notes an error of a call and tells whether there was one.
func (f *facts) failed(err error) bool {
	if err != nil {
		f.errs = append(f.errs, err)
	}
	return err != nil
}

func (f *facts) result() (string, error) {
	detail := fmt.Sprintf("%d facts", f.checked)
	if n := len(f.skipped); n > 0 {
		detail += fmt.Sprintf(", %d that the emulator drops are left to the template tests", n)
	}
	return detail, errors.Join(f.errs...)
}
