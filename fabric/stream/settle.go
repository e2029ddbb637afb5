package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/raftdv/dv/fabric"
)

// readAcks is the ack reader goroutine.
func (c *sendConn) readAcks(buffered []byte) {
	defer close(c.ackDone)
	buf := append(make([]byte, 0, ackBufferLen+len(buffered)), buffered...)
	for {
		rest, err := c.takeAcks(buf)
		if err != nil {
			c.fail(err)
			return
		}
		buf = buf[:copy(buf[:cap(buf)], rest)]
		n, err := c.conn.Read(buf[len(buf):cap(buf)])
		c.heard.Store(c.p.now())
		c.q.stats.bytesReceived.Add(uint64(n))
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil {
			c.fail(readError(err))
			return
		}
	}
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // the latter: within a record of TLS
		return ErrHungUp
	}
	return err
}

// takeAcks handles the frames in b and returns what is left.
func (c *sendConn) takeAcks(b []byte) (rest []byte, err error) {
	var f fabric.Frame
	var last ack
	acked := false
	for {
		b, err = c.session.parse(b, maxHopBody, &f)
		if err != nil {
			break
		}
		switch f.Kind {
		case fabric.KindAck:
			a, ok := parseAck(f.Body)
			if !ok || !a.follows(&last) {
				return b, ErrForgedAck
			}
			last, acked = a, true
		case fabric.KindKeepalive:
			err = c.echoed(f.Body)
		default:
			err = fmt.Errorf("%w %d among acks", ErrUnexpected, f.Kind)
		}
		if err != nil {
			return b, err
		}
	}
	if err != fabric.ErrShort { //nolint:errorlint // parse says so
		return b, err
	}
	if acked {
		return b, c.settle(&last)
	}
	return b, nil
}

// follows reports whether a may come after b.
func (a *ack) follows(b *ack) bool {
	for i := range a.lane {
		if a.lane[i].next < b.lane[i].next || a.lane[i].bytes < b.lane[i].bytes {
			return false
		}
	}
	return a.rows >= b.rows
}

// echoed takes back a keep-alive.
func (c *sendConn) echoed(body []byte) error {
	if len(body) != 8 {
		return fmt.Errorf("%w: keep-alive of %d bytes", ErrForgedAck, len(body))
	}
	sent := int64(binary.LittleEndian.Uint64(body))
	c.mu.Lock()
	defer c.mu.Unlock()
	if sent <= c.lastEcho || sent > c.lastProbe {
		return fmt.Errorf("%w: keep-alive that was not sent, or that came back before", ErrForgedAck)
	}
	c.lastEcho = sent
	rtt := time.Duration(max(c.p.now()-sent, 0))
	smooth(&c.q.stats.rtt, rtt)
	c.probed(rtt)
	return nil
}

// settle takes an ack: it frees credit and window and resolves tickets.
func (c *sendConn) settle(a *ack) error {
	for more := true; more; {
		c.mu.Lock()
		if c.failed != nil {
			c.mu.Unlock()
			return nil // the tickets are lost already
		}
		if err := c.checkAck(a); err != nil {
			c.mu.Unlock()
			return err
		}
		more = c.release(a)
		wake := !more && !c.writing && c.pending()
		c.writing = c.writing || wake
		c.mu.Unlock()
		if wake {
			c.wake <- struct{}{}
		}
		c.resolve()
	}
	return nil
}

// checkAck refuses what cannot have been received (F2).
func (c *sendConn) checkAck(a *ack) error {
	for i := range c.lanes {
		l, got := &c.lanes[i], &a.lane[i]
		if got.next < l.ackSeen || got.next > l.taken || got.bytes < l.wireAcked || got.bytes > l.wire {
			return fmt.Errorf("%w: %v lane up to %d (%d bytes), sent up to %d (%d bytes), acked before up to %d (%d bytes)",
				ErrForgedAck, fabric.Lane(i), got.next, got.bytes, l.taken, l.wire, l.ackSeen, l.wireAcked)
		}
	}
	if a.rows > c.rowsSent || a.rows < c.rowsAcked {
		return fmt.Errorf("%w: %d rows of %d, %d before", ErrForgedAck, a.rows, c.rowsSent, c.rowsAcked)
	}
	return nil
}

// release moves what was acked to c.settled, and reports whether there is more
// than fits one call of Resolve.
func (c *sendConn) release(a *ack) (more bool) {
	c.rowsAcked = a.rows
	now := c.p.now()
	for i := range c.lanes {
		l, upTo := &c.lanes[i], a.lane[i].next
		l.ackSeen, l.wireAcked = upTo, a.lane[i].bytes
		before, at := l.acked, int64(0)
		acks := uint64(0)
		l.release(upTo, settleBatch, func(e *entry) {
			at = e.at
			acks++
			if e.ticket != 0 {
				c.settled = append(c.settled, fabric.Resolution{To: c.q.id, Ticket: e.ticket, Lane: fabric.Lane(i)})
			}
		})
		if l.acked == before {
			continue
		}
		s := &c.q.stats.lane[i]
		s.acked.Add(acks)
		smooth(&s.rtt, time.Duration(now-at))
		more = more || l.acked < upTo
	}
	return more
}

func (c *sendConn) resolve() {
	if len(c.settled) > 0 {
		c.settling.Store(true)
		c.p.h.Resolve(c.settled)
		c.settling.Store(false)
		c.settled = c.settled[:0]
	}
}

// tick looks for what is late. The time before since does not count: this
// process did not run.
func (c *sendConn) tick(now, since int64) {
	c.mu.Lock()
	if !c.probe && now-c.lastProbe >= int64(c.p.cfg.KeepAlive) {
		c.probe = true
	}
	c.mu.Unlock()
	c.kick(now)
	before := now - int64(c.p.cfg.TicketTimeout)
	if since < before {
		if err := c.overdue(before); err != nil {
			c.fail(err)
			return
		}
		c.expire(before + int64(c.p.cfg.TicketTimeout)/patience)
	}
	quiet := now - max(since, c.heard.Load())
	if quiet > int64(c.p.cfg.IdleTimeout) && !c.settling.Load() {
		c.fail(ErrSilent)
	}
}

// overdue says whether a write or a frame on the wire takes too long: then
// nothing of the connection can be relied upon.
func (c *sendConn) overdue(before int64) error {
	if busy := c.busy.Load(); busy != 0 && busy < before {
		return fmt.Errorf("%w: a write is stuck", fabric.ErrTimeout)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.lanes {
		if c.lanes[i].late(before) {
			return fmt.Errorf("%w (%v lane)", fabric.ErrTimeout, fabric.Lane(i))
		}
	}
	return nil
}

var errExpired = fabric.Lost(fmt.Errorf("%w: it waited for earlier frames", fabric.ErrTimeout))

// expire gives up frames that did not leave in time (F2); the connection goes
// on with the later ones.
func (c *sendConn) expire(before int64) {
	for i := range c.lanes {
		lane := fabric.Lane(i)
		for {
			lost := c.expireSome(lane, before)
			c.resolveLost(lane, lost)
			if len(lost) < settleBatch {
				break
			}
		}
	}
}

func (c *sendConn) expireSome(lane fabric.Lane, before int64) (lost []fabric.Resolution) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return nil
	}
	for len(lost) < settleBatch {
		e, ok := c.lanes[lane].expire(before)
		if !ok {
			break
		}
		lost = append(lost, fabric.Resolution{To: c.q.id, Ticket: e.ticket, Lane: lane, Err: errExpired})
	}
	return lost
}
