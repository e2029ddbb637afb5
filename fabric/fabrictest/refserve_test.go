package fabrictest

import (
	"encoding/binary"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// serve hands over what comes from one peer, one call at a time: links first,
// then the row, then the lanes by priority.
func (p *refPort) serve(peer fabric.MemberID) {
	p.n.mu.Lock()
	defer p.n.mu.Unlock()
	for {
		call := p.next(peer)
		if p.ended() && !(p.n.is("delivers after Close") && !p.killed && call != nil) {
			return
		}
		if call == nil {
			p.wake.Wait()
			continue
		}
		p.n.mu.Unlock()
		call()
		p.n.mu.Lock()
		if q := p.n.ports[peer]; q != nil {
			q.pump() // there is room again
		}
	}
}

// next takes the next call about a peer out of its inbox.
func (p *refPort) next(peer fabric.MemberID) func() {
	in, from := p.in[peer], peer
	if p.n.is("the sender is taken from elsewhere") {
		from = p.n.ids[0]
		if p.id == from {
			from = peer
		}
	}
	switch {
	case len(in.links) > 0:
		s := in.links[0]
		in.links = in.links[1:]
		return func() { p.h.Link(peer, s) }
	case len(in.rows) > 0:
		row := in.rows[0]
		in.rows = in.rows[1:]
		return p.nextRow(from, in, row)
	}
	lanes := []fabric.Lane{fabric.LaneControl, fabric.LaneAppend, fabric.LaneBulk}
	if p.n.is("bulk goes first") {
		slices.Reverse(lanes)
	}
	for _, l := range lanes {
		if len(in.lanes[l].queue) > 0 {
			return p.nextFrames(from, in, l)
		}
	}
	return nil
}

func (p *refPort) nextRow(from fabric.MemberID, in *inbox, row fabric.Row) func() {
	old := in.last
	in.last = row
	p.stats[from].RowsReceived++
	if old.Version > 0 && p.n.often("an old row comes back", 5) || p.n.is("the row of an old incarnation comes back") && old.Incarnation < row.Incarnation {
		row = old
	}
	if p.n.is("rows do not wait for other calls") {
		go p.h.Row(from, row)
		return func() {}
	}
	return func() { p.h.Row(from, row) }
}

func (p *refPort) nextFrames(from fabric.MemberID, in *inbox, l fabric.Lane) func() {
	q := &in.lanes[l]
	first := &q.queue[0]
	if gap := (fabric.Gap{Lane: l, First: q.next, Count: first.Link - q.next}); first.Link > q.next {
		q.next = first.Link
		p.stats[from].Lane[l].Gaps += gap.Count
		if p.n.is("a gap names the wrong numbers") {
			gap.First++
		}
		if p.n.is("gaps are not reported") {
			return func() {}
		}
		return func() { p.h.Gap(from, gap) }
	}
	if first.Kind == fabric.KindVoid && !p.n.is("a void is delivered") {
		gap := fabric.Gap{Lane: l, First: first.Link, Count: binary.LittleEndian.Uint64(first.Body)}
		p.take(from, in, l, 1)
		return func() { p.h.Gap(from, gap) }
	}
	n := 1
	for n < min(16, len(q.queue)) && q.queue[n].Link == q.queue[n-1].Link+1 && q.queue[n].Kind != fabric.KindVoid {
		n++
	}
	frames := p.take(from, in, l, n)
	p.stats[from].Lane[l].Delivered += uint64(n)
	return func() {
		if p.n.is("bytes are overwritten during Deliver") {
			go func() {
				for i := range frames {
					p.n.mu.Lock()
					frames[i].Body = make([]byte, len(frames[i].Body))
					p.n.mu.Unlock()
				}
			}()
		}
		p.h.Deliver(from, frames)
	}
}

func (p *refPort) take(from fabric.MemberID, in *inbox, l fabric.Lane, n int) []fabric.Frame {
	q := &in.lanes[l]
	frames := slices.Clone(q.queue[:n])
	q.queue = q.queue[n:]
	for _, f := range frames {
		q.bytes -= p.weigh(len(f.Body) + len(f.Patch))
		q.next = f.Link + 1
		p.stats[from].BytesReceived += uint64(len(f.Body))
	}
	return frames
}
