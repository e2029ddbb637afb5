package simulate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// acting is a cluster with arbiters, whose time a test lets run. One at a time:
// it has the source of raft's randomness until the test ends.
func acting(t *testing.T, cfg Config) *cluster {
	cfg.Elections = election.On
	return clusterOf(t, cfg)
}

func clusterOf(t *testing.T, cfg Config) *cluster {
	t.Helper()
	t.Cleanup(seedEntropy(stream(cfg.Seed, streamRaft)))
	c, err := newCluster(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *cluster) mustLead(t *testing.T) *member {
	t.Helper()
	l := c.leader()
	if l == nil {
		t.Fatal("nobody leads")
	}
	return l
}

// TestFirstElection: members that know nobody who leads elect one before raft
// would by itself, in one round that counts as inside of the assumption.
func TestFirstElection(t *testing.T) {
	for _, members := range sizes(3, 4, 5, 7) {
		t.Run(fmt.Sprint(members), func(t *testing.T) {
			c := acting(t, Config{Seed: 2, Members: members})
			c.net.Advance(300 * time.Millisecond)
			if l := c.mustLead(t); l.id != 1 {
				t.Errorf("%s leads, of equal logs the lowest id should", l.id)
			}
			p := c.checks.polls.last
			if p == nil || p.outside != "" || p.rounds != 1 || p.failed != 0 || c.report.Failed() {
				t.Errorf("%+v, %v", p, c.report.Failures)
			}
		})
	}
}

// TestFailoverIsSoon: a crash that connections tell of is over in some
// milliseconds, one that they do not in little more than suspect-after; the
// same without arbiters takes raft's election timeout.
func TestFailoverIsSoon(t *testing.T) {
	for _, tc := range []struct {
		name        string
		mode        election.Mode
		told        bool
		least, most time.Duration
	}{
		{"told", election.On, true, 0, 20 * time.Millisecond},
		{"silent", election.On, false, 0, 100 * time.Millisecond},
		{"without arbiters", election.Off, false, 900 * time.Millisecond, 10 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := clusterOf(t, Config{Seed: 2, Members: 5, Elections: tc.mode})
			c.net.Advance(4 * time.Second)
			was := c.mustLead(t)
			was.kill()
			if tc.told {
				was.closed()
			}
			c.net.Advance(10 * time.Second)
			took := c.report.MostFailoverTime
			if l := c.leader(); l == nil || l == was || c.report.Failovers != 1 || took < tc.least || took > tc.most {
				t.Errorf("%d failovers, %v, want one within %v to %v", c.report.Failovers, took, tc.least, tc.most)
			}
		})
	}
}

// TestObserversTouchNothing: with arbiters that observe raft elects as it does
// without, and neither holds messages nor campaigns for them.
func TestObserversTouchNothing(t *testing.T) {
	r := run(t, Config{Seed: 4, Duration: 20 * time.Second, Proposals: 1, MinFaults: -1, Elections: election.Observe})
	if r.Failed() || r.Held != 0 || r.Endorsements == 0 || r.Elections == 0 {
		t.Errorf("%d held, %d endorsements, %d elections: %v", r.Held, r.Endorsements, r.Elections, r.Failures)
	}
	c, _, _ := bench(t)
	if c.cfg.Elections != election.Off || c.cfg.Arbiter != nil {
		t.Error("the zero value has arbiters")
	}
}

// TestSameSeedSameElections: runs with arbiters repeat themselves too.
func TestSameSeedSameElections(t *testing.T) {
	cfg := Config{Seed: 3, Members: 5, Duration: 15 * time.Second, Proposals: 1, MinFaults: -1, Elections: election.On, Failovers: 2}
	a, b := run(t, cfg), run(t, cfg)
	if a.Hash != b.Hash || a.Endorsements != b.Endorsements || a.Held != b.Held {
		t.Errorf("%#x, %d endorsements, %d held; then %#x, %d, %d", a.Hash, a.Endorsements, a.Held, b.Hash, b.Endorsements, b.Held)
	}
	cfg.Elections = election.Off
	if r := run(t, cfg); r.Hash == a.Hash || r.Endorsements != 0 {
		t.Errorf("without arbiters %#x and %d endorsements", r.Hash, r.Endorsements)
	}
}

