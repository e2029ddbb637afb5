package swap

import (
	"context"
	"fmt"
	"slices"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/raftdv"
)

// fallbackPath is how the transport calls stock's road.
const fallbackPath = "rafthttp"

// Roads count, over the ordered pairs of members whose sender is dv, the road
// that messages take.
type Roads struct {
	Fabric   int // to a dv peer
	Fallback int // to a dv peer
	Stock    int // to a stock peer, over rafthttp
	// Wrong roads are fabrics to a peer that has none.
	Wrong int
}

// roads asks every dv member. dvs are those that run dv.
func roads(ctx context.Context, members, dvs []*cluster.Member) (Roads, error) {
	ids := map[string]bool{}
	var states []raftdv.State
	for _, m := range members {
		if !slices.Contains(dvs, m) {
			continue
		}
		all, err := m.States(ctx)
		if err != nil {
			return Roads{}, err
		}
		if len(all) == 0 {
			return Roads{}, fmt.Errorf("%s runs dv and shows no transport", m.Name)
		}
		for _, s := range all {
			ids[s.Member] = true
		}
		states = append(states, all...)
	}
	return countRoads(states, ids), nil
}

func countRoads(states []raftdv.State, dvs map[string]bool) (r Roads) {
	for _, s := range states {
		for _, p := range s.Peers {
			switch fallback := p.Path == fallbackPath; {
			case dvs[p.Member] && !fallback:
				r.Fabric++
			case dvs[p.Member]:
				r.Fallback++
			case fallback:
				r.Stock++
			default:
				r.Wrong++
			}
		}
	}
	return r
}
