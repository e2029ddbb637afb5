package raftdv

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"google.golang.org/protobuf/proto"

	"go.etcd.io/etcd/server/v3/etcdserver/api/snap"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

func snapMsg(from, to, index uint64) *raftpb.Message {
	return &raftpb.Message{
		Type: raftpb.MsgSnap.Enum(), From: new(from), To: new(to), Term: new(uint64(5)),
		Snapshot: &raftpb.Snapshot{Data: []byte("membership"), Metadata: &raftpb.SnapshotMetadata{
			Index: new(index), Term: new(uint64(5)), ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}},
		}},
	}
}

func randomDB(size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(size)}).Read(b)
	return b
}

// sendSnap sends a database as etcd does and returns how it ended.
func sendSnap(n *node, to, index uint64, db io.Reader, size int) <-chan bool {
	m := snap.NewMessage(snapMsg(uint64(n.id), to, index), io.NopCloser(db), int64(size))
	n.tr.SendSnapshot(m)
	return m.CloseNotify()
}

func wantEnd(t testing.TB, end <-chan bool, want bool) {
	t.Helper()
	select {
	case got := <-end:
		if got != want {
			t.Fatalf("the transfer ended with success=%v, want %v", got, want)
		}
	case <-time.After(2 * patience):
		t.Fatal("the transfer did not end")
	}
}

// wantSaved checks the file that the receiver's snapshotter made.
func wantSaved(t *testing.T, n *node, index uint64, db []byte) {
	t.Helper()
	file, err := snap.New(n.logger, n.snapDir).DBFilePath(index)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, db) {
		t.Fatalf("saved %d bytes, which are not the %d that were sent", len(got), len(db))
	}
}

// onlyFabric is a configuration with one fabric.
func onlyFabric(t testing.TB, name string) (c Config) {
	if name == FabricShm {
		c = withShm(t)
	}
	c.Fabrics = []string{name}
	return c
}

func TestSnapshotArrives(t *testing.T) {
	for _, path := range knownFabrics {
		t.Run(path, func(t *testing.T) {
			o := nodeOptions{config: onlyFabric(t, path)}
			o.config.SnapshotWindow = minSnapshotWindow
			nodes := startNodes(t, o, o)
			onPath(t, path, nodes...)
			for i, size := range []int{0, 1, snapshotChunk, snapshotChunk + 1, 3 << 20, 3<<20 + 7} {
				db, index := randomDB(size), uint64(i+1)
				wantEnd(t, sendSnap(nodes[0], 2, index, bytes.NewReader(db), size), true)
				wantSaved(t, nodes[1], index, db)
				nodes[1].raft.wait(t, "raft has the snapshot", func() bool {
					return nodes[1].raft.has(func(m *raftpb.Message) bool { return m.GetSnapshot().GetMetadata().GetIndex() == index })
				})
			}
			nodes[0].raft.wait(t, "the ends are reported", func() bool {
				s := nodes[0].raft.snapshots[2]
				return len(s) == 6 && !slices.Contains(s, raft.SnapshotFailure)
			})
		})
	}
}

// A program whose state fits a message sends the snapshot as one.
func TestSnapshotInMessage(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	nodes[0].tr.Send([]*raftpb.Message{snapMsg(1, 2, 9)})
	nodes[1].raft.wait(t, "raft has the snapshot", func() bool {
		return nodes[1].raft.has(func(m *raftpb.Message) bool { return m.GetSnapshot().GetMetadata().GetIndex() == 9 })
	})
	nodes[0].raft.wait(t, "the end is reported", func() bool {
		return slices.Equal(nodes[0].raft.snapshots[2], []raft.SnapshotStatus{raft.SnapshotFinish})
	})
}

