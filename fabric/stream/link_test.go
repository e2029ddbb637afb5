package stream

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"

	"github.com/raftdv/dv/fabric"
)

var checked = Session{PeerIncarnation: 1, Checksum: true}

// twoPorts are self and mate, which know each other and are not connected.
func twoPorts(t *testing.T) (a, b *Port, ra, rb *recorder) {
	t.Helper()
	return twoPortsWith(t, Config{})
}

func twoPortsWith(t *testing.T, cfg Config) (a, b *Port, ra, rb *recorder) {
	t.Helper()
	ra, rb = &recorder{}, &recorder{}
	a = newTestPort(t, cfg, ra)
	cfg.Self, cfg.Incarnation, cfg.Detached = mate, 1, rb.detached
	b, err := New(cfg, rb)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	b.AddPeer(self)
	return a, b, ra, rb
}

// A newer connection replaces the older one: what was in flight is lost at
// once, sequences go on, and the receiver is told the exact numbers (F1, F2).
func TestReplacedConnection(t *testing.T) {
	a, b, ra, rb := twoPorts(t)
	first, done := attachSend(t, a, checked)
	go drain(first) // takes everything in and acks nothing
	for i := range uint64(5) {
		mustSend(t, a, frameTo(mate, fabric.LaneAppend, 10+i, []byte("lost")))
	}
	mustSend(t, a, frameTo(mate, fabric.LaneControl, 20, nil), frameTo(mate, fabric.LaneControl, 0, nil))
	connect(t, a, b)
	<-done
	ra.until(t, "all seven are lost", func() bool { return ra.lost() == 7 })
	for _, s := range ra.told().settled {
		if !errors.Is(s.Err, ErrReplaced) || !errors.Is(s.Err, fabric.ErrLost) {
			t.Errorf("resolution %+v, want lost with ErrReplaced", s)
		}
	}
	mustSend(t, a, frameTo(mate, fabric.LaneAppend, 30, []byte("found")))
	ra.until(t, "the eighth is acked", func() bool { return len(ra.settled) == 8 && ra.settled[7].Acked() })
	rb.until(t, "the eighth arrives", func() bool { return len(rb.frames) == 1 })
	want := []event{{fabric.LaneControl, 1, 2}, {fabric.LaneAppend, 1, 5}, {fabric.LaneAppend, 6, 0}}
	if got := rb.told().events; !slices.Equal(got, want) {
		t.Errorf("the receiver was told %+v, want %+v", got, want)
	}
	ra.until(t, "links are up", func() bool { return len(ra.links) >= 1 && ra.links[len(ra.links)-1].Up })
	if s := a.Stats(nil)[0].Lane[fabric.LaneAppend]; s.Sent != 6 || s.Lost != 5 || s.Acked != 1 || s.Queued != 0 {
		t.Errorf("append lane %+v, want 6 sent, 5 lost, 1 acked", s)
	}
	if s := b.Stats(nil)[0].Lane[fabric.LaneAppend]; s.Gaps != 5 || s.Delivered != 1 {
		t.Errorf("receiver's append lane %+v, want 5 missing, 1 delivered", s)
	}
}

// Loss in the middle of a frame of many pieces.
func TestReplacedWithinFrame(t *testing.T) {
	a, b, ra, rb := twoPorts(t)
	near, far := net.Pipe()
	if _, err := a.AttachSend(mate, checked, near, nil); err != nil {
		t.Fatal(err)
	}
	wideOpen(a)
	mustSend(t, a, frameTo(mate, fabric.LaneBulk, 1, make([]byte, 10*pieceLen)))
	w := &wire{tb: t, c: far}
	var begun []byte
	for len(begun) < 3*pieceLen { // opening and some of the pieces
		f := w.next(fabric.KindCredit, fabric.KindData)
		begun = fabric.AppendFrame(begun, &f.Header, f.Patch, f.Body)
	}
	back, in := net.Pipe()
	if _, err := b.AttachReceive(self, checked, in, begun); err != nil {
		t.Fatal(err)
	}
	(&wire{tb: t, c: back}).next(fabric.KindAck) // the pieces are taken in
	go drain(back)
	connect(t, a, b)
	far.Close()
	mustSend(t, a, frameTo(mate, fabric.LaneBulk, 2, []byte("next")))
	rb.until(t, "the next frame arrives", func() bool { return len(rb.frames) == 1 })
	want := []event{{fabric.LaneBulk, 1, 1}, {fabric.LaneBulk, 2, 0}}
	ra.until(t, "the frame is lost", func() bool { return ra.lost() == 1 })
	if got := rb.told().events; !slices.Equal(got, want) {
		t.Errorf("the receiver was told %+v, want %+v", got, want)
	}
}

