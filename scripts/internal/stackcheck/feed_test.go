package stackcheck

import (
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/market"
	"example.com/market-data-pipeline/functions/processor/settings"
)

var testFeed = feed{run: "0011aabb", start: time.Date(2026, 11, 20, 14, 30, 0, 0, time.UTC)}

func TestBadEventsAreRefusedForTheirReason(t *testing.T) {
	seen := map[market.Reason]bool{}
	for _, bad := range testFeed.badEvents() {
		events, refused := market.Decode(nil, bad.body, testFeed.start, settings.DefaultClockSkew)
		if len(events) != 0 || len(refused) != 1 || refused[0].Reason != bad.reason || refused[0].Raw != bad.body {
			t.Errorf("%s: %d events, refused %+v, want %s of the whole body", bad.body, len(events), refused, bad.reason)
		}
		seen[bad.reason] = true
	}
	if len(seen) < 20 {
		t.Errorf("%d reasons are provoked, want at least 20", len(seen))
	}
}

func TestGoodEventsAreAccepted(t *testing.T) {
	last := map[string]int64{}
	for _, e := range testFeed.events() {
		line := string(e.AppendJSON(nil))
		if _, refused := market.Decode(nil, line, testFeed.start.Add(time.Minute), settings.DefaultClockSkew); len(refused) > 0 {
			t.Errorf("%s: %v", line, &refused[0])
		}
		if e.Time <= last[e.Series()] {
			t.Errorf("%s: %d is not after %d", e.Series(), e.Time, last[e.Series()])
		}
		last[e.Series()] = e.Time
	}
	if len(last) != tradeSymbols+quoteSymbols {
		t.Errorf("%d series, want %d", len(last), tradeSymbols+quoteSymbols)
	}
}
