package failover

import (
	"slices"
	"time"

	"github.com/raftdv/dv/integration/netns"
)

// A Scenario is a partition of a cluster.
type Scenario struct {
	Name string
	// What says what is cut.
	What    string
	Members int
	// steps lists which links are cut from when on; rest are the members that do not
	// lead at first, by their numbers.
	steps func(leader int, rest []int, duration time.Duration) []step
}

// step: from then on exactly those links are cut.
type step struct {
	at  time.Duration
	cut []netns.Link
}

const (
	// lagFirst is how long the hub of "constrained" lacks entries before the rest is
	// cut; turnEvery how long each hub of "rotating-hub" is one; flapEvery how long a
	// link that flaps is cut, and is not.
	lagFirst  = time.Second
	turnEvery = 2 * time.Second
	flapEvery = 300 * time.Millisecond
)

// from the start on.
func always(cut ...[]netns.Link) []step { return []step{{0, slices.Concat(cut...)}} }

// starOf cuts all links of n members but those of the hub.
func starOf(hub, n int) (cut []netns.Link) {
	for i := range n {
		for j := range i {
			if i != hub && j != hub {
				cut = append(cut, netns.Both(i, j)...)
			}
		}
	}
	return cut
}

// chainOf cuts all links but those between neighbours in a list.
func chainOf(list []int) (cut []netns.Link) {
	for i := range list {
		for j := range i {
			if i-j > 1 {
				cut = append(cut, netns.Both(list[i], list[j])...)
			}
		}
	}
	return cut
}

// between cuts all links between two groups.
func between(a, b []int) (cut []netns.Link) {
	for _, i := range a {
		for _, j := range b {
			cut = append(cut, netns.Both(i, j)...)
		}
	}
	return cut
}

// Scenarios are all of them, in the order of the table. Sources: Ng et al.,
// Omni-Paxos, EuroSys'23 (quorum-loss, constrained, chained); Alfatafta et al., Toward a
// Generic Fault Tolerance Technique for Partial Network Partitioning, OSDI'20 (bridge,
// complete, simplex).
func Scenarios() []Scenario {
	return []Scenario{
		{"leader-follower", "the link of the leader and a follower (chained)", 3,
			func(l int, rest []int, _ time.Duration) []step { return always(netns.Both(l, rest[0])) }},
		{"followers", "the link of two followers", 3,
			func(_ int, rest []int, _ time.Duration) []step { return always(netns.Both(rest[0], rest[1])) }},
		{"from-leader", "one direction: what the leader sends to a follower (simplex)", 3,
			func(l int, rest []int, _ time.Duration) []step { return always([]netns.Link{{From: l, To: rest[0]}}) }},
		{"to-leader", "one direction: what a follower sends to the leader (simplex)", 3,
			func(l int, rest []int, _ time.Duration) []step { return always([]netns.Link{{From: rest[0], To: l}}) }},
		{"flapping", "the link of the leader and a follower, every 0.3 s for 0.3 s", 3, flapping},
		{"chain-of-four", "all but those of a chain, the leader is second", 4,
			func(l int, rest []int, _ time.Duration) []step {
				return always(chainOf([]int{rest[0], l, rest[1], rest[2]}))
			}},
		{"quorum-loss", "all but those of one follower", 5,
			func(l int, rest []int, _ time.Duration) []step { return always(starOf(rest[0], 1+len(rest))) }},
		{"constrained", "the leader's to a follower; a second later all but that follower's to the rest", 5, constrained},
		{"rotating-hub", "all but those of one member, every 2 s another one", 5, rotating},
		{"bridge", "all between two pairs, the fifth reaches both", 5,
			func(l int, rest []int, _ time.Duration) []step {
				return always(between([]int{l, rest[0]}, []int{rest[1], rest[2]}))
			}},
		{"leader-alone", "all of the leader's (complete)", 5,
			func(l int, rest []int, _ time.Duration) []step { return always(netns.Around(l, 1+len(rest))) }},
		{"minority", "all between the leader with one follower and the three others (complete)", 5,
			func(l int, rest []int, _ time.Duration) []step {
				return always(between([]int{l, rest[0]}, rest[1:]))
			}},
	}
}

func flapping(l int, rest []int, duration time.Duration) (steps []step) {
	for at := time.Duration(0); at < duration; at += 2 * flapEvery {
		steps = append(steps, step{at, netns.Both(l, rest[0])}, step{at + flapEvery, nil})
	}
	return steps
}

func constrained(l int, rest []int, _ time.Duration) []step {
	hub := rest[0]
	lags := netns.Both(l, hub)
	return []step{{0, lags}, {lagFirst, slices.Concat(lags, starOf(hub, 1+len(rest)))}}
}

func rotating(l int, rest []int, duration time.Duration) (steps []step) {
	order := append(slices.Clone(rest), l)
	for k := 0; time.Duration(k)*turnEvery < duration; k++ {
		steps = append(steps, step{time.Duration(k) * turnEvery, starOf(order[k%len(order)], len(order))})
	}
	return steps
}

// ScenarioNames are the names of all of them.
func ScenarioNames() (names []string) {
	for _, s := range Scenarios() {
		names = append(names, s.Name)
	}
	return names
}
