package simulate

import (
	"slices"
	"time"
)

// Faults of members: they crash, stop, or their handlers do not return.

func crash(s *strike) func()       { return s.crash(s.anyone()) }
func crashLeader(s *strike) func() { return s.crash(s.leaderOr()) }

func (s *strike) crash(ms ...*member) func() {
	var down []*member
	for _, m := range ms {
		if m != nil && !m.dead {
			s.c.trace("%s crashes", m.id)
			m.kill()
			down = append(down, m)
		}
	}
	if len(down) == 0 {
		return nil
	}
	return func() {
		for _, m := range down {
			if m.dead && !m.gone {
				s.c.report.Restarts++
				m.start()
			}
		}
	}
}

// powerLoss takes all members at once: what was not synced is gone everywhere.
func powerLoss(s *strike) func() { return s.crash(s.alive()...) }

func pause(s *strike) func()       { return s.pause(s.anyone()) }
func pauseLeader(s *strike) func() { return s.pause(s.leaderOr()) }

func (s *strike) pause(m *member) func() {
	if m == nil {
		return nil
	}
	s.c.trace("%s stops", m.id)
	s.c.leaderless(m)
	m.paused++
	s.c.net.Pause(m.id)
	return func() {
		if m.paused--; m.paused == 0 && !m.gone {
			m.runs()
			s.c.net.Resume(m.id)
			if s.c.leader() == m {
				s.c.lostAt = -1
			}
		}
	}
}

// stuckHandler keeps a member from taking what its port has received.
func stuckHandler(s *strike) func() {
	m := s.anyone()
	if m == nil {
		return nil
	}
	s.c.trace("%s takes nothing", m.id)
	s.c.net.Stall(m.id)
	n := m.node
	return func() {
		if m.node == n && !m.dead {
			s.c.net.Unstall(m.id)
		}
	}
}

// clockSkew makes a member's clock run up to a third faster or slower, its raft
// ticks included.
func clockSkew(s *strike) func() {
	m := s.leaderOrAnyone()
	if m == nil {
		return nil
	}
	skew := (s.rng.Float64() - 0.5) * 2 / 3
	s.c.trace("the clock of %s runs at %.2f", m.id, 1+skew)
	m.setSkew(m.skew + skew)
	s.c.net.SetClock(m.id, rand64(s.rng, time.Second), m.pace()-1)
	return func() {
		m.setSkew(m.skew - skew)
		s.c.net.SetClock(m.id, 0, m.pace()-1)
	}
}

func storageStall(s *strike) func() {
	m := s.leaderOrAnyone()
	if m == nil {
		return nil
	}
	s.c.trace("the disk of %s hangs", m.id)
	m.disk.stallUntil = max(m.disk.stallUntil, s.At+s.For)
	return func() {}
}

// storageSlow makes each sync of a member take 20 to 100 times longer.
func storageSlow(s *strike) func() {
	m := s.anyone()
	if m == nil {
		return nil
	}
	factor := 20 + s.rng.IntN(80)
	m.disk.factor += factor
	s.c.trace("the disk of %s is %d times slower", m.id, m.disk.factor)
	return func() { m.disk.factor -= factor }
}

// transfer asks the leader to hand over.
func transfer(s *strike) func() {
	l := s.c.leader()
	if l == nil || l.paused > 0 {
		return nil
	}
	to := s.pick(slices.DeleteFunc(s.alive(), func(m *member) bool { return m == l || !isVoter(l.node.conf, uint64(m.id)) }))
	if to == nil {
		return nil
	}
	s.c.trace("%s shall hand over to %s", l.id, to.id)
	l.node.rn.TransferLeader(uint64(to.id))
	l.node.settle()
	return func() {}
}
