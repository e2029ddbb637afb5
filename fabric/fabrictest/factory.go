package fabrictest

import (
	"testing"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Factory makes clusters of connected ports of one kind.
type Factory struct {
	// Name is that of the port under test.
	Name string
	// New makes one port for each member and connects them all. Handlers may
	// be called before New returns. Members start with incarnation 1. What it
	// makes is closed by Cluster.Close, or by tb.Cleanup.
	New func(tb testing.TB, members []fabric.MemberID, handlers map[fabric.MemberID]fabric.Handler, opt Options) *Cluster
	// Lacks says for each ability that Cluster does not offer why. The cases
	// that need it are skipped with that reason; an ability that is missing
	// without a reason is a failure.
	Lacks map[Ability]string
	// Lossy: frames may be lost though the suite does nothing to them. Each loss
	// still has to be reported on both sides.
	Lossy bool
	// Slack is added to TicketTimeout where the suite waits for tickets on the
	// wall clock. Default 5 s.
	Slack time.Duration
	// Patience bounds the wait for what the contract promises without a time:
	// that links come up, that rows arrive. Default 15 s.
	Patience time.Duration
}

// Options are the bounds that a case asks for. A port may use smaller ones,
// never larger.
type Options struct {
	// TicketTimeout is what Capabilities then reports.
	TicketTimeout time.Duration
	// QueueBytes bounds for each destination and lane the frames that were
	// accepted and have not been resolved, and for each peer and lane the
	// frames that were received and have not been delivered. Empty frames count
	// too: a frame weighs at least 16 bytes.
	QueueBytes int
	// MaxFrame bounds patch plus body.
	MaxFrame int
	// RowInterval is the longest time that a row waits for members that are
	// not prompt.
	RowInterval time.Duration
}

// Ability names what a Cluster can do to its members.
type Ability string

// The abilities: what a Cluster may be without, with a reason.
const (
	AbleKill    Ability = "kill"
	AbleRestart Ability = "restart"
	AbleCut     Ability = "cut"
	// AbleWait: the cluster runs on the wall clock, where a call can wait for another.
	AbleWait Ability = "wait"
	// AbleStats: its ports implement fabric.StatsReporter.
	AbleStats Ability = "stats"
)

// Cluster is a set of connected ports and what can be done to them.
type Cluster struct {
	// Port returns the running port of a member.
	Port func(fabric.MemberID) fabric.Port

	// Kill ends a member's port as a crash would: its peers are told nothing,
	// its handler is not called once Kill has returned.
	Kill func(fabric.MemberID)

	// Restart starts a member that was killed or closed again, at the same
	// address, with the next incarnation (2 at first) and the handler given.
	// Port returns the new port from then on.
	Restart func(fabric.MemberID, fabric.Handler)

	// Cut stops all that from sends to to, acks included, without a sign to
	// either; Mend ends it.
	Cut, Mend func(from, to fabric.MemberID)

	// Stall keeps the port from calling Deliver, Gap and Row of a member, as a
	// handler does that does not return from Deliver; Unstall ends it. Leave
	// them nil on the wall clock: the suite then blocks in Deliver.
	Stall, Unstall func(fabric.MemberID)

	// Advance moves virtual time on. Nil: wall clock.
	Advance func(time.Duration)

	// Close closes all ports that still run and releases what New made.
	Close func()
}
