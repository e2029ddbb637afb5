package raftdv

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/stream"
	"github.com/raftdv/dv/fabric/udp"
)

// The values of peer.path that are no index of Transport.roads.
const (
	pathRafthttp = -1
	pathNone     = -2
)

// watchesPerTimeout is how often within the control timeout the streams are
// looked at.
const watchesPerTimeout = 4

// keepAlivesPerTimeout is how often within the control timeout a control stream
// says that it lives.
const keepAlivesPerTimeout = 5

// streamQueueFrames bounds the frames of one lane to one peer that wait for
// their ack; raft has up to 512 MsgApps under way, with many small ones after
// each other.
const streamQueueFrames = 1 << 16

// rowInterval is how long members that a row says nothing to may wait for it:
// acks concern their leader alone, who gets them at once.
const rowInterval = 100 * time.Millisecond

// maxLate bounds how old a sign of life may be that a late loop accepts again.
const maxLate = 10 * time.Second

// road is one fabric of this member: the way to all peers that have it too.
type road struct {
	recv  *receiver
	name  string
	index int
	port  fabric.Port
	caps  fabric.Capabilities
	str   *stream.Port
	udp   *udp.Port
	err   error // why it could not be opened; then port is nil
	addr  string
}

func (r *road) addPeer(id fabric.MemberID) {
	if r.str != nil {
		r.str.AddPeer(id)
	}
}

func (r *road) removePeer(id fabric.MemberID) {
	defer r.recv.forget(id)
	switch {
	case r.str != nil:
		r.str.RemovePeer(id)
	case r.udp != nil:
		r.udp.Disconnect(id)
	}
}

func (r *road) attachSend(id fabric.MemberID, s *controlStream, conn net.Conn, buffered []byte) (<-chan struct{}, error) {
	return r.str.AttachSend(id, s.session(conn), conn, buffered)
}

func (r *road) attachReceive(id fabric.MemberID, s *controlStream, conn net.Conn) (<-chan struct{}, error) {
	return r.str.AttachReceive(id, s.session(conn), conn, nil)
}

// session is what the stream fabric has to know of an upgraded connection.
func (s *controlStream) session(conn net.Conn) stream.Session {
	return stream.Session{
		PeerIncarnation: s.theirs.Incarnation, Checksum: !s.sealed,
		Socket: socketUnder(conn), Direct: !s.sealed,
	}
}

// openRoads opens the configured fabrics. The stream is opened even if it is
// not listed: its connections are the control streams of all others.
func (t *Transport) openRoads() error {
	names := slices.Clone(t.cfg.Fabrics)
	if !slices.Contains(names, FabricStream) {
		names = append(names, FabricStream)
	}
	usable := 0
	for i, name := range names {
		r := &road{name: name, index: i}
		r.err = t.openRoad(r)
		t.roads = append(t.roads, r)
		if r.err != nil {
			t.lg.Warn("fabric cannot be used", zap.String("local-member-id", t.ID.String()), zap.String("fabric", name), zap.Error(r.err))
			continue
		}
		r.caps = r.port.Capabilities()
		if slices.Contains(t.cfg.Fabrics, name) {
			usable++
		}
		t.lg.Info("opened fabric", zap.String("local-member-id", t.ID.String()), zap.String("fabric", name), zap.String("address", r.addr))
	}
	if usable == 0 && t.cfg.Require {
		return fmt.Errorf("no fabric of %v can be used and rafthttp is not allowed: mend one, or allow the fall-back", t.cfg.Fabrics)
	}
	return nil
}

func (t *Transport) openRoad(r *road) (err error) {
	h := &receiver{t: t, road: r}
	r.recv = h
	switch r.name {
	case FabricStream:
		var queues [fabric.Lanes]stream.Queue
		for l := range queues {
			queues[l].Frames = streamQueueFrames
		}
		r.str, err = stream.New(stream.Config{
			Queues: queues, RowInterval: rowInterval,
			Self: t.member(), Incarnation: t.incarnation, TicketTimeout: t.cfg.TicketTimeout,
			KeepAlive: t.cfg.ControlTimeout / keepAlivesPerTimeout, Detached: t.streamEnded,
		}, h)
		r.port = r.str
	case FabricUDP:
		r.udp, err = t.openUDP(h)
		if err == nil {
			r.addr = r.udp.LocalAddr().String()
		}
		r.port = r.udp
	default:
		err = fmt.Errorf("fabric %q is unknown: use any of %v", r.name, knownFabrics)
	}
	if err != nil {
		r.port, r.str, r.udp = nil, nil, nil
	}
	return err
}

// streamEnded says why a control stream ended that this member dialled; the end
// of the others shows as a change of path.
func (t *Transport) streamEnded(id fabric.MemberID, d stream.Direction, why error) {
	if d == stream.Receiving && t.ctx.Err() == nil {
		t.lg.Info("lost control stream with peer", zap.String("local-member-id", t.ID.String()),
			zap.String("remote-peer-id", types.ID(id).String()), zap.Error(why))
	}
}

