package udp

import (
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// refusals collects what one Send could not accept.
type refusals struct {
	err *fabric.SendError
	bad []bool // frames refused for all destinations
}

func (r *refusals) add(i int, o *fabric.Outgoing, to fabric.MemberID, why error) {
	if r.err == nil {
		r.err = &fabric.SendError{}
	}
	r.err.Refused = append(r.err.Refused, fabric.Refusal{Index: i, To: to, Ticket: o.Ticket, Err: why})
}

// all refuses a frame for every destination.
func (r *refusals) all(batch []fabric.Outgoing, i int, why error) {
	if r.bad == nil {
		r.bad = make([]bool, len(batch))
	}
	r.bad[i] = true
	o := &batch[i]
	for _, to := range o.To {
		r.add(i, o, to, why)
	}
	if len(o.To) == 0 {
		r.add(i, o, 0, why)
	}
}

func (r *refusals) skip(i int) bool { return r.bad != nil && r.bad[i] }

func (r *refusals) result() error {
	if r.err == nil {
		return nil // not a nil *SendError
	}
	return r.err
}

// Send implements fabric.Port.
func (p *Port) Send(batch []fabric.Outgoing) error {
	var r refusals
	wanted := 0
	for i := range batch {
		if p.isClosed() {
			r.all(batch, i, fabric.ErrClosed)
		} else if err := fabric.CheckOutgoing(&batch[i], &p.caps); err != nil {
			r.all(batch, i, err)
		} else {
			wanted += len(batch[i].To)
		}
	}
	set, now := p.peers.Load(), p.now()
	for _, pe := range set.list {
		if wanted == 0 {
			return r.result()
		}
		wanted -= pe.enqueue(now, batch, &r)
	}
	if wanted > 0 {
		p.refuseUnknown(set, batch, &r)
	}
	return r.result()
}

func (p *Port) refuseUnknown(set *peerSet, batch []fabric.Outgoing, r *refusals) {
	for i := range batch {
		if r.skip(i) {
			continue
		}
		for _, to := range batch[i].To {
			if set.byID[to] == nil {
				r.add(i, &batch[i], to, fmt.Errorf("%w: %s", fabric.ErrUnknownPeer, to))
			}
		}
	}
}

// enqueue accepts the frames of a batch that are for this peer, and has them
// sent. It returns how many those were.
func (pe *peer) enqueue(now int64, batch []fabric.Outgoing, r *refusals) (found int) {
	var h fabric.Header
	accepted := false
	for i := range batch {
		o := &batch[i]
		j := destination(o.To, pe.id)
		if j < 0 || r.skip(i) {
			continue
		}
		if found++; found == 1 {
			pe.mu.Lock()
		}
		if err := pe.accept(now, o, j, &h); err != nil {
			r.add(i, o, pe.id, err)
		} else {
			accepted = true
		}
	}
	if found == 0 {
		return 0
	}
	if accepted {
		pe.kick(now)
	}
	pe.mu.Unlock()
	return found
}

func destination(to []fabric.MemberID, id fabric.MemberID) int {
	for j, x := range to {
		if x == id {
			return j
		}
	}
	return -1
}

// Publish implements fabric.Port. The row's owner is this member.
func (p *Port) Publish(row fabric.Row, prompt []fabric.MemberID) error {
	switch {
	case len(row.Sections) > fabric.MaxRowSections:
		return fmt.Errorf("%w: row of %d bytes, udp carries at most %d", fabric.ErrTooLarge, len(row.Sections), fabric.MaxRowSections)
	case row.Owner != p.cfg.Self:
		return fmt.Errorf("%w: row of %s published by %s", fabric.ErrBadFrame, row.Owner, p.cfg.Self)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() {
		return fabric.ErrClosed
	}
	if p.hasRow && !row.Newer(&p.rowed) {
		return fmt.Errorf("%w: %d.%d after %d.%d", fabric.ErrStaleRow, row.Incarnation, row.Version, p.rowed.Incarnation, p.rowed.Version)
	}
	if err := fabric.RangeSections(row.Sections, func(fabric.Section) bool { return true }); err != nil {
		return fmt.Errorf("%w: %w", fabric.ErrBadFrame, err)
	}
	p.hasRow, p.rowed = true, row
	p.rowed.Sections = nil
	p.row = fabric.AppendRow(p.row[:0], &row)
	for _, pe := range p.peers.Load().list {
		pe.publish(p.row, destination(prompt, pe.id) >= 0)
	}
	return nil
}

// publish takes a copy of the encoded row.
func (pe *peer) publish(row []byte, prompt bool) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.row, pe.hasRow = append(pe.row[:0], row...), true
	if pe.link == nil || pe.closed {
		return
	}
	now := pe.port.now()
	pe.link.setRow(now, pe.row, prompt)
	if prompt {
		pe.kick(now)
		return
	}
	pe.port.pump.arm(pe.link.deadline())
}
