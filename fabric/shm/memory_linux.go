package shm

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// seals keep everybody from changing the size. Without them a peer could cut
// the memory off, and the next access would end this process (SIGBUS).
const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// newMemory makes memory of a size, all zero. No file system holds it: it lives
// as long as somebody maps it or holds a descriptor.
func newMemory(name string, size int) (*memory, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) { // a kernel before 6.3
		fd, err = unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	m := &memory{fd: fd}
	if err = unix.Ftruncate(fd, int64(size)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err == nil {
		m.b, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		m.release()
		return nil, fmt.Errorf("%d bytes of shared memory: %w", size, err)
	}
	return m, nil
}

// openMemory maps what a peer has made, of exactly a size, and closes fd.
func openMemory(fd, size int) (*memory, error) {
	m := &memory{fd: fd}
	defer m.closeFile()
	got, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: not a memfd: %w", ErrBadMemory, err)
	}
	if got&seals != seals {
		return nil, fmt.Errorf("%w: its size is not sealed (seals %#x)", ErrBadMemory, got)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadMemory, err)
	}
	if st.Size != int64(size) {
		return nil, fmt.Errorf("%w: %d bytes, want %d", ErrBadMemory, st.Size, size)
	}
	if m.b, err = unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("%w: cannot be mapped: %w", ErrBadMemory, err)
	}
	return m, nil
}

// closeFile gives up the descriptor; the mapping stays.
func (m *memory) closeFile() {
	if m.fd >= 0 {
		unix.Close(m.fd)
		m.fd = -1
	}
}

// release gives up mapping and descriptor.
func (m *memory) release() {
	m.closeFile()
	if m.b != nil {
		// Fails only for what was never mapped.
		_ = unix.Munmap(m.b)
		m.b = nil
	}
}