// TestFailoversLeaveTheScheduleAlone: they come on top, and each strikes.
func TestFailoversLeaveTheScheduleAlone(t *testing.T) {
	c := acting(t, Config{Seed: 5})
	plain := c.schedule(time.Minute)
	c.cfg.Failovers = 4
	more := c.schedule(time.Minute)
	if !slices.Equal(more[:len(plain)], plain) {
		t.Errorf("%v became %v", plain, more)
	}
	for i, f := range more[len(plain):] {
		if f.Kind != failovers.name || f.Number != mostFaults+i || i%2 == 0 && f.At+f.For > faultFree || i%2 == 1 && f.At < faultFree {
			t.Errorf("number %d is %v", i, f)
		}
	}
	if slices.Contains(Kinds(), failovers.name) {
		t.Error("failovers are drawn")
	}
}

// TestMajorityLives: in both halves of a joint configuration.
func TestMajorityLives(t *testing.T) {
	c, a, _ := bench(t)
	conf := &raftpb.ConfState{Voters: []uint64{1, 2, 3}}
	set := func() {
		for _, m := range c.members {
			m.node.conf = conf
		}
	}
	if set(); !c.majorityLives() {
		t.Error("all live")
	}
	if a.m.dead = true; !c.majorityLives() {
		t.Error("two of three live")
	}
	conf.VotersOutgoing = []uint64{1, 2}
	if c.majorityLives() {
		t.Error("one of two outgoing voters lives")
	}
	conf.VotersOutgoing, c.members[1].dead = nil, true
	if c.majorityLives() {
		t.Error("one of three lives")
	}
}

// TestPolls: which elections are inside of E1's assumption, and which are not.
func TestPolls(t *testing.T) {
	vote := func(from, term uint64) *raftpb.Message {
		return &raftpb.Message{Type: raftpb.MsgVote.Enum(), From: &from, Term: &term}
	}
	for _, tc := range []struct {
		name    string
		do      func(c *cluster, k *electionCheck)
		rounds  int
		failed  int
		outside string
		breaks  bool
	}{
		{"one round", func(_ *cluster, k *electionCheck) { k.stepped(vote(1, 2)) }, 1, 0, "", false},
		{"asked twice", func(_ *cluster, k *electionCheck) { k.stepped(vote(1, 2)); k.stepped(vote(1, 2)) }, 1, 0, "", false},
		{"two rounds", func(_ *cluster, k *electionCheck) { k.stepped(vote(1, 2)); k.stepped(vote(2, 2)) }, 2, 0, "", true},
		{"of an old term", func(_ *cluster, k *electionCheck) { k.stepped(vote(1, 2)); k.stepped(vote(2, 1)) }, 1, 0, "", false},
		{"a nominee crashed", func(c *cluster, k *electionCheck) {
			k.event(&election.Event{Kind: election.EventEndorsed, Member: 3, Term: 1})
			k.stepped(vote(3, 2))
			c.members[2].dead = true
			k.stepped(vote(1, 3))
		}, 2, 1, "", false},
		{"a candidate is back", func(c *cluster, k *electionCheck) {
			k.emitted(c.members[1].node, vote(2, 2))
			c.members[1].died = c.net.Now()
			k.stepped(vote(2, 2))
			k.stepped(vote(1, 3))
		}, 2, 1, "", false},
		{"a fault is on", func(_ *cluster, k *electionCheck) {
			k.begins("split")
			k.stepped(vote(1, 2))
			k.stepped(vote(2, 2))
		}, 2, 0, "split", false},
		{"two faults are on", func(_ *cluster, k *electionCheck) {
			k.begins("split")
			k.begins("loss")
			k.stepped(vote(1, 2))
		}, 1, 0, "several faults", false},
		{"a fault was on", func(_ *cluster, k *electionCheck) {
			k.begins("split")
			k.ends("split")
			k.stepped(vote(1, 2))
		}, 1, 0, "split", false},
		{"a crash is no such fault", func(_ *cluster, k *electionCheck) {
			k.begins("crash")
			k.stepped(vote(1, 2))
		}, 1, 0, "", false},
		{"no majority", func(c *cluster, k *electionCheck) {
			c.members[1].dead, c.members[2].dead = true, true
			k.alive()
			k.stepped(vote(1, 2))
		}, 1, 0, "no majority alive", false},
		{"a slow frame", func(c *cluster, k *electionCheck) {
			k.stepped(vote(1, 2))
			k.unmet("slow frame", c.net.Now())
		}, 1, 0, "slow frame", false},
		{"positions unknown", func(_ *cluster, k *electionCheck) {
			k.event(&election.Event{Kind: election.EventStarted})
			k.event(&election.Event{Kind: election.EventAbstained, Reason: "majority unknown"})
			k.stepped(vote(1, 2))
		}, 1, 0, "positions unknown", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, a, _ := bench(t)
			c.cfg.Elections = election.On
			c.net.Advance(500 * time.Millisecond) // no raft has lost its patience
			k := &c.checks.polls
			tc.do(c, k)
			a.term = 5
			k.elected(a)
			if p := k.last; p.rounds != tc.rounds || p.failed != tc.failed || p.outside != tc.outside || c.report.Failed() != tc.breaks {
				t.Errorf("%+v, %v", p, c.report.Failures)
			}
			k.settled(k.last)
			if in := total(c.report.Inside); in != 1-total(c.report.Outside) || (in == 1) != (tc.outside == "") {
				t.Errorf("the report says inside %v, outside %v", c.report.Inside, c.report.Outside)
			}
		})
	}
}

