package barrier

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/raftdv/dv/fabric"
)

// MaxMembers bounds the ids of a configuration: rows have room for no more.
const MaxMembers = 32

// Life is one life of a member. Views are made of lives, not of members: who
// restarts, or is left out of a view, comes back as another.
type Life struct {
	Member fabric.MemberID
	// Incarnation is the process's and never used again.
	Incarnation uint64
	// Generation counts the lives within a process, from 1.
	Generation uint32
}

// String prints member, incarnation and generation.
func (l Life) String() string { return fmt.Sprintf("%v/%x.%d", l.Member, l.Incarnation, l.Generation) }

// newer reports whether l follows o, both of one member.
func (l Life) newer(o Life) bool {
	return l.Incarnation > o.Incarnation || l.Incarnation == o.Incarnation && l.Generation > o.Generation
}

// Config says who votes on the next view.
type Config struct {
	// Epoch rises with each change, and is the same for the same configuration
	// at all members.
	Epoch uint64
	// Voters are those of the configuration in force, of a joint one the
	// incoming half; Outgoing the voters of the other half, none otherwise.
	Voters, Outgoing []fabric.MemberID
	// Learners do not count, and hold no barrier.
	Learners []fabric.MemberID
}

// ids is the union of all, sorted: masks in rows are over it.
func (c *Config) ids() []fabric.MemberID {
	ids := slices.Concat(c.Voters, c.Outgoing, c.Learners)
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (c *Config) votes(id fabric.MemberID) bool {
	return slices.Contains(c.Voters, id) || slices.Contains(c.Outgoing, id)
}

// majority reports whether in holds for a majority of the voters, of a joint
// configuration for one of each half.
func (c *Config) majority(in func(fabric.MemberID) bool) bool {
	half := func(ids []fabric.MemberID) bool {
		n := 0
		for _, id := range ids {
			if in(id) {
				n++
			}
		}
		return 2*n > len(ids)
	}
	return half(c.Voters) && (len(c.Outgoing) == 0 || half(c.Outgoing))
}

// sorted is a copy in canonical form.
func (c *Config) sorted() Config {
	set := func(ids []fabric.MemberID) []fabric.MemberID {
		ids = slices.Clone(ids)
		slices.Sort(ids)
		return slices.Compact(ids)
	}
	return Config{c.Epoch, set(c.Voters), set(c.Outgoing), set(c.Learners)}
}

// Errors of configurations and views.
var (
	// ErrConfig: a configuration that nobody can vote in, or too large a one.
	ErrConfig = errors.New("barrier: bad configuration")
	// ErrView: bytes that are no view.
	ErrView = errors.New("barrier: malformed view")
)

func (c *Config) validate() error {
	if len(c.Voters) == 0 {
		return fmt.Errorf("%w: epoch %d has no voters", ErrConfig, c.Epoch)
	}
	if n := len(c.ids()); n > MaxMembers {
		return fmt.Errorf("%w: %d members, at most %d", ErrConfig, n, MaxMembers)
	}
	if slices.Contains(c.ids(), 0) {
		return fmt.Errorf("%w: 0 is no member", ErrConfig)
	}
	return nil
}

// ViewID names a view: number and hash of its value. Rows of different ids are
// never combined.
type ViewID struct{ Number, Hash uint64 }

// String prints number and the hash's first digits.
func (v ViewID) String() string { return fmt.Sprintf("%d-%08x", v.Number, v.Hash>>32) }

// View is a numbered set of lives. It ends the view before it: all lives that
// are members of both deliver exactly the agreed frames up to Cuts in the former
// one.
type View struct {
	Number uint64
	// Former is the hash of the view before.
	Former uint64
	Config Config
	// Members, by member id; each is a voter of Config, and they are a majority
	// of it. None in view 0, which is before the first one.
	Members []Life
	// Since says for each of Members the number of the view in which its life
	// became a member. Those with the lowest know the most; Number itself: it is
	// new, and knows nothing of what was delivered before.
	Since []uint64
	// Cuts says how many agreed frames of each member of the former view belong
	// to it.
	Cuts []uint64
	// Floor is below every stamp of this view, and not below any of the former
	// one's.
	Floor fabric.Stamp
}

// ID names the view.
func (v *View) ID() ViewID { return ViewID{v.Number, v.hash()} }

// member returns the place of a member's life in Members.
func (v *View) member(id fabric.MemberID) (int, bool) {
	return slices.BinarySearchFunc(v.Members, id, func(l Life, id fabric.MemberID) int { return cmp.Compare(l.Member, id) })
}

// has reports whether this very life belongs to the view.
func (v *View) has(l Life) bool {
	i, ok := v.member(l.Member)
	return ok && v.Members[i] == l
}

func later(a, b fabric.Stamp) fabric.Stamp {
	if a.Before(b) {
		return b
	}
	return a
}
