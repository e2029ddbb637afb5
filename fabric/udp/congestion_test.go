package udp

import (
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

const ms = int64(time.Millisecond)

func TestRTTEstimate(t *testing.T) {
	var r rttEstimate
	if got := r.pto(); got != 2*int64(initialRTT) {
		t.Errorf("PTO before any sample: %v", time.Duration(got))
	}
	r.sample(100*ms, 50*ms)
	if r.smoothed != 100*ms || r.variance != 50*ms || r.min != 100*ms {
		t.Errorf("first sample: %+v", r)
	}
	r.sample(120*ms, 10*ms) // 110 after the peer's delay
	if r.smoothed != 101250*1000 || r.variance != 40*ms || r.min != 100*ms {
		t.Errorf("second sample: %+v", r)
	}
	// "MUST NOT subtract the acknowledgment delay from the RTT sample if the
	// resulting value is smaller than the min_rtt" (RFC 9002 §5.3).
	before := r.smoothed
	r.sample(101*ms, 50*ms)
	if r.smoothed != before+(101*ms-before)/8 {
		t.Errorf("implausible delay was used: %+v", r)
	}
	if got, want := r.pto(), r.smoothed+4*r.variance+int64(maxAckDelay); got != want {
		t.Errorf("PTO %d, want %d", got, want)
	}
}

func reno() *newReno {
	c := &newReno{}
	c.init()
	c.limited = true
	return c
}

func TestSlowStartDoubles(t *testing.T) {
	c := reno()
	w := c.window
	for range w / minDatagram {
		c.sent(minDatagram)
	}
	for range w / minDatagram {
		c.acked(minDatagram, 1, 1<<40)
	}
	if c.window != 2*w || c.inFlight != 0 {
		t.Errorf("window %d after one round trip of slow start from %d, %d in flight", c.window, w, c.inFlight)
	}
}

// TestOneHalvingPerRoundTrip: "no reduction [...] for losses of packets sent
// before recovery began" (RFC 9002 §7.3.2).
func TestOneHalvingPerRoundTrip(t *testing.T) {
	c := reno()
	c.window = 100_000
	c.congested(10, 20)
	if c.window != 50_000 || c.slow != 50_000 {
		t.Fatalf("window %d, threshold %d", c.window, c.slow)
	}
	c.congested(15, 21)
	c.congested(20, 22)
	if c.window != 50_000 {
		t.Errorf("window %d: halved twice in one round trip", c.window)
	}
	c.acked(minDatagram, 18, 1<<40)
	if c.window != 50_000 {
		t.Errorf("window %d: grew in recovery", c.window)
	}
	c.congested(25, 30)
	if c.window != 25_000 {
		t.Errorf("window %d: a new loss was not answered", c.window)
	}
	for range 20 {
		c.congested(c.recovery+1, c.recovery+2)
	}
	if c.window != c.minWindow() {
		t.Errorf("window %d, at least %d", c.window, c.minWindow())
	}
}

// TestCongestionAvoidance: "increase to the congestion window to at most one
// maximum datagram size for each congestion window that is acknowledged"
// (RFC 9002 §7.3.3).
func TestCongestionAvoidance(t *testing.T) {
	c := reno()
	c.window, c.slow = 60_000, 60_000
	for range 60_000 / minDatagram {
		c.acked(minDatagram, 1, 1<<40)
	}
	if c.window != 61_200 {
		t.Errorf("window %d after one window of acks", c.window)
	}
}

// TestUnusedWindowDoesNotGrow: RFC 9002 §7.8.
func TestUnusedWindowDoesNotGrow(t *testing.T) {
	c := reno()
	c.limited = false
	w := c.window
	for range 1000 {
		c.acked(minDatagram, 1, 1<<40)
	}
	if c.window != w {
		t.Errorf("window %d without being used", c.window)
	}
	c.limited = true
	for range 1000 {
		c.acked(minDatagram, 1, 30_000)
	}
	if c.window > 30_000+minDatagram {
		t.Errorf("window %d beyond what the receiver takes", c.window)
	}
}

func TestPacing(t *testing.T) {
	c := reno()
	c.window = 1 << 20
	rtt := 100 * ms
	sent, now := uint64(0), int64(1)
	for now < rtt {
		c.refill(now, rtt, c.window, minDatagram)
		if wait := c.paceDelay(minDatagram, rtt, c.window); wait > 0 {
			now += wait
			continue
		}
		if uint64(now) < uint64(rtt)/10 && sent > c.window/4 {
			t.Fatalf("%d bytes of a window of %d in a tenth of a round trip", sent, c.window)
		}
		c.sent(minDatagram)
		sent += minDatagram
	}
	if lo, hi := c.window, c.window*3/2; sent < lo || sent > hi {
		t.Errorf("%d bytes in a round trip, want %d to %d", sent, lo, hi)
	}
}

// TestPacingIsNeverStuck: whatever the window and round trip, a datagram may
// leave some time.
func TestPacingIsNeverStuck(t *testing.T) {
	for _, rtt := range []int64{0, 1, ms, 100 * ms, 5000 * ms} {
		for _, window := range []uint64{minDatagram, 12_000, 1 << 24} {
			for _, datagram := range []int{minDatagram, 9000, maxDatagram} {
				c := reno()
				c.window = window
				now := int64(1)
				c.refill(now, rtt, window, datagram)
				c.sent(1 << 30)
				c.budget = 0
				for tries := 0; ; tries++ {
					wait := c.paceDelay(uint64(datagram), rtt, window)
					if wait == 0 {
						break
					}
					if tries > 3 {
						t.Fatalf("rtt %d, window %d, datagram %d: never", rtt, window, datagram)
					}
					now += wait
					c.refill(now, rtt, window, datagram)
				}
			}
		}
	}
}

// flood keeps a node's lanes full for a while.
func flood(n *simNode, until int64) {
	var more func()
	more = func() {
		for n.send(fabric.LaneAppend, 1000, 20) {
		}
		n.settleDown()
		if n.s.now < until {
			n.s.after(2*time.Millisecond, more)
		}
	}
	n.s.at(n.s.now+1, more)
}

// TestPersistentCongestion: RFC 9002 §7.6: when everything over three probe
// timeouts is lost, the window collapses.
func TestPersistentCongestion(t *testing.T) {
	s := newSim(5, t.Errorf)
	a, _ := simPair(s, simFaults{delay: 20 * time.Millisecond, rate: 5e6, queue: 100_000}, nil)
	s.run(200e6)
	flood(a, 4000e6)
	s.run(1500e6)
	before := a.l.cc.window
	a.out.dead = true
	s.run(s.now + 900e6)
	a.out.dead = false
	lowest := before
	for range 200 {
		s.run(s.now + ms)
		lowest = min(lowest, a.l.cc.window)
	}
	if lowest > 2*a.l.cc.segment || lowest >= before {
		t.Errorf("window %d before, never below %d after 900 ms of silence", before, lowest)
	}
	s.run(6000e6)
	if a.peer.got < 5_000_000 {
		t.Errorf("%d bytes delivered: it does not recover", a.peer.got)
	}
}

// TestLossyPath: random loss that has nothing to do with congestion slows
// NewReno down as Mathis et al. say (MSS/RTT · 1.22/√p), and no more than that.
func TestLossyPath(t *testing.T) {
	s := newSim(6, t.Errorf)
	a, b := simPair(s, simFaults{delay: 5 * time.Millisecond, loss: 0.01, mtu: 1472}, nil)
	s.run(300e6)
	flood(a, 10_300e6)
	s.run(10_300e6)
	mathis := 1200 / 0.010 * 1.22 / 0.1 // bytes per second
	if got := float64(b.got) / 10; got < mathis/2 || got > mathis*4 {
		t.Errorf("%.0f bytes/s over a path with 1%% loss, expected about %.0f", got, mathis)
	}
}
