package barrier

import (
	"errors"
	"fmt"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// The faults that the checks find, by invariant.
var (
	errV1 = errors.New("V1: two values for one view number")
	errV2 = errors.New("V2: views do not settle")
	errO1 = errors.New("O1: two members delivered other frames in a view that both stayed in")
	errO2 = errors.New("O2: delivered what was not sent, or twice")
	errO3 = errors.New("O3: safe, and not at every member of the view")
	errB1 = errors.New("B1: the barrier falls")
	errB2 = errors.New("B2: delivered behind the barrier")
)

// letter is an agreed frame; its content is its name.
type letter struct {
	from  Life
	view  ViewID
	seq   uint64
	stamp fabric.Stamp
}

// order is the order of delivery within a view.
func (l letter) less(o letter) bool {
	if l.stamp != o.stamp {
		return l.stamp.Before(o.stamp)
	}
	return l.from.Member < o.from.Member
}

// wireRow is a row on its way.
type wireRow struct {
	incarnation uint64
	section     []byte
}

// node is a member with what drives it: the frames that it holds, its disk.
type node struct {
	core    *Core
	disk    []byte
	applied int    // of world.configs
	view    *View  // that it has installed
	pending []byte // is being written
	held    []letter
	late    []letter // of a view that is not known yet, or not to be taken now
	since   fabric.Stamp
	passed  fabric.Stamp // the greatest barrier of this life
	told    []letter     // delivered since it installed its view
	kept    []letter     // all frames of the view that it took or sent
	row     string       // as it would be published
	key     key          // stands for all of it; made when it is asked for
}

// world is a set of members, and everything between them: rows of which the
// newest counts, frames in order. All that happens is an action.
type world struct {
	nodes  []*node
	rows   []*wireRow // of each pair, see pair; nil: none on its way
	seen   []string   // what was sent last
	frames [][]letter
	shared bool // nodes are another world's too
	births uint64
	// configs are those that the group decided on, one after the other; members
	// apply them at their own pace.
	configs []Config
	// What is left of each.
	budget     budget
	check      checker
	tamper     func(*world, *node)
	losesDisks bool
	flushes    bool // what is behind the cut, too
	err        error
}

type budget struct{ letters, ballots, crashes, configs int }

// checker is what the whole world has seen so far; it only grows. Its slices are
// copied when they change: worlds share them.
type checker struct {
	views []ViewID // that were installed
	ends  []end
	sent  []letter
	taken []holding
}

// end is what a view delivered in all at whoever went on to the next.
type end struct {
	view, next ViewID
	told       []letter
}

// holding is what a life has of what was sent: bit i is the i-th letter.
type holding struct {
	life Life
	has  uint64
}

// without is s but for its k-th element.
func without[T any](s []T, k int) []T { return slices.Concat(s[:k], s[k+1:]) }

func grow[T any](s []T, v T) []T { return append(s[:len(s):len(s)], v) }

func (c *checker) holds(l Life, i int) bool {
	for _, h := range c.taken {
		if h.life == l {
			return h.has>>i&1 != 0
		}
	}
	return false
}

func (c *checker) take(l Life, what letter) {
	bit := uint64(1) << slices.Index(c.sent, what)
	for k, h := range c.taken {
		if h.life == l {
			c.taken = slices.Clone(c.taken)
			c.taken[k].has |= bit
			return
		}
	}
	c.taken = grow(c.taken, holding{l, bit})
}

func newWorld(n int, b budget) *world {
	w := &world{budget: b}
	c := Config{Epoch: 1}
	for i := range n {
		c.Voters = append(c.Voters, fabric.MemberID(i+1))
	}
	w.configs = []Config{c}
	w.rows, w.seen, w.frames = make([]*wireRow, n*n), make([]string, n*n), make([][]letter, n*n)
	for i := range n {
		w.nodes = append(w.nodes, &node{})
		w.start(i)
	}
	return w
}

func (w *world) pair(from, to int) int { return from*len(w.nodes) + to }

func (w *world) start(i int) {
	w.births++
	n := w.nodes[i] // the process that was there is not changed
	core, err := New(Settings{Self: fabric.MemberID(i + 1), Incarnation: w.births, Config: w.configs[0], Fresh: n.disk == nil && (w.losesDisks || w.births <= uint64(len(w.nodes)))}, n.disk)
	if err != nil {
		panic(err)
	}
	w.nodes[i] = &node{core: core, disk: n.disk, applied: n.applied}
	if err := core.SetConfig(w.configs[n.applied]); err != nil {
		panic(err)
	}
	w.after(i)
}

// after is done after each input to a member: what its driver owes it.
func (w *world) after(i int) {
	n := w.nodes[i]
	if w.tamper != nil {
		w.tamper(w, n)
	}
	o := n.core.Take()
	if o.Save != nil {
		n.pending = o.Save
	}
	for _, in := range o.Installed {
		w.installed(n, in)
	}
	w.offer(n)
	if w.tamper != nil {
		w.tamper(w, n)
	}
	w.deliver(n, n.core.Barrier())
	w.checkSafe(n)
	n.row, n.key = string(n.core.AppendSection(nil)), key{}
}

// own returns a node that is to be changed.
func (w *world) own(i int) *node {
	if w.shared {
		n := *w.nodes[i]
		n.core = n.core.clone()
		w.nodes[i] = &n
	}
	return w.nodes[i]
}

func (w *world) fail(kind error, format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: %s", kind, fmt.Sprintf(format, args...))
	}
}

