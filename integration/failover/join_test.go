package failover

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A member is replaced in each cluster, and nothing is lost.
func TestRunJoins(t *testing.T) {
	p := programs(t)
	var got []JoinResult
	cfg := JoinConfig{Programs: p, Size: 16, Writers: 2, Trials: 1}
	if err := RunJoins(t.Context(), cfg, func(r JoinResult) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d results", len(got))
	}
	r := got[0]
	for name, n := range each(&r.Stock, &r.DV) {
		if n.SnapshotP50Ms <= 0 || n.ReadyP50Ms < n.SnapshotP50Ms || n.Writes == 0 {
			t.Errorf("%s: %+v", name, n)
		}
	}
	var b strings.Builder
	if err := WriteJoinTable(&b, got); err != nil || !strings.Contains(b.String(), "dv ÷ stock: snapshot") {
		t.Errorf("table %q, %v", b.String(), err)
	}
	empty(t, p.Dir)
}

// A cluster that does not start ends the run, and leaves nothing.
func TestRunJoinsWithoutCluster(t *testing.T) {
	p := Programs{Stock: "/bin/false", DV: "/bin/false", Dir: t.TempDir()}
	if err := RunJoins(t.Context(), JoinConfig{Programs: p}, func(JoinResult) { t.Error("a result") }); err == nil || !strings.Contains(err.Error(), StockSide) {
		t.Errorf("%v, want what failed to start", err)
	}
	empty(t, p.Dir)
}

// A new folder is seen, and the file of a snapshot in it, at its beginning and end.
func TestJoinWatch(t *testing.T) {
	dir := t.TempDir()
	snaps := func(member string) string { return filepath.Join(dir, member, "data", "member", "snap") }
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(os.MkdirAll(snaps("m1"), 0o755))
	w, begin := newJoinWatch(dir), time.Now()
	looks := 0
	look := func() {
		looks++
		w.look(begin.Add(time.Duration(looks)))
	}
	do(os.WriteFile(filepath.Join(snaps("m1"), "tmp9"), nil, 0o644)) // somebody else's
	look()
	do(os.MkdirAll(filepath.Dir(filepath.Dir(snaps("m2"))), 0o755))
	look()
	look()
	do(os.MkdirAll(snaps("m2"), 0o755))
	look()
	partial := filepath.Join(snaps("m2"), "tmp123")
	do(os.WriteFile(partial, nil, 0o644))
	look()
	look()
	do(os.Rename(partial, filepath.Join(snaps("m2"), "1.snap.db")))
	look()
	look()
	if w.begun != begin.Add(2) || w.opened != begin.Add(5) || w.saved != begin.Add(7) {
		t.Errorf("the looks were the first to the eighth: begun %v, opened %v, saved %v", w.begun.Sub(begin), w.opened.Sub(begin), w.saved.Sub(begin))
	}
}

func TestJoinSumsUp(t *testing.T) {
	r := JoinResult{
		Stock: JoinNumbers{snapshot: []float64{100, 110, 120}, ready: []float64{500, 7300, 600}},
		DV:    JoinNumbers{snapshot: []float64{300, 310, 320}, ready: []float64{500, 550, 600}},
	}
	r.sumUp()
	if r.Stock.Late != 1 || r.DV.Late != 0 || r.Stock.SnapshotP50Ms != 110 || r.DV.ReadyMaxMs != 600 {
		t.Errorf("%+v", r)
	}
	if err := r.Check(); !errors.Is(err, ErrMissed) || !strings.Contains(err.Error(), "snapshot") {
		t.Errorf("three times as slow: %v", err)
	}
	r.DV.snapshot = r.Stock.snapshot
	if r.sumUp(); r.Check() != nil {
		t.Errorf("equal: %v", r.Check())
	}
}

func TestJoinConfigFaults(t *testing.T) {
	err := JoinConfig{Members: 2, Size: -1, Writers: maxWriters + 1, Trials: -1}.Validate()
	for _, want := range []string{"2 members", "-1 MiB", "writers", "-1 trials"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
