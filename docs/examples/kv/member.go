package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/raftdv"
	"github.com/raftdv/dv/raftdv/election"
)

const (
	tick          = 100 * time.Millisecond
	electionTicks = 10
	maxInflight   = 256
	maxMessage    = 1 << 20
	// maxValue bounds a value in bytes.
	maxValue = 1 << 20
)

// member is one replica. loop owns the log; the store is guarded by mu.
type member struct {
	id        uint64
	node      raft.Node
	storage   *raft.MemoryStorage
	transport *raftdv.Transport
	peerSrv   *http.Server
	stopc     chan struct{}
	done      sync.WaitGroup

	mu      sync.Mutex       // guards the fields below
	members election.Members // of the configuration that was applied last
	store   map[string]string
	next    uint64
	waiting map[uint64]chan struct{} // proposals of this member that were not applied yet
}

// write is what the log holds.
type write struct {
	Key, Value string
	Member, ID uint64
}

// startMember starts a member whose peers reach it through peerListener.
func startMember(id uint64, cluster []string, peerListener net.Listener, lg *zap.Logger) (*member, error) {
	m := &member{
		id: id, storage: raft.NewMemoryStorage(), stopc: make(chan struct{}),
		store: map[string]string{}, waiting: map[uint64]chan struct{}{},
	}
	peers := make([]raft.Peer, len(cluster))
	for i := range peers {
		peers[i].ID = uint64(i + 1)
	}
	m.node = raft.StartNode(&raft.Config{
		ID: id, ElectionTick: electionTicks, HeartbeatTick: 1, Storage: m.storage,
		MaxSizePerMsg: maxMessage, MaxInflightMsgs: maxInflight, PreVote: true, CheckQuorum: true,
	}, peers)
	var err error
	if m.transport, err = newTransport(m, lg, cluster); err != nil {
		m.node.Stop()
		return nil, fmt.Errorf("member %d: %w", id, err)
	}
	m.peerSrv = &http.Server{Handler: m.transport.Handler()}
	m.done.Go(func() { m.peerSrv.Serve(peerListener) })
	m.done.Go(m.loop)
	return m, nil
}

func (m *member) stop() {
	close(m.stopc)
	m.node.Stop()
	m.transport.Stop()
	m.peerSrv.Close()
	m.done.Wait()
}

// loop is what every program on raft does with a Ready.
func (m *member) loop() {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-m.stopc:
			return
		case <-ticker.C:
			m.node.Tick()
		case rd := <-m.node.Ready():
			m.storage.Append(rd.Entries)
			m.transport.Send(rd.Messages)
			for _, e := range rd.CommittedEntries {
				m.apply(e)
			}
			m.node.Advance()
		}
	}
}

func (m *member) apply(e *raftpb.Entry) {
	if e.GetType() == raftpb.EntryConfChange {
		cc := new(raftpb.ConfChange)
		if err := unmarshal(e.GetData(), cc); err == nil {
			m.setMembers(m.node.ApplyConfChange(cc))
		}
		return
	}
	var w write
	if len(e.GetData()) == 0 || json.Unmarshal(e.GetData(), &w) != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.store[w.Key] = w.Value
	if w.Member == m.id {
		if c := m.waiting[w.ID]; c != nil {
			close(c)
			delete(m.waiting, w.ID)
		}
	}
}

func (m *member) setMembers(conf *raftpb.ConfState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.members = election.MembersOf(conf)
}

// membership tells the transport who votes, for elections.
func (m *member) membership() election.Members {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.members
}

// put returns when the write is committed and applied here.
func (m *member) put(ctx context.Context, key, value string) error {
	applied := make(chan struct{})
	m.mu.Lock()
	m.next++
	id := m.next
	m.waiting[id] = applied
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.waiting, id)
		m.mu.Unlock()
	}()
	data, err := json.Marshal(write{key, value, m.id, id})
	if err != nil {
		return err
	}
	if err := m.node.Propose(ctx, data); err != nil {
		return fmt.Errorf("member %d cannot propose: %w", m.id, err)
	}
	select {
	case <-applied:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("not committed: %w", ctx.Err())
	case <-m.stopc:
		return errors.New("member stopped")
	}
}

func (m *member) get(key string) (string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.store[key]
	return v, ok
}

// The methods that the transport calls.

func (m *member) Process(ctx context.Context, msg *raftpb.Message) error {
	return m.node.Step(ctx, msg)
}
func (m *member) IsIDRemoved(uint64) bool     { return false }
func (m *member) ReportUnreachable(id uint64) { m.node.ReportUnreachable(id) }
func (m *member) ReportSnapshot(id uint64, status raft.SnapshotStatus) {
	m.node.ReportSnapshot(id, status)
}
