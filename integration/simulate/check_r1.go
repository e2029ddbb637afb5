package simulate

import (
	"encoding/binary"

	"go.etcd.io/raft/v3/raftpb"
)

// R1: every message made from a row equals one that that member's raft emitted
// to that addressee.

// emittedAcks are the answers that rafts emitted, whether a row took them or not.
type emittedAcks struct {
	seen map[ackKey]struct{}
}

// ackKey is all that such an answer says.
type ackKey struct {
	typ                    raftpb.MessageType
	from, to, term, number uint64
	has                    bool // a context, which may be 0
}

func keyOf(m *raftpb.Message) (k ackKey, plain bool) {
	k = ackKey{typ: m.GetType(), from: m.GetFrom(), to: m.GetTo(), term: m.GetTerm(), number: m.GetIndex()}
	switch m.GetType() {
	case raftpb.MsgAppResp:
		return k, !m.GetReject() && m.Context == nil
	case raftpb.MsgHeartbeatResp:
		if k.has = len(m.Context) == 8; k.has {
			k.number = binary.LittleEndian.Uint64(m.Context)
		}
		return k, k.has || len(m.Context) == 0
	}
	return k, false
}

func (r *emittedAcks) emitted(m *raftpb.Message) {
	if k, plain := keyOf(m); plain {
		r.seen[k] = struct{}{}
	}
}

func (r *emittedAcks) made(n *node, m *raftpb.Message) {
	n.c.report.FromRows++
	k, plain := keyOf(m)
	if _, ok := r.seen[k]; !ok || !plain || m.LogTerm != nil || m.Commit != nil || len(m.Entries) > 0 || m.GetTo() != uint64(n.m.id) {
		n.c.fail("R1", "%s makes of a row what %x never emitted: %v", n.m.id, m.GetFrom(), m)
	}
}
