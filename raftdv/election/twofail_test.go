package election

import (
	mathrand "math/rand/v2"
	"testing"
	"time"
)

// twoFail is an election of 4 to 9 members in which two nominees fail in any case,
// half of them by standing still: the mix in which rare faults were found first.
func twoFail(seed uint64) kill {
	rng := mathrand.New(mathrand.NewPCG(seed, 77))
	bit := func() bool { return rng.IntN(2) == 0 }
	n := []int{4, 5, 6, 7, 8, 9, 9}[rng.IntN(7)]
	k := kill{setup: setup{seed: seed, voters: n, mode: On, preVote: true, checkQuorum: true, lossy: bit(), together: bit()},
		unequal: bit(), silent: bit(), slow: rng.IntN(16) == 0}
	for range 2 {
		k.plan = append(k.plan, crash{at: phase(rng.IntN(int(phases))), silent: bit(), hang: bit()})
	}
	k.revival = []time.Duration{10, 20, 30, 60, 120, 250}[rng.IntN(6)] * time.Millisecond
	return k
}

// TestTwoFail: E1 in elections of that mix; -trials and -seed as for TestRounds.
func TestTwoFail(t *testing.T) {
	var all tally
	for i := range uint64(*trials) {
		k := twoFail(*firstSeed + i)
		r, err := k.run()
		if err != nil {
			t.Errorf("go test ./raftdv/election -run TestTwoFail -trials 1 -seed %d: n = %d: %v", *firstSeed+i, k.setup.voters, err)
		}
		all.add(r)
	}
	t.Log(&all)
}
