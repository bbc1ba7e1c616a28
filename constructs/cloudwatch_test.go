package constructs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// This file evaluates alarms as the CloudWatch user guide describes it
// (https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/):
//   - alarm-evaluation.html: period, evaluation periods, M out of N;
//   - alarm-evaluation-window.html: an alarm is evaluated every minute, over windows that slide;
//   - alarms-and-missing-data.html: CloudWatch reads more periods than it evaluates. It evaluates the newest data points
//     that exist and fills in with TreatMissingData only what lacks of EvaluationPeriods. So an alarm can look at an old
//     data point again after a metric has stopped;
//   - using-metric-math.html: expressions. A division by zero drops the data point.
//
// What the guide leaves open, or what it says and users report differently, is a reading: an alarm must give the same
// state under all of them.

// reading is one way to understand the user guide.
type reading struct {
	missingIsZero  bool // a missing operand of arithmetic counts as 0 (the guide), or the result is missing
	missingIsFalse bool // a missing operand of a comparison counts as 0, or the result is missing
	fillsEmpty     bool // FILL also fills a series without any data point
	extra          int  // periods read beyond EvaluationPeriods; the guide's examples have 2
}

// readings are those that can make a difference to the alarm.
func (a alarm) readings() (all []reading) {
	ways := 1
	switch {
	case a.fills:
		ways = 8
	case a.expression != nil:
		ways = 4
	}
	for _, extra := range []int{0, 2, 4} {
		for i := range ways {
			all = append(all, reading{i&1 > 0, i&2 > 0, i&4 > 0, extra})
		}
	}
	return all
}

type state string

const (
	stateOK           state = "OK"
	stateAlarm        state = "ALARM"
	stateInsufficient state = "INSUFFICIENT_DATA"
)

// feed is what is sent of each metric (see metricKey): the samples of each minute.
type feed map[string][][]float64

// metric is one metric of an alarm, with its statistic.
type metric struct {
	key, statistic string
}

// alarm is an alarm of a template.
type alarm struct {
	operator, treatMissing   string
	threshold                float64
	periods, toAlarm, period int
	metrics                  map[string]metric // by id
	expression               ast.Expr          // nil = the only metric, whose id is ""
	fills                    bool              // the expression calls FILL
}

func metricKey(namespace, name any, dimensions any) string {
	var pairs []string
	list, _ := dimensions.([]any)
	for _, d := range list {
		d := d.(map[string]any)
		pairs = append(pairs, fmt.Sprintf("%v=%v", d["Name"], d["Value"]))
	}
	slices.Sort(pairs)
	return fmt.Sprintf("%v/%v{%s}", namespace, name, strings.Join(pairs, ","))
}

// readAlarm reads an alarm's properties. Its error names what the evaluator does not know.
func readAlarm(properties template) (a alarm, err error) {
	known := []string{"ActionsEnabled", "AlarmActions", "AlarmDescription", "AlarmName", "ComparisonOperator", "DatapointsToAlarm", "Dimensions",
		"EvaluationPeriods", "ExtendedStatistic", "MetricName", "Metrics", "Namespace", "Period", "Statistic", "Tags", "Threshold", "TreatMissingData"}
	for name := range properties {
		if !slices.Contains(known, name) {
			return a, fmt.Errorf("property %s is not modelled", name)
		}
	}
	number := func(v any) int { f, _ := v.(float64); return int(f) }
	a = alarm{metrics: map[string]metric{}, periods: number(properties["EvaluationPeriods"]), toAlarm: number(properties["DatapointsToAlarm"]),
		treatMissing: "missing", period: number(properties["Period"])}
	a.operator, _ = properties["ComparisonOperator"].(string)
	if v, ok := properties["TreatMissingData"].(string); ok {
		a.treatMissing = v
	}
	var ok bool
	if a.threshold, ok = properties["Threshold"].(float64); !ok || a.periods < 1 {
		return a, fmt.Errorf("threshold %v, periods %v", properties["Threshold"], properties["EvaluationPeriods"])
	}
	if a.toAlarm == 0 {
		a.toAlarm = a.periods
	}
	if properties["Metrics"] == nil {
		statistic := properties["Statistic"]
		if statistic == nil {
			statistic = properties["ExtendedStatistic"]
		}
		a.metrics[""] = metric{metricKey(properties["Namespace"], properties["MetricName"], properties["Dimensions"]), fmt.Sprint(statistic)}
	}
	queries, _ := properties["Metrics"].([]any)
	for _, q := range queries {
		q := template(q.(map[string]any))
		id := fmt.Sprint(q["Id"])
		if text, ok := q["Expression"].(string); ok {
			if a.expression != nil || q["ReturnData"] != true {
				return a, fmt.Errorf("expression %s: only one, which is watched, is modelled", id)
			}
			if a.expression, err = parseExpression(text); err != nil {
				return a, err
			}
			a.fills = strings.Contains(text, "FILL(")
			continue
		}
		if q["ReturnData"] != false {
			return a, fmt.Errorf("metric %s is watched beside an expression", id)
		}
		m := func(path ...string) any { return q.get(append([]string{"MetricStat"}, path...)...) }
		a.metrics[id] = metric{metricKey(m("Metric", "Namespace"), m("Metric", "MetricName"), m("Metric", "Dimensions")), fmt.Sprint(m("Stat"))}
		if p := number(m("Period")); a.period != 0 && a.period != p {
			return a, fmt.Errorf("periods of %d and %d s: not modelled", a.period, p)
		} else {
			a.period = p
		}
	}
	if a.period < 60 || a.period%60 != 0 {
		return a, fmt.Errorf("a period of %d s is not modelled", a.period)
	}
	return a, nil
}

