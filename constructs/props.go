package constructs

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// MarketDataPipelineProps configures a pipeline. The zero value, or nil, deploys: every zero field means its
// documented default. Durations are whole seconds.
type MarketDataPipelineProps struct {
	// Suffix ends every physical name, so that several pipelines fit in one account and region. 1 to 20 of a-z, 0-9
	// and "-". Default "dev".
	Suffix string
	// Delivery chooses a FIFO queue (settings.Ordered, the default) or a standard one (settings.Unordered).
	Delivery settings.Delivery
	// Tags are put on every resource, beside Environment (the suffix) and Application.
	Tags map[string]string
	// RemovalPolicy of key, queues, tables and log group. Default RemovalPolicy_DESTROY: nothing outlives the stack.
	RemovalPolicy awscdk.RemovalPolicy
	// OutputPrefix begins the names of the stack's outputs. Default none; the second pipeline of a stack needs one.
	OutputPrefix string

	// Entry is the folder of the function's main package. Default: functions/processor of this module, found from
	// the place where this package was compiled.
	Entry string
	// RulesFile is the path of the alert rules, checked and compiled at synth; the compiled rules are packed into the
	// function. Default: rules.yaml in Entry.
	RulesFile string

	// Key encrypts everything. Default: a key of the pipeline's own. A key from outside the app needs statements that
	// its owner must add: synth warns with their text.
	Key awskms.IKey
	// AlertTopic receives the alerts. Default: a topic of the pipeline's own.
	AlertTopic awssns.ITopic
	// AlarmTopic receives the alarms. Default: a topic of the pipeline's own.
	AlarmTopic awssns.ITopic
	// AlertEmails and AlarmEmails are subscribed to the topics; each must confirm once.
	AlertEmails []string
	AlarmEmails []string
	// ProducerAccounts are 12-digit ids of other accounts that may send market data. Their own IAM policies must
	// allow it too.
	ProducerAccounts []string

	// MemoryMiB of the function, 128 to 10240. Below 1769, less than one processor, GOMAXPROCS is 1. Default 256.
	MemoryMiB int
	// Timeout of the function, 1 s to 15 min. Default 60 s.
	Timeout time.Duration
	// ReservedConcurrency caps the function and keeps that many places for it: at least 3, without the clock 2. Default 5.
	ReservedConcurrency int
	// DisableReservedConcurrency reserves nothing: new accounts have a limit of 10, of which nothing can be reserved.
	DisableReservedConcurrency bool
	// DisableTracing switches X-Ray off.
	DisableTracing bool
	// LogRetentionDays is a retention that CloudWatch offers (1, 3, 5, 7, 14, 30, 60, 90 ...). Default 30.
	LogRetentionDays int

	// BatchSize is the largest batch of messages: 1 to 10, in unordered delivery to 10,000. Default 10.
	BatchSize int
	// BatchingWindow is how long a poller gathers a batch: unordered delivery only, to 5 min. Default none.
	BatchingWindow time.Duration
	// MaxConcurrency is how many batches are processed at a time: at least 2, at most ReservedConcurrency less a place
	// for the clock. Default: as many as that allows.
	MaxConcurrency int
	// VisibilityTimeout of the market data queue, the longest delay between two retries: at least 6 times Timeout plus
	// BatchingWindow. Default exactly that, and never under 6 min.
	VisibilityTimeout time.Duration
	// MaxReceiveCount is how often a message is tried before it is a dead letter. Default 10. The waits between the
	// tries (15 s, doubling to VisibilityTimeout) must add up to 30 min.
	MaxReceiveCount int
	// QueueRetention, DeadLetterRetention and RejectsRetention: 1 min to 14 days. Default 14 days.
	QueueRetention      time.Duration
	DeadLetterRetention time.Duration
	RejectsRetention    time.Duration

	// DisableClock leaves the one-minute schedule out. What waits for time (a bar's end, a "for", a silence) then waits
	// for the series' next event, and an alert whose publisher died for its message's next delivery.
	DisableClock bool
	// Lateness is how far behind the newest event of its series an event may be. Default 5 s.
	Lateness time.Duration
	// ClockSkew is how far in the future an event's time may be. Default 60 s.
	ClockSkew time.Duration
	// AlertTTL deletes alerts after that time. Default: alerts are kept.
	AlertTTL time.Duration
	// StateTTL forgets a series that was silent for that long, at least 1 h. Default 30 days.
	StateTTL time.Duration
	// SeriesConcurrency is how many series one invocation commits at the same time. Default 32.
	SeriesConcurrency int
	// DisablePointInTimeRecovery switches the tables' continuous backups off.
	DisablePointInTimeRecovery bool

	// Thresholds of the alarms.
	Thresholds Thresholds
	// DisableDashboard leaves the dashboard out.
	DisableDashboard bool
}

