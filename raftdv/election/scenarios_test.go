package election

import (
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

var depth = flag.Int("depth", 5, "frames after the kill whose delays TestEveryOrder tries in all ways")

// TestEveryOrder tries, for each crash point of a nominee, told or not, with
// equal and unequal logs, every assignment of the shortest and the longest delay
// to the first frames after the leader's death.
func TestEveryOrder(t *testing.T) {
	for _, voters := range []int{3, 5} {
		d := *depth
		if voters == 5 {
			d = max(1, d-1)
		}
		n := 0
		for point := range phases + 1 {
			for variant := range 4 {
				for bits := range 1 << d {
					k := orderly(voters, point, variant, bits, d)
					if _, err := k.run(); err != nil {
						t.Fatalf("n=%d, crash at %d, variant %d, delays %b: %v", voters, point, variant, bits, err)
					}
					n++
				}
			}
		}
		t.Logf("n=%d: %d elections: %d crash points, told and not, equal and unequal logs, all delays of the first %d frames", voters, n, phases+1, d)
	}
}

func orderly(voters int, point phase, variant, bits, depth int) kill {
	k := kill{setup: setup{seed: 1, voters: voters, mode: On, preVote: true, checkQuorum: true}, unequal: variant&1 != 0}
	if point < phases {
		k.plan = []crash{{at: point, silent: variant&2 != 0}}
	}
	k.script = make([]time.Duration, depth)
	for i := range k.script {
		if k.script[i] = minDelay; bits>>i&1 != 0 {
			k.script[i] = maxDelay
		}
	}
	return k
}

func TestEveryOrderSeesMistakes(t *testing.T) {
	for bits := range 1 << *depth {
		k := orderly(5, phases, 1, bits, *depth)
		k.setup.tamper = forgetLogs
		if _, err := k.run(); errors.Is(err, errE1) {
			return
		}
	}
	t.Error("members that do not compare logs keep E1 in every order")
}

// TestSettingsOfRaft: safe and live with PreVote and CheckQuorum on and off. E1
// assumes PreVote.
func TestSettingsOfRaft(t *testing.T) {
	for i := range 4 {
		preVote, checkQuorum := i&1 != 0, i&2 != 0
		var y tally
		for seed := range uint64(150) {
			k := scenario(seed, 5, On)
			k.setup.preVote, k.setup.checkQuorum, k.outside = preVote, checkQuorum, !preVote
			r, err := k.run()
			if err != nil {
				t.Fatalf("PreVote %v, CheckQuorum %v, seed %d: %v", preVote, checkQuorum, seed, err)
			}
			y.add(r)
		}
		t.Logf("PreVote %v, CheckQuorum %v: %v", preVote, checkQuorum, &y)
	}
}

// TestOutside: frames and disks that take longer than Patience covers, and
// members whose positions nobody knows. Raft stays safe and gets its leader;
// E3 and E4 hold; the rounds are told, with those of stock raft beside them.
func TestOutside(t *testing.T) {
	for _, o := range []struct {
		name   string
		change func(*kill)
	}{
		{"4 times as slow", func(k *kill) { k.setup.stretch = 4 }},
		{"8 times as slow", func(k *kill) { k.setup.stretch = 8 }},
		{"16 times as slow", func(k *kill) { k.setup.stretch = 16 }},
		{"suddenly 4 times as slow", func(k *kill) { k.setup.stretch, k.setup.sudden = 4, true }},
		{"suddenly 16 times as slow", func(k *kill) { k.setup.stretch, k.setup.sudden = 16, true }},
		{"positions after restart", func(k *kill) { k.setup.blind = true }},
	} {
		t.Run(o.name, func(t *testing.T) {
			n := max(100, *trials/4)
			var sum [2]tally
			for i, mode := range []Mode{On, Off} {
				for seed := range uint64(n) {
					k := scenario(seed, 5, mode)
					k.outside, k.plan = true, nil
					o.change(&k)
					r, err := k.run()
					if err != nil {
						t.Fatalf("%v, seed %d: %v", mode, seed, err)
					}
					sum[i].add(r)
				}
				t.Logf("%v: %v", mode, &sum[i])
			}
			on, off := &sum[0], &sum[1]
			_, worst := on.above()
			_, stockWorst := off.above()
			if worst > stockWorst || on.Took > off.Took || !strings.HasPrefix(o.name, "suddenly") && on.beyond(1) > off.beyond(1) {
				t.Errorf("worse than stock raft")
			}
		})
	}
}

// TestConfigurations: joint consensus and learners, with raft itself.
func TestConfigurations(t *testing.T) {
	for name, conf := range map[string]*raftpb.ConfState{
		"joint":           {Voters: []uint64{1, 2, 3}, VotersOutgoing: []uint64{1, 2, 3, 4, 5}},
		"joint, disjoint": {Voters: []uint64{1, 2, 3}, VotersOutgoing: []uint64{4, 5, 6}},
		"learners":        {Voters: []uint64{1, 2, 3}, Learners: []uint64{4, 5}},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(60) {
				k := scenario(seed, 3, On)
				k.plan, k.setup.conf = nil, conf
				r, err := k.run()
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				if r.rounds != 1 {
					t.Fatalf("seed %d: %d rounds", seed, r.rounds)
				}
			}
		})
	}
}

