package fault

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/raftdv/dv/fabric"
)

// holdLane holds frames of one lane to one peer back, in order. Port.mu guards
// it.
type holdLane struct {
	p       *Port
	key     laneKey
	queue   []*entry
	weight  int
	passing int  // Sends on their way to the port that queued nothing here
	pumping bool // somebody takes entries out
	again   bool // and has to look once more
	retry   bool // a retry is scheduled

	noCredit   uint64 // frames refused here
	lost       uint64 // tickets that this package called lost
	voidsAcked uint64 // tickets that the port calls acked, and that were lost here
}

// entry is a frame that is held back, or stands for one that was lost.
type entry struct {
	o       fabric.Outgoing // with one destination; owns its bytes
	loss    error           // the frame goes as a void, for this reason
	settled bool            // the caller knows; the void is still owed to the receiver
	hold    time.Duration
	due     bool
	sending bool
	late    bool // MaxHold is over
	gone    bool
}

type heldEntry struct {
	l *holdLane
	e *entry
}

// entryOverhead is what an entry weighs beyond its bytes.
const entryOverhead = 32

// retryHold is when a lane looks again that found no credit.
const retryHold = time.Millisecond

func (e *entry) weight() int {
	n := len(e.o.Body) + entryOverhead
	for _, b := range e.o.Patch {
		n += len(b)
	}
	return n
}

func (p *Port) lane(key laneKey) *holdLane {
	l := p.lanes[key]
	if l == nil {
		l = &holdLane{p: p, key: key}
		p.lanes[key] = l
	}
	return l
}

// idle: what is sent now needs not wait for what was sent before.
func (l *holdLane) idle() bool { return len(l.queue) == 0 && !l.pumping }

// hold takes a frame in.
func (l *holdLane) hold(o *fabric.Outgoing, patch []byte, f fate) (*entry, error) {
	e := &entry{o: *o, loss: f.loss, hold: f.hold}
	e.o.To, e.o.Body, e.o.Patch = []fabric.MemberID{l.key.to}, bytes.Clone(o.Body), nil
	if len(patch) > 0 {
		e.o.Patch = [][]byte{bytes.Clone(patch)}
	}
	if l.weight+e.weight() > l.p.c.cfg.QueueBytes {
		l.noCredit++
		return nil, fmt.Errorf("%w: %d bytes are held back to %s", fabric.ErrNoCredit, l.weight, l.key.to)
	}
	l.queue = append(l.queue, e)
	l.weight += e.weight()
	l.p.held.Add(1)
	return e, nil
}

// release lets time run for what one Send has queued, after what it passed on.
func (p *Port) release(s *sending) {
	p.mu.Lock()
	for _, l := range s.passed {
		l.passing--
	}
	p.mu.Unlock()
	for _, h := range s.held {
		p.c.clock.After(h.e.hold, func() { h.l.ripe(h.e) })
	}
	for _, l := range s.passed {
		l.pump()
	}
}

// ripe: an entry was held for as long as it should be. It is given up if it
// cannot leave within MaxHold, so that its ticket resolves in time (F2).
func (l *holdLane) ripe(e *entry) {
	l.p.mu.Lock()
	e.due = true
	l.p.mu.Unlock()
	l.pump()
	l.p.mu.Lock()
	left := !e.gone && !e.settled
	l.p.mu.Unlock()
	if left {
		l.p.c.clock.After(l.p.c.cfg.MaxHold-e.hold, func() { l.expire(e) })
	}
}

func (l *holdLane) expire(e *entry) {
	l.p.mu.Lock()
	var lost []fabric.Resolution
	e.late = true
	if !e.gone && !e.settled && !e.sending {
		lost = append(lost, l.give(e, fabric.ErrTimeout))
	}
	l.p.mu.Unlock()
	l.p.resolve(lost)
}

