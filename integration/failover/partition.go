package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/raftdv/dv/integration/bench"
	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/netns"
)

const (
	defaultPartition       = 10 * time.Second
	defaultPartitionTrials = 3
	// slotLen is the unit of availability: a slot counts in which a write was
	// acknowledged.
	slotLen = 100 * time.Millisecond
	// partitionTimeout bounds a try of a writer: a member without a leader lets it wait.
	partitionTimeout = 500 * time.Millisecond
	// slack is by how many percent of availability runs of one thing differ.
	slack = 5
)

// PartitionConfig says how RunPartitions cuts.
type PartitionConfig struct {
	Programs
	// StockArgs are further arguments of stock's members.
	StockArgs []string
	// Scenarios by name. Default all.
	Scenarios []string
	// Duration of each partition. Default 10s.
	Duration time.Duration
	// Trials of each side. Default 3.
	Trials int
	// Sides are those to measure, StockSide and DVSide. Default both.
	Sides []string
	// During is called in the middle of each partition with the members of the side,
	// that of stock or of etcd-dv. Default nothing.
	During func(ctx context.Context, side string, members []*cluster.Member)
}

func (c PartitionConfig) withDefaults() PartitionConfig {
	c.Programs = c.Programs.withDefaults()
	if len(c.Scenarios) == 0 {
		c.Scenarios = ScenarioNames()
	}
	if c.Duration == 0 {
		c.Duration = defaultPartition
	}
	if c.Trials == 0 {
		c.Trials = defaultPartitionTrials
	}
	if len(c.Sides) == 0 {
		c.Sides = []string{StockSide, DVSide}
	}
	return c
}

// Validate returns all faults at once.
func (c PartitionConfig) Validate() error {
	c = c.withDefaults()
	errs := c.Programs.faults()
	for _, name := range c.Scenarios {
		if !slices.Contains(ScenarioNames(), name) {
			errs = append(errs, fmt.Errorf("scenario %q is unknown: use any of %v", name, ScenarioNames()))
		}
	}
	if c.Duration < 2*lagFirst {
		errs = append(errs, fmt.Errorf("a partition of %v shows nothing: use %v or more", c.Duration, 2*lagFirst))
	}
	if c.Trials < 1 {
		errs = append(errs, fmt.Errorf("%d trials measure nothing: use 1 or more", c.Trials))
	}
	return errors.Join(errs...)
}

// A PartitionResult is one scenario.
type PartitionResult struct {
	Scenario string  `json:"scenario"`
	What     string  `json:"what"`
	Members  int     `json:"members"`
	Seconds  float64 `json:"seconds"` // of each partition
	Trials   int     `json:"trials"`  // of each side
	// Skipped says why it was not measured.
	Skipped string           `json:"skipped,omitempty"`
	Stock   PartitionNumbers `json:"stock"`
	DV      PartitionNumbers `json:"dv"`
	Paths   string           `json:"paths"` // of etcd-dv, before the first cut

	bench.Origin
}

// PartitionNumbers are those of one side.
type PartitionNumbers struct {
	// AvailablePct is the share of the time in which somebody could write, in slots of
	// 100 ms; ReachPct the mean over the members, each with its own client.
	AvailablePct float64 `json:"available_percent"`
	ReachPct     float64 `json:"reach_percent"`
	// LongestGapMs without an acknowledged write: the worst of the trials.
	LongestGapMs float64 `json:"longest_gap_ms"`
	// ChangesMean of leader in a partition, until all had settled after it, and terms.
	ChangesMean float64 `json:"changes_mean"`
	ChangesMax  int     `json:"changes_max"`
	TermsMean   float64 `json:"terms_mean"`
	Writes      uint64  `json:"writes"` // acknowledged, and read back
}

