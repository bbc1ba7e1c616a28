package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// table is one table of the report.
type table struct {
	Title   string     `json:"title"`
	Columns []string   `json:"columns"`
	Rows    [][]string `json:"rows"`
	Notes   []string   `json:"notes,omitempty"`
}

func (t *table) add(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	t.Rows = append(t.Rows, row)
}

// report is what a run has found. Facts are the numbers behind the goals, by name.
type report struct {
	Machine machine            `json:"machine"`
	Tables  []*table           `json:"tables"`
	Facts   map[string]float64 `json:"facts"`
	Missing []string           `json:"missing,omitempty"`
	out     io.Writer
}

type machine struct {
	Date  string `json:"date"`
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	Go    string `json:"go"`
	OS    string `json:"os"`
}

func thisMachine() machine {
	cpu := "unknown CPU"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				cpu = strings.TrimSpace(value)
				break
			}
		}
	}
	return machine{time.Now().UTC().Format(time.RFC3339), cpu, runtime.NumCPU(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
}

// missing says, once, that an optional peer is not here.
func (r *report) missing(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.Missing = append(r.Missing, text)
	fmt.Fprintln(r.out, "not measured:", text)
}

// show prints a table when it is complete, so that a long run shows how far it is.
func (r *report) show(t *table) {
	r.Tables = append(r.Tables, t)
	fmt.Fprintf(r.out, "\n%s\n", t.Title)
	w := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	for _, line := range append([][]string{t.Columns}, t.Rows...) {
		fmt.Fprintln(w, strings.Join(line, "\t"))
	}
	_ = w.Flush() // to standard output
	for _, n := range t.Notes {
		fmt.Fprintln(r.out, "  "+n)
	}
}

func (r *report) writeJSON(file string) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

// number writes about three significant digits.
func number(v float64) string {
	switch {
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v == 0:
		return "0"
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func ms(ns float64) string { return number(ns / 1e6) }

func ratio(v float64) string { return number(v) + " x" }