// Thresholds of the alarms. Each is the largest value that is still fine, over one 5-minute period; a zero field means
// its default. Dead letters, throttles, expired pending alerts and refused notifications alarm at the first. There is no
// least number for the percentages: of fewer than 100, one is more than 1 %, so that a quiet feed's failures are heard.
type Thresholds struct {
	// ErrorPercent of the function's invocations. Default 1.
	ErrorPercent float64
	// RecordFailurePercent of the records received. Default 1.
	RecordFailurePercent float64
	// RejectPercent of the events received. Default 5.
	RejectPercent float64
	// LatePercent of the events received. Default 1.
	LatePercent float64
	// OldestMessage is the age of the oldest message in the queue. Default 10 min.
	OldestMessage time.Duration
	// DurationPercent of Timeout that the slowest 1 % of invocations may take. Default 80.
	DurationPercent float64
}

// PropsError is what NewMarketDataPipeline panics with: every problem of the props, joined.
type PropsError struct{ Err error }

// Error lists the problems, one per line.
func (e *PropsError) Error() string { return e.Err.Error() }

// Unwrap gives the joined problems.
func (e *PropsError) Unwrap() error { return e.Err }

// Validate checks p, which may be nil, and loads its rules, as NewMarketDataPipeline does, but starts no kernel. Its
// error is a *PropsError.
func (p *MarketDataPipelineProps) Validate() error {
	_, _, _, err := p.resolve()
	return err
}

// resolve returns p with its defaults, its files located, and the rules: compiled, and what they warn of.
func (p *MarketDataPipelineProps) resolve() (r MarketDataPipelineProps, compiled []byte, warnings []alert.Problem, err error) {
	r = p.withDefaults()
	compiled, warnings, err = r.locate()
	if err = errors.Join(r.validate(), err); err != nil {
		err = &PropsError{err}
	}
	return r, compiled, warnings, err
}

const (
	day           = 24 * time.Hour
	maxRetention  = 14 * day
	minPatience   = 30 * time.Minute
	maxVisibility = 12 * time.Hour
)

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// withDefaults returns a copy of p, which may be nil, with every default filled in.
func (p *MarketDataPipelineProps) withDefaults() MarketDataPipelineProps {
	var r MarketDataPipelineProps
	if p != nil {
		r = *p
	}
	orDefault(&r.Suffix, "dev")
	orDefault(&r.Delivery, settings.Ordered)
	orDefault(&r.RemovalPolicy, awscdk.RemovalPolicy_DESTROY)
	orDefault(&r.MemoryMiB, 256) // one unit of work is small; twice the least halves the cold start
	orDefault(&r.Timeout, time.Minute)
	if !r.DisableReservedConcurrency {
		orDefault(&r.ReservedConcurrency, 5)
	}
	orDefault(&r.LogRetentionDays, 30)
	orDefault(&r.BatchSize, 10)
	if r.DisableReservedConcurrency {
		orDefault(&r.MaxConcurrency, 4)
	} else {
		orDefault(&r.MaxConcurrency, max(2, r.ReservedConcurrency-r.clockPlaces()))
	}
	orDefault(&r.VisibilityTimeout, max(r.leastVisibility(), settings.DefaultMaxRetryDelay))
	orDefault(&r.MaxReceiveCount, 10)
	orDefault(&r.QueueRetention, maxRetention)
	orDefault(&r.DeadLetterRetention, maxRetention)
	orDefault(&r.RejectsRetention, maxRetention)
	orDefault(&r.Lateness, settings.DefaultLateness)
	orDefault(&r.ClockSkew, settings.DefaultClockSkew)
	orDefault(&r.StateTTL, settings.DefaultStateTTL)
	orDefault(&r.SeriesConcurrency, settings.DefaultSeriesConcurrency)
	orDefault(&r.Thresholds.ErrorPercent, 1)
	orDefault(&r.Thresholds.RecordFailurePercent, 1)
	orDefault(&r.Thresholds.RejectPercent, 5)
	orDefault(&r.Thresholds.LatePercent, 1)
	orDefault(&r.Thresholds.OldestMessage, 10*time.Minute)
	orDefault(&r.Thresholds.DurationPercent, 80)
	return r
}

