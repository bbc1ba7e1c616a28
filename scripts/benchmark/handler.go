package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/scripts/benchmark/internal/endpoint"
	"example.com/market-data-pipeline/scripts/benchmark/internal/function"
	"example.com/market-data-pipeline/scripts/benchmark/internal/sample"
)

// awsLatency is what a call costs within a region: typical, not the best.
var awsLatency = endpoint.Latency{DynamoDB: 5 * time.Millisecond, SNS: 20 * time.Millisecond, SQS: 5 * time.Millisecond}

// environment is a Lambda function's: nothing of this process's own.
func (b *bench) environment(base string, more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + b.work,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=benchmark", "AWS_SECRET_ACCESS_KEY=benchmark",
		"AWS_ENDPOINT_URL=" + base, "AWS_EC2_METADATA_DISABLED=true", "AWS_LAMBDA_FUNCTION_NAME=benchmark", "NO_PROXY=127.0.0.1",
		settings.EnvEnvironment + "=benchmark",
		settings.EnvQueueURL + "=" + base + "/123456789012/market-data", settings.EnvRejectsQueueURL + "=" + base + "/123456789012/rejects",
		settings.EnvAlertTopicARN + "=arn:aws:sns:us-east-1:123456789012:trading-alerts",
	}, more...)
}

// The baselines. Names are part of table names.
const (
	plainGo       = "plain-Go"
	outboxGo      = "plain-Go-outbox"
	pythonNaive   = "Python-naive"
	pythonBatched = "Python-batched"
)

// contender is a Lambda function that is compared.
type contender struct {
	name    string
	command []string
	env     []string
	// oneByOne: each alert is stored and published by calls of its own, one after the other.
	oneByOne bool
}

// ourFunction is the product's binary with the rules and settings.
func (b *bench) ourFunction(name, rules string, delivery settings.Delivery) (contender, error) {
	loaded, err := alert.Load(name, []byte(rules))
	if err != nil {
		return contender{}, err
	}
	file := filepath.Join(b.work, name+".compiled")
	if err := os.WriteFile(file, loaded.Encode(), 0o600); err != nil {
		return contender{}, err
	}
	// One processor is what the construct gives it by default.
	return contender{name: name, command: []string{filepath.Join(b.bin, "bootstrap")},
		env: []string{"GOMAXPROCS=1", settings.EnvRulesFile + "=" + file, settings.EnvDelivery + "=" + string(delivery)}}, nil
}

// launch starts the contender with tables of its own.
func (b *bench) launch(aws *endpoint.Server, c contender) (*function.Function, error) {
	tables := []string{settings.EnvAlertsTable + "=market-alerts-" + c.name, settings.EnvStateTable + "=market-state-" + c.name}
	return function.Launch(b.work, b.environment(aws.Base, append(tables, c.env...)...), c.command...)
}

func (b *bench) baselines() (c []contender) {
	c = append(c, contender{name: plainGo, command: []string{filepath.Join(b.bin, "plain")}, oneByOne: true})
	if b.boto3 {
		script := filepath.Join(b.root, "scripts/benchmark/peers/python/handler.py")
		c = append(c, contender{name: pythonNaive, command: []string{b.python, script}, oneByOne: true},
			contender{name: pythonBatched, command: []string{b.python, script}, env: []string{"BASELINE=batched"}})
	}
	return c
}

// measured is one contender under one traffic.
type measured struct {
	times
	awsWall  float64        // of an invocation with AWS's latency, ns; 0 = not measured
	usage    endpoint.Usage // of all counted invocations together
	counted  int            // invocations
	logBytes float64        // of an invocation
	maxRSS   int64
}

func (m *measured) per(n float64) float64 { return n / float64(m.counted) }

// tooLong is how long one invocation with AWS's latency may be expected to take to be measured.
const tooLong = 2 * time.Second

