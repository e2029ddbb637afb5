package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

const (
	// warmUp is the share of a flood before anything is counted.
	warmUp = 0.2
	// clockEvery is how many steps pass between two looks at the clock.
	clockEvery = 16
)

// floodResult is one measurement of deliveries.
type floodResult struct {
	perSecond float64
	cpu       float64 // µs per delivery
	allocs    float64 // per delivery
}

// flood is one measurement under way.
type flood struct {
	g      *group
	size   int
	window uint64
	seen   []*follower
	// wakeAt is the index that the slowest follower must reach for the leader
	// to go on; wake carries that.
	wakeAt atomic.Uint64
	wake   chan struct{}
	failed chan error
	timer  *time.Timer
}

// follower counts what one member was handed. Only that member's deliveries
// write to it; a line of its own keeps followers apart.
type follower struct {
	last atomic.Uint64
	_    [56]byte
}

// runFlood sends for about d and measures the part after the warm-up.
func runFlood(ctx context.Context, g *group, size, window int, d time.Duration) (floodResult, error) {
	f := newFlood(g, size, window)
	defer f.close()
	res, err := f.send(ctx, d)
	if err == nil {
		err = f.drain(ctx)
	}
	if err != nil {
		return res, fmt.Errorf("%s with %d members: %w (%s)", g.sys.name, len(g.members), err, g.troubles())
	}
	return res, g.ready()
}

func newFlood(g *group, size, window int) *flood {
	f := &flood{g: g, size: size, window: uint64(window), wake: make(chan struct{}, 1), failed: make(chan error, 1), timer: time.NewTimer(g.stall)}
	for _, m := range g.followers() {
		s := &follower{}
		s.last.Store(g.index)
		f.seen = append(f.seen, s)
		m.node.on(func(msg *raftpb.Message) { f.delivered(s, msg) })
	}
	return f
}

func (f *flood) close() {
	f.timer.Stop()
	for _, m := range f.g.followers() {
		m.node.ignore()
	}
}

// delivered checks what a follower was handed: the next entry and nothing else.
func (f *flood) delivered(s *follower, m *raftpb.Message) {
	index, err := entryIndex(m, f.size)
	if want := s.last.Load() + 1; err == nil && index != want {
		err = fmt.Errorf("entry %d delivered where %d was due: a message was lost, doubled or reordered", index, want)
	}
	if err != nil {
		select {
		case f.failed <- err:
		default:
		}
		return
	}
	s.last.Store(index)
	if index == f.wakeAt.Load() {
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

// send is the leader. It returns what was used between the end of the warm-up
// and d.
func (f *flood) send(ctx context.Context, d time.Duration) (res floodResult, err error) {
	made := newMaker(f.g.leader().id, f.g.followers(), f.size, int(f.window))
	begin := time.Now()
	var first usage
	var before uint64
	for step := 1; ; step++ {
		if err := f.step(ctx, made); err != nil {
			return res, err
		}
		if step%clockEvery != 0 {
			continue
		}
		switch t := time.Since(begin); {
		case t >= d:
			last, err := readUsage()
			return perDelivery(first, last, f.deliveries()-before), err
		case t >= time.Duration(warmUp*float64(d)) && first.at.IsZero():
			before = f.deliveries()
			if first, err = readUsage(); err != nil {
				return res, err
			}
		}
	}
}

// step sends one entry to all followers, when the window allows.
func (f *flood) step(ctx context.Context, made *maker) error {
	if f.g.index-f.slowest() >= f.window {
		if err := f.wait(ctx, f.g.index-f.window/2); err != nil {
			return err
		}
	}
	f.g.index++
	f.g.leader().tr.Send(made.step(f.g.index))
	return nil
}

func perDelivery(first, last usage, n uint64) floodResult {
	return floodResult{
		perSecond: float64(n) / last.at.Sub(first.at).Seconds(),
		cpu:       float64((last.cpu - first.cpu).Nanoseconds()) / 1e3 / float64(n),
		allocs:    float64(last.mallocs-first.mallocs) / float64(n),
	}
}

// wait returns when all followers have been handed index.
func (f *flood) wait(ctx context.Context, index uint64) error {
	f.wakeAt.Store(index)
	f.timer.Reset(f.g.stall)
	for f.slowest() < index {
		select {
		case <-f.wake:
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.timer.C:
			return fmt.Errorf("no progress for %v: entry %d of %d is at all followers: messages were lost", f.g.stall, f.slowest(), f.g.index)
		}
	}
	return nil
}

// drain waits for the rest, so that nothing of this run reaches the next.
func (f *flood) drain(ctx context.Context) error {
	if err := f.wait(ctx, f.g.index); err != nil {
		return err
	}
	select {
	case err := <-f.failed:
		return err
	default:
		return nil
	}
}

func (f *flood) slowest() uint64 {
	low := f.seen[0].last.Load()
	for _, s := range f.seen[1:] {
		low = min(low, s.last.Load())
	}
	return low
}

func (f *flood) deliveries() (n uint64) {
	for _, s := range f.seen {
		n += s.last.Load()
	}
	return n
}
