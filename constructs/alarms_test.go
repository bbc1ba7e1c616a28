package constructs

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/settings"
)

// alarmVariants are the pipelines whose alarms are evaluated, and the alarms' thresholds: both for both deliveries.
var alarmVariants = map[string]map[string]float64{
	"ordered":                     defaultThresholds,
	"unordered":                   defaultThresholds,
	"ordered, other thresholds":   otherThresholdValues,
	"unordered, other thresholds": otherThresholdValues,
}

var (
	defaultThresholds = map[string]float64{
		"ErrorRateAlarm": 1, "RecordFailureRateAlarm": 1, "RejectRateAlarm": 5, "LateRateAlarm": 1,
		"OldestMessageAlarm": 600, "DurationAlarm": 48_000, "ClockAlarm": 1,
		"DeadLettersAlarm": 0, "ThrottlesAlarm": 0, "PendingExpiredAlarm": 0, "AlertsFailedAlarm": 0,
	}
	otherThresholds      = Thresholds{ErrorPercent: 2, RecordFailurePercent: 2.5, RejectPercent: 10, LatePercent: 0.5, OldestMessage: time.Minute, DurationPercent: 50}
	otherThresholdValues = map[string]float64{
		"ErrorRateAlarm": 2, "RecordFailureRateAlarm": 2.5, "RejectRateAlarm": 10, "LateRateAlarm": 0.5,
		"OldestMessageAlarm": 60, "DurationAlarm": 15_000, "ClockAlarm": 1,
		"DeadLettersAlarm": 0, "ThrottlesAlarm": 0, "PendingExpiredAlarm": 0, "AlertsFailedAlarm": 0,
	}
)

// sent names the metrics as they are really sent, by a short name of this file: AWS's own, and what the processor's
// handler writes, with the environment that the template gives it.
func sent(t *testing.T, tpl template) map[string]string {
	t.Helper()
	aws := func(namespace, name, dimension, value string) string {
		return metricKey(namespace, name, []any{map[string]any{"Name": dimension, "Value": value}})
	}
	keys := map[string]string{
		"Dead":        aws("AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", "${DeadLetterQueue.QueueName}"),
		"Age":         aws("AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "${Queue.QueueName}"),
		"Undelivered": aws("AWS/Events", "FailedInvocations", "RuleName", "${Clock}"),
		"Dropped":     aws("AWS/Lambda", "AsyncEventsDropped", "FunctionName", "${Function}"),
	}
	for _, name := range []string{"Errors", "Invocations", "Throttles", "Duration"} {
		keys[name] = aws("AWS/Lambda", name, "FunctionName", "${Function}")
	}
	environment := tpl.property("Function", "Environment", "Variables", settings.EnvEnvironment)
	line := handlerMetrics(t)
	for _, directive := range line.AWS.CloudWatchMetrics {
		for _, names := range directive.Dimensions {
			var dimensions []any
			for _, name := range names {
				value := line.values[name]
				if value == "ENVIRONMENT" {
					value = environment
				}
				dimensions = append(dimensions, map[string]any{"Name": name, "Value": value})
			}
			for _, m := range directive.Metrics {
				keys[m.Name] = metricKey(directive.Namespace, m.Name, dimensions)
			}
		}
	}
	return keys
}

type emfLine struct {
	AWS struct {
		CloudWatchMetrics []struct {
			Namespace  string
			Dimensions [][]string
			Metrics    []struct{ Name string }
		}
	} `json:"_aws"`
	values map[string]any
}

var handlersLine *emfLine

// handlerMetrics is the line of Embedded Metric Format that the processor's handler writes. It comes from a program of
// its own, because this package must not import the processor.
func handlerMetrics(t *testing.T) *emfLine {
	t.Helper()
	if handlersLine == nil {
		out, err := exec.Command("go", "run", "./testdata/metrics").Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			t.Fatalf("%v: %s", err, exit.Stderr)
		}
		var line emfLine
		if err := errors.Join(err, json.Unmarshal(out, &line), json.Unmarshal(out, &line.values)); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		handlersLine = &line
	}
	return handlersLine
}

