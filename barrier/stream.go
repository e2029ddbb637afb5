package barrier

import (
	"fmt"
	"math"

	"github.com/raftdv/dv/fabric"
)

// Verdict says what becomes of an agreed frame.
type Verdict uint8

const (
	// Taken: it counts, and is delivered when the barrier has passed it.
	Taken Verdict = iota
	// Parked: it may be taken later; it is to be offered again after each input,
	// until it is taken or dropped.
	Parked
	// Dropped: it is never delivered here.
	Dropped
)

// Stamp numbers and stamps an agreed frame of this member, now by the fabric's
// clock. The frame counts as sent from here on: it has to be sent.
func (c *Core) Stamp(now int64) (seq uint64, s fabric.Stamp, err error) {
	switch {
	case c.at < 0:
		return 0, s, ErrNoMember
	case c.wedged:
		return 0, s, ErrWedged
	}
	c.clock = tick(c.clock, now)
	c.sent++
	l := &c.lines[c.at]
	l.received, l.last = c.sent, c.clock
	c.pledge()
	c.step()
	return c.sent, c.clock, nil
}

// tick is a hybrid logical clock's next reading.
func tick(last fabric.Stamp, now int64) fabric.Stamp {
	switch {
	case now > last.Time:
		return fabric.Stamp{Time: now}
	case last.Logical == math.MaxUint32:
		return fabric.Stamp{Time: last.Time + 1}
	}
	return fabric.Stamp{Time: last.Time, Logical: last.Logical + 1}
}

// Frame takes the agreed frame that a life numbered seq within view. Frames of
// one life are offered in their order.
func (c *Core) Frame(from Life, view ViewID, seq uint64, s fabric.Stamp) (Verdict, error) {
	switch {
	case view.Number > c.id.Number:
		return Parked, nil
	case view != c.id || c.at < 0 || !c.view.has(from):
		return Dropped, nil
	}
	i, _ := c.view.member(from.Member)
	l := &c.lines[i]
	switch {
	case seq <= l.received:
		return Dropped, nil
	case seq != l.received+1 || !c.takes(i, seq):
		return Parked, nil
	case !l.bar.Before(s) || !l.last.Before(s):
		return Dropped, fmt.Errorf("%w: frame %d of %v is stamped %v, promised was %v", ErrStamp, seq, from, s, later(l.bar, l.last))
	}
	l.received, l.last = seq, s
	if !c.stands(i) {
		l.bar = s
	}
	c.clock = later(c.clock, s)
	c.pledge()
	c.step()
	return Taken, nil
}

// stands reports whether the barrier of the i-th member stands still: a ballot
// left it out. What is taken of it after that is not delivered before the view
// is decided, as it may turn out to be behind the cut.
func (c *Core) stands(i int) bool {
	return c.banned != 0 && c.banned.has(c.index(c.view.Members[i].Member))
}

// takes reports whether a frame of the i-th member may still be taken in this
// view: of one that a ballot left out only up to a cut that all shall have.
func (c *Core) takes(i int, seq uint64) bool {
	return !c.stands(i) || c.limit != nil && seq <= c.limit[i]
}

// Reserve stamps n frames that have no order, now by the fabric's clock, and
// returns the first of their stamps; the others follow it one by one (Next). So all
// that a member sends has a place among its agreed frames.
func (c *Core) Reserve(now int64, n int) fabric.Stamp {
	first := tick(c.clock, now)
	c.clock = first
	for ; n > 1; n-- {
		c.clock = Next(c.clock)
	}
	return first
}

// Next is the stamp after s of those that Reserve gave.
func Next(s fabric.Stamp) fabric.Stamp { return tick(s, s.Time) }

// See takes the stamp of a frame that has no order: what is stamped from now on is
// later.
func (c *Core) See(s fabric.Stamp) { c.clock = later(c.clock, s) }

// pledge promises that all further frames are stamped above the clock.
func (c *Core) pledge() {
	if c.at >= 0 && !c.wedged {
		c.promise = c.clock
		c.lines[c.at].bar = c.clock
	}
}

// Pledge promises anew, now by the fabric's clock: it is called when others wait
// for this member's promise.
func (c *Core) Pledge(now int64) {
	if c.at >= 0 && !c.wedged && now > c.clock.Time {
		c.clock = fabric.Stamp{Time: now}
		c.pledge()
		c.step()
	}
}

