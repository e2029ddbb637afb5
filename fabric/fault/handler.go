package fault

import (
	"bytes"
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/raftdv/dv/fabric"
)

// handler is what the wrapped port calls.
type handler struct{ p *Port }

// peer is what a port's handler is told about one peer. Port.mu guards it.
//
// Calls about one peer are never concurrent: whoever calls the handler about it
// has running, and before giving it back makes the calls that cuts and rules
// have made necessary meanwhile.
type peer struct {
	id      fabric.MemberID
	running bool
	idle    *sync.Cond
	inner   fabric.LinkState // what the port says
	shown   fabric.LinkState // what the handler was told
	row     *fabric.Row      // withheld: the newest
	rowDue  bool             // it may go if no cut is in the way
}

func (p *Port) peerLocked(id fabric.MemberID) *peer {
	pr := p.peers[id]
	if pr == nil {
		pr = &peer{id: id, idle: sync.NewCond(&p.mu)}
		p.peers[id] = pr
	}
	return pr
}

// about runs f as the only call about a peer.
func (h handler) about(id fabric.MemberID, f func(*peer)) {
	p := h.p
	p.mu.Lock()
	pr := p.peerLocked(id)
	for pr.running {
		pr.idle.Wait()
	}
	pr.running = true
	p.mu.Unlock()
	if !p.killed.Load() {
		f(pr)
	}
	p.catchUp(pr)
}

// catchUp makes the calls about a peer that are due, and gives running back.
func (p *Port) catchUp(pr *peer) {
	for {
		p.mu.Lock()
		call := p.nextLocked(pr)
		if call == nil || p.killed.Load() {
			pr.running = false
			pr.idle.Broadcast()
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		call()
	}
}

func (p *Port) nextLocked(pr *peer) func() {
	want := pr.inner
	if want.Up && p.c.isApart(p.id, pr.id) {
		want.Up, want.Err = false, ErrCut
	}
	if want.Up != pr.shown.Up || want.Up && want.Incarnation != pr.shown.Incarnation {
		pr.shown = want
		var lost []fabric.Resolution
		if !want.Up {
			lost = p.giveUpLocked(func(l *holdLane) bool { return l.key.to == pr.id }, fabric.ErrLinkDown)
		}
		return func() {
			p.h.Link(pr.id, want)
			if len(lost) > 0 {
				p.h.Resolve(lost)
			}
		}
	}
	if row := pr.row; row != nil && pr.rowDue && !p.c.isCut(pr.id, p.id) {
		pr.row = nil
		return func() { p.h.Row(pr.id, *row) }
	}
	return nil
}

// pumpTo lets lanes go on that waited for their link.
func (p *Port) pumpTo(id fabric.MemberID) {
	for lane := range fabric.Lane(fabric.Lanes) {
		p.mu.Lock()
		l := p.lanes[laneKey{id, lane}]
		p.mu.Unlock()
		if l != nil {
			l.pump()
		}
	}
}

// relink has the calls made, later, that a changed rule or cut makes necessary.
func (p *Port) relink() {
	p.c.clock.After(0, func() {
		p.mu.Lock()
		peers := slices.SortedFunc(maps.Values(p.peers), func(a, b *peer) int { return cmp.Compare(a.id, b.id) })
		p.mu.Unlock()
		for _, pr := range peers {
			p.byItself(func() { p.look(pr) })
			p.pumpTo(pr.id)
		}
	})
}

// look makes the calls that are due about a peer, or leaves them to whoever
// calls about it now.
func (p *Port) look(pr *peer) {
	p.mu.Lock()
	busy := pr.running
	pr.running = true
	p.mu.Unlock()
	if !busy {
		p.catchUp(pr)
	}
}

// byItself runs f, which calls the handler, unless Close has returned or waits.
func (p *Port) byItself(f func()) {
	p.calls.RLock()
	defer p.calls.RUnlock()
	if !p.muted && !p.killed.Load() {
		f()
	}
}

func (p *Port) resolve(settled []fabric.Resolution) {
	if len(settled) > 0 {
		p.byItself(func() { p.h.Resolve(settled) })
	}
}

// Deliver implements [fabric.Handler].
func (h handler) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	h.about(from, func(*peer) {
		if d := h.p.c.rule(from, h.p.id).Handling; d > 0 {
			time.Sleep(d * time.Duration(len(frames)))
		}
		h.p.h.Deliver(from, frames)
	})
}

