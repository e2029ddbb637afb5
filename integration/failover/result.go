package failover

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/raftdv/dv/integration/bench"
)

// A Result is one cell. Times are milliseconds from the fault to the first
// acknowledged write; a trial without one counts with the bound.
type Result struct {
	Fault   string `json:"fault"`
	Members int    `json:"members"`
	Writers int    `json:"writers"`
	// Skipped says why it was not measured.
	Skipped string  `json:"skipped,omitempty"`
	Trials  int     `json:"trials"` // of each side
	BoundMs float64 `json:"bound_ms"`
	Stock   Numbers `json:"stock"`
	DV      Numbers `json:"dv"`
	// RatioMedian is dv's by stock's.
	RatioMedian   float64 `json:"ratio_median"`
	RatioMedianLo float64 `json:"ratio_median_lo"`
	RatioMedianHi float64 `json:"ratio_median_hi"`
	// Writes were acknowledged on both sides, and all read back.
	Writes uint64 `json:"writes"`
	// Paths of etcd-dv's messages.
	Paths   string `json:"paths"`
	Storage string `json:"storage"` // memory or disk

	bench.Origin
}

// Numbers are those of one side of a cell.
type Numbers struct {
	MinMs float64 `json:"min_ms"`
	P50Ms float64 `json:"p50_ms"`
	P90Ms float64 `json:"p90_ms"`
	P99Ms float64 `json:"p99_ms"`
	MaxMs float64 `json:"max_ms"`
	// NotWithin counts the trials without a write within the bound.
	NotWithin int `json:"not_within"`
	// Terms used in a trial: the mean, and the most.
	TermsMean float64 `json:"terms_mean"`
	TermsMax  uint64  `json:"terms_max"`
	// ChangesMean of leader in a trial, the return of the old leader included: terms
	// in which somebody led and applied an entry.
	ChangesMean float64 `json:"changes_mean"`
	ChangesMax  int     `json:"changes_max"`
}

func skipped(c cell, why error) Result {
	return Result{Fault: c.fault, Members: c.members, Writers: c.writers, Skipped: why.Error(), Origin: bench.Here()}
}

func (t *trials) result(cfg Config) Result {
	stock, dv := took(t.stock), took(t.dv)
	r := Result{
		Fault: t.fault, Members: t.members, Writers: t.writers, Trials: len(t.stock), BoundMs: millis(cfg.Bound),
		Stock: numbers(t.stock), DV: numbers(t.dv), Writes: t.writes, Paths: t.paths, Storage: t.storage, Origin: bench.Here(),
	}
	i := ratioOfMedians(dv, stock)
	r.RatioMedian, r.RatioMedianLo, r.RatioMedianHi = bench.Round(i.Median), bench.Round(i.Lo), bench.Round(i.Hi)
	return r
}

func took(ts []Trial) (ms []float64) {
	for _, t := range ts {
		ms = append(ms, millis(t.Took))
	}
	return ms
}

func numbers(ts []Trial) (n Numbers) {
	ms := slices.Sorted(slices.Values(took(ts)))
	for _, q := range []struct {
		at   float64
		into *float64
	}{{0, &n.MinMs}, {0.5, &n.P50Ms}, {0.9, &n.P90Ms}, {0.99, &n.P99Ms}, {1, &n.MaxMs}} {
		*q.into = bench.Round(bench.Quantile(ms, q.at))
	}
	for _, t := range ts {
		if !t.Within {
			n.NotWithin++
		}
		n.TermsMean += float64(t.Terms) / float64(len(ts))
		n.TermsMax = max(n.TermsMax, t.Terms)
		n.ChangesMean += float64(t.Changes) / float64(len(ts))
		n.ChangesMax = max(n.ChangesMax, t.Changes)
	}
	n.TermsMean, n.ChangesMean = bench.Round(n.TermsMean), bench.Round(n.ChangesMean)
	return n
}

// WriteTable writes results for people.
func WriteTable(w io.Writer, results []Result) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "fault\tmembers\twriters\t\tms min\tp50\tp90\tp99\tmax\tterms mean (max)\tchanges\tfailed\tdv ÷ stock\t")
	for _, r := range results {
		if r.Skipped != "" {
			continue
		}
		bound := time.Duration(r.BoundMs * float64(time.Millisecond))
		for i, side := range []Numbers{r.Stock, r.DV} {
			name, ratio := StockSide, ""
			if i == 1 {
				name, ratio = DVSide, fmt.Sprintf("%.3g (%.3g–%.3g)", r.RatioMedian, r.RatioMedianLo, r.RatioMedianHi)
			}
			failed := fmt.Sprintf("%d/%d", side.NotWithin, r.Trials)
			if side.NotWithin > 0 {
				failed += fmt.Sprintf(" not within %v", bound)
			}
			fmt.Fprintf(t, "%s\t%d\t%d\t%s\t%.1f\t%.1f\t%.1f\t%.1f\t%.1f\t%.2f (%d)\t%.2f (%d)\t%s\t%s\t\n", r.Fault, r.Members, r.Writers, name,
				side.MinMs, side.P50Ms, side.P90Ms, side.P99Ms, side.MaxMs, side.TermsMean, side.TermsMax, side.ChangesMean, side.ChangesMax, failed, ratio)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.Skipped != "" {
			fmt.Fprintf(w, "SKIPPED %s, %d members, %d writers: %s\n", r.Fault, r.Members, r.Writers, r.Skipped)
			continue
		}
		fmt.Fprintf(w, "%s, %d members, %d writers: %d acknowledged writes read back from all members; etcd-dv on %s\n", r.Fault, r.Members, r.Writers, r.Writes, r.Paths)
	}
	return nil
}

// Plots is the plot of the ratios of medians.
func Plots(results []Result) []bench.Plot {
	p := bench.Plot{Name: "failover", Title: "Time from the fault to the first acknowledged write, etcd-dv ÷ etcd", Less: true}
	for _, r := range results {
		if r.Skipped != "" {
			continue
		}
		p.Origin, p.Setting = r.Origin, "Clusters of processes on one host, default timers, data in "+r.Storage
		p.Note = fmt.Sprintf("Ratio of medians on a logarithmic scale: %d trials of each and the 95%% interval. Open: it holds 1.", r.Trials)
		p.Rows = append(p.Rows, bench.PlotRow{
			Label:    fmt.Sprintf("%s, %d members, %d writers", r.Fault, r.Members, r.Writers),
			Interval: bench.Interval{Median: r.RatioMedian, Lo: r.RatioMedianLo, Hi: r.RatioMedianHi},
		})
	}
	if len(p.Rows) == 0 {
		return nil
	}
	return []bench.Plot{p}
}

// CSV writes one line for each trial.
type CSV struct{ w *csv.Writer }

// NewCSV writes the names of the columns.
func NewCSV(w io.Writer) *CSV {
	c := &CSV{csv.NewWriter(w)}
	c.w.Write([]string{"fault", "members", "writers", "trial", "side", "ms", "within", "terms", "changes"})
	c.w.Flush()
	return c
}

// Add writes a trial; Err returns what went wrong.
func (c *CSV) Add(t Trial) {
	c.w.Write([]string{
		t.Fault, strconv.Itoa(t.Members), strconv.Itoa(t.Writers), strconv.Itoa(t.Number), t.Side,
		strconv.FormatFloat(millis(t.Took), 'f', 3, 64), strconv.FormatBool(t.Within), strconv.FormatUint(t.Terms, 10), strconv.Itoa(t.Changes),
	})
	c.w.Flush()
}

// Err is the first error of writing.
func (c *CSV) Err() error { return c.w.Error() }
