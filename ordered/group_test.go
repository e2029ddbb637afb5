package ordered

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/mesh"
	"github.com/raftdv/dv/fabric/shm"
	"github.com/raftdv/dv/fabric/udp"
)

// patience bounds what a test waits for on the wall clock.
const patience = 30 * time.Second

// party is groups of processes in one test.
type party struct {
	tb     testing.TB
	voters []fabric.MemberID
	dir    string
	fabric string
	tune   func(*GroupConfig)

	mu    sync.Mutex
	addr  map[fabric.MemberID]string
	ports map[fabric.MemberID]fabric.Port
	inc   map[fabric.MemberID]uint64
}

func newParty(tb testing.TB, fabricName string, n int) *party {
	dir, err := os.MkdirTemp("", "dv") // short: the path of a socket is
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	p := &party{tb: tb, fabric: fabricName, dir: dir, addr: map[fabric.MemberID]string{}, ports: map[fabric.MemberID]fabric.Port{}, inc: map[fabric.MemberID]uint64{}}
	for i := range n {
		id := fabric.MemberID(i + 1)
		p.voters = append(p.voters, id)
		if fabricName == "mesh" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				tb.Fatal(err)
			}
			defer l.Close()
			p.addr[id] = l.Addr().String()
		}
	}
	return p
}

// attach makes a member's port and connects it to those that are there.
func (p *party) attach(id fabric.MemberID) func(fabric.Handler, uint64) (fabric.Port, error) {
	return func(h fabric.Handler, incarnation uint64) (fabric.Port, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.inc[id] = incarnation
		var port fabric.Port
		var err error
		switch p.fabric {
		case "mesh":
			port, err = mesh.New(mesh.Config{Self: id, Incarnation: incarnation, Listen: p.addr[id], Peers: p.addr}, h)
		case "shm":
			port, err = shm.New(shm.Config{Self: id, Incarnation: incarnation, Dir: filepath.Join(p.dir, "s")}, h)
		case "udp":
			port, err = udp.New(udp.Config{Self: id, Incarnation: incarnation, Listen: "127.0.0.1:0"}, h)
		}
		if err != nil {
			return nil, err
		}
		p.ports[id] = port
		for _, other := range p.voters {
			if other != id && p.ports[other] != nil {
				p.meet(id, other)
				p.meet(other, id)
			}
		}
		return port, nil
	}
}

// meet has one port know another.
func (p *party) meet(a, b fabric.MemberID) {
	key := func(from, to fabric.MemberID) []byte {
		s := sha256.Sum256(fmt.Append(nil, from, to, p.inc[from], p.inc[to]))
		return s[:]
	}
	index := func(from, to fabric.MemberID) uint64 { return binary.LittleEndian.Uint64(key(from, to)) }
	var err error
	switch port := p.ports[a].(type) {
	case *shm.Port:
		err = port.Connect(b, shm.Session{PeerIncarnation: p.inc[b], Key: key(min(a, b), max(a, b))})
	case *udp.Port:
		err = port.Connect(b, udp.Session{
			Addr: p.ports[b].(*udp.Port).LocalAddr(), PeerIncarnation: p.inc[b], SendKey: key(a, b), RecvKey: key(b, a), SendIndex: index(a, b), RecvIndex: index(b, a),
		})
	}
	if err != nil && !errors.Is(err, fabric.ErrClosed) {
		p.tb.Errorf("%v meets %v: %v", a, b, err)
	}
}

func (p *party) open(id fabric.MemberID) *Group {
	dir := filepath.Join(p.dir, fmt.Sprint(id))
	_, err := os.Stat(dir)
	cfg := GroupConfig{Self: id, Voters: p.voters, Dir: dir, NewMember: errors.Is(err, os.ErrNotExist), Attach: p.attach(id)}
	if p.tune != nil {
		p.tune(&cfg)
	}
	g, err := Open(cfg)
	if err != nil {
		p.tb.Fatal(err)
	}
	p.tb.Cleanup(func() { g.Close() })
	return g
}

func (p *party) openAll() (gs []*Group) {
	for _, id := range p.voters {
		gs = append(gs, p.open(id))
	}
	return gs
}