// windows gives the data point of each metric over the period that ends with each minute, by the metric's id.
func (a alarm) windows(f feed, minutes int) (map[string][]float64, error) {
	out := map[string][]float64{}
	for id, m := range a.metrics {
		sent, ok := f[m.key]
		if !ok {
			return nil, fmt.Errorf("nobody sends %s", m.key)
		}
		for end := 0; end <= minutes; end++ {
			var samples []float64
			for i := max(0, end-a.period/60); i < min(end, len(sent)); i++ {
				samples = append(samples, sent[i]...)
			}
			v, err := statistic(m.statistic, samples)
			if err != nil {
				return nil, err
			}
			out[id] = append(out[id], v)
		}
	}
	return out, nil
}

// run gives the alarm's state after each minute of windows, the first before anything was evaluated.
func (a alarm) run(windows map[string][]float64, minutes int, r reading) ([]state, error) {
	states := []state{stateInsufficient}
	var before map[string][]float64
	var points []float64
	for minute := 1; minute <= minutes; minute++ {
		series := a.read(windows, minute, r)
		if !maps.EqualFunc(series, before, sameSeries) { // most minutes are like the one before
			var err error
			if points, err = a.points(series, r); err != nil {
				return nil, err
			}
			before = series
		}
		s, err := a.judge(points, states[len(states)-1])
		if err != nil {
			return nil, err
		}
		states = append(states, s)
	}
	return states, nil
}

func sameSeries(a, b []float64) bool {
	return slices.EqualFunc(a, b, func(v, w float64) bool { return v == w || math.IsNaN(v) && math.IsNaN(w) })
}

// read gives the data points of each metric that are read at the end of a minute, the newest last.
func (a alarm) read(windows map[string][]float64, minute int, r reading) map[string][]float64 {
	n := a.periods + r.extra
	series := make(map[string][]float64, len(windows))
	for id, w := range windows {
		read := make([]float64, n)
		for i := range read {
			read[i] = math.NaN()
			if end := minute - (n-1-i)*a.period/60; end > 0 {
				read[i] = w[end]
			}
		}
		series[id] = read
	}
	return series
}

// points gives the data points of what is watched, the newest last.
func (a alarm) points(series map[string][]float64, r reading) ([]float64, error) {
	if a.expression == nil {
		return series[""], nil
	}
	v, err := evaluator{series, r, a.periods + r.extra}.value(a.expression)
	if err == nil && len(v) != 1 {
		err = fmt.Errorf("the expression is not one time series")
	}
	if err != nil {
		return nil, err
	}
	return v[0], nil
}

