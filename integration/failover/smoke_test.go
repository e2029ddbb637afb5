package failover

import (
	"context"
	"encoding/csv"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/ledger"
	"github.com/raftdv/dv/internal/needs"
)

// needsOf is what this machine must have for a fault.
func needsOf(fault string) []needs.Need {
	switch fault {
	case Cut:
		return needs.Bridges()
	case Stall:
		return needs.Disks()
	}
	return nil
}

func programs(t *testing.T) Programs {
	t.Helper()
	needs.Time(t, "starts clusters of processes")
	p := Programs{Dir: t.TempDir(), Progress: t.Logf}
	var err error
	if p.Stock, err = cluster.Build(t.Context(), cluster.Etcd); err != nil {
		t.Fatal(err)
	}
	if p.DV, err = cluster.Build(t.Context(), cluster.EtcdDV); err != nil {
		t.Fatal(err)
	}
	return p
}

// empty fails if a run left something behind.
func empty(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("still mounted below %s, %v", dir, err)
	}
}

// Each fault, on real processes: it must cost a term, and nothing may be lost.
func TestRun(t *testing.T) {
	p := programs(t)
	for _, fault := range Faults() {
		t.Run(fault, func(t *testing.T) {
			p.Dir, p.Progress = t.TempDir(), t.Logf
			var rows strings.Builder
			lines := NewCSV(&rows)
			var got []Result
			err := Run(t.Context(), Config{Programs: p, Faults: []string{fault}, Members: []int{3}, Trials: 2, Trial: lines.Add}, func(r Result) { got = append(got, r) })
			if err != nil {
				t.Fatal(err)
			}
			empty(t, p.Dir)
			if len(got) != 1 {
				t.Fatalf("%+v", got)
			}
			r := got[0]
			if r.Skipped != "" {
				needs.Refused(t, r.Skipped, needsOf(fault)...)
			}
			for name, n := range map[string]Numbers{StockSide: r.Stock, DVSide: r.DV} {
				if !(0 < n.MinMs && n.MinMs <= n.P50Ms && n.P50Ms <= n.MaxMs && n.MaxMs <= r.BoundMs) {
					t.Errorf("%s: %+v", name, n)
				}
				if n.NotWithin == 0 && (n.TermsMean < 1 || n.ChangesMean < 1) {
					t.Errorf("%s wrote again without another leader: %+v", name, n)
				}
			}
			if r.Trials != 2 || r.Writes == 0 || r.Paths == "" || r.RatioMedian <= 0 {
				t.Errorf("%+v", r)
			}
			all, err := csv.NewReader(strings.NewReader(rows.String())).ReadAll()
			if err != nil || len(all) != 5 || all[1][4] != StockSide || all[3][4] != DVSide || lines.Err() != nil {
				t.Errorf("%v, %v", all, err)
			}
		})
	}
}

// Ctrl-C in the middle of a fault leaves nothing: not even a frozen disk or a
// member in a namespace.
func TestInterrupted(t *testing.T) {
	p := programs(t)
	for _, fault := range []string{Cut, Stall} {
		t.Run(fault, func(t *testing.T) {
			l, err := newLab(t.Context(), fault, t.TempDir(), 3)
			if errors.Is(err, ErrNotHere) {
				needs.Refused(t, err.Error(), needsOf(fault)...)
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Dir = t.TempDir()
			s, err := openSide(t.Context(), StockSide, p, 3, l)
			if err != nil {
				t.Fatal(err)
			}
			var pids []int
			for _, m := range s.cluster.Members() {
				pids = append(pids, m.Pid())
			}
			i := slices.Index(s.cluster.Members(), s.view.leader)
			if err := l.strike(i, s.view.leader); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := s.settle(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("settled without its leader: %v", err)
			}
			if err := s.close(); err != nil {
				t.Error(err)
			}
			for _, pid := range pids {
				if _, err := os.Stat(filepath.Join("/proc", itoa(pid))); err == nil {
					t.Errorf("member %d lives on", pid)
				}
			}
			empty(t, p.Dir)
		})
	}
}

// The control of the read-back: a write that somebody deletes is found missing.
func TestVerifyFindsWhatIsLost(t *testing.T) {
	p := programs(t)
	s, err := openSide(t.Context(), StockSide, p, 3, signals{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	cli, key := s.clients[s.view.leader], newKey()
	if _, ok := put(t.Context(), cli, 5*time.Second, s.ledger, key, 1); !ok {
		t.Fatal("no write")
	}
	if err := s.verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := cli.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if err := s.verify(t.Context()); !errors.Is(err, ledger.ErrLost) {
		t.Errorf("a lost write is not seen: %v", err)
	}
}
