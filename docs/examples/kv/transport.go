package main

import (
	"strconv"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"

	"github.com/raftdv/dv/raftdv" // was: "go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"github.com/raftdv/dv/raftdv/election"
)

// newTransport makes the transport between the members.
func newTransport(m *member, lg *zap.Logger, cluster []string) (*raftdv.Transport, error) {
	name := strconv.FormatUint(m.id, 10)
	t := &raftdv.Transport{ // was: &rafthttp.Transport{
		Logger:      lg,
		ID:          types.ID(m.id),
		ClusterID:   0x1000,
		Raft:        m,
		ServerStats: stats.NewServerStats(name, name),
		LeaderStats: stats.NewLeaderStats(lg, name),
		ErrorC:      make(chan error, 1),
		// What rafthttp does not have: elections in at most three rounds.
		Config: raftdv.Config{
			Elections: election.On, Members: m.membership, ElectionTimeout: electionTicks * tick, PreVote: true, CheckQuorum: true,
		},
	}
	if err := t.Start(); err != nil {
		return nil, err
	}
	for i, url := range cluster {
		if id := uint64(i + 1); id != m.id {
			t.AddPeer(types.ID(id), []string{url})
		}
	}
	return t, nil
}