// judge decides the state from the points that were read.
func (a alarm) judge(points []float64, before state) (state, error) {
	breaches := comparisons[a.operator]
	if breaches == nil {
		return "", fmt.Errorf("comparison %q is not modelled", a.operator)
	}
	exist := slices.DeleteFunc(slices.Clone(points), math.IsNaN)
	exist = exist[max(0, len(exist)-a.periods):]
	breaching := 0
	for _, v := range exist {
		if breaches(v, a.threshold) {
			breaching++
		}
	}
	missing := a.periods - len(exist)
	switch {
	case missing == 0 || a.treatMissing == "notBreaching":
	case a.treatMissing == "breaching":
		breaching += missing
	case a.treatMissing == "missing" && len(exist) == 0:
		return stateInsufficient, nil
	case a.treatMissing == "ignore" && len(exist) == 0:
		return before, nil
	default:
		return "", fmt.Errorf("%d of %d data points with TreatMissingData %s: not modelled", len(exist), a.periods, a.treatMissing)
	}
	if breaching >= a.toAlarm {
		return stateAlarm, nil
	}
	return stateOK, nil
}

var comparisons = map[string]func(a, b float64) bool{
	"GreaterThanThreshold":          greater,
	"GreaterThanOrEqualToThreshold": greaterOrEqual,
	"LessThanThreshold":             less,
	"LessThanOrEqualToThreshold":    lessOrEqual,
	token.GTR.String():              greater,
	token.GEQ.String():              greaterOrEqual,
	token.LSS.String():              less,
	token.LEQ.String():              lessOrEqual,
}

func greater(a, b float64) bool        { return a > b }
func greaterOrEqual(a, b float64) bool { return a >= b }
func less(a, b float64) bool           { return a < b }
func lessOrEqual(a, b float64) bool    { return a <= b }

var percentile = regexp.MustCompile(`^p([0-9]{1,2}(?:\.[0-9]+)?)$`)

// statistic is a period's data point, NaN without samples. A percentile is the nearest rank's sample.
func statistic(name string, samples []float64) (float64, error) {
	if len(samples) == 0 {
		return math.NaN(), nil
	}
	sum := 0.0
	for _, v := range samples {
		sum += v
	}
	switch name {
	case "Sum":
		return sum, nil
	case "Average":
		return sum / float64(len(samples)), nil
	case "Minimum":
		return slices.Min(samples), nil
	case "Maximum":
		return slices.Max(samples), nil
	}
	if m := percentile.FindStringSubmatch(name); m != nil {
		p, err := strconv.ParseFloat(m[1], 64)
		sorted := slices.Sorted(slices.Values(samples))
		return sorted[max(0, int(math.Ceil(p/100*float64(len(sorted))))-1)], err
	}
	return 0, fmt.Errorf("statistic %q is not modelled", name)
}

// parseExpression parses metric math by Go's grammar, which has the same precedences for what is modelled.
func parseExpression(text string) (ast.Expr, error) {
	e, err := parser.ParseExpr(strings.NewReplacer("[", "LIST(", "]", ")").Replace(text))
	if err != nil {
		return nil, fmt.Errorf("expression %q is not modelled: %w", text, err)
	}
	return e, nil
}

// evaluator evaluates expressions over series of n data points each, NaN = missing.
type evaluator struct {
	series map[string][]float64
	reading
	n int
}

// value gives one or more time series; a number is a series that has it everywhere.
func (e evaluator) value(x ast.Expr) ([][]float64, error) {
	switch x := x.(type) {
	case *ast.ParenExpr:
		return e.value(x.X)
	case *ast.BasicLit:
		v, err := strconv.ParseFloat(x.Value, 64)
		return [][]float64{slices.Repeat([]float64{v}, e.n)}, err
	case *ast.Ident:
		if s, ok := e.series[x.Name]; ok {
			return [][]float64{s}, nil
		}
		return nil, fmt.Errorf("%s is neither a metric nor modelled", x.Name)
	case *ast.BinaryExpr:
		operands, err := e.values(x.X, x.Y)
		if err != nil {
			return nil, err
		}
		return e.each(func(i int) (float64, error) { return e.binary(x.Op, operands[0][i], operands[1][i]) })
	case *ast.CallExpr:
		name, _ := x.Fun.(*ast.Ident)
		if name == nil {
			break
		}
		return e.call(name.Name, x.Args)
	}
	return nil, fmt.Errorf("%T in an expression is not modelled", x)
}

// values wants each expression to be one time series.
func (e evaluator) values(xs ...ast.Expr) (out [][]float64, err error) {
	for _, x := range xs {
		v, err := e.value(x)
		if err != nil {
			return nil, err
		}
		if len(v) != 1 {
			return nil, fmt.Errorf("an array of time series is modelled as SUM's argument only")
		}
		out = append(out, v[0])
	}
	return out, nil
}

