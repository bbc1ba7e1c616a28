//go:build race

package simulator_test

func init() { raceDetector = true }
