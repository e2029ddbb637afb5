//go:build !race

package stream

import (
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// TestNoRaceSendAllocations: the race detector makes pools forget.
func TestNoRaceSendAllocations(t *testing.T) {
	p := newTestPort(t, Config{TicketTimeout: time.Hour, IdleTimeout: time.Hour}, &recorder{})
	if _, err := p.AttachSend(mate, Session{PeerIncarnation: 1}, &sink{closed: make(chan struct{})}, nil); err != nil {
		t.Fatal(err)
	}
	batch := benchBatch([]fabric.MemberID{mate}, 4)
	c := p.peer(mate).send.Load()
	n := testing.AllocsPerRun(200, func() {
		mustSend(t, p, batch...)
		c.mu.Lock()
		c.lanes[fabric.LaneAppend].release(c.lanes[fabric.LaneAppend].taken, 1000, func(*entry) {}) // as acks do
		c.mu.Unlock()
	})
	if n > 0.5 { // pools are emptied now and then
		t.Errorf("Send of %d frames allocates %v times", len(batch), n)
	}
}
