package failover

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/bench"
)

const (
	// warmUp is how long the writers write before the fault, and up to phase more,
	// so that it comes at any time between two heartbeats.
	warmUp = 300 * time.Millisecond
	phase  = 200 * time.Millisecond
	// afterwards is how long they go on after the first write.
	afterwards = 100 * time.Millisecond
	// faultLasts is how long a fault goes on at least. A leader that is back after
	// a moment was no failure but a hiccup, and etcd-dv waits longer for its next
	// one.
	faultLasts = 2 * time.Second
)

// A Trial is one fault of one cluster.
type Trial struct {
	Fault   string
	Members int
	Writers int
	Number  int // from 1
	Side    string
	// Took is the time from the fault to the first acknowledged write, or the bound.
	Took time.Duration
	// Within: a write was acknowledged before the bound.
	Within bool
	// Terms used from the fault to the first write.
	Terms uint64
	// Changes of leader from the fault until all had settled with the old leader
	// back.
	Changes int
}

// Run measures and calls report for each cell, as soon as it is known. A fault
// that cannot be made here gives a result with Skipped and no error.
func Run(ctx context.Context, cfg Config, report func(Result)) error {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	cells := cfg.cells()
	cfg.Progress("%d cells of %d trials of each side, about %v", len(cells), cfg.Trials, cfg.Estimate().Round(time.Minute))
	for _, c := range cells {
		r, err := runCell(ctx, cfg, c)
		if errors.Is(err, ErrNotHere) {
			cfg.Progress("SKIPPED: %s, %d members: %v", c.fault, c.members, err)
			report(skipped(c, err))
			continue
		}
		if n := min(len(r.stock), len(r.dv)); n > 0 {
			r.stock, r.dv = r.stock[:n], r.dv[:n] // pairs, if it was ended early
			report(r.result(cfg))
		}
		if err != nil {
			return fmt.Errorf("%s, %d members, %d writers: %w", c.fault, c.members, c.writers, err)
		}
	}
	return nil
}

// block is how many trials in a row one side makes before it is the other one's
// turn: only one cluster runs at a time, as ten etcds on a few processors measure
// each other.
const block = 5

// trials of one cell, by side.
type trials struct {
	cell
	stock, dv []Trial
	paths     string
	storage   string
	writes    uint64 // acknowledged, and read back
}

// runCell makes the trials of a cell in blocks: stock, dv, dv, stock, stock and
// so on.
func runCell(ctx context.Context, cfg Config, c cell) (t *trials, err error) {
	t = &trials{cell: c}
	rng := rand.New(rand.NewPCG(uint64(c.members), uint64(c.writers)))
	waits := make([]time.Duration, cfg.Trials) // the same for both
	for i := range waits {
		waits[i] = warmUp + time.Duration(rng.Int64N(int64(phase)))
	}
	order := []string{StockSide, DVSide}
	for begin := 0; begin < cfg.Trials; begin += block {
		for _, name := range order {
			if err := t.runBlock(ctx, cfg, name, begin, waits[begin:min(begin+block, cfg.Trials)]); err != nil {
				return t, err
			}
		}
		slices.Reverse(order)
	}
	return t, nil
}

// runBlock starts a cluster for as many trials as there are waits, of which the
// first has the number begin+1.
func (t *trials) runBlock(ctx context.Context, cfg Config, name string, begin int, waits []time.Duration) (err error) {
	dir := cfg.Dir
	if dir == "" {
		dir = os.TempDir()
	}
	l, err := newLab(ctx, t.fault, dir, t.members)
	if err != nil {
		return err
	}
	s, err := openSide(ctx, name, cfg.Programs, t.members, l)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	t.storage = storageOf(s.dir)
	if name == DVSide {
		t.paths = s.pathNames()
	}
	for i, wait := range waits {
		one, err := s.trial(ctx, t.writers, wait, cfg.Bound)
		if err != nil {
			return fmt.Errorf("trial %d, %s: %w", begin+i+1, s.name, err)
		}
		one.Fault, one.Members, one.Writers, one.Number, one.Side = t.fault, t.members, t.writers, begin+i+1, s.name
		cfg.Trial(one)
		cfg.Progress("%s, %d members, %d writers: trial %d/%d: %s %s", t.fault, t.members, t.writers, one.Number, cfg.Trials, s.name, one.text())
		if name == DVSide {
			t.dv = append(t.dv, one)
		} else {
			t.stock = append(t.stock, one)
		}
	}
	if err := s.verify(ctx); err != nil {
		return err
	}
	t.writes += s.ledger.Writes()
	return nil
}

func (t Trial) text() string {
	if !t.Within {
		return fmt.Sprintf("not within %v", t.Took)
	}
	return fmt.Sprintf("%.1f ms", millis(t.Took))
}

// trial breaks the leader under load, measures and mends it. The cluster has
// settled before and after.
func (s *side) trial(ctx context.Context, n int, wait, bound time.Duration) (Trial, error) {
	before := s.view
	rest := s.others(before.leader)
	index := slices.Index(s.cluster.Members(), before.leader)
	load := s.startLoad(ctx, n)
	defer load.stop()
	if !load.warm(ctx, wait) {
		return Trial{}, errors.New("no write was acknowledged before the fault: the cluster does not work")
	}
	probing, done := context.WithCancel(ctx)
	defer done()
	f := newFirst(time.Now(), before.term)
	load.to(f)
	probes := make(chan struct{})
	go func() { defer close(probes); probe(probing, s.kvs(rest), s.ledger, f.add) }()
	struck := s.lab.strike(index, before.leader)
	if struck == nil {
		await(ctx, f.found, bound)
	}
	done()
	<-probes
	pause(ctx, max(afterwards, faultLasts-time.Since(f.since)))
	load.stop()
	answers := s.statuses(ctx, rest)
	mended := s.lab.mend(ctx, index, before.leader)
	if err := errors.Join(struck, mended, context.Cause(ctx)); err != nil {
		return Trial{}, err
	}
	seen := leaders{before.term: 1}
	seen.note(answers)
	later, err := s.settle(ctx)
	maps.Copy(seen, later)
	return s.measured(f, before.term, answers, seen, bound), err
}

func (s *side) measured(f *first, before uint64, answers []*clientv3.StatusResponse, seen leaders, bound time.Duration) Trial {
	t := Trial{Changes: seen.changes()}
	if t.Took, t.Within = f.took(); !t.Within || t.Took > bound {
		t.Took, t.Within = bound, false
	}
	if term, ok := maxTerm(answers); ok && term > before {
		t.Terms = term - before
	}
	return t
}

func await(ctx context.Context, found <-chan struct{}, bound time.Duration) {
	t := time.NewTimer(bound)
	defer t.Stop()
	select {
	case <-found:
	case <-ctx.Done():
	case <-t.C:
	}
}

func storageOf(dir string) string {
	if bench.InMemory(filepath.Clean(dir)) {
		return "memory"
	}
	return "disk"
}
