//go:build !race

package udp

import (
	"runtime"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// TestNoRaceAllocations: none for each frame, once buffers have grown.
func TestNoRaceAllocations(t *testing.T) {
	h, receivers, ids := benchStar(t, 2, true, nil)
	frames := make([]fabric.Outgoing, 16)
	patches := [][]byte{make([]byte, 72), make([]byte, 72)}
	for i := range frames {
		frames[i] = fabric.Outgoing{To: ids, Patch: patches, Body: make([]byte, 256), Lane: fabric.LaneAppend, Ticket: 1}
	}
	round := func() {
		want := receivers[0].got.Load() + 16
		if err := h.port.Send(frames); err != nil {
			t.Fatal(err)
		}
		for receivers[0].got.Load() < want || receivers[1].got.Load() < want {
			runtime.Gosched()
		}
	}
	for range 200 {
		round()
	}
	if n := testing.AllocsPerRun(300, round); n > 3 { // of 32 frames
		t.Errorf("%.1f allocations for 32 frames", n)
	}
}
