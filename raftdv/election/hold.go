package election

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// held is a message that raft does not have yet.
type held struct {
	m     *raftpb.Message
	why   why
	since time.Duration
	until time.Duration
	size  int
}

// why a message is held.
type why uint8

const (
	whyNot       why = iota
	whySealed        // a leader that a majority suspects
	whyElection      // a campaign beside the one that is on
	whyLeader        // a campaign against a leader that works
	whyTerm          // a pre-vote's grant, for a term that is left already
	whyInsistent     // a campaign that comes too soon after another one of its member
)

// heldBack are the reasons for holding campaigns.
var heldBack = map[why]string{whyElection: "election", whyLeader: "leader", whyInsistent: "insistent"}

// Receive takes a message for raft. Its sender is taken for heard: From has to
// be the peer that it came from, forwarded messages aside.
func (a *Arbiter) Receive(now time.Duration, m *raftpb.Message) Verdict {
	a.begin(now)
	if p := a.peer(fabric.MemberID(m.GetFrom())); p != nil && !forwarded(m) {
		a.alive(p)
	}
	a.measure(m)
	a.stepIfDue()
	if m.GetType() == raftpb.MsgPreVote && m.GetTerm() > a.term {
		a.compete(m)
	}
	if p := a.peer(fabric.MemberID(m.GetFrom())); p != nil && m.GetType() == raftpb.MsgVote {
		a.campaigns(p, m.GetTerm())
	}
	if a.refused(m) {
		a.refuse(m)
		return Discard
	}
	if a.outlived(m) || a.overtaken(m) {
		a.event(Event{Kind: EventDiscarded, Member: fabric.MemberID(m.GetFrom()), Term: m.GetTerm()})
		return Discard
	}
	w := a.judge(m)
	if w != whyNot && a.replaces(m) {
		return Discard
	}
	if w == whyNot || !a.keep(m, w) {
		before, bound := a.claim, a.bound
		a.handed(m)
		if a.claim != before || a.bound != bound {
			a.step()
		}
		return Pass
	}
	return Hold
}

// outlived reports whether m grants a pre-vote of the own raft that an election
// has outrun: it would make a second candidate. The next pre-vote of raft counts
// again.
func (a *Arbiter) outlived(m *raftpb.Message) bool {
	if m.GetType() != raftpb.MsgPreVoteResp || m.GetReject() || a.mode() != On {
		return false
	}
	if (a.sealed || a.open) && (a.bound != a.cfg.Self || a.now >= a.boundTill) {
		a.mute = true
	}
	return a.mute
}

// overtaken reports whether m asks for a vote in a term that raft has left: it
// would say nothing to it.
func (a *Arbiter) overtaken(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgVote && m.GetTerm() < a.term && a.mode() == On
}

// outdated reports whether a leader's word to campaign, which was held for an
// election's sake, comes too late: it is good only for a leader that turned out to
// work. Otherwise it would make a second campaign.
func (a *Arbiter) outdated(h *held) bool {
	leads := claim{h.m.GetTerm(), fabric.MemberID(h.m.GetFrom()), claimLead}
	return h.m.GetType() == raftpb.MsgTimeoutNow && h.why == whySealed && a.mode() == On && (a.claim != leads || a.suspects)
}

// forwarded messages keep the From of who asked.
func forwarded(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgProp, raftpb.MsgReadIndex, raftpb.MsgTransferLeader:
		return true
	}
	return false
}

// keep takes a message into custody, if the mode and the bounds allow it.
func (a *Arbiter) keep(m *raftpb.Message, w why) bool {
	if reason := heldBack[w]; reason != "" {
		a.event(Event{Kind: EventHeldBack, Member: fabric.MemberID(m.GetFrom()), Term: m.GetTerm(), Reason: reason})
	}
	if a.mode() != On {
		return false
	}
	size := messageSize(m)
	if len(a.held) == a.cfg.MaxHeld || a.heldBytes+size > a.cfg.MaxHeldBytes {
		a.event(Event{Kind: EventOverflow, Member: fabric.MemberID(m.GetFrom()), Term: m.GetTerm()})
		return false
	}
	until := a.now + a.cfg.Hold
	if w == whyTerm {
		until = a.now + a.cfg.Patience/2
	}
	a.held = append(a.held, held{m, w, a.now, until, size})
	a.heldBytes += size
	a.wakeAt = min(a.wakeAt, until)
	return true
}

