package simulate

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/raftdv/election"
)

// guilty fails a run that has struck all of the faults given: by the only place
// that sees them all, the counts of the report.
func guilty(kinds ...string) func(c *cluster, id fabric.MemberID, p fabric.Port) fabric.Port {
	return func(c *cluster, _ fabric.MemberID, p fabric.Port) fabric.Port {
		c.net.At(19*time.Second, func() {
			for _, k := range kinds {
				if c.report.Faults[k] == 0 {
					return
				}
			}
			c.fail("planted", "the faults met")
		})
		return p
	}
}

func planned(names ...string) func([]Fault) []Fault {
	return func([]Fault) (faults []Fault) {
		for i, kind := range names {
			faults = append(faults, Fault{i, kind, time.Duration(4+i) * time.Second, 500 * time.Millisecond})
		}
		return faults
	}
}

// TestShrink finds the one or two faults that a failure needs, among nine.
func TestShrink(t *testing.T) {
	names := []string{"pause", "loss", "crash", "delay", "split", "reorder", "chained", "corrupt", "duplicate"}
	for _, c := range []struct {
		needs []string
		want  []int
	}{
		{nil, []int{}}, {[]string{"split"}, []int{4}}, {[]string{"loss", "duplicate"}, []int{1, 8}}, {[]string{"pause", "crash", "chained"}, []int{0, 2, 6}},
	} {
		if raced && len(c.want) != 1 {
			continue
		}
		cfg := Config{Seed: 5, Duration: 20 * time.Second, Proposals: 1, MinFaults: -1}
		cfg.hooks.schedule, cfg.hooks.port = planned(names...), guilty(c.needs...)
		failed := run(t, cfg)
		if !failed.Failed() || len(failed.Schedule) != len(names) {
			t.Fatalf("needs %v: %+v", c.needs, failed)
		}
		runs := 0
		small, err := Shrink(cfg, failed, func(int) { runs++ })
		if err != nil {
			t.Fatal(err)
		}
		if got := numbersOf(small.Schedule); !slices.Equal(got, c.want) || small.Failures[0].Check != "planted" {
			t.Errorf("needs %v: shrunk to %v, want %v: %v", c.needs, got, c.want, small.Failures)
		}
		if runs > 40 {
			t.Errorf("needs %v: %d runs", c.needs, runs)
		}
		again := cfg
		again.Only = numbersOf(small.Schedule)
		if r := run(t, again); r.Hash != small.Hash || !r.Failed() {
			t.Errorf("needs %v: a replay has hash %#x, want %#x, and %v", c.needs, r.Hash, small.Hash, r.Failures)
		}
	}
}

// What does not fail any more with fewer faults stays as it was.
func TestShrinkKeepsWhatNeedsAll(t *testing.T) {
	names := []string{"pause", "loss", "crash"}
	cfg := Config{Seed: 5, Duration: 20 * time.Second, Proposals: 1, MinFaults: -1}
	cfg.hooks.schedule, cfg.hooks.port = planned(names...), guilty(names...)
	failed := run(t, cfg)
	small, err := Shrink(cfg, failed, nil)
	if err != nil || small != failed {
		t.Errorf("%v, %v", small, err)
	}
	cfg.hooks.port = nil
	good := run(t, cfg)
	if r, err := Shrink(cfg, good, func(int) { t.Error("a run that did not fail is run again") }); r != good || err != nil {
		t.Errorf("%v, %v", r, err)
	}
}

func TestReplayCommand(t *testing.T) {
	for _, c := range []struct {
		only []int
		want string
	}{
		{nil, "raftdv sim --seed 9 --members 5 --hash --elections=observe --failovers=3 --views=true"},
		{[]int{}, "raftdv sim --seed 9 --members 5 --hash --elections=observe --failovers=3 --views=true --only=none"},
		{[]int{3, 11}, "raftdv sim --seed 9 --members 5 --hash --elections=observe --failovers=3 --views=true --only=3,11"},
	} {
		r := Report{Seed: 9, Members: 5, cfg: &Config{Only: c.only, Elections: election.Observe, Failovers: 3, Views: true}}
		if got := r.Replay(); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
		r.Failures = []Failure{{Check: "F1", At: time.Second, What: "wrong"}}
		var b strings.Builder
		if r.Write(&b); !strings.Contains(b.String(), "FAILED      F1 at 1s: wrong") || !strings.HasSuffix(b.String(), "replay with: "+c.want+"\n") {
			t.Errorf("the report of a failure is\n%s", b.String())
		}
	}
}
