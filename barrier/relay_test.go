package barrier

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// spread has what each member sends passed on until nothing changes: hops[j][i]
// is over how many links it came from j to i, -1 if it did not; times says how
// often.
func spread(hears []set, relays func(int, []set) []Relay) (hops [][]int, times [][]int) {
	n := len(hears)
	hops, times = make([][]int, n), make([][]int, n)
	for j := range n {
		hops[j], times[j] = make([]int, n), make([]int, n)
		for i := range n {
			if hops[j][i] = -1; i == j {
				hops[j][i] = 0
			} else if hears[i].has(j) {
				hops[j][i], times[j][i] = 1, 1
			}
		}
	}
	passes := make([][]Relay, n)
	for k := range n {
		passes[k] = relays(k, hears)
	}
	for done := map[[3]int]bool{}; ; {
		any := false
		for k := range n {
			for _, r := range passes[k] {
				if way := [3]int{k, r.Of, r.To}; hops[r.Of][k] >= 0 && hears[r.To].has(k) && !done[way] {
					done[way], any = true, true
					times[r.Of][r.To]++
					if hops[r.Of][r.To] < 0 {
						hops[r.Of][r.To] = hops[r.Of][k] + 1
					}
				}
			}
		}
		if !any {
			return hops, times
		}
	}
}

func row(heard ...int) (s set) {
	for _, i := range heard {
		s |= 1 << i
	}
	return s
}

// TestRelays: in the partitions of the literature everybody has what everybody
// sends, once, as long as a way is left.
func TestRelays(t *testing.T) {
	for name, c := range map[string]struct {
		hears []set
		most  int // hops
	}{
		"all hear all":                  {[]set{row(1, 2), row(0, 2), row(0, 1)}, 1},
		"one link is cut":               {[]set{row(2), row(2), row(0, 1)}, 2},
		"one direction of it is cut":    {[]set{row(1, 2), row(2), row(0, 1)}, 2},
		"chain of four":                 {[]set{row(1), row(0, 2), row(1, 3), row(2)}, 3},
		"hub of five":                   {[]set{row(1, 2, 3, 4), row(0), row(0), row(0), row(0)}, 2},
		"two and two by a bridge":       {[]set{row(1, 4), row(0, 4), row(3, 4), row(2, 4), row(0, 1, 2, 3)}, 2},
		"a ring that hears one way":     {[]set{row(3), row(0), row(1), row(2)}, 3},
		"two bridges, the first one":    {[]set{row(2, 3), row(2, 3), row(0, 1, 3), row(0, 1, 2)}, 2},
		"hears nobody, and is heard by": {[]set{row(), row(0, 2), row(0, 1)}, 2},
	} {
		hops, times := spread(c.hears, Relays)
		most := 0
		for j := range c.hears {
			near := distances(j, c.hears)
			for i := range c.hears {
				most = max(most, hops[j][i])
				if hops[j][i] != near[i] {
					t.Errorf("%s: from %d to %d over %d links, the shortest way is %d", name, j, i, hops[j][i], near[i])
				}
				if want := min(1, max(0, near[i])); times[j][i] != want {
					t.Errorf("%s: what %d sends comes to %d %d times, want %d", name, j, i, times[j][i], want)
				}
			}
		}
		if most > c.most {
			t.Errorf("%s: %d hops, want %d", name, most, c.most)
		}
	}
}

// TestRelaysEverywhere: whoever hears whom, all that can be reached is, once,
// over the shortest way.
func TestRelaysEverywhere(t *testing.T) {
	check := func(hears []set) bool {
		hops, times := spread(hears, Relays)
		for j := range hears {
			near := distances(j, hears)
			for i := range hears {
				if i != j && (hops[j][i] != near[i] || times[j][i] != min(1, max(0, near[i])) || near[i] > len(hears)-1) {
					return false
				}
			}
		}
		return true
	}
	all := 0
	for x := range uint64(1 << 12) { // each pair of four members, in each direction
		hears, bit := make([]set, 4), 0
		for i := range hears {
			for j := range hears {
				if i != j {
					hears[i] |= set(x>>bit&1) << j
					bit++
				}
			}
		}
		if all++; !check(hears) {
			t.Fatalf("%b", hears)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		hears := make([]set, 5+r.IntN(MaxMembers-4))
		links := r.IntN(5)
		for i := range hears {
			for range 2 + links {
				hears[i] |= set(1) << r.IntN(len(hears))
			}
			hears[i] &^= 1 << i
		}
		if all++; !check(hears) {
			t.Fatalf("%b", hears)
		}
	}
	t.Logf("%d graphs", all)
}

// TestCoreRelays: a member passes on what the rows that it has make its part.
func TestCoreRelays(t *testing.T) {
	w := begin(t, 4)
	heard := [][]fabric.MemberID{{2}, {1, 3}, {2, 4, 3, 99}, {3}} // a chain
	for i, ids := range heard {
		w.nodes[i].core.SetHears(ids)
		w.after(i)
	}
	for k := 0; k < 20 && w.everything(); k++ {
	}
	for i, want := range [][]Relay{nil, {{0, 2}, {2, 0}, {3, 0}}, {{0, 3}, {1, 3}, {3, 1}}, nil} {
		if got := w.nodes[i].core.relays(); !slices.Equal(got, want) {
			t.Errorf("%c passes on %v, want %v", 'A'+i, got, want)
		}
	}
	_ = w.nodes[memberB].core.Row(1, w.nodes[memberA].core.self.Incarnation+50, &fabric.Section{}) // is refused
	if got := w.nodes[memberB].core.relays(); len(got) != 3 {
		t.Errorf("after a bad row: %v", got)
	}
}

// TestRelayBugs: the rules that are not ours, and what they break.
func TestRelayBugs(t *testing.T) {
	chain := []set{row(1), row(0, 2), row(1, 3), row(2)}
	neighbours := func(me int, hears []set) (relays []Relay) { // the first common neighbour only
		for of := range hears {
			for to := range hears {
				if of != me && to != me && of != to && hears[me].has(of) && hears[to].has(me) && !hears[to].has(of) {
					relays = append(relays, Relay{of, to})
				}
			}
		}
		return relays
	}
	if hops, _ := spread(chain, neighbours); hops[0][3] >= 0 {
		t.Error("relays of neighbours only reach the end of a chain")
	}
	flood := func(me int, hears []set) (relays []Relay) {
		for of := range hears {
			for to := range hears {
				if of != me && to != me && of != to {
					relays = append(relays, Relay{of, to})
				}
			}
		}
		return relays
	}
	_, times := spread([]set{row(1, 2, 3), row(0, 2, 3), row(0, 1, 3), row(0, 1, 2)}, flood)
	if times[0][1] < 2 {
		t.Error("flooding sends nothing twice")
	}
}
