package shm

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxFiles bounds the descriptors of one message: more than are wanted.
const maxFiles = wantedFiles + 2

// takePlace prepares the directory and listens at this member's place in it. What
// a killed process has left there is replaced: the lock went with it.
func takePlace(cfg *Config) (*place, error) {
	if err := checkDir(cfg.Dir); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(cfg.Dir, cfg.Self.String()+".lock"), os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDirectory, err)
	}
	at := &place{path: socketPath(cfg.Dir, cfg.Self), lock: lock}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: %s", ErrInUse, lock.Name())
		}
		return nil, fmt.Errorf("%w: lock %s: %w", ErrDirectory, lock.Name(), err)
	}
	if err := os.Remove(at.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		lock.Close()
		return nil, fmt.Errorf("%w: %w", ErrDirectory, err)
	}
	if at.l, err = net.ListenUnix("unixpacket", &net.UnixAddr{Name: at.path, Net: "unixpacket"}); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%w: %w", ErrDirectory, err)
	}
	at.l.SetUnlinkOnClose(false)
	if err := os.Chmod(at.path, 0o600); err != nil {
		at.leave(true)
		return nil, fmt.Errorf("%w: %w", ErrDirectory, err)
	}
	return at, nil
}

// checkDir makes the directory if need be, and refuses one that others can
// reach.
func checkDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("%w: %w", ErrDirectory, err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDirectory, dir, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("%w: %s is not a directory itself (a link?)", ErrDirectory, dir)
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%w: %s belongs to user %d, this process runs as %d; give each user a directory of its own", ErrDirectory, dir, st.Uid, os.Geteuid())
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%w: %s has mode %#o; chmod it to 0700", ErrDirectory, dir, st.Mode&0o777)
	}
	return nil
}

// checkUser refuses a connection to a process of another user.
func checkUser(conn *net.UnixConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		cred, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("%w: who is it: %w", ErrForeignUser, failed)
	}
	if int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("%w: process %d of user %d, this one runs as %d", ErrForeignUser, cred.Pid, cred.Uid, os.Geteuid())
	}
	return nil
}

// send sends a message and descriptors.
func send(conn *net.UnixConn, b []byte, fds ...int) error {
	_, _, err := conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	return err
}

// receive takes one message and its descriptors, which the caller closes, also
// after an error.
func receive(conn *net.UnixConn) (b []byte, fds []int, err error) {
	b = make([]byte, helloLen+maxRefusal)
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, oobn, flags, _, err := conn.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrHungUp, err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrBadHello, err)
	}
	for i := range messages {
		got, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return nil, fds, fmt.Errorf("%w: %w", ErrBadHello, err)
		}
		fds = append(fds, got...)
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return nil, fds, fmt.Errorf("%w: longer than any member writes", ErrBadHello)
	}
	return b[:n], fds, nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
