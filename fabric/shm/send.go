package shm

import (
	"fmt"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Send implements fabric.Port: the caller itself writes the frames into the
// memory of their receivers.
func (p *Port) Send(batch []fabric.Outgoing) error {
	var r fabric.Refusals
	wanted := r.Check(batch, &p.caps, p.isClosed())
	set := p.peers.Load()
	for _, pe := range set.list {
		if wanted == 0 {
			return r.Err()
		}
		wanted -= pe.write(batch, &r)
	}
	if wanted > 0 {
		r.Unknown(batch, func(id fabric.MemberID) bool { return set.byID[id] != nil })
	}
	return r.Err()
}

// write writes the frames of a batch that are for this peer, and rings once. It
// returns how many those were.
func (pe *peer) write(batch []fabric.Outgoing, r *fabric.Refusals) (found int) {
	var now time.Duration
	written := false
	for i := range batch {
		o := &batch[i]
		j := slices.Index(o.To, pe.id)
		if j < 0 || r.Skip(i) {
			continue
		}
		if found++; found == 1 {
			pe.mu.Lock()
			now = pe.port.now()
		}
		if err := pe.accept(now, o, j); err != nil {
			r.Add(i, o, pe.id, err)
		} else {
			written = true
		}
	}
	if found == 0 {
		return 0
	}
	if written && pe.sess != nil {
		pe.port.pump.arm(now + pe.port.cfg.TicketTimeout)
		pe.sess.bell.ring()
	}
	pe.mu.Unlock()
	return found
}

// accept writes one frame for destination j of o, or nothing. mu is held.
func (pe *peer) accept(now time.Duration, o *fabric.Outgoing, j int) error {
	s := pe.sess
	switch {
	case pe.closed:
		return fabric.ErrClosed
	case pe.want == nil: // disconnected since Send looked
		return fmt.Errorf("%w: %s", fabric.ErrUnknownPeer, pe.id)
	case s == nil:
		return linkDown(pe.why)
	}
	var patch []byte
	if o.Patch != nil {
		patch = o.Patch[j]
	}
	if n := len(patch) + len(o.Body); n > s.shape.maxFrame {
		return fmt.Errorf("%w: patch and body of %d bytes, %s takes at most %d", fabric.ErrTooLarge, n, pe.id, s.shape.maxFrame)
	}
	return s.put(now, pe, o, patch)
}

// put writes a frame into the ring, as one slot or in pieces.
func (s *session) put(now time.Duration, pe *peer, o *fabric.Outgoing, patch []byte) error {
	l := &s.lane[o.Lane]
	h := fabric.Header{Kind: o.Kind, Class: o.Class, Lane: o.Lane, Stream: o.Stream, Stamp: o.Stamp, Link: pe.send[o.Lane]}
	if h.Kind == 0 {
		h.Kind = fabric.KindData
	}
	if !o.Stamp.IsZero() {
		h.Has = fabric.HasStamp
	}
	n, first := piecesFor(l.ring.slot, &h, patch, o.Body)
	if l.ring.free() < n { // nobody may have looked
		pe.collect(now, s)
	}
	if pe.sess != s {
		return linkDown(pe.why)
	}
	if l.ring.free() < n || len(pe.owed) >= maxOwed {
		pe.stats.lane[o.Lane].noCredit.Add(1)
		return fabric.ErrNoCredit
	}
	e := entry{ticket: o.Ticket, end: l.ring.head + uint64(n), at: now, slots: n}
	s.askFor(o.Lane, &e)
	if n == 1 {
		l.ring.putFrame(&h, patch, o.Body)
	} else {
		l.ring.putPieces(&h, patch, o.Body, n, first)
	}
	pe.send[o.Lane]++
	pe.stats.sent(o.Lane, n, len(patch)+len(o.Body))
	l.entries.push(e)
	return nil
}

// sampleEvery is how often, at most, the ack of a frame without a ticket is asked
// for, to know the round trip.
const sampleEvery = 10 * time.Millisecond

// askFor asks for the ack of a frame that has a ticket, or is a sample. This is
// before the frame can be taken in.
func (s *session) askFor(lane fabric.Lane, e *entry) {
	l := &s.lane[lane]
	switch {
	case e.ticket != 0:
		l.ticketed = e.end
	case e.at-l.sampled < sampleEvery:
		return
	}
	if l.asked <= l.ring.taken { // else the next question is asked when this one is answered
		l.sampled, e.asked = e.at, true
		s.ask(int(lane), e.end)
	}
}

// putFrame writes one slot: the frame is encoded where it will be read.
func (w *ringWriter) putFrame(h *fabric.Header, patch, body []byte) {
	n := fabric.FrameSize(h, patch, body)
	b := w.begin(n)
	fabric.AppendFrame(b[validLen:validLen:validLen+n], h, patch, body)
	w.commit(b, n)
}

// putPieces writes a frame of n pieces; the first one has the patch, the stamp
// and as much of the body as fits.
func (w *ringWriter) putPieces(h *fabric.Header, patch, body []byte, n, first int) {
	g := fabric.Fragment{Count: uint32(n), Total: uint64(len(body))}
	h.Has |= fabric.HasFragment
	h.Fragment = g
	w.putFrame(h, patch, body[:first])
	body = body[first:]
	h.Has, h.Stamp = fabric.HasFragment, fabric.Stamp{}
	for ; len(body) > 0; body = body[first:] {
		h.Fragment.Index++
		first = min(len(body), room(w.slot)-laterHeader)
		w.putFrame(h, nil, body[:first])
	}
}

// Publish implements fabric.Port. The row's owner is this member.
func (p *Port) Publish(row fabric.Row, prompt []fabric.MemberID) error {
	switch {
	case len(row.Sections) > fabric.MaxRowSections:
		return fmt.Errorf("%w: row of %d bytes, shm carries at most %d", fabric.ErrTooLarge, len(row.Sections), fabric.MaxRowSections)
	case row.Owner != p.cfg.Self:
		return fmt.Errorf("%w: row of %s published by %s", fabric.ErrBadFrame, row.Owner, p.cfg.Self)
	}
	p.rowMu.Lock()
	defer p.rowMu.Unlock()
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
	return nil
}

// WithholdRow implements [fabric.RowWithholder].
func (p *Port) WithholdRow(id fabric.MemberID, on bool) {
	pe := p.peers.Load().find(id)
	if pe == nil {
		return
	}
	p.rowMu.Lock() // no row is published meanwhile
	defer p.rowMu.Unlock()
	pe.mu.Lock()
	was := pe.withheld
	pe.withheld = on
	pe.mu.Unlock()
	if was && !on && p.hasRow {
		pe.publish(p.row, true)
	}
}

var _ fabric.RowWithholder = (*Port)(nil)

// publish writes the row to the peer's memory: only when it is told of it can
// wait.
func (pe *peer) publish(row []byte, prompt bool) {
	pe.mu.Lock()
	defer pe.mu.Unlock()
	pe.row = append(pe.row[:0], row...)
	s := pe.sess
	if s == nil || pe.withheld {
		return
	}
	s.row.put(row)
	pe.stats.rowsSent.Add(1)
	if prompt {
		s.rowAt = 0
		s.bell.ring()
	} else if s.rowAt == 0 {
		s.rowAt = pe.port.now() + pe.port.cfg.RowInterval
		pe.port.pump.arm(s.rowAt)
	}
}
