package raftdv

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/fabrictest"
	"github.com/raftdv/dv/raftdv/election"
)

// patchy is members whose links can be cut one by one: each dials each other one
// through a relay of the test's.
type patchy struct {
	nodes     []*node
	links     *fabrictest.Relays
	explained bool
}

func startPatchy(t *testing.T, n int, tweak func(i int, o *nodeOptions)) *patchy {
	t.Helper()
	w := &patchy{}
	w.links = fabrictest.NewRelays(func(id fabric.MemberID) net.Addr { return w.nodes[id-1].listener.Addr() })
	var voters []fabric.MemberID
	for i := range n {
		voters = append(voters, fabric.MemberID(i+1))
	}
	options := make([]nodeOptions, n)
	for i := range options {
		options[i].config = Config{
			Fabrics: []string{FabricStream}, ViewFile: filepath.Join(t.TempDir(), "view"),
			Members: func() election.Members { return election.Members{Voters: voters, Epoch: 1} },
		}
		if tweak != nil {
			tweak(i, &options[i])
		}
		w.nodes = append(w.nodes, newNode(t, types.ID(i+1), options[i]))
	}
	t.Cleanup(w.links.Close)
	for i, n := range w.nodes {
		n.start(t, options[i])
		t.Cleanup(n.stop)
	}
	for _, from := range w.nodes {
		for _, to := range w.nodes {
			if from == to {
				continue
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			w.links.Add(fabric.MemberID(from.id), fabric.MemberID(to.id), l)
			scheme, _, _ := strings.Cut(to.url, ":")
			from.tr.AddPeer(to.id, []string{scheme + "://" + l.Addr().String()})
		}
	}
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a != b {
				w.await(t, a, b, FabricStream)
			}
		}
	}
	return w
}

// await waits until a reaches b by a path, and by no other.
func (w *patchy) await(t *testing.T, a, b *node, path string) {
	t.Helper()
	t.Cleanup(func() { w.explain(t) })
	eventually(t, fmt.Sprintf("member %s reaches %s by %s", a.id, b.id, path), func() bool {
		for _, p := range a.dv.State().Peers {
			if p.Member == b.id.String() {
				return p.Path == path && p.Linked == (path != FabricRelay) && (path == FabricRelay || p.Proven)
			}
		}
		return false
	})
}

// explain says, once, what the members of a test that failed know.
func (w *patchy) explain(t *testing.T) {
	if !t.Failed() || w.explained {
		return
	}
	w.explained = true
	for _, n := range w.nodes {
		s := n.dv.State()
		t.Logf("member %s: %+v", n.id, *s.Order)
		for _, p := range s.Peers {
			id, _ := types.IDFromString(p.Member)
			t.Logf("member %s: peer %s by %s, linked %v, relay %q, ways %v, %s", n.id, p.Member, p.Path, p.Linked, p.Relay, n.dv.ordering.ways(fabric.MemberID(id)), p.RelayError)
		}
	}
}

// cut cuts, or mends, the direct link of two members.
func (w *patchy) cut(a, b *node, cut bool) {
	for _, d := range [][2]fabric.MemberID{{fabric.MemberID(a.id), fabric.MemberID(b.id)}, {fabric.MemberID(b.id), fabric.MemberID(a.id)}} {
		if cut {
			w.links.Cut(d[0], d[1])
		} else {
			w.links.Mend(d[0], d[1])
		}
	}
}

var lastIndex uint64 = 100

// reaches sends a message, again if it is lost, until it is there.
func reaches(t *testing.T, a, b *node) {
	t.Helper()
	lastIndex++
	index := lastIndex
	eventually(t, fmt.Sprintf("a message of %s reaches %s", a.id, b.id), func() bool {
		a.tr.Send([]*raftpb.Message{appendMsg(a.id, b.id, index, "x")})
		b.raft.mu.Lock()
		defer b.raft.mu.Unlock()
		return b.raft.has(func(m *raftpb.Message) bool { return m.GetFrom() == uint64(a.id) && m.GetIndex() == index-1 })
	})
}

// TestRelay: members whose link is cut reach each other by a third one, which takes
// no part in what they say, and directly again when it is mended.
func TestRelay(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			w := startPatchy(t, 3, func(_ int, o *nodeOptions) {
				if secure {
					o.tls = testTLS(t)
				}
			})
			a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
			w.cut(a, b, true)
			w.await(t, a, b, FabricRelay)
			w.await(t, b, a, FabricRelay)
			reaches(t, a, b)
			reaches(t, b, a)
			for _, p := range a.dv.State().Peers {
				if p.Member == b.id.String() && p.Relay != c.id.String() {
					t.Errorf("%s reaches %s by way of %q, want %s", a.id, b.id, p.Relay, c.id)
				}
			}
			if n := c.dv.relays.count(); n != 2 {
				t.Errorf("member %s keeps %d tunnels, want one for each direction", c.id, n)
			}
			w.cut(a, b, false)
			w.await(t, a, b, FabricStream)
			w.await(t, b, a, FabricStream)
			reaches(t, a, b)
			eventually(t, "the tunnels are closed", func() bool { return c.dv.relays.count() == 0 })
		})
	}
}

// TestRelayOneWay: a link that works in one direction is none.
func TestRelayOneWay(t *testing.T) {
	w := startPatchy(t, 3, nil)
	a, b := w.nodes[0], w.nodes[1]
	w.links.Cut(fabric.MemberID(a.id), fabric.MemberID(b.id))
	w.await(t, a, b, FabricRelay)
	w.await(t, b, a, FabricRelay)
	reaches(t, a, b)
	reaches(t, b, a)
}

