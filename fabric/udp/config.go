package udp

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Defaults of Config.
const (
	DefaultMaxFrame      = 4 << 20
	DefaultControlWindow = 1 << 20
	DefaultAppendWindow  = 8 << 20
	DefaultBulkWindow    = 4 << 20
	DefaultQueueFrames   = 1 << 16
	DefaultTicketTimeout = 2 * time.Second
	DefaultIdleTimeout   = 2 * time.Second
	DefaultRowInterval   = 10 * time.Millisecond
	DefaultStuckAfter    = 5 * time.Millisecond
	DefaultRekeyAfter    = 1 << 20
	DefaultSocketBuffer  = 2 << 20

	// maxWindow keeps offsets and buffer sizes far from overflow.
	maxWindow = 1 << 30
	// minKey is the least length of a session's secret in bytes.
	minKey = 16
	// keepAlivesPerIdle: a link without traffic is tried so often within the
	// idle timeout.
	keepAlivesPerIdle = 4
)

// Config says how a port works. The zero value of a field means the default
// that is stated with it.
type Config struct {
	// Self is this member. Required.
	Self fabric.MemberID
	// Incarnation of this member, for log lines: it is the sessions' keys that
	// bind it.
	Incarnation uint64

	// Listen is the address to bind, host:port; an empty host is all addresses
	// of both families. Required if Conn is nil.
	Listen string
	// Conn is a bound socket to use instead of Listen. The port owns it.
	Conn *net.UDPConn

	// Window bounds, for each lane and peer, the bytes of encoded frames that
	// are accepted and not acknowledged, and at the receiver those that are not
	// handed over. Never less than the largest frame needs. Defaults: control
	// 1 MiB, append 8 MiB, bulk 4 MiB. Buffers grow to what is used, in powers
	// of two: at most twice the window for each lane, peer and direction.
	Window [fabric.Lanes]int
	// QueueFrames bounds the frames accepted and not acknowledged for each lane
	// and peer. Default 65,536.
	QueueFrames int
	// MaxFrame bounds patch plus body of one frame in bytes. Default 4 MiB.
	MaxFrame int

	// TicketTimeout bounds the time until a ticket resolves. Default 2 s.
	TicketTimeout time.Duration
	// IdleTimeout is the silence after which a link is down. Default 2 s.
	IdleTimeout time.Duration
	// RowInterval is how long a row waits for members that are not prompt.
	// Default 10 ms.
	RowInterval time.Duration
	// StuckAfter is how long a handler call may last before another goroutine
	// takes over the socket. Default 5 ms.
	StuckAfter time.Duration
	// Spin is how long the reader polls the socket before it blocks. It costs a
	// processor and spares a wake-up. Default 0: never. It has no effect with
	// GOMAXPROCS=1.
	Spin time.Duration

	// MaxDatagram bounds datagrams in bytes. Default: what the path takes.
	MaxDatagram int
	// DisableOffload does without UDP_SEGMENT and UDP_GRO.
	DisableOffload bool
	// SocketBuffer is what is asked of the kernel in bytes for each direction;
	// it may grant less. Default 2 MiB.
	SocketBuffer int
	// RekeyAfter is the number of datagrams under one key. Default 2^20.
	RekeyAfter uint64

	// Logger gets a line when datagrams are refused, at most one every ten
	// seconds. Default: none.
	Logger *slog.Logger
}

