// Package settings is the contract between the construct, which sets the function's environment, and the processor,
// which reads it: names, defaults and parsing. Standard library only.
package settings

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The names of the environment's variables.
const (
	EnvEnvironment       = "ENVIRONMENT"       // the suffix: "prod"
	EnvQueueURL          = "QUEUE_URL"         // the market data queue
	EnvRejectsQueueURL   = "REJECTS_QUEUE_URL" // refused events
	EnvAlertsTable       = "ALERTS_TABLE"
	EnvStateTable        = "STATE_TABLE"
	EnvAlertTopicARN     = "ALERT_TOPIC_ARN"
	EnvDelivery          = "DELIVERY"           // a Delivery
	EnvRulesFile         = "RULES_FILE"         // path of the compiled rules, relative to the function's folder
	EnvLateness          = "LATENESS"           // a Go duration
	EnvClockSkew         = "CLOCK_SKEW"         // a Go duration
	EnvAlertTTL          = "ALERT_TTL"          // a Go duration, "0s" = alerts are kept
	EnvStateTTL          = "STATE_TTL"          // a Go duration
	EnvMaxRetryDelay     = "MAX_RETRY_DELAY"    // a Go duration: the queue's visibility timeout
	EnvSeriesConcurrency = "SERIES_CONCURRENCY" // series committed at the same time
	EnvClock             = "CLOCK"              // a Clock
)

// Delivery is how the market data queue orders messages.
type Delivery string

// Ordered is a FIFO queue (the default), Unordered a standard one.
const (
	Ordered   Delivery = "ordered"
	Unordered Delivery = "unordered"
)

// Clock tells whether a schedule invokes the function with ClockInput.
type Clock string

// ClockOn is the default.
const (
	ClockOn  Clock = "on"
	ClockOff Clock = "off"
)

// ClockKey and ClockTick are the input of a clock invocation, {"clock":"tick"}.
const (
	ClockKey  = "clock"
	ClockTick = "tick"
)

// ClockGrace is how long after a deadline its clock event is sent, so that it does not overtake the feed.
const ClockGrace = 30 * time.Second

// Attributes and keys of the tables, shared with the construct that declares them.
const (
	AlertsPartitionKey = "symbol"   // alerts: partition key
	AlertsSortKey      = "alert_id" // alerts: sort key
	AlertsTTL          = "expires_at"

	DayIndex    = "by-day"    // alerts of one day, all symbols: day_shard, alert_id
	DayShardKey = "day_shard" // "2026-11-22#3"
	DayShards   = 8           // one hot partition would throttle the table's writes

	PendingIndex    = "pending" // sparse, alerts not known to be published: pending_shard, lease_until
	PendingShardKey = "pending_shard"
	PendingLeaseKey = "lease_until" // Unix milliseconds
	PendingShards   = 8

	StatePartitionKey = "series"     // state: partition key
	StateTTL          = "expires_at" // Unix seconds

	DueIndex    = "due" // sparse, series that wait for time: due_shard, due
	DueShardKey = "due_shard"
	DueKey      = "due"       // wall time of the next clock event, Unix milliseconds
	DueEvent    = "due_event" // the event time that it tells, Unix nanoseconds
	DueGroup    = "group"     // the message group into which it is sent
	DueShards   = 8
)

// MetricsNamespace and MetricsDimension place the processor's own metrics in CloudWatch.
const (
	MetricsNamespace = "MarketDataPipeline"
	MetricsDimension = "Environment"
)

// The processor's metrics.
const (
	MetricRecordsReceived = "RecordsReceived"
	MetricRecordsFailed   = "RecordsFailed"
	MetricRecordsDeferred = "RecordsDeferred"
	MetricEventsReceived  = "EventsReceived"
	MetricEventsRejected  = "EventsRejected"
	MetricEventsLate      = "EventsLate"
	MetricEventsRepeated  = "EventsRepeated"
	MetricAlertsFired     = "AlertsFired"
	MetricAlertsPublished = "AlertsPublished"
	MetricAlertsFailed    = "AlertsFailed"        // permanently refused by SNS
	MetricStateConflicts  = "StateConflicts"      // lost races for a series' state
	MetricStatesRewarmed  = "StatesRewarmed"      // states of an older format, started anew
	MetricEventToAlert    = "EventToAlertLatency" // milliseconds, event time to published
	MetricPendingExpired  = "PendingExpired"      // alerts whose lease ended before they were published
	MetricClocksSent      = "ClocksSent"          // clock events
)

