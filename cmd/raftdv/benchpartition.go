package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/failover"
)

// partitionOptions are the flags of raftdv bench partition.
type partitionOptions struct {
	benchOutput
	programs programOptions
	cfg      failover.PartitionConfig
	stockFlg string
	check    bool
}

func newBenchPartitionCmd() *cobra.Command {
	var o partitionOptions
	cmd := &cobra.Command{
		Use:   "partition",
		Short: "Measure what clusters still write while links between their members are cut",
		Long: `Partition starts a cluster of stock etcd and one of etcd-dv, with default timers,
each member in a network namespace of its own, cuts links between members as a
scenario wants it, and writes through each member over a socket that no cut
concerns. It says for how much of the time somebody could write, and a member on
average; the longest time without an acknowledged write; and how often the leader
changed, the time until all have settled afterwards included. Every acknowledged
write is read back from all members in the end; if one is lost the exit code is 1.

Scenarios:
` + scenarioList() + `
It needs root and is skipped without it, which is said.`,
		Example: `  raftdv bench partition # about 25 minutes
  raftdv bench partition --scenario=chain-of-four,constrained --trials=10
  raftdv bench partition --scenario=constrained --dv-flags="--dv-relays=off"
  raftdv bench partition --scenario=quorum-loss --stock-flags="--pre-vote=false"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON object for each scenario, as it is done (fields: docs/performance.md)")
	f := cmd.Flags()
	f.StringSliceVar(&o.cfg.Scenarios, "scenario", nil, "scenarios, separated by commas (default all)")
	f.DurationVar(&o.cfg.Duration, "duration", 0, "length of each partition (default 10s)")
	f.IntVar(&o.cfg.Trials, "trials", 0, "partitions of each side (default 3)")
	o.programs.flags(cmd)
	f.StringVar(&o.stockFlg, "stock-flags", "", "further flags for every member of stock etcd, separated by spaces")
	f.BoolVar(&o.check, "assert", false, "fail where etcd-dv is worse than stock")
	return cmd
}

func scenarioList() string {
	var b strings.Builder
	for _, s := range failover.Scenarios() {
		fmt.Fprintf(&b, "  %-16s %d members: %s\n", s.Name, s.Members, s.What)
	}
	return b.String()
}

func (o *partitionOptions) run(cmd *cobra.Command) error {
	if d := o.cfg.Duration; d != 0 && d < time.Second {
		return fmt.Errorf("--duration=%v shows nothing: use seconds", d)
	}
	if err := o.programs.find(cmd); err != nil {
		return err
	}
	o.cfg.Programs, o.cfg.StockArgs = o.programs.Programs, strings.Fields(o.stockFlg)
	out, err := newResults(cmd, o.benchOutput, failover.WritePartitionTable, noPlots[failover.PartitionResult])
	if err != nil {
		return err
	}
	err = out.finish(failover.RunPartitions(cmd.Context(), o.cfg, out.add))
	if o.check {
		return errors.Join(err, checks(out.all))
	}
	return err
}
