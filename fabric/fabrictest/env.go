package fabrictest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// env is one case's cluster with everything that was sent in it.
type env struct {
	tb    testing.TB
	f     *Factory
	opt   Options
	ids   []fabric.MemberID
	c     *Cluster
	faced bool // faults were injected: tickets may be lost

	closeOnce sync.Once
	poke      chan struct{}

	mu       sync.Mutex
	done     bool
	failures int
	members  map[fabric.MemberID]*member // the newest incarnation of each
	everyone []*member
	sent     []*sentFrame // their ids, 1 2 3..., are stream sequences
	cuts     [][2]fabric.MemberID
}

// maxFailures keeps a broken port from flooding the output.
const maxFailures = 20

func newEnv(tb testing.TB, f *Factory, c *testCase) *env {
	n := c.members
	if n == 0 {
		n = 3
	}
	e := &env{
		tb: tb, f: f, opt: c.options(), ids: memberIDs(n), poke: make(chan struct{}, 1),
		members: make(map[fabric.MemberID]*member), faced: f.Lossy,
	}
	handlers := make(map[fabric.MemberID]fabric.Handler)
	for _, id := range e.ids {
		handlers[id] = e.join(id)
	}
	e.tb.Cleanup(e.close)
	e.c = f.New(tb, e.ids, handlers, e.opt)
	e.checkAbilities()
	e.awaitLinks()
	return e
}

func (e *env) checkAbilities() {
	_, stats := e.port(e.ids[0]).(fabric.StatsReporter)
	for a, missing := range map[Ability]bool{
		AbleKill: e.c.Kill == nil, AbleRestart: e.c.Restart == nil, AbleCut: e.c.Cut == nil || e.c.Mend == nil,
		AbleWait: e.c.Advance != nil || e.c.Stall != nil, AbleStats: !stats,
	} {
		switch why := e.f.Lacks[a]; {
		case missing && why == "":
			e.tb.Fatalf("%s does not offer %q and Factory.Lacks does not say why", e.f.Name, a)
		case !missing && why != "":
			e.tb.Fatalf("%s offers %q, and Factory.Lacks says that it does not (%s): cases that need it would be skipped", e.f.Name, a, why)
		}
	}
}

// join makes the handler of a member's next incarnation.
func (e *env) join(id fabric.MemberID) *member {
	e.mu.Lock()
	defer e.mu.Unlock()
	m := &member{e: e, id: id, peers: make(map[fabric.MemberID]*peerView)}
	if old := e.members[id]; old != nil {
		m.gen = old.gen + 1
	}
	e.members[id] = m
	e.everyone = append(e.everyone, m)
	return m
}

func (e *env) member(id fabric.MemberID) *member {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.members[id]
}

func (e *env) port(id fabric.MemberID) fabric.Port { return e.c.Port(id) }

func (e *env) others(id fabric.MemberID) []fabric.MemberID {
	return slices.DeleteFunc(slices.Clone(e.ids), func(x fabric.MemberID) bool { return x == id })
}

// awaitLinks waits until every live member was told that every other is up.
func (e *env) awaitLinks() {
	e.must("P4: Link says that a peer can be reached", e.f.Patience, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, m := range e.members {
			for _, p := range e.ids {
				if p != m.id && !m.ended && !e.members[p].ended && !m.peer(p).link.Up {
					return false
				}
			}
		}
		return true
	})
}

// violate reports a breach of the contract. Any goroutine may call it.
func (e *env) violate(format string, args ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.violateLocked(format, args...)
}

func (e *env) violateLocked(format string, args ...any) {
	if e.failures++; e.done || e.failures > maxFailures {
		return
	}
	e.tb.Errorf("%s: %s", e.f.Name, fmt.Sprintf(format, args...))
}

func (e *env) changed() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}

// virtualStep is how far Advance goes between two looks at a condition.
const virtualStep = 250 * time.Microsecond

// eventually drives the cluster until cond holds, or for at most within.
func (e *env) eventually(within time.Duration, cond func() bool) bool {
	if e.c != nil && e.c.Advance != nil {
		for spent := time.Duration(0); !cond(); spent += virtualStep {
			if spent >= within {
				return false
			}
			e.c.Advance(virtualStep)
		}
		return true
	}
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	look := time.NewTicker(2 * time.Millisecond) // for conditions that nothing announces
	defer look.Stop()
	for {
		start := time.Now()
		if cond() {
			return true
		}
		rest := 4 * time.Since(start) // the ports under test need the machine, too
		select {
		case <-e.poke:
			time.Sleep(rest)
		case <-look.C:
		case <-deadline.C:
			return cond()
		}
	}
}

