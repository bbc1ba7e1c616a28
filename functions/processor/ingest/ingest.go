// Package ingest turns a batch of SQS messages into committed, published alerts and a partial batch response. The same
// Handler runs in Lambda, in the local run and in the tests; it owns the interfaces of what it needs.
package ingest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"example.com/market-data-pipeline/functions/processor/alert"
	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

// The Handler's strings alias the payload of the invocation, whose memory is used again. So whoever is called keeps none
// that it is given beyond the call; alerts alone have strings of their own.

// States keeps one snapshot per series; package ledger states the contract of each method.
type States interface {
	ReadStates(ctx context.Context, series []string) (states map[string]alert.Snapshot, bad map[string]error, err error)
	Commit(ctx context.Context, c alert.Commit) (alert.CommitResult, error)
}

// Outbox keeps the stored alerts; package ledger states the contract of each method.
type Outbox interface {
	Records(ctx context.Context, keys []alert.Key) (map[alert.Key]alert.Record, error)
	Claim(ctx context.Context, key alert.Key, owner string, lease int64) (r alert.Record, claimed bool, err error)
	Release(ctx context.Context, key alert.Key, owner string) error
	Settle(ctx context.Context, records []alert.Record) error
}

// Ledger is the store of both.
type Ledger interface {
	States
	Outbox
}

// Notifier publishes alerts. It returns one error per alert, in order, nil where the alert was accepted. An error whose
// Permanent method returns true means that no retry can help.
type Notifier interface {
	Publish(ctx context.Context, records []alert.Record) []error
}

// Queue is the sender's side of the queues.
type Queue interface {
	// Reject keeps what was refused in the rejects queue: one error per element, nil where it was kept.
	Reject(ctx context.Context, rejected []market.Rejected) []error
	// SetVisibility hides returned messages for a while, best effort.
	SetVisibility(ctx context.Context, delays []market.Delay) error
}

// Timetable finds what waits for a time; package ledger states the contract of each method.
type Timetable interface {
	DueSeries(ctx context.Context, now time.Time) iter.Seq2[alert.DueSeries, error]
	ExpiredAlerts(ctx context.Context, now time.Time) iter.Seq2[alert.Key, error]
}

// Clocks sends clock events into the market data queue: one error per message, nil where it was accepted.
type Clocks interface {
	SendClocks(ctx context.Context, messages []alert.ClockMessage) []error
}

// Config is what a Handler needs. Engine, Ledger, Notifier and Queue are required; Timetable and Clocks are for Tick.
type Config struct {
	Environment string // the metrics' dimension
	Delivery    settings.Delivery
	Engine      *alert.Engine
	Ledger      Ledger
	Notifier    Notifier
	Queue       Queue
	Timetable   Timetable
	Clocks      Clocks
	// Timers: rules wait for time and a clock ticks. States then say when they are due, and Tick sends clock events.
	Timers bool
	// Ticks: Tick is called every minute. Its metrics then hold the zeros that those of the batches leave out.
	Ticks     bool
	ClockSkew time.Duration
	// MaxRetryDelay caps the time for which a failed message is hidden: 15 s after its first receive, then doubling.
	MaxRetryDelay time.Duration
	// SeriesConcurrency bounds the series committed at the same time; 1 = one after the other, without goroutines.
	SeriesConcurrency int
	Logger            *slog.Logger // nil discards
	Metrics           io.Writer    // Embedded Metric Format, one line per batch; nil discards

	Now    func() time.Time                           // nil = time.Now
	Sleep  func(context.Context, time.Duration) error // nil = a timer
	Jitter func(max time.Duration) time.Duration      // random in [0, max); nil = math/rand
	NewID  func() string                              // unique in the ledger; nil = 128 random bits in hex
	// WithDeadline is context.WithDeadline on the clock of Now; nil = context.WithDeadline.
	WithDeadline func(context.Context, time.Time) (context.Context, context.CancelFunc)
	// Parallel runs f for 0 to n-1 and returns when all have ended; nil = goroutines, at most SeriesConcurrency.
	Parallel func(n int, f func(int))
}

// Handler processes batches. It is safe for concurrent use. Between batches it keeps no state, only their memory and which
// alerts are settled for good.
type Handler struct {
	cfg         Config
	environment []byte // as JSON
	spare       atomic.Pointer[memory]
	facts       facts
}

