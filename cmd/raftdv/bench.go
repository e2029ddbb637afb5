package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/bench"
	"github.com/raftdv/dv/integration/cluster"
)

func newBenchCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Compare the transport with rafthttp, and etcd-dv with etcd",
	}
	cmd.AddCommand(newBenchTransportCmd(), newBenchEtcdCmd())
	return cmd
}

func newBenchTransportCmd() *cobra.Command {
	var cfg bench.TransportConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "transport",
		Short: "Measure deliveries, CPU, allocations and round trips against rafthttp",
		Long: `Transport opens groups of members in this process, over loopback, on the
transport and on rafthttp, and measures both in turn: MsgApps with one entry from
one leader to all others, and round trips of a MsgApp and its answer. Clear is
compared with http, sealed with https. Ratios are ours by rafthttp's, with 95%
bootstrap intervals over the pairs. --ports=rafthttp compares rafthttp with
itself and so shows what this machine makes of no difference.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := newResults[bench.TransportResult](cmd.OutOrStdout(), asJSON, bench.WriteTransportTable)
			cfg.Progress = progress(cmd.ErrOrStderr())
			return out.finish(bench.RunTransport(cmd.Context(), cfg, out.add))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print one JSON object for each comparison, as it is done")
	f.StringSliceVar(&cfg.Ports, "ports", nil, "what to compare with rafthttp: udp, stream, rafthttp (default udp,stream)")
	f.IntSliceVar(&cfg.Members, "members", nil, "numbers of members (default 3,5,7)")
	f.IntVar(&cfg.Size, "size", 0, "bytes of an entry (default 256)")
	f.StringVar(&cfg.Sealed, "sealed", "", "both, clear or sealed (default both)")
	f.IntVar(&cfg.Window, "window", 0, "entries in flight (default 256)")
	f.BoolVar(&cfg.Acks, "acks", false, "let followers answer, and the answers move the window")
	f.IntVar(&cfg.Pairs, "pairs", 0, "measurements of each side (default 6)")
	f.DurationVar(&cfg.Duration, "duration", 0, "length of one measurement (default 400ms)")
	f.DurationVar(&cfg.Spin, "spin", 0, "how long receivers poll in the spinning measurement (default 200µs)")
	return cmd
}

func newBenchEtcdCmd() *cobra.Command {
	var cfg bench.EtcdConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "etcd",
		Short: "Measure puts per second and their latency against stock etcd",
		Long: `Etcd starts a cluster of stock etcd, then one of etcd-dv, and so on, data in
memory where the system has such a file system, and lets the same clients write to
each. Ratios are etcd-dv's by stock etcd's, with 95% bootstrap intervals
over the pairs.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Progress = progress(cmd.ErrOrStderr())
			if err := findEtcds(cmd, &cfg); err != nil {
				return err
			}
			out := newResults[bench.EtcdResult](cmd.OutOrStdout(), asJSON, bench.WriteEtcdTable)
			return out.finish(bench.RunEtcd(cmd.Context(), cfg, out.add))
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print one JSON object for each comparison, as it is done")
	f.StringVar(&cfg.Stock, "stock", "", "stock etcd (default: the etcd beside this program, else built from the module)")
	f.StringVar(&cfg.DV, "dv", "", "etcd-dv (default: the one beside this program)")
	f.StringArrayVar(&cfg.DVArgs, "arg", nil, "further argument for every member of etcd-dv, like --arg=--dv-fabrics=stream; may be repeated")
	f.IntSliceVar(&cfg.Members, "members", nil, "sizes of the clusters (default 3,5)")
	f.IntSliceVar(&cfg.Clients, "clients", nil, "numbers of clients (default 1,32)")
	f.IntVar(&cfg.Pairs, "pairs", 0, "measurements of each side (default 10)")
	f.DurationVar(&cfg.Duration, "duration", 0, "length of one measurement (default 5s)")
	f.IntVar(&cfg.Value, "value", 0, "bytes of a value (default 256)")
	f.BoolVar(&cfg.TLS, "tls", false, "mutual TLS between peers and towards clients")
	f.StringVar(&cfg.Dir, "dir", "", "folder for the data (default: in memory if possible)")
	return cmd
}

// findEtcds completes what the flags do not name.
func findEtcds(cmd *cobra.Command, cfg *bench.EtcdConfig) (err error) {
	if cfg.DV == "" {
		if cfg.DV, err = besideUs("etcd-dv"); err != nil {
			return err
		}
	}
	if cfg.Stock != "" {
		return nil
	}
	if cfg.Stock, err = besideUs("etcd"); err == nil {
		return nil
	}
	cfg.Progress("building stock etcd (a first build takes minutes)")
	if cfg.Stock, err = cluster.Build(cmd.Context(), cluster.Etcd); err != nil {
		return fmt.Errorf("%w: name a stock etcd of the same version with --stock", err)
	}
	return nil
}

// progress writes lines with the time since the start.
func progress(w io.Writer) func(string, ...any) {
	begin := time.Now()
	return func(format string, args ...any) {
		fmt.Fprintf(w, "[%4.0fs] %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
}

// results prints JSON objects as they come, or one table at the end.
type results[R any] struct {
	w     io.Writer
	enc   *json.Encoder // nil for a table
	table func(io.Writer, []R) error
	all   []R
	err   error
}

func newResults[R any](w io.Writer, asJSON bool, table func(io.Writer, []R) error) *results[R] {
	r := &results[R]{w: w, table: table}
	if asJSON {
		r.enc = json.NewEncoder(w)
	}
	return r
}

func (r *results[R]) add(one R) {
	r.all = append(r.all, one)
	if r.enc != nil && r.err == nil {
		r.err = r.enc.Encode(one)
	}
}

// finish writes the table of what was measured, also of a run that failed.
func (r *results[R]) finish(err error) error {
	if r.enc == nil && len(r.all) > 0 {
		r.err = r.table(r.w, r.all)
	}
	if err != nil {
		return err
	}
	return r.err
}