// Barrier is the stamp up to which all agreed frames of the view are here: they
// may be delivered in the order of their stamps, members break ties. It never
// falls during a life.
func (c *Core) Barrier() fabric.Stamp { return c.barrier }

// Safe is the barrier that all members of the view have passed, as far as their
// rows say: all frames at or before it are at all of them.
func (c *Core) Safe() fabric.Stamp {
	if c.at < 0 {
		return fabric.Stamp{}
	}
	safe := c.barrier
	for i := range c.view.Members {
		if i == c.at {
			continue
		}
		r := c.seat(i)
		if r == nil {
			return c.view.Floor
		}
		if r.barrier.Before(safe) {
			safe = r.barrier
		}
	}
	return safe
}

// Received is how many agreed frames of the i-th member of the view are here.
func (c *Core) Received(i int) uint64 { return c.lines[i].received }

// Lacks reports whether a member of the view does not have a frame of another one,
// as far as its row says; both by their places.
func (c *Core) Lacks(member, of int, seq uint64) bool {
	r := c.seat(member)
	return r == nil || r.received[of] < seq
}

// Stable is how many frames of the i-th member of the view all members have, as
// far as their rows say: those need not be kept.
func (c *Core) Stable(i int) uint64 {
	if c.at < 0 {
		return 0
	}
	n := c.lines[i].received
	for j := range c.view.Members {
		if j == c.at {
			continue
		}
		r := c.seat(j)
		if r == nil {
			return 0
		}
		n = min(n, r.received[i])
	}
	return n
}

// raise computes the barrier: of each member the promise in its row, if all
// frames are here that it had sent by then, or the stamp of its last frame.
func (c *Core) raise() bool {
	if c.at < 0 || len(c.lines) == 0 {
		return false
	}
	least := fabric.Stamp{Time: math.MaxInt64}
	for i := range c.view.Members {
		n := &c.lines[i]
		if r := c.seat(i); r != nil && !c.stands(i) && n.received >= r.sent {
			n.bar = later(n.bar, r.promise)
		}
		if n.bar.Before(least) {
			least = n.bar
		}
	}
	if !c.barrier.Before(least) {
		return false
	}
	c.barrier = least
	return true
}

// Debt is frames that one member lacks and this one shall send it: those
// numbered First to Last of the Of-th member of the view.
type Debt struct {
	To          fabric.MemberID
	Of          int
	First, Last uint64
}

// Debts lists the frames that this member shall send others: those that it
// passes on, and those that are needed for a cut.
func (c *Core) Debts() []Debt {
	if c.at < 0 {
		return nil
	}
	return append(c.passed(), c.cutDebts()...)
}

// passed lists what members lack that hear its sender through this one.
func (c *Core) passed() (debts []Debt) {
	for _, p := range c.Passes() {
		of, member := c.view.member(p.Of)
		to, needs := c.view.member(p.To)
		if !member || !needs || of == c.at || to == c.at {
			continue
		}
		if r := c.seat(to); r != nil && r.received[of] < c.lines[of].received {
			debts = append(debts, Debt{p.To, of, r.received[of] + 1, c.lines[of].received})
		}
	}
	return debts
}

// cutDebts are paid, of the members that show all frames of a cut and that the one
// that lacks some hears, by the first one, by their own sender first of all.
func (c *Core) cutDebts() (debts []Debt) {
	if c.limit == nil {
		return nil
	}
	for of, upTo := range c.limit {
		if c.lines[of].received < upTo {
			continue
		}
		for i, l := range c.view.Members {
			r := c.rowOf(l.Member)
			if i == c.at || r == nil || !r.is(flagMember) || r.promised != c.votes.promised || r.received[of] >= upTo || !c.first(of, upTo, r.hears) {
				continue
			}
			debts = append(debts, Debt{l.Member, of, r.received[of] + 1, upTo})
		}
	}
	return debts
}

// first reports whether this member is the one that sends frames of another, to one
// that hears those.
func (c *Core) first(of int, upTo uint64, hears set) bool {
	if of == c.at {
		return true
	}
	holds := func(i int) bool {
		id := c.view.Members[i].Member
		r := c.rowOf(id)
		return r != nil && r.is(flagMember) && r.promised == c.votes.promised && r.received[of] >= upTo && hears.has(c.index(id))
	}
	if holds(of) {
		return false
	}
	before := c.at
	if !hears.has(c.index(c.self.Member)) {
		before = len(c.view.Members) // any that is heard is better
	}
	for i := range before {
		if i != c.at && holds(i) {
			return false
		}
	}
	return true
}
