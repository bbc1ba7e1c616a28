//go:build goexperiment.jsonv2

// Command jsonv2 is the worker that decodes with encoding/json/v2. GOEXPERIMENT=jsonv2 also exchanges what
// encoding/json is made of, so it is a process of its own.
package main

import (
	"encoding/json/jsontext"
	json "encoding/json/v2"
	"log"
	"os"

	"example.com/market-data-pipeline/scripts/benchmark/internal/decoding"
)

func main() {
	p := &decoding.Peer[jsontext.Value]{Unmarshal: func(b []byte, v any) error { return json.Unmarshal(b, v) }}
	if err := decoding.Work(p, os.Args[1], os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}
