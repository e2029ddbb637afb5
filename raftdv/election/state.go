package election

import (
	"time"

	"github.com/raftdv/dv/fabric"
)

// State is what an arbiter knows, for metrics and people.
type State struct {
	// Mode is the one in force: Off while a voter is stock.
	Mode Mode
	// Term is the highest that is known, Claimant who leads in it if Leads, or
	// campaigns; 0 if nobody.
	Term     uint64
	Claimant fabric.MemberID
	Leads    bool
	// Suspects: this member suspects the claimant. Electing: an election is on.
	Suspects, Electing bool
	// Abstains is why this member would not endorse now, "" if it would.
	Abstains string
	// Held counts the messages that are held.
	Held int
	// Patience and Hold are those in force, as the network demands.
	Patience, Hold time.Duration
	Peers          []PeerState
}

// PeerState is one other member.
type PeerState struct {
	ID        fabric.MemberID
	Suspected bool
	// SuspectAfter is the silence after which it is suspected, as adapted to the
	// gaps that were observed.
	SuspectAfter time.Duration
	// LastHeard is the time of its last sign of life, of which Heard says
	// whether there was one.
	LastHeard time.Duration
	Heard     bool
	Mode      Mode
}

// State returns a copy.
func (a *Arbiter) State() State {
	s := State{
		Mode: a.mode(), Term: a.claim.term, Claimant: a.claim.member, Leads: a.claim.kind == claimLead,
		Suspects: a.suspects, Electing: a.electing, Abstains: a.unable(), Held: len(a.held),
		Patience: a.cfg.Patience, Hold: a.cfg.Hold,
	}
	for _, p := range a.peers {
		ps := PeerState{ID: p.id, Suspected: p.suspected(), SuspectAfter: p.Limit, LastHeard: p.Last, Heard: p.Heard}
		switch {
		case p.seen && p.row.is(flagActs):
			ps.Mode = On
		case p.seen && p.row.is(flagObserves):
			ps.Mode = Observe
		}
		s.Peers = append(s.Peers, ps)
	}
	return s
}
