package fabrictest

import (
	"math/rand/v2"
	"time"

	"github.com/raftdv/dv/fabric"
)

var allLanes = []fabric.Lane{fabric.LaneControl, fabric.LaneAppend, fabric.LaneBulk}

var orderCases = []testCase{
	{
		name:  "order/sizes",
		quote: "F1: frames arrive whole, from the empty one to the largest",
		fn:    orderSizes,
	},
	{
		name:  "order/batches",
		quote: "F1: per sender, receiver and lane, frames arrive in order, whole and once",
		fn:    orderBatches,
	},
	{
		name:    "order/multicast",
		quote:   "P6: multicast is one Send for any set of destinations; Patch holds for each the bytes that are its own",
		members: 5,
		fn:      orderMulticast,
	},
	{
		name:  "order/concurrent senders",
		quote: "all methods may be called concurrently; F1: order is kept within a lane",
		fn:    orderConcurrent,
	},
	{
		name:  "order/mesh",
		quote: "P4: the sender of a frame is known from the link that it came through",
		fn:    orderMesh,
	},
	{
		name:  "order/fields",
		quote: "kind, class, stream sequence and stamp are carried unread",
		fn:    orderFields,
	},
	{
		name:  "order/lanes",
		quote: "lane is a send priority: control overtakes a backlog of bulk, and has credit of its own",
		fn:    orderLanes,
	},
	{
		name:  "order/void",
		quote: "a frame of KindVoid arrives as the gap of one frame, in its place",
		fn:    orderVoid,
	},
}

func orderSizes(e *env) {
	a, b, largest := e.ids[0], e.ids[1], e.maxFrame()
	sizes := []int{0, 1, 7, 8, 9, 31, 255, 256, 1023, 1199, 1200, 1201, 1399, 1447, 1472, 4096, 8191, 16384, 65535, largest - 1, largest}
	for _, lane := range allLanes {
		for _, size := range sizes {
			if size > largest {
				continue
			}
			e.push(a, msg{to: one(b), lane: lane, size: size, patch: -1})
			for _, patch := range []int{0, 1, 6, 7, fabric.MaxPatch} {
				if patch+size <= largest {
					e.push(a, msg{to: one(b), lane: lane, size: size, patch: patch})
				}
			}
		}
		e.push(a, msg{to: one(b), lane: lane, size: largest - fabric.MaxPatch, patch: fabric.MaxPatch})
	}
	e.resolveAll()
	e.ackedArrive() // acked frames that are not handed over yet still use credit
	// An idle link has credit for the largest frame.
	if _, err := e.send(a, msg{to: one(b), lane: fabric.LaneBulk, size: largest, patch: -1}); err != nil {
		e.violate("F3: an idle link refuses a frame of Capabilities.MaxFrame: %v", err)
	}
}

func orderBatches(e *env) {
	rng := rand.New(rand.NewPCG(7, 7))
	for range 150 {
		batch := make([]msg, 1+rng.IntN(24))
		for i := range batch {
			batch[i] = randomMsg(rng, e.others(e.ids[0]), e.maxFrame())
		}
		e.send(e.ids[0], batch...) // what is refused must leave no trace
		e.drain(64)
	}
}

func randomMsg(rng *rand.Rand, to []fabric.MemberID, largest int) msg {
	m := msg{lane: fabric.Lane(rng.IntN(fabric.Lanes)), size: rng.IntN(300), patch: -1, noTicket: rng.IntN(8) == 0}
	if rng.IntN(8) == 0 {
		m.size = rng.IntN(largest - fabric.MaxPatch)
	}
	if rng.IntN(3) == 0 {
		m.patch = rng.IntN(64)
	}
	rng.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	m.to = append(m.to, to[:1+rng.IntN(len(to))]...)
	return m
}

// drain waits until at most n tickets are pending.
func (e *env) drain(n int) {
	if !e.eventually(e.ticketTime(), func() bool { return e.count(e.pending) <= n }) {
		e.tb.Fatalf("%s: F2: %d tickets still pending after %v", e.f.Name, e.count(e.pending), e.ticketTime())
	}
}

func orderMulticast(e *env) {
	for i := range 200 {
		from := e.ids[i%len(e.ids)]
		e.push(from, msg{to: e.others(from), lane: fabric.LaneAppend, size: i * 3, patch: i % 200})
		if i%16 == 0 {
			e.drain(64)
		}
	}
}

func orderConcurrent(e *env) {
	a := e.ids[0]
	e.each(6, func(i int) {
		for n := range 120 {
			to := e.others(a)
			if n%3 > 0 {
				to = to[n%2 : n%2+1]
			}
			if e.offer(a, msg{to: to, lane: fabric.Lane(i % 2), size: n, patch: -1, strand: i}) == nil {
				return
			}
		}
	})
}

