package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/raftdv/dv/ordered"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 30 * time.Second

func addresses(t *testing.T, n int) (list []string) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		list = append(list, l.Addr().String())
	}
	return list
}

func startMember(t *testing.T, dir string, id int, at []string, isNew bool) *member {
	t.Helper()
	m, err := start(id, at, filepath.Join(dir, fmt.Sprint(id)), isNew, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func (m *member) copy() (map[string]string, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.cells), m.whole
}

// TestMembersComeBack: while writes go on, members end and come back; in the end
// all have the same table, with every write that was acknowledged.
func TestMembersComeBack(t *testing.T) {
	dir, at := t.TempDir(), addresses(t, 3)
	var members [3]*member
	for i := range members {
		members[i] = startMember(t, dir, i+1, at, true)
	}
	defer func() {
		for _, m := range members {
			if err := m.close(); err != nil {
				t.Error(err)
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	written := map[string]string{}
	var count atomic.Int64
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() { // by the first member, which stays
		for k := 0; ; k++ {
			select {
			case <-stop:
				return
			default:
			}
			key, value := fmt.Sprint("key ", k%100), fmt.Sprint(k)
			err := members[0].put(ctx, key, value)
			for errors.Is(err, ordered.ErrUncertain) { // a slow machine: it was left out for a moment
				err = members[0].put(ctx, key, value)
			}
			if err != nil {
				t.Errorf("write %d: %v", k, err)
				return
			}
			written[key] = value
			count.Add(1)
		}
	})
	for round := range 4 {
		i := 1 + round%2
		whole := func() bool { _, ok := members[i].copy(); return ok }
		eventually(t, "it has the table", whole)
		if err := members[i].close(); err != nil {
			t.Error(err)
		}
		members[i] = startMember(t, dir, i+1, at, false)
	}
	for i, m := range members {
		eventually(t, fmt.Sprintf("member %d has the table", i+1), func() bool { _, ok := m.copy(); return ok })
	}
	eventually(t, "200 writes", func() bool { return count.Load() >= 200 || t.Failed() })
	close(stop)
	wg.Wait()
	for i, m := range members {
		eventually(t, fmt.Sprintf("member %d has all %d writes", i+1, len(written)), func() bool {
			cells, _ := m.copy()
			return maps.Equal(cells, written)
		})
	}
}

func TestHTTP(t *testing.T) {
	at := addresses(t, 1)
	m := startMember(t, t.TempDir(), 1, at, true)
	defer m.close()
	server := httptest.NewServer(m)
	defer server.Close()
	call := func(method, path, body string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(b))
	}
	if code, text := call(http.MethodPut, "/colour", "blue"); code != http.StatusNoContent {
		t.Fatalf("PUT: %d %s", code, text)
	}
	eventually(t, "the write is there", func() bool {
		code, text := call(http.MethodGet, "/colour", "")
		return code == http.StatusOK && text == "blue"
	})
	if code, _ := call(http.MethodGet, "/size", ""); code != http.StatusNotFound {
		t.Errorf("GET of what was not written: %d", code)
	}
	if code, _ := call(http.MethodPost, "/colour", ""); code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", code)
	}
	for _, args := range [][]string{{"--id", "4", "--peers", "a,b"}, {"--id", "1", "--peers", "127.0.0.1:1", "--listen", "127.0.0.1:0"}, {"--what"}} {
		if err := run(args); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}
