package failover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/raftdv/dv/integration/bench"
	"github.com/raftdv/dv/integration/cluster"
)

const (
	defaultJoinMembers = 3
	defaultJoinSize    = 64
	defaultJoinWriters = 16
	defaultJoinTrials  = 10
	// fillValue is the size of the values that fill the database, fillTimeout bounds
	// each.
	fillValue   = 256 << 10
	fillTimeout = 10 * time.Second
	// lateAfter: etcd publishes a member's name, and where that gets lost, again after
	// 7 s; the member serves nobody before.
	lateAfter = 5 * time.Second
	// snapEvery is how often the new member's folder is looked at.
	snapEvery = time.Millisecond
	// joinWarm is how long the load runs before a member is replaced.
	joinWarm = time.Second
)

// joinArgs have the logs cut so early that a new member needs a snapshot, on both
// sides.
var joinArgs = []string{"--snapshot-count=100", "--snapshot-catchup-entries=100"}

// JoinConfig says how RunJoins replaces members.
type JoinConfig struct {
	Programs
	// Members of the clusters. Default 3.
	Members int
	// Size of the database in MiB. Default 64.
	Size int
	// Writers that write without a pause meanwhile; negative: none. Default 16.
	Writers int
	// Trials of each side. Default 10.
	Trials int
}

func (c JoinConfig) withDefaults() JoinConfig {
	c.Programs = c.Programs.withDefaults()
	for _, d := range []struct {
		v       *int
		usually int
	}{{&c.Members, defaultJoinMembers}, {&c.Size, defaultJoinSize}, {&c.Writers, defaultJoinWriters}, {&c.Trials, defaultJoinTrials}} {
		if *d.v == 0 {
			*d.v = d.usually
		}
	}
	c.Writers = max(c.Writers, 0)
	return c
}

// Validate returns all faults at once.
func (c JoinConfig) Validate() error {
	c = c.withDefaults()
	errs := c.Programs.faults()
	if c.Members < minMembers {
		errs = append(errs, fmt.Errorf("%d members: use %d or more, one of them is away at times", c.Members, minMembers))
	}
	if c.Size < 1 || c.Size > 1024 {
		errs = append(errs, fmt.Errorf("a database of %d MiB: use 1 to 1024", c.Size))
	}
	if c.Writers > maxWriters {
		errs = append(errs, fmt.Errorf("%d writers: use %d at most", c.Writers, maxWriters))
	}
	if c.Trials < 1 {
		errs = append(errs, fmt.Errorf("%d trials measure nothing: use 1 or more", c.Trials))
	}
	return errors.Join(errs...)
}

// A JoinResult is what it takes to replace a member.
type JoinResult struct {
	Members int         `json:"members"`
	SizeMiB int         `json:"size_mib"`
	Writers int         `json:"writers"`
	Trials  int         `json:"trials"` // of each side
	Stock   JoinNumbers `json:"stock"`
	DV      JoinNumbers `json:"dv"`
	// Ratios are dv's median by stock's, of the snapshot's transfer and of the time to
	// be ready, with 95% intervals.
	SnapshotRatio   float64 `json:"snapshot_ratio"`
	SnapshotRatioLo float64 `json:"snapshot_ratio_lo"`
	SnapshotRatioHi float64 `json:"snapshot_ratio_hi"`
	ReadyRatio      float64 `json:"ready_ratio"`
	ReadyRatioLo    float64 `json:"ready_ratio_lo"`
	ReadyRatioHi    float64 `json:"ready_ratio_hi"`
	Paths           string  `json:"paths"`

	bench.Origin
}

