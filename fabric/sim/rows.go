package sim

import (
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// Publish implements [fabric.Port].
func (p *Port) Publish(row fabric.Row, prompt []fabric.MemberID) error {
	if err := p.checkRow(&row); err != nil {
		return err
	}
	row.Sections = p.n.keep(row.Sections)
	p.row = &row
	p.published++
	for _, id := range prompt {
		if r, ok := p.n.rank[id]; ok && p.out[r] != nil {
			p.n.sendRow(p.out[r])
		}
	}
	for _, l := range p.out {
		if l != nil && l.rowSent < p.published {
			p.n.armRow(l, l.rowNext)
		}
	}
	return nil
}

func (p *Port) checkRow(row *fabric.Row) error {
	switch {
	case p.dead:
		return fabric.ErrClosed
	case row.Owner != p.m.id:
		return fmt.Errorf("%w: row of %s published by %s", fabric.ErrBadFrame, row.Owner, p.m.id)
	case len(row.Sections) > fabric.MaxRowSections:
		return fmt.Errorf("%w: row of %d bytes, at most %d", fabric.ErrTooLarge, len(row.Sections), fabric.MaxRowSections)
	case p.row != nil && !row.Newer(p.row):
		return fmt.Errorf("%w: %d.%d after %d.%d", fabric.ErrStaleRow, row.Incarnation, row.Version, p.row.Incarnation, p.row.Version)
	}
	if err := fabric.RangeSections(row.Sections, func(fabric.Section) bool { return true }); err != nil {
		return fmt.Errorf("%w: %w", fabric.ErrBadFrame, err)
	}
	return nil
}

// sendRow sends the newest row, and looks later whether it was acked.
func (n *Network) sendRow(l *link) {
	l.rowSent = l.from.published
	l.rowNext = n.now + int64(n.cfg.RowInterval)
	if n.hasMedium() {
		n.queueRow(l)
	} else {
		l.from.stats(l.to.rank).RowsSent++
		n.packet(l, event{kind: evRow, link: l, row: l.from.row, lo: l.rowSent})
	}
	n.armRow(l, n.now+n.rto(l.rowTries))
}

// armRow has the timer of a link's row fire at an instant, or sooner if it
// would anyway.
func (n *Network) armRow(l *link, at int64) {
	at = max(at, n.now)
	if l.rowTiming && l.rowAt <= at {
		return
	}
	l.rowTiming, l.rowAt = true, at
	n.schedule(at, evRowTimer).link = l
}

// rowTimer sends the newest row if it was not sent or not acked (P5).
func (n *Network) rowTimer(l *link) {
	if !l.rowTiming || n.now < l.rowAt {
		return // it was moved forward, and has fired
	}
	l.rowTiming = false
	p := l.from
	if l.rowAcked == p.published || p.out[l.to.rank] != l {
		l.rowTries = 0
		return
	}
	if l.rowSent == p.published {
		l.rowOut = l.rowOut[:0] // they are taken for lost
		if l.rowTries < maxBackoff {
			l.rowTries++
		}
	}
	n.sendRow(l)
}

// rowArrives receives a row. Of those that wait for a stuck handler the newest
// stays.
func (n *Network) rowArrives(l *link, ev *event) {
	if !n.accepts(l) {
		return
	}
	s, row := l.to.stats(l.from.rank), ev.row
	if ev.corrupt {
		s.Refused++
		return
	}
	if ev.lo > l.rowCount {
		if n.cfg.Wire {
			row = n.rowOverWire(row)
		}
		l.rowCount, l.rowIn = ev.lo, row
		s.RowsReceived++
		n.drain(l)
	}
	if n.hasMedium() {
		n.queueRowAck(l)
		return
	}
	n.packet(l.back, event{kind: evRowAck, link: l, lo: l.rowCount})
}
