package udp

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// A datagram, little-endian:
//
//	offset  size  field
//	     0     1  magic 'd'
//	     1     1  version
//	     2     1  flags: 1 sealed (else authenticated only), 2 acknowledge at once
//	     3     1  key generation, modulo 256
//	     4     8  index: chosen by the receiver, names the session
//	    12     8  packet number: per session and direction, from 0, never reused
//	    20     -  payload: chunks
//	  last    16  AES-GCM tag; the header is associated data, and the payload too
//	              if it is not sealed
//
// The nonce is made of the packet number. A receiver answers nothing that does
// not open.
//
// The payload is a list of chunks; each starts with its type:
//
//	padding  0       the rest of the payload is ignored
//	ping     1       asks for an acknowledgement
//	ack      2       delay, largest, length of the first range, number of further
//	                 ranges, then for each gap and length; all uvarint. Ranges
//	                 count downwards as in RFC 9000 §19.3; the delay is in µs
//	window   3       for each lane the stream offset that the receiver takes (8);
//	                 the burst that its socket buffer takes (4)
//	skip     4       lane (1), stream offset (8) and link sequence (8) at which
//	                 the lane goes on
//	row      5       length (2), row; asks for no acknowledgement
//	close    6       the session is over
//	stream   16+lane length (2), offset (8), bytes of the lane's stream
//
// A type that is not listed makes the datagram malformed: what may come later
// comes with a version.
const (
	wireMagic   = 'd'
	wireVersion = 1

	flagSealed = 1
	flagAckNow = 2
	knownFlags = flagSealed | flagAckNow

	headerLen = 20
	tagLen    = 16
	overhead  = headerLen + tagLen

	chunkPadding = 0
	chunkPing    = 1
	chunkAck     = 2
	chunkWindow  = 3
	chunkSkip    = 4
	chunkRow     = 5
	chunkClose   = 6
	chunkStream  = 16

	windowLen = 1 + 8*fabric.Lanes + 4
	skipLen   = 1 + 1 + 8 + 8
	rowHead   = 1 + 2
	pingLen   = 1
	chunkHead = 1 + 2 + 8

	// maxAckRanges bounds the ranges of one ack chunk.
	maxAckRanges = 32
	// maxAckLen bounds an ack chunk in bytes.
	maxAckLen = 1 + 4*binary.MaxVarintLen64 + 2*maxAckRanges*binary.MaxVarintLen32

	// minDatagram fits every path (RFC 9000 §14); maxDatagram is what an IPv4
	// datagram carries.
	minDatagram = 1200
	maxDatagram = 65507
)

var errMalformed = errors.New("malformed datagram")

// header is a datagram's header.
type header struct {
	flags  byte
	gen    byte
	index  uint64
	number uint64
}

func putHeader(b []byte, h *header) {
	b[0], b[1], b[2], b[3] = wireMagic, wireVersion, h.flags, h.gen
	binary.LittleEndian.PutUint64(b[4:], h.index)
	binary.LittleEndian.PutUint64(b[12:], h.number)
}

// askAck has the datagram acknowledged at once. It is not sealed yet.
func askAck(b []byte) { b[2] |= flagAckNow }

// verdict says what became of a datagram.
type verdict uint8

const (
	accepted verdict = iota
	badVersion
	badFormat
	badIndex
	badSeal
	replayed
	gateShut
	badContent // opened, and breaks the protocol
	noRoom     // opened, and dropped: its sender may resend
	verdicts
)

var verdictNames = [verdicts]string{
	"accepted", "other version", "malformed", "unknown index", "bad seal", "replayed", "gate shut", "protocol violation", "no room",
}

func (v verdict) String() string { return verdictNames[v] }

// parseHeader reads the header of a datagram.
func parseHeader(b []byte, h *header) verdict {
	if len(b) < overhead || b[0] != wireMagic {
		return badFormat
	}
	if b[1] != wireVersion || b[2]&^knownFlags != 0 {
		return badVersion
	}
	h.flags, h.gen = b[2], b[3]
	h.index = binary.LittleEndian.Uint64(b[4:])
	h.number = binary.LittleEndian.Uint64(b[12:])
	return accepted
}

// chunk is one decoded chunk; which fields count depends on typ.
type chunk struct {
	typ    byte
	lane   fabric.Lane
	offset uint64
	link   uint64
	data   []byte // stream bytes, row, or the undecoded body of ack and window
}

