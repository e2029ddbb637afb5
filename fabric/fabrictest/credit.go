package fabrictest

import (
	"errors"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

var creditCases = []testCase{
	{
		name:  "credit/refused",
		quote: "F3: Send never blocks; a destination without credit is refused at once, and only that one",
		fn:    creditRefused,
	},
	{
		name:  "credit/empty frames",
		quote: "F3: every queue has a configured bound, for empty frames too",
		fn:    creditEmpty,
	},
	{
		name:  "credit/large frames",
		quote: "F3: every queue has a configured bound, in bytes",
		fn:    func(e *env) { e.fillAndRecover(fabric.LaneAppend, e.maxFrame()) },
	},
	{
		name:  "credit/dead receiver",
		quote: "F3: what waits for a dead receiver is bounded",
		needs: []Ability{AbleKill},
		opt:   shortTicket,
		fn:    creditDead,
	},
	{
		name:  "credit/one batch",
		quote: "F3: one Send cannot exceed the bound either",
		fn:    creditBatch,
	},
}

func creditRefused(e *env) {
	a, b, c := e.ids[0], e.ids[1], e.ids[2]
	e.stall(b, a)
	e.fill(a, b, fabric.LaneAppend, 1024)
	frames, err := e.send(a, msg{to: []fabric.MemberID{b, c}, lane: fabric.LaneAppend, size: 1024, patch: 10})
	if !errors.Is(err, fabric.ErrNoCredit) {
		e.violate("F3: Send without credit: %v, want ErrNoCredit", err)
	}
	if got := e.stateOf(frames[0], b); got != refused {
		e.violate("F3: the destination without credit was not refused (state %d)", got)
	}
	if got := e.stateOf(frames[0], c); got == refused {
		e.violate("F3: a destination with credit was refused: %v", e.reasonOf(frames[0], c))
	}
	e.checkBounds()
	for i := range 50 { // the others go on
		e.push(a, msg{to: one(c), lane: fabric.Lane(i % fabric.Lanes), size: 1024, patch: -1})
	}
	e.unstall(b)
	e.resolveAll()
	e.push(a, msg{to: []fabric.MemberID{b, c}, lane: fabric.LaneAppend, size: 1024, patch: -1})
}

func creditEmpty(e *env) { e.fillAndRecover(fabric.LaneControl, 0) }

func (e *env) fillAndRecover(lane fabric.Lane, size int) {
	a, b := e.ids[0], e.ids[1]
	e.stall(b, a)
	if e.fill(a, b, lane, size) == 0 {
		e.violate("F3: a link with nothing on it has no credit")
	}
	e.checkBounds()
	e.unstall(b)
	e.resolveAll()
	for range 3 {
		e.push(a, msg{to: one(b), lane: lane, size: size, patch: -1})
		e.resolveAll()
	}
}

// checkBounds holds what the ports report against what was asked for.
func (e *env) checkBounds() {
	for _, id := range e.ids {
		r, ok := e.port(id).(fabric.StatsReporter)
		if !ok {
			continue
		}
		for _, s := range r.Stats(nil) {
			for l, lane := range s.Lane {
				if lane.QueuedBytes > e.opt.QueueBytes || lane.CreditBytes < 0 {
					e.violate("F3: %s queues %d bytes to %s in %v (credit %d), asked for at most %d", id, lane.QueuedBytes, s.Peer, fabric.Lane(l), lane.CreditBytes, e.opt.QueueBytes)
				}
			}
		}
	}
}

func creditDead(e *env) {
	a, b := e.ids[0], e.ids[1]
	e.kill(b)
	e.fill(a, b, fabric.LaneAppend, 1024)
}

func creditBatch(e *env) {
	a, b := e.ids[0], e.ids[1]
	e.stall(b, a)
	batch := make([]msg, 4*e.opt.QueueBytes/1024)
	for i := range batch {
		batch[i] = msg{to: one(b), lane: fabric.LaneAppend, size: 1024, patch: -1}
	}
	var err error
	e.promptly("F3: Send never blocks", func() { _, err = e.send(a, batch...) })
	if !errors.Is(err, fabric.ErrNoCredit) {
		e.violate("F3: a batch of four times the bound: %v, want ErrNoCredit", err)
	}
	e.checkBounds()
	e.unstall(b)
}

var refusalCases = []testCase{
	{
		name:  "refused/too large",
		quote: "ErrTooLarge: the frame or row exceeds the port's capabilities",
		fn:    refusedTooLarge,
	},
	{
		name:  "refused/bad frame",
		quote: "ErrBadFrame: the call's arguments cannot be sent by any port",
		fn:    refusedBad,
	},
	{
		name:  "refused/unknown peer",
		quote: "ErrUnknownPeer: the port has no such peer",
		fn:    refusedUnknown,
	},
}

func refusedTooLarge(e *env) {
	b, largest := e.ids[1], e.maxFrame()
	e.refuses(fabric.ErrTooLarge, map[string]fabric.Outgoing{
		"body":           {To: one(b), Lane: fabric.LaneBulk, Body: make([]byte, largest+1), Ticket: 1},
		"patch":          {To: one(b), Patch: [][]byte{make([]byte, fabric.MaxPatch+1)}, Ticket: 2},
		"patch and body": {To: one(b), Lane: fabric.LaneBulk, Body: make([]byte, largest), Patch: [][]byte{{1}}, Ticket: 3},
	})
}

func refusedBad(e *env) {
	b, c := e.ids[1], e.ids[2]
	e.refuses(fabric.ErrBadFrame, map[string]fabric.Outgoing{
		"no destination":    {Body: []byte{1}, Ticket: 1},
		"destination twice": {To: []fabric.MemberID{b, c, b}, Ticket: 2},
		"destination 0":     {To: []fabric.MemberID{b, 0}, Ticket: 3},
		"patches":           {To: []fabric.MemberID{b, c}, Patch: [][]byte{{1}}, Ticket: 4},
		"lane":              {To: one(b), Lane: fabric.Lanes, Ticket: 5},
		"class":             {To: one(b), Class: fabric.ClassSafe + 1, Ticket: 6},
		"a port's own kind": {To: one(b), Kind: fabric.KindAck, Ticket: 7},
		"void of two":       {To: one(b), Kind: fabric.KindVoid, Body: []byte{2, 0, 0, 0, 0, 0, 0, 0}, Ticket: 8},
	})
}

func refusedUnknown(e *env) {
	a, b := e.ids[0], e.ids[1]
	e.refuses(fabric.ErrUnknownPeer, map[string]fabric.Outgoing{
		"nobody": {To: one(0xdead), Body: []byte{1}, Ticket: 1},
	})
	frames, err := e.send(a, msg{to: []fabric.MemberID{0xdead, b}, lane: fabric.LaneAppend, size: 10, patch: 3})
	if !errors.Is(err, fabric.ErrUnknownPeer) || e.stateOf(frames[0], b) == refused {
		e.violate("F3: one unknown destination of two: %v, want it alone refused", err)
	}
}

// refuses sends each bad frame between two good ones: it alone is refused.
func (e *env) refuses(want error, bad map[string]fabric.Outgoing) {
	a, b := e.ids[0], e.ids[1]
	for what, o := range bad {
		good := e.enter(a, []msg{{to: one(b), size: 5, patch: -1}, {to: one(b), size: 6, patch: -1}})
		err := e.port(a).Send([]fabric.Outgoing{good[0].outgoing(), o, good[1].outgoing()})
		var se *fabric.SendError
		if !errors.As(err, &se) || len(se.Refused) == 0 {
			e.violate("%s: Send returned %v, want a refusal with %v", what, err, want)
			continue
		}
		for _, r := range se.Refused {
			if r.Index != 1 || r.Ticket != o.Ticket || !errors.Is(r.Err, want) {
				e.violate("%s: refusal of frame %d, ticket %d: %v; want frame 1, ticket %d, %v", what, r.Index, r.Ticket, r.Err, o.Ticket, want)
			}
		}
		if text := fmt.Sprint(err); len(text) > 4096 {
			e.violate("%s: the error is %d bytes long", what, len(text))
		}
	}
	e.resolveAll()
}
