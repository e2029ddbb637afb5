package barrier

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// walk does random actions: in every other world such as are possible, in the
// others whatever comes, so that most of them come to nothing, and what is under
// way stays there for long.
func (w *world) walk(r *rand.Rand, seed uint64) {
	if seed%4 > 0 {
		w.stroll(r, 300*len(w.nodes))
	} else {
		w.hurry(r, 100*len(w.nodes))
	}
}

func (w *world) stroll(r *rand.Rand, steps int) {
	n := len(w.nodes)
	rare := 100 + r.IntN(1000*n)
	for s := 0; s < steps && w.err == nil; s++ {
		i, j := r.IntN(n), r.IntN(n)
		if r.IntN(rare) < 10 {
			w.disturb(r, i)
		}
		switch x := r.IntN(100); {
		case x < 25:
			w.publish(i, j)
		case x < 45:
			w.read(i, j)
		case x < 60:
			_ = w.publish(i, j) && w.read(i, j)
		case x < 75:
			w.arrive(i, j)
		case x < 80:
			w.forward(i, j)
		case x < 95:
			w.saved(i)
		case x < 98:
			w.stamp(i)
		case x < 99:
			w.apply(i)
		default:
			w.learn(i, j)
		}
	}
}

// hurry draws how often each kind of action is done, and which pairs of members
// are slow: worlds that are all alike find the same faults.
func (w *world) hurry(r *rand.Rand, steps int) {
	n := len(w.nodes)
	kinds := []func(i, j int) bool{
		w.publish, w.read,
		func(i, j int) bool { return w.publish(i, j) && w.read(i, j) },
		w.arrive, w.forward, w.learn,
		func(i, _ int) bool { return w.saved(i) },
		func(i, _ int) bool { return w.stamp(i) },
		func(i, _ int) bool { return w.apply(i) },
	}
	weights := []int{8, 8, 8, 8, 4, 1, 8, 2, 1}
	sum := 0
	for k := range weights {
		weights[k] <<= r.IntN(4)
		sum += weights[k]
	}
	rare, slow := 8<<r.IntN(5), make([]bool, n*n)
	for k := range slow {
		slow[k] = r.IntN(4) == 0
	}
	for s := 0; s < steps && w.err == nil; s++ {
		if r.IntN(rare) == 0 {
			w.disturb(r, r.IntN(n))
		}
		x, k := r.IntN(sum), 0
		for ; x >= weights[k]; k++ {
			x -= weights[k]
		}
		for at, left := r.IntN(n*n), n*n; left > 0; left-- {
			if at = (at + 1) % (n * n); slow[at] && r.IntN(16) > 0 {
				continue
			}
			if kinds[k](at/n, at%n) {
				break
			}
		}
	}
}

// disturb is what a walk does now and then.
func (w *world) disturb(r *rand.Rand, i int) {
	switch x := r.IntN(11); {
	case x == 10:
		w.configure(r.IntN(3), fabric.MemberID(1+i))
	case x < 4:
		w.want(i)
	case x < 8:
		w.propose(i, set(r.Uint64()&r.Uint64())&(1<<len(w.nodes)-1)&^(1<<i))
	default:
		w.crash(i, r.IntN(2) == 0)
	}
}

// settle lets everything arrive, and members propose by turns, until nothing
// changes any more: V2.
func (w *world) settle() {
	w.budget.ballots, w.budget.letters, w.budget.crashes = 1000, 0, 0
	for turn := range 20 * len(w.nodes) {
		for k := 0; k < 200 && w.err == nil && w.everything(); k++ {
		}
		if w.settled() || w.err != nil {
			return
		}
		w.want(turn % len(w.nodes))
	}
	w.fail(errV2, "%v", w.describe())
}

// everything does once whatever is possible.
func (w *world) everything() (any bool) {
	for i := range w.nodes {
		any = w.saved(i) || w.apply(i) || any
		for j := range w.nodes {
			any = w.publish(i, j) || any
			any = w.read(i, j) || any
			any = w.arrive(i, j) || any
			any = w.learn(i, j) || any
			any = w.forward(i, j) || any
		}
	}
	return any
}

// settled: all voters are members of one view, and have the same frames.
func (w *world) settled() bool {
	cfg := w.configs[len(w.configs)-1]
	var first *node
	for i, n := range w.nodes {
		c := n.core
		if !cfg.votes(fabric.MemberID(i + 1)) {
			if c.at >= 0 {
				return false
			}
			continue
		}
		if first == nil {
			first = n
		}
		if c.at < 0 || c.id != first.core.id || len(c.view.Members) != len(cfg.ids())-len(cfg.Learners) || !sameConfig(&c.view.Config, &cfg) || c.wedged ||
			len(n.late) > 0 || len(n.held) > 0 || !slices.Equal(n.told, first.told) {
			return false
		}
	}
	return true
}

func (w *world) describe() (s []string) {
	for _, n := range w.nodes {
		c := n.core
		s = append(s, fmt.Sprintf("%v in %v at %d, wedged %v, promised %v, accepted %v, out %b, %d late, %d held, %d told", c.self, c.id, c.at, c.wedged, c.votes.promised, c.votes.accepted, c.out, len(n.late), len(n.held), len(n.told)))
	}
	return s
}

var (
	worlds     = flag.Int("worlds", 400, "random worlds of each size in TestRandomWorlds")
	firstWorld = flag.Uint64("world", 1, "seed of the first of them")
)

// TestRandomWorlds: whatever happens, the invariants hold.
func TestRandomWorlds(t *testing.T) {
	for _, n := range []int{3, 4, 5, 7} {
		views, all, letters := uint64(0), 0, 0
		for seed := *firstWorld; seed < *firstWorld+uint64(*worlds); seed++ {
			r := rand.New(rand.NewPCG(seed, uint64(n)))
			w := newWorld(n, budget{})
			w.settle()
			w.budget = budget{letters: 30, ballots: 12, crashes: 4, configs: r.IntN(5)}
			w.walk(r, seed)
			w.settle()
			if w.err != nil {
				t.Fatalf("seed %d, %d members: %v", seed, n, w.err)
			}
			all += len(w.check.views)
			for _, v := range w.check.views {
				views = max(views, v.Number)
			}
			for _, e := range w.check.ends {
				letters += len(e.told)
			}
		}
		t.Logf("%d members, %d worlds: %d views, up to %d in one; %d frames of views that ended", n, *worlds, all, views, letters)
	}
}
