package barrier

import (
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
)

// What a caller asks that has to know whether things go on, and who holds them
// up.

// Moves counts what was seen of the change to the next view, ballots of others
// included: while it rises the change goes on.
func (c *Core) Moves() uint64 { return c.moves }

// Stirs counts what may change the answers of Wants, Ballot, Present, HeardBy,
// Passes and Ways.
func (c *Core) Stirs() uint64 { return c.stirs }

// PeerMoves counts the rows of a member that said that it took further frames, or
// something new of its view or its votes. What it promises and sends does not
// count: a member that takes nothing can do that for ever.
func (c *Core) PeerMoves(id fabric.MemberID) uint64 {
	if p := c.peer(id); p != nil {
		return p.moves
	}
	return 0
}

// PeerBeat is how often a member says that it publishes its row at least; 0: it
// says nothing.
func (c *Core) PeerBeat(id fabric.MemberID) time.Duration {
	if p := c.peer(id); p != nil && p.row != nil {
		return time.Duration(p.row.beat) * time.Microsecond
	}
	return 0
}

// Present reports whether a member's row is of the view that is known here.
func (c *Core) Present(id fabric.MemberID) bool {
	return id == c.self.Member || c.rowOf(id) != nil
}

// Behind reports whether a member's row shows an older view than the one that is
// known here. Who stays so for longer than rows need to say it is to be sent the
// view (AppendView).
func (c *Core) Behind(id fabric.MemberID) bool {
	p := c.peer(id)
	return p != nil && p.row != nil && p.row.view.Number < c.id.Number
}

// HeardBy reports whether another member says that it hears this one directly.
func (c *Core) HeardBy(id fabric.MemberID) bool {
	i := c.index(id)
	return slices.ContainsFunc(c.peers, func(p *peer) bool {
		return p.id != id && p.row != nil && p.row.view == c.id && p.row.hears.has(i) && !slices.Contains(c.suspects, p.id)
	})
}

// Ballot is the owner of the highest ballot of the view that is known; false:
// there is none.
func (c *Core) Ballot() (owner fabric.MemberID, on bool) {
	b := c.highest()
	return b.owner, b != ballot{}
}

func (c *Core) highest() ballot {
	best := c.votes.promised
	for _, p := range c.peers {
		if r := c.current(p); r != nil && r.promised.above(best) {
			best = r.promised
		}
	}
	return best
}

// Voters are those that the next view is made of: of the newest configuration
// that is known, both halves of a joint one.
func (c *Core) Voters() (ids []fabric.MemberID) {
	cfg := c.newest()
	for _, id := range cfg.ids() {
		if cfg.votes(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Peers are all other members of the view's configuration and of the newest one:
// until a view with the newest is in force, those that it leaves out are needed. The
// list is not to be changed.
func (c *Core) Peers() []fabric.MemberID { return c.others }

// Meetings counts the changes of Peers and of Config.
func (c *Core) Meetings() uint64 { return c.meetings }

// Config is the newest configuration that is known.
func (c *Core) Config() Config { return c.newest().sorted() }

// Holds reports whether others wait for a member: for its promise, for it to
// take frames that are here, or, while a ballot is on, for its vote. Whoever does
// that for long though it is heard is stuck.
func (c *Core) Holds(id fabric.MemberID) bool { return c.holdsUp(id, c.rowOf(id), c.highest()) }

// Held reports whether Holds is true of any peer.
func (c *Core) Held() bool {
	best := c.highest()
	return slices.ContainsFunc(c.peers, func(p *peer) bool { return c.holdsUp(p.id, c.current(p), best) })
}

func (c *Core) holdsUp(id fabric.MemberID, r *section, best ballot) bool {
	i, member := c.view.member(id)
	if best != (ballot{}) {
		if !(member && !c.out.has(c.index(id)) || c.view.Config.votes(id)) {
			return false
		}
		return r == nil || r.promised != best || r.accepted != best && c.isProposed(best) || c.limit != nil && r.promised == c.votes.promised && member && c.short(r)
	}
	if !member || c.at < 0 {
		return false
	}
	for k := range c.lines {
		switch {
		case c.lines[k].received == 0:
		case c.lines[i].bar.Before(c.lines[k].last), r == nil, len(r.received) > 0 && r.received[k] < c.lines[k].received:
			return true
		}
	}
	return false
}

// short reports whether a member's row lacks frames of the cut.
func (c *Core) short(r *section) bool {
	for k, n := range r.received {
		if n < c.limit[k] {
			return true
		}
	}
	return false
}

// isProposed reports whether anybody accepted a value in that ballot.
func (c *Core) isProposed(b ballot) bool {
	return c.votes.accepted == b || slices.ContainsFunc(c.peers, func(p *peer) bool {
		r := c.current(p)
		return r != nil && r.accepted == b
	})
}

// moved reports whether s says something of what its owner took, of its view or
// its votes that old did not.
func (s *section) moved(old *section) bool {
	return s.voted(old) || !slices.Equal(s.received, old.received)
}

// voted reports whether it says something of the change to the next view.
func (s *section) voted(old *section) bool {
	return s.view != old.view || s.generation != old.generation || s.flags != old.flags ||
		s.promised != old.promised || s.accepted != old.accepted || !slices.Equal(s.cut, old.cut) ||
		s.is(flagWedged) && !slices.Equal(s.received, old.received)
}
