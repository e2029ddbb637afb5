package raftdv

import (
	"context"
	"errors"
	"fmt"
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
	// relayFirst is how long a peer that was never heard may stay so before it is
	// asked for by way of others: members start one after the other.
	relayFirst = 300 * time.Millisecond
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
	known  bool       // linked is
	linked bool       // this member and the peer hear each other directly
	ever   bool       // they did once
	since  time.Time  // when linked changed last
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

// setLinked takes whether this member and the peer hear each other directly, and
// that something may have changed about who else hears it.
func (p *peer) setLinked(linked bool) {
	r := &p.relay
	r.mu.Lock()
	if !r.known || r.linked != linked {
		r.known, r.linked, r.since = true, linked, time.Now()
	}
	r.ever = r.ever || linked
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
	known, linked, ever, since := r.known, r.linked, r.ever, now.Sub(r.since)
	r.mu.Unlock()
	wait = time.Hour
	apart := p.apart.Load()
	switch {
	case !known:
	case linked && apart && since < relaySettle:
		return relaySettle - since
	case linked && apart:
		p.setApart(false)
	case !linked && !apart && !ever && since < relayFirst:
		return relayFirst - since
	case !linked && !apart:
		p.setApart(true)
	}
	return wait
}

func (p *peer) setApart(on bool) {
	p.apart.Store(on)
	p.choosePath(errApart)
}

// dialAround dials the peer by way of those members, the first that can.
func (p *peer) dialAround(ways []fabric.MemberID) (wait time.Duration) {
	var faults []error
	for _, id := range ways {
		via := p.t.peer(types.ID(id))
		if via == nil || via.paused.Load() || p.paused.Load() {
			continue
		}
		err := p.dialVia(via)
		if err == nil {
			p.relay.failed(nil)
			return 0
		}
		faults = append(faults, fmt.Errorf("by way of %s: %w", via.id, err))
	}
	if err := errors.Join(faults...); p.relay.failed(err) && p.ctx.Err() == nil {
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

// dialVia opens a control stream to the peer by way of another member.
func (p *peer) dialVia(via *peer) (err error) {
	u := p.urls.pick()
	if err := relayable(&u); err != nil {
		return err
	}
	ours, priv, err := p.dialHello()
	if err != nil {
		return err
	}
	ours.Token = nil // who relays in clear would see it
	request := ours.encode()
	through, err := via.through(p.id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	late := time.AfterFunc(2*tunnelTimeout, cancel)
	defer late.Stop()
	resp, nc, err := p.roundTrip(ctx, through, u, request, http.Header{relayedHeader: {via.id.String()}})
	if err != nil {
		return err
	}
	theirs, err := p.checkAnswer(resp)
	if err != nil {
		resp.Body.Close()
		return err
	}
	s := controlStream{ours: ours, theirs: theirs, tls: u.Scheme == "https", sealed: resp.TLS != nil, tlsState: resp.TLS}
	if s.secret, s.noSide = s.deriveSecret(priv, request, resp.Header.Get(helloHeader)); s.noSide != nil {
		resp.Body.Close()
		return s.noSide
	}
	p.meets(theirs)
	conn := &upgradedConn{resp.Body.(io.ReadWriteCloser), nc, cancel}
	done, err := p.t.relayRoad().attachReceive(p.member, &s, conn)
	if err != nil {
		conn.Close()
		return err
	}
	r := &p.relay
	r.mu.Lock()
	r.conn, r.done, r.via = conn, done, via.id
	r.mu.Unlock()
	p.t.lg.Info("peer is heard by way of another member", zap.String("local-member-id", p.t.ID.String()),
		zap.String("remote-peer-id", p.id.String()), zap.String("relay", via.id.String()))
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
