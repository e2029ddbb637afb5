package bench

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"

	"go.uber.org/zap"
)

// PortRafthttp in the place of a port compares rafthttp with itself: the ratios
// show what this machine makes of no difference at all.
const PortRafthttp = "rafthttp"

// dialTimeout is the one that etcd computes from its default election timeout.
const dialTimeout = time.Second + time.Second

func stockSystem(name string) *system {
	return &system{name: name, ready: stockReady, open: func(p memberParams) (rafthttp.Transporter, error) {
		return &rafthttp.Transport{
			DialTimeout: dialTimeout, TLSInfo: p.tls, ID: p.id, URLs: p.urls, ClusterID: clusterID, Raft: p.raft,
			ServerStats: stats.NewServerStats(p.id.String(), p.id.String()),
			LeaderStats: stats.NewLeaderStats(zap.NewNop(), p.id.String()),
			ErrorC:      make(chan error, 1),
		}, nil
	}}
}

// stockReady: every peer has dialled both of its streams to this member, so
// that nothing goes over the slow pipeline.
func stockReady(m *member) error {
	if n := m.tr.ActivePeers(); n != m.peers {
		return fmt.Errorf("%d of %d peers are active", n, m.peers)
	}
	return m.streams.complete(m.peers)
}

// The streams of rafthttp that a member serves; its peers dial them.
var streamPaths = []string{rafthttp.RaftStreamPrefix + "/msgapp", rafthttp.RaftStreamPrefix + "/message"}

// streamCount knows which streams are open, and whether anything ever came in
// by other ways.
type streamCount struct {
	mu    sync.Mutex
	open  map[string]int
	posts int
}

func (c *streamCount) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer c.count(r)()
		h.ServeHTTP(w, r)
	})
}

func (c *streamCount) count(r *http.Request) (done func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.URL.Path == rafthttp.RaftPrefix {
		c.posts++
	}
	for _, p := range streamPaths {
		if strings.HasPrefix(r.URL.Path, p+"/") {
			return c.opened(p)
		}
	}
	return func() {}
}

// opened is called with mu held.
func (c *streamCount) opened(path string) (done func()) {
	if c.open == nil {
		c.open = map[string]int{}
	}
	c.open[path]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.open[path]--
	}
}

func (c *streamCount) complete(want int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.posts > 0 {
		return fmt.Errorf("%d messages came over the pipeline, not over a stream", c.posts)
	}
	for _, p := range streamPaths {
		if c.open[p] != want {
			return fmt.Errorf("%d of %d peers have a stream to %s", c.open[p], want, p)
		}
	}
	return nil
}
