package raftdv

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// peer is one member as this one sees it. The roads to it are chosen in
// path.go, the control streams come from dial.go and serve.go.
type peer struct {
	t       *Transport
	id      types.ID
	member  fabric.MemberID
	urls    urlPicker
	token   []byte // what this member gives out when it dials the peer
	metrics *peerMetrics
	paused  atomic.Bool
	mute    atomic.Bool // it did not answer the last snapshot
	// bulkLost is when the stream lost a frame of a snapshot.
	bulkLost instant
	redial   chan struct{} // the peer dialled: it has this transport now
	props    chan *raftpb.Message
	report   reporter
	path     atomic.Int32 // index into t.roads, or pathRafthttp, pathNone
	// speaks is the feature set of the peer's newest hello.
	speaks atomic.Uint64
	// stock: the peer was asked and has no transport like this one.
	stock atomic.Bool
	// moved: when the path changed last.
	moved instant
	// offFabric: since when the path is no fabric; never: it is one.
	offFabric instant
	refusedAt instant // of the last log line about a refusal
	proving   atomic.Bool
	doubt     doubt
	// apart: this member and the peer do not hear each other directly.
	apart  atomic.Bool
	relay  relayed
	signAt instant // when a frame last counted as a sign of life
	// inRaft counts the peer's messages that raft has not taken yet.
	inRaft atomic.Int32

	rowMu   sync.Mutex // guards the fields below
	rows    *RowReader
	rowMsgs []*raftpb.Message

	sides sides

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	up      []bool     // by road: its link is up
	downWhy []error    // by road
	since   time.Time  // active since; zero if not
	dialErr string
	wire    int
	life    uint64 // newest incarnation that the peer told
	theirs  issuedToken
	in, out *controlStream  // the peer's frames, our frames
	inDone  <-chan struct{} // closed when that connection ends
	outDone <-chan struct{}
	sideErr error
	stopped bool

	dialCancel context.CancelCauseFunc // ends the dial that runs
	dialBegun  time.Time
}

// issuedToken is what a peer gave to this member, as long as it lives.
type issuedToken struct {
	token       []byte
	incarnation uint64
}

func newPeer(t *Transport, id types.ID, urls types.URLs) *peer {
	p := &peer{
		t: t, id: id, member: fabric.MemberID(id), token: randomBytes(tokenLen),
		redial: make(chan struct{}, 1), props: make(chan *raftpb.Message, t.cfg.ProposalQueue),
		up: make([]bool, len(t.roads)), downWhy: make([]error, len(t.roads)),
	}
	p.urls.update(urls)
	p.rows = NewRowReader(t.member(), p.member)
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	p.metrics = t.metrics.peer(p)
	p.report.init(p)
	p.relay.init()
	p.path.Store(t.lastResort())
	p.offFabric.set(time.Now())
	return p
}

func (p *peer) start() {
	p.metrics.path(p.pathName())
	p.wg.Go(p.dialLoop)
	p.wg.Go(p.proposals)
	p.wg.Go(p.report.run)
	if p.t.relayRoad() != nil {
		p.wg.Go(p.relayLoop)
	}
}

// stop waits for the peer's goroutines; cancel was called before.
func (p *peer) stop() {
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	p.deactivate(errors.New("peer removed"))
	p.metrics.close()
}

// spawn runs f unless the peer was stopped; stop waits for it.
func (p *peer) spawn(f func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopped {
		p.wg.Go(f)
	}
	return !p.stopped
}

func (p *peer) updateURLs(urls types.URLs) {
	p.urls.update(urls)
	p.kick()
}

// kick ends the pause before the next dial, and a dial that hangs.
func (p *peer) kick() {
	p.endHungDial()
	select {
	case p.redial <- struct{}{}:
	default:
	}
}

// proposals hands forwarded proposals to raft: without a leader that blocks,
// and must not hold up anything else.
func (p *peer) proposals() {
	for {
		select {
		case m := <-p.props:
			p.process(m)
		case <-p.ctx.Done():
			return
		}
	}
}

func (p *peer) process(m *raftpb.Message) {
	if err := p.t.toRaft(p.ctx, m); err != nil && p.ctx.Err() == nil {
		p.t.lg.Warn("failed to process Raft message", zap.Error(err))
	}
}

