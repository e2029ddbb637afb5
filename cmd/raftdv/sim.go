package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/simulate"
	"github.com/raftdv/dv/internal/version"
	"github.com/raftdv/dv/raftdv/election"
)

// simGCPercent, where GOGC does not say otherwise: a run makes garbage all the
// time and keeps some ten megabytes, one whose values are large some hundred. Of
// those a higher percentage would make gigabytes, whose pages cost more than the
// collections that they save.
const simGCPercent = 200

// simFailovers is the default of --failovers: one in a calm, one anywhere.
const simFailovers = 2

// simOptions are the flags of raftdv sim.
type simOptions struct {
	seed     uint64
	seeds    int
	members  []int
	duration time.Duration
	only     string
	results  string
	mode     string
	failover int
	hash     bool
	trace    bool
	shrink   bool
	summary  bool
	views    bool
}

func newSimCmd() *cobra.Command {
	var o simOptions
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run clusters of raft cores in virtual time, with faults, and check them",
		Long: `Sim runs a cluster of raft nodes with etcd's settings on a simulated fabric: the
transport's codec and row acks, views, disks, clients, and faults of members, links,
disks and clocks. All of it follows from the seed. What went wrong, if anything, is
printed with the command that runs it again and the smallest schedule of faults on
which it still does. docs/simulator.md says what is simulated and what is checked.`,
		Example: `  raftdv sim --seed 7 --members 5 --trace
  raftdv sim --seed 7 --members 5 --hash            # the same hash each time
  raftdv sim --seed 7 --only 2,5                    # two faults of its schedule
  raftdv sim --seeds 1000 --members 3,5,7 --results sim.jsonl   # run again to go on
  raftdv sim --results sim.jsonl --summary
  raftdv sim --seed 7 --elections=off               # stock raft's elections`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.Uint64Var(&o.seed, "seed", 1, "the seed, or the first of several")
	f.IntVar(&o.seeds, "seeds", 1, "how many seeds to run")
	f.IntSliceVar(&o.members, "members", []int{3}, "members of the cluster; several sizes are run one after the other")
	f.DurationVar(&o.duration, "duration", 0, "least simulated time (default 1m)")
	f.StringVar(&o.only, "only", "", "faults of the schedule to keep, by number, or none (default all)")
	f.StringVar(&o.mode, "elections", "on", "arbiters of elections: off (stock raft), observe or on")
	f.IntVar(&o.failover, "failovers", -1, "elections beyond the schedule in which nominees crash (default 2, with --elections=off 0)")
	f.BoolVar(&o.views, "views", true, "views, total order and relays")
	f.StringVar(&o.results, "results", "", "file that keeps the results of each seed, and is continued")
	f.BoolVar(&o.hash, "hash", false, "print the hash of the run as the last line")
	f.BoolVar(&o.trace, "trace", false, "print what goes wrong when, and who leads")
	f.BoolVar(&o.summary, "summary", false, "print what --results has so far, as a table for a document, and run nothing")
	f.BoolVar(&o.shrink, "shrink", true, "look for the smallest schedule on which a seed still fails")
	return cmd
}

func (o *simOptions) run(cmd *cobra.Command) error {
	if o.summary {
		return o.summarize(cmd.OutOrStdout())
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(simGCPercent)
	}
	out := cmd.OutOrStdout()
	only, err := parseOnly(o.only)
	if err != nil {
		return err
	}
	mode, err := election.ParseMode(o.mode)
	if err != nil {
		return fmt.Errorf("--elections=%s: %w", o.mode, err)
	}
	if o.failover < 0 && mode == election.Off {
		o.failover = 0
	} else if o.failover < 0 {
		o.failover = simFailovers
	}
	suite := simulate.Suite{
		First: o.seed, Seeds: o.seeds, Members: o.members, Results: o.results, Version: version.Version(),
		Config: simulate.Config{Duration: o.duration, Only: only, Elections: mode, Failovers: o.failover, Views: o.views},
	}
	if o.trace {
		suite.Config.Trace = simulate.TraceTo(out)
	}
	var hash uint64
	many := o.seeds > 1 || len(o.members) > 1
	progress := simProgress{out: cmd.ErrOrStderr(), all: max(1, o.seeds) * max(1, len(o.members)), quiet: !many}
	suite.Done = func(r *simulate.Report, old bool) {
		hash = hash*31 + r.Hash
		if r.Failed() && !old || !many {
			r.Write(out)
		}
		if r.Failed() && !old && o.shrink {
			o.shrinkRun(cmd, suite.Config, r)
		}
		progress.done(r)
	}
	sum, err := suite.Run(cmd.Context())
	if sum != nil && many {
		sum.Write(out)
	}
	if err == nil && sum.Failed() > 0 {
		err = fmt.Errorf("%d of %d runs failed: replay one with the command that it printed", sum.Failed(), progress.all)
	}
	if o.hash {
		fmt.Fprintf(out, "%016x\n", hash)
	}
	return err
}

// summarize prints the table of a file of results.
func (o *simOptions) summarize(out io.Writer) error {
	if o.results == "" {
		return errors.New("--summary: no --results, the file to sum up")
	}
	sum, about, err := simulate.Summarize(o.results)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s\n\n", about)
	sum.Table(out)
	return nil
}

// shrinkRun prints the smallest schedule that still fails.
func (o *simOptions) shrinkRun(cmd *cobra.Command, cfg simulate.Config, failed *simulate.Report) {
	out := cmd.OutOrStdout()
	cfg.Seed, cfg.Members, cfg.Trace = failed.Seed, failed.Members, nil
	small, err := simulate.Shrink(cfg, failed, nil)
	if err != nil {
		fmt.Fprintln(out, "cannot shrink:", err)
		return
	}
	fmt.Fprintf(out, "the smallest schedule that fails has %d of %d faults:\n", len(small.Schedule), len(failed.Schedule))
	for _, f := range small.Schedule {
		fmt.Fprintln(out, f)
	}
	fmt.Fprintf(out, "%v: %s\nreplay with: %s\n", small.Failures[0].Check, small.Failures[0].What, small.Replay())
}

// parseOnly reads the numbers of faults; nil means all.
func parseOnly(s string) ([]int, error) {
	switch s {
	case "":
		return nil, nil
	case "none":
		return []int{}, nil
	}
	var numbers []int
	for word := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 0 {
			return nil, fmt.Errorf("--only=%s: %q is no number of a fault: want numbers of the schedule, like 0,3,7, or none", s, word)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// simProgressEvery is how often a long run says how far it is.
const simProgressEvery = 100

type simProgress struct {
	out          io.Writer
	n, all, fail int
	quiet        bool
}

func (p *simProgress) done(r *simulate.Report) {
	p.n++
	if r.Failed() {
		p.fail++
	}
	if !p.quiet && p.n%simProgressEvery == 0 {
		fmt.Fprintf(p.out, "%d of %d runs, %d failed\n", p.n, p.all, p.fail)
	}
}
