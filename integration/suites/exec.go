package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// shimGrace is how long the shim has to clean up before it is killed.
	shimGrace = 20 * time.Second
	// dumpGrace lets a test that is too slow print its goroutines.
	dumpGrace = 15 * time.Second
)

// A launcher runs programs below a shim, each in a network namespace of its
// own where the machine allows it.
type launcher struct {
	self     string // this program
	isolated bool
}

func newLauncher(ctx context.Context) (*launcher, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	l := &launcher{self: self, isolated: true}
	if _, err := l.run(ctx, command{limit: time.Minute}); err != nil {
		l.isolated = false
		_, err = l.run(ctx, command{limit: time.Minute})
		return l, err
	}
	return l, nil
}

// A command is what to run, where, and for how long at most.
type command struct {
	argv  []string
	dir   string
	env   []string
	limit time.Duration
	log   *os.File // of both outputs
}

// run returns how the program ended. Nothing of it is left. An error means
// that it was not run, or not to its end because ctx ended.
func (l *launcher) run(ctx context.Context, c command) (ending, error) {
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return ending{}, err
	}
	defer lifeW.Close()
	reportR, reportW, err := os.Pipe()
	if err != nil {
		lifeR.Close()
		return ending{}, err
	}
	defer reportR.Close()
	cmd := exec.CommandContext(ctx, l.self, c.argv...)
	cmd.Dir = c.dir
	cmd.Env = append(c.env, fmt.Sprintf("%s=%v", shimEnv, c.limit))
	if l.isolated {
		cmd.Env = append(cmd.Env, shimNetEnv+"=1")
	}
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.ExtraFiles = []*os.File{lifeR, reportW}
	cmd.SysProcAttr = l.attributes()
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = shimGrace
	err = cmd.Start()
	lifeR.Close()
	reportW.Close()
	if err != nil {
		return ending{}, err
	}
	var e ending
	derr := json.NewDecoder(reportR).Decode(&e)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return e, context.Cause(ctx)
	case derr != nil:
		return e, fmt.Errorf("the shim reported nothing: %w", errors.Join(derr, err))
	case e.Fault != "":
		return e, errors.New(e.Fault)
	}
	return e, nil
}

// attributes puts the shim into a process group, out of reach of a terminal's
// Ctrl-C, and into namespaces. Without privileges a user namespace gives the
// right to the others.
func (l *launcher) attributes() *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setpgid: true}
	if !l.isolated {
		return a
	}
	a.Cloneflags = unix.CLONE_NEWNET
	if uid := os.Getuid(); uid != 0 {
		a.Cloneflags |= unix.CLONE_NEWUSER
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}}
	}
	return a
}

// cleanEnv is this process's environment without what configures an etcd or
// our own settings.
func cleanEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		switch {
		case strings.HasPrefix(kv, "ETCD_"), strings.HasPrefix(kv, "ETCDCTL_"), strings.HasPrefix(kv, "RAFTDV_"):
		case strings.HasPrefix(kv, "TMPDIR="), strings.HasPrefix(kv, "E2E_TEST_MINIMAL="):
		default:
			env = append(env, kv)
		}
	}
	return env
}
