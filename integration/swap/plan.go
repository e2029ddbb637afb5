package swap

import (
	"context"
	"fmt"

	"github.com/raftdv/dv/integration/cluster"
)

// A step ends one member and starts it again, with the same binary or the
// other.
type step struct {
	what   string
	member int  // its place, or leader
	dv     bool // the binary to start
	same   bool // keep the binary instead
	kill   bool // kill -9 instead of a stop
}

// leader stands for whoever leads when the step begins.
const leader = -1

// plan swaps all members to dv and back, then to dv again with violence, and
// loses a leader while the cluster is mixed.
func plan(members int) []step {
	var steps []step
	swap := func(i int, dv, kill bool) {
		verb, to := "stop", "stock"
		if kill {
			verb = "kill -9"
		}
		if dv {
			to = "dv"
		}
		steps = append(steps, step{what: fmt.Sprintf("%s, start with %s", verb, to), member: i, dv: dv, kill: kill})
	}
	lose := func() {
		steps = append(steps, step{what: "kill -9 of the leader, start again", member: leader, same: true, kill: true})
	}
	for i := range members {
		swap(i, true, false)
	}
	for i := range members {
		swap(i, false, false)
	}
	for i := range members {
		swap(i, true, true)
		if i < members-1 {
			lose()
		}
	}
	lose()
	return steps
}

// do takes the step and returns when the member answers again.
func (s step) do(ctx context.Context, c *cluster.Cluster, binaries map[bool]string) (*cluster.Member, error) {
	m, err := s.pick(ctx, c)
	if err != nil {
		return nil, err
	}
	if s.kill {
		m.Kill()
	} else {
		m.Stop()
	}
	if !s.same {
		m.SetBinary(binaries[s.dv])
	}
	return m, m.Restart(ctx)
}

func (s step) pick(ctx context.Context, c *cluster.Cluster) (*cluster.Member, error) {
	if s.member == leader {
		return c.Leader(ctx)
	}
	return c.Members()[s.member], nil
}
