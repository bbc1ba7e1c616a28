package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/google/go-cmp/cmp"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/queue"
)

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

// TestRedriveKeepsOrder: more than one receive brings of a group, and of several.
func TestRedriveKeepsOrder(t *testing.T) {
	d := newDesk(t, true)
	d.deadLetters(map[string]int{"AAPL|": 35, "MSFT|": 4, "IBM|": 17, "shard-1": 1})
	want := map[string][]string{"AAPL|": numbered("AAPL|", 35), "MSFT|": numbered("MSFT|", 4), "IBM|": numbered("IBM|", 17), "shard-1": numbered("shard-1", 1)}
	same(t, "arranged", want, d.origins(d.urls.dead))

	stdout, stderr := d.must("redrive")
	if n := strings.Count(stdout, "would move"); n != 10+4+10+1 || !strings.Contains(stderr, "about 32 more may be behind the first ten of 2 groups") || !strings.Contains(stderr, "Nothing was done") {
		t.Errorf("dry run: %d lines\n%s%s", n, stdout, stderr)
	}
	if d.depth(d.urls.dead) != 57 || d.depth(d.urls.market) != 0 {
		t.Error("the dry run moved messages")
	}
	stdout, stderr = d.must("redrive", "--yes")
	if n := strings.Count("\n"+stdout, "\nmoved "); n != 57 || !strings.Contains(stderr, "57 messages moved, 0 stay") {
		t.Errorf("%d lines\n%s", n, stderr)
	}
	same(t, "moved", want, d.origins(d.urls.market))
	if d.depth(d.urls.dead) != 0 {
		t.Error("dead letters are left")
	}
	if stdout, _ = d.must("redrive", "--yes"); stdout != "" {
		t.Errorf("with nothing left: %s", stdout)
	}
}

// TestRedriveStandard: SQS gives a standard queue's messages in any order; they are moved in that of sending.
func TestRedriveStandard(t *testing.T) {
	d := newDesk(t, false)
	for i := range 100 {
		d.send("x", i, trade("AAPL", i), nil)
		d.now = d.now.Add(time.Millisecond)
	}
	d.bury()
	d.order = shuffled()
	d.must("redrive", "--yes")
	same(t, "moved", map[string][]string{"": numbered("x", 100)}, d.origins(d.urls.market))
	if d.depth(d.urls.dead) != 0 {
		t.Error("dead letters are left")
	}
}

// TestRedriveKeepsTheMessage: body, group and attributes arrive as they were; the identity is the original's.
func TestRedriveKeepsTheMessage(t *testing.T) {
	for _, fifo := range []bool{true, false} {
		d := newDesk(t, fifo)
		d.send("g", 1, trade("AAPL", 1), map[string]types.MessageAttributeValue{})
		d.send("g", 2, trade("AAPL", 2), map[string]types.MessageAttributeValue{
			queue.AttrOrigin: text("mine"), "format": text("canonical"), "price": {DataType: aws.String("Number.int"), StringValue: aws.String("12")},
			"raw": {DataType: aws.String("Binary"), BinaryValue: []byte{0, 1, 255}}})
		d.bury()
		before := d.Messages(d.urls.dead)
		d.must("redrive", "--yes")
		after := d.Messages(d.urls.market)
		if len(after) != 2 {
			t.Fatalf("%d messages, want 2", len(after))
		}
		for i := range after {
			same(t, "body", before[i].Body, after[i].Body)
			same(t, "group", before[i].Attributes["MessageGroupId"], after[i].Attributes["MessageGroupId"])
			if *before[i].MessageId == *after[i].MessageId {
				t.Error("an own move makes a new message: the test does not test what it should")
			}
			if got := after[i].Attributes["MessageDeduplicationId"]; fifo && got != "redrive:"+*before[i].MessageId {
				t.Errorf("deduplication id %q", got)
			}
		}
		// Unexported fields of the SDK's type keep cmp from comparing it whole.
		plain := func(m types.Message) map[string]string {
			out := map[string]string{}
			for name, a := range m.MessageAttributes {
				out[name] = *a.DataType + "=" + aws.ToString(a.StringValue) + string(a.BinaryValue)
			}
			return out
		}
		want := plain(before[0])
		want[queue.AttrOrigin] = "String=" + *before[0].MessageId
		same(t, "attributes of a message without identity", want, plain(after[0]))
		same(t, "attributes", plain(before[1]), plain(after[1]))
	}
}

