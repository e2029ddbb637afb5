package shm

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/raftdv/dv/fabric"
)

// never is later than any time.
const never = time.Duration(math.MaxInt64)

// peer is what a port knows of one member. mu guards everything in it but what
// belongs to the holder of the right; it is never held while a handler works.
type peer struct {
	port *Port
	id   fabric.MemberID

	mu       sync.Mutex
	want     *wanted  // nil: not connected
	sess     *session // nil: the peer is not met
	why      error    // why it is not
	shut     bool     // the gate
	withheld bool     // the row is not written
	closed   bool

	// busy: a goroutine has the right to call the handler about this peer.
	busy bool
	row  []byte // newest that is to be published, encoded; empty: none
	// owed are tickets that nobody was told of yet.
	owed []fabric.Resolution

	// Frames between two incarnations are numbered through (see fabric.Gap).
	sendInc uint64
	send    [fabric.Lanes]uint64 // the next frame's

	// What follows belongs to the holder of the right.

	told    *session // that the handler was told of
	recvInc uint64
	recv    [fabric.Lanes]uint64 // the next frame's
	lastRow fabric.Row           // newest that came, without sections
	hasRow  bool

	stats peerStats
}

// wanted is a session that was asked for.
type wanted struct {
	Session
	stop chan struct{} // closed when it is not wanted any more
	kick chan struct{} // have another try now
}

func newWanted(s *Session) *wanted {
	w := &wanted{Session: *s, stop: make(chan struct{}), kick: make(chan struct{}, 1)}
	w.Key = append([]byte(nil), s.Key...)
	return w
}

// ask replaces the session that is wanted; nil: none. mu is held.
func (pe *peer) ask(s *Session, why error) {
	pe.end(pe.sess, why, false)
	if pe.want != nil {
		close(pe.want.stop)
	}
	if pe.want, pe.why = nil, why; s == nil {
		return
	}
	pe.want, pe.why = newWanted(s), ErrNotYetUp
	if pe.sendInc != s.PeerIncarnation || pe.send[0] == 0 {
		pe.sendInc = s.PeerIncarnation
		for i := range pe.send {
			pe.send[i] = 1
		}
	}
}

// begin makes s the session of a peer that is still wanted. mu is held.
func (pe *peer) begin(s *session, w *wanted) error {
	if err := pe.admit(w); err != nil {
		return err
	}
	pe.sess, pe.why = s, nil
	if len(pe.row) > 0 && !pe.withheld {
		s.row.put(pe.row)
		pe.stats.rowsSent.Add(1)
		s.bell.ring()
	}
	pe.port.bell.ring()
	return nil
}

// admit says why no session can begin now. mu is held.
func (pe *peer) admit(w *wanted) error {
	switch {
	case pe.closed:
		return fabric.ErrClosed
	case pe.want == nil:
		return fmt.Errorf("%w: %s is not connected to %s", ErrNotYetUp, pe.port.cfg.Self, pe.id)
	case pe.want != w:
		return ErrReplaced
	case pe.shut:
		return ErrGateShut
	}
	return nil
}

// end ends a session, if it is the current one: its tickets are lost. With
// drain, what lies in the rings is still handed over. mu is held.
func (pe *peer) end(s *session, why error, drain bool) {
	if s == nil || pe.sess != s {
		return
	}
	pe.sess, pe.why = nil, why
	// What it has taken in is not lost; what it lies about is.
	pe.owed, _ = s.collect(pe.port.now(), pe, pe.owed)
	s.ended, s.why, s.drain = true, linkDown(why), drain
	for i := range s.lane {
		for l := &s.lane[i]; l.entries.n > 0; {
			reason := s.why
			if pe.closed {
				reason = why
			}
			pe.lost(i, l.entries.pop(), reason)
		}
	}
	s.conn.Close()
	s.release()
	pe.port.bell.ring()
}

// fail ends a session whose peer broke the protocol.
func (pe *peer) fail(s *session, why error) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.stats.refused.Add(1)
	pe.end(s, fmt.Errorf("peer %s: %w", pe.id, why), false)
}

// lost notes a ticket for the next reader that comes by. mu is held.
func (pe *peer) lost(lane int, e entry, why error) {
	pe.stats.lane[lane].lost.Add(1)
	pe.owed = append(pe.owed, fabric.Resolution{To: pe.id, Ticket: e.ticket, Lane: fabric.Lane(lane), Err: fabric.Lost(why)})
}

// acked appends the resolution of a ticket that somebody waits for.
func (pe *peer) acked(now time.Duration, lane int, e entry, settled []fabric.Resolution) []fabric.Resolution {
	st := &pe.stats.lane[lane]
	st.acked.Add(1)
	if e.asked {
		smooth(&st.rtt, now-e.at)
	}
	if e.ticket == 0 {
		return settled
	}
	return append(settled, fabric.Resolution{To: pe.id, Ticket: e.ticket, Lane: fabric.Lane(lane)})
}

// maxOwed bounds the tickets of a peer that are settled while no reader comes by
// to tell it; beyond that Send has no credit.
const maxOwed = 1 << 14

// collect settles what the peer has taken in. mu is held.
func (pe *peer) collect(now time.Duration, s *session) {
	var err error
	if pe.owed, err = s.collect(now, pe, pe.owed); err != nil {
		pe.stats.refused.Add(1)
		pe.end(s, fmt.Errorf("peer %s: %w", pe.id, err), false)
	}
}

// settle appends what has been settled. mu is held.
func (pe *peer) settle(now time.Duration, settled []fabric.Resolution) []fabric.Resolution {
	if s := pe.sess; s != nil {
		pe.collect(now, s)
	}
	if len(pe.owed) > 0 {
		settled = append(settled, pe.owed...)
		clear(pe.owed)
		pe.owed = pe.owed[:0]
	}
	return settled
}

// claim takes the right to call the handler, if there is something to tell. mu
// is held.
func (pe *peer) claim() bool {
	if pe.busy || pe.closed || pe.told == pe.sess && (pe.told == nil || !pe.told.hasWork()) {
		return false
	}
	pe.busy = true
	return true
}

// tellCredit rings for credit that a stuck handler call would hold back.
func (pe *peer) tellCredit() {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	if pe.busy && pe.sess != nil {
		pe.sess.bell.ring()
	}
}

// tick runs the timers of a peer and returns when they have to run again.
func (pe *peer) tick(now time.Duration) (next time.Duration) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	s := pe.sess
	if s == nil {
		return never
	}
	if pe.collect(now, s); pe.sess != s {
		return never
	}
	next = s.expire(now, pe.port.cfg.TicketTimeout, pe)
	if len(pe.owed) > 0 {
		pe.port.bell.ring()
	}
	if s.rowAt != 0 && s.rowAt <= now {
		s.rowAt = 0
		s.bell.ring()
	}
	if s.rowAt != 0 {
		next = min(next, s.rowAt)
	}
	return next
}
