//go:build linux

package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/raftdv/dv/fabric"
)

func testRing(slots int) (ringWriter, ringReader) {
	mem := make([]byte, slots*minSlot)
	return newRingWriter(mem, minSlot), newRingReader(mem, minSlot)
}

func TestRingKeepsContentAndOrder(t *testing.T) {
	w, r := testRing(5)
	rng := rand.New(rand.NewPCG(1, 1))
	var sent [][]byte
	var buf []byte
	for range 2000 {
		for range rng.IntN(6) {
			if w.free() == 0 {
				break
			}
			b := make([]byte, rng.IntN(room(minSlot)+1))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			w.put(b)
			sent = append(sent, b)
		}
		for range rng.IntN(6) {
			if r.ready() != (len(sent) > 0) {
				t.Fatalf("ready is %v with %d slots written", r.ready(), len(sent))
			}
			var got []byte
			var err error
			buf, got, err = r.take(buf[:0])
			if len(sent) == 0 {
				if !errors.Is(err, fabric.ErrShort) {
					t.Fatalf("an empty ring: %v", err)
				}
				break
			}
			if err != nil || !bytes.Equal(got, sent[0]) {
				t.Fatalf("content of %d bytes, %v; want %d", len(got), err, len(sent[0]))
			}
			sent = sent[1:]
		}
		if err := w.credit(r.tail); err != nil {
			t.Fatal(err)
		}
	}
}

// The generation of a slot has 16 bits; a ring goes on beyond them.
func TestRingOutlivesItsGenerations(t *testing.T) {
	w, r := testRing(1)
	var buf []byte
	for n := range uint64(1<<16 + 100) {
		if r.ready() {
			t.Fatalf("content %d is there before it was written", n)
		}
		w.put(binary.LittleEndian.AppendUint64(nil, n))
		var got []byte
		var err error
		if buf, got, err = r.take(buf[:0]); err != nil || binary.LittleEndian.Uint64(got) != n {
			t.Fatalf("content %d: %x, %v", n, got, err)
		}
		w.taken++
	}
}

func TestSlotIsThatOfPackageFabric(t *testing.T) {
	w, _ := testRing(3)
	for n := range uint64(7) {
		content := bytes.Repeat([]byte{byte(n)}, int(n*50))
		w.put(content)
		want := fabric.AppendSlot(nil, refAt(n, 3), content)
		end := (int(n%3) + 1) * minSlot
		if got := w.mem[end-len(want) : end]; !bytes.Equal(got, want) {
			t.Errorf("slot %d differs from fabric.AppendSlot", n)
		}
		w.taken++
	}
}

// P: bytes that no sender writes are refused, and never crash.
func TestRingRefusesWhatNoSenderWrites(t *testing.T) {
	word := func(r *ringReader, ref fabric.SlotRef, n uint32) {
		binary.LittleEndian.PutUint64(r.mem[minSlot-8:], uint64(n)<<32|uint64(ref))
	}
	first := refAt(0, 4)
	for name, tc := range map[string]struct {
		spoil func(*ringWriter, *ringReader)
		want  error
	}{
		"nothing":               {func(*ringWriter, *ringReader) {}, fabric.ErrShort},
		"no valid word yet":     {func(w *ringWriter, _ *ringReader) { w.put([]byte{1}); clear(w.mem[minSlot-8 : minSlot]) }, fabric.ErrShort},
		"a generation too soon": {func(_ *ringWriter, r *ringReader) { word(r, first.Next().Next(), 8) }, ErrBadSlot},
		"generation 0":          {func(_ *ringWriter, r *ringReader) { word(r, fabric.NewSlotRef(3, 0), 8) }, ErrBadSlot},
		"another slot's":        {func(_ *ringWriter, r *ringReader) { word(r, refAt(1, 4), 8) }, ErrBadSlot},
		"longer than its slot":  {func(_ *ringWriter, r *ringReader) { word(r, first, minSlot-fabric.SlotOverhead+1) }, ErrBadSlot},
		"longest length":        {func(_ *ringWriter, r *ringReader) { word(r, first, 1<<32-1) }, ErrBadSlot},
		"no header":             {func(_ *ringWriter, r *ringReader) { word(r, first, 8) }, ErrBadSlot},
		"another length first": {func(w *ringWriter, r *ringReader) {
			w.put(make([]byte, 100))
			r.mem[minSlot-fabric.SlotLen(100)]++
		}, ErrBadSlot},
		"padding": {func(w *ringWriter, r *ringReader) { w.put(make([]byte, 100)); r.mem[minSlot-9] = 1 }, ErrBadSlot},
	} {
		t.Run(name, func(t *testing.T) {
			w, r := testRing(4)
			tc.spoil(&w, &r)
			if _, _, err := r.take(nil); !errors.Is(err, tc.want) {
				t.Errorf("%v, want %v", err, tc.want)
			}
			if r.tail != 0 {
				t.Error("it was taken in")
			}
			if bad := errors.Is(tc.want, ErrProtocol); bad != r.ready() {
				t.Errorf("ready is %v", r.ready())
			}
		})
	}
}