// openUDP binds the configured address, or the peer listener's.
func (t *Transport) openUDP(h fabric.Handler) (*udp.Port, error) {
	open := func(addr string) (*udp.Port, error) {
		return udp.New(udp.Config{
			Self: t.member(), Incarnation: t.incarnation, Listen: addr,
			TicketTimeout: t.cfg.TicketTimeout, Spin: t.cfg.Spin, RowInterval: rowInterval,
		}, h)
	}
	if t.cfg.ListenUDP != "" {
		port, err := open(t.cfg.ListenUDP)
		if err != nil {
			return nil, fmt.Errorf("bind udp %s: %w: set --dv-listen-udp to an address of this host", t.cfg.ListenUDP, err)
		}
		return port, nil
	}
	if t.cfg.PeerListener == "" && len(t.URLs) == 0 { // a program that does not tell its own: peers learn the port
		return open(":0")
	}
	host, number, err := t.peerListener()
	if err != nil {
		return nil, err
	}
	port, err := open(net.JoinHostPort(host, number))
	if err != nil {
		port, err = open(net.JoinHostPort("", number))
	}
	if err != nil {
		return nil, fmt.Errorf("bind udp port %s: %w: set --dv-listen-udp", number, err)
	}
	return port, nil
}

// peerListener is where udp listens unless it was told.
func (t *Transport) peerListener() (host, port string, err error) {
	if t.cfg.PeerListener == "" {
		return urlAddress(t.URLs)
	}
	host, port, err = net.SplitHostPort(t.cfg.PeerListener)
	if err == nil && t.cfg.AdvertiseUDP == "" && !slices.ContainsFunc(t.URLs, func(u url.URL) bool { return u.Port() == port }) {
		err = fmt.Errorf("%w: they use %s, this member listens on %s: set --dv-advertise-udp to the address that passes udp, if one does",
			errForwarded, strings.Join(t.URLs.StringSlice(), ","), t.cfg.PeerListener)
	}
	return host, port, err
}

// errForwarded: something stands between the peers and the listener (a proxy, a
// port mapping). It may know nothing of udp, and must not be gone round unasked:
// whatever cuts the peer URL has to cut the member off at once.
var errForwarded = errors.New("peers reach this member through something else")

// urlAddress is the address of the first URL that has one.
func urlAddress(urls types.URLs) (host, port string, err error) {
	for _, u := range urls {
		if u.Scheme == "http" || u.Scheme == "https" {
			if u.Port() == "" {
				continue
			}
			return u.Hostname(), u.Port(), nil
		}
	}
	return "", "", fmt.Errorf("no peer URL of this member has a host and port (%s): set --dv-listen-udp", strings.Join(urls.StringSlice(), ","))
}

// offers are the side fabrics that peers may use to reach this member.
func (t *Transport) offers() map[string]offer {
	offers := map[string]offer{}
	for _, r := range t.roads {
		if r.udp == nil {
			continue
		}
		addr := t.cfg.AdvertiseUDP
		if addr == "" {
			local := r.udp.LocalAddr()
			addr = net.JoinHostPort("", strconv.Itoa(int(local.Port())))
		}
		offers[r.name] = offer{Addr: addr}
	}
	return offers
}

func (t *Transport) closeRoads() {
	for _, r := range t.roads {
		if r.port != nil {
			r.port.Close()
		}
	}
}

func (t *Transport) stream() *road {
	return t.roads[slices.IndexFunc(t.roads, func(r *road) bool { return r.name == FabricStream })]
}

func (t *Transport) lastResort() int32 {
	if t.cfg.Require {
		return pathNone
	}
	return pathRafthttp
}

// connectSides gives side fabrics their keys, when both halves are known: the
// secret of the stream that the lower id dialled and the token that the higher
// id gave out over the other one.
func (p *peer) connectSides() {
	p.sideMu.Lock() // a newer session must not be followed by an older one
	defer p.sideMu.Unlock()
	lower := p.t.member() < p.member
	p.mu.Lock()
	key, token := p.out, p.token
	if lower {
		key, token = p.in, p.theirs.token
	}
	ready := key != nil && (!lower || token != nil && p.theirs.incarnation == key.theirs.Incarnation)
	p.mu.Unlock()
	if !ready || key == p.sideKey && bytes.Equal(token, p.sideToken) {
		return
	}
	p.sideKey, p.sideToken = key, token
	for _, r := range p.t.roads {
		if r.udp == nil {
			continue
		}
		err := p.connectUDP(r, key, token)
		p.mu.Lock()
		p.sideErr = err
		p.mu.Unlock()
		if err != nil {
			p.metrics.fallback("no-session")
			p.t.lg.Warn("side fabric cannot be used with this peer", zap.String("remote-peer-id", p.id.String()),
				zap.String("fabric", r.name), zap.Error(err))
		}
	}
}

func (p *peer) connectUDP(r *road, key *controlStream, token []byte) error {
	if key.noSide != nil {
		return key.noSide
	}
	theirs, ok := key.theirs.Fabrics[r.name]
	if !ok {
		return errors.New("the peer does not offer it")
	}
	addr, err := p.resolve(theirs.Addr)
	if err != nil {
		return err
	}
	k, err := deriveSideKeys(key.secret, token, r.name, p.t.member(), p.member)
	if err != nil {
		return err
	}
	return r.udp.Connect(p.member, udp.Session{
		Addr: addr, PeerIncarnation: key.theirs.Incarnation, SendKey: k.send, RecvKey: k.recv,
		SendIndex: k.sendIndex, RecvIndex: k.recvIndex, Sealed: key.sealed,
	})
}

