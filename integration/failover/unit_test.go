package failover

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/integration/guard"
	"github.com/raftdv/dv/internal/needs"
)

func TestRatioOfMedians(t *testing.T) {
	i := ratioOfMedians([]float64{5, 10, 15}, []float64{50, 100, 150})
	if math.Abs(i.Median-0.1) > 1e-12 || i.Lo > i.Median || i.Hi < i.Median {
		t.Errorf("%+v", i)
	}
	if again := ratioOfMedians([]float64{5, 10, 15}, []float64{50, 100, 150}); again != i {
		t.Errorf("equal input gave %v and %v", i, again)
	}
	if i := ratioOfMedians(nil, []float64{1}); !math.IsNaN(i.Median) || !math.IsNaN(i.Lo) {
		t.Errorf("of nothing: %+v", i)
	}
}

// Of comparisons of equals about 95% hold 1, of a factor of three none.
func TestRatioCovers(t *testing.T) {
	const runs, pairs = 100, 15
	rng := rand.New(rand.NewPCG(7, 8))
	noisy := func(mean float64) []float64 {
		v := make([]float64, pairs)
		for i := range v {
			v[i] = mean * math.Exp(0.2*rng.NormFloat64())
		}
		return v
	}
	same, apart := 0, 0
	for range runs {
		if ratioOfMedians(noisy(1000), noisy(1000)).Contains(1) {
			same++
		}
		if !ratioOfMedians(noisy(300), noisy(1000)).Contains(1) {
			apart++
		}
	}
	if same < 85 || apart < 99 {
		t.Errorf("%d of %d comparisons of equals hold 1, %d see a factor of three", same, runs, apart)
	}
}

func TestNumbers(t *testing.T) {
	n := numbers([]Trial{
		{Took: 10 * time.Millisecond, Within: true, Terms: 1, Changes: 1},
		{Took: 20 * time.Millisecond, Within: true, Terms: 1, Changes: 2},
		{Took: 15 * time.Second, Terms: 4, Changes: 0},
	})
	want := Numbers{MinMs: 10, P50Ms: 20, P90Ms: 12000, P99Ms: 14700, MaxMs: 15000, NotWithin: 1, TermsMean: 2, TermsMax: 4, ChangesMean: 1, ChangesMax: 2}
	if n != want {
		t.Errorf("got  %+v\nwant %+v", n, want)
	}
}

func TestFirst(t *testing.T) {
	since := time.Unix(100, 0)
	at := func(ms int) time.Time { return since.Add(time.Duration(ms) * time.Millisecond) }
	f := newFirst(since, 7)
	for _, a := range []ack{
		{at(-1), at(5), 8}, // begun before the fault
		{at(1), at(2), 7},  // acknowledged by the old leader
	} {
		f.add(a)
		if _, ok := f.took(); ok {
			t.Fatalf("%+v counted", a)
		}
	}
	f.add(ack{at(1), at(9), 8})
	f.add(ack{at(2), at(8), 8}) // reported later, acknowledged earlier
	f.add(ack{at(3), at(20), 9})
	if took, ok := f.took(); !ok || took != 8*time.Millisecond {
		t.Errorf("%v, %v", took, ok)
	}
	select {
	case <-f.found:
	default:
		t.Error("nobody was told")
	}
}

func TestMeasured(t *testing.T) {
	f := newFirst(time.Unix(100, 0), 3)
	answers := []*clientv3.StatusResponse{nil, {RaftTerm: 5}}
	s := &side{}
	if got := s.measured(f, 3, answers, leaders{3: 1, 5: 2}, time.Second); got.Within || got.Took != time.Second || got.Terms != 2 || got.Changes != 1 {
		t.Errorf("no write: %+v", got)
	}
	f.add(ack{f.since, f.since.Add(2 * time.Second), 5})
	if got := s.measured(f, 3, nil, leaders{3: 1}, time.Second); got.Within || got.Took != time.Second || got.Terms != 0 {
		t.Errorf("a write after the bound: %+v", got)
	}
	f.add(ack{f.since, f.since.Add(time.Millisecond), 5})
	if got := s.measured(f, 3, answers, leaders{3: 1, 4: 2, 5: 3}, time.Second); !got.Within || got.Took != time.Millisecond || got.Changes != 2 {
		t.Errorf("%+v", got)
	}
}

