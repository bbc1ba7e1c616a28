package producer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/smithy-go"
	"pgregory.net/rapid"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/producer"
)

func TestConfigIsCheckedAtOnce(t *testing.T) {
	_, err := producer.New(producer.Config{Shards: -1, MaxEvents: 10_001, MaxBytes: 1<<20 + 1, MaxBuffer: 5, Concurrency: -1,
		MaxDelay: -1, CallTimeout: -1, RetryBase: time.Hour, RetryMax: time.Second, GiveUpAfter: -1, ClockSkew: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"Client", "QueueURL", "Shards", "MaxEvents", "MaxBytes", "MaxBuffer", "Concurrency", "MaxDelay",
		"CallTimeout", "RetryMax", "GiveUpAfter", "ClockSkew"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not in %q", name, err)
		}
	}
}

func TestMessageGroup(t *testing.T) {
	for _, test := range []struct{ name, symbol, source, want string }{
		{"series", "AAPL", "nasdaq", "AAPL|nasdaq"},
		{"no source", "BTC/USD", "", "BTC/USD|"},
		{"all punctuation", "^GSPC", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", "^GSPC|!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"},
		{"128 characters", strings.Repeat("S", 32), strings.Repeat("f", 95), strings.Repeat("S", 32) + "|" + strings.Repeat("f", 95)},
		// Hashes: Python's hashlib.sha256 of "symbol|source".
		{"129 characters", strings.Repeat("S", 32), strings.Repeat("f", 96), "8c9c68b8dfe5f165a332f75a7adbd37b017b6d193423148f03ba235f07bce98b"},
		{"a space", "AAPL", "my feed", "be3795e9151aad21666f23f653f206bb35db55b7696c16e2e296b8cc977b573e"},
		{"not ASCII", "AAPL", "börse", "d2e5adada7c4fa8a78d932518de8e4b57c19a96238f2e7d332e16327b07d68e2"},
	} {
		if got := producer.MessageGroup(test.symbol, test.source); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// TestPackingAtTheByte packs lines of 200 bytes: k of them, their line ends and the attribute make a message.
func TestPackingAtTheByte(t *testing.T) {
	const line, id = 200, "id-0000000000"
	attribute := len("origin_message_id") + len("String") + len(id)
	size := func(events int) int { return events*line + events - 1 + attribute }
	for _, test := range []struct {
		name     string
		maxBytes int
		events   int
		want     []int // events by message
	}{
		{"exactly ten fit", size(10), 20, []int{10, 10}},
		{"one byte too few for ten", size(10) - 1, 20, []int{9, 9, 2}},
		{"one byte to spare", size(10) + 1, 21, []int{10, 10, 1}},
		{"the largest", producer.MaxRequestBytes, 5217, []int{5216, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q, n := &queue{}, 0
				p := start(t, producer.Config{Client: q, MaxBytes: test.maxBytes, MaxEvents: 10_000, NewID: func() string {
					n++
					return fmt.Sprintf("id-%010d", n)
				}})
				for i := range test.events {
					send(t, p, padded(t, "AAPL", i, line))
				}
				if err := p.Close(t.Context()); err != nil {
					t.Fatal(err)
				}
				q.verify(t)
				var got []int
				for i, body := range q.bodies() {
					lines := strings.Count(body, "\n") + 1
					got = append(got, lines)
					if want := size(lines); q.sizes[i][0] != want || want > test.maxBytes {
						t.Errorf("message %d has %d bytes, want %d and at most %d", i, q.sizes[i][0], want, test.maxBytes)
					}
				}
				if !slices.Equal(got, test.want) {
					t.Errorf("events by message %v, want %v", got, test.want)
				}
			})
		})
	}
}

func TestOneEventAtTheByte(t *testing.T) {
	const id = "the-id"
	overhead := len("origin_message_id") + len("String") + len(id)
	q := &queue{}
	p := start(t, producer.Config{Client: q, MaxBytes: 2000, MaxBuffer: 2000, NewID: func() string { return id }})
	send(t, p, padded(t, "AAPL", 1, 2000-overhead))
	err := p.Send(t.Context(), padded(t, "AAPL", 2, 2000-overhead+1))
	if r, ok := errors.AsType[*market.Refusal](err); !ok || r.Reason != market.TooLarge {
		t.Errorf("one byte more: %v, want a refusal as too large", err)
	}
	// Larger than the whole buffer: refused, not waited for.
	err = p.Send(t.Context(), padded(t, "MSFT", 3, 5000))
	if r, ok := errors.AsType[*market.Refusal](err); !ok || r.Reason != market.TooLarge {
		t.Errorf("larger than the buffer: %v, want a refusal as too large", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if q.verify(t); len(q.accepted) != 1 || p.Stats().Events != 1 {
		t.Errorf("%d messages, stats %+v; want one event", len(q.accepted), p.Stats())
	}
}

func TestPackingByCountSeriesAndShard(t *testing.T) {
	for _, test := range []struct {
		name      string
		url       string
		shards    int
		maxEvents int
		groups    []string // of the messages, sorted
	}{
		{"by series", fifoURL, 0, 3, []string{"A|x", "A|x", "A|y", "B|x", "B|x"}},
		{"one shard", fifoURL, 1, 100, []string{"shard-0"}},
		{"one shard, by count", fifoURL, 1, 5, []string{"shard-0", "shard-0"}},
		{"standard queue", standardURL, 0, 100, []string{"", "", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			q := &queue{}
			p := start(t, producer.Config{Client: q, QueueURL: test.url, Shards: test.shards, MaxEvents: test.maxEvents})
			want := map[string][]int64{}
			for i := range 4 {
				send(t, p, trade("A", "x", i), trade("B", "x", i))
				want["A|x"], want["B|x"] = append(want["A|x"], int64(i)), append(want["B|x"], int64(i))
			}
			send(t, p, trade("A", "y", 7))
			want["A|y"] = []int64{7}
			if err := p.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			q.verify(t)
			var groups []string
			ids := map[string]bool{}
			for _, a := range q.accepted {
				groups = append(groups, a.group)
				ids[a.id] = true
			}
			slices.Sort(groups)
			if !slices.Equal(groups, test.groups) || len(ids) != len(groups) {
				t.Errorf("groups %q with %d ids, want %q, each with its own id", groups, len(ids), test.groups)
			}
			for series, sequence := range want {
				if got := q.events(t)[series]; !slices.Equal(got, sequence) {
					t.Errorf("%s: events %v, want %v", series, got, sequence)
				}
			}
		})
	}
}

func TestShardsSpreadSeries(t *testing.T) {
	q := &queue{}
	p := start(t, producer.Config{Client: q, Shards: 8})
	for i := range 200 {
		send(t, p, trade(fmt.Sprintf("S%d", i), "", 1))
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if q.verify(t); len(q.accepted) != 8 || q.requests != 1 {
		t.Errorf("200 series over 8 shards: %d messages in %d requests, want 8 in 1", len(q.accepted), q.requests)
	}
}

func TestEventsAreRefusedAtTheSource(t *testing.T) {
	q := &queue{}
	p := start(t, producer.Config{Client: q})
	for _, test := range []struct {
		name   string
		change func(*market.Event)
		want   market.Reason
	}{
		{"no symbol", func(e *market.Event) { e.Symbol = "" }, market.BadSymbol},
		{"bad symbol", func(e *market.Event) { e.Symbol = "A B" }, market.BadSymbol},
		{"no price", func(e *market.Event) { e.Price = 0 }, market.NonPositive},
		{"text too long", func(e *market.Event) { e.ID = strings.Repeat("x", 129) }, market.TextTooLong},
		{"tomorrow", func(e *market.Event) { e.Time = time.Now().Add(24 * time.Hour).UnixNano() }, market.FutureTimestamp},
		{"bad UTF-8", func(e *market.Event) { e.Venue = "\xff" }, market.InvalidUTF8},
		{"what SQS refuses", func(e *market.Event) { e.Venue = "x\uffff" }, market.InvalidUTF8},
	} {
		e := trade("AAPL", "", 1)
		test.change(e)
		err := p.Send(t.Context(), e)
		if r, ok := errors.AsType[*market.Refusal](err); !ok || r.Reason != test.want {
			t.Errorf("%s: %v, want a refusal as %s", test.name, err, test.want)
		}
	}
	// The neighbours of refused events are sent, and so is one that was received over several lines.
	several := trade("AAPL", "", 3)
	several.Conditions = "[\"a\",\r\n\"b\"]"
	send(t, p, trade("AAPL", "", 2), several, trade("AAPL", "", 4))
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := q.events(t)["AAPL|"]; !slices.Equal(got, []int64{2, 3, 4}) {
		t.Errorf("sent %v, want [2 3 4]", got)
	}
}

func TestFlushByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{}
		p := start(t, producer.Config{Client: q, MaxDelay: time.Second})
		send(t, p, trade("A", "", 1))
		time.Sleep(400 * time.Millisecond)
		send(t, p, trade("A", "", 2), trade("B", "", 1))
		time.Sleep(599 * time.Millisecond)
		if synctest.Wait(); q.made() != 0 {
			t.Fatal("sent before MaxDelay")
		}
		time.Sleep(time.Millisecond)
		if synctest.Wait(); q.made() != 1 || len(q.bodies()) != 2 {
			t.Fatalf("at MaxDelay %d requests with %d messages, want both groups in one", q.made(), len(q.bodies()))
		}
		time.Sleep(time.Hour)
		if synctest.Wait(); q.made() != 1 {
			t.Error("something was sent though nothing was there")
		}
		send(t, p, trade("A", "", 3))
		time.Sleep(time.Second)
		if synctest.Wait(); len(q.bodies()) != 3 {
			t.Error("the next event was not flushed at its time")
		}
	})
}

func TestFullMessagesDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{}
		p := start(t, producer.Config{Client: q, MaxDelay: time.Hour, MaxEvents: 2})
		send(t, p, trade("A", "", 1), trade("A", "", 2), trade("A", "", 3))
		if synctest.Wait(); len(q.bodies()) != 1 {
			t.Errorf("%d messages sent, want the full one", len(q.bodies()))
		}
	})
}

