package barrier

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// Relay says that what Of sends is passed on to To; both are places among the
// ids of the configuration.
type Relay struct{ Of, To int }

// Relays lists what the me-th member passes on, where hears[i] says whom the
// i-th hears directly, as its newest row says (0 if there is none).
//
// What j sends spreads along one tree: of the members that i hears, the nearest
// to j passes j's rows and frames on to i, of several the first. A member that
// hears j itself needs nobody. So, once all have the same rows, everybody that can
// be reached from j has what j sends, from one member, over as few hops as can
// be: at most n-2 relays. Until then something may come twice, or be missing:
// versions and sequences tell.
//
// The rows that are needed are those of members that this one hears, and of the
// members on the way; each says on its own whom it hears, and not how far it is
// from anybody. Distances in rows would outlive the links that they count.
func Relays(me int, hears []set) (relays []Relay) {
	n := len(hears)
	for of := range n {
		if of == me {
			continue
		}
		near := distances(of, hears)
		if near[me] < 1 {
			continue // it does not come here
		}
		for to := range n {
			if to != me && to != of && !hears[to].has(of) && parent(to, hears, near) == me {
				relays = append(relays, Relay{of, to})
			}
		}
	}
	return relays
}

// parent is the member that passes on to another one, -1 if there is none.
func parent(to int, hears []set, near []int) int {
	best := -1
	for k := range hears {
		if k != to && hears[to].has(k) && near[k] >= 0 && (best < 0 || near[k] < near[best]) {
			best = k
		}
	}
	return best
}

// distances are the hops from a member to each other one, -1 where there is no
// way.
func distances(of int, hears []set) []int {
	d := make([]int, len(hears))
	for i := range d {
		d[i] = -1
	}
	d[of] = 0
	for reached := set(1) << of; ; {
		next := reached
		for i := range hears {
			if !reached.has(i) && hears[i]&reached != 0 {
				next |= 1 << i
			}
		}
		if next == reached {
			return d
		}
		hop := 0
		for s := reached; s != 0; s &= s - 1 {
			hop = max(hop, d[bits.TrailingZeros64(uint64(s))])
		}
		for s := next &^ reached; s != 0; s &= s - 1 {
			d[bits.TrailingZeros64(uint64(s))] = hop + 1
		}
		reached = next
	}
}

// Passes lists what this member passes on: rows and frames of one member to
// another; see Relays.
func (c *Core) Passes() []Pass {
	if c.passedAt != c.stirs {
		c.passes, c.passedAt, c.patchy = nil, c.stirs, false
		if me := c.index(c.self.Member); me >= 0 {
			c.patchy = patchy(c.links(me))
		}
		for _, r := range c.relays() {
			c.passes = append(c.passes, Pass{c.ids[r.Of], c.ids[r.To]})
		}
	}
	return c.passes
}

// Pass says that what Of sends is passed on to To.
type Pass struct{ Of, To fabric.MemberID }

// Linked reports whether this member and another one hear each other directly, as
// far as is known: who hears somebody of whom it has no row of this view takes
// itself for heard.
func (c *Core) Linked(id fabric.MemberID) bool {
	if !slices.Contains(c.hears, id) {
		return false
	}
	me, r := c.index(c.self.Member), c.rowOf(id)
	return me < 0 || r == nil || r.hears.has(me)
}

// Ways lists the members through which another one can be reached, nearest first:
// those that this one is linked with, from which links lead there that do not pass
// here. The row of a member that is not heard may be old, and does not speak against
// what others say of their links with it: who is asked to pass on to it knows better.
// The list is not to be changed.
func (c *Core) Ways(to fabric.MemberID) []fabric.MemberID {
	me, end := c.index(c.self.Member), c.index(to)
	if me < 0 || end < 0 || me == end {
		return nil
	}
	if c.waysAt != c.stirs || len(c.ways) != len(c.ids) {
		c.ways, c.waysAt, c.waysOf = make([][]fabric.MemberID, len(c.ids)), c.stirs, 0
	}
	if !c.waysOf.has(end) {
		c.ways[end], c.waysOf = c.findWays(me, end), c.waysOf|1<<end
	}
	return c.ways[end]
}

func (c *Core) findWays(me, end int) (ways []fabric.MemberID) {
	own := c.links(me)[me]
	fresh := c.mask(c.hears)
	said := make([]set, len(c.ids))
	for i, id := range c.ids {
		if r := c.rowOf(id); r != nil && i != me {
			said[i] = r.hears & (1<<len(c.ids) - 1) &^ (1<<i | 1<<me)
		}
	}
	links := slices.Clone(said)
	for i := range links {
		for j := range links {
			if fresh.has(j) && !said[j].has(i) {
				links[i] &^= 1 << j
			}
		}
	}
	far := distances(end, links)
	for i, id := range c.ids {
		if i != end && own.has(i) && far[i] > 0 {
			ways = append(ways, id)
		}
	}
	slices.SortStableFunc(ways, func(a, b fabric.MemberID) int { return cmp.Compare(far[c.index(a)], far[c.index(b)]) })
	return ways
}

// Patchy reports whether some members do not hear each other that others hear.
// Then a row that changes what Passes depends on is told to all that can be
// reached, by everybody once: trees that are made of older rows may not lead
// everywhere.
func (c *Core) Patchy() bool {
	c.Passes()
	return c.patchy
}

// relays are by places among the sorted ids of the view's configuration.
func (c *Core) relays() []Relay {
	me := c.index(c.self.Member)
	if me < 0 {
		return nil
	}
	return Relays(me, c.links(me))
}

// links says who hears whom, each the other.
func (c *Core) links(me int) []set {
	hears := make([]set, len(c.ids))
	for i, id := range c.ids {
		if i == me {
			hears[i] = c.mask(c.hears) &^ (1 << me)
		} else if r := c.rowOf(id); r != nil {
			hears[i] = r.hears & (1<<len(c.ids) - 1) &^ (1 << i)
		}
	}
	for i := range hears {
		for j := range hears {
			if hears[i].has(j) && !hears[j].has(i) { // acks do not come back: it is of no use
				hears[i] &^= 1 << j
			}
		}
	}
	return hears
}

// patchy reports whether not all that anybody hears hear each other.
func patchy(hears []set) bool {
	heard := set(0)
	for _, h := range hears {
		heard |= h
	}
	for i, h := range hears {
		if heard.has(i) && (h|1<<i)&heard != heard {
			return true
		}
	}
	return false
}
