// Local runs the pipeline without AWS: the Lambda's own handler behind an in-process SQS.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/processor/simulate"
	"example.com/market-data-pipeline/scripts/internal/feed"
	"example.com/market-data-pipeline/scripts/local/internal/tradingday"
)

const usage = `Usage: go run ./scripts/local [flags]

Runs market data through the pipeline without AWS: the Lambda's own handler, behind an in-process SQS, with the alerts
in memory. Without --feed the market is simulated.

Alerts are shown as they fire. --alerts writes all of them, those of rules with "notify: false" included, when the run
ends: one JSON object per line, sorted by alert_id and symbol. With ordered delivery the file depends on feed and rules
alone, not on --pack, --batch, --concurrency or --speed.

Where rules wait for time (bars built from trades, "for", silence, quotes), series that have gone quiet are sent clock
events by event time, as in the deployed system, and after the feed's end until nothing waits any more.

Ctrl-C ends the run after the batch at hand, with the summary of what was done.

Exit code: 0 every event is accounted for, 1 failure or interruption, 2 bad usage.

`

// stream is the path that stands for standard input or output.
const stream = feed.Stdin

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// options is the command line.
type options struct {
	feeds                   []string // none = the simulated market
	rules, alerts, rejects  string
	speed                   float64 // seconds of event time in one second; 0 = no pacing
	delivery                settings.Delivery
	pack, batch, concurrent int
	seed                    uint64
	events                  int
	quiet, colour           bool
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	if err := replay(ctx, o, stdin, stdout, stderr); err != nil {
		fmt.Fprintf(stderr, "local: %v\n", err)
		return 1
	}
	return 0
}

// parse reads the command line. Its error is already on stderr, with the usage.
func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	o := options{delivery: settings.Ordered, colour: getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
	flags := flag.NewFlagSet("local", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	flags.Func("feed", "`file` of events, one JSON document a line, gzip or plain; - is standard input; repeatable (default the simulated market)",
		func(path string) error { o.feeds = append(o.feeds, path); return nil })
	flags.StringVar(&o.rules, "rules", "", "`file` of rules (default the rules that ship, functions/processor/rules.yaml)")
	flags.StringVar(&o.alerts, "alerts", "", "`file` for all alerts as NDJSON; - is standard output")
	flags.StringVar(&o.rejects, "rejects", "", "`file` for the refused events with their reasons as NDJSON; - is standard output")
	flags.Func("speed", "`pace`: 1x is the feed's own, 60x a minute in a second, max no pacing (default max)", func(v string) (err error) {
		o.speed, err = parseSpeed(v)
		return err
	})
	flags.Func("delivery", "ordered (a FIFO queue) or unordered (a standard queue, which shuffles what is in it) (default ordered)", func(v string) error {
		o.delivery = settings.Delivery(v)
		return nil
	})
	flags.IntVar(&o.pack, "pack", 100, "events of a series in one message at most")
	flags.IntVar(&o.batch, "batch", 10, "messages in one invocation at most")
	flags.IntVar(&o.concurrent, "concurrency", 1, "invocations at the same time")
	flags.Uint64Var(&o.seed, "seed", 1, "which simulated market, and the shuffling of unordered delivery")
	flags.IntVar(&o.events, "events", 100_000, "lines of the simulated market")
	flags.BoolVar(&o.quiet, "quiet", false, "no progress bar and no alerts on the screen, only the summary")
	noColour := flags.Bool("no-color", false, "no colours, as with NO_COLOR in the environment")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.colour = o.colour && !*noColour
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if err := o.check(flags.Args(), given); err != nil {
		fmt.Fprintf(stderr, "local: %v\n\n", err)
		flags.Usage()
		return o, err
	}
	return o, nil
}

func (o *options) check(rest []string, given map[string]bool) error {
	maxBatch := simulate.MaxFIFOBatch
	if o.delivery == settings.Unordered {
		maxBatch = simulate.MaxStandardBatch
	}
	within := func(name string, v, least, most int) error {
		if v < least || v > most {
			return fmt.Errorf("--%s is %d: give a number from %d to %d", name, v, least, most)
		}
		return nil
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("%q is no flag: name a feed with --feed %s", rest[0], rest[0])
	case o.delivery != settings.Ordered && o.delivery != settings.Unordered:
		return fmt.Errorf("--delivery is %q: give %q or %q", o.delivery, settings.Ordered, settings.Unordered)
	case len(o.feeds) > 0 && given["events"]:
		return errors.New("--events is of the simulated market: leave out either it or --feed")
	case o.overwrites():
		return errors.New("--alerts or --rejects would overwrite a feed or each other: give another file")
	case o.alerts == stream && o.rejects == stream:
		return errors.New("--alerts and --rejects are both standard output: give one of them a file")
	}
	return errors.Join(
		within("pack", o.pack, 1, market.DefaultLimits.MaxEvents),
		within("batch", o.batch, 1, maxBatch),
		within("concurrency", o.concurrent, 1, 1000),
		within("events", o.events, 1, tradingday.MaxEvents),
	)
}

// overwrites tells whether an output is also something else, as far as the names show it.
func (o *options) overwrites() bool {
	used := map[string]bool{}
	for _, path := range append(slices.Clone(o.feeds), o.rules, o.alerts, o.rejects) {
		if path == "" || path == stream {
			continue
		}
		if path = filepath.Clean(path); used[path] && path == filepath.Clean(o.alerts) || used[path] && path == filepath.Clean(o.rejects) {
			return true
		}
		used[path] = true
	}
	return false
}

// parseSpeed reads "max" (0) and "60x".
func parseSpeed(v string) (float64, error) {
	if v == "max" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(v, "x"), 64)
	if err != nil || !(n >= 1e-3 && n <= 1e9) { // NaN, too
		return 0, errors.New(`give "max", or a factor such as "1x" or "60x"`)
	}
	return n, nil
}

// loadRules reads a file of rules, "" = the rules that ship.
func loadRules(path string) (*alert.Rules, error) {
	if path == "" {
		_, source, _, _ := runtime.Caller(0)
		if path = filepath.Join(filepath.Dir(source), "..", "..", "functions", "processor", settings.RulesSource); !filepath.IsAbs(path) {
			return nil, errors.New("the rules that ship cannot be found by a binary built with -trimpath: name them with --rules")
		}
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	return alert.Load(path, source)
}
