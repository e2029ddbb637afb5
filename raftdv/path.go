package raftdv

import (
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/raftdv/dv/fabric"
)

// The values of peer.path that are no index of Transport.roads.
const (
	pathRafthttp = -1
	pathNone     = -2
)

// watchesPerTimeout is how often within the control timeout the streams are
// looked at; maxWatch is the longest pause, after which a peer that has come
// back is used again.
const (
	watchesPerTimeout = 4
	maxWatch          = 250 * time.Millisecond
)

// maxLate bounds how old a sign of life may be that a late loop accepts again.
const maxLate = 10 * time.Second

func (t *Transport) lastResort() int32 {
	if t.cfg.Require {
		return pathNone
	}
	return pathRafthttp
}

// watch looks at the control streams: silence shuts the side fabrics, longer
// silence ends the peer's activity.
func (t *Transport) watch() {
	tick := time.NewTicker(min(t.cfg.ControlTimeout/watchesPerTimeout, maxWatch))
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-tick.C:
		case <-t.ctx.Done():
			return
		}
		now := time.Now()
		if now.Sub(last) > t.cfg.ControlTimeout/2 {
			t.late.set(now)
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
	if p.relayAlive() {
		p.activate()
	} else {
		p.silent(heard)
		if !heard.IsZero() && time.Since(heard) < p.t.cfg.ControlTimeout && p.dialled() {
			p.activate()
		}
	}
	p.gate(heard)
	p.proveStream()
	p.retrySides()
}

// fresh reports whether the control stream was heard within the control
// timeout. If this member itself ran late, it may have had no chance to hear:
// the timeout then begins anew, and nobody is suspected.
func (p *peer) fresh(heard time.Time) bool {
	if heard.IsZero() {
		return false
	}
	if late, ok := p.t.late.get(); ok && heard.Before(late) && late.Sub(heard) < maxLate {
		heard = late
	}
	return time.Since(heard) < p.t.cfg.ControlTimeout
}

// gate lets side fabrics be used only while the peer's URL answers.
func (p *peer) gate(heard time.Time) {
	p.t.setGates(p.member, p.isUp(p.t.stream().index) && p.dialled() && p.fresh(heard))
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
	was := p.up[r.index]
	p.up[r.index], p.downWhy[r.index] = s.Up, s.Err
	p.mu.Unlock()
	if was != s.Up {
		if s.Up && r.name != FabricRelay {
			p.t.elections.back(p.member)
		}
		p.t.ordering.link(p, r.name == FabricRelay)
		p.happened(Event{Link: &LinkEvent{r.name, s.Up, errorText(s.Err)}})
	}
	if changed := p.choosePath(s.Err); !changed && news {
		p.t.lg.Info("fabric does not reach peer", zap.String("local-member-id", p.t.ID.String()),
			zap.String("remote-peer-id", p.id.String()), zap.String("fabric", r.name), zap.NamedError("reason", s.Err))
	}
	if r.name == FabricStream {
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
	apart := p.apart.Load()
	for _, r := range p.t.roads {
		relay := r.name == FabricRelay
		if p.up[r.index] && (relay || slices.Contains(p.t.cfg.Fabrics, r.name)) {
			if next < 0 || apart && relay {
				next = int32(r.index)
			}
		}
	}
	before := p.path.Swap(next)
	p.mu.Unlock()
	if before == next {
		return false
	}
	p.moved.set(time.Now())
	if next >= 0 {
		p.offFabric.clear()
	} else {
		p.offFabric.set(time.Now())
	}
	from, to := p.t.pathName(before), p.t.pathName(next)
	p.metrics.path(to)
	p.happened(Event{Path: &PathEvent{from, to, errorText(why)}})
	if worse(before, next) {
		p.metrics.fallback(fallbackReason(why))
	}
	p.t.lg.Info("peer path changed", zap.String("local-member-id", p.t.ID.String()), zap.String("remote-peer-id", p.id.String()),
		zap.String("from", from), zap.String("to", to), zap.NamedError("reason", why))
	p.t.rows.resend(p)
	if to == FabricRelay { // the peer is to hear of this member at once
		p.t.elections.publish()
	}
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
	case errors.Is(why, errApart):
		return "apart"
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
