package udp

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/raftdv/dv/fabric"
)

// deliverBatch bounds the frames of one Deliver.
const deliverBatch = 64

// deliverer is what a goroutine needs to call the handler about one peer at a
// time. Whoever sets peer.busy owns the right to.
type deliverer struct {
	ev     events
	frames []fabric.Frame
	// since is when the running handler call began, 0: none runs.
	since atomic.Int64
}

func newDeliverer() *deliverer { return &deliverer{frames: make([]fabric.Frame, deliverBatch)} }

// run hands over all that waits. The caller has set busy.
func (d *deliverer) run(pe *peer) {
	for d.collect(pe, nil) {
		d.hand(pe)
	}
}

// collect fetches what is to be handed over next; failed is why the last frames
// could not be.
func (d *deliverer) collect(pe *peer, failed error) bool {
	d.ev.reset()
	pe.mu.Lock()
	defer pe.mu.Unlock()
	now := pe.port.now()
	if failed != nil {
		for _, l := range pe.former {
			l.violated(now, failed, &d.ev)
		}
		if pe.link != nil {
			pe.link.violated(now, failed, &d.ev)
		}
	}
	more := pe.next(now, &d.ev)
	pe.transmit(inlineRounds, false)
	if !more && len(d.ev.settled) > 0 {
		pe.news(&d.ev)
	}
	return more
}

// hand calls the handler with what was collected, and then with what came
// meanwhile.
func (d *deliverer) hand(pe *peer) {
	for {
		// Tickets first: a slow Deliver must not hold them up (F2).
		pe.settle(d.ev.settled)
		failed := d.dispatch(pe)
		if !d.collect(pe, failed) {
			return
		}
	}
}

// dispatch calls the handler for every event, in order.
func (d *deliverer) dispatch(pe *peer) error {
	h, body, n := pe.port.handler, pe.port.cfg.MaxFrame, 0
	flush := func() {
		if n > 0 {
			h.Deliver(pe.id, d.frames[:n])
			n = 0
		}
	}
	for i := range d.ev.list {
		e := &d.ev.list[i]
		for e.kind == eventFrames && e.count > 0 {
			k, err := e.parse(d.frames[n:], body)
			for j := n; j < n+k && err == nil; j++ {
				err = d.checkKind(&d.frames[j])
			}
			if err != nil {
				flush()
				return err
			}
			n = d.voids(pe, n, n+k)
			if n == len(d.frames) {
				flush()
			}
		}
		switch e.kind {
		case eventFrames:
			continue
		case eventGap:
			flush()
			h.Gap(pe.id, e.gap)
		case eventRow:
			flush()
			row, err := fabric.ParseRow(e.data)
			if err != nil {
				return err
			}
			h.Row(pe.id, row)
		case eventLink:
			flush()
			h.Link(pe.id, e.state)
		}
	}
	flush()
	return nil
}

func (d *deliverer) checkKind(f *fabric.Frame) error {
	if !f.Kind.Sendable() || f.Kind == fabric.KindVoid && (len(f.Body) != 8 || binary.LittleEndian.Uint64(f.Body) != 1) {
		return fmt.Errorf("frame %d of the %v lane is of kind %d with %d bytes", f.Link, f.Lane, f.Kind, len(f.Body))
	}
	return nil
}

// voids replaces frames of KindVoid among from..to by gaps; frames before from
// wait to be delivered. It returns how many wait then.
func (d *deliverer) voids(pe *peer, from, to int) int {
	for i := from; i < to; i++ {
		f := &d.frames[i]
		if f.Kind != fabric.KindVoid {
			continue
		}
		if i > 0 {
			pe.port.handler.Deliver(pe.id, d.frames[:i])
		}
		pe.port.handler.Gap(pe.id, fabric.Gap{Lane: f.Lane, First: f.Link, Count: 1})
		copy(d.frames, d.frames[i+1:to])
		to, i = to-i-1, -1
	}
	return to
}