// TestABusyGroupPacksOn: what cannot leave yet is not cut into small messages.
func TestABusyGroupPacksOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{delay: time.Minute}
		p := start(t, producer.Config{Client: q, MaxDelay: 10 * time.Millisecond, CallTimeout: time.Hour})
		for i := range 20 {
			send(t, p, trade("A", "", i))
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if bodies := q.bodies(); len(bodies) != 2 || strings.Count(bodies[1], "\n") != 18 {
			t.Errorf("%d messages, want the first event and then the other 19 in one", len(bodies))
		}
	})
}

func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{delay: time.Second}
		p := start(t, producer.Config{Client: q, MaxBytes: 2000, MaxBuffer: 4000, MaxDelay: time.Hour})
		sent := 0
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		var err error
		for ; err == nil; sent++ {
			err = p.Send(ctx, padded(t, "A", sent, 500))
		}
		if sent--; !errors.Is(err, context.DeadlineExceeded) || sent != 7 {
			t.Fatalf("accepted %d events of 500 bytes into 4000 bytes, then %v; want 7 and the context's error", sent, err)
		}
		if b := p.Stats().Buffered; b > 4000 {
			t.Errorf("%d bytes buffered", b)
		}
		// A blocked Send goes on as soon as a message is acknowledged, in an hour-long MaxDelay, too.
		begin := time.Now()
		send(t, p, padded(t, "A", sent, 500))
		if waited := time.Since(begin); waited > 3*time.Second {
			t.Errorf("blocked for %s, want no longer than a request takes", waited)
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		q.verify(t)
		if got := q.events(t)["A|"]; !slices.Equal(got, []int64{0, 1, 2, 3, 4, 5, 6, 7}) {
			t.Errorf("events %v", got)
		}
	})
}