// New checks cfg and fills in its defaults.
func New(cfg Config) (*Handler, error) {
	var errs []error
	if cfg.Engine == nil || cfg.Ledger == nil || cfg.Notifier == nil || cfg.Queue == nil {
		errs = append(errs, errors.New("ingest: Engine, Ledger, Notifier and Queue are required"))
	}
	switch cfg.Delivery {
	case "":
		cfg.Delivery = settings.Ordered
	case settings.Ordered, settings.Unordered:
	default:
		errs = append(errs, fmt.Errorf("ingest: Delivery is %q: give %q or %q", cfg.Delivery, settings.Ordered, settings.Unordered))
	}
	if cfg.ClockSkew < 0 || cfg.MaxRetryDelay < 0 || cfg.SeriesConcurrency < 0 {
		errs = append(errs, errors.New("ingest: ClockSkew, MaxRetryDelay and SeriesConcurrency must not be negative"))
	}
	if cfg.ClockSkew == 0 {
		cfg.ClockSkew = settings.DefaultClockSkew
	}
	if cfg.MaxRetryDelay == 0 {
		cfg.MaxRetryDelay = settings.DefaultMaxRetryDelay
	}
	if cfg.SeriesConcurrency == 0 {
		cfg.SeriesConcurrency = settings.DefaultSeriesConcurrency
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = io.Discard
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Jitter == nil {
		cfg.Jitter = func(max time.Duration) time.Duration { return rand.N(max) }
	}
	if cfg.NewID == nil {
		cfg.NewID = func() string {
			var id [16]byte
			binary.BigEndian.PutUint64(id[:8], rand.Uint64())
			binary.BigEndian.PutUint64(id[8:], rand.Uint64())
			return hex.EncodeToString(id[:])
		}
	}
	if cfg.WithDeadline == nil {
		cfg.WithDeadline = context.WithDeadline
	}
	if cfg.Parallel == nil {
		cfg.Parallel = func(n int, f func(int)) { parallel(n, cfg.SeriesConcurrency, f) }
	}
	environment, err := json.Marshal(cfg.Environment)
	return &Handler{cfg: cfg, environment: environment}, errors.Join(append(errs, err)...)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// leaseMargin is how long an owner's right to publish outlives its deadline: no clock of the pipeline is further off.
const leaseMargin = 5 * time.Second

// noDeadline is the time that a batch gets whose context has no deadline.
const noDeadline = time.Minute

// Handle processes a batch and returns the messages that SQS shall deliver again. Its error is not nil only if messages
// failed and none was done; every message is then delivered again. All goroutines have ended when it returns.
func (h *Handler) Handle(ctx context.Context, records []Record) (Response, error) {
	return h.handle(ctx, records, new(memory))
}

func (h *Handler) handle(ctx context.Context, records []Record, m *memory) (Response, error) {
	now := h.cfg.Now()
	inv, p, cancel := h.begin(ctx, now, deadlineOf(ctx, now), m)
	defer cancel()
	inv.messages = slices.Grow(inv.messages[:0], len(records))[:len(records)]
	clear(inv.messages)
	inv.decode(records)
	inv.run(p.work, p.publish, p.end)
	inv.forwardRefusals(p.end)
	return inv.finish(p.end)
}

func deadlineOf(ctx context.Context, now time.Time) time.Time {
	if deadline, ok := ctx.Deadline(); ok {
		return deadline
	}
	return now.Add(noDeadline)
}

// phases of an invocation. The last moments are kept for what must still be said: first for publishing what is
// committed, then for the rejects and the visibility of what is returned.
type phases struct{ work, publish, end phase }

func (h *Handler) begin(ctx context.Context, now, deadline time.Time, m *memory) (*invocation, phases, context.CancelFunc) {
	inv := &invocation{
		Handler: h, memory: m, start: now, owner: h.cfg.NewID(), lease: deadline.Add(leaseMargin).UnixMilli(), groups: map[string]int{},
	}
	reserve := min(1500*time.Millisecond, deadline.Sub(now)/8)
	work, cancelWork := h.limited(ctx, deadline.Add(-2*reserve))
	publish, cancelPublish := h.limited(ctx, deadline.Add(-reserve))
	end, cancelEnd := h.limited(ctx, deadline.Add(-reserve/4))
	return inv, phases{work, publish, end}, func() { cancelWork(); cancelPublish(); cancelEnd() }
}

// limited is a phase that ends at until.
func (h *Handler) limited(ctx context.Context, until time.Time) (phase, context.CancelFunc) {
	if _, ok := ctx.Deadline(); !ok {
		return phase{ctx, until}, func() {}
	}
	ctx, cancel := h.cfg.WithDeadline(ctx, until)
	return phase{ctx, until}, cancel
}

// phase is a part of an invocation with a deadline of its own. Where the batch's context has none, until still ends it,
// by the handler's own clock.
type phase struct {
	context.Context
	until time.Time
}

// over tells whether the phase's time is up.
func (inv *invocation) over(p phase) bool { return p.Err() != nil || !inv.cfg.Now().Before(p.until) }