// What the receiver says against a snapshot reaches the sender's raft.
func TestSnapshotFails(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	a, b := nodes[0], nodes[1]
	t.Run("receiver's raft", func(t *testing.T) {
		b.raft.update(func() { b.raft.process = func(context.Context, *raftpb.Message) error { return errRefusedByTest } })
		defer b.raft.update(func() { b.raft.process = nil })
		wantEnd(t, sendSnap(a, 2, 1, strings.NewReader("db"), 2), false)
		a.raft.wait(t, "failure is reported", func() bool { return slices.Contains(a.raft.snapshots[2], raft.SnapshotFailure) })
	})
	t.Run("receiver's disk", func(t *testing.T) {
		os.RemoveAll(b.snapDir)
		wantEnd(t, sendSnap(a, 2, 2, strings.NewReader("db"), 2), false)
		if err := os.MkdirAll(b.snapDir, 0o700); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("sender's source", func(t *testing.T) {
		wantEnd(t, sendSnap(a, 2, 3, io.MultiReader(strings.NewReader("d"), failingReader{}), 1<<20), false)
		if left, _ := os.ReadDir(b.snapDir); len(left) > 0 {
			eventually(t, "the receiver drops what it has", func() bool {
				left, _ := os.ReadDir(b.snapDir)
				return len(left) == 0
			})
		}
	})
	wantEnd(t, sendSnap(a, 99, 4, strings.NewReader("db"), 2), false)
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("disk on fire") }

// slowReader lets a test act while a snapshot is under way.
type slowReader struct {
	io.Reader
	at     int
	action func()
	read   int
}

func (s *slowReader) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	s.read += n
	if s.action != nil && s.read >= s.at {
		s.action()
		s.action = nil
	}
	return n, err
}

// A snapshot goes on after its connections were cut in the middle, and after
// the path changed.
func TestSnapshotResumes(t *testing.T) {
	for _, path := range knownFabrics {
		t.Run(path, func(t *testing.T) {
			o := nodeOptions{config: onlyFabric(t, path)}
			o.config.SnapshotWindow = minSnapshotWindow
			nodes := startNodes(t, o, o)
			onPath(t, path, nodes...)
			a, b := nodes[0], nodes[1]
			db := randomDB(4 << 20)
			cut := func() { a.conns.cut(); b.conns.cut() } // side fabrics follow
			end := sendSnap(a, 2, 1, &slowReader{Reader: bytes.NewReader(db), at: 1 << 20, action: cut}, len(db))
			wantEnd(t, end, true)
			wantSaved(t, b, 1, db)
		})
	}
	t.Run("path changes", func(t *testing.T) {
		o := nodeOptions{config: Config{SnapshotWindow: minSnapshotWindow}}
		nodes := startNodes(t, o, o)
		onPath(t, FabricUDP, nodes...)
		a, b := nodes[0], nodes[1]
		a.dv.peer(2).bulkLost.set(time.Now()) // so that it begins by udp
		db := randomDB(4 << 20)
		var udp uint64
		end := sendSnap(a, 2, 1, &slowReader{Reader: bytes.NewReader(db), at: 1 << 20, action: func() {
			udp = bulkFrames(a.dv.roads[0])
			a.dv.roads[0].side.Disconnect(2)
		}}, len(db))
		wantEnd(t, end, true)
		wantSaved(t, b, 1, db)
		if stream := bulkFrames(a.dv.stream()); udp == 0 || stream == 0 {
			t.Errorf("%d frames went by udp, %d by the stream: want some by each", udp, stream)
		}
	})
}

// bulkFrames counts what a road took for its only peer.
func bulkFrames(r *road) (frames uint64) {
	for _, l := range r.port.(fabric.StatsReporter).Stats(nil) {
		frames += l.Lane[fabric.LaneBulk].Sent
	}
	return frames
}

// fakePort takes every frame and says nothing.
type fakePort struct {
	mu    sync.Mutex
	sent  []snapHeader
	tries int
	full  bool // it refuses what is sent
}

func (f *fakePort) Send(batch []fabric.Outgoing) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tries++; f.full {
		return fabric.ErrNoCredit
	}
	for _, o := range batch {
		h, err := parseSnapPatch(o.Patch[0], o.Body)
		if err != nil {
			return err
		}
		f.sent = append(f.sent, h)
	}
	return nil
}
func (f *fakePort) Publish(fabric.Row, []fabric.MemberID) error { return nil }
func (f *fakePort) Capabilities() fabric.Capabilities           { return fabric.Capabilities{MaxFrame: 1 << 20} }
func (f *fakePort) Now() fabric.Time                            { return fabric.Time{Logical: true} }
func (f *fakePort) Close() error                                { return nil }

