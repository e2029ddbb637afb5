package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/etcdserver/api/rafthttp"

	"github.com/raftdv/dv/raftdv"
)

// electTimeout bounds the election of the first leader.
const electTimeout = 15 * time.Second

// errLeaderChanged: what was measured is not what was to be measured.
var errLeaderChanged = errors.New("another leader, or none for a moment")

// raftGroup is a raft group in this process, on one system.
type raftGroup struct {
	*group
	rafts   []*raftMember
	clients []*client
	// paused stops raft's clock, so that a group that waits for its turn sends
	// nothing and elects nobody.
	paused atomic.Bool
	// lead is the leader's id; watched: a change is a failure.
	lead    atomic.Uint64
	watched atomic.Bool

	failOnce sync.Once
	failed   chan struct{} // closed after err is set
	err      error
}

// openRaft returns when the group has a leader that all know.
func openRaft(ctx context.Context, sys *system, n, clients, size int, tls *transport.TLSInfo) (_ *raftGroup, err error) {
	var sent []*counted
	counting := *sys
	counting.open = func(p memberParams) (rafthttp.Transporter, error) {
		tr, err := sys.open(p)
		if err != nil {
			return nil, err
		}
		sent = append(sent, &counted{Transporter: tr})
		return sent[len(sent)-1], nil
	}
	base, err := openGroup(ctx, &counting, n, tls)
	if err != nil {
		return nil, err
	}
	g := &raftGroup{group: base, failed: make(chan struct{})}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	for i := range clients {
		g.clients = append(g.clients, newClient(i, size))
	}
	for i, m := range base.members {
		r, err := newRaftMember(g, m, sent[i], clients, size)
		if err != nil {
			return nil, fmt.Errorf("raft of member %s: %w", m.id, err)
		}
		g.rafts = append(g.rafts, r)
	}
	for _, r := range g.rafts {
		r.start()
	}
	if err := g.elect(ctx); err != nil {
		return nil, err
	}
	g.paused.Store(true)
	return g, nil
}

// elect makes the first member the leader, if nobody is faster.
func (g *raftGroup) elect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, electTimeout)
	defer cancel()
	if err := g.rafts[0].node.Campaign(ctx); err != nil {
		return fmt.Errorf("%s: campaign: %w", g.sys.name, err)
	}
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	for !g.settled() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: no leader: %w (%s)", g.sys.name, context.Cause(ctx), g.troubles())
		case <-g.failed:
			return g.err
		case <-tick.C:
		}
	}
	return nil
}

// settled: all members know the same leader and have applied its first entry.
// It sets lead.
func (g *raftGroup) settled() bool {
	var lead, term uint64
	for i, r := range g.rafts {
		s := r.node.Status()
		if i == 0 {
			lead, term = s.Lead, s.GetTerm()
		}
		if s.Lead == 0 || s.Lead != lead || s.GetTerm() != term || r.applied.Load() < 2 {
			return false
		}
	}
	g.lead.Store(lead)
	return true
}

func (g *raftGroup) leading() *raftMember { return g.rafts[g.lead.Load()-1] }

// leaderIs is told by every member whenever it sees a change.
func (g *raftGroup) leaderIs(id uint64) {
	if g.watched.Load() && id != g.lead.Load() {
		g.fail(errLeaderChanged)
	}
}

// fail ends what is under way. The first reason counts.
func (g *raftGroup) fail(err error) {
	g.failOnce.Do(func() {
		g.err = err
		close(g.failed)
	})
}

// close ends raft before the transports: what a transport hands over then is
// refused at once.
func (g *raftGroup) close() {
	for _, r := range g.rafts {
		r.close()
	}
	g.group.close()
}

func (g *raftGroup) appliedByAll() uint64 {
	low := g.rafts[0].applied.Load()
	for _, r := range g.rafts[1:] {
		low = min(low, r.applied.Load())
	}
	return low
}

// traffic is what all members have sent so far.
func (g *raftGroup) traffic() (t traffic) {
	for _, r := range g.rafts {
		t.messages += r.sent.messages.Load()
		t.bytes += r.sent.bytes.Load()
		if dv, ok := r.own().(*raftdv.Transport); ok {
			for _, p := range dv.State().Peers {
				for _, l := range p.Links {
					t.wire += l.BytesSent
				}
			}
		}
	}
	return t
}

// check compares what all members have applied, with each other and with what
// the clients were told. Nothing is under way.
func (g *raftGroup) check() error {
	acked := make([]uint64, len(g.clients))
	for i, c := range g.clients {
		acked[i] = c.seq
	}
	first := g.rafts[0]
	for _, r := range g.rafts {
		r.mu.Lock()
		defer r.mu.Unlock()
		if err := r.history.acknowledged(acked); err != nil {
			return fmt.Errorf("member %s: %w", r.id, err)
		}
		if r == first {
			continue // locked
		}
		if err := first.history.equal(r.history); err != nil {
			return fmt.Errorf("members %s and %s: %w", first.id, r.id, err)
		}
	}
	return nil
}