func (e evaluator) each(point func(i int) (float64, error)) ([][]float64, error) {
	out := make([]float64, e.n)
	for i := range out {
		var err error
		if out[i], err = point(i); err != nil {
			return nil, err
		}
	}
	return [][]float64{out}, nil
}

func (e evaluator) binary(op token.Token, a, b float64) (float64, error) {
	zero := e.missingIsZero
	compare := comparisons[op.String()]
	if compare != nil {
		zero = e.missingIsFalse
	}
	switch {
	case math.IsNaN(a) && math.IsNaN(b), !zero && (math.IsNaN(a) || math.IsNaN(b)):
		return math.NaN(), nil
	case math.IsNaN(a):
		a = 0
	case math.IsNaN(b):
		b = 0
	}
	if compare != nil {
		if compare(a, b) {
			return 1, nil
		}
		return 0, nil
	}
	switch op {
	case token.ADD:
		return a + b, nil
	case token.SUB:
		return a - b, nil
	case token.MUL:
		return a * b, nil
	case token.QUO:
		if b == 0 {
			return math.NaN(), nil
		}
		return a / b, nil
	}
	return 0, fmt.Errorf("operator %s is not modelled", op)
}

func (e evaluator) call(name string, args []ast.Expr) ([][]float64, error) {
	switch {
	case name == "LIST":
		return e.values(args...)
	case name == "IF" && len(args) == 3:
		v, err := e.values(args...)
		if err != nil {
			return nil, err
		}
		return e.each(func(i int) (float64, error) {
			switch condition, yes, no := v[0][i], v[1][i], v[2][i]; {
			case math.IsNaN(condition):
				return math.NaN(), nil
			case condition == 0:
				return no, nil
			case math.IsNaN(yes):
				return 0, nil // the guide says so for a series
			default:
				return yes, nil
			}
		})
	case name == "FILL" && len(args) == 2:
		v, err := e.values(args...)
		if err != nil {
			return nil, err
		}
		if !e.fillsEmpty && !slices.ContainsFunc(v[0], func(p float64) bool { return !math.IsNaN(p) }) {
			return v[:1], nil
		}
		return e.each(func(i int) (float64, error) {
			if math.IsNaN(v[0][i]) {
				return v[1][i], nil
			}
			return v[0][i], nil
		})
	case name == "SUM" && len(args) == 1:
		list, ok := args[0].(*ast.CallExpr)
		if !ok || list.Fun.(*ast.Ident).Name != "LIST" {
			return nil, fmt.Errorf("SUM of anything but [...] is not modelled: of one series it is a number that depends on how much is read")
		}
		all, err := e.value(list)
		if err != nil {
			return nil, err
		}
		return e.each(func(i int) (float64, error) {
			sum := math.NaN()
			for _, s := range all {
				switch {
				case math.IsNaN(s[i]):
				case math.IsNaN(sum):
					sum = s[i]
				default:
					sum += s[i]
				}
			}
			return sum, nil
		})
	}
	return nil, fmt.Errorf("%s with %d arguments is not modelled", name, len(args))
}

