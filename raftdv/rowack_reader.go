package raftdv

import (
	"encoding/binary"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// RowReader makes messages of one member's row. Keep one for each peer for as
// long as raft runs, whatever happens to the ports: a fresh reader takes the
// first row that it sees for news, and an old row is no sign of life. Not for
// concurrent use; rows of one peer that came through different ports go into
// the same reader.
type RowReader struct {
	self, owner fabric.MemberID
	incarnation uint64
	version     uint64
	ack, hb     rowCell
	slabs       slabs
}

// NewRowReader returns a reader at self for the rows of owner.
func NewRowReader(self, owner fabric.MemberID) *RowReader {
	return &RowReader{self: self, owner: owner}
}

// Observe takes a row and appends the messages that it makes to dst: at most
// one MsgAppResp, then at most one MsgHeartbeatResp. Each rise of a seq makes
// one, if it is addressed to self, with exactly the fields of the row; the
// message's term is the row's, so that raft drops what is of an older term by
// itself. Messages own their memory.
//
// Rows whose version is not above that of one seen before make nothing, nor do
// rows without the section. Refused with a *RefusedError, and forgotten, are
// rows of an older incarnation, as a member whose incarnations do not rise would
// otherwise never be heard and nobody would know why, and newer rows with a
// field that moves where it never moves.
func (r *RowReader) Observe(dst []*raftpb.Message, row *fabric.Row) ([]*raftpb.Message, error) {
	if row.Owner != r.owner {
		return dst, refused(r.owner, RefusedRow, "row of %s", row.Owner)
	}
	if row.Incarnation < r.incarnation {
		return dst, refused(r.owner, RefusedRow, "row of incarnation %d after one of %d: late, or the member's clock went back", row.Incarnation, r.incarnation)
	}
	if row.Incarnation == r.incarnation && row.Version <= r.version {
		return dst, nil
	}
	section, ok := fabric.FindSection(row.Sections, fabric.SectionRaft)
	if !ok {
		return dst, nil
	}
	ack, hb, err := parseRowSection(&section)
	if err != nil {
		return dst, refused(r.owner, RefusedRow, "row %d: %w", row.Version, err)
	}
	var oldAck, oldHB rowCell
	if row.Incarnation == r.incarnation {
		oldAck, oldHB = r.ack, r.hb
	}
	if err := ack.follows(&oldAck); err != nil {
		return dst, refused(r.owner, RefusedRow, "row %d: ack %w", row.Version, err)
	}
	if err := hb.follows(&oldHB); err != nil {
		return dst, refused(r.owner, RefusedRow, "row %d: heartbeat answer %w", row.Version, err)
	}
	r.incarnation, r.version, r.ack, r.hb = row.Incarnation, row.Version, ack, hb
	if ack.seq > oldAck.seq && ack.to == uint64(r.self) {
		dst = append(dst, r.message(raftpb.MsgAppResp, &ack))
	}
	if hb.seq > oldHB.seq && hb.to == uint64(r.self) {
		dst = append(dst, r.message(raftpb.MsgHeartbeatResp, &hb))
	}
	return dst, nil
}

func (r *RowReader) message(typ raftpb.MessageType, c *rowCell) *raftpb.Message {
	s := r.slabs.message(0)
	s.typ, s.from, s.to, s.term = typ, uint64(r.owner), c.to, c.term
	m := &s.m
	m.Type, m.From, m.To, m.Term = &s.typ, &s.from, &s.to, &s.term
	switch {
	case typ == raftpb.MsgAppResp:
		s.index = c.value
		m.Index = &s.index
	case c.has:
		binary.LittleEndian.PutUint64(s.context[:], c.value)
		m.Context = s.context[:]
	}
	return m
}
