package simulate

import (
	"time"

	"github.com/raftdv/dv/raftdv/election"
)

// Failovers: the leader crashes, and nominees while they are being elected, as
// many as leave a majority alive. Half of them come before the schedule begins,
// so that nothing else is wrong.

// maxFailovers bounds Config.Failovers.
const maxFailovers = 16

const (
	// firstFailover is when the cluster has a leader, beginning with the first;
	// failoverEvery is for what there is room in the calm at the beginning.
	firstFailover = 2 * time.Second
	calmFailovers = 300 * time.Millisecond
	leastDown     = 20 * time.Millisecond
	mostDown      = 700 * time.Millisecond
)

// failovers draws them. Their numbers follow those of the schedule.
func (c *cluster) failovers(end time.Duration) (faults []Fault) {
	rng := stream(c.cfg.Seed, streamFailovers)
	for i := range c.cfg.Failovers {
		f := Fault{Number: mostFaults + i, Kind: "failover", At: firstFailover + rand64(rng, calmFailovers)}
		if i%2 == 1 && end > faultFree+mostDown {
			f.At = faultFree + rand64(rng, end-faultFree-mostDown)
		}
		f.For = leastDown + rand64(rng, mostDown-leastDown)
		faults = append(faults, f)
	}
	return faults
}

// failover is one of them that is on.
type failover struct {
	*strike
	victims int // that may still crash
	phase   election.EventKind
	down    []func()
	over    bool
}

// phases are the events at which a nominee crashes, or a little later.
var phases = []election.EventKind{election.EventEndorsed, election.EventNominated, election.EventRound, election.EventElected}

func failoverFault(s *strike) func() {
	l := s.leaderOr()
	if l == nil || !s.c.majorityLives() {
		return nil
	}
	f := &failover{strike: s, victims: s.rng.IntN(1 + (s.c.cfg.Members-1)/2)}
	s.c.failover = f
	f.crash(l)
	return func() {
		f.over = true
		for _, end := range f.down {
			end()
		}
	}
}

// crash takes one more member, if that leaves a majority.
func (f *failover) crash(m *member) {
	if f.over || m.dead || m.paused > 0 {
		return
	}
	m.dead = true
	lives := f.c.majorityLives()
	m.dead = false
	if !lives {
		return
	}
	f.down = append(f.down, f.strike.crash(m))
	f.phase = phases[f.rng.IntN(len(phases))]
}

// strikesAt crashes a nominee soon after an event of its own.
func (f *failover) strikesAt(n *node, e *election.Event) {
	if f.over || f.victims == 0 || e.Kind != f.phase || e.Member != n.m.id {
		return
	}
	f.victims--
	f.c.net.After(rand64(f.rng, 3*time.Millisecond), func() {
		if m := n.m; m.node == n {
			f.crash(m)
		}
	})
}

// happened: an arbiter says what it does.
func (c *cluster) happened(n *node, e election.Event) {
	if c.cfg.Trace != nil {
		c.trace("%s: %v of %s in term %d, attempt %d %s", n.m.id, e.Kind, e.Member, e.Term, e.Attempt, e.Reason)
	}
	c.checks.polls.event(&e)
	if c.trial != nil {
		c.trial.arbitrated(n, &e)
	}
	if e.Kind == election.EventPace {
		n.patience = e.Took
	}
	if c.failover != nil {
		c.failover.strikesAt(n, &e)
	}
}

// leaderless: m does not work from now on. If it led, somebody else has to.
func (c *cluster) leaderless(m *member) {
	if c.lostAt < 0 && c.leader() == m {
		c.lostAt = c.net.Now()
	}
}

// led: there is a new leader.
func (c *cluster) led() {
	if c.lostAt < 0 {
		return
	}
	took := c.net.Now() - c.lostAt
	c.lostAt = -1
	c.report.Failovers++
	c.report.FailoverTime += took
	c.report.MostFailoverTime = max(c.report.MostFailoverTime, took)
}

// closed: what the kernel of a process that died tells the peers that can be
// reached. When a machine dies nobody is told.
func (m *member) closed() {
	inc := m.node.inc
	for _, o := range m.c.members {
		n := o.node
		if o == m || o.dead || n.arb == nil {
			continue
		}
		n.sim.After(2*m.c.base.Delay, func() {
			if m.c.cut[[2]*member{m, o}] > 0 || m.node.inc != inc {
				return
			}
			n.arb.Link(m.id, false)
			n.settle()
		})
	}
}
