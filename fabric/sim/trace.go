package sim

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Event is what Config.Trace is told.
type Event struct {
	At       time.Duration
	Kind     string
	From, To fabric.MemberID // where they apply
	Lane     fabric.Lane
	First    uint64
	Count    uint64
	Corrupt  bool
}

// String is one line of a trace.
func (e Event) String() string {
	s := fmt.Sprintf("%12v %-9s %s → %s", e.At, e.Kind, e.From, e.To)
	if e.Count > 0 {
		s += fmt.Sprintf(" %v %d+%d", e.Lane, e.First, e.Count)
	}
	if e.Corrupt {
		s += " corrupt"
	}
	return s
}

// Hash is a digest of everything that has happened: each event, each frame,
// row and resolution handed over. Runs with equal hashes were equal.
func (n *Network) Hash() uint64 { return n.hash }

func (n *Network) mix(x uint64) {
	n.hash = bits.RotateLeft64((n.hash^x)*0x9fb2_1c65_1e98_df25, 29) + 0x1656_67b1_9e37_79f9
}

func (n *Network) trace(ev *event) {
	n.mix(uint64(n.now))
	who := uint64(ev.kind) | uint64(ev.lane)<<8
	if ev.kind == evNIC {
		who |= uint64(ev.port.rank) << 16
	}
	if l := ev.link; l != nil {
		who |= uint64(l.from.rank)<<16 | uint64(l.to.rank)<<32 | (l.from.inc^l.to.inc<<8)<<48
	}
	n.mix(who)
	n.mix(ev.lo<<32 ^ ev.hi)
	if n.cfg.Trace != nil {
		n.cfg.Trace(ev.describe(n))
	}
}

func (ev *event) describe(n *Network) Event {
	e := Event{At: n.Now(), Kind: kindNames[ev.kind], Lane: fabric.Lane(ev.lane), First: ev.lo, Count: ev.hi - ev.lo, Corrupt: ev.corrupt}
	if ev.link != nil {
		e.From, e.To = ev.link.from.m.id, ev.link.to.m.id
	}
	if ev.kind == evRowAck {
		e.Count = 0
	}
	if ev.kind == evNIC {
		e.From = ev.port.m.id
	}
	return e
}

func (n *Network) mixDelivered(frames []fabric.Frame) {
	for i := range frames {
		f := &frames[i]
		n.mix(f.Stream)
		n.mix(f.Link<<24 ^ uint64(len(f.Body)))
	}
}

func (n *Network) mixResolved(settled []fabric.Resolution) {
	for _, r := range settled {
		x := r.Ticket << 1
		if r.Err != nil {
			x |= 1
		}
		n.mix(x)
	}
}