// attachIncoming takes a control stream that this member dialled.
func (p *peer) attachIncoming(conn net.Conn, s controlStream) (<-chan struct{}, error) {
	p.meets(s.theirs)
	done, err := p.t.stream().attachReceive(p.member, &s, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	p.mu.Lock()
	p.in, p.inDone, p.wire, p.dialErr = &s, done, s.theirs.wireVersion(), ""
	p.mu.Unlock()
	p.activate()
	p.connectSides()
	p.t.lg.Info("established control stream with peer", zap.String("local-member-id", p.t.ID.String()),
		zap.String("remote-peer-id", p.id.String()), zap.Uint64("remote-incarnation", s.theirs.Incarnation),
		zap.Int("wire-version", s.theirs.wireVersion()), zap.Bool("sealed", s.sealed))
	return done, nil
}

// attachOutgoing takes a control stream that the peer dialled.
func (p *peer) attachOutgoing(conn net.Conn, buffered []byte, s controlStream) {
	p.kick()
	p.meets(s.theirs)
	done, err := p.t.stream().attachSend(p.member, &s, conn, buffered)
	if err != nil {
		conn.Close()
		p.t.lg.Warn("peer's control stream could not be used", zap.String("remote-peer-id", p.id.String()), zap.Error(err))
		return
	}
	p.mu.Lock()
	p.out, p.outDone = &s, done
	if len(s.theirs.Token) == tokenLen && s.theirs.Incarnation >= p.theirs.incarnation {
		p.theirs = issuedToken{s.theirs.Token, s.theirs.Incarnation}
	}
	p.mu.Unlock()
	p.connectSides()
	p.proveStream()
}

// meets takes what the peer said of itself.
func (p *peer) meets(h *hello) {
	p.mu.Lock()
	p.life = max(p.life, h.Incarnation)
	p.mu.Unlock()
	p.speaks.Store(uint64(h.Features))
	if p.stock.Swap(false) {
		p.t.elections.kick()
	}
}

// incarnation is the newest one that the peer told. It is known before the first
// frame of that life arrives.
func (p *peer) incarnation() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.life
}

// leaves: the peer answers like one without this transport.
func (p *peer) leaves() {
	p.speaks.Store(0)
	if !p.stock.Swap(true) {
		p.t.elections.kick()
	}
}

// reached: a fabric reaches the peer, by way of others or without.
func (p *peer) reached(relay bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.t.roads, func(r *road) bool { return p.up[r.index] && (r.name == FabricRelay) == relay })
}

func (p *peer) theirToken() ([]byte, uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.theirs.token, p.theirs.incarnation
}

// provenStreamAlive: our frames flow to somebody who showed the token.
func (p *peer) provenStreamAlive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out != nil && p.out.proven && open(p.outDone)
}

// dialled: the connection that this member dialled lives.
func (p *peer) dialled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return open(p.inDone)
}

// open reports whether done exists and was not closed.
func open(done <-chan struct{}) bool {
	if done == nil {
		return false
	}
	select {
	case <-done:
		return false
	default:
		return true
	}
}

func (p *peer) activeSince() time.Time {
	p.mu.Lock()
	since := p.since
	p.mu.Unlock()
	if !since.IsZero() || p.t.cfg.Require {
		return since
	}
	return p.t.inner.ActiveSince(p.id)
}

// activate keeps the time since which the peer was heard over rafthttp, if it
// was: changing the road is no interruption.
func (p *peer) activate() {
	since := time.Now()
	if over := p.t.inner.ActiveSince(p.id); !over.IsZero() && over.Before(since) {
		since = over
	}
	p.mu.Lock()
	news := p.since.IsZero() && !p.stopped
	if news {
		p.since = since
		p.metrics.active(true)
	}
	p.mu.Unlock()
	if news {
		p.happened(Event{Activity: &ActivityEvent{Heard: true}})
	}
}

func (p *peer) deactivate(why error) {
	p.mu.Lock()
	was := p.since
	p.since = time.Time{}
	p.mu.Unlock()
	if !was.IsZero() {
		p.metrics.active(false)
		p.happened(Event{Activity: &ActivityEvent{Reason: errorText(why)}})
		p.t.lg.Info("peer's transport is not heard any more", zap.String("remote-peer-id", p.id.String()),
			zap.Duration("was-heard-for", time.Since(was)), zap.Error(why))
	}
}

// noteDialError reports whether the reason is another one than before, so that
// a peer that stays away is logged once.
func (p *peer) noteDialError(err error) (changed bool) {
	reason := err.Error()
	var op *net.OpError
	if errors.As(err, &op) {
		reason = op.Err.Error() // without the local port, which changes
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	changed = p.dialErr != reason
	p.dialErr = reason
	return changed
}

// silent ends the peer's activity when its stream has been quiet for longer
// than rafthttp would wait for its own.
func (p *peer) silent(heard time.Time) {
	if !heard.IsZero() && time.Since(heard) > rafthttp.ConnReadTimeout {
		p.deactivate(errors.New("nothing heard for " + rafthttp.ConnReadTimeout.String()))
	}
}
