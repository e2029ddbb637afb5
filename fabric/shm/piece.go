package shm

import (
	"fmt"
	"slices"

	"github.com/raftdv/dv/fabric"
)

const (
	prelude = 32 // of an encoded frame
	// laterHeader is the header of all pieces but the first.
	laterHeader = prelude + 16
)

// room is what a slot holds besides its own bookkeeping.
func room(slot int) int { return slot - fabric.SlotOverhead }

// leastSlots hold the largest frame, whatever the header of its first piece.
func leastSlots(maxFrame, slot int) int {
	later := max(room(slot)-laterHeader, 1) // the slot's size may not be checked yet
	return 1 + (max(maxFrame, 1)+later-1)/later
}

// piecesFor is how many slots a frame takes; first is the body in the first
// one. h is the header without the fragment section.
func piecesFor(slot int, h *fabric.Header, patch, body []byte) (n, first int) {
	if fabric.FrameSize(h, patch, body) <= room(slot) {
		return 1, len(body)
	}
	h.Has |= fabric.HasFragment
	first = room(slot) - fabric.FrameSize(h, patch, nil)
	h.Has &^= fabric.HasFragment
	later := room(slot) - laterHeader
	return 1 + (len(body)-first+later-1)/later, first
}

// partial is a frame of which some pieces have come. Its memory, at most
// Config.MaxFrame, is kept for the next one.
type partial struct {
	active bool
	frame  fabric.Frame // without its bytes
	next   uint32       // index of the next piece
	patch  int          // length of the patch, in front of the body
	b      []byte
}

// add takes a piece, and reports whether it was the last one.
func (m *partial) add(f *fabric.Frame, maxFrame int) (whole bool, err error) {
	g := &f.Fragment
	if !m.active && g.Index == 0 {
		if g.Count < 2 || g.Total > uint64(maxFrame) || int(g.Total)+len(f.Patch) > maxFrame {
			return false, fmt.Errorf("%w: frame %d of %d bytes in %d pieces, at most %d bytes", ErrBadPiece, f.Link, g.Total, g.Count, maxFrame)
		}
		b := slices.Grow(m.b[:0], len(f.Patch)+int(g.Total))
		*m = partial{active: true, frame: *f, patch: len(f.Patch), b: append(b, f.Patch...)}
		m.frame.Patch, m.frame.Body = nil, nil
	}
	was := &m.frame.Fragment
	switch {
	case !m.active || f.Link != m.frame.Link || f.Kind != m.frame.Kind || g.Index != m.next || g.Count != was.Count || g.Total != was.Total:
		return false, fmt.Errorf("%w: piece %d of %d of frame %d, expected piece %d of frame %d", ErrBadPiece, g.Index, g.Count, f.Link, m.next, m.frame.Link)
	case g.Index > 0 && len(f.Patch) > 0 || len(f.Body) > int(g.Total)-(len(m.b)-m.patch):
		return false, fmt.Errorf("%w: piece %d of frame %d has %d bytes too many", ErrBadPiece, g.Index, f.Link, len(f.Body))
	}
	m.b = append(m.b, f.Body...)
	m.next++
	if m.next < g.Count {
		return false, nil
	}
	if len(m.b)-m.patch != int(g.Total) {
		return false, fmt.Errorf("%w: frame %d has %d bytes of %d", ErrBadPiece, f.Link, len(m.b)-m.patch, g.Total)
	}
	return true, nil
}

// take returns the whole frame; its bytes are valid until the next one begins.
func (m *partial) take() fabric.Frame {
	m.active = false
	f := m.frame
	if m.patch > 0 {
		f.Patch = m.b[:m.patch:m.patch]
	}
	f.Body = m.b[m.patch:]
	f.BodyLen = uint32(len(f.Body))
	f.Has &^= fabric.HasFragment
	f.Fragment = fabric.Fragment{}
	return f
}
