package election

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// Sent takes messages that raft handed to Send, in their order. Their terms are
// the only sure sign of the own raft's: it may silently ignore what it is sent.
func (a *Arbiter) Sent(now time.Duration, msgs []*raftpb.Message) {
	a.begin(now)
	a.progress++ // protocol §6.5: by raft's own cycle, and nothing else
	before, to := a.claim, a.transfer
	for _, m := range msgs {
		if m.GetFrom() == uint64(a.cfg.Self) {
			a.sent(m)
		}
	}
	if a.claim != before || a.transfer != to || a.busy() || len(a.held) > 0 || a.shown.is(flagIdle) && !a.idle() {
		a.step()
		return
	}
	a.stepIfDue()
}

func (a *Arbiter) sent(m *raftpb.Message) {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap:
		a.raise(m.GetTerm())
		a.role = roleLeader
		a.claimed(claim{m.GetTerm(), a.cfg.Self, claimLead})
		a.measure(m)
		if m.GetType() == raftpb.MsgApp {
			a.pos.appended(m)
		}
		if len(m.GetEntries()) > 0 || len(m.GetContext()) > 0 || m.GetType() == raftpb.MsgSnap {
			a.workedAt = a.now
		}
	case raftpb.MsgVote:
		a.raise(m.GetTerm())
		a.role = roleCampaigner
		a.pos.campaigned(m)
		a.round(claim{m.GetTerm(), a.cfg.Self, claimCampaign})
		a.claimed(a.asked)
		a.bind(a.cfg.Self)
	case raftpb.MsgPreVote:
		a.role = roleCampaigner
		a.pos.campaigned(m)
		if a.mute = a.mode() == On && a.busy() && !a.favours(m); a.mute {
			return // nobody hears it
		}
		a.compete(m)
		a.bind(a.cfg.Self)
	case raftpb.MsgVoteResp, raftpb.MsgPreVoteResp:
		a.answered(m)
	case raftpb.MsgAppResp:
		a.raise(m.GetTerm())
		if m.GetIndex() == 0 && !m.GetReject() {
			return // raft in any role tells a leader of an older term so
		}
		a.role = roleFollower
		a.pos.answer(m, a.leaderHas(fabric.MemberID(m.GetTo())))
	case raftpb.MsgHeartbeatResp:
		a.raise(m.GetTerm())
		a.role = roleFollower
	case raftpb.MsgTimeoutNow:
		a.raise(m.GetTerm())
		a.transfer, a.transferAt = fabric.MemberID(m.GetTo()), a.now
		a.heir, a.heirTill = a.transfer, a.now+a.cfg.Rest
	}
}

// answered takes raft's word on a campaign. A vote asked for raises the term
// whether it is granted or not; a pre-vote granted says nothing of the term.
func (a *Arbiter) answered(m *raftpb.Message) {
	to := fabric.MemberID(m.GetTo())
	pre := m.GetType() == raftpb.MsgPreVoteResp
	if !pre || m.GetReject() {
		a.raise(m.GetTerm())
	}
	switch {
	case m.GetReject() && a.bound == to:
		a.bound = 0
	case !m.GetReject():
		if p := a.peer(to); !pre || p == nil || p.owed {
			a.bind(to)
			if p != nil {
				p.owed = false
			}
		}
		if !pre && a.role == roleCampaigner {
			a.role = roleFollower
		}
	}
}

// leaderHas is what a peer's row says of its log, if it is sure.
func (a *Arbiter) leaderHas(id fabric.MemberID) entry {
	if p := a.peer(id); p != nil && p.seen && p.row.claim.member == id && p.row.claim.kind == claimLead {
		return p.row.lower
	}
	return entry{^uint64(0), 0} // no term of any entry
}

// raise: the own raft's term is term at least.
func (a *Arbiter) raise(term uint64) {
	if term <= a.term {
		return
	}
	a.term = term
	a.role = roleFollower
	if a.asked.term == term {
		a.claimed(a.asked)
	}
	a.claimed(claim{term: term})
}