// TestAFullBufferIsFlushed: many groups fill the buffer, none its message.
func TestAFullBufferIsFlushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{}
		p := start(t, producer.Config{Client: q, MaxBytes: 2000, MaxBuffer: 4000, MaxDelay: time.Hour})
		begin := time.Now()
		for i := range 20 {
			send(t, p, padded(t, fmt.Sprintf("S%d", i), 1, 500))
		}
		if waited := time.Since(begin); waited != 0 {
			t.Errorf("Send waited %s for MaxDelay with a full buffer", waited)
		}
	})
}

// TestRequestsAreBounded: ten messages and 1 MiB each, and no more of them at once than configured.
func TestRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{delay: time.Second}
		p := start(t, producer.Config{Client: q, MaxBytes: producer.MaxRequestBytes, MaxDelay: time.Hour})
		for i := range 450 {
			for g := range 5 {
				send(t, p, padded(t, fmt.Sprintf("LARGE%d", g), i, 1000))
			}
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if q.verify(t); q.made() != 3 {
			t.Errorf("5 messages of 440 KiB in %d requests, want 3", q.made())
		}
	})
	synctest.Test(t, func(t *testing.T) {
		q := &queue{delay: time.Second}
		p := start(t, producer.Config{Client: q, Concurrency: 3, MaxDelay: time.Hour})
		for i := range 100 {
			send(t, p, trade(fmt.Sprintf("S%d", i), "", 1))
		}
		if err := p.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if q.verify(t); q.made() != 10 || q.most != 3 {
			t.Errorf("100 messages in %d requests, %d at once; want 10 and 3", q.made(), q.most)
		}
	})
}

