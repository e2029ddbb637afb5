package fabrictest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

var ticketCases = []testCase{
	{
		name:  "tickets/acked",
		quote: "F2: every ticket resolves exactly once; acked implies in the receiver's memory",
		fn:    ticketsAcked,
	},
	{
		name:  "tickets/zero",
		quote: "with ticket 0 losses are still resolved, acks are not reported",
		fn:    ticketsZero,
	},
	{
		name:  "tickets/slow receiver",
		quote: "a handler may take its time; F2",
		fn:    ticketsSlow,
	},
	{
		name:  "tickets/dead receiver",
		quote: "F2: a ticket resolves in bounded time, also when the receiver is dead",
		opt:   shortTicket,
		needs: []Ability{AbleKill},
		fn:    ticketsDead,
	},
	{
		name:  "tickets/stuck receiver",
		quote: "F2: a ticket resolves in bounded time, also when the receiver does not return from Deliver",
		opt:   shortTicket,
		fn:    ticketsStuck,
	},
	{
		name:  "tickets/loss",
		quote: "F1: a loss is never silent: the ticket says lost, and the receiver is handed a gap with the missing sequence numbers",
		opt:   shortTicket,
		needs: []Ability{AbleCut},
		fn:    ticketsLoss,
	},
	{
		name:  "tickets/acks lost",
		quote: "F1: once, also when acks are lost",
		opt:   shortTicket,
		needs: []Ability{AbleCut},
		fn:    ticketsAckLoss,
	},
	{
		name:  "tickets/short cuts",
		quote: "F1, F2 hold over short interruptions",
		opt:   Options{TicketTimeout: 2 * time.Second},
		needs: []Ability{AbleCut},
		fn:    ticketsShortCuts,
	},
}

func ticketsAcked(e *env) {
	for i := range 300 {
		e.push(e.ids[0], msg{to: e.others(e.ids[0]), lane: fabric.Lane(i % fabric.Lanes), size: 200, patch: 8})
	}
	e.resolveAll()
	if n := e.count(func(_ *sentFrame, d *destination) bool { return d.state == acked }); n != 600 && !e.f.Lossy {
		e.violate("F2: %d of 600 tickets acked", n)
	}
}

func ticketsZero(e *env) {
	a, b := e.ids[0], e.ids[1]
	for range 50 {
		e.push(a, msg{to: one(b), lane: fabric.LaneAppend, size: 10, noTicket: true, patch: -1})
	}
	e.push(a, msg{to: one(b), lane: fabric.LaneAppend, size: 10, patch: -1})
	e.resolveAll()
	if e.f.Lossy {
		return
	}
	e.must("F1: frames without a ticket arrive", e.f.Patience, func() bool {
		return e.count(func(_ *sentFrame, d *destination) bool { return d.delivered }) == 51
	})
}

func ticketsSlow(e *env) {
	a, b := e.ids[0], e.ids[1]
	// The first frames wait, however slowly this goroutine runs beside others.
	e.stall(b, a)
	for range 16 {
		e.push(a, msg{to: one(b), lane: fabric.LaneAppend, size: 4096, patch: -1})
	}
	e.unstall(b)
	if e.c.Advance == nil {
		e.linger(b, 300*time.Microsecond)
	}
	for range 134 {
		e.push(a, msg{to: one(b), lane: fabric.LaneAppend, size: 4096, patch: -1})
	}
	e.resolveAll()
}

func (e *env) linger(id fabric.MemberID, d time.Duration) {
	m := e.member(id)
	e.mu.Lock()
	defer e.mu.Unlock()
	m.linger = d
}

func ticketsDead(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	for range 20 {
		e.push(a, msg{to: []fabric.MemberID{b, c}, lane: fabric.LaneAppend, size: 100, patch: -1})
	}
	e.kill(b)
	for range 40 {
		e.send(a, msg{to: one(b), lane: fabric.LaneAppend, size: 100, patch: -1})
		e.push(a, msg{to: one(c), lane: fabric.LaneAppend, size: 100, patch: -1})
	}
	e.resolveAll()
	if n := e.count(func(_ *sentFrame, d *destination) bool { return d.to == c && d.state == lost }); n > 0 && !e.f.Lossy {
		e.violate("F3: the death of one destination lost %d frames to another", n)
	}
}

