//go:build linux

package shm

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

func TestConfigNamesAllFaults(t *testing.T) {
	c := Config{
		MaxFrame: -1, SlotSize: 100, Slots: [fabric.Lanes]int{-1, maxSlots + 1, 0}, TicketTimeout: -1, RowInterval: -1, StuckAfter: -1, RedialInterval: -1,
	}
	err := c.Validate()
	if err == nil {
		t.Fatal("no fault found")
	}
	for _, want := range []string{"Self", "Dir", "MaxFrame", "SlotSize", "control lane", "append lane", "TicketTimeout", "RowInterval", "StuckAfter", "RedialInterval"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not named in: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "bulk") {
		t.Errorf("what is right is named: %v", err)
	}
	if _, err := New(c, newRecorder()); err == nil {
		t.Error("New takes it")
	}
	long := Config{Self: 1, Dir: "/" + strings.Repeat("x", maxPath)}
	if err := long.Validate(); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("a long path: %v", err)
	}
	huge := Config{Self: 1, Dir: "/x", MaxFrame: fabric.MaxBody, SlotSize: minSlot}
	if err := huge.Validate(); err == nil || !strings.Contains(err.Error(), "fit together") {
		t.Errorf("frames larger than a ring can be: %v", err)
	}
	good := Config{Self: 1, Dir: "/x"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	full := good.withDefaults()
	if full.MaxFrame < 1<<20 || full.Slots[0] < leastSlots(full.MaxFrame, full.SlotSize) {
		t.Errorf("defaults: %+v", full)
	}
}

