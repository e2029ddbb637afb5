package storm

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs (%v; run with -update if it should):\ngot\n%s\nwant\n%s", path, err, got, want)
	}
}

// TestBadSpecs: each says where it is wrong and what to do about it.
func TestBadSpecs(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d bad specifications, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(filepath.Base(file), text)
			e, ok := errors.AsType[*SpecError](err)
			if !ok || len(e.Problems) == 0 {
				t.Fatalf("%v", err)
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".error", []byte(err.Error()+"\n"))
		})
	}
}

const whole = `
name: whole
claim: |
  All that a specification may say.
matrix:
  transport: [dv, stock, dv-no-arbiter]
  members: [3, 5]
  link: wan
  fault: [crash-leader, constrained]
  crashes: [0, 2]
  loss: [0, 1e-2]
  skew: 20
  heartbeat: 20ms
  election: [0.2s, 400ms]
  prevote: [true, false]
  checkquorum: true
exclude:
  - {transport: [stock, dv-no-arbiter], prevote: false}
  - {fault: constrained, crashes: 2}
seeds: {first: 1000, count: 50}
warm_up: 500ms
duration: 1m
workload: {rate: 20, size: 100}
baseline: stock
expect:
  - rounds.max <= 3 where transport = dv and loss = 0.01
  - time_to_leader.p99 < 1.5s
  - ops.mean >= 0.9 * baseline where fault = crash-leader
`

func TestParse(t *testing.T) {
	s, err := Parse("whole.yaml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "whole" || s.Claim != "All that a specification may say." || s.First != 1000 || s.Seeds != 50 || s.WarmUp != 500*time.Millisecond ||
		s.Duration != time.Minute || s.Rate != 20 || s.Size != 100 || s.Baseline != "stock" {
		t.Errorf("%+v", s)
	}
	// 3 transports, 2 sizes, 3 of 4 faults with crashes, 2 losses, 2 timeouts, with PreVote; and without it one transport.
	if want := (3 + 1) * 2 * 3 * 2 * 2; len(s.Cells) != want || s.Trials() != uint64(want)*50 {
		t.Errorf("%d cells, want %d", len(s.Cells), want)
	}
	if got, want := s.Cells[0].Values(), []string{"dv", "3", "wan", "crash-leader", "0", "0", "20", "20ms", "200ms", "true", "true"}; !slices.Equal(got, want) {
		t.Errorf("the first cell is %v, want %v", got, want)
	}
	if got, want := s.Cells[len(s.Cells)-1].String(), "transport=dv-no-arbiter members=5 link=wan fault=constrained crashes=0 loss=0.01 skew=20 heartbeat=20ms election=400ms"; got != want {
		t.Errorf("the last cell is %q, want %q", got, want)
	}
	first, last := s.Expect[0], s.Expect[2]
	if first.Metric != "rounds" || first.Stat != "max" || first.Op != "<=" || first.Value != 3 || first.OfBaseline || first.Where["loss"] != "0.01" || first.Where["transport"] != "dv" {
		t.Errorf("%+v", first)
	}
	if s.Expect[1].Value != 1500 || last.Value != 0.9 || !last.OfBaseline {
		t.Errorf("%+v, %+v", s.Expect[1], last)
	}
	n := 0
	for i := range s.Cells {
		if first.matches(&s.Cells[i]) {
			n++
		}
	}
	if n != 2*2*3*2 {
		t.Errorf("%d cells are of the first expectation's kind", n)
	}
}

// TestDefaults: what a specification does not say.
func TestDefaults(t *testing.T) {
	s, err := Parse("small.yaml", []byte("name: small\nclaim: x\nmatrix: {}\nexpect: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Cells) != 1 || s.Cells[0].String() != "transport=dv" || s.First != 1 || s.Seeds != defaultSeeds || s.WarmUp != defaultWarmUp || s.Duration != defaultDuration ||
		s.Rate != defaultRate || s.Size != defaultSize {
		t.Errorf("%+v", s)
	}
}

func TestHolds(t *testing.T) {
	for _, c := range []struct {
		op                  string
		below, equal, above bool
	}{{"<=", true, true, false}, {"<", true, false, false}, {">=", false, true, true}, {">", false, false, true}, {"=", false, true, false}, {"!=", true, false, true}} {
		e := Expectation{Op: c.op}
		if e.holds(1, 2) != c.below || e.holds(2, 2) != c.equal || e.holds(3, 2) != c.above {
			t.Errorf("%s: %v, %v, %v", c.op, e.holds(1, 2), e.holds(2, 2), e.holds(3, 2))
		}
	}
}

// TestSchemaIsPublished: the file is what the program uses.
func TestSchemaIsPublished(t *testing.T) { golden(t, "../../"+SchemaFile, Schema()) }

// TestCatalog: faults say where they come from, and all that a dimension allows it
// takes.
func TestCatalog(t *testing.T) {
	for _, f := range Faults() {
		if f.About == "" || f.Source == "" || f.Least < 1 {
			t.Errorf("%+v", f)
		}
	}
	for i := range dimensions {
		d := &dimensions[i]
		if v, err := d.parse(d.usual); err != nil || v != d.usual {
			t.Errorf("%s: the usual value %q is %q, %v", d.name, d.usual, v, err)
		}
		if d.names == nil {
			continue
		}
		for _, name := range d.names() {
			if _, err := d.parse(name); err != nil {
				t.Error(err)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("x.yaml", text)
		if e, ok := errors.AsType[*SpecError](err); (err == nil) == (s == nil) || err != nil && (!ok || len(e.Problems) == 0) {
			t.Errorf("%v, %v", s, err)
		}
	})
}
