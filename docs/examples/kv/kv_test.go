package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/raftdv/dv/raftdv"
)

const patience = 30 * time.Second

func startCluster(t *testing.T, n int) (members []*member, cluster []string, listeners []net.Listener) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		cluster = append(cluster, "http://"+l.Addr().String())
	}
	lg := zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))
	for i, l := range listeners {
		m, err := startMember(uint64(i+1), cluster, l, lg)
		if err != nil {
			t.Fatal(err)
		}
		members = append(members, m)
	}
	return members, cluster, listeners
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// Three members replicate over the fabrics, and two go on without the third.
func TestReplicates(t *testing.T) {
	members, _, _ := startCluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	put(t, ctx, members[0], "colour", "blue")
	for i, m := range members {
		eventually(t, fmt.Sprintf("member %d has the write", i+1), func() bool { v, _ := m.get("colour"); return v == "blue" })
	}
	eventually(t, "every pair uses a fabric", func() bool {
		for _, m := range members {
			for _, p := range m.transport.State().Peers {
				if p.Path == "rafthttp" {
					return false
				}
			}
		}
		return true
	})
	eventually(t, "elections are arbitrated", func() bool {
		for _, m := range members {
			if e := m.transport.State().Elections; e == nil || e.Mode != "on" {
				return false
			}
		}
		return true
	})
	members[2].stop()
	put(t, ctx, members[1], "colour", "red")
	eventually(t, "the other one has it", func() bool { v, _ := members[0].get("colour"); return v == "red" })
	members[0].stop()
	members[1].stop()
}

// put tries again as long as there is no leader: raft drops proposals then.
func put(t *testing.T, ctx context.Context, m *member, key, value string) {
	t.Helper()
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := m.put(attempt, key, value)
		cancel()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("put %s: %v", key, err)
		}
	}
}

func TestClientAPI(t *testing.T) {
	members, _, _ := startCluster(t, 1)
	m := members[0]
	defer m.stop()
	srv := httptest.NewServer(m.handler())
	defer srv.Close()
	request := func(method, path, body string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, srv.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	eventually(t, "a put succeeds", func() bool { return request("PUT", "/a", "1") == http.StatusNoContent })
	if got := request("GET", "/a", ""); got != http.StatusOK {
		t.Errorf("GET of a key that was put: %d", got)
	}
	if got := request("GET", "/none", ""); got != http.StatusNotFound {
		t.Errorf("GET of a key that was not put: %d", got)
	}
	if got := request("GET", raftdv.DebugPath, ""); got != http.StatusOK {
		t.Errorf("state: %d", got)
	}
}
