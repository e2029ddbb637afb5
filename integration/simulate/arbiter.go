package simulate

import (
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// Arbiter stands between a member's raft and the network (protocol §6.4). One is
// made for each incarnation; its methods are called by the run alone, never one
// inside of another. Whatever it steps or publishes in a call takes effect when
// the call is over.
type Arbiter interface {
	// Receive sees every message for raft first, those made of rows as well and
	// those of Step not. True: raft gets it now. False: the arbiter has it, and
	// has given it to Host.Step or Host.Drop or does so later.
	Receive(m *raftpb.Message) bool
	// Sent sees the messages of a batch that raft hands out, before it leaves.
	Sent(msgs []*raftpb.Message)
	// Row sees a peer's row when it arrives, with all of its sections.
	Row(from fabric.MemberID, row *fabric.Row)
	// AppendSection appends the arbiter's section to a row that is published.
	AppendSection(dst []byte) []byte
	// Link says that a peer can be reached, or is gone.
	Link(peer fabric.MemberID, up bool)
	// Heard: a peer gave a sign of life that is neither a row nor a message.
	Heard(peer fabric.MemberID)
	// Reconfigured: Host.Members changed.
	Reconfigured()
	// Wake is called at the instant that Host.WakeAt named.
	Wake()
}

// Host is what an arbiter can do to its member.
type Host interface {
	// ID of the member.
	ID() fabric.MemberID
	// Seed of the run.
	Seed() uint64
	// Members is the configuration that the member has applied.
	Members() *raftpb.ConfState
	// Status of the member's raft: term, vote, commit, role, leader.
	Status() raft.BasicStatus
	// Last is the id of the last entry in raft's log.
	Last() (term, index uint64)
	// Now is the member's own clock, which does not go back, and goes on while
	// the member is down.
	Now() time.Duration
	// WakeAt asks for a call of Arbiter.Wake at an instant of Now. The newest
	// request counts.
	WakeAt(at time.Duration)
	// Step gives a message to raft, past Receive: one that Receive kept, or one
	// of the arbiter's own.
	Step(m *raftpb.Message)
	// Drop says that a message that Receive kept is lost.
	Drop(m *raftpb.Message)
	// Publish sends the row to all members at once.
	Publish()
	// Event is for the checks E1 to E4 and for Config.Trace.
	Event(e election.Event)
	// Complain makes the run fail.
	Complain(err error)
}

// host is the node as its arbiter sees it.
type host struct{ *node }

var _ Host = host{}

func (h host) ID() fabric.MemberID        { return h.m.id }
func (h host) Seed() uint64               { return h.c.cfg.Seed }
func (h host) Members() *raftpb.ConfState { return h.node.conf }
func (h host) Status() raft.BasicStatus   { return h.rn.BasicStatus() }
func (h host) Now() time.Duration         { return h.m.clock() }
func (h host) Publish()                   { h.node.announce = true }
func (h host) Event(e election.Event)     { h.c.happened(h.node, e) }
func (h host) Lab() *Lab                  { return h.c.cfg.lab }
func (h host) Complain(err error)         { h.c.fail(checkElections, "%s: %v", h.m.id, err) }

func (h host) Last() (term, index uint64) {
	index, err := h.log.LastIndex()
	h.node.must(err)
	term, err = h.log.Term(index)
	h.node.must(err)
	return term, index
}

func (h host) Step(m *raftpb.Message) {
	h.node.unkept(m)
	h.node.step(m)
}

func (h host) Drop(m *raftpb.Message) { h.node.unkept(m) }

// arbitrated is what a node keeps for its arbiter.
type arbitrated struct {
	arb      Arbiter // or nil
	announce bool    // the row goes to everybody when the call is over
	inHand   *raftpb.Message
	kept     []keptMessage
	wakeAt   time.Duration // by the member's clock
	armed    bool          // a timer is set, for armedAt
	armedAt  time.Duration
}

// keptMessage is a message that raft was not given yet.
type keptMessage struct {
	m     *raftpb.Message
	since time.Duration // by the member's clock
	pace  int64         // then: how many times the configured one Hold was
}

// hand gives a message to raft, by way of the arbiter.
func (n *node) hand(m *raftpb.Message) {
	if n.arb == nil {
		n.step(m)
		return
	}
	n.inHand = m
	if n.arb.Receive(m) {
		n.inHand = nil
		n.step(m)
	}
	if n.inHand != nil {
		n.kept = append(n.kept, keptMessage{m, n.m.clock(), n.pace()})
		n.c.report.Held++
		n.inHand = nil
	}
}

// unkept: raft has, or never gets, a message that an arbiter had.
func (n *node) unkept(m *raftpb.Message) {
	if m == n.inHand {
		n.inHand = nil
		return
	}
	for i, k := range n.kept {
		if k.m == m {
			n.c.checks.holds.over(n, &k)
			n.kept = append(n.kept[:i], n.kept[i+1:]...)
			return
		}
	}
}

// settle does what waited for the end of a call.
func (n *node) settle() {
	n.pump()
	n.tell()
}

// tell publishes the row if the arbiter wants that.
func (n *node) tell() {
	if n.announce && !n.m.dead {
		n.publish(n.c.others(n.m))
	}
}

// WakeAt sets a timer, unless one is set that fires before.
func (h host) WakeAt(at time.Duration) {
	h.wakeAt = at
	if !h.armed || at < h.armedAt {
		h.node.arm()
	}
}

func (n *node) arm() {
	at := n.wakeAt
	n.armed, n.armedAt = true, at
	wait := time.Duration(float64(at-n.m.clock())/n.m.pace()) + 1
	n.sim.After(max(0, wait), func() { n.woken(at) })
}

func (n *node) woken(at time.Duration) {
	if !n.armed || at != n.armedAt {
		return // one that fires before was set
	}
	n.armed = false
	if n.m.clock() < n.wakeAt {
		n.arm()
		return
	}
	n.arb.Wake()
	n.settle()
}
