package simulate

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/fabric/sim"
)

// cluster is one run.
type cluster struct {
	cfg     Config
	net     *sim.Network
	base    sim.Faults // of all links while nothing is wrong
	members []*member  // in the order of their first start; ids are 1, 2, 3...
	rng     *rand.Rand
	diskRNG *rand.Rand

	hash     uint64 // of what raft applied
	streams  uint64 // frames so far
	linkWoes []*linkWoe
	cut      map[[2]*member]int // cuts that are on, by direction
	failover *failover          // the newest
	trial    *labTrial          // nil in the suite
	kernels  *rand.Rand
	clients  *clients
	report   Report
	lostAt   time.Duration // when the leader crashed or stopped; -1: it did not
	checks   checks
}

// member is a member across its restarts.
type member struct {
	c      *cluster
	id     fabric.MemberID
	rank   int // its place in cluster.members
	disk   disk
	node   *node             // of the newest incarnation
	others []fabric.MemberID // see cluster.others
	skew   float64           // how much faster its clock runs
	// clockAt is what its clock showed at clockFrom, when skew changed last.
	clockAt, clockFrom time.Duration
	upClock            time.Duration // up, by its clock
	gone               bool          // removed from the cluster for good
	died               time.Duration // when it crashed last
	up                 time.Duration // when it was last started or resumed
	dead               bool
	// paused counts the faults that have it paused.
	paused int
}

// firstIndex and firstTerm are of the empty log that all members begin with.
const firstIndex, firstTerm = 1, 1

func newCluster(cfg Config) (*cluster, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	c := &cluster{
		cfg: cfg.withDefaults(), lostAt: -1,
		cut: map[[2]*member]int{}, kernels: stream(cfg.Seed, streamKernels), rng: stream(cfg.Seed, streamCluster), diskRNG: stream(cfg.Seed, streamDisk),
	}
	c.report = newReport(&c.cfg)
	var err error
	if c.net, err = sim.New(c.network()); err != nil {
		return nil, err
	}
	c.checks.init(c)
	voters := &raftpb.ConfState{}
	for i := range c.cfg.Members {
		voters.Voters = append(voters.Voters, uint64(i+1))
	}
	for range voters.Voters {
		m := c.addMember()
		m.disk.snapshot = &raftpb.Snapshot{
			Data:     new(state).encode(),
			Metadata: &raftpb.SnapshotMetadata{ConfState: voters, Index: new(uint64(firstIndex)), Term: new(uint64(firstTerm))},
		}
		m.disk.hard = &raftpb.HardState{Term: new(uint64(firstTerm)), Commit: new(uint64(firstIndex))}
	}
	for _, m := range c.members {
		m.start()
	}
	c.clients = newClients(c)
	return c, nil
}

// addMember makes the next member, with an empty disk; start starts it.
func (c *cluster) addMember() *member {
	m := &member{c: c, id: fabric.MemberID(len(c.members) + 1), rank: len(c.members), dead: true}
	m.disk.latency = time.Duration(200+c.rng.IntN(2000)) * time.Microsecond
	c.members = append(c.members, m)
	return m
}

// member is the one with an id, or nil.
func (c *cluster) member(id fabric.MemberID) *member {
	if id == 0 || id > fabric.MemberID(len(c.members)) {
		return nil
	}
	return c.members[id-1]
}

// size counts the members, dead or alive, that were not removed.
func (c *cluster) size() (n int) {
	for _, m := range c.members {
		if !m.gone {
			n++
		}
	}
	return n
}

// others are all members but one and those that are gone.
// The list is the member's, until it is asked for again.
func (c *cluster) others(m *member) []fabric.MemberID {
	m.others = m.others[:0]
	for _, o := range c.members {
		if o != m && !o.gone {
			m.others = append(m.others, o.id)
		}
	}
	return m.others
}

// leader is the member that leads the highest term, or nil.
func (c *cluster) leader() (leader *member) {
	term := uint64(0)
	for _, m := range c.members {
		if n := m.node; !m.dead && n.leads && n.term > term {
			leader, term = m, n.term
		}
	}
	return leader
}

