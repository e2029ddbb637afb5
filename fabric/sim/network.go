package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Network is a simulated fabric.
//
// Invariant: every event is handled by the goroutine that calls Step, and an
// event is only ever scheduled at or after now.
type Network struct {
	cfg     Config
	rng     *rand.Rand
	q       queue
	now     int64
	hash    uint64
	events  uint64
	members []*member // by rank: the order of their first Join
	rank    map[fabric.MemberID]int
	cut     map[[2]int]int // how many cuts are on, by ranks
	faults  map[[2]int]*Faults
	arena   []byte
	left    []*packetRun // that have left, for reuse
	wire    []byte       // scratch of the encoder
	calm    bool         // Heal was called
}

type member struct {
	id   fabric.MemberID
	inc  uint64
	port *Port // of the newest incarnation
	// The clock: offset and drift, see SetClock.
	offset time.Duration
	drift  float64
}

// New makes a network without members.
func New(cfg Config) (*Network, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Network{
		cfg: cfg.withDefaults(), rng: rand.New(rand.NewPCG(cfg.Seed, 0x9e37_79b9_7f4a_7c15)),
		rank: make(map[fabric.MemberID]int), cut: make(map[[2]int]int), faults: make(map[[2]int]*Faults),
	}
	n.mix(cfg.Seed)
	n.startNemesis()
	return n, nil
}

// Seed is the seed of the run.
func (n *Network) Seed() uint64 { return n.cfg.Seed }

// Now is the virtual time since the network was made.
func (n *Network) Now() time.Duration { return time.Duration(n.now) }

// Events is the number of events so far.
func (n *Network) Events() uint64 { return n.events }

// Pending is the number of events that are scheduled.
func (n *Network) Pending() int { return len(n.q.keys) }

// At calls f at an instant, or now if that has passed.
func (n *Network) At(t time.Duration, f func()) { n.schedule(int64(t), evCall).call = f }

// After calls f when d has passed.
func (n *Network) After(d time.Duration, f func()) { n.At(n.Now()+d, f) }

func (n *Network) schedule(at int64, k kind) *event {
	ev := n.q.push(max(at, n.now))
	ev.kind = k
	return ev
}

// Step handles the next event. It reports whether there was one.
func (n *Network) Step() bool {
	if len(n.q.keys) == 0 {
		return false
	}
	at, ev := n.q.pop()
	n.now = at
	n.handle(&ev)
	return true
}

// Run handles all events up to an instant and then stands there.
func (n *Network) Run(until time.Duration) {
	for len(n.q.keys) > 0 && n.q.keys[0].at <= int64(until) {
		n.Step()
	}
	n.now = max(n.now, int64(until))
}

// Advance runs for a time.
func (n *Network) Advance(d time.Duration) { n.Run(n.Now() + d) }

func (n *Network) handle(ev *event) {
	n.events++
	n.trace(ev)
	if p := ev.owner(); p != nil {
		if p.dead {
			return
		}
		if p.paused {
			p.hold(*ev)
			return
		}
	}
	l := ev.link
	if n.cutOff(ev) {
		return
	}
	switch ev.kind {
	case evFrames:
		n.frames(l, ev)
	case evAck:
		n.ack(l, ev)
	case evTimer:
		n.timer(l, ev.lane)
	case evRow:
		n.rowArrives(l, ev)
	case evRowAck:
		if !ev.corrupt {
			l.rowAcked = max(l.rowAcked, ev.lo)
			n.rowArrived(l, l.rowAcked)
		}
	case evRowTimer:
		n.rowTimer(l)
	case evDrain:
		l.draining = false
		n.drain(l)
	case evUp:
		n.tryUp(l)
	case evCheck:
		n.check(l, ev.gen)
	case evBye:
		n.bye(l)
	case evSent:
		n.sent(l, ev)
	case evCall:
		ev.call()
	case evNIC:
		ev.port.woken()
	}
}

// cutOff reports whether a cut stops what arrives now.
func (n *Network) cutOff(ev *event) bool {
	switch ev.kind {
	case evFrames, evRow, evBye:
		return n.isCut(ev.link.from, ev.link.to)
	case evAck, evRowAck:
		return n.isCut(ev.link.to, ev.link.from)
	}
	return false
}

// owner is the port at which an event happens, if it happens at one.
func (ev *event) owner() *Port {
	switch ev.kind {
	case evFrames, evRow, evDrain, evBye:
		return ev.link.to
	case evAck, evTimer, evRowAck, evRowTimer, evUp, evCheck:
		return ev.link.from
	case evSent:
		return nil
	}
	return ev.port
}

// Join adds a member, or starts one anew that was killed or closed; its
// incarnations are 1, 2, 3...
func (n *Network) Join(id fabric.MemberID, h fabric.Handler) (*Port, error) {
	if id == 0 || h == nil {
		return nil, fmt.Errorf("sim: member %s with handler %v cannot join: want an id that is not 0 and a handler", id, h)
	}
	r, known := n.rank[id]
	if m := &n.cfg.Medium; !known && m.scheduled() && len(n.members) == m.slots() {
		return nil, fmt.Errorf("sim: member %s cannot join: the schedule of %s has %d slots of %v in a cycle of %v, and all are taken", id, m.Name, m.slots(), m.Slot, m.Cycle)
	}
	if !known {
		r = len(n.members)
		n.rank[id] = r
		n.members = append(n.members, &member{id: id, offset: n.drawOffset()})
	}
	m := n.members[r]
	if m.port != nil && !m.port.dead {
		return nil, fmt.Errorf("sim: member %s has joined already: kill or close it first", id)
	}
	m.inc++
	m.port = &Port{n: n, m: m, rank: r, h: h, inc: m.inc}
	for _, peer := range n.members {
		m.port.grow(len(n.members))
		peer.port.grow(len(n.members))
		if peer != m && !peer.port.dead {
			n.connect(m.port, peer.port)
		}
	}
	return m.port, nil
}

func (n *Network) drawOffset() time.Duration {
	if n.cfg.Faults.ClockError == 0 {
		return 0
	}
	return time.Duration((2*n.rng.Float64() - 1) * float64(n.cfg.Faults.ClockError))
}

// Port returns a member's newest port, or nil.
func (n *Network) Port(id fabric.MemberID) *Port {
	if r, ok := n.rank[id]; ok {
		return n.members[r].port
	}
	return nil
}

// port is Port for the methods that take the id of a member that must exist.
func (n *Network) port(id fabric.MemberID) *Port {
	p := n.Port(id)
	if p == nil {
		panic(fmt.Sprintf("sim: member %s never joined", id))
	}
	return p
}
