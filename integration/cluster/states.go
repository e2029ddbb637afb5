package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/raftdv/dv/raftdv"
)

const (
	// statesTimeout and maxStates bound a look at a member's transports.
	statesTimeout = 5 * time.Second
	maxStates     = 4 << 20
)

// States asks the member for its transports, of which there are none in a stock
// one, and in one with --dv-mode=off.
func (m *Member) States(ctx context.Context) (states []raftdv.State, err error) {
	ctx, cancel := context.WithTimeout(ctx, statesTimeout)
	defer cancel()
	client, err := m.HTTPClient()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.WebURL()+raftdv.DebugPath, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("transports of %s: %w", m.Name, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotFound:
		return nil, nil
	case http.StatusOK:
		if err := json.NewDecoder(http.MaxBytesReader(nil, resp.Body, maxStates)).Decode(&states); err != nil {
			return nil, fmt.Errorf("transports of %s: %s: %w", m.Name, req.URL, err)
		}
		return states, nil
	}
	return nil, fmt.Errorf("transports of %s: %s: %s", m.Name, req.URL, resp.Status)
}
