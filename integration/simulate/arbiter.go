package simulate

import (
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// Arbiter stands between a member's raft and the network (protocol §6.4). One is
// made for each incarnation; its methods are called by the run alone, never one
// inside of another.
type Arbiter interface {
	// Receive sees every message before raft does, injected ones aside. False
	// holds it back: the arbiter keeps it and gives it to Host.Step later.
	Receive(m *raftpb.Message) bool
	// Send sees every message that raft hands out, before it leaves.
	Send(m *raftpb.Message)
	// Stored says that the log is on disk up to an entry.
	Stored(term, index uint64)
	// Row sees a peer's row when it arrives, with all of its sections.
	Row(from fabric.MemberID, row *fabric.Row)
	// AppendSection appends the arbiter's section to a row that is published.
	AppendSection(dst []byte) []byte
	// Link says that a peer can be reached, or no longer.
	Link(peer fabric.MemberID, up bool)
	// Tick is called before each tick of raft.
	Tick()
}

// Host is what an arbiter can do to its member.
type Host interface {
	// ID of the member.
	ID() fabric.MemberID
	// Voters of the configuration that the member has applied, rising; in a
	// joint one those of both halves.
	Voters() []fabric.MemberID
	// Status of the member's raft: term, vote, commit, role, leader.
	Status() raft.BasicStatus
	// Now is virtual time.
	Now() time.Duration
	// After calls f later, unless the member has crashed by then.
	After(d time.Duration, f func())
	// Step gives a message to raft, past Receive: one that was held back, or one
	// of the arbiter's own.
	Step(m *raftpb.Message)
	// Publish sends the row to all members at once.
	Publish()
}

// host is the node as its arbiter sees it.
type host struct{ *node }

var _ Host = host{}

func (h host) ID() fabric.MemberID { return h.m.id }
func (h host) Status() raft.BasicStatus {
	return h.rn.BasicStatus()
}
func (h host) Now() time.Duration { return h.c.net.Now() }
func (h host) Step(m *raftpb.Message) {
	h.node.step(m)
	h.node.pump()
}
func (h host) After(d time.Duration, f func()) { h.node.sim.After(d, f) }
func (h host) Publish()                        { h.node.publish(h.c.others(h.m)) }

func (h host) Voters() []fabric.MemberID {
	var ids []fabric.MemberID
	for _, m := range h.c.members {
		if isVoter(h.node.conf, uint64(m.id)) {
			ids = append(ids, m.id)
		}
	}
	return ids
}
