package plug

import (
	"go.etcd.io/etcd/server/v3/etcdserver/api"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// clustered is what the server is besides the raft of its transport.
type clustered interface{ Cluster() api.Cluster }

// membersOf returns how to ask the server for its members. etcd changes one
// member at a time: there is never an outgoing half.
func membersOf(server any) func() election.Members {
	c, ok := server.(clustered)
	if !ok {
		return func() (m election.Members) { return m } // nobody votes: elections are raft's own
	}
	return func() (m election.Members) {
		cluster := c.Cluster()
		if cluster == nil {
			return m
		}
		for _, member := range cluster.Members() {
			if member.IsLearner {
				m.Learners = append(m.Learners, fabric.MemberID(member.ID))
			} else {
				m.Voters = append(m.Voters, fabric.MemberID(member.ID))
			}
		}
		return m
	}
}
