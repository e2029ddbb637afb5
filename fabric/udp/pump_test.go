package udp

import (
	"sync"
	"testing"
	"time"
)

// TestPostponed: the timer is set for later when the deadline that it was set for
// moves, and never beyond another one.
func TestPostponed(t *testing.T) {
	const ms = int64(time.Millisecond)
	port := &Port{start: time.Now()}
	a, b := &peer{port: port}, &peer{port: port}
	a.deadline.Store(farFuture)
	b.deadline.Store(farFuture)
	port.peers.Store(&peerSet{list: []*peer{a, b}})
	p := &port.pump
	p.init(port)
	defer p.timer.Stop()
	now := port.now() + 3600*1000*ms // the timer does not run during the test
	check := func(what string, want int64) {
		t.Helper()
		if got := p.at.Load(); got != want {
			t.Errorf("%s: the timer is set for %d ms, want %d ms", what, (got-now)/ms, (want-now)/ms)
		}
	}
	p.due(a, now+20*ms, now)
	check("a deadline", now+20*ms)
	p.due(a, now+500*ms, now+ms)
	check("it moves", now+500*ms)
	p.due(a, now+30*ms, now+2*ms)
	p.due(a, now+500*ms, now+3*ms)
	check("it moves again soon after", now+30*ms)
	p.due(b, now+60*ms, now+10*ms)
	check("another one's", now+60*ms) // which is a reason to look
	p.due(b, now+80*ms, now+20*ms)
	check("both move", now+80*ms)
	p.arm(now + 40*ms)
	p.due(b, now+600*ms, now+30*ms)
	check("something else is due", now+40*ms)
	p.due(a, now+700*ms, now+41*ms)
	check("it is late", now+40*ms)
}

// TestPostponedMeanwhile: a deadline that comes while the timer is set for later is
// not forgotten, wherever it comes.
func TestPostponedMeanwhile(t *testing.T) {
	const ms = int64(time.Millisecond)
	port := &Port{start: time.Now()}
	a, b := &peer{port: port}, &peer{port: port}
	a.deadline.Store(farFuture)
	b.deadline.Store(farFuture)
	port.peers.Store(&peerSet{list: []*peer{a, b}})
	p := &port.pump
	p.init(port)
	defer p.timer.Stop()
	now := port.now() + 3600*1000*ms
	p.due(a, now+20*ms, now)
	p.between = func() { b.deadline.Store(now + 50*ms) } // as due does first
	p.due(a, now+500*ms, now+ms)
	if got := p.at.Load(); got != now+50*ms {
		t.Errorf("the timer is set for %d ms, want 50 ms", (got-now)/ms)
	}
}

// TestPostponedRaces: whoever has a deadline finds the timer set for it, or for
// earlier, whatever others do at the same time.
func TestPostponedRaces(t *testing.T) {
	port := &Port{start: time.Now()}
	peers := make([]*peer, 4)
	for i := range peers {
		peers[i] = &peer{port: port}
		peers[i].deadline.Store(farFuture)
	}
	port.peers.Store(&peerSet{list: peers})
	p := &port.pump
	p.init(port)
	defer p.timer.Stop()
	base := port.now() + int64(time.Hour)
	for round := range int64(2000) {
		now := base + round*int64(postponeEvery)
		var wg sync.WaitGroup
		for i, pe := range peers {
			wg.Go(func() {
				p.due(pe, now+int64(i+1)*int64(time.Second), now)
				p.due(pe, now+int64(i+1)*int64(time.Millisecond), now)
				p.due(pe, now+int64(10-i)*int64(time.Second), now)
			})
		}
		wg.Wait()
		p.armMu.Lock()
		at, first := p.at.Load(), p.earliest()
		p.armMu.Unlock()
		if at > first {
			t.Fatalf("round %d: the timer is set for %v after the first deadline", round, time.Duration(at-first))
		}
	}
}