// TestLateRoundCounts: a vote request that arrives when its election is over.
func TestLateRoundCounts(t *testing.T) {
	c, a, _ := bench(t)
	c.cfg.Elections = election.On
	c.net.Advance(500 * time.Millisecond) // no raft has lost its patience
	k := &c.checks.polls
	for i, candidate := range []uint64{1, 2} {
		k.stepped(&raftpb.Message{Type: raftpb.MsgVote.Enum(), From: &candidate, Term: new(uint64(3))})
		if a.term = 3; i == 0 {
			k.elected(a)
		}
	}
	if k.last.rounds != 2 || !c.report.Failed() || c.report.Failures[0].Check != "E1" {
		t.Errorf("%+v, %v", k.last, c.report.Failures)
	}
}

// TestEndorsements: what E4 forbids, and what it does not.
func TestEndorsements(t *testing.T) {
	for _, tc := range []struct {
		name            string
		again           uint64        // the incarnation of the second word
		after           time.Duration // by the member's clock
		nominee         uint64
		term            uint64
		attempt         uint32
		breaks, counted bool
	}{
		{"again", 1, 0, 1, 2, 1, false, false},
		{"another", 1, time.Second, 3, 2, 1, true, false},
		{"another attempt", 1, 0, 3, 2, 2, false, true},
		{"another term", 1, 0, 3, 3, 1, false, true},
		{"at once after a restart", 2, electionWindow - 1, 3, 2, 1, true, true},
		{"later after a restart", 2, electionWindow, 3, 2, 1, false, true},
		{"nobody", 1, 0, 0, 2, 1, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, a, _ := bench(t)
			k := &c.checks.words
			k.window = electionWindow
			say := func(inc, nominee, term uint64, attempt uint32) {
				v := make([]byte, endorsedNominee+8)
				binary.LittleEndian.PutUint64(v[endorsedTerm:], term)
				binary.LittleEndian.PutUint32(v[endorsedAttempt:], attempt)
				binary.LittleEndian.PutUint64(v[endorsedNominee:], nominee)
				a.inc = inc
				k.published(a, &fabric.Row{Sections: fabric.AppendSection(nil, fabric.Section{ID: fabric.SectionArbiter, Value: v})})
			}
			say(1, 1, 2, 1)
			c.net.Advance(tc.after)
			say(tc.again, tc.nominee, tc.term, tc.attempt)
			if c.report.Failed() != tc.breaks || tc.counted != (c.report.Endorsements == 2) {
				t.Errorf("%v, %d counted", c.report.Failures, c.report.Endorsements)
			}
		})
	}
}

