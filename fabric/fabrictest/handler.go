package fabrictest

import (
	"errors"
	"time"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/fabric"
)

var handlerCases = []testCase{
	{
		name:  "handler/reenters",
		quote: "D3: a handler may call Send and Publish",
		fn:    handlerReenters,
	},
	{
		name:  "handler/serial",
		quote: "the calls Deliver, Gap, Row and Link about one peer are never concurrent with each other",
		fn:    handlerSerial,
	},
	{
		name:  "handler/bytes",
		quote: "D2: bytes handed to a handler are valid until that call returns",
		fn:    handlerBytes,
	},
}

func handlerReenters(e *env) {
	if e.f.Lossy {
		e.resolvesReenter() // a lost frame has no answer
		return
	}
	const rounds = 100
	for i, id := range e.ids {
		m, strand := e.member(id), 10*(i+1)
		left, version := rounds, uint64(0)
		e.mu.Lock()
		m.onDeliver = func(from fabric.MemberID, _ []fabric.Frame) {
			e.mu.Lock()
			left--
			version++
			more, v := left > 0, version
			e.mu.Unlock()
			if !more {
				return
			}
			e.send(id, msg{to: one(from), lane: fabric.LaneControl, size: 64, patch: -1, strand: strand + e.rank(from)})
			if err := e.publish(id, v, one(from)); err != nil && !errors.Is(err, fabric.ErrStaleRow) && !errors.Is(err, fabric.ErrClosed) {
				e.violate("D3: Publish in Deliver: %v", err)
			}
		}
		e.mu.Unlock()
	}
	for _, id := range e.ids {
		e.push(id, msg{to: e.others(id), lane: fabric.LaneControl, size: 64, patch: -1, strand: 1000})
	}
	e.must("D3: frames sent by handlers arrive", e.f.Patience, func() bool {
		return e.count(func(_ *sentFrame, d *destination) bool { return d.delivered }) >= rounds
	})
	e.resolvesReenter()
}

// resolvesReenter sends the next frame from Resolve, as a window does.
func (e *env) resolvesReenter() {
	a, b := e.ids[0], e.ids[1]
	m, left := e.member(a), 60
	e.mu.Lock()
	m.onResolve = func(settled []fabric.Resolution) {
		e.mu.Lock()
		left -= len(settled)
		more := left > 0
		e.mu.Unlock()
		if more {
			e.send(a, msg{to: one(b), lane: fabric.LaneBulk, size: 64, patch: -1, strand: unordered})
		}
	}
	e.mu.Unlock()
	e.push(a, msg{to: one(b), lane: fabric.LaneBulk, size: 64, patch: -1, strand: unordered})
	e.must("D3: frames sent in Resolve are resolved", e.f.Patience, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return left <= 0
	})
	e.mu.Lock()
	m.onResolve = nil
	e.mu.Unlock()
}

func (e *env) rank(id fabric.MemberID) int {
	for i, x := range e.ids {
		if x == id {
			return i
		}
	}
	return -1
}

func handlerSerial(e *env) {
	for _, id := range e.ids {
		e.linger(id, 50*time.Microsecond)
	}
	e.each(len(e.ids)*2, func(i int) {
		from := e.ids[i/2]
		for n := range uint64(60) {
			e.publish(from, 2*n+uint64(i%2)+1, e.others(from)) // some are stale
			if e.offer(from, msg{to: e.others(from), lane: fabric.Lane(n % fabric.Lanes), size: 700, patch: -1, strand: i}) == nil {
				return
			}
		}
	})
	e.resolveAll()
	if e.c.Kill != nil {
		e.kill(e.ids[2]) // Link calls, too
		e.must("P4: peers are told that the link is down", e.f.Patience, func() bool { return !e.linkOf(e.ids[0], e.ids[2]).Up })
	}
}

func handlerBytes(e *env) {
	a, b := e.ids[0], e.ids[1]
	for round := range 5 {
		e.stall(b, a)
		for n := range 40 {
			e.send(a, msg{to: one(b), lane: fabric.Lane(n % fabric.Lanes), size: 100 + 300*round, patch: 9})
		}
		e.pass(2 * time.Millisecond)
		e.unstall(b) // bytes are checked once more then
		e.resolveAll()
		e.ackedArrive()
	}
}

