package simulate

import "time"

// E3: no message to raft is held longer than Hold, as it was in force when the
// message came: by then raft has it, or it is
// said to be lost. Time is the member's own; while it is paused, or down, no
// timer of it fires.

// pace is how many times the configured ones Patience and Hold are, as the
// arbiter told last.
func (n *node) pace() int64 { return max(1, int64(n.patience/electionPatience)) }

// heldCheck is E3. limit 0: nobody holds anything.
type heldCheck struct{ limit time.Duration }

// overdue: a timer may fire a nanosecond late for each change of the clock's
// pace.
func (k *heldCheck) overdue(n *node, h *keptMessage) bool {
	return k.limit > 0 && n.m.clock() > max(h.since, n.m.upClock)+time.Duration(h.pace)*k.limit+time.Microsecond
}

// over: raft has the message now, or never.
func (k *heldCheck) over(n *node, h *keptMessage) {
	if k.overdue(n, h) {
		n.c.fail("E3", "%s held %v of %x for %v", n.m.id, h.m.GetType(), h.m.GetFrom(), n.m.clock()-h.since)
	}
}

// look finds what is held for too long and nobody thinks of.
func (k *heldCheck) look(c *cluster) {
	for _, m := range c.members {
		if m.dead || m.paused > 0 {
			continue
		}
		for i := range m.node.kept {
			if h := &m.node.kept[i]; k.overdue(m.node, h) {
				c.fail("E3", "%s holds %v of %x since %v, for %v so far", m.id, h.m.GetType(), h.m.GetFrom(), h.since, m.clock()-h.since)
				return
			}
		}
	}
}
