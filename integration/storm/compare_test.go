package storm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// storedRun is a run whose results f makes.
func storedRun(t *testing.T, name, text string, f func(c *Cell, seed uint64, values []float64)) string {
	t.Helper()
	s, err := Parse(name+".yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), name)
	if err := s.Create(dir, Shard{}); err != nil {
		t.Fatal(err)
	}
	try := func(i uint64) (Result, error) {
		r := failed(i, "")
		c, seed := s.trial(i)
		f(c, seed, r.Values)
		return r, nil
	}
	if err := s.Run(t.Context(), RunConfig{Dir: dir, New: func() (Trier, error) { return tryFunc(try), nil }}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func specOf(name, transport, more string) string {
	return fmt.Sprintf("name: %s\nclaim: x\nmatrix: {transport: %s, members: [3, 5]}\nseeds: {count: 40}\nexpect: [failed.sum = 0]\n%s", name, transport, more)
}

// TestCompare: pairs of the same seed, of two transports, with what is the same, what
// differs, and what only one has.
func TestCompare(t *testing.T) {
	a := storedRun(t, "a", specOf("a", "stock", ""), func(c *Cell, seed uint64, v []float64) {
		v[metricIndex("unavailable")] = 1000 + float64(seed)
		v[metricIndex("rounds")] = float64(seed % 2)
	})
	b := storedRun(t, "b", specOf("b", "dv", ""), func(c *Cell, seed uint64, v []float64) {
		v[metricIndex("unavailable")] = (1000 + float64(seed)) / 10
		v[metricIndex("rounds")] = float64(seed % 2)
		if seed == 1 {
			v[metricIndex("time_to_leader")] = 5 // the other run has none
		}
	})
	c, err := Compare(a, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Pairs != 80 || c.AlsoA != 0 || c.AlsoB != 0 || c.A != "a, stock" || c.B != "b, dv" {
		t.Errorf("%+v", c)
	}
	for _, e := range c.Effects {
		switch e.Metric {
		case "unavailable":
			if e.Ratio != (Interval{0.1, 0.1, 0.1}) || e.Less != 80 || e.More != 0 || e.Difference.Hi > -900 || e.Pairs != 80 {
				t.Errorf("%+v", e)
			}
		case "rounds":
			if e.Difference != (Interval{}) || e.Ratio != (Interval{1, 1, 1}) || e.More+e.Less != 0 {
				t.Errorf("%+v", e)
			}
		case "time_to_leader":
			t.Errorf("no pair has it: %+v", e)
		}
	}
	var out bytes.Buffer
	if err := c.Write(&out); err != nil || !strings.Contains(out.String(), "80 pairs") || !strings.Contains(out.String(), "unavailable (ms)") {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	var again struct {
		OnlyA   uint64 `json:"only_a"`
		Effects []struct {
			Metric string
			Ratio  *struct{ Median, Lo, Hi float64 }
		}
	}
	if err := errors.Join(c.WriteJSON(&out), json.Unmarshal(out.Bytes(), &again)); err != nil || len(again.Effects) != len(c.Effects) || again.Effects[0].Ratio == nil {
		t.Errorf("%v: %s", err, out.String())
	}
	if c, err := Compare(a, b, map[string]string{"members": "3"}); err != nil || c.Pairs != 40 {
		t.Errorf("%+v, %v", c, err)
	}
	same := storedRun(t, "same", specOf("a", "stock", ""), func(*Cell, uint64, []float64) {})
	if c, err := Compare(a, same, nil); err != nil || c.Pairs != 80 || c.A == c.B {
		t.Errorf("%+v, %v", c, err)
	}
	other := storedRun(t, "other", specOf("other", "[stock, dv]", ""), func(*Cell, uint64, []float64) {})
	if c, err := Compare(a, other, nil); err != nil || c.Pairs != 80 || c.AlsoB != 80 {
		t.Errorf("%+v, %v", c, err)
	}
	for name, dir := range map[string]string{
		"other times":        storedRun(t, "times", specOf("times", "dv", "duration: 7s\n"), func(*Cell, uint64, []float64) {}),
		"no trial in common": storedRun(t, "seeds", strings.Replace(specOf("seeds", "dv", ""), "count: 40", "count: 40, first: 1000", 1), func(*Cell, uint64, []float64) {}),
		"no folder of a run": t.TempDir(),
	} {
		if _, err := Compare(a, dir, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDraw(t *testing.T) {
	dir := storedRun(t, "d", specOf("d", "[stock, dv]", ""), func(c *Cell, seed uint64, v []float64) {
		v[metricIndex("unavailable")] = 100 + float64(seed)
		if c.Value("transport") == "dv" {
			v[metricIndex("rounds")] = 1
		}
	})
	s, _, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	sum, _, err := s.Summarize(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []Figure{
		{Metric: "unavailable", By: "transport"},
		{Metric: "unavailable", By: "transport", Logarithmic: true, Where: map[string]string{"members": "5"}},
		{Metric: "unavailable", By: "transport", Over: "members"},
	} {
		b, err := sum.Draw(f)
		if err != nil {
			t.Fatal(err)
		}
		wellFormed(t, f.Metric, b)
		for _, want := range []string{"stock", "dv", "unavailable by transport"} {
			if !bytes.Contains(b, []byte(want)) {
				t.Errorf("%+v: no %q", f, want)
			}
		}
		if got := bytes.Contains(b, []byte(">3<")); f.Over != "" && !got {
			t.Errorf("%+v: no group of 3 members", f)
		}
	}
	if _, err := sum.Draw(Figure{Metric: "rounds", By: "members", Where: map[string]string{"transport": "stock"}}); !errors.Is(err, ErrNothingToDraw) {
		t.Errorf("nothing: %v", err)
	}
	err = (&Figure{Metric: "speed", By: "colour", Over: "colour"}).Validate()
	for _, want := range []string{`metric "speed"`, `dimension "colour"`, "two dimensions"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}
