package fabric_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/raftdv/dv/fabric"
)

var update = flag.Bool("update", false, "write the golden captures")

// capture is one thing on the wire. check decodes bytes and compares them with
// what they were made from.
type capture struct {
	name, what string
	bytes      []byte
	layout     func([]byte) []field
	check      func([]byte) error
}

// field is a piece of a capture with its name.
type field struct {
	name string
	size int
}

func captures() (all []capture) {
	sectionNames := []string{
		"context", "stamp", "clock", "seal", "destinations", "fragment", "patch", "body-digest", "patch-digest", "mac", "crc", "extensions",
	}
	all = append(all, frameCapture("section-none", "no section", sample(0)), frameCapture("section-all", "every section", sample(allSections)))
	for i, name := range sectionNames {
		all = append(all, frameCapture("section-"+name, "one section: "+name, sample(1<<i)))
	}
	row := fabric.Row{Owner: 0xa1, Incarnation: 2, Version: 3}
	row.Sections = fabric.AppendSection(row.Sections, fabric.Section{ID: fabric.SectionRaft, Version: 1, Value: []byte("acks")})
	row.Sections = fabric.AppendSection(row.Sections, fabric.Section{ID: 77, Version: 5, Value: []byte("unknown")})
	row.Sections = fabric.AppendSection(row.Sections, fabric.Section{ID: fabric.SectionSignature})
	trailer := fabric.Trailer{First: 17, Count: 5, Algorithm: 1, Previous: digest(0x10).Sum, Root: digest(0x40).Sum, Signature: []byte("signature")}
	bodies := map[fabric.Kind][]byte{
		fabric.KindVoid: fabric.VoidBody(), fabric.KindRow: fabric.AppendRow(nil, &row), fabric.KindTrailer: fabric.AppendTrailer(nil, &trailer),
	}
	for i, name := range []string{"data", "void", "row", "ack", "keepalive", "credit", "trailer"} {
		f := fabric.Frame{Header: fabric.Header{Kind: fabric.Kind(i + 1), Link: 1}}
		f.Body = bodies[f.Kind]
		f.BodyLen = uint32(len(f.Body))
		all = append(all, frameCapture("kind-"+name, "kind "+name, f))
	}
	return append(all, rowCapture(row), trailerCapture(trailer), slotCapture())
}

func frameCapture(name, what string, f fabric.Frame) capture {
	return capture{"frame-" + name, "a frame, " + what, encode(&f), frameLayout, func(b []byte) error {
		var got fabric.Frame
		rest, err := fabric.ParseFrame(b, maxBody, &got)
		if err != nil || len(rest) > 0 || !same(got, f) {
			return fmt.Errorf("%d bytes are left, error %w, got %+v, expected %+v", len(rest), err, got, f)
		}
		return nil
	}}
}

func rowCapture(r fabric.Row) capture {
	return capture{"row", "a row: a known section, an unknown one, an empty one", fabric.AppendRow(nil, &r), rowLayout, func(b []byte) error {
		got, err := fabric.ParseRow(b)
		if err != nil || got.Owner != r.Owner || got.Incarnation != r.Incarnation || got.Version != r.Version || !bytes.Equal(got.Sections, r.Sections) {
			return fmt.Errorf("error %w, got %+v", err, got)
		}
		return nil
	}}
}

func trailerCapture(tr fabric.Trailer) capture {
	return capture{"trailer", "the trailer of a batch, signed", fabric.AppendTrailer(nil, &tr), trailerLayout, func(b []byte) error {
		got, err := fabric.ParseTrailer(b)
		if err != nil || !sameTrailer(&got, &tr) {
			return fmt.Errorf("error %w, got %+v", err, got)
		}
		return nil
	}}
}

func slotCapture() capture {
	ref, content := fabric.NewSlotRef(0x0102, 0x0304), raw(0)
	return capture{"slot", "slot 258, content 772: a frame", fabric.AppendSlot(nil, ref, content), slotLayout, func(b []byte) error {
		got, err := fabric.ParseSlot(b, ref)
		if err != nil || !bytes.Equal(got, content) {
			return fmt.Errorf("error %w, got %x", err, got)
		}
		return nil
	}}
}

// The layouts walk over captures as the documentation describes the format,
// without the decoder.

