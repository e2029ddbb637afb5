package udp

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// stillPump is the pump of a port with so many peers, whose timer nobody serves.
func stillPump(t *testing.T, n int) (*Port, []*peer) {
	t.Helper()
	port := &Port{start: time.Now()}
	set := &peerSet{byID: make(map[fabric.MemberID]*peer)}
	for i := range n {
		pe := &peer{port: port, id: fabric.MemberID(i + 1)}
		pe.deadline.Store(farFuture)
		set.byID[pe.id], set.list = pe, append(set.list, pe)
	}
	port.peers.Store(set)
	port.pump.init(port)
	t.Cleanup(func() { port.pump.timer.Stop() })
	return port, set.list
}

// TestPostponed: the timer is set for later when the deadline that it was set for
// moves, and never beyond another one.
func TestPostponed(t *testing.T) {
	const ms = int64(time.Millisecond)
	port, peers := stillPump(t, 2)
	p, a, b := &port.pump, peers[0], peers[1]
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
	port, peers := stillPump(t, 2)
	p, a, b := &port.pump, peers[0], peers[1]
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
	port, peers := stillPump(t, 4)
	p := &port.pump
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

// TestBurstIsDue: a peer that comes or goes changes what the others may send at
// once, and the timer is set for telling them.
func TestBurstIsDue(t *testing.T) {
	port, peers := stillPump(t, 2)
	port.info.receiveBuffer = 1 << 20
	for i, pe := range peers {
		key, err := firstKey(bytes.Repeat([]byte{byte(i + 1)}, 32), uint64(i+1), true)
		if err != nil {
			t.Fatal(err)
		}
		pe.link, err = newLink(&linkConfig{
			peer: pe.id, ticketTimeout: int64(time.Hour), idleTimeout: int64(time.Hour), keepAlive: int64(time.Hour),
			sendIndex: uint64(i + 1), recvIndex: uint64(i + 1), sendKey: key, recvKey: key,
		}, port.now())
		if err != nil {
			t.Fatal(err)
		}
		pe.link.phase, pe.link.windowAt = phaseUp, farFuture
	}
	for _, gone := range peers {
		port.publishPeers(func(set *peerSet) { delete(set.byID, gone.id) })
		for _, pe := range port.peers.Load().list {
			if at := port.pump.at.Load(); pe.link.windowAt == farFuture || at != pe.link.windowAt {
				t.Errorf("without member %d: member %d is to be told at %d, the timer is set for %d", gone.id, pe.id, pe.link.windowAt, at)
			}
		}
	}
}