func status(id, leader, term, index, applied uint64) *clientv3.StatusResponse {
	return &clientv3.StatusResponse{Header: &etcdserverpb.ResponseHeader{MemberId: id}, Leader: leader, RaftTerm: term, RaftIndex: index, RaftAppliedIndex: applied}
}

func TestAgreed(t *testing.T) {
	members := []*cluster.Member{{Name: "a"}, {Name: "b"}}
	if v, ok := agreed(members, []*clientv3.StatusResponse{status(1, 2, 5, 9, 9), status(2, 2, 5, 9, 9)}); !ok || v.leader != members[1] || v.term != 5 {
		t.Errorf("%+v, %v", v, ok)
	}
	for name, answers := range map[string][]*clientv3.StatusResponse{
		"silent":       {status(1, 1, 5, 9, 9), nil},
		"silent first": {nil, status(2, 2, 5, 9, 9)},
		"leaderless":   {status(1, 0, 5, 9, 9), status(2, 0, 5, 9, 9)},
		"other leader": {status(1, 1, 5, 9, 9), status(2, 2, 5, 9, 9)},
		"other term":   {status(1, 1, 5, 9, 9), status(2, 1, 6, 9, 9)},
		"behind":       {status(1, 1, 5, 9, 9), status(2, 1, 5, 9, 8)},
		"lacks":        {status(1, 1, 5, 9, 8), status(2, 1, 5, 8, 8)},
		"no such":      {status(1, 3, 5, 9, 9), status(2, 3, 5, 9, 9)},
	} {
		if v, ok := agreed(members, answers); ok {
			t.Errorf("%s: agreed on %+v", name, v)
		}
	}
}

func TestLeaders(t *testing.T) {
	l := leaders{4: 1}
	l.note([]*clientv3.StatusResponse{nil, status(1, 0, 5, 0, 0), status(2, 1, 4, 0, 0)})
	if l.changes() != 0 {
		t.Errorf("a term without a leader is a change: %v", l)
	}
	l.note([]*clientv3.StatusResponse{status(1, 1, 6, 0, 0), status(2, 1, 6, 0, 0)})
	if l.changes() != 1 {
		t.Errorf("the same leader again, in a later term: %v", l)
	}
	if (leaders{}).changes() != 0 {
		t.Error("changes of nothing")
	}
	if _, ok := maxTerm([]*clientv3.StatusResponse{nil}); ok {
		t.Error("a term that nobody told")
	}
}

func TestGaps(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	var g gaps
	g.note(at(-500))
	g.start(at(0))
	for _, ms := range []int{10, 50, 40, 60} { // 40 is reported late
		g.note(at(ms))
	}
	if got := g.end(at(70)); got != 40*time.Millisecond {
		t.Errorf("longest between two: %v", got)
	}
	if got := g.end(at(200)); got != 130*time.Millisecond {
		t.Errorf("longest until the end: %v", got)
	}
}

