package simulate

// F3: queues and memory are bounded by configuration: per destination and lane
// what is accepted and not resolved, and what is acked and not delivered (and
// one frame more, which fills a hole).

func (l *ledger) bounded(p *parcel, b *laneBook) {
	if limit := l.c.checks.queue; b.openBytes > limit {
		l.c.fail("F3", "%s has %d bytes in flight to %s in %v, the bound is %d", p.from.id, b.openBytes, p.to.id, p.lane, limit)
	}
	l.c.report.MostQueued = max(l.c.report.MostQueued, b.openBytes)
}

func (l *ledger) held(p *parcel, b *laneBook) {
	if limit := l.c.checks.queue + maxFrame + frameOverhead; b.ackedBytes > limit {
		l.c.fail("F3", "%s holds %d bytes of %s in %v that it has not delivered, the bound is %d", p.to.id, b.ackedBytes, p.from.id, p.lane, limit)
	}
}
