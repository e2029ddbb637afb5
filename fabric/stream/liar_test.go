package stream

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// A peer that breaks the protocol loses its connection, with a reason that says
// how, and harms nobody else.

func u64(v ...uint64) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}

func changed(b []byte, at int, to ...byte) []byte {
	copy(b[at:], to)
	return b
}

func piece(lane fabric.Lane, link uint64, index, count uint32, total uint64, body int) []byte {
	h := fabric.Header{
		Kind: fabric.KindData, Lane: lane, Link: link, Has: fabric.HasCRC | fabric.HasFragment,
		Fragment: fabric.Fragment{Index: index, Count: count, Total: total},
	}
	return fabric.AppendFrame(nil, &h, nil, make([]byte, body))
}

func TestLyingSender(t *testing.T) {
	w := &wire{has: fabric.HasCRC}
	frame := func(link uint64) []byte { return w.encode(fabric.KindData, fabric.LaneAppend, link, []byte("body")) }
	void := func(link, count uint64) []byte { return w.encode(fabric.KindVoid, fabric.LaneAppend, link, u64(count)) }
	row := func(r fabric.Row) []byte { return w.encode(fabric.KindRow, 0, 0, fabric.AppendRow(nil, &r)) }
	const bulk, total = fabric.LaneBulk, 2*pieceLen + 10
	cases := []struct {
		name string
		lies [][]byte // after an opening and frames 1 to 3
		want error
	}{
		{"magic", [][]byte{changed(frame(4), 0, 'G')}, fabric.ErrMalformed},
		{"another major version", [][]byte{changed(frame(4), 2, 9)}, fabric.ErrVersion},
		{"huge body", [][]byte{changed(frame(4), 12, 0xff, 0xff, 0xff, 0x7f)}, fabric.ErrTooLarge},
		{"huge header", [][]byte{changed(frame(4), 4, 0xf8, 0xff)}, fabric.ErrMalformed},
		{"header below its prelude", [][]byte{changed(frame(4), 4, 8, 0)}, fabric.ErrMalformed},
		{"corrupted", [][]byte{changed(frame(4), 42, 'X')}, fabric.ErrChecksum},
		{"no checksum", [][]byte{(&wire{}).encode(fabric.KindData, 0, 1, nil)}, ErrUnprotected},
		{"no kind", [][]byte{changed(frame(4), 6, 0)}, fabric.ErrMalformed},
		{"no such lane", [][]byte{changed(frame(4), 7, 7)}, fabric.ErrMalformed},
		{"sequence falls", [][]byte{frame(3)}, ErrSequence},
		{"sequence 0", [][]byte{frame(0)}, ErrSequence},
		{"last sequence", [][]byte{frame(math.MaxUint64)}, ErrSequence},
		{"second opening", [][]byte{w.encode(fabric.KindCredit, 0, 0, opens(1, 1, 4))}, ErrBadOpening},
		{"ack", [][]byte{w.encode(fabric.KindAck, 0, 0, (&ack{}).append(nil))}, ErrUnexpected},
		{"keep-alive without a number", [][]byte{w.encode(fabric.KindKeepalive, 0, 0, nil)}, ErrUnexpected},
		{"void of nothing", [][]byte{void(4, 0)}, ErrSequence},
		{"void of the past", [][]byte{void(3, 1)}, ErrSequence},
		{"void beyond all numbers", [][]byte{void(4, math.MaxUint64-3)}, ErrSequence},
		{"void without a count", [][]byte{w.encode(fabric.KindVoid, 1, 4, nil)}, ErrUnexpected},
		{"row that is none", [][]byte{w.encode(fabric.KindRow, 0, 0, []byte("row"))}, fabric.ErrMalformed},
		{"row of another", [][]byte{row(fabric.Row{Owner: 3, Incarnation: 1, Version: 1})}, ErrForeignRow},
		{"row of ours", [][]byte{row(fabric.Row{Owner: self, Incarnation: 1, Version: 1})}, ErrForeignRow},
		{"piece of nothing", [][]byte{piece(bulk, 1, 1, 3, total, pieceLen)}, ErrBadPiece},
		{"more than MaxFrame", [][]byte{piece(bulk, 1, 0, 17, 1<<20+1, pieceLen)}, fabric.ErrTooLarge},
		{"more than memory", [][]byte{piece(bulk, 1, 0, math.MaxUint32, math.MaxUint64, pieceLen)}, fabric.ErrTooLarge},
		{"one piece", [][]byte{piece(bulk, 1, 0, 1, 10, 10)}, ErrBadPiece},
		{"too many pieces", [][]byte{piece(bulk, 1, 0, 4, total, pieceLen)}, ErrBadPiece},
		{"short piece", [][]byte{piece(bulk, 1, 0, 3, total, 10)}, ErrBadPiece},
		{"pieces of 0 bytes", [][]byte{piece(bulk, 1, 0, 0, 0, 0)}, ErrBadPiece},
		{"piece twice", [][]byte{piece(bulk, 1, 0, 3, total, pieceLen), piece(bulk, 1, 0, 3, total, pieceLen)}, ErrBadPiece},
		{"piece skipped", [][]byte{piece(bulk, 1, 0, 3, total, pieceLen), piece(bulk, 1, 2, 3, total, 10)}, ErrBadPiece},
		{"piece of another frame", [][]byte{piece(bulk, 1, 0, 3, total, pieceLen), piece(bulk, 2, 1, 3, total, pieceLen)}, ErrBadPiece},
		{"total changes", [][]byte{piece(bulk, 1, 0, 3, total, pieceLen), piece(bulk, 1, 1, 3, total+1, pieceLen)}, ErrBadPiece},
		{"frame between pieces", [][]byte{piece(bulk, 1, 0, 3, total, pieceLen), w.encode(fabric.KindData, bulk, 1, nil)}, ErrBadPiece},
		{"void between pieces", [][]byte{piece(bulk, 1, 0, 3, total, pieceLen), w.encode(fabric.KindVoid, bulk, 1, u64(1))}, ErrBadPiece},
		{"last pieced sequence", [][]byte{piece(bulk, math.MaxUint64, 0, 3, total, pieceLen)}, ErrBadPiece},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{}
			p := newTestPort(t, Config{MaxFrame: 1 << 20}, r)
			far, done := attachReceive(t, p, Session{PeerIncarnation: 1, Checksum: true}, nil)
			go drain(far)
			truth := w.encode(fabric.KindCredit, 0, 0, opens(1))
			for link := range uint64(3) {
				truth = append(truth, frame(link+1)...)
			}
			for _, b := range append([][]byte{truth}, c.lies...) {
				far.Write(b) // fails when the port has seen enough
			}
			<-done
			checkEnd(t, r, Receiving, c.want)
			if got := r.told().events; len(got) != 3 {
				t.Errorf("handler got %+v, want the 3 frames before the lie", got)
			}
			if s := p.Stats(nil)[0]; s.Refused != 1 {
				t.Errorf("Refused is %d, want 1", s.Refused)
			}
			p.mustReceive(t, r) // and the next connection works
		})
	}
}

