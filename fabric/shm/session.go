package shm

import (
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// session is one meeting of two members: two segments and the connection that
// tells when the other process has gone. What is under "out" is guarded by the
// peer's mu, what is under "in" belongs to whoever holds the right to call the
// handler about the peer.
type session struct {
	conn        *net.UnixConn
	incarnation uint64

	own, far *memory // the segment that the peer writes, the one at the peer
	bellMem  *memory
	bell     ringer // the peer's
	// refs counts who still uses the memory: the peer while this is its
	// session, and the goroutine that hands over what came.
	refs atomic.Int32

	// out
	shape geometry // of far
	lane  [fabric.Lanes]outLane
	row   rowWriter
	// rowAt is when the bell has to be rung for a row, 0: not at all.
	rowAt time.Duration
	ended bool
	why   error
	drain bool // what is in the rings is still handed over

	// in
	start [fabric.Lanes]uint64 // link sequences of the peer's first frames
	in    [fabric.Lanes]inLane
	rows  rowReader
	turns int // of the lanes below control
	left  int // slots that may still be taken in when the session has ended
}

// outLane is what is on its way to the peer.
type outLane struct {
	ring    ringWriter
	entries fifo
	// The peer rings when it has taken in the slots up to asked. The last frame
	// with a ticket ends at ticketed.
	asked, ticketed uint64
	sampled         time.Duration // when a frame without a ticket was last asked for
}

// inLane is what comes from the peer.
type inLane struct {
	ring      ringReader
	published uint64 // slots that the peer was told of
	answered  uint64 // the last question, see outLane
	part      partial
}

// newSession lays the rings over the memory of both. shape is that of far.
func newSession(conn *net.UnixConn, own, far, bellMem *memory, e event, mine geometry, h *hello) *session {
	s := &session{
		conn: conn, incarnation: h.fromInc, own: own, far: far, bellMem: bellMem, shape: h.shape, start: h.next,
		row: rowWriter{segment: far.b}, rows: rowReader{segment: own.b},
	}
	s.bell.attach(bellMem, e)
	s.refs.Store(1)
	for i := range s.lane {
		s.lane[i].ring = newRingWriter(h.shape.ring(far.b, i), h.shape.slot)
		s.in[i].ring = newRingReader(mine.ring(own.b, i), mine.slot)
		s.left += mine.slots[i]
	}
	return s
}

func (s *session) retain() { s.refs.Add(1) }

func (s *session) release() {
	if s.refs.Add(-1) == 0 {
		s.own.release()
		s.far.release()
		s.bellMem.release()
		s.bell.event.close()
	}
}

// hasWork reports whether something waits to be handed over.
func (s *session) hasWork() bool {
	for i := range s.in {
		if s.in[i].ring.ready() {
			return true
		}
	}
	return s.rows.news()
}

// publish gives credit for what was taken in, and reports whether the peer asked
// to be rung for it.
func (s *session) publish() (ring bool) {
	for i := range s.in {
		l := &s.in[i]
		if l.published == l.ring.tail {
			continue
		}
		l.published = l.ring.tail
		word64(s.far.b, i*line).Store(l.ring.tail)
		if asked := word64(s.own.b, i*line+askedAt).Load(); asked > l.answered && asked <= l.ring.tail {
			l.answered, ring = asked, true
		}
	}
	return ring
}

// collect takes the credit that the peer has given and settles the tickets of
// the frames that it is for; what somebody has to be told is appended to
// settled. The peer's mu is held.
func (s *session) collect(now time.Duration, pe *peer, settled []fabric.Resolution) (_ []fabric.Resolution, err error) {
	for i := range s.lane {
		if settled, err = s.collectLane(i, now, pe, settled); err != nil {
			return settled, fmt.Errorf("%v lane: %w", fabric.Lane(i), err)
		}
	}
	return settled, nil
}

func (s *session) collectLane(i int, now time.Duration, pe *peer, settled []fabric.Resolution) ([]fabric.Resolution, error) {
	l := &s.lane[i]
	for {
		if err := l.ring.credit(word64(s.own.b, i*line).Load()); err != nil {
			return settled, err
		}
		for l.entries.n > 0 && l.entries.first().end <= l.ring.taken {
			settled = pe.acked(now, i, l.entries.pop(), settled)
		}
		if l.asked > l.ring.taken || l.ticketed <= l.ring.taken {
			return settled, nil
		}
		// Credit may have come between the look and the question: look again.
		s.ask(i, l.ticketed)
	}
}

// ask wants to be rung when the slots up to end are taken in. An answer that is
// due is not put off: there is one question at a time in a lane.
func (s *session) ask(lane int, end uint64) {
	s.lane[lane].asked = end
	word64(s.far.b, lane*line+askedAt).Store(end)
}

// expire loses the tickets whose time is up, and returns when to look again.
func (s *session) expire(now, timeout time.Duration, pe *peer) (next time.Duration) {
	next = never
	for i := range s.lane {
		l := &s.lane[i]
		for l.entries.n > 0 {
			if at := l.entries.first().at + timeout; at > now {
				next = min(next, at)
				break
			}
			pe.lost(i, l.entries.pop(), fabric.ErrTimeout)
		}
	}
	return next
}

// entry is a frame that was written and not taken in.
type entry struct {
	ticket uint64
	end    uint64 // slots written in the lane after it
	at     time.Duration
	slots  int
	asked  bool // its end is asked for: the answer comes at once
}

// fifo holds at most as many entries as the ring has slots, and grows to what
// is used.
type fifo struct {
	ring  []entry // length: a power of two
	at, n int
	slots int
}

func (q *fifo) first() *entry { return &q.ring[q.at] }

func (q *fifo) pop() entry {
	e := q.ring[q.at]
	q.at = (q.at + 1) & (len(q.ring) - 1)
	q.n--
	q.slots -= e.slots
	return e
}

func (q *fifo) push(e entry) {
	if q.n == len(q.ring) {
		grown := make([]entry, max(2*len(q.ring), 16))
		for i := range q.n {
			grown[i] = q.ring[(q.at+i)&(len(q.ring)-1)]
		}
		q.ring, q.at = grown, 0
	}
	q.ring[(q.at+q.n)&(len(q.ring)-1)] = e
	q.n++
	q.slots += e.slots
}
