package simulate

import (
	"errors"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv"
)

// ackWriter is what of raftdv.RowWriter a node uses.
type ackWriter interface {
	Repeats(m *raftpb.Message) bool
	Note(m *raftpb.Message) bool
	AppendSection(dst []byte) []byte
}

// sender is what a node keeps for sending.
type sender struct {
	writer   ackWriter
	version  uint64
	sections []byte
	prompt   []fabric.MemberID
	late     []fabric.MemberID // who gets the row after raftdv.RepeatDelay, or with what comes before
	overdue  bool              // a timer for that runs
	bytes    []byte
	batch    []fabric.Outgoing
	msgs     []*raftpb.Message // what batch[i] was made of
	// snapshots are the tickets of MsgSnaps under way.
	snapshots map[uint64]uint64
	reportAt  []time.Duration // by rank: when raft may be told again
	reporting []bool          // by rank: it will be
}

// reportEvery bounds how often raft hears that a peer is unreachable, as the
// transport's does.
const reportEvery = 50 * time.Millisecond

// outgoing are the messages that etcd sends: of several MsgAppResps of a Ready
// the last one says it all, and a snapshot is one of the newest state.
func (n *node) outgoing(msgs []*raftpb.Message) []*raftpb.Message {
	answered := false
	superseded := func(m *raftpb.Message) bool { return m.GetTo() == raft.None }
	for i, m := range slices.Backward(msgs) {
		switch {
		case m.GetType() == raftpb.MsgAppResp && answered:
			m.To = new(uint64(raft.None))
		case m.GetType() == raftpb.MsgAppResp:
			answered = true
		case m.GetType() == raftpb.MsgSnap:
			msgs[i] = n.freshSnapshot(m)
		}
	}
	return slices.DeleteFunc(msgs, superseded)
}

// freshSnapshot replaces the snapshot, which may be of before its receiver was
// a member, by one of what is applied.
func (n *node) freshSnapshot(m *raftpb.Message) *raftpb.Message {
	term, err := n.log.Term(n.applied)
	if err != nil { // applied ahead of its own disk
		return m
	}
	fresh := raftpb.Message{Type: m.Type, To: m.To, From: m.From, Term: m.Term}
	fresh.Snapshot = &raftpb.Snapshot{Data: n.state.encode(), Metadata: &raftpb.SnapshotMetadata{
		ConfState: n.conf, Index: new(n.applied), Term: new(term)}}
	return &fresh
}

// send carries messages as the transport does: acks in the row, the rest as
// frames, equal MsgApps as one.
func (n *node) send(msgs []*raftpb.Message) {
	if len(msgs) == 0 {
		return
	}
	if n.arb != nil {
		n.arb.Sent(msgs)
	}
	n.copies(msgs)
	n.framing = true // the batch has its numbers, and is sent before what comes after
	n.prompt, n.bytes, n.batch, n.msgs = n.prompt[:0], n.bytes[:0], n.batch[:0], n.msgs[:0]
	for _, m := range msgs {
		to := fabric.MemberID(m.GetTo())
		n.c.report.Messages++
		n.c.checks.emitted(n, m)
		repeats := n.writer.Repeats(m)
		if n.writer.Note(m) {
			n.c.report.RowMessages++
			if repeats {
				n.postpone(to)
			} else if !slices.Contains(n.prompt, to) {
				n.prompt = append(n.prompt, to)
			}
			continue
		}
		n.frame(m, to)
	}
	if n.announce {
		n.tell()
	} else if len(n.prompt) > 0 {
		n.publish(n.prompt)
	}
	if len(n.batch) > 0 {
		n.refusals(n.port.Send(n.batch))
	}
	n.framing = false
	n.relayRows()
}

// postpone has a member get the row a little later, as the transport does.
func (n *node) postpone(to fabric.MemberID) {
	if slices.Contains(n.prompt, to) || slices.Contains(n.late, to) {
		return
	}
	n.late = append(n.late, to)
	if n.overdue {
		return
	}
	n.overdue = true
	n.sim.After(raftdv.RepeatDelay, func() {
		n.overdue = false
		if len(n.late) > 0 {
			n.publish(slices.Clone(n.late))
		}
	})
}