// claimed takes a claim that is sure.
func (a *Arbiter) claimed(c claim) {
	if !c.above(a.claim) {
		return
	}
	was := a.claim
	a.claim, a.since, a.rest, a.sealed, a.said = c, a.now, 0, false, ""
	if c.term > was.term {
		a.transfer = 0
	}
	a.despair(c)
	if a.open && c.term > a.endorses.term && (c.member == a.endorses.nominee || c.kind == claimLead) {
		a.open = false // it campaigns, or nobody has to
	}
	if c.kind == claimLead {
		a.led = c.term
		if p := a.peer(c.member); p != nil {
			p.insistence.at, p.insistence.last = [len(p.insistence.at)]time.Duration{}, 0
		}
	}
	if c.kind == claimLead && c.member == a.cfg.Self {
		for _, p := range a.peers {
			p.trips = trips{}
		}
	}
	if c.kind == claimLead && a.mode() != Off {
		e := Event{Kind: EventElected, Member: c.member, Term: c.term}
		if a.electing {
			e.Took, e.Detection = a.now-a.started, a.started-min(a.lastSign, a.started)
		}
		a.event(e)
		a.electing, a.excluded = false, nil
	}
}

// despair leaves raft alone when campaigns elect nobody: each of them has every
// raft begin its election timeout anew, also that of the one member that could
// win and of which this package does not know enough. Two Rests are the most that
// raft waits by itself.
func (a *Arbiter) despair(c claim) {
	switch c.kind {
	case claimLead:
		a.fruitless = 0
	case claimCampaign:
		if a.fruitless++; a.fruitless >= maxFruitless {
			a.rest = a.now + 2*a.cfg.Rest
		}
	}
}

// bind: this member's raft has, or may have, a word out for a campaign. Until
// that has shown itself, or failed, no other one is endorsed.
func (a *Arbiter) bind(to fabric.MemberID) { a.bound, a.boundTill = to, a.now+a.cfg.Patience }

// forced campaigns are heard whatever raft's lease says: the term rises.
func forced(m *raftpb.Message) bool { return string(m.GetContext()) == "CampaignTransfer" }

// round notes a campaign that raft knows.
func (a *Arbiter) round(c claim) {
	if c == a.asked {
		return
	}
	a.asked = c
	if p := a.peer(c.member); p != nil {
		p.tied, p.rivalled = 0, 0 // it asked in earnest
	}
	if a.mode() != Off {
		a.event(Event{Kind: EventRound, Member: c.member, Term: c.term})
	}
}

// handed takes a message that goes to raft now.
func (a *Arbiter) handed(m *raftpb.Message) {
	from := fabric.MemberID(m.GetFrom())
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgSnap, raftpb.MsgHeartbeat:
		if m.GetTerm() < a.term {
			return
		}
		a.raise(m.GetTerm())
		a.role = roleFollower
		a.claimed(claim{m.GetTerm(), from, claimLead})
		if m.GetType() != raftpb.MsgHeartbeat {
			a.pos.hand(m)
		}
	case raftpb.MsgVote:
		if m.GetTerm() > a.term {
			a.round(claim{m.GetTerm(), from, claimCampaign})
			a.bind(from)
			if forced(m) {
				a.raise(m.GetTerm())
			}
		}
	case raftpb.MsgPreVote:
		if p := a.peer(from); m.GetTerm() > a.term && p != nil && !a.insistent(p.tied) {
			p.tied, p.owed = a.now, true
			a.bind(from)
		}
	case raftpb.MsgTimeoutNow:
		if m.GetTerm() >= a.term && a.role != roleLeader {
			a.bind(a.cfg.Self) // raft will campaign, however long its disk takes
		}
	default:
		if raises(m) {
			a.told(m)
		}
	}
}

// told takes an answer: raft follows its term whatever it is of, unless it does
// not know who gives it. What an older leader sends is nothing to raft from here on.
func (a *Arbiter) told(m *raftpb.Message) {
	if a.peer(fabric.MemberID(m.GetFrom())) != nil {
		a.raise(m.GetTerm())
	}
}
