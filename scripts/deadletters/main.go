// Deadletters shows, explains, moves back and deletes what the pipeline could not process: its dead-letter queue and its
// rejects queue.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/scripts/internal/awsclient"
	"example.com/market-data-pipeline/scripts/internal/stackcheck"
)

const usage = `Usage: go run ./scripts/deadletters list    --stack NAME [filters] [--json]
       go run ./scripts/deadletters explain --stack NAME ID [--json] [--body]
       go run ./scripts/deadletters redrive --stack NAME [ID...] [filters] [--yes]
       go run ./scripts/deadletters purge   --stack NAME [ID...] [filters] [--yes]

Works on a stack's dead-letter queue (messages whose retries are used up) and rejects queue (refused events, late
retries, alerts that SNS refuses).

list     shows what is there and why
explain  tells of one message why it is there, which rule it breaks, and what to do; the body and what quotes it
         only with --body
redrive  moves messages back to the market data queue, those of a group in their old order, with their attributes, group
         and origin_message_id. Of the rejects queue it moves what the decoder accepts by now; "late" and
         "unknown_format" only if named by --reason; alerts never. A repaired event is sent with ./scripts/send
purge    deletes messages for good, one by one

redrive and purge show what they would do; --yes does it. Whatever interrupts a redrive, run it again: a message is sent
before it is deleted, and one that is sent twice is recognised by its origin_message_id.

SQS cannot be read without receiving. What is looked at is hidden meanwhile (a minute and 30 ms a message) and then given back;
each look raises the receive count by one, which has no effect: these queues have no dead-letter queue of their own. Of
an ordered group SQS shows the first ten messages; those behind them follow when the first are moved or purged.

An emulator's address is given by AWS_ENDPOINT_URL, as to the AWS tools. Permissions: cloudformation:DescribeStacks; on
the two queues sqs:GetQueueAttributes, ReceiveMessage, ChangeMessageVisibility, DeleteMessage; on the market data queue
sqs:SendMessage; on the stack's key kms:Decrypt, GenerateDataKey.

Exit code: 0 done, 1 an error, or an ID was not found, 2 bad usage.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // a second Ctrl-C ends the program at once
	signal.Ignore(syscall.SIGPIPE) // "| head" ends it by an error of writing: what is hidden is given back
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// The queues by the names that --queue and the output have.
const (
	deadLetters = "dead-letters"
	rejects     = "rejects"
)

// options is the command line.
type options struct {
	command             string
	ids                 []string
	stack, region       string
	urls                places
	queue               string // "" = both
	reason              market.Reason
	symbol              string
	max                 int
	execute, json, body bool
}

// places are the stack's resources that matter here.
type places struct {
	market, dead, rejects string // queue URLs
	logGroup              string // of the function; "" = not known
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("deadletters", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	var reason string
	flags.StringVar(&o.stack, "stack", "", "name of the stack, such as market-data-prod; there is no default")
	flags.StringVar(&o.region, "region", "", "AWS region (default the queue URL's, else the environment's or the profile's)")
	flags.StringVar(&o.urls.market, "queue-url", "", "instead of --stack: URL of the market data queue")
	flags.StringVar(&o.urls.dead, "dead-letters-url", "", "instead of --stack: URL of the dead-letter queue")
	flags.StringVar(&o.urls.rejects, "rejects-url", "", "instead of --stack: URL of the rejects queue")
	flags.StringVar(&o.queue, "queue", "", `filter: "dead-letters" or "rejects" (default both)`)
	flags.StringVar(&reason, "reason", "", `filter: why it is there, "`+string(exhausted)+`" for dead letters, else an event's reason such as "future_timestamp"`)
	flags.StringVar(&o.symbol, "symbol", "", "filter: messages of which any event, good or refused, has this symbol")
	flags.IntVar(&o.max, "max", 10_000, "messages of a queue that are held at a time")
	flags.BoolVar(&o.execute, "yes", false, "redrive, purge: do it")
	flags.BoolVar(&o.json, "json", false, "one JSON object a line")
	flags.BoolVar(&o.body, "body", false, "explain: show the body, and what is wrong with it in its own words")
	// Arguments and flags may come in any order.
	for rest := args; ; rest = flags.Args()[1:] {
		if err := flags.Parse(rest); err != nil {
			return o, err
		}
		if flags.NArg() == 0 {
			break
		}
		if o.command == "" {
			o.command = flags.Arg(0)
		} else if id := flags.Arg(0); !slices.Contains(o.ids, id) {
			o.ids = append(o.ids, id)
		}
	}
	o.reason = market.Reason(reason)
	return o, o.check()
}

