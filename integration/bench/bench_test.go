package bench

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// These are for profiles (-cpuprofile, -memprofile): a ratio needs the
// interleaved runs of RunTransport.

func benchmarkFlood(b *testing.B, sys *system, sealed bool) {
	g := openBench(b, sys, sealed)
	f := newFlood(g, testLoad)
	defer f.close()
	made := newMaker(g.leader().id, g.followers(), defaultSize, defaultWindow)
	b.ReportAllocs()
	for b.Loop() {
		if err := f.step(b.Context(), made); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.drain(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N*len(g.followers()))/b.Elapsed().Seconds(), "deliveries/s")
}

func openBench(b *testing.B, sys *system, sealed bool) *group {
	certs, remove, err := certificates(sealed)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(remove)
	g, err := openGroup(b.Context(), sys, 3, certs)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(g.close)
	return g
}

// One iteration is one entry to two followers.
func BenchmarkFlood(b *testing.B) {
	for _, sealed := range []bool{false, true} {
		b.Run(sealedName(sealed), func(b *testing.B) {
			for _, p := range ports {
				if p.seals || !sealed {
					b.Run(p.name, func(b *testing.B) { benchmarkFlood(b, p.make(0), sealed) })
				}
			}
		})
	}
	b.Run("nothing", func(b *testing.B) { benchmarkFlood(b, nullSystem(), false) })
}

// One iteration is one round trip.
func BenchmarkRoundTrip(b *testing.B) {
	for _, p := range ports {
		b.Run(p.name, func(b *testing.B) { benchmarkRoundTrip(b, p.make(0)) })
		if p.spins && p.name != PortRafthttp {
			b.Run(p.name+"-spin", func(b *testing.B) { benchmarkRoundTrip(b, p.make(defaultSpin)) })
		}
	}
}

func benchmarkRoundTrip(b *testing.B, sys *system) {
	g := openBench(b, sys, false)
	p := newPingpong(g, defaultSize)
	b.ReportAllocs()
	b.ResetTimer()
	if err := p.run(b.Context(), func(n int) bool { return n >= b.N }); err != nil {
		b.Fatal(err)
	}
	slices.Sort(p.samples)
	b.ReportMetric(Quantile(p.samples, 0.5), "µs-p50")
	b.ReportMetric(Quantile(p.samples, 0.99), "µs-p99")
	b.ReportMetric(Quantile(p.samples, 0.999), "µs-p99.9")
	b.ReportMetric(p.samples[len(p.samples)-1], "µs-max")
}

// One iteration is a second of a raft group with one proposal under way, or with 32.
func BenchmarkRaft(b *testing.B) {
	for _, members := range []int{3, 5} {
		for _, inFlight := range []int{1, 32} {
			for _, p := range ports {
				b.Run(fmt.Sprintf("%d/%d/%s", members, inFlight, p.name), func(b *testing.B) {
					benchmarkRaft(b, p.make(0), members, inFlight)
				})
			}
		}
	}
}

func benchmarkRaft(b *testing.B, sys *system, members, inFlight int) {
	g, err := openRaft(b.Context(), sys, members, inFlight, defaultSize, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(g.close)
	var of raftSeries
	for b.Loop() {
		f, err := g.run(b.Context(), inFlight, time.Second)
		if err != nil {
			b.Fatal(err)
		}
		of.add(f)
	}
	m := of.numbers()
	b.ReportMetric(m.CommitsPerS, "commits/s")
	b.ReportMetric(m.CPUUs, "µs-CPU/commit")
	b.ReportMetric(m.P50Us, "µs-p50")
	b.ReportMetric(m.P99Us, "µs-p99")
	b.ReportMetric(m.MessagesPerCommit, "messages/commit")
	b.ReportMetric(0, "ns/op")
}
