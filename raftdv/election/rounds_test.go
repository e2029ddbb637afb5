package election

import (
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"
)

var (
	trials    = flag.Int("trials", 400, "elections for each number of members in TestRounds")
	verbose   = flag.Bool("events", false, "print what arbiters report")
	firstSeed = flag.Uint64("seed", 1, "seed of the first of them")
)

// kill is one election: a cluster works, its leader dies, nominees crash as
// planned, until somebody leads.
type kill struct {
	setup   setup
	unequal bool
	silent  bool // no port tells that the leader is gone
	slow    bool // suspicion comes when raft's own timeouts do
	plan    []crash
	outside bool // outside of the assumption: E1 is not checked
	script  []time.Duration
	check   func(*world, *node)                            // after every input of an arbiter
	skewed  bool                                           // clocks run at 80 to 120 %
	blinks  int                                            // members that restart at once when they have endorsed
	before  func(w *world, leader *node, at time.Duration) // what else happens about the time of its death
	revival time.Duration                                  // least time after which crashed members come back
}

// result is what became of it.
type result struct {
	rounds int
	failed int
	took   time.Duration
	phases map[phase]int
	seen   map[EventKind]int
	blinks int // restarts of endorsers that did not come
	change int // changes of the configuration that members applied
}

const (
	warmUp   = 150 * time.Millisecond
	endless  = 20 * time.Second
	tailTime = 120 * time.Millisecond // longer than messages are held
	// maxAttempts bounds those of an election in which two nominees fail; 5 were
	// the most in 8,000.
	maxAttempts = 10
)

func (k *kill) run() (r result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: panic: %v", errE2, p)
		}
	}()
	k.setup.cfg.SuspectAfter, k.setup.cfg.MaxSuspectAfter = 120*time.Millisecond, time.Second
	k.setup.cfg.Beat = 15 * time.Millisecond
	if k.slow {
		k.setup.cfg.SuspectAfter, k.setup.cfg.MaxSuspectAfter, k.setup.cfg.Beat = 1100*time.Millisecond, 2*time.Second, 50*time.Millisecond
		k.setup.cfg.StallAfter = 5 * time.Second
	}
	w := newWorld(k.setup)
	if k.skewed {
		for _, n := range w.nodes {
			n.rate = w.between(80, 120)
		}
	}
	w.script, w.check = k.script, k.check
	if w.revival = k.revival; w.revival == 0 {
		w.revival = 30 * time.Millisecond
	}
	early := time.Duration(0)
	if k.setup.stretch > 1 && !k.setup.sudden {
		early = 2 * time.Second // delays are to be noticed
	}
	l := w.nodes[w.rng.IntN(k.setup.voters)]
	w.at(time.Millisecond, func() { must(l.rn.Campaign()); w.pump(l) })
	w.at(early+w.between(warmUp/2, warmUp), func() { w.load(l, k.unequal) })
	w.run(early+warmUp*2, nil)
	if w.leader() != l && len(w.errs) == 0 {
		w.fail("%w: no leader to kill", errLive)
	}
	term := l.rn.BasicStatus().GetTerm()
	killAt := w.now + w.between(0, raftTick)
	if k.before != nil {
		k.before(w, l, killAt)
	}
	w.at(killAt, func() { w.crash(l, k.silent || k.slow); w.counting, w.plan, w.blinks = true, k.plan, k.blinks })
	w.run(w.now+raftTick, nil)
	clear(w.cut)
	start := w.now
	if !w.run(w.now+endless, func() bool { n := w.leader(); return n != nil && n.rn.BasicStatus().GetTerm() > term }) && len(w.errs) == 0 {
		w.fail("%w: nobody leads", errLive)
	}
	r = result{took: w.now - start, phases: w.phases, seen: w.seen}
	if k.setup.mode == On {
		w.run(w.now+tailTime, nil)
	}
	r.rounds, r.failed, r.change, r.blinks = len(w.rounds), w.crashed, w.changed, w.blinks
	if k.setup.mode == On && !k.outside && r.rounds > 1+r.failed {
		w.fail("%w: %d rounds with %d failed nominees: %v", errE1, r.rounds, r.failed, w.rounds)
	}
	if k.setup.mode == On && !k.outside && w.attempts > maxAttempts {
		w.fail("%w: attempt %d", errAttempts, w.attempts)
	}
	return r, w.err()
}

// load proposes; with unequal logs, followers are cut off one after another.
func (w *world) load(l *node, unequal bool) {
	for i := range 20 {
		w.after(time.Duration(i)*time.Millisecond, l, func() {
			_ = l.rn.Propose(fmt.Appendf(nil, "%d", i))
			w.pump(l)
		})
	}
	if !unequal {
		return
	}
	for _, n := range w.nodes {
		if n != l {
			w.after(w.between(0, 20*time.Millisecond), l, func() { w.cut[[2]uint64{l.id, n.id}] = true })
		}
	}
}