// fabrics are those that this machine has.
func fabrics() []string {
	if runtime.GOOS == "linux" {
		return []string{"mesh", "udp", "shm"}
	}
	return []string{"mesh", "udp"}
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// members waits until a group's view has that many members.
func members(t testing.TB, g *Group, n int) {
	t.Helper()
	ctx := within(t)
	for {
		changed := g.loop.changed()
		if s := g.State(); s.Member && !s.Changing && len(s.View.Members) == n {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%v is not in a view of %d: %+v", g.Self(), n, g.State())
		}
	}
}

// messages receives until n messages came.
func messages(t testing.TB, g *Group, n int) (list []string) {
	t.Helper()
	for ctx := within(t); len(list) < n; {
		e, err := g.Receive(ctx)
		if err != nil {
			t.Fatalf("%v: after %d messages: %v; %+v", g.Self(), len(list), err, g.State())
		}
		if e.View == nil {
			list = append(list, fmt.Sprintf("%v %v %s", e.From.Member, e.Class, e.Body))
		}
	}
	return list
}

// waiting is how many events wait for Receive.
func (q *events) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.list)
}

// TestGroup: on each fabric, all members send at once, and deliver the same.
func TestGroup(t *testing.T) {
	for _, name := range fabrics() {
		t.Run(name, func(t *testing.T) {
			p := newParty(t, name, 3)
			gs := p.openAll()
			for _, g := range gs {
				members(t, g, 3)
			}
			const each = 300
			var wg sync.WaitGroup
			for _, g := range gs {
				wg.Go(func() {
					ctx := within(t)
					for k := range each {
						ticket, err := g.Send(fabric.ClassAgreed+fabric.Class(k%2), fmt.Append(nil, k))
						for errors.Is(err, ErrWindow) {
							runtime.Gosched()
							ticket, err = g.Send(fabric.ClassAgreed+fabric.Class(k%2), fmt.Append(nil, k))
						}
						if err != nil {
							t.Errorf("%v: %v", g.Self(), err)
							return
						}
						if k%50 == 0 {
							if err := ticket.Wait(ctx); err != nil {
								t.Errorf("%v: message %d: %v", g.Self(), k, err)
							}
							if k%2 == 1 && !ticket.Safe() {
								t.Errorf("%v: message %d is settled and not safe", g.Self(), k)
							}
						}
					}
				})
			}
			lists := make([][]string, len(gs))
			for i, g := range gs {
				wg.Go(func() { lists[i] = messages(t, g, len(gs)*each) })
			}
			wg.Wait()
			for i := range lists {
				if !slices.Equal(lists[i], lists[0]) {
					t.Errorf("member %d delivers in another order than the first", i+1)
				}
			}
		})
	}
}

// TestGroupMemberDies: the others go on without it, it comes back as another
// life, and knows what it kept.
func TestGroupMemberDies(t *testing.T) {
	for _, name := range fabrics() {
		t.Run(name, func(t *testing.T) {
			p := newParty(t, name, 3)
			gs := p.openAll()
			for _, g := range gs {
				members(t, g, 3)
			}
			ctx := within(t)
			was := gs[2].State().Self
			if err := gs[2].Close(); err != nil {
				t.Error(err)
			}
			if _, err := gs[2].Send(fabric.ClassAgreed, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("Send after Close: %v", err)
			}
			members(t, gs[0], 2)
			ticket, err := gs[0].Send(fabric.ClassSafe, []byte("without 3"))
			if err != nil {
				t.Fatal(err)
			}
			if err := ticket.Wait(ctx); err != nil || !ticket.Safe() {
				t.Errorf("safe: %v, %v", ticket.Safe(), err)
			}
			gs[2] = p.open(3)
			for _, g := range gs {
				members(t, g, 3)
			}
			if now := gs[2].State().Self; now.Incarnation <= was.Incarnation {
				t.Errorf("incarnation %d after %d", now.Incarnation, was.Incarnation)
			}
			if ticket, err = gs[2].Send(fabric.ClassAgreed, []byte("back")); err != nil {
				t.Fatal(err)
			}
			if err := ticket.Wait(ctx); err != nil {
				t.Error(err)
			}
			for i, want := range [][]string{{"1 safe without 3", "3 agreed back"}, {"1 safe without 3", "3 agreed back"}, {"3 agreed back"}} {
				if got := messages(t, gs[i], len(want)); !slices.Equal(got, want) {
					t.Errorf("member %d delivers %q, want %q", i+1, got, want)
				}
			}
		})
	}
}

