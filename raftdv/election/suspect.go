package election

import (
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/suspect"
)

// peer is what is known of another member.
type peer struct {
	suspect.Watch
	id          fabric.MemberID
	tied        time.Duration // when its pre-vote tied this member last, 0: not since it campaigned
	owed        bool          // raft has not granted that pre-vote yet
	rivalled    time.Duration // when its pre-vote was the best that there was, likewise
	insistence  insistence
	incarnation uint64
	version     uint64
	seen        bool // row is valid
	row         section
	next        section       // room to read one into
	moved       time.Duration // when its progress moved last
	trips       trips
	// The endorsements that its rows showed, newest first, and when that was
	// seen.
	history  [endorsedHistory]endorsement
	endorsed time.Duration
}

// endorsedHistory bounds how many endorsements of a peer are remembered.
const endorsedHistory = 4

func (p *peer) suspected() bool { return p.Down || p.Silent || !p.Heard }

// beat is the pause between two signs of life that the peer intends, 0 if it
// intends none.
func (p *peer) beat(cfg *Config) time.Duration {
	switch {
	case !p.seen || !p.row.is(flagActs|flagObserves):
		return 0
	case p.row.lively(p.id):
		return cfg.Beat
	}
	return cfg.IdleBeat
}

// lively: others wait for every word of the row's owner, as it leads and has
// something to do, campaigns, or takes part in an election.
func (s *section) lively(owner fabric.MemberID) bool {
	return s.claim.member == owner && !s.is(flagIdle) || s.is(flagSuspects|flagSealed|flagBound)
}

func (c *Config) limits() suspect.Limits {
	return suspect.Limits{After: c.SuspectAfter, Max: c.MaxSuspectAfter, Window: c.Beat}
}

// alive takes a sign of life; see suspect.Watch.Alive.
func (p *peer) alive(now time.Duration, cfg *Config) (wrong bool) {
	return p.Alive(now, p.beat(cfg), cfg.limits())
}

func (p *peer) relimit(now time.Duration, cfg *Config) { p.Relimit(now, p.beat(cfg), cfg.limits()) }

// endorsedAt is what the peer's rows said of an attempt, if they did.
func (p *peer) endorsedAt(term uint64, attempt uint32) (fabric.MemberID, bool) {
	for _, e := range p.history {
		if e.term == term && e.attempt == attempt {
			return e.nominee, true
		}
	}
	return 0, false
}
