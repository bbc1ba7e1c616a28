// Command metrics lets the processor's handler take an empty batch and prints the metrics that it sends of it.
package main

import (
	"context"
	"fmt"
	"os"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "metrics:", err)
		os.Exit(1)
	}
}

func run() error {
	const file = "../functions/processor/rules.yaml"
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rules, err := alert.Load(file, source)
	if err != nil {
		return err
	}
	h, err := ingest.New(ingest.Config{
		Environment: "ENVIRONMENT",
		Engine:      rules.Engine(alert.Options{}),
		Ledger:      struct{ ingest.Ledger }{}, // an empty batch calls nobody
		Notifier:    struct{ ingest.Notifier }{},
		Queue:       struct{ ingest.Queue }{},
		Metrics:     os.Stdout,
	})
	if err != nil {
		return err
	}
	_, err = h.Handle(context.Background(), nil)
	return err
}
