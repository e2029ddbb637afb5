package fabric

import (
	"encoding/binary"
	"fmt"
)

// Row is a member's line of the shared table (Derecho's SST): only its owner
// writes it, the newest version wins, every member holds a copy.
//
// On the wire, little-endian: owner 8, incarnation 8, version 8, length of the
// sections 4, reserved 4 (zero), then the sections, ids rising: id 2, version 2,
// length 4, value. Incarnation and version only rise. Sections that a reader
// does not know are kept as they are, so that relays preserve them.
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
	// SectionArbiter holds what a raft member says of elections.
	SectionArbiter = 3
	// SectionBarrier and SectionSignature are reserved.
	SectionBarrier   = 2
	SectionSignature = 0xfffe
)

// Newer reports whether r replaces old.
func (r *Row) Newer(old *Row) bool {
	if r.Incarnation != old.Incarnation {
		return r.Incarnation > old.Incarnation
	}
	return r.Version > old.Version
}

// AppendRow appends the encoding of r to dst. It panics on sections beyond
// MaxRowSections: ports refuse to publish them.
func AppendRow(dst []byte, r *Row) []byte {
	if len(r.Sections) > MaxRowSections {
		panic(fmt.Sprintf("fabric: row with sections of %d bytes", len(r.Sections)))
	}
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
		Sections: b[rowHeaderLen:len(b):len(b)],
	}
	if n := le.Uint64(b[24:]); n != uint64(len(r.Sections)) || n > MaxRowSections {
		return Row{}, fmt.Errorf("%w: row says %d bytes of sections, has %d, at most %d", ErrMalformed, n, len(r.Sections), MaxRowSections)
	}
	if err := RangeSections(r.Sections, func(Section) bool { return true }); err != nil {
		return Row{}, err
	}
	return r, nil
}

// Section is one part of a row.
type Section struct {
	ID      uint16
	Version uint16
	Value   []byte
}

// AppendSection appends a section to a row's sections. Ids must rise.
func AppendSection(dst []byte, s Section) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, s.ID)
	dst = le.AppendUint16(dst, s.Version)
	dst = le.AppendUint32(dst, uint32(len(s.Value)))
	return append(dst, s.Value...)
}

// RangeSections calls visit for each section until it returns false. Ids that
// do not rise are an error: readers of a section that comes twice would differ
// on which one counts.
func RangeSections(b []byte, visit func(Section) bool) error {
	last := -1
	for len(b) > 0 {
		s, rest, ok := cutSection(b)
		switch {
		case !ok:
			return fmt.Errorf("%w: row section after %d exceeds the %d bytes that are left", ErrMalformed, last, len(b))
		case int(s.ID) <= last:
			return fmt.Errorf("%w: row section %d follows %d", ErrMalformed, s.ID, last)
		case !visit(s):
			return nil
		}
		last, b = int(s.ID), rest
	}
	return nil
}

// FindSection returns the first section with the given id.
func FindSection(b []byte, id uint16) (s Section, ok bool) {
	for {
		if s, b, ok = cutSection(b); !ok {
			return Section{}, false
		}
		if s.ID == id {
			return s, true
		}
	}
}

// cutSection takes the first section off b, if it is whole.
func cutSection(b []byte) (s Section, rest []byte, ok bool) {
	if len(b) < sectionHeaderLen {
		return Section{}, nil, false
	}
	le := binary.LittleEndian
	n := uint64(le.Uint32(b[4:]))
	if n > uint64(len(b)-sectionHeaderLen) {
		return Section{}, nil, false
	}
	end := sectionHeaderLen + int(n)
	return Section{ID: le.Uint16(b), Version: le.Uint16(b[2:]), Value: b[sectionHeaderLen:end:end]}, b[end:], true
}
