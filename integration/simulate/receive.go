package simulate

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/ordered"
	"github.com/raftdv/dv/raftdv"
)

// receiver is what a node keeps for receiving, by rank of the peer.
type receiver struct {
	lives    map[fabric.MemberID]uint64 // the newest incarnation that a row came of
	decoders []*raftdv.Decoder
	readers  []*raftdv.RowReader
	rowMsgs  []*raftpb.Message
	rowIn    fabric.Row // that is being taken
}

var _ fabric.Handler = (*node)(nil)

func (n *node) peer(from fabric.MemberID) (*raftdv.Decoder, *raftdv.RowReader) {
	rank := n.c.member(from).rank
	for len(n.decoders) <= rank {
		n.decoders, n.readers = append(n.decoders, nil), append(n.readers, nil)
	}
	if n.decoders[rank] == nil {
		n.decoders[rank], n.readers[rank] = new(raftdv.Decoder), raftdv.NewRowReader(n.m.id, from)
	}
	return n.decoders[rank], n.readers[rank]
}

// Deliver hands the messages of frames to raft.
func (n *node) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	for i := range frames {
		n.take(from, &frames[i], false)
	}
	n.settle()
}

// take takes a frame of a member; passed: others have passed it on.
func (n *node) take(from fabric.MemberID, f *fabric.Frame, passed bool) {
	if n.special(from, f, passed) {
		return
	}
	d, _ := n.peer(from)
	m, err := n.decode(d, from, f)
	if err != nil {
		n.c.fail("codec", "%s: %v", n.m.id, err) // no member here lies
		return
	}
	n.hand(m)
}

// decode does what the transport does with a frame before raft sees it.
func (n *node) decode(d *raftdv.Decoder, from fabric.MemberID, f *fabric.Frame) (*raftpb.Message, error) {
	var h raftdv.PatchHeader
	if err := raftdv.ParsePatch(f.Patch, &h); err != nil {
		return nil, err
	}
	if err := raftdv.CheckHeader(&h, from, n.m.id); err != nil {
		return nil, err
	}
	m, err := d.DecodeBody(&h, f.Patch, f.Body)
	if err != nil {
		return nil, err
	}
	return m, raftdv.CheckMessage(m, from)
}

// Row turns a peer's row into the messages that it stands for.
func (n *node) Row(from fabric.MemberID, row fabric.Row) {
	n.rowIn = row
	n.takeRow(from, &n.rowIn, true)
	n.settle()
}

// takeRow takes a row; direct: nobody has passed it on.
func (n *node) takeRow(from fabric.MemberID, row *fabric.Row, direct bool) {
	// In the transport the tunnel of a process ends with it; what is passed on here
	// may outlive its owner.
	if !direct && row.Incarnation < n.lives[from] {
		return
	}
	if n.lives == nil {
		n.lives = map[fabric.MemberID]uint64{}
	}
	n.lives[from] = max(n.lives[from], row.Incarnation)
	if h := n.c.cfg.hooks.deafRow; h == nil || !h(n) {
		n.ordRow(row, direct)
	}
	_, reader := n.peer(from)
	msgs, err := reader.Observe(n.rowMsgs[:0], row)
	if err != nil {
		n.c.fail("R1", "%s: %v", n.m.id, err)
	}
	for _, m := range msgs {
		n.c.checks.fromRow(n, m)
		n.hand(m)
	}
	clear(msgs)
	n.rowMsgs = msgs[:0]
	if n.arb != nil {
		n.arb.Row(from, row)
	}
}

// Gap: raft's own retransmission fills it; the sender was told as well.
func (n *node) Gap(from fabric.MemberID, _ fabric.Gap) {
	n.c.report.Gaps++
	n.input(func(e *ordered.Endpoint, now ordered.Instant) { e.Heard(now, from) })
	if n.arb != nil {
		n.arb.Heard(from)
		n.settle()
	}
}

// Link: raft does not want to know.
func (n *node) Link(peer fabric.MemberID, state fabric.LinkState) {
	if n.arb != nil {
		n.arb.Link(peer, state.Up)
	}
	n.input(func(e *ordered.Endpoint, now ordered.Instant) { e.Link(now, peer, state.Up) })
	n.settle()
}
