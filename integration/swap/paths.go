package swap

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/raftdv/dv/integration/cluster"
	"github.com/raftdv/dv/raftdv"
)

const (
	stateTimeout = 5 * time.Second
	maxState     = 4 << 20
	// fallbackPath is how the transport calls stock's road.
	fallbackPath = "rafthttp"
)

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
		all, err := fetchStates(ctx, m)
		if err != nil {
			return Roads{}, err
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

func fetchStates(ctx context.Context, m *cluster.Member) (states []raftdv.State, err error) {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	client, err := m.HTTPClient()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	url := m.ClientURL + raftdv.DebugPath
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, resp.Status)
	}
	return states, json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxState)).Decode(&states)
}
