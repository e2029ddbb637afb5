package election

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

func TestGapBuckets(t *testing.T) {
	for d := time.Duration(8); d < 100*time.Hour; d += 1 + d/7 {
		b := gapBucket(d)
		if c := gapCeiling(b); b < gapBuckets-1 && (c < d || c > d+d/4+2) {
			t.Fatalf("%v falls into a bucket that ends at %v", d, c)
		}
		if b > 0 && b < gapBuckets-1 && gapCeiling(b-1) > d+1 {
			t.Fatalf("%v belongs into an earlier bucket than %d", d, b)
		}
	}
}

// "suspect-after = max(configured, 8 × p99.9 of the observed gaps)"
func TestSuspectAfterAdapts(t *testing.T) {
	cfg := Config{Self: 1}.withDefaults()
	p := &peer{limit: cfg.SuspectAfter}
	now := time.Duration(0)
	hear := func(n int, gap time.Duration) {
		for range n {
			now += gap
			p.alive(now, &cfg)
		}
	}
	hear(3000, 5*ms)
	if p.limit != cfg.SuspectAfter {
		t.Errorf("with gaps of 5ms %v", p.limit)
	}
	hear(3000, 20*ms)
	if p.limit < 160*ms || p.limit > 200*ms {
		t.Errorf("with gaps of 20ms %v", p.limit)
	}
	hear(40000, 5*ms)
	if p.limit != cfg.SuspectAfter {
		t.Errorf("when they are gone %v", p.limit)
	}
	hear(3000, time.Second)
	if p.limit != cfg.MaxSuspectAfter {
		t.Errorf("with gaps of 1s %v", p.limit)
	}
}

// "doubled after a false suspicion", until it was undisturbed for long.
func TestFalseSuspicionDoubles(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1]
	b.down[2] = true
	b.pass(70 * ms)
	if !a.State().Peers[1].Suspected {
		t.Fatal("3 is not suspected after 70ms")
	}
	b.down[2] = false
	b.pass(10 * ms)
	if !b.has(1, EventFalseSuspicion) || a.peer(3).limit != 120*ms {
		t.Errorf("3 came back: suspect-after %v", a.peer(3).limit)
	}
	b.pass(3 * time.Second)
	if a.peer(3).limit != 60*ms {
		t.Errorf("long after: %v", a.peer(3).limit)
	}
}

// A sign of life that was under way when the port reported the end is none.
func TestDownIsNotUndoneByLateFrames(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1]
	a.Down(b.now, 1)
	a.Heard(b.now+ms, 1)
	a.Receive(b.now+ms, msg(raftpb.MsgHeartbeat, 1, 2, 5))
	if !a.peer(1).suspected() {
		t.Error("a frame that came late undid it")
	}
	a.Up(b.now+2*ms, 1)
	if a.peer(1).suspected() {
		t.Error("the port says that it is back")
	}
	a.Down(b.now+3*ms, 1)
	a.Heard(b.now+30*ms, 1)
	if a.peer(1).suspected() {
		t.Error("a sign of life of long after does not count")
	}
}

func TestState(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	s := b.arbs[1].State()
	if s.Mode != On || s.Term != 5 || s.Claimant != 1 || !s.Leads || s.Suspects || s.Abstains != "" || len(s.Peers) != 2 || s.Peers[0].Mode != On {
		t.Errorf("%+v", s)
	}
	b.kill(0)
	if s := b.arbs[1].State(); !s.Suspects || !s.Peers[0].Suspected {
		t.Errorf("after the leader's end %+v", s)
	}
}
