// Command benchmark measures the pipeline beside what a user would pick instead of it: ./scripts/bench builds the peers
// and starts it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"example.com/market-data-pipeline/scripts/benchmark/internal/endpoint"
)

// bench is one run: what was built, how long to measure, and what was found.
type bench struct {
	*report
	bin    string // folder of the built programs
	root   string // the checkout
	python string // "" = none here
	boto3  bool
	pace   pace
	warm   time.Duration // for which a function is invoked before it is measured
	quick  bool
	work   string // a folder for files

	closers []func()
}

// sections are the parts of the benchmark, in the order in which they run.
var sections = []struct {
	name string
	run  func(*bench) error
}{
	{"decode", (*bench).decode},
	{"engine", (*bench).engine},
	{"handler", (*bench).handler},
	{"coldstart", (*bench).coldStart},
	{"cost", (*bench).cost},
	{"growth", (*bench).growth},
	{"contention", (*bench).contention},
	{"cdk", (*bench).cdk},
}

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) (err error) {
	b := &bench{report: &report{Machine: thisMachine(), Facts: map[string]float64{}, out: out}}
	var names []string
	for _, s := range sections {
		names = append(names, s.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.StringVar(&b.bin, "bin", "", "folder of the built programs (set by scripts/bench)")
	flags.StringVar(&b.root, "root", "", "folder of the checkout (set by scripts/bench)")
	flags.StringVar(&b.python, "python", "", "the Python to compare with (set by scripts/bench); empty = none")
	flags.BoolVar(&b.quick, "quick", false, "about a minute: fewer rounds and cases, all checks of equality")
	only := flags.String("only", strings.Join(names, ","), "the parts to run, separated by commas")
	file := flags.String("json", "", "also write everything to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	chosen := strings.Split(*only, ",")
	for _, c := range chosen {
		if !slices.Contains(names, c) {
			return fmt.Errorf("--only names %q: the parts are %s", c, strings.Join(names, ", "))
		}
	}
	if b.bin == "" || b.root == "" {
		return errors.New("start it by ./scripts/bench, which builds the peers")
	}
	b.pace = pace{slice: 60 * time.Millisecond, rounds: 7, budget: 1500 * time.Millisecond}
	if b.quick {
		b.pace = pace{slice: 10 * time.Millisecond, rounds: 2, budget: 100 * time.Millisecond}
	}
	if b.work, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer b.close()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		b.close()
		os.Exit(130)
	}()

	m := b.Machine
	fmt.Fprintf(out, "%s · %s, %d cores · %s %s\nCPU and wall times are the least of several rounds in which the peers take turns; (median) where it is shown.\n",
		m.Date, m.CPU, m.Cores, m.Go, m.OS)
	if b.python == "" {
		b.missing("Python's peers: no python3 here")
	} else if b.boto3 = exec.Command(b.python, "-c", "import boto3").Run() == nil; !b.boto3 {
		b.missing("the Python handlers: %s has no boto3", b.python)
	}
	start := time.Now()
	for _, s := range sections {
		if slices.Contains(chosen, s.name) {
			fmt.Fprintf(out, "\n== %s (%.0f s)\n", s.name, time.Since(start).Seconds())
			if err := s.run(b); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	b.goals()
	fmt.Fprintf(out, "\ndone in %.0f s\n", time.Since(start).Seconds())
	if *file != "" {
		return b.writeJSON(*file)
	}
	return nil
}

func (b *bench) close() {
	for _, c := range slices.Backward(b.closers) {
		c()
	}
	b.closers = nil
	_ = os.RemoveAll(b.work) // a leftover in the temporary folder
}

// startEndpoint starts the stand-in of AWS. It is in this process, which waits while a function is measured.
func (b *bench) startEndpoint() (*endpoint.Server, error) {
	aws, err := endpoint.Start()
	if err == nil {
		b.closers = append(b.closers, aws.Close)
	}
	return aws, err
}
