package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A test runs below a shim: this program again, as the reaper of everything
// that the test starts. etcd's tests give each server a session of its own,
// so that no process group and no closed terminal reaches all of them; but
// orphans are handed to the shim, which kills them by process id.
//
// The shim ends what is below it when the test ends, when its limit has
// passed, when it is told to (SIGTERM), and when the tool is gone, however it
// went (end of file on lifelineFD).

const (
	shimEnv      = "RAFTDV_SUITES_SHIM" // the limit of the test
	shimNetEnv   = "RAFTDV_SUITES_NET"  // set: bring up the network namespace
	lifelineFD   = 3
	reportFD     = 4
	exitShim     = 125 // the shim itself failed
	exitBySignal = 128 // plus the signal
)

// An ending is how a test's process ended. The shim reports it.
type ending struct {
	Exit     int      `json:"exit"`
	TimedOut bool     `json:"timed_out,omitempty"`
	Left     []string `json:"left,omitempty"` // programs that the test left running
	Fault    string   `json:"fault,omitempty"`
}

// shim runs argv and returns when nothing is left of it.
func shim(argv []string) int {
	var e ending
	if err := runShim(argv, &e); err != nil {
		e.Exit, e.Fault = exitShim, err.Error()
	}
	json.NewEncoder(os.NewFile(reportFD, "report")).Encode(e)
	return e.Exit
}

func runShim(argv []string, e *ending) error {
	limit, err := time.ParseDuration(os.Getenv(shimEnv))
	if err != nil {
		return err
	}
	if os.Getenv(shimNetEnv) != "" {
		if err := bringUpNetwork(); err != nil {
			return fmt.Errorf("network namespace: %w", err)
		}
	}
	os.Unsetenv(shimEnv)
	os.Unsetenv(shimNetEnv)
	if len(argv) == 0 {
		return nil // asked only whether it works
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	p, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Files: []*os.File{null, os.Stdout, os.Stderr},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return err
	}
	var late atomic.Bool
	go func() {
		late.Store(waitForEnd(limit))
		unix.Kill(-p.Pid, unix.SIGKILL)
		unix.Kill(p.Pid, unix.SIGKILL)
	}()
	reap(p.Pid, e)
	e.TimedOut = late.Load()
	return nil
}

// waitForEnd returns when the test must end before it is done, and whether
// its limit is the reason.
func waitForEnd(limit time.Duration) (timedOut bool) {
	told := make(chan os.Signal, 1)
	signal.Notify(told, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	gone := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.NewFile(lifelineFD, "lifeline"))
		close(gone)
	}()
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-told:
	case <-gone:
	case <-t.C:
		return true
	}
	return false
}

// reap waits for the main process and then for everything else, which it
// kills. What dies hands its own children to us, so each end is followed by
// another look.
func reap(main int, e *ending) {
	ended := false
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return // ECHILD: nothing is left
		}
		if pid == main {
			ended = true
			e.Exit = exitCode(ws)
			e.Left = names(children())
		}
		if ended {
			for _, c := range children() {
				unix.Kill(c, unix.SIGKILL)
			}
		}
	}
}

func exitCode(ws unix.WaitStatus) int {
	if ws.Signaled() {
		return exitBySignal + int(ws.Signal())
	}
	return ws.ExitStatus()
}

// children returns our child processes.
func children() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	self := os.Getpid()
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err == nil && parent(pid) == self {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parent returns the parent of a process that has not ended, or 0.
func parent(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything.
	_, rest, _ := strings.Cut(string(text[bytes.LastIndexByte(text, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 2 || fields[0] == "Z" {
		return 0
	}
	ppid, _ := strconv.Atoi(fields[1])
	return ppid
}

func names(pids []int) []string {
	var all []string
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil {
			all = append(all, strings.TrimSpace(string(text)))
		}
	}
	return all
}
