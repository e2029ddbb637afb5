package election

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// ready reports whether a peer can be nominated, but for its log.
func (a *Arbiter) ready(p *peer) bool {
	return a.counts(p) && p.row.claim.term == a.claim.term && p.row.is(flagSealed) && p.row.is(flagKnown) && !p.row.is(flagBound)
}

// candidate is a member that can be nominated.
type candidate struct {
	id           fabric.MemberID
	lower, upper entry
	endorsed     int // in this attempt
}

// choose finds the nominee: of those whose log nobody's can beat the one that
// others endorse already, then the lowest id. Positions that did not settle are
// compared by their upper bounds.
func (a *Arbiter) choose(attempt uint32, settled bool) fabric.MemberID {
	best, high := candidate{}, a.pos.high()
	for _, p := range a.peers {
		if a.votes(p.id) && a.ready(p) {
			high = maxEntry(high, p.row.upper)
		}
	}
	for _, half := range [...][]fabric.MemberID{a.members.Voters, a.members.Outgoing} {
		if best.id != 0 {
			break // who will be no voter leads only where nobody else can win
		}
		for _, id := range half {
			c, ok := a.candidate(id)
			if !ok || slices.Contains(a.excluded, id) {
				continue
			}
			if reach := c.reach(settled); reach.less(a.pos.high()) {
				continue // protocol §6.4: no nominee below one's own upper bound
			}
			if !a.winnable(&c, settled) {
				continue // words would be out for nothing; with nobody left failures are forgotten
			}
			c.endorsed = a.endorsers(id, attempt)
			if best.id == 0 || c.better(&best, high, settled) {
				best = c
			}
		}
	}
	return best.id
}

// winnable reports whether a majority that is present can endorse c, as far as
// their logs go: who has more never does, and where few are left its word is
// needed.
func (a *Arbiter) winnable(c *candidate, settled bool) bool {
	reach := c.reach(settled)
	return a.majority(func(id fabric.MemberID) bool {
		if id == a.cfg.Self {
			return !reach.less(a.pos.high())
		}
		p := a.peer(id)
		return a.able(id) && a.present(p) && !reach.less(p.row.upper)
	})
}

func (c *candidate) reach(settled bool) entry {
	if settled {
		return c.lower
	}
	return c.upper
}

func (c *candidate) better(o *candidate, high entry, settled bool) bool {
	cr, or := c.reach(settled), o.reach(settled)
	ct, ot := !cr.less(high), !or.less(high)
	switch {
	case ct != ot:
		return ct
	case !ct && cr != or:
		return or.less(cr)
	case c.endorsed != o.endorsed:
		return c.endorsed > o.endorsed
	}
	return c.id < o.id
}

func (a *Arbiter) candidate(id fabric.MemberID) (candidate, bool) {
	if id == a.cfg.Self {
		return candidate{id: id, lower: a.pos.lower, upper: a.pos.high()}, a.role != roleLeader
	}
	p := a.peer(id)
	if !a.ready(p) || !a.present(p) || !a.majority(func(o fabric.MemberID) bool { return o == id || p.row.hears(o) }) {
		return candidate{}, false
	}
	// A leader that lives and does not lead on is stuck.
	stuck := a.claim.kind == claimLead && a.claim.member == id && !p.row.is(flagSuspects)
	return candidate{id: id, lower: p.row.lower, upper: p.row.upper}, !stuck
}

// endorsers counts who endorses id in an attempt already.
func (a *Arbiter) endorsers(id fabric.MemberID, attempt uint32) (n int) {
	for _, p := range a.peers {
		if a.votes(p.id) && a.endorsesAt(p, id, attempt) {
			n++
		}
	}
	return n
}

func (a *Arbiter) endorsesAt(p *peer, id fabric.MemberID, attempt uint32) bool {
	return p != nil && a.counts(p) && p.row.endorses == endorsement{a.claim.term, attempt, id}
}

// nominate: with the word of a majority this member's raft is told to campaign,
// once per attempt, never if it leads. Words that are old do not count: their
// givers may turn away before the campaign reaches them. The nominee of the
// first attempt campaigns for at most two terms above the claim, and may come
// to it after it was given up: later attempts are above the terms of those
// before them, so that it neither has this campaign's votes nor deposes who won.
func (a *Arbiter) nominate() {
	e := a.endorses
	if !a.open || e.nominee != a.cfg.Self || a.nominated == e || a.role == roleLeader {
		return
	}
	if !a.majority(func(id fabric.MemberID) bool {
		p := a.peer(id)
		return id == a.cfg.Self || p != nil && a.counts(p) && p.row.endorses == e && a.now <= p.endorsed+a.wordLasts(p)/2
	}) {
		return
	}
	a.nominated = e
	term, reason := a.term, "own term"
	if a.role != roleFollower || a.term == 0 || a.term < a.claim.term {
		term, reason = max(a.claim.term, a.term+1), "raised term"
	}
	if e.attempt > 1 {
		term, reason = max(term, a.claim.term+uint64(min(e.attempt, maxSkip))), "raised term"
	}
	a.event(Event{Kind: EventNominated, Member: a.cfg.Self, Term: term, Attempt: e.attempt, Reason: reason})
	if a.mode() == On {
		a.bind(a.cfg.Self) // raft will campaign, however long its disk takes
		self := uint64(a.cfg.Self)
		a.out.Inject = &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: &self, To: &self, Term: &term}
	}
}