// settledWire waits until the receiver has taken in and acked every byte: what
// the two ends count is the same, or the window would shrink with time.
func settledWire(t *testing.T, p *Port) {
	t.Helper()
	c := p.peer(mate).send.Load()
	await(t, "all bytes are acked", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i := range c.lanes {
			if l := &c.lanes[i]; l.wire != l.wireAcked || l.acked != l.next {
				return false
			}
		}
		return c.rowsSent == c.rowsAcked
	})
}

func TestIncarnations(t *testing.T) {
	r := &recorder{}
	p := newTestPort(t, Config{}, r)
	out, sendDone := attachSend(t, p, Session{PeerIncarnation: 5, Checksum: true})
	w := &wire{tb: t, c: out}
	mustSend(t, p, frameTo(mate, fabric.LaneAppend, 1, nil))
	if o, _ := parseOpening(w.next(fabric.KindCredit).Body); o.lane[fabric.LaneAppend].next != 1 {
		t.Fatalf("opening %+v", o)
	}
	in, recvDone := attachReceive(t, p, Session{PeerIncarnation: 5, Checksum: true},
		(&wire{has: fabric.HasCRC}).encode(fabric.KindCredit, 0, 0, opens(7, 1, 40)))
	go drain(in)
	r.until(t, "the gap in front of the connection", func() bool { return len(r.events) == 1 })

	near, _ := net.Pipe()
	defer near.Close()
	for _, old := range []uint64{0, 4} {
		if _, err := p.AttachSend(mate, Session{PeerIncarnation: old}, near, nil); !errors.Is(err, ErrStaleIncarnation) {
			t.Errorf("AttachSend of incarnation %d: %v, want ErrStaleIncarnation", old, err)
		}
		if _, err := p.AttachReceive(mate, Session{PeerIncarnation: old}, near, nil); !errors.Is(err, ErrStaleIncarnation) {
			t.Errorf("AttachReceive of incarnation %d: %v, want ErrStaleIncarnation", old, err)
		}
	}

	// The next incarnation ends both connections of the older one, whichever
	// comes first, and its links start at 1, with any epoch.
	opened := (&wire{has: fabric.HasCRC}).encode(fabric.KindCredit, 0, 0, opens(1))
	in, _ = attachReceive(t, p, Session{PeerIncarnation: 6, Checksum: true},
		append(opened, (&wire{has: fabric.HasCRC}).encode(fabric.KindData, fabric.LaneAppend, 1, nil)...))
	go drain(in)
	<-sendDone
	<-recvDone
	r.until(t, "its first frame", func() bool { return len(r.events) == 2 && r.events[1] == event{fabric.LaneAppend, 1, 0} })
	r.until(t, "the older link is down", func() bool { return len(r.links) == 2 && errors.Is(r.links[1].Err, ErrRestarted) })
	if err := p.Send([]fabric.Outgoing{frameTo(mate, 0, 2, nil)}); !errors.Is(err, fabric.ErrLinkDown) {
		t.Errorf("Send to the new incarnation before it dialled: %v, want ErrLinkDown", err)
	}
	out, _ = attachSend(t, p, Session{PeerIncarnation: 6, Checksum: true})
	if o, _ := parseOpening((&wire{tb: t, c: out}).next(fabric.KindCredit).Body); o.lane[fabric.LaneAppend].next != 1 {
		t.Errorf("opening to the new incarnation %+v, want sequences from 1", o)
	}
	r.until(t, "the link is up", func() bool { return len(r.links) == 3 && r.links[2].Up && r.links[2].Incarnation == 6 })
}