func (o *options) check() error {
	urls := 0
	for _, url := range []string{o.urls.market, o.urls.dead, o.urls.rejects} {
		if url != "" {
			urls++
		}
	}
	switch o.command {
	case "":
		return errors.New("no command: give list, explain, redrive or purge")
	case "list", "explain", "redrive", "purge":
	default:
		return fmt.Errorf("%q is no command: give list, explain, redrive or purge", o.command)
	}
	switch acts := o.command == "redrive" || o.command == "purge"; {
	case o.command == "list" && len(o.ids) > 0:
		return fmt.Errorf("list %s: list takes filters, explain takes an ID", o.ids[0])
	case o.command == "explain" && len(o.ids) != 1:
		return fmt.Errorf("explain takes one ID, as list shows it, and not %d", len(o.ids))
	case o.execute && !acts:
		return fmt.Errorf("--yes: %s changes nothing", o.command)
	case o.body && o.command != "explain":
		return errors.New("--body: only explain shows bodies")
	case o.queue != "" && o.queue != deadLetters && o.queue != rejects:
		return fmt.Errorf("--queue is %q: give %q or %q", o.queue, deadLetters, rejects)
	case o.reason != "" && rules[o.reason].text == "":
		return fmt.Errorf("--reason is %q: give one of %s", o.reason, strings.Join(knownReasons(), ", "))
	case o.symbol != "" && !symbolPattern.MatchString(o.symbol):
		return fmt.Errorf("--symbol is %q: give 1-32 characters of A-Z a-z 0-9 . - / : _ ^ =", o.symbol)
	case o.max < 10 || o.max > 100_000:
		return fmt.Errorf("--max is %d: give 10 to 100000, for SQS holds no more than 120000 messages in flight", o.max)
	case o.stack == "" && urls == 0:
		return errors.New("--stack is missing: this moves and deletes messages, so it never guesses of which stack")
	case o.stack != "" && urls > 0:
		return errors.New("--stack finds the queues: give it or their URLs, not both")
	case o.stack == "" && urls < 3:
		return errors.New("without --stack all of --queue-url, --dead-letters-url and --rejects-url are needed")
	case o.command == "redrive" && o.reason == market.AlertRefused:
		return fmt.Errorf("--reason %s: an alert is no market data and is never redriven; it is in the alerts table as FAILED", o.reason)
	}
	if o.region == "" {
		o.region = awsclient.QueueRegion(o.urls.market)
	}
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "deadletters: %v\n", err)
		return 2
	}
	cfg, err := awsclient.Load(ctx, o.region)
	if err == nil && o.stack != "" {
		o.urls, err = outputs(ctx, cfg, o.stack)
	}
	if err == nil {
		client := sqs.NewFromConfig(cfg, func(o *sqs.Options) { o.RetryMaxAttempts = attempts })
		c := &command{options: o, api: client, now: time.Now, stdout: stdout, stderr: stderr}
		err = c.run(ctx)
	}
	if err != nil && ctx.Err() != nil {
		err = errors.New("interrupted; nothing is lost: run it again for the rest")
	}
	if err != nil {
		fmt.Fprintf(stderr, "deadletters: %v\n", err)
		return 1
	}
	return 0
}

// attempts is how often a call is made, within a minute or so, before its throttling or outage is an error.
const attempts = 10

// outputs finds the queues of a stack.
func outputs(ctx context.Context, cfg aws.Config, stack string) (places, error) {
	var answer struct {
		Outputs []struct {
			Key   string `xml:"OutputKey"`
			Value string `xml:"OutputValue"`
		} `xml:"DescribeStacksResult>Stacks>member>Outputs>member"`
	}
	var p places
	if err := stackcheck.NewAPI(cfg).Query(ctx, "cloudformation", "2010-05-15", "DescribeStacks", map[string]string{"StackName": stack}, &answer); err != nil {
		return p, fmt.Errorf("stack %s in %s: %w", stack, cfg.Region, err)
	}
	found := map[string]string{}
	for _, out := range answer.Outputs {
		found[out.Key] = out.Value
	}
	var errs []error
	for name, field := range map[string]*string{"SqsQueueUrl": &p.market, "DeadLetterQueueUrl": &p.dead, "RejectsQueueUrl": &p.rejects} {
		if *field = found[name]; *field == "" {
			errs = append(errs, fmt.Errorf("stack %s has no output %s: is it a stack of this app?", stack, name))
		}
	}
	p.logGroup = found["LogGroupName"]
	return p, errors.Join(errs...)
}

// queueName is the last part of a queue's URL.
func queueName(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

func isFIFO(url string) bool { return strings.HasSuffix(url, ".fifo") }
