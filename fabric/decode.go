package fabric

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// FrameLen returns the length of the frame at the start of b without decoding
// it, or ErrShort if even the prelude is incomplete. maxBody bounds what the
// caller is willing to buffer.
func FrameLen(b []byte, maxBody int) (int, error) {
	if len(b) < preludeLen {
		return 0, ErrShort
	}
	le := binary.LittleEndian
	if le.Uint16(b) != magic {
		return 0, fmt.Errorf("%w: starts with %x, not with the magic of a frame", ErrMalformed, b[:2])
	}
	if b[2] != Major {
		return 0, fmt.Errorf("%w: %d.%d, this member speaks %d.%d", ErrVersion, b[2], b[3], Major, Minor)
	}
	head := int(le.Uint16(b[4:]))
	if head < preludeLen || head > MaxHeader || head%8 != 0 {
		return 0, fmt.Errorf("%w: header length %d", ErrMalformed, head)
	}
	// Not yet an int: it may not fit one of 32 bits.
	body, limit := int64(le.Uint32(b[12:])), min(maxBody, MaxBody)
	if body > int64(limit) {
		return 0, fmt.Errorf("%w: body of %d bytes, at most %d", ErrTooLarge, body, limit)
	}
	return head + int(body), nil
}

// ParseFrame decodes the frame at the start of b into f, whose slices then
// point into b, and returns the rest of b. It allocates only for errors; after
// one f holds nothing of use.
func ParseFrame(b []byte, maxBody int, f *Frame) (rest []byte, err error) {
	n, err := FrameLen(b, maxBody)
	if err != nil {
		return b, err
	}
	if len(b) < n {
		return b, ErrShort
	}
	le := binary.LittleEndian
	head := int(le.Uint16(b[4:]))
	*f = Frame{Header: Header{
		Minor: b[3], Kind: Kind(b[6]), Class: Class(b[7] >> 4), Lane: Lane(b[7] & 15),
		Has: Sections(le.Uint32(b[8:])), BodyLen: le.Uint32(b[12:]), Link: le.Uint64(b[16:]), Stream: le.Uint64(b[24:]),
	}}
	crcAt := 0
	if f.Has&^knownSections == 0 { // otherwise their lengths are unknown
		if crcAt, err = parseSections(b[:head], f); err != nil {
			return b, err
		}
	}
	if err := checkHeader(&f.Header, f.Has, head, len(f.Patch), n-head); err != nil {
		return b, err
	}
	if crcAt > 0 && !checkCRC(b[:n], crcAt) {
		return b, ErrChecksum
	}
	// Checked last: what was corrupted should not look like another version.
	if f.Has&HasExtensions != 0 {
		if err := RangeExtensions(f.Extensions, knownExtension); err != nil {
			return b, err
		}
	}
	f.Body = b[head:n:n]
	return b[n:], nil
}

// parseSections decodes what follows the prelude in a header. crcAt is where
// the checksum is, 0 if there is none.
func parseSections(header []byte, f *Frame) (crcAt int, err error) {
	r := sectionReader{b: header, at: preludeLen}
	if f.Has == HasPatch {
		f.Patch = r.variable()
	} else if f.Has != 0 {
		crcAt = r.parse(f)
	}
	switch {
	case r.short || r.at != len(header):
		return 0, fmt.Errorf("%w: sections %#x do not fill a header of %d bytes", ErrMalformed, uint32(f.Has), len(header))
	case r.dirty:
		return 0, fmt.Errorf("%w: padding or reserved bytes are not zero", ErrMalformed)
	case f.Has&HasPatch != 0 && len(f.Patch) == 0:
		return 0, fmt.Errorf("%w: empty patch section", ErrMalformed)
	}
	return crcAt, nil
}

// sectionReader takes sections off a header. Faults are kept until the end.
type sectionReader struct {
	b     []byte
	at    int
	short bool // b ends before its sections do
	dirty bool // padding or reserved bytes are not zero
}

// missing stands for the content of sections that are not there.
var missing [48]byte

func (r *sectionReader) fixed(n int) []byte {
	if len(r.b)-r.at < n {
		r.short = true
		return missing[:n]
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *sectionReader) variable() []byte {
	left := r.b[r.at:]
	if len(left) < 2 {
		r.short = true
		return nil
	}
	n := int(binary.LittleEndian.Uint16(left))
	padded := pad8(2 + n)
	if len(left) < padded {
		r.short = true
		return nil
	}
	r.reserved(left[2+n : padded])
	r.at += padded
	return left[2 : 2+n : 2+n]
}

func (r *sectionReader) reserved(b []byte) {
	for _, x := range b {
		r.dirty = r.dirty || x != 0
	}
}

func (r *sectionReader) digest(d *Digest) {
	s := r.fixed(8 + DigestLen)
	d.Algorithm = s[0]
	r.reserved(s[1:8])
	copy(d.Sum[:], s[8:])
}

func (r *sectionReader) parse(f *Frame) (crcAt int) {
	le := binary.LittleEndian
	if f.Has&HasContext != 0 {
		s := r.fixed(48)
		f.Context = Context{
			Cluster: le.Uint64(s), Epoch: le.Uint64(s[8:]), Origin: MemberID(le.Uint64(s[16:])),
			Incarnation: le.Uint64(s[24:]), View: le.Uint64(s[32:]), ViewHash: le.Uint64(s[40:]),
		}
	}
	if f.Has&HasStamp != 0 {
		s := r.fixed(16)
		f.Stamp = Stamp{int64(le.Uint64(s)), le.Uint32(s[8:])}
		r.reserved(s[12:])
	}
	if f.Has&HasClock != 0 {
		s := r.fixed(16)
		f.Clock = Clock{le.Uint64(s), le.Uint32(s[8:]), le.Uint32(s[12:])}
	}
	if f.Has&HasSeal != 0 {
		f.Seal = r.variable()
	}
	if f.Has&HasDestinations != 0 {
		f.Destinations = r.variable()
	}
	if f.Has&HasFragment != 0 {
		s := r.fixed(16)
		f.Fragment = Fragment{le.Uint32(s), le.Uint32(s[4:]), le.Uint64(s[8:])}
	}
	if f.Has&HasPatch != 0 {
		f.Patch = r.variable()
	}
	if f.Has&HasBodyDigest != 0 {
		r.digest(&f.BodyDigest)
	}
	if f.Has&HasPatchDigest != 0 {
		r.digest(&f.PatchDigest)
	}
	if f.Has&HasMAC != 0 {
		copy(f.MAC[:], r.fixed(MACLen))
	}
	if f.Has&HasCRC != 0 {
		crcAt = r.at
		r.reserved(r.fixed(8)[4:])
	}
	if f.Has&HasExtensions != 0 {
		f.Extensions = r.variable()
	}
	return crcAt
}

var noCRC [4]byte

// checkCRC checks the checksum at offset at of a frame. It covers itself as
// zeros.
func checkCRC(b []byte, at int) bool {
	crc := crc32.Update(0, castagnoli, b[:at])
	crc = crc32.Update(crc, castagnoli, noCRC[:])
	crc = crc32.Update(crc, castagnoli, b[at+len(noCRC):])
	return crc == binary.LittleEndian.Uint32(b[at:])
}
