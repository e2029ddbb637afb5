package raftdv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"
)

// FabricRelay is the road to a peer by way of other members: its control streams run
// through tunnels that those keep open. It is no setting of Config.Fabrics: it is
// there unless Config.NoRelays is set, and used when nothing else reaches the peer.
//
// A tunnel is a connection to a member that connects it to the peer's URL, or to the
// next member on the way there. What runs through it is what runs on a direct
// connection, TLS between the two ends included: who relays can neither read nor
// alter it, and acks are those of the other end.
const FabricRelay = "relay"

const (
	// viaHeader asks for a tunnel: the id of the member at its end and how many
	// further members it may pass. relayedHeader names the member that a control stream
	// came by.
	viaHeader     = "X-Dv-Via"
	relayedHeader = "X-Dv-Relayed"

	// maxTunnels bounds the tunnels that a member keeps open for others,
	// maxTunnelsEach those of one of them.
	maxTunnels     = 64
	maxTunnelsEach = 8
	// maxHops bounds the members that one tunnel passes.
	maxHops = 8
	// tunnelTimeout bounds how long a tunnel takes to be there.
	tunnelTimeout = time.Second
)

// relays are the tunnels that this member keeps open for others.
type relays struct {
	t *Transport
	// opened and bytes count what was relayed.
	opened, bytes atomic.Uint64

	wg   sync.WaitGroup
	mu   sync.Mutex // guards the fields below
	open map[*tunnel]bool
	over bool
}

// tunnel connects two members by way of this one.
type tunnel struct {
	from, to  types.ID
	near, far net.Conn
}

func (t *tunnel) close() {
	for _, c := range []net.Conn{t.near, t.far} {
		if c != nil {
			c.Close()
		}
	}
}

func (r *relays) init(t *Transport) { r.t = t }

// serveVia answers a member that asks for a tunnel.
func (r *relays) serveVia(w http.ResponseWriter, req *http.Request, from *peer, theirs *hello) *refusal {
	to, hops, err := parseVia(req.Header.Get(viaHeader))
	if err != nil {
		return &refusal{http.StatusBadRequest, err}
	}
	p := r.t.peer(to)
	switch proven, err := r.t.checkProof(from, theirs); {
	case r.t.cfg.NoRelays:
		return refuse(http.StatusNotImplemented, "member %s relays nothing: it was told so", r.t.ID)
	case err != nil:
		return &refusal{http.StatusForbidden, err}
	case !proven:
		return refuse(http.StatusForbidden, "member %s does not prove that it dials from its own URL: dial again after it was dialled", from.id)
	case p == nil || p == from:
		return refuse(http.StatusNotFound, "member %s is no peer of member %s", to, r.t.ID)
	case p.paused.Load() || from.paused.Load():
		return refuse(http.StatusServiceUnavailable, "member %s is cut off from one of the two", r.t.ID)
	}
	tun := &tunnel{from: from.id, to: to}
	if !r.admit(tun) {
		return refuse(http.StatusServiceUnavailable, "member %s relays %d connections, %d for one member, and no more", r.t.ID, maxTunnels, maxTunnelsEach)
	}
	ctx, cancel := context.WithTimeout(r.t.ctx, tunnelTimeout)
	defer cancel()
	far, err := r.reach(ctx, from, p, hops)
	r.mu.Lock()
	tun.far = far
	r.mu.Unlock()
	if err != nil {
		r.end(tun)
		return refuse(http.StatusBadGateway, "member %s does not reach member %s: %w", r.t.ID, to, err)
	}
	return r.join(w, req, tun)
}

func parseVia(text string) (to types.ID, hops int, err error) {
	id, rest, _ := strings.Cut(text, " ")
	to, err = types.IDFromString(id)
	if err == nil {
		hops, err = strconv.Atoi(rest)
	}
	if err != nil || hops < 0 || hops > maxHops {
		return 0, 0, fmt.Errorf("header %s is %q: want a member's id and 0 to %d", viaHeader, text, maxHops)
	}
	return to, hops, nil
}

// admit counts a tunnel, if there is room for it.
func (r *relays) admit(tun *tunnel) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	same := 0
	for o := range r.open {
		if o.from == tun.from {
			same++
		}
	}
	if r.over || len(r.open) >= maxTunnels || same >= maxTunnelsEach {
		return false
	}
	if r.open == nil {
		r.open = map[*tunnel]bool{}
	}
	r.open[tun] = true
	r.wg.Add(1)
	return true
}

func (r *relays) end(tun *tunnel) {
	tun.close()
	r.mu.Lock()
	delete(r.open, tun)
	r.mu.Unlock()
	r.wg.Done()
}

