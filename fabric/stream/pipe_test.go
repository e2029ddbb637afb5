package stream

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// bufferedPipe is a net.Pipe that takes some bytes before it blocks, as sockets
// do. Deadlines do nothing.
func bufferedPipe() (near, far net.Conn) {
	a, b := newPipeEnd(), newPipeEnd()
	return &pipeConn{in: a, out: b}, &pipeConn{in: b, out: a}
}

// slowPipe is a link with a rate in bytes/s, a delay one way, and a long queue
// in front of it, as proxies and large socket buffers make it.
func slowPipe(rate int, delay time.Duration) (near, far net.Conn) {
	var ends [2][2]*pipeEnd // by direction: in front of and behind the bottleneck
	for i := range ends {
		front, back := newPipeEnd(), newPipeEnd()
		ends[i] = [2]*pipeEnd{front, back}
		go front.trickle(back, rate, delay)
	}
	return &pipeConn{out: ends[0][0], in: ends[1][1]}, &pipeConn{out: ends[1][0], in: ends[0][1]}
}

// trickle moves what is written to e to another end, no faster than rate.
func (e *pipeEnd) trickle(to *pipeEnd, rate int, delay time.Duration) {
	for {
		select {
		case b := <-e.writes:
			time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(rate))
			time.AfterFunc(delay, func() { // in order: virtual time has no ties that matter
				select {
				case to.writes <- b:
				default: // nobody reads any more
				}
			})
		case <-e.ended:
			to.end()
			return
		case <-to.ended:
			e.end()
			return
		}
	}
}

const pipeChunks = 4096 // writes that fit

// pipeEnd is one direction. Channels alone, so that a bubble knows who waits.
type pipeEnd struct {
	writes chan []byte
	ended  chan struct{}
	once   sync.Once
}

func newPipeEnd() *pipeEnd {
	return &pipeEnd{writes: make(chan []byte, pipeChunks), ended: make(chan struct{})}
}

func (e *pipeEnd) end() { e.once.Do(func() { close(e.ended) }) }

type pipeConn struct {
	net.Conn // nil: what is not overridden is not used
	in, out  *pipeEnd
	rest     []byte
}

func (c *pipeConn) Read(b []byte) (int, error) {
	if len(c.rest) == 0 {
		select {
		case c.rest = <-c.in.writes:
		case <-c.in.ended:
			select {
			case c.rest = <-c.in.writes:
			default:
				return 0, io.EOF
			}
		}
	}
	n := copy(b, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *pipeConn) Write(b []byte) (int, error) {
	select {
	case <-c.out.ended:
		return 0, io.ErrClosedPipe
	default:
	}
	select {
	case c.out.writes <- bytes.Clone(b):
		return len(b), nil
	case <-c.out.ended:
		return 0, io.ErrClosedPipe
	}
}

func (c *pipeConn) Close() error {
	c.in.end()
	c.out.end()
	return nil
}
