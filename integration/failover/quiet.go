package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/raftdv/dv/integration/bench"
)

const (
	defaultQuiet        = 30 * time.Minute
	defaultQuietWriters = 32
	defaultQuietMembers = 3
	// quietTimeout bounds a try of a writer where nothing is broken.
	quietTimeout = 10 * time.Second
	// watchEvery is how often all members are asked who leads.
	watchEvery = 100 * time.Millisecond
	// burn keeps one processor busy until it is killed.
	burn = `while :; do :; done`
)

// quietArgs keep what a long run writes small, on both sides.
var quietArgs = []string{"--auto-compaction-mode=revision", "--auto-compaction-retention=10000"}

// QuietConfig says how RunQuiet looks for changes of leader without a fault.
type QuietConfig struct {
	Programs
	// Members of the cluster. Default 3.
	Members int
	// Writers that write without a pause. Default 32.
	Writers int
	// Duration for each side. Default 30m.
	Duration time.Duration
	// Throttle is the share of one processor in percent that each member may
	// use. Default 0: no limit.
	Throttle int
}

func (c QuietConfig) withDefaults() QuietConfig {
	c.Programs = c.Programs.withDefaults()
	if c.Members == 0 {
		c.Members = defaultQuietMembers
	}
	if c.Writers == 0 {
		c.Writers = defaultQuietWriters
	}
	if c.Duration == 0 {
		c.Duration = defaultQuiet
	}
	return c
}

// Validate returns all faults at once.
func (c QuietConfig) Validate() error {
	c = c.withDefaults()
	errs := c.Programs.faults()
	if c.Members < 1 {
		errs = append(errs, fmt.Errorf("%d members are no cluster: use 1 or more", c.Members))
	}
	if c.Writers < 1 || c.Writers > maxWriters {
		errs = append(errs, fmt.Errorf("%d writers: use 1 to %d", c.Writers, maxWriters))
	}
	if c.Duration < 0 {
		errs = append(errs, errors.New("the duration cannot be negative"))
	}
	if c.Throttle < 0 || c.Throttle > 100 {
		errs = append(errs, fmt.Errorf("throttle of %d%%: use 1 to 100, or 0 for no limit", c.Throttle))
	}
	return errors.Join(errs...)
}

// A QuietResult is what happened without a fault.
type QuietResult struct {
	Members    int     `json:"members"`
	Writers    int     `json:"writers"`
	Throttle   int     `json:"throttle_percent"`
	Neighbours int     `json:"neighbours"` // processes that burn a processor each
	Seconds    float64 `json:"seconds"`    // of each side
	// Skipped says why it was not measured.
	Skipped string       `json:"skipped,omitempty"`
	Stock   QuietNumbers `json:"stock"`
	DV      QuietNumbers `json:"dv"`
	Paths   string       `json:"paths"`

	bench.Origin
}

// QuietNumbers are those of one side.
type QuietNumbers struct {
	// Changes of leader, as the members told every 100 ms, and terms used.
	Changes int    `json:"changes"`
	Terms   uint64 `json:"terms"`
	// Writes were acknowledged, and all read back.
	Writes   uint64  `json:"writes"`
	WritesPS float64 `json:"writes_per_s"`
	// Polls that were answered by no member.
	Deaf int `json:"deaf_polls"`
}

// RunQuiet keeps a cluster of stock etcd and then one of etcd-dv at full load
// for a while, a process that burns a processor beside them for each processor,
// and counts changes of leader.
func RunQuiet(ctx context.Context, cfg QuietConfig, report func(QuietResult)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	r := QuietResult{
		Members: cfg.Members, Writers: cfg.Writers, Throttle: cfg.Throttle,
		Neighbours: runtime.NumCPU(), Seconds: cfg.Duration.Seconds(), Origin: bench.Here(),
	}
	cfg.Progress("no fault: %d members, %d writers, %d busy neighbours, %v of each side", r.Members, r.Writers, r.Neighbours, cfg.Duration)
	err := inTurn(1, bothSides, func(_ int, side string) error {
		n, paths, err := quiet(ctx, cfg, side)
		if err != nil {
			return err
		}
		cfg.Progress("%s: %d changes of leader, %d terms, %.0f writes/s", side, n.Changes, n.Terms, n.WritesPS)
		*of(side, &r.Stock, &r.DV), r.Paths = n, paths
		return nil
	})
	if r.Skipped, err = cfg.skipped("no fault", err); err != nil {
		return fmt.Errorf("without a fault: %w", err)
	}
	report(r)
	return nil
}