// TestGroupDirect: messages without an order.
func TestGroupDirect(t *testing.T) {
	p := newParty(t, "mesh", 3)
	gs := p.openAll()
	for _, g := range gs {
		members(t, g, 3)
	}
	ctx := within(t)
	var last *Ticket
	for k := range 100 {
		var err error
		if last, err = gs[0].SendTo([]fabric.MemberID{2, 3}, fabric.ClassFIFO, fmt.Append(nil, k)); err != nil {
			t.Fatal(err)
		}
	}
	if err := last.Wait(ctx); err != nil || last.Safe() {
		t.Errorf("%v, safe %v", err, last.Safe())
	}
	for _, g := range gs[1:] {
		for k, m := range messages(t, g, 100) {
			if want := fmt.Sprintf("1 fifo %d", k); m != want {
				t.Fatalf("%v: %q, want %q", g.Self(), m, want)
			}
		}
	}
	ticket, err := gs[0].SendTo([]fabric.MemberID{2, 9}, fabric.ClassUnordered, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	var lost *LostError
	if err := ticket.Wait(ctx); !errors.As(err, &lost) || lost.To != 9 || !errors.Is(err, fabric.ErrUnknownPeer) {
		t.Errorf("to a stranger: %v", err)
	}
	if got := messages(t, gs[1], 1); got[0] != "1 unordered x" {
		t.Errorf("%q", got)
	}
	for _, to := range [][]fabric.MemberID{nil, {2, 2}, {0}} {
		if _, err := gs[0].SendTo(to, fabric.ClassFIFO, nil); !errors.Is(err, ErrDestination) {
			t.Errorf("to %v: %v", to, err)
		}
	}
	for what, err := range map[string]error{
		"agreed": second(gs[0].SendTo([]fabric.MemberID{2}, fabric.ClassAgreed, nil)),
		"fifo":   second(gs[0].Send(fabric.ClassFIFO, nil)),
	} {
		if !errors.Is(err, ErrClass) {
			t.Errorf("%s the wrong way: %v", what, err)
		}
	}
	if _, err := gs[0].Send(fabric.ClassAgreed, make([]byte, 1<<30)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("1 GiB: %v", err)
	}
}

func second(_ *Ticket, err error) error { return err }

const (
	mostEvents  = 32
	smallWindow = 16
)

// onAndOn is a group of three, of which the first sends without end, and the first
// two receive, and what may run until the test ends.
func onAndOn(t *testing.T, stallAfter time.Duration) (gs []*Group, until func(func(context.Context))) {
	p := newParty(t, "mesh", 3)
	p.tune = func(c *GroupConfig) {
		c.MaxEvents, c.Endpoint.Window, c.Endpoint.StallAfter = mostEvents, smallWindow, stallAfter
	}
	gs = p.openAll()
	for _, g := range gs {
		members(t, g, 3)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	until = func(f func(context.Context)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				f(ctx)
			}
		})
	}
	for _, g := range gs[:2] {
		until(func(ctx context.Context) { _, _ = g.Receive(ctx) })
	}
	until(func(context.Context) {
		if _, err := gs[0].Send(fabric.ClassAgreed, []byte("on and on")); err != nil {
			runtime.Gosched()
		}
	})
	return gs, until
}

// TestGroupSlowReader: a member that takes no messages is left out, keeps a
// bounded number of them, and comes back when it does.
func TestGroupSlowReader(t *testing.T) {
	gs, until := onAndOn(t, 200*time.Millisecond)
	members(t, gs[0], 2)
	n := gs[2].events.waiting()
	if n < mostEvents || n > mostEvents+4*smallWindow {
		t.Errorf("%d events wait at the member that takes none, want about %d", n, mostEvents)
	}
	until(func(ctx context.Context) { _, _ = gs[2].Receive(ctx) })
	members(t, gs[0], 3)
	if s := gs[2].State(); s.Left == 0 {
		t.Errorf("it did not begin anew: %+v", s)
	}
}

