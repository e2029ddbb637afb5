package sim

import (
	"errors"
	"fmt"
	"time"
)

// Medium is what a fabric does to every frame when nothing goes wrong: how fast
// it is, what its packets carry and cost, who may send when, and what it
// promises. Latency and loss are those of [Faults]. The zero value is none of
// this: frames take no time on the wire, and what is documented there holds.
//
// A member's port puts one packet after the other on the wire, whoever they are
// for: acks and rows first, then the lanes in their order. A frame weighs its
// bytes and 32; it is cut into packets, and arrives as a whole when its last
// packet does. Between packets nothing overtakes, but a frame of more than
// 64 KiB makes way for a more urgent one after each 64 KiB. Acks are packets
// without a payload. The costs of the hosts overlap with the wire, as in LogGP
// (Alexandrov, Ionescu, Schauser, Scheiman: LogGP, SPAA 1995): a small frame
// takes SendCost + wire + Delay + ReceiveCost, many in a row take the largest of
// SendCost, wire and ReceiveCost each.
//
// Stats count the bytes of frames, not the headers of packets.
type Medium struct {
	// Name of the fabric; Capabilities report "sim/" and it.
	Name string
	// Rate is what a member's port puts on the wire in bytes per second, line
	// coding already taken off. Its links share it. 0: no Medium; everything
	// else in it has to be zero too.
	Rate int
	// PayloadBytes bounds what one packet carries. 0: a frame of any size is one
	// packet.
	PayloadBytes int
	// HeaderBytes is what each packet has beside its payload on the wire:
	// headers, checksums, preamble, gap.
	HeaderBytes int
	// MinPacket is the least that a packet takes on the wire in bytes, header
	// included.
	MinPacket int
	// SendCost is the time that a sending host spends on each frame and row,
	// ReceiveCost the receiving host's until its handler is called. A host does
	// one after the other.
	SendCost, ReceiveCost time.Duration

	// Multicast: a frame to several members goes on the wire once, with the
	// patches of all of them. Frames that are sent again go to one member each.
	Multicast bool
	// InOrder: packets of one link and lane arrive in the order in which they
	// were sent: a late one holds up those behind it.
	InOrder bool
	// Lossless: links lose nothing while they are up. No packet may have a
	// probability of being lost, doubled or corrupted in Config.Faults, and a
	// link is down before tickets time out. What SetLink and SetWireFaults
	// inject is a fabric that breaks its promise.
	Lossless bool
	// OneSided: frames reach the receiver's memory, and are acked, without its
	// processor.
	OneSided bool
	// Unsynchronised: the fabric gives its members no common clock. Now is then
	// logical.
	Unsynchronised bool

	// Cycle makes the fabric a scheduled one: time is divided into cycles, a
	// cycle into slots of length Slot, and a member sends in its own slot alone,
	// which its own clock shows it: the first that joins has the first slot, and
	// so on. Nothing is sent within Guard of a slot's ends. 0: not scheduled.
	Cycle, Slot, Guard time.Duration
}

func (m *Medium) scheduled() bool { return m.Cycle > 0 }

// slots is the number of members that the schedule has room for.
func (m *Medium) slots() int { return int(m.Cycle / m.Slot) }

// burstBytes is what of a frame goes on the wire before a more urgent one may.
const burstBytes = 64 << 10

// burst is that in packets.
func (m *Medium) burst() int {
	if m.PayloadBytes == 0 {
		return 1
	}
	return max(1, burstBytes/m.PayloadBytes)
}

// packets is how many packets size bytes take.
func (m *Medium) packets(size int) int {
	if m.PayloadBytes == 0 || size <= m.PayloadBytes {
		return 1
	}
	return (size + m.PayloadBytes - 1) / m.PayloadBytes
}

// wireBytes is what packets first to first+count-1 of size bytes take on the
// wire.
func (m *Medium) wireBytes(size, first, count int) int {
	last := m.packets(size) - 1
	bytes := 0
	if first+count-1 == last {
		bytes = max(m.MinPacket, m.HeaderBytes+size-last*m.PayloadBytes)
		count--
	}
	return bytes + count*max(m.MinPacket, m.HeaderBytes+m.PayloadBytes)
}

