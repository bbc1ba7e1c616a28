// Send puts recorded or live market data into the pipeline's queue.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/functions/producer"
	"example.com/market-data-pipeline/scripts/internal/awsclient"
	"example.com/market-data-pipeline/scripts/internal/feed"
)

const usage = `Usage: go run ./scripts/send --queue-url URL [flags] FILE...

Sends market data events, one JSON document a line, gzip or plain, to the pipeline's queue. "-" is standard input.
A line that the pipeline would refuse is not sent: it is reported with file, line and reason, and the exit code is 1.
Ctrl-C sends what has been read and ends.

Exit code: 0 all sent, 1 something was refused or not sent, 2 bad usage.

`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdin, os.Stdout, os.Stderr))
}

// options is the command line.
type options struct {
	queueURL, region, unsent string
	shards, maxEvents        int
	maxDelay, giveUp         time.Duration
	rate                     float64
	paths                    []string
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, getenv, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "send: %v\n", err)
		return 2
	}
	cfg, err := awsclient.Load(ctx, o.region)
	if err != nil {
		fmt.Fprintf(stderr, "send: %v\n", err)
		return 1
	}
	return send(ctx, o, sqs.NewFromConfig(cfg), stdin, stdout, stderr)
}

func parse(args []string, getenv func(string) string, stderr io.Writer) (options, error) {
	var o options
	var pack string
	flags := flag.NewFlagSet("send", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage); flags.PrintDefaults() }
	flags.StringVar(&o.queueURL, "queue-url", getenv(settings.EnvQueueURL), "URL of the queue: the stack's output SqsQueueUrl (default $"+settings.EnvQueueURL+")")
	flags.StringVar(&o.region, "region", "", "AWS region (default the queue URL's, else the environment's)")
	flags.StringVar(&pack, "pack", "series", `what shares a message: "series" for dense feeds, "shard:N" for thin ones`)
	flags.IntVar(&o.maxEvents, "max-events", 500, "events in a message at most")
	flags.DurationVar(&o.maxDelay, "max-delay", 250*time.Millisecond, "how long an event waits for others to share its message")
	flags.Float64Var(&o.rate, "rate", 0, "events per second at most (default as fast as possible)")
	flags.DurationVar(&o.giveUp, "give-up", 5*time.Minute, "how long a message is retried")
	flags.StringVar(&o.unsent, "unsent", "", "file that is made for events that could not be sent, ready to be sent again")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	o.paths = flags.Args()
	if o.queueURL == "" {
		return o, errors.New("--queue-url is missing: it is the stack's output SqsQueueUrl")
	}
	if len(o.paths) == 0 {
		return o, errors.New(`no input: name a file, or "-" for standard input`)
	}
	if n, isShard := strings.CutPrefix(pack, "shard:"); isShard {
		shards, err := strconv.Atoi(n)
		if err != nil || shards < 1 {
			return o, fmt.Errorf("--pack is %q: give a number of shards from 1, such as \"shard:8\"", pack)
		}
		o.shards = shards
	} else if pack != "series" {
		return o, fmt.Errorf("--pack is %q: give \"series\" or \"shard:N\"", pack)
	}
	if !(o.rate >= 0) || o.rate > 1e9 { // NaN, too
		return o, fmt.Errorf("--rate is %v: give events per second, or 0 for no limit", o.rate)
	}
	if o.region == "" {
		o.region = awsclient.QueueRegion(o.queueURL)
	}
	return o, nil
}

// maxShown is how many refused lines are shown; all are counted.
const maxShown = 20

// flushGrace is how long Ctrl-C waits for what has been read to be sent.
const flushGrace = 10 * time.Second

// sender is one run of the command.
type sender struct {
	options
	out      *console
	producer *producer.Producer
	lines    int64
	refused  int64
}

func send(ctx context.Context, o options, client producer.Client, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	in, err := feed.Open(o.paths, stdin)
	if err != nil {
		fmt.Fprintf(stderr, "send: %v\n", err)
		return 1
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	s := &sender{options: o, out: newConsole(stderr, in)}

	keep := io.Discard
	if o.unsent != "" {
		file, err := os.OpenFile(o.unsent, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			fmt.Fprintf(stderr, "send: --unsent: %v\n", err)
			return 1
		}
		defer func() {
			if err := file.Close(); err != nil {
				s.out.say("send: --unsent: %v", err)
				code = 1
			}
		}()
		keep = file
	}
	s.producer, err = producer.New(producer.Config{
		Client: client, QueueURL: o.queueURL, Shards: o.shards, MaxEvents: o.maxEvents, MaxDelay: o.maxDelay, GiveUpAfter: o.giveUp,
		OnFailure: func(f producer.Failure) {
			s.out.say("send: %d events of group %q were not sent: %v", f.Events, f.Group, f.Err)
			if err := s.out.write(keep, f.Body+"\n"); err != nil {
				s.out.say("send: --unsent: %v", err)
			}
		},
		OnRetry: func(err error) {
			// Of a queue that has accepted nothing yet, a refusal means a wrong URL or permission: waiting is no help.
			if refusedOutright(err) && s.producer.Stats().Messages == 0 {
				stop(err)
				return
			}
			s.out.warn("send: trying again: %v", err)
		},
	})
	if err != nil {
		fmt.Fprintf(stderr, "send: %v\n", err)
		return 2
	}

	start := time.Now()
	failure := s.copy(ctx, in)
	interrupted := ctx.Err() != nil
	if err := s.close(ctx); failure == nil {
		failure = err
	}
	s.out.end()
	s.summary(stdout, time.Since(start), interrupted)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		failure = cause
	}
	if failure != nil {
		fmt.Fprintf(stderr, "send: %v\n", failure)
	}
	if failure != nil || s.refused > 0 {
		return 1
	}
	return 0
}