// TestGroupNoReader: a member that takes no messages at all is left out, and does
// not come back for as long as it takes none.
func TestGroupNoReader(t *testing.T) {
	gs, _ := onAndOn(t, 100*time.Millisecond)
	members(t, gs[0], 2)
	was := gs[0].State().Views
	<-time.After(2 * time.Second) // 20 suspicions, were it let in after each
	if now := gs[0].State().Views; now > was+2 {
		t.Errorf("%d views while it takes nothing", now-was)
	}
	if n := gs[2].events.waiting(); n > mostEvents+6*smallWindow {
		t.Errorf("%d events wait at it", n)
	}
}

// TestGroupProducer: nor does a member that only sends keep more than it may.
func TestGroupProducer(t *testing.T) {
	for _, n := range []int{1, 3} {
		p := newParty(t, "mesh", n)
		const most, window = 32, 16
		p.tune = func(c *GroupConfig) {
			c.MaxEvents = most
			c.Endpoint.Window = window
		}
		gs := p.openAll()
		ctx, cancel := context.WithCancel(context.Background())
		var wg sync.WaitGroup
		for i, g := range gs {
			members(t, g, n)
			if i > 0 {
				wg.Go(func() {
					for ctx.Err() == nil {
						_, _ = g.Receive(ctx)
					}
				})
			}
		}
		var err error
		for k := 0; k < 10*most && err == nil; k++ {
			var ticket *Ticket
			if ticket, err = gs[0].Send(fabric.ClassAgreed, nil); err == nil {
				err = ticket.Wait(within(t))
			}
		}
		if !errors.Is(err, ErrWindow) {
			t.Errorf("n=%d: %v, want the window full", n, err)
		}
		if k := gs[0].events.waiting(); k > most+window {
			t.Errorf("n=%d: %d events wait", n, k)
		}
		cancel()
		wg.Wait()
	}
}

// TestGroupStopsEarly: members that ended before they were in any view are not
// taken for members that lost their disks.
func TestGroupStopsEarly(t *testing.T) {
	p := newParty(t, "mesh", 3)
	for _, id := range p.voters {
		if err := p.open(id).Close(); err != nil {
			t.Error(err)
		}
	}
	for _, g := range p.openAll() { // not new any more
		defer members(t, g, 3)
	}
}

// TestGroupConfigChanges: a voter is removed, and comes back.
func TestGroupConfigChanges(t *testing.T) {
	p := newParty(t, "mesh", 4)
	gs := p.openAll()
	for _, g := range gs {
		members(t, g, 4)
	}
	for epoch, n := range map[uint64]int{2: 3} {
		for _, g := range gs {
			if err := g.SetConfig(barrier.Config{Epoch: epoch, Voters: p.voters[:n]}); err != nil {
				t.Fatal(err)
			}
		}
		members(t, gs[0], n)
	}
	for _, g := range gs[:3] {
		if err := g.SetConfig(barrier.Config{Epoch: 3, Voters: p.voters}); err != nil {
			t.Fatal(err)
		}
	}
	for _, g := range gs {
		members(t, g, 4)
	}
	if err := gs[0].SetConfig(barrier.Config{Epoch: 9}); !errors.Is(err, barrier.ErrConfig) {
		t.Errorf("nobody votes: %v", err)
	}
}

func TestGroupConfigFaults(t *testing.T) {
	err := GroupConfig{MaxEvents: -1, Endpoint: EndpointConfig{Beat: time.Second, Turn: -1}}.Validate()
	for _, want := range []string{"Self", "Voters", "Dir", "Attach", "MaxEvents", "Beat", "Turn"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
	dir := t.TempDir()
	cfg := GroupConfig{Self: 1, Voters: []fabric.MemberID{1}, Dir: dir, Attach: func(fabric.Handler, uint64) (fabric.Port, error) {
		return nil, errors.New("no fabric here")
	}}
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), "no fabric here") {
		t.Errorf("no port: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, viewFile), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newParty(t, "mesh", 1)
	cfg.Attach = p.attach(1)
	if _, err := Open(cfg); !errors.Is(err, barrier.ErrState) {
		t.Errorf("a damaged file: %v", err)
	}
}
