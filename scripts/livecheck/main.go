// Livecheck is the program behind ./scripts/integration: it checks a stack that is deployed on AWS.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/scripts/internal/awsclient"
	"example.com/market-data-pipeline/scripts/internal/stackcheck"
)

const usage = `Usage: ./scripts/integration --stack NAME [--region REGION] [--rules FILE] [flags]

Checks a stack that is deployed on AWS, with the credentials that the AWS tools would use: what its resources are, what
becomes of market data sent to its queue, and what no emulator can show: that a deferred message comes back when the
processor said, that the clock's schedule ticks, that an alarm reaches its topic's subscribers, and that all of it works
under the stack's key.

THIS HAS NEVER BEEN RUN ON AWS. Its checks run in ./scripts/e2e against an emulator, except for the alarm, the schedule
and what the emulator drops. Begin with a stack that nobody depends on.

What it does to the stack:
  - it sends about 80 messages with symbols of its own (CHECK.<id>.*), a third of them with bad events; whoever is
    subscribed to the alerts gets some 30, and the alarm on the rate of rejects may go off
  - it writes one state of its own, and pending alerts that the clock must find; it reads the rejects queue (others'
    messages come back after a minute), and sets the alarm <stack>-dead-letters to ALARM and back to OK: whoever is
    subscribed to the alarms hears of it
  - it makes two queues and two subscriptions, and removes them, its alerts and its states at the end

It takes two to five minutes and costs less than a cent.
Exit code: 0 all checks passed, 1 a check failed or could not be made, 2 bad usage.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// options is the command line.
type options struct {
	stack, region, rules string
	patience             time.Duration
	skipAlarm            bool
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("integration", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	flags.StringVar(&o.stack, "stack", "", "name of the stack, such as market-data-test; there is no default")
	flags.StringVar(&o.region, "region", "", "AWS region (default the environment's or the profile's)")
	flags.StringVar(&o.rules, "rules", "functions/processor/rules.yaml", "file of the rules that the stack was deployed with")
	flags.DurationVar(&o.patience, "patience", 3*time.Minute, "how long the alerts are waited for")
	flags.BoolVar(&o.skipAlarm, "skip-alarm", false, "leave the alarm and its subscribers alone")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is not known: give flags only", flags.Args())
	}
	if o.stack == "" {
		return o, errors.New("--stack is missing: this sends messages, so it never guesses to which stack")
	}
	if o.patience < 2*time.Minute {
		return o, fmt.Errorf("--patience is %s: give at least 2m, for the clock ticks once a minute", o.patience)
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "integration: %v\n", err)
		return 2
	}
	if err := check(ctx, o, stdout); err != nil {
		fmt.Fprintf(stderr, "integration: %v\n", err)
		return 1
	}
	return 0
}

func check(ctx context.Context, o options, stdout io.Writer) error {
	source, err := os.ReadFile(o.rules)
	if err != nil {
		return fmt.Errorf("--rules: %w", err)
	}
	rules, err := alert.Load(o.rules, source)
	if err != nil {
		return err
	}
	cfg, err := awsclient.Load(ctx, o.region)
	if err != nil {
		return err
	}
	s, err := stackcheck.Open(ctx, cfg, o.stack)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "stack %s in account %s, %s\n", s.Name, s.Account, s.Region)
	r := &stackcheck.Report{W: stdout}
	s.Resources(ctx, r)
	traffic, err := stackcheck.NewTraffic(ctx, s, rules)
	if err != nil {
		return errors.Join(err, r.Err())
	}
	traffic.Patience = o.patience
	traffic.Run(ctx, r)
	if !o.skipAlarm {
		s.Alarms(ctx, r, traffic.ID())
	}
	r.Step("what the test made is removed", func() (string, error) { return "", traffic.Close(context.WithoutCancel(ctx)) })
	return r.Err()
}
