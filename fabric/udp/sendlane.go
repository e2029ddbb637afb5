package udp

import (
	"math/bits"
	"time"

	"github.com/raftdv/dv/fabric"
)

// firstLink is the link sequence of a lane's first frame.
const firstLink = 1

// minRing is the least size of a send ring in bytes; it grows by doubling.
const minRing = 1 << 14

// queuedFrame is a frame that was accepted and is not settled.
type queuedFrame struct {
	end    uint64 // offset behind its last byte
	ticket uint64
	at     int64 // when it was accepted
}

// sendLane is the sending half of a lane: an ordered byte stream of frames.
//
// Invariants (check tests them):
//
//	base ≤ next ≤ end ≤ base + bound     F3
//	acked and lost lie within (base, next) and are disjoint
//	frames are in order; once the skip is acked, each end is above base
type sendLane struct {
	lane      fabric.Lane
	bound     uint64 // bytes that may be queued
	maxFrames int

	ring  []byte // holds [base, end) at offset modulo length, a power of two
	base  uint64 // everything below is acknowledged or given up
	next  uint64 // first byte that was never sent
	end   uint64 // first byte that is not accepted
	limit uint64 // the receiver takes what is below

	acked  spans
	lost   spans // to be sent again
	frames fifo[queuedFrame]
	link   uint64 // of the next frame to accept

	// Below skip nothing is sent any more; the lane goes on there with frame
	// skipLink. The receiver is told until it acknowledges.
	skip, skipLink uint64
	skipSent       bool
	skipAcked      bool

	stats fabric.LaneStats
}

func (l *sendLane) init(lane fabric.Lane, bound, frames int) {
	l.lane, l.bound, l.maxFrames = lane, uint64(bound), frames
	l.link, l.skipAcked = firstLink, true
}

// resume continues the numbering of a former session. Offset 0 is skipped: so
// the receiver learns of frames that were lost in between.
func (l *sendLane) resume(link uint64) {
	if link <= firstLink {
		return
	}
	l.link, l.base, l.next, l.end = link, 1, 1, 1
	l.skip, l.skipLink, l.skipAcked = 1, link, false
}

// room is the number of bytes that may be accepted.
func (l *sendLane) room() uint64 {
	queued := l.end - l.base
	if l.frames.len() >= l.maxFrames || l.limit <= l.end || queued >= l.bound {
		return 0
	}
	return min(l.limit-l.end, l.bound-queued)
}

// accept encodes a frame into the stream, or reports that there is no credit.
func (l *sendLane) accept(h *fabric.Header, patch, body []byte, ticket uint64, now int64, scratch *[]byte) bool {
	size := uint64(fabric.FrameSize(h, patch, body))
	if size > l.room() {
		l.stats.NoCredit++
		return false
	}
	if l.end-l.base+size > uint64(len(l.ring)) {
		l.grow(l.end - l.base + size)
	}
	h.Link = l.link
	at := l.end & uint64(len(l.ring)-1)
	if tail := l.ring[at:]; uint64(len(tail)) >= size {
		fabric.AppendFrame(tail[:0:size], h, patch, body)
	} else {
		*scratch = fabric.AppendFrame((*scratch)[:0], h, patch, body)
		copy(l.ring, (*scratch)[copy(tail, *scratch):])
	}
	l.end += size
	l.link++
	l.frames.push(queuedFrame{end: l.end, ticket: ticket, at: now})
	l.stats.Sent++
	return true
}

func (l *sendLane) grow(need uint64) {
	ring := make([]byte, max(minRing, 1<<bits.Len64(need-1)))
	if l.end > l.base {
		// The bytes keep their offsets; their places change.
		for at := l.base; at < l.end; {
			src := l.view(at, l.end-at)
			to := ring[at&uint64(len(ring)-1):]
			at += uint64(copy(to, src))
		}
	}
	l.ring = ring
}

// view returns the longest piece of [offset, offset+n) that is in one place.
func (l *sendLane) view(offset, n uint64) []byte {
	at := offset & uint64(len(l.ring)-1)
	return l.ring[at:min(at+n, uint64(len(l.ring)))]
}

// pending reports whether bytes wait to be sent, for the first or another time.
func (l *sendLane) pending() bool { return l.next < l.end || len(l.lost) > 0 }

