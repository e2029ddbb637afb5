package storm

import (
	"os/exec"
	"syscall"
)

// detach keeps a terminal's Ctrl-C away from a worker: it is to finish its trial.
func detach(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
