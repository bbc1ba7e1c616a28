package alert

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Status is how far the notification of a stored alert is.
type Status string

// An alert is Pending from the moment it is stored until it is known to be published (Sent) or known to be refused for
// good (Failed). The alerts of a rule with notify: false are stored as Muted and never published.
const (
	Pending Status = "PENDING"
	Sent    Status = "SENT"
	Failed  Status = "FAILED"
	Muted   Status = "MUTED"
)

// Times are the pipeline's own times of an alert, in milliseconds since 1970 UTC; 0 = not yet, or a replay.
type Times struct {
	Received  int64 // the message that caused it reached the queue
	Stored    int64
	Published int64
}

// Record is an alert as it is stored: the alert is its own outbox.
type Record struct {
	Alert
	Times
	Status Status
	// Owner is the invocation that has the right to publish a Pending alert until Lease (milliseconds since 1970 UTC).
	// After that anyone may claim it.
	Owner string
	Lease int64
	// Refusal says why a Failed alert cannot be published.
	Refusal string
}

// Key identifies a stored alert.
type Key struct{ Symbol, ID string }

// Key is the record's identity.
func (a Alert) Key() Key { return Key{a.Symbol, a.ID} }

// MessageID is the identity of a delivered message: a hash of its origin_message_id.
type MessageID [16]byte

// Delivered says how far a message has been applied to a series.
type Delivered struct {
	Message MessageID
	// Next is the index, in the message, of the first event that is not applied yet; Whole = the message is done.
	Next int
}

// Whole is Delivered.Next of a message whose every event has been applied.
const Whole = int(^uint32(0) >> 1)

// Hint names an alert of the series that was not known to be published when the state was written, and the message
// that caused it. A redelivery of that message must not be acknowledged before the alert is settled.
type Hint struct {
	Message MessageID
	AlertID string
}

// Snapshot is everything that is committed for one series: the engine's state and what makes a delivery count once.
type Snapshot struct {
	Version   int64       // counts commits; 0 = the series was never written
	Delivered []Delivered // the last messages, newest last
	Hints     []Hint      // oldest first
	Engine    []byte      // State.Append; empty = a new state
	// Stale is set by a store on reading: less than half of the snapshot's time to live is left, so write it again
	// although nothing changed.
	Stale bool

	Due Due   // the next clock event of the series
	Lag int64 // milliseconds by which the feed's last event was sent after its event time; at least 0
}

// Due is when a series whose rules wait for time is to be sent a clock event. The zero value: never.
type Due struct {
	At    int64  // wall time, milliseconds since 1970 UTC
	Event int64  // the event time that the clock tells, nanoseconds since 1970 UTC
	Group string // the message group in which it keeps its place, "" on a standard queue
}

// DueSeries is a series and its next clock event.
type DueSeries struct {
	Series string
	Due
}

// ClockMessage is a message of clock events for the market data queue.
type ClockMessage struct {
	Group string // "" on a standard queue
	// ID is the same for the same clocks of the same series, so that a FIFO queue takes a message once in 5 minutes.
	ID   string
	Body string // canonical wire format
}

const snapshotFormat = 1

// ErrNewer is returned for a snapshot or a state that newer code has written: it must be left alone. ErrOlder is
// returned for a state of a format that is no longer read: the series starts anew.
var (
	ErrNewer = errors.New("written by newer code")
	ErrOlder = errors.New("written in an older format")
)

// AppendSnapshot appends the binary form of s, without Version, Due and Lag, which the store keeps beside it.
func AppendSnapshot(b []byte, s *Snapshot) []byte {
	size := 1 + 2*binary.MaxVarintLen64 + len(s.Delivered)*(16+5) + len(s.Engine)
	for i := range s.Hints {
		size += 16 + 2 + len(s.Hints[i].AlertID)
	}
	b = append(slices.Grow(b, size), snapshotFormat)
	b = binary.AppendUvarint(b, uint64(len(s.Delivered)))
	for i := range s.Delivered {
		b = append(b, s.Delivered[i].Message[:]...)
		b = binary.AppendUvarint(b, uint64(s.Delivered[i].Next))
	}
	b = binary.AppendUvarint(b, uint64(len(s.Hints)))
	for i := range s.Hints {
		b = append(b, s.Hints[i].Message[:]...)
		b = binary.AppendUvarint(b, uint64(len(s.Hints[i].AlertID)))
		b = append(b, s.Hints[i].AlertID...)
	}
	return append(b, s.Engine...)
}

// ParseSnapshot is the inverse of AppendSnapshot. It never panics; Engine aliases b.
func ParseSnapshot(b []byte) (Snapshot, error) {
	var s Snapshot
	if len(b) == 0 {
		return s, errors.New("snapshot: empty")
	}
	if b[0] > snapshotFormat {
		return s, fmt.Errorf("snapshot: format %d, this code reads %d: %w", b[0], snapshotFormat, ErrNewer)
	}
	r := snapshotReader{b: b[1:], bad: b[0] < snapshotFormat}
	n := r.count(17)
	if n > 0 {
		s.Delivered = make([]Delivered, 0, n)
	}
	for ; n > 0; n-- {
		s.Delivered = append(s.Delivered, Delivered{Message: r.message(), Next: int(min(r.uvarint(), uint64(Whole)))})
	}
	for n := r.count(17); n > 0; n-- {
		m := r.message()
		s.Hints = append(s.Hints, Hint{Message: m, AlertID: string(r.bytes(r.uvarint()))})
	}
	s.Engine = r.b
	if r.bad {
		return Snapshot{}, errors.New("snapshot: truncated or corrupt")
	}
	return s, nil
}

type snapshotReader struct {
	b   []byte
	bad bool
}

func (r *snapshotReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of elements of at least size bytes each, so that a corrupt one cannot make a huge allocation.
func (r *snapshotReader) count(size int) uint64 {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.bad, r.b = true, nil
		return 0
	}
	return n
}

func (r *snapshotReader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *snapshotReader) message() (m MessageID) {
	copy(m[:], r.bytes(16))
	return m
}

// MaxCommitAlerts and MaxCommitBytes bound the alerts of one Commit with a State: a DynamoDB transaction has at most 100
// actions and 4 MB.
const (
	MaxCommitAlerts = 99
	MaxCommitBytes  = 3_000_000
)

// Commit is one atomic write: the new state of a series and the alerts that the step to it fired.
type Commit struct {
	// ID is unique to this commit. A store recognises its own write by it when the response was lost.
	ID     string
	Series string
	// State is written under the condition that the stored version is still State.Version, and becomes the version
	// after it. nil: the alerts alone are written.
	State  *Snapshot
	Alerts []Record
}

// CommitResult is the fate of a Commit that a store has judged.
type CommitResult struct {
	// Conflict: another invocation has written the state since it was read, so nothing was written. Read and step
	// again.
	Conflict bool
	// Existing are the alerts, of those committed, that were stored before, as they are stored. The others are new.
	Existing []Record
}
