package producer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// ErrClosed is what Send and Flush return once Close was called.
var ErrClosed = errors.New("producer: closed")

// Producer packs events and sends them. It is safe for concurrent use.
type Producer struct {
	cfg  Config
	fifo bool

	nudge   chan struct{} // the dispatcher has something to look at
	calls   context.Context
	abort   context.CancelFunc // ends the requests under way and the dispatcher
	senders sync.WaitGroup
	ended   chan struct{} // closed when the dispatcher has returned
	closed  chan struct{} // closed when Close has done its work
	result  error         // of Close; read after closed

	mu       sync.Mutex
	closing  bool
	groups   map[string]*group // those with an event or a message
	open     []*group          // those with an event in no message yet, by its time
	flushAt  time.Time         // when all open groups become messages; zero where none is open
	ready    []*message        // may be sent now, oldest first
	retries  retries
	inFlight int                   // requests
	pending  map[*message]struct{} // neither acknowledged nor failed
	freed    chan struct{}         // closed, and replaced, when buffered shrinks
	buffered int                   // bytes of open groups and pending messages
	sealed   int64                 // messages so far
	stats    Stats
	lost     LostError
}

// Stats counts what a producer has done since New.
type Stats struct {
	Events   int64 // acknowledged by SQS
	Messages int64 // acknowledged by SQS
	Bytes    int64 // of the acknowledged messages, attributes included
	Requests int64 // sent, failed ones included
	Chunks   int64 // billed for those requests, one for each started BillingChunk
	Retries  int64 // messages sent again
	Failed   int64 // messages given up
	Unsent   int64 // events given up
	Buffered int64 // bytes that wait for SQS
}

// LostError is returned by Flush and Close where messages were given up. OnFailure has been given each of them.
type LostError struct {
	Messages, Events int
	First            error // why the first was given up
}

func (e *LostError) Error() string {
	return fmt.Sprintf("producer: %d messages with %d events were not sent, the first because: %v", e.Messages, e.Events, e.First)
}

// Unwrap returns why the first message was given up.
func (e *LostError) Unwrap() error { return e.First }

func (e *LostError) add(m *message) {
	if e.Messages == 0 {
		e.First = m.err
	}
	e.Messages++
	e.Events += m.events
}

// group is a sequence of events that are sent in their order.
type group struct {
	name string
	// busy: a message of a FIFO group is ready, under way or waiting for its retry; those behind it are in waiting.
	busy    bool
	waiting []*message

	// What is being packed.
	id      string
	body    strings.Builder
	events  int
	overdue bool // sealed as soon as the group is no longer busy
}

// message is a sealed part of a group.
type message struct {
	group  *group
	number int64 // in the order of sealing
	id     string
	body   string
	events int
	size   int // body and attribute

	attempts int
	first    time.Time // first attempt
	again    time.Time // next attempt, while in retries
	alone    bool      // sent in a request of its own, since one that it was part of was refused as a whole
	err      error     // why it was given up
	done     chan struct{}
}

// attributeSize is what the attribute that carries id counts in a message's size: name, type and value.
func attributeSize(id string) int { return len(OriginMessageID) + len(attributeType) + len(id) }

// New starts a producer. Its error names every bad value of c.
func New(c Config) (*Producer, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	p := &Producer{
		cfg:     c,
		fifo:    c.fifo(),
		nudge:   make(chan struct{}, 1),
		ended:   make(chan struct{}),
		closed:  make(chan struct{}),
		groups:  map[string]*group{},
		pending: map[*message]struct{}{},
		freed:   make(chan struct{}),
	}
	p.calls, p.abort = context.WithCancel(context.Background())
	go p.dispatch()
	return p, nil
}

