package barrier

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// Exploration is exhaustive within a budget: all orders of all actions from a
// view that all members have installed. What is abstracted: time (ballots begin
// at any moment, and leave out anybody), and rows that are overtaken on their
// way: a read sees the owner's newest. Random worlds have those.
type explored struct {
	states, actions int
	deepest         int
	views           uint64
}

type key [16]byte

// explore visits every state that can be reached from w. It returns the first
// fault, and the actions that lead to it.
func explore(w *world, most int) (explored, []string, error) {
	type point struct {
		w    *world
		path *path
		deep int
	}
	e, all := explored{}, actions(len(w.nodes))
	seen := map[key]bool{w.key(): true}
	stack := []point{{w, nil, 0}}
	r := rand.New(rand.NewPCG(1, 1)) // in any order: those that come last are followed first
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		e.states++
		e.deepest = max(e.deepest, p.deep)
		for _, v := range p.w.check.views {
			e.views = max(e.views, v.Number)
		}
		if e.states == most {
			return e, nil, nil
		}
		for _, k := range r.Perm(len(all)) {
			a := all[k]
			if !a.can(p.w) {
				continue
			}
			next := p.w.clone()
			if !a.do(next) {
				continue
			}
			e.actions++
			if next.err != nil {
				return e, (&path{p.path, a.name}).list(), next.err
			}
			if k := next.key(); !seen[k] {
				seen[k] = true
				stack = append(stack, point{next, &path{p.path, a.name}, p.deep + 1})
			}
		}
	}
	return e, nil, nil
}

type path struct {
	before *path
	name   string
}

func (p *path) list() (names []string) {
	for ; p != nil; p = p.before {
		names = append(names, p.name)
	}
	slices.Reverse(names)
	return names
}

// action is possible where can says so; do may still find that it is not.
type action struct {
	name string
	can  func(*world) bool
	do   func(*world) bool
}

func actions(n int) (all []action) {
	add := func(name string, can, do func(*world) bool) { all = append(all, action{name, can, do}) }
	id := func(i int) string { return string(rune('A' + i)) }
	for i := range n {
		add("saved "+id(i), func(w *world) bool { return w.nodes[i].pending != nil }, func(w *world) bool { return w.saved(i) })
		add("stamp "+id(i), func(w *world) bool { c := w.nodes[i].core; return w.budget.letters > 0 && c.at >= 0 && !c.wedged },
			func(w *world) bool { return w.stamp(i) })
		for out := range set(1 << n) {
			if out.has(i) {
				continue
			}
			var name strings.Builder
			name.WriteString("propose " + id(i) + " without ")
			for k := range n {
				if out.has(k) {
					name.WriteString(id(k))
				}
			}
			add(name.String(), func(w *world) bool { return w.budget.ballots > 0 }, func(w *world) bool { return w.propose(i, out) })
		}
		crashes := func(w *world) bool { return w.budget.crashes > 0 }
		add("crash "+id(i), crashes, func(w *world) bool { return w.crash(i, false) })
		add("crash, all lost "+id(i), crashes, func(w *world) bool { return w.crash(i, true) })
		for j := range n {
			if i == j {
				continue
			}
			add("row "+id(i)+id(j), func(w *world) bool { return w.nodes[i].row != w.seen[w.pair(i, j)] },
				func(w *world) bool { return w.publish(i, j) && w.read(i, j) })
			add("frame "+id(i)+id(j), func(w *world) bool { return len(w.frames[w.pair(i, j)]) > 0 }, func(w *world) bool { return w.arrive(i, j) })
			add("view "+id(i)+id(j), func(w *world) bool { return w.nodes[i].core.id.Number > w.nodes[j].core.id.Number },
				func(w *world) bool { return w.learn(i, j) })
			add("forward "+id(i)+id(j), func(w *world) bool {
				l, ok := w.lacks(i, j)
				return ok && !slices.Contains(w.frames[w.pair(int(l.from.Member-1), j)], l) // otherwise it comes anyway
			}, func(w *world) bool { return w.forward(i, j) })
		}
	}
	return all
}

// clone is a world of its own but for what is never changed in place: nodes are
// copied when they change.
func (w *world) clone() *world {
	v := *w
	v.shared = true
	v.nodes, v.rows, v.seen, v.frames = slices.Clone(w.nodes), slices.Clone(w.rows), slices.Clone(w.seen), slices.Clone(w.frames)
	return &v
}

func (c *Core) clone() *Core {
	d := *c
	d.peers = make([]*peer, len(c.peers))
	for i, p := range c.peers {
		q := *p
		q.row, q.spare = p.row.clone(), nil
		d.peers[i] = &q
	}
	d.lines, d.seats = slices.Clone(c.lines), make([]*peer, len(c.seats))
	for i, l := range c.view.Members {
		d.seats[i] = d.peer(l.Member)
	}
	d.shown, d.made = *c.shown.clone(), section{}
	return &d
}

func (s *section) clone() *section {
	if s == nil {
		return nil
	}
	t := *s
	t.received, t.cut, t.raw = slices.Clone(s.received), slices.Clone(s.cut), slices.Clone(s.raw)
	t.value = slices.Clone(s.value)
	return &t
}

