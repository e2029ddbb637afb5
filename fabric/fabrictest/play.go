package fabrictest

import (
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// scriptPatience bounds each wait of a script. Tickets live as long, so that on a
// network without faults none times out, however slow the machine is.
const scriptPatience = time.Minute

// Play has a fresh cluster of f act out s and returns what its members were told.
// It needs neither cuts nor kills, on a network that loses nothing, alters
// nothing and forges nothing: a datagram that a port refuses is a difference.
// What the script cannot go on without fails tb.
func Play(tb testing.TB, f Factory, s *Script) *Outcome {
	tb.Helper()
	p := &player{
		tb: tb, s: s, ids: memberIDs(s.Members), poke: make(chan struct{}, 1), out: newOutcome(), stalled: -1,
		unsettled: make(map[flow]load), undelivered: make(map[flow]load), frames: make(map[uint64]*scriptFrame),
	}
	handlers := make(map[fabric.MemberID]fabric.Handler)
	for rank, id := range p.ids {
		a := &scriptActor{p: p, rank: rank, up: make(map[fabric.MemberID]bool), versions: make(map[fabric.MemberID]uint64)}
		p.actors = append(p.actors, a)
		handlers[id] = Mangle(a)
	}
	p.c = f.New(tb, p.ids, handlers, s.Options)
	closed := sync.OnceFunc(p.c.Close)
	tb.Cleanup(func() {
		p.resumeAll()
		closed()
	})
	p.await("all links are up", p.allUp)
	for i := range s.steps {
		p.act(&s.steps[i])
	}
	// What does not come is a difference.
	_ = p.wait(p.allArrived) && p.wait(p.rowsArrived)
	p.checkRefusals()
	p.note(func() { p.done = true })
	closed()
	return p.out
}

type player struct {
	tb     testing.TB
	s      *Script
	ids    []fabric.MemberID
	c      *Cluster
	actors []*scriptActor
	poke   chan struct{}

	mu      sync.Mutex
	done    bool // what is told from now on comes from closing
	out     *Outcome
	arrived int
	frames  map[uint64]*scriptFrame
	stalled int // a rank, or -1
	// What is under way. A frame can be in memory, and its ticket acked, that
	// still takes credit until it is handed over.
	unsettled, undelivered map[flow]load
}

// load is so many bytes and frames.
type load struct{ bytes, frames int }

func add(m map[flow]load, fl flow, bytes, frames int) {
	l := m[fl]
	m[fl] = load{l.bytes + bytes, l.frames + frames}
}

// scriptActor is a member's handler.
type scriptActor struct {
	p        *player
	rank     int
	up       map[fabric.MemberID]bool
	versions map[fabric.MemberID]uint64
	gate     chan struct{} // if not nil, Deliver waits for it
}

func (p *player) act(st *step) {
	switch {
	case st.row != nil:
		r := st.row
		err := p.port(r.owner).Publish(fabric.Row{Owner: p.ids[r.owner], Incarnation: 1, Version: r.version, Sections: r.sections()}, ranked(p.ids, r.prompt))
		if err != nil {
			p.tb.Fatalf("row %d of %s: %v", r.version, p.ids[r.owner], err)
		}
	case st.stall > 0:
		p.stall(st.stall - 1)
	case st.resume > 0:
		p.resume(st.resume - 1)
	case st.pause:
		p.await("everything settles", p.settled)
	default:
		p.send(st.batch)
	}
}

func (p *player) port(rank int) fabric.Port { return p.c.Port(p.ids[rank]) }

func (p *player) send(batch []scriptFrame) {
	from := batch[0].from
	p.await("there is room", func() bool { return p.room(from) })
	out := make([]fabric.Outgoing, len(batch))
	p.mu.Lock()
	for i := range batch {
		f := &batch[i]
		out[i] = f.outgoing(p.ids)
		p.frames[f.ticket] = f
		for k, to := range f.to {
			fl := flow{from, to, f.lane}
			add(p.unsettled, fl, f.weight(k), 1)
			add(p.undelivered, fl, f.weight(k), 1)
		}
	}
	p.mu.Unlock()
	if err := p.port(from).Send(out); err != nil {
		p.tb.Fatalf("Send of %s: %v", p.ids[from], err)
	}
	for i := range out { // the port has copied what it keeps
		scribble(out[i].Body)
		for _, patch := range out[i].Patch {
			scribble(patch)
		}
	}
}

// room reports whether a member may send another batch; mu is held, as in all
// conditions.
func (p *player) room(from int) bool {
	for _, m := range []map[flow]load{p.unsettled, p.undelivered} {
		for fl, l := range m {
			// To a stalled member a script sends no more than a quarter, and it
			// may neither ack nor deliver that.
			if fl.from == from && fl.to != p.stalled && (l.bytes > scriptQueue/4 || l.frames > scriptFrames/4) {
				return false
			}
		}
	}
	return true
}

func (p *player) settled() bool {
	for _, l := range p.unsettled {
		if l.frames > 0 {
			return false
		}
	}
	return true
}

func (p *player) allUp() bool {
	for _, a := range p.actors {
		if len(a.up) < len(p.ids)-1 {
			return false
		}
	}
	return true
}

func (p *player) allArrived() bool {
	want, _ := p.s.frames()
	return p.arrived >= want
}

func (p *player) rowsArrived() bool {
	for owner, version := range p.s.lastRow() {
		for _, a := range p.actors {
			if a.rank != owner && a.versions[p.ids[owner]] < version {
				return false
			}
		}
	}
	return true
}

func (p *player) stall(rank int) {
	p.note(func() { p.stalled = rank })
	if p.c.Stall != nil {
		p.c.Stall(p.ids[rank])
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.actors[rank].gate = make(chan struct{})
}

func (p *player) resume(rank int) {
	p.note(func() { p.stalled = -1 })
	if p.c.Unstall != nil {
		p.c.Unstall(p.ids[rank])
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.actors[rank].openLocked()
}

func (p *player) resumeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.actors {
		a.openLocked()
	}
}

func (a *scriptActor) openLocked() {
	if a.gate != nil {
		close(a.gate)
		a.gate = nil
	}
}

// checkRefusals holds the ports' own counters against a network that alters
// nothing.
func (p *player) checkRefusals() {
	for _, id := range p.ids {
		r, ok := p.c.Port(id).(fabric.StatsReporter)
		if !ok {
			continue
		}
		for _, s := range r.Stats(nil) {
			if s.Refused > 0 {
				p.mu.Lock()
				p.out.fault("%s has refused %d datagrams of %s", id, s.Refused, s.Peer)
				p.mu.Unlock()
			}
		}
	}
}

// await drives the cluster until cond holds, which may look at everything.
func (p *player) await(what string, cond func() bool) {
	p.tb.Helper()
	if p.wait(cond) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	want, _ := p.s.frames()
	p.tb.Fatalf("%s: not within %v; %d of %d frames have arrived, %q, not settled: %v", what, p.s.patience, p.arrived, want, p.out.wrong, p.unsettled)
}

// wait is await for what the script can go on without.
func (p *player) wait(cond func() bool) bool {
	holds := func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return cond()
	}
	if p.c != nil && p.c.Advance != nil {
		for spent := time.Duration(0); !holds(); spent += virtualStep {
			if spent > p.s.patience {
				return false
			}
			p.c.Advance(virtualStep)
		}
		return true
	}
	deadline := time.NewTimer(p.s.patience)
	defer deadline.Stop()
	look := time.NewTicker(20 * time.Millisecond) // a poke may be taken by an earlier wait
	defer look.Stop()
	for !holds() {
		select {
		case <-p.poke:
		case <-look.C:
		case <-deadline.C:
			return false
		}
	}
	return true
}

// note runs f under the lock and tells the script that something has changed.
func (p *player) note(f func()) {
	p.mu.Lock()
	if !p.done {
		f()
	}
	p.mu.Unlock()
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

func (a *scriptActor) id() fabric.MemberID { return a.p.ids[a.rank] }

func (a *scriptActor) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	list := make([]arrival, len(frames))
	for i := range frames {
		f := &frames[i]
		list[i] = arrival{
			lane: f.Lane, class: f.Class, link: f.Link, stream: f.Stream, stamp: f.Stamp, size: len(f.Body), digest: digest(f.Patch, f.Body),
		}
	}
	var gate chan struct{}
	a.p.note(func() {
		for _, x := range list {
			a.p.out.arrive(from, a.id(), x)
			a.p.takeOff(a.p.undelivered, x.stream, a.id())
		}
		a.p.arrived += len(list)
		gate = a.gate
	})
	if gate != nil {
		<-gate
	}
}

func (a *scriptActor) Gap(from fabric.MemberID, g fabric.Gap) {
	a.p.note(func() {
		a.p.out.fault("%s is told that %d frames of %s in %v are missing, from %d on", a.id(), g.Count, from, g.Lane, g.First)
	})
}

func (a *scriptActor) Row(from fabric.MemberID, row fabric.Row) {
	a.p.note(func() {
		if row.Version <= a.versions[from] {
			a.p.out.fault("%s is handed row %d of %s after %d", a.id(), row.Version, from, a.versions[from])
		}
		a.versions[from] = row.Version
		a.p.out.row(from, a.id(), row)
	})
}

func (a *scriptActor) Resolve(settled []fabric.Resolution) {
	a.p.note(func() {
		for _, r := range settled {
			a.p.out.settle(a.id(), r)
			a.p.takeOff(a.p.unsettled, r.Ticket, r.To)
		}
	})
}

// takeOff takes a frame at one destination off what is under way. One that the
// script does not know is for Diff to tell of.
func (p *player) takeOff(m map[flow]load, ticket uint64, at fabric.MemberID) {
	f := p.frames[ticket]
	if f == nil {
		return
	}
	for k, to := range f.to {
		if p.ids[to] == at {
			add(m, flow{f.from, to, f.lane}, -f.weight(k), -1)
		}
	}
}

func (a *scriptActor) Link(peer fabric.MemberID, s fabric.LinkState) {
	a.p.note(func() {
		if s.Up {
			a.up[peer] = true
			return
		}
		a.p.out.fault("%s is told that the link to %s is down: %v", a.id(), peer, s.Err)
	})
}
