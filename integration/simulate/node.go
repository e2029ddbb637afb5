package simulate

import (
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/ordered"
	"github.com/raftdv/dv/raftdv"
)

// node is one incarnation of a member: raft and everything that a crash takes.
type node struct {
	m   *member
	c   *cluster
	inc uint64
	// patience is the arbiter's, 0 while it is the configured one.
	patience time.Duration

	port fabric.Port // what the checkers see; sim is what they stand before
	sim  *sim.Port
	rn   *raft.RawNode
	log  *raft.MemoryStorage

	sender
	receiver
	arbitrated
	viewed

	leads   bool
	term    uint64
	lead    uint64
	writing bool // a write is under way: raft's loop waits for it
	tickDue bool // a tick came meanwhile; a ticker keeps one
	applied uint64
	conf    *raftpb.ConfState
	state   state
	snapped uint64 // index of the newest snapshot
	pending map[uint64]*call
	reads   map[uint64]*call // waiting for raft
	waiting []waitingRead    // waiting for the state machine
	// promoted is set from its election until a leader's log was looked at.
	promoted *promotion
}

type waitingRead struct {
	index uint64
	call  *call
}

// How often a snapshot is taken, and how many entries behind it are kept: small
// numbers, so that members that were away for seconds need a snapshot.
const (
	snapshotEvery  = 200
	catchUpEntries = 50
)

func newNode(m *member) (*node, error) {
	n := &node{m: m, c: m.c, pending: map[uint64]*call{}, reads: map[uint64]*call{}}
	var err error
	if n.log, err = m.disk.load(); err != nil {
		return nil, err
	}
	if s := m.disk.snapshot; s != nil {
		if err := n.state.decode(s.GetData()); err != nil {
			return nil, err
		}
		n.applied, n.snapped, n.conf = s.GetMetadata().GetIndex(), s.GetMetadata().GetIndex(), s.GetMetadata().GetConfState()
	}
	rc := &raft.Config{
		ID: uint64(m.id), ElectionTick: m.c.cfg.ticks(), HeartbeatTick: heartbeatTicks, Storage: n.log, Applied: n.applied,
		MaxSizePerMsg: maxSizePerMsg, MaxInflightMsgs: maxInflightMsgs, CheckQuorum: m.c.cfg.checkQuorum(), PreVote: m.c.cfg.preVote(), Logger: quiet{},
	}
	if h := m.c.cfg.hooks.raft; h != nil {
		h(rc)
	}
	if n.rn, err = raft.NewRawNode(rc); err != nil {
		return nil, err
	}
	n.term = n.rn.BasicStatus().GetTerm()
	if n.sim, err = m.c.net.Join(m.id, m.c.handlerOf(n)); err != nil {
		return nil, err
	}
	n.inc = n.sim.Incarnation()
	n.port = m.c.portOf(n)
	n.writer = raftdv.NewRowWriter(m.id)
	if l := m.c.cfg.lab; l != nil && !l.RowAcks {
		n.writer = noRows{}
	}
	if h := m.c.cfg.hooks.writer; h != nil {
		n.writer = h(m.id)
	}
	m.c.checks.started(n)
	if m.c.cfg.Arbiter != nil {
		n.arb = m.c.cfg.Arbiter(host{n})
	}
	return n, nil
}

// begin lets time run. Members do not tick in step.
func (n *node) begin() {
	phase := time.Duration(n.c.rng.Int64N(int64(n.c.cfg.heartbeat())))
	if l := n.c.cfg.lab; l != nil && (l.Fault == sameTimeouts || l.Fault == togetherAgain && n.c.net.Now() >= l.WarmUp) {
		phase = 0 // clocks in step
	}
	n.sim.After(phase, n.tick)
	n.view()
	n.settle()
}

// pace is how fast the member's clock runs, however many faults are at it.
func (m *member) pace() float64 { return max(0.25, 1+m.skew) }

// clock is what the member's own clock shows; it does not go back.
func (m *member) clock() time.Duration {
	return m.clockAt + time.Duration(float64(m.c.net.Now()-m.clockFrom)*m.pace())
}

