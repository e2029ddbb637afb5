package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/client/pkg/v3/types"
	"go.etcd.io/raft/v3/raftpb"
)

// All that can be named carries messages, clear and sealed, small and larger
// than any buffer, and passes the same checks.
func TestEveryPortCarries(t *testing.T) {
	certs, remove, err := certificates(true)
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	for _, p := range ports {
		for _, sealed := range seals(SealedBoth, p.name) {
			t.Run(p.name+"/"+sealedName(sealed), func(t *testing.T) {
				tls := certs
				if !sealed {
					tls = nil
				}
				g, err := openGroup(t.Context(), p.make(0), 3, tls)
				if err != nil {
					t.Fatal(err)
				}
				defer g.close()
				// Few at once: this is not about what a queue holds.
				for _, l := range []load{{minSize, 8, false}, {defaultSize, 8, true}, {3000, 8, false}, {50_000, 4, false}} {
					if res, err := runFlood(t.Context(), g, l, 20*time.Millisecond); err != nil || res.perSecond <= 0 || res.sent == 0 || !g.sys.lossy && res.lost > 0 {
						t.Fatalf("%+v: %+v, %v", l, res, err)
					}
				}
				if res, err := runPingpong(t.Context(), g, defaultSize, 20*time.Millisecond); err != nil || res.sent == 0 || !g.sys.lossy && res.lost > 0 {
					t.Fatalf("%+v, %v", res, err)
				}
			})
		}
	}
}

// A message larger than the reader's buffer, and what must not be believed.
func TestReadMessage(t *testing.T) {
	want := &raftpb.Message{Type: raftpb.MsgApp.Enum(), To: new(uint64(2)), Entries: []*raftpb.Entry{{Data: bytes.Repeat([]byte("x"), 1000)}}}
	text, err := appendMessage([]byte("ahead"), want)
	if err != nil {
		t.Fatal(err)
	}
	text = text[len("ahead"):]
	text, _ = appendMessage(text, accept(1, 2, 3))
	for _, size := range []int{16, 100, 4096} {
		r := bufio.NewReaderSize(bytes.NewReader(text), size)
		if got, err := readMessage(r); err != nil || !proto.Equal(got, want) {
			t.Errorf("first, buffer of %d: %v, %v", size, got, err)
		}
		if got, err := readMessage(r); err != nil || got.GetIndex() != 3 {
			t.Errorf("second, buffer of %d: %v, %v", size, got, err)
		}
	}
	for name, bad := range map[string][]byte{
		"cut":      text[:len(text)-1],
		"endless":  binary.LittleEndian.AppendUint32(nil, maxMessage+1),
		"no proto": {3, 0, 0, 0, 0xff, 0xff, 0xff},
	} {
		r := bufio.NewReader(bytes.NewReader(bad))
		_, err := readMessage(r)
		if name == "cut" {
			_, err = readMessage(r)
		}
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if err := (&beside{raft: newNode()}).receive(bad); err == nil {
			t.Errorf("%s as a batch: no error", name)
		}
	}
}

// What does not fit into the queue is dropped and reported, not waited for.
func TestOutboxIsBounded(t *testing.T) {
	n := newNode()
	b := &beside{raft: n, peers: map[types.ID]*outbox{2: {queue: make(chan *raftpb.Message, outboxLen)}}}
	const more = 7
	for range outboxLen + more {
		b.Send([]*raftpb.Message{accept(1, 2, 3), accept(1, 99, 3)}) // nobody is 99
	}
	if b.dropped.Load() != more || n.unreachable.Load() != more {
		t.Errorf("%d dropped, %d reported, want %d", b.dropped.Load(), n.unreachable.Load(), more)
	}
}

