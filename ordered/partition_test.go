package ordered

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
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
		return func(c *cluster) {
			c.drop = func(_, _ fabric.MemberID, f *fabric.Frame) bool { return f.Body[0]&flag != 0 }
		}
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

// same lets time pass, has all members send, and reports what is not delivered by
// all, or whether the view changed.
func (c *cluster) same(length time.Duration) error {
	was := c.members[0].core.id
	c.net.Advance(length)
	c.calm(5 * time.Second)
	if now := c.members[0].core.id; c.err == nil && now != was {
		return fmt.Errorf("view %v became %v", was, now)
	}
	return c.err
}

// TestCutAfterCut: the rows that say that a link is gone reach everybody though the
// way that older rows show is gone with it.
func TestCutAfterCut(t *testing.T) {
	for _, timeout := range []time.Duration{5 * time.Millisecond, 500 * time.Millisecond} {
		c := newCluster(t, 4, sim.Config{Seed: 1, Faults: sim.Faults{Delay: 200 * time.Microsecond}, LinkTimeout: timeout}, EndpointConfig{})
		if !c.until(2*time.Second, c.whole) {
			t.Fatalf("no view: %v", c.err)
		}
		c.cutAllBut([][2]int{{1, 2}, {2, 3}, {3, 4}, {4, 1}})
		if err := c.same(time.Second); err != nil {
			t.Errorf("links called down after %v: ring: %v", timeout, err)
		}
		c.net.Cut(1, 2)
		c.net.Cut(2, 1)
		if err := c.same(time.Second); err != nil {
			t.Errorf("links called down after %v: one more: %v", timeout, err)
		}
	}
}

// TestNewsGoesEveryWay: where links are missing, a row that changes what others make
// their trees of goes along all links that are left, and not by the tree alone.
func TestNewsGoesEveryWay(t *testing.T) {
	c := settled(t, 4, EndpointConfig{})
	c.cutAllBut([][2]int{{1, 2}, {2, 3}, {3, 4}, {4, 1}})
	c.net.Advance(time.Second)
	var by [5]int // that brought the first member's rows to the third
	c.drop = func(from, to fabric.MemberID, f *fabric.Frame) bool {
		if row, err := parsePassed(from, f); err == nil && row != nil && row.Owner == 1 && to == 3 {
			by[from]++
		}
		return false
	}
	c.net.Advance(time.Second)
	if by[2] == 0 || by[4] != 0 {
		t.Fatalf("by member: %v rows, want all by 2", by)
	}
	first := c.members[0]
	first.station.endpoint.distrust(first.station.endpoint.peer(3))
	first.act()
	c.net.Advance(5 * time.Millisecond)
	if by[4] == 0 {
		t.Errorf("by member: %v rows, want the last one by 4, too", by)
	}
}

// TestOneWayCut: a link that works in one direction alone is used by nobody.
func TestOneWayCut(t *testing.T) {
	for _, timeout := range []time.Duration{5 * time.Millisecond, 500 * time.Millisecond} {
		c := newCluster(t, 3, sim.Config{Seed: 1, Faults: sim.Faults{Delay: 200 * time.Microsecond}, LinkTimeout: timeout}, EndpointConfig{})
		if !c.until(2*time.Second, c.whole) {
			t.Fatalf("no view: %v", c.err)
		}
		c.net.Cut(3, 1)
		if err := c.same(3 * time.Second); err != nil {
			t.Errorf("link called down after %v: %v", timeout, err)
		}
	}
}

// TestRandomCuts: one link after the other is cut, or comes back, while all can be
// reached from all; now and then a member dies. In the end all that live are in one view,
// and deliver what they send.
func TestRandomCuts(t *testing.T) {
	for seed := range uint64(*cuts) {
		r := rand.New(rand.NewPCG(seed, 7))
		if err := randomCuts(t, r, seed); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
}

var cuts = flag.Int("cuts", 10, "seeds of TestRandomCuts")

func randomCuts(t *testing.T, r *rand.Rand, seed uint64) error {
	n := 4 + r.IntN(4)
	timeout := []time.Duration{5 * time.Millisecond, 500 * time.Millisecond}[r.IntN(2)]
	c := newCluster(quietly{t}, n, sim.Config{Seed: seed, Faults: sim.Faults{Delay: 200 * time.Microsecond, Jitter: 50 * time.Microsecond}, LinkTimeout: timeout}, EndpointConfig{})
	if !c.until(2*time.Second, c.whole) {
		return fmt.Errorf("no view: %w", c.err)
	}
	cut, dead := map[[2]int]bool{}, -1
	for range 3 * n {
		a, b := r.IntN(n), r.IntN(n)
		l := [2]int{min(a, b), max(a, b)}
		switch {
		case a == b || a == dead || b == dead:
			continue
		case cut[l]:
			delete(cut, l)
			c.net.Mend(fabric.MemberID(a+1), fabric.MemberID(b+1))
			c.net.Mend(fabric.MemberID(b+1), fabric.MemberID(a+1))
		default:
			if cut[l] = true; !connected(n, dead, cut) {
				delete(cut, l)
				continue
			}
			c.net.Cut(fabric.MemberID(a+1), fabric.MemberID(b+1))
			c.net.Cut(fabric.MemberID(b+1), fabric.MemberID(a+1))
		}
		if x := r.IntN(n); dead < 0 && r.IntN(2*n) == 0 && connected(n, x, cut) {
			dead = x
			_ = c.members[x].send(fabric.ClassAgreed, 1<<50)
			c.net.Advance(time.Duration(r.IntN(400)) * time.Microsecond)
			c.net.Kill(fabric.MemberID(x + 1))
		}
		c.net.Advance(time.Duration(r.IntN(400)) * time.Millisecond)
	}
	if dead >= 0 { // the others
		c.members = slices.Delete(slices.Clone(c.members), dead, dead+1)
	}
	c.calm(10 * time.Second)
	return c.err
}

// connected reports whether all but one reach each other.
func connected(n, dead int, cut map[[2]int]bool) bool {
	start := 0
	if dead == 0 {
		start = 1
	}
	reached := map[int]bool{start: true}
	for range n {
		for a := range n {
			for b := range n {
				if a != dead && b != dead && reached[a] && a != b && !cut[[2]int{min(a, b), max(a, b)}] {
					reached[b] = true
				}
			}
		}
	}
	delete(reached, dead)
	want := n
	if dead >= 0 {
		want--
	}
	return len(reached) == want
}

// TestLeftOutUnreachable: a voter that is removed while nobody reaches it learns it
// when somebody does.
func TestLeftOutUnreachable(t *testing.T) {
	c := settled(t, 4, EndpointConfig{})
	for id := range fabric.MemberID(3) {
		c.net.Cut(4, id+1)
		c.net.Cut(id+1, 4)
	}
	c.epoch = 1
	c.configure([]int{0, 1, 2})
	if !c.until(2*time.Second, func() bool { return len(c.members[0].core.view.Members) == 3 }) {
		t.Fatalf("it is not left out: %s", c.dump())
	}
	c.net.Heal()
	if !c.until(2*time.Second, func() bool { return c.members[3].core.at < 0 && c.members[3].core.view.Number > 1 }) {
		t.Errorf("it does not learn it: %s", c.dump())
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
