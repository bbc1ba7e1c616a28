package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	gojson "github.com/goccy/go-json"

	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/scripts/benchmark/internal/decoding"
	"example.com/market-data-pipeline/scripts/benchmark/internal/sample"
)

const (
	shortest         = `{"symbol":"AAPL","price":189.84,"timestamp":"2026-11-20T14:30:00Z"}`
	shortestAnyOrder = `{"timestamp":"2026-11-20T14:30:00Z","price":189.84,"symbol":"AAPL"}`
	anyOrder         = `{"conditions":["0x20002020"],"source":"algoseek","sequence":1,"timestamp":"2026-11-20T14:30:00.001Z","venue":"Q","size":"100","id":"1","price":"115.10","symbol":"S00000","type":"trade"}`
)

func decodeCases() []*decoding.Case {
	typical := newStream(traffic{messages: 1, perEvent: 1, series: 1}).event(nil, 0)
	array := func(of func(i int) []byte) []byte {
		b := []byte{'['}
		for i := range 500 {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, of(i)...)
		}
		return append(b, ']')
	}
	packed := newStream(traffic{messages: 1, perEvent: 500, series: 1})
	return []*decoding.Case{
		{Name: "shortest", Form: decoding.Single, Events: 1, Input: []byte(shortest)},
		{Name: "shortest any order", Form: decoding.Single, Events: 1, Input: []byte(shortestAnyOrder)},
		{Name: "trade", Form: decoding.Single, Events: 1, Input: typical},
		{Name: "trade any order", Form: decoding.Single, Events: 1, Input: []byte(anyOrder)},
		{Name: "packed 500 shortest", Form: decoding.Packed, Events: 500, Input: array(func(int) []byte { return []byte(shortest) })},
		{Name: "packed 500 trades", Form: decoding.Packed, Events: 500, Input: array(func(int) []byte { return packed.event(nil, 0) })},
		{Name: "Lambda event of 10 x 500 shortest", Form: decoding.Lambda, Events: 5000, Input: newStream(traffic{messages: 10, perEvent: 500, series: 10, shortest: true}).next()},
		{Name: "Lambda event of 10 x 500", Form: decoding.Lambda, Events: 5000, Input: newStream(traffic{messages: 10, perEvent: 500, series: 10}).next()},
	}
}

// decoder is a peer, in any process.
type decoder struct {
	name     string
	run      func(c *decoding.Case, n int) (sample.Sample, error)
	checksum func(*decoding.Case) (sum uint32, events int, err error)
}

// ours is the product's decoder. A Lambda event goes through a handler whose rules watch nothing, so that it is decoded and
// its events are told apart by series, and no more.
func ours() (decoder, error) {
	h, err := newHandler("rules:\n  - {alert: None, symbols: [NONE], expr: price > 1, reset: price < 1, cooldown: 1s}\n", settings.Ordered)
	var events []market.Event
	now := time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)
	var bad int
	decode := func(input string) {
		var refused []market.Refusal
		events, refused = market.Decode(events, input, now, settings.DefaultClockSkew)
		bad += len(refused)
	}
	return decoder{"ours", func(c *decoding.Case, n int) (sample.Sample, error) {
		if c.Form == decoding.Lambda {
			var err error
			s := sample.Repeat(n, func() { _, err = h.HandleEvent(context.Background(), c.Input) })
			return s, err
		}
		input := string(c.Input)
		return sample.Repeat(n, func() { events = events[:0]; decode(input) }), nil // checksum looks at the result
	}, func(c *decoding.Case) (uint32, int, error) {
		records, err := []ingest.Record{{Body: string(c.Input)}}, error(nil)
		if c.Form == decoding.Lambda {
			records, err = ingest.ParseEvent(c.Input)
		}
		events, bad = events[:0], 0
		for i := range records {
			decode(records[i].Body)
		}
		if err == nil && bad > 0 {
			err = fmt.Errorf("%d events refused", bad)
		}
		var sum decoding.Sum
		for i := range events {
			e := &events[i]
			sum.Add(e.Symbol, e.Source, int64(e.Price), int64(e.Size), e.Time, e.Sequence)
		}
		return sum.Value, len(events), err
	}}, err
}

