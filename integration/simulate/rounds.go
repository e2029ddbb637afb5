package simulate

import "go.etcd.io/raft/v3/raftpb"

// rounds counts elections. A round is a distinct (term, candidate) whose MsgVote
// was delivered (protocol §6.4); an election ends with a leader of a new term.
type rounds struct {
	asked map[ballot]bool
	term  uint64 // the highest that was led
	since int    // rounds since then
}

func (r *rounds) init() { r.asked = map[ballot]bool{} }

func (r *rounds) stepped(n *node, m *raftpb.Message) {
	at := ballot{m.GetFrom(), m.GetTerm()}
	if m.GetType() != raftpb.MsgVote || r.asked[at] {
		return
	}
	r.asked[at] = true
	r.since++
	n.c.report.Rounds++
}

func (r *rounds) elected(n *node) {
	if n.term <= r.term {
		return
	}
	r.term = n.term
	rep := &n.c.report
	rep.Elections++
	rep.MostRounds = max(rep.MostRounds, r.since)
	r.since = 0
	n.c.led()
	n.c.trace("%s leads term %d", n.m.id, n.term)
}
