package udp

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
	"github.com/raftdv/dv/internal/needs"
)

// way is one way to carry the same frames: what a member's port may use.
type way struct {
	host        string
	sealed      bool
	offload     [3]bool // by member
	maxDatagram int     // 0: what the path takes
	spin        bool
	single      bool // the kernel is handed one datagram at a time, whatever the port builds
}

func (w way) String() string {
	seal, size := "authenticated", "path's size"
	if w.sealed {
		seal = "sealed"
	}
	if w.maxDatagram > 0 {
		size = fmt.Sprint(w.maxDatagram)
	}
	s := fmt.Sprintf("%s, %s, offload %v, datagrams of %s", w.host, seal, w.offload, size)
	if w.spin {
		s += ", spinning"
	}
	if w.single {
		s += ", one by one"
	}
	return s
}

// spy stands between ports and their sockets: it counts what offloads do, and
// can break them.
type spy struct {
	segmented, coalesced atomic.Uint64 // calls that moved several datagrams
	single               bool
	split                func(b []byte, n, seg int) (int, int) // what the port is told of n bytes that were received
}

type spyConduit struct {
	conduit
	spy *spy
}

func (c spyConduit) newSender() sender     { return spySender{c.conduit.newSender(), c.spy} }
func (c spyConduit) newReceiver() receiver { return spyReceiver{c.conduit.newReceiver(), c.spy} }

type spySender struct {
	sender
	spy *spy
}

func (s spySender) send(b []byte, seg int, to netip.AddrPort, wait bool) (int, error) {
	if s.spy.single && seg < len(b) {
		sent := 0
		for sent < len(b) {
			n, err := s.sender.send(b[sent:min(len(b), sent+seg)], seg, to, wait)
			if sent += n; err != nil {
				return sent, err
			}
		}
		return sent, nil
	}
	if seg < len(b) {
		s.spy.segmented.Add(1)
	}
	return s.sender.send(b, seg, to, wait)
}

type spyReceiver struct {
	receiver
	spy *spy
}

func (r spyReceiver) recv(b []byte, wait bool) (int, int, netip.AddrPort, error) {
	n, seg, from, err := r.receiver.recv(b, wait)
	if err == nil && seg < n {
		r.spy.coalesced.Add(1)
	}
	if err == nil && r.spy.split != nil {
		n, seg = r.spy.split(b, n, seg)
	}
	return n, seg, from, err
}

// offloadFactory makes clusters that go one way. Handlers may be wrapped.
func offloadFactory(w way, s *spy, wrap func(fabric.Handler) fabric.Handler) fabrictest.Factory {
	return fabrictest.Factory{
		Name: w.String(),
		New: func(tb testing.TB, members []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
			c := &testCluster{
				tb: tb, members: members, sealed: w.sealed, ports: make(map[fabric.MemberID]*Port),
				inc: make(map[fabric.MemberID]uint64), addr: make(map[fabric.MemberID]netip.AddrPort),
			}
			for i, id := range members {
				h := handlers[id]
				if wrap != nil {
					h = wrap(h)
				}
				cfg := suiteConfig(variant{host: w.host, offload: w.offload[i]}, opt)
				cfg.Self, cfg.Incarnation, cfg.MaxDatagram = id, 1, w.maxDatagram
				cfg.IdleTimeout = opt.TicketTimeout // a machine that stands still is no fault of the port
				if w.spin {
					cfg.Spin = 50_000
				}
				c.inc[id] = 1
				c.ports[id] = mustSpiedPort(tb, cfg, h, s)
				c.addr[id] = c.ports[id].LocalAddr()
			}
			c.connectAll()
			return &fabrictest.Cluster{Port: func(id fabric.MemberID) fabric.Port { return c.ports[id] }, Close: c.close}
		},
	}
}

