package shm

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Defaults of Config.
const (
	DefaultMaxFrame     = 2 << 20
	DefaultSlotSize     = 65 * line // a page of body; no power of two, which would put all slots on few cache sets
	DefaultControlSlots = 256
	DefaultAppendSlots  = 2048
	DefaultBulkSlots    = 1024

	DefaultTicketTimeout  = 2 * time.Second
	DefaultRowInterval    = 10 * time.Millisecond
	DefaultStuckAfter     = 5 * time.Millisecond
	DefaultSpin           = 20 * time.Microsecond
	DefaultRedialInterval = 100 * time.Millisecond

	// maxPath is what the address of a unix socket holds.
	maxPath = 107
	// minKey is the least length of a session's key in bytes.
	minKey = 16
)

// Config says how a port works. The zero value of a field means the default
// that is stated with it.
type Config struct {
	// Self is this member. Required.
	Self fabric.MemberID
	// Incarnation of this member; it rises with each start.
	Incarnation uint64
	// Dir is the directory where members of this host meet. It is made if it is
	// not there, belongs to this user and has mode 0700. Required.
	Dir string

	// MaxFrame bounds patch plus body of one frame in bytes. Default 2 MiB. A
	// peer that takes less is sent less. A lane that has brought a frame of
	// several slots keeps memory for its size.
	MaxFrame int
	// SlotSize is the size in bytes of the slots that peers write to, a multiple
	// of 64. A frame takes a slot, a larger one as many as its pieces need.
	// Default 4,160.
	SlotSize int
	// Slots bounds, for each lane and peer, the slots that the peer may fill
	// before this member takes them in: all the credit there is. Never less than
	// the largest frame needs. Defaults: control 256, append 2,048, bulk 1,024.
	// Memory is used as slots are, and stays with the session.
	Slots [fabric.Lanes]int

	// TicketTimeout bounds the time until a ticket resolves. Default 2 s.
	TicketTimeout time.Duration
	// RowInterval is how long a row waits for members that are not prompt.
	// Default 10 ms.
	RowInterval time.Duration
	// StuckAfter is how long a handler call may last before another goroutine
	// serves the other peers. Default 5 ms.
	StuckAfter time.Duration
	// Spin is how long the reader looks at its doorbell before it sleeps, as
	// long as that pays and a processor is free. Default 20 µs; negative: never.
	// It has no effect with GOMAXPROCS=1.
	Spin time.Duration
	// RedialInterval is the longest time between two attempts to meet a peer.
	// Default 100 ms.
	RedialInterval time.Duration
}

// withDefaults returns c with every field set.
func (c Config) withDefaults() Config {
	set(&c.MaxFrame, DefaultMaxFrame)
	set(&c.SlotSize, DefaultSlotSize)
	for i, d := range [...]int{DefaultControlSlots, DefaultAppendSlots, DefaultBulkSlots} {
		set(&c.Slots[i], d)
		c.Slots[i] = max(c.Slots[i], leastSlots(c.MaxFrame, c.SlotSize))
	}
	set(&c.TicketTimeout, DefaultTicketTimeout)
	set(&c.RowInterval, DefaultRowInterval)
	set(&c.StuckAfter, DefaultStuckAfter)
	set(&c.Spin, DefaultSpin)
	set(&c.RedialInterval, DefaultRedialInterval)
	return c
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (c *Config) geometry() geometry {
	return geometry{slot: c.SlotSize, slots: c.Slots, maxFrame: c.MaxFrame}
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
	fault(c.Dir == "", "Dir is empty: give the directory where members of this host meet")
	path := socketPath(c.Dir, c.Self)
	fault(len(path) > maxPath, "Dir is too long: %q has %d bytes, a unix socket's path at most %d", path, len(path), maxPath)
	fault(c.MaxFrame < 0 || c.MaxFrame > fabric.MaxBody, "MaxFrame is %d: between 1 and %d", c.MaxFrame, fabric.MaxBody)
	fault(c.SlotSize != 0 && (c.SlotSize < minSlot || c.SlotSize > maxSlot || c.SlotSize%line != 0),
		"SlotSize is %d: between %d and %d, a multiple of %d", c.SlotSize, minSlot, maxSlot, line)
	for i, n := range c.Slots {
		fault(n < 0 || n > maxSlots, "Slots of the %v lane is %d: between 1 and %d", fabric.Lane(i), n, maxSlots)
	}
	for name, d := range map[string]time.Duration{
		"TicketTimeout": c.TicketTimeout, "RowInterval": c.RowInterval, "StuckAfter": c.StuckAfter, "RedialInterval": c.RedialInterval,
	} {
		fault(d < 0, "%s is %v: negative", name, d)
	}
	if len(errs) == 0 {
		full := c.withDefaults()
		shape := full.geometry()
		if err := shape.validate(); err != nil {
			errs = append(errs, fmt.Errorf("MaxFrame, SlotSize and Slots do not fit together: %w", err))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("shm: bad configuration: %w", errors.Join(errs...))
}

// socketPath is where a member is met.
func socketPath(dir string, id fabric.MemberID) string {
	return filepath.Join(dir, id.String()+".sock")
}

// Session is what two members agreed on elsewhere, for one pair of their
// incarnations.
type Session struct {
	// PeerIncarnation rises with each start of the peer.
	PeerIncarnation uint64
	// Socket is where the peer is met: its Port.Socket. Default: in this
	// member's own directory.
	Socket string
	// Key is a secret of at least 16 bytes that only the two have: whoever is
	// met proves to have it. Without a key, being a process of the same user that
	// has reached the directory is all the proof there is. Same at both ends.
	Key []byte
}

// Validate lists all faults.
func (s *Session) Validate() error {
	var errs []error
	if len(s.Key) > 0 && len(s.Key) < minKey {
		errs = append(errs, fmt.Errorf("the key has %d bytes: at least %d", len(s.Key), minKey))
	}
	if len(s.Socket) > maxPath {
		errs = append(errs, fmt.Errorf("socket path %q has %d bytes: at most %d", s.Socket, len(s.Socket), maxPath))
	}
	return errors.Join(errs...)
}

func (s *Session) same(o *Session) bool {
	return s.PeerIncarnation == o.PeerIncarnation && s.Socket == o.Socket && string(s.Key) == string(o.Key)
}
