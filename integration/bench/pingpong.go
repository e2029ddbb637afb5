package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// rttResult is one measurement of round trips, in µs.
type rttResult struct {
	p50, p99 float64
	// Round trips begun, and those of a lossy system that did not come back
	// within the group's patience.
	sent, lost uint64
}

// maxPings bounds what one measurement keeps.
const maxPings = 1 << 18

// pingpong is one measurement under way. One message is in flight at a time,
// so that nobody ever waits for mu.
type pingpong struct {
	g     *group
	size  int
	done  chan error
	index atomic.Uint64 // in flight
	sent  atomic.Int64  // when, since epoch
	// enough is asked after each round trip.
	enough func(roundTrips int) bool

	lost uint64 // of the goroutine that waits

	mu      sync.Mutex // guards the fields below; not held during Send
	made    *maker
	samples []float64
}

var (
	epoch      = time.Now()
	errNoPings = errors.New("no round trip was completed: use a longer duration")
)

// runPingpong measures round trips between the leader and one follower for
// about d; the other members are there and idle.
func runPingpong(ctx context.Context, g *group, size int, d time.Duration) (rttResult, error) {
	p := newPingpong(g, size)
	until := time.Now().Add(d)
	if err := p.run(ctx, func(n int) bool { return n == maxPings || time.Now().After(until) }); err != nil {
		return rttResult{}, fmt.Errorf("%s: round trips: %w (%s)", g.sys.name, err, g.troubles())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	counted := p.samples[int(warmUp*float64(len(p.samples))):]
	if len(counted) == 0 {
		return rttResult{}, fmt.Errorf("%s: %w", g.sys.name, errNoPings)
	}
	slices.Sort(counted)
	sent := uint64(len(p.samples)) + p.lost
	return rttResult{Quantile(counted, 0.5), Quantile(counted, 0.99), sent, p.lost}, g.ready()
}

func newPingpong(g *group, size int) *pingpong {
	return &pingpong{
		g: g, size: size, done: make(chan error, 1),
		made: newMaker(g.leader().id, g.followers()[:1], size, 1),
	}
}

func (p *pingpong) run(ctx context.Context, enough func(int) bool) error {
	p.enough = enough
	leader, follower := p.g.leader().node, p.g.followers()[0].node
	follower.on(p.answer)
	leader.on(p.answered)
	defer follower.ignore()
	defer leader.ignore()
	p.index.Store(p.g.index)
	p.ping()
	err := p.wait(ctx)
	p.g.index = p.index.Load()
	return err
}

func (p *pingpong) ping() {
	p.mu.Lock()
	// A copy: after a loss two goroutines may send at a time.
	msgs := slices.Clone(p.made.step(p.index.Add(1)))
	p.mu.Unlock()
	p.sent.Store(int64(time.Since(epoch)))
	p.g.leader().tr.Send(msgs)
}

// answer runs where the follower's raft would.
func (p *pingpong) answer(m *raftpb.Message) {
	index, err := entryIndex(m, p.size)
	if err != nil {
		p.finish(err)
		return
	}
	from := p.g.followers()[0]
	from.tr.Send([]*raftpb.Message{accept(from.id, p.g.leader().id, index)})
}

// answered runs where the leader's raft would.
func (p *pingpong) answered(m *raftpb.Message) {
	now := time.Now()
	if p.g.sys.lossy && m.GetType() == raftpb.MsgAppResp && m.GetIndex() < p.index.Load() {
		return // so late that it counts as lost
	}
	if m.GetType() != raftpb.MsgAppResp || m.GetIndex() != p.index.Load() {
		p.finish(fmt.Errorf("%v is no answer to entry %d", m, p.index.Load()))
		return
	}
	if n := p.note(now.Sub(epoch) - time.Duration(p.sent.Load())); p.enough(n) {
		p.finish(nil)
		return
	}
	p.ping()
}

func (p *pingpong) note(d time.Duration) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.samples = append(p.samples, float64(d.Nanoseconds())/1e3)
	return len(p.samples)
}

func (p *pingpong) finish(err error) {
	select {
	case p.done <- err:
	default:
	}
}

func (p *pingpong) wait(ctx context.Context) error {
	limit := p.g.stall
	if p.g.sys.lossy {
		limit = p.g.patience
	}
	tick := time.NewTicker(limit)
	defer tick.Stop()
	for before := uint64(0); ; {
		select {
		case err := <-p.done:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			now := p.index.Load()
			switch {
			case now != before:
			case p.g.sys.lossy:
				if p.lost++; p.enough(0) {
					return nil
				}
				p.ping()
			default:
				return fmt.Errorf("entry %d was not answered within %v: a message was lost", now, p.g.stall)
			}
			before = now
		}
	}
}
