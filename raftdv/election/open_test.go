package election

import (
	"errors"
	"math"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// The leader hands over its office, and dies. Its word to campaign is with raft,
// whose vote request waits for the disk.
//
//	1 > 5 MsgTimeoutNow 5    handed to 5's raft
//	1 dies; all, 5 as well, endorse 2; 2 is told to campaign
//	5 > * MsgVote 6
//	2 > * MsgVote 6          two campaigns for one term, and nobody failed
func TestTransfereeIsTied(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	if v := b.arbs[4].Receive(b.now, msg(raftpb.MsgTimeoutNow, 1, 5, 5)); v != Pass {
		t.Fatalf("the leader's word: %v", v)
	}
	b.kill(0)
	b.pass(2 * ms)
	if b.out[1].Inject != nil || b.arbs[4].endorses.nominee != 0 {
		t.Errorf("5 endorses %+v, and 2 is told %v", b.arbs[4].endorses, b.out[1].Inject)
	}
}

// The same on rafts: a transfer is asked for just before the leader dies.
func TestTransferAndDeath(t *testing.T) {
	bad := 0
	for seed := range uint64(300) {
		k := kill{setup: setup{seed: seed, voters: 5, mode: On, preVote: true, checkQuorum: true}}
		k.before = func(w *world, l *node, at time.Duration) {
			w.counting = true
			w.at(at-time.Millisecond, func() { l.rn.TransferLeader(l.id%5 + 1); w.pump(l) })
		}
		r, err := k.run()
		if err != nil {
			if bad++; bad < 4 {
				t.Errorf("seed %d: %d rounds: %v", seed, r.rounds, err)
			}
		}
	}
	if bad > 0 {
		t.Errorf("%d of 300 elections above the bound", bad)
	}
}

// A word to campaign that was held for an election's sake comes to raft when
// somebody else has won: it campaigns for the term that is led.
//
//	1 dies; 4 has sealed; 1 > 4 MsgTimeoutNow 5   held
//	2 wins term 6 with the others' votes; 4 knows from 2's row alone
//	4's raft is at 5: it is handed the word, and campaigns for 6
func TestTransferThatWaitedIsLost(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	b.kill(0)
	b.pass(ms)
	a := b.arbs[3]
	word := msg(raftpb.MsgTimeoutNow, 1, 4, 5)
	if v := a.Receive(b.now, word); v == Pass {
		t.Fatalf("the old leader's word: %v", v)
	}
	b.arbs[1].Sent(b.now, []*raftpb.Message{forcedVote(2, 3, 6)})
	b.exchange()
	b.pass(5 * ms)
	b.arbs[1].Sent(b.now, []*raftpb.Message{msg(raftpb.MsgHeartbeat, 2, 3, 6)})
	b.exchange()
	b.pass(150 * ms)
	for _, m := range b.out[3].Release {
		if m == word {
			t.Errorf("4's raft is told to campaign at term %d, while 2 leads %d", a.term, a.claim.term)
		}
	}
}

// The only voter sends nothing that shows that it leads.
func TestOnlyVoter(t *testing.T) {
	w := newWorld(setup{seed: 1, voters: 1, mode: On, preVote: true, checkQuorum: true})
	n := w.nodes[0]
	w.at(time.Millisecond, func() { must(n.rn.Campaign()); w.pump(n) })
	w.run(50*time.Millisecond, nil)
	term := n.rn.BasicStatus().GetTerm()
	w.run(10*time.Second, nil)
	if now := n.rn.BasicStatus().GetTerm(); now != term || w.err() != nil {
		t.Errorf("it led term %d, and leads %d, %v", term, now, w.err())
	}
}

// A row names the greatest attempt that there is. All follow it, and what comes
// after it is an endorsement that is none: their rows are refused for ever.
func TestAttemptsEnd(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	s := b.arbs[4].shown
	s.endorses = endorsement{5, math.MaxUint32, 5}
	b.down[4] = true
	b.kill(0)
	for _, a := range b.arbs[1:4] {
		_ = a.Row(b.now, &fabric.Row{Owner: 5, Incarnation: 1, Version: 1 << 40, Sections: s.append(nil)})
	}
	for range 200 {
		b.now += ms
		for i, a := range b.arbs[1:4] {
			a.Advance(b.now)
			if !a.Take().Publish {
				continue
			}
			b.rowNum++
			row := fabric.Row{Owner: a.cfg.Self, Incarnation: 1, Version: b.rowNum, Sections: a.AppendSection(nil)}
			for j, o := range b.arbs[1:4] {
				if i == j {
					continue
				}
				if err := o.Row(b.now, &row); err != nil {
					t.Fatalf("%d refuses an honest row: %v", j+2, err)
				}
			}
		}
	}
}

// Of six two are dead, so that all others have to agree; in one attempt two endorse
// 2, and two 4. All see that: nobody can be nominated in it, and nobody moves.
func TestSplitIsSeen(t *testing.T) {
	b := divided(t)
	b.pass(b.arbs[1].cfg.Settle + 2*ms)
	if b.arbs[1].peer(4).history[0].nominee == 0 || b.arbs[3].peer(2).history[0].nominee == 0 {
		t.Fatal("the words are not seen")
	}
	for i, a := range b.arbs[1:5] {
		if a.open && a.endorses.attempt == 1 {
			t.Errorf("the word of %d for %d is open Settle after the split was seen", i+2, a.endorses.nominee)
		}
	}
	if b.out[1].Inject == nil {
		t.Error("2 is not nominated in a second attempt")
	}
}

// A nominee begins anew before it has endorsed itself. It abstains for five Patiences,
// and says so; words for it stay open.
//
//	2 is nominated, and dies; 4, 5, 6 and 7 endorse 3
//	3 restarts, silently
func TestNomineeThatBeganAnew(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5, 6, 7), 1, 2, 3, 4, 5, 6, 7)
	b.kill(0)
	b.pass(2 * ms)
	b.down[2] = true
	b.kill(1)
	b.pass(ms)
	if want := (endorsement{5, 2, 3}); b.arbs[3].endorses != want || b.arbs[6].endorses != want {
		t.Fatalf("4 endorses %+v", b.arbs[3].endorses)
	}
	a, err := New(Config{Self: 3, PreVote: true, CheckQuorum: true}, b.now)
	must(err)
	must(a.SetMembers(b.now, voters(1, 2, 3, 4, 5, 6, 7)))
	a.SetMode(b.now, On)
	a.Position(b.now, 5, 5, 10)
	b.arbs[2], b.lives[2], b.down[2] = a, 2, false
	for _, id := range []fabric.MemberID{4, 5, 6, 7} {
		b.arbs[id-1].Up(b.now, 3)
		a.Up(b.now, id)
	}
	b.exchange()
	b.pass(15 * ms) // Settle: 3 has not sealed
	if b.arbs[3].peer(3).incarnation != 2 {
		t.Fatal("4 does not know that 3 has begun anew")
	}
	if b.arbs[3].endorses.nominee == 3 && b.arbs[3].open || b.out[3].Inject == nil {
		t.Errorf("4 endorses %+v, open: %v, and is told %v", b.arbs[3].endorses, b.arbs[3].open, b.out[3].Inject)
	}
}

