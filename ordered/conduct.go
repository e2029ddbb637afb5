package ordered

import (
	"time"

	"github.com/raftdv/dv/fabric"
)

// conduct is whether a peer that is heard does its part: one that keeps the
// others waiting, or breaks the rules, is suspected for a while.
type conduct struct {
	moves  uint64
	moved  time.Duration // when it last did anything, or nobody waited for it
	until  time.Duration // it is suspected until then
	times  int           // of late
	lastly time.Duration // when that was counted last
}

const (
	// maxTimes bounds how often the time of a suspicion is doubled.
	maxTimes = 5
	// forgetTimes is after how many StallAfters without one a doubling is undone.
	forgetTimes = 64
	// looks is how often in a StallAfter conduct is looked at.
	looks = 8
)

func (e *Endpoint) lookEvery() time.Duration { return e.cfg.StallAfter / looks }

// look suspects members that others have waited for too long.
func (e *Endpoint) look() {
	now := e.now.Mono
	if now < e.lookedAt+e.lookEvery() {
		return
	}
	late := now > e.lookedAt+e.cfg.StallAfter/2 // this loop stood still: nobody is to blame
	e.lookedAt = now
	for _, p := range e.peers {
		c := &p.conduct
		if moves := e.core.Barrier().PeerMoves(p.id); late || moves != c.moves || c.until > now || !e.core.Barrier().Holds(p.id) {
			c.moves, c.moved = moves, now
		}
		if c.times > 0 && now-c.lastly > forgetTimes*e.cfg.StallAfter {
			c.times, c.lastly = c.times-1, now
		}
		if now-c.moved >= e.cfg.StallAfter {
			e.distrust(p)
		}
	}
}

// distrust suspects a peer for what it does.
func (e *Endpoint) distrust(p *contact) {
	p.conduct.until = e.now.Mono + e.cfg.StallAfter<<p.conduct.times
	p.conduct.times, p.conduct.lastly = min(p.conduct.times+1, maxTimes), e.now.Mono
	p.conduct.moved = p.conduct.until
	e.askAt = e.now.Mono
}

// maxFaults bounds the faults that wait to be taken.
const maxFaults = 64

// blame suspects a member whose frame or row broke the rules.
func (e *Endpoint) blame(id fabric.MemberID, err error) {
	if err == nil {
		return
	}
	if len(e.faults) < maxFaults {
		e.faults = append(e.faults, Fault{id, err})
	}
	if p := e.peer(id); p != nil && p.conduct.until <= e.now.Mono {
		e.distrust(p)
	}
}
