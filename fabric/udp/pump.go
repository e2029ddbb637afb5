package udp

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// pumpRounds bounds what the pump sends to one peer before it looks at the
// others.
const pumpRounds = 8

// pumpGrain is the least time between two runs of the timers: what is due and
// cannot be done, because another goroutine is sending, must not spin.
const pumpGrain = 20 * time.Microsecond

// pump is the goroutine that runs timers and sends what others left behind. It
// never calls the handler.
type pump struct {
	port  *Port
	wake  chan struct{}
	timer *time.Timer
	// at is the time that the timer is set for; armMu orders changes. fixed is that
	// of what is no peer's deadline; postponed is when the timer was set for later
	// last.
	at        atomic.Int64
	armMu     sync.Mutex
	fixed     atomic.Int64
	postponed atomic.Int64
	between   func() // of tests: in the middle of postpone
	// watching says whether the reader is looked after when the timer runs next.
	watching atomic.Int32

	mu   sync.Mutex
	list []*peer // that have something to send

	spare []*peer // pump goroutine only
	ev    events
}

func (p *pump) init(port *Port) {
	p.port, p.wake = port, make(chan struct{}, 1)
	p.timer = time.NewTimer(time.Hour)
	p.at.Store(farFuture)
	p.fixed.Store(farFuture)
}

// queue has the pump send to a peer; its mu is held.
func (p *pump) queue(pe *peer) {
	if pe.queued {
		return
	}
	pe.queued = true
	p.mu.Lock()
	p.list = append(p.list, pe)
	first := len(p.list) == 1
	p.mu.Unlock()
	if first {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// arm has the timers run at t at the latest, whatever the peers' deadlines are then.
func (p *pump) arm(t int64) {
	p.armMu.Lock()
	defer p.armMu.Unlock()
	p.fixed.Store(min(p.fixed.Load(), t))
	p.set(t)
}

// set sets the timer, unless it runs earlier; armMu is held.
func (p *pump) set(t int64) {
	if t < p.at.Load() {
		p.at.Store(t)
		p.timer.Reset(time.Duration(max(t-p.port.now(), 0)))
	}
}

// postponeEvery bounds how often the timer is set for later. Most deadlines of an
// idle member are of acknowledgements, which come before them: the timer would run for
// nothing, and what an idle member costs is wake-ups. Under load it would be set anew
// with each packet.
const postponeEvery = 5 * time.Millisecond

// due takes a peer's deadline; its mu is held.
func (p *pump) due(pe *peer, t, now int64) {
	pe.deadline.Store(t)
	switch at := p.at.Load(); {
	case t < at:
		p.armMu.Lock()
		p.set(t)
		p.armMu.Unlock()
	case at > now && now-p.postponed.Load() >= int64(postponeEvery) && p.earliest() > at:
		p.postpone(now)
	}
}

// postpone sets the timer for the earliest deadline that there is.
func (p *pump) postpone(now int64) {
	p.armMu.Lock()
	defer p.armMu.Unlock()
	at, t := p.at.Load(), p.earliest()
	if at <= now || t <= at {
		return // it runs, or is right
	}
	p.postponed.Store(now)
	// Who has an earlier deadline from now on sees this, or it is seen below.
	p.at.Store(t)
	if p.between != nil {
		p.between()
	}
	t = min(t, p.earliest())
	p.at.Store(t)
	p.timer.Reset(time.Duration(max(t-now, 0)))
}

// earliest is the first of all deadlines.
func (p *pump) earliest() int64 {
	t := p.fixed.Load()
	for _, pe := range p.port.peers.Load().list {
		t = min(t, pe.deadline.Load())
	}
	return t
}

// rowPatience, times StuckAfter, is when a call that only brings a row is looked
// after, unless this member publishes a row of its own before. Idle members
// exchange rows all the time, and each look of its own costs a wake-up.
const rowPatience = 20

// watch has the handler call that begins now looked after.
func (p *pump) watch(now int64, row bool) {
	how, after := watchCall, int64(p.port.cfg.StuckAfter)
	if row {
		how, after = watchRow, after*rowPatience
	}
	if p.watching.Load() < how {
		p.watching.Store(how)
		p.arm(now + after)
	}
}

// Levels of pump.watching.
const (
	watchNone int32 = iota
	watchRow        // after rowPatience
	watchCall       // after StuckAfter
)

func (p *pump) run() {
	defer p.timer.Stop()
	for {
		select {
		case <-p.wake:
		case <-p.timer.C:
		case <-p.port.done:
			return
		}
		for p.send() {
		}
		if p.port.now() >= p.at.Load() {
			p.tick()
		}
	}
}

// send serves the queue once and reports whether there was one.
func (p *pump) send() bool {
	p.mu.Lock()
	p.list, p.spare = p.spare[:0], p.list
	p.mu.Unlock()
	for _, pe := range p.spare {
		pe.mu.Lock()
		pe.queued = false
		pe.transmit(pumpRounds, true)
		pe.mu.Unlock()
	}
	return len(p.spare) > 0
}

// tick runs what is due for all peers.
func (p *pump) tick() {
	p.armMu.Lock()
	p.at.Store(farFuture)
	p.fixed.Store(farFuture)
	p.armMu.Unlock()
	if look := p.checkReader(); look != farFuture {
		p.arm(look)
	}
	next := int64(farFuture)
	for _, pe := range p.port.peers.Load().list {
		p.ev.reset()
		pe.mu.Lock()
		t := pe.tick(p.port.now(), &p.ev)
		pe.deadline.Store(t)
		pe.mu.Unlock()
		next = min(next, t)
	}
	p.armMu.Lock()
	defer p.armMu.Unlock()
	p.set(max(next, p.port.now()+int64(pumpGrain)))
}

// glance looks after the reader in passing: it costs nothing to who is awake.
func (p *pump) glance(now int64) {
	if since := p.port.reader.Load().d.since.Load(); since != 0 && now-since >= int64(p.port.cfg.StuckAfter) {
		p.arm(now)
	}
}

// checkReader replaces the reader if it is stuck in a handler call, and returns
// when to look again.
func (p *pump) checkReader() int64 {
	if p.watching.Load() == watchNone {
		return farFuture
	}
	d, after := p.port.reader.Load().d, int64(p.port.cfg.StuckAfter)
	p.watching.Store(watchNone) // a call that begins now asks for itself
	since := d.since.Load()
	if since == 0 {
		return farFuture
	}
	p.watching.Store(watchCall)
	if p.port.now()-since < after {
		return since + after
	}
	p.port.replaceReader()
	return p.port.now() + after
}

var _ fabric.Port = (*Port)(nil)