// On a network measured as slow a member that has begun anew hears nobody for
// longer than five Patiences of the configuration. Its last life's endorsement
// binds for four of those in force.
func TestPaceAfterALonelyStart(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	s := b.arbs[2].shown
	s.pace = 8 * b.arbs[2].cfg.Patience
	a, err := New(Config{Self: 2, PreVote: true, CheckQuorum: true}, 0)
	must(err)
	must(a.SetMembers(0, voters(1, 2, 3)))
	a.SetMode(0, On)
	a.Position(0, 5, 5, 10)
	for now := time.Duration(0); now < 200*ms; now += 5 * ms {
		if now == 120*ms {
			must(a.Row(now, &fabric.Row{Owner: 3, Incarnation: 1, Version: 1, Sections: s.append(nil)}))
		}
		a.Advance(now)
	}
	if why := a.unable(); why != "restarted" || a.cfg.Patience != s.pace {
		t.Errorf("200ms after the start Patience is %v, others' %v, and the member abstains as %q", a.cfg.Patience, s.pace, why)
	}
}

// thirdAttempt kills the leader and lets two nominees fail: 5 endorses 4.
func (b *table) thirdAttempt() (giver, nominee *Arbiter) {
	b.t.Helper()
	b.kill(0)
	b.pass(55 * ms)
	b.down[1], b.down[2] = true, true // their words would nominate 4 at once
	giver, nominee = b.arbs[4], b.arbs[3]
	for range maxHoldOfTests / ms {
		if giver.endorses == (endorsement{5, 3, 4}) {
			return giver, nominee
		}
		b.pass(ms)
	}
	b.t.Fatalf("5 endorses %+v", giver.endorses)
	return nil, nil
}

