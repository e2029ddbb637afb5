package udp

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/needs"
)

// recorder is a handler that remembers.
type recorder struct {
	mu      sync.Mutex
	changed chan struct{}
	bodies  [fabric.Lanes][]string
	gaps    []fabric.Gap
	rows    []fabric.Row
	links   []fabric.LinkState
	settled []fabric.Resolution
	byPeer  map[fabric.MemberID]int
	block   map[fabric.MemberID]chan struct{} // Deliver waits for it
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}, 1), byPeer: make(map[fabric.MemberID]int), block: make(map[fabric.MemberID]chan struct{})}
}

func (r *recorder) note(f func()) {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *recorder) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	var wait chan struct{}
	r.note(func() {
		for i := range frames {
			r.bodies[frames[i].Lane] = append(r.bodies[frames[i].Lane], string(frames[i].Body))
		}
		r.byPeer[from] += len(frames)
		wait = r.block[from]
	})
	if wait != nil {
		<-wait
	}
}

func (r *recorder) Gap(_ fabric.MemberID, g fabric.Gap) {
	r.note(func() { r.gaps = append(r.gaps, g) })
}

func (r *recorder) Row(_ fabric.MemberID, row fabric.Row) {
	r.note(func() { row.Sections = bytes.Clone(row.Sections); r.rows = append(r.rows, row) })
}

func (r *recorder) Resolve(s []fabric.Resolution) {
	r.note(func() { r.settled = append(r.settled, s...) })
}

func (r *recorder) Link(_ fabric.MemberID, s fabric.LinkState) {
	r.note(func() { r.links = append(r.links, s) })
}

// await waits until cond, which may look at everything, holds.
func (r *recorder) await(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		r.mu.Lock()
		ok := cond()
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-r.changed:
		case <-look.C:
		case <-deadline.C:
			r.mu.Lock()
			defer r.mu.Unlock()
			tb.Fatalf("%s: not within 20 s; links %+v, gaps %+v, %d settled", what, r.links, r.gaps, len(r.settled))
		}
	}
}

func (r *recorder) isUp() bool { return len(r.links) > 0 && r.links[len(r.links)-1].Up }

// pair is two connected ports.
type pair struct {
	a, b     *Port
	ha, hb   *recorder
	atA, atB Session
	net      *testNet
}

const idA, idB = fabric.MemberID(0xa), fabric.MemberID(0xb)

func newPair(t *testing.T, edit func(*Config)) *pair {
	return newPairOf(t, edit, func(r *recorder, _ fabric.MemberID) fabric.Handler { return r })
}

// newPairOf lets the caller wrap the recorders; peer is whom they hear.
func newPairOf(t *testing.T, edit func(*Config), wrap func(r *recorder, peer fabric.MemberID) fabric.Handler) *pair {
	t.Helper()
	p := &pair{ha: newRecorder(), hb: newRecorder(), net: newTestNet(1)}
	open := func(id fabric.MemberID, h fabric.Handler) *Port {
		cfg := Config{Self: id, Incarnation: 1, Listen: "127.0.0.1:0"}
		if edit != nil {
			edit(&cfg)
		}
		port := mustPort(t, cfg, h, p.net)
		t.Cleanup(func() { port.Close() })
		return port
	}
	p.a, p.b = open(idA, wrap(p.ha, idB)), open(idB, wrap(p.hb, idA))
	p.connect(t, 1, 1, 0)
	p.awaitUp(t)
	return p
}

func (p *pair) connect(t *testing.T, incA, incB, salt uint64) {
	t.Helper()
	p.atA, p.atB = testKeys(idA, idB, incA, incB, salt, true)
	p.atA.Addr, p.atB.Addr = p.b.LocalAddr(), p.a.LocalAddr()
	if err := errors.Join(p.a.Connect(idB, p.atA), p.b.Connect(idA, p.atB)); err != nil {
		t.Fatal(err)
	}
}

