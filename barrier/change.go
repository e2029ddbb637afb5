package barrier

import (
	"slices"

	"github.com/raftdv/dv/fabric"
)

// step does whatever the last input made possible.
func (c *Core) step() {
	for c.learn() || c.promiseHighest() || c.lead() || c.accept() || c.decide() {
	}
	c.raise()
	c.save()
}

// votesNow reports whether this member is an acceptor: what it promised in
// former lives is known here, or those ended before the view that it is in.
func (c *Core) votesNow() bool {
	return !c.blind && (c.view.Config.votes(c.self.Member) || c.config.votes(c.self.Member))
}

// rowOf is a peer's row if it is of this view, nil otherwise.
func (c *Core) rowOf(id fabric.MemberID) *section {
	if p := c.peer(id); p != nil {
		return c.current(p)
	}
	return nil
}

func (c *Core) current(p *peer) *section {
	if p.row != nil && p.row.view == c.id {
		return p.row
	}
	return nil
}

// learn adopts the view that a row shows to be decided, if its value is known.
func (c *Core) learn() bool {
	for _, p := range c.peers {
		if p.row == nil || p.row.view.Number != c.id.Number+1 {
			continue
		}
		for _, v := range c.values() {
			if v.ID() == p.row.view {
				c.adopt(v)
				return true
			}
		}
	}
	return false
}

// values are all proposals that are known for the next view.
func (c *Core) values() (all []*View) {
	if c.votes.value != nil {
		all = append(all, c.votes.value)
	}
	for _, p := range c.peers {
		if p.value != nil {
			all = append(all, p.value)
		}
	}
	return all
}

// promiseHighest follows the highest ballot of this view that is led in any row:
// it promises to take part in no lower one, and freezes the own part of the
// view. Other rows than the leader's do not tell whom it leaves out.
func (c *Core) promiseHighest() bool {
	if !c.votesNow() {
		return false
	}
	best, out := c.votes.promised, set(0)
	for _, p := range c.peers {
		if r := c.current(p); r != nil && r.is(flagLeads) && r.promised.above(best) {
			best, out = r.promised, r.out
		}
	}
	if best == c.votes.promised {
		return false
	}
	c.promiseTo(best, out)
	c.mine = false
	return true
}

func (c *Core) promiseTo(b ballot, out set) {
	c.votes.promised, c.out, c.limit = b, out, nil
	c.unsaved = true
	c.moves++
	c.stirs++
	if c.at >= 0 {
		c.wedged = true
		c.banned |= out
	}
}

// Wants reports whether the view should change, and whom the next one leaves
// out: those that a majority of the voters suspects, whose life is over, or who
// are no voters any more.
func (c *Core) Wants() (out []fabric.MemberID, change bool) {
	if !c.votesNow() {
		return nil, false
	}
	cfg := c.newest()
	change = !sameConfig(cfg, &c.view.Config)
	for _, l := range c.view.Members {
		p := c.peer(l.Member)
		over := l.Member == c.self.Member && l != c.self || p != nil && p.row != nil && p.life.newer(l)
		if over || !cfg.votes(l.Member) || c.suspected(l.Member) {
			out, change = append(out, l.Member), true
		}
	}
	for _, id := range cfg.ids() {
		if _, joins := c.joiner(id); joins && cfg.votes(id) {
			change = true
		}
	}
	return out, change || c.votes.promised != ballot{}
}

// newest is the configuration that the next view shall have.
func (c *Core) newest() *Config {
	if c.config.Epoch > c.view.Config.Epoch {
		return &c.config
	}
	return &c.view.Config
}

// suspected reports whether a majority of the voters suspects a member, each by
// its own observation, or it suspects itself.
func (c *Core) suspected(id fabric.MemberID) bool {
	i := c.index(id)
	if r := c.rowOf(id); i >= 0 && (id == c.self.Member && slices.Contains(c.suspects, id) || r != nil && r.suspects.has(i)) {
		return true
	}
	return i >= 0 && c.view.Config.majority(func(v fabric.MemberID) bool {
		if v == c.self.Member {
			return slices.Contains(c.suspects, id)
		}
		r := c.rowOf(v)
		return r != nil && r.suspects.has(i)
	})
}

// joiner returns the life of a member that is in no view and could join the
// next one. Who is suspected does not: it would be left out again at once.
func (c *Core) joiner(id fabric.MemberID) (Life, bool) {
	if id == c.self.Member {
		return c.self, c.at < 0 && !c.suspected(id)
	}
	p, r := c.peer(id), c.rowOf(id)
	if r == nil || r.is(flagMember) || r.suspects.has(c.index(id)) || c.suspected(id) || slices.Contains(c.suspects, id) {
		return Life{}, false
	}
	return p.life, true
}

// Propose begins a ballot for the next view, as Wants says. It reports whether
// there is one: a member that does not vote has none.
func (c *Core) Propose() bool {
	out, change := c.Wants()
	if !change {
		return false
	}
	var mask set
	for _, id := range out {
		if i := c.index(id); i >= 0 {
			mask |= 1 << i
		}
	}
	return c.propose(mask)
}

func (c *Core) propose(out set) bool {
	if !c.votesNow() || !c.view.Config.votes(c.self.Member) {
		return false
	}
	round := c.votes.promised.round
	for _, p := range c.peers {
		if r := c.current(p); r != nil {
			round = max(round, r.promised.round)
		}
	}
	c.promiseTo(ballot{round + 1, c.self.Member}, out)
	c.mine, c.next = true, *c.newest()
	c.step()
	return true
}