// RunPartitions measures what clusters still write while links between their members
// are cut. Members have network namespaces of their own, clients reach each of them
// over a socket.
func RunPartitions(ctx context.Context, cfg PartitionConfig, report func(PartitionResult)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	for _, s := range Scenarios() {
		if !slices.Contains(cfg.Scenarios, s.Name) {
			continue
		}
		r := PartitionResult{Scenario: s.Name, What: s.What, Members: s.Members, Seconds: cfg.Duration.Seconds(), Trials: cfg.Trials, Origin: bench.Here()}
		var err error
		if r.Skipped, err = cfg.skipped(s.Name, r.measure(ctx, cfg, &s)); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		report(r)
	}
	return nil
}

func (r *PartitionResult) measure(ctx context.Context, cfg PartitionConfig, s *Scenario) error {
	err := inTurn(cfg.Trials, cfg.Sides, func(trial int, side string) error {
		n, paths, err := partition(ctx, cfg, s, side)
		if err != nil {
			return err
		}
		cfg.Progress("%s, %d members: trial %d/%d: %s: somebody could write for %.0f%% of the time, a member for %.0f%%, longest gap %.0f ms, %.0f changes of leader",
			s.Name, s.Members, trial+1, cfg.Trials, side, n.AvailablePct, n.ReachPct, n.LongestGapMs, n.ChangesMean)
		of(side, &r.Stock, &r.DV).add(&n)
		if side == DVSide {
			r.Paths = paths
		}
		return nil
	})
	r.Stock.mean(cfg.Trials)
	r.DV.mean(cfg.Trials)
	return err
}

func (n *PartitionNumbers) add(o *PartitionNumbers) {
	n.AvailablePct += o.AvailablePct
	n.ReachPct += o.ReachPct
	n.LongestGapMs = max(n.LongestGapMs, o.LongestGapMs)
	n.ChangesMean += o.ChangesMean
	n.ChangesMax = max(n.ChangesMax, o.ChangesMax)
	n.TermsMean += o.TermsMean
	n.Writes += o.Writes
}

func (n *PartitionNumbers) mean(trials int) {
	for _, v := range []*float64{&n.AvailablePct, &n.ReachPct, &n.ChangesMean, &n.TermsMean} {
		*v = bench.Round(*v / float64(trials))
	}
}

func partition(ctx context.Context, cfg PartitionConfig, sc *Scenario, name string) (n PartitionNumbers, paths string, err error) {
	l, err := netns.NewLinks(ctx, sc.Members)
	if err != nil {
		return n, "", err
	}
	var args []string
	if name == StockSide {
		args = cfg.StockArgs
	}
	s, err := openSide(ctx, name, cfg.Programs, sc.Members, links{l}, args...)
	if err != nil {
		return n, "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if n, err = s.cutLinks(ctx, cfg, sc, l); err != nil {
		return n, "", err
	}
	n.Writes = s.ledger.Writes()
	return n, s.pathNames(), s.verify(ctx)
}

// spans notes in which parts of a time something happened.
type spans struct {
	begin time.Time
	hit   []atomic.Bool
}

func newSpans(d time.Duration) *spans { return &spans{hit: make([]atomic.Bool, d/slotLen)} }

func (s *spans) note(at time.Time) {
	if i := at.Sub(s.begin) / slotLen; at.After(s.begin) && int(i) < len(s.hit) {
		s.hit[i].Store(true)
	}
}

func (s *spans) percent() float64 {
	n := 0
	for i := range s.hit {
		if s.hit[i].Load() {
			n++
		}
	}
	return 100 * float64(n) / float64(len(s.hit))
}

