package ordered

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/raftdv/dv/barrier"
	"github.com/raftdv/dv/fabric"
)

// The body of a frame of class agreed or safe begins with, little-endian:
//
//	flags (1): 1: forwarded by a member for another; 2: alone: a view follows, as barrier writes it, and nothing else; 4: alone: likewise a row of
//	another member, as fabric writes it
//	view: number (uvarint), hash (8)
//	origin: incarnation (8), generation (uvarint); of a forwarded frame before that its id (8)
//
// The frame's stream sequence and stamp are its origin's. Whose frame it is that
// was not forwarded, the port knows.
const (
	flagForwarded = 1
	flagView      = 2
	flagRow       = 4
)

// ErrWire: a body that this package did not write.
var ErrWire = errors.New("ordered: malformed frame")

// letter is an agreed or safe frame.
type letter struct {
	from  barrier.Life
	view  barrier.ViewID
	seq   uint64
	stamp fabric.Stamp
	class fabric.Class
	body  []byte
}

// appendLetter appends l's body as self sends it.
func appendLetter(dst []byte, l *letter, self fabric.MemberID) []byte {
	le, flags := binary.LittleEndian, byte(0)
	if l.from.Member != self {
		flags = flagForwarded
	}
	dst = binary.AppendUvarint(append(dst, flags), l.view.Number)
	dst = le.AppendUint64(dst, l.view.Hash)
	if flags != 0 {
		dst = le.AppendUint64(dst, uint64(l.from.Member))
	}
	dst = le.AppendUint64(dst, l.from.Incarnation)
	dst = binary.AppendUvarint(dst, uint64(l.from.Generation))
	return append(dst, l.body...)
}

// parseTold reads the view that a frame of its own tells; nil if it is none.
func parseTold(from fabric.MemberID, f *fabric.Frame) (*barrier.View, error) {
	if f.Class != fabric.ClassAgreed || len(f.Body) == 0 || f.Body[0] != flagView {
		return nil, nil
	}
	v, err := barrier.ParseView(f.Body[1:])
	if err != nil {
		return nil, fmt.Errorf("%w: a view from %v: %w", ErrWire, from, err)
	}
	return v, nil
}

// parseLetter reads a frame that came from a peer. The letter's body points into
// the frame's.
func parseLetter(from fabric.MemberID, f *fabric.Frame) (l letter, err error) {
	b := f.Body
	bad := func() (letter, error) {
		return letter{}, fmt.Errorf("%w: %d bytes of class %v from %v", ErrWire, len(f.Body), f.Class, from)
	}
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 || n > 1 && b[n-1] == 0 {
			b, err = nil, ErrWire
			return 0
		}
		b = b[n:]
		return v
	}
	u64 := func() uint64 {
		if len(b) < 8 {
			b, err = nil, ErrWire
			return 0
		}
		v := binary.LittleEndian.Uint64(b)
		b = b[8:]
		return v
	}
	if f.Class != fabric.ClassAgreed && f.Class != fabric.ClassSafe || len(b) == 0 || b[0]&^flagForwarded != 0 || f.Has&fabric.HasStamp == 0 {
		return bad()
	}
	forwarded := b[0]&flagForwarded != 0
	b = b[1:]
	l = letter{seq: f.Stream, stamp: f.Stamp, class: f.Class, from: barrier.Life{Member: from}}
	l.view.Number, l.view.Hash = uvarint(), u64()
	if forwarded {
		l.from.Member = fabric.MemberID(u64())
	}
	l.from.Incarnation = u64()
	generation := uvarint()
	l.from.Generation = uint32(generation)
	if l.body = b; err != nil || generation>>32 != 0 || forwarded && l.from.Member == from {
		return bad()
	}
	return l, nil
}
