package simulate

import (
	"errors"
	"fmt"
	"io"
	"time"

	"go.etcd.io/raft/v3"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
	"github.com/raftdv/dv/ordered"
	"github.com/raftdv/dv/raftdv/election"
)

// etcd's settings of raft: etcdserver's bootstrap.go of 3.7, and the defaults of
// its flags --heartbeat-interval and --election-timeout.
const (
	raftTick        = 100 * time.Millisecond
	electionTicks   = 10
	heartbeatTicks  = 1
	maxInflightMsgs = 512
	maxSizePerMsg   = 1 << 20
)

const (
	// maxMembers bounds a cluster; members that join later come on top.
	maxMembers = 31
	// maxLabMembers bounds that of a trial, which nobody joins.
	maxLabMembers = 101
	// maxSimulated bounds a run that does not get its proposals through.
	maxSimulated    = 10 * time.Minute
	defaultDuration = time.Minute
	// queueBytes bounds the ports' queues; the largest MsgApp fits twice.
	queueBytes = 2 * maxFrame
	maxFrame   = maxSizePerMsg + 64<<10
	// ticketTimeout bounds the time until a ticket resolves.
	ticketTimeout = 2 * time.Second
)

// Config describes one run. The zero value is seed 0 on three members.
type Config struct {
	// Seed of everything: network, disks, clients, schedule, raft's timeouts.
	Seed uint64
	// Members at the beginning. Default 3.
	Members int
	// Duration is the least simulated time. Default 60 s.
	Duration time.Duration
	// Proposals is the least number that has to be acknowledged; the run goes on
	// until it is reached, up to ten simulated minutes. Default 1000.
	Proposals int
	// MinFaults is the least number of faults that have to strike. Default 5,
	// or all of Only if there are fewer; negative: none.
	MinFaults int
	// Only restricts the schedule to the faults with these numbers; nil: all of
	// them, empty: none.
	Only []int
	// Elections is the mode of the members' arbiters. Default off: stock raft.
	Elections election.Mode
	// Views: members run in views, with a total order, and reach each other by way of
	// others where links are cut. Default false.
	Views bool
	// Failovers is how many times beyond the schedule the leader, and nominees
	// after it, crash within an election, half of them in a calm. Default 0.
	Failovers int
	// Arbiter makes the arbiter of a member's incarnation. Default what Elections
	// says: none, or [Elections].
	Arbiter func(Host) Arbiter
	// Trace is called for what the nemesis does and who leads; see TraceTo. Nil: nobody.
	Trace func(at time.Duration, what string)

	lab   *Lab
	hooks hooks
}

// hooks is where tests of this package plant bugs; each is nil otherwise.
type hooks struct {
	handler  func(c *cluster, id fabric.MemberID, h fabric.Handler) fabric.Handler
	port     func(c *cluster, id fabric.MemberID, p fabric.Port) fabric.Port
	raft     func(*raft.Config)
	writer   func(id fabric.MemberID) ackWriter
	persist  func(m *member, w *write)
	apply    func(m *member, index uint64, cmd *command)
	early    func(m *member) bool // answers leave before they are on disk
	stale    func(m *member) bool // reads are not confirmed
	network  func(*sim.Config)
	schedule func([]Fault) []Fault
	told     func(n *node, e *ordered.Event) bool // what the checks are told of the order; false: nothing
	barrier  func(n *node, s fabric.Stamp) fabric.Stamp
	deafRow  func(n *node) bool // views hear no rows
	struck   func(c *cluster)   // a trial's fault is about to strike
	size     int                // of entries
	mute     map[string]bool    // checks that would see a bug before the one that is meant
}

// Validate lists everything that is wrong with c.
func (c *Config) Validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("simulate: "+format, args...))
		}
	}
	most := maxMembers
	if c.lab != nil {
		most = maxLabMembers
	}
	check(c.Members >= 0 && c.Members <= most, "Members is %d, want 0 (default: 3) to %d", c.Members, most)
	check(c.Duration >= 0 && c.Duration <= maxSimulated, "Duration is %v, want 0 (default: 60s) to %v", c.Duration, maxSimulated)
	check(c.Failovers >= 0 && c.Failovers <= maxFailovers, "Failovers is %d, want 0 to %d", c.Failovers, maxFailovers)
	check(c.Proposals >= 0, "Proposals is %d, want 0 (default: 1000) or more", c.Proposals)
	for _, i := range c.Only {
		check(i >= 0, "Only holds %d, want numbers of faults, from 0", i)
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Members == 0 {
		c.Members = 3
	}
	if c.Duration == 0 {
		c.Duration = defaultDuration
	}
	if c.Proposals == 0 {
		c.Proposals = 1000
	}
	if c.Arbiter == nil && c.Elections != election.Off {
		c.Arbiter = Elections(c.Elections)
	}
	if c.MinFaults == 0 {
		c.MinFaults = 5
		if c.Only != nil {
			c.MinFaults = 0 // a shrunk schedule is there to show a failure
		}
	}
	return c
}

// network draws the fabric of a seed.
func (c *cluster) network() sim.Config {
	if l := c.cfg.lab; l != nil {
		cfg := l.network(c.cfg.Seed)
		c.base = cfg.Faults
		return cfg
	}
	delay := time.Duration(20+c.rng.IntN(480)) * time.Microsecond
	cfg := sim.Config{
		Seed:     c.cfg.Seed,
		MaxFrame: maxFrame, QueueBytes: queueBytes, TicketTimeout: ticketTimeout,
		Faults: sim.Faults{Delay: delay, Jitter: delay / 4},
		Wire:   c.rng.IntN(4) == 0, // frames and rows by way of their bytes on the wire
	}
	c.base = cfg.Faults
	if c.cfg.hooks.network != nil {
		c.cfg.hooks.network(&cfg)
	}
	return cfg
}

// TraceTo is a Config.Trace that writes a line for each call, the simulated time first.
func TraceTo(w io.Writer) func(at time.Duration, what string) {
	return func(at time.Duration, what string) { fmt.Fprintf(w, "%14v  %s\n", at, what) }
}
