package stream

import (
	"fmt"
	"math"

	"github.com/raftdv/dv/fabric"
)

// partial is a frame of which some pieces have come.
type partial struct {
	active bool
	frame  fabric.Frame // without its bytes
	next   uint32       // index of the next piece
	patch  int          // length of the patch, in front of the body
	b      []byte
}

// takePiece takes a piece; the last one completes the frame, which is delivered
// at once because its memory belongs to the lane.
func (c *recvConn) takePiece(f *fabric.Frame) error {
	m := &c.partial[f.Lane]
	if !m.active && f.Fragment.Index == 0 {
		if err := c.checkFirst(f); err != nil {
			return err
		}
		if err := c.skipTo(f.Lane, f.Link); err != nil {
			return err
		}
		f = &c.frames[c.n] // skipTo may have moved it
		*m = partial{active: true, frame: *f, patch: len(f.Patch), b: append(m.b[:0], f.Patch...)}
		m.frame.Patch, m.frame.Body = nil, nil
	}
	g := &f.Fragment
	switch {
	case !m.active || f.Link != m.frame.Link || f.Kind != m.frame.Kind || g.Index != m.next ||
		g.Count != m.frame.Fragment.Count || g.Total != m.frame.Fragment.Total:
		return fmt.Errorf("%w: piece %d of %d of frame %d in %v, expected piece %d of frame %d",
			ErrBadPiece, g.Index, g.Count, f.Link, f.Lane, m.next, m.frame.Link)
	case len(f.Body) != min(pieceLen, int(g.Total)-int(g.Index)*pieceLen):
		return fmt.Errorf("%w: piece of %d bytes", ErrBadPiece, len(f.Body))
	}
	m.b = append(m.b, f.Body...)
	m.next++
	if m.next == g.Count {
		c.complete(m)
	}
	return nil
}

// checkFirst bounds what a first piece promises. Memory grows only as pieces
// come (F3).
func (c *recvConn) checkFirst(f *fabric.Frame) error {
	g := &f.Fragment
	if g.Total > uint64(c.p.cfg.MaxFrame) || len(f.Patch)+int(g.Total) > c.p.cfg.MaxFrame {
		return tooLarge(g.Total)
	}
	if g.Count < 2 || g.Count != pieces(int(g.Total)) || f.Link == math.MaxUint64 {
		return fmt.Errorf("%w: %d pieces for %d bytes, frame %d", ErrBadPiece, g.Count, g.Total, f.Link)
	}
	return nil
}

func (c *recvConn) complete(m *partial) {
	c.deliver()
	f := &c.frames[0]
	*f = m.frame
	if m.patch > 0 {
		f.Patch = m.b[:m.patch:m.patch]
	}
	f.Body = m.b[m.patch:]
	f.BodyLen = uint32(len(f.Body))
	f.Has &^= fabric.HasFragment
	f.Fragment = fabric.Fragment{}
	c.q.rx.expected[f.Lane] = f.Link + 1
	c.n = 1
	c.deliver()
	m.active = false
	if cap(m.b) > keptPartial {
		m.b = nil
	}
}
