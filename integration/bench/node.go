package bench

import (
	"context"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// node stands where raft stands: it is handed messages and reports.
type node struct {
	sink        atomic.Pointer[func(*raftpb.Message)]
	unreachable atomic.Uint64
	reports     atomic.Pointer[func(uint64)]
}

func newNode() *node {
	n := &node{}
	n.ignore()
	n.onUnreachable(func(uint64) {})
	return n
}

// on gives all messages from now on to f.
func (n *node) on(f func(*raftpb.Message)) { n.sink.Store(&f) }

// onUnreachable gives all reports from now on to f.
func (n *node) onUnreachable(f func(id uint64)) { n.reports.Store(&f) }

func (n *node) ignore() { n.on(func(*raftpb.Message) {}) }

func (n *node) Process(_ context.Context, m *raftpb.Message) error {
	(*n.sink.Load())(m)
	return nil
}

func (n *node) ReportUnreachable(id uint64) {
	n.unreachable.Add(1)
	(*n.reports.Load())(id)
}

func (n *node) IsIDRemoved(uint64) bool                    { return false }
func (n *node) ReportSnapshot(uint64, raft.SnapshotStatus) {}
