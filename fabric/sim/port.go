package sim

import (
	"time"

	"github.com/raftdv/dv/fabric"
)

// Port is one incarnation of a member. It implements [fabric.Port], for the one
// goroutine that drives the network.
type Port struct {
	n    *Network
	m    *member
	rank int
	h    fabric.Handler
	inc  uint64

	known []*link // by rank: the newest to each peer
	out   []*link // by rank: those in use
	peers []fabric.LinkStats
	row   *fabric.Row // the newest, or nil
	// published counts the rows.
	published uint64

	dead        bool
	paused      bool
	stalls      int
	held        []event      // while paused
	heldPackets int          // of held, those that came from outside
	touched     []touch      // by the Send that runs
	accepted    []*packetRun // by the Send that runs, with a Medium
	nic         nic
	wire        uint64 // see WireBytes
	hostFree    int64  // Medium.ReceiveCost: until when the host handles frames
}

// touch is a run of frames that one Send adds to one lane of one link.
type touch struct {
	l     *link
	lane  int
	first uint64
}

var (
	_ fabric.Port          = (*Port)(nil)
	_ fabric.StatsReporter = (*Port)(nil)
)

func (p *Port) grow(members int) {
	for len(p.known) < members {
		p.known = append(p.known, nil)
		p.out = append(p.out, nil)
		p.peers = append(p.peers, fabric.LinkStats{})
	}
}

// ID is the member's.
func (p *Port) ID() fabric.MemberID { return p.m.id }

// Incarnation counts the member's starts, from 1.
func (p *Port) Incarnation() uint64 { return p.inc }

// Capabilities implements [fabric.Port].
func (p *Port) Capabilities() fabric.Capabilities {
	c, m := &p.n.cfg, &p.n.cfg.Medium
	caps := fabric.Capabilities{
		Name: "sim", MaxFrame: c.MaxFrame, MaxRow: fabric.MaxRowSections, Multicast: true, TicketTimeout: c.TicketTimeout,
	}
	if p.n.hasMedium() {
		caps.Name += "/" + m.Name
		caps.Multicast, caps.OneSided, caps.Scheduled, caps.Lossless = m.Multicast, m.OneSided, m.scheduled(), m.Lossless
	}
	return caps
}

// Now implements [fabric.Port]: virtual time, off by the member's clock error.
func (p *Port) Now() fabric.Time {
	now := float64(p.n.now) * p.m.drift
	return fabric.Time{Nanos: p.n.now + int64(p.m.offset) + int64(now), Error: p.n.cfg.Faults.ClockError, Logical: p.n.cfg.Medium.Unsynchronised}
}

// After calls f when d has passed on the network's clock, unless the member is
// dead by then; if it is paused, when it resumes.
func (p *Port) After(d time.Duration, f func()) {
	ev := p.n.schedule(p.n.now+int64(d), evCall)
	ev.call, ev.port = f, p
}

// Close implements [fabric.Port]. Peers are told.
func (p *Port) Close() error {
	if p.dead {
		return nil
	}
	for _, l := range p.out {
		if l == nil {
			continue
		}
		p.n.loseAll(l, fabric.ErrClosed)
		p.n.packet(l, event{kind: evBye, link: l})
	}
	p.die()
	for _, m := range p.n.members {
		if m.port != p {
			p.n.broken(p, m.port) // the goodbye may be lost
		}
	}
	return nil
}

func (p *Port) die() {
	p.dead, p.paused, p.held, p.nic = true, false, nil, nic{}
}

// WireBytes is what this port has put on the wire: frames, rows and acknowledgements,
// with 32 bytes for what comes before each, those that were sent again or lost included.
func (p *Port) WireBytes() uint64 { return p.wire }

// Stats implements [fabric.StatsReporter].
func (p *Port) Stats(dst []fabric.LinkStats) []fabric.LinkStats {
	for r := range p.peers {
		if r == p.rank {
			continue
		}
		s := *p.stats(r)
		s.Peer = p.n.members[r].id
		if l := p.out[r]; l != nil {
			s.Up, s.Incarnation = l.up, l.to.inc
			for i := range s.Lane {
				ln := &l.lanes[i]
				s.Lane[i].Queued, s.Lane[i].QueuedBytes = ln.queued, ln.bytes
				s.Lane[i].CreditBytes = max(0, p.n.cfg.QueueBytes-ln.bytes)
				s.Lane[i].RTT = time.Duration(ln.rtt)
				s.RTT = max(s.RTT, time.Duration(ln.rtt))
			}
		}
		dst = append(dst, s)
	}
	return dst
}

func (p *Port) stats(rank int) *fabric.LinkStats { return &p.peers[rank] }