// maxHoldOfTests is longer than an election of the default settings lasts.
const maxHoldOfTests = 200 * ms

// A loop that was late by half a Patience gives up its word, and gives no other one for
// a Patience. In the third attempt its nominee counts on the old one for twice as long.
func TestLateWordOfALaterAttempt(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	a, nominee := b.thirdAttempt()
	was, given := a.endorses, a.endorseAt
	b.down[4] = true
	a.wakeAt = b.now + ms // something was due
	b.now += a.cfg.Patience/2 + 2*ms
	for ; a.endorses == was && b.now < given+200*ms; b.now += ms {
		a.Advance(b.now)
	}
	if counts := nominee.peer(5).endorsed + nominee.wordLasts(nominee.peer(5))/2; b.now <= counts {
		t.Errorf("5 endorses %+v %v after %+v, on which 4 counts for %v", a.endorses, b.now-given, was, counts-given)
	}
}

// A member gives an election up right after its last word. Somebody comes back, for
// whom it stops resting: it endorses anew, while its nominee counts on that word.
func TestWordOutlivesGivingUp(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5, 6, 7), 1, 2, 3, 4, 5, 6, 7)
	b.kill(5)
	b.pass(50 * ms)
	a, nominee := b.thirdAttempt()
	was, given := a.endorses, a.endorseAt
	a.sealedAt = b.now - a.cfg.Hold + ms
	b.pass(2 * ms)
	if !b.has(4, EventGaveUp) {
		t.Fatal("5 has not given up")
	}
	counts := nominee.peer(5).endorsed + nominee.wordLasts(nominee.peer(5))/2
	s := b.arbs[5].shown
	s.endorses, s.claim, s.flags = endorsement{}, claim{term: 4}, flagActs
	a.Up(b.now, 6)
	must(a.Row(b.now, &fabric.Row{Owner: 6, Incarnation: 2, Version: 1, Sections: s.append(nil)}))
	b.exchange()
	for a.endorses == was && b.now < given+200*ms {
		b.pass(ms)
	}
	if b.now <= counts {
		t.Errorf("5 endorses %+v %v after %+v, on which 4 counts for %v", a.endorses, b.now-given, was, counts-given)
	}
}

// A member that failed before comes back, and the best one is the first to hear
// it. It waits for it, for as long as Settle; words count for half a Patience, which
// is less. It lives, has the word of everybody, and is excluded.
func TestNomineeThatWaits(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	b.kill(4)
	b.pass(50 * ms)
	back, err := New(Config{Self: 5, PreVote: true, CheckQuorum: true}, b.now)
	must(err)
	must(back.SetMembers(b.now, voters(1, 2, 3, 4, 5)))
	back.SetMode(b.now, On)
	back.Position(b.now, 5, 5, 10)
	b.arbs[1].Up(b.now, 5)
	must(b.arbs[1].Row(b.now, &fabric.Row{Owner: 5, Incarnation: 2, Version: 1, Sections: back.AppendSection(nil)}))
	b.exchange()
	b.kill(0)
	b.pass(10 * ms)
	if b.out[1].Inject == nil || b.event(2, EventFailed).Member == 2 {
		t.Errorf("2 is told %v; 3 says %+v", b.out[1].Inject, b.event(2, EventFailed))
	}
}

