package raftdv

import (
	"context"
	"fmt"
	"io"
	"log"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/needs"
	"github.com/raftdv/dv/raftdv/election"
)

// The timers of raft in these tests: elections of raft's own come late, so that
// one that was arbitrated is told from them by its term and by who won.
const (
	testTick      = 20 * time.Millisecond
	testElection  = 50 // ticks
	testHeartbeat = 5
)

// raftNode is a raft.Node on a transport, with its log in memory.
type raftNode struct {
	*node
	raft    raft.Node
	storage *raft.MemoryStorage
	applied atomic.Uint64
	mu      sync.Mutex // guards members
	members election.Members
	done    chan struct{}
	end     context.CancelFunc
}

// startRafts starts members 1 to n, all voters, that know each other.
func startRafts(t *testing.T, n int, mode election.Mode, stock ...int) []*raftNode {
	t.Helper()
	return startRaftsWith(t, n, mode, nil, stock...)
}

// startRaftsWith is startRafts with other settings of the i-th member.
func startRaftsWith(t *testing.T, n int, mode election.Mode, tweak func(i int, c *Config), stock ...int) []*raftNode {
	t.Helper()
	var rafts []*raftNode
	var peers []raft.Peer
	var voters []fabric.MemberID
	for i := range n {
		peers = append(peers, raft.Peer{ID: uint64(i + 1)})
		voters = append(voters, fabric.MemberID(i+1))
	}
	for i := range n {
		r := &raftNode{storage: raft.NewMemoryStorage(), done: make(chan struct{}), members: election.Members{Voters: voters, Epoch: 1}}
		o := nodeOptions{config: Config{
			Elections: mode, Members: r.membership, ElectionTimeout: testTick * testElection, PreVote: true, CheckQuorum: true,
			StockRetry: 50 * time.Millisecond, ViewFile: filepath.Join(t.TempDir(), "view"),
		}}
		if tweak != nil {
			tweak(i, &o.config)
		}
		for _, s := range stock {
			o.stock = o.stock || s == i+1
		}
		r.node = newNode(t, types.ID(i+1), o)
		r.raft = raft.StartNode(&raft.Config{
			ID: uint64(i + 1), ElectionTick: testElection, HeartbeatTick: testHeartbeat, Storage: r.storage, MaxSizePerMsg: 1 << 20,
			MaxInflightMsgs: 256, PreVote: true, CheckQuorum: true, Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
		}, peers)
		r.node.raft.process = func(ctx context.Context, m *raftpb.Message) error { return r.raft.Step(ctx, m) }
		r.node.start(t, o)
		rafts = append(rafts, r)
	}
	for _, r := range rafts {
		for _, o := range rafts {
			if o != r {
				r.tr.AddPeer(o.id, []string{o.url})
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		r.end = sync.OnceFunc(func() {
			cancel()
			<-r.done
			r.raft.Stop()
			r.stop()
		})
		go r.run(ctx)
		t.Cleanup(r.end)
	}
	return rafts
}

func (r *raftNode) membership() election.Members {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members
}

func (r *raftNode) run(ctx context.Context) {
	defer close(r.done)
	tick := time.NewTicker(testTick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.raft.Tick()
		case rd := <-r.raft.Ready():
			if !raft.IsEmptyHardState(rd.HardState) {
				r.storage.SetHardState(rd.HardState)
			}
			r.storage.Append(rd.Entries)
			r.tr.Send(rd.Messages)
			for _, e := range rd.CommittedEntries {
				if e.GetType() == raftpb.EntryConfChange {
					var cc raftpb.ConfChange
					if err := proto.Unmarshal(e.GetData(), &cc); err != nil {
						panic(err)
					}
					r.raft.ApplyConfChange(&cc)
				}
				r.applied.Store(e.GetIndex())
			}
			r.raft.Advance()
		case <-ctx.Done():
			return
		}
	}
}

func (r *raftNode) status() raft.Status { return r.raft.Status() }

// leaderOf waits until one member leads and all of alive know it.
func leaderOf(t *testing.T, alive []*raftNode) *raftNode {
	t.Helper()
	var leader *raftNode
	eventually(t, "a leader that all know", func() bool {
		leader = nil
		for _, r := range alive {
			if r.status().RaftState == raft.StateLeader {
				leader = r
			}
		}
		for _, r := range alive {
			if leader == nil || r.status().Lead != uint64(leader.id) {
				return false
			}
		}
		return true
	})
	return leader
}

// arbitrated waits until all members would take part in an election.
func arbitrated(t *testing.T, alive []*raftNode) {
	t.Helper()
	for _, r := range alive {
		if r.dv == nil {
			continue
		}
		var s State
		t.Cleanup(func() {
			if t.Failed() {
				t.Logf("member %s: %+v, peers %+v", r.id, s.Elections, s.Peers)
			}
		})
		eventually(t, fmt.Sprintf("member %s could endorse, and hears all others", r.id), func() bool {
			s = r.dv.State()
			ok := s.Elections.Mode == "on" && (s.Elections.Abstains == "" || s.Elections.Abstains == "leads") && s.Elections.Leads
			for _, p := range s.Peers {
				ok = ok && !p.Suspected && p.ElectionMode == "on"
			}
			return ok
		})
	}
}

func others(rafts []*raftNode, not *raftNode) (rest []*raftNode) {
	for _, r := range rafts {
		if r != not {
			rest = append(rest, r)
		}
	}
	return rest
}

// inTime is how late the members of a test may be run that are to elect somebody
// within the time that is given them: a third of the shortest suspect-after.
const inTime = 20 * time.Millisecond

// A leader whose process ends is succeeded by the member that was nominated, in
// one round, and before raft's own timers would have it so.
func TestLeaderEnds(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			needs.Pace(t, inTime, func() []string { return leaderEnds(t, n, election.On) })
		})
	}
}