// A batch has as many messages as its limit allows, and none is left behind.
func TestFlushKeepsTheLimit(t *testing.T) {
	one, err := appendMessage(nil, accept(1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	o := &outbox{t: &beside{net: limited(2*len(one) + 1)}, queue: make(chan *raftpb.Message, 10)}
	for range 4 {
		o.queue <- accept(1, 2, 3)
	}
	var c collector
	if err := o.flush(&c, accept(1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	if want := []int{2 * len(one), 2 * len(one), len(one)}; len(c) != 3 || c[0] != want[0] || c[1] != want[1] || c[2] != want[2] {
		t.Errorf("batches of %v bytes, want %v", c, want)
	}
	if err := o.flush(rawCarrier{}, &raftpb.Message{Context: make([]byte, rawDatagram)}); err == nil {
		t.Error("a message that no datagram holds was sent")
	}
}

type limited int

func (l limited) limit() int                                  { return int(l) }
func (limited) listen(*beside) (string, error)                { return "", nil }
func (limited) dial(context.Context, string) (carrier, error) { return nil, nil }
func (limited) close()                                        {}

type collector []int

func (c *collector) send(batch []byte) error { *c = append(*c, len(batch)); return nil }
func (*collector) close()                    {}

// A connection that breaks is made again.
func TestTCPDialsAgain(t *testing.T) {
	g := openTest(t, tcpSystem(), 2)
	n := g.members[1].tr.(*beside).net.(*tcpNetwork)
	n.mu.Lock()
	for c := range n.conns {
		c.Close()
	}
	n.mu.Unlock()
	// Whoever writes into the broken connection learns of it.
	deadline := time.Now().Add(readyTimeout)
	for came := make(chan struct{}, 1); ; {
		g.members[1].node.on(func(*raftpb.Message) { signal(came) })
		g.leader().tr.Send([]*raftpb.Message{accept(1, 2, 3)})
		select {
		case <-came:
			return
		case <-time.After(5 * time.Millisecond):
			if time.Now().After(deadline) {
				t.Fatal("nothing came after the connection broke")
			}
		}
	}
}

// What datagrams lose is counted; everything else fails as everywhere.
func TestLossIsCounted(t *testing.T) {
	var dropped atomic.Uint64
	drop := sometimes(100, func(m []*raftpb.Message) []*raftpb.Message {
		dropped.Add(1)
		return m[1:]
	})
	for _, acks := range []bool{false, true} {
		dropped.Store(0)
		g := openTest(t, plantedIn(rawUDPSystem(), "loses", drop), 3)
		res, err := runFlood(t.Context(), g, load{defaultSize, 256, acks}, 200*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if n := dropped.Load(); n == 0 || res.lost < n || res.lost > n+res.sent/2 {
			t.Errorf("acks %v: %d of %d counted as lost, %d were dropped", acks, res.lost, res.sent, n)
		}
	}
	dropped.Store(0)
	g := openTest(t, plantedIn(rawUDPSystem(), "loses", drop), 2)
	g.patience = 5 * time.Millisecond
	pings := 0
	p := newPingpong(g, defaultSize)
	if err := p.run(t.Context(), func(n int) bool { pings = max(n, pings); return dropped.Load() >= 3 }); err != nil {
		t.Fatal(err)
	}
	if p.lost == 0 || pings == 0 {
		t.Errorf("%d round trips, %d lost, %d dropped", pings, p.lost, dropped.Load())
	}
}

// The last messages may be lost, or all of them: the run ends.
func TestLossOfTheRest(t *testing.T) {
	var sent atomic.Uint64
	silent := plantedIn(rawUDPSystem(), "falls silent", func(m []*raftpb.Message) []*raftpb.Message {
		if sent.Add(uint64(len(m))) > 1000 {
			return nil
		}
		return m
	})
	g := openTest(t, silent, 2)
	g.patience = time.Millisecond
	made := newMaker(1, g.followers(), defaultSize, defaultWindow)
	f := newFlood(g, testLoad)
	defer f.close()
	for range 1500 {
		if err := f.step(t.Context(), made); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lost := g.index - f.deliveries(); lost < 500 {
		t.Errorf("%d of 1500 counted as lost, 500 were not sent", lost)
	}
	if _, err := runFlood(t.Context(), g, testLoad, 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "nothing was delivered") {
		t.Errorf("a run without any delivery: %v", err)
	}
}

func TestLossyIsNoExcuse(t *testing.T) {
	for name, tc := range cheats() {
		if name == "drops one" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			g := openTest(t, plantedIn(rawUDPSystem(), "cheat that "+name, tc.change), 3)
			_, err := runFlood(t.Context(), g, testLoad, time.Second)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want an error with %q", err, tc.want)
			}
		})
	}
}

// A straggler of the run before is no fault of this one.
func TestStragglers(t *testing.T) {
	late := nullSystem()
	late.lossy = true
	g := openTest(t, late, 2)
	made := newMaker(1, g.followers(), defaultSize, defaultWindow)
	old := made.step(1)[0]
	g.index = 1
	f := newFlood(g, testLoad)
	defer f.close()
	f.delivered(f.seen[0], old)
	if err := f.drain(t.Context()); err != nil {
		t.Error(err)
	}
	g.index = 2
	f.delivered(f.seen[0], made.step(2)[0])
	f.delivered(f.seen[0], made.step(2)[0])
	if err := f.drain(t.Context()); err == nil {
		t.Error("the control: what came twice in this run is not seen")
	}
}
