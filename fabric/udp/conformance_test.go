package udp

import (
	"net"
	"net/netip"
	"testing"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
	"github.com/raftdv/dv/internal/needs"
)

// testCluster is a set of ports that know each other.
type testCluster struct {
	tb      testing.TB
	net     *testNet
	members []fabric.MemberID
	ports   map[fabric.MemberID]*Port
	inc     map[fabric.MemberID]uint64
	addr    map[fabric.MemberID]netip.AddrPort
	cfg     func(fabric.MemberID) Config
	sealed  bool
}

func (c *testCluster) start(id fabric.MemberID, h fabric.Handler) {
	cfg := c.cfg(id)
	c.inc[id]++
	cfg.Self, cfg.Incarnation = id, c.inc[id]
	if a := c.addr[id]; a.IsValid() {
		cfg.Listen = a.String()
	}
	c.ports[id] = mustPort(c.tb, cfg, h, c.net)
	c.addr[id] = c.ports[id].LocalAddr()
}

func (c *testCluster) connect(a, b fabric.MemberID) {
	atA, atB := testKeys(a, b, c.inc[a], c.inc[b], 0, c.sealed)
	atA.Addr, atB.Addr = c.addr[b], c.addr[a]
	for _, x := range []struct {
		at, to fabric.MemberID
		s      Session
	}{{a, b, atA}, {b, a, atB}} {
		if err := c.ports[x.at].Connect(x.to, x.s); err != nil && !c.ports[x.at].isClosed() {
			c.tb.Errorf("connect %s to %s: %v", x.at, x.to, err)
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

// variant is one way to run the suite.
type variant struct {
	host    string
	sealed  bool
	offload bool
	faults  func(*testNet)
	small   bool // datagrams of Ethernet size
}

func factory(v variant) fabrictest.Factory {
	return fabrictest.Factory{
		Name: "udp",
		New: func(tb testing.TB, members []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
			c := &testCluster{
				tb: tb, net: newTestNet(1), members: members, sealed: v.sealed, ports: make(map[fabric.MemberID]*Port),
				inc: make(map[fabric.MemberID]uint64), addr: make(map[fabric.MemberID]netip.AddrPort),
				cfg: func(fabric.MemberID) Config { return suiteConfig(v, opt) },
			}
			if v.faults != nil {
				v.faults(c.net)
			}
			for _, id := range members {
				c.start(id, handlers[id])
			}
			c.connectAll()
			return &fabrictest.Cluster{
				Port:    func(id fabric.MemberID) fabric.Port { return c.ports[id] },
				Kill:    func(id fabric.MemberID) { c.ports[id].crash() },
				Restart: c.restart,
				Cut:     func(from, to fabric.MemberID) { c.net.setCut(c.addr[from], c.addr[to], true) },
				Mend:    func(from, to fabric.MemberID) { c.net.setCut(c.addr[from], c.addr[to], false) },
				Close:   c.close,
			}
		},
	}
}

func suiteConfig(v variant, opt fabrictest.Options) Config {
	cfg := Config{
		Listen: net.JoinHostPort(v.host, "0"), MaxFrame: opt.MaxFrame, TicketTimeout: opt.TicketTimeout,
		RowInterval: opt.RowInterval, DisableOffload: !v.offload,
	}
	for i := range cfg.Window {
		cfg.Window[i] = opt.QueueBytes
	}
	if v.small {
		cfg.MaxDatagram = 1472
	}
	return cfg
}

func requireIPv6(tb testing.TB) {
	c, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		needs.Refused(tb, "the port is not tested over IPv6: "+err.Error(), needs.IPv6())
	}
	c.Close()
}

func TestConformance(t *testing.T) {
	t.Run("ipv4 sealed", func(t *testing.T) {
		fabrictest.Run(t, factory(variant{host: "127.0.0.1", sealed: true, offload: true}))
	})
	t.Run("ipv6 authenticated", func(t *testing.T) {
		requireIPv6(t)
		fabrictest.Run(t, factory(variant{host: "::1"}))
	})
	t.Run("ipv4 small datagrams", func(t *testing.T) {
		fabrictest.Run(t, factory(variant{host: "127.0.0.1", sealed: true, offload: true, small: true}))
	})
	t.Run("lossy", func(t *testing.T) {
		fabrictest.Run(t, factory(variant{host: "127.0.0.1", small: true, faults: func(n *testNet) {
			n.loss, n.double, n.reorder, n.alter = 0.05, 0.05, 0.05, 0.01
		}}))
	})
}