// give turns an entry into a void that the receiver is still owed, and returns
// what the caller has to know.
func (l *holdLane) give(e *entry, why error) fabric.Resolution {
	if e.loss != nil {
		why = e.loss
	}
	l.weight -= e.weight()
	e.settled, e.loss = true, why
	e.o.Body, e.o.Patch = nil, nil
	l.weight += e.weight()
	l.lost++
	return fabric.Resolution{To: l.key.to, Ticket: e.o.Ticket, Lane: l.key.lane, Err: fabric.Lost(why)}
}

// pump gives the port what is due, in order.
func (l *holdLane) pump() {
	p := l.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.pumping {
		l.again = true
		return
	}
	if l.passing > 0 || len(l.queue) == 0 || p.closed {
		return
	}
	l.pumping = true
	p.pumps++
	for l.again = true; l.again; {
		l.again = false
		lost := l.drainLocked()
		p.mu.Unlock()
		p.resolve(lost)
		p.mu.Lock()
	}
	l.pumping = false
	p.pumps--
	p.pumped.Broadcast()
}

// drainLocked returns what has to be called lost.
func (l *holdLane) drainLocked() (lost []fabric.Resolution) {
	p := l.p
	for len(l.queue) > 0 && l.queue[0].due && l.passing == 0 && !p.closed {
		e := l.queue[0]
		o := l.outgoing(e)
		e.sending = true
		p.mu.Unlock()
		err := p.sendHeld(o)
		p.mu.Lock()
		e.sending = false
		if err != nil {
			return l.refusedLocked(e, o, err)
		}
		e.gone = true
		l.queue[0] = nil
		l.queue = l.queue[1:]
		l.weight -= e.weight()
		p.held.Add(-1)
	}
	return nil
}

// sendHeld gives the port one frame, unless a cut is in the way.
func (p *Port) sendHeld(o fabric.Outgoing) error {
	if p.c.isApart(p.id, o.To[0]) {
		return fabric.ErrLinkDown
	}
	return p.inner.Send([]fabric.Outgoing{o})
}

// outgoing is the frame that goes to the port for an entry.
func (l *holdLane) outgoing(e *entry) fabric.Outgoing {
	o := e.o
	if e.loss != nil {
		o.Kind, o.Body, o.Patch = fabric.KindVoid, fabric.VoidBody(), nil
		verdict := e.loss
		if e.settled {
			verdict = errSettled
		}
		o.Ticket = l.p.newTicketLocked(o.To, o.Ticket, verdict)
	} else if o.Ticket&internal != 0 {
		o.Ticket = l.p.newTicketLocked(o.To, o.Ticket, nil)
	}
	return o
}

// refusedLocked deals with a frame that was accepted here and that the port
// does not take.
func (l *holdLane) refusedLocked(e *entry, o fabric.Outgoing, err error) []fabric.Resolution {
	if o.Ticket&internal != 0 {
		delete(l.p.tickets, ticketKey{o.To[0], o.Ticket})
	}
	if errors.Is(err, fabric.ErrNoCredit) && !l.p.closed {
		l.retryLocked()
		if !e.late {
			return nil
		}
	}
	if e.settled { // the void waits until the link is up
		return nil
	}
	why := fabric.ErrLinkDown
	switch {
	case l.p.closed:
		why = fabric.ErrClosed
	case e.late:
		why = fabric.ErrTimeout
	}
	return []fabric.Resolution{l.give(e, why)}
}

func (l *holdLane) retryLocked() {
	if l.retry {
		return
	}
	l.retry = true
	l.p.c.clock.After(retryHold, func() {
		l.p.mu.Lock()
		l.retry = false
		l.p.mu.Unlock()
		l.pump()
	})
}

// addTo adds what is held, and moves what was taken from acked to lost.
func (l *holdLane) addTo(s *fabric.LaneStats) {
	for _, e := range l.queue {
		if !e.settled {
			s.Queued++
		}
	}
	s.QueuedBytes += l.weight
	s.CreditBytes = max(0, min(s.CreditBytes, l.p.c.cfg.QueueBytes-l.weight))
	s.Acked -= min(s.Acked, l.voidsAcked)
	s.Lost += l.lost
	s.NoCredit += l.noCredit
}
