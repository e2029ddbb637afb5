package shm

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// event is a descriptor of an eventfd: what wakes the owner of a doorbell. It is
// watched by Go's poller. A futex, which needs no descriptor, was slower by half
// where it counts: a goroutine that waits in futex(2) holds a thread, and each
// time that it is woken the kernel and then Go's scheduler have to find a
// processor for that thread: 44,000 switches between threads for 800,000
// deliveries, against 10,000.
type event int

// newEvent makes an event. Closing the file closes it.
func newEvent() (event, *os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return -1, nil, fmt.Errorf("eventfd: %w", err)
	}
	return event(fd), os.NewFile(uintptr(fd), "dv-bell"), nil
}

// openEvent takes a descriptor that a peer has sent. It makes sure that setting
// the event cannot block, whatever the descriptor is.
func openEvent(fd int) (event, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	if err == nil && st.Mode&unix.S_IFMT != 0 {
		err = fmt.Errorf("mode %#o", st.Mode)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("%w: not an event: %w", ErrBadMemory, err)
	}
	return event(fd), nil
}

// one is what an eventfd is set with.
var one = uint64(1)

// set wakes the owner. It fails if the owner has not looked for a long time,
// which then has reason enough to wake.
func (e event) set() {
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(e), uintptr(unsafe.Pointer(&one)), unsafe.Sizeof(one))
}

func (e event) close() { unix.Close(int(e)) }
