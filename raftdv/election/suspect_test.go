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

// "suspect-after = max(configured, 8 × p99.9 of the observed gaps)", where what
// is observed is how much later than a beat they end.
func TestSuspectAfterAdapts(t *testing.T) {
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
	limit := func(what string, low, high time.Duration) {
		t.Helper()
		if p.relimit(now, &cfg); p.limit < low || p.limit > high {
			t.Errorf("%s: suspect-after %v, not within %v and %v", what, p.limit, low, high)
		}
	}
	hear(3000, 21*ms)
	limit("beats that come in time", cfg.SuspectAfter, cfg.SuspectAfter)
	hear(3000, 40*ms)
	limit("beats 20ms late", 20*ms+8*20*ms, 20*ms+8*24*ms)
	hear(40000, 20*ms)
	limit("when that is over", cfg.SuspectAfter, cfg.SuspectAfter)
	p.row.claim.member = 3
	limit("a follower", 3*cfg.IdleBeat, 3*cfg.IdleBeat)
	p.row.flags |= flagSealed
	limit("in an election", cfg.SuspectAfter, cfg.SuspectAfter)
	p.row.flags = 0
	limit("one that does not beat", cfg.MaxSuspectAfter, cfg.MaxSuspectAfter)
	p.row = leader
	hear(3000, time.Second)
	limit("a beat in a second", cfg.MaxSuspectAfter, cfg.MaxSuspectAfter)
}

// While a peer comes back its silences are of its absence.
func TestReturnStutters(t *testing.T) {
	cfg := Config{Self: 1}.withDefaults()
	p := &peer{id: 2, seen: true, row: section{claim: claim{5, 2, claimLead}, flags: flagActs}}
	now := time.Duration(0)
	silent := func(d time.Duration) (wrong bool) {
		now += d
		p.silent = d > p.limit
		return p.alive(now, &cfg)
	}
	silent(ms)
	for range 2000 {
		silent(cfg.Beat)
	}
	if silent(2 * time.Second) {
		t.Error("an absence is a false suspicion")
	}
	for range 5 {
		if silent(500 * ms) {
			t.Error("so is a silence after it")
		}
	}
	if p.limit != cfg.SuspectAfter {
		t.Errorf("suspect-after %v after a return", p.limit)
	}
	for now < p.returned {
		silent(cfg.Beat)
	}
	if !silent(500*ms) || p.limit <= cfg.SuspectAfter {
		t.Errorf("a silence long after is none; suspect-after %v", p.limit)
	}
}

// A stall now and then counts, however many messages come in between.
func TestMessagesDoNotDrownStalls(t *testing.T) {
	cfg := Config{Self: 1}.withDefaults()
	p := &peer{id: 2, seen: true, row: section{claim: claim{5, 2, claimLead}, flags: flagActs}}
	now := time.Duration(0)
	for i := range 200_000 {
		now += ms / 5
		if i%25_000 == 0 { // every 5s
			now += 50 * ms
		}
		p.alive(now, &cfg)
	}
	if p.limit < 20*ms+8*30*ms {
		t.Errorf("with a stall of 50ms every 5s suspect-after is %v", p.limit)
	}
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
	if !b.has(1, EventFalseSuspicion) || a.peer(3).limit != 6*a.cfg.IdleBeat {
		t.Errorf("3 came back: suspect-after %v", a.peer(3).limit)
	}
	b.pass(forgiveness * 6 * a.cfg.IdleBeat)
	if p := a.peer(3); p.doubled != 0 {
		t.Errorf("long after: doubled %d times, %v", p.doubled, p.limit)
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
	if p := a.peer(3); p.suspected() || p.limit != 3*a.cfg.IdleBeat || b.has(1, EventFalseSuspicion) {
		t.Errorf("after a second of absence: suspected %v, suspect-after %v", p.suspected(), p.limit)
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
