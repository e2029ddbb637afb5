package election

import (
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// insisting is an attack by the last member of a world, and what happens beside it.
type insisting struct {
	voters   int
	mode     Mode
	every    time.Duration
	duration time.Duration
	behind   bool // the attacker's log is short when it begins
	headless bool // the leader dies when it begins
	blind    bool // nobody knows where its log ends: raft's timers elect
	// with is what it does each time, nil: its raft campaigns by force, at a term of
	// its own, unless it leads.
	with   func(w *world, bad *node, time int)
	tamper func(*Arbiter)
}

// play returns how many writes were decided of so many, and how many leaders there
// were.
func (k *insisting) play(t *testing.T, seed uint64) (writes, of, leaders int) {
	t.Helper()
	tamper := k.tamper
	if k.blind {
		tamper = func(a *Arbiter) { a.pos.known = false }
	}
	w := newWorld(setup{seed: seed, voters: k.voters, mode: k.mode, preVote: true, checkQuorum: true, tamper: tamper})
	w.at(time.Millisecond, func() { must(w.nodes[0].rn.Campaign()); w.pump(w.nodes[0]) })
	w.run(300*time.Millisecond, nil)
	bad := w.nodes[k.voters-1]
	with := k.with
	if with == nil {
		with = force
	}
	var write, insist func()
	write = func() {
		of++
		for _, n := range w.nodes {
			if n.up && n.leads {
				_ = n.rn.Propose([]byte("x"))
				w.pump(n)
			}
		}
		w.at(w.now+10*time.Millisecond, write)
	}
	attacks := 0
	insist = func() {
		with(w, bad, attacks)
		attacks++
		w.at(w.now+k.every, insist)
	}
	if k.behind { // it missed some entries
		for _, n := range w.nodes {
			w.cut[[2]uint64{n.id, bad.id}] = true
		}
	}
	write()
	w.run(w.now+50*time.Millisecond, nil)
	clear(w.cut)
	if k.headless {
		w.crash(w.nodes[0], false)
	}
	before, led := len(w.decided), len(w.leaders)
	of = 0
	w.counting = *verbose
	insist()
	w.run(w.now+k.duration, nil)
	if err := w.err(); err != nil {
		t.Fatal(err)
	}
	return len(w.decided) - before, of, len(w.leaders) - led
}

// force has a raft campaign, whatever its lease says.
func force(w *world, bad *node, _ int) {
	if bad.leads {
		return
	}
	term := bad.rn.BasicStatus().GetTerm() + 1
	_ = bad.rn.Step(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &bad.id, To: &bad.id, Term: &term})
	w.pump(bad)
}

// toAll sends a message of the attacker's to all others.
func toAll(w *world, bad *node, typ raftpb.MessageType, term uint64) {
	for _, n := range w.nodes {
		if n != bad {
			w.route(bad, msg(typ, bad.id, n.id, term))
		}
	}
}

// A member that campaigns by force again and again, and whose answers tell the leader
// of its higher terms, costs some changes of leader and not the cluster.
func TestInsistentCampaigns(t *testing.T) {
	for _, c := range []struct {
		name             string
		insisting        insisting
		percent, leaders int
	}{
		// Of two members that are left one has led, and does not know where its log ends: raft's timers elect.
		{"every 50 ms", insisting{voters: 3, every: 50 * ms}, 65, 3},
		{"every 50 ms, five members", insisting{voters: 5, every: 50 * ms}, 90, 3},
		{"every 50 ms, its log is behind", insisting{voters: 3, every: 50 * ms, behind: true}, 65, 3},
		{"every 5 ms, its log is behind", insisting{voters: 5, every: 5 * ms, behind: true}, 90, 3},
		{"every 50 ms, and the leader dies", insisting{voters: 5, every: 50 * ms, behind: true, headless: true}, 90, 4},
		{"every 600 ms", insisting{voters: 5, every: 600 * ms, behind: true}, 90, 6},
		{"every 1100 ms, which is as often as raft does", insisting{voters: 5, every: 1100 * ms, behind: true}, 90, 6},
		{"every 550 ms, raft elects", insisting{voters: 5, every: 550 * ms, behind: true, headless: true, blind: true, duration: 12 * time.Second}, 50, 6},
		{"first for a term far away", insisting{voters: 5, every: 50 * ms, behind: true, with: func(w *world, bad *node, time int) {
			if time == 0 {
				toAll(w, bad, raftpb.MsgVote, 1<<63)
			}
			force(w, bad, time)
		}}, 90, 4},
		{"answers whose terms rise", insisting{voters: 5, every: 5 * ms, with: func(w *world, bad *node, _ int) {
			toAll(w, bad, raftpb.MsgAppResp, w.highest()+1)
		}}, 75, 14},
		{"answers whose terms rise, and the leader dies", insisting{voters: 5, every: 5 * ms, headless: true, with: func(w *world, bad *node, _ int) {
			toAll(w, bad, raftpb.MsgAppResp, w.highest()+1)
		}}, 65, 14},
		{"other messages whose terms rise", insisting{voters: 5, every: 5 * ms, with: func(w *world, bad *node, _ int) {
			toAll(w, bad, raftpb.MsgTransferLeader, w.highest()+1)
			toAll(w, bad, raftpb.MsgReadIndexResp, w.highest()+1)
		}}, 75, 14},
	} {
		k := c.insisting
		k.mode, k.duration = On, max(k.duration, 6*time.Second)
		for seed := range uint64(5) {
			got, of, leaders := k.play(t, seed)
			t.Logf("%s, seed %d: %d of %d writes, %d leaders", c.name, seed, got, of, leaders)
			if got*100 < of*c.percent || leaders > c.leaders {
				t.Errorf("%s, seed %d: %d of %d writes, %d leaders", c.name, seed, got, of, leaders)
			}
		}
	}
}

