package bench

import "testing"

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
}
