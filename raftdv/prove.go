package raftdv

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"
)

// A member that dials before it was dialled has no token to show. It shows the
// proof later, in a request of its own, for the stream that it has by then:
// the proof covers that stream's key, so it is good for no other.
const (
	proveHeader  = "X-Dv-Prove"
	proveTimeout = 5 * time.Second
)

// acceptProof marks the peer's stream as proven.
func (t *Transport) acceptProof(w http.ResponseWriter, p *peer, theirs *hello) *refusal {
	proven, err := t.checkProof(p, theirs)
	if err != nil {
		return &refusal{http.StatusForbidden, err}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !proven || p.out == nil || !bytes.Equal(p.out.theirs.Key, theirs.Key) {
		return refuse(http.StatusConflict, "member %s proves a stream that it does not have any more", p.id)
	}
	p.out.proven = true
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// unproven returns the proof that is due for the stream that this member
// dialled, nil if there is none.
func (p *peer) unproven() (*controlStream, *hello) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.in
	if s == nil || s.proven || !open(p.inDone) || p.theirs.token == nil || p.theirs.incarnation != s.theirs.Incarnation {
		return nil, nil
	}
	h := *s.ours
	h.prove(p.theirs.token, p.theirs.incarnation)
	return s, &h
}

// proveStream shows the proof if one is due. It returns at once; what fails is
// tried again when the streams are looked at next.
func (p *peer) proveStream() {
	s, h := p.unproven()
	if s == nil || !p.proving.CompareAndSwap(false, true) {
		return
	}
	if !p.spawn(func() {
		defer p.proving.Store(false)
		if err := p.showProof(h); err != nil {
			p.t.lg.Debug("control stream is not proven yet", zap.String("remote-peer-id", p.id.String()), zap.Error(err))
			return
		}
		p.mu.Lock()
		s.proven = true
		p.mu.Unlock()
	}) {
		p.proving.Store(false)
	}
}

func (p *peer) showProof(h *hello) error {
	ctx, cancel := context.WithTimeout(p.ctx, proveTimeout)
	defer cancel()
	resp, _, err := p.roundTrip(ctx, p.t.dialer, p.urls.pick(), h.encode(), http.Header{proveHeader: {"1"}})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("peer %s answered %s", p.id, resp.Status)
	}
	return nil
}