func (m *member) setSkew(skew float64) {
	m.clockAt, m.clockFrom, m.skew = m.clock(), m.c.net.Now(), skew
	if n := m.node; !m.dead && n.armed {
		n.arm()
	}
}

// tick is raft's ticker, at the pace of the member's own clock.
func (n *node) tick() {
	n.sim.After(time.Duration(float64(n.c.cfg.heartbeat())/n.m.pace()), n.tick)
	if n.writing {
		n.tickDue = true
		return
	}
	n.rn.Tick()
	n.settle()
}

// step gives a message to raft. What raft does not want it drops by itself.
func (n *node) step(m *raftpb.Message) {
	n.c.checks.stepped(n, m)
	_ = n.rn.Step(m)
}

// pump is raft's loop, as far as it gets without waiting for the disk.
func (n *node) pump() {
	for !n.writing && !n.m.dead && n.rn.HasReady() {
		n.ready(n.rn.Ready())
	}
}

// ready does what etcd's loop does with a Ready: a leader sends before it
// writes, and what is committed is applied while the write goes on.
func (n *node) ready(rd raft.Ready) {
	if rd.HardState != nil && !raft.IsEmptyHardState(rd.HardState) {
		n.term = rd.HardState.GetTerm()
	}
	if rd.SoftState != nil {
		n.leads, n.lead = rd.RaftState == raft.StateLeader, rd.Lead
		n.c.checks.role(n)
	}
	n.readStates(rd.ReadStates)
	msgs := n.outgoing(rd.Messages)
	if n.leads || n.early() {
		n.send(msgs)
		msgs = nil
	}
	snapshot := rd.Snapshot
	if raft.IsEmptySnap(snapshot) {
		snapshot = nil
		n.applyAll(rd.CommittedEntries)
	}
	w := &write{snapshot: snapshot, entries: rd.Entries}
	if rd.HardState != nil && !raft.IsEmptyHardState(rd.HardState) {
		w.hard = proto.CloneOf(rd.HardState)
	}
	if h := n.c.cfg.hooks.persist; h != nil {
		h(n.m, w)
	}
	if rd.MustSync || snapshot != nil {
		n.writing = true
		n.m.disk.pending = w
		n.sim.After(n.m.syncTime(), func() { n.synced(rd, w, msgs) })
		return
	}
	n.m.disk.write(w.hard)
	n.written(rd, w, msgs)
}

func (n *node) early() bool {
	return n.c.cfg.hooks.early != nil && n.c.cfg.hooks.early(n.m)
}

// synced goes on where ready had to wait.
func (n *node) synced(rd raft.Ready, w *write, msgs []*raftpb.Message) {
	n.writing = false
	n.m.disk.pending = nil
	n.m.disk.settle(w)
	n.written(rd, w, msgs)
	if n.tickDue {
		n.tickDue = false
		n.rn.Tick()
	}
	n.settle()
}

// written is the second half of ready.
func (n *node) written(rd raft.Ready, w *write, msgs []*raftpb.Message) {
	n.must(n.store(rd, w))
	n.c.checks.stored(n, w)
	if w.snapshot != nil {
		n.restore(w.snapshot)
		n.applyAll(rd.CommittedEntries)
	}
	n.send(msgs)
	n.rn.Advance(rd)
	n.compact()
}

// store makes raft's view of the log that of the disk.
func (n *node) store(rd raft.Ready, w *write) error {
	if w.snapshot != nil {
		if err := n.log.ApplySnapshot(w.snapshot); err != nil {
			return err
		}
	}
	if w.hard != nil {
		if err := n.log.SetHardState(w.hard); err != nil {
			return err
		}
	}
	return n.log.Append(rd.Entries)
}

func (n *node) must(err error) {
	if err != nil {
		n.c.fail("raft", "member %s: %v", n.m.id, err)
	}
}

