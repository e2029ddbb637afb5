package fabric

import (
	"encoding/binary"
	"fmt"
)

// A slot is a place in a receiver's memory that one sender writes to while
// nobody runs there to take it in. Its size is a multiple of SlotAlign, and so
// is its address. What is written ends where the slot ends, and is as short as
// its content allows; little-endian:
//
//	offset  size  field
//	     0     4  n, the length of the content
//	     4     4  reference: index (low 16 bits), generation (high 16 bits)
//	     8     n  content: a frame
//	   8+n     p  padding (zero), so that the whole is a multiple of 64
//	 8+n+p     4  reference  }  the valid word: aligned to 8,
//	12+n+p     4  n          }  the last 8 bytes of the slot
//
// The valid word must become visible last, whole, and after everything else:
// where a fabric places the bytes of one write in rising order, one write does
// it, elsewhere the word is a write of its own behind a fence. A receiver in
// the same memory loads the word atomically, and only then calls ParseSlot.
//
// A slot's first content has generation 1, each further one the next (after
// the last comes 1 again). So a slot that was never written (all zero), or is
// being written, or whose new content is on its way, is told from one that
// holds what is waited for, whatever bytes the former contents had: only valid
// words are ever written to the place of the valid word. (A valid word right
// behind its content, found by the length, has no such place: stale content
// can look like one.)
//
// Whether a slot may be written again is not its own affair: the sender has
// credit for it, or has not. A sender that breaks this can change content while
// it is read; where senders are not trusted, copy first and parse the copy.
const (
	// SlotAlign is the unit of slots in bytes: a cache line.
	SlotAlign = 64
	// SlotOverhead is what a slot holds besides content and padding.
	SlotOverhead = slotHeaderLen + validWordLen
	// MaxSlotContent is one frame of any size.
	MaxSlotContent = MaxHeader + MaxBody

	slotHeaderLen = 8
	validWordLen  = 8
)

// SlotRef names one content of one slot: its index among the slots that one
// sender writes, and its generation. It fits the immediate of a one-sided
// write. 0 names nothing.
type SlotRef uint32

// NewSlotRef names the content of a slot. Generation 0 names nothing.
func NewSlotRef(index, generation uint16) SlotRef {
	return SlotRef(generation)<<16 | SlotRef(index)
}

// Index is the slot's.
func (r SlotRef) Index() uint16 { return uint16(r) }

// Generation counts the contents of a slot, from 1.
func (r SlotRef) Generation() uint16 { return uint16(r >> 16) }

// Next names the next content of the same slot.
func (r SlotRef) Next() SlotRef {
	return NewSlotRef(r.Index(), max(1, r.Generation()+1))
}

// String prints index and generation.
func (r SlotRef) String() string { return fmt.Sprintf("slot %d.%d", r.Index(), r.Generation()) }

// SlotLen is the number of bytes that AppendSlot adds for content of n bytes,
// and the size of the smallest slot that holds it.
func SlotLen(n int) int { return (n + SlotOverhead + SlotAlign - 1) &^ (SlotAlign - 1) }

// AppendSlot appends what is to be written for content: its last byte belongs
// to the last byte of the slot. It panics on a reference that names nothing and
// on content beyond MaxSlotContent.
func AppendSlot(dst []byte, ref SlotRef, content []byte) []byte {
	n := len(content)
	if ref.Generation() == 0 || n > MaxSlotContent {
		panic(fmt.Sprintf("fabric: %d bytes for %v", n, ref))
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(n))
	dst = le.AppendUint32(dst, uint32(ref))
	dst = append(dst, content...)
	for range SlotLen(n) - SlotOverhead - n {
		dst = append(dst, 0)
	}
	dst = le.AppendUint32(dst, uint32(ref))
	return le.AppendUint32(dst, uint32(n))
}

// ParseSlot returns the content named want, which then points into slot: the
// slot's memory, whole. It is ErrShort as long as the slot holds the content
// before it or none, and ErrMalformed if its sender did not keep to the form or
// wrote what is not due.
func ParseSlot(slot []byte, want SlotRef) (content []byte, err error) {
	if len(slot) == 0 || len(slot)%SlotAlign != 0 || want.Generation() == 0 {
		return nil, fmt.Errorf("%w: %v in %d bytes: no slot, or no reference", ErrMalformed, want, len(slot))
	}
	le := binary.LittleEndian
	word := le.Uint64(slot[len(slot)-validWordLen:])
	switch ref := SlotRef(word); {
	case word == 0 || ref.Generation() != 0 && ref.Next() == want:
		return nil, ErrShort
	case ref != want:
		return nil, fmt.Errorf("%w: %v where %v is due", ErrMalformed, ref, want)
	}
	n := word >> 32
	if n > uint64(len(slot)-SlotOverhead) || n > MaxSlotContent {
		return nil, fmt.Errorf("%w: %v of %d bytes says that its content has %d", ErrMalformed, want, len(slot), n)
	}
	b := slot[len(slot)-SlotLen(int(n)):]
	if first := le.Uint64(b); first != n|uint64(want)<<32 {
		return nil, fmt.Errorf("%w: %v starts with %#x, not with its length %d and itself", ErrMalformed, want, first, n)
	}
	end := slotHeaderLen + int(n)
	for _, x := range b[end : len(b)-validWordLen] {
		if x != 0 {
			return nil, fmt.Errorf("%w: padding of %v is not zero", ErrMalformed, want)
		}
	}
	return b[slotHeaderLen:end:end], nil
}
