package stream

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// acker writes the acks of one connection.
type acker struct {
	c     *recvConn
	timer *time.Timer
	busy  atomic.Int64 // when the write that runs began; 0: none runs

	mu      sync.Mutex // guards the fields below
	ready   ack        // what may be acked
	sent    ack        // what was acked
	every   [fabric.Lanes]laneOpening
	armed   bool   // the timer fires within AckDelay
	last    int64  // when the last write began
	due     bool   // an ack is to be written
	number  uint64 // of the keep-alive to be sent back; 0: none
	writing bool   // somebody writes, and goes on until nothing is due
	failed  bool

	frame fabric.Header // the writer's, like what follows
	body  []byte
	out   []byte
}

func (a *acker) init(c *recvConn) {
	a.c = c
	a.timer = time.NewTimer(c.p.cfg.KeepAlive)
	a.frame.Has = c.session.protection()
}

// open learns the sender's bounds: it must not wait for acks in vain.
func (a *acker) open(o *opening) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for l := range o.lane {
		a.every[l] = laneOpening{window: min(ackEvery, max(1, o.lane[l].window/4)), frames: max(1, o.lane[l].frames/8)}
		a.sent.lane[l].next = o.lane[l].next
	}
}

// update takes what may be acked from now on. It is acked at once if the sender
// may be about to run out of window, else after AckDelay.
func (a *acker) update(ready *ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ready == *ready {
		return
	}
	a.ready = *ready
	urgent := ready.rows-a.sent.rows >= rowAckEvery
	for l := range a.every {
		now, sent, every := &ready.lane[l], &a.sent.lane[l], &a.every[l]
		urgent = urgent || now.bytes-sent.bytes >= every.window || now.next-sent.next >= every.frames
	}
	switch {
	case urgent:
		a.write()
	case !a.armed:
		a.armed = true
		a.timer.Reset(a.c.p.cfg.AckDelay)
	}
}

// echo sends a keep-alive back.
func (a *acker) echo(number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.number = number
	a.write()
}

// write sends acks until none is due; if somebody else does, it leaves it to
// him. mu is held, but not while it writes.
func (a *acker) write() {
	a.due = true
	if a.writing {
		return
	}
	a.writing = true
	for a.due && !a.failed {
		a.encode()
		a.mu.Unlock()
		a.busy.Store(a.c.p.now())
		n, err := a.c.conn.Write(a.out)
		a.busy.Store(0)
		a.c.q.stats.bytesSent.Add(uint64(n))
		if err != nil {
			a.c.fail(err)
		}
		a.mu.Lock()
		a.failed = err != nil
	}
	a.writing = false
}

// encode puts together what is due. mu is held.
func (a *acker) encode() {
	a.due, a.sent, a.last = false, a.ready, a.c.p.now()
	a.frame.Kind = fabric.KindAck
	a.body = a.ready.append(a.body[:0])
	a.out = fabric.AppendFrame(a.out[:0], &a.frame, nil, a.body)
	if a.number != 0 {
		a.frame.Kind = fabric.KindKeepalive
		a.body = binary.LittleEndian.AppendUint64(a.body[:0], a.number)
		a.out = fabric.AppendFrame(a.out, &a.frame, nil, a.body)
		a.number = 0
	}
}

// ackLoop writes the acks that have waited long enough, and something now and
// then while the reader is in the handler.
func (c *recvConn) ackLoop() {
	defer close(c.ackDone)
	defer c.acks.timer.Stop()
	for {
		select {
		case <-c.acks.timer.C:
		case <-c.stop:
			return
		}
		c.acks.onTimer()
	}
}

func (a *acker) onTimer() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.armed = false
	if a.sent != a.ready || a.silent(a.c.p.now()) {
		a.write()
	}
}

// silent reports whether it is time for a sign of life. mu is held.
func (a *acker) silent(now int64) bool { return now-a.last > int64(a.c.p.cfg.KeepAlive) }

// tick has a sign of life written if the reader, which sends keep-alives back,
// is in the handler.
func (a *acker) tick(now int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.armed && !a.writing && a.silent(now) {
		a.armed = true
		a.timer.Reset(0)
	}
}