// The control: without an arbiter nobody is nominated.
func TestLeaderEndsUnarbitrated(t *testing.T) {
	wrong := leaderEnds(t, 3, election.Off)
	if !slices.ContainsFunc(wrong, func(w string) bool { return strings.Contains(w, "0 nominations of the leader") }) {
		t.Errorf("without arbiters: %q", wrong)
	}
}

// leaderEnds kills a leader, and says what is wrong with its succession.
func leaderEnds(t *testing.T, n int, mode election.Mode) (wrong []string) {
	expect := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	rafts := startRafts(t, n, mode)
	defer func() {
		for _, r := range rafts {
			r.end()
		}
	}()
	old := leaderOf(t, rafts)
	if mode == election.On {
		arbitrated(t, rafts)
	}
	term := old.status().GetTerm()
	before := LastEvent()
	old.kill()
	leader := leaderOf(t, others(rafts, old))
	got := leader.status().GetTerm()
	expect(got == term+1, "term %d after %d: not one round", got, term)
	last := leader.dv.State().Elections.Last
	expect(last != nil && last.Rounds == 1 && last.Nominee == leader.id.String() && last.Lost == old.id.String() && last.Reason == "closed", "the leader remembers %+v", last)
	told := eventKinds(before)
	for _, want := range []string{"suspected", "started", "endorsed", "nominated", "elected"} {
		expect(told[want], "no event %q was told: %v", want, told)
	}
	nominations, rounds := countOf(t, leader, "events_total", "nominated"), countOf(t, leader, "rounds", "")
	expect(nominations == 1, "%v nominations of the leader are counted", nominations)
	expect(rounds == 1, "%v elections are counted", rounds)
	return wrong
}

// kill ends a member as a signal does: its connections are closed, nothing is
// said.
func (r *raftNode) kill() { r.end() }

func eventKinds(after uint64) map[string]bool {
	kinds := map[string]bool{}
	events, _, _ := EventsAfter(after)
	for _, e := range events {
		if e.Election != nil {
			kinds[e.Election.Kind] = true
		}
	}
	return kinds
}