// TestPositionsFromMessages: what raft is sent and says is enough to know the
// positions of members that did not restart.
func TestPositionsFromMessages(t *testing.T) {
	nominated := 0
	for seed := range uint64(200) {
		k := scenario(seed, 5, On)
		k.plan, k.setup.blind, k.slow = nil, true, false
		r, err := k.run()
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if r.seen[EventNominated] > 0 {
			nominated++
		}
	}
	if nominated < 195 {
		t.Errorf("only %d of 200 elections were arbitrated", nominated)
	}
}

// TestPositionsAreTrue: whenever a position is known, raft's log ends within
// its bounds.
func TestPositionsAreTrue(t *testing.T) {
	known := 0
	for seed := range uint64(100) {
		k := scenario(seed, 5, On)
		k.setup.blind, k.outside = true, true
		k.check = func(w *world, n *node) {
			p := &n.arb.pos
			if !p.known || n.busy || n.leads || n.arb.role == roleLeader {
				return
			}
			known++
			if at := n.last(); p.high().less(at) || at.less(p.lower) && len(p.handed) == 0 {
				w.fail("%w: %d ends at %v, its arbiter says %v to %v", errPosition, n.id, at, p.lower, p.high())
			}
		}
		if _, err := k.run(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	if known < 10000 {
		t.Errorf("positions were known %d times", known)
	}
}

var errPosition = errors.New("position")

// TestTransferWithRaft: an operator's transfer works as without an arbiter.
func TestTransferWithRaft(t *testing.T) {
	for seed := range uint64(40) {
		w := newWorld(setup{seed: seed, voters: 5, mode: On, preVote: seed&1 == 0, checkQuorum: seed&2 == 0, lossy: seed&4 == 0})
		l := w.nodes[0]
		w.at(time.Millisecond, func() { must(l.rn.Campaign()); w.pump(l) })
		w.run(300*time.Millisecond, nil)
		w.counting = true
		l.rn.TransferLeader(4)
		w.pump(l)
		if !w.run(w.now+time.Second, func() bool { n := w.leader(); return n != nil && n.id == 4 }) || w.err() != nil {
			t.Fatalf("seed %d: 4 does not lead: %v", seed, w.err())
		}
		if took := w.now - 300*time.Millisecond; len(w.rounds) != 1 || took > 50*time.Millisecond {
			t.Errorf("seed %d: %v, after %v", seed, w.rounds, took)
		}
	}
}

// attack has one modified member campaign for ever, and counts the writes that
// are decided meanwhile, one proposed every 10ms.
func attack(mode Mode, typ raftpb.MessageType, seed uint64) (decided int, err error) {
	w := newWorld(setup{seed: seed, voters: 5, mode: mode, preVote: true, checkQuorum: true})
	w.at(time.Millisecond, func() { must(w.nodes[0].rn.Campaign()); w.pump(w.nodes[0]) })
	w.run(300*time.Millisecond, nil)
	before := len(w.decided)
	bad, term := w.nodes[4], uint64(10)
	var strike, write func()
	strike = func() {
		term++
		for _, n := range w.nodes[:4] {
			m := msg(typ, bad.id, n.id, term)
			m.LogTerm, m.Index, m.Context = new(uint64(1)), new(uint64(1)), []byte("CampaignTransfer")
			w.route(bad, m)
		}
		w.at(w.now+20*time.Millisecond, strike)
	}
	write = func() {
		for _, n := range w.nodes {
			if n.leads {
				_ = n.rn.Propose([]byte("x"))
				w.pump(n)
			}
		}
		w.at(w.now+10*time.Millisecond, write)
	}
	strike()
	write()
	w.run(w.now+3*time.Second, nil)
	if mode == On && w.nodes[0].arb.peer(5) == nil {
		return 0, errors.New("the attacker is no member")
	}
	return len(w.decided) - before, w.err()
}

// "Endless campaigns without cause are held back": writes go on.
func TestEndlessCampaigns(t *testing.T) {
	for _, typ := range []raftpb.MessageType{raftpb.MsgVote, raftpb.MsgPreVote, raftpb.MsgTimeoutNow} {
		for seed := range uint64(5) {
			on, err := attack(On, typ, seed)
			if err != nil {
				t.Fatal(err)
			}
			off, err := attack(Off, typ, seed)
			if err != nil {
				t.Fatal(err)
			}
			if on < 290 {
				t.Errorf("%v, seed %d: %d of 300 writes with the arbiter, %d without", typ, seed, on, off)
			}
			if typ == raftpb.MsgVote && off > 100 { // the check must be able to fail
				t.Errorf("%v, seed %d: stock raft decides %d of 300 writes: this is no attack", typ, seed, off)
			}
			t.Logf("%v, seed %d: %d of 300 writes with the arbiter, %d without", typ, seed, on, off)
		}
	}
}

// TestRefusedNominee: raft silently refuses to campaign with a configuration
// that it did not apply; the next best is nominated.
func TestRefusedNominee(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject == nil {
		t.Fatal("2 is not nominated")
	}
	b.pass(25 * ms) // 2's raft does nothing
	if b.out[2].Inject == nil {
		t.Error("3 is not nominated after it")
	}
}

// TestDeterministic: the same seed takes the same course.
func TestDeterministic(t *testing.T) {
	course := func() uint64 {
		h := fnv.New64a()
		for seed := range uint64(20) {
			k := scenario(seed, 5, On)
			k.check = func(w *world, n *node) { fmt.Fprint(h, w.now, n.id, n.arb.claim, n.arb.endorses) }
			if _, err := k.run(); err != nil {
				t.Fatal(err)
			}
		}
		return h.Sum64()
	}
	if a, b := course(), course(); a != b {
		t.Error("two runs differ")
	}
}
