//go:build linux

package shm

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
)

// testDir is a directory whose path is short enough for a socket, which
// t.TempDir's is not always.
func testDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("", "shm")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// testCluster is a set of ports that know each other.
type testCluster struct {
	tb      testing.TB
	members []fabric.MemberID
	ports   map[fabric.MemberID]*Port
	inc     map[fabric.MemberID]uint64
	cfg     Config
	cuts    map[[2]fabric.MemberID]func()
}

func newTestCluster(tb testing.TB, cfg Config, members []fabric.MemberID) *testCluster {
	cfg.Dir = testDir(tb)
	return &testCluster{
		tb: tb, members: members, cfg: cfg, ports: make(map[fabric.MemberID]*Port),
		inc: make(map[fabric.MemberID]uint64), cuts: make(map[[2]fabric.MemberID]func()),
	}
}

func (c *testCluster) start(id fabric.MemberID, h fabric.Handler) {
	cfg := c.cfg
	c.inc[id]++
	cfg.Self, cfg.Incarnation = id, c.inc[id]
	p, err := New(cfg, h)
	if err != nil {
		c.tb.Fatal(err)
	}
	c.ports[id] = p
}

func (c *testCluster) connect(a, b fabric.MemberID) {
	for _, x := range [][2]fabric.MemberID{{a, b}, {b, a}} {
		s := Session{PeerIncarnation: c.inc[x[1]], Key: []byte("sixteen bytes at least")}
		if err := c.ports[x[0]].Connect(x[1], s); err != nil && !c.ports[x[0]].isClosed() {
			c.tb.Errorf("connect %s to %s: %v", x[0], x[1], err)
		}
	}
}

func (c *testCluster) connectAll() {
	for i, a := range c.members {
		for _, b := range c.members[i+1:] {
			c.connect(a, b)
		}
	}
}

func (c *testCluster) restart(id fabric.MemberID, h fabric.Handler) {
	c.start(id, h)
	for _, other := range c.members {
		if other != id && !c.ports[other].isClosed() {
			c.connect(id, other)
		}
	}
}

func (c *testCluster) close() {
	for _, p := range c.ports {
		p.Close()
	}
}

// crash ends a port as a kill of its process would: nothing is said to anybody,
// and what the kernel does not tidy up stays.
func (p *Port) crash() {
	if p.stop() {
		p.place.lock.Close()
		close(p.gone)
	}
}

// cut has to see no more of what from writes: it is given a copy of its segment
// as it is now. mend undoes that.
func (c *testCluster) cut(from, to fabric.MemberID) {
	p := c.ports[to]
	pe := p.peers.Load().find(from)
	var s *session
	var real *memory
	swap := func(m *memory) {
		s.own = m
		for i := range s.in {
			s.in[i].ring.mem = p.shape.ring(m.b, i)
		}
		s.rows.segment = m.b
	}
	idle(pe, func() {
		if s = pe.sess; s != nil {
			s.retain()
			real = s.own
			swap(freeze(s, &p.shape))
		}
	})
	c.cuts[[2]fabric.MemberID{from, to}] = func() {
		if s == nil {
			return
		}
		idle(pe, func() { swap(real) })
		s.release()
		if !p.isClosed() {
			p.bell.ring()
		}
	}
}

func (c *testCluster) mend(from, to fabric.MemberID) {
	k := [2]fabric.MemberID{from, to}
	if f := c.cuts[k]; f != nil {
		f()
		delete(c.cuts, k)
	}
}

// idle calls f under the peer's mutex while nobody has the right to call the
// handler.
func idle(pe *peer, f func()) {
	for {
		pe.mu.Lock()
		if !pe.busy {
			f()
			pe.mu.Unlock()
			return
		}
		pe.mu.Unlock()
		runtime.Gosched()
	}
}

// freeze copies a segment. The valid word of a slot is read before its content,
// so that the copy holds no slot that the original never held.
func freeze(s *session, shape *geometry) *memory {
	b := make([]byte, len(s.own.b))
	for i := range fabric.Lanes {
		word64(b, i*line).Store(word64(s.own.b, i*line).Load())
		from, to := shape.ring(s.own.b, i), shape.ring(b, i)
		for end := shape.slot; end <= len(from); end += shape.slot {
			word := word64(from, end-8).Load()
			copy(to[end-shape.slot:end-8], from[end-shape.slot:end-8])
			word64(to, end-8).Store(word)
		}
	}
	word64(b, rowWordAt).Store(s.rows.seen)
	return &memory{b: b, fd: -1}
}

// variant is one way to run the suite.
type variant struct {
	spin time.Duration
	slot int
	// wrap alters every handler: a planted bug.
	wrap func(fabric.Handler) fabric.Handler
}

func factory(v variant) fabrictest.Factory {
	return fabrictest.Factory{
		Name: "shm",
		New: func(tb testing.TB, members []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
			c := newTestCluster(tb, suiteConfig(v, opt), members)
			if v.wrap == nil {
				v.wrap = func(h fabric.Handler) fabric.Handler { return h }
			}
			for _, id := range members {
				c.start(id, v.wrap(handlers[id]))
			}
			c.connectAll()
			return &fabrictest.Cluster{
				Port:    func(id fabric.MemberID) fabric.Port { return c.ports[id] },
				Kill:    func(id fabric.MemberID) { c.ports[id].crash() },
				Restart: func(id fabric.MemberID, h fabric.Handler) { c.restart(id, v.wrap(h)) },
				Cut:     c.cut,
				Mend:    c.mend,
				Close:   c.close,
			}
		},
	}
}

func suiteConfig(v variant, opt fabrictest.Options) Config {
	cfg := Config{MaxFrame: opt.MaxFrame, TicketTimeout: opt.TicketTimeout, RowInterval: opt.RowInterval, Spin: v.spin, SlotSize: v.slot}
	for i := range cfg.Slots {
		size := v.slot
		if size == 0 {
			size = DefaultSlotSize
		}
		cfg.Slots[i] = opt.QueueBytes / size
	}
	return cfg
}

func TestConformance(t *testing.T) {
	t.Run("sleeping", func(t *testing.T) { fabrictest.Run(t, factory(variant{spin: -1})) })
	t.Run("spinning", func(t *testing.T) { fabrictest.Run(t, factory(variant{})) })
	t.Run("small slots", func(t *testing.T) { fabrictest.Run(t, factory(variant{slot: minSlot})) })
}