// checkEnd checks why the one connection ended.
func checkEnd(t *testing.T, r *recorder, d Direction, want error) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ended) != 1 || r.ended[0].Direction != d || !errors.Is(r.ended[0], want) || !errors.Is(r.ended[0], ErrProtocol) {
		t.Fatalf("connections ended: %v; want one, %v, with %v, an ErrProtocol", r.ended, d, want)
	}
}

// mustReceive sees that a new connection of the peer goes on behind the
// frames 1 to 3.
func (p *Port) mustReceive(t *testing.T, r *recorder) {
	t.Helper()
	w := &wire{tb: t, has: fabric.HasCRC}
	opened := append(w.encode(fabric.KindCredit, 0, 0, opens(1, 1, 4)), w.encode(fabric.KindData, fabric.LaneAppend, 4, nil)...)
	far, _ := attachReceive(t, p, Session{PeerIncarnation: 1, Checksum: true}, opened) // as if read with the handshake
	go drain(far)
	r.until(t, "frame 4 arrives", func() bool { return len(r.events) == 4 && r.events[3].first == 4 && r.events[3].gap == 0 })
}

func TestBadOpening(t *testing.T) {
	w := &wire{has: fabric.HasCRC}
	zeroWindow := changed(opens(2), 16, 0, 0, 0, 0, 0, 0, 0, 0)
	cases := []struct {
		name  string
		first []byte // of the second connection; the first one had epoch 2 and brought frame 1
		want  error
	}{
		{"none", w.encode(fabric.KindData, fabric.LaneAppend, 2, nil), ErrBadOpening},
		{"short", w.encode(fabric.KindCredit, 0, 0, opens(2, 1, 2)[:40]), ErrBadOpening},
		{"empty", w.encode(fabric.KindCredit, 0, 0, nil), ErrBadOpening},
		{"epoch 0", w.encode(fabric.KindCredit, 0, 0, opens(0)), ErrBadOpening},
		{"older epoch", w.encode(fabric.KindCredit, 0, 0, opens(1, 1, 2)), ErrBadOpening},
		{"sequence 0", w.encode(fabric.KindCredit, 0, 0, opens(3, 0)), ErrBadOpening},
		{"last sequence", w.encode(fabric.KindCredit, 0, 0, opens(3, math.MaxUint64)), ErrBadOpening},
		{"no window", w.encode(fabric.KindCredit, 0, 0, zeroWindow), ErrBadOpening},
		{"sequence falls", w.encode(fabric.KindCredit, 0, 0, opens(2, 1, 1)), ErrSequence},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{}
			p := newTestPort(t, Config{}, r)
			s := Session{PeerIncarnation: 1, Checksum: true}
			good := append(w.encode(fabric.KindCredit, 0, 0, opens(2)), w.encode(fabric.KindData, fabric.LaneAppend, 1, nil)...)
			far, done := attachReceive(t, p, s, good)
			go drain(far)
			r.until(t, "frame 1 arrives", func() bool { return len(r.events) == 1 })
			far.Close()
			<-done
			r.with(func() { r.ended = nil })
			far, done = attachReceive(t, p, s, c.first)
			go drain(far)
			<-done
			checkEnd(t, r, Receiving, c.want)
			if got := r.told().events; len(got) != 1 {
				t.Errorf("handler got %+v, want frame 1 alone", got)
			}
		})
	}
}

