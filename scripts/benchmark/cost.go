package main

import (
	"fmt"
	"math"
	"path/filepath"
	"time"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// use is what a million events use of what AWS bills.
type use struct {
	fifo                                           bool
	sqsRequests, invocations                       float64
	gbSeconds                                      float64
	reads, stateWrites, alertWrites                float64
	publishes                                      float64
	logGB                                          float64
	durationSeconds, eventsPerInvocation, memoryGB float64
}

// bill is what a million events cost, in USD.
type bill struct{ sqs, lambda, reads, stateWrites, alerts, logs float64 }

func (b bill) total() float64 { return b.sqs + b.lambda + b.reads + b.stateWrites + b.alerts + b.logs }

func (u use) bill() bill {
	p := &prices
	sqs := p.sqsStandard.usd
	if u.fifo {
		sqs = p.sqsFIFO.usd
	}
	return bill{
		sqs:         u.sqsRequests * sqs,
		lambda:      u.invocations*p.lambdaRequest.usd + u.gbSeconds*p.lambdaGBs.usd,
		reads:       u.reads * p.read.usd,
		stateWrites: u.stateWrites * p.write.usd,
		alerts:      u.alertWrites*p.write.usd + u.publishes*p.publish.usd,
		logs:        u.logGB * p.logGB.usd,
	}
}

const (
	chunk        = 64 << 10 // bytes of a request that SQS bills as one
	sqsBatch     = 10
	maxSQSBytes  = 1 << 20 // of a request, all messages together
	fullCPU      = 1769    // MiB at which Lambda gives one CPU
	concurrency  = 5
	millionTimes = 1e6
)

var memories = []int{128, 256, 512, 1024, fullCPU, 3008}

// sqsRequests is what SQS bills for sending, receiving and deleting n messages of the size, sent in batches of so many.
// Lambda's pollers receive and delete 10 at a time; a request has at most 1 MiB, and 64 KB count as one.
func sqsRequests(n float64, bytes, sentTogether int) float64 {
	batch := func(messages int) float64 {
		messages = max(1, min(messages, maxSQSBytes/bytes))
		return n / float64(messages) * math.Ceil(float64(messages*bytes)/chunk)
	}
	return batch(sentTogether) + batch(sqsBatch) + n/sqsBatch
}

// duration is how long an invocation takes with a memory size: its CPU time stretched by the share of a CPU that Lambda
// gives, and what it waits for AWS, which memory does not change. More than one CPU is not counted on.
func duration(cpu, wait time.Duration, memory int) time.Duration {
	return time.Duration(float64(cpu)/min(1, float64(memory)/fullCPU)) + wait
}

// eventsPerSecond is what the reserved concurrency takes in, each environment without a pause.
func (u use) eventsPerSecond() float64 {
	return concurrency * u.eventsPerInvocation / u.durationSeconds
}

// usePerMillion scales one measured traffic to a million events.
func (m *measured) usePerMillion(t traffic, fifo bool, messageBytes, sentTogether, memory int) use {
	events := float64(t.events())
	invocations := millionTimes / events
	scale := invocations / float64(m.counted)
	// A rare alert came by chance once more or less.
	alertScale := 0.0
	if m.usage.Alerts > 0 {
		alertScale = millionTimes / float64(t.alertEvery) / float64(m.usage.Alerts)
	}
	wait := max(0, time.Duration(m.awsWall-m.minCPU))
	d := duration(time.Duration(m.minCPU), wait, memory).Seconds()
	billed := math.Ceil(d*1000) / 1000
	gb := float64(memory) / 1024
	return use{
		fifo: fifo, sqsRequests: sqsRequests(invocations*float64(t.messages), messageBytes, sentTogether), invocations: invocations,
		gbSeconds: invocations * billed * gb, reads: m.usage.ReadUnits * scale, stateWrites: m.usage.StateWriteUnits * scale,
		alertWrites: m.usage.AlertWriteUnits * alertScale, publishes: float64(m.usage.PublishUnits) * alertScale,
		logGB: m.logBytes * invocations / 1e9, durationSeconds: d, eventsPerInvocation: events, memoryGB: gb,
	}
}

// way is a way to send.
type way struct {
	name         string
	delivery     settings.Delivery
	sentTogether int
	traffic
}

func ways(quick bool) []way {
	dense, thin := traffic{messages: 10, perEvent: 500, series: 10}, traffic{messages: 10, perEvent: 500, series: 5000, byShard: true}
	short := dense
	short.shortest = true
	single, window := traffic{messages: 10, perEvent: 1, series: 10}, traffic{messages: 1000, perEvent: 1, series: 100}
	all := []way{
		{"1 event, sent singly", settings.Ordered, 1, single},
		{"1 event, sent by 10", settings.Ordered, sqsBatch, single},
		{"500 by shard (500 series)", settings.Ordered, sqsBatch, thin},
		{"500 by series", settings.Ordered, sqsBatch, dense},
		{"500 by series, shortest", settings.Ordered, sqsBatch, short},
		{"1 event, sent singly", settings.Unordered, 1, window},
		{"1 event, sent by 10", settings.Unordered, sqsBatch, window},
		{"500 by shard (500 series)", settings.Unordered, sqsBatch, thin},
		{"500 by series", settings.Unordered, sqsBatch, dense},
	}
	if quick { // what the baselines are measured with, too
		return []way{all[1], all[3]}
	}
	return all
}

func (b *bench) cost() error {
	aws, err := b.startEndpoint()
	if err != nil {
		return err
	}
	b.showPrices()
	t := &table{Title: "Cost in USD per million events, at the memory size that is cheapest, and capacity at a reserved concurrency of 5",
		Columns: []string{"message", "delivery", "rules", "alerts", "USD", "SQS", "Lambda", "reads", "state writes", "alerts", "logs", "MiB", "events/s", "fastest MiB", "events/s", "USD"},
		Notes: []string{
			"Computed from the CPU times measured here (one core for one of Lambda's CPUs), the waiting measured at AWS's latency, and the units counted by the stand-in.",
			fmt.Sprintf("Events of %d bytes, the shortest of %d, each with its comma: SQS bills bytes where events are packed. Batches: 10 messages ordered; 1,000 of one event, else 10, unordered. Full batches: a thin feed has smaller ones, and more invocations.", eventBytes(false), eventBytes(true)),
			outboxGo + " stores an alert once before it publishes and marks it afterwards, as the pipeline does; it keeps no state, so no order and no history, and no list of a day.",
			"\"windows\": four rules with history, whose states are written. The clock, and the index of what is due, are below: they follow time, not events.",
			"Fastest: the size beyond which the model gains nothing; cold starts, the pollers' own pace and DynamoDB's limit for one partition are not in it."}}
	bySize := &table{Title: "Memory sizes: USD per million events / events per second", Columns: []string{"message", "delivery", "rules", "alerts"}}
	for _, m := range memories {
		bySize.Columns = append(bySize.Columns, fmt.Sprintf("%d MiB", m))
	}
	rates := []int{0, 1000, 100}
	if b.quick {
		rates = []int{1000}
	}
	pace := b.pace
	defer func() { b.pace, b.warm = pace, 0 }()
	b.pace.slice, b.pace.rounds = 3*pace.slice, 4 // small batches see rare alerts
	b.warm = 10 * pace.slice                      // states grow with the identities of the last messages
	// What ours cost depends on delivery and traffic only, not on how the messages were sent.
	known := map[string]measured{}
	price := func(w way, c contender, set string, every int) error {
		w.alertEvery = every
		key := fmt.Sprint(c.name, w.delivery, set, w.traffic)
		if _, ok := known[key]; !ok {
			results, err := b.measure(aws, []contender{c}, w.traffic, true)
			if err != nil {
				return fmt.Errorf("%s, %s, %s, alerts %s: %w", w.name, w.delivery, set, rate(every), err)
			}
			known[key] = results[0]
		}
		m := known[key]
		var cheapest, fastest use
		var cheapestMiB, fastestMiB int
		row := []any{w.name, w.delivery, set, rate(every)}
		for _, mib := range memories {
			u := m.usePerMillion(w.traffic, w.delivery == settings.Ordered, messageBytes(w.traffic), w.sentTogether, mib)
			if cheapestMiB == 0 || u.bill().total() < cheapest.bill().total() {
				cheapest, cheapestMiB = u, mib
			}
			if fastestMiB == 0 || u.eventsPerSecond() > 1.01*fastest.eventsPerSecond() {
				fastest, fastestMiB = u, mib
			}
			row = append(row, number(u.bill().total())+" / "+number(u.eventsPerSecond()))
		}
		bill := cheapest.bill()
		t.add(w.name, w.delivery, set, rate(every), number(bill.total()), number(bill.sqs), number(bill.lambda), number(bill.reads), number(bill.stateWrites),
			number(bill.alerts), number(bill.logs), cheapestMiB, number(cheapest.eventsPerSecond()), fastestMiB,
			number(fastest.eventsPerSecond()), number(fastest.bill().total()))
		if every == 1000 {
			bySize.add(row...)
		}
		b.Facts[fmt.Sprintf("cost/%s/%s/%s/%s", w.name, w.delivery, set, rate(every))] = bill.total()
		return nil
	}
	for _, w := range ways(b.quick) {
		for _, set := range ruleSets {
			c, err := b.ourFunction("ours", set.rules, w.delivery)
			if err != nil {
				return err
			}
			for _, every := range rates {
				if err := price(w, c, set.name, every); err != nil {
					return err
				}
			}
		}
	}
	outbox := contender{name: outboxGo, command: []string{filepath.Join(b.bin, "plain")}, env: []string{"BASELINE=outbox"}, oneByOne: true}
	for _, c := range append(b.baselines(), outbox) {
		for _, w := range ways(true) {
			if err := price(w, c, c.name, 1000); err != nil {
				return err
			}
		}
	}
	b.show(t)
	b.show(bySize)
	b.showFixed()
	return nil
}

// messageBytes is the body of a message, and its attribute origin_message_id.
func messageBytes(t traffic) int {
	const attribute = 80
	return t.perEvent*eventBytes(t.shortest) + attribute
}

// eventBytes is an event and what parts it from the next one.
func eventBytes(shortest bool) int {
	return len(newStream(traffic{series: 1, shortest: shortest}).event(nil, 0)) + 1
}

// showFixed prints what a stack costs in a month of 30 days without any traffic.
func (b *bench) showFixed() {
	p := &prices
	const (
		minutes   = 30 * 24 * 60
		customs   = 15                           // metrics of package settings
		alarms    = 11                           // of the construct
		receives  = concurrency * minutes * 3    // long polls of 20 s
		users     = 6                            // of the key: both sides of the queue, topic, two tables, logs
		keyUses   = users * minutes / 5          // SQS's data key lives 5 minutes, and so do those that the others cache
		tickReads = 2 * settings.DueShards * 0.5 // empty pages of the indexes' shards, eventually consistent
		tickGBs   = 0.25 * 0.1                   // 256 MiB for 100 ms
	)
	t := &table{Title: "Without traffic: USD per month, clock and defaults", Columns: []string{"what", "USD"}}
	t.add("clock: an invocation a minute, 16 queries", number(minutes*(p.lambdaRequest.usd+tickReads*p.read.usd+tickGBs*p.lambdaGBs.usd)))
	t.add("pollers' receives of an empty queue", number(receives*p.sqsFIFO.usd))
	t.add("KMS: key, and its requests with reused data keys", number(p.keyMonth.usd+keyUses*p.kmsRequest.usd))
	t.add("custom metrics, alarms, dashboard", number(customs*p.metricMonth.usd+alarms*p.alarmMonth.usd+p.dashboardMonth.usd))
	// A due series moves its entry of the index (a delete and a put) each minute. Where no trade comes, a clock event does:
	// a message of its own in ordered delivery, a tenth of an invocation, a read and a write.
	const traded = 1000 * 390 * 21 // series, minutes, days
	t.add("per 1,000 series of bars from trades, 390 minutes on 21 days: index of what is due", number(traded*2*p.write.usd))
	t.add("per 1,000 of them if a clock event closes every bar: messages, reads, writes",
		number(traded*(sqsRequests(1, 300, sqsBatch)*p.sqsFIFO.usd+p.lambdaRequest.usd/sqsBatch+p.read.usd+p.write.usd)))
	b.show(t)
}
