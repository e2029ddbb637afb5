package shm

import (
	"sync"
	"sync/atomic"
	"time"
)

// bellPatience bounds a sleep. A correct peer always wakes its receiver; one
// that scribbles over the doorbell delays others by no more than this.
const bellPatience = 250 * time.Millisecond

// ringer is how a peer, or a goroutine of the owner, rings a doorbell.
type ringer struct {
	rings, asleep *atomic.Uint32
	// woken is the last sleep that this ringer has ended. Others may have done
	// it too: whoever says so may have died before it did.
	woken atomic.Uint32
}

func (r *ringer) attach(m *memory) {
	r.rings, r.asleep = word32(m.b, 0), word32(m.b, bellSleepAt)
}

// ring tells the owner to look. The number changes first: an owner that is
// about to sleep sees it.
func (r *ringer) ring() {
	r.rings.Add(1)
	if sleep := r.asleep.Load(); sleep != 0 && r.woken.Swap(sleep) != sleep {
		futexWake(r.rings)
	}
}

// bell is the owner's end. A reader that was taken for stuck may sleep beside
// its successor for a moment: whoever rings wakes both.
type bell struct {
	ringer
	mem      *memory
	mu       sync.Mutex
	sleeps   uint32 // so far; guarded by mu
	sleepers int    // now; guarded by mu
}

func newBell() (*bell, error) {
	m, err := newMemory("dv-bell", bellLen)
	if err != nil {
		return nil, err
	}
	b := &bell{mem: m}
	b.attach(m)
	return b, nil
}

// value is the number of rings. Whoever reads it, then looks for work and finds
// none may sleep until it changes.
func (b *bell) value() uint32 { return b.rings.Load() }

// sleep blocks until the number of rings is not seen any more, or may.
func (b *bell) sleep(seen uint32) {
	b.mu.Lock()
	if b.sleeps++; b.sleeps == 0 { // the number after the largest: 0 is for awake
		b.sleeps++
	}
	b.sleepers++
	b.asleep.Store(b.sleeps)
	b.mu.Unlock()
	if b.rings.Load() == seen {
		futexWait(b.rings, seen, bellPatience)
	}
	b.mu.Lock()
	if b.sleepers--; b.sleepers == 0 {
		b.asleep.Store(0)
	}
	b.mu.Unlock()
}
