package bench

import (
	"context"
	"errors"
	"net/http"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/raft/v3/raftpb"
)

// nullSystem hands messages over within Send: what remains is the harness.
func nullSystem() *system {
	hub := &nullHub{nodes: map[uint64]rafthttp.Raft{}}
	return &system{
		name:  "nothing",
		ready: func(*member) error { return nil },
		open: func(p memberParams) (rafthttp.Transporter, error) {
			hub.nodes[uint64(p.id)] = p.raft
			return nullTransport{hub: hub}, nil
		},
	}
}

// nullHub is filled before anything is sent.
type nullHub struct{ nodes map[uint64]rafthttp.Raft }

type nullTransport struct {
	notMeasured
	hub *nullHub
}

func (t nullTransport) Send(msgs []*raftpb.Message) {
	for _, m := range msgs {
		t.hub.nodes[m.GetTo()].Process(context.Background(), m)
	}
}

func (nullTransport) Start() error               { return nil }
func (nullTransport) Stop()                      {}
func (nullTransport) AddPeer(types.ID, []string) {}
func (nullTransport) ActivePeers() int           { return 0 }

// notMeasured are the parts of a rafthttp.Transporter that no measurement uses:
// changes of the cluster, snapshots, requests of other members.
type notMeasured struct{}

func (notMeasured) Handler() http.Handler              { return http.NotFoundHandler() }
func (notMeasured) SendSnapshot(m *snap.Message)       { m.CloseWithError(errNotMeasured) }
func (notMeasured) AddRemote(types.ID, []string)       {}
func (notMeasured) RemovePeer(types.ID)                {}
func (notMeasured) RemoveAllPeers()                    {}
func (notMeasured) UpdatePeer(types.ID, []string)      {}
func (notMeasured) ActiveSince(types.ID) (t time.Time) { return t }

var errNotMeasured = errors.New("this transport is for measurements and sends no snapshots")