func (c *cluster) mix(x uint64) {
	c.hash = bits.RotateLeft64((c.hash^x)*0x9fb2_1c65_1e98_df25, 29) + 0x1656_67b1_9e37_79f9
}

func (c *cluster) trace(format string, args ...any) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(c.net.Now(), fmt.Sprintf(format, args...))
	}
}

// start starts a member for the first time or again.
func (m *member) start() {
	n, err := newNode(m)
	if err != nil {
		m.c.fail("raft", "member %s does not start: %v", m.id, err)
		return
	}
	m.node, m.dead = n, false
	m.runs()
	m.c.checks.polls.alive()
	if m.paused > 0 {
		m.c.net.Pause(m.id)
	}
	n.begin()
}

// runs: it was started or resumed.
func (m *member) runs() { m.up, m.upClock = m.c.net.Now(), m.clock() }

// kill ends a member as a crash does.
func (m *member) kill() {
	m.c.leaderless(m)
	if t := m.c.trial; t != nil {
		t.killed(m)
	}
	m.c.net.Kill(m.id)
	m.dead, m.died = true, m.c.net.Now()
	m.c.checks.polls.alive()
	m.node.leads = false
	if m.c.kernels.IntN(2) == 0 {
		m.closed()
	}
	m.crash()
}

// The run ends with a calm stretch in which the cluster has to work, and one
// without clients in which every ticket has to resolve.
const (
	calm   = 10 * time.Second
	settle = ticketTimeout + 2*time.Second
)

// Run runs a seed to its end. The error is about cfg; what the run finds wrong
// is in the report.
func Run(cfg Config) (*Report, error) {
	defer seedEntropy(stream(cfg.Seed, streamRaft))()
	started := time.Now()
	c, err := newCluster(cfg)
	if err != nil {
		return nil, err
	}
	c.guarded(c.run)
	c.finish()
	c.report.Wall = time.Since(started)
	return &c.report, nil
}

// guarded makes a panic, of raft above all, a failure like any other.
func (c *cluster) guarded(f func()) {
	defer func() {
		if p := recover(); p != nil {
			c.fail("raft", "panic: %v", p)
		}
	}()
	f()
}

func (c *cluster) run() {
	end := c.cfg.Duration
	schedule := c.schedule(end - calm)
	c.strike(schedule)
	c.clients.start()
	for c.net.Now() < end || c.report.Acked < c.cfg.Proposals && c.net.Now() < maxSimulated {
		c.net.Advance(100 * time.Millisecond)
		c.checks.look()
		if len(c.report.Failures) > 0 {
			return
		}
	}
	c.clients.stop()
	c.net.Advance(settle)
	c.checks.end()
	c.exercised()
}

// finish completes the report.
func (c *cluster) finish() {
	r := &c.report
	r.Simulated, r.Events = c.net.Now(), c.net.Events()
	c.mix(c.net.Hash())
	r.Hash = c.hash
	for _, m := range c.members {
		r.Syncs += m.disk.syncs
		for _, peer := range m.node.sim.Stats(nil) {
			r.Again += int(peer.Retransmissions)
		}
	}
}

// exercised fails a seed that shows too little.
func (c *cluster) exercised() {
	r := &c.report
	if n := r.struck(); n < c.cfg.MinFaults {
		c.fail("exercised", "%d faults struck, want %d", n, c.cfg.MinFaults)
	}
	if r.Acked < c.cfg.Proposals {
		c.fail("exercised", "%d proposals were acknowledged in %v, want %d", r.Acked, c.net.Now(), c.cfg.Proposals)
	}
	if r.Elections == 0 {
		c.fail("exercised", "nobody was elected")
	}
}

// fail records what is wrong; a few of them say enough.
func (c *cluster) fail(check, format string, args ...any) {
	const enough = 10
	if len(c.report.Failures) < enough && !c.cfg.hooks.mute[check] {
		what := fmt.Sprintf(format, args...)
		c.report.Failures = append(c.report.Failures, Failure{Check: check, At: c.net.Now(), What: what})
		c.failedE2(check, what)
	}
}
