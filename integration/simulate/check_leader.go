package simulate

// leaderCheck: at most one member leads a term.
type leaderCheck struct {
	of map[uint64]*member
}

func (l *leaderCheck) leads(n *node) {
	if other := l.of[n.term]; other != nil && other != n.m {
		n.c.fail(checkLeader, "%s and %s lead term %d", other.id, n.m.id, n.term)
	}
	l.of[n.term] = n.m
	n.c.checks.commits.newLeader(n)
}
