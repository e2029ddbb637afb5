package fabric

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// The wire format of a frame: little-endian, a prelude of 32 bytes, then the
// sections whose bits are set, in the order of their bits, then the body.
//
//	offset  size  field
//	     0     2  magic "dV"
//	     2     1  major version: refused if not ours
//	     3     1  minor version: carried
//	     4     2  header length: prelude and sections, a multiple of 8
//	     6     1  kind
//	     7     1  class (high 4 bits), lane (low 4 bits)
//	     8     4  sections present
//	    12     4  body length
//	    16     8  link sequence: per hop, destination and lane
//	    24     8  stream sequence: per origin and class, the same everywhere
//
//	bit  section       bytes          content
//	  0  context          48          cluster, configuration epoch, origin, incarnation, view, view hash
//	  1  stamp            16          time, logical counter, 4 reserved (zero); member = origin
//	  2  clock            16          clock error in ns, cycle, slot
//	  3  seal key      2+n, padded    Blazes' partition
//	  4  destinations  2+8n, padded   member ids
//	  5  fragment         16          index, count, total bytes
//	  6  patch         2+n, padded    the bytes of this destination alone
//	  7  body digest      40          algorithm, 7 reserved (zero), 32 bytes
//	  8  patch digest     40          the same, of the patch
//	  9  origin MAC       16          end to end; a relay cannot alter what it covers
//	 10  CRC               8          CRC-32C of header (this field zero) and body, 4 reserved (zero)
//	 11  extensions    2+n, padded    TLVs: type (high bit: critical), length, value
//
// Variable sections start with a 16-bit length and are padded with zeros to a
// multiple of 8. A frame without a context section has that of its hop, which
// was agreed when the hop was authenticated; origins that relays forward for
// always carry their own. Bits 12 to 31 are refused: their length would be
// unknown. What is added later is an extension, and says itself whether a
// receiver that does not know it may go on.
//
// There is exactly one encoding of a frame: padding and reserved bytes are
// zero, lengths are exact. Signatures can therefore cover the wire bytes, and a
// retransmission is bit-identical.
const (
	magic      = uint16('d') | uint16('V')<<8
	Major      = 1
	Minor      = 0
	preludeLen = 32

	// MaxPatch bounds the bytes that are a destination's own.
	MaxPatch = 1024
	// MaxHeader bounds prelude and sections.
	MaxHeader = 8192
	// MaxDestinations bounds the destination section.
	MaxDestinations = 512
	// MaxBody bounds the body on every port; ports may carry less.
	MaxBody = 512 << 20
)

// Kind says what a frame is for.
type Kind uint8

const (
	// KindData carries a caller's bytes.
	KindData Kind = 1 + iota
	// KindVoid stands for frames that were lost: Link is the first, the body
	// holds their number (8 bytes). A port may send it for frames that it gave
	// up. In an Outgoing it stands for exactly one frame (the body is VoidBody)
	// and takes a link sequence and credit as any other; its ticket is acked
	// when the receiver has it. Either way the receiving port calls Gap in its
	// place, never Deliver.
	KindVoid
	// KindRow carries a row in its body.
	KindRow
	// KindAck, KindKeepalive, KindCredit are a port's own.
	KindAck
	KindKeepalive
	KindCredit
	// KindTrailer ends a batch: see Trailer.
	KindTrailer
)

// Sendable reports whether a caller may send frames of this kind.
func (k Kind) Sendable() bool { return k == KindData || k == KindVoid || k == KindTrailer }

var voidOne = [8]byte{1}

// VoidBody returns the body of an outgoing frame of KindVoid.
func VoidBody() []byte { return bytes.Clone(voidOne[:]) }

// Sections is the set of sections that a header has.
type Sections uint32

// The sections, in wire order.
const (
	HasContext Sections = 1 << iota
	HasStamp
	HasClock
	HasSeal
	HasDestinations
	HasFragment
	HasPatch
	HasBodyDigest
	HasPatchDigest
	HasMAC
	HasCRC
	HasExtensions
	knownSections = 1<<iota - 1
)

// DigestLen and MACLen are the sizes of those fields in bytes.
const (
	DigestLen = 32
	MACLen    = 16
)

// Stamp is a hybrid logical clock reading; with the origin's id and the stream
// sequence it orders all frames of a cluster.
type Stamp struct {
	Time    int64 // ns of the fabric's clock
	Logical uint32
}

