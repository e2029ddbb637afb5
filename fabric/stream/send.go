package stream

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/raftdv/dv/fabric"
)

// A caller of Send writes to the socket itself when there is little to write,
// and the peer has said something since the last write or that was a while ago:
// in a pattern of requests and responses this saves a wake-up (a third of the
// CPU time). In a stream of sends the writer goroutine makes larger writes.
const (
	inlineQuiet = 50 * time.Microsecond
	inlineMax   = 16 << 10
)

// rowState says whether the newest row has to go to a destination.
type rowState uint8

const (
	rowKnown rowState = iota
	rowLazy           // with the next write, or when the row interval is over
	rowDue            // now
)

// sendConn is a connection on which our frames go out.
type sendConn struct {
	p       *Port
	q       *peer
	conn    net.Conn
	session Session
	raw     *rawWriter    // nil: no inline writes
	wake    chan struct{} // hands the right to write to the writer goroutine
	done    chan struct{}
	ackDone chan struct{}

	heard    atomic.Int64 // when the ack direction last had anything
	busy     atomic.Int64 // when the write that runs began; 0: none runs
	settling atomic.Bool  // the ack reader is in the handler

	mu        sync.Mutex // guards the fields below
	failed    error      // why it came to its end
	writing   bool       // somebody has the right to write
	opened    bool       // the opening is on the wire
	lanes     [fabric.Lanes]sendLane
	header    fabric.Header // for encoding
	rest      *chunk        // half written
	turn      bool          // bulk goes before append
	lastWrite int64
	row       rowState
	rowsSent  uint64
	rowsAcked uint64
	probe     bool  // a keep-alive is due
	lastProbe int64 // number of the last one: when it was sent
	lastEcho  int64 // number of the last one that came back
	link      windows

	settled []fabric.Resolution // the ack reader's
}

func newSendConn(q *peer, s Session, conn net.Conn, next [fabric.Lanes]uint64) *sendConn {
	c := &sendConn{
		p: q.p, q: q, conn: conn, session: s.withSocket(conn),
		wake: make(chan struct{}, 1), done: make(chan struct{}), ackDone: make(chan struct{}),
		writing: true, probe: true,
	}
	c.header.Has = s.protection()
	for l := range c.lanes {
		c.lanes[l].start(next[l], c.p.cfg.Queues[l])
	}
	c.setWindows(startShift)
	if c.session.Direct {
		c.raw = newRawWriter(c.session.Socket)
	}
	if c.session.Socket != nil {
		tune(c.session.Socket)
	}
	if c.p.rows.published() && !c.q.withheld.Load() {
		c.row = rowDue
	}
	c.heard.Store(c.p.now())
	return c
}

// enqueue accepts a frame or says why not.
func (c *sendConn) enqueue(o *fabric.Outgoing, patch []byte, now int64) error {
	weight := frameWeight + len(patch) + len(o.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return fabric.ErrLinkDown
	}
	l := &c.lanes[o.Lane]
	if !l.admits(weight) {
		c.q.stats.lane[o.Lane].noCredit.Add(1)
		return fabric.ErrNoCredit
	}
	h := &c.header
	h.Kind, h.Class, h.Lane, h.Stream = o.Kind, o.Class, o.Lane, o.Stream
	if h.Kind == 0 {
		h.Kind = fabric.KindData
	}
	h.Has &^= fabric.HasStamp
	if !o.Stamp.IsZero() {
		h.Has |= fabric.HasStamp
		h.Stamp = o.Stamp
	}
	l.append(h, patch, o.Body, entry{ticket: o.Ticket, at: now, weight: weight})
	return nil
}

// kick sees to it that what is queued gets written.
func (c *sendConn) kick(now int64) {
	c.mu.Lock()
	if c.writing || !c.pending() {
		c.mu.Unlock()
		return
	}
	c.writing = true
	if c.raw == nil || now-c.lastWrite < int64(inlineQuiet) && c.q.heard.Load() < c.lastWrite {
		c.mu.Unlock()
		c.wake <- struct{}{}
		return
	}
	k := c.takeLocked(now)
	c.mu.Unlock()
	c.writeInline(k)
}

