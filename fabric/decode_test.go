package fabric_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// patched returns a copy of b with to at offset at.
func patched(b []byte, at int, to ...byte) []byte {
	b = bytes.Clone(b)
	copy(b[at:], to)
	return b
}

// raw builds a frame by hand: sections, then a body of 4 bytes.
func raw(has fabric.Sections, sections ...byte) []byte {
	le := binary.LittleEndian
	b := append([]byte("dV"), fabric.Major, fabric.Minor)
	b = le.AppendUint16(b, uint16(preludeLen+len(sections)))
	b = append(b, byte(fabric.KindData), byte(fabric.ClassFIFO)<<4|byte(fabric.LaneBulk))
	b = le.AppendUint32(b, uint32(has))
	b = le.AppendUint32(b, 4)
	b = append(b, make([]byte, 16)...)
	return append(append(b, sections...), "body"...)
}

// variable is a section of n bytes x.
func variable(n int, x byte) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(n))
	b = append(b, bytes.Repeat([]byte{x}, n)...)
	return append(b, make([]byte, (8-len(b)%8)%8)...)
}

type refusal struct {
	name  string
	frame []byte
	want  error
}

// lengthFaults are seen by FrameLen already: ports rely on it alone when they
// cut frames out of a stream.
func lengthFaults() []refusal {
	plain := raw(0)
	return []refusal{
		{"magic", patched(plain, 1, 'v'), fabric.ErrMalformed},
		{"earlier major version", patched(plain, 2, fabric.Major-1), fabric.ErrVersion},
		{"later major version", patched(plain, 2, fabric.Major+1), fabric.ErrVersion},
		{"no header", patched(plain, 4, 0, 0), fabric.ErrMalformed},
		{"header shorter than a prelude", patched(plain, 4, preludeLen-8), fabric.ErrMalformed},
		{"header not of 8 bytes", patched(raw(0, make([]byte, 8)...), 4, preludeLen+4), fabric.ErrMalformed},
		{"largest header", patched(plain, 4, 0xf8, 0xff), fabric.ErrMalformed},
		{"body above the caller's bound", patched(plain, 12, 1, 0, 1), fabric.ErrTooLarge},
		{"body of 2 GiB", patched(plain, 12, 0, 0, 0, 0x80), fabric.ErrTooLarge},
		{"largest body", patched(plain, 12, 0xff, 0xff, 0xff, 0xff), fabric.ErrTooLarge},
	}
}

func preludeFaults() []refusal {
	plain := raw(0)
	return append(lengthFaults(), []refusal{
		{"no kind", patched(plain, 6, 0), fabric.ErrMalformed},
		{"lane", patched(plain, 7, fabric.Lanes), fabric.ErrMalformed},
		{"class", patched(plain, 7, byte(fabric.ClassSafe+1)<<4), fabric.ErrMalformed},
		{"highest class", patched(plain, 7, 0xf0), fabric.ErrMalformed},
		{"sections where none are said", raw(0, make([]byte, 8)...), fabric.ErrMalformed},
		{"first unknown section", raw(allSections+1, make([]byte, 8)...), fabric.ErrVersion},
		{"highest section", raw(1<<31, make([]byte, 8)...), fabric.ErrVersion},
	}...)
}

func sectionFaults() []refusal {
	cases := []refusal{
		{"stamp's reserved bytes", raw(fabric.HasStamp, append(make([]byte, 12), 0, 0, 1, 0)...), fabric.ErrMalformed},
		{"digest's reserved bytes", raw(fabric.HasBodyDigest, append([]byte{1, 1}, make([]byte, 38)...)...), fabric.ErrMalformed},
		{"last reserved byte of the digest", raw(fabric.HasPatchDigest, append([]byte{1, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 32)...)...), fabric.ErrMalformed},
		{"wrong checksum", raw(fabric.HasCRC, 1, 2, 3, 4, 0, 0, 0, 0), fabric.ErrChecksum},
		{"checksum's reserved bytes", raw(fabric.HasCRC, 1, 2, 3, 4, 0, 0, 0, 1), fabric.ErrMalformed},
		{"seal's padding", raw(fabric.HasSeal, 1, 0, 'x', 0, 0, 1, 0, 0), fabric.ErrMalformed},
		{"patch's padding", raw(fabric.HasPatch, 1, 0, 'x', 0, 0, 0, 0, 1), fabric.ErrMalformed},
		{"patch longer than the header", raw(fabric.HasPatch, 7, 0, 1, 2, 3, 4, 5, 6), fabric.ErrMalformed},
		{"longest patch", raw(fabric.HasPatch, 0xff, 0xff, 1, 2, 3, 4, 5, 6), fabric.ErrMalformed},
		{"patch shorter than its section", raw(fabric.HasPatch, append([]byte{1, 0, 'x', 0, 0, 0, 0, 0}, make([]byte, 8)...)...), fabric.ErrMalformed},
		{"empty patch", raw(fabric.HasPatch, make([]byte, 8)...), fabric.ErrMalformed},
		{"empty patch among others", raw(fabric.HasPatch|fabric.HasSeal, make([]byte, 16)...), fabric.ErrMalformed},
		{"large patch", raw(fabric.HasPatch, variable(fabric.MaxPatch+1, 'x')...), fabric.ErrMalformed},
		{"empty destinations", raw(fabric.HasDestinations, make([]byte, 8)...), fabric.ErrMalformed},
		{"destinations of 9 bytes", raw(fabric.HasDestinations, variable(9, 1)...), fabric.ErrMalformed},
		{"destination 0", raw(fabric.HasDestinations, variable(8, 0)...), fabric.ErrMalformed},
		{"destination twice", raw(fabric.HasDestinations, variable(16, 1)...), fabric.ErrMalformed},
		{"destinations fall", raw(fabric.HasDestinations, append([]byte{16, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1}, make([]byte, 13)...)...), fabric.ErrMalformed},
		{"too many destinations", raw(fabric.HasDestinations, destinations(fabric.MaxDestinations+1)...), fabric.ErrMalformed},
		{"empty extensions", raw(fabric.HasExtensions, make([]byte, 8)...), fabric.ErrMalformed},
		{"extension cut short", raw(fabric.HasExtensions, 3, 0, 1, 0, 0, 0, 0, 0), fabric.ErrMalformed},
		{"extension longer than its section", raw(fabric.HasExtensions, 5, 0, 1, 0, 2, 0, 9, 0), fabric.ErrMalformed},
		{"extension twice", raw(fabric.HasExtensions, append(append([]byte{8, 0}, 1, 0, 0, 0, 1, 0, 0, 0), make([]byte, 6)...)...), fabric.ErrMalformed},
		{"critical extension", raw(fabric.HasExtensions, 4, 0, 1, 0x80, 0, 0, 0, 0), fabric.ErrVersion},
	}
	// Every section in a header that ends before it.
	for bit := fabric.HasContext; bit <= fabric.HasExtensions; bit <<= 1 {
		cases = append(cases, refusal{"section not there", raw(bit), fabric.ErrMalformed},
			refusal{"section after a patch not there", raw(bit|fabric.HasPatch, 6, 0, 1, 2, 3, 4, 5, 6), fabric.ErrMalformed})
		if bit == fabric.HasPatch {
			cases = cases[:len(cases)-1]
		}
	}
	return cases
}

