package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"

	"github.com/raftdv/dv/fabric"
)

const (
	// deliverBatch bounds the frames of one Deliver.
	deliverBatch = 64
	// deliverBytes is what one Deliver holds in bytes, more or less; the frame
	// that is larger comes alone.
	deliverBytes = 128 << 10
)

// deliverer is what a goroutine needs to call the handler about one peer at a
// time. It copies slots into buf and parses the copies.
type deliverer struct {
	settled []fabric.Resolution
	buf     []byte
	frames  [deliverBatch]fabric.Frame
	n       int  // of frames
	drain   bool // the session has ended
	// since is when the running handler call began, 0: none runs.
	since atomic.Int64
	calls atomic.Uint64
}

func newDeliverer(slot int) *deliverer {
	return &deliverer{buf: make([]byte, 0, deliverBytes+slot)}
}

// serve does what there is to do for one peer: at most one batch of each lane.
// It reports whether there was something.
func (d *deliverer) serve(pe *peer) bool {
	now := pe.port.now()
	pe.mu.Lock()
	clear(d.settled)
	d.settled = pe.settle(now, d.settled[:0])
	turn := pe.claim()
	pe.mu.Unlock()
	if len(d.settled) == 0 && !turn {
		return false
	}
	d.calls.Add(1)
	d.since.Store(int64(max(now, 1)))
	pe.port.pump.watch(now)
	// Tickets first: a slow Deliver must not hold them up (F2).
	if len(d.settled) > 0 {
		pe.port.handler.Resolve(d.settled)
	}
	if turn {
		d.turn(pe)
		pe.mu.Lock()
		pe.busy = false
		pe.mu.Unlock()
	}
	d.since.Store(0)
	return true
}

// turn tells the handler what comes next about a peer: frames and rows of the
// session that it knows of, then that this one has ended, then that another one
// has begun. The right is held.
func (d *deliverer) turn(pe *peer) {
	pe.mu.Lock()
	now := pe.sess
	if now != nil && now != pe.told {
		now.retain()
	}
	pe.mu.Unlock()
	if s := pe.told; s != nil {
		// An ended session changes no more: end came before now was read.
		if s == now || s.drain && s.left > 0 {
			d.drain = s != now
			worked, err := d.handOver(pe, s)
			if err != nil {
				pe.fail(s, err)
				s.left = 0
			}
			if worked || s == now {
				if now != nil && now != s {
					now.release() // for the next turn
				}
				return
			}
		}
		pe.told = nil
		pe.port.handler.Link(pe.id, fabric.LinkState{Incarnation: s.incarnation, Err: s.why})
		s.release()
	}
	if now != nil {
		pe.told = now
		d.open(pe, now)
	}
}

// open tells the handler of a new session, and what was lost before it.
func (d *deliverer) open(pe *peer, s *session) {
	if s.incarnation != pe.recvInc || pe.recv[0] == 0 {
		pe.recvInc = s.incarnation
		for i := range pe.recv {
			pe.recv[i] = 1
		}
	}
	pe.port.handler.Link(pe.id, fabric.LinkState{Up: true, Incarnation: s.incarnation})
	for i, start := range s.start {
		if start < pe.recv[i] {
			pe.fail(s, fmt.Errorf("%w: session of the %v lane starts at frame %d, expected %d", ErrSequence, fabric.Lane(i), start, pe.recv[i]))
			s.left = 0
			return
		}
		if start > pe.recv[i] {
			d.gap(pe, fabric.Lane(i), start-pe.recv[i])
		}
	}
}

// gap reports the next frames of a lane as lost.
func (d *deliverer) gap(pe *peer, lane fabric.Lane, count uint64) {
	first := pe.recv[lane]
	pe.recv[lane] += count
	pe.stats.lane[lane].gaps.Add(count)
	pe.port.handler.Gap(pe.id, fabric.Gap{Lane: lane, First: first, Count: count})
}

// handOver calls the handler once or twice: for control and the row, or else for
// a batch of another lane, which take turns. Control may have come during the
// call: nothing of a lower lane follows before it was looked for. What is
// returned as an error ends the session; what came before it was handed over.
func (d *deliverer) handOver(pe *peer, s *session) (worked bool, err error) {
	if worked, err = d.lane(pe, s, fabric.LaneControl); err != nil {
		return worked, err
	}
	if s.rows.news() {
		return true, d.row(pe, s)
	}
	for range lowerLanes {
		if worked {
			return worked, nil
		}
		lane := fabric.LaneAppend + fabric.Lane(s.turns%lowerLanes)
		s.turns++
		if worked, err = d.lane(pe, s, lane); err != nil {
			return worked, err
		}
	}
	return worked, nil
}

// lowerLanes are those that take turns: append and bulk.
const lowerLanes = 2

// lane hands over a batch of one lane.
func (d *deliverer) lane(pe *peer, s *session, lane fabric.Lane) (worked bool, err error) {
	in, content := &s.in[lane], []byte(nil)
	for n := 0; n < deliverBatch && len(d.buf) < deliverBytes && s.left > 0; n++ {
		if d.buf, content, err = in.ring.take(d.buf); err != nil {
			break
		}
		worked = true
		if d.drain {
			s.left--
		}
		if err = d.frame(pe, s, lane, content); err != nil {
			break
		}
	}
	d.flush(pe, s)
	if err == nil || errors.Is(err, fabric.ErrShort) {
		return worked, nil
	}
	return worked, fmt.Errorf("%v lane: %w", lane, err)
}

