package election

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/suspect"
)

// Mode is how far an arbiter goes.
type Mode uint8

const (
	// Off: nothing is decided, held or said. The zero value.
	Off Mode = iota
	// Observe decides and reports, and touches nothing.
	Observe
	// On decides and acts.
	On
)

var modeNames = [...]string{"off", "observe", "on"}

func (m Mode) String() string {
	if int(m) < len(modeNames) {
		return modeNames[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// ParseMode is the inverse of String.
func ParseMode(s string) (Mode, error) {
	if i := slices.Index(modeNames[:], s); i >= 0 {
		return Mode(i), nil
	}
	return Off, fmt.Errorf("election: no mode %q: use off, observe or on", s)
}

// The bounds that are not settings.
const (
	// MaxMembers bounds the voters, outgoing ones included: more and the
	// arbiter is off.
	MaxMembers = 32
	// MaxTermLift bounds how far a term that a peer says is believed beyond
	// that of the member's own raft: a term that is far off would otherwise be
	// forced on everybody.
	MaxTermLift = 1 << 16
	// maxAttempt bounds the attempts that a row may name; beyond half of it rows
	// of others are not followed, so that nobody is led to the end of them.
	maxAttempt = 1 << 31
	// maxRuns bounds the runs of terms that are remembered of handed entries,
	// maxHanded the messages with entries that raft did not answer yet.
	maxRuns   = 16
	maxHanded = 64
	// maxEvents bounds the events that wait to be taken; the oldest go.
	maxEvents = 256
)

// Config holds an arbiter's settings. The zero value stands for the defaults,
// but for Self.
type Config struct {
	// Self is this member.
	Self fabric.MemberID
	// SuspectAfter is the least silence after which a peer is suspected. One
	// that does not beat, as its mode is Off, is after MaxSuspectAfter. Default 60ms.
	SuspectAfter time.Duration
	// MaxSuspectAfter bounds what observed gaps make of SuspectAfter. Default
	// 1s.
	MaxSuspectAfter time.Duration
	// StallAfter is how long a leader's progress counter may stand still.
	// Default 1s, etcd's election timeout.
	StallAfter time.Duration
	// Settle bounds the wait for positions to be settled and seen. Default
	// 15ms.
	Settle time.Duration
	// Patience bounds an attempt: from an endorsement to the nominee's
	// campaign, and from its campaign to its lead. It has to cover three times
	// the delay of a frame and two fsyncs. Default 20ms.
	Patience time.Duration
	// Hold bounds how long a message is kept from raft (E3, with MaxHold), and an
	// election that leads to no campaign. At least Settle + 4 × Patience. Default 100ms,
	// etcd's tick.
	Hold time.Duration
	// MaxHold bounds what Hold becomes on a slow network: Settle, Patience and
	// Hold are doubled together, as round trips demand. Default 8 × Hold; with
	// less than 2 × Hold they stay as they are.
	MaxHold time.Duration
	// Rest is the pause after an election that was given up, and the time for
	// which a leader's transfer of its office is known. Default 1s, etcd's
	// election timeout.
	Rest time.Duration
	// Beat is how often the row of a leader, a candidate, and of all during an
	// election is published at least: one is a sign of life. Default 20ms, at most
	// a third of SuspectAfter.
	Beat time.Duration
	// IdleBeat is how often the row of the others is. Default 5 × Beat. They
	// are suspected by silence no earlier than after three of it.
	IdleBeat time.Duration
	// IdleAfter is how long a leader has nothing to replicate, and no read to
	// confirm, until its row is published as those of the others. Default 10s.
	IdleAfter time.Duration
	// MaxHeld and MaxHeldBytes bound what is held; what exceeds them passes.
	// Default 1024 messages, 16 MiB.
	MaxHeld      int
	MaxHeldBytes int
	// PreVote and CheckQuorum are raft's settings. With either, raft frees a
	// member whose term is ahead without a campaign, so that campaigns against
	// a working leader can be discarded; with neither they are only held back.
	PreVote, CheckQuorum bool
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.SuspectAfter, 60*time.Millisecond)
	orDefault(&c.MaxSuspectAfter, max(time.Second, c.SuspectAfter))
	orDefault(&c.StallAfter, time.Second)
	orDefault(&c.Settle, 15*time.Millisecond)
	orDefault(&c.Patience, 20*time.Millisecond)
	orDefault(&c.Hold, 100*time.Millisecond)
	orDefault(&c.MaxHold, 8*c.Hold)
	orDefault(&c.Rest, time.Second)
	orDefault(&c.Beat, min(20*time.Millisecond, c.SuspectAfter/suspect.MissedBeats))
	orDefault(&c.IdleBeat, 5*c.Beat)
	orDefault(&c.IdleAfter, 10*time.Second)
	orDefault(&c.MaxHeld, 1024)
	orDefault(&c.MaxHeldBytes, 16<<20)
	return c
}

// Validate lists all faults of the settings, defaults filled in.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	bad := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf("election: "+format, args...))
		}
	}
	bad(c.Self == 0, "Self: 0 is no member")
	for _, d := range []struct {
		name string
		d    time.Duration
	}{
		{"SuspectAfter", c.SuspectAfter}, {"MaxSuspectAfter", c.MaxSuspectAfter}, {"StallAfter", c.StallAfter}, {"Settle", c.Settle},
		{"Patience", c.Patience}, {"Hold", c.Hold}, {"MaxHold", c.MaxHold}, {"Rest", c.Rest}, {"Beat", c.Beat}, {"IdleBeat", c.IdleBeat}, {"IdleAfter", c.IdleAfter},
	} {
		bad(d.d <= 0, "%s: %v is not positive", d.name, d.d)
	}
	bad(c.MaxHeld < 1, "MaxHeld: %d is not positive", c.MaxHeld)
	bad(c.MaxHeldBytes < 1, "MaxHeldBytes: %d is not positive", c.MaxHeldBytes)
	bad(c.MaxSuspectAfter < c.SuspectAfter, "MaxSuspectAfter: %v is below SuspectAfter %v", c.MaxSuspectAfter, c.SuspectAfter)
	bad(c.MaxHold < c.Hold, "MaxHold: %v is below Hold %v", c.MaxHold, c.Hold)
	bad(c.Beat > c.SuspectAfter/suspect.MissedBeats, "Beat: %v is more than a third of SuspectAfter %v: a peer would be suspected for too few beats missed", c.Beat, c.SuspectAfter)
	bad(c.IdleBeat < c.Beat, "IdleBeat: %v is below Beat %v", c.IdleBeat, c.Beat)
	bad(c.IdleBeat > c.MaxSuspectAfter/suspect.MissedBeats, "IdleBeat: %v is more than a third of MaxSuspectAfter %v", c.IdleBeat, c.MaxSuspectAfter)
	bad(c.Hold < c.Settle+4*c.Patience, "Hold: %v is below Settle + 4 × Patience = %v: a third attempt would come too late", c.Hold, c.Settle+4*c.Patience)
	return errors.Join(errs...)
}

// Members is the configuration as the member knows it. Ids in Voters and
// Outgoing may repeat, as the configurations of a joint consensus overlap.
type Members struct {
	// Voters are those of the configuration in force, of a joint one the
	// incoming half.
	Voters []fabric.MemberID
	// Outgoing are the voters of the other half, none otherwise.
	Outgoing []fabric.MemberID
	// Learners do not count in any majority.
	Learners []fabric.MemberID
	// Epoch rises with each change, and is the same at all members for the same
	// configuration, as the index of the entry that made it is. 0: it is not known.
	// Elections do without it, views do not.
	Epoch uint64
	// Stock: a voter does not speak rows. The arbiter is off then, since such a
	// member neither endorses nor holds back.
	Stock bool
}
