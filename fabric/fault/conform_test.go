package fault_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
	"github.com/raftdv/dv/fabric/fault"
	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/fabric/udp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ports are the wrapped ports of one cluster, and how to open one.
type ports struct {
	tb   testing.TB
	c    *fault.Controller
	byID map[fabric.MemberID]fabric.Port
	open func(id fabric.MemberID, h fabric.Handler) (fabric.Port, error)
}

func (p *ports) start(id fabric.MemberID, h fabric.Handler) {
	port, err := p.c.Wrap(id, h, func(h fabric.Handler) (fabric.Port, error) { return p.open(id, h) })
	if err != nil {
		p.tb.Fatal(err)
	}
	p.byID[id] = port
}

func (p *ports) close() {
	for _, port := range p.byID {
		if err := port.Close(); err != nil {
			p.tb.Error(err)
		}
	}
}

func newPorts(tb testing.TB, cfg fault.Config, rule fault.Rule) *ports {
	c, err := fault.New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	if err := c.SetRule(0, 0, rule); err != nil {
		tb.Fatal(err)
	}
	return &ports{tb: tb, c: c, byID: make(map[fabric.MemberID]fabric.Port)}
}

const maxHold = 100 * time.Millisecond

// simFactory wraps ports in virtual time. spoil may replace the inner port.
func simFactory(rule fault.Rule, spoil func(fabric.Port) fabric.Port) fabrictest.Factory {
	return fabrictest.Factory{
		Name: "fault over sim", Lossy: rule.Drop+rule.Corrupt > 0,
		Lacks: map[fabrictest.Ability]string{fabrictest.AbleWait: "virtual time, one goroutine: no call runs while another one does"},
		New: func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
			n, err := sim.New(sim.Config{
				Seed: 1, MaxFrame: opt.MaxFrame, QueueBytes: opt.QueueBytes / 2, TicketTimeout: opt.TicketTimeout - maxHold,
				RowInterval: opt.RowInterval, LinkTimeout: 100 * time.Millisecond, Faults: sim.Faults{Delay: 50 * time.Microsecond},
			})
			if err != nil {
				tb.Fatal(err)
			}
			p := newPorts(tb, fault.Config{Seed: 2, Clock: n, MaxHold: maxHold, QueueBytes: opt.QueueBytes / 2}, rule)
			p.open = func(id fabric.MemberID, h fabric.Handler) (fabric.Port, error) {
				port, err := n.Join(id, h)
				if err != nil || spoil == nil {
					return port, err
				}
				return spoil(port), nil
			}
			for _, id := range ids {
				p.start(id, fabrictest.Mangle(handlers[id]))
			}
			return &fabrictest.Cluster{
				Port: func(id fabric.MemberID) fabric.Port { return p.byID[id] },
				Kill: func(id fabric.MemberID) {
					p.c.Kill(id) // mutes it
					n.Kill(id)
				},
				Restart: p.start, Cut: n.Cut, Mend: n.Mend, Stall: n.Stall, Unstall: n.Unstall, Advance: n.Advance, Close: p.close,
			}
		},
	}
}

// TestConformanceInVirtualTime: what the decorator does keeps the contract.
func TestConformanceInVirtualTime(t *testing.T) {
	for name, rule := range map[string]fault.Rule{
		"no rule":       {},
		"rule of zeros": {Handling: 0},
		"delays":        {Delay: time.Millisecond, Jitter: time.Millisecond, Reorder: 0.1, ReorderBy: 5 * time.Millisecond},
		"drops":         {Drop: 0.15, Corrupt: 0.05},
		"wire":          {Wire: fault.WireFaults{Loss: 0.05, Duplicate: 0.1, Corrupt: 0.05, Reorder: 0.05}},
		"everything": {
			Drop: 0.1, Corrupt: 0.05, Delay: 100 * time.Microsecond, Jitter: time.Millisecond, Reorder: 0.1, ReorderBy: 3 * time.Millisecond,
			Wire: fault.WireFaults{Loss: 0.02, Duplicate: 0.05},
		},
	} {
		t.Run(name, func(t *testing.T) { fabrictest.Run(t, simFactory(rule, nil)) })
	}
}

