package sim

import (
	"github.com/raftdv/dv/fabric"
)

// Send implements [fabric.Port].
func (p *Port) Send(batch []fabric.Outgoing) error {
	var refused []fabric.Refusal
	caps := p.Capabilities()
	for i := range batch {
		o := &batch[i]
		if err := p.check(o, &caps); err != nil {
			refused = refuseAll(refused, i, o, err)
			continue
		}
		body := p.n.keep(o.Body)
		again := false // somebody else has been sent this frame
		for k, to := range o.To {
			var patch []byte
			if o.Patch != nil {
				patch = o.Patch[k]
			}
			if err := p.sendTo(to, o, patch, body); err != nil {
				refused = append(refused, fabric.Refusal{Index: i, To: to, Ticket: o.Ticket, Err: err})
				continue
			}
			if p.n.hasMedium() {
				p.accept(p.out[p.n.rank[to]], uint8(o.Lane), len(body), len(patch), again)
				again = true
			}
		}
	}
	p.n.queueSend(p)
	for _, t := range p.touched {
		if !p.n.hasMedium() {
			p.n.transmit(t.l, t.lane, t.first, t.l.lanes[t.lane].next)
		}
		p.n.arm(t.l, t.lane, p.n.now+int64(p.n.cfg.RetransmitAfter))
	}
	p.touched = p.touched[:0]
	if len(refused) > 0 {
		return &fabric.SendError{Refused: refused}
	}
	return nil
}

func (p *Port) check(o *fabric.Outgoing, caps *fabric.Capabilities) error {
	if p.dead {
		return fabric.ErrClosed
	}
	return fabric.CheckOutgoing(o, caps)
}

func refuseAll(refused []fabric.Refusal, index int, o *fabric.Outgoing, err error) []fabric.Refusal {
	if len(o.To) == 0 {
		return append(refused, fabric.Refusal{Index: index, Ticket: o.Ticket, Err: err})
	}
	for _, to := range o.To {
		refused = append(refused, fabric.Refusal{Index: index, To: to, Ticket: o.Ticket, Err: err})
	}
	return refused
}

// heldFactor bounds what a lane keeps, in units of QueueBytes: what is not
// resolved, what the receiver has not delivered, and frames that were lost and
// whose gap the receiver does not know yet.
const heldFactor = 4

func (p *Port) sendTo(to fabric.MemberID, o *fabric.Outgoing, patch, body []byte) error {
	rank, ok := p.n.rank[to]
	if !ok || rank == p.rank {
		return fabric.ErrUnknownPeer
	}
	l := p.out[rank]
	if l == nil || !l.up {
		return fabric.ErrLinkDown
	}
	ln, weight := &l.lanes[o.Lane], len(body)+len(patch)+frameOverhead
	s := &p.stats(rank).Lane[o.Lane]
	if limit := p.n.cfg.QueueBytes; ln.bytes+weight > limit || ln.held+weight > heldFactor*limit {
		s.NoCredit++
		return fabric.ErrNoCredit
	}
	p.touch(l, int(o.Lane))
	r := ln.push()
	*r = record{
		body: body, patch: p.n.keep(patch), stream: o.Stream, ticket: o.Ticket, stamp: o.Stamp, weight: int32(weight),
		kind: o.Kind, class: o.Class, deadline: p.n.now + int64(p.n.cfg.TicketTimeout),
	}
	if r.kind == 0 {
		r.kind = fabric.KindData
	}
	ln.bytes += weight
	ln.held += weight
	ln.queued++
	s.Sent++
	return nil
}

// touch notes that a lane has got its first frame of this Send.
func (p *Port) touch(l *link, lane int) {
	for i := range p.touched {
		if t := &p.touched[i]; t.l == l && t.lane == lane {
			return
		}
	}
	p.touched = append(p.touched, touch{l, lane, l.lanes[lane].next})
}

// arenaSize is the unit in which bytes of frames are kept; frames of a quarter
// and more get memory of their own.
const arenaSize = 64 << 10

