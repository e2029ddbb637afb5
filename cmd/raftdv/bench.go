package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/bench"
	"github.com/raftdv/dv/integration/cluster"
)

func newBenchCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Compare the transport with rafthttp, and etcd-dv with etcd",
		Long: `Bench measures seven things, each beside what it would replace, in turn and in
one run: messages between members without raft behind them (transport), raft
groups (raft), whole clusters with their clients (etcd), how long clusters refuse
writes when their leader fails (failover), what they still write while links are
cut (partition), how long a member takes that joins (join), and the packets that
members send to each other (messages). What is reported is ratios with their 95%
bootstrap intervals; an interval that holds 1 shows no difference.
docs/performance.md says how it is done and what it cannot say.`,
		Args: cobra.NoArgs, // else a name that is no command prints this help and succeeds
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchTransportCmd(), newBenchRaftCmd(), newBenchEtcdCmd(), newBenchFailoverCmd(), newBenchPartitionCmd(), newBenchJoinCmd(), newBenchMessagesCmd())
	return cmd
}

// list is how flags that take several of names describe them.
func list(names, usual []string) string {
	return fmt.Sprintf("any of %s (default %s)", strings.Join(names, ","), strings.Join(usual, ","))
}

func newBenchTransportCmd() *cobra.Command {
	var cfg bench.TransportConfig
	var o benchOutput
	cmd := &cobra.Command{
		Use:   "transport",
		Short: "Measure deliveries, CPU, allocations and round trips against rafthttp",
		Long: `Transport opens groups of members in this process, over loopback, on a port and
on rafthttp, and measures both in turn: MsgApps with one entry from one leader to
all others, and round trips of a MsgApp and its answer. Clear is compared with
http, sealed with https. Ratios are the port's by rafthttp's, with 95% bootstrap
intervals over the pairs.

Ports: shm, udp and stream are the whole transport on one fabric. grpc and tcp are
what one would write on gRPC streams or TCP connections, rawudp is datagrams
without reliability, a lower bound whose losses are counted: none of them knows
who a peer is, sends snapshots or reports losses. rafthttp is compared with itself
and so shows what this machine makes of no difference.`,
		Example: `  raftdv bench transport                            # less than three minutes
  raftdv bench transport --ports=rafthttp           # how wide is an honest interval here?
  raftdv bench transport --ports=udp,tcp --members=3,5,7 --pairs=12 --svg=plots`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := newResults(cmd, o, bench.WriteTransportTable, bench.TransportPlots)
			if err != nil {
				return err
			}
			cfg.Progress = progress(cmd.ErrOrStderr())
			return out.finish(bench.RunTransport(cmd.Context(), cfg, out.add))
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&cfg.Ports, "ports", nil, "what to compare with rafthttp: "+list(bench.TransportPorts(), bench.DefaultTransportPorts()))
	f.IntSliceVar(&cfg.Members, "members", nil, "numbers of members (default 3,5)")
	f.IntVar(&cfg.Size, "size", 0, "bytes of an entry (default 256)")
	f.StringVar(&cfg.Sealed, "sealed", "", "both, clear or sealed (default both)")
	f.IntVar(&cfg.Window, "window", 0, "entries in flight (default 256)")
	f.BoolVar(&cfg.Acks, "acks", false, "let followers answer, and the answers move the window")
	f.IntVar(&cfg.Pairs, "pairs", 0, "measurements of each side (default 6)")
	f.DurationVar(&cfg.Duration, "duration", 0, "length of one measurement (default 400ms)")
	f.DurationVar(&cfg.Spin, "spin", 0, "how long receivers poll in the spinning measurement, of ports that can (default 200µs)")
	return cmd
}

