package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/internal/needs"
)

// alive says whether a process of another program exists and has not ended.
func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text[strings.LastIndexByte(string(text), ')')+1:]), " Z ")
}

func readPid(t *testing.T, path string) int {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestOrphans: a test leaves a process in a session of its own, and a child
// of that. Both are reported or killed; none is left.
func TestOrphans(t *testing.T) {
	b := newBench(t, "TestOrphan")
	b.cfg.kinds = []kind{stock}
	status, table := b.execute(t.Context())
	b.wantStatus(status, exitOK, table)
	if alive(readPid(t, filepath.Join(b.dir, "child"))) {
		t.Error("the orphan's child is still running")
	}
	st, err := openStore(b.cfg.cache)
	if err != nil {
		t.Fatal(err)
	}
	known, err := st.load("fake", "s1")
	if err != nil {
		t.Fatal(err)
	}
	if left := known["fake.TestOrphan"][0].Left; !slices.Equal(left, []string{"sh"}) {
		t.Errorf("left running: %q, want sh", left)
	}
}

// TestToolIsGone: when the tool dies, however it dies, the kernel closes the
// lifeline and the shim ends everything.
func TestToolIsGone(t *testing.T) {
	for name, end := range map[string]func(cmd *exec.Cmd, lifeline *os.File){
		"lifeline": func(_ *exec.Cmd, lifeline *os.File) { lifeline.Close() },
		"SIGTERM":  func(cmd *exec.Cmd, _ *os.File) { cmd.Process.Signal(unix.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, "TestOrphan")
			set, _ := b.sets(b.tests[0], stock)
			lifeR, lifeW, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer lifeW.Close()
			reportR, reportW, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer reportR.Close()
			cmd := exec.Command(os.Args[0], set.test, "-test.run=^TestOrphan$")
			cmd.Env = append(os.Environ(), shimEnv+"=1h", "FAKE_HANG=1", "FAKE_DIR="+b.dir)
			cmd.ExtraFiles = []*os.File{lifeR, reportW}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lifeR.Close()
			reportW.Close()
			waitFor(t, func() bool { return exists(filepath.Join(b.dir, "orphan")) })
			main, child := readPid(t, filepath.Join(b.dir, "orphan")), readPid(t, filepath.Join(b.dir, "child"))
			if !alive(main) || !alive(child) {
				t.Fatal("nothing to end")
			}
			end(cmd, lifeW)
			var e ending
			if err := json.NewDecoder(reportR).Decode(&e); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if e.Exit != exitBySignal+int(unix.SIGKILL) || e.TimedOut {
				t.Errorf("ending %+v, want killed", e)
			}
			if alive(main) || alive(child) {
				t.Error("the test or what it started is still running")
			}
		})
	}
}

// TestShimLimit: a program that ignores its own limit is killed.
func TestShimLimit(t *testing.T) {
	l, err := newLauncher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	e, err := l.run(t.Context(), command{argv: []string{"/bin/sleep", "3600"}, limit: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if !e.TimedOut {
		t.Errorf("ending %+v, want timed out", e)
	}
	if o, _ := judgeRun(e, tally{top: passed}, test{suite: &suite{}}); o != failed {
		t.Errorf("outcome %s, want fail", o)
	}
}

func TestShimFaults(t *testing.T) {
	l, err := newLauncher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.run(t.Context(), command{argv: []string{"/does/not/exist"}, limit: time.Minute}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("error %v, want no such file", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.run(ctx, command{argv: []string{"/bin/true"}, limit: time.Minute}); err == nil {
		t.Error("ran although the context had ended")
	}
}

func TestExitCodes(t *testing.T) {
	l, err := newLauncher(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": exitBySignal + 15} {
		e, err := l.run(t.Context(), command{argv: []string{"/bin/sh", "-c", script}, limit: time.Minute})
		if err != nil || e.Exit != want {
			t.Errorf("%s: exit %d, %v; want %d", script, e.Exit, err, want)
		}
	}
}

func TestNetwork(t *testing.T) {
	b := newBench(t, "TestNetwork")
	if !b.launcher.isolated {
		needs.Refused(t, "tests run in the machine's own network", needs.NetNS())
	}
	b.with("FAKE_ADDRESS=" + ownAddress.String())
	b.cfg.kinds = []kind{stock}
	status, table := b.execute(t.Context())
	b.wantStatus(status, exitOK, table)
	b.wantRuns("stock pass fake.TestNetwork")

	text, _ := os.ReadFile("/etc/resolv.conf")
	if all := nameservers(string(text)); len(all) > 0 {
		b = newBench(t, "TestNameserver").with("FAKE_ADDRESS=" + all[0].String())
		b.cfg.kinds = []kind{stock}
		status, table := b.execute(t.Context())
		b.wantStatus(status, exitOK, table)
		b.wantRuns("stock pass fake.TestNameserver")
	}
}

func TestNameservers(t *testing.T) {
	got := nameservers("# nameserver 1.1.1.1\nsearch x\nnameserver 10.0.0.53\nnameserver  10.0.0.53 \nnameserver 127.0.0.53\nnameserver fe80::1\nnameserver\nnameserver 9.9.9.9")
	if fmt.Sprint(got) != "[10.0.0.53 9.9.9.9]" {
		t.Errorf("name servers %v", got)
	}
}

func TestCleanEnv(t *testing.T) {
	for _, name := range []string{"ETCD_NAME", "ETCDCTL_API", "ETCD_DV_MODE", "RAFTDV_X", "TMPDIR", "E2E_TEST_MINIMAL"} {
		t.Setenv(name, t.TempDir())
	}
	t.Setenv("KEPT", "1")
	env := cleanEnv()
	if !slices.Contains(env, "KEPT=1") {
		t.Error("KEPT is missing")
	}
	for _, kv := range env {
		for _, gone := range []string{"ETCD", "RAFTDV", "TMPDIR", "E2E"} {
			if strings.HasPrefix(kv, gone) {
				t.Errorf("%s is still there", kv)
			}
		}
	}
}
