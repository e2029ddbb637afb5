package ordered

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/raftdv/dv/barrier"
)

// queue is the frames of one life in one view that wait to be taken, in their
// order.
type queue struct {
	from    barrier.Life
	view    barrier.ViewID
	letters []letter
	bytes   int
}

// maxQueues bounds the lives and views of which frames may wait.
const maxQueues = 4 * barrier.MaxMembers

// park keeps a frame until the barrier takes or drops it. An honest sender has no
// more than its window on its way in one view.
func (c *Core) park(l letter) error {
	if k, member := c.memberOf(l.from.Member); member && l.view == c.id && l.seq <= c.b.Received(k) {
		return nil // sent again though it had arrived
	}
	i := slices.IndexFunc(c.parked, func(q queue) bool { return q.from == l.from && q.view == l.view })
	if i < 0 {
		if len(c.parked) >= maxQueues {
			return fmt.Errorf("%w: frames of %d lives wait for a view, and %v sends more", ErrWindow, len(c.parked), l.from)
		}
		i = len(c.parked)
		c.parked = append(c.parked, queue{from: l.from, view: l.view})
	}
	q := &c.parked[i]
	at, had := slices.BinarySearchFunc(q.letters, l.seq, func(l letter, seq uint64) int { return cmp.Compare(l.seq, seq) })
	switch {
	case had:
		return nil
	case len(q.letters) >= c.settings.Window || q.bytes > 0 && q.bytes+len(l.body) > c.settings.WindowBytes:
		return fmt.Errorf("%w: %d frames, %d bytes of %v wait: it sends more than the window that all have", ErrWindow, len(q.letters), q.bytes, l.from)
	}
	q.letters = slices.Insert(q.letters, at, l)
	q.bytes += len(l.body)
	return nil
}

// offer gives the barrier what it may take now, each life's frames in their
// order. It reports whether any were taken or dropped.
func (c *Core) offer() (any bool) {
	if c.full && !c.b.Wedged() {
		return false
	}
	for i := range c.parked {
		q, n := &c.parked[i], 0
		for ; n < len(q.letters); n++ {
			l := &q.letters[n]
			v, err := c.b.Frame(l.from, l.view, l.seq, l.stamp)
			if err != nil {
				c.did.Faults = append(c.did.Faults, Fault{l.from.Member, err})
			}
			if v == barrier.Parked {
				break
			}
			q.bytes -= len(l.body)
			if v == barrier.Taken {
				k, _ := c.memberOf(l.from.Member)
				c.lines[k].kept = append(c.lines[k].kept, *l)
			}
		}
		if n > 0 {
			q.letters, any = slices.Delete(q.letters, 0, n), true
		}
	}
	c.parked = slices.DeleteFunc(c.parked, func(q queue) bool { return len(q.letters) == 0 })
	return any
}
