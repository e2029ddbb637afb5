package packaging

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// SyscallFilter writes a profile for a container runtime that allows what a
// unit with SystemCallFilter=set may call, and ends a process that calls
// anything else, as systemd does.
func SyscallFilter(ctx context.Context, set, path string) error {
	calls, err := syscallsOf(ctx, set)
	if err != nil {
		return err
	}
	type rule struct {
		Names  []string `json:"names"`
		Action string   `json:"action"`
	}
	text, err := json.Marshal(struct {
		DefaultAction string   `json:"defaultAction"`
		Architectures []string `json:"architectures,omitempty"`
		Syscalls      []rule   `json:"syscalls"`
	}{"SCMP_ACT_KILL_PROCESS", nil, []rule{{calls, "SCMP_ACT_ALLOW"}}})
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// syscallsOf asks systemd which calls a set has; sets may have sets.
func syscallsOf(ctx context.Context, set string) (calls []string, err error) {
	out, err := exec.CommandContext(ctx, "systemd-analyze", "syscall-filter", set).Output()
	if err != nil {
		return nil, fmt.Errorf("systemd-analyze syscall-filter %s: %w", set, err)
	}
	for line := range strings.Lines(string(out)) {
		switch name := strings.TrimSpace(line); {
		case name == "" || name == set || strings.HasPrefix(name, "#"):
		case strings.HasPrefix(name, "@"):
			more, err := syscallsOf(ctx, name)
			if err != nil {
				return nil, err
			}
			calls = append(calls, more...)
		default:
			calls = append(calls, name)
		}
	}
	return calls, nil
}
