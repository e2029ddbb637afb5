package shm

import (
	"encoding/binary"
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// The row of a peer lies in the segment, and only the peer writes it. Its
// version word is odd while it does. Whoever reads it copies and looks at the
// word again: no lock, and a writer that dies in between leaves an odd word
// behind, which is never read.
const (
	maxRowLen = 32 + fabric.MaxRowSections
	// rowTries bounds the reads of a row that changes meanwhile. The writer
	// rings when it is through, so that nothing is missed.
	rowTries = 4
)

// rowWriter is the end of the row's owner.
type rowWriter struct {
	segment []byte
	version uint64
}

// put replaces the row.
func (w *rowWriter) put(row []byte) {
	version := word64(w.segment, rowWordAt)
	version.Store(w.version + 1)
	word64(w.segment, rowBytesAt).Store(uint64(len(row)))
	var last [8]byte
	for at := 0; at < len(row); at += 8 {
		b := row[at:]
		if len(b) < 8 {
			b = append(last[:0], b...)[:8]
		}
		word64(w.segment, rowBytesAt+8+at).Store(binary.LittleEndian.Uint64(b))
	}
	w.version += 2
	version.Store(w.version)
}

// rowReader is the end of the segment's owner.
type rowReader struct {
	segment []byte
	seen    uint64
	buf     [maxRowLen + 8]byte
}

// news reports whether there is a version that take has not seen.
func (r *rowReader) news() bool {
	v := word64(r.segment, rowWordAt).Load()
	return v != r.seen && v%2 == 0
}

// take returns a copy of the row, valid until the next call; nil if there is no
// news, or it is being written.
func (r *rowReader) take() ([]byte, error) {
	version := word64(r.segment, rowWordAt)
	for range rowTries {
		v := version.Load()
		if v == r.seen || v%2 != 0 {
			return nil, nil
		}
		n := word64(r.segment, rowBytesAt).Load()
		for at := 0; at < int(min(n, maxRowLen)); at += 8 {
			binary.LittleEndian.PutUint64(r.buf[at:], word64(r.segment, rowBytesAt+8+at).Load())
		}
		if version.Load() != v {
			continue
		}
		r.seen = v
		if n > maxRowLen {
			return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrBadRow, n, maxRowLen)
		}
		return r.buf[:n], nil
	}
	return nil, nil
}
