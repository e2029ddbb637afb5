package storm

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/raftdv/dv/integration/simulate"
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
	// Unmeasured: trials with real processes do not measure it.
	Unmeasured bool
	// Cells and Trials that it is about.
	Cells  int
	Trials uint64
	// Example is a trial that broke an expectation of each trial (max, min), if it did;
	// -1 if there is none.
	Example int64
}

// Summarize reads the results in a folder. partial: not all trials are there.
func (s *Spec) Summarize(dir string) (sum *Summary, partial bool, err error) {
	sum = &Summary{Spec: s, cells: make([][]sample, len(s.Cells))}
	for i := range sum.cells {
		sum.cells[i] = make([]sample, len(metrics))
	}
	worst := make([]example, len(s.Expect))
	err = s.each(dir, nil, func(r *Result) {
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
	})
	if err != nil {
		return nil, false, err
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
		maps.Copy(where.Where, e.Where)
		where.Where["transport"] = sum.Spec.Baseline
		base, _ := sum.of(m, where.matches)
		v.Want = e.Value * base.stat(e.Stat)
	}
	// What is not there holds of nothing: NaN compares with nothing but by !=.
	v.Unmeasured = !sum.Spec.Measures(e.Metric) || sum.Spec.Real && cells == 0
	v.Holds = !math.IsNaN(v.Got) && !math.IsNaN(v.Want) && e.holds(v.Got, v.Want)
	if !v.Holds && worst.found {
		v.Example = worst.trial
	}
	return v
}

// Holds reports whether all expectations do that were measured.
func (sum *Summary) Holds() bool {
	return !slices.ContainsFunc(sum.Verdicts, func(v Verdict) bool { return !v.Holds && !v.Unmeasured })
}

// Measured reports whether any expectation was, or there is none.
func (sum *Summary) Measured() bool {
	return len(sum.Verdicts) == 0 || slices.ContainsFunc(sum.Verdicts, func(v Verdict) bool { return !v.Unmeasured })
}

// Word is what a verdict comes to.
func (v *Verdict) Word() string {
	switch {
	case v.Unmeasured:
		return "not measured"
	case v.Holds:
		return "holds"
	}
	return "VIOLATED"
}

// String is one line of a verdict.
func (v *Verdict) String() string {
	if v.Unmeasured {
		return fmt.Sprintf("%-8s  %s: real processes do not show it", v.Word(), v.Text)
	}
	text := fmt.Sprintf("%-8s  %s: %s of %d trials in %d cells", v.Word(), v.Text, number4(v.Got), v.Trials, v.Cells)
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

// Write writes the verdicts, and a table of the cells by transport.
func (sum *Summary) Write(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d trials, %d failed\n\n", sum.Spec.Name, sum.Trials, sum.Failed)
	for i := range sum.Verdicts {
		fmt.Fprintf(w, "%s\n", sum.Verdicts[i].String())
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\ntransport\ttrials\tfailed\trounds, most\tsplit votes\ttime to leader, median\t95%\tp99\tunavailable, median\t95%\tp99\twrites/s\tmessages per write\t\n")
	for _, name := range TransportNames() {
		of := func(metric string) sample {
			all, _ := sum.of(metricIndex(metric), func(c *Cell) bool { return c.Value("transport") == name })
			return all
		}
		failed := of("failed")
		if failed.n == 0 {
			continue
		}
		rounds, split, leader, gap, ops, messages := of("rounds"), of("split_votes"), of("time_to_leader"), of("unavailable"), of("ops"), of("messages_per_op")
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, failed.n, failed.sum, number4(rounds.max), number4(split.stat("sum")),
			spread(&leader), spread(&gap), number4(ops.stat("p50")), number4(messages.stat("p50")))
	}
	fmt.Fprintf(t, "times in ms of %s\t\n", sum.Spec.clock())
	return t.Flush()
}

// spread is a median with its interval, and the 99th percentile.
func spread(s *sample) string {
	m := s.median()
	return fmt.Sprintf("%s\t%s-%s\t%s", number4(m.Median), number4(m.Lo), number4(m.Hi), number4(s.stat("p99")))
}

// Replay runs a trial again and compares it with what the folder has. With trace it
// says first what happened when, in simulated time.
func (s *Spec) Replay(w io.Writer, dir string, trial uint64, trace bool) error {
	if s.Real {
		return errors.New("trials with real processes cannot be run again as they were: processes do not repeat what they did")
	}
	var tell func(at time.Duration, what string)
	if trace {
		tell = simulate.TraceTo(w)
	}
	again, err := s.simulate(trial, tell)
	if err != nil {
		return err
	}
	again.Failure = strings.Join(strings.Fields(again.Failure), " ")
	row := s.row(&again)
	for i, name := range header() {
		fmt.Fprintf(w, "%-16s %s\n", name, row[i])
	}
	before := ""
	err = s.each(dir, nil, func(r *Result) {
		if r.Trial == trial {
			before = line(s.row(r))
		}
	})
	switch {
	case err != nil:
		return err
	case before == "":
		fmt.Fprintln(w, "the folder has no result of it")
	case before != line(row):
		return fmt.Errorf("the folder has another result: %s", strings.TrimSpace(before))
	default:
		fmt.Fprintln(w, "as in the folder")
	}
	return nil
}
