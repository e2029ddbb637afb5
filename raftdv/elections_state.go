package raftdv

import (
	"maps"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// describe adds what is known of elections.
func (e *elections) describe(s *State) {
	if e.off.Load() {
		return
	}
	e.mu.Lock()
	a, r := e.arbiter.State(), &e.record
	s.Elections = &ElectionState{
		Mode: a.Mode.String(), Wanted: e.wanted.String(), Why: e.why, Term: a.Term, Claimant: idText(a.Claimant), Leads: a.Leads,
		Suspects: a.Suspects, Electing: a.Electing, Abstains: a.Abstains, Held: a.Held,
		Elections: r.ended, FalseSuspicions: r.counts[eventCount{election.EventFalseSuspicion, ""}], Last: r.last,
	}
	e.mu.Unlock()
	byID := map[string]election.PeerState{}
	for _, p := range a.Peers {
		byID[p.ID.String()] = p
	}
	for i := range s.Peers {
		if p, ok := byID[s.Peers[i].Member]; ok {
			s.Peers[i].Suspected, s.Peers[i].SuspectAfter = p.Suspected, milliseconds(p.SuspectAfter)
			s.Peers[i].ElectionMode = p.Mode.String()
		}
	}
}

// electionFigures are for the metrics.
type electionFigures struct {
	state    election.State
	counts   []eventCount
	number   map[eventCount]uint64
	nominees map[fabric.MemberID]uint64
}

func (e *elections) figures() (f electionFigures, ok bool) {
	if e.off.Load() {
		return f, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return electionFigures{e.arbiter.State(), e.record.countedEvents(), maps.Clone(e.record.counts), maps.Clone(e.record.nominees)}, true
}