func mustSpiedPort(tb testing.TB, cfg Config, h fabric.Handler, s *spy) *Port {
	tb.Helper()
	if err := cfg.Validate(); err != nil {
		tb.Fatal(err)
	}
	cfg = cfg.withDefaults()
	c, err := openSocket(&cfg)
	if err != nil {
		tb.Fatal(err)
	}
	return newPort(&cfg, h, spyConduit{c, s})
}

var (
	allOffload = [3]bool{true, true, true}
	noOffload  = [3]bool{}
	someOf     = [3]bool{true, false, true}
)

// ways are all combinations of the settings that must not matter.
func ways() []way {
	var all []way
	for _, offload := range [][3]bool{noOffload, allOffload, someOf} {
		for _, sealed := range []bool{true, false} {
			for _, size := range []int{0, 1472, minDatagram} {
				all = append(all, way{host: "127.0.0.1", sealed: sealed, offload: offload, maxDatagram: size})
			}
		}
	}
	return append(all,
		way{host: "127.0.0.1", sealed: true, offload: allOffload, maxDatagram: 1472, single: true},
		way{host: "127.0.0.1", sealed: true, offload: allOffload, spin: true},
		way{host: "::1", sealed: true, offload: allOffload, maxDatagram: 1452},
		way{host: "::1", offload: noOffload},
	)
}

// require skips what this host cannot do.
func (w way) require(t *testing.T) {
	if w.host == "::1" {
		requireIPv6(t)
	}
	if w.offload != noOffload && !hasOffload() {
		needs.Refused(t, "no UDP_SEGMENT: the port is not compared with and without offloads", needs.Kernel(4, 18))
	}
}

// TestOffloadsChangeNothing: whatever the kernel is asked to do, and however
// frames are cut into datagrams, the same sends give the same deliveries in the
// same order, the same tickets, and no gap.
func TestOffloadsChangeNothing(t *testing.T) {
	steps := 100
	if testing.Short() {
		steps = 40
	}
	script := fabrictest.NewScript(11, steps)
	want := script.Expected()
	for i, w := range ways() {
		t.Run(w.String(), func(t *testing.T) {
			w.require(t)
			s := &spy{single: w.single}
			got := fabrictest.Play(t, offloadFactory(w, s, nil), script)
			if d := got.Diff(want); d != nil {
				t.Errorf("%s", strings.Join(d, "\n"))
			}
			if i == 0 {
				want = got // from here on run against run
			}
			checkOffload(t, w, s)
		})
	}
}

// checkOffload holds what was done against what was allowed: a comparison of a
// way with itself would prove nothing.
func checkOffload(t *testing.T, w way, s *spy) {
	if w.offload == noOffload && (s.segmented.Load() > 0 || s.coalesced.Load() > 0) {
		t.Errorf("without offloads %d calls sent and %d received several datagrams", s.segmented.Load(), s.coalesced.Load())
	}
	if w.single && s.segmented.Load() > 0 {
		t.Errorf("one by one: %d calls sent several datagrams", s.segmented.Load())
	}
	// Datagrams of 64 KiB leave nothing to put together.
	if small := w.maxDatagram > 0; w.offload != noOffload && small && !w.single && (s.segmented.Load() == 0 || s.coalesced.Load() == 0) {
		t.Errorf("with offloads %d calls sent and %d received several datagrams", s.segmented.Load(), s.coalesced.Load())
	}
}

// hasOffload reports whether sockets here can segment.
func hasOffload() bool {
	cfg := Config{Self: 1, Listen: "127.0.0.1:0"}
	cfg = cfg.withDefaults()
	c, err := openSocket(&cfg)
	if err != nil {
		return false
	}
	defer c.close()
	return runtime.GOOS == "linux" && c.about().segments
}

// planter is a handler in front of a member's that breaks what it passes on,
// once, as a port would whose batches of datagrams are cut apart wrongly.
type planter struct {
	fabric.Handler
	mu   sync.Mutex
	done bool
	bug  func(frames []fabric.Frame) ([]fabric.Frame, bool)
}