func ticketsStuck(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	e.stall(b, a)
	for range 20 {
		e.push(b, msg{to: one(c), lane: fabric.LaneAppend, size: 100, patch: -1}) // what the stuck member sends, too
	}
	e.faced = true
	e.fill(a, b, fabric.LaneAppend, 1024) // more than the receiver keeps
	e.resolveAll()
	e.unstall(b)
	e.settled(a, b, fabric.LaneAppend)
	e.settled(b, c, fabric.LaneAppend)
}

func ticketsLoss(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	for _, lane := range allLanes {
		e.push(a, msg{to: one(b), lane: lane, size: 100, patch: -1})
	}
	e.resolveAll()
	e.cut(a, b)
	var during []*sentFrame
	for i := range 30 {
		frames, _ := e.send(a, msg{to: one(b), lane: fabric.Lane(i % fabric.Lanes), size: 100, patch: -1})
		during = append(during, frames...)
		e.push(a, msg{to: one(c), lane: fabric.LaneAppend, size: 100, patch: -1})
	}
	e.resolveAll()
	losses := 0
	for _, s := range during {
		switch e.stateOf(s, b) {
		case acked:
			e.violate("F2: frame %d to %s was acked through a cut link", s.id, b)
		case lost:
			losses++
		}
	}
	if losses == 0 {
		e.violate("F2: no frame was accepted and lost on a link that had just been cut; the case needs some")
	}
	e.mend()
	for _, lane := range allLanes {
		e.settled(a, b, lane)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	gaps := uint64(0)
	for l := range allLanes {
		gaps += e.members[b].peer(a).lanes[l].gapped
	}
	// Not only those of the cut: the first frame after it may be lost as well,
	// while the link still recovers.
	if all, late := e.lossesLocked(a, b); !e.f.Lossy && int(gaps) != all-late {
		e.violateLocked("F1: %d tickets lost, %d of these frames arrived later, %d reported as missing", all, late, gaps)
	}
}

// lossesLocked counts the frames whose ticket was lost, and those among them that
// arrived all the same.
func (e *env) lossesLocked(from, to fabric.MemberID) (losses, late int) {
	for _, s := range e.sent {
		d := s.to(to)
		if s.from != from || d == nil || d.state != lost {
			continue
		}
		losses++
		if d.delivered {
			late++
		}
	}
	return losses, late
}

func ticketsAckLoss(e *env) {
	a, b := e.ids[0], e.ids[1]
	e.push(a, msg{to: one(b), lane: fabric.LaneAppend, size: 100, patch: -1})
	e.resolveAll()
	for _, wait := range []time.Duration{5 * time.Millisecond, 2 * e.opt.TicketTimeout} {
		e.cut(b, a)
		for range 20 {
			e.send(a, msg{to: one(b), lane: fabric.LaneAppend, size: 100, patch: -1})
		}
		e.eventually(wait, func() bool { return e.count(e.pending) == 0 })
		e.mend()
	}
	e.settled(a, b, fabric.LaneAppend)
	e.settled(b, a, fabric.LaneAppend)
}

func ticketsShortCuts(e *env) {
	a, b := e.ids[0], e.ids[1]
	for i := range 6 {
		for range 10 {
			e.send(a, msg{to: one(b), lane: fabric.LaneAppend, size: 1000, patch: -1})
		}
		if i%2 == 0 {
			e.cut(a, b)
		} else {
			e.cut(b, a)
		}
		for range 5 {
			e.send(a, msg{to: one(b), lane: fabric.LaneAppend, size: 1000, patch: -1})
			e.pass(3 * time.Millisecond)
		}
		e.mend()
	}
	e.settled(a, b, fabric.LaneAppend)
}

var closeCases = []testCase{
	{
		name:  "close/under load",
		quote: "Close: tickets in flight are resolved as lost (ErrClosed), then no handler method is called any more",
		fn:    closeUnderLoad,
	},
	{
		name:  "close/afterwards",
		quote: "after Close the whole batch is refused with ErrClosed; later calls do nothing",
		fn:    closeAfterwards,
	},
	{
		name:  "close/receiver",
		quote: "no handler method is called any more, whatever the peers send",
		fn:    closeReceiver,
	},
	{
		name:  "close/waits",
		quote: "Close waits for running handler calls",
		needs: []Ability{AbleWait},
		fn:    closeWaits,
	},
	{
		name:  "close/leaks",
		quote: "a closed port leaves nothing behind",
		needs: []Ability{AbleWait},
		fn:    closeLeaks,
	},
}

func closeUnderLoad(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	e.faced = true
	e.stall(c, a) // so that some tickets are in flight
	e.fill(a, c, fabric.LaneAppend, 1024)
	var stop atomic.Bool
	load := func(i int) {
		if i == 3 {
			e.pass(2 * time.Millisecond)
			e.closePort(a)
			stop.Store(true)
			return
		}
		for n := range 100_000 {
			if stop.Load() || e.c.Advance != nil && n >= 50 {
				return
			}
			e.send(a, msg{to: []fabric.MemberID{b, c}, lane: fabric.Lane(i), size: 500, patch: -1, strand: i})
		}
	}
	e.each(4, load)
	e.closeResolved(a)
}

// closeResolved checks the books of a port that was closed.
func (e *env) closeResolved(id fabric.MemberID) {
	mine := func(s *sentFrame) bool { return s.from == id && !s.noTicket }
	if n := e.count(func(s *sentFrame, d *destination) bool { return mine(s) && d.state == offered }); n > 0 {
		e.violate("F2: %d tickets not resolved when Close had returned", n)
	}
	if n := e.count(func(s *sentFrame, d *destination) bool {
		return mine(s) && d.state == lost && !errors.Is(d.err, fabric.ErrClosed)
	}); n > 0 && !e.f.Lossy {
		e.violate("F2: %d tickets in flight at Close were lost for another reason than ErrClosed", n)
	}
}

func closeAfterwards(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	for range 20 {
		e.push(a, msg{to: one(b), lane: fabric.LaneAppend, size: 100, patch: -1})
	}
	p := e.port(a)
	e.closePort(a)
	e.closeResolved(a)
	frames, err := e.send(a,
		msg{to: []fabric.MemberID{b, c}, lane: fabric.LaneAppend, size: 100, patch: -1},
		msg{to: one(c), lane: fabric.LaneControl, size: 1, patch: -1})
	if !errors.Is(err, fabric.ErrClosed) {
		e.violate("Send after Close: %v, want ErrClosed", err)
	}
	for _, s := range frames {
		for _, d := range s.dest {
			if d.state != refused || !errors.Is(d.err, fabric.ErrClosed) {
				e.violate("Send after Close: frame %d to %s is not refused with ErrClosed: %v", s.id, d.to, d.err)
			}
		}
	}
	if err := e.publish(a, 1, nil); !errors.Is(err, fabric.ErrClosed) {
		e.violate("Publish after Close: %v, want ErrClosed", err)
	}
	e.promptly("Close again", func() {
		e.each(4, func(int) {
			if err := p.Close(); err != nil {
				e.violate("a later Close returns %v", err)
			}
		})
	})
	p.Capabilities()
	p.Now()
	for _, id := range []fabric.MemberID{b, c} {
		e.must("P4: peers are told that the link is down", e.f.Patience, func() bool { return !e.linkOf(id, a).Up })
	}
}

func (e *env) linkOf(id, peer fabric.MemberID) fabric.LinkState {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.members[id].peer(peer).link
}

func closeReceiver(e *env) {
	a, b := e.ids[0], e.ids[1]
	if e.c.Advance == nil {
		e.linger(b, 3*time.Millisecond) // so that there is a backlog
	}
	for n := range 100 {
		e.send(a, msg{to: one(b), lane: fabric.LaneAppend, size: 2000, patch: -1})
		if n == 50 {
			e.publish(a, 1, one(b))
		}
	}
	e.closePort(b)
	for v := uint64(2); v < 20; v++ {
		e.send(a, msg{to: one(b), lane: fabric.LaneControl, size: 20, patch: -1})
		e.publish(a, v, one(b))
		e.pass(time.Millisecond)
	}
	e.resolveAll()
}

func closeWaits(e *env) {
	a, b := e.ids[0], e.ids[1]
	e.faced = true
	e.stall(b, a)
	done := make(chan struct{})
	p := e.port(b)
	go func() {
		defer close(done)
		p.Close()
	}()
	if e.eventually(50*time.Millisecond, func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}) {
		e.violate("Close returned while a handler call was running")
	}
	e.unstall(b)
	e.promptly("Close ends when the handler returns", func() { <-done })
	e.member(b).end()
}
