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
	defer debug.SetGCPercent(debug.SetGCPercent(200)) // as raftdv sim
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

// BenchmarkElection says what an election costs that a closed connection starts,
// from the crash of the leader to the lead of another: all members' arbiters,
// rafts, disks and all checks.
func BenchmarkElection(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(200))
	for _, members := range testMembers {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) { benchmarkElection(b, members) })
	}
}

func benchmarkElection(b *testing.B, members int) {
	defer seedEntropy(stream(1, streamRaft))()
	c, err := newCluster(Config{Seed: 2, Members: members, Elections: election.On, Only: []int{}})
	if err != nil {
		b.Fatal(err)
	}
	c.net.Advance(time.Second)
	var virtual, used time.Duration
	for b.Loop() {
		l, term := c.leader(), c.checks.rounds.term
		from, before := c.net.Now(), processorTime()
		l.kill()
		l.closed()
		for c.checks.rounds.term == term {
			c.net.Step()
		}
		virtual, used = virtual+c.net.Now()-from, used+processorTime()-before
		b.StopTimer()
		l.start()
		c.net.Advance(500 * time.Millisecond)
		b.StartTimer()
	}
	if r := c.report; r.Failed() || r.Rounds != r.Elections {
		b.Errorf("%d rounds for %d elections, %v", r.Rounds, r.Elections, r.Failures)
	}
	b.ReportMetric(virtual.Seconds()*1e3/float64(b.N), "virtual-ms/op")
	b.ReportMetric(used.Seconds()*1e3/float64(b.N), "cpu-ms/op")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
