package fabric_test

import (
	"math"
	"reflect"
	"testing"
	"unsafe"

	"github.com/raftdv/dv/fabric"
	"pgregory.net/rapid"
)

// The sections as the wire has them, written down a second time.
const (
	allSections = fabric.HasContext | fabric.HasStamp | fabric.HasClock | fabric.HasSeal | fabric.HasDestinations |
		fabric.HasFragment | fabric.HasPatch | fabric.HasBodyDigest | fabric.HasPatchDigest | fabric.HasMAC |
		fabric.HasCRC | fabric.HasExtensions
	preludeLen = 32
	maxBody    = 64 << 10
)

// sample is a frame with fields that are told apart in every byte; has picks
// the sections.
func sample(has fabric.Sections) fabric.Frame {
	f := fabric.Frame{Header: fabric.Header{
		Kind: fabric.KindData, Class: fabric.ClassAgreed, Lane: fabric.LaneAppend, Has: has,
		Link: 0x1817161514131211, Stream: 0x2827262524232221,
	}, Body: []byte("the body")}
	f.BodyLen = uint32(len(f.Body))
	set := func(bit fabric.Sections, fill func()) {
		if has&bit != 0 {
			fill()
		}
	}
	set(fabric.HasContext, func() {
		f.Context = fabric.Context{Cluster: 0x3101, Epoch: 0x3202, Origin: 0x3303, Incarnation: 0x3404, View: 0x3505, ViewHash: 0x3606}
	})
	set(fabric.HasStamp, func() { f.Stamp = fabric.Stamp{Time: -2, Logical: 0x41424344} })
	set(fabric.HasClock, func() { f.Clock = fabric.Clock{ErrorNanos: 0x5152, Cycle: 0x53, Slot: 0x54} })
	set(fabric.HasSeal, func() { f.Seal = []byte("seal") })
	set(fabric.HasDestinations, func() { f.Destinations = fabric.AppendDestinations(nil, []fabric.MemberID{3, 1, 2, 3}) })
	set(fabric.HasFragment, func() { f.Fragment = fabric.Fragment{Index: 1, Count: 3, Total: 0x6162} })
	set(fabric.HasPatch, func() { f.Patch = []byte("a patch") })
	set(fabric.HasBodyDigest, func() { f.BodyDigest = digest(0x70) })
	set(fabric.HasPatchDigest, func() { f.PatchDigest = digest(0xa0) })
	set(fabric.HasMAC, func() { copy(f.MAC[:], "message auth. co") })
	set(fabric.HasExtensions, func() {
		f.Extensions = fabric.AppendExtension(nil, fabric.Extension{Type: 7, Value: []byte("seven")})
		f.Extensions = fabric.AppendExtension(f.Extensions, fabric.Extension{Type: 9})
	})
	return f
}

func digest(from byte) (d fabric.Digest) {
	d.Algorithm = fabric.DigestSHA256
	for i := range d.Sum {
		d.Sum[i] = from + byte(i)
	}
	return d
}

func encode(f *fabric.Frame) []byte { return fabric.AppendFrame(nil, &f.Header, f.Patch, f.Body) }

// bytesOf draws byte strings.
func bytesOf(minLen, maxLen int) *rapid.Generator[[]byte] {
	return rapid.SliceOfN(rapid.Byte(), minLen, maxLen)
}

