package settings_test

import (
	"strings"
	"testing"

	"example.com/market-data-pipeline/functions/processor/settings"
)

func TestClockFromEnv(t *testing.T) {
	for value, want := range map[string]settings.Clock{"": settings.ClockOn, "on": settings.ClockOn, "off": settings.ClockOff, "no": ""} {
		s, err := settings.FromEnv(func(name string) string {
			switch name {
			case settings.EnvClock:
				return value
			case settings.EnvEnvironment, "AWS_REGION", settings.EnvQueueURL, settings.EnvRejectsQueueURL, settings.EnvAlertsTable, settings.EnvStateTable, settings.EnvAlertTopicARN:
				return "set"
			}
			return ""
		})
		switch {
		case want == "" && (err == nil || !strings.Contains(err.Error(), `CLOCK is "no": give "on" or "off"`)):
			t.Errorf("CLOCK=%q: error is %v", value, err)
		case want != "" && (err != nil || s.Clock != want):
			t.Errorf("CLOCK=%q: %q, %v, want %q", value, s.Clock, err, want)
		}
	}
}