// scenario is the one of a seed.
func scenario(seed uint64, voters int, mode Mode) kill {
	rng := mathrand.New(mathrand.NewPCG(seed, 3))
	bit := func() bool { return rng.IntN(2) == 0 }
	k := kill{setup: setup{seed: seed, voters: voters, mode: mode, preVote: true, checkQuorum: true, lossy: bit(), together: bit()},
		unequal: bit(), silent: bit(), slow: rng.IntN(12) == 0}
	for range rng.IntN(3) {
		k.plan = append(k.plan, crash{at: phase(rng.IntN(int(phases))), silent: bit()})
	}
	for i := range k.plan {
		k.plan[i].hang = rng.IntN(3) == 0
	}
	return k
}

// drawn is the election of a seed of a campaign: in one of four, two nominees
// are to fail in any case, half of them by hanging, and come back soon.
func drawn(seed uint64, voters int, mode Mode) kill {
	k := scenario(seed, voters, mode)
	if seed%4 != 0 {
		return k
	}
	rng := mathrand.New(mathrand.NewPCG(seed, 5))
	k.plan = nil
	for range 2 {
		k.plan = append(k.plan, crash{at: phase(rng.IntN(int(phases))), silent: rng.IntN(2) == 0, hang: rng.IntN(2) == 0})
	}
	k.revival = []time.Duration{10, 20, 30, 60, 120, 250}[rng.IntN(6)] * time.Millisecond
	return k
}

// TestRounds: E1, with E2, E3 and E4 checked in the same runs; stock raft on the
// same seeds beside it.
func TestRounds(t *testing.T) {
	for _, voters := range []int{3, 4, 5, 6, 7, 9} {
		t.Run(fmt.Sprintf("n=%d", voters), func(t *testing.T) { rounds(t, voters, *trials) })
	}
}

func rounds(t *testing.T, voters, trials int) {
	var dv, stock tally
	start := time.Now()
	for i := range uint64(trials) {
		k := drawn(*firstSeed+i, voters, On)
		r, err := k.run()
		if err != nil {
			t.Fatalf("go test ./raftdv/election -run 'TestRounds/n=%d' -trials 1 -seed %d: %+v: %v", voters, *firstSeed+i, k, err)
		}
		dv.add(r)
	}
	took := time.Since(start)
	for i := range uint64(min(trials, max(200, trials/10))) {
		k := drawn(*firstSeed+i, voters, Off)
		k.plan = nil
		r, err := k.run()
		if err != nil {
			t.Fatalf("stock, seed %d: %v", *firstSeed+i, err)
		}
		stock.add(r)
	}
	t.Logf("arbiter: %v, %v each", &dv, took/time.Duration(trials))
	t.Logf("stock, no nominee crashes: %v", &stock)
}

// tally sums up results.
type tally struct {
	Elections int               `json:"elections"`
	Rounds    [3][16]int        `json:"rounds"` // by failed nominees, by rounds
	Took      time.Duration     `json:"took"`
	Phases    [phases]int       `json:"phases"`
	Seen      map[EventKind]int `json:"seen"`
}

func (y *tally) add(r result) {
	one := tally{Elections: 1, Took: r.took, Seen: r.seen}
	one.Rounds[r.failed][min(r.rounds, 15)] = 1
	for p, n := range r.phases {
		one.Phases[p] = n
	}
	y.merge(&one)
}

func (y *tally) merge(o *tally) {
	y.Elections += o.Elections
	y.Took += o.Took
	for failed, by := range o.Rounds {
		for n, count := range by {
			y.Rounds[failed][n] += count
		}
	}
	for p, n := range o.Phases {
		y.Phases[p] += n
	}
	if y.Seen == nil {
		y.Seen = map[EventKind]int{}
	}
	for k, n := range o.Seen {
		y.Seen[k] += n
	}
}

func (y *tally) String() string {
	var s strings.Builder
	s.WriteString(fmt.Sprintf("%d elections, mean %v", y.Elections, (y.Took / time.Duration(max(1, y.Elections))).Round(time.Millisecond)))
	for failed, by := range y.Rounds {
		for n, count := range by {
			if count > 0 {
				s.WriteString(fmt.Sprintf("; %d failed, %d rounds: %d", failed, n, count))
			}
		}
	}
	return s.String() + fmt.Sprintf("; crashes by phase %v; events %v", y.Phases, y.Seen)
}
