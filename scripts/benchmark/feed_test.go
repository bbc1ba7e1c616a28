package main

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ingest"
	"example.com/market-data-pipeline/functions/processor/market"
)

// The rules fire on exactly the events that the baselines' comparisons find, in every traffic and for both rule sets.
func TestStreamFiresWhatItSays(t *testing.T) {
	for _, tr := range []traffic{
		{messages: 10, perEvent: 1, series: 10, alertEvery: 1}, {messages: 100, perEvent: 1, series: 7, alertEvery: 10},
		{messages: 10, perEvent: 50, series: 10, alertEvery: 1}, {messages: 10, perEvent: 50, series: 500, byShard: true, alertEvery: 1},
		{messages: 10, perEvent: 50, series: 10, alertEvery: 100}, {messages: 10, perEvent: 50, series: 10},
	} {
		for _, set := range ruleSets {
			rules, err := alert.Load("test.yaml", []byte(set.rules))
			if err != nil {
				t.Fatal(err)
			}
			engine := rules.Engine(alert.Options{Lateness: 5 * time.Second, Ordered: true})
			states := map[string]*alert.State{}
			s := newStream(tr)
			fired, compared, events := 0, 0, 0
			for range 20 {
				records, err := ingest.ParseEvent(s.next())
				if err != nil || len(records) != tr.messages {
					t.Fatalf("%d records: %v", len(records), err)
				}
				for _, r := range records {
					found, refused := market.Decode(nil, r.Body, r.Sent, time.Second)
					if len(refused) > 0 || len(found) != tr.perEvent {
						t.Fatalf("%d events, %d refused: %v", len(found), len(refused), refused)
					}
					for i := range found {
						e := &found[i]
						p := engine.Program(e.Symbol, e.Source)
						if states[e.Symbol] == nil {
							states[e.Symbol] = p.NewState()
						}
						alerts, outcome := p.Step(states[e.Symbol], e, nil)
						if outcome != alert.Applied {
							t.Fatalf("event %d of %s: outcome %d", i, e.Symbol, outcome)
						}
						fired += len(alerts)
						if price := e.Price.Float(); price > 120 || price < 110 {
							compared++
						}
						events++
					}
				}
			}
			if want := s.alerts(); fired != want || compared != want || events != 20*tr.events() || len(states) != tr.series {
				t.Errorf("%+v, %s: %d fired, %d by comparison, %d expected; %d events of %d series", tr, set.name, fired, compared, want, events, len(states))
			}
		}
	}
}

// Any order: the same trade.
func TestAnyOrder(t *testing.T) {
	var usual, other map[string]any
	if json.Unmarshal(appendTrade(nil, 0, "115.10", time.Date(2026, 11, 20, 14, 30, 0, 1e6, time.UTC), 1), &usual) != nil || json.Unmarshal([]byte(anyOrder), &other) != nil {
		t.Fatal("no JSON")
	}
	for k, v := range usual {
		if k != "conditions" && other[k] != v {
			t.Errorf("%s is %v and %v", k, v, other[k])
		}
	}
}

// What is measured is built as the construct builds it.
func TestFlagsAreTheConstructs(t *testing.T) {
	script, err := os.ReadFile("../bench")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("../../constructs/bundling.go")
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`(?s)GoBuildFlags: jsii\.Strings\((.*?)\n\t\t\)`).FindSubmatch(source)
	if list == nil {
		t.Fatal("constructs/bundling.go has no GoBuildFlags")
	}
	var built []string
	for _, m := range regexp.MustCompile("(?m)^\\s*[\"`](-.*?)[\"`],").FindAllSubmatch(list[1], -1) {
		built = append(built, strings.NewReplacer(`="`, "=", `"`, "").Replace(string(m[1])))
	}
	line := regexp.MustCompile(`(?m)^function_flags=\((.*)\)$`).FindSubmatch(script)
	if got := strings.ReplaceAll(string(line[1]), `"`, ""); got != strings.Join(built, " ") {
		t.Errorf("scripts/bench builds with %s, the construct with %s", got, built)
	}
}

// Every library in this process finds the same events in every case as the product.
func TestPeersAgree(t *testing.T) {
	us, err := ours()
	if err != nil {
		t.Fatal(err)
	}
	them := local("encoding/json", json.Unmarshal)
	seen := map[uint32]string{}
	for _, c := range decodeCases() {
		want, n, err := us.checksum(c)
		if err != nil || n != c.Events {
			t.Fatalf("%s: %d events, %v", c.Name, n, err)
		}
		if got, _, err := them.checksum(c); err != nil || got != want {
			t.Errorf("%s: checksum %08x, ours %08x (%v)", c.Name, got, want, err)
		}
		seen[want] = c.Name
	}
	if len(seen) != len(decodeCases())-2 { // two are in two orders
		t.Errorf("checksums of %v", seen)
	}
}

func TestEnginesAgree(t *testing.T) {
	for i := range kinds {
		if err := equalAlerts(&kinds[i], 10); err != nil {
			t.Error(err)
		}
	}
	broken := kinds[1]
	broken.byHand = func(v []float64, n int) float64 { return mean(v, n-1) }
	if equalAlerts(&broken, 10) == nil {
		t.Error("a wrong average is not noticed")
	}
}

func TestShow(t *testing.T) {
	var out bytes.Buffer
	r := &report{out: &out}
	table := &table{Title: "T", Columns: []string{"name", "n"}, Notes: []string{"note"}}
	table.add("a", "1.00 x")
	table.add("bcdef", 12)
	r.show(table)
	if want := "\nT\nname   n\na      1.00 x\nbcdef  12\n  note\n"; out.String() != want {
		t.Errorf("got\n%q, want\n%q", out.String(), want)
	}
	if len(r.Tables) != 1 {
		t.Error("the table is not kept for JSON")
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 1234.5: "1234", 99.94: "99.9", 2.345: "2.35", 0.012345: "0.0123"} {
		if got := number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestRunRefuses(t *testing.T) {
	for args, want := range map[string]string{"--only decode,speed": `"speed"`, "--only decode": "./scripts/bench", "--x": "not defined"} {
		var out bytes.Buffer
		if err := run(strings.Fields(args), &out); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
