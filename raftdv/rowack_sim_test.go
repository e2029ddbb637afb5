package raftdv

import (
	"errors"
	"flag"
	"fmt"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/raftdv/dv/fabric"
)

// rowSim runs real raft cores whose accepts and heartbeat answers travel by
// rows alone. Frames are dropped and reordered, rows coalesced, delayed and
// repeated, members crash and restart. It is deterministic: followers are not
// ticked (raft's own election timeout is random), the scenario decides who
// campaigns and when.
type rowSim struct {
	scheme  rowScheme
	choose  chooser
	nodes   []*simNode
	frames  []*raftpb.Message
	rows    []simRow
	decided map[uint64]string // index: term and data
	highest uint64            // decided by anybody
	leaders map[uint64]uint64 // term: id
	reads   map[string]uint64 // context: highest at the time of asking
	answers int
	asked   int
}

type simRow struct {
	row fabric.Row
	to  uint64
}

type simNode struct {
	id      uint64
	rn      *raft.RawNode
	storage *raft.MemoryStorage
	writer  ackWriter
	readers map[uint64]ackReader
	row     fabric.Row
	applied uint64
}

const simElectionTick = 10

func newRowSim(scheme rowScheme, choose chooser, members int, checkQuorum bool) *rowSim {
	s := &rowSim{scheme: scheme, choose: choose, decided: map[uint64]string{}, leaders: map[uint64]uint64{}, reads: map[string]uint64{}}
	var voters []uint64
	for i := range members {
		voters = append(voters, uint64(i+1))
	}
	for _, id := range voters {
		n := &simNode{id: id, storage: raft.NewMemoryStorage(), applied: 1, readers: map[uint64]ackReader{}}
		must(n.storage.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
			Index: new(uint64(1)), Term: new(uint64(1)), ConfState: &raftpb.ConfState{Voters: voters}}}))
		must(n.storage.SetHardState(&raftpb.HardState{Term: new(uint64(1)), Commit: new(uint64(1))}))
		s.nodes = append(s.nodes, n)
		s.start(n, checkQuorum)
	}
	return s
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// start starts a member for the first time or again.
func (s *rowSim) start(n *simNode, checkQuorum bool) {
	var err error
	n.rn, err = raft.NewRawNode(&raft.Config{ID: n.id, ElectionTick: simElectionTick, HeartbeatTick: 1, Storage: n.storage, Applied: n.applied,
		MaxSizePerMsg: 64, MaxInflightMsgs: 4, CheckQuorum: checkQuorum, Logger: quietLogger{}})
	must(err)
	n.writer = s.scheme.writer(fabric.MemberID(n.id))
	n.row = fabric.Row{Owner: fabric.MemberID(n.id), Incarnation: n.row.Incarnation + 1}
	for i := range s.nodes {
		if peer := uint64(i + 1); peer != n.id {
			n.readers[peer] = s.scheme.reader(fabric.MemberID(n.id), fabric.MemberID(peer))
		}
	}
}

func (n *simNode) reader(s *rowSim, owner uint64) ackReader {
	if n.readers[owner] == nil {
		n.readers[owner] = s.scheme.reader(fabric.MemberID(n.id), fabric.MemberID(owner))
	}
	return n.readers[owner]
}

// settleReady handles what raft has ready, and checks what it decides.
func (s *rowSim) settleReady(n *simNode) error {
	for n.rn.HasReady() {
		rd := n.rn.Ready()
		if !raft.IsEmptyHardState(rd.HardState) {
			must(n.storage.SetHardState(rd.HardState))
		}
		must(n.storage.Append(rd.Entries))
		for _, e := range rd.CommittedEntries {
			if err := s.checkDecided(n, e); err != nil {
				return err
			}
			n.applied = e.GetIndex()
		}
		for _, rs := range rd.ReadStates {
			if at := s.reads[string(rs.RequestCtx)]; rs.Index < at {
				return fmt.Errorf("%w: a read at %d sees %d, %d was decided when it was asked", errUnsafe, n.id, rs.Index, at)
			}
			s.answers++
		}
		for _, m := range rd.Messages {
			if !n.writer.Note(m) {
				s.frames = append(s.frames, m)
			}
		}
		n.rn.Advance(rd)
	}
	if st := n.rn.BasicStatus(); st.RaftState == raft.StateLeader {
		if other, ok := s.leaders[st.GetTerm()]; ok && other != n.id {
			return fmt.Errorf("%w: %d and %d lead term %d", errUnsafe, other, n.id, st.GetTerm())
		}
		s.leaders[st.GetTerm()] = n.id
	}
	return nil
}

