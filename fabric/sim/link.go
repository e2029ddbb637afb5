package sim

import (
	"errors"
	"time"

	"github.com/raftdv/dv/fabric"
)

// link is one direction between one incarnation of a member and one of another:
// what from knows for sending, and what to knows for receiving. The two halves
// share the memory of the frames, nothing else: what one half learns of the
// other travels in an event.
type link struct {
	from, to *Port
	back     *link // the other direction
	faults   *Faults
	lanes    [fabric.Lanes]lane

	// Of the sender.
	up        bool // Link(up) was called at from
	wasUp     bool
	gen       uint32 // counts what breaks the link
	rowSent   uint64 // which of Port.published
	rowAcked  uint64
	rowTiming bool  // an evRowTimer is scheduled
	rowAt     int64 // when
	rowNext   int64 // when the row interval is over
	rowTries  uint8
	tx        transmitter
	rowOut    []uint64                // which of Port.published are on the wire and not acked
	rowQueued bool                    // waits in the nic of from
	last      [fabric.Lanes + 1]int64 // Medium.InOrder: when the newest packet arrives; the last for acks and rows
	settled   []fabric.Resolution     // in this event
	spare     []fabric.Resolution

	// Of the receiver.
	rowAckQueued bool        // waits in the nic of to
	paid         claim       // Medium.ReceiveCost: what the host works on until busyUntil
	rowIn        *fabric.Row // received and not delivered: the newest
	rowCount     uint64      // of the newest received: which of Port.published it is
	busyUntil    int64
	draining     bool // an evDrain is scheduled
	inside       bool // drain runs
	frames       []fabric.Frame
}

// lane is one lane of a link. Link sequences start at 1.
//
// Invariants: base ≤ floor ≤ next; base ≤ expected ≤ missing ≤ next. The ring
// holds base to next-1; a frame leaves it when both halves have no more use for
// it: below floor the sender, below expected the receiver.
type lane struct {
	ring []record // a power of two; at seq & (len-1)
	base uint64
	next uint64
	held int // weight of base to next-1

	// Of the sender.
	floor   uint64 // the lowest that is not resolved
	bytes   int    // weight of what is not resolved
	queued  int
	told    uint64 // the receiver is known to be at least here
	timing  bool   // an evTimer is scheduled
	backoff uint8
	rtt     int64

	// Of the receiver.
	expected  uint64     // next to deliver
	missing   uint64     // the first that did not arrive and was not given up
	floorIn   uint64     // all below it have arrived or never will
	in        int        // weight of what arrived and was not delivered
	refused   bool       // something did not fit
	ackQueued *packetRun // the newest that waits in the nic
}

// record is a frame in the ring.
type record struct {
	body, patch []byte
	stream      uint64
	ticket      uint64
	stamp       fabric.Stamp
	deadline    int64
	sentAt      int64 // of the last transmission
	weight      int32
	kind        fabric.Kind
	class       fabric.Class
	resolved    bool // at the sender
	again       bool // was retransmitted
	safe        bool // known to have arrived
	arrived     bool // at the receiver
}

func (l *lane) at(seq uint64) *record { return &l.ring[seq&uint64(len(l.ring)-1)] }

// push makes room for the record of l.next.
func (l *lane) push() *record {
	if int(l.next-l.base) == len(l.ring) {
		bigger := make([]record, max(16, 2*len(l.ring)))
		for seq := l.base; seq < l.next; seq++ {
			bigger[seq&uint64(len(bigger)-1)] = *l.at(seq)
		}
		l.ring = bigger
	}
	l.next++
	return l.at(l.next - 1)
}

// trim drops the frames that nobody needs any more.
func (l *lane) trim() {
	for end := min(l.floor, l.expected); l.base < end; l.base++ {
		r := l.at(l.base)
		l.held -= int(r.weight)
		*r = record{}
	}
}