func (w *world) installed(n *node, in Installed) {
	id := in.View.ID()
	if k := slices.IndexFunc(w.check.views, func(v ViewID) bool { return v.Number == id.Number }); k < 0 {
		w.check.views = grow(w.check.views, id)
	} else if was := w.check.views[k]; was != id {
		w.fail(errV1, "%v and %v", was, id)
	}
	if in.Stayed {
		n.held = slices.Clone(n.held)
		slices.SortFunc(n.held, func(a, b letter) int {
			if a.less(b) {
				return -1
			}
			return 1
		})
		for _, l := range n.held {
			if k, _ := n.view.member(l.from.Member); w.flushes || l.seq <= in.View.Cuts[k] {
				w.tell(n, l)
			}
		}
		former := ViewID{id.Number - 1, in.View.Former}
		k := slices.IndexFunc(w.check.ends, func(e end) bool { return e.view == former && e.next == id })
		if k < 0 {
			w.check.ends = grow(w.check.ends, end{former, id, n.told})
		} else if was := w.check.ends[k].told; !slices.Equal(was, n.told) {
			w.fail(errO1, "in %v: %v\nand %v", former, was, n.told)
		}
	} else {
		n.passed = fabric.Stamp{}
	}
	if n.passed = later(n.passed, in.View.Floor); in.View.Floor.Before(n.since) && in.Stayed {
		w.fail(errB1, "%v: floor %v of %v is below %v", n.core.Self(), in.View.Floor, id, n.since)
	}
	n.since, n.view = in.View.Floor, in.View
	n.held, n.told, n.kept = nil, nil, nil
}

// offer gives the core what it could not take before.
func (w *world) offer(n *node) {
	for again := true; again; {
		again = false
		for k, l := range n.late {
			v, err := n.core.Frame(l.from, l.view, l.seq, l.stamp)
			if err != nil {
				w.fail(errB2, "%v: %v", n.core.Self(), err)
			}
			if v == Parked {
				continue
			}
			n.late = without(n.late, k)
			if again = true; v == Taken {
				w.take(n, l)
			}
			break
		}
	}
	if o := n.core.Take(); o.Save != nil || len(o.Installed) > 0 {
		if o.Save != nil {
			n.pending = o.Save
		}
		for _, in := range o.Installed {
			w.installed(n, in)
		}
	}
}

func (w *world) take(n *node, l letter) {
	n.held, n.kept = grow(n.held, l), grow(n.kept, l)
	w.check.take(n.core.Self(), l)
}

func (w *world) deliver(n *node, upTo fabric.Stamp) {
	if upTo.Before(n.since) {
		if _, member := n.core.View(); member {
			w.fail(errB1, "%v: from %v to %v", n.core.Self(), n.since, upTo)
		}
	}
	n.since = later(n.since, upTo)
	for {
		best := -1
		for k, l := range n.held {
			if !upTo.Before(l.stamp) && (best < 0 || l.less(n.held[best])) {
				best = k
			}
		}
		if best < 0 {
			return
		}
		l := n.held[best]
		n.held = without(n.held, best)
		w.tell(n, l)
	}
}

func (w *world) tell(n *node, l letter) {
	if !slices.Contains(w.check.sent, l) || slices.Contains(n.told, l) {
		w.fail(errO2, "%v: %v", n.core.Self(), l)
	}
	if len(n.told) > 0 && l.less(n.told[len(n.told)-1]) {
		w.fail(errB2, "%v: %v after %v", n.core.Self(), l, n.told[len(n.told)-1])
	}
	n.told = grow(n.told, l)
}

func (w *world) checkSafe(n *node) {
	v, member := n.core.View()
	if !member {
		return
	}
	safe, id := n.core.Safe(), v.ID()
	for k, l := range w.check.sent {
		if l.view != id || safe.Before(l.stamp) {
			continue
		}
		for _, m := range v.Members {
			if !w.check.holds(m, k) {
				w.fail(errO3, "%v: %v is safe up to %v, and not at %v", n.core.Self(), l, safe, m)
			}
		}
	}
}

// The actions. Each reports whether it was possible.

func (w *world) publish(from, to int) bool {
	s := w.nodes[from].row
	inc := w.nodes[from].core.Self().Incarnation
	if from == to || w.seen[w.pair(from, to)] == s {
		return false
	}
	w.seen[w.pair(from, to)] = s
	w.rows[w.pair(from, to)] = &wireRow{inc, []byte(s)}
	return true
}