func TestConnectRefusesWhatCannotBe(t *testing.T) {
	p := mustPort(t, Config{Self: self, Dir: testDir(t)}, newRecorder())
	for name, err := range map[string]error{
		"itself":    p.Connect(self, Session{}),
		"nobody":    p.Connect(0, Session{}),
		"short key": p.Connect(mate, Session{Key: []byte("short")}),
		"long path": p.Connect(mate, Session{Socket: strings.Repeat("x", maxPath+1)}),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := p.Connect(mate, Session{PeerIncarnation: 5}); err != nil {
		t.Fatal(err)
	}
	if err := p.Connect(mate, Session{PeerIncarnation: 4}); !errors.Is(err, ErrStaleSession) {
		t.Errorf("an older incarnation: %v", err)
	}
	err := p.Send([]fabric.Outgoing{{To: []fabric.MemberID{mate}, Ticket: 1}})
	if !errors.Is(err, fabric.ErrLinkDown) || !errors.Is(err, ErrNotYetUp) {
		t.Errorf("a peer that was not met: %v", err)
	}
	p.Close()
	if err := p.Connect(mate, Session{PeerIncarnation: 6}); !errors.Is(err, fabric.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// The numbers of frames go on in the next session of the same incarnations, and
// what was lost between the two is named.
func TestGapAfterReconnecting(t *testing.T) {
	a, b, atA, atB := testPair(t, nil)
	block, entered := make(chan struct{}), make(chan struct{}, 8)
	atB.hook(func(fabric.MemberID) { entered <- struct{}{}; <-block })
	sendOne(t, a, self, fabric.LaneAppend, 1, nil)
	<-entered
	for n := range 9 {
		sendOne(t, a, self, fabric.LaneAppend, uint64(n+2), nil)
	}
	b.Disconnect(mate)
	atA.await(t, "tickets are lost", func() bool { return len(atA.resolved) == 10 })
	close(block)
	atB.await(t, "link down", func() bool { return !atB.link().Up })
	if err := b.Connect(mate, Session{PeerIncarnation: 1, Key: testKey}); err != nil {
		t.Fatal(err)
	}
	atA.await(t, "link up again", func() bool { return atA.link().Up })
	sendOne(t, a, self, fabric.LaneAppend, 11, nil)
	atB.await(t, "frame 11", func() bool { return len(atB.frames) > 0 && atB.frames[len(atB.frames)-1].Link == 11 })
	atB.mu.Lock()
	defer atB.mu.Unlock()
	if len(atB.frames) != 2 || len(atB.gaps) != 1 || atB.gaps[0] != (fabric.Gap{Lane: fabric.LaneAppend, First: 2, Count: 9}) {
		t.Errorf("told: %q", atB.log)
	}
	atA.mu.Lock()
	defer atA.mu.Unlock()
	for _, r := range atA.resolved[1:10] {
		if !errors.Is(r.Err, fabric.ErrLost) || !errors.Is(r.Err, fabric.ErrLinkDown) || !errors.Is(r.Err, ErrHungUp) {
			t.Errorf("ticket %d: %v", r.Ticket, r.Err)
		}
	}
}

func TestGate(t *testing.T) {
	a, b, atA, atB := testPair(t, nil)
	b.SetGate(mate, false)
	b.SetGate(mate, false)
	atB.await(t, "down here", func() bool { return errors.Is(atB.link().Err, ErrGateShut) })
	atA.await(t, "down there", func() bool { return errors.Is(atA.link().Err, ErrHungUp) })
	err := b.Send([]fabric.Outgoing{{To: []fabric.MemberID{mate}, Ticket: 1}})
	if !errors.Is(err, fabric.ErrLinkDown) || !errors.Is(err, ErrGateShut) {
		t.Errorf("Send while the gate is shut: %v", err)
	}
	b.SetGate(mate, true)
	atB.await(t, "up again", func() bool { return atB.link().Up })
	atA.await(t, "up there, too", func() bool { return atA.link().Up })
	a.SetGate(self, false) // the one that dials
	atA.await(t, "down here", func() bool { return errors.Is(atA.link().Err, ErrGateShut) })
	a.SetGate(self, true)
	atA.await(t, "up again", func() bool { return atA.link().Up })
	a.SetGate(77, false) // before it is connected
	a.SetGate(78, true)
	if err := a.Connect(77, Session{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Send([]fabric.Outgoing{{To: []fabric.MemberID{77}, Ticket: 1}}); !errors.Is(err, fabric.ErrLinkDown) {
		t.Errorf("a gate that was shut beforehand: %v", err)
	}
}

// A handler that does not return for one peer keeps nobody else waiting, and
// the tickets of frames to that peer are settled.
func TestStuckHandlerHoldsUpOnePeer(t *testing.T) {
	const third = fabric.MemberID(0x30)
	dir := testDir(t)
	cfg := Config{Dir: dir, Incarnation: 1}
	handlers, ports := map[fabric.MemberID]*recorder{}, map[fabric.MemberID]*Port{}
	for _, id := range []fabric.MemberID{mate, self, third} {
		cfg.Self = id
		handlers[id] = newRecorder()
		ports[id] = mustPort(t, cfg, handlers[id])
	}
	for id, p := range ports {
		for other := range ports {
			if other != id {
				if err := p.Connect(other, Session{PeerIncarnation: 1}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for _, r := range handlers {
		r.await(t, "links up", func() bool { return len(r.links) == 2 })
	}
	block, entered := make(chan struct{}), make(chan struct{})
	handlers[self].hook(func(from fabric.MemberID) {
		if from == mate {
			entered <- struct{}{}
			<-block
		}
	})
	sendOne(t, ports[mate], self, 0, 1, nil)
	<-entered
	for n := range 20 {
		sendOne(t, ports[third], self, 0, uint64(n), nil)
		handlers[self].await(t, "frames of another peer", func() bool { return len(handlers[self].frames) == n+2 })
		sendOne(t, ports[self], mate, 0, uint64(n+1), nil)
		handlers[self].await(t, "tickets of the peer that is stuck", func() bool { return len(handlers[self].resolved) == n+1 })
	}
	close(block)
	handlers[mate].await(t, "ack", func() bool { return len(handlers[mate].resolved) == 1 })
}

// Whoever dials and says nothing keeps nobody waiting.
func TestSilentStranger(t *testing.T) {
	a, b, atA, _ := testPair(t, nil)
	for range maxMeetings - 2 {
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: b.Socket(), Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	a.Disconnect(self)
	atA.await(t, "down", func() bool { return !atA.link().Up })
	if err := a.Connect(self, Session{PeerIncarnation: 1, Key: testKey}); err != nil {
		t.Fatal(err)
	}
	atA.await(t, "up again", func() bool { return atA.link().Up })
	b.Close() // does not wait for strangers: the leak check would see them
}

func TestSessionReplaced(t *testing.T) {
	a, b, atA, atB := testPair(t, nil)
	key := []byte("another key for the two")
	for p, id := range map[*Port]fabric.MemberID{a: self, b: mate} {
		if err := p.Connect(id, Session{PeerIncarnation: 1, Key: testKey}); err != nil { // nothing new
			t.Fatal(err)
		}
		if err := p.Connect(id, Session{PeerIncarnation: 1, Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	up := func(r *recorder) func() bool { return func() bool { return len(r.links) >= 3 && r.link().Up } }
	atA.await(t, "up again", up(atA))
	atB.await(t, "up again", up(atB))
	sendOne(t, a, self, 0, 1, nil)
	atA.await(t, "ack", func() bool { return len(atA.resolved) == 1 && atA.resolved[0].Acked() })
}

func TestForgettingMembers(t *testing.T) {
	p := mustPort(t, Config{Self: 1, Dir: testDir(t), RedialInterval: time.Minute}, newRecorder())
	for id := range fabric.MemberID(maxKnown + 50) {
		if err := p.Connect(id+2, Session{}); err != nil {
			t.Fatal(err)
		}
		p.Disconnect(id + 2)
	}
	if n := len(p.peers.Load().known); n > maxKnown {
		t.Errorf("%d members are remembered, at most %d", n, maxKnown)
	}
}

func TestHostID(t *testing.T) {
	if id := HostID(); id == "" || id != HostID() {
		t.Errorf("host id %q", id)
	}
}

// fakeClock tells the spinner what time it is: a step for each look.
type fakeClock struct{ now, step time.Duration }

func (c *fakeClock) read() time.Duration { c.now += c.step; return c.now }

func TestSpinnerGivesUpWhereItDoesNotPay(t *testing.T) {
	never := func() bool { return false }
	c := &fakeClock{step: time.Microsecond}
	s := spinner{limit: 20 * time.Microsecond}
	tries := func(n int) (spun int) {
		for range n {
			before := c.now
			s.spin(c.read, never)
			if c.now-before > 2*c.step {
				spun++
			}
			c.now += 30 * time.Microsecond // asleep
		}
		return spun
	}
	if n := tries(1000); n > 100 {
		t.Errorf("%d of 1000 waits were spun in vain", n)
	}
	if s.rest != maxVain {
		t.Errorf("it rests for %v", s.rest)
	}
	c.now += maxVain
	looks := 0
	if !s.spin(c.read, func() bool { looks++; return looks == 3 }) || s.rest != 0 {
		t.Error("success does not count")
	}
	c.step = 2 * spinGap // somebody else had the processor
	for range 50 {
		c.now += maxBusy
		if s.spin(c.read, never) {
			t.Fatal("spun")
		}
	}
	if s.rest != maxBusy {
		t.Errorf("on a processor that is not free it rests for %v", s.rest)
	}
	off := spinner{}
	if off.spin(func() time.Duration { t.Error("it looks at the clock"); return 0 }, never) {
		t.Error("spun")
	}
}

// No ring is missed: the owner sleeps only if nothing rang since it looked. A
// lost wake-up would cost bellPatience each time.
func TestBellMissesNoRing(t *testing.T) {
	b, err := newBell()
	if err != nil {
		t.Fatal(err)
	}
	defer b.release()
	var other ringer
	other.attach(b.mem, b.event)
	const rounds = 20000
	turn, lost := make(chan struct{}), 0
	go func() {
		for range rounds {
			<-turn
			other.ring()
		}
	}()
	for range rounds {
		seen := b.value()
		turn <- struct{}{}
		start := time.Now()
		for b.value() == seen {
			b.sleep(seen)
			if b.value() != seen && time.Since(start) >= bellPatience {
				lost++
			}
		}
	}
	t.Logf("%d of %d sleeps lasted as long as they may", lost, rounds)
	if lost == rounds {
		t.Error("nobody is ever woken")
	}
}

// Send does not wait for the reader to see credit; how far it may be ahead of
// it is bounded.
func TestSendLooksForCreditItself(t *testing.T) {
	a, b, atA, atB := testPair(t, func(c *Config) {
		c.StuckAfter, c.MaxFrame, c.Slots = time.Hour, 1024, [fabric.Lanes]int{8, 8, 8}
	})
	block, entered := make(chan struct{}), make(chan struct{}, 1)
	release := sync.OnceFunc(func() { close(block) })
	t.Cleanup(release)
	atA.hook(func(fabric.MemberID) { entered <- struct{}{}; <-block })
	sendOne(t, b, mate, fabric.LaneControl, 1, nil)
	<-entered // the reader of a settles nothing from now on
	slots := a.shape.slots[fabric.LaneAppend]
	for n := range maxOwed {
		atB.await(t, "room for the next", func() bool { return len(atB.frames) > n-slots })
		sendOne(t, a, self, fabric.LaneAppend, uint64(n+1), nil)
	}
	atB.await(t, "all frames", func() bool { return len(atB.frames) == maxOwed })
	a.Stats(nil) // looks at the credit, too
	if err := a.Send([]fabric.Outgoing{{To: []fabric.MemberID{self}, Lane: fabric.LaneAppend, Ticket: 1 << 40}}); !errors.Is(err, fabric.ErrNoCredit) {
		t.Errorf("one more than the bound: %v", err)
	}
	atA.hook(nil)
	release()
	atA.await(t, "all tickets", func() bool { return len(atA.resolved) == maxOwed })
	sendOne(t, a, self, fabric.LaneAppend, 1<<41, nil)
}

// Two readers may sleep at the same time, one of them retired: a ring wakes
// both, although an event wakes one.
func TestBellWakesAllSleepers(t *testing.T) {
	b, err := newBell()
	if err != nil {
		t.Fatal(err)
	}
	b.deadline = time.Now().Add(time.Hour) // no help from there
	if err := b.file.SetReadDeadline(b.deadline); err != nil {
		t.Fatal(err)
	}
	seen, woken := b.value(), make(chan struct{})
	for range 2 {
		go func() {
			for b.value() == seen {
				b.sleep(seen)
			}
			woken <- struct{}{}
		}()
	}
	for both := false; !both; runtime.Gosched() {
		b.mu.Lock()
		both = b.sleepers == 2
		b.mu.Unlock()
	}
	b.ring()
	for n := range 2 {
		select {
		case <-woken:
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of 2 sleepers were woken", n)
		}
	}
	b.release()
}
