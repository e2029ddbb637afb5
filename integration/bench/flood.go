package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
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
	// Messages, the warm-up included. Only of lossy systems may any be lost.
	sent, lost uint64
}

// flood is one measurement under way.
type flood struct {
	g    *group
	load load
	seen []*follower
	// first is the last entry of the run before.
	first uint64
	// forgiven is how far the leader has given up to wait. Its goroutine's.
	forgiven uint64
	// wakeAt is the index that the slowest follower must reach for the leader
	// to go on; wake carries that.
	wakeAt atomic.Uint64
	wake   chan struct{}
	failed chan error
	timer  *time.Timer
	stop   chan struct{} // for the followers' goroutines
	wg     sync.WaitGroup
}

// load is what a flood sends.
type load struct {
	size   int
	window uint64
	// acks: followers answer, and what they answered moves the window. Without,
	// the window moves with what they were handed.
	acks bool
}

// follower counts what one member was handed. Only that member's deliveries
// write to it; a line of its own keeps followers apart.
type follower struct {
	last  atomic.Uint64
	acked atomic.Uint64 // as the leader knows
	lost  atomic.Uint64 // jumped over
	news  chan struct{} // last has risen
	_     [32]byte
}

// runFlood sends for about d and measures the part after the warm-up.
func runFlood(ctx context.Context, g *group, l load, d time.Duration) (floodResult, error) {
	f := newFlood(g, l)
	defer f.close()
	res, err := f.send(ctx, d)
	if err == nil {
		err = f.drain(ctx)
	}
	if err != nil {
		return res, fmt.Errorf("%s with %d members: %w (%s)", g.sys.name, len(g.members), err, g.troubles())
	}
	res.sent = (g.index - f.first) * uint64(len(f.seen))
	res.lost = res.sent - (f.deliveries() - f.first*uint64(len(f.seen)))
	return res, g.ready()
}

func newFlood(g *group, l load) *flood {
	f := &flood{
		g: g, load: l, wake: make(chan struct{}, 1), failed: make(chan error, 1), timer: time.NewTimer(g.stall),
		stop: make(chan struct{}), first: g.index,
	}
	f.wakeAt.Store(math.MaxUint64)
	for _, m := range g.followers() {
		s := &follower{news: make(chan struct{}, 1)}
		s.last.Store(g.index)
		s.acked.Store(g.index)
		f.seen = append(f.seen, s)
		m.node.on(func(msg *raftpb.Message) { f.delivered(s, msg) })
		if l.acks {
			f.wg.Go(func() { f.answer(m, s) })
		}
	}
	if l.acks {
		g.leader().node.on(f.answered)
	}
	return f
}

func (f *flood) close() {
	f.timer.Stop()
	close(f.stop)
	f.wg.Wait()
	for _, m := range f.g.members {
		m.node.ignore()
	}
}

// delivered checks what a follower was handed: the next entry and nothing else.
func (f *flood) delivered(s *follower, m *raftpb.Message) {
	index, err := entryIndex(m, f.load.size)
	before := s.last.Load()
	switch want := before + 1; {
	case err != nil:
	case index == want:
	case f.g.sys.lossy && index > want:
		s.lost.Add(index - want)
	case f.g.sys.lossy && index <= f.first:
		return // so late that the run before counted it as lost
	default:
		err = fmt.Errorf("entry %d delivered where %d was due: a message was lost, doubled or reordered", index, want)
	}
	if err != nil {
		f.fail(err)
		return
	}
	s.last.Store(index)
	if f.load.acks {
		signal(s.news)
	} else if at := f.wakeAt.Load(); before < at && at <= index {
		signal(f.wake)
	}
}

// answer is a follower's raft: whenever it comes round it answers for all that
// it has.
func (f *flood) answer(m *member, s *follower) {
	for {
		select {
		case <-s.news:
		case <-f.stop:
			return
		}
		m.tr.Send([]*raftpb.Message{accept(m.id, f.g.leader().id, s.last.Load())})
	}
}