// Send accepts e, which must not be nil and may be reused afterwards. It returns once e is buffered, not once it is
// sent, and blocks while the buffer is full. An event that the processor would refuse is refused here, with a
// *market.Refusal in the error's chain; other errors are ErrClosed and that of ctx.
func (p *Producer) Send(ctx context.Context, e *market.Event) error {
	line, err := p.encode(e)
	if err != nil {
		return err
	}
	name := ""
	if p.cfg.Shards > 0 {
		name = shardGroup(e.Symbol, e.Source, p.cfg.Shards)
	} else {
		name = MessageGroup(e.Symbol, e.Source)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if p.closing {
			return ErrClosed
		}
		if p.buffered == 0 || p.buffered+len(line)+1 <= p.cfg.MaxBuffer {
			return p.pack(name, line)
		}
		p.flush() // what is open now fills the buffer: waiting for MaxDelay would gain nothing
		freed := p.freed
		p.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
		}
		p.mu.Lock()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("producer: the buffer of %d bytes is full: %w", p.cfg.MaxBuffer, err)
		}
	}
}

// encode returns e as one line that the processor accepts. The processor's own decoder is the judge: a second set of
// rules here would drift from it.
func (p *Producer) encode(e *market.Event) (string, error) {
	line := string(e.AppendJSON(make([]byte, 0, 256)))
	refuse := func(r market.Refusal) error {
		return fmt.Errorf("producer: event of series %q refused: %w", e.Series(), &r)
	}
	if _, refused := market.Decode(nil, line, time.Now(), p.cfg.ClockSkew); len(refused) > 0 {
		return "", refuse(refused[0])
	}
	// Legal in JSON, but SQS would refuse the whole message.
	if strings.Contains(line, "\ufffe") || strings.Contains(line, "\uffff") {
		return "", refuse(market.Refusal{Reason: market.InvalidUTF8, Detail: "U+FFFE and U+FFFF cannot be sent through SQS: remove them"})
	}
	// Conditions are JSON as given. In valid JSON a line break is only space, but here it would end the event.
	return strings.ReplaceAll(line, "\n", " "), nil
}

// pack adds line to the group called name.
func (p *Producer) pack(name, line string) error {
	g := p.groups[name]
	if g != nil && g.events > 0 && (g.events == p.cfg.MaxEvents || g.body.Len()+1+len(line)+attributeSize(g.id) > p.cfg.MaxBytes) {
		p.seal(g)
	}
	if g == nil || g.events == 0 {
		id := p.cfg.NewID()
		if !acceptable(id) {
			return fmt.Errorf("producer: NewID returned %q: return 1 to %d printable ASCII characters without space", id, maxNameLength)
		}
		if size := len(line) + attributeSize(id); size > p.cfg.MaxBytes {
			return fmt.Errorf("producer: refused: %w", &market.Refusal{Reason: market.TooLarge,
				Detail: fmt.Sprintf("the event needs a message of %d bytes: raise MaxBytes, now %d, or shorten it", size, p.cfg.MaxBytes)})
		}
		if g == nil {
			g = &group{name: name}
			p.groups[name] = g
		}
		g.id = id
		p.open = append(p.open, g)
		if p.flushAt.IsZero() {
			p.flushAt = time.Now().Add(p.cfg.MaxDelay)
			p.wake()
		}
	} else {
		g.body.WriteByte('\n')
		p.buffered++
	}
	g.body.WriteString(line)
	g.events++
	p.buffered += len(line)
	return nil
}

// seal turns what g has packed into a message.
func (p *Producer) seal(g *group) {
	p.sealed++
	m := &message{group: g, number: p.sealed, id: g.id, body: g.body.String(), events: g.events, done: make(chan struct{})}
	m.size = len(m.body) + attributeSize(m.id)
	g.body.Reset()
	g.events, g.overdue = 0, false
	p.pending[m] = struct{}{}
	if g.busy {
		g.waiting = append(g.waiting, m)
		return
	}
	g.busy = p.fifo
	p.ready = append(p.ready, m)
	p.wake()
}

// flush ends the packing of all open groups. One that has a message under way packs on until its turn comes: its events
// could not leave earlier, and fuller messages cost less.
func (p *Producer) flush() {
	for _, g := range p.open {
		switch {
		case g.events == 0:
		case g.busy:
			g.overdue = true
		default:
			p.seal(g)
		}
	}
	clear(p.open)
	p.open, p.flushAt = p.open[:0], time.Time{}
}