func destinations(n int) []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(8*n))
	for i := range n {
		b = binary.LittleEndian.AppendUint64(b, uint64(i+1))
	}
	return append(b, make([]byte, 6)...)
}

func TestParseFrameRefuses(t *testing.T) {
	if f := mustParse(t, raw(0)); string(f.Body) != "body" {
		t.Fatalf("a frame made by hand has the body %q", f.Body)
	}
	if f := mustParse(t, raw(fabric.HasDestinations, destinations(fabric.MaxDestinations)...)); f.Destination(511) != 512 {
		t.Fatalf("the last destination is %s", f.Destination(511))
	}
	for _, c := range append(preludeFaults(), sectionFaults()...) {
		var f fabric.Frame
		rest, err := fabric.ParseFrame(c.frame, maxBody, &f)
		if !errors.Is(err, c.want) || len(rest) != len(c.frame) {
			t.Errorf("%s: %v, expected %v; %d of %d bytes are left", c.name, err, c.want, len(rest), len(c.frame))
		}
	}
}

func TestFrameLenRefuses(t *testing.T) {
	for _, c := range lengthFaults() {
		if n, err := fabric.FrameLen(c.frame, maxBody); !errors.Is(err, c.want) {
			t.Errorf("%s: %d, %v", c.name, n, err)
		}
	}
}

// What a later minor version adds is carried or passed over.
func TestNewerFramesPass(t *testing.T) {
	f := sample(allSections)
	f.Minor, f.Kind = fabric.Minor+41, 200
	f.Extensions = fabric.AppendExtension(nil, fabric.Extension{Type: 1<<15 - 1, Value: []byte("of the future")})
	if got := mustParse(t, encode(&f)); !same(got, f) {
		t.Errorf("got %+v", got)
	}
}

// Lengths are refused before anybody makes room for them, also where an int
// has 32 bits.
func TestFrameLenAtTheBounds(t *testing.T) {
	of := func(n uint32) []byte { return binary.LittleEndian.AppendUint32(raw(0)[:12:12], n) }
	for _, c := range []struct {
		body    uint32
		maxBody int
		ok      bool
	}{
		{0, 0, true}, {1, 0, false}, {0, -1, false}, {100, 100, true}, {101, 100, false},
		{fabric.MaxBody, math.MaxInt, true}, {fabric.MaxBody + 1, math.MaxInt, false},
		{1<<31 - 1, math.MaxInt, false}, {1 << 31, math.MaxInt, false}, {math.MaxUint32, math.MaxInt, false}, {math.MaxUint32, -1, false},
	} {
		b := append(of(c.body), make([]byte, 16)...)
		n, err := fabric.FrameLen(b, c.maxBody)
		if c.ok && (err != nil || n != preludeLen+int(c.body)) || !c.ok && !errors.Is(err, fabric.ErrTooLarge) {
			t.Errorf("body of %d, at most %d: %d, %v", c.body, c.maxBody, n, err)
		}
		var f fabric.Frame
		if _, err := fabric.ParseFrame(b, c.maxBody, &f); c.ok && c.body > 0 && !errors.Is(err, fabric.ErrShort) || !c.ok && !errors.Is(err, fabric.ErrTooLarge) {
			t.Errorf("body of %d, at most %d: %v", c.body, c.maxBody, err)
		}
	}
}

// A frame that lies about its lengths costs no more than its error.
func TestRefusalsAllocateLittle(t *testing.T) {
	const runs, bound = 100, 4 << 10
	for _, c := range append(preludeFaults(), sectionFaults()...) {
		var f fabric.Frame
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			_, _ = fabric.ParseFrame(c.frame, math.MaxInt, &f)
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / runs; each > bound {
			t.Errorf("%s: %d bytes allocated, at most %d", c.name, each, bound)
		}
	}
}
