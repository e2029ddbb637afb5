package udp

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/raftdv/dv/fabric"
)

const (
	// preludeLen is the part of a frame that says how long it is, linkAt where
	// it has its link sequence, kindAt its kind. They are fixed by the frame format's version.
	preludeLen = 32
	kindAt     = 6
	linkAt     = 16

	// maxHoles bounds the separate pieces that a lane keeps beyond its first
	// missing byte, maxSkips the skips that wait for a slow handler. A packet
	// that would exceed them is dropped unacknowledged.
	maxHoles = 1024
	maxSkips = 16
)

// skipMark is a place where the stream goes on: bytes at to next and frame
// link follow those before at.
type skipMark struct{ at, to, link uint64 }

// recvLane is the receiving half of a lane. Frames are handed over straight
// from the datagram where possible; what is incomplete, out of order, or comes
// while the handler is busy is kept in buf.
//
// Invariants (check tests them):
//
//	done ≤ taken ≤ contig ≤ limit = done + window at the last statement   F3
//	bytes kept: [taken, contig) without skipped ones, and holes beyond
//	link is the sequence of the frame at taken                            F1
type recvLane struct {
	lane   fabric.Lane
	window uint64
	body   int // largest patch and body

	limit  uint64 // the sender may send what is below
	contig uint64 // all below came, or was given up by the sender
	taken  uint64 // all below was handed over
	done   uint64 // all below was handed over, and the handler has returned
	link   uint64

	buf    []byte // bytes from offset at on, with holes
	at     uint64
	pinned bool // the handler reads buf
	holes  spans
	skips  fifo[skipMark]

	delivered, gaps uint64
}

func (l *recvLane) init(lane fabric.Lane, window, body int) {
	l.lane, l.window, l.body = lane, uint64(window), body
	l.limit, l.link = l.window, firstLink
}

// fits reports whether a piece may be added: within the credit, and not one
// hole too many.
func (l *recvLane) fits(offset uint64, n int) verdict {
	if offset > l.limit || uint64(n) > l.limit-offset {
		return badContent
	}
	if offset > l.contig && len(l.holes) >= maxHoles {
		return noRoom
	}
	return accepted
}

// add takes a piece of the stream that fits. If direct, whole frames are
// handed over from data.
func (l *recvLane) add(offset uint64, data []byte, direct bool, ev *events) error {
	hi := offset + uint64(len(data))
	if hi <= l.contig {
		return nil // had it
	}
	if offset > l.contig {
		l.place(offset, data)
		l.holes.add(offset, hi)
		return nil
	}
	data = data[l.contig-offset:]
	var err error
	if direct && l.skips.len() == 0 {
		err = l.addDirect(data, ev)
	} else {
		l.place(l.contig, data)
		l.contig = hi
	}
	l.contig = l.holes.join(l.contig)
	return err
}

// addDirect takes the bytes at contig while no skip waits. The start of one
// frame may be in buf: it is completed there, the rest stays where it is.
func (l *recvLane) addDirect(data []byte, ev *events) error {
	for {
		if err := l.take(ev, noLimit); err != nil {
			return err
		}
		if l.taken == l.contig || len(data) == 0 {
			break
		}
		n, err := l.missing()
		if err != nil {
			return err
		}
		n = min(n, len(data))
		l.place(l.contig, data[:n])
		l.contig += uint64(n)
		data = data[n:]
	}
	n, count, err := l.scan(data, noLimit)
	if err != nil {
		return err
	}
	if count > 0 {
		l.contig += uint64(n)
		l.hand(data[:n], count, ev)
	}
	if n < len(data) {
		l.place(l.contig, data[n:])
		l.contig += uint64(len(data) - n)
	}
	return nil
}

// missing is the number of bytes without which the frame at taken, or its
// length, is not known.
func (l *recvLane) missing() (int, error) {
	part := l.buf[l.taken-l.at : l.contig-l.at]
	if len(part) < preludeLen {
		return preludeLen - len(part), nil
	}
	n, err := fabric.FrameLen(part, l.body)
	return n - len(part), err
}

// noLimit of frames.
const noLimit = math.MaxInt