// reach connects to a peer's URL, or to a member that is nearer to it.
func (r *relays) reach(ctx context.Context, from, to *peer, hops int) (net.Conn, error) {
	if r.t.ordering.linkedWith(to.member) {
		return r.dial(ctx, to)
	}
	var ways []*peer
	for _, id := range r.t.ordering.ways(to.member) {
		if via := r.t.peer(types.ID(id)); via != nil && via != from && hops > 0 {
			ways = append(ways, via)
		}
	}
	if len(ways) == 0 {
		return nil, errors.New("they do not hear each other")
	}
	return firstWay(ctx, &r.wg, ways, func(ctx context.Context, via *peer) (net.Conn, error) { return via.tunnel(ctx, to.id, hops-1) })
}

// dial connects to a peer's URL, without TLS: that is between the ends.
func (r *relays) dial(ctx context.Context, to *peer) (net.Conn, error) {
	u := to.urls.pick()
	if err := relayable(&u); err != nil {
		return nil, err
	}
	var d net.Dialer
	if local := r.t.TLSInfo.LocalAddr; local != "" {
		a, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(local, "0"))
		if err != nil {
			return nil, err
		}
		d.LocalAddr = a
	}
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		to.urls.unreachable(u)
	}
	return conn, err
}

// relayable: unix sockets are for members of one host.
func relayable(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("peer URL %s cannot be reached from another host", u.Redacted())
	}
	return nil
}

// join takes the connection over and passes on what comes, both ways.
func (r *relays) join(w http.ResponseWriter, req *http.Request, tun *tunnel) *refusal {
	fail := func(status int, format string, args ...any) *refusal {
		r.end(tun)
		return refuse(status, format, args...)
	}
	hj, ok := w.(http.Hijacker)
	if !ok {
		return fail(http.StatusInternalServerError, "the server cannot hand over its connections: serve peers over HTTP/1.1")
	}
	conn, rw, err := hj.Hijack()
	if err != nil {
		return fail(http.StatusInternalServerError, "hijack: %w", err)
	}
	r.mu.Lock()
	tun.near = conn
	r.mu.Unlock()
	if err := errors.Join(dropBody(conn, rw.Reader, req.ContentLength), r.t.answerUpgrade(conn, rw, nil)); err != nil {
		r.t.lg.Debug("answer to a member that asked for a relay failed", zap.String("remote-peer-id", tun.from.String()), zap.Error(err))
		r.end(tun)
		return nil
	}
	r.opened.Add(1)
	r.t.lg.Info("relays a connection", zap.String("local-member-id", r.t.ID.String()), zap.String("from", tun.from.String()), zap.String("to", tun.to.String()))
	early := buffered(rw.Reader)
	go func() {
		defer r.end(tun)
		var both sync.WaitGroup
		both.Go(func() {
			defer tun.close()
			if _, err := tun.far.Write(early); err == nil {
				r.pass(tun.far, conn)
			}
		})
		both.Go(func() {
			defer tun.close()
			r.pass(conn, tun.far)
		})
		both.Wait()
	}()
	return nil
}

func (r *relays) pass(dst, src net.Conn) {
	n, _ := io.Copy(dst, src) // either end may go at any time
	r.bytes.Add(uint64(n))
}

// cut ends the tunnels from or to a member.
func (r *relays) cut(id types.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for tun := range r.open {
		if tun.from == id || tun.to == id {
			tun.close()
		}
	}
}

// stop ends all tunnels and waits for that.
func (r *relays) stop() {
	r.mu.Lock()
	r.over = true
	for tun := range r.open {
		tun.close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

// count is how many tunnels are open.
func (r *relays) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.open)
}

// tunnel asks this peer for a connection to another member.
func (p *peer) tunnel(ctx context.Context, to types.ID, hops int) (net.Conn, error) {
	if Feature(p.speaks.Load())&FeatureRelays == 0 {
		return nil, fmt.Errorf("member %s relays nothing", p.id)
	}
	ours, _, err := p.dialHello()
	if err != nil {
		return nil, err
	}
	ours.Token = nil
	resp, nc, err := p.roundTrip(ctx, p.t.dialer, p.urls.pick(), ours.encode(), http.Header{viaHeader: {fmt.Sprintf("%s %d", to, hops)}})
	if err != nil {
		return nil, err
	}
	conn, ok := resp.Body.(io.ReadWriteCloser)
	if resp.StatusCode != http.StatusSwitchingProtocols || !ok {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1024))
		resp.Body.Close()
		return nil, fmt.Errorf("member %s answered %s: %s", p.id, resp.Status, strings.TrimSpace(string(text)))
	}
	return &upgradedConn{conn, nc, func() {}}, nil
}

// through makes HTTP requests to a member by way of this peer.
func (p *peer) through(to types.ID) (http.RoundTripper, error) {
	cfg, err := p.t.TLSInfo.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("peer TLS: %w", err)
	}
	return &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return p.tunnel(ctx, to, maxHops-1) },
		TLSClientConfig:     cfg,
		TLSHandshakeTimeout: tunnelTimeout,
		MaxIdleConnsPerHost: -1,
	}, nil
}