// samples reads what is sent of a metric, minute by minute: "0*9 3" is nine minutes of one 0, then one 3; "-" is a
// minute without a sample, "20:99&7000:1" one with 99 samples of 20 and one of 7000. "T" is the alarm's threshold, in
// "T10", "T10+1" or "T1-1".
func samples(text string, threshold float64) (minutes [][]float64) {
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			panic(fmt.Sprintf("samples %q: %v", text, err))
		}
		return v
	}
	value := func(s string) float64 {
		factor, ok := strings.CutPrefix(s, "T")
		if !ok {
			return number(s)
		}
		i := strings.IndexAny(factor, "+-")
		if i < 0 {
			return number(factor) * threshold
		}
		return number(factor[:i])*threshold + number(factor[i:])
	}
	for _, token := range strings.Fields(text) {
		token, repeat, repeated := strings.Cut(token, "*")
		var minute []float64
		if token != "-" {
			for _, part := range strings.Split(token, "&") {
				v, count, counted := strings.Cut(part, ":")
				n := 1.0
				if counted {
					n = number(count)
				}
				minute = append(minute, slices.Repeat([]float64{value(v)}, int(n))...)
			}
		}
		n := 1.0
		if repeated {
			n = number(repeat)
		}
		minutes = append(minutes, slices.Repeat([][]float64{minute}, int(n))...)
	}
	return minutes
}

// alarmCase is what is sent while an alarm is evaluated, and its states: "OK@9 ALARM@10" after the 9th and 10th minute.
type alarmCase struct {
	name string
	feed map[string]string // by the short names of sent
	want string
}

// ratioCases try an alarm on 100 * part / whole.
func ratioCases(part, whole string) []alarmCase {
	c := func(name, parts, wholes, want string) alarmCase {
		return alarmCase{name, map[string]string{part: parts, whole: wholes}, want}
	}
	return []alarmCase{
		c("no data", "", "", "INSUFFICIENT_DATA@0 OK@1 OK@60"),
		c("0 of 0", "0*30", "0*30", "OK@1 OK@30"),
		c("none", "0*30", "1000*30", "OK@1 OK@30"),
		c("exactly the threshold", "T10*30", "1000*30", "OK@5 OK@30"),
		c("just above", "T10*9 T10+1", "1000*10", "OK@9 ALARM@10"),
		c("just below", "T10*9 T10-1", "1000*10", "OK@9 OK@10"),
		// Of so few even one is far above every threshold: it alarms by design, for a feed of low traffic that fails
		// would otherwise be silent.
		c("one in low traffic", "0*9 1 0*20", "1*30", "OK@9 ALARM@10 ALARM@14 OK@15"),
		c("one in heavy traffic", "0*9 1 0*20", "1000*30", "OK@10 OK@30"),
		c("all", "1000*10", "1000*10", "ALARM@1 ALARM@10"),
		c("recovery", "1000*10 0*20", "1000*30", "ALARM@10 ALARM@14 OK@15 OK@30"),
		c("recovery without traffic", "1000*10 0*20", "1000*10 0*20", "ALARM@10 OK@15 OK@30"),
		c("a small spike", "T10*10 T10+1 T10-1*20", "1000*31", "OK@10 ALARM@11 OK@12 OK@16 OK@31"),
		c("a large spike", "0*10 1000 0*20", "1000*31", "OK@10 ALARM@11 ALARM@15 OK@16"),
		c("minutes without data", "1000*2 -*2 1000 0*20", "1000*2 -*2 1000*21", "ALARM@4 ALARM@5 ALARM@9 OK@10"),
		c("silence after a failure", "1000*10 -*60", "1000*10 -*60", "ALARM@10 ALARM@14 OK@40 OK@70"),
		c("the part is never sent", "", "1000*30", "OK@10 OK@30"),
		c("the part is sent only where it is not 0", "-*9 1000 -*20", "1000*30", "OK@9 ALARM@10 ALARM@14 OK@15"),
		c("of few that are sent only where they are not 0", "-*9 T10+1 -*20", "1000*30", "OK@10 OK@30"),
		c("the whole is not sent", "5*10", "", "OK@10"),
	}
}

