package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// raftFigures is one measurement of a raft group.
type raftFigures struct {
	commits  float64 // per second
	p50, p99 float64 // µs from propose to applied at the leader
	cpu      float64 // µs per commit
	messages float64 // per commit
	bytes    float64 // per commit
	wire     float64 // bytes per commit
}

// raftMoment is what had happened at one moment of a measurement.
type raftMoment struct {
	usage
	traffic
	applied uint64
}

func (g *raftGroup) moment() (m raftMoment, err error) {
	m.traffic = g.traffic()
	m.applied = g.leading().applied.Load()
	m.usage, err = readUsage()
	return m, err
}

// run measures with that many clients for about d, and checks.
func (g *raftGroup) run(ctx context.Context, inFlight int, d time.Duration) (raftFigures, error) {
	g.paused.Store(false)
	defer g.paused.Store(true)
	res, err := g.measure(ctx, g.clients[:inFlight], d)
	if err != nil {
		return res, fmt.Errorf("%s with %d members, %d in flight: %w (%s)", g.sys.name, len(g.members), inFlight, err, g.troubles())
	}
	return res, g.ready()
}

func (g *raftGroup) measure(ctx context.Context, clients []*client, d time.Duration) (res raftFigures, err error) {
	if !g.settled() {
		return res, errLeaderChanged
	}
	g.watched.Store(true)
	defer g.watched.Store(false)
	// Whatever fails ends the clients.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var enough atomic.Bool
	var wg sync.WaitGroup
	begin := time.Now()
	warm := time.Duration(warmUp * float64(d))
	for _, c := range clients {
		c.latencies, c.from = c.latencies[:0], begin.Add(warm)
		wg.Go(func() {
			if err := c.run(ctx, g, enough.Load); err != nil {
				g.fail(err)
			}
		})
	}
	finish := func(err error) (raftFigures, error) {
		cancel(err)
		wg.Wait()
		return res, err
	}
	if err := g.wait(ctx, warm); err != nil {
		return finish(err)
	}
	first, err := g.moment()
	if err == nil {
		err = g.wait(ctx, d-warm)
	}
	if err != nil {
		return finish(err)
	}
	last, err := g.moment()
	enough.Store(true)
	if err == nil {
		err = g.drain(ctx, &wg)
	}
	if err != nil {
		return finish(err)
	}
	return perCommit(first, last, clients)
}

// wait lets time pass while entries are committed.
func (g *raftGroup) wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	stalled := time.NewTicker(g.stall)
	defer stalled.Stop()
	for before := uint64(0); ; {
		select {
		case <-timer.C:
			return nil
		case <-g.failed:
			return g.err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-stalled.C:
			now := g.leading().applied.Load()
			if now == before {
				return fmt.Errorf("no entry was committed for %v after entry %d", g.stall, now)
			}
			before = now
		}
	}
}

// drain waits for the clients' last proposals and until all members have applied
// them, then compares.
func (g *raftGroup) drain(ctx context.Context, wg *sync.WaitGroup) error {
	idle := make(chan struct{})
	go func() {
		wg.Wait()
		close(idle)
	}()
	tick := time.NewTicker(readyPoll)
	defer tick.Stop()
	timer := time.NewTimer(g.stall)
	defer timer.Stop()
	for {
		select {
		case <-idle:
			idle = nil
		case <-tick.C:
		case <-g.failed:
			return g.err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
			return fmt.Errorf("not all members have applied what the leader has: %d of %d entries after %v", g.appliedByAll(), g.leading().applied.Load(), g.stall)
		}
		if idle == nil && g.appliedByAll() == g.leading().applied.Load() {
			return g.check()
		}
	}
}

var errNoCommits = errors.New("nothing was committed after the warm-up: use a longer duration")

func perCommit(first, last raftMoment, clients []*client) (raftFigures, error) {
	var latencies []float64
	for _, c := range clients {
		latencies = append(latencies, c.latencies...)
	}
	n := float64(last.applied - first.applied)
	if n == 0 || len(latencies) == 0 {
		return raftFigures{}, errNoCommits
	}
	slices.Sort(latencies)
	sent := last.traffic.since(first.traffic)
	return raftFigures{
		commits: n / last.at.Sub(first.at).Seconds(),
		p50:     Quantile(latencies, 0.5), p99: Quantile(latencies, 0.99),
		cpu:      float64((last.cpu - first.cpu).Nanoseconds()) / 1e3 / n,
		messages: float64(sent.messages) / n, bytes: float64(sent.bytes) / n, wire: float64(sent.wire) / n,
	}, nil
}
