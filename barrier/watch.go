package barrier

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
	missedBeats = 3 // that are needed for a suspicion at least
	gapBuckets  = 192
	gapSubBits  = 2    // buckets per power of two: 1 << gapSubBits
	gapForget   = 8192 // windows after which the older ones count half
	gapMin      = 1000 // windows below which there is no p99.9
	maxDoubling = 5
	returning   = 4   // greatest suspect-afters for which a member counts as just come back
	forgiveness = 256 // undisturbed suspect-afters after which a doubling is undone
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

// watch is what is known of one member's life.
type watch struct {
	heard     bool // since the detector began
	last      time.Duration
	beat      time.Duration // the pause between signs of life that it intends, 0: none
	direct    time.Duration // of the last sign that came from itself, not by a relay
	near      bool          // direct is valid
	down      bool          // definitely, by a port
	downAt    time.Duration
	silent    bool // suspected by silence
	gaps      gaps
	returned  time.Duration // until then it counts as one that has just come back
	worst     time.Duration // delay since the window began
	window    time.Duration
	doubled   int
	doubledAt time.Duration
	late      time.Duration // gapFactor times the p99.9 of the delays
	limit     time.Duration // suspect-after in force
}

// alive takes a sign of life. It reports whether the member was suspected by
// silence and should not have been. Who was silent for so long that any setting
// would have given it up was absent, and connections that come back with it
// stutter for a while: neither is a delay, or a false suspicion.
func (w *watch) alive(now time.Duration, cfg *DetectorConfig) (wrong bool) {
	silence := now - w.last
	if w.down || w.heard && silence > cfg.MaxSuspectAfter {
		w.returned = now + returning*cfg.MaxSuspectAfter
	}
	if now >= w.returned {
		if w.heard {
			w.observe(now, silence-w.beat, cfg.Window)
		}
		wrong = w.silent
	}
	if wrong {
		w.doubled, w.doubledAt = min(w.doubled+1, maxDoubling), now
	}
	w.heard, w.down, w.silent, w.last = true, false, false, now
	w.relimit(now, cfg)
	return wrong
}

// observe takes a delay: the longest in each window counts. A member that sends
// thousands of frames in a second would otherwise drown the stalls that it has
// every few seconds.
func (w *watch) observe(now, delay, window time.Duration) {
	w.worst = max(w.worst, delay)
	if now >= w.window+window {
		w.gaps.add(w.worst)
		w.worst, w.window = 0, now
	}
}

// relimit computes suspect-after. high is only looked at now and then: it walks
// the histogram.
func (w *watch) relimit(now time.Duration, cfg *DetectorConfig) {
	if w.doubled > 0 && now-w.doubledAt > forgiveness*w.limit {
		w.doubled, w.doubledAt = w.doubled-1, now
	}
	if w.gaps.total%64 == 0 {
		w.late = gapFactor * w.gaps.high()
	}
	w.limit = cfg.MaxSuspectAfter
	if w.beat > 0 {
		w.limit = min(w.limit, max(cfg.SuspectAfter, missedBeats*w.beat, w.beat+w.late)<<w.doubled)
	}
}