// A peer that was removed and added again has a new link, which the other side
// tells from an old one by its epoch.
func TestRemoveAndAdd(t *testing.T) {
	a, b, ra, rb := twoPorts(t)
	for round := range 3 {
		connect(t, a, b)
		for i := range uint64(4) {
			mustSend(t, a, frameTo(mate, fabric.LaneAppend, uint64(round)*10+i+1, nil))
		}
		rb.until(t, "four frames of this round", func() bool { return len(rb.frames) == 4*(round+1) })
		ra.until(t, "four acks of this round", func() bool { return len(ra.settled) == 4*(round+1) })
		a.RemovePeer(mate)
		if err := a.Send([]fabric.Outgoing{frameTo(mate, 0, 1, nil)}); !errors.Is(err, fabric.ErrUnknownPeer) {
			t.Errorf("Send to a removed peer: %v", err)
		}
		if _, err := a.AttachSend(mate, checked, nil, nil); !errors.Is(err, fabric.ErrUnknownPeer) {
			t.Errorf("AttachSend of a removed peer: %v", err)
		}
		a.AddPeer(mate)
	}
	got := rb.told()
	for i, f := range got.frames {
		if f.Link != uint64(i%4+1) {
			t.Errorf("frame %d has sequence %d, want 1 to 4 in each round", i, f.Link)
		}
	}
	if slices.ContainsFunc(got.events, func(e event) bool { return e.gap > 0 }) || ra.told().lost() != 0 {
		t.Errorf("events %+v, %d lost; want neither gap nor loss", got.events, ra.told().lost())
	}
	a.RemovePeer(99)
	a.AddPeer(self)
	a.AddPeer(0)
	if n := len(*a.peers.Load()); n != 1 {
		t.Errorf("%d peers, want 1: a port is not its own peer, nor is 0", n)
	}
}

func TestRefusals(t *testing.T) {
	r := &recorder{}
	p := newTestPort(t, Config{}, r)
	if err := p.Send([]fabric.Outgoing{frameTo(mate, 0, 1, nil)}); !errors.Is(err, fabric.ErrLinkDown) {
		t.Errorf("Send to a peer without a connection: %v, want ErrLinkDown", err)
	}
	for _, err := range []error{
		p.Publish(fabric.Row{Owner: mate, Version: 1}, nil),
		p.Publish(fabric.Row{Owner: self, Version: 1, Sections: []byte{1}}, nil),
	} {
		if !errors.Is(err, fabric.ErrBadFrame) {
			t.Errorf("Publish: %v, want ErrBadFrame", err)
		}
	}
	p.Close()
	near, _ := net.Pipe()
	defer near.Close()
	if _, err := p.AttachSend(mate, checked, near, nil); !errors.Is(err, fabric.ErrClosed) {
		t.Errorf("AttachSend after Close: %v, want ErrClosed", err)
	}
	if _, err := p.AttachReceive(3, checked, near, nil); !errors.Is(err, fabric.ErrClosed) {
		t.Errorf("AttachReceive after Close: %v, want ErrClosed", err)
	}
	p.AddPeer(3)
	p.RemovePeer(mate)
	if got := p.LastKeepAlive(3); !got.IsZero() {
		t.Errorf("a peer was added after Close, heard %v", got)
	}
}

// Frames of many sizes arrive whole while smaller ones overtake them.
func TestLargeFrames(t *testing.T) {
	a, b, ra, rb := twoPorts(t)
	a.cfg.MaxFrame, b.cfg.MaxFrame = 8<<20, 8<<20
	a.caps.MaxFrame = 8 << 20
	connect(t, a, b)
	rng := rand.New(rand.NewPCG(3, 4))
	sizes := []int{0, 1, pieceLen - 1, pieceLen, pieceLen + 1, 2 * pieceLen, 2*pieceLen + 1, 3<<20 + 17, 8<<20 - 100}
	var sent []fabric.Outgoing
	for i, size := range sizes {
		body, patch := make([]byte, size), make([]byte, i*11)
		for j := range body {
			body[j] = byte(rng.Uint32())
		}
		o := frameTo(mate, fabric.Lane(i)%2+1, uint64(i+1), body)
		o.Patch, o.Stamp = [][]byte{patch}, fabric.Stamp{Time: int64(i)}
		sent = append(sent, o)
		mustSend(t, a, o)
		mustSend(t, a, frameTo(mate, fabric.LaneControl, uint64(100+i), nil))
		ra.until(t, "both are acked", func() bool { return len(ra.settled) == 2*(i+1) })
	}
	rb.until(t, "all arrive", func() bool { return len(rb.frames) == 2*len(sizes) })
	mustSend(t, a, fabric.Outgoing{To: []fabric.MemberID{mate}, Kind: fabric.KindVoid, Lane: fabric.LaneBulk, Body: fabric.VoidBody()})
	publish(t, a, 1, mate)
	settledWire(t, a)
	for _, f := range rb.told().frames {
		if f.Lane == fabric.LaneControl {
			continue
		}
		o := sent[f.Stream-1]
		if !bytes.Equal(f.Body, o.Body) || !bytes.Equal(f.Patch, o.Patch[0]) || f.Stamp != o.Stamp || f.Has&fabric.HasFragment != 0 || int(f.BodyLen) != len(o.Body) {
			t.Errorf("frame of %d bytes arrives with %d and %d bytes of patch, %+v", len(o.Body), len(f.Body), len(f.Patch), f.Header)
		}
	}
}

