package fabric_test

import (
	"testing"

	"github.com/raftdv/dv/fabric"
)

// hot is the frame that is sent most: an append of one small entry.
func hot(has fabric.Sections) fabric.Frame {
	f := fabric.Frame{
		Header: fabric.Header{Kind: fabric.KindData, Class: fabric.ClassFIFO, Lane: fabric.LaneAppend, Has: has, Link: 1, Stream: 1},
		Patch:  make([]byte, 72), Body: make([]byte, 288),
	}
	f.Stamp = fabric.Stamp{Time: 1}
	return f
}

// hotSections are what sealed, clear and stamped links have.
var hotSections = []struct {
	name string
	has  fabric.Sections
}{{"sealed", 0}, {"checksum", fabric.HasCRC}, {"stamp+checksum", fabric.HasStamp | fabric.HasCRC}}

func BenchmarkAppendFrame(b *testing.B) {
	for _, c := range hotSections {
		b.Run(c.name, func(b *testing.B) {
			f := hot(c.has)
			buf := encode(&f)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				buf = fabric.AppendFrame(buf[:0], &f.Header, f.Patch, f.Body)
			}
		})
	}
}

func BenchmarkParseFrame(b *testing.B) {
	for _, c := range hotSections {
		b.Run(c.name, func(b *testing.B) {
			f := hot(c.has)
			buf := encode(&f)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := fabric.ParseFrame(buf, maxBody, &f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// Encoding into room that is there and decoding allocate nothing, whatever the
// frame has.
func TestNothingIsAllocated(t *testing.T) {
	none := func(name string, f func()) {
		t.Helper()
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	for name, f := range map[string]fabric.Frame{
		"hot": hot(0), "hot with checksum": hot(fabric.HasCRC), "every section": sample(allSections), "no section": sample(0),
	} {
		buf := encode(&f)
		var got fabric.Frame
		none("append "+name, func() { buf = fabric.AppendFrame(buf[:0], &f.Header, f.Patch, f.Body) })
		none("parse "+name, func() {
			if _, err := fabric.ParseFrame(buf, maxBody, &got); err != nil {
				t.Fatal(err)
			}
		})
		none("short "+name, func() { _, _ = fabric.ParseFrame(buf[:len(buf)-1], maxBody, &got) })
		slot, ref := fabric.AppendSlot(nil, 1<<16, buf), fabric.SlotRef(1<<16)
		none("slot of "+name, func() {
			slot = fabric.AppendSlot(slot[:0], ref, buf)
			if _, err := fabric.ParseSlot(slot, ref); err != nil {
				t.Fatal(err)
			}
		})
		none("empty slot", func() { _, _ = fabric.ParseSlot(slot, ref.Next()) })
	}
	row := fabric.Row{Owner: 1, Sections: append(section(1, "a"), section(2, "b")...)}
	buf := fabric.AppendRow(nil, &row)
	none("row", func() {
		buf = fabric.AppendRow(buf[:0], &row)
		if _, err := fabric.ParseRow(buf); err != nil {
			t.Fatal(err)
		}
		fabric.FindSection(row.Sections, 2)
	})
}
