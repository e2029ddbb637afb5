package udp

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// tcpFlow is TCP as textbooks have it, sending without end: slow start, fast
// retransmit with one halving per round trip, additive increase, and a
// retransmission timeout (RFC 5681, with selective acks).
type tcpFlow struct {
	s        *sim
	path     *simPath
	back     time.Duration
	window   float64 // segments
	slow     float64
	next     int
	flying   map[int]int64
	recovery int
	acked    int
	timeout  int64
	rtt      time.Duration
}

const tcpSegment = 1460

func newTCPFlow(s *sim, path *simPath, back time.Duration) *tcpFlow {
	f := &tcpFlow{s: s, path: path, back: back, window: 10, slow: math.Inf(1), flying: make(map[int]int64), rtt: 100 * time.Millisecond}
	return f
}

func (f *tcpFlow) send() {
	for float64(len(f.flying)) < f.window {
		n := f.next
		f.next++
		f.flying[n] = f.s.now
		b := make([]byte, tcpSegment+40)
		f.path.transmit(b, func() { f.s.after(f.back, func() { f.ack(n) }) })
	}
	f.arm()
}

func (f *tcpFlow) arm() {
	f.timeout++
	mine := f.timeout
	f.s.after(max(2*f.rtt, 200*time.Millisecond), func() {
		if mine != f.timeout {
			return
		}
		f.slow, f.window = max(f.window/2, 2), 1
		f.recovery = f.next
		clear(f.flying) // go back: what is lost is sent again as new segments
		f.send()
	})
}

func (f *tcpFlow) ack(n int) {
	at, ok := f.flying[n]
	if !ok {
		return
	}
	f.rtt += (time.Duration(f.s.now-at) - f.rtt) / 8
	delete(f.flying, n)
	f.acked++
	if f.window < f.slow {
		f.window++
	} else {
		f.window += 1 / f.window
	}
	for m := range f.flying { // three later ones came
		if m+3 <= n {
			delete(f.flying, m)
			if m >= f.recovery {
				f.recovery = f.next
				f.window = max(f.window/2, 2)
				f.slow = f.window
			}
		}
	}
	f.send()
}

// share runs our flow and TCP through one bottleneck of 20 Mbit/s and returns
// their rates as shares of it.
func share(t *testing.T, seed uint64, queue int, delay time.Duration, mutate func(*simNode)) (ours, tcp float64, retransmitted float64) {
	const rate, seconds = 2.5e6, 20
	s := newSim(seed, t.Errorf)
	bottleneck := &simPath{s: s, f: simFaults{rate: rate, queue: queue}}
	a, b := simPair(s, simFaults{delay: delay, mtu: 1472}, func(c *linkConfig) {
		c.windows = [3]int{1 << 20, 4 << 20, 1 << 20}
		c.burst, c.queueFrames = 1<<22, 1<<16
	})
	if mutate != nil {
		mutate(a)
	}
	a.out.shared = bottleneck
	path := &simPath{s: s, f: simFaults{delay: delay}, shared: bottleneck}
	f := newTCPFlow(s, path, delay)
	s.run(300e6)
	flood(a, 1<<60)
	s.at(s.now, f.send)
	s.run(5300e6) // both have found the bottleneck
	got, acked, sent, lost := b.got, f.acked, a.l.stats.DatagramsSent, a.l.stats.Retransmissions
	s.run(s.now + seconds*1e9)
	ours = float64(b.got-got) / seconds / rate
	tcp = float64(f.acked-acked) * tcpSegment / seconds / rate
	return ours, tcp, float64(a.l.stats.Retransmissions-lost) / float64(a.l.stats.DatagramsSent-sent)
}

func fair(ours, tcp, lost float64) error {
	if ours < 0.2 || tcp < 0.2 || ours+tcp < 0.75 || lost > 0.05 {
		return fmt.Errorf("ours %.2f, TCP %.2f of the bottleneck, %.2f%% of our datagrams sent again: want at least 0.2 each, 0.75 together and at most 5%%",
			ours, tcp, 100*lost)
	}
	return nil
}

// TestSharesWithTCP: next to TCP neither starves, and the bottleneck is used.
func TestSharesWithTCP(t *testing.T) {
	for _, c := range []struct {
		name  string
		queue int
		delay time.Duration
	}{
		{"shallow queue", 30_000, 5 * time.Millisecond},
		{"one round trip of queue", 50_000, 10 * time.Millisecond},
		{"deep queue", 200_000, 10 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			var ours, tcp, lost float64
			const seeds = 3
			for seed := range uint64(seeds) {
				o, x, l := share(t, seed+1, c.queue, c.delay, nil)
				ours, tcp, lost = ours+o/seeds, tcp+x/seeds, lost+l/seeds
			}
			t.Logf("ours %.2f, TCP %.2f of the bottleneck; %.2f%% of our datagrams retransmitted", ours, tcp, 100*lost)
			if err := fair(ours, tcp, lost); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSharingCheckerSeesCollapse plants a sender without congestion control.
func TestSharingCheckerSeesCollapse(t *testing.T) {
	if err := fair(share(t, 1, 50_000, 10*time.Millisecond, func(n *simNode) { n.reckless = true })); err == nil {
		t.Error("a sender without congestion control passes for fair")
	}
}
