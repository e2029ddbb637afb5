package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/failover"
	"github.com/raftdv/dv/integration/storm"
)

// Exit codes of raftdv storm.
const (
	exitViolated   = 1
	exitBadSpec    = 2
	exitIncomplete = 3
)

// exitError carries an exit code.
type exitError struct {
	code int
	error
}

func (e exitError) Unwrap() error { return e.error }

// stormOptions are the flags of raftdv storm.
type stormOptions struct {
	dir     string
	jobs    int
	shard   string
	explain bool
	dry     bool
	schema  bool
	real    bool
	seeds   uint64
	stock   string
	dv      string
}

func newStormCmd() *cobra.Command {
	var o stormOptions
	cmd := &cobra.Command{
		Use:   "storm SPEC.yaml",
		Short: "Run an experiment on elections: a claim, a matrix, seeds, and what is expected",
		Long: `Storm runs the trials of a specification in the simulator: every combination of
transports, networks, sizes, timers and faults that its matrix holds, with as many
seeds as it says, and evaluates what it expects. Results are in the run's folder,
runs/NAME if --dir names no other: results.csv has a line for each trial, in their
order, whatever --jobs is, and whether the run was interrupted. A folder that holds
a part of a run is taken up where it ended.

Exit codes: 0 all that is expected holds, 1 something does not, 2 the
specification is wrong, 3 the run is not complete.`,
		Example: `  raftdv storm docs/examples/three-rounds.yaml
  raftdv storm docs/examples/three-rounds.yaml --explain
  raftdv storm docs/examples/three-rounds.yaml --dry-run    # how many trials, how long
  raftdv storm spec.yaml --shard=2/4 --dir=part2            # one of four machines
  raftdv storm merge --dir=whole part1 part2 part3 part4
  raftdv storm replay runs/three-rounds 4711                # one trial again
  raftdv storm compare runs/stock runs/dv                   # pair by pair, with intervals
  raftdv storm plot runs/three-rounds --metric=unavailable --by=fault --over=members`,
		Args: func(cmd *cobra.Command, args []string) error {
			if o.schema {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.dir, "dir", "", "folder for the results (default runs/NAME)")
	f.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "trials at a time, each in a process")
	f.StringVar(&o.shard, "shard", "", "i/n: only the i-th of n parts; auto/n: the part that Kubernetes (an indexed job) or Slurm (an array) says")
	f.BoolVar(&o.explain, "explain", false, "say what the specification means, and run nothing")
	f.BoolVar(&o.dry, "dry-run", false, "say how many trials there are and how long they take, from a sample")
	f.BoolVar(&o.real, "real", false, "run what can be with real etcd-dv and stock etcd; partitions take root, for network namespaces")
	f.Uint64Var(&o.seeds, "seeds", 0, "with --real: trials of each cell (default: as the specification says)")
	f.StringVar(&o.stock, "stock", "", "with --real: stock etcd (default: the etcd beside this program, else built from the module)")
	f.StringVar(&o.dv, "dv", "", "with --real: etcd-dv (default: the one beside this program)")
	f.BoolVar(&o.schema, "schema", false, "print the JSON schema of specifications")
	cmd.AddCommand(newStormMergeCmd(), newStormReplayCmd(), newStormReportCmd(), newStormCompareCmd(), newStormPlotCmd(), newStormWorkerCmd())
	return cmd
}

func (o *stormOptions) run(cmd *cobra.Command, args []string) error {
	out := cmd.OutOrStdout()
	if o.schema {
		_, err := out.Write(storm.Schema())
		return err
	}
	s, err := readSpec(args[0])
	if err != nil {
		return err
	}
	shard, err := parseShard(o.shard)
	if err != nil {
		return exitError{exitBadSpec, err}
	}
	if o.jobs < 1 {
		return exitError{exitBadSpec, fmt.Errorf("--jobs=%d: use 1 or more", o.jobs)}
	}
	if err := o.prepare(cmd, s); err != nil {
		return err
	}
	switch {
	case o.explain:
		return s.Explain(out)
	case o.dry:
		return o.dryRun(cmd, s, args[0])
	}
	if err := s.Create(o.dir, shard); err != nil {
		return exitError{exitIncomplete, err}
	}
	workers := stormWorkers(s, storm.SpecPath(o.dir))
	if o.real {
		if workers, err = o.processes(cmd, s); err != nil {
			return exitError{exitIncomplete, err}
		}
	}
	p := newStormProgress(cmd.ErrOrStderr())
	err = s.Run(cmd.Context(), storm.RunConfig{Dir: o.dir, Shard: shard, Jobs: o.jobs, New: workers, Progress: p.show})
	p.end()
	if errors.Is(err, storm.ErrInterrupted) {
		err = fmt.Errorf("%w: run the same command to go on", err)
	}
	if err != nil {
		return exitError{exitIncomplete, err}
	}
	if shard.N > 1 {
		fmt.Fprintf(out, "shard %s is complete: %s. Merge all of them: raftdv storm merge\n", o.shard, o.dir)
		return nil
	}
	return reportStorm(out, s, o.dir)
}

// prepare makes the specification one for real processes, if it is to be, and names the
// folder.
func (o *stormOptions) prepare(cmd *cobra.Command, s *storm.Spec) error {
	if !o.real && (o.seeds != 0 || o.stock != "" || o.dv != "") {
		return exitError{exitBadSpec, errors.New("--seeds, --stock and --dv are for --real")}
	}
	name := s.Name
	if o.real {
		left, err := s.ForReal(o.seeds)
		if err != nil {
			return exitError{exitBadSpec, err}
		}
		if len(left) > 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "left out, as real processes cannot be given it: %s\n", strings.Join(left, ", "))
		}
		name += "-real"
		o.jobs = 1 // clusters would measure each other
	}
	if o.dir == "" {
		o.dir = filepath.Join("runs", name)
	}
	return nil
}