// nextChunk decodes the chunk at the start of b, which is not empty.
func nextChunk(b []byte, c *chunk) (rest []byte, err error) {
	le := binary.LittleEndian
	c.typ = b[0]
	switch {
	case c.typ >= chunkStream && c.typ < chunkStream+fabric.Lanes:
		if len(b) < chunkHead {
			return nil, errMalformed
		}
		n := chunkHead + int(le.Uint16(b[1:]))
		if len(b) < n || n == chunkHead {
			return nil, errMalformed
		}
		c.lane, c.offset, c.data = fabric.Lane(c.typ-chunkStream), le.Uint64(b[3:]), b[chunkHead:n:n]
		c.typ = chunkStream
		return b[n:], nil
	case c.typ == chunkPadding:
		return nil, nil
	case c.typ == chunkPing, c.typ == chunkClose:
		return b[1:], nil
	case c.typ == chunkWindow && len(b) >= windowLen:
		c.data = b[1:windowLen]
		return b[windowLen:], nil
	case c.typ == chunkSkip && len(b) >= skipLen && b[1] < fabric.Lanes:
		c.lane, c.offset, c.link = fabric.Lane(b[1]), le.Uint64(b[2:]), le.Uint64(b[10:])
		return b[skipLen:], nil
	case c.typ == chunkRow && len(b) >= rowHead && len(b) >= rowHead+int(le.Uint16(b[1:])):
		n := rowHead + int(le.Uint16(b[1:]))
		c.data = b[rowHead:n:n]
		return b[n:], nil
	case c.typ == chunkAck:
		var a ackReader
		if !a.open(b[1:]) {
			return nil, errMalformed
		}
		for a.left > 0 {
			if _, _, ok := a.next(); !ok {
				return nil, errMalformed
			}
		}
		c.data = b[1 : len(b)-len(a.b)]
		return a.b, nil
	}
	return nil, fmt.Errorf("%w: chunk %d in %d bytes", errMalformed, c.typ, len(b))
}

// ackReader walks the ranges of an ack chunk, from the largest downwards.
type ackReader struct {
	b       []byte
	delay   uint64 // µs
	largest uint64
	left    uint64 // ranges, with the one that next gives
	first   bool
	low     uint64 // of the last range
}

func (a *ackReader) uvarint() (uint64, bool) {
	v, n := binary.Uvarint(a.b)
	if n <= 0 {
		return 0, false
	}
	a.b = a.b[n:]
	return v, true
}

// open reads up to the number of ranges.
func (a *ackReader) open(b []byte) (ok bool) {
	a.b, a.first = b, true
	if a.delay, ok = a.uvarint(); !ok {
		return false
	}
	if a.largest, ok = a.uvarint(); !ok {
		return false
	}
	if a.left, ok = a.uvarint(); !ok || a.left >= maxAckRanges {
		return false
	}
	a.left++
	return true
}

// next gives the packet numbers lo to hi, both included.
func (a *ackReader) next() (lo, hi uint64, ok bool) {
	hi = a.largest
	if !a.first {
		gap, ok := a.uvarint()
		// At least one packet lies between two ranges.
		if !ok || a.low < 2 || gap > a.low-2 {
			return 0, 0, false
		}
		hi = a.low - 2 - gap
	}
	n, ok := a.uvarint()
	if !ok || n > hi {
		return 0, 0, false
	}
	a.first, a.low = false, hi-n
	a.left--
	return a.low, hi, true
}

func appendWindow(dst []byte, limits *[fabric.Lanes]uint64, burst uint32) []byte {
	dst = append(dst, chunkWindow)
	for _, l := range limits {
		dst = binary.LittleEndian.AppendUint64(dst, l)
	}
	return binary.LittleEndian.AppendUint32(dst, burst)
}

func parseWindow(b []byte) (limits [fabric.Lanes]uint64, burst uint32) {
	for i := range limits {
		limits[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return limits, binary.LittleEndian.Uint32(b[8*fabric.Lanes:])
}

func appendSkip(dst []byte, lane fabric.Lane, offset, link uint64) []byte {
	dst = append(dst, chunkSkip, byte(lane))
	dst = binary.LittleEndian.AppendUint64(dst, offset)
	return binary.LittleEndian.AppendUint64(dst, link)
}

func appendRow(dst, row []byte) []byte {
	dst = append(dst, chunkRow)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(row)))
	return append(dst, row...)
}

// appendStreamHead appends a stream chunk's head; n bytes have to follow.
func appendStreamHead(dst []byte, lane fabric.Lane, offset uint64, n int) []byte {
	dst = append(dst, chunkStream+byte(lane))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
	return binary.LittleEndian.AppendUint64(dst, offset)
}
