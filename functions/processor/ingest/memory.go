package ingest

import (
	"strings"
	"sync"

	"example.com/market-data-pipeline/functions/processor/alert"
)

// memory is what an environment knows of stored alerts from one batch to the next, so that it looks at fewer of them. It
// is no cache: an alert that is settled stays so, and one that is forgotten is looked at.
type memory struct {
	mu sync.Mutex
	// "": sent or failed, and stored as that. Else the owner of the first invocation here that wrote a state with a hint to it.
	recent, older map[alert.Key]string
}

// maxRecent bounds recent; as many again are in older. An alert takes about 150 bytes.
const maxRecent = 4096

func (m *memory) settled(k alert.Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	recent, known := m.recent[k]
	older, before := m.older[k]
	return known && recent == "" || before && older == ""
}

func (m *memory) settle(k alert.Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(k, "")
}

// hinted takes note that an invocation writes a state with a hint to the alert, and tells whether an earlier one has.
func (m *memory) hinted(k alert.Key, owner string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	first, known := m.recent[k]
	if !known {
		first, known = m.older[k]
	}
	if !known {
		m.keep(k, owner)
	}
	return known && first != owner
}

func (m *memory) keep(k alert.Key, owner string) {
	if m.recent == nil || len(m.recent) >= maxRecent {
		m.recent, m.older = map[alert.Key]string{}, m.recent
	}
	// A symbol is part of the event that Lambda handed over, all of which would be kept with it.
	m.recent[alert.Key{Symbol: strings.Clone(k.Symbol), ID: strings.Clone(k.ID)}] = owner
}
