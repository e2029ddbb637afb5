package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// TransportPlots are one plot for each kind of ratio that results have.
func TransportPlots(results []TransportResult) []Plot {
	return plotsOf("transport", results, func(r TransportResult) plotLabels {
		return plotLabels{
			fmt.Sprintf("%s, %d members, %s", r.Port, r.Members, sealedName(r.Sealed)),
			fmt.Sprintf("Members in one process over loopback, entries of %d bytes, %d under way", r.Size, r.Window), r.Pairs, r.Origin,
		}
	}, []plotKind[TransportResult]{
		{"deliveries", "Deliveries per second, port ÷ rafthttp", false, func(r TransportResult) Interval {
			return Interval{r.RatioDeliveries, r.RatioDeliveriesLo, r.RatioDeliveriesHi}
		}},
		{"cpu", "CPU time of a delivery, port ÷ rafthttp", true, func(r TransportResult) Interval {
			return Interval{r.RatioCPU, r.RatioCPULo, r.RatioCPUHi}
		}},
		{"rtt", "Round trip, port ÷ rafthttp", true, func(r TransportResult) Interval {
			return Interval{r.RatioRTTBlock, r.RatioRTTBlockLo, r.RatioRTTBlockHi}
		}},
		{"rtt-spinning", "Round trip with receivers that poll, port ÷ rafthttp as it is", true, func(r TransportResult) Interval {
			return Interval{r.RatioRTTSpin, r.RatioRTTSpinLo, r.RatioRTTSpinHi}
		}},
	})
}

// RaftPlots are the same of raft groups.
func RaftPlots(results []RaftResult) []Plot {
	return plotsOf("raft", results, func(r RaftResult) plotLabels {
		return plotLabels{
			fmt.Sprintf("%s, %d members, %s, %d in flight", r.Port, r.Members, sealedName(r.Sealed), r.InFlight),
			fmt.Sprintf("Members in one process over loopback, logs in memory, entries of %d bytes", r.Size), r.Pairs, r.Origin,
		}
	}, []plotKind[RaftResult]{
		{"commits", "Commits per second of a raft group, port ÷ rafthttp", false, func(r RaftResult) Interval {
			return Interval{r.RatioCommits, r.RatioCommitsLo, r.RatioCommitsHi}
		}},
		{"p50", "Median time from propose to applied, port ÷ rafthttp", true, func(r RaftResult) Interval {
			return Interval{r.RatioP50, r.RatioP50Lo, r.RatioP50Hi}
		}},
		{"p99", "99th percentile from propose to applied, port ÷ rafthttp", true, func(r RaftResult) Interval {
			return Interval{r.RatioP99, r.RatioP99Lo, r.RatioP99Hi}
		}},
		{"cpu", "CPU time of a commit, port ÷ rafthttp", true, func(r RaftResult) Interval {
			return Interval{r.RatioCPU, r.RatioCPULo, r.RatioCPUHi}
		}},
	})
}

// EtcdPlots are the same of clusters.
func EtcdPlots(results []EtcdResult) []Plot {
	return plotsOf("etcd", results, func(r EtcdResult) plotLabels {
		return plotLabels{
			fmt.Sprintf("%s, %s, %s", several(r.Members, "member"), several(r.Clients, "client"), r.Paths),
			fmt.Sprintf("Clusters of processes over loopback, data in %s, values of %d bytes", r.Storage, r.Value), r.Pairs, r.Origin,
		}
	}, []plotKind[EtcdResult]{
		{"puts", "Puts per second, etcd-dv ÷ etcd", false, func(r EtcdResult) Interval {
			return Interval{r.RatioPuts, r.RatioPutsLo, r.RatioPutsHi}
		}},
		{"p50", "Median time of a put, etcd-dv ÷ etcd", true, func(r EtcdResult) Interval {
			return Interval{r.RatioP50, r.RatioP50Lo, r.RatioP50Hi}
		}},
		{"p99", "99th percentile of a put, etcd-dv ÷ etcd", true, func(r EtcdResult) Interval {
			return Interval{r.RatioP99, r.RatioP99Lo, r.RatioP99Hi}
		}},
		{"cpu", "CPU time of a put, etcd-dv ÷ etcd", true, func(r EtcdResult) Interval {
			return Interval{r.RatioCPU, r.RatioCPULo, r.RatioCPUHi}
		}},
	})
}

func several(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// plotKind is one quantity of a result.
type plotKind[R any] struct {
	name, title string
	less        bool
	ratio       func(R) Interval
}

// plotLabels is what a plot says about a result.
type plotLabels struct {
	row, setting string
	pairs        int
	Origin
}

func plotsOf[R any](what string, results []R, describe func(R) plotLabels, kinds []plotKind[R]) (plots []Plot) {
	for _, k := range kinds {
		p := Plot{Name: what + "-" + k.name, Title: k.title, Less: k.less}
		for _, r := range results {
			l := describe(r)
			p.Origin, p.Setting = l.Origin, l.setting
			p.Note = fmt.Sprintf("Ratio on a logarithmic scale: median of %d pairs and its 95%% interval. Open: the interval holds 1.", l.pairs)
			if i := k.ratio(r); i.Median > 0 {
				p.Rows = append(p.Rows, PlotRow{l.row, i})
			}
		}
		if len(p.Rows) > 0 {
			plots = append(plots, p)
		}
	}
	return plots
}

// SavePlots writes each plot into a file of dir, which is made if it is not
// there, and returns the names of those that it wrote.
func SavePlots(dir string, plots []Plot) (names []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("folder for the plots: %w", err)
	}
	for _, p := range plots {
		name := filepath.Join(dir, p.Name+".svg")
		if err := savePlot(name, p); err != nil {
			return names, fmt.Errorf("write a plot: %w", err)
		}
		names = append(names, name)
	}
	return names, nil
}

func savePlot(name string, p Plot) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(p.WriteSVG(f), f.Close())
}
