package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/raftdv/dv/integration/cluster"
)

const (
	debugPath    = "/debug/dv"
	debugTimeout = 2 * time.Second
	maxDebug     = 1 << 20
	stockPath    = "stock rafthttp"
)

// state is the part of /debug/dv that the summary shows.
type state struct {
	Peers []struct {
		ID   string `json:"id"`
		Path string `json:"path"`
	} `json:"peers"`
}

// paths returns which way a member's messages take to each of its peers, one
// line each. A member without a state of ours runs on rafthttp.
func paths(ctx context.Context, m *cluster.Member) ([]string, error) {
	st, err := fetchState(ctx, m)
	if err != nil {
		return nil, err
	}
	if st == nil {
		return []string{fmt.Sprintf("%s -> all peers: %s", m.Name, stockPath)}, nil
	}
	var lines []string
	for _, p := range st.Peers {
		lines = append(lines, fmt.Sprintf("%s -> %s: %s", m.Name, p.ID, p.Path))
	}
	return lines, nil
}

func fetchState(ctx context.Context, m *cluster.Member) (*state, error) {
	ctx, cancel := context.WithTimeout(ctx, debugTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.ClientURL+debugPath, nil)
	if err != nil {
		return nil, err
	}
	client, err := m.HTTPClient()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, nil
	case http.StatusOK:
		var st state
		return &st, json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxDebug)).Decode(&st)
	}
	return nil, fmt.Errorf("%s%s: %s", m.ClientURL, debugPath, resp.Status)
}
