//go:build linux

package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// fuzzHandler checks what no content of the memory may lead to.
type fuzzHandler struct {
	p    *Port
	next [fabric.Lanes]uint64
	rows uint64
	bad  string
}

func (h *fuzzHandler) fail(format string, args ...any) { h.bad = fmt.Sprintf(format, args...) }

func (h *fuzzHandler) Deliver(from fabric.MemberID, frames []fabric.Frame) {
	for i := range frames {
		f := &frames[i]
		if from != mate || f.Lane >= fabric.Lanes || f.Link != h.next[f.Lane] {
			h.fail("frame %d of lane %d, from %s", f.Link, f.Lane, from)
			return
		}
		h.next[f.Lane]++
		if n := len(f.Patch) + len(f.Body); n > h.p.cfg.MaxFrame || len(f.Body) != int(f.BodyLen) || f.Has&fabric.HasFragment != 0 {
			h.fail("frame %d of %d bytes, header %+v", f.Link, n, f.Header)
		}
		if !f.Kind.Sendable() || f.Kind == fabric.KindVoid {
			h.fail("frame of kind %d", f.Kind)
		}
	}
}

func (h *fuzzHandler) Gap(_ fabric.MemberID, g fabric.Gap) {
	if g.Count != 1 || g.First != h.next[g.Lane] {
		h.fail("gap %+v, expected %d", g, h.next[g.Lane])
	}
	h.next[g.Lane]++
}

func (h *fuzzHandler) Row(_ fabric.MemberID, r fabric.Row) {
	if r.Owner != mate || len(r.Sections) > fabric.MaxRowSections {
		h.fail("row of %s with %d bytes", r.Owner, len(r.Sections))
	}
	h.rows++
}

func (h *fuzzHandler) Resolve([]fabric.Resolution)            {}
func (h *fuzzHandler) Link(fabric.MemberID, fabric.LinkState) {}

// fuzzWorld is the receiving half of a session, without processes and sockets.
// What a peer writes, the test writes.
type fuzzWorld struct {
	p  *Port
	pe *peer
	s  *session
	h  *fuzzHandler
	d  *deliverer
}

func newFuzzWorld() *fuzzWorld {
	cfg := Config{Self: self, MaxFrame: 6000, SlotSize: minSlot, Slots: [fabric.Lanes]int{4, 4, 4}}.withDefaults()
	h := &fuzzHandler{next: [fabric.Lanes]uint64{1, 1, 1}}
	p := &Port{cfg: cfg, shape: cfg.geometry(), handler: h}
	h.p = p
	heap := func(n int) *memory { return &memory{b: make([]byte, n), fd: -1} }
	pe := &peer{port: p, id: mate, recvInc: 1, recv: h.next, send: h.next}
	s := newSession(nil, heap(p.shape.size()), heap(p.shape.size()), heap(bellLen), -1, p.shape,
		&hello{shape: p.shape, next: h.next, fromInc: 1})
	pe.sess, pe.told = s, s
	return &fuzzWorld{p, pe, s, h, newDeliverer(cfg.SlotSize)}
}

// writer is the peer's end of a lane.
func (w *fuzzWorld) writer(lane int) ringWriter {
	r := newRingWriter(w.p.shape.ring(w.s.own.b, lane), w.p.shape.slot)
	r.head = w.s.in[lane].ring.tail
	return r
}

// FuzzSegment plays a peer that writes anything at all to the segment: raw
// bytes, well-formed slots with any content, well-formed frames with any
// header, rows, credit. The port must neither crash nor read beyond, nor deliver
// what breaks its contract; what it finds wrong is the peer's fault, by type.
func FuzzSegment(f *testing.F) {
	frame := fabric.AppendFrame(nil, &fabric.Header{Kind: fabric.KindData, Link: 1}, []byte("patch"), []byte("body"))
	piece := fabric.AppendFrame(nil, &fabric.Header{Kind: fabric.KindData, Link: 1, Has: fabric.HasFragment, Fragment: fabric.Fragment{Count: 2, Total: 8}}, nil, []byte("body"))
	row := fabric.AppendRow(nil, &fabric.Row{Owner: mate, Incarnation: 1, Version: 1})
	for _, seed := range [][]byte{frame, piece, row, {}} {
		f.Add(append([]byte{1, 0, byte(len(seed)), 0}, seed...))
		f.Add(append([]byte{4, 0, byte(len(seed)), 0}, seed...))
	}
	f.Add([]byte{2, 0, 8, 0, 1, 1, 0, 0, 0, 0, 9, 9, 2, 1, 8, 0, 1, 1, 0, 0, 0, 0, 9, 9})
	f.Add([]byte{0, 0, 8, 0, 0xf8, 0x07, 1, 0, 1, 0, 9, 9, 3, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		w := newFuzzWorld()
		for len(data) >= 4 {
			op, lane := data[0], int(data[1])%fabric.Lanes
			n := min(int(binary.LittleEndian.Uint16(data[2:]))%(minSlot+64), len(data)-4)
			arg := data[4 : 4+n]
			data = data[4+n:]
			w.write(op, lane, arg)
			if !w.look(t) {
				return
			}
		}
	})
}

