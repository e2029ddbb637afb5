//go:build linux && !race

package shm

import "testing"

// All that happens between Send and the acknowledgement of its ticket, at both
// ends: at most two allocations for a frame; in fact none, but for what is
// grown once.
func TestNoRaceDeliveryAllocations(t *testing.T) {
	for name, size := range map[string]int{"one slot": 256, "pieces": 20000} {
		t.Run(name, func(t *testing.T) {
			h := newBenchHandler(false)
			star := benchPair(t, h, newBenchHandler(false), nil)
			batch := testBatch(8, size, 72)
			n := testing.AllocsPerRun(300, func() {
				if err := star.Send(batch); err != nil {
					t.Fatal(err)
				}
				h.await(len(batch))
			})
			if per := n / float64(len(batch)); per > 0.25 {
				t.Errorf("%v allocations for each frame", per)
			} else {
				t.Logf("%v allocations for each frame", per)
			}
		})
	}
}
