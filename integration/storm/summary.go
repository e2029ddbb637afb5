package storm

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
)

// A Summary is what the results of a run come to.
type Summary struct {
	Spec *Spec
	// Trials that have results; Failed of them.
	Trials, Failed uint64
	// Verdicts of the expectations, in their order.
	Verdicts []Verdict
	cells    [][]sample // by cell and metric
}

// A Verdict says whether an expectation holds.
type Verdict struct {
	Expectation
	// Got is the statistic, Want what it was compared with.
	Got, Want float64
	Holds     bool
	// Cells and Trials that it is about.
	Cells  int
	Trials uint64
	// Example is a trial that broke an expectation of each trial (max, min), if it did;
	// -1 if there is none.
	Example int64
}

// Summarize reads the results in a folder. partial: not all trials are there.
func (s *Spec) Summarize(dir string) (sum *Summary, partial bool, err error) {
	rows, err := s.open(filepath.Join(dir, resultsFile))
	if err != nil {
		return nil, false, err
	}
	defer rows.close()
	sum = &Summary{Spec: s, cells: make([][]sample, len(s.Cells))}
	for i := range sum.cells {
		sum.cells[i] = make([]sample, len(metrics))
	}
	worst := make([]example, len(s.Expect))
	for {
		r, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false, err
		}
		sum.Trials++
		if r.Failure != "" {
			sum.Failed++
		}
		for m, v := range r.Values {
			sum.cells[r.Trial/s.Seeds][m].add(v)
		}
		for i := range s.Expect {
			worst[i].look(s, &s.Expect[i], r)
		}
	}
	for i := range s.Expect {
		sum.Verdicts = append(sum.Verdicts, sum.judge(&s.Expect[i], &worst[i]))
	}
	return sum, sum.Trials < s.Trials(), nil
}

// example is the trial with the greatest, or least, value.
type example struct {
	trial int64
	value float64
	found bool
}

func (x *example) look(s *Spec, e *Expectation, r *Result) {
	v := r.Values[metricIndex(e.Metric)]
	if math.IsNaN(v) || e.Stat != "max" && e.Stat != "min" || !e.matches(&s.Cells[r.Trial/s.Seeds]) {
		return
	}
	if !x.found || e.Stat == "max" && v > x.value || e.Stat == "min" && v < x.value {
		*x = example{int64(r.Trial), v, true}
	}
}

// of is what the cells that match know of a metric together.
func (sum *Summary) of(metric int, matches func(*Cell) bool) (all sample, cells int) {
	for i := range sum.cells {
		if matches(&sum.Spec.Cells[i]) {
			all.merge(&sum.cells[i][metric])
			cells++
		}
	}
	return all, cells
}

func (sum *Summary) judge(e *Expectation, worst *example) Verdict {
	m := metricIndex(e.Metric)
	all, cells := sum.of(m, e.matches)
	v := Verdict{Expectation: *e, Got: all.stat(e.Stat), Want: e.Value, Cells: cells, Trials: all.n, Example: -1}
	if e.OfBaseline {
		where := Expectation{Where: map[string]string{}}
		for d, value := range e.Where {
			where.Where[d] = value
		}
		where.Where["transport"] = sum.Spec.Baseline
		base, _ := sum.of(m, where.matches)
		v.Want = e.Value * base.stat(e.Stat)
	}
	// What is not there holds of nothing: NaN compares with nothing but by !=.
	v.Holds = !math.IsNaN(v.Got) && !math.IsNaN(v.Want) && e.holds(v.Got, v.Want)
	if !v.Holds && worst.found {
		v.Example = worst.trial
	}
	return v
}

// Holds reports whether all expectations do.
func (sum *Summary) Holds() bool {
	for _, v := range sum.Verdicts {
		if !v.Holds {
			return false
		}
	}
	return true
}

// String is one line of a verdict.
func (v *Verdict) String() string {
	word := "holds"
	if !v.Holds {
		word = "VIOLATED"
	}
	text := fmt.Sprintf("%-8s  %s: %s of %d trials in %d cells", word, v.Text, number4(v.Got), v.Trials, v.Cells)
	if v.OfBaseline {
		text += fmt.Sprintf(", compared with %s", number4(v.Want))
	}
	if v.Example >= 0 {
		text += fmt.Sprintf("; trial %d", v.Example)
	}
	return text
}

// number4 writes a number with four digits at most.
func number4(x float64) string {
	if math.IsNaN(x) {
		return "none"
	}
	return fmt.Sprintf("%.4g", x)
}
