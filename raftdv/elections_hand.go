package raftdv

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/raftdv/election"
)

// maxHandQueue bounds what waits for raft to take it after it was held; the oldest
// is lost, as raft allows for.
const maxHandQueue = 4096

// handQueue holds what goes to raft past the goroutines that receive: what the
// arbiter has released, and its own words to campaign.
type handQueue struct {
	// busy: something is queued, or is being handed over. It changes under mu, and
	// is read for each message that passes.
	busy    atomic.Bool
	mu      sync.Mutex // guards the fields below
	items   []handItem
	lost    int           // since next told of it
	drained chan struct{} // closed when busy ends, nil if nobody waits for that
	queued  chan struct{} // holds one: items is not empty
}

type handItem struct {
	m        *raftpb.Message
	campaign bool // the arbiter's own word
	at       time.Duration
}

func (q *handQueue) init() { q.queued = make(chan struct{}, 1) }

func (q *handQueue) add(released []*raftpb.Message, campaign *raftpb.Message, now time.Duration) {
	q.mu.Lock()
	for _, m := range released {
		q.items = append(q.items, handItem{m: m, at: now})
	}
	if campaign != nil {
		q.items = append(q.items, handItem{campaign, true, now})
	}
	if n := len(q.items) - maxHandQueue; n > 0 {
		q.items = append(q.items[:0], q.items[n:]...)
		q.lost += n
	}
	q.busy.Store(true)
	q.mu.Unlock()
	select {
	case q.queued <- struct{}{}:
	default:
	}
}

// next returns what is queued, and how many were lost since it was asked last;
// with nothing it says that all is handed over.
func (q *handQueue) next() (items []handItem, lost int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, lost, q.items, q.lost = q.items, q.lost, nil, 0
	if len(items) == 0 {
		q.busy.Store(false)
		if q.drained != nil {
			close(q.drained)
			q.drained = nil
		}
	}
	return items, lost
}

// empty returns a channel that is closed when all that is queued now is handed
// over, nil if nothing is queued.
func (q *handQueue) empty() <-chan struct{} {
	if !q.busy.Load() {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.busy.Load() && q.drained == nil {
		q.drained = make(chan struct{})
	}
	return q.drained
}

// hand gives raft what was held and the words to campaign. It has a goroutine of
// its own: raft may take its time.
func (e *elections) hand() {
	for {
		select {
		case <-e.hands.queued:
		case <-e.t.ctx.Done():
			return
		}
		for items, lost := e.hands.next(); len(items) > 0; items, lost = e.hands.next() {
			if lost > 0 {
				e.t.lg.Warn("messages that were held are lost, as raft takes none: is its loop or its disk stuck?",
					zap.String("local-member-id", e.t.ID.String()), zap.Int("lost", lost))
			}
			for _, it := range items {
				if !it.campaign || e.campaigns(it.at) {
					e.process(it.m)
				}
			}
		}
	}
}

// campaigns reports whether a word to campaign still holds: others wait for its
// campaign for a Patience, and elections may have been switched off.
func (e *elections) campaigns(since time.Duration) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mode == election.On && time.Since(e.t.started) <= since+e.arbiter.Patience()
}

func (e *elections) process(m *raftpb.Message) {
	ctx := e.t.ctx
	if p := e.t.peer(types.ID(m.GetFrom())); p != nil {
		ctx = p.ctx
	}
	if err := e.t.Raft.Process(ctx, m); err != nil && ctx.Err() == nil {
		e.t.lg.Warn("failed to process Raft message", zap.Error(err))
	}
}

// toRaft gives a message to raft, unless the arbiter keeps it. It does not
// overtake what the arbiter has released. Of who is no peer, as it was removed,
// the arbiter hears nothing: raft's owner may refuse it.
func (t *Transport) toRaft(ctx context.Context, m *raftpb.Message) error {
	p, e := t.peer(types.ID(m.GetFrom())), &t.elections
	if p == nil || e.off.Load() {
		return t.Raft.Process(ctx, m)
	}
	if !e.receive(m) {
		return nil
	}
	if m.GetType() != raftpb.MsgProp { // which may wait for a leader
		p.inRaft.Add(1)
		e.inRaft.Add(1)
		defer p.inRaft.Add(-1)
		defer e.inRaft.Add(-1)
	}
	if drained := e.hands.empty(); drained != nil {
		select {
		case <-drained:
		case <-ctx.Done():
			return ctx.Err()
		case <-t.ctx.Done():
			return t.ctx.Err()
		}
	}
	return t.Raft.Process(ctx, m)
}