// levelCases try an alarm on one metric whose samples may reach the threshold.
func levelCases(metric string) []alarmCase {
	c := func(name, values, want string) alarmCase {
		return alarmCase{name, map[string]string{metric: values}, want}
	}
	return []alarmCase{
		c("no data", "", "INSUFFICIENT_DATA@0 OK@1 OK@60"),
		c("zero", "0*30", "OK@1 OK@30"),
		c("exactly the threshold", "T1*30", "OK@1 OK@30"),
		c("just above", "T1*9 T1+1", "OK@9 ALARM@10"),
		c("just below", "T0.999*30", "OK@1 OK@30"),
		c("from the first minute", "T1+1*30", "ALARM@1 ALARM@30"),
		c("recovery", "T1+1*10 0*20", "ALARM@10 ALARM@14 OK@15 OK@30"),
		c("a spike", "0*10 T1+1 0*20", "OK@10 ALARM@11 ALARM@15 OK@16 OK@31"),
		c("two spikes", "0*10 T1+1 0*10 T1+1 0*9", "ALARM@15 OK@16 OK@21 ALARM@22 ALARM@26 OK@27"),
		c("minutes without data", "T1+1 -*3 0 -*2 0*20", "ALARM@5 OK@6 OK@28"),
		c("a spike in silence", "-*10 T1+1 -*60", "OK@10 ALARM@11 ALARM@15 OK@40 OK@70"),
		c("silence after it", "T1+1*10 -*60", "ALARM@10 ALARM@14 OK@40"),
	}
}

// alarmCases has the series of each alarm.
var alarmCases = map[string][]alarmCase{
	"ErrorRateAlarm":         ratioCases("Errors", "Invocations"),
	"RecordFailureRateAlarm": ratioCases(settings.MetricRecordsFailed, settings.MetricRecordsReceived),
	"RejectRateAlarm":        ratioCases(settings.MetricEventsRejected, settings.MetricEventsReceived),
	"LateRateAlarm":          ratioCases(settings.MetricEventsLate, settings.MetricEventsReceived),
	"DeadLettersAlarm":       levelCases("Dead"),
	"OldestMessageAlarm":     levelCases("Age"),
	"ThrottlesAlarm":         levelCases("Throttles"),
	"PendingExpiredAlarm":    levelCases(settings.MetricPendingExpired),
	"AlertsFailedAlarm":      levelCases(settings.MetricAlertsFailed),
	"DurationAlarm": append(levelCases("Duration"),
		alarmCase{"one of 1,000 is slow", map[string]string{"Duration": "20:999&T1+1:1*10"}, "OK@1 OK@10"},
		alarmCase{"one of 20 is slow", map[string]string{"Duration": "20:95&T1+1:5*10"}, "ALARM@1 ALARM@10"},
		alarmCase{"one slow, hardly any traffic", map[string]string{"Duration": "20*9 T1+1 20*9"}, "OK@9 ALARM@10 ALARM@14 OK@15"},
	),
	"ClockAlarm": {
		{"no data", nil, "INSUFFICIENT_DATA@0 OK@1 OK@60"},
		{"nothing lost", map[string]string{"Dropped": "0*30", "Undelivered": "0*30"}, "OK@1 OK@30"},
		{"one dropped", map[string]string{"Dropped": "0*9 1 0*20"}, "OK@10 OK@30"},
		{"one undelivered", map[string]string{"Undelivered": "-*9 1 -*20"}, "OK@10 OK@30"},
		{"one of each", map[string]string{"Dropped": "-*9 1 -*20", "Undelivered": "-*8 1 -*21"}, "OK@9 ALARM@10 ALARM@13 OK@14"},
		{"two dropped, nothing else ever sent", map[string]string{"Dropped": "-*8 1 1 -*20"}, "OK@9 ALARM@10 ALARM@13 OK@14 OK@30"},
		{"two undelivered, nothing else ever sent", map[string]string{"Undelivered": "-*8 1 1 -*20"}, "OK@9 ALARM@10 ALARM@13 OK@14 OK@30"},
		{"two undelivered before anything was dropped", map[string]string{"Undelivered": "-*8 1 1 -*60", "Dropped": "-*40 1 -*30"}, "ALARM@10 OK@14 OK@41"},
		{"two dropped, none undelivered", map[string]string{"Dropped": "0*8 1 1 0*20", "Undelivered": "0*30"}, "OK@9 ALARM@10 ALARM@13 OK@14"},
		{"far apart", map[string]string{"Dropped": "1 0*4 1 0*20"}, "OK@5 OK@6 OK@26"},
		{"in one period", map[string]string{"Dropped": "1 0*3 1 0*20"}, "OK@4 ALARM@5 OK@6"},
		{"every tick", map[string]string{"Dropped": "1*30"}, "OK@1 ALARM@2 ALARM@30"},
		{"recovery, ticks are counted", map[string]string{"Dropped": "1*10 0*20"}, "ALARM@13 OK@14"},
		{"recovery, nothing is sent", map[string]string{"Dropped": "1*10 -*20"}, "ALARM@13 OK@14 OK@15 OK@30"},
	},
}

