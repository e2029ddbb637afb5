package storm

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/integration/failover"
	"github.com/raftdv/dv/integration/simulate"
)

const realSpec = `name: r
claim: x
matrix: {transport: [stock, stock-lan, dv, dv-no-row-acks], members: [3, 11], link: [ethernet, wan], fault: [crash-leader, slow-disk, chained], crashes: [1, 2], loss: [0, 0.01]}
seeds: {count: 50, first: 7}
warm_up: 1s
duration: 2s
expect: [rounds.max <= 3, unavailable.p50 <= 3s]
`

// TestForReal: what has no counterpart among processes is left out, and said.
func TestForReal(t *testing.T) {
	s, err := Parse("r.yaml", []byte(realSpec))
	if err != nil {
		t.Fatal(err)
	}
	left, err := s.ForReal(2)
	if err != nil {
		t.Fatal(err)
	}
	// stock, stock-lan and dv, 3 members; crash-leader with one crash, chained with both numbers of crashes.
	if len(s.Cells) != 9 || s.Trials() != 18 || !s.Real {
		t.Errorf("%d cells, %d trials", len(s.Cells), s.Trials())
	}
	for _, want := range []string{"transport=dv-no-row-acks", "members=11 (at most 9)", "link=wan (links are this machine's)", "fault=slow-disk", "crashes=2", "loss=0.01"} {
		if !slices.Contains(left, want) {
			t.Errorf("%q is not in %q", want, left)
		}
	}
	for i := range s.Cells {
		cfg := s.real(uint64(i)*s.Seeds+1, failover.Programs{Stock: "/bin/true", DV: "/bin/true"})
		if err := cfg.Validate(); err != nil {
			t.Errorf("%s: %v", s.Cells[i].String(), err)
		}
		wantSide, wantElection := failover.DVSide, time.Second
		switch s.Cells[i].Value("transport") {
		case "stock":
			wantSide = failover.StockSide
		case "stock-lan":
			wantSide, wantElection = failover.StockSide, 100*time.Millisecond
		}
		if cfg.Side != wantSide || cfg.Election != wantElection || cfg.Seed != 8 || cfg.Duration != 2*time.Second {
			t.Errorf("%s: %+v", s.Cells[i].String(), cfg)
		}
	}
	s, err = Parse("r.yaml", []byte(strings.Replace(realSpec, "[crash-leader, slow-disk, chained]", "slow-disk", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ForReal(0); !errors.Is(err, ErrUnreal) || !strings.Contains(err.Error(), "fault=slow-disk") {
		t.Errorf("nothing is left: %v", err)
	}
	// Faults have one name in both worlds.
	for _, f := range failover.TrialFaults() {
		if !slices.Contains(simulate.LabFaults(), f) || !slices.Contains(FaultNames(), f) {
			t.Errorf("fault %q is of processes only", f)
		}
	}
}

// TestRealRun: a folder says that it is of processes, does not mix with simulated
// results, and what processes do not measure is neither right nor wrong.
func TestRealRun(t *testing.T) {
	parse := func() *Spec {
		s, err := Parse("r.yaml", []byte(realSpec))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := parse()
	if _, err := s.ForReal(2); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "run")
	if err := s.Create(dir, Shard{}); err != nil {
		t.Fatal(err)
	}
	try := func(i uint64) (Result, error) {
		return s.realResult(i, &failover.TrialResult{Elections: 1, Terms: 1, TimeToLeader: time.Second, Unavailable: 2 * time.Second, Acked: 100, Led: i != 3}), nil
	}
	if err := s.Run(t.Context(), RunConfig{Dir: dir, New: func() (Trier, error) { return tryFunc(try), nil }}); err != nil {
		t.Fatal(err)
	}
	loaded, meta, err := Load(dir)
	if err != nil || !loaded.Real || loaded.Trials() != 18 || !meta.Real || meta.Seeds != 2 {
		t.Fatalf("%+v, %v", meta, err)
	}
	sum, partial, err := loaded.Summarize(dir)
	if err != nil || partial || sum.Failed != 1 || !sum.Holds() || !sum.Verdicts[0].Unmeasured || sum.Verdicts[1].Unmeasured {
		t.Errorf("%+v, %v, %v", sum.Verdicts, partial, err)
	}
	if text := sum.Verdicts[0].String(); !strings.Contains(text, "not measured") {
		t.Error(text)
	}
	if sum.Verdicts = sum.Verdicts[:1]; sum.Measured() {
		t.Error("rounds were measured")
	}
	for _, p := range sum.Plots() {
		if p.File != "rounds.svg" && !strings.Contains(string(p.SVG), "wall-clock") {
			t.Errorf("%s does not say whose time it shows", p.File)
		}
	}
	if err := loaded.Replay(t.Output(), dir, 0, false); err == nil || !strings.Contains(err.Error(), "do not repeat") {
		t.Errorf("replay: %v", err)
	}
	simulated := parse()
	if err := simulated.Create(dir, Shard{}); err == nil || !strings.Contains(err.Error(), "real processes, with 2 seeds") {
		t.Errorf("mixed: %v", err)
	}
	other := filepath.Join(t.TempDir(), "simulated")
	if err := simulated.Create(other, Shard{}); err != nil {
		t.Fatal(err)
	}
	if _, err := Compare(dir, other, nil); err == nil || !strings.Contains(err.Error(), "do not compare") {
		t.Errorf("compared: %v", err)
	}
}

// TestTriersThatCannot: a run ends when its trials cannot be run at all, and loses no
// result when it is interrupted during one.
func TestTriersThatCannot(t *testing.T) {
	s, err := Parse("r.yaml", []byte(realSpec))
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	never := func(uint64) (Result, error) { return Result{}, fmt.Errorf("%w: no root", ErrCannot) }
	err = s.Run(t.Context(), RunConfig{Dir: t.TempDir(), New: func() (Trier, error) { made++; return tryFunc(never), nil }})
	if !errors.Is(err, ErrCannot) || made != 1 {
		t.Errorf("%v, %d triers", err, made)
	}
	ctx, cancel := context.WithCancel(t.Context())
	dir := t.TempDir()
	stopped := func(i uint64) (Result, error) {
		if i == 2 {
			cancel()
			return Result{}, ErrInterrupted
		}
		return failed(i, "x"), nil
	}
	if err := s.Run(ctx, RunConfig{Dir: dir, New: func() (Trier, error) { return tryFunc(stopped), nil }}); !errors.Is(err, ErrInterrupted) {
		t.Error(err)
	}
	if sum, partial, err := s.Summarize(dir); err != nil || !partial || sum.Trials != 2 {
		t.Errorf("%+v, %v, %v", sum, partial, err)
	}
}