// promisedBy reports whether a member has promised the ballot that is led here.
func (c *Core) promisedBy(id fabric.MemberID) bool {
	if id == c.self.Member {
		return c.durable.view == c.id && c.durable.promised == c.votes.promised
	}
	r := c.rowOf(id)
	return r != nil && r.promised == c.votes.promised
}

// lead drives the own ballot: when a majority of the voters has promised it,
// and none of them had accepted a value, all members that stay are asked to hold
// the same frames, and then to accept a new view. If one had, its value may be
// decided already: the highest one is proposed again.
func (c *Core) lead() bool {
	if !c.mine || c.votes.accepted == c.votes.promised || !c.promisedBy(c.self.Member) || !c.view.Config.majority(c.promisedBy) {
		return false
	}
	if v := c.bound(); v != nil {
		c.acceptValue(v)
		return true
	}
	cut, whole := c.count()
	if cut == nil {
		return false
	}
	if !whole {
		if slices.Equal(c.limit, cut) {
			return false
		}
		c.limit = cut
		return true
	}
	v := c.fresh(cut)
	if v == nil {
		return false
	}
	c.limit = cut
	c.acceptValue(v)
	return true
}

// bound is the value that was accepted in the highest ballot by any of those
// that promised this one.
func (c *Core) bound() *View {
	best, v := c.votes.accepted, c.votes.value
	for _, p := range c.peers {
		if !c.view.Config.votes(p.id) || !c.promisedBy(p.id) {
			continue
		}
		if r := c.current(p); r.accepted.above(best) {
			best, v = r.accepted, p.value
		}
	}
	return v
}

// count returns the cuts: of each member of the view the most frames that one of
// those has that stay. Nil if not all of them have shown; whole: all of them
// have all of these frames.
func (c *Core) count() (cut []uint64, whole bool) {
	var rows []*section
	for _, l := range c.view.Members {
		switch {
		case c.out.has(c.index(l.Member)):
		case l == c.self:
			own := &section{}
			c.fill(own)
			rows = append(rows, own)
		default:
			r := c.rowOf(l.Member)
			if r == nil || !r.is(flagMember) || r.promised != c.votes.promised {
				return nil, false
			}
			rows = append(rows, r)
		}
	}
	cut = make([]uint64, len(c.view.Members))
	for _, r := range rows {
		for k, n := range r.received {
			cut[k] = max(cut[k], n)
		}
	}
	for _, r := range rows {
		if !slices.Equal(r.received, cut) {
			return cut, false
		}
	}
	return cut, true
}

// fresh makes the next view: those that stay, and those that wait to join. Nil
// if they are no majority of its voters.
func (c *Core) fresh(cut []uint64) *View {
	v := &View{Number: c.id.Number + 1, Former: c.id.Hash, Config: c.next, Cuts: cut, Floor: later(c.view.Floor, c.clock)}
	for _, id := range c.next.ids() {
		if !c.next.votes(id) {
			continue
		}
		if k, ok := c.view.member(id); ok && !c.out.has(c.index(id)) {
			v.Members, v.Since = append(v.Members, c.view.Members[k]), append(v.Since, c.view.Since[k])
			if r := c.rowOf(id); r != nil {
				v.Floor = later(v.Floor, r.high)
			}
		} else if l, ok := c.joiner(id); ok {
			v.Members, v.Since = append(v.Members, l), append(v.Since, v.Number)
		}
	}
	if v.validate() != nil {
		return nil
	}
	return v
}

// accept takes the cut and the value of the promised ballot from any row that
// has them. All members that stay showed that they have what belongs to it
// before it was proposed.
func (c *Core) accept() bool {
	if c.votes.accepted == c.votes.promised || c.mine {
		return false
	}
	for _, p := range c.peers {
		r := c.current(p)
		switch {
		case r == nil || r.promised != c.votes.promised:
		case r.is(flagCut) && c.limit == nil:
			c.limit = append([]uint64{}, r.cut...)
			return true
		case p.value != nil && r.accepted == c.votes.promised:
			c.acceptValue(p.value)
			return true
		}
	}
	return false
}

func (c *Core) acceptValue(v *View) {
	c.votes.accepted, c.votes.value = c.votes.promised, v
	c.unsaved = true
	c.moves++
	c.stirs++
}

// decide counts: a value that a majority of the voters of this view and of its
// own configuration accepted in one ballot is the next view.
func (c *Core) decide() bool {
	for _, p := range c.peers {
		if r := c.current(p); r != nil && p.value != nil && c.chosen(r.accepted, p.value) {
			c.adopt(p.value)
			return true
		}
	}
	if d := &c.durable; d.view == c.id && d.value != nil && c.chosen(d.accepted, d.value) {
		c.adopt(d.value)
		return true
	}
	return false
}

func (c *Core) chosen(b ballot, v *View) bool {
	accepted := func(id fabric.MemberID) bool {
		if id == c.self.Member {
			return c.durable.view == c.id && c.durable.accepted == b
		}
		r := c.rowOf(id)
		return r != nil && r.accepted == b
	}
	return c.view.Config.majority(accepted) && v.Config.majority(accepted)
}