// silent is a port that takes voids and neither sends nor reports them: with it
// a drop is a silent loss.
type silent struct{ fabric.Port }

func (s silent) Send(batch []fabric.Outgoing) error {
	var rest []fabric.Outgoing
	for _, o := range batch {
		if o.Kind != fabric.KindVoid {
			rest = append(rest, o)
		}
	}
	return s.Port.Send(rest)
}

// TestSuiteSeesTheDrops is the control of the test above: the drops happen, and
// the suite would see it if they were not reported.
func TestSuiteSeesTheDrops(t *testing.T) {
	f := simFactory(fault.Rule{Drop: 0.15}, func(p fabric.Port) fabric.Port { return silent{p} })
	if found := fabrictest.Violations(t, f, "tickets/acked"); len(found) == 0 {
		t.Error("a port that swallows voids passes")
	}
}

// udpFactory wraps real ports on loopback.
func udpFactory(rule fault.Rule) fabrictest.Factory {
	return fabrictest.Factory{
		Name: "fault over udp", Lossy: rule.Drop+rule.Corrupt > 0,
		Lacks: map[fabrictest.Ability]string{
			fabrictest.AbleKill: "only the port's own package can crash it", fabrictest.AbleRestart: "as kill",
			fabrictest.AbleCut: "cuts of the network below are tested by the port's own package",
		},
		New: func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
			hold := min(maxHold, opt.TicketTimeout/4)
			p := newPorts(tb, fault.Config{Seed: 3, MaxHold: hold, QueueBytes: opt.QueueBytes / 2}, rule)
			raw := make(map[fabric.MemberID]*udp.Port)
			p.open = func(id fabric.MemberID, h fabric.Handler) (fabric.Port, error) {
				cfg := udp.Config{Listen: "127.0.0.1:0", MaxFrame: opt.MaxFrame, TicketTimeout: opt.TicketTimeout - hold, RowInterval: opt.RowInterval}
				cfg.Self, cfg.Incarnation = id, 1
				for i := range cfg.Window {
					cfg.Window[i] = opt.QueueBytes / 2
				}
				port, err := udp.New(cfg, h)
				raw[id] = port
				return port, err
			}
			for _, id := range ids {
				p.start(id, handlers[id])
			}
			for _, a := range ids {
				for _, b := range ids {
					if a != b {
						if err := raw[a].Connect(b, session(a, b, raw[b].LocalAddr())); err != nil {
							tb.Fatal(err)
						}
					}
				}
			}
			return &fabrictest.Cluster{Port: func(id fabric.MemberID) fabric.Port { return p.byID[id] }, Close: p.close}
		},
	}
}

func session(a, b fabric.MemberID, addr netip.AddrPort) udp.Session {
	key := func(from, to fabric.MemberID) []byte {
		return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(from)), uint64(to))
	}
	index := func(at, of fabric.MemberID) uint64 { return (uint64(at)*0x9e37_79b9_7f4a_7c15 ^ uint64(of)) | 1 }
	return udp.Session{
		Addr: addr, PeerIncarnation: 1, SendKey: key(a, b), RecvKey: key(b, a), SendIndex: index(b, a), RecvIndex: index(a, b), Sealed: true,
	}
}

// TestConformanceOfARealPort runs the suite over sockets: without a rule, and
// the cases about order, tickets and credit with faults on.
func TestConformanceOfARealPort(t *testing.T) {
	t.Run("no rule", func(t *testing.T) { fabrictest.Run(t, udpFactory(fault.Rule{})) })
	rule := fault.Rule{Drop: 0.05, Corrupt: 0.02, Jitter: 200 * time.Microsecond, Reorder: 0.05, ReorderBy: 2 * time.Millisecond}
	t.Run("faults", func(t *testing.T) {
		cases := []string{
			"order/batches", "order/concurrent senders", "order/mesh", "tickets/acked", "tickets/zero", "tickets/stuck receiver",
			"credit/refused", "credit/large frames", "rows/newest", "rows/concurrent", "handler/reenters", "handler/serial", "close/under load",
			"close/receiver", "close/leaks",
		}
		for _, v := range fabrictest.Violations(t, udpFactory(rule), cases...) {
			t.Errorf("%s: %s", v.Case, v.Message)
		}
	})
}
