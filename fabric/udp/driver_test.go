package udp

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// moodyConduit has a socket that is full now and then, and an interface with an
// MTU of its own.
type moodyConduit struct {
	conduit
	full   atomic.Bool
	fulls  atomic.Int64
	waits  atomic.Int64
	mtu    atomic.Int64 // 0: none
	broken atomic.Int64 // so many reads fail
}

func (c *moodyConduit) newSender() sender { return &moodySender{c.conduit.newSender(), c} }

func (c *moodyConduit) newReceiver() receiver { return &moodyReceiver{c.conduit.newReceiver(), c} }

type moodySender struct {
	sender
	c *moodyConduit
}

func (s *moodySender) send(b []byte, seg int, to netip.AddrPort, wait bool) (int, error) {
	if m := s.c.mtu.Load(); m > 0 && int64(seg) > m {
		return 0, errTooBig
	}
	if s.c.full.Load() {
		s.c.fulls.Add(1)
		if !wait {
			return 0, errAgain
		}
		s.c.waits.Add(1)
		if len(b) > seg { // room for some comes
			n, _ := s.sender.send(b[:seg], seg, to, true)
			return n, errAgain
		}
	}
	return s.sender.send(b, seg, to, wait)
}

type moodyReceiver struct {
	receiver
	c *moodyConduit
}

func (r *moodyReceiver) recv(b []byte, wait bool) (int, int, netip.AddrPort, error) {
	if r.c.broken.Add(-1) >= 0 {
		return 0, 0, netip.AddrPort{}, errors.New("the kernel is in a mood")
	}
	return r.receiver.recv(b, wait)
}

// moodyPair is a pair whose member a has a moody conduit.
func moodyPair(t *testing.T, edit func(*Config)) (*pair, *moodyConduit) {
	t.Helper()
	p := &pair{ha: newRecorder(), hb: newRecorder(), net: newTestNet(1)}
	cfg := Config{Self: idA, Listen: "127.0.0.1:0"}
	if edit != nil {
		edit(&cfg)
	}
	full := cfg.withDefaults()
	c, err := openSocket(&full)
	if err != nil {
		t.Fatal(err)
	}
	m := &moodyConduit{conduit: c}
	p.a = newPort(&full, p.ha, m)
	t.Cleanup(func() { p.a.Close() })
	cfg.Self = idB
	p.b = mustPort(t, cfg, p.hb, nil)
	t.Cleanup(func() { p.b.Close() })
	p.connect(t, 1, 1, 0)
	p.awaitUp(t)
	return p, m
}

// TestFullSocket: Send does not wait for room in the socket buffer, the pump
// does; nothing is lost or doubled.
func TestFullSocket(t *testing.T) {
	p, m := moodyPair(t, func(c *Config) { c.MaxDatagram = minDatagram })
	const n = 300
	for i := range n {
		m.full.Store(i%10 < 5)
		body := fmt.Sprintf("%04d%s", i, strings.Repeat("z", 700))
		if err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.LaneAppend, body, 1)}); err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			time.Sleep(100 * time.Microsecond) // callers transmit themselves again
		}
	}
	m.full.Store(false)
	p.hb.await(t, "all arrive", func() bool { return len(p.hb.bodies[fabric.LaneAppend]) == n })
	p.hb.mu.Lock()
	defer p.hb.mu.Unlock()
	for i, b := range p.hb.bodies[fabric.LaneAppend] {
		if b[:4] != fmt.Sprintf("%04d", i) {
			t.Fatalf("F1: frame %s where %d is due", b[:4], i)
		}
	}
	if m.fulls.Load() == 0 || m.waits.Load() == 0 {
		t.Errorf("the socket was full %d times, %d of them somebody waited: nothing was tested", m.fulls.Load(), m.waits.Load())
	}
}

