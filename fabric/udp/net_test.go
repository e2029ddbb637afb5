package udp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// testNet lies between ports and their sockets: it cuts, loses, doubles,
// reorders and alters datagrams.
type testNet struct {
	mu      sync.Mutex
	rng     *rand.Rand
	cut     map[[2]netip.AddrPort]bool
	loss    float64
	double  float64
	reorder float64
	alter   float64
	late    map[netip.AddrPort][]byte // held back, one for each sender
	seen    func(from, to netip.AddrPort, datagram []byte)
	rename  func(from netip.AddrPort) netip.AddrPort // NAT: what receivers see
}

func newTestNet(seed uint64) *testNet {
	return &testNet{rng: rand.New(rand.NewPCG(seed, 1)), cut: make(map[[2]netip.AddrPort]bool), late: make(map[netip.AddrPort][]byte)}
}

func (n *testNet) wrap(c conduit) conduit { return &testConduit{c, n} }

func (n *testNet) setCut(from, to netip.AddrPort, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]netip.AddrPort{from, to}] = cut
}

// pass decides about one datagram and returns what goes on.
func (n *testNet) pass(from, to netip.AddrPort, b []byte) (out [][]byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.seen != nil {
		n.seen(from, to, b)
	}
	if n.cut[[2]netip.AddrPort{from, to}] || n.rng.Float64() < n.loss {
		return nil
	}
	if n.rng.Float64() < n.alter {
		b = bytes.Clone(b)
		b[n.rng.IntN(len(b))] ^= 1 << n.rng.IntN(8)
	}
	if late := n.late[from]; late != nil {
		out = append(out, late)
		delete(n.late, from)
	}
	if n.rng.Float64() < n.reorder {
		n.late[from] = bytes.Clone(b)
	} else {
		out = append([][]byte{b}, out...)
	}
	if n.rng.Float64() < n.double {
		out = append(out, b)
	}
	return out
}

type testConduit struct {
	conduit
	net *testNet
}

func (c *testConduit) newSender() sender { return &testSender{c.conduit.newSender(), c} }

func (c *testConduit) newReceiver() receiver { return &testReceiver{c.conduit.newReceiver(), c} }

type testSender struct {
	sender
	c *testConduit
}

func (s *testSender) send(b []byte, seg int, to netip.AddrPort, wait bool) (int, error) {
	from, all := s.c.localAddr(), len(b)
	for len(b) > 0 {
		d := b[:min(seg, len(b))]
		b = b[len(d):]
		for _, out := range s.c.net.pass(from, to, d) {
			if _, err := s.sender.send(out, len(out), to, true); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}

type testReceiver struct {
	receiver
	c *testConduit
}

func (r *testReceiver) recv(b []byte, wait bool) (n, seg int, from netip.AddrPort, err error) {
	n, seg, from, err = r.receiver.recv(b, wait)
	r.c.net.mu.Lock()
	defer r.c.net.mu.Unlock()
	if r.c.net.rename != nil {
		from = r.c.net.rename(from)
	}
	return n, seg, from, err
}

// testKeys makes the two halves of a session.
func testKeys(a, b fabric.MemberID, incA, incB, salt uint64, sealed bool) (atA, atB Session) {
	key := func(from, to fabric.MemberID) []byte {
		k := make([]byte, 0, 40)
		for _, v := range []uint64{uint64(from), uint64(to), incA, incB, salt} {
			k = binary.LittleEndian.AppendUint64(k, v)
		}
		return k
	}
	ia, ib := index(a, b, incA, salt), index(b, a, incB, salt)
	atA = Session{PeerIncarnation: incB, SendKey: key(a, b), RecvKey: key(b, a), SendIndex: ib, RecvIndex: ia, Sealed: sealed}
	atB = Session{PeerIncarnation: incA, SendKey: key(b, a), RecvKey: key(a, b), SendIndex: ia, RecvIndex: ib, Sealed: sealed}
	return atA, atB
}

func index(at, of fabric.MemberID, inc, salt uint64) uint64 {
	r := rand.New(rand.NewPCG(uint64(at)^inc<<32, uint64(of)^salt<<32))
	return r.Uint64() | 1
}

func mustPort(tb testing.TB, cfg Config, h fabric.Handler, n *testNet) *Port {
	tb.Helper()
	p, err := openPort(cfg, h, n)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func openPort(cfg Config, h fabric.Handler, n *testNet) (*Port, error) {
	if n == nil {
		return New(cfg, h)
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	c, err := openSocket(&cfg)
	if err != nil {
		return nil, err
	}
	return newPort(&cfg, h, n.wrap(c)), nil
}

// crash ends a port as a kill of its process would: nothing is said to anybody.
func (p *Port) crash() {
	p.mu.Lock()
	p.closed.Store(true)
	for _, pe := range p.known {
		pe.mu.Lock()
		pe.closed = true
		pe.link = nil
		pe.mu.Unlock()
	}
	p.mu.Unlock()
	close(p.done)
	p.conduit.close()
	p.group.Wait()
	close(p.gone)
}