// clockPlaces is how many invocations the clock makes at a time.
func (p *MarketDataPipelineProps) clockPlaces() int {
	if p.DisableClock {
		return 0
	}
	return 1
}

// leastVisibility is the shortest visibility timeout that Lambda's pollers need to retry throttled batches.
func (p *MarketDataPipelineProps) leastVisibility() time.Duration {
	return 6*p.Timeout + p.BatchingWindow
}

// patience is how long a message is retried before it is a dead letter.
func (p *MarketDataPipelineProps) patience() time.Duration {
	var total time.Duration
	wait := settings.FirstRetryDelay
	for range p.MaxReceiveCount - 1 {
		total += min(wait, p.VisibilityTimeout)
		if wait < p.VisibilityTimeout {
			wait *= 2
		}
	}
	return total
}

var (
	suffixPattern  = regexp.MustCompile(`^[a-z0-9-]{1,20}$`)
	prefixPattern  = regexp.MustCompile(`^[A-Za-z0-9]{0,40}$`)
	accountPattern = regexp.MustCompile(`^[0-9]{12}$`)
	tagPattern     = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

// retentionDays is what CloudWatch Logs offers.
var retentionDays = map[int]awslogs.RetentionDays{
	1: awslogs.RetentionDays_ONE_DAY, 3: awslogs.RetentionDays_THREE_DAYS, 5: awslogs.RetentionDays_FIVE_DAYS,
	7: awslogs.RetentionDays_ONE_WEEK, 14: awslogs.RetentionDays_TWO_WEEKS, 30: awslogs.RetentionDays_ONE_MONTH,
	60: awslogs.RetentionDays_TWO_MONTHS, 90: awslogs.RetentionDays_THREE_MONTHS,
	120: awslogs.RetentionDays_FOUR_MONTHS, 150: awslogs.RetentionDays_FIVE_MONTHS,
	180: awslogs.RetentionDays_SIX_MONTHS, 365: awslogs.RetentionDays_ONE_YEAR,
	400: awslogs.RetentionDays_THIRTEEN_MONTHS, 545: awslogs.RetentionDays_EIGHTEEN_MONTHS,
	731: awslogs.RetentionDays_TWO_YEARS, 1096: awslogs.RetentionDays_THREE_YEARS,
	1827: awslogs.RetentionDays_FIVE_YEARS, 2192: awslogs.RetentionDays_SIX_YEARS,
	2557: awslogs.RetentionDays_SEVEN_YEARS, 2922: awslogs.RetentionDays_EIGHT_YEARS,
	3288: awslogs.RetentionDays_NINE_YEARS, 3653: awslogs.RetentionDays_TEN_YEARS,
}

// validate checks props with their defaults filled in, one by one and against each other. Its error joins all
// problems: the value, the rule, what to change.
func (p *MarketDataPipelineProps) validate() error {
	var c checks
	c.that(suffixPattern.MatchString(p.Suffix),
		"Suffix is %q: give 1 to 20 of a-z, 0-9 and \"-\", for it ends the names of queues, tables, topics and the key's alias", p.Suffix)
	c.that(p.Delivery == settings.Ordered || p.Delivery == settings.Unordered,
		"Delivery is %q: give %q or %q", p.Delivery, settings.Ordered, settings.Unordered)
	c.that(slices.Contains([]awscdk.RemovalPolicy{awscdk.RemovalPolicy_DESTROY, awscdk.RemovalPolicy_RETAIN,
		awscdk.RemovalPolicy_RETAIN_ON_UPDATE_OR_DELETE}, p.RemovalPolicy),
		"RemovalPolicy is %q: give DESTROY, RETAIN or RETAIN_ON_UPDATE_OR_DELETE (queues have no snapshots)", p.RemovalPolicy)
	c.that(prefixPattern.MatchString(p.OutputPrefix), "OutputPrefix is %q: give at most 40 letters and digits", p.OutputPrefix)
	c.tags(p.Tags)
	c.emails("AlertEmails", p.AlertEmails)
	c.emails("AlarmEmails", p.AlarmEmails)
	for _, id := range p.ProducerAccounts {
		c.that(accountPattern.MatchString(id), "ProducerAccounts has %q: give account ids of 12 digits", id)
	}
	c.distinct("ProducerAccounts", p.ProducerAccounts)
	// Alerts and alarms carry no message group.
	c.that(p.AlertTopic == nil || !*p.AlertTopic.Fifo(), "AlertTopic is a FIFO topic: give a standard one")
	c.that(p.AlarmTopic == nil || !*p.AlarmTopic.Fifo(), "AlarmTopic is a FIFO topic: CloudWatch publishes to standard ones only")

	c.between("MemoryMiB", p.MemoryMiB, 128, 10240)
	c.duration("Timeout", p.Timeout, time.Second, 15*time.Minute)
	c.that(retentionDays[p.LogRetentionDays] != "", "LogRetentionDays is %d: CloudWatch offers %v",
		p.LogRetentionDays, slices.Sorted(maps.Keys(retentionDays)))
	c.concurrency(p)
	c.batch(p)
	c.queues(p)

	c.duration("Lateness", p.Lateness, time.Second, day)
	c.duration("ClockSkew", p.ClockSkew, time.Second, day)
	if p.AlertTTL != 0 {
		c.duration("AlertTTL", p.AlertTTL, time.Hour, 36500*day)
	}
	c.duration("StateTTL", p.StateTTL, time.Hour, 36500*day)
	c.between("SeriesConcurrency", p.SeriesConcurrency, 1, 1000)

	t := p.Thresholds
	c.percent("ErrorPercent", t.ErrorPercent)
	c.percent("RecordFailurePercent", t.RecordFailurePercent)
	c.percent("RejectPercent", t.RejectPercent)
	c.percent("LatePercent", t.LatePercent)
	c.percent("DurationPercent", t.DurationPercent)
	c.duration("Thresholds.OldestMessage", t.OldestMessage, time.Minute, max(time.Minute, p.QueueRetention))
	return errors.Join(c.errs...)
}

// checks gathers problems.
type checks struct{ errs []error }

func (c *checks) that(ok bool, format string, args ...any) {
	if !ok {
		c.errs = append(c.errs, fmt.Errorf(format, args...))
	}
}

func (c *checks) between(name string, v, low, high int) {
	c.that(v >= low && v <= high, "%s is %d: give %d to %d", name, v, low, high)
}

func (c *checks) duration(name string, v, low, high time.Duration) {
	c.that(v >= low && v <= high && v%time.Second == 0, "%s is %s: give %s to %s in whole seconds", name, v, low, high)
}

func (c *checks) percent(name string, v float64) {
	c.that(v > 0 && v <= 100 && !math.IsNaN(v), "Thresholds.%s is %v: give more than 0 and at most 100", name, v)
}

func (c *checks) distinct(name string, values []string) {
	seen := map[string]bool{}
	for _, v := range values {
		c.that(!seen[v], "%s has %q twice: remove one", name, v)
		seen[v] = true
	}
}

func (c *checks) emails(name string, values []string) {
	for _, v := range values {
		a, err := mail.ParseAddress(v)
		c.that(err == nil && a.Address == v, "%s has %q: give a plain address such as desk@example.com", name, v)
	}
	c.distinct(name, values)
}

func (c *checks) tags(tags map[string]string) {
	c.that(len(tags) <= 48, "Tags has %d entries: AWS takes 50 a resource, two of which are Environment and Application", len(tags))
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		v := tags[k]
		c.that(k != "Environment" && k != "Application", "Tags has the key %q: the pipeline sets it itself, remove it", k)
		c.that(k != "" && len([]rune(k)) <= 128 && tagPattern.MatchString(k) && !strings.HasPrefix(strings.ToLower(k), "aws:"),
			"Tags has the key %q: give 1 to 128 letters, digits, spaces or _.:/=+-@, not beginning with aws:", k)
		c.that(len([]rune(v)) <= 256 && tagPattern.MatchString(v),
			"Tags has %q = %q: give a value of at most 256 letters, digits, spaces or _.:/=+-@", k, v)
	}
}