// Gap implements [fabric.Handler].
func (h handler) Gap(from fabric.MemberID, gap fabric.Gap) {
	h.about(from, func(*peer) { h.p.h.Gap(from, gap) })
}

// Row implements [fabric.Handler].
func (h handler) Row(from fabric.MemberID, row fabric.Row) {
	p := h.p
	h.about(from, func(pr *peer) {
		cut := p.c.isCut(from, p.id)
		drop := p.c.dropRow(from, p.id)
		if !cut && !drop {
			p.mu.Lock()
			pr.row = nil // it is older
			p.mu.Unlock()
			p.h.Row(from, row)
			return
		}
		p.c.counts[nRows].Add(1)
		row.Sections = bytes.Clone(row.Sections)
		p.mu.Lock()
		pr.row, pr.rowDue = &row, !drop
		p.mu.Unlock()
		if drop {
			p.c.clock.After(p.c.cfg.RowRetry, func() {
				p.mu.Lock()
				pr.rowDue = true
				p.mu.Unlock()
				p.byItself(func() { p.look(pr) })
			})
		}
	})
}

// Link implements [fabric.Handler].
func (h handler) Link(id fabric.MemberID, state fabric.LinkState) {
	h.about(id, func(pr *peer) {
		h.p.mu.Lock()
		pr.inner = state
		h.p.mu.Unlock()
	})
	h.p.pumpTo(id)
}

// internal marks the tickets that this package makes. Callers may use the bit,
// too: such tickets are replaced.
const internal = 1 << 63

type ticketKey struct {
	to     fabric.MemberID
	ticket uint64
}

// ticket is what the caller is told in place of an internal one.
type ticket struct {
	caller uint64
	// verdict: lost for this reason, whatever the port says; errSettled: the
	// caller knows already; nil: what the port says.
	verdict error
}

var errSettled = errors.New("settled before")

func (p *Port) newTicket(to []fabric.MemberID, caller uint64, verdict error) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.newTicketLocked(to, caller, verdict)
}

func (p *Port) newTicketLocked(to []fabric.MemberID, caller uint64, verdict error) uint64 {
	p.last++
	t := p.last | internal
	for _, id := range to {
		p.tickets[ticketKey{id, t}] = ticket{caller, verdict}
	}
	return t
}

func (p *Port) takeTicket(to fabric.MemberID, t uint64) {
	p.mu.Lock()
	delete(p.tickets, ticketKey{to, t})
	p.mu.Unlock()
}

// Resolve implements [fabric.Handler].
func (h handler) Resolve(settled []fabric.Resolution) {
	p := h.p
	if p.killed.Load() {
		return
	}
	ours := false
	for i := range settled {
		ours = ours || settled[i].Ticket&internal != 0
	}
	if !ours {
		p.h.Resolve(settled)
		return
	}
	var out []fabric.Resolution
	p.mu.Lock()
	for _, r := range settled {
		if r, ok := p.translateLocked(r); ok {
			out = append(out, r)
		}
	}
	p.mu.Unlock()
	if len(out) > 0 {
		p.h.Resolve(out)
	}
}

// translateLocked puts the caller's ticket and the verdict in.
func (p *Port) translateLocked(r fabric.Resolution) (_ fabric.Resolution, ok bool) {
	key := ticketKey{r.To, r.Ticket}
	t, known := p.tickets[key]
	if !known {
		return r, true
	}
	delete(p.tickets, key)
	l := p.lane(laneKey{r.To, r.Lane})
	if t.verdict == errSettled {
		if r.Acked() {
			l.voidsAcked++
		} else {
			l.lost-- // the port counts it as lost, too
		}
		return r, false
	}
	if t.verdict != nil && r.Acked() {
		l.lost++
		l.voidsAcked++
	}
	r.Ticket = t.caller
	if t.verdict != nil && r.Acked() {
		r.Err = fabric.Lost(t.verdict)
	}
	return r, t.caller != 0 || !r.Acked()
}