var lifeCases = []testCase{
	{
		name:  "life/kill",
		quote: "Link says that a peer can be reached now, or no longer and why",
		needs: []Ability{AbleKill},
		opt:   shortTicket,
		fn:    lifeKill,
	},
	{
		name:  "life/sender restarts",
		quote: "D4: incarnations rise with each start; frames of an earlier one are refused",
		needs: []Ability{AbleKill, AbleRestart},
		opt:   shortTicket,
		fn:    lifeSenderRestarts,
	},
	{
		name:  "life/receiver restarts",
		quote: "F1: once, also when the receiver starts anew: its link sequences start at 1 again",
		needs: []Ability{AbleKill, AbleRestart},
		opt:   shortTicket,
		fn:    lifeReceiverRestarts,
	},
	{
		name:  "life/closed and restarted",
		quote: "D4: incarnations of a member rise with each start",
		needs: []Ability{AbleRestart},
		opt:   shortTicket,
		fn:    lifeCloseRestart,
	},
}

func lifeKill(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	e.kill(c)
	for _, id := range []fabric.MemberID{a, b} {
		e.must("P4: peers are told that the link is down", e.f.Patience, func() bool { return !e.linkOf(id, c).Up })
		if !e.linkOf(id, e.others(c)[1-e.rank(id)]).Up {
			e.violate("P4: the death of %s took the link of two others down", c)
		}
	}
	e.push(a, msg{to: one(b), lane: fabric.LaneAppend, size: 10, patch: -1})
}

func lifeSenderRestarts(e *env) {
	a, b := e.ids[0], e.ids[1]
	if e.c.Advance == nil {
		e.linger(b, 300*time.Microsecond) // so that there is a backlog
	}
	for range 3 {
		for n := range 40 {
			e.send(a, msg{to: e.others(a), lane: fabric.Lane(n % fabric.Lanes), size: 1000, patch: -1})
		}
		e.kill(a)
		e.restart(a)
		e.awaitRestart(a)
		for _, lane := range allLanes {
			e.settled(a, b, lane)
			e.settled(b, a, lane)
		}
	}
}

// awaitRestart waits until the others see the new incarnation.
func (e *env) awaitRestart(id fabric.MemberID) {
	e.tb.Helper()
	e.awaitLinks()
	e.must("D4: the others see the new incarnation", e.f.Patience, func() bool {
		for _, p := range e.others(id) {
			l := e.linkOf(p, id)
			if !l.Up || l.Incarnation != 0 && l.Incarnation != uint64(e.member(id).gen)+1 {
				return false
			}
		}
		return true
	})
}

func lifeReceiverRestarts(e *env) {
	a, b := e.ids[0], e.ids[1]
	for range 3 {
		if e.c.Cut != nil {
			e.cut(b, a) // some frames arrive and the sender does not learn it
		}
		for n := range 40 {
			e.send(a, msg{to: one(b), lane: fabric.Lane(n % fabric.Lanes), size: 1000, patch: -1})
		}
		e.pass(5 * time.Millisecond)
		e.kill(b)
		e.mend()
		for n := range 10 {
			e.send(a, msg{to: one(b), lane: fabric.Lane(n % fabric.Lanes), size: 1000, patch: -1})
		}
		e.restart(b)
		for n := range 10 {
			e.send(a, msg{to: one(b), lane: fabric.Lane(n % fabric.Lanes), size: 1000, patch: -1})
		}
		e.awaitRestart(b)
		e.resolveAll()
		for _, lane := range allLanes {
			e.push(a, msg{to: one(b), lane: lane, size: 9, patch: -1})
			e.push(b, msg{to: one(a), lane: lane, size: 9, patch: -1})
		}
		e.resolveAll()
	}
}

func lifeCloseRestart(e *env) {
	a, b := e.ids[0], e.ids[1]
	e.push(a, msg{to: one(b), lane: fabric.LaneAppend, size: 10, patch: -1})
	e.closePort(a)
	e.must("P4: peers are told that the link is down", e.f.Patience, func() bool { return !e.linkOf(b, a).Up })
	e.restart(a)
	e.awaitRestart(a)
	e.settled(a, b, fabric.LaneAppend)
	e.settled(b, a, fabric.LaneAppend)
}

// closeLeaks starts after env has made a cluster: it makes another one.
func closeLeaks(e *env) {
	before := goleak.IgnoreCurrent()
	inner := newEnv(e.tb, e.f, &testCase{opt: e.opt, members: len(e.ids)})
	for range 20 {
		inner.push(inner.ids[0], msg{to: inner.others(inner.ids[0]), lane: fabric.LaneAppend, size: 500, patch: -1})
	}
	inner.closePort(inner.ids[1])
	inner.finish()
	if err := goleak.Find(before); err != nil {
		e.violate("Close leaves goroutines behind: %v", err)
	}
}
