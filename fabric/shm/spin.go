package shm

import (
	"runtime"
	"time"
)

const (
	// spinGap is the time between two looks that says that the processor was
	// wanted elsewhere.
	spinGap = 10 * time.Microsecond
	// looksPerTime is how often it looks before it reads the clock: that takes
	// as long as some ten looks.
	looksPerTime = 16
	// offerAfter is when others may have the processor.
	offerAfter = 3 * time.Microsecond
	// After spinning in vain, and after spinning on a processor that was not
	// free, it is given up for a time that doubles up to these.
	maxVain = 2 * time.Millisecond
	maxBusy = 100 * time.Millisecond
	minRest = 50 * time.Microsecond
)

// spinner decides whether to look at the doorbell for a while before sleeping.
// It spares the wake-up, most of a round trip, where a processor has nothing
// else to do; elsewhere it would keep the peer from running.
type spinner struct {
	limit time.Duration // 0: never
	rest  time.Duration
	until time.Duration // no spinning before
}

// spin looks until changed, and reports whether it has.
//
// Whom the last handler call woke may wait for this processor, so that it is
// offered once, but not before the answer of a peer that spins as well would be
// there. Doing it at each look was costly: while a processor is idle, the Go
// scheduler wakes a thread for each runtime.Gosched, which takes the goroutine
// away; what came of it looked like a processor that is wanted elsewhere.
func (s *spinner) spin(now func() time.Duration, changed func() bool) bool {
	if s.limit == 0 {
		return false
	}
	start := now()
	if start < s.until {
		return false
	}
	offered := false
	for last := start; ; {
		for range looksPerTime {
			if changed() {
				s.rest = 0
				return true
			}
		}
		t := now()
		switch {
		case t-last > spinGap:
			s.pause(t, maxBusy)
			return false
		case t-start > s.limit:
			s.pause(t, maxVain)
			return false
		case !offered && t-start > offerAfter:
			offered = true
			runtime.Gosched()
			before := t
			t = now()
			start += t - before // not spent spinning
		}
		last = t
	}
}

func (s *spinner) pause(now, most time.Duration) {
	s.rest = min(max(2*s.rest, minRest), most)
	s.until = now + s.rest
}
