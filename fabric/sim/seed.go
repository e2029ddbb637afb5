package sim

import (
	"os"
	"strconv"
)

// SeedVariable is the environment variable that replays a run.
const SeedVariable = "RAFTDV_SIM_SEED"

// TB is what of testing.TB this package uses.
type TB interface {
	Helper()
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Name() string
}

// LogSeed prints the command that replays the run if the test fails.
func (n *Network) LogSeed(tb TB) {
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("replay with: %s=%#x go test -run '^%s$' (hash %#x after %d events)", SeedVariable, n.Seed(), tb.Name(), n.Hash(), n.Events())
		}
	})
}

// Seed returns the seed in the environment, or the default given.
func Seed(tb TB, def uint64) uint64 {
	tb.Helper()
	s := os.Getenv(SeedVariable)
	if s == "" {
		return def
	}
	seed, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		tb.Fatalf("%s=%q: want a number: %v", SeedVariable, s, err)
	}
	return seed
}
