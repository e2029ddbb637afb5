package stream

import (
	"net"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// sink takes all that is written and never has anything to read.
type sink struct {
	net.Conn
	closed chan struct{}
}

func (s *sink) Read([]byte) (int, error)    { <-s.closed; return 0, net.ErrClosed }
func (s *sink) Write(b []byte) (int, error) { return len(b), nil }
func (s *sink) Close() error                { close(s.closed); return nil }

func TestReceiveDoesNotAllocate(t *testing.T) {
	p, err := New(Config{Self: self, Incarnation: 1}, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.AddPeer(mate)
	q := p.peer(mate)
	c := newRecvConn(q, Session{PeerIncarnation: 1}, &sink{closed: make(chan struct{})}, nil)
	w := &wire{}
	link := uint64(1)
	feed := func(b []byte) {
		c.w += copy(c.buf[c.w:], b)
		if err := c.takeIn(true); err != nil {
			t.Fatal(err)
		}
	}
	feed(w.encode(fabric.KindCredit, 0, 0, opens(1)))
	h := fabric.Header{Kind: fabric.KindData, Lane: fabric.LaneAppend}
	var b []byte
	body, patch := make([]byte, benchBody), make([]byte, benchPatch)
	n := testing.AllocsPerRun(100, func() {
		b = b[:0]
		for range 100 {
			h.Link = link
			link++
			b = fabric.AppendFrame(b, &h, patch, body)
		}
		feed(b)
	})
	if got := q.stats.lane[fabric.LaneAppend].delivered.Load(); got != link-1 {
		t.Fatalf("%d frames delivered of %d", got, link-1)
	}
	if n > 1 {
		t.Errorf("100 frames taken in allocate %v times", n)
	}
}