// write is one thing that a peer does.
func (w *fuzzWorld) write(op byte, lane int, arg []byte) {
	own := w.s.own.b
	switch op % 6 {
	case 0: // raw bytes anywhere in a ring
		if len(arg) > 2 {
			ring := w.p.shape.ring(own, lane)
			copy(ring[int(binary.LittleEndian.Uint16(arg))%len(ring):], arg[2:])
		}
	case 1: // any content
		r := w.writer(lane)
		r.put(arg[:min(len(arg), room(minSlot))])
	case 2: // any frame
		w.writeFrame(lane, arg)
	case 3: // credit
		if len(arg) >= 8 {
			word64(own, lane*line).Store(binary.LittleEndian.Uint64(arg))
		}
	case 4: // a row
		r := rowWriter{segment: own, version: word64(own, rowWordAt).Load() &^ 1}
		r.put(arg[:min(len(arg), maxRowLen)])
	case 5: // raw bytes at the front
		copy(own[int(op/6)*8:], arg)
	}
}

func (w *fuzzWorld) writeFrame(lane int, arg []byte) {
	if len(arg) < 6 {
		return
	}
	h := fabric.Header{
		Kind: fabric.Kind(arg[0]%8 + 1), Lane: fabric.Lane(arg[1] % fabric.Lanes), Class: fabric.Class(arg[1] >> 6),
		Link: w.pe.recv[lane] + uint64(arg[2]%2),
	}
	if arg[3]&1 != 0 {
		h.Has |= fabric.HasFragment
		h.Fragment = fabric.Fragment{Index: uint32(arg[4] % 4), Count: uint32(arg[5] % 5), Total: uint64(arg[3])}
	}
	if arg[3]&2 != 0 {
		h.Has |= fabric.HasStamp
	}
	patch, body := arg[6:6+min(int(arg[4]>>4), len(arg)-6)], arg[6:]
	r := w.writer(lane)
	if fabric.FrameSize(&h, patch, body) <= room(minSlot) {
		r.putFrame(&h, patch, body)
	}
}

// look takes in what there is, and reports whether the session goes on.
func (w *fuzzWorld) look(t *testing.T) bool {
	_, err := w.s.collect(0, w.pe, nil)
	for n := 0; err == nil && w.s.hasWork(); n++ {
		if n > 1000 {
			t.Fatal("there is no end to what the memory holds")
		}
		_, err = w.d.handOver(w.pe, w.s)
	}
	if w.h.bad != "" {
		t.Fatal(w.h.bad)
	}
	if err != nil && !errors.Is(err, ErrProtocol) {
		t.Fatalf("an error that does not say whose fault it is: %v", err)
	}
	return err == nil
}

func FuzzHello(f *testing.F) {
	h := hello{from: 1, to: 2, fromInc: 3, toInc: 4, shape: geometry{minSlot, [fabric.Lanes]int{9, 9, 9}, 6000}, next: [fabric.Lanes]uint64{1, 1, 1}}
	f.Add(h.encode(testKey))
	f.Add(refusal(ErrNotYetUp))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHello(b)
		if err != nil {
			if !errors.Is(err, ErrProtocol) && !errors.Is(err, ErrRefused) {
				t.Errorf("an untyped error: %v", err)
			}
			return
		}
		if n := h.shape.size(); n <= 0 || n > maxSegment+page {
			t.Errorf("a segment of %d bytes", n)
		}
		again := h.encode(testKey)
		if string(again[:proofAt]) != string(b[:proofAt]) {
			t.Error("a hello has two encodings")
		}
		checkProof(b, testKey)
	})
}
