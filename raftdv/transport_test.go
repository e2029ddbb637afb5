package raftdv

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

func testTLS(t testing.TB) transport.TLSInfo {
	t.Helper()
	info, err := transport.SelfCert(zap.NewNop(), t.TempDir(), []string{"127.0.0.1:0", "localhost:0"}, 1)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// Every message arrives as it was sent, by every road, in clear and sealed.
func TestMessagesArrive(t *testing.T) {
	tls := testTLS(t)
	for _, c := range []struct {
		name, path string
		o          nodeOptions
	}{
		{"udp", FabricUDP, nodeOptions{}},
		{"udp sealed", FabricUDP, nodeOptions{tls: tls}},
		{"shm", FabricShm, nodeOptions{config: withShm(t)}},
		{"shm under TLS", FabricShm, nodeOptions{config: withShm(t), tls: tls}},
		{"stream", FabricStream, nodeOptions{config: Config{Fabrics: []string{FabricStream}}}},
		{"stream sealed", FabricStream, nodeOptions{tls: tls, config: Config{Fabrics: []string{FabricStream}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := startNodes(t, c.o, c.o, c.o)
			onPath(t, c.path, nodes...)
			exchange(t, nodes)
		})
	}
	t.Run("unix", func(t *testing.T) {
		t.Chdir(t.TempDir()) // etcd names sockets like hosts, relative to where it runs
		o := func(i int) nodeOptions { return nodeOptions{unix: fmt.Sprintf("localhost:%d", i)} }
		nodes := startNodes(t, o(1), o(2))
		onPath(t, FabricStream, nodes...)
		exchange(t, nodes)
	})
}

// exchange sends messages of each kind between all members.
func exchange(t *testing.T, nodes []*node) {
	t.Helper()
	const count = 50
	for _, n := range nodes {
		var msgs []*raftpb.Message
		for i := range count {
			entries := appendMsg(n.id, 0, uint64(i+1), strings.Repeat("x", i*100)).Entries
			for _, to := range nodes {
				if to == n {
					continue
				}
				m := appendMsg(n.id, to.id, uint64(i+1), "")
				m.Entries = entries // shared, as raft does
				msgs = append(msgs, m, beatMsg(n.id, to.id, uint64(i+1)))
			}
		}
		n.tr.Send(msgs)
		for _, want := range msgs {
			arrives(t, n, nodes[want.GetTo()-1], want)
		}
	}
}

// arrives waits for a message that was sent. What was reported lost is sent
// again, as raft does; what is lost without a report is a failure.
func arrives(t *testing.T, from, to *node, want *raftpb.Message) {
	t.Helper()
	reported := 0
	eventually(t, fmt.Sprintf("%s has %v %d of %s", to.id, want.GetType(), want.GetTerm(), from.id), func() bool {
		to.raft.mu.Lock()
		here := to.raft.has(func(m *raftpb.Message) bool { return proto.Equal(m, want) })
		to.raft.mu.Unlock()
		from.raft.mu.Lock()
		again := from.raft.unreachable[uint64(to.id)] > reported
		reported = from.raft.unreachable[uint64(to.id)]
		from.raft.mu.Unlock()
		if !here && again {
			from.tr.Send([]*raftpb.Message{want})
		}
		return here
	})
}

// Accepts and heartbeat answers travel as rows and come out as messages.
func TestRowAcks(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	leader, follower := nodes[0], nodes[1]
	ack := &raftpb.Message{Type: raftpb.MsgAppResp.Enum(), From: new(uint64(follower.id)), To: new(uint64(leader.id)), Term: new(uint64(3)), Index: new(uint64(9))}
	for range 3 { // equal ones count: raft leaves probe by a repeated accept
		before := 0
		leader.raft.wait(t, "", func() bool { before = len(leader.raft.got); return true })
		follower.tr.Send([]*raftpb.Message{proto.Clone(ack).(*raftpb.Message)})
		leader.raft.wait(t, "the accept arrives", func() bool {
			return len(leader.raft.got) > before && proto.Equal(leader.raft.got[len(leader.raft.got)-1], ack)
		})
	}
	if got := nodes[2].raft; got.has(func(*raftpb.Message) bool { return true }) {
		t.Error("a row made a message at a member that it was not for")
	}
}

// Who speaks for another member is refused, forwarded messages excepted.
func TestSenderIsChecked(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	forged := beatMsg(77, 2, 4)
	nodes[0].tr.Send([]*raftpb.Message{forged})
	honest := beatMsg(1, 2, 5)
	nodes[0].tr.Send([]*raftpb.Message{honest})
	nodes[1].raft.wait(t, "the honest message arrives", func() bool {
		return nodes[1].raft.has(func(m *raftpb.Message) bool { return proto.Equal(m, honest) })
	})
	nodes[1].raft.mu.Lock()
	defer nodes[1].raft.mu.Unlock()
	if nodes[1].raft.has(func(m *raftpb.Message) bool { return m.GetFrom() == 77 }) {
		t.Error("a forged message reached raft")
	}
}

// A stock peer is reached over rafthttp, in both directions, and a member that
// is swapped is reached over the fabrics afterwards.
func TestStockPeerIsSwapped(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{stock: true})
	a, b := nodes[0], nodes[1]
	eventually(t, "both are active", func() bool { return a.tr.ActivePeers() == 1 && b.tr.ActivePeers() == 1 })
	exchange(t, nodes)
	if got := a.dv.peer(b.id).pathName(); got != roadRafthttp {
		t.Errorf("path to a stock peer is %s", got)
	}
	addr := b.listener.Addr().String()
	b.stop()
	b2 := &node{id: b.id, raft: newRecorder(), errorC: make(chan error, 4), snapDir: t.TempDir()}
	eventually(t, "the address is free", func() bool {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			l.Close()
		}
		return err == nil
	})
	b2.listen(t, addr, nodeOptions{})
	b2.start(t, nodeOptions{})
	t.Cleanup(b2.stop)
	b2.tr.AddPeer(a.id, []string{a.url})
	onPath(t, FabricUDP, a, b2)
	exchange(t, []*node{a, b2})
}