// frames draws any frame that may be sent.
func frames() *rapid.Generator[fabric.Frame] {
	return rapid.Custom(func(t *rapid.T) fabric.Frame {
		u64, u32, b := rapid.Uint64(), rapid.Uint32(), rapid.Byte()
		f := fabric.Frame{Header: fabric.Header{
			Kind:  fabric.Kind(rapid.IntRange(1, 255).Draw(t, "kind")),
			Class: fabric.Class(rapid.IntRange(0, int(fabric.ClassSafe)).Draw(t, "class")),
			Lane:  fabric.Lane(rapid.IntRange(0, fabric.Lanes-1).Draw(t, "lane")),
			Minor: b.Draw(t, "minor"), Link: u64.Draw(t, "link"), Stream: u64.Draw(t, "stream"),
			Has: fabric.Sections(rapid.Uint32Range(0, uint32(allSections)).Draw(t, "sections")),
		}, Body: bytesOf(0, 300).Draw(t, "body")}
		f.BodyLen = uint32(len(f.Body))
		h := &f.Header
		if h.Has&fabric.HasContext != 0 {
			h.Context = fabric.Context{
				Cluster: u64.Draw(t, "cluster"), Epoch: u64.Draw(t, "epoch"), Origin: fabric.MemberID(u64.Draw(t, "origin")),
				Incarnation: u64.Draw(t, "incarnation"), View: u64.Draw(t, "view"), ViewHash: u64.Draw(t, "hash"),
			}
		}
		if h.Has&fabric.HasStamp != 0 {
			h.Stamp = fabric.Stamp{Time: rapid.Int64().Draw(t, "time"), Logical: u32.Draw(t, "logical")}
		}
		if h.Has&fabric.HasClock != 0 {
			h.Clock = fabric.Clock{ErrorNanos: u64.Draw(t, "error"), Cycle: u32.Draw(t, "cycle"), Slot: u32.Draw(t, "slot")}
		}
		if h.Has&fabric.HasSeal != 0 {
			h.Seal = bytesOf(0, 40).Draw(t, "seal")
		}
		if h.Has&fabric.HasDestinations != 0 {
			ids := rapid.SliceOfN(rapid.Uint64Min(1), 1, 20).Draw(t, "destinations")
			members := make([]fabric.MemberID, len(ids))
			for i, id := range ids {
				members[i] = fabric.MemberID(id)
			}
			h.Destinations = fabric.AppendDestinations(nil, members)
		}
		if h.Has&fabric.HasFragment != 0 {
			h.Fragment = fabric.Fragment{Index: u32.Draw(t, "index"), Count: u32.Draw(t, "count"), Total: u64.Draw(t, "total")}
		}
		if h.Has&fabric.HasPatch != 0 {
			f.Patch = bytesOf(1, 100).Draw(t, "patch")
		}
		for _, d := range []struct {
			bit fabric.Sections
			to  *fabric.Digest
		}{{fabric.HasBodyDigest, &h.BodyDigest}, {fabric.HasPatchDigest, &h.PatchDigest}} {
			if h.Has&d.bit != 0 {
				d.to.Algorithm = b.Draw(t, "algorithm")
				copy(d.to.Sum[:], bytesOf(fabric.DigestLen, fabric.DigestLen).Draw(t, "sum"))
			}
		}
		if h.Has&fabric.HasMAC != 0 {
			copy(h.MAC[:], bytesOf(fabric.MACLen, fabric.MACLen).Draw(t, "mac"))
		}
		if h.Has&fabric.HasExtensions != 0 {
			h.Extensions = extensions(false).Draw(t, "extensions")
		}
		return f
	})
}

// extensions draws a section that is not empty.
func extensions(critical bool) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) (b []byte) {
		for next := 0; len(b) == 0 || next < 1<<15 && rapid.Bool().Draw(t, "more"); next++ {
			next = rapid.IntRange(next, 1<<15-1).Draw(t, "type")
			b = fabric.AppendExtension(b, fabric.Extension{
				Type: uint16(next), Value: bytesOf(0, 20).Draw(t, "value"), Critical: critical && rapid.Bool().Draw(t, "critical"),
			})
		}
		return b
	})
}

// sections draws the sections of a row.
func sections() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) (b []byte) {
		for next := 0; len(b) < 900 && next <= math.MaxUint16 && rapid.Bool().Draw(t, "more"); next++ {
			next = rapid.IntRange(next, math.MaxUint16).Draw(t, "id")
			b = fabric.AppendSection(b, fabric.Section{
				ID: uint16(next), Version: rapid.Uint16().Draw(t, "version"), Value: bytesOf(0, 60).Draw(t, "value"),
			})
		}
		return b
	})
}

// same compares frames by content: an empty slice is a nil one.
func same(a, b fabric.Frame) bool {
	for _, f := range []*fabric.Frame{&a, &b} {
		for _, s := range []*[]byte{&f.Seal, &f.Destinations, &f.Extensions, &f.Patch, &f.Body} {
			if len(*s) == 0 {
				*s = nil
			}
		}
	}
	return reflect.DeepEqual(a, b)
}

// mustParse decodes a frame that fills b.
func mustParse(t testing.TB, b []byte) (f fabric.Frame) {
	t.Helper()
	rest, err := fabric.ParseFrame(b, maxBody, &f)
	if err != nil || len(rest) != 0 {
		t.Fatalf("%d bytes are left, error %v of %x", len(rest), err, b)
	}
	return f
}

// within reports whether part lies in whole, capacity included: appending to it
// overwrites nothing.
func within(part, whole []byte) bool {
	if len(part) == 0 {
		return true
	}
	at := uintptr(unsafe.Pointer(&part[0])) - uintptr(unsafe.Pointer(unsafe.SliceData(whole)))
	return cap(part) == len(part) && at < uintptr(len(whole)) && int(at)+len(part) <= len(whole)
}

// panics reports whether f does.
func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}
