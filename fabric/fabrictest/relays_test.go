package fabrictest

import (
	"net"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// TestRelaysCloseWhileDialling: a connection that is dialled while the relays close
// ends with them, though its direction is cut.
func TestRelaysCloseWhileDialling(t *testing.T) {
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	far := listen()
	dialling, closing := make(chan struct{}), make(chan struct{})
	s := NewRelays(func(fabric.MemberID) net.Addr {
		close(dialling)
		<-closing
		return far.Addr()
	})
	s.Add(1, 2, listen())
	s.Cut(1, 2)
	s.Cut(2, 1)
	near, err := net.Dial("tcp", s.Addr(1, 2).String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	if _, err := near.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	<-dialling
	r := s.list()[0]
	done := make(chan struct{})
	go func() { s.Close(); close(done) }()
	for { // until Close has been at the connections that there were
		r.mu.Lock()
		closed := r.closed
		r.mu.Unlock()
		if closed {
			break
		}
	}
	close(closing)
	<-done // hangs if the connection outlives them
}
