package simulate

import (
	"strings"

	"github.com/raftdv/dv/raftdv/election"
)

// E2: with the arbiter, whatever the faults, raft's safety properties hold. What
// breaks one of them while arbiters act breaks E2 too.
func (c *cluster) failedE2(check, what string) {
	if c.cfg.Elections == election.On && (strings.HasPrefix(check, "raft") || check == checkLinear) {
		c.fail("E2", "with arbiters: %s: %s", check, what)
	}
}