// measure runs the contenders in turn under the traffic, and checks that each causes the alerts that it should.
func (b *bench) measure(aws *endpoint.Server, contenders []contender, t traffic, realistic bool) ([]measured, error) {
	out := make([]measured, len(contenders))
	functions := make([]*function.Function, len(contenders))
	defer func() {
		for _, f := range functions {
			if f != nil {
				_ = f.Close()
			}
		}
	}()
	streams := make([]*stream, len(contenders))
	begin := func(i int) error {
		if functions[i] != nil {
			_ = functions[i].Close()
		}
		var err error
		functions[i], err = b.launch(aws, contenders[i])
		streams[i] = newStream(t)
		return err
	}
	invoke := func(i int) racer {
		return racer{contenders[i].name, func(n int) (s sample.Sample, err error) {
			s.N = n
			for range n {
				payload := streams[i].next()
				response, took, err := functions[i].Invoke(payload)
				if err != nil {
					return s, err
				}
				if !bytes.Contains(response, []byte("batchItemFailures")) || bytes.Contains(response, []byte("itemIdentifier")) {
					_ = functions[i].Close()
					return s, fmt.Errorf("it returned messages: %.200s: %.2000s", response, functions[i].Stderr())
				}
				s.Wall, s.CPU = s.Wall+took.Wall, s.CPU+took.CPU
			}
			return s, nil
		}}
	}
	var racers []racer
	for i := range contenders {
		if err := begin(i); err != nil {
			return nil, err
		}
		racers = append(racers, invoke(i))
	}
	// The first invocation fills pools and heaps, more of them the states of the product.
	aws.Reset(endpoint.Latency{})
	for i := range racers {
		for spent := time.Duration(0); spent <= b.warm; {
			s, err := racers[i].run(1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contenders[i].name, err)
			}
			spent += s.Wall
		}
	}
	usages := make([]endpoint.Usage, len(racers))
	for i, r := range racers {
		counting := r.run
		racers[i].run = func(n int) (sample.Sample, error) {
			before, logged := streams[i].alerts(), functions[i].Logged()
			aws.Take()
			s, err := counting(n)
			if err != nil {
				return s, err
			}
			u := aws.Take()
			if want := streams[i].alerts() - before; u.Notifications != want || u.Alerts != want {
				return s, fmt.Errorf("%d alerts stored and %d published, %d expected", u.Alerts, u.Notifications, want)
			}
			addUsage(&usages[i], u)
			out[i].counted += n
			out[i].logBytes += float64(functions[i].Logged() - logged)
			return s, nil
		}
	}
	results, err := race(b.pace, racers)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].times, out[i].usage = results[i], usages[i]
		out[i].logBytes /= float64(out[i].counted)
		if out[i].maxRSS, err = functions[i].MaxRSS(); err != nil {
			return nil, err
		}
	}
	if !realistic {
		return out, nil
	}
	aws.Reset(awsLatency)
	for i := range out {
		if contenders[i].oneByOne && t.alertEvery > 0 &&
			time.Duration(t.events()/t.alertEvery)*(awsLatency.DynamoDB+awsLatency.SNS) > tooLong {
			continue
		}
		if err := begin(i); err != nil { // the states were forgotten
			return nil, err
		}
		if _, err := invoke(i).run(1); err != nil {
			return nil, err
		}
		var walls []float64
		for spent := time.Duration(0); len(walls) < b.pace.rounds && (len(walls) == 0 || spent < b.pace.budget); {
			s, err := invoke(i).run(1)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", contenders[i].name, err)
			}
			spent += s.Wall
			walls = append(walls, float64(s.Wall))
		}
		out[i].awsWall = median(walls)
	}
	return out, nil
}

func addUsage(to *endpoint.Usage, u endpoint.Usage) {
	if to.Calls == nil {
		to.Calls = map[string]int{}
	}
	for name, n := range u.Calls {
		to.Calls[name] += n
	}
	to.ReadUnits += u.ReadUnits
	to.StateWriteUnits += u.StateWriteUnits
	to.AlertWriteUnits += u.AlertWriteUnits
	to.Alerts += u.Alerts
	to.Notifications += u.Notifications
	to.PublishUnits += u.PublishUnits
}

// calls tells the AWS calls of an invocation, by operation.
func (m *measured) calls() string {
	var parts []string
	for name, n := range m.usage.Calls {
		parts = append(parts, fmt.Sprintf("%s %s", number(m.per(float64(n))), name))
	}
	if len(parts) == 0 {
		return "none"
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func rate(every int) string {
	if every == 0 {
		return "0"
	}
	return fmt.Sprintf("%g %%", 100/float64(every))
}

func (b *bench) handler() error {
	aws, err := b.startEndpoint()
	if err != nil {
		return err
	}
	shapes := []struct {
		name     string
		delivery settings.Delivery
		traffic
	}{
		{"10 messages of 1", settings.Ordered, traffic{messages: 10, perEvent: 1, series: 10}},
		{"1,000 messages of 1", settings.Unordered, traffic{messages: 1000, perEvent: 1, series: 100}},
		{"10 messages of 500", settings.Ordered, traffic{messages: 10, perEvent: 500, series: 10}},
	}
	rates := []int{0, 1000, 100, 1}
	if b.quick {
		rates = []int{0, 100}
	}
	t := &table{Title: "Handler: one invocation, from the Lambda event to the response, by a process behind a Runtime API",
		Columns: []string{"batch", "alerts", "function", "CPU ms", "(median)", "ns/event", "wall ms", "wall ms at AWS's latency", "max RSS MiB", "AWS calls", "CPU to ours"},
		Notes: []string{
			fmt.Sprintf("wall: a call takes %s. AWS's latency: DynamoDB %s, SNS %s a call. \"-\": one after the other it would take over %s.",
				endpoint.LeastLatency, awsLatency.DynamoDB, awsLatency.SNS, tooLong),
			"Every function stored and published exactly the alerts that the events cause. \"ours-history\" adds four rules with windows, so states are read and written; the baselines keep none."}}
	for _, shape := range shapes {
		for _, every := range rates {
			plain, err := b.ourFunction("ours", levels, shape.delivery)
			if err != nil {
				return err
			}
			windows, err := b.ourFunction("ours-history", history, shape.delivery)
			if err != nil {
				return err
			}
			contenders := append([]contender{plain, windows}, b.baselines()...)
			shape.alertEvery = every
			results, err := b.measure(aws, contenders, shape.traffic, true)
			if err != nil {
				return fmt.Errorf("%s, alerts %s: %w", shape.name, rate(every), err)
			}
			for i := range results {
				m := &results[i]
				wall := "-"
				if m.awsWall > 0 {
					wall = ms(m.awsWall)
				}
				t.add(shape.name, rate(every), contenders[i].name, ms(m.minCPU), ms(m.medCPU), number(m.minCPU/float64(shape.events())), ms(m.minWall), wall,
					number(float64(m.maxRSS)/(1<<20)), m.calls(), ratio(m.minCPU/results[0].minCPU))
				fact := fmt.Sprintf("handler/%s/%s/%s", shape.name, rate(every), contenders[i].name)
				b.Facts[fact+"/cpu ms"], b.Facts[fact+"/rss MiB"] = m.minCPU/1e6, float64(m.maxRSS)/(1<<20)
				b.Facts[fact+"/calls"] = m.per(float64(m.usage.Total()))
			}
		}
	}
	b.show(t)
	return nil
}
