package election

import (
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
)

// campaignWait is how many Patiences a candidate has to win that is heard and
// was seen to campaign: votes are on their way to it, and another campaign would
// only take them away. One that is gone is suspected for that.
const campaignWait = 4

// maxSkip bounds by how many terms a nominee's campaign is above that of the
// first attempt.
const maxSkip = 16

// maxPatienceDoubling bounds how often Patience is doubled in later attempts.
const maxPatienceDoubling = 2

// maxFruitless bounds the campaigns in a row that an arbiter takes part in and
// that elect nobody: as many as there are under E1's assumption, with two nominees
// that fail. The next one is raft's own.
const maxFruitless = 3

// maxPasses bounds how often a step starts over because raft got a message.
const maxPasses = 4

func (a *Arbiter) stepIfDue() {
	if a.now >= a.wakeAt {
		a.step()
	}
}

// step decides what the inputs so far demand.
func (a *Arbiter) step() {
	for range maxPasses {
		if a.mode() != Off {
			a.silences()
			a.suspect()
			a.seal()
			a.closeAttempt()
			a.endorse()
			a.nominate()
		}
		if !a.review() {
			break
		}
	}
	if a.transfer != 0 && a.now >= a.transferAt+a.cfg.Rest {
		a.transfer = 0
	}
	if a.show() || a.now >= a.shownAt+a.beat() && a.mode() != Off {
		a.out.Publish, a.shownAt = true, a.now
	}
	if a.shown.lively(a.cfg.Self) {
		a.livelyTill = a.now + a.cfg.Rest
	}
	a.schedule()
}

// schedule finds the next time at which something may be due.
func (a *Arbiter) schedule() {
	at := a.shownAt + a.beat()
	if a.mode() == Off {
		at = a.now + a.cfg.MaxSuspectAfter
	}
	due := func(t time.Duration) {
		if t > a.now {
			at = min(at, t)
		}
	}
	due(a.since + campaignWait*a.cfg.Patience)
	due(a.idleAt())
	due(a.boundTill)
	due(a.rivalTill)
	due(a.abstain)
	due(a.rest)
	if a.claim.kind == claimNone {
		due(a.since + a.cfg.SuspectAfter + 1)
	}
	if p := a.peer(a.claim.member); p != nil {
		due(a.since + p.Limit + 1)
		due(max(p.moved, a.since) + a.cfg.StallAfter + 1)
	}
	due(a.born + startWait*a.cfg.Patience)
	due(a.sealedAt + a.cfg.Settle)
	due(a.sealedAt + a.cfg.Settle + a.cfg.Patience)
	due(a.sealedAt + a.cfg.Hold)
	due(a.endorseAt + a.cfg.Settle)
	due(a.endorseAt + a.patience())
	for _, h := range a.held {
		due(h.until)
	}
	for _, p := range a.peers {
		if p.Heard && !p.Down && !p.Silent {
			due(p.Last + p.Limit + 1)
		}
	}
	a.wakeAt = max(at, a.now+1)
}

// beat is the pause between two publications at most. It becomes longer some time
// after the row says that it does: that row may be lost.
func (a *Arbiter) beat() time.Duration {
	if a.shown.lively(a.cfg.Self) || a.now < a.livelyTill {
		return a.cfg.Beat
	}
	return a.cfg.IdleBeat
}

// idle: this member leads and has had nothing to do for a while, so that nobody
// waits for its successor.
func (a *Arbiter) idle() bool {
	return a.role == roleLeader && a.claim.kind == claimLead && a.claim.member == a.cfg.Self && a.now >= a.idleAt()
}

func (a *Arbiter) idleAt() time.Duration { return max(a.workedAt, a.since) + a.cfg.IdleAfter }

// silences suspects peers that were not heard for suspect-after.
func (a *Arbiter) silences() {
	for _, p := range a.peers {
		if p.Heard && !p.Down && !p.Silent && a.now-p.Last > p.Limit {
			p.Silent = true
		}
	}
}

func (a *Arbiter) heard(id fabric.MemberID) bool {
	if id == a.cfg.Self {
		return true
	}
	p := a.peer(id)
	return p != nil && !p.suspected()
}

