package barrier

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// Each planted bug is done to a member after every input, or to what drives it,
// and has to be caught by the check that is there for it.
var plantedBugs = []struct {
	name    string
	how     error
	members int
	plant   func(*world, *node)
	disks   bool // are lost
	crashes int
}{
	{name: "restarts with an empty disk and votes", how: errV1, members: 3, disks: true, crashes: 4},
	{name: "shares its ballots with another", how: errV1, members: 3, plant: func(_ *world, n *node) {
		if c := n.core; c.mine {
			c.votes.promised.owner = 1
			if c.durable.promised.round == c.votes.promised.round {
				c.durable.promised.owner = 1
			}
		}
	}},
	{name: "installs what all that stay agree on, without a vote", how: errV1, members: 5, plant: func(_ *world, n *node) {
		c := n.core
		if cut, whole := c.count(); c.mine && c.at >= 0 && cut != nil && whole {
			if v := c.fresh(cut); v != nil {
				c.adopt(v)
			}
		}
	}},
	{name: "proposes its own value though another one was accepted", how: errV1, members: 3, plant: func(_ *world, n *node) {
		c := n.core
		if c.mine && c.votes.accepted != c.votes.promised {
			c.votes.accepted, c.votes.value = ballot{}, nil
			for _, p := range c.peers {
				if p.row != nil && p.row.accepted != c.votes.promised {
					r := *p.row
					r.accepted, r.value, r.flags = ballot{}, nil, r.flags&^flagValue
					p.row, p.value = &r, nil
				}
			}
		}
	}},
	{name: "accepts below what it promised", how: errV1, members: 3, plant: func(_ *world, n *node) {
		c := n.core
		for _, p := range c.peers {
			if r := c.rowOf(p.id); !c.mine && r != nil && p.value != nil && c.votes.promised.above(r.accepted) && r.accepted.above(c.votes.accepted) {
				c.votes.accepted, c.votes.value, c.unsaved = r.accepted, p.value, true
				c.save()
			}
		}
	}},
	{name: "takes frames of one that is left out", how: errO1, members: 3, plant: func(_ *world, n *node) { n.core.banned = 0 }},
	{name: "stamps on while the view changes", how: errO1, members: 3, plant: func(_ *world, n *node) { n.core.wedged = false }},
	{name: "takes a promise for more than was sent before it", how: errB2, members: 3, plant: func(_ *world, n *node) {
		for _, p := range n.core.peers {
			if p.row != nil && p.row.sent > 0 {
				r := *p.row
				r.sent = 0
				p.row = &r
			}
		}
	}},
	{name: "begins views at no floor", how: errB1, members: 3, plant: func(_ *world, n *node) {
		if v := n.core.votes.value; v != nil {
			v.Floor = fabric.Stamp{}
			n.core.votes.value = v
		}
	}},
	{name: "takes what it has for what all have", how: errO3, members: 3, plant: func(_ *world, n *node) {
		for _, p := range n.core.peers {
			if p.row != nil {
				r := *p.row
				r.barrier = later(r.barrier, n.core.barrier)
				p.row = &r
			}
		}
	}},
	{name: "takes frames twice", how: errO2, members: 3, plant: func(_ *world, n *node) {
		if len(n.told) > 0 && len(n.held) == 0 {
			n.held = append(n.held, n.told[len(n.told)-1])
		}
	}},
	{name: "waits for those whom it leaves out", how: errV2, members: 3, crashes: 4, plant: func(_ *world, n *node) { n.core.out = 0 }},
}

// TestPlantedBugs: every check can fail.
func TestPlantedBugs(t *testing.T) {
	const most = 4000
	for _, b := range plantedBugs {
		t.Run(b.name, func(t *testing.T) {
			for seed := range uint64(most) {
				w := newWorld(b.members, budget{})
				w.settle()
				w.tamper, w.losesDisks = b.plant, b.disks
				w.budget = budget{letters: 30, ballots: 12, crashes: b.crashes}
				w.walk(rand.New(rand.NewPCG(seed, uint64(b.members))), seed)
				w.settle()
				if errors.Is(w.err, b.how) {
					t.Logf("seed %d: %v", seed, w.err)
					return
				}
				if w.err != nil && seed < 5 {
					t.Logf("seed %d: another fault: %v", seed, w.err)
				}
			}
			t.Errorf("not caught as %v in %d worlds", b.how, most)
		})
	}
}
