package simulator

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// Scenario is one run: what is sent, to what, and what goes wrong. The same scenario is the same run, call by call.
type Scenario struct {
	Seed     uint64
	Delivery settings.Delivery
	// Rules is "levels" (no history, no timers), "quotes" (a timer), "history", or "many": one event fires more alerts than
	// a commit holds.
	Rules    string
	Lateness time.Duration

	Messages     int
	Gap          time.Duration // at most between two messages
	Environments int           // invocations at the same time
	BatchSize    int
	MaxReceives  int // before a message is dead-lettered; 0 = 10
	Redrive      bool

	Faults  []Fault
	Outages []Outage
	// Skew is by how much the environments' clocks are apart at most.
	Skew time.Duration
	// Refuse makes SNS refuse one alert in eight for good: in its own entry, or RefuseCalls the whole call.
	Refuse, RefuseCalls bool
	// Deployment brings newer code beside the old one, takes it back, and brings it again.
	Deployment Deployment
}

// Deployment says what newer code is: one with a further rule, or one whose states have a newer format.
type Deployment string

const (
	NoDeployment Deployment = ""
	NewRules     Deployment = "new rules"
	NewFormat    Deployment = "new format"
)

// Times of a deployment from the start of the run. For a minute after each the old code and the new one run side by side.
const (
	deployed   = 10 * time.Second
	rolledBack = 3 * time.Minute
	redeployed = 10 * time.Minute
	sideBySide = time.Minute
)

// String is the scenario as a Go literal, to run it again.
func (s Scenario) String() string {
	text := fmt.Sprintf("%#v", s)
	return strings.ReplaceAll(text, "simulator.", "")
}

// Random is the scenario of a seed, with up to six faults.
func Random(seed uint64) Scenario {
	r := rand.New(rand.NewPCG(seed, 3))
	s := Scenario{
		Seed: seed, Delivery: settings.Ordered, Rules: "history", Lateness: settings.DefaultLateness, Messages: 1 + r.IntN(20),
		Environments: 1 + r.IntN(5), BatchSize: 1 + r.IntN(10),
		Gap: []time.Duration{0, 100 * time.Millisecond, 2 * time.Second, 40 * time.Second}[r.IntN(4)],
	}
	if n := r.IntN(10); n < 3 {
		s.Rules = []string{"levels", "quotes", "many"}[n]
	}
	if s.Rules == "many" {
		s.Messages = 1 + r.IntN(4)
	}
	if r.IntN(3) == 0 {
		s.Delivery = settings.Unordered
		if r.IntN(3) > 0 {
			s.Lateness = 30 * time.Minute
		}
	}
	for range r.IntN(7) {
		s.Faults = append(s.Faults, Fault{At: r.IntN(8 + 4*s.Messages), Kind: Kind(r.IntN(int(Kinds)))})
	}
	for range r.IntN(3) {
		s.Faults = append(s.Faults, Fault{At: r.IntN(1 + s.Messages), Kind: Overlap + Kind(r.IntN(int(deliveryKind-Overlap)))})
	}
	switch r.IntN(12) {
	case 0:
		// Less than the clock's grace: one further ahead sends clock events before what they wait for.
		s.Skew = time.Duration(1+r.IntN(25)) * time.Second
	case 1:
		s.Refuse, s.RefuseCalls = true, r.IntN(2) == 0
	case 2:
		from := time.Duration(r.IntN(20)) * time.Second
		to := from + time.Second<<r.IntN(10) + time.Duration(r.IntN(380))*time.Second // to 15 minutes
		s.Gap = 2 * to / time.Duration(s.Messages)
		for i, service := range []string{"dynamodb", "sns"} {
			if which := r.IntN(3); which == 2 || which == i {
				s.Outages = append(s.Outages, Outage{service, from, to})
			}
		}
	case 3:
		// Where nothing needs history, a further rule decides which events leave a mark, and so what is a repetition.
		s.Deployment, s.Rules = NewRules, "history"
	case 4:
		s.Deployment = NewFormat
	case 5:
		s.MaxReceives, s.Redrive = 1+r.IntN(3), true
	}
	if s.Deployment != NoDeployment {
		s.Gap = 2 * redeployed / time.Duration(s.Messages)
	}
	return s
}

// levelRules and quoteRules look at one event at a time, historyRules at many. Between
// them, "Odd" and "Even" tell the volume of every bar, and so of everything that was applied.
const (
	levelRules = `rules:
  - alert: High
    expr: price > 100
    reset: price < 99
    cooldown: 0s
    summary: "{{ .symbol }} at {{ .price }}"
  - alert: Dark
    expr: size > 500000
    cooldown: 0s
    notify: false
`
	quoteRules = levelRules + `  - alert: Wide
    on: quote
    expr: spread_bps > 50
    reset: spread_bps < 20
    cooldown: 0s
`
	historyRules = quoteRules + `  - alert: Above
    expr: price > sma(price, 3)
    cooldown: 0s
  - alert: Cross
    expr: crossover(price, ema(price, 4))
    cooldown: 0s
  - alert: Held
    expr: price > 97
    for: 2s
    cooldown: 0s
  - alert: Minute
    on: bar
    interval: 1m
    from: trades
    expr: volume > prev(volume, 1)
    cooldown: 0s
  - alert: Odd
    on: bar
    interval: 1m
    from: trades
    expr: volume > 0
    reset: volume > 0
    cooldown: 0s
  - alert: Even
    on: bar
    interval: 1m
    from: trades
    expr: prev(volume, 1) > 0 && volume > 0
    reset: volume > 0
    cooldown: 0s
  - alert: Quiet
    on: silence
    after: 20s
`
	newRule = `  - alert: Extra
    expr: price > 98
    cooldown: 0s
`
)

// manyRules fire together more than alert.MaxCommitAlerts alerts.
func manyRules() string {
	var b strings.Builder
	for i := range alert.MaxCommitAlerts + 20 {
		fmt.Fprintf(&b, "  - alert: Many%d\n    expr: price > 100\n    cooldown: 0s\n", i)
	}
	return b.String()
}

type programKey struct {
	rules    string
	newer    bool
	lateness time.Duration
	ordered  bool
}

// program is a compiled rule set.
type program struct {
	engine *alert.Engine
	timed  bool
}

var programs sync.Map // programKey -> program

func (s *Scenario) program(newer bool) program {
	key := programKey{s.Rules, newer && s.Deployment == NewRules, s.Lateness, s.Delivery == settings.Ordered}
	if p, ok := programs.Load(key); ok {
		return p.(program)
	}
	text := map[string]string{"levels": levelRules, "quotes": quoteRules, "history": historyRules, "many": levelRules + manyRules()}[s.Rules]
	if key.newer {
		text += newRule
	}
	rules := must(alert.Load("rules.yaml", []byte(text)))
	p := program{rules.Engine(alert.Options{Lateness: s.Lateness, Ordered: key.ordered}), rules.Timed()}
	programs.Store(key, p)
	return p
}