// pendingBytes counts them.
func (l *sendLane) pendingBytes() uint64 {
	n := l.end - l.next
	for _, s := range l.lost {
		n += s.hi - s.lo
	}
	return n
}

// take chooses what to send next, at most n bytes, lost bytes first, and
// appends it to dst.
func (l *sendLane) take(dst []byte, n int) ([]byte, piece) {
	offset, size := l.next, min(uint64(n), l.end-l.next)
	if len(l.lost) > 0 {
		s := l.lost[0]
		offset, size = s.lo, min(uint64(n), s.hi-s.lo)
		l.lost.remove(offset, offset+size)
	} else {
		l.next += size
	}
	dst = appendStreamHead(dst, l.lane, offset, int(size))
	for at, left := offset, size; left > 0; {
		v := l.view(at, left)
		dst = append(dst, v...)
		at, left = at+uint64(len(v)), left-uint64(len(v))
	}
	return dst, piece{offset: offset, n: uint32(size), lane: l.lane}
}

// onAcked takes a piece that the receiver has, and settles the frames that are
// complete. Frames settle in order.
func (l *sendLane) onAcked(p piece, now int64, to fabric.MemberID, out []fabric.Resolution) []fabric.Resolution {
	lo, hi := max(p.offset, l.base), p.offset+uint64(p.n)
	if lo >= hi {
		return out
	}
	l.lost.remove(lo, hi)
	if lo > l.base {
		l.acked.add(lo, hi)
		return out
	}
	l.base = l.acked.join(hi)
	return l.settle(now, to, out)
}

// settle resolves the frames below base as acked (F2). While the receiver may
// not know of a skip before them they wait: it cannot hand them over yet, and
// might be told of a skip behind them first.
func (l *sendLane) settle(now int64, to fabric.MemberID, out []fabric.Resolution) []fabric.Resolution {
	for l.skipAcked && l.frames.len() > 0 && l.frames.front().end <= l.base {
		f := l.frames.front()
		l.stats.Acked++
		l.sampleRTT(time.Duration(now - f.at))
		if f.ticket != 0 {
			out = append(out, fabric.Resolution{To: to, Ticket: f.ticket, Lane: l.lane})
		}
		l.frames.pop()
	}
	return out
}

func (l *sendLane) sampleRTT(d time.Duration) {
	if l.stats.RTT == 0 {
		l.stats.RTT = d
	}
	l.stats.RTT += (d - l.stats.RTT) / 8
}

// onLost takes a piece that was probably lost.
func (l *sendLane) onLost(p piece) {
	lo, hi := max(p.offset, l.base), min(p.offset+uint64(p.n), l.next)
	if lo < hi {
		l.lost.addWithout(lo, hi, l.acked)
	}
}

// expire gives up the frames that were accepted before since and are not
// acknowledged: they are lost (F2), and the receiver will see a gap (F1).
func (l *sendLane) expire(since, now int64, why error, to fabric.MemberID, out []fabric.Resolution) []fabric.Resolution {
	for l.frames.len() > 0 && l.frames.front().at <= since {
		f := *l.frames.front()
		l.frames.pop()
		l.stats.Lost++
		out = append(out, fabric.Resolution{To: to, Ticket: f.ticket, Lane: l.lane, Err: why})
		l.skip, l.skipLink = f.end, l.link-uint64(l.frames.len())
		l.skipSent, l.skipAcked = false, false
	}
	l.base, l.next = max(l.base, l.skip), max(l.next, l.skip)
	l.lost.remove(0, l.base)
	l.base = l.acked.join(l.base)
	return out
}

// onSkipAcked notes that the receiver knows that the lane goes on at offset.
func (l *sendLane) onSkipAcked(offset uint64, now int64, to fabric.MemberID, out []fabric.Resolution) []fabric.Resolution {
	if offset != l.skip {
		return out
	}
	l.skipAcked = true
	return l.settle(now, to, out)
}

// onSkipLost has the skip sent again.
func (l *sendLane) onSkipLost(offset uint64) {
	if offset == l.skip && !l.skipAcked {
		l.skipSent = false
	}
}

// snapshot completes the counters.
func (l *sendLane) snapshot(s *fabric.LaneStats) {
	*s = l.stats
	s.Queued, s.QueuedBytes = l.frames.len(), int(l.end-l.base)
	s.CreditBytes = int(l.room())
}