// connect makes the two directions between two incarnations.
func (n *Network) connect(a, b *Port) {
	ab, ba := n.newLink(a, b), n.newLink(b, a)
	ab.back, ba.back = ba, ab
	a.known[b.rank], b.known[a.rank] = ab, ba
	n.scheduleUp(ab)
	n.scheduleUp(ba)
}

func (n *Network) newLink(from, to *Port) *link {
	l := &link{from: from, to: to, faults: &n.cfg.Faults}
	if f := n.faults[[2]int{from.rank, to.rank}]; f != nil {
		l.faults = f
	}
	for i := range l.lanes {
		ln := &l.lanes[i]
		ln.base, ln.next, ln.floor, ln.told, ln.expected, ln.missing, ln.floorIn = 1, 1, 1, 1, 1, 1, 1
	}
	return l
}

// scheduleUp lets a link come up after a round trip, if it then works.
func (n *Network) scheduleUp(l *link) {
	if l != nil && !l.up {
		d := 2*l.faults.Delay + time.Duration(n.rng.ExpFloat64()*float64(2*l.faults.Jitter))
		n.schedule(n.now+int64(d), evUp).link = l
	}
}

func (n *Network) tryUp(l *link) {
	if !l.up && n.reachable(l) && l.from.known[l.to.rank] == l {
		n.adopt(l)
		n.raise(l)
	}
}

var errRestarted = errors.New("the peer has restarted")

// adopt makes l the link to its peer, in place of that to an earlier
// incarnation.
func (n *Network) adopt(l *link) {
	old := l.from.out[l.to.rank]
	if old == l {
		return
	}
	if old != nil {
		n.down(old, errRestarted)
	}
	l.from.out[l.to.rank] = l
}

func (n *Network) raise(l *link) {
	l.up, l.wasUp = true, true
	for i := range l.lanes {
		if ln := &l.lanes[i]; ln.floor < ln.next || ln.told < ln.floor {
			ln.backoff = 0
			n.arm(l, i, n.now)
		}
	}
	if l.from.row != nil {
		n.armRow(l, n.now)
	}
	l.from.h.Link(l.to.m.id, fabric.LinkState{Up: true, Incarnation: l.to.inc})
}

// down calls a link down and gives up what waits on it.
func (n *Network) down(l *link, why error) {
	if !l.up {
		return
	}
	l.up = false
	n.loseAll(l, fabric.ErrLinkDown)
	l.from.h.Link(l.to.m.id, fabric.LinkState{Incarnation: l.to.inc, Err: why})
}

// loseAll resolves everything that is accepted on a link.
func (n *Network) loseAll(l *link, why error) {
	lost := fabric.Lost(why)
	for i := range l.lanes {
		ln := &l.lanes[i]
		for ; ln.floor < ln.next; ln.floor++ {
			if r := ln.at(ln.floor); !r.resolved {
				l.resolve(i, r, lost)
			}
		}
		ln.trim()
	}
	l.flush()
}

var errGoodbye = errors.New("the peer has closed its port")

func (n *Network) bye(l *link) {
	if l.to.out[l.from.rank] == l.back {
		n.down(l.back, errGoodbye)
	}
}

// resolve settles a ticket; flush tells the handler.
func (l *link) resolve(lane int, r *record, err error) {
	ln := &l.lanes[lane]
	r.resolved = true
	ln.bytes -= int(r.weight)
	ln.queued--
	s := &l.from.stats(l.to.rank).Lane[lane]
	if err == nil {
		s.Acked++
		if r.ticket == 0 {
			return
		}
	} else {
		s.Lost++
	}
	l.settled = append(l.settled, fabric.Resolution{To: l.to.m.id, Ticket: r.ticket, Lane: fabric.Lane(lane), Err: err})
}

// flush hands over what was resolved in this event.
func (l *link) flush() {
	for len(l.settled) > 0 {
		settled := l.settled
		l.settled = l.spare[:0]
		l.from.n.mixResolved(settled)
		l.from.h.Resolve(settled)
		l.spare = settled[:0]
	}
}
