package simulate

import (
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/raftdv/election"
)

// labPhase is a moment of an election at which a member that takes part in it may
// crash. Where no arbiter says when it is endorsed or nominated, both are when its raft
// asks whether it may campaign, or campaigns.
type labPhase int

const (
	phaseNone labPhase = iota
	phaseSuspicion
	phaseEndorsement
	phaseNomination
	phaseCampaign
	phaseVictory
	labPhases
)

// soonAfter bounds how long after a phase is reached the member crashes: what it has
// sent by then is on its way, or not.
const soonAfter = time.Millisecond

// labFaults are the faults of trials. Each lasts to the end of the trial, if it does not
// say otherwise.
var labFaults = map[string]func(s *strike, t *labTrial){
	"none":                     func(*strike, *labTrial) {},
	"crash-leader":             func(s *strike, t *labTrial) { t.crashes(s, labPhase(1+s.rng.IntN(int(labPhases)-1))) },
	"crash-at-suspicion":       func(s *strike, t *labTrial) { t.crashes(s, phaseSuspicion) },
	"crash-at-endorsement":     func(s *strike, t *labTrial) { t.crashes(s, phaseEndorsement) },
	"crash-at-nomination":      func(s *strike, t *labTrial) { t.crashes(s, phaseNomination) },
	"crash-at-campaign":        func(s *strike, t *labTrial) { t.crashes(s, phaseCampaign) },
	"crash-at-victory":         func(s *strike, t *labTrial) { t.crashes(s, phaseVictory) },
	togetherAgain:              simultaneousStart,
	"rejoin-higher-term":       rejoinHigherTerm,
	"flapping-after-isolation": flappingAfterIsolation,
	"simplex-leader":           func(s *strike, _ *labTrial) { deafLeader(s) },
	"quorum-loss":              func(s *strike, _ *labTrial) { quorumLoss(s) },
	"constrained":              func(s *strike, _ *labTrial) { constrained(s) },
	"chained":                  func(s *strike, _ *labTrial) { chained(s) },
	"rotating-hub":             labRotatingHub,
	"slow-disk":                slowDisk,
	sameTimeouts:               func(s *strike, _ *labTrial) { s.crash(s.leaderOr()) },
	"term-inflation":           termInflation,
	"rolling-restart":          rollingRestart,
	"asymmetric-delay":         asymmetricDelay,
}