func (f *fakePort) has(match func(snapHeader) bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(f.sent, match)
}

// onFakePort is a member whose peer 2 is at a port that takes all.
func onFakePort(t *testing.T, port *fakePort) *node {
	n := newNode(t, 1, nodeOptions{})
	// The watch, which looks at all ports, is not to come while one is replaced.
	n.start(t, nodeOptions{config: Config{SnapshotWindow: minSnapshotWindow, SnapshotStall: 3 * time.Second, ControlTimeout: time.Minute}})
	t.Cleanup(n.stop)
	n.tr.AddPeer(2, []string{"http://127.0.0.1:1"})
	p := n.dv.peer(2)
	n.dv.roads[0].port.Close()
	n.dv.roads[0].port = port
	n.dv.roads[0].caps = port.Capabilities()
	p.speaks.Store(uint64(FeatureSnapshots))
	p.path.Store(0)
	p.inDone = make(chan struct{}) // it can answer
	return n
}

// A sender that cannot send waits before it tries again.
func TestSnapshotWithoutCredit(t *testing.T) {
	port := &fakePort{full: true}
	n := onFakePort(t, port)
	wantEnd(t, sendSnap(n, 2, 1, bytes.NewReader(randomDB(100)), 100), false)
	port.mu.Lock()
	defer port.mu.Unlock()
	if most := int(time.Second/resyncEvery) + 10; port.tries > most {
		t.Errorf("%d attempts to send in the second that a receiver has to answer, want at most %d", port.tries, most)
	}
}

// A receiver that consumes nothing holds back the sender: no more than the
// window is read from the source, whatever window it claims to have, and the
// transfer fails in bounded time.
func TestSnapshotBackPressure(t *testing.T) {
	port := &fakePort{}
	n := onFakePort(t, port)
	source := &slowReader{Reader: bytes.NewReader(randomDB(4 << 20))}
	end := sendSnap(n, 2, 1, source, 4<<20)
	eventually(t, "the transfer is opened", func() bool { return port.has(func(h snapHeader) bool { return h.kind == snapOpen }) })
	n.dv.transfers.settled(1, n.dv.stream(), true) // the first question may be asked again at any time
	n.dv.transfers.mu.Lock()
	s := n.dv.transfers.outgoing[1]
	n.dv.transfers.mu.Unlock()
	s.answer(snapHeader{kind: snapProgress, transfer: 1, total: 1 << 40}, "")
	eventually(t, "the window is filled", func() bool {
		return port.has(func(h snapHeader) bool { return h.kind == snapData && h.offset == minSnapshotWindow-snapshotChunk })
	})
	wantEnd(t, end, false)
	if source.read != minSnapshotWindow {
		t.Errorf("%d bytes were read for a receiver that took none; the window is %d", source.read, minSnapshotWindow)
	}
	if !port.has(func(h snapHeader) bool { return h.kind == snapAbort }) {
		t.Error("the receiver was not told")
	}
}