// JoinNumbers are those of one side. Times are in ms.
type JoinNumbers struct {
	// The snapshot's transfer, from its file's beginning to its end.
	SnapshotP50Ms float64 `json:"snapshot_p50_ms"`
	SnapshotP90Ms float64 `json:"snapshot_p90_ms"`
	// Ready to serve, from the start of the process.
	ReadyP50Ms float64 `json:"ready_p50_ms"`
	ReadyMaxMs float64 `json:"ready_max_ms"`
	// Late counts those that were not ready after 5 s: etcd had lost what they
	// published, and waits for 7 s.
	Late   int    `json:"late"`
	Writes uint64 `json:"writes"` // acknowledged, and read back

	snapshot, ready []float64
}

// RunJoins measures on a cluster of stock etcd and on one of etcd-dv how long a
// member takes that replaces another one, while clients write.
func RunJoins(ctx context.Context, cfg JoinConfig, report func(JoinResult)) (err error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return err
	}
	r := JoinResult{Members: cfg.Members, SizeMiB: cfg.Size, Writers: cfg.Writers, Trials: cfg.Trials, Origin: bench.Here()}
	sides := map[string]*side{}
	defer func() {
		for _, s := range sides {
			err = errors.Join(err, s.close())
		}
	}()
	for _, name := range bothSides {
		s, err := openFull(ctx, name, cfg)
		if err != nil {
			return err
		}
		sides[name] = s
	}
	err = inTurn(cfg.Trials, bothSides, func(trial int, name string) error {
		n := of(name, &r.Stock, &r.DV)
		if err := sides[name].replace(ctx, cfg.Writers, n); err != nil {
			return err
		}
		cfg.Progress("trial %d/%d: %s: snapshot %.0f ms, ready after %.0f ms", trial+1, cfg.Trials, name, n.snapshot[trial], n.ready[trial])
		return nil
	})
	if err != nil {
		return err
	}
	for name, s := range sides {
		of(name, &r.Stock, &r.DV).Writes = s.ledger.Writes()
		if err := s.verify(ctx); err != nil {
			return err
		}
	}
	r.Paths = sides[DVSide].pathNames()
	r.sumUp()
	report(r)
	return nil
}

func (r *JoinResult) sumUp() {
	for _, n := range each(&r.Stock, &r.DV) {
		snapshot, ready := slices.Sorted(slices.Values(n.snapshot)), slices.Sorted(slices.Values(n.ready))
		n.SnapshotP50Ms, n.SnapshotP90Ms = bench.Round(bench.Quantile(snapshot, 0.5)), bench.Round(bench.Quantile(snapshot, 0.9))
		n.ReadyP50Ms, n.ReadyMaxMs = bench.Round(bench.Quantile(ready, 0.5)), bench.Round(bench.Quantile(ready, 1))
		for _, ms := range n.ready {
			if ms > millis(lateAfter) {
				n.Late++
			}
		}
	}
	i := ratioOfMedians(r.DV.snapshot, r.Stock.snapshot)
	r.SnapshotRatio, r.SnapshotRatioLo, r.SnapshotRatioHi = bench.Round(i.Median), bench.Round(i.Lo), bench.Round(i.Hi)
	i = ratioOfMedians(r.DV.ready, r.Stock.ready)
	r.ReadyRatio, r.ReadyRatioLo, r.ReadyRatioHi = bench.Round(i.Median), bench.Round(i.Lo), bench.Round(i.Hi)
}

// openFull starts a cluster and fills its database.
func openFull(ctx context.Context, name string, cfg JoinConfig) (*side, error) {
	s, err := openSide(ctx, name, cfg.Programs, cfg.Members, signals{}, joinArgs...)
	if err != nil {
		return nil, err
	}
	value := strings.Repeat("x", fillValue)
	for i := range cfg.Size << 20 / fillValue {
		put, cancel := context.WithTimeout(ctx, fillTimeout)
		_, err := s.clients[s.view.leader].Put(put, fmt.Sprintf("fill/%06d", i), value)
		cancel()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("fill the database of %s: %w", name, err), s.close())
		}
	}
	return s, nil
}

