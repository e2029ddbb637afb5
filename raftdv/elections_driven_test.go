package raftdv

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// noticed is how long a test looks for what must not happen.
const noticed = time.Second

func votersOf(ids ...fabric.MemberID) func() election.Members {
	return func() election.Members { return election.Members{Voters: ids} }
}

// lonely starts member 1, whose peers 2 and 3 are played by the test.
func lonely(t *testing.T, mode election.Mode) *node { return lonelyAt(t, mode, false) }

func lonelyAt(t *testing.T, mode election.Mode, young bool) *node {
	nodes := startNodes(t, nodeOptions{young: young, config: Config{Elections: mode, Members: votersOf(1, 2, 3), PreVote: true, CheckQuorum: true,
		Position: func() (term, lastTerm, lastIndex uint64) { return 5, 5, 10 },
	}})
	for id := types.ID(2); id <= 3; id++ {
		nodes[0].tr.AddPeer(id, []string{"http://127.0.0.1:1"})
	}
	return nodes[0]
}

// actor is the arbiter of a member that the test plays.
type actor struct {
	*election.Arbiter
	id      fabric.MemberID
	version uint64
}

func newActor(t *testing.T, id fabric.MemberID) *actor {
	a, err := election.New(election.Config{Self: id, PreVote: true, CheckQuorum: true, IdleAfter: 1}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.SetMembers(0, votersOf(1, 2, 3)()); err != nil {
		t.Fatal(err)
	}
	a.SetMode(0, election.On)
	a.Position(0, 5, 5, 10)
	return &actor{a, id, 0}
}

func (a *actor) row() *fabric.Row {
	a.version++
	return &fabric.Row{Owner: a.id, Incarnation: 1, Version: a.version, Sections: a.AppendSection(nil)}
}

// lead has 2 lead term 5, with nothing to do, and 1 and 3 hear of it.
func lead(t *testing.T, e *elections) (second, third *actor) {
	second, third = newActor(t, 2), newActor(t, 3)
	second.Sent(1, []*raftpb.Message{beatMsg(2, 1, 5)})
	second.Advance(2 * time.Second)
	third.Receive(2*time.Second, beatMsg(2, 3, 5))
	e.receive(beatMsg(2, 1, 5))
	for _, a := range []*actor{second, third} {
		if err := e.row(a.row()); err != nil {
			t.Fatal(err)
		}
	}
	return second, third
}

// deadline is how far away the arbiter's is.
func (e *elections) deadline() (at, in time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	at = e.arbiter.Deadline()
	return at, at - time.Since(e.t.started)
}

// asleep waits until the loop waits for something that is far away.
func asleep(t *testing.T, e *elections) {
	t.Helper()
	eventually(t, "the loop sleeps", func() bool {
		_, in := e.deadline()
		return in > 600*time.Millisecond
	})
}

// The loop keeps a deadline that an input moved to an earlier time.
func TestDeadlineMovesForward(t *testing.T) {
	n := lonely(t, election.Off)
	e := &n.dv.elections
	lead(t, e)
	asleep(t, e)
	before := LastEvent()
	if err := n.dv.SetElections(election.On); err != nil {
		t.Fatal(err)
	}
	next, _ := e.deadline()
	eventually(t, "the loop looks again", func() bool {
		at, _ := e.deadline()
		return at != next
	})
	events, _, _ := EventsAfter(before)
	for _, v := range events {
		if v.Election != nil && v.Election.Kind == "late" && v.Election.Took > 300 {
			t.Errorf("nobody slept, and the loop was late by %.0f ms", v.Election.Took)
		}
	}
	e.mu.Lock()
	late := e.record.counts[eventCount{election.EventLate, ""}]
	e.mu.Unlock()
	t.Logf("late %d times", late)
}

// Switched on in a cluster at rest, arbiters suspect nobody.
func TestSwitchedOnAtRest(t *testing.T) {
	rafts := startRafts(t, 3, election.Off)
	leaderOf(t, rafts)
	for range 3 {
		for _, r := range rafts {
			eventually(t, "loops sleep", func() bool {
				_, in := r.dv.elections.deadline()
				return in > 100*time.Millisecond
			})
		}
		before := LastEvent()
		for _, r := range rafts {
			if err := r.dv.SetElections(election.On); err != nil {
				t.Fatal(err)
			}
		}
		within(noticed/2, func() bool { return eventKinds(before)["suspected"] })
		events, _, _ := EventsAfter(before)
		late := 0
		for _, e := range events {
			switch {
			case e.Election == nil:
			case e.Election.Kind == "late":
				late++
			case e.Election.Kind == "suspected", e.Election.Kind == "false-suspicion":
				t.Errorf("member %s: %s", e.Member, e.String())
			}
		}
		if late > 2*len(rafts) { // some are the machine's
			t.Errorf("loops were late %d times", late)
		}
		for _, r := range rafts {
			if err := r.dv.SetElections(election.Off); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// E3: no message is held longer than Hold, whatever the loop waited for before.
func TestHeldUntilHold(t *testing.T) {
	n := lonely(t, election.Off)
	e := &n.dv.elections
	second, third := lead(t, e)
	asleep(t, e)
	for _, a := range []*actor{second, third} {
		if err := e.row(a.row()); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.dv.SetElections(election.On); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ask := &raftpb.Message{Type: raftpb.MsgPreVote.Enum(), From: new(uint64(3)), To: new(uint64(1)), Term: new(uint64(6)), LogTerm: new(uint64(5)), Index: new(uint64(10))}
	if e.receive(ask) {
		t.Fatal("not held")
	}
	eventually(t, "it is let go", func() bool { return n.dv.State().Elections.Held == 0 })
	if took := time.Since(began); took > 4*holdLimit {
		t.Errorf("held for %v", took)
	}
}

// A server whose membership is locked for a while still lives: its leader's row
// beats on.
func TestMembersMayBlock(t *testing.T) {
	rafts := startRafts(t, 3, election.On)
	leader := leaderOf(t, rafts)
	arbitrated(t, rafts)
	before := LastEvent()
	// For longer than a second: after a start followers still beat often, which has
	// the leader beat as well.
	leader.mu.Lock() // as etcd's cluster is while a change of it is written
	leader.dv.elections.kick()
	moved := within(4*noticed, func() bool { return eventKinds(before)["suspected"] })
	leader.mu.Unlock()
	if moved {
		t.Error("a leader that asks for its members is suspected")
	}
}

// within reports whether ok becomes true.
func within(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// A raft that takes nothing for a while is no word on the peers whose messages
// wait for it.
func TestBlockedRaftSuspectsNobody(t *testing.T) {
	rafts := startRafts(t, 3, election.On)
	leader := leaderOf(t, rafts)
	arbitrated(t, rafts)
	gate := make(chan struct{})
	for _, r := range others(rafts, leader) {
		r.node.raft.mu.Lock()
		r.node.raft.process = func(ctx context.Context, m *raftpb.Message) error {
			select {
			case <-gate:
			case <-ctx.Done():
			}
			return r.raft.Step(ctx, m)
		}
		r.node.raft.mu.Unlock()
	}
	before := LastEvent()
	if within(noticed/2, func() bool { return eventKinds(before)["suspected"] }) {
		t.Error("the leader, whose rows and beats wait in the sockets, is suspected")
	}
	close(gate)
}

// Metrics may be gathered while a transport starts.
func TestGatherWhileStarting(t *testing.T) {
	var wg sync.WaitGroup
	var over atomic.Bool
	wg.Go(func() {
		for !over.Load() {
			if _, err := prometheus.DefaultGatherer.Gather(); err != nil {
				t.Error(err)
			}
		}
	})
	for range 30 {
		n := newNode(t, 1, nodeOptions{})
		n.start(t, nodeOptions{config: Config{Members: votersOf(1)}})
		n.stop()
	}
	over.Store(true)
	wg.Wait()
}

// What was held goes to raft before what came later from the same member.
func TestReleasedBeforeLater(t *testing.T) {
	n := lonely(t, election.On)
	e := &n.dv.elections
	_, third := lead(t, e)
	eventually(t, "it holds what the leader sends", func() bool {
		e.gone(2) // what passed was a sign of life
		now := 3*time.Second + time.Since(n.dv.started)
		third.version++
		third.Row(now, &fabric.Row{Owner: 1, Incarnation: 1, Version: third.version, Sections: e.appendSection(nil)})
		third.Down(now, 2)
		third.Advance(now)
		if err := e.row(third.row()); err != nil {
			t.Fatal(err)
		}
		s := n.dv.State().Elections
		return s.Electing && !e.receive(appendMsg(2, 1, 11, "first"))
	})
	entered, gate := make(chan struct{}), make(chan struct{})
	var once sync.Once
	n.raft.mu.Lock()
	n.raft.process = func(_ context.Context, m *raftpb.Message) error {
		if m.GetType() == raftpb.MsgApp && m.GetIndex() == 10 {
			once.Do(func() { close(entered) })
			<-gate
		}
		return nil
	}
	n.raft.mu.Unlock()
	if err := n.dv.SetElections(election.Off); err != nil {
		t.Fatal(err)
	}
	<-entered
	passed := make(chan struct{})
	go func() {
		defer close(passed)
		n.dv.toRaft(t.Context(), appendMsg(2, 1, 12, "second"))
	}()
	overtakes := within(noticed/4, func() bool {
		n.raft.mu.Lock()
		defer n.raft.mu.Unlock()
		return n.raft.has(func(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgApp && m.GetIndex() == 11 })
	})
	close(gate)
	<-passed
	if overtakes {
		t.Error("raft got the second append while the first one still waited")
	}
}

// After elections are switched off nobody is told to campaign.
func TestNoCampaignAfterOff(t *testing.T) {
	n := lonely(t, election.On)
	e := &n.dv.elections
	entered, gate := make(chan struct{}), make(chan struct{})
	n.raft.mu.Lock()
	n.raft.process = func(_ context.Context, m *raftpb.Message) error {
		if m.GetType() == raftpb.MsgHeartbeat {
			close(entered)
			<-gate
		}
		return nil
	}
	n.raft.mu.Unlock()
	now := time.Since(n.dv.started)
	e.hands.add([]*raftpb.Message{beatMsg(2, 1, 5)}, nil, now) // one that was held; raft is busy
	<-entered
	e.hands.add(nil, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(uint64(1)), To: new(uint64(1)), Term: new(uint64(5))}, now)
	if err := n.dv.SetElections(election.Off); err != nil {
		t.Fatal(err)
	}
	close(gate)
	if within(noticed/4, func() bool {
		n.raft.mu.Lock()
		defer n.raft.mu.Unlock()
		return n.raft.has(func(m *raftpb.Message) bool { return m.GetType() == raftpb.MsgTimeoutNow })
	}) {
		t.Error("told to campaign")
	}
}

// stuckCore is a log that takes its time over one line.
type stuckCore struct {
	zapcore.Core
	line     string
	entered  chan struct{}
	gate     chan struct{}
	happened atomic.Bool
}

func (c *stuckCore) Enabled(zapcore.Level) bool        { return true }
func (c *stuckCore) With([]zapcore.Field) zapcore.Core { return c }
func (c *stuckCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	return ce.AddCore(e, c)
}
func (c *stuckCore) Write(e zapcore.Entry, _ []zapcore.Field) error {
	if e.Message == c.line && !c.happened.Swap(true) {
		close(c.entered)
		<-c.gate
	}
	return nil
}

// "Send never blocks": nor does it for a log that is slow to say why elections
// are raft's own.
func TestSlowLogHoldsUpNobody(t *testing.T) {
	core := &stuckCore{Core: zapcore.NewNopCore(), line: "elections are raft's own", entered: make(chan struct{}), gate: make(chan struct{})}
	var members atomic.Pointer[election.Members]
	members.Store(&election.Members{Voters: []fabric.MemberID{1}})
	tr := &Transport{
		Logger: zap.New(core), ID: 1, ClusterID: testCluster, Raft: newRecorder(), URLs: types.MustNewURLs([]string{"http://127.0.0.1:1"}),
		Config: Config{Elections: election.On, Fabrics: []string{FabricStream}, Members: func() election.Members { return *members.Load() }},
	}
	if err := tr.Start(); err != nil {
		t.Fatal(err)
	}
	defer tr.Stop()
	members.Store(&election.Members{})
	tr.elections.kick()
	<-core.entered
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		tr.Send([]*raftpb.Message{beatMsg(1, 2, 5)})
	}()
	if !within(noticed/4, func() bool { return !open(sent) }) {
		t.Error("Send waits for the log")
	}
	close(core.gate)
	<-sent
}

// Of two that ask for the members at a time, the later answer stays.
func TestRefreshKeepsTheNewest(t *testing.T) {
	var asks atomic.Int32
	var slow atomic.Bool
	entered, gate := make(chan struct{}), make(chan struct{})
	nodes := startNodes(t, nodeOptions{config: Config{Elections: election.On, Members: func() election.Members {
		if slow.Load() && asks.Add(1) == 1 {
			close(entered)
			<-gate
			return election.Members{Voters: []fabric.MemberID{1}} // as it was when asked
		}
		return election.Members{Voters: []fabric.MemberID{1}, Learners: []fabric.MemberID{7}}
	}}})
	e := &nodes[0].dv.elections
	slow.Store(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.refresh()
	}()
	<-entered
	again := make(chan struct{})
	go func() {
		defer close(again)
		e.refresh()
	}()
	within(noticed/4, func() bool { return !open(again) }) // it may as well wait for the first
	close(gate)
	<-done
	<-again
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.members.Learners) != 1 {
		t.Error("an old membership replaced the new one")
	}
}

// What raft refuses says nothing to the arbiter: a member that was removed cannot
// raise its term, and so have a working leader suspected.
func TestRemovedMemberIsNotHeard(t *testing.T) {
	n := lonely(t, election.On)
	lead(t, &n.dv.elections)
	n.raft.mu.Lock()
	n.raft.removed[9] = true
	n.raft.process = func(_ context.Context, m *raftpb.Message) error {
		if m.GetFrom() == 9 {
			return errRefusedByTest // as EtcdServer.Process does
		}
		return nil
	}
	n.raft.mu.Unlock()
	before := n.dv.State().Elections
	vote := &raftpb.Message{
		Type: raftpb.MsgVote.Enum(), From: new(uint64(9)), To: new(uint64(1)), Term: new(uint64(70)),
		LogTerm: new(uint64(5)), Index: new(uint64(10)), Context: []byte("CampaignTransfer"),
	}
	e := &n.dv.elections
	e.gone(2) // else it is held back for the leader's sake
	if err := (innerRaft{n.dv}).Process(t.Context(), vote); err == nil {
		t.Fatal("raft took it, or it is held")
	}
	if after := n.dv.State().Elections; after.Term != before.Term {
		t.Errorf("the arbiter knows term %d, of a campaign of %s, after %d", after.Term, after.Claimant, before.Term)
	}
}

// The rounds of an election that nobody saw to its end are not those of the next
// one.
func TestRoundsEndWithTheMode(t *testing.T) {
	n := lonely(t, election.On)
	e := &n.dv.elections
	lead(t, e)
	note := func(v election.Event) {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.happened(&v)
	}
	note(election.Event{Kind: election.EventStarted, Member: 2, Term: 5})
	note(election.Event{Kind: election.EventRound, Member: 3, Term: 6})
	for _, m := range []election.Mode{election.Off, election.On} { // meanwhile 3 is elected, and nothing is told
		if err := n.dv.SetElections(m); err != nil {
			t.Fatal(err)
		}
	}
	note(election.Event{Kind: election.EventStarted, Member: 3, Term: 6})
	note(election.Event{Kind: election.EventRound, Member: 2, Term: 7})
	note(election.Event{Kind: election.EventElected, Member: 2, Term: 7, Took: time.Millisecond})
	if last := n.dv.State().Elections.Last; last == nil || last.Rounds != 1 {
		t.Errorf("an election of one round is remembered as %+v", last)
	}
}

// The membership is asked for as often while elections are off: that is what
// switches them on.
func TestMembersAreAskedWhileOff(t *testing.T) {
	var asked atomic.Int32
	nodes := startNodes(t, nodeOptions{config: Config{Elections: election.On, Members: func() (m election.Members) {
		asked.Add(1)
		return m
	}}})
	asleep(t, &nodes[0].dv.elections)
	before := asked.Load()
	if !within(2*membersEvery, func() bool { return asked.Load() > before }) {
		t.Errorf("not asked within %v", 2*membersEvery)
	}
}

// A member that ends beside its new self takes no histogram of that away.
func TestOldSelfLeavesHistograms(t *testing.T) {
	reg := prometheus.NewRegistry()
	old, _ := openExample(t, reg, 3)
	again, _ := openExample(t, reg, 3)
	again.election(&LastElection{Rounds: 1, Took: 10})
	old.close()
	if text := scrape(t, reg); !strings.Contains(text, `raftdv_election_rounds_count{local="3"} 1`) {
		t.Error("the new self's elections are gone")
	}
}
