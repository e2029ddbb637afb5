package storm

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// wellFormed reads all of an SVG, as a browser would.
func wellFormed(t *testing.T, name string, b []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(b))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
}

// TestReport: everything that a run's folder has in the end.
func TestReport(t *testing.T) {
	s, err := Parse("r.yaml", []byte(`
name: r
claim: A <claim> & more
matrix: {transport: [stock, dv], fault: [crash-leader, chained]}
seeds: {count: 20}
baseline: stock
expect:
  - rounds.max <= 1 where transport = stock
  - unavailable.p50 < 0.5 * baseline where transport = dv
`))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	if err := s.Create(dir, Shard{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Create(dir, Shard{}); err != nil {
		t.Errorf("again: %v", err)
	}
	try := func(i uint64) (Result, error) {
		r := failed(i, "")
		for m := range r.Values {
			r.Values[m] = float64(1+i%5) * float64(m+1)
		}
		if c, _ := s.trial(i); c.Value("transport") == "dv" {
			r.Values[metricIndex("unavailable")] /= 10
		}
		r.Values[metricIndex("failed")] = 0
		return r, nil
	}
	if err := s.Run(t.Context(), RunConfig{Dir: dir, New: func() (Trier, error) { return tryFunc(try), nil }}); err != nil {
		t.Fatal(err)
	}
	loaded, meta, err := Load(dir)
	if err != nil || loaded.Trials() != 80 || meta.Trials != 80 || meta.Version == "" || meta.Machine == "" {
		t.Fatalf("%+v, %v", meta, err)
	}
	sum, _, err := loaded.Summarize(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := sum.Report(dir, "raftdv"); err != nil {
		t.Fatal(err)
	}
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, name := range []string{"rounds.svg", "time-to-leader.svg", "unavailable.svg", "faults.svg"} {
		b := read(name)
		wellFormed(t, name, b)
		for _, want := range []string{"stock", "dv", "prefers-color-scheme:dark"} {
			if !bytes.Contains(b, []byte(want)) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		for _, n := range regexp.MustCompile(`NaN|Inf`).FindAll(b, -1) {
			t.Errorf("%s has %s", name, n)
		}
	}
	if !bytes.Contains(read("rounds.svg"), []byte(">three<")) {
		t.Error("no line at three rounds")
	}
	page := string(read(ReportFile))
	for _, want := range []string{"A &lt;claim&gt; &amp; more", "VIOLATED", "holds", "<svg", "trial 4", "chained", "@media print"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %q in the report", want)
		}
	}
	if strings.Contains(page, "http://") && strings.Count(page, "http://") != strings.Count(page, "http://www.w3.org/2000/svg") || strings.Contains(page, "<script") {
		t.Error("the report needs something from elsewhere")
	}
	var out struct {
		Trials   uint64
		Verdicts []struct{ Holds bool }
		Rows     []Row
	}
	if err := json.Unmarshal(read("results.json"), &out); err != nil || out.Trials != 80 || len(out.Verdicts) != 2 || out.Verdicts[0].Holds || !out.Verdicts[1].Holds ||
		len(out.Rows) != 2*3*len(metrics) {
		t.Errorf("%+v, %v", out, err)
	}
	if n := strings.Count(string(read("REPLAY")), "raftdv storm replay "); n != 80 {
		t.Errorf("%d commands", n)
	}
	for what, c := range map[string]struct {
		change func(*Spec)
		shard  Shard
	}{"another specification": {func(s *Spec) { s.Text = append(s.Text, '\n') }, Shard{}}, "shard 1/1": {func(*Spec) {}, Shard{2, 3}}} {
		other, err := Parse("r.yaml", s.Text)
		if err != nil {
			t.Fatal(err)
		}
		c.change(other)
		if err := other.Create(dir, c.shard); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAxis(t *testing.T) {
	for _, c := range []struct {
		low, high   float64
		logarithmic bool
		ticks       int // at least
	}{{0, 1, false, 3}, {1, 3, false, 4}, {0, 0, false, 2}, {0.3, 9000, true, 5}, {5, 5, true, 2}, {math.Inf(1), math.Inf(-1), false, 2}, {900, 1234, false, 3}} {
		a := newAxis(c.low, c.high, 0, c.logarithmic, 10, 110)
		if len(a.ticks) < c.ticks || len(a.ticks) > 14 || a.at(a.low) != 10 || a.at(a.high) != 110 || !math.IsInf(c.low, 0) && (a.low > c.low || a.high < c.high) {
			t.Errorf("%+v: %+v", c, a)
		}
	}
	if a := newAxis(1, 3, 1, false, 0, 100); !slices.Equal(a.ticks, []float64{0, 1, 2, 3}) {
		t.Errorf("ticks of what is counted: %v", a.ticks)
	}
}
