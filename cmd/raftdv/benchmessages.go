package main

import (
	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/failover"
)

// messagesOptions are the flags of raftdv bench messages.
type messagesOptions struct {
	benchOutput
	programs programOptions
	cfg      failover.MessagesConfig
}

func newBenchMessagesCmd() *cobra.Command {
	var o messagesOptions
	cmd := &cobra.Command{
		Use:   "messages",
		Short: "Count the packets that members send to each other for a write, and when nothing is written",
		Long: `Messages starts clusters of stock etcd and of etcd-dv, with default timers, each
member in a network namespace of its own, and has clients write through the leader
over a socket that is not counted. It counts what leaves the members' network
devices: datagrams, segments, acknowledgements of the kernel's, beacons, all alike
on both sides. Devices do not segment: what the kernel would batch counts one by
one. It needs root and is skipped without it, which is said.`,
		Example: `  raftdv bench messages # about 15 minutes
  raftdv bench messages --members=5 --writers=1,32 --dv-flags="--dv-views=off"`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON object for each count, as it is done (fields: docs/performance.md)")
	f := cmd.Flags()
	f.IntSliceVar(&o.cfg.Members, "members", nil, "sizes of clusters (default 3,5,7)")
	f.IntSliceVar(&o.cfg.Writers, "writers", nil, "numbers of clients, 0 for no load (default 0,1,32)")
	f.DurationVar(&o.cfg.Duration, "duration", 0, "length of each count (default 5s)")
	f.IntVar(&o.cfg.Trials, "trials", 0, "clusters of each side (default 3)")
	o.programs.flags(cmd)
	return cmd
}

func (o *messagesOptions) run(cmd *cobra.Command) error {
	if err := o.programs.find(cmd); err != nil {
		return err
	}
	o.cfg.Programs = o.programs.Programs
	out, err := newResults(cmd, o.benchOutput, failover.WriteMessagesTable, noPlots[failover.MessagesResult])
	if err != nil {
		return err
	}
	return out.finish(failover.RunMessages(cmd.Context(), o.cfg, out.add))
}
