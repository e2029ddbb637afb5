package fabric

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Extension is one TLV of the extensions section.
type Extension struct {
	Type  uint16 // below 1<<15
	Value []byte
	// Critical: a receiver that does not know the type must refuse the frame.
	Critical bool
}

const (
	criticalBit        = 1 << 15
	extensionHeaderLen = 4
)

// knownExtension says which extensions this version understands: none. The
// decoder refuses frames with critical ones of other types, so that no layer
// above takes a frame without what it depends on.
func knownExtension(Extension) bool { return false }

// AppendExtension appends one TLV to an extensions section. Types must rise. It
// panics on a type or value that a TLV cannot hold.
func AppendExtension(dst []byte, e Extension) []byte {
	if e.Type >= criticalBit || len(e.Value) > math.MaxUint16 {
		panic(fmt.Sprintf("fabric: extension %d of %d bytes", e.Type, len(e.Value)))
	}
	t := e.Type
	if e.Critical {
		t |= criticalBit
	}
	dst = binary.LittleEndian.AppendUint16(dst, t)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.Value)))
	return append(dst, e.Value...)
}

// RangeExtensions calls visit for each TLV; types rise, so none comes twice.
// visit reports whether the receiver knows the type: an unknown critical one
// ends it with ErrVersion, unknown others are skipped.
func RangeExtensions(b []byte, visit func(Extension) (known bool)) error {
	le, last := binary.LittleEndian, -1
	for len(b) > 0 {
		if len(b) < extensionHeaderLen {
			return fmt.Errorf("%w: extension of %d bytes", ErrMalformed, len(b))
		}
		t, n := le.Uint16(b), int(le.Uint16(b[2:]))
		end := extensionHeaderLen + n
		if len(b) < end {
			return fmt.Errorf("%w: extension %d wants %d bytes, %d are left", ErrMalformed, t&^criticalBit, n, len(b)-extensionHeaderLen)
		}
		e := Extension{Type: t &^ criticalBit, Value: b[extensionHeaderLen:end:end], Critical: t&criticalBit != 0}
		if int(e.Type) <= last {
			return fmt.Errorf("%w: extension %d follows %d", ErrMalformed, e.Type, last)
		}
		if !visit(e) && e.Critical {
			return fmt.Errorf("%w: unknown critical extension %d", ErrVersion, e.Type)
		}
		last, b = int(e.Type), b[end:]
	}
	return nil
}
