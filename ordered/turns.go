package ordered

import (
	"slices"
	"time"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
)

// turns is who proposes a new view, and when: the voters in the order of their
// ids, each a Turn after the one before it, and when a ballot stands still, each
// again, ever later. Ballots disturb each other; one of them has to be left alone
// for as long as it needs (V2).
type turns struct {
	wanted bool
	view   barrier.ViewID
	out    []fabric.MemberID
	since  time.Duration // when this was wanted first
	stirs  uint64
	moves  uint64
	moved  time.Duration // when a ballot last went on
	tries  int
	luck   float64       // of this try: how much of another Patience it waits
	at     time.Duration // when this member proposes, 0: not now

	proposals uint64 // that this member made
}

// maxTries bounds how often Patience is doubled.
const maxTries = 5

// propose begins a ballot when it is this member's turn.
func (e *Endpoint) propose() {
	t, b, now := &e.turns, e.core.Barrier(), e.now.Mono
	if s := b.Stirs(); s == t.stirs && (t.at == 0 || now < t.at) {
		return
	} else {
		t.stirs = s
	}
	out, wanted := b.Wants()
	if !wanted || e.alone(e.suspects) {
		t.wanted, t.at = false, 0
		return
	}
	id := b.ViewID()
	if !t.wanted || t.view != id || !slices.Equal(t.out, out) {
		if t.view != id {
			t.tries = 0
		}
		t.wanted, t.view, t.out, t.since = true, id, out, now
		t.luck, e.active = e.random.Float64(), now
	}
	if m := b.Moves(); m != t.moves {
		t.moves, t.moved, e.active = m, now, now
	}
	t.at = e.turn(out)
	if now < t.at {
		return
	}
	if e.core.Propose() {
		t.proposals++
	}
	t.tries = min(t.tries+1, maxTries)
	t.moves, t.moved, t.since, t.luck = b.Moves(), now, now, e.random.Float64()
	t.at = e.turn(out)
}

// turn is when this member is to propose.
func (e *Endpoint) turn(out []fabric.MemberID) time.Duration {
	t, b := &e.turns, e.core.Barrier()
	owner, on := b.Ballot()
	mine := time.Duration(e.rank(out)) * e.cfg.Turn
	switch {
	case !on && e.absent(out):
		return t.since + e.cfg.JoinWait + mine
	case !on:
		return t.since + mine
	case t.since > t.moved && (owner == e.cfg.Self || slices.Contains(out, owner)):
		// It cannot end: it waits for somebody that is gone, or is led by it.
		return t.since + mine
	}
	patience := e.cfg.Patience << t.tries
	return t.moved + patience + mine + time.Duration(t.luck*float64(patience))
}

// rank is this member's place among the voters that do not leave.
func (e *Endpoint) rank(out []fabric.MemberID) (n int) {
	for _, id := range e.core.Barrier().Voters() {
		if id < e.cfg.Self && !slices.Contains(out, id) && !slices.Contains(e.suspects, id) {
			n++
		}
	}
	return n
}

// absent reports whether a voter that nobody suspects has not shown that it
// knows the view: it starts, or is behind.
func (e *Endpoint) absent(out []fabric.MemberID) bool {
	return slices.ContainsFunc(e.core.Barrier().Voters(), func(id fabric.MemberID) bool {
		return !slices.Contains(out, id) && !slices.Contains(e.suspects, id) && !e.core.Barrier().Present(id)
	})
}
