package fabric

import (
	"encoding/binary"
	"fmt"
)

// Trailer is the body of a KindTrailer frame: it commits its sender to a batch
// of frames. Root is the Merkle root over the frames' digests and Previous, so
// batches form a chain per sender and incarnation.
//
// On the wire: first 8, count 4, algorithm 2, signature length 2, previous 32,
// root 32, signature.
type Trailer struct {
	First     uint64 // stream sequence
	Count     uint32
	Algorithm uint16 // 0: not signed
	Previous  [DigestLen]byte
	Root      [DigestLen]byte
	Signature []byte
}

const (
	trailerLen = 16 + 2*DigestLen
	// MaxSignature bounds a trailer's signature in bytes.
	MaxSignature = 8192
)

// AppendTrailer appends the encoding of t to dst. It panics on a signature
// beyond MaxSignature.
func AppendTrailer(dst []byte, t *Trailer) []byte {
	if len(t.Signature) > MaxSignature {
		panic(fmt.Sprintf("fabric: trailer with a signature of %d bytes", len(t.Signature)))
	}
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, t.First)
	dst = le.AppendUint32(dst, t.Count)
	dst = le.AppendUint16(dst, t.Algorithm)
	dst = le.AppendUint16(dst, uint16(len(t.Signature)))
	dst = append(dst, t.Previous[:]...)
	dst = append(dst, t.Root[:]...)
	return append(dst, t.Signature...)
}

// ParseTrailer decodes a trailer that fills b; Signature points into b.
func ParseTrailer(b []byte) (Trailer, error) {
	le := binary.LittleEndian
	if len(b) < trailerLen || len(b)-trailerLen != int(le.Uint16(b[14:])) || len(b)-trailerLen > MaxSignature {
		return Trailer{}, fmt.Errorf("%w: trailer of %d bytes", ErrMalformed, len(b))
	}
	t := Trailer{First: le.Uint64(b), Count: le.Uint32(b[8:]), Algorithm: le.Uint16(b[12:]), Signature: b[trailerLen:len(b):len(b)]}
	copy(t.Previous[:], b[16:])
	copy(t.Root[:], b[16+DigestLen:])
	return t, nil
}