var errOutage = errors.New("connection reset")

func apiError(code string) error {
	return &smithy.OperationError{ServiceID: "SQS", OperationName: "SendMessageBatch", Err: &smithy.GenericAPIError{Code: code, Fault: smithy.FaultClient}}
}

func TestRetries(t *testing.T) {
	first := func(f fault) func(int, []types.SendMessageBatchRequestEntry) fault {
		return func(attempt int, _ []types.SendMessageBatchRequestEntry) fault {
			if attempt == 1 {
				return f
			}
			return fault{}
		}
	}
	for _, test := range []struct {
		name    string
		url     string
		fault   fault
		retries int64 // messages sent again, of the three
		lost    int
	}{
		{name: "whole request", fault: fault{before: errOutage}, retries: 3},
		{name: "lost response", fault: fault{after: errOutage}, retries: 3},
		{name: "throttled", fault: fault{before: apiError("RequestThrottled")}, retries: 3},
		{name: "no permission yet", fault: fault{before: apiError("AccessDenied")}, retries: 3},
		{name: "no answer", fault: fault{hang: true}, retries: 3},
		{name: "one entry", fault: fault{failed: map[int]failure{1: {code: "InternalError"}}}, retries: 1},
		{name: "one entry, standard queue", url: standardURL, fault: fault{failed: map[int]failure{1: {code: "InternalError"}}}, retries: 1},
		{name: "one entry throttled", fault: fault{failed: map[int]failure{1: {code: "RequestThrottled", sender: true}}}, retries: 1},
		{name: "one entry by the key", fault: fault{failed: map[int]failure{1: {code: "KMS.ThrottlingException", sender: true}}}, retries: 1},
		{name: "not mentioned", fault: fault{omit: map[int]bool{2: true}}, retries: 1},
		{name: "one entry for good", fault: fault{failed: map[int]failure{1: {code: "InvalidMessageContents", sender: true}}}, lost: 1},
		{name: "one spoils the request", fault: fault{before: apiError("AWS.SimpleQueueService.InvalidMessageContents")}, retries: 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &queue{fault: first(test.fault)}
				var failures []producer.Failure
				var warned int
				var mu sync.Mutex
				p := start(t, producer.Config{Client: q, QueueURL: test.url, MaxDelay: time.Millisecond,
					OnFailure: func(f producer.Failure) { mu.Lock(); failures = append(failures, f); mu.Unlock() },
					OnRetry:   func(error) { mu.Lock(); warned++; mu.Unlock() }})
				send(t, p, trade("A", "", 1), trade("B", "", 1), trade("C", "", 1))
				err := p.Flush(t.Context())
				lost, ok := errors.AsType[*producer.LostError](err)
				if ok != (test.lost > 0) || ok && lost.Messages != test.lost {
					t.Errorf("Flush says %v, want %d messages lost", err, test.lost)
				}
				q.verify(t)
				if len(failures) != test.lost || len(q.accepted) != 3-test.lost {
					t.Errorf("%d accepted, %d failures; want %d lost of 3", len(q.accepted), len(failures), test.lost)
				}
				s := p.Stats()
				if s.Retries != test.retries || s.Messages != int64(3-test.lost) || s.Failed != int64(test.lost) || s.Unsent != int64(test.lost) || s.Buffered != 0 {
					t.Errorf("stats %+v, want %d retries", s, test.retries)
				}
				for body, ids := range q.attempts {
					if slices.ContainsFunc(ids, func(id string) bool { return id != ids[0] }) {
						t.Errorf("message %.60s was sent under the ids %v, want one", body, ids)
					}
				}
			})
		})
	}
}

