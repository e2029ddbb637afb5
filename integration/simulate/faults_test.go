package simulate

import (
	"maps"
	"os"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// probes are frames of the tests themselves, told by their stream sequence.
const probeStream = 1 << 60

type probed struct {
	fabric.Handler
	heard func(from fabric.MemberID)
}

func (p probed) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	for _, f := range frames {
		if f.Stream >= probeStream {
			p.heard(from)
			continue
		}
		p.Handler.Deliver(from, []fabric.Frame{f})
	}
}

// reachability looks who hears whom in a cluster.
type reachability struct {
	c     *cluster
	heard map[[2]fabric.MemberID]bool
}

func newReachability(t *testing.T, members int, seed uint64) *reachability {
	r := &reachability{heard: map[[2]fabric.MemberID]bool{}}
	cfg := Config{Seed: seed, Members: members, Only: []int{}}
	cfg.hooks.mute = map[string]bool{"F1": true} // probes take numbers of links
	cfg.hooks.handler = func(_ *cluster, id fabric.MemberID, h fabric.Handler) fabric.Handler {
		return probed{h, func(from fabric.MemberID) { r.heard[[2]fabric.MemberID{from, id}] = true }}
	}
	t.Cleanup(seedEntropy(stream(seed, streamRaft)))
	var err error
	if r.c, err = newCluster(cfg); err != nil {
		t.Fatal(err)
	}
	r.c.clients.start()
	r.c.net.Advance(4 * time.Second)
	if r.c.leader() == nil {
		t.Fatal("nobody leads after 4 s")
	}
	return r
}

// sees reports who hears whom now.
func (r *reachability) sees() map[[2]fabric.MemberID]bool {
	clear(r.heard)
	r.c.streams += 10 // not used by anybody
	for _, a := range r.c.members {
		for _, b := range r.c.members {
			if a != b && !a.dead && !b.dead {
				_ = a.node.sim.Send([]fabric.Outgoing{{To: []fabric.MemberID{b.id}, Stream: probeStream + r.c.streams, Lane: fabric.LaneControl}})
			}
		}
	}
	r.c.net.Advance(20 * time.Millisecond)
	return r.heard
}

// degrees are how many others each member reaches in both directions, sorted as
// counts: degrees[2] members reach two others.
func degrees(ms []*member, heard map[[2]fabric.MemberID]bool) map[int]int {
	d := map[int]int{}
	for _, a := range ms {
		n := 0
		for _, b := range ms {
			if heard[[2]fabric.MemberID{a.id, b.id}] && heard[[2]fabric.MemberID{b.id, a.id}] {
				n++
			}
		}
		d[n]++
	}
	return d
}

// TestPartitions: each partition of five has the shape that its source describes,
// and the links come back.
func TestPartitions(t *testing.T) {
	for _, c := range []struct {
		kind  string
		after time.Duration // how long it has been on
		want  map[int]int   // members, by how many others they reach
	}{
		{"chained", 0, map[int]int{3: 2, 4: 3}},
		{"quorum-loss", 0, map[int]int{4: 1, 1: 4}},
		{"constrained", 100 * time.Millisecond, map[int]int{3: 4, 0: 1}}, // first the hub is cut off
		{"constrained", 500 * time.Millisecond, map[int]int{3: 1, 1: 3, 0: 1}},
		{"rotating-hub", 100 * time.Millisecond, map[int]int{4: 1, 1: 4}},
		{"bridge", 0, map[int]int{4: 1, 2: 4}},
	} {
		t.Run(c.kind, func(t *testing.T) {
			r := newReachability(t, 5, 3)
			end := r.strike(t, c.kind, 900*time.Millisecond)
			r.c.net.Advance(c.after)
			if got := degrees(r.c.members, r.sees()); !maps.Equal(got, c.want) {
				t.Errorf("members by how many they reach: %v, want %v", got, c.want)
			}
			end()
			r.c.net.Advance(time.Second)
			if got := degrees(r.c.members, r.sees()); !maps.Equal(got, map[int]int{4: 5}) {
				t.Errorf("when it is over: %v, want all to reach all", got)
			}
		})
	}
}

