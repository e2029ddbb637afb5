package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/soheilhy/cmux"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"
)

const (
	clusterID = types.ID(0xc1)
	// readyTimeout bounds how long members may take to find each other.
	readyTimeout = 15 * time.Second
	readyPoll    = 5 * time.Millisecond
	// readyPolls in a row must find members ready: a stream is counted just
	// before rafthttp uses it.
	readyPolls = 3
	// peerReadTimeout is etcd's for its peer servers.
	peerReadTimeout = 5 * time.Minute
	shutdownTimeout = 2 * time.Second
	defaultStall    = 5 * time.Second
	defaultPatience = 50 * time.Millisecond
)

// A system is a way to carry raft messages.
type system struct {
	name string
	open func(memberParams) (rafthttp.Transporter, error)
	// ready is nil when messages of this member take the way that is to be
	// measured, otherwise it says what is missing.
	ready func(*member) error
	// troubles is what the system knows of losses at a member; may be nil.
	troubles func(*member) string
	// lossy systems promise nothing: what they lose is counted. Damage, doubles
	// and another order fail as everywhere.
	lossy bool
	// needsDir: members are given a folder that they share.
	needsDir bool
}

// memberParams is what one transport is made of.
type memberParams struct {
	id   types.ID
	urls types.URLs
	tls  transport.TLSInfo
	raft rafthttp.Raft
	// dir is empty unless the system needs it.
	dir string
}

// A group is all members of one cluster, in this process.
type group struct {
	sys     *system
	members []*member
	// index is the last entry that was sent: a log goes on across runs.
	index uint64
	// stall is how long a measurement may see no progress.
	stall time.Duration
	// patience is how long a lossy system may see no progress before what is
	// under way counts as lost.
	patience time.Duration
	dir      string // removed at the end
}

// A member has a transport and what serves it.
type member struct {
	id      types.ID
	urls    types.URLs
	node    *node
	tr      rafthttp.Transporter
	server  *peerServer
	streams streamCount
	peers   int
}

// own is the member's transport without what was put around it.
func (m *member) own() rafthttp.Transporter {
	tr := m.tr
	for {
		w, wrapped := tr.(interface{ unwrap() rafthttp.Transporter })
		if !wrapped {
			return tr
		}
		tr = w.unwrap()
	}
}

// openGroup starts n members and returns when they are connected.
func openGroup(ctx context.Context, sys *system, n int, tls *transport.TLSInfo) (_ *group, err error) {
	g := &group{sys: sys, stall: defaultStall, patience: defaultPatience}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if sys.needsDir {
		if g.dir, err = os.MkdirTemp("", "raftdv-bench-"); err != nil {
			return nil, fmt.Errorf("%s: folder for the members: %w", sys.name, err)
		}
	}
	for i := range n {
		m, err := g.openMember(types.ID(i+1), n, tls)
		if m != nil {
			g.members = append(g.members, m)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: open member %d: %w", sys.name, i+1, err)
		}
	}
	for _, m := range g.members {
		for _, p := range g.members {
			if p != m {
				m.tr.AddPeer(p.id, p.urls.StringSlice())
			}
		}
	}
	return g, g.waitReady(ctx)
}

func (g *group) openMember(id types.ID, n int, tls *transport.TLSInfo) (*member, error) {
	m := &member{id: id, node: newNode(), peers: n - 1}
	var err error
	if m.server, m.urls, err = listen(tls); err != nil {
		return nil, err
	}
	params := memberParams{id: id, urls: m.urls, raft: m.node, dir: g.dir}
	if tls != nil {
		params.tls = *tls
	}
	if m.tr, err = g.sys.open(params); err != nil {
		return m, err
	}
	if err = m.tr.Start(); err != nil {
		m.tr = nil
		return m, err
	}
	m.server.serve(m.streams.wrap(m.tr.Handler()))
	return m, nil
}

func (g *group) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for found := 0; ; {
		err := g.ready()
		if found++; err != nil {
			found = 0
		}
		if found == readyPolls {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: members are not connected: %w: %w", g.sys.name, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}

// ready is asked again after a measurement: a path that changed meanwhile
// would measure something else.
func (g *group) ready() error {
	var errs []error
	for _, m := range g.members {
		if err := g.sys.ready(m); err != nil {
			errs = append(errs, fmt.Errorf("member %s: %w", m.id, err))
		}
	}
	return errors.Join(errs...)
}

// troubles says what the members know of losses.
func (g *group) troubles() string {
	var text strings.Builder
	fmt.Fprintf(&text, "reported unreachable: %d", g.unreachable())
	for _, m := range g.members {
		if g.sys.troubles == nil {
			break
		}
		if s := g.sys.troubles(m); s != "" {
			fmt.Fprintf(&text, "; member %s: %s", m.id, s)
		}
	}
	return text.String()
}

func (g *group) unreachable() (n uint64) {
	for _, m := range g.members {
		n += m.node.unreachable.Load()
	}
	return n
}

func (g *group) leader() *member      { return g.members[0] }
func (g *group) followers() []*member { return g.members[1:] }

func (g *group) close() {
	for _, m := range g.members {
		if m.tr != nil {
			m.tr.Stop()
		}
	}
	for _, m := range g.members {
		m.server.close()
	}
	if g.dir != "" {
		os.RemoveAll(g.dir)
	}
}

// peerServer serves peers as etcd's embed package does (servePeers).
type peerServer struct {
	l   net.Listener
	mux cmux.CMux
	srv *http.Server
	wg  sync.WaitGroup
}

func listen(tls *transport.TLSInfo) (*peerServer, types.URLs, error) {
	scheme := "http"
	opts := []transport.ListenerOption{transport.WithTimeout(rafthttp.ConnReadTimeout, rafthttp.ConnWriteTimeout)}
	if tls != nil {
		scheme = "https"
		opts = append(opts, transport.WithTLSInfo(tls))
	}
	l, err := transport.NewListenerWithOpts("127.0.0.1:0", scheme, opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for peers: %w", err)
	}
	return &peerServer{l: l}, types.URLs{url.URL{Scheme: scheme, Host: l.Addr().String()}}, nil
}

func (s *peerServer) serve(h http.Handler) {
	s.mux = cmux.New(s.l)
	s.srv = &http.Server{Handler: h, ReadTimeout: peerReadTimeout, ErrorLog: log.New(io.Discard, "", 0)}
	any := s.mux.Match(cmux.Any())
	s.wg.Go(func() { s.srv.Serve(any) })
	s.wg.Go(func() { s.mux.Serve() })
}

func (s *peerServer) close() {
	if s.srv != nil {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		s.srv.Shutdown(ctx)
		cancel()
		s.srv.Close()
		s.mux.Close()
	}
	s.l.Close()
	s.wg.Wait()
}
