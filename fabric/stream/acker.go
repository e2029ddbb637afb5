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

	mu     sync.Mutex // guards the fields below, and writing
	ready  ack        // what may be acked
	sent   ack        // what was acked
	every  [fabric.Lanes]laneOpening
	armed  bool  // the timer fires within AckDelay
	last   int64 // when the last write began
	frame  fabric.Header
	body   []byte
	out    []byte
	closed bool
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
		a.every[l] = laneOpening{window: max(1, o.lane[l].window/4), frames: max(1, o.lane[l].frames/8)}
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
		a.write(0)
	case !a.armed:
		a.armed = true
		a.timer.Reset(a.c.p.cfg.AckDelay)
	}
}

func (a *acker) echo(number uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.write(number)
}

// write sends an ack, and a keep-alive back if its number is not 0. mu is held.
func (a *acker) write(number uint64) {
	if a.closed {
		return
	}
	a.sent = a.ready
	a.frame.Kind = fabric.KindAck
	a.body = a.ready.append(a.body[:0])
	a.out = fabric.AppendFrame(a.out[:0], &a.frame, nil, a.body)
	if number != 0 {
		a.frame.Kind = fabric.KindKeepalive
		a.body = binary.LittleEndian.AppendUint64(a.body[:0], number)
		a.out = fabric.AppendFrame(a.out, &a.frame, nil, a.body)
	}
	a.last = a.c.p.now()
	a.busy.Store(a.last)
	n, err := a.c.conn.Write(a.out)
	a.busy.Store(0)
	a.c.q.stats.bytesSent.Add(uint64(n))
	if err != nil {
		a.closed = true
		a.c.fail(err)
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
	keepAlive := a.c.p.cfg.KeepAlive
	a.mu.Lock()
	defer a.mu.Unlock()
	a.armed = false
	if a.sent != a.ready || a.c.p.now()-a.last > int64(keepAlive/2) {
		a.write(0)
	}
	a.timer.Reset(keepAlive)
}
