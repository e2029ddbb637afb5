package udp

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run the simulation with this seed only")
	simSeeds = flag.Int("sim.seeds", 30, "seeds to simulate")
)

// simWorld is one run: its path and load follow from the seed.
type simWorld struct {
	*sim
	a, b     *simNode
	failures []string
}

func newSimWorld(seed uint64) *simWorld {
	w := &simWorld{}
	w.sim = newSim(seed, func(format string, args ...any) {
		if len(w.failures) < 10 {
			w.failures = append(w.failures, fmt.Sprintf(format, args...))
		}
	})
	rng := w.rng
	f := simFaults{delay: time.Duration(rng.Int64N(int64(5 * time.Millisecond)))}
	pick := func(p *float64, most float64) {
		if rng.IntN(2) == 0 {
			*p = rng.Float64() * most
		}
	}
	pick(&f.loss, 0.25)
	pick(&f.double, 0.3)
	pick(&f.alter, 0.1)
	if rng.IntN(2) == 0 {
		f.jitter = time.Duration(1 + rng.Int64N(int64(4*time.Millisecond)))
	}
	if rng.IntN(2) == 0 {
		f.mtu = 1200 + rng.IntN(9000)
	}
	if rng.IntN(3) == 0 {
		f.rate, f.queue = 1e6+rng.Float64()*1e8, 20_000+rng.IntN(400_000)
	}
	w.a, w.b = simPair(w.sim, f, nil)
	for _, n := range []*simNode{w.a, w.b} {
		if rng.IntN(2) == 0 {
			n.slow, n.slowIn = time.Duration(1+rng.Int64N(int64(50*time.Millisecond))), 1+rng.IntN(200)
		}
	}
	return w
}

// load has a node send for a while, in bursts.
func (w *simWorld) load(n *simNode, until int64) {
	rng := w.rng
	var burst func()
	burst = func() {
		for range 1 + rng.IntN(12) {
			size := rng.IntN(400)
			if rng.IntN(20) == 0 {
				size = rng.IntN(40<<10 - 1024)
			}
			n.send(fabric.Lane(rng.IntN(fabric.Lanes)), size, rng.IntN(80))
		}
		if rng.IntN(4) == 0 {
			n.publish()
		}
		n.settleDown()
		if w.now < until {
			w.after(time.Duration(rng.Int64N(int64(5*time.Millisecond))), burst)
		}
	}
	w.after(time.Millisecond, burst)
}

// disturb cuts directions, shuts gates and changes the path now and then.
func (w *simWorld) disturb(until int64) {
	rng := w.rng
	var next func()
	next = func() {
		n := []*simNode{w.a, w.b}[rng.IntN(2)]
		d := time.Duration(rng.Int64N(int64(3 * time.Second)))
		switch rng.IntN(4) {
		case 0, 1:
			n.out.dead = true
			w.after(d, func() { n.out.dead = false })
		case 2:
			n.l.setGate(w.now, false, &n.ev)
			n.news()
			n.settleDown()
			w.after(d, func() {
				n.l.setGate(w.now, true, &n.ev)
				n.settleDown()
			})
		case 3:
			n.out.f.mtu = 1200 + rng.IntN(3000)
		}
		if w.now < until {
			w.after(time.Duration(rng.Int64N(int64(4*time.Second))), next)
		}
	}
	w.after(time.Second, next)
}

// finish heals the path and checks that everything comes to its end.
func (w *simWorld) finish() {
	for _, n := range []*simNode{w.a, w.b} {
		n.out.dead, n.slowIn = false, 0
		n.out.f = simFaults{delay: time.Millisecond, mtu: max(n.out.f.mtu, 0)}
	}
	w.run(w.now + int64(8*time.Second))
	for i, n := range []*simNode{w.a, w.b} {
		if n.l.phase != phaseUp {
			w.fail("%s: the path works and the link is not up: %v", n.name, n.l.why)
			continue
		}
		for lane := range n.sent {
			n.send(fabric.Lane(lane), 10, 1) // shows losses at the end of the stream
		}
		n.publish()
		n.settleDown()
		_ = i
	}
	w.run(w.now + int64(5*time.Second))
	for _, n := range []*simNode{w.a, w.b} {
		w.account(n)
	}
}

func (w *simWorld) account(n *simNode) {
	for _, recs := range n.sent {
		for _, r := range recs {
			switch {
			case r.state == "":
				w.fail("F2: %s: frame %d accepted at %d was never resolved", n.name, r.link, r.at)
			case r.got && r.gap:
				w.fail("F1: %s: frame %d was delivered and reported missing", n.name, r.link)
			case !r.got && !r.gap:
				w.fail("F1: %s: frame %d (%s) vanished without a word", n.name, r.link, r.state)
			case r.state == "acked" && !r.got:
				w.fail("F2: %s: frame %d was acked and not delivered", n.name, r.link)
			}
		}
	}
	if n.peer.rowSeen != n.rows {
		w.fail("P5: %s: row %d arrived, %d is the newest", n.name, n.peer.rowSeen, n.rows)
	}
}

