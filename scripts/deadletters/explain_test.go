package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/market"
)

const canary = "SECRET-7d1f"

func TestExplain(t *testing.T) {
	d := newDesk(t, true)
	d.urls.logGroup = "/aws/lambda/data-processor-test"
	d.send("AAPL|", 0, trade("AAPL", 0)+"\n"+trade("IBM", 1), nil)
	d.send("TSLA|", 0, trade("TSLA", 0)+"\n"+`{"symbol":"TSLA","timestamp":"2026-11-20T14:30:00Z","price":"`+canary+`"}`, nil)
	d.send("fix", 0, "8=FIX", map[string]types.MessageAttributeValue{"format": text("fix")})
	d.bury()
	d.reject(
		market.Rejected{Reason: market.BadNumber, Body: `{"symbol":"TSLA","price":"` + canary + `","timestamp":"2026-11-20T14:30:00Z"}`, OriginMessageID: "o-1", Index: 4, Group: "TSLA|", ReceiveCount: 2, FirstReceived: d.now},
		market.Rejected{Reason: market.FutureTimestamp, Body: trade("AAPL", 1), OriginMessageID: "o-2"},
		market.Rejected{Reason: market.LateRetry, Body: trade("AAPL", 1), OriginMessageID: "o-3"},
		market.Rejected{Reason: market.AlertRefused, Body: `{"symbol":"AAPL","summary":"` + canary + `"}`, OriginMessageID: "o-4"},
		market.Rejected{Reason: "lunar_eclipse", Body: canary, OriginMessageID: "o-5"},
		market.Rejected{Reason: market.UnknownFormat, Format: "fix", Body: canary, OriginMessageID: "o-6"})
	dead, kept := d.ids(d.urls.dead), d.ids(d.urls.rejects)
	for _, test := range []struct {
		id   string
		want []string
	}{
		{dead[0], []string{"dead-letters", "retries are used up", "AAPL IBM", "AAPL|-0", "1 time", "2 events are good, 0 refused", "log", `/aws/lambda/data-processor-test: filter message_id = "` + dead[0] + `"`, "redrive " + dead[0]}},
		{dead[1], []string{"1 event is good, 1 refused", "event 1: bad_number in price", "refused events are no cause"}},
		{dead[2], []string{`does not know the format "fix"`}},
		{kept[0], []string{"rejects", "bad_number", "a number is a plain decimal", "TSLA|", "o-1, event 4 of it", "2026-11-22T12:00:0", "2 times", "event 0: bad_number in price", "./scripts/send", "a redrive leaves it here: would be refused again"}},
		{kept[1], []string{"no further ahead", "accepts it by now: redrive " + kept[1]}},
		{kept[2], []string{"its message was retried", "redrive --reason late"}},
		{kept[3], []string{"SNS refused to publish", "as FAILED"}},
		{kept[4], []string{"lunar_eclipse", "does the stack run newer code?"}},
		{kept[5], []string{"names a dialect", "redrive --reason unknown_format"}},
	} {
		stdout, stderr := d.must("explain", test.id)
		for _, want := range test.want {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: %q is not in\n%s", test.id, want, stdout)
			}
		}
		asJSON, _ := d.must("explain", "--json", test.id)
		var m map[string]any
		if err := json.Unmarshal([]byte(asJSON), &m); err != nil || m["rule"] == "" || m["body"] != nil || m["id"] != test.id {
			t.Errorf("%s, %v", asJSON, err)
		}
		if strings.Contains(stdout+stderr+asJSON, canary) || strings.Contains(stdout, "14:30:00") {
			t.Errorf("%s: the body is shown\n%s", test.id, stdout)
		}
	}
	if stdout, _ := d.must("explain", kept[0], "--body"); strings.Count(stdout, canary) != 2 || !strings.Contains(stdout, "is not a decimal number") {
		t.Errorf("--body does not show the body\n%s", stdout)
	}
	stdout, _ := d.must("explain", kept[0], "--body", "--json")
	var m map[string]any
	if err := json.Unmarshal([]byte(stdout), &m); err != nil || m["body"] != `{"symbol":"TSLA","price":"`+canary+`","timestamp":"2026-11-20T14:30:00Z"}` {
		t.Errorf("%s, %v", stdout, err)
	}
	if _, _, err := d.run("explain", "nobody"); err == nil || !strings.Contains(err.Error(), "not found: nobody") {
		t.Errorf("an unknown id: %v", err)
	}
	if d.depth(d.urls.dead) != 3 || d.depth(d.urls.rejects) != 6 {
		t.Error("messages are gone")
	}
}

// TestNoCommandShowsABody: of all that is printed, only explain --body has it, errors and plans included.
func TestNoCommandShowsABody(t *testing.T) {
	d := newDesk(t, true)
	d.send("AAPL|", 0, trade("AAPL", 0)+"\n"+`{"symbol":"AAPL","note":"`+canary+`"}`, nil)
	d.bury()
	d.reject(market.Rejected{Reason: market.MalformedJSON, Body: canary, OriginMessageID: "o"})
	for _, args := range []string{"list", "list --json", "redrive", "redrive --json", "purge", "purge --json", "redrive --yes", "purge --yes"} {
		stdout, stderr := d.must(strings.Fields(args)...)
		if strings.Contains(stdout+stderr, canary) {
			t.Errorf("%s shows a body\n%s", args, stdout)
		}
	}
}

// TestManyRefusedEvents: the words have a bound.
func TestManyRefusedEvents(t *testing.T) {
	d := newDesk(t, true)
	d.send("g", 0, strings.Repeat("{}\n", 500), nil)
	d.bury()
	stdout, _ := d.must("explain", d.ids(d.urls.dead)[0])
	if strings.Count(stdout, "missing_field") != maxFindings || !strings.Contains(stdout, "and 480 more") {
		t.Error(stdout)
	}
}

// TestEveryReasonIsExplained reads the reasons from the source that defines them.
func TestEveryReasonIsExplained(t *testing.T) {
	found := map[market.Reason]bool{exhausted: true}
	for _, name := range []string{"refusal.go", "rejected.go"} {
		file, err := parser.ParseFile(token.NewFileSet(), "../../functions/processor/market/"+name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Reason" {
				s, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				found[market.Reason(s)] = true
			}
			return true
		})
	}
	if len(found) < 27 {
		t.Errorf("%d reasons found: the test reads the source wrongly", len(found))
	}
	for reason := range found {
		if r := rules[reason]; r.text == "" || r.remedy == "" {
			t.Errorf("%s is not explained", reason)
		}
	}
	for reason := range rules {
		if !found[reason] {
			t.Errorf("%s is explained and does not exist", reason)
		}
	}
}
