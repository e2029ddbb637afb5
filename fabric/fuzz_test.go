package fabric_test

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// seeds are the golden captures with this prefix, and their parts.
func seeds(f *testing.F, prefix string) {
	names, err := filepath.Glob(filepath.Join("testdata", prefix+"*.hex"))
	if err != nil || len(names) == 0 {
		f.Fatalf("no capture %s*: %v", prefix, err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		b, err := undump(string(text))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)-1])
		f.Add(append(b, b...))
	}
}

// alone returns b in memory of its own, without room behind it.
func alone(b []byte) []byte { return bytes.Clone(b)[:len(b):len(b)] }

// What is taken is what the encoder writes: there is one encoding.
func FuzzParseFrame(f *testing.F) {
	seeds(f, "frame")
	for _, c := range append(preludeFaults(), sectionFaults()...) {
		f.Add(c.frame)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		b := alone(in)
		var fr fabric.Frame
		rest, err := fabric.ParseFrame(b, maxBody, &fr)
		if !bytes.Equal(b, in) {
			t.Fatal("the decoder wrote to its input")
		}
		n, lenErr := fabric.FrameLen(b, maxBody)
		if err != nil {
			if !typed(err) || len(rest) != len(b) {
				t.Fatalf("%v, %d of %d bytes are left", err, len(rest), len(b))
			}
			return
		}
		used := b[:len(b)-len(rest)]
		if lenErr != nil || n != len(used) || n != fabric.FrameSize(&fr.Header, fr.Patch, fr.Body) || int(fr.BodyLen) != len(fr.Body) {
			t.Fatalf("%d bytes used, FrameLen %d (%v), FrameSize %d", len(used), n, lenErr, fabric.FrameSize(&fr.Header, fr.Patch, fr.Body))
		}
		if again := encode(&fr); !bytes.Equal(again, used) {
			t.Fatalf("decoded\n%x\nencoded\n%x", used, again)
		}
		for _, part := range [][]byte{fr.Seal, fr.Destinations, fr.Extensions, fr.Patch, fr.Body} {
			if !within(part, used) {
				t.Fatalf("%x is not in the frame, or reaches beyond itself", part)
			}
		}
		for i := range len(fr.Destinations) / 8 {
			if fr.Destination(i) == 0 {
				t.Fatal("destination 0")
			}
		}
	})
}

func FuzzParseRow(f *testing.F) {
	seeds(f, "row")
	f.Fuzz(func(t *testing.T, in []byte) {
		b := alone(in)
		r, err := fabric.ParseRow(b)
		if err != nil {
			if !typed(err) {
				t.Fatal(err)
			}
			return
		}
		if again := fabric.AppendRow(nil, &r); !bytes.Equal(again, in) {
			t.Fatalf("decoded\n%x\nencoded\n%x", in, again)
		}
		var rebuilt []byte
		last := -1
		if err := fabric.RangeSections(r.Sections, func(s fabric.Section) bool {
			found, ok := fabric.FindSection(r.Sections, s.ID)
			if !ok || !bytes.Equal(found.Value, s.Value) || int(s.ID) <= last || !within(s.Value, b) {
				t.Fatalf("section %d after %d: found %v, %x, has %x", s.ID, last, ok, found.Value, s.Value)
			}
			last = int(s.ID)
			rebuilt = fabric.AppendSection(rebuilt, s)
			return true
		}); err != nil || !bytes.Equal(rebuilt, r.Sections) {
			t.Fatalf("%v; sections %x became %x", err, r.Sections, rebuilt)
		}
		for id := range uint16(8) { // on anything
			fabric.FindSection(in, id)
		}
	})
}

func FuzzParseTrailer(f *testing.F) {
	seeds(f, "trailer")
	f.Fuzz(func(t *testing.T, in []byte) {
		tr, err := fabric.ParseTrailer(alone(in))
		if err != nil {
			if !typed(err) {
				t.Fatal(err)
			}
			return
		}
		if again := fabric.AppendTrailer(nil, &tr); !bytes.Equal(again, in) {
			t.Fatalf("decoded\n%x\nencoded\n%x", in, again)
		}
	})
}

func FuzzExtensions(f *testing.F) {
	for has, name := range map[fabric.Sections]string{fabric.HasExtensions: "two", 0: "none"} {
		s := sample(has)
		f.Add(s.Extensions, name == "two")
	}
	f.Add([]byte{1, 0x80, 0, 0}, false)
	f.Add([]byte{1, 0, 0xff, 0xff, 1}, true)
	f.Fuzz(func(t *testing.T, in []byte, know bool) {
		b := alone(in)
		var again []byte
		err := fabric.RangeExtensions(b, func(e fabric.Extension) bool {
			if !within(e.Value, b) {
				t.Fatal("value is not in the section, or reaches beyond itself")
			}
			if e.Critical && !know {
				return false
			}
			again = fabric.AppendExtension(again, e)
			return know
		})
		if err != nil && !typed(err) || !bytes.HasPrefix(in, again) || err == nil && !bytes.Equal(again, in) {
			t.Fatalf("%v; %x became %x", err, in, again)
		}
	})
}

func FuzzParseSlot(f *testing.F) {
	ref := fabric.NewSlotRef(0x0102, 0x0304)
	for _, n := range []int{0, 48, 49, 200} {
		f.Add(fabric.AppendSlot(nil, ref, make([]byte, n)), uint32(ref))
	}
	f.Add(make([]byte, 64), uint32(ref.Next()))
	f.Fuzz(func(t *testing.T, in []byte, due uint32) {
		b, want := alone(in), fabric.SlotRef(due)
		content, err := fabric.ParseSlot(b, want)
		if err != nil {
			if !typed(err) {
				t.Fatal(err)
			}
			return
		}
		again := fabric.AppendSlot(nil, want, content)
		if len(content) > math.MaxInt32 || !bytes.HasSuffix(in, again) || !within(content, b) {
			t.Fatalf("decoded\n%x\nencoded\n%x", in, again)
		}
	})
}