// faults evaluates an alarm on its cases and says what is not as wanted, once a case.
func faults(properties template, keys map[string]string, cases []alarmCase, threshold float64) iter.Seq[string] {
	return func(yield func(string) bool) {
		a, err := readAlarm(properties)
		if err != nil {
			yield(err.Error())
			return
		}
		for _, c := range cases {
			f := feed{}
			for _, key := range keys {
				f[key] = nil
			}
			for name, text := range c.feed {
				if keys[name] == "" {
					yield("nobody sends " + name)
					return
				}
				f[keys[name]] = samples(text, threshold)
			}
			if fault := a.fault(f, strings.Fields(c.want)); fault != "" && !yield(c.name+": "+fault) {
				return
			}
		}
	}
}

// fault says in which reading a wanted state ("OK@9") is not the alarm's; "" = in none.
func (a alarm) fault(f feed, wants []string) string {
	type moment struct {
		state  state
		minute int
	}
	var moments []moment
	for _, w := range wants {
		s, at, _ := strings.Cut(w, "@")
		minute, err := strconv.Atoi(at)
		if err != nil {
			return fmt.Sprintf("wanted state %q: %v", w, err)
		}
		moments = append(moments, moment{state(s), minute})
	}
	last := moments[len(moments)-1].minute
	windows, err := a.windows(f, last)
	if err != nil {
		return err.Error()
	}
	for _, r := range a.readings() {
		states, err := a.run(windows, last, r)
		if err != nil {
			return err.Error()
		}
		for _, m := range moments {
			if states[m.minute] != m.state {
				return fmt.Sprintf("%s after minute %d, want %s (%+v)", states[m.minute], m.minute, m.state, r)
			}
		}
	}
	return ""
}

func alarmProperties(tpl template, id string) template {
	return template(tpl.get("Resources", id, "Properties").(map[string]any))
}

func TestAlarms(t *testing.T) {
	for variant, thresholds := range alarmVariants {
		t.Run(variant, func(t *testing.T) {
			tpl := synthesized(t, variant).template(t)
			keys := sent(t, tpl)
			ids := tpl.ofType("AWS::CloudWatch::Alarm")
			if want := slices.Sorted(maps.Keys(alarmCases)); !slices.Equal(ids, want) {
				t.Fatalf("alarms %v, cases for %v", ids, want)
			}
			for _, id := range ids {
				if n := len(alarmCases[id]); n < 10 {
					t.Errorf("%s has %d cases", id, n)
				}
				for fault := range faults(alarmProperties(tpl, id), keys, alarmCases[id], thresholds[id]) {
					t.Errorf("%s: %s", id, fault)
				}
			}
		})
	}
}

