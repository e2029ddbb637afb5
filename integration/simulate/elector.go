package simulate

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// Elections makes arbiters of package election for Config.Arbiter. Their settings
// are the defaults, but in every other seed suspicion takes four times as
// long. Their callers' duties are numbered in that package's comment.
func Elections(mode election.Mode) func(Host) Arbiter {
	return func(h Host) Arbiter {
		cfg := electionConfig(h.ID())
		if l, ok := h.(interface{ Lab() *Lab }); ok && l.Lab() != nil {
			cfg.PreVote, cfg.CheckQuorum = l.Lab().PreVote, l.Lab().CheckQuorum
			return newElector(h, mode, cfg)
		}
		if h.Seed()%2 == 1 { // fewer rows, for the sake of more seeds
			cfg.SuspectAfter, cfg.Beat = slowSuspicion, slowBeat
		}
		return newElector(h, mode, cfg)
	}
}

// elector drives an election.Arbiter.
type elector struct {
	h       Host
	arb     *election.Arbiter
	held    []heldMessage // by Receive's verdict, neither released nor lost
	guessed []heldMessage // taken for lost, when others might have been meant as well
}

// heldMessage is one that the arbiter has to release or lose before until.
type heldMessage struct {
	m     *raftpb.Message
	until time.Duration
}

// What the defaults of the arbiters' settings are: how long they hold messages,
// and for how long attempts of a member's last life may be on: five times their
// Patience.
const (
	electionHold     = 100 * time.Millisecond
	electionPatience = 20 * time.Millisecond
	electionWindow   = 5 * electionPatience
	slowSuspicion    = 240 * time.Millisecond
	slowBeat         = 20 * time.Millisecond
)

// electionConfig is what the members' arbiters are set to.
func electionConfig(self fabric.MemberID) election.Config {
	return election.Config{Self: self, PreVote: true, CheckQuorum: true, Hold: electionHold, Patience: electionPatience}
}

func newElector(h Host, mode election.Mode, cfg election.Config) *elector {
	arb, err := election.New(cfg, h.Now())
	if err != nil {
		panic(fmt.Sprintf("simulate: the arbiters' settings: %v", err)) // they are constants
	}
	e := &elector{h: h, arb: arb}
	e.arb.SetMode(h.Now(), mode)
	e.Reconfigured()
	lastTerm, last := h.Last()
	e.arb.Position(h.Now(), h.Status().GetTerm(), lastTerm, last)
	e.act()
	return e
}

func (e *elector) Receive(m *raftpb.Message) bool {
	switch e.arb.Receive(e.h.Now(), m) {
	case election.Pass:
		e.h.Step(m)
	case election.Hold:
		st := e.arb.State()
		limit := st.Hold
		if m.GetType() == raftpb.MsgPreVoteResp {
			limit = st.Patience / 2
		}
		e.held = append(e.held, heldMessage{m, e.h.Now() + limit})
	case election.Discard:
		e.h.Drop(m)
		e.do(e.arb.Take(), true)
		return false
	}
	e.act()
	return false
}

func (e *elector) Sent(msgs []*raftpb.Message) {
	e.arb.Sent(e.h.Now(), msgs)
	e.act()
}

func (e *elector) Row(_ fabric.MemberID, row *fabric.Row) {
	if err := e.arb.Row(e.h.Now(), row); err != nil {
		e.h.Complain(err) // nobody here lies
	}
	e.act()
}

func (e *elector) AppendSection(dst []byte) []byte { return e.arb.AppendSection(dst) }

func (e *elector) Link(peer fabric.MemberID, up bool) {
	if up {
		e.arb.Up(e.h.Now(), peer)
	} else {
		e.arb.Down(e.h.Now(), peer)
	}
	e.act()
}

func (e *elector) Heard(peer fabric.MemberID) {
	e.arb.Heard(e.h.Now(), peer)
	e.act()
}

func (e *elector) Reconfigured() {
	conf := e.h.Members()
	err := e.arb.SetMembers(e.h.Now(), election.Members{
		Voters: memberIDs(conf.GetVoters()), Outgoing: memberIDs(conf.GetVotersOutgoing()), Learners: memberIDs(conf.GetLearners())})
	if err != nil {
		e.h.Complain(err)
	}
	e.act()
}

func memberIDs(ids []uint64) (ms []fabric.MemberID) {
	for _, id := range ids {
		ms = append(ms, fabric.MemberID(id))
	}
	return ms
}

func (e *elector) Wake() {
	e.arb.Advance(e.h.Now())
	e.act()
}

// act does what the arbiter wants after an input.
func (e *elector) act() { e.do(e.arb.Take(), false) }

// do: the last event is of what Receive has just discarded, or it is not.
func (e *elector) do(out election.Output, discarded bool) {
	events := out.Events
	if discarded {
		events = events[:len(events)-1]
	}
	for _, m := range out.Release {
		e.released(m)
	}
	for _, ev := range events {
		if ev.Kind == election.EventDiscarded {
			e.lose(uint64(ev.Member), ev.Term)
		}
	}
	for _, m := range out.Release {
		e.h.Step(m)
	}
	if out.Inject != nil {
		e.h.Step(out.Inject)
	}
	if out.Publish {
		e.h.Publish()
	}
	for _, ev := range out.Events {
		e.h.Event(ev)
	}
	e.h.WakeAt(e.arb.Deadline())
}

// released: if m was taken for lost, it was another message that was.
func (e *elector) released(m *raftpb.Message) {
	is := func(h heldMessage) bool { return h.m == m }
	e.held = slices.DeleteFunc(e.held, is)
	if i := slices.IndexFunc(e.guessed, is); i >= 0 {
		e.guessed = slices.Delete(e.guessed, i, i+1)
		e.lose(m.GetFrom(), m.GetTerm())
	}
}

// lose drops what an event calls discarded. Of several of that sender and term
// it takes the one that may be held for the shortest time: if it was another one,
// the arbiter releases or loses the one that was taken before it is too late for
// the other.
func (e *elector) lose(from, term uint64) {
	meant, n := -1, 0
	for i, h := range e.held {
		if m := h.m; mayBeLost(m) && m.GetFrom() == from && m.GetTerm() == term {
			n++
			if meant < 0 || h.until < e.held[meant].until {
				meant = i
			}
		}
	}
	if meant < 0 {
		return
	}
	h := e.held[meant]
	if n > 1 {
		now := e.h.Now()
		e.guessed = append(slices.DeleteFunc(e.guessed, func(g heldMessage) bool { return g.until < now }), h)
	}
	e.held = slices.Delete(e.held, meant, meant+1)
	e.h.Drop(h.m)
}

// mayBeLost: an arbiter discards campaigns, and grants of pre-votes.
func mayBeLost(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgVote, raftpb.MsgPreVote, raftpb.MsgTimeoutNow, raftpb.MsgPreVoteResp:
		return true
	}
	return false
}
