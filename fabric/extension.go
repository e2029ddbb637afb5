package fabric

import (
	"encoding/binary"
	"fmt"
)

// Extension is one TLV of the extensions section.
type Extension struct {
	Type  uint16 // without the critical bit
	Value []byte
	// Critical: a receiver that does not know the type must refuse the frame.
	Critical bool
}

const criticalBit = 1 << 15

// AppendExtension appends one TLV to an extensions section.
func AppendExtension(dst []byte, e Extension) []byte {
	t := e.Type &^ criticalBit
	if e.Critical {
		t |= criticalBit
	}
	dst = binary.LittleEndian.AppendUint16(dst, t)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(e.Value)))
	return append(dst, e.Value...)
}

// RangeExtensions calls visit for each TLV until it returns false. visit
// reports whether the receiver knows the type; an unknown critical one is an
// error (ErrVersion), an unknown ignorable one is skipped.
func RangeExtensions(b []byte, visit func(Extension) (known bool)) error {
	for len(b) > 0 {
		if len(b) < 4 {
			return fmt.Errorf("%w: extension of %d bytes", ErrMalformed, len(b))
		}
		t, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if len(b) < 4+n {
			return fmt.Errorf("%w: extension %d wants %d bytes, %d are left", ErrMalformed, t&^criticalBit, n, len(b)-4)
		}
		e := Extension{Type: t &^ criticalBit, Value: b[4 : 4+n], Critical: t&criticalBit != 0}
		if !visit(e) && e.Critical {
			return fmt.Errorf("%w: unknown critical extension %d", ErrVersion, e.Type)
		}
		b = b[4+n:]
	}
	return nil
}
