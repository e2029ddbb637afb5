package raftdv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// patience is how long a test waits for what has to happen; nothing is timed.
const patience = 30 * time.Second

const testCluster = 0xc1

// recorder is the raft of a test: it keeps what it is given.
type recorder struct {
	mu          sync.Mutex
	changed     sync.Cond
	got         []*raftpb.Message
	unreachable map[uint64]int
	snapshots   map[uint64][]raft.SnapshotStatus
	removed     map[uint64]bool
	// process, if set, decides on each message before it is kept.
	process func(context.Context, *raftpb.Message) error
}

func newRecorder() *recorder {
	r := &recorder{unreachable: map[uint64]int{}, snapshots: map[uint64][]raft.SnapshotStatus{}, removed: map[uint64]bool{}}
	r.changed.L = &r.mu
	return r
}

func (r *recorder) Process(ctx context.Context, m *raftpb.Message) error {
	r.mu.Lock()
	process := r.process
	r.mu.Unlock()
	if process != nil {
		if err := process(ctx, m); err != nil {
			return err
		}
	}
	r.update(func() { r.got = append(r.got, m) })
	return nil
}

func (r *recorder) IsIDRemoved(id uint64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.removed[id]
}
func (r *recorder) ReportUnreachable(id uint64) { r.update(func() { r.unreachable[id]++ }) }
func (r *recorder) ReportSnapshot(id uint64, s raft.SnapshotStatus) {
	r.update(func() { r.snapshots[id] = append(r.snapshots[id], s) })
}

func (r *recorder) update(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.changed.Broadcast()
}

// wait blocks until ok, called with the lock held, holds.
func (r *recorder) wait(t testing.TB, what string, ok func() bool) {
	t.Helper()
	expired := false
	timer := time.AfterFunc(patience, func() { r.update(func() { expired = true }) })
	defer timer.Stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !ok() {
		if expired {
			t.Fatalf("not within %v: %s", patience, what)
		}
		r.changed.Wait()
	}
}

func (r *recorder) has(match func(*raftpb.Message) bool) bool {
	return slices.ContainsFunc(r.got, match)
}

// node is one member: a transport and the server of its peer URL.
type node struct {
	id       types.ID
	raft     *recorder
	tr       rafthttp.Transporter
	dv       *Transport // nil if stock
	url      string
	listener net.Listener
	conns    *connTracker
	srv      *http.Server
	errorC   chan error
	snapDir  string
	logger   *zap.Logger
}

type nodeOptions struct {
	stock  bool
	config Config
	tls    transport.TLSInfo
	unix   string // path of the socket, if any
	lookup func(context.Context, string, string) ([]netip.Addr, error)
	wrap   func(http.Handler) http.Handler // around the transport's handler
	young  bool                            // silence counts from youth on, as in the product; in tests from the start
}

// newNode listens; start starts it.
func newNode(t testing.TB, id types.ID, o nodeOptions) *node {
	t.Helper()
	n := &node{id: id, raft: newRecorder(), errorC: make(chan error, 4), snapDir: t.TempDir()}
	n.listen(t, "127.0.0.1:0", o)
	return n
}

func (n *node) listen(t testing.TB, addr string, o nodeOptions) {
	t.Helper()
	scheme := "http"
	if !o.tls.Empty() {
		scheme = "https"
	}
	if o.unix != "" {
		scheme, addr = "unix", o.unix
	}
	// As etcd opens its peer listeners.
	l, err := transport.NewListenerWithOpts(addr, scheme, transport.WithTLSInfo(&o.tls),
		transport.WithTimeout(rafthttp.ConnReadTimeout, rafthttp.ConnWriteTimeout))
	if err != nil {
		t.Fatal(err)
	}
	n.conns = &connTracker{Listener: l}
	n.listener = n.conns
	n.url = scheme + "://" + l.Addr().String()
	if o.unix != "" {
		n.url = "unix://" + o.unix
	}
}

func (n *node) start(t testing.TB, o nodeOptions) {
	t.Helper()
	n.logger = zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)).Named(n.id.String())
	urls := types.MustNewURLs([]string{n.url})
	name := n.id.String()
	snapshotter := snap.New(n.logger, n.snapDir)
	if o.stock {
		n.tr = &rafthttp.Transport{
			Logger: n.logger, ID: n.id, URLs: urls, ClusterID: testCluster, Raft: n.raft, Snapshotter: snapshotter, TLSInfo: o.tls,
			ServerStats: stats.NewServerStats(name, name), LeaderStats: stats.NewLeaderStats(n.logger, name), ErrorC: n.errorC,
		}
	} else {
		n.dv = &Transport{
			Logger: n.logger, ID: n.id, URLs: urls, ClusterID: testCluster, Raft: n.raft, Snapshotter: snapshotter, TLSInfo: o.tls,
			ServerStats: stats.NewServerStats(name, name), LeaderStats: stats.NewLeaderStats(n.logger, name), ErrorC: n.errorC,
			Config: o.config, lookup: o.lookup, grown: !o.young,
		}
		n.tr = n.dv
	}
	if err := n.tr.Start(); err != nil {
		t.Fatal(err)
	}
	handler := n.tr.Handler()
	if o.wrap != nil {
		handler = o.wrap(handler)
	}
	n.srv = &http.Server{Handler: handler, ReadTimeout: 5 * time.Minute}
	go n.srv.Serve(n.listener)
}

func (n *node) stop() {
	n.tr.Stop()
	n.srv.Close()
}

// startNodes starts members 1 to len(options), connected to each other.
func startNodes(t testing.TB, options ...nodeOptions) []*node {
	t.Helper()
	var nodes []*node
	for i, o := range options {
		nodes = append(nodes, newNode(t, types.ID(i+1), o))
	}
	for i, n := range nodes {
		n.start(t, options[i])
		t.Cleanup(n.stop)
	}
	for _, n := range nodes {
		for _, peer := range nodes {
			if peer != n {
				n.tr.AddPeer(peer.id, []string{peer.url})
			}
		}
	}
	return nodes
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// onPath waits until all members reach all others by the given path.
func onPath(t testing.TB, path string, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		if n.dv == nil {
			continue
		}
		for _, peer := range nodes {
			if peer == n {
				continue
			}
			eventually(t, fmt.Sprintf("member %s reaches %s by %s", n.id, peer.id, path), func() bool {
				return n.dv.peer(peer.id).pathName() == path
			})
		}
	}
}

func appendMsg(from, to types.ID, index uint64, data string) *raftpb.Message {
	return &raftpb.Message{
		Type: raftpb.MsgApp.Enum(), From: new(uint64(from)), To: new(uint64(to)), Term: new(uint64(5)),
		Index: new(index - 1), LogTerm: new(uint64(5)), Commit: new(index - 1),
		Entries: []*raftpb.Entry{{Index: new(index), Term: new(uint64(5)), Data: []byte(data)}},
	}
}

func beatMsg(from, to types.ID, term uint64) *raftpb.Message {
	return &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(from)), To: new(uint64(to)), Term: new(term), Commit: new(uint64(1))}
}

// connTracker knows the connections of a peer listener, to cut them.
type connTracker struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *connTracker) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.mu.Lock()
		l.conns = append(l.conns, c)
		l.mu.Unlock()
	}
	return c, err
}

func (l *connTracker) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		c.Close()
	}
	l.conns = nil
}

var errRefusedByTest = errors.New("refused by the test")
