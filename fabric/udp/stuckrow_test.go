package udp

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// rowBlocker is a handler that does not come back from the rows of one member.
type rowBlocker struct {
	*recorder
	of      fabric.MemberID
	gate    chan struct{}
	release func() // opens the gate
}

func (h *rowBlocker) Row(from fabric.MemberID, row fabric.Row) {
	h.recorder.Row(from, row)
	if from == h.of {
		<-h.gate
	}
}

// While Row about one peer does not return, others are served.
func TestStuckRowHandler(t *testing.T) {
	h := stuckInRow(t, time.Millisecond)
	h.await(t, "the frame of the other peer", func() bool { return h.byPeer[3] == 1 })
}

// The control: a port that does not notice serves nobody until Row returns.
func TestStuckRowHandlerUnnoticed(t *testing.T) {
	h := stuckInRow(t, time.Hour)
	time.Sleep(100 * time.Millisecond) // too short a time shows nothing, and breaks nothing
	h.mu.Lock()
	served := h.byPeer[3]
	h.mu.Unlock()
	if served > 0 {
		t.Error("a frame of another peer was delivered: TestStuckRowHandler shows nothing")
	}
	h.release()
	h.await(t, "the frame of the other peer", func() bool { return h.byPeer[3] == 1 })
}

// stuckInRow starts a port whose handler does not come back from a row of member
// 2, until it is released, and has member 3 send a frame.
func stuckInRow(t *testing.T, after time.Duration) *rowBlocker {
	h := &rowBlocker{recorder: newRecorder(), of: 2, gate: make(chan struct{})}
	h.release = sync.OnceFunc(func() { close(h.gate) })
	center := mustPort(t, Config{Self: 1, Listen: "127.0.0.1:0", StuckAfter: after}, h, nil)
	t.Cleanup(func() {
		h.release()
		center.Close()
	})
	ports := map[fabric.MemberID]*Port{}
	for _, id := range []fabric.MemberID{2, 3} {
		r := newRecorder()
		ports[id] = mustPort(t, Config{Self: id, Listen: "127.0.0.1:0"}, r, nil)
		t.Cleanup(func() { ports[id].Close() })
		at, there := testKeys(1, id, 1, 1, 0, false)
		at.Addr, there.Addr = ports[id].LocalAddr(), center.LocalAddr()
		if err := errors.Join(center.Connect(id, at), ports[id].Connect(1, there)); err != nil {
			t.Fatal(err)
		}
		r.await(t, "up", r.isUp)
	}
	if err := ports[2].Publish(fabric.Row{Owner: 2, Incarnation: 1, Version: 1}, []fabric.MemberID{1}); err != nil {
		t.Fatal(err)
	}
	h.await(t, "the row", func() bool { return len(h.rows) == 1 })
	if err := ports[3].Send([]fabric.Outgoing{frameTo(1, fabric.LaneAppend, "hello", 1)}); err != nil {
		t.Fatal(err)
	}
	return h
}