// TestAlarmMutations breaks each alarm in each way and wants one of its cases to notice.
func TestAlarmMutations(t *testing.T) {
	tpl := synthesized(t, "ordered").template(t)
	keys := sent(t, tpl)
	// edit changes the first property of that name, in the alarm or in its metrics.
	edit := func(name string, f func(any) any) func(template) int {
		return func(p template) (n int) {
			places := []map[string]any{p}
			queries, _ := p["Metrics"].([]any)
			for _, q := range queries {
				places = append(places, q.(map[string]any))
				if stat, ok := q.(map[string]any)["MetricStat"].(map[string]any); ok {
					places = append(places, stat, stat["Metric"].(map[string]any))
				}
			}
			for _, place := range places {
				if v, ok := place[name]; ok {
					place[name] = f(v)
					n++
				}
			}
			return n
		}
	}
	set := func(v any) func(any) any { return func(any) any { return v } }
	scale := func(factor float64) func(any) any { return func(v any) any { return v.(float64) * factor } }
	replace := func(pairs ...string) func(any) any {
		return func(v any) any { return strings.NewReplacer(pairs...).Replace(v.(string)) }
	}
	step := func(p template) float64 { // the least that a case's value is above the threshold
		if strings.Contains(fmt.Sprint(p["Metrics"]), "100 * ") {
			return 0.02
		}
		return 1
	}
	mutations := map[string]func(template) int{
		"threshold raised":             func(p template) int { p["Threshold"] = p["Threshold"].(float64) + step(p); return 1 },
		"threshold lowered":            func(p template) int { p["Threshold"] = p["Threshold"].(float64) - step(p)/100; return 1 },
		"reaching it is enough":        edit("ComparisonOperator", set("GreaterThanOrEqualToThreshold")),
		"below it":                     edit("ComparisonOperator", set("LessThanThreshold")),
		"missing data alarms":          edit("TreatMissingData", set("breaching")),
		"missing data is insufficient": edit("TreatMissingData", set("missing")),
		"missing data is ignored":      edit("TreatMissingData", set("ignore")),
		"one minute":                   edit("Period", set(60.0)),
		"ten minutes":                  edit("Period", scale(2)),
		"2 of 2":                       edit("EvaluationPeriods", set(2.0)),
		"1 of 2":                       func(p template) int { p["EvaluationPeriods"], p["DatapointsToAlarm"] = 2.0, 1.0; return 1 },
		"another statistic":            edit("Stat", set("Average")),
		"another statistic of one":     edit("Statistic", set("Minimum")),
		"the median":                   edit("ExtendedStatistic", set("p50")),
		"the slowest":                  edit("ExtendedStatistic", set("p100")),
		"another metric":               edit("MetricName", func(v any) any { return v.(string) + "s" }),
		"another namespace":            edit("Namespace", func(v any) any { return v.(string) + "s" }),
		"another dimension":            edit("Dimensions", set([]any{})),
		"unguarded division":           edit("Expression", replace("IF(", "(", " > 0, ", " * ", ", 0)", ")")),
		"guard the wrong way round":    edit("Expression", replace(" > 0", " < 0")),
		"a fraction, no percentage":    edit("Expression", replace("100 * ", "")),
		"upside down":                  edit("Expression", replace("errors / invocations", "invocations / errors", "failed / records", "records / failed", "rejected / events", "events / rejected", "late / events", "events / late")),
		"dropped ticks are not filled": edit("Expression", replace("FILL(dropped, 0)", "dropped")),
		"undelivered are not filled":   edit("Expression", replace("FILL(undelivered, 0)", "undelivered")),
		"filled with one":              edit("Expression", replace(", 0)]", ", 1)]")),
		"a sum by +":                   edit("Expression", replace("SUM([FILL(dropped, 0), FILL(undelivered, 0)])", "dropped + undelivered")),
		"an unknown function":          edit("Expression", func(v any) any { return "AVG(METRICS())" }),
		"an unknown property":          func(p template) int { p["EvaluateLowSampleCountPercentile"] = "ignore"; return 1 },
	}
	noticed := map[string]int{}
	for _, id := range tpl.ofType("AWS::CloudWatch::Alarm") {
		for name, mutation := range mutations {
			b, err := json.Marshal(alarmProperties(tpl, id))
			if err != nil {
				t.Fatal(err)
			}
			var mutant template
			if err := json.Unmarshal(b, &mutant); err != nil {
				t.Fatal(err)
			}
			n := mutation(mutant)
			if c, _ := json.Marshal(mutant); n == 0 || string(c) == string(b) {
				continue
			}
			noticed[name]++
			survives := true
			for range faults(mutant, keys, alarmCases[id], defaultThresholds[id]) {
				survives = false
				break
			}
			if survives {
				t.Errorf("%s: no case notices %q", id, name)
			}
		}
	}
	for name := range mutations {
		if noticed[name] == 0 {
			t.Errorf("%q changes no alarm", name)
		}
	}
}