// resolve ends m: acknowledged where m.err is nil, else given up. The next message of its group may go.
func (p *Producer) resolve(m *message) {
	delete(p.pending, m)
	p.buffered -= len(m.body)
	if m.err == nil {
		p.stats.Messages++
		p.stats.Events += int64(m.events)
		p.stats.Bytes += int64(m.size)
	} else {
		p.stats.Failed++
		p.stats.Unsent += int64(m.events)
		p.lost.add(m)
	}
	close(m.done)
	close(p.freed)
	p.freed = make(chan struct{})

	g := m.group
	switch {
	case len(g.waiting) > 0:
		p.ready = append(p.ready, g.waiting[0])
		g.waiting = slices.Delete(g.waiting, 0, 1)
	default:
		g.busy = false
		if g.overdue {
			p.seal(g)
		} else if g.events == 0 && p.groups[g.name] == g {
			delete(p.groups, g.name)
		}
	}
	p.wake()
}

// Flush sends what was accepted before the call and waits until all of it is acknowledged or given up. It returns a
// *LostError if messages were given up meanwhile, and the error of ctx.
func (p *Producer) Flush(ctx context.Context) error {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		return ErrClosed
	}
	pending := p.sealAll()
	p.mu.Unlock()
	return wait(ctx, pending)
}

// sealAll makes messages of everything that is open, and returns all that are pending, oldest first.
func (p *Producer) sealAll() []*message {
	p.flush()
	for _, g := range p.groups {
		if g.overdue { // sealed behind the message that is under way
			p.seal(g)
		}
	}
	return p.unresolved()
}

// unresolved returns the pending messages, oldest first.
func (p *Producer) unresolved() []*message {
	return slices.SortedFunc(maps.Keys(p.pending), func(a, b *message) int { return cmp.Compare(a.number, b.number) })
}

// wait waits for messages.
func wait(ctx context.Context, messages []*message) error {
	var lost LostError
	for _, m := range messages {
		select {
		case <-m.done:
			if m.err != nil {
				lost.add(m)
			}
		case <-ctx.Done():
			return fmt.Errorf("producer: flush: %w", ctx.Err())
		}
	}
	if lost.Messages > 0 {
		return &lost
	}
	return nil
}

// Close sends what is buffered and ends all of the producer's goroutines; Send is refused from now on. When ctx ends
// first, requests under way are broken off and what is not acknowledged is given up: reported to OnFailure like any
// other, though what was under way may have arrived. It returns a *LostError if any message was given up since New.
// Further calls return the same.
func (p *Producer) Close(ctx context.Context) error {
	p.mu.Lock()
	if p.closing {
		p.mu.Unlock()
		<-p.closed
		return p.result
	}
	p.closing = true
	close(p.freed) // who is blocked in Send learns of it
	p.freed = make(chan struct{})
	pending := p.sealAll()
	p.mu.Unlock()

	_ = wait(ctx, pending) // what is lost is counted since New
	p.abort()
	<-p.ended
	p.senders.Wait()

	p.mu.Lock()
	left := p.unresolved()
	p.mu.Unlock()
	for _, m := range left {
		p.giveUp(m, fmt.Errorf("closed before SQS acknowledged it: %w", context.Cause(ctx)))
	}
	p.mu.Lock()
	for _, m := range left {
		p.resolve(m)
	}
	lost := p.lost
	p.mu.Unlock()
	if lost.Messages > 0 {
		p.result = &lost
	}
	close(p.closed)
	return p.result
}

// Stats returns the counts so far.
func (p *Producer) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stats
	s.Buffered = int64(p.buffered)
	return s
}

// giveUp marks m as given up for err and tells OnFailure, before resolve lets anyone who waits for m go on. It must be
// called without the lock.
func (p *Producer) giveUp(m *message, err error) {
	m.err = err
	if p.cfg.OnFailure != nil {
		p.cfg.OnFailure(Failure{MessageID: m.id, Group: m.group.name, Events: m.events, Body: m.body, Err: err})
	}
}

// wake makes the dispatcher look again.
func (p *Producer) wake() {
	select {
	case p.nudge <- struct{}{}:
	default:
	}
}
