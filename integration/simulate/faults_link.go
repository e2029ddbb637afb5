package simulate

import (
	"slices"
	"time"

	"github.com/raftdv/dv/fabric/sim"
)

// Faults of links: packets get lost, late, out of order, doubled, altered.

// linkWoe is one such fault that is on. Several may be on at a time.
type linkWoe struct {
	of    *member // all of its links; nil: all links
	alter func(f *sim.Faults)
}

// relink sets what all links are like.
func (c *cluster) relink() {
	for _, a := range c.members {
		for _, b := range c.members {
			if a == b || a.node == nil || b.node == nil {
				continue
			}
			f := c.base
			for _, w := range c.linkWoes {
				if w.of == nil || w.of == a || w.of == b {
					w.alter(&f)
				}
			}
			if err := c.net.SetLink(a.id, b.id, f); err != nil {
				c.fail("exercised", "%v", err)
			}
		}
	}
}

// trouble puts a woe on all links, or on those of one member.
func (s *strike) trouble(alter func(f *sim.Faults)) func() {
	w := &linkWoe{alter: alter}
	if s.rng.IntN(2) == 0 {
		if w.of = s.leaderOr(); w.of == nil {
			return nil
		}
	}
	s.c.trace("%s begins", s.Kind)
	s.c.linkWoes = append(s.c.linkWoes, w)
	s.c.relink()
	return func() {
		s.c.linkWoes = slices.DeleteFunc(s.c.linkWoes, func(o *linkWoe) bool { return o == w })
		s.c.relink()
	}
}

func loss(s *strike) func() {
	p := 0.05 + 0.5*s.rng.Float64()
	return s.trouble(func(f *sim.Faults) { f.Loss = max(f.Loss, p) })
}

func delay(s *strike) func() {
	d := 5*time.Millisecond + rand64(s.rng, 300*time.Millisecond)
	return s.trouble(func(f *sim.Faults) {
		f.Delay += d
		f.Jitter += d / 4
	})
}

// reorder lets packets of other lanes, and rows, overtake.
func reorder(s *strike) func() {
	p, by := 0.1+0.4*s.rng.Float64(), time.Millisecond+rand64(s.rng, 200*time.Millisecond)
	return s.trouble(func(f *sim.Faults) { f.Reorder, f.ReorderBy = p, by })
}

func duplicate(s *strike) func() {
	p := 0.1 + 0.4*s.rng.Float64()
	return s.trouble(func(f *sim.Faults) { f.Duplicate = p })
}

func corrupt(s *strike) func() {
	p := 0.02 + 0.2*s.rng.Float64()
	return s.trouble(func(f *sim.Faults) { f.Corrupt = p })
}
