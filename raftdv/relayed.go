package raftdv

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"go.etcd.io/etcd/client/pkg/v3/types"

	"github.com/raftdv/dv/fabric"
)

const (
	// relayAfter is for how long somebody must have been linked with both this
	// member and a peer that it is not linked with, before the peer is asked for by way
	// of others. A machine that stands still for a moment loses all its links at once,
	// and has no way to anybody; links that are cut leave others as they are.
	relayAfter = 40 * time.Millisecond
	// relayFirst is the same for a peer that was never heard: members start one
	// after the other.
	relayFirst = time.Second
	// relaySettle is how long members have to hear each other before the direct
	// road is taken again, relayLinger how long the relay is kept after that, or after
	// the peer asked for it.
	relaySettle = 200 * time.Millisecond
	relayLinger = 2 * time.Second
	// relayEvery limits how often a peer is dialled by way of others, relayBurst how
	// often at once.
	relayEvery = 100 * time.Millisecond
	relayBurst = 4
	// relayLook is how often a relay is looked at that may not be needed any more.
	relayLook = 500 * time.Millisecond
)

var errApart = errors.New("this member and the peer do not hear each other directly")

// relayed is how a peer is reached by way of others.
type relayed struct {
	kick chan struct{} // holds one: something has changed

	mu     sync.Mutex // guards the fields below
	known  bool       // link is
	link   link       // with the peer
	ever   bool       // it was direct once
	since  time.Time  // when link.direct changed last
	detour time.Time  // when link.detour changed last
	asked  time.Time  // when the peer dialled by way of others last
	via    types.ID   // whom the peer's frames come by
	conn   net.Conn
	done   <-chan struct{} // closed when conn ends
	err    error           // of the last dial
}

func (r *relayed) init() { r.kick = make(chan struct{}, 1) }

func (r *relayed) poke() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// setLink takes what is known of the link with the peer.
func (p *peer) setLink(l link) {
	r := &p.relay
	now := time.Now()
	r.mu.Lock()
	if !r.known || r.link.direct != l.direct {
		r.since = now
	}
	if !r.known || r.link.detour != l.detour {
		r.detour = now
	}
	r.known, r.link, r.ever = true, l, r.ever || l.direct
	r.mu.Unlock()
	r.poke()
}

// relayLoop keeps a control stream to the peer by way of others while it is needed.
func (p *peer) relayLoop() {
	limit := rate.NewLimiter(rate.Every(relayEvery), relayBurst)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		wait, done := p.relayStep(limit)
		timer.Reset(wait)
		select {
		case <-p.relay.kick:
		case <-timer.C:
		case <-done:
		case <-p.ctx.Done():
			return
		}
	}
}

// relayStep does what is to be done now, and says when to look again: at the latest
// when done is closed.
func (p *peer) relayStep(limit *rate.Limiter) (wait time.Duration, done <-chan struct{}) {
	wait = p.separate(time.Now())
	r := &p.relay
	r.mu.Lock()
	conn, isOpen := r.conn, open(r.done)
	need := p.apart.Load() || !r.asked.IsZero() && time.Since(r.asked) < relayLinger || isOpen && time.Since(r.since) < relayLinger
	if isOpen {
		done = r.done
	}
	if !need {
		r.conn, r.done = nil, nil
	}
	r.mu.Unlock()
	switch {
	case !need && isOpen:
		conn.Close()
		return wait, nil
	case !need:
		return wait, nil
	case isOpen:
		return min(wait, relayLook), done
	}
	ways := p.t.ordering.ways(p.member)
	if len(ways) == 0 {
		return min(wait, relayLook), nil
	}
	if !limit.Allow() {
		return min(wait, relayEvery), nil
	}
	return min(wait, p.dialAround(ways)), nil
}

// separate decides whether the peer is to be reached by way of others, and says
// when that may change.
func (p *peer) separate(now time.Time) (wait time.Duration) {
	r := &p.relay
	r.mu.Lock()
	l, since, detour := r.link, now.Sub(r.since), now.Sub(r.detour)
	after := relayAfter
	if !r.ever {
		after = relayFirst
	}
	r.mu.Unlock()
	wait = time.Hour
	apart := p.apart.Load()
	switch {
	case l.direct && apart && since < relaySettle:
		return relaySettle - since
	case l.direct && apart:
		p.setApart(false)
	case l.detour && !apart && detour < after:
		return after - detour
	case l.detour && !apart:
		p.setApart(true)
	}
	return wait
}

func (p *peer) setApart(on bool) {
	p.apart.Store(on)
	p.choosePath(errApart)
}

