package stream

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentBytes is what the kernel may queue before it has sent it: what waits
// there cannot be overtaken by a more urgent lane.
const unsentBytes = 128 << 10

// rawWriter writes to a socket without ever waiting.
type rawWriter struct {
	rc   syscall.RawConn
	b    []byte
	n    int
	err  error
	call func(fd uintptr) // made once, so that writes allocate nothing
}

func newRawWriter(c net.Conn) *rawWriter {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	w := &rawWriter{rc: rc}
	w.call = func(fd uintptr) {
		// MSG_DONTWAIT: whatever the mode of the descriptor is, this does not
		// block.
		w.n, w.err = unix.SendmsgN(int(fd), w.b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	}
	return w
}

// write returns how much the kernel took; nothing is no error. It goes through
// Control, because deadlines that a wrapper has set for its own writes are none
// for this one. Nobody else may write at the same time.
func (w *rawWriter) write(b []byte) (int, error) {
	w.b, w.n, w.err = b, 0, nil
	err := w.rc.Control(w.call)
	w.b = nil
	switch {
	case err != nil:
		return 0, err
	case w.err == unix.EAGAIN || w.err == unix.EINTR || w.err == unix.ENOBUFS:
		return 0, nil
	}
	return max(w.n, 0), w.err
}

// tune bounds what the kernel queues. It is an optimisation: where it fails,
// the lanes' windows are the bound.
func tune(c net.Conn) {
	t, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if rc, err := t.SyscallConn(); err == nil {
		_ = rc.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentBytes)
		})
	}
}