// withDefaults returns c with every field set.
func (c Config) withDefaults() Config {
	set(&c.MaxFrame, DefaultMaxFrame)
	for i, d := range [...]int{DefaultControlWindow, DefaultAppendWindow, DefaultBulkWindow} {
		set(&c.Window[i], d)
		c.Window[i] = max(c.Window[i], leastWindow(c.MaxFrame))
	}
	set(&c.QueueFrames, DefaultQueueFrames)
	set(&c.TicketTimeout, DefaultTicketTimeout)
	set(&c.IdleTimeout, DefaultIdleTimeout)
	set(&c.RowInterval, DefaultRowInterval)
	set(&c.StuckAfter, DefaultStuckAfter)
	set(&c.RekeyAfter, DefaultRekeyAfter)
	set(&c.SocketBuffer, DefaultSocketBuffer)
	set(&c.MaxDatagram, maxDatagram)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// maxFrameHeader is the largest header that this port sends: prelude, stamp and
// patch. The patch's bytes count as part of the frame.
const maxFrameHeader = 64

// leastWindow takes the largest frame although credit below one part in
// creditGrain is not stated.
func leastWindow(maxFrame int) int {
	n := maxFrame + maxFrameHeader
	return n + n/(creditGrain-1) + 1
}

// Validate lists all faults.
func (c *Config) Validate() error {
	var errs []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	fault(c.Self == 0, "Self is 0: every member has an id")
	fault(c.Listen == "" && c.Conn == nil, "neither Listen nor Conn is set: give the address to bind")
	fault(c.Listen != "" && c.Conn != nil, "both Listen and Conn are set: give one")
	fault(c.MaxFrame < 0 || c.MaxFrame > fabric.MaxBody, "MaxFrame is %d: between 1 and %d", c.MaxFrame, fabric.MaxBody)
	for i, w := range c.Window {
		fault(w < 0 || w > maxWindow, "Window of the %v lane is %d: between 1 and %d", fabric.Lane(i), w, maxWindow)
	}
	fault(c.QueueFrames < 0, "QueueFrames is %d: negative", c.QueueFrames)
	for name, d := range map[string]time.Duration{
		"TicketTimeout": c.TicketTimeout, "IdleTimeout": c.IdleTimeout, "RowInterval": c.RowInterval, "StuckAfter": c.StuckAfter, "Spin": c.Spin,
	} {
		fault(d < 0, "%s is %v: negative", name, d)
	}
	fault(c.MaxDatagram != 0 && (c.MaxDatagram < minDatagram || c.MaxDatagram > maxDatagram),
		"MaxDatagram is %d: between %d and %d", c.MaxDatagram, minDatagram, maxDatagram)
	fault(c.RekeyAfter > hardRekey, "RekeyAfter is %d: at most %d", c.RekeyAfter, hardRekey)
	fault(c.SocketBuffer < 0, "SocketBuffer is %d: negative", c.SocketBuffer)
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("udp: bad configuration: %w", errors.Join(errs...))
}

// Session is what two members agreed on elsewhere, for one pair of their
// incarnations. Its keys and indices are used for this pair alone.
type Session struct {
	// Addr is where the peer receives. Datagrams of the peer that come from
	// elsewhere and open are answered there (NAT).
	Addr netip.AddrPort
	// PeerIncarnation rises with each start of the peer.
	PeerIncarnation uint64
	// SendKey and RecvKey are secrets of at least 16 bytes, one a direction.
	SendKey, RecvKey []byte
	// SendIndex is the number that the peer chose for datagrams to it,
	// RecvIndex the one that this member chose: random, unique in its port.
	SendIndex, RecvIndex uint64
	// Sealed: encrypted; otherwise only authenticated. Same at both ends.
	Sealed bool
}

// Validate lists all faults.
func (s *Session) Validate() error {
	var errs []error
	if !s.Addr.IsValid() || s.Addr.Port() == 0 || s.Addr.Addr().IsUnspecified() {
		errs = append(errs, fmt.Errorf("address %v cannot be sent to: give the peer's host and port", s.Addr))
	}
	for name, k := range map[string][]byte{"SendKey": s.SendKey, "RecvKey": s.RecvKey} {
		if len(k) < minKey {
			errs = append(errs, fmt.Errorf("%s has %d bytes: at least %d", name, len(k), minKey))
		}
	}
	if s.SendIndex == 0 || s.RecvIndex == 0 {
		errs = append(errs, errors.New("SendIndex and RecvIndex are random numbers, not 0"))
	}
	return errors.Join(errs...)
}
