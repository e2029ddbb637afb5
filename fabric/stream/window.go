package stream

import (
	"time"

	"github.com/raftdv/dv/fabric"
)

// What a connection has on the wire sits in front of whatever is sent next, be
// it as urgent as can be: in the kernel's buffers, in proxies, on the way. So
// the windows of the append and bulk lanes follow the link: they start small,
// double when one is used up and a keep-alive behind all that comes back as fast
// as on the idle link, and are halved when keep-alives take longer than that by
// queueTarget. A window that is used up sends a keep-alive if none is on its way,
// so that a fast link is used in full after a few round trips.
const (
	queueTarget = 50 * time.Millisecond
	// startShift and maxShift are halvings of Queue.Window.
	startShift = 4
	maxShift   = 8
)

// windowFloor is what a window is not halved below, by lane: what waits there
// takes 0.2 s on a link of 10 Mbit/s.
var windowFloor = [fabric.Lanes]int{fabric.LaneAppend: 2 * chunkLen, fabric.LaneBulk: chunkLen}

// windows is what a sendConn knows of its link. sendConn.mu guards it.
type windows struct {
	shift int
	base  time.Duration // round trip when nothing else is on the wire
	idle  bool          // the last keep-alive found nothing else on the wire
	full  bool          // it found a window used up
}

// setWindows applies the shift.
func (c *sendConn) setWindows(shift int) {
	c.link.shift = min(max(shift, 0), maxShift)
	for lane, floor := range windowFloor {
		l := &c.lanes[lane]
		if floor > 0 { // control is what all this is for
			l.window = max(min(l.bound.Window, floor), l.bound.Window>>c.link.shift)
		}
	}
}

// wantsProbe reports whether a keep-alive might let the windows grow.
func (c *sendConn) wantsProbe() bool {
	return c.link.shift > 0 && c.lastEcho == c.lastProbe && c.limited()
}

// limited reports whether a window holds something back.
func (c *sendConn) limited() bool {
	for i := range c.lanes {
		if c.lanes[i].limited() {
			return true
		}
	}
	return false
}

// probing notes whether a keep-alive will measure the link alone, or behind all
// that may be on it.
func (c *sendConn) probing() {
	c.link.full = c.limited()
	c.link.idle = true
	for i := range c.lanes {
		c.link.idle = c.link.idle && c.lanes[i].wire == c.lanes[i].wireAcked
	}
}

// probed takes the round trip of the last keep-alive.
func (c *sendConn) probed(rtt time.Duration) {
	w := &c.link
	switch {
	case w.base == 0 || rtt < w.base:
		w.base = rtt
	case w.idle: // the way has become longer
		w.base += (rtt - w.base) / 8
	}
	switch queued := rtt - w.base; {
	case queued > queueTarget:
		c.setWindows(w.shift + 1)
	case queued < queueTarget/2 && w.full:
		c.setWindows(w.shift - 1)
	}
}
