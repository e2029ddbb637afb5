package sim

import (
	"math"

	"github.com/raftdv/dv/fabric"
)

// nic is what stands between a member and a wire that takes time: the queue of
// what the member wants to send, to whomever.
//
// Invariants: a frame to one destination waits in it at most once, a row at most
// once for each link, an ack at most once for each link, lane and run of frames;
// so that it is bounded as the lanes are.
type nic struct {
	urgent runs // acks and rows
	lanes  [fabric.Lanes]runs
	free   int64 // when the wire is free
	host   int64 // when the host was done with the newest that has left
	waking bool  // an evNIC is scheduled at wakeAt
	wakeAt int64
}

// packetRun is a frame, a row or an ack on its way to the wire.
type packetRun struct {
	kind    kind
	lane    uint8
	targets []target // of a frame; one, unless the fabric multicasts
	link    *link    // of everything else: a row, an ack, a floor
	size    int      // bytes to be cut into packets
	sent    int      // packets that are on the wire
	since   int64    // when it was queued
	lo, hi  uint64   // of an ack; of a row lo is which of Port.published
	kick    bool     // of an ack
	row     *fabric.Row
}

// runs is a queue of runs, from head on.
type runs struct {
	list []*packetRun
	head int
}

func (q *runs) empty() bool       { return q.head == len(q.list) }
func (q *runs) first() *packetRun { return q.list[q.head] }

func (q *runs) push(r *packetRun) { q.list = append(q.list, r) }

// pop drops the first.
func (q *runs) pop() {
	q.list[q.head] = nil
	if q.head++; 2*q.head >= len(q.list) {
		q.list, q.head = q.list[:copy(q.list, q.list[q.head:])], 0
	}
}

// run returns one to be filled in: of those that have left, if there is one.
func (n *Network) run(kind kind, lane uint8, l *link) *packetRun {
	if last := len(n.left) - 1; last >= 0 {
		r := n.left[last]
		n.left = n.left[:last]
		*r = packetRun{kind: kind, lane: lane, link: l, targets: r.targets[:0]}
		return r
	}
	return &packetRun{kind: kind, lane: lane, link: l}
}

// maxLeft bounds the runs that are kept for later.
const maxLeft = 1024

// leave takes a run that nothing refers to any more.
func (n *Network) leave(r *packetRun) {
	if len(n.left) < maxLeft {
		n.left = append(n.left, r)
	}
}

// target is one destination's copy of a frame.
type target struct {
	l   *link
	seq uint64
}

func (n *Network) hasMedium() bool { return n.cfg.Medium.Rate > 0 }

// put queues a run.
func (p *Port) put(r *packetRun) {
	r.since = p.n.now
	q := &p.nic.urgent
	if len(r.targets) > 0 {
		q = &p.nic.lanes[r.lane]
	}
	q.push(r)
	p.n.serve(p)
}

// queues returns the queues that hold something, the most urgent first. Frames
// that nobody waits for any more are left out.
func (n *Network) queues(c *nic) (list [1 + fabric.Lanes]*runs, count int) {
	if !c.urgent.empty() {
		list[0], count = &c.urgent, 1
	}
	for i := range c.lanes {
		q := &c.lanes[i]
		for !q.empty() && !q.first().wanted() {
			r := q.first()
			q.pop()
			n.leave(r)
		}
		if !q.empty() {
			list[count] = q
			count++
		}
	}
	return list, count
}

// wanted drops the destinations at which a frame was settled while it waited.
func (r *packetRun) wanted() bool {
	kept := r.targets[:0]
	for _, t := range r.targets {
		if ln := &t.l.lanes[r.lane]; t.seq >= ln.base && !ln.at(t.seq).resolved {
			kept = append(kept, t)
		}
	}
	r.targets = kept
	return len(kept) > 0
}

// serve puts on the wire what may go now, and comes back when more may.
func (n *Network) serve(p *Port) {
	for {
		queue, at, until := p.choose()
		if queue == nil {
			return
		}
		if at > n.now {
			p.wake(at)
			return
		}
		if r := queue.first(); n.transmitSome(p, r, until) {
			queue.pop()
			n.depart(p, r)
			n.leave(r)
		}
	}
}

