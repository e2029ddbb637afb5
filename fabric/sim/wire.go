package sim

import (
	"fmt"

	"github.com/raftdv/dv/fabric"
)

// overWire encodes and decodes a frame; the bytes stay in n.wire until the next
// delivery.
func (n *Network) overWire(f *fabric.Frame) fabric.Frame {
	at := len(n.wire)
	n.wire = n.encode(n.wire, f)
	var got fabric.Frame
	rest, err := fabric.ParseFrame(n.wire[at:], n.cfg.MaxFrame, &got)
	if err != nil || len(rest) > 0 {
		panic(fmt.Sprintf("sim: seed %#x: frame %+v does not survive the wire: %v, %d bytes left", n.Seed(), f.Header, err, len(rest)))
	}
	return got
}

func (n *Network) encode(dst []byte, f *fabric.Frame) []byte {
	f.Has |= fabric.HasCRC
	return fabric.AppendFrame(dst, &f.Header, f.Patch, f.Body)
}

// corrupted flips a bit of the packet's first frame. That the decoder does not
// notice would be a bug of the format.
func (n *Network) corrupted(l *link, ev *event) {
	ln := &l.lanes[ev.lane]
	if !n.cfg.Wire || ev.lo == ev.hi || ev.lo < ln.base {
		return
	}
	w := Network{cfg: n.cfg}
	w.cfg.Wire = false
	f := w.frame(l, ln.at(ev.lo), fabric.Lane(ev.lane), ev.lo)
	b := n.encode(nil, &f)
	bit := n.rng.IntN(8 * len(b))
	b[bit/8] ^= 1 << (bit % 8)
	var got fabric.Frame
	if rest, err := fabric.ParseFrame(b, n.cfg.MaxFrame, &got); err == nil && len(rest) == 0 {
		panic(fmt.Sprintf("sim: seed %#x: frame %+v with bit %d flipped is taken for %+v", n.Seed(), f.Header, bit, got.Header))
	}
}

// rowOverWire encodes and decodes a row.
func (n *Network) rowOverWire(row *fabric.Row) *fabric.Row {
	got, err := fabric.ParseRow(fabric.AppendRow(nil, row))
	if err != nil {
		panic(fmt.Sprintf("sim: seed %#x: row %d.%d of %s does not survive the wire: %v", n.Seed(), row.Incarnation, row.Version, row.Owner, err))
	}
	return &got
}