// keep copies bytes of the caller (duty 1 of package fabric).
func (n *Network) keep(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	if len(b) >= arenaSize/4 {
		return append(make([]byte, 0, len(b)), b...)
	}
	if cap(n.arena)-len(n.arena) < len(b) {
		n.arena = make([]byte, 0, arenaSize)
	}
	at := len(n.arena)
	n.arena = append(n.arena, b...)
	return n.arena[at:len(n.arena):len(n.arena)]
}

// transmit sends frames first to end-1 as one packet; with a Medium, frame by
// frame.
func (n *Network) transmit(l *link, lane int, first, end uint64) {
	if n.hasMedium() {
		n.queueAgain(l, lane, first, end)
		return
	}
	ln := &l.lanes[lane]
	weight := 0
	for seq := first; seq < end; seq++ {
		r := ln.at(seq)
		r.sentAt = n.now
		weight += int(r.weight)
	}
	ev := event{kind: evFrames, link: l, lane: uint8(lane), lo: first, hi: end, floor: ln.floor}
	if l.faults.Bandwidth > 0 {
		n.enqueue(l, ev)
		return
	}
	n.packet(l, ev)
	s := l.from.stats(l.to.rank)
	s.BytesSent += uint64(weight)
	s.DatagramsSent++
}

// packet puts an event that travels over a link on its way, or loses it.
func (n *Network) packet(l *link, ev event) { n.launch(l, ev, n.now, 1) }

// launch does that for what leaves at an instant and is cut into packets: what
// happens to one of them happens to all.
func (n *Network) launch(l *link, ev event, at int64, packets int) {
	f := l.faults
	l.from.wire += n.weight(&ev)
	if n.isCut(l.from, l.to) || f.Loss > 0 && n.rng.Float64() < anyOf(f.Loss, packets) {
		return
	}
	if f.Duplicate > 0 && n.rng.Float64() < anyOf(f.Duplicate, packets) {
		*n.q.push(n.arrival(l, &ev, at)) = ev
	}
	if f.Corrupt > 0 && n.rng.Float64() < anyOf(f.Corrupt, packets) {
		ev.corrupt = true
	}
	*n.q.push(n.arrival(l, &ev, at)) = ev
}

// weight is what an event is on the wire, in bytes: frames and rows with what comes
// before them, and that alone for everything else.
func (n *Network) weight(ev *event) (bytes uint64) {
	switch ev.kind {
	case evFrames:
		for seq := ev.lo; seq < ev.hi; seq++ {
			bytes += uint64(ev.link.lanes[ev.lane].at(seq).weight)
		}
	case evRow:
		bytes = uint64(len(ev.row.Sections)) + frameOverhead
	}
	return max(bytes, frameOverhead)
}

// arrival draws when something arrives that leaves at an instant.
func (n *Network) arrival(l *link, ev *event, at int64) int64 {
	at += n.drawDelay(l.faults)
	if !n.cfg.Medium.InOrder {
		return at
	}
	last := &l.last[fabric.Lanes]
	if ev.kind == evFrames {
		last = &l.last[ev.lane]
	}
	*last = max(*last, at)
	return *last
}

func (n *Network) drawDelay(f *Faults) int64 {
	d := int64(f.Delay)
	if f.Jitter > 0 {
		d += int64(n.rng.ExpFloat64() * float64(f.Jitter))
	}
	if f.Reorder > 0 && n.rng.Float64() < f.Reorder {
		d += int64(f.ReorderBy)
	}
	return d
}

// arm schedules a lane's timer, if it is not.
func (n *Network) arm(l *link, lane int, at int64) {
	ln := &l.lanes[lane]
	if ln.timing {
		return
	}
	ln.timing = true
	ev := n.schedule(min(at, ln.firstDeadline()), evTimer)
	ev.link, ev.lane = l, uint8(lane)
}