// deafTo keeps a member from being dialled: what it says by frames arrives nowhere.
func deafTo(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == BootstrapPath {
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// A member whose answers cannot arrive gets its snapshot by rafthttp. Frames reach it
// all the same.
func TestSnapshotOneWay(t *testing.T) {
	config := Config{Fabrics: []string{FabricStream}, SnapshotStall: time.Hour, NoRelays: true}
	nodes := startNodes(t, nodeOptions{config: config}, nodeOptions{config: config, wrap: deafTo})
	a, b := nodes[0], nodes[1]
	eventually(t, "frames go one way", func() bool {
		return a.dv.peer(2).pathName() == FabricStream && b.dv.peer(1).pathName() == roadRafthttp
	})
	eventually(t, "rafthttp goes", func() bool { return !a.tr.ActiveSince(2).IsZero() })
	db := randomDB(1 << 20)
	wantEnd(t, sendSnap(a, 2, 1, bytes.NewReader(db), len(db)), true)
	wantSaved(t, b, 1, db)

	// The receiver takes none that it cannot answer.
	open, err := proto.Marshal(snapMsg(1, 2, 2))
	if err != nil {
		t.Fatal(err)
	}
	f := fabric.Frame{Patch: appendSnapPatch(nil, snapHeader{kind: snapOpen, transfer: 7, total: 10}, open), Body: open}
	if err := b.dv.transfers.receive(b.dv.peer(1), &f); err == nil || len(b.dv.transfers.incoming) > 0 {
		t.Errorf("a snapshot that could not be answered began: %v", err)
	}
}

// A receiver that never answered is sent the next snapshot by rafthttp, and the
// one after that by frames again.
func TestSnapshotUnanswered(t *testing.T) {
	nodes := startNodes(t, nodeOptions{config: Config{SnapshotStall: 6 * time.Second}}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	a, b := nodes[0], nodes[1]
	p := a.dv.peer(2)
	b.dv.peer(1).paused.Store(true) // it drops what comes
	wantEnd(t, sendSnap(a, 2, 1, bytes.NewReader(randomDB(100)), 100), false)
	b.dv.peer(1).paused.Store(false)
	for i, want := range []bool{false, true, true} {
		if got := p.takesSnapshots(); got != want {
			t.Errorf("%d snapshots later: by frames %v, want %v", i+1, got, want)
		}
	}
	wantEnd(t, sendSnap(a, 2, 2, bytes.NewReader(randomDB(100)), 100), true)
}

// stuckSource gives nothing until it is closed.
type stuckSource struct {
	closed chan struct{}
	once   sync.Once
}

func (s *stuckSource) Read([]byte) (int, error) { <-s.closed; return 0, io.ErrClosedPipe }
func (s *stuckSource) Close() error             { s.once.Do(func() { close(s.closed) }); return nil }

// A database that gives nothing holds up neither raft nor the transport's end.
func TestSnapshotSourceStuck(t *testing.T) {
	for name, stall := range map[string]time.Duration{"stall": 300 * time.Millisecond, "stop": time.Hour} {
		t.Run(name, func(t *testing.T) {
			nodes := startNodes(t, nodeOptions{config: Config{SnapshotStall: stall}}, nodeOptions{})
			onPath(t, FabricUDP, nodes...)
			a := nodes[0]
			m := snap.NewMessage(snapMsg(1, 2, 1), nil, 100)
			m.ReadCloser = &stuckSource{closed: make(chan struct{})} // without etcd's counter around it
			a.tr.SendSnapshot(m)
			eventually(t, "the receiver waits", func() bool {
				nodes[1].dv.transfers.mu.Lock()
				defer nodes[1].dv.transfers.mu.Unlock()
				return len(nodes[1].dv.transfers.incoming) == 1
			})
			if name == "stop" {
				a.tr.RemovePeer(2)
			}
			wantEnd(t, m.CloseNotify(), false)
		})
	}
}

// What a lying sender or receiver says cannot crash or bloat a member.
func TestSnapshotLies(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	b := nodes[1]
	open, err := proto.Marshal(snapMsg(1, 2, 1))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := proto.Marshal(snapMsg(9, 2, 1))
	if err != nil {
		t.Fatal(err)
	}
	receive := func(h snapHeader, body []byte) error {
		f := fabric.Frame{Patch: appendSnapPatch(nil, h, body), Body: body}
		return b.dv.transfers.receive(b.dv.peer(1), &f)
	}
	incoming := func() int {
		b.dv.transfers.mu.Lock()
		defer b.dv.transfers.mu.Unlock()
		return len(b.dv.transfers.incoming)
	}
	for name, c := range map[string]struct {
		h    snapHeader
		body []byte
	}{
		"garbage":        {snapHeader{kind: snapOpen, transfer: 100, total: 10}, []byte("no message")},
		"another sender": {snapHeader{kind: snapOpen, transfer: 101, total: 10}, forged},
		"unknown resume": {snapHeader{kind: snapOpen, transfer: 102, offset: 5, total: 10}, open},
		"absurd size":    {snapHeader{kind: snapOpen, transfer: 103, total: 1 << 63}, open},
	} {
		if receive(c.h, c.body) == nil || incoming() > 0 {
			t.Errorf("%s: accepted", name)
		}
	}
	for _, h := range []snapHeader{
		{kind: snapData, transfer: 999}, {kind: snapAbort, transfer: 999}, {kind: snapDone, transfer: 999}, {kind: snapProgress, transfer: 999, offset: 1},
	} {
		if err := receive(h, nil); err != nil {
			t.Errorf("%v about an unknown transfer: %v", h, err)
		}
	}
	if err := receive(snapHeader{kind: snapOpen, transfer: 104, total: 10}, open); err != nil {
		t.Fatal(err)
	}
	if err := receive(snapHeader{kind: snapData, transfer: 104}, make([]byte, 11)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a transfer that exceeds its size ends", func() bool { return incoming() == 0 })
	for i := range uint64(maxIncoming) {
		if err := receive(snapHeader{kind: snapOpen, transfer: 200 + i, total: 10}, open); err != nil {
			t.Fatal(err)
		}
	}
	if receive(snapHeader{kind: snapOpen, transfer: 300, total: 10}, open) == nil {
		t.Error("one snapshot more than the limit was accepted")
	}
}

// A frame that arrived makes the sender go on, one that did not makes it ask.
func TestSnapshotSettled(t *testing.T) {
	s := &sendTransfer{id: 7, wake: make(chan struct{}, 1), p: &peer{}}
	udp, stream := &road{name: FabricUDP}, &road{name: FabricStream}
	ts := &transfers{outgoing: map[uint64]*sendTransfer{s.id: s}}
	ts.settled(8, stream, false)
	if len(s.wake) != 0 {
		t.Error("woken by what another transfer's frame did")
	}
	ts.settled(s.id, stream, false)
	if len(s.wake) != 1 || s.takeAsk() {
		t.Errorf("an ack: %d wake-ups, want 1 and no question", len(s.wake))
	}
	<-s.wake
	ts.settled(s.id, udp, true)
	if len(s.wake) != 1 || !s.takeAsk() || s.p.bulkLost.within(bulkRest) {
		t.Errorf("a loss: %d wake-ups, want 1 and a question, and nothing said of the stream", len(s.wake))
	}
	if ts.settled(s.id, stream, true); !s.p.bulkLost.within(bulkRest) {
		t.Error("the stream lost a frame, and is taken as before")
	}
}

// What is saved is what came, in whatever pieces it is taken, and the sender may forget
// no more than that.
func TestSnapshotTaken(t *testing.T) {
	db := randomDB(3*snapshotChunk + 100)
	begin := func() *receiveTransfer {
		r := unanswered(uint64(len(db)))
		for rest, offset := db, 0; len(rest) > 0; offset = len(db) - len(rest) {
			size := min(snapshotChunk, len(rest))
			r.data(snapHeader{offset: uint64(offset)}, rest[:size])
			rest = rest[size:]
		}
		return r
	}
	for name, take := range map[string]func(r *receiveTransfer) ([]byte, error){
		"io.Copy": func(r *receiveTransfer) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.Copy(&b, r)
			return b.Bytes(), err
		},
		"small reads": func(r *receiveTransfer) ([]byte, error) { return io.ReadAll(iotest.OneByteReader(r)) },
		"both": func(r *receiveTransfer) ([]byte, error) {
			b := make([]byte, snapshotChunk+1)
			if _, err := io.ReadFull(r, b); err != nil {
				return nil, err
			}
			w := bytes.NewBuffer(b)
			_, err := r.WriteTo(w)
			return w.Bytes(), err
		},
	} {
		r := begin()
		if got, err := take(r); err != nil || !bytes.Equal(got, db) {
			t.Errorf("%s: %d bytes, %v; want the %d that came", name, len(got), err, len(db))
		}
		if r.consumed != r.size || r.queued != 0 || r.progress() != r.size {
			t.Errorf("%s: %d of %d bytes consumed, %d wait", name, r.consumed, r.size, r.queued)
		}
	}
	r := begin()
	if _, err := r.WriteTo(shortWriter{}); !errors.Is(err, io.ErrShortWrite) || r.consumed != 10 || r.progress() != 0 {
		t.Errorf("a disk that takes 10 bytes: %v, %d consumed, %d may be forgotten", err, r.consumed, r.progress())
	}
	r = begin()
	r.fail(errSnapshotSilent)
	if _, err := r.WriteTo(io.Discard); !errors.Is(err, errSnapshotSilent) {
		t.Errorf("a transfer that failed: %v", err)
	}
}

// unanswered is a transfer from a peer to which no road leads.
func unanswered(size uint64) *receiveTransfer {
	r := &receiveTransfer{p: &peer{t: &Transport{cfg: Config{}.withDefaults()}}, size: size}
	r.p.path.Store(-1)
	r.cond.L = &r.mu
	return r
}

type shortWriter struct{}

func (shortWriter) Write([]byte) (int, error) { return 10, io.ErrShortWrite }

// Where messages go by datagrams, snapshots go by streams; by datagrams where those are
// not listed, not up, or have lost some of one.
func TestSnapshotRoad(t *testing.T) {
	nodes := startNodes(t, nodeOptions{}, nodeOptions{})
	onPath(t, FabricUDP, nodes...)
	a := nodes[0]
	p, stream := a.dv.peer(2), a.dv.stream()
	eventually(t, "the stream is up", func() bool { return p.isUp(stream.index) })
	db := randomDB(3*snapshotChunk + 1)
	wantEnd(t, sendSnap(a, 2, 1, bytes.NewReader(db), len(db)), true)
	wantSaved(t, nodes[1], 1, db)
	if udp := a.dv.roads[p.path.Load()]; udp.name != FabricUDP || bulkFrames(udp) != 0 || bulkFrames(stream) < 5 {
		t.Errorf("%d frames of a snapshot went by %s, %d by the stream; want 0 and 5 or more", bulkFrames(udp), udp.name, bulkFrames(stream))
	}
	want := func(what, name string) {
		t.Helper()
		if r := p.bulkRoad(1000); r == nil || r.name != name {
			t.Errorf("%s: a snapshot goes by %v, want %s", what, r, name)
		}
	}
	want("all is well", FabricStream)
	p.bulkLost.set(time.Now())
	want("the stream has lost frames", FabricUDP)
	p.bulkLost.set(time.Now().Add(-bulkRest))
	want("a minute later", FabricStream)
	p.mu.Lock()
	p.up[stream.index] = false
	p.mu.Unlock()
	want("there is none", FabricUDP)

	o := nodeOptions{config: Config{Fabrics: []string{FabricUDP}}}
	nodes = startNodes(t, o, o)
	onPath(t, FabricUDP, nodes...)
	p = nodes[0].dv.peer(2)
	eventually(t, "the stream is up", func() bool { return p.isUp(nodes[0].dv.stream().index) })
	want("streams are not listed", FabricUDP)
}

// A receiver holds a window, in whatever pieces it comes.
func TestSnapshotInSmallPieces(t *testing.T) {
	r := unanswered(10 * snapshotChunk)
	for i := range uint64(2*snapshotChunk + 1) {
		r.data(snapHeader{offset: i}, []byte{1})
	}
	if len(r.queue) != 3 || r.queued != 2*snapshotChunk+1 {
		t.Errorf("%d bytes are held in %d chunks of %d", r.queued, len(r.queue), snapshotChunk)
	}
}

// An answer that a newer one has overtaken ends no transfer: the sender asks again. One
// that wants what was never read does.
func TestSnapshotOldRewind(t *testing.T) {
	s := &sendTransfer{p: &peer{t: &Transport{cfg: Config{}.withDefaults()}}, base: 2 * snapshotChunk, read: 3 * snapshotChunk, next: 3 * snapshotChunk, wake: make(chan struct{}, 1)}
	s.answer(snapHeader{kind: snapRewind, offset: snapshotChunk, total: minSnapshotWindow}, "")
	if done, _, err := s.handleAnswers(); done || err != nil || s.next != 3*snapshotChunk || !s.takeAsk() {
		t.Errorf("a rewind to what the receiver has since consumed: done %v, %v, next byte %d", done, err, s.next)
	}
	s.answer(snapHeader{kind: snapRewind, offset: 4 * snapshotChunk, total: minSnapshotWindow}, "")
	if done, _, err := s.handleAnswers(); !done || err == nil {
		t.Errorf("a rewind to what was never read: done %v, %v", done, err)
	}
}