func TestPauseAndCut(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	a, b, c := nodes[0], nodes[1], nodes[2]
	a.dv.CutPeer(b.id)
	a.tr.Send([]*raftpb.Message{beatMsg(1, 2, 1), beatMsg(1, 3, 1)})
	c.raft.wait(t, "the other peer still hears", func() bool { return len(c.raft.got) == 1 })
	b.tr.Send([]*raftpb.Message{beatMsg(2, 1, 1)})
	a.dv.MendPeer(b.id)
	a.tr.Send([]*raftpb.Message{beatMsg(1, 2, 2)})
	b.raft.wait(t, "the mended peer hears", func() bool { return len(b.raft.got) > 0 })
	b.raft.mu.Lock()
	if b.raft.got[0].GetTerm() != 2 {
		t.Errorf("a message passed the cut: %v", b.raft.got[0])
	}
	b.raft.mu.Unlock()
	a.dv.Pause()
	a.tr.Send([]*raftpb.Message{beatMsg(1, 2, 3), beatMsg(1, 3, 3)})
	a.dv.Resume()
	a.tr.Send([]*raftpb.Message{beatMsg(1, 2, 4), beatMsg(1, 3, 4)})
	for _, n := range nodes[1:] {
		n.raft.wait(t, "resumed", func() bool { return n.raft.has(func(m *raftpb.Message) bool { return m.GetTerm() == 4 }) })
		n.raft.mu.Lock()
		if n.raft.has(func(m *raftpb.Message) bool { return m.GetTerm() == 3 }) {
			t.Errorf("a message passed the pause")
		}
		n.raft.mu.Unlock()
	}
}

// A proposal that raft does not take must not hold up anything else.
func TestProposalsDoNotBlock(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	nodes[1].raft.update(func() {
		nodes[1].raft.process = func(ctx context.Context, m *raftpb.Message) error {
			if m.GetType() == raftpb.MsgProp {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}
	})
	prop := &raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(uint64(1)), To: new(uint64(2)), Entries: []*raftpb.Entry{{Data: []byte("x")}}}
	nodes[0].tr.Send([]*raftpb.Message{prop, prop, beatMsg(1, 2, 7)})
	nodes[1].raft.wait(t, "the heartbeat passes the proposal", func() bool {
		return nodes[1].raft.has(func(m *raftpb.Message) bool { return m.GetTerm() == 7 })
	})
}

// A member that is gone is inactive and reported; when it is back it is reached.
func TestDeadPeer(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	a, b := nodes[0], nodes[1]
	eventually(t, "active", func() bool { return !a.tr.ActiveSince(b.id).IsZero() })
	b.stop()
	eventually(t, "inactive", func() bool { return a.tr.ActiveSince(b.id).IsZero() })
	a.raft.mu.Lock()
	before := a.raft.unreachable[uint64(b.id)]
	a.raft.mu.Unlock()
	eventually(t, "a lost message is reported", func() bool {
		a.tr.Send([]*raftpb.Message{beatMsg(1, 2, 1)})
		a.raft.mu.Lock()
		defer a.raft.mu.Unlock()
		return a.raft.unreachable[uint64(b.id)] > before
	})
}

