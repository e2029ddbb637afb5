package demo

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/raftdv"
)

const (
	stockPath = "stock rafthttp"

	// A member that came back is on rafthttp until its fabrics are up; the
	// summary waits for that, but not for ever.
	fallbackPath  = "rafthttp"
	settleEvery   = 100 * time.Millisecond
	settleTimeout = 10 * time.Second
)

func describe(e *raftdv.LastElection) string {
	noun := "rounds"
	if e.Rounds == 1 {
		noun = "round"
	}
	return fmt.Sprintf("%d %s, %.1fms after the last sign of the leader (%s) it began, %.1fms later there was a leader", e.Rounds, noun, e.Detection, e.Reason, e.Took)
}

// lastElection asks a member for its last election, nil if it tells of none.
func lastElection(ctx context.Context, m *cluster.Member) *raftdv.LastElection {
	states, err := m.States(ctx)
	if err != nil || len(states) != 1 || states[0].Elections == nil {
		return nil
	}
	return states[0].Elections.Last
}

// settledPaths returns the paths when none falls back to rafthttp any more, or
// as they are after settleTimeout.
func settledPaths(ctx context.Context, members []*cluster.Member) []string {
	t := time.NewTicker(settleEvery)
	defer t.Stop()
	for deadline := time.Now().Add(settleTimeout); ; {
		lines, settled := paths(ctx, members)
		if settled || ctx.Err() != nil || time.Now().After(deadline) {
			return lines
		}
		<-t.C
	}
}

// paths returns which way the messages of each member take to each of its
// peers, one line each, and whether that is likely to stay. A member that
// shows no transport runs on rafthttp.
func paths(ctx context.Context, members []*cluster.Member) (lines []string, settled bool) {
	settled = true
	lines, complete := eachPeer(ctx, members, func(from, to string, p *raftdv.PeerState, _ func(string) string) string {
		settled = settled && p.Path != fallbackPath
		return fmt.Sprintf("%s -> %s: %s", from, to, p.Path)
	})
	return lines, settled && complete
}

// eachPeer asks all members for their peers, and returns what line makes of each, by
// the members' names; complete: all have answered.
func eachPeer(ctx context.Context, members []*cluster.Member, line func(from, to string, p *raftdv.PeerState, name func(id string) string) string) (lines []string, complete bool) {
	states, names := map[*cluster.Member][]raftdv.State{}, map[string]string{}
	complete = true
	for _, m := range members {
		st, err := m.States(ctx)
		if err != nil {
			lines, complete = append(lines, fmt.Sprintf("%s: unknown (%v)", m.Name, err)), false
			continue
		}
		states[m] = st
		for _, s := range st {
			names[s.Member] = m.Name
		}
		if len(st) == 0 {
			lines = append(lines, fmt.Sprintf("%s -> all peers: %s", m.Name, stockPath))
		}
	}
	name := func(id string) string { return cmp.Or(names[id], id) }
	for _, m := range members {
		for _, s := range states[m] {
			for i := range s.Peers {
				p := &s.Peers[i]
				lines = append(lines, line(m.Name, name(p.Member), p, name))
			}
		}
	}
	return lines, complete
}