// frame adds a message to the batch.
func (n *node) frame(m *raftpb.Message, to fabric.MemberID) {
	hop := n.hop(to)
	start := len(n.bytes)
	if hop != to {
		n.bytes = append(n.bytes, relayPatch(n.m.id, to, maxHops, nil)...)
	}
	n.bytes = raftdv.AppendPatch(n.bytes, m)
	patch := n.bytes[start:len(n.bytes):len(n.bytes)]
	if m.GetType() == raftpb.MsgApp && len(m.Entries) > 0 && hop == to {
		for i := range n.batch {
			o := &n.batch[i]
			if n.msgs[i].GetType() == raftpb.MsgApp && raftdv.SameBody(n.msgs[i], m) && !slices.Contains(o.To, to) && o.Patch[0][0] != patchRelay {
				o.To, o.Patch = append(o.To, to), append(o.Patch, patch)
				return
			}
		}
	}
	start = len(n.bytes)
	n.bytes = raftdv.AppendBody(n.bytes, m)
	class, lane := raftdv.Classify(m)
	o := fabric.Outgoing{Body: n.bytes[start:len(n.bytes):len(n.bytes)], Class: class, Lane: lane}
	if i := len(n.batch); i < cap(n.batch) {
		old := n.batch[:i+1][i]
		o.To, o.Patch = old.To[:0], old.Patch[:0]
	}
	n.c.streams++
	o.To, o.Patch, o.Stream, o.Ticket = append(o.To, hop), append(o.Patch, patch), n.c.streams, n.c.streams
	if hop != to {
		n.relayed[o.Ticket] = to
	}
	if m.GetType() == raftpb.MsgSnap {
		if n.snapshots == nil {
			n.snapshots = map[uint64]uint64{}
		}
		n.snapshots[o.Ticket] = m.GetTo()
	}
	n.batch, n.msgs = append(n.batch, o), append(n.msgs, m)
}

// publish sends the row, at once to those in prompt.
func (n *node) publish(prompt []fabric.MemberID) {
	n.announce = false
	n.version++
	n.late = slices.DeleteFunc(n.late, func(id fabric.MemberID) bool { return slices.Contains(prompt, id) })
	n.sections = n.writer.AppendSection(n.sections[:0])
	if n.ord != nil {
		n.sections = n.ord.AppendSection(n.sections)
	}
	if n.arb != nil {
		n.sections = n.arb.AppendSection(n.sections)
	}
	row := fabric.Row{Owner: n.m.id, Incarnation: n.inc, Version: n.version, Sections: n.sections}
	n.c.checks.published(n, &row)
	n.published(prompt)
	n.rowFor = append(n.rowFor, prompt...)
	if !n.framing {
		n.relayRows()
	}
	if err := n.port.Publish(row, prompt); err != nil && !errors.Is(err, fabric.ErrClosed) {
		n.must(err)
	}
}

// refusals tells raft what a port did not take.
func (n *node) refusals(err error) {
	if err == nil {
		return
	}
	refused, ok := errors.AsType[*fabric.SendError](err)
	if !ok {
		n.must(err)
		return
	}
	for _, r := range refused.Refused {
		n.c.report.Refused++
		if errors.Is(r.Err, fabric.ErrNoCredit) {
			n.c.report.NoCredit++
		}
		n.lost(r.To, r.Ticket)
	}
}

// Resolve hears of losses, and how snapshots went.
func (n *node) Resolve(settled []fabric.Resolution) {
	for _, r := range settled {
		if !r.Acked() {
			n.c.report.Lost++
			n.lost(r.To, r.Ticket)
			continue
		}
		n.settled(r.To, r.Ticket, false)
		delete(n.relayed, r.Ticket)
		if to, ok := n.snapshots[r.Ticket]; ok { // of one that is passed on this is early, and raft asks again
			delete(n.snapshots, r.Ticket)
			n.rn.ReportSnapshot(to, raft.SnapshotFinish)
			n.settle()
		}
	}
}

// lost lets raft know that a peer misses something, outside of the call that
// found it and not too often.
func (n *node) lost(peer fabric.MemberID, ticket uint64) {
	if n.settled(peer, ticket, true) {
		n.sim.After(0, n.settle)
		return
	}
	if whom, passed := n.relayed[ticket]; passed {
		delete(n.relayed, ticket)
		if peer = whom; peer == 0 {
			return
		}
	}
	if to, ok := n.snapshots[ticket]; ok {
		delete(n.snapshots, ticket)
		n.sim.After(0, func() {
			n.rn.ReportSnapshot(to, raft.SnapshotFailure)
			n.settle()
		})
	}
	m := n.c.member(peer)
	if m == nil {
		return
	}
	for len(n.reporting) <= m.rank {
		n.reporting, n.reportAt = append(n.reporting, false), append(n.reportAt, 0)
	}
	if n.reporting[m.rank] {
		return
	}
	n.reporting[m.rank] = true
	n.sim.After(max(0, n.reportAt[m.rank]-n.c.net.Now()), func() {
		n.reporting[m.rank] = false
		n.reportAt[m.rank] = n.c.net.Now() + reportEvery
		n.c.report.Unreachable++
		n.rn.ReportUnreachable(uint64(peer))
		n.settle()
	})
}