// key stands for all of a world that its future depends on.
func (w *world) key() (k key) {
	var e enc
	e.num(w.births, uint64(w.budget.letters), uint64(w.budget.ballots), uint64(w.budget.crashes))
	for i, n := range w.nodes {
		if n.key == (key{}) {
			n.key = n.hash()
		}
		e.b = append(e.b, n.key[:]...)
		for j := range w.nodes {
			e.letters(w.frames[w.pair(i, j)])
		}
	}
	// What was seen in another order is the same.
	var sum uint64
	for _, v := range w.check.views {
		sum += v.Hash
	}
	for k, l := range w.check.sent {
		one := enc{}
		one.letters([]letter{l})
		for _, h := range w.check.taken {
			if h.has>>k&1 != 0 {
				inner := enc{b: one.b}
				inner.num(uint64(h.life.Member), h.life.Incarnation, uint64(h.life.Generation))
				sum += inner.sum()
			}
		}
		sum += one.sum()
	}
	for _, n := range w.check.ends {
		one := enc{}
		one.num(n.view.Hash, n.next.Hash)
		one.letters(n.told)
		sum += one.sum()
	}
	e.num(sum)
	h := sha256.Sum256(e.b)
	copy(k[:], h[:])
	return k
}

type enc struct{ b []byte }

func (e *enc) sum() uint64 { h := sha256.Sum256(e.b); return binary.LittleEndian.Uint64(h[:]) }

func (e *enc) num(vs ...uint64) {
	for _, v := range vs {
		e.b = binary.AppendUvarint(e.b, v)
	}
}

func (e *enc) flag(vs ...bool) {
	for _, v := range vs {
		if v {
			e.b = append(e.b, 1)
		} else {
			e.b = append(e.b, 0)
		}
	}
}

func (e *enc) stamp(s fabric.Stamp) { e.num(uint64(s.Time), uint64(s.Logical)) }

func (e *enc) letters(ls []letter) {
	e.num(uint64(len(ls)))
	for _, l := range ls {
		e.num(uint64(l.from.Member), l.from.Incarnation, uint64(l.from.Generation), l.view.Number, l.view.Hash, l.seq)
		e.stamp(l.stamp)
	}
}

func (e *enc) votes(v *votes) {
	if v == nil {
		e.b = append(e.b, 0xff)
		return
	}
	e.num(v.view.Hash, uint64(v.promised.round), uint64(v.promised.owner), uint64(v.accepted.round), uint64(v.accepted.owner))
	if v.value != nil {
		e.b = appendView(e.b, v.value)
	}
}

func (n *node) hash() (k key) {
	var e enc
	c := n.core
	e.num(c.self.Incarnation, uint64(c.self.Generation), c.id.Hash, c.sent, uint64(c.out), uint64(c.banned), c.next.Epoch)
	e.flag(c.blind, c.wedged, c.unsaved, c.mine, c.limit != nil)
	e.stamp(c.clock)
	e.stamp(c.promise)
	e.stamp(c.barrier)
	for _, l := range c.lines {
		e.num(l.received)
		e.stamp(l.last)
		e.stamp(l.bar)
	}
	e.num(c.limit...)
	e.votes(&c.votes)
	e.votes(&c.durable)
	e.votes(c.saving)
	for _, p := range c.peers {
		e.num(p.life.Incarnation, uint64(p.life.Generation))
		if p.row != nil {
			e.b = p.row.append(e.b)
		}
	}
	e.num(uint64(len(n.disk)), uint64(len(n.pending)))
	e.b = append(append(e.b, n.disk...), n.pending...)
	for _, ls := range [...][]letter{n.held, n.late, n.told, n.kept} {
		e.letters(ls)
	}
	e.stamp(n.since)
	h := sha256.Sum256(e.b)
	copy(k[:], h[:])
	return k
}

var (
	deep       = flag.Bool("deep", false, "TestExplore visits all of its budgets, in hours")
	mostStates = flag.Int("states", 20_000_000, "states of one budget after which TestExplore gives up on it")
)

// budgets of TestExplore, from the smallest on; the first ones are for every day.
var budgets = []struct {
	budget
	every bool
}{
	{budget{letters: 0, ballots: 1}, true},
	{budget{letters: 1, ballots: 1}, false},
	{budget{letters: 0, ballots: 1, crashes: 1}, false},
	{budget{letters: 0, ballots: 2}, false},
	{budget{letters: 2, ballots: 1}, false},
}

// TestExplore visits all that can happen to three members, one budget at a time.
func TestExplore(t *testing.T) {
	for _, b := range budgets {
		if !b.every && !*deep {
			continue
		}
		w := newWorld(3, budget{})
		w.settle()
		w.budget = b.budget
		e, path, err := explore(w, *mostStates)
		if err != nil {
			t.Fatalf("%+v: %v after %q", b, err, path)
		}
		how := "all"
		if e.states == *mostStates {
			how = "the first"
		}
		t.Logf("3 members, %d frames, %d ballots, %d crashes: %s %d states, %d actions, at most %d deep, up to view %d",
			b.letters, b.ballots, b.crashes, how, e.states, e.actions, e.deepest, e.views)
	}
}

// TestExploreFinds: what exploration is there for.
func TestExploreFinds(t *testing.T) {
	w := newWorld(3, budget{})
	w.settle()
	w.budget = budget{ballots: 2}
	w.tamper = func(_ *world, n *node) {
		if c := n.core; c.mine {
			c.votes.promised.owner = 1
			if c.durable.promised.round == c.votes.promised.round {
				c.durable.promised.owner = 1
			}
		}
	}
	_, path, err := explore(w, 300_000)
	if !errors.Is(err, errV1) {
		t.Fatalf("%v, want a breach of V1 where two members share their ballots", err)
	}
	t.Logf("%v after %q", err, path)
}