// IsZero reports whether the frame is not stamped.
func (s Stamp) IsZero() bool { return s == Stamp{} }

// Context is what all frames of a session have in common.
type Context struct {
	Cluster     uint64
	Epoch       uint64 // of the configuration
	Origin      MemberID
	Incarnation uint64
	View        uint64
	ViewHash    uint64
}

// Clock is the sender's clock error and its place in a schedule.
type Clock struct {
	ErrorNanos  uint64
	Cycle, Slot uint32
}

// Fragment places a body in a larger one.
type Fragment struct {
	Index, Count uint32
	Total        uint64
}

// Digest names its algorithm.
type Digest struct {
	Algorithm uint8 // DigestSHA256
	Sum       [DigestLen]byte
}

// DigestSHA256 is the only algorithm of version 1.
const DigestSHA256 = 1

// Header is a frame's header. A field counts only if its bit is in Has.
type Header struct {
	Kind    Kind
	Class   Class
	Lane    Lane
	Minor   uint8
	Has     Sections
	BodyLen uint32
	Link    uint64
	Stream  uint64

	Context      Context
	Stamp        Stamp
	Clock        Clock
	Seal         []byte
	Destinations []byte // 8 bytes each; see Destination
	Fragment     Fragment
	BodyDigest   Digest
	PatchDigest  Digest
	MAC          [MACLen]byte
	Extensions   []byte // TLVs; see RangeExtensions
}

// Destination returns the i-th destination of the section.
func (h *Header) Destination(i int) MemberID {
	return MemberID(binary.LittleEndian.Uint64(h.Destinations[8*i:]))
}

// Errors of the decoder. ErrShort means that more bytes may make it whole.
var (
	ErrShort      = errors.New("frame is incomplete")
	ErrMalformed  = errors.New("malformed frame")
	ErrVersion    = errors.New("frame of another version")
	ErrChecksum   = errors.New("frame checksum does not match")
	errBadPadding = fmt.Errorf("%w: padding or reserved bytes are not zero", ErrMalformed)
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func pad8(n int) int { return (n + 7) &^ 7 }

// FrameSize is the number of bytes that AppendFrame adds.
func FrameSize(h *Header, patch, body []byte) int {
	return headerSize(h, len(patch)) + len(body)
}

func headerSize(h *Header, patch int) int {
	has := h.Has
	if patch > 0 {
		has |= HasPatch
	}
	n := preludeLen
	if has == HasPatch { // by far the most frequent
		return n + pad8(2+patch)
	}
	for _, s := range []struct {
		bit  Sections
		size int
	}{
		{HasContext, 48}, {HasStamp, 16}, {HasClock, 16}, {HasSeal, pad8(2 + len(h.Seal))},
		{HasDestinations, pad8(2 + len(h.Destinations))}, {HasFragment, 16}, {HasPatch, pad8(2 + patch)},
		{HasBodyDigest, 8 + DigestLen}, {HasPatchDigest, 8 + DigestLen}, {HasMAC, MACLen}, {HasCRC, 8},
		{HasExtensions, pad8(2 + len(h.Extensions))},
	} {
		if has&s.bit != 0 {
			n += s.size
		}
	}
	return n
}

// AppendFrame appends the encoding of a frame to dst. The patch section is
// present exactly if patch is not empty; BodyLen is that of body. It panics on
// fields that exceed their bounds: callers check with CheckOutgoing.
func AppendFrame(dst []byte, h *Header, patch, body []byte) []byte {
	has := h.Has &^ HasPatch
	if len(patch) > 0 {
		has |= HasPatch
	}
	size := headerSize(h, len(patch))
	if size > MaxHeader || len(body) > MaxBody {
		panic(fmt.Sprintf("fabric: frame with a header of %d and a body of %d bytes", size, len(body)))
	}
	start := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, magic)
	dst = append(dst, Major, h.Minor)
	dst = le.AppendUint16(dst, uint16(size))
	dst = append(dst, byte(h.Kind), byte(h.Class)<<4|byte(h.Lane)&15)
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
	head, body := int(le.Uint16(b[4:])), int(le.Uint32(b[12:]))
	if head < preludeLen || head > MaxHeader || head%8 != 0 {
		return 0, fmt.Errorf("%w: header length %d", ErrMalformed, head)
	}
	if body > maxBody || body > MaxBody {
		return 0, fmt.Errorf("%w: body of %d bytes, at most %d", ErrTooLarge, body, min(maxBody, MaxBody))
	}
	return head + body, nil
}

