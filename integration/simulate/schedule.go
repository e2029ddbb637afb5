package simulate

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Fault is one thing that goes wrong, with the number by which Config.Only
// names it. What it strikes is drawn when it does, from randomness of its own:
// leaving out other faults does not change that.
type Fault struct {
	Number int
	Kind   string
	At     time.Duration
	For    time.Duration
}

// String is one line of a schedule.
func (f Fault) String() string {
	return fmt.Sprintf("%3d  %-16s at %-10v for %v", f.Number, f.Kind, f.At.Round(time.Millisecond), f.For.Round(time.Millisecond))
}

// kind is one kind of fault. start returns how to end it, or nil if it cannot
// strike now: there is nobody to strike. It takes a cluster of some members.
type kind struct {
	name    string
	members int
	start   func(s *strike) (end func())
}

// strike is a fault that strikes.
type strike struct {
	Fault
	c   *cluster
	rng *rand.Rand
}

// kinds are all kinds of faults, with the same odds. docs/simulator.md has
// their sources.
var kinds = []kind{
	{"crash", 1, crash},
	{"crash-leader", 1, crashLeader},
	{"power-loss", 1, powerLoss},
	{"pause", 1, pause},
	{"pause-leader", 1, pauseLeader},
	{"stuck-handler", 1, stuckHandler},
	{"one-way-cut", 2, oneWayCut},
	{"deaf-leader", 2, deafLeader},
	{"chained", 3, chained},
	{"quorum-loss", 3, quorumLoss},
	{"constrained", 3, constrained},
	{"rotating-hub", 3, rotatingHub},
	{"bridge", 3, bridge},
	{"flapping", 2, flapping},
	{"split", 2, split},
	{"loss", 1, loss},
	{"delay", 1, delay},
	{"reorder", 1, reorder},
	{"duplicate", 1, duplicate},
	{"corrupt", 1, corrupt},
	{"clock-skew", 1, clockSkew},
	{"storage-stall", 1, storageStall},
	{"storage-slow", 1, storageSlow},
	{"membership", 1, membership},
	{"transfer", 1, transfer},
}

// failovers come by Config.Failovers, not by lot.
var failovers = kind{"failover", 2, failoverFault}

// Kinds names all kinds of faults that are drawn.
func Kinds() (names []string) {
	for _, k := range kinds {
		names = append(names, k.name)
	}
	return names
}

const (
	leastFaults = 8
	mostFaults  = 14
	// faultFree is how long the cluster has in the beginning to elect.
	faultFree = 3 * time.Second
)

// schedule draws the faults of a seed; all are over by end.
func (c *cluster) schedule(end time.Duration) []Fault {
	rng := stream(c.cfg.Seed, streamSchedule)
	var faults []Fault
	if span := end - faultFree; span > 0 {
		for i := range leastFaults + rng.IntN(mostFaults-leastFaults+1) {
			f := Fault{Number: i, Kind: kinds[rng.IntN(len(kinds))].name, At: faultFree + rand64(rng, span)}
			f.For = min(300*time.Millisecond+rand64(rng, 6*time.Second), end-f.At)
			faults = append(faults, f)
		}
	}
	faults = append(faults, c.failovers(end)...)
	if h := c.cfg.hooks.schedule; h != nil {
		faults = h(faults)
	}
	if c.cfg.Only != nil {
		faults = only(faults, c.cfg.Only)
	}
	c.report.Schedule, c.report.Scheduled = faults, len(faults)
	return faults
}

func rand64(rng *rand.Rand, below time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(below)))
}

func only(faults []Fault, numbers []int) (kept []Fault) {
	for _, f := range faults {
		if slices.Contains(numbers, f.Number) {
			kept = append(kept, f)
		}
	}
	return kept
}

// strike puts a schedule into effect.
func (c *cluster) strike(faults []Fault) {
	healed := time.Duration(0)
	for _, f := range faults {
		healed = max(healed, f.At+f.For)
		s := &strike{f, c, stream(c.cfg.Seed, streamFault+uint64(f.Number))}
		c.net.At(f.At, func() {
			end := s.begin()
			if end == nil {
				c.trace("%s finds nobody", f.Kind)
				return
			}
			c.report.Faults[f.Kind]++
			c.checks.polls.begins(f.Kind)
			c.net.At(f.At+f.For, func() {
				c.trace("%s is over", f.Kind)
				end()
				c.checks.polls.ends(f.Kind)
			})
		})
	}
	c.net.At(healed, func() { c.clients.healed = len(c.clients.calls) })
}

// begin starts the fault if the cluster is large enough.
func (s *strike) begin() (end func()) {
	k := kindOf(s.Kind)
	if s.c.size() < k.members {
		return nil
	}
	return k.start(s)
}

func kindOf(name string) *kind {
	if name == failovers.name {
		return &failovers
	}
	for i := range kinds {
		if kinds[i].name == name {
			return &kinds[i]
		}
	}
	panic("simulate: no fault is called " + name)
}

// alive are the members that run, in order.
func (s *strike) alive() (ms []*member) {
	for _, m := range s.c.members {
		if !m.dead && m.paused == 0 {
			ms = append(ms, m)
		}
	}
	return ms
}

// anyone draws one that runs, or nil.
func (s *strike) anyone() *member { return s.pick(s.alive()) }

func (s *strike) pick(ms []*member) *member {
	if len(ms) == 0 {
		return nil
	}
	return ms[s.rng.IntN(len(ms))]
}

// leaderOr is the leader if there is one, else anybody who runs.
func (s *strike) leaderOr() *member {
	if m := s.c.leader(); m != nil && m.paused == 0 {
		return m
	}
	return s.anyone()
}

// leaderOrAnyone is the leader half of the time.
func (s *strike) leaderOrAnyone() *member {
	if s.rng.IntN(2) == 0 {
		return s.leaderOr()
	}
	return s.anyone()
}

// shuffled are the members of the cluster, dead or alive, the leader first.
func (s *strike) shuffled() []*member {
	var ms []*member
	for _, m := range s.c.members {
		if !m.gone {
			ms = append(ms, m)
		}
	}
	s.rng.Shuffle(len(ms), func(i, j int) { ms[i], ms[j] = ms[j], ms[i] })
	leader := s.c.leader()
	for i, m := range ms {
		if m == leader {
			ms[0], ms[i] = ms[i], ms[0]
		}
	}
	return ms
}
