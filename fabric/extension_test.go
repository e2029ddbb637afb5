package fabric_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/raftdv/dv/fabric"
	"pgregory.net/rapid"
)

func TestExtensionsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := extensions(true).Draw(t, "extensions")
		var again []byte
		err := fabric.RangeExtensions(b, func(e fabric.Extension) bool {
			if !within(e.Value, b) {
				t.Fatalf("value of %d is not in the section, or reaches beyond itself", e.Type)
			}
			again = fabric.AppendExtension(again, e)
			return true
		})
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%v; %x became %x", err, b, again)
		}
	})
}

// A receiver goes on without what it may ignore, never without what it may not.
func TestUnknownExtensions(t *testing.T) {
	b := fabric.AppendExtension(nil, fabric.Extension{Type: 1, Value: []byte("ignored")})
	b = fabric.AppendExtension(b, fabric.Extension{Type: 2, Value: []byte("known"), Critical: true})
	b = fabric.AppendExtension(b, fabric.Extension{Type: 3, Critical: true})
	b = fabric.AppendExtension(b, fabric.Extension{Type: 4})
	var seen []uint16
	know := func(types ...uint16) func(fabric.Extension) bool {
		seen = nil
		return func(e fabric.Extension) bool {
			seen = append(seen, e.Type)
			return slices.Contains(types, e.Type)
		}
	}
	if err := fabric.RangeExtensions(b, know(2, 3)); err != nil || len(seen) != 4 {
		t.Errorf("all critical ones are known: %v, seen %d", err, seen)
	}
	if err := fabric.RangeExtensions(b, know(2)); !errors.Is(err, fabric.ErrVersion) || len(seen) != 3 {
		t.Errorf("a critical one is unknown: %v, seen %d", err, seen)
	}
	for _, critical := range []bool{false, true} {
		f := sample(fabric.HasExtensions)
		f.Extensions = fabric.AppendExtension(nil, fabric.Extension{Type: 77, Critical: critical})
		var got fabric.Frame
		_, err := fabric.ParseFrame(encode(&f), maxBody, &got)
		if critical != errors.Is(err, fabric.ErrVersion) || critical != (err != nil) {
			t.Errorf("critical %v: %v", critical, err)
		}
	}
}

func TestRangeExtensionsRefuses(t *testing.T) {
	tlv := func(types ...uint16) (b []byte) {
		for _, n := range types {
			b = fabric.AppendExtension(b, fabric.Extension{Type: n &^ (1 << 15), Critical: n >= 1<<15, Value: []byte{1}})
		}
		return b
	}
	for name, b := range map[string][]byte{
		"1 byte": {1}, "3 bytes": {1, 0, 0}, "value too long": {1, 0, 1, 0}, "value much too long": {1, 0, 0xff, 0xff, 1},
		"second cut": tlv(1, 2)[:8], "twice": tlv(1, 1), "falling": tlv(2, 1), "twice, once critical": tlv(1, 1<<15|1), "type 0 twice": tlv(0, 0),
	} {
		if err := fabric.RangeExtensions(b, func(fabric.Extension) bool { return true }); !errors.Is(err, fabric.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, e := range map[string]fabric.Extension{
		"type with the critical bit": {Type: 1 << 15}, "large value": {Type: 1, Value: make([]byte, 1<<16)},
	} {
		if !panics(func() { fabric.AppendExtension(nil, e) }) {
			t.Errorf("%s: encoded", name)
		}
	}
}