// wireTime is how long bytes take on the wire, in nanoseconds, rounded up.
func (m *Medium) wireTime(bytes int) int64 {
	return (int64(bytes)*int64(time.Second) + int64(m.Rate) - 1) / int64(m.Rate)
}

// maxWireBytes bounds PayloadBytes, HeaderBytes and MinPacket, so that the
// arithmetic of times does not overflow.
const maxWireBytes = 1 << 24

// Validate lists everything that is wrong with m.
func (m *Medium) Validate() error {
	if *m == (Medium{}) {
		return nil
	}
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("sim: Medium."+format, args...))
		}
	}
	check(m.Name != "", "Name is empty: name the fabric")
	check(m.Rate > 0, "Rate is %d bytes/s, want more than 0: without it nothing else of a Medium has a meaning", m.Rate)
	for _, b := range []struct {
		name  string
		value int
	}{{"PayloadBytes", m.PayloadBytes}, {"HeaderBytes", m.HeaderBytes}, {"MinPacket", m.MinPacket}} {
		check(b.value >= 0 && b.value <= maxWireBytes, "%s is %d, want 0 to %d", b.name, b.value, maxWireBytes)
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"SendCost", m.SendCost}, {"ReceiveCost", m.ReceiveCost}, {"Cycle", m.Cycle}, {"Slot", m.Slot}, {"Guard", m.Guard}} {
		check(d.value >= 0, "%s is %v, want 0 or more", d.name, d.value)
	}
	if len(errs) == 0 {
		errs = m.checkSchedule()
	}
	return errors.Join(errs...)
}

// checkSchedule lists what is wrong with the schedule of an m that is sound
// otherwise.
func (m *Medium) checkSchedule() (errs []error) {
	if !m.scheduled() {
		if m.Slot != 0 || m.Guard != 0 {
			errs = append(errs, fmt.Errorf("sim: Medium.Slot is %v and Guard %v without a Cycle: set all of the schedule or nothing", m.Slot, m.Guard))
		}
		return errs
	}
	if m.Slot == 0 || m.slots() < 2 {
		return append(errs, fmt.Errorf("sim: Medium.Slot is %v in a Cycle of %v, want room for two members at least", m.Slot, m.Cycle))
	}
	if m.PayloadBytes == 0 {
		return append(errs, errors.New("sim: Medium.PayloadBytes is 0 with a Cycle: packets have to be bounded to fit a slot"))
	}
	largest := time.Duration(m.wireTime(m.wireBytes(m.PayloadBytes, 0, 1)))
	if room := m.Slot - 2*m.Guard; room < largest {
		errs = append(errs, fmt.Errorf("sim: Medium.Slot less Guard on both sides is %v, want room for one packet: %v", room, largest))
	}
	return errs
}

// checkMedium lists what of c contradicts its Medium.
func (c *Config) checkMedium() (errs []error) {
	m, f := &c.Medium, &c.Faults
	fault := func(bad bool, format string, args ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("sim: "+format, args...))
		}
	}
	if m.Rate <= 0 {
		return nil
	}
	fault(f.Bandwidth != 0, "Faults.Bandwidth is %d beside a Medium.Rate: set one of them", f.Bandwidth)
	fault(m.Lossless && (f.Loss != 0 || f.Duplicate != 0 || f.Corrupt != 0),
		"Faults.Loss is %v, Duplicate %v, Corrupt %v on a Medium that is Lossless: want 0", f.Loss, f.Duplicate, f.Corrupt)
	full := c.withDefaults()
	fault(m.Lossless && full.LinkTimeout > full.TicketTimeout,
		"LinkTimeout is %v on a Medium that is Lossless, want at most TicketTimeout, %v: frames are lost only with their link", full.LinkTimeout, full.TicketTimeout)
	fault(m.scheduled() && m.Guard < 2*f.ClockError,
		"Medium.Guard is %v, want twice Faults.ClockError, %v, at least: slots of two members would overlap", m.Guard, 2*f.ClockError)
	return errs
}