// cutLinks writes through each member while a scenario goes on.
func (s *side) cutLinks(ctx context.Context, cfg PartitionConfig, sc *Scenario, l *netns.Links) (n PartitionNumbers, err error) {
	members := s.cluster.Members()
	leader := slices.Index(members, s.view.leader)
	var rest []int
	for i := range members {
		if i != leader {
			rest = append(rest, i)
		}
	}
	all, each := newSpans(cfg.Duration), make([]*spans, len(members))
	var begun atomic.Bool
	var g gaps
	var loads []*writers
	defer func() {
		for _, w := range loads {
			w.stop()
		}
	}()
	for i := range members {
		each[i] = newSpans(cfg.Duration)
		loads = append(loads, startWriters(ctx, 1, s.kvs(members[i:i+1]), partitionTimeout, s.ledger, func(a ack) {
			if begun.Load() {
				all.note(a.done)
				each[i].note(a.done)
				g.note(a.done)
			}
		}))
	}
	pause(ctx, warmUp)
	if s.ledger.Writes() == 0 {
		return n, errors.New("nothing was written before the partition: the cluster does not work")
	}
	begin := time.Now()
	all.begin = begin
	for _, e := range each {
		e.begin = begin
	}
	g.start(begin)
	begun.Store(true)
	seen := leaders{s.view.term: 1}
	if err := s.playOut(ctx, sc.steps(leader, rest, cfg.Duration), begin, cfg.Duration, l, seen, cfg.During); err != nil {
		return n, err
	}
	n.LongestGapMs = bench.Round(millis(g.end(time.Now())))
	begun.Store(false)
	if err := errors.Join(l.Only(nil), context.Cause(ctx)); err != nil {
		return n, err
	}
	for _, w := range loads {
		w.stop()
	}
	before := s.view.term
	later, err := s.settle(ctx)
	if err != nil {
		return n, err
	}
	maps.Copy(seen, later)
	n.AvailablePct = all.percent()
	for _, e := range each {
		n.ReachPct += e.percent() / float64(len(each))
	}
	n.ChangesMean, n.ChangesMax, n.TermsMean = float64(seen.changes()), seen.changes(), float64(s.view.term-before)
	return n, nil
}

// playOut cuts what each step wants and notes who leads, until the end; during is
// called half-way.
func (s *side) playOut(ctx context.Context, steps []step, begin time.Time, d time.Duration, l *netns.Links, seen leaders, during func(context.Context, string, []*cluster.Member)) error {
	watched, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		for watched.Err() == nil {
			seen.note(s.statuses(watched, s.cluster.Members()))
			pause(watched, watchEvery)
		}
	})
	if during != nil {
		watch.Go(func() {
			if pause(watched, time.Until(begin.Add(d/2))); watched.Err() == nil {
				during(watched, s.name, s.cluster.Members())
			}
		})
	}
	for _, st := range steps {
		pause(ctx, time.Until(begin.Add(st.at)))
		if err := l.Only(st.cut); err != nil {
			return err
		}
	}
	pause(ctx, time.Until(begin.Add(d)))
	return nil
}

// Check wants etcd-dv to be no worse than stock.
func (r PartitionResult) Check() error {
	if r.Skipped != "" {
		return fmt.Errorf("%w: %s: was not measured: %s", ErrMissed, r.Scenario, r.Skipped)
	}
	var errs []error
	for _, q := range []struct {
		name      string
		stock, dv float64
	}{{"somebody could write", r.Stock.AvailablePct, r.DV.AvailablePct}, {"a member could write", r.Stock.ReachPct, r.DV.ReachPct}} {
		if q.dv < q.stock-slack {
			errs = append(errs, fmt.Errorf("%w: %s: %s for %.1f%% of the time, with stock for %.1f%%", ErrMissed, r.Scenario, q.name, q.dv, q.stock))
		}
	}
	return errors.Join(errs...)
}

// WritePartitionTable writes results for people.
func WritePartitionTable(w io.Writer, results []PartitionResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "scenario\tmembers\tseconds\ttrials\t\tsomebody writes %\ta member writes %\tlongest gap ms\tleader changes\tat most\tterms\tread back\t")
	for _, r := range results {
		if r.Skipped != "" {
			fmt.Fprintf(t, "%s\t%d\tskipped: %s\n", r.Scenario, r.Members, r.Skipped)
			continue
		}
		for side, n := range each(&r.Stock, &r.DV) {
			fmt.Fprintf(t, "%s\t%d\t%.0f\t%d\t%s\t%.0f\t%.0f\t%.0f\t%.1f\t%d\t%.1f\t%d\t\n", r.Scenario, r.Members, r.Seconds, r.Trials,
				side, n.AvailablePct, n.ReachPct, n.LongestGapMs, n.ChangesMean, n.ChangesMax, n.TermsMean, n.Writes)
		}
	}
	return t.Flush()
}
