package simulate

// live: with nothing wrong any more the cluster works, and every member catches
// up. How soon is not what this is about: the calm at the end of a run is long.

// caughtUp: all voters have applied the same; the last puts are long over.
func (c *cluster) caughtUp() {
	leader := c.leader()
	if leader == nil {
		c.fail(checkLive, "nobody leads at the end")
		return
	}
	for _, m := range c.members {
		if m.gone || m.dead || m.paused > 0 || !isVoter(leader.node.conf, uint64(m.id)) {
			continue
		}
		if n := m.node; n.applied != leader.node.applied || n.state != leader.node.state {
			c.fail(checkLive, "%s has applied %d at the end, the leader %s %d", m.id, n.applied, leader.id, leader.node.applied)
		}
	}
}

// answered: some put that began after the last fault was over got its answer.
func (cs *clients) answered() {
	if cs.healed < 0 {
		return
	}
	for _, c := range cs.calls[cs.healed:] {
		if c.put && c.end != 0 {
			return
		}
	}
	cs.c.fail(checkLive, "no put was answered after the last fault was over")
}