// TestAlarmsTogether sends everything at once: what a fault does to all metrics, and which alarms it sets off. Ten
// healthy minutes, ten of the fault, then healthy ones again.
func TestAlarmsTogether(t *testing.T) {
	healthy := map[string]string{
		"Invocations": "100", "Errors": "0", "Throttles": "0", "Duration": "20:100", "Dropped": "-", "Undelivered": "-", "Dead": "0", "Age": "1",
		settings.MetricRecordsReceived: "1000", settings.MetricRecordsFailed: "0", settings.MetricRecordsDeferred: "0",
		settings.MetricEventsReceived: "5000", settings.MetricEventsRejected: "0", settings.MetricEventsLate: "0",
		settings.MetricPendingExpired: "0", settings.MetricAlertsFailed: "0",
	}
	none := map[string]string{settings.MetricRecordsReceived: "-", settings.MetricRecordsFailed: "-", settings.MetricRecordsDeferred: "-",
		settings.MetricEventsReceived: "-", settings.MetricEventsRejected: "-", settings.MetricEventsLate: "-",
		settings.MetricPendingExpired: "-", settings.MetricAlertsFailed: "-"}
	with := func(base map[string]string, more map[string]string) map[string]string {
		out := maps.Clone(base)
		maps.Copy(out, more)
		return out
	}
	tests := []struct {
		name  string
		fault map[string]string
		want  []string
	}{
		{"nothing", nil, nil},
		{"every record fails and no invocation does", map[string]string{settings.MetricRecordsFailed: "1000"}, []string{"RecordFailureRateAlarm"}},
		{"every record is deferred", map[string]string{settings.MetricRecordsDeferred: "1000", "Age": "30"}, nil},
		{"one record in 1,000 fails", map[string]string{settings.MetricRecordsFailed: "1"}, nil},
		{"a message uses up its retries", map[string]string{settings.MetricRecordsFailed: "1", "Dead": "1"}, []string{"DeadLettersAlarm"}},
		{"an outage of the tables", map[string]string{"Errors": "100", settings.MetricRecordsFailed: "1000", "Age": "700"},
			[]string{"ErrorRateAlarm", "OldestMessageAlarm", "RecordFailureRateAlarm"}},
		{"invocations time out and send no metrics", with(none, map[string]string{"Errors": "100", "Duration": "60000:100", "Dropped": "1"}),
			[]string{"ClockAlarm", "DurationAlarm", "ErrorRateAlarm"}},
		{"it crashes at the start", with(none, map[string]string{"Errors": "100", "Duration": "5:100"}), []string{"ErrorRateAlarm"}},
		{"ticks only", map[string]string{"Invocations": "1", "Duration": "20", "Age": "-", settings.MetricRecordsReceived: "0", settings.MetricEventsReceived: "0"}, nil},
		{"ticks only, and one failed", map[string]string{"Invocations": "1", "Errors": "1", "Duration": "20", "Age": "-", "Dropped": "0",
			settings.MetricRecordsReceived: "0", settings.MetricEventsReceived: "0"}, []string{"ErrorRateAlarm"}},
		{"no traffic, no clock", with(none, map[string]string{"Invocations": "-", "Errors": "-", "Throttles": "-", "Duration": "-", "Age": "-", "Dead": "-"}), nil},
		{"the feed turns bad", map[string]string{settings.MetricEventsRejected: "2500"}, []string{"RejectRateAlarm"}},
		{"the feed is disordered", map[string]string{settings.MetricEventsLate: "2500"}, []string{"LateRateAlarm"}},
		{"SNS refuses an alert", map[string]string{settings.MetricAlertsFailed: "1"}, []string{"AlertsFailedAlarm"}},
		{"publishers die", map[string]string{settings.MetricPendingExpired: "1"}, []string{"PendingExpiredAlarm"}},
		{"it cannot keep up", map[string]string{"Age": "3600"}, []string{"OldestMessageAlarm"}},
		{"the concurrency is used up", with(none, map[string]string{"Invocations": "-", "Errors": "-", "Duration": "-", "Throttles": "5", "Dropped": "1", "Age": "700"}),
			[]string{"ClockAlarm", "OldestMessageAlarm", "ThrottlesAlarm"}},
		{"the schedule cannot invoke", map[string]string{"Undelivered": "1"}, []string{"ClockAlarm"}},
	}
	fired := map[string]bool{}
	for _, variant := range []string{"ordered", "unordered, other thresholds"} {
		tpl := synthesized(t, variant).template(t)
		keys := sent(t, tpl)
		for _, tt := range tests {
			f := feed{}
			for _, key := range keys {
				f[key] = nil
			}
			for name, text := range healthy {
				during, ok := tt.fault[name]
				if !ok {
					during = text
				}
				f[keys[name]] = samples(fmt.Sprintf("%s*10 %s*10 %s*30", text, during, text), 0)
			}
			var wrong []string
			for _, id := range tpl.ofType("AWS::CloudWatch::Alarm") {
				a, err := readAlarm(alarmProperties(tpl, id))
				if err != nil {
					t.Fatal(err)
				}
				during := stateOK
				if slices.Contains(tt.want, id) {
					during, fired[id] = stateAlarm, true
				}
				if fault := a.fault(f, []string{"OK@10", string(during) + "@20", "OK@50"}); fault != "" {
					wrong = append(wrong, id+": "+fault)
				}
			}
			if wrong != nil {
				t.Errorf("%s: %s:\n%s", variant, tt.name, strings.Join(wrong, "\n"))
			}
		}
	}
	if got, want := slices.Sorted(maps.Keys(fired)), slices.Sorted(maps.Keys(alarmCases)); !slices.Equal(got, want) {
		t.Errorf("only %v of %v are set off", got, want)
	}
}