func (l *lane) firstDeadline() int64 {
	if l.floor == l.next {
		return 1<<63 - 1
	}
	return l.at(l.floor).deadline
}

// maxBackoff is how often the time between retransmissions doubles.
const maxBackoff = 4

func (n *Network) rto(backoff uint8) int64 {
	return min(int64(n.cfg.RetransmitAfter)<<min(backoff, maxBackoff), int64(n.cfg.TicketTimeout))
}

// timer gives up what is too old, and sends again what was not acked.
func (n *Network) timer(l *link, lane uint8) {
	ln := &l.lanes[lane]
	ln.timing = false
	if !l.up {
		return // raise arms it again
	}
	lost := false
	for ; ln.floor < ln.next; ln.floor++ {
		r := ln.at(ln.floor)
		if !r.resolved && r.deadline > n.now {
			break
		}
		if !r.resolved {
			l.resolve(int(lane), r, errTimedOut)
			lost = true
		}
	}
	ln.trim()
	n.retransmit(l, int(lane), n.now-n.rto(ln.backoff), lost)
	if ln.floor < ln.next || ln.told < ln.floor {
		n.arm(l, int(lane), n.now+n.rto(ln.backoff))
	}
	l.flush()
}

var errTimedOut = fabric.Lost(fabric.ErrTimeout)

// retransmit sends the frames again that were last sent at or before an
// instant and not acked, and tells the receiver of lost ones at the end.
func (n *Network) retransmit(l *link, lane int, before int64, lost bool) {
	ln, s := &l.lanes[lane], l.from.stats(l.to.rank)
	again := false
	for seq := ln.floor; seq < ln.next; {
		first := seq
		for seq < ln.next && ln.at(seq).needed(before) {
			ln.at(seq).again = true
			seq++
		}
		if seq > first {
			again = true
			s.Retransmissions++
			n.transmit(l, lane, first, seq)
			continue
		}
		seq++
	}
	if !again && (lost || ln.told < ln.floor && ln.floor == ln.next) {
		again = true
		n.transmit(l, lane, ln.next, ln.next) // carries the floor
	}
	if again && ln.backoff < maxBackoff {
		ln.backoff++
	}
}

// ack settles what a receiver has.
func (n *Network) ack(l *link, ev *event) {
	ln := &l.lanes[ev.lane]
	if ev.corrupt {
		l.from.stats(l.to.rank).Refused++
		return
	}
	l.from.stats(l.to.rank).DatagramsReceived++
	for seq := ln.floor; seq < min(ev.floor, ln.next); seq++ {
		n.acked(l, ln, ev.lane, seq)
	}
	// Behind a hole a frame is in memory but cannot be delivered if the sender
	// dies now: it is not sent again, and its ticket waits.
	for seq := max(ev.lo, ln.floor); seq < min(ev.hi, ln.next); seq++ {
		ln.at(seq).safe = true
	}
	for ln.floor < ln.next && ln.at(ln.floor).resolved {
		ln.floor++
	}
	if ev.floor > ln.told {
		ln.told, ln.backoff = ev.floor, 0
	}
	ln.trim()
	if ev.kick {
		ln.backoff = 0
		n.retransmit(l, int(ev.lane), n.now-1, false)
	}
	if ln.floor < ln.next || ln.told < ln.floor {
		n.arm(l, int(ev.lane), n.now+n.rto(ln.backoff))
	}
	l.flush()
}

// needed reports whether a frame has to be sent again that was last sent at or
// before an instant.
func (r *record) needed(before int64) bool { return !r.resolved && !r.safe && r.sentAt <= before }

func (n *Network) acked(l *link, ln *lane, lane uint8, seq uint64) {
	r := ln.at(seq)
	if r.resolved || !r.arrived {
		return
	}
	if !r.again {
		sample := n.now - r.sentAt
		if ln.rtt == 0 {
			ln.rtt = sample
		}
		ln.rtt += (sample - ln.rtt) / 8
	}
	l.resolve(int(lane), r, nil)
}