// local is a library in this process.
func local(name string, unmarshal func([]byte, any) error) decoder {
	p := &decoding.Peer[json.Number]{Unmarshal: unmarshal}
	return decoder{name, func(c *decoding.Case, n int) (s sample.Sample, err error) {
		s = sample.Repeat(n, func() { err = p.Decode(c) })
		return s, err
	}, func(c *decoding.Case) (uint32, int, error) {
		if err := p.Decode(c); err != nil {
			return 0, 0, err
		}
		sum, err := p.Checksum()
		return sum, c.Events, err
	}}
}

// worker is a library in a process of its own.
func (b *bench) worker(name string, command ...string) (decoder, error) {
	process := exec.Command(command[0], append(command[1:], b.work)...)
	process.Stderr = os.Stderr
	in, err := process.StdinPipe()
	if err != nil {
		return decoder{}, err
	}
	stdout, err := process.StdoutPipe()
	if err != nil {
		return decoder{}, err
	}
	if err := process.Start(); err != nil {
		return decoder{}, err
	}
	b.closers = append(b.closers, func() { _ = in.Close(); _ = process.Wait() })
	orders, answers := json.NewEncoder(in), json.NewDecoder(bufio.NewReader(stdout))
	ask := func(c *decoding.Case, n int) (a decoding.Answer, err error) {
		if err = orders.Encode(decoding.Order{Case: c.Name, Form: c.Form, N: n}); err == nil {
			err = answers.Decode(&a)
		}
		if err == nil && a.Error != "" {
			err = errors.New(a.Error)
		}
		return a, err
	}
	return decoder{name, func(c *decoding.Case, n int) (sample.Sample, error) {
		a, err := ask(c, n)
		a.N = n
		return a.Sample, err
	}, func(c *decoding.Case) (uint32, int, error) {
		a, err := ask(c, 0)
		return a.Checksum, a.Events, err
	}}, nil
}

func (b *bench) decode() error {
	cases := decodeCases()
	for _, c := range cases {
		if err := os.WriteFile(decoding.Path(b.work, c.Name), c.Input, 0o600); err != nil {
			return err
		}
	}
	us, err := ours()
	if err != nil {
		return err
	}
	peers := []decoder{us, local("encoding/json", json.Unmarshal), local("goccy/go-json", gojson.Unmarshal)}
	if v2 := filepath.Join(b.bin, "jsonv2"); fileExists(v2) {
		w, err := b.worker("encoding/json/v2", v2)
		if err != nil {
			return err
		}
		peers = append(peers, w)
	} else {
		b.missing("encoding/json/v2: this Go has no GOEXPERIMENT=jsonv2")
	}
	if b.python != "" {
		w, err := b.worker("Python json", b.python, filepath.Join(b.root, "scripts/benchmark/peers/python/decode.py"))
		if err != nil {
			return err
		}
		peers = append(peers, w)
	}
	t := &table{Title: "Decode: nanoseconds per event", Columns: []string{"input", "peer", "CPU", "(median)", "wall", "allocs/event", "MB/s", "to ours"}, Notes: []string{
		"All peers give events of the same checksum. The peers check less: no field rules, no duplicate keys, no exact numbers (Python: no times).",
	}}
	for _, c := range cases {
		want, events, err := peers[0].checksum(c)
		if err != nil || events != c.Events {
			return fmt.Errorf("%s: ours found %d events of %d: %w", c.Name, events, c.Events, err)
		}
		var racers []racer
		for _, p := range peers {
			if got, n, err := p.checksum(c); err != nil || got != want || n != events {
				return fmt.Errorf("%s, %s: %d events with checksum %08x, ours %d with %08x (%v)", c.Name, p.name, n, got, events, want, err)
			}
			racers = append(racers, racer{p.name, func(n int) (sample.Sample, error) { return p.run(c, n) }})
		}
		results, err := race(b.pace, racers)
		if err != nil {
			return fmt.Errorf("%s: %w", c.Name, err)
		}
		for i, r := range results {
			n := float64(c.Events)
			allocs := number(r.allocs / n)
			if strings.HasPrefix(racers[i].name, "Python") {
				allocs = "-"
			}
			t.add(c.Name, racers[i].name, number(r.minCPU/n), number(r.medCPU/n), number(r.minWall/n), allocs,
				number(float64(len(c.Input))*1e3/r.minCPU), ratio(r.minCPU/results[0].minCPU))
			fact := "decode/" + c.Name + "/" + racers[i].name
			b.Facts[fact], b.Facts[fact+"/allocs"] = r.minCPU/n, r.allocs/n
		}
	}
	b.show(t)
	return nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