// awaitUp asks the ports as well: what the handlers know may be of the session
// before.
func (p *pair) awaitUp(t *testing.T) {
	t.Helper()
	up := func(port *Port) bool {
		s := port.Stats(nil)
		return len(s) == 1 && s[0].Up
	}
	p.ha.await(t, "a is up", func() bool { return p.ha.isUp() && up(p.a) })
	p.hb.await(t, "b is up", func() bool { return p.hb.isUp() && up(p.b) })
}

func frameTo(to fabric.MemberID, lane fabric.Lane, body string, ticket uint64) fabric.Outgoing {
	return fabric.Outgoing{To: []fabric.MemberID{to}, Lane: lane, Body: []byte(body), Ticket: ticket}
}

// exchange proves that the session works in both directions.
func (p *pair) exchange(t *testing.T, word string) {
	t.Helper()
	for _, x := range []struct {
		from *Port
		to   fabric.MemberID
		h    *recorder
	}{{p.a, idB, p.hb}, {p.b, idA, p.ha}} {
		if err := x.from.Send([]fabric.Outgoing{frameTo(x.to, fabric.LaneControl, word, 1)}); err != nil {
			t.Fatal(err)
		}
		x.h.await(t, word+" arrives", func() bool { return slices.Contains(x.h.bodies[fabric.LaneControl], word) })
	}
}

// capture keeps the datagrams that a sends.
func (p *pair) capture() (stop func() [][]byte) {
	var got [][]byte
	p.net.mu.Lock()
	p.net.seen = func(from, _ netip.AddrPort, b []byte) {
		if from == p.a.LocalAddr() {
			got = append(got, bytes.Clone(b))
		}
	}
	p.net.mu.Unlock()
	return func() [][]byte {
		p.net.mu.Lock()
		defer p.net.mu.Unlock()
		p.net.seen = nil
		return got
	}
}

// TestStrangersGetNoAnswer: unknown senders, forgeries and replays are counted,
// never answered, and change nothing.
func TestStrangersGetNoAnswer(t *testing.T) {
	p := newPair(t, nil)
	stop := p.capture()
	p.exchange(t, "one")
	datagrams := stop()
	if len(datagrams) == 0 {
		t.Fatal("nothing was captured")
	}
	d := datagrams[0]
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(d)) }
	stranger := listenLoopback(t)
	to := net.UDPAddrFromAddrPort(p.b.LocalAddr())
	for _, c := range []struct {
		reason verdict
		b      []byte
	}{
		{replayed, d},
		{badSeal, edit(func(b []byte) []byte { b[len(b)-1] ^= 1; b[12] += 200; return b })},
		{badSeal, edit(func(b []byte) []byte { b[12] += 200; return b })},
		{badSeal, edit(func(b []byte) []byte { b[12] += 201; b[3] += 7; return b })},           // another generation
		{badSeal, edit(func(b []byte) []byte { b[12] += 202; b[2] &^= flagSealed; return b })}, // downgrade
		{badSeal, edit(func(b []byte) []byte { b[12] += 203; return b[:len(b)-5] })},
		{badFormat, d[:overhead-1]},
		{badFormat, edit(func(b []byte) []byte { b[0] = 'x'; return b })},
		{badVersion, edit(func(b []byte) []byte { b[1] = 2; return b })},
		{badVersion, edit(func(b []byte) []byte { b[2] |= 0x80; return b })},
		{badIndex, edit(func(b []byte) []byte { b[5]++; return b })},
		{badIndex, make([]byte, 0)},
	} {
		if len(c.b) == 0 {
			continue
		}
		before := p.b.Refused()[c.reason.String()]
		if _, err := stranger.WriteTo(c.b, to); err != nil {
			t.Fatal(err)
		}
		p.hb.await(t, c.reason.String()+" is counted", func() bool { return p.b.Refused()[c.reason.String()] == before+1 })
	}
	p.exchange(t, "two")
	stranger.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, from, err := stranger.ReadFrom(make([]byte, 2048)); err == nil {
		t.Errorf("%d bytes of answer from %v", n, from)
	}
	p.hb.mu.Lock()
	defer p.hb.mu.Unlock()
	if got := p.hb.bodies[fabric.LaneControl]; !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("delivered %q", got)
	}
}

