package raftdv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	stats "go.etcd.io/etcd/server/v3/etcdserver/api/v2stats"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/durable"
)

// Transport carries raft messages between members over fabrics, and over an
// inner rafthttp.Transport to peers that have no fabric. The fields up to
// ErrorC mean what they mean in rafthttp.Transport; set them before Start and
// leave them alone afterwards.
//
// All methods may be called concurrently after Start.
type Transport struct {
	// Logger: default none.
	Logger *zap.Logger

	// DialTimeout bounds dialling a peer. Default none.
	DialTimeout time.Duration
	// DialRetryFrequency limits how often each peer is dialled. Default 10/s.
	DialRetryFrequency rate.Limit

	TLSInfo transport.TLSInfo

	ID          types.ID
	URLs        types.URLs
	ClusterID   types.ID
	Raft        rafthttp.Raft
	Snapshotter *snap.Snapshotter
	// ServerStats and LeaderStats are told what goes over rafthttp only: their
	// figures cost a lock and an allocation for each message, and etcd shows
	// them no more. The metrics count everything.
	ServerStats *stats.ServerStats
	LeaderStats *stats.LeaderStats
	// ErrorC is told when this member was removed from the cluster.
	ErrorC chan error

	// Config is what rafthttp does not have.
	Config Config

	cfg         Config // with defaults
	lg          *zap.Logger
	inner       *rafthttp.Transport
	dialer      http.RoundTripper
	incarnation uint64
	instance    []byte
	started     time.Time
	lookup      func(ctx context.Context, network, host string) ([]netip.Addr, error)
	grown       bool    // tests: silence counts from the start, see youth
	roads       []*road // in order of preference
	rows        rowPublisher
	streams     [classCount]atomic.Uint64 // stream sequences, by class
	late        instant                   // when watch last found that it ran late
	metrics     *transportMetrics
	transfers   transfers
	elections   elections
	ordering    ordering
	relays      relays

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	peers atomic.Pointer[map[types.ID]*peer] // replaced under mu, read freely
	mu    sync.Mutex
	// former and stopped, which is set once, are guarded by mu.
	former  formerPeers
	stopped bool
}

var (
	_ rafthttp.Transporter = (*Transport)(nil)
	_ rafthttp.Pausable    = (*Transport)(nil)
)

// ErrMemberRemoved goes to ErrorC when a peer says that this member is no
// longer in the cluster.
var ErrMemberRemoved = errors.New("the member has been permanently removed from the cluster")

// Start opens the fabrics. A fabric that cannot be opened is left out, with
// the reason in the log and in the state, unless Config.Require is set and
// none is left.
func (t *Transport) Start() error {
	t.cfg = t.Config.withDefaults()
	if err := t.Config.Validate(); err != nil {
		return fmt.Errorf("raftdv: %w", err)
	}
	if t.lg = t.Logger; t.lg == nil {
		t.lg = zap.NewNop()
	}
	if t.DialRetryFrequency == 0 {
		t.DialRetryFrequency = rate.Every(dialEvery)
	}
	var err error
	t.started = time.Now()
	if t.lookup == nil {
		t.lookup = net.DefaultResolver.LookupNetIP
	}
	if t.incarnation, err = durable.NextIncarnation(t.cfg.IncarnationFile, t.started); err != nil {
		return fmt.Errorf("raftdv: %w", err)
	}
	t.instance = randomBytes(16)
	t.dialer, err = transport.NewTimeoutTransport(t.TLSInfo, t.DialTimeout, rafthttp.ConnReadTimeout, rafthttp.ConnWriteTimeout)
	if err != nil {
		return fmt.Errorf("raftdv: peer TLS: %w", err)
	}
	if err := t.elections.init(t); err != nil {
		return fmt.Errorf("raftdv: %w", err)
	}
	t.ordering.init(t)
	if err := t.startInner(); err != nil {
		return err
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.peers.Store(&map[types.ID]*peer{})
	t.metrics = newTransportMetrics(t)
	t.transfers.init(t)
	if err := t.openRoads(); err != nil {
		t.cancel()
		t.closeRoads()
		t.inner.Stop()
		t.metrics.close()
		return fmt.Errorf("raftdv: %w", err)
	}
	t.rows.init(t)
	t.relays.init(t)
	t.wg.Go(t.watch)
	t.ordering.start()
	t.elections.start()
	register(t)
	return nil
}

func (t *Transport) startInner() error {
	t.inner = &rafthttp.Transport{
		Logger: t.Logger, DialTimeout: t.DialTimeout, DialRetryFrequency: t.DialRetryFrequency, TLSInfo: t.TLSInfo,
		ID: t.ID, URLs: t.URLs, ClusterID: t.ClusterID, Raft: innerRaft{t}, Snapshotter: t.Snapshotter,
		ServerStats: t.ServerStats, LeaderStats: t.LeaderStats, ErrorC: t.ErrorC,
	}
	return t.inner.Start()
}

// Handler serves rafthttp's endpoints and the bootstrap beside them.
func (t *Transport) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", t.inner.Handler())
	mux.Handle(BootstrapPath, http.HandlerFunc(t.serveBootstrap))
	return mux
}

// Stop ends everything that Start and AddPeer began and waits for it.
func (t *Transport) Stop() {
	t.mu.Lock()
	if t.stopped {
		t.mu.Unlock()
		return
	}
	t.stopped = true
	peers := *t.peers.Swap(&map[types.ID]*peer{})
	t.mu.Unlock()

	unregister(t)
	t.cancel()
	for _, p := range peers {
		p.cancel()
	}
	t.transfers.stop()
	t.relays.stop()
	t.rows.stop()
	t.closeRoads()
	for _, p := range peers {
		p.stop()
	}
	t.inner.Stop()
	if c, ok := t.dialer.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
	t.wg.Wait()
	t.metrics.close()
}

