package stream

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
)

// way is one way to carry the same frames.
type way struct {
	name   string
	net    network
	window int // of each lane; 0: the default
}

func ways() []way {
	var all []way
	for _, n := range []network{
		{name: "tcp", family: "tcp"}, {name: "unix", family: "unix"}, {name: "tls", family: "tcp", tls: true}, {name: "relayed", family: "tcp", relayed: true},
	} {
		for _, writer := range []bool{false, true} {
			for _, flip := range []bool{false, true} {
				w := way{name: n.name, net: n}
				w.net.writer, w.net.flip = writer, flip
				if writer {
					w.name += ", written by the connection"
				}
				if n.tls == flip {
					w.name += ", checksums"
				}
				all = append(all, w)
			}
		}
	}
	narrow := all[0]
	narrow.name, narrow.window = narrow.name+", narrow windows", 8<<10
	return append(all, narrow)
}

// waysFactory makes clusters that go one way; look sees the world before it is
// closed.
func waysFactory(w way, wrap func(fabric.Handler) fabric.Handler, look func(*world)) fabrictest.Factory {
	return fabrictest.Factory{
		Name: w.name,
		New: func(tb testing.TB, ids []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt fabrictest.Options) *fabrictest.Cluster {
			cfg := configFor(opt)
			cfg.KeepAlive, cfg.IdleTimeout = 0, opt.TicketTimeout // a machine that stands still is no fault of the port
			for l := range cfg.Queues {
				cfg.Queues[l].Window = w.window
			}
			for id, h := range handlers {
				if wrap != nil {
					handlers[id] = wrap(h)
				}
			}
			world := newWorld(tb, w.net, cfg, ids, handlers)
			return &fabrictest.Cluster{
				Port: func(id fabric.MemberID) fabric.Port { return world.port(id) },
				Close: func() {
					if look != nil {
						look(world)
					}
					world.close()
				},
			}
		},
	}
}

// TestWaysChangeNothing: whoever writes to the socket, with checksums or without,
// the same sends give the same deliveries in the same order, the same tickets,
// and no gap.
func TestWaysChangeNothing(t *testing.T) {
	steps := 100
	if testing.Short() {
		steps = 40
	}
	script := fabrictest.NewScript(21, steps)
	want := script.Expected()
	for i, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			got := fabrictest.Play(t, waysFactory(w, nil, func(world *world) { checkWay(t, w, world) }), script)
			if d := got.Diff(want); d != nil {
				t.Errorf("%s", strings.Join(d, "\n"))
			}
			if i == 0 {
				want = got // from here on run against run
			}
		})
	}
}

// checkWay holds what was done against what was asked for: a comparison of a way
// with itself would prove nothing.
func checkWay(t *testing.T, w way, world *world) {
	inline := !w.net.writer && !w.net.tls
	for _, id := range world.ids {
		for _, q := range *world.port(id).peers.Load() {
			c := q.send.Load()
			if c == nil {
				t.Errorf("%s has no connection to %s in the end", id, q.id)
				continue
			}
			if (c.raw != nil) != inline {
				t.Errorf("%s to %s: inline writes %v, want %v", id, q.id, c.raw != nil, inline)
			}
			if has := c.header.Has&fabric.HasCRC != 0; has != (w.net.tls == w.net.flip) {
				t.Errorf("%s to %s: checksums %v", id, q.id, has)
			}
		}
	}
}

// TestWaysAgreeNotByChance is the negative control of TestWaysChangeNothing: what
// breaks one side is found.
func TestWaysAgreeNotByChance(t *testing.T) {
	script := fabrictest.NewScript(22, 60)
	plain := way{name: "tcp", net: network{family: "tcp"}}
	for what, bug := range map[string]func(frames []fabric.Frame) ([]fabric.Frame, bool){
		"two frames change places": func(f []fabric.Frame) ([]fabric.Frame, bool) {
			if len(f) < 2 || f[0].Lane != f[1].Lane {
				return f, false
			}
			f[0], f[1] = f[1], f[0]
			return f, true
		},
		"a fragment's last byte is wrong": func(f []fabric.Frame) ([]fabric.Frame, bool) {
			for i := range f {
				if len(f[i].Body) > pieceLen {
					f[i].Body[pieceLen-1] ^= 0x80
					return f, true
				}
			}
			return f, false
		},
	} {
		t.Run(what, func(t *testing.T) {
			var struck atomic.Bool
			wrap := func(h fabric.Handler) fabric.Handler { return &planter{Handler: h, struck: &struck, bug: bug} }
			got := fabrictest.Play(t, waysFactory(plain, wrap, nil), script)
			if !struck.Load() {
				t.Fatal("the fault never struck: it proves nothing")
			}
			if got.Diff(script.Expected()) == nil {
				t.Error("it was not found")
			}
		})
	}
}

// planter breaks what a member is handed, once.
type planter struct {
	fabric.Handler
	struck *atomic.Bool
	bug    func(frames []fabric.Frame) ([]fabric.Frame, bool)
}

func (p *planter) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	if !p.struck.Load() {
		broken, done := p.bug(frames)
		if frames = broken; done {
			p.struck.Store(true)
		}
	}
	p.Handler.Deliver(from, frames)
}
