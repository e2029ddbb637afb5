package shm

import (
	"encoding/binary"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// A ring is a row of slots that one sender writes in turn, and one receiver
// takes in turn. Slot i of the k-th round has generation k: a receiver that
// looks at the place of the valid word sees whether the content is the one it
// waits for. See package fabric on slots.

// refAt names the n-th content of a ring, counted from 0.
func refAt(n uint64, slots int) fabric.SlotRef {
	const generations = 1<<16 - 1
	return fabric.NewSlotRef(uint16(n%uint64(slots)), uint16(n/uint64(slots)%generations)+1)
}

// ringWriter is the sender's end.
type ringWriter struct {
	mem   []byte
	slot  int
	slots int
	head  uint64 // slots written
	taken uint64 // of these the receiver has taken in
}

func newRingWriter(mem []byte, slot int) ringWriter {
	return ringWriter{mem: mem, slot: slot, slots: len(mem) / slot}
}

func (w *ringWriter) free() int { return w.slots - int(w.head-w.taken) }

// credit notes how many slots the receiver says it has taken in.
func (w *ringWriter) credit(taken uint64) error {
	if taken < w.taken || taken > w.head {
		return fmt.Errorf("%w: %d slots taken in, after %d and of %d", ErrForgedCredit, taken, w.taken, w.head)
	}
	w.taken = taken
	return nil
}

// begin returns the memory for content of n bytes in the next slot, which is
// free: what fabric.AppendSlot describes, from the length to the valid word.
func (w *ringWriter) begin(n int) []byte {
	end := (int(w.head%uint64(w.slots)) + 1) * w.slot
	return w.mem[end-fabric.SlotLen(n) : end]
}

// commit completes a slot. The content becomes visible with the store of the
// valid word, whole: whoever dies before it has written nothing.
func (w *ringWriter) commit(b []byte, n int) {
	ref := uint64(refAt(w.head, w.slots))
	binary.LittleEndian.PutUint64(b, uint64(n)|ref<<32)
	last := len(b) - validLen
	clear(b[validLen+n : last])
	word64(b, last).Store(ref | uint64(n)<<32)
	w.head++
}

// validLen is the size of the valid word, and of what stands before the content.
const validLen = 8

// put writes one slot.
func (w *ringWriter) put(content []byte) {
	b := w.begin(len(content))
	copy(b[validLen:], content)
	w.commit(b, len(content))
}

// ringReader is the receiver's end.
type ringReader struct {
	mem   []byte
	slot  int
	slots int
	tail  uint64 // slots taken in
}

func newRingReader(mem []byte, slot int) ringReader {
	return ringReader{mem: mem, slot: slot, slots: len(mem) / slot}
}

func (r *ringReader) validWord() uint64 {
	return word64(r.mem, (int(r.tail%uint64(r.slots))+1)*r.slot-validLen).Load()
}

// pending reports whether a valid word holds the content before want, or none.
func pending(word uint64, want fabric.SlotRef) bool {
	ref := fabric.SlotRef(word)
	return word == 0 || ref.Generation() != 0 && ref.Next() == want
}

// ready reports whether take has something to say.
func (r *ringReader) ready() bool {
	return !pending(r.validWord(), refAt(r.tail, r.slots))
}

// take appends the next slot to buf, which has room for one, and returns its
// content in it: a copy, so that its sender cannot change what was checked.
// ErrShort: there is none yet.
func (r *ringReader) take(buf []byte) (_, content []byte, err error) {
	word, want := r.validWord(), refAt(r.tail, r.slots)
	if pending(word, want) {
		return buf, nil, fabric.ErrShort
	}
	n := word >> 32
	if ref := fabric.SlotRef(word); ref != want || n > uint64(r.slot-fabric.SlotOverhead) {
		return buf, nil, fmt.Errorf("%w: %v of %d bytes where %v is due, in a slot of %d", ErrBadSlot, ref, n, want, r.slot)
	}
	end, size, start := (int(r.tail%uint64(r.slots))+1)*r.slot, fabric.SlotLen(int(n)), len(buf)
	buf = append(buf, r.mem[end-size:end-validLen]...)
	buf = binary.LittleEndian.AppendUint64(buf, word)
	content, err = fabric.ParseSlot(buf[start:], want)
	if err != nil {
		return buf[:start], nil, fmt.Errorf("%w: %w", ErrBadSlot, err)
	}
	r.tail++
	return buf, content, nil
}
