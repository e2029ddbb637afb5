package suspect

import (
	"math/bits"
	"time"
)

// The adaptive suspect-after (protocol §4): a beat and gapFactor times the p99.9
// of how much later than a beat signs of life came at worst in each window,
// doubled after each false suspicion. The pauses between beats are intended: only
// what is beyond them tells of the network and of the machines.
const (
	gapFactor   = 8
	MissedBeats = 3 // that are needed for a suspicion at least
	gapBuckets  = 192
	gapSubBits  = 2    // buckets per power of two: 1 << gapSubBits
	gapForget   = 8192 // windows after which the older ones count half
	gapMin      = 1000 // windows below which there is no p99.9
	maxDoubling = 5
	returning   = 4   // greatest suspect-afters for which a member counts as just come back
	Forgiveness = 256 // undisturbed suspect-afters after which a doubling is undone
)

// gaps is a histogram of delays in nanoseconds.
type gaps struct {
	count [gapBuckets]uint32
	total uint32
}

func gapBucket(d time.Duration) int {
	v := uint64(max(d, 1))
	n := bits.Len64(v) - 1
	if n < gapSubBits {
		return int(v)
	}
	return min(n<<gapSubBits|int(v>>(n-gapSubBits)&(1<<gapSubBits-1)), gapBuckets-1)
}

// gapCeiling is the end of a bucket.
func gapCeiling(b int) time.Duration {
	n := b >> gapSubBits
	if n < gapSubBits {
		return time.Duration(b + 1)
	}
	return time.Duration(uint64(1<<gapSubBits|b&(1<<gapSubBits-1))+1) << (n - gapSubBits)
}

func (g *gaps) add(d time.Duration) {
	g.count[gapBucket(d)]++
	g.total++
	if g.total < gapForget {
		return
	}
	g.total = 0
	for i := range g.count {
		g.count[i] /= 2
		g.total += g.count[i]
	}
}

// high is the p99.9, 0 if too few gaps were seen.
func (g *gaps) high() time.Duration {
	if g.total < gapMin {
		return 0
	}
	above := uint32(0)
	for b := gapBuckets - 1; b >= 0; b-- {
		if above += g.count[b]; above > g.total/1000 {
			return gapCeiling(b)
		}
	}
	return 0
}

// Limits are the settings of a detector.
type Limits struct {
	// After is the least silence after which a member is suspected; Max bounds what
	// observed delays make of it, and counts for who intends no beat.
	After, Max time.Duration
	// Window: of the delays within it the longest counts.
	Window time.Duration
}

// Watch is what is known of one member's life.
type Watch struct {
	Heard  bool          // since the detector began
	Last   time.Duration // sign of life
	Down   bool          // definitely, by a port
	DownAt time.Duration
	Silent bool          // suspected by silence, which whoever owns the watch says
	Limit  time.Duration // suspect-after in force

	gaps      gaps
	returned  time.Duration // until then it counts as one that has just come back
	worst     time.Duration // delay since the window began
	window    time.Duration
	doubled   int
	doubledAt time.Duration
	late      time.Duration // gapFactor times the p99.9 of the delays
}

// Alive takes a sign of life of a member that intends one each beat, 0: none. It
// reports whether the member was suspected by silence and should not have been. Who
// was silent for so long that any setting would have given it up was absent, and
// connections that come back with it stutter for a while: neither is a delay, or a
// false suspicion.
func (w *Watch) Alive(now, beat time.Duration, l Limits) (wrong bool) {
	silence := now - w.Last
	if w.Down || w.Heard && silence > l.Max {
		w.returned = now + returning*l.Max
	}
	if now >= w.returned {
		if w.Heard {
			w.observe(now, silence-beat, l.Window)
		}
		wrong = w.Silent
	}
	if wrong {
		w.doubled, w.doubledAt = min(w.doubled+1, maxDoubling), now
	}
	w.Heard, w.Down, w.Silent, w.Last = true, false, false, now
	w.Relimit(now, beat, l)
	return wrong
}

// observe takes a delay: the longest in each window counts. A member that sends
// thousands of frames in a second would otherwise drown the stalls that it has
// every few seconds.
func (w *Watch) observe(now, delay, window time.Duration) {
	w.worst = max(w.worst, delay)
	if now >= w.window+window {
		w.gaps.add(w.worst)
		w.worst, w.window = 0, now
	}
}

// Relimit computes Limit, which is to be done whenever the beat changes. high is
// only looked at now and then: it walks the histogram.
func (w *Watch) Relimit(now, beat time.Duration, l Limits) {
	if w.doubled > 0 && now-w.doubledAt > Forgiveness*w.Limit {
		w.doubled, w.doubledAt = w.doubled-1, now
	}
	if w.gaps.total%64 == 0 {
		w.late = gapFactor * w.gaps.high()
	}
	w.Limit = l.Max
	if beat > 0 {
		w.Limit = min(w.Limit, max(l.After, MissedBeats*beat, beat+w.late)<<w.doubled)
	}
}

// Doublings is how many false suspicions Limit still remembers.
func (w *Watch) Doublings() int { return w.doubled }