func frameLayout(b []byte) []field {
	le := binary.LittleEndian
	fields := []field{
		{"magic", 2}, {"major version", 1}, {"minor version", 1}, {"header length", 2}, {"kind", 1}, {"class, lane", 1},
		{"sections", 4}, {"body length", 4}, {"link sequence", 8}, {"stream sequence", 8},
	}
	at := preludeLen
	add := func(name string, size int) {
		fields = append(fields, field{name, size})
		at += size
	}
	variable := func(name string) {
		n := int(le.Uint16(b[at:]))
		add(name+": length", 2)
		add(name, n)
		add(name+": padding", (8-(2+n)%8)%8)
	}
	sum := func(name string) func() {
		return func() { add(name+": algorithm", 1); add(name+": reserved", 7); add(name, 32) }
	}
	for bit, walk := range []func(){
		func() {
			for _, name := range []string{"cluster", "configuration epoch", "origin", "incarnation", "view", "view hash"} {
				add(name, 8)
			}
		},
		func() { add("stamp: time", 8); add("stamp: logical", 4); add("stamp: reserved", 4) },
		func() { add("clock error", 8); add("cycle", 4); add("slot", 4) },
		func() { variable("seal key") },
		func() { variable("destinations") },
		func() { add("fragment: index", 4); add("fragment: count", 4); add("fragment: total", 8) },
		func() { variable("patch") },
		sum("body digest"),
		sum("patch digest"),
		func() { add("origin MAC", 16) },
		func() { add("CRC-32C", 4); add("CRC-32C: reserved", 4) },
		func() { variable("extensions") },
	} {
		if le.Uint32(b[8:])>>bit&1 == 1 {
			walk()
		}
	}
	add("body", len(b)-at)
	return fields
}

func rowLayout(b []byte) []field {
	fields := []field{{"owner", 8}, {"incarnation", 8}, {"version", 8}, {"length of the sections", 4}, {"reserved", 4}}
	for at := 32; at < len(b); {
		n := int(binary.LittleEndian.Uint32(b[at+4:]))
		fields = append(fields, field{"section id", 2}, field{"section version", 2}, field{"section length", 4}, field{"section", n})
		at += 8 + n
	}
	return fields
}

func trailerLayout(b []byte) []field {
	return []field{
		{"first stream sequence", 8}, {"count", 4}, {"algorithm", 2}, {"signature length", 2},
		{"previous root", 32}, {"root", 32}, {"signature", len(b) - 80},
	}
}

func slotLayout(b []byte) []field {
	n := int(binary.LittleEndian.Uint32(b))
	return []field{
		{"length", 4}, {"reference: index", 2}, {"reference: generation", 2}, {"content", n}, {"padding", len(b) - 16 - n},
		{"valid word: index", 2}, {"valid word: generation", 2}, {"valid word: length", 4},
	}
}

// dump writes a capture with one field a line.
func dump(c capture) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# %s\n# %d bytes\n", c.what, len(c.bytes))
	b := c.bytes
	for _, f := range c.layout(b) {
		piece := b[:f.size]
		b = b[f.size:]
		for first := true; len(piece) > 0; first = false {
			line := piece[:min(16, len(piece))]
			piece = piece[len(line):]
			if first {
				fmt.Fprintf(&out, "%-32x # %s\n", line, f.name)
			} else {
				fmt.Fprintf(&out, "%x\n", line)
			}
		}
	}
	if len(b) > 0 {
		fmt.Fprintf(&out, "%x # not in the layout\n", b)
	}
	return out.String()
}

// undump reads what dump wrote.
func undump(text string) ([]byte, error) {
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.TrimSpace(line))
	}
	return hex.DecodeString(digits.String())
}

// The bytes on the wire are those that were once recorded, and mean the same.
func TestGoldenCaptures(t *testing.T) {
	files := map[string]bool{}
	for _, c := range captures() {
		name := filepath.Join("testdata", c.name+".hex")
		files[name] = true
		if *update {
			if err := os.WriteFile(name, []byte(dump(c)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatalf("%v: run go test -update", err)
		}
		recorded, err := undump(string(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(recorded, c.bytes) {
			t.Errorf("%s: the format changed: encoded\n%s\nrecorded\n%s", name, dump(c), text)
		}
		if string(text) != dump(c) {
			t.Errorf("%s: its comments are not up to date: run go test -update", name)
		}
		if err := c.check(recorded); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	present, err := filepath.Glob(filepath.Join("testdata", "*.hex"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range present {
		if !files[name] {
			t.Errorf("%s: nothing makes it any more", name)
		}
	}
}

// Negative control: the checks of the captures see every byte.
func TestGoldenChecksSeeEveryByte(t *testing.T) {
	for _, c := range captures() {
		for i := range c.bytes {
			if c.check(patched(c.bytes, i, c.bytes[i]^0x40)) == nil {
				t.Errorf("%s: byte %d is another, and nothing is seen", c.name, i)
			}
		}
	}
}

// The checksum, computed bit by bit as RFC 3720 defines it.
func TestChecksumIsCRC32C(t *testing.T) {
	f := sample(fabric.HasCRC)
	b := encode(&f)
	field := b[preludeLen : preludeLen+4]
	got := binary.LittleEndian.Uint32(field)
	clear(field)
	crc := ^uint32(0)
	for _, x := range b {
		crc ^= uint32(x)
		for range 8 {
			crc = crc>>1 ^ 0x82f63b78*(crc&1)
		}
	}
	if ^crc != got {
		t.Errorf("the frame has the checksum %#x, expected %#x", got, ^crc)
	}
}
