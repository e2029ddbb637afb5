package simulate

import (
	"errors"
	"hash/crc32"
	"time"

	"github.com/raftdv/dv/fabric"
)

// ledger knows every frame that a port accepted, by its stream sequence, which
// is unique in a run and which ports carry unread. It stands between nodes and
// ports: what lies below it, decorators included, has to keep F1 to F3.
type ledger struct {
	c *cluster
	// parcels[start[s]:start[s+1]] are the destinations of stream sequence s.
	parcels []parcel
	start   []int
	oldest  int // the first parcel that may be open
	lanes   [][]*[fabric.Lanes]laneBook
}

// parcel is one frame for one destination.
type parcel struct {
	from, to       *member
	fromInc, toInc uint64
	seq            uint64 // link sequence
	at             time.Duration
	digest         uint32
	weight         int32
	lane           fabric.Lane
	fate           fate
	delivered      bool
}

type fate uint8

const (
	open fate = iota
	acked
	lost
	refused
)

// laneBook is one lane from one member to another.
type laneBook struct {
	fromInc, toInc uint64 // at the sender
	accepted       uint64 // frames, so the last link sequence
	openBytes      int
	ackedBytes     int // in the receiver's memory for sure and not delivered

	inFrom, inTo uint64 // at the receiver; inFrom 0: not known yet
	expected     uint64
}

// frameOverhead is what a frame weighs beyond its bytes, by fabric/sim.
const frameOverhead = 32

func newLedger(c *cluster) ledger { return ledger{c: c, start: []int{0, 0}} }

func (l *ledger) book(from, to *member) *[fabric.Lanes]laneBook {
	n := max(from.rank, to.rank)
	for len(l.lanes) <= n {
		l.lanes = append(l.lanes, nil)
	}
	row := l.lanes[from.rank]
	for len(row) <= n {
		row = append(row, new([fabric.Lanes]laneBook))
	}
	l.lanes[from.rank] = row
	return row[to.rank]
}

// find returns the parcel of a frame for a member, or nil.
func (l *ledger) find(stream uint64, to *member) *parcel {
	if stream == 0 || stream+1 >= uint64(len(l.start)) {
		return nil
	}
	for i := l.start[stream]; i < l.start[stream+1]; i++ {
		if p := &l.parcels[i]; p.to == to {
			return p
		}
	}
	return nil
}

func sum(patch, body []byte) uint32 {
	return crc32.Update(crc32.Checksum(patch, castagnoli), castagnoli, body)
}

// watchedPort books what a node sends.
type watchedPort struct {
	fabric.Port
	n *node
}

func (c *cluster) portOf(n *node) fabric.Port {
	var p fabric.Port = n.sim
	if h := c.cfg.hooks.port; h != nil {
		p = h(c, n.m.id, p)
	}
	return &watchedPort{p, n}
}

// Send books the batch before the port has it: its handler may be called from
// within.
func (w *watchedPort) Send(batch []fabric.Outgoing) error {
	l := &w.n.c.checks.ledger
	first := len(l.start) - 1
	for i := range batch {
		l.enter(w.n, &batch[i])
	}
	err := w.Port.Send(batch)
	if se, ok := errors.AsType[*fabric.SendError](err); ok {
		for _, r := range se.Refused {
			if p := l.find(batch[r.Index].Stream, w.n.c.member(r.To)); p != nil {
				p.fate = refused
			}
		}
	}
	for i := l.start[first]; i < len(l.parcels); i++ {
		if p := &l.parcels[i]; p.fate != refused {
			l.accept(p)
		}
	}
	return err
}

func (l *ledger) enter(n *node, o *fabric.Outgoing) {
	for i, to := range o.To {
		b := &l.book(n.m, l.c.member(to))[o.Lane]
		l.parcels = append(l.parcels, parcel{
			from: n.m, to: l.c.member(to), fromInc: n.inc, toInc: b.toInc, at: l.c.net.Now(), lane: o.Lane,
			digest: sum(o.Patch[i], o.Body), weight: int32(len(o.Patch[i]) + len(o.Body) + frameOverhead),
		})
	}
	l.start = append(l.start, len(l.parcels))
}

func (l *ledger) accept(p *parcel) {
	b := &l.book(p.from, p.to)[p.lane]
	b.accepted++
	p.seq = b.accepted
	b.openBytes += int(p.weight)
	l.bounded(p, b)
}

// watchedHandler books what a port has to say to a node.
type watchedHandler struct{ n *node }

func (c *cluster) handlerOf(n *node) fabric.Handler {
	var h fabric.Handler = &watchedHandler{n}
	if wrap := c.cfg.hooks.handler; wrap != nil {
		h = wrap(c, n.m.id, h)
	}
	return h
}

func (w *watchedHandler) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	for i := range frames {
		w.n.c.report.Frames++
		w.n.c.checks.ledger.delivered(w.n, from, &frames[i])
	}
	w.n.Deliver(from, frames)
}

func (w *watchedHandler) Gap(from fabric.MemberID, gap fabric.Gap) {
	w.n.c.checks.ledger.gap(w.n, from, gap)
	w.n.Gap(from, gap)
}

func (w *watchedHandler) Row(from fabric.MemberID, row fabric.Row) {
	w.n.c.report.Rows++
	w.n.Row(from, row)
}

func (w *watchedHandler) Resolve(settled []fabric.Resolution) {
	for i := range settled {
		w.n.c.checks.ledger.resolved(w.n, &settled[i])
	}
	w.n.Resolve(settled)
}

// Link: a session between two incarnations starts the numbers of frames anew.
func (w *watchedHandler) Link(peer fabric.MemberID, s fabric.LinkState) {
	if s.Up {
		l, to := &w.n.c.checks.ledger, w.n.c.member(peer)
		for i := range l.book(w.n.m, to) {
			if b := &l.book(w.n.m, to)[i]; b.fromInc != w.n.inc || b.toInc != s.Incarnation {
				b.fromInc, b.toInc, b.accepted, b.openBytes, b.ackedBytes = w.n.inc, s.Incarnation, 0, 0, 0
			}
		}
	}
	w.n.Link(peer, s)
}
