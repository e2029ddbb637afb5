package storm

import (
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Result is what a trial measured.
type Result struct {
	// Trial numbers it: trial i has the i/Seeds-th cell, and seed First+i%Seeds.
	Trial uint64
	// Values of the metrics, in the order of Metrics; NaN where there is none.
	Values []float64
	// Failure says what was wrong, in one line; "" if nothing was.
	Failure string
}

// Metrics are the names of what trials measure, in the order of columns.
func Metrics() []string { return metricNames() }

// cell and seed of a trial.
func (s *Spec) trial(i uint64) (c *Cell, seed uint64) {
	return &s.Cells[i/s.Seeds], s.First + i%s.Seeds
}

// header is the first row of results.
func header() []string {
	h := append([]string{"trial", "seed"}, dimensionNames()...)
	h = append(h, metricNames()...)
	return append(h, "failure")
}

// row is how a result is written: what follows from the specification is there for
// who reads the file, and checked by who reads it again.
func (s *Spec) row(r *Result) []string {
	c, seed := s.trial(r.Trial)
	row := append([]string{strconv.FormatUint(r.Trial, 10), strconv.FormatUint(seed, 10)}, c.values...)
	for _, v := range r.Values {
		text := ""
		if !math.IsNaN(v) {
			text = strconv.FormatFloat(v, 'g', -1, 64)
		}
		row = append(row, text)
	}
	return append(row, r.Failure)
}

// errRow: a line that is none of this specification's results.
var errRow = errors.New("no result of this specification")

// parseRow reads a row.
func (s *Spec) parseRow(row []string) (r Result, err error) {
	first := 2 + len(dimensions)
	if len(row) != first+len(metrics)+1 {
		return r, fmt.Errorf("%w: %d columns, want %d", errRow, len(row), first+len(metrics)+1)
	}
	if r.Trial, err = strconv.ParseUint(row[0], 10, 64); err != nil || r.Trial >= s.Trials() {
		return r, fmt.Errorf("%w: trial %q of %d", errRow, row[0], s.Trials())
	}
	for i := range metrics {
		v := math.NaN()
		if text := row[first+i]; text != "" {
			if v, err = strconv.ParseFloat(text, 64); err != nil || math.IsNaN(v) {
				return r, fmt.Errorf("%w: %s is %q", errRow, metrics[i].name, text)
			}
		}
		r.Values = append(r.Values, v)
	}
	r.Failure = row[len(row)-1]
	for i, want := range s.row(&r)[:first] {
		if row[i] != want {
			return r, fmt.Errorf("%w: trial %d has %s %q, want %q", errRow, r.Trial, header()[i], row[i], want)
		}
	}
	return r, nil
}

// line is a row as CSV, with its end.
func line(row []string) string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(row) // to memory
	w.Flush()
	return b.String()
}
