package election

import (
	"math/bits"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// The network decides how long an attempt takes. The leader measures round
// trips, from what its raft sends to what is answered, as TCP does (RFC 6298),
// and its row says the Patience that this demands: the configured one, doubled
// as often as needed. All take it over, with Settle and Hold growing alike,
// while no election is on, and keep it when the leader is lost.
const (
	// paceTrips is how many round trips an attempt may take: three frames and
	// two writes to disk.
	paceTrips = 2
	// paceSamples is how many round trips are seen before they count.
	paceSamples = 8
)

// trips estimates a peer's round trip.
type trips struct {
	since       time.Duration // of the message that was sent first and not answered; 0: none
	n           int
	mean, devia time.Duration
}

func (r *trips) sent(now time.Duration) {
	if r.since == 0 {
		r.since = now
	}
}

func (r *trips) answered(now time.Duration) {
	if r.since == 0 {
		return
	}
	d := now - r.since
	r.since = 0
	if r.n++; r.n == 1 {
		r.mean, r.devia = d, d/2
		return
	}
	r.n = min(r.n, paceSamples)
	r.devia += (max(d-r.mean, r.mean-d) - r.devia) / 4
	r.mean += (d - r.mean) / 8
}

// bound is what a round trip rarely exceeds, false if too few were seen.
func (r *trips) bound() (time.Duration, bool) { return r.mean + 4*r.devia, r.n >= paceSamples }

// measure takes a message that the own raft sends or is sent as leader.
func (a *Arbiter) measure(m *raftpb.Message) {
	switch m.GetType() {
	case raftpb.MsgHeartbeat, raftpb.MsgApp:
		if p := a.peer(fabric.MemberID(m.GetTo())); p != nil {
			p.trips.sent(a.now)
		}
	case raftpb.MsgHeartbeatResp, raftpb.MsgAppResp:
		if p := a.peer(fabric.MemberID(m.GetFrom())); p != nil && a.role == roleLeader && m.GetTerm() == a.term {
			p.trips.answered(a.now)
			if a.now >= a.pacedAt+a.cfg.Beat {
				a.pacedAt = a.now
				a.repace()
			}
		}
	}
}

// repace computes the pace from what a majority's round trips need.
func (a *Arbiter) repace() {
	if !a.majority(func(id fabric.MemberID) bool {
		p := a.peer(id)
		return p == nil || p.trips.n >= paceSamples
	}) {
		return // what was in force before stays
	}
	enough := func(level int) bool {
		limit := a.base.Patience << level / paceTrips
		return a.majority(func(id fabric.MemberID) bool {
			p := a.peer(id)
			if p == nil {
				return true
			}
			b, ok := p.trips.bound()
			return ok && b <= limit
		})
	}
	level := 0
	for level < a.maxLevel() && !enough(level) {
		level++
	}
	if level < a.level && a.now < a.slowAt+a.cfg.Rest {
		return // a lull
	}
	if level >= a.level {
		a.slowAt = a.now
	}
	a.setLevel(level)
}

// maxLevel is how often all may be doubled.
func (a *Arbiter) maxLevel() int { return bits.Len64(uint64(a.base.MaxHold/a.base.Hold)) - 1 }

// setLevel takes a pace, unless words are out that were given at another one.
func (a *Arbiter) setLevel(level int) {
	if level = min(level, a.maxLevel()); level == a.level || a.suspects || a.busy() {
		return
	}
	a.level = level
	a.cfg.Patience, a.cfg.Settle, a.cfg.Hold = a.base.Patience<<level, a.base.Settle<<level, a.base.Hold<<level
	if a.mode() != Off {
		a.event(Event{Kind: EventPace, Took: a.cfg.Patience})
	}
}

// follow takes over the pace of the leader, and that of anybody after a start.
func (a *Arbiter) follow(p *peer) {
	if a.role == roleLeader {
		return
	}
	lead := a.claim.kind == claimLead && a.claim.member == p.id && p.row.claim == a.claim
	if !lead && !a.fresh() && a.led != 0 {
		return // until it has known a leader, a member takes what it hears
	}
	level := 0
	for level < a.maxLevel() && a.base.Patience<<level < p.row.pace {
		level++
	}
	if lead || level > a.level {
		a.setLevel(level)
	}
}

// wordLasts is how long the endorsement of a peer in the own attempt binds it.
func (a *Arbiter) wordLasts(p *peer) time.Duration {
	return min(a.cfg.Patience, max(p.row.pace, a.base.Patience)) << doublings(a.endorses.attempt)
}

func doublings(attempt uint32) uint32 { return min(max(attempt, 1)-1, maxPatienceDoubling) }
