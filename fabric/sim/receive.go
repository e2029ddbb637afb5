package sim

import (
	"github.com/raftdv/dv/fabric"
)

// accepts finds the session of a packet, and refuses those of earlier
// incarnations (D4).
func (n *Network) accepts(l *link) bool {
	p, back := l.to, l.back
	if p.out[l.from.rank] != back {
		if p.known[l.from.rank] != back {
			p.stats(l.from.rank).Refused++
			return false
		}
		n.adopt(back)
	}
	if !back.wasUp && n.reachable(back) {
		n.raise(back)
	}
	return true
}

// frames receives a packet of frames.
func (n *Network) frames(l *link, ev *event) {
	if !n.accepts(l) {
		return
	}
	s := l.to.stats(l.from.rank)
	if ev.corrupt {
		n.corrupted(l, ev)
		s.Refused++
		return
	}
	s.DatagramsReceived++
	ln := &l.lanes[ev.lane]
	ln.floorIn = max(ln.floorIn, ev.floor)
	end := n.take(l, ln, ev.lo, ev.hi)
	ln.advance()
	n.drain(l)
	n.sendAck(l, ev.lane, ev.lo, end, false)
}

// take puts frames into the receiver's memory until it is full, and returns the
// first that did not fit.
func (n *Network) take(l *link, ln *lane, lo, hi uint64) uint64 {
	s := l.to.stats(l.from.rank)
	for seq := max(lo, ln.missing); seq < hi; seq++ {
		r := ln.at(seq)
		if r.arrived {
			continue
		}
		// A frame that fills the hole which all others wait behind always fits:
		// memory is bounded by QueueBytes and one frame.
		hole := seq == ln.missing && ln.expected == ln.missing
		if ln.in+int(r.weight) > n.cfg.QueueBytes && !hole {
			ln.refused = true
			return seq
		}
		r.arrived = true
		ln.in += int(r.weight)
		s.BytesReceived += uint64(r.weight)
	}
	return hi
}

// advance moves missing past what arrived and what was given up.
func (l *lane) advance() {
	for l.missing < l.next && (l.at(l.missing).arrived || l.missing < l.floorIn) {
		l.missing++
	}
}

func (n *Network) sendAck(l *link, lane uint8, lo, hi uint64, kick bool) {
	l.to.stats(l.from.rank).DatagramsSent++
	if n.hasMedium() {
		n.queueAck(l, lane, lo, hi, kick)
		return
	}
	n.packet(l.back, event{kind: evAck, link: l, lane: lane, lo: lo, hi: hi, floor: l.lanes[lane].missing, kick: kick})
}

// maxBatch bounds the frames of one Deliver: those of a more urgent lane wait
// no longer than for that many.
const maxBatch = 64

// drain delivers what is in memory: the row, then the lanes in their order. The
// calls about one peer are never nested.
func (n *Network) drain(l *link) {
	p := l.to
	if l.inside || p.dead || p.paused || p.out[l.from.rank] != l.back {
		return
	}
	l.inside = true
	for p.stalls == 0 && !p.dead && n.now >= l.busyUntil && n.deliver(l) {
	}
	l.inside = false
	if l.busyUntil > n.now && !l.draining {
		l.draining = true
		n.schedule(l.busyUntil, evDrain).link = l
	}
}

// deliver makes one call of the handler, if there is a reason.
func (n *Network) deliver(l *link) bool {
	if l.paid.frames > 0 {
		return n.deliverPaid(l)
	}
	if l.rowIn != nil {
		return n.deliverRow(l)
	}
	for i := range l.lanes {
		if ln := &l.lanes[i]; ln.expected < ln.missing {
			return n.deliverLane(l, ln, i, maxBatch)
		}
	}
	return false
}

func (n *Network) deliverRow(l *link) bool {
	if n.charge(l, claim{frames: 1, row: true}) {
		return false
	}
	row := l.rowIn
	l.rowIn = nil
	l.to.h.Row(l.from.m.id, *row)
	return true
}

// deliverLane hands over a gap, or up to limit frames.
func (n *Network) deliverLane(l *link, ln *lane, i, limit int) bool {
	s := &l.to.stats(l.from.rank).Lane[i]
	if gap := n.nextGap(l, ln, fabric.Lane(i)); gap.Count > 0 {
		s.Gaps += gap.Count
		ln.trim()
		n.mix(gap.First<<8 | uint64(i))
		n.mix(gap.Count)
		l.to.h.Gap(l.from.m.id, gap)
		return true
	}
	if n.charge(l, claim{frames: ln.deliverable(limit), lane: i}) {
		return false
	}
	l.frames = l.frames[:0]
	n.wire = n.wire[:0]
	for len(l.frames) < limit && ln.expected < ln.missing {
		r := ln.at(ln.expected)
		if !r.arrived || r.kind == fabric.KindVoid {
			break
		}
		l.frames = append(l.frames, n.frame(l, r, fabric.Lane(i), ln.expected))
		ln.in -= int(r.weight)
		ln.expected++
	}
	s.Delivered += uint64(len(l.frames))
	n.mixDelivered(l.frames)
	l.busyUntil = n.now + int64(l.faults.Handling)*int64(len(l.frames))
	l.to.h.Deliver(l.from.m.id, l.frames)
	ln.trim()
	n.roomAgain(l, ln, i)
	return true
}

// deliverable is how many frames come next, without a gap, up to limit.
func (l *lane) deliverable(limit int) (count int) {
	for seq := l.expected; count < limit && seq < l.missing; seq++ {
		if r := l.at(seq); !r.arrived || r.kind == fabric.KindVoid {
			break
		}
		count++
	}
	return count
}

// roomAgain asks for what was refused.
func (n *Network) roomAgain(l *link, ln *lane, i int) {
	if ln.refused && ln.in < n.cfg.QueueBytes/2 {
		ln.refused = false
		n.sendAck(l, uint8(i), ln.missing, ln.missing, true)
	}
}

// nextGap takes the gap that comes next, of frames that never arrive or of a
// void; its Count is 0 if a frame comes next.
func (n *Network) nextGap(l *link, ln *lane, lane fabric.Lane) fabric.Gap {
	gap := fabric.Gap{Lane: lane, First: ln.expected}
	if r := ln.at(ln.expected); r.arrived && r.kind == fabric.KindVoid {
		gap.Count = 1
		ln.in -= int(r.weight)
		ln.expected++
		return gap
	}
	for ln.expected < ln.missing && !ln.at(ln.expected).arrived {
		gap.Count++
		ln.expected++
	}
	return gap
}

// frame builds what the handler is given; with Config.Wire by way of the wire.
func (n *Network) frame(l *link, r *record, lane fabric.Lane, seq uint64) fabric.Frame {
	f := fabric.Frame{
		Header: fabric.Header{
			Kind: r.kind, Class: r.class, Lane: lane, BodyLen: uint32(len(r.body)), Link: seq, Stream: r.stream, Stamp: r.stamp,
		},
		Patch: r.patch, Body: r.body,
	}
	if !r.stamp.IsZero() {
		f.Has |= fabric.HasStamp
	}
	if len(r.patch) > 0 {
		f.Has |= fabric.HasPatch
	}
	if n.cfg.Wire {
		return n.overWire(&f)
	}
	return f
}