// TestASpoiltMessageIsFoundAlone: SQS refuses the whole request for one message of it.
func TestASpoiltMessageIsFoundAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{fault: func(_ int, entries []types.SendMessageBatchRequestEntry) fault {
			for _, e := range entries {
				if strings.Contains(*e.MessageBody, `"BAD"`) {
					return fault{before: apiError("InvalidMessageContents")}
				}
			}
			return fault{}
		}}
		var bad []producer.Failure
		p := start(t, producer.Config{Client: q, MaxDelay: time.Millisecond, MaxEvents: 1, OnFailure: func(f producer.Failure) { bad = append(bad, f) }})
		send(t, p, trade("A", "", 1), trade("BAD", "", 1), trade("B", "", 1), trade("BAD", "", 2))
		err := p.Close(t.Context())
		if lost, ok := errors.AsType[*producer.LostError](err); !ok || lost.Messages != 2 || lost.Events != 2 {
			t.Errorf("Close says %v, want two messages lost", err)
		}
		q.verify(t)
		if len(bad) != 2 || bad[0].Group != "BAD|" || bad[0].Events != 1 || !strings.Contains(bad[0].Body, `"BAD"`) || bad[0].MessageID == "" || len(q.accepted) != 2 {
			t.Errorf("failures %+v, %d accepted; want the two bad ones and the two good ones", bad, len(q.accepted))
		}
	})
}