// ParseFrame decodes the frame at the start of b into f, whose slices then
// point into b, and returns the rest of b. It allocates only for errors.
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
	if f.Kind == 0 || f.Lane >= Lanes || f.Class >= classes {
		return b, fmt.Errorf("%w: kind %d, class %d, lane %d", ErrMalformed, f.Kind, f.Class, f.Lane)
	}
	if f.Has&^knownSections != 0 {
		return b, fmt.Errorf("%w: sections %#x", ErrVersion, uint32(f.Has&^knownSections))
	}
	if err := parseSections(b[preludeLen:head], f); err != nil {
		return b, err
	}
	if f.Has&HasCRC != 0 && !checkCRC(b[:n], f) {
		return b, ErrChecksum
	}
	f.Body = b[head:n:n]
	return b[n:], nil
}

type sectionReader struct {
	b  []byte
	ok bool
}

func (r *sectionReader) fixed(n int) []byte {
	if !r.ok || len(r.b) < n {
		r.ok = false
		return make([]byte, n)
	}
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

func (r *sectionReader) variable() []byte {
	if !r.ok || len(r.b) < 8 {
		r.ok = false
		return nil
	}
	n := int(binary.LittleEndian.Uint16(r.b))
	padded := pad8(2 + n)
	if len(r.b) < padded || !allZero(r.b[2+n:padded]) {
		r.ok = false
		return nil
	}
	s := r.b[2 : 2+n : 2+n]
	r.b = r.b[padded:]
	return s
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

func parseSections(b []byte, f *Frame) error {
	r := sectionReader{b, true}
	if f.Has == HasPatch {
		f.Patch = r.variable()
	} else if f.Has != 0 && !parseRareSections(&r, f) {
		return errBadPadding
	}
	if !r.ok || len(r.b) != 0 {
		return fmt.Errorf("%w: sections %#x do not fill a header of %d bytes", ErrMalformed, uint32(f.Has), preludeLen+len(b))
	}
	if len(f.Patch) > MaxPatch || (f.Has&HasPatch != 0 && len(f.Patch) == 0) {
		return fmt.Errorf("%w: patch of %d bytes, at least 1 and at most %d", ErrMalformed, len(f.Patch), MaxPatch)
	}
	if len(f.Destinations)%8 != 0 || len(f.Destinations) > 8*MaxDestinations {
		return fmt.Errorf("%w: destinations of %d bytes", ErrMalformed, len(f.Destinations))
	}
	if f.Has&HasExtensions != 0 {
		return RangeExtensions(f.Extensions, func(Extension) bool { return true })
	}
	return nil
}

// parseRareSections reports whether all reserved bytes are zero.
func parseRareSections(r *sectionReader, f *Frame) bool {
	le, zero := binary.LittleEndian, true
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
		zero = zero && allZero(s[12:])
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
	for _, d := range [...]struct {
		bit Sections
		to  *Digest
	}{{HasBodyDigest, &f.BodyDigest}, {HasPatchDigest, &f.PatchDigest}} {
		if f.Has&d.bit != 0 {
			s := r.fixed(8 + DigestLen)
			d.to.Algorithm = s[0]
			zero = zero && allZero(s[1:8])
			copy(d.to.Sum[:], s[8:])
		}
	}
	if f.Has&HasMAC != 0 {
		copy(f.MAC[:], r.fixed(MACLen))
	}
	if f.Has&HasCRC != 0 {
		s := r.fixed(8)
		zero = zero && allZero(s[4:])
	}
	if f.Has&HasExtensions != 0 {
		f.Extensions = r.variable()
	}
	return zero
}

func checkCRC(b []byte, f *Frame) bool {
	at := headerSize(&f.Header, len(f.Patch)) - 8
	if f.Has&HasExtensions != 0 {
		at -= pad8(2 + len(f.Extensions))
	}
	crc := crc32.Update(0, castagnoli, b[:at])
	crc = crc32.Update(crc, castagnoli, make([]byte, 4))
	crc = crc32.Update(crc, castagnoli, b[at+4:])
	return crc == binary.LittleEndian.Uint32(b[at:])
}
