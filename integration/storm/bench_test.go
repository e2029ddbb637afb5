package storm

import (
	"os"
	"testing"
)

// BenchmarkTrials runs trials of the experiment that is shipped, of all its cells in
// turn; trials/s is of one processor.
func BenchmarkTrials(b *testing.B) {
	for _, name := range []string{"three-rounds", "three-rounds-ablated"} {
		b.Run(name, func(b *testing.B) {
			path := "../../docs/examples/" + name + ".yaml"
			text, err := os.ReadFile(path)
			if err != nil {
				b.Fatal(err)
			}
			s, err := Parse(path, text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			// Trials of neighbouring numbers differ in seeds alone.
			step := s.Trials()/101 | 1
			i := uint64(0)
			elections := 0.0
			for b.Loop() {
				r, err := s.Simulate(i % s.Trials())
				if err != nil {
					b.Fatal(err)
				}
				elections += r.Values[metricIndex("elections")]
				i += step
			}
			b.ReportMetric(elections/b.Elapsed().Seconds(), "elections/s")
		})
	}
}
