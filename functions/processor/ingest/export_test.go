package ingest

import (
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
)

// ReadEarly is what HandleEvent does before Handle.
func ReadEarly(dst []market.Event, payload []byte, skew time.Duration) ([]Record, []market.Event, error) {
	p := eventParser{s: string(payload), early: true, skew: skew, events: dst}
	p.parse()
	return p.records, p.events, p.err
}