// answered is the leader's raft.
func (f *flood) answered(m *raftpb.Message) {
	at := int(m.GetFrom()) - 2 // the leader is member 1
	if m.GetType() != raftpb.MsgAppResp || at < 0 || at >= len(f.seen) || m.GetIndex() > f.seen[at].last.Load() {
		f.fail(fmt.Errorf("%v is no answer of a follower", m))
		return
	}
	s := f.seen[at]
	s.acked.Store(max(m.GetIndex(), s.acked.Load()))
	if m.GetIndex() >= f.wakeAt.Load() {
		signal(f.wake)
	}
}

func (f *flood) fail(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// lateAtMost bounds for how many times as long as it is to last a measurement goes on
// until anything is delivered.
const lateAtMost = 50

// send is the leader. It returns what was used between the end of the warm-up
// and the end of d, which is late on a busy machine.
func (f *flood) send(ctx context.Context, d time.Duration) (res floodResult, err error) {
	made := newMaker(f.g.leader().id, f.g.followers(), f.load.size, int(f.load.window))
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
		if ctx.Err() != nil {
			return res, context.Cause(ctx)
		}
		switch {
		case first.at.IsZero():
			if time.Since(begin) >= time.Duration(warmUp*float64(d)) {
				before = f.deliveries()
				if first, err = readUsage(); err != nil {
					return res, err
				}
			}
		case time.Since(first.at) >= time.Duration((1-warmUp)*float64(d)):
			n := f.deliveries() - before
			if n == 0 && time.Since(first.at) < lateAtMost*d {
				continue // the machine is busy
			}
			last, err := readUsage()
			if err == nil && n > 0 {
				return perDelivery(first, last, n), nil
			}
			return res, cmp.Or(err, errNoDeliveries)
		}
	}
}

// step sends one entry to all followers, when the window allows.
func (f *flood) step(ctx context.Context, made *maker) error {
	if f.g.index-f.slowest() >= f.load.window {
		if err := f.wait(ctx, f.g.index-f.load.window/2); err != nil {
			return err
		}
		if f.forgiven == f.g.index {
			made.renew() // what counts as lost may still lie in a queue
		}
	}
	f.g.index++
	f.g.leader().tr.Send(made.step(f.g.index))
	return nil
}

var errNoDeliveries = errors.New("nothing was delivered after the warm-up: use a longer duration")

func perDelivery(first, last usage, n uint64) floodResult {
	return floodResult{
		perSecond: float64(n) / last.at.Sub(first.at).Seconds(),
		cpu:       float64((last.cpu - first.cpu).Nanoseconds()) / 1e3 / float64(n),
		allocs:    float64(last.mallocs-first.mallocs) / float64(n),
	}
}

// wait returns when the slowest follower has reached index. Of a lossy system
// nothing more is expected when nothing came for a while.
func (f *flood) wait(ctx context.Context, index uint64) error {
	f.wakeAt.Store(index)
	defer f.wakeAt.Store(math.MaxUint64)
	limit := f.g.stall
	if f.g.sys.lossy {
		limit = f.g.patience
	}
	f.timer.Reset(limit)
	for before := f.deliveries(); f.slowest() < index; {
		select {
		case <-f.wake:
		case err := <-f.failed:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.timer.C:
			if now := f.deliveries(); f.g.sys.lossy && now > before {
				before = now
				f.timer.Reset(limit)
				continue
			}
			if f.g.sys.lossy {
				f.forgiven = f.g.index
				return nil
			}
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

// slowest is how far the last follower is, as the leader knows or assumes.
func (f *flood) slowest() uint64 {
	low := uint64(math.MaxUint64)
	for _, s := range f.seen {
		if f.load.acks {
			low = min(low, s.acked.Load())
		} else {
			low = min(low, s.last.Load())
		}
	}
	return max(low, f.forgiven)
}

// deliveries is the sum of all followers' entries from the first ever, less
// what was lost in this run.
func (f *flood) deliveries() (n uint64) {
	for _, s := range f.seen {
		n += s.last.Load() - s.lost.Load()
	}
	return n
}
