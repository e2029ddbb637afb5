package simulate

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric"
)

// Changes of the membership. They are faults in that they come in the middle of
// others.

// membership replaces one voter, the leader as likely as any other, by a new
// member: by way of a learner that is promoted, or at once by a joint
// configuration.
func membership(s *strike) func() {
	l := s.c.leader()
	if l == nil || l.paused > 0 || len(l.node.conf.GetVotersOutgoing()) > 0 || len(s.c.members) > s.c.cfg.Members+mostFaults {
		return nil
	}
	voters := l.node.conf.GetVoters()
	old := s.c.member(fabric.MemberID(voters[s.rng.IntN(len(voters))]))
	fresh := s.c.addMember()
	fresh.start()
	s.c.relink()
	s.c.trace("%s replaces %s", fresh.id, old.id)
	r := &replacement{strike: s, old: old, fresh: fresh}
	if s.rng.IntN(2) == 0 {
		r.steps = []*raftpb.ConfChangeV2{
			change(raftpb.ConfChangeAddLearnerNode, fresh), change(raftpb.ConfChangeAddNode, fresh), change(raftpb.ConfChangeRemoveNode, old)}
	} else {
		both := change(raftpb.ConfChangeAddNode, fresh)
		both.Changes = append(both.Changes, change(raftpb.ConfChangeRemoveNode, old).Changes...)
		r.steps = []*raftpb.ConfChangeV2{both}
	}
	s.c.checks.polls.breaks(membersChange)
	r.next()
	return func() {}
}

func change(typ raftpb.ConfChangeType, m *member) *raftpb.ConfChangeV2 {
	return &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{{Type: typ.Enum(), NodeId: new(uint64(m.id))}}}
}

// replacement proposes its steps until each of them is in effect, as an
// operator does.
type replacement struct {
	*strike
	old, fresh *member
	steps      []*raftpb.ConfChangeV2
	tries      int
}

// membersChange is what E1's assumption rules out until it is complete.
const membersChange = "members change"

const (
	proposeEvery = 300 * time.Millisecond
	// maxTries bounds how long the operator goes on.
	maxTries = 100
)

func (r *replacement) next() {
	if l := r.c.leader(); l != nil && l.paused == 0 {
		conf := l.node.conf
		for len(r.steps) > 0 && inEffect(r.steps[0], conf) {
			r.steps = r.steps[1:]
		}
		if len(r.steps) == 0 && len(conf.GetVotersOutgoing()) == 0 {
			r.c.net.After(time.Second, func() {
				r.c.retire(r.old)
				r.c.checks.polls.mends(membersChange, aftermath)
			})
			return
		}
		if len(r.steps) > 0 {
			_ = l.node.rn.ProposeConfChange(r.steps[0]) // refused ones are proposed again
			l.node.settle()
		}
	}
	if r.tries++; r.tries < maxTries {
		r.c.net.After(proposeEvery, r.next)
	}
}

// inEffect reports whether a configuration shows a change.
func inEffect(cc *raftpb.ConfChangeV2, conf *raftpb.ConfState) bool {
	for _, s := range cc.Changes {
		voter, learner := isVoter(conf, s.GetNodeId()), false
		for _, id := range conf.GetLearners() {
			learner = learner || id == s.GetNodeId()
		}
		switch s.GetType() {
		case raftpb.ConfChangeAddNode:
			if !voter {
				return false
			}
		case raftpb.ConfChangeAddLearnerNode:
			if !voter && !learner {
				return false
			}
		case raftpb.ConfChangeRemoveNode:
			if voter || learner {
				return false
			}
		}
	}
	return true
}

// retire ends a member that was removed.
func (c *cluster) retire(m *member) {
	if m.gone {
		return
	}
	if !m.dead {
		m.kill()
	}
	m.gone = true
}

// reconfigured: a member has applied a configuration.
func (c *cluster) reconfigured(n *node) {
	c.report.Reconfigs++
	c.checks.polls.alive()
	c.trace("%s: voters %v %v, learners %v", n.m.id, n.conf.GetVoters(), n.conf.GetVotersOutgoing(), n.conf.GetLearners())
}
