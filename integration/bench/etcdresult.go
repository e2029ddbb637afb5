package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// EtcdResult is one comparison. Ratios are etcd-dv's divided by stock etcd's:
// medians over the pairs, with the bounds of their 95% intervals. Absolute
// numbers are medians too.
type EtcdResult struct {
	Members int  `json:"members"`
	Clients int  `json:"clients"`
	Value   int  `json:"value"`
	TLS     bool `json:"tls"`
	// Paths are the ways of etcd-dv's messages.
	Paths string `json:"paths"`
	// Storage is "memory" or "disk".
	Storage string `json:"storage"`
	// Network is "loopback" or "namespaces".
	Network     string     `json:"network"`
	Pairs       int        `json:"pairs"`
	DV          EtcdNumber `json:"dv"`
	Stock       EtcdNumber `json:"stock"`
	RatioPuts   float64    `json:"ratio_puts"`
	RatioPutsLo float64    `json:"ratio_puts_lo"`
	RatioPutsHi float64    `json:"ratio_puts_hi"`
	RatioP50    float64    `json:"ratio_p50"`
	RatioP50Lo  float64    `json:"ratio_p50_lo"`
	RatioP50Hi  float64    `json:"ratio_p50_hi"`
	RatioP99    float64    `json:"ratio_p99"`
	RatioP99Lo  float64    `json:"ratio_p99_lo"`
	RatioP99Hi  float64    `json:"ratio_p99_hi"`
	RatioCPU    float64    `json:"ratio_cpu"`
	RatioCPULo  float64    `json:"ratio_cpu_lo"`
	RatioCPUHi  float64    `json:"ratio_cpu_hi"`

	Origin
}

// EtcdNumber are the numbers of one side.
type EtcdNumber struct {
	PutsPerS float64 `json:"puts_per_s"`
	P50Ms    float64 `json:"p50_ms"`
	P99Ms    float64 `json:"p99_ms"`
	// CPUUs is what all members together use for a put, in µs.
	CPUUs float64 `json:"cpu_us"`
}

func etcdResult(cfg EtcdConfig, clients int, stock, dv *etcdSeries) EtcdResult {
	r := EtcdResult{Clients: clients, Value: cfg.Value, Pairs: len(dv.puts), DV: dv.numbers(), Stock: stock.numbers(), Origin: Here()}
	ratios(dv.puts, stock.puts).into(&r.RatioPuts, &r.RatioPutsLo, &r.RatioPutsHi)
	ratios(dv.p50, stock.p50).into(&r.RatioP50, &r.RatioP50Lo, &r.RatioP50Hi)
	ratios(dv.p99, stock.p99).into(&r.RatioP99, &r.RatioP99Lo, &r.RatioP99Hi)
	ratios(dv.cpu, stock.cpu).into(&r.RatioCPU, &r.RatioCPULo, &r.RatioCPUHi)
	return r
}

func (s *etcdSeries) numbers() EtcdNumber {
	return EtcdNumber{
		PutsPerS: Round(median(s.puts)), P50Ms: Round(median(s.p50)), P99Ms: Round(median(s.p99)), CPUUs: Round(median(s.cpu)),
	}
}

// WriteEtcdTable writes results for people.
func WriteEtcdTable(w io.Writer, results []EtcdResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "members\tclients\tpaths\tput/s\tstock\tratio\tp50 ms\tstock\tratio\tp99 ms\tstock\tratio\tµs CPU\tstock\tratio\t")
	for _, r := range results {
		fmt.Fprintf(t, "%d\t%d\t%s\t%.0f\t%.0f\t%s\t%.2f\t%.2f\t%s\t%.2f\t%.2f\t%s\t%.0f\t%.0f\t%s\t\n", r.Members, r.Clients, r.Paths,
			r.DV.PutsPerS, r.Stock.PutsPerS, interval(r.RatioPuts, r.RatioPutsLo, r.RatioPutsHi),
			r.DV.P50Ms, r.Stock.P50Ms, interval(r.RatioP50, r.RatioP50Lo, r.RatioP50Hi),
			r.DV.P99Ms, r.Stock.P99Ms, interval(r.RatioP99, r.RatioP99Lo, r.RatioP99Hi),
			r.DV.CPUUs, r.Stock.CPUUs, interval(r.RatioCPU, r.RatioCPULo, r.RatioCPUHi))
	}
	return t.Flush()
}