// TestMetricMath checks the evaluator against the tables of using-metric-math.html.
func TestMetricMath(t *testing.T) {
	x := math.NaN()
	series := map[string][]float64{
		"metric1": {30, 20, 0, 0}, "metric2": {20, x, 20, x}, "condition": {1, 1, 0, 0, x}, "yes": {30, x, 0, 0, 30}, "no": {0, 0, 20, x, 20},
	}
	guide := reading{missingIsZero: true, missingIsFalse: true, fillsEmpty: true}
	for _, tt := range []struct {
		expression string
		n          int
		reading    reading
		want       []float64
	}{
		{"metric1 < metric2", 4, guide, []float64{0, 0, 1, 0}},
		{"metric1 >= 30", 4, guide, []float64{1, 0, 0, 0}},
		{"metric1 + metric2 * 2", 4, guide, []float64{70, 20, 40, 0}},
		{"metric1 + metric2", 4, reading{}, []float64{50, x, 20, x}},
		{"(metric1 - metric2) / metric1", 4, guide, []float64{1. / 3, 1, x, x}},
		{"metric2 > 1", 4, reading{}, []float64{1, x, 1, x}},
		{"IF(condition, yes, no)", 5, guide, []float64{30, 0, 20, x, x}},
		{"IF(condition, 5, no)", 5, guide, []float64{5, 5, 20, x, x}},
		{"IF(condition, yes, 5)", 5, guide, []float64{30, 0, 5, 5, x}},
		{"FILL(metric2, 7)", 4, guide, []float64{20, 7, 20, 7}},
		{"SUM([metric1, metric2])", 4, guide, []float64{50, 20, 20, 0}},
	} {
		parsed, err := parseExpression(tt.expression)
		if err != nil {
			t.Fatal(err)
		}
		got, err := evaluator{series, tt.reading, tt.n}.value(parsed)
		if err != nil || !slices.EqualFunc(got[0], tt.want, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }) {
			t.Errorf("%s = %v, %v; want %v", tt.expression, got, err, tt.want)
		}
	}
	for _, unknown := range []string{"METRICS()", "AVG([metric1])", "metric1 ^ 2", "metric3", "FILL(metric1, REPEAT)", "SUM(metric1)", "metric1 && 1",
		"-metric1", "[metric1, metric2] / 2", "IF(condition, 1)", "SEARCH('x', 'Sum')", "metric1 AND metric2"} {
		parsed, err := parseExpression(unknown)
		if err == nil {
			_, err = evaluator{series, guide, 4}.value(parsed)
		}
		if err == nil {
			t.Errorf("%s is evaluated", unknown)
		}
	}
	unfilled, err := evaluator{map[string][]float64{"m": {x, x}}, reading{}, 2}.value(&ast.CallExpr{Fun: ast.NewIdent("FILL"),
		Args: []ast.Expr{ast.NewIdent("m"), &ast.BasicLit{Kind: token.INT, Value: "0"}}})
	if err != nil || !math.IsNaN(unfilled[0][0]) {
		t.Errorf("a reading in which FILL leaves an empty series gives %v, %v", unfilled, err)
	}
}

// TestMissingData checks the evaluator against the tables of alarms-and-missing-data.html: 3 of 3 and 2 of 3 data points,
// 5 are read, 0 is fine, X is breaching, - is missing.
func TestMissingData(t *testing.T) {
	for _, tt := range []struct {
		points                                   string
		toAlarm                                  int
		missing, ignore, breaching, notBreaching state // "" = not modelled
	}{
		{"0-X-X", 3, stateOK, stateOK, stateOK, stateOK},
		{"0----", 3, "", "", stateOK, stateOK},
		{"-----", 3, stateInsufficient, "before", stateAlarm, stateOK},
		{"0XX-X", 3, stateAlarm, stateAlarm, stateAlarm, stateAlarm},
		{"X----", 3, "", "", stateAlarm, stateOK},
		{"----X", 3, "", "", stateAlarm, stateOK},
		{"0-X-X", 2, stateAlarm, stateAlarm, stateAlarm, stateAlarm},
		{"00X0X", 2, stateAlarm, stateAlarm, stateAlarm, stateAlarm},
		{"0-X--", 2, "", "", stateAlarm, stateOK},
		{"----0", 2, "", "", stateAlarm, stateOK},
	} {
		var points []float64
		for _, c := range tt.points {
			points = append(points, map[rune]float64{'0': 0, 'X': 2, '-': math.NaN()}[c])
		}
		for treat, want := range map[string]state{"missing": tt.missing, "ignore": tt.ignore, "breaching": tt.breaching, "notBreaching": tt.notBreaching} {
			a := alarm{operator: "GreaterThanThreshold", threshold: 1, periods: 3, toAlarm: tt.toAlarm, treatMissing: treat}
			if got, err := a.judge(points, "before"); got != want || (err != nil) != (want == "") {
				t.Errorf("%s, %d of 3, %s: %s, %v; want %q", tt.points, tt.toAlarm, treat, got, err, want)
			}
		}
	}
}

func TestStatistics(t *testing.T) {
	samples := []float64{5, 1, 4, 2, 3}
	for name, want := range map[string]float64{"Sum": 15, "Average": 3, "Minimum": 1, "Maximum": 5, "p99": 5, "p50": 3, "p10": 1} {
		if got, err := statistic(name, samples); got != want || err != nil {
			t.Errorf("%s = %v, %v; want %v", name, got, err, want)
		}
	}
	if _, err := statistic("TM(10%:90%)", samples); err == nil {
		t.Error("an unknown statistic is computed")
	}
}
