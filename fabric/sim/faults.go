package sim

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
)

// SetLink replaces the faults of the packets that one member sends another, and
// Handling of what is received that way. The other fields are of no use here.
func (n *Network) SetLink(from, to fabric.MemberID, f Faults) error {
	if err := f.Validate(); err != nil {
		return err
	}
	if f.Bandwidth != 0 && n.hasMedium() {
		return fmt.Errorf("sim: Faults.Bandwidth is %d bytes/s for a link of a network with a Medium.Rate: want 0", f.Bandwidth)
	}
	if f.ReorderBy == 0 {
		f.ReorderBy = 10 * time.Millisecond
	}
	pair := [2]int{n.port(from).rank, n.port(to).rank}
	n.faults[pair] = &f
	if l := n.port(from).known[pair[1]]; l != nil {
		l.faults = &f
	}
	return nil
}

// Cut ends all transmission from one member to another, what is on its way
// included. Cuts add up: each needs a Mend.
func (n *Network) Cut(from, to fabric.MemberID) {
	a, b := n.port(from), n.port(to)
	n.cut[[2]int{a.rank, b.rank}]++
	n.broken(a, b)
}

// Mend takes one Cut back; without one it does nothing.
func (n *Network) Mend(from, to fabric.MemberID) {
	a, b := n.port(from), n.port(to)
	pair := [2]int{a.rank, b.rank}
	if n.cut[pair] == 0 {
		return
	}
	if n.cut[pair]--; n.cut[pair] == 0 {
		delete(n.cut, pair) // isCut is asked for each packet
	}
	n.mended(a, b)
}

func (n *Network) isCut(from, to *Port) bool {
	return len(n.cut) > 0 && n.cut[[2]int{from.rank, to.rank}] > 0
}

// Pause stops a member: it does nothing until Resume.
func (n *Network) Pause(id fabric.MemberID) {
	p := n.port(id)
	if p.dead || p.paused {
		return
	}
	p.paused = true
	for _, m := range n.members {
		if m.port != p {
			n.broken(p, m.port)
		}
	}
}

// Resume ends a pause. Timers that should have fired do so now, packets that
// waited arrive.
func (n *Network) Resume(id fabric.MemberID) {
	p := n.port(id)
	if p.dead || !p.paused {
		return
	}
	p.paused = false
	for _, ev := range p.held {
		*n.q.push(n.now) = ev
	}
	p.held, p.heldPackets = nil, 0
	for _, m := range n.members {
		if m.port != p {
			n.mended(p, m.port)
		}
	}
}

// hold keeps an event for a paused member.
func (p *Port) hold(ev event) {
	switch ev.kind {
	case evFrames, evRow, evAck, evRowAck, evBye:
		if p.heldPackets == p.n.cfg.PauseBuffer {
			return
		}
		p.heldPackets++
	}
	p.held = append(p.held, ev)
}

// Stall keeps a member's port from calling Deliver, Gap and Row, as a handler
// does that does not return. Stalls add up.
func (n *Network) Stall(id fabric.MemberID) { n.port(id).stalls++ }

// Unstall takes one Stall back.
func (n *Network) Unstall(id fabric.MemberID) {
	p := n.port(id)
	if p.stalls == 0 {
		return
	}
	if p.stalls--; p.stalls > 0 || p.dead || p.paused {
		return
	}
	for _, l := range p.out {
		if l != nil {
			n.drain(l.back)
		}
	}
}

// Kill ends a member as a crash does: nobody is told, no handler method of it is
// called any more.
func (n *Network) Kill(id fabric.MemberID) {
	p := n.port(id)
	if p.dead {
		return
	}
	p.die()
	for _, m := range n.members {
		if m.port != p {
			n.broken(p, m.port)
		}
	}
}

// SetClock sets a member's clock off: by an offset, and by drift (1e-6 is one
// microsecond a second; more than -1). Now still claims Faults.ClockError. On a
// scheduled Medium the member's slots move with its clock.
func (n *Network) SetClock(id fabric.MemberID, offset time.Duration, drift float64) {
	m := n.port(id).m
	m.offset, m.drift = offset, drift
}

