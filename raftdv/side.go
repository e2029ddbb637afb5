package raftdv

import (
	"bytes"
	"errors"
	"fmt"

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
	var faults []error
	for _, r := range p.t.roads {
		if r.side == nil {
			continue
		}
		if err := p.connectSide(r, key, token); err != nil {
			p.noSession(r, err)
			faults = append(faults, fmt.Errorf("%s: %w", r.name, err))
		}
	}
	p.mu.Lock()
	p.sideErr = errors.Join(faults...)
	p.mu.Unlock()
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