func TestRefusalsAreLoggedSeldom(t *testing.T) {
	var mu sync.Mutex
	var buf bytes.Buffer
	log := slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return buf.Write(b)
	}), nil))
	p := newPair(t, func(c *Config) { c.Logger = log })
	stranger := listenLoopback(t)
	for range 200 {
		stranger.WriteTo([]byte("what is this?"), net.UDPAddrFromAddrPort(p.b.LocalAddr()))
	}
	p.hb.await(t, "counted", func() bool { return p.b.Refused()[badFormat.String()] >= 100 })
	mu.Lock()
	defer mu.Unlock()
	if n := strings.Count(buf.String(), "\n"); n != 1 || !strings.Contains(buf.String(), "malformed") {
		t.Errorf("%d lines: %s", n, buf.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestRekey crosses many key generations under load and loss.
func TestRekey(t *testing.T) {
	p := newPair(t, func(c *Config) { c.RekeyAfter, c.MaxDatagram = 32, minDatagram })
	p.net.mu.Lock()
	p.net.loss, p.net.reorder = 0.02, 0.05
	p.net.mu.Unlock()
	const frames = 2000
	for i := 0; i < frames; {
		if err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.LaneAppend, fmt.Sprintf("%04d%s", i, strings.Repeat("x", 1000)), 1)}); err == nil {
			i++
		} else if !errors.Is(err, fabric.ErrNoCredit) {
			t.Fatal(err)
		} else {
			runtime.Gosched()
		}
	}
	p.hb.await(t, "all arrive", func() bool { return len(p.hb.bodies[fabric.LaneAppend]) == frames })
	pe := p.a.peers.Load().byID[idB]
	pe.mu.Lock()
	gen := pe.link.sendKeys.cur.gen
	pe.mu.Unlock()
	if gen < 10 {
		t.Errorf("generation %d after more than %d packets of 32 each", gen, frames)
	}
	if n := p.b.Refused()[badSeal.String()]; n > 0 {
		t.Errorf("%d datagrams did not open", n)
	}
}

// TestStuckHandler: while Deliver about one peer does not return, others are
// served; what comes meanwhile follows.
func TestStuckHandler(t *testing.T) {
	h := newRecorder()
	center := mustPort(t, Config{Self: 1, Listen: "127.0.0.1:0"}, h, nil)
	defer center.Close()
	ports := make(map[fabric.MemberID]*Port)
	hs := make(map[fabric.MemberID]*recorder)
	ids := []fabric.MemberID{2, 3, 4, 5}
	for _, id := range ids {
		hs[id] = newRecorder()
		ports[id] = mustPort(t, Config{Self: id, Listen: "127.0.0.1:0"}, hs[id], nil)
		defer ports[id].Close()
		at, there := testKeys(1, id, 1, 1, 0, false)
		at.Addr, there.Addr = ports[id].LocalAddr(), center.LocalAddr()
		if err := errors.Join(center.Connect(id, at), ports[id].Connect(1, there)); err != nil {
			t.Fatal(err)
		}
		hs[id].await(t, "up", hs[id].isUp)
	}
	gates := make(map[fabric.MemberID]chan struct{})
	h.mu.Lock()
	for _, id := range ids[:3] { // several get stuck, one after the other
		gates[id] = make(chan struct{})
		h.block[id] = gates[id]
	}
	h.mu.Unlock()
	send := func(id fabric.MemberID, n int) {
		for i := range n {
			for {
				err := ports[id].Send([]fabric.Outgoing{frameTo(1, fabric.LaneAppend, fmt.Sprintf("%d from %v", i, id), uint64(i+1))})
				if err == nil {
					break
				}
				if !errors.Is(err, fabric.ErrNoCredit) {
					t.Fatal(err)
				}
				runtime.Gosched()
			}
		}
	}
	const n = 200
	for _, id := range ids {
		send(id, 1)
		h.await(t, "the first frame", func() bool { return h.byPeer[id] == 1 })
	}
	for _, id := range ids {
		send(id, n-1)
	}
	h.await(t, "the peer that is not stuck", func() bool { return h.byPeer[5] == n })
	for _, id := range ids[:3] {
		hs[id].await(t, "F2: tickets of frames to a stuck handler resolve", func() bool { return len(hs[id].settled) == n })
	}
	h.mu.Lock()
	for _, id := range ids[:3] {
		if h.byPeer[id] != 1 {
			t.Errorf("%d frames of %v were delivered during the first call", h.byPeer[id], id)
		}
		delete(h.block, id)
	}
	h.mu.Unlock()
	for _, g := range gates {
		close(g)
	}
	for _, id := range ids {
		h.await(t, "the rest", func() bool { return h.byPeer[id] == n })
	}
	h.await(t, "former readers end", func() bool { return center.readers.Load() == 1 })
}

