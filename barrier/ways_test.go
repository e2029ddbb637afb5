package barrier

import (
	"slices"
	"testing"

	"github.com/raftdv/dv/fabric"
)

// hearing gives the members of a group the lists of whom they hear, and everybody
// everybody's row.
func hearing(t *testing.T, heard ...[]fabric.MemberID) *world {
	w := begin(t, len(heard))
	for i, ids := range heard {
		w.nodes[i].core.SetHears(ids)
		w.after(i)
	}
	for k := 0; k < 20 && w.everything(); k++ {
	}
	return w
}

func TestWays(t *testing.T) {
	type ids = []fabric.MemberID
	for name, c := range map[string]struct {
		hears []ids
		of    int
		to    fabric.MemberID
		want  ids
	}{
		"to a neighbour's neighbour":     {[]ids{{2}, {1, 3}, {2, 4}, {3}}, 0, 3, ids{2}},
		"to the end of a chain":          {[]ids{{2}, {1, 3}, {2, 4}, {3}}, 0, 4, ids{2}},
		"on the way there":               {[]ids{{2}, {1, 3}, {2, 4}, {3}}, 1, 4, ids{3}},
		"nearest first":                  {[]ids{{2, 3}, {1, 5}, {1, 4}, {3, 5}, {2, 4}}, 0, 4, ids{3, 2}},
		"not by a link that is one way":  {[]ids{{2, 3}, {1}, {1, 2}}, 0, 2, nil},
		"round a link that is one way":   {[]ids{{2, 3}, {3}, {1, 2}}, 0, 2, ids{3}},
		"not back by oneself":            {[]ids{{2, 3}, {1}, {1}}, 1, 3, ids{1}},
		"though its own row is old":      {[]ids{{3}, {}, {1, 2}}, 0, 2, ids{3}},
		"not if it is heard to be deaf":  {[]ids{{2, 3}, {1}, {1, 2}}, 0, 2, nil},
		"not to who is gone":             {[]ids{{2}, {1}, {}}, 0, 3, nil},
		"nor to a stranger":              {[]ids{{2, 3}, {1, 3}, {1, 2}}, 0, 9, nil},
		"nor to oneself":                 {[]ids{{2, 3}, {1, 3}, {1, 2}}, 0, 1, nil},
		"though the direct link is well": {[]ids{{2, 3}, {1, 3}, {1, 2}}, 0, 2, ids{3}},
	} {
		if got := hearing(t, c.hears...).nodes[c.of].core.Ways(c.to); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestLinked(t *testing.T) {
	w := hearing(t, []fabric.MemberID{2, 3}, []fabric.MemberID{3}, []fabric.MemberID{1, 2})
	a := w.nodes[memberA].core
	if a.Linked(2) || !a.Linked(3) || a.Linked(9) {
		t.Errorf("linked with 2, which is deaf: %v; with 3: %v; with nobody: %v", a.Linked(2), a.Linked(3), a.Linked(9))
	}
	if b := w.nodes[memberB].core; b.Linked(1) {
		t.Error("linked with a member that is not heard")
	}
}

// TestReserve: what has no order has its place among what has.
func TestReserve(t *testing.T) {
	w := begin(t, 3)
	a := w.nodes[memberA].core
	before := a.clock
	first := a.Reserve(1, 3)
	second := Next(first)
	third := Next(second)
	if !before.Before(first) || !first.Before(second) || !second.Before(third) {
		t.Errorf("%v, then %v, %v, %v", before, first, second, third)
	}
	_, s, err := a.Stamp(1)
	if err != nil || !third.Before(s) {
		t.Errorf("an agreed frame after that: %v, %v", s, err)
	}
	far := fabric.Stamp{Time: s.Time + 1000, Logical: 7}
	a.See(far)
	if got := a.Reserve(1, 1); !far.Before(got) {
		t.Errorf("after %v was seen: %v", far, got)
	}
	if got := a.Reserve(far.Time+5, 1); got != (fabric.Stamp{Time: far.Time + 5}) {
		t.Errorf("later: %v", got)
	}
}
