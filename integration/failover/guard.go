package failover

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// guardTimeout bounds how long a guard may take to do its work.
const guardTimeout = 20 * time.Second

// A guard is a process that does something when its input ends: when it is
// closed, or when this process ends, whatever ends it.
type guard struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr bytes.Buffer
}

// newGuard runs a command that says "ready" and then waits for its input to end.
func newGuard(args ...string) (*guard, error) {
	g := &guard{cmd: exec.Command(args[0], args[1:]...)}
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
		closed := g.close()
		return nil, fmt.Errorf("%s is not ready: %v: %v", args[0], err, closed)
	}
	return g, nil
}

func (g *guard) pid() int { return g.cmd.Process.Pid }

// close lets the guard do its work and waits for it.
func (g *guard) close() error {
	g.stdin.Close()
	late := time.AfterFunc(guardTimeout, func() { g.cmd.Process.Kill() })
	defer late.Stop()
	if err := g.cmd.Wait(); err != nil {
		return fmt.Errorf("guard %s: %w: %s", g.cmd.Args[len(g.cmd.Args)-1], err, bytes.TrimSpace(g.stderr.Bytes()))
	}
	return nil
}
