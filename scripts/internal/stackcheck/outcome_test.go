package stackcheck

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/ledger"
	"example.com/market-data-pipeline/functions/processor/market"
)

func testAlert() *alert.Alert {
	at := time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC).UnixNano()
	return &alert.Alert{
		ID: "20261120T143000.000000000Z-0011223344556677", Symbol: "CHECK.x.T0", Source: "check", Rule: "R", Severity: alert.Critical, Summary: "s",
		Labels: []alert.Label{{Name: "desk", Value: "d"}}, Time: at, Value: 1.5, Operands: []alert.Operand{{Text: "price", Value: 1.5}},
		Price: market.Unit, Sequence: 7, HasSeq: true, RuleVersion: "v", Notify: true,
	}
}

// stored is how testAlert is stored once it is published.
func stored(a *alert.Alert) map[string]any {
	m := flat(a)
	maps.Copy(m, map[string]any{
		"day_shard": ledger.DayShard(a.Time, a.ID), "status": "SENT", "received_at": "2026-11-20T14:30:00Z",
		"stored_at": "2026-11-20T14:30:01Z", "published_at": "2026-11-20T14:30:01.5Z",
	})
	return m
}

func TestCompareItem(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(map[string]any)
		want   string // "" = accepted
	}{
		{"as it should be", func(map[string]any) {}, ""},
		{"with an expiry", func(m map[string]any) { m["expires_at"] = 1.0 }, ""},
		{"another price", func(m map[string]any) { m["price"] = 2.0 }, "price is 2, want 1"},
		{"no summary", func(m map[string]any) { delete(m, "summary") }, "summary is <nil>"},
		{"another label", func(m map[string]any) { m["labels"] = map[string]any{"desk": "e"} }, "labels"},
		{"still pending", func(m map[string]any) { m["status"] = "PENDING" }, "status is PENDING, want SENT"},
		{"the lease is left", func(m map[string]any) { m["lease_until"] = 1.0 }, "lease_until (1) does not belong"},
		{"never published", func(m map[string]any) { delete(m, "published_at") }, "published_at is missing"},
		{"published before it was stored", func(m map[string]any) { m["published_at"] = "2026-11-20T14:30:00Z" }, "is before stored_at"},
		{"published at no time", func(m map[string]any) { m["published_at"] = "soon" }, "soon"},
		{"another shard", func(m map[string]any) { m["day_shard"] = "2026-11-21#0" }, "day_shard"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := stored(testAlert())
			test.change(got)
			err := compareItem(got, testAlert())
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
	dark := testAlert()
	dark.Notify = false
	got := stored(dark)
	got["status"], got["commit_id"] = "MUTED", "c"
	if compareItem(got, dark) == nil {
		t.Error("an alert of a rule in the dark was published, and accepted")
	}
	delete(got, "published_at")
	if err := compareItem(got, dark); err != nil {
		t.Error(err)
	}
}

func TestPlainItem(t *testing.T) {
	got, _ := json.Marshal(plainItem(item{
		"s": &types.AttributeValueMemberS{Value: "x"}, "n": &types.AttributeValueMemberN{Value: "1.50"}, "big": &types.AttributeValueMemberN{Value: "1e400"},
		"m": &types.AttributeValueMemberM{Value: item{"a": &types.AttributeValueMemberN{Value: "2"}}}, "b": &types.AttributeValueMemberBOOL{Value: true},
	}))
	if want := `{"b":"*types.AttributeValueMemberBOOL","big":"1e400","m":{"a":2},"n":1.5,"s":"x"}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestCheckNotification(t *testing.T) {
	good := func() *notification {
		m := stored(testAlert())
		for _, k := range []string{"day_shard", "status", "published_at"} {
			delete(m, k)
		}
		text, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		n := &notification{Subject: "critical: s", Message: string(text)}
		if err := json.Unmarshal([]byte(`{"symbol":{"Type":"String","Value":"CHECK.x.T0"},"severity":{"Type":"String","Value":"critical"},
			"rule":{"Type":"String","Value":"R"}}`), &n.MessageAttributes); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, test := range []struct {
		name   string
		change func(*notification)
		want   string
	}{
		{"as it should be", func(*notification) {}, ""},
		{"no JSON", func(n *notification) { n.Message = "text" }, "no JSON"},
		{"another alert", func(n *notification) { n.Message = strings.Replace(n.Message, "0011", "1100", 1) }, "not expected"},
		{"another value", func(n *notification) { n.Message = strings.Replace(n.Message, `"value":1.5`, `"value":2.5`, 1) }, "value is 2.5"},
		{"the outbox's fields", func(n *notification) { n.Message = strings.Replace(n.Message, "{", `{"owner":"o",`, 1) }, "owner (o)"},
		{"no times", func(n *notification) { n.Message = strings.Replace(n.Message, "stored_at", "kept_at", 1) }, "stored_at is missing"},
		{"an attribute is missing", func(n *notification) { delete(n.MessageAttributes, "severity") }, "attributes"},
		{"no subject", func(n *notification) { n.Subject = "" }, "subject"},
		{"a subject that SNS refuses", func(n *notification) { n.Subject = "über" }, "subject"},
		{"a long subject", func(n *notification) { n.Subject = strings.Repeat("x", 101) }, "subject"},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := good()
			test.change(n)
			_, err := checkNotification(n, map[string]*alert.Alert{testAlert().ID: testAlert()})
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

func TestCheckRejectAttributes(t *testing.T) {
	good := map[string]string{"reason": "bad_number", "origin_message_id": "o", "first_received": "2026-11-20T14:30:00.123Z", "receive_count": "1", "group": "g"}
	for _, test := range []struct {
		name, key, value string
		fifo, ok         bool
	}{
		{"as it should be", "", "", true, true},
		{"unknown format", "format", "x", true, false},
		{"no time", "first_received", "", true, false},
		{"never received", "receive_count", "0", true, false},
		{"no group", "group", "", true, false},
		{"no group, none needed", "group", "", false, true},
		{"a group on a standard queue", "", "", false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := maps.Clone(good)
			a[test.key] = test.value
			if err := checkRejectAttributes(func(name string) string { return a[name] }, test.fifo); (err == nil) != test.ok {
				t.Errorf("error %v", err)
			}
		})
	}
	a := maps.Clone(good)
	a["reason"] = string(market.UnknownFormat)
	if checkRejectAttributes(func(name string) string { return a[name] }, true) == nil {
		t.Error("an unknown format without its name was accepted")
	}
}

// The rules that ship are those that ./scripts/integration expects, unless told otherwise.
func TestTheShippedRulesFireForTheTraffic(t *testing.T) {
	const file = "../../../functions/processor/rules.yaml"
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := alert.Load(file, source)
	if err != nil {
		t.Fatal(err)
	}
	o := alert.Options{Lateness: 5 * time.Second, Ordered: true}
	until := testFeed.start.Add(clockHorizon).UnixNano()
	alerts, _ := expected(rules, o, append(testFeed.events(), testFeed.block(Newer, 0), testFeed.block(PublishFails, 0), testFeed.block(seriesSwept, 0)), until)
	byRule, bySymbol := map[string]int{}, map[string]int{}
	for i := range alerts {
		byRule[alerts[i].Rule]++
		bySymbol[alerts[i].Symbol]++
	}
	if len(byRule) < 3 || bySymbol[testFeed.symbol(Newer)] == 0 || bySymbol[testFeed.symbol(PublishFails)] == 0 || bySymbol[testFeed.symbol(seriesSwept)] == 0 {
		t.Errorf("fired by rule %v, by symbol %v: the checks need three rules, and an alert for each series with a part of its own", byRule, bySymbol)
	}
	if _, clocked := expected(rules, o, testFeed.quiet(Quiet), until); len(clocked) == 0 {
		t.Error("no rule waits for the clock: the checks need one about bars of a minute from trades")
	}
	again, _ := expected(rules, o, testFeed.events(), until)
	for i := range again {
		if again[i].ID != alerts[i].ID {
			t.Fatalf("alert %d is %s, then %s", i, alerts[i].ID, again[i].ID)
		}
	}
}

// What the clock must do is waited for only once it has ticked.
func TestPromptAlertsNeedNoClock(t *testing.T) {
	var all []alert.Alert
	for _, id := range []string{"1", "2", "3", "4"} {
		all = append(all, alert.Alert{ID: id, Symbol: "S"})
	}
	traffic := &Traffic{alerts: all, clocked: all[1:2], swept: all[3:]}
	prompt := traffic.prompt()
	if len(prompt) != 2 || prompt[0].ID != "1" || prompt[1].ID != "3" || len(traffic.alerts) != 4 || traffic.alerts[3].ID != "4" {
		t.Errorf("prompt alerts are %v of %v", prompt, traffic.alerts)
	}
}
