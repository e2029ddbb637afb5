package bench

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"

	"github.com/raftdv/dv/raftdv"
)

// dvSystem is the whole transport with one fabric.
func dvSystem(port string, spin time.Duration) *system {
	return &system{
		name: port,
		open: func(p memberParams) (rafthttp.Transporter, error) {
			return &raftdv.Transport{
				DialTimeout: dialTimeout, TLSInfo: p.tls, ID: p.id, URLs: p.urls, ClusterID: clusterID, Raft: p.raft,
				ServerStats: stats.NewServerStats(p.id.String(), p.id.String()),
				LeaderStats: stats.NewLeaderStats(zap.NewNop(), p.id.String()),
				ErrorC:      make(chan error, 1),
				Config:      raftdv.Config{Fabrics: []string{port}, Spin: spin},
			}, nil
		},
		ready: func(m *member) error { return dvReady(m, port) },
	}
}

// dvReady: messages to all peers go over the port.
func dvReady(m *member, port string) error {
	s := m.tr.(*raftdv.Transport).State()
	errs := []error{}
	for _, f := range s.Fabrics {
		if f.Name == port && f.Error != "" {
			errs = append(errs, errors.New(f.Error))
		}
	}
	if len(s.Peers) != m.peers {
		errs = append(errs, fmt.Errorf("%d of %d peers are known", len(s.Peers), m.peers))
	}
	for _, p := range s.Peers {
		if p.Path != port {
			errs = append(errs, fmt.Errorf("the path to peer %s is %s (%s%s)", p.Member, p.Path, p.DialError, p.SideError))
		}
	}
	return errors.Join(errs...)
}