func quiet(ctx context.Context, cfg QuietConfig, name string) (n QuietNumbers, paths string, err error) {
	limits, err := newLimits(cfg.Throttle, cfg.Members)
	if err != nil {
		return n, "", err
	}
	defer func() { err = errors.Join(err, limits.close()) }()
	s, err := openSide(ctx, name, cfg.Programs, cfg.Members, signals{}, quietArgs...)
	if err != nil {
		return n, "", err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for i, m := range s.cluster.Members() {
		if err := limits.apply(i, m.Pid()); err != nil {
			return n, "", err
		}
	}
	stop, err := neighbours(runtime.NumCPU())
	if err != nil {
		return n, "", err
	}
	n = s.watchLoad(ctx, cfg)
	stop()
	if err := limits.lift(); err != nil {
		return n, "", err
	}
	return n, s.pathNames(), errors.Join(context.Cause(ctx), s.verify(ctx))
}

// watchLoad writes for the duration and notes who leads.
func (s *side) watchLoad(ctx context.Context, cfg QuietConfig) (n QuietNumbers) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Duration)
	defer cancel()
	begin, members := time.Now(), s.cluster.Members()
	load := startWriters(ctx, cfg.Writers, s.kvs(members), quietTimeout, s.ledger, func(ack) {})
	defer load.stop()
	seen, last := leaders{s.view.term: 1}, s.view.term
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for ctx.Err() == nil {
		answers := s.statuses(ctx, members)
		seen.note(answers)
		if term, ok := maxTerm(answers); ok {
			last = max(last, term)
		} else if ctx.Err() == nil {
			n.Deaf++
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	load.stop()
	n.Changes, n.Terms, n.Writes = seen.changes(), last-s.view.term, s.ledger.Writes()
	n.WritesPS = bench.Round(float64(n.Writes) / time.Since(begin).Seconds())
	return n
}

// neighbours starts n processes that burn a processor each.
func neighbours(n int) (stop func(), err error) {
	var wg sync.WaitGroup
	var all []*exec.Cmd
	stop = func() {
		for _, c := range all {
			c.Process.Kill()
		}
		wg.Wait()
	}
	for range n {
		cmd := exec.Command("sh", "-c", burn)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		started := make(chan error)
		wg.Go(func() {
			// The kernel tells of the death of the thread that started it.
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			err := cmd.Start()
			started <- err
			if err == nil {
				cmd.Wait()
			}
		})
		if err := <-started; err != nil {
			stop()
			return nil, fmt.Errorf("busy neighbour: %w", err)
		}
		all = append(all, cmd)
	}
	return stop, nil
}

// WriteQuietTable writes results for people.
func WriteQuietTable(w io.Writer, results []QuietResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "members\twriters\tCPU limit\t\tseconds\tleader changes\tterms\twrites/s\tread back\tdeaf polls\t")
	for _, r := range results {
		if r.Skipped != "" {
			continue
		}
		limit := "none"
		if r.Throttle > 0 {
			limit = fmt.Sprintf("%d%%", r.Throttle)
		}
		for side, n := range each(&r.Stock, &r.DV) {
			fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%.0f\t%d\t%d\t%.0f\t%d\t%d\t\n", r.Members, r.Writers, limit,
				side, r.Seconds, n.Changes, n.Terms, n.WritesPS, n.Writes, n.Deaf)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		if r.Skipped != "" {
			fmt.Fprintf(w, "SKIPPED, throttled to %d%%: %s\n", r.Throttle, r.Skipped)
		}
	}
	return nil
}
