package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// asMain makes this test program raftdv.
const asMain = "RAFTDV_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// raftdvCommand is a process of raftdv, in dir.
func raftdvCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), me, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), asMain+"=1")
	return cmd
}

// ended is how a process ended, and what it said.
type ended struct {
	code           int
	stdout, stderr string
}

func runRaftdv(t *testing.T, dir string, args ...string) ended {
	t.Helper()
	return end(t, raftdvCommand(t, dir, args...))
}

func end(t *testing.T, cmd *exec.Cmd) ended {
	t.Helper()
	return begin(t, cmd)()
}

// begin starts a process; what it returns waits for its end.
func begin(t *testing.T, cmd *exec.Cmd) (wait func() ended) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return func() ended {
		t.Helper()
		err := cmd.Wait()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return ended{exit.ExitCode(), out.String(), errs.String()}
		}
		if err != nil {
			t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
		}
		return ended{0, out.String(), errs.String()}
	}
}
