package stream

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Queue bounds one lane of one destination.
type Queue struct {
	// Bytes bounds the frames that were accepted and are not resolved: patch,
	// body and 80 bytes for each. A frame that is larger than this is accepted
	// while the lane is empty. Default 1 MiB control, 64 MiB append, 8 MiB bulk.
	Bytes int
	// Frames bounds their number. Default 4096.
	Frames int
	// Window bounds the bytes that are on the wire and not acked; what is
	// beyond waits where more urgent lanes can overtake it. The append and bulk
	// lanes of a slow link use less: see package documentation. Default 512 KiB
	// control, 4 MiB append, 1 MiB bulk; never more than half of Bytes.
	Window int
}

// Config of a port. The zero value of each field but Self and Incarnation
// stands for its default.
type Config struct {
	// Self is the member whose port this is.
	Self fabric.MemberID
	// Incarnation of Self; rises with each start.
	Incarnation uint64
	// Queues by lane.
	Queues [fabric.Lanes]Queue
	// MaxFrame bounds patch plus body, in bytes; the same at all members.
	// Default 32 MiB.
	MaxFrame int
	// TicketTimeout bounds the time until a ticket resolves. Default 5s.
	TicketTimeout time.Duration
	// KeepAlive is the longest silence of a connection that has nothing to
	// say. Default 200ms.
	KeepAlive time.Duration
	// IdleTimeout is the silence after which a connection is closed. Default 5s.
	IdleTimeout time.Duration
	// RowInterval is how long a row may wait for destinations that are not
	// prompt. Default 10ms.
	RowInterval time.Duration
	// AckDelay is how long an ack may wait for more to be acked. Default 20ms.
	AckDelay time.Duration
	// Sealed is what Capabilities reports: all connections are encrypted and
	// authenticated. Default false.
	Sealed bool
	// Detached, if not nil, is told why a connection came to its end. It is
	// called without locks, before the channel that Attach returned is closed,
	// and must not call Close.
	Detached func(peer fabric.MemberID, d Direction, why error)
}

// The defaults, and what cannot be configured.
const (
	defaultControlBytes  = 1 << 20
	defaultAppendBytes   = 64 << 20
	defaultBulkBytes     = 8 << 20
	defaultFrames        = 4096
	defaultControlWindow = 512 << 10
	defaultAppendWindow  = 4 << 20
	defaultBulkWindow    = 4 << 20
	defaultMaxFrame      = 32 << 20
	defaultTicketTimeout = 5 * time.Second
	defaultKeepAlive     = 200 * time.Millisecond
	defaultIdleTimeout   = 5 * time.Second
	defaultRowInterval   = 10 * time.Millisecond
	defaultAckDelay      = 20 * time.Millisecond

	// frameWeight is what a frame counts against Queue.Bytes besides patch and
	// body: its header.
	frameWeight = 80
	// pieceLen bounds the body of a frame on the wire. It is part of the
	// protocol.
	pieceLen = 64 << 10
	// chunkLen is the unit of queueing and of writing: one piece fits.
	chunkLen = 72 << 10
	// mergeLen bounds what is copied together into one write.
	mergeLen = 64 << 10
	// readLen is a reader's buffer: any frame on the wire fits.
	readLen = 128 << 10
	// deliverBatch bounds the frames of one Deliver.
	deliverBatch = 256
	// settleBatch bounds the resolutions of one Resolve.
	settleBatch = 512
	// ackEvery bounds the bytes of a lane that are taken in without an ack.
	ackEvery = 64 << 10
	// rowWindow bounds the rows on the wire to one destination, rowAckEvery
	// is how many the receiver acks at once.
	rowWindow   = 16
	rowAckEvery = 4
	// keptPartial bounds the memory that a lane keeps for the next fragmented
	// frame.
	keptPartial = 1 << 20
	// ticksPerTimeout is how often within the shortest timeout the port looks
	// for what is late.
	ticksPerTimeout = 8
	// patience: a frame that has not left after TicketTimeout less this part of
	// it is given up, so that what leaves has that time for its way.
	patience = 4
	minTick  = time.Millisecond
)