func (a *Arbiter) hearsMajority() bool { return a.majority(a.heard) }

// suspect decides whether this member suspects the claim. Who hears no majority
// suspects itself instead (protocol §4).
func (a *Arbiter) suspect() {
	reason := ""
	if len(a.ids) > 0 && a.hearsMajority() { // an only voter leads, and sends nothing that shows it
		reason = a.doubt()
	}
	if now := reason != ""; now != a.suspects {
		a.suspects = now
		if now {
			e := Event{Kind: EventSuspected, Member: a.claim.member, Term: a.claim.term, Reason: reason}
			a.lastSign = a.since
			if p := a.peer(a.claim.member); p != nil && a.claim.kind == claimLead {
				a.lastSign = p.Last
			}
			e.Took = a.now - a.lastSign
			a.event(e)
		}
	}
}

// doubt is why the claim is suspected, "" if it is not.
func (a *Arbiter) doubt() string {
	c := a.claim
	if c.kind == claimNone {
		return reasonIf(a.now > a.since+a.cfg.SuspectAfter, "nobody")
	}
	if c.kind == claimCampaign && a.now >= a.since+campaignWait*a.cfg.Patience {
		return "campaign"
	}
	if c.member == a.cfg.Self {
		return reasonIf(a.role == roleFollower || c.kind == claimLead && a.role != roleLeader, "lost")
	}
	p := a.peer(c.member)
	switch {
	case p == nil:
		return "removed"
	case p.Down:
		return "closed"
	case p.suspected():
		// One that was never heard is waited for as long as for one that was.
		return reasonIf(p.Heard || a.now > a.since+p.Limit, "silence")
	case p.seen && p.row.claim == c && p.row.is(flagSuspects):
		return "denied"
	case p.seen && p.row.is(flagActs|flagObserves) && a.now-max(p.moved, a.since) > a.cfg.StallAfter:
		return "stalled"
	}
	return ""
}

func reasonIf(yes bool, reason string) string {
	if yes {
		return reason
	}
	return ""
}

// seal holds what the suspected leader sends while a majority suspects it, so
// that positions come to rest. An election without a campaign ends after Hold,
// then raft is left alone for Rest. Who failed in an election is forgotten with
// it, also by those that saw it end because others rest.
func (a *Arbiter) seal() {
	wanted := a.suspects && a.now >= a.rest && a.majority(a.agrees)
	if (wanted || len(a.excluded) > 0) && !a.majority(a.able) {
		if wanted {
			a.abstainFor("majority unknown")
		}
		wanted, a.excluded = false, nil
	}
	switch {
	case wanted && a.sealed && a.now >= a.sealedAt+a.cfg.Hold:
		a.event(Event{Kind: EventGaveUp, Member: a.claim.member, Term: a.claim.term})
		a.takeBack()
		a.sealed, a.rest, a.excluded = false, a.now+a.cfg.Rest, nil
	case wanted && !a.sealed:
		a.sealed, a.sealedAt = true, a.now
		if a.claim.kind == claimCampaign {
			a.fail(a.claim.member, 0, "campaign")
		}
		if !a.electing {
			a.electing, a.started = true, a.now
			a.event(Event{Kind: EventStarted, Member: a.claim.member, Term: a.claim.term, Took: a.now - a.lastSign})
		}
	case !wanted:
		a.sealed = false
		if a.claim.kind == claimLead && !a.suspects {
			a.electing = false // the leader lives
		}
	}
}

// takeBack ends the own word before its time. Its nominee may count on it for as
// long as it binds: until then there is no other one.
func (a *Arbiter) takeBack() {
	if a.open {
		a.open, a.abstain = false, max(a.abstain, a.endorseAt+a.patience())
	}
}

// agrees reports whether a member suspects the claim that this one suspects.
func (a *Arbiter) agrees(id fabric.MemberID) bool {
	if id == a.cfg.Self {
		return a.suspects
	}
	p := a.peer(id)
	return !p.suspected() && p.seen && p.row.is(flagSuspects) && p.row.claim.term == a.claim.term && p.row.claim.kind == a.claim.kind
}