// replaces has one request of each kind held of a member, that for the highest term:
// the others are over, and any number of them may come. It reports whether m is over
// itself.
func (a *Arbiter) replaces(m *raftpb.Message) (over bool) {
	if m.GetType() != raftpb.MsgVote && m.GetType() != raftpb.MsgPreVote || a.mode() != On {
		return false
	}
	i := slices.IndexFunc(a.held, func(h held) bool { return h.m.GetType() == m.GetType() && h.m.GetFrom() == m.GetFrom() })
	if i < 0 {
		return false
	}
	if a.held[i].m.GetTerm() > m.GetTerm() {
		return true
	}
	a.event(Event{Kind: EventDiscarded, Member: fabric.MemberID(m.GetFrom()), Term: a.held[i].m.GetTerm()})
	a.heldBytes -= a.held[i].size
	a.held = slices.Delete(a.held, i, i+1)
	return false
}

// judge says why a message should be held now.
func (a *Arbiter) judge(m *raftpb.Message) why {
	if a.mode() == Off {
		return whyNot
	}
	from := fabric.MemberID(m.GetFrom())
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgSnap, raftpb.MsgHeartbeat:
		// A claim may be known from a row before raft hears of it: until then
		// raft would still take entries of the old leader, and its log would
		// outgrow the nominee's.
		// And of the answers of one Ready etcd sends the last alone: that to a
		// leader of an older term would displace the one that settles the position.
		t := m.GetTerm()
		if t < a.term && len(a.pos.handed) > 0 && a.pos.source == a.term || t >= a.term && (a.sealed && t <= a.claim.term || a.open && t <= a.endorses.term || a.busy() && t < a.claim.term) {
			return whySealed
		}
	case raftpb.MsgVote, raftpb.MsgPreVote:
		switch {
		case m.GetTerm() <= a.term:
		case m.GetType() == raftpb.MsgVote && a.unwanted(from, m.GetTerm()):
			return whyInsistent
		case a.busy():
			if !a.favours(m) {
				return whyElection
			}
		case m.GetType() == raftpb.MsgPreVote && a.outdone(m):
			return whyElection
		case a.claim.kind == claimLead && from != a.transferee() && a.works():
			return whyLeader
		}
	case raftpb.MsgPreVoteResp:
		// Somebody is at the claim's term, or beyond this one, and says so if it
		// lives: behind that word the campaign would be over before it began.
		if !m.GetReject() && m.GetTerm() > a.term && m.GetTerm() <= a.claim.term {
			return whyTerm
		}
	case raftpb.MsgTimeoutNow:
		switch {
		case from != a.claim.member && (a.claim.kind == claimLead && a.works() || a.busy()):
			return whyLeader
		case a.sealed:
			return whySealed
		}
	}
	return whyNot
}

// busy reports whether one campaign is preferred to others: from the seal, or
// the endorsement, until somebody leads or the campaign has run out of time.
func (a *Arbiter) busy() bool {
	return a.sealed || a.open || a.bound != 0 && a.now < a.boundTill || a.claim.kind == claimCampaign && !a.suspects && a.now < a.since+campaignWait*a.cfg.Patience
}

// outdone reports whether a better pre-vote than m is about. raft's pre-votes
// are no votes: one member grants any number of them, and two candidates may
// each get a majority. One at a time passes, each better than the one before.
func (a *Arbiter) outdone(m *raftpb.Message) bool {
	is := rivalOf(m)
	return a.rival.id != is.id && a.now < a.rivalTill && a.heard(a.rival.id) && a.rival.better(is)
}

// rival is a pre-candidate.
type rival struct {
	id   fabric.MemberID
	last entry
}

func rivalOf(m *raftpb.Message) rival {
	return rival{fabric.MemberID(m.GetFrom()), entry{m.GetLogTerm(), m.GetIndex()}}
}

func (r rival) better(o rival) bool {
	return o.last.less(r.last) || o.last == r.last && r.id < o.id
}

// compete notes a pre-vote that came, or that raft made. It is remembered for
// longer than any that came before it is held.
func (a *Arbiter) compete(m *raftpb.Message) {
	r := rivalOf(m)
	if a.now < a.rivalTill && !r.better(a.rival) {
		return
	}
	if p := a.peer(r.id); p != nil {
		if a.insistent(p.rivalled) {
			return
		}
		p.rivalled = a.now
	}
	a.rival, a.rivalTill = r, a.now+2*a.cfg.Hold
}

// insistent reports whether a member that asked for pre-votes at a time asks again
// too soon, which raft does not do: it waits for its election timeout. Who asked
// without end would keep all others from being heard.
func (a *Arbiter) insistent(at time.Duration) bool { return at != 0 && a.now < at+a.cfg.Rest/2 }

