package stream

import (
	"testing"

	"github.com/raftdv/dv/fabric"
)

// Whatever a peer writes, the port does not panic, does not grow beyond its
// bounds, and hands over sequences without a hole.

// contiguous is a handler that checks what it gets.
type contiguous struct {
	quiet
	t    *testing.T
	next [fabric.Lanes]uint64
}

func (h *contiguous) Deliver(_ fabric.MemberID, frames []fabric.Frame) {
	for i := range frames {
		f := &frames[i]
		if f.Link != h.next[f.Lane] {
			h.t.Errorf("frame %d in %v, want %d", f.Link, f.Lane, h.next[f.Lane])
		}
		h.next[f.Lane] = f.Link + 1
	}
}

func (h *contiguous) Gap(_ fabric.MemberID, g fabric.Gap) {
	if g.First != h.next[g.Lane] || g.Count == 0 {
		h.t.Errorf("gap %+v, want one from %d", g, h.next[g.Lane])
	}
	h.next[g.Lane] = g.First + g.Count
}

func FuzzReceive(f *testing.F) {
	w := &wire{has: fabric.HasCRC}
	opened := w.encode(fabric.KindCredit, 0, 0, opens(1))
	for _, b := range [][]byte{
		w.encode(fabric.KindData, 1, 1, []byte("body")), w.encode(fabric.KindVoid, 1, 1, u64(7)),
		w.encode(fabric.KindKeepalive, 0, 0, u64(9)), piece(2, 1, 0, 2, pieceLen+1, pieceLen),
		w.encode(fabric.KindRow, 0, 0, fabric.AppendRow(nil, &fabric.Row{Owner: mate, Version: 1})),
	} {
		f.Add(append(append([]byte(nil), opened...), b...), false)
		f.Add(append(append([]byte(nil), opened...), b...), true)
	}
	const maxFrame = 1 << 20
	f.Fuzz(func(t *testing.T, b []byte, checksum bool) {
		h := &contiguous{t: t, next: [fabric.Lanes]uint64{1, 1, 1}}
		p, err := New(Config{Self: self, Incarnation: 1, MaxFrame: maxFrame}, h)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.AddPeer(mate)
		near, far := bufferedPipe()
		done, err := p.AttachReceive(mate, Session{PeerIncarnation: 1, Checksum: checksum}, near, nil)
		if err != nil {
			t.Fatal(err)
		}
		q := p.peer(mate)
		q.mu.Lock()
		c := q.recv
		q.mu.Unlock()
		go drain(far)
		for len(b) > 0 { // in parts, as a network does
			n := min(len(b), 1000)
			if _, err := far.Write(b[:n]); err != nil {
				break
			}
			b = b[n:]
		}
		far.Close()
		<-done
		if len(c.buf) != readLen {
			t.Errorf("the reader's buffer grew to %d bytes", len(c.buf))
		}
	})
}

func FuzzAcks(f *testing.F) {
	w := &wire{}
	good := ack{lane: [fabric.Lanes]laneAck{{next: 1}, {next: 3, bytes: 40}, {next: 1}}}
	f.Add(w.encode(fabric.KindAck, 0, 0, good.append(nil)))
	f.Add(w.encode(fabric.KindKeepalive, 0, 0, u64(1)))
	f.Add(w.encode(fabric.KindData, 0, 0, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &recorder{}
		p, err := New(Config{Self: self, Incarnation: 1}, r)
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		p.AddPeer(mate)
		near, far := bufferedPipe()
		done, err := p.AttachSend(mate, Session{PeerIncarnation: 1}, near, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint64(5) {
			mustSend(t, p, frameTo(mate, fabric.LaneAppend, i+1, nil))
		}
		far.Write(b)
		far.Close()
		<-done
		seen := map[uint64]bool{}
		for _, s := range r.told().settled {
			if seen[s.Ticket] {
				t.Errorf("ticket %d resolved twice", s.Ticket)
			}
			seen[s.Ticket] = true
		}
		if len(seen) != 5 {
			t.Errorf("%d of 5 tickets resolved", len(seen))
		}
	})
}
