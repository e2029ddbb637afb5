package fabric

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
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
//	  4  destinations  2+8n, padded   member ids, rising
//	  5  fragment         16          index, count, total bytes
//	  6  patch         2+n, padded    the bytes of this destination alone
//	  7  body digest      40          algorithm, 7 reserved (zero), 32 bytes
//	  8  patch digest     40          the same, of the patch
//	  9  origin MAC       16          end to end; a relay cannot alter what it covers
//	 10  CRC               8          CRC-32C of header (this field zero) and body, 4 reserved (zero)
//	 11  extensions    2+n, padded    TLVs, types rising: type 2 (high bit: critical), length 2, value
//
// Variable sections start with a 16-bit length and are padded with zeros to a
// multiple of 8. Empty ones are left out, except for the seal key: the empty
// key is a key. A frame without a context section has that of its hop, which
// was agreed when the hop was authenticated; origins that relays forward for
// always carry their own. Bits 12 to 31 are refused: their length would be
// unknown. What is added later is an extension, and says itself whether a
// receiver that does not know it may go on.
//
// There is exactly one encoding of a frame: padding and reserved bytes are
// zero, lengths are exact, sets are sorted. Signatures can therefore cover the
// wire bytes, and a retransmission is bit-identical. ParseFrame takes nothing
// that AppendFrame does not write, and refuses critical extensions.
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

// Before reports whether s is earlier than o; ids and sequences break ties.
func (s Stamp) Before(o Stamp) bool {
	return s.Time < o.Time || s.Time == o.Time && s.Logical < o.Logical
}

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
	Destinations []byte // see AppendDestinations and Destination
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

// AppendDestinations appends a destinations section of these members: a set,
// whatever their order.
func AppendDestinations(dst []byte, to []MemberID) []byte {
	for _, id := range slices.Compact(slices.Sorted(slices.Values(to))) {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(id))
	}
	return dst
}

// Errors of the decoder. ErrShort means that more bytes may make it whole.
var (
	ErrShort     = errors.New("frame is incomplete")
	ErrMalformed = errors.New("malformed frame")
	ErrVersion   = errors.New("frame of another version")
	ErrChecksum  = errors.New("frame checksum does not match")
)
