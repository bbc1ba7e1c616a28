package simulator_test

import (
	"testing"
	"time"

	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/scripts/internal/simulator"
)

// TestMeasure: order costs throughput on few series and keeps every event in time; without it races are lost.
func TestMeasure(t *testing.T) {
	long(t)
	measure := func(l simulator.Load) simulator.Measured {
		t.Helper()
		l.Messages, l.Events, l.Gap = 200, 5, time.Millisecond
		m, err := simulator.Measure(l)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	one := measure(simulator.Load{Delivery: settings.Ordered, Environments: 1, Series: 10})
	five := measure(simulator.Load{Delivery: settings.Ordered, Environments: 5, Series: 10})
	if five.Duration >= one.Duration || five.Median >= one.Median {
		t.Errorf("five invocations take %s, median %s; one takes %s, median %s", five.Duration, five.Median, one.Duration, one.Median)
	}
	outage := simulator.Outage{Service: "dynamodb", From: 0, To: 30 * time.Second}
	ordered := measure(simulator.Load{Delivery: settings.Ordered, Environments: 5, Series: 10, Outage: outage})
	if ordered.Late != 0 || ordered.LostRaces != 0 || ordered.Median < 10*time.Second {
		t.Errorf("ordered: %+v", ordered)
	}
	if unordered := measure(simulator.Load{Delivery: settings.Unordered, Environments: 5, Series: 1}); unordered.LostRaces == 0 {
		t.Error("unordered: five invocations on one series lose no race")
	}
}
