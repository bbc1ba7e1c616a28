package main

import (
	"math"
	"testing"
	"time"

	"example.com/market-data-pipeline/scripts/benchmark/internal/endpoint"
)

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 1e-9*math.Max(1, math.Abs(want)) {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestSQSRequests(t *testing.T) {
	for _, c := range []struct {
		name            string
		n               float64
		bytes, together int
		want            float64
	}{
		// Sent one by one: 1 M; received and deleted by ten: 0.1 M each, ten of 262 bytes in one chunk.
		{"a million small ones, singly", 1e6, 262, 1, 1.2e6},
		{"a million small ones, by ten", 1e6, 262, 10, 0.3e6},
		// Ten of 64 KB are ten chunks.
		{"2,000 of a chunk, by ten", 2000, 64 << 10, 10, 2000 + 2000 + 200},
		{"2,000 of a chunk, singly", 2000, 64 << 10, 1, 2000 + 2000 + 200},
		// Two chunks alone, but ten of them, 920,000 bytes, are 15 chunks together (14.04 rounded up).
		{"2,000 of 92,000 bytes, by ten", 2000, 92_000, 10, 3000 + 3000 + 200},
		{"2,000 of 92,000 bytes, singly", 2000, 92_000, 1, 4000 + 3000 + 200},
		// Two of 400,000 bytes are 13 chunks; a third does not fit into 1 MiB.
		{"1,000 of 400,000 bytes, by ten", 1000, 400_000, 10, 500*13 + 500*13 + 100},
	} {
		near(t, c.name, sqsRequests(c.n, c.bytes, c.together), c.want)
	}
}

func TestDuration(t *testing.T) {
	const cpu, wait = 10 * time.Millisecond, 30 * time.Millisecond
	for memory, want := range map[int]time.Duration{
		1769: 40 * time.Millisecond, 3008: 40 * time.Millisecond, // more than one CPU is not counted on
		128: wait + 138203125*time.Nanosecond, // 10 ms * 1769 / 128
	} {
		if got := duration(cpu, wait, memory); got != want {
			t.Errorf("%d MiB: %s, want %s", memory, got, want)
		}
	}
}

func TestBill(t *testing.T) {
	u := use{sqsRequests: 1e6, invocations: 2e6, gbSeconds: 1000, reads: 4e6, stateWrites: 2e6, alertWrites: 1e6, publishes: 1e6, logGB: 3}
	b := u.bill()
	near(t, "SQS standard", b.sqs, 0.40)
	near(t, "Lambda", b.lambda, 2*0.20+0.0133334)
	near(t, "reads", b.reads, 0.5)
	near(t, "state writes", b.stateWrites, 1.25)
	near(t, "alerts", b.alerts, 0.625+0.5)
	near(t, "logs", b.logs, 1.5)
	near(t, "total", b.total(), 0.40+0.4133334+0.5+1.25+1.125+1.5)
	u.fifo = true
	near(t, "SQS FIFO", u.bill().sqs, 0.50)
}

// 50 invocations of 10 x 500 events: 200 a million. Each took 20 ms of CPU and waited 41 ms.
func TestUsePerMillion(t *testing.T) {
	m := measured{
		times: times{minCPU: 20e6}, awsWall: 61e6, counted: 50, logBytes: 1000,
		usage: endpoint.Usage{ReadUnits: 500, StateWriteUnits: 100, AlertWriteUnits: 600, Alerts: 200, PublishUnits: 40},
	}
	dense := traffic{messages: 10, perEvent: 500, series: 10, alertEvery: 1000}
	u := m.usePerMillion(dense, true, 64<<10, 10, 1769)
	near(t, "invocations", u.invocations, 200)
	near(t, "SQS requests", u.sqsRequests, 4200)
	near(t, "duration", u.durationSeconds, 0.061)
	near(t, "GB-seconds", u.gbSeconds, 200*0.061*1769/1024)
	near(t, "reads", u.reads, 2000)
	near(t, "state writes", u.stateWrites, 400)
	near(t, "alert writes: 3 units each, 1,000 alerts", u.alertWrites, 3000)
	near(t, "publishes: a fifth of the alerts", u.publishes, 200)
	near(t, "logs", u.logGB, 200*1000/1e9)
	near(t, "events a second", u.eventsPerSecond(), 5*5000/0.061)
	// Billed by whole milliseconds: 20 ms * 1769 / 1024 + 41 ms = 75.55 ms.
	near(t, "GB-seconds at 1 GB", m.usePerMillion(dense, true, 64<<10, 10, 1024).gbSeconds, 200*0.076)
	// A wall time below the CPU time (two cores at work) is no negative wait.
	m.awsWall = 10e6
	near(t, "duration without waiting", m.usePerMillion(dense, true, 64<<10, 10, 1769).durationSeconds, 0.020)
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		least bool
		value float64
		want  string
	}{{false, 59, "met"}, {false, 60, "met"}, {false, 61, "MISSED"}, {true, 61, "met"}, {true, 60, "met"}, {true, 59, "MISSED"}, {true, math.NaN(), "not measured"}} {
		if got := (goal{most: 60, least: c.least}).judge(c.value); got != c.want {
			t.Errorf("least %v, %v: %s, want %s", c.least, c.value, got, c.want)
		}
	}
}