// broken looks, LinkTimeout from now, whether two members still reach each
// other.
func (n *Network) broken(a, b *Port) {
	for _, l := range []*link{a.out[b.rank], b.out[a.rank]} {
		if l != nil {
			l.gen++
			ev := n.schedule(n.now+int64(n.cfg.LinkTimeout), evCheck)
			ev.link, ev.gen = l, l.gen
		}
	}
}

// mended lets two members find each other again, if nothing else is in the way.
func (n *Network) mended(a, b *Port) {
	if a.dead || b.dead {
		return
	}
	for _, l := range []*link{a.known[b.rank], b.known[a.rank]} {
		if n.reachable(l) {
			l.gen++
		}
		n.scheduleUp(l)
	}
}

func (n *Network) reachable(l *link) bool {
	return !l.from.dead && !l.to.dead && !l.to.paused && !n.isCut(l.from, l.to) && !n.isCut(l.to, l.from)
}

var errSilent = errors.New("no sign of life within the link timeout")

// check calls a link down that has been broken since check was scheduled.
func (n *Network) check(l *link, gen uint32) {
	if l.gen == gen && !n.reachable(l) {
		n.down(l, errSilent)
	}
}

func (n *Network) startNemesis() {
	f := &n.cfg.Faults
	n.nemesis(f.CutEvery, func() {
		from, to := n.anyMember(), n.anyMember()
		if from == nil || from == to {
			return
		}
		n.Cut(from.id, to.id)
		n.After(n.exponential(f.CutFor), func() {
			if !n.calm {
				n.Mend(from.id, to.id)
			}
		})
	})
	n.nemesis(f.PauseEvery, func() {
		if m := n.anyMember(); m != nil && !m.port.paused {
			n.Pause(m.id)
			p := m.port
			n.After(n.exponential(f.PauseFor), func() {
				if m.port == p {
					n.Resume(m.id)
				}
			})
		}
	})
	n.nemesis(f.StallEvery, func() {
		if m := n.anyMember(); m != nil {
			p := m.port
			n.Stall(m.id)
			n.After(n.exponential(f.StallFor), func() {
				if m.port == p {
					n.Unstall(m.id)
				}
			})
		}
	})
	if n.cfg.Restart == nil {
		return
	}
	n.nemesis(f.KillEvery, func() {
		if m := n.anyMember(); m != nil && !m.port.dead {
			n.Kill(m.id)
			n.After(n.exponential(f.KillFor), func() { n.revive(m) })
		}
	})
}

func (n *Network) revive(m *member) {
	if !m.port.dead || n.calm {
		return
	}
	if _, err := n.Join(m.id, n.cfg.Restart(m.id, m.inc+1)); err != nil {
		panic(err)
	}
}

// nemesis calls strike at random times, on average every mean.
func (n *Network) nemesis(mean time.Duration, strike func()) {
	if mean == 0 {
		return
	}
	n.After(n.exponential(mean), func() {
		if n.calm {
			return
		}
		strike()
		n.nemesis(mean, strike)
	})
}

func (n *Network) anyMember() *member {
	if len(n.members) == 0 {
		return nil
	}
	return n.members[n.rng.IntN(len(n.members))]
}

func (n *Network) exponential(mean time.Duration) time.Duration {
	return time.Duration(n.rng.ExpFloat64() * float64(mean))
}

// Heal ends all cuts, pauses and stalls, and what Faults does at random times,
// for good. It returns the members that are dead.
func (n *Network) Heal() (dead []fabric.MemberID) {
	n.calm = true
	for i, a := range n.members {
		for j, b := range n.members {
			for n.cut[[2]int{i, j}] > 0 {
				n.Mend(a.id, b.id)
			}
		}
	}
	for _, m := range n.members {
		n.Resume(m.id)
		for m.port.stalls > 0 {
			n.Unstall(m.id)
		}
		if m.port.dead {
			dead = append(dead, m.id)
		}
	}
	return slices.Clip(dead)
}
