//go:build linux

package shm

import (
	"runtime"
	"syscall"
)

// asUser calls f as another user, on a thread of its own.
func asUser(uid int, f func() error) error {
	runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
	if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
		return errno
	}
	return f()
}
