//go:build !linux

package shm

import (
	"net"
	"os"
)

type event int

// There is no port here: takePlace says so, and nothing else is ever called.

func takePlace(*Config) (*place, error) { return nil, ErrUnsupported }

func newMemory(string, int) (*memory, error)       { return nil, ErrUnsupported }
func openMemory(int, int) (*memory, error)         { return nil, ErrUnsupported }
func (*memory) closeFile()                         {}
func (*memory) release()                           {}
func newEvent() (event, *os.File, error)           { return -1, nil, ErrUnsupported }
func openEvent(int) (event, error)                 { return -1, ErrUnsupported }
func (event) set()                                 {}
func (event) close()                               {}
func checkUser(*net.UnixConn) error                { return ErrUnsupported }
func send(*net.UnixConn, []byte, ...int) error     { return ErrUnsupported }
func receive(*net.UnixConn) ([]byte, []int, error) { return nil, nil, ErrUnsupported }
func closeAll([]int)                               {}
