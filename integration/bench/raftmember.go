package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// etcd's settings of raft: etcdserver's raft.go and bootstrap.go of 3.7, and the
// defaults of its flags --heartbeat-interval and --election-timeout.
const (
	raftTick        = 100 * time.Millisecond
	electionTicks   = 10
	heartbeatTicks  = 1
	maxInflightMsgs = 512
	maxSizePerMsg   = 1 << 20
)

const (
	// compactEvery is how many entries the log keeps at least that all members
	// have applied.
	compactEvery = 4096
	// maxLag bounds how far a member may be behind: all of that is in memory.
	maxLag = 1 << 20
)

// raftMember is a member with raft in it. Its loop does what etcd's does, with a
// log in memory and a state machine that checks what it is given.
type raftMember struct {
	*member
	g    *raftGroup
	node raft.Node
	log  *raft.MemoryStorage
	sent *counted
	stop chan struct{}
	done chan struct{}

	// Of the loop.
	leads     bool
	compacted uint64

	applied atomic.Uint64
	mu      sync.Mutex // guards history
	history *history
}

func newRaftMember(g *raftGroup, m *member, sent *counted, clients, size int) (*raftMember, error) {
	r := &raftMember{
		member: m, g: g, log: raft.NewMemoryStorage(), sent: sent,
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	// All start as if they had agreed on an empty log.
	conf := &raftpb.ConfState{}
	for _, p := range g.members {
		conf.Voters = append(conf.Voters, uint64(p.id))
	}
	const first, firstTerm = 1, 1
	if err := r.log.ApplySnapshot(&raftpb.Snapshot{
		Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: new(uint64(first)), Term: new(uint64(firstTerm))},
	}); err != nil {
		return nil, err
	}
	r.applied.Store(first)
	r.compacted, r.history = first, newHistory(clients, size, first)
	r.node = raft.RestartNode(&raft.Config{
		ID: uint64(m.id), ElectionTick: electionTicks, HeartbeatTick: heartbeatTicks, Storage: r.log, Applied: first,
		MaxSizePerMsg: maxSizePerMsg, MaxInflightMsgs: maxInflightMsgs, CheckQuorum: true, PreVote: true,
		Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
	})
	return r, nil
}

// start lets messages in and runs the loop.
func (r *raftMember) start() {
	r.member.node.on(func(m *raftpb.Message) {
		// It fails when raft has stopped, and raft takes back what it refuses.
		_ = r.node.Step(context.Background(), m)
	})
	r.member.node.onUnreachable(r.node.ReportUnreachable)
	go r.loop()
}

// close ends the loop and raft, and lets nothing in any more.
func (r *raftMember) close() {
	close(r.stop)
	<-r.done
	r.node.Stop()
	r.member.node.onUnreachable(func(uint64) {})
	r.member.node.ignore()
}

func (r *raftMember) loop() {
	defer close(r.done)
	tick := time.NewTicker(raftTick)
	defer tick.Stop()
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
			if !r.g.paused.Load() {
				r.node.Tick()
			}
		case rd := <-r.node.Ready():
			if err := r.handle(&rd); err != nil {
				r.g.fail(fmt.Errorf("member %s: %w", r.id, err))
			}
			r.node.Advance()
		}
	}
}

// handle does what raft asks for. A leader sends before it writes its log, as
// etcd's does.
func (r *raftMember) handle(rd *raft.Ready) error {
	if rd.SoftState != nil {
		r.leads = rd.RaftState == raft.StateLeader
		r.g.leaderIs(rd.Lead)
	}
	var errs []error
	msgs, err := outgoing(rd.Messages)
	errs = append(errs, err)
	if r.leads {
		r.tr.Send(msgs)
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		errs = append(errs, r.log.SetHardState(rd.HardState))
	}
	errs = append(errs, r.log.Append(rd.Entries))
	if !r.leads {
		r.tr.Send(msgs)
	}
	errs = append(errs, r.apply(rd.CommittedEntries), r.compact())
	return errors.Join(errs...)
}

// outgoing are the messages that etcd would send: of several MsgAppResps the
// last one says it all.
func outgoing(msgs []*raftpb.Message) (out []*raftpb.Message, err error) {
	answered := false
	for i := len(msgs) - 1; i >= 0; i-- {
		switch m := msgs[i]; {
		case m.GetType() == raftpb.MsgSnap:
			err = fmt.Errorf("member %x is sent a snapshot: it misses entries that all members have applied", m.GetTo())
		case m.GetType() == raftpb.MsgAppResp && answered:
		default:
			answered = answered || m.GetType() == raftpb.MsgAppResp
			out = append(out, m)
		}
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return out, err
}

// apply gives entries to the state machine, and at the leader the news to the
// clients.
func (r *raftMember) apply(entries []*raftpb.Entry) error {
	if len(entries) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, e := range entries {
		errs = append(errs, r.history.apply(e))
		if r.leads && e.GetType() == raftpb.EntryNormal && len(e.GetData()) == r.history.size {
			r.g.acknowledge(e.GetData())
		}
	}
	r.applied.Store(entries[len(entries)-1].GetIndex())
	return errors.Join(errs...)
}

// compact drops what all members have applied: nobody ever needs a snapshot.
func (r *raftMember) compact() error {
	low := r.g.appliedByAll()
	if ahead := r.applied.Load() - low; ahead > maxLag {
		return fmt.Errorf("another member is %d entries behind, more than %d", ahead, maxLag)
	}
	if low < r.compacted+2*compactEvery {
		return nil
	}
	r.compacted = low - compactEvery
	return r.log.Compact(r.compacted)
}
