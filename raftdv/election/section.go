package election

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/raftdv/dv/fabric"
)

// Section fabric.SectionArbiter, version 1: what an arbiter says of itself.
//
//	offset  size  field                moves
//	     0     8  claim: term          rises only
//	     8     8  claim: member        changes only when the term or the kind rises
//	    16     4  claim: kind          rises only, while the term stays: 0 nobody, 1 campaigns, 2 leads
//	    20     4  flags                freely; 1 suspects the claim, 2 sealed, 4 can endorse, 8 observes, 16 acts, 32 bound,
//	                               64 leads and has nothing to do
//	    24     8  endorsement: term    rises only
//	    32     4  endorsement: attempt rises only, while its term stays
//	    36     4  heard: members       freely: how many ids follow
//	    40     8  endorsement: nominee changes only when its term or attempt rises (E4)
//	    48     8  progress             rises only
//	    56     8  transfer: member     freely; 0: none
//	    64    16  position, lower      freely, never above the upper: term, index
//	    80    16  position, upper      freely
//	    96     8  heard: mask          freely; bit i: the i-th id is heard directly
//	   104     8  pace                 freely: the Patience in force, in nanoseconds
//	   112    8n  heard: ids           freely
//
// All of this within one incarnation; a restart begins anew. A position may
// fall, since a new leader may cut what its predecessor left. A later version
// appends fields after the ids.
const (
	sectionVersion  = 1
	sectionFixedLen = 112
)

// The kinds of claims on a term.
const (
	claimNone uint32 = iota
	claimCampaign
	claimLead
)

const (
	flagSuspects = 1 << iota
	flagSealed
	flagKnown
	flagObserves
	flagActs
	flagBound
	flagIdle
	knownFlags = 1<<iota - 1
)

// claim is the word that somebody campaigns or leads in a term.
type claim struct {
	term   uint64
	member fabric.MemberID
	kind   uint32
}

// above reports whether c replaces o: one term has one leader, and of several
// candidates of one term the first counts.
func (c claim) above(o claim) bool {
	return c.term > o.term || c.term == o.term && c.kind > o.kind
}

// endorsement names a nominee, once per attempt.
type endorsement struct {
	term    uint64
	attempt uint32
	nominee fabric.MemberID
}

func (e endorsement) above(o endorsement) bool {
	return e.term > o.term || e.term == o.term && e.attempt > o.attempt
}

// entry is the id of a log entry, compared as raft compares logs.
type entry struct{ term, index uint64 }

func (e entry) less(o entry) bool {
	return e.term < o.term || e.term == o.term && e.index < o.index
}

// section is the decoded form.
type section struct {
	claim        claim
	flags        uint32
	endorses     endorsement
	progress     uint64
	transfer     fabric.MemberID
	lower, upper entry
	heard        uint64
	pace         time.Duration
	ids          []fabric.MemberID
}

func (s *section) is(flag uint32) bool { return s.flags&flag != 0 }

func (s *section) hears(id fabric.MemberID) bool {
	for i, m := range s.ids {
		if m == id {
			return s.heard>>i&1 != 0
		}
	}
	return false
}

func (s *section) append(dst []byte) []byte {
	var room [sectionFixedLen + 8*MaxMembers]byte
	le, v := binary.LittleEndian, room[:0]
	v = le.AppendUint64(v, s.claim.term)
	v = le.AppendUint64(v, uint64(s.claim.member))
	v = le.AppendUint32(v, s.claim.kind)
	v = le.AppendUint32(v, s.flags)
	v = le.AppendUint64(v, s.endorses.term)
	v = le.AppendUint32(v, s.endorses.attempt)
	v = le.AppendUint32(v, uint32(len(s.ids)))
	for _, x := range [...]uint64{uint64(s.endorses.nominee), s.progress, uint64(s.transfer),
		s.lower.term, s.lower.index, s.upper.term, s.upper.index, s.heard, uint64(s.pace)} {
		v = le.AppendUint64(v, x)
	}
	for _, id := range s.ids {
		v = le.AppendUint64(v, uint64(id))
	}
	return fabric.AppendSection(dst, fabric.Section{ID: fabric.SectionArbiter, Version: sectionVersion, Value: v})
}

