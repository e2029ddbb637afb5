package raftdv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/raftdv/dv/fabric"
)

// A side is a fabric beside the stream. Its sessions are what the two control
// streams of a pair of members agree on.
type side interface {
	fabric.Port
	// address is where this member is reached, for people.
	address() string
	// given: the address was given explicitly.
	given() bool
	// offer is what peers are told.
	offer() offer
	// connect asks for a session with a peer that made theirs. It replaces one
	// that was made of other keys.
	connect(p *peer, theirs offer, with *controlStream, keys sideKeys) error
	Disconnect(fabric.MemberID)
	// SetGate says whether the session may be used.
	SetGate(id fabric.MemberID, open bool)
}

// offer says how to reach a side fabric.
type offer struct {
	// Addr: udp: host:port, an empty host is that of the peer URL; shm: path of
	// the socket.
	Addr string `json:"addr"`
	// Host, User and MaxFrame are shm's: the host's id, the member's user, and
	// the largest frame that it takes.
	Host     string `json:"host,omitempty"`
	User     int    `json:"user,omitempty"`
	MaxFrame int    `json:"max_frame,omitempty"`
}

var (
	errNotOffered = errors.New("the peer does not offer it")
	// errElsewhere: nothing is wrong.
	errElsewhere = errors.New("the peer runs on another host")
)

func (t *Transport) openSide(name string, h fabric.Handler) (side, error) {
	switch name {
	case FabricUDP:
		return openUDP(t, h)
	case FabricShm:
		return openShm(t, h)
	}
	return nil, fmt.Errorf("fabric %q is unknown: use any of %v", name, knownFabrics)
}

// offers are the side fabrics that peers may use to reach this member.
func (t *Transport) offers() map[string]offer {
	offers := map[string]offer{}
	for _, r := range t.roads {
		if r.side != nil {
			offers[r.name] = r.side.offer()
		}
	}
	return offers
}

// errPassing wraps a reason that may pass by itself.
type errPassing struct{ error }

func (e errPassing) Unwrap() error { return e.error }

// sides is what the sessions of side fabrics with a peer are made of.
type sides struct {
	mu    sync.Mutex // guards the fields below; a newer session must not be followed by an older one
	key   *controlStream
	token []byte
	why   map[string]error // by fabric: why there is no session
	todo  []*road          // those of why that are tried again

	again instant
}

// connectSides gives side fabrics their keys, when both halves are known: the
// secret of the stream that the lower id dialled and the token that the higher
// id gave out over the other one.
func (p *peer) connectSides() {
	s := &p.sides
	s.mu.Lock()
	defer s.mu.Unlock()
	key, token := p.sideSecrets()
	if key == nil {
		return
	}
	if key != s.key || !bytes.Equal(token, s.token) {
		s.key, s.token, s.todo, s.why = key, token, nil, map[string]error{}
		for _, r := range p.t.roads {
			if r.side != nil {
				s.todo = append(s.todo, r)
			}
		}
	}
	s.todo = slices.DeleteFunc(s.todo, func(r *road) bool {
		err := p.connectSide(r, key, token)
		if err != nil && errorText(s.why[r.name]) != err.Error() {
			p.noSession(r, err)
		}
		s.why[r.name] = err
		_, passing := errors.AsType[errPassing](err)
		return !passing
	})
	if len(s.todo) > 0 {
		s.again.set(time.Now().Add(p.t.cfg.StockRetry))
	}
	p.setSideErr()
}

// sideSecrets are what keys are made of, nil while it is not all there.
func (p *peer) sideSecrets() (key *controlStream, token []byte) {
	lower := p.t.member() < p.member
	p.mu.Lock()
	defer p.mu.Unlock()
	if !lower {
		return p.out, p.token
	}
	if p.in == nil || p.theirs.token == nil || p.theirs.incarnation != p.in.theirs.Incarnation {
		return nil, nil
	}
	return p.in, p.theirs.token
}

// setSideErr is called with sides.mu held.
func (p *peer) setSideErr() {
	var faults []error
	for _, r := range p.t.roads {
		if err := p.sides.why[r.name]; err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", r.name, err))
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sideErr = errors.Join(faults...)
}

// retrySides tries again what may have passed.
func (p *peer) retrySides() {
	if p.sides.again.due(time.Now()) {
		p.spawn(p.connectSides)
	}
}

func (p *peer) connectSide(r *road, key *controlStream, token []byte) error {
	if key.noSide != nil {
		return key.noSide
	}
	theirs, ok := key.theirs.Fabrics[r.name]
	if !ok {
		return errNotOffered
	}
	keys, err := deriveSideKeys(key.secret, token, r.name, p.t.member(), p.member)
	if err != nil {
		return err
	}
	return r.side.connect(p, theirs, key, keys)
}

// noSession tells why a side fabric is not used with a peer.
func (p *peer) noSession(r *road, why error) {
	say := p.t.lg.Warn
	if errors.Is(why, errElsewhere) {
		say = p.t.lg.Debug
	} else {
		p.metrics.fallback("no-session")
	}
	say("side fabric cannot be used with this peer", zap.String("remote-peer-id", p.id.String()),
		zap.String("fabric", r.name), zap.Error(why))
}
