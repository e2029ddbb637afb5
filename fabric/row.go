package fabric

import (
	"encoding/binary"
	"fmt"
)

// Row is a member's line of the shared table (Derecho's SST): only its owner
// writes it, the newest version wins, every member holds a copy.
//
// On the wire, little-endian: owner 8, incarnation 8, version 8, length of the
// sections 4, reserved 4 (zero), then the sections: id 2, version 2, length 4,
// value. Incarnation and version only rise. Sections that a reader does not
// know are kept as they are, so that relays preserve them.
type Row struct {
	Owner       MemberID
	Incarnation uint64
	Version     uint64
	Sections    []byte
}

const (
	rowHeaderLen     = 32
	sectionHeaderLen = 8
	// MaxRowSections bounds the sections of a row in bytes: with header and
	// seal it fits a datagram of any path.
	MaxRowSections = 1024
)

// The section ids of version 1. Each section's own documentation states the
// direction in which its fields move.
const (
	// SectionRaft holds acks of a raft member.
	SectionRaft = 1
	// SectionBarrier, SectionArbiter and SectionSignature are reserved.
	SectionBarrier   = 2
	SectionArbiter   = 3
	SectionSignature = 0xfffe
)

// Newer reports whether r replaces old.
func (r *Row) Newer(old *Row) bool {
	if r.Incarnation != old.Incarnation {
		return r.Incarnation > old.Incarnation
	}
	return r.Version > old.Version
}

// AppendRow appends the encoding of r to dst.
func AppendRow(dst []byte, r *Row) []byte {
	le := binary.LittleEndian
	for _, v := range [...]uint64{uint64(r.Owner), r.Incarnation, r.Version, uint64(len(r.Sections))} {
		dst = le.AppendUint64(dst, v)
	}
	return append(dst, r.Sections...)
}

// ParseRow decodes a row that fills b; Sections then points into b.
func ParseRow(b []byte) (Row, error) {
	if len(b) < rowHeaderLen {
		return Row{}, fmt.Errorf("%w: row of %d bytes", ErrMalformed, len(b))
	}
	le := binary.LittleEndian
	r := Row{
		Owner: MemberID(le.Uint64(b)), Incarnation: le.Uint64(b[8:]), Version: le.Uint64(b[16:]),
		Sections: b[rowHeaderLen:],
	}
	if n := le.Uint64(b[24:]); n != uint64(len(r.Sections)) || n > MaxRowSections {
		return Row{}, fmt.Errorf("%w: row says %d bytes of sections, has %d, at most %d", ErrMalformed, n, len(r.Sections), MaxRowSections)
	}
	return r, RangeSections(r.Sections, func(Section) bool { return true })
}

// Section is one part of a row.
type Section struct {
	ID      uint16
	Version uint16
	Value   []byte
}

// AppendSection appends a section to a row's sections.
func AppendSection(dst []byte, s Section) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, s.ID)
	dst = le.AppendUint16(dst, s.Version)
	dst = le.AppendUint32(dst, uint32(len(s.Value)))
	return append(dst, s.Value...)
}

// RangeSections calls visit for each section until it returns false.
func RangeSections(b []byte, visit func(Section) bool) error {
	le := binary.LittleEndian
	for len(b) > 0 {
		if len(b) < sectionHeaderLen {
			return fmt.Errorf("%w: row section of %d bytes", ErrMalformed, len(b))
		}
		n := uint64(le.Uint32(b[4:]))
		if uint64(len(b)-sectionHeaderLen) < n {
			return fmt.Errorf("%w: row section %d wants %d bytes, %d are left", ErrMalformed, le.Uint16(b), n, len(b)-sectionHeaderLen)
		}
		end := sectionHeaderLen + int(n)
		if !visit(Section{ID: le.Uint16(b), Version: le.Uint16(b[2:]), Value: b[sectionHeaderLen:end:end]}) {
			return nil
		}
		b = b[end:]
	}
	return nil
}

// FindSection returns the section with the given id.
func FindSection(b []byte, id uint16) (s Section, ok bool) {
	for len(b) >= sectionHeaderLen {
		n := uint64(binary.LittleEndian.Uint32(b[4:]))
		if uint64(len(b)-sectionHeaderLen) < n {
			return Section{}, false
		}
		end := sectionHeaderLen + int(n)
		if binary.LittleEndian.Uint16(b) == id {
			return Section{ID: id, Version: binary.LittleEndian.Uint16(b[2:]), Value: b[sectionHeaderLen:end:end]}, true
		}
		b = b[end:]
	}
	return Section{}, false
}