// LabFaults names them.
func LabFaults() (names []string) {
	for name := range labFaults {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// crashes crashes the leader, and others at a phase as long as there are victims.
func (t *labTrial) crashes(s *strike, phase labPhase) {
	t.phase = phase
	if t.Crashes > 0 {
		s.crash(s.leaderOr())
	} else {
		s.pause(s.leaderOr()) // somebody has to be missed
	}
}

// reached: a member is at a phase of an election.
func (t *labTrial) reached(n *node, phase labPhase) {
	at := t.phase
	if n.arb == nil && (at == phaseEndorsement || at == phaseNomination) {
		at = phaseSuspicion
		if !t.PreVote {
			at = phaseCampaign
		}
	}
	if !t.struck || t.victims == 0 || phase != at || n.m.dead {
		return
	}
	if t.doomed[n] || !t.livesWithout(n) {
		return
	}
	t.victims--
	t.doomed[n] = true
	t.c.net.After(rand64(t.rng, soonAfter), func() {
		delete(t.doomed, n)
		if m := n.m; m.node == n && !m.dead {
			t.c.trace("%s crashes", m.id)
			m.kill()
		}
	})
}

// livesWithout reports whether a majority is left without a member, and without those
// that are about to crash.
func (t *labTrial) livesWithout(n *node) bool {
	var gone []*member
	for _, m := range t.c.members {
		if !m.dead && (m.node == n || t.doomed[m.node]) {
			gone = append(gone, m)
			m.dead = true
		}
	}
	lives := t.c.majorityLives()
	for _, m := range gone {
		m.dead = false
	}
	return lives
}

// arbitrated: an arbiter says what it does.
func (t *labTrial) arbitrated(n *node, e *election.Event) {
	switch {
	case e.Kind == election.EventSuspected:
		t.reached(n, phaseSuspicion)
	case e.Kind == election.EventEndorsed && e.Member == n.m.id:
		t.reached(n, phaseEndorsement)
	case e.Kind == election.EventNominated:
		t.reached(n, phaseNomination)
	}
}

// restart starts a member again.
func (s *strike) restart(m *member) {
	if m.dead && !m.gone {
		s.c.report.Restarts++
		m.start()
	}
}

// togetherAgain is the fault after which all clocks are in step.
const togetherAgain = "simultaneous-start"

// simultaneousStart: all stop, and start again at the same moment.
func simultaneousStart(s *strike, _ *labTrial) {
	all := s.alive()
	s.crash(all...)
	s.c.net.After(s.c.cfg.heartbeat(), func() {
		for _, m := range all {
			s.restart(m)
		}
	})
}

// rejoinHigherTerm: a follower is cut off for three election timeouts, then comes back;
// without PreVote its term has risen meanwhile.
func rejoinHigherTerm(s *strike, t *labTrial) {
	ms := s.shuffled()
	away := ms[len(ms)-1]
	k := &cuts{c: s.c}
	k.set(between(ms, func(a, b int) bool { return ms[a] != away && ms[b] != away }))
	s.c.net.After(min(3*t.Election, s.For/2), func() { k.set(nil) })
}

// flappingAfterIsolation: the leader is cut off for two election timeouts, then its
// links come and go.
func flappingAfterIsolation(s *strike, t *labTrial) {
	ms := s.shuffled()
	alone := between(ms, func(a, _ int) bool { return a != 0 })
	k := &cuts{c: s.c}
	k.set(alone)
	var flap func(cut bool)
	flap = func(cut bool) {
		if cut {
			k.set(alone)
		} else {
			k.set(nil)
		}
		s.c.net.After(t.Election/4+rand64(s.rng, t.Election), func() { flap(!cut) })
	}
	s.c.net.After(2*t.Election, func() { flap(false) })
}

// labRotatingHub: all links are cut but those of one member, every second of another.
func labRotatingHub(s *strike, _ *labTrial) {
	ms := s.shuffled()
	k := &cuts{c: s.c}
	var turn func(hub int)
	turn = func(hub int) {
		k.set(between(ms, func(a, b int) bool { return a == hub || b == hub }))
		s.c.net.After(time.Second, func() { turn((hub + 1) % len(ms)) })
	}
	turn(min(1, len(ms)-1))
}

// slowDisk: each write of the leader takes a hundred times as long.
func slowDisk(s *strike, _ *labTrial) {
	if m := s.leaderOr(); m != nil {
		m.disk.factor += 100
	}
}

// sameTimeouts is the fault that finds all rafts with the same timeout and their clocks in
// step. What they draw from then on is random again.
const sameTimeouts = "synchronised-timeouts"

// zerosFirst is a source of zeros, until over is set.
type zerosFirst struct {
	over bool
	then *rand.Rand
}

func (z *zerosFirst) Uint64() uint64 {
	if z.over {
		return z.then.Uint64()
	}
	return 0
}

// termInflation: one member campaigns again and again while it does not lead, as if a
// leader had asked it to, so that neither PreVote nor CheckQuorum are in its way.
func termInflation(s *strike, t *labTrial) {
	ms := s.shuffled()
	m := ms[len(ms)-1]
	var again func()
	again = func() {
		if n := m.node; !m.dead && n.rn.BasicStatus().RaftState != raft.StateLeader {
			term := n.rn.BasicStatus().GetTerm()
			_ = n.rn.Step(&raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), From: new(uint64(m.id)), To: new(uint64(m.id)), Term: &term})
			n.settle()
		}
		s.c.net.After(max(t.Election/20, time.Millisecond), again)
	}
	again()
}

// rollingRestart: one after the other is killed and started again, the leader last.
func rollingRestart(s *strike, t *labTrial) {
	ms := s.shuffled()
	order := append(slices.Clone(ms[1:]), ms[0])
	every := s.For / time.Duration(len(order)+1)
	for i, m := range order {
		s.c.net.After(time.Duration(i)*every, func() {
			if !m.dead {
				m.kill()
			}
			s.c.net.After(min(every/2, t.Election/2), func() { s.restart(m) })
		})
	}
}

// asymmetricDelay: what the leader sends takes ten times as long, and half a heartbeat.
func asymmetricDelay(s *strike, t *labTrial) {
	ms := s.shuffled()
	f := s.c.base
	f.Delay, f.Jitter = 10*f.Delay+t.Heartbeat/2, 10*f.Jitter
	for _, m := range ms[1:] {
		if err := s.c.net.SetLink(ms[0].id, m.id, f); err != nil {
			s.c.fail("raft", "%v", err)
		}
	}
}
