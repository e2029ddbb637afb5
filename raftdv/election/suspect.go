package election

import (
	"math/bits"
	"time"

	"github.com/raftdv/dv/fabric"
)

// The adaptive suspect-after (protocol §4): a beat and gapFactor times the p99.9
// of how much later than a beat signs of life came at worst in each beat, doubled after each false
// suspicion. The pauses between beats are intended: only what is beyond them
// tells of the network and of the machines.
const (
	gapFactor   = 8
	missedBeats = 3 // that are needed for a suspicion at least
	gapBuckets  = 192
	gapSubBits  = 2    // buckets per power of two: 1 << gapSubBits
	gapForget   = 8192 // windows after which the older ones count half
	gapMin      = 1000 // windows below which there is no p99.9
	maxDoubling = 5
	returning   = 4   // greatest suspect-afters for which a peer counts as just come back
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

// peer is what is known of another member.
type peer struct {
	id          fabric.MemberID
	heard       bool // since this arbiter began
	last        time.Duration
	down        bool // definitely, by a port
	downAt      time.Duration
	silent      bool          // suspected by silence
	tied        time.Duration // when its pre-vote tied this member last, 0: not since it campaigned
	owed        bool          // raft has not granted that pre-vote yet
	rivalled    time.Duration // when its pre-vote was the best that there was, likewise
	gaps        gaps
	returned    time.Duration // until then it counts as one that has just come back
	worst       time.Duration // delay since the window began
	window      time.Duration
	doubled     int
	doubledAt   time.Duration
	late        time.Duration // gapFactor times the p99.9 of the delays
	limit       time.Duration // suspect-after in force
	incarnation uint64
	version     uint64
	seen        bool // row is valid
	row         section
	next        section       // room to read one into
	moved       time.Duration // when its progress moved last
	trips       trips
	// The endorsements that its rows showed, newest first, and when that was
	// seen.
	history  [endorsedHistory]endorsement
	endorsed time.Duration
}

// endorsedHistory bounds how many endorsements of a peer are remembered.
const endorsedHistory = 4

func (p *peer) suspected() bool { return p.down || p.silent || !p.heard }

// beat is the pause between two signs of life that the peer intends, 0 if it
// intends none.
func (p *peer) beat(cfg *Config) time.Duration {
	switch {
	case !p.seen || !p.row.is(flagActs|flagObserves):
		return 0
	case p.row.lively(p.id):
		return cfg.Beat
	}
	return cfg.IdleBeat
}

// lively: others wait for every word of the row's owner, as it leads and has
// something to do, campaigns, or takes part in an election.
func (s *section) lively(owner fabric.MemberID) bool {
	return s.claim.member == owner && !s.is(flagIdle) || s.is(flagSuspects|flagSealed|flagBound)
}

// alive takes a sign of life. It reports whether the peer was suspected by
// silence and should not have been. Who was silent for so long that any setting
// would have given it up was absent, and connections that come back with it stutter
// for a while: neither is a delay, or a false suspicion.
func (p *peer) alive(now time.Duration, cfg *Config) (wrong bool) {
	silence := now - p.last
	if p.down || p.heard && silence > cfg.MaxSuspectAfter {
		p.returned = now + returning*cfg.MaxSuspectAfter
	}
	if now >= p.returned {
		if p.heard {
			p.observe(now, silence-p.beat(cfg), cfg.Beat)
		}
		wrong = p.silent
	}
	if wrong {
		p.doubled, p.doubledAt = min(p.doubled+1, maxDoubling), now
	}
	p.heard, p.down, p.silent, p.last = true, false, false, now
	p.relimit(now, cfg)
	return wrong
}

// observe takes a delay: the longest in each window counts. A member that sends
// thousands of messages in a second would otherwise drown the stalls that it has
// every few seconds.
func (p *peer) observe(now, delay, window time.Duration) {
	p.worst = max(p.worst, delay)
	if now >= p.window+window {
		p.gaps.add(p.worst)
		p.worst, p.window = 0, now
	}
}

// relimit computes suspect-after. high is only looked at now and then: it
// walks the histogram.
func (p *peer) relimit(now time.Duration, cfg *Config) {
	if p.doubled > 0 && now-p.doubledAt > forgiveness*p.limit {
		p.doubled, p.doubledAt = p.doubled-1, now
	}
	if p.gaps.total%64 == 0 {
		p.late = gapFactor * p.gaps.high()
	}
	p.limit = cfg.MaxSuspectAfter
	if beat := p.beat(cfg); beat > 0 {
		p.limit = min(p.limit, max(cfg.SuspectAfter, missedBeats*beat, beat+p.late)<<p.doubled)
	}
}

// endorsedAt is what the peer's rows said of an attempt, if they did.
func (p *peer) endorsedAt(term uint64, attempt uint32) (fabric.MemberID, bool) {
	for _, e := range p.history {
		if e.term == term && e.attempt == attempt {
			return e.nominee, true
		}
	}
	return 0, false
}