// raft does not take an append that begins before what is decided, and answers with
// that. What was in it seems to be in the log.
//
//	1 > 2 MsgApp 11..20     2's acknowledgement is under way
//	1 > 2 MsgApp commit 20
//	1 > 2 MsgApp 11..25     sent again from where 1 knows 2, by a probe; 1 dies
func TestAppendBeforeWhatIsDecided(t *testing.T) {
	s := raft.NewMemoryStorage()
	must(s.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(10)), Term: new(uint64(5)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}))
	must(s.SetHardState(&raftpb.HardState{Term: new(uint64(5)), Commit: new(uint64(10))}))
	rn, err := raft.NewRawNode(&raft.Config{ID: 2, ElectionTick: 10, HeartbeatTick: 1, Storage: s, Applied: 10, MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 16, Logger: quietLogger{}})
	must(err)
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1]
	terms := func(n int) (ts []uint64) {
		for range n {
			ts = append(ts, 5)
		}
		return ts
	}
	first, decided, again := appendMsg(1, 2, 5, 5, 10, terms(10)...), appendMsg(1, 2, 5, 5, 20), appendMsg(1, 2, 5, 5, 10, terms(15)...)
	decided.Commit, again.Commit = new(uint64(20)), new(uint64(20))
	for _, m := range []*raftpb.Message{first, decided, again} {
		if v := a.Receive(b.now, m); v != Pass {
			t.Fatal(v)
		}
		must(rn.Step(m))
		for rn.HasReady() {
			rd := rn.Ready()
			must(s.Append(rd.Entries))
			a.Sent(b.now, rd.Messages)
			rn.Advance(rd)
		}
	}
	last, err := s.LastIndex()
	must(err)
	if high := a.pos.high(); high.index != last {
		t.Errorf("raft's log ends at %d, all appends are answered, and the arbiter takes it for %d to %d", last, a.pos.lower.index, high.index)
	}
	b.arbs[2].pos.set(entry{5, 22})
	b.kill(0)
	b.pass(20 * ms)
	if b.out[1].Inject != nil {
		t.Errorf("2 is nominated, and 3, whose log ends at 22, will not vote for it")
	}
}

// A modified member's rows say that it campaigns, in one term after another. It sends no
// raft message at all.
func TestEndlessClaims(t *testing.T) {
	w := newWorld(setup{seed: 1, voters: 5, mode: On, preVote: true, checkQuorum: true})
	w.at(time.Millisecond, func() { must(w.nodes[0].rn.Campaign()); w.pump(w.nodes[0]) })
	w.run(300*time.Millisecond, nil)
	before, led := len(w.decided), len(w.leaders)
	bad := w.nodes[4]
	w.crash(bad, true) // what it does from now on is below
	s, term, version := bad.arb.shown, bad.arb.claim.term, uint64(1<<40)
	var claims, write func()
	claims = func() {
		term, version = term+1, version+1
		s.claim, s.progress = claim{term, 5, claimCampaign}, s.progress+1
		for _, n := range w.nodes[:4] {
			w.events.push(w.now+w.delay(), happening{n: n, life: n.life, row: &fabric.Row{Owner: 5, Incarnation: bad.life, Version: version, Sections: s.append(nil)}})
		}
		w.at(w.now+100*time.Millisecond, claims)
	}
	write = func() {
		for _, n := range w.nodes[:4] {
			if n.leads {
				_ = n.rn.Propose([]byte("x"))
				w.pump(n)
			}
		}
		w.at(w.now+10*time.Millisecond, write)
	}
	claims()
	write()
	w.run(w.now+3*time.Second, nil)
	if n := len(w.decided) - before; n < 290 || len(w.leaders) != led || w.err() != nil {
		t.Errorf("%d of 300 writes, %d more leaders: %v", n, len(w.leaders)-led, w.err())
	}
}