func TestForgedCreditIsRefused(t *testing.T) {
	w, _ := testRing(4)
	for range 3 {
		w.put(nil)
	}
	for _, ok := range []uint64{0, 1, 1, 3} {
		if err := w.credit(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []uint64{2, 4, 1 << 63} {
		if err := w.credit(bad); !errors.Is(err, ErrForgedCredit) || !errors.Is(err, ErrProtocol) {
			t.Errorf("credit %d: %v", bad, err)
		}
	}
}

func TestPiecesFit(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 3000 {
		slot := minSlot + rng.IntN(64)*line
		h := fabric.Header{Kind: fabric.KindData}
		if rng.IntN(2) == 0 {
			h.Has, h.Stamp = fabric.HasStamp, fabric.Stamp{Time: 1}
		}
		patch, body := make([]byte, rng.IntN(fabric.MaxPatch+1)), make([]byte, rng.IntN(5*slot))
		n, first := piecesFor(slot, &h, patch, body)
		if least := leastSlots(max(len(patch)+len(body), 1), slot); n > least {
			t.Fatalf("%d bytes take %d slots of %d; leastSlots says %d", len(patch)+len(body), n, slot, least)
		}
		mem := make([]byte, n*slot)
		w, r := newRingWriter(mem, slot), newRingReader(mem, slot)
		if n == 1 {
			w.putFrame(&h, patch, body)
		} else {
			w.putPieces(&h, patch, body, n, first)
		}
		if w.head != uint64(n) {
			t.Fatalf("%d slots written, announced %d", w.head, n)
		}
		var m partial
		for i := range n {
			_, content, err := r.take(nil)
			if err != nil {
				t.Fatal(err)
			}
			var f fabric.Frame
			if _, err := fabric.ParseFrame(content, 1<<20, &f); err != nil {
				t.Fatal(err)
			}
			if n == 1 {
				break
			}
			if whole, err := m.add(&f, len(patch)+len(body)); err != nil || whole != (i == n-1) {
				t.Fatalf("piece %d of %d: %v, %v", i, n, whole, err)
			}
		}
		if n > 1 {
			if f := m.take(); !bytes.Equal(f.Body, body) || !bytes.Equal(f.Patch, patch) && len(patch) > 0 || f.Has&fabric.HasFragment != 0 {
				t.Fatal("the frame is not what was written")
			}
		}
	}
}

func TestRowSlot(t *testing.T) {
	segment := make([]byte, page)
	w, r := rowWriter{segment: segment}, rowReader{segment: segment}
	if b, err := r.take(); b != nil || err != nil || r.news() {
		t.Fatalf("an empty slot: %x, %v", b, err)
	}
	for n := 0; n <= maxRowLen; n++ {
		row := bytes.Repeat([]byte{byte(n) | 1}, n)
		w.put(bytes.Repeat([]byte{0xee}, maxRowLen))
		w.put(row)
		if !r.news() {
			t.Fatal("no news")
		}
		if b, err := r.take(); err != nil || !bytes.Equal(b, row) {
			t.Fatalf("row of %d bytes: %d, %v", n, len(b), err)
		}
		if b, err := r.take(); b != nil || err != nil || r.news() {
			t.Fatalf("the same row again: %x, %v", b, err)
		}
	}
}

func TestRowWriterDiesMidWrite(t *testing.T) {
	segment := make([]byte, page)
	w, r := rowWriter{segment: segment}, rowReader{segment: segment}
	w.put([]byte("whole"))
	word64(segment, rowWordAt).Store(w.version + 1) // and no further
	copy(segment[rowBytesAt+8:], "halfway")
	if b, err := r.take(); b != nil || err != nil || r.news() {
		t.Errorf("half a row was read: %q, %v", b, err)
	}
	w.put([]byte("next"))
	if b, err := r.take(); string(b) != "next" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

func TestRowThatLiesAboutItsLength(t *testing.T) {
	segment := make([]byte, page)
	r := rowReader{segment: segment}
	for i, n := range []uint64{maxRowLen + 1, 1 << 32, 1<<64 - 1} {
		word64(segment, rowBytesAt).Store(n)
		word64(segment, rowWordAt).Store(uint64(2*i + 2))
		if _, err := r.take(); !errors.Is(err, ErrBadRow) {
			t.Errorf("length %d: %v", n, err)
		}
	}
}

// A reader that runs beside the writer sees whole rows only.
func TestRowIsNeverTorn(t *testing.T) {
	segment := make([]byte, page)
	w, r := rowWriter{segment: segment}, rowReader{segment: segment}
	const rows = 20000
	done := make(chan struct{})
	go func() {
		defer close(done)
		row := make([]byte, 0, maxRowLen)
		for n := range uint64(rows) {
			row = row[:0]
			for range 1 + n%100 {
				row = binary.LittleEndian.AppendUint64(row, n)
			}
			w.put(row)
		}
	}()
	last, seen := uint64(0), 0
	for stop := false; !stop; {
		select {
		case <-done:
			stop = true
		default:
		}
		b, err := r.take()
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			continue
		}
		n := binary.LittleEndian.Uint64(b)
		if len(b) != 8*int(1+n%100) || strings.Count(string(b), string(b[:8])) < len(b)/8 || n < last {
			t.Fatalf("row %d after %d is torn: %d bytes", n, last, len(b))
		}
		last, seen = n, seen+1
	}
	if last != rows-1 {
		t.Errorf("the last row seen is %d of %d", last, rows)
	}
	t.Logf("%d of %d rows seen", seen, rows)
}