func TestConfigListsAllFaults(t *testing.T) {
	err := Config{Programs: Programs{Stock: "/no/stock", DV: "/no/dv"}, Faults: []string{"flood"}, Members: []int{2}, Writers: []int{0}, Trials: -1, Bound: -1}.Validate()
	for _, want := range []string{"stock etcd: ", "etcd-dv: ", `fault "flood"`, "2 members", "0 writers", "-1 trials", "bound"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
	err = QuietConfig{Members: -1, Writers: -1, Duration: -1, Throttle: 101}.Validate()
	for _, want := range []string{"-1 members", "-1 writers", "duration", "101%"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
	err = AttackConfig{Writers: -1, Every: -1, Trials: -1}.Validate()
	for _, want := range []string{"-1 writers", "times", "-1 trials"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in: %v", want, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := Programs{Stock: self, DV: self}
	if err := errors.Join(Config{Programs: p}.Validate(), QuietConfig{Programs: p}.Validate(), AttackConfig{Programs: p}.Validate()); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	for _, err := range []error{
		Run(t.Context(), Config{}, nil), RunQuiet(t.Context(), QuietConfig{}, nil), RunAttack(t.Context(), AttackConfig{}, nil),
	} {
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("a run without programs: %v", err)
		}
	}
}

func TestPlan(t *testing.T) {
	c := Config{Faults: []string{Kill, Cut}, Members: []int{3, 5}, Writers: []int{1, 16}, Trials: 2}
	got := c.cells()
	if len(got) != 8 || got[0] != (cell{Kill, 3, 1}) || got[1] != (cell{Kill, 3, 16}) || got[7] != (cell{Cut, 5, 16}) {
		t.Errorf("%+v", got)
	}
	if c.Estimate() != 8*(startTime+2*trialTime) || (Config{Faults: []string{Kill}, Members: []int{3}, Trials: block + 1}).Estimate() != 2*startTime+(block+1)*trialTime {
		t.Errorf("%v", c.Estimate())
	}
	if d := (Config{}).withDefaults(); len(d.cells()) != 8 || d.Trials != 30 || d.Bound != 15*time.Second {
		t.Errorf("the defaults: %+v", d)
	}
}

func TestLimits(t *testing.T) {
	for name, tc := range map[string]struct {
		files []string
		want  map[string]string // file of the group, and what is in it
	}{
		"v2": {[]string{"cgroup.controllers"}, map[string]string{"cpu.max": "20000 100000"}},
		"v1": {[]string{"cpu/cpu.cfs_quota_us"}, map[string]string{"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "100000"}},
	} {
		root := t.TempDir()
		for _, f := range tc.files {
			os.MkdirAll(filepath.Dir(filepath.Join(root, f)), 0o755)
			os.WriteFile(filepath.Join(root, f), nil, 0o644)
		}
		l := &limits{}
		if err := l.make(root, 20, 2); err != nil || len(l.dirs) != 2 {
			t.Fatalf("%s: %v, %v", name, l.dirs, err)
		}
		if err := l.apply(1, 4711); err != nil {
			t.Error(err)
		}
		tc.want["cgroup.procs"] = "4711"
		for f, want := range tc.want {
			if got, err := os.ReadFile(filepath.Join(l.dirs[1], f)); string(got) != want {
				t.Errorf("%s: %s holds %q, %v, want %q", name, f, got, err, want)
			}
		}
		if err := l.lift(); err != nil {
			t.Error(err)
		}
	}
	if err := (&limits{}).make(t.TempDir(), 20, 1); !errors.Is(err, ErrNotHere) {
		t.Errorf("without control groups: %v", err)
	}
	if l, err := newLimits(0, 3); err != nil || l.apply(2, 1) != nil || l.close() != nil || len(l.dirs) != 0 {
		t.Errorf("without a limit: %+v, %v", l, err)
	}
}

// A member in a real group gets no more than its share.
func TestLimitHolds(t *testing.T) {
	l, err := newLimits(20, 1)
	if errors.Is(err, ErrNotHere) {
		needs.Refused(t, err.Error(), needs.CPULimits()...)
	}
	if err != nil {
		t.Fatal(err)
	}
	g, err := guard.New("sh", "-c", "echo ready; exec cat")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.apply(0, g.Pid()), inGroup(l.dirs[0], g.Pid()), g.Close(), l.close()); err != nil {
		t.Error(err)
	}
}

func inGroup(dir string, pid int) error {
	procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err == nil && !strings.Contains("\n"+string(procs), "\n"+itoa(pid)+"\n") {
		return errors.New("the process is in another group")
	}
	return err
}

func TestNeighboursEnd(t *testing.T) {
	stop, err := neighbours(2)
	if err != nil {
		t.Fatal(err)
	}
	stop() // goleak would see one that was not waited for
}

func TestKillNeedsNothing(t *testing.T) {
	if _, err := newLab(t.Context(), Kill, t.TempDir(), 3); err != nil {
		t.Errorf("kill needs nothing: %v", err)
	}
}

func TestPauseEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	pause(ctx, time.Hour)
	await(ctx, nil, time.Hour)
}