func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{fault: func(int, []types.SendMessageBatchRequestEntry) fault { return fault{before: errOutage} }}
		p := start(t, producer.Config{Client: q, MaxDelay: time.Millisecond, GiveUpAfter: time.Minute, RetryMax: 8 * time.Second})
		begin := time.Now()
		send(t, p, trade("A", "", 1))
		err := p.Flush(t.Context())
		if lost, ok := errors.AsType[*producer.LostError](err); !ok || lost.Messages != 1 || !errors.Is(err, errOutage) {
			t.Errorf("%v, want one message lost for the outage", err)
		}
		if took := time.Since(begin); took > time.Minute+time.Second || took < 50*time.Second {
			t.Errorf("gave up after %s, want just under a minute", took)
		}
		// 100 ms doubled to 8 s, each wait between half and all of it, within a minute.
		if n := q.made(); n < 12 || n > 24 {
			t.Errorf("%d attempts", n)
		}
		// The group goes on.
		q.mu.Lock()
		q.fault = nil
		q.mu.Unlock()
		send(t, p, trade("A", "", 2))
		if err := p.Flush(t.Context()); err != nil || len(q.bodies()) != 1 {
			t.Errorf("the next message: %v", err)
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{fault: func(int, []types.SendMessageBatchRequestEntry) fault { return fault{hang: true} }}
		var failures []producer.Failure
		p := start(t, producer.Config{Client: q, MaxEvents: 2, MaxBytes: 2000, MaxBuffer: 2000, MaxDelay: time.Hour, CallTimeout: time.Hour,
			OnFailure: func(f producer.Failure) { failures = append(failures, f) }})
		for i := range 5 {
			send(t, p, trade("A", "", i))
		}
		blocked := make(chan error, 1)
		go func() { blocked <- p.Send(context.Background(), padded(t, "A", 9, 1800)) }()
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := p.Close(ctx)
		lost, ok := errors.AsType[*producer.LostError](err)
		if !ok || lost.Messages != 3 || lost.Events != 5 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close says %v, want 3 messages with 5 events lost at the deadline", err)
		}
		if err := <-blocked; !errors.Is(err, producer.ErrClosed) {
			t.Errorf("the blocked Send says %v", err)
		}
		var left []string
		for _, f := range failures {
			left = append(left, strings.Split(f.Body, "\n")...)
		}
		for i, line := range left {
			if want := string(trade("A", "", i).AppendJSON(nil)); line != want {
				t.Errorf("failure %d is %s, want %s: the events in their order", i, line, want)
			}
		}
		if len(left) != 5 {
			t.Errorf("%d events reported, want 5", len(left))
		}
		if again := p.Close(t.Context()); again != err {
			t.Errorf("a second Close says %v, want the same", again)
		}
		if err := p.Send(t.Context(), trade("A", "", 1)); !errors.Is(err, producer.ErrClosed) {
			t.Errorf("Send after Close says %v", err)
		}
		if err := p.Flush(t.Context()); !errors.Is(err, producer.ErrClosed) {
			t.Errorf("Flush after Close says %v", err)
		}
		// The bubble itself fails the test if a goroutine of the producer is left.
	})
}

func TestFlushObeysItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{delay: time.Minute}
		p := start(t, producer.Config{Client: q, CallTimeout: time.Hour})
		send(t, p, trade("A", "", 1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Flush(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want the context's error", err)
		}
		if err := p.Close(t.Context()); err != nil || len(q.accepted) != 1 {
			t.Errorf("after it Close says %v: an impatient Flush loses nothing", err)
		}
	})
}

func TestBadIDsAreNotSent(t *testing.T) {
	for _, id := range []string{"", "a b", "ü", strings.Repeat("x", 129)} {
		q := &queue{}
		p := start(t, producer.Config{Client: q, NewID: func() string { return id }})
		if err := p.Send(t.Context(), trade("A", "", 1)); err == nil || !strings.Contains(err.Error(), "NewID") {
			t.Errorf("id %q: %v, want it refused", id, err)
		}
	}
}

