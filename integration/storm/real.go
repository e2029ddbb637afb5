package storm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/raftdv/dv/integration/failover"
)

// Real processes. The same specification runs on etcd-dv and stock etcd, as far as that
// is possible: what has no counterpart among processes is left out, and said. What they
// measure took real time, and is never drawn or compared with simulated time.

// realTransports are the arguments of the members that stand for a transport.
var realTransports = map[string]struct {
	side string
	args []string
}{
	"stock":         {failover.StockSide, nil},
	"stock-lan":     {failover.StockSide, nil},
	"dv":            {failover.DVSide, nil},
	"dv-no-arbiter": {failover.DVSide, []string{"--dv-elections=off"}},
	"dv-no-relays":  {failover.DVSide, []string{"--dv-views=off"}},
}

// maxRealMembers bounds clusters of processes on one machine, maxReal a trial with them.
const (
	maxRealMembers = 9
	maxReal        = 10 * time.Minute
)

// unreal says why a cell is not for real processes, by dimension; "": it is.
func (s *Spec) unreal(c *Cell) string {
	switch {
	case !slices.Contains(realNames(), c.Value("transport")):
		return "transport=" + c.Value("transport")
	case c.int("members") > maxRealMembers:
		return fmt.Sprintf("members=%s (at most %d)", c.Value("members"), maxRealMembers)
	case !slices.Contains(failover.TrialFaults(), c.Value("fault")):
		return "fault=" + c.Value("fault")
	case strings.HasPrefix(c.Value("fault"), "crash-") && c.int("crashes") != 1:
		return "crashes=" + c.Value("crashes")
	case c.float("loss") != 0:
		return "loss=" + c.Value("loss")
	case c.int("skew") != 0:
		return "skew=" + c.Value("skew")
	case s.Duration+s.WarmUp > maxReal:
		return fmt.Sprintf("warm_up and duration of more than %v", maxReal)
	case s.ofCell(c).Heartbeat%time.Millisecond != 0 || s.ofCell(c).Election%time.Millisecond != 0:
		return fmt.Sprintf("timers that are no whole milliseconds (%s with heartbeat=%s election=%s)", c.Value("transport"), c.Value("heartbeat"), c.Value("election"))
	case !c.bool("checkquorum"):
		return "checkquorum=false (etcd has it always)"
	}
	return ""
}

func realNames() (names []string) {
	for _, t := range Transports() {
		if _, ok := realTransports[t.Name]; ok {
			names = append(names, t.Name)
		}
	}
	return names
}

// ErrUnreal: nothing of a specification can be run with real processes.
var ErrUnreal = errors.New("nothing of this can be run with real processes")

// ForReal makes s what real processes can run of it, with so many seeds for each cell; 0:
// as many as it says. It returns what is left out. Links are what the machine has: of cells
// that differ in their link alone the first stays.
func (s *Spec) ForReal(seeds uint64) (left []string, err error) {
	var cells []Cell
	seen := map[string]bool{}
	for i := range s.Cells {
		c := &s.Cells[i]
		why := s.unreal(c)
		values := slices.Clone(c.values)
		values[dimensionIndex("link")] = ""
		if key := strings.Join(values, " "); why == "" && seen[key] {
			why = "link=" + c.Value("link") + " (links are this machine's)"
		} else if why == "" {
			seen[key] = true
			cells = append(cells, *c)
		}
		if why != "" && !slices.Contains(left, why) {
			left = append(left, why)
		}
	}
	if s.Size != defaultSize {
		left = append(left, fmt.Sprintf("workload.size=%d (writes have some 30 bytes)", s.Size))
	}
	if len(cells) == 0 {
		return left, fmt.Errorf("%w: left out are %s", ErrUnreal, strings.Join(left, ", "))
	}
	s.Cells, s.Real = cells, true
	if seeds != 0 {
		s.Seeds = seeds
	}
	return left, nil
}

// RealTrier runs trials with real processes, one at a time.
func (s *Spec) RealTrier(ctx context.Context, programs failover.Programs) (Trier, error) {
	if !s.Real {
		return nil, errors.New("the specification was not made for real processes")
	}
	return &realTrier{ctx, s, programs}, nil
}

type realTrier struct {
	ctx      context.Context
	spec     *Spec
	programs failover.Programs
}

func (t *realTrier) Close() error { return nil }

// real is a trial as processes run it.
func (s *Spec) real(trial uint64, programs failover.Programs) failover.TrialConfig {
	c, seed := s.trial(trial)
	cfg := s.ofCell(c)
	cfg.Programs, cfg.Seed = programs, seed
	return cfg
}

// ofCell is what all trials of a cell have in common.
func (s *Spec) ofCell(c *Cell) failover.TrialConfig {
	transport := realTransports[c.Value("transport")]
	cfg := failover.TrialConfig{
		Side: transport.side, Args: transport.args, Members: c.int("members"), Fault: c.Value("fault"),
		Heartbeat: c.time("heartbeat"), Election: c.time("election"), PreVote: c.bool("prevote"),
		WarmUp: s.WarmUp, Duration: s.Duration, Rate: s.Rate,
	}
	if transportOf(c.Value("transport")).LAN {
		cfg.Heartbeat, cfg.Election = cfg.Heartbeat/lanFactor, cfg.Election/lanFactor
	}
	return cfg
}

func (t *realTrier) Try(trial uint64) (Result, error) {
	r, err := failover.RunTrial(t.ctx, t.spec.real(trial, t.programs))
	switch {
	case err == nil:
		return t.spec.realResult(trial, &r), nil
	case t.ctx.Err() != nil:
		return Result{}, ErrInterrupted
	case errors.Is(err, failover.ErrNotHere):
		return Result{}, fmt.Errorf("%w: %w", ErrCannot, err)
	}
	// A trial that went wrong is a result: it may be what the experiment is about.
	return failed(trial, err.Error()), nil
}

func (s *Spec) realResult(trial uint64, r *failover.TrialResult) Result {
	res := failed(trial, "")
	set := func(name string, v float64) { res.Values[metricIndex(name)] = v }
	set("failed", 0)
	if !r.Led {
		res.Failure = "nobody leads in the end"
		set("failed", 1)
	}
	set("elections", float64(r.Elections))
	set("terms", float64(r.Terms))
	set("time_to_leader", math.NaN())
	if r.TimeToLeader >= 0 {
		set("time_to_leader", r.TimeToLeader.Seconds()*1e3)
	}
	set("unavailable", r.Unavailable.Seconds()*1e3)
	set("ops", float64(r.Acked)/s.Duration.Seconds())
	return res
}

// realMetrics are what trials with real processes measure.
var realMetrics = []string{"elections", "terms", "time_to_leader", "unavailable", "ops", "failed"}

// RealTrial is about how long a trial with real processes takes: beside what the
// specification says a cluster starts, settles, and settles again.
func (s *Spec) RealTrial() time.Duration { return s.WarmUp + s.Duration + 12*time.Second }

// Measures reports whether trials of the specification measure a metric.
func (s *Spec) Measures(metric string) bool { return !s.Real || slices.Contains(realMetrics, metric) }

// unit is that of a metric on an axis: times say which clock showed them.
func (s *Spec) unit(metric int) string {
	if !metrics[metric].time {
		return metrics[metric].unit
	}
	return metrics[metric].unit + ", " + s.clock()
}

// clock says which time the trials take.
func (s *Spec) clock() string {
	if s.Real {
		return "wall-clock time, real processes"
	}
	return "simulated time"
}
