package main

import (
	"fmt"
	"time"

	"example.com/market-data-pipeline/functions/processor/settings"
	"example.com/market-data-pipeline/scripts/internal/simulator"
)

// contention compares ordered with unordered delivery on the simulator's virtual time: what order costs, and what is lost
// without it.
func (b *bench) contention() error {
	messages := 1000
	if b.quick {
		messages = 300
	}
	t := &table{Title: fmt.Sprintf("Ordered against unordered: %d messages of 10 trades, 20 a second, rules with windows, virtual time", messages),
		Columns: []string{"delivery", "invocations", "series", "what happens", "messages/s", "median delay", "99 %", "lost races", "late events"},
		Notes: []string{"delay: from the sending of a message to the answer that acknowledges it; a call takes 1 to 20 ms, one in ten 200 ms or so",
			"retries: one call in 100 fails; outage: DynamoDB fails for 20 seconds"}}
	for _, disturbance := range []string{"nothing", "retries", "outage"} {
		for _, environments := range []int{1, 5} {
			for _, series := range []int{1, 10, 1000} {
				for _, delivery := range []settings.Delivery{settings.Ordered, settings.Unordered} {
					l := simulator.Load{Seed: 1, Delivery: delivery, Environments: environments, Series: series, Messages: messages, Events: 10, Gap: 50 * time.Millisecond}
					switch disturbance {
					case "retries":
						l.Retries = messages / 100
					case "outage":
						l.Outage = simulator.Outage{Service: "dynamodb", From: time.Second, To: 21 * time.Second}
					}
					m, err := simulator.Measure(l)
					if err != nil {
						return fmt.Errorf("%+v: %w", l, err)
					}
					t.add(string(delivery), environments, series, disturbance, fmt.Sprintf("%.0f", float64(messages)/m.Duration.Seconds()),
						m.Median.Round(time.Millisecond), m.P99.Round(time.Millisecond), m.LostRaces, m.Late)
				}
			}
		}
	}
	b.report.show(t)
	return nil
}