// A vote that is needed, of a nominee that campaigned before not long ago, passes
// although a row of somebody else told of it first (4 voters, one of them dead: the
// third is needed).
func TestNomineeOfAnotherRow(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3, 4), 1, 2, 3, 4)
	a := b.arbs[3]
	p := a.peer(2)
	a.campaigns(p, 6) // and a moment ago
	b.kill(0)
	b.pass(5 * ms)
	if a.endorses.nominee != 2 || !a.open {
		t.Fatalf("%+v", a.endorses)
	}
	s := b.arbs[2].shown
	s.claim = claim{7, 2, claimCampaign}
	if err := a.Row(b.now, &fabric.Row{Owner: 3, Incarnation: 1, Version: 1 << 40, Sections: s.append(nil)}); err != nil {
		t.Fatal(err)
	}
	if v := a.Receive(b.now, forcedVote(2, 4, 7)); v != Pass {
		t.Errorf("verdict %v, insists: %v, open: %v", v, a.insists(p), a.open)
	}
}

// The control: without the rule no leader lasts.
func TestInsistenceMatters(t *testing.T) {
	forget := func(a *Arbiter) {
		for _, p := range a.peers {
			p.insistence = insistence{}
		}
	}
	for _, voters := range []int{3, 5} {
		k := insisting{voters: voters, mode: On, every: 50 * ms, duration: 6 * time.Second, behind: true, tamper: forget}
		if got, of, _ := k.play(t, 1); got*2 > of {
			t.Errorf("%d members: %d of %d writes without the rule: it is not needed", voters, got, of)
		}
	}
}

// Who was cut off, and campaigned meanwhile as often as its raft does, comes back: one
// change of leader, and it follows.
func TestHonestReturn(t *testing.T) {
	for seed := range uint64(5) {
		w := newWorld(setup{seed: seed, voters: 5, mode: On, checkQuorum: true})
		w.at(time.Millisecond, func() { must(w.nodes[0].rn.Campaign()); w.pump(w.nodes[0]) })
		w.run(300*time.Millisecond, nil)
		away := w.nodes[4]
		for _, n := range w.nodes[:4] {
			w.cut[[2]uint64{n.id, away.id}], w.cut[[2]uint64{away.id, n.id}] = true, true
		}
		w.run(w.now+10*time.Second, nil)
		if ahead := away.rn.BasicStatus().GetTerm(); ahead < w.nodes[0].rn.BasicStatus().GetTerm()+3 {
			t.Fatalf("seed %d: it did not campaign: term %d", seed, ahead)
		}
		clear(w.cut)
		back := w.now
		if !w.run(w.now+10*time.Second, func() bool {
			l := w.leader()
			return l != nil && l != away && away.rn.BasicStatus().Lead == l.id || l == away && w.nodes[0].rn.BasicStatus().Lead == l.id
		}) {
			t.Errorf("seed %d: it did not come back in 10 s", seed)
		}
		t.Logf("seed %d: back after %v", seed, w.now-back)
	}
}

// Of a member that was not heard for a while nobody knows when it campaigned: two
// campaigns that show together do not insist, and two that show one by one do.
func TestCampaignsThatWaited(t *testing.T) {
	for _, away := range []bool{false, true} {
		b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
		a := b.arbs[1]
		if away {
			b.down[2] = true
			b.pass(600 * ms)
			b.down[2] = false
		}
		s := b.arbs[2].shown
		s.claim = claim{9, 3, claimCampaign}
		if err := a.Row(b.now, &fabric.Row{Owner: 3, Incarnation: 1, Version: 1 << 40, Sections: s.append(nil)}); err != nil {
			t.Fatal(err)
		}
		b.pass(10 * ms)
		a.Receive(b.now, forcedVote(3, 2, 10))
		if got := a.insists(a.peer(3)); got == away {
			t.Errorf("away before: %v; insists: %v", away, got)
		}
	}
}

// Requests of one member do not fill what may be held, whatever their terms.
func TestOneRequestIsHeld(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1]
	for i := range uint64(200) {
		for _, typ := range []raftpb.MessageType{raftpb.MsgVote, raftpb.MsgPreVote} {
			a.Receive(b.now, msg(typ, 3, 2, 300-i))
			a.Receive(b.now, msg(typ, 3, 2, 300+i))
		}
	}
	if n := len(a.held); n == 0 || n > 2 {
		t.Errorf("%d requests of one member are held", n)
	}
}

// An answer that is lost is told once in a Rest of each member.
func TestRefusedAnswersAreToldOnce(t *testing.T) {
	b := steady(t, On, voters(1, 2, 3), 1, 2, 3)
	a := b.arbs[1] // a follower of a leader that works
	a.Take()
	for i := range uint64(100) {
		if v := a.Receive(b.now, msg(raftpb.MsgAppResp, 3, 2, 100+i)); v != Discard {
			t.Fatalf("verdict %v", v)
		}
	}
	told := 0
	for _, e := range a.Take().Events {
		if e.Kind == EventRefused {
			told++
		}
	}
	if told != 1 {
		t.Errorf("100 answers that were lost made %d events", told)
	}
}