// TestInterfaceShrinks: the kernel refuses the size that was in use.
func TestInterfaceShrinks(t *testing.T) {
	p, m := moodyPair(t, nil)
	pe := p.a.peers.Load().byID[idB]
	size := func() int {
		pe.mu.Lock()
		defer pe.mu.Unlock()
		return pe.link.mtu.size
	}
	p.ha.await(t, "path MTU", func() bool { return size() > 9000 })
	m.mtu.Store(4000)
	for i := range 5 {
		if err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.LaneBulk, strings.Repeat("w", 100_000), uint64(i+1))}); err != nil {
			t.Fatal(err)
		}
	}
	p.hb.await(t, "all arrive", func() bool { return len(p.hb.bodies[fabric.LaneBulk]) == 5 })
	if n := size(); n > 4000 {
		t.Errorf("datagrams of %d bytes, the interface takes 4000", n)
	}
}

// TestReadErrors: a socket that fails now and then is read again.
func TestReadErrors(t *testing.T) {
	p, m := moodyPair(t, nil)
	m.broken.Store(5)
	p.exchange(t, "through")
	p.ha.await(t, "errors happened", func() bool { return m.broken.Load() < 0 })
}

// TestWildcardSocket: one socket for both families.
func TestWildcardSocket(t *testing.T) {
	h := newRecorder()
	center := mustPort(t, Config{Self: 1, Listen: ":0"}, h, nil)
	defer center.Close()
	port := center.LocalAddr().Port()
	for i, host := range []string{"127.0.0.1", "::1"} {
		if host == "::1" {
			requireIPv6(t)
		}
		id := fabric.MemberID(i + 2)
		hp := newRecorder()
		p := mustPort(t, Config{Self: id, Listen: net.JoinHostPort(host, "0")}, hp, nil)
		defer p.Close()
		at, there := testKeys(1, id, 1, 1, 0, true)
		at.Addr = p.LocalAddr()
		there.Addr = netip.AddrPortFrom(netip.MustParseAddr(host), port)
		if err := errors.Join(center.Connect(id, at), p.Connect(1, there)); err != nil {
			t.Fatal(err)
		}
		hp.await(t, "up over "+host, hp.isUp)
		if err := center.Send([]fabric.Outgoing{frameTo(id, fabric.LaneControl, "hello", 1)}); err != nil {
			h.await(t, "center up over "+host, func() bool { return len(h.links) > i })
			if err := center.Send([]fabric.Outgoing{frameTo(id, fabric.LaneControl, "hello", 1)}); err != nil {
				t.Fatal(err)
			}
		}
		hp.await(t, "a frame over "+host, func() bool { return len(hp.bodies[fabric.LaneControl]) == 1 })
	}
}

// TestOffloadFallback: without UDP_SEGMENT a batch leaves one by one.
func TestOffloadFallback(t *testing.T) {
	for _, off := range []bool{false, true} {
		t.Run(fmt.Sprintf("disabled=%v", off), func(t *testing.T) {
			p := newPair(t, func(c *Config) { c.DisableOffload, c.MaxDatagram = off, 1400 })
			if got := p.a.info.segments; got && off || !got && !off && runtime.GOOS == "linux" && offload() {
				t.Errorf("segments %v", got)
			}
			for i := range 20 {
				if err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.LaneBulk, strings.Repeat("v", 50_000), uint64(i+1))}); err != nil {
					t.Fatal(err)
				}
			}
			p.hb.await(t, "all arrive", func() bool { return len(p.hb.bodies[fabric.LaneBulk]) == 20 })
		})
	}
}

// TestSpin: a polling reader delivers and ends like any other.
func TestSpin(t *testing.T) {
	p := newPair(t, func(c *Config) { c.Spin = 30 * time.Microsecond })
	for i := range 50 {
		p.exchange(t, fmt.Sprint("round ", i))
	}
	if err := p.a.Close(); err != nil {
		t.Error(err)
	}
	p.hb.await(t, "b hears of it", func() bool { return !p.hb.isUp() })
}