// A modified member asks for pre-votes without end, with a log that none can beat, and
// campaigns never. The leader dies. Stock raft has another one, as pre-votes cost nothing.
func TestEndlessPreVotes(t *testing.T) {
	took := func(mode Mode) time.Duration {
		unknown := func(a *Arbiter) { a.pos.known = false } // raft is on its own
		w := newWorld(setup{seed: 1, voters: 5, mode: mode, preVote: true, checkQuorum: true, tamper: unknown})
		w.at(time.Millisecond, func() { must(w.nodes[0].rn.Campaign()); w.pump(w.nodes[0]) })
		w.run(300*time.Millisecond, nil)
		bad, term := w.nodes[4], w.nodes[0].rn.BasicStatus().GetTerm()
		w.crash(bad, true)
		var ask func()
		ask = func() {
			for _, n := range w.nodes[:4] {
				m := msg(raftpb.MsgPreVote, 5, n.id, w.highest()+1)
				m.LogTerm, m.Index = new(w.highest()+1), new(uint64(1<<30))
				w.route(bad, m)
			}
			w.at(w.now+5*time.Millisecond, ask)
		}
		ask()
		w.run(w.now+100*time.Millisecond, nil)
		start := w.now
		w.crash(w.nodes[0], true)
		w.run(w.now+20*time.Second, func() bool { n := w.leader(); return n != nil && n.rn.BasicStatus().GetTerm() > term })
		if w.err() != nil {
			t.Error(w.err())
		}
		return w.now - start
	}
	stock, on := took(Off), took(On)
	if on > 2*stock {
		t.Errorf("a leader after %v, with stock raft after %v", on, stock)
	}
}

// In a joint configuration only a voter that is about to go can win: an election that
// could choose nobody would hold raft's own pre-votes, and lose their grants.
func TestOutgoingVoterWhereNobodyElseCanWin(t *testing.T) {
	m := Members{Voters: []fabric.MemberID{1, 2, 3}, Outgoing: []fabric.MemberID{4, 5, 6}}
	b := steady(t, On, m, 1, 2, 3, 4, 5, 6)
	b.arbs[4].pos.set(entry{5, 11})
	b.arbs[5].pos.set(entry{5, 12})
	b.publish(4)
	b.publish(5)
	b.kill(0)
	b.pass(5 * ms)
	if b.out[5].Inject == nil {
		t.Errorf("2 endorses %+v, 6 %+v", b.arbs[1].endorses, b.arbs[5].endorses)
	}
}

// MaxTermLift bounds how far one row lifts a term, not how far two do: then all
// abstain, as the term is too far, until they restart.
func TestTermTooFarInSteps(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4, 5), 1, 2, 3, 4, 5)
	s := b.arbs[4].shown
	b.down[4] = true
	for i := range uint64(2) {
		s.claim = claim{5 + (i+1)*MaxTermLift, 5, claimCampaign}
		for _, a := range b.arbs[:4] {
			_ = a.Row(b.now, &fabric.Row{Owner: 5, Incarnation: 1, Version: 1<<40 + i, Sections: s.append(nil)})
		}
	}
	b.exchange()
	if why := b.arbs[1].unable(); why != "" {
		t.Errorf("2 abstains: %q, its raft is at %d, the claim at %d", why, b.arbs[1].term, b.arbs[1].claim.term)
	}
}

// A member that does not know its term believes any.
func TestTermTooFarAtTheStart(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a, err := New(Config{Self: 2, PreVote: true, CheckQuorum: true}, 0)
	must(err)
	must(a.SetMembers(0, voters(1, 2, 3)))
	a.SetMode(0, On)
	s := b.arbs[2].shown
	s.claim = claim{math.MaxUint64, 3, claimLead}
	err = a.Row(ms, &fabric.Row{Owner: 3, Incarnation: 1, Version: 1, Sections: s.append(nil)})
	a.Receive(2*ms, msg(raftpb.MsgHeartbeat, 1, 2, 5))
	if a.claim != (claim{5, 1, claimLead}) && !errors.Is(err, ErrRow) {
		t.Errorf("1 leads term 5, and 2 believes in %+v for ever", a.claim)
	}
}