// writeInline writes to the socket without waiting, and leaves the rest to the
// writer goroutine.
func (c *sendConn) writeInline(k *chunk) {
	var n int
	var err error
	if k.len() <= inlineMax {
		n, err = c.raw.write(k.b[k.off:])
		c.q.stats.bytesSent.Add(uint64(n))
	}
	c.mu.Lock()
	if k.off += n; k.len() > 0 {
		c.rest = k
	} else {
		k.free()
	}
	if err == nil && c.failed == nil && !c.pending() {
		c.writing = false
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	if err != nil {
		c.fail(err)
	}
	c.wake <- struct{}{}
}

// writeLoop is the writer goroutine.
func (c *sendConn) writeLoop() {
	for range c.wake {
		for k := c.take(); k != nil; k = c.take() {
			if err := c.write(k); err != nil {
				c.fail(err)
			}
		}
		if c.isFailed() {
			break
		}
	}
	c.tearDown()
}

func (c *sendConn) write(k *chunk) error {
	n, err := c.conn.Write(k.b[k.off:])
	c.busy.Store(0)
	c.q.stats.bytesSent.Add(uint64(n))
	k.free()
	return err
}

// take returns what the writer goroutine has to write, or nil after giving the
// right to write back. A connection that has failed keeps it.
func (c *sendConn) take() *chunk {
	now := c.p.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed != nil {
		return nil
	}
	k := c.takeLocked(now)
	if k == nil {
		c.writing = false
		return nil
	}
	c.busy.Store(now)
	return k
}

func (c *sendConn) isFailed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed != nil
}

// pending reports whether there is something that may be written now.
func (c *sendConn) pending() bool {
	if c.rest != nil || !c.opened || c.probe || c.wantsProbe() || c.row == rowDue && c.rowFits() {
		return true
	}
	for i := range c.lanes {
		if l := &c.lanes[i]; l.voidCount > 0 || l.ready() != nil {
			return true
		}
	}
	return false
}

func (c *sendConn) rowFits() bool { return c.rowsSent-c.rowsAcked < rowWindow }

// takeLocked puts one write together: what is the port's own, then the lanes by
// priority as far as they can be merged. No write is much longer than one
// chunk, so that control never waits for more of the others than that.
func (c *sendConn) takeLocked(now int64) *chunk {
	c.lastWrite = now
	if k := c.rest; k != nil {
		c.rest = nil
		return k
	}
	out := c.takeHop()
	for _, lane := range c.order() {
		l := &c.lanes[lane]
		k := l.ready()
		switch {
		case k == nil:
		case out == nil:
			out = l.take()
		case out.len()+k.len() <= mergeLen:
			out.b = append(out.b, l.take().b[k.off:]...)
			k.free()
		default:
			return out
		}
	}
	if out != nil && c.row == rowLazy && c.rowFits() && out.len() <= mergeLen {
		c.takeRow(out)
	}
	return out
}

// order is that of priority, but append and bulk take turns when both have a
// backlog, so that neither waits for ever.
func (c *sendConn) order() [fabric.Lanes]fabric.Lane {
	if c.lanes[fabric.LaneAppend].head != nil && c.lanes[fabric.LaneBulk].head != nil {
		c.turn = !c.turn
		if c.turn {
			return [...]fabric.Lane{fabric.LaneControl, fabric.LaneBulk, fabric.LaneAppend}
		}
	}
	return [...]fabric.Lane{fabric.LaneControl, fabric.LaneAppend, fabric.LaneBulk}
}

