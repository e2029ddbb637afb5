//go:build linux

package shm

import (
	"fmt"
	"strings"
	"testing"

	"github.com/raftdv/dv/fabric/fabrictest"
)

// TestWaysChangeNothing: whether receivers poll or sleep, and however large slots
// are, the same sends give the same deliveries in the same order, the same
// tickets, and no gap.
func TestWaysChangeNothing(t *testing.T) {
	script := fabrictest.NewScript(41, 100)
	script.Options.QueueBytes *= 2 // a small frame takes a slot of its own
	want := script.Expected()
	for i, v := range []variant{{spin: -1}, {}, {slot: minSlot}, {spin: -1, slot: minSlot}} {
		t.Run(fmt.Sprintf("spin %v, slots of %d", v.spin, v.slot), func(t *testing.T) {
			got := fabrictest.Play(t, factory(v), script)
			if d := got.Diff(want); d != nil {
				t.Errorf("%s", strings.Join(d, "\n"))
			}
			if i == 0 {
				want = got // from here on run against run
			}
		})
	}
}
