package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// parentEnv makes this test program the parent that TestMembersEndWithParent
// kills; its value is the binary to run.
const parentEnv = "RAFTDV_TEST_PARENT"

func TestMain(m *testing.M) {
	if bin := os.Getenv(parentEnv); bin != "" {
		parent(bin)
	}
	goleak.VerifyTestMain(m)
}

func program(t *testing.T, p Program) string {
	t.Helper()
	path, err := Build(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func newCluster(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	if cfg.Binary == "" {
		cfg.Binary = program(t, Etcd)
	}
	c, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func put(t *testing.T, cli *clientv3.Client, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		// A try of its own: a put that the dead leader took waits in vain.
		try, stop := context.WithTimeout(ctx, time.Second)
		_, err := cli.Put(try, key, key)
		stop()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("put %s: %v", key, err)
		}
	}
}

func count(t *testing.T, m *Member) int64 {
	t.Helper()
	cli, err := m.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	resp, err := cli.Get(t.Context(), "k", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Count
}

func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// A zombie that nobody waits for has ended all the same.
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}

func TestLifeOfACluster(t *testing.T) {
	c := newCluster(t, Config{})
	cli, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	put(t, cli, "k1")

	leader, err := c.Leader(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	old := leader.Pid()
	leader.Kill()
	if !gone(old) || leader.Pid() != 0 {
		t.Errorf("%s lives on as %d (was %d)", leader.Name, leader.Pid(), old)
	}
	if err := leader.Pause(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("pause of a dead member: %v", err)
	}
	put(t, cli, "k2")
	next, err := c.Leader(t.Context())
	if err != nil || next == leader {
		t.Fatalf("the leader after %s is %v, %v", leader.Name, next, err)
	}
	if err := leader.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := leader.Start(); err == nil {
		t.Error("a running member was started again")
	}
	if n := count(t, leader); n != 2 {
		t.Errorf("%s has %d keys after its return, want 2", leader.Name, n)
	}
	if err := next.Pause(); err != nil {
		t.Fatal(err)
	}
	put(t, cli, "k3")
	if err := next.Resume(); err != nil {
		t.Fatal(err)
	}

	var pids []int
	for _, m := range c.Members() {
		pids = append(pids, m.Pid())
	}
	c.Close()
	for _, p := range pids {
		if !gone(p) {
			t.Errorf("process %d outlived Close", p)
		}
	}
	if _, err := os.Stat(c.Dir()); err == nil {
		t.Errorf("%s outlived Close", c.Dir())
	}
}

func TestAddAndRemove(t *testing.T) {
	c := newCluster(t, Config{Size: 1})
	cli, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	put(t, cli, "k1")
	m, err := c.Add(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := count(t, m); n != 1 {
		t.Errorf("the new member has %d keys, want 1", n)
	}
	if err := c.Remove(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if n := len(c.Members()); n != 1 || m.Pid() != 0 {
		t.Errorf("%d members, the removed one is process %d", n, m.Pid())
	}
	if _, err := os.Stat(m.Dir); err == nil {
		t.Error("its folder is still there")
	}
	put(t, cli, "k2")
}

func TestTLS(t *testing.T) {
	c := newCluster(t, Config{Size: 1, TLS: true})
	m := c.Members()[0]
	cli, err := c.Client()
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
	resp, err := hc.Get(m.ClientURL + "/health")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if f := c.Flags(); f["endpoints"] != m.ClientURL || f["cacert"] == "" || f["cert"] == "" || f["key"] == "" {
		t.Errorf("etcdctl gets %v", f)
	}
	// The control: without a certificate nobody gets in.
	c.tls.cert, c.tls.key = "", ""
	bare, err := m.HTTPClient()
	if err != nil {
		t.Fatal(err)
	}
	defer bare.CloseIdleConnections()
	if resp, err := bare.Get(m.ClientURL + "/health"); err == nil {
		resp.Body.Close()
		t.Error("a client without a certificate was let in")
	}
}

// One binary after the other on the same data.
func TestSetBinary(t *testing.T) {
	c := newCluster(t, Config{Size: 1})
	m := c.Members()[0]
	cli, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cli.Close()
	put(t, cli, "k1")
	m.Stop()
	m.SetBinary(program(t, EtcdDV))
	if err := m.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", m.Pid()))
	if err != nil || exe != m.Binary() {
		t.Errorf("runs %s, %v, want %s", exe, err, m.Binary())
	}
	if n := count(t, m); n != 1 {
		t.Errorf("%d keys, want 1", n)
	}
}

func TestFailedStartLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	_, err := New(t.Context(), Config{Binary: program(t, Etcd), Dir: dir, Args: []string{"--no-such-flag"}})
	if err == nil || !strings.Contains(err.Error(), "its process ended") || !strings.Contains(err.Error(), "no-such-flag") {
		t.Errorf("the error says too little: %v", err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStartTimeout(t *testing.T) {
	mute := filepath.Join(t.TempDir(), "mute")
	if err := os.WriteFile(mute, []byte("#!/bin/sh\necho $$ >&2\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := New(t.Context(), Config{Binary: mute, Size: 1, StartTimeout: time.Second})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	lines := strings.Fields(err.Error())
	pid, convErr := strconv.Atoi(lines[len(lines)-1]) // the log's tail
	if convErr != nil || !gone(pid) {
		t.Errorf("process %d outlived the failed start (%v): %v", pid, convErr, err)
	}
}

func TestValidate(t *testing.T) {
	err := Config{Binary: "/no/such/file", Size: -1, StopTimeout: -1}.Validate()
	for _, want := range []string{"make build", "Size is -1", "StopTimeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if _, err := New(t.Context(), Config{Binary: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "cannot be run") {
		t.Errorf("a folder as binary: %v", err)
	}
}

func TestEnvironIsClean(t *testing.T) {
	t.Setenv("ETCD_NAME", "stray")
	env := strings.Join(environ(map[string]string{"ETCD_DV_MODE": "off"}), "\n")
	if strings.Contains(env, "stray") || !strings.Contains(env, "ETCD_DV_MODE=off") || !strings.Contains(env, "PATH=") {
		t.Errorf("got:\n%s", env)
	}
}

func TestFreePort(t *testing.T) {
	seen := map[int]bool{}
	for range 50 {
		p, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		defer releasePort(p)
		if seen[p] {
			t.Errorf("%d was handed out twice", p)
		}
		seen[p] = true
	}
	for _, network := range []string{"tcp", "udp"} {
		var port int
		if network == "tcp" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			port = l.Addr().(*net.TCPAddr).Port
		} else {
			l, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			port = l.LocalAddr().(*net.UDPAddr).Port
		}
		if bindable(port) {
			t.Errorf("%s port %d is in use and called free", network, port)
		}
	}
}

// Members must not outlive a program that is killed and cannot tidy up.
func TestMembersEndWithParent(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+program(t, Etcd), "TMPDIR="+dir)
	pidFile := filepath.Join(dir, "pid")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	within(t, "a member to start", func() bool {
		text, _ := os.ReadFile(pidFile)
		pid, _ = strconv.Atoi(string(text))
		return pid != 0
	})
	if gone(pid) {
		t.Error("the member ended before its parent")
	}
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
	within(t, "the member to end", func() bool { return gone(pid) })
}

// parent is what runs under parentEnv: it starts a cluster, says so, and
// waits to be killed.
func parent(bin string) {
	c, err := New(context.Background(), Config{Binary: bin, Size: 1})
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile("pid.tmp", []byte(strconv.Itoa(c.Members()[0].Pid())), 0o644); err != nil {
		panic(err)
	}
	if err := os.Rename("pid.tmp", "pid"); err != nil {
		panic(err)
	}
	<-make(chan struct{})
}

// within waits for a condition.
func within(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
		time.Sleep(probeEvery)
	}
}