// able reports whether a member can endorse. Without a majority of them nothing
// is held for nothing.
func (a *Arbiter) able(id fabric.MemberID) bool {
	if id == a.cfg.Self {
		return a.unable() == ""
	}
	p := a.peer(id)
	return a.counts(p) && p.row.is(flagKnown)
}

// fail takes a nominee, or a candidate, out of this election.
func (a *Arbiter) fail(id fabric.MemberID, attempt uint32, reason string) {
	if !slices.Contains(a.excluded, id) {
		a.excluded = append(a.excluded, id)
	}
	a.event(Event{Kind: EventFailed, Member: id, Term: a.claim.term, Attempt: attempt, Reason: reason})
}

// closeAttempt ends an endorsement whose nominee failed, or had its time.
func (a *Arbiter) closeAttempt() {
	if !a.open {
		return
	}
	n := a.endorses.nominee
	switch p := a.peer(n); {
	case p != nil && p.suspected(), p == nil && n != a.cfg.Self:
		a.open = false
		a.fail(n, a.endorses.attempt, "closed")
	default:
		hopeful := a.hopeful()
		binds := a.patience()
		if a.divided() {
			binds = min(binds, a.cfg.Settle)
		}
		if hopeful && a.now < a.endorseAt+binds {
			return
		}
		a.open = false
		switch {
		case !a.possible():
			a.excluded = nil // others do not know of the same failures
		case hopeful: // else others have moved on, and cannot come back to it
			a.fail(n, a.endorses.attempt, "patience")
		}
	}
}

// patience is how long the own endorsement binds: twice as long in each later
// attempt, since it is not known whether a nominee failed or the network is slow.
func (a *Arbiter) patience() time.Duration {
	return a.cfg.Patience << doublings(a.endorses.attempt)
}

// hopeful reports whether the own nominee can still be nominated: rows only
// rise, and who endorses something newer, or knows of a newer term, never
// endorses in this attempt any more, nor does who is absent. The nominee's own word is
// needed as well: without it no majority of others makes it campaign.
func (a *Arbiter) hopeful() bool {
	can := func(id fabric.MemberID) bool {
		p := a.peer(id)
		return p == nil || a.heard(id) && (!p.seen || p.row.endorses == a.endorses ||
			a.present(p) && p.row.claim.term <= a.endorses.term && !p.row.endorses.above(a.endorses))
	}
	return can(a.endorses.nominee) && a.majority(can)
}

// divided reports whether too many endorse others in this attempt: it came to
// nothing. All see that, though not at once, and wait for each other for Settle.
func (a *Arbiter) divided() bool {
	return !a.majority(func(id fabric.MemberID) bool {
		p := a.peer(id)
		if p == nil {
			return true
		}
		n, known := p.endorsedAt(a.endorses.term, a.endorses.attempt)
		return a.heard(id) && (!known || n == a.endorses.nominee)
	})
}

// present reports whether a peer would have been heard if it were at work. One
// that was not, and comes back, gives no word for a Patience.
func (a *Arbiter) present(p *peer) bool {
	return a.now <= p.Last+p.beat(&a.cfg)+a.cfg.Patience
}

// possible reports whether the own nominee may have been nominated: a majority
// is not known to have endorsed others. A split is nobody's failure.
func (a *Arbiter) possible() bool {
	return a.majority(func(id fabric.MemberID) bool {
		if id == a.cfg.Self {
			return true
		}
		p := a.peer(id)
		n, known := p.endorsedAt(a.endorses.term, a.endorses.attempt)
		return a.heard(id) && (known && n == a.endorses.nominee || !known && a.present(p))
	})
}

// counts reports whether a peer takes part: an acting member counts on those
// that act, one that observes on those that would.
func (a *Arbiter) counts(p *peer) bool {
	return !p.suspected() && p.seen && (p.row.is(flagActs) || a.mode() == Observe && p.row.is(flagObserves))
}