func TestDeduplicationIDs(t *testing.T) {
	long := strings.Repeat("x", 121)
	for _, test := range []struct {
		l    letter
		want string
	}{
		{letter{queue: deadLetters, parts: []part{{id: long[:120]}}}, "redrive:" + long[:120]},
		{letter{queue: deadLetters, parts: []part{{id: long}}}, "redrive:b3eeb58c9a15cf6ae4bb7e6ad3a0f5f1"},
		{letter{queue: rejects, origin: "o", index: 3, parts: []part{{id: "m"}}}, "redrive:o#3"},
		{letter{queue: rejects, origin: "o 1", index: 3, parts: []part{{id: "m"}}}, "redrive:"},
	} {
		got := test.l.deduplication()
		hashed := len(test.l.parts[0].id) > 120 || strings.Contains(test.l.origin, " ")
		if !hashed && got != test.want || hashed && (len(got) != len("redrive:")+64 || got == test.want) || strings.Contains(got, " ") {
			t.Errorf("%q", got)
		}
	}
	other := letter{queue: deadLetters, parts: []part{{id: long[:120] + "y"}}}
	if other.deduplication() == (&letter{queue: deadLetters, parts: []part{{id: long}}}).deduplication() {
		t.Error("two long ids have the same hash")
	}
}

// mixed is a message of several series, one of its events refused.
func (d *desk) mixed(group string, n int) {
	d.send(group, n, trade("NVDA", n)+"\n"+`{"symbol":"TSLA","price":-1}`+"\n"+trade("AMD", n), nil)
}