func TestRemovedMemberIsTold(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	nodes[0].raft.update(func() { nodes[0].raft.removed[2] = true })
	nodes[0].tr.RemovePeer(2)
	select {
	case err := <-nodes[1].errorC:
		if !strings.Contains(err.Error(), "removed") {
			t.Errorf("ErrorC got %v", err)
		}
	case <-time.After(patience):
		t.Fatal("ErrorC was not told")
	}
}

func TestRequireNeverFallsBack(t *testing.T) {
	nodes := startNodes(t, nodeOptions{config: Config{Require: true}}, nodeOptions{stock: true})
	a, b := nodes[0], nodes[1]
	eventually(t, "a message to a stock peer is reported unreachable", func() bool {
		a.tr.Send([]*raftpb.Message{beatMsg(1, 2, 1)})
		a.raft.mu.Lock()
		defer a.raft.mu.Unlock()
		return a.raft.unreachable[2] > 0
	})
	b.raft.mu.Lock()
	defer b.raft.mu.Unlock()
	if len(b.raft.got) > 0 {
		t.Error("a message went over rafthttp")
	}
}

func TestUnknownAndZeroTargetsAreDropped(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	nodes[0].tr.Send([]*raftpb.Message{beatMsg(1, 0, 1), beatMsg(1, 99, 1)})
	nodes[0].tr.RemovePeer(98)
	nodes[0].tr.UpdatePeer(98, []string{"http://127.0.0.1:1"})
	if since := nodes[0].tr.ActiveSince(types.ID(99)); !since.IsZero() {
		t.Errorf("an unknown member is active since %v", since)
	}
}

// A fabric that does not reach a peer is left out, and says why.
func TestUnreachableFabricIsLeftOut(t *testing.T) {
	dead := func(port int) nodeOptions {
		return nodeOptions{config: Config{AdvertiseUDP: fmt.Sprintf("127.0.0.1:%d", port)}}
	}
	nodes := startNodes(t, dead(1), dead(2))
	onPath(t, FabricStream, nodes...)
	exchange(t, nodes)
	eventually(t, "the reason is shown", func() bool {
		for _, l := range nodes[0].dv.State().Peers[0].Links {
			if l.Fabric == FabricUDP && !l.Up && l.Down != "" {
				return true
			}
		}
		return false
	})
}

// A message that is too large for the path takes the next one that carries it.
func TestLargeMessageTakesTheNextRoad(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	a, b := nodes[0], nodes[1]
	for i, size := range []int{1 << 20, a.dv.roads[0].caps.MaxFrame, a.dv.stream().caps.MaxFrame + 1} {
		want := appendMsg(a.id, b.id, uint64(i+1), strings.Repeat("y", size))
		a.tr.Send([]*raftpb.Message{want})
		arrives(t, a, b, want)
	}
}

// What raft reports of a peer is bounded: a burst of losses is one report, and
// the last loss is reported.
func TestLossesAreReportedOncePerBurst(t *testing.T) {
	n := newNode(t, 1, nodeOptions{})
	n.start(t, nodeOptions{config: Config{Require: true}})
	t.Cleanup(n.stop)
	n.tr.AddPeer(2, []string{"http://127.0.0.1:1"})
	const burst = 1000
	for i := range burst {
		n.tr.Send([]*raftpb.Message{beatMsg(1, 2, uint64(i+1))})
	}
	n.raft.wait(t, "a report", func() bool { return n.raft.unreachable[2] > 0 })
	n.raft.mu.Lock()
	defer n.raft.mu.Unlock()
	if got := n.raft.unreachable[2]; got > burst/10 {
		t.Errorf("%d reports of %d losses in a row", got, burst)
	}
}

// A member that removes a peer and adds it again gives it another token: the
// side fabric comes back all the same.
func TestPeerIsAddedAgain(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	for _, i := range []int{0, 1} { // the lower id and the higher one
		onPath(t, FabricUDP, nodes...)
		n, other := nodes[i], nodes[1-i]
		n.tr.RemovePeer(other.id)
		n.tr.AddPeer(other.id, []string{other.url})
		onPath(t, FabricUDP, nodes...)
		exchange(t, nodes)
	}
}
