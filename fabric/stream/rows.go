package stream

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/raftdv/dv/fabric"
)

// rowStore holds the newest row of the port's member. Connections encode it
// when they write, so that at most one version waits for a destination.
type rowStore struct {
	p     *Port
	timer *time.Timer // the row interval is over

	mu     sync.Mutex // guards the fields below; the last one in the order of locks
	row    fabric.Row
	body   []byte // the encoded row
	exists bool
	armed  bool
}

func (s *rowStore) init(p *Port) {
	s.p = p
	s.timer = time.AfterFunc(time.Hour, s.due)
	s.timer.Stop()
}

func (s *rowStore) published() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exists
}

// Publish implements fabric.Port.
func (p *Port) Publish(row fabric.Row, prompt []fabric.MemberID) error {
	if p.closed.Load() {
		return fabric.ErrClosed
	}
	if err := p.rows.put(&row); err != nil {
		return err
	}
	now := p.now()
	for id, q := range *p.peers.Load() {
		if c := q.send.Load(); c != nil && !q.withheld.Load() {
			c.rowChanged(now, slices.Contains(prompt, id))
		}
	}
	return nil
}

// WithholdRow implements fabric.RowWithholder.
func (p *Port) WithholdRow(id fabric.MemberID, on bool) {
	q := (*p.peers.Load())[id]
	if q == nil || !q.withheld.CompareAndSwap(!on, on) {
		return
	}
	c := q.send.Load()
	switch {
	case c == nil:
	case on:
		c.forgetRow()
	case p.rows.published():
		c.rowChanged(p.now(), true)
	}
}

var _ fabric.RowWithholder = (*Port)(nil)

// put checks and keeps a row, and sees to it that the interval ends.
func (s *rowStore) put(row *fabric.Row) error {
	switch {
	case row.Owner != s.p.cfg.Self:
		return fmt.Errorf("%w: row of member %s published by %s", fabric.ErrBadFrame, row.Owner, s.p.cfg.Self)
	case len(row.Sections) > fabric.MaxRowSections:
		return fmt.Errorf("%w: row sections of %d bytes, at most %d", fabric.ErrTooLarge, len(row.Sections), fabric.MaxRowSections)
	}
	if err := fabric.RangeSections(row.Sections, func(fabric.Section) bool { return true }); err != nil {
		return fmt.Errorf("%w: %w", fabric.ErrBadFrame, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exists && !row.Newer(&s.row) {
		return fmt.Errorf("%w: %d.%d, last published %d.%d", fabric.ErrStaleRow, row.Incarnation, row.Version, s.row.Incarnation, s.row.Version)
	}
	s.row, s.exists = *row, true
	s.row.Sections = nil
	s.body = fabric.AppendRow(s.body[:0], row)
	if !s.armed {
		s.armed = true
		s.timer.Reset(s.p.cfg.RowInterval)
	}
	return nil
}

// append encodes the newest row as a frame.
func (s *rowStore) append(dst []byte, has fabric.Sections) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fabric.AppendFrame(dst, &fabric.Header{Kind: fabric.KindRow, Has: has}, nil, s.body)
}

// due is called when a row has waited for the row interval.
func (s *rowStore) due() {
	s.mu.Lock()
	s.armed = false
	s.mu.Unlock()
	if s.p.closed.Load() {
		return
	}
	now := s.p.now()
	for _, q := range *s.p.peers.Load() {
		if c := q.send.Load(); c != nil {
			c.rowIsDue(now)
		}
	}
}

func (s *rowStore) close() { s.timer.Stop() }

// rowChanged notes that the destination has to get a newer row.
func (c *sendConn) rowChanged(now int64, prompt bool) {
	c.mu.Lock()
	if prompt {
		c.row = rowDue
	} else if c.row == rowKnown {
		c.row = rowLazy
	}
	c.mu.Unlock()
	if prompt {
		c.kick(now)
	}
}

// forgetRow has a row that waits not sent.
func (c *sendConn) forgetRow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.row = rowKnown
}

func (c *sendConn) rowIsDue(now int64) {
	c.mu.Lock()
	if c.row == rowLazy {
		c.row = rowDue
	}
	c.mu.Unlock()
	c.kick(now)
}

// takeRow appends the newest row to what is written next. mu is held.
func (c *sendConn) takeRow(k *chunk) {
	k.b = c.p.rows.append(k.b, c.session.protection())
	c.row = rowKnown
	c.rowsSent++
	c.q.stats.rowsSent.Add(1)
}
