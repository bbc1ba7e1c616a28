package ledger

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"example.com/market-data-pipeline/functions/processor/alert"
)

// Memory is the ledger's twin in memory: the same methods with the same meaning. Nothing expires. It is safe for
// concurrent use.
type Memory struct {
	cfg Config

	mu      sync.Mutex
	states  map[string]stored
	records map[alert.Key]ownedRecord
}

type stored struct {
	version int64
	commit  string
	data    []byte
	due     alert.Due
	lag     int64
}

type ownedRecord struct {
	alert.Record
	commit string
}

// NewMemory returns an empty ledger. Of cfg only Now is used.
func NewMemory(cfg Config) *Memory {
	cfg.setDefaults()
	return &Memory{cfg: cfg, states: map[string]stored{}, records: map[alert.Key]ownedRecord{}}
}

// ReadStates is DynamoDB.ReadStates.
func (m *Memory) ReadStates(ctx context.Context, series []string) (map[string]alert.Snapshot, map[string]error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	states, bad := make(map[string]alert.Snapshot, len(series)), map[string]error{}
	if err := ctx.Err(); err != nil {
		return states, bad, fmt.Errorf("ledger: reading %d states: %w", len(series), err)
	}
	for _, name := range series {
		st, ok := m.states[name]
		if !ok {
			states[name] = alert.Snapshot{}
			continue
		}
		s, err := alert.ParseSnapshot(slices.Clone(st.data))
		if err != nil {
			bad[name] = fmt.Errorf("ledger: the state: %w", err)
			continue
		}
		s.Version, s.Due, s.Lag = st.version, st.due, st.lag
		states[name] = s
	}
	return states, bad, nil
}

// Records is DynamoDB.Records.
func (m *Memory) Records(ctx context.Context, keys []alert.Key) (map[alert.Key]alert.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[alert.Key]alert.Record, len(keys))
	if err := ctx.Err(); err != nil {
		return out, fmt.Errorf("ledger: reading %d alerts: %w", len(keys), err)
	}
	for _, k := range keys {
		if r, ok := m.records[k]; ok {
			out[k] = r.Record
		}
	}
	return out, nil
}

// Commit is DynamoDB.Commit.
func (m *Memory) Commit(ctx context.Context, c alert.Commit) (alert.CommitResult, error) {
	if err := checkCommit(&c); err != nil {
		return alert.CommitResult{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return alert.CommitResult{}, fmt.Errorf("ledger: committing the state: %w", err)
	}
	var result alert.CommitResult
	if c.State != nil {
		st := m.states[c.Series]
		if st.commit == c.ID {
			return result, nil
		}
		if st.version != c.State.Version {
			return alert.CommitResult{Conflict: true}, nil
		}
		due := c.State.Due
		due.Group = strings.Clone(due.Group) // the caller's memory may be used again
		m.states[c.Series] = stored{version: st.version + 1, commit: c.ID, data: alert.AppendSnapshot(nil, c.State), due: due, lag: c.State.Lag}
	}
	for i := range c.Alerts {
		k := c.Alerts[i].Key()
		if r, ok := m.records[k]; !ok {
			m.records[k] = ownedRecord{c.Alerts[i], c.ID}
		} else if r.commit != c.ID {
			result.Existing = append(result.Existing, r.Record)
		}
	}
	return result, nil
}

// Claim is DynamoDB.Claim.
func (m *Memory) Claim(ctx context.Context, key alert.Key, owner string, lease int64) (alert.Record, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return alert.Record{}, false, fmt.Errorf("ledger: claiming alert %s: %w", key.ID, err)
	}
	r, ok := m.records[key]
	if !ok || r.Status != alert.Pending || (r.Lease >= m.cfg.Now().UnixMilli() && r.Owner != owner) {
		return r.Record, false, nil
	}
	r.Owner, r.Lease = owner, lease
	m.records[key] = r
	return r.Record, true, nil
}

// Release is DynamoDB.Release.
func (m *Memory) Release(ctx context.Context, key alert.Key, owner string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ledger: releasing alert %s: %w", key.ID, err)
	}
	if r, ok := m.records[key]; ok && r.Status == alert.Pending && r.Owner == owner {
		r.Lease = 0
		m.records[key] = r
	}
	return nil
}

// Settle is DynamoDB.Settle.
func (m *Memory) Settle(ctx context.Context, records []alert.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("ledger: settling %d alerts: %w", len(records), err)
	}
	for i := range records {
		r := records[i]
		if r.Status != alert.Pending {
			r.Owner, r.Lease = "", 0
		}
		m.records[r.Key()] = ownedRecord{Record: r}
	}
	return nil
}

// All returns every stored alert, sorted by id, then symbol.
func (m *Memory) All() []alert.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]alert.Record, 0, len(m.records))
	for _, r := range m.records {
		out = append(out, r.Record)
	}
	slices.SortFunc(out, func(a, b alert.Record) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Symbol, b.Symbol)) })
	return out
}
