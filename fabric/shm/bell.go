package shm

import (
	"os"
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
	event event
}

func (r *ringer) attach(m *memory, e event) {
	r.rings, r.asleep, r.event = word32(m.b, 0), word32(m.b, bellSleepAt), e
}

// ring tells the owner to look. The number changes first: an owner that is
// about to sleep sees it.
func (r *ringer) ring() {
	r.rings.Add(1)
	if sleep := r.asleep.Load(); sleep != 0 && r.woken.Swap(sleep) != sleep {
		r.event.set()
	}
}

// bell is the owner's end. A reader that was taken for stuck may sleep beside
// its successor for a moment: the event wakes one of them, who wakes the next.
type bell struct {
	ringer
	mem     *memory
	file    *os.File // of the event
	scratch [8]byte  // what is read from file, one at a time

	mu       sync.Mutex // guards the fields below
	sleeps   uint32     // so far
	sleepers int        // now
	deadline time.Time  // of file
}

func newBell() (*bell, error) {
	m, err := newMemory("dv-bell", bellLen)
	if err != nil {
		return nil, err
	}
	e, file, err := newEvent()
	if err != nil {
		m.release()
		return nil, err
	}
	b := &bell{mem: m, file: file}
	b.attach(m, e)
	return b, nil
}

// release gives up what the bell is made of; nobody rings it here any more.
func (b *bell) release() {
	b.mem.release()
	b.file.Close()
}

// value is the number of rings. Whoever reads it, then looks for work and finds
// none may sleep until it changes.
func (b *bell) value() uint32 { return b.rings.Load() }

// sleep blocks until the number of rings is not seen any more, or may. It may
// return without a reason.
func (b *bell) sleep(seen uint32) {
	b.mu.Lock()
	if b.sleeps++; b.sleeps == 0 { // the number after the largest: 0 is for awake
		b.sleeps++
	}
	b.sleepers++
	b.asleep.Store(b.sleeps)
	// The deadline is moved once in a while, not each time.
	if now := time.Now(); b.deadline.Sub(now) < bellPatience/2 {
		b.deadline = now.Add(bellPatience)
		_ = b.file.SetReadDeadline(b.deadline) // an eventfd has deadlines
	}
	b.mu.Unlock()
	if b.rings.Load() == seen {
		_, _ = b.file.Read(b.scratch[:]) // whatever comes out: look
	}
	b.mu.Lock()
	b.sleepers--
	next := b.sleepers > 0
	if !next {
		b.asleep.Store(0)
	}
	b.mu.Unlock()
	if next {
		b.event.set()
	}
}