// TestMigration: a peer that appears under another address is followed, once a
// second; a forgery from there is not.
func TestMigration(t *testing.T) {
	p := newPair(t, nil)
	p.exchange(t, "before")
	// A NAT in front of a: b sees another address, which leads to a as well.
	relay := listenLoopback(t)
	outside := unmap(relay.LocalAddr().(*net.UDPAddr).AddrPort())
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			n, from, err := relay.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			if from == p.b.LocalAddr() {
				relay.WriteToUDPAddrPort(buf[:n], p.a.LocalAddr())
			}
		}
	})
	defer wg.Wait()
	defer relay.Close()
	p.net.mu.Lock()
	p.net.rename = func(from netip.AddrPort) netip.AddrPort {
		if from == p.a.LocalAddr() {
			return outside
		}
		return from
	}
	p.net.mu.Unlock()
	p.exchange(t, "after")
	pe := p.b.peers.Load().byID[idA]
	pe.mu.Lock()
	dest := pe.dest
	pe.mu.Unlock()
	if dest != outside {
		t.Errorf("b sends to %v, a appears at %v", dest, outside)
	}
	p.hb.mu.Lock()
	defer p.hb.mu.Unlock()
	for _, s := range p.hb.links[1:] {
		t.Errorf("the link changed: %+v", s)
	}
}

func TestGate(t *testing.T) {
	p := newPair(t, func(c *Config) { c.IdleTimeout = 300 * time.Millisecond })
	p.exchange(t, "one")
	p.net.setCut(p.b.LocalAddr(), p.a.LocalAddr(), true) // so that a ticket stays in flight
	if err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.LaneAppend, "lost?", 7)}); err != nil {
		t.Fatal(err)
	}
	p.a.SetGate(idB, false)
	p.net.setCut(p.b.LocalAddr(), p.a.LocalAddr(), false)
	p.ha.await(t, "the ticket is lost", func() bool {
		return slices.ContainsFunc(p.ha.settled, func(r fabric.Resolution) bool {
			return r.Ticket == 7 && errors.Is(r.Err, fabric.ErrLost) && errors.Is(r.Err, ErrGateShut)
		})
	})
	p.ha.await(t, "link is down", func() bool { return !p.ha.isUp() && errors.Is(p.ha.links[len(p.ha.links)-1].Err, ErrGateShut) })
	err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.LaneAppend, "no", 8)})
	if !errors.Is(err, fabric.ErrLinkDown) || !errors.Is(err, ErrGateShut) {
		t.Errorf("Send through a shut gate: %v", err)
	}
	p.hb.await(t, "the other end notices", func() bool { return !p.hb.isUp() })
	p.a.SetGate(idB, true)
	p.awaitUp(t)
	p.exchange(t, "two")
	p.a.SetGate(0xc, false) // not connected yet
	s, _ := testKeys(idA, 0xc, 1, 1, 0, true)
	s.Addr = p.b.LocalAddr()
	if err := p.a.Connect(0xc, s); err != nil {
		t.Fatal(err)
	}
	if err := p.a.Send([]fabric.Outgoing{frameTo(0xc, 0, "x", 1)}); !errors.Is(err, ErrGateShut) {
		t.Errorf("a gate that was shut before Connect: %v", err)
	}
}

