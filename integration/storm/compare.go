package storm

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// A Comparison is of the trials that two runs have in common: of the same seed and the
// same cell. The transport does not count if each run has one only, and those are two.
type Comparison struct {
	// A and B are the names of the runs, with the transport where those differ.
	A string `json:"a"`
	B string `json:"b"`
	// Pairs of trials, AlsoA and AlsoB those that only one of the runs has.
	Pairs   uint64   `json:"pairs"`
	AlsoA   uint64   `json:"only_a"`
	AlsoB   uint64   `json:"only_b"`
	Effects []Effect `json:"effects"`
}

// WriteJSON writes it for programs; what there is none of is null.
func (c *Comparison) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(c) }

// An Effect is what B does to a metric, over all pairs that have it in both runs.
type Effect struct {
	Metric string `json:"metric"`
	Unit   string `json:"unit"`
	Pairs  uint64 `json:"pairs"`
	// A and B are the medians.
	A Interval `json:"a"`
	B Interval `json:"b"`
	// Difference is the median of b-a, Ratio that of b/a, over the pairs in which a
	// is not 0. An interval that holds 0, or 1, is no effect that was shown.
	Difference Interval `json:"difference"`
	Ratio      Interval `json:"ratio"`
	// More and Less count pairs in which b is more, or less, than a.
	More uint64 `json:"more"`
	Less uint64 `json:"less"`
}

// Compare compares the runs in two folders. It keeps the results of the first: some
// hundred bytes for each trial.
func Compare(dirA, dirB string, where map[string]string) (*Comparison, error) {
	a, _, errA := Load(dirA)
	b, _, errB := Load(dirB)
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	if a.Real != b.Real {
		return nil, fmt.Errorf("one of %s and %s is of real processes: simulated and real time do not compare", dirA, dirB)
	}
	c := &Comparison{A: a.Name, B: b.Name}
	transportA, transportB := a.only("transport"), b.only("transport")
	across := transportA != "" && transportB != "" && transportA != transportB
	if across {
		c.A, c.B = a.Name+", "+transportA, b.Name+", "+transportB
	}
	if c.A == c.B {
		c.A, c.B = filepath.Clean(dirA), filepath.Clean(dirB)
	}
	if a.WarmUp != b.WarmUp || a.Duration != b.Duration || a.Rate != b.Rate || a.Size != b.Size {
		return nil, fmt.Errorf("%s and %s have other times or another workload: what they measured does not compare", dirA, dirB)
	}
	key := func(s *Spec, i uint64) string {
		cell, seed := s.trial(i)
		values := slices.Clone(cell.values)
		if across {
			values[dimensionIndex("transport")] = ""
		}
		return fmt.Sprint(seed, values)
	}
	first := map[string][]float64{}
	err := a.each(dirA, where, func(r *Result) { first[key(a, r.Trial)] = slices.Clone(r.Values) })
	if err != nil {
		return nil, err
	}
	pairs := make([]paired, len(metrics))
	err = b.each(dirB, where, func(r *Result) {
		k := key(b, r.Trial)
		values, ok := first[k]
		if !ok {
			c.AlsoB++
			return
		}
		delete(first, k)
		c.Pairs++
		for m := range metrics {
			pairs[m].add(values[m], r.Values[m])
		}
	})
	if err != nil {
		return nil, err
	}
	c.AlsoA = uint64(len(first))
	if c.Pairs == 0 {
		return nil, fmt.Errorf("%s and %s have no trial in common: of the same cell, but for the transport if each has one, and the same seed", dirA, dirB)
	}
	for m := range metrics {
		if p := &pairs[m]; p.difference.n > 0 {
			c.Effects = append(c.Effects, Effect{metrics[m].name, metrics[m].unit, p.difference.n, p.a.median(), p.b.median(), p.difference.median(), p.ratio.median(), p.more, p.less})
		}
	}
	return c, nil
}

// paired is what is known of a metric in both runs.
type paired struct {
	a, b, difference, ratio sample
	more, less              uint64
}

func (p *paired) add(a, b float64) {
	if math.IsNaN(a) || math.IsNaN(b) {
		return
	}
	p.a.add(a)
	p.b.add(b)
	p.difference.add(b - a)
	if a != 0 {
		p.ratio.add(b / a)
	}
	switch {
	case b > a:
		p.more++
	case b < a:
		p.less++
	}
}

// only is the value that all cells have of a dimension, "" if they differ.
func (s *Spec) only(dimension string) string {
	v := s.Cells[0].Value(dimension)
	for i := range s.Cells {
		if s.Cells[i].Value(dimension) != v {
			return ""
		}
	}
	return v
}

// each calls f for the results in a folder whose cells match.
func (s *Spec) each(dir string, where map[string]string, f func(*Result)) error {
	rows, err := s.open(filepath.Join(dir, resultsFile))
	if err != nil {
		return err
	}
	defer rows.close()
	for {
		r, err := rows.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if c, _ := s.trial(r.Trial); c.Matches(where) {
			f(r)
		}
	}
}

// Write writes it for people.
func (c *Comparison) Write(w io.Writer) error {
	fmt.Fprintf(w, "A: %s\nB: %s\n%d pairs of trials of the same cell and seed; %d of A and %d of B have no other\n\n", c.A, c.B, c.Pairs, c.AlsoA, c.AlsoB)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "metric\tpairs\tA, median\tB, median\tB-A, median\t95%\tB/A, median\t95%\tB more\tB less\t\n")
	for _, e := range c.Effects {
		fmt.Fprintf(t, "%s (%s)\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t\n", e.Metric, e.Unit, e.Pairs, number4(e.A.Median), number4(e.B.Median),
			number4(e.Difference.Median), e.Difference.span(), number4(e.Ratio.Median), e.Ratio.span(), e.More, e.Less)
	}
	return t.Flush()
}

// span writes the bounds.
func (i Interval) span() string {
	if math.IsNaN(i.Lo) {
		return ""
	}
	return number4(i.Lo) + " to " + number4(i.Hi)
}