func TestOnlyWhatIsAskedIsMoved(t *testing.T) {
	for _, test := range []struct {
		name, args string
		want       map[string][]string
		note       string
	}{
		{"all", "", map[string][]string{"AAPL|": numbered("AAPL|", 3), "MSFT|": numbered("MSFT|", 12), "shard-1": {"shard-1-0", "shard-1-1", "shard-1-2"}}, "18 messages moved, 2 stay"},
		{"dead letters", "--queue dead-letters", map[string][]string{"AAPL|": numbered("AAPL|", 3), "MSFT|": numbered("MSFT|", 12), "shard-1": numbered("shard-1", 2)}, "17 messages moved, 0 stay"},
		{"by their reason", "--reason retries_exhausted", map[string][]string{"AAPL|": numbered("AAPL|", 3), "MSFT|": numbered("MSFT|", 12), "shard-1": numbered("shard-1", 2)}, "17 messages moved, 0 stay"},
		{"a symbol", "--symbol MSFT", map[string][]string{"MSFT|": numbered("MSFT|", 12)}, "12 messages moved, 0 stay"},
		{"an event's symbol of a packed message", "--symbol AMD", map[string][]string{"shard-1": {"shard-1-1"}}, "of 1 group a later message moves"},
		{"a refused event's symbol", "--symbol TSLA", map[string][]string{"shard-1": {"shard-1-1"}}, "1 message moved"},
		{"a symbol and a queue", "--symbol AAPL --queue rejects", map[string][]string{}, "0 messages moved"},
		{"future timestamps", "--reason future_timestamp", map[string][]string{"shard-1": {"shard-1-2"}}, "1 message moved, 0 stay"},
		{"what would be refused again", "--reason non_positive", map[string][]string{}, "0 messages moved, 1 stay"},
		{"late", "--reason late", map[string][]string{"LATE|": {"l#4"}}, "1 message moved, 0 stay"},
		{"a symbol that nothing has", "--symbol GOOG", map[string][]string{}, "0 messages moved, 0 stay"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDesk(t, true)
			for i := range 3 {
				d.send("AAPL|", i, trade("AAPL", i), nil)
			}
			for i := range 12 {
				d.send("MSFT|", i, trade("MSFT", i), nil)
			}
			d.send("shard-1", 0, trade("IBM", 0), nil)
			d.mixed("shard-1", 1)
			d.bury()
			d.reject(
				market.Rejected{Reason: market.NonPositive, Body: `{"symbol":"TSLA","price":-1}`, OriginMessageID: "shard-1-1", Index: 1, Group: "shard-1", ReceiveCount: 1, FirstReceived: d.now},
				market.Rejected{Reason: market.FutureTimestamp, Body: trade("IBM", 9), OriginMessageID: "shard-1", Index: 2, Group: "shard-1", ReceiveCount: 1, FirstReceived: d.now},
				market.Rejected{Reason: market.LateRetry, Body: trade("LATE", 9), OriginMessageID: "l", Index: 4, Group: "LATE|", ReceiveCount: 2, FirstReceived: d.now})
			before := d.depth(d.urls.dead) + d.depth(d.urls.rejects)
			dry, _ := d.must(append([]string{"redrive"}, strings.Fields(test.args)...)...)
			stdout, stderr := d.must(append([]string{"redrive", "--yes"}, strings.Fields(test.args)...)...)
			if !strings.Contains(stderr, test.note) {
				t.Errorf("%q is not in %s", test.note, stderr)
			}
			if slices.ContainsFunc(slices.Collect(strings.Lines(stdout)), func(l string) bool {
				return strings.HasPrefix(l, "moved") && strings.Contains(l, "  rejects  ")
			}) != strings.Contains(stderr, "rules that look back") {
				t.Errorf("of refused events that follow newer ones: %s", stderr)
			}
			moved := 0
			got := d.origins(d.urls.market)
			for _, origins := range got {
				moved += len(origins)
			}
			// Of the refused event with a time in the future the identity is its message's and its place.
			want := map[string][]string{}
			for group, origins := range test.want {
				for _, o := range origins {
					if o == "shard-1-2" {
						o = "shard-1#2"
					}
					want[group] = append(want[group], o)
				}
			}
			same(t, "moved", want, got)
			if left := d.depth(d.urls.dead) + d.depth(d.urls.rejects); left != before-moved || moved != strings.Count("\n"+stdout, "\nmoved ") {
				t.Errorf("%d of %d are left, %d moved\n%s", left, before, moved, stdout)
			}
			// What is planned is what is done, as far as SQS shows it.
			shown := min(moved, strings.Count(dry, "would move"))
			if planned := strings.Count(dry, "would move"); planned != shown || moved-planned > 2 {
				t.Errorf("%d planned, %d moved", planned, moved)
			}
		})
	}
}

// TestAFilterLooksBehindWhatMoves: in a group of which most messages stay, those that move are found as long as one of
// the first ten does.
func TestAFilterLooksBehindWhatMoves(t *testing.T) {
	d := newDesk(t, true)
	var want, stay []string
	for i := range 60 {
		if i%8 == 7 {
			d.send("shard-1", i, trade("AAPL", i), nil)
			want = append(want, fmt.Sprint("shard-1-", i))
		} else if i < 9 {
			d.send("shard-1", i, trade("IBM", i), nil)
			stay = append(stay, fmt.Sprint("shard-1-", i))
		}
	}
	for i := range 30 {
		d.send("other", i, trade("IBM", i), nil)
	}
	d.bury()
	_, stderr := d.must("redrive", "--yes", "--symbol", "AAPL")
	same(t, "moved", map[string][]string{"shard-1": want}, d.origins(d.urls.market))
	same(t, "left", map[string][]string{"shard-1": stay, "other": numbered("other", 30)}, d.origins(d.urls.dead))
	if d.depth(d.urls.dead) != 38 || !strings.Contains(stderr, "about 20 more may be behind the first ten of 1 group") || !strings.Contains(stderr, "of 1 group a later message moves") {
		t.Error(stderr)
	}
}

