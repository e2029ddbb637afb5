package mesh

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/raftdv/dv/fabric"
)

const (
	helloMagic = "dVm\x01"
	helloLen   = 40
	// maxReason bounds the text of a refusal.
	maxReason = 256
)

// Errors of a handshake.
var (
	// ErrHello: whoever answers speaks another protocol, or another version.
	ErrHello = errors.New("mesh: not a hello")
	// ErrCluster: a member of another cluster.
	ErrCluster = errors.New("mesh: member of another cluster")
	// ErrWrongMember: the address is that of another member.
	ErrWrongMember = errors.New("mesh: another member answers at this address")
	// ErrRefused: the other end says no, and why.
	ErrRefused = errors.New("mesh: refused")
)

// hello is what one end says of itself.
type hello struct {
	cluster     uint64
	from, to    fabric.MemberID
	incarnation uint64
}

func (h *hello) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(append(dst, helloMagic...), 0)
	dst = le.AppendUint64(dst, h.cluster)
	dst = le.AppendUint64(dst, uint64(h.from))
	dst = le.AppendUint64(dst, uint64(h.to))
	return le.AppendUint64(dst, h.incarnation)
}

// appendRefusal appends what is said instead of a hello.
func appendRefusal(dst []byte, why error) []byte {
	text := why.Error()
	text = text[:min(len(text), maxReason)]
	dst = binary.LittleEndian.AppendUint32(append(dst, helloMagic...), uint32(len(text)))
	return append(dst, text...)
}

func readHello(r io.Reader) (h hello, err error) {
	var b [helloLen]byte
	le := binary.LittleEndian
	if _, err := io.ReadFull(r, b[:8]); err != nil {
		return h, err
	}
	if string(b[:4]) != helloMagic {
		return h, fmt.Errorf("%w: it begins with %x", ErrHello, b[:4])
	}
	if n := le.Uint32(b[4:]); n != 0 {
		why := make([]byte, min(n, maxReason))
		if _, err := io.ReadFull(r, why); err != nil {
			return h, err
		}
		return h, fmt.Errorf("%w: %q", ErrRefused, why)
	}
	if _, err := io.ReadFull(r, b[8:]); err != nil {
		return h, err
	}
	return hello{le.Uint64(b[8:]), fabric.MemberID(le.Uint64(b[16:])), fabric.MemberID(le.Uint64(b[24:])), le.Uint64(b[32:])}, nil
}

// check is nil if h may come from that member, 0: whoever.
func (h *hello) check(cluster uint64, self, from fabric.MemberID) error {
	switch {
	case h.cluster != cluster:
		return fmt.Errorf("%w: %x, this one is of %x", ErrCluster, h.cluster, cluster)
	case h.to != self:
		return fmt.Errorf("%w: %v, not %v", ErrWrongMember, self, h.to)
	case from != 0 && h.from != from, h.from == 0, h.from == self:
		return fmt.Errorf("%w: %v", ErrWrongMember, h.from)
	}
	return nil
}