// copy sends every line of in, until its end or that of ctx, which is no error.
func (s *sender) copy(ctx context.Context, in *feed.Reader) error {
	pace := pacer{rate: s.rate, start: time.Now()}
	var events []market.Event
	for line, err := range feed.Each(ctx, in) {
		if err != nil {
			return err
		}
		s.lines++
		var refused []market.Refusal
		events, refused = market.Decode(events[:0], line.Text, time.Now(), settings.DefaultClockSkew)
		for i := range refused {
			s.refuse(line, &refused[i])
		}
		for i := range events {
			if !pace.wait(ctx) {
				return nil
			}
			err := s.producer.Send(ctx, &events[i])
			var refusal *market.Refusal
			switch {
			case errors.As(err, &refusal):
				s.refuse(line, refusal)
			case err != nil && ctx.Err() != nil:
				return nil
			case err != nil:
				return err
			}
		}
		s.out.progress()
	}
	return nil
}

func (s *sender) refuse(l feed.Line, r *market.Refusal) {
	if s.refused++; s.refused <= maxShown {
		s.out.say("%s: %v", l.Place(), r)
	}
}

// close sends what is buffered. Once ctx has ended it waits no longer than flushGrace.
func (s *sender) close(ctx context.Context) error {
	grace, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		wait := flushGrace
		if refusedOutright(context.Cause(ctx)) {
			wait = 0
		}
		select {
		case <-time.After(wait):
			cancel()
		case <-grace.Done():
		}
	})()
	return s.producer.Close(grace)
}

func (s *sender) summary(w io.Writer, took time.Duration, interrupted bool) {
	t := s.producer.Stats()
	if interrupted {
		fmt.Fprintf(w, "interrupted after %d lines\n", s.lines)
	}
	fmt.Fprintf(w, "events    %d sent, %d refused, %d not sent\n", t.Events, s.refused, t.Unsent)
	fmt.Fprintf(w, "messages  %d, %d bytes\n", t.Messages, t.Bytes)
	fmt.Fprintf(w, "requests  %d, billed as %d (64 KiB each), %d messages tried again\n", t.Requests, t.Chunks, t.Retries)
	fmt.Fprintf(w, "time      %s, %.0f events/s\n", took.Round(time.Millisecond), float64(t.Events)/max(took.Seconds(), 1e-9))
	if s.refused > maxShown {
		fmt.Fprintf(w, "refused   the first %d of %d are shown above\n", maxShown, s.refused)
	}
}

// refusedOutright tells whether SQS answered that it will not serve the request, rather than that it cannot now.
func refusedOutright(err error) bool {
	var answer interface{ HTTPStatusCode() int }
	if !errors.As(err, &answer) || answer.HTTPStatusCode()/100 != 4 || answer.HTTPStatusCode() == 429 {
		return false
	}
	var api interface{ ErrorCode() string }
	return !errors.As(err, &api) || !strings.Contains(api.ErrorCode(), "Throttl") && !strings.HasPrefix(api.ErrorCode(), "Kms")
}

// pacer keeps to a number of events per second; 0 is no limit.
type pacer struct {
	rate  float64
	start time.Time
	done  int64
}

// wait waits until the next event is due. It returns false where ctx ended first.
func (p *pacer) wait(ctx context.Context) bool {
	if p.rate == 0 {
		return ctx.Err() == nil
	}
	due := p.start.Add(time.Duration(float64(p.done) / p.rate * float64(time.Second)))
	p.done++
	// Timers are coarse: the events of a millisecond go together.
	ahead := time.Until(due)
	if ahead < time.Millisecond {
		return ctx.Err() == nil
	}
	select {
	case <-time.After(ahead):
		return true
	case <-ctx.Done():
		return false
	}
}

// console is standard error: messages, and on a terminal the progress bar below them. It is safe for concurrent use.
type console struct {
	in *feed.Reader

	mu     sync.Mutex
	w      io.Writer
	bar    *progressbar.ProgressBar // nil = no terminal
	shown  time.Time                // of the bar
	warned time.Time
}

func newConsole(w io.Writer, in *feed.Reader) *console {
	c := &console{in: in, w: w}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		c.bar = progressbar.NewOptions64(in.Size(), progressbar.OptionSetWriter(w), progressbar.OptionShowBytes(true),
			progressbar.OptionSetDescription("sending"), progressbar.OptionClearOnFinish())
	}
	return c
}

func (c *console) say(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.line(format, args...)
}

// warn is say, but at most once in five seconds: an outage is one piece of news.
func (c *console) warn(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.warned) >= 5*time.Second {
		c.warned = now
		c.line(format, args...)
	}
}

func (c *console) line(format string, args ...any) {
	if c.bar != nil {
		_ = c.bar.Clear() // of a terminal that is gone nobody needs to know
	}
	fmt.Fprintf(c.w, format+"\n", args...)
}

// write writes text to w, one caller at a time.
func (c *console) write(w io.Writer, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := io.WriteString(w, text)
	return err
}

// progress moves the bar, ten times a second at most.
func (c *console) progress() {
	if c.bar == nil {
		return
	}
	if now := time.Now(); now.Sub(c.shown) >= 100*time.Millisecond {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.shown = now
		_ = c.bar.Set64(c.in.Offset())
	}
}

func (c *console) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bar != nil {
		_ = c.bar.Clear()
	}
}
