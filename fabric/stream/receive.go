package stream

import (
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"sync/atomic"

	"github.com/raftdv/dv/fabric"
)

// recvConn is a connection on which a peer's frames come in.
type recvConn struct {
	p       *Port
	q       *peer
	conn    net.Conn
	session Session
	stop    chan struct{} // closed when the connection has come to its end
	done    chan struct{}
	ackDone chan struct{}

	failed  atomic.Pointer[EndError]
	heard   atomic.Int64 // when anything last came
	calling atomic.Bool  // the reader waits for the handler

	// The reader's.
	buf      []byte
	r, w     int
	frames   []fabric.Frame // deliverBatch
	n        int            // frames to be delivered
	opened   bool
	row      fabric.Row // newest, to be handed over; Owner 0: none
	echo     uint64     // number of a keep-alive to be sent back; 0: none
	partial  [fabric.Lanes]partial
	received ack // taken in, not all of it in acks.ready yet

	acks acker
}

func newRecvConn(q *peer, s Session, conn net.Conn, buffered []byte) *recvConn {
	c := &recvConn{
		p: q.p, q: q, conn: conn, session: s.withSocket(conn),
		stop: make(chan struct{}), done: make(chan struct{}), ackDone: make(chan struct{}),
		buf: make([]byte, max(readLen, len(buffered))), frames: make([]fabric.Frame, deliverBatch),
	}
	c.w = copy(c.buf, buffered)
	c.heard.Store(c.p.now())
	c.acks.init(c)
	return c
}

// retire ends the connection, for the first reason given.
func (c *recvConn) retire(why error) bool {
	if !c.failed.CompareAndSwap(nil, &EndError{c.q.id, Receiving, why}) {
		return false
	}
	close(c.stop)
	c.p.wg.Go(func() { closeConn(c.conn, c.session.Socket) })
	return true
}

// fail ends the connection for a reason that it found itself.
func (c *recvConn) fail(why error) {
	if c.retire(why) {
		c.q.detachReceive(c)
	}
}

// readLoop is the reader goroutine.
func (c *recvConn) readLoop() {
	err := c.takeIn(c.w > 0)
	for err == nil {
		var n int
		n, err = c.conn.Read(c.buf[c.w:])
		if n > 0 {
			c.w += n
			c.q.stats.bytesReceived.Add(uint64(n))
			if e := c.takeIn(true); e != nil {
				err = e
			}
		}
		if err != nil {
			err = readError(err)
		}
	}
	c.fail(err)
	<-c.ackDone
	c.partial = [fabric.Lanes]partial{}
	if d := c.p.cfg.Detached; d != nil {
		d(c.q.id, Receiving, c.failed.Load())
	}
	close(c.done)
}

// takeIn handles what is in the buffer, as long as it has the right to call the
// handler about the peer. An older connection may have it, stuck in a call.
func (c *recvConn) takeIn(news bool) error {
	if !news {
		return nil
	}
	now := c.p.now()
	c.heard.Store(now)
	c.q.heard.Store(now)
	c.calling.Store(true)
	defer func() {
		c.heard.Store(c.p.now()) // time in the handler is not the peer's silence
		c.calling.Store(false)
	}()
	select {
	case c.q.right <- struct{}{}:
	case <-c.stop:
		return nil
	}
	defer func() { <-c.q.right }()
	if c.failed.Load() != nil {
		return nil // the connection that replaced this one may have gone on
	}
	err := c.parse()
	if err != nil {
		c.q.stats.refused.Add(1)
	}
	if c.echo != 0 {
		c.acks.echo(c.echo)
		c.echo = 0
	}
	if c.row.Owner != 0 {
		c.q.rx.row = fabric.Row{Owner: c.row.Owner, Incarnation: c.row.Incarnation, Version: c.row.Version}
		c.p.h.Row(c.q.id, c.row)
	}
	c.row = fabric.Row{}
	c.deliver() // what came before a fault was sent all the same
	c.w, c.r = copy(c.buf, c.buf[c.r:c.w]), 0
	return err
}

// parse takes in all whole frames of the buffer. It leaves the last ones for
// deliver.
func (c *recvConn) parse() error {
	for c.r < c.w {
		f := &c.frames[c.n]
		rest, err := c.session.parse(c.buf[c.r:c.w], pieceLen, f)
		if err == fabric.ErrShort { //nolint:errorlint // parse says so
			return nil
		}
		if err != nil {
			return err
		}
		size := c.w - c.r - len(rest)
		c.r = c.w - len(rest)
		if err := c.accept(f, size); err != nil {
			return err
		}
		if c.n == len(c.frames) {
			c.deliver()
		}
	}
	return nil
}

// accept takes one frame. If it is to be delivered, c.n rises.
func (c *recvConn) accept(f *fabric.Frame, size int) error {
	if c.opened == (f.Kind == fabric.KindCredit) {
		return fmt.Errorf("%w: kind %d, opened %v", ErrBadOpening, f.Kind, c.opened)
	}
	switch f.Kind {
	case fabric.KindCredit:
		return c.open(f.Body)
	case fabric.KindKeepalive:
		if len(f.Body) != 8 {
			return fmt.Errorf("%w: keep-alive of %d bytes", ErrUnexpected, len(f.Body))
		}
		c.echo = binary.LittleEndian.Uint64(f.Body)
		return nil
	case fabric.KindRow:
		return c.takeRow(f.Body)
	case fabric.KindAck:
		return fmt.Errorf("%w: ack among frames", ErrUnexpected)
	}
	c.received.lane[f.Lane].bytes += uint64(size)
	switch {
	case f.Kind == fabric.KindVoid:
		return c.takeVoid(f)
	case f.Has&fabric.HasFragment != 0:
		return c.takePiece(f)
	case len(f.Patch)+len(f.Body) > c.p.cfg.MaxFrame:
		return tooLarge(len(f.Patch) + len(f.Body))
	}
	if err := c.inOrder(f.Lane, f.Link); err != nil {
		return err
	}
	c.n++
	return nil
}

