package suspect

import (
	"testing"
	"time"
)

const (
	ms   = time.Millisecond
	beat = 20 * ms
)

var limits = Limits{After: 50 * ms, Max: time.Second, Window: beat}

// heard is a member that beats, and is suspected as its owner would.
type heard struct {
	Watch
	now time.Duration
}

// after takes a sign of life that comes so much after the one before.
func (h *heard) after(d time.Duration) (wrong bool) {
	h.now += d
	h.Silent = d > h.Limit && h.Limit > 0
	return h.Alive(h.now, beat, limits)
}

func (h *heard) times(n int, d time.Duration) {
	for range n {
		h.now += d
		h.Alive(h.now, beat, limits)
	}
}

func TestGapBuckets(t *testing.T) {
	for d := time.Duration(8); d < 100*time.Hour; d += 1 + d/7 {
		b := gapBucket(d)
		if c := gapCeiling(b); b < gapBuckets-1 && (c < d || c > d+d/4+2) {
			t.Fatalf("%v falls into a bucket that ends at %v", d, c)
		}
		if b > 0 && b < gapBuckets-1 && gapCeiling(b-1) > d+1 {
			t.Fatalf("%v belongs into an earlier bucket than %d", d, b)
		}
	}
}

// "suspect-after = max(configured, 8 × p99.9 of the observed gaps)", where what
// is observed is how much later than a beat they end.
func TestAdapts(t *testing.T) {
	var h heard
	limit := func(what string, low, high time.Duration) {
		t.Helper()
		if h.Limit < low || h.Limit > high {
			t.Errorf("%s: suspect-after %v, not within %v and %v", what, h.Limit, low, high)
		}
	}
	h.times(3000, 21*ms)
	limit("beats that come in time", limits.After, max(limits.After, MissedBeats*beat))
	h.times(3000, 40*ms)
	limit("beats 20ms late", 20*ms+8*20*ms, 20*ms+8*24*ms)
	h.times(40000, 20*ms)
	limit("when that is over", limits.After, MissedBeats*beat)
	h.Relimit(h.now, 10*beat, limits)
	limit("when it beats seldom", 10*MissedBeats*beat, 10*MissedBeats*beat)
	h.Relimit(h.now, 0, limits)
	limit("when it does not beat", limits.Max, limits.Max)
	h.times(3000, time.Second)
	limit("a beat in a second", limits.Max, limits.Max)
}

// While a member comes back its silences are of its absence.
func TestReturnStutters(t *testing.T) {
	var h heard
	h.after(ms)
	for range 2000 {
		h.after(beat)
	}
	usual := h.Limit
	if h.after(2 * time.Second) {
		t.Error("an absence is a false suspicion")
	}
	for range 5 {
		if h.after(500 * ms) {
			t.Error("so is a silence after it")
		}
	}
	if h.Limit != usual {
		t.Errorf("suspect-after %v after a return", h.Limit)
	}
	for h.now < h.returned {
		h.after(beat)
	}
	if !h.after(500*ms) || h.Limit <= usual {
		t.Errorf("a silence long after is none; suspect-after %v", h.Limit)
	}
}

// A stall now and then counts, however many messages come in between.
func TestMessagesDoNotDrownStalls(t *testing.T) {
	var h heard
	for i := range 200_000 {
		if i%25_000 == 0 { // every 5s
			h.now += 50 * ms
		}
		h.times(1, ms/5)
	}
	if h.Limit < 20*ms+8*30*ms {
		t.Errorf("with a stall of 50ms every 5s suspect-after is %v", h.Limit)
	}
}

// "doubled after a false suspicion", until it was undisturbed for long.
func TestDoubles(t *testing.T) {
	var h heard
	h.times(10, beat)
	usual := h.Limit
	for i := 1; i <= maxDoubling+2; i++ {
		if h.Limit != min(limits.Max, usual<<min(i-1, maxDoubling)) {
			t.Fatalf("after %d: %v", i-1, h.Limit)
		}
		if !h.after(h.Limit+ms) && h.Limit < limits.Max {
			t.Fatalf("%d: no false suspicion", i)
		}
	}
	n := h.Doublings()
	h.times(int(Forgiveness*limits.Max/beat)+2, beat)
	if h.Doublings() >= n {
		t.Errorf("%d doublings after a long time, %d before", h.Doublings(), n)
	}
}