// countOf adds up series of the member's election metrics: counters, or how
// often a histogram observed.
func countOf(t *testing.T, r *raftNode, name, event string) (sum float64) {
	t.Helper()
	families, err := prometheus.DefaultGatherer.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "raftdv_election_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if labels["local"] == r.id.String() && labels["event"] == event {
				sum += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

// A member that says nothing any more is suspected by silence.
func TestLeaderIsSilent(t *testing.T) {
	rafts := startRafts(t, 3, election.On)
	old := leaderOf(t, rafts)
	arbitrated(t, rafts)
	term := old.status().GetTerm()
	old.dv.Pause()
	for _, r := range others(rafts, old) {
		r.dv.CutPeer(old.id)
	}
	rest := others(rafts, old)
	leader := leaderOf(t, rest)
	if last := leader.dv.State().Elections.Last; last == nil || last.Reason != "silence" || last.Rounds != 1 || leader.status().GetTerm() != term+1 {
		t.Errorf("term %d after %d, %+v", leader.status().GetTerm(), term, last)
	}
	// It comes back, and is heard again.
	old.dv.Resume()
	for _, r := range rest {
		r.dv.MendPeer(old.id)
	}
	if got := leaderOf(t, rafts); got != leader {
		t.Errorf("%s leads after the old leader came back, not %s", got.id, leader.id)
	}
	arbitrated(t, rafts)
}

// A paused leader's rows must not show it to be alive: only it is paused here,
// the others listen.
func TestPauseWithholdsRows(t *testing.T) {
	rafts := startRafts(t, 3, election.On)
	old := leaderOf(t, rafts)
	arbitrated(t, rafts)
	old.dv.Pause()
	leaderOf(t, others(rafts, old))
	old.dv.Resume()
	leaderOf(t, rafts)
}

// With a stock voter elections are raft's own, and are arbitrated once it is
// gone from the configuration.
func TestStockVoter(t *testing.T) {
	rafts := startRafts(t, 3, election.On, 3)
	leaderOf(t, rafts)
	for _, r := range rafts[:2] {
		eventually(t, "member "+r.id.String()+" names the stock voter", func() bool {
			e := r.dv.State().Elections
			return e.Mode == "off" && e.Wanted == "on" && strings.Contains(e.Why, "voter 3 speaks rafthttp only")
		})
	}
	for _, r := range rafts[:2] {
		r.mu.Lock()
		r.members = election.Members{Voters: []fabric.MemberID{1, 2}, Learners: []fabric.MemberID{3}}
		r.mu.Unlock()
	}
	for _, r := range rafts[:2] {
		eventually(t, "member "+r.id.String()+" arbitrates", func() bool {
			e := r.dv.State().Elections
			return e.Mode == "on" && e.Why == ""
		})
	}
}

// The mode can be switched while elections go on.
func TestSetElections(t *testing.T) {
	rafts := startRafts(t, 3, election.Observe)
	old := leaderOf(t, rafts)
	if err := old.dv.SetElections(election.Mode(9)); err == nil {
		t.Error("mode 9 is taken")
	}
	for _, r := range rafts {
		if got := r.dv.State().Elections; got.Mode != "observe" || got.Wanted != "observe" {
			t.Errorf("starts with %+v", got)
		}
		if err := r.dv.SetElections(election.On); err != nil {
			t.Error(err)
		}
	}
	arbitrated(t, rafts)
	for _, r := range rafts {
		if err := r.dv.SetElections(election.Off); err != nil {
			t.Error(err)
		}
		if got := r.dv.State().Elections; got.Mode != "off" || got.Why != "" {
			t.Errorf("switched off: %+v", got)
		}
	}
	term := old.status().GetTerm()
	before := LastEvent()
	old.kill()
	leaderOf(t, others(rafts, old))
	if kinds := eventKinds(before); len(kinds) > 0 {
		t.Errorf("switched off it still tells %v (term %d)", kinds, term)
	}
}

// In observe mode everything is decided and nothing is done.
func TestObserveTouchesNothing(t *testing.T) {
	rafts := startRafts(t, 3, election.Observe)
	old := leaderOf(t, rafts)
	eventually(t, "all could endorse", func() bool {
		for _, r := range rafts {
			if why := r.dv.State().Elections.Abstains; why != "" && why != "leads" {
				return false
			}
		}
		return true
	})
	before := LastEvent()
	old.kill()
	leaderOf(t, others(rafts, old))
	kinds := eventKinds(before)
	if !kinds["suspected"] || !kinds["started"] {
		t.Errorf("it tells %v only", kinds)
	}
	for _, r := range others(rafts, old) {
		r.node.raft.mu.Lock()
		for _, m := range r.node.raft.got {
			if m.GetType() == raftpb.MsgTimeoutNow {
				t.Errorf("member %s was told to campaign", r.id)
			}
		}
		r.node.raft.mu.Unlock()
	}
}

func TestElectionsNeedMembers(t *testing.T) {
	if err := (Config{Elections: election.On}).Validate(); err == nil || !strings.Contains(err.Error(), "Config.Members") {
		t.Errorf("got %v", err)
	}
	if err := (Config{Elections: 7, Members: func() (m election.Members) { return m }}).Validate(); err == nil || !strings.Contains(err.Error(), "off, observe or on") {
		t.Errorf("got %v", err)
	}
	nodes := startNodes(t, nodeOptions{})
	if nodes[0].dv.State().Elections != nil {
		t.Error("a transport that nobody tells the members has a state of elections")
	}
	if err := nodes[0].dv.SetElections(election.On); err == nil {
		t.Error("it can be switched on")
	}
	if err := nodes[0].dv.SetElections(election.Off); err != nil {
		t.Error(err)
	}
}

// raft's own timers must leave time for an election that is arbitrated.
func TestShortElectionTimeout(t *testing.T) {
	nodes := startNodes(t, nodeOptions{config: Config{
		Elections: election.On, ElectionTimeout: 100 * time.Millisecond,
		Members: func() election.Members { return election.Members{Voters: []fabric.MemberID{1}} },
	}})
	e := nodes[0].dv.State().Elections
	if e.Mode != "off" || !strings.Contains(e.Why, "100ms is below 300ms") {
		t.Errorf("%+v", e)
	}
}

// Who is told of news, and on which road: all that a fabric reaches and that
// know elections; after a change of path on the stream as well.
func TestRowToAll(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	tr := nodes[0].dv
	second, third := tr.peer(2), tr.peer(3)
	udp, str := int(second.path.Load()), tr.stream().index
	prompts := func() (on map[int][]fabric.MemberID) {
		tr.rows.mu.Lock()
		for i := range tr.rows.prompt {
			tr.rows.prompt[i] = nil
		}
		tr.rows.mu.Unlock()
		tr.rows.toAll(tr)
		tr.rows.mu.Lock()
		defer tr.rows.mu.Unlock()
		on = map[int][]fabric.MemberID{}
		for i, ids := range tr.rows.prompt {
			on[i] = slices.Clone(ids)
			slices.Sort(on[i])
			tr.rows.prompt[i] = nil
		}
		return on
	}
	long := time.Now().Add(-2 * settleTime)
	second.moved.set(time.Now().Add(time.Hour))
	third.moved.set(long)
	if got := prompts(); !slices.Equal(got[udp], []fabric.MemberID{2, 3}) || !slices.Equal(got[str], []fabric.MemberID{2}) {
		t.Errorf("after a change of the path to 2: %v", got)
	}
	second.moved.set(long)
	second.speaks.Store(uint64(FeatureRowAcks))
	if got := prompts(); !slices.Equal(got[udp], []fabric.MemberID{3}) || len(got[str]) != 0 {
		t.Errorf("2 knows no elections: %v", got)
	}
	tr.CutPeer(3)
	if got := prompts(); len(got[udp])+len(got[str]) != 0 {
		t.Errorf("3 is cut off: %v", got)
	}
}

// A voter that only rafthttp reaches for a while is as good as stock; one that has
// just lost its fabrics may have died.
func TestOverRafthttp(t *testing.T) {
	nodes := startNodes(t, nodeOptions{config: Config{StockRetry: time.Hour}}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	p := nodes[0].dv.peer(2)
	eventually(t, "rafthttp reaches it as well", func() bool { return !nodes[0].dv.inner.ActiveSince(2).IsZero() })
	if p.overRafthttp() {
		t.Error("a peer on a fabric")
	}
	p.offFabric.set(time.Now())
	if p.overRafthttp() {
		t.Error("a peer that has just lost its fabric")
	}
	p.offFabric.set(time.Now().Add(-2 * time.Hour))
	if !p.overRafthttp() {
		t.Error("a peer without a fabric for two hours, which rafthttp reaches, is not counted as stock")
	}
	m := election.Members{Voters: []fabric.MemberID{1, 2}}
	if why := nodes[0].dv.elections.stock(&m); !strings.Contains(why, "voter 2 is reached over rafthttp only") {
		t.Errorf("got %q", why)
	}
	m.Voters = []fabric.MemberID{1, 9}
	if why := nodes[0].dv.elections.stock(&m); !strings.Contains(why, "voter 9 is no peer") {
		t.Errorf("got %q", why)
	}
}

// A reason holds for as long as what it names, however often it is asked for.
func TestReasonsStay(t *testing.T) {
	var many []fabric.MemberID
	for i := range election.MaxMembers + 1 {
		many = append(many, fabric.MemberID(i+1))
	}
	for want, voters := range map[string][]fabric.MemberID{"too many members": many, "nobody is known to vote": nil} {
		t.Run(want, func(t *testing.T) {
			var now atomic.Pointer[election.Members]
			now.Store(&election.Members{Voters: []fabric.MemberID{1}})
			nodes := startNodes(t, nodeOptions{config: Config{
				Elections: election.On, Members: func() election.Members { return *now.Load() },
			}})
			for _, id := range voters[min(1, len(voters)):] {
				nodes[0].tr.AddPeer(types.ID(id), []string{"http://127.0.0.1:1"})
			}
			now.Store(&election.Members{Voters: voters})
			for range 3 {
				nodes[0].dv.elections.refresh()
				if got := nodes[0].dv.State().Elections; got.Mode != "off" || !strings.Contains(got.Why, want) {
					t.Errorf("got %+v", got)
				}
			}
		})
	}
}
