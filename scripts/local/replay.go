package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"example.com/market-data-pipeline/functions/processor/notify"
)

// replay runs the pipeline and shows the summary. Its error says why the run is no success.
func replay(ctx context.Context, o options, stdin io.Reader, stdout, stderr io.Writer) (err error) {
	rules, err := loadRules(o.rules)
	if err != nil {
		return err
	}
	in, err := o.open(stdin)
	if err != nil {
		return err
	}
	human := stdout
	if o.alerts == stream || o.rejects == stream {
		human = stderr
	}
	alerts, err := create(o.alerts, stdout)
	if err != nil {
		return fmt.Errorf("--alerts: %w", err)
	}
	defer func() { err = errors.Join(err, alerts.close("--alerts")) }()
	rejected, err := create(o.rejects, stdout)
	if err != nil {
		return fmt.Errorf("--rejects: %w", err)
	}
	defer func() { err = errors.Join(err, rejected.close("--rejects")) }()

	s := newScreen(o, human, stderr, in.Size())
	p, err := newPipeline(o, rules, rejected, s)
	if err != nil {
		return err
	}
	if !o.quiet {
		for _, w := range rules.Warnings() {
			fmt.Fprintln(stderr, w)
		}
	}
	failure := p.run(ctx, in)
	s.end()
	p.account.close(p)

	stored := p.ledger.All()
	failure = errors.Join(append([]error{failure}, (&notify.Writer{W: alerts}).Publish(context.WithoutCancel(ctx), stored)...)...)
	unaccounted := p.account.check()
	fmt.Fprint(human, p.summary(stored, unaccounted == nil))
	switch {
	case failure != nil || unaccounted != nil:
		return errors.Join(failure, unaccounted)
	case p.account.dead > 0:
		return fmt.Errorf("%d messages with %d events are on the dead-letter queue: the handler failed on them %d times", p.account.dead, p.account.deadIn, maxReceiveCount)
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %d events that were read are not processed", p.account.left)
	}
	return nil
}

// output is a buffered file, or standard output, or nothing.
type output struct {
	*bufio.Writer
	file *os.File // nil = nothing to close
}

func create(path string, stdout io.Writer) (*output, error) {
	switch path {
	case "":
		return &output{Writer: bufio.NewWriter(io.Discard)}, nil
	case stream:
		return &output{Writer: bufio.NewWriter(stdout)}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &output{bufio.NewWriter(file), file}, nil
}

func (o *output) close(name string) error {
	err := o.Flush()
	if o.file != nil {
		err = errors.Join(err, o.file.Close())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