// TestAGroupCutByTheReceive: of a group that comes last in a receive of ten, the rest of its own ten is seen, too.
func TestAGroupCutByTheReceive(t *testing.T) {
	d := newDesk(t, true)
	for i := range 6 {
		d.send("a", i, trade("A", i), nil)
	}
	for i := range 10 {
		d.send("b", i, trade("B", i), nil)
	}
	d.bury()
	stdout, _ := d.must("list")
	if n := strings.Count(stdout, "retries_exhausted"); n != 16 {
		t.Errorf("%d of 16 messages are listed", n)
	}
	if d.depth(d.urls.dead) != 16 {
		t.Error("messages are gone")
	}
}

// TestByID: messages are asked for by id, in either queue; what is not there is an error.
func TestByID(t *testing.T) {
	d := newDesk(t, true)
	d.deadLetters(map[string]int{"AAPL|": 3})
	d.reject(market.Rejected{Reason: market.FutureTimestamp, Body: trade("IBM", 9), OriginMessageID: "o", Group: "IBM|"})
	dead, refused := d.ids(d.urls.dead), d.ids(d.urls.rejects)
	d.must("redrive", dead[1], "--yes", refused[0])
	same(t, "moved", map[string][]string{"AAPL|": {"AAPL|-1"}, "IBM|": {"o#0"}}, d.origins(d.urls.market))
	if _, _, err := d.run("redrive", "--yes", dead[1]); err == nil || !strings.Contains(err.Error(), dead[1]) {
		t.Errorf("asked for what is gone: %v", err)
	}
	if d.depth(d.urls.dead) != 2 || d.depth(d.urls.rejects) != 0 {
		t.Error("others were moved")
	}
}

// arrangeAll fills a desk with everything that a redrive moves and leaves, and returns what must arrive: by group, in order.
func arrangeAll(d *desk) map[string][]string {
	want := map[string][]string{}
	if isFIFO(d.urls.market) {
		d.deadLetters(map[string]int{"AAPL|": 12, "MSFT|": 2})
		want["AAPL|"], want["MSFT|"] = numbered("AAPL|", 12), numbered("MSFT|", 2)
	} else {
		for i := range 14 {
			d.send("x", i, trade("AAPL", i), nil)
			d.now = d.now.Add(time.Millisecond)
		}
		d.bury()
		want[""] = numbered("x", 14)
	}
	group := "BIG|"
	if !isFIFO(d.urls.market) {
		group = ""
	}
	d.now = d.now.Add(time.Second)
	d.reject(
		market.Rejected{Reason: market.BadSymbol, Body: `{"symbol":""}`, OriginMessageID: "bad", Group: group},
		market.Rejected{Reason: market.AlertRefused, Body: trade("ALERT", 1), OriginMessageID: "alert", Group: group})
	// A body in two messages, small for the test's sake; TestHalves has the adapter's own.
	big := trade("BIG", 1)
	for i, body := range []string{big[:30], big[30:]} {
		attributes := map[string]types.MessageAttributeValue{queue.AttrReason: text("future_timestamp"), queue.AttrOrigin: text("big"),
			queue.AttrIndex: {DataType: aws.String("Number"), StringValue: aws.String("7")}, queue.AttrPart: text([]string{"1/2", "2/2"}[i])}
		if group != "" {
			attributes[queue.AttrGroup] = text(group)
		}
		if _, err := d.SQS.SendMessage(d.t.Context(), &sqs.SendMessageInput{QueueUrl: &d.urls.rejects, MessageBody: &body, MessageAttributes: attributes}); err != nil {
			d.t.Fatal(err)
		}
	}
	want[group] = append(want[group], "big#7")
	return want
}