// TestNoAnswer: a path that never works is reported, with its address and what
// to do.
func TestNoAnswer(t *testing.T) {
	h := newRecorder()
	p := mustPort(t, Config{Self: idA, Listen: "127.0.0.1:0", IdleTimeout: 100 * time.Millisecond}, h, nil)
	defer p.Close()
	nobody := listenLoopback(t)
	s, _ := testKeys(idA, idB, 1, 1, 0, true)
	s.Addr = nobody.LocalAddr().(*net.UDPAddr).AddrPort()
	if err := p.Connect(idB, s); err != nil {
		t.Fatal(err)
	}
	h.await(t, "down", func() bool { return len(h.links) > 0 })
	h.mu.Lock()
	st := h.links[0]
	h.mu.Unlock()
	if st.Up || !errors.Is(st.Err, ErrNoAnswer) || !strings.Contains(st.Err.Error(), s.Addr.String()) {
		t.Errorf("%+v", st)
	}
	if err := p.Send([]fabric.Outgoing{frameTo(idB, 0, "x", 1)}); !errors.Is(err, fabric.ErrLinkDown) {
		t.Errorf("Send: %v", err)
	}
}

// TestNumbersSurviveSessions: "reconnecting does not start over" (fabric.Gap).
func TestNumbersSurviveSessions(t *testing.T) {
	p := newPair(t, nil)
	delivered := uint64(0)
	for salt := uint64(1); salt < 6; salt++ {
		if salt%2 == 1 {
			if err := p.a.Publish(fabric.Row{Owner: idA, Incarnation: 1, Version: salt}, nil); err != nil {
				t.Fatal(err)
			}
			p.hb.await(t, "the row", func() bool { n := len(p.hb.rows); return n > 0 && p.hb.rows[n-1].Version == salt })
		}
		p.exchange(t, fmt.Sprint("session ", salt))
		delivered++
		p.net.setCut(p.a.LocalAddr(), p.b.LocalAddr(), true)
		for i := range 3 {
			if err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.LaneControl, "lost", uint64(i)+10)}); err != nil {
				t.Fatal(err)
			}
		}
		if salt == 3 { // the members forget each other for a while
			p.a.Disconnect(idB)
			p.b.Disconnect(idA)
			if err := p.a.Send([]fabric.Outgoing{frameTo(idB, 0, "x", 1)}); !errors.Is(err, fabric.ErrUnknownPeer) {
				t.Errorf("Send after Disconnect: %v", err)
			}
		}
		p.connect(t, 1, 1, salt)
		p.net.setCut(p.a.LocalAddr(), p.b.LocalAddr(), false)
		p.ha.await(t, "the tickets are lost", func() bool {
			n := 0
			for _, r := range p.ha.settled {
				if r.Err != nil {
					n++
				}
			}
			return n == int(3*salt)
		})
		want := fabric.Gap{Lane: fabric.LaneControl, First: delivered + 1, Count: 3}
		p.hb.await(t, "the gap is reported", func() bool { return slices.Contains(p.hb.gaps, want) })
		delivered += 3
		p.awaitUp(t)
	}
	p.exchange(t, "last")
	p.hb.mu.Lock()
	defer p.hb.mu.Unlock()
	if len(p.hb.gaps) != 5 {
		t.Errorf("gaps %+v", p.hb.gaps)
	}
	if len(p.hb.rows) != 3 {
		t.Errorf("3 rows in 6 sessions came as %+v: versions only rise", p.hb.rows)
	}
}

