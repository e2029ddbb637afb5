package simulate

import "testing"

// BenchmarkRun says how fast whole runs go, faults, checks and all: fabric
// events and raft messages per second.
func BenchmarkRun(b *testing.B) {
	for _, members := range testMembers {
		b.Run(string(rune('0'+members)), func(b *testing.B) {
			var events, messages int
			seed := uint64(0)
			for b.Loop() {
				seed++
				r := run(b, Config{Seed: seed, Members: members})
				events, messages = events+int(r.Events), messages+r.Messages
			}
			b.ReportMetric(float64(events)/b.Elapsed().Seconds()/1e6, "Mevents/s")
			b.ReportMetric(float64(messages)/b.Elapsed().Seconds()/1e3, "kmessages/s")
		})
	}
}
