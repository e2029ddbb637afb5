package ordered

import (
	"slices"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
)

// after does what an input made possible: what the barrier below wants, views,
// parked frames, deliveries, frames that others lack.
func (c *Core) after() {
	for {
		o := c.b.Take()
		if o.Save != nil {
			c.did.Save = o.Save
		}
		c.did.Publish = c.did.Publish || o.Publish
		for i := range o.Installed {
			c.install(&o.Installed[i])
		}
		if !c.offer() {
			break
		}
	}
	c.deliver()
	c.forget()
	c.pay()
}

// less is the order of delivery within a view.
func less(a, b *letter) bool {
	if a.stamp != b.stamp {
		return a.stamp.Before(b.stamp)
	}
	return a.from.Member < b.from.Member
}

// next is the first frame in order that was not delivered, of those that cuts
// do not leave out; nil if there is none.
func (c *Core) next(cuts []uint64) (best *line) {
	for i := range c.lines {
		n := &c.lines[i]
		if n.delivered == len(n.kept) || cuts != nil && n.kept[n.delivered].seq > cuts[i] {
			continue
		}
		if best == nil || less(&n.kept[n.delivered], &best.kept[best.delivered]) {
			best = n
		}
	}
	return best
}

// deliver hands over what the barrier has passed; a safe frame, and what is
// behind it, waits until all members have it.
func (c *Core) deliver() {
	if c.at < 0 {
		return
	}
	upTo, safe := c.b.Barrier(), c.b.Safe()
	for {
		n := c.next(nil)
		if n == nil {
			return
		}
		l := &n.kept[n.delivered]
		if upTo.Before(l.stamp) {
			return
		}
		if l.class == fabric.ClassSafe && c.safe.Before(l.stamp) {
			c.safe, c.did.Publish = upTo, true // others wait to read that it is here
		}
		if l.class == fabric.ClassSafe && safe.Before(l.stamp) {
			return
		}
		c.hand(n, !safe.Before(l.stamp))
	}
}

func (c *Core) hand(n *line, safe bool) {
	l := &n.kept[n.delivered]
	n.delivered++
	c.did.Events = append(c.did.Events, Event{From: l.from, Class: l.class, Seq: l.seq, Stamp: l.stamp, Body: l.body, Safe: safe})
}

// install ends the view and begins the next one. Who stays delivers all that
// belongs to the one that ends.
func (c *Core) install(in *barrier.Installed) {
	if in.Stayed {
		for n := c.next(in.View.Cuts); n != nil; n = c.next(in.View.Cuts) {
			c.hand(n, false)
		}
	}
	c.view, c.id, c.at = in.View, in.View.ID(), -1
	if in.Member {
		c.at, _ = c.place(c.b.Self())
	}
	c.lines = make([]line, len(in.View.Members))
	c.forwarded = make([]uint64, len(c.lines)*len(c.lines))
	c.ownBytes, c.others = 0, nil
	for i, m := range in.View.Members {
		if i != c.at && c.at >= 0 {
			c.others = append(c.others, m.Member)
		}
	}
	c.did.Events = append(c.did.Events, Event{View: in})
}

func (c *Core) place(l barrier.Life) (int, bool) {
	i := slices.Index(c.view.Members, l)
	return i, i >= 0
}

// forget drops what all members have.
func (c *Core) forget() {
	if c.at < 0 {
		return
	}
	for i := range c.lines {
		n, k := &c.lines[i], 0
		if n.delivered == 0 {
			continue
		}
		for stable := c.b.Stable(i); k < n.delivered && n.kept[k].seq <= stable; k++ {
			if i == c.at {
				c.ownBytes -= len(n.kept[k].body)
			}
		}
		if k > 0 {
			n.kept, n.delivered = slices.Delete(n.kept, 0, k), n.delivered-k
		}
	}
}

// pay sends what this member owes others for the sake of a cut.
func (c *Core) pay() {
	for _, d := range c.b.Debts() {
		to, _ := c.memberOf(d.To)
		paid := &c.forwarded[d.Of*len(c.lines)+to]
		for k := range c.lines[d.Of].kept {
			if l := &c.lines[d.Of].kept[k]; l.seq >= d.First && l.seq <= d.Last && l.seq > *paid {
				c.send([]fabric.MemberID{d.To}, l)
				*paid = l.seq
			}
		}
	}
}
