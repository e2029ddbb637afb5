//go:build !linux

package shm

import (
	"net"
	"sync/atomic"
	"time"
)

// There is no port here: takePlace says so, and nothing else is ever called.

func takePlace(*Config) (*place, error) { return nil, ErrUnsupported }

func newMemory(string, int) (*memory, error)          { return nil, ErrUnsupported }
func openMemory(int, int) (*memory, error)            { return nil, ErrUnsupported }
func (*memory) closeFile()                            {}
func (*memory) release()                              {}
func futexWait(*atomic.Uint32, uint32, time.Duration) {}
func futexWake(*atomic.Uint32)                        {}
func checkUser(*net.UnixConn) error                   { return ErrUnsupported }
func send(*net.UnixConn, []byte, ...int) error        { return ErrUnsupported }
func receive(*net.UnixConn) ([]byte, []int, error)    { return nil, nil, ErrUnsupported }
func closeAll([]int)                                  {}