// resolve turns an offered address into one to send to; a missing host is
// that of the peer URL.
func (p *peer) resolve(offered string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(offered)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("peer offers address %q: %w", offered, err)
	}
	if host == "" {
		u := p.urls.pick()
		host = u.Hostname()
	}
	addr, err := net.ResolveUDPAddr("udp", net.JoinHostPort(host, port))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("peer offers address %q: %w: set --dv-advertise-udp there", offered, err)
	}
	ap := addr.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// watch looks at the control streams: silence shuts the side fabrics, longer
// silence ends the peer's activity.
func (t *Transport) watch() {
	tick := time.NewTicker(t.cfg.ControlTimeout / watchesPerTimeout)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
		now := time.Now()
		if now.Sub(last) > t.cfg.ControlTimeout/2 {
			t.late.Store(now.UnixNano())
		}
		last = now
		for _, p := range *t.peers.Load() {
			p.watch()
		}
		t.metrics.sample(time.Now())
	}
}

func (p *peer) watch() {
	heard := p.t.stream().str.LastKeepAlive(p.member)
	p.silent(heard)
	if !heard.IsZero() && time.Since(heard) < p.t.cfg.ControlTimeout && p.dialled() {
		p.activate()
	}
	p.gate(heard)
	p.proveStream()
}

// fresh reports whether the control stream was heard within the control
// timeout. If this member itself ran late, it may have had no chance to hear:
// the timeout then begins anew, and nobody is suspected.
func (p *peer) fresh(heard time.Time) bool {
	if heard.IsZero() {
		return false
	}
	if late := time.Unix(0, p.t.late.Load()); heard.Before(late) && late.Sub(heard) < maxLate {
		heard = late
	}
	return time.Since(heard) < p.t.cfg.ControlTimeout
}

// gate lets side fabrics be used only while the peer URLs answer, unless their
// addresses were given explicitly and are trusted.
func (p *peer) gate(heard time.Time) {
	str := p.t.stream()
	usable := p.t.cfg.TrustFabric || p.isUp(str.index) && p.dialled() && p.fresh(heard)
	for _, r := range p.t.roads {
		if r.udp != nil {
			r.udp.SetGate(p.member, usable)
		}
	}
}

func (p *peer) isUp(road int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.up[road]
}

// linkChanged is told by a fabric; it may change the path.
func (p *peer) linkChanged(r *road, s fabric.LinkState) {
	p.mu.Lock()
	news := !s.Up && s.Err != nil && errorText(p.downWhy[r.index]) != s.Err.Error()
	p.up[r.index], p.downWhy[r.index] = s.Up, s.Err
	p.mu.Unlock()
	if changed := p.choosePath(s.Err); !changed && news {
		p.t.lg.Info("fabric does not reach peer", zap.String("local-member-id", p.t.ID.String()),
			zap.String("remote-peer-id", p.id.String()), zap.String("fabric", r.name), zap.NamedError("reason", s.Err))
	}
	if r.str != nil {
		p.gate(r.str.LastKeepAlive(p.member))
	}
}

// choosePath takes the first road that is up; rafthttp, kept connected all the
// time, if none is. It reports whether that is another one than before.
func (p *peer) choosePath(why error) (changed bool) {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return false
	}
	next := p.t.lastResort()
	for _, r := range p.t.roads {
		if p.up[r.index] && slices.Contains(p.t.cfg.Fabrics, r.name) {
			next = int32(r.index)
			break
		}
	}
	before := p.path.Swap(next)
	p.mu.Unlock()
	if before == next {
		return false
	}
	from, to := p.t.pathName(before), p.t.pathName(next)
	p.metrics.path(to)
	if worse(before, next) {
		p.metrics.fallback(fallbackReason(why))
	}
	p.t.lg.Info("peer path changed", zap.String("local-member-id", p.t.ID.String()), zap.String("remote-peer-id", p.id.String()),
		zap.String("from", from), zap.String("to", to), zap.NamedError("reason", why))
	p.t.rows.resend(p)
	return true
}

// worse: smaller indexes are better, no index is worst.
func worse(before, next int32) bool {
	return before >= 0 && (next < 0 || next > before)
}

func fallbackReason(why error) string {
	switch {
	case errors.Is(why, fabric.ErrTimeout):
		return "timeout"
	case errors.Is(why, fabric.ErrClosed):
		return "closed"
	case errors.Is(why, fabric.ErrLinkDown):
		return "control-stream"
	case why == nil:
		return "removed"
	}
	return "connection-lost"
}

func (t *Transport) pathName(path int32) string {
	switch path {
	case pathRafthttp:
		return roadRafthttp
	case pathNone:
		return "none"
	}
	return t.roads[path].name
}

func (p *peer) pathName() string { return p.t.pathName(p.path.Load()) }