// scan finds the whole frames at the start of b, at most limit.
func (l *recvLane) scan(b []byte, limit int) (n, count int, err error) {
	for count < limit && len(b)-n >= preludeLen {
		size, err := fabric.FrameLen(b[n:], l.body)
		if err != nil {
			return n, count, err
		}
		if size > len(b)-n {
			break
		}
		if link := binary.LittleEndian.Uint64(b[n+linkAt:]); link != l.link+uint64(count) {
			return n, count, fmt.Errorf("%v lane has frame %d where %d is due", l.lane, link, l.link+uint64(count))
		}
		if b[n+kindAt] == byte(fabric.KindVoid) { // is handed over as a gap
			l.delivered--
			l.gaps++
		}
		n += size
		count++
	}
	return n, count, nil
}

func (l *recvLane) hand(b []byte, count int, ev *events) {
	ev.frames(l.lane, b, l.link, count)
	l.taken += uint64(len(b))
	l.link += uint64(count)
	l.delivered += uint64(count)
}

// skipTo takes the sender's word that it gave up what is missing below offset,
// and that frame link follows there.
func (l *recvLane) skipTo(offset, link uint64) {
	if offset <= l.contig {
		return // nothing was missing
	}
	if n := l.skips.len(); n > 0 && l.skips.at(n-1).to == l.contig {
		s := l.skips.at(n - 1)
		s.to, s.link = offset, link
	} else {
		l.skips.push(skipMark{at: l.contig, to: offset, link: link})
	}
	l.contig = l.holes.join(offset)
}

// take hands over what is whole in buf, at most limit frames, and gaps in their
// places.
func (l *recvLane) take(ev *events, limit int) error {
	for limit > 0 {
		end := l.contig
		if l.skips.len() > 0 {
			end = l.skips.front().at
		}
		if l.taken < end {
			b := l.buf[l.taken-l.at : end-l.at]
			n, count, err := l.scan(b, limit)
			if err != nil {
				return err
			}
			if count > 0 {
				l.pinned = true
				l.hand(b[:n], count, ev)
			}
			if limit -= count; limit == 0 {
				return nil
			}
		}
		if l.skips.len() == 0 {
			return nil
		}
		s := *l.skips.front()
		l.skips.pop()
		if s.link < l.link {
			return fmt.Errorf("%v lane goes back from frame %d to %d", l.lane, l.link, s.link)
		}
		l.taken = s.to
		if s.link > l.link {
			l.gaps += s.link - l.link
			ev.gap(fabric.Gap{Lane: l.lane, First: l.link, Count: s.link - l.link})
			l.link = s.link
		}
	}
	return nil
}

// release notes that the handler has returned: what was taken is credit again.
func (l *recvLane) release() { l.done, l.pinned = l.taken, false }

// owed is the credit that the sender does not know of.
func (l *recvLane) owed() uint64 { return l.done + l.window - l.limit }

// grant raises the limit as far as the window allows and returns it.
func (l *recvLane) grant() uint64 {
	l.limit = l.done + l.window
	return l.limit
}

// place stores bytes at an offset not below taken.
func (l *recvLane) place(offset uint64, data []byte) {
	if l.taken == l.contig && len(l.holes) == 0 && !l.pinned {
		l.buf, l.at = l.buf[:0], l.contig // nothing is kept
	}
	need := int(offset-l.at) + len(data)
	if need > cap(l.buf) {
		l.move(&need)
	}
	if need > len(l.buf) {
		l.buf = l.buf[:need]
	}
	copy(l.buf[offset-l.at:], data)
}

// move makes room for need bytes by dropping those that were taken. The buffer
// is at most twice the window, so that bytes are moved once per window.
func (l *recvLane) move(need *int) {
	live := l.buf[min(l.taken-l.at, uint64(len(l.buf))):]
	*need -= int(l.taken - l.at)
	to := l.buf[:0]
	if half := *need > cap(l.buf)/2; l.pinned || half && cap(l.buf) < int(2*l.window) || *need > cap(l.buf) {
		to = make([]byte, 0, max(*need, min(1<<bits.Len(uint(2**need-1)), int(2*l.window))))
	}
	l.buf = to[:copy(to[:cap(to)], live)]
	l.at = l.taken
}
