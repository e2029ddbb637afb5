package sim

import "github.com/raftdv/dv/fabric"

// transmitter is the bottleneck of a link with limited bandwidth. A frame waits
// in it at most once, so that it is bounded as the lanes are.
type transmitter struct {
	lanes [fabric.Lanes][]event
	busy  bool
}

// never is when a frame was sent that still waits for the wire.
const never = 1<<63 - 1

// enqueue lets packets wait for the wire, frame by frame: an urgent lane waits
// for one frame at most.
func (n *Network) enqueue(l *link, ev event) {
	ln := &l.lanes[ev.lane]
	if ev.lo == ev.hi {
		n.packet(l, ev)
		return
	}
	for seq := ev.lo; seq < ev.hi; seq++ {
		ln.at(seq).sentAt = never
		one := ev
		one.lo, one.hi = seq, seq+1
		l.tx.lanes[ev.lane] = append(l.tx.lanes[ev.lane], one)
	}
	if !l.tx.busy {
		n.nextTx(l)
	}
}

// nextTx puts the most urgent frame on the wire.
func (n *Network) nextTx(l *link) {
	for i := range l.tx.lanes {
		for q := l.tx.lanes[i]; len(q) > 0; q = l.tx.lanes[i] {
			ev := q[0]
			l.tx.lanes[i] = q[1:]
			ln := &l.lanes[i]
			if ev.lo < ln.base || ln.at(ev.lo).resolved {
				continue // given up or acked meanwhile
			}
			weight := int64(ln.at(ev.lo).weight)
			l.tx.busy = true
			done := n.schedule(n.now+weight*1e9/int64(l.faults.Bandwidth), evSent)
			*done = ev
			done.kind = evSent
			s := l.from.stats(l.to.rank)
			s.BytesSent += uint64(weight)
			s.DatagramsSent++
			return
		}
	}
	l.tx.busy = false
}

// sent: a frame has left the bottleneck.
func (n *Network) sent(l *link, ev *event) {
	ln := &l.lanes[ev.lane]
	if ev.lo >= ln.base {
		ln.at(ev.lo).sentAt = n.now
	}
	if !l.from.dead {
		n.nextTx(l)
	}
	out := *ev
	out.kind = evFrames
	out.floor = ln.floor
	n.packet(l, out)
}
