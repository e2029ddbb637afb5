package sim

// claim is what a receiving host has taken on and not yet handed over: frames of
// a lane, or a row. The zero value is nothing.
type claim struct {
	frames int
	lane   int
	row    bool
	paid   bool // the time has passed
}

// charge lets a host work on what it is about to hand over, before it does. It
// reports whether that takes time.
func (n *Network) charge(l *link, c claim) bool {
	cost := int64(n.cfg.Medium.ReceiveCost)
	if cost == 0 || l.paid.paid {
		return false
	}
	p := l.to
	p.hostFree = max(p.hostFree, n.now) + cost*int64(c.frames)
	l.busyUntil = p.hostFree
	l.paid = c
	return true
}

// deliverPaid hands over what the host has worked on.
func (n *Network) deliverPaid(l *link) bool {
	c := l.paid
	l.paid.paid = true
	done := false
	if c.row {
		done = n.deliverRow(l)
	} else {
		done = n.deliverLane(l, &l.lanes[c.lane], c.lane, c.frames)
	}
	l.paid = claim{}
	return done
}