func newBenchRaftCmd() *cobra.Command {
	var cfg bench.RaftConfig
	var o benchOutput
	cmd := &cobra.Command{
		Use:   "raft",
		Short: "Measure commits of raft groups against rafthttp",
		Long: `Raft opens raft groups in this process, over loopback, on a port and on rafthttp,
and measures both in turn. Each member has a raft node with etcd's settings, a loop
like etcd's and a log in memory; clients propose at the leader, each the next entry
when the leader has applied the last. All members must apply the same, every
acknowledged proposal once. A measurement in which leadership changed is thrown
away, made again and counted ("again").`,
		Example: `  raftdv bench raft                                 # about a minute and a half
  raftdv bench raft --ports=rafthttp                # how wide is an honest interval here?
  raftdv bench raft --ports=udp,grpc --in-flight=1,8,64,512 --sealed=both --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := newResults(cmd, o, bench.WriteRaftTable, bench.RaftPlots)
			if err != nil {
				return err
			}
			cfg.Progress = progress(cmd.ErrOrStderr())
			return out.finish(bench.RunRaft(cmd.Context(), cfg, out.add))
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&cfg.Ports, "ports", nil, "what to compare with rafthttp: "+list(bench.RaftPorts(), bench.DefaultRaftPorts()))
	f.IntSliceVar(&cfg.Members, "members", nil, "numbers of members (default 3,5)")
	f.IntSliceVar(&cfg.InFlight, "in-flight", nil, "numbers of clients, each with one proposal under way (default 1,32)")
	f.IntVar(&cfg.Size, "size", 0, "bytes of an entry (default 256)")
	f.StringVar(&cfg.Sealed, "sealed", "", "both, clear or sealed (default clear)")
	f.IntVar(&cfg.Pairs, "pairs", 0, "measurements of each side (default 6)")
	f.DurationVar(&cfg.Duration, "duration", 0, "length of one measurement (default 600ms)")
	return cmd
}

func newBenchEtcdCmd() *cobra.Command {
	var cfg bench.EtcdConfig
	var o benchOutput
	cmd := &cobra.Command{
		Use:   "etcd",
		Short: "Measure puts per second and their latency against stock etcd",
		Long: `Etcd starts a cluster of stock etcd, then one of etcd-dv, and so on, data in
memory where the system has such a file system, and lets the same clients write to
each. Ratios are etcd-dv's by stock etcd's, with 95% bootstrap intervals
over the pairs.`,
		Example: `  raftdv bench etcd                                 # about nine minutes
  raftdv bench etcd --arg=--dv-fabrics=stream --tls --members=3 --svg=plots
  raftdv bench etcd --namespaces                    # over a bridge, as between hosts`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg.Progress = progress(cmd.ErrOrStderr())
			if err := findEtcds(cmd, &cfg); err != nil {
				return err
			}
			out, err := newResults(cmd, o, bench.WriteEtcdTable, bench.EtcdPlots)
			if err != nil {
				return err
			}
			return out.finish(bench.RunEtcd(cmd.Context(), cfg, out.add))
		},
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&cfg.Stock, "stock", "", "stock etcd (default: the etcd beside this program, else built from the module)")
	f.StringVar(&cfg.DV, "dv", "", "etcd-dv (default: the one beside this program)")
	f.StringArrayVar(&cfg.DVArgs, "arg", nil, "further argument for every member of etcd-dv, like --arg=--dv-fabrics=stream; may be repeated")
	f.IntSliceVar(&cfg.Members, "members", nil, "sizes of the clusters (default 3,5)")
	f.IntSliceVar(&cfg.Clients, "clients", nil, "numbers of clients (default 1,32)")
	f.IntVar(&cfg.Pairs, "pairs", 0, "measurements of each side (default 10)")
	f.DurationVar(&cfg.Duration, "duration", 0, "length of one measurement (default 5s)")
	f.IntVar(&cfg.Value, "value", 0, "bytes of a value (default 256)")
	f.BoolVar(&cfg.TLS, "tls", false, "mutual TLS between peers and towards clients")
	f.BoolVar(&cfg.Namespaces, "namespaces", false, "a network namespace for each member, with datagrams of 1500 bytes between them as on hosts; needs root")
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
