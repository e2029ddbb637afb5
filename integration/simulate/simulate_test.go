package simulate

import (
	"flag"
	"fmt"
	"os"
	"testing"
)

var (
	testSeeds = flag.Int("seeds", 4, "seeds for each number of members")
	firstSeed = flag.Uint64("first-seed", 1, "the first of them")
)

// run is Run for tests: the report is printed if it fails.
func run(t *testing.T, cfg Config) *Report {
	t.Helper()
	r, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSeeds(t *testing.T) {
	for _, members := range []int{3, 5, 7} {
		for i := range *testSeeds {
			seed := *firstSeed + uint64(i)
			t.Run(fmt.Sprintf("members=%d/seed=%d", members, seed), func(t *testing.T) {
				r := run(t, Config{Seed: seed, Members: members})
				if r.Failed() || testing.Verbose() {
					r.Write(os.Stdout)
				}
				if r.Failed() {
					t.Errorf("replay with: %s", r.Replay())
				}
			})
		}
	}
}