func TestLyingReceiver(t *testing.T) {
	w := &wire{has: fabric.HasCRC}
	// The connection has three frames on the wire in the append lane, and two
	// are acked.
	said := func(change func(*ack)) []byte {
		a := ack{lane: [fabric.Lanes]laneAck{{next: 1}, {next: 3, bytes: 100}, {next: 1}}}
		change(&a)
		return w.encode(fabric.KindAck, 0, 0, a.append(nil))
	}
	same := said(func(*ack) {})
	cases := []struct {
		name string
		lie  []byte
		want error
	}{
		{"never sent", said(func(a *ack) { a.lane[1].next = 5 }), ErrForgedAck},
		{"never sent in another lane", said(func(a *ack) { a.lane[0].next = 2 }), ErrForgedAck},
		{"all there is", said(func(a *ack) { a.lane[1].next = math.MaxUint64 }), ErrForgedAck},
		{"falls", said(func(a *ack) { a.lane[1].next = 2 }), ErrForgedAck},
		{"bytes never sent", said(func(a *ack) { a.lane[1].bytes = 1 << 20 }), ErrForgedAck},
		{"bytes fall", said(func(a *ack) { a.lane[1].bytes = 99 }), ErrForgedAck},
		{"row never sent", said(func(a *ack) { a.rows = 1 }), ErrForgedAck},
		{"falls in one batch", append(said(func(a *ack) { a.lane[1].next = 4 }), same...), ErrForgedAck},
		{"short", w.encode(fabric.KindAck, 0, 0, u64(1)), ErrForgedAck},
		{"frame", w.encode(fabric.KindData, fabric.LaneAppend, 1, nil), ErrUnexpected},
		{"row", w.encode(fabric.KindRow, 0, 0, nil), ErrUnexpected},
		{"opening", w.encode(fabric.KindCredit, 0, 0, nil), ErrUnexpected},
		{"keep-alive never sent", w.encode(fabric.KindKeepalive, 0, 0, u64(math.MaxInt64)), ErrForgedAck},
		{"keep-alive of no time", w.encode(fabric.KindKeepalive, 0, 0, u64(math.MaxUint64)), ErrForgedAck},
		{"keep-alive without a number", w.encode(fabric.KindKeepalive, 0, 0, nil), ErrForgedAck},
		{"magic", changed(same, 0, 'G'), fabric.ErrMalformed},
		{"corrupted", changed(said(func(*ack) {}), 50, 0xff), fabric.ErrChecksum},
		{"no checksum", (&wire{}).encode(fabric.KindAck, 0, 0, (&ack{}).append(nil)), ErrUnprotected},
		{"huge body", changed(said(func(*ack) {}), 12, 0xff, 0xff, 0xff, 0x7f), fabric.ErrTooLarge},
		{"larger than any", w.encode(fabric.KindAck, 0, 0, make([]byte, maxHopBody+1)), fabric.ErrTooLarge},
		{"largest header", changed(make([]byte, fabric.MaxHeader), 0, 'd', 'V', fabric.Major, 0, 0, 0x20, 4), fabric.ErrMalformed},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r := &recorder{}
			p := newTestPort(t, Config{}, r)
			far, done := attachSend(t, p, Session{PeerIncarnation: 1, Checksum: true})
			in := &wire{tb: t, c: far}
			for i := range uint64(3) {
				mustSend(t, p, frameTo(mate, fabric.LaneAppend, i+1, []byte("body")))
			}
			for range 3 {
				in.next(fabric.KindData)
			}
			go drain(far)
			far.Write(said(func(*ack) {}))
			r.until(t, "two frames are acked", func() bool { return len(r.settled) == 2 })
			far.Write(c.lie)
			<-done
			checkEnd(t, r, Sending, c.want)
			r.until(t, "the link is down", func() bool { return len(r.links) == 2 })
			if last := r.told().links[1]; last.Up || !errors.Is(last.Err, c.want) {
				t.Errorf("link is %+v, want down with %v", last, c.want)
			}
			checkThirdLost(t, r, c.want)
		})
	}
}

