package failover

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/raftdv/dv/integration/netns"
	"github.com/raftdv/dv/internal/needs"
)

// reachable are the members that a member hears over links in both directions.
func reachable(from, n int, cut []netns.Link) (all []int) {
	seen := map[int]bool{from: true}
	for next := []int{from}; len(next) > 0; {
		i := next[0]
		next = next[1:]
		for j := range n {
			if !seen[j] && !slices.Contains(cut, netns.Link{From: i, To: j}) && !slices.Contains(cut, netns.Link{From: j, To: i}) {
				seen[j] = true
				next = append(next, j)
			}
		}
	}
	for i := range n {
		if seen[i] {
			all = append(all, i)
		}
	}
	return all
}

func links1(i, n int, cut []netns.Link) (k int) {
	for j := range n {
		if j != i && !slices.Contains(cut, netns.Link{From: i, To: j}) && !slices.Contains(cut, netns.Link{From: j, To: i}) {
			k++
		}
	}
	return k
}

// TestScenarios: each cuts what it says.
func TestScenarios(t *testing.T) {
	type shape struct {
		steps   int
		direct  []int // links of each member in the last step
		reaches int   // members that can be reached by the one with most links
	}
	want := map[string]shape{
		"leader-follower": {1, []int{1, 1, 2}, 3},
		"followers":       {1, []int{2, 1, 1}, 3},
		"from-leader":     {1, []int{1, 1, 2}, 3},
		"to-leader":       {1, []int{1, 1, 2}, 3},
		"flapping":        {34, []int{2, 2, 2}, 3},
		"chain-of-four":   {1, []int{2, 1, 2, 1}, 4},
		"quorum-loss":     {1, []int{1, 4, 1, 1, 1}, 5},
		"constrained":     {2, []int{0, 3, 1, 1, 1}, 4},
		"rotating-hub":    {5, []int{4, 1, 1, 1, 1}, 5},
		"bridge":          {1, []int{2, 2, 2, 2, 4}, 5},
		"leader-alone":    {1, []int{0, 3, 3, 3, 3}, 4},
		"minority":        {1, []int{1, 1, 2, 2, 2}, 3},
	}
	for _, s := range Scenarios() {
		w, ok := want[s.Name]
		if !ok {
			t.Errorf("%s is not looked at", s.Name)
			continue
		}
		var rest []int
		for i := range s.Members - 1 {
			rest = append(rest, i+1)
		}
		steps := s.steps(0, rest, 10*time.Second)
		last := steps[len(steps)-1].cut
		var direct []int
		hub := 0
		for i := range s.Members {
			direct = append(direct, links1(i, s.Members, last))
			if direct[i] > direct[hub] {
				hub = i
			}
		}
		if len(steps) != w.steps || !slices.Equal(direct, w.direct) || len(reachable(hub, s.Members, last)) != w.reaches {
			t.Errorf("%s: %d steps, links %v, %d reached: want %+v", s.Name, len(steps), direct, len(reachable(hub, s.Members, last)), w)
		}
		if !slices.IsSortedFunc(steps, func(a, b step) int { return int(a.at - b.at) }) {
			t.Errorf("%s: steps out of order", s.Name)
		}
	}
}

// TestRunPartitions: real clusters, the cheapest scenario in which relays matter.
func TestRunPartitions(t *testing.T) {
	p := programs(t)
	var got []PartitionResult
	err := RunPartitions(t.Context(), PartitionConfig{Programs: p, Scenarios: []string{"chain-of-four"}, Duration: 3 * time.Second, Trials: 1},
		func(r PartitionResult) { got = append(got, r) })
	if err != nil {
		t.Fatal(err)
	}
	empty(t, p.Dir)
	if len(got) != 1 {
		t.Fatalf("%+v", got)
	}
	r := got[0]
	if r.Skipped != "" {
		needs.Refused(t, r.Skipped, needs.Bridges()...)
	}
	if r.DV.Writes == 0 || r.Stock.Writes == 0 || r.DV.AvailablePct <= 0 || r.DV.ReachPct <= 0 || r.DV.ReachPct > 100 {
		t.Errorf("%+v", r)
	}
	var table strings.Builder
	if err := WritePartitionTable(&table, got); err != nil || strings.Count(table.String(), "\n") != 3 {
		t.Errorf("%v: %s", err, table.String())
	}
}

func TestPartitionConfig(t *testing.T) {
	err := PartitionConfig{Scenarios: []string{"nonsense"}, Duration: time.Second, Trials: -1}.Validate()
	for _, want := range []string{"nonsense", "shows nothing", "-1 trials", "stock etcd", "etcd-dv"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestPartitionCheck(t *testing.T) {
	good := PartitionResult{Stock: PartitionNumbers{AvailablePct: 80, ReachPct: 60}, DV: PartitionNumbers{AvailablePct: 100, ReachPct: 57}}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	bad := good
	bad.DV.ReachPct = 50
	if err := bad.Check(); !errors.Is(err, ErrMissed) {
		t.Errorf("a member that cannot write: %v", err)
	}
	if err := (PartitionResult{Skipped: "no root"}).Check(); !errors.Is(err, ErrMissed) {
		t.Errorf("skipped: %v", err)
	}
}