func (c *checks) concurrency(p *MarketDataPipelineProps) {
	c.between("MaxConcurrency", p.MaxConcurrency, 2, 1000)
	if p.DisableReservedConcurrency {
		c.that(p.ReservedConcurrency == 0,
			"ReservedConcurrency is %d with DisableReservedConcurrency: remove one of them", p.ReservedConcurrency)
		return
	}
	least := 2 + p.clockPlaces()
	c.that(p.ReservedConcurrency >= least,
		"ReservedConcurrency is %d: give at least %d (2, the least a queue's pollers can be limited to, and 1 for the clock, unless DisableClock), or set DisableReservedConcurrency",
		p.ReservedConcurrency, least)
	c.that(p.ReservedConcurrency < least || p.MaxConcurrency <= p.ReservedConcurrency-p.clockPlaces(),
		"MaxConcurrency is %d and ReservedConcurrency %d, of which the clock needs %d: pollers beyond the rest are throttled and use up MaxReceiveCount; lower the one or raise the other",
		p.MaxConcurrency, p.ReservedConcurrency, p.clockPlaces())
}

func (c *checks) batch(p *MarketDataPipelineProps) {
	if p.Delivery == settings.Unordered {
		c.between("BatchSize", p.BatchSize, 1, 10_000)
		c.duration("BatchingWindow", p.BatchingWindow, 0, 5*time.Minute)
		c.that(p.BatchSize <= 10 || p.BatchingWindow >= time.Second,
			"BatchSize is %d with BatchingWindow %s: a batch over 10 needs a window of at least 1s", p.BatchSize, p.BatchingWindow)
		return
	}
	c.that(p.BatchSize >= 1 && p.BatchSize <= 10,
		"BatchSize is %d: a FIFO queue gives 1 to 10 messages at a time; lower it or use unordered delivery", p.BatchSize)
	c.that(p.BatchingWindow == 0,
		"BatchingWindow is %s: a FIFO queue has none; remove it or use unordered delivery", p.BatchingWindow)
}

