package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A process is one run of a member.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and was waited for
	err  error         // how it ended; read after done
}

// startProcess starts a program that ends when this one does.
//
// The kernel delivers the parent's death by thread, so the thread that starts
// the process must live as long as it: the goroutine that waits holds it.
func startProcess(path string, args, env []string, logPath string) (*process, error) {
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = env, log, log
	// A group of its own keeps a terminal's Ctrl-C away from the members.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer log.Close()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// signal sends sig; os.ErrProcessDone if the process has ended.
func (p *process) signal(sig syscall.Signal) error { return p.cmd.Process.Signal(sig) }

// end sends sig and waits for the process to end; what is still there after
// grace is killed.
func (p *process) end(sig syscall.Signal, grace time.Duration) {
	if p.signal(sig) != nil {
		return
	}
	if sig != syscall.SIGKILL {
		// A paused process acts on a signal only when it runs.
		p.signal(syscall.SIGCONT)
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case <-p.done:
			return
		case <-t.C:
			p.signal(syscall.SIGKILL)
		}
	}
	<-p.done
}

func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}