// strike lets one fault begin now.
func (r *reachability) strike(t *testing.T, kind string, length time.Duration) (end func()) {
	t.Helper()
	f := Fault{Kind: kind, At: r.c.net.Now(), For: length}
	if end = (&strike{f, r.c, stream(9, 9)}).begin(); end == nil {
		t.Fatalf("%s does not strike", kind)
	}
	return end
}

// TestOneWay: what is cut one way works the other way.
func TestOneWay(t *testing.T) {
	for kind, want := range map[string]int{"one-way-cut": 1, "deaf-leader": 2} {
		t.Run(kind, func(t *testing.T) {
			r := newReachability(t, 3, 4)
			leader := r.c.leader()
			end := r.strike(t, kind, time.Second)
			heard := r.sees()
			missing := 0
			for _, a := range r.c.members {
				for _, b := range r.c.members {
					there, back := heard[[2]fabric.MemberID{a.id, b.id}], heard[[2]fabric.MemberID{b.id, a.id}]
					if a == b || there {
						continue
					}
					missing++
					if !back {
						t.Errorf("%s and %s do not reach each other at all", a.id, b.id)
					}
					if kind == "deaf-leader" && b != leader {
						t.Errorf("%s is deaf to %s, the leader is %s", b.id, a.id, leader.id)
					}
				}
			}
			if missing != want {
				t.Errorf("%d directions are cut, want %d", missing, want)
			}
			end()
		})
	}
}

// TestFlapping: the link of the leader to one other goes and comes.
func TestFlapping(t *testing.T) {
	r := newReachability(t, 3, 5)
	end := r.strike(t, "flapping", 2*time.Second)
	up, changes, was := 0, 0, -1
	for range 90 {
		n := len(r.sees())
		if n != was {
			changes++
		}
		if was = n; n == 6 {
			up++
		}
	}
	end()
	if changes < 4 || up == 0 || up == 90 {
		t.Errorf("in 90 looks the link changed %d times and was up %d times", changes, up)
	}
}

// loneSeed is one in which what may strike anybody strikes the leader, where it
// shows.
const loneSeed = 3

// lone strikes one kind of fault, alone.
func lone(t *testing.T, kind string, members int) *Report {
	t.Helper()
	cfg := Config{Seed: loneSeed, Members: members, Duration: 25 * time.Second, Proposals: 1, MinFaults: 1}
	cfg.hooks.schedule = func([]Fault) []Fault { return []Fault{{0, kind, 5 * time.Second, 4 * time.Second}} }
	return run(t, cfg)
}

// TestEachKindStrikes: every kind of fault strikes, shows, and leaves a cluster
// that works.
func TestEachKindStrikes(t *testing.T) {
	members := sizes(3, 5)[len(sizes(3, 5))-1]
	calm := Config{Seed: loneSeed, Members: members, Duration: 25 * time.Second, Proposals: 1, Only: []int{}}
	quiet := run(t, calm)
	if quiet.Failed() || quiet.Elections != 1 || quiet.Lost+quiet.Refused+quiet.Restarts > 20 {
		t.Fatalf("without faults: %+v", quiet)
	}
	// A fault that did nothing would change none of these numbers.
	cfg := calm
	cfg.hooks.port = func(c *cluster, _ fabric.MemberID, p fabric.Port) fabric.Port {
		c.net.At(5*time.Second, func() {})
		return p
	}
	if r := run(t, cfg); r.Messages != quiet.Messages || r.Acked != quiet.Acked || r.Hash == quiet.Hash {
		t.Errorf("an event that does nothing changes messages from %d to %d", quiet.Messages, r.Messages)
	}
	shows := map[string]func(r *Report) bool{
		"crash":         func(r *Report) bool { return r.Restarts == 1 },
		"crash-leader":  func(r *Report) bool { return r.Restarts == 1 && r.Elections > 1 },
		"power-loss":    func(r *Report) bool { return r.Restarts == members && r.Elections > 1 },
		"pause-leader":  func(r *Report) bool { return r.Elections > 1 },
		"deaf-leader":   func(r *Report) bool { return r.Elections > 1 },
		"quorum-loss":   func(r *Report) bool { return r.Unknown > 0 },
		"constrained":   func(r *Report) bool { return r.Unknown > 0 },
		"membership":    func(r *Report) bool { return r.Reconfigs >= members && r.Snapshots > 0 },
		"transfer":      func(r *Report) bool { return r.Elections > 1 },
		"duplicate":     func(r *Report) bool { return r.Events > quiet.Events+quiet.Events/50 },
		"clock-skew":    func(r *Report) bool { return r.Messages != quiet.Messages },
		"storage-slow":  func(r *Report) bool { return r.Messages != quiet.Messages },
		"storage-stall": func(r *Report) bool { return r.Messages != quiet.Messages },
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			r := lone(t, k.name, members)
			if r.Failed() || r.Faults[k.name] != 1 {
				r.Write(os.Stdout)
				t.Fatal(r.Failures)
			}
			troubled := func(r *Report) bool {
				return r.Again+r.Lost+r.Refused+r.Gaps+r.Unknown > quiet.Again+quiet.Lost+quiet.Refused+quiet.Gaps+quiet.Unknown || r.Acked < quiet.Acked
			}
			if show := shows[k.name]; show != nil {
				troubled = show
			}
			if !troubled(r) {
				r.Write(os.Stdout)
				t.Error("nothing shows")
			}
		})
	}
}

