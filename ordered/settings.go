package ordered

import (
	"errors"
	"fmt"
	"time"

	"github.com/raftdv/dv/barrier"
)

// EndpointConfig holds an endpoint's settings. Zero stands for the default, but
// in those of the barrier.
type EndpointConfig struct {
	Settings
	// Detector says when a silent member is suspected.
	Detector barrier.DetectorConfig
	// Beat is how often the row is published at least while something is going
	// on: a sign of life, and a promise (a beacon). Default 10ms, at most a third
	// of Detector.SuspectAfter.
	Beat time.Duration
	// IdleBeat is how often it is when nothing was sent for IdleAfter. Default 10 ×
	// Beat. Silence is suspected no earlier than after three of it.
	IdleBeat time.Duration
	// IdleAfter. Default 1s.
	IdleAfter time.Duration
	// StallAfter is how long a member that is heard may keep the others waiting
	// until it is suspected, and for how long it then is; both are doubled when it
	// comes again soon. So is a member whose frames or rows break the rules. Default 1s.
	StallAfter time.Duration
	// Turn is how much later than the voter before it a voter proposes a new view.
	// It has to cover a round trip and a write to disk. Default 20ms.
	Turn time.Duration
	// Patience is how long a ballot may stand still before another one begins;
	// it is doubled after each one, up to 32 times. Default 5 × Turn.
	Patience time.Duration
	// JoinWait is how long a new view waits for voters that are neither suspected
	// nor ready. Default Detector.MaxSuspectAfter.
	JoinWait time.Duration
	// RetryAfter is how long a frame that a port refused waits. Default 2ms.
	RetryAfter time.Duration
	// MaxAhead is how far a stamp may lie beyond the own clock where clocks are not
	// synchronised; where they are, it is twice their error. Beyond, a frame or row
	// is refused, as one bad clock must not set all others off. Default 1h.
	MaxAhead time.Duration
}

func (c EndpointConfig) withDefaults() EndpointConfig {
	def := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	c.Settings = c.Settings.withDefaults()
	def(&c.Detector.SuspectAfter, 60*time.Millisecond)
	def(&c.Detector.MaxSuspectAfter, max(time.Second, c.Detector.SuspectAfter))
	def(&c.Beat, min(10*time.Millisecond, c.Detector.SuspectAfter/3))
	def(&c.IdleBeat, 10*c.Beat)
	def(&c.IdleAfter, time.Second)
	def(&c.StallAfter, time.Second)
	def(&c.Turn, 20*time.Millisecond)
	def(&c.Patience, 5*c.Turn)
	def(&c.JoinWait, c.Detector.MaxSuspectAfter)
	def(&c.RetryAfter, 2*time.Millisecond)
	def(&c.MaxAhead, time.Hour)
	return c
}

// Validate lists all faults of the settings, defaults filled in.
func (c EndpointConfig) Validate() error {
	c = c.withDefaults()
	errs := []error{c.Detector.Validate()}
	for _, d := range []struct {
		name string
		v    time.Duration
	}{
		{"Beat", c.Beat}, {"IdleBeat", c.IdleBeat}, {"IdleAfter", c.IdleAfter}, {"StallAfter", c.StallAfter}, {"Turn", c.Turn},
		{"Patience", c.Patience}, {"JoinWait", c.JoinWait}, {"RetryAfter", c.RetryAfter}, {"MaxAhead", c.MaxAhead},
	} {
		if d.v <= 0 {
			errs = append(errs, fmt.Errorf("%w: %s is %v: want a positive time", ErrSettings, d.name, d.v))
		}
	}
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrSettings}, args...)...))
		}
	}
	bad(c.Window < 1 || c.WindowBytes < 1, "Window %d, WindowBytes %d: want positive numbers", c.Window, c.WindowBytes)
	bad(3*c.Beat > c.Detector.SuspectAfter, "Beat %v is more than a third of SuspectAfter %v: members would be suspected that are well", c.Beat, c.Detector.SuspectAfter)
	bad(3*c.IdleBeat > c.Detector.MaxSuspectAfter, "IdleBeat %v is more than a third of MaxSuspectAfter %v: idle members would be suspected", c.IdleBeat, c.Detector.MaxSuspectAfter)
	bad(c.IdleBeat < c.Beat, "IdleBeat %v is less than Beat %v", c.IdleBeat, c.Beat)
	bad(c.StallAfter < c.Detector.SuspectAfter, "StallAfter %v is less than SuspectAfter %v", c.StallAfter, c.Detector.SuspectAfter)
	return errors.Join(errs...)
}
