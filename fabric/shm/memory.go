package shm

import (
	"sync/atomic"
	"unsafe"
)

// memory is mapped memory that several processes have. Whoever else maps it
// may change it at any time: words are loaded and stored atomically, bytes are
// copied before anything is concluded from them.
type memory struct {
	b []byte
	// fd is -1 once it is not needed any more: the mapping keeps the memory.
	fd int
}

// word64 is the word at an offset, which is a multiple of 8.
func word64(b []byte, off int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(b[off : off+8])))
}

// word32 is the word at an offset, which is a multiple of 4.
func word32(b []byte, off int) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(b[off : off+4])))
}