func (w *world) read(from, to int) bool {
	r := w.rows[w.pair(from, to)]
	if r == nil {
		return false
	}
	w.rows[w.pair(from, to)] = nil
	s, _ := fabric.FindSection(r.section, fabric.SectionBarrier)
	if err := w.own(to).core.Row(fabric.MemberID(from+1), r.incarnation, &s); err != nil && !errors.Is(err, ErrUnknown) && w.tamper == nil {
		panic(err)
	}
	w.after(to)
	return true
}

func (w *world) stamp(i int) bool {
	if w.budget.letters == 0 {
		return false
	}
	n := w.own(i)
	v, _ := n.core.View()
	seq, s, err := n.core.Stamp(0)
	if err != nil {
		return false
	}
	w.budget.letters--
	l := letter{n.core.Self(), v.ID(), seq, s}
	w.check.sent = grow(w.check.sent, l)
	w.take(n, l)
	for to := range w.nodes {
		if to != i {
			w.frames[w.pair(i, to)] = grow(w.frames[w.pair(i, to)], l)
		}
	}
	w.after(i)
	return true
}

func (w *world) arrive(from, to int) bool {
	q := w.frames[w.pair(from, to)]
	if len(q) == 0 {
		return false
	}
	w.frames[w.pair(from, to)] = q[1:]
	n := w.own(to)
	n.late = grow(n.late, q[0])
	w.after(to)
	return true
}

// forward is what a member does for one that lacks frames of a third.
func (w *world) forward(from, to int) bool {
	l, ok := w.lacks(from, to)
	if !ok {
		return false
	}
	b := w.own(to)
	b.late = grow(b.late, l)
	w.after(to)
	return true
}

// lacks is a frame that one member has and another could take.
func (w *world) lacks(from, to int) (l letter, ok bool) {
	a, b := w.nodes[from], w.nodes[to]
	if from == to || a.core.id != b.core.id || b.core.at < 0 {
		return l, false
	}
	for _, l := range a.kept {
		k, _ := b.core.view.member(l.from.Member)
		if !slices.Contains(b.late, l) && l.seq == b.core.lines[k].received+1 && b.core.takes(k, l.seq) {
			return l, true
		}
	}
	return l, false
}

func (w *world) saved(i int) bool {
	if w.nodes[i].pending == nil {
		return false
	}
	n := w.own(i)
	n.disk, n.pending = n.pending, nil
	n.core.Saved()
	w.after(i)
	return true
}

func (w *world) propose(i int, out set) bool {
	if w.budget.ballots == 0 || !w.own(i).core.propose(out) {
		return false
	}
	w.budget.ballots--
	w.after(i)
	return true
}

// want is propose as the protocol has it.
func (w *world) want(i int) bool {
	if w.budget.ballots == 0 || !w.own(i).core.Propose() {
		return false
	}
	w.budget.ballots--
	w.after(i)
	return true
}

func (w *world) learn(from, to int) bool {
	v, _ := w.nodes[from].core.View()
	if have, _ := w.nodes[to].core.View(); have.Number >= v.Number {
		return false
	}
	if err := w.own(to).core.Learn(v); err != nil {
		w.fail(errV1, "%v", err)
	}
	w.after(to)
	return true
}

// configure has the group decide on another configuration: one voter more or
// less, or both by way of a joint one.
func (w *world) configure(kind int, id fabric.MemberID) bool {
	if w.budget.configs == 0 {
		return false
	}
	c := w.configs[len(w.configs)-1]
	next := Config{Epoch: c.Epoch + 1, Voters: slices.Clone(c.Voters)}
	switch k := slices.Index(c.Voters, id); {
	case len(c.Outgoing) > 0: // leaves the joint one
	case k >= 0 && len(c.Voters) > 1:
		next.Voters = without(c.Voters, k)
		if kind == 0 {
			next.Learners = []fabric.MemberID{id}
		} else if kind == 1 {
			next.Outgoing = slices.Clone(c.Voters)
		}
	case k < 0:
		next.Voters = append(next.Voters, id)
	}
	w.budget.configs--
	w.configs = grow(w.configs, next.sorted())
	return true
}

func (w *world) apply(i int) bool {
	if w.nodes[i].applied == len(w.configs)-1 {
		return false
	}
	n := w.own(i)
	n.applied++
	if err := n.core.SetConfig(w.configs[n.applied]); err != nil {
		panic(err)
	}
	w.after(i)
	return true
}

// crash loses what is not on disk, and the frames on their way to the member;
// those from it may still arrive, unless lose is set.
func (w *world) crash(i int, lose bool) bool {
	if w.budget.crashes == 0 {
		return false
	}
	w.budget.crashes--
	for j := range w.nodes {
		w.rows[w.pair(j, i)], w.seen[w.pair(j, i)] = nil, ""
		w.frames[w.pair(j, i)] = nil
		w.seen[w.pair(i, j)] = ""
		if lose {
			w.frames[w.pair(i, j)], w.rows[w.pair(i, j)] = nil, nil
		}
	}
	if w.losesDisks {
		w.own(i).disk = nil
	}
	w.start(i)
	return true
}
