package shm

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// Messages of the rendezvous, little-endian. The member with the lower id dials
// and says hello; the other answers with its own hello, or says why not. With a
// hello go two descriptors: the doorbell and the segment that its sender owns.
//
//	offset  size  field
//	     0     4  magic "dVsm"
//	     4     2  version: refused if not ours
//	     6     2  1 hello, 2 refusal: the rest is text
//	     8     8  sender
//	    16     8  sender's incarnation
//	    24     8  receiver
//	    32     8  receiver's incarnation, as the sender knows it
//	    40     4  size of a slot of the sender's segment
//	    44  4 × 3  slots of each lane
//	    56     4  largest frame that the sender takes
//	    60     4  reserved (zero)
//	    64  8 × 3  link sequence of the sender's next frame in each lane
//	    88    32  HMAC-SHA256 of all before it under the session's key
const (
	helloMagic   = uint32('d') | uint32('V')<<8 | uint32('s')<<16 | uint32('m')<<24
	helloVersion = 1
	kindHello    = 1
	kindRefusal  = 2
	preludeLen   = 8
	proofAt      = 88
	helloLen     = proofAt + sha256.Size
	// maxRefusal bounds the text of a refusal in bytes.
	maxRefusal = 240
)

type hello struct {
	from, to       fabric.MemberID
	fromInc, toInc uint64
	shape          geometry
	next           [fabric.Lanes]uint64
}

func appendPrelude(dst []byte, kind uint16) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, helloMagic)
	dst = binary.LittleEndian.AppendUint16(dst, helloVersion)
	return binary.LittleEndian.AppendUint16(dst, kind)
}

func (h *hello) encode(key []byte) []byte {
	le := binary.LittleEndian
	b := appendPrelude(nil, kindHello)
	for _, v := range [...]uint64{uint64(h.from), h.fromInc, uint64(h.to), h.toInc} {
		b = le.AppendUint64(b, v)
	}
	b = le.AppendUint32(b, uint32(h.shape.slot))
	for _, n := range h.shape.slots {
		b = le.AppendUint32(b, uint32(n))
	}
	b = le.AppendUint32(b, uint32(h.shape.maxFrame))
	b = le.AppendUint32(b, 0)
	for _, n := range h.next {
		b = le.AppendUint64(b, n)
	}
	return append(b, proof(b, key)...)
}

func proof(b, key []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(b)
	return m.Sum(nil)
}

// checkProof reports whether the sender of an encoded hello has the key.
func checkProof(b, key []byte) bool { return hmac.Equal(b[proofAt:], proof(b[:proofAt], key)) }

// parseHello decodes a message. A refusal is an error.
func parseHello(b []byte) (h hello, err error) {
	le := binary.LittleEndian
	if len(b) < preludeLen || le.Uint32(b) != helloMagic {
		return h, fmt.Errorf("%w: %d bytes without its magic", ErrBadHello, len(b))
	}
	if v := le.Uint16(b[4:]); v != helloVersion {
		return h, fmt.Errorf("%w: version %d, this member speaks %d", ErrBadHello, v, helloVersion)
	}
	switch kind := le.Uint16(b[6:]); {
	case kind == kindRefusal:
		text := b[preludeLen:]
		return h, fmt.Errorf("%w: %q", ErrRefused, text[:min(len(text), maxRefusal)])
	case kind != kindHello || len(b) != helloLen || le.Uint32(b[60:]) != 0:
		return h, fmt.Errorf("%w: kind %d of %d bytes", ErrBadHello, kind, len(b))
	}
	h = hello{
		from: fabric.MemberID(le.Uint64(b[8:])), fromInc: le.Uint64(b[16:]),
		to: fabric.MemberID(le.Uint64(b[24:])), toInc: le.Uint64(b[32:]),
	}
	h.shape.slot = int(le.Uint32(b[40:]))
	for i := range h.shape.slots {
		h.shape.slots[i] = int(le.Uint32(b[44+4*i:]))
	}
	h.shape.maxFrame = int(le.Uint32(b[56:]))
	for i := range h.next {
		if h.next[i] = le.Uint64(b[64+8*i:]); h.next[i] == 0 {
			return h, fmt.Errorf("%w: link sequence 0", ErrBadHello)
		}
	}
	if err := h.shape.validate(); err != nil {
		return h, fmt.Errorf("%w: %w", ErrBadHello, err)
	}
	return h, nil
}

// refusal says why there is no session.
func refusal(why error) []byte {
	text := why.Error()
	return append(appendPrelude(nil, kindRefusal), text[:min(len(text), maxRefusal)]...)
}
