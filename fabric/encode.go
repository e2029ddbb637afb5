package fabric

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func pad8(n int) int { return (n + 7) &^ 7 }

// FrameSize is the number of bytes that AppendFrame adds.
func FrameSize(h *Header, patch, body []byte) int {
	return headerSize(h, sectionsOf(h, patch), len(patch)) + len(body)
}

// sectionsOf is h.Has, with the patch's bit as patch wants it: h may come from
// another frame.
func sectionsOf(h *Header, patch []byte) Sections {
	if len(patch) > 0 {
		return h.Has | HasPatch
	}
	return h.Has &^ HasPatch
}

// fixedSizes of the sections by bit; 0 for variable ones.
var fixedSizes = [...]uint8{48, 16, 16, 0, 0, 16, 0, 8 + DigestLen, 8 + DigestLen, MACLen, 8, 0}

func headerSize(h *Header, has Sections, patch int) int {
	n := preludeLen
	if has&HasPatch != 0 {
		n += pad8(2 + patch)
	}
	if has &= knownSections &^ HasPatch; has == 0 { // by far the most frequent
		return n
	}
	if has&HasSeal != 0 {
		n += pad8(2 + len(h.Seal))
	}
	if has&HasDestinations != 0 {
		n += pad8(2 + len(h.Destinations))
	}
	if has&HasExtensions != 0 {
		n += pad8(2 + len(h.Extensions))
	}
	for ; has != 0; has &= has - 1 {
		n += int(fixedSizes[bits.TrailingZeros32(uint32(has))])
	}
	return n
}

// checkHeader finds what no frame holds, given its sections and the lengths of
// its parts.
func checkHeader(h *Header, has Sections, size, patch, body int) error {
	switch {
	case h.Kind == 0 || h.Lane >= Lanes || h.Class >= classes:
		return fmt.Errorf("%w: kind %d, class %d, lane %d", ErrMalformed, h.Kind, h.Class, h.Lane)
	case has&^knownSections != 0:
		return fmt.Errorf("%w: sections %#x", ErrVersion, uint32(has&^knownSections))
	case size > MaxHeader || patch > MaxPatch || body > MaxBody:
		return fmt.Errorf("%w: header of %d, patch of %d, body of %d bytes", ErrMalformed, size, patch, body)
	case has&(HasDestinations|HasExtensions) != 0:
		return checkLists(h, has)
	}
	return nil
}

// checkLists checks the sections that have an inner form.
func checkLists(h *Header, has Sections) error {
	if has&HasDestinations != 0 {
		if err := checkDestinations(h); err != nil {
			return err
		}
	}
	if has&HasExtensions == 0 {
		return nil
	}
	if len(h.Extensions) == 0 {
		return fmt.Errorf("%w: extensions section without an extension", ErrMalformed)
	}
	return RangeExtensions(h.Extensions, func(Extension) bool { return true })
}

func checkDestinations(h *Header) error {
	n := len(h.Destinations)
	if n == 0 || n%8 != 0 || n > 8*MaxDestinations {
		return fmt.Errorf("%w: destinations of %d bytes", ErrMalformed, n)
	}
	last := MemberID(0)
	for i := range n / 8 {
		id := h.Destination(i)
		if id <= last {
			return fmt.Errorf("%w: destination %s follows %s", ErrMalformed, id, last)
		}
		last = id
	}
	return nil
}

// AppendFrame appends the encoding of a frame to dst. The patch section is
// present exactly if patch is not empty, whatever h.Has says of it; BodyLen is
// that of body. It panics on a header that no frame has: what callers
// can get wrong is found by CheckOutgoing.
func AppendFrame(dst []byte, h *Header, patch, body []byte) []byte {
	has := sectionsOf(h, patch)
	size := headerSize(h, has, len(patch))
	if err := checkHeader(h, has, size, len(patch), len(body)); err != nil {
		panic("fabric: cannot encode: " + err.Error())
	}
	start := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, magic)
	dst = append(dst, Major, h.Minor)
	dst = le.AppendUint16(dst, uint16(size))
	dst = append(dst, byte(h.Kind), byte(h.Class)<<4|byte(h.Lane))
	dst = le.AppendUint32(dst, uint32(has))
	dst = le.AppendUint32(dst, uint32(len(body)))
	dst = le.AppendUint64(dst, h.Link)
	dst = le.AppendUint64(dst, h.Stream)
	crcAt := -1
	if has == HasPatch {
		dst = appendVar(dst, patch)
	} else if has != 0 {
		dst, crcAt = appendSections(dst, h, has, patch)
	}
	dst = append(dst, body...)
	if crcAt >= 0 {
		le.PutUint32(dst[crcAt:], crc32.Checksum(dst[start:], castagnoli))
	}
	return dst
}

func appendSections(dst []byte, h *Header, has Sections, patch []byte) (_ []byte, crcAt int) {
	le := binary.LittleEndian
	crcAt = -1
	if has&HasContext != 0 {
		c := &h.Context
		for _, v := range [...]uint64{c.Cluster, c.Epoch, uint64(c.Origin), c.Incarnation, c.View, c.ViewHash} {
			dst = le.AppendUint64(dst, v)
		}
	}
	if has&HasStamp != 0 {
		dst = le.AppendUint64(dst, uint64(h.Stamp.Time))
		dst = le.AppendUint64(dst, uint64(h.Stamp.Logical))
	}
	if has&HasClock != 0 {
		dst = le.AppendUint64(dst, h.Clock.ErrorNanos)
		dst = le.AppendUint32(dst, h.Clock.Cycle)
		dst = le.AppendUint32(dst, h.Clock.Slot)
	}
	if has&HasSeal != 0 {
		dst = appendVar(dst, h.Seal)
	}
	if has&HasDestinations != 0 {
		dst = appendVar(dst, h.Destinations)
	}
	if has&HasFragment != 0 {
		dst = le.AppendUint32(dst, h.Fragment.Index)
		dst = le.AppendUint32(dst, h.Fragment.Count)
		dst = le.AppendUint64(dst, h.Fragment.Total)
	}
	if has&HasPatch != 0 {
		dst = appendVar(dst, patch)
	}
	if has&HasBodyDigest != 0 {
		dst = le.AppendUint64(dst, uint64(h.BodyDigest.Algorithm))
		dst = append(dst, h.BodyDigest.Sum[:]...)
	}
	if has&HasPatchDigest != 0 {
		dst = le.AppendUint64(dst, uint64(h.PatchDigest.Algorithm))
		dst = append(dst, h.PatchDigest.Sum[:]...)
	}
	if has&HasMAC != 0 {
		dst = append(dst, h.MAC[:]...)
	}
	if has&HasCRC != 0 {
		crcAt = len(dst)
		dst = le.AppendUint64(dst, 0)
	}
	if has&HasExtensions != 0 {
		dst = appendVar(dst, h.Extensions)
	}
	return dst, crcAt
}

func appendVar(dst, b []byte) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(b)))
	dst = append(dst, b...)
	for range pad8(2+len(b)) - 2 - len(b) {
		dst = append(dst, 0)
	}
	return dst
}