// takeHop returns the frames that are the port's own, nil if none is due.
func (c *sendConn) takeHop() (out *chunk) {
	need := func() *chunk {
		if out == nil {
			out = newChunk()
		}
		return out
	}
	if !c.opened {
		c.opened = true
		c.appendHop(need(), fabric.KindCredit, c.opening().append(nil))
	}
	if c.probe || c.wantsProbe() {
		// Not now, which the caller read before it had the lock: numbers rise.
		c.probe, c.lastProbe = false, max(c.p.now(), c.lastProbe+1)
		c.probing()
		c.appendHop(need(), fabric.KindKeepalive, binary.LittleEndian.AppendUint64(nil, uint64(c.lastProbe)))
	}
	if c.row == rowDue && c.rowFits() {
		c.takeRow(need())
	}
	for i := range c.lanes {
		if l := &c.lanes[i]; l.voidCount > 0 {
			h := fabric.Header{Kind: fabric.KindVoid, Lane: fabric.Lane(i), Has: c.session.protection()}
			k := need()
			k.b = l.takeVoid(k.b, &h)
		}
	}
	return out
}

func (c *sendConn) appendHop(k *chunk, kind fabric.Kind, body []byte) {
	k.b = fabric.AppendFrame(k.b, &fabric.Header{Kind: kind, Has: c.session.protection()}, nil, body)
}

func (c *sendConn) opening() *opening {
	o := &opening{epoch: c.q.epoch}
	for i := range c.lanes {
		l := &c.lanes[i]
		o.lane[i] = laneOpening{l.first, uint64(l.bound.Window), uint64(l.bound.Frames)}
	}
	return o
}

// retire ends the connection, for the first reason given, and reports whether
// this was it. Frames are refused from now on; the writer goroutine does the
// rest.
func (c *sendConn) retire(why error) bool {
	c.mu.Lock()
	first := c.failed == nil
	if first {
		c.failed = &EndError{c.q.id, Sending, why}
	}
	wake := first && !c.writing
	c.writing = true
	c.mu.Unlock()
	if first {
		c.p.wg.Go(func() { closeConn(c.conn, c.session.Socket) })
	}
	if wake {
		c.wake <- struct{}{}
	}
	return first
}

// fail ends the connection for a reason that it found itself.
func (c *sendConn) fail(why error) {
	if c.retire(why) {
		c.q.detachSend(c)
	}
}

// closeConn closes the socket first: TLS would wait for the peer to take a
// farewell.
func closeConn(conn, socket net.Conn) {
	if socket != nil && socket != conn {
		_ = socket.Close()
	}
	_ = conn.Close()
}

// tearDown is the end of the writer goroutine: whatever is in flight is lost.
func (c *sendConn) tearDown() {
	c.mu.Lock()
	why := c.failed
	if c.rest != nil {
		c.rest.free()
		c.rest = nil
	}
	for i := range c.lanes {
		c.lanes[i].freeChunks()
	}
	c.mu.Unlock()
	c.loseAll(fabric.Lost(why))
	<-c.ackDone
	if d := c.p.cfg.Detached; d != nil {
		d(c.q.id, Sending, why)
	}
	close(c.done)
}

// loseAll resolves every ticket in flight as lost (F2).
func (c *sendConn) loseAll(why error) {
	var lost []fabric.Resolution
	for i := range c.lanes {
		lane := fabric.Lane(i)
		for more := true; more; {
			lost = lost[:0]
			c.mu.Lock()
			l := &c.lanes[i]
			l.release(l.next, settleBatch, func(e *entry) {
				lost = append(lost, fabric.Resolution{To: c.q.id, Ticket: e.ticket, Lane: lane, Err: why})
			})
			more = l.acked < l.next
			c.mu.Unlock()
			c.resolveLost(lane, lost)
		}
	}
}

func (c *sendConn) resolveLost(lane fabric.Lane, lost []fabric.Resolution) {
	if len(lost) > 0 {
		c.q.stats.lane[lane].lost.Add(uint64(len(lost)))
		c.p.h.Resolve(lost)
	}
}
