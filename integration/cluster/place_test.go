package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A member elsewhere: behind a command that becomes it, on another address,
// its clients on a socket.
func TestPlace(t *testing.T) {
	var asked []int
	c := newCluster(t, Config{Size: 1, Place: func(i int, dir string) (Place, error) {
		asked = append(asked, i)
		return Place{Host: "127.0.0.2", Command: []string{"env", "--"}, Socket: filepath.Join(dir, "c.sock")}, nil
	}})
	m := c.Members()[0]
	if len(asked) != 1 || asked[0] != 0 || !strings.HasPrefix(m.PeerURL, "http://127.0.0.2:") || !strings.HasPrefix(m.ClientURL, "unix:///") {
		t.Errorf("%v: %s, %s", asked, m.PeerURL, m.ClientURL)
	}
	exe, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(m.Pid()), "exe"))
	if err != nil || exe != m.Binary() {
		t.Errorf("the process is %s, %v", exe, err)
	}
	cli, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	put(t, cli, "k1")
	hc, err := m.HTTPClient()
	if err != nil {
		t.Fatal(err)
	}
	defer hc.CloseIdleConnections()
	resp, err := hc.Get(m.WebURL() + "/health")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}

func TestNoPlace(t *testing.T) {
	dir, full := t.TempDir(), errors.New("full")
	_, err := New(t.Context(), Config{Binary: program(t, Etcd), Dir: dir, Place: func(i int, _ string) (Place, error) {
		if i == 1 {
			return Place{}, full
		}
		return Place{}, nil
	}})
	if !errors.Is(err, full) || !strings.Contains(err.Error(), "place of m2") {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); left != nil {
		t.Errorf("left behind: %v", left)
	}
	err = Config{Binary: program(t, Etcd), TLS: true, Place: func(int, string) (Place, error) { return Place{}, nil }}.Validate()
	if err == nil || !strings.Contains(err.Error(), "with TLS") {
		t.Errorf("with TLS: %v", err)
	}
}
