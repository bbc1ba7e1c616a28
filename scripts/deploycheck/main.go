// Deploycheck is the part of ./scripts/e2e that looks at what was deployed into the emulator, and runs the deployed
// function's binary on what arrives through its queue.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go/logging"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/producer"
	"example.com/market-data-pipeline/scripts/internal/awsclient"
	"example.com/market-data-pipeline/scripts/internal/stackcheck"
)

const usage = `Usage: go run ./scripts/deploycheck [flags] resources | process | gone | unbootstrap

Checks a stack in an emulator on 127.0.0.1, for ./scripts/e2e.

  resources    compares what is deployed with what app.go deploys, and stops the emulator's own event source mapping
  process      runs the function's binary on market data that arrives through the deployed queue
  gone         checks that nothing of the stack is left
  unbootstrap  removes what cdk bootstrap made

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// options is the command line.
type options struct {
	stack    string
	assembly string
	binary   string
	runner   string
	emulator string
	command  string
}

func parseOptions(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("deploycheck", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	flags.StringVar(&o.stack, "stack", "", "name of the stack")
	flags.StringVar(&o.assembly, "assembly", "", "folder of the synthesized cloud assembly (process)")
	flags.StringVar(&o.binary, "binary", "", "the function's binary (process; default the asset's bootstrap)")
	flags.StringVar(&o.runner, "runner", "", "program that runs the binary on this machine (process; default none)")
	flags.StringVar(&o.emulator, "endpoint", getenv("AWS_ENDPOINT_URL"), "the emulator's URL (default $AWS_ENDPOINT_URL)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if commands := []string{"resources", "process", "gone", "unbootstrap"}; flags.NArg() != 1 || !slices.Contains(commands, flags.Arg(0)) {
		return o, fmt.Errorf("%q: give one of %s", flags.Args(), strings.Join(commands, ", "))
	}
	o.command = flags.Arg(0)
	if o.stack == "" {
		return o, errors.New("--stack is missing")
	}
	if o.command == "process" && o.assembly == "" {
		return o, errors.New("--assembly is missing")
	}
	// What this does to a stack is meant for one that nobody uses.
	if u, err := url.Parse(o.emulator); err != nil || u.Hostname() != "127.0.0.1" {
		return o, fmt.Errorf("--endpoint is %q: give an emulator on 127.0.0.1; for AWS there is ./scripts/integration", o.emulator)
	}
	return o, nil
}

func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parseOptions(args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "deploycheck: %v\n", err)
		return 2
	}
	cfg, err := awsclient.Load(ctx, "")
	if err == nil {
		cfg.BaseEndpoint = &o.emulator
		cfg.Logger = logging.Nop{} // it warns of the receives that end with the test
		r := &stackcheck.Report{W: stdout}
		switch o.command {
		case "gone":
			r.Step("nothing is left", func() (string, error) { return "", stackcheck.Connect(cfg, o.stack).Gone(ctx) })
		case "resources":
			err = resources(ctx, cfg, o, r)
		case "process":
			err = process(ctx, cfg, o, r)
		case "unbootstrap":
			r.Step("what cdk bootstrap made is removed", func() (string, error) { return unbootstrap(ctx, cfg) })
		}
		err = errors.Join(err, r.Err())
	}
	if err != nil {
		fmt.Fprintf(stderr, "deploycheck: %v\n", err)
		return 1
	}
	return 0
}

func resources(ctx context.Context, cfg aws.Config, o options, r *stackcheck.Report) error {
	s, err := stackcheck.Open(ctx, cfg, o.stack)
	if err != nil {
		return err
	}
	s.Emulated = true
	s.Resources(ctx, r)
	r.Step("the emulator's own event source mapping is stopped", func() (string, error) {
		m, err := s.Mapping(ctx)
		if err != nil {
			return "", err
		}
		return "", s.DisableMapping(ctx, m.UUID)
	})
	return nil
}

// wantByRule is what testdata/rules.yaml must fire for the traffic, counted by hand. Each of six trade series rises once
// from 100.5 to 111.5 and falls again: one level. Its blocks are trades 5, 13 and 21, 4 s apart: one with the cooldown of
// an hour; in the dark, with one of 5 s, the first and the third. Each of four quote series widens twice and crosses
// twice within the minute of cooldown. Six more series hold trades at 200, of which the first is a level and a block.
//
// A trade series is at 105.5 from trade 5 to 18, and falls below its average after the top at 111.5. One series begins
// with a vendor's bar and a silence of ten minutes. One ends with a halt: its last minute, the only one that rises, is
// closed by the clock.
var wantByRule = map[string]int{
	"CheckLevel":   6 + 6,
	"CheckBlock":   6 + 6,
	"CheckHold":    6,
	"CheckTurn":    6,
	"CheckBar":     1,
	"CheckSilence": 1,
	"CheckHalt":    1,
	"CheckMinute":  1,
	"CheckDark":    12,
	"CheckSpread":  8,
	"CheckCrossed": 4,
}

// environments is how many processes of the function run at the same time.
const environments = 2

func process(ctx context.Context, cfg aws.Config, o options, r *stackcheck.Report) (err error) {
	s, err := stackcheck.Open(ctx, cfg, o.stack)
	if err != nil {
		return err
	}
	s.Emulated = true
	template, asset, err := assembly(o.assembly, o.stack)
	if err != nil {
		return err
	}
	policy, err := rolePolicy(template, s)
	if err != nil {
		return err
	}
	compiled, err := os.ReadFile(filepath.Join(asset, settings.DefaultRulesFile))
	if err != nil {
		return fmt.Errorf("the rules in the function's asset: %w", err)
	}
	rules, err := alert.DecodeRules(compiled)
	if err != nil {
		return fmt.Errorf("the rules in the function's asset: %w", err)
	}
	traffic, err := stackcheck.NewTraffic(ctx, s, rules)
	if err != nil {
		return err
	}
	traffic.WantByRule = wantByRule

	target, err := url.Parse(o.emulator)
	if err != nil {
		return err
	}
	p := newProxy(target, s.Account)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	server := &http.Server{Handler: p}
	go func() { _ = server.Serve(listener) }() // ends by Close
	defer server.Close()

	f := &function{stack: s, dir: asset, endpoint: "http://" + listener.Addr().String()}
	if o.runner != "" {
		f.command = append(f.command, o.runner)
	}
	if o.binary == "" {
		o.binary = filepath.Join(asset, "bootstrap")
	}
	f.command = append(f.command, o.binary)
	// Nothing that holds this series' alerts can be published until its message is returned: the SDK's own retries fail.
	publish := call{"sns:Publish", s.AlertTopicARN}
	p.fail = func(calls []call, body []byte) bool {
		symbol := traffic.Symbol(stackcheck.PublishFails)
		return slices.Contains(calls, publish) && bytes.Contains(body, []byte(symbol)) && !f.mapping.hasReturned(symbol)
	}
	tick, err := s.ClockTarget(ctx)
	if err != nil {
		return err
	}
	traffic.Tick = func(ctx context.Context) error {
		answer, err := f.environments[0].invoke(ctx, []byte(tick.Input))
		if err == nil && string(answer) != "null" {
			err = fmt.Errorf("the function answered %s, want null", answer)
		}
		if err != nil {
			return fmt.Errorf("tick of the clock: %w", err)
		}
		return nil
	}
	traffic.Deferred = func() bool { return f.mapping.hasReturned(traffic.Symbol(stackcheck.Newer)) }
	if !r.Step("the function starts", func() (string, error) { return f.start(ctx) }) {
		return nil
	}
	defer func() { err = errors.Join(err, f.stop()) }()

	failed := r.Failed
	traffic.Run(ctx, r)
	r.Step("a refused publication is released, claimed and published later", func() (string, error) {
		failed, m := p.failures(), f.mapping.counts()
		if failed == 0 || !f.mapping.hasReturned(traffic.Symbol(stackcheck.PublishFails)) {
			return "", fmt.Errorf("%d calls to SNS were made to fail, but the message that caused the alert was not returned", failed)
		}
		return fmt.Sprintf("%d calls failed, %d messages of %d batches were returned", failed, len(m.returned), m.batches), nil
	})
	r.Step("the clock's event went through the queue", func() (string, error) {
		return throughQueue(f.mapping.counts().clocks, traffic.Symbol(stackcheck.Quiet), s.FIFO())
	})
	r.Step("the function's calls and its policy match", func() (string, error) {
		calls, err := p.recorded()
		return fmt.Sprintf("%d permissions used, %d used by AWS itself", len(calls), len(exceptions)), errors.Join(err, judge(policy, calls, exceptions))
	})
	r.Step("what the test made is removed", func() (string, error) { return "", traffic.Close(context.WithoutCancel(ctx)) })
	if r.Failed > failed {
		fmt.Fprintf(r.W, "the function's last output:\n%s\nlast error of the runner: %v\n", f.environments[0].output, f.mapping.counts().lastError)
	}
	return nil
}

// throughQueue finds the clock event of a series among the messages that held one, in the series' own group.
func throughQueue(clocks []types.Message, symbol string, fifo bool) (string, error) {
	for i := range clocks {
		if !strings.Contains(*clocks[i].Body, `"symbol":"`+symbol+`"`) {
			continue
		}
		want := ""
		if fifo {
			want = producer.MessageGroup(symbol, stackcheck.FeedSource)
		}
		if group := clocks[i].Attributes[string(types.MessageSystemAttributeNameMessageGroupId)]; group != want {
			return "", fmt.Errorf("the clock event of %s came in group %q, want %q", symbol, group, want)
		}
		return fmt.Sprintf("%d messages", len(clocks)), nil
	}
	return "", fmt.Errorf("none of %d messages of clock events is for %s", len(clocks), symbol)
}

// assembly reads the template and finds the function's asset in a cloud assembly.
func assembly(dir, stack string) (template []byte, asset string, err error) {
	template, err = os.ReadFile(filepath.Join(dir, stack+".template.json"))
	if err != nil {
		return nil, "", fmt.Errorf("the synthesized template: %w", err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "asset.*", "bootstrap"))
	if err != nil || len(found) != 1 {
		return nil, "", fmt.Errorf("%s holds %d assets with a bootstrap, want 1: synthesize into an empty folder", dir, len(found))
	}
	return template, filepath.Dir(found[0]), nil
}

// function is the deployed function: its processes, and the mapping that feeds them.
type function struct {
	stack    *stackcheck.Stack
	command  []string
	dir      string
	endpoint string // for its calls to AWS

	environments []*environment
	mapping      *mapping
	cancel       context.CancelFunc
	pollers      sync.WaitGroup
}

// start starts the processes with the environment of the deployed function, and the mapping with its settings.
func (f *function) start(ctx context.Context) (string, error) {
	fn, err := f.stack.Function(ctx)
	if err != nil {
		return "", err
	}
	settings, err := f.stack.Mapping(ctx)
	if err != nil {
		return "", err
	}
	env := []string{
		"AWS_REGION=" + f.stack.Region, "AWS_ACCESS_KEY_ID=function", "AWS_SECRET_ACCESS_KEY=function", "AWS_SESSION_TOKEN=function",
		"AWS_LAMBDA_FUNCTION_NAME=" + f.stack.FunctionName, fmt.Sprintf("AWS_LAMBDA_FUNCTION_MEMORY_SIZE=%d", fn.MemoryMiB),
		"AWS_LAMBDA_LOG_FORMAT=JSON", "_HANDLER=" + fn.Handler, "LAMBDA_TASK_ROOT=" + f.dir, "TZ=:UTC", "AWS_ENDPOINT_URL=" + f.endpoint,
	}
	for name, value := range fn.Environment.Variables {
		env = append(env, name+"="+value)
	}
	ctx, f.cancel = context.WithCancel(ctx)
	f.mapping = &mapping{sqs: f.stack.SQS, queueURL: f.stack.QueueURL, settings: settings}
	for range min(environments, max(1, settings.Scaling.MaximumConcurrency)) {
		e := newEnvironment(fn.ARN, fn.Timeout())
		if err := e.start(context.WithoutCancel(ctx), f.command, f.dir, env); err != nil {
			return "", errors.Join(err, f.stop())
		}
		f.environments = append(f.environments, e)
		f.pollers.Go(func() { f.mapping.poll(ctx, e.invoke) })
	}
	return fmt.Sprintf("%d processes, batches of %d", len(f.environments), settings.BatchSize), nil
}

func (f *function) stop() error {
	f.cancel()
	f.pollers.Wait()
	var errs []error
	for _, e := range f.environments {
		errs = append(errs, e.stop())
	}
	return errors.Join(errs...)
}