// frame takes one frame, or a piece of one, out of a slot's content.
func (d *deliverer) frame(pe *peer, s *session, lane fabric.Lane, content []byte) error {
	f := &d.frames[d.n]
	rest, err := fabric.ParseFrame(content, pe.port.cfg.MaxFrame, f)
	switch {
	case errors.Is(err, fabric.ErrShort):
		return fmt.Errorf("%w: cut short", ErrBadSlot)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrBadSlot, err)
	case len(rest) > 0:
		return fmt.Errorf("%w: %d bytes behind frame %d", ErrBadSlot, len(rest), f.Link)
	case f.Lane != lane || f.Link != pe.recv[lane] || f.Link == math.MaxUint64:
		return fmt.Errorf("%w: frame %d of the %v lane where %d is due", ErrSequence, f.Link, f.Lane, pe.recv[lane])
	case !f.Kind.Sendable():
		return fmt.Errorf("%w: frame %d of kind %d", ErrUnexpected, f.Link, f.Kind)
	case f.Has&^(fabric.HasStamp|fabric.HasPatch|fabric.HasFragment) != 0:
		return fmt.Errorf("%w: frame %d has sections %#x", ErrUnexpected, f.Link, uint32(f.Has))
	case f.Has&fabric.HasFragment == 0 && s.in[lane].part.active:
		return fmt.Errorf("%w: frame %d within the pieces of another", ErrBadPiece, f.Link)
	case f.Has&fabric.HasFragment == 0 && len(f.Patch)+len(f.Body) > pe.port.cfg.MaxFrame:
		return fmt.Errorf("%w: frame %d of %d bytes, at most %d", ErrUnexpected, f.Link, len(f.Patch)+len(f.Body), pe.port.cfg.MaxFrame)
	}
	pe.stats.received(len(content))
	switch {
	case f.Has&fabric.HasFragment != 0:
		return d.piece(pe, s, f)
	case f.Kind == fabric.KindVoid:
		return d.void(pe, s, f)
	}
	pe.recv[lane]++
	d.n++
	return nil
}

// piece takes a piece. The last one completes the frame, which is handed over
// at once: its memory belongs to the lane.
func (d *deliverer) piece(pe *peer, s *session, f *fabric.Frame) error {
	part := &s.in[f.Lane].part
	whole, err := part.add(f, pe.port.cfg.MaxFrame)
	if err != nil || !whole {
		return err
	}
	if part.frame.Kind == fabric.KindVoid {
		return fmt.Errorf("%w: frame %d of kind void in pieces", ErrUnexpected, f.Link)
	}
	d.flush(pe, s)
	d.frames[0], d.n = part.take(), 1
	pe.recv[part.frame.Lane]++
	d.flush(pe, s)
	return nil
}

// void reports the frame that stands for a lost one.
func (d *deliverer) void(pe *peer, s *session, f *fabric.Frame) error {
	if len(f.Body) != 8 || binary.LittleEndian.Uint64(f.Body) != 1 || len(f.Patch) > 0 {
		return fmt.Errorf("%w: frame %d of kind void with %d bytes", ErrUnexpected, f.Link, len(f.Body))
	}
	lane := f.Lane
	d.flush(pe, s)
	d.gap(pe, lane, 1)
	return nil
}

// flush gives credit for what was taken in and hands it over. From the credit
// on the sender may say acked: nothing but Close or the end of the process
// keeps the frames from the handler now.
func (d *deliverer) flush(pe *peer, s *session) {
	ring := s.publish()
	if d.n > 0 {
		for i := range d.frames[:d.n] {
			pe.stats.lane[d.frames[i].Lane].delivered.Add(1)
		}
		pe.port.handler.Deliver(pe.id, d.frames[:d.n])
		clear(d.frames[:d.n])
		d.n = 0
	}
	d.buf = d.buf[:0]
	if ring {
		// Not before the call: an answer of the handler rings anyway. For a
		// handler that is stuck, the pump rings.
		s.bell.ring()
	}
}

// row hands over the peer's row, if it is newer than the one before.
func (d *deliverer) row(pe *peer, s *session) error {
	b, err := s.rows.take()
	if err != nil || b == nil {
		return err
	}
	row, err := fabric.ParseRow(b)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrBadRow, err)
	}
	if row.Owner != pe.id {
		return fmt.Errorf("%w: it is that of %s", ErrBadRow, row.Owner)
	}
	if pe.hasRow && !row.Newer(&pe.lastRow) {
		return nil // of a former session
	}
	pe.hasRow, pe.lastRow = true, row
	pe.lastRow.Sections = nil
	pe.stats.rowsReceived.Add(1)
	pe.port.handler.Row(pe.id, row)
	return nil
}

// reader hands over what comes. One reader of a port is current; a former one
// is stuck in a handler call.
type reader struct {
	port    *Port
	d       *deliverer
	spin    spinner
	retired atomic.Bool
}

func (r *reader) run() {
	p := r.port
	for {
		seen := p.bell.value()
		worked := r.sweep()
		if r.retired.Load() || p.isClosed() { // not before value: Close rings once
			break
		}
		if worked {
			continue
		}
		changed := func() bool { return p.bell.value() != seen }
		if r.spin.spin(p.now, changed) {
			continue
		}
		// To whom the last handler call woke: while this goroutine sleeps in the
		// kernel, the scheduler takes its time to notice that others could run.
		runtime.Gosched()
		if !changed() {
			p.bell.sleep(seen)
		}
	}
	// Whoever took over may have passed by the peer that this one was stuck
	// with.
	p.bell.ring()
}

// sweep looks at every peer once, and reports whether one had work.
func (r *reader) sweep() (worked bool) {
	for _, pe := range r.port.peers.Load().known {
		if r.d.serve(pe) {
			worked = true
		}
		if r.retired.Load() || r.port.isClosed() {
			return worked
		}
	}
	return worked
}