// checkDecided holds raft's two promises about an entry: everybody decides the
// same, and what is decided is on a majority of disks.
func (s *rowSim) checkDecided(n *simNode, e *raftpb.Entry) error {
	is := fmt.Sprintf("%d:%s", e.GetTerm(), e.GetData())
	if was, ok := s.decided[e.GetIndex()]; ok {
		if was != is {
			return fmt.Errorf("%w: %d decides %q at %d, others %q", errUnsafe, n.id, is, e.GetIndex(), was)
		}
		return nil
	}
	s.decided[e.GetIndex()] = is
	s.highest = max(s.highest, e.GetIndex())
	holders := 0
	for _, other := range s.nodes {
		if term, err := other.storage.Term(e.GetIndex()); err == nil && term == e.GetTerm() {
			holders++
		}
	}
	if holders <= len(s.nodes)/2 {
		return fmt.Errorf("%w: %d decides index %d of term %d, which %d of %d members hold", errUnsafe, n.id, e.GetIndex(), e.GetTerm(), holders, len(s.nodes))
	}
	return nil
}

func (s *rowSim) publish(n *simNode) {
	n.row.Version++
	n.row.Sections = n.writer.AppendSection(nil)
	for _, to := range s.nodes {
		if to != n {
			s.rows = append(s.rows, simRow{n.row, to.id})
		}
	}
}

func (s *rowSim) deliverFrame(i int) error {
	m := s.frames[i]
	s.frames = append(s.frames[:i:i], s.frames[i+1:]...)
	n := s.nodes[m.GetTo()-1]
	_ = n.rn.Step(m) // dropped proposals and the like
	return s.settleReady(n)
}

func (s *rowSim) deliverRow(r simRow) error {
	n := s.nodes[r.to-1]
	msgs, err := n.reader(s, uint64(r.row.Owner)).Observe(nil, &r.row)
	if err != nil && r.row.Incarnation == s.nodes[r.row.Owner-1].row.Incarnation {
		return err
	}
	for _, m := range msgs {
		_ = n.rn.Step(m)
		if err := s.settleReady(n); err != nil {
			return err
		}
	}
	return nil
}

func (s *rowSim) leaderOf(n *simNode) bool { return n.rn.BasicStatus().RaftState == raft.StateLeader }

// ask starts a linearizable read.
func (s *rowSim) ask(n *simNode) {
	s.asked++
	ctx := fmt.Sprintf("read %d", s.asked)
	s.reads[ctx] = s.highest
	n.rn.ReadIndex([]byte(ctx))
}

// simInFlight bounds what the network holds; the oldest gets lost.
const simInFlight = 40

// chaos is one random step.
func (s *rowSim) chaos() error {
	s.frames = s.frames[max(0, len(s.frames)-simInFlight):]
	s.rows = s.rows[max(0, len(s.rows)-simInFlight):]
	n := s.nodes[s.choose("node", len(s.nodes))]
	switch op := s.choose("op", 100); {
	case op < 36 && len(s.frames) > 0:
		i := s.choose("frame", len(s.frames))
		if s.choose("drop", 8) == 0 {
			s.frames = append(s.frames[:i:i], s.frames[i+1:]...)
			return nil
		}
		return s.deliverFrame(i)
	case op < 66 && len(s.rows) > 0:
		i := s.choose("row", len(s.rows))
		r := s.rows[i]
		if s.choose("repeat", 4) > 0 { // otherwise it will arrive once more, late
			s.rows = append(s.rows[:i:i], s.rows[i+1:]...)
		}
		return s.deliverRow(r)
	case op < 74:
		s.publish(n)
	case op < 84:
		if s.leaderOf(n) {
			s.asked++
			_ = n.rn.Propose(fmt.Appendf(nil, "entry %d", s.asked))
		}
	case op < 92:
		if s.leaderOf(n) {
			n.rn.Tick()
		}
	case op < 95:
		s.ask(n)
	case op < 97:
		n.rn.ReportUnreachable(uint64(1 + s.choose("unreachable", len(s.nodes))))
	case op < 99:
		_ = n.rn.Campaign()
	case s.choose("restart", 2) == 0:
		s.start(n, false)
	}
	return s.settleReady(n)
}

