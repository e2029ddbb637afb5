package fabric_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/raftdv/dv/fabric"
	"pgregory.net/rapid"
)

func TestRowRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u64 := rapid.Uint64()
		r := fabric.Row{
			Owner: fabric.MemberID(u64.Draw(t, "owner")), Incarnation: u64.Draw(t, "incarnation"), Version: u64.Draw(t, "version"),
			Sections: sections().Draw(t, "sections"),
		}
		b := fabric.AppendRow([]byte("before"), &r)[6:]
		got, err := fabric.ParseRow(b)
		if err != nil || got.Owner != r.Owner || got.Incarnation != r.Incarnation || got.Version != r.Version || !bytes.Equal(got.Sections, r.Sections) {
			t.Fatalf("%v; %+v became %+v", err, r, got)
		}
		if !within(got.Sections, b) {
			t.Fatal("sections are not in the row, or reach beyond it")
		}
		var again []byte
		if err := fabric.RangeSections(got.Sections, func(s fabric.Section) bool {
			found, ok := fabric.FindSection(got.Sections, s.ID)
			if !ok || found.Version != s.Version || !bytes.Equal(found.Value, s.Value) || !within(s.Value, b) {
				t.Fatalf("found %+v, ranged over %+v", found, s)
			}
			again = fabric.AppendSection(again, s)
			return true
		}); err != nil || !bytes.Equal(again, r.Sections) {
			t.Fatalf("%v; sections %x became %x", err, r.Sections, again)
		}
	})
}

func TestRowNewer(t *testing.T) {
	// From old to new.
	rows := []fabric.Row{
		{}, {Version: 1}, {Version: 1<<64 - 1}, {Incarnation: 1}, {Incarnation: 1, Version: 7},
		{Incarnation: 2, Version: 3}, {Incarnation: 1<<64 - 1}, {Incarnation: 1<<64 - 1, Version: 1<<64 - 1},
	}
	for i := range rows {
		for j := range rows {
			if got := rows[i].Newer(&rows[j]); got != (i > j) {
				t.Errorf("%+v replaces %+v: %v", rows[i], rows[j], got)
			}
		}
	}
}

func section(id uint16, value string) []byte {
	return fabric.AppendSection(nil, fabric.Section{ID: id, Value: []byte(value)})
}

// malformedSections end in something that is no section; the first of them is
// whole if it has id 1.
func malformedSections() map[string][]byte {
	return map[string][]byte{
		"1 byte":             {1},
		"7 bytes":            make([]byte, 7),
		"value cut":          section(2, "value")[:12],
		"value far too long": {2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"value of 2 GiB":     {2, 0, 0, 0, 0, 0, 0, 0x80},
		"rest":               append(section(1, "a"), 0),
		"second cut":         append(section(1, "a"), section(2, "b")[:8]...),
	}
}

func TestMalformedSections(t *testing.T) {
	all := func(fabric.Section) bool { return true }
	for name, b := range malformedSections() {
		if err := fabric.RangeSections(b, all); !errors.Is(err, fabric.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if s, ok := fabric.FindSection(b, 2); ok {
			t.Errorf("%s: found %+v", name, s)
		}
		_, first := fabric.FindSection(b, 1)
		if want := len(b) > 8 && b[0] == 1; first != want {
			t.Errorf("%s: first section found: %v", name, first)
		}
		r := fabric.Row{Owner: 1, Sections: b}
		if got, err := fabric.ParseRow(fabric.AppendRow(nil, &r)); !errors.Is(err, fabric.ErrMalformed) || got.Owner != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, b := range map[string][]byte{
		"twice": append(section(1, "a"), section(1, "b")...), "falling": append(section(2, "a"), section(1, "b")...), "0 twice": make([]byte, 16),
	} {
		if err := fabric.RangeSections(b, all); !errors.Is(err, fabric.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRangeSectionsStops(t *testing.T) {
	b, n := append(section(1, "a"), section(2, "b")...), 0
	if err := fabric.RangeSections(b, func(fabric.Section) bool { n++; return false }); err != nil || n != 1 {
		t.Errorf("%v after %d sections", err, n)
	}
	if _, ok := fabric.FindSection(nil, 0); ok {
		t.Error("found a section in nothing")
	}
}

func TestParseRowRefuses(t *testing.T) {
	largest := fabric.Row{Owner: 1, Sections: section(1, string(make([]byte, fabric.MaxRowSections-8)))}
	b := fabric.AppendRow(nil, &largest)
	if _, err := fabric.ParseRow(b); err != nil {
		t.Fatal(err)
	}
	larger := binary.LittleEndian.AppendUint32(append(bytes.Clone(b), make([]byte, 4)...)[:24:24], fabric.MaxRowSections+8)
	larger = append(larger, 0, 0, 0, 0)
	larger = append(larger, section(1, string(make([]byte, fabric.MaxRowSections)))...)
	for name, b := range map[string][]byte{
		"empty": nil, "header cut": b[:31], "sections cut": b[:len(b)-1], "rest": append(bytes.Clone(b), 0),
		"reserved bytes": patched(b, 28, 1), "last reserved byte": patched(b, 31, 0x80), "length 0": patched(b, 24, 0, 0), "large": larger,
	} {
		if got, err := fabric.ParseRow(b); !errors.Is(err, fabric.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	largest.Sections = make([]byte, fabric.MaxRowSections+1)
	if !panics(func() { fabric.AppendRow(nil, &largest) }) {
		t.Error("a large row was encoded")
	}
}