// TestInterruptedAnywhere: whichever call fails, before or after its effect, with the program's end or without, once it
// is run again everything has been moved, in order, and nothing twice, as the processor sees it: by its identity. Within five
// minutes SQS sees it so, too.
func TestInterruptedAnywhere(t *testing.T) {
	for _, fifo := range []bool{true, false} {
		calm := newDesk(t, fifo)
		want := arrangeAll(calm)
		two := len(calm.Messages(calm.urls.rejects))
		calm.must("redrive", "--yes")
		same(t, "without a fault", want, calm.origins(calm.urls.market))
		if calm.calls < 30 || two != 4 || len(calm.Messages(calm.urls.rejects)) != 2 {
			t.Fatalf("%d calls, %d rejects left", calm.calls, len(calm.Messages(calm.urls.rejects)))
		}
		failures, twice := 0, 0
		for call := 1; call <= calm.calls; call++ {
			for _, fault := range []struct{ after, crash bool }{{false, false}, {true, false}, {false, true}, {true, true}} {
				for _, pause := range []time.Duration{2 * time.Minute, 10 * time.Minute} {
					d := newDesk(t, fifo)
					arrangeAll(d)
					d.fails, d.after, d.crash = call, fault.after, fault.crash
					if _, _, err := d.run("redrive", "--yes"); err != nil {
						failures++
					} else {
						t.Errorf("call %d of %d failed and nobody was told", call, calm.calls)
					}
					d.fails, d.ended = 0, false
					d.now = d.now.Add(pause)
					d.must("redrive", "--yes")
					got := d.origins(d.urls.market)
					for group := range got {
						seen := map[string]bool{}
						once := slices.DeleteFunc(slices.Clone(got[group]), func(o string) bool { s := seen[o]; seen[o] = true; return s })
						twice += len(got[group]) - len(once)
						if len(once) < len(got[group])-1 || fifo && pause < 5*time.Minute && len(once) != len(got[group]) {
							t.Errorf("fifo %t, call %d, %+v, again after %s: sent twice: %q", fifo, call, fault, pause, got[group])
						}
						got[group] = once
					}
					if !maps.EqualFunc(want, got, slices.Equal) {
						t.Errorf("fifo %t, call %d, %+v, again after %s: %s", fifo, call, fault, pause, cmp.Diff(want, got))
					}
					if dead, kept := d.depth(d.urls.dead), d.depth(d.urls.rejects); dead != 0 || kept != 2 {
						t.Errorf("fifo %t, call %d, %+v: %d dead letters and %d rejects are left, want 0 and 2", fifo, call, fault, dead, kept)
					}
					if t.Failed() {
						return
					}
				}
			}
		}
		if failures != calm.calls*8 || twice == 0 {
			t.Errorf("%d failures of %d calls, %d sent twice: the test tests too little", failures, calm.calls, twice)
		}
	}
}

// TestCtrlC: what has begun is finished, the rest is given back.
func TestCtrlC(t *testing.T) {
	for stop := 1; stop < 30; stop++ {
		d := newDesk(t, true)
		d.deadLetters(map[string]int{"AAPL|": 12})
		ctx, cancel := context.WithCancel(t.Context())
		d.before = func(call int, _ string) {
			if call == stop {
				cancel()
			}
		}
		d.runIn(ctx, "redrive", "--yes")
		dead, moved := d.depth(d.urls.dead), d.depth(d.urls.market)
		if dead+moved != 12 {
			t.Errorf("stopped at call %d: %d are left, %d moved, want 12 together", stop, dead, moved)
		}
		d.before = nil
		d.must("redrive", "--yes")
		same(t, "moved", map[string][]string{"AAPL|": numbered("AAPL|", 12)}, d.origins(d.urls.market))
	}
}

