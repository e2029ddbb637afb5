package simulate

import "github.com/raftdv/dv/fabric"

// F1: per sender, receiver and lane: delivered is a prefix of sent (numbered
// gaps aside), in order, once.

func (l *ledger) delivered(n *node, from fabric.MemberID, f *fabric.Frame) {
	p := l.find(f.Stream, n.m)
	switch {
	case p == nil || p.from.id != from:
		l.c.fail("F1", "%s gets frame %d from %s, which was never sent it", n.m.id, f.Stream, from)
		return
	case p.fate == refused:
		l.c.fail("F1", "%s gets frame %d from %s, which was refused", n.m.id, f.Stream, from)
		return
	case p.delivered:
		l.c.fail("F1", "%s gets frame %d from %s twice", n.m.id, f.Stream, from)
		return
	case p.toInc != n.inc:
		l.c.fail("F1", "%s.%d gets frame %d from %s, which was for its incarnation %d", n.m.id, n.inc, f.Stream, from, p.toInc)
	case p.lane != f.Lane || p.digest != sum(f.Patch, f.Body):
		l.c.fail("F1", "%s gets frame %d from %s altered", n.m.id, f.Stream, from)
	}
	b := &l.book(p.from, n.m)[p.lane]
	l.session(b, n, p.fromInc, f.Link)
	if p.fromInc < b.inFrom {
		l.c.fail("F1", "%s gets frame %d of incarnation %d of %s after one of %d", n.m.id, f.Stream, p.fromInc, from, b.inFrom)
	}
	if f.Link != b.expected || f.Link != p.seq {
		l.c.fail("F1", "%s expects %d from %s in %v and gets %d, which was sent as %d", n.m.id, b.expected, from, p.lane, f.Link, p.seq)
	}
	if l.c.net.Now()-p.at > slowFrame && p.lane != fabric.LaneBulk {
		l.c.checks.polls.unmet("slow frame", l.c.net.Now())
	}
	b.expected = f.Link + 1
	p.delivered = true
	if p.fate == acked {
		b.ackedBytes -= int(p.weight)
	}
}

// session begins anew when either side is a new incarnation. A gap does not say
// which incarnation it is of: if it is not that of the frame behind it, that
// frame is the first.
func (l *ledger) session(b *laneBook, n *node, fromInc, link uint64) {
	switch {
	case b.inTo != n.inc || b.inFrom != 0 && fromInc > b.inFrom || b.inFrom == 0 && link == 1:
		b.inFrom, b.inTo, b.expected = fromInc, n.inc, 1
	case b.inFrom == 0:
		b.inFrom = fromInc
	}
}

func (l *ledger) gap(n *node, from fabric.MemberID, gap fabric.Gap) {
	b := &l.book(l.c.member(from), n.m)[gap.Lane]
	if gap.First == 1 && b.expected != 1 || b.inTo != n.inc { // whose, the next frame tells
		b.inFrom, b.inTo, b.expected = 0, n.inc, 1
	}
	if gap.First != b.expected || gap.Count == 0 {
		l.c.fail("F1", "%s expects %d from %s in %v and is told that %d+%d are missing", n.m.id, b.expected, from, gap.Lane, gap.First, gap.Count)
	}
	b.expected = gap.First + gap.Count
}