// TestRelayChain: the ends of a chain of four reach each other by the two others.
func TestRelayChain(t *testing.T) {
	w := startPatchy(t, 4, nil)
	for _, cut := range [][2]int{{0, 2}, {0, 3}, {1, 3}} {
		w.cut(w.nodes[cut[0]], w.nodes[cut[1]], true)
	}
	for i, a := range w.nodes {
		for j, b := range w.nodes {
			if i == j {
				continue
			}
			path := FabricRelay
			if i-j == 1 || j-i == 1 {
				path = FabricStream
			}
			w.await(t, a, b, path)
			reaches(t, a, b)
		}
	}
}

// TestRelayLosesItsRelay: of two members that can relay, the other one does when the
// first is gone.
func TestRelayLosesItsRelay(t *testing.T) {
	w := startPatchy(t, 4, nil)
	a, b, c, d := w.nodes[0], w.nodes[1], w.nodes[2], w.nodes[3]
	w.cut(a, b, true)
	w.await(t, a, b, FabricRelay)
	reaches(t, a, b)
	via := c
	if d.dv.relays.count() > c.dv.relays.count() {
		via = d
	}
	for _, n := range w.nodes {
		if n != via {
			w.cut(via, n, true)
		}
	}
	other := c
	if via == c {
		other = d
	}
	eventually(t, "the other one relays", func() bool {
		for _, p := range a.dv.State().Peers {
			if p.Member == b.id.String() {
				return p.Relay == other.id.String() && p.Path == FabricRelay
			}
		}
		return false
	})
	reaches(t, a, b)
	reaches(t, b, a)
}

// TestNoRelays: who was told so neither relays nor is relayed. The control of the
// tests above: their links are cut indeed.
func TestNoRelays(t *testing.T) {
	w := startPatchy(t, 3, func(i int, o *nodeOptions) { o.config.NoRelays = i == 2 })
	a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
	w.cut(a, b, true)
	eventually(t, "it says that nobody relays", func() bool {
		for _, p := range a.dv.State().Peers {
			if p.Member == b.id.String() {
				return !p.Linked && strings.Contains(p.RelayError, "relays nothing")
			}
		}
		return false
	})
	if n := c.dv.relays.opened.Load(); n != 0 {
		t.Errorf("%d tunnels", n)
	}
	lastIndex++
	a.tr.Send([]*raftpb.Message{appendMsg(a.id, b.id, lastIndex, "x")})
	w.cut(a, b, false)
	w.await(t, a, b, FabricStream)
}

// TestRelayOfWhoIsCutOff: what CutPeer cuts is not passed on.
func TestRelayOfWhoIsCutOff(t *testing.T) {
	w := startPatchy(t, 3, nil)
	a, b, c := w.nodes[0], w.nodes[1], w.nodes[2]
	w.cut(a, b, true)
	w.await(t, a, b, FabricRelay)
	c.dv.CutPeer(b.id)
	eventually(t, "its tunnels are closed", func() bool { return c.dv.relays.count() == 0 })
	c.dv.MendPeer(b.id)
	w.await(t, a, b, FabricRelay)
	reaches(t, a, b)
}

// TestAskForTunnel: who gets none, and why.
func TestAskForTunnel(t *testing.T) {
	w := startPatchy(t, 3, nil)
	a, c := w.nodes[0], w.nodes[2]
	ask := func(via string, change func(*hello)) *http.Response {
		p := a.dv.peer(c.id)
		h, _, err := p.dialHello()
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(h)
		}
		resp, _, err := p.roundTrip(t.Context(), a.dv.dialer, p.urls.pick(), h.encode(), http.Header{viaHeader: {via}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	for _, bad := range []struct {
		via    string
		change func(*hello)
		want   int
	}{
		{"", nil, http.StatusConflict}, // no tunnel is asked for: it is connected
		{"2", nil, http.StatusBadRequest},
		{"2 -1", nil, http.StatusBadRequest},
		{"2 99", nil, http.StatusBadRequest},
		{"x 1", nil, http.StatusBadRequest},
		{"9 1", nil, http.StatusNotFound},
		{"1 1", nil, http.StatusNotFound},
		{"2 1", func(h *hello) { h.Proof, h.ProofFor = nil, 0 }, http.StatusForbidden},
		{"2 1", func(h *hello) { h.Proof = slices.Repeat([]byte{1}, len(h.Proof)) }, http.StatusForbidden},
	} {
		change := bad.change
		if bad.via == "" {
			change = func(h *hello) { h.Proof, h.ProofFor = nil, 0 }
		}
		if got := ask(bad.via, change).StatusCode; got != bad.want {
			t.Errorf("%q: %d, want %d", bad.via, got, bad.want)
		}
	}
	granted, last := 0, http.StatusSwitchingProtocols // members that were late may have some by themselves
	for ; last == http.StatusSwitchingProtocols; granted++ {
		last = ask("2 1", nil).StatusCode
	}
	if granted--; granted < 1 || granted > maxTunnelsEach || last != http.StatusServiceUnavailable {
		t.Errorf("%d tunnels, then %d: want at most %d, then %d", granted, last, maxTunnelsEach, http.StatusServiceUnavailable)
	}
	c.dv.relays.cut(a.id)
	eventually(t, "they end", func() bool { return c.dv.relays.count() < granted })
	if conn, err := a.dv.peer(c.id).tunnel(context.Background(), 2, 1); err != nil {
		t.Errorf("after that: %v", err)
	} else {
		conn.Close()
	}
}
