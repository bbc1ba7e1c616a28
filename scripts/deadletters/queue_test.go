package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"

	"example.com/market-data-pipeline/functions/processor/market"
)

// TestListDisturbsNothing: a look leaves messages, order and visibility as they were; it costs one receive.
func TestListDisturbsNothing(t *testing.T) {
	for _, fifo := range []bool{true, false} {
		d := newDesk(t, fifo)
		d.deadLetters(map[string]int{"AAPL|": 13, "MSFT|": 4, "shard-1": 25})
		d.reject(market.Rejected{Reason: market.BadNumber, Body: `{"symbol":"IBM","price":"x"}`, OriginMessageID: "o", Index: 2, Group: "IBM|", ReceiveCount: 1, FirstReceived: d.now})
		d.now = d.now.Add(90 * time.Minute)
		before := d.ids(d.urls.dead)
		for look := range 3 {
			stdout, stderr := d.must("list")
			lines := strings.Split(strings.TrimSpace(stdout), "\n")
			want, header := 43, strings.Fields(lines[0])
			if fifo {
				want = 10 + 4 + 10 + 1
				if !strings.Contains(stderr, "about 18 more may be behind the first ten of 2 groups") {
					t.Errorf("look %d: %s", look, stderr)
				}
			}
			if len(lines)-1 != want || header[0] != "ID" || !strings.Contains(stderr, fmt.Sprintf("%d dead letters, 1 reject", want-1)) {
				t.Errorf("fifo %t, look %d: %d messages are listed, want %d\n%s", fifo, look, len(lines)-1, want, stderr)
			}
			first := strings.Fields(lines[1])
			if first[0] != before[0] || first[1] != "dead-letters" || first[2] != "retries_exhausted" || first[3] != "AAPL" || first[6] != fmt.Sprint(1+look) || !strings.HasPrefix(first[7], "1h30m") {
				t.Errorf("fifo %t, look %d: %q", fifo, look, lines[1])
			}
			last := strings.Fields(lines[len(lines)-1])
			if last[1] != "rejects" || last[2] != "bad_number" || last[3] != "IBM" || last[4] != "IBM|" || last[5] != "2026-11-22T12:00:"+last[5][17:] || last[6] != "1" {
				t.Errorf("look %d: %q", look, last)
			}
		}
		same(t, "ids", before, d.ids(d.urls.dead))
		if d.depth(d.urls.dead) != 42 || d.depth(d.urls.rejects) != 1 {
			t.Error("messages are gone")
		}
	}
}

// TestALookThatEndsBadly: what it could not give back comes back by itself, soon.
func TestALookThatEndsBadly(t *testing.T) {
	calm := newDesk(t, true)
	calm.deadLetters(map[string]int{"AAPL|": 12, "MSFT|": 4})
	calm.must("list")
	for call := 1; call <= calm.calls; call++ {
		for _, after := range []bool{false, true} {
			d := newDesk(t, true)
			d.deadLetters(map[string]int{"AAPL|": 12, "MSFT|": 4})
			d.fails, d.after, d.crash = call, after, true
			if _, _, err := d.run("list"); err == nil {
				t.Errorf("call %d failed and nobody was told", call)
			}
			d.fails, d.ended = 0, false
			d.now = d.now.Add(visibility(16))
			if stdout, _ := d.must("list", "--json"); strings.Count(stdout, "\n") != 14 {
				t.Errorf("call %d: listed afterwards: %s", call, stdout)
			}
			d.must("redrive", "--yes")
			same(t, "moved", map[string][]string{"AAPL|": numbered("AAPL|", 12), "MSFT|": numbered("MSFT|", 4)}, d.origins(d.urls.market))
		}
	}
}

