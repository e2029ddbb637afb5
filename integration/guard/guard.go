package guard

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// closeTimeout bounds how long a guard may take to do its work.
const closeTimeout = 20 * time.Second

// ErrNotHere is returned for what this machine or user cannot make.
var ErrNotHere = errors.New("cannot be had here")

// Need returns ErrNotHere without root or one of the programs.
func Need(what string, programs ...string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s %w: it needs root", what, ErrNotHere)
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return fmt.Errorf("%s %w: %w", what, ErrNotHere, err)
		}
	}
	return nil
}

// A Guard is a process that does something when its input ends: when it is
// closed, or when this process ends, whatever ends it.
type Guard struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
}

// New runs a command that says "ready" and then waits for its input to end.
func New(args ...string) (*Guard, error) {
	g := &Guard{cmd: exec.Command(args[0], args[1:]...)}
	var err error
	if g.stdin, err = g.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := g.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	g.cmd.Stderr = &g.stderr
	// A group of its own keeps a terminal's Ctrl-C away from it.
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := g.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		closed := g.Close()
		return nil, fmt.Errorf("%s is not ready: %v: %v", args[0], err, closed)
	}
	return g, nil
}

// Pid is the process id of the guard.
func (g *Guard) Pid() int { return g.cmd.Process.Pid }

// Tellf writes a line to the guard's input, for one that does more than wait for
// its end.
func (g *Guard) Tellf(format string, args ...any) error {
	_, err := fmt.Fprintf(g.stdin, format+"\n", args...)
	return err
}

// Close lets the guard do its work and waits for it.
func (g *Guard) Close() error {
	g.stdin.Close()
	late := time.AfterFunc(closeTimeout, func() { g.cmd.Process.Kill() })
	defer late.Stop()
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("guard %s: %w: %s", g.cmd.Args[len(g.cmd.Args)-1], err, bytes.TrimSpace(g.stderr.Bytes()))
	}
	return nil
}