// must fails the case at once when cond does not come to hold.
func (e *env) must(what string, within time.Duration, cond func() bool) {
	e.tb.Helper()
	if !e.eventually(within, cond) {
		e.tb.Fatalf("%s: %s: not within %v", e.f.Name, what, within)
	}
}

// pass lets time go by where a case needs to see that nothing happens.
func (e *env) pass(d time.Duration) {
	e.eventually(d, func() bool { return false })
}

// promptly calls f, which the contract says does not block, and fails the case
// if it does.
func (e *env) promptly(what string, f func()) {
	e.tb.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
	case <-time.After(e.f.Patience):
		e.tb.Fatalf("%s: %s: still blocked after %v", e.f.Name, what, e.f.Patience)
	}
}

// each calls f for 0 to n-1: at the same time on the wall clock, in turn in
// virtual time.
func (e *env) each(n int, f func(i int)) {
	if e.c.Advance != nil {
		for i := range n {
			f(i)
		}
		return
	}
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// ticketTime is how long the contract gives a ticket.
func (e *env) ticketTime() time.Duration {
	t := e.opt.TicketTimeout
	for _, id := range e.ids {
		if !e.member(id).isEnded() {
			t = e.port(id).Capabilities().TicketTimeout
			break
		}
	}
	if e.c.Advance == nil {
		t += e.f.Slack
	} else {
		t += t / 4 // an ack that was on its way
	}
	return t
}

func (e *env) maxFrame() int { return e.port(e.ids[0]).Capabilities().MaxFrame }

// stall keeps a member from returning from Deliver until unstall, having seen
// that it is stuck with a frame of each of the peers.
func (e *env) stall(id fabric.MemberID, peers ...fabric.MemberID) {
	e.tb.Helper()
	m := e.member(id)
	if e.c.Stall != nil {
		e.c.Stall(id)
		m.stalled = true
		return
	}
	m.shut()
	for _, p := range peers {
		e.push(p, msg{to: one(id), lane: fabric.LaneControl, size: 1})
	}
	e.must("D3: the receiver is in Deliver", e.f.Patience, func() bool { return m.stuck() == len(peers) })
}

func (e *env) unstall(id fabric.MemberID) {
	m := e.member(id)
	if e.c.Unstall != nil {
		if m.stalled && !m.isEnded() {
			m.stalled = false
			e.c.Unstall(id)
		}
		return
	}
	m.open()
}

func (e *env) cut(from, to fabric.MemberID) {
	e.faced = true
	e.cuts = append(e.cuts, [2]fabric.MemberID{from, to})
	e.c.Cut(from, to)
}

func (e *env) mend() {
	for _, c := range e.cuts {
		e.c.Mend(c[0], c[1])
	}
	e.cuts = nil
}

func (e *env) kill(id fabric.MemberID) {
	e.faced = true
	m := e.member(id)
	m.open() // a crash also ends the handler's call
	e.mu.Lock()
	m.crashed = true
	e.mu.Unlock()
	e.c.Kill(id)
	m.end()
}

func (e *env) closePort(id fabric.MemberID) {
	e.tb.Helper()
	e.faced = true
	m, p := e.member(id), e.port(id)
	m.open()
	e.promptly("Close ends", func() {
		if err := p.Close(); err != nil {
			e.violate("Close of %s: %v", id, err)
		}
	})
	m.end()
}

func (e *env) restart(id fabric.MemberID) {
	e.c.Restart(id, e.join(id))
}

// finish waits for all that is under way, checks the books, and closes. The
// first breach ends it: what follows from it would only be noise.
func (e *env) finish() {
	e.mend()
	for _, id := range e.ids {
		e.unstall(id)
	}
	for _, check := range []func(){e.resolveAll, e.ackedArrive, e.checkLosses, e.checkStats} {
		if e.failed() {
			break
		}
		check()
	}
	e.close()
}

func (e *env) failed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.failures > 0
}

// close ends the cluster; what happens after it is nobody's concern.
func (e *env) close() {
	e.closeOnce.Do(func() {
		e.mu.Lock()
		for _, m := range e.everyone {
			m.openLocked()
		}
		e.mu.Unlock()
		if e.c != nil && e.c.Close != nil {
			e.c.Close()
		}
		e.mu.Lock()
		e.done = true
		e.mu.Unlock()
	})
}

func one(id fabric.MemberID) []fabric.MemberID { return []fabric.MemberID{id} }