func TestListFilters(t *testing.T) {
	d := newDesk(t, true)
	d.deadLetters(map[string]int{"AAPL|": 3, "MSFT|": 4})
	d.mixed("shard-1", 7)
	d.bury()
	d.reject(
		market.Rejected{Reason: market.NullValue, Body: `{"symbol":"AAPL","price":null}`, OriginMessageID: "o", Group: "shard-1"},
		market.Rejected{Reason: market.AlertRefused, Body: `{"alert_id":"x","symbol":"AAPL"}`, OriginMessageID: "p", Group: "shard-1"},
		market.Rejected{Reason: market.MalformedJSON, Body: `{"symbol":"AAPL`, OriginMessageID: "q", Group: "shard-1"},
		market.Rejected{Reason: market.MalformedJSON, Body: `{"symbol":"AAPL`, OriginMessageID: "r", Group: "AAPL|"},
		market.Rejected{Reason: market.BadSymbol, Body: "{\"symbol\":\"\u009b2J\"}", OriginMessageID: "s", Group: "x\u009b2J"})
	for _, test := range []struct {
		args string
		want int
	}{
		{"", 8 + 5},
		{"--queue dead-letters", 8},
		{"--queue rejects", 5},
		{"--reason malformed_json", 2},
		{"--reason retries_exhausted", 8},
		{"--symbol AAPL", 3 + 3},
		{"--symbol TSLA", 1},
		{"--symbol AMD --queue rejects", 0},
		{"--symbol AAPL --reason alert_refused", 1},
	} {
		d.calls = 0
		stdout, _ := d.must(append([]string{"list", "--json"}, strings.Fields(test.args)...)...)
		if n := strings.Count(stdout, "\n"); n != test.want {
			t.Errorf("%s: %d listed, want %d\n%s", test.args, n, test.want, stdout)
		}
		if one := strings.Contains(test.args, "--queue") || strings.Contains(test.args, "--reason"); one != (d.calls < 6) {
			t.Errorf("%s: %d calls", test.args, d.calls)
		}
	}
	if stdout, stderr := d.must("list"); strings.Contains(stdout+stderr, "\u009b") || !strings.Contains(stdout, "NVDA,AMD,TSLA") {
		t.Errorf("%q", stdout)
	}
}

func TestListJSON(t *testing.T) {
	d := newDesk(t, true)
	d.send("AAPL|", 0, trade("AAPL", 0), nil)
	d.bury()
	d.reject(market.Rejected{Reason: market.UnknownFormat, Body: "x", OriginMessageID: "o", Index: 3, Group: "g", Format: "fix", ReceiveCount: 2, FirstReceived: d.now})
	d.now = d.now.Add(time.Minute)
	stdout, _ := d.must("list", "--json")
	var got []map[string]any
	for line := range strings.Lines(stdout) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		got = append(got, m)
	}
	dead, kept := d.Messages(d.urls.dead)[0], d.Messages(d.urls.rejects)[0]
	first := milliseconds(dead.Attributes["ApproximateFirstReceiveTimestamp"]).Format(time.RFC3339Nano)
	sent := milliseconds(dead.Attributes["SentTimestamp"]).Format(time.RFC3339Nano)
	same(t, "listed", []map[string]any{
		{"id": *dead.MessageId, "queue": "dead-letters", "reason": "retries_exhausted", "symbols": []any{"AAPL"}, "group": "AAPL|", "origin_message_id": "AAPL|-0",
			"first_received": first, "receive_count": 1.0, "sent": sent, "age_seconds": 60.0, "bytes": float64(len(*dead.Body))},
		{"id": *kept.MessageId, "queue": "rejects", "reason": "unknown_format", "symbols": []any{}, "group": "g", "origin_message_id": "o", "index": 3.0, "format": "fix",
			"first_received": sent, "receive_count": 2.0, "sent": sent, "age_seconds": 60.0, "bytes": 1.0},
	}, got)
}

// TestEmptyQueues: nothing to do is no error.
func TestEmptyQueues(t *testing.T) {
	for _, fifo := range []bool{true, false} {
		d := newDesk(t, fifo)
		for args, want := range map[string]string{"list": "0 dead letters, 0 rejects", "redrive": "nothing to be moved", "redrive --yes": "0 messages moved", "purge": "nothing to be purged", "purge --yes": "0 messages purged"} {
			if _, stderr := d.must(strings.Fields(args)...); !strings.Contains(stderr, want) {
				t.Errorf("%s: %q, want %q", args, stderr, want)
			}
		}
	}
}

