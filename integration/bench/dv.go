package bench

import (
	"cmp"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"

	"github.com/raftdv/dv/raftdv"
)

// dvSystem is the whole transport with one fabric; cfg is for what that needs.
func dvSystem(port string, cfg raftdv.Config) *system {
	return &system{
		name:     port,
		needsDir: port == raftdv.FabricShm,
		open: func(p memberParams) (rafthttp.Transporter, error) {
			cfg := cfg
			cfg.Fabrics = []string{port}
			if port == raftdv.FabricShm {
				cfg.ShmDir = p.dir
			}
			return &raftdv.Transport{
				DialTimeout: dialTimeout, TLSInfo: p.tls, ID: p.id, URLs: p.urls, ClusterID: clusterID, Raft: p.raft,
				ServerStats: stats.NewServerStats(p.id.String(), p.id.String()),
				LeaderStats: stats.NewLeaderStats(zap.NewNop(), p.id.String()),
				ErrorC:      make(chan error, 1),
				Config:      cfg,
			}, nil
		},
		ready:    func(m *member) error { return dvReady(m, port) },
		troubles: dvTroubles,
	}
}

// dvReady: messages to all peers go over the port, and the rafthttp behind it
// has nothing more to dial.
func dvReady(m *member, port string) error {
	s := m.own().(*raftdv.Transport).State()
	errs := []error{m.streams.complete(m.peers)}
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

// dvTroubles lists what a member's links have lost or refused.
func dvTroubles(m *member) (text string) {
	for _, p := range m.own().(*raftdv.Transport).State().Peers {
		for _, l := range p.Links {
			for _, lane := range l.Lanes {
				if lane.Lost+lane.NoCredit > 0 {
					text += fmt.Sprintf("[%s %s to %s: %d lost, %d without credit]", l.Fabric, lane.Lane, p.Member, lane.Lost, lane.NoCredit)
				}
			}
			if l.Down != "" || l.Retransmissions+l.Refused > 0 {
				text += fmt.Sprintf("[%s to %s: %d sent again, %d refused, %s]", l.Fabric, p.Member, l.Retransmissions, l.Refused, cmp.Or(l.Down, "up"))
			}
		}
	}
	return text
}