func TestStaleSessions(t *testing.T) {
	p := newPair(t, nil)
	p.exchange(t, "one")
	first := p.atA
	if err := p.a.Connect(idB, first); err != nil {
		t.Errorf("the running session again: %v", err)
	}
	p.exchange(t, "two")
	p.ha.mu.Lock()
	if len(p.ha.links) != 1 {
		t.Errorf("the link changed: %+v", p.ha.links)
	}
	p.ha.mu.Unlock()
	p.connect(t, 1, 3, 1)
	p.ha.await(t, "the new incarnation", func() bool { return p.ha.isUp() && p.ha.links[len(p.ha.links)-1].Incarnation == 3 })
	if err := p.a.Connect(idB, first); !errors.Is(err, ErrStaleSession) {
		t.Errorf("used keys: %v", err)
	}
	old, _ := testKeys(idA, idB, 1, 2, 9, true)
	old.Addr = p.b.LocalAddr()
	if err := p.a.Connect(idB, old); !errors.Is(err, ErrStaleSession) {
		t.Errorf("older incarnation: %v", err)
	}
	p.a.Disconnect(idB)
	if err := p.a.Connect(idB, first); !errors.Is(err, ErrStaleSession) {
		t.Errorf("used keys after Disconnect: %v", err)
	}
	for name, s := range map[string]Session{
		"no address": {SendKey: first.SendKey, RecvKey: first.RecvKey, SendIndex: 1, RecvIndex: 1},
		"short keys": {Addr: first.Addr, SendKey: []byte("short"), RecvKey: []byte("short"), SendIndex: 1, RecvIndex: 1},
		"no index":   {Addr: first.Addr, SendKey: first.SendKey, RecvKey: first.RecvKey},
	} {
		if err := p.a.Connect(idB, s); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if p.a.Connect(idA, first) == nil || p.a.Connect(0, first) == nil {
		t.Error("connected to itself or nobody")
	}
}

// TestDisconnectTellsThePeer: without waiting for silence.
func TestDisconnectTellsThePeer(t *testing.T) {
	p := newPair(t, func(c *Config) { c.IdleTimeout = time.Hour })
	p.a.Disconnect(idB)
	p.hb.await(t, "b hears of it", func() bool {
		return !p.hb.isUp() && errors.Is(p.hb.links[len(p.hb.links)-1].Err, ErrPeerClosed)
	})
	p.ha.await(t, "a is told as well", func() bool { return !p.ha.isUp() })
}

// TestLoopbackDatagramsAreLarge: the path MTU is found, and frames share
// datagrams.
func TestLoopbackDatagramsAreLarge(t *testing.T) {
	p := newPair(t, nil)
	pe := p.a.peers.Load().byID[idB]
	want := min(p.a.conduit.topDatagram(p.b.LocalAddr()), maxDatagram)
	p.ha.await(t, "path MTU", func() bool {
		pe.mu.Lock()
		defer pe.mu.Unlock()
		return pe.link.mtu.size == want
	})
	if want < 16<<10 {
		needs.Refused(t, fmt.Sprintf("datagrams have %d bytes only", want), needs.LoopbackMTU(16<<10))
	}
	if err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.LaneBulk, strings.Repeat("x", 1<<20), 1)}); err != nil {
		t.Fatal(err)
	}
	p.hb.await(t, "a large frame", func() bool { return len(p.hb.bodies[fabric.LaneBulk]) == 1 })
	if s := p.a.Stats(nil)[0]; s.BytesSent < 1<<20 || s.BytesSent/s.DatagramsSent < 2*minDatagram {
		t.Errorf("%d bytes in %d datagrams", s.BytesSent, s.DatagramsSent)
	}
}