// Only pieces that have come take memory, and it is given back (F3).
func TestReassemblyMemory(t *testing.T) {
	r := &recorder{}
	const total = 8 << 20
	p := newTestPort(t, Config{MaxFrame: total}, r)
	w := &wire{has: fabric.HasCRC}
	far, _ := attachReceive(t, p, checked, w.encode(fabric.KindCredit, 0, 0, opens(1)))
	go drain(far)
	q := p.peer(mate)
	q.mu.Lock()
	c := q.recv
	q.mu.Unlock()
	seen := make(chan int, 8) // one for each call of Deliver
	r.with(func() {
		r.deliver = func(fabric.MemberID, []fabric.Frame) { // the reader's goroutine
			seen <- cap(c.partial[fabric.LaneBulk].b)
		}
	})
	held := func(link uint64) int {
		far.Write(w.encode(fabric.KindData, fabric.LaneControl, link, nil))
		return <-seen
	}
	far.Write(piece(fabric.LaneBulk, 1, 0, total/pieceLen, total, pieceLen))
	far.Write(piece(fabric.LaneBulk, 1, 1, total/pieceLen, total, pieceLen))
	if n := held(1); n < 2*pieceLen || n > 8*pieceLen {
		t.Errorf("two pieces of %d bytes hold %d bytes of memory", pieceLen, n)
	}
	for i := uint32(2); i < total/pieceLen; i++ {
		far.Write(piece(fabric.LaneBulk, 1, i, total/pieceLen, total, pieceLen))
	}
	<-seen
	if got := r.told().frames; len(got) != 2 || len(got[1].Body) != total {
		t.Errorf("%d frames arrived, want the one of %d bytes", len(got), total)
	}
	if n := held(2); n > keptPartial {
		t.Errorf("after a frame of %d bytes the lane keeps %d bytes, at most %d", total, n, keptPartial)
	}
}

// wideOpen gives a connection the windows that a fast link comes to have.
func wideOpen(p *Port) {
	c := p.peer(mate).send.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setWindows(0)
}

// Control does not wait for a backlog of the other lanes.
func TestControlOvertakes(t *testing.T) {
	r := &recorder{}
	p := newTestPort(t, Config{}, r)
	far, _ := attachSend(t, p, checked)
	w := &wire{tb: t, c: far}
	wideOpen(p)
	w.next(fabric.KindCredit)
	for i := range uint64(6) {
		mustSend(t, p, frameTo(mate, fabric.LaneBulk, i+1, make([]byte, 1<<20)), frameTo(mate, fabric.LaneAppend, i+1, make([]byte, 1<<20)))
	}
	lanes := map[fabric.Lane]int{}
	for range 20 {
		lanes[w.next(fabric.KindData).Lane]++ // the writer is at work
	}
	mustSend(t, p, frameTo(mate, fabric.LaneControl, 99, []byte("vote")))
	before := 0
	for {
		f := w.next(fabric.KindData)
		if f.Lane == fabric.LaneControl {
			break
		}
		before += len(f.Body)
	}
	if limit := 2*chunkLen + len(w.buf); before > limit {
		t.Errorf("%d bytes went before a control frame, want at most %d", before, limit)
	}
	if lanes[fabric.LaneAppend] < 5 || lanes[fabric.LaneBulk] < 5 {
		t.Errorf("append and bulk do not take turns: %v", lanes)
	}
}