// TestSmallClusters: what takes more members than there are does not strike, and
// what strikes one of one or two leaves a cluster that works.
func TestSmallClusters(t *testing.T) {
	for _, members := range sizes(1, 2) {
		for _, k := range kinds {
			cfg := Config{Seed: 2, Members: members, Duration: 25 * time.Second, Proposals: 1, MinFaults: -1}
			cfg.hooks.schedule = func([]Fault) []Fault { return []Fault{{0, k.name, 5 * time.Second, 2 * time.Second}} }
			r := run(t, cfg)
			if r.Failed() || k.members > members && r.Faults[k.name] > 0 {
				t.Errorf("%s, %d members: struck %d times: %v", k.name, members, r.Faults[k.name], r.Failures)
			}
		}
	}
}

// TestFaultsAddUp: two of a kind at the same member end when they end, each.
func TestFaultsAddUp(t *testing.T) {
	r := newReachability(t, 1, 1)
	m := r.c.members[0]
	var ends []func()
	for range 3 {
		ends = append(ends, r.strike(t, "clock-skew", time.Second), r.strike(t, "storage-slow", time.Second))
	}
	if m.pace() == 1 || m.pace() < 0.25 || m.disk.factor < 60 {
		t.Errorf("pace %v, disk %d times slower", m.pace(), m.disk.factor)
	}
	for _, end := range ends {
		end()
	}
	if p := m.pace(); p < 0.999 || p > 1.001 || m.disk.factor != 0 {
		t.Errorf("in the end: pace %v, disk %d times slower", p, m.disk.factor)
	}
	m.skew = -3
	if m.pace() != 0.25 {
		t.Errorf("the slowest pace is %v", m.pace())
	}
}

// TestScheduleFits: all faults are over when the calm begins, and all kinds are
// drawn.
func TestScheduleFits(t *testing.T) {
	drawn := map[string]bool{}
	for seed := range uint64(200) {
		c := &cluster{cfg: Config{Seed: seed}}
		end := 50 * time.Second
		faults := c.schedule(end)
		if len(faults) < leastFaults || len(faults) > mostFaults {
			t.Fatalf("seed %d: %d faults", seed, len(faults))
		}
		for i, f := range faults {
			if f.Number != i || f.At < faultFree || f.For <= 0 || f.At+f.For > end {
				t.Errorf("seed %d: %v", seed, f)
			}
			drawn[f.Kind] = true
		}
	}
	for _, k := range Kinds() {
		if !drawn[k] {
			t.Errorf("%s is never drawn", k)
		}
	}
	c := &cluster{cfg: Config{Seed: 1}}
	if faults := c.schedule(time.Second); len(faults) != 0 {
		t.Errorf("no room, and %d faults", len(faults))
	}
}
