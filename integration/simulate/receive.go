package simulate

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv"
)

// receiver is what a node keeps for receiving, by rank of the peer.
type receiver struct {
	decoders []*raftdv.Decoder
	readers  []*raftdv.RowReader
	rowMsgs  []*raftpb.Message
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
	d, _ := n.peer(from)
	for i := range frames {
		m, err := n.decode(d, from, &frames[i])
		if err != nil {
			n.c.fail("codec", "%s: %v", n.m.id, err) // no member here lies
			continue
		}
		n.hand(m)
	}
	n.settle()
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
	_, reader := n.peer(from)
	msgs, err := reader.Observe(n.rowMsgs[:0], &row)
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
		n.arb.Row(from, &row)
	}
	n.settle()
}

// Gap: raft's own retransmission fills it; the sender was told as well.
func (n *node) Gap(from fabric.MemberID, _ fabric.Gap) {
	n.c.report.Gaps++
	if n.arb != nil {
		n.arb.Heard(from)
		n.settle()
	}
}

// Link: the arbiter alone wants to know.
func (n *node) Link(peer fabric.MemberID, state fabric.LinkState) {
	if n.arb != nil {
		n.arb.Link(peer, state.Up)
		n.settle()
	}
}