// inOrder takes a frame's sequence; what it skips is a gap.
func (c *recvConn) inOrder(lane fabric.Lane, link uint64) error {
	if c.partial[lane].active {
		return fmt.Errorf("%w: frame %d in %v between the pieces of another", ErrBadPiece, link, lane)
	}
	if link == math.MaxUint64 {
		return fmt.Errorf("%w: %d", ErrSequence, link)
	}
	if err := c.skipTo(lane, link); err != nil {
		return err
	}
	c.q.rx.expected[lane] = link + 1
	return nil
}

// skipTo reports the frames before link as missing. What is in front of the gap
// is delivered first; the frame that the caller works on stays where it is.
func (c *recvConn) skipTo(lane fabric.Lane, link uint64) error {
	expected := &c.q.rx.expected[lane]
	if link == *expected {
		return nil
	}
	if link < *expected {
		return fmt.Errorf("%w: %d in %v, expected %d", ErrSequence, link, lane, *expected)
	}
	at := c.n
	c.deliver()
	c.frames[0], c.frames[at] = c.frames[at], c.frames[0]
	g := fabric.Gap{Lane: lane, First: *expected, Count: link - *expected}
	*expected = link
	c.publish()
	c.q.stats.lane[lane].gaps.Add(g.Count)
	c.p.h.Gap(c.q.id, g)
	return nil
}

// takeVoid takes a frame that stands for lost ones.
func (c *recvConn) takeVoid(f *fabric.Frame) error {
	if len(f.Body) != 8 {
		return fmt.Errorf("%w: void with %d bytes", ErrUnexpected, len(f.Body))
	}
	if c.partial[f.Lane].active {
		return fmt.Errorf("%w: void in %v between them", ErrBadPiece, f.Lane)
	}
	count := binary.LittleEndian.Uint64(f.Body)
	if count == 0 || count >= math.MaxUint64-f.Link || f.Link < c.q.rx.expected[f.Lane] {
		return fmt.Errorf("%w: void of %d frames at %d in %v, expected %d", ErrSequence, count, f.Link, f.Lane, c.q.rx.expected[f.Lane])
	}
	return c.skipTo(f.Lane, f.Link+count)
}

// open takes the first frame of a connection. Links of an older incarnation or
// epoch are over: the sender numbers from 1 again.
func (c *recvConn) open(body []byte) error {
	o, ok := parseOpening(body)
	rx := &c.q.rx
	restarted := c.session.PeerIncarnation > rx.incarnation
	switch {
	case !ok:
		return fmt.Errorf("%w: %x", ErrBadOpening, body)
	case c.session.PeerIncarnation < rx.incarnation:
		return ErrStaleIncarnation
	case !restarted && o.epoch < rx.epoch:
		return fmt.Errorf("%w: epoch %d after %d", ErrBadOpening, o.epoch, rx.epoch)
	}
	if restarted || o.epoch > rx.epoch {
		rx.incarnation, rx.epoch = c.session.PeerIncarnation, o.epoch
		for l := range rx.expected {
			rx.expected[l] = 1
		}
	}
	c.opened = true
	c.acks.open(&o)
	for l := range o.lane {
		if err := c.skipTo(fabric.Lane(l), o.lane[l].next); err != nil {
			return err
		}
	}
	return nil
}

// takeRow keeps a row if it is the newest; the handler gets it when the buffer
// was gone through.
func (c *recvConn) takeRow(body []byte) error {
	row, err := fabric.ParseRow(body)
	switch {
	case err != nil:
		return malformed(err)
	case row.Owner != c.q.id:
		return fmt.Errorf("%w: row of %s", ErrForeignRow, row.Owner)
	}
	c.received.rows++
	c.q.stats.rowsReceived.Add(1)
	newest := &c.q.rx.row
	if c.row.Owner != 0 {
		newest = &c.row
	}
	if newest.Owner == 0 || row.Newer(newest) {
		c.row = row
	}
	return nil
}

// deliver hands over the frames that were taken in, also when the connection
// has come to its end: rx.expected has them.
func (c *recvConn) deliver() {
	n := c.n
	c.n = 0
	c.publish()
	if n == 0 {
		return
	}
	var count [fabric.Lanes]uint64
	for i := range c.frames[:n] {
		count[c.frames[i].Lane]++
	}
	for l, n := range count {
		if n > 0 {
			c.q.stats.lane[l].delivered.Add(n)
		}
	}
	c.p.h.Deliver(c.q.id, c.frames[:n])
}

// publish lets the acks say that all that was taken in is in memory (F2).
func (c *recvConn) publish() {
	for l := range c.received.lane {
		c.received.lane[l].next = c.q.rx.expected[l]
	}
	c.acks.update(&c.received)
}

// tick looks for what is late.
func (c *recvConn) tick(now, since int64) {
	c.acks.tick(now)
	if now-max(since, c.heard.Load()) > int64(c.p.cfg.IdleTimeout) && !c.calling.Load() {
		c.fail(ErrSilent)
	}
	if began := c.acks.busy.Load(); began != 0 && now-max(since, began) > int64(c.p.cfg.TicketTimeout) {
		c.fail(fmt.Errorf("%w: an ack cannot be written", fabric.ErrTimeout))
	}
}
