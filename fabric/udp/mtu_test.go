package udp

import (
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// probePath runs the search against a path that carries at most n bytes, and
// returns the number of probes that it took.
func (m *mtuSearch) probePath(n int, now int64) (probes int) {
	for {
		size := m.probe(now)
		if size == 0 {
			return probes
		}
		probes++
		m.probeSent()
		if size <= n {
			m.probeAcked(size)
		} else {
			m.probeLost(size)
		}
	}
}

func TestSearchFindsThePath(t *testing.T) {
	for _, top := range []int{1200, 1452, 1472, 8952, 65507} {
		for path := minDatagram; path <= top; path += 37 {
			var m mtuSearch
			m.init(top, 0)
			probes := m.probePath(path, 1)
			if m.size > path || path-m.size > searchStep {
				t.Fatalf("interface %d, path %d: found %d", top, path, m.size)
			}
			if probes > 60 {
				t.Fatalf("interface %d, path %d: %d probes", top, path, probes)
			}
		}
	}
}

func TestSearchTriesTheInterfaceFirst(t *testing.T) {
	var m mtuSearch
	m.init(8952, 0)
	if n := m.probePath(8952, 1); n != 1 || m.size != 8952 {
		t.Errorf("%d probes, found %d", n, m.size)
	}
	if m.probe(int64(raiseAfter)+1) != 0 {
		t.Error("what cannot be raised is probed again")
	}
}

// TestSearchIsRepeated: PMTU_RAISE_TIMER of RFC 8899 §5.1.1.
func TestSearchIsRepeated(t *testing.T) {
	var m mtuSearch
	m.init(8952, 0)
	m.probePath(1500, 1)
	if m.size > 1500 {
		t.Fatalf("found %d", m.size)
	}
	if n := m.probePath(9000, int64(raiseAfter)-1); n != 0 {
		t.Errorf("%d probes before the timer", n)
	}
	m.probePath(9000, int64(raiseAfter)+1)
	if m.size != 8952 {
		t.Errorf("the path has become larger, found %d", m.size)
	}
}

func TestKernelRefusesSize(t *testing.T) {
	var m mtuSearch
	m.init(8952, 0)
	m.probePath(8952, 1)
	m.tooBig(8952, 2)
	if m.size != minDatagram {
		t.Errorf("size %d after a refusal", m.size)
	}
	m.probePath(1452, 3)
	if m.size != 1452 {
		t.Errorf("found %d", m.size)
	}
}

// TestBlackHole: a path that shrinks without a word: RFC 8899 §4.3.
func TestBlackHole(t *testing.T) {
	s := newSim(3, t.Errorf)
	a, b := simPair(s, simFaults{delay: time.Millisecond, mtu: 8952}, func(c *linkConfig) { c.top = 8952 })
	s.run(300e6)
	if a.l.mtu.size != 8952 {
		t.Fatalf("found %d on a path of 8952", a.l.mtu.size)
	}
	flood(a, 1<<60)
	s.run(1000e6)
	a.out.f.mtu = 1400
	s.run(3000e6)
	got := b.got
	s.run(4000e6)
	if a.l.mtu.size > 1400 || b.got-got < 1_000_000 {
		t.Errorf("a second after the path shrank datagrams have %d bytes, %d bytes arrived in the next", a.l.mtu.size, b.got-got)
	}
	for _, st := range a.links[1:] {
		t.Errorf("the link changed: %+v", st)
	}
	s.run(9000e6)
	if a.l.mtu.size != 1372 {
		t.Errorf("after the search was repeated: %d on a path of 1400", a.l.mtu.size)
	}
	for _, r := range a.sent[fabric.LaneAppend] {
		if r.state == "lost" {
			t.Fatalf("frame %d was lost", r.link)
		}
	}
}

// TestBurstLossIsNoBlackHole: a queue that overflows for a moment.
func TestBurstLossIsNoBlackHole(t *testing.T) {
	var m mtuSearch
	m.init(65507, 0)
	m.probePath(65507, 1)
	for range 20 {
		if m.dataLost(65507, 10*ms, 6*ms) {
			t.Fatal("a burst of losses is taken for a black hole")
		}
	}
	m.acked(65507)
	if m.dataLost(65507, 100*ms, 6*ms) {
		t.Fatal("a loss after an ack is taken for a black hole")
	}
}
