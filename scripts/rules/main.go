// Rules checks, explains and tests files of alert rules, with the engine that runs in the Lambda.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

const usage = `Usage: go run ./scripts/rules check FILE...
       go run ./scripts/rules explain FILE...
       go run ./scripts/rules test FILE...

check    loads files of rules and prints every error and warning, each with its place
explain  prints what the rules keep for a series: functions, warm-up, state size, DynamoDB write units
test     runs files of rule tests: market data in, alerts expected at times (functions/processor/rules_test.yaml shows how)

Exit code: 0 all is well (warnings are), 1 an error or a failed test, 2 bad usage.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run does what args say and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("rules", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	commands := map[string]func(path string, stdout, stderr io.Writer) bool{"check": check, "explain": explain, "test": test}
	command, files := commands[flags.Arg(0)], flags.Args()
	switch {
	case command == nil && len(files) > 0:
		fmt.Fprintf(stderr, "rules: unknown command %q\n\n", files[0])
	case command != nil && len(files) < 2:
		fmt.Fprintf(stderr, "rules: %s what? Name a file\n\n", files[0])
	case command != nil && strings.HasPrefix(files[1], "-"):
		fmt.Fprintf(stderr, "rules: %s has no flag %s\n\n", files[0], files[1])
	case command != nil:
		code := 0
		for _, path := range files[1:] {
			if ctx.Err() != nil {
				fmt.Fprintln(stderr, "rules: interrupted")
				return 1
			}
			if !command(path, stdout, stderr) {
				code = 1
			}
		}
		return code
	}
	flags.Usage()
	return 2
}

// load reads a file of rules. Its error is Problems where the file could be read.
func load(path string) (*alert.Rules, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return alert.Load(path, source)
}

func check(path string, stdout, stderr io.Writer) bool {
	rules, err := load(path)
	if err != nil {
		fmt.Fprintln(stderr, err)
		if problems := (alert.Problems)(nil); errors.As(err, &problems) {
			fmt.Fprintf(stdout, "%s: %s\n", path, tally(problems))
		}
		return false
	}
	for _, w := range rules.Warnings() {
		fmt.Fprintln(stderr, w)
	}
	fmt.Fprintf(stdout, "%s: %s, %s\n", path, count(len(names(rules)), "rule"), tally(rules.Warnings()))
	return true
}

func tally(problems []alert.Problem) string {
	warnings := 0
	for i := range problems {
		if problems[i].Warning {
			warnings++
		}
	}
	return count(len(problems)-warnings, "error") + ", " + count(warnings, "warning")
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// options are those of a deployment with its defaults.
var options = alert.Options{Lateness: settings.DefaultLateness, Ordered: true}

// names are the rules' names.
func names(rules *alert.Rules) map[string]bool {
	out := map[string]bool{}
	for _, f := range rules.Explain(options) {
		for _, name := range f.Rules {
			out[name] = true
		}
	}
	return out
}

func explain(path string, stdout, stderr io.Writer) bool {
	rules, err := load(path)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return false
	}
	for i, f := range rules.Explain(options) {
		if i > 0 {
			fmt.Fprintln(stdout)
		}
		fmt.Fprintf(stdout, "%s: a series such as %s, source %s\n", path, f.Symbol, f.Source)
		fmt.Fprintf(stdout, "  rules        %s\n", strings.Join(f.Rules, ", "))
		fmt.Fprintf(stdout, "  state        up to %d bytes\n", f.Bytes)
		fmt.Fprintf(stdout, "  write units  up to %d per commit, %d together with alerts (and the alerts' own)\n", f.WriteUnits, 2*f.WriteUnits)
		timed := "no: nothing waits for time"
		if f.Timed {
			timed = "yes: quiet series are sent clock events"
		}
		fmt.Fprintf(stdout, "  clock        %s\n", timed)
		if len(f.Slots) == 0 {
			fmt.Fprintln(stdout, "  functions    none that look at the past")
			continue
		}
		w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "  function\ton\twarm-up\tbytes")
		for _, s := range f.Slots {
			fmt.Fprintf(w, "  %s\t%s\t%d\t%d\n", s.Text, s.On, s.WarmUp, s.Bytes)
		}
		_ = w.Flush() // what fails is stdout, of which nobody is left to be told
	}
	return true
}