// choose returns the queue whose first run goes next: the most urgent that is
// ready, or the one that is ready first. Its packets may be on the wire from at
// until until.
func (p *Port) choose() (queue *runs, at, until int64) {
	m := &p.n.cfg.Medium
	list, count := p.n.queues(&p.nic)
	for _, q := range list[:count] {
		r := q.first()
		if r.kind == evRow && r.sent == 0 {
			r.row, r.lo, r.size = p.row, p.published, len(p.row.Sections)+frameOverhead
		}
		ready := p.ready(r)
		from, end := p.window(max(p.n.now, ready, p.nic.free), m.wireTime(m.wireBytes(r.size, r.sent, 1)))
		if queue == nil || from < at {
			queue, at, until = q, from, end
		}
		if at <= p.n.now {
			break
		}
	}
	return queue, at, until
}

// ready is when the host is done with a run. It takes one after the other, as
// soon as it can: what waits for the wire or for its slot lies ready.
func (p *Port) ready(r *packetRun) int64 {
	if !r.costs() {
		return r.since
	}
	return max(r.since, p.nic.host) + int64(p.n.cfg.Medium.SendCost)
}

// costs reports whether the host has still to work on a run: acks and floors are
// the port's own business.
func (r *packetRun) costs() bool {
	return r.sent == 0 && (r.kind == evRow || len(r.targets) > 0)
}

// wake has serve called at an instant, or before.
func (p *Port) wake(at int64) {
	if c := &p.nic; !c.waking || at < c.wakeAt {
		c.waking, c.wakeAt = true, at
		p.n.schedule(at, evNIC).port = p
	}
}

// woken is called when wake's time has come.
func (p *Port) woken() {
	if p.n.now >= p.nic.wakeAt {
		p.nic.waking = false
	}
	p.n.serve(p)
}

// transmitSome puts packets of a run on the wire, as many as one burst and the
// window have room for. It reports whether that was the last.
func (n *Network) transmitSome(p *Port, r *packetRun, until int64) (done bool) {
	m := &n.cfg.Medium
	if r.costs() {
		p.nic.host = p.ready(r)
	}
	total := m.packets(r.size)
	count := min(m.burst(), total-r.sent)
	if full := m.wireTime(m.wireBytes(r.size, r.sent, 1)); until != forever {
		count = min(count, max(1, int((until-n.now)/full)))
	}
	p.nic.free = n.now + m.wireTime(m.wireBytes(r.size, r.sent, count))
	r.sent += count
	return r.sent == total
}

// depart lets a run go that is on the wire as a whole when nic.free is reached.
func (n *Network) depart(p *Port, r *packetRun) {
	l := r.link
	switch r.kind {
	case evFrames:
		for _, t := range r.targets {
			n.departFrame(p, t, r)
		}
		if l != nil {
			ln := &l.lanes[r.lane]
			n.launch(l, event{kind: evFrames, link: l, lane: r.lane, lo: ln.next, hi: ln.next, floor: ln.floor}, p.nic.free, 1)
		}
	case evAck:
		ln := &l.lanes[r.lane]
		if ln.ackQueued == r {
			ln.ackQueued = nil
		}
		n.launch(l.back, event{kind: evAck, link: l, lane: r.lane, lo: r.lo, hi: r.hi, floor: ln.missing, kick: r.kick}, p.nic.free, 1)
	case evRow:
		l.rowQueued = false
		l.rowOut = append(l.rowOut, r.lo)
		p.stats(l.to.rank).RowsSent++
		n.launch(l, event{kind: evRow, link: l, row: r.row, lo: r.lo}, p.nic.free, r.sent)
		if r.lo < l.rowSent {
			n.queueRow(l) // a newer one was asked for meanwhile
		}
	case evRowAck:
		l.rowAckQueued = false
		n.launch(l.back, event{kind: evRowAck, link: l, lo: l.rowCount}, p.nic.free, 1)
	}
}

