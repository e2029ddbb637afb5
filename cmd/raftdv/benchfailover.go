package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/bench"
	"github.com/raftdv/dv/integration/failover"
)

// Measurements of raftdv bench failover that are no fault of a leader.
const (
	faultNone   = "none"
	faultAttack = "attack"
)

// failoverOptions are the flags of raftdv bench failover.
type failoverOptions struct {
	benchOutput
	programs         programOptions
	faults           []string
	members, writers []int
	trials, throttle int
	bound, duration  time.Duration
	csv              string
	check            bool
}

func newBenchFailoverCmd() *cobra.Command {
	var o failoverOptions
	cmd := &cobra.Command{
		Use:   "failover",
		Short: "Measure the time from a leader's fault to the first acknowledged write",
		Long: `Failover starts a cluster of stock etcd and one of etcd-dv, with default timers,
breaks the leader of each in turn, and measures the time from the fault to the
first write that is acknowledged in a later term. Writes go to the members that are
left, which are asked every 2 ms. The leader is mended, and all must have agreed for
two seconds before the next trial. Every acknowledged write is read back from all
members in the end; if one is lost the exit code is 1.

Faults: kill (kill -9), stop (SIGSTOP), cut (its network: members run in network
namespaces, clients reach them over unix sockets) and stall (its disk: each member
has a file system of its own, the leader's is frozen). Cut and stall need root and are
skipped without it, which is said.

Two more measure something else, each alone. none: full load on all processors beside
a busy neighbour for each, for --duration and side, with --throttle=20 members limited
to 20% of a processor each (needs root); changes of leader are counted. attack: a
stopped member of three is replaced by one that campaigns every 50 ms with votes that
ignore leases; what the others still write is measured.`,
		Example: `  raftdv bench failover                             # 30 trials of all: about 45 minutes
  raftdv bench failover --fault=kill --members=3 --writers=1,16 --csv=trials.csv
  raftdv bench failover --fault=none --duration=30m # an hour: both sides
  raftdv bench failover --fault=none --duration=5m --throttle=20
  raftdv bench failover --fault=attack --trials=3   # about five minutes
  raftdv bench failover --fault=stop --dv-flags="--dv-fabrics=stream" --svg=plots`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	o.flags(cmd)
	f := cmd.Flags()
	f.StringSliceVar(&o.faults, "fault", nil, "any of kill,stop,cut,stall (default all), or none, or attack")
	f.IntSliceVar(&o.members, "members", nil, "sizes of the clusters (default 3,5; 3 without a fault)")
	f.IntSliceVar(&o.writers, "writers", nil, "numbers of writers beside the measurement (default 1; 32 without a fault, 2 under attack)")
	f.IntVar(&o.trials, "trials", 0, "faults of each side (default 30; attacks: 1)")
	f.DurationVar(&o.bound, "bound", 0, "a trial without a write for so long is over and has failed (default 15s)")
	f.DurationVar(&o.duration, "duration", 0, "time for each side without a fault (default 30m), or length of an attack (default 30s)")
	f.IntVar(&o.throttle, "throttle", 0, "percent of a processor for each member, without a fault (default: no limit)")
	o.programs.flags(cmd)
	f.StringVar(&o.csv, "csv", "", "file for one line for each trial")
	f.BoolVar(&o.check, "assert", false, "fail if a goal of docs/performance.md is missed")
	return cmd
}

func (o *failoverOptions) run(cmd *cobra.Command) error {
	if err := o.validate(); err != nil {
		return err
	}
	if err := o.programs.find(cmd); err != nil {
		return err
	}
	switch {
	case slices.Contains(o.faults, faultNone):
		return o.quiet(cmd)
	case slices.Contains(o.faults, faultAttack):
		return o.attack(cmd)
	}
	return o.leaders(cmd)
}

// validate refuses flags that would be ignored.
func (o *failoverOptions) validate() error {
	var errs []error
	alone := slices.Contains(o.faults, faultNone) || slices.Contains(o.faults, faultAttack)
	if alone && len(o.faults) > 1 {
		errs = append(errs, fmt.Errorf("--fault=%s: none and attack are measured alone", strings.Join(o.faults, ",")))
	}
	if alone && (len(o.members) > 1 || len(o.writers) > 1) {
		errs = append(errs, errors.New("none and attack take one number of --members and --writers"))
	}
	if alone && (o.csv != "" || o.svg != "" || o.bound != 0) {
		errs = append(errs, errors.New("--csv, --svg and --bound are for faults of the leader"))
	}
	if !alone && o.duration != 0 {
		errs = append(errs, errors.New("--duration is for --fault=none and --fault=attack"))
	}
	if o.throttle != 0 && !slices.Contains(o.faults, faultNone) {
		errs = append(errs, errors.New("--throttle is for --fault=none"))
	}
	if slices.Contains(o.faults, faultNone) && o.trials != 0 {
		errs = append(errs, errors.New("--fault=none has no --trials: use a longer --duration"))
	}
	if slices.Contains(o.faults, faultAttack) && len(o.members) > 0 && o.members[0] != 3 {
		errs = append(errs, errors.New("--fault=attack has 3 members"))
	}
	return errors.Join(errs...)
}

func only(numbers []int) int {
	if len(numbers) == 0 {
		return 0
	}
	return numbers[0]
}

func (o *failoverOptions) leaders(cmd *cobra.Command) (err error) {
	out, err := newResults(cmd, o.benchOutput, failover.WriteTable, failover.Plots)
	if err != nil {
		return err
	}
	cfg := failover.Config{Programs: o.programs.Programs, Faults: o.faults, Members: o.members, Writers: o.writers, Trials: o.trials, Bound: o.bound}
	if o.csv != "" {
		f, failed := os.Create(o.csv)
		if failed != nil {
			return fmt.Errorf("--csv: %w", failed)
		}
		lines := failover.NewCSV(f)
		cfg.Trial = lines.Add
		defer func() { err = errors.Join(err, lines.Err(), f.Close()) }()
	}
	err = out.finish(failover.Run(cmd.Context(), cfg, out.add))
	return o.finish(err, checks(out.all))
}

func (o *failoverOptions) quiet(cmd *cobra.Command) error {
	out, err := newResults(cmd, o.benchOutput, failover.WriteQuietTable, noPlots[failover.QuietResult])
	if err != nil {
		return err
	}
	cfg := failover.QuietConfig{Programs: o.programs.Programs, Members: only(o.members), Writers: only(o.writers), Duration: o.duration, Throttle: o.throttle}
	err = out.finish(failover.RunQuiet(cmd.Context(), cfg, out.add))
	return o.finish(err, checks(out.all))
}

func (o *failoverOptions) attack(cmd *cobra.Command) error {
	out, err := newResults(cmd, o.benchOutput, failover.WriteAttackTable, noPlots[failover.AttackResult])
	if err != nil {
		return err
	}
	cfg := failover.AttackConfig{Programs: o.programs.Programs, Writers: only(o.writers), Duration: o.duration, Trials: o.trials}
	err = out.finish(failover.RunAttack(cmd.Context(), cfg, out.add))
	return o.finish(err, checks(out.all))
}

// finish fails for missed goals if it was asked to.
func (o *failoverOptions) finish(err, missed error) error {
	if o.check {
		return errors.Join(err, missed)
	}
	return err
}

func checks[R interface{ Check() error }](all []R) error {
	var errs []error
	for _, r := range all {
		errs = append(errs, r.Check())
	}
	return errors.Join(errs...)
}

func noPlots[R any]([]R) []bench.Plot { return nil }
