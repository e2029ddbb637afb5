package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/failover"
)

// joinOptions are the flags of raftdv bench join.
type joinOptions struct {
	benchOutput
	programs programOptions
	cfg      failover.JoinConfig
	check    bool
}

func newBenchJoinCmd() *cobra.Command {
	var o joinOptions
	cmd := &cobra.Command{
		Use:   "join",
		Short: "Measure how long a member takes that replaces another one",
		Long: `Join starts a cluster of stock etcd and one of etcd-dv, fills their databases, and
replaces a follower of each in turn while clients write: it is removed, and a new
member is added that needs a snapshot. It says how long the snapshot took, from the
beginning of its file to its end, and after how long the new member served clients.
Every acknowledged write is read back from all members in the end; if one is lost
the exit code is 1.

On both sides some members take 7 s longer to be ready: etcd publishes a new
member's name through raft, and tries again after 7 s when it got lost or came
with the snapshot.`,
		Example: `  raftdv bench join # about 4 minutes
  raftdv bench join --size=256 --writers=-1 --trials=20`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print the result as a JSON object (fields: docs/performance.md)")
	f := cmd.Flags()
	f.IntVar(&o.cfg.Members, "members", 0, "members of each cluster (default 3)")
	f.IntVar(&o.cfg.Size, "size", 0, "size of the database in MiB (default 64)")
	f.IntVar(&o.cfg.Writers, "writers", 0, "clients that write meanwhile, -1 for none (default 16)")
	f.IntVar(&o.cfg.Trials, "trials", 0, "members to replace on each side (default 10)")
	o.programs.flags(cmd)
	f.BoolVar(&o.check, "assert", false, "fail where etcd-dv is worse than stock")
	return cmd
}

func (o *joinOptions) run(cmd *cobra.Command) error {
	if err := o.programs.find(cmd); err != nil {
		return err
	}
	o.cfg.Programs = o.programs.Programs
	out, err := newResults(cmd, o.benchOutput, failover.WriteJoinTable, noPlots[failover.JoinResult])
	if err != nil {
		return err
	}
	err = out.finish(failover.RunJoins(cmd.Context(), o.cfg, out.add))
	if o.check {
		return errors.Join(err, checks(out.all))
	}
	return err
}