// replace removes a follower and adds a member, under load, and waits until all has
// settled.
func (s *side) replace(ctx context.Context, writers int, n *JoinNumbers) error {
	if _, err := s.settle(ctx); err != nil {
		return err
	}
	gone := s.others(s.view.leader)[0]
	stay := slices.DeleteFunc(s.cluster.Members(), func(m *cluster.Member) bool { return m == gone })
	load := startWriters(ctx, writers, s.kvs(stay), quietTimeout, s.ledger, func(ack) {})
	defer load.stop()
	pause(ctx, joinWarm)
	if err := s.cluster.Remove(ctx, gone); err != nil {
		return err
	}
	s.clients[gone].Close()
	delete(s.clients, gone)
	w := newJoinWatch(s.cluster.Dir())
	watching, stop := context.WithCancel(ctx)
	var watched sync.WaitGroup
	watched.Go(func() { w.run(watching) })
	m, err := s.cluster.Add(ctx)
	ready := time.Now()
	stop()
	watched.Wait()
	if err != nil {
		return err
	}
	cli, err := clientOf(m)
	if err != nil {
		return err
	}
	s.clients[m] = cli
	if w.begun.IsZero() || w.saved.IsZero() {
		return fmt.Errorf("%s joined %s, and no snapshot was seen in its folder: use a larger database", m.Name, s.name)
	}
	n.snapshot = append(n.snapshot, millis(w.saved.Sub(w.opened)))
	n.ready = append(n.ready, millis(ready.Sub(w.begun)))
	return nil
}

// joinWatch notes when a new member's folder appears, when the file of its snapshot
// does, and when that is complete.
type joinWatch struct {
	dir   string
	old   []string // folders that were there
	snaps string

	begun, opened, saved time.Time
}

func newJoinWatch(dir string) *joinWatch {
	w := &joinWatch{dir: dir}
	w.old = w.folders()
	return w
}

func (w *joinWatch) folders() []string {
	all, _ := filepath.Glob(filepath.Join(w.dir, "*", "data"))
	return all
}

// run looks until ctx ends.
func (w *joinWatch) run(ctx context.Context) {
	t := time.NewTicker(snapEvery)
	defer t.Stop()
	for {
		w.look(time.Now())
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (w *joinWatch) look(now time.Time) {
	if w.begun.IsZero() {
		all := w.folders()
		if i := slices.IndexFunc(all, func(f string) bool { return !slices.Contains(w.old, f) }); i >= 0 {
			w.begun, w.snaps = now, filepath.Join(all[i], "member", "snap")
		}
		return
	}
	files, err := os.ReadDir(w.snaps)
	if err != nil || !w.saved.IsZero() {
		return // it is not there yet
	}
	partial := slices.ContainsFunc(files, func(f os.DirEntry) bool { return strings.HasPrefix(f.Name(), "tmp") })
	switch {
	case partial && w.opened.IsZero():
		w.opened = now
	case !partial && !w.opened.IsZero():
		w.saved = now
	}
}

// WriteJoinTable writes results for people.
func WriteJoinTable(w io.Writer, results []JoinResult) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "members\tMiB\twriters\t\tsnapshot ms p50\tp90\tready ms p50\tmax\tafter 5 s\tread back\t")
	for _, r := range results {
		for name, n := range each(&r.Stock, &r.DV) {
			fmt.Fprintf(t, "%d\t%d\t%d\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%d/%d\t%d\t\n", r.Members, r.SizeMiB, r.Writers, name,
				n.SnapshotP50Ms, n.SnapshotP90Ms, n.ReadyP50Ms, n.ReadyMaxMs, n.Late, r.Trials, n.Writes)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range results {
		fmt.Fprintf(w, "dv ÷ stock: snapshot %.3g (%.3g–%.3g), ready %.3g (%.3g–%.3g); etcd-dv on %s\n",
			r.SnapshotRatio, r.SnapshotRatioLo, r.SnapshotRatioHi, r.ReadyRatio, r.ReadyRatioLo, r.ReadyRatioHi, r.Paths)
	}
	return nil
}
