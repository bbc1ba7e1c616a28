package simulate

import (
	"container/heap"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// message is one stored message. Its upper part never changes after it was stored: a move to a dead-letter queue makes
// a new one, so deliveries may share it.
type message struct {
	id, body, bodyMD5, attributesMD5 string
	attributes                       map[string]types.MessageAttributeValue
	group, deduplication, sequence   string
	source                           string // ARN of the queue it was dead-lettered from
	sent                             int64  // Unix nanoseconds, like all times here
	expires                          int64
	order                            uint64 // arrival in this queue, from 1
	inGroup                          *group // nil on a standard queue

	received        int // across all queues
	firstReceived   int64
	lastReceived    int64
	visibleAt       int64 // while hidden
	hidden, delayed bool  // delayed: hidden, but never received
	gone            bool
	slot            int      // in ready or hiddenUntil
	older, newer    *message // by expires
}

// delivery is a message as one receive saw it.
type delivery struct {
	*message
	handle        string
	received      int
	firstReceived int64
}

// group is a FIFO queue's message group: a queue of its own, blocked while any of its messages is hidden.
type group struct {
	name     string
	messages []*message // in order; deleted ones are dropped lazily
	alive    int
	hidden   int
	slot     int // in available, or -1
}

func (g *group) trim() {
	for len(g.messages) > 0 && g.messages[0].gone {
		g.messages[0] = nil
		g.messages = g.messages[1:]
	}
}

// indexed is a heap whose members know their place in it, so that any of them can be removed in O(log n).
type indexed[T any] struct {
	members []T
	less    func(a, b T) bool
	place   func(T, int)
}

func (h *indexed[T]) Len() int           { return len(h.members) }
func (h *indexed[T]) Less(i, j int) bool { return h.less(h.members[i], h.members[j]) }
func (h *indexed[T]) Push(x any) {
	h.members = append(h.members, x.(T))
	h.place(x.(T), len(h.members)-1)
}
func (h *indexed[T]) Swap(i, j int) {
	h.members[i], h.members[j] = h.members[j], h.members[i]
	h.place(h.members[i], i)
	h.place(h.members[j], j)
}
func (h *indexed[T]) Pop() any {
	n := len(h.members) - 1
	x := h.members[n]
	var zero T
	h.members[n] = zero
	h.members = h.members[:n]
	h.place(x, -1)
	return x
}

type sentOnce struct {
	key string
	at  int64
}

type receipt struct{ id, sequence string }

type queue struct {
	QueueConfig
	url, arn   string
	number     int
	created    int64
	deadLetter *queue

	arrivals    uint64
	messages    map[uint64]*message // by order
	oldest      *message            // first to expire
	newest      *message
	ready       indexed[*message] // standard: visible, by order
	hiddenUntil indexed[*message] // by visibleAt
	groups      map[string]*group
	available   indexed[*group] // FIFO: neither empty nor blocked, by their first message's order
	delayed     int
	visible     int

	duplicates map[string]receipt
	window     []sentOnce // keys of duplicates, by time
}

func newQueue(c QueueConfig, number int, now int64) *queue {
	q := &queue{
		QueueConfig: c,
		url:         "https://sqs." + Region + ".amazonaws.com/" + Account + "/" + c.Name,
		arn:         "arn:aws:sqs:" + Region + ":" + Account + ":" + c.Name,
		number:      number,
		created:     now,
		messages:    map[uint64]*message{},
		groups:      map[string]*group{},
		duplicates:  map[string]receipt{},
	}
	placeMessage := func(m *message, i int) { m.slot = i }
	q.ready = indexed[*message]{less: func(a, b *message) bool { return a.order < b.order }, place: placeMessage}
	q.hiddenUntil = indexed[*message]{place: placeMessage, less: func(a, b *message) bool {
		return a.visibleAt < b.visibleAt || a.visibleAt == b.visibleAt && a.order < b.order
	}}
	q.available = indexed[*group]{
		less:  func(a, b *group) bool { return a.messages[0].order < b.messages[0].order },
		place: func(g *group, i int) { g.slot = i },
	}
	return q
}

// advance lets time pass: what is due becomes visible, what is too old goes.
func (q *queue) advance(now int64) {
	for q.hiddenUntil.Len() > 0 && q.hiddenUntil.members[0].visibleAt <= now {
		q.show(q.hiddenUntil.members[0])
	}
	for q.oldest != nil && q.oldest.expires <= now {
		q.remove(q.oldest)
	}
	for len(q.window) > 0 && q.window[0].at <= now-int64(DeduplicationInterval) {
		delete(q.duplicates, q.window[0].key)
		q.window = q.window[1:]
	}
}

// add stores a message, which has everything but what depends on the queue.
func (q *queue) add(m *message, now int64, delay time.Duration) {
	q.arrivals++
	m.order = q.arrivals
	m.expires = m.sent + int64(q.Retention)
	q.messages[m.order] = m
	at := q.newest
	for at != nil && at.expires > m.expires {
		at = at.older
	}
	q.link(m, at)
	if q.FIFO {
		g := q.groups[m.group]
		if g == nil {
			g = &group{name: m.group, slot: -1}
			q.groups[m.group] = g
		}
		m.inGroup = g
		g.messages = append(g.messages, m)
		g.alive++
	}
	if delay > 0 {
		m.delayed = true
		q.delayed++
		q.hide(m, now+int64(delay))
		return
	}
	q.visible++
	q.settle(m)
}

// link puts m behind at, or first.
func (q *queue) link(m, at *message) {
	m.older = at
	if at == nil {
		m.newer, q.oldest = q.oldest, m
	} else {
		m.newer, at.newer = at.newer, m
	}
	if m.newer == nil {
		q.newest = m
	} else {
		m.newer.older = m
	}
}

// hide makes a message that is in no heap invisible until then.
func (q *queue) hide(m *message, until int64) {
	m.hidden, m.visibleAt = true, until
	heap.Push(&q.hiddenUntil, m)
	if m.inGroup != nil {
		m.inGroup.hidden++
	}
}

// unhide takes a hidden message out of the heap of hidden ones.
func (q *queue) unhide(m *message) {
	heap.Remove(&q.hiddenUntil, m.slot)
	m.hidden = false
	if m.inGroup != nil {
		m.inGroup.hidden--
	}
	if m.delayed {
		m.delayed = false
		q.delayed--
	}
}

func (q *queue) show(m *message) {
	q.unhide(m)
	q.visible++
	q.settle(m)
}

// settle makes a visible message, or its group, available to receives.
func (q *queue) settle(m *message) {
	if m.inGroup == nil {
		heap.Push(&q.ready, m)
	} else {
		q.settleGroup(m.inGroup)
	}
}

func (q *queue) settleGroup(g *group) {
	g.trim()
	switch {
	case g.alive == 0:
		if g.slot >= 0 {
			heap.Remove(&q.available, g.slot)
		}
		delete(q.groups, g.name)
	case g.hidden > 0:
		if g.slot >= 0 {
			heap.Remove(&q.available, g.slot)
		}
	case g.slot < 0:
		heap.Push(&q.available, g)
	default:
		heap.Fix(&q.available, g.slot)
	}
}

func (q *queue) remove(m *message) {
	if m.hidden {
		q.unhide(m)
	} else {
		q.visible--
		if m.inGroup == nil && m.slot >= 0 {
			heap.Remove(&q.ready, m.slot)
		}
	}
	if m.older == nil {
		q.oldest = m.newer
	} else {
		m.older.newer = m.newer
	}
	if m.newer == nil {
		q.newest = m.older
	} else {
		m.newer.older = m.older
	}
	m.older, m.newer, m.gone = nil, nil, true
	delete(q.messages, m.order)
	if g := m.inGroup; g != nil {
		g.alive--
		q.settleGroup(g)
	}
}

func (q *queue) inFlight() int { return q.hiddenUntil.Len() - q.delayed }

// receive takes up to max messages; of those beyond the first as many as fit into budget by size (nil: all).
func (q *queue) receive(now int64, max int, visibility time.Duration, budget int, size func(*message) int) []delivery {
	var out []delivery
	// take reports false where no more fits.
	take := func(m *message) bool {
		if size != nil {
			budget -= size(m)
			if budget < 0 && len(out) > 0 {
				return false
			}
		}
		if m.inGroup == nil {
			heap.Remove(&q.ready, m.slot)
		}
		q.visible--
		if m.received == 0 {
			m.firstReceived = now
		}
		m.received++
		m.lastReceived = now
		q.hide(m, now+int64(visibility))
		out = append(out, delivery{m, q.handle(m), m.received, m.firstReceived})
		return true
	}
	room := func() bool { return len(out) < max && q.inFlight() < MaxInFlight }
	exhausted := func(m *message) bool { return q.deadLetter != nil && m.received >= q.MaxReceiveCount }

	if !q.FIFO {
		for room() && q.ready.Len() > 0 {
			i := 0
			if q.Order != nil {
				i = q.Order(q.ready.Len())
			}
			m := q.ready.members[i]
			if exhausted(m) {
				q.bury(m, now)
			} else if !take(m) {
				break
			}
		}
		return out
	}
	for fits := true; fits && room() && q.available.Len() > 0; {
		g := heap.Pop(&q.available).(*group)
		// Burying drops messages from the group's own slice, and clears them in this one.
		for _, m := range g.messages {
			if m == nil || m.gone {
				continue
			}
			if !room() {
				break
			}
			if exhausted(m) {
				q.bury(m, now)
			} else if fits = take(m); !fits {
				break
			}
		}
		if g.alive > 0 {
			q.settleGroup(g)
		}
	}
	return out
}

// bury moves a message to the dead-letter queue: identity, body, attributes and receive count stay; on a FIFO queue it
// is as if sent anew, on a standard queue it keeps its age.
func (q *queue) bury(m *message, now int64) {
	q.remove(m)
	sent := m.sent
	if q.FIFO {
		sent = now
	}
	q.deadLetter.add(&message{
		id: m.id, body: m.body, bodyMD5: m.bodyMD5, attributes: m.attributes, attributesMD5: m.attributesMD5,
		group: m.group, deduplication: m.deduplication, sequence: m.sequence, source: q.arn, sent: sent,
		received: m.received, firstReceived: m.firstReceived, slot: -1,
	}, now, 0)
}

const handlePrefix = "AQEB"

// handle names queue, message and receive; it means nothing to callers.
func (q *queue) handle(m *message) string {
	b := make([]byte, 0, 32)
	b = append(b, handlePrefix...)
	b = strconv.AppendInt(b, int64(q.number), 36)
	b = append(b, '.')
	b = strconv.AppendUint(b, m.order, 36)
	b = append(b, '.')
	return string(strconv.AppendInt(b, int64(m.received), 36))
}

// find gives the message of a receipt handle (nil: it is gone), and whether the handle is that of its last receive.
func (q *queue) find(handle string) (m *message, newest bool, err error) {
	bad := &types.ReceiptHandleIsInvalid{Message: new("The input receipt handle is invalid.")}
	rest, ok := strings.CutPrefix(handle, handlePrefix)
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 3 {
		return nil, false, bad
	}
	number, err1 := strconv.ParseInt(parts[0], 36, 64)
	order, err2 := strconv.ParseUint(parts[1], 36, 64)
	received, err3 := strconv.ParseInt(parts[2], 36, 64)
	if err1 != nil || err2 != nil || err3 != nil || int(number) != q.number || order > q.arrivals {
		return nil, false, bad
	}
	m = q.messages[order]
	return m, m != nil && m.received == int(received), nil
}

// expired is what a FIFO queue answers to a handle that is not, or no longer, that of a hidden message.
func expired() error {
	return &types.ReceiptHandleIsInvalid{Message: new("The receipt handle has expired")}
}

func (q *queue) delete(handle string) error {
	m, newest, err := q.find(handle)
	switch {
	case err != nil || m == nil:
		return err
	case q.FIFO && (!newest || !m.hidden):
		return expired()
	case !newest:
		return nil
	}
	q.remove(m)
	return nil
}

func (q *queue) changeVisibility(now int64, handle string, seconds int32) error {
	timeout := time.Duration(seconds) * time.Second
	if timeout < 0 || timeout > MaxVisibility {
		return refuse("InvalidParameterValue", "Value %d for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.", seconds)
	}
	m, newest, err := q.find(handle)
	switch {
	case err != nil:
		return err
	case m == nil:
		return refuse("InvalidParameterValue", "Value %s for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.", handle)
	case q.FIFO && (!newest || !m.hidden):
		return expired()
	case !newest || !m.hidden:
		return &types.MessageNotInflight{Message: new("The message is not in flight.")}
	case now+int64(timeout) > m.lastReceived+int64(MaxVisibility):
		return refuse("InvalidParameterValue", "Value %d for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds].", seconds)
	}
	if timeout == 0 {
		q.show(m)
		return nil
	}
	m.visibleAt = now + int64(timeout)
	heap.Fix(&q.hiddenUntil, m.slot)
	return nil
}

// duplicate gives the receipt of an accepted message of the same deduplication scope; else it notes this one.
func (q *queue) duplicate(m *message, now int64) (receipt, bool) {
	key := m.deduplication
	if q.DeduplicatePerGroup {
		key = m.group + "\n" + key
	}
	if r, ok := q.duplicates[key]; ok {
		return r, true
	}
	q.duplicates[key] = receipt{m.id, m.sequence}
	q.window = append(q.window, sentOnce{key, now})
	return receipt{}, false
}

func (q *queue) purge() {
	for q.oldest != nil {
		q.remove(q.oldest)
	}
}

// nextVisible is when the next hidden message becomes visible, or math.MaxInt64.
func (q *queue) nextVisible() int64 {
	if q.hiddenUntil.Len() == 0 {
		return math.MaxInt64
	}
	return q.hiddenUntil.members[0].visibleAt
}

func cloneAttributes(in map[string]types.MessageAttributeValue) map[string]types.MessageAttributeValue {
	out := maps.Clone(in)
	for name, a := range out {
		a.DataType, a.StringValue = cloneString(a.DataType), cloneString(a.StringValue)
		if a.BinaryValue != nil {
			a.BinaryValue = append([]byte{}, a.BinaryValue...)
		}
		out[name] = a
	}
	return out
}

func cloneString(p *string) *string {
	if p == nil {
		return nil
	}
	return new(*p)
}