// TestEverythingAtOnce: everything at once, from many goroutines: the race detector
// and F1 watch.
func TestEverythingAtOnce(t *testing.T) {
	p := newPairOf(t, func(c *Config) {
		c.IdleTimeout, c.TicketTimeout, c.StuckAfter = 500*time.Millisecond, 500*time.Millisecond, time.Millisecond
		c.MaxFrame = 32 << 10
		c.Window = [fabric.Lanes]int{64 << 10, 128 << 10, 64 << 10}
	}, func(r *recorder, peer fabric.MemberID) fabric.Handler {
		return &orderCheck{t: t, recorder: r, from: peer}
	})
	p.net.mu.Lock()
	p.net.loss, p.net.double, p.net.reorder = 0.02, 0.02, 0.02
	p.net.mu.Unlock()
	stop := time.Now().Add(1500 * time.Millisecond)
	var wg sync.WaitGroup
	var version atomic.Uint64
	busy := func(port *Port, self, to fabric.MemberID) {
		for i := range 3 {
			rng := rand.New(rand.NewPCG(uint64(i), uint64(self)))
			wg.Go(func() {
				for time.Now().Before(stop) {
					o := frameTo(to, fabric.Lane(rng.IntN(3)), strings.Repeat("u", rng.IntN(3000)), rng.Uint64()|1)
					port.Send([]fabric.Outgoing{o, o, o})
					if rng.IntN(5) == 0 {
						port.Publish(fabric.Row{Owner: self, Incarnation: 1, Version: version.Add(1)}, []fabric.MemberID{to})
					}
					if rng.IntN(50) == 0 {
						port.Stats(nil)
					}
					time.Sleep(time.Duration(rng.IntN(300)) * time.Microsecond)
				}
			})
		}
	}
	busy(p.a, idA, idB)
	busy(p.b, idB, idA)
	wg.Go(func() {
		for salt := uint64(100); time.Now().Before(stop); salt++ {
			time.Sleep(40 * time.Millisecond)
			switch salt % 4 {
			case 0:
				p.a.SetGate(idB, false)
				time.Sleep(5 * time.Millisecond)
				p.a.SetGate(idB, true)
			case 1:
				p.b.Disconnect(idA)
				p.connect(t, 1, 1, salt)
			default:
				p.connect(t, 1, 1, salt)
			}
		}
	})
	wg.Wait()
	p.net.mu.Lock()
	p.net.loss, p.net.double, p.net.reorder = 0, 0, 0
	p.net.mu.Unlock()
	for _, x := range []struct {
		from *Port
		to   fabric.MemberID
		h    *recorder
	}{{p.a, idB, p.hb}, {p.b, idA, p.ha}} {
		x.h.await(t, "frames flow again", func() bool {
			x.from.Send([]fabric.Outgoing{frameTo(x.to, fabric.LaneControl, "the end", 1)})
			return slices.Contains(x.h.bodies[fabric.LaneControl], "the end")
		})
	}
}

// orderCheck holds a port to F1 and to one call about a peer at a time.
type orderCheck struct {
	*recorder
	t      *testing.T
	from   fabric.MemberID
	inside atomic.Int32
	next   [fabric.Lanes]uint64
	slow   int
}

func (o *orderCheck) enter(from fabric.MemberID) func() {
	if from != o.from || o.inside.Add(1) != 1 {
		o.t.Errorf("D3: two calls about %v at the same time", from)
	}
	return func() { o.inside.Add(-1) }
}

func (o *orderCheck) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	defer o.enter(from)()
	for i := range frames {
		o.due(frames[i].Lane, frames[i].Link, 1)
	}
	if o.slow++; o.slow%100 == 0 {
		time.Sleep(3 * time.Millisecond)
	}
	o.recorder.Deliver(from, frames)
}

func (o *orderCheck) due(lane fabric.Lane, link, count uint64) {
	if want := max(o.next[lane], firstLink); link != want {
		o.t.Errorf("F1: frame %d of the %v lane where %d is due", link, lane, want)
	}
	o.next[lane] = link + count
}

func (o *orderCheck) Gap(from fabric.MemberID, g fabric.Gap) {
	defer o.enter(from)()
	o.due(g.Lane, g.First, g.Count)
	o.recorder.Gap(from, g)
}

func (o *orderCheck) Row(from fabric.MemberID, row fabric.Row) {
	defer o.enter(from)()
	o.recorder.Row(from, row)
}

func (o *orderCheck) Link(peer fabric.MemberID, s fabric.LinkState) {
	defer o.enter(peer)()
	o.recorder.Link(peer, s)
}