func (n *Network) departFrame(p *Port, t target, r *packetRun) {
	ln, s := &t.l.lanes[r.lane], p.stats(t.l.to.rank)
	ev := event{kind: evFrames, link: t.l, lane: r.lane, lo: t.seq, hi: t.seq + 1, floor: ln.floor}
	rec := ln.at(t.seq)
	rec.sentAt = p.nic.free
	s.BytesSent += uint64(rec.weight)
	s.DatagramsSent++
	n.launch(t.l, ev, p.nic.free, r.sent)
}

// queueAgain queues frames first to end-1 of a lane that are sent again. If
// there are none, the receiver is told what the sender has given up.
func (n *Network) queueAgain(l *link, lane int, first, end uint64) {
	if first == end {
		l.from.put(n.run(evFrames, uint8(lane), l))
	}
	for seq := first; seq < end; seq++ {
		rec := l.lanes[lane].at(seq)
		rec.sentAt = never
		r := n.run(evFrames, uint8(lane), nil)
		r.targets, r.size = append(r.targets, target{l, seq}), int(rec.weight)
		l.from.put(r)
	}
}

// queueSend queues what a Send has accepted, in its order.
func (n *Network) queueSend(p *Port) {
	accepted := p.accepted
	p.accepted = nil
	for _, r := range accepted {
		for _, t := range r.targets {
			t.l.lanes[r.lane].at(t.seq).sentAt = never
		}
		p.put(r)
	}
	clear(accepted)
	p.accepted = accepted[:0]
}

// accept notes the newest frame of a lane as a part of the Send that runs; again
// says that it is the same frame as the one noted before, for somebody else.
func (p *Port) accept(l *link, lane uint8, body, patch int, again bool) {
	t := target{l, l.lanes[lane].next - 1}
	if last := len(p.accepted) - 1; again && p.n.cfg.Medium.Multicast && last >= 0 {
		r := p.accepted[last]
		r.targets = append(r.targets, t)
		r.size += patch
		return
	}
	r := p.n.run(evFrames, lane, nil)
	r.targets, r.size = append(r.targets, t), body+patch+frameOverhead
	p.accepted = append(p.accepted, r)
}

// queueAck queues an ack of what a link has received, or adds to one that waits.
func (n *Network) queueAck(l *link, lane uint8, lo, hi uint64, kick bool) {
	ln := &l.lanes[lane]
	if r := ln.ackQueued; r != nil && lo <= r.hi && hi >= r.lo {
		r.lo, r.hi, r.kick = min(r.lo, lo), max(r.hi, hi), r.kick || kick
		return
	}
	r := n.run(evAck, lane, l)
	r.lo, r.hi, r.kick = lo, hi, kick
	ln.ackQueued = r
	l.to.put(r)
}

// rowWindow bounds the versions of a row that are on the wire to one member and
// not acked: a long path is a queue, too (P5).
const rowWindow = 16

// queueRow queues the newest row, if there is room for it on the way.
func (n *Network) queueRow(l *link) {
	if l.rowQueued || len(l.rowOut) == rowWindow {
		return
	}
	l.rowQueued = true
	l.from.put(n.run(evRow, 0, l))
}

// rowArrived settles the versions up to one, and makes room for a newer.
func (n *Network) rowArrived(l *link, version uint64) {
	done := 0
	for done < len(l.rowOut) && l.rowOut[done] <= version {
		done++
	}
	l.rowOut = l.rowOut[:copy(l.rowOut, l.rowOut[done:])]
	if newest := len(l.rowOut) - 1; n.hasMedium() && version < l.rowSent && (newest < 0 || l.rowOut[newest] < l.rowSent) {
		n.queueRow(l)
	}
}

func (n *Network) queueRowAck(l *link) {
	if l.rowAckQueued {
		return
	}
	l.rowAckQueued = true
	l.to.put(n.run(evRowAck, 0, l))
}

// anyOf is the probability that something happens to one of count packets.
func anyOf(each float64, count int) float64 {
	if count == 1 {
		return each
	}
	return 1 - math.Pow(1-each, float64(count))
}