// favours reports whether m is of the campaign that is on. A nominee's pre-vote
// is not: its campaign needs none, and with grants from before the election it
// would be a candidate without a majority's word. Nor is what a candidate asks
// for when its campaign is over: the claim stays on its term until there is a
// newer one.
func (a *Arbiter) favours(m *raftpb.Message) bool {
	id := fabric.MemberID(m.GetFrom())
	if a.open {
		return id == a.endorses.nominee && m.GetType() == raftpb.MsgVote
	}
	ask := claim{m.GetTerm(), id, claimCampaign}
	return a.bound == id && a.now < a.boundTill || a.claim == ask && m.GetType() == raftpb.MsgVote
}

// transferee is to whom the leader hands over its office, 0 if to nobody.
func (a *Arbiter) transferee() fabric.MemberID {
	if a.claim.member == a.cfg.Self {
		return a.transfer
	}
	if p := a.peer(a.claim.member); p != nil && p.seen && p.row.claim == a.claim {
		return p.row.transfer
	}
	return 0
}

// works reports whether a majority of voters hears the leader, whose progress
// moves: each says so itself.
func (a *Arbiter) works() bool {
	return a.majority(func(id fabric.MemberID) bool {
		if id == a.cfg.Self {
			return !a.suspects && a.hearsMajority()
		}
		p := a.peer(id)
		return !p.suspected() && p.seen && p.row.claim == a.claim && !p.row.is(flagSuspects)
	})
}

// review judges what is held once more. It reports whether raft got something.
func (a *Arbiter) review() (moved bool) {
	kept := a.held[:0]
	for _, h := range a.held {
		w := a.judge(h.m)
		if w == whyNot && a.suppressed(&h) {
			w = whyLeader
			if h.why == whyInsistent {
				w = whyInsistent
			}
		}
		switch {
		case w != whyNot && a.now < h.until:
			kept = append(kept, h)
			continue
		case w != whyNot && a.stale(h.m, w), a.overtaken(h.m), a.outlived(h.m), a.outdated(&h):
			a.event(Event{Kind: EventDiscarded, Member: fabric.MemberID(h.m.GetFrom()), Term: h.m.GetTerm()})
		default:
			a.release(h.m)
			moved = true
		}
		a.heldBytes -= h.size
	}
	clear(a.held[len(kept):])
	a.held = kept
	return moved
}

// suppressed reports whether a campaign that was held back stays so although
// nothing holds back new ones. A pre-vote that was held before this member's
// last endorsement: that word outran it. One held for a leader's sake, when the
// leader is lost: where it is released, and when, depends on who suspects first,
// and the election that follows does not need it. Any campaign that was beside
// the one that won: its term may be above that of the new leader, whom a
// majority does not follow yet.
func (a *Arbiter) suppressed(h *held) bool {
	if h.why == whyInsistent {
		return !a.wanted(fabric.MemberID(h.m.GetFrom()), h.m.GetTerm())
	}
	if h.why == whySealed || h.m.GetTerm() <= a.term || a.mode() != On || a.favours(h.m) {
		return false
	}
	pre := h.m.GetType() == raftpb.MsgPreVote
	if pre && a.endorses.attempt != 0 && h.since <= a.endorseAt {
		return true
	}
	if h.why == whyElection {
		return a.claim.kind == claimLead && !a.suspects
	}
	return pre && a.majority(a.able)
}

// stale reports whether a campaign that was held for as long as it may be is
// better lost. A pre-vote so old would meet those of another time: granted late
// by some, it makes a second candidate. A campaign against a leader that works
// is causeless, and who needs one to be heard at all is freed by raft itself,
// with pre-votes or a quorum check. The vote for a candidate that is gone would
// be missed by the next one.
func (a *Arbiter) stale(m *raftpb.Message, w why) bool {
	switch w {
	case whySealed, whyTerm:
		return false
	case whyInsistent:
		return true
	case whyLeader:
		return m.GetType() == raftpb.MsgPreVote || a.cfg.PreVote || a.cfg.CheckQuorum
	}
	return m.GetType() == raftpb.MsgPreVote || !a.heard(fabric.MemberID(m.GetFrom()))
}

func (a *Arbiter) release(m *raftpb.Message) {
	a.out.Release = append(a.out.Release, m)
	a.handed(m)
}

func (a *Arbiter) releaseAll() {
	for _, h := range a.held {
		a.release(h.m)
	}
	clear(a.held)
	a.held, a.heldBytes = a.held[:0], 0
}
