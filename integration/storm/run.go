package storm

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"time"
)

// A Trier runs trials one after the other. It is not for concurrent use: each worker
// of a run has its own.
type Trier interface {
	// Try runs a trial to its end. An error is about the trier, not the trial: another
	// one is made, and the trial tried again, once. After ErrCannot none is made.
	Try(trial uint64) (Result, error)
	Close() error
}

// RunConfig says how a specification is run.
type RunConfig struct {
	// Dir is an existing folder for the results; a run that was interrupted there goes
	// on.
	Dir string
	// Shard is the part to run. Default all.
	Shard Shard
	// Jobs is how many trials run at a time. Default 1.
	Jobs int
	// New makes a trier.
	New func() (Trier, error)
	// Progress is told after each trial, one call at a time. Default nobody.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	// Done of Total trials have results, Before of them from earlier, Failed in this
	// run.
	Done, Total, Before, Failed uint64
	// Elapsed in this run, and Left as it looks; 0: not known yet.
	Elapsed, Left time.Duration
}

// maxJobs bounds RunConfig.Jobs: each is a process.
const maxJobs = 1024

// ErrCannot: trials of this kind cannot be run here at all.
var ErrCannot = errors.New("trials cannot be run here")

// ErrInterrupted: the context ended before the run did. What is done is kept.
var ErrInterrupted = errors.New("interrupted")

// Validate lists what is wrong.
func (c *RunConfig) Validate() error {
	var errs []error
	if i, err := os.Stat(c.Dir); err != nil || !i.IsDir() {
		errs = append(errs, fmt.Errorf("%q is no folder", c.Dir))
	}
	if c.Jobs < 0 || c.Jobs > maxJobs {
		errs = append(errs, fmt.Errorf("%d jobs: use 1 to %d", c.Jobs, maxJobs))
	}
	if h := c.Shard; h != (Shard{}) && (h.N < 1 || h.I < 1 || h.I > h.N) {
		errs = append(errs, fmt.Errorf("shard %d/%d: use 1/%[2]d to %[2]d/%[2]d", h.I, max(h.N, 1)))
	}
	return errors.Join(errs...)
}

// Run runs the trials that have no results yet. When ctx ends it waits for those that
// are under way.
func (s *Spec) Run(ctx context.Context, cfg RunConfig) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Jobs == 0 {
		cfg.Jobs = 1
	}
	if cfg.Shard == (Shard{}) {
		cfg.Shard = Shard{1, 1}
	}
	unlock, err := lock(cfg.Dir)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := openStore(s, cfg.Shard, cfg.Dir)
	if err != nil {
		return err
	}
	r := &running{ctx: ctx, cfg: cfg, st: st, begun: time.Now(), cursor: st.next}
	r.room.L = &r.mu
	r.progress.Total = cfg.Shard.count(s.Trials())
	r.progress.Before = cfg.Shard.count(st.next) + uint64(len(st.ahead))
	r.progress.Done = r.progress.Before
	stop := context.AfterFunc(ctx, r.interrupt)
	defer stop()
	var wg sync.WaitGroup
	for range cfg.Jobs {
		wg.Go(r.work)
	}
	wg.Wait()
	err = errors.Join(r.err, st.close())
	if err == nil && !st.complete() {
		err = fmt.Errorf("%w: %w", ErrInterrupted, context.Cause(ctx))
	}
	return err
}

// count is how many of the first n trials are of the shard.
func (h Shard) count(n uint64) uint64 { return (n + uint64(h.N) - uint64(h.I)) / uint64(h.N) }

// running is a run.
type running struct {
	ctx   context.Context
	cfg   RunConfig
	begun time.Time

	mu       sync.Mutex // guards the fields below
	room     sync.Cond  // a result has been stored, or over is set
	st       *store
	cursor   uint64 // trials below have been taken
	over     bool
	err      error
	progress Progress
}

func (r *running) interrupt() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.room.Broadcast()
}

// take returns the next trial to run; false: there is none.
func (r *running) take() (trial uint64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.ctx.Err() != nil {
			return 0, false
		}
		for i := r.cursor; !r.over && i < r.st.spec.Trials(); i = r.cfg.Shard.next(i + 1) {
			if r.st.done(i) {
				continue
			}
			if i >= r.st.next+maxEarly*uint64(r.cfg.Shard.N) {
				break // results.csv has to catch up first
			}
			r.cursor = r.cfg.Shard.next(i + 1)
			return i, true
		}
		if r.over || r.cursor >= r.st.spec.Trials() || r.st.complete() {
			return 0, false
		}
		r.room.Wait()
	}
}

// put stores a result.
func (r *running) put(res *Result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.st.add(res); err != nil {
		r.err, r.over = errors.Join(r.err, err), true
	}
	p := &r.progress
	p.Done++
	if res.Failure != "" {
		p.Failed++
	}
	p.Elapsed = time.Since(r.begun)
	p.Left = time.Duration(float64(p.Elapsed) / float64(p.Done-p.Before) * float64(p.Total-p.Done))
	if r.cfg.Progress != nil {
		r.cfg.Progress(*p)
	}
	r.room.Broadcast()
}

func (r *running) fail(err error) {
	r.mu.Lock()
	r.err, r.over = errors.Join(r.err, err), true
	r.mu.Unlock()
	r.room.Broadcast()
}

// work runs trials until there are none.
func (r *running) work() {
	var trier Trier
	defer func() {
		if trier != nil {
			if err := trier.Close(); err != nil {
				r.fail(err)
			}
		}
	}()
	for {
		i, ok := r.take()
		if !ok {
			return
		}
		var res Result
		var err error
		for range 2 {
			if trier == nil {
				if trier, err = r.cfg.New(); err != nil {
					r.fail(err)
					return
				}
			}
			if res, err = trier.Try(i); err == nil {
				break
			}
			_ = trier.Close() // it is broken: err says more
			trier = nil
			if r.ctx.Err() != nil {
				return // that is why
			}
			if errors.Is(err, ErrCannot) {
				r.fail(err)
				return
			}
		}
		if err != nil {
			res = failed(i, err.Error())
		}
		res.Trial = i
		res.Failure = strings.Join(strings.Fields(res.Failure), " ")
		r.put(&res)
	}
}

// failed is the result of a trial that has none.
func failed(trial uint64, why string) Result {
	r := Result{Trial: trial, Failure: why}
	for i := range metrics {
		v := math.NaN()
		if metrics[i].name == "failed" {
			v = 1
		}
		r.Values = append(r.Values, v)
	}
	return r
}