func (p *planter) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	p.mu.Lock()
	if !p.done {
		frames, p.done = p.bug(frames)
	}
	p.mu.Unlock()
	p.Handler.Deliver(from, frames)
}

// TestComparisonFindsPlantedFaults is the negative control of
// TestOffloadsChangeNothing: one fault on the side with offloads is found.
func TestComparisonFindsPlantedFaults(t *testing.T) {
	script := fabrictest.NewScript(12, 60)
	w := way{host: "127.0.0.1", sealed: true, offload: allOffload, maxDatagram: 1472}
	batch := func(frames []fabric.Frame) bool { return len(frames) > 2 }
	for what, bug := range map[string]func(frames []fabric.Frame) ([]fabric.Frame, bool){
		"two frames of a batch change places": func(f []fabric.Frame) ([]fabric.Frame, bool) {
			if batch(f) && f[0].Lane == f[1].Lane {
				f[0], f[1] = f[1], f[0]
				return f, true
			}
			return f, false
		},
		"two frames of a batch change bodies": func(f []fabric.Frame) ([]fabric.Frame, bool) {
			if batch(f) {
				f[0].Body, f[1].Body = f[1].Body, f[0].Body
				return f, true
			}
			return f, false
		},
		"a frame comes twice": func(f []fabric.Frame) ([]fabric.Frame, bool) {
			return slices.Concat(f, f[len(f)-1:]), true
		},
		"a body is cut short": func(f []fabric.Frame) ([]fabric.Frame, bool) {
			for i := range f {
				if n := len(f[i].Body); n > 1472 {
					f[i].Body = f[i].Body[:n-1]
					return f, true
				}
			}
			return f, false
		},
		"a bit is wrong": func(f []fabric.Frame) ([]fabric.Frame, bool) {
			for i := range f {
				if n := len(f[i].Body); n > 0 {
					f[i].Body[n/2] ^= 1
					return f, true
				}
			}
			return f, false
		},
	} {
		t.Run(what, func(t *testing.T) {
			var planters []*planter
			got := fabrictest.Play(t, offloadFactory(w, &spy{}, func(h fabric.Handler) fabric.Handler {
				p := &planter{Handler: h, bug: bug}
				planters = append(planters, p)
				return p
			}), script)
			struck := 0
			for _, p := range planters {
				if p.done {
					struck++
				}
			}
			if struck == 0 {
				t.Fatal("the fault never struck: it proves nothing")
			}
			if got.Diff(script.Expected()) == nil {
				t.Error("it was not found")
			}
		})
	}
}

// TestWrongSplitShows: a received batch that is cut at the wrong place, which
// the port survives by sending again, is found by what it refuses.
func TestWrongSplitShows(t *testing.T) {
	script := fabrictest.NewScript(12, 60)
	w := way{host: "127.0.0.1", sealed: true, offload: allOffload, maxDatagram: 1472}
	w.require(t)
	for what, split := range map[string]func() func(b []byte, n, seg int) (int, int){
		"a segment of another size": func() func([]byte, int, int) (int, int) {
			var struck atomic.Bool
			return func(_ []byte, n, seg int) (int, int) {
				if seg < n && struck.CompareAndSwap(false, true) {
					return n, seg - 1
				}
				return n, seg
			}
		},
		"a segment twice the size": func() func([]byte, int, int) (int, int) {
			var struck atomic.Bool
			return func(_ []byte, n, seg int) (int, int) {
				if seg < n && struck.CompareAndSwap(false, true) {
					return n, min(n, 2*seg)
				}
				return n, seg
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			s := &spy{split: split()}
			got := fabrictest.Play(t, offloadFactory(w, s, nil), script)
			d := strings.Join(got.Diff(script.Expected()), "\n")
			if s.coalesced.Load() == 0 {
				t.Fatal("nothing was put together: it proves nothing")
			}
			if !strings.Contains(d, "has refused") {
				t.Errorf("it was not found: %q", d)
			}
		})
	}
}
