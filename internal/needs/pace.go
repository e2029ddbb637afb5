package needs

import (
	"testing"
	"time"
)

const (
	// paceTick is how often a watch of the machine's pace wants to run.
	paceTick = 2 * time.Millisecond
	// paceTries is how often a test of what happens in real time may be wrong.
	paceTries = 5
	// paceStarved is how often it may be late, beside that.
	paceStarved = 10
	// paceOthers is the share of the machine's processors that others have to use
	// for a late try to be theirs.
	paceOthers = 0.1
)

// Pace runs a test of what a program does in real time, which says what was wrong. A try
// proves nothing and does not count if this process was run later than limit while
// others used the processors: one that is late by itself is wrong. The test fails if it
// was wrong paceTries times, and is skipped if others had the processors all the time.
func Pace(tb testing.TB, limit time.Duration, try func() (wrong []string)) {
	tb.Helper()
	pace(tb, limit, paceOthers, try)
}

func pace(tb testing.TB, limit time.Duration, most float64, try func() (wrong []string)) {
	tb.Helper()
	var counted, starved int
	for {
		late, others := Lateness(), OthersUse()
		wrong := try()
		worst, share := late(), others()
		switch {
		case len(wrong) == 0:
			return
		case worst > limit && share > most:
			starved++
			tb.Logf("not counted, this process was run %v late, others used %.0f%% of the processors: %q", worst, share*100, wrong)
		default:
			counted++
			tb.Logf("once more: %q; this process was run up to %v late, others used %.0f%% of the processors", wrong, worst, share*100)
		}
		if counted == paceTries {
			tb.Fatalf("%d times something was wrong, the last time: %q", counted, wrong)
		}
		if starved == paceStarved {
			tb.Skipf("SKIPPED: missing here: processor time (%d tries were run late, the last one %v, above %v, while others used %.0f%% of the processors)",
				starved, worst, limit, share*100)
		}
	}
}

// Lateness watches how late this process is run until it is called for the result.
func Lateness() (worst func() time.Duration) {
	done, result := make(chan struct{}), make(chan time.Duration, 1)
	go func() {
		var most time.Duration
		tick := time.NewTimer(paceTick)
		defer tick.Stop()
		for {
			due := time.Now().Add(paceTick)
			tick.Reset(paceTick)
			select {
			case <-done:
				result <- max(most, time.Since(due))
				return
			case <-tick.C:
				most = max(most, time.Since(due))
			}
		}
	}()
	return func() time.Duration {
		close(done)
		return <-result
	}
}
