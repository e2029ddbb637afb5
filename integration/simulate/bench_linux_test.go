package simulate

import (
	"fmt"
	"runtime/debug"
	"syscall"
	"testing"
	"time"

	"github.com/raftdv/dv/raftdv/election"
)

// BenchmarkRun says how fast whole runs go, faults, checks and all: fabric
// events and raft messages per second of one processor, so that others who use
// the machine do not matter.
func BenchmarkRun(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(800)) // as raftdv sim
	for _, mode := range []election.Mode{election.Off, election.On} {
		for _, members := range testMembers {
			b.Run(fmt.Sprintf("elections=%v/members=%d", mode, members), func(b *testing.B) { benchmarkRun(b, mode, members) })
		}
	}
}

func benchmarkRun(b *testing.B, mode election.Mode, members int) {
	var events, messages int
	seed, used := uint64(0), processorTime()
	for b.Loop() {
		seed++
		r := run(b, Config{Seed: seed, Members: members, Elections: mode})
		events, messages = events+int(r.Events), messages+r.Messages
	}
	s := (processorTime() - used).Seconds()
	b.ReportMetric(float64(events)/s/1e6, "Mevents/cpu-s")
	b.ReportMetric(float64(messages)/s/1e3, "kmessages/cpu-s")
	b.ReportMetric(s/float64(seed)*1e3, "cpu-ms/seed")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
