package simulate

import (
	"slices"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// TestSameSeedSameHash: the same seed gives the same run, to the last event; for
// other seeds it gives others.
func TestSameSeedSameHash(t *testing.T) {
	hashes := map[uint64]uint64{}
	for _, members := range sizes(3, 5) {
		for seed := uint64(1); seed <= 4; seed++ {
			cfg := Config{Seed: seed, Members: members, Duration: 25 * time.Second, Proposals: 100, MinFaults: -1}
			a, b := run(t, cfg), run(t, cfg)
			if a.Hash != b.Hash || a.Events != b.Events || a.Acked != b.Acked || a.Simulated != b.Simulated {
				t.Errorf("seed %d, %d members: hash %#x after %d events, then %#x after %d", seed, members, a.Hash, a.Events, b.Hash, b.Events)
			}
			if other, ok := hashes[a.Hash]; ok {
				t.Errorf("seeds %d and %d have the same hash", seed, other)
			}
			hashes[a.Hash] = seed
			if a.Elections == 0 || a.Acked == 0 || a.Rows == 0 {
				t.Errorf("seed %d says nothing: %+v", seed, a)
			}
		}
	}
}

// TestHashSeesDisorder is the negative control: what depends on the order of a
// map, in one decision of a run, shows in the hash.
func TestHashSeesDisorder(t *testing.T) {
	order := map[int]bool{0: true, 1: true, 2: true, 3: true, 4: true, 5: true, 6: true, 7: true}
	disordered := func() uint64 {
		cfg := Config{Seed: 1, Duration: 5 * time.Second, Proposals: 1, MinFaults: -1, Only: []int{}}
		cfg.hooks.port = func(c *cluster, _ fabric.MemberID, p fabric.Port) fabric.Port {
			for i := range order {
				c.net.After(time.Duration(i), func() {})
				break
			}
			return p
		}
		return run(t, cfg).Hash
	}
	first := disordered()
	for range 40 {
		if disordered() != first {
			return
		}
	}
	t.Error("runs that depend on the order of a map have the same hash")
}

// TestOnlyKeepsTheRest: leaving out faults does not change the others.
func TestOnlyKeepsTheRest(t *testing.T) {
	full := run(t, Config{Seed: 3, Duration: 30 * time.Second, Proposals: 1, MinFaults: -1})
	part := run(t, Config{Seed: 3, Duration: 30 * time.Second, Proposals: 1, Only: []int{1, 4}})
	want := []Fault{full.Schedule[1], full.Schedule[4]}
	if !slices.Equal(part.Schedule, want) {
		t.Errorf("schedule %v, want %v", part.Schedule, want)
	}
	if part.Hash == full.Hash {
		t.Error("fewer faults, and the hash is the same")
	}
}