// The window keeps what a slow receiver has not taken in from piling up where
// nothing can overtake it, acks move it (F3).
func TestWindow(t *testing.T) {
	r := &recorder{}
	cfg := Config{}
	cfg.Queues[fabric.LaneBulk] = Queue{Bytes: 1 << 20, Frames: 10, Window: 200 << 10}
	p := newTestPort(t, cfg, r)
	far, _ := attachSend(t, p, checked)
	wideOpen(p)
	w := &wire{tb: t, c: far, has: fabric.HasCRC}
	for i := range uint64(10) {
		mustSend(t, p, frameTo(mate, fabric.LaneBulk, i+1, make([]byte, 60<<10)))
	}
	err := p.Send([]fabric.Outgoing{frameTo(mate, fabric.LaneBulk, 11, nil)})
	if !errors.Is(err, fabric.ErrNoCredit) {
		t.Errorf("the eleventh frame of ten: %v, want ErrNoCredit", err)
	}
	if err := p.Send([]fabric.Outgoing{frameTo(mate, fabric.LaneAppend, 0, nil)}); err != nil {
		t.Errorf("another lane: %v", err)
	}
	a := ack{lane: [fabric.Lanes]laneAck{{next: 1}, {next: 1}, {next: 1}}}
	bulk := &a.lane[fabric.LaneBulk]
	for bulk.next < 11 {
		for range min(3, 11-bulk.next) { // 3 × 60 KiB fit the window, a fourth does not
			f := w.next(fabric.KindData)
			for f.Lane != fabric.LaneBulk {
				f = w.next(fabric.KindData)
			}
			bulk.next = f.Link + 1
			bulk.bytes += uint64(fabric.FrameSize(&f.Header, nil, f.Body))
		}
		mustSend(t, p, frameTo(mate, fabric.LaneControl, 0, nil)) // comes next: no more bulk is on the wire
		if f := w.next(fabric.KindData); f.Lane != fabric.LaneControl || len(w.buf) > 0 {
			t.Fatalf("frame %d of %v came beyond the window", f.Link, f.Lane)
		}
		w.write(fabric.KindAck, 0, 0, a.append(nil))
	}
	r.until(t, "all are acked", func() bool { return len(r.settled) == 10 })
	s := p.Stats(nil)[0].Lane[fabric.LaneBulk]
	if s.Queued != 0 || s.QueuedBytes != 0 || s.CreditBytes != 1<<20 || s.NoCredit != 1 {
		t.Errorf("bulk lane %+v, want it empty with full credit and one refusal", s)
	}
}

// A frame that is larger than the lane's bound goes alone.
func TestLargerThanBound(t *testing.T) {
	r := &recorder{}
	cfg := Config{}
	cfg.Queues[fabric.LaneControl].Bytes = 1000
	p := newTestPort(t, cfg, r)
	far, _ := attachSend(t, p, checked)
	go drain(far)
	mustSend(t, p, frameTo(mate, fabric.LaneControl, 1, make([]byte, 5000)))
	if err := p.Send([]fabric.Outgoing{frameTo(mate, fabric.LaneControl, 2, nil)}); !errors.Is(err, fabric.ErrNoCredit) {
		t.Errorf("a second frame: %v, want ErrNoCredit", err)
	}
}

// More destinations than a Send kicks at its end.
func TestManyDestinations(t *testing.T) {
	r := &recorder{}
	p := newTestPort(t, Config{}, r)
	var to []fabric.MemberID
	var ends []*wire
	for i := range maxTouched + 5 {
		id := fabric.MemberID(100 + i)
		p.AddPeer(id)
		near, far := net.Pipe()
		t.Cleanup(func() { far.Close() })
		if _, err := p.AttachSend(id, checked, near, nil); err != nil {
			t.Fatal(err)
		}
		to, ends = append(to, id), append(ends, &wire{tb: t, c: far})
	}
	o := fabric.Outgoing{To: to, Lane: fabric.LaneAppend, Body: []byte("shared")}
	for i := range to {
		o.Patch = append(o.Patch, fmt.Append(nil, i))
	}
	mustSend(t, p, o)
	for i, w := range ends {
		if f := w.next(fabric.KindData); string(f.Body) != "shared" || string(f.Patch) != fmt.Sprint(i) {
			t.Errorf("destination %d got %q with patch %q", i, f.Body, f.Patch)
		}
	}
	if stats := p.Stats(nil); !slices.IsSortedFunc(stats, func(a, b fabric.LinkStats) int { return int(a.Peer) - int(b.Peer) }) || len(stats) != len(to)+1 {
		t.Errorf("stats of %d peers, or not in their order", len(stats))
	}
}