// processes runs trials with real programs.
func (o *stormOptions) processes(cmd *cobra.Command, s *storm.Spec) (func() (storm.Trier, error), error) {
	p := programOptions{Programs: failover.Programs{Stock: o.stock, DV: o.dv}}
	if err := p.find(cmd); err != nil {
		return nil, err
	}
	p.Progress = nil // the bar says how far it is
	return func() (storm.Trier, error) { return s.RealTrier(cmd.Context(), p.Programs) }, nil
}

// readSpec reads a specification; what is wrong with it has an exit code.
func readSpec(path string) (*storm.Spec, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, exitError{exitBadSpec, err}
	}
	s, err := storm.Parse(path, text)
	if err != nil {
		return nil, exitError{exitBadSpec, fmt.Errorf("the specification is wrong\n%w", err)}
	}
	return s, nil
}

func parseShard(text string) (h storm.Shard, err error) {
	if text == "" {
		return storm.Shard{I: 1, N: 1}, nil
	}
	i, n, _ := strings.Cut(text, "/")
	if h.N, err = strconv.Atoi(n); err != nil {
		return h, fmt.Errorf("--shard=%s: write i/n, like 2/4, or auto/n", text)
	}
	if i == "auto" {
		h.I, err = scheduledShard(os.Getenv)
	} else {
		h.I, err = strconv.Atoi(i)
	}
	switch {
	case i == "auto" && err != nil:
		return h, fmt.Errorf("--shard=%s: %w", text, err)
	case err != nil || h.I < 1 || h.I > h.N:
		return h, fmt.Errorf("--shard=%s: it is part %d of %d: write i/n, like 2/4, with i from 1 to n", text, h.I, h.N)
	}
	return h, nil
}

