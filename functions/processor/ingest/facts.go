package ingest

import (
	"strings"
	"sync"

	"example.com/market-data-pipeline/functions/processor/alert"
)

// facts is what an environment knows of stored alerts from one batch to the next, so that it looks at fewer of them. It
// is no cache: an alert that is settled stays so unless it fires again, and one that is forgotten is looked at.
type facts struct {
	mu sync.Mutex
	// "": sent or failed, and stored as that. Else the owner of the first invocation here that wrote a state with a hint to it.
	recent, older map[alert.Key]string
}

// maxRecent bounds recent; as many again are in older. An alert takes about 150 bytes.
const maxRecent = 4096

func (f *facts) settled(k alert.Key) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	first, known := f.find(k)
	return known && first == ""
}

func (f *facts) find(k alert.Key) (first string, known bool) {
	if first, known = f.recent[k]; !known {
		first, known = f.older[k]
	}
	return first, known
}

func (f *facts) settle(k alert.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keep(k, "")
}

// hinted takes note that an invocation writes a state with a hint to the alert, and tells whether an earlier one has. What
// is known of one that has fired, to be stored with the state, is of one that an operator removed or that has expired.
func (f *facts) hinted(k alert.Key, owner string, fired bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	first, known := f.find(k)
	if !known || fired {
		f.keep(k, owner)
	}
	return known && first != owner
}

func (f *facts) keep(k alert.Key, owner string) {
	if f.recent == nil || len(f.recent) >= maxRecent {
		f.recent, f.older = map[alert.Key]string{}, f.recent
	}
	// A symbol is part of the event that Lambda handed over, all of which would be kept with it.
	f.recent[alert.Key{Symbol: strings.Clone(k.Symbol), ID: strings.Clone(k.ID)}] = owner
}