// TestManyMessages: a thousand and more, in many groups and in one, in few calls, with a bound on what is held.
func TestManyMessages(t *testing.T) {
	for _, fifo := range []bool{true, false} {
		d := newDesk(t, fifo)
		for i := range 3000 {
			group := fmt.Sprint("g", i%400)
			if i%3 == 0 {
				group = "dense"
			}
			d.send(group, i, trade("AAPL", i), nil)
			d.now = d.now.Add(time.Millisecond)
		}
		d.bury()
		want := d.origins(d.urls.dead)
		most := 0
		d.before = func(int, string) {
			_, inFlight, _ := d.Depth(d.urls.dead)
			most = max(most, inFlight)
		}
		if !fifo {
			d.order = shuffled()
			for _, origins := range want {
				slices.SortFunc(origins, func(a, b string) int { return len(a) - len(b) })
			}
		}
		stdout, stderr := d.must("list", "--max", "500", "--json")
		if n := strings.Count(stdout, "\n"); n < 500 || n > 510 || most > 510 || !strings.Contains(stderr, "--max") {
			t.Errorf("fifo %t: %d listed with --max 500, %d in flight at most\n%s", fifo, n, most, stderr)
		}
		most, d.calls = 0, 0
		_, stderr = d.must("redrive", "--yes")
		if most > windowMessages+10 || d.calls > 7000 || !strings.Contains(stderr, "3000 messages moved") || strings.Count(stderr, "messages read") != 3 {
			t.Errorf("fifo %t: %d in flight at most, %d calls\n%s", fifo, most, d.calls, stderr)
		}
		if fifo {
			same(t, "moved", want, d.origins(d.urls.market))
		}
		if d.depth(d.urls.dead) != 0 || d.depth(d.urls.market) != 3000 {
			t.Errorf("fifo %t: %d are left, %d moved", fifo, d.depth(d.urls.dead), d.depth(d.urls.market))
		}
		d.bury()
		d.must("purge", "--yes")
		if d.depth(d.urls.dead) != 0 {
			t.Errorf("%d messages are left after a purge", d.depth(d.urls.dead))
		}
	}
}

// TestALongLook: the messages that are held come back before all have been read. Each is listed once, and the look ends.
func TestALongLook(t *testing.T) {
	for _, fifo := range []bool{true, false} {
		d := newDesk(t, fifo)
		for i := range 300 {
			d.send(fmt.Sprint("g", i), i, trade("AAPL", i), nil)
		}
		d.bury()
		d.each = 4 * time.Second // 300 messages are hidden for 69 s
		d.before = func(call int, _ string) {
			if call > 500 {
				t.Fatal("the look does not end")
			}
		}
		stdout, _ := d.must("list", "--json")
		ids := map[string]bool{}
		for line := range strings.Lines(stdout) {
			if ids[line[:45]] {
				t.Fatalf("listed twice: %s", line)
			}
			ids[line[:45]] = true
		}
		if len(ids) < 100 {
			t.Errorf("fifo %t: %d messages listed in %d calls", fifo, len(ids), d.calls)
		}
	}
}

func TestPurge(t *testing.T) {
	for _, test := range []struct {
		args       string
		dead, kept int // are left
		want       string
	}{
		{"", 25, 3, "would be purged"},
		{"--yes", 0, 0, "28 messages purged"},
		{"--yes --queue rejects", 25, 0, "3 messages purged"},
		{"--yes --reason late", 25, 2, "1 message purged"},
		{"--yes --reason alert_refused", 25, 2, "1 message purged"},
		{"--yes --symbol MSFT", 20, 2, "6 messages purged"},
		{"--yes --symbol MSFT --reason retries_exhausted", 20, 3, "5 messages purged"},
	} {
		d := newDesk(t, true)
		d.deadLetters(map[string]int{"AAPL|": 20, "MSFT|": 5})
		d.reject(
			market.Rejected{Reason: market.NonPositive, Body: `{"symbol":"MSFT","price":-1}`, OriginMessageID: "a"},
			market.Rejected{Reason: market.LateRetry, Body: trade("IBM", 1), OriginMessageID: "b"},
			market.Rejected{Reason: market.AlertRefused, Body: `{"symbol":"IBM"}`, OriginMessageID: "c"})
		stdout, stderr := d.must(append([]string{"purge"}, strings.Fields(test.args)...)...)
		if d.depth(d.urls.dead) != test.dead || d.depth(d.urls.rejects) != test.kept || d.depth(d.urls.market) != 0 || !strings.Contains(stderr, test.want) {
			t.Errorf("purge %s: %d and %d are left\n%s", test.args, d.depth(d.urls.dead), d.depth(d.urls.rejects), stderr)
		}
		if gone := 28 - test.dead - test.kept; strings.Count(stdout, "purged ") != gone {
			t.Errorf("purge %s: %d gone\n%s", test.args, gone, stdout)
		}
	}
	d := newDesk(t, true)
	d.deadLetters(map[string]int{"AAPL|": 3})
	ids := d.ids(d.urls.dead)
	d.must("purge", "--yes", ids[1])
	same(t, "left", []string{ids[0], ids[2]}, d.ids(d.urls.dead))
}

