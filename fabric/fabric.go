package fabric

import (
	"fmt"
	"time"
)

// MemberID names a member of the cluster, for its lifetime. 0 names nobody.
type MemberID uint64

// String prints the id in hexadecimal, as etcd prints member ids.
func (id MemberID) String() string { return fmt.Sprintf("%x", uint64(id)) }

// Lane is a send priority. Order is kept within a lane, never between lanes.
type Lane uint8

const (
	// LaneControl carries votes, heartbeats, rejections: small and urgent.
	LaneControl Lane = iota
	// LaneAppend carries log entries.
	LaneAppend
	// LaneBulk carries snapshots.
	LaneBulk
	// Lanes is the number of lanes.
	Lanes = 3
)

// String is the lane's name in metrics and messages.
func (l Lane) String() string {
	switch l {
	case LaneControl:
		return "control"
	case LaneAppend:
		return "append"
	case LaneBulk:
		return "bulk"
	}
	return fmt.Sprintf("lane(%d)", uint8(l))
}

// Class says how the ordered layer delivers a frame. Ports carry it unread.
type Class uint8

// The classes, in Totem's terms.
const (
	ClassUnordered Class = iota
	ClassFIFO
	ClassAgreed
	ClassSafe
	classes
)

// String is the class's name.
func (c Class) String() string {
	switch c {
	case ClassUnordered:
		return "unordered"
	case ClassFIFO:
		return "fifo"
	case ClassAgreed:
		return "agreed"
	case ClassSafe:
		return "safe"
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Port is one member's attachment to a fabric. All methods may be called
// concurrently. How peers are connected is each port's own business.
type Port interface {
	// Send queues a batch of frames and never blocks. A nil error means that
	// every frame was accepted for every destination, and each ticket will be
	// resolved. Otherwise the error is a *SendError that lists what was
	// refused; refused tickets are not resolved again. After Close the whole
	// batch is refused with ErrClosed.
	Send(batch []Outgoing) error

	// Publish replaces the caller's row everywhere. Members in prompt get it
	// at once, all others within the port's row interval. A row whose version
	// is not above the last one published is refused with ErrStaleRow, one
	// that is too large with ErrTooLarge.
	Publish(row Row, prompt []MemberID) error

	// Capabilities says what the port can do.
	Capabilities() Capabilities

	// Now is the fabric's clock.
	Now() Time

	// Close stops the port: tickets in flight are resolved as lost (ErrClosed),
	// then no handler method is called any more. It waits for running handler
	// calls. Later calls do nothing.
	Close() error
}

// Handler receives what a port has to say. The calls Deliver, Gap, Row and
// Link about one peer are never concurrent with each other; calls about
// different peers may be, and so may Resolve. No lock of the port is held
// during a call.
type Handler interface {
	// Deliver hands over frames of one peer, in the order of their links.
	// The bytes are valid until it returns.
	Deliver(from MemberID, frames []Frame)

	// Gap says which frames of one lane will never come. It stands in the
	// order of Deliver.
	Gap(from MemberID, gap Gap)

	// Row hands over a peer's newest row. Versions of one incarnation only
	// rise. The bytes are valid until it returns.
	Row(from MemberID, row Row)

	// Resolve settles tickets; the slice is valid until it returns.
	Resolve(settled []Resolution)

	// Link says that a peer can be reached now, or no longer and why.
	Link(peer MemberID, state LinkState)
}

// Outgoing is a frame to send.
type Outgoing struct {
	// To lists the destinations. Empty is an error, so is a double.
	To []MemberID
	// Patch is nil, or holds for each destination the bytes that are its own
	// (at most MaxPatch). They reach the receiver as Frame.Patch.
	Patch [][]byte
	// Body is shared by all destinations.
	Body []byte

	Lane  Lane
	Class Class
	// Kind is KindData if zero.
	Kind Kind
	// Stream is the sequence within (origin, class): the same at all
	// destinations. The sender counts; ports carry it unread.
	Stream uint64
	// Stamp is carried if it is not zero.
	Stamp Stamp
	// Ticket is the caller's name for this frame. With 0, losses are still
	// resolved, acks are not reported.
	Ticket uint64
}

// Frame is a received frame. Header holds the fields of the wire format, Patch
// the bytes meant for this receiver alone, Body those that all receivers share.
type Frame struct {
	Header
	Patch []byte
	Body  []byte
}

// Gap names frames of one lane that will not be delivered: link sequences
// First to First+Count-1.
//
// The frames that one incarnation of a member accepts for one incarnation of
// another are numbered 1, 2, 3... in each lane; refused ones take no number, and
// reconnecting does not start over. So the first event of a lane is either
// Deliver of sequence 1 or a gap that starts there, and each event starts where
// the one before it ended. A frame whose ticket was lost may still
// be delivered instead of being named in a gap. Nothing is delivered to two
// incarnations of its receiver.
type Gap struct {
	Lane  Lane
	First uint64
	Count uint64
}

// Resolution settles one ticket at one destination.
type Resolution struct {
	To     MemberID
	Ticket uint64
	Lane   Lane
	// Err is nil for acked, otherwise the reason of the loss (wraps ErrLost).
	Err error
}

// Acked reports whether the frame is in the receiver's memory.
func (r Resolution) Acked() bool { return r.Err == nil }

// LinkState is a link's state as the port sees it.
type LinkState struct {
	// Up: frames can be sent.
	Up bool
	// Incarnation of the peer, where the port knows it.
	Incarnation uint64
	// Err says why a link is down.
	Err error
}

// Time is an instant of a fabric's clock.
type Time struct {
	// Nanos since the fabric's epoch.
	Nanos int64
	// Error bounds how far Nanos may be off; meaningless if Logical.
	Error time.Duration
	// Logical: members' clocks are not synchronised.
	Logical bool
}

// Capabilities describes a port.
type Capabilities struct {
	// Name of the fabric, as in configuration and metrics: "udp", "stream".
	Name string
	// MaxFrame bounds patch plus body of one frame, in bytes.
	MaxFrame int
	// MaxRow bounds the sections of a row, in bytes.
	MaxRow int
	// Multicast: one send reaches many destinations for less than the sum.
	Multicast bool
	// OneSided: the sender writes into the receiver's memory.
	OneSided bool
	// Scheduled: transmission times are fixed in advance.
	Scheduled bool
	// Lossless: frames are lost only with their link.
	Lossless bool
	// SameHost: reaches members of this host only.
	SameHost bool
	// Sealed: contents are encrypted and authenticated on the wire.
	Sealed bool
	// TicketTimeout bounds the time until a ticket resolves.
	TicketTimeout time.Duration
}

// RowWithholder is implemented by ports that can keep the caller's row from
// single members.
type RowWithholder interface {
	// WithholdRow says whether a peer is sent the caller's row; initially it is.
	// When that is over it gets the newest one at once. A peer that is not
	// connected is ignored.
	WithholdRow(peer MemberID, on bool)
}

// StatsReporter is implemented by ports that count.
type StatsReporter interface {
	// Stats appends one entry for each peer to dst.
	Stats(dst []LinkStats) []LinkStats
}

// LinkStats counts what happened on the link to one peer. Counters only rise
// during the life of a port.
type LinkStats struct {
	Peer        MemberID
	Up          bool
	Incarnation uint64
	// RTT is the smoothed round-trip time measured in band; 0 if unknown.
	RTT time.Duration
	// BytesSent and BytesReceived count what went over the wire.
	BytesSent, BytesReceived uint64
	// DatagramsSent and DatagramsReceived count wire units where they exist.
	DatagramsSent, DatagramsReceived uint64
	// Retransmissions counts wire units sent again.
	Retransmissions uint64
	// Refused counts wire units dropped on receipt: bad seal, replay, unknown
	// format.
	Refused uint64
	// RowsSent and RowsReceived count row versions.
	RowsSent, RowsReceived uint64
	Lane                   [Lanes]LaneStats
}

// LaneStats counts one lane of a link.
type LaneStats struct {
	Sent, Delivered uint64 // frames
	Acked, Lost     uint64 // tickets
	NoCredit        uint64 // frames refused
	Queued          int    // frames accepted and not yet acked
	QueuedBytes     int
	CreditBytes     int           // what may still be accepted
	RTT             time.Duration // frame to ack, smoothed; 0 if unknown
	Gaps            uint64        // frames reported missing to the handler
}
