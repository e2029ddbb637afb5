package ordered

import (
	"bytes"

	"github.com/raftdv/dv/fabric"
)

// handler is what the port calls.
type handler struct{ g *Group }

// Deliver implements fabric.Handler. It waits while there is no room.
func (h handler) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	l := &h.g.loop
	l.mu.Lock()
	for i := range frames {
		f := fabric.Frame{Header: frames[i].Header, Body: bytes.Clone(frames[i].Body)}
		f.Seal, f.Destinations, f.Extensions = nil, nil, nil
		if f.Class < fabric.ClassAgreed {
			l.await(from)
			l.loose++
		}
		l.add(input{kind: inputFrame, from: from, frame: f})
	}
	l.kick()
	l.mu.Unlock()
}

// await waits until there is room for another frame without an order; mu is held.
func (l *loop) await(from fabric.MemberID) {
	for h := &l.g.events; h.crowded(l.loose) && !l.ended; {
		l.kick()
		l.blocked[from]++
		if l.loose > 0 {
			l.idle.Wait() // until they are events
		} else {
			l.mu.Unlock()
			h.wait()
			l.mu.Lock()
		}
		if l.blocked[from]--; l.blocked[from] == 0 {
			delete(l.blocked, from)
		}
	}
}

// Gap implements fabric.Handler. What is missing is asked for by its sender, who
// knows it from its ticket.
func (h handler) Gap(fabric.MemberID, fabric.Gap) {}

// Row implements fabric.Handler.
func (h handler) Row(from fabric.MemberID, row fabric.Row) {
	row.Owner, row.Sections = from, bytes.Clone(row.Sections)
	h.g.loop.input(input{kind: inputRow, row: row})
}

// Resolve implements fabric.Handler.
func (h handler) Resolve(settled []fabric.Resolution) {
	l := &h.g.loop
	l.mu.Lock()
	for _, r := range settled {
		l.add(input{kind: inputSettled, settled: r})
	}
	l.kick()
	l.mu.Unlock()
}

// Link implements fabric.Handler.
func (h handler) Link(peer fabric.MemberID, state fabric.LinkState) {
	h.g.loop.input(input{kind: inputLink, from: peer, up: state.Up})
}
