package udp

import (
	"fmt"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Send implements fabric.Port.
func (p *Port) Send(batch []fabric.Outgoing) error {
	var r fabric.Refusals
	wanted := r.Check(batch, &p.caps, p.isClosed())
	set, now := p.peers.Load(), p.now()
	for _, pe := range set.list {
		if wanted == 0 {
			return r.Err()
		}
		wanted -= pe.enqueue(now, batch, &r)
	}
	if wanted > 0 {
		r.Unknown(batch, func(id fabric.MemberID) bool { return set.byID[id] != nil })
	}
	return r.Err()
}

// enqueue accepts the frames of a batch that are for this peer, and has them
// sent. It returns how many those were.
func (pe *peer) enqueue(now int64, batch []fabric.Outgoing, r *fabric.Refusals) (found int) {
	var h fabric.Header
	accepted := false
	for i := range batch {
		o := &batch[i]
		j := slices.Index(o.To, pe.id)
		if j < 0 || r.Skip(i) {
			continue
		}
		if found++; found == 1 {
			pe.mu.Lock()
		}
		if err := pe.accept(now, o, j, &h); err != nil {
			r.Add(i, o, pe.id, err)
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
		pe.publish(p.row, slices.Contains(prompt, pe.id))
	}
	p.pump.glance(p.now())
	return nil
}

// WithholdRow implements [fabric.RowWithholder].
func (p *Port) WithholdRow(id fabric.MemberID, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isClosed() || id == 0 || id == p.cfg.Self {
		return
	}
	pe := p.peer(id)
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.withheld = on
	if pe.link == nil || pe.closed {
		return
	}
	now := p.now()
	if pe.link.withheld = on; !on && pe.link.rowPending() {
		pe.link.rowAt = min(pe.link.rowAt, now)
		pe.kick(now)
	}
}

var _ fabric.RowWithholder = (*Port)(nil)

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
	switch {
	case !prompt:
		pe.port.pump.due(pe, pe.link.deadline(), now)
	case pe.quiet(now):
		pe.transmit(inlineRounds, false)
	default:
		pe.kick(now)
	}
}

// rowQuiet: a row to a peer that nothing was sent to for so long is transmitted
// by the caller. Elections and the beats of idle members consist of such rows,
// and the wake-up of the pump takes as long as all the rest of their way
// (BenchmarkRowAfterPause).
const rowQuiet = time.Millisecond

func (pe *peer) quiet(now int64) bool {
	l := pe.link
	return !pe.flushing && !pe.queued && pe.port.info.inline && l.queuedBytes() == 0 &&
		now-max(l.elicitAt, l.rowAsk.sentAt) >= int64(rowQuiet)
}
