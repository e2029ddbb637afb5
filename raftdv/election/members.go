package election

import (
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// MembersOf turns the configuration that raft's ApplyConfChange returns, or that
// a snapshot holds, into Members.
func MembersOf(c *raftpb.ConfState) Members {
	ids := func(from ...uint64) (to []fabric.MemberID) {
		for _, id := range from {
			to = append(to, fabric.MemberID(id))
		}
		return to
	}
	return Members{
		Voters: ids(c.GetVoters()...), Outgoing: ids(c.GetVotersOutgoing()...),
		Learners: append(ids(c.GetLearners()...), ids(c.GetLearnersNext()...)...),
	}
}
