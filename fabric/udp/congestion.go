package udp

import "time"

// Congestion control is NewReno as RFC 9002 §7 has it: slow start, one halving
// per round trip with losses, congestion avoidance, persistent congestion. It
// takes its share of a bottleneck next to TCP and never collapses it.
// CUBIC (RFC 9438) would fill long fat paths faster; members of one raft group
// are seldom that far apart, and NewReno is far easier to test exhaustively.

const (
	// initialWindow of RFC 9002 §7.2, for a datagram of minDatagram.
	initialWindow = 10 * minDatagram
	// burstRTT: the receiver's socket buffer must hold what comes while its
	// reader is not scheduled. That is taken to be at most a millisecond, so
	// its statement bounds the bytes in flight per millisecond of path.
	burstRTT = time.Millisecond
	// paceGrain is the finest interval at which a paced sender is woken.
	paceGrain = 2 * time.Millisecond
	// paceFrom: shorter round trips are clocked by acknowledgements alone.
	paceFrom = 500 * time.Microsecond
	// paceMost bounds the round trip that pacing assumes by the least one.
	paceMost = 8
)

// newReno counts bytes of datagrams in flight.
type newReno struct {
	window   uint64
	slow     uint64 // slow start threshold
	inFlight uint64
	// recovery: losses of packets sent before it belong to an event that was
	// answered already.
	recovery int64
	segment  uint64 // the path's datagram size
	credit   uint64 // bytes acknowledged towards the next segment of growth
	limited  bool   // the window was full when last sending: only then it grows (§7.8)

	budget   uint64 // pacing: bytes that may be sent now
	budgetAt int64
}

func (c *newReno) init() {
	c.window, c.slow, c.segment = initialWindow, ^uint64(0), minDatagram
	c.recovery, c.credit, c.limited, c.budgetAt = -1, 0, false, 0
}

func (c *newReno) minWindow() uint64 { return 2 * c.segment }

func (c *newReno) sent(size uint64) {
	c.inFlight += size
	c.budget -= min(c.budget, size)
}

// acked takes an acknowledged packet that was sent at sentAt.
func (c *newReno) acked(size uint64, sentAt int64, ceiling uint64) {
	c.inFlight -= min(c.inFlight, size)
	if sentAt <= c.recovery || !c.limited || c.window >= ceiling {
		return
	}
	if c.window < c.slow {
		c.window += size
		return
	}
	if c.credit += size; c.credit >= c.window {
		c.credit -= c.window
		c.window += c.segment
	}
}

// forget takes a packet out of the account without a conclusion.
func (c *newReno) forget(size uint64) { c.inFlight -= min(c.inFlight, size) }

// congested answers a loss; the newest packet lost was sent at sentAt.
func (c *newReno) congested(sentAt, now int64) {
	if sentAt <= c.recovery {
		return
	}
	c.recovery, c.credit = now, 0
	c.slow = max(c.window/2, c.minWindow())
	c.window = c.slow
}

// collapse answers persistent congestion (§7.6.2).
func (c *newReno) collapse() {
	c.window, c.recovery, c.credit = c.minWindow(), -1, 0
}

// refill computes the pacing budget: 5/4 of the window per round trip (§7.7),
// in bursts of at most what passes in paceGrain and at least the initial
// window or one datagram.
func (c *newReno) refill(now, rtt int64, window uint64, datagram int) {
	if rtt < int64(paceFrom) {
		c.budget = window
		return
	}
	rate := float64(window) * 1.25 / float64(rtt) // bytes per ns
	burst := max(uint64(rate*float64(paceGrain)), initialWindow, uint64(datagram))
	if c.budgetAt == 0 {
		c.budget = burst
	} else {
		c.budget = min(burst, c.budget+uint64(rate*float64(now-c.budgetAt)))
	}
	c.budgetAt = now
}

// paceDelay is the time until want bytes, at most a datagram, may be sent.
func (c *newReno) paceDelay(want uint64, rtt int64, window uint64) int64 {
	if c.budget >= want || rtt < int64(paceFrom) {
		return 0
	}
	return int64(float64(want-c.budget)*float64(rtt)/(float64(window)*1.25)) + 1
}