// TestMemoryOfAStuckPeer: what a stuck handler and a dead peer cost is bounded by
// the windows (F3).
func TestMemoryOfAStuckPeer(t *testing.T) {
	const window = 256 << 10
	p := newPair(t, func(c *Config) {
		c.MaxFrame = 64 << 10
		c.Window = [fabric.Lanes]int{window, window, window}
	})
	gate := make(chan struct{})
	p.hb.mu.Lock()
	p.hb.block[idA] = gate
	p.hb.mu.Unlock()
	rng := rand.New(rand.NewPCG(1, 1))
	body := strings.Repeat("y", 60<<10)
	refused := 0
	for range 3000 {
		err := p.a.Send([]fabric.Outgoing{frameTo(idB, fabric.Lane(rng.IntN(3)), body[:rng.IntN(len(body))], 1)})
		if errors.Is(err, fabric.ErrNoCredit) {
			refused++
		}
	}
	if refused < 2000 {
		t.Errorf("%d of 3000 frames refused", refused)
	}
	for _, port := range []*Port{p.a, p.b} {
		for _, pe := range port.peers.Load().list {
			pe.mu.Lock()
			total := 0
			for i := range pe.link.in {
				total += cap(pe.link.in[i].buf) + len(pe.link.out[i].ring)
			}
			err := pe.link.check()
			pe.mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			if total > 3*(2*window+2*window) {
				t.Errorf("%v holds %d bytes for %v, windows of 3 × %d", port.cfg.Self, total, pe.id, window)
			}
		}
	}
	close(gate)
	p.hb.await(t, "everything accepted arrives", func() bool {
		n := 0
		for _, b := range p.hb.bodies {
			n += len(b)
		}
		return n == 3000-refused
	})
}

func TestConfigValidate(t *testing.T) {
	bad := Config{
		Listen: "x", Conn: &net.UDPConn{}, MaxFrame: -1, QueueFrames: -1, TicketTimeout: -1, MaxDatagram: 5,
		RekeyAfter: 1 << 40, SocketBuffer: -1, Window: [fabric.Lanes]int{-1, 0, 1 << 40},
	}
	err := bad.Validate()
	for _, word := range []string{"Self", "both Listen and Conn", "MaxFrame", "QueueFrames", "TicketTimeout", "MaxDatagram", "RekeyAfter", "SocketBuffer", "control lane", "bulk lane"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q is not named in: %v", word, err)
		}
	}
	if _, err := New(Config{Self: 1}, newRecorder()); err == nil {
		t.Error("a port without an address")
	}
	good := Config{Self: 1, Listen: "127.0.0.1:0"}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	c := good.withDefaults()
	for i, w := range c.Window {
		if w < leastWindow(c.MaxFrame) {
			t.Errorf("the %v lane cannot carry the largest frame: window %d", fabric.Lane(i), w)
		}
	}
	taken := listenLoopback(t)
	if _, err := New(Config{Self: 1, Listen: taken.LocalAddr().String()}, newRecorder()); err == nil {
		t.Error("bound an address that is taken")
	}
}

// TestGivenConn: a socket that the caller has bound.
func TestGivenConn(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(Config{Self: 1, Conn: conn}, newRecorder())
	if err != nil {
		t.Fatal(err)
	}
	if p.LocalAddr() != unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort()) {
		t.Errorf("%v", p.LocalAddr())
	}
	p.Close()
	if _, err := conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is still open: %v", err)
	}
}

// TestPublishOwnRowOnly: only its owner writes a row.
func TestPublishOwnRowOnly(t *testing.T) {
	p := newPair(t, nil)
	if err := p.a.Publish(fabric.Row{Owner: idB, Incarnation: 1, Version: 1}, nil); !errors.Is(err, fabric.ErrBadFrame) {
		t.Errorf("another member's row: %v", err)
	}
	if err := p.a.Publish(fabric.Row{Owner: idA, Incarnation: 1, Version: 1, Sections: []byte("nonsense")}, nil); !errors.Is(err, fabric.ErrBadFrame) {
		t.Errorf("sections that are none: %v", err)
	}
}