// TestHolds: a message is held from when Receive took it until Step or Drop, by
// the member's own clock, while it runs.
func TestHolds(t *testing.T) {
	c, a, _ := bench(t)
	c.checks.holds.limit = electionHold
	a.arb = taker{}
	h := host{a}
	hold := func() *raftpb.Message {
		m := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1))}
		a.hand(m)
		return m
	}
	stepped, dropped := hold(), hold()
	c.net.Advance(electionHold)
	h.Step(stepped)
	h.Drop(dropped)
	if c.checks.look(); c.report.Failed() || len(a.kept) != 0 || c.report.Held != 2 {
		t.Fatalf("%v, %d kept, %d held", c.report.Failures, len(a.kept), c.report.Held)
	}
	a.m.setSkew(0.25)
	quick := hold()
	c.net.Advance(electionHold)
	if h.Step(quick); len(c.report.Failures) != 1 || c.report.Failures[0].Check != "E3" {
		t.Errorf("a clock that is fast: %v", c.report.Failures)
	}
	a.m.setSkew(0)
	hold()
	a.m.paused++
	c.net.Advance(time.Second)
	c.checks.holds.look(c)
	a.m.paused--
	a.m.runs()
	if c.checks.holds.look(c); len(c.report.Failures) != 1 {
		t.Errorf("a member that did not run: %v", c.report.Failures)
	}
	c.net.Advance(electionHold + time.Millisecond)
	if c.checks.holds.look(c); len(c.report.Failures) != 2 || !strings.Contains(c.report.Failures[1].What, "so far") {
		t.Errorf("what nobody thinks of: %v", c.report.Failures)
	}
}

// TestHoldsAreOfTheirTime: what counts is the Hold in force when the message came.
func TestHoldsAreOfTheirTime(t *testing.T) {
	c, a, _ := bench(t)
	c.checks.holds.limit = electionHold
	a.arb = taker{}
	h := host{a}
	hold := func() *raftpb.Message {
		m := &raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: new(uint64(2)), To: new(uint64(1)), Term: new(uint64(1))}
		a.hand(m)
		return m
	}
	h.Event(election.Event{Kind: election.EventPace, Took: 4 * electionPatience})
	slow := hold()
	h.Event(election.Event{Kind: election.EventPace, Took: electionPatience})
	c.net.Advance(2 * electionHold)
	quick := hold()
	c.net.Advance(2 * electionHold)
	if h.Step(slow); c.report.Failed() {
		t.Errorf("held as long as it might be: %v", c.report.Failures)
	}
	if h.Step(quick); !c.report.Failed() {
		t.Error("held longer than Hold was by then, and nobody says so")
	}
}

// taker takes every message.
type taker struct{ idle }

func (taker) Receive(*raftpb.Message) bool { return false }

// TestE2Follows: what breaks raft breaks E2 while arbiters act.
func TestE2Follows(t *testing.T) {
	for _, mode := range []election.Mode{election.Off, election.Observe, election.On} {
		for _, check := range []string{checkLeader, checkLinear, "F1"} {
			t.Run(fmt.Sprint(mode, " ", check), func(t *testing.T) {
				c, _, _ := bench(t)
				c.cfg.Elections = mode
				c.fail(check, "wrong")
				want := 1
				if mode == election.On && check != "F1" {
					want = 2
				}
				if len(c.report.Failures) != want || want == 2 && c.report.Failures[1].Check != "E2" {
					t.Errorf("%v", c.report.Failures)
				}
			})
		}
	}
}

// TestClock: a member's own clock follows its pace and never jumps.
func TestClock(t *testing.T) {
	c, a, _ := bench(t)
	was := a.m.clock()
	if a.m.setSkew(0.5); a.m.clock() != was {
		t.Errorf("it jumps by %v", a.m.clock()-was)
	}
	c.net.Advance(time.Second)
	if d := a.m.clock() - was; d != 1500*time.Millisecond {
		t.Errorf("a second takes %v", d)
	}
	if a.m.setSkew(-0.9); a.m.clock() != was+1500*time.Millisecond {
		t.Error("it jumps")
	}
	c.net.Advance(time.Second)
	if d := a.m.clock() - was; d != 1750*time.Millisecond {
		t.Errorf("the slowest pace is a quarter: %v", d)
	}
}

// waker counts calls of Wake.
type waker struct {
	idle
	at *[]time.Duration
	h  Host
}

func (w waker) Wake() { *w.at = append(*w.at, w.h.Now()) }

// TestWakeAt: by the member's own clock, the newest request, once.
func TestWakeAt(t *testing.T) {
	c, a, _ := bench(t)
	var at []time.Duration
	h := host{a}
	a.arb = waker{h: h, at: &at}
	base := h.Now()
	h.WakeAt(base + time.Second)
	h.WakeAt(base + 200*time.Millisecond)
	h.WakeAt(base + 300*time.Millisecond)
	a.m.setSkew(1)
	c.net.Advance(149 * time.Millisecond)
	if len(at) != 0 {
		t.Errorf("woken at %v", at)
	}
	c.net.Advance(2 * time.Second)
	if len(at) != 1 || at[0] < base+300*time.Millisecond || at[0] > base+300*time.Millisecond+10 {
		t.Errorf("woken at %v, want once at %v", at, base+300*time.Millisecond)
	}
}

