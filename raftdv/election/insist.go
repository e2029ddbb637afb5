package election

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// A member whose raft campaigns without end, whatever leases say, is ahead of all
// others' terms. Its requests are held back while a leader works; but it answers that
// leader with its term, and raft steps down at the answer; then its requests have every
// raft begin its timeout anew, and its claims every arbiter wait for it to win. raft
// waits for its election timeout between two campaigns, and an arbiter tells it to
// campaign with a majority's word only. So who campaigns again sooner, without that
// word, insists: such campaigns are lost, and, until it has stopped for a Rest, what its
// answers tell of its term.

const (
	// manyCampaigns of a member within manyRests Rests are too many, however they are
	// spread: raft's timeouts take a Rest at least, 1.5 on average, and clocks differ.
	manyCampaigns = 5
	manyRests     = 3.9
	// maxDeposals bounds how often the pause is doubled that who deposed a working
	// leader by its term has to wait for the next time.
	maxDeposals = 4
	// maxRaises bounds how often a peer's answers raise the own raft's term above all
	// claims within a Rest.
	maxRaises = 8
)

// insistence is what a peer campaigned for lately.
type insistence struct {
	term     uint64                           // of its newest campaign that showed, in a request or its row
	at       [manyCampaigns - 1]time.Duration // when the last ones showed that nobody asked for, newest first; 0: none since it led, or since this loop was late
	fair     uint64                           // the term of the newest one that did not come too soon
	last     time.Duration                    // when one came too soon; 0: never
	rebornAt time.Duration                    // when a new life of it began last
	backAt   time.Duration                    // when it was heard after a pause, or again
	// A working leader was deposed by its term so often without a long pause, lately
	// then.
	deposals  int
	deposedAt time.Duration
	// Its answers raised the own raft's term so often since then.
	raises    int
	raisedAt  time.Duration
	refusedAt time.Duration // when somebody was told last that an answer was lost; 0: never
}

// campaigns notes a campaign of a peer's, which its row or its request for votes
// shows.
func (a *Arbiter) campaigns(p *peer, term uint64) {
	s := &p.insistence
	if term <= s.term || term <= a.term || a.term != 0 && term > a.term+MaxTermLift {
		return
	}
	oldest := s.at[len(s.at)-1]
	s.term = term
	if a.mode() == Off || a.wanted(p.id, term) || s.backAt != 0 && a.now < s.backAt+a.cfg.Patience {
		s.fair = term // nobody knows when it began, or somebody does
		return
	}
	again := a.insistent(s.at[0]) || oldest != 0 && a.now < oldest+time.Duration(manyRests*float64(a.cfg.Rest))
	copy(s.at[1:], s.at[:])
	if s.at[0] = a.now; !again {
		s.fair = term
		return
	}
	if !a.insists(p) {
		a.event(Event{Kind: EventInsists, Member: p.id, Term: term})
	}
	s.last = a.now
}

// reborn: a new life of a peer began, which campaigns when its timer says so. One in a
// Rest counts.
func (a *Arbiter) reborn(p *peer) {
	if s := &p.insistence; s.rebornAt == 0 || a.now >= s.rebornAt+a.cfg.Rest {
		*s = insistence{rebornAt: a.now, backAt: s.backAt, last: s.last, deposals: s.deposals, deposedAt: s.deposedAt}
	}
}

// insists: no Rest has gone by since the peer last campaigned too soon.
func (a *Arbiter) insists(p *peer) bool {
	return p.insistence.last != 0 && a.now < p.insistence.last+a.cfg.Rest && a.mode() != Off
}

// returns notes that a peer's words may be old from here on: it was not heard for a
// while, or they waited. What waited together looks dense.
func (a *Arbiter) returns(p *peer) { p.insistence.backAt = max(a.now, 1) }

// wanted reports whether somebody asked a member for a campaign: this one by its
// word, which others may have seen to be over before the campaign came; the leader; or
// rafts that follow it already, as rows of others say.
func (a *Arbiter) wanted(id fabric.MemberID, term uint64) bool {
	return a.endorses.nominee == id && a.endorses.attempt != 0 && a.now < a.endorseAt+2*a.patience() ||
		id == a.transferee() || id == a.heir && a.now < a.heirTill ||
		a.claim == claim{term, id, claimCampaign}
}

// unwanted reports whether a campaign came too soon after the last one of its member,
// or is over: the member has campaigned for a later term.
func (a *Arbiter) unwanted(id fabric.MemberID, term uint64) bool {
	p := a.peer(id)
	if p == nil || a.mode() == Off {
		return false
	}
	s := &p.insistence
	return (term < s.term || a.insists(p) && term > s.fair) && !a.wanted(id, term)
}

// refused reports whether a message is lost for the term that it would raise raft
// to: of a member that insists, or that raises terms without end; at a follower whose
// leader works, who hears of a term that matters itself; and at a leader that works, of
// one that has deposed it, or its like, not long ago. Once is how raft frees a member
// that is ahead.
func (a *Arbiter) refused(m *raftpb.Message) bool {
	if m.GetTerm() <= a.term || !raises(m) || a.mode() != On {
		return false
	}
	p := a.peer(fabric.MemberID(m.GetFrom()))
	switch {
	case forwarded(m):
		return true // who it is from is not sure
	case p == nil || a.wanted(p.id, m.GetTerm()):
		return false
	case a.insists(p):
		return true
	case m.GetTerm() <= a.claim.term:
		return false // others' rafts are there
	}
	works := a.claim.kind == claimLead && !a.suspects && a.works()
	if works && a.role == roleFollower {
		return true
	}
	s := &p.insistence
	if a.now >= s.raisedAt+a.cfg.Rest {
		s.raises, s.raisedAt = 0, a.now
	}
	if s.raises >= maxRaises {
		return true
	}
	if !works || a.role != roleLeader {
		s.raises++
		return false
	}
	switch pause := a.cfg.Rest << min(max(s.deposals-1, 0), maxDeposals); {
	case s.deposals > 0 && a.now < s.deposedAt+pause:
		return true
	case a.now >= s.deposedAt+2*pause:
		s.deposals = 0
	}
	s.deposals, s.deposedAt = s.deposals+1, a.now
	s.raises++
	return false
}

// refuse tells that an answer is lost, of each peer once in a Rest.
func (a *Arbiter) refuse(m *raftpb.Message) {
	p := a.peer(fabric.MemberID(m.GetFrom()))
	if p == nil || p.insistence.refusedAt != 0 && a.now < p.insistence.refusedAt+a.cfg.Rest {
		return
	}
	p.insistence.refusedAt = a.now
	a.event(Event{Kind: EventRefused, Member: p.id, Term: m.GetTerm()})
}

// raises reports whether raft follows the term of a message that is neither a
// campaign nor a leader's: of all others that have one, but of grants of pre-votes.
func raises(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgVote, raftpb.MsgPreVote, raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap, raftpb.MsgTimeoutNow:
		return false
	case raftpb.MsgPreVoteResp:
		return m.GetReject()
	}
	return true
}
