package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/bench"
	"github.com/raftdv/dv/integration/failover"
)

// programOptions are the flags of benchmarks that start clusters of both programs.
type programOptions struct {
	failover.Programs
	dvFlags string
}

func (o *programOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.Stock, "stock", "", "stock etcd (default: the etcd beside this program, else built from the module)")
	f.StringVar(&o.DV, "dv", "", "etcd-dv (default: the one beside this program)")
	f.StringVar(&o.dvFlags, "dv-flags", "", "further flags for every member of etcd-dv, separated by spaces")
	f.StringVar(&o.Dir, "dir", "", "folder for the data (default: in memory if possible)")
	f.StringVar(&o.Logs, "logs", "", "folder to which the members' logs are copied, one for each cluster")
}

// find finds or builds what was not named.
func (o *programOptions) find(cmd *cobra.Command) error {
	o.Progress = progress(cmd.ErrOrStderr())
	o.DVArgs = strings.Fields(o.dvFlags)
	found := bench.EtcdConfig{Stock: o.Stock, DV: o.DV, Progress: o.Progress}
	if err := findEtcds(cmd, &found); err != nil {
		return err
	}
	o.Stock, o.DV = found.Stock, found.DV
	return nil
}
