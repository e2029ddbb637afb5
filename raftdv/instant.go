package raftdv

import (
	"cmp"
	"sync/atomic"
	"time"
)

// instant is a point in time that goroutines share, never if zero. Somebody may
// set the wall clock: an instant is compared by the monotonic one, as times that
// were never turned into a number are.
type instant struct{ ns atomic.Int64 } // since origin

var origin = time.Now()

func sinceOrigin(t time.Time) int64 { return cmp.Or(int64(t.Sub(origin)), 1) }

func (i *instant) set(t time.Time) { i.ns.Store(sinceOrigin(t)) }

func (i *instant) clear() { i.ns.Store(0) }

func (i *instant) get() (t time.Time, ok bool) {
	ns := i.ns.Load()
	return origin.Add(time.Duration(ns)), ns != 0
}

// within reports whether it was less than d ago.
func (i *instant) within(d time.Duration) bool {
	t, ok := i.get()
	return ok && time.Since(t) < d
}

// due reports, to one caller, that it has come; it never comes again then.
func (i *instant) due(now time.Time) bool {
	ns := i.ns.Load()
	return ns != 0 && sinceOrigin(now) >= ns && i.ns.CompareAndSwap(ns, 0)
}

// every reports, to one caller in d, that it was longer than d ago, or never.
func (i *instant) every(now time.Time, d time.Duration) bool {
	ns, next := i.ns.Load(), sinceOrigin(now)
	return (ns == 0 || next-ns >= int64(d)) && i.ns.CompareAndSwap(ns, next)
}