// flush delivers everything until nothing is left; rows of one member coalesce
// to the newest.
func (s *rowSim) flush() error {
	for range 1000 {
		before := make([]fabric.Row, len(s.nodes))
		for i, n := range s.nodes {
			before[i] = n.row
			s.publish(n)
		}
		rows := s.rows
		s.rows = nil
		moved := len(s.frames) > 0
		for len(s.frames) > 0 {
			if err := s.deliverFrame(0); err != nil {
				return err
			}
		}
		for _, r := range rows {
			if err := s.deliverRow(r); err != nil {
				return err
			}
		}
		for i, n := range s.nodes {
			moved = moved || string(n.writer.AppendSection(nil)) != string(before[i].Sections)
		}
		if !moved && len(s.frames) == 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: the cluster does not come to rest", errNotLive)
}

// heal lets one leader work undisturbed for some ticks and checks that it gets
// everywhere where stock raft gets.
func (s *rowSim) heal() error {
	leader, err := s.elect()
	if err != nil {
		return err
	}
	must(leader.rn.Propose([]byte("after the storm")))
	if err := s.tick(leader, 2*simElectionTick); err != nil {
		return err
	}
	if err := s.checkCaughtUp(leader, "after the storm"); err != nil {
		return err
	}
	for _, n := range s.nodes {
		leader.rn.ReportUnreachable(n.id)
	}
	if err := s.tick(leader, simElectionTick); err != nil {
		return err
	}
	if err := s.checkCaughtUp(leader, "idle and reported unreachable"); err != nil {
		return err
	}
	answers := s.answers
	for range 3 {
		s.ask(leader)
		s.ask(s.nodes[leader.id%uint64(len(s.nodes))])
		if err := s.tick(leader, 2); err != nil {
			return err
		}
	}
	if got := s.answers - answers; got != 6 {
		return fmt.Errorf("%w: %d of 6 reads are answered", errNotLive, got)
	}
	return nil
}

func (s *rowSim) elect() (*simNode, error) {
	for i := range 5 * len(s.nodes) {
		n := s.nodes[i%len(s.nodes)]
		_ = n.rn.Campaign()
		if err := s.settleReady(n); err != nil {
			return nil, err
		}
		if err := s.tick(n, 2); err != nil {
			return nil, err
		}
		if s.leaderOf(n) && !s.behind(n) {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%w: nobody is elected", errNotLive)
}

// behind: without CheckQuorum a member of a higher term ignores its leader
// until it campaigns by itself, which nobody does here.
func (s *rowSim) behind(leader *simNode) bool {
	for _, n := range s.nodes {
		if n.rn.BasicStatus().GetTerm() > leader.rn.BasicStatus().GetTerm() {
			return true
		}
	}
	return false
}

func (s *rowSim) tick(leader *simNode, times int) error {
	for range times {
		if s.leaderOf(leader) {
			leader.rn.Tick()
		}
		if err := s.settleReady(leader); err != nil {
			return err
		}
		if err := s.flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s *rowSim) checkCaughtUp(leader *simNode, when string) error {
	last, err := leader.storage.LastIndex()
	must(err)
	st := leader.rn.Status()
	for id, p := range st.Progress {
		if id != leader.id && (p.State != tracker.StateReplicate || p.Match != last) {
			return fmt.Errorf("%w: %s: %d sees %d as %v", errNotLive, when, leader.id, id, &p)
		}
	}
	for _, n := range s.nodes {
		if n.applied != last {
			return fmt.Errorf("%w: %s: %d has applied %d of %d", errNotLive, when, n.id, n.applied, last)
		}
	}
	return nil
}

// runRowSim is one scenario; a panic of raft is a failure like any other.
func runRowSim(scheme rowScheme, seed uint64, members, steps int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: raft panics: %v", errUnsafe, p)
		}
	}()
	s := newRowSim(scheme, seeded(seed), members, false)
	for range steps {
		if err := s.chaos(); err != nil {
			return err
		}
	}
	return s.heal()
}

var simSeeds = flag.Uint64("row-seeds", 60, "scenarios of row acks over real raft cores, for each number of members")

func TestRowAcksWithRaft(t *testing.T) {
	for _, members := range []int{3, 5} {
		t.Run(fmt.Sprintf("members=%d", members), func(t *testing.T) {
			for seed := range *simSeeds {
				if err := runRowSim(goodScheme, seed, members, 1500); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
		})
	}
}

// TestRowAcksWithRaftSeesMistakes is the negative control; for the two that
// protocol.md names, also that they fail in the way that it says.
func TestRowAcksWithRaftSeesMistakes(t *testing.T) {
	const trials = 400
	for _, c := range []struct {
		scheme  rowScheme
		members int
		how     error
	}{
		{pairing, 5, errUnsafe}, {borrowing, 5, errUnsafe}, {greedy, 3, errUnsafe}, {changesOnly, 3, errNotLive},
	} {
		var err error
		for seed := uint64(0); seed < trials && !errors.Is(err, c.how); seed++ {
			err = runRowSim(c.scheme, seed, c.members, 1500)
		}
		if !errors.Is(err, c.how) {
			t.Errorf("%s: never %v in %d scenarios", c.scheme.name, c.how, trials)
		} else {
			t.Logf("%s: %v", c.scheme.name, err)
		}
	}
}

// The failures of a scenario, by kind.
var (
	errUnsafe  = errors.New("unsafe")
	errNotLive = errors.New("not live")
)

// TestRowAcksAndCheckQuorum: a leader keeps its place by answers that all look
// alike, and loses it when the followers' rafts are stuck, however alive their
// fabrics are.
func TestRowAcksAndCheckQuorum(t *testing.T) {
	if led, err := checkQuorumScenario(goodScheme, false); err != nil || !led {
		t.Errorf("with followers that answer, the leader leads: %v, %v", led, err)
	}
	if led, err := checkQuorumScenario(goodScheme, true); err != nil || led {
		t.Errorf("with followers that are stuck, the leader leads: %v, %v", led, err)
	}
	// Negative controls.
	if led, err := checkQuorumScenario(changesOnly, false); err == nil && led {
		t.Error("without equal answers the leader should have lost its place")
	}
	if led, err := checkQuorumScenario(anyChange, true); err != nil || !led {
		t.Errorf("a reader that takes any change for news should have kept the leader up: %v, %v", led, err)
	}
}

func checkQuorumScenario(scheme rowScheme, stuck bool) (led bool, err error) {
	s := newRowSim(scheme, seeded(1), 3, true)
	leader := s.nodes[0]
	must(leader.rn.Campaign())
	if err := s.settleReady(leader); err != nil {
		return false, err
	}
	if err := s.flush(); err != nil {
		return false, err
	}
	if !s.leaderOf(leader) {
		return false, fmt.Errorf("not elected")
	}
	for range 5 * simElectionTick {
		leader.rn.Tick()
		if err := s.settleReady(leader); err != nil {
			return false, err
		}
		if !stuck {
			if err := s.flush(); err != nil {
				return false, err
			}
			continue
		}
		s.frames, s.rows = nil, nil
		for _, n := range s.nodes[1:] { // other parts of the rows go on changing
			s.publish(n)
			n.row.Sections = fabric.AppendSection(n.row.Sections, fabric.Section{ID: fabric.SectionBarrier, Value: readCounter(n.row.Version)})
			if err := s.deliverRow(simRow{n.row, leader.id}); err != nil {
				return false, err
			}
		}
	}
	return s.leaderOf(leader), nil
}
