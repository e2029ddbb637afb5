package fault

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Rule is what happens to the frames and rows that one member sends another.
// The zero value: nothing. Probabilities are from 0 to 1.
type Rule struct {
	// Drop is the probability that a frame is lost, or a row held back for
	// RowRetry.
	Drop float64
	// Corrupt is the probability that a frame arrives damaged: it is lost.
	Corrupt float64
	// Delay and the exponentially distributed time of mean Jitter are how long
	// a frame is held back. The sum is cut off at Config.MaxHold.
	Delay, Jitter time.Duration
	// Reorder is the probability that a frame is held back for ReorderBy more.
	Reorder   float64
	ReorderBy time.Duration
	// Handling is the time that the receiver takes for each frame.
	Handling time.Duration
	// Wire asks the sender's port to damage what it puts on the wire.
	Wire WireFaults
}

// WireFaults happen below a port's own repair: it has to heal them.
type WireFaults struct {
	// Loss, Duplicate, Corrupt and Reorder are probabilities per wire unit.
	Loss, Duplicate, Corrupt, Reorder float64
}

// WireFaulter is implemented by ports that can damage what they send.
type WireFaulter interface {
	SetWireFaults(to fabric.MemberID, f WireFaults) error
}

// Errors of losses and refusals that this package makes.
var (
	// ErrDropped is wrapped by the resolution of a frame that Drop took.
	ErrDropped = errors.New("dropped by a fault rule")
	// ErrCorrupted is wrapped by the resolution of a frame that Corrupt took.
	ErrCorrupted = errors.New("corrupted by a fault rule")
	// ErrCut is why a link is down that was cut.
	ErrCut = errors.New("link cut by a fault rule")
	// ErrUnsupported: the port or clock cannot do what a rule asks for.
	ErrUnsupported = errors.New("fault rule not supported")
)

func (r *Rule) validate(c *Config) error {
	var errs []error
	for _, p := range []struct {
		name  string
		value float64
	}{
		{"Drop", r.Drop}, {"Corrupt", r.Corrupt}, {"Reorder", r.Reorder}, {"Wire.Loss", r.Wire.Loss},
		{"Wire.Duplicate", r.Wire.Duplicate}, {"Wire.Corrupt", r.Wire.Corrupt}, {"Wire.Reorder", r.Wire.Reorder},
	} {
		if !(p.value >= 0 && p.value <= 1) {
			errs = append(errs, fmt.Errorf("fault: Rule.%s is %v, want a probability from 0 to 1", p.name, p.value))
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"Delay", r.Delay}, {"Jitter", r.Jitter}, {"ReorderBy", r.ReorderBy}} {
		if d.value < 0 || d.value > c.MaxHold {
			errs = append(errs, fmt.Errorf("fault: Rule.%s is %v, want 0 to Config.MaxHold = %v", d.name, d.value, c.MaxHold))
		}
	}
	if r.Handling < 0 {
		errs = append(errs, fmt.Errorf("fault: Rule.Handling is %v, want 0 or more", r.Handling))
	}
	if r.Handling > 0 && c.Clock != nil {
		errs = append(errs, fmt.Errorf("%w: Handling sleeps, which a virtual clock cannot; use the network's own (sim.Faults.Handling)", ErrUnsupported))
	}
	return errors.Join(errs...)
}
