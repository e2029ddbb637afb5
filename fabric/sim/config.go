package sim

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Config describes a network. The zero value is a fast one without faults.
type Config struct {
	// Seed of all randomness.
	Seed uint64
	// Faults of all links and members, until SetLink says otherwise.
	Faults Faults
	// Medium is what the fabric does when nothing goes wrong. See also [Model].
	Medium Medium

	// MaxFrame bounds patch plus body. Default 1 MiB.
	MaxFrame int
	// QueueBytes bounds, per destination and lane, the frames accepted and not
	// resolved, and per peer and lane those received and not delivered (and one
	// frame more, which fills a hole). A frame weighs its bytes and 32. Default
	// 4 MiB.
	QueueBytes int
	// TicketTimeout bounds the time until a ticket resolves. Default 5 s.
	TicketTimeout time.Duration
	// RetransmitAfter is the time without an ack after which a packet is sent
	// again; it doubles each time, up to 16 times. Default: 3 × (Faults.Delay +
	// Faults.Jitter + Medium.Cycle) + 1 ms.
	RetransmitAfter time.Duration
	// RowInterval is the longest time that a row waits for members that are not
	// prompt. Default 10 ms.
	RowInterval time.Duration
	// LinkTimeout is how long a member does not hear a peer before it calls the
	// link down. Default 500 ms.
	LinkTimeout time.Duration
	// PauseBuffer bounds the packets that wait for a paused member; further
	// ones are lost. Default 4096.
	PauseBuffer int
	// Wire encodes and decodes every frame and row in the wire format. Corrupt
	// then flips a bit that the decoder has to notice.
	Wire bool

	// Restart gives the handler of a member that Faults.KillEvery killed.
	// Without it nobody is killed.
	Restart func(id fabric.MemberID, incarnation uint64) fabric.Handler
	// Trace is called after every event. It must not call the network.
	Trace func(Event)
}

// Faults is all that goes wrong by itself. The zero value: nothing, and frames
// take no time. Probabilities are per packet, from 0 to 1; with a Medium that
// cuts frames into packets, what happens to one packet happens to the frame.
type Faults struct {
	// Delay is the least time that a packet takes, Jitter the mean of the
	// exponentially distributed time that is added to it.
	Delay, Jitter time.Duration
	// Loss is the probability that a packet vanishes. It is retransmitted.
	Loss float64
	// Duplicate is the probability that a packet arrives twice.
	Duplicate float64
	// Corrupt is the probability that a packet arrives with a wrong bit. It is
	// noticed, counted as refused, and retransmitted.
	Corrupt float64
	// Reorder is the probability that a packet takes ReorderBy longer (default
	// 10 ms), so that packets of other lanes and later ones overtake it.
	Reorder   float64
	ReorderBy time.Duration
	// Bandwidth of each link in bytes per second; packets wait in the order of
	// their lanes. 0: unlimited. Not beside a Medium, which has a Rate.
	Bandwidth int
	// Handling is the time that a receiver takes for each frame: a slow
	// receiver.
	Handling time.Duration

	// ClockError bounds by how far each member's clock is off: each draws an
	// offset of up to that much, and says so in its Now.
	ClockError time.Duration

	// CutEvery is the mean time between one-way cuts of random links, CutFor
	// their mean length. 0: none. Likewise for random members that are paused,
	// stalled, or killed (and restarted after KillFor).
	CutEvery, CutFor     time.Duration
	PauseEvery, PauseFor time.Duration
	StallEvery, StallFor time.Duration
	KillEvery, KillFor   time.Duration
}

// Validate lists everything that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("sim: "+format, args...))
		}
	}
	check(c.MaxFrame >= 0 && c.MaxFrame <= fabric.MaxBody, "MaxFrame is %d, want 0 (default) to %d", c.MaxFrame, fabric.MaxBody)
	check(c.QueueBytes >= 0, "QueueBytes is %d, want 0 (default) or more", c.QueueBytes)
	full := c.withDefaults()
	check(full.QueueBytes >= full.MaxFrame+frameOverhead, "QueueBytes is %d, want room for a frame: MaxFrame + %d = %d at least",
		full.QueueBytes, frameOverhead, full.MaxFrame+frameOverhead)
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"TicketTimeout", c.TicketTimeout}, {"RetransmitAfter", c.RetransmitAfter}, {"RowInterval", c.RowInterval}, {"LinkTimeout", c.LinkTimeout},
	} {
		check(d.value >= 0, "%s is %v, want 0 (default) or more", d.name, d.value)
	}
	check(c.PauseBuffer >= 0, "PauseBuffer is %d, want 0 (default) or more", c.PauseBuffer)
	errs = append(errs, c.checkMedium()...)
	return errors.Join(append(errs, c.Faults.Validate(), c.Medium.Validate())...)
}

// Validate lists everything that is wrong with f.
func (f *Faults) Validate() error {
	var errs []error
	for _, p := range []struct {
		name  string
		value float64
	}{{"Loss", f.Loss}, {"Duplicate", f.Duplicate}, {"Corrupt", f.Corrupt}, {"Reorder", f.Reorder}} {
		if !(p.value >= 0 && p.value <= 1) {
			errs = append(errs, fmt.Errorf("sim: Faults.%s is %v, want a probability from 0 to 1", p.name, p.value))
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"Delay", f.Delay}, {"Jitter", f.Jitter}, {"ReorderBy", f.ReorderBy}, {"Handling", f.Handling}, {"ClockError", f.ClockError},
		{"CutEvery", f.CutEvery}, {"CutFor", f.CutFor}, {"PauseEvery", f.PauseEvery}, {"PauseFor", f.PauseFor},
		{"StallEvery", f.StallEvery}, {"StallFor", f.StallFor}, {"KillEvery", f.KillEvery}, {"KillFor", f.KillFor},
	} {
		if d.value < 0 {
			errs = append(errs, fmt.Errorf("sim: Faults.%s is %v, want 0 or more", d.name, d.value))
		}
	}
	if f.Bandwidth < 0 {
		errs = append(errs, fmt.Errorf("sim: Faults.Bandwidth is %d bytes/s, want 0 (unlimited) or more", f.Bandwidth))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	orInt := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	orTime := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	orInt(&c.MaxFrame, 1<<20)
	orInt(&c.QueueBytes, 4<<20)
	orInt(&c.PauseBuffer, 4096)
	orTime(&c.TicketTimeout, 5*time.Second)
	orTime(&c.RetransmitAfter, 3*(c.Faults.Delay+c.Faults.Jitter+c.Medium.Cycle)+time.Millisecond)
	orTime(&c.RowInterval, 10*time.Millisecond)
	orTime(&c.LinkTimeout, 500*time.Millisecond)
	orTime(&c.Faults.ReorderBy, 10*time.Millisecond)
	return c
}

// frameOverhead is what a frame weighs beyond its bytes.
const frameOverhead = 32
