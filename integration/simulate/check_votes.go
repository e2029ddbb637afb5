package simulate

import "go.etcd.io/raft/v3/raftpb"

// voteCheck: a member votes for one candidate in a term and never speaks in a
// lower term than it has, across restarts.
type voteCheck struct {
	cast   map[ballot]uint64
	spoken map[*member]uint64 // the highest term of what it said
}

type ballot struct{ voter, term uint64 }

func (v *voteCheck) emitted(n *node, m *raftpb.Message) {
	candidate := m.GetTo()
	switch m.GetType() {
	case raftpb.MsgPreVote, raftpb.MsgPreVoteResp:
		return // of a term that may never be
	case raftpb.MsgVote:
		candidate = m.GetFrom()
		n.c.report.VotesAsked++
	case raftpb.MsgVoteResp:
		if m.GetReject() {
			return
		}
	default:
		v.spoken[n.m] = max(v.spoken[n.m], m.GetTerm())
		return
	}
	at := ballot{uint64(n.m.id), m.GetTerm()}
	if was, ok := v.cast[at]; ok && was != candidate {
		n.c.fail(checkVotes, "%s votes for %x and for %x in term %d", n.m.id, was, candidate, at.term)
	}
	v.cast[at] = candidate
	v.spoken[n.m] = max(v.spoken[n.m], at.term)
}

func (v *voteCheck) started(n *node) {
	if said := v.spoken[n.m]; n.term < said {
		n.c.fail(checkVotes, "%s starts again in term %d, it has spoken in %d", n.m.id, n.term, said)
	}
}
