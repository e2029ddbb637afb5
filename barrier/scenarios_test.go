package barrier

import (
	"errors"
	"slices"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// The members of the scenarios.
const (
	memberA = iota
	memberB
	memberC
)

// begin is a world whose members are all in view 1, without anything under way.
func begin(t *testing.T, n int) *world {
	t.Helper()
	w := newWorld(n, budget{})
	w.settle()
	if w.err != nil {
		t.Fatal(w.err)
	}
	w.budget = budget{letters: 100, ballots: 100, crashes: 100, configs: 100}
	return w
}

// tells has a member's newest row read by others.
func (w *world) tells(t *testing.T, from int, to ...int) {
	t.Helper()
	for w.saved(from) {
	}
	for _, i := range to {
		if !w.publish(from, i) || !w.read(from, i) {
			t.Fatalf("%c has nothing to tell %c", 'A'+from, 'A'+i)
		}
	}
}

// olderValue is a schedule in which a value of ballot 1, that was accepted by its
// owner alone, is decided in ballot 3, after a member has taken frames for the
// sake of ballot 2 that are behind ballot 1's cut.
//
//	A  proposes {A, B} without C's frame f; B promised that
//	B  proposes without A: C promises, and shows f; B takes f
//	A  proposes again: C promises; A's first value is the one to propose, C accepts it
//	B  learns of it, and stays: without f
func olderValue(t *testing.T, w *world) {
	w.stamp(memberC) // f
	w.stamp(memberB)
	for _, to := range []int{memberA, memberC} {
		w.arrive(memberB, to)
		w.tells(t, memberB, to)
	}
	w.tells(t, memberA, memberB)
	w.tells(t, memberC, memberA)

	w.propose(memberA, 1<<memberC)
	w.tells(t, memberA, memberB)
	w.tells(t, memberB, memberA)
	if w.nodes[memberA].core.votes.value == nil {
		t.Fatal("A has not proposed a view")
	}
	w.propose(memberB, 1<<memberA)
	w.tells(t, memberB, memberC)
	w.arrive(memberC, memberB)
	w.tells(t, memberC, memberB, memberA)
	w.propose(memberA, 0)
	w.tells(t, memberA, memberC)
	w.tells(t, memberC, memberA)
	w.tells(t, memberA, memberC)
	w.tells(t, memberC, memberA)
	w.learn(memberA, memberB)
}

// TestOlderValue: O1 where Paxos proposes an older value again.
func TestOlderValue(t *testing.T) {
	w := begin(t, 3)
	olderValue(t, w)
	if w.err != nil {
		t.Fatal(w.err)
	}
	for _, i := range []int{memberA, memberB} {
		n := w.nodes[i]
		if v, member := n.core.View(); v.Number != 2 || !member || len(v.Members) != 2 || v.Cuts[memberC] != 0 {
			t.Errorf("%c is in %+v", 'A'+i, v)
		}
	}
	if _, member := w.nodes[memberC].core.View(); member {
		t.Error("C is still a member")
	}
	if w.settle(); w.err != nil {
		t.Fatal(w.err)
	}
}

// TestOlderValueBugs: what olderValue is there for.
func TestOlderValueBugs(t *testing.T) {
	for name, plant := range map[string]func(*world, *node){
		"takes frames again of one that an earlier ballot left out": func(_ *world, n *node) { n.core.banned = n.core.out },
		"delivers what it took for the sake of a cut": func(_ *world, n *node) {
			for i := range n.core.lines {
				l := &n.core.lines[i]
				l.bar = later(l.bar, l.last)
			}
			n.core.raise()
		},
		"delivers all that it has when a view ends": nil,
	} {
		w := begin(t, 3)
		w.tamper, w.flushes = plant, plant == nil
		if olderValue(t, w); !errors.Is(w.err, errO1) {
			t.Errorf("%s: %v, want a breach of O1", name, w.err)
		}
	}
}

// lostVote is a schedule in which B crashes right after its vote for A's view has
// decided it: without a word from A, B and C then make a view. save is what B
// does before it shows a vote.
func lostVote(t *testing.T, w *world, save func(int) bool) {
	show := func(from, to int) {
		save(from)
		_ = w.publish(from, to) && w.read(from, to)
	}
	w.propose(memberA, 1<<memberC)
	w.tells(t, memberA, memberB)
	show(memberB, memberA)
	w.tells(t, memberA, memberB)
	show(memberB, memberA)
	if v, _ := w.nodes[memberA].core.View(); v.Number != 2 {
		t.Fatalf("A is in view %d", v.Number)
	}
	w.crash(memberB, true)
	w.tells(t, memberB, memberC)
	w.tells(t, memberC, memberB)
	w.propose(memberC, 1<<memberA|1<<memberB)
	for range 4 {
		show(memberC, memberB)
		w.saved(memberB)
		show(memberB, memberC)
		w.saved(memberC)
	}
	if v, _ := w.nodes[memberC].core.View(); v.Number != 2 {
		t.Fatalf("C is in view %d", v.Number)
	}
}

// TestLostVote: a vote is shown when it is saved (V1).
func TestLostVote(t *testing.T) {
	w := begin(t, 3)
	lostVote(t, w, w.saved)
	if w.err != nil || w.nodes[memberA].core.id != w.nodes[memberC].core.id {
		t.Errorf("%v; A is in %v, C in %v", w.err, w.nodes[memberA].core.id, w.nodes[memberC].core.id)
	}
	w = begin(t, 3)
	w.tamper = func(_ *world, n *node) { n.core.durable = n.core.votes }
	if lostVote(t, w, func(int) bool { return false }); !errors.Is(w.err, errV1) {
		t.Errorf("it is shown before: %v, want a breach of V1", w.err)
	}
}

// TestNewMajority: a value with another configuration is decided by a majority of
// both.
func TestNewMajority(t *testing.T) {
	w := begin(t, 3)
	c := w.nodes[memberA].core
	v := &View{Number: 2, Former: c.id.Hash, Config: Config{Epoch: 2, Voters: []fabric.MemberID{1, 4, 5}}, Members: lives(c.self, Life{4, 9, 1}), Since: []uint64{1, 2}}
	c.config = v.Config
	c.meet()
	b := ballot{1, 1}
	accepts := func(ids ...fabric.MemberID) bool {
		for _, p := range c.peers {
			p.row = nil
			if slices.Contains(ids, p.id) {
				p.row = &section{view: c.id, accepted: b}
			}
		}
		return c.chosen(b, v)
	}
	for _, ids := range [][]fabric.MemberID{{2, 3}, {4, 5}, {3, 4}, {2, 4}} {
		if accepts(ids...) {
			t.Errorf("%v decide it", ids)
		}
	}
	if !accepts(2, 3, 4, 5) {
		t.Error("all but one do not decide it")
	}
	c.durable = votes{view: c.id, promised: b, accepted: b, value: v}
	if accepts(2) || accepts(4) || !accepts(2, 4) {
		t.Error("with its own accept it needs one more of each")
	}
}

// TestLearnsWhatItLacks: who is told of a view whose content it does not have is
// another life from then on.
func TestLearnsWhatItLacks(t *testing.T) {
	for what, cuts := range map[string][]uint64{"lacks a frame": {0, 1, 0}, "has all": {0, 0, 0}} {
		w := begin(t, 3)
		c := w.nodes[memberA].core
		was := c.self
		v := &View{Number: 2, Former: c.id.Hash, Config: c.view.Config, Members: slices.Clone(c.view.Members), Since: c.view.Since, Cuts: cuts, Floor: fabric.Stamp{Time: 1}}
		for name, change := range map[string]func(*View){
			"cuts of another view": func(v *View) { v.Cuts = []uint64{0} },
			"another former view":  func(v *View) { v.Former++ },
			"no majority":          func(v *View) { of(v) },
			"older than itself":    func(v *View) { v.Since = []uint64{1, 3, 1} },
			"since when is it":     func(v *View) { v.Since = []uint64{1, 1} },
			"another view 1":       func(v *View) { v.Number = 1 },
		} {
			bad := *v
			change(&bad)
			if err := c.Learn(&bad); !errors.Is(err, ErrView) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := c.Learn(v); err != nil {
			t.Fatal(err)
		}
		in := c.Take().Installed
		if stays := what == "has all"; len(in) != 1 || in[0].Stayed != stays || in[0].Member != stays || (c.self == was) != stays {
			t.Errorf("%s: %+v, then %v", what, in, c.self)
		}
	}
}