// TestProducersGoOn: what is sent, and what dies, meanwhile changes nothing in what is moved.
func TestProducersGoOn(t *testing.T) {
	d := newDesk(t, true)
	d.deadLetters(map[string]int{"AAPL|": 25, "MSFT|": 3})
	sent := 0
	d.before = func(call int, op string) {
		if op == "send" && call%3 == 0 {
			d.send("AAPL|", 1000+sent, trade("AAPL", 1000+sent), nil)
			sent++
		}
		if call == 20 { // another one dies, behind the others
			in := &sqs.SendMessageInput{QueueUrl: &d.urls.dead, MessageBody: aws.String(trade("AAPL", 25)), MessageGroupId: aws.String("AAPL|"), MessageDeduplicationId: aws.String("new"),
				MessageAttributes: map[string]types.MessageAttributeValue{queue.AttrOrigin: text("AAPL|-25")}}
			if _, err := d.SQS.SendMessage(t.Context(), in); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.must("redrive", "--yes")
	got := d.origins(d.urls.market)
	var live, moved []string
	for _, o := range got["AAPL|"] {
		if len(o) > len("AAPL|-99") {
			live = append(live, o)
		} else {
			moved = append(moved, o)
		}
	}
	same(t, "moved", numbered("AAPL|", 26), moved)
	same(t, "others", numbered("MSFT|", 3), got["MSFT|"])
	if len(live) != sent || sent < 5 || !slices.IsSorted(live) {
		t.Errorf("of %d live messages %q arrived", sent, live)
	}
}

// TestSlowCalls: a message that may have become visible again, to another redrive, is not sent: it is received again.
func TestSlowCalls(t *testing.T) {
	for _, fifo := range []bool{true, false} {
		d := newDesk(t, fifo)
		for i := range 30 {
			d.send("g", i, trade("AAPL", i), nil)
			d.now = d.now.Add(time.Millisecond)
		}
		d.bury()
		d.each = 9 * time.Second
		d.must("redrive", "--yes")
		group := "g"
		if !fifo {
			group = ""
		}
		got := d.origins(d.urls.market)[group]
		slices.Sort(got)
		want := numbered("g", 30)
		slices.Sort(want)
		same(t, "moved", want, got)
		if d.depth(d.urls.dead) != 0 {
			t.Error("dead letters are left")
		}
	}
}

// TestWhatCannotKeepItsIdentity stays.
func TestWhatCannotKeepItsIdentity(t *testing.T) {
	d := newDesk(t, true)
	ten := map[string]types.MessageAttributeValue{}
	for i := range 10 {
		ten[fmt.Sprint("a", i)] = text("x")
	}
	d.send("g", 0, trade("AAPL", 0), ten)
	d.send("g", 1, strings.Repeat(" ", 1<<20-len(trade("AAPL", 1)))+trade("AAPL", 1), map[string]types.MessageAttributeValue{})
	d.send("g", 2, trade("AAPL", 2), nil)
	d.bury()
	stdout, stderr := d.must("redrive", "--yes")
	if !strings.Contains(stdout, "10 attributes") || !strings.Contains(stdout, "SQS takes 1048576") || !strings.Contains(stderr, "of 1 group a later message moves") {
		t.Errorf("%s%s", stdout, stderr)
	}
	same(t, "moved", map[string][]string{"g": {"g-2"}}, d.origins(d.urls.market))
	if d.depth(d.urls.dead) != 2 {
		t.Error("messages are gone")
	}
}

func TestRejectsThatMove(t *testing.T) {
	future := strings.Replace(trade("AAPL", 1), "2026-11-20", "2026-11-29", 1)
	for _, test := range []struct {
		name  string
		r     market.Rejected
		args  string
		moves bool
		why   string
	}{
		{"the time has passed", market.Rejected{Reason: market.FutureTimestamp, Body: trade("AAPL", 1)}, "", true, ""},
		{"the time is still to come", market.Rejected{Reason: market.FutureTimestamp, Body: future}, "", false, "future_timestamp"},
		{"by its reason, too", market.Rejected{Reason: market.FutureTimestamp, Body: future}, "--reason future_timestamp", false, "future_timestamp"},
		{"a decoder that accepts more", market.Rejected{Reason: market.TooDeep, Body: trade("AAPL", 1)}, "", true, ""},
		{"malformed", market.Rejected{Reason: market.MalformedJSON, Body: `{"symbol":`}, "", false, "./scripts/send"},
		{"one of several is refused", market.Rejected{Reason: market.TooLarge, Body: trade("AAPL", 1) + "\n{}"}, "", false, "missing_field"},
		{"late", market.Rejected{Reason: market.LateRetry, Body: trade("AAPL", 1)}, "", false, "--reason late"},
		{"late, asked for", market.Rejected{Reason: market.LateRetry, Body: trade("AAPL", 1)}, "--reason late", true, ""},
		{"another format", market.Rejected{Reason: market.UnknownFormat, Format: "fix", Body: "8=FIX.4.4"}, "", false, "--reason unknown_format"},
		{"another format, asked for", market.Rejected{Reason: market.UnknownFormat, Format: "fix", Body: "8=FIX.4.4"}, "--reason unknown_format", true, ""},
		{"an alert that looks like a trade", market.Rejected{Reason: market.AlertRefused, Body: trade("AAPL", 1)}, "", false, "no market data"},
		{"a reason of newer code", market.Rejected{Reason: "lunar_eclipse", Body: trade("AAPL", 1)}, "", true, ""},
	} {
		for _, fifo := range []bool{true, false} {
			d := newDesk(t, fifo)
			test.r.OriginMessageID, test.r.Index, test.r.Group = "o", 5, "AAPL|"
			d.reject(test.r)
			stdout, _ := d.must(append([]string{"redrive", "--yes"}, strings.Fields(test.args)...)...)
			moved := d.Messages(d.urls.market)
			if (len(moved) == 1) != test.moves || d.depth(d.urls.rejects) == len(moved) || !strings.Contains(stdout, test.why) {
				t.Errorf("%s: %d moved\n%s", test.name, len(moved), stdout)
				continue
			}
			for _, m := range moved {
				if *m.Body != test.r.Body || aws.ToString(m.MessageAttributes["origin_message_id"].StringValue) != "o#5" ||
					aws.ToString(m.MessageAttributes["format"].StringValue) != test.r.Format || len(m.MessageAttributes) > 2 || m.Attributes["MessageGroupId"] != "AAPL|" {
					t.Errorf("%s: moved as %v %v", test.name, m.Attributes, m.MessageAttributes)
				}
			}
		}
	}
}

// TestARejectWithoutGroup: a stack that was unordered became ordered.
func TestARejectWithoutGroup(t *testing.T) {
	d := newDesk(t, true)
	d.reject(market.Rejected{Reason: market.FutureTimestamp, Body: trade("AAPL", 1), OriginMessageID: "a"},
		market.Rejected{Reason: market.UnknownFormat, Format: "fix", Body: "8=FIX", OriginMessageID: "b"})
	d.must("redrive", "--yes")
	d.must("redrive", "--yes", "--reason", "unknown_format")
	same(t, "moved", map[string][]string{"AAPL|": {"a#0"}, "redriven": {"b#0"}}, d.origins(d.urls.market))
}

// TestKeptTwice: the processor keeps a refused event at least once. What is there twice is one for SQS and the processor.
func TestKeptTwice(t *testing.T) {
	d := newDesk(t, true)
	r := market.Rejected{Reason: market.FutureTimestamp, Body: trade("AAPL", 1), OriginMessageID: "a", Group: "AAPL|"}
	d.reject(r, r)
	d.must("redrive", "--yes")
	if d.depth(d.urls.market) != 1 || d.depth(d.urls.rejects) != 0 {
		t.Errorf("%d arrived, %d are left", d.depth(d.urls.market), d.depth(d.urls.rejects))
	}
}

// TestHalves: bodies kept in two messages come together, in whatever order SQS gives them; one whose other half is gone stays.
func TestHalves(t *testing.T) {
	d := newDesk(t, true)
	var bodies []string
	for i := range 4 {
		// It fits into a message without the attributes of the rejects queue.
		body := fmt.Sprintf(`{"symbol":"BIG","price":1,"timestamp":"2026-11-20T14:30:00Z","id":"%d","note":"%s","sequence":%d}`, i, strings.Repeat("ü", 1<<19-100), i)
		body += strings.Repeat(" ", 1<<20-40-len(body))
		bodies = append(bodies, body)
		r := market.Rejected{Reason: market.FutureTimestamp, Body: body, OriginMessageID: "big", Index: i, Group: "BIG|"}
		if i < 3 {
			d.reject(r, r) // twice, so that halves of the same event are mixed
		} else {
			d.reject(r)
		}
	}
	if n := d.depth(d.urls.rejects); n != 14 {
		t.Fatalf("%d messages kept, want 14 halves", n)
	}
	// One element is purged by the id of one of its halves.
	halves := d.Messages(d.urls.rejects)
	d.order = shuffled()
	d.must("purge", "--yes", *halves[len(halves)-2].MessageId)
	if n := d.depth(d.urls.rejects); n != 12 {
		t.Errorf("%d messages are left after the purge of one element, want 12", n)
	}
	stdout, _ := d.must("list", "--json")
	if strings.Count(stdout, `"second_id"`) != 6 || strings.Count(stdout, "\n") != 6 {
		t.Errorf("listed: %s", stdout)
	}
	d.must("redrive", "--yes")
	var got []string
	for _, m := range d.Messages(d.urls.market) {
		got = append(got, *m.Body)
	}
	if !slices.Equal(got, bodies[:3]) {
		t.Errorf("%d bodies moved, or others", len(got))
	}
	if n := d.depth(d.urls.rejects); n != 0 {
		t.Errorf("%d halves are left", n)
	}
}

func TestAHalfStays(t *testing.T) {
	d := newDesk(t, true)
	d.reject(market.Rejected{Reason: market.FutureTimestamp, Body: trade("BIG", 1) + strings.Repeat(" ", 1<<20-40-len(trade("BIG", 1))), OriginMessageID: "big", Group: "BIG|"})
	first, err := d.SQS.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &d.urls.rejects})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.SQS.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: &d.urls.rejects, ReceiptHandle: first.Messages[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	stdout, _ := d.must("redrive", "--yes")
	if !strings.Contains(stdout, "other half was not seen") || d.depth(d.urls.rejects) != 1 || d.depth(d.urls.market) != 0 {
		t.Errorf("%s", stdout)
	}
	id := d.ids(d.urls.rejects)[0]
	if stdout, _ = d.must("explain", id); !strings.Contains(stdout, "2/2; the other half was not seen") {
		t.Error(stdout)
	}
	if d.must("purge", "--yes", id); d.depth(d.urls.rejects) != 0 {
		t.Error("the half is not purged")
	}
}

// TestAnOutputThatIsGone: a redrive whose output cannot be written ends, and loses nothing.
func TestAnOutputThatIsGone(t *testing.T) {
	d := newDesk(t, true)
	d.deadLetters(map[string]int{"AAPL|": 12})
	o, err := parse([]string{"redrive", "--yes", "--queue-url", d.urls.market, "--dead-letters-url", d.urls.dead, "--rejects-url", d.urls.rejects}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	c := &command{options: o, api: d, now: func() time.Time { return d.now }, stdout: broken{}, stderr: t.Output()}
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "writing the output") {
		t.Errorf("error %v", err)
	}
	if d.depth(d.urls.dead)+d.depth(d.urls.market) != 12 {
		t.Error("messages are gone")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errLost }