// restore replaces the state machine by a snapshot.
func (n *node) restore(s *raftpb.Snapshot) {
	n.must(n.state.decode(s.GetData()))
	n.applied, n.snapped, n.conf = s.GetMetadata().GetIndex(), s.GetMetadata().GetIndex(), s.GetMetadata().GetConfState()
	n.c.report.Snapshots++
	n.c.checks.restored(n, s)
	n.reconfigured()
	n.answerReads()
}

func (n *node) applyAll(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	n.c.checks.committed(n, entries)
	for _, e := range entries {
		if e.GetIndex() != n.applied+1 {
			n.c.fail("raft", "member %s applies %d after %d", n.m.id, e.GetIndex(), n.applied)
		}
		n.applied = e.GetIndex()
		n.apply(e)
		n.c.mix(uint64(n.m.id)<<48 ^ e.GetIndex())
		n.c.mix(digest(e))
	}
	n.answerReads()
}

func (n *node) apply(e *raftpb.Entry) {
	switch {
	case e.GetType() == raftpb.EntryConfChangeV2:
		var cc raftpb.ConfChangeV2
		n.must(proto.Unmarshal(e.GetData(), &cc))
		n.conf = n.rn.ApplyConfChange(&cc)
		n.state.confs++
		n.c.reconfigured(n)
		n.reconfigured()
	case e.GetType() != raftpb.EntryNormal:
		n.must(fmt.Errorf("entry %d has type %v", e.GetIndex(), e.GetType()))
	case len(e.GetData()) > 0:
		cmd, err := decodeCommand(e.GetData())
		n.must(err)
		if h := n.c.cfg.hooks.apply; h != nil {
			h(n.m, e.GetIndex(), &cmd)
		}
		n.state.apply(cmd)
		n.c.checks.applied(n, e.GetIndex())
		if call := n.pending[cmd.number]; call != nil {
			delete(n.pending, cmd.number)
			call.done(0)
		}
	}
}

func (n *node) reconfigured() {
	if n.arb != nil {
		n.arb.Reconfigured()
	}
	if n.ord == nil {
		n.view()
		return
	}
	n.input(func(e *ordered.Endpoint, now ordered.Instant) { n.must(e.SetConfig(now, n.viewConfig())) })
}

// compact takes a snapshot now and then and drops what it makes superfluous.
func (n *node) compact() {
	last, err := n.log.LastIndex()
	n.must(err)
	if n.applied < n.snapped+snapshotEvery || n.applied > last {
		return
	}
	s, err := n.log.CreateSnapshot(n.applied, n.conf, n.state.encode())
	n.must(err)
	n.must(n.log.Compact(n.applied - catchUpEntries))
	n.m.disk.compact(s, n.applied-catchUpEntries)
	n.snapped = n.applied
}

// propose asks raft for a put; false: it does not take it.
func (n *node) propose(call *call, data []byte) bool {
	if err := n.rn.Propose(data); err != nil {
		return false
	}
	n.pending[call.number] = call
	n.settle()
	return true
}

// read asks for a linearizable read by ReadIndex; false: there is nobody to ask.
func (n *node) read(call *call) bool {
	if n.lead == raft.None {
		return false
	}
	if h := n.c.cfg.hooks.stale; h != nil && h(n.m) {
		call.done(n.state.value[call.key])
		return true
	}
	n.reads[call.number] = call
	n.rn.ReadIndex(call.context())
	n.settle()
	return true
}

func (n *node) readStates(states []raft.ReadState) {
	for _, rs := range states {
		number := callNumber(rs.RequestCtx)
		if call := n.reads[number]; call != nil {
			delete(n.reads, number)
			n.waiting = append(n.waiting, waitingRead{rs.Index, call})
		}
	}
	if len(states) > 0 {
		n.answerReads()
	}
}

// answerReads answers those whose index the state machine has reached.
func (n *node) answerReads() {
	n.waiting = slices.DeleteFunc(n.waiting, func(w waitingRead) bool {
		if w.index <= n.applied {
			w.call.done(n.state.value[w.call.key])
			return true
		}
		return false
	})
}

func isVoter(conf *raftpb.ConfState, id uint64) bool {
	return slices.Contains(conf.GetVoters(), id) || slices.Contains(conf.GetVotersOutgoing(), id)
}
