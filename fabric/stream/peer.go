package stream

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/raftdv/dv/fabric"
)

// peer is what a port keeps of one peer across connections.
type peer struct {
	p     *Port
	id    fabric.MemberID
	send  atomic.Pointer[sendConn] // written under mu
	heard atomic.Int64             // when its transport loop was last heard; 0: never
	stats peerStats
	// withheld: the peer is not sent the row.
	withheld atomic.Bool

	// right to call Deliver, Gap, Row and Link about this peer: whoever put
	// something in holds it.
	right chan struct{}
	rx    rxState // of whoever has the right

	mu          sync.Mutex // guards the fields below
	removed     bool
	incarnation uint64 // newest that was seen
	recv        *recvConn
	epoch       uint64               // of our link to this incarnation
	next        [fabric.Lanes]uint64 // sequences, while no send connection is attached
	sent        [fabric.Lanes]uint64 // frames accepted on earlier connections
	events      []fabric.LinkState   // not told to the handler yet; at most two
	telling     bool                 // a goroutine tells them
}

// rxState is what the receiver of a link knows of it.
type rxState struct {
	incarnation uint64
	epoch       uint64
	expected    [fabric.Lanes]uint64
	row         fabric.Row // without sections
}

func newPeer(p *Port, id fabric.MemberID) *peer {
	q := &peer{p: p, id: id, right: make(chan struct{}, 1)}
	q.restartLink()
	return q
}

// restartLink starts sequences anew: for another incarnation of the peer, or
// another link to it.
func (q *peer) restartLink() {
	q.epoch = q.p.epochs.Add(1)
	for l := range q.next {
		q.next[l] = 1
	}
}

// admit checks who has connected; a new incarnation ends all that the older one
// had. mu is held.
func (q *peer) admit(s *Session) error {
	switch {
	case q.p.closed.Load():
		return fabric.ErrClosed
	case q.removed:
		return fabric.ErrUnknownPeer
	case s.PeerIncarnation == 0:
		return fmt.Errorf("%w: incarnation 0 of peer %s", ErrStaleIncarnation, q.id)
	case s.PeerIncarnation < q.incarnation:
		return fmt.Errorf("%w: peer %s has incarnation %d, this is %d", ErrStaleIncarnation, q.id, q.incarnation, s.PeerIncarnation)
	case s.PeerIncarnation == q.incarnation:
		return nil
	}
	if q.incarnation != 0 {
		q.dropSend(ErrRestarted)
		if q.recv != nil {
			q.recv.retire(ErrRestarted)
			q.recv = nil
		}
		q.restartLink()
	}
	q.incarnation = s.PeerIncarnation
	return nil
}

// dropSend ends the send connection, if there is one. mu is held.
func (q *peer) dropSend(why error) {
	c := q.send.Load()
	if c == nil {
		return
	}
	c.retire(why)
	q.keepSequences(c)
	q.send.Store(nil)
	if !q.p.closed.Load() {
		q.tell(fabric.LinkState{Incarnation: q.incarnation, Err: &EndError{q.id, Sending, why}})
	}
}

// keepSequences takes over where a retired connection has left off. mu is held.
func (q *peer) keepSequences(c *sendConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for l := range c.lanes {
		q.next[l] = c.lanes[l].next
		q.sent[l] += c.lanes[l].next - c.lanes[l].first
	}
}

// detachSend is called by a connection that has failed.
func (q *peer) detachSend(c *sendConn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.send.Load() != c {
		return
	}
	q.keepSequences(c)
	q.send.Store(nil)
	if !q.p.closed.Load() {
		q.tell(fabric.LinkState{Incarnation: q.incarnation, Err: c.failed})
	}
}

func (q *peer) attachSend(s Session, conn net.Conn, buffered []byte) (*sendConn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.admit(&s); err != nil {
		return nil, err
	}
	if old := q.send.Load(); old != nil {
		old.retire(ErrReplaced)
		q.keepSequences(old)
	}
	c := newSendConn(q, s, conn, q.next)
	q.send.Store(c)
	q.p.wg.Go(c.writeLoop)
	q.p.wg.Go(func() { c.readAcks(buffered) })
	c.wake <- struct{}{}
	q.tell(fabric.LinkState{Up: true, Incarnation: q.incarnation})
	return c, nil
}

func (q *peer) attachReceive(s Session, conn net.Conn, buffered []byte) (*recvConn, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.admit(&s); err != nil {
		return nil, err
	}
	if q.recv != nil {
		q.recv.retire(ErrReplaced)
	}
	c := newRecvConn(q, s, conn, buffered)
	q.recv = c
	q.p.wg.Go(c.readLoop)
	q.p.wg.Go(c.ackLoop)
	return c, nil
}

func (q *peer) detachReceive(c *recvConn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.recv == c {
		q.recv = nil
	}
}

// end drops everything; for RemovePeer and Close.
func (q *peer) end(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.removed = true
	q.dropSend(why)
	if q.recv != nil {
		q.recv.retire(why)
		q.recv = nil
	}
}

// maxEvents is that the link went down, and that it is up again.
const maxEvents = 2

// tell queues a change of the link for the handler. What the handler has not
// heard of is merged, so that the queue is bounded: it keeps that the link was
// down in between. mu is held.
func (q *peer) tell(s fabric.LinkState) {
	switch n := len(q.events); {
	case n > 0 && q.events[n-1].Up == s.Up:
		q.events[n-1] = s
	case n == maxEvents:
		copy(q.events, q.events[1:])
		q.events[n-1] = s
	default:
		q.events = append(q.events, s)
	}
	if !q.telling {
		q.telling = true
		q.p.wg.Go(q.tellAll)
	}
}

// tellAll calls Link for all that is queued.
func (q *peer) tellAll() {
	for {
		select {
		case q.right <- struct{}{}:
		case <-q.p.stop:
			return
		}
		q.mu.Lock()
		if len(q.events) == 0 || q.p.closed.Load() {
			q.telling = false
			q.mu.Unlock()
			<-q.right
			return
		}
		s := q.events[0]
		q.events = q.events[:copy(q.events, q.events[1:])]
		q.mu.Unlock()
		q.p.h.Link(q.id, s)
		<-q.right
	}
}