// peer finds a peer; nil if there is none.
func (t *Transport) peer(id types.ID) *peer { return (*t.peers.Load())[id] }

// AddRemote adds a member that helps this one to catch up; it is reached over
// rafthttp only.
func (t *Transport) AddRemote(id types.ID, us []string) { t.inner.AddRemote(id, us) }

// AddPeer adds a peer. It panics on bad URLs and after Stop, as rafthttp does.
func (t *Transport) AddPeer(id types.ID, us []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		panic("transport stopped")
	}
	if t.peer(id) != nil {
		return
	}
	urls, err := types.NewURLs(us)
	if err != nil {
		t.lg.Panic("failed NewURLs", zap.Strings("urls", us), zap.Error(err))
	}
	if !t.cfg.Require {
		t.inner.AddPeer(id, us)
	}
	p := newPeer(t, id, urls)
	t.former.restore(p)
	t.replacePeers(func(peers map[types.ID]*peer) { peers[id] = p })
	for _, r := range t.roads {
		r.addPeer(p.member)
	}
	p.start()
	t.elections.kick()
}

// replacePeers is called with mu held.
func (t *Transport) replacePeers(change func(map[types.ID]*peer)) {
	old := *t.peers.Load()
	peers := make(map[types.ID]*peer, len(old)+1)
	maps.Copy(peers, old)
	change(peers)
	t.peers.Store(&peers)
}

// RemovePeer removes a peer. Messages to it in flight are dropped.
func (t *Transport) RemovePeer(id types.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removePeer(id)
}

func (t *Transport) removePeer(id types.ID) {
	p := t.peer(id)
	if p != nil {
		t.replacePeers(func(peers map[types.ID]*peer) { delete(peers, id) })
		p.cancel()
		t.relays.cut(id)
		for _, r := range t.roads {
			r.removePeer(p.member)
		}
		p.stop()
		t.former.keep(p)
		t.elections.kick()
	}
	if !t.cfg.Require || p == nil {
		t.inner.RemovePeer(id)
	}
}

// RemoveAllPeers removes every peer.
func (t *Transport) RemoveAllPeers() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id := range *t.peers.Load() {
		t.removePeer(id)
	}
}

// UpdatePeer gives a peer other URLs.
func (t *Transport) UpdatePeer(id types.ID, us []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.peer(id)
	if p == nil {
		return
	}
	urls, err := types.NewURLs(us)
	if err != nil {
		t.lg.Panic("failed NewURLs", zap.Strings("urls", us), zap.Error(err))
	}
	if !t.cfg.Require {
		t.inner.UpdatePeer(id, us)
	}
	p.updateURLs(urls)
}

// ActiveSince is the time since which the peer's transport loop has been
// heard without a break, zero if it is not heard now. A delivery ack does not
// count: it comes from the fabric.
func (t *Transport) ActiveSince(id types.ID) time.Time {
	p := t.peer(id)
	if p == nil {
		return time.Time{}
	}
	return p.activeSince()
}

// ActivePeers is the number of peers that are heard now.
func (t *Transport) ActivePeers() int {
	n := 0
	for _, p := range *t.peers.Load() {
		if !p.activeSince().IsZero() {
			n++
		}
	}
	return n
}

// Pause drops everything to and from all peers, without a word, until Resume.
func (t *Transport) Pause() {
	for _, p := range *t.peers.Load() {
		p.pause(true)
	}
	t.inner.Pause()
}

// Resume ends Pause.
func (t *Transport) Resume() {
	t.inner.Resume()
	for _, p := range *t.peers.Load() {
		p.pause(false)
	}
}

// CutPeer drops everything to and from one peer until MendPeer.
func (t *Transport) CutPeer(id types.ID) {
	if p := t.peer(id); p != nil {
		p.pause(true)
	}
	t.inner.CutPeer(id)
}

// MendPeer ends CutPeer.
func (t *Transport) MendPeer(id types.ID) {
	t.inner.MendPeer(id)
	if p := t.peer(id); p != nil {
		p.pause(false)
	}
}

// pause drops everything to and from the peer, rows as well: they would show a
// member that is cut off to be alive.
func (p *peer) pause(on bool) {
	p.paused.Store(on)
	if on {
		p.t.relays.cut(p.id)
	}
	for _, r := range p.t.roads {
		if w, ok := r.port.(fabric.RowWithholder); ok {
			w.WithholdRow(p.member, on)
		}
	}
}

// innerRaft is the raft that the inner rafthttp sees.
type innerRaft struct{ t *Transport }

func (r innerRaft) Process(ctx context.Context, m *raftpb.Message) error {
	if p := r.t.peer(types.ID(m.GetFrom())); p != nil {
		p.metrics.received(m.GetType(), formRafthttp)
	}
	return r.t.toRaft(ctx, m)
}

func (r innerRaft) IsIDRemoved(id uint64) bool  { return r.t.Raft.IsIDRemoved(id) }
func (r innerRaft) ReportUnreachable(id uint64) { r.t.Raft.ReportUnreachable(id) }
func (r innerRaft) ReportSnapshot(id uint64, status snapshotStatus) {
	r.t.Raft.ReportSnapshot(id, status)
}

// sortedPeers is for the state page and the metrics.
func (t *Transport) sortedPeers() []*peer {
	var list []*peer
	for _, p := range *t.peers.Load() {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b *peer) int {
		if a.id < b.id {
			return -1
		}
		return 1
	})
	return list
}

// classCount is the number of classes that a stream sequence is counted for.
const classCount = int(fabric.ClassSafe) + 1

func (t *Transport) member() fabric.MemberID { return fabric.MemberID(t.ID) }
