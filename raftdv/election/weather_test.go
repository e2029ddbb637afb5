package election

import (
	"errors"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// Scenarios beside those of E1's campaign. E2, E3, E4 and that somebody leads in
// the end are checked in all of them, E1 where its assumption holds.

// E4: who endorsed, and restarts while that attempt is on, does not endorse in it
// again, whether it was the nominee in any phase or any other member.
func TestRestartWithinAttempt(t *testing.T) {
	for point := range phases + 1 {
		name := "any that endorsed"
		if point < phases {
			name = point.String()
		}
		t.Run(name, func(t *testing.T) {
			restarts, endorsed := 0, 0
			for seed := range uint64(80) {
				k := restarting(seed, point)
				r, err := k.run()
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				restarts += r.failed + k.blinks - r.blinks
				endorsed += r.seen[EventEndorsed]
			}
			if restarts < 80 || endorsed < 80 {
				t.Errorf("%d restarts and %d endorsements in 80 elections", restarts, endorsed)
			}
		})
	}
}

// restarting is an election in which nominees restart at a point, or two members
// that have endorsed.
func restarting(seed uint64, point phase) kill {
	k := scenario(seed, []int{3, 4, 5}[seed%3], On)
	k.outside, k.plan, k.blinks = true, nil, 2
	if point < phases {
		k.plan, k.blinks = []crash{{at: point, blink: true}, {at: point, blink: true}}, 0
	}
	if seed&1 != 0 { // the leader comes back as well, so that all know at once that nobody leads
		k.before = func(w *world, l *node, at time.Duration) {
			w.at(at+w.between(time.Millisecond, 8*time.Millisecond), func() { w.start(l) })
		}
	}
	return k
}

// Without the wait after a start these elections break E4.
func TestRestartWithinAttemptSeesMistakes(t *testing.T) {
	for point := range phases + 1 {
		for seed := range uint64(80) {
			k := restarting(seed, point)
			k.setup.tamper = func(a *Arbiter) { a.born = -time.Hour }
			if _, err := k.run(); errors.Is(err, errE4) {
				return
			}
		}
	}
	t.Error("members that endorse right after a restart keep E4")
}

// Clocks that run at 80 to 120 % of the time: E1 holds with a Patience that covers
// what the fastest of them makes of it.
func TestClockRates(t *testing.T) {
	for _, voters := range []int{3, 5, 7} {
		var y tally
		for seed := range uint64(max(150, *trials/4)) {
			k := scenario(seed, voters, On)
			k.skewed = true
			k.setup.cfg = Config{Patience: 25 * time.Millisecond, Hold: 120 * time.Millisecond}
			r, err := k.run()
			if err != nil {
				t.Fatalf("n=%d, seed %d: %v", voters, seed, err)
			}
			y.add(r)
		}
		t.Logf("n=%d: %v", voters, &y)
	}
}

// One direction of some links fails when the leader dies, for rows as for
// messages, and comes back after three seconds.
func TestOneWayCuts(t *testing.T) {
	var on, off tally
	cuts := 0
	for seed := range uint64(max(150, *trials/4)) {
		for _, mode := range []Mode{On, Off} {
			k := scenario(seed, []int{3, 4, 5, 7}[seed%4], mode)
			k.outside, k.plan = true, nil
			k.before = func(w *world, _ *node, at time.Duration) {
				w.at(at-w.between(0, 20*time.Millisecond), func() {
					for _, a := range w.nodes {
						for _, b := range w.nodes {
							if a != b && w.rng.IntN(5) == 0 {
								w.severed[[2]uint64{a.id, b.id}] = true
								cuts++
							}
						}
					}
				})
				w.at(at+3*time.Second, func() { clear(w.severed) })
			}
			r, err := k.run()
			if err != nil {
				t.Fatalf("%v, seed %d: %v", mode, seed, err)
			}
			map[Mode]*tally{On: &on, Off: &off}[mode].add(r)
		}
	}
	if cuts < 300 {
		t.Errorf("%d cuts", cuts)
	}
	t.Logf("on: %v", &on)
	t.Logf("off: %v", &off)
}

// The configuration changes while the leader dies: proposed, on some disks,
// decided, or applied by some. One voter becomes a learner, a learner a voter, a
// voter goes, or several of these through a joint configuration.
func TestConfigurationChanges(t *testing.T) {
	change := func(typ raftpb.ConfChangeType, id uint64) *raftpb.ConfChangeSingle {
		return &raftpb.ConfChangeSingle{Type: typ.Enum(), NodeId: &id}
	}
	add, drop, learn := raftpb.ConfChangeAddNode, raftpb.ConfChangeRemoveNode, raftpb.ConfChangeAddLearnerNode
	for name, cs := range map[string][]*raftpb.ConfChangeSingle{
		"a learner is promoted":       {change(add, 6)},
		"a voter becomes a learner":   {change(learn, 2)},
		"a voter goes":                {change(drop, 3)},
		"a learner replaces a voter":  {change(add, 6), change(drop, 4)},
		"two voters become a learner": {change(learn, 1), change(drop, 2), change(add, 6)},
	} {
		t.Run(name, func(t *testing.T) {
			var on, off tally
			applied, partly := 0, 0
			for seed := range uint64(max(60, *trials/8)) {
				for _, mode := range []Mode{On, Off} {
					k := scenario(seed, 5, mode)
					k.outside, k.plan = true, nil
					k.setup.conf = &raftpb.ConfState{Voters: []uint64{1, 2, 3, 4, 5}, Learners: []uint64{6}}
					k.before = func(w *world, l *node, at time.Duration) {
						w.at(at-w.between(0, 10*time.Millisecond), func() {
							_ = l.rn.ProposeConfChange(&raftpb.ConfChangeV2{Changes: cs})
							w.pump(l)
						})
						w.at(at, func() {
							if w.changed > 0 && w.changed < len(w.nodes) {
								partly++
							}
						})
					}
					r, err := k.run()
					if err != nil {
						t.Fatalf("%v, seed %d: %v", mode, seed, err)
					}
					applied += r.change
					map[Mode]*tally{On: &on, Off: &off}[mode].add(r)
				}
			}
			if applied < 60 || partly < 5 {
				t.Errorf("changes were applied %d times, in %d elections by some members only", applied, partly)
			}
			t.Logf("on: %v", &on)
			t.Logf("off: %v", &off)
		})
	}
}

// A slow network that the leader has measured: E1 holds as on a fast one, with
// nominees that fail.
func TestSlowNetworks(t *testing.T) {
	for _, slow := range []int{4, 16} {
		var y tally
		for seed := range uint64(max(80, *trials/8)) {
			k := scenario(seed, []int{5, 7}[seed%2], On)
			k.setup.stretch = slow
			r, err := k.run()
			if err != nil {
				t.Fatalf("%d times as slow, seed %d: %v", slow, seed, err)
			}
			y.add(r)
		}
		if y.Rounds[0][1] == y.Elections {
			t.Error("no nominee fails")
		}
		t.Logf("%d times as slow: %v", slow, &y)
	}
}