func (c Config) withDefaults() Config {
	for l, d := range [fabric.Lanes]Queue{
		fabric.LaneControl: {defaultControlBytes, defaultFrames, defaultControlWindow},
		fabric.LaneAppend:  {defaultAppendBytes, defaultFrames, defaultAppendWindow},
		fabric.LaneBulk:    {defaultBulkBytes, defaultFrames, defaultBulkWindow},
	} {
		q := &c.Queues[l]
		orDefault(&q.Bytes, d.Bytes)
		orDefault(&q.Frames, d.Frames)
		orDefault(&q.Window, d.Window)
		q.Window = min(q.Window, max(q.Bytes/2, 1))
	}
	orDefault(&c.MaxFrame, defaultMaxFrame)
	orDefault(&c.TicketTimeout, defaultTicketTimeout)
	orDefault(&c.KeepAlive, defaultKeepAlive)
	orDefault(&c.IdleTimeout, defaultIdleTimeout)
	orDefault(&c.RowInterval, defaultRowInterval)
	orDefault(&c.AckDelay, defaultAckDelay)
	return c
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Validate lists all faults of c.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("stream: "+format, args...))
		}
	}
	fault(c.Self == 0, "Self is 0: name this member")
	fault(c.Incarnation == 0, "Incarnation is 0: count the starts of this member from 1")
	for l, q := range c.Queues {
		fault(q.Bytes < 0 || q.Frames < 0 || q.Window < 0, "Queues[%v] is %+v: use positive bounds, or 0 for the default", fabric.Lane(l), q)
	}
	fault(c.MaxFrame <= fabric.MaxPatch || c.MaxFrame > fabric.MaxBody,
		"MaxFrame is %d: use more than %d and at most %d bytes", c.MaxFrame, fabric.MaxPatch, fabric.MaxBody)
	for _, d := range []struct {
		name string
		got  time.Duration
	}{
		{"TicketTimeout", c.TicketTimeout},
		{"KeepAlive", c.KeepAlive},
		{"IdleTimeout", c.IdleTimeout},
		{"RowInterval", c.RowInterval},
		{"AckDelay", c.AckDelay},
	} {
		fault(d.got < 0, "%s is %v: use a positive duration, or 0 for the default", d.name, d.got)
	}
	fault(c.IdleTimeout < 2*c.KeepAlive, "IdleTimeout is %v and KeepAlive %v: leave time for two keep-alives", c.IdleTimeout, c.KeepAlive)
	fault(c.TicketTimeout < 2*c.AckDelay, "TicketTimeout is %v and AckDelay %v: leave time for acks", c.TicketTimeout, c.AckDelay)
	return errors.Join(errs...)
}

// tick is how often a port looks for what is late.
func (c *Config) tick() time.Duration {
	return max(minTick, min(c.KeepAlive, c.TicketTimeout/ticksPerTimeout, c.IdleTimeout/ticksPerTimeout))
}

// Session is what the handshake of a connection has found out.
type Session struct {
	// PeerIncarnation is that of the peer, as the handshake proved it.
	PeerIncarnation uint64
	// Checksum: the connection has no integrity of its own; every frame carries
	// a CRC-32C, one without is refused. The same at both ends.
	Checksum bool
	// Socket is the socket under the connection. It is used to close it at
	// once, and to keep the kernel from queueing much. Default: the connection
	// itself if it is a *net.TCPConn or *net.UnixConn, else nothing.
	Socket net.Conn
	// Direct: what is written to the connection goes unchanged to Socket, so
	// that small writes may go to the socket itself. Default: true if Socket
	// was left out and found.
	Direct bool
}

func (s Session) withSocket(conn net.Conn) Session {
	if s.Socket == nil {
		switch conn.(type) {
		case *net.TCPConn, *net.UnixConn:
			s.Socket, s.Direct = conn, true
		default:
			s.Direct = false
		}
	}
	return s
}

// Direction names one of the two connections of a pair of members.
type Direction uint8

const (
	// Sending: the peer dialled, our frames go out.
	Sending Direction = iota
	// Receiving: we dialled, the peer's frames come in.
	Receiving
)

// String is the direction's name in metrics and messages.
func (d Direction) String() string {
	if d == Sending {
		return "sending"
	}
	return "receiving"
}
