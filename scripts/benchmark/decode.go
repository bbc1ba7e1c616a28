package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	gojson "github.com/goccy/go-json"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/notify"
	"example.com/market-data-pipeline/functions/processor/queue"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/scripts/benchmark/internal/decoding"
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

// decoder is a peer in any process.
type decoder interface {
	racer(*decoding.Case) racer
	checksum(*decoding.Case) (sum uint32, events int, err error)
}

// ours is the product's decoder. A Lambda event goes through a handler whose rules watch nothing, so that it is decoded and
// its events are told apart by series, and no more.
type ours struct {
	events  []market.Event
	now     time.Time
	handler *ingest.Handler
}

func newOurs() (*ours, error) {
	rules, err := alert.Load("rules.yaml", []byte("rules:\n  - {alert: None, symbols: [NONE], expr: price > 1, reset: price < 1, cooldown: 1s}\n"))
	if err != nil {
		return nil, err
	}
	o := &ours{now: time.Date(2026, 11, 20, 15, 0, 0, 0, time.UTC)}
	store := ledger.NewMemory(ledger.Config{})
	o.handler, err = ingest.New(ingest.Config{Environment: "bench", Engine: rules.Engine(alert.Options{Ordered: true}), Ledger: store,
		Notifier: &notify.Writer{W: io.Discard}, Queue: &queue.Writer{W: io.Discard}})
	return o, err
}

func (o *ours) decode(c *decoding.Case, input string) (bad int, err error) {
	o.events = o.events[:0]
	if c.Form != decoding.Lambda {
		var refused []market.Refusal
		o.events, refused = market.Decode(o.events, input, o.now, settings.DefaultClockSkew)
		return len(refused), nil
	}
	records, err := ingest.ParseEvent(c.Input)
	for i := range records {
		var refused []market.Refusal
		o.events, refused = market.Decode(o.events, records[i].Body, o.now, settings.DefaultClockSkew)
		bad += len(refused)
	}
	return bad, err
}

func (o *ours) racer(c *decoding.Case) racer {
	if c.Form == decoding.Lambda {
		return inProcess("ours", func() {
			if _, err := o.handler.HandleEvent(context.Background(), c.Input); err != nil {
				panic(err) // checksum has read it
			}
		})
	}
	input := string(c.Input)
	return inProcess("ours", func() { _, _ = o.decode(c, input) }) // checksum looks at the result
}

func (o *ours) checksum(c *decoding.Case) (uint32, int, error) {
	bad, err := o.decode(c, string(c.Input))
	if err == nil && bad > 0 {
		err = fmt.Errorf("%d events refused", bad)
	}
	var sum decoding.Sum
	for i := range o.events {
		e := &o.events[i]
		sum.Add(e.Symbol, e.Source, int64(e.Price), int64(e.Size), e.Time, e.Sequence)
	}
	return sum.Value, len(o.events), err
}

// worker is a peer in a process of its own.
type worker struct {
	name    string
	in      io.WriteCloser
	answers *json.Decoder
}

func (b *bench) startWorker(name string, command ...string) (*worker, error) {
	c := exec.Command(command[0], append(command[1:], b.work)...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, func() { _ = in.Close(); _ = c.Wait() })
	return &worker{name, in, json.NewDecoder(bufio.NewReader(stdout))}, nil
}

func (w *worker) ask(c *decoding.Case, n int) (a decoding.Answer, err error) {
	if err = json.NewEncoder(w.in).Encode(decoding.Order{Case: c.Name, Form: c.Form, N: n}); err == nil {
		err = w.answers.Decode(&a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	return a, err
}

func (w *worker) racer(c *decoding.Case) racer {
	return racer{w.name, func(n int) (sample, error) {
		a, err := w.ask(c, n)
		return sample{n, time.Duration(a.Wall), time.Duration(a.CPU), a.Allocs}, err
	}}
}

func (w *worker) checksum(c *decoding.Case) (uint32, int, error) {
	a, err := w.ask(c, 0)
	return a.Checksum, a.Events, err
}

// local is a library in this process.
type local struct {
	name string
	peer *decoding.Peer[json.Number]
}

func (l *local) racer(c *decoding.Case) racer {
	return inProcess(l.name, func() { _ = l.peer.Decode(c) }) // checksum looks at the result
}

func (l *local) checksum(c *decoding.Case) (uint32, int, error) {
	if err := l.peer.Decode(c); err != nil {
		return 0, 0, err
	}
	sum, err := l.peer.Checksum()
	return sum, c.Events, err
}

func (b *bench) decode() error {
	cases := decodeCases()
	for _, c := range cases {
		if err := os.WriteFile(decoding.Path(b.work, c.Name), c.Input, 0o600); err != nil {
			return err
		}
	}
	ours, err := newOurs()
	if err != nil {
		return err
	}
	peers := []decoder{
		ours,
		&local{"encoding/json", &decoding.Peer[json.Number]{Unmarshal: json.Unmarshal}},
		&local{"goccy/go-json", &decoding.Peer[json.Number]{Unmarshal: gojson.Unmarshal}},
	}
	if v2 := filepath.Join(b.bin, "jsonv2"); fileExists(v2) {
		w, err := b.startWorker("encoding/json/v2", v2)
		if err != nil {
			return err
		}
		peers = append(peers, w)
	} else {
		b.missing("encoding/json/v2: this Go has no GOEXPERIMENT=jsonv2")
	}
	if b.python != "" {
		w, err := b.startWorker("Python json", b.python, filepath.Join(b.root, "scripts/benchmark/peers/python/decode.py"))
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
			r := p.racer(c)
			if got, n, err := p.checksum(c); err != nil || got != want || n != events {
				return fmt.Errorf("%s, %s: %d events with checksum %08x, ours %d with %08x (%v)", c.Name, r.name, n, got, events, want, err)
			}
			racers = append(racers, r)
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