// dialAround dials the peer by way of those members.
func (p *peer) dialAround(ways []fabric.MemberID) (wait time.Duration) {
	var through []*peer
	for _, id := range ways {
		if via := p.t.peer(types.ID(id)); via != nil && !via.paused.Load() && !p.paused.Load() {
			through = append(through, via)
		}
	}
	s, err := firstWay(p.ctx, &p.t.wg, through, p.dialVia)
	if err == nil {
		err = p.attachVia(s)
	}
	if err == nil {
		p.relay.failed(nil)
		return 0
	}
	if p.relay.failed(err) && p.ctx.Err() == nil {
		p.t.lg.Info("no relay to peer", zap.String("local-member-id", p.t.ID.String()), zap.String("remote-peer-id", p.id.String()), zap.Error(err))
	}
	return relayEvery
}

// failed keeps why there is no relay, and reports whether that is news.
func (r *relayed) failed(err error) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	news = err != nil && errorText(r.err) != err.Error()
	r.err = err
	return news
}

// viaStream is a control stream by way of another member.
type viaStream struct {
	controlStream
	via  types.ID
	conn *upgradedConn
}

// Close is for who does not attach it.
func (s *viaStream) Close() error { return s.conn.Close() }

// dialVia opens a control stream to the peer by way of another member, until ctx
// ends.
func (p *peer) dialVia(ctx context.Context, via *peer) (s *viaStream, err error) {
	u := p.urls.pick()
	if err := relayable(&u); err != nil {
		return nil, err
	}
	ours, priv, err := p.dialHello()
	if err != nil {
		return nil, err
	}
	ours.Token = nil // who relays in clear would see it
	request := ours.encode()
	through, err := via.through(p.id)
	if err != nil {
		return nil, err
	}
	own, cancel := context.WithCancel(p.ctx) // the stream outlives ctx
	stop := context.AfterFunc(ctx, cancel)
	late := time.AfterFunc(2*tunnelTimeout, cancel)
	defer func() {
		late.Stop()
		if !stop() && err == nil {
			s.Close()
			err = context.Cause(ctx)
		}
		if err != nil {
			cancel()
		}
	}()
	resp, nc, err := p.roundTrip(own, through, u, request, http.Header{relayedHeader: {via.id.String()}})
	if err != nil {
		return nil, err
	}
	theirs, err := p.checkAnswer(resp)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	s = &viaStream{via: via.id, controlStream: controlStream{ours: ours, theirs: theirs, tls: u.Scheme == "https", sealed: resp.TLS != nil, tlsState: resp.TLS}}
	if s.secret, s.noSide = s.deriveSecret(priv, request, resp.Header.Get(helloHeader)); s.noSide != nil {
		resp.Body.Close()
		return nil, s.noSide
	}
	s.conn = &upgradedConn{resp.Body.(io.ReadWriteCloser), nc, cancel}
	return s, nil
}

// attachVia hears the peer by a stream that dialVia opened.
func (p *peer) attachVia(s *viaStream) error {
	p.meets(s.theirs)
	done, err := p.t.relayRoad().attachReceive(p.member, &s.controlStream, s.conn)
	if err != nil {
		s.Close()
		return err
	}
	r := &p.relay
	r.mu.Lock()
	r.conn, r.done, r.via = s.conn, done, s.via
	r.mu.Unlock()
	p.t.lg.Info("peer is heard by way of another member", zap.String("local-member-id", p.t.ID.String()),
		zap.String("remote-peer-id", p.id.String()), zap.String("relay", s.via.String()))
	return nil
}

// attachRelayed takes a control stream that the peer dialled by way of others: this
// member does the same, so that frames go both ways.
func (p *peer) attachRelayed(conn net.Conn, buffered []byte, s controlStream) {
	p.meets(s.theirs)
	if _, err := p.t.relayRoad().attachSend(p.member, &s, conn, buffered); err != nil {
		conn.Close()
		p.t.lg.Warn("peer's control stream could not be used", zap.String("remote-peer-id", p.id.String()), zap.Error(err))
		return
	}
	r := &p.relay
	r.mu.Lock()
	r.asked = time.Now()
	r.mu.Unlock()
	r.poke()
}

// relayAlive: the peer is heard by way of others.
func (p *peer) relayAlive() bool {
	road := p.t.relayRoad()
	if road == nil {
		return false
	}
	heard := road.str.LastKeepAlive(p.member)
	p.relay.mu.Lock()
	defer p.relay.mu.Unlock()
	return open(p.relay.done) && time.Since(heard) < p.t.cfg.ControlTimeout
}