func (c *checks) queues(p *MarketDataPipelineProps) {
	c.duration("VisibilityTimeout", p.VisibilityTimeout, time.Second, maxVisibility)
	c.that(p.VisibilityTimeout >= p.leastVisibility(),
		"VisibilityTimeout is %s: give at least %s, 6 times Timeout (%s) plus BatchingWindow (%s), or messages return while they are processed",
		p.VisibilityTimeout, p.leastVisibility(), p.Timeout, p.BatchingWindow)
	c.between("MaxReceiveCount", p.MaxReceiveCount, 1, 1000)
	c.that(p.MaxReceiveCount < 1 || p.MaxReceiveCount > 1000 || p.patience() >= minPatience,
		"MaxReceiveCount %d with VisibilityTimeout %s gives up after %s: the waits (15s, doubling to VisibilityTimeout) must add up to %s, so that an outage loses nothing; raise either",
		p.MaxReceiveCount, p.VisibilityTimeout, p.patience(), minPatience)
	c.duration("QueueRetention", p.QueueRetention, time.Minute, maxRetention)
	c.duration("DeadLetterRetention", p.DeadLetterRetention, time.Minute, maxRetention)
	c.duration("RejectsRetention", p.RejectsRetention, time.Minute, maxRetention)
	c.that(p.DeadLetterRetention >= min(p.QueueRetention, maxRetention),
		"DeadLetterRetention is %s and QueueRetention %s: a dead letter keeps its first send time, so give the dead-letter queue at least as long",
		p.DeadLetterRetention, p.QueueRetention)
	c.that(p.QueueRetention > p.patience() || p.patience() < minPatience,
		"QueueRetention is %s and retries take %s: messages would expire before they are dead letters; raise QueueRetention",
		p.QueueRetention, p.patience())
}
