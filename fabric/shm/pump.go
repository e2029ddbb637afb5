package shm

import (
	"sync"
	"sync/atomic"
	"time"
)

// pumpGrain is the least time between two runs of the timers.
const pumpGrain = 20 * time.Microsecond

// pump is the goroutine that runs timers. It never calls the handler: what has
// to be told, a reader tells.
type pump struct {
	port  *Port
	timer *time.Timer
	// at is the time that the timer is set for; armMu orders changes.
	at    atomic.Int64
	armMu sync.Mutex
	// watching: handler calls are looked after every StuckAfter.
	watching atomic.Bool
	lastSeen uint64 // pump goroutine only
}

func (p *pump) init(port *Port) {
	p.port = port
	p.timer = time.NewTimer(time.Hour)
	p.at.Store(int64(never))
}

// arm has the timers run at t at the latest.
func (p *pump) arm(t time.Duration) {
	if int64(t) >= p.at.Load() {
		return
	}
	p.armMu.Lock()
	defer p.armMu.Unlock()
	if int64(t) < p.at.Load() {
		p.at.Store(int64(t))
		p.timer.Reset(max(t-p.port.now(), 0))
	}
}

// watch has handler calls looked after.
func (p *pump) watch(now time.Duration) {
	if !p.watching.Load() {
		p.watching.Store(true)
		p.arm(now + p.port.cfg.StuckAfter)
	}
}

func (p *pump) run() {
	defer p.timer.Stop()
	for {
		select {
		case <-p.timer.C:
		case <-p.port.done:
			return
		}
		if int64(p.port.now()) >= p.at.Load() {
			p.tick()
		}
	}
}

// tick runs what is due for all peers.
func (p *pump) tick() {
	p.armMu.Lock()
	p.at.Store(int64(never))
	p.armMu.Unlock()
	next := p.checkReader()
	for _, pe := range p.port.peers.Load().known {
		next = min(next, pe.tick(p.port.now()))
	}
	p.arm(max(next, p.port.now()+pumpGrain))
}

// checkReader replaces the reader if it is stuck in a handler call, and returns
// when to look again.
func (p *pump) checkReader() time.Duration {
	if !p.watching.Load() {
		return never
	}
	d, now := p.port.reader.Load().d, p.port.now()
	since, seen := d.since.Load(), d.calls.Load()
	if since != 0 && now-time.Duration(since) >= p.port.cfg.StuckAfter {
		p.port.replaceReader()
	} else if since == 0 && seen == p.lastSeen {
		p.watching.Store(false)
		if d.since.Load() == 0 {
			return never
		}
		p.watching.Store(true)
	}
	p.lastSeen = seen
	return now + p.port.cfg.StuckAfter
}