// parse decodes into s, whose slice it uses again. After an error s means
// nothing.
func (s *section) parse(raw *fabric.Section) error {
	b, le := raw.Value, binary.LittleEndian
	if raw.Version < sectionVersion || len(b) < sectionFixedLen {
		return fmt.Errorf("section of version %d with %d bytes", raw.Version, len(b))
	}
	n := le.Uint32(b[36:])
	if want := sectionFixedLen + 8*int(n); n > MaxMembers || len(b) < want || raw.Version == sectionVersion && len(b) != want {
		return fmt.Errorf("section of version %d with %d members in %d bytes", raw.Version, n, len(b))
	}
	*s = section{
		claim:    claim{le.Uint64(b), fabric.MemberID(le.Uint64(b[8:])), le.Uint32(b[16:])},
		flags:    le.Uint32(b[20:]),
		endorses: endorsement{le.Uint64(b[24:]), le.Uint32(b[32:]), fabric.MemberID(le.Uint64(b[40:]))},
		progress: le.Uint64(b[48:]), transfer: fabric.MemberID(le.Uint64(b[56:])),
		lower: entry{le.Uint64(b[64:]), le.Uint64(b[72:])}, upper: entry{le.Uint64(b[80:]), le.Uint64(b[88:])},
		heard: le.Uint64(b[96:]), pace: time.Duration(le.Uint64(b[104:])), ids: s.ids[:0],
	}
	for i := range int(n) {
		s.ids = append(s.ids, fabric.MemberID(le.Uint64(b[sectionFixedLen+8*i:])))
	}
	if raw.Version == sectionVersion && (s.flags&^knownFlags != 0 || s.heard>>n != 0) {
		return fmt.Errorf("reserved bits: flags %#x, mask %#x of %d members", s.flags, s.heard, n)
	}
	return s.valid()
}

func (s *section) valid() error {
	switch {
	case s.claim.kind > claimLead, (s.claim.kind == claimNone) != (s.claim.member == 0):
		return fmt.Errorf("claim %v is none", s.claim)
	case (s.endorses.attempt == 0) != (s.endorses.nominee == 0):
		return fmt.Errorf("endorsement %v is none", s.endorses)
	case s.endorses.attempt > maxAttempt:
		return fmt.Errorf("attempt %d is none", s.endorses.attempt)
	case s.is(flagKnown) && s.upper.less(s.lower):
		return fmt.Errorf("position %v above its upper bound %v", s.lower, s.upper)
	case s.pace < 0:
		return fmt.Errorf("pace %d is none", s.pace)
	case s.is(flagObserves) && s.is(flagActs):
		return errors.New("both observes and acts")
	}
	return nil
}

// news reports whether s says something that others wait for, which old did not.
func (s *section) news(old *section) bool {
	return s.claim != old.claim || s.flags != old.flags || s.endorses != old.endorses || s.transfer != old.transfer ||
		s.heard != old.heard || !slices.Equal(s.ids, old.ids) || s.is(flagSealed) && (s.lower != old.lower || s.upper != old.upper)
}

// follows is nil if an honest member can move from old to s.
func (s *section) follows(old *section) error {
	same := func(a, b claim) bool { return a.term == b.term && a.kind == b.kind }
	switch {
	case old.claim.above(s.claim):
		return fmt.Errorf("claim falls from %v to %v", old.claim, s.claim)
	case same(s.claim, old.claim) && s.claim.member != old.claim.member:
		return fmt.Errorf("claim changes from %v to %v", old.claim, s.claim)
	case old.endorses.above(s.endorses):
		return fmt.Errorf("endorsement falls from %v to %v", old.endorses, s.endorses)
	case !s.endorses.above(old.endorses) && s.endorses != old.endorses:
		return fmt.Errorf("endorses twice in one attempt: %v, then %v", old.endorses, s.endorses)
	case s.progress < old.progress:
		return fmt.Errorf("progress falls from %d to %d", old.progress, s.progress)
	}
	return nil
}