// scheduledShard is which part of an array of jobs this is, from 1, as the scheduler
// says: an indexed job of Kubernetes counts from 0, an array of Slurm's from what its
// user wrote.
func scheduledShard(env func(string) string) (int, error) {
	number := func(name string) (int, error) {
		i, err := strconv.Atoi(env(name))
		if err != nil {
			return 0, fmt.Errorf("%s is %q, which is no number", name, env(name))
		}
		return i, nil
	}
	const index, task, first, step = "JOB_COMPLETION_INDEX", "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_STEP"
	switch {
	case env(index) != "" && env(task) != "":
		return 0, fmt.Errorf("both %s and %s are set: write i/n", index, task)
	case env(index) != "":
		i, err := number(index)
		return i + 1, err
	case env(task) != "":
		i, err := number(task)
		least, err2 := number(first)
		if err := errors.Join(err, err2); err != nil {
			return 0, err
		}
		by := 1
		if env(step) != "" {
			if by, err = number(step); err != nil || by < 1 || (i-least)%by != 0 {
				return 0, fmt.Errorf("%s is %d, %s %d and %s %q: they do not fit", task, i, first, least, step, env(step))
			}
		}
		return (i-least)/by + 1, nil
	}
	return 0, fmt.Errorf("neither %s (Kubernetes, a Job with completionMode: Indexed) nor %s (Slurm, an array) is set: write i/n", index, task)
}

// stormWorkers makes processes of this program.
func stormWorkers(s *storm.Spec, spec string) func() (storm.Trier, error) {
	return func() (storm.Trier, error) {
		me, err := os.Executable()
		if err != nil {
			return nil, err
		}
		cmd := exec.Command(me, "storm", "worker", spec)
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		return s.NewWorker(cmd)
	}
}

func newStormWorkerCmd() *cobra.Command {
	return &cobra.Command{
		Use: "worker SPEC.yaml", Short: "Answer the numbers of trials with their results: what the processes of a run do", Hidden: true,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := readSpec(args[0])
			if err != nil {
				return err
			}
			return s.Work(cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}

// sampleFor is how long --dry-run tries trials.
const sampleFor = 5 * time.Second

func (o *stormOptions) dryRun(cmd *cobra.Command, s *storm.Spec, path string) error {
	if o.real {
		each := s.RealTrial()
		fmt.Fprintf(cmd.OutOrStdout(), "%d cells, %d trials with real processes; some %v each; about %v, one after the other\n",
			len(s.Cells), s.Trials(), each.Round(time.Second), (each * time.Duration(s.Trials())).Round(time.Minute))
		return nil
	}
	t, err := stormWorkers(s, path)()
	if err != nil {
		return err
	}
	each, tried, err := s.Sample(t, sampleFor)
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	all := time.Duration(float64(each) * float64(s.Trials()) / float64(min(o.jobs, runtime.NumCPU())))
	fmt.Fprintf(cmd.OutOrStdout(), "%d cells, %d trials; %v each (of %d tried); about %v with %d jobs on %d processors\n",
		len(s.Cells), s.Trials(), each.Round(10*time.Microsecond), tried, all.Round(time.Second), o.jobs, runtime.NumCPU())
	return nil
}

// stormProgress is a bar on a terminal, a line now and then elsewhere.
type stormProgress struct {
	w     io.Writer
	bar   bool
	last  time.Time
	shown bool
}

const (
	barEvery  = 200 * time.Millisecond
	lineEvery = 10 * time.Second
	barWidth  = 30
)

func newStormProgress(w io.Writer) *stormProgress {
	f, ok := w.(*os.File)
	return &stormProgress{w: w, bar: ok && terminal(f), last: time.Now()}
}

func (p *stormProgress) show(s storm.Progress) {
	every := lineEvery
	if p.bar {
		every = barEvery
	}
	if now := time.Now(); now.Sub(p.last) >= every || s.Done == s.Total && p.bar {
		p.last = now
		text := fmt.Sprintf("%d of %d trials, %d failed, %v left", s.Done, s.Total, s.Failed, s.Left.Round(time.Second))
		if p.bar {
			full := int(barWidth * s.Done / s.Total)
			fmt.Fprintf(p.w, "\r\x1b[K[%s%s] %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), text)
			p.shown = true
			return
		}
		fmt.Fprintln(p.w, text)
	}
}

func (p *stormProgress) end() {
	if p.shown {
		fmt.Fprintln(p.w)
	}
}
