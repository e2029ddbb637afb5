package election

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/internal/suspect"
)

// Suspect-after depends on how often a peer intends to be heard.
func TestSuspectAfterOfBeats(t *testing.T) {
	cfg := Config{Self: 1}.withDefaults()
	leader := section{claim: claim{5, 2, claimLead}, flags: flagActs}
	p := &peer{id: 2, seen: true, row: leader}
	now := time.Duration(0)
	hear := func(n int, gap time.Duration) {
		for range n {
			now += gap
			p.alive(now, &cfg)
		}
	}
	limit := func(what string, want time.Duration) {
		t.Helper()
		if p.relimit(now, &cfg); p.Limit != want {
			t.Errorf("%s: suspect-after %v, want %v", what, p.Limit, want)
		}
	}
	hear(3000, 21*ms)
	limit("beats that come in time", cfg.SuspectAfter)
	p.row.claim.member = 3
	limit("a follower", 3*cfg.IdleBeat)
	p.row.flags |= flagSealed
	limit("in an election", cfg.SuspectAfter)
	p.row.flags = 0
	limit("one that does not beat", cfg.MaxSuspectAfter)
	p.row = leader
	hear(3000, time.Second)
	limit("a beat in a second", cfg.MaxSuspectAfter)
}

// "doubled after a false suspicion", until it was undisturbed for long.
func TestFalseSuspicionDoubles(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1]
	b.down[2] = true
	b.pass(3*a.cfg.IdleBeat + 20*ms)
	if !a.State().Peers[1].Suspected {
		t.Fatal("3 is not suspected after three beats")
	}
	b.down[2] = false
	b.pass(a.cfg.IdleBeat)
	if !b.has(1, EventFalseSuspicion) || a.peer(3).Limit != 6*a.cfg.IdleBeat {
		t.Errorf("3 came back: suspect-after %v", a.peer(3).Limit)
	}
	b.pass(suspect.Forgiveness * 6 * a.cfg.IdleBeat)
	if p := a.peer(3); p.Doublings() != 0 {
		t.Errorf("long after: doubled %d times, %v", p.Doublings(), p.Limit)
	}
}

// Who was away for so long that no setting would have waited was not suspected
// falsely: the next time it is suspected as early.
func TestLongAbsenceDoublesNothing(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1]
	b.down[2] = true
	b.pass(a.cfg.MaxSuspectAfter + 50*ms)
	b.down[2] = false
	b.pass(100 * ms)
	if p := a.peer(3); p.suspected() || p.Limit != 3*a.cfg.IdleBeat || b.has(1, EventFalseSuspicion) {
		t.Errorf("after a second of absence: suspected %v, suspect-after %v", p.suspected(), p.Limit)
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