// Defaults of the values that have one.
const (
	DefaultLateness          = 5 * time.Second
	DefaultClockSkew         = 60 * time.Second
	DefaultStateTTL          = 30 * 24 * time.Hour
	DefaultMaxRetryDelay     = 6 * time.Minute
	DefaultSeriesConcurrency = 32
	DefaultRulesFile         = "rules.compiled"
	FirstRetryDelay          = 15 * time.Second
)

// RulesSource is the rules file that people write, beside the function's source. The construct compiles it.
const RulesSource = "rules.yaml"

// Settings is the processor's environment, parsed.
type Settings struct {
	Environment       string
	Region            string
	QueueURL          string
	RejectsQueueURL   string
	AlertsTable       string
	StateTable        string
	AlertTopicARN     string
	Delivery          Delivery
	RulesFile         string
	Lateness          time.Duration
	ClockSkew         time.Duration
	AlertTTL          time.Duration // 0 = alerts are kept
	StateTTL          time.Duration
	MaxRetryDelay     time.Duration
	SeriesConcurrency int
	Clock             Clock
}

// FromEnv reads the settings through getenv (os.Getenv). Its error names every variable that is missing or bad and what
// would be right, but not the value: it is logged, and a secret may be in the wrong place.
func FromEnv(getenv func(string) string) (Settings, error) {
	var errs []error
	required := func(name string) string {
		v := getenv(name)
		if v == "" {
			errs = append(errs, fmt.Errorf("%s is not set: the construct sets it, so set it by hand only outside Lambda", name))
		}
		return v
	}
	duration := func(name string, def, min time.Duration) time.Duration {
		v := getenv(name)
		if v == "" {
			return def
		}
		d, err := time.ParseDuration(v)
		if err != nil || d < min {
			errs = append(errs, fmt.Errorf("%s is bad: give a duration of at least %s such as %s", name, min, def))
		}
		return d
	}
	s := Settings{
		Environment:       required(EnvEnvironment),
		Region:            required("AWS_REGION"),
		QueueURL:          required(EnvQueueURL),
		RejectsQueueURL:   required(EnvRejectsQueueURL),
		AlertsTable:       required(EnvAlertsTable),
		StateTable:        required(EnvStateTable),
		AlertTopicARN:     required(EnvAlertTopicARN),
		Delivery:          Delivery(getenv(EnvDelivery)),
		RulesFile:         getenv(EnvRulesFile),
		Lateness:          duration(EnvLateness, DefaultLateness, 0),
		ClockSkew:         duration(EnvClockSkew, DefaultClockSkew, time.Second),
		AlertTTL:          duration(EnvAlertTTL, 0, 0),
		StateTTL:          duration(EnvStateTTL, DefaultStateTTL, time.Hour),
		MaxRetryDelay:     duration(EnvMaxRetryDelay, DefaultMaxRetryDelay, FirstRetryDelay),
		SeriesConcurrency: DefaultSeriesConcurrency,
		Clock:             Clock(getenv(EnvClock)),
	}
	switch s.Delivery {
	case "":
		s.Delivery = Ordered
	case Ordered, Unordered:
	default:
		errs = append(errs, fmt.Errorf("%s is bad: give %q or %q", EnvDelivery, Ordered, Unordered))
	}
	switch s.Clock {
	case "":
		s.Clock = ClockOn
	case ClockOn, ClockOff:
	default:
		errs = append(errs, fmt.Errorf("%s is bad: give %q or %q", EnvClock, ClockOn, ClockOff))
	}
	if s.RulesFile == "" {
		s.RulesFile = DefaultRulesFile
	}
	if v := getenv(EnvSeriesConcurrency); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			errs = append(errs, fmt.Errorf("%s is bad: give a whole number of at least 1", EnvSeriesConcurrency))
		}
		s.SeriesConcurrency = n
	}
	return s, errors.Join(errs...)
}