// halfDone answers a batch of deletions with a failure among them.
type halfDone struct{ *desk }

func (h halfDone) DeleteMessageBatch(ctx context.Context, in *sqs.DeleteMessageBatchInput, _ ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error) {
	in.Entries = in.Entries[1:]
	if len(in.Entries) == 0 {
		return &sqs.DeleteMessageBatchOutput{Failed: []types.BatchResultErrorEntry{{Id: aws.String("0"), Code: aws.String("InternalError")}}}, nil
	}
	out, err := h.desk.DeleteMessageBatch(ctx, in)
	if err == nil {
		out.Failed = append(out.Failed, types.BatchResultErrorEntry{Id: aws.String("0"), Code: aws.String("InternalError")})
	}
	return out, err
}

// TestADeletionThatFails: SQS answers 200, and one entry is not deleted. It ends the work, so that nothing overtakes it.
func TestADeletionThatFails(t *testing.T) {
	for _, verb := range []string{"redrive", "purge"} {
		d := newDesk(t, true)
		d.deadLetters(map[string]int{"AAPL|": 12})
		o, err := parse([]string{verb, "--yes", "--queue-url", d.urls.market, "--dead-letters-url", d.urls.dead, "--rejects-url", d.urls.rejects}, t.Output())
		if err != nil {
			t.Fatal(err)
		}
		c := &command{options: o, api: halfDone{d}, now: func() time.Time { return d.now }, stdout: t.Output(), stderr: t.Output()}
		if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "InternalError") || !strings.Contains(err.Error(), "run it again") {
			t.Errorf("%s: %v", verb, err)
		}
		left := d.depth(d.urls.dead)
		if verb == "redrive" && (left != 12 || d.depth(d.urls.market) != 1) || verb == "purge" && left != 8 {
			t.Errorf("%s: %d are left, %d moved", verb, left, d.depth(d.urls.market))
		}
		d.must("redrive", "--yes")
		if verb == "redrive" {
			same(t, "moved", map[string][]string{"AAPL|": numbered("AAPL|", 12)}, d.origins(d.urls.market))
		}
	}
}

// TestInFlight: what others hold is told, and SQS's limit is explained.
func TestInFlight(t *testing.T) {
	d := newDesk(t, true)
	d.deadLetters(map[string]int{"AAPL|": 12})
	if _, err := d.SQS.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: &d.urls.dead, MaxNumberOfMessages: 10, VisibilityTimeout: 60}); err != nil {
		t.Fatal(err)
	}
	if stdout, stderr := d.must("redrive", "--yes"); stdout != "" || !strings.Contains(stderr, "about 10 messages are hidden when this began") {
		t.Errorf("%s%s", stdout, stderr)
	}
	d = newDesk(t, false)
	d.deadLetters(map[string]int{"AAPL|": 12})
	d.fails, d.err = 2, &types.OverLimit{Message: aws.String("Too many messages in flight: 120000 at most.")}
	if _, _, err := d.run("list"); err == nil || !strings.Contains(err.Error(), "wait for others who read the queue") {
		t.Errorf("error %v", err)
	}
}
