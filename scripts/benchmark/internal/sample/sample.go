// Package sample measures operations of this process.
package sample

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Sample is what N repetitions of one operation took together. CPU is user and system time of the whole process, the
// garbage collector's included.
type Sample struct {
	N         int
	Wall, CPU time.Duration
	Allocs    uint64 // 0 where the operation's language has no such count
}

// Repeat measures n repetitions of operation.
func Repeat(n int, operation func()) Sample {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := used(), time.Now()
	for range n {
		operation()
	}
	s := Sample{N: n, Wall: time.Since(start), CPU: used() - cpu}
	runtime.ReadMemStats(&after)
	s.Allocs = after.Mallocs - before.Mallocs
	return s
}

func used() time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // fails for wrong arguments only
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
