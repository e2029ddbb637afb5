//go:build !linux

package stream

import (
	"errors"
	"net"
)

// rawWriter does not exist here: all writes are the writer goroutine's.
type rawWriter struct{}

func newRawWriter(net.Conn) *rawWriter { return nil }

func (*rawWriter) write([]byte) (int, error) { return 0, errors.ErrUnsupported }

func tune(net.Conn) {}
