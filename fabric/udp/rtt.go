package udp

import "time"

// Constants of RFC 9002.
const (
	packetThreshold = 3                // §6.1.1
	timerGrain      = time.Millisecond // §6.1.2
	// initialRTT is assumed until the first sample. RFC 9002 §6.2.2 takes
	// 333 ms for the Internet; members of a cluster are nearer, and a wrong
	// guess costs one probe.
	initialRTT = 100 * time.Millisecond
	// persistentFactor is kPersistentCongestionThreshold of §7.6.1.
	persistentFactor = 3
)

// rttEstimate is the estimator of RFC 9002 §5, in nanoseconds.
type rttEstimate struct {
	latest, smoothed, variance int64
	min                        int64
}

// sample takes a measurement; delay is how long the peer says that it waited.
func (r *rttEstimate) sample(rtt, delay int64) {
	rtt = max(rtt, 1)
	r.latest = rtt
	if r.smoothed == 0 {
		r.min, r.smoothed, r.variance = rtt, rtt, rtt/2
		return
	}
	r.min = min(r.min, rtt)
	// The reported delay is used only if it leaves a plausible sample (§5.3).
	if rtt-delay >= r.min {
		rtt -= delay
	}
	r.variance += (abs(r.smoothed-rtt) - r.variance) / 4
	r.smoothed += (rtt - r.smoothed) / 8
}

func abs(x int64) int64 { return max(x, -x) }

// pto is the probe timeout without back-off (§6.2.1). ackDelay is the longest
// that the peer waits; see maxAckDelay.
func (r *rttEstimate) pto() int64 {
	if r.smoothed == 0 {
		return 2 * int64(initialRTT)
	}
	return r.smoothed + max(4*r.variance, int64(timerGrain)) + int64(maxAckDelay)
}

// lossDelay is the time threshold (§6.1.2).
func (r *rttEstimate) lossDelay() int64 {
	return max(max(r.smoothed, r.latest)*9/8, int64(timerGrain))
}

// persistent is the duration after which loss of everything is persistent
// congestion (§7.6.1).
func (r *rttEstimate) persistent() int64 { return r.pto() * persistentFactor }
