package simulate

import (
	"time"

	"github.com/raftdv/dv/fabric"
)

// F2: every ticket resolves to acked or lost, once, in bounded time; acked
// implies in the receiver's memory.

// resolveSlack is what a ticket may take beyond its timeout: the port looks when
// its timer fires.
const resolveSlack = time.Second

func (l *ledger) resolved(n *node, r *fabric.Resolution) {
	p := l.find(r.Ticket, l.c.member(r.To))
	switch {
	case p == nil || p.from != n.m || p.fromInc != n.inc:
		l.c.fail("F2", "%s is told of ticket %d to %s, which it never sent", n.m.id, r.Ticket, r.To)
		return
	case p.fate != open:
		l.c.fail("F2", "ticket %d of %s to %s resolves twice", r.Ticket, n.m.id, r.To)
		return
	case l.overdue(p):
		l.c.fail("F2", "ticket %d of %s to %s resolves %v after it was sent", r.Ticket, n.m.id, r.To, l.c.net.Now()-p.at)
	}
	b := &l.book(p.from, p.to)[p.lane]
	p.fate = lost
	if b.fromInc == p.fromInc && b.toInc == p.toInc {
		b.openBytes -= int(p.weight)
	}
	if !r.Acked() {
		return
	}
	p.fate = acked
	if !p.delivered && b.toInc == p.toInc {
		b.ackedBytes += int(p.weight)
		l.held(p, b)
	}
}

// overdue: a member that does not run has no timers.
func (l *ledger) overdue(p *parcel) bool {
	return l.c.net.Now() > max(p.at, p.from.up)+ticketTimeout+resolveSlack
}

// running: the incarnation that sent p is alive and not paused.
func (p *parcel) running() bool {
	return !p.from.dead && p.from.paused == 0 && p.from.node.inc == p.fromInc
}

func (l *ledger) look() {
	for l.oldest < len(l.parcels) && l.parcels[l.oldest].fate != open {
		l.oldest++
	}
	for i := l.oldest; i < len(l.parcels); i++ {
		p := &l.parcels[i]
		if l.c.net.Now()-p.at < ticketTimeout {
			return
		}
		if p.fate == open && p.running() && l.overdue(p) {
			l.c.fail("F2", "a ticket of %s to %s, sent at %v, does not resolve", p.from.id, p.to.id, p.at)
			return
		}
	}
}

// end looks at what is left when nothing was sent for longer than a ticket
// takes, but for raft's own heartbeats. Of a sender that began anew the receiver
// may forget what it has not delivered: there is a new session.
func (l *ledger) end() {
	l.look()
	for i := range l.parcels {
		p := &l.parcels[i]
		there := !p.to.dead && p.to.node.inc == p.toInc && p.to.paused == 0 && p.from.node.inc == p.fromInc
		if p.fate == acked && !p.delivered && there {
			l.c.fail("F2", "a frame from %s to %s, sent at %v, was acked and never delivered", p.from.id, p.to.id, p.at)
			return
		}
	}
}