// unable is why this member does not endorse at all, "" if it does.
func (a *Arbiter) unable() string {
	switch {
	case !a.votes(a.cfg.Self):
		return "learner"
	case a.fresh():
		return "restarted"
	case a.now < a.abstain:
		return "late"
	case a.now < a.rest:
		return "resting" // members that rest at different times would never meet in an election
	case !a.pos.known && a.role == roleLeader:
		return "leads"
	case !a.pos.known:
		return "position unknown"
	case a.term != 0 && a.claim.term > a.term+MaxTermLift:
		return "term too far"
	}
	return ""
}

// fresh reports whether an endorsement of an earlier life may still bind (E4).
func (a *Arbiter) fresh() bool { return a.now < a.born+startWait*a.cfg.Patience }

// tied reports whether this member's raft has a word out. A candidate that is
// gone does not come back to it; but a vote that raft was asked for and did not
// answer may raise its term, after which no nominee of an older one can win here.
func (a *Arbiter) tied() bool {
	return a.bound != 0 && a.now < a.boundTill && (a.heard(a.bound) || a.asked.term > a.term)
}

func (a *Arbiter) abstainFor(reason string) {
	if reason != a.said {
		a.said = reason
		a.event(Event{Kind: EventAbstained, Term: a.claim.term, Reason: reason})
	}
}

// endorse gives this member's word for the attempt that is on, once (E4).
func (a *Arbiter) endorse() {
	if !a.sealed || a.open {
		return
	}
	if why := a.unable(); why != "" {
		a.abstainFor(why)
		return
	}
	if a.tied() {
		a.abstainFor("bound")
		return
	}
	settled, bound := a.settled()
	wait := a.cfg.Settle
	if bound {
		wait += a.cfg.Patience // endorsements have to come together, or not at all
	}
	attempt := a.attempt()
	n := a.choose(attempt, settled)
	if !settled && a.now < a.sealedAt+wait && !a.decides(n, attempt) {
		return
	}
	if n == 0 && len(a.excluded) > 0 {
		a.excluded = nil
		n = a.choose(attempt, settled)
	}
	if n == 0 {
		return
	}
	a.endorses = endorsement{a.claim.term, attempt, n}
	a.open, a.endorseAt = true, a.now
	a.mute = a.mode() == On // its own pre-vote, if one is out, is outrun
	a.event(Event{Kind: EventEndorsed, Member: n, Term: a.claim.term, Attempt: attempt, Took: a.now - a.started})
}

// decides reports whether the own word is the last that n needs: others do not
// wait for what this member waits for, and their words grow old.
func (a *Arbiter) decides(n fabric.MemberID, attempt uint32) bool {
	return n != 0 && a.majority(func(id fabric.MemberID) bool {
		return id == a.cfg.Self || a.endorsesAt(a.peer(id), n, attempt)
	})
}

// attempt is the next one that this member can take part in. Attempts are counted
// since somebody led, also when a campaign has raised the term: the terms of
// later nominees rise with them.
func (a *Arbiter) attempt() uint32 {
	n := uint32(1)
	if a.endorses.term >= a.led {
		n = a.endorses.attempt + 1
	}
	for _, p := range a.peers {
		if e := p.row.endorses; !a.votes(p.id) || !a.counts(p) || e.term < a.led || e.attempt > maxAttempt/2 {
			continue
		} else if e.term == a.claim.term {
			n = max(n, e.attempt)
		} else if e.term < a.claim.term {
			n = max(n, e.attempt+1)
		}
	}
	return n
}

// settled reports whether all that take part have sealed, and those that know
// their position know it exactly, with no word out for a campaign; bound, whether
// somebody has one.
func (a *Arbiter) settled() (settled, bound bool) {
	settled = a.pos.lower == a.pos.high()
	for _, p := range a.peers {
		if !a.votes(p.id) || !a.counts(p) || a.insists(p) {
			continue
		}
		if p.row.claim.term != a.claim.term || !p.row.is(flagSealed) || p.row.is(flagKnown) && p.row.lower != p.row.upper {
			settled = false
		}
		bound = bound || p.row.is(flagBound)
	}
	return settled && !bound, bound
}