// checkThirdLost: what was acked stays so, the rest is lost once (F2).
func checkThirdLost(t *testing.T, r *recorder, want error) {
	t.Helper()
	settled := r.told().settled
	for i, s := range settled[:min(3, len(settled))] {
		if s.Ticket != uint64(i+1) || s.Acked() != (i < 2) {
			t.Errorf("resolution %d is %+v", i, s)
		}
	}
	if len(settled) != 3 || !errors.Is(settled[2].Err, fabric.ErrLost) || !errors.Is(settled[2].Err, want) {
		t.Errorf("resolutions %+v, want two acked and one lost with %v", settled, want)
	}
}

// An honest receiver, for comparison: nothing of the above ends its connection.
func TestHonestReceiver(t *testing.T) {
	r := &recorder{}
	p := newTestPort(t, Config{}, r)
	far, _ := attachSend(t, p, Session{PeerIncarnation: 1, Checksum: true})
	w := &wire{tb: t, c: far, has: fabric.HasCRC}
	o, ok := parseOpening(w.next(fabric.KindCredit).Body)
	if !ok || o.lane[fabric.LaneAppend] != (laneOpening{1, defaultAppendWindow, defaultFrames}) {
		t.Fatalf("opening %+v", o)
	}
	echo := w.next(fabric.KindKeepalive)
	a := ack{lane: [fabric.Lanes]laneAck{{next: 1}, {next: 1}, {next: 1}}}
	for i := range uint64(50) {
		mustSend(t, p, frameTo(mate, fabric.LaneAppend, i+1, []byte("body")))
		f := w.next(fabric.KindData)
		a.lane[fabric.LaneAppend].next = f.Link + 1
		a.lane[fabric.LaneAppend].bytes += uint64(fabric.FrameSize(&f.Header, f.Patch, f.Body))
		w.write(fabric.KindAck, 0, 0, a.append(nil))
	}
	w.write(fabric.KindKeepalive, 0, 0, echo.Body)
	r.until(t, "all are acked", func() bool { return len(r.settled) == 50 && r.lost() == 0 })
	if got := r.told().ended; len(got) != 0 {
		t.Errorf("ended: %v", got)
	}
	await(t, "round trips are measured", func() bool {
		s := p.Stats(nil)[0]
		return s.RTT > 0 && s.Lane[fabric.LaneAppend].RTT > 0
	})
}