func runWorld(seed uint64, plant ...func(*simNode)) *simWorld {
	w := newSimWorld(seed)
	for _, p := range plant {
		w.b.plant, w.a.plant = p, p
	}
	end := int64(10 * time.Second)
	w.load(w.a, end)
	if w.rng.IntN(2) == 0 {
		w.load(w.b, end)
	}
	if w.rng.IntN(3) > 0 {
		w.disturb(end)
	}
	w.run(end)
	w.finish()
	return w
}

// TestSimulation runs two links over paths that do their worst, and checks F1,
// F2, F3 and the row promise after each step.
func TestSimulation(t *testing.T) {
	seeds := *simSeeds
	if testing.Short() {
		seeds = min(seeds, 6)
	}
	steps := 0
	for i := range seeds {
		seed := uint64(i + 1)
		if *simSeed != 0 {
			seed = *simSeed
		}
		w := runWorld(seed)
		steps += w.steps
		for _, f := range w.failures {
			t.Errorf("seed %d: %s", seed, f)
		}
		if len(w.failures) > 0 {
			t.Fatalf("replay: go test ./fabric/udp -run 'TestSimulation$' -sim.seed=%d", seed)
		}
		if *simSeed != 0 {
			break
		}
	}
	t.Logf("%d steps", steps)
}

// TestSimulationIsDeterministic proves that a seed replays.
func TestSimulationIsDeterministic(t *testing.T) {
	seed := rand.Uint64N(1000)
	if a, b := runWorld(seed).trace, runWorld(seed).trace; a != b {
		t.Fatalf("seed %d: traces %x and %x", seed, a, b)
	}
}

// TestCheckersSeePlantedBugs: each checker of the simulation catches a link that
// breaks what it checks.
func TestCheckersSeePlantedBugs(t *testing.T) {
	every := func(n *simNode) bool { n.planted++; return n.planted%50 == 0 }
	firstFrames := func(n *simNode) int {
		return slices.IndexFunc(n.ev.list, func(e event) bool { return e.kind == eventFrames })
	}
	for _, c := range []struct {
		name, want string
		plant      func(n *simNode)
	}{
		{"frames are dropped", "F1", func(n *simNode) {
			if i := firstFrames(n); i >= 0 && every(n) {
				n.ev.list = slices.Delete(n.ev.list, i, i+1)
			}
		}},
		{"frames are delivered twice", "F1", func(n *simNode) {
			if i := firstFrames(n); i >= 0 && every(n) {
				n.ev.list = slices.Insert(n.ev.list, i, n.ev.list[i])
			}
		}},
		{"frames are altered", "F1", func(n *simNode) {
			if i := firstFrames(n); i >= 0 && every(n) {
				n.ev.list[i].data[len(n.ev.list[i].data)-1] ^= 1
			}
		}},
		{"gaps are not reported", "F1", func(n *simNode) {
			n.ev.list = slices.DeleteFunc(n.ev.list, func(e event) bool { return e.kind == eventGap })
		}},
		{"losses are called acks", "F1, F2", func(n *simNode) {
			for i := range n.ev.settled {
				n.ev.settled[i].Err = nil
			}
		}},
		{"tickets are forgotten", "F2", func(n *simNode) {
			if len(n.ev.settled) > 0 && every(n) {
				n.ev.settled = n.ev.settled[1:]
			}
		}},
		{"tickets are resolved twice", "F2", func(n *simNode) {
			if len(n.ev.settled) > 0 && every(n) {
				n.ev.settled = append(n.ev.settled, n.ev.settled[0])
			}
		}},
		{"credit is invented", "F3", func(n *simNode) {
			if every(n) {
				n.l.in[fabric.LaneBulk].limit += 1 << 20
			}
		}},
		{"packets are not accounted for", "F3", func(n *simNode) {
			if n.l.cc.inFlight > 0 && every(n) {
				n.l.cc.inFlight--
			}
		}},
		{"old rows", "P5", func(n *simNode) {
			if i := slices.IndexFunc(n.ev.list, func(e event) bool { return e.kind == eventRow }); i >= 0 && every(n) {
				n.ev.list = append(n.ev.list, n.ev.list[i])
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(8) {
				for _, f := range runWorld(seed+1, c.plant).failures {
					if strings.HasPrefix(f, c.want) {
						return
					}
				}
			}
			t.Errorf("no failure that starts with %q", c.want)
		})
	}
}