func orderMesh(e *env) {
	e.each(len(e.ids)*fabric.Lanes, func(i int) {
		from, lane := e.ids[i/fabric.Lanes], fabric.Lane(i%fabric.Lanes)
		for n := range 80 {
			if e.offer(from, msg{to: e.others(from), lane: lane, size: n * 2, patch: n % 9}) == nil {
				return
			}
		}
	})
}

func orderFields(e *env) {
	a, b := e.ids[0], e.ids[1]
	for _, kind := range []fabric.Kind{0, fabric.KindData, fabric.KindTrailer} {
		for class := fabric.ClassUnordered; class <= fabric.ClassSafe; class++ {
			for _, stamp := range []fabric.Stamp{{}, {Time: 1}, {Logical: 1}, {Time: -5, Logical: 1<<32 - 1}} {
				e.push(a, msg{to: one(b), lane: fabric.Lane(class) % fabric.Lanes, kind: kind, class: class, stamp: stamp, size: 100, patch: 5})
			}
		}
	}
}

func orderLanes(e *env) {
	a, b := e.ids[0], e.ids[1]
	e.stall(b, a)
	backlog := e.fill(a, b, fabric.LaneBulk, 1024)
	e.fill(a, b, fabric.LaneBulk, 1) // to the last byte
	control, err := e.send(a, msg{to: one(b), lane: fabric.LaneControl, size: 32, patch: -1})
	if err != nil {
		e.violate("F3: lanes have credit of their own: control is refused behind a backlog of bulk: %v", err)
	}
	appended, err := e.send(a, msg{to: one(b), lane: fabric.LaneAppend, size: 32, patch: -1})
	if err != nil {
		e.violate("F3: lanes have credit of their own: append is refused behind a backlog of bulk: %v", err)
	}
	e.pass(5 * time.Millisecond)
	e.unstall(b)
	e.resolveAll()
	e.ackedArrive()
	for _, s := range []*sentFrame{control[0], appended[0]} {
		if e.stateOf(s, b) != acked {
			continue // lost; without a fault that was noticed
		}
		if late := e.deliveredAfter(s, b, fabric.LaneBulk); late < backlog/4 {
			e.violate("lanes: a frame of %v overtook only %d of %d bulk frames that were queued before it", s.lane, late, backlog)
		}
	}
}

// fill sends frames of a size until there is no credit, and returns how many
// were accepted. The receiver is stalled.
func (e *env) fill(from, to fabric.MemberID, lane fabric.Lane, size int) (accepted int) {
	e.tb.Helper()
	weight := max(size, 16)
	bound := 2*e.opt.QueueBytes + weight // kept at the sender and at the receiver
	for {
		var err error
		e.promptly("F3: Send never blocks", func() { _, err = e.send(from, msg{to: one(to), lane: lane, size: size, patch: -1}) })
		if err != nil {
			return accepted
		}
		if accepted++; accepted*weight > bound && e.kept(from, to, lane)*weight > bound {
			e.tb.Fatalf("%s: F3: %d frames of %d bytes accepted for a receiver that takes none; asked for at most %d bytes on either side",
				e.f.Name, accepted, size, e.opt.QueueBytes)
		}
	}
}

// kept counts the frames that were accepted and neither delivered nor lost.
func (e *env) kept(from, to fabric.MemberID, lane fabric.Lane) int {
	return e.count(func(s *sentFrame, d *destination) bool {
		return s.from == from && d.to == to && s.lane == lane && !d.delivered && (d.state == offered || d.state == acked)
	})
}

// deliveredAfter counts frames of a lane that came after s.
func (e *env) deliveredAfter(s *sentFrame, at fabric.MemberID, lane fabric.Lane) (n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := false
	for _, id := range e.members[at].peer(s.from).order {
		if seen && e.frame(id).lane == lane {
			n++
		}
		seen = seen || id == s.id
	}
	return n
}

func orderVoid(e *env) {
	a, b := e.ids[0], e.ids[1]
	var gaps []fabric.Gap
	m := e.member(b)
	e.mu.Lock()
	m.onGap = func(_ fabric.MemberID, g fabric.Gap) { gaps = append(gaps, g) }
	e.mu.Unlock()
	for i := range 30 {
		kind := fabric.KindData
		if i%3 == 1 {
			kind = fabric.KindVoid
		}
		s := e.push(a, msg{to: one(b), lane: fabric.LaneAppend, kind: kind, size: 8, patch: -1})
		e.resolveAll()
		if got := e.stateOf(s, b); got != acked && !e.f.Lossy {
			e.violate("F2: frame %d of kind %d: state %d, want acked", i, kind, got)
		}
	}
	e.ackedArrive()
	e.mu.Lock()
	defer e.mu.Unlock()
	n := uint64(0)
	for _, g := range gaps {
		n += g.Count
	}
	if n != 10 && !e.f.Lossy {
		e.violateLocked("F1: 10 frames of KindVoid arrived as gaps of %d frames: %+v", n, gaps)
	}
}
