package ordered

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
)

// partition is what is left of the links.
type partition struct {
	name string
	n    int
	left [][2]int
}

var partitions = []partition{
	{"one link of three", 3, [][2]int{{1, 2}, {2, 3}}},
	{"chain of four", 4, [][2]int{{1, 2}, {2, 3}, {3, 4}}},
	{"ring of five", 5, [][2]int{{1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 1}}},
	{"constrained: the hub alone reaches anybody", 5, [][2]int{{3, 1}, {3, 2}, {3, 4}, {3, 5}}},
	{"bridge", 5, [][2]int{{1, 2}, {2, 3}, {3, 4}, {3, 5}, {4, 5}, {1, 3}}},
	{"chain of seven", 7, [][2]int{{1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}}},
}

// tolerates cuts the links of a cluster in one view. It returns an error if any
// member is left out, or does not deliver what all others do. told: ports call links down
// soon; otherwise there is nothing but silence.
func (p *partition) tolerates(t *testing.T, told bool, plant func(*cluster)) error {
	timeout := map[bool]time.Duration{false: 500 * time.Millisecond, true: 5 * time.Millisecond}[told]
	c := newCluster(quietly{t}, p.n, sim.Config{Seed: 1, Faults: sim.Faults{Delay: 200 * time.Microsecond, Jitter: 50 * time.Microsecond}, LinkTimeout: timeout}, EndpointConfig{})
	if plant != nil {
		plant(c)
	}
	if !c.until(2*time.Second, c.whole) {
		t.Fatalf("no view: %v", c.err)
	}
	was := c.members[0].core.id
	c.cutAllBut(p.left)
	for k := range uint64(40) { // while it happens, too
		for _, m := range c.members {
			if err := m.send(fabric.ClassAgreed+fabric.Class(k%2), k); err != nil && !errors.Is(err, ErrWindow) {
				return fmt.Errorf("%v: %w", m.id, err)
			}
		}
		c.net.Advance(20 * time.Millisecond)
	}
	c.calm(5 * time.Second)
	if now := c.members[0].core.id; c.err == nil && now != was {
		return fmt.Errorf("view %v became %v", was, now)
	}
	return c.err
}

// TestPartialPartitions: links are cut, both ways. While all can be reached from
// all by those that are left, nobody is left out, and messages are delivered everywhere,
// as before.
func TestPartialPartitions(t *testing.T) {
	for _, p := range partitions {
		t.Run(p.name, func(t *testing.T) {
			for _, told := range []bool{false, true} {
				if err := p.tolerates(t, told, nil); err != nil {
					t.Errorf("links called down %v: %v", told, err)
				}
			}
		})
	}
}

// TestPlantedPartitions: it is seen when relaying does not work.
func TestPlantedPartitions(t *testing.T) {
	dropping := func(flag byte) func(*cluster) {
		return func(c *cluster) { c.drop = func(f *fabric.Frame) bool { return f.Body[0]&flag != 0 } }
	}
	for name, plant := range map[string]func(*cluster){
		"rows are not passed on":   dropping(flagRow),
		"frames are not passed on": dropping(flagForwarded),
	} {
		for _, p := range partitions {
			if err := p.tolerates(t, false, plant); err == nil {
				t.Errorf("%s, %s: nothing is wrong", name, p.name)
			}
		}
	}
}

// cutAllBut cuts all links but those, both ways.
func (c *cluster) cutAllBut(left [][2]int) {
	for a := range c.members {
		for b := range c.members {
			if a != b && !slices.Contains(left, [2]int{a + 1, b + 1}) && !slices.Contains(left, [2]int{b + 1, a + 1}) {
				c.net.Cut(fabric.MemberID(a+1), fabric.MemberID(b+1))
			}
		}
	}
}

// TestRealPartition: what no link connects is a partition: the majority goes on.
func TestRealPartition(t *testing.T) {
	c := newCluster(t, 5, sim.Config{Seed: 1, Faults: sim.Faults{Delay: 200 * time.Microsecond}}, EndpointConfig{})
	if !c.until(2*time.Second, c.whole) {
		t.Fatalf("no view: %v", c.err)
	}
	c.cutAllBut([][2]int{{1, 2}, {2, 3}, {4, 5}})
	three := func() bool {
		for _, m := range c.members[:3] {
			if len(m.core.view.Members) != 3 || m.core.b.Wedged() || m.core.at < 0 {
				return false
			}
		}
		return true
	}
	if !c.until(2*time.Second, three) || c.err != nil {
		t.Fatalf("%v%s", c.err, c.dump())
	}
	for _, m := range c.members[3:] {
		if m.core.view.Number != 1 {
			t.Errorf("%v is in %v, without a majority", m.id, m.core.id)
		}
	}
}