// TestOrderUnderFaults sends random events of random series under random faults, and demands what the pipeline relies
// on: every event arrives, once but for identity, and in a FIFO queue in the order of its group.
func TestOrderUnderFaults(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		fifo := rapid.Bool().Draw(rt, "fifo")
		c := producer.Config{
			QueueURL:    map[bool]string{true: fifoURL, false: standardURL}[fifo],
			Shards:      rapid.IntRange(0, 3).Draw(rt, "shards"),
			MaxEvents:   rapid.IntRange(1, 20).Draw(rt, "maxEvents"),
			MaxBytes:    rapid.IntRange(1<<10, 3<<10).Draw(rt, "maxBytes"),
			MaxBuffer:   rapid.IntRange(3<<10, 20<<10).Draw(rt, "maxBuffer"),
			MaxDelay:    time.Duration(rapid.IntRange(1, 500).Draw(rt, "maxDelay")) * time.Millisecond,
			Concurrency: rapid.IntRange(1, 5).Draw(rt, "concurrency"),
			GiveUpAfter: 1000 * time.Hour,
		}
		events := rapid.IntRange(1, 150).Draw(rt, "events")
		series := rapid.IntRange(1, 12).Draw(rt, "series")
		faults := rapid.IntRange(0, 80).Draw(rt, "percent of faults")
		seed := rapid.Uint64().Draw(rt, "seed")

		var problem string
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			q := &queue{delay: 5 * time.Millisecond}
			q.fault = func(_ int, entries []types.SendMessageBatchRequestEntry) fault {
				if random.IntN(100) >= faults {
					return fault{}
				}
				switch random.IntN(5) {
				case 0:
					return fault{before: errOutage}
				case 1:
					return fault{after: errOutage}
				case 2:
					return fault{hang: true}
				}
				f := fault{failed: map[int]failure{}, omit: map[int]bool{}}
				for i := range entries {
					switch random.IntN(3) {
					case 0:
						f.failed[i] = failure{code: "InternalError"}
					case 1:
						f.omit[i] = true
					}
				}
				return f
			}
			c.Client = q
			p := start(t, c)
			plan := rand.New(rand.NewPCG(seed, 2))
			want := map[string][]int64{}
			for i := range events {
				e := trade(fmt.Sprintf("S%d", plan.IntN(series)), "feed", i)
				send(t, p, e)
				want[e.Series()] = append(want[e.Series()], int64(i))
				if plan.IntN(4) == 0 {
					time.Sleep(time.Duration(plan.IntN(400)) * time.Millisecond)
				}
			}
			if err := p.Close(t.Context()); err != nil {
				problem = err.Error()
				return
			}
			if len(q.broken) > 0 {
				problem = strings.Join(q.broken, "; ")
				return
			}
			got := q.events(t)
			for name, sequence := range want {
				arrived := got[name]
				if !fifo {
					slices.Sort(arrived)
				}
				if !slices.Equal(arrived, sequence) {
					problem = fmt.Sprintf("%s: %v arrived, %v was sent", name, arrived, sequence)
				}
			}
			if s := p.Stats(); s.Events != int64(events) || s.Messages != int64(len(q.accepted)) || s.Requests != int64(q.requests) || s.Buffered != 0 {
				problem = fmt.Sprintf("stats %+v for %d events, %d messages, %d requests", s, events, len(q.accepted), q.requests)
			}
		})
		if problem != "" {
			rt.Fatal(problem)
		}
	})
}

// TestConcurrentSenders is for the race detector: several senders, each with a series of its own, flushes in between.
func TestConcurrentSenders(t *testing.T) {
	q := &queue{}
	p := start(t, producer.Config{Client: q, MaxEvents: 7, MaxBytes: 1 << 10, MaxBuffer: 8 << 10, MaxDelay: time.Millisecond})
	const senders, events = 8, 200
	var group sync.WaitGroup
	for s := range senders {
		group.Go(func() {
			for i := range events {
				if err := p.Send(context.Background(), trade(fmt.Sprintf("S%d", s), "", i)); err != nil {
					t.Error(err)
				}
				if i%50 == 0 {
					if err := p.Flush(context.Background()); err != nil {
						t.Error(err)
					}
				}
				p.Stats()
			}
		})
	}
	group.Wait()
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	q.verify(t)
	for series, sequence := range q.events(t) {
		if len(sequence) != events || !slices.IsSorted(sequence) {
			t.Errorf("%s: %d events, sorted %t", series, len(sequence), slices.IsSorted(sequence))
		}
	}
}

func BenchmarkSend(b *testing.B) {
	for _, series := range []int{1, 1000} {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			p, err := producer.New(producer.Config{Client: &queue{}, QueueURL: fifoURL})
			if err != nil {
				b.Fatal(err)
			}
			events := make([]*market.Event, series)
			for i := range events {
				events[i] = trade(fmt.Sprintf("S%d", i), "feed", i)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if err := p.Send(b.Context(), events[i%series]); err != nil {
					b.Fatal(err)
				}
				i++
			}
			b.StopTimer()
			if err := p.Close(context.Background()); err != nil {
				b.Fatal(err)
			}
		})
	}
}