// TestElectorLoses: a campaign that the arbiter discards while it holds it is no
// longer held, and one that it discards at once never was.
func TestElectorLoses(t *testing.T) {
	c := acting(t, Config{Seed: 2, Members: 5})
	c.net.Advance(time.Second)
	n := c.members[3].node
	vote := &raftpb.Message{Type: raftpb.MsgVote.Enum(), From: new(uint64(5)), To: new(uint64(4)), Term: new(n.term + 1), Index: new(uint64(99)), LogTerm: new(n.term)}
	n.hand(vote)
	e := n.arb.(*elector)
	if len(n.kept) != 1 || len(e.held) != 1 {
		t.Fatalf("a campaign beside a leader that works: %d kept", len(n.kept))
	}
	grant := &raftpb.Message{Type: raftpb.MsgPreVoteResp.Enum(), From: new(uint64(5)), To: new(uint64(4)), Term: new(n.term + 1)}
	n.hand(grant)
	c.net.Advance(electionHold + time.Millisecond)
	c.checks.look()
	if len(n.kept) != 0 || len(e.held) != 0 || c.report.Failed() {
		t.Errorf("%d kept, %d held, %v", len(n.kept), len(e.held), c.report.Failures)
	}
	if c.mustLead(t).id != 1 {
		t.Error("it deposed the leader")
	}
}

// TestElectorLosesTheRightOne: an arbiter tells of whom and of which term what it
// discards was. Of two such messages it is the one whose time is up, though it
// came later, at a quicker pace; and if that was a wrong guess, the word that it
// is released after all mends it.
func TestElectorLosesTheRightOne(t *testing.T) {
	c := acting(t, Config{Seed: 2, Members: 5})
	c.net.Advance(time.Second)
	n := c.members[3].node
	e := n.arb.(*elector)
	keep := func(kind raftpb.MessageType, from uint64, pace int64) *raftpb.Message {
		m := &raftpb.Message{Type: kind.Enum(), From: &from, To: new(uint64(4)), Term: new(n.term), Reject: new(true)}
		n.kept = append(n.kept, keptMessage{m, n.m.clock(), pace})
		e.held = append(e.held, heldMessage{m, n.m.clock() + time.Duration(pace)*electionHold})
		return m
	}
	discard := election.Output{Events: []election.Event{{Kind: election.EventDiscarded, Member: 5, Term: n.term}}}
	left := func(want ...*raftpb.Message) {
		t.Helper()
		c.checks.look()
		is := func(h heldMessage, m *raftpb.Message) bool { return h.m == m }
		if len(n.kept) != len(want) || !slices.EqualFunc(e.held, want, is) || c.report.Failed() {
			t.Fatalf("%d kept, %d held, want %d, %v", len(n.kept), len(e.held), len(want), c.report.Failures)
		}
	}
	slow := keep(raftpb.MsgPreVote, 5, 8)
	c.net.Advance(2 * electionHold)
	keep(raftpb.MsgPreVote, 5, 1) // quick
	other, third := keep(raftpb.MsgPreVote, 3, 8), keep(raftpb.MsgPreVote, 5, 8)
	c.net.Advance(electionHold)
	e.do(discard, false)
	left(slow, other, third)
	c.net.Advance(electionHold + time.Millisecond)
	left(slow, other, third)

	grant := keep(raftpb.MsgPreVoteResp, 5, 1)
	e.do(discard, false)
	left(slow, other, third)
	e.do(election.Output{Release: []*raftpb.Message{grant}}, false)
	left(other, third)
	if len(e.guessed) != 1 || e.guessed[0].m != slow {
		t.Errorf("%d guesses are open, want that of the slow one", len(e.guessed))
	}
}

// TestComplaint: what an arbiter refuses makes the run fail.
func TestComplaint(t *testing.T) {
	c, a, _ := bench(t)
	host{a}.Complain(errors.New("that is no row"))
	if len(c.report.Failures) != 1 || c.report.Failures[0].Check != checkElections {
		t.Errorf("%v", c.report.Failures)
	}
}
